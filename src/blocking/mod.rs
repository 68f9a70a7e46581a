//! Threads for code that blocks.
//!
//! A job is a task whose future calls a closure in its one poll: it has the handle, the
//! cancellation before its start, and the containment of panics that every task has.
//! Jobs queue in order; a thread takes one at a time. Threads are started when a job
//! finds none idle, up to a cap, and end after some idle seconds. The rules are those of
//! [`queue`].
//!
//! A thread that the system refuses is made up for by the others; if there is none, what is queued
//! fails. It never runs on the thread that has queued it, which may be the worker of a task
//! that the job waits for.
//!
//! The end of a pool waits for its threads to their very ends: what is left of one is destructors of
//! its thread-local values, which may use what the program puts away next.

pub(crate) mod queue;
mod resolver;

use std::{
    io,
    panic::Location,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use self::queue::{Job as Queued, JobQueue, Pushed};
pub(crate) use self::resolver::resolve;
use crate::{
    error::{ErrorEvent, TaskError, TaskId, hook},
    loom::WaitLock,
    task::{self, Birth, Caller, Header, Origin, Runnable, Schedule, Task},
    util::{
        current::{self, Role, RuntimeId},
        fork,
        threads::{self, Started},
    },
};

/// How long an idle thread stays.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Threads that have ended and may wait to be joined, beside as many as there are.
const UNJOINED: usize = 8;

/// The pool of one runtime.
pub(crate) struct Pool(Arc<Shared>);

/// Calls what it is given, with this thread set up for the runtime.
pub(crate) type Surround = Box<dyn Fn(&mut dyn FnMut()) + Send + Sync>;

struct Shared {
    name: String,
    runtime: RuntimeId,
    /// The runtime's error hook.
    hook: u16,
    surround: Surround,
    queue: JobQueue<Runnable>,
    /// Those that have not been joined.
    started: WaitLock<Vec<Started>>,
}

impl Queued for Runnable {
    /// Which job, for reports.
    type Name = (TaskId, &'static Location<'static>);

    fn name(&self) -> Self::Name {
        (self.header().id(), self.header().spawned_at())
    }

    fn run(self) {
        let process = fork::Native::new();
        Runnable::run(self);
        process.expect_parent();
    }
}

/// A closure as a future: it runs in the first poll.
struct Job<F> {
    closure: Option<F>,
    pool: Arc<Shared>,
}

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
        pool.queue.begin_job();
        Self(pool, fork::Native::new())
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // First: in a child that the job has forked, the lock may be held for ever.
        self.1.expect_parent();
        self.0.queue.end_job();
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

    fn defer(place: u64, at: &'static Location<'static>, caller: Caller) {
        caller.send(place as u16, at);
    }
}

impl Pool {
    /// `surround` is called by each thread, once: its life is what it is given.
    pub(crate) fn new(
        name: &str,
        limit: usize,
        runtime: RuntimeId,
        hook: u16,
        surround: Surround,
    ) -> Self {
        Self(Arc::new(Shared {
            name: format!("{name}-blocking"),
            runtime,
            hook,
            surround,
            queue: JobQueue::new(limit, KEEP_ALIVE),
            started: WaitLock::new(Vec::new()),
        }))
    }

    /// Queues a job. After the pool closed it is dropped uncalled, and cancelled.
    pub(crate) fn spawn<F, T>(&self, id: TaskId, job: F, origin: impl Into<Origin>) -> Task<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let birth = Birth { place: u64::from(self.0.hook), id, origin: origin.into() };
        let (entry, _registered, task) =
            task::create::<_, Jobs>(Job { closure: Some(job), pool: self.0.clone() }, birth);
        match self.0.queue.push(entry) {
            Pushed::Queued => {}
            Pushed::StartThread => self.0.start_thread(),
            Pushed::Closed(entry) => entry.refuse(),
        }
        task
    }

    /// Jobs queued and running.
    pub(crate) fn jobs(&self) -> u64 {
        self.0.queue.jobs() as u64
    }

    /// Whether nothing is queued, and all that ran has ended and woken those who waited for it.
    pub(crate) fn rests(&self) -> bool {
        self.0.queue.rests()
    }

    pub(crate) fn threads(&self) -> usize {
        self.0.queue.threads()
    }

    /// Refuses what is queued, waits for what runs and for the ends of all threads, up to the
    /// deadline. Names what they are still at then; they are left to themselves.
    pub(crate) fn close(&self, deadline: u64) -> Vec<String> {
        // Destructors of jobs are foreign code (S6).
        self.0.queue.close().into_iter().for_each(Runnable::refuse);
        let busy = self.0.queue.wait_for_threads(deadline);
        let started = std::mem::take(&mut *self.0.started.lock());
        let (ended, stuck): (Vec<_>, Vec<_>) =
            started.into_iter().partition(|thread| thread.ends_by(deadline));
        ended.into_iter().for_each(Started::join);
        let name = |(id, at): &(TaskId, &Location<'_>)| {
            format!("blocking job {id} (started at {at}) is still running")
        };
        let mut holders: Vec<_> = busy.iter().map(name).collect();
        if stuck.len() > busy.len() {
            let ending = stuck.len() - busy.len();
            holders.push(format!("{ending} threads for blocking jobs have not come to their ends"));
        }
        holders
    }
}

impl Shared {
    /// Starts the thread that the queue asks for.
    fn start_thread(self: &Arc<Self>) {
        let shared = self.clone();
        let life = move || {
            current::set_role(Role::Helper(shared.runtime));
            (shared.surround)(&mut || shared.queue.serve());
            shared.join_ended(&mut shared.started.lock());
        };
        // Known before anybody can close the pool and miss it: by this lock, which the thread's
        // end wants, too.
        let mut started = self.started.lock();
        match threads::spawn(self.name.clone(), life) {
            Ok(thread) => {
                self.join_ended(&mut started);
                started.push(thread);
            }
            Err(error) => {
                drop(started);
                self.refused_thread(error);
            }
        }
    }

    /// Without joining a thread, its stack is kept. So many are left that looking at them costs
    /// little.
    fn join_ended(&self, started: &mut Vec<Started>) {
        if started.len() >= 2 * self.queue.threads() + UNJOINED {
            started.extract_if(.., |thread| thread.ends_by(0)).for_each(Started::join);
        }
    }

    #[cold]
    fn refused_thread(&self, error: io::Error) {
        let refused = self.queue.refuse_thread();
        let again = || io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EAGAIN));
        // Outside of the queue's lock: destructors of jobs, and wakers, are foreign code (S6).
        for entry in refused.stranded {
            entry.fail(TaskError::no_thread(again()));
        }
        if refused.is_first {
            hook::report(self.hook, &ErrorEvent::ThreadRefused { error });
        }
    }
}
