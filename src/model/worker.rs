//! [`scheduler::Worker`](crate::scheduler): its own loop, asleep at a modelled doorbell.
#![allow(missing_docs)]

use std::{os::fd::RawFd, panic::Location, ptr, sync::Arc, task::Waker};

use crate::{
    loom::{
        eventfd::{self, Sleeper},
        set_model_time,
    },
    reactor::Reactor,
    scheduler::{self, AllBlocked, Hub, Options, Phase, Standstill, Worker},
    task::Task,
};

/// The clock shows so many ns since the beginning. Every model of workers begins with this.
pub fn set_time(nanos: u64) {
    set_model_time(nanos);
}

/// What workers and other threads share: a hub, as a runtime acquires it.
#[derive(Clone, Copy)]
pub struct Runtime(&'static Hub);

/// A worker before it has a thread.
pub struct Seat {
    index: usize,
    runtime: Runtime,
    seat: scheduler::Seat,
    peers: Arc<[scheduler::Peer]>,
}

impl Runtime {
    /// A runtime, and the seats of its workers. Worker `n` sleeps at `first_fd + n`, which it opens. If
    /// they are `patient`, no sleep ends by itself, else that of a patrol does, and no nap.
    pub fn new<const WORKERS: usize>(first_fd: RawFd, patient: bool) -> (Self, [Seat; WORKERS]) {
        let runtime = Self::acquire(WORKERS);
        let hub = runtime.0;
        let standstill = Standstill::new(Options::default());
        let mut seats = Vec::new();
        for index in 0..WORKERS {
            let fd = first_fd + index as RawFd;
            eventfd::open(fd);
            hub.block(index).doorbell.open_raw(fd);
            let reactor = Reactor::Modelled(Sleeper::new(fd, patient));
            seats.push(scheduler::Seat::new(reactor, WORKERS, &standstill, None));
        }
        let peers: Arc<[_]> = seats.iter().map(scheduler::Seat::peer).collect();
        let mut index = 0..;
        let seats = seats.into_iter().map(|seat| Seat {
            index: index.next().expect("it has no end"),
            runtime,
            seat,
            peers: peers.clone(),
        });
        let Ok(seats) = seats.collect::<Vec<_>>().try_into() else { unreachable!("so many") };
        (runtime, seats)
    }

    /// A runtime whose workers do not begin.
    pub fn acquire(workers: usize) -> Self {
        Self(Hub::acquire(workers).expect("few are alive"))
    }

    /// Spawns from a thread that is no worker.
    #[track_caller]
    pub fn spawn<F>(self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        // SAFETY: it is `Send` and `'static`.
        unsafe { scheduler::spawn_foreign(self.0, future, Location::caller()) }
    }

    pub fn close(self, deadline: u64) {
        self.0.close(deadline);
    }

    pub fn stop(self) {
        self.0.advance(Phase::Stopped);
    }

    pub fn is_stopped(self) -> bool {
        self.0.phase() == Phase::Stopped
    }

    pub fn is_open(self) -> bool {
        self.0.phase() == Phase::Open
    }

    pub fn is_parked(self, worker: usize) -> bool {
        self.0.idle.is_parked(worker)
    }

    /// All sleep, and nobody patrols.
    pub fn is_at_rest(self) -> bool {
        let idle = &self.0.idle;
        (0..self.0.workers()).all(|worker| idle.is_parked(worker)) && !idle.has_patroller()
    }

    pub fn live(self) -> u64 {
        self.0.live()
    }

    /// The number under which its tasks name it.
    pub fn key(self) -> u16 {
        self.0.key()
    }

    /// Rings worker `worker`, as a late waker may.
    pub fn notify(self, worker: usize) {
        if self.0.idle.notify(worker) {
            self.0.block(worker).doorbell.ring();
        }
    }

    /// Fires the timers of worker `worker` that are due, as one does that comes to its rescue.
    pub fn rescue_timers(self, worker: usize) {
        let mut wakes = Vec::new();
        self.0.block(worker).timers.rescue(usize::MAX, &mut wakes);
        wakes.into_iter().for_each(Waker::wake);
    }

    /// How many timers worker `worker` has armed.
    pub fn armed_timers(self, worker: usize) -> u64 {
        self.0.block(worker).armed_timers()
    }

    /// Gives it back for a later runtime.
    pub fn recycle(self) {
        self.0.recycle();
    }

    /// Gives its memory back.
    ///
    /// # Safety
    ///
    /// Nobody uses it any more, and nobody acquires it again.
    pub unsafe fn free(self) {
        // SAFETY: `acquire` has leaked a box; the caller's promise.
        drop(unsafe { Box::from_raw(ptr::from_ref(self.0).cast_mut()) });
    }
}

impl Seat {
    /// Is the worker on this thread, until the runtime has stopped, after it has spawned what `start`
    /// says.
    pub fn run(self, start: impl FnOnce()) {
        let worker = Worker::new(self.index, self.runtime.0, self.seat, self.peers);
        worker.enter(|| {
            start();
            worker.run(|| worker.has_stopped());
        });
        worker.close();
    }

    /// Is the worker on this thread for as long as `body` runs, which polls by hand.
    pub fn enter<R>(self, body: impl FnOnce() -> R) -> R {
        let worker = Worker::new(self.index, self.runtime.0, self.seat, self.peers);
        let result = worker.enter(body);
        worker.close();
        result
    }
}

/// Waits until everything waits.
pub fn all_blocked() -> impl Future<Output = ()> + Send {
    AllBlocked::default()
}

/// Spawns a task that may be stolen, on the thread of a worker.
#[track_caller]
pub fn spawn<F>(future: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let spawned_at = Location::caller();
    scheduler::with_worker(|worker| worker.spawn(future, spawned_at)).expect("a worker")
}
