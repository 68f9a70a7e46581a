//! The queue of one lane of blocking jobs, and the threads that serve it. It knows neither tasks nor
//! how threads are started.
//!
//! All state is under one lock. Jobs leave in the order in which they came. A thread is, in turn,
//! *busy* with a job, *idle*, or *coming*: called from the list of idle threads, or started, and not
//! there yet.
//!
//! To wake a thread costs more than a short job. So at most one is coming at a time: it takes a job,
//! and if others are left it calls the next. Where none is idle, the *watch* decides whether
//! the lane grows: a thread that serves no jobs and looks every 100 us, as long as there are jobs. The
//! lane is *hungry* when its oldest job has waited for so long, unless its jobs are shorter than
//! it takes to wake a thread. A hungry lane grows until no job waits.
//!
//! * J1 While a job is queued, a thread comes to it: one that is coming, or else the watch, awake.
//!   If there are as many threads as there may be and none is idle, it is a busy one, which looks
//!   again when its job is done. A thread that [`JobQueue::push`] asks its caller to start counts as
//!   coming, until the caller says that it was refused.
//! * J2 A caller takes a thread off the list first, and then wakes it. So a thread that wakes up and is still
//!   on the list was not called: it may end, and no job counts on it.
//! * J3 The thread that became idle last is called first. Under a light load the others are not
//!   called at all, and end.
//! * J4 A thread is called outside of the lock: one that wakes up finds it free.
//!
//! The watch has another duty: it tells when jobs wait for long in a lane that cannot grow. When
//! nothing is queued any more it rests, without a timeout but that of an idle thread, and at last ends.

mod watch;

#[cfg(test)]
mod tests;

use std::{collections::VecDeque, mem, sync::Arc, time::Duration};

use crate::{
    loom::{
        BriefLock, Condvar, WaitGuard, WaitLock,
        atomic::{AtomicBool, Ordering},
    },
    util::clock,
};

type Guard<'a, J> = WaitGuard<'a, State<J>>;

/// Room for jobs that the queue keeps when it is empty.
const KEEPS: usize = 1024;

/// An entry of the queue.
pub(crate) trait Job: Sized {
    /// Its name in reports.
    type Name: Copy + PartialEq;

    fn name(&self) -> Self::Name;

    /// What is left of it.
    fn left(&self) -> Left;

    /// Whether that is [remains](Left::Remains), which does not change.
    fn is_remains(&self) -> bool;

    /// Runs it. It does not unwind.
    fn run(self);
}

/// What is left of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// All of it.
    Job,
    /// It was cancelled, and its closure is to be dropped by a thread that serves.
    Remains,
    /// Nothing: it was cancelled.
    Nothing,
}

/// What a lane may do.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Threads that there may be.
    pub(crate) threads: usize,
    /// As many are started as soon as a job finds no other idle. For more, jobs have to wait.
    pub(crate) at_once: usize,
    /// How long a thread stays idle.
    pub(crate) keep_alive: Duration,
    /// How long the oldest job waits before the lane grows, and how often the watch looks.
    pub(crate) patience: Duration,
    /// How long it waits in a lane that cannot grow before that is reported.
    pub(crate) saturated: Duration,
    /// Jobs that may be queued.
    pub(crate) queued: usize,
}

pub(crate) struct JobQueue<J: Job> {
    limits: Limits,
    state: WaitLock<State<J>>,
    /// A thread ended.
    one_less: Condvar,
}

struct State<J: Job> {
    jobs: VecDeque<Waiting<J>>,
    /// How many of them are [remains](Left::Remains): these have no waiter.
    remains: usize,
    /// Jobs that were ever taken out.
    taken: u64,
    /// Length from which on the queue is searched for jobs that are gone.
    search_at: usize,
    /// The places of the threads that serve.
    seats: Vec<Arc<Seat<J::Name>>>,
    /// Threads that are at a job, or at the rest of one, whose destructors may take their time.
    busy: usize,
    /// All threads that serve, or were asked for.
    threads: usize,
    /// Where idle threads sleep; the one that became idle last is last.
    idle: Vec<Arc<Sleeper>>,
    /// A thread was called or asked for, and is not here yet.
    coming: bool,
    watch: Watch,
    /// The lane is to grow if it can.
    hungry: bool,
    /// Saturation has been reported, and has not ended.
    reported: bool,
    /// The system has refused the last thread that was asked for.
    refused: bool,
    closed: bool,
}

struct Waiting<J> {
    job: J,
    /// Since when.
    since: u64,
}

/// The thread that watches the queue.
enum Watch {
    Absent,
    /// It will look soon.
    Awake,
    /// It looks when saturation is to be reported.
    Dozing(Arc<Sleeper>),
    /// It looks when it is called.
    Resting(Arc<Sleeper>),
}

/// The place of a thread that serves.
pub(crate) struct Seat<N> {
    /// A job has begun and has not ended, as metrics see it.
    running: AtomicBool,
    /// The job that it is at.
    job: BriefLock<Option<Held<N>>>,
}

/// A job that holds a thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held<N> {
    pub(crate) name: N,
    /// The order in which jobs were taken.
    number: u64,
}

impl<N> Seat<N> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { running: AtomicBool::new(false), job: BriefLock::new(None) })
    }

    /// The job ends, as metrics see it: just before its waiter is woken.
    pub(crate) fn end_job(&self) {
        // Release: pairs with the load in `jobs`.
        self.running.store(false, Ordering::Release);
    }
}

/// Where a thread sleeps until it is called.
struct Sleeper {
    called: WaitLock<bool>,
    bell: Condvar,
}

impl Sleeper {
    fn new() -> Arc<Self> {
        Arc::new(Self { called: WaitLock::new(false), bell: Condvar::new() })
    }

    fn call(&self) {
        *self.called.lock() = true;
        self.bell.notify_one();
    }

    /// Until it is called, or for so long. `false`: it has not been called so far.
    fn sleep(&self, limit: Duration) -> bool {
        let mut called = self.called.lock();
        let mut timed_out = false;
        while !*called && !timed_out {
            (called, timed_out) = self.called.wait_for(called, &self.bell, limit);
        }
        mem::take(&mut *called)
    }
}

/// A thread that a lane wants to have started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duty {
    /// It is to [serve](JobQueue::serve).
    Serve,
    /// It is to [watch](JobQueue::watch).
    Watch,
}

/// What became of a job that was pushed.
pub(crate) enum Pushed<J> {
    /// A thread will come to it.
    Queued,
    /// The same, if the caller starts a thread. Else it has to say that the thread was
    /// [refused](JobQueue::refuse_thread).
    Start(Duty),
    /// The queue is closed.
    Closed(J),
    /// As many are queued as may be.
    Full(J),
}

/// What is to be done, without the lock, so that a thread comes.
enum Help {
    None,
    Call(Arc<Sleeper>),
    Start(Duty),
}

impl Help {
    /// Calls the thread that is to be called. A thread that is to be started is the caller's to start.
    fn give(self) -> Option<Duty> {
        match self {
            Self::None => None,
            Self::Call(sleeper) => {
                sleeper.call();
                None
            }
            Self::Start(duty) => Some(duty),
        }
    }
}

/// What a refused thread leaves.
pub(crate) struct Refused<J> {
    /// It is the first, after one that was not refused.
    pub(crate) is_first: bool,
    /// There is no other thread, and so none that would come to these.
    pub(crate) stranded: Vec<J>,
}

/// A lane in which jobs wait for long, and which cannot grow.
pub(crate) struct Saturated<N> {
    /// Jobs that wait.
    pub(crate) queued: usize,
    /// How long the oldest has waited, in ns.
    pub(crate) waits: u64,
    /// The job that has held its thread for longest.
    pub(crate) holder: Option<Held<N>>,
}

/// A lane at one instant.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Look {
    /// Jobs that wait for a thread.
    pub(crate) queued: usize,
    /// How long the oldest of them has waited.
    pub(crate) oldest: Option<Duration>,
    /// Threads that serve, or are about to.
    pub(crate) threads: usize,
    pub(crate) idle: usize,
    pub(crate) busy: usize,
}

impl<J: Job> JobQueue<J> {
    pub(crate) fn new(limits: Limits) -> Self {
        let state = State {
            jobs: VecDeque::new(),
            remains: 0,
            taken: 0,
            search_at: KEEPS,
            seats: Vec::new(),
            busy: 0,
            threads: 0,
            idle: Vec::new(),
            coming: false,
            watch: Watch::Absent,
            hungry: false,
            reported: false,
            refused: false,
            closed: false,
        };
        Self { limits, state: WaitLock::new(state), one_less: Condvar::new() }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Queues a job.
    pub(crate) fn push(&self, job: J) -> Pushed<J> {
        let waiting = Waiting { job, since: clock::machine() };
        let mut state = self.state.lock();
        if state.closed {
            return Pushed::Closed(waiting.job);
        }
        let gone = state.take_gone(self.limits.queued);
        if waiting.job.is_remains() {
            state.remains += 1;
        } else if state.jobs.len() - state.remains >= self.limits.queued {
            drop(state);
            return Pushed::Full(waiting.job);
        }
        state.jobs.push_back(waiting);
        let help = state.summon(&self.limits);
        drop(state);
        drop(gone);
        help.give().map_or(Pushed::Queued, Pushed::Start)
    }

    /// The thread that was asked for could not be started.
    pub(crate) fn refuse_thread(&self, duty: Duty) -> Refused<J> {
        let mut state = self.state.lock();
        let is_first = !mem::replace(&mut state.refused, true);
        let mut stranded = Vec::new();
        let mut help = Help::None;
        match duty {
            // The threads that there are make up for it.
            Duty::Watch => state.watch = Watch::Absent,
            Duty::Serve => {
                state.threads -= 1;
                state.coming = false;
                match (state.threads, state.idle.is_empty()) {
                    (0, _) => stranded = state.take_all(),
                    // It became idle while this one was coming.
                    (_, false) => help = state.summon(&self.limits),
                    (_, true) => {}
                }
            }
        }
        drop(state);
        self.one_less.notify_all();
        let _ = help.give();
        Refused { is_first, stranded }
    }

    /// The life of a thread, until it has been idle for so long, or the queue is closed. `start` is
    /// called with threads that are wanted.
    pub(crate) fn serve(&self, seat: &Arc<Seat<J::Name>>, start: &dyn Fn(Duty)) {
        let sleeper = Sleeper::new();
        let mut state = self.state.lock();
        state.refused = false;
        state.coming = false;
        state.seats.push(seat.clone());
        loop {
            if let Some((waiting, number)) = state.take_job(seat) {
                let help = state.summon(&self.limits);
                drop(state);
                if let Some(duty) = help.give() {
                    start(duty);
                }
                let Waiting { job, .. } = waiting;
                *seat.job.lock() = Some(Held { name: job.name(), number });
                job.run();
                *seat.job.lock() = None;
                seat.end_job();
                state = self.state.lock();
                state.busy -= 1;
                continue;
            }
            if state.closed {
                break;
            }
            state.hungry = false;
            state.reported = false;
            let (guard, called) = self.be_idle(state, &sleeper);
            state = guard;
            if !called {
                break;
            }
        }
        state.threads -= 1;
        state.seats.retain(|other| !Arc::ptr_eq(other, seat));
        drop(state);
        self.one_less.notify_all();
    }

    /// Has this thread be idle. `false`: it was not called.
    fn be_idle<'a>(
        &'a self,
        mut state: Guard<'a, J>,
        sleeper: &Arc<Sleeper>,
    ) -> (Guard<'a, J>, bool) {
        state.idle.push(sleeper.clone());
        drop(state);
        loop {
            let called = sleeper.sleep(self.limits.keep_alive);
            let mut state = self.state.lock();
            // J2. From the back, where those are that are called.
            match state.idle.iter().rposition(|other| Arc::ptr_eq(other, sleeper)) {
                None => {
                    state.coming = false;
                    return (state, true);
                }
                Some(listed) if !called => {
                    state.idle.remove(listed);
                    return (state, false);
                }
                // J4: the call is that of an earlier time, whose sleep had ended before it came.
                Some(_) => {}
            }
        }
    }

    /// Jobs that are queued or run, and closures of cancelled ones that are to be dropped.
    pub(crate) fn jobs(&self) -> usize {
        let state = self.state.lock();
        // Acquire: pairs with the store in `end_job`.
        let running = state.seats.iter().filter(|seat| seat.running.load(Ordering::Acquire));
        state.queued() + state.remains + running.count()
    }

    /// Whether no job is queued, and all jobs that ran have ended and woken their waiters.
    pub(crate) fn rests(&self) -> bool {
        let state = self.state.lock();
        let nothing = |waiting: &Waiting<J>| waiting.job.left() == Left::Nothing;
        state.busy == 0 && state.jobs.iter().all(nothing)
    }

    /// Whether it takes no jobs any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Threads that serve the queue, or are about to.
    pub(crate) fn threads(&self) -> usize {
        self.state.lock().threads
    }

    /// For metrics.
    pub(crate) fn look(&self) -> Look {
        let now = clock::machine();
        let state = self.state.lock();
        let oldest = state.oldest();
        Look {
            queued: state.queued(),
            oldest: oldest.map(|oldest| Duration::from_nanos(now.saturating_sub(oldest.since))),
            threads: state.threads,
            idle: state.idle.len(),
            busy: state.busy,
        }
    }

    /// Closes the queue: its threads end when they are done with what they are at. Returns the jobs
    /// that none has begun.
    pub(crate) fn close(&self) -> Vec<J> {
        self.close_with(State::take_all)
    }

    /// Closes the queue to new jobs: its threads end when nothing is queued any more.
    pub(crate) fn finish(&self) {
        self.close_with(|_| ());
    }

    fn close_with<R>(&self, take: impl FnOnce(&mut State<J>) -> R) -> R {
        let mut state = self.state.lock();
        state.closed = true;
        let taken = take(&mut state);
        let mut sleepers = mem::take(&mut state.idle);
        sleepers.extend(state.watch.wake());
        drop(state);
        sleepers.iter().for_each(|sleeper| sleeper.call());
        taken
    }

    /// Waits until a closed queue has no threads any more, up to the deadline. Returns what the
    /// others are at.
    pub(crate) fn wait_for_threads(&self, deadline: u64) -> Vec<J::Name> {
        let mut state = self.state.lock();
        while state.threads > 0 || !matches!(state.watch, Watch::Absent) {
            let Some(rest) = deadline.checked_sub(clock::machine()).filter(|&rest| rest > 0) else {
                break;
            };
            let rest = Duration::from_nanos(rest);
            state = self.state.wait_for(state, &self.one_less, rest).0;
        }
        state.seats.iter().filter_map(|seat| Some((*seat.job.lock())?.name)).collect()
    }
}

impl<J: Job> State<J> {
    /// The first job. With the last, the queue gives its memory back.
    fn take_job(&mut self, seat: &Seat<J::Name>) -> Option<(Waiting<J>, u64)> {
        let waiting = self.jobs.pop_front()?;
        if self.jobs.is_empty() && self.jobs.capacity() > KEEPS {
            self.jobs.shrink_to(KEEPS);
        }
        self.remains -= usize::from(waiting.job.is_remains());
        self.taken += 1;
        self.busy += 1;
        // Relaxed: read under the lock.
        seat.running.store(true, Ordering::Relaxed);
        Some((waiting, self.taken))
    }

    fn take_all(&mut self) -> Vec<J> {
        self.remains = 0;
        mem::take(&mut self.jobs).into_iter().map(|waiting| waiting.job).collect()
    }

    /// Jobs that wait for a thread.
    fn queued(&self) -> usize {
        self.jobs.iter().filter(|waiting| waiting.job.left() == Left::Job).count()
    }

    /// The first of them.
    fn oldest(&self) -> Option<&Waiting<J>> {
        self.jobs.iter().find(|waiting| waiting.job.left() == Left::Job)
    }

    /// Takes those out that are gone, when the queue is full, or twice as long as it was after the last
    /// time. Their destructors are foreign code (S6).
    fn take_gone(&mut self, limit: usize) -> VecDeque<Waiting<J>> {
        if self.jobs.len() < self.search_at.min(limit.saturating_add(self.remains)) {
            return VecDeque::new();
        }
        let gone = |waiting: &Waiting<J>| waiting.job.left() == Left::Nothing;
        let (gone, left) = mem::take(&mut self.jobs).into_iter().partition(gone);
        self.jobs = left;
        self.search_at = (2 * self.jobs.len()).max(KEEPS);
        gone
    }

    /// Finds a thread that comes to the jobs that are queued (J1).
    fn summon(&mut self, limits: &Limits) -> Help {
        if self.jobs.is_empty() || self.coming {
            return Help::None;
        }
        if let Some(sleeper) = self.idle.pop() {
            self.coming = true;
            return Help::Call(sleeper);
        }
        let can_grow = self.threads < limits.threads;
        if can_grow && (self.threads < limits.at_once || self.hungry) {
            self.threads += 1;
            self.coming = true;
            return Help::Start(Duty::Serve);
        }
        match &self.watch {
            Watch::Awake => Help::None,
            Watch::Dozing(_) if !can_grow => Help::None,
            Watch::Dozing(_) | Watch::Resting(_) => {
                self.watch.wake().map_or(Help::None, Help::Call)
            }
            Watch::Absent => {
                self.watch = Watch::Awake;
                Help::Start(Duty::Watch)
            }
        }
    }
}

impl Watch {
    /// It is awake from now on, if the caller calls what this returns.
    fn wake(&mut self) -> Option<Arc<Sleeper>> {
        match mem::replace(self, Self::Awake) {
            Self::Dozing(sleeper) | Self::Resting(sleeper) => Some(sleeper),
            other => {
                *self = other;
                None
            }
        }
    }
}
