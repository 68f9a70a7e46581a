//! Timers: one file per question, generic over [`crate::peers::Peer`].

mod arm_cancel;
mod concurrent;
mod timeout_ready;

use crate::harness::Spec;
use crate::peers::dispatch;
use crate::sample::Sample;

/// Runs the case in this process.
pub fn run(spec: &Spec) -> Result<Sample, String> {
    match spec.case.name {
        "timers_100k" => dispatch(&concurrent::Concurrent, spec),
        "timer_arm_cancel" => dispatch(&arm_cancel::ArmCancel, spec),
        "timeout_ready" => dispatch(&timeout_ready::TimeoutReady, spec),
        other => Err(format!("timers has no case {other:?}")),
    }
}
