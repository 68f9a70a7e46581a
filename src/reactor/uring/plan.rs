//! What of io_uring works here: found out before any worker starts.
//!
//! 1. A small ring is run on the calling thread, as workers run theirs, under the same
//!    restrictions. Kernels refuse what they do not know (EINVAL): then an older form is tried.
//!    Sandboxes refuse a call (ENOSYS, EPERM): then there are no rings. Some sandboxes end the
//!    process for the call: a child process finds that out first, and then there are no rings
//!    either.
//! 2. The workers' rings are made; limits refuse their memory (ENOMEM): then smaller ones.
//!
//! These rings are kept, and used. Whether others could be made a moment later is unknown: all
//! processes of a user share a limit on locked memory, and the memory of a closed ring counts for
//! some 30 ms more. Where that may be the memory that is missing, this waits for it.

use std::{fmt, io, mem::MaybeUninit, os::fd::AsRawFd, thread, time::Duration};

use io_uring::{Probe, opcode, types::Fd};
use rustix::{
    event::{EventfdFlags, PollFlags, eventfd},
    io::Errno,
    process::{Resource, getrlimit},
};

#[cfg(test)]
use super::faults;
use super::{
    any::AnyRing,
    provided,
    ring::{NEEDED, Optional, Plan, Ring, Wait},
    sandbox,
};

/// Entries of the submission queue, the largest first: what a worker may queue in one
/// tick without a call in between. Of a plain user, 256 cost 36 KiB of locked memory.
const ENTRIES: [u32; 3] = [256, 64, 16];

/// ... of the ring that is tried out: none costs less memory.
const FEW: u32 = 16;

/// How often to look whether memory has come back, and how long to wait in between.
const LOOKS: u32 = 12;
const PAUSE: Duration = Duration::from_millis(10);

/// What memory is counted in, at least.
const PAGE: u32 = 4096;

/// How long a NOP may take.
const NOP_LIMIT: Duration = Duration::from_secs(1);

const SETUP: &str = "io_uring_setup";
const ENTER: &str = "io_uring_enter";
const REGISTER: &str = "io_uring_register";

/// What was found.
pub(crate) struct Features {
    pub(crate) plan: Plan,
    /// One for each worker.
    pub(crate) rings: Vec<TriedRing>,
    /// Why it is less than could be.
    pub(crate) shortfall: Option<String>,
}

/// Which forms of a ring a runtime may use, if the kernel has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// See [`Plan::defer_taskrun`].
    pub(crate) defer_taskrun: bool,
    /// See [`Plan::incremental`].
    pub(crate) incremental: bool,
}

impl Allowed {
    /// The best plan.
    pub(crate) const ALL: Self = Self { defer_taskrun: true, incremental: true };
}

/// A ring that works, once its worker's thread starts it.
pub(crate) struct TriedRing {
    pub(super) ring: AnyRing,
    /// Provided buffers can be consumed in pieces.
    pub(super) incremental: bool,
    /// Operations that it can have.
    pub(super) optional: Optional,
}

/// Why there are no rings.
#[derive(Debug)]
pub(crate) struct Refusal {
    what: String,
    error: io::Error,
    advice: String,
    /// A seccomp filter refuses it, as those of containers do by default.
    by_filter: bool,
}

impl Refusal {
    /// Whether a seccomp filter refuses it: that was set up on purpose, and need not be reported.
    pub(crate) fn is_by_filter(&self) -> bool {
        self.by_filter
    }

    /// What failed and what to do about it, and the error.
    pub(crate) fn into_parts(self) -> (String, io::Error) {
        (format!("{}{}", self.what, self.advice), self.error)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}{}", self.what, self.error, self.advice)
    }
}

/// A call that failed.
struct Failed {
    call: &'static str,
    error: io::Error,
}

impl Failed {
    fn at(call: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self { call, error }
    }

    fn errno(&self) -> Option<Errno> {
        Errno::from_io_error(&self.error)
    }

    /// Whether smaller rings, or fewer, could be had.
    fn is_shortage(&self) -> bool {
        self.call == SETUP && self.errno() == Some(Errno::NOMEM)
    }

    /// For `rings` rings of `entries` entries.
    fn explain(self, rings: usize, entries: u32) -> Refusal {
        let Self { call, error } = &self;
        if self.is_shortage() {
            let rings = if rings == 1 { "a ring".to_owned() } else { format!("{rings} rings") };
            let what = format!("{call} has no memory for {rings} of {entries} entries");
            let advice = match lockable() {
                Some(bytes) => format!(
                    "; the limit of locked memory is {bytes} bytes for all processes of this \
                     user: raise it (ulimit -l, LimitMEMLOCK=)"
                ),
                None => "; see the memory limit of the control group".to_owned(),
            };
            return Refusal { what, error: self.error, advice, by_filter: false };
        }
        let what = match error.kind() {
            io::ErrorKind::Unsupported if self.errno().is_none() => {
                "the kernel's io_uring lacks operations".to_owned()
            }
            _ => format!("{call} failed"),
        };
        let advice = match self.errno() {
            Some(Errno::PERM | Errno::ACCESS) => {
                "; allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp \
                 profile of the container, and see the sysctl kernel.io_uring_disabled"
            }
            Some(Errno::NOSYS) => {
                "; the kernel is built without io_uring, or a sandbox hides io_uring_setup, \
                 io_uring_enter or io_uring_register"
            }
            Some(Errno::MFILE) => "; a worker needs 3 descriptors: raise their limit (ulimit -n)",
            Some(Errno::NFILE) => "; the system is out of descriptors: see the sysctl fs.file-max",
            Some(Errno::INVAL) | None => "; it needs Linux 6.1 or later",
            Some(_) => "",
        };
        let refused = matches!(self.errno(), Some(Errno::PERM | Errno::ACCESS | Errno::NOSYS));
        let by_filter = refused && sandbox::is_filtered();
        Refusal { what, error: self.error, advice: advice.to_owned(), by_filter }
    }
}

/// Finds out how rings can be made for `workers` workers, and makes them.
///
/// # Errors
///
/// Why they can not, and what to do about it.
pub(crate) fn plan(workers: usize, allowed: Allowed) -> Result<Features, Refusal> {
    if sandbox::kills() {
        return Err(Refusal {
            what: "a seccomp filter ends processes that use io_uring".to_owned(),
            error: io::ErrorKind::PermissionDenied.into(),
            advice: "; allow io_uring_setup, io_uring_enter and io_uring_register in it".to_owned(),
            by_filter: true,
        });
    }
    let form = newest_form(allowed).map_err(|failed| failed.explain(workers, FEW))?;
    let mut shortfall = None;
    for entries in ENTRIES {
        let plan = Plan { entries, ..form };
        match make(plan, workers) {
            Ok(rings) => {
                let shortfall = shortfall.map(|refusal: Refusal| refusal.to_string());
                return Ok(Features { plan, rings, shortfall });
            }
            Err(failed) if failed.is_shortage() => {
                shortfall = Some(failed.explain(workers, entries));
            }
            Err(failed) => return Err(failed.explain(workers, entries)),
        }
    }
    Err(shortfall.expect("a size was tried"))
}

/// Tries out a ring of each form, and returns the first that works.
fn newest_form(allowed: Allowed) -> Result<Plan, Failed> {
    let mut last = None;
    let mut forms = vec![(true, true), (true, false), (false, true), (false, false)];
    forms.retain(|(defer, _)| allowed.defer_taskrun || !defer);
    for (defer_taskrun, no_sqarray) in forms {
        let plan = Plan {
            entries: FEW,
            defer_taskrun,
            no_sqarray,
            incremental: false,
            shows_work: true,
            optional: Optional::default(),
        };
        let ring = make_one(plan, &mut Patience::for_rings(plan, 1));
        match ring.and_then(|ring| try_out(ring, plan)) {
            Ok(found) => {
                return Ok(Plan { incremental: found.incremental && allowed.incremental, ..found });
            }
            Err(failed) if failed.errno() == Some(Errno::INVAL) => last = Some(failed),
            Err(failed) => return Err(failed),
        }
    }
    Err(last.expect("there is a form to try"))
}

/// Does on this thread what a worker will do on its own. Completes the plan.
fn try_out(mut ring: Ring, plan: Plan) -> Result<Plan, Failed> {
    let params = ring.io_uring().params();
    let mut known = params.is_feature_ext_arg() && params.is_feature_nodrop();
    let mut probe = Probe::new();
    // Only now: it is not among what workers may do.
    ring.io_uring().submitter().register_probe(&mut probe).map_err(Failed::at(REGISTER))?;
    known &= NEEDED.iter().all(|&opcode| supports(&probe, opcode));
    if !known {
        return Err(Failed::at(REGISTER)(io::ErrorKind::Unsupported.into()));
    }
    let optional = Optional::find(|opcode| supports(&probe, opcode));
    ring.restrict(optional).map_err(Failed::at(REGISTER))?;
    ring.start().map_err(Failed::at(REGISTER))?;
    let done = do_nothing(&mut ring).map_err(Failed::at(ENTER));
    let shows_work = done.and_then(|()| shows_work(&mut ring));
    let found = shows_work.map(|shows_work| {
        let incremental = provided::are_incremental(ring.io_uring());
        Plan { incremental, shows_work, optional, ..plan }
    });
    ring.stop();
    found
}

fn supports(probe: &Probe, opcode: u8) -> bool {
    #[cfg(test)]
    if faults::lacks(opcode) {
        return false;
    }
    probe.is_supported(opcode)
}

/// Whether the ring shows that the kernel has deferred work, or does its work by itself: a busy
/// worker calls it only then.
fn shows_work(ring: &mut Ring) -> Result<bool, Failed> {
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
    let event = event.map_err(io::Error::from).map_err(Failed::at("eventfd"))?;
    let poll = opcode::PollAdd::new(Fd(event.as_raw_fd()), PollFlags::IN.bits().into());
    // SAFETY: it points nowhere.
    unsafe { ring.push(poll.build()) };
    ring.enter(Wait::No).map_err(Failed::at(ENTER))?;
    let rung = rustix::io::write(&event, &1u64.to_ne_bytes());
    rung.map_err(io::Error::from).map_err(Failed::at("eventfd"))?;
    let shows_work = ring.has_work();
    complete_one(ring).map_err(Failed::at(ENTER))?;
    Ok(shows_work)
}

fn do_nothing(ring: &mut Ring) -> io::Result<()> {
    // SAFETY: it points nowhere.
    unsafe { ring.push(opcode::Nop::new().build()) };
    complete_one(ring)
}

fn complete_one(ring: &mut Ring) -> io::Result<()> {
    ring.enter(Wait::UpTo(NOP_LIMIT))?;
    match ring.completions(&mut [MaybeUninit::uninit()]) {
        [done] if done.result() >= 0 => Ok(()),
        [done] => Err(io::Error::from_raw_os_error(-done.result())),
        _ => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// The rings of `workers` workers: all at once, since what they lock is counted together.
fn make(plan: Plan, workers: usize) -> Result<Vec<TriedRing>, Failed> {
    let mut patience = Patience::for_rings(plan, workers);
    let make = |_| {
        let ring = make_one(plan, &mut patience)?;
        ring.restrict(plan.optional).map_err(Failed::at(REGISTER))?;
        let ring = AnyRing::Kernel(ring);
        Ok(TriedRing { ring, incremental: plan.incremental, optional: plan.optional })
    };
    (0..workers).map(make).collect()
}

/// A ring that nothing keeps from anything yet.
fn make_one(plan: Plan, patience: &mut Patience) -> Result<Ring, Failed> {
    loop {
        match Ring::new(plan).map_err(Failed::at(SETUP)) {
            // What was made before stays: closed, it would be the next to be waited for.
            Err(failed) if failed.is_shortage() && patience.wait() => {}
            made => return made,
        }
    }
}

/// Waits for memory that closed rings had locked, for a limited time.
struct Patience {
    looks: u32,
}

impl Patience {
    fn for_rings(plan: Plan, rings: usize) -> Self {
        // A mapping of submissions; one of completions, with a head. If they cannot fit, no
        // waiting helps.
        let mappings = [plan.entries * 64, plan.completions() * 16 + 64];
        let bytes: u32 = mappings.map(|bytes| bytes.next_multiple_of(PAGE)).iter().sum();
        let hope = lockable().is_some_and(|limit| u64::from(bytes) * rings as u64 <= limit);
        Self { looks: if hope { LOOKS } else { 0 } }
    }

    /// `false`: it has been long enough.
    fn wait(&mut self) -> bool {
        let Some(left) = self.looks.checked_sub(1) else { return false };
        self.looks = left;
        thread::sleep(PAUSE);
        true
    }
}

/// How many bytes this user may lock, if there is a limit.
fn lockable() -> Option<u64> {
    getrlimit(Resource::Memlock).current
}
