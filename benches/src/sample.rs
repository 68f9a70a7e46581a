//! What one run of one peer found, and its form on the pipe between processes.

use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;

/// The figures of one measured window. Fields that a case does not give stay `None`.
#[derive(Clone, Default, Debug, PartialEq)]
pub struct Sample {
    pub ns_per_op: Option<f64>,
    pub cpu_ns_per_op: Option<f64>,
    pub switches_per_op: Option<f64>,
    pub peak_rss_bytes: Option<f64>,
    pub bytes_per_op: Option<f64>,
    pub p50_ns: Option<f64>,
    pub p99_ns: Option<f64>,
    /// The part of `ns_per_op` that is the case's own CPU work, measured alone.
    pub work_ns_per_op: Option<f64>,
    /// Cores that the load generator itself kept busy.
    pub client_cores: Option<f64>,
    /// How late the load generator of an open loop sent, 99th percentile.
    pub client_late_ns: Option<f64>,
    /// Cores that other programs kept busy meanwhile; the harness adds it.
    pub cores_of_others: Option<f64>,
}

impl Sample {
    /// Time, CPU time and context switches over a number of operations.
    pub fn per_operation(operations: u64, wall: Duration, cpu_ns: u64, switches: u64) -> Sample {
        let each = |total: f64| Some(total / operations.max(1) as f64);
        Sample {
            ns_per_op: each(wall.as_nanos() as f64),
            cpu_ns_per_op: each(cpu_ns as f64),
            switches_per_op: each(switches as f64),
            ..Sample::default()
        }
    }

    /// Adds the median and the 99th percentile of `latencies` (nanoseconds).
    pub fn with_latencies(mut self, latencies: &Histogram<u64>) -> Sample {
        if !latencies.is_empty() {
            self.p50_ns = Some(latencies.value_at_quantile(0.5) as f64);
            self.p99_ns = Some(latencies.value_at_quantile(0.99) as f64);
        }
        self
    }

    /// The fields by name, in the order of the JSON report.
    pub fn fields(&self) -> [(&'static str, Option<f64>); 11] {
        [
            ("ns_per_op", self.ns_per_op),
            ("cpu_ns_per_op", self.cpu_ns_per_op),
            ("switches_per_op", self.switches_per_op),
            ("peak_rss_bytes", self.peak_rss_bytes),
            ("bytes_per_op", self.bytes_per_op),
            ("p50_ns", self.p50_ns),
            ("p99_ns", self.p99_ns),
            ("work_ns_per_op", self.work_ns_per_op),
            ("client_cores", self.client_cores),
            ("client_late_ns", self.client_late_ns),
            ("cores_of_others", self.cores_of_others),
        ]
    }

    /// One line, read back by [`Sample::decode`].
    pub fn encode(&self) -> String {
        let mut line = String::from("sample");
        for (name, value) in self.fields() {
            if let Some(value) = value {
                write!(line, " {name}={value}").expect("a String takes any text");
            }
        }
        line
    }

    /// Finds and reads the line of [`Sample::encode`] in a child's output.
    pub fn decode(output: &str) -> Option<Sample> {
        let line = output.lines().find_map(|line| line.strip_prefix("sample "))?;
        let mut sample = Sample::default();
        for pair in line.split_whitespace() {
            let (name, value) = pair.split_once('=')?;
            let value = Some(value.parse().ok()?);
            match name {
                "ns_per_op" => sample.ns_per_op = value,
                "cpu_ns_per_op" => sample.cpu_ns_per_op = value,
                "switches_per_op" => sample.switches_per_op = value,
                "peak_rss_bytes" => sample.peak_rss_bytes = value,
                "bytes_per_op" => sample.bytes_per_op = value,
                "p50_ns" => sample.p50_ns = value,
                "p99_ns" => sample.p99_ns = value,
                "work_ns_per_op" => sample.work_ns_per_op = value,
                "client_cores" => sample.client_cores = value,
                "client_late_ns" => sample.client_late_ns = value,
                "cores_of_others" => sample.cores_of_others = value,
                _ => return None,
            }
        }
        Some(sample)
    }
}

/// A histogram of nanoseconds up to a minute, exact to three digits.
pub fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_survives_the_pipe() {
        let sample = Sample { ns_per_op: Some(12.5), p99_ns: Some(3e9), ..Sample::default() };
        let output = format!("noise\n{}\n", sample.encode());
        assert_eq!(Sample::decode(&output), Some(sample));
        assert_eq!(Sample::decode("noise"), None);
    }
}
