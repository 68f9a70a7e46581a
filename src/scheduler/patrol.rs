//! The patrol: finding a worker that is held by one long poll.
//!
//! It is a duty, not a thread: while anyone is busy, one worker has it, parked with a timeout, or,
//! when all are busy, at the ends of its ticks. It compares each worker's tick counter with what it
//! saw last. A busy worker that has not ticked since is held. The patrol takes its queue, its LIFO
//! slot, its stealable inbox and the events of its reactor, fires its timers, and, if it goes on,
//! names the task.
//!
//! Besides, each worker that is awake glances at its neighbours: that finds a hog sooner, and wakes
//! no worker. A tick that has become long may be held by a task, or its thread may have been
//! preempted. So a glance asks the kernel how long the thread has run, and the next glance sees
//! whether it still runs.
//!
//! The duty ends soon after all workers have gone to sleep, and its holder may be the worker that
//! is held. So all others that sleep only nap, and look around when they wake, as long as some
//! worker works now and then. A worker that begins to work after a longer rest names a patroller.

use std::{cell::Cell, mem, time::Duration};

use super::{
    block::Block,
    hub::{Flavor, Hub},
    idle::MAX_WORKERS,
    worker::{TAKE, Worker},
};
use crate::{
    error::{ErrorEvent, TaskId, hook},
    loom::atomic::Ordering,
    record::Kind,
    util::{clock, threads},
};

/// A worker whose tasks have run for so long, in ns, is held. A thread that is preempted meanwhile
/// looks the same, and is back sooner: to take its sockets from it costs more than to wait (2.7
/// times the CPU with 1000 connections, when this was 0.5 ms).
const STUCK_NS: u64 = 5_000_000;
/// A worker is also held if its thread has run for so long between two glances, in ns, and is still
/// in the same tick: no tick takes that long by itself.
const HELD_NS: u64 = 300_000;
/// ... and its sockets leave it if its thread has run for so long, in ns, since the first glance at the tick.
/// A tick of a few polls that are long, but hold nobody, takes less.
const LEAVE_NS: u64 = 2_000_000;
/// A worker that is awake looks at so many neighbours, each time that this has passed, in ns.
const NEIGHBOURS: usize = 4;
const GLANCE_NS: u64 = 500_000;

/// The pause between two looks, at first and while a worker is held. A timed sleep costs 20-37 us
/// of CPU: 1.5 % of a core at this pace.
const PAUSE_MIN: Duration = Duration::from_millis(2);
/// It doubles up to this, while no worker is held: 0.2 % of a core.
const PAUSE_MAX: Duration = Duration::from_millis(16);
/// ... and up to this, while all are asleep whenever they are looked at, and have not polled
/// more often than so since the last look.
const PAUSE_LIGHT: Duration = Duration::from_millis(64);
const LIGHT_POLLS: u64 = 16;
/// A nap, times the number of workers: all of them together wake up 16 times a second.
const NAP: Duration = Duration::from_millis(64);
/// The longest nap, which bounds how long a held worker's tasks wait; each of many workers wakes up
/// 4 times a second.
const NAP_MAX: Duration = Duration::from_millis(256);
/// A poll this long is reported to the error hook. asyncio: `slow_callback_duration`.
const HOG: Duration = Duration::from_millis(100);

/// So much of the time between two looks, in ns, may count as sleep: if there is more, the worker
/// that looks has been stopped as well. Half of a hog, so that one look does not make one.
const SLEEP_SEEN: u64 = 50_000_000;

/// Batches (of up to 32 tasks) that one look takes from a queue. What is left of a long one is
/// stolen in the ordinary way; to move a million tasks would make the rescuer look held in its
/// turn.
const RESCUE_BATCHES: usize = 8;

/// What a worker remembers of its last look.
pub(super) struct Patrol {
    seen: [Cell<Watch>; MAX_WORKERS],
    pause: Cell<Duration>,
    /// How long a nap is, in ns; `None` for a worker without neighbours.
    nap: Option<u64>,
    last: Cell<u64>,
    /// When this worker last ran a task.
    worked: Cell<u64>,
    /// When it last saw another at work.
    active: Cell<u64>,
    /// It works again after a rest, and has not found a patroller yet.
    unwatched: Cell<bool>,
    glanced: Cell<u64>,
    suspects: [Cell<Suspect>; NEIGHBOURS],
    /// The held worker where the last rescue has left something, and its tick.
    left: Cell<Option<(usize, u64)>>,
    quiet: Cell<bool>,
    /// The last look found a held worker.
    saw_stuck: Cell<bool>,
    on_duty: Cell<bool>,
}

/// A tick that a glance has found long.
#[derive(Clone, Copy, Default)]
struct Suspect {
    /// When it began.
    since: u64,
    /// For how long its thread had run then.
    ran: u64,
    /// Since when it has been asleep at each look; 0: it was not at the last.
    asleep: u64,
}

impl Suspect {
    /// Whether a worker is held whose tasks run `since` then, and whose thread has run for so long:
    /// a thread without a core is not held by a task.
    fn is_stuck(&mut self, since: u64, now: u64, ran: impl FnOnce() -> u64) -> bool {
        let time = now.saturating_sub(since);
        if !(GLANCE_NS..STUCK_NS).contains(&time) {
            return time >= STUCK_NS;
        }
        self.has_run(since, ran()) > HELD_NS
    }

    /// How long the thread, which has run for so long in all, has run since the first glance at the tick that
    /// began then.
    fn has_run(&mut self, since: u64, ran: u64) -> u64 {
        if self.since != since {
            *self = Self { since, ran, asleep: 0 };
        }
        ran.saturating_sub(self.ran)
    }

    /// For how long the thread has been asleep at each look at this tick.
    fn has_slept(&mut self, now: u64, is_asleep: bool) -> u64 {
        self.asleep = match (is_asleep, self.asleep) {
            (false, _) => 0,
            (true, 0) => now,
            (true, since) => since,
        };
        if is_asleep { now.saturating_sub(self.asleep) } else { 0 }
    }
}

/// What was last seen of one worker.
#[derive(Clone, Copy, Default)]
pub(super) struct Watch {
    tick: u64,
    /// Polls of tasks by then.
    polls: u64,
    /// What has run since that tick was seen for the second time, and for how long.
    held: Option<(TaskId, Held)>,
    reported: bool,
    suspect: Suspect,
}

/// For how long a task holds its thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    /// When it was last looked at.
    looked: u64,
    /// The CPU time of the thread by then.
    ran: u64,
    time: u64,
}

impl Held {
    fn new(looked: u64, ran: u64) -> Self {
        Self { looked, ran, time: 0 }
    }

    /// Looks again, when the thread has `ran` for so long in all. Says for how long it has been
    /// held: it has run, or was asleep in the kernel when it was looked at. A thread that was
    /// without a core, stopped, or beyond the quota of its group is not held by its task; nor is
    /// it known to have been asleep for much longer than it is usually looked at.
    fn look(&mut self, now: u64, ran: u64, is_asleep: impl FnOnce() -> bool) -> Duration {
        let time = now.saturating_sub(self.looked);
        let running = ran.saturating_sub(self.ran).min(time);
        let rest = time - running;
        self.time += running;
        if rest > running && is_asleep() {
            self.time += rest.min(SLEEP_SEEN);
        }
        (self.looked, self.ran) = (now, ran);
        Duration::from_nanos(self.time)
    }
}

impl Watch {
    /// Looks again. Says whether the worker has ticked since.
    pub(super) fn look(&mut self, block: &Block) -> bool {
        let tick = block.tick();
        let ticked = tick != self.tick;
        if ticked {
            *self = Self { tick, polls: self.polls, ..Self::default() };
        }
        ticked
    }

    /// How many polls there were since the last look.
    fn count_polls(&mut self, block: &Block) -> u64 {
        let polls = block.counts.polls.get();
        polls.saturating_sub(mem::replace(&mut self.polls, polls))
    }

    /// Names what holds the busy worker, if it does so for long, once.
    pub(super) fn report(&mut self, hub: &Hub, worker: usize, now: u64) {
        if self.reported {
            return;
        }
        let block = hub.block(worker);
        // A task that has just ended must not be taken for the next.
        let Some((task, spawned_at)) = block.running_in(self.tick) else { return };
        let thread = block.thread();
        let ran = threads::ran(thread);
        let held = match &mut self.held {
            Some((seen, held)) if *seen == task => held,
            // The first look at this task.
            other => return *other = Some((task, Held::new(now, ran))),
        };
        let running = held.look(now, ran, || threads::is_asleep(thread));
        if running < HOG {
            return;
        }
        self.reported = true;
        if block.is_first_to_report(self.tick) {
            let event = ErrorEvent::TaskHogsWorker {
                task,
                name: hub.name_of(task),
                spawned_at,
                worker,
                running,
            };
            hook::report(hub.key(), &event);
        }
    }
}

impl Block {
    /// Whether it runs tasks, and does not just look around.
    pub(super) fn is_at_work(&self) -> bool {
        // Relaxed: a guess.
        self.since.load(Ordering::Relaxed) != u64::MAX
    }

    /// Its tick does not end. Notes whether it is a poll that holds it, one that runs or sleeps: then its sockets
    /// are better off elsewhere. A thread that has no core is back soon.
    fn note_if_held(&self, now: u64, suspect: &mut Suspect) {
        // Relaxed: a guess. Between ticks it is `u64::MAX`.
        let since = || self.since.load(Ordering::Relaxed);
        let (tick, thread) = (since(), self.thread());
        if tick == u64::MAX {
            return;
        }
        let holds = suspect.has_run(tick, threads::ran(thread)) > LEAVE_NS
            || suspect.has_slept(now, threads::is_asleep(thread)) > STUCK_NS;
        // It may have gone to sleep by itself in between.
        if holds && since() == tick {
            // Relaxed: the worker reads the time, and nothing else with it.
            self.held.store(now, Ordering::Relaxed);
        }
    }

    /// Whether no other worker has reported that tick: then this one does.
    fn is_first_to_report(&self, tick: u64) -> bool {
        // Relaxed: of workers that come at once, one wins.
        self.reported.swap(tick, Ordering::Relaxed) != tick
    }

    /// Whether no other worker has just rescued this one: then the caller does.
    fn may_rescue(&self, now: u64) -> bool {
        // Relaxed: of workers that come at once, one wins.
        let last = self.rescued.load(Ordering::Relaxed);
        now.saturating_sub(last) > GLANCE_NS
            && self
                .rescued
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

impl Patrol {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            seen: std::array::from_fn(|_| Cell::new(Watch::default())),
            pause: Cell::new(PAUSE_MIN),
            nap: (Flavor::of(workers) == Flavor::Multi)
                .then(|| clock::nanos((NAP * workers as u32).min(NAP_MAX))),
            last: Cell::new(0),
            worked: Cell::new(0),
            // The first sleep is a nap: this worker has not seen the others' work yet.
            active: Cell::new(clock::machine()),
            unwatched: Cell::new(false),
            glanced: Cell::new(0),
            suspects: Default::default(),
            left: Cell::new(None),
            quiet: Cell::new(false),
            saw_stuck: Cell::new(false),
            on_duty: Cell::new(false),
        }
    }

    /// How long to sleep until the next look.
    pub(super) fn pause(&self) -> Duration {
        self.pause.get()
    }

    /// How long to sleep without the duty; `None`: nobody has worked for so long that there is
    /// nothing to watch for. The first worker that works again wakes a sleeper.
    pub(super) fn nap(&self, now: u64) -> Option<Duration> {
        let last = self.worked.get().max(self.active.get());
        self.nap.filter(|&nap| now.saturating_sub(last) < nap).map(Duration::from_nanos)
    }

    /// This worker has run tasks.
    #[inline]
    pub(super) fn note_work(&self, now: u64) {
        self.worked.set(now);
    }

    /// Whether others, for all that is known, may sleep without a nap's end while this worker
    /// runs tasks: it has not done so for long, and has not found a patroller since.
    #[inline]
    pub(super) fn is_unwatched(&self, now: u64) -> bool {
        if self.nap.is_some_and(|nap| now.saturating_sub(self.worked.get()) >= nap) {
            self.unwatched.set(true);
        }
        self.unwatched.get()
    }

    /// Whether the last look found a held worker.
    pub(super) fn saw_stuck(&self) -> bool {
        self.saw_stuck.get()
    }

    /// Whether the last look saw nobody at work: the duty may be given up.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet.get()
    }

    /// Whether this worker has the duty: known after parking, where it is given.
    pub(super) fn is_on_duty(&self) -> bool {
        self.on_duty.get()
    }

    /// The next duty begins anew.
    pub(super) fn set_duty(&self, on_duty: bool) {
        self.on_duty.set(on_duty);
        if !on_duty {
            self.pause.set(PAUSE_MIN);
            self.quiet.set(false);
        }
    }
}

impl Worker {
    /// At a tick's end: a glance at the neighbours now and then, which costs no wake-up. It needs
    /// the time and no memory of what was seen before, so that it is the first to find a held
    /// worker. But the workers that are awake may be too far away, or there may be none.
    #[inline]
    pub(super) fn help_neighbours(&self, now: u64) {
        if now >= self.patrol.glanced.get() + GLANCE_NS {
            self.patrol.glanced.set(now);
            self.glance(now);
        }
        if let Some((stuck, tick)) = self.patrol.left.get() {
            self.patrol.left.set(None);
            self.rescue_rest(stuck, tick);
        }
    }

    fn glance(&self, now: u64) {
        let workers = self.hub().workers();
        for (step, suspect) in (1..workers).zip(&self.patrol.suspects) {
            let index = (self.index() + step) % workers;
            let block = self.hub().block(index);
            // Relaxed: a guess, which is harmless if it is wrong.
            let since = block.since.load(Ordering::Relaxed);
            let mut seen = suspect.get();
            let is_stuck = seen.is_stuck(since, now, || threads::ran(block.thread()));
            suspect.set(seen);
            if is_stuck && !self.hub().idle.is_parked(index) && block.may_rescue(now) {
                block.note_if_held(now, &mut seen);
                suspect.set(seen);
                self.rescue(index);
            }
        }
    }

    /// At a tick's end, with nobody else to do it: a look now and then.
    pub(super) fn patrol_if_due(&self, now: u64) {
        let due = self.patrol.last.get() + 2 * PAUSE_MIN.as_nanos() as u64;
        if now >= due
            && self.flavor() == Flavor::Multi
            && (self.patrol.is_on_duty() || !self.hub().idle.has_patroller())
        {
            self.look_around(now);
        }
    }

    /// Names a patroller, if there is none. While nobody sleeps there is no need, but it is tried
    /// again with the next tick.
    pub(super) fn ensure_patrol(&self) {
        let idle = &self.hub().idle;
        if idle.has_patroller() || idle.sleepers().is_some() && self.hub().arm_patrol() {
            self.patrol.unwatched.set(false);
        }
    }

    /// One look at all others.
    pub(super) fn look_around(&self, now: u64) {
        self.block().counts.patrols.add(1);
        let patrol = &self.patrol;
        patrol.last.set(now);
        let (mut polls, mut busy, mut stuck) = (0, false, false);
        for (index, (block, _)) in self.others_indexed() {
            let mut watch = patrol.seen[index].get();
            let ticked = watch.look(block);
            let is_awake = !self.hub().idle.is_parked(index);
            // A worker that has woken just to look around, as this one, is not at work.
            busy |= is_awake && block.is_at_work();
            polls += watch.count_polls(block);
            if !ticked && is_awake {
                (busy, stuck) = (true, true);
                block.note_if_held(now, &mut watch.suspect);
                self.rescue(index);
                watch.report(self.hub(), index, now);
            }
            patrol.seen[index].set(watch);
        }
        patrol.saw_stuck.set(stuck);
        patrol.quiet.set(!busy && polls == 0);
        if busy || polls > 0 {
            patrol.active.set(now);
        }
        let longest = match (stuck, busy || polls > LIGHT_POLLS) {
            (true, _) => PAUSE_MIN,
            (false, true) => PAUSE_MAX,
            (false, false) => PAUSE_LIGHT,
        };
        patrol.pause.set((patrol.pause.get() * 2).min(longest));
    }

    /// Takes what waits at a held worker: of tasks and timers so many at most.
    pub(super) fn rescue(&self, stuck: usize) {
        let (block, peer) = self.other(stuck);
        let tick = block.tick();
        let mut taken = block.inbox.take(TAKE, |task| self.push_quietly(task));
        if let Some(task) = block.take_lifo() {
            self.push_quietly(task);
            taken += 1;
        }
        taken += (0..RESCUE_BATCHES).take_while(|_| self.take_from(peer)).count();
        let mut rung = false;
        self.with_wakes(|wakes| {
            rung = peer.home.rescue(wakes);
        });
        if rung {
            // An edge is seen once: it was meant for the owner.
            block.doorbell.ring();
        }
        self.rescue_timers(stuck, tick);
        if taken > 0 {
            self.note_taken(Kind::Rescue, stuck, taken);
            self.judge_push();
            self.block().counts.rescues.add(1);
        }
    }

    /// The same for what a rescue has left, if the worker is still in that tick.
    #[cold]
    fn rescue_rest(&self, stuck: usize, tick: u64) {
        let (block, _) = self.other(stuck);
        if block.tick() == tick {
            block.inbox.take(TAKE, |task| self.push_quietly(task));
            self.rescue_timers(stuck, tick);
            self.judge_push();
        }
    }

    /// Fires timers of a held worker, and notes whether something is left there.
    fn rescue_timers(&self, stuck: usize, tick: u64) {
        let (block, _) = self.other(stuck);
        let mut due = false;
        self.with_wakes(|wakes| due = block.timers.rescue(TAKE, wakes));
        if due || !block.inbox.is_empty() {
            self.patrol.left.set(Some((stuck, tick)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn unasked() -> u64 {
        panic!("nobody has to ask the kernel")
    }

    #[test]
    fn tick_in_which_the_thread_runs_on_is_stuck_long_before_it_is_overdue() {
        let mut suspect = Suspect::default();
        assert!(!suspect.is_stuck(10 * MS, 10 * MS + GLANCE_NS - 1, unasked));
        assert!(!suspect.is_stuck(10 * MS, 11 * MS, || 70 * MS));
        assert!(!suspect.is_stuck(10 * MS, 12 * MS, || 70 * MS + HELD_NS));
        // Counted from the first glance: half of a core is enough, in time.
        assert!(suspect.is_stuck(10 * MS, 13 * MS, || 70 * MS + HELD_NS + 1));
    }

    #[test]
    fn thread_that_waits_for_a_core_is_not_stuck_until_it_is_overdue() {
        let mut suspect = Suspect::default();
        for now in [11 * MS, 12 * MS, 10 * MS + STUCK_NS - 1] {
            assert!(!suspect.is_stuck(10 * MS, now, || 70 * MS));
        }
        assert!(suspect.is_stuck(10 * MS, 10 * MS + STUCK_NS, unasked));
    }

    #[test]
    fn next_duty_begins_anew() {
        // Goal: a worker that takes the duty again does not give it up by what it saw in the last
        // one.
        let patrol = Patrol::new(2);
        patrol.set_duty(true);
        patrol.quiet.set(true);
        patrol.pause.set(PAUSE_MAX);
        patrol.set_duty(true);
        assert!(patrol.is_quiet() && patrol.pause() == PAUSE_MAX, "it goes on");
        patrol.set_duty(false);
        patrol.set_duty(true);
        assert!(!patrol.is_quiet());
        assert_eq!(patrol.pause(), PAUSE_MIN);
    }

    #[test]
    fn thread_is_held_while_it_runs_or_is_asleep() {
        let time = |looks: &[(u64, u64, bool)]| {
            let mut held = Held::new(10 * MS, 70 * MS);
            let look = |&(at, ran, asleep): &(u64, u64, bool)| {
                held.look((10 + at) * MS, (70 + ran) * MS, || asleep)
            };
            looks.iter().map(look).last().unwrap().as_nanos() as u64 / MS
        };
        assert_eq!(time(&[(20, 20, false), (100, 99, false)]), 99, "it runs");
        assert_eq!(time(&[(20, 0, true), (40, 0, true), (60, 0, true)]), 60, "it is asleep");
        assert_eq!(time(&[(1000, 15, false)]), 15, "it was stopped, or had no core");
        assert_eq!(time(&[(1000, 5, true)]), 55, "everybody was stopped");
        assert_eq!(time(&[(20, 15, false), (5000, 30, false), (5020, 50, false)]), 50);
    }

    #[test]
    fn what_ran_in_another_tick_does_not_count() {
        let mut suspect = Suspect::default();
        assert!(!suspect.is_stuck(10 * MS, 11 * MS, || 70 * MS));
        assert!(!suspect.is_stuck(12 * MS, 13 * MS, || 80 * MS));
        assert!(!suspect.is_stuck(u64::MAX, 14 * MS, unasked), "between ticks");
    }
}
