//! Waiting for a condition with a limit to the time: here, since `sync` knows no timers.

use std::{future::poll_fn, ops::DerefMut, time::Duration};

use super::{Elapsed, Instant, sleep};
use crate::{
    sync::{Condition, ConditionGuard},
    util::current,
};

impl Condition {
    /// [`wait`](Self::wait) for `duration` at most, counted from the first poll. The guard comes
    /// back in any case, when the lock is free: that may take longer.
    ///
    /// A [`timeout`](super::timeout) around `wait` drops it when the time is over, and the guard
    /// with it.
    ///
    /// asyncio: `async with timeout(s): await condition.wait()`, which has the lock again after a
    /// `TimeoutError`, too.
    ///
    /// # Cancel safety
    ///
    /// As [`wait`](Self::wait).
    ///
    /// # Errors
    ///
    /// [`Elapsed`], beside the guard, if it was not notified in that time.
    ///
    /// # Panics
    ///
    /// Outside a runtime, where there are no timers; and as [`wait`](Self::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use ringloop::sync::{Condition, Lock};
    ///
    /// ringloop::run(async {
    ///     let (value, changed) = (Lock::new(1), Condition::new());
    ///     let guard = value.lock().await;
    ///     let (guard, notified) = changed.wait_timeout(guard, Duration::from_millis(1)).await;
    ///     assert!(notified.is_err());
    ///     assert_eq!(*guard, 1); // it is locked again
    /// });
    /// ```
    #[doc(alias = "wait_for")]
    pub async fn wait_timeout<G: ConditionGuard>(
        &self,
        guard: G,
        duration: Duration,
    ) -> (G, Result<(), Elapsed>) {
        let mut end = sleep(duration);
        let (guard, notified) = self.wait_or(guard, &mut end).await;
        (guard, in_time(notified, end.deadline()))
    }

    /// [`wait_while`](Self::wait_while) for `duration` at most, counted from the first poll. The
    /// guard comes back in any case.
    ///
    /// # Cancel safety
    ///
    /// As [`wait`](Self::wait).
    ///
    /// # Errors
    ///
    /// [`Elapsed`], beside the guard, if `busy` still says yes when the time is over and the lock
    /// is held again.
    ///
    /// # Panics
    ///
    /// As [`wait_timeout`](Self::wait_timeout), if it has to wait.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use ringloop::sync::{Condition, Lock};
    ///
    /// ringloop::run(async {
    ///     let (jobs, fewer) = (Lock::new(3), Condition::new());
    ///     let guard = jobs.lock().await;
    ///     let limit = Duration::from_millis(1);
    ///     let (guard, idle) = fewer.wait_timeout_while(guard, limit, |jobs| *jobs > 0).await;
    ///     assert!(idle.is_err() && *guard == 3);
    /// });
    /// ```
    pub async fn wait_timeout_while<G, T: ?Sized>(
        &self,
        mut guard: G,
        duration: Duration,
        mut busy: impl FnMut(&mut T) -> bool,
    ) -> (G, Result<(), Elapsed>)
    where
        G: ConditionGuard + DerefMut<Target = T>,
    {
        if !busy(&mut guard) {
            // With the lock held, so that it stays like that.
            poll_fn(|cx| current::poll_budget(cx)).await;
            return (guard, Ok(()));
        }
        let mut end = sleep(duration);
        loop {
            let notified;
            (guard, notified) = self.wait_or(guard, &mut end).await;
            let busy = busy(&mut guard);
            if !(busy && notified) {
                return (guard, in_time(!busy, end.deadline()));
            }
        }
    }

    /// [`wait_timeout`](Self::wait_timeout) for a plain thread, which sleeps meanwhile. It needs no
    /// runtime.
    ///
    /// # Errors
    ///
    /// [`Elapsed`], beside the guard, if it was not notified in that time.
    ///
    /// # Panics
    ///
    /// On a worker's thread, which it would hold up; and as [`wait`](Self::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use ringloop::sync::{Condition, Lock};
    ///
    /// let (value, changed) = (Lock::new(1), Condition::new());
    /// let guard = value.blocking_lock();
    /// let (guard, notified) = changed.blocking_wait_timeout(guard, Duration::from_millis(1));
    /// assert!(notified.is_err() && *guard == 1);
    /// ```
    #[track_caller]
    pub fn blocking_wait_timeout<G: ConditionGuard>(
        &self,
        guard: G,
        duration: Duration,
    ) -> (G, Result<(), Elapsed>) {
        let end = Instant::now() + duration;
        let (guard, notified) = self.blocking_wait_or(guard, duration);
        (guard, in_time(notified, end))
    }
}

fn in_time(yes: bool, end: Instant) -> Result<(), Elapsed> {
    if yes { Ok(()) } else { Err(Elapsed::at(end)) }
}
