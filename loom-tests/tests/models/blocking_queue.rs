//! The queue of blocking jobs and the threads that serve it.
//!
//! Code: `blocking/queue.rs`. A thread that is idle for too long ends: in a model that may be at
//! any time, or never.
//!
//! Properties: each job runs once, or is given back once, by the end of the queue or by a thread
//! that was refused; an idle thread is woken for a job, and for the end; who waits for the threads
//! has the last of what they did behind it.
//!
//! Actors: one or two who push, each of whom becomes the thread that it is asked for; who closes.
//!
//! Bound: 3 threads, 3 jobs.

use std::sync::Arc;

use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
};
use loom_tests::explore;
use ringloop::model::blocking::{JobQueue, Pushed};

/// A queue, and how often each of its jobs ran.
struct Counted {
    queue: JobQueue,
    ran: [AtomicUsize; 3],
}

impl Counted {
    fn new(limit: usize, for_ever: bool) -> Arc<Self> {
        let ran = std::array::from_fn(|_| AtomicUsize::new(0));
        Arc::new(Self { queue: JobQueue::new(limit, for_ever), ran })
    }

    fn push(self: &Arc<Self>, number: usize) -> Pushed {
        let shared = self.clone();
        self.queue.push(number, move || {
            shared.ran[number].fetch_add(1, Relaxed);
        })
    }

    /// Has a thread serve, if one is asked for.
    fn push_and_start(self: &Arc<Self>, number: usize) -> Option<thread::JoinHandle<()>> {
        let shared = self.clone();
        let start = || thread::spawn(move || shared.queue.serve());
        (self.push(number) == Pushed::StartThread).then(start)
    }

    fn ran(&self) -> usize {
        let counts = self.ran.iter().map(|count| count.load(Relaxed));
        counts.inspect(|&count| assert!(count <= 1, "a job ran twice")).sum()
    }
}

/// A job comes when the one thread that is idle may just be about to end.
#[test]
fn push_against_the_end_of_an_idle_thread() {
    explore(|| {
        let shared = Counted::new(2, false);
        let threads = [shared.push_and_start(0), shared.push_and_start(1)];
        for thread in threads.into_iter().flatten() {
            thread.join().unwrap();
        }
        assert_eq!(shared.ran(), 2, "no thread is left, so that nobody comes to it");
    });
}

/// A thread that stays is woken for each job, by one or the other who pushes, and for the end.
#[test]
fn idle_thread_is_called() {
    explore(|| {
        let shared = Counted::new(1, true);
        let server = shared.push_and_start(0).expect("the first");
        let pusher = {
            let shared = shared.clone();
            thread::spawn(move || assert_eq!(shared.push(1), Pushed::Queued))
        };
        assert_eq!(shared.push(2), Pushed::Queued);
        pusher.join().unwrap();
        while shared.ran() < 3 {
            thread::yield_now();
        }
        assert_eq!(shared.queue.close(), 0);
        server.join().unwrap();
    });
}

/// Two threads, both of them idle at some time, are called one by one.
#[test]
fn each_of_two_idle_threads_is_called_once() {
    explore(|| {
        let shared = Counted::new(2, true);
        let first = shared.push_and_start(0).expect("the first");
        let second = shared.push_and_start(1);
        shared.push_and_start(2);
        while shared.ran() < 3 {
            thread::yield_now();
        }
        assert_eq!(shared.queue.close(), 0);
        first.join().unwrap();
        second.into_iter().for_each(|second| second.join().unwrap());
        shared.queue.wait_for_threads();
    });
}

/// What a job touches.
struct Seen(UnsafeCell<()>);

// SAFETY: loom sees who comes to the cell when another has it.
unsafe impl Sync for Seen {}

/// The end comes beside a push.
#[test]
fn close_against_push() {
    explore(|| {
        let shared = Counted::new(1, true);
        let seen = Arc::new(Seen(UnsafeCell::new(())));
        let server = shared.push_and_start(0).expect("the first");
        let pusher = {
            let (shared, seen) = (shared.clone(), seen.clone());
            thread::spawn(move || {
                let look = move || {
                    let Seen(cell) = &*seen;
                    cell.with(|_| ());
                };
                shared.queue.push(1, look) == Pushed::Closed
            })
        };
        let refused = shared.queue.close();
        shared.queue.wait_for_threads();
        let closed = pusher.join().unwrap();
        // Whatever ran is over.
        seen.0.with_mut(|_| ());
        assert!(refused <= 2 && shared.ran() <= 1);
        assert!(!closed || refused <= 1, "given back once");
        server.join().unwrap();
    });
}

/// A thread is refused beside one that is not.
#[test]
fn refused_thread_beside_another() {
    explore(|| {
        let shared = Counted::new(2, false);
        let pusher = {
            let shared = shared.clone();
            thread::spawn(move || {
                if shared.push(0) == Pushed::StartThread {
                    shared.queue.serve();
                }
            })
        };
        let stranded = match shared.push(1) {
            Pushed::StartThread => shared.queue.refuse_thread(),
            _ => 0,
        };
        pusher.join().unwrap();
        assert_eq!(shared.ran() + stranded, 2);
        // It is not waited for.
        assert_eq!(shared.queue.close(), 0);
        shared.queue.wait_for_threads();
    });
}
