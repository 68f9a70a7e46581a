//! A task that burns CPU without a yield, beside the connections.

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The time from one burst to the next, and the CPU time of each burst.
pub const PERIOD: Duration = Duration::from_millis(100);
pub const BURST: Duration = Duration::from_millis(20);

/// `window`, or somewhat more: whole periods and not too few of them, so that every run has the
/// same number of bursts.
pub fn whole_periods(window: Duration) -> Duration {
    let periods = window.as_millis().div_ceil(PERIOD.as_millis()).max(4);
    PERIOD * periods as u32
}

/// Work for one message: this much CPU time of this thread.
#[inline]
pub fn work(micros: u32) {
    if micros > 0 {
        burn_for(Duration::from_micros(micros.into()), 50);
    }
}

/// One burst. It ends after an amount of CPU time of this thread, not of wall time: other programs
/// on the core do not make it smaller.
pub fn burn() {
    // About 2 us between two reads of the clock.
    burn_for(BURST, 1000);
}

fn burn_for(length: Duration, steps: usize) {
    let end = thread_time() + length;
    let mut state = black_box(1u64);
    while thread_time() < end {
        for _ in 0..steps {
            state = (state ^ (state >> 29)).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        }
    }
    black_box(state);
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
