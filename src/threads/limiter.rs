//! How many may do something at a time, with a name for each that does.

use std::{collections::HashSet, error::Error, fmt, sync::Arc};

use super::to_thread;
use crate::{
    error::{TaskError, TaskId},
    loom::{
        Mutex,
        global::{AtomicU64, Ordering},
    },
    sync::{OwnedPermit, Semaphore},
    task::current_task,
};

/// A limit on how many borrowers do something at a time: anyio's `CapacityLimiter`.
///
/// A [`CapacityToken`] has a borrower: the task that asks, unless said otherwise. A borrower cannot have two
/// tokens: a task that asked for a second one could wait for itself for ever. The
/// number of tokens can be changed at any time. Waiters are served in the order in which they came. Copies are
/// of the same limiter.
///
/// It limits jobs of a kind on the blocking pool ([`to_thread`](Self::to_thread)), without threads of their own.
///
/// asyncio: has none. anyio, trio: `CapacityLimiter(total_tokens)`.
///
/// ```
/// use ringloop::CapacityLimiter;
///
/// ringloop::run(async {
///     let databases = CapacityLimiter::new(2);
///     let token = databases.acquire().await.unwrap();
///     assert_eq!((databases.borrowed(), databases.available()), (1, 1));
///     drop(token);
///     let rows = databases.to_thread(|| 3).await.unwrap();
///     assert_eq!(rows, 3);
/// });
/// ```
#[derive(Clone)]
pub struct CapacityLimiter(Arc<Inner>);

struct Inner {
    /// Tokens that are left.
    semaphore: Arc<Semaphore>,
    state: Mutex<State>,
}

struct State {
    total: usize,
    /// Tokens that are out.
    borrowed: usize,
    /// Tokens to take out of use, since the total has been lowered: as soon as they come back.
    owed: usize,
    /// Those that have a token or wait for one.
    borrowers: HashSet<Borrower>,
}

/// A borrower of tokens of a [`CapacityLimiter`] that is no task: a customer, a connection.
///
/// ```
/// use ringloop::{Borrower, CapacityLimiter};
///
/// ringloop::run(async {
///     let limiter = CapacityLimiter::new(2);
///     let customer = Borrower::new();
///     let token = limiter.acquire_for(customer).await.unwrap();
///     assert!(limiter.try_acquire_for(customer).unwrap_err().is_already_borrowed());
///     drop(token);
/// });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Borrower(Who);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Who {
    Task(u64),
    Named(u64),
}

impl Borrower {
    /// A new borrower, unequal to all others.
    #[allow(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // Relaxed: only uniqueness matters.
        Self(Who::Named(NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// The task that asks; on a thread without one, a new borrower.
    fn here() -> Self {
        match current_task() {
            Some(task) => task.id().into(),
            None => Self::new(),
        }
    }
}

impl From<TaskId> for Borrower {
    fn from(task: TaskId) -> Self {
        Self(Who::Task(task.0))
    }
}

impl CapacityLimiter {
    /// A limiter of `total` tokens. With none, everybody waits until the total is raised.
    pub fn new(total: usize) -> Self {
        let state = State { total, borrowed: 0, owed: 0, borrowers: HashSet::new() };
        let semaphore = Arc::new(Semaphore::new(total.min(Semaphore::MAX_PERMITS)));
        Self(Arc::new(Inner { semaphore, state: Mutex::new(state) }))
    }

    /// How many tokens there are.
    ///
    /// anyio: `total_tokens`.
    #[doc(alias = "total_tokens")]
    pub fn total(&self) -> usize {
        self.0.state.lock().total
    }

    /// How many tokens are out. It may be more than the [total](Self::total), after that was lowered.
    #[doc(alias = "borrowed_tokens")]
    pub fn borrowed(&self) -> usize {
        self.0.state.lock().borrowed
    }

    /// How many more tokens could be borrowed.
    #[doc(alias = "available_tokens")]
    pub fn available(&self) -> usize {
        let state = self.0.state.lock();
        state.total.saturating_sub(state.borrowed)
    }

    /// Changes the number of tokens. With more, waiters get them at once. With fewer, no borrower
    /// loses a token; those that come back are not given out again until as few are out.
    ///
    /// anyio: `total_tokens = ..`.
    ///
    /// ```
    /// let limiter = ringloop::CapacityLimiter::new(1);
    /// let token = limiter.try_acquire().unwrap();
    /// limiter.set_total(0);
    /// assert_eq!((limiter.borrowed(), limiter.available()), (1, 0));
    /// drop(token);
    /// assert!(limiter.try_acquire().is_err());
    /// limiter.set_total(2);
    /// assert_eq!(limiter.available(), 2);
    /// ```
    pub fn set_total(&self, total: usize) {
        let total = total.min(Semaphore::MAX_PERMITS);
        let mut state = self.0.state.lock();
        let more = total.saturating_sub(state.total);
        let fewer = state.total.saturating_sub(total);
        state.total = total;
        let paid = more.min(state.owed);
        state.owed = state.owed - paid + fewer;
        drop(state);
        // Without the lock: wakers are foreign code (S6).
        if more > paid {
            self.0.semaphore.add_permits(more - paid);
        }
        if fewer > 0 {
            let taken = self.0.semaphore.forget_permits(fewer);
            let mut state = self.0.state.lock();
            // Tokens that came back meanwhile may have been taken out of use as well.
            let paid = taken.min(state.owed);
            state.owed -= paid;
            drop(state);
            self.0.semaphore.add_permits(taken - paid);
        }
    }

    /// Waits for a token, which the current task borrows; outside of a task, a new borrower.
    ///
    /// # Cancel safety
    ///
    /// It loses its place in line, and no token is lost.
    ///
    /// # Errors
    ///
    /// [`AlreadyBorrowed`]: the task has a token, or waits for one.
    pub async fn acquire(&self) -> Result<CapacityToken, AlreadyBorrowed> {
        self.acquire_for(Borrower::here()).await
    }

    /// Waits for a token on behalf of a borrower, as [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// It loses its place in line, and no token is lost.
    ///
    /// # Errors
    ///
    /// [`AlreadyBorrowed`]: the borrower has a token, or waits for one.
    #[doc(alias = "acquire_on_behalf_of")]
    pub async fn acquire_for(&self, borrower: Borrower) -> Result<CapacityToken, AlreadyBorrowed> {
        let claim = self.claim(borrower)?;
        let permit = self.0.semaphore.clone().acquire_owned().await;
        Ok(claim.fill(permit.unwrap_or_else(|_| unreachable!("it is never closed"))))
    }

    /// Takes a token if one is left and none waits for it.
    ///
    /// # Errors
    ///
    /// There is none, or the current task has one.
    #[doc(alias = "acquire_nowait")]
    pub fn try_acquire(&self) -> Result<CapacityToken, TryBorrowError> {
        self.try_acquire_for(Borrower::here())
    }

    /// Takes a token on behalf of a borrower, if one is left and none waits for it.
    ///
    /// # Errors
    ///
    /// There is none, or the borrower has one.
    #[doc(alias = "acquire_on_behalf_of_nowait")]
    pub fn try_acquire_for(&self, borrower: Borrower) -> Result<CapacityToken, TryBorrowError> {
        let claim = self
            .claim(borrower)
            .map_err(|AlreadyBorrowed(())| TryBorrowError { none_left: false })?;
        match self.0.semaphore.clone().try_acquire_owned() {
            Ok(permit) => Ok(claim.fill(permit)),
            Err(_) => Err(TryBorrowError { none_left: true }),
        }
    }

    /// Runs `f` on the runtime's blocking pool, as [`to_thread`](crate::to_thread), once there is a token, which the
    /// job itself borrows until it ends.
    ///
    /// anyio: `to_thread.run_sync(f, limiter=..)`.
    ///
    /// # Cancel safety
    ///
    /// A job that waits for a token or for a thread never runs; one that runs is asked to
    /// [end](crate::check_cancelled), and is waited for if it is a cancelled task that awaits this.
    ///
    /// # Errors
    ///
    /// Those of a [job](TaskError).
    ///
    /// # Panics
    ///
    /// On a thread that belongs to no runtime.
    pub async fn to_thread<F, T>(&self, f: F) -> Result<T, TaskError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let token = self.acquire_for(Borrower::new()).await;
        let token = token.unwrap_or_else(|AlreadyBorrowed(())| unreachable!("the borrower is new"));
        let job = move || {
            let _token = token;
            f()
        };
        to_thread(job).join().await
    }

    fn claim(&self, borrower: Borrower) -> Result<Claim<'_>, AlreadyBorrowed> {
        match self.0.state.lock().borrowers.insert(borrower) {
            true => Ok(Claim { limiter: self, borrower, filled: false }),
            false => Err(AlreadyBorrowed(())),
        }
    }
}

impl fmt::Debug for CapacityLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CapacityLimiter")
            .field("total", &self.total())
            .field("borrowed", &self.borrowed())
            .finish_non_exhaustive()
    }
}

/// A borrower without a token so far.
struct Claim<'a> {
    limiter: &'a CapacityLimiter,
    borrower: Borrower,
    filled: bool,
}

impl Claim<'_> {
    fn fill(mut self, permit: OwnedPermit) -> CapacityToken {
        self.filled = true;
        self.limiter.0.state.lock().borrowed += 1;
        let (limiter, borrower) = (self.limiter.0.clone(), self.borrower);
        CapacityToken { limiter, borrower, permit: Some(permit) }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.filled {
            self.limiter.0.state.lock().borrowers.remove(&self.borrower);
        }
    }
}

/// The right to do what a [`CapacityLimiter`] limits. Dropping it gives it back.
#[must_use = "dropping it gives the token back"]
pub struct CapacityToken {
    limiter: Arc<Inner>,
    borrower: Borrower,
    /// Until it is dropped.
    permit: Option<OwnedPermit>,
}

impl CapacityToken {
    /// Its borrower.
    pub fn borrower(&self) -> Borrower {
        self.borrower
    }
}

impl Drop for CapacityToken {
    fn drop(&mut self) {
        let mut state = self.limiter.state.lock();
        state.borrowers.remove(&self.borrower);
        state.borrowed -= 1;
        let owed = state.owed > 0;
        state.owed -= usize::from(owed);
        drop(state);
        if let Some(permit) = self.permit.take().filter(|_| owed) {
            permit.forget();
        }
    }
}

impl fmt::Debug for CapacityToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CapacityToken").field("borrower", &self.borrower).finish_non_exhaustive()
    }
}

/// The borrower has a token of the [`CapacityLimiter`] already, or waits for one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AlreadyBorrowed(());

impl fmt::Debug for AlreadyBorrowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AlreadyBorrowed")
    }
}

impl fmt::Display for AlreadyBorrowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "this borrower has a token already, or waits for one: drop the first, or borrow the second \
             on behalf of another Borrower",
        )
    }
}

impl Error for AlreadyBorrowed {}

crate::error::into_io_error!(AlreadyBorrowed);

/// Why there is no token of a [`CapacityLimiter`] at once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TryBorrowError {
    none_left: bool,
}

impl TryBorrowError {
    /// Whether all tokens are out, or others wait for them.
    pub fn is_none_left(&self) -> bool {
        self.none_left
    }

    /// Whether the borrower has a token already, or waits for one.
    pub fn is_already_borrowed(&self) -> bool {
        !self.none_left
    }
}

impl fmt::Debug for TryBorrowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TryBorrowError({self})")
    }
}

impl fmt::Display for TryBorrowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.none_left {
            true => f.write_str("all tokens of the limiter are out: acquire() waits for one"),
            false => AlreadyBorrowed(()).fmt(f),
        }
    }
}

impl Error for TryBorrowError {}
