//! The threads of a runtime's workers.

use std::{sync::Arc, thread::JoinHandle, time::Duration};

use parking_lot::{Condvar, Mutex};

use super::{Handle, Inner, builder, context};
use crate::{
    error::BuildError,
    scheduler::{Peer, Phase, Seat, Worker},
    util::{clock, threads},
};

/// Worker threads that run until their hub has stopped.
pub(super) struct Crew {
    threads: Vec<JoinHandle<()>>,
    left: Arc<Left>,
}

/// Who has not come to its end.
#[derive(Default)]
struct Left {
    workers: Mutex<Workers>,
    one_less: Condvar,
}

#[derive(Default)]
struct Workers {
    working: usize,
    /// The threads of the others, which may be at destructors of their thread-local values, by
    /// the kernel's numbers.
    leaving: Vec<u32>,
}

impl Crew {
    /// Starts a thread for every seat. The first of them is worker number `first`.
    ///
    /// # Errors
    ///
    /// A thread is refused: then those that were started have ended again.
    pub(super) fn start(
        inner: &Arc<Inner>,
        seats: Vec<Seat>,
        first: usize,
    ) -> Result<Self, BuildError> {
        let peers = builder::peers(&seats);
        Self::start_with(inner, seats, first, peers)
    }

    /// The same, where other workers than these have seats too.
    pub(super) fn start_with(
        inner: &Arc<Inner>,
        seats: Vec<Seat>,
        first: usize,
        peers: Arc<[Peer]>,
    ) -> Result<Self, BuildError> {
        let left = Arc::new(Left::default());
        let mut crew = Self { threads: Vec::with_capacity(seats.len()), left };
        for (index, seat) in (first..).zip(seats) {
            let worker = Start {
                inner: inner.clone(),
                left: crew.left.clone(),
                peers: peers.clone(),
                index,
            };
            crew.left.workers.lock().working += 1;
            let name = format!("{}-{index}", inner.name);
            match threads::spawn(name, move || worker.run(seat)) {
                Ok(thread) => crew.threads.push(thread),
                Err(error) => {
                    crew.left.workers.lock().working -= 1;
                    crew.abandon_start(inner);
                    return Err(BuildError::io(
                        format!(
                            "the thread of worker {index} was refused: raise the limit of threads \
                             (ulimit -u, the cgroup's pids.max) or ask for fewer workers"
                        ),
                        error,
                    ));
                }
            }
        }
        Ok(crew)
    }

    /// Nothing was spawned yet, so that all stop at once.
    fn abandon_start(self, inner: &Inner) {
        inner.gate.close(|| {});
        inner.hub.advance(Phase::Stopped);
        self.join();
        // Those of the seats that were never taken.
        inner.hub.blocks().for_each(|block| block.doorbell.close());
        inner.release_hub();
    }

    /// Waits up to the deadline until all have ended.
    pub(super) fn wait(&self, deadline: u64) -> bool {
        let mut workers = self.left.workers.lock();
        while workers.working > 0 {
            let Some(rest) = deadline.checked_sub(clock::now()).filter(|&rest| rest > 0) else {
                return false;
            };
            self.left.one_less.wait_for(&mut workers, Duration::from_nanos(rest));
        }
        let leaving = workers.leaving.clone();
        drop(workers);
        leaving.into_iter().all(|thread| threads::wait_for_end(thread, deadline))
    }

    /// Joins threads that have ended; without it they would be left to themselves.
    pub(super) fn join(self) {
        for thread in self.threads {
            // A worker's loop does not panic.
            let _ = thread.join();
        }
    }
}

/// What a worker's thread starts with.
struct Start {
    inner: Arc<Inner>,
    left: Arc<Left>,
    peers: Arc<[Peer]>,
    index: usize,
}

impl Start {
    fn run(self, seat: Seat) {
        let hub = self.inner.hub;
        let _context = context::enter(Handle { inner: self.inner });
        let worker = Worker::new(self.index, hub, seat, self.peers);
        worker.enter(|| worker.run(|| worker.has_stopped()));
        worker.close();
        let mut workers = self.left.workers.lock();
        workers.working -= 1;
        workers.leaving.push(threads::id());
        drop(workers);
        self.left.one_less.notify_all();
    }
}
