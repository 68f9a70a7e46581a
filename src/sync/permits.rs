//! Permits and the tasks that wait for them: what [`Semaphore`](super::Semaphore),
//! [`Lock`](super::Lock), [`RwLock`](super::RwLock) and [`OnceCell`](super::OnceCell) have in
//! common.
//!
//! One word holds the permits that are left and says whether anybody waits; behind it is
//! the [list](super::wait_list) of those, with its lock.
//!
//! 1. Nobody waits: taking permits is one CAS, and so is giving them back.
//! 2. There are too few, or others wait already: a task that comes takes the lock, sets `WAITERS`
//!    (or finds that there are enough now, and begins again), and joins the list.
//! 3. While `WAITERS` is set, both CASes refuse: nobody overtakes, and permits that come back go
//!    through the lock, to the first in the list. They belong to that waiter at once: they are
//!    granted before it runs. If it wants more than there are, they stay in the word, out of reach
//!    of the waiters behind it.
//! 4. A waiter that leaves the list takes the lock, and grants permits to those behind it, which
//!    may want less. One that leaves with a grant gives it back as in 3; one that was refused has
//!    none.
//!
//! Invariants, cited below:
//! * P1 When the lock is free, `WAITERS` is set exactly if the list is not empty; it
//!   changes under the lock only.
//! * P2 While `WAITERS` is set, only the holder of the lock writes the word.

use std::{
    borrow::Cow,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::wait_list::{Status, WaitList, Waiter, Wakers, poll_queued};
use crate::{
    loom::{
        Mutex, address_within,
        atomic::{AtomicUsize, Ordering},
        const_fn,
    },
    util::{
        current, panic,
        wait::{KEYS, WaitKind},
    },
};

/// Somebody waits.
const WAITERS: usize = 1;
/// No permit is given out any more.
const CLOSED: usize = 2;
/// The permits that are left are counted from here up.
const SHIFT: u32 = 2;

/// More permits than this cannot be counted.
pub(super) const MAX_PERMITS: usize = usize::MAX >> SHIFT;

/// Why there are no permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Too few are left, or somebody waits for them already.
    TooFew,
    /// There will be none any more.
    Closed,
}

/// There will be no permits any more.
#[derive(Debug)]
pub(super) struct Closed;

pub(super) struct Permits {
    /// permits left | CLOSED | WAITERS
    word: AtomicUsize,
    waiters: Mutex<WaitList<usize>>,
}

impl Permits {
    const_fn! {
        /// `count` is at most [`MAX_PERMITS`].
        #[inline]
        pub(super) fn new(count: usize, kind: WaitKind) -> Self {
            let waiters = Mutex::new(WaitList::new(kind));
            Self { word: AtomicUsize::new(count << SHIFT), waiters }
        }
    }

    /// Gives it a name, for reports. Returns the key that a wait has from now on, or 0 if there are too many names.
    pub(super) fn set_name(&self, name: Cow<'static, str>) -> u64 {
        self.waiters.lock().set_name(name)
    }

    /// The key of a wait, without a name.
    #[inline]
    pub(super) fn key(&self) -> u64 {
        address_within(&self.waiters) & KEYS
    }

    /// How many are left.
    pub(super) fn available(&self) -> usize {
        self.look() >> SHIFT
    }

    /// Whether a task that wants a permit has to wait.
    pub(super) fn is_locked(&self) -> bool {
        check(self.look(), 1) == Err(Refusal::TooFew)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.look() & CLOSED != 0
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiters.lock().len()
    }

    fn look(&self) -> usize {
        // Acquire: a task that sees that a permit is back sees what was done with it.
        self.word.load(Ordering::Acquire)
    }

    /// Takes `needed`, if they are there and nobody waits.
    #[inline]
    pub(super) fn try_acquire(&self, needed: usize) -> Result<(), Refusal> {
        self.take(needed, || true).map(|_| ())
    }

    /// The one CAS of step 1. `admit` is asked once, when there are enough; `Ok(false)`: it
    /// refused, and nothing was taken.
    #[inline]
    fn take(&self, needed: usize, admit: impl FnOnce() -> bool) -> Result<bool, Refusal> {
        // Acquire here and below, for a task that finds it closed: pairs with `close`.
        let mut word = self.word.load(Ordering::Acquire);
        let mut admit = Some(admit);
        loop {
            check(word, needed)?;
            if admit.take().is_some_and(|admit| !admit()) {
                return Ok(false);
            }
            if needed == 0 {
                // P2: there is nothing to write.
                return Ok(true);
            }
            // Acquire: pairs with the Release of the task that gave permits back.
            match self.word.compare_exchange(
                word,
                word - (needed << SHIFT),
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => return Ok(true),
                Err(now) => word = now,
            }
        }
    }

    /// Waits for `needed` permits.
    #[inline]
    pub(super) fn acquire(&self, needed: usize) -> Acquire<'_> {
        Acquire { permits: self, needed, waiter: Waiter::new(needed) }
    }

    /// Step 1, else step 2.
    #[inline]
    fn poll_first(
        &self,
        needed: usize,
        waiter: Pin<&mut Waiter<usize>>,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Closed>> {
        match self.take(needed, current::budget_spend) {
            Ok(true) => Poll::Ready(Ok(())),
            Ok(false) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Err(Refusal::Closed) => current::poll_budget(cx).map(|()| Err(Closed)),
            Err(Refusal::TooFew) => self.join_list(needed, waiter, cx),
        }
    }

    /// Step 2, out of the way of the fast path.
    #[inline(never)]
    fn join_list(
        &self,
        needed: usize,
        waiter: Pin<&mut Waiter<usize>>,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Closed>> {
        // Clone and drop are foreign code: outside of the lock (S6).
        let waker = cx.waker().clone();
        let mut list = self.waiters.lock();
        // Relaxed: the list is the lock's; a task that takes permits sees what comes with them.
        let mut word = self.word.load(Ordering::Relaxed);
        while check(word, needed) == Err(Refusal::TooFew) {
            // P1. Relaxed: an RMW keeps what others released, and has nothing to add.
            let marked = word & WAITERS != 0
                || match self.word.compare_exchange(
                    word,
                    word | WAITERS,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => true,
                    Err(now) => {
                        word = now;
                        false
                    }
                };
            if marked {
                list.push_back(waiter, waker);
                return Poll::Pending;
            }
        }
        drop(list);
        // Permits came back meanwhile, or it was closed.
        panic::discard_foreign(waker);
        self.poll_first(needed, waiter, cx)
    }

    /// Gives `count` permits back, or adds them.
    #[inline]
    pub(super) fn release(&self, count: usize) {
        // Relaxed: only the CAS counts.
        let mut word = self.word.load(Ordering::Relaxed);
        while word & WAITERS == 0 {
            // Release: pairs with the Acquire of the task that takes them.
            match self.word.compare_exchange(
                word,
                word + (count << SHIFT),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
        self.release_to_waiters(count);
    }

    /// Step 3.
    #[inline(never)]
    fn release_to_waiters(&self, mut count: usize) {
        let mut wakers = Wakers::new();
        loop {
            let more = self.grant(&mut self.waiters.lock(), count, &mut wakers);
            wakers.wake_all();
            if !more {
                return;
            }
            count = 0;
        }
    }

    /// Adds `count` permits and gives what there is to the first in the list, with its lock
    /// held. `true`: there is no more room for wakers, and more to be done.
    fn grant(&self, list: &mut WaitList<usize>, count: usize, wakers: &mut Wakers) -> bool {
        // Acquire: what came with permits that were left in the word goes on to the task that takes
        // them from the store below.
        let word = self.word.load(Ordering::Acquire);
        if word & WAITERS == 0 {
            // Release: as in `release`.
            self.word.fetch_add(count << SHIFT, Ordering::Release);
            return false;
        }
        let mut permits = (word >> SHIFT) + count;
        let more = list.grant_while(wakers, |&mut needed| {
            // A waiter that is still to be refused gets nothing any more.
            let enough = needed <= permits && word & CLOSED == 0;
            permits -= if enough { needed } else { 0 };
            enough
        });
        let waiters = if list.is_empty() { 0 } else { WAITERS };
        // P2: no write of others is lost. Release: as in `release`.
        self.word.store(permits << SHIFT | word & CLOSED | waiters, Ordering::Release);
        more
    }

    /// Takes permits out that are left, `count` at most; how many. They do not come back.
    pub(super) fn forget(&self, count: usize) -> usize {
        // P2: with the lock, whether somebody waits or not.
        let list = self.waiters.lock();
        let mut forgotten = 0;
        // Acquire: as in `take`. Release: what came with the permits that stay goes on with them.
        let _ = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            forgotten = count.min(word >> SHIFT);
            Some(word - (forgotten << SHIFT))
        });
        drop(list);
        forgotten
    }

    /// Refuses all tasks that wait and all that come.
    pub(super) fn close(&self) {
        let mut wakers = Wakers::new();
        loop {
            let mut list = self.waiters.lock();
            // Release: a task that finds it closed sees what came before.
            self.word.fetch_or(CLOSED, Ordering::Release);
            while !wakers.is_full()
                && let Some(waker) = list.refuse_front()
            {
                wakers.push(waker);
            }
            let done = list.is_empty();
            if done {
                // P1.
                self.word.fetch_and(!WAITERS, Ordering::Relaxed);
            }
            drop(list);
            wakers.wake_all();
            if done {
                return;
            }
        }
    }

    /// Step 4: the future is dropped before it had an answer.
    #[inline(never)]
    fn leave(&self, needed: usize, mut waiter: Pin<&mut Waiter<usize>>) {
        let mut wakers = Wakers::new();
        let mut list = self.waiters.lock();
        let Some(waker) = list.remove(waiter.as_mut()) else {
            drop(list);
            // Granted meanwhile, or refused, which gave it nothing to pass on.
            if waiter.status() == Status::Granted {
                self.release(needed);
            }
            return;
        };
        let more = self.grant(&mut list, 0, &mut wakers);
        drop(list);
        wakers.wake_all();
        panic::discard_foreign(waker);
        if more {
            self.release_to_waiters(0);
        }
    }
}

/// Whether `needed` permits can be taken from this word. None can also while others wait: they
/// miss nothing.
#[inline]
fn check(word: usize, needed: usize) -> Result<(), Refusal> {
    if word & CLOSED != 0 {
        Err(Refusal::Closed)
    } else if word & WAITERS != 0 && needed > 0 || word >> SHIFT < needed {
        Err(Refusal::TooFew)
    } else {
        Ok(())
    }
}

pin_project! {
    /// Waits for permits. They are the caller's when it is ready; dropped before, it takes
    /// none, and gives back what it was granted.
    pub(super) struct Acquire<'a> {
        permits: &'a Permits,
        needed: usize,
        #[pin]
        waiter: Waiter<usize>,
    }

    impl PinnedDrop for Acquire<'_> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            match this.waiter.status() {
                Status::Idle | Status::Refused => {}
                Status::Queued => this.permits.leave(*this.needed, this.waiter),
                Status::Granted => this.permits.release(*this.needed),
            }
        }
    }
}

impl Future for Acquire<'_> {
    type Output = Result<(), Closed>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let status = match this.waiter.status() {
            Status::Idle => return this.permits.poll_first(*this.needed, this.waiter, cx),
            Status::Queued => poll_again(this.permits, this.waiter.as_mut(), cx),
            status => status,
        };
        let result = match status {
            Status::Granted => Ok(()),
            Status::Refused => Err(Closed),
            Status::Queued | Status::Idle => return Poll::Pending,
        };
        this.waiter.reset();
        Poll::Ready(result)
    }
}

/// Polled for another reason, as by a `select!`, or granted just now; apart from the path of a
/// granted waiter.
#[inline(never)]
fn poll_again(permits: &Permits, waiter: Pin<&mut Waiter<usize>>, cx: &Context<'_>) -> Status {
    poll_queued(&permits.waiters, |list| list, waiter, cx)
}
