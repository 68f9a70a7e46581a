//! The threads of a runtime's workers.

use std::{sync::Arc, time::Duration};

use super::{Handle, Inner, builder, context, interrupt, shutdown};
use crate::{
    error::BuildError,
    loom::{Condvar, WaitLock},
    scheduler::{Peer, Phase, Seat, Worker},
    util::{
        clock,
        current::{self, Role},
        threads::{self, Started},
    },
};

/// Worker threads that run until their hub has stopped.
pub(super) struct Crew {
    threads: Vec<Started>,
    left: Arc<Left>,
}

/// The workers that have not come to their end.
#[derive(Default)]
struct Left {
    working: WaitLock<usize>,
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
        let left = Arc::new(Left::default());
        let mut crew = Self { threads: Vec::with_capacity(seats.len()), left };
        for (index, seat) in (first..).zip(seats) {
            let worker = Start {
                inner: inner.clone(),
                left: crew.left.clone(),
                peers: peers.clone(),
                index,
            };
            *crew.left.working.lock() += 1;
            let name = format!("{}-{index}", inner.name);
            let stack_size = inner.threads.stack_size;
            match threads::spawn_with(name, stack_size, move || worker.run(seat)) {
                Ok(thread) => crew.threads.push(thread),
                Err(error) => {
                    *crew.left.working.lock() -= 1;
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

    /// Waits up to the deadline until all have ended, destructors of their thread-local values
    /// included.
    pub(super) fn wait(&self, deadline: u64) -> bool {
        let mut working = self.left.working.lock();
        while *working > 0 {
            let Some(rest) = deadline.checked_sub(clock::now()).filter(|&rest| rest > 0) else {
                return false;
            };
            let rest = Duration::from_nanos(rest);
            working = self.left.working.wait_for(working, &self.left.one_less, rest).0;
        }
        drop(working);
        self.threads.iter().all(|thread| thread.ends_by(deadline))
    }

    /// Joins threads that have ended; without it they would be left to themselves.
    pub(super) fn join(self) {
        self.threads.into_iter().for_each(Started::join);
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
        let (hub, id) = (self.inner.hub, self.inner.id);
        current::set_role(Role::Worker(id));
        let inner = self.inner;
        let _context = context::enter(Handle { inner: inner.clone() });
        let begun = inner.threads.enter_worker(self.index);
        let worker = Worker::new(self.index, hub, seat, self.peers);
        worker.enter(|| {
            interrupt::attend(&worker, || worker.has_stopped() || worker.has_lost(), || {});
            if worker.has_lost() {
                shutdown::end_after_loss(&inner, &worker);
                worker.run(|| worker.has_stopped());
            }
        });
        worker.close();
        drop(begun);
        // What is left are destructors of thread-local values.
        current::set_role(Role::Helper(id));
        *self.left.working.lock() -= 1;
        self.left.one_less.notify_all();
    }
}
