//! Threads for code that blocks.
//!
//! A job is a task whose future calls a closure in its one poll: it has the handle, the
//! cancellation before its start, and the containment of panics that every task has. While it is
//! queued, it is a task that has not been woken: the thread that takes it out of the queue wakes it and runs it
//! at once. A canceller that comes first wakes it as well, and ends it: that takes no thread.
//!
//! Jobs wait in [lanes](Lane), each with a queue, threads and limits of its own: what the program
//! hands over, files, and names. Stuck jobs of one do not hold up those of another. The rules by which
//! threads are woken, started and end are those of [`queue`].
//!
//! A thread that the system refuses is made up for by the others of its lane; if there is none, the jobs that are
//! queued fail. A job never runs on the thread that has queued it, which may be the worker of a task
//! that the job waits for.
//!
//! The end of a lane waits for its threads to their very ends: the last part of a thread are destructors of
//! its thread-local values, which may use things that the program puts away next.

mod job;
mod lane;
mod lookups;
pub(crate) mod queue;
mod resolver;

use std::time::Duration;

pub(crate) use self::{
    job::{Guests, check, is_thread_of},
    lane::{Hand, Lane, Options, Surround, pools},
    lookups::Lookups,
    queue::Duty,
    resolver::{name_of, resolve},
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

    /// Whether no job is queued, and all jobs that ran have ended and woken their waiters.
    pub(crate) fn rests(&self) -> bool {
        self.0.iter().all(Lane::rests)
    }

    pub(crate) fn threads(&self) -> usize {
        self.0.iter().map(Lane::threads).sum()
    }

    /// Refuses jobs that are queued, waits for those that run and for the ends of all threads, up to the
    /// deadline. Names the jobs that still run then; their threads are left to themselves.
    pub(crate) fn close(&self, deadline: u64) -> Vec<String> {
        // All of them, before any is waited for.
        self.0.iter().for_each(Lane::refuse_queued);
        self.0.iter().flat_map(|lane| lane.wait_for_end(deadline)).collect()
    }
}

/// How long an idle thread stays, unless the program says otherwise.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(10);
