//! Waiting for the next thing to happen, of which all who wait are told.
//!
//! Things that happen have numbers, the *stamp* of whoever waits is the next one's.
//!
//! 1. Whoever waits looks under the lock for what it wants, and joins the list with the
//!    stamp if it is not there.
//! 2. Whoever makes something happen does so under the lock, and then [tells] all whose stamp
//!    is below the new one, a batch at a time; those who come meanwhile have a later one.
//! 3. Who is told looks again. Nothing is given to him, so he may go at any time.
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

/// Tells all who wait for what has happened by now.
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
            if this.waiter.status() == Status::Queued {
                let left = this.lock.lock().list(*this.which).remove(this.waiter);
                panic::discard_foreign(left);
            }
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
        let mut this = self.project();
        let which = *this.which;
        if this.waiter.status() == Status::Queued {
            let status =
                poll_queued(*this.lock, |state| state.list(which), this.waiter.as_mut(), cx);
            if status == Status::Queued {
                return Poll::Pending;
            }
        }
        // Before the look, which takes what it finds.
        ready!(current::poll_budget(cx));
        this.waiter.as_mut().reset();
        let mut new = None;
        loop {
            let mut state = this.lock.lock();
            if let Some(found) = (this.look)(&mut state) {
                drop(state);
                panic::discard_foreign(new);
                return Poll::Ready(found);
            }
            if let Some(new) = new.take() {
                *this.waiter.as_mut().value_mut() = state.stamp(which);
                state.list(which).push_back(this.waiter, new);
                return Poll::Pending;
            }
            drop(state);
            // Foreign code, so outside of the lock.
            new = Some(cx.waker().clone());
        }
    }
}
