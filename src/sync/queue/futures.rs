//! The waits of an [`Exchange`] as futures: each holds its own place in line.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use pin_project_lite::pin_project;

use super::{
    exchange::{Closed, Exchange, Getter, Putter, Refusal},
    order::Store,
    work::{Joiner, Work},
};
use crate::{sync::wait_list::Waiter, util::current};

pin_project! {
    /// Puts an item; gives it back if the exchange is closed.
    pub(in crate::sync) struct Put<'a, T, S>
    where
        S: Store<T>,
    {
        exchange: &'a Exchange<T, S>,
        #[pin]
        putter: Putter<T>,
    }

    impl<T, S> PinnedDrop for Put<'_, T, S>
    where
        S: Store<T>,
    {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            this.exchange.drop_put(this.putter);
        }
    }
}

impl<'a, T, S: Store<T>> Put<'a, T, S> {
    #[inline]
    pub(in crate::sync) fn new(exchange: &'a Exchange<T, S>, item: T) -> Self {
        Self { exchange, putter: Waiter::new(Some(item)) }
    }
}

impl<T, S: Store<T>> Future for Put<'_, T, S> {
    type Output = Result<(), T>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), T>> {
        let this = self.project();
        this.exchange.poll_put(this.putter, cx)
    }
}

pin_project! {
    /// Reserves room for an item.
    pub(in crate::sync) struct Reserve<'a, T, S>
    where
        S: Store<T>,
    {
        exchange: &'a Exchange<T, S>,
        #[pin]
        putter: Putter<T>,
    }

    impl<T, S> PinnedDrop for Reserve<'_, T, S>
    where
        S: Store<T>,
    {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            this.exchange.drop_put(this.putter);
        }
    }
}

impl<'a, T, S: Store<T>> Reserve<'a, T, S> {
    /// The capacity is not 0.
    pub(in crate::sync) fn new(exchange: &'a Exchange<T, S>) -> Self {
        Self { exchange, putter: Waiter::new(None) }
    }
}

impl<T, S: Store<T>> Future for Reserve<'_, T, S> {
    type Output = Result<(), Closed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let this = self.project();
        this.exchange.poll_reserve(this.putter, cx)
    }
}

pin_project! {
    /// Gets an item.
    pub(in crate::sync) struct Get<'a, T, S>
    where
        S: Store<T>,
    {
        exchange: &'a Exchange<T, S>,
        #[pin]
        getter: Getter,
    }

    impl<T, S> PinnedDrop for Get<'_, T, S>
    where
        S: Store<T>,
    {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            this.exchange.drop_get(this.getter);
        }
    }
}

impl<'a, T, S: Store<T>> Get<'a, T, S> {
    #[inline]
    pub(in crate::sync) fn new(exchange: &'a Exchange<T, S>) -> Self {
        Self { exchange, getter: Waiter::new(()) }
    }
}

impl<T, S: Store<T>> Future for Get<'_, T, S> {
    type Output = Result<T, Closed>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, Closed>> {
        let this = self.project();
        this.exchange.poll_get(this.getter, cx)
    }
}

pin_project! {
    /// Waits until all work is reported done.
    pub(super) struct Join<'a> {
        work: &'a Work,
        // All was found done, and puts change nothing any more; but the task has to yield.
        seen: bool,
        #[pin]
        joiner: Joiner,
    }

    impl PinnedDrop for Join<'_> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            this.work.drop_join(this.joiner);
        }
    }
}

impl<'a> Join<'a> {
    pub(super) fn new(work: &'a Work) -> Self {
        Self { work, seen: false, joiner: Waiter::new(0) }
    }
}

impl Future for Join<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if !*this.seen {
            ready!(this.work.poll_join(this.joiner, cx));
            *this.seen = true;
        }
        current::poll_budget(cx)
    }
}

/// The items of an exchange, until it is closed and empty.
pub(in crate::sync) struct Items<'a, T, S: Store<T>> {
    exchange: &'a Exchange<T, S>,
    /// The place in line, made when it is needed for the first time and kept from then on.
    getter: Option<Pin<Box<Getter>>>,
}

impl<'a, T, S: Store<T>> Items<'a, T, S> {
    pub(in crate::sync) fn new(exchange: &'a Exchange<T, S>) -> Self {
        Self { exchange, getter: None }
    }
}

impl<T, S: Store<T>> Stream for Items<'_, T, S> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let Self { exchange, getter } = &mut *self;
        let getter = match getter {
            Some(getter) => getter,
            None => {
                ready!(current::poll_budget(cx));
                match exchange.try_get() {
                    Ok(item) => return Poll::Ready(Some(item)),
                    Err(Refusal::Closed) => return Poll::Ready(None),
                    Err(Refusal::NotNow) => getter.insert(Box::pin(Waiter::new(()))),
                }
            }
        };
        Poll::Ready(ready!(exchange.poll_get(getter.as_mut(), cx)).ok())
    }
}

impl<T, S: Store<T>> Drop for Items<'_, T, S> {
    fn drop(&mut self) {
        if let Some(getter) = &mut self.getter {
            self.exchange.drop_get(getter.as_mut());
        }
    }
}
