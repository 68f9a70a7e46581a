//! A finding.

use std::fmt;

use crate::{error::TaskId, introspect::json::Json};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// It is worth knowing; nothing is wrong.
    Info,
    /// Something is slow, or may go wrong.
    Warning,
    /// Something stands still.
    Critical,
}

impl Severity {
    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FindingKind {
    /// One poll keeps a worker from its other tasks.
    HeldWorker,
    /// A task could run, and no worker polls it.
    Starved,
    /// Tasks wait for each other in a circle.
    Deadlock,
    /// A task waits for a lock that it holds itself, in a branch that is not polled.
    Futurelock,
    /// Nothing is left that could wake a task.
    Leak,
    /// Tasks wait for room in a queue from which nothing is taken.
    FullQueue,
    /// Blocking jobs wait for a thread, and there will be no more threads.
    SaturatedLane,
    /// Connections wait to be accepted, and the kernel drops further ones.
    AcceptQueue,
    /// One task takes most of the workers' time while others wait.
    UnfairCpu,
    /// A limit of the process or of a ring is near.
    Limit,
    /// The machine was suspended: timers that were due fire at once.
    ClockJump,
    /// The runtime does not use io_uring.
    Fallback,
    /// A task was asked to end, and does not.
    StuckCancel,
}

impl FindingKind {
    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HeldWorker => "held_worker",
            Self::Starved => "starved",
            Self::Deadlock => "deadlock",
            Self::Futurelock => "futurelock",
            Self::Leak => "leak",
            Self::FullQueue => "full_queue",
            Self::SaturatedLane => "saturated_lane",
            Self::AcceptQueue => "accept_queue",
            Self::UnfairCpu => "unfair_cpu",
            Self::Limit => "limit",
            Self::ClockJump => "clock_jump",
            Self::Fallback => "fallback",
            Self::StuckCancel => "stuck_cancel",
        }
    }
}

/// One thing that is wrong. Its text has what, the evidence, and the fix.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What kind of thing.
    pub kind: FindingKind,
    /// What is wrong, in a sentence.
    pub what: String,
    /// What shows it, a line each: tasks with their names and places.
    pub evidence: Vec<String>,
    /// The tasks that it is about.
    pub tasks: Vec<TaskId>,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.severity.as_str(), self.what)?;
        for line in &self.evidence {
            writeln!(f, "    {line}")?;
        }
        write!(f, "    fix: {}", self.fix)
    }
}

/// Findings as JSON: one line, `{"findings":[..]}`, with the names in a fixed order.
///
/// ```
/// assert_eq!(ringloop::introspect::findings_to_json(&[]), r#"{"findings":[]}"#);
/// ```
pub fn findings_to_json(findings: &[Finding]) -> String {
    let mut json = Json::default();
    json.object(|json| {
        json.list("findings", findings, |json, finding| {
            json.text("severity", Some(finding.severity.as_str()));
            json.text("kind", Some(finding.kind.as_str()));
            json.text("what", Some(&finding.what));
            json.items("evidence", &finding.evidence, |json, line| json.string(line));
            json.items("tasks", &finding.tasks, |json, task| json.raw(task));
            json.text("fix", Some(&finding.fix));
        });
    });
    json.out
}
