//! What all combinators have in common: they end what they have started before they are ready.
//!
//! 1. The members are polled inside a region, until the outcome is certain: a value, or a panic of
//!    one of them; or until a scope around the combinator is cancelled.
//! 2. Then those that still run are asked to end, each as a scope of its own, so that one with
//!    cleanup does not keep the others. They are polled under a mask: the scope around waits.
//! 3. When none is left, the combinator is ready with the outcome. If it was cancelled it has none:
//!    it stays pending, and the scope that asked goes on to what is around the combinator.

use std::{
    panic::Location,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use crate::{
    error::{CancelCause, Cause, ScopeKind},
    task::{Cancelled, Region, Scope},
    util::panic,
};

/// A future of a `Result`. It names the parts of its output without a parameter of their own.
pub trait Fallible: Future {
    type Ok;
    type Error;
    fn into_result(output: Self::Output) -> Result<Self::Ok, Self::Error>;
    fn from_ok(value: Self::Ok) -> Self::Output;
}

impl<T, E, F: Future<Output = Result<T, E>>> Fallible for F {
    type Ok = T;
    type Error = E;

    fn into_result(output: Result<T, E>) -> Result<T, E> {
        output
    }

    fn from_ok(value: T) -> Result<T, E> {
        Ok(value)
    }
}

/// Futures that are run together.
pub trait Members {
    type Outcome;

    /// Polls those that run. Ready: the outcome is certain, and some may still run.
    fn poll_members(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Outcome>;

    /// Ends those that run. Ready: none is left.
    fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>, end: &Ending) -> Poll<()>;
}

/// Why members have to end.
pub struct Ending(Cause);

impl Ending {
    pub(super) fn cause(&self) -> &Cause {
        &self.0
    }
}

enum Outcome<T> {
    Value(T),
    Panicked(panic::Payload),
    Cancelled(Cancelled),
}

pin_project! {
    /// Runs members together: the future of the combinators.
    #[must_use = "futures do nothing unless awaited"]
    pub struct Combine<M: Members> {
        // Above the region: what is inside is dropped first.
        #[pin]
        members: M,
        region: Region,
        outcome: Option<(Outcome<M::Outcome>, Option<Ending>)>,
        made_at: &'static Location<'static>,
    }
}

impl<M: Members> Combine<M> {
    #[track_caller]
    #[inline]
    pub(super) fn new(members: M) -> Self {
        Self { members, region: Region::default(), outcome: None, made_at: Location::caller() }
    }
}

impl<M: Members> Future for Combine<M> {
    type Output = M::Outcome;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<M::Outcome> {
        let mut this = self.project();
        if this.outcome.is_none() {
            let members = this.members.as_mut();
            let polled = panic::catch(|| this.region.poll_catch(cx, |cx| members.poll_members(cx)));
            let outcome = match polled {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(Ok(value))) => Outcome::Value(value),
                Ok(Poll::Ready(Err(gone))) => Outcome::Cancelled(gone),
                Err(payload) => Outcome::Panicked(payload),
            };
            *this.outcome = Some((outcome, None));
        }
        let (outcome, ending) = this.outcome.as_mut().expect("just set");
        let made_at = *this.made_at;
        let members = this.members;
        let ending = ending.get_or_insert_with(|| {
            Ending(match outcome {
                Outcome::Cancelled(gone) => gone.shared_cause().clone(),
                _ => Cause::new(CancelCause::new(ScopeKind::Combinator, Some(made_at))),
            })
        });
        ready!(this.region.poll_masked(|| members.poll_end(cx, ending)));
        if let Outcome::Cancelled(gone) = outcome {
            // There is no outcome any more: the request must not be consumed by another branch.
            gone.insist();
            return Poll::Pending;
        }
        match this.outcome.take().expect("just used").0 {
            Outcome::Value(value) => Poll::Ready(value),
            Outcome::Panicked(payload) => std::panic::resume_unwind(payload),
            Outcome::Cancelled(_) => unreachable!("returned above"),
        }
    }
}

pin_project! {
    /// One future of several: a scope of its own.
    pub struct Member<F> {
        // `None` after its end. Above the scope: what is inside is dropped first.
        #[pin]
        inner: Option<F>,
        scope: Scope,
        // A poll has begun and not come back: it panicked.
        polling: bool,
        ending: bool,
    }
}

impl<F: Future> Member<F> {
    pub(super) fn new(future: F) -> Self {
        Self { inner: Some(future), scope: Scope::default(), polling: false, ending: false }
    }

    /// Polls it. Pending for ever after it was ready once.
    #[inline]
    pub(super) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.poll_due(cx, u64::MAX)
    }

    #[inline]
    fn poll_due(self: Pin<&mut Self>, cx: &mut Context<'_>, due: u64) -> Poll<F::Output> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Pending };
        *this.polling = true;
        let polled = this.scope.enter(due, || inner.poll(cx));
        *this.polling = false;
        if polled.is_ready() {
            this.inner.set(None);
        }
        polled
    }

    /// Ends it: drops it, after its regions have heard of that. What it still gives is dropped.
    pub(super) fn poll_end(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        end: &Ending,
    ) -> Poll<()> {
        let this = self.as_mut().project();
        if this.inner.is_none() {
            return Poll::Ready(());
        }
        let quiet = !std::mem::replace(this.ending, true) && !this.scope.has_regions();
        if !quiet && !*this.polling {
            this.scope.skip_turn();
            // To those inside it is due: inner scopes leave the request to it.
            let polled = panic::catch(|| drop(self.as_mut().poll_due(cx, 0)));
            let this = self.as_mut().project();
            if let Err(payload) = polled {
                // The outcome is certain; a panic of what is cleaned up is only told.
                panic::discard(payload);
            } else if this.inner.is_some() {
                ready!(this.scope.deliver(cx, || end.cause().clone()));
            }
        }
        let mut inner = self.project().inner;
        panic::contain(|| inner.set(None));
        Poll::Ready(())
    }
}
