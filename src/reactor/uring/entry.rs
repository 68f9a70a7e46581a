//! Entries of a ring as the kernel lays them out, for what stands between a ring and the kernel in
//! tests, or in the kernel's place in models.

use std::mem::{self, MaybeUninit};

use io_uring::{cqueue, squeue};

/// `struct io_uring_sqe`.
pub(super) struct Submission(pub(super) [u8; 64]);

impl From<squeue::Entry> for Submission {
    fn from(entry: squeue::Entry) -> Self {
        // SAFETY: plain numbers, all of them written by its maker.
        Self(unsafe { mem::transmute::<squeue::Entry, [u8; 64]>(entry) })
    }
}

impl Submission {
    pub(super) fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0[at..at + N].try_into().expect("as many bytes")
    }

    pub(super) fn opcode(&self) -> u8 {
        self.0[0]
    }

    /// What a cancel is about, where it names an operation.
    pub(super) fn addr(&self) -> u64 {
        u64::from_ne_bytes(self.field(16))
    }

    pub(super) fn len(&self) -> u32 {
        u32::from_ne_bytes(self.field(24))
    }

    /// The flags of the operation.
    pub(super) fn op_flags(&self) -> u32 {
        u32::from_ne_bytes(self.field(28))
    }

    pub(super) fn user_data(&self) -> u64 {
        u64::from_ne_bytes(self.field(32))
    }
}

/// `struct io_uring_cqe`.
pub(super) fn completion(user_data: u64, result: i32, flags: u32) -> cqueue::Entry {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&user_data.to_ne_bytes());
    bytes[8..12].copy_from_slice(&result.to_ne_bytes());
    bytes[12..].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: plain numbers.
    unsafe { mem::transmute::<[u8; 16], cqueue::Entry>(bytes) }
}

/// Fills the front of `batch` with what `next` returns, as long as it returns something.
pub(super) fn fill(
    batch: &mut [MaybeUninit<cqueue::Entry>],
    mut next: impl FnMut() -> Option<cqueue::Entry>,
) -> &mut [cqueue::Entry] {
    let mut count = 0;
    while let Some(place) = batch.get_mut(count)
        && let Some(entry) = next()
    {
        place.write(entry);
        count += 1;
    }
    // SAFETY: so many have been written.
    unsafe { &mut *(&raw mut batch[..count] as *mut [cqueue::Entry]) }
}
