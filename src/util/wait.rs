//! What a suspended task waits for: one word, for reports.
//!
//! The word is the link by which a task is chained to the next one in an inbox
//! ([`Header`](crate::task::Header)): a task that is suspended, or polled, is in none. Links are
//! pointers to headers, which are aligned; so the lowest bit tells the two apart.

use std::ptr;

use crate::loom::atomic::{AtomicPtr, Ordering};

/// Set in a word that is no link.
const WAIT: u64 = 1;
/// Where the key begins; below it, and above `WAIT`, is the kind.
const KEY: u32 = 6;

/// The kinds of what a task can wait for. The key of a primitive is its name's number, with [`NAMED`],
/// or an address: that of its list of waiters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum WaitKind {
    /// A descriptor that is to be ready: its number.
    Descriptor,
    /// A point in time, in ns of the clock.
    Timer,
    /// The end of a task: its number.
    Task,
    /// An operation that the kernel or the blocking pool carries out: its number.
    Operation,
    Lock,
    RwLock,
    Semaphore,
    Event,
    Condition,
    Barrier,
    Notify,
    OnceCell,
    QueueGet,
    QueuePut,
    QueueJoin,
    Receiver,
    Sender,
    Broadcast,
    Watch,
    Oneshot,
    SharedFuture,
    DuplexRead,
    DuplexWrite,
    /// A descriptor that is to have something to read: its number.
    Read,
    /// A descriptor that is to have room: its number.
    Write,
    /// The end of a blocking job: its number.
    Job,
    /// The end of the tasks of a group: its number.
    Group,
    /// The end of a child process: its number.
    Process,
}

impl WaitKind {
    const ALL: [Self; 28] = [
        Self::Descriptor,
        Self::Timer,
        Self::Task,
        Self::Operation,
        Self::Lock,
        Self::RwLock,
        Self::Semaphore,
        Self::Event,
        Self::Condition,
        Self::Barrier,
        Self::Notify,
        Self::OnceCell,
        Self::QueueGet,
        Self::QueuePut,
        Self::QueueJoin,
        Self::Receiver,
        Self::Sender,
        Self::Broadcast,
        Self::Watch,
        Self::Oneshot,
        Self::SharedFuture,
        Self::DuplexRead,
        Self::DuplexWrite,
        Self::Read,
        Self::Write,
        Self::Job,
        Self::Group,
        Self::Process,
    ];

    /// Whether its key is a number that people know, such as that of a descriptor or a task.
    pub(crate) fn is_numbered(self) -> bool {
        let of_kernel = matches!(self, Self::Descriptor | Self::Read | Self::Write | Self::Process);
        of_kernel || matches!(self, Self::Task | Self::Job | Self::Group | Self::Operation)
    }

    /// As reports call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Descriptor | Self::Read | Self::Write => "descriptor",
            Self::Timer => "a timer",
            Self::Task => "task",
            Self::Operation => "operation",
            Self::Lock => "Lock",
            Self::RwLock => "RwLock",
            Self::Semaphore => "Semaphore",
            Self::Event => "Event",
            Self::Condition => "Condition",
            Self::Barrier => "Barrier",
            Self::Notify => "Notify",
            Self::OnceCell => "OnceCell",
            Self::QueueGet => "get of Queue",
            Self::QueuePut => "put of Queue",
            Self::QueueJoin => "join of Queue",
            Self::Receiver => "Receiver",
            Self::Sender => "Sender",
            Self::Broadcast => "broadcast::Receiver",
            Self::Watch => "watch",
            Self::Oneshot => "Deferred",
            Self::SharedFuture => "SharedFuture",
            Self::DuplexRead => "read of DuplexStream",
            Self::DuplexWrite => "write of DuplexStream",
            Self::Job => "blocking job",
            Self::Group => "group",
            Self::Process => "process",
        }
    }
}

/// The bits of a key that a note keeps.
pub(crate) const KEYS: u64 = (1 << (u64::BITS - KEY)) - 1;

/// Set in the key of a primitive that has a name: the rest is the name's number.
pub(crate) const NAMED: u64 = 1 << 57;

/// What a task waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) kind: WaitKind,
    /// Its lowest 58 bits.
    pub(crate) key: u64,
}

/// The word: null, a link, or a wait.
pub(crate) struct LinkOrWait(AtomicPtr<()>);

impl LinkOrWait {
    pub(crate) fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// The word, as a link.
    pub(crate) fn link(&self) -> &AtomicPtr<()> {
        &self.0
    }

    /// A poll begins: nothing is noted.
    #[inline]
    pub(crate) fn clear(&self) {
        // Relaxed: for reports, and for the runner itself.
        self.0.store(ptr::null_mut(), Ordering::Relaxed);
    }

    /// Notes what the task that is polled waits for. The last one stays; a timer is noted only where
    /// there is nothing else, since most are limits on something else.
    #[inline]
    pub(crate) fn note(&self, kind: u8, key: u64) {
        if kind == WaitKind::Timer as u8 && self.get().is_some() {
            return;
        }
        let word = key << KEY | u64::from(kind) << 1 | WAIT;
        // Relaxed: for reports.
        self.0.store(ptr::without_provenance_mut(word as usize), Ordering::Relaxed);
    }

    /// What was noted.
    pub(crate) fn get(&self) -> Option<Wait> {
        // Relaxed: for reports.
        let word = self.0.load(Ordering::Relaxed).addr() as u64;
        if word & WAIT == 0 {
            return None;
        }
        let kind = WaitKind::ALL[(word >> 1) as usize & 31];
        Some(Wait { kind, key: word >> KEY })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back_and_a_timer_gives_way() {
        let word = LinkOrWait::new();
        assert_eq!(word.get(), None);
        for (number, kind) in WaitKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
            for key in [0, 7, (1 << 58) - 1] {
                word.clear();
                word.note(kind as u8, key);
                assert_eq!(word.get(), Some(Wait { kind, key }));
            }
        }
        word.note(WaitKind::Task as u8, 2);
        word.note(WaitKind::Timer as u8, 1);
        assert_eq!(word.get().unwrap().kind, WaitKind::Task);
        let mut aligned = 0_u64;
        word.link().store(ptr::from_mut(&mut aligned).cast(), Ordering::Relaxed);
        assert_eq!(word.get(), None);
    }
}
