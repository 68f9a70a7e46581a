//! The one list of waiting futures, under every primitive of this folder.
//!
//! A [`Waiter`] is a node that lives in the waiting future, so that waiting allocates
//! nothing. A [`WaitList`] is first in, first out, and stands behind a lock of the
//! primitive, with whatever else the primitive keeps there: every method of the list
//! takes `&mut WaitList`, which is the proof that the lock is held.
//!
//! 1. The future clones its waker, takes the lock, sees that it must wait, and
//!    [pushes](WaitList::push_back) its waiter: `QUEUED`.
//! 2. A thread that has something to give takes the lock and gives it to the first waiter: it
//!    changes the waiter's [value](WaitList::front_mut) if there is something to say, and
//!    [grants](WaitList::grant_front). The waiter leaves the list, its waker comes out, and *last
//!    of all* it is marked `GRANTED`: from then on it belongs to its future again, which may end at
//!    any moment. What is given has changed hands by that: nobody else can take it before the
//!    waiter runs.
//! 3. The lock is released, and then the waker is woken: foreign code never runs under it.
//!    Many wakers are collected in [`Wakers`], a batch at a time.
//! 4. The future is polled, sees `GRANTED` without the lock, and
//!    [resets](Waiter::reset) its waiter.
//! 5. A future that is dropped before: `QUEUED`, it takes the lock and
//!    [removes](WaitList::remove) its waiter. If that finds it granted meanwhile, or if it
//!    was `GRANTED` from the start, it passes on what it was given, as if it had used it.
//!
//! A primitive that wakes all waiters of *now* numbers its rounds. The waiter's value is the round
//! in which it came. The waking thread takes from the front for as long as it finds waiters of its
//! own round or earlier ones. So it may release the lock between two batches, and wakes no waiter
//! that came meanwhile.
//!
//! Invariants, cited below:
//! * W1 `inner` is touched by the owner of the `Waiter` while it is not `QUEUED`, and by
//!   the holder of the list's lock while it is.
//! * W2 All waiters of a list are `QUEUED`, pinned and alive: a waiter leaves its list
//!   before its memory goes, or the process ends ([`Waiter::drop`]).
//! * W3 A waiter is in one list at most, the one at `home`; a list stays where it is while a waiter
//!   that will come back is in it, since the futures borrow or own its primitive.

use std::{
    borrow::Cow,
    cell::Cell,
    marker::PhantomPinned,
    mem::MaybeUninit,
    ops::DerefMut,
    pin::Pin,
    process,
    ptr::{self, NonNull},
    task::{Context, Waker},
};

use crate::{
    loom::{
        MODELLED, Mutex, SpinLock, UnsafeCell,
        atomic::{AtomicU8, Ordering},
        batch, const_fn, pick,
    },
    util::{
        current, names, panic,
        wait::{NAMED, WaitKind},
    },
};

/// How far a [`Waiter`] has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// In no list: not yet, or not any more.
    Idle,
    /// In a list.
    Queued,
    /// It has what it waited for.
    Granted,
    /// It will not get it.
    Refused,
}

const IDLE: u8 = 0;
const QUEUED: u8 = 1;
const GRANTED: u8 = 2;
const REFUSED: u8 = 3;

/// A place in a [`WaitList`], with a value that says what is wanted, or what was given.
pub(super) struct Waiter<T> {
    status: AtomicU8,
    /// As in that list, for reports.
    tag: Cell<Tag>,
    /// The list it was last pushed to. The owner's own, by `Pin<&mut Waiter>`.
    home: Cell<*const WaitList<T>>,
    inner: UnsafeCell<Inner<T>>,
    _pinned: PhantomPinned,
}

struct Inner<T> {
    /// Towards the front.
    prev: Option<NonNull<Waiter<T>>>,
    next: Option<NonNull<Waiter<T>>>,
    /// There while it is queued.
    waker: Option<Waker>,
    value: T,
}

// SAFETY: the pointers lead to waiters of the same kind and are followed under the lock only
// (W1, W2); `home` is compared and not followed. Wakers are Send and Sync.
unsafe impl<T: Send> Send for Waiter<T> {}
// SAFETY: as above; a shared reference gives the status and nothing else.
unsafe impl<T: Send> Sync for Waiter<T> {}

impl<T> Waiter<T> {
    pub(super) fn new(value: T) -> Self {
        Self {
            status: AtomicU8::new(IDLE),
            tag: Cell::new(Tag::NONE),
            home: Cell::new(ptr::null()),
            inner: UnsafeCell::new(Inner { prev: None, next: None, waker: None, value }),
            _pinned: PhantomPinned,
        }
    }

    /// How far it has come. Only `Queued` may change by itself.
    #[inline]
    pub(super) fn status(&self) -> Status {
        // Acquire: pairs with `finish_front`; what the giver did comes before, and it is done
        // with `inner`.
        match self.status.load(Ordering::Acquire) {
            IDLE => Status::Idle,
            QUEUED => Status::Queued,
            GRANTED => Status::Granted,
            _ => Status::Refused,
        }
    }

    /// The value, while it is in no list.
    ///
    /// # Panics
    ///
    /// If it is queued.
    #[inline]
    pub(super) fn value_mut(self: Pin<&mut Self>) -> &mut T {
        assert!(self.status() != Status::Queued, "a queued waiter is its list's");
        let waiter: &Self = self.into_ref().get_ref();
        // SAFETY: W1: the owner, by `Pin<&mut Self>`, and it is not queued. The reference
        // lives as long as that borrow, in which it cannot be queued.
        waiter.inner.with_mut(|inner| unsafe { &mut (*inner).value })
    }

    /// Takes note of what came of it: the waiter may be pushed again, or dropped.
    ///
    /// # Panics
    ///
    /// If it is queued.
    #[inline]
    pub(super) fn reset(self: Pin<&mut Self>) {
        assert!(self.status() != Status::Queued, "a queued waiter is its list's");
        // Relaxed: the owner's own word while it is not queued.
        self.status.store(IDLE, Ordering::Relaxed);
    }
}

impl<T> Drop for Waiter<T> {
    fn drop(&mut self) {
        // A model that fails ends in this way, too, and could not report the reason then.
        if MODELLED && std::thread::panicking() {
            return;
        }
        // Relaxed: nothing follows from it.
        if self.status.load(Ordering::Relaxed) == QUEUED {
            // W2 would be broken. No unwinding: other threads would go on in freed memory.
            process::abort();
        }
    }
}

/// The waiters, in the order in which they came.
pub(super) struct WaitList<T> {
    first: Option<NonNull<Waiter<T>>>,
    last: Option<NonNull<Waiter<T>>>,
    len: u32,
    label: Label,
}

/// A tag that owns its name's number.
struct Label(Tag);

impl Drop for Label {
    #[inline]
    fn drop(&mut self) {
        if self.0.name() != 0 {
            names::remove(self.0.name());
        }
    }
}

/// The primitive to which a list belongs, for reports: its kind, and the number of its name.
#[derive(Clone, Copy)]
struct Tag(u32);

impl Tag {
    const NONE: Self = Self(0);

    const fn new(kind: WaitKind) -> Self {
        Self(kind as u32)
    }

    fn with_name(self, name: u32) -> Self {
        Self(name << 8 | self.0 & 255)
    }

    fn name(self) -> u32 {
        self.0 >> 8
    }

    /// Notes that the task which is polled waits in the list at `address`.
    #[inline]
    fn note(self, address: u64) {
        let key = match self.name() {
            0 => address,
            name => NAMED | u64::from(name),
        };
        current::waits_for_number(self.0 as u8, key);
    }
}

// SAFETY: the holder of the list holds the lock, and so may use the waiters (W1); they are Send.
unsafe impl<T: Send> Send for WaitList<T> {}

impl<T> WaitList<T> {
    const_fn! {
        /// `kind` is for reports.
        pub(super) fn new(kind: WaitKind) -> Self {
            Self { first: None, last: None, len: 0, label: Label(Tag::new(kind)) }
        }
    }

    /// Gives it a name, for reports. Returns the key of a wait here, or 0 if there are too many names.
    pub(super) fn set_name(&mut self, name: Cow<'static, str>) -> u64 {
        self.label = Label(self.label.0.with_name(names::add(name)));
        match self.label.0.name() {
            0 => 0,
            name => NAMED | u64::from(name),
        }
    }

    /// How many wait.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Appends a waiter (step 1). `waker` was cloned before the lock was taken.
    ///
    /// # Panics
    ///
    /// If it is not idle.
    pub(super) fn push_back(&mut self, waiter: Pin<&mut Waiter<T>>, waker: Waker) {
        let before = self.last;
        self.link(waiter, before, None, waker);
    }

    /// Puts a waiter before all others: one that had its turn and could not use it.
    ///
    /// # Panics
    ///
    /// If it is not idle.
    #[allow(dead_code, reason = "for primitives that hand a turn back")]
    pub(super) fn push_front(&mut self, waiter: Pin<&mut Waiter<T>>, waker: Waker) {
        let after = self.first;
        self.link(waiter, None, after, waker);
    }

    fn link(
        &mut self,
        waiter: Pin<&mut Waiter<T>>,
        prev: Option<NonNull<Waiter<T>>>,
        next: Option<NonNull<Waiter<T>>>,
        waker: Waker,
    ) {
        assert!(waiter.status() == Status::Idle, "a waiter is in one list at most");
        waiter.home.set(self);
        waiter.tag.set(self.label.0);
        let waiter: &Waiter<T> = waiter.into_ref().get_ref();
        let this = Some(NonNull::from(waiter));
        // SAFETY: W1: the owner's until it is queued, below.
        waiter.inner.with_mut(|inner| unsafe {
            (*inner).prev = prev;
            (*inner).next = next;
            // There is none: it is taken out with each end of the wait.
            (*inner).waker = Some(waker);
        });
        match prev {
            None => self.first = this,
            // SAFETY: it is in this list, whose lock is held.
            Some(prev) => unsafe { set_next(prev, this) },
        }
        match next {
            None => self.last = this,
            // SAFETY: as above.
            Some(next) => unsafe { set_prev(next, this) },
        }
        self.len += 1;
        self.label.0.note(ptr::from_ref(self).addr() as u64);
        // Relaxed: its owner reads it, and any other thread that may use it has the lock.
        waiter.status.store(QUEUED, Ordering::Relaxed);
    }

    /// What the first one wants, and the place to say what it gets.
    #[inline]
    pub(super) fn front_mut(&mut self) -> Option<&mut T> {
        // SAFETY: W2.
        let first = unsafe { self.first?.as_ref() };
        // SAFETY: W1, with the lock, for as long as the list is borrowed.
        Some(first.inner.with_mut(|inner| unsafe { &mut (*inner).value }))
    }

    /// The first one has what it waited for; its waker, to be woken without the lock.
    #[inline]
    pub(super) fn grant_front(&mut self) -> Option<Waker> {
        self.finish_front(GRANTED)
    }

    /// The first one waited in vain; its waker, to be woken without the lock.
    #[inline]
    pub(super) fn refuse_front(&mut self) -> Option<Waker> {
        self.finish_front(REFUSED)
    }

    #[inline]
    fn finish_front(&mut self, status: u8) -> Option<Waker> {
        // SAFETY: W2, until the store below.
        let first = unsafe { self.first?.as_ref() };
        let waker = self.unlink(first);
        // Release: pairs with `Waiter::status`. Nothing of the waiter is touched after it.
        first.status.store(status, Ordering::Release);
        Some(waker)
    }

    /// Grants from the front on, as long as `give` says so of a value; it may change it. Wakers
    /// are collected. `true`: there was no more room for them, and there may be more to do.
    #[inline]
    pub(super) fn grant_while(
        &mut self,
        wakers: &mut Wakers,
        mut give: impl FnMut(&mut T) -> bool,
    ) -> bool {
        while let Some(value) = self.front_mut() {
            if wakers.is_full() {
                return true;
            }
            if !give(value) {
                return false;
            }
            wakers.push(self.grant_front().expect("there is a first"));
        }
        false
    }

    /// Shows all values, from the front on.
    pub(super) fn for_each(&mut self, mut f: impl FnMut(&mut T)) {
        let mut next = self.first;
        while let Some(waiter) = next {
            // SAFETY: W1, W2, with the lock.
            unsafe { waiter.as_ref() }.inner.with_mut(|inner| unsafe {
                f(&mut (*inner).value);
                next = (*inner).next;
            });
        }
    }

    /// Takes a waiter out that does not wait any more (step 5), and is idle then. The waker
    /// is dropped without the lock. `None`: it is not queued any more.
    ///
    /// # Panics
    ///
    /// If it was pushed to another list.
    #[must_use = "a waker is foreign code: drop it after the lock; and a waiter that gets `None` may have a grant"]
    pub(super) fn remove(&mut self, waiter: Pin<&mut Waiter<T>>) -> Option<Waker> {
        let waiter = self.queued(waiter)?;
        let waker = self.unlink(waiter);
        // Relaxed: it is the owner's.
        waiter.status.store(IDLE, Ordering::Relaxed);
        Some(waker)
    }

    /// Whether the waiter needs no other waker than it has, to be woken like `waker`.
    fn is_up_to_date(&self, waiter: Pin<&mut Waiter<T>>, waker: &Waker) -> bool {
        let Some(waiter) = self.queued(waiter) else { return true };
        // SAFETY: W1, with the lock.
        waiter.inner.with(|inner| unsafe {
            (*inner).waker.as_ref().is_some_and(|old| old.will_wake(waker))
        })
    }

    /// Gives a queued waiter another waker. What comes back is dropped without the lock.
    fn replace_waker(&mut self, waiter: Pin<&mut Waiter<T>>, waker: Waker) -> Option<Waker> {
        let Some(waiter) = self.queued(waiter) else { return Some(waker) };
        // SAFETY: W1, with the lock.
        waiter.inner.with_mut(|inner| unsafe { (*inner).waker.replace(waker) })
    }

    /// The waiter, if it is in this list.
    fn queued<'a>(&self, waiter: Pin<&'a mut Waiter<T>>) -> Option<&'a Waiter<T>> {
        if waiter.status() != Status::Queued {
            return None;
        }
        // W3: it decides whose lock it is that guards the waiter.
        assert!(ptr::eq(waiter.home.get(), self), "a waiter of another list");
        Some(waiter.into_ref().get_ref())
    }

    /// Takes a waiter of this list out of it; its status is still to be set.
    #[inline]
    fn unlink(&mut self, waiter: &Waiter<T>) -> Waker {
        // SAFETY: W1, with the lock.
        let (prev, next, waker) = waiter
            .inner
            .with_mut(|inner| unsafe { ((*inner).prev, (*inner).next, (*inner).waker.take()) });
        match prev {
            None => self.first = next,
            // SAFETY: a neighbour is in this list, too.
            Some(prev) => unsafe { set_next(prev, next) },
        }
        match next {
            None => self.last = prev,
            // SAFETY: as above.
            Some(next) => unsafe { set_prev(next, prev) },
        }
        self.len -= 1;
        waker.expect("a queued waiter has a waker")
    }
}

/// # Safety
///
/// The lock of the list that `waiter` is in is held.
unsafe fn set_next<T>(waiter: NonNull<Waiter<T>>, next: Option<NonNull<Waiter<T>>>) {
    // SAFETY: W1, W2, by the caller.
    unsafe { waiter.as_ref().inner.with_mut(|inner| (*inner).next = next) };
}

/// # Safety
///
/// As [`set_next`].
unsafe fn set_prev<T>(waiter: NonNull<Waiter<T>>, prev: Option<NonNull<Waiter<T>>>) {
    // SAFETY: W1, W2, by the caller.
    unsafe { waiter.as_ref().inner.with_mut(|inner| (*inner).prev = prev) };
}

/// A lock that guards a list, and more.
pub(super) trait ListLock<S> {
    fn new(state: S) -> Self;

    fn lock(&self) -> impl DerefMut<Target = S>;
}

impl<S> ListLock<S> for Mutex<S> {
    fn new(state: S) -> Self {
        Self::new(state)
    }

    #[inline(always)]
    fn lock(&self) -> impl DerefMut<Target = S> {
        self.lock()
    }
}

impl<S> ListLock<S> for SpinLock<S> {
    fn new(state: S) -> Self {
        Self::new(state)
    }

    #[inline(always)]
    fn lock(&self) -> impl DerefMut<Target = S> {
        self.lock()
    }
}

/// Polls a waiter that is queued, or was: says how far it has come. If it is queued still, it
/// has the waker of `cx`. `list` finds its list behind `lock`.
pub(super) fn poll_queued<S, T>(
    lock: &impl ListLock<S>,
    list: impl Fn(&mut S) -> &mut WaitList<T>,
    mut waiter: Pin<&mut Waiter<T>>,
    cx: &Context<'_>,
) -> Status {
    if waiter.status() == Status::Queued
        && !list(&mut lock.lock()).is_up_to_date(waiter.as_mut(), cx.waker())
    {
        // Clone and drop are foreign code: outside of the lock (S6).
        let new = cx.waker().clone();
        let old = list(&mut lock.lock()).replace_waker(waiter.as_mut(), new);
        panic::discard_foreign(old);
    }
    waiter.tag.get().note(waiter.home.get().addr() as u64);
    // It was granted before it had the waker, or else the waker will be woken.
    waiter.status()
}

/// How many wakers are collected under a lock, before it is released to wake them.
const BATCH: usize = pick(32, 2);

/// Wakers that were collected under a lock, to be woken without it.
///
/// Dropping it wakes them, too: every waiter that was granted something is woken. So it is made
/// before the lock is taken.
pub(super) struct Wakers {
    /// The first `len` are there.
    wakers: [MaybeUninit<Waker>; BATCH],
    len: usize,
}

impl Wakers {
    #[inline]
    pub(super) fn new() -> Self {
        Self { wakers: [const { MaybeUninit::uninit() }; BATCH], len: 0 }
    }

    /// Whether this was the last one that there is room for.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.len == batch(BATCH)
    }

    /// # Panics
    ///
    /// If it is full.
    #[inline]
    pub(super) fn push(&mut self, waker: Waker) {
        self.wakers[self.len].write(waker);
        self.len += 1;
    }

    /// Wakes all of them, in order. The lock is not held.
    #[inline]
    pub(super) fn wake_all(&mut self) {
        // Contained, a panic leaves none of them asleep.
        for waker in &mut self.wakers[..std::mem::take(&mut self.len)] {
            // SAFETY: it is one of the first `len`, and is taken once, since `len` is 0.
            let waker = unsafe { waker.assume_init_read() };
            panic::contain(|| waker.wake());
        }
    }
}

impl Drop for Wakers {
    #[inline]
    fn drop(&mut self) {
        self.wake_all();
    }
}
