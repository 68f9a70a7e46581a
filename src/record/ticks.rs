//! The clock of events: cheaper than the system's, and converted when they are read.
//!
//! On x86-64 it is the processor's counter, where the kernel itself takes that for its clock: then all
//! cores count alike, at one rate. Elsewhere it is the machine's clock.

use std::fs;

use crate::{
    loom::global::{AtomicU8, Ordering},
    util::clock,
};

/// The file in which the kernel says which clock it trusts.
const SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

const UNKNOWN: u8 = 0;
const MACHINE: u8 = 1;
const COUNTER: u8 = 2;

static CHOSEN: AtomicU8 = AtomicU8::new(UNKNOWN);

/// Looks which clock there is. Called before the first event is written.
pub(super) fn choose() {
    // Relaxed: the choice is the same on every thread.
    if CHOSEN.load(Ordering::Relaxed) == UNKNOWN {
        let counts = cfg!(all(target_arch = "x86_64", not(miri)))
            && fs::read_to_string(SOURCE).is_ok_and(|source| source.trim() == "tsc");
        CHOSEN.store(if counts { COUNTER } else { MACHINE }, Ordering::Relaxed);
    }
}

/// The present time, in ticks.
#[inline]
pub(super) fn now() -> u64 {
    // Relaxed: as above.
    if CHOSEN.load(Ordering::Relaxed) == COUNTER { counter() } else { clock::machine() }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn counter() -> u64 {
    // SAFETY: every x86-64 processor has the instruction, and it reads nothing of the program's.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn counter() -> u64 {
    clock::machine()
}

/// One moment by both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) ticks: u64,
    /// By the machine's clock, in ns.
    pub(super) time: u64,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { ticks: now(), time: clock::machine() }
    }
}

/// Converts ticks to ns, by two moments.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    pub(super) begin: Moment,
    pub(super) end: Moment,
}

impl Scale {
    pub(super) fn time_of(self, ticks: u64) -> u64 {
        let Self { begin, end } = self;
        let whole = i128::from(end.ticks) - i128::from(begin.ticks);
        let time = i128::from(end.time) - i128::from(begin.time);
        let part = i128::from(ticks) - i128::from(begin.ticks);
        if whole <= 0 {
            return begin.time;
        }
        u64::try_from(i128::from(begin.time) + part * time / whole).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_converts_between_and_beyond_its_moments() {
        let begin = Moment { ticks: 1000, time: 50 };
        let scale = Scale { begin, end: Moment { ticks: 4000, time: 1050 } };
        assert_eq!(scale.time_of(1000), 50);
        assert_eq!(scale.time_of(2500), 550);
        assert_eq!(scale.time_of(4300), 1150);
        assert_eq!(scale.time_of(0), 0, "before the machine's start");
        assert_eq!(Scale { begin, end: begin }.time_of(2000), 50);
    }

    #[test]
    fn ticks_do_not_go_back() {
        choose();
        let first = now();
        assert!(now() >= first);
    }
}
