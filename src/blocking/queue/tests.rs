use std::{
    collections::HashSet,
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
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

    fn left(&self) -> Left {
        if self.0 == GONE { Left::Nothing } else { Left::Job }
    }

    fn is_remains(&self) -> bool {
        false
    }

    fn run(self) {
        self.1();
    }
}

/// The number of a job that was cancelled.
const GONE: usize = usize::MAX;

const LONG: Duration = Duration::from_secs(100);

struct Lane {
    queue: JobQueue<Call>,
    /// Threads that were started to serve.
    made: AtomicUsize,
    /// What the watch has reported.
    reports: mpsc::Sender<Saturated<usize>>,
}

fn limits(threads: usize) -> Limits {
    Limits {
        threads,
        at_once: threads,
        keep_alive: LONG,
        patience: Duration::from_micros(100),
        saturated: LONG,
        queued: usize::MAX,
    }
}

fn lane(limits: Limits) -> Arc<Lane> {
    lane_with_reports(limits).0
}

fn lane_with_reports(limits: Limits) -> (Arc<Lane>, mpsc::Receiver<Saturated<usize>>) {
    let (reports, reported) = mpsc::channel();
    let made = AtomicUsize::new(0);
    (Arc::new(Lane { queue: JobQueue::new(limits), made, reports }), reported)
}

impl Lane {
    fn start(self: &Arc<Self>, duty: Duty) {
        let lane = self.clone();
        if duty == Duty::Serve {
            self.made.fetch_add(1, Ordering::Relaxed);
        }
        thread::spawn(move || {
            let start = |duty| lane.start(duty);
            match duty {
                Duty::Serve => lane.queue.serve(&Seat::new(), &start),
                Duty::Watch => lane.queue.watch(&start, &|saturated| {
                    let _ = lane.reports.send(saturated);
                }),
            }
        });
    }

    fn push(self: &Arc<Self>, number: usize, f: impl FnOnce() + Send + 'static) {
        match self.queue.push(Call(number, Box::new(f))) {
            Pushed::Queued => {}
            Pushed::Start(duty) => self.start(duty),
            Pushed::Closed(_) | Pushed::Full(_) => panic!("it is open, and has room"),
        }
    }

    /// Has so many threads, all of them idle.
    fn burst(self: &Arc<Self>, threads: usize) {
        let together = Arc::new(Barrier::new(threads));
        for number in 0..threads {
            let together = together.clone();
            self.push(number, move || {
                together.wait();
            });
        }
        self.all_idle(threads);
    }

    fn all_idle(&self, threads: usize) {
        while self.queue.state.lock().idle.len() != threads {
            thread::yield_now();
        }
    }

    fn one(self: &Arc<Self>) -> ThreadId {
        let (sender, receiver) = mpsc::channel();
        self.push(0, move || sender.send(thread::current().id()).unwrap());
        receiver.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    fn close(&self) {
        assert_eq!(self.queue.close().len(), 0);
        assert_eq!(self.queue.wait_for_threads(u64::MAX), [0; 0]);
    }
}

#[test]
fn thread_that_became_idle_last_is_called_first() {
    // Goal: under a light load the other threads stay idle; method: after a burst, one job after
    // another, each when all threads are idle again: one thread runs them all.
    let lane = lane(limits(100));
    lane.burst(20);
    let mut runners = HashSet::new();
    for _ in 0..100 {
        runners.insert(lane.one());
        lane.all_idle(20);
    }
    assert_eq!(runners.len(), 1);
    lane.close();
}

#[test]
fn threads_of_a_burst_end_under_a_light_load() {
    // Goal: the pool shrinks though it is never at rest for long; method: after a burst, jobs
    // without end, far more of them than threads while one stays idle; all threads but those
    // that the jobs need come to their ends. On one core a job's thread may still be on its way to the
    // idle ones when the next job comes, which then starts another.
    let lane = lane(Limits { keep_alive: Duration::from_millis(50), ..limits(100) });
    lane.burst(20);
    let begun = clock::machine();
    while lane.queue.threads() > 4 {
        lane.one();
        assert!(clock::machine() - begun < 20_000_000_000, "{} threads", lane.queue.threads());
    }
    lane.close();
}

#[test]
fn jobs_that_need_each_other_have_a_thread_each() {
    // Goal: a lane that is hungry grows, though it starts no thread at once but the first; method:
    // 20 jobs meet at a barrier, three times.
    let lane = lane(Limits { at_once: 1, ..limits(20) });
    for _ in 0..3 {
        lane.burst(20);
    }
    assert_eq!(lane.made.load(Ordering::Relaxed), 20);
    lane.close();
}

#[test]
fn burst_of_short_jobs_makes_few_threads() {
    // Goal: a thread costs more than a short job, and so few are made; method: bursts of empty jobs.
    // What the watch finds depends on which threads have a core; most of the bursts make no thread.
    const BURSTS: usize = 20;
    const JOBS: usize = 10_000;
    let lane = lane(Limits { at_once: 1, ..limits(512) });
    for _ in 0..BURSTS {
        let left = Arc::new(AtomicUsize::new(JOBS));
        for number in 0..JOBS {
            let left = left.clone();
            lane.push(number, move || {
                left.fetch_sub(1, Ordering::Relaxed);
            });
        }
        while left.load(Ordering::Relaxed) != 0 {
            thread::yield_now();
        }
    }
    let made = lane.made.load(Ordering::Relaxed);
    assert!(made < 10 * BURSTS, "{made} threads");
    lane.close();
}

#[test]
fn watch_of_an_idle_lane_rests_and_ends() {
    // Goal: an idle lane wakes nobody; method: the watch is started by jobs that need it, and is
    // resting soon after the last; then it ends as an idle thread does.
    let short = Duration::from_millis(300);
    let lane = lane(Limits { at_once: 1, keep_alive: short, ..limits(20) });
    lane.burst(2);
    while !matches!(lane.queue.state.lock().watch, Watch::Resting(_)) {
        thread::yield_now();
    }
    while !matches!(lane.queue.state.lock().watch, Watch::Absent) {
        thread::sleep(Duration::from_millis(1));
    }
    lane.close();
}

#[test]
fn saturated_lane_is_told_once_with_the_job_that_holds_it() {
    // Goal: the report says which job holds the lane for longest, once for each time that it is saturated;
    // method: two threads are held, and jobs wait behind them.
    let wait = Duration::from_millis(5);
    let (lane, reported) = lane_with_reports(Limits { saturated: wait, ..limits(2) });
    for round in 1..3 {
        let (go, hold) = mpsc::channel::<()>();
        let hold = Arc::new(std::sync::Mutex::new(hold));
        for number in [10 * round, 10 * round + 1] {
            let hold = hold.clone();
            let (begins, begun) = mpsc::channel();
            lane.push(number, move || {
                begins.send(()).unwrap();
                let _ = hold.lock().unwrap().recv();
            });
            begun.recv().unwrap();
        }
        lane.push(7, || ());
        lane.push(8, || ());
        let reports = reported.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(reports.holder.unwrap().name, 10 * round);
        assert_eq!(reports.queued, 2);
        assert!(reports.waits >= clock::nanos(wait));
        thread::sleep(4 * wait);
        assert!(reported.try_recv().is_err(), "once");
        drop(go);
        lane.all_idle(2);
    }
    lane.close();
}

#[test]
fn memory_of_a_long_queue_is_given_back() {
    const MANY: usize = 100_000;
    let lane = lane(limits(1));
    let (go, wait) = mpsc::channel::<()>();
    lane.push(0, move || {
        let _ = wait.recv();
    });
    for number in 1..MANY {
        lane.push(number, || ());
    }
    assert!(lane.queue.state.lock().jobs.capacity() >= MANY - 1);
    drop(go);
    lane.all_idle(1);
    assert!(lane.queue.state.lock().jobs.capacity() <= KEEPS);
    lane.close();
}

#[test]
fn jobs_that_are_gone_do_not_fill_a_queue() {
    // Goal: what was cancelled keeps neither memory nor room; method: the only thread is held, and
    // most jobs behind it are gone.
    let lane = lane(Limits { queued: 4, ..limits(1) });
    let (go, wait) = mpsc::channel::<()>();
    let (begins, begun) = mpsc::channel();
    lane.push(0, move || {
        begins.send(()).unwrap();
        let _ = wait.recv();
    });
    begun.recv().unwrap();
    for number in [1, GONE, GONE, GONE, 2, GONE, 3, GONE, 4] {
        lane.push(number, || ());
    }
    assert_eq!(lane.queue.jobs(), 5);
    let full = lane.queue.push(Call(5, Box::new(|| ())));
    assert!(matches!(full, Pushed::Full(Call(5, _))));
    assert_eq!(lane.queue.look().queued, 4);
    drop(go);
    lane.all_idle(1);
    lane.close();
}

#[test]
fn refused_thread_strands_jobs_only_if_it_would_have_been_the_only_one() {
    let queue = JobQueue::<Call>::new(limits(2));
    let push = |number| queue.push(Call(number, Box::new(|| ())));
    assert!(matches!(push(0), Pushed::Start(Duty::Serve)));
    assert!(matches!(push(1), Pushed::Queued), "one is coming");
    let refused = queue.refuse_thread(Duty::Serve);
    assert!(refused.is_first);
    assert_eq!(refused.stranded.iter().map(Job::name).collect::<Vec<_>>(), [0, 1]);
    assert!(matches!(push(2), Pushed::Start(Duty::Serve)), "it is tried again");
    let refused = queue.refuse_thread(Duty::Serve);
    assert!(!refused.is_first);
    assert_eq!(refused.stranded.len(), 1);
    assert_eq!(queue.threads(), 0);
}
