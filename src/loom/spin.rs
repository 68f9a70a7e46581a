//! A lock for sections of some nanoseconds, cheaper to leave than to enter.
//!
//! A lock whose waiters sleep in the kernel must look, when it is released, whether one
//! does: an atomic read-modify-write on each way. Here nobody sleeps for a wake-up, so the
//! release is a plain store, which is half the price of an uncontended section. That is
//! worth something only where the section is not much more than that, and runs no foreign
//! code.
//!
//! A thread that finds it taken spins for about as long as a section lasts, and then leaves the
//! core to others, in steps that grow: the holder may have been preempted, perhaps by that very
//! thread.

use std::{
    ops::{Deref, DerefMut},
    thread,
    time::Duration,
};

use super::{
    MODELLED, UnsafeCell,
    atomic::{AtomicBool, Ordering},
    hint, yield_now,
};

/// Looks at a taken lock before the core is left to others.
const SPINS: u32 = 64;
/// How often a thread yields its core before it sleeps.
const YIELDS: u32 = 8;
/// The first sleep. Each is twice the one before.
const SLEEP: Duration = Duration::from_micros(20);
/// The longest is this often the first.
const LONGEST: u32 = 64;

/// A spin lock. What it holds is dropped with it.
pub(crate) struct SpinLock<T> {
    locked: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: as a Mutex: only the holder of the lock has access to the value, on any thread.
unsafe impl<T: Send> Send for SpinLock<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SpinLock<T> {}

impl<T> SpinLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { locked: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Takes the lock.
    #[inline(always)]
    pub(crate) fn lock(&self) -> SpinGuard<'_, T> {
        if !self.try_take() {
            self.wait();
        }
        SpinGuard { lock: self }
    }

    /// The value without the lock, where that would only be a formality.
    ///
    /// # Safety
    ///
    /// No other thread can reach the lock while `f` runs, and every earlier access happened before
    /// this call, by some order that the caller knows of.
    #[inline(always)]
    pub(crate) unsafe fn with_exclusive<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: nobody else has access, by contract.
        self.value.with_mut(|value| f(unsafe { &mut *value }))
    }

    #[inline(always)]
    fn try_take(&self) -> bool {
        // Acquire: pairs with the Release of the guard's drop.
        self.locked.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[cold]
    fn wait(&self) {
        let mut rounds = 0;
        loop {
            pause(rounds);
            rounds = rounds.saturating_add(1);
            // Relaxed: a look, so that the line is asked for only when there is a chance.
            if !self.locked.load(Ordering::Relaxed) && self.try_take() {
                return;
            }
        }
    }
}

fn pause(rounds: u32) {
    if MODELLED || (SPINS..SPINS + YIELDS).contains(&rounds) {
        yield_now();
    } else if rounds < SPINS {
        hint::spin_loop();
    } else {
        let doubled = 1_u32.checked_shl(rounds - SPINS - YIELDS).unwrap_or(LONGEST);
        thread::sleep(SLEEP * doubled.min(LONGEST));
    }
}

/// The lock, taken; dropping it releases the lock.
pub(crate) struct SpinGuard<'a, T> {
    lock: &'a SpinLock<T>,
}

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the lock is ours, and the reference lives no longer than the guard.
        self.lock.value.with(|value| unsafe { &*value })
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is ours, and the reference lives no longer than the borrow of the
        // guard, which is exclusive.
        self.lock.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        // Release: pairs with `try_take`.
        self.lock.locked.store(false, Ordering::Release);
    }
}
