//! The one door to atomics, cells, locks and all else that threads share.
//!
//! Every protocol between threads takes its tools from here, so that a model
//! checker can stand in for them: under `--cfg loom` these names mean loom's
//! types, otherwise the standard ones. This and the crate's root are the only files
//! that look at that cfg. What is process-wide (`static`) can not be a loom type,
//! since those have no `const` constructor; it takes [`global`] and is not modelled.
//!
//! The one shape difference, `UnsafeCell::with`, is given to the standard cell
//! here, after loom's.

#[cfg(loom)]
pub(crate) use loom::{hint, thread::yield_now};

#[cfg(not(loom))]
pub(crate) use std::{alloc, hint, sync::atomic, thread::yield_now, thread_local};

#[cfg(not(loom))]
pub(crate) use parking_lot::Mutex;

/// The address of the value in a lock.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) fn address_within<T>(mutex: &Mutex<T>) -> u64 {
    mutex.data_ptr().addr() as u64
}

/// The lock's own: for reports, which models have not.
#[cfg(loom)]
pub(crate) fn address_within<T>(mutex: &Mutex<T>) -> u64 {
    std::ptr::from_ref(mutex).addr() as u64
}

#[cfg(loom)]
pub(crate) use self::stand_ins::{Condvar, Mutex as WaitLock, WaitGuard};
/// A lock with whose holders others exchange wake-ups, by a [`Condvar`].
#[cfg(not(loom))]
pub(crate) use self::wait::{Condvar, WaitGuard, WaitLock};

/// The lock of sections that last some nanoseconds. In a model it is one that the checker
/// knows: waiting in a loop would have more orders than can be tried.
#[cfg(not(loom))]
pub(crate) use self::spin::SpinLock as BriefLock;
#[cfg(loom)]
pub(crate) use self::stand_ins::Mutex as BriefLock;

#[cfg(loom)]
pub(crate) use self::stand_ins::{Mutex, UnsafeCell, alloc, atomic, deque, eventfd, thread_local};

/// Stores a pointer where others only take, each by an RMW. Loom 0.7 does not always order a plain
/// store among RMWs, and would have two of them take one pointer: for it this is an RMW, too.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) fn put<T>(place: &atomic::AtomicPtr<T>, value: *mut T, order: atomic::Ordering) {
    place.store(value, order);
}

#[cfg(loom)]
pub(crate) fn put<T>(place: &atomic::AtomicPtr<T>, value: *mut T, order: atomic::Ordering) {
    place.swap(value, order);
}

/// Raises a flag that others lower by an RMW: for loom an RMW, as [`put`] is.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) fn raise(flag: &atomic::AtomicBool, order: atomic::Ordering) {
    flag.store(true, order);
}

#[cfg(loom)]
pub(crate) fn raise(flag: &atomic::AtomicBool, order: atomic::Ordering) {
    flag.swap(true, order);
}

/// Is part of what must not be leaked: the checker complains of one that has not been dropped.
#[cfg(not(loom))]
pub(crate) struct Tracked;

#[cfg(not(loom))]
impl Tracked {
    pub(crate) const fn new() -> Self {
        Self
    }
}

#[cfg(loom)]
pub(crate) use self::stand_ins::Tracked;

/// Whether a model checker stands in: sizes of types are then loom's.
pub(crate) const MODELLED: bool = cfg!(loom);

/// A capacity: the real one, or one that a model can explore.
pub(crate) const fn pick(real: usize, model: usize) -> usize {
    if MODELLED { model } else { real }
}

/// How many a batch takes that has room for `room`. A model makes it smaller, down to one, so that
/// it explores the first batch and the next with few threads.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) fn batch(room: usize) -> usize {
    room
}

#[cfg(loom)]
pub(crate) use self::stand_ins::{batch, set_batch};

/// A function that is `const`, but in a model: the checked types are made at run time.
#[cfg(not(loom))]
macro_rules! const_fn {
    ($(#[$attr:meta])* $vis:vis fn $($rest:tt)*) => { $(#[$attr])* $vis const fn $($rest)* };
}
#[cfg(loom)]
macro_rules! const_fn {
    ($(#[$attr:meta])* $vis:vis fn $($rest:tt)*) => { $(#[$attr])* $vis fn $($rest)* };
}
pub(crate) use const_fn;

/// A function that gives the process's one value of a type, kept in a `PerProcess`; in a model,
/// where nothing outlives an execution, a new one each time.
#[cfg(not(loom))]
macro_rules! process_wide {
    ($(#[$attr:meta])* fn $name:ident() -> &'static $type:ty, $keeper:ident, $new:expr;) => {
        $(#[$attr])*
        fn $name() -> &'static $type {
            static VALUE: $keeper<$type> = $keeper::new();
            VALUE.get(|| $new)
        }
    };
}
#[cfg(loom)]
macro_rules! process_wide {
    ($(#[$attr:meta])* fn $name:ident() -> &'static $type:ty, $keeper:ident, $new:expr;) => {
        $(#[$attr])*
        fn $name() -> &'static $type {
            // It is named in any case, so that its import is used.
            let _ = $keeper::<$type>::new;
            Box::leak(Box::new($new))
        }
    };
}
pub(crate) use process_wide;

/// A static; in a model, where nothing outlives an execution, one of each execution.
#[cfg(not(loom))]
macro_rules! shared_static {
    ($(#[$attr:meta])* static $name:ident: $type:ty = $new:expr;) => {
        $(#[$attr])*
        static $name: $type = $new;
    };
}
#[cfg(loom)]
macro_rules! shared_static {
    ($(#[$attr:meta])* static $name:ident: $type:ty = $new:expr;) => {
        loom::lazy_static! {
            $(#[$attr])*
            static ref $name: $type = $new;
        }
    };
}
pub(crate) use shared_static;

/// The time of a model, in ns; `None` outside of models.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) fn model_time() -> Option<u64> {
    None
}

#[cfg(loom)]
pub(crate) use self::stand_ins::{model_time, set_model_time};

/// Atomics and locks for statics: always the standard ones, never modelled.
pub(crate) mod global {
    pub(crate) use super::wait::WaitLock as Mutex;
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering,
    };
}

/// `std::cell::UnsafeCell` in the shape of loom's, which can see each access to it.
#[cfg(not(loom))]
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct UnsafeCell<T: ?Sized>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    pub(crate) fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

#[cfg(not(loom))]
impl<T: ?Sized> UnsafeCell<T> {
    /// Calls `f` with a pointer for shared access; the caller dereferences it.
    #[inline(always)]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    /// Calls `f` with a pointer for exclusive access; the caller dereferences it.
    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// The stealable run queue.
#[cfg(not(loom))]
pub(crate) mod deque {
    pub(crate) use crossbeam_deque::{Steal, Stealer, Worker};
}

/// What a doorbell asks of the kernel.
#[cfg(not(loom))]
pub(crate) mod eventfd {
    use std::{
        os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd},
        time::Duration,
    };

    /// A worker's sleep in a model. Elsewhere there is none.
    pub(crate) enum Sleeper {}

    impl Sleeper {
        pub(crate) fn sleep(&self, _timeout: Option<Duration>) {
            match *self {}
        }
    }

    /// Adds one to an eventfd.
    ///
    /// # Safety
    ///
    /// `fd` is open during the call.
    #[inline]
    pub(crate) unsafe fn ring(fd: RawFd) {
        // SAFETY: the caller's promise.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        // It cannot fail in a way that matters: the counter never fills, for nobody
        // lives to ring 2^64 times.
        let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
    }

    /// Closes it.
    ///
    /// # Safety
    ///
    /// `fd` is open, and nobody else uses or closes it.
    pub(crate) unsafe fn close(fd: RawFd) {
        // SAFETY: the caller's promise.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
    }
}

/// A ring of a model. Elsewhere there is none.
#[cfg(not(loom))]
pub(crate) mod ring {
    pub(crate) enum Ring {}

    impl Ring {
        pub(crate) fn poll(&mut self, _id: u64, _multi: u32) {
            match *self {}
        }

        pub(crate) fn receive(&mut self, _id: u64) {
            match *self {}
        }

        pub(crate) fn cancel(&mut self, _id: u64, _flags: u32) {
            match *self {}
        }

        pub(crate) fn has_work(&self) -> bool {
            match *self {}
        }

        pub(crate) fn enter(&mut self, _wait: bool) {
            match *self {}
        }

        pub(crate) fn completion(&mut self) -> Option<(u64, i32, u32)> {
            match *self {}
        }
    }
}

#[cfg(loom)]
mod kernel;
#[cfg(loom)]
pub(crate) mod ring {
    pub(crate) use super::kernel::{Kernel, Ring};
}

mod spin;
pub(crate) use self::spin::SpinLock;

#[cfg_attr(loom, allow(dead_code, reason = "models take the checked ones"))]
mod wait;

#[cfg(loom)]
mod stand_ins;
