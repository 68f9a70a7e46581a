//! Something to do again and again.

use std::{
    fmt,
    future::poll_fn,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::Instant;
use crate::{
    runtime::Deadline,
    util::{clock, current},
};

/// Ticks now and then every `period`.
///
/// asyncio: has none; one writes a loop around `sleep`, whose ticks drift by what the
/// body takes. These do not.
///
/// # Panics
///
/// If `period` is zero.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use ringloop::time::interval;
///
/// ringloop::run(async {
///     let mut ticks = interval(Duration::from_millis(2));
///     let first = ticks.tick().await;
///     let second = ticks.tick().await;
///     assert_eq!(second - first, Duration::from_millis(2));
/// });
/// ```
#[track_caller]
pub fn interval(period: Duration) -> Interval {
    interval_at(Instant::now(), period)
}

/// Ticks at `start` and then every `period`.
///
/// asyncio: has none; see [`interval`].
///
/// # Panics
///
/// If `period` is zero.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use ringloop::time::{Instant, interval_at};
///
/// ringloop::run(async {
///     let start = Instant::now() + Duration::from_millis(2);
///     let mut ticks = interval_at(start, Duration::from_millis(1));
///     assert_eq!(ticks.tick().await, start);
///     assert!(Instant::now() >= start);
/// });
/// ```
#[track_caller]
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    assert!(!period.is_zero(), "an interval needs a period above zero");
    Interval { deadline: Deadline::new(start.as_nanos()), period, missed: MissedTicks::default() }
}

/// What an [`Interval`] does about ticks that nobody took in time.
///
/// A tick is missed when the next one has come due before it was taken. One that is
/// just late changes nothing: the ticks after it keep to the schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTicks {
    /// They follow at once, one after the other, until the schedule is caught up with:
    /// no tick is lost.
    #[default]
    Burst,
    /// They are left out, and a new schedule begins: the next tick is a period after
    /// the one that was late was taken.
    Delay,
    /// They are left out, and the schedule stays: the next tick is its next one that
    /// is still to come.
    Skip,
}

/// Ticks at a fixed rate: what [`interval`] and [`interval_at`] return.
#[must_use = "an interval does nothing unless its ticks are awaited"]
pub struct Interval {
    /// The next tick.
    deadline: Deadline,
    period: Duration,
    missed: MissedTicks,
}

impl Interval {
    /// Waits for the next tick; returns the time it was due.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: a tick counts as taken when this returns.
    ///
    /// # Panics
    ///
    /// When it has to wait outside a runtime.
    pub async fn tick(&mut self) -> Instant {
        poll_fn(|cx| self.poll_tick(cx)).await
    }

    /// Polls for the next tick: what [`tick`](Self::tick) awaits.
    ///
    /// # Panics
    ///
    /// When it has to wait outside a runtime.
    pub fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        ready!(self.deadline.poll(cx));
        // A long burst must not hold the worker.
        if !current::budget_spend() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let tick = Instant::from_nanos(self.deadline.at());
        let next = self.after(tick, Instant::from_nanos(clock::now()));
        self.deadline.reset(next.as_nanos());
        Poll::Ready(tick)
    }

    /// Begins a new schedule: the next tick is a period from now.
    pub fn reset(&mut self) {
        let next = Instant::now() + self.period;
        self.deadline.reset(next.as_nanos());
    }

    /// The time from tick to tick.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.period
    }

    /// What it does about ticks that nobody took in time.
    #[must_use]
    pub fn missed_ticks(&self) -> MissedTicks {
        self.missed
    }

    /// Sets what it does about ticks that nobody took in time.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use ringloop::time::{MissedTicks, interval};
    ///
    /// ringloop::run(async {
    ///     let mut ticks = interval(Duration::from_millis(1));
    ///     ticks.set_missed_ticks(MissedTicks::Skip);
    ///     let first = ticks.tick().await;
    ///     std::thread::sleep(Duration::from_millis(5)); // misses a few
    ///     let late = ticks.tick().await;
    ///     let next = ticks.tick().await;
    ///     assert_eq!(late - first, Duration::from_millis(1));
    ///     assert!(next - first >= Duration::from_millis(5));
    /// });
    /// ```
    pub fn set_missed_ticks(&mut self, missed: MissedTicks) {
        self.missed = missed;
    }

    /// The tick to follow `tick`, which is being taken at `now`.
    fn after(&self, tick: Instant, now: Instant) -> Instant {
        let next = tick + self.period;
        if now < next {
            return next;
        }
        match self.missed {
            MissedTicks::Burst => next,
            MissedTicks::Delay => now + self.period,
            MissedTicks::Skip => {
                // The period is at most `now - tick` here, so it fits a u64.
                let into = now.duration_since(tick).as_nanos() % self.period.as_nanos();
                now + (self.period - Duration::from_nanos(into as u64))
            }
        }
    }
}

impl fmt::Debug for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interval")
            .field("next", &Instant::from_nanos(self.deadline.at()))
            .field("period", &self.period)
            .field("missed", &self.missed)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(missed: MissedTicks, now: u64) -> u64 {
        let mut ticks = interval_at(Instant::from_nanos(100), Duration::from_nanos(10));
        ticks.set_missed_ticks(missed);
        let next = ticks.after(Instant::from_nanos(100), Instant::from_nanos(now));
        next.as_nanos()
    }

    #[test]
    fn late_tick_keeps_the_schedule() {
        for missed in [MissedTicks::Burst, MissedTicks::Delay, MissedTicks::Skip] {
            assert_eq!(after(missed, 100), 110);
            assert_eq!(after(missed, 109), 110);
        }
    }

    #[test]
    fn missed_ticks_follow_their_policy() {
        assert_eq!(after(MissedTicks::Burst, 135), 110);
        assert_eq!(after(MissedTicks::Delay, 135), 145);
        assert_eq!(after(MissedTicks::Skip, 135), 140);
        // On the dot, the tick that is due now is missed too.
        assert_eq!(after(MissedTicks::Skip, 110), 120);
    }

    #[test]
    fn endless_period_does_not_overflow() {
        let ticks = interval(Duration::MAX);
        let next = ticks.after(Instant::now(), Instant::now());
        assert_eq!(next.as_nanos(), u64::MAX);
    }

    #[test]
    #[should_panic(expected = "above zero")]
    fn zero_period_panics() {
        let _ = interval(Duration::ZERO);
    }
}
