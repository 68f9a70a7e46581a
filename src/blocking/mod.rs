//! Threads for code that blocks.
//!
//! A job is a task whose future calls a closure in its one poll: it has the handle, the
//! cancellation before its start, and the containment of panics that every task has.
//! Jobs queue in order; a thread takes one at a time. Threads are started when a job
//! finds none idle, up to a cap, and end after some idle seconds.

mod resolver;

use std::{
    collections::VecDeque,
    panic::Location,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use parking_lot::{Condvar, Mutex, MutexGuard};

pub(crate) use self::resolver::resolve;
use crate::{
    error::{ErrorEvent, TaskId, hook},
    task::{self, Birth, Header, Runnable, Schedule, Task},
    util::{clock, current, fork, threads},
};

/// How long an idle thread stays.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The pool of one runtime.
pub(crate) struct Pool(Arc<Shared>);

struct Shared {
    name: String,
    limit: usize,
    /// The runtime's error hook.
    hook: u16,
    state: Mutex<State>,
    /// A job was queued, or the pool closes.
    work: Condvar,
    /// A thread ended.
    one_less: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Runnable>,
    /// Jobs that have begun and have not ended.
    running: usize,
    /// What each busy thread is at: a job, or what is left of one, whose destructors may take
    /// their time.
    busy: Vec<Name>,
    threads: usize,
    idle: usize,
    /// Idle threads that were notified and have not woken yet.
    called: usize,
    closed: bool,
}

/// A closure as a future: it runs in the first poll.
struct Job<F> {
    closure: Option<F>,
    pool: Arc<Shared>,
}

/// Which job, for reports.
type Name = (TaskId, &'static Location<'static>);

impl<F> Unpin for Job<F> {}

impl<F: FnOnce() -> T, T> Future for Job<F> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<T> {
        let closure = self.closure.take().expect("a job is polled once");
        // Until just before its waiter is woken.
        let _running = Running::new(&self.pool);
        Poll::Ready(current::outside_task(closure))
    }
}

/// A job is counted as running while this lives.
struct Running<'a>(&'a Shared, fork::Native);

impl<'a> Running<'a> {
    fn new(pool: &'a Shared) -> Self {
        pool.state.lock().running += 1;
        Self(pool, fork::Native::new())
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // First: in a child that the job has forked, the lock may be held for ever.
        self.1.expect_parent();
        self.0.state.lock().running -= 1;
    }
}

/// The [`Schedule`] of jobs: they are queued once, at birth.
struct Jobs;

impl Schedule for Jobs {
    fn schedule(_job: Runnable) {
        unreachable!("a job is in the queue from its birth, and ends in its first poll");
    }

    fn ended(_job: &Header) {}

    fn report(place: u64, event: &ErrorEvent) {
        hook::report(place as u16, event);
    }
}

impl Pool {
    pub(crate) fn new(name: &str, limit: usize, hook: u16) -> Self {
        Self(Arc::new(Shared {
            name: format!("{name}-blocking"),
            limit,
            hook,
            state: Mutex::new(State::default()),
            work: Condvar::new(),
            one_less: Condvar::new(),
        }))
    }

    /// Queues a job. After the pool closed it is dropped uncalled, and cancelled.
    pub(crate) fn spawn<F, T>(
        &self,
        id: TaskId,
        job: F,
        spawned_at: &'static Location<'static>,
    ) -> Task<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let birth = Birth { place: u64::from(self.0.hook), id, spawned_at };
        let (entry, _registered, task) =
            task::create::<_, Jobs>(Job { closure: Some(job), pool: self.0.clone() }, birth);
        if let Some(entry) = self.0.push(entry) {
            entry.refuse();
        }
        task
    }

    /// Jobs queued and running.
    pub(crate) fn jobs(&self) -> u64 {
        let state = self.0.state.lock();
        (state.queue.len() + state.running) as u64
    }

    pub(crate) fn threads(&self) -> usize {
        self.0.state.lock().threads
    }

    /// Refuses what is queued, waits for what runs, up to the deadline. Names what its threads
    /// are still at then; they are left to themselves.
    pub(crate) fn close(&self, deadline: u64) -> Vec<String> {
        let mut state = self.0.state.lock();
        state.closed = true;
        let refused = std::mem::take(&mut state.queue);
        self.0.work.notify_all();
        // Destructors of jobs are foreign code (S6).
        MutexGuard::unlocked(&mut state, || refused.into_iter().for_each(Runnable::refuse));
        while state.threads > 0 {
            let Some(rest) = deadline.checked_sub(clock::now()).filter(|&rest| rest > 0) else {
                break;
            };
            self.0.one_less.wait_for(&mut state, Duration::from_nanos(rest));
        }
        let name = |(id, at): &(TaskId, &Location<'_>)| {
            format!("blocking job {id} (started at {at}) is still running")
        };
        state.busy.iter().map(name).collect()
    }
}

impl Shared {
    /// Queues an entry and sees to it that a thread takes it. Gives it back if the pool
    /// is closed.
    fn push(self: &Arc<Self>, entry: Runnable) -> Option<Runnable> {
        let mut state = self.state.lock();
        if state.closed {
            return Some(entry);
        }
        state.queue.push_back(entry);
        // One that has just timed out is idle still and hears nothing.
        if state.idle > state.called && self.work.notify_one() {
            state.called += 1;
            return None;
        }
        if state.threads == self.limit {
            return None;
        }
        state.threads += 1;
        drop(state);
        let shared = self.clone();
        let Err(error) = threads::spawn(self.name.clone(), move || shared.work()) else {
            return None;
        };
        let mut state = self.state.lock();
        state.threads -= 1;
        self.one_less.notify_all();
        if state.threads > 0 {
            // Another thread will come to it.
            return None;
        }
        // Nobody else will: slower for this thread, but nothing is lost.
        let stranded = std::mem::take(&mut state.queue);
        drop(state);
        hook::report(self.hook, &ErrorEvent::ThreadRefused { error });
        stranded.into_iter().for_each(|entry| {
            entry.run();
        });
        None
    }

    /// A thread's life.
    fn work(&self) {
        let process = fork::Native::new();
        let mut state = self.state.lock();
        loop {
            if let Some(entry) = state.queue.pop_front() {
                let (id, at) = (entry.header().id(), entry.header().spawned_at());
                state.busy.push((id, at));
                MutexGuard::unlocked(&mut state, || {
                    entry.run();
                    process.expect_parent();
                });
                state.busy.retain(|(other, _)| *other != id);
                continue;
            }
            if state.closed {
                break;
            }
            state.idle += 1;
            let timed_out = self.work.wait_for(&mut state, KEEP_ALIVE).timed_out();
            state.idle -= 1;
            if !timed_out {
                state.called = state.called.saturating_sub(1);
            } else if state.queue.is_empty() {
                break;
            }
        }
        state.threads -= 1;
        self.one_less.notify_all();
    }
}
