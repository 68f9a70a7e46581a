//! The one place that reads the clock.
//!
//! Inside the crate time is a `u64`: nanoseconds of the monotonic clock, which counts from
//! the start of the machine. It lasts 584 years, fits a register and leaves a simulated
//! clock one function to replace. The clock is asked directly: the checks and conversions
//! of [`Instant`] take a quarter of a reading, which every timer and every tick pays.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::fork::PerProcess;
use crate::loom::model_time;

/// The present time.
#[inline]
pub(crate) fn now() -> u64 {
    #[cfg(test)]
    if let Some(now) = played::now() {
        return now;
    }
    if let Some(now) = model_time() {
        return now;
    }
    let now = clock_gettime(ClockId::Monotonic);
    // Neither is ever negative on this clock.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The present time on the standard scale: cheaper than to convert [`now`].
#[cfg_attr(not(feature = "hyper"), expect(dead_code, reason = "for an optional feature"))]
#[inline]
pub(crate) fn now_std() -> Instant {
    Instant::now()
}

/// A clock that a thread's reactor plays.
#[cfg(test)]
pub(crate) mod played {
    use std::{cell::Cell, time::Duration};

    thread_local! {
        static NOW: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// The time on this thread, if it is played here.
    pub(crate) fn now() -> Option<u64> {
        NOW.get()
    }

    /// Plays it on this thread from here on, or no more.
    pub(crate) fn set(now: Option<u64>) {
        NOW.set(now);
    }

    /// Moves it on.
    pub(crate) fn advance(by: Duration) {
        NOW.set(now().map(|now| now.saturating_add(super::nanos(by))));
    }
}

/// One moment on both scales.
fn moment() -> (Instant, u64) {
    static MOMENT: PerProcess<(Instant, u64)> = PerProcess::new();
    *MOMENT.get(|| closest(Instant::now, now))
}

/// Between readings that nobody has interrupted passes less.
const CLOSE: Duration = Duration::from_micros(1);
/// ... of which there is one among so many.
const TRIES: usize = 100;

/// Readings of both scales with as little as can be had between them: by so much everything
/// that is converted comes late.
fn closest(standard: impl Fn() -> Instant, ours: impl Fn() -> u64) -> (Instant, u64) {
    let mut best = None;
    for _ in 0..TRIES {
        // The standard one first: what is converted from it may then come late, but not early.
        let moment @ (before, _) = (standard(), ours());
        let gap = standard().saturating_duration_since(before);
        if best.is_none_or(|(least, _)| gap < least) {
            best = Some((gap, moment));
        }
        if gap <= CLOSE {
            break;
        }
    }
    best.expect("one try at least").1
}

/// A standard instant on this scale; one before its beginning counts as that.
pub(crate) fn from_std(instant: Instant) -> u64 {
    let (standard, ours) = moment();
    match instant.checked_duration_since(standard) {
        Some(after) => ours.saturating_add(nanos(after)),
        None => ours.saturating_sub(nanos(standard.duration_since(instant))),
    }
}

/// The standard instant of `at`; where the platform can not represent it (a
/// deadline that means "never"), one about thirty years away.
pub(crate) fn to_std(at: u64) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    let (standard, ours) = moment();
    match at.checked_sub(ours) {
        Some(after) => standard.checked_add(Duration::from_nanos(after)),
        None => standard.checked_sub(Duration::from_nanos(ours - at)),
    }
    .unwrap_or_else(|| standard + FAR)
}

/// A duration in nanoseconds; what does not fit means "never".
#[inline]
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn scales_are_read_again_after_an_interruption() {
        // Goal: conversions are not late for good because the two readings were torn apart once;
        // method: both clocks are played, and time passes between their first three readings.
        let begin = Instant::now();
        let (time, readings) = (Cell::new(Duration::ZERO), Cell::new(0));
        let pass = |length| time.set(time.get() + length);
        let ours = || {
            readings.set(readings.get() + 1);
            pass(Duration::from_nanos(if readings.get() <= 3 { 5_000_000 } else { 50 }));
            nanos(time.get())
        };
        let (standard, ours) = closest(|| begin + time.get(), ours);
        assert_eq!(Duration::from_nanos(ours) - (standard - begin), Duration::from_nanos(50));
        assert_eq!(readings.get(), 4);

        readings.set(0);
        let slow = || {
            readings.set(readings.get() + 1);
            pass(Duration::from_micros(1000 - readings.get()));
            nanos(time.get())
        };
        let (standard, ours) = closest(|| begin + time.get(), slow);
        let gap = Duration::from_nanos(ours) - (standard - begin);
        assert_eq!(gap, Duration::from_micros(1000 - TRIES as u64), "the least of them");
    }
}
