//! Shared by the tests of `ringloop::sync`: futures polled by hand, wakers that misbehave, and an
//! executor of another kind.

use std::future::Future;
use std::mem::ManuallyDrop;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use ringloop::sync::Semaphore;

use crate::harness::guarded;
use crate::tools::{Count, CountWakes};

/// Runs a test that needs no runtime, under a deadline.
pub fn by_hand(name: &str, body: impl FnOnce()) {
    guarded(name, Duration::from_secs(60), body);
}

/// A future that is polled step by step, with a waker that counts.
pub struct Hand<F> {
    future: Pin<Box<F>>,
    waker: Waker,
    wakes: Count,
}

impl<F: Future> Hand<F> {
    pub fn new(future: F) -> Hand<F> {
        let (waker, wakes) = CountWakes::waker();
        Hand { future: Box::pin(future), waker, wakes }
    }

    /// A future that waits: its first poll is pending.
    pub fn waiting(future: F) -> Hand<F> {
        let mut hand = Hand::new(future);
        assert!(hand.poll().is_none(), "it should wait");
        hand
    }

    pub fn poll(&mut self) -> Option<F::Output> {
        let waker = self.waker.clone();
        self.poll_with(&waker)
    }

    /// Polls with a waker of the test's own.
    pub fn poll_with(&mut self, waker: &Waker) -> Option<F::Output> {
        match self.future.as_mut().poll(&mut Context::from_waker(waker)) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    /// How often it was woken.
    pub fn wakes(&self) -> usize {
        self.wakes.get()
    }

    /// Polls it to its end; it must have been woken exactly once.
    #[track_caller]
    pub fn finish(mut self) -> F::Output {
        assert_eq!(self.wakes(), 1, "one wake for one result");
        self.poll().expect("it has its result")
    }
}

/// The smallest executor: one future on one thread, which sleeps between polls.
pub fn other_executor<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

/// Polls a future once, with the waker of the task that awaits this.
pub async fn polled<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// Spends the task's budget of this poll: an operation that is ready has to yield.
pub async fn spend_budget() {
    let semaphore = Semaphore::new(1);
    while polled(pin!(semaphore.acquire())).await.is_ready() {}
}

/// Asserts that operations that are ready let others run all the same: on one worker, a task does
/// `step` again and again until another one has run.
pub async fn lets_others_run(what: &str, mut step: impl AsyncFnMut()) {
    let other = ringloop::spawn(async {});
    let mut rounds = 0;
    while !other.is_finished() {
        step().await;
        rounds += 1;
        assert!(rounds < 10_000, "{what}: the other task never runs");
    }
    other.await.unwrap();
}

/// A waker that calls a function on its wake and on its drop: with a lock held, that would be a
/// deadlock.
pub fn meddling_waker(call: impl Fn() + Send + Sync + 'static) -> Waker {
    struct Meddler<F: Fn()>(F);
    impl<F: Fn() + Send + Sync> Wake for Meddler<F> {
        fn wake(self: Arc<Self>) {
            (self.0)();
        }
    }
    impl<F: Fn()> Drop for Meddler<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    Waker::from(Arc::new(Meddler(call)))
}

/// A waker that calls a function on its wake.
pub fn calling_waker(call: impl Fn() + Send + Sync + 'static) -> Waker {
    struct Caller<F>(F);
    impl<F: Fn() + Send + Sync> Wake for Caller<F> {
        fn wake(self: Arc<Self>) {
            (self.0)();
        }
    }
    Waker::from(Arc::new(Caller(call)))
}

/// A waker that calls a function when it is cloned, and whose clones panic when they are dropped.
pub fn waker_with_bad_clones(call: impl Fn() + Send + Sync + 'static) -> Waker {
    struct Bad {
        call: Box<dyn Fn() + Send + Sync>,
        original: bool,
    }
    fn raw(bad: Arc<Bad>) -> RawWaker {
        static VTABLE: RawWakerVTable = RawWakerVTable::new(
            |data| {
                // SAFETY: `data` is that of a live waker, an Arc from `raw`; borrowed only.
                let bad = unsafe { ManuallyDrop::new(Arc::from_raw(data.cast::<Bad>())) };
                (bad.call)();
                raw(Arc::new(Bad { call: Box::new(|| ()), original: false }))
            },
            // SAFETY: waking by value ends this waker, an Arc from `raw`.
            |data| drop(unsafe { Arc::from_raw(data.cast::<Bad>()) }),
            |_| {},
            |data| {
                // SAFETY: as above, for a drop.
                let bad = unsafe { Arc::from_raw(data.cast::<Bad>()) };
                if !bad.original {
                    crate::harness::deliberate("the drop of a waker");
                }
            },
        );
        RawWaker::new(Arc::into_raw(bad).cast(), &VTABLE)
    }
    // SAFETY: the functions above treat the pointer as the Arc that it is.
    unsafe { Waker::from_raw(raw(Arc::new(Bad { call: Box::new(call), original: true }))) }
}

/// A waker that panics when it is woken.
pub fn panicking_waker() -> Waker {
    struct Bomb;
    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {
            crate::harness::deliberate("a waker");
        }
    }
    Waker::from(Arc::new(Bomb))
}

/// Values of this type may move to other threads, and be used from them.
pub fn send_sync<T: Send + Sync>(_: &T) {}
pub fn send<T: Send>(_: &T) {}
