//! A worker's ring: one of the kernel's, or a model's.

use std::{io, mem::MaybeUninit};

use io_uring::{IoUring, cqueue, opcode, squeue};

use super::{
    entry::{self, Submission},
    ring::{Ring, Wait},
};
use crate::loom;

/// Outside of models there is one kind, and no choice is made at run time.
#[allow(clippy::large_enum_variant, reason = "the other is a model's")]
pub(super) enum AnyRing {
    Kernel(Ring),
    /// Of a model: it knows polls, receives and cancels.
    #[allow(dead_code, reason = "models make it, and nobody else can")]
    Modelled(loom::ring::Ring),
}

impl AnyRing {
    /// See [`Ring::start`].
    pub(super) fn start(&mut self) -> io::Result<()> {
        match self {
            Self::Kernel(ring) => ring.start(),
            Self::Modelled(_) => Ok(()),
        }
    }

    /// See [`Ring::stop`].
    pub(super) fn stop(&mut self) {
        match self {
            Self::Kernel(ring) => ring.stop(),
            Self::Modelled(_) => {}
        }
    }

    /// The instance with which memory is registered; a model has none.
    pub(super) fn io_uring(&self) -> Option<&IoUring> {
        match self {
            Self::Kernel(ring) => Some(ring.io_uring()),
            Self::Modelled(_) => None,
        }
    }

    /// See [`Ring::submitted`].
    pub(super) fn submitted(&self) -> u64 {
        match self {
            Self::Kernel(ring) => ring.submitted(),
            Self::Modelled(_) => 0,
        }
    }

    /// See [`Ring::push`].
    ///
    /// # Safety
    ///
    /// As there.
    #[inline]
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry) {
        match self {
            // SAFETY: the caller's promise.
            Self::Kernel(ring) => unsafe { ring.push(entry) },
            Self::Modelled(ring) => {
                let entry = Submission::from(entry);
                match entry.opcode() {
                    opcode::PollAdd::CODE => ring.poll(entry.user_data(), entry.len()),
                    // Either ends with the next message.
                    opcode::Recv::CODE | opcode::Fsync::CODE => ring.receive(entry.user_data()),
                    opcode::AsyncCancel2::CODE => ring.cancel(entry.addr(), entry.op_flags()),
                    opcode => unimplemented!("operation {opcode} in a model"),
                }
            }
        }
    }

    /// See [`Ring::has_work`].
    #[inline]
    pub(super) fn has_work(&mut self) -> bool {
        match self {
            Self::Kernel(ring) => ring.has_work(),
            Self::Modelled(ring) => ring.has_work(),
        }
    }

    /// See [`Ring::is_at_rest`].
    #[inline]
    pub(super) fn is_at_rest(&mut self) -> bool {
        match self {
            Self::Kernel(ring) => ring.is_at_rest(),
            Self::Modelled(ring) => !ring.has_work(),
        }
    }

    /// See [`Ring::enter`].
    #[inline]
    pub(super) fn enter(&mut self, wait: Wait) -> io::Result<()> {
        match self {
            Self::Kernel(ring) => ring.enter(wait),
            Self::Modelled(ring) => {
                ring.enter(wait != Wait::No);
                Ok(())
            }
        }
    }

    /// See [`Ring::completions`].
    #[inline]
    pub(super) fn completions<'a>(
        &mut self,
        batch: &'a mut [MaybeUninit<cqueue::Entry>],
    ) -> &'a mut [cqueue::Entry] {
        match self {
            Self::Kernel(ring) => ring.completions(batch),
            Self::Modelled(ring) => entry::fill(batch, || {
                let (user_data, result, flags) = ring.completion()?;
                Some(entry::completion(user_data, result, flags))
            }),
        }
    }

    /// See [`Ring::has_lost`].
    #[inline]
    pub(super) fn has_lost(&self) -> bool {
        match self {
            Self::Kernel(ring) => ring.has_lost(),
            Self::Modelled(_) => false,
        }
    }
}
