//! Leases with memory of their own, where a pool has none to spare, or where bytes may lie unread
//! for long: what is held does not keep a whole buffer of the pool.
//!
//! Each is one block of the heap: the count of its leases and its bytes, as many as there are.
//!
//! Invariants, cited below:
//! * H1 `Buffer::users` counts the leases of the block, and nobody else has it: the lease that
//!   takes the last count away frees it. The bytes are written before the first lease is made.
//! * H2 A buffer with the bit [`APART`](super::APART) is the head of such a block; buffers of pools have another.

use std::{
    io,
    mem::MaybeUninit,
    ptr::{self, NonNull},
    slice,
};

use super::{
    Lease,
    shared::{Buffer, Gauge},
};
use crate::loom::{
    alloc::{Layout, alloc, dealloc, handle_alloc_error},
    atomic::Ordering,
};

/// What a read without a pool's memory has room for.
const ROOM: usize = 16 << 10;

#[repr(C)]
struct Head {
    buffer: Buffer,
    /// Counts the leases with those of a pool.
    gauge: Gauge,
    layout: Layout,
}

/// The layout of a block of so many bytes, and where they begin.
fn layout(len: usize) -> (Layout, usize) {
    let bytes = Layout::array::<u8>(len).expect("bytes that are there already");
    Layout::new::<Head>().extend(bytes).expect("some bytes more")
}

/// Lends a copy of `bytes`, counted by `gauge`.
pub(super) fn copy(bytes: &[u8], gauge: &Gauge) -> Lease {
    if bytes.is_empty() {
        return Lease::empty();
    }
    let (layout, offset) = layout(bytes.len());
    // SAFETY: the layout is not empty.
    let block = unsafe { alloc(layout) };
    let Some(block) = NonNull::new(block) else { handle_alloc_error(layout) };
    gauge.count_apart(bytes.len());
    let head = Head { buffer: Buffer::apart(gauge.shared()), gauge: gauge.clone(), layout };
    // SAFETY: a new block with room for the head and, behind it, for the bytes.
    let at = unsafe {
        block.cast::<Head>().write(head);
        let at = block.add(offset);
        ptr::copy_nonoverlapping(bytes.as_ptr(), at.as_ptr(), bytes.len());
        at
    };
    // H1: `apart` counts this lease.
    Lease { bytes: at, len: bytes.len(), buffer: Some(block.cast()) }
}

/// Has `read` write into memory for a moment, and lends a copy of what it says it wrote.
pub(super) fn read(
    gauge: &Gauge,
    read: impl FnOnce(&mut [MaybeUninit<u8>]) -> io::Result<usize>,
) -> io::Result<Lease> {
    let mut room = [const { MaybeUninit::uninit() }; ROOM];
    let len = read(&mut room)?;
    assert!(len <= ROOM);
    // SAFETY: `read`, which is ours, wrote so many.
    let bytes = unsafe { slice::from_raw_parts(room.as_ptr().cast::<u8>(), len) };
    Ok(copy(bytes, gauge))
}

/// A lease of such a block was cut in two.
///
/// # Safety
///
/// H2, and the caller has a lease.
pub(super) unsafe fn count_another(buffer: NonNull<Buffer>) {
    // SAFETY: the caller's lease keeps it (H1).
    unsafe { buffer.cast::<Head>().as_ref() }.gauge.count_apart(0);
}

/// A lease of such a block goes.
///
/// # Safety
///
/// H2; the caller's lease is counted there, and does not use it again.
pub(super) unsafe fn leave(buffer: NonNull<Buffer>) {
    // SAFETY: the caller's lease keeps it, up to the count.
    let head = unsafe { buffer.cast::<Head>().as_ref() };
    head.gauge.uncount_apart();
    // Release: what we read comes before the end. Acquire: so does what the leases that ended
    // before us have read, if we are the last.
    if head.buffer.users.fetch_sub(1, Ordering::AcqRel) != 1 {
        return;
    }
    let block = buffer.cast::<Head>();
    // SAFETY: H1: the block is ours alone, made by `copy` with this layout.
    unsafe {
        let head = block.read();
        head.gauge.free_apart(head.layout.size() - layout(0).1);
        let layout = head.layout;
        drop(head);
        dealloc(block.as_ptr().cast(), layout);
    }
}
