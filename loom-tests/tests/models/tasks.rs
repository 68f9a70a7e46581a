//! What the models of tasks share: a queue to schedule by, and counts of what happens.

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

/// One queue of runnable tasks, for all threads of the model. It is an inbox and no locked queue,
/// which would order everything that its users do.
pub struct Shared;

loom::lazy_static! {
    static ref QUEUE: Inbox = Inbox::new();
    /// What the registry was told of; seen by who hears of the end otherwise.
    static ref ENDED: AtomicUsize = AtomicUsize::new(0);
}

// Counted by all threads of a model, which are coroutines of one system thread; of no
// account to loom.
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

/// One of them.
pub fn ready_task(number: u64) -> Runnable {
    let (entry, _, task) = task::create::<_, Shared>(async {}, number);
    task.detach();
    entry
}

/// The numbers of tasks that were drained, in order; they are run to their end.
pub fn finish(tasks: Vec<Runnable>) -> Vec<u64> {
    let finish = |task: Runnable| {
        let number = task.number();
        assert!(task.run().is_none());
        number
    };
    tasks.into_iter().map(finish).collect()
}

/// Makes a task and queues it. Each model makes one, first of all.
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

/// Runs what is queued, until nothing is.
pub fn drain() {
    while run_one() {}
}

/// Runs the task, if it is queued. There is one, so that there is one entry at most.
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

/// Runs what is queued, of any number of tasks, until nothing is. Says whether there was anything.
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

/// A future that is no task's, and is polled whenever it has been woken.
pub struct Driven<F> {
    pub future: Pin<Box<F>>,
    pub woken: Arc<Woken>,
}

/// A waker that notes that it was woken.
pub struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        // Not a store, which loom does not always order among RMWs.
        self.0.swap(true, AcqRel);
    }
}

impl<F: Future> Driven<F> {
    pub fn new(future: Pin<Box<F>>) -> Self {
        Self { future, woken: Arc::new(Woken(AtomicBool::new(true))) }
    }

    /// What it gives, or nothing, once it has not been woken any more.
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

/// Something in a future or a result, whose end counts.
pub struct Token;

impl Drop for Token {
    fn drop(&mut self) {
        DROPPED.set(DROPPED.get() + 1);
    }
}

/// A future counts the beginning of a poll.
pub fn count_poll() {
    POLLED.set(POLLED.get() + 1);
}

/// How many polls have begun.
pub fn polled() -> usize {
    POLLED.get()
}

/// How many tokens have been dropped in this execution.
pub fn dropped() -> usize {
    DROPPED.get()
}

/// How many panics that nobody saw were reported.
pub fn reported() -> usize {
    REPORTED.get()
}

/// How often the registry was told of an end.
pub fn ended() -> usize {
    ENDED.load(Relaxed)
}

/// The result of a task that has to be finished.
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

/// Not loom's `park`: a late `unpark` ends whatever loom's thread is blocked in.
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
