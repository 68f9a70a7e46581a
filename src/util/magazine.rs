//! Memory for tasks: per-thread free lists by size class.
//!
//! A task is allocated by the thread that spawns it and freed by the thread that
//! ends it. Each thread keeps what it frees, up to a cap, and hands it to its
//! next spawns: no lock and no shared line, 2-3 ns against 20 and more for the
//! general allocator when memory is freed elsewhere. The lists run through the
//! free blocks themselves, so that freeing never allocates (S7).
//!
//! Invariants:
//! * M1 A block in class `c` was allocated with exactly [`class_layout`]`(c)`.
//! * M2 A block is in at most one list, and nobody else holds it; its first word
//!   is the next block of its list.

use std::{
    cell::Cell,
    ptr::{self, NonNull},
};

use crate::loom::{
    alloc::{Layout, alloc, dealloc, handle_alloc_error},
    pick,
};

/// Blocks are multiples of this.
const STEP: usize = 64;
/// What the general allocator aligns to anyway. A cache line would be nicer, and costs up
/// to as much again: glibc gives 256 bytes for 128 that are aligned to 64.
const ALIGN: usize = 16;
/// Classes hold blocks of 1..=CLASSES steps; larger blocks go to the allocator.
const CLASSES: usize = 32;
/// Bytes that one class may keep on one thread.
const CLASS_BYTES: usize = pick(256 * 1024, 0);

/// A free block.
struct Free {
    next: *mut Free,
}

/// The free blocks of one class.
struct List {
    head: Cell<*mut Free>,
    len: Cell<usize>,
}

struct Magazine([List; CLASSES]);

thread_local! {
    static MAGAZINE: Magazine = const {
        Magazine([const { List { head: Cell::new(ptr::null_mut()), len: Cell::new(0) } }; CLASSES])
    };
}

impl List {
    #[inline]
    fn pop(&self) -> Option<NonNull<u8>> {
        let head = NonNull::new(self.head.get())?;
        // SAFETY: M2: a block in the list is ours alone and starts with a `Free`.
        self.head.set(unsafe { head.as_ref().next });
        self.len.set(self.len.get() - 1);
        Some(head.cast())
    }

    #[inline]
    fn push(&self, block: NonNull<u8>) {
        let block = block.cast::<Free>();
        // SAFETY: the caller hands over a block of at least one step, aligned for a pointer.
        unsafe { block.write(Free { next: self.head.get() }) };
        self.head.set(block.as_ptr());
        self.len.set(self.len.get() + 1);
    }
}

impl Drop for Magazine {
    fn drop(&mut self) {
        for (class, list) in self.0.iter().enumerate() {
            while let Some(block) = list.pop() {
                // SAFETY: M1 and M2: ours alone, and of this layout.
                unsafe { dealloc(block.as_ptr(), class_layout(class)) };
            }
        }
    }
}

/// The class that serves `layout`, if one does.
#[inline]
fn class_of(layout: Layout) -> Option<usize> {
    let class = layout.size().div_ceil(STEP).max(1) - 1;
    (class < CLASSES && layout.align() <= ALIGN).then_some(class)
}

fn class_layout(class: usize) -> Layout {
    Layout::from_size_align((class + 1) * STEP, ALIGN).expect("2 KiB at most")
}

/// Allocates `layout`, which must not be of size zero.
#[inline]
pub(crate) fn allocate(layout: Layout) -> NonNull<u8> {
    assert!(layout.size() > 0);
    let Some(class) = class_of(layout) else {
        return allocate_new(layout);
    };
    // A thread that is ending has no magazine any more.
    match MAGAZINE.try_with(|magazine| magazine.0[class].pop()) {
        Ok(Some(block)) => block,
        _ => allocate_new(class_layout(class)),
    }
}

#[cold]
fn allocate_new(layout: Layout) -> NonNull<u8> {
    // SAFETY: `allocate` refuses the size zero.
    let block = unsafe { alloc(layout) };
    NonNull::new(block).unwrap_or_else(|| handle_alloc_error(layout))
}

/// Gives back a block.
///
/// # Safety
///
/// `block` came from [`allocate`] with the same `layout`, and nobody uses it any more.
#[inline]
pub(crate) unsafe fn release(block: NonNull<u8>, layout: Layout) {
    let Some(class) = class_of(layout) else {
        // SAFETY: the caller's promise; without a class `allocate` used this very layout.
        unsafe { dealloc(block.as_ptr(), layout) };
        return;
    };
    let kept = MAGAZINE.try_with(|magazine| {
        let list = &magazine.0[class];
        let keep = list.len.get() < CLASS_BYTES / ((class + 1) * STEP);
        if keep {
            list.push(block);
        }
        keep
    });
    if !matches!(kept, Ok(true)) {
        // SAFETY: the caller's promise and M1.
        unsafe { dealloc(block.as_ptr(), class_layout(class)) };
    }
}
