//! The queue of a lane of blocking jobs, the threads that serve it, and its watch.
//!
//! Code: `blocking/queue/`. A thread that is idle for too long ends: in a model that may be at any
//! time, or never. Each job in the queue has waited for long enough.
//!
//! Properties:
//!
//! * each job runs once, or is given back once, by the end of the queue or by a thread that was
//!   refused;
//! * an idle thread is woken for a job, and for the end;
//! * a job that is queued behind a job that waits for it gets a thread of its own;
//! * the end of all threads happens before a wait for their end returns.
//!
//! Actors: one or two pushers; the threads that the queue starts; a closer.
//!
//! Bound: 3 threads at a time; 3 jobs. With a watch 4 threads, and not all orders.

use std::sync::{Arc, Mutex};

use loom::{
    cell::UnsafeCell,
    sync::{
        Condvar,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};
use loom_tests::{explore, explore_with_fewer};
use ringloop::model::blocking::{Duty, JobQueue, Pushed};

/// A queue, and how often each of its jobs ran.
struct Counted {
    queue: JobQueue,
    ran: [AtomicUsize; 3],
    /// Whether there is a watch; else it is refused.
    watched: bool,
    /// Threads that were started. The lock is not held where loom may switch threads.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Counted {
    fn new(threads: usize, for_ever: bool) -> Arc<Self> {
        Self::with(JobQueue::new(threads, threads, for_ever), false)
    }

    fn with(queue: JobQueue, watched: bool) -> Arc<Self> {
        let ran = std::array::from_fn(|_| AtomicUsize::new(0));
        Arc::new(Self { queue, ran, watched, threads: Mutex::default() })
    }

    fn start(self: &Arc<Self>, duty: Duty) {
        if duty == Duty::Watch && !self.watched {
            assert_eq!(self.queue.refuse_thread(duty), 0);
            return;
        }
        let shared = self.clone();
        let thread = thread::spawn(move || {
            let start = |duty| shared.start(duty);
            match duty {
                Duty::Serve => shared.queue.serve(start),
                Duty::Watch => shared.queue.watch(start),
            }
        });
        self.threads.lock().unwrap().push(thread);
    }

    /// `true`: the queue is closed.
    fn push_that(self: &Arc<Self>, number: usize, does: impl FnOnce() + Send + 'static) -> bool {
        let shared = self.clone();
        let pushed = self.queue.push(number, move || {
            does();
            shared.ran[number].fetch_add(1, Relaxed);
        });
        if let Pushed::Start(duty) = pushed {
            self.start(duty);
        }
        pushed == Pushed::Closed
    }

    fn push(self: &Arc<Self>, number: usize) -> bool {
        self.push_that(number, || ())
    }

    /// Joins all threads, including those that they start.
    fn join(&self) {
        loop {
            let next = self.threads.lock().unwrap().pop();
            match next {
                Some(thread) => thread.join().unwrap(),
                None => return,
            }
        }
    }

    fn ran(&self) -> usize {
        let counts = self.ran.iter().map(|count| count.load(Relaxed));
        counts.inspect(|&count| assert!(count <= 1, "a job ran twice")).sum()
    }
}

/// A job is pushed when the only idle thread may be about to end.
#[test]
fn push_against_the_end_of_an_idle_thread() {
    explore(|| {
        let shared = Counted::new(2, false);
        shared.push(0);
        shared.push(1);
        shared.join();
        assert_eq!(shared.ran(), 2, "no thread is left, and a job has not run");
    });
}

/// A thread that stays is woken for each job, by one or the other pusher, and for the end.
#[test]
fn idle_thread_is_called() {
    explore(|| {
        let shared = Counted::new(1, true);
        shared.push(0);
        let pusher = {
            let shared = shared.clone();
            thread::spawn(move || assert!(!shared.push(1)))
        };
        assert!(!shared.push(2));
        pusher.join().unwrap();
        while shared.ran() < 3 {
            thread::yield_now();
        }
        assert_eq!(shared.queue.close(), 0);
        shared.join();
    });
}

/// Two threads, both of them idle at some time, are called one by one.
#[test]
fn each_of_two_idle_threads_is_called_once() {
    explore(|| {
        let shared = Counted::new(2, true);
        shared.push(0);
        shared.push(1);
        shared.push(2);
        while shared.ran() < 3 {
            thread::yield_now();
        }
        assert_eq!(shared.queue.close(), 0);
        shared.join();
        shared.queue.wait_for_threads();
    });
}

/// Data that a job touches.
struct Seen(UnsafeCell<()>);

// SAFETY: loom reports an access while another thread has the cell.
unsafe impl Sync for Seen {}

/// The queue is closed beside a push.
#[test]
fn close_against_push() {
    explore(|| {
        let shared = Counted::new(1, true);
        let seen = Arc::new(Seen(UnsafeCell::new(())));
        shared.push(0);
        let pusher = {
            let (shared, seen) = (shared.clone(), seen.clone());
            thread::spawn(move || {
                shared.push_that(1, move || {
                    let Seen(cell) = &*seen;
                    cell.with(|_| ());
                })
            })
        };
        let refused = shared.queue.close();
        shared.queue.wait_for_threads();
        let closed = pusher.join().unwrap();
        // Each job that ran has ended.
        seen.0.with_mut(|_| ());
        assert_eq!(shared.ran() + refused + usize::from(closed), 2, "once each");
        shared.join();
    });
}

/// The queue is closed beside a push, and queued jobs still run.
#[test]
fn finish_against_push() {
    explore(|| {
        let shared = Counted::new(1, true);
        shared.push(0);
        let pusher = {
            let shared = shared.clone();
            thread::spawn(move || shared.push(1))
        };
        shared.queue.finish();
        let closed = pusher.join().unwrap();
        shared.queue.wait_for_threads();
        assert_eq!(shared.ran() + usize::from(closed), 2);
        shared.join();
    });
}

/// A thread is refused beside one that is not: at any time, each job is run by a thread.
#[test]
fn refused_thread_beside_another() {
    explore(|| {
        let shared = Counted::new(2, true);
        shared.push(0);
        let pusher = {
            let shared = shared.clone();
            thread::spawn(move || match shared.queue.push(1, || ()) {
                // The thread for this job is refused.
                Pushed::Start(duty) => shared.queue.refuse_thread(duty),
                _ => 0,
            })
        };
        shared.push(2);
        assert_eq!(pusher.join().unwrap(), 0, "there is another thread");
        while shared.ran[0].load(Relaxed) + shared.ran[2].load(Relaxed) < 2 {
            thread::yield_now();
        }
        shared.queue.finish();
        shared.join();
        shared.queue.wait_for_threads();
    });
}

/// The only thread is refused.
#[test]
fn refused_thread_strands_what_is_queued() {
    explore(|| {
        let shared = Counted::new(1, true);
        let pusher = {
            let shared = shared.clone();
            thread::spawn(move || match shared.queue.push(0, || ()) {
                Pushed::Start(duty) => shared.queue.refuse_thread(duty),
                _ => 0,
            })
        };
        let stranded = match shared.queue.push(1, || ()) {
            Pushed::Start(duty) => shared.queue.refuse_thread(duty),
            _ => 0,
        };
        let stranded = stranded + pusher.join().unwrap();
        assert_eq!(stranded, 2);
        // It is not waited for.
        assert_eq!(shared.queue.close(), 0);
        shared.queue.wait_for_threads();
    });
}

/// Jobs that wait for others.
#[derive(Default)]
struct Ran {
    jobs: loom::sync::Mutex<[bool; 3]>,
    one_more: Condvar,
}

impl Ran {
    fn note(&self, number: usize) {
        self.jobs.lock().unwrap()[number] = true;
        self.one_more.notify_all();
    }

    fn wait_for(&self, number: usize) {
        let mut jobs = self.jobs.lock().unwrap();
        while !jobs[number] {
            jobs = self.one_more.wait(jobs).unwrap();
        }
    }
}

/// The first job waits for the last of the jobs after it.
fn first_waits_for_last(last: usize) {
    let shared = Counted::with(JobQueue::new(2, 1, false), true);
    let ran = Arc::new(Ran::default());
    let first = ran.clone();
    shared.push_that(0, move || first.wait_for(last));
    for number in 1..=last {
        let notes = ran.clone();
        shared.push_that(number, move || notes.note(number));
        ran.wait_for(number);
    }
    // The watch may sleep for ever, as the lane cannot grow.
    shared.queue.finish();
    shared.join();
    shared.queue.wait_for_threads();
    assert_eq!(shared.ran(), 1 + last);
}

#[test]
fn watch_gets_a_thread_for_a_job_that_waits() {
    explore(|| first_waits_for_last(1));
}

/// The first job waits for the third, which is pushed after `wait`.
fn first_waits_for_the_third(wait: fn(&JobQueue)) {
    explore_with_fewer(1, move || {
        let shared = Counted::with(JobQueue::new(2, 1, false), true);
        let ran = Arc::new(Ran::default());
        let first = ran.clone();
        shared.push_that(0, move || {
            first.note(0);
            first.wait_for(2);
        });
        ran.wait_for(0);
        let pusher = {
            let (shared, ran) = (shared.clone(), ran.clone());
            thread::spawn(move || {
                ran.wait_for(1);
                wait(&shared.queue);
                shared.push_here(2, &ran);
            })
        };
        shared.push_here(1, &ran);
        pusher.join().unwrap();
        ran.wait_for(2);
        shared.queue.finish();
        shared.join();
        shared.queue.wait_for_threads();
        assert_eq!(shared.ran(), 3);
    });
}

/// The watch, which has started a thread for the second job, may be about to sleep when the third
/// is pushed.
#[test]
fn watch_that_rests_is_called() {
    first_waits_for_the_third(|_| {});
}

/// The watch sleeps when the third job is pushed, and may find that it has slept for long enough.
#[test]
fn watch_that_ends_is_called() {
    first_waits_for_the_third(|queue| {
        while queue.watch_is_awake() {
            thread::yield_now();
        }
    });
}

/// A watch that sleeps for as long as the queue is open is woken for the end of the queue.
#[test]
fn watch_that_rests_is_called_for_the_end() {
    explore_with_fewer(1, || {
        let shared = Counted::with(JobQueue::new(2, 1, true), true);
        let ran = Arc::new(Ran::default());
        let first = ran.clone();
        shared.push_that(0, move || first.wait_for(1));
        let notes = ran.clone();
        shared.push_that(1, move || notes.note(1));
        ran.wait_for(1);
        shared.queue.finish();
        shared.queue.wait_for_threads();
        shared.join();
        assert_eq!(shared.ran(), 2);
    });
}

/// A thread is refused, and another is busy: it is woken for the next job.
#[test]
fn refused_thread_is_not_expected() {
    explore(|| {
        let shared = Counted::new(2, true);
        let ran = Arc::new(Ran::default());
        shared.hold(0, 1, &ran);
        let notes = ran.clone();
        let pushed = shared.queue.push(1, move || notes.note(2));
        assert_eq!(pushed, Pushed::Start(Duty::Serve));
        assert_eq!(shared.queue.refuse_thread(Duty::Serve), 0);
        ran.note(1);
        ran.wait_for(2);
        shared.push(2);
        shared.finish_one(2);
    });
}

/// The same where the other thread becomes idle before the refusal, and a job was pushed in
/// between.
#[test]
fn thread_that_became_idle_before_a_refusal_is_called() {
    explore(|| {
        let shared = Counted::new(2, true);
        let ran = Arc::new(Ran::default());
        shared.hold(0, 1, &ran);
        let notes = ran.clone();
        let pushed = shared.queue.push(1, move || notes.note(2));
        assert_eq!(pushed, Pushed::Start(Duty::Serve));
        ran.note(1);
        ran.wait_for(2);
        assert!(!shared.push(2));
        assert_eq!(shared.queue.refuse_thread(Duty::Serve), 0);
        shared.finish_one(2);
    });
}

impl Counted {
    /// A thread runs job `number`, which lasts until job `until` is noted.
    fn hold(self: &Arc<Self>, number: usize, until: usize, ran: &Arc<Ran>) {
        let held = ran.clone();
        self.push_that(number, move || {
            held.note(number);
            held.wait_for(until);
        });
        ran.wait_for(number);
    }

    /// Waits for the job with that number, and for the end.
    fn finish_one(&self, number: usize) {
        while self.ran[number].load(Relaxed) == 0 {
            thread::yield_now();
        }
        self.queue.finish();
        self.join();
        self.queue.wait_for_threads();
    }

    /// Pushes a job that notes its number; if a watch is needed, this thread becomes it.
    fn push_here(self: &Arc<Self>, number: usize, ran: &Arc<Ran>) {
        let (shared, notes) = (self.clone(), ran.clone());
        let pushed = self.queue.push(number, move || {
            shared.ran[number].fetch_add(1, Relaxed);
            notes.note(number);
        });
        match pushed {
            Pushed::Start(Duty::Watch) => self.queue.watch(|duty| self.start(duty)),
            Pushed::Start(duty) => self.start(duty),
            Pushed::Queued | Pushed::Closed => {}
        }
    }
}
