//! The result of one run of one peer, and its form on the pipe between processes.

use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;

/// A sample has the same fields by name and as a list.
macro_rules! sample {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// The figures of one measured window. Fields that a case does not give stay `None`.
        #[derive(Clone, Default, Debug, PartialEq)]
        pub struct Sample {
            $($(#[$doc])* pub $field: Option<f64>,)*
        }

        impl Sample {
            /// The names of the fields, in the order of the JSON report.
            pub const FIELDS: &[&str] = &[$(stringify!($field)),*];

            /// The field with that name.
            pub fn get(&self, name: &str) -> Option<f64> {
                match name {
                    $(stringify!($field) => self.$field,)*
                    _ => None,
                }
            }

            /// Fills the field with that name, if there is one.
            fn set(&mut self, name: &str, value: f64) -> Option<()> {
                match name {
                    $(stringify!($field) => self.$field = Some(value),)*
                    _ => return None,
                }
                Some(())
            }
        }
    };
}

sample! {
    ns_per_op,
    cpu_ns_per_op,
    switches_per_op,
    peak_rss_bytes,
    bytes_per_op,
    p50_ns,
    p99_ns,
    /// The part of `ns_per_op` that is the case's own CPU work, measured alone.
    work_ns_per_op,
    /// Cores that the load generator itself kept busy.
    client_cores,
    /// How late the load generator of an open loop sent, 99th percentile.
    client_late_ns,
    /// Cores that other programs kept busy meanwhile; the harness adds it.
    cores_of_others,
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

    /// One line, read back by [`Sample::decode`].
    pub fn encode(&self) -> String {
        let mut line = String::from("sample");
        for name in Self::FIELDS {
            if let Some(value) = self.get(name) {
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
            sample.set(name, value.parse().ok()?)?;
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
