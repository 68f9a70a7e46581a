//! Waking a worker that sleeps in the kernel.
//!
//! A doorbell lies in memory that is never freed, so that a waker may ring it at any
//! time (S12). Its eventfd lives as long as its worker: ringers pass a [`Gate`], and
//! the last to leave a closed one closes the descriptor. So a late ring neither
//! writes to a reused descriptor nor waits. A forked child, which may have closed what it
//! inherited, does neither: the number may be that of another file there.

use std::os::fd::{IntoRawFd, OwnedFd, RawFd};

use crate::{
    loom::{
        atomic::{AtomicI32, Ordering},
        eventfd, yield_now,
    },
    util::{fork, gate::Gate},
};

/// No descriptor.
const NONE: RawFd = -1;

pub(crate) struct Doorbell {
    gate: Gate,
    /// Valid while the gate is open or somebody is inside, in the process that opened it.
    fd: AtomicI32,
    process: fork::Owner,
}

impl Doorbell {
    pub(crate) fn new() -> Self {
        Self { gate: Gate::new(), fd: AtomicI32::new(NONE), process: fork::Owner::nobody() }
    }

    /// Puts it into service. `fd` is an eventfd.
    pub(crate) fn open(&self, fd: OwnedFd) {
        self.open_raw(fd.into_raw_fd());
    }

    /// Puts it into service without a descriptor: its worker never sleeps in the kernel.
    #[cfg(test)]
    pub(crate) fn open_without_descriptor(&self) {
        self.open_raw(NONE);
    }

    /// The same by number: the descriptor is the doorbell's from here on.
    pub(crate) fn open_raw(&self, fd: RawFd) {
        // A ringer of the earlier life may still be inside, or close that life's
        // descriptor: a few instructions, during which `fd` is not ours to overwrite.
        while !self.gate.is_closed() {
            yield_now();
        }
        self.process.claim();
        // Relaxed: `open` releases it to the threads that pass the gate.
        self.fd.store(fd, Ordering::Relaxed);
        let opened = self.gate.open();
        assert!(opened, "a doorbell has one owner");
    }

    /// Wakes the worker, if there still is one.
    pub(crate) fn ring(&self) {
        let ring = || {
            if self.process.is_this_process() && self.raw() != NONE {
                // SAFETY: inside the gate it stays open.
                unsafe { eventfd::ring(self.raw()) };
            }
        };
        self.gate.pass(ring, || self.close_fd());
    }

    /// Ends it. The worker does not sleep any more.
    pub(crate) fn close(&self) {
        self.gate.close(|| self.close_fd());
    }

    fn raw(&self) -> RawFd {
        // Relaxed: ordered by the gate.
        self.fd.load(Ordering::Relaxed)
    }

    fn close_fd(&self) {
        if self.process.is_this_process() && self.raw() != NONE {
            // SAFETY: the gate runs this clean-up on exactly one thread.
            unsafe { eventfd::close(self.raw()) };
        }
    }
}

impl std::fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doorbell").field("fd", &self.raw()).finish()
    }
}
