//! One io_uring(7) instance: its set-up, and the one system call that drives it.
//!
//! `enter` is called here and not by the library, whose registered ring descriptor
//! lasts only as long as a borrow, and whose `submit` asks for no events.

use std::{
    collections::VecDeque,
    ffi::c_void,
    io, mem,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
    time::Duration,
};

use io_uring::{IoUring, cqueue, opcode, register::Restriction, squeue};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    io_uring::{
        IoringEnterFlags, IoringRegisterOp, io_uring_enter, io_uring_enter_arg,
        io_uring_getevents_arg, io_uring_register, io_uring_rsrc_update,
    },
};

#[cfg(test)]
use super::faults::{self, Faults};

/// `IORING_ENTER_NO_IOWAIT`: a sleeping worker does not count as waiting for a disk.
const NO_IOWAIT: IoringEnterFlags = IoringEnterFlags::from_bits_retain(1 << 7);

/// How long to wait before the next try, when the kernel is short of something.
const SHORTAGE: Duration = Duration::from_millis(1);

/// How rings are made: found once, the same for all workers of a runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Entries of the submission queue.
    pub(crate) entries: u32,
    /// Completions are processed when their owner asks (faster), or at any return to user space
    /// (`COOP_TASKRUN`).
    pub(crate) defer_taskrun: bool,
    /// Without the array of indices (since Linux 6.6).
    pub(crate) no_sqarray: bool,
    /// Provided buffers can be consumed in pieces (since Linux 6.15).
    pub(crate) incremental: bool,
    /// The ring's flags show deferred work. Else each turn makes a call.
    pub(crate) shows_work: bool,
    /// Operations that not every kernel has.
    pub(crate) optional: Optional,
}

impl Plan {
    /// Entries of the completion queue.
    pub(crate) fn completions(self) -> u32 {
        self.entries * 4
    }
}

/// All that is ever submitted: without these there is no ring,
pub(super) const NEEDED: [u8; 5] = [
    opcode::Nop::CODE,
    opcode::PollAdd::CODE,
    opcode::AsyncCancel2::CODE,
    opcode::Send::CODE,
    opcode::Recv::CODE,
];
/// Operations that [own](super::owned) what they work on: without one of these its call is made on
/// the blocking pool.
pub(super) const OPTIONAL: &[u8] = &[
    opcode::Read::CODE,
    opcode::Write::CODE,
    opcode::Readv::CODE,
    opcode::Writev::CODE,
    opcode::Fsync::CODE,
    #[cfg(test)]
    opcode::OpenAt::CODE,
    #[cfg(test)]
    opcode::SendZc::CODE,
];

/// Which of [`OPTIONAL`] a ring can have, one bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Optional(u32);

impl Optional {
    /// Those that the kernel supports.
    pub(super) fn find(supports: impl Fn(u8) -> bool) -> Self {
        let bit = |(index, opcode): (usize, &u8)| u32::from(supports(*opcode)) << index;
        Self(OPTIONAL.iter().enumerate().map(bit).sum())
    }

    pub(super) fn has(self, opcode: u8) -> bool {
        self.iter().any(|supported| supported == opcode)
    }

    fn iter(self) -> impl Iterator<Item = u8> {
        let has = move |(index, _): &(usize, &u8)| self.0 >> index & 1 == 1;
        OPTIONAL.iter().enumerate().filter(has).map(|(_, opcode)| *opcode)
    }
}

/// All that is ever registered on an instance that is at work.
const REGISTER_OPS: [IoringRegisterOp; 5] = [
    IoringRegisterOp::RegisterEnableRings,
    IoringRegisterOp::RegisterRingFds,
    IoringRegisterOp::UnregisterRingFds,
    IoringRegisterOp::RegisterPbufRing,
    IoringRegisterOp::UnregisterPbufRing,
];

pub(super) struct Ring {
    ring: IoUring,
    /// The descriptor's number in the table of the thread that runs it.
    registered: Option<u32>,
    no_iowait: bool,
    /// See [`Plan::defer_taskrun`].
    defers: bool,
    /// See [`Plan::shows_work`].
    shows_work: bool,
    /// Entries that the full queue had no room for, in order.
    overflow: VecDeque<squeue::Entry>,
    /// The kernel has dropped a completion.
    has_lost: bool,
    /// Entries that the kernel has taken, ever.
    submitted: u64,
    #[cfg(test)]
    faults: Faults,
}

/// How long [`Ring::enter`] may sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    No,
    UpTo(Duration),
    Forever,
}

impl Wait {
    /// The same, and no longer than `limit`.
    pub(super) fn at_most(self, limit: Duration) -> Self {
        match self {
            Self::No => Self::No,
            Self::UpTo(wait) => Self::UpTo(wait.min(limit)),
            Self::Forever => Self::UpTo(limit),
        }
    }
}

impl Ring {
    /// An instance that a thread has yet to [start](Self::start), to be
    /// [restricted](Self::restrict) before that.
    pub(super) fn new(plan: Plan) -> io::Result<Self> {
        #[cfg(test)]
        let plan = faults::plan(plan);
        let ring = build(plan)?;
        let no_iowait = ring.params().is_feature_no_iowait();
        Ok(Self {
            ring,
            registered: None,
            no_iowait,
            defers: plan.defer_taskrun,
            shows_work: plan.shows_work,
            overflow: VecDeque::new(),
            has_lost: false,
            submitted: 0,
            #[cfg(test)]
            faults: Faults::installed(),
        })
    }

    /// Has the kernel refuse, from the start on, whatever this crate never asks for.
    /// `reads`: it reads files.
    pub(super) fn restrict(&self, optional: Optional) -> io::Result<()> {
        // A pool of kernel threads serves what cannot be done at once: files only.
        let mut workers = [2, 8];
        // Refused: then the kernel's own limits hold.
        let _ = self.ring.submitter().register_iowq_max_workers(&mut workers);
        let allowed = squeue::Flags::BUFFER_SELECT | squeue::Flags::SKIP_SUCCESS;
        let mut restrictions: Vec<Restriction> = NEEDED.map(Restriction::sqe_op).into();
        restrictions.extend(optional.iter().map(Restriction::sqe_op));
        restrictions.extend(REGISTER_OPS.map(|op| Restriction::register_op(op as u8)));
        restrictions.push(Restriction::sqe_flags_allowed(allowed.bits()));
        self.ring.submitter().register_restrictions(&mut restrictions)
    }

    /// Makes the calling thread the one that runs it, for good.
    pub(super) fn start(&mut self) -> io::Result<()> {
        self.ring.submitter().register_enable_rings()?;
        // An offset of -1: any free place.
        let fd = self.ring.as_raw_fd() as usize;
        let update = self.update_ring_fds(IoringRegisterOp::RegisterRingFds, u32::MAX, fd);
        // Refused: each call looks the descriptor up, which costs 50 ns.
        self.registered = update.ok();
        Ok(())
    }

    /// Undoes [`start`](Self::start) as far as that goes, on the same thread: a
    /// registered descriptor would keep the instance, and what is armed on it, alive.
    pub(super) fn stop(&mut self) {
        if let Some(index) = self.registered.take() {
            let _ = self.update_ring_fds(IoringRegisterOp::UnregisterRingFds, index, 0);
        }
    }

    /// Changes the thread's table of ring descriptors; returns the index in it. To take one
    /// out, `fd` has to be 0.
    fn update_ring_fds(&self, op: IoringRegisterOp, index: u32, fd: usize) -> Result<u32, Errno> {
        let mut update = io_uring_rsrc_update::default();
        update.offset = index;
        update.data = ptr::without_provenance_mut::<c_void>(fd).into();
        // SAFETY: the argument is of the operation's type and lives during the call.
        unsafe { io_uring_register(self.fd(), op, ptr::from_mut(&mut update).cast(), 1)? };
        Ok(update.offset)
    }

    pub(super) fn io_uring(&self) -> &IoUring {
        &self.ring
    }

    fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: open as long as `self.ring`.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }

    /// Queues an entry. Never fails: what does not fit waits.
    ///
    /// # Safety
    ///
    /// What the entry points to stays valid, and is nobody else's where the kernel
    /// writes, until the operation's terminal completion (S1).
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry) {
        #[cfg(test)]
        let entry = self.faults.submit(entry);
        if self.overflow.is_empty() {
            // SAFETY: the caller's promise.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
            // The queue is full: have the kernel take it. If it can not now, we wait.
            let queued = self.queued();
            let _ = self.call(queued, IoringEnterFlags::empty(), 0, None);
            // SAFETY: the caller's promise.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
        }
        self.overflow.push_back(entry);
    }

    /// Whether a call now would do something.
    pub(super) fn has_work(&mut self) -> bool {
        #[cfg(test)]
        if self.faults.holds() {
            return true;
        }
        if !self.shows_work {
            return true;
        }
        let sq = self.ring.submission();
        let flagged = sq.taskrun();
        #[cfg(test)]
        let flagged = flagged && !self.faults.is_mute();
        let queued = !sq.is_empty() || flagged || sq.cq_overflow();
        drop(sq);
        queued || !self.overflow.is_empty() || !self.ring.completion().is_empty()
    }

    /// Whether all that the kernel has done is reaped, and it does nothing by itself before
    /// the next [`enter`](Self::enter): what [`push`](Self::push) submits is never waited
    /// for, so that it only begins there.
    pub(super) fn is_at_rest(&mut self) -> bool {
        #[cfg(test)]
        if self.faults.holds() {
            return false;
        }
        self.defers && self.ring.completion().is_empty() && !self.ring.submission().cq_overflow()
    }

    /// Submits what is queued, and waits for a completion.
    ///
    /// A shortage in the kernel (of memory, of room for completions) is no error: what
    /// was not taken is still queued, for the next call.
    pub(super) fn enter(&mut self, wait: Wait) -> io::Result<()> {
        self.refill();
        let mut timeout = None;
        let min_complete = match wait {
            // What had no room goes in the next call, which must not be kept waiting.
            _ if !self.overflow.is_empty() => 0,
            // With a timeout of zero, to wait for one completion is a sleep of 15 us.
            Wait::No | Wait::UpTo(Duration::ZERO) => 0,
            Wait::UpTo(limit) => {
                timeout = Timespec::try_from(limit).ok();
                1
            }
            Wait::Forever => 1,
        };
        let queued = self.queued();
        match self.call(queued, IoringEnterFlags::GETEVENTS, min_complete, timeout) {
            // EBUSY: completions are to be reaped first. The others come and go.
            Err(Errno::BUSY | Errno::AGAIN | Errno::NOMEM | Errno::NOBUFS) => {
                self.make_do(wait);
                Ok(())
            }
            Ok(()) | Err(Errno::TIME | Errno::INTR) => Ok(()),
            // The kernel reports it once, and only by a call that submits nothing: the counter
            // shows it as well.
            Err(Errno::BADR) => {
                self.has_lost = true;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Instead of a call that the kernel refused: takes what is done, which may be what it
    /// is short of, and sleeps a little, but not past a completion.
    #[cold]
    fn make_do(&mut self, wait: Wait) {
        // A call that cannot submit does nothing else: one that has nothing to submit may.
        let taken = self.call(0, IoringEnterFlags::GETEVENTS, 0, None);
        // See `enter`: the kernel reports it once.
        self.has_lost |= taken == Err(Errno::BADR);
        let limit = match wait {
            Wait::No => return,
            Wait::UpTo(limit) => limit.min(SHORTAGE),
            Wait::Forever => SHORTAGE,
        };
        let limit = Timespec::try_from(limit).ok();
        let fd = self.fd();
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        // What can not be taken is no reason to wake up.
        let watched = if taken.is_ok() { &mut fds[..] } else { &mut [] };
        let _ = poll(watched, limit.as_ref());
    }

    /// Moves entries that had to wait into the queue.
    fn refill(&mut self) {
        while let Some(entry) = self.overflow.front() {
            // SAFETY: by the caller of `push`.
            if unsafe { self.ring.submission().push(entry) }.is_err() {
                return;
            }
            self.overflow.pop_front();
        }
    }

    /// Entries that the kernel has not taken.
    /// Entries that the kernel has taken, ever.
    pub(super) fn submitted(&self) -> u64 {
        self.submitted
    }

    fn queued(&mut self) -> u32 {
        self.ring.submission().len() as u32
    }

    /// io_uring_enter(2).
    fn call(
        &mut self,
        to_submit: u32,
        mut flags: IoringEnterFlags,
        min_complete: u32,
        timeout: Option<Timespec>,
    ) -> Result<(), Errno> {
        #[cfg(test)]
        let (to_submit, min_complete) = self.faults.call(to_submit, min_complete, &mut flags)?;
        let fd = match self.registered {
            Some(index) => {
                flags |= IoringEnterFlags::REGISTERED_RING;
                // SAFETY: not a descriptor but an index, which the flag says.
                unsafe { BorrowedFd::borrow_raw(index as i32) }
            }
            // SAFETY: open as long as `self.ring`.
            None => unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) },
        };
        if self.no_iowait {
            flags |= NO_IOWAIT;
        }
        let Some(timeout) = timeout else {
            // SAFETY: the entries are sound by the callers of `push`.
            let taken = unsafe { io_uring_enter(fd, to_submit, min_complete, flags) };
            return taken.map(|taken| self.submitted += u64::from(taken));
        };
        let arg = io_uring_getevents_arg {
            ts: ptr::from_ref(&timeout).cast_mut().cast::<c_void>().into(),
            ..io_uring_getevents_arg::default()
        };
        flags |= IoringEnterFlags::EXT_ARG;
        // SAFETY: as above; the argument lives during the call.
        let taken = unsafe { io_uring_enter_arg(fd, to_submit, min_complete, flags, Some(&arg)) };
        taken.map(|taken| self.submitted += u64::from(taken))
    }

    /// Takes completions, up to as many as `batch` has room for.
    pub(super) fn completions<'a>(
        &mut self,
        batch: &'a mut [mem::MaybeUninit<cqueue::Entry>],
    ) -> &'a mut [cqueue::Entry] {
        // The counter counts completions for which there was no memory, not those that wait for
        // room in the queue.
        #[cfg(test)]
        {
            let taken = self.faults.completions(&mut self.ring, batch);
            let lost = self.faults.lost(self.ring.completion().overflow());
            self.has_lost |= lost != 0;
            taken
        }
        #[cfg(not(test))]
        {
            let mut queue = self.ring.completion();
            self.has_lost |= queue.overflow() != 0;
            queue.fill(batch)
        }
    }

    /// Whether the kernel has dropped a completion, for lack of memory: the operation is over, and
    /// nobody will ever know which.
    pub(super) fn has_lost(&self) -> bool {
        self.has_lost
    }
}

fn build(plan: Plan) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.dontfork().setup_single_issuer().setup_taskrun_flag().setup_submit_all();
    builder.setup_cqsize(plan.completions()).setup_r_disabled();
    if plan.defer_taskrun {
        builder.setup_defer_taskrun();
    } else {
        builder.setup_coop_taskrun();
    }
    if plan.no_sqarray {
        builder.setup_no_sqarray();
    }
    builder.build(plan.entries)
}
