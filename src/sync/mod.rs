//! Synchronisation between tasks, workers and plain threads, under asyncio's names.
//!
//! Everything here works on any executor, needs no runtime, and may be used from plain threads.
//! `x().await` waits in a task, and `try_x` never waits. `blocking_x` waits on a thread, and is
//! refused on a worker's thread, which it would hold up. asyncio's primitives belong to one event
//! loop and are not thread-safe; these are.
//!
//! What all of them promise:
//!
//! * **First come, first served.** Tasks are served in the order in which they began to wait, and
//!   no task that comes later overtakes them. What is given (a lock, a permit, a notification) is
//!   handed over before the waiter runs.
//! * **Cancel safety.** A wait may be dropped at any time, as by a timeout: nothing is lost.
//!   What it had been given by then goes to the next in line.
//! * **No poisoning.** A panic in a task releases what it held, and the next one goes on. As in
//!   asyncio, the data stays in the state in which the panic left it.
//! * **Nothing is allocated by waiting.** The place in line is part of the waiting future; but a
//!   `SharedFuture` keeps a list of the tasks that wait, and a stream allocates its place once.
//! * **Fair to other tasks.** A task that finds every lock free yields to others once in a
//!   while all the same.

mod barrier;
pub mod broadcast;
pub mod channel;
mod condition;
mod event;
mod lock;
mod notify;
mod once_cell;
mod oneshot;
mod permits;
mod queue;
mod rwlock;
mod semaphore;
mod shared_future;
mod until;
mod wait_list;
pub mod watch;

pub use self::{
    barrier::{Arrival, Barrier, Broken},
    condition::{Condition, ConditionGuard},
    event::Event,
    lock::{Lock, LockGuard, MappedLockGuard, OwnedLockGuard, OwnedMappedLockGuard, TryLockError},
    notify::{Notified, Notify},
    once_cell::{OnceCell, SetError},
    rwlock::{
        MappedRwLockReadGuard, MappedRwLockWriteGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard,
        RwLock, RwLockReadGuard, RwLockWriteGuard,
    },
    semaphore::{AcquireError, OwnedPermit, Permit, Semaphore, TryAcquireError},
};
pub use self::{
    channel::channel,
    oneshot::{BrokenPromise, Deferred, Promise, oneshot},
    queue::{
        LifoQueue, OwnedTracked, PriorityQueue, Queue, ShutDown, TaskDoneError, Tracked,
        TrackedQueue, TryGetError, TryPutError,
    },
    shared_future::SharedFuture,
};
