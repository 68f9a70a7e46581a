//! What a runtime does when everything in it waits: for tests.
//!
//! A *standstill* is found by the worker that parks last, between its final look and its sleep:
//! every worker is parked, no task is ready, and this worker has looked at its reactor since it
//! last polled a task. What follows depends on what waits for it, in this order:
//!
//! 1. Tasks that wait for a standstill ([`AllBlocked`]) are woken.
//! 2. A [played](crate::util::clock::played) clock jumps to the next deadline, and the workers that have
//!    timers then are woken. It stays while a blocking job is queued or runs, and while a call on a file is in a ring. While the kernel may have
//!    something to report (a descriptor is registered, or an operation in flight) it stays for a time,
//!    the patience of the clock, in which nothing has run.
//! 3. Where there is nothing of all that, no task can run again, unless a thread that is none of the
//!    runtime's wakes one. If none does so for a time, the main futures fail with a list of the tasks.
//!
//! A worker with neighbours does not see what their reactors have to report. So where the kernel may
//! have something, a standstill of several workers has to last for [`SETTLE`] before step 1.
//!
//! Where nobody waits for a standstill, all this costs one load for each time that a worker parks.

use std::{
    fmt::Write,
    future::Future,
    mem,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{
    hub::{Flavor, Hub, Phase},
    with_worker,
    worker::Worker,
};
use crate::{
    loom::{
        WaitGuard, WaitLock,
        atomic::{AtomicBool, Ordering},
    },
    reactor::timers::Timers,
    util::{
        clock::{self, played},
        panic,
    },
};

/// How long nothing must have run on several workers, in ns, if the kernel may have something to report.
const SETTLE: u64 = 1_000_000;
/// How often to look whether the last blocking job, or call on a file, has ended, for which nobody may wait.
const LOOK: Duration = Duration::from_millis(1);
/// The patience of a clock, unless the program sets another.
pub(crate) const PATIENCE: Duration = Duration::from_millis(10);
/// So many tasks are listed.
const LISTED: usize = 100;

/// Options that a test sets on its runtime.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Options {
    /// To play the program's clock.
    pub(crate) plays_clock: bool,
    /// To run what is ready in an order that depends on this.
    pub(crate) seed: Option<u64>,
    /// After how long a main future that no task and no timer can wake is given up.
    pub(crate) deadlock: Option<Duration>,
}

type PoolRests = Box<dyn Fn() -> bool + Send + Sync>;

/// The tasks, the clock and the mains that wait for a standstill of one runtime.
pub(crate) struct Standstill {
    /// Whether anything waits. Written under the lock of `state`.
    wanted: AtomicBool,
    options: Options,
    clock: Option<played::Clock>,
    pool_rests: OnceLock<PoolRests>,
    state: WaitLock<State>,
}

struct State {
    /// Tasks that wait for it.
    watchers: Vec<Arc<Ticket>>,
    /// Main futures.
    mains: Vec<Arc<Ticket>>,
    /// Polls of tasks when a standstill was last found, and the machine's time when so many were first
    /// found.
    calm: (u64, u64),
    /// The clock jumps.
    jumps: bool,
    /// How long it stays while the kernel may have something to report, in ns.
    patience: u64,
}

/// A task that waits for a text, once.
#[derive(Default)]
struct Ticket(WaitLock<(Option<Waker>, Option<String>)>);

impl Ticket {
    /// The text; until it is there, the waker of the task that waits.
    fn poll(&self, cx: &Context<'_>) -> Option<String> {
        let waker = cx.waker().clone();
        let mut ticket = self.0.lock();
        let text = ticket.1.take();
        let old = if text.is_none() { ticket.0.replace(waker) } else { ticket.0.take() };
        drop(ticket);
        panic::discard_foreign(old);
        text
    }

    fn finish(&self, text: String) -> Option<Waker> {
        let mut ticket = self.0.lock();
        ticket.1 = Some(text);
        ticket.0.take()
    }
}

/// What a worker is to do.
pub(super) enum Settled {
    /// Not to sleep: there is something to do.
    Stay,
    /// To sleep, for so long at most.
    Sleep(Option<Duration>),
}

impl Standstill {
    pub(crate) fn new(options: Options) -> Arc<Self> {
        Arc::new(Self {
            wanted: AtomicBool::new(options.plays_clock),
            options,
            clock: options.plays_clock.then(played::Clock::new),
            pool_rests: OnceLock::new(),
            state: WaitLock::new(State {
                watchers: Vec::new(),
                mains: Vec::new(),
                calm: (u64::MAX, 0),
                jumps: true,
                patience: clock::nanos(PATIENCE),
            }),
        })
    }

    /// How it learns that no blocking job is queued or runs.
    pub(crate) fn set_pool(&self, rests: impl Fn() -> bool + Send + Sync + 'static) {
        let _ = self.pool_rests.set(Box::new(rests));
    }

    /// The clock that it plays.
    pub(crate) fn clock(&self) -> Option<&played::Clock> {
        self.clock.as_ref()
    }

    pub(super) fn seed(&self) -> Option<u64> {
        self.options.seed
    }

    /// Whether the clock jumps by itself.
    pub(crate) fn set_jumps(&self, hub: &Hub, jumps: bool) {
        self.state.lock().jumps = jumps;
        // A worker that sleeps judges anew.
        hub.wake_all();
    }

    pub(crate) fn set_patience(&self, hub: &Hub, patience: Duration) {
        self.state.lock().patience = clock::nanos(patience);
        hub.wake_all();
    }

    /// Moves the clock on, and has the timers fire that are due then.
    pub(crate) fn advance(&self, hub: &Hub, by: Duration) {
        if let Some(clock) = &self.clock {
            clock.move_to(clock.now().saturating_add(clock::nanos(by)));
            hub.wake_all();
        }
    }

    #[inline]
    pub(super) fn is_wanted(&self) -> bool {
        // Relaxed: a task that waits began to do so before its worker parked. The worker that finds
        // a standstill parks after that, by an RMW of the same word.
        self.wanted.load(Ordering::Relaxed)
    }

    /// Changes what waits.
    fn edit<R>(&self, edit: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock();
        let result = edit(&mut state);
        self.note(&state);
        result
    }

    /// Notes, with the lock, whether anybody waits.
    fn note(&self, state: &State) {
        let waits = !state.watchers.is_empty() || !state.mains.is_empty() || self.clock.is_some();
        self.wanted.store(waits, Ordering::Relaxed);
    }

    fn pool_rests(&self) -> bool {
        self.pool_rests.get().is_none_or(|rests| rests())
    }

    /// The number of a main future, which is given up when nothing can wake it.
    fn add_main(self: &Arc<Self>) -> Option<Main> {
        self.options.deadlock?;
        let ticket = Arc::new(Ticket::default());
        self.edit(|state| state.mains.push(ticket.clone()));
        Some(Main { standstill: self.clone(), ticket })
    }
}

impl Hub {
    /// Whether every worker is parked, and no task waits in an inbox.
    fn is_at_rest(&self) -> bool {
        self.idle.are_all_parked(self.workers()) && !self.blocks().any(|block| block.has_mail())
    }

    /// How often tasks have been polled on all workers.
    fn polls(&self) -> u64 {
        self.blocks().map(|block| block.counts.polls.get()).sum()
    }

    /// Wakes every worker that sleeps.
    fn wake_all(&self) {
        for (worker, block) in self.blocks().enumerate() {
            if self.idle.notify(worker) {
                block.doorbell.ring();
            }
        }
    }

    /// The tasks that have not ended, in words.
    pub(crate) fn list_tasks(&self) -> String {
        let mut tasks = Vec::new();
        self.registry.for_each(|task| {
            tasks.push((task.header().id().0, format!("{task:?}")));
        });
        tasks.sort_unstable();
        let mut list = format!("{} tasks wait:", tasks.len());
        for (_, task) in tasks.iter().take(LISTED) {
            let _ = write!(list, "\n  {task}");
        }
        if let Some(more) = tasks.len().checked_sub(LISTED + 1) {
            let _ = write!(list, "\n  and {} more", more + 1);
        }
        list
    }
}

impl Worker {
    /// Before it parks, where somebody waits for a standstill: looks at the reactor once more, if
    /// tasks have run here since the last time. `true`: it did, and the worker has to turn its loop
    /// again.
    pub(super) fn looks_again(&self) -> bool {
        let polls = self.block().counts.polls.get();
        if self.looked.replace(polls) == polls {
            return false;
        }
        self.turn(Some(Duration::ZERO));
        true
    }

    /// Between the final look and sleep, where something waits for a standstill. Adds the wakers of
    /// the tasks to be woken to `wakes`.
    #[cold]
    pub(super) fn settle(&self, wakes: &mut Vec<Waker>) -> Settled {
        let (hub, standstill) = (self.hub(), self.standstill());
        if self.looked.get() != self.block().counts.polls.get() {
            return Settled::Stay;
        }
        // First: a job that has ended by now has woken the task that waits for it.
        let pool_rests = standstill.pool_rests();
        // With the lock: a worker that has found its timers due, and leaves, is parked until then, or its
        // timers are gone.
        let mut state = standstill.state.lock();
        if !hub.is_at_rest() {
            // A worker that is awake, or about to wake, comes here in its turn.
            return Settled::Sleep(None);
        }
        // A request that has been sent to a ring's worker, which is being woken for it, counts as well.
        let waits = self
            .homes()
            .any(|home| home.registered() + home.in_flight() > 0 || home.has_requests());
        let now = clock::machine();
        let polls = hub.polls();
        if state.calm.0 != polls {
            state.calm = (polls, now);
        }
        let lasts = now.saturating_sub(state.calm.1);
        let wait_for = |time: u64| Settled::Sleep(Some(Duration::from_nanos(time - lasts)));

        let first = (0..hub.workers()).filter_map(|worker| self.first_deadline_of(worker)).min();
        // Again: a worker whose timers were due leaves without the lock. It may have fired them since the look above:
        // then their tasks run now, or have run and set others.
        if !hub.is_at_rest() || hub.polls() != polls {
            return Settled::Sleep(None);
        }
        if let Some(clock) = standstill.clock()
            && first.is_some_and(|first| first <= clock.now())
        {
            // Timers that are due are about to fire.
            return self.wake_for_timers(clock.now());
        }
        if !state.watchers.is_empty() {
            if waits && self.flavor() == Flavor::Multi && lasts < SETTLE {
                return wait_for(SETTLE);
            }
            let watchers = mem::take(&mut state.watchers);
            self.end_standstill(state);
            wakes.extend(watchers.iter().filter_map(|ticket| ticket.finish(String::new())));
            return Settled::Stay;
        }
        if let (Some(clock), Some(first), true) = (standstill.clock(), first, state.jumps) {
            if !pool_rests {
                return Settled::Sleep(Some(LOOK));
            }
            if waits && lasts < state.patience {
                return wait_for(state.patience);
            }
            clock.move_to(first);
            return self.wake_for_timers(clock.now());
        }
        if waits || first.is_some() && standstill.clock().is_none() {
            return Settled::Sleep(None);
        }
        self.settle_mains(state, pool_rests, lasts, wakes)
    }

    /// The same where no timer can fire and the kernel has nothing to report.
    fn settle_mains(
        &self,
        mut state: WaitGuard<'_, State>,
        pool_rests: bool,
        lasts: u64,
        wakes: &mut Vec<Waker>,
    ) -> Settled {
        let Some(limit) = self.standstill().options.deadlock.map(clock::nanos) else {
            return Settled::Sleep(None);
        };
        if state.mains.is_empty() || self.hub().phase() != Phase::Open {
            return Settled::Sleep(None);
        }
        if !pool_rests {
            return Settled::Sleep(Some(LOOK));
        }
        if lasts < limit {
            return Settled::Sleep(Some(Duration::from_nanos(limit - lasts)));
        }
        let mains = mem::take(&mut state.mains);
        self.end_standstill(state);
        self.report_deadlock(&mains, wakes, limit);
        Settled::Stay
    }

    /// Some that waited for it have been taken from `state`, to be woken.
    fn end_standstill(&self, state: WaitGuard<'_, State>) {
        // Before the lock is released: the next worker that looks sees this one awake. This one
        // will wake the tasks.
        let _ = self.hub().idle.notify(self.index());
        self.standstill().note(&state);
    }

    /// Reports to main futures that nothing can wake them.
    fn report_deadlock(&self, mains: &[Arc<Ticket>], wakes: &mut Vec<Waker>, limit: u64) {
        let text = format!(
            "deadlock: nothing can wake the main future. No task is ready, no timer can fire, nothing is \
             under way in the kernel or in the blocking pool, and no other thread has woken a task for \
             {:?}. {}",
            Duration::from_nanos(limit),
            self.hub().list_tasks()
        );
        wakes.extend(mains.iter().filter_map(|ticket| ticket.finish(text.clone())));
    }

    /// Wakes the workers that have timers which are due by now.
    fn wake_for_timers(&self, now: u64) -> Settled {
        let hub = self.hub();
        let mut settled = Settled::Sleep(None);
        for worker in 0..hub.workers() {
            if self.first_deadline_of(worker).is_none_or(|first| first > now) {
                continue;
            }
            if worker == self.index() {
                settled = Settled::Stay;
            } else if hub.idle.notify(worker) {
                hub.block(worker).doorbell.ring();
            }
        }
        settled
    }

    /// The earliest deadline of a worker's timers, but for those that mean never.
    fn first_deadline_of(&self, worker: usize) -> Option<u64> {
        let first = |timers: &mut Timers| {
            // What was cancelled elsewhere is not waited for.
            timers.drain_mailbox();
            timers.first().filter(|&first| first != u64::MAX)
        };
        match worker == self.index() {
            true => self.timers.with(first),
            false => self.hub().block(worker).timers.with(first)?,
        }
    }
}

/// A main future to which a deadlock is reported.
struct Main {
    standstill: Arc<Standstill>,
    ticket: Arc<Ticket>,
}

impl Drop for Main {
    fn drop(&mut self) {
        let own = |ticket: &Arc<Ticket>| Arc::ptr_eq(ticket, &self.ticket);
        self.standstill.edit(|state| state.mains.retain(|ticket| !own(ticket)));
    }
}

/// Whether the main future on this worker is watched for a deadlock.
#[derive(Default)]
pub(crate) struct MainWatch(Watched);

#[derive(Default)]
enum Watched {
    /// It has not been polled.
    #[default]
    New,
    No,
    Yes(Main),
}

impl MainWatch {
    /// At each poll of the main future. Returns the report if it can never be woken.
    #[inline]
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Option<String> {
        match &self.0 {
            Watched::No => None,
            Watched::Yes(main) => main.ticket.poll(cx),
            Watched::New => {
                let main = with_worker(|worker| worker.standstill().add_main()).flatten();
                let Some(main) = main else {
                    self.0 = Watched::No;
                    return None;
                };
                main.ticket.poll(cx);
                self.0 = Watched::Yes(main);
                None
            }
        }
    }
}

/// Waits for a standstill of the runtime whose worker polls it first.
#[derive(Default)]
pub(crate) struct AllBlocked(Option<(Arc<Standstill>, Arc<Ticket>)>);

impl Future for AllBlocked {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some((_, ticket)) = &self.0 {
            return match ticket.poll(cx) {
                None => Poll::Pending,
                Some(_) => Poll::Ready(()),
            };
        }
        let standstill = with_worker(|worker| worker.standstill().clone());
        let standstill = standstill.expect(
            "wait_all_blocked awaited outside a ringloop runtime: call it inside ringloop::run or on a task",
        );
        let ticket = Arc::new(Ticket::default());
        ticket.poll(cx);
        standstill.edit(|state| state.watchers.push(ticket.clone()));
        self.0 = Some((standstill, ticket));
        Poll::Pending
    }
}

impl Drop for AllBlocked {
    fn drop(&mut self) {
        let Some((standstill, own)) = self.0.take() else { return };
        standstill.edit(|state| state.watchers.retain(|ticket| !Arc::ptr_eq(ticket, &own)));
    }
}
