//! Permits for a resource of which there is a limited number.

use std::{borrow::Cow, error::Error, fmt, mem, sync::Arc};

use super::permits::{Closed, MAX_PERMITS, Permits, Refusal};
use crate::{
    loom::{
        atomic::{AtomicUsize, Ordering},
        const_fn,
    },
    util::{park, wait::WaitKind},
};

/// A number of permits, for which tasks wait in line.
///
/// A task that has a [`Permit`] may do what the semaphore limits, and gives it back by dropping
/// it. Permits that come back are handed to the first in line before it runs. One that waits
/// for many holds up those behind it, so that it gets them in the end.
///
/// asyncio: `asyncio.Semaphore`. There `release` may be called by anybody; here a permit is a
/// value, so that none is given back twice, and [`add_permits`](Self::add_permits) makes new ones.
/// `locked()` is [`is_locked`](Self::is_locked). There a task that was given a permit and has not
/// run yet still counts as waiting, and holds up tasks that come for other permits. Here it has its
/// permit, and a permit that is left is free for all: a task that gives back one permit and takes
/// another may go on before it. For `asyncio.BoundedSemaphore` see [`bounded`](Self::bounded).
///
/// # Examples
///
/// At most two at a time:
///
/// ```
/// use std::sync::Arc;
/// use ringloop::sync::Semaphore;
///
/// ringloop::run(async {
///     let semaphore = Arc::new(Semaphore::new(2));
///     let tasks: Vec<_> = (0..10)
///         .map(|n| {
///             let semaphore = semaphore.clone();
///             ringloop::spawn(async move {
///                 let _permit = semaphore.acquire().await.expect("it is never closed");
///                 ringloop::yield_now().await; // at most two are here
///                 n
///             })
///         })
///         .collect();
///     for (n, task) in tasks.into_iter().enumerate() {
///         assert_eq!(task.await.unwrap(), n);
///     }
///     assert_eq!(semaphore.available_permits(), 2);
/// });
/// ```
#[doc(alias = "BoundedSemaphore")]
pub struct Semaphore {
    permits: Permits,
    /// Permits left, held and waited with; without those that were forgotten.
    total: AtomicUsize,
    bound: usize,
}

impl Semaphore {
    /// As many permits as can be counted.
    pub const MAX_PERMITS: usize = MAX_PERMITS;

    const_fn! {
        /// A semaphore with `permits` permits; it may have none at first.
        ///
        /// # Panics
        ///
        /// With more than [`MAX_PERMITS`](Self::MAX_PERMITS).
        #[must_use]
        #[track_caller]
        pub fn new(permits: usize) -> Self {
            Self::with_bound(permits, MAX_PERMITS)
        }
    }

    const_fn! {
        /// A semaphore with `permits` permits that never has more of them.
        ///
        /// asyncio: `asyncio.BoundedSemaphore(value)`, where one `release` too many raises
        /// `ValueError`. Here a permit cannot be given back twice; what is checked is
        /// [`add_permits`](Self::add_permits), which may only replace what was
        /// [forgotten](Permit::forget).
        ///
        /// # Panics
        ///
        /// With more than [`MAX_PERMITS`](Self::MAX_PERMITS).
        #[must_use]
        #[track_caller]
        pub fn bounded(permits: usize) -> Self {
            Self::with_bound(permits, permits)
        }
    }

    const_fn! {
        #[track_caller]
        fn with_bound(permits: usize, bound: usize) -> Self {
            assert!(permits <= MAX_PERMITS, "more permits than Semaphore::MAX_PERMITS");
            Self { permits: Permits::new(permits, WaitKind::Semaphore), total: AtomicUsize::new(permits), bound }
        }
    }

    /// Gives it a name, which the [list of tasks](crate::task::TaskInfo::waits_for) shows for the
    /// tasks that wait here.
    ///
    /// ```
    /// let named = ringloop::sync::Semaphore::new(1).named("accounts");
    /// ```
    #[must_use]
    pub fn named(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.permits.set_name(name.into());
        self
    }

    /// Waits for a permit.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped at any time: it loses its place in line, and no permit is lost.
    ///
    /// # Errors
    ///
    /// If the semaphore is closed, now or while it waits.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::Semaphore;
    ///
    /// ringloop::run(async {
    ///     let semaphore = Semaphore::new(1);
    ///     let permit = semaphore.acquire().await.unwrap();
    ///     assert!(semaphore.try_acquire().unwrap_err().is_no_permits());
    ///     drop(permit);
    ///     assert!(semaphore.try_acquire().is_ok());
    /// });
    /// ```
    pub async fn acquire(&self) -> Result<Permit<'_>, AcquireError> {
        self.acquire_many(1).await
    }

    /// Waits for `count` permits, and takes them all at once.
    ///
    /// Tasks behind it wait until it has them. If there will never be as many, it waits until the
    /// semaphore is closed. A `count` of 0 never waits.
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Errors
    ///
    /// If the semaphore is closed, now or while it waits.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::Semaphore;
    ///
    /// ringloop::run(async {
    ///     let connections = Semaphore::new(8);
    ///     let half = connections.acquire_many(4).await.unwrap();
    ///     assert_eq!((half.count(), connections.available_permits()), (4, 4));
    /// });
    /// ```
    pub async fn acquire_many(&self, count: usize) -> Result<Permit<'_>, AcquireError> {
        self.permits.acquire(count).await?;
        Ok(Permit { semaphore: self, count })
    }

    /// [`acquire`](Self::acquire) with a permit that holds the semaphore by its `Arc`, and may
    /// go to another task.
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Errors
    ///
    /// If the semaphore is closed, now or while it waits.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use ringloop::sync::Semaphore;
    ///
    /// ringloop::run(async {
    ///     let semaphore = Arc::new(Semaphore::new(3));
    ///     // The next round waits until there is a permit for a task more.
    ///     let mut tasks = Vec::new();
    ///     for n in 0..10 {
    ///         let permit = semaphore.clone().acquire_owned().await.unwrap();
    ///         tasks.push(ringloop::spawn(async move {
    ///             let _permit = permit;
    ///             n * n
    ///         }));
    ///     }
    ///     assert_eq!(tasks.pop().unwrap().await.unwrap(), 81);
    /// });
    /// ```
    pub async fn acquire_owned(self: Arc<Self>) -> Result<OwnedPermit, AcquireError> {
        self.acquire_many_owned(1).await
    }

    /// [`acquire_many`](Self::acquire_many) with a permit that holds the semaphore by its `Arc`.
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Errors
    ///
    /// If the semaphore is closed, now or while it waits.
    pub async fn acquire_many_owned(
        self: Arc<Self>,
        count: usize,
    ) -> Result<OwnedPermit, AcquireError> {
        self.permits.acquire(count).await?;
        Ok(OwnedPermit { semaphore: self, count })
    }

    /// Takes a permit if one is left and nobody waits for it.
    ///
    /// # Errors
    ///
    /// If there is none, or the semaphore is closed.
    pub fn try_acquire(&self) -> Result<Permit<'_>, TryAcquireError> {
        self.try_acquire_many(1)
    }

    /// Takes `count` permits if as many are left and nobody waits for them; none in any case,
    /// unless it is closed.
    ///
    /// # Errors
    ///
    /// If there are fewer, or the semaphore is closed.
    pub fn try_acquire_many(&self, count: usize) -> Result<Permit<'_>, TryAcquireError> {
        self.permits.try_acquire(count).map_err(TryAcquireError)?;
        Ok(Permit { semaphore: self, count })
    }

    /// [`try_acquire`](Self::try_acquire) with a permit that holds the semaphore by its `Arc`.
    ///
    /// # Errors
    ///
    /// If there is none, or the semaphore is closed.
    pub fn try_acquire_owned(self: Arc<Self>) -> Result<OwnedPermit, TryAcquireError> {
        self.try_acquire_many_owned(1)
    }

    /// [`try_acquire_many`](Self::try_acquire_many) with a permit that holds the semaphore by its
    /// `Arc`.
    ///
    /// # Errors
    ///
    /// If there are fewer, or the semaphore is closed.
    pub fn try_acquire_many_owned(
        self: Arc<Self>,
        count: usize,
    ) -> Result<OwnedPermit, TryAcquireError> {
        self.permits.try_acquire(count).map_err(TryAcquireError)?;
        Ok(OwnedPermit { semaphore: self, count })
    }

    /// [`acquire`](Self::acquire) for a plain thread, which sleeps until it has the permit.
    ///
    /// # Errors
    ///
    /// If the semaphore is closed, now or while it waits.
    ///
    /// # Panics
    ///
    /// On a worker's thread, which it would hold up.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::Semaphore;
    ///
    /// let semaphore = Semaphore::new(0);
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| semaphore.add_permits(1));
    ///     let _permit = semaphore.blocking_acquire().unwrap();
    /// });
    /// ```
    #[track_caller]
    pub fn blocking_acquire(&self) -> Result<Permit<'_>, AcquireError> {
        self.blocking_acquire_many(1)
    }

    /// [`acquire_many`](Self::acquire_many) for a plain thread.
    ///
    /// # Errors
    ///
    /// If the semaphore is closed, now or while it waits.
    ///
    /// # Panics
    ///
    /// On a worker's thread, which it would hold up.
    #[track_caller]
    pub fn blocking_acquire_many(&self, count: usize) -> Result<Permit<'_>, AcquireError> {
        park::block_on(self.acquire_many(count))
    }

    /// Makes `count` new permits, for the first in line.
    ///
    /// asyncio: `release()` without an `acquire()` before.
    ///
    /// # Panics
    ///
    /// If there would be more, with those that are held, than [`MAX_PERMITS`](Self::MAX_PERMITS)
    /// or than the semaphore's [bound](Self::bounded).
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::Semaphore;
    ///
    /// let semaphore = Semaphore::new(0);
    /// assert!(semaphore.try_acquire().is_err());
    /// semaphore.add_permits(1);
    /// assert!(semaphore.try_acquire().is_ok());
    /// ```
    #[doc(alias = "release")]
    #[track_caller]
    pub fn add_permits(&self, count: usize) {
        // Relaxed: a number of its own; what comes with permits goes with them.
        let counted = self.total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |total| {
            total.checked_add(count).filter(|total| *total <= self.bound)
        });
        if let Err(total) = counted {
            panic!("{total} permits and {count} more are more than {}", self.bound);
        }
        self.permits.release(count);
    }

    /// Takes away permits that are left, `count` at most, and says how many: the semaphore has as
    /// many fewer from now on. [`add_permits`](Self::add_permits) makes new ones.
    ///
    /// Permits that are set aside for a task that waits for more of them are taken away as well.
    /// Permits that tasks hold are not: see [`Permit::forget`].
    ///
    /// asyncio: has no counterpart.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::Semaphore;
    ///
    /// let semaphore = Semaphore::new(3);
    /// let permit = semaphore.try_acquire().unwrap();
    /// assert_eq!(semaphore.forget_permits(5), 2);
    /// drop(permit);
    /// assert_eq!(semaphore.available_permits(), 1);
    /// ```
    pub fn forget_permits(&self, count: usize) -> usize {
        let forgotten = self.permits.forget(count);
        self.forget(forgotten);
        forgotten
    }

    /// Refuses permits from now on, also to tasks that wait already. Permits that are held stay.
    ///
    /// asyncio: has no counterpart.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::Semaphore;
    ///
    /// ringloop::run(async {
    ///     let semaphore = Semaphore::new(1);
    ///     semaphore.close();
    ///     assert!(semaphore.acquire().await.is_err());
    ///     assert!(semaphore.try_acquire().unwrap_err().is_closed());
    /// });
    /// ```
    pub fn close(&self) {
        self.permits.close();
    }

    /// Whether it was [closed](Self::close).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.permits.is_closed()
    }

    /// How many permits are left. They may be kept for the first in line, which wants more of them:
    /// see [`is_locked`](Self::is_locked).
    #[must_use]
    pub fn available_permits(&self) -> usize {
        self.permits.available()
    }

    /// Whether an [`acquire`](Self::acquire) would wait now: no permit is left, or those that are
    /// left are kept for a task that waits for many. `false` if it is closed.
    ///
    /// asyncio: `locked()`.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::Semaphore;
    ///
    /// let semaphore = Semaphore::new(1);
    /// assert!(!semaphore.is_locked());
    /// let permit = semaphore.try_acquire().unwrap();
    /// assert!(semaphore.is_locked());
    /// # drop(permit);
    /// ```
    #[must_use]
    #[doc(alias = "locked")]
    pub fn is_locked(&self) -> bool {
        self.permits.is_locked()
    }

    fn forget(&self, count: usize) {
        // Relaxed: as in `add_permits`.
        self.total.fetch_sub(count, Ordering::Relaxed);
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("permits", &self.available_permits())
            .field("closed", &self.is_closed())
            .field("waiters", &self.permits.waiting())
            .finish()
    }
}

/// Permits of a [`Semaphore`], given back when this is dropped.
#[must_use = "a permit is given back when it is dropped, so at once if it is not kept"]
#[clippy::has_significant_drop]
#[derive(Debug)]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    count: usize,
}

impl Permit<'_> {
    /// How many permits it stands for.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Never gives them back: the semaphore has fewer from now on.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::Semaphore;
    ///
    /// let semaphore = Semaphore::bounded(2);
    /// semaphore.try_acquire().unwrap().forget();
    /// assert_eq!(semaphore.available_permits(), 1);
    /// semaphore.add_permits(1); // one more would be too many
    /// ```
    pub fn forget(mut self) {
        self.semaphore.forget(mem::take(&mut self.count));
    }

    /// Takes `count` permits out of it; `None` if it has fewer.
    #[must_use = "what was split off is given back when it is dropped"]
    pub fn split(&mut self, count: usize) -> Option<Self> {
        self.count = self.count.checked_sub(count)?;
        Some(Self { semaphore: self.semaphore, count })
    }

    /// Puts the permits of another one into this.
    ///
    /// # Panics
    ///
    /// If they are those of another semaphore.
    #[track_caller]
    pub fn merge(&mut self, mut other: Self) {
        assert!(std::ptr::eq(self.semaphore, other.semaphore), "permits of two semaphores");
        self.count += mem::take(&mut other.count);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.semaphore.permits.release(self.count);
    }
}

/// A [`Permit`] that holds its semaphore by an `Arc`, from
/// [`acquire_owned`](Semaphore::acquire_owned).
#[must_use = "a permit is given back when it is dropped, so at once if it is not kept"]
#[clippy::has_significant_drop]
#[derive(Debug)]
pub struct OwnedPermit {
    semaphore: Arc<Semaphore>,
    count: usize,
}

impl OwnedPermit {
    /// How many permits it stands for.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The semaphore that they are of.
    #[must_use]
    pub fn semaphore(&self) -> &Arc<Semaphore> {
        &self.semaphore
    }

    /// Never gives them back: the semaphore has fewer from now on.
    pub fn forget(mut self) {
        self.semaphore.forget(mem::take(&mut self.count));
    }

    /// Takes `count` permits out of it; `None` if it has fewer.
    #[must_use = "what was split off is given back when it is dropped"]
    pub fn split(&mut self, count: usize) -> Option<Self> {
        self.count = self.count.checked_sub(count)?;
        Some(Self { semaphore: self.semaphore.clone(), count })
    }

    /// Puts the permits of another one into this.
    ///
    /// # Panics
    ///
    /// If they are those of another semaphore.
    #[track_caller]
    pub fn merge(&mut self, mut other: Self) {
        assert!(Arc::ptr_eq(&self.semaphore, &other.semaphore), "permits of two semaphores");
        self.count += mem::take(&mut other.count);
    }
}

impl Drop for OwnedPermit {
    fn drop(&mut self) {
        self.semaphore.permits.release(self.count);
    }
}

/// The semaphore is closed: there are no more permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcquireError(());

impl From<Closed> for AcquireError {
    fn from(Closed: Closed) -> Self {
        Self(())
    }
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the semaphore is closed")
    }
}

impl Error for AcquireError {}

crate::error::into_io_error!(AcquireError);

/// Why there is no permit right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TryAcquireError(Refusal);

impl TryAcquireError {
    /// Whether the semaphore is closed: there will be none any more.
    #[must_use]
    pub fn is_closed(self) -> bool {
        self.0 == Refusal::Closed
    }

    /// Whether all permits are held, or others wait for them: later there may be some.
    #[must_use]
    pub fn is_no_permits(self) -> bool {
        self.0 == Refusal::TooFew
    }
}

impl fmt::Display for TryAcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Refusal::Closed => "the semaphore is closed",
            Refusal::TooFew => "no permits are left",
        })
    }
}

impl Error for TryAcquireError {}
