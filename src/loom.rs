//! The one door to atomics, cells, locks and threads.
//!
//! Every protocol between threads takes its tools from here, so that a model
//! checker can stand in for them: under `--cfg loom` these names mean loom's
//! types, otherwise the standard ones. This is the only file that looks at that
//! cfg. What is process-wide (`static`) can not be a loom type, since those have
//! no `const` constructor; it takes [`global`] and is not modelled.
//!
//! The one shape difference, `UnsafeCell::with`, is given to the standard cell
//! here, after loom's.

#[cfg(loom)]
pub(crate) use loom::{cell::UnsafeCell, hint, sync::atomic};

#[cfg(not(loom))]
pub(crate) use std::{hint, sync::atomic};

/// Whether a model checker stands in: sizes of types are then loom's.
pub(crate) const MODELLED: bool = cfg!(loom);

/// A capacity: what it really is, or what a model can explore.
pub(crate) const fn pick(real: usize, model: usize) -> usize {
    if MODELLED { model } else { real }
}

/// Atomics for statics: always the standard ones, never modelled.
pub(crate) mod global {
    pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
}

/// `std::cell::UnsafeCell` in the shape of loom's, which can see who accesses it.
#[cfg(not(loom))]
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct UnsafeCell<T: ?Sized>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

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

/// The stealable run queue. crossbeam's deque can not be modelled, so a queue of
/// the same interface stands in for it under loom: a locked `VecDeque`.
#[cfg(not(loom))]
pub(crate) mod deque {
    pub(crate) use crossbeam_deque::{Steal, Stealer, Worker};
}

#[cfg(loom)]
pub(crate) mod deque {
    use std::collections::VecDeque;

    use loom::sync::{Arc, Mutex};

    pub(crate) enum Steal<T> {
        Empty,
        Success(T),
        #[allow(dead_code, reason = "part of the interface; a locked queue never asks for it")]
        Retry,
    }

    pub(crate) struct Worker<T>(Arc<Mutex<VecDeque<T>>>);

    #[derive(Clone)]
    pub(crate) struct Stealer<T>(Arc<Mutex<VecDeque<T>>>);

    impl<T> Worker<T> {
        pub(crate) fn new_fifo() -> Self {
            Self(Arc::new(Mutex::new(VecDeque::new())))
        }

        pub(crate) fn stealer(&self) -> Stealer<T> {
            Stealer(self.0.clone())
        }

        pub(crate) fn push(&self, item: T) {
            self.0.lock().unwrap().push_back(item);
        }

        pub(crate) fn pop(&self) -> Option<T> {
            self.0.lock().unwrap().pop_front()
        }

        pub(crate) fn len(&self) -> usize {
            self.0.lock().unwrap().len()
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.0.lock().unwrap().is_empty()
        }
    }

    impl<T> Stealer<T> {
        pub(crate) fn len(&self) -> usize {
            self.0.lock().unwrap().len()
        }

        pub(crate) fn steal_batch(&self, dest: &Worker<T>) -> Steal<()> {
            let mut taken = {
                let mut queue = self.0.lock().unwrap();
                let half = queue.len().div_ceil(2);
                queue.drain(..half).collect::<VecDeque<_>>()
            };
            if taken.is_empty() {
                return Steal::Empty;
            }
            dest.0.lock().unwrap().append(&mut taken);
            Steal::Success(())
        }
    }
}
