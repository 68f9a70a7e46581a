//! What one worker shares with the others and with other threads.
//!
//! | field | written by | when | read by |
//! |---|---|---|---|
//! | `inbox` | any thread pushes; the worker or a rescuer takes | a task is woken or spawned elsewhere; each tick | the worker, before it parks; thieves |
//! | `local_inbox` | any thread pushes; the worker takes | a task of this worker is woken elsewhere; each tick | the worker, before it parks |
//! | `lifo` | the worker puts; the worker or a rescuer takes | a task wakes another | rescuers |
//! | `doorbell` | the worker opens and closes it; any thread rings it | the worker's life; it is parked and there is work | |
//! | `timers` | the worker arms and fires; other threads cancel; a rescuer fires | | the patrol |
//! | `tick` | the worker | each turn of its loop | the patrol: a worker that has not ticked is held |
//! | `since` | the worker | tasks begin to run, and stop | threads that push, the patrol |
//! | `checked` | the worker | it looks at the clock while tasks run | threads that push |
//! | `rescued` | a rescuer, by an RMW | it takes this worker's things | other rescuers: one at a time is enough |
//! | `held` | a rescuer | it finds that a long poll holds this worker | the worker, at the end of its tick; workers that give homes away |
//! | `reported` | a reporter, by an RMW | it names the task of a long tick | other reporters: each tick is named once |
//! | `thread` | the worker | it starts | the patrol, which asks the kernel about the thread |
//! | `running`, `running_at` | the worker | around each poll | reporters |
//! | `poll_time` | the worker | it looks at the clock while tasks run | thieves |
//! | `queued` | the worker | it looks at the clock, and when no task is left | reports |
//! | `counts` | the worker | as each says | anybody |
//! | `samples` | the worker | a poll is timed | reports |

use std::{panic::Location, ptr};

use crossbeam_utils::CachePadded;

use super::{balance, inbox::Inbox, timers};
use crate::{
    error::TaskId,
    loom::{
        atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering},
        put,
    },
    reactor::Doorbell,
    task::{Header, Runnable},
    util::record::Samples,
};

/// One worker's part.
pub(crate) struct Block {
    /// `Send` tasks from other threads; a patrol may take them.
    pub(crate) inbox: CachePadded<Inbox>,
    /// Tasks that only this worker may run.
    pub(crate) local_inbox: CachePadded<Inbox>,
    /// The task that runs next; a patrol may take it.
    pub(super) lifo: AtomicPtr<Header>,
    pub(crate) doorbell: Doorbell,
    pub(crate) timers: CachePadded<timers::Shared>,
    /// Counts the worker's ticks; read by patrols.
    pub(super) tick: AtomicU64,
    /// Since when tasks run; `u64::MAX` while none does.
    pub(super) since: AtomicU64,
    /// When the worker last looked at the clock while tasks ran, or when they began to.
    pub(super) checked: AtomicU64,
    /// When another worker last rescued this one.
    pub(super) rescued: AtomicU64,
    /// When another worker last found that a long poll holds this one.
    pub(super) held: AtomicU64,
    /// The last tick that was reported because it was long.
    pub(super) reported: AtomicU64,
    /// The kernel's number of the worker's thread.
    thread: AtomicU32,
    /// What is being polled: 0, or the id of the task, and where it was spawned.
    running: AtomicU64,
    running_at: AtomicPtr<Location<'static>>,
    /// Moving average of a poll's time, in ns; read by thieves.
    pub(super) poll_time: AtomicU64,
    /// Tasks in its queues when it last looked at the clock.
    pub(super) queued: AtomicUsize,
    pub(crate) counts: Counts,
    /// Of the polls that it has timed.
    pub(crate) samples: CachePadded<Samples>,
}

/// The counters of a worker, each named once.
macro_rules! counts {
    ($($name:ident),* $(,)?) => {
        /// What a worker counts. Written by it alone, read by anybody.
        #[derive(Default)]
        pub(crate) struct Counts {
            $(pub(crate) $name: Counter,)*
        }

        impl Counts {
            pub(super) fn reset(&self) {
                $(self.$name.set(0);)*
            }
        }
    };
}

counts!(
    spawned,
    ended,
    polls,
    parks,
    wakeups,
    steals,
    announces,
    patrols,
    rescues,
    files_at_once,
    files_in_ring,
    files_on_thread,
);

/// A counter for people, and for the count of live tasks.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// By its one writer: no RMW.
    #[inline]
    pub(crate) fn add(&self, more: u64) {
        // Relaxed load: our own. Release store: pairs with `get`.
        self.0.store(self.0.load(Ordering::Relaxed) + more, Ordering::Release);
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }

    /// By many writers.
    pub(super) fn add_shared(&self, more: u64) {
        // Release: pairs with `get`.
        self.0.fetch_add(more, Ordering::Release);
    }

    pub(crate) fn get(&self) -> u64 {
        // Acquire: what was done before it was counted is seen; see `Hub::live`.
        self.0.load(Ordering::Acquire)
    }
}

impl Block {
    pub(super) fn new() -> Self {
        Self {
            inbox: CachePadded::new(Inbox::new()),
            local_inbox: CachePadded::new(Inbox::new()),
            lifo: AtomicPtr::new(ptr::null_mut()),
            doorbell: Doorbell::new(),
            timers: CachePadded::new(timers::Shared::new()),
            tick: AtomicU64::new(0),
            since: AtomicU64::new(u64::MAX),
            checked: AtomicU64::new(0),
            rescued: AtomicU64::new(0),
            held: AtomicU64::new(0),
            reported: AtomicU64::new(u64::MAX),
            thread: AtomicU32::new(0),
            running: AtomicU64::new(0),
            running_at: AtomicPtr::new(ptr::null_mut()),
            poll_time: AtomicU64::new(0),
            queued: AtomicUsize::new(0),
            counts: Counts::default(),
            samples: CachePadded::default(),
        }
    }

    /// Whether other threads have left tasks here. After a fence, nothing is missed (P2).
    pub(crate) fn has_mail(&self) -> bool {
        !self.inbox.is_empty() || !self.local_inbox.is_empty()
    }

    /// Whether something waits here that a patrol could take.
    pub(super) fn has_tasks_to_take(&self) -> bool {
        // Relaxed: an estimate.
        !self.inbox.is_empty() || !self.lifo.load(Ordering::Relaxed).is_null()
    }

    pub(super) fn set_thread(&self, thread: u32) {
        // Relaxed: a number for the kernel, which finds out whether it is still valid.
        self.thread.store(thread, Ordering::Relaxed);
    }

    pub(super) fn thread(&self) -> u32 {
        self.thread.load(Ordering::Relaxed)
    }

    /// Tasks begin to run.
    #[inline]
    pub(crate) fn begin_run(&self, now: u64) {
        self.note_check(now);
        // Release: pairs with `is_held`, which is not to see this with an older check.
        self.since.store(now, Ordering::Release);
    }

    /// The worker has as many tasks in its queues.
    #[inline]
    pub(super) fn note_queued(&self, queued: usize) {
        // Relaxed: for reports.
        self.queued.store(queued, Ordering::Relaxed);
    }

    /// The worker has looked at the clock while tasks run.
    #[inline]
    pub(super) fn note_check(&self, now: u64) {
        // Relaxed: for other workers, which may read an old value.
        self.checked.store(now, Ordering::Relaxed);
    }

    /// No tasks run any more.
    #[inline]
    pub(super) fn end_run(&self) {
        // Relaxed: for other workers, which may read an old value.
        self.since.store(u64::MAX, Ordering::Relaxed);
    }

    /// Whether tasks run and the worker has not looked at the clock for so long that what is left
    /// here waits for longer than it takes to wake another worker. A guess.
    #[inline]
    pub(super) fn is_held(&self, now: impl FnOnce() -> u64) -> bool {
        // Acquire: pairs with `begin_run`.
        if self.since.load(Ordering::Acquire) == u64::MAX {
            return false;
        }
        // Relaxed: with an older check the guess may be wrong.
        now().saturating_sub(self.checked.load(Ordering::Relaxed)) > balance::WAIT_NS
    }

    /// When the worker last looked at the clock; `u64::MAX` if no tasks run.
    pub(super) fn last_check(&self) -> u64 {
        // Relaxed: as above.
        match self.since.load(Ordering::Relaxed) {
            u64::MAX => u64::MAX,
            _ => self.checked.load(Ordering::Relaxed),
        }
    }

    /// The worker's next tick.
    #[inline]
    pub(crate) fn begin_tick(&self) {
        // Relaxed: ours to write. A worker that names a task of this tick sees it by `set_running`.
        self.tick.store(self.tick().wrapping_add(1), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn tick(&self) -> u64 {
        // Relaxed: the worker's own counter; what it guards is taken by RMWs.
        self.tick.load(Ordering::Relaxed)
    }

    /// Notes the task that is polled, so that another worker can name a hog.
    #[inline]
    pub(crate) fn set_running(&self, task: &Header) {
        // Release: a thread that sees this place sees that the task before is polled no more; pairs
        // with `running`.
        self.running_at.store(ptr::from_ref(task.spawned_at()).cast_mut(), Ordering::Release);
        // Release: a thread that sees this task sees its place, and its tick; pairs with `running`.
        self.running.store(task.id().0, Ordering::Release);
    }

    #[inline]
    pub(crate) fn set_idle(&self) {
        // Relaxed: the next `set_running` publishes it.
        self.running.store(0, Ordering::Relaxed);
    }

    /// What is being polled, if anything is, and where it was spawned.
    pub(crate) fn running(&self) -> Option<(TaskId, &'static Location<'static>)> {
        // Acquire: pairs with `set_running`: the place is this task's, or a later one's.
        let id = self.running.load(Ordering::Acquire);
        // Acquire: pairs with `set_running`: if it is a later one's, `running` is seen to differ.
        let at = self.running_at.load(Ordering::Acquire);
        // SAFETY: null, or a `&'static Location` that `set_running` stored.
        let at = unsafe { at.as_ref() }?;
        // Relaxed: ordered by the load before.
        let still = id != 0 && self.running.load(Ordering::Relaxed) == id;
        still.then_some((TaskId(id), at))
    }

    /// The same if the worker is in that tick.
    pub(crate) fn running_in(&self, tick: u64) -> Option<(TaskId, &'static Location<'static>)> {
        // Only then the tick: that of a later task has been published with the task.
        self.running().filter(|_| self.tick() == tick)
    }

    /// Timers that have not fired.
    pub(crate) fn armed_timers(&self) -> u64 {
        self.timers.mailbox.armed()
    }

    /// Whether there is a task in the LIFO slot.
    #[inline]
    pub(super) fn has_lifo(&self) -> bool {
        // Relaxed: its owner alone fills it; a thread that takes the task swaps.
        !self.lifo.load(Ordering::Relaxed).is_null()
    }

    /// Takes the task of the LIFO slot.
    #[inline]
    pub(crate) fn take_lifo(&self) -> Option<Runnable> {
        // Relaxed look first: an empty slot costs no RMW.
        if self.lifo.load(Ordering::Relaxed).is_null() {
            return None;
        }
        // Acquire: pairs with the Release of `put_lifo`; owner and patrol both swap.
        let task = ptr::NonNull::new(self.lifo.swap(ptr::null_mut(), Ordering::Acquire))?;
        // SAFETY: the swap made the entry ours.
        Some(unsafe { Runnable::from_raw(task) })
    }

    /// The same for an owner without neighbours, which nobody patrols: without an RMW.
    #[inline]
    pub(super) fn take_lifo_alone(&self) -> Option<Runnable> {
        // Relaxed: this thread alone touches it.
        let task = ptr::NonNull::new(self.lifo.load(Ordering::Relaxed))?;
        self.lifo.store(ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: nobody else takes entries.
        Some(unsafe { Runnable::from_raw(task) })
    }

    /// Puts a task there, by the owner. It comes back if the place is taken: of those that
    /// one poll wakes, the first runs first, and the others behind it in their order.
    #[inline]
    pub(crate) fn put_lifo(&self, task: Runnable) -> Option<Runnable> {
        // Relaxed: nobody else puts a task there, so an empty slot stays empty, and a store is
        // enough: a thread that takes sees null or this task.
        if !self.lifo.load(Ordering::Relaxed).is_null() {
            return Some(task);
        }
        // Release: pairs with `take_lifo`.
        put(&self.lifo, task.into_raw().as_ptr(), Ordering::Release);
        None
    }
}
