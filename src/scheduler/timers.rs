//! A worker's timers, and how other workers reach them.
//!
//! With neighbours they lie in the worker's block, under a lock: a task that holds its worker keeps
//! it from its timers, and the worker that rescues it fires them in its place. The sections under
//! the lock are short, but for the rescue itself, which fires some hundreds of timers at most. The
//! only worker of a runtime has its timers to itself.

use std::{cell::RefCell, task::Waker};

use super::{block::Block, hub::Flavor};
use crate::{
    loom::BriefLock,
    reactor::timers::{Mailbox, Timers},
    util::clock,
};

/// What a block has of its worker's timers.
pub(crate) struct Shared {
    pub(super) mailbox: Mailbox,
    /// The wheel, while a worker with neighbours is at work.
    timers: BriefLock<Option<Timers>>,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self { mailbox: Mailbox::new(), timers: BriefLock::new(None) }
    }

    /// Runs `f`, no foreign code, with the timers of a worker that is at work.
    #[inline]
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut Timers) -> R) -> Option<R> {
        self.timers.lock().as_mut().map(f)
    }

    /// Fires what is due, in the place of a worker that is held, `limit` timers at most. Says
    /// whether others are due.
    pub(crate) fn rescue(&self, limit: usize, wakes: &mut Vec<Waker>) -> bool {
        if self.mailbox.armed() == 0 {
            return false;
        }
        let now = clock::now();
        match &mut *self.timers.lock() {
            Some(timers) => {
                timers.expire(now, limit, wakes);
                timers.next_deadline().is_some_and(|deadline| deadline <= now)
            }
            None => false,
        }
    }
}

/// The timers of the worker that this thread is.
pub(super) enum Own {
    Single(RefCell<Timers>),
    Multi(&'static Shared),
}

impl Own {
    /// Opens the timers of a worker, until it [closes](Self::close) them.
    pub(super) fn open(block: &'static Block, flavor: Flavor, now: u64) -> Self {
        let timers = Timers::new(&block.timers.mailbox, now);
        match flavor {
            Flavor::Single => Self::Single(RefCell::new(timers)),
            Flavor::Multi => {
                *block.timers.timers.lock() = Some(timers);
                Self::Multi(&block.timers)
            }
        }
    }

    /// Runs `f`, no foreign code, with the timers.
    #[inline]
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut Timers) -> R) -> R {
        match self {
            Self::Single(timers) => f(&mut timers.borrow_mut()),
            Self::Multi(shared) => shared.with(f).expect("open while its worker is at work"),
        }
    }

    /// Ends them. The caller wakes the tasks that still wait: they wait elsewhere then.
    pub(super) fn close(&self) -> Vec<Waker> {
        match self {
            Self::Single(timers) => timers.borrow_mut().close(),
            Self::Multi(shared) => {
                let timers = shared.timers.lock().take();
                timers.map(|mut timers| timers.close()).unwrap_or_default()
            }
        }
    }
}
