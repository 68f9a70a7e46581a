//! Shared by the models of `sync/`.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use loom::thread::{self, JoinHandle};

/// A future that is polled by hand, with a waker that does nothing.
pub struct Hand<F>(Pin<Box<F>>);

impl<F: Future> Hand<F> {
    pub fn new(future: F) -> Self {
        Self(Box::pin(future))
    }

    pub fn poll(&mut self) -> Poll<F::Output> {
        self.0.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Polls with a waker that wakes.
    pub fn poll_with(&mut self, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.0.as_mut().poll(cx)
    }

    /// Waits in the queue, or has its result at once.
    pub fn begun(future: F) -> (Self, Option<F::Output>) {
        let mut hand = Self::new(future);
        let output = match hand.poll() {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        };
        (hand, output)
    }
}

/// A waker that calls a function when it is woken. If it is woken with a lock held that the
/// function takes, loom reports a deadlock.
pub fn calling_waker(call: impl Fn() + Send + Sync + 'static) -> Waker {
    struct Caller<F>(F);
    impl<F: Fn() + Send + Sync> Wake for Caller<F> {
        fn wake(self: Arc<Self>) {
            (self.0)();
        }
    }
    Waker::from(Arc::new(Caller(call)))
}

/// A thread of the model with the shared data.
pub fn spawn<S, F>(shared: &Arc<S>, body: F) -> JoinHandle<()>
where
    S: Send + Sync + 'static,
    F: FnOnce(&S) + Send + 'static,
{
    let shared = shared.clone();
    thread::spawn(move || body(&shared))
}

/// Joins all.
pub fn join<const N: usize>(threads: [JoinHandle<()>; N]) {
    for thread in threads {
        thread.join().unwrap();
    }
}
