//! A blocking job is cancelled before a thread takes it, or at that moment.
//!
//! Code: `task/`, as `blocking/job.rs` uses it: the job is a task that has not been woken. The
//! thread that takes it out of the queue wakes it and runs it; a canceller wakes it and ends it.
//!
//! Properties: the job runs once and returns its value, or it never runs and is cancelled; its
//! future is dropped once; its waiter is woken; the memory is freed once.
//!
//! Actors: the thread, one or two cancellers, a waiter.
//!
//! Bound: 3 threads.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use loom::{
    sync::{
        Condvar, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};
use loom_tests::explore;
use ringloop::{
    ErrorEvent, Task,
    model::task::{Ended, Registered, Resting, Runnable, Schedule, create},
};

struct Jobs;

impl Schedule for Jobs {
    fn schedule(job: Runnable) {
        job.refuse();
    }

    fn ended(_job: &Ended<'_>) {}

    fn report(_event: &ErrorEvent) {}
}

#[derive(Clone, Default)]
struct Counts(Arc<[AtomicUsize; 2]>);

/// Counts its drop.
struct Future(Counts);

impl Drop for Future {
    fn drop(&mut self) {
        self.0.0[1].fetch_add(1, Relaxed);
    }
}

impl Counts {
    fn new() -> Self {
        Self(Arc::new(std::array::from_fn(|_| AtomicUsize::new(0))))
    }

    fn job(&self) -> (Resting, Registered, Task<u32>) {
        let future = Future(self.clone());
        let (entry, registered, task) = create::<_, Jobs>(
            async move {
                future.0.0[0].fetch_add(1, Relaxed);
                7
            },
            1,
        );
        (entry.rest(), registered, task)
    }

    /// The result is that of a job that ran, or of one that did not.
    fn check(&self, value: Option<u32>) {
        let [ran, dropped] = &*self.0;
        assert_eq!(ran.load(Relaxed), usize::from(value == Some(7)));
        assert_eq!(dropped.load(Relaxed), 1);
    }
}

/// A thread that takes the job out of its queue.
fn serve(job: Resting) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        if let Some(job) = job.claim() {
            assert!(job.run().is_none());
        }
    })
}

/// A thread that cancels the job.
fn request(registered: Registered, abort: bool) -> thread::JoinHandle<()> {
    // SAFETY: no other thread uses it, and the task has not ended.
    let task = unsafe { registered.refer() };
    thread::spawn(move || {
        task.request(abort);
        drop(task);
    })
}

#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.rung.lock().unwrap() = true;
        self.heard.notify_one();
    }
}

/// Sleeps until the job has ended.
fn wait_for(task: Task<u32>) -> Option<u32> {
    let bell = Arc::new(Bell { rung: Mutex::new(false), heard: Condvar::new() });
    let waker = Waker::from(bell.clone());
    let mut task = pin!(task);
    loop {
        if let Poll::Ready(result) = task.as_mut().poll(&mut Context::from_waker(&waker)) {
            return result.ok();
        }
        let mut rung = bell.rung.lock().unwrap();
        while !*rung {
            rung = bell.heard.wait(rung).unwrap();
        }
        *rung = false;
    }
}

/// A thread takes the job while another cancels it; a third waits.
#[test]
fn claim_against_cancel() {
    explore(|| {
        let counts = Counts::new();
        let (job, registered, task) = counts.job();
        let (server, canceller) = (serve(job), request(registered, false));
        let value = wait_for(task);
        counts.check(value);
        server.join().unwrap();
        canceller.join().unwrap();
    });
}

/// Two threads cancel, one of them by abort, and none waits.
#[test]
fn claim_against_two_cancels() {
    explore(|| {
        let counts = Counts::new();
        let (job, registered, task) = counts.job();
        let (server, canceller) = (serve(job), request(registered, true));
        let finished = task.cancel();
        drop(task);
        server.join().unwrap();
        canceller.join().unwrap();
        let _ = finished;
        assert_eq!(counts.0[1].load(Relaxed), 1);
        assert!(counts.0[0].load(Relaxed) <= 1);
    });
}

/// A job that was cancelled in the queue has ended, and is skipped.
#[test]
fn cancelled_job_is_passed_over() {
    explore(|| {
        let counts = Counts::new();
        let (job, registered, task) = counts.job();
        let canceller = request(registered, false);
        canceller.join().unwrap();
        assert!(job.is_finished());
        let server = serve(job);
        assert_eq!(wait_for(task), None);
        counts.check(None);
        server.join().unwrap();
    });
}
