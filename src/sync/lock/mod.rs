//! One holder at a time.

mod guards;
mod holder;

use std::{borrow::Cow, error::Error, fmt, sync::Arc};

use self::holder::Holder;
use super::permits::Permits;
use crate::{
    loom::{
        UnsafeCell, const_fn,
        global::{AtomicU64, Ordering},
    },
    util::{current, park, wait::WaitKind},
};

pub use self::guards::{LockGuard, MappedLockGuard, OwnedLockGuard, OwnedMappedLockGuard};

/// A value that one task at a time may use, also across its awaits.
///
/// [`lock`](Self::lock) gives a guard that dereferences to the value; dropping it unlocks. Tasks
/// that wait are served in order: the lock is handed from one to the next, and no task that comes
/// later gets in between. It is not re-entrant: a task that waits for a lock which it holds itself
/// waits for ever, unless another part of it, as in a `join!`, releases the lock.
///
/// A lock that is never held across an await is better a [`std::sync::Mutex`].
///
/// asyncio: `asyncio.Lock`. There the lock stands beside what it guards, `release` may be
/// called by anybody, and releasing one that is free raises `RuntimeError`; here it holds the
/// value, and the guard is what unlocks.
///
/// # Poisoning
///
/// There is none, as in asyncio: a panic unlocks, and leaves the value as it is.
///
/// # Debug builds
///
/// With `debug_assertions` a lock knows which task took it: `{:?}` shows it, and a task that
/// waits for a lock that it took itself is [reported](crate::ErrorEvent::LockHeldByWaiter), but
/// not twice in a row. Where a guard goes is not known: a task that handed it on to another
/// one, and waits for the lock then, is reported as well.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use ringloop::sync::Lock;
///
/// ringloop::run(async {
///     let balance = Arc::new(Lock::new(0));
///     let tasks: Vec<_> = (0..10)
///         .map(|_| {
///             let balance = balance.clone();
///             ringloop::spawn(async move {
///                 let mut balance = balance.lock().await;
///                 let before = *balance;
///                 ringloop::yield_now().await; // nobody gets in between
///                 *balance = before + 1;
///             })
///         })
///         .collect();
///     for task in tasks {
///         task.await.unwrap();
///     }
///     assert_eq!(*balance.lock().await, 10);
/// });
/// ```
#[doc(alias = "Mutex")]
pub struct Lock<T: ?Sized> {
    raw: RawLock,
    value: UnsafeCell<T>,
}

// SAFETY: a shared reference gives access to the value to one at a time, on whatever thread:
// that of `raw`'s one permit.
unsafe impl<T: ?Sized + Send> Sync for Lock<T> {}
// SAFETY: it owns the value.
unsafe impl<T: ?Sized + Send> Send for Lock<T> {}

/// The lock without what it guards.
struct RawLock {
    /// One permit: the right to the value.
    permits: Permits,
    holder: Holder,
    /// The lock that the holder's task had taken before this one. The holder's.
    outer: AtomicU64,
    /// What stands for its name in a wait, or 0.
    name: u64,
}

impl RawLock {
    #[inline]
    async fn acquire(&self) {
        let acquired = self.holder.watch(self.permits.acquire(1)).await;
        // Nobody closes it.
        debug_assert!(acquired.is_ok());
        self.enter();
    }

    #[inline]
    fn try_acquire(&self) -> Result<(), TryLockError> {
        self.permits.try_acquire(1).map_err(|_| TryLockError(()))?;
        self.enter();
        Ok(())
    }

    /// Records that the task which is polled has it.
    #[inline]
    fn enter(&self) {
        self.holder.enter();
        // Relaxed: its holder alone uses it.
        self.outer.store(current::holds(self.key()), Ordering::Relaxed);
    }

    /// As the wait for it is noted.
    #[inline]
    fn key(&self) -> u64 {
        if self.name != 0 { self.name } else { self.permits.key() }
    }

    #[inline]
    fn release(&self) {
        self.holder.leave();
        current::lets_go(self.key(), self.outer.load(Ordering::Relaxed));
        self.permits.release(1);
    }
}

impl<T> Lock<T> {
    const_fn! {
        /// A lock around `value`, that nobody holds.
        #[must_use]
        pub fn new(value: T) -> Self {
            let permits = Permits::new(1, WaitKind::Lock);
            let raw = RawLock { permits, holder: Holder::new(), outer: AtomicU64::new(0), name: 0 };
            Self { raw, value: UnsafeCell::new(value) }
        }
    }

    /// Gives it a name, which the [list of tasks](crate::task::TaskInfo::waits_for) shows for the
    /// tasks that wait here.
    ///
    /// ```
    /// let named = ringloop::sync::Lock::new(0).named("accounts");
    /// ```
    #[must_use]
    pub fn named(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.raw.name = self.raw.permits.set_name(name.into());
        self
    }

    /// The value, since the lock is nobody else's any more.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Lock<T> {
    /// Waits until the lock is free, and takes it.
    ///
    /// A lock that is free is taken at once. A task that does so again and again yields
    /// sometimes all the same, so that others run (asyncio: it never yields).
    ///
    /// asyncio: `await lock.acquire()`, or `async with lock`.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped at any time: it loses its place in line. If the lock was handed to it
    /// just then, it goes to the next.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::Lock;
    ///
    /// ringloop::run(async {
    ///     let names = Lock::new(Vec::new());
    ///     names.lock().await.push("ringloop");
    ///     assert_eq!(names.into_inner(), ["ringloop"]);
    /// });
    /// ```
    #[doc(alias = "acquire")]
    pub async fn lock(&self) -> LockGuard<'_, T> {
        self.raw.acquire().await;
        LockGuard::new(self)
    }

    /// [`lock`](Self::lock) with a guard that holds the lock by its `Arc`, and may go to another
    /// task.
    ///
    /// # Cancel safety
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use ringloop::sync::Lock;
    ///
    /// ringloop::run(async {
    ///     let lock = Arc::new(Lock::new(1));
    ///     let mut guard = lock.clone().lock_owned().await;
    ///     ringloop::spawn(async move { *guard += 1 }).await.unwrap();
    ///     assert_eq!(*lock.lock().await, 2);
    /// });
    /// ```
    pub async fn lock_owned(self: Arc<Self>) -> OwnedLockGuard<T> {
        self.raw.acquire().await;
        OwnedLockGuard::new(self)
    }

    /// Takes the lock if it is free and nobody waits for it.
    ///
    /// # Errors
    ///
    /// If it is held.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::Lock;
    ///
    /// let lock = Lock::new(7);
    /// let guard = lock.try_lock().unwrap();
    /// assert!(lock.try_lock().is_err());
    /// assert_eq!(*guard, 7);
    /// ```
    pub fn try_lock(&self) -> Result<LockGuard<'_, T>, TryLockError> {
        self.raw.try_acquire()?;
        Ok(LockGuard::new(self))
    }

    /// [`try_lock`](Self::try_lock) with a guard that holds the lock by its `Arc`.
    ///
    /// # Errors
    ///
    /// If it is held.
    pub fn try_lock_owned(self: Arc<Self>) -> Result<OwnedLockGuard<T>, TryLockError> {
        self.raw.try_acquire()?;
        Ok(OwnedLockGuard::new(self))
    }

    /// [`lock`](Self::lock) for a plain thread, which sleeps until it has it. Threads and tasks
    /// stand in one line.
    ///
    /// # Panics
    ///
    /// On a worker's thread, which it would hold up.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::Lock;
    ///
    /// let lock = Lock::new(0);
    /// std::thread::scope(|scope| {
    ///     for _ in 0..4 {
    ///         scope.spawn(|| *lock.blocking_lock() += 1);
    ///     }
    /// });
    /// assert_eq!(lock.into_inner(), 4);
    /// ```
    #[track_caller]
    pub fn blocking_lock(&self) -> LockGuard<'_, T> {
        park::block_on(self.lock())
    }

    /// [`lock_owned`](Self::lock_owned) for a plain thread.
    ///
    /// # Panics
    ///
    /// On a worker's thread, which it would hold up.
    #[track_caller]
    pub fn blocking_lock_owned(self: Arc<Self>) -> OwnedLockGuard<T> {
        park::block_on(self.lock_owned())
    }

    /// The value, without locking: the borrow shows that nobody holds it.
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: `&mut self`.
        self.value.with_mut(|value| unsafe { &mut *value })
    }

    /// Whether somebody holds it now; it may have changed by the time you know.
    #[must_use]
    #[doc(alias = "locked")]
    pub fn is_locked(&self) -> bool {
        self.raw.permits.available() == 0
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Lock");
        let waiters = self.raw.permits.waiting();
        match self.try_lock() {
            Ok(guard) => shown.field("value", &&*guard),
            Err(_) => shown.field("value", &format_args!("<locked>")),
        };
        self.raw.holder.show(&mut shown);
        shown.field("waiters", &waiters).finish()
    }
}

impl<T: Default> Default for Lock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for Lock<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

/// The lock is held, or others wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TryLockError(pub(super) ());

impl fmt::Display for TryLockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the lock is held")
    }
}

impl Error for TryLockError {}
