//! The tasks that wait for one side of a socket.

use std::{mem, ops::DerefMut, task::Waker};

use smallvec::SmallVec;

use crate::{
    loom::{Mutex, SpinLock},
    util::panic,
};

/// So many may wait at once; the wakers of tasks that gave up stay until the next wake.
const FEW: usize = 32;
/// ... and as many where more than a few really wait.
const MOST: usize = 1024;

/// Several tasks may wait at once; all of them look again.
pub(super) struct Waiting {
    /// Mostly one, which lies right here.
    wakers: SmallVec<[Waker; 1]>,
    /// As many may be kept.
    room: usize,
}

impl Waiting {
    pub(super) fn new() -> Self {
        Self { wakers: SmallVec::new(), room: FEW }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wakers.is_empty()
    }

    /// Hands over all wakers.
    pub(super) fn wake(&mut self, wakes: &mut Vec<Waker>) {
        wakes.extend(self.wakers.drain(..));
    }

    fn knows(&self, waker: &Waker) -> bool {
        self.wakers.iter().any(|known| known.will_wake(waker))
    }
}

/// A value behind a lock, with the tasks that wait for it.
pub(super) trait Watched {
    fn waiting(&mut self) -> &mut Waiting;
}

/// A lock, of either kind.
pub(super) trait Guards<S> {
    fn locked(&self) -> impl DerefMut<Target = S>;
}

impl<S> Guards<S> for Mutex<S> {
    fn locked(&self) -> impl DerefMut<Target = S> {
        self.lock()
    }
}

impl<S> Guards<S> for SpinLock<S> {
    #[inline]
    fn locked(&self) -> impl DerefMut<Target = S> {
        self.lock()
    }
}

/// Calls `f` with a state for which nobody has to wait, or in which the waker is left.
/// `expects`: it has to, most likely.
#[inline]
pub(super) fn look<S: Watched, R>(
    state: &impl Guards<S>,
    waker: &Waker,
    expects: bool,
    has_to_wait: impl FnOnce(&S) -> bool,
    f: impl FnOnce(&mut S) -> R,
) -> R {
    // Cloning and dropping is foreign code: outside of the lock (S6).
    let mut clone = expects.then(|| waker.clone());
    let mut locked = state.locked();
    if has_to_wait(&locked) && !locked.waiting().knows(waker) {
        let waker = match clone.take() {
            Some(clone) => clone,
            None => {
                drop(locked);
                let clone = waker.clone();
                locked = state.locked();
                clone
            }
        };
        let waiting = locked.waiting();
        waiting.wakers.push(waker);
        if waiting.wakers.len() > waiting.room {
            // Most of them have given up. A task that has not looks again, and finds more room.
            waiting.room = (2 * waiting.room).min(MOST);
            let stale = mem::take(&mut waiting.wakers);
            drop(locked);
            stale.into_iter().for_each(|waker| panic::contain(|| waker.wake()));
            locked = state.locked();
        }
    }
    let result = f(&mut locked);
    drop(locked);
    if clone.is_some() {
        panic::discard_foreign(clone);
    }
    result
}
