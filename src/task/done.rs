//! Callbacks for the end of a task.
//!
//! They are called in order, one after the other, by a *caller*: a task of the runtime that is
//! started when there is something to call. There is one at a time, so that the order holds. The
//! list of callbacks is in the task's extension, behind a lock; the state word has the bit
//! `CALLBACKS`, so that the end of a task without callbacks does not look for a list.
//!
//! # A registration and the end
//!
//! 1. A registration locks the list, appends the callback, and sets `CALLBACKS` by an RMW, with the
//!    lock held.
//! 2. If that RMW shows that the task is complete, and no caller is at work, it notes that one is,
//!    and starts it when it has released the lock.
//! 3. The end sets `COMPLETE` by an RMW. If that shows `CALLBACKS`, it locks the list; if the list
//!    is not empty and no caller is at work, it notes that one is, and starts it.
//! 4. The caller takes the first callback under the lock and calls it without the lock, until it
//!    finds the list empty: under that same lock it notes that it has gone.
//!
//! Nothing is lost: of the two RMWs of steps 1 and 3 one is later and sees the other. If it is that
//! of step 3, the lock of step 1 makes it wait until the callback is in the list. Nothing is called
//! twice, since a caller takes a callback out of the list.
//!
//! A caller that is dropped unpolled, as every task that is spawned while its runtime ends, calls
//! what is left in its destructor. After the runtime's end nobody could run a callback: it is dropped.

use std::{collections::VecDeque, fmt, mem, panic::Location, pin::Pin, task};

use super::TaskRef;
use crate::{
    error::{ErrorEvent, TaskId},
    util::{fork::PerProcess, panic},
};

/// How a task ended, for [`Task::on_done`](crate::Task::on_done).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    task: TaskId,
    end: End,
}

/// What became of a task, as its state word says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Value,
    Cancelled,
    Panicked,
    Refused,
}

impl Outcome {
    /// The task's number.
    pub fn task(&self) -> TaskId {
        self.task
    }

    /// Whether the task has given a value.
    pub fn is_ok(&self) -> bool {
        self.end == End::Value
    }

    /// Whether the task was cancelled.
    ///
    /// asyncio: `Task.cancelled`.
    pub fn is_cancelled(&self) -> bool {
        self.end == End::Cancelled
    }

    /// Whether the task panicked.
    pub fn is_panicked(&self) -> bool {
        self.end == End::Panicked
    }
}

type Callback = Box<dyn FnOnce(Outcome) + Send>;

/// The callbacks of one task that have not been called.
#[derive(Default)]
pub(super) struct Callbacks {
    list: VecDeque<(u64, Callback)>,
    /// Callbacks ever registered.
    count: u64,
    /// A caller is at work.
    called: bool,
}

/// A callback that is registered, to be removed. Dropping it leaves the callback where it is.
///
/// asyncio: the function, given to `Task.remove_done_callback`.
#[derive(Debug)]
#[must_use = "a callback stays registered; `.keep()` says that it is meant to"]
pub struct OnDone {
    task: TaskRef,
    number: u64,
}

impl OnDone {
    /// Removes the callback. `true`: it has not been called and will not be.
    ///
    /// asyncio: `Task.remove_done_callback`.
    #[doc(alias = "remove_done_callback")]
    pub fn remove(self) -> bool {
        let Some(extension) = self.task.extra().get() else { return false };
        let mut callbacks = extension.callbacks.lock();
        let place = callbacks.list.iter().position(|(number, _)| *number == self.number);
        let removed = place.and_then(|place| callbacks.list.remove(place));
        drop(callbacks);
        let was_there = removed.is_some();
        // What it captures is dropped outside of the lock (S6), and its panic stays here.
        panic::discard_foreign(removed);
        was_there
    }

    /// Leaves the callback registered.
    pub fn keep(self) {}
}

/// Registers a callback: steps 1 and 2.
pub(super) fn register(
    task: &TaskRef,
    callback: Callback,
    at: &'static Location<'static>,
) -> OnDone {
    let mut callbacks = task.extra().get_or_make().callbacks.lock();
    let number = callbacks.count;
    callbacks.count += 1;
    callbacks.list.push_back((number, callback));
    let start = task.header().state.note_callbacks() && !mem::replace(&mut callbacks.called, true);
    drop(callbacks);
    if start {
        Caller::new(task.clone()).start(at);
    }
    OnDone { task: task.clone(), number }
}

/// The task has ended, and callbacks were registered: step 3.
#[cold]
pub(super) fn ended(task: TaskRef) {
    let Some(extension) = task.extra().get() else { return };
    let mut callbacks = extension.callbacks.lock();
    let start = !callbacks.list.is_empty() && !mem::replace(&mut callbacks.called, true);
    drop(callbacks);
    if start {
        let at = task.header().spawned_at();
        Caller::new(task).start(at);
    }
}

/// The future that calls the callbacks of a task that has ended, to be spawned on its runtime.
pub(crate) struct Caller {
    task: TaskRef,
    /// It has found the list empty, or given up.
    gone: bool,
}

impl Caller {
    fn new(task: TaskRef) -> Self {
        Self { task, gone: false }
    }

    fn start(self, at: &'static Location<'static>) {
        let header = self.task.header();
        (header.vtable.defer)(header.place(), at, self);
    }

    /// The task whose callbacks these are.
    pub(crate) fn task(&self) -> TaskId {
        self.task.header().id()
    }

    /// Step 4.
    fn call_all(&mut self) {
        let header = self.task.header();
        let end = header.state.load().end().expect("a caller is started when the task has ended");
        let outcome = Outcome { task: header.id(), end };
        while let Some(callback) = self.next() {
            if let Err(payload) = panic::catch(|| callback(outcome)) {
                self.report(&payload);
                panic::discard(payload);
            }
        }
    }

    fn next(&mut self) -> Option<Callback> {
        if self.gone {
            return None;
        }
        let mut callbacks = self.task.extra().get()?.callbacks.lock();
        let next = callbacks.list.pop_front();
        if next.is_none() {
            callbacks.called = false;
            self.gone = true;
        }
        next.map(|(_, callback)| callback)
    }

    #[cold]
    fn report(&self, payload: &panic::Payload) {
        let header = self.task.header();
        let event = ErrorEvent::CallbackPanicked {
            task: header.id(),
            name: self.task.name().map(str::to_owned),
            spawned_at: header.spawned_at(),
            message: panic::message(payload),
        };
        panic::contain(|| (header.vtable.report)(header.place(), &event));
    }

    /// There is no runtime to call them: they are dropped.
    pub(crate) fn give_up(mut self) {
        while let Some(callback) = self.next() {
            panic::discard_foreign(callback);
        }
    }

    /// Has the runtime of this key spawn the caller, from a thread that is none of its workers.
    pub(crate) fn send(self, key: u16, at: &'static Location<'static>) {
        match SPAWN.peek() {
            Some(spawn) => spawn(key, at, self),
            None => self.give_up(),
        }
    }
}

impl Future for Caller {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut task::Context<'_>) -> task::Poll<()> {
        self.call_all();
        task::Poll::Ready(())
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.call_all();
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Caller").field(&self.task).finish()
    }
}

/// Spawns a caller on the runtime of a key, or has it give up.
pub(crate) type SpawnCaller = fn(u16, &'static Location<'static>, Caller);

/// Runtimes are unknown at this rank.
static SPAWN: PerProcess<SpawnCaller> = PerProcess::new();

/// Says how to spawn callers. The first one stays.
pub(crate) fn introduce(spawn: SpawnCaller) {
    SPAWN.get(|| spawn);
}
