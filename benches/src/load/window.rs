//! The time and switches that the server and the client used while operations were counted.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::sample::Sample;
use crate::sys;

/// Counters at the beginning of the measured window.
pub struct Window {
    pub start: Instant,
    server: u32,
    cpu_ns: u64,
    switches: u64,
    client_cpu: Duration,
}

impl Window {
    pub fn open(server: u32) -> Result<Window, String> {
        Ok(Window {
            switches: sys::switches_of(server).map_err(unreadable)?,
            cpu_ns: sys::cpu_ns_of(server).map_err(unreadable)?,
            client_cpu: own_cpu(),
            server,
            start: Instant::now(),
        })
    }

    /// The figures per operation.
    pub fn close(self, operations: u64) -> Result<Sample, String> {
        let wall = self.start.elapsed();
        let cpu_ns = sys::cpu_ns_of(self.server).map_err(unreadable)? - self.cpu_ns;
        let client_cpu = own_cpu() - self.client_cpu;
        let switches = sys::switches_of(self.server).map_err(unreadable)?;
        let peak = sys::peak_rss_of(self.server).map_err(unreadable)?;
        if operations == 0 {
            return Err("nothing came back within the window".into());
        }
        let sample =
            Sample::per_operation(operations, wall, cpu_ns, switches.saturating_sub(self.switches));
        Ok(Sample {
            peak_rss_bytes: Some(peak as f64),
            client_cores: Some(client_cpu.as_secs_f64() / wall.as_secs_f64()),
            ..sample
        })
    }
}

fn unreadable(error: std::io::Error) -> String {
    format!("cannot read the counters of the server: {error}")
}

fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
