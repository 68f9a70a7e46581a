//! Shared by the models of tasks: a queue for scheduling, and counters.

use std::{
    cell::Cell,
    mem,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use loom::sync::{
    Condvar, Mutex,
    atomic::{
        AtomicBool, AtomicUsize,
        Ordering::{AcqRel, Relaxed},
    },
};
use ringloop::{
    ErrorEvent, Task, TaskError,
    model::{
        inbox::Inbox,
        task::{self, Ended, Registered, Runnable, Schedule},
    },
};

/// One queue of runnable tasks, for all threads of the model. It is an inbox and no queue with a
/// lock, which would order everything that its users do.
pub struct Shared;

loom::lazy_static! {
    static ref QUEUE: Inbox = Inbox::new();
    /// The number of ends that the registry saw; read by threads that learn of the end in other
    /// ways.
    static ref ENDED: AtomicUsize = AtomicUsize::new(0);
}

// Counted by all threads of a model, which are coroutines of one system thread; loom does not track
// them.
thread_local! {
    static REPORTED: Cell<usize> = const { Cell::new(0) };
    static DROPPED: Cell<usize> = const { Cell::new(0) };
    static POLLED: Cell<usize> = const { Cell::new(0) };
}

impl Schedule for Shared {
    fn schedule(task: Runnable) {
        QUEUE.push(task);
    }

    fn ended(_task: &Ended<'_>) {
        ENDED.fetch_add(1, Relaxed);
    }

    fn report(_event: &ErrorEvent) {
        REPORTED.set(REPORTED.get() + 1);
    }
}

/// Tasks that are ready when first polled, numbered from 1, for models of queues.
pub fn ready_tasks<const N: usize>() -> [Runnable; N] {
    std::array::from_fn(|index| ready_task(index as u64 + 1))
}

/// One such task.
pub fn ready_task(number: u64) -> Runnable {
    let (entry, _, task) = task::create::<_, Shared>(async {}, number);
    task.detach();
    entry
}

/// Runs tasks that were drained to their end; returns their numbers, in order.
pub fn finish(tasks: Vec<Runnable>) -> Vec<u64> {
    let finish = |task: Runnable| {
        let number = task.number();
        assert!(task.run().is_none());
        number
    };
    tasks.into_iter().map(finish).collect()
}

/// Makes a task and queues it. Each model makes only one, at its beginning.
pub fn start<F>(future: F) -> (Registered, Task<F::Output>)
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    REPORTED.set(0);
    DROPPED.set(0);
    POLLED.set(0);
    let (entry, registered, task) = task::create::<F, Shared>(future, 1);
    Shared::schedule(entry);
    (registered, task)
}

/// Runs the queue until it is empty.
pub fn drain() {
    while run_one() {}
}

/// Runs the task, if it is queued. There is only one, so there is at most one entry.
pub fn run_one() -> bool {
    let mut entries = QUEUE.take(usize::MAX);
    let next = entries.pop();
    assert!(entries.is_empty(), "queued twice");
    let ran = next.is_some();
    if let Some(again) = next.and_then(Runnable::run) {
        Shared::schedule(again);
    }
    ran
}

/// Runs the queue, of any number of tasks, until it is empty. Returns whether there was an entry.
pub fn drain_all() -> bool {
    let mut any = false;
    loop {
        let entries = QUEUE.take(usize::MAX);
        if entries.is_empty() {
            return any;
        }
        any = true;
        for task in entries {
            if let Some(again) = task.run() {
                Shared::schedule(again);
            }
        }
    }
}

/// A future that belongs to no task, and is polled whenever it has been woken.
pub struct Driven<F> {
    pub future: Pin<Box<F>>,
    pub woken: Arc<Woken>,
}

/// A waker that notes that it was woken.
pub struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        // No store, which loom does not always order with RMWs.
        self.0.swap(true, AcqRel);
    }
}

impl<F: Future> Driven<F> {
    pub fn new(future: Pin<Box<F>>) -> Self {
        Self { future, woken: Arc::new(Woken(AtomicBool::new(true))) }
    }

    /// Polls it until it has a value, or is not woken any more.
    pub fn drive(&mut self) -> Option<F::Output> {
        let waker = Waker::from(self.woken.clone());
        while self.woken.0.swap(false, AcqRel) {
            let polled = self.future.as_mut().poll(&mut Context::from_waker(&waker));
            if let Poll::Ready(output) = polled {
                return Some(output);
            }
        }
        None
    }

    /// The same, while this thread runs tasks as well, until nothing is queued.
    pub fn drive_with_tasks(&mut self) -> Option<F::Output> {
        loop {
            let output = self.drive();
            if output.is_some() || !drain_all() {
                return output;
            }
        }
    }
}

/// A part of a future or a result, whose drops are counted.
pub struct Token;

impl Drop for Token {
    fn drop(&mut self) {
        DROPPED.set(DROPPED.get() + 1);
    }
}

/// Called by a future at the beginning of a poll.
pub fn count_poll() {
    POLLED.set(POLLED.get() + 1);
}

/// The number of polls that have begun.
pub fn polled() -> usize {
    POLLED.get()
}

/// The number of tokens that have been dropped in this execution.
pub fn dropped() -> usize {
    DROPPED.get()
}

/// The number of reported panics.
pub fn reported() -> usize {
    REPORTED.get()
}

/// The number of ends that the registry saw.
pub fn ended() -> usize {
    ENDED.load(Relaxed)
}

/// The result of a task that must have ended.
pub fn take<T>(task: Task<T>) -> Result<T, TaskError> {
    poll_once(&mut pin!(task)).expect("the task is stuck: nothing is queued, and it has not ended")
}

/// Blocks until the future is ready. If it is not woken, loom reports a deadlock.
pub fn wait_for<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => bell.wait(),
        }
    }
}

/// Not loom's `park`: a late `unpark` would end any later block of the thread.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Bell {
    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !mem::take(&mut *rung) {
            rung = self.heard.wait(rung).unwrap();
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.rung.lock().unwrap() = true;
        self.heard.notify_one();
    }
}

/// A waker that does nothing; its owners are counted.
pub struct Ring;

impl Wake for Ring {
    fn wake(self: Arc<Self>) {}
}

/// Polls a handle once, with a waker that does nothing.
pub fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
