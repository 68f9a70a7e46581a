//! What few tasks have: one word behind the header, which stays null for all others.
//!
//! The word is one of these:
//!
//! * null;
//! * the number of the task that waits for this one in a combinator;
//! * the place in the source where somebody asked the task to end;
//! * a cause, which several tasks may share;
//! * an [`Extension`], which has room for the cause and for all the rest.
//!
//! So a plain `cancel` allocates nothing, and a group that cancels ten thousand children allocates
//! one cause.
//!
//! Invariants:
//!
//! * X1 An extension that the word points to stays there until the word is dropped.
//! * X2 A shared cause in the word is owned by it: the thread that takes it out by an RMW owns it.
//!
//! # A request, its cause, and their end
//!
//! 1. A thread that asks a task to end notes the cause and then sets the bit in the state word. So a
//!    request that is found has its cause.
//! 2. A task that [consumes](Extra::consume) a request clears the bit and takes the cause out. By then
//!    the task has regions, and so an extension. Steps 1 and 2 run under its lock.
//! 3. A thread that noted its cause in the word, before there was an extension, may set the bit after
//!    the task has consumed an earlier request with that cause. Then the thread notes its cause again,
//!    unless the bit is clear by now: then the task has consumed this request as well, with the cause
//!    of another thread. If the task is polled before the cause is noted again, it
//!    takes the request for one of the runtime, which has no cause: it is delivered, and cannot be
//!    consumed.

use std::{borrow::Cow, panic::Location, ptr};

use super::{cancel::Root, done::Callbacks, local::Kept, state::State};
use crate::{
    error::{CancelCause, Cause, ScopeKind, TaskId},
    loom::{
        Mutex, UnsafeCell,
        atomic::{AtomicPtr, AtomicU64, Ordering},
    },
    util::panic,
};

/// Tags in the lowest bits: all these pointers are aligned to 8.
const LOCATION: usize = 1;
const CAUSE: usize = 2;
const OWNERS_CAUSE: usize = 3;
const AWAITER: usize = 4;
const TAGS: usize = 7;

/// The origin of a request to end a task.
pub(crate) enum Asked {
    /// Somebody with a handle, at this place.
    At(&'static Location<'static>),
    /// Somebody with a handle, for a reason.
    For(Cause),
    /// A group or an owner of the task, which it cannot refuse.
    Owner(Cause),
}

/// Why a task is to end, as far as it is known.
#[derive(Clone)]
pub(super) struct Noted {
    pub(super) cause: Cause,
    /// A group or an owner asks: the task cannot consume that.
    pub(super) owner: bool,
}

impl Noted {
    /// Somebody with a handle, at this place.
    fn at(location: &'static Location<'static>, name: Option<&Cow<'static, str>>) -> Self {
        let cause = CancelCause::new(ScopeKind::Task, Some(location));
        Self { cause: Cause::new(CancelCause { name: name.cloned(), ..cause }), owner: false }
    }
}

impl Asked {
    /// A request with a reason, to end the task with this name.
    pub(super) fn for_reason(
        extra: &Extra,
        reason: Cow<'static, str>,
        location: &'static Location<'static>,
    ) -> Self {
        let cause = CancelCause::new(ScopeKind::Task, Some(location));
        let name = extra.name().cloned();
        Self::For(Cause::new(CancelCause { name, reason: Some(reason), ..cause }))
    }
}

/// The word.
pub(super) struct Extra(AtomicPtr<()>);

/// The rest, in memory of its own.
pub(super) struct Extension {
    /// Given at birth.
    pub(super) name: Option<Cow<'static, str>>,
    noted: Mutex<Option<Noted>>,
    /// Values that it inherited; the runner's (L3). Given at birth, empty after the end.
    pub(super) locals: UnsafeCell<Vec<Box<dyn Kept>>>,
    /// Debug mode times its polls. Given at birth.
    pub(super) timed: bool,
    /// The callbacks for the task's end.
    pub(super) callbacks: Mutex<Callbacks>,
    /// Regions of the task that hear of its cancellation; the runner's.
    pub(super) root: Mutex<Root>,
    /// The number of the task that waits for this one in a combinator, or 0.
    awaiter: AtomicU64,
}

impl Default for Extension {
    fn default() -> Self {
        Self::with_locals(Vec::new())
    }
}

impl Extension {
    pub(super) fn with_locals(locals: Vec<Box<dyn Kept>>) -> Self {
        Self {
            name: None,
            noted: Mutex::new(None),
            locals: UnsafeCell::new(locals),
            timed: false,
            callbacks: Mutex::default(),
            root: Mutex::default(),
            awaiter: AtomicU64::new(0),
        }
    }

    fn set_awaiter(&self, awaiter: TaskId) {
        // Relaxed: for reports.
        self.awaiter.store(awaiter.0, Ordering::Relaxed);
    }

    /// Whether it was given values at birth, or its polls are timed.
    pub(super) fn is_wrapped(&mut self) -> bool {
        // SAFETY: alone, by `&mut`.
        self.timed || self.locals.with_mut(|locals| unsafe { !(*locals).is_empty() })
    }
}

/// What the word holds when it is neither null nor an extension.
enum Tagged {
    At(&'static Location<'static>),
    For(*const ()),
    Owner(*const ()),
}

impl Extra {
    #[inline]
    pub(super) fn new(extension: Option<Box<Extension>>) -> Self {
        Self(AtomicPtr::new(extension.map_or(ptr::null_mut(), |box_| Box::into_raw(box_).cast())))
    }

    /// The task's name. Only an extension from its birth has one.
    pub(super) fn name(&self) -> Option<&Cow<'static, str>> {
        self.get()?.name.as_ref()
    }

    fn tagged(word: *mut ()) -> Option<Tagged> {
        let untagged = word.map_addr(|addr| addr & !TAGS).cast_const();
        match word.addr() & TAGS {
            // SAFETY: so tagged are only pointers to static locations: see `ask`.
            LOCATION => Some(Tagged::At(unsafe { &*untagged.cast() })),
            CAUSE => Some(Tagged::For(untagged)),
            OWNERS_CAUSE => Some(Tagged::Owner(untagged)),
            _ => None,
        }
    }

    /// Whether nothing is in the word that may not be replaced.
    fn is_free(word: *mut ()) -> bool {
        word.is_null() || word.addr() & TAGS == AWAITER
    }

    fn tagged_awaiter(word: *mut ()) -> Option<TaskId> {
        (word.addr() & TAGS == AWAITER).then(|| TaskId((word.addr() as u64) >> TAGS.count_ones()))
    }

    /// Notes that a task waits for this one in a combinator. A task that is being cancelled and has no
    /// extension has no room for it.
    pub(super) fn note_awaiter(&self, awaiter: TaskId) {
        let tagged = (awaiter.0 << TAGS.count_ones()) as usize | AWAITER;
        let tagged = ptr::without_provenance_mut(tagged);
        // Acquire: an extension that is there is seen; pairs with the CAS in `get_or_make`.
        let mut word = self.0.load(Ordering::Acquire);
        while Self::is_free(word) && word != tagged {
            // Relaxed: for reports; Acquire as above.
            match self.0.compare_exchange(word, tagged, Ordering::Relaxed, Ordering::Acquire) {
                Ok(_) => return,
                Err(changed) => word = changed,
            }
        }
        if let Some(extension) = self.existing(word) {
            extension.set_awaiter(awaiter);
        }
    }

    /// The task that waits for this one in a combinator, for reports.
    pub(super) fn awaiter(&self) -> Option<TaskId> {
        // Acquire: as in `get`.
        let word = self.0.load(Ordering::Acquire);
        let extended = || {
            let awaiter = &self.existing(word)?.awaiter;
            // Relaxed: for reports.
            Some(TaskId(awaiter.load(Ordering::Relaxed))).filter(|awaiter| awaiter.0 != 0)
        };
        Self::tagged_awaiter(word).or_else(extended)
    }

    fn existing(&self, word: *mut ()) -> Option<&Extension> {
        if word.is_null() || word.addr() & TAGS != 0 {
            return None;
        }
        // SAFETY: X1; untagged and not null.
        Some(unsafe { &*word.cast_const().cast() })
    }

    /// The extension, if there is one.
    pub(super) fn get(&self) -> Option<&Extension> {
        // Acquire: pairs with the CAS in `get_or_make`.
        self.existing(self.0.load(Ordering::Acquire))
    }

    /// The extension; the first caller makes it.
    pub(super) fn get_or_make(&self) -> &Extension {
        // Acquire: pairs with the CAS below, of the caller that was first.
        let mut word = self.0.load(Ordering::Acquire);
        let mut new = None;
        loop {
            if let Some(extension) = self.existing(word) {
                return extension;
            }
            let made = new.take().unwrap_or_else(|| Box::new(Extension::default()));
            let raw = Box::into_raw(made);
            // SAFETY: fresh memory.
            let extension = unsafe { &*raw };
            // Locked until what the word held is in its place: a thread that looks for it waits.
            let mut noted = extension.noted.lock();
            // AcqRel: publishes the extension; a cause in the word is seen (X2).
            match self.0.compare_exchange(word, raw.cast(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    // SAFETY: X2: just taken out.
                    *noted = Self::tagged(word).map(|tagged| unsafe { tagged.into_noted(None) });
                    drop(noted);
                    if let Some(awaiter) = Self::tagged_awaiter(word) {
                        extension.set_awaiter(awaiter);
                    }
                    // X1.
                    return extension;
                }
                Err(changed) => {
                    drop(noted);
                    // SAFETY: nobody else has seen it.
                    new = Some(unsafe { Box::from_raw(raw) });
                    word = changed;
                }
            }
        }
    }

    /// Notes the cause, and then sets the bit, as [`State::request`]. The first cause stays, until it is
    /// taken; but that of an owner replaces that of somebody with a handle, whose request the task may
    /// consume.
    pub(super) fn ask(&self, asked: Asked, state: &State, abort: bool) -> (bool, bool) {
        let again = match &asked {
            Asked::At(location) => Some(Asked::At(location)),
            Asked::For(cause) => Some(Asked::For(cause.clone())),
            Asked::Owner(_) => None,
        };
        let word = match asked {
            Asked::At(location) => {
                ptr::from_ref(location).cast_mut().cast::<()>().map_addr(|addr| addr | LOCATION)
            }
            Asked::For(cause) => cause.into_raw().cast_mut().map_addr(|addr| addr | CAUSE),
            Asked::Owner(cause) => cause.into_raw().cast_mut().map_addr(|addr| addr | OWNERS_CAUSE),
        };
        let owner = word.addr() & TAGS == OWNERS_CAUSE;
        // Acquire: an extension that is there is seen; pairs with the CAS in `get_or_make`.
        let mut old = self.0.load(Ordering::Acquire);
        while Self::is_free(old) || (owner && matches!(old.addr() & TAGS, LOCATION | CAUSE)) {
            // AcqRel: publishes the cause; what is there is seen, and an earlier cause is ours (X2).
            match self.0.compare_exchange(old, word, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    // SAFETY: X2: just taken out.
                    drop(Self::tagged(old).map(|tagged| unsafe { tagged.into_noted(None) }));
                    let requested = state.request(abort);
                    self.note_again(again, state);
                    return requested;
                }
                Err(changed) => old = changed,
            }
        }
        // SAFETY: X2: it did not get into the word.
        let mut new = Self::tagged(word).map(|tagged| unsafe { tagged.into_noted(self.name()) });
        let Some(extension) = self.existing(old) else {
            let requested = state.request(abort);
            self.note_again(again, state);
            return requested;
        };
        let mut first = extension.noted.lock();
        if first.as_ref().is_none_or(|first| owner && !first.owner) {
            std::mem::swap(&mut *first, &mut new);
        }
        let requested = state.request(abort);
        drop(first);
        requested
    }

    /// Step 3 of the module's page.
    fn note_again(&self, asked: Option<Asked>, state: &State) {
        if let Some(asked) = asked
            && let Some(extension) = self.get()
        {
            let mut noted = extension.noted.lock();
            // Under the lock: a request that is consumed takes its cause with it (step 2).
            if noted.is_none() && state.load().is_cancelled() {
                let name = extension.name.as_ref();
                *noted = Some(match asked {
                    Asked::At(location) => Noted::at(location, name),
                    Asked::For(cause) | Asked::Owner(cause) => Noted { cause, owner: false },
                });
            }
        }
    }

    /// Takes the cause out, if it is that of somebody with a handle, and clears the bit.
    pub(super) fn consume(&self, state: &State) -> bool {
        let mut noted = self.get_or_make().noted.lock();
        if noted.as_ref().is_none_or(|noted| noted.owner) {
            return false;
        }
        state.consume_request();
        let consumed = noted.take();
        drop(noted);
        drop(consumed);
        true
    }

    /// Takes out the origin of the request.
    pub(super) fn take_noted(&self) -> Option<Noted> {
        // Acquire: pairs with the CAS in `ask` and in `get_or_make`.
        let word = self.0.load(Ordering::Acquire);
        if Self::is_free(word) {
            return None;
        }
        if let Some(extension) = self.existing(word) {
            return extension.noted.lock().take();
        }
        // AcqRel: the cause is seen, and is ours (X2), or there is an extension by now.
        match self.0.compare_exchange(word, ptr::null_mut(), Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: X2: just taken out.
            Ok(_) => Self::tagged(word).map(|tagged| unsafe { tagged.into_noted(None) }),
            Err(_) => self.take_noted(),
        }
    }

    /// The origin of the request, which stays.
    pub(super) fn noted(&self) -> Option<Noted> {
        self.get_or_make().noted.lock().clone()
    }
}

impl Tagged {
    /// # Safety
    ///
    /// The word's ownership of it has gone to the caller (X2).
    unsafe fn into_noted(self, name: Option<&Cow<'static, str>>) -> Noted {
        let (raw, owner) = match self {
            Self::At(location) => return Noted::at(location, name),
            Self::For(raw) => (raw, false),
            Self::Owner(raw) => (raw, true),
        };
        // SAFETY: the caller's promise.
        Noted { cause: unsafe { Cause::from_raw(raw) }, owner }
    }
}

impl Drop for Extra {
    fn drop(&mut self) {
        // Relaxed: the thread that frees the task has acquired what all others did.
        let word = self.0.load(Ordering::Relaxed);
        if let Some(tagged) = Self::tagged(word) {
            // SAFETY: X2: the word ends.
            drop(unsafe { tagged.into_noted(None) });
        } else if !Self::is_free(word) {
            // SAFETY: X1: the word ends.
            let extension = unsafe { Box::from_raw(word.cast::<Extension>()) };
            // Of a runtime that could not end in time, there may be foreign things left in it.
            panic::discard_foreign(extension);
        }
    }
}
