//! The queue of blocking jobs, and the threads that serve it. It knows neither tasks nor how
//! threads are started.
//!
//! All state is under one lock. Jobs leave in the order in which they came. A thread is, in turn,
//! *busy* with a job, *idle*, or *called*: taken off the list of idle threads and woken.
//!
//! * J1 While a job is queued and the queue is open, somebody comes to it: a busy thread, which
//!   looks again when it is done; a called one; or one that [`push`](JobQueue::push) asked its
//!   caller to start, until that says that it was [refused](JobQueue::refuse_thread).
//! * J2 Who calls a thread takes it off the list first. So a thread that wakes up and is still on
//!   the list was not called: it may end, and no job counts on it.
//! * J3 The thread that became idle last is called first. Under a light load the others are not
//!   called at all, and end.

use std::{collections::VecDeque, mem, sync::Arc, time::Duration};

use crate::{
    loom::{Condvar, WaitGuard, WaitLock},
    util::clock,
};

type Guard<'a, J> = WaitGuard<'a, State<J>>;

/// Room for jobs that the queue keeps when it is empty.
const KEEPS: usize = 1024;

/// What is queued.
pub(crate) trait Job: Sized {
    /// What reports call it.
    type Name: Copy + PartialEq;

    fn name(&self) -> Self::Name;

    /// Runs it. It does not unwind.
    fn run(self);
}

pub(crate) struct JobQueue<J: Job> {
    /// Threads that there may be.
    limit: usize,
    /// How long a thread stays idle.
    keep_alive: Duration,
    state: WaitLock<State<J>>,
    /// A thread ended.
    one_less: Condvar,
}

struct State<J: Job> {
    jobs: VecDeque<J>,
    /// Jobs that have begun and have not ended.
    running: usize,
    /// What each busy thread is at: a job, or what is left of one, whose destructors may take
    /// their time.
    busy: Vec<J::Name>,
    /// All threads that serve, or were asked for.
    threads: usize,
    /// Where idle threads sleep; the one that became idle last is last.
    idle: Vec<Arc<Condvar>>,
    /// The system has refused the last thread that was asked for.
    refused: bool,
    closed: bool,
}

/// What became of a job that was pushed.
pub(crate) enum Pushed<J> {
    /// A thread will come to it.
    Queued,
    /// The same, if the caller starts a thread that [serves](JobQueue::serve) the queue. Else it
    /// has to say that the thread was [refused](JobQueue::refuse_thread).
    StartThread,
    /// The queue is closed.
    Closed(J),
}

/// What a refused thread leaves.
pub(crate) struct Refused<J> {
    /// It is the first, after one that was not refused.
    pub(crate) is_first: bool,
    /// There is no other thread, and so nobody to come to these.
    pub(crate) stranded: VecDeque<J>,
}

impl<J: Job> JobQueue<J> {
    pub(crate) fn new(limit: usize, keep_alive: Duration) -> Self {
        let state = State {
            jobs: VecDeque::new(),
            running: 0,
            busy: Vec::new(),
            threads: 0,
            idle: Vec::new(),
            refused: false,
            closed: false,
        };
        Self { limit, keep_alive, state: WaitLock::new(state), one_less: Condvar::new() }
    }

    /// Queues a job.
    pub(crate) fn push(&self, job: J) -> Pushed<J> {
        let mut state = self.state.lock();
        if state.closed {
            return Pushed::Closed(job);
        }
        state.jobs.push_back(job);
        if let Some(sleeper) = state.idle.pop() {
            sleeper.notify_one();
            return Pushed::Queued;
        }
        if state.threads == self.limit {
            return Pushed::Queued;
        }
        state.threads += 1;
        Pushed::StartThread
    }

    /// The thread that was asked for could not be started.
    pub(crate) fn refuse_thread(&self) -> Refused<J> {
        let mut state = self.state.lock();
        let is_first = !mem::replace(&mut state.refused, true);
        let stranded = match state.threads {
            1 => mem::take(&mut state.jobs),
            _ => VecDeque::new(),
        };
        state.threads -= 1;
        self.one_less.notify_all();
        Refused { is_first, stranded }
    }

    /// The life of a thread, until it has been idle for so long, or the queue is closed.
    pub(crate) fn serve(&self) {
        let mut state = self.state.lock();
        state.refused = false;
        loop {
            if let Some(job) = state.take_job() {
                let name = job.name();
                state.busy.push(name);
                drop(state);
                job.run();
                state = self.state.lock();
                state.busy.retain(|other| *other != name);
                continue;
            }
            if state.closed {
                break;
            }
            let (guard, called) = self.sleep(state);
            state = guard;
            if !called {
                break;
            }
        }
        state.threads -= 1;
        self.one_less.notify_all();
    }

    /// Has this thread be idle. `false`: nobody has called it.
    fn sleep<'a>(&'a self, mut state: Guard<'a, J>) -> (Guard<'a, J>, bool) {
        let me = Arc::new(Condvar::new());
        state.idle.push(me.clone());
        loop {
            let (guard, timed_out) = self.state.wait_for(state, &me, self.keep_alive);
            state = guard;
            // J2. From the back, where those are that are called.
            match state.idle.iter().rposition(|sleeper| Arc::ptr_eq(sleeper, &me)) {
                None => return (state, true),
                Some(listed) if timed_out => {
                    state.idle.remove(listed);
                    return (state, false);
                }
                Some(_) => {}
            }
        }
    }

    /// A job begins, as its metrics see it.
    pub(crate) fn begin_job(&self) {
        self.state.lock().running += 1;
    }

    /// It ends.
    pub(crate) fn end_job(&self) {
        self.state.lock().running -= 1;
    }

    /// Jobs queued and running.
    pub(crate) fn jobs(&self) -> usize {
        let state = self.state.lock();
        state.jobs.len() + state.running
    }

    /// Whether nothing is queued, and all that ran has ended and woken those who waited for it.
    pub(crate) fn rests(&self) -> bool {
        let state = self.state.lock();
        state.jobs.is_empty() && state.busy.is_empty()
    }

    /// Threads that serve the queue, or are about to.
    pub(crate) fn threads(&self) -> usize {
        self.state.lock().threads
    }

    /// Closes the queue: its threads end when they are done with what they are at. Returns the jobs
    /// that none has begun.
    pub(crate) fn close(&self) -> VecDeque<J> {
        let mut state = self.state.lock();
        state.closed = true;
        let idle = mem::take(&mut state.idle);
        idle.iter().for_each(|sleeper| sleeper.notify_one());
        mem::take(&mut state.jobs)
    }

    /// Waits until a closed queue has no threads any more, up to the deadline. Returns what the
    /// others are at.
    pub(crate) fn wait_for_threads(&self, deadline: u64) -> Vec<J::Name> {
        let mut state = self.state.lock();
        while state.threads > 0 {
            let Some(rest) = deadline.checked_sub(clock::machine()).filter(|&rest| rest > 0) else {
                break;
            };
            let rest = Duration::from_nanos(rest);
            state = self.state.wait_for(state, &self.one_less, rest).0;
        }
        state.busy.clone()
    }
}

impl<J: Job> State<J> {
    /// The first job. With the last, the queue gives its memory back.
    fn take_job(&mut self) -> Option<J> {
        let job = self.jobs.pop_front();
        if self.jobs.is_empty() && self.jobs.capacity() > KEEPS {
            self.jobs.shrink_to(KEEPS);
        }
        job
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        sync::{Barrier, mpsc},
        thread::{self, ThreadId},
    };

    use super::*;

    /// A closure, and its number.
    struct Call(usize, Box<dyn FnOnce() + Send>);

    impl Job for Call {
        type Name = usize;

        fn name(&self) -> usize {
            self.0
        }

        fn run(self) {
            self.1();
        }
    }

    fn push(queue: &Arc<JobQueue<Call>>, number: usize, f: impl FnOnce() + Send + 'static) {
        match queue.push(Call(number, Box::new(f))) {
            Pushed::Queued => {}
            Pushed::StartThread => {
                let queue = queue.clone();
                thread::spawn(move || queue.serve());
            }
            Pushed::Closed(_) => panic!("it is open"),
        }
    }

    /// Has so many threads, all of them idle.
    fn burst(queue: &Arc<JobQueue<Call>>, threads: usize) {
        let together = Arc::new(Barrier::new(threads));
        for number in 0..threads {
            let together = together.clone();
            push(queue, number, move || {
                together.wait();
            });
        }
        all_idle(queue, threads);
    }

    fn all_idle(queue: &JobQueue<Call>, threads: usize) {
        while queue.state.lock().idle.len() != threads {
            thread::yield_now();
        }
    }

    fn one(queue: &Arc<JobQueue<Call>>) -> ThreadId {
        let (tell, told) = mpsc::channel();
        push(queue, 0, move || tell.send(thread::current().id()).unwrap());
        told.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    fn close(queue: &JobQueue<Call>) {
        assert_eq!(queue.close().len(), 0);
        assert_eq!(queue.wait_for_threads(u64::MAX), [0; 0]);
    }

    #[test]
    fn thread_that_became_idle_last_is_called_first() {
        // Goal: under a light load the other threads stay idle; method: after a burst, one job after
        // another, each when all threads are idle again: one thread runs them all.
        let queue = Arc::new(JobQueue::new(100, Duration::from_secs(100)));
        burst(&queue, 20);
        let mut runners = HashSet::new();
        for _ in 0..100 {
            runners.insert(one(&queue));
            all_idle(&queue, 20);
        }
        assert_eq!(runners.len(), 1);
        close(&queue);
    }

    #[test]
    fn threads_of_a_burst_end_under_a_light_load() {
        // Goal: the pool shrinks though it is never at rest for long; method: after a burst, jobs
        // without end, far more of them than threads while one stays idle; all threads but those
        // that the jobs need come to their ends.
        let queue = Arc::new(JobQueue::new(100, Duration::from_millis(50)));
        burst(&queue, 20);
        let begun = clock::machine();
        while queue.threads() > 1 {
            one(&queue);
            assert!(clock::machine() - begun < 20_000_000_000, "{} threads", queue.threads());
        }
        close(&queue);
    }

    #[test]
    fn memory_of_a_long_queue_is_given_back() {
        const MANY: usize = 100_000;
        let queue = Arc::new(JobQueue::new(1, Duration::from_secs(100)));
        let (go, wait) = mpsc::channel::<()>();
        push(&queue, 0, move || {
            let _ = wait.recv();
        });
        for number in 1..MANY {
            push(&queue, number, || ());
        }
        assert!(queue.state.lock().jobs.capacity() >= MANY - 1);
        drop(go);
        all_idle(&queue, 1);
        assert!(queue.state.lock().jobs.capacity() <= KEEPS);
        close(&queue);
    }

    #[test]
    fn refused_thread_strands_jobs_only_if_it_would_have_been_the_only_one() {
        let queue = JobQueue::<Call>::new(2, Duration::from_secs(100));
        let push = |number| queue.push(Call(number, Box::new(|| ())));
        assert!(matches!(push(0), Pushed::StartThread));
        assert!(matches!(push(1), Pushed::StartThread));
        assert!(matches!(push(2), Pushed::Queued), "there may be two");
        let refused = queue.refuse_thread();
        assert!(refused.is_first && refused.stranded.is_empty(), "the other will come to them");
        let refused = queue.refuse_thread();
        assert!(!refused.is_first);
        assert_eq!(refused.stranded.iter().map(Job::name).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(matches!(push(3), Pushed::StartThread), "it is tried again");
    }
}
