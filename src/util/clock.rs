//! The one place that reads the clock.
//!
//! Inside the crate time is a `u64`: nanoseconds of the monotonic clock, which counts from
//! the start of the machine. It lasts 584 years and fits a register. The clock is asked directly: the
//! checks and conversions of [`Instant`] take a quarter of a reading, which every timer and every tick
//! pays.
//!
//! There are two times. That of the *program*, [`now`], is what tasks and their timers go by; a test
//! may [play](played) it. That of the *machine*, [`machine`], is what the runtime itself goes by: how
//! long a tick lasts, whether a task holds its worker, how long the end may take.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::fork::PerProcess;
use crate::loom::model_time;

/// The present time of the program.
#[inline]
pub(crate) fn now() -> u64 {
    if played::is_possible() { now_if_played() } else { machine() }
}

/// Apart, so that the callers of `now` need no stack space for it.
#[cold]
fn now_if_played() -> u64 {
    played::now().unwrap_or_else(machine)
}

/// The present time of the machine.
#[inline]
pub(crate) fn machine() -> u64 {
    if let Some(now) = model_time() {
        return now;
    }
    let now = clock_gettime(ClockId::Monotonic);
    // Neither is ever negative on this clock.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The present time of the program on the standard scale: cheaper than to convert [`now`].
#[cfg(feature = "hyper")]
#[inline]
pub(crate) fn now_std() -> Instant {
    if played::is_possible() { now_std_if_played() } else { Instant::now() }
}

#[cfg(feature = "hyper")]
#[cold]
fn now_std_if_played() -> Instant {
    played::now().map_or_else(Instant::now, to_std)
}

/// Clocks that a runtime plays for its program.
pub(crate) mod played {
    use std::{cell::RefCell, sync::Arc};

    use crate::loom::global::{AtomicBool, AtomicU64, Ordering};

    /// Whether a clock has ever been played in this process. For all others it is what [`now`] costs.
    static EVER: AtomicBool = AtomicBool::new(false);

    thread_local! {
        static HERE: RefCell<Option<Clock>> = const { RefCell::new(None) };
    }

    /// A clock that stands still until it is moved on.
    #[derive(Clone, Debug)]
    pub(crate) struct Clock(Arc<AtomicU64>);

    impl Clock {
        /// One that stands at the present time of the machine: what code takes from the machine's
        /// clock, and compares, is not years away.
        pub(crate) fn new() -> Self {
            // Relaxed: a thread that plays the clock was given it after this.
            EVER.store(true, Ordering::Relaxed);
            Self(Arc::new(AtomicU64::new(super::machine())))
        }

        pub(crate) fn now(&self) -> u64 {
            // Acquire: pairs with `move_to`.
            self.0.load(Ordering::Acquire)
        }

        /// Moves it on to that time, never back.
        pub(crate) fn move_to(&self, time: u64) {
            // Release: a thread that sees the time sees what was done before that time was set.
            self.0.fetch_max(time, Ordering::AcqRel);
        }

        /// Plays it on this thread until the value is dropped.
        pub(crate) fn play(&self) -> Playing {
            Playing(HERE.with(|here| here.replace(Some(self.clone()))))
        }
    }

    /// What was played on this thread before comes back when this is dropped.
    pub(crate) struct Playing(Option<Clock>);

    impl Drop for Playing {
        fn drop(&mut self) {
            let _ = HERE.try_with(|here| here.replace(self.0.take()));
        }
    }

    /// Runs `f` by the machine's clock.
    pub(crate) fn outside<R>(f: impl FnOnce() -> R) -> R {
        let _playing = Playing(HERE.with(|here| here.take()));
        f()
    }

    /// Whether a clock may be played on this thread: a load and a branch.
    #[inline(always)]
    pub(super) fn is_possible() -> bool {
        // Relaxed: a thread on which a clock is played has seen it.
        EVER.load(Ordering::Relaxed)
    }

    /// The time on this thread, if it is played here.
    pub(super) fn now() -> Option<u64> {
        // A thread that ends has none.
        HERE.try_with(|here| here.borrow().as_ref().map(Clock::now)).ok().flatten()
    }
}

/// One moment on both scales.
fn moment() -> (Instant, u64) {
    static MOMENT: PerProcess<(Instant, u64)> = PerProcess::new();
    *MOMENT.get(|| closest(Instant::now, machine))
}

/// Between two readings without an interruption less time passes.
const CLOSE: Duration = Duration::from_micros(1);
/// ... and one of so many pairs of readings is not interrupted.
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
