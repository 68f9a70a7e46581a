//! One point in time to wait for: the only door to timers for everything above.
//!
//! A [`Deadline`] costs nothing until it is polled and has to wait; then it arms a
//! timer on the worker that polls it. The timer stays there when the task moves on,
//! until it ends or the deadline is reset from another worker.

use std::{
    future::poll_fn,
    task::{Context, Poll, Waker},
};

use crate::{
    reactor::timers::{End, TimerRef},
    scheduler::{is_far, with_timers},
    util::{clock, current, panic, wait::WaitKind},
};

/// A time in nanoseconds of `util::clock` (`u64::MAX`: never) and, while somebody
/// waits for it, a timer.
pub(crate) struct Deadline {
    at: u64,
    entry: Option<TimerRef>,
}

impl Deadline {
    pub(crate) const fn new(at: u64) -> Self {
        Self { at, entry: None }
    }

    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Ready once the time has come, never before. It may be polled again after.
    ///
    /// # Panics
    ///
    /// If it has to wait and the calling thread is not a worker.
    #[inline]
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_with(cx, false)
    }

    /// [`poll`](Self::poll), but one that has passed when it is first polled is never waited for:
    /// `asks` says to ask the clock for that.
    pub(crate) fn poll_with(&mut self, cx: &mut Context<'_>, asks: bool) -> Poll<()> {
        if let Some(entry) = &self.entry {
            let Poll::Ready(end) = entry.poll(cx) else {
                current::waits_for(WaitKind::Timer, self.at);
                return Poll::Pending;
            };
            self.disarm();
            match end {
                End::Fired => return Poll::Ready(()),
                // Its runtime is gone and the time has not come: wait on here.
                End::Orphaned => {}
            }
        }
        // The clock itself, not the time of the tick: that would be early. Where it is most
        // likely not over, the end of the tick tells: a reading costs as much as the timer.
        if (asks || !is_far(self.at)) && clock::now() >= self.at {
            return Poll::Ready(());
        }
        self.arm(cx);
        Poll::Pending
    }

    /// Waits for the time, but is not ready before the worker has looked at its timers: at the end of
    /// its tick.
    fn poll_in_next_tick(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.entry.is_some() {
            return self.poll(cx);
        }
        self.arm(cx);
        Poll::Pending
    }

    fn arm(&mut self, cx: &mut Context<'_>) {
        // Cloned out here, as clones are foreign code.
        let waker = cx.waker().clone();
        let at = self.at;
        self.entry = with_timers(|timers| timers.arm(at, waker));
        assert!(
            self.entry.is_some(),
            "time::sleep, timeout or interval awaited outside a ringloop runtime: \
             call it inside ringloop::run or on a task"
        );
        current::waits_for(WaitKind::Timer, at);
    }

    /// Waits for another time from now on. A task that waits already is woken by
    /// then, whether it polls again or not.
    pub(crate) fn reset(&mut self, at: u64) {
        self.at = at;
        let Some(entry) = &self.entry else { return };
        if with_timers(|timers| timers.rearm(entry, at)) == Some(true) {
            return;
        }
        // Armed on another worker, or ended. A waker left behind is that of a task
        // that counts on the old timer: its next poll arms a new one.
        if let Some(waker) = self.release() {
            panic::contain(|| waker.wake());
        }
    }

    /// Gives the timer up; the next poll that has to wait arms another.
    #[inline(never)]
    fn disarm(&mut self) {
        panic::discard_foreign(self.release());
    }

    /// Lets go of the timer; returns the waker it would have woken.
    fn release(&mut self) -> Option<Waker> {
        self.entry.as_ref()?;
        // The waker leaves the borrow of the timers before anybody drops it: it may
        // be a task's last reference, and the task may hold timers.
        match with_timers(|timers| TimerRef::release(&mut self.entry, Some(timers))) {
            Some(waker) => waker,
            // The calling thread is no worker.
            None => TimerRef::release(&mut self.entry, None),
        }
    }
}

/// Waits for the worker's next tick. Between this one and that, it looks at its timers and its reactor.
///
/// # Panics
///
/// If the calling thread is not a worker.
pub(crate) async fn next_tick() {
    let mut deadline = Deadline::new(clock::now());
    poll_fn(|cx| deadline.poll_in_next_tick(cx)).await;
}

impl Drop for Deadline {
    #[inline]
    fn drop(&mut self) {
        if self.entry.is_some() {
            self.disarm();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send_and_sync<T: Send + Sync + Unpin>() {}

    #[test]
    fn deadline_that_has_fired_and_is_reset_unpolled_waits_again() {
        crate::run(async {
            let mut deadline = Deadline::new(clock::now() + 1_000_000);
            assert!(deadline.poll(&mut Context::from_waker(Waker::noop())).is_pending());
            let mut after = Deadline::new(clock::now() + 2_000_000);
            poll_fn(|cx| after.poll(cx)).await;
            let at = clock::now() + 2_000_000;
            deadline.reset(at);
            poll_fn(|cx| deadline.poll(cx)).await;
            assert!(clock::now() >= at);
        });
    }

    #[test]
    fn deadline_is_send_sync_and_small() {
        // hyper's timer asks for Send + Sync; a connection may hold several.
        send_and_sync::<Deadline>();
        assert!(size_of::<Deadline>() <= 32);
    }
}
