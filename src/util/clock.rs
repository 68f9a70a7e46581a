//! The one place that reads the clock.
//!
//! Inside the crate time is a `u64`: nanoseconds of the monotonic clock since
//! the process first asked. It lasts 584 years, fits a register and leaves a
//! simulated clock one function to replace.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

static BASE: OnceLock<Instant> = OnceLock::new();

fn base() -> Instant {
    *BASE.get_or_init(Instant::now)
}

/// Nanoseconds since the process's first call.
#[inline]
pub(crate) fn now() -> u64 {
    // The base first: it may be taken by this very call.
    let base = base();
    nanos(Instant::now().duration_since(base))
}

/// A standard instant on this scale; one before the base counts as the base.
pub(crate) fn from_std(instant: Instant) -> u64 {
    nanos(instant.saturating_duration_since(base()))
}

/// The standard instant of `at`; where the platform can not represent it (a
/// deadline that means "never"), one about thirty years away.
pub(crate) fn to_std(at: u64) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    let base = base();
    base.checked_add(Duration::from_nanos(at)).unwrap_or_else(|| base + FAR)
}

/// A duration in nanoseconds; what does not fit means "never".
#[inline]
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
