//! A value that is made once.

use std::{convert::Infallible, error::Error, fmt, future::poll_fn};

use super::permits::{Permits, Refusal};
use crate::{
    loom::{UnsafeCell, const_fn},
    util::{current, wait::WaitKind},
};

/// A value that is made once, by the first task that needs it, while the others wait.
///
/// If that task fails, panics or is cancelled, the next in line makes it.
///
/// asyncio has none; `functools.cache` around a coroutine, as it is meant.
///
/// # Examples
///
/// ```
/// use ringloop::sync::OnceCell;
///
/// static CONFIG: OnceCell<String> = OnceCell::new();
///
/// async fn config() -> &'static str {
///     CONFIG.get_or_init(async || "read from somewhere".to_owned()).await
/// }
///
/// ringloop::run(async {
///     assert_eq!(config().await, "read from somewhere");
///     assert_eq!(config().await, "read from somewhere"); // not read again
/// });
/// ```
pub struct OnceCell<T> {
    /// One permit: the right to make the value. It is never given back once there is one, and
    /// closed instead.
    ///
    /// Invariant O1: it is closed by the holder of the permit, after it has put the value there;
    /// from then on the value is only read.
    permits: Permits,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: a shared reference gives `&T` to many threads, and takes a T from any: O1.
unsafe impl<T: Send + Sync> Sync for OnceCell<T> {}
// SAFETY: it owns the value.
unsafe impl<T: Send> Send for OnceCell<T> {}

/// The right to make the value. It goes to the next in line if it is not used.
struct Making<'a, T>(&'a OnceCell<T>);

impl<'a, T> Making<'a, T> {
    fn finish(self, value: T) -> &'a T {
        let cell = self.0;
        std::mem::forget(self);
        // SAFETY: O1: the permit is ours, and nobody reads before it is closed.
        cell.value.with_mut(|place| unsafe { *place = Some(value) });
        cell.permits.close();
        cell.get().expect("it is closed")
    }
}

impl<T> Drop for Making<'_, T> {
    fn drop(&mut self) {
        self.0.permits.release(1);
    }
}

impl<T> OnceCell<T> {
    const_fn! {
        /// An empty cell.
        #[must_use]
        pub fn new() -> Self {
            Self { permits: Permits::new(1, WaitKind::OnceCell), value: UnsafeCell::new(None) }
        }
    }

    /// The value, if there is one.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        // An Acquire, which pairs with the Release in `close`.
        if !self.permits.is_closed() {
            return None;
        }
        // SAFETY: O1.
        self.value.with(|value| unsafe { (*value).as_ref() })
    }

    /// The value, if there is one, to be changed: the borrow shows that nobody reads it.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        // SAFETY: `&mut self`.
        self.value.with_mut(|value| unsafe { (*value).as_mut() })
    }

    /// The value, if there is one.
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }

    /// Puts a value there.
    ///
    /// # Errors
    ///
    /// The value comes back if there is one already, or somebody is about to make one.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::OnceCell;
    ///
    /// let cell = OnceCell::new();
    /// assert!(cell.set(1).is_ok());
    /// let error = cell.set(2).unwrap_err();
    /// assert!(error.is_already_set());
    /// assert_eq!((error.into_inner(), cell.get()), (2, Some(&1)));
    /// ```
    pub fn set(&self, value: T) -> Result<(), SetError<T>> {
        match self.permits.try_acquire(1) {
            Ok(()) => {
                Making(self).finish(value);
                Ok(())
            }
            Err(why) => Err(SetError { value, why }),
        }
    }

    /// The value. If there is none, `make` makes it; if another task makes it already, this waits
    /// for that one.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped at any time. If it was the one to make the value, the future of
    /// `make` is dropped with it, and the next in line calls its own.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::OnceCell;
    ///
    /// ringloop::run(async {
    ///     let cell = OnceCell::new();
    ///     assert_eq!(*cell.get_or_init(async || 5).await, 5);
    ///     assert_eq!(*cell.get_or_init(async || 6).await, 5);
    /// });
    /// ```
    pub async fn get_or_init<F, Fut>(&self, make: F) -> &T
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = T>,
    {
        let made = self.get_or_try_init(async || Ok::<_, Infallible>(make().await)).await;
        match made {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    /// [`get_or_init`](Self::get_or_init) with a `make` that may fail: then the cell stays empty,
    /// and the next in line tries.
    ///
    /// # Cancel safety
    ///
    /// As [`get_or_init`](Self::get_or_init).
    ///
    /// # Errors
    ///
    /// That of `make`.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::OnceCell;
    ///
    /// ringloop::run(async {
    ///     let cell = OnceCell::new();
    ///     let failed = cell.get_or_try_init(async || "12a".parse::<u32>()).await;
    ///     assert!(failed.is_err());
    ///     let made = cell.get_or_try_init(async || "12".parse::<u32>()).await;
    ///     assert_eq!(made, Ok(&12));
    /// });
    /// ```
    pub async fn get_or_try_init<F, Fut, E>(&self, make: F) -> Result<&T, E>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        if let Some(value) = self.get() {
            poll_fn(|cx| current::poll_budget(cx)).await;
            return Ok(value);
        }
        match self.permits.acquire(1).await {
            Ok(()) => {
                let making = Making(self);
                Ok(making.finish(make().await?))
            }
            Err(_closed) => Ok(self.get().expect("it is closed")),
        }
    }
}

impl<T> Default for OnceCell<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> From<T> for OnceCell<T> {
    fn from(value: T) -> Self {
        let cell = Self::new();
        let set = cell.set(value);
        debug_assert!(set.is_ok());
        cell
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnceCell")
            .field("value", &self.get())
            .field("waiters", &self.permits.waiting())
            .finish()
    }
}

/// A [`OnceCell`] was not set: it has a value already, or somebody is making one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SetError<T> {
    value: T,
    why: Refusal,
}

impl<T> SetError<T> {
    /// Whether there is a value; else somebody is about to make one, and may fail.
    #[must_use]
    pub fn is_already_set(&self) -> bool {
        self.why == Refusal::Closed
    }

    /// The value that was not taken.
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T> fmt::Debug for SetError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SetError({self})")
    }
}

impl<T> fmt::Display for SetError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.why {
            Refusal::Closed => "the cell has a value already",
            Refusal::TooFew => "somebody is making the cell's value",
        })
    }
}

impl<T> Error for SetError<T> {}
