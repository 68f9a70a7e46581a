//! A lock and a condition variable whose waiters sleep at an address of their own.
//!
//! These are the standard ones. parking_lot's waiters share one table of the process. A child that
//! is forked at a bad time inherits a lock of that table from a thread that the child does not
//! have. What every runtime needs, from its start to its end, must not depend on that.

use std::{
    sync::{self, PoisonError},
    time::Duration,
};

/// A lock. A panic of its holder leaves it usable.
#[derive(Debug, Default)]
pub(crate) struct WaitLock<T>(sync::Mutex<T>);

pub(crate) type WaitGuard<'a, T> = sync::MutexGuard<'a, T>;

impl<T> WaitLock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> WaitGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves the lock until somebody notifies `condvar`, or for no reason, or for at most
    /// `limit` (`Duration::MAX`: for ever). Says whether the time was over.
    pub(crate) fn wait_for<'a>(
        &self,
        guard: WaitGuard<'a, T>,
        condvar: &Condvar,
        limit: Duration,
    ) -> (WaitGuard<'a, T>, bool) {
        let waited = condvar.0.wait_timeout(guard, limit);
        let (guard, result) = waited.unwrap_or_else(PoisonError::into_inner);
        (guard, result.timed_out())
    }
}

/// Where holders of a [`WaitLock`] wait for each other.
#[derive(Debug, Default)]
pub(crate) struct Condvar(sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}
