//! Sleeping.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_core::FusedFuture;

use super::Instant;
use crate::{
    runtime::Deadline,
    util::{clock, current},
};

/// Waits for `duration`, counted from this call.
///
/// Never early. A sleep that is over when first awaited, `sleep(Duration::ZERO)` for
/// one, gives the other tasks of its worker exactly one turn (perhaps more if its own task
/// has just held the worker for 10 ms). [`Duration::MAX`] waits for ever.
///
/// asyncio: `asyncio.sleep(delay)`. There the time counts from the first await, since
/// a coroutine does nothing before it.
///
/// # Cancel safety
///
/// Nothing is lost: a dropped `Sleep` takes its timer along. The time goes on, so
/// await it by `&mut` to continue, rather than begin a new one.
///
/// # Panics
///
/// When awaited with time left outside a runtime.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use ringloop::time::{Instant, sleep};
///
/// ringloop::run(async {
///     let start = Instant::now();
///     sleep(Duration::from_millis(2)).await;
///     assert!(start.elapsed() >= Duration::from_millis(2));
/// });
/// ```
#[doc(alias = "asyncio.sleep")]
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(Instant::now() + duration)
}

/// Waits until `deadline`, as [`sleep`] does for a duration.
///
/// asyncio: `loop.call_at(when, ..)` is the callback to it.
///
/// # Cancel safety
///
/// Nothing is lost: a dropped `Sleep` takes its timer along.
///
/// # Panics
///
/// When awaited with time left outside a runtime.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use ringloop::time::{Instant, sleep_until};
///
/// ringloop::run(async {
///     let deadline = Instant::now() + Duration::from_millis(2);
///     sleep_until(deadline).await;
///     assert!(Instant::now() >= deadline);
/// });
/// ```
#[doc(alias = "call_at")]
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline: Deadline::new(deadline.as_nanos()), yielded: false, ended: false }
}

/// A wait for a point in time: what [`sleep`] and [`sleep_until`] return.
///
/// It costs no timer before it is first polled. It is [`Unpin`], so it can be kept in
/// a struct and awaited by `&mut`; once over it may be awaited again, and is ready.
#[must_use = "a sleep does nothing unless awaited"]
pub struct Sleep {
    deadline: Deadline,
    /// Whether it has been Pending since it was made or reset.
    yielded: bool,
    /// It has been ready.
    ended: bool,
}

impl Sleep {
    /// When it ends.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        Instant::from_nanos(self.deadline.at())
    }

    /// Whether its time has come, awaited or not.
    #[must_use]
    pub fn is_elapsed(&self) -> bool {
        clock::now() >= self.deadline.at()
    }

    /// Lets it end at `deadline` instead, over or not.
    ///
    /// On the worker where it waits, a reset to a later time is one store: an idle
    /// timeout is best kept as one `Sleep` that every message pushes back.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use ringloop::time::{Instant, sleep};
    ///
    /// ringloop::run(async {
    ///     let mut idle = sleep(Duration::from_secs(3600));
    ///     let soon = Instant::now() + Duration::from_millis(1);
    ///     idle.reset(soon);
    ///     idle.await;
    ///     assert!(Instant::now() >= soon);
    /// });
    /// ```
    pub fn reset(&mut self, deadline: Instant) {
        (self.yielded, self.ended) = (false, false);
        self.deadline.reset(deadline.as_nanos());
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let over = this.deadline.poll(cx).is_ready();
        // One turn for the others, which also keeps a loop around a sleep of nothing from
        // holding its worker; and so does the budget, around a sleep that is long over.
        if over && this.yielded && current::budget_spend() {
            this.ended = true;
            return Poll::Ready(());
        }
        this.yielded = true;
        if over {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl FusedFuture for Sleep {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("deadline", &self.deadline())
            .field("elapsed", &self.is_elapsed())
            .finish()
    }
}
