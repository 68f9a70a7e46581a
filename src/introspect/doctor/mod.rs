//! What is wrong with a program: findings from two checkups a short time apart.
//!
//! Each rule is a function over the two checkups, and over what was recorded between them. So a rule reads
//! nothing of the runtime, and a test can give it any state.

mod blocked;
mod checkup;
mod finding;
mod resources;
mod workers;

use std::{thread, time::Duration};

pub use self::{
    checkup::{Checkup, Limits},
    finding::{Finding, FindingKind, Severity, findings_to_json},
};
use crate::runtime::{self, Handle};

/// Looks at all runtimes of the process twice, and says what is wrong.
///
/// Meanwhile this thread waits for `pause`, 100 ms to some seconds: what lasts less is not found. The [flight
/// recorder](crate::Handle::record) is on during that time. It works while every worker is stuck, if it is
/// called on a thread that is no worker.
///
/// What is found is listed at [`FindingKind`]; the most severe come first. If it is more than hints, the recording of a
/// runtime whose recorder was on is written to the file that [`Builder::record_to`](crate::Builder::record_to) names.
///
/// asyncio: has none. `python -m asyncio pstree` shows cycles.
///
/// ```
/// use std::time::Duration;
///
/// let runtime = ringloop::Runtime::new().unwrap();
/// let findings = ringloop::introspect::doctor(Duration::from_millis(100));
/// for finding in &findings {
///     println!("{finding}");
/// }
/// # drop(runtime);
/// ```
pub fn doctor(pause: Duration) -> Vec<Finding> {
    examine(&runtime::all_runtimes(), pause)
}

/// The same for some of the runtimes.
pub(super) fn examine(handles: &[Handle], pause: Duration) -> Vec<Finding> {
    let before = Checkup::of(handles);
    let begun: Vec<&Handle> = handles
        .iter()
        .filter(|handle| !handle.is_recording())
        .inspect(|handle| handle.record(true))
        .collect();
    thread::sleep(pause);
    let mut after = Checkup::of(handles);
    after.recordings = handles.iter().map(|handle| (handle.number(), handle.recording())).collect();
    begun.into_iter().for_each(|handle| handle.record(false));
    let found = findings(&before, &after);
    if found.iter().any(|finding| finding.severity > Severity::Info) {
        // Where the recorder was on before, there may be a file for it.
        handles.iter().for_each(Handle::alarm_of_doctor);
    }
    found
}

/// What two checkups of one process show.
///
/// ```
/// use ringloop::introspect::{Checkup, findings};
///
/// let (before, after) = (Checkup::take(), Checkup::take());
/// println!("{} findings", findings(&before, &after).len());
/// ```
pub fn findings(before: &Checkup, after: &Checkup) -> Vec<Finding> {
    let mut found = Vec::new();
    for pair in checkup::pairs(before, after) {
        workers::held(&pair, &mut found);
        workers::starved(&pair, &mut found);
        workers::unfair(&pair, &mut found);
        workers::saturated(&pair, &mut found);
        blocked::cycles(&pair, &mut found);
        blocked::handed(&pair, &mut found);
        blocked::leaks(&pair, &mut found);
        blocked::full_queues(&pair, &mut found);
        blocked::cancelled(&pair, &mut found);
        resources::ring(&pair, &mut found);
        resources::fallback(&pair, &mut found);
    }
    workers::saturated_pools(before, after, &mut found);
    resources::limits(after, &mut found);
    resources::accepts(before, after, &mut found);
    resources::clock(before, after, &mut found);
    // Stable: those of one kind stay together.
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    found
}
