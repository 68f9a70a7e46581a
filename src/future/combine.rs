//! What all combinators have in common: they end what they have started before they are ready.
//!
//! 1. The members are polled inside a region, until the outcome is certain: a value, or a panic of
//!    one of them; or until a scope around the combinator is cancelled.
//! 2. Then those that still run are asked to end, each as a scope of its own, so that one with
//!    cleanup does not keep the others. They are polled under a mask: the scope around waits.
//! 3. When none is left, the combinator is ready with the outcome. If it was cancelled it has none:
//!    it stays pending, and the scope that asked goes on to what is around the combinator.

use std::{
    mem,
    panic::Location,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use crate::{
    error::{CancelCause, Cause, ScopeKind, TaskError},
    task::{Cancelled, Region, Scope, Task},
    util::{panic, rare::Rare},
};

/// A `Result`. It names its parts without parameters of their own.
#[diagnostic::on_unimplemented(
    message = "the future gives `{Self}`, and it has to give a `Result`",
    label = "not a `Result`",
    note = "for futures that cannot fail take `gather!` or `gather`, or end them with `Ok::<_, E>(value)`"
)]
pub trait ResultLike {
    type Ok;
    type Error;
    fn into_result(self) -> Result<Self::Ok, Self::Error>;
    fn from_ok(value: Self::Ok) -> Self;
}

impl<T, E> ResultLike for Result<T, E> {
    type Ok = T;
    type Error = E;

    fn into_result(self) -> Result<T, E> {
        self
    }

    fn from_ok(value: T) -> Self {
        Ok(value)
    }
}

/// The value of a future whose output is a `Result`.
pub type OkOf<F> = <<F as Future>::Output as ResultLike>::Ok;
/// Its error.
pub type ErrorOf<F> = <<F as Future>::Output as ResultLike>::Error;

/// What futures that are run together come to. Apart from [`Members`]: the compiler asks for it where it looks
/// whether a future is `Send`, and then has forgotten what a bound on lifetimes would need.
pub trait HasOutcome {
    type Outcome;
}

/// Futures that are run together.
pub trait Members: HasOutcome {
    /// Polls those that run. Ready: the outcome is certain, and some may still run.
    fn poll_members(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Outcome>;

    /// Drops those that have nothing to clean up. Says whether none is left.
    fn end_quietly(self: Pin<&mut Self>) -> bool;

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

/// What is left to do once the outcome is certain.
struct End<T> {
    outcome: Outcome<T>,
    ending: Ending,
}

pin_project! {
    /// Runs members together: the future of the combinators.
    #[must_use = "futures do nothing unless awaited"]
    pub struct Combine<M: HasOutcome> {
        // Above the region: what is inside is dropped first.
        #[pin]
        members: M,
        region: Region,
        // Only where some still run then.
        end: Rare<Box<End<M::Outcome>>>,
        made_at: &'static Location<'static>,
    }
}

impl<M: Members> Combine<M> {
    #[track_caller]
    #[inline(always)]
    pub(super) fn new(members: M) -> Self {
        Self {
            members,
            region: Region::default(),
            end: Rare::default(),
            made_at: Location::caller(),
        }
    }

    /// Steps 2 and 3.
    #[cold]
    fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<M::Outcome> {
        let this = self.project();
        let end = this.end.as_mut().expect("there is an outcome");
        let members = this.members;
        ready!(this.region.poll_masked(|| members.poll_end(cx, &end.ending)));
        if let Outcome::Cancelled(gone) = &end.outcome {
            // There is no outcome any more: the request must not be consumed by another branch.
            gone.insist();
            return Poll::Pending;
        }
        match this.end.take().expect("just used").outcome {
            Outcome::Value(value) => Poll::Ready(value),
            Outcome::Panicked(payload) => std::panic::resume_unwind(payload),
            Outcome::Cancelled(_) => unreachable!("returned above"),
        }
    }

    /// The outcome is certain: those that run have to end.
    #[cold]
    fn begin_end(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        outcome: Outcome<M::Outcome>,
    ) -> Poll<M::Outcome> {
        let cause = match &outcome {
            Outcome::Cancelled(gone) => gone.shared_cause().clone(),
            _ => Cause::new(CancelCause::new(ScopeKind::Combinator, Some(self.made_at))),
        };
        let end = End { outcome, ending: Ending(cause) };
        *self.as_mut().project().end = Rare::new(Box::new(end));
        self.poll_end(cx)
    }
}

impl<M: Members> Future for Combine<M> {
    type Output = M::Outcome;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<M::Outcome> {
        let mut this = self.as_mut().project();
        if this.end.is_some() {
            return self.poll_end(cx);
        }
        let members = this.members.as_mut();
        let polled =
            panic::catch(|| this.region.poll_open_catch(cx, |cx| members.poll_members(cx)));
        let outcome = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(Ok(value))) => {
                if this.members.end_quietly() {
                    this.region.end();
                    return Poll::Ready(value);
                }
                this.region.become_mask();
                Outcome::Value(value)
            }
            Ok(Poll::Ready(Err(gone))) => Outcome::Cancelled(gone),
            Err(payload) => Outcome::Panicked(payload),
        };
        self.begin_end(cx, outcome)
    }
}

/// One of several that are run together.
pub trait OneOfMany {
    type Output;

    /// Polls it. Pending for ever after it was ready once.
    fn poll_one(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output>;
    /// Drops it, if it has nothing to clean up. Says whether it is gone.
    fn end_quietly(self: Pin<&mut Self>) -> bool;
    /// Ends it. What it still gives is dropped.
    fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>, end: &Ending) -> Poll<()>;
}

/// A task that was given away: it is cancelled, and waited for.
pub struct TaskMember<T> {
    task: Option<Task<T>>,
    ending: bool,
}

impl<T> TaskMember<T> {
    #[inline]
    pub(super) fn new(task: Task<T>) -> Self {
        Self { task: Some(task), ending: false }
    }
}

impl<T> OneOfMany for TaskMember<T> {
    type Output = Result<T, TaskError>;

    fn poll_one(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(task) = &mut self.task else { return Poll::Pending };
        let result = ready!(task.poll_result_of_many(cx));
        self.task = None;
        Poll::Ready(result)
    }

    fn end_quietly(self: Pin<&mut Self>) -> bool {
        self.task.is_none()
    }

    fn poll_end(mut self: Pin<&mut Self>, cx: &mut Context<'_>, end: &Ending) -> Poll<()> {
        let Some(task) = &self.task else { return Poll::Ready(()) };
        if !self.ending {
            task.cancel_by(end.cause());
        }
        if !task.poll_finished(cx) {
            self.ending = true;
            return Poll::Pending;
        }
        // With its result: a panic is reported as for any task whose handle is dropped.
        self.task = None;
        Poll::Ready(())
    }
}

impl<T> Drop for TaskMember<T> {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.cancel();
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
        // A poll has panicked.
        panicked: bool,
        ending: bool,
    }
}

impl<F: Future> Member<F> {
    #[inline(always)]
    pub(super) fn new(future: F) -> Self {
        Self { inner: Some(future), scope: Scope::default(), panicked: false, ending: false }
    }

    #[inline(always)]
    fn poll_due(self: Pin<&mut Self>, cx: &mut Context<'_>, due: u64) -> Poll<F::Output> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Pending };
        let note = NotePanic(this.panicked);
        let polled = this.scope.enter(due, || inner.poll(cx));
        mem::forget(note);
        if polled.is_ready() {
            this.inner.set(None);
        }
        polled
    }
}

/// Notes that a poll has not come back.
struct NotePanic<'a>(&'a mut bool);

impl Drop for NotePanic<'_> {
    fn drop(&mut self) {
        *self.0 = true;
    }
}

impl<F: Future> OneOfMany for Member<F> {
    type Output = F::Output;

    #[inline(always)]
    fn poll_one(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.poll_due(cx, u64::MAX)
    }

    #[inline(always)]
    fn end_quietly(self: Pin<&mut Self>) -> bool {
        let mut this = self.project();
        if this.inner.is_some() {
            if this.scope.has_regions() {
                return false;
            }
            if mem::needs_drop::<F>() {
                panic::contain(|| this.inner.set(None));
            } else {
                this.inner.set(None);
            }
        }
        true
    }

    fn poll_end(mut self: Pin<&mut Self>, cx: &mut Context<'_>, end: &Ending) -> Poll<()> {
        let this = self.as_mut().project();
        if this.inner.is_none() {
            return Poll::Ready(());
        }
        let quiet = !mem::replace(this.ending, true) && !this.scope.has_regions();
        if !quiet && !*this.panicked {
            this.scope.skip_turn();
            // For futures inside it counts as due: inner scopes leave the request to it.
            let polled = panic::catch(|| drop(self.as_mut().poll_due(cx, 0)));
            let this = self.as_mut().project();
            if let Err(payload) = polled {
                // The outcome is certain; a panic in the cleanup is only reported.
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
