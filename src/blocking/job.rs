//! One job: a closure as a task, and as an entry of a queue.

use std::{
    cell::{Cell, RefCell},
    panic::Location,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    lane::{self, HOOK_BITS, Shared},
    queue::{self, Left, Seat},
};
use crate::{
    error::{ErrorEvent, TaskError, TaskId, hook},
    loom::atomic::{AtomicUsize, Ordering},
    record,
    task::{self, Birth, Caller, Header, Runnable, Schedule, Task, TaskRef},
    util::{current, fork, panic, wait::WaitKind},
};

/// Which job, for reports.
pub(super) type Name = (TaskId, &'static Location<'static>);

/// A job in a queue.
pub(super) struct Entry {
    what: What,
    /// Dropped when the job has ended, and its waiter is woken.
    _guest: Option<Guest>,
}

enum What {
    Job(TaskRef),
    /// The closure of a job that was cancelled. To drop it may take time.
    Remains(Name, Box<dyn Send>),
}

/// How many jobs a runtime has on threads that are not its own.
#[derive(Clone, Default)]
pub(crate) struct Guests(Arc<GuestCount>);

struct GuestCount(AtomicUsize);

impl Default for GuestCount {
    fn default() -> Self {
        Self(AtomicUsize::new(0))
    }
}

/// One of them, until it has ended and its waiter is woken.
pub(crate) struct Guest(Guests);

impl Guests {
    pub(crate) fn enter(&self) -> Guest {
        // Relaxed: the task that hands it over goes to sleep after this, by an RMW.
        self.0.0.fetch_add(1, Ordering::Relaxed);
        Guest(self.clone())
    }

    pub(crate) fn is_empty(&self) -> bool {
        // Acquire: pairs with the drop of a guest, so that the wake before it is seen.
        self.0.0.load(Ordering::Acquire) == 0
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Release: pairs with the load above.
        self.0.0.0.fetch_sub(1, Ordering::Release);
    }
}

impl Entry {
    /// Makes a job, which is in no queue yet. `room` is dropped as soon as the job begins or ends.
    pub(super) fn new<F, T, R>(
        closure: F,
        room: R,
        birth: Birth,
        guest: Option<Guest>,
    ) -> (Self, Task<T>)
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
        R: Send + 'static,
    {
        let job = Job { closure: Some(closure), room: Some(room) };
        let (entry, _registered, task) = task::create::<_, Jobs>(job, birth);
        (Self { what: What::Job(entry.rest()), _guest: guest }, task)
    }

    fn remains(name: Name, what: Box<dyn Send>) -> Self {
        Self { what: What::Remains(name, what), _guest: None }
    }

    /// Ends it without a run, on this thread.
    pub(super) fn refuse(self) {
        match self.what {
            What::Job(task) => {
                if let Some(entry) = task.claim() {
                    entry.refuse();
                }
            }
            What::Remains(_, what) => panic::contain(|| drop(what)),
        }
    }

    /// The same, with an error.
    pub(super) fn fail(self, error: TaskError) {
        match self.what {
            What::Job(task) => {
                if let Some(entry) = task.claim() {
                    entry.fail(error);
                }
            }
            What::Remains(_, what) => panic::contain(|| drop(what)),
        }
    }
}

impl queue::Job for Entry {
    type Name = Name;

    fn name(&self) -> Name {
        match &self.what {
            What::Job(task) => name(task.header()),
            What::Remains(name, _) => *name,
        }
    }

    fn left(&self) -> Left {
        match &self.what {
            What::Job(task) if task.is_finished() => Left::Nothing,
            What::Job(_) => Left::Job,
            What::Remains(..) => Left::Remains,
        }
    }

    fn is_remains(&self) -> bool {
        matches!(self.what, What::Remains(..))
    }

    fn run(self) {
        let process = fork::Native::new();
        match self.what {
            What::Job(task) => {
                if let Some(entry) = task.claim() {
                    let (key, job) = (entry.header().place() as u16, name(entry.header()));
                    record::job(key, job, || Runnable::run(entry));
                }
            }
            What::Remains(_, what) => panic::contain(|| drop(what)),
        }
        process.expect_parent();
    }
}

fn name(job: &Header) -> Name {
    (job.id(), job.spawned_at())
}

/// A closure as a future: it runs in the first poll.
struct Job<F: Send + 'static, R> {
    closure: Option<F>,
    room: Option<R>,
}

impl<F: Send + 'static, R> Unpin for Job<F, R> {}

impl<F: FnOnce() -> T + Send + 'static, T, R> Future for Job<F, R> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<T> {
        self.room = None;
        let closure = self.closure.take().expect("a job is polled once");
        // Until just before its waiter is woken.
        let _running = Running(fork::Native::new());
        Poll::Ready(current::as_job(closure))
    }
}

impl<F: Send + 'static, R> Drop for Job<F, R> {
    fn drop(&mut self) {
        let Some(closure) = self.closure.take() else { return };
        if let Some((lane, name)) = set_cancelled(None) {
            lane.push_remains(Entry::remains(name, Box::new(closure)));
        }
    }
}

thread_local! {
    /// The job that is being cancelled on this thread before a thread of its lane came to it.
    static CANCELLED: Cell<Option<(Arc<Shared>, Name)>> = const { Cell::new(None) };
}

/// Says which, and returns which it was. A thread that ends has none.
fn set_cancelled(job: Option<(Arc<Shared>, Name)>) -> Option<(Arc<Shared>, Name)> {
    CANCELLED.try_with(|cancelled| cancelled.replace(job)).ok().flatten()
}

/// A lane, and the place of a thread there.
type Here = (Arc<Shared>, Arc<Seat<Name>>);

thread_local! {
    /// Whose thread this is.
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
}

/// Says so, while `life` lasts.
pub(super) fn on_thread(lane: Arc<Shared>, seat: Arc<Seat<Name>>, life: impl FnOnce()) {
    HERE.set(Some((lane, seat)));
    life();
    drop(HERE.take());
}

/// Calls `f` if this is a thread that serves a lane.
fn here<R>(f: impl FnOnce(&Arc<Shared>, &Seat<Name>) -> R) -> Option<R> {
    HERE.try_with(|here| here.borrow().as_ref().map(|(lane, seat)| f(lane, seat))).ok().flatten()
}

/// Whether this is a thread of that lane.
pub(crate) fn is_thread_of(lane: &super::Lane) -> bool {
    here(|own, _| lane.is(own)).unwrap_or(false)
}

/// A job is counted as running until this is dropped.
struct Running(fork::Native);

impl Drop for Running {
    fn drop(&mut self) {
        // First: a child that the job has forked goes no further.
        self.0.expect_parent();
        here(|_, seat| seat.end_job());
    }
}

/// Why the job that runs on this thread is to end, if it is.
pub(crate) fn check() -> Result<(), TaskError> {
    task::check_job(here(|lane, _| lane.ends()).unwrap_or(false))
}

/// The [`Schedule`] of jobs.
struct Jobs;

impl Schedule for Jobs {
    const ENDS: WaitKind = WaitKind::Job;

    /// A job is polled once, so this is no wake-up: the job was asked to end before a thread came to it. It
    /// ends here and now. Its closure is dropped by a thread of the lane, where that may block.
    fn schedule(job: Runnable) {
        let (place, name) = (job.header().place(), name(job.header()));
        set_cancelled(lane::find(place >> HOOK_BITS).map(|lane| (lane, name)));
        // Not with the values that the caller has.
        task::hidden(|| job.refuse());
        set_cancelled(None);
    }

    fn ended(_job: &Header, _end: task::End) {}

    fn report(place: u64, event: &ErrorEvent) {
        hook::report(place as u16, event);
    }

    fn defer(place: u64, at: &'static Location<'static>, caller: Caller) {
        caller.send(place as u16, at);
    }
}
