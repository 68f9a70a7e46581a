//! Waiting for a future on a plain thread: what stands behind every `blocking_*`.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use super::{clock, current};

/// Wakes a thread. A wake that comes before the thread sleeps is kept: `park` returns at
/// once then, and a spurious return costs one more poll.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls `future` to its end on this thread, which sleeps in between.
///
/// # Panics
///
/// On a worker's thread, which it would hold up: in a task, and as well in destructors, wakers and
/// error hooks that the worker runs.
#[track_caller]
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    run(future, None).unwrap_or_else(|| unreachable!("it has no deadline"))
}

/// The same for at most `timeout`. The future is polled once more when the time is over.
///
/// # Panics
///
/// As [`block_on`].
#[track_caller]
pub(crate) fn block_on_timeout<F: Future>(future: F, timeout: Duration) -> Option<F::Output> {
    run(future, Some(clock::machine().saturating_add(clock::nanos(timeout))))
}

#[track_caller]
fn run<F: Future>(future: F, deadline: Option<u64>) -> Option<F::Output> {
    assert!(
        !current::must_not_block(),
        "a blocking call on a worker's thread would hold up its tasks: \
         await the method without `blocking_`, or move the call to ringloop::to_thread"
    );
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_sub(clock::machine()));
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Some(output);
        }
        match left {
            None => thread::park(),
            Some(0) => return None,
            Some(left) => thread::park_timeout(Duration::from_nanos(left)),
        }
    }
}
