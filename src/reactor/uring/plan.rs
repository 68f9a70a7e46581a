//! What of io_uring works here: found out once, before any worker starts.
//!
//! The newest form is tried first. Kernels refuse what they do not know (EINVAL),
//! sandboxes refuse the call (ENOSYS, EPERM), limits refuse the memory (ENOMEM): each has
//! its next step, and the last is epoll.

use std::io;

use io_uring::{Probe, opcode};
use rustix::io::Errno;

use super::{
    provided,
    ring::{OPCODES, Plan, Ring, Wait},
};

/// Entries of the submission queue, the largest first: what a worker may queue in one
/// tick without a call in between. As a plain user, 256 cost 28 KiB of locked memory.
const ENTRIES: [u32; 3] = [256, 64, 16];

/// What was found.
#[derive(Debug, Clone)]
pub(crate) struct Features {
    pub(crate) plan: Plan,
    /// Why it is less than could be.
    pub(crate) shortfall: Option<String>,
}

/// Finds out how rings can be made for `workers` workers.
///
/// # Errors
///
/// Why they can not, and what to do about it.
pub(crate) fn plan(workers: usize, defer_taskrun: bool) -> Result<Features, String> {
    let mut shortfall = None;
    for entries in ENTRIES {
        match plan_of(entries, workers, defer_taskrun) {
            Ok(plan) => return Ok(Features { plan, shortfall }),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NOMEM) => {
                shortfall = Some(format!(
                    "{workers} rings of {entries} entries exceed the limit of locked memory: \
                     raise it (ulimit -l, LimitMEMLOCK=)"
                ));
            }
            Err(error) => return Err(explain(&error)),
        }
    }
    Err(shortfall.unwrap_or_default())
}

fn plan_of(entries: u32, workers: usize, defer_taskrun: bool) -> io::Result<Plan> {
    let mut last = None;
    let mut plans = vec![(true, true), (true, false), (false, true), (false, false)];
    plans.retain(|(defer, _)| defer_taskrun || !defer);
    for (defer_taskrun, no_sqarray) in plans {
        let plan = Plan { entries, defer_taskrun, no_sqarray, incremental: false };
        match try_out(plan, workers) {
            Ok(incremental) => return Ok(Plan { incremental, ..plan }),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.expect("there is a plan to try"))
}

/// Makes as many rings as there will be, and runs an operation on one of them. Says
/// whether provided buffers can be consumed in pieces.
fn try_out(plan: Plan, workers: usize) -> io::Result<bool> {
    // All at once: what they lock is counted together.
    let _others = (1..workers).map(|_| Ring::new(plan)).collect::<io::Result<Vec<_>>>()?;
    let mut ring = Ring::started(plan)?;
    let params = ring.io_uring().params();
    if !(params.is_feature_ext_arg() && params.is_feature_nodrop()) {
        return Err(Errno::INVAL.into());
    }
    let mut probe = Probe::new();
    ring.io_uring().submitter().register_probe(&mut probe)?;
    if !OPCODES.iter().all(|&opcode| probe.is_supported(opcode)) {
        return Err(Errno::INVAL.into());
    }
    // SAFETY: it points nowhere.
    unsafe { ring.push(opcode::Nop::new().build()) };
    ring.enter(Wait::UpTo(std::time::Duration::from_secs(1)))?;
    let mut batch = [std::mem::MaybeUninit::uninit()];
    match ring.completions(&mut batch) {
        [done] if done.result() == 0 => Ok(provided::are_incremental(ring.io_uring())),
        _ => Err(io::Error::other("a NOP did not complete")),
    }
}

fn explain(error: &io::Error) -> String {
    let hint = match Errno::from_io_error(error) {
        Some(Errno::PERM | Errno::ACCESS) => {
            ": allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile \
             of the container, and see the sysctl kernel.io_uring_disabled"
        }
        Some(Errno::NOSYS) => {
            ": the kernel is built without it, or the sandbox hides io_uring_setup, \
             io_uring_enter or io_uring_register"
        }
        Some(Errno::INVAL) => ": it needs Linux 6.1 or later",
        Some(Errno::MFILE | Errno::NFILE) => ": it needs descriptors: see ulimit -n",
        _ => "",
    };
    format!("io_uring_setup or a first operation failed: {error}{hint}")
}
