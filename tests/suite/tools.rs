//! Small futures and values for tests.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::ThreadId;

/// A latch: once it is set, all waits end.
#[derive(Clone, Default)]
pub struct Flag(Arc<Mutex<FlagState>>);

#[derive(Default)]
struct FlagState {
    set: bool,
    waiters: Vec<Option<Waker>>,
    waiting: usize,
}

impl Flag {
    pub fn new() -> Flag {
        Flag::default()
    }

    pub fn set(&self) {
        let waiters = {
            let mut state = self.0.lock().unwrap();
            state.set = true;
            state.waiting = 0;
            std::mem::take(&mut state.waiters)
        };
        waiters.into_iter().flatten().for_each(Waker::wake);
    }

    pub fn is_set(&self) -> bool {
        self.0.lock().unwrap().set
    }

    /// How many are waiting now.
    pub fn waiters(&self) -> usize {
        self.0.lock().unwrap().waiting
    }

    pub fn wait(&self) -> FlagWait {
        FlagWait { flag: self.clone(), index: None }
    }
}

pub struct FlagWait {
    flag: Flag,
    index: Option<usize>,
}

impl Future for FlagWait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let flag = self.flag.clone();
        let mut state = flag.0.lock().unwrap();
        if state.set {
            self.index = None;
            return Poll::Ready(());
        }
        match self.index {
            Some(index) => state.waiters[index] = Some(cx.waker().clone()),
            None => {
                self.index = Some(state.waiters.len());
                state.waiters.push(Some(cx.waker().clone()));
                state.waiting += 1;
            }
        }
        Poll::Pending
    }
}

impl Drop for FlagWait {
    fn drop(&mut self) {
        let Some(index) = self.index else { return };
        let waker = {
            let mut state = self.flag.0.lock().unwrap();
            let waker = state.waiters.get_mut(index).and_then(Option::take);
            state.waiting -= usize::from(waker.is_some());
            waker
        };
        drop(waker);
    }
}

/// A shared counter.
#[derive(Clone, Default)]
pub struct Count(Arc<AtomicUsize>);

impl Count {
    pub fn new() -> Count {
        Count::default()
    }

    /// Adds one and returns the value before.
    pub fn add(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    pub fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// A value that adds one when it is dropped.
    pub fn on_drop(&self) -> AddOnDrop {
        AddOnDrop(self.clone())
    }
}

pub struct AddOnDrop(Count);

impl Drop for AddOnDrop {
    fn drop(&mut self) {
        self.0.add();
    }
}

/// Sets a flag when dropped.
pub struct SetOnDrop(pub Flag);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// Panics in its destructor, unless a panic is under way.
pub struct PanicOnDrop;

impl Drop for PanicOnDrop {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            crate::harness::deliberate("destructor");
        }
    }
}

/// Counts in `strays` each drop on another thread than the one that made it. (A panic would be
/// contained by the runtime and could go unseen.)
pub struct ThreadBound(ThreadId, Count);

impl ThreadBound {
    /// `strays` counts the drops on foreign threads.
    pub fn new(strays: &Count) -> ThreadBound {
        ThreadBound(std::thread::current().id(), strays.clone())
    }

    pub fn check(&self) {
        if std::thread::current().id() != self.0 {
            self.1.add();
        }
    }
}

impl Drop for ThreadBound {
    fn drop(&mut self) {
        self.check();
    }
}

/// A log of events, in their order.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub fn new() -> Log {
        Log::default()
    }

    pub fn push(&self, text: impl Into<String>) {
        self.0.lock().unwrap().push(text.into());
    }

    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// Holds one value, which another thread or task may take.
pub struct Slot<T>(Arc<Mutex<Option<T>>>);

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Slot<T> {
        Slot(self.0.clone())
    }
}

impl<T> Slot<T> {
    pub fn new() -> Slot<T> {
        Slot(Arc::new(Mutex::new(None)))
    }

    pub fn put(&self, value: T) {
        *self.0.lock().unwrap() = Some(value);
    }

    pub fn take(&self) -> Option<T> {
        self.0.lock().unwrap().take()
    }

    pub fn with<R>(&self, f: impl FnOnce(&T) -> R) -> Option<R> {
        self.0.lock().unwrap().as_ref().map(f)
    }
}

/// Counts polls of the future inside.
pub struct Polled<F> {
    inner: Pin<Box<F>>,
    polls: Count,
}

impl<F: Future> Polled<F> {
    pub fn new(inner: F, polls: &Count) -> Polled<F> {
        Polled { inner: Box::pin(inner), polls: polls.clone() }
    }
}

impl<F: Future> Future for Polled<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.polls.add();
        self.inner.as_mut().poll(cx)
    }
}

/// Polls `inner` at most `turns` times, waking itself in between, and then gives up: a cancellation
/// after a chosen number of turns.
pub struct GiveUpAfter<F> {
    inner: Option<Pin<Box<F>>>,
    turns: usize,
}

impl<F: Future> GiveUpAfter<F> {
    pub fn new(turns: usize, inner: F) -> GiveUpAfter<F> {
        GiveUpAfter { inner: Some(Box::pin(inner)), turns }
    }
}

impl<F: Future> Future for GiveUpAfter<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        if self.turns == 0 {
            self.inner = None;
            return Poll::Ready(None);
        }
        self.turns -= 1;
        let inner = self.inner.as_mut().expect("not polled after the end");
        if let Poll::Ready(value) = inner.as_mut().poll(cx) {
            return Poll::Ready(Some(value));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A waker that counts its wakes, for polls by hand.
pub struct CountWakes(pub Count);

impl Wake for CountWakes {
    fn wake(self: Arc<Self>) {
        self.0.add();
    }
}

impl CountWakes {
    pub fn waker() -> (Waker, Count) {
        let count = Count::new();
        (Waker::from(Arc::new(CountWakes(count.clone()))), count)
    }
}

/// Polls once with the given waker, on a plain thread.
pub fn poll_by_hand<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// The byte at offset `i` of a stream whose order can be checked from any offset.
pub fn pattern_byte(i: usize) -> u8 {
    let x = (i as u32).wrapping_mul(0x9E37_79B1);
    (x >> 24) as u8 ^ (x >> 9) as u8
}

/// Fills `buf` with the stream's bytes from `offset` on.
pub fn fill_pattern(buf: &mut [u8], offset: usize) {
    buf.iter_mut().enumerate().for_each(|(i, byte)| *byte = pattern_byte(offset + i));
}

/// Checks that `buf` is the stream from `offset` on.
#[track_caller]
pub fn check_pattern(buf: &[u8], offset: usize) {
    for (i, &byte) in buf.iter().enumerate() {
        assert_eq!(byte, pattern_byte(offset + i), "byte {} of the stream", offset + i);
    }
}

/// Waits for a plain thread, and lets the worker go on meanwhile.
pub async fn joined<T>(thread: std::thread::JoinHandle<T>) -> std::thread::Result<T> {
    while !thread.is_finished() {
        ringloop::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    thread.join()
}
