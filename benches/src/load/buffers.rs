//! Memory for multishot receives, from which the kernel picks.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// The only group of provided buffers in a ring.
pub const GROUP: u16 = 0;

/// Buffers of equal length, in a ring from whose head the kernel takes. Leaked: the kernel may
/// write to them until this process ends.
pub struct Buffers {
    bytes: NonNull<u8>,
    ring: NonNull<BufRingEntry>,
    /// A power of two.
    count: u16,
    len: usize,
    tail: u16,
}

/// The kernel requires its ring of buffers to begin a page.
#[repr(align(4096))]
#[derive(Clone, Copy)]
struct Page(#[expect(dead_code, reason = "the kernel's")] [u8; 4096]);

impl Buffers {
    pub fn new(submitter: &Submitter<'_>, count: usize, len: usize) -> io::Result<Buffers> {
        let count = count.next_power_of_two().clamp(64, 1 << 15);
        let bytes = Box::leak(vec![0u8; count * len].into_boxed_slice());
        let pages = (count * size_of::<BufRingEntry>()).div_ceil(size_of::<Page>());
        let pages = Box::leak(vec![Page([0; 4096]); pages].into_boxed_slice());
        let ring: NonNull<BufRingEntry> = NonNull::from(pages).cast();
        let count = count as u16;
        // SAFETY: the pages are leaked, and have room for as many entries.
        unsafe {
            submitter.register_buf_ring_with_flags(ring.as_ptr() as u64, count, GROUP, 0)?;
        }
        let bytes = NonNull::from(bytes).cast();
        let mut buffers = Buffers { bytes, ring, count, len, tail: 0 };
        (0..count).for_each(|id| buffers.provide(id));
        Ok(buffers)
    }

    /// Gives the kernel a buffer that it does not have.
    pub fn provide(&mut self, id: u16) {
        let place = usize::from(self.tail % self.count);
        // SAFETY: within the pages, and not read by the kernel: it has fewer than `count` buffers.
        let entry = unsafe { self.ring.add(place).as_mut() };
        entry.set_addr(self.at(id).as_ptr() as u64);
        entry.set_len(self.len as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: within the pages; the kernel reads it as an atomic.
        let tail = unsafe { &*BufRingEntry::tail(self.ring.as_ptr()).cast::<AtomicU16>() };
        // Release: the kernel, which reads it with acquire, sees the entry.
        tail.store(self.tail, Ordering::Release);
    }

    /// The first `len` bytes of a buffer that the kernel has given back.
    pub fn filled(&self, id: u16, len: usize) -> &[u8] {
        assert!(id < self.count && len <= self.len, "the kernel fills our buffers only");
        // SAFETY: the bytes are in this buffer, and its receive has completed.
        unsafe { std::slice::from_raw_parts(self.at(id).as_ptr(), len) }
    }

    fn at(&self, id: u16) -> NonNull<u8> {
        // SAFETY: one of these buffers.
        unsafe { self.bytes.add(usize::from(id) * self.len) }
    }
}
