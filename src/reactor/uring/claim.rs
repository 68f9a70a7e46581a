//! The right to receive: it belongs to the owner of a ring, or to a patrol that finds the owner
//! held.
//!
//! A ring whose work is deferred receives only while its owner calls the kernel. A worker in a long
//! poll does not, so that what arrives stays with the sockets, and another worker may read it there
//! without the ring, as long as bytes keep their order:
//!
//! 1. The owner [takes](Claim::take) the claim before it calls the kernel, and
//!    [gives it back](Claim::give_back) once it has queued all that was received. In
//!    between, bytes that left a socket may not be in its queue yet.
//! 2. Another thread [borrows](Claim::try_borrow) the claim, if nobody has it. Meanwhile
//!    nothing else receives: what it reads comes behind all that is queued, and it queues
//!    that before the owner can receive more.
//! 3. If completions are left behind when the owner gives it back (the queue had
//!    overflowed), or if the kernel may receive at any time (`COOP_TASKRUN`), it cannot be
//!    borrowed.

use crate::loom::{
    atomic::{AtomicU64, Ordering},
    hint, yield_now,
};

/// Nobody receives, and all that was received is queued.
const FREE: u64 = 0;
const TAKEN: u64 = 1;
/// Nobody has it, and nobody may borrow it.
const WITHHELD: u64 = 2;

/// How often the owner looks before it yields the core.
const SPINS: usize = 64;

pub(crate) struct Claim(AtomicU64);

impl Claim {
    /// A claim that can not be borrowed before its owner has had it.
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(WITHHELD))
    }

    /// Step 1. Waits while it is borrowed, which is for the time of a system call.
    #[inline]
    pub(crate) fn take(&self) {
        // Acquire: sees what a borrower queued; pairs with the end of `try_borrow`.
        if self.0.swap(TAKEN, Ordering::Acquire) == TAKEN {
            self.wait();
        }
    }

    /// Another thread has borrowed it, and gives it back by storing `FREE`, whatever the owner
    /// wrote meanwhile.
    #[cold]
    fn wait(&self) {
        let mut spins = 0;
        // Acquire: as in `take`.
        while self.0.swap(TAKEN, Ordering::Acquire) == TAKEN {
            spins += 1;
            if spins % SPINS == 0 { yield_now() } else { hint::spin_loop() }
        }
    }

    /// The owner is done. `may_borrow`: all that was received is queued, and nothing will
    /// be received before the next [`take`](Self::take).
    #[inline]
    pub(crate) fn give_back(&self, may_borrow: bool) {
        // Release: what a borrower queues comes behind what was queued here; pairs with
        // `try_borrow`.
        self.0.store(if may_borrow { FREE } else { WITHHELD }, Ordering::Release);
    }

    /// Step 2: runs `receive` in the owner's place. `false`: not now.
    pub(crate) fn try_borrow(&self, receive: impl FnOnce()) -> bool {
        // Acquire: sees what the owner queued; pairs with `give_back`.
        let taken = self.0.compare_exchange(FREE, TAKEN, Ordering::Acquire, Ordering::Relaxed);
        if taken.is_ok() {
            receive();
            // Release: what the owner receives comes behind what was queued here; pairs with
            // `take`. An RMW: in one order with the owner's.
            self.0.swap(FREE, Ordering::Release);
        }
        taken.is_ok()
    }
}
