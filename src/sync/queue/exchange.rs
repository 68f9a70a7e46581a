//! Where putters and getters meet: the one machine under the queues and the channel.
//!
//! One [lock](Store::Lock) guards the items, the putters that wait and the getters that wait. Each
//! operation takes it once, unless it has to wait, and wakes one waiter at most.
//!
//! 1. Items are kept *here*. An item that is put while getters wait is promised to the first of
//!    them: the getter is granted, and wakes up to take the item that is first *then*. A getter
//!    that comes meanwhile may take only what is not promised.
//! 2. Room is promised in the same way: a getter that takes an item while putters wait grants the
//!    first of them. It puts its item itself when it runs, so a put that was dropped before it said
//!    so was never made. A task that [reserves](room) room puts nothing yet, and keeps the promise.
//! 3. A granted waiter that is dropped hands the promise back, and the next one in line gets
//!    it.
//! 4. With a capacity of 0 there is no room to promise. A putter waits with its item in its
//!    waiter, and a getter takes it from there: that is the moment at which the put is
//!    made. A putter that finds a getter waiting puts its item as in step 1; should that getter
//!    and all others go away before they take it, it stays for the next one.
//! 5. Closed, the exchange refuses putters at once, and getters once the last item has left.
//! 6. A comparison of items may panic. Then the put is made, the get is not, and the panic
//!    goes on when all this is in order and the lock released.
//!
//! Invariants, whenever the lock is free:
//! * While getters wait, every item is promised (and with a capacity of 0 no putter waits).
//! * While putters wait, all room is taken or promised (and no getter waits).

mod room;

use std::{
    borrow::Cow,
    mem,
    ops::DerefMut,
    panic::resume_unwind,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use super::{order::Store, work::Work};
use crate::{
    sync::wait_list::{ListLock, Status, WaitList, Waiter, Wakers, poll_queued},
    util::{
        current,
        panic::{self, Payload},
        wait::WaitKind,
    },
};

/// A putter, with the item that is not put yet; without, if it reserves room.
pub(in crate::sync) type Putter<T> = Waiter<Option<T>>;
/// A getter. Its item is among the others.
pub(in crate::sync) type Getter = Waiter<()>;

/// There are no more items, and there will be none.
pub(in crate::sync) struct Closed;

/// What a look without waiting found.
pub(in crate::sync) enum Refusal {
    /// No room, or no item.
    NotNow,
    Closed,
}

pub(in crate::sync) struct Exchange<T, S: Store<T>> {
    state: S::Lock<State<T, S>>,
    /// Items that were put and not reported done, if that is counted.
    work: Option<Work>,
}

pub(in crate::sync) struct State<T, S> {
    items: S,
    capacity: usize,
    /// Items that granted getters have not taken yet.
    promised_items: usize,
    /// Room that granted putters have not used yet, and room that is reserved.
    promised_room: usize,
    getters: WaitList<()>,
    putters: WaitList<Option<T>>,
    closed: bool,
}

/// The numbers of an exchange at one moment.
pub(in crate::sync) struct Numbers {
    pub(in crate::sync) len: usize,
    pub(in crate::sync) capacity: usize,
    pub(in crate::sync) getters: usize,
    pub(in crate::sync) putters: usize,
    pub(in crate::sync) closed: bool,
}

impl<T, S: Store<T>> State<T, S> {
    /// Whether an item could be put now by a task to which nothing is promised.
    #[inline]
    fn has_room(&self) -> bool {
        if self.capacity == 0 {
            !self.getters.is_empty()
        } else {
            self.items.len() + self.promised_room < self.capacity
        }
    }

    /// Takes an item that is the caller's to take. Gives the waker to be woken.
    #[inline]
    fn take(&mut self) -> Result<(Option<T>, Option<Waker>), Payload> {
        let item = self.items.pop()?;
        Ok((item, self.promise_room()))
    }

    /// Takes an item that is promised to nobody, if there is one. Gives the waker to be woken.
    #[inline]
    fn take_free(&mut self, mut allow: impl FnMut() -> bool) -> Taken<T> {
        if self.items.len() > self.promised_items {
            if !allow() {
                return Taken::NotAllowed;
            }
            return match self.take() {
                Ok((item, wake)) => Taken::Item(item.expect("counted above"), wake),
                Err(payload) => Taken::Panicked(payload),
            };
        }
        if self.capacity == 0 && !self.closed && !self.putters.is_empty() {
            if !allow() {
                return Taken::NotAllowed;
            }
            let offer = self.putters.front_mut().and_then(Option::take);
            let wake = self.putters.grant_front();
            return Taken::Item(offer.expect("a putter that waits has its item"), wake);
        }
        if self.closed && self.items.len() == 0 { Taken::Closed } else { Taken::Nothing }
    }

    /// Promises an item to the first getter, if there are both.
    #[inline]
    fn promise_item(&mut self) -> Option<Waker> {
        if self.items.len() <= self.promised_items {
            return None;
        }
        let waker = self.getters.grant_front()?;
        self.promised_items += 1;
        Some(waker)
    }

    /// Promises room to the first putter, if there are both.
    #[inline]
    fn promise_room(&mut self) -> Option<Waker> {
        if self.putters.is_empty() || self.capacity == 0 || self.closed || !self.has_room() {
            return None;
        }
        self.promised_room += 1;
        self.putters.grant_front()
    }

    /// Items were taken: whether getters wait for more that will not come. Empty, it gives back the
    /// memory of a burst.
    #[inline]
    fn ran_empty(&mut self) -> bool {
        if self.items.len() > 0 {
            return false;
        }
        self.items.shrink();
        self.has_drained()
    }

    /// Whether getters wait for items that will not come.
    #[inline]
    fn has_drained(&self) -> bool {
        self.closed && self.items.len() == 0 && !self.getters.is_empty()
    }
}

enum Taken<T> {
    Item(T, Option<Waker>),
    Nothing,
    Closed,
    /// The task has no budget left.
    NotAllowed,
    Panicked(Payload),
}

#[inline]
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        panic::contain(|| waker.wake());
    }
}

/// Drops a waker that was cloned to wait with, and for nothing. What was found instead must not go
/// with its panic.
#[inline]
fn discard_unused(waker: Option<Waker>) {
    if waker.is_some() {
        panic::discard_foreign(waker);
    }
}

impl<T, S: Store<T>> Exchange<T, S> {
    /// The `kinds` of wait are those of a getter and of a putter.
    pub(in crate::sync) fn new(capacity: usize, kinds: [WaitKind; 2]) -> Self {
        let state = State {
            items: S::default(),
            capacity,
            promised_items: 0,
            promised_room: 0,
            getters: WaitList::new(kinds[0]),
            putters: WaitList::new(kinds[1]),
            closed: false,
        };
        Self { state: S::Lock::new(state), work: None }
    }

    /// One that counts what was put and not reported done. Its capacity is not 0.
    pub(in crate::sync) fn with_work(capacity: usize) -> Self {
        let kinds = [WaitKind::QueueGet, WaitKind::QueuePut];
        Self { work: Some(Work::new()), ..Self::new(capacity, kinds) }
    }

    /// Gives it a name, for reports.
    pub(super) fn set_name(&self, name: Cow<'static, str>) {
        let mut state = self.state.lock();
        state.getters.set_name(name.clone());
        state.putters.set_name(name.clone());
        drop(state);
        if let Some(work) = &self.work {
            work.set_name(name);
        }
    }

    /// What was put and not reported done, if it is counted.
    #[inline]
    pub(super) fn work(&self) -> Option<&Work> {
        self.work.as_ref()
    }

    /// Puts an item for which there is room, and wakes the getter that gets it. `state` is the
    /// guard.
    ///
    /// # Errors
    ///
    /// The panic of a comparison, which goes on when the caller is done.
    #[inline]
    fn put(&self, mut state: impl DerefMut<Target = State<T, S>>, item: T) -> Result<(), Payload> {
        if let Some(work) = &self.work {
            work.add();
        }
        let pushed = state.items.push(item);
        let waker = state.promise_item();
        drop(state);
        wake(waker);
        pushed
    }

    /// # Errors
    ///
    /// The item, and why it was not put.
    pub(in crate::sync) fn try_put(&self, item: T) -> Result<(), (Refusal, T)> {
        let state = self.state.lock();
        if state.closed {
            return Err((Refusal::Closed, item));
        }
        if !state.has_room() {
            return Err((Refusal::NotNow, item));
        }
        self.put(state, item).unwrap_or_else(|payload| resume_unwind(payload));
        Ok(())
    }

    /// # Errors
    ///
    /// Why there is no item.
    pub(in crate::sync) fn try_get(&self) -> Result<T, Refusal> {
        let mut state = self.state.lock();
        match state.take_free(|| true) {
            Taken::Item(item, waker) => {
                let drained = state.ran_empty();
                drop(state);
                self.after_get(waker, drained);
                Ok(item)
            }
            Taken::Closed => Err(Refusal::Closed),
            Taken::Nothing | Taken::NotAllowed => Err(Refusal::NotNow),
            Taken::Panicked(payload) => {
                drop(state);
                resume_unwind(payload)
            }
        }
    }

    /// Puts the item of `putter`.
    ///
    /// # Errors
    ///
    /// The item, if the exchange is closed.
    ///
    /// # Panics
    ///
    /// If the item was put, or given back, before.
    #[inline]
    pub(in crate::sync) fn poll_put(
        &self,
        mut putter: Pin<&mut Putter<T>>,
        cx: &Context<'_>,
    ) -> Poll<Result<(), T>> {
        let mut status = putter.status();
        if status == Status::Queued {
            status = poll_queued(&self.state, |state| &mut state.putters, putter.as_mut(), cx);
        }
        match status {
            Status::Idle => self.begin_put(putter, cx),
            Status::Queued => Poll::Pending,
            Status::Granted => self.finish_put(putter, cx),
            Status::Refused => {
                putter.as_mut().reset();
                Poll::Ready(Err(take_item(putter)))
            }
        }
    }

    fn begin_put(&self, mut putter: Pin<&mut Putter<T>>, cx: &Context<'_>) -> Poll<Result<(), T>> {
        let mut new = None;
        loop {
            let mut state = self.state.lock();
            if state.closed || state.has_room() {
                if !current::budget_spend() {
                    drop(state);
                    discard_unused(new);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                if state.closed {
                    drop(state);
                    discard_unused(new);
                    return Poll::Ready(Err(take_item(putter)));
                }
                let put = self.put(state, take_item(putter));
                discard_unused(new);
                put.unwrap_or_else(|payload| resume_unwind(payload));
                return Poll::Ready(Ok(()));
            }
            if let Some(new) = new.take() {
                assert!(putter.as_mut().value_mut().is_some(), "{AFTER_THE_END}");
                state.putters.push_back(putter, new);
                return Poll::Pending;
            }
            drop(state);
            // Foreign code, so outside of the lock.
            new = Some(cx.waker().clone());
        }
    }

    /// Uses the room that was promised.
    fn finish_put(&self, mut putter: Pin<&mut Putter<T>>, cx: &Context<'_>) -> Poll<Result<(), T>> {
        if !current::budget_spend() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        putter.as_mut().reset();
        let Some(item) = putter.value_mut().take() else {
            // A getter came for it.
            return Poll::Ready(Ok(()));
        };
        Poll::Ready(self.put_into_promised(item))
    }

    /// Puts an item into room that was promised to the caller.
    ///
    /// # Errors
    ///
    /// The item, if the exchange is closed.
    #[inline(always)]
    fn put_into_promised(&self, item: T) -> Result<(), T> {
        let mut state = self.state.lock();
        state.promised_room -= 1;
        if state.closed {
            drop(state);
            return Err(item);
        }
        self.put(state, item).unwrap_or_else(|payload| resume_unwind(payload));
        Ok(())
    }

    /// A putter goes; its item, if it was not put, goes with it.
    #[inline]
    pub(in crate::sync) fn drop_put(&self, putter: Pin<&mut Putter<T>>) {
        if matches!(putter.status(), Status::Queued | Status::Granted) {
            self.abandon_put(putter);
        }
    }

    #[cold]
    fn abandon_put(&self, mut putter: Pin<&mut Putter<T>>) {
        let mut state = self.state.lock();
        let left = state.putters.remove(putter.as_mut());
        let mut waker = None;
        // With a capacity of 0 no room was promised: a getter came for the item.
        if putter.status() == Status::Granted && state.capacity > 0 {
            state.promised_room -= 1;
            waker = state.promise_room();
        }
        drop(state);
        wake(waker);
        panic::discard_foreign(left);
    }

    /// Gets an item.
    #[inline]
    pub(in crate::sync) fn poll_get(
        &self,
        mut getter: Pin<&mut Getter>,
        cx: &Context<'_>,
    ) -> Poll<Result<T, Closed>> {
        let mut status = getter.status();
        if status == Status::Queued {
            status = poll_queued(&self.state, |state| &mut state.getters, getter.as_mut(), cx);
        }
        match status {
            Status::Idle => self.begin_get(getter, cx),
            Status::Queued => Poll::Pending,
            Status::Granted => self.finish_get(getter, cx),
            Status::Refused => {
                getter.reset();
                Poll::Ready(Err(Closed))
            }
        }
    }

    fn begin_get(&self, getter: Pin<&mut Getter>, cx: &Context<'_>) -> Poll<Result<T, Closed>> {
        let mut new = None;
        loop {
            let mut state = self.state.lock();
            match state.take_free(current::budget_spend) {
                Taken::Item(item, waker) => {
                    let drained = state.ran_empty();
                    drop(state);
                    self.after_get(waker, drained);
                    discard_unused(new);
                    return Poll::Ready(Ok(item));
                }
                Taken::Closed => {
                    drop(state);
                    discard_unused(new);
                    return current::poll_budget(cx).map(|()| Err(Closed));
                }
                Taken::NotAllowed => {
                    drop(state);
                    discard_unused(new);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Taken::Panicked(payload) => {
                    drop(state);
                    discard_unused(new);
                    resume_unwind(payload);
                }
                Taken::Nothing => {}
            }
            if let Some(new) = new.take() {
                state.getters.push_back(getter, new);
                return Poll::Pending;
            }
            drop(state);
            // Foreign code, so outside of the lock.
            new = Some(cx.waker().clone());
        }
    }

    /// Takes the item that was promised.
    fn finish_get(&self, getter: Pin<&mut Getter>, cx: &Context<'_>) -> Poll<Result<T, Closed>> {
        if !current::budget_spend() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        getter.reset();
        let mut state = self.state.lock();
        state.promised_items -= 1;
        let (item, waker) = match state.take() {
            Ok(taken) => taken,
            Err(payload) => {
                let waker = state.promise_item();
                drop(state);
                wake(waker);
                resume_unwind(payload);
            }
        };
        let drained = state.ran_empty();
        drop(state);
        self.after_get(waker, drained);
        // There is none if somebody cleared the exchange.
        Poll::Ready(item.ok_or(Closed))
    }

    #[inline]
    fn after_get(&self, waker: Option<Waker>, drained: bool) {
        wake(waker);
        if drained {
            self.refuse_all();
        }
    }

    /// A getter goes; what it was promised goes to the next.
    #[inline]
    pub(in crate::sync) fn drop_get(&self, getter: Pin<&mut Getter>) {
        if matches!(getter.status(), Status::Queued | Status::Granted) {
            self.abandon_get(getter);
        }
    }

    #[cold]
    fn abandon_get(&self, mut getter: Pin<&mut Getter>) {
        let mut state = self.state.lock();
        let left = state.getters.remove(getter.as_mut());
        let mut waker = None;
        if getter.status() == Status::Granted {
            state.promised_items -= 1;
            waker = state.promise_item();
            getter.reset();
        }
        drop(state);
        wake(waker);
        panic::discard_foreign(left);
    }

    /// Refuses putters from now on, and getters once the items are gone. `false`: it was
    /// closed before.
    pub(in crate::sync) fn close(&self) -> bool {
        let was = mem::replace(&mut self.state.lock().closed, true);
        self.refuse_all();
        !was
    }

    /// Closes, and takes all items out; they count as done.
    pub(in crate::sync) fn clear(&self) -> Vec<T> {
        let mut state = self.state.lock();
        state.closed = true;
        let items = mem::take(&mut state.items);
        drop(state);
        self.refuse_all();
        if let Some(work) = &self.work {
            work.write_off(items.len());
        }
        items.into_vec()
    }

    /// Tells all putters, and all getters if nothing is left, that it is closed. Nobody comes
    /// to wait meanwhile: it is.
    #[cold]
    fn refuse_all(&self) {
        let mut wakers = Wakers::new();
        loop {
            let mut state = self.state.lock();
            let more = loop {
                if wakers.is_full() {
                    break true;
                }
                let waker = state.putters.refuse_front().or_else(|| {
                    let drained = state.has_drained();
                    drained.then(|| state.getters.refuse_front()).flatten()
                });
                match waker {
                    Some(waker) => wakers.push(waker),
                    None => break false,
                }
            };
            drop(state);
            wakers.wake_all();
            if !more {
                return;
            }
        }
    }

    pub(in crate::sync) fn numbers(&self) -> Numbers {
        let state = self.state.lock();
        Numbers {
            len: state.items.len(),
            capacity: state.capacity,
            getters: state.getters.len(),
            putters: state.putters.len(),
            closed: state.closed,
        }
    }

    pub(in crate::sync) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }
}

const AFTER_THE_END: &str = "a future was polled after its end";

/// The item of a putter that has not put it.
#[inline]
fn take_item<T>(putter: Pin<&mut Putter<T>>) -> T {
    putter.value_mut().take().expect(AFTER_THE_END)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        sync::queue::order::{Fifo, Least, Lifo},
        util::shrink,
    };

    #[test]
    fn an_exchange_that_ran_empty_is_small() {
        // Goal: a burst leaves no memory behind, by whatever way the last item leaves.
        fn check<S: Store<[u64; 4]>>(capacity: impl Fn(&S) -> usize) {
            for many in [false, true] {
                let exchange = Exchange::<[u64; 4], S>::with_work(usize::MAX);
                (0..20_000).for_each(|n| assert!(exchange.try_put([n; 4]).is_ok()));
                assert!(capacity(&exchange.state.lock().items) >= 20_000);
                let mut items = Vec::new();
                let limit = if many { 20_000 } else { 10_000 };
                exchange.take_many(&mut items, limit);
                (limit..20_000).for_each(|_| assert!(exchange.try_get().is_ok()));
                assert_eq!((items.len(), exchange.numbers().len), (limit, 0));
                assert!(capacity(&exchange.state.lock().items) <= shrink::keeps::<[u64; 4]>());
            }
        }
        check::<Fifo<_>>(Fifo::capacity);
        check::<Lifo<_>>(Lifo::capacity);
        check::<Least<_>>(Least::capacity);
    }
}
