//! A task that burns CPU without yielding, beside the connections.

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// From one burst to the next, and how much CPU time each takes.
pub const PERIOD: Duration = Duration::from_millis(100);
pub const BURST: Duration = Duration::from_millis(20);

/// `window`, or somewhat more: whole periods and not too few of them, so that every run has as many
/// bursts.
pub fn whole_periods(window: Duration) -> Duration {
    let periods = window.as_millis().div_ceil(PERIOD.as_millis()).max(4);
    PERIOD * periods as u32
}

/// Work for one message, by so much CPU time of this thread.
#[inline]
pub fn work(micros: u32) {
    if micros > 0 {
        burn_for(Duration::from_micros(micros.into()), 50);
    }
}

/// One burst. It is over after so much CPU time of this thread, not so much time: what else runs on
/// the core makes it no smaller.
pub fn burn() {
    // About 2 us between looks at the clock.
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
