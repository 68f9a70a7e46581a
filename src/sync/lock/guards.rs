//! What the holder of a lock holds.
//!
//! Invariants, cited below:
//! * G1 A guard stands for the one permit of its lock, from its making to its drop: the value
//!   is its own.
//! * G2 A mapped guard's pointer leads into that value, and was made from a `&mut` to it.

use std::{
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    ptr::NonNull,
    sync::Arc,
};

use super::{Lock, RawLock};

/// Has the lock; the drop gives it back.
struct Held<'a>(&'a RawLock);

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.release();
    }
}

/// The right to the value of a [`Lock`], until this is dropped.
#[must_use = "the lock is free again when its guard is dropped, so at once if it is not kept"]
#[clippy::has_significant_drop]
pub struct LockGuard<'a, T: ?Sized> {
    lock: &'a Lock<T>,
    held: Held<'a>,
    /// It is `Sync` as a reference to the value is.
    _value: PhantomData<&'a mut T>,
}

impl<'a, T: ?Sized> LockGuard<'a, T> {
    /// The caller has just acquired the lock (G1).
    #[inline]
    pub(super) fn new(lock: &'a Lock<T>) -> Self {
        Self { lock, held: Held(&lock.raw), _value: PhantomData }
    }

    /// The lock that it is of.
    pub(in super::super) fn lock(guard: &Self) -> &'a Lock<T> {
        guard.lock
    }

    /// A guard for a part of the value.
    ///
    /// It is called as `LockGuard::map(guard, f)`, since methods are the value's.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::{Lock, LockGuard};
    ///
    /// ringloop::run(async {
    ///     let pair = Lock::new((1, "one"));
    ///     let mut name = LockGuard::map(pair.lock().await, |pair| &mut pair.1);
    ///     *name = "uno";
    ///     drop(name);
    ///     assert_eq!(*pair.lock().await, (1, "uno"));
    /// });
    /// ```
    pub fn map<U: ?Sized>(
        mut guard: Self,
        f: impl FnOnce(&mut T) -> &mut U,
    ) -> MappedLockGuard<'a, U> {
        let part = NonNull::from(f(&mut guard));
        MappedLockGuard { part, held: guard.held, _part: PhantomData }
    }

    /// A guard for a part of the value, if it is there.
    ///
    /// # Errors
    ///
    /// The guard comes back if `f` gives `None`.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::{Lock, LockGuard};
    ///
    /// ringloop::run(async {
    ///     let list = Lock::new(vec![1, 2]);
    ///     let first = LockGuard::try_map(list.lock().await, |list| list.first_mut());
    ///     *first.unwrap() += 6;
    ///     assert_eq!(*list.lock().await, [7, 2]);
    /// });
    /// ```
    pub fn try_map<U: ?Sized>(
        mut guard: Self,
        f: impl FnOnce(&mut T) -> Option<&mut U>,
    ) -> Result<MappedLockGuard<'a, U>, Self> {
        let part = f(&mut guard).map(NonNull::from);
        match part {
            Some(part) => Ok(MappedLockGuard { part, held: guard.held, _part: PhantomData }),
            None => Err(guard),
        }
    }
}

impl<T: ?Sized> Deref for LockGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: G1.
        self.lock.value.with(|value| unsafe { &*value })
    }
}

impl<T: ?Sized> DerefMut for LockGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: G1.
        self.lock.value.with_mut(|value| unsafe { &mut *value })
    }
}

/// A [`LockGuard`] that holds its lock by an `Arc`, from [`Lock::lock_owned`].
#[must_use = "the lock is free again when its guard is dropped, so at once if it is not kept"]
#[clippy::has_significant_drop]
pub struct OwnedLockGuard<T: ?Sized> {
    lock: Arc<Lock<T>>,
    /// It is `Sync` as the value is.
    _value: PhantomData<T>,
}

impl<T: ?Sized> OwnedLockGuard<T> {
    /// The caller has just acquired the lock (G1).
    #[inline]
    pub(super) fn new(lock: Arc<Lock<T>>) -> Self {
        Self { lock, _value: PhantomData }
    }

    /// The lock that it is of.
    pub(in super::super) fn lock(guard: &Self) -> &Arc<Lock<T>> {
        &guard.lock
    }

    /// A guard for a part of the value: see [`LockGuard::map`].
    pub fn map<U: ?Sized>(
        mut guard: Self,
        f: impl FnOnce(&mut T) -> &mut U,
    ) -> OwnedMappedLockGuard<T, U> {
        let part = NonNull::from(f(&mut guard));
        OwnedMappedLockGuard { part, _held: guard, _part: PhantomData }
    }

    /// A guard for a part of the value, if it is there: see [`LockGuard::try_map`].
    ///
    /// # Errors
    ///
    /// The guard comes back if `f` gives `None`.
    pub fn try_map<U: ?Sized>(
        mut guard: Self,
        f: impl FnOnce(&mut T) -> Option<&mut U>,
    ) -> Result<OwnedMappedLockGuard<T, U>, Self> {
        let part = f(&mut guard).map(NonNull::from);
        match part {
            Some(part) => Ok(OwnedMappedLockGuard { part, _held: guard, _part: PhantomData }),
            None => Err(guard),
        }
    }
}

impl<T: ?Sized> Drop for OwnedLockGuard<T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.raw.release();
    }
}

impl<T: ?Sized> Deref for OwnedLockGuard<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: G1.
        self.lock.value.with(|value| unsafe { &*value })
    }
}

impl<T: ?Sized> DerefMut for OwnedLockGuard<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: G1.
        self.lock.value.with_mut(|value| unsafe { &mut *value })
    }
}

/// The right to a part of the value of a [`Lock`], from [`LockGuard::map`].
#[must_use = "the lock is free again when its guard is dropped, so at once if it is not kept"]
#[clippy::has_significant_drop]
pub struct MappedLockGuard<'a, U: ?Sized> {
    part: NonNull<U>,
    held: Held<'a>,
    _part: PhantomData<&'a mut U>,
}

// SAFETY: it is a `&mut U` and the right to unlock, which may be used on any thread.
unsafe impl<U: ?Sized + Send> Send for MappedLockGuard<'_, U> {}
// SAFETY: a shared reference to it gives a `&U` and nothing else.
unsafe impl<U: ?Sized + Sync> Sync for MappedLockGuard<'_, U> {}

impl<'a, U: ?Sized> MappedLockGuard<'a, U> {
    /// A guard for a part of the part.
    pub fn map<V: ?Sized>(
        mut guard: Self,
        f: impl FnOnce(&mut U) -> &mut V,
    ) -> MappedLockGuard<'a, V> {
        let part = NonNull::from(f(&mut guard));
        MappedLockGuard { part, held: guard.held, _part: PhantomData }
    }
}

impl<U: ?Sized> Deref for MappedLockGuard<'_, U> {
    type Target = U;

    #[inline]
    fn deref(&self) -> &U {
        // SAFETY: G1, G2.
        unsafe { self.part.as_ref() }
    }
}

impl<U: ?Sized> DerefMut for MappedLockGuard<'_, U> {
    #[inline]
    fn deref_mut(&mut self) -> &mut U {
        // SAFETY: G1, G2.
        unsafe { self.part.as_mut() }
    }
}

/// The right to a part of the value of a [`Lock`], which it holds by an `Arc`, from
/// [`OwnedLockGuard::map`].
#[must_use = "the lock is free again when its guard is dropped, so at once if it is not kept"]
#[clippy::has_significant_drop]
pub struct OwnedMappedLockGuard<T: ?Sized, U: ?Sized> {
    part: NonNull<U>,
    _held: OwnedLockGuard<T>,
    /// Not `'static`: the part lives as long as what is held.
    _part: PhantomData<*mut U>,
}

// SAFETY: it is a `&mut U` and the lock, whose last owner it may be.
unsafe impl<T: ?Sized + Send, U: ?Sized + Send> Send for OwnedMappedLockGuard<T, U> {}
// SAFETY: a shared reference to it gives a `&U` and nothing else.
unsafe impl<T: ?Sized, U: ?Sized + Sync> Sync for OwnedMappedLockGuard<T, U> {}

impl<T: ?Sized, U: ?Sized> OwnedMappedLockGuard<T, U> {
    /// A guard for a part of the part.
    pub fn map<V: ?Sized>(
        mut guard: Self,
        f: impl FnOnce(&mut U) -> &mut V,
    ) -> OwnedMappedLockGuard<T, V> {
        let part = NonNull::from(f(&mut guard));
        OwnedMappedLockGuard { part, _held: guard._held, _part: PhantomData }
    }
}

impl<T: ?Sized, U: ?Sized> Deref for OwnedMappedLockGuard<T, U> {
    type Target = U;

    #[inline]
    fn deref(&self) -> &U {
        // SAFETY: G1, G2.
        unsafe { self.part.as_ref() }
    }
}

impl<T: ?Sized, U: ?Sized> DerefMut for OwnedMappedLockGuard<T, U> {
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
    [T: ?Sized] LockGuard<'_, T> => T;
    [T: ?Sized] OwnedLockGuard<T> => T;
    [U: ?Sized] MappedLockGuard<'_, U> => U;
    [T: ?Sized, U: ?Sized] OwnedMappedLockGuard<T, U> => U;
}
