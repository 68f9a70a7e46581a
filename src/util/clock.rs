//! The one place that reads the clock.
//!
//! Inside the crate time is a `u64`: nanoseconds of the monotonic clock, which counts from
//! the start of the machine. It lasts 584 years, fits a register and leaves a simulated
//! clock one function to replace. The clock is asked directly: the checks and conversions
//! of [`Instant`] take a quarter of a reading, which every timer and every tick pays.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

/// The present time.
#[inline]
pub(crate) fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // Neither is ever negative on this clock.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// One moment on both scales.
fn moment() -> (Instant, u64) {
    static MOMENT: OnceLock<(Instant, u64)> = OnceLock::new();
    // The standard one first: what is converted from it may then come late, by some
    // nanoseconds, but not early.
    *MOMENT.get_or_init(|| (Instant::now(), now()))
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
