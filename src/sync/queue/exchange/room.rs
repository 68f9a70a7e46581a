//! Room that is reserved for an item that comes later, and items that are taken by the batch.
//!
//! A task that reserves waits in line with the putters, as a putter without an item. What it is
//! granted is room that is promised, and it keeps that promise: it [puts](Exchange::put_reserved)
//! an item there or [gives it up](Exchange::give_up_room). There is nothing to reserve with a
//! capacity of 0.

use std::{
    panic::resume_unwind,
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::{Closed, Exchange, Putter, Refusal, Taken, wake};
use crate::{
    sync::{
        queue::order::Store,
        wait_list::{ListLock, Status, Wakers, poll_queued},
    },
    util::current,
};

/// Items that are taken at most before the lock is released.
const BATCH: usize = 32;

impl<T, S: Store<T>> Exchange<T, S> {
    /// Reserves room for one item.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(in crate::sync) fn try_reserve(&self) -> Result<(), Refusal> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Refusal::Closed);
        }
        if state.capacity == 0 || !state.has_room() {
            return Err(Refusal::NotNow);
        }
        state.promised_room += 1;
        Ok(())
    }

    /// Waits for room, and reserves it. `putter` has no item.
    pub(in crate::sync) fn poll_reserve(
        &self,
        mut putter: Pin<&mut Putter<T>>,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Closed>> {
        let mut status = putter.status();
        if status == Status::Queued {
            status = poll_queued(&self.state, |state| &mut state.putters, putter.as_mut(), cx);
        }
        match status {
            Status::Idle => self.begin_reserve(putter, cx),
            Status::Queued => Poll::Pending,
            Status::Granted => {
                // Before it takes what it was granted.
                ready!(current::poll_budget(cx));
                putter.reset();
                Poll::Ready(Ok(()))
            }
            Status::Refused => {
                putter.reset();
                Poll::Ready(Err(Closed))
            }
        }
    }

    fn begin_reserve(
        &self,
        putter: Pin<&mut Putter<T>>,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Closed>> {
        ready!(current::poll_budget(cx));
        match self.try_reserve() {
            Ok(()) => return Poll::Ready(Ok(())),
            Err(Refusal::Closed) => return Poll::Ready(Err(Closed)),
            Err(Refusal::NotNow) => {}
        }
        // Foreign code, so outside of the lock.
        let waker = cx.waker().clone();
        let mut state = self.state.lock();
        let answer = if state.closed {
            Err(Closed)
        } else if state.has_room() {
            state.promised_room += 1;
            Ok(())
        } else {
            state.putters.push_back(putter, waker);
            return Poll::Pending;
        };
        drop(state);
        super::discard_unused(Some(waker));
        Poll::Ready(answer)
    }

    /// Puts an item into room that was reserved.
    ///
    /// # Errors
    ///
    /// The item, if the exchange is closed.
    pub(in crate::sync) fn put_reserved(&self, item: T) -> Result<(), T> {
        self.put_into_promised(item)
    }

    /// Gives up room that was reserved: it goes to the next in line.
    pub(in crate::sync) fn give_up_room(&self) {
        let mut state = self.state.lock();
        state.promised_room -= 1;
        let waker = state.promise_room();
        drop(state);
        wake(waker);
    }

    /// Takes up to `limit` items that are promised to nobody, and appends them to `items`.
    pub(in crate::sync) fn take_many(&self, items: &mut Vec<T>, limit: usize) {
        let mut wakers = Wakers::new();
        let mut left = limit;
        while left > 0 {
            let batch = left.min(BATCH);
            // Not with the lock held.
            items.reserve(batch);
            let mut taken = 0;
            let mut state = self.state.lock();
            let mut end = None;
            while taken < batch && !wakers.is_full() && end.is_none() {
                match state.take_free(|| true) {
                    Taken::Item(item, waker) => {
                        items.push(item);
                        taken += 1;
                        waker.into_iter().for_each(|waker| wakers.push(waker));
                    }
                    Taken::Panicked(payload) => end = Some(Some(payload)),
                    Taken::Nothing | Taken::Closed | Taken::NotAllowed => end = Some(None),
                }
            }
            let drained = state.ran_empty();
            drop(state);
            wakers.wake_all();
            self.after_get(None, drained);
            match end {
                Some(Some(payload)) => resume_unwind(payload),
                Some(None) => return,
                None => left -= taken,
            }
        }
    }
}
