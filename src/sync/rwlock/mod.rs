//! Many readers, or one writer.

mod guards;

use std::{borrow::Cow, fmt, sync::Arc};

use super::{
    TryLockError,
    permits::{MAX_PERMITS, Permits},
};
use crate::{
    loom::{UnsafeCell, const_fn},
    util::{park, wait::WaitKind},
};

pub use self::guards::{
    MappedRwLockReadGuard, MappedRwLockWriteGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard,
    RwLockReadGuard, RwLockWriteGuard,
};

/// The permit of one reader.
const READ: usize = 1;
/// All permits: a writer's.
const WRITE: usize = MAX_PERMITS;

/// A value that many may read at a time, or one may change.
///
/// All stand in one line: a reader that comes after a waiting writer waits behind it, so that
/// writers are not starved. So a task that reads must not wait for a second read of the same lock:
/// a writer may stand between the two, and wait for the first to end.
///
/// asyncio has none.
///
/// # Poisoning
///
/// There is none: a panic unlocks, and leaves the value as it is.
///
/// # Examples
///
/// ```
/// use ringloop::sync::RwLock;
///
/// ringloop::run(async {
///     let lock = RwLock::new(1);
///     {
///         let one = lock.read().await;
///         let two = lock.read().await;
///         assert_eq!(*one + *two, 2);
///         assert!(lock.try_write().is_err());
///     }
///     *lock.write().await += 1;
///     assert_eq!(lock.into_inner(), 2);
/// });
/// ```
pub struct RwLock<T: ?Sized> {
    permits: Permits,
    value: UnsafeCell<T>,
}

// SAFETY: a shared reference gives `&T` to many threads, or `&mut T` to one at a time, on
// whatever thread.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}
// SAFETY: it owns the value.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}

impl<T> RwLock<T> {
    const_fn! {
        /// A lock around `value`, that nobody holds.
        #[must_use]
        pub fn new(value: T) -> Self {
            Self { permits: Permits::new(MAX_PERMITS, WaitKind::RwLock), value: UnsafeCell::new(value) }
        }
    }

    /// Gives it a name, which the [list of tasks](crate::task::TaskInfo::waits_for) shows for the
    /// tasks that wait here.
    ///
    /// ```
    /// let named = ringloop::sync::RwLock::new(0).named("accounts");
    /// ```
    #[must_use]
    pub fn named(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.permits.set_name(name.into());
        self
    }

    /// The value, since the lock is nobody else's any more.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    async fn acquire(&self, permits: usize) {
        let acquired = self.permits.acquire(permits).await;
        // Nobody closes it.
        debug_assert!(acquired.is_ok());
    }

    fn try_acquire(&self, permits: usize) -> Result<(), TryLockError> {
        self.permits.try_acquire(permits).map_err(|_| TryLockError(()))
    }

    /// Waits until nobody writes, nor waits to, and takes the right to read.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped at any time: it loses its place in line.
    pub async fn read(&self) -> RwLockReadGuard<'_, T> {
        self.acquire(READ).await;
        RwLockReadGuard::new(self)
    }

    /// Waits until nobody reads or writes, and takes the right to write.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped at any time: it loses its place in line, and those behind it go on.
    pub async fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.acquire(WRITE).await;
        RwLockWriteGuard::new(self)
    }

    /// [`read`](Self::read) with a guard that holds the lock by its `Arc`, and may go to another
    /// task.
    ///
    /// # Cancel safety
    ///
    /// As [`read`](Self::read).
    pub async fn read_owned(self: Arc<Self>) -> OwnedRwLockReadGuard<T> {
        self.acquire(READ).await;
        OwnedRwLockReadGuard::new(self)
    }

    /// [`write`](Self::write) with a guard that holds the lock by its `Arc`, and may go to
    /// another task.
    ///
    /// # Cancel safety
    ///
    /// As [`write`](Self::write).
    pub async fn write_owned(self: Arc<Self>) -> OwnedRwLockWriteGuard<T> {
        self.acquire(WRITE).await;
        OwnedRwLockWriteGuard::new(self)
    }

    /// Takes the right to read, if nobody writes or waits.
    ///
    /// # Errors
    ///
    /// If somebody does.
    pub fn try_read(&self) -> Result<RwLockReadGuard<'_, T>, TryLockError> {
        self.try_acquire(READ)?;
        Ok(RwLockReadGuard::new(self))
    }

    /// Takes the right to write, if nobody reads or writes.
    ///
    /// # Errors
    ///
    /// If somebody does.
    pub fn try_write(&self) -> Result<RwLockWriteGuard<'_, T>, TryLockError> {
        self.try_acquire(WRITE)?;
        Ok(RwLockWriteGuard::new(self))
    }

    /// [`try_read`](Self::try_read) with a guard that holds the lock by its `Arc`.
    ///
    /// # Errors
    ///
    /// If somebody writes or waits.
    pub fn try_read_owned(self: Arc<Self>) -> Result<OwnedRwLockReadGuard<T>, TryLockError> {
        self.try_acquire(READ)?;
        Ok(OwnedRwLockReadGuard::new(self))
    }

    /// [`try_write`](Self::try_write) with a guard that holds the lock by its `Arc`.
    ///
    /// # Errors
    ///
    /// If somebody reads or writes.
    pub fn try_write_owned(self: Arc<Self>) -> Result<OwnedRwLockWriteGuard<T>, TryLockError> {
        self.try_acquire(WRITE)?;
        Ok(OwnedRwLockWriteGuard::new(self))
    }

    /// [`read`](Self::read) for a plain thread, which sleeps meanwhile.
    ///
    /// # Panics
    ///
    /// On a worker's thread, which it would hold up.
    #[track_caller]
    pub fn blocking_read(&self) -> RwLockReadGuard<'_, T> {
        park::block_on(self.read())
    }

    /// [`write`](Self::write) for a plain thread, which sleeps meanwhile.
    ///
    /// # Panics
    ///
    /// On a worker's thread, which it would hold up.
    #[track_caller]
    pub fn blocking_write(&self) -> RwLockWriteGuard<'_, T> {
        park::block_on(self.write())
    }

    /// The value, without locking: the borrow shows that nobody holds it.
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: `&mut self`.
        self.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("RwLock");
        let (left, waiters) = (self.permits.available(), self.permits.waiting());
        match self.try_read() {
            Ok(guard) => shown.field("value", &&*guard),
            Err(_) => shown.field("value", &format_args!("<locked>")),
        };
        let readers = if left == 0 { 0 } else { MAX_PERMITS - left };
        shown
            .field("readers", &readers)
            .field("written", &(left == 0))
            .field("waiters", &waiters)
            .finish()
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}
