//! Memory that the kernel chooses from when it receives.
//!
//! The worker's [`Pool`] is handed to the kernel as a ring of provided buffers
//! (io_uring_register(2), `IORING_REGISTER_PBUF_RING`). From Linux 6.15 on it consumes each buffer
//! piece by piece (`IOU_PBUF_RING_INC`), so that a short message does not use up a long buffer.
//! Only the order of completions says where a piece lies, and older kernels make mistakes in that
//! order.

use std::{
    io,
    ptr::{self, NonNull},
};

use io_uring::{IoUring, cqueue, types::BufRingEntry};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
#[cfg(not(test))]
use rustix::system::uname;

#[cfg(test)]
use super::faults;
use crate::{
    loom::global::{AtomicU16, Ordering},
    reactor::{Doorbell, Gauge, Lease, MAX_BUFFERS, Pool},
};

/// The one group of buffers in a ring.
pub(super) const GROUP: u16 = 0;

/// `IOU_PBUF_RING_INC`.
const INCREMENTAL: u16 = 2;

/// Buffers that are consumed in pieces: large ones.
const LARGE: usize = 64 << 10;
/// Buffers that are consumed whole.
const SMALL: usize = 8 << 10;
/// Entries of the ring: a power of two, with room for all of a pool.
const ENTRIES: u16 = (MAX_BUFFERS as u16).next_power_of_two();

/// Leases of a worker may hold so many bytes before its sockets' shares get smaller than their own
/// caps; each may leave unread this part of what is left.
const HELD: usize = 8 << 20;
const SHARE: usize = 8;

/// How many buffers the kernel has at first. It uses them in turn, so that few stay in the
/// caches; each time that they do not suffice, there are twice as many.
const FIRST_LARGE: usize = 4;
const FIRST_SMALL: usize = 32;

pub(super) struct Provided {
    ring: NonNull<BufRingEntry>,
    tail: u16,
    /// As many may be the kernel's.
    limit: usize,
    incremental: bool,
    pool: Pool,
}

// SAFETY: a mapping of its own, and a pool, both of which go with the value.
unsafe impl Send for Provided {}

impl Provided {
    /// Registers memory with `ring`, whose thread this is. It stays registered until the
    /// ring is closed.
    pub(super) fn new(
        ring: &IoUring,
        incremental: bool,
        doorbell: &'static Doorbell,
    ) -> io::Result<Self> {
        let (size, limit) = if incremental { (LARGE, FIRST_LARGE) } else { (SMALL, FIRST_SMALL) };
        let pool = Pool::new(MAX_BUFFERS, size, doorbell)?;
        let mapping = map(ENTRIES)?;
        let flags = if incremental { INCREMENTAL } else { 0 };
        // SAFETY: the mapping outlives the ring: it is unmapped when no operation is left.
        let registered = unsafe {
            ring.submitter().register_buf_ring_with_flags(
                mapping.as_ptr() as u64,
                ENTRIES,
                GROUP,
                flags,
            )
        };
        let mut this = Self { ring: mapping, tail: 0, limit, incremental, pool };
        registered?;
        this.provide();
        Ok(this)
    }

    /// Gives the kernel what has come back.
    pub(super) fn provide(&mut self) {
        let Self { ring, tail, limit, pool, .. } = self;
        let before = *tail;
        pool.reclaim(*limit, |id, memory, size| {
            let place = *tail & (ENTRIES - 1);
            // SAFETY: within the mapping, and not the kernel's: it has at most as many
            // entries as there are buffers.
            let entry = unsafe { ring.add(usize::from(place)).as_mut() };
            entry.set_addr(memory as u64);
            entry.set_len(size as u32);
            entry.set_bid(id);
            *tail = tail.wrapping_add(1);
        });
        if *tail != before {
            // SAFETY: the kernel reads the tail of the mapping as an atomic.
            let shared = unsafe { &*BufRingEntry::tail(ring.as_ptr()).cast::<AtomicU16>() };
            // Release: the kernel sees the entries.
            shared.store(*tail, Ordering::Release);
        }
    }

    /// Before the worker sleeps: if the kernel has no buffer, the first that comes back wakes the
    /// worker, so that receives need not fail first.
    pub(super) fn before_sleep(&mut self) {
        if self.pool.is_filling() {
            return self.pool.set_starved(false);
        }
        self.pool.set_starved(true);
        // Once more: it may have come back just before.
        self.provide();
    }

    /// A receive found no buffer.
    pub(super) fn grow(&mut self) {
        self.limit = (2 * self.limit).min(MAX_BUFFERS);
    }

    /// What a completion brought, if it brought anything.
    pub(super) fn received(&mut self, completion: &cqueue::Entry) -> Option<Lease> {
        let id = cqueue::buffer_select(completion.flags())?;
        let len = usize::try_from(completion.result()).unwrap_or(0);
        let last = !(self.incremental && cqueue::buffer_more(completion.flags()));
        // A buffer can come with no bytes: at the end of a stream, or with an error. Without the flag
        // the kernel is done with it all the same, and forgets it.
        if len == 0 {
            if last {
                // SAFETY: the kernel says that it is done with the buffer.
                unsafe { self.pool.finish(id) };
            }
            return None;
        }
        // SAFETY: the kernel says that it wrote them, and, without the flag, that it is
        // done with the buffer.
        Some(unsafe { self.pool.lend_or_copy(id, len, last) })
    }

    /// How many bytes a socket may leave unread: with many that do so, all stop at about the same,
    /// and something is left for the others.
    pub(super) fn share(&self) -> usize {
        HELD.saturating_sub(self.pool.held()) / SHARE
    }

    /// How many buffers the kernel was given.
    #[cfg(test)]
    pub(super) fn tail(&self) -> u16 {
        self.tail
    }

    pub(super) fn gauge(&self) -> Gauge {
        self.pool.gauge()
    }
}

impl Drop for Provided {
    fn drop(&mut self) {
        // SAFETY: its owner drops it when no operation is in flight.
        let _ = unsafe { munmap(self.ring.as_ptr().cast(), mapping_len(ENTRIES)) };
    }
}

fn mapping_len(entries: u16) -> usize {
    usize::from(entries) * size_of::<BufRingEntry>()
}

/// Whether the kernel consumes buffers in pieces, and tells of these in order.
pub(super) fn are_incremental(ring: &IoUring) -> bool {
    #[cfg(test)]
    let keeps_order = faults::release().is_none_or(keeps_order);
    #[cfg(not(test))]
    let keeps_order = uname().release().to_str().is_ok_and(keeps_order);
    keeps_order && has_pieces(ring)
}

/// Whether a kernel queues completions in the order in which buffers were filled. Pieces came with
/// 6.12. From then on, the completion that ends a receive could come behind later ones of other
/// receives, up to "io_uring: ensure deferred completions are flushed for multishot"
/// (687b2bae0eff), in 6.15. A program cannot see whether an older kernel has that fix.
fn keeps_order(release: &str) -> bool {
    let mut parts = release.split('.');
    let mut number = || parts.next()?.parse::<u32>().ok();
    // What cannot be read is old.
    number().zip(number()) >= Some((6, 15)) && !release.starts_with("6.15.0-rc")
}

fn has_pieces(ring: &IoUring) -> bool {
    let Ok(mapping) = map(1) else { return false };
    let submitter = ring.submitter();
    // SAFETY: the mapping is there until it is unregistered.
    let registered = unsafe {
        submitter.register_buf_ring_with_flags(mapping.as_ptr() as u64, 1, GROUP, INCREMENTAL)
    };
    let incremental = registered.is_ok() && submitter.unregister_buf_ring(GROUP).is_ok();
    // SAFETY: nobody uses it.
    let _ = unsafe { munmap(mapping.as_ptr().cast(), mapping_len(1)) };
    incremental
}

/// Whole pages, as the kernel wants them; not inherited by a child (S9).
fn map(entries: u16) -> io::Result<NonNull<BufRingEntry>> {
    let len = mapping_len(entries);
    // SAFETY: a new mapping at a place of the kernel's choice.
    unsafe {
        let map = mmap_anonymous(
            ptr::null_mut(),
            len,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE,
        )?;
        if let Err(error) = madvise(map, len, Advice::LinuxDontFork) {
            let _ = munmap(map, len);
            return Err(error.into());
        }
        NonNull::new(map.cast()).ok_or_else(|| io::Error::other("a mapping at address 0"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_trusted_from_6_15_on() {
        let trusted =
            ["6.15.0", "6.15.0-29-generic", "6.15.2", "6.18.44-fc-v657", "6.20.1", "7.0.0-rc1"];
        let others = [
            "6.12.0",
            "6.12.28",
            "6.13.12",
            "6.14.6",
            "6.14.0-37-generic",
            "6.15.0-rc3",
            "6.9.1",
            "5.19.0",
            "2.6.78",
            "",
            ".",
            "6",
            "6.",
            "6.x",
            "v6.18.0",
            "-6.18.0",
            "6.99999999999.1",
        ];
        assert_eq!(trusted.map(keeps_order), [true; 6]);
        assert_eq!(others.map(keeps_order), [false; 17]);
    }
}
