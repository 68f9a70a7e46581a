//! The worker: its queues, and its loop.

mod notes;
mod parts;
mod seat;
mod spawn;
mod tasks;
#[cfg(test)]
mod tests;

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    mem,
    sync::Arc,
    task::Waker,
    time::Duration,
};

use rustix::io::Errno;

pub(crate) use self::seat::{Call, Peer, Seat};
use super::{
    Address, balance,
    block::Block,
    homes::Load,
    hooks,
    hub::{Flavor, Hub, Phase},
    idle::Sleep,
    monitor::Monitor,
    patrol::Patrol,
    queue::{KEEPS, RunQueue},
    registry::FreeSlots,
    standstill::{Settled, Standstill},
    timers,
};
use crate::{
    loom::atomic::Ordering,
    reactor::{
        Reactor, Until,
        timers::{Timers, Trim},
    },
    record::{Kind, Pen},
    task::{self, Header, Ran, Runnable},
    util::{
        clock::{self, played},
        current, fork, panic,
        rand::Rng,
        record::Watch,
        threads,
    },
};

/// Task time between two looks at the reactor, in ns.
const TICK_NS: u64 = 200_000;
/// Time between two readings of the clock within a tick, in ns, as far as it can be
/// predicted: a reading costs 23, and what goes with it as much.
const CHECK_NS: u64 = 50_000;
/// Polls between two readings at most.
const CHECK_POLLS: u64 = 16;
/// ... and before the first.
const FIRST_CHECK: u64 = 4;
/// Tasks that are taken from an inbox at a time: more of them would keep a worker from its timers.
pub(super) const TAKE: usize = 256;
/// Timers that fire in one tick, less the tasks that are queued: what has fired is to run while
/// it is in the caches.
const FIRE: usize = 256;
/// ... but as many at least.
const FIRE_LEAST: usize = 32;
/// A deadline that comes so long after the beginning of a tick, in ns, is only missed by a task that
/// holds the worker.
const FAR: u64 = 10_000_000;
/// While a runtime ends, nobody sleeps longer than this: a task may have been spawned after the
/// others were cancelled.
const CLOSING_PARK: Duration = Duration::from_millis(10);
/// How long a worker's end waits, within the runtime's deadline, for the kernel to take
/// what is to be sent.
const SENDING: Duration = Duration::from_secs(2);
/// ... and for it to let go of what is cancelled, which it does at once, but for a read of
/// a file that it is just at.
const CANCELLING: Duration = Duration::from_millis(50);
/// Task ids that a worker takes at a time.
const IDS: u64 = 1 << 16;

/// A worker: of one thread, from its start to its end.
pub(crate) struct Worker {
    index: usize,
    flavor: Flavor,
    hub: &'static Hub,
    /// Its own part of the hub.
    block: &'static Block,
    peers: Arc<[Peer]>,
    queue: RunQueue,
    /// Tasks ever pushed to `queue`; with its length, a clock of arrivals.
    pushed: Cell<u64>,
    /// Tasks that are not `Send`, each with `pushed` at its arrival.
    local: RefCell<VecDeque<(u64, Runnable)>>,
    lifo_run: Cell<u8>,
    reactor: RefCell<Reactor>,
    pub(super) timers: timers::Own,
    wakes: RefCell<Vec<Waker>>,
    slots: FreeSlots,
    ids: Cell<(u64, u64)>,
    /// The last look at the inboxes took as much as it may: there may be more.
    more_mail: Cell<bool>,
    /// Moving average of a poll's time, in ns.
    poll_time: Cell<u64>,
    rng: Rng,
    pub(super) patrol: Patrol,
    pub(super) load: Load,
    /// What it writes events with, if the runtime is recorded.
    pub(super) pen: Pen,
    /// If there is no other worker to patrol.
    pub(super) monitor: Option<Monitor>,
    /// The kernel has dropped completions of its ring.
    has_lost: Cell<bool>,
    /// The process of the worker: a task that has forked must not return in the child.
    process: fork::Native,
    standstill: Arc<Standstill>,
    /// For its hooks.
    watch: Watch,
    /// Called before it sleeps.
    on_park: Option<Call>,
    /// The clock of its tasks and timers, if that is not the machine's.
    clock: Option<played::Clock>,
    /// [`FAR`]; with a clock of its own, no deadline is far from a tick.
    far: u64,
    /// If ready tasks run in an order of its own.
    shuffled: Option<Rng>,
    /// Polls of tasks by the last look at the reactor [for a standstill](Self::looks_again).
    pub(super) looked: Cell<u64>,
}

impl Worker {
    pub(crate) fn new(index: usize, hub: &'static Hub, seat: Seat, peers: Arc<[Peer]>) -> Self {
        let standstill = seat.standstill;
        let clock = standstill.clock().cloned();
        let now = clock.as_ref().map_or_else(clock::machine, played::Clock::now);
        let flavor = hub.flavor();
        Self {
            index,
            flavor,
            hub,
            block: hub.block(index),
            peers,
            queue: seat.queue,
            pushed: Cell::new(0),
            local: RefCell::new(VecDeque::new()),
            lifo_run: Cell::new(0),
            reactor: RefCell::new(seat.reactor),
            timers: timers::Own::open(hub.block(index), flavor, now),
            wakes: RefCell::new(Vec::new()),
            slots: FreeSlots::default(),
            ids: Cell::new((0, 0)),
            more_mail: Cell::new(false),
            poll_time: Cell::new(0),
            rng: Rng::new(),
            patrol: Patrol::new(hub.workers()),
            load: Load::new(),
            pen: Pen::new(index),
            monitor: (flavor == Flavor::Single).then(Monitor::new),
            has_lost: Cell::new(false),
            process: fork::Native::new(),
            far: if clock.is_some() { u64::MAX } else { FAR },
            clock,
            // Each worker has a stream of its own.
            shuffled: standstill.seed().map(|seed| Rng::from_seed(seed, index as u64)),
            standstill,
            watch: hooks::watch(hub, hub.block(index)),
            on_park: seat.on_park,
            looked: Cell::new(u64::MAX),
        }
    }

    /// Makes this thread the worker while `body` runs: then its tasks find it.
    pub(crate) fn enter<R>(&self, body: impl FnOnce() -> R) -> R {
        /// Foreign code is contained wherever it is called. If a panic comes through all
        /// the same, queues and duties are in an unknown state: better to end here.
        struct Unwound;
        impl Drop for Unwound {
            fn drop(&mut self) {
                std::process::abort();
            }
        }

        current::with(|current| {
            debug_assert!(current.worker.get().is_null());
            self.block().set_thread(threads::id());
            current.worker.set(std::ptr::from_ref(self).cast());
            current.slow_poll.set(self.hub.slow_poll());
            current.tick.watch.set(self.watch);
        });
        let unwound = Unwound;
        let started = self.reactor.borrow_mut().start();
        started.expect("what a ring needs to start was tried out when it was made");
        let result = task::hidden(body);
        std::mem::forget(unwound);
        current::with(|current| {
            current.worker.set(std::ptr::null());
            current.slow_poll.set(0);
            current.tick.end();
        });
        result
    }

    /// Whether it has neighbours.
    #[inline]
    pub(super) fn flavor(&self) -> Flavor {
        self.flavor
    }

    /// The loop, until `done`. The thread is [entered](Self::enter).
    ///
    /// Meanwhile this thread is on the program's time, but for `done`.
    pub(crate) fn run(&self, done: impl Fn() -> bool) {
        let _playing = self.clock.as_ref().map(played::Clock::play);
        let done = || match self.clock {
            None => done(),
            Some(_) => played::outside(&done),
        };
        loop {
            self.block().begin_tick();
            self.pen.look(&self.hub.recorder, self.hub.key());
            self.drain_inboxes();
            if self.patrol.is_on_duty() && self.has_tasks() {
                self.leave_patrol();
            }
            let now = match &self.shuffled {
                None => self.run_tasks(&done),
                Some(rng) => self.run_shuffled(rng, &done),
            };
            if done() {
                self.end_polls();
                return;
            }
            self.finish_tick(now, &done);
        }
    }

    fn drain_inboxes(&self) {
        self.take_mail();
        let block = self.block();
        if block.timers.mailbox.has_cancelled() {
            self.timers.with(Timers::drain_mailbox);
        }
    }

    /// Takes some of what other threads have left here. The caller judges what the queue has become.
    #[inline]
    fn take_mail(&self) {
        let block = self.block();
        let local = block.local_inbox.take(TAKE, |task| self.push_local(task));
        let stealable = block.inbox.take(TAKE, |task| self.push_quietly(task));
        self.more_mail.set(local.max(stealable) == TAKE);
    }

    /// The next task. Without one, the rest of a full inbox comes before the end of the tick.
    // Always, as the next ones: that a test's tick calls them as well must not make them calls here.
    #[inline(always)]
    pub(super) fn next_task_or_mail(&self) -> Option<Runnable> {
        // Not by `or_else`: the compiler calls it, for each task.
        match self.next_task() {
            None if self.more_mail.get() => self.next_of_mail(),
            next => next,
        }
    }

    #[cold]
    fn next_of_mail(&self) -> Option<Runnable> {
        self.take_mail();
        self.next_task()
    }

    /// Runs tasks until there are none, or the tick's time is up. Returns the time.
    fn run_tasks(&self, done: &impl Fn() -> bool) -> u64 {
        // What was drained or stolen waits behind the first that runs.
        if self.backlog() >= balance::TASKS {
            self.judge_push();
        }
        let start = clock::machine();
        self.begin_run(start);
        if self.patrol.is_unwatched(start) && self.has_tasks() {
            self.ensure_patrol();
        }
        let (mut since, mut polls) = (start, 0);
        // Few at first: what the last tick saw need not hold for this one.
        let mut check = self.polls_between_checks().min(FIRST_CHECK);
        while let Some(task) = self.next_task_or_mail() {
            self.poll(task);
            polls += 1;
            if polls == check {
                let now = clock::machine();
                self.note_polls(polls, since, now);
                (since, polls) = (now, 0);
                check = self.polls_between_checks().min(2 * check);
                self.judge_backlog();
                if now - start >= TICK_NS || done() {
                    return now;
                }
            }
        }
        if polls == 0 {
            return since;
        }
        let now = clock::machine();
        self.note_polls(polls, since, now);
        now
    }

    /// Whether the running tick, of which there is none between ticks, began long before `time`.
    #[inline]
    pub(super) fn is_far(&self, time: u64) -> bool {
        // Relaxed: this thread's own word.
        time > self.block().since.load(Ordering::Relaxed).saturating_add(self.far)
    }

    fn polls_between_checks(&self) -> u64 {
        (CHECK_NS / self.poll_time.get().max(1)).clamp(1, CHECK_POLLS)
    }

    #[inline(always)]
    pub(super) fn note_polls(&self, polls: u64, since: u64, now: u64) {
        let block = self.block();
        block.counts.polls.add(polls);
        block.note_check(now);
        self.set_tick(now);
        block.note_queued(self.queue.len() + self.local.borrow().len());
        self.patrol.note_work(now);
        let average = (3 * self.poll_time.get() + (now - since) / polls) / 4;
        self.poll_time.set(average);
        // Relaxed: an estimate, for thieves.
        block.poll_time.store(average, Ordering::Relaxed);
    }

    /// Tasks begin to run.
    #[inline]
    pub(super) fn begin_run(&self, now: u64) {
        self.block().begin_run(now);
        self.set_tick(now);
    }

    /// For the records of the tasks that it polls.
    #[inline]
    fn set_tick(&self, now: u64) {
        let all = self.watch.slow != u64::MAX;
        current::with(|current| current.tick.begin(now, all));
    }

    #[inline]
    pub(super) fn poll(&self, task: Runnable) {
        self.block().set_running(task.header());
        self.note_poll(Kind::Poll, task.header());
        self.turn_of(task);
        self.block().set_idle();
    }

    #[inline]
    pub(super) fn turn_of(&self, task: Runnable) {
        let ran = task.run();
        self.process.expect_parent();
        if let Ran::Again(task) = ran {
            match Address(task.header().place()).owner() {
                Some(_) => self.push_local(task),
                None => self.push_back(task),
            }
        }
    }

    /// After the tasks of a tick: timers, then I/O, others' work, or sleep.
    fn finish_tick(&self, now: u64, done: &impl Fn() -> bool) {
        if self.hub.phase() != Phase::Open {
            self.finish_closing();
        }
        self.end_polls();
        self.expire_timers(now);
        self.leave_if_held(now);
        self.help_neighbours(now);
        // Also with stolen tasks: there may be something to steal at the end of each tick.
        if self.has_tasks() || self.search_uninvited() {
            self.turn(Some(Duration::ZERO));
            self.judge_backlog();
            self.patrol_if_due(now);
            self.give_homes(now);
        } else {
            self.load.slept();
            self.park(now, done);
        }
    }

    /// At the machine's time `now`.
    fn expire_timers(&self, now: u64) {
        let now = self.clock.as_ref().map_or(now, played::Clock::now);
        if self.next_deadline().is_some_and(|deadline| deadline <= now) {
            let queued = self.backlog() + self.local.borrow().len();
            let limit = FIRE.saturating_sub(queued).max(FIRE_LEAST);
            self.with_wakes(|wakes| {
                self.timers.with(|timers| timers.expire(now, limit, wakes));
                self.note_timers(wakes.len());
            });
        }
    }

    /// When the next timer may be due.
    fn next_deadline(&self) -> Option<u64> {
        // With none armed there is nothing to look at; what others cancel is not missed.
        if self.block().armed_timers() == 0 {
            return None;
        }
        self.timers.with(|timers| timers.next_deadline())
    }

    /// Sleeps in the reactor, by the protocol of the essay.
    fn park(&self, now: u64, done: &impl Fn() -> bool) {
        let (hub, me) = (self.hub, self.index);
        // Before the last look: what it wakes is not slept over.
        if let Some(call) = &self.on_park {
            panic::contain(|| call());
        }
        if self.standstill.is_wanted() && self.looks_again() {
            return self.patrol_if_due(now);
        }
        let trim = match self.block().timers.mailbox.trim_pool(now) {
            Trim::Nothing => None,
            Trim::Later(pause) => Some(pause),
            Trim::Again => {
                self.turn(Some(Duration::ZERO));
                return self.patrol_if_due(now);
            }
        };
        let (mut slept, mut napped) = (false, false);
        // What wakes up is queued once this worker counts as busy again: else it
        // could announce the backlog to itself.
        self.with_wakes(|wakes| {
            let sleep = |how| {
                let limit = match self.standstill.is_wanted() {
                    false => None,
                    true => match self.settle(wakes) {
                        Settled::Stay => return,
                        Settled::Sleep(limit) => limit,
                    },
                };
                let pause = match how {
                    Sleep::Patrol => Some(self.patrol.pause()),
                    Sleep::Long => self.patrol.nap(now),
                };
                self.block().counts.parks.add(1);
                self.note_sleep(Kind::Park);
                self.turn_into(self.park_timeout([pause, trim, limit]), wakes);
                self.note_sleep(Kind::Unpark);
                self.block().counts.wakeups.add(1);
                (slept, napped) = (true, pause.is_some());
            };
            hub.idle.park(
                me,
                hub.workers(),
                self.patrol.is_quiet(),
                || self.must_stay(done),
                sleep,
            );
            if !slept {
                // What kept it awake may do so each time.
                self.turn_into(Some(Duration::ZERO), wakes);
            }
        });
        self.search_invited();
        self.patrol.set_duty(hub.idle.is_patroller(me));
        if slept && (napped || self.patrol.is_on_duty()) {
            let now = clock::machine();
            self.expire_timers(now);
            if !self.has_tasks() && !self.block().has_mail() {
                self.look_around(now);
            }
        } else if !slept {
            self.patrol_if_due(now);
        }
    }

    /// A worker that runs tasks may be the next to be held: the next worker that parks, or ends a
    /// tick, takes the duty. Where work waits already, or a worker is held, it may take long until
    /// one does: then the duty is given to a sleeper.
    #[cold]
    fn leave_patrol(&self) {
        self.hub.idle.give_up_patrol(self.index);
        self.patrol.set_duty(false);
        let waits =
            |(block, peer): (&Block, &Peer)| block.has_tasks_to_take() || peer.backlog() > 0;
        if self.patrol.saw_stuck() || self.others().any(waits) {
            self.hub.arm_patrol();
        }
    }

    /// The final look before sleep.
    fn must_stay(&self, done: &impl Fn() -> bool) -> bool {
        self.block().has_mail() || self.has_tasks() || done() || self.sees_backlog()
    }

    /// How long to sleep: for the timers, to look around after a pause, to trim the pool of timers, and
    /// to look for a standstill.
    fn park_timeout(&self, [pause, trim, look]: [Option<Duration>; 3]) -> Option<Duration> {
        // A clock of its own does not go on while it sleeps.
        let deadline = if self.clock.is_none() { self.next_deadline() } else { None };
        let until = deadline
            .map(|deadline| Duration::from_nanos(deadline.saturating_sub(clock::machine())));
        let closing = (self.hub.phase() != Phase::Open).then_some(CLOSING_PARK);
        [until, pause, trim, look, closing].into_iter().flatten().min()
    }

    /// Turns the reactor and wakes the tasks that it reports, as a batch.
    pub(super) fn turn(&self, timeout: Option<Duration>) {
        self.with_wakes(|wakes| self.turn_into(timeout, wakes));
    }

    fn turn_into(&self, timeout: Option<Duration>, wakes: &mut Vec<Waker>) {
        let mut reactor = self.reactor.borrow_mut();
        let before = self.begin_turn(&reactor);
        let turned = reactor.turn(timeout, wakes);
        self.end_turn(&reactor, before);
        if let Err(error) = turned {
            if Errno::from_io_error(&error) == Some(Errno::BADR) {
                return self.has_lost.set(true);
            }
            panic!(
                "{} failed, so that no worker can go on: {error}; a sandbox that refuses it \
                 has to be entered before the runtime is built",
                reactor.waits_by()
            );
        }
    }

    /// Has wakers collected and then calls them: foreign code, run with nothing
    /// borrowed, each contained (S6, S8). Those that are not tasks' come last, for they may take
    /// their time: what else was woken is queued and announced by then.
    pub(super) fn with_wakes(&self, collect: impl FnOnce(&mut Vec<Waker>)) {
        let mut wakes = self.wakes.take();
        collect(&mut wakes);
        if !wakes.is_empty() {
            debug_assert!(!current::in_task(), "what a task wakes has the LIFO slot");
            let of_tasks = wakes.extract_if(.., |waker| task::is_tasks(waker));
            of_tasks.filter_map(task::wake_for).for_each(|task| self.push_reported(task));
            self.judge_push();
            if !wakes.is_empty() {
                self.wake_foreign(mem::take(&mut wakes));
            }
        }
        wakes.shrink_to(KEEPS);
        self.wakes.replace(wakes);
        let garbage = self.reactor.borrow_mut().take_garbage();
        panic::discard_foreign(garbage);
    }

    #[cold]
    fn wake_foreign(&self, wakers: Vec<Waker>) {
        // One that blocks holds the worker as a task may.
        if self.has_tasks() && self.flavor == Flavor::Multi {
            self.ensure_patrol();
        }
        wakers.into_iter().for_each(|waker| panic::contain(|| waker.wake()));
    }

    /// While the runtime ends: cancels again, for tasks that may have been missed. The last task's
    /// end stops all workers.
    #[cold]
    fn finish_closing(&self) {
        if self.hub.live() == 0 {
            self.hub.advance(Phase::Stopped);
        } else if self.index == 0 && !self.has_tasks() {
            self.hub.cancel_all();
        }
    }

    /// A task ended here.
    pub(super) fn count_end(&self, task: &Header, slot: u32, panicked: bool) {
        self.note_end(task, panicked);
        self.hub.registry.remove(slot, task, Some(&self.slots));
        self.block().counts.ended.add(1);
    }

    /// Whether the runtime has stopped and nothing is left here: a destructor that ran after
    /// the last task was counted may have spawned another.
    pub(crate) fn has_stopped(&self) -> bool {
        self.hub.phase() == Phase::Stopped && !self.has_tasks() && !self.block().has_mail()
    }

    /// Whether completions of its ring were lost: then some tasks would wait for ever, and the
    /// runtime has to end.
    pub(crate) fn has_lost(&self) -> bool {
        self.has_lost.get()
    }

    /// The worker's end: nothing runs here any more.
    pub(crate) fn close(self) {
        if let Some(monitor) = &self.monitor {
            monitor.end(self.hub.deadline());
        }
        let orphans = self.timers.close();
        self.with_wakes(|wakes| wakes.extend(orphans));
        self.hub.registry.retire(&self.slots);
        let (hub, block) = (self.hub, self.block());
        let mut wakes = self.wakes.take();
        let (now, limit) = (clock::machine(), hub.deadline());
        let until = Until {
            sent: limit.saturating_sub(clock::nanos(CANCELLING)).min(now + clock::nanos(SENDING)),
            ended: limit.min(now + clock::nanos(SENDING)).max(now) + clock::nanos(CANCELLING),
        };
        let (leaked, garbage) = self.reactor.into_inner().close(until, &mut wakes);
        hub.count_leaked(leaked);
        wakes.into_iter().for_each(|waker| panic::contain(|| waker.wake()));
        panic::discard_foreign(garbage);
        block.doorbell.close();
    }
}
