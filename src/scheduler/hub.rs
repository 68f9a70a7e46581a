//! What the workers of a runtime share with each other and with other threads.
//!
//! A hub is never freed (S12): wakers, timers and doorbells may reach it after its
//! runtime is gone. It is recycled for a later runtime; a stray wake of the earlier
//! life then finds nothing to do, or at worst rings a worker that looks around and
//! sleeps again.

use std::{ptr, time::Duration};

use crossbeam_utils::CachePadded;

use super::{
    block::{Block, Counter},
    hooks::Hooks,
    idle::{Idle, MAX_WORKERS},
    new_ids,
    registry::Registry,
};
use crate::{
    error::TaskId,
    loom::{
        WaitLock,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
        global, shared_static,
    },
    record::Switch,
    task::{Origin, Runnable},
    util::{clock, fork::PerProcess, threads},
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

/// Whether a worker has neighbours. One without is watched by a thread of the blocking pool, and nobody steals from it.
/// tokio: `RuntimeFlavor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavor {
    Single,
    Multi,
}

impl Flavor {
    pub(super) fn of(workers: usize) -> Self {
        if workers == 1 { Self::Single } else { Self::Multi }
    }
}

/// How far a worker was at one moment.
pub(crate) struct Tick {
    tick: u64,
    /// The CPU time of its thread.
    ran: u64,
}

pub(crate) struct Hub {
    key: u16,
    /// Each on lines of its own: every park writes it, every push reads it.
    pub(crate) idle: CachePadded<Idle>,
    workers: AtomicUsize,
    /// The first task that can be of this life.
    first: AtomicU64,
    phase: AtomicU8,
    /// When the runtime is to have ended, once it is closing.
    deadline: AtomicU64,
    /// Whether SIGINT has come for one of the mains: see `runtime/interrupt.rs`.
    interrupted: AtomicBool,
    /// In debug mode, from how many ns on a poll is reported; else 0.
    slow_poll: AtomicU64,
    /// Whether there are hooks.
    pub(super) hooked: Counter,
    pub(super) hooks: global::Mutex<Option<Hooks>>,
    pub(crate) registry: Registry,
    /// Whether its workers are recorded.
    pub(crate) recorder: Switch,
    /// The mains that SIGINT is to cancel.
    mains: CachePadded<AtomicUsize>,
    /// Tasks spawned and ended by threads that are no workers.
    spawned: CachePadded<Counter>,
    ended: CachePadded<Counter>,
    /// Operations that workers could not wait for at their end.
    leaked: Counter,
    blocks: [CachePadded<Block>; MAX_WORKERS],
}

/// Runtimes that can be alive at once.
pub(crate) const MAX_HUBS: usize = 1024;

static HUBS: [global::AtomicPtr<Hub>; MAX_HUBS] =
    [const { global::AtomicPtr::new(ptr::null_mut()) }; MAX_HUBS];

/// Hubs that are not in use. A forked child makes hubs of its own.
fn free() -> &'static WaitLock<Vec<&'static Hub>> {
    shared_static! { static FREE: PerProcess<WaitLock<Vec<&'static Hub>>> = PerProcess::new(); }
    FREE.get(|| WaitLock::new(Vec::new()))
}

shared_static! {
    /// How many there are. Written under the lock of `free`.
    static MADE: global::AtomicU64 = global::AtomicU64::new(0);
}

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
        self.interrupted.store(false, Ordering::Relaxed);
        self.slow_poll.store(0, Ordering::Relaxed);
        self.first.store(new_ids(1).0, Ordering::Relaxed);
        self.phase.store(Phase::Open as u8, Ordering::Relaxed);
    }

    pub(crate) fn new(key: u16) -> Self {
        Self {
            key,
            idle: CachePadded::new(Idle::new()),
            workers: AtomicUsize::new(0),
            first: AtomicU64::new(0),
            phase: AtomicU8::new(Phase::Open as u8),
            deadline: AtomicU64::new(0),
            interrupted: AtomicBool::new(false),
            slow_poll: AtomicU64::new(0),
            hooked: Counter::default(),
            hooks: global::Mutex::new(None),
            mains: CachePadded::new(AtomicUsize::new(0)),
            registry: Registry::new(),
            recorder: Switch::new(),
            spawned: CachePadded::default(),
            ended: CachePadded::default(),
            leaked: Counter::default(),
            blocks: std::array::from_fn(|_| CachePadded::new(Block::new())),
        }
    }

    /// A new life counts from zero, and nothing runs: no thread counts now.
    fn reset_counts(&self) {
        self.spawned.set(0);
        self.ended.set(0);
        self.leaked.set(0);
        for block in &self.blocks {
            block.counts.reset();
            block.samples.poll.reset();
            block.samples.delay.reset();
            // Relaxed: no worker of this life has begun.
            block.held.store(0, Ordering::Relaxed);
            block.end_run();
        }
    }

    /// Turns debug mode on, before there are workers: from when on a poll is slow.
    pub(crate) fn set_slow_poll(&self, limit: Duration) {
        // Relaxed: handed to the workers by the start of their threads, and to others with the handle.
        self.slow_poll.store(clock::nanos(limit).max(1), Ordering::Relaxed);
    }

    /// As [`Current::slow_poll`](crate::util::current::Current::slow_poll).
    #[inline]
    pub(super) fn slow_poll(&self) -> u64 {
        // Relaxed: as above.
        self.slow_poll.load(Ordering::Relaxed)
    }

    /// The origin of a task of this runtime: in debug mode its polls are timed.
    #[inline]
    pub(super) fn timed(&self, origin: Origin) -> Origin {
        if self.slow_poll() == 0 { origin } else { origin.timed() }
    }

    /// Gives it back once its workers are gone and its tasks ended.
    pub(crate) fn recycle(&'static self) {
        debug_assert_eq!(self.live(), 0);
        self.recorder.forget(self.key);
        self.clear_hooks();
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

    /// Whether a task that names this hub is of its present life.
    pub(crate) fn has_born(&self, task: TaskId) -> bool {
        // Relaxed: as `workers`.
        task.0 >= self.first.load(Ordering::Relaxed)
    }

    pub(super) fn flavor(&self) -> Flavor {
        Flavor::of(self.workers())
    }

    pub(crate) fn workers(&self) -> usize {
        // Relaxed: constant during this life of the hub.
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

    /// Moves on to `phase`, never back, and wakes all workers to see it.
    pub(crate) fn advance(&self, phase: Phase) {
        // AcqRel: a thread that acts on the phase sees what was done before it.
        if self.phase.fetch_max(phase as u8, Ordering::AcqRel) < phase as u8 {
            for block in self.blocks() {
                block.doorbell.ring();
            }
        }
    }

    /// A main begins that SIGINT is to cancel.
    pub(crate) fn add_main(&self) {
        // Relaxed: a signal has no order with what other threads do.
        self.mains.fetch_add(1, Ordering::Relaxed);
    }

    /// It has ended.
    pub(crate) fn remove_main(&self) {
        self.mains.fetch_sub(1, Ordering::Relaxed);
    }

    /// SIGINT has come: marks every hub that has mains, and has its worker 0 look. Called by a handler:
    /// it takes no lock, allocates nothing, and does not wait.
    pub(crate) fn interrupt_all() {
        let hubs = HUBS.iter().take(MADE.load(Ordering::Relaxed) as usize);
        // Acquire: pairs with `acquire`.
        for hub in hubs.map(|place| place.load(Ordering::Acquire)) {
            // SAFETY: null, or leaked, so valid for ever.
            let Some(hub) = (unsafe { hub.as_ref() }) else { continue };
            if hub.mains.load(Ordering::Relaxed) > 0 {
                // Release: with `is_interrupted`, before the ring.
                hub.interrupted.store(true, Ordering::Release);
                hub.block(0).doorbell.ring();
            }
        }
    }

    /// Whether SIGINT has come.
    #[inline]
    pub(crate) fn is_interrupted(&self) -> bool {
        // Acquire: pairs with `interrupt_all`.
        self.interrupted.load(Ordering::Acquire)
    }

    /// Clears the mark: worker 0 handles the interrupt.
    pub(crate) fn take_interrupt(&self) {
        self.interrupted.store(false, Ordering::Relaxed);
    }

    /// How far all its workers are.
    pub(crate) fn ticks(&self) -> Vec<Tick> {
        let tick = |block: &Block| Tick { tick: block.tick(), ran: threads::ran(block.thread()) };
        self.blocks().map(tick).collect()
    }

    /// Whether a worker still runs the tasks of its tick in `ticks`, and has run for `least`, in
    /// ns, since then, or sleeps in a task. A worker that has done neither may be without a core.
    pub(crate) fn is_stuck_since(&self, ticks: &[Tick], least: u64) -> bool {
        self.blocks().zip(ticks).any(|(block, then)| {
            let thread = block.thread();
            let ran = || threads::ran(thread).saturating_sub(then.ran) >= least;
            block.is_at_work() && block.tick() == then.tick && (ran() || threads::is_asleep(thread))
        })
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

    /// The name of a task that has not ended. It looks at all of them.
    #[cold]
    pub(crate) fn name_of(&self, id: TaskId) -> Option<String> {
        let mut name = None;
        self.registry.for_each(|task| {
            if task.header().id() == id {
                name = task.name().map(str::to_owned);
            }
        });
        name
    }

    /// Queues a task from a thread that is none of its workers.
    pub(crate) fn push_foreign(&self, task: Runnable, favourite: usize) {
        let worker = self.choose(favourite);
        self.block(worker).inbox.push(task);
        if self.ring_if_parked(worker) {
            return;
        }
        // It waits behind a task that runs, perhaps for long.
        if self.idle.sleepers().is_some_and(|sleepers| sleepers.could_patrol) {
            self.arm_patrol();
        }
    }

    /// The worker for a task from elsewhere.
    #[inline]
    fn choose(&self, favourite: usize) -> usize {
        let workers = self.workers();
        if Flavor::of(workers) == Flavor::Single {
            return 0;
        }
        let mut now = None;
        let is_held =
            |worker| self.block(worker).is_held(|| *now.get_or_insert_with(clock::machine));
        let chosen = self.idle.choose(favourite % workers, workers, is_held);
        chosen.unwrap_or_else(|| self.least_held())
    }

    /// Where all are held: the worker that was the last to look at the clock. It may be about to
    /// end its tick, or to be given back its core.
    #[cold]
    fn least_held(&self) -> usize {
        let workers = 0..self.workers();
        workers.max_by_key(|&worker| self.block(worker).last_check()).unwrap_or(0)
    }

    /// Wakes a worker to patrol, if none does. Says whether there was one to wake.
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
