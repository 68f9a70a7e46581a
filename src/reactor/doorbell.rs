//! Waking a worker that sleeps in the kernel.
//!
//! A doorbell lies in memory that is never freed, so that a waker may ring it at any
//! time (S12). Its eventfd lives as long as its worker: ringers pass a [`Gate`], and
//! the last to leave a closed one closes the descriptor. So a late ring neither
//! writes to a reused descriptor nor waits.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use crate::{
    loom::atomic::{AtomicI32, Ordering},
    util::gate::Gate,
};

pub(crate) struct Doorbell {
    gate: Gate,
    /// Valid while the gate is open or somebody is inside.
    fd: AtomicI32,
}

impl Doorbell {
    pub(crate) fn new() -> Self {
        Self { gate: Gate::new(), fd: AtomicI32::new(-1) }
    }

    /// Puts it into service. `fd` is an eventfd.
    pub(crate) fn open(&self, fd: OwnedFd) -> BorrowedFd<'_> {
        let fd = fd.into_raw_fd();
        // A ringer of the earlier life may still be between its write and its leave:
        // a few instructions, during which `fd` is not ours to overwrite.
        while !self.gate.is_closed() {
            std::thread::yield_now();
        }
        // Relaxed: `open` releases it to those who pass the gate.
        self.fd.store(fd, Ordering::Relaxed);
        let opened = self.gate.open();
        assert!(opened, "a doorbell has one owner");
        // SAFETY: open until `close`, which ends the owner's use.
        unsafe { BorrowedFd::borrow_raw(fd) }
    }

    /// Wakes the worker, if there still is one.
    pub(crate) fn ring(&self) {
        self.gate.pass(
            || {
                let fd = self.raw();
                // SAFETY: inside the gate it stays open.
                let fd = unsafe { BorrowedFd::borrow_raw(fd) };
                // It cannot fail in a way that matters: the counter never fills, for
                // nobody lives to ring 2^64 times.
                let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
            },
            || self.close_fd(),
        );
    }

    /// Ends it. The worker does not sleep any more.
    pub(crate) fn close(&self) {
        if self.gate.close() {
            self.close_fd();
        }
    }

    fn raw(&self) -> RawFd {
        // Relaxed: ordered by the gate.
        self.fd.load(Ordering::Relaxed)
    }

    fn close_fd(&self) {
        // SAFETY: the gate told exactly one thread to clean up.
        drop(unsafe { OwnedFd::from_raw_fd(self.raw()) });
    }
}

impl std::fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doorbell").field("fd", &self.raw().as_raw_fd()).finish()
    }
}
