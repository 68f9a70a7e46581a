//! Times that were measured, by their magnitude.

use std::time::Duration;

use crate::util::record::{BUCKETS, Times};

/// How often times of each magnitude were measured.
///
/// A bucket has the times below a power of two, in ns, that are not below the power before it. So a quantile is
/// known to a factor of two.
///
/// ```
/// let runtime = ringloop::Runtime::new().unwrap();
/// let delays = runtime.metrics().schedule_delays;
/// if let Some(late) = delays.quantile(0.99) {
///     println!("of {} delays 99 % were below {late:?}", delays.count());
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    sum: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], sum: 0 }
    }
}

impl Histogram {
    pub(super) fn add(&mut self, times: &Times) {
        times.add_to(&mut self.counts, &mut self.sum);
    }

    /// How many times were measured.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum)
    }

    /// Their mean; `None` if there are none.
    pub fn mean(&self) -> Option<Duration> {
        Some(Duration::from_nanos(self.sum.checked_div(self.count())?))
    }

    /// The buckets, each with the time that all in it are below, and how many there are. The last one has no such time.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        self.counts.iter().enumerate().map(|(at, &count)| {
            let bound = (at + 1 < BUCKETS).then(|| Duration::from_nanos(1 << at));
            (bound, count)
        })
    }

    /// A time that this part of them, from 0 to 1, is below: the bound of a bucket. `None` if there are none, or
    /// if the bucket has no bound.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let count = self.count();
        let wanted = ((count as f64 * part).ceil() as u64).clamp(1, count.max(1));
        let mut below = 0;
        let found = self.buckets().find(|(_, count)| {
            below += count;
            below >= wanted
        });
        found?.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: quantiles are the bounds of the right buckets; method: known counts.
    #[test]
    fn a_quantile_is_the_bound_of_its_bucket() {
        let mut times = Histogram::default();
        assert_eq!((times.quantile(0.5), times.mean()), (None, None));
        // 90 below 2 ns, 10 below 1024 ns.
        (times.counts[1], times.counts[10], times.sum) = (90, 10, 10_000);
        assert_eq!(times.quantile(0.9), Some(Duration::from_nanos(2)));
        assert_eq!(times.quantile(0.91), Some(Duration::from_nanos(1024)));
        assert_eq!(times.quantile(1.0), Some(Duration::from_nanos(1024)));
        assert_eq!((times.count(), times.mean()), (100, Some(Duration::from_nanos(100))));
    }
}
