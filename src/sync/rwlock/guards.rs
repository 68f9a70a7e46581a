//! What a reader and a writer hold.
//!
//! Invariants, cited below:
//! * G1 A read guard stands for one permit of its lock from its making to its drop, a write
//!   guard for all of them: the value is shared, or its own.
//! * G2 A mapped guard's pointer leads into that value; that of a write guard was made from a
//!   `&mut` to it.

use std::{
    fmt,
    marker::PhantomData,
    mem,
    ops::{Deref, DerefMut},
    ptr::NonNull,
    sync::Arc,
};

use super::{READ, RwLock, WRITE};
use crate::sync::permits::Permits;

/// Has permits; the drop gives them back.
struct Held<'a, const COUNT: usize>(&'a Permits);

impl<const COUNT: usize> Drop for Held<'_, COUNT> {
    #[inline]
    fn drop(&mut self) {
        self.0.release(COUNT);
    }
}

/// The right to read the value of an [`RwLock`], until this is dropped.
#[must_use = "the lock is free again when its guard is dropped, so at once if it is not kept"]
#[clippy::has_significant_drop]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    held: Held<'a, READ>,
    /// It is `Send` and `Sync` as a reference to the value is.
    _value: PhantomData<&'a T>,
}

impl<'a, T: ?Sized> RwLockReadGuard<'a, T> {
    /// The caller has just acquired a reader's permit (G1).
    #[inline]
    pub(super) fn new(lock: &'a RwLock<T>) -> Self {
        Self { lock, held: Held(&lock.permits), _value: PhantomData }
    }

    /// A guard for a part of the value.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::{RwLock, RwLockReadGuard};
    ///
    /// ringloop::run(async {
    ///     let pair = RwLock::new((1, "one"));
    ///     let name = RwLockReadGuard::map(pair.read().await, |pair| &pair.1);
    ///     assert_eq!(*name, "one");
    /// });
    /// ```
    pub fn map<U: ?Sized>(guard: Self, f: impl FnOnce(&T) -> &U) -> MappedRwLockReadGuard<'a, U> {
        let part = NonNull::from(f(&guard));
        MappedRwLockReadGuard { part, held: guard.held, _part: PhantomData }
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: G1.
        self.lock.value.with(|value| unsafe { &*value })
    }
}

/// The right to change the value of an [`RwLock`], until this is dropped.
#[must_use = "the lock is free again when its guard is dropped, so at once if it is not kept"]
#[clippy::has_significant_drop]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    held: Held<'a, WRITE>,
    /// It is `Send` and `Sync` as a reference to the value is.
    _value: PhantomData<&'a mut T>,
}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// The caller has just acquired all permits (G1).
    #[inline]
    pub(super) fn new(lock: &'a RwLock<T>) -> Self {
        Self { lock, held: Held(&lock.permits), _value: PhantomData }
    }

    /// Lets other readers in, and goes on reading: no writer gets in between.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::{RwLock, RwLockWriteGuard};
    ///
    /// ringloop::run(async {
    ///     let lock = RwLock::new(0);
    ///     let mut guard = lock.write().await;
    ///     *guard = 4;
    ///     let guard = RwLockWriteGuard::downgrade(guard);
    ///     assert_eq!((*guard, *lock.read().await), (4, 4));
    /// });
    /// ```
    pub fn downgrade(guard: Self) -> RwLockReadGuard<'a, T> {
        let lock = guard.lock;
        mem::forget(guard);
        lock.permits.release(WRITE - READ);
        RwLockReadGuard::new(lock)
    }

    /// A guard for a part of the value.
    pub fn map<U: ?Sized>(
        mut guard: Self,
        f: impl FnOnce(&mut T) -> &mut U,
    ) -> MappedRwLockWriteGuard<'a, U> {
        let part = NonNull::from(f(&mut guard));
        MappedRwLockWriteGuard { part, held: guard.held, _part: PhantomData }
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: G1.
        self.lock.value.with(|value| unsafe { &*value })
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: G1.
        self.lock.value.with_mut(|value| unsafe { &mut *value })
    }
}

/// An [`RwLockReadGuard`] that holds its lock by an `Arc`, from [`RwLock::read_owned`].
#[must_use = "the lock is free again when its guard is dropped, so at once if it is not kept"]
#[clippy::has_significant_drop]
pub struct OwnedRwLockReadGuard<T: ?Sized> {
    lock: Arc<RwLock<T>>,
}

impl<T: ?Sized> OwnedRwLockReadGuard<T> {
    /// The caller has just acquired a reader's permit (G1).
    #[inline]
    pub(super) fn new(lock: Arc<RwLock<T>>) -> Self {
        Self { lock }
    }
}

impl<T: ?Sized> Drop for OwnedRwLockReadGuard<T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.permits.release(READ);
    }
}

impl<T: ?Sized> Deref for OwnedRwLockReadGuard<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: G1.
        self.lock.value.with(|value| unsafe { &*value })
    }
}

/// An [`RwLockWriteGuard`] that holds its lock by an `Arc`, from [`RwLock::write_owned`].
#[must_use = "the lock is free again when its guard is dropped, so at once if it is not kept"]
#[clippy::has_significant_drop]
pub struct OwnedRwLockWriteGuard<T: ?Sized> {
    lock: Arc<RwLock<T>>,
}

impl<T: ?Sized> OwnedRwLockWriteGuard<T> {
    /// The caller has just acquired all permits (G1).
    #[inline]
    pub(super) fn new(lock: Arc<RwLock<T>>) -> Self {
        Self { lock }
    }

    /// Lets other readers in, and goes on reading: see [`RwLockWriteGuard::downgrade`].
    pub fn downgrade(guard: Self) -> OwnedRwLockReadGuard<T> {
        let guard = mem::ManuallyDrop::new(guard);
        // SAFETY: the guard it is moved out of is neither used nor dropped any more.
        let lock = unsafe { std::ptr::read(&raw const guard.lock) };
        lock.permits.release(WRITE - READ);
        OwnedRwLockReadGuard::new(lock)
    }
}

impl<T: ?Sized> Drop for OwnedRwLockWriteGuard<T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.permits.release(WRITE);
    }
}

impl<T: ?Sized> Deref for OwnedRwLockWriteGuard<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: G1.
        self.lock.value.with(|value| unsafe { &*value })
    }
}

impl<T: ?Sized> DerefMut for OwnedRwLockWriteGuard<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: G1.
        self.lock.value.with_mut(|value| unsafe { &mut *value })
    }
}

/// The right to read a part of the value of an [`RwLock`], from [`RwLockReadGuard::map`].
#[must_use = "the lock is free again when its guard is dropped, so at once if it is not kept"]
#[clippy::has_significant_drop]
pub struct MappedRwLockReadGuard<'a, U: ?Sized> {
    part: NonNull<U>,
    #[expect(dead_code, reason = "its drop unlocks")]
    held: Held<'a, READ>,
    _part: PhantomData<&'a U>,
}

// SAFETY: it is a `&U` and the right to unlock, which may be used on any thread.
unsafe impl<U: ?Sized + Sync> Send for MappedRwLockReadGuard<'_, U> {}
// SAFETY: a shared reference to it gives a `&U` and nothing else.
unsafe impl<U: ?Sized + Sync> Sync for MappedRwLockReadGuard<'_, U> {}

impl<U: ?Sized> Deref for MappedRwLockReadGuard<'_, U> {
    type Target = U;

    #[inline]
    fn deref(&self) -> &U {
        // SAFETY: G1, G2.
        unsafe { self.part.as_ref() }
    }
}

/// The right to change a part of the value of an [`RwLock`], from [`RwLockWriteGuard::map`].
#[must_use = "the lock is free again when its guard is dropped, so at once if it is not kept"]
#[clippy::has_significant_drop]
pub struct MappedRwLockWriteGuard<'a, U: ?Sized> {
    part: NonNull<U>,
    #[expect(dead_code, reason = "its drop unlocks")]
    held: Held<'a, WRITE>,
    _part: PhantomData<&'a mut U>,
}

// SAFETY: it is a `&mut U` and the right to unlock, which may be used on any thread.
unsafe impl<U: ?Sized + Send> Send for MappedRwLockWriteGuard<'_, U> {}
// SAFETY: a shared reference to it gives a `&U` and nothing else.
unsafe impl<U: ?Sized + Sync> Sync for MappedRwLockWriteGuard<'_, U> {}

impl<U: ?Sized> Deref for MappedRwLockWriteGuard<'_, U> {
    type Target = U;

    #[inline]
    fn deref(&self) -> &U {
        // SAFETY: G1, G2.
        unsafe { self.part.as_ref() }
    }
}

impl<U: ?Sized> DerefMut for MappedRwLockWriteGuard<'_, U> {
    #[inline]
    fn deref_mut(&mut self) -> &mut U {
        // SAFETY: G1, G2.
        unsafe { self.part.as_mut() }
    }
}

/// A guard looks like what it guards.
macro_rules! show {
    ($([$($param:tt)*] $guard:ty => $value:ident;)*) => {$(
        impl<$($param)*> fmt::Debug for $guard
        where
            $value: fmt::Debug,
        {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }

        impl<$($param)*> fmt::Display for $guard
        where
            $value: fmt::Display,
        {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }
    )*};
}

show! {
    [T: ?Sized] RwLockReadGuard<'_, T> => T;
    [T: ?Sized] RwLockWriteGuard<'_, T> => T;
    [T: ?Sized] OwnedRwLockReadGuard<T> => T;
    [T: ?Sized] OwnedRwLockWriteGuard<T> => T;
    [U: ?Sized] MappedRwLockReadGuard<'_, U> => U;
    [U: ?Sized] MappedRwLockWriteGuard<'_, U> => U;
}
