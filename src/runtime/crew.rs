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

/// How many have not come to their end.
struct Left {
    count: Mutex<usize>,
    one_less: Condvar,
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
        let left = Arc::new(Left { count: Mutex::new(0), one_less: Condvar::new() });
        let mut crew = Self { threads: Vec::with_capacity(seats.len()), left };
        for (index, seat) in (first..).zip(seats) {
            let worker = Start {
                inner: inner.clone(),
                left: crew.left.clone(),
                peers: peers.clone(),
                index,
            };
            *crew.left.count.lock() += 1;
            let name = format!("{}-{index}", inner.name);
            match threads::spawn(name, move || worker.run(seat)) {
                Ok(thread) => crew.threads.push(thread),
                Err(error) => {
                    *crew.left.count.lock() -= 1;
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
        let mut left = self.left.count.lock();
        while *left > 0 {
            let Some(rest) = deadline.checked_sub(clock::now()).filter(|&rest| rest > 0) else {
                return false;
            };
            self.left.one_less.wait_for(&mut left, Duration::from_nanos(rest));
        }
        true
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
        *self.left.count.lock() -= 1;
        self.left.one_less.notify_all();
    }
}
