//! The memory that records are received into and encrypted into: pieces of the thread, in use for the
//! time of a poll. A session that waits has none of it.

use std::cell::RefCell;

/// The plaintext that one write or one read takes at most: four whole records.
pub(super) const PLAINTEXT: usize = 64 << 10;

/// What records add to plaintext, at most: that of four, and small records before them.
const OVERHEAD: usize = 2 << 10;

const SIZE: usize = PLAINTEXT + OVERHEAD;

/// The largest record that TLS 1.2 allows, with its header.
const WHOLE_RECORD: usize = (16 << 10) + 2048 + 5;

/// How many pieces a thread keeps: one for records and one for plaintext that is gathered.
const KEPT: usize = 2;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A piece of the thread's memory, until the drop.
pub(super) struct Scratch(Vec<u8>);

impl Scratch {
    pub(super) fn take() -> Self {
        // At the thread's end there is no spare.
        let spare = SPARE.try_with(|spare| spare.borrow_mut().pop()).ok().flatten();
        Self(spare.unwrap_or_else(|| vec![0; SIZE]))
    }

    pub(super) fn all(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// Room for `begun` bytes, and behind them for the records of `room` bytes of plaintext, or for one
    /// whole record.
    pub(super) fn behind(&mut self, begun: usize, room: usize) -> &mut [u8] {
        let more = room.saturating_add(OVERHEAD).clamp(WHOLE_RECORD, SIZE);
        if begun + more > self.0.len() {
            // Handshake messages of several records stay until the last of them.
            self.0.resize((begun + more).max(SIZE), 0);
        }
        &mut self.0[..begun + more]
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0);
        if bytes.len() > SIZE {
            bytes.truncate(SIZE);
            bytes.shrink_to_fit();
        }
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < KEPT {
                spare.push(bytes);
            }
        });
    }
}
