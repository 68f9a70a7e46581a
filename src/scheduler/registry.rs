//! The live tasks of a runtime: a growing array of slots.
//!
//! The worker that spawns a task puts it into a slot from its own free list; the worker that ends
//! the task empties the slot and keeps it in *its* free list. So neither takes a lock. A thread
//! that lists the tasks pins a slot while it takes a reference, and a worker that ends a task waits
//! for that instant.
//!
//! Slots stay as long as the runtime's hub, since a thread that looks at one holds no lock. After a
//! million tasks at once the slots take 8 MiB. The list of free slots, which is longest when no
//! task is left, takes 4 MiB. `docs/decisions.md` says why that is not given back.
//!
//! * G1 A slot holds null, or a task whose registry reference is alive; with the
//!   lowest bit set it is pinned, and stays as it is until unpinned.

use std::{
    cell::RefCell,
    ptr::{self, NonNull},
};

use crate::{
    loom::{
        Mutex,
        atomic::{AtomicPtr, AtomicU32, Ordering},
        hint, pick,
    },
    task::{Header, Registered, TaskRef},
};

/// Slots in the first chunk; each further one doubles.
const FIRST: u32 = pick(64, 2) as u32;
/// 64 * 2^24 slots: a billion tasks.
const CHUNKS: usize = pick(24, 2);
/// Slots that move between a worker's free list and the shared one.
const BATCH: usize = pick(64, 2);
/// Free slots that a worker keeps.
const KEEP: usize = 512;

type Slot = AtomicPtr<Header>;

pub(crate) struct Registry {
    chunks: [AtomicPtr<Slot>; CHUNKS],
    /// Slots handed out so far, in chunks that exist.
    used: AtomicU32,
    free: Mutex<Vec<u32>>,
}

/// A worker's own free slots.
#[derive(Default)]
pub(crate) struct FreeSlots(RefCell<Vec<u32>>);

/// The chunk of a slot, its length, and the slot's place in it.
fn locate(slot: u32) -> (usize, usize, usize) {
    let chunk = (slot / FIRST + 1).ilog2();
    let len = FIRST << chunk;
    let start = len - FIRST;
    (chunk as usize, len as usize, (slot - start) as usize)
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            chunks: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            used: AtomicU32::new(0),
            free: Mutex::new(Vec::new()),
        }
    }

    fn slot(&self, slot: u32) -> Option<&Slot> {
        let (chunk, len, at) = locate(slot);
        // Acquire: pairs with the Release in `extend`.
        let chunk = NonNull::new(self.chunks[chunk].load(Ordering::Acquire))?;
        debug_assert!(at < len);
        // SAFETY: `extend` made the chunk with `len` slots; chunks are never freed.
        Some(unsafe { chunk.add(at).as_ref() })
    }

    /// A slot for a task that a worker spawns.
    #[inline]
    pub(crate) fn take_slot(&self, own: &FreeSlots) -> u32 {
        let mut own = own.0.borrow_mut();
        match own.pop() {
            Some(slot) => slot,
            None => {
                self.refill(&mut own);
                own.pop().expect("just refilled")
            }
        }
    }

    /// A slot for a task that a foreign thread spawns.
    pub(crate) fn take_slot_foreign(&self) -> u32 {
        let mut free = self.free.lock();
        if free.is_empty() {
            self.extend(&mut free);
        }
        free.pop().expect("just extended")
    }

    #[cold]
    fn refill(&self, own: &mut Vec<u32>) {
        let mut free = self.free.lock();
        if free.is_empty() {
            self.extend(&mut free);
        }
        let keep = free.len().saturating_sub(BATCH);
        own.extend(free.drain(keep..));
    }

    /// Adds a batch of new slots, lowest last. The lock on `free` makes it exclusive.
    fn extend(&self, free: &mut Vec<u32>) {
        // Relaxed: written under the lock only.
        let first = self.used.load(Ordering::Relaxed);
        let (chunk, len, at) = locate(first);
        assert!(chunk < CHUNKS, "a runtime holds a billion tasks at most");
        if at == 0 && self.chunks[chunk].load(Ordering::Relaxed).is_null() {
            let slots: Box<[Slot]> = (0..len).map(|_| AtomicPtr::new(ptr::null_mut())).collect();
            // Release: publishes the empty slots; pairs with `slot`.
            self.chunks[chunk].store(Box::leak(slots).as_mut_ptr(), Ordering::Release);
        }
        let last = first + BATCH as u32;
        free.extend((first..last).rev());
        // Release: a thread that counts up to it finds the chunk.
        self.used.store(last, Ordering::Release);
    }

    /// Files a new task.
    #[inline]
    pub(crate) fn insert(&self, slot: u32, task: Registered) {
        let slot = self.slot(slot).expect("a slot that was taken exists");
        // Release: publishes the header to `for_each`.
        slot.store(task.0.as_ptr(), Ordering::Release);
    }

    /// Forgets a task that ended. Its registry reference is now the caller's.
    #[inline]
    pub(crate) fn remove(&self, index: u32, task: &Header, own: Option<&FreeSlots>) {
        let slot = self.slot(index).expect("a slot that was taken exists");
        let filed = ptr::from_ref(task).cast_mut();
        // AcqRel: a thread that pinned it before has taken its reference by now.
        while slot
            .compare_exchange_weak(filed, ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed)
            .is_err()
        {
            hint::spin_loop();
        }
        match own {
            Some(own) => {
                let mut own = own.0.borrow_mut();
                if own.len() == KEEP {
                    self.free.lock().extend(own.drain(KEEP / 2..));
                }
                own.push(index);
            }
            None => self.free.lock().push(index),
        }
    }

    /// Gives back a worker's free slots, at its end.
    pub(crate) fn retire(&self, own: &FreeSlots) {
        self.free.lock().append(&mut own.0.borrow_mut());
    }

    /// Calls `each` for every task that is live throughout.
    pub(crate) fn for_each(&self, mut each: impl FnMut(&TaskRef)) {
        // Acquire: pairs with `extend`.
        for index in 0..self.used.load(Ordering::Acquire) {
            let Some(task) = self.slot(index).and_then(pin) else { continue };
            each(&task);
        }
    }
}

/// Takes a reference to the task of a slot.
fn pin(slot: &Slot) -> Option<TaskRef> {
    let filed = loop {
        // Relaxed: the CAS decides.
        let filed = NonNull::new(slot.load(Ordering::Relaxed))?;
        if filed.addr().get() & 1 == 1 {
            // Another lister is at it, for an instant.
            hint::spin_loop();
            continue;
        }
        let pinned = filed.as_ptr().map_addr(|addr| addr | 1);
        // Acquire: pairs with `insert`, so that the header is seen.
        if let Ok(filed) =
            slot.compare_exchange(filed.as_ptr(), pinned, Ordering::Acquire, Ordering::Relaxed)
        {
            break NonNull::new(filed)?;
        }
    };
    // SAFETY: G1: pinned, so that the registry's reference lives.
    let task = unsafe { TaskRef::from_registered(filed) };
    // Release: the reference is taken before `remove` can succeed.
    slot.store(filed.as_ptr(), Ordering::Release);
    Some(task)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chunks tile the numbers without gap or overlap.
    #[test]
    fn slot_locate_tiles() {
        let mut expect = (0, 0);
        for slot in 0..100_000 {
            let (chunk, len, at) = locate(slot);
            assert_eq!((chunk, at), expect);
            expect = if at + 1 == len { (chunk + 1, 0) } else { (chunk, at + 1) };
        }
    }
}
