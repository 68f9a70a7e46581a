//! Counters as text for Prometheus.

use std::fmt::Write as _;

use crate::runtime::{Histogram, Metrics};

impl Metrics {
    /// The counters in the text format of Prometheus (version 0.0.4), for a handler of your own: serve it as
    /// `text/plain; version=0.0.4`.
    ///
    /// All names begin with `ringloop_`. Times are in seconds, as is usual there.
    ///
    /// ```
    /// let runtime = ringloop::Runtime::new().unwrap();
    /// let text = runtime.metrics().to_prometheus();
    /// assert!(text.contains("# TYPE ringloop_live_tasks gauge\nringloop_live_tasks 0\n"));
    /// ```
    pub fn to_prometheus(&self) -> String {
        let mut text = Text(String::new());
        text.gauge("workers", "Workers of the runtime.", self.workers as u64);
        text.gauge("live_tasks", "Tasks that have not ended.", self.live_tasks);
        text.gauge("in_flight_operations", "Operations in the rings.", self.in_flight_operations);
        text.gauge(
            "registered_descriptors",
            "Descriptors that are reported on.",
            self.registered_descriptors,
        );
        text.gauge("armed_timers", "Timers that have not fired.", self.armed_timers);
        text.gauge("leases", "Leases of received bytes that are out.", self.leases);
        text.gauge("blocking_jobs", "Jobs of the blocking pool.", self.blocking_jobs);
        text.gauge(
            "blocking_threads",
            "Threads of the blocking pool.",
            self.blocking_threads as u64,
        );
        text.counter("leaked_operations", "Operations leaked at an end.", self.leaked_operations);
        text.counter("tasks_spawned", "Tasks ever spawned.", self.spawned);
        text.counter("polls", "Polls of tasks.", self.polls);
        text.counter("steals", "Times that tasks were taken from a queue.", self.steals);
        text.counter("parks", "Times that a worker went to sleep.", self.parks);
        text.counter("wakeups", "Times that a worker woke up.", self.wakeups);
        text.counter("rescues", "Times that work was taken from a held worker.", self.rescues);
        text.workers(self);
        text.lanes(self);
        text.histogram("poll_seconds", "Times of polls, a sample.", &self.poll_times);
        text.histogram(
            "schedule_delay_seconds",
            "Times from a wake-up to the poll, a sample.",
            &self.schedule_delays,
        );
        text.0
    }
}

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP ringloop_{name} {help}\n# TYPE ringloop_{name} {kind}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "gauge", help);
        let _ = writeln!(self.0, "ringloop_{name} {value}");
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(&format!("{name}_total"), "counter", help);
        let _ = writeln!(self.0, "ringloop_{name}_total {value}");
    }

    fn workers(&mut self, metrics: &Metrics) {
        self.head("worker_polls_total", "counter", "Polls of tasks by each worker.");
        for (index, worker) in metrics.per_worker.iter().enumerate() {
            let polls = worker.polls;
            let _ = writeln!(self.0, "ringloop_worker_polls_total{{worker=\"{index}\"}} {polls}");
        }
    }

    fn lanes(&mut self, metrics: &Metrics) {
        self.head("lane_queued", "gauge", "Blocking jobs that wait for a thread of the lane.");
        for lane in &metrics.lanes {
            let (name, queued) = (label(&lane.name), lane.queued);
            let _ = writeln!(self.0, "ringloop_lane_queued{{lane=\"{name}\"}} {queued}");
        }
        self.head("lane_busy", "gauge", "Threads of the lane that are at a job.");
        for lane in &metrics.lanes {
            let (name, busy) = (label(&lane.name), lane.busy);
            let _ = writeln!(self.0, "ringloop_lane_busy{{lane=\"{name}\"}} {busy}");
        }
    }

    fn histogram(&mut self, name: &str, help: &str, times: &Histogram) {
        self.head(name, "histogram", help);
        let mut below = 0;
        for (bound, count) in times.buckets() {
            below += count;
            let bound = match bound {
                Some(bound) => bound.as_secs_f64().to_string(),
                None => "+Inf".to_owned(),
            };
            let _ = writeln!(self.0, "ringloop_{name}_bucket{{le=\"{bound}\"}} {below}");
        }
        let _ = writeln!(self.0, "ringloop_{name}_sum {}", times.sum().as_secs_f64());
        let _ = writeln!(self.0, "ringloop_{name}_count {below}");
    }
}

/// The value of a label, escaped.
fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
