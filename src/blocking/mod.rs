//! Threads for code that blocks.
//!
//! A job is a task whose future calls a closure in its one poll: it has the handle, the
//! cancellation before its start, and the containment of panics that every task has. While it is
//! queued, it is a task that nobody has woken: the thread that [takes](Entry) it wakes it and runs it
//! at once. Who cancels it before does the same, so that it ends without a thread.
//!
//! Jobs wait in [lanes](Lane), each with a queue, threads and limits of its own: what the program
//! hands over, files, and names. Stuck jobs of one do not hold up those of another. The rules by which
//! threads are woken, started and end are those of [`queue`].
//!
//! A thread that the system refuses is made up for by the others of its lane; if there is none, what is
//! queued fails. It never runs on the thread that has queued it, which may be the worker of a task
//! that the job waits for.
//!
//! The end of a lane waits for its threads to their very ends: what is left of one is destructors of
//! its thread-local values, which may use what the program puts away next.

mod job;
mod lane;
pub(crate) mod queue;
mod resolver;

use std::time::Duration;

pub(crate) use self::{
    job::{Guests, check, is_thread_of},
    lane::{Hand, Lane, Options, Surround},
    queue::Duty,
    resolver::resolve,
};

/// What a job of a runtime is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The program's.
    User,
    /// Calls on files.
    Files,
    /// Look-ups of names.
    Names,
}

/// The lanes of one runtime.
pub(crate) struct Pool([Lane; 3]);

impl Pool {
    /// `lane` makes each of them.
    pub(crate) fn new(lane: impl Fn(Kind) -> Lane) -> Self {
        Self([Kind::User, Kind::Files, Kind::Names].map(lane))
    }

    pub(crate) fn lane(&self, kind: Kind) -> &Lane {
        &self.0[kind as usize]
    }

    /// Jobs queued and running.
    pub(crate) fn jobs(&self) -> u64 {
        self.0.iter().map(Lane::jobs).sum()
    }

    /// Whether nothing is queued, and all that ran has ended and woken those who waited for it.
    pub(crate) fn rests(&self) -> bool {
        self.0.iter().all(Lane::rests)
    }

    pub(crate) fn threads(&self) -> usize {
        self.0.iter().map(Lane::threads).sum()
    }

    /// Refuses what is queued, waits for what runs and for the ends of all threads, up to the
    /// deadline. Names what they are still at then; they are left to themselves.
    pub(crate) fn close(&self, deadline: u64) -> Vec<String> {
        // All of them, before any is waited for.
        self.0.iter().for_each(Lane::refuse_queued);
        self.0.iter().flat_map(|lane| lane.wait_for_end(deadline)).collect()
    }
}

/// How long an idle thread stays, unless the program says otherwise.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(10);
