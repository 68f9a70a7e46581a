//! Waiting for the next thing to happen, which wakes all tasks that wait.
//!
//! Things that happen have numbers. The *stamp* of a task that waits is the number of the next one.
//!
//! 1. A task that waits looks under the lock for what it wants, and joins the list with the stamp
//!    if it is not there.
//! 2. The thread that makes something happen does so under the lock, and then [tells] all tasks
//!    whose stamp is below the new one, a batch at a time; tasks that come meanwhile have a later
//!    one.
//! 3. A task that is woken looks again. Nothing is given to it, so it may leave at any time.
//!
//! [tells]: tell

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::wait_list::{Status, WaitList, Waiter, Wakers, poll_queued};
use crate::{
    loom::Mutex,
    util::{current, panic},
};

/// What a lock guards if it can be waited for.
pub(super) trait Stamped {
    /// Which of its lists.
    type List: Copy;

    fn list(&mut self, which: Self::List) -> &mut WaitList<u64>;

    /// The number of what is to happen next.
    fn stamp(&self, which: Self::List) -> u64;
}

/// Wakes all tasks that wait for what has happened by now.
pub(super) fn tell<S: Stamped>(lock: &Mutex<S>, which: S::List) {
    let mut wakers = Wakers::new();
    loop {
        let mut state = lock.lock();
        let stamp = state.stamp(which);
        let more = state.list(which).grant_while(&mut wakers, |came| *came < stamp);
        drop(state);
        wakers.wake_all();
        if !more {
            return;
        }
    }
}

pin_project! {
    /// Waits until `look`, called under the lock, finds something.
    pub(super) struct Until<'a, S, F>
    where
        S: Stamped,
    {
        lock: &'a Mutex<S>,
        which: S::List,
        look: F,
        #[pin]
        waiter: Waiter<u64>,
    }

    impl<S, F> PinnedDrop for Until<'_, S, F>
    where
        S: Stamped,
    {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            leave(*this.lock, *this.which, this.waiter);
        }
    }
}

impl<'a, S: Stamped, F> Until<'a, S, F> {
    pub(super) fn new(lock: &'a Mutex<S>, which: S::List, look: F) -> Self {
        Self { lock, which, look, waiter: Waiter::new(0) }
    }
}

impl<S, F, R> Future for Until<'_, S, F>
where
    S: Stamped,
    F: FnMut(&mut S) -> Option<R>,
{
    type Output = R;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        let this = self.project();
        poll_until(*this.lock, *this.which, this.look, this.waiter, cx)
    }
}

/// A place in line that is used again and again, as by a stream.
pub(super) struct Place<'a, S: Stamped> {
    lock: &'a Mutex<S>,
    which: S::List,
    waiter: Pin<Box<Waiter<u64>>>,
}

impl<'a, S: Stamped> Place<'a, S> {
    pub(super) fn new(lock: &'a Mutex<S>, which: S::List) -> Self {
        Self { lock, which, waiter: Box::pin(Waiter::new(0)) }
    }

    /// Waits until `look`, called under the lock, finds something.
    pub(super) fn poll<R>(
        &mut self,
        mut look: impl FnMut(&mut S) -> Option<R>,
        cx: &mut Context<'_>,
    ) -> Poll<R> {
        poll_until(self.lock, self.which, &mut look, self.waiter.as_mut(), cx)
    }
}

impl<S: Stamped> Drop for Place<'_, S> {
    fn drop(&mut self) {
        leave(self.lock, self.which, self.waiter.as_mut());
    }
}

#[inline]
fn poll_until<S: Stamped, R>(
    lock: &Mutex<S>,
    which: S::List,
    look: &mut impl FnMut(&mut S) -> Option<R>,
    mut waiter: Pin<&mut Waiter<u64>>,
    cx: &mut Context<'_>,
) -> Poll<R> {
    if waiter.status() == Status::Queued {
        let status = poll_queued(lock, |state| state.list(which), waiter.as_mut(), cx);
        if status == Status::Queued {
            return Poll::Pending;
        }
    }
    // Before the look, which takes what it finds.
    ready!(current::poll_budget(cx));
    waiter.as_mut().reset();
    let mut new = None;
    loop {
        let mut state = lock.lock();
        if let Some(found) = look(&mut state) {
            drop(state);
            panic::discard_foreign(new);
            return Poll::Ready(found);
        }
        if let Some(new) = new.take() {
            *waiter.as_mut().value_mut() = state.stamp(which);
            state.list(which).push_back(waiter, new);
            return Poll::Pending;
        }
        drop(state);
        // Foreign code, so outside of the lock.
        new = Some(cx.waker().clone());
    }
}

/// Gives up a place in line, if there is one.
fn leave<S: Stamped>(lock: &Mutex<S>, which: S::List, waiter: Pin<&mut Waiter<u64>>) {
    if waiter.status() == Status::Queued {
        let left = lock.lock().list(which).remove(waiter);
        panic::discard_foreign(left);
    }
}
