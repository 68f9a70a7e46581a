//! Read memory of one worker, lent out in pieces.
//!
//! One mapping is cut into buffers. A *filler* (the kernel, that consumes provided
//! buffers incrementally, or `recv(2)`) fills a buffer from its front to its end; each
//! piece that holds data is lent as a [`Lease`], which any thread may drop at any time.
//! The life of a buffer, as its owner sees it:
//!
//! 1. **Free**: the owner has it for itself. At the start all are.
//! 2. **Filling**: [`reclaim`](Pool::reclaim) or [`spare`](Pool::spare) gave it to a
//!    filler, [`lend`](Pool::lend) and [`commit`](Pool::commit) lend what was written.
//! 3. **Out**: the filler is done with it, leases are left.
//! 4. The last lease sets the buffer's bit in the word of returns; the owner collects the
//!    bits, and the buffer is free. Without leases at the end of 2 it is free at once.
//!
//! Where few buffers are left, leases have memory of their own ([`apart`]).
//!
//! Invariants, cited below:
//! * B1 `Buffer::users` counts the users of its bytes: one for each lease, and many for the filler,
//!   which begins with `FILLER` and gives one of its own to each lease, so that lending changes no
//!   count. Only a user that is counted may count another, and a free buffer is the owner's: so the
//!   user that takes the last count away has the buffer alone. A lease then sets the bit, the owner
//!   (which counts for the filler) keeps the buffer.
//! * B2 Leases of a buffer are disjoint, not empty, and end where `filled` says; the
//!   filler writes behind that only. `filled` goes back to 0 when nobody else is counted.
//!   So no byte is read that was not lent (S5), none is written while it is, and there
//!   are far fewer leases than `FILLER`.
//! * B3 A bit in the word of returns is set by the user that has the buffer alone, and taken by the
//!   owner. When the pool ends it gives back all buffers that are free, with `ENDED`; from there on
//!   bits are only set. The one RMW after which none is missing unmaps the memory; the one after
//!   which `UNWATCHED` is there as well frees `Shared`. So `Shared` is valid for a user of a
//!   buffer, for the pool, and for its watcher, up to the RMW by which it says that this is over,
//!   and not an instruction longer.
//! * B4 `STARVED` is in the same word (S10). Of "the owner says that it starves" and "the
//!   last lease returns" one comes first: then the owner sees the bit when it looks after
//!   that, or the lease sees the flag, takes it back and rings.

mod apart;
mod shared;

#[cfg(test)]
mod tests;

use std::{fmt, io, iter, mem, mem::MaybeUninit, ops::Deref, ptr::NonNull, slice, sync::Arc};

pub(crate) use self::shared::Gauge;

use self::shared::{APART, Buffer, STARVED, Shared, Watch};
use super::Doorbell;
use crate::{buf::IoBuf, loom::atomic::Ordering};

/// What fits into the word of returns beside the flags.
pub(crate) const MAX_BUFFERS: usize = 61;
/// So that counts, and the whole mapping, are far from any limit.
pub(crate) const MAX_SIZE: usize = 16 << 20;
/// Longer pieces are not copied as long as there are some buffers left.
const COPY: usize = 16 << 10;
/// With less room than this a buffer is not worth a `recv`.
const MIN_SPARE: usize = 2048;

/// Read memory of one worker; only the owner's thread has it.
///
/// It is dropped when no filler writes any more: what cannot wait for that leaks it (S1).
pub(crate) struct Pool {
    watch: Arc<Watch>,
    size: usize,
    /// Bits of the buffers that are free.
    free: u64,
    /// Bits of the buffers that a filler has.
    filling: u64,
    /// How many of both there are.
    left: usize,
    /// How much of each is lent.
    filled: Box<[usize]>,
    /// The one that `spare` shows.
    current: Option<u16>,
}

// SAFETY: memory that belongs to no thread; `Shared` is for all threads (B1, B3).
unsafe impl Send for Pool {}

impl Pool {
    /// `count` buffers of `size` bytes, all of them free. Memory that is not used costs
    /// nothing but addresses.
    pub(crate) fn new(count: usize, size: usize, doorbell: &'static Doorbell) -> io::Result<Self> {
        assert!((1..=MAX_BUFFERS).contains(&count), "{count} buffers");
        assert!((1..=MAX_SIZE).contains(&size), "buffers of {size} bytes");
        let watch = Arc::new(Watch::new(count, size, doorbell)?);
        let free = watch.all();
        let filled = vec![0; count].into();
        Ok(Self { watch, size, free, filling: 0, left: count, filled, current: None })
    }

    /// A gauge, by which other threads see how many leases there are.
    pub(crate) fn gauge(&self) -> Gauge {
        Gauge::new(self.watch.clone())
    }

    /// Hands free buffers to a filler, until it has `limit`: their numbers, and where they
    /// are. It may write there until [`lend`](Self::lend) or [`finish`](Self::finish) says
    /// that it is done.
    pub(crate) fn reclaim(&mut self, limit: usize, mut f: impl FnMut(u16, *mut u8, usize)) {
        let wanted = limit.saturating_sub(self.filling.count_ones() as usize);
        if wanted == 0 {
            return;
        }
        self.collect();
        for id in ids(self.free).take(wanted) {
            self.start(id);
            f(id, self.at(id, 0).as_ptr(), self.size);
        }
    }

    /// The next `len` bytes of buffer `id` hold data, and with `last` its filler is done.
    ///
    /// # Safety
    ///
    /// The filler that `id` was handed to wrote these bytes, and writes to none of them
    /// again; with `last`, to none of the buffer.
    pub(crate) unsafe fn lend(&mut self, id: u16, len: usize, last: bool) -> Lease {
        let start = self.filled[usize::from(id)];
        assert!(self.filling & 1 << id != 0, "buffer {id} is with no filler");
        assert!(len <= self.size - start, "{len} bytes at {start} of buffer {id}");
        if len == 0 {
            if last {
                self.take_from_filler(id);
            }
            return Lease::empty();
        }
        self.filled[usize::from(id)] = start + len;
        let buffer = &self.watch.buffers[usize::from(id)];
        // B1, B2. Relaxed: `own` is ours, and the rest of it is taken from a count of which the
        // lease has one; the code that gives the lease to another thread publishes the bytes.
        let own = buffer.own.load(Ordering::Relaxed);
        if last {
            self.filling &= !buffer.bit;
            self.left -= 1;
            buffer.own.store(0, Ordering::Relaxed);
            buffer.users.fetch_sub(own - 1, Ordering::Relaxed);
        } else {
            buffer.own.store(own - 1, Ordering::Relaxed);
        }
        Lease { bytes: self.at(id, start), len, buffer: Some(NonNull::from(&**buffer)) }
    }

    /// The filler of buffer `id` is done with it, and wrote no more.
    ///
    /// # Safety
    ///
    /// It does not write there again.
    pub(crate) unsafe fn finish(&mut self, id: u16) {
        self.take_from_filler(id);
    }

    fn take_from_filler(&mut self, id: u16) {
        let buffer = &self.watch.buffers[usize::from(id)];
        assert!(self.filling & buffer.bit != 0, "buffer {id} is with no filler");
        self.filling &= !buffer.bit;
        self.left -= 1;
        // Relaxed: ours.
        let own = buffer.own.swap(0, Ordering::Relaxed);
        // B1. Acquire: what leases did comes before the next use. Release: what was done
        // here comes before what the last lease leads to.
        if buffer.users.fetch_sub(own, Ordering::AcqRel) == own {
            self.freed(id);
        }
    }

    /// Where `recv` may write: the rest of a buffer, with room for a useful piece. `None`:
    /// all are lent out.
    pub(crate) fn spare(&mut self) -> Option<&mut [MaybeUninit<u8>]> {
        let id = match self.current {
            Some(id) => {
                self.rewind(id);
                id
            }
            None => {
                if self.free == 0 {
                    self.collect();
                }
                // The lowest: what was used lately is used again.
                let id = ids(self.free).next()?;
                self.start(id);
                self.current = Some(id);
                id
            }
        };
        let filled = self.filled[usize::from(id)];
        let rest = self.at(id, filled).cast().as_ptr();
        // SAFETY: within the mapping; B2: behind `filled` there are no leases, and we are
        // the filler, for as long as the pool is borrowed.
        Some(unsafe { slice::from_raw_parts_mut(rest, self.size - filled) })
    }

    /// Lends the first `len` bytes of the latest [`spare`](Self::spare).
    ///
    /// # Safety
    ///
    /// They have been written.
    pub(crate) unsafe fn commit(&mut self, len: usize) -> Lease {
        let id = self.current.expect("bytes were written to a buffer");
        let room = self.size - self.filled[usize::from(id)];
        let last = len != 0 && room.saturating_sub(len) < MIN_SPARE;
        if last {
            self.current = None;
        }
        // SAFETY: the caller's promise; only `spare` gives out this buffer's memory, and
        // not again.
        unsafe { self.lend(id, len, last) }
    }

    /// Has `read` write into the memory that is spare, and lends what it says it wrote.
    /// When all is lent out, the lease has memory of its own: a reader that holds a lease
    /// for long does not stop the others.
    pub(crate) fn read_or_apart(
        &mut self,
        read: impl FnOnce(&mut [MaybeUninit<u8>]) -> io::Result<usize>,
    ) -> io::Result<Lease> {
        match self.read(read) {
            Ok(result) => result,
            Err(read) => apart::read(&self.gauge(), read),
        }
    }

    /// A gauge for leases with memory of their own where there is no pool.
    ///
    /// # Errors
    ///
    /// There is no memory.
    pub(crate) fn gauge_without_memory(doorbell: &'static Doorbell) -> io::Result<Gauge> {
        // A pool that ends at once: its memory goes, and what counts stays.
        Ok(Self::new(1, 1, doorbell)?.gauge())
    }

    /// The same, with memory of the lease's own, counted by the gauge of a pool.
    pub(crate) fn read_apart(
        gauge: &Gauge,
        read: impl FnOnce(&mut [MaybeUninit<u8>]) -> io::Result<usize>,
    ) -> io::Result<Lease> {
        apart::read(gauge, read)
    }

    /// [`lend`](Self::lend), but where few buffers are left, it is a copy with memory of its own:
    /// readers that leave bytes unread for long do not hold the buffers of the others.
    ///
    /// # Safety
    ///
    /// As `lend`.
    pub(crate) unsafe fn lend_or_copy(&mut self, id: u16, len: usize, last: bool) -> Lease {
        // SAFETY: the caller's promise.
        let lease = unsafe { self.lend(id, len, last) };
        let (all, left) = (self.filled.len(), self.left);
        if 2 * left >= all || len > COPY && 8 * left >= all {
            return lease;
        }
        apart::copy(&lease, &self.gauge())
    }

    /// How many bytes leases hold, at most: those of buffers that are out, and those apart.
    pub(crate) fn held(&self) -> usize {
        (self.filled.len() - self.left) * self.size + self.watch.apart_bytes()
    }

    /// Gives `read` back if nothing is spare.
    fn read<R>(&mut self, read: R) -> Result<io::Result<Lease>, R>
    where
        R: FnOnce(&mut [MaybeUninit<u8>]) -> io::Result<usize>,
    {
        let Some(spare) = self.spare() else { return Err(read) };
        let room = spare.len();
        Ok(read(spare).map(|len| {
            assert!(len <= room);
            // SAFETY: `read`, which is ours, wrote so many.
            unsafe { self.commit(len) }
        }))
    }

    /// Whether the return of a buffer is to ring the doorbell, which the first then does, once. The
    /// caller looks for free buffers after that, and then may sleep (B4).
    pub(crate) fn set_starved(&mut self, starved: bool) {
        let returns = &self.watch.returns;
        // Relaxed: it is the order of this one word that counts.
        if starved {
            returns.fetch_or(STARVED, Ordering::Relaxed);
        } else if returns.load(Ordering::Relaxed) & STARVED != 0 {
            returns.fetch_and(!STARVED, Ordering::Relaxed);
        }
    }

    /// Whether a filler has any buffer.
    pub(crate) fn is_filling(&self) -> bool {
        self.filling != 0
    }

    /// Takes what has returned.
    fn collect(&mut self) {
        let all = self.watch.all();
        // Relaxed: asks only whether there is something; what came before our last RMW, or
        // rang, is seen.
        if self.watch.returns.load(Ordering::Relaxed) & all == 0 {
            return;
        }
        // Acquire: what leases did comes before the next use; pairs with `give_back`.
        let came = self.watch.returns.fetch_and(!all, Ordering::Acquire) & all;
        ids(came).for_each(|id| self.freed(id));
    }

    /// We have the buffer alone (B1).
    fn freed(&mut self, id: u16) {
        self.empty(id);
        self.free |= 1 << id;
        self.left += 1;
    }

    fn start(&mut self, id: u16) {
        let buffer = &self.watch.buffers[usize::from(id)];
        buffer.begin();
        self.free &= !buffer.bit;
        self.filling |= buffer.bit;
    }

    /// Starts the current buffer again from its front if nothing of it is lent: few pages serve
    /// leases that return soon.
    fn rewind(&mut self, id: u16) {
        let buffer = &self.watch.buffers[usize::from(id)];
        // Relaxed: ours.
        let own = buffer.own.load(Ordering::Relaxed);
        // Acquire: what leases did comes before the next use; pairs with their end.
        if buffer.users.load(Ordering::Acquire) == own {
            buffer.begin();
            self.empty(id);
        }
    }

    /// No lease is left (B2).
    fn empty(&mut self, id: u16) {
        self.watch.buffers[usize::from(id)].bytes.with_mut(|_| ());
        self.filled[usize::from(id)] = 0;
    }

    fn at(&self, id: u16, offset: usize) -> NonNull<u8> {
        // SAFETY: callers pass a buffer of ours and an offset in it, or its end.
        unsafe { self.watch.memory.base.add(usize::from(id) * self.size + offset) }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.set_starved(false);
        ids(self.filling).for_each(|id| self.take_from_filler(id));
        self.watch.end(self.free);
    }
}

/// The numbers of the bits that are set, lowest first.
fn ids(mut mask: u64) -> impl Iterator<Item = u16> {
    iter::from_fn(move || {
        let id = (mask != 0).then(|| mask.trailing_zeros() as u16)?;
        mask &= mask - 1;
        Some(id)
    })
}

/// Bytes that were received, in memory on loan from the runtime.
///
/// It is a `[u8]` that can be shortened from the front and cut in two, and dropped on any
/// thread. Nothing is copied: the memory serves further reads once all leases of the
/// same piece of it have gone, so keep what is needed for long in a `Vec` of your own.
/// A lease outlives its connection, and the runtime if need be.
///
/// asyncio: nothing alike; `bytes` is a copy, and a `BufferedProtocol` brings its own buffer.
pub struct Lease {
    bytes: NonNull<u8>,
    len: usize,
    /// Counted there (B1); `None` if and only if there are no bytes.
    buffer: Option<NonNull<Buffer>>,
}

// SAFETY: shared bytes that nobody writes to (B2), and a count that all threads may change.
unsafe impl Send for Lease {}
// SAFETY: the same.
unsafe impl Sync for Lease {}

impl Lease {
    /// No bytes, and no memory behind it.
    pub const fn empty() -> Self {
        Self { bytes: NonNull::dangling(), len: 0, buffer: None }
    }

    /// Gives up the first `n` bytes. With the last of them, the memory goes back.
    ///
    /// # Panics
    ///
    /// If there are fewer than `n`.
    #[track_caller]
    pub fn advance(&mut self, n: usize) {
        self.check(n);
        if n == self.len {
            *self = Self::empty();
            return;
        }
        // SAFETY: `n` is within the lease.
        self.bytes = unsafe { self.bytes.add(n) };
        self.len -= n;
    }

    /// Takes the first `n` bytes off, as a lease of their own; the others stay.
    ///
    /// # Panics
    ///
    /// If there are fewer than `n`.
    #[track_caller]
    pub fn split_to(&mut self, n: usize) -> Self {
        self.check(n);
        if n == self.len {
            return mem::replace(self, Self::empty());
        }
        if n == 0 {
            return Self::empty();
        }
        if let Some(buffer) = self.buffer {
            // SAFETY: we are counted.
            if unsafe { buffer.as_ref() }.bit == APART {
                // SAFETY: that is what the bit says, and we have a lease.
                unsafe { apart::count_another(buffer) };
            }
            // B1. Relaxed: it adds to a count that is there.
            // SAFETY: we are counted.
            unsafe { buffer.as_ref() }.users.fetch_add(1, Ordering::Relaxed);
        }
        let front = Self { bytes: self.bytes, len: n, buffer: self.buffer };
        // SAFETY: `n` is within the lease.
        self.bytes = unsafe { self.bytes.add(n) };
        self.len -= n;
        front
    }

    #[track_caller]
    fn check(&self, n: usize) {
        assert!(n <= self.len, "{n} bytes of a lease of {}", self.len);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(buffer) = self.buffer else { return };
        // SAFETY: we are counted.
        let Buffer { users, bit, shared, .. } = unsafe { buffer.as_ref() };
        let (bit, shared) = (*bit, *shared);
        if bit == APART {
            // SAFETY: that is what the bit says, and we are counted.
            return unsafe { apart::leave(buffer) };
        }
        // Release: what we read comes before the next use. Acquire: so does what the leases that
        // returned before us have read, if we are the last.
        if users.fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: B1: we have the buffer alone, and so its bit to set (B3).
            unsafe { Shared::give_back(shared, bit) };
        }
    }
}

impl Deref for Lease {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        if let Some(buffer) = self.buffer {
            // SAFETY: we are counted.
            unsafe { buffer.as_ref() }.bytes.with(|_| ());
        }
        // SAFETY: B2: these bytes hold data and nobody writes to them, as long as we are
        // counted; without a buffer there are none.
        unsafe { slice::from_raw_parts(self.bytes.as_ptr(), self.len) }
    }
}

// SAFETY: the bytes are initialised, and stay where they are when the lease is moved (B2).
unsafe impl IoBuf for Lease {
    fn as_ptr(&self) -> *const u8 {
        (**self).as_ptr()
    }

    fn len(&self) -> usize {
        (**self).len()
    }
}

impl AsRef<[u8]> for Lease {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Lease {
    /// How long it is; what it holds may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("len", &self.len).finish()
    }
}
