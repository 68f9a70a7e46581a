//! The buffer that all copies of a thread share.

use std::cell::Cell;

/// How large it is, unless a copy asks for more.
pub(super) const SIZE: usize = 64 << 10;
/// A larger buffer does not stay with its thread.
const LARGEST: usize = 1 << 20;

thread_local! {
    /// The buffer of this thread, while no copy uses it, and how many bytes at its front copies have left.
    pub(super) static HOT: Cell<(Vec<u8>, usize)> = const { Cell::new((Vec::new(), 0)) };
}

/// A buffer for the time of a poll. It is the thread's again when it is dropped.
pub(crate) struct Buffer {
    pub(super) memory: Vec<u8>,
    /// How many bytes at its front may be those of other copies.
    stale: usize,
    /// How many a reader of this one may have written.
    used: usize,
}

impl Buffer {
    /// Memory that holds bytes of a copy.
    pub(super) fn of(memory: Vec<u8>) -> Self {
        let used = memory.len();
        Self { memory, stale: 0, used }
    }

    /// One with room for `most` bytes.
    pub(crate) fn take(most: usize) -> Self {
        // A thread that ends has none.
        let (mut memory, mut stale) = HOT.try_with(Cell::take).unwrap_or_default();
        if memory.len() < most {
            (memory, stale) = (vec![0; most.max(SIZE)], 0);
        }
        Self { memory, stale, used: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.memory.len()
    }

    /// Its front, for a reader. One that `may_look` at it finds nothing of other copies.
    pub(crate) fn get(&mut self, room: usize, may_look: bool) -> &mut [u8] {
        if may_look && self.stale > 0 {
            let stale = std::mem::take(&mut self.stale);
            self.memory[..stale].fill(0);
        }
        self.used = self.used.max(room);
        &mut self.memory[..room]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if !(SIZE..=LARGEST).contains(&self.memory.len()) {
            return;
        }
        let memory = std::mem::take(&mut self.memory);
        let left = self.stale.max(self.used);
        // A thread that ends needs none.
        let _ = HOT.try_with(|hot| {
            let other = hot.take();
            hot.set(if other.0.len() > memory.len() { other } else { (memory, left) });
        });
    }
}
