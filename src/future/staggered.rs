//! Attempts that start one after the other.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use super::{
    combine::{Combine, Ending, ErrorOf, HasOutcome, Members, OkOf, ResultLike},
    many::Running,
};
use crate::{runtime::Deadline, time::Instant};

/// Attempts of which some have begun: what [`race_staggered`] runs.
pub struct Staggered<I: Iterator<Item: Future<Output: ResultLike>>> {
    attempts: std::iter::Fuse<I>,
    delay: Duration,
    /// When the next attempt begins.
    next: Deadline,
    running: Running<I::Item>,
    begun: usize,
    errors: Vec<Option<ErrorOf<I::Item>>>,
}

impl<I: Iterator<Item: Future<Output: ResultLike>>> Unpin for Staggered<I> {}

impl<I: Iterator<Item: Future<Output: ResultLike>>> Staggered<I> {
    fn begin(&mut self) -> bool {
        let Some(attempt) = self.attempts.next() else { return false };
        self.running.push(self.begun, attempt);
        self.errors.push(None);
        self.begun += 1;
        self.next.reset((Instant::now() + self.delay).as_nanos());
        true
    }
}

impl<I: Iterator<Item: Future<Output: ResultLike>>> HasOutcome for Staggered<I> {
    type Outcome = Result<(usize, OkOf<I::Item>), Vec<ErrorOf<I::Item>>>;
}

impl<I: Iterator<Item: Future<Output: ResultLike>>> Members for Staggered<I> {
    fn poll_members(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Outcome> {
        let this = &mut *self;
        if this.begun == 0 {
            this.begin();
        }
        loop {
            match this.running.poll_next(cx) {
                Poll::Ready(Some((index, output))) => match output.into_result() {
                    Ok(value) => return Poll::Ready(Ok((index, value))),
                    Err(error) => {
                        this.errors[index] = Some(error);
                        // The next one need not wait for a failure.
                        this.begin();
                    }
                },
                Poll::Ready(None) => {
                    if !this.begin() {
                        let errors = std::mem::take(&mut this.errors);
                        return Poll::Ready(Err(errors.into_iter().flatten().collect()));
                    }
                }
                Poll::Pending => {
                    if this.next.at() == u64::MAX || this.next.poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    if !this.begin() {
                        this.next.reset(u64::MAX);
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    fn end_quietly(mut self: Pin<&mut Self>) -> bool {
        self.running.end_quietly()
    }

    fn poll_end(mut self: Pin<&mut Self>, cx: &mut Context<'_>, end: &Ending) -> Poll<()> {
        self.running.poll_end(cx, end)
    }
}

/// Starts attempts one after the other, `delay` apart; the first that succeeds wins: its index and
/// its value.
///
/// An attempt that fails lets the next one begin at once. `attempts` is asked for each when it begins.
/// The losers are ended, with their cleanup, before it is ready itself. If all fail, the errors come in
/// the order in which the attempts began.
///
/// asyncio: what `create_connection` does by `happy_eyeballs_delay`. The source: RFC 8305, section 5.
///
/// # Cancel safety
///
/// That of the attempts.
///
/// # Errors
///
/// All errors, if no attempt succeeds; none, if there is no attempt.
///
/// # Panics
///
/// When it has to wait outside a runtime.
///
/// ```
/// use std::time::Duration;
/// use ringloop::race_staggered;
///
/// ringloop::run(async {
///     let attempts = ["bad", "good", "better"].into_iter().map(async |name| match name {
///         "bad" => Err("refused"),
///         _ => Ok(name),
///     });
///     let won = race_staggered(Duration::from_secs(60), attempts).await;
///     assert_eq!(won, Ok((1, "good"))); // at once: the first has failed
/// });
/// ```
#[track_caller]
#[doc(alias = "happy_eyeballs")]
pub fn race_staggered<I>(delay: Duration, attempts: I) -> Combine<Staggered<I::IntoIter>>
where
    I: IntoIterator<Item: Future<Output: ResultLike>>,
{
    Combine::new(Staggered {
        attempts: attempts.into_iter().fuse(),
        delay,
        next: Deadline::new(u64::MAX),
        running: Running::new(),
        begun: 0,
        errors: Vec::new(),
    })
}
