//! Points in time, on the runtime's own clock.

use std::{
    fmt,
    ops::{Add, AddAssign, Sub, SubAssign},
    time::Duration,
};

use crate::util::clock;

/// A point in time: nanoseconds on a clock that never goes back.
///
/// It is what the runtime's timers compare with, and half the size of a
/// [`std::time::Instant`], from and into which it converts. It reaches from the start of
/// the machine over the next 584 years; sums and differences with `+` and
/// `-` stop at these ends, and the last of them means never.
///
/// asyncio: what `loop.time()` returns, as a type.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use ringloop::time::Instant;
///
/// let start = Instant::now();
/// let later = start + Duration::from_millis(5);
/// assert_eq!(later - start, Duration::from_millis(5));
/// assert_eq!(start - later, Duration::ZERO);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[doc(alias = "loop.time")]
pub struct Instant(u64);

impl Instant {
    /// The present time.
    ///
    /// asyncio: `loop.time()`.
    #[must_use]
    #[inline]
    pub fn now() -> Self {
        Self(clock::now())
    }

    /// How long ago this was; zero for a time to come.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Self::now().duration_since(*self)
    }

    /// The time from `earlier` to this one; zero if it is not earlier.
    #[must_use]
    pub fn duration_since(&self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This time moved on by `duration`, or `None` if that cannot be said.
    #[must_use]
    #[inline]
    pub fn checked_add(&self, duration: Duration) -> Option<Self> {
        let nanos = u64::try_from(duration.as_nanos()).ok()?;
        self.0.checked_add(nanos).map(Self)
    }

    /// This time moved back by `duration`, or `None` if that is before the clock's
    /// start.
    #[must_use]
    pub fn checked_sub(&self, duration: Duration) -> Option<Self> {
        let nanos = u64::try_from(duration.as_nanos()).ok()?;
        self.0.checked_sub(nanos).map(Self)
    }

    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub(crate) const fn as_nanos(self) -> u64 {
        self.0
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    #[inline]
    fn add(self, duration: Duration) -> Self {
        self.checked_add(duration).unwrap_or(Self(u64::MAX))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        self.checked_sub(duration).unwrap_or(Self(0))
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }
}

impl From<std::time::Instant> for Instant {
    fn from(instant: std::time::Instant) -> Self {
        Self(clock::from_std(instant))
    }
}

impl From<Instant> for std::time::Instant {
    fn from(instant: Instant) -> Self {
        clock::to_std(instant.0)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As time since the clock's start, in which log lines can be compared.
        f.debug_tuple("Instant").field(&Duration::from_nanos(self.0)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_at_the_ends_saturates() {
        let now = Instant::now();
        let never = now + Duration::MAX;
        assert_eq!(never, Instant(u64::MAX));
        assert_eq!(never + Duration::from_nanos(1), never);
        assert_eq!(now - Duration::MAX, Instant(0));
        assert_eq!(now - never, Duration::ZERO);
        assert_eq!(now.checked_add(Duration::MAX), None);
        assert_eq!(never.checked_add(Duration::from_nanos(1)), None);
        assert_eq!(now.checked_sub(Duration::MAX), None);
        assert_eq!(Instant(5).checked_sub(Duration::from_nanos(5)), Some(Instant(0)));
        assert_eq!(Instant(5).checked_sub(Duration::from_nanos(6)), None);
    }

    #[test]
    fn std_instant_there_and_back_is_the_same() {
        let now = Instant::now();
        let there: std::time::Instant = now.into();
        assert_eq!(Instant::from(there), now);
        // The far end must not overflow on the way either.
        let _: std::time::Instant = Instant(u64::MAX).into();
    }
}
