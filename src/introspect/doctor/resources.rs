//! Rules about limits, clocks and the kernel.

use std::time::Duration;

use super::{
    super::ListenerDump,
    checkup::{Checkup, Pair},
    finding::{Finding, FindingKind, Severity},
};

/// Less than that is the time between two readings.
const JUMP: Duration = Duration::from_millis(10);

/// Whether nine tenths are used.
fn is_near(used: u64, limit: u64) -> bool {
    limit > 0 && used >= limit - limit / 10
}

/// Limits of the process.
pub(super) fn limits(after: &Checkup, found: &mut Vec<Finding>) {
    let mut near = |used: Option<(u64, u64)>, what: &str, fix: &str| {
        let Some((used, limit)) = used.filter(|(used, limit)| is_near(*used, *limit)) else {
            return;
        };
        found.push(Finding {
            severity: Severity::Warning,
            kind: FindingKind::Limit,
            what: format!("{used} of {limit} {what} are used"),
            evidence: vec![format!("/proc/{}/limits", after.dump.process.pid)],
            tasks: Vec::new(),
            fix: fix.to_owned(),
        });
    };
    near(
        after.limits.descriptors,
        "descriptors",
        "raise the limit (`ulimit -n`, LimitNOFILE= of systemd), or close what is not needed",
    );
    near(
        after.limits.locked,
        "bytes of locked memory",
        "raise the limit (`ulimit -l`, LimitMEMLOCK= of systemd)",
    );
}

/// Listeners whose connections waited the whole time, while the kernel dropped others. The kernel counts those of all listeners
/// together.
pub(super) fn accepts(before: &Checkup, after: &Checkup, found: &mut Vec<Finding>) {
    let dropped = match (before.overflows, after.overflows) {
        (Some(then), Some(now)) => now.saturating_sub(then),
        _ => 0,
    };
    let waited = |now: &&ListenerDump| {
        let waits = |then: &ListenerDump| then.address == now.address && then.waiting > 0;
        now.waiting > 0 && before.listeners.iter().any(waits)
    };
    let full: Vec<_> = after.listeners.iter().filter(waited).collect();
    if dropped == 0 || full.is_empty() {
        return;
    }
    let line = |it: &&ListenerDump| format!("{}: {} connections wait", it.address, it.waiting);
    found.push(Finding {
        severity: Severity::Warning,
        kind: FindingKind::AcceptQueue,
        what: format!("{dropped} connections were dropped, since an accept queue was full"),
        evidence: full.iter().map(line).collect(),
        tasks: Vec::new(),
        fix: "look for the tasks that accept: they have ended, wait for something else, or are too few; spawn a task for each \
              connection; a longer backlog (`TcpListener::builder`, and the sysctl net.core.somaxconn) covers \
              peaks only"
            .to_owned(),
    });
}

/// Rings that are nearly full.
pub(super) fn ring(pair: &Pair<'_>, found: &mut Vec<Finding>) {
    let entries = u64::from(pair.after.backend.completion_entries);
    for worker in &pair.after.workers {
        if !is_near(worker.in_flight, entries) {
            continue;
        }
        found.push(Finding {
            severity: Severity::Warning,
            kind: FindingKind::Limit,
            what: format!(
                "worker {} has {} operations in its ring, whose completion queue has {entries} entries",
                worker.index, worker.in_flight,
            ),
            evidence: vec![format!("{} sockets are at home there", worker.homes)],
            tasks: Vec::new(),
            fix: "nothing is lost, but completions wait in the kernel: use more workers".to_owned(),
        });
    }
}

/// A backend that was not the first choice.
pub(super) fn fallback(pair: &Pair<'_>, found: &mut Vec<Finding>) {
    let Some(reason) = &pair.after.backend.fallback else { return };
    found.push(Finding {
        severity: Severity::Info,
        kind: FindingKind::Fallback,
        what: format!("runtime `{}` runs on {}", pair.after.name, pair.after.backend.backend),
        evidence: vec![reason.to_string()],
        tasks: Vec::new(),
        fix: "allow io_uring (see the sysctl kernel.io_uring_disabled, and the seccomp profile of the \
              container), or say `Backend::Epoll` if that is meant"
            .to_owned(),
    });
}

/// The machine was suspended between the checkups.
pub(super) fn clock(before: &Checkup, after: &Checkup, found: &mut Vec<Finding>) {
    let time = after.suspended.saturating_sub(before.suspended);
    if time < JUMP {
        return;
    }
    found.push(Finding {
        severity: Severity::Warning,
        kind: FindingKind::ClockJump,
        what: format!("the machine was suspended for {} ms", time.as_millis()),
        evidence: vec![format!(
            "CLOCK_BOOTTIME went on by {} ms more than CLOCK_MONOTONIC",
            time.as_millis()
        )],
        tasks: Vec::new(),
        fix: "timers wait by CLOCK_MONOTONIC, which stood still: peers may have given up meanwhile, so \
              that connections have to be made again"
            .to_owned(),
    });
}
