//! What an event says, as words in a ring and as a value.

use std::{panic::Location, ptr};

use super::ring::WORDS;
use crate::error::TaskId;

/// The kinds of events. In a ring an event is four words: the time, the task's number, the kind with
/// a word of 56 bits, and one word more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A poll begins. The word: where the task was spawned.
    Poll = 1,
    /// No task is polled any more.
    Idle,
    /// A task has its first turn within the poll of another.
    Nested,
    /// That turn is over.
    NestedEnd,
    /// A task becomes runnable. Word two: the task that woke it, or 0.
    Wake,
    /// The word: where. Word two: the task that spawned it, or 0.
    Spawn,
    End,
    /// The task ends by a panic.
    Panic,
    Park,
    Unpark,
    /// The reactor was turned. The word: events. Word two: submissions.
    Turn,
    /// Timers have fired. Word two: how many.
    Timers,
    /// A blocking job begins. The word: where. Word two: the thread.
    Job,
    /// It ends.
    JobEnd,
    /// Tasks were taken from another's queue. The word: whose. Word two: how many.
    Steal,
    /// The things of a held worker were taken. The word: whose. Word two: how many tasks.
    Rescue,
}

impl Kind {
    const ALL: [Self; 16] = [
        Self::Poll,
        Self::Idle,
        Self::Nested,
        Self::NestedEnd,
        Self::Wake,
        Self::Spawn,
        Self::End,
        Self::Panic,
        Self::Park,
        Self::Unpark,
        Self::Turn,
        Self::Timers,
        Self::Job,
        Self::JobEnd,
        Self::Steal,
        Self::Rescue,
    ];

    /// The words of an event of this kind.
    #[inline]
    pub(super) fn words(self, ticks: u64, task: u64, word: u64, more: u64) -> [u64; WORDS] {
        [ticks, task, word << 8 | self as u64, more]
    }
}

/// A place in the source, as a word.
#[inline]
pub(super) fn word_of(at: &'static Location<'static>) -> u64 {
    // Exposed: `place` makes a pointer of it again.
    ptr::from_ref(at).expose_provenance() as u64
}

fn place(word: u64) -> Option<&'static Location<'static>> {
    let place: *const Location<'static> = ptr::with_exposed_provenance(word as usize);
    // SAFETY: the events of the kinds that have a place are whole (W2), and `word_of` made the word from
    // a static place, whose address has 56 bits; it is 0 in none of them.
    unsafe { place.as_ref() }
}

/// One event of a [`Recording`](super::Recording).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// When, in ns of the machine's monotonic clock.
    pub at: u64,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A poll of a task begins. It lasts until the next event of the kinds `PollBegin`, `PollsEnd` and
    /// `Park` of the same worker.
    PollBegin {
        /// The task.
        task: TaskId,
        /// Where it was spawned.
        spawned_at: &'static Location<'static>,
    },
    /// The worker has polled what there was for this tick.
    PollsEnd,
    /// A new task has its first turn at once, within the poll of the task that spawned it.
    EagerBegin {
        /// The new task.
        task: TaskId,
        /// Where it was spawned.
        spawned_at: &'static Location<'static>,
    },
    /// That turn is over.
    EagerEnd {
        /// The new task.
        task: TaskId,
    },
    /// A task becomes runnable.
    Wake {
        /// The task that is woken.
        task: TaskId,
        /// The task that wakes it; `None` if the reactor, a timer, or a thread that runs no task does.
        by: Option<TaskId>,
    },
    /// A task is spawned.
    Spawn {
        /// The new task.
        task: TaskId,
        /// Where.
        spawned_at: &'static Location<'static>,
        /// The task that spawned it, if one did.
        parent: Option<TaskId>,
    },
    /// A task has ended.
    End {
        /// The task.
        task: TaskId,
        /// Whether a panic ended it.
        panicked: bool,
    },
    /// The worker goes to sleep.
    Park,
    /// The worker woke up.
    Unpark,
    /// The worker has looked at its ring or epoll instance, and something had happened.
    Turn {
        /// Operations that it submitted. Always 0 on epoll.
        submitted: u64,
        /// Events and completions that came.
        completed: u64,
    },
    /// Timers have fired.
    Timers {
        /// How many.
        fired: u64,
    },
    /// A blocking job begins on a thread of a lane.
    JobBegin {
        /// The job's number.
        job: TaskId,
        /// Where it was started.
        spawned_at: &'static Location<'static>,
        /// The kernel's number of the thread.
        thread: u64,
    },
    /// A blocking job has ended.
    JobEnd {
        /// The job's number.
        job: TaskId,
        /// The kernel's number of the thread.
        thread: u64,
    },
    /// The worker has taken tasks from another's queue.
    Steal {
        /// The index of the other worker.
        from: usize,
        /// How many.
        tasks: u64,
    },
    /// The worker has taken what waited at one that a long poll holds.
    Rescue {
        /// The index of the worker that is held.
        of: usize,
        /// How many batches of tasks.
        tasks: u64,
    },
}

impl EventKind {
    /// Of the words of an event, without its time.
    pub(super) fn of(words: [u64; WORDS]) -> Option<Self> {
        let [_, number, tagged, more] = words;
        let (task, word) = (TaskId(number), tagged >> 8);
        let other = || Some(TaskId(more)).filter(|other| other.0 != 0);
        let kind = *Kind::ALL.get(((tagged & 0xff) as usize).checked_sub(1)?)?;
        Some(match kind {
            Kind::Poll => Self::PollBegin { task, spawned_at: place(word)? },
            Kind::Idle => Self::PollsEnd,
            Kind::Nested => Self::EagerBegin { task, spawned_at: place(word)? },
            Kind::NestedEnd => Self::EagerEnd { task },
            Kind::Wake => Self::Wake { task, by: other() },
            Kind::Spawn => Self::Spawn { task, spawned_at: place(word)?, parent: other() },
            Kind::End => Self::End { task, panicked: false },
            Kind::Panic => Self::End { task, panicked: true },
            Kind::Park => Self::Park,
            Kind::Unpark => Self::Unpark,
            Kind::Turn => Self::Turn { submitted: more, completed: word },
            Kind::Timers => Self::Timers { fired: more },
            Kind::Job => Self::JobBegin { job: task, spawned_at: place(word)?, thread: more },
            Kind::JobEnd => Self::JobEnd { job: task, thread: more },
            Kind::Steal => Self::Steal { from: word as usize, tasks: more },
            Kind::Rescue => Self::Rescue { of: word as usize, tasks: more },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back_from_its_words() {
        let here = Location::caller();
        for (at, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at + 1);
            let words = kind.words(1, 7, word_of(here), 9);
            assert!(EventKind::of(words).is_some(), "{kind:?}");
        }
        let found = EventKind::of(Kind::Poll.words(1, 7, word_of(here), 0));
        assert_eq!(found, Some(EventKind::PollBegin { task: TaskId(7), spawned_at: here }));
        let found = EventKind::of(Kind::Wake.words(1, 7, 0, 0));
        assert_eq!(found, Some(EventKind::Wake { task: TaskId(7), by: None }));
        assert_eq!(EventKind::of([0; WORDS]), None);
        assert_eq!(EventKind::of([1, 1, 200, 0]), None);
    }
}
