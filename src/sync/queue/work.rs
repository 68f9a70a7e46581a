//! Work that was handed out and is not reported done.
//!
//! 1. Each item that is put is counted, under the lock of the items, so by a plain store.
//! 2. Each that is reported done is counted as well. The one that may be the last is counted under
//!    the lock of the joiners, and begins another round. So a joiner knows by the round, under the
//!    same lock, whether that zero came before it or is still to come.
//! 3. A joiner that came in an earlier round is released, though more may have been put by now.
//!
//! Both counts only grow, and wrap around; only their difference matters.

use std::{
    borrow::Cow,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{
    loom::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    sync::wait_list::{Status, WaitList, Waiter, Wakers, poll_queued},
    util::{panic, wait::WaitKind},
};

/// A task that waits until all is done, and the round in which it came.
pub(super) type Joiner = Waiter<u64>;

pub(in crate::sync) struct Work {
    /// Items that were put; written under the lock of the items.
    put: AtomicUsize,
    /// Items that were reported done: never more.
    done: AtomicUsize,
    joiners: Mutex<Joiners>,
}

struct Joiners {
    list: WaitList<u64>,
    /// How often all work has been done.
    round: u64,
}

impl Work {
    pub(super) fn new() -> Self {
        let joiners = Joiners { list: WaitList::new(WaitKind::QueueJoin), round: 0 };
        Self { put: AtomicUsize::new(0), done: AtomicUsize::new(0), joiners: Mutex::new(joiners) }
    }

    pub(super) fn set_name(&self, name: Cow<'static, str>) {
        self.joiners.lock().list.set_name(name);
    }

    pub(super) fn unfinished(&self) -> usize {
        // Done first, which is not ahead of put then. Acquire: pairs with `count_done`: what
        // was done with the items, and that they were put.
        let done = self.done.load(Ordering::Acquire);
        // Relaxed: a caller sees what it has put itself.
        self.put.load(Ordering::Relaxed).wrapping_sub(done)
    }

    pub(super) fn waiting(&self) -> usize {
        self.joiners.lock().list.len()
    }

    /// One item more, which nobody else knows of yet. The lock of the items is held.
    #[inline]
    pub(super) fn add(&self) {
        // Relaxed: the item's way to the getter orders this before that getter's report.
        let put = self.put.load(Ordering::Relaxed);
        self.put.store(put.wrapping_add(1), Ordering::Relaxed);
    }

    /// `items` are done. `false`: there are not as many.
    pub(super) fn finish(&self, items: usize) -> bool {
        if items == 0 {
            return true;
        }
        // The last one takes the way through the lock.
        self.count_done(items, |left| left > 0).is_some() || self.finish_last(items)
    }

    /// Counts `items` that were put, and that nobody will report, as done. It counts fewer if a
    /// task has reported more than it got.
    pub(super) fn write_off(&self, items: usize) {
        while !self.finish(items.min(self.unfinished())) {}
    }

    /// Counts, if `allow` accepts the number that is left; returns that number.
    fn count_done(&self, items: usize, allow: impl Fn(usize) -> bool) -> Option<usize> {
        // Acquire, and Release below: what was done with the items comes before what
        // follows a join, and others' items were put before they were done.
        let mut done = self.done.load(Ordering::Acquire);
        loop {
            // Relaxed: the caller knows that its own items were put, and `done` shows that the
            // others were.
            let put = self.put.load(Ordering::Relaxed);
            let left = put.wrapping_sub(done).checked_sub(items).filter(|left| allow(*left))?;
            match self.done.compare_exchange(
                done,
                done.wrapping_add(items),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(left),
                Err(now) => done = now,
            }
        }
    }

    /// Step 2, where zero may be reached.
    fn finish_last(&self, items: usize) -> bool {
        let mut joiners = self.joiners.lock();
        let left = self.count_done(items, |_| true);
        if left == Some(0) {
            joiners.round += 1;
        }
        drop(joiners);
        if left == Some(0) {
            self.release();
        }
        left.is_some()
    }

    /// Step 3.
    fn release(&self) {
        let mut wakers = Wakers::new();
        loop {
            let mut joiners = self.joiners.lock();
            let round = joiners.round;
            let more = joiners.list.grant_while(&mut wakers, |came| *came < round);
            drop(joiners);
            wakers.wake_all();
            if !more {
                return;
            }
        }
    }

    /// Ready once all is done.
    pub(super) fn poll_join(&self, mut joiner: Pin<&mut Joiner>, cx: &Context<'_>) -> Poll<()> {
        match joiner.status() {
            Status::Idle => {
                if self.unfinished() > 0 && self.wait(joiner.as_mut(), cx) {
                    return Poll::Pending;
                }
            }
            Status::Queued => {
                let status = poll_queued(&self.joiners, |all| &mut all.list, joiner.as_mut(), cx);
                if status == Status::Queued {
                    return Poll::Pending;
                }
            }
            Status::Granted | Status::Refused => {}
        }
        joiner.reset();
        Poll::Ready(())
    }

    /// Joins the list; `false`: all is done.
    fn wait(&self, mut joiner: Pin<&mut Joiner>, cx: &Context<'_>) -> bool {
        // Foreign code, so before the lock.
        let waker = cx.waker().clone();
        let mut joiners = self.joiners.lock();
        // Not under the lock of the last one, the count does not come down to zero.
        if self.unfinished() == 0 {
            drop(joiners);
            panic::discard_foreign(waker);
            return false;
        }
        *joiner.as_mut().value_mut() = joiners.round;
        joiners.list.push_back(joiner, waker);
        true
    }

    /// A joiner goes.
    pub(super) fn drop_join(&self, joiner: Pin<&mut Joiner>) {
        if joiner.status() == Status::Queued {
            let left = self.joiners.lock().list.remove(joiner);
            panic::discard_foreign(left);
        }
    }
}
