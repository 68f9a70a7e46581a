//! Workers, their queues, and how they sleep.
//!
//! # The life of a woken task
//!
//! 1. A wake on a worker puts the task on that worker's own queue: the waker runs the wakee. From
//!    within another task's poll it takes the LIFO slot: it runs next, while its data is in the
//!    cache, three times in a row at most. From the reactor it goes to the back of the FIFO queue.
//!    A spawned task goes to the back as well.
//! 2. A task whose future is not `Send` has an owner. A wake on its owner puts it into
//!    the owner's local queue; from elsewhere it goes to the owner's local inbox (S13).
//!    The local queue and the FIFO queue are merged by order of arrival.
//! 3. A wake from a thread that is no worker goes to the inbox of a worker that is
//!    awake, if one is and no long poll holds it, and rings the doorbell only of one that sleeps.
//! 4. Nobody else is woken for it, unless the backlog is worth a wake: its predicted
//!    wait, the queue's length times the average time of a poll, passes a threshold
//!    ([`balance`]). The essay on sleeping is at [`idle`].
//! 5. A worker that hogs its thread in one long poll is found by the patrol
//!    ([`patrol`]), which takes what waits there, fires its [`timers`], and names the task.
//! 6. Where a test waits for it, the worker that parks last finds that everything waits
//!    ([`standstill`]).
//!
//! # A tick
//!
//! [`Worker::run`] repeats these steps:
//!
//! 1. Take tasks from the inboxes, and of many only the first.
//! 2. Run tasks for a time budget.
//! 3. Expire timers for a time budget.
//! 4. With no task left, search for work at the other workers if that pays.
//! 5. With tasks, look at the reactor without waiting, else sleep in it.

mod balance;
mod block;
mod homes;
mod hooks;
mod hub;
pub(crate) mod idle;
pub(crate) mod inbox;
mod look;
mod monitor;
mod patrol;
mod queue;
pub(crate) mod registry;
mod shuffle;
mod standstill;
mod timers;
mod worker;

use std::{panic::Location, ptr::NonNull};

pub(crate) use self::{
    hooks::Hooks,
    hub::{Hub, MAX_HUBS, Phase, Tick},
    idle::MAX_WORKERS,
    look::{Doing, WorkerLook},
    standstill::{AllBlocked, MainWatch, Options, Standstill},
    worker::{Call, Peer, Seat, Worker},
};
use crate::{
    error::{ErrorEvent, TaskId, hook},
    loom::global::{AtomicU64, Ordering},
    reactor::timers::Timers,
    record::{self, Alarm, Kind},
    task::{self, Birth, Caller, End, Header, Moment, Origin, Runnable, Schedule, Task, TaskEvent},
    util::{current, rand::Rng},
};

/// Where a task belongs: hub (16 bits), owner (16, `!0` for none), registry slot (32).
#[derive(Clone, Copy)]
struct Address(u64);

const NO_OWNER: u16 = !0;

impl Address {
    fn new(hub: u16, owner: u16, slot: u32) -> Self {
        Self(u64::from(hub) << 48 | u64::from(owner) << 32 | u64::from(slot))
    }

    fn hub(self) -> u16 {
        (self.0 >> 48) as u16
    }

    fn owner(self) -> Option<usize> {
        let owner = (self.0 >> 32) as u16;
        (owner != NO_OWNER).then_some(usize::from(owner))
    }

    fn slot(self) -> u32 {
        self.0 as u32
    }
}

/// The worker that this thread is, if it is one.
#[inline]
pub(crate) fn with_worker<R>(f: impl FnOnce(&Worker) -> R) -> Option<R> {
    let worker = NonNull::new(current::with(|current| current.worker.get()).cast_mut())?;
    // SAFETY: `Worker::enter` sets it for as long as it runs, on the stack below us, and
    // only to a `Worker`.
    Some(f(unsafe { worker.cast::<Worker>().as_ref() }))
}

/// Whether this thread is a worker.
#[inline]
pub(crate) fn is_worker() -> bool {
    current::with(|current| !current.worker.get().is_null())
}

/// The timers of the worker that this thread is.
#[inline]
pub(crate) fn with_timers<R>(f: impl FnOnce(&mut Timers) -> R) -> Option<R> {
    with_worker(|worker| worker.timers.with(f))
}

/// Whether the running tick of this thread's worker began so long before `time`, 10 ms, that
/// only a task which holds the worker could make it late for that.
#[inline]
pub(crate) fn is_far(time: u64) -> bool {
    with_worker(|worker| worker.is_far(time)).unwrap_or(false)
}

/// The [`Schedule`] of all tasks that workers run.
pub(crate) struct Tasks;

impl Schedule for Tasks {
    fn schedule(task: Runnable) {
        let place = Address(task.header().place());
        if with_worker(|worker| worker.hub().key() == place.hub()) != Some(true) {
            return schedule_elsewhere(task, place);
        }
        with_worker(|worker| {
            worker.note_wake(task.header());
            match place.owner() {
                None => worker.push_woken(task),
                Some(owner) if owner == worker.index() => worker.push_local(task),
                Some(owner) => worker.hub().push_home(task, owner),
            }
        });
    }

    fn ended(task: &Header, end: End) {
        let place = Address(task.place());
        let panicked = end == End::Panicked;
        let own = with_worker(|worker| {
            let own = worker.hub().key() == place.hub();
            if own {
                worker.count_end(task, place.slot(), panicked);
            }
            own
        });
        if own != Some(true) {
            let hub = Hub::by_key(place.hub());
            hub.registry.remove(place.slot(), task, None);
            hub.count_foreign_end();
        }
        if panicked && Hub::by_key(place.hub()).recorder.epoch() != 0 {
            record::alarm(place.hub(), Alarm::Panic);
        }
    }

    fn report(place: u64, event: &ErrorEvent) {
        hook::report(Address(place).hub(), event);
    }

    fn call_hook(place: u64, event: &TaskEvent, moment: Moment) {
        Hub::by_key(Address(place).hub()).call_hook(event, moment);
    }

    fn defer(place: u64, at: &'static Location<'static>, caller: Caller) {
        let key = Address(place).hub();
        let mut caller = Some(caller);
        with_worker(|worker| {
            // A task of the hub's earlier life has no worker.
            if worker.hub().key() == key && worker.hub().has_born(caller.as_ref()?.task()) {
                worker.spawn(caller.take()?, at).detach();
            }
            Some(())
        });
        if let Some(caller) = caller {
            caller.send(key, at);
        }
    }
}

/// Queues a task whose runtime is not this thread's.
#[inline(never)]
fn schedule_elsewhere(task: Runnable, place: Address) {
    let hub = Hub::by_key(place.hub());
    if hub.recorder.epoch() != 0 {
        let by = task::with_polled(|task| task.id().0).unwrap_or(0);
        record::note_elsewhere(place.hub(), Kind::Wake, [task.header().id().0, 0, by]);
    }
    match place.owner() {
        Some(owner) => hub.push_home(task, owner),
        None => hub.push_foreign(task, favourite()),
    }
}

/// The worker that this thread prefers to give work to: always the same, so that
/// threads do not meet at one inbox.
fn favourite() -> usize {
    thread_local! {
        static FAVOURITE: usize = Rng::new().below(1 << 16);
    }
    FAVOURITE.try_with(|favourite| *favourite).unwrap_or(0)
}

/// Spawns from a thread that is no worker of `hub`, which stays open meanwhile.
///
/// # Safety
///
/// As [`task::create_unchecked`]; the future must be `Send`.
pub(crate) unsafe fn spawn_foreign<F: Future>(
    hub: &'static Hub,
    future: F,
    origin: impl Into<Origin>,
) -> Task<F::Output> {
    // SAFETY: by the caller.
    let (entry, task) = unsafe { create_foreign(hub, NO_OWNER, future, origin.into()) };
    hub.push_foreign(entry, favourite());
    task
}

/// Spawns a task that only worker `owner` runs, from any thread. The hub stays open meanwhile.
///
/// # Safety
///
/// As [`task::create_unchecked`]; the future must be `Send` until its first poll.
pub(crate) unsafe fn spawn_on<F: Future>(
    hub: &'static Hub,
    owner: usize,
    future: F,
    origin: impl Into<Origin>,
) -> Task<F::Output> {
    // SAFETY: by the caller; from its first poll on the future stays with its owner (S13).
    let (entry, task) = unsafe { create_foreign(hub, owner as u16, future, origin.into()) };
    hub.push_home(entry, owner);
    task
}

/// # Safety
///
/// As [`task::create_unchecked`].
unsafe fn create_foreign<F: Future>(
    hub: &'static Hub,
    owner: u16,
    future: F,
    origin: Origin,
) -> (Runnable, Task<F::Output>) {
    let slot = hub.registry.take_slot_foreign();
    let place = Address::new(hub.key(), owner, slot);
    let birth = Birth { place: place.0, id: new_ids(1), origin: hub.timed(origin) };
    // SAFETY: by the caller.
    let (entry, registered, task) = unsafe { task::create_unchecked::<F, Tasks>(future, birth) };
    hub.count_foreign_spawn();
    if hub.recorder.epoch() != 0 {
        record::spawned_elsewhere(hub.key(), (task.id(), task.name()), task.spawned_at());
    }
    hub.registry.insert(slot, registered);
    if hub.is_hooked() {
        hub.call_hook(&task.event(), Moment::Spawned);
    }
    (entry, task)
}

/// The first of `count` new task ids.
pub(crate) fn new_ids(count: u64) -> TaskId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    // Relaxed: only uniqueness matters.
    TaskId(NEXT.fetch_add(count, Ordering::Relaxed))
}
