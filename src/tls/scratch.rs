//! The memory that records are received into: one piece for each thread, in use for the time of a
//! poll. A stream that waits has none of it.

use std::cell::Cell;

/// The largest record that TLS 1.2 allows, with its header.
pub(super) const WHOLE_RECORD: usize = (16 << 10) + 2048 + 5;

/// What is received at most at a time.
const MOST: usize = 64 << 10;

/// What the records of some plaintext add to it.
const OVERHEAD: usize = 1 << 10;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The thread's piece of memory, until the drop. A session inside of a session gets one of its own.
pub(super) struct Scratch(Vec<u8>);

impl Scratch {
    pub(super) fn take() -> Self {
        // At the thread's end there is no spare.
        let mut bytes = SPARE.try_with(Cell::take).unwrap_or_default();
        if bytes.is_empty() {
            bytes = vec![0; MOST];
        }
        Self(bytes)
    }

    /// A part that has room for the records of as much plaintext, or for one whole record.
    pub(super) fn for_plaintext(&mut self, room: usize) -> &mut [u8] {
        &mut self.0[..room.saturating_add(OVERHEAD).clamp(WHOLE_RECORD, MOST)]
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.0);
        let _ = SPARE.try_with(|spare| spare.set(bytes));
    }
}
