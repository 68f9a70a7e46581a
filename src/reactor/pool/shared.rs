//! What leases may reach after their pool has gone; the invariants stand at the head of
//! `pool.rs`.

use std::{
    io,
    ops::Deref,
    ptr::{self, NonNull},
    sync::Arc,
};

use crossbeam_utils::CachePadded;
use rustix::mm::{self, MapFlags, ProtFlags};

use crate::{
    loom::{
        UnsafeCell,
        alloc::{Layout, alloc, dealloc, handle_alloc_error},
        atomic::{AtomicU32, AtomicU64, Ordering},
        global,
    },
    reactor::Doorbell,
};

/// Flags in the word of returns, above the buffers' bits.
pub(super) const STARVED: u64 = 1 << 61;
pub(super) const ENDED: u64 = 1 << 62;
pub(super) const UNWATCHED: u64 = 1 << 63;

/// In the place of its bit, the mark of a buffer that is no pool's: see `apart.rs`.
pub(super) const APART: u64 = 0;

/// What a buffer's count is when a filler gets it, all of it the filler's: more than there can
/// be leases.
const FILLER: u32 = 1 << 31;

pub(super) struct Buffer {
    pub(super) users: AtomicU32,
    /// The filler's part of `users`. Written by the pool's owner alone.
    pub(super) own: global::AtomicU32,
    /// Stands for the bytes in a model: read through leases, taken again when free.
    pub(super) bytes: UnsafeCell<()>,
    /// Its bit in the word of returns.
    pub(super) bit: u64,
    pub(super) shared: NonNull<Shared>,
}

impl Buffer {
    /// No pool's, with one lease.
    pub(super) fn apart(shared: NonNull<Shared>) -> Self {
        Self {
            users: AtomicU32::new(1),
            own: global::AtomicU32::new(0),
            bytes: UnsafeCell::new(()),
            bit: APART,
            shared,
        }
    }

    /// For its owner, which has it alone and gives it to a filler.
    pub(super) fn begin(&self) {
        // Relaxed, both: ours alone.
        self.users.store(FILLER, Ordering::Relaxed);
        self.own.store(FILLER, Ordering::Relaxed);
    }
}

pub(super) struct Shared {
    /// Which buffers have returned, and the flags.
    pub(super) returns: AtomicU64,
    pub(super) buffers: Box<[CachePadded<Buffer>]>,
    pub(super) memory: Memory,
    doorbell: &'static Doorbell,
    /// Leases with memory of their own, and the bytes of that.
    apart: global::AtomicU64,
    apart_bytes: global::AtomicU64,
}

impl Shared {
    /// `buffers` of them on `memory`, all with the owner.
    fn create(buffers: usize, memory: Memory, doorbell: &'static Doorbell) -> NonNull<Self> {
        let layout = Layout::new::<Self>();
        // SAFETY: the layout is not empty.
        let block = unsafe { alloc(layout) }.cast::<Self>();
        let Some(shared) = NonNull::new(block) else { handle_alloc_error(layout) };
        let buffer = |index| {
            CachePadded::new(Buffer {
                users: AtomicU32::new(0),
                own: global::AtomicU32::new(0),
                bytes: UnsafeCell::new(()),
                bit: 1u64 << index,
                shared,
            })
        };
        let buffers = (0..buffers).map(buffer).collect();
        let this = Self {
            returns: AtomicU64::new(0),
            buffers,
            memory,
            doorbell,
            apart: global::AtomicU64::new(0),
            apart_bytes: global::AtomicU64::new(0),
        };
        // SAFETY: memory of this layout, and ours.
        unsafe { shared.write(this) };
        shared
    }

    /// The bits of all buffers.
    pub(super) fn all(&self) -> u64 {
        (1 << self.buffers.len()) - 1
    }

    /// Bytes of leases with memory of their own.
    pub(super) fn apart_bytes(&self) -> usize {
        // Relaxed: a figure.
        self.apart_bytes.load(Ordering::Relaxed) as usize
    }

    /// Sets bits of the word, and does what is due then.
    ///
    /// # Safety
    ///
    /// The bits are the caller's to set (B3). They were what kept `this` for it: unless it
    /// has others, it does not use it again.
    pub(super) unsafe fn give_back(this: NonNull<Self>, bits: u64) {
        // SAFETY: B3, up to the RMW.
        let shared = unsafe { this.as_ref() };
        let (memory, doorbell) = (shared.memory, shared.doorbell);
        let whole = shared.all() | ENDED;
        // Release: what was done with the buffers comes before their next use, and before
        // the end. Acquire: the end comes after what all others did.
        let old = shared.returns.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |word| {
            Some((word | bits) & !STARVED)
        });
        let (Ok(old) | Err(old)) = old;
        // No `shared` from here on.
        let new = old | bits;
        if old & STARVED != 0 {
            doorbell.ring();
        }
        if new & whole != whole {
            return;
        }
        if old & whole != whole {
            // SAFETY: B3: all buffers have come back to a pool that is gone.
            unsafe { memory.unmap() };
        }
        if new & UNWATCHED != 0 {
            // SAFETY: B3: nobody else has it; made by `create` with this layout.
            unsafe {
                this.drop_in_place();
                dealloc(this.as_ptr().cast(), Layout::new::<Self>());
            }
        }
    }
}

/// An anonymous mapping.
#[derive(Clone, Copy)]
pub(super) struct Memory {
    pub(super) base: NonNull<u8>,
    len: usize,
}

impl Memory {
    /// Pages that exist once they are touched. A forked child has copies, as of all memory
    /// that safe code may hold slices of: what it does there concerns nobody else.
    fn map(len: usize) -> io::Result<Self> {
        let flags = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: anonymous memory at a place of the kernel's choice.
        let base = unsafe { mm::mmap_anonymous(ptr::null_mut(), len, flags, MapFlags::PRIVATE) }?;
        let base = NonNull::new(base.cast()).expect("a mapping is not at 0");
        Ok(Self { base, len })
    }

    /// # Safety
    ///
    /// It is mapped, and nobody uses it any more.
    unsafe fn unmap(self) {
        // SAFETY: the caller's promise. It fails for no mapping that is whole.
        let _ = unsafe { mm::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// The pool's and the gauges' part of [`Shared`].
pub(super) struct Watch(NonNull<Shared>);

// SAFETY: it reads atomics of `Shared` and gives its part back, from any thread (B3).
unsafe impl Send for Watch {}
// SAFETY: the same.
unsafe impl Sync for Watch {}

impl Watch {
    /// `count` buffers of `size` bytes.
    pub(super) fn new(count: usize, size: usize, doorbell: &'static Doorbell) -> io::Result<Self> {
        let memory = Memory::map(count * size)?;
        Ok(Self(Shared::create(count, memory, doorbell)))
    }

    /// The end of the pool, which has the buffers of `free`.
    pub(super) fn end(&self, free: u64) {
        // SAFETY: the bits are the pool's to set, and the watch keeps what it points to.
        unsafe { Shared::give_back(self.0, free | ENDED) };
    }
}

impl Deref for Watch {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        // SAFETY: B3: `UNWATCHED` is set when this is dropped.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // SAFETY: the flag is set by this alone, once, and that is its last use.
        unsafe { Shared::give_back(self.0, UNWATCHED) };
    }
}

/// Counts the leases of a pool, from any thread, and after the pool's end.
#[derive(Clone)]
pub(crate) struct Gauge(Arc<Watch>);

impl Gauge {
    pub(super) fn new(watch: Arc<Watch>) -> Self {
        Self(watch)
    }

    /// How many leases there are, exactly while none is made or dropped.
    pub(crate) fn leased(&self) -> u64 {
        // Relaxed: two figures without a common moment. Seen while its owner begins or ends with
        // a buffer they differ by nearly all that a filler has, which says nothing.
        let leases = |buffer: &CachePadded<Buffer>| {
            let own = buffer.own.load(Ordering::Relaxed);
            let leases = buffer.users.load(Ordering::Relaxed).saturating_sub(own);
            if leases < FILLER / 2 { u64::from(leases) } else { 0 }
        };
        let apart = self.0.apart.load(Ordering::Relaxed);
        self.0.buffers.iter().map(leases).sum::<u64>() + apart
    }

    /// What counts leases apart of it; it stays as long as a gauge.
    pub(super) fn shared(&self) -> NonNull<Shared> {
        self.0.0
    }

    /// One more lease with memory of its own, and the bytes of it that are new.
    pub(super) fn count_apart(&self, bytes: usize) {
        // Relaxed, all: figures.
        self.0.apart.fetch_add(1, Ordering::Relaxed);
        self.0.apart_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn uncount_apart(&self) {
        self.0.apart.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn free_apart(&self, bytes: usize) {
        self.0.apart_bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
    }
}
