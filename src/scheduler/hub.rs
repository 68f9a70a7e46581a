//! What the workers of a runtime share with each other and with other threads.
//!
//! A hub is never freed (S12): wakers, timers and doorbells may reach it after its
//! runtime is gone. It is recycled for a later runtime; a stray wake of the earlier
//! life then finds nothing to do, or at worst rings a worker that looks around and
//! sleeps again.

use std::{panic::Location, ptr};

use crossbeam_utils::CachePadded;

use super::{
    idle::{Idle, MAX_WORKERS},
    inbox::Inbox,
    registry::Registry,
    timers,
};
use crate::{
    error::TaskId,
    loom::{
        atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering},
        global, put,
    },
    reactor::Doorbell,
    task::{Header, Runnable},
    util::fork::PerProcess,
};

/// How far a runtime is on its way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// At work.
    Open = 0,
    /// Nothing new is let in; what lives is asked to end.
    Closing = 1,
    /// The time for that is up: what lives is dropped.
    Aborting = 2,
    /// Workers leave their loops.
    Stopped = 3,
}

pub(crate) struct Hub {
    key: u16,
    /// Each on lines of its own: every park writes it, every push reads it.
    pub(crate) idle: CachePadded<Idle>,
    workers: AtomicUsize,
    phase: AtomicU8,
    /// When the runtime is to have ended, once it is closing.
    deadline: AtomicU64,
    pub(crate) registry: Registry,
    /// Tasks spawned and ended by threads that are no workers.
    spawned: CachePadded<Counter>,
    ended: CachePadded<Counter>,
    /// Operations that workers could not wait for at their end.
    leaked: Counter,
    blocks: [CachePadded<Block>; MAX_WORKERS],
}

/// One worker's part.
pub(crate) struct Block {
    /// `Send` tasks from other threads; a patrol may take them.
    pub(crate) inbox: CachePadded<Inbox>,
    /// Tasks that only this worker may run.
    pub(crate) local_inbox: CachePadded<Inbox>,
    /// The task that runs next; a patrol may take it.
    pub(super) lifo: AtomicPtr<Header>,
    pub(crate) doorbell: Doorbell,
    pub(super) timers: CachePadded<timers::Shared>,
    /// Counts the worker's ticks; read by patrols.
    pub(super) tick: AtomicU64,
    /// Since when tasks run; `u64::MAX` while none does.
    pub(super) since: AtomicU64,
    /// When somebody last came to the rescue.
    pub(super) rescued: AtomicU64,
    /// The tick that somebody has last told of, for it was long.
    pub(super) told: AtomicU64,
    /// The kernel's number of the worker's thread.
    thread: AtomicU32,
    /// What is being polled: 0, or the id of the task, and where it was spawned.
    running: AtomicU64,
    running_at: AtomicPtr<Location<'static>>,
    /// Moving average of a poll's time, in ns; read by thieves.
    pub(super) poll_time: AtomicU64,
    pub(crate) counts: Counts,
}

/// What a worker counts. Written by it alone, read by anybody.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) spawned: Counter,
    pub(crate) ended: Counter,
    pub(crate) polls: Counter,
    pub(crate) parks: Counter,
    pub(crate) wakeups: Counter,
    pub(crate) steals: Counter,
    pub(crate) announces: Counter,
    pub(crate) patrols: Counter,
    pub(crate) rescues: Counter,
}

impl Counts {
    fn reset(&self) {
        let Self { spawned, ended, polls, parks, wakeups, steals, announces, patrols, rescues } =
            self;
        for count in [spawned, ended, polls, parks, wakeups, steals, announces, patrols, rescues] {
            count.set(0);
        }
    }
}

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

    fn set(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }

    /// By many writers.
    fn add_shared(&self, more: u64) {
        // Release: pairs with `get`.
        self.0.fetch_add(more, Ordering::Release);
    }

    pub(crate) fn get(&self) -> u64 {
        // Acquire: what was done before it was counted is seen; see `Hub::live`.
        self.0.load(Ordering::Acquire)
    }
}

impl Block {
    fn new() -> Self {
        Self {
            inbox: CachePadded::new(Inbox::new()),
            local_inbox: CachePadded::new(Inbox::new()),
            lifo: AtomicPtr::new(ptr::null_mut()),
            doorbell: Doorbell::new(),
            timers: CachePadded::new(timers::Shared::new()),
            tick: AtomicU64::new(0),
            since: AtomicU64::new(u64::MAX),
            rescued: AtomicU64::new(0),
            told: AtomicU64::new(u64::MAX),
            thread: AtomicU32::new(0),
            running: AtomicU64::new(0),
            running_at: AtomicPtr::new(ptr::null_mut()),
            poll_time: AtomicU64::new(0),
            counts: Counts::default(),
        }
    }

    /// Whether other threads have left tasks here. After a fence, nothing is missed (P2).
    pub(crate) fn has_mail(&self) -> bool {
        !self.inbox.is_empty() || !self.local_inbox.is_empty()
    }

    /// Whether something waits here that a patrol could take.
    pub(super) fn has_loot(&self) -> bool {
        // Relaxed: an estimate.
        !self.inbox.is_empty() || !self.lifo.load(Ordering::Relaxed).is_null()
    }

    pub(super) fn set_thread(&self, thread: u32) {
        // Relaxed: a name for the kernel, which knows best whether it is still true.
        self.thread.store(thread, Ordering::Relaxed);
    }

    pub(super) fn thread(&self) -> u32 {
        self.thread.load(Ordering::Relaxed)
    }

    /// Notes what is polled, for whoever wants to name a hog.
    #[inline]
    pub(super) fn set_running(&self, task: &Header) {
        // Relaxed: names for people; each is true of some recent poll.
        self.running.store(task.id().0, Ordering::Relaxed);
        self.running_at.store(ptr::from_ref(task.spawned_at()).cast_mut(), Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn set_idle(&self) {
        self.running.store(0, Ordering::Relaxed);
    }

    /// What is being polled, if anything is.
    pub(crate) fn running(&self) -> Option<(TaskId, &'static Location<'static>)> {
        let id = self.running.load(Ordering::Relaxed);
        let at = self.running_at.load(Ordering::Relaxed);
        // SAFETY: null, or a `&'static Location` that `set_running` stored.
        let at = unsafe { at.as_ref() }?;
        (id != 0).then_some((TaskId(id), at))
    }

    /// Timers that have not fired.
    pub(crate) fn armed_timers(&self) -> u64 {
        self.timers.mailbox.armed()
    }

    /// Whether there is a task in the LIFO slot.
    #[inline]
    pub(super) fn has_lifo(&self) -> bool {
        // Relaxed: its owner alone fills it; who takes it swaps.
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

    /// The same for an owner without neighbours, whom nobody patrols: without an RMW.
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
        // Relaxed: nobody else puts one there, so that what is empty stays so, and a store is
        // enough: who takes sees null or this task.
        if !self.lifo.load(Ordering::Relaxed).is_null() {
            return Some(task);
        }
        // Release: pairs with `take_lifo`.
        put(&self.lifo, task.into_raw().as_ptr(), Ordering::Release);
        None
    }
}

/// Runtimes that can be alive at once.
pub(crate) const MAX_HUBS: usize = 1024;

static HUBS: [global::AtomicPtr<Hub>; MAX_HUBS] =
    [const { global::AtomicPtr::new(ptr::null_mut()) }; MAX_HUBS];

/// Those that are in no use. A forked child makes hubs of its own.
fn free() -> &'static global::Mutex<Vec<&'static Hub>> {
    static FREE: PerProcess<global::Mutex<Vec<&'static Hub>>> = PerProcess::new();
    FREE.get(|| global::Mutex::new(Vec::new()))
}

/// How many there are. Written under the lock of `free`.
static MADE: global::AtomicU64 = global::AtomicU64::new(0);

impl Hub {
    /// A hub for a new runtime; `None` if too many runtimes are alive.
    pub(crate) fn acquire(workers: usize) -> Option<&'static Hub> {
        debug_assert!((1..=MAX_WORKERS).contains(&workers));
        let mut free = free().lock();
        let hub = match free.pop() {
            Some(hub) => hub,
            None => {
                let key = MADE.load(Ordering::Relaxed);
                let place = HUBS.get(key as usize)?;
                let hub: &'static Hub = Box::leak(Box::new(Hub::new(key as u16)));
                // Release: pairs with `by_key`.
                place.store(ptr::from_ref(hub).cast_mut(), Ordering::Release);
                MADE.store(key + 1, Ordering::Relaxed);
                hub
            }
        };
        drop(free);
        hub.begin(workers);
        Some(hub)
    }

    /// Begins a life.
    pub(crate) fn begin(&self, workers: usize) {
        self.reset_counts();
        self.idle.reset();
        // Relaxed: handed to the workers by the start of their threads.
        self.workers.store(workers, Ordering::Relaxed);
        self.phase.store(Phase::Open as u8, Ordering::Relaxed);
    }

    pub(crate) fn new(key: u16) -> Self {
        Self {
            key,
            idle: CachePadded::new(Idle::new()),
            workers: AtomicUsize::new(0),
            phase: AtomicU8::new(Phase::Open as u8),
            deadline: AtomicU64::new(0),
            registry: Registry::new(),
            spawned: CachePadded::default(),
            ended: CachePadded::default(),
            leaked: Counter::default(),
            blocks: std::array::from_fn(|_| CachePadded::new(Block::new())),
        }
    }

    /// A new life counts from zero: there is nobody who counts now.
    fn reset_counts(&self) {
        self.spawned.set(0);
        self.ended.set(0);
        self.leaked.set(0);
        for block in &self.blocks {
            block.counts.reset();
        }
    }

    /// Gives it back once its workers are gone and its tasks ended.
    pub(crate) fn recycle(&'static self) {
        debug_assert_eq!(self.live(), 0);
        free().lock().push(self);
    }

    /// The hub of a task's place. It exists: the task was born there.
    #[inline]
    pub(super) fn by_key(key: u16) -> &'static Hub {
        // Acquire: pairs with `acquire`.
        let hub = HUBS[usize::from(key)].load(Ordering::Acquire);
        // SAFETY: not null, since a task names it; leaked, so valid for ever.
        unsafe { &*hub }
    }

    pub(crate) fn key(&self) -> u16 {
        self.key
    }

    pub(crate) fn workers(&self) -> usize {
        // Relaxed: constant while anybody of this runtime asks.
        self.workers.load(Ordering::Relaxed)
    }

    /// The parts of all its workers.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.blocks[..self.workers()].iter().map(|block| &**block)
    }

    #[inline]
    pub(crate) fn block(&self, worker: usize) -> &Block {
        &self.blocks[worker]
    }

    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        // Acquire: pairs with `advance`.
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Open,
            1 => Phase::Closing,
            2 => Phase::Aborting,
            _ => Phase::Stopped,
        }
    }

    /// Begins the end, which is to be over at `deadline`.
    pub(crate) fn close(&self, deadline: u64) {
        // Relaxed: `advance` publishes it.
        self.deadline.store(deadline, Ordering::Relaxed);
        self.advance(Phase::Closing);
        self.cancel_all();
    }

    pub(crate) fn deadline(&self) -> u64 {
        // Relaxed: read by workers, which have seen the phase.
        self.deadline.load(Ordering::Relaxed)
    }

    /// Moves on to `phase`, never back, and wakes everybody to see it.
    pub(crate) fn advance(&self, phase: Phase) {
        // AcqRel: what was done before is seen by who acts on the phase.
        if self.phase.fetch_max(phase as u8, Ordering::AcqRel) < phase as u8 {
            for block in self.blocks() {
                block.doorbell.ring();
            }
        }
    }

    /// Tasks that have been spawned and have not ended.
    ///
    /// Ends are read before spawns: if the sums agree, there was an instant at which
    /// no task lived. (A sum of ends read later could hide a task that both came and
    /// went in between; read earlier, it can only make more tasks seem alive.)
    pub(crate) fn live(&self) -> u64 {
        let ended: u64 = self.blocks().map(|block| block.counts.ended.get()).sum();
        let ended = ended + self.ended.get();
        self.total_spawned() - ended
    }

    pub(crate) fn total_spawned(&self) -> u64 {
        let spawned: u64 = self.blocks().map(|block| block.counts.spawned.get()).sum();
        spawned + self.spawned.get()
    }

    pub(crate) fn count_foreign_spawn(&self) {
        self.spawned.add_shared(1);
    }

    pub(crate) fn count_foreign_end(&self) {
        self.ended.add_shared(1);
    }

    pub(crate) fn count_leaked(&self, operations: u64) {
        self.leaked.add_shared(operations);
    }

    /// Operations that the kernel did not let go of.
    pub(crate) fn leaked(&self) -> u64 {
        self.leaked.get()
    }

    /// Asks every live task to end.
    pub(crate) fn cancel_all(&self) {
        let abort = self.phase() >= Phase::Aborting;
        self.registry.for_each(|task| task.request(abort));
    }

    /// Queues a task from a thread that is none of its workers.
    pub(crate) fn push_foreign(&self, task: Runnable, favourite: usize) {
        let workers = self.workers();
        let worker = self.idle.choose(favourite % workers, workers);
        self.block(worker).inbox.push(task);
        if self.ring_if_parked(worker) {
            return;
        }
        // Behind a task that runs, perhaps for long.
        if self.idle.sleepers().is_some_and(|sleepers| sleepers.could_patrol) {
            self.arm_patrol();
        }
    }

    /// Wakes somebody to patrol, if nobody does. Says whether there was one to wake.
    #[cold]
    pub(super) fn arm_patrol(&self) -> bool {
        let sleeper = self.idle.arm_patrol();
        if let Some(sleeper) = sleeper {
            self.block(sleeper).doorbell.ring();
        }
        sleeper.is_some()
    }

    /// Queues a task that only worker `home` may run.
    pub(crate) fn push_home(&self, task: Runnable, home: usize) {
        self.block(home).local_inbox.push(task);
        let _ = self.ring_if_parked(home);
    }

    /// Whether it was asleep.
    fn ring_if_parked(&self, worker: usize) -> bool {
        let parked = self.idle.notify(worker);
        if parked {
            self.block(worker).doorbell.ring();
        }
        parked
    }
}
