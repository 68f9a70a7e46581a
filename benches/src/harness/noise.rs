//! What other programs did to the machine during a run.
//!
//! Figures that are taken beside a compiler are worthless, in wall time above all, and look like
//! any others. So each run reports how many cores were busy with something else (other programs,
//! the kernel's interrupts, and the time that a hypervisor took).

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::sample::Sample;
use crate::sys;

/// Cores busy with something else above which a run counts as disturbed.
pub const WORTH_A_WARNING: f64 = 0.1;

/// The counters at the beginning.
pub struct Noise {
    start: Instant,
    machine_s: f64,
    children_s: f64,
}

impl Noise {
    pub fn start() -> Noise {
        Noise {
            start: Instant::now(),
            machine_s: busy_seconds().unwrap_or(0.0),
            children_s: sys::children_seconds(),
        }
    }

    /// Cores that other programs kept busy on average since the start; all children must have been
    /// waited for. The machine's counters advance in steps of 10 ms, which limits the precision.
    pub fn cores_of_others(&self) -> f64 {
        let machine = busy_seconds().unwrap_or(0.0) - self.machine_s;
        let ours = sys::children_seconds() - self.children_s;
        ((machine - ours) / self.start.elapsed().as_secs_f64()).max(0.0)
    }
}

/// Time left to get figures without disturbance.
pub struct Patience {
    left: Duration,
}

impl Patience {
    pub fn new(left: Duration) -> Patience {
        Patience { left }
    }

    /// Runs until undisturbed or out of patience; the last result counts.
    pub fn insist(
        &mut self,
        mut run: impl FnMut() -> Result<Sample, String>,
    ) -> Result<Sample, String> {
        loop {
            let start = Instant::now();
            let sample = run()?;
            let disturbed = sample.cores_of_others.is_some_and(|cores| cores > WORTH_A_WARNING);
            if !disturbed || self.left.is_zero() {
                return Ok(sample);
            }
            while !self.left.saturating_sub(start.elapsed()).is_zero() {
                let noise = Noise::start();
                thread::sleep(Duration::from_millis(300));
                if noise.cores_of_others() <= WORTH_A_WARNING {
                    break;
                }
            }
            self.left = self.left.saturating_sub(start.elapsed());
        }
    }
}

/// Seconds that all cores together spent on anything but idling.
fn busy_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<f64> = stat
        .lines()
        .next()?
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal; the fields after these are part of user.
    let [user, nice, system, _idle, _iowait, irq, softirq, steal] = *ticks.first_chunk()?;
    Some((user + nice + system + irq + softirq + steal) / 100.0)
}
