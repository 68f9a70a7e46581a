//! A descriptor that tasks wait for: the owner's side of a registration.

use std::{
    io,
    mem::ManuallyDrop,
    os::fd::{AsFd, AsRawFd as _},
    task::{Context, Poll},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    Home, Reactor,
    slot::{Direction, Ready, Seen, SlotRef},
};
use crate::{
    loom::Mutex,
    util::{current, fork::Owner},
};

/// An open descriptor and its slot. It belongs to no worker until it first has to wait; then the
/// worker that polls the task registers it, and becomes its home, unless a [`Door`] leads elsewhere.
///
/// Dropping it takes the descriptor out of its home before it closes (S4).
///
/// The order of the fields is for `Socket`: what each use needs comes last.
#[repr(C)]
pub(crate) struct Source<T: AsFd> {
    home: Mutex<Option<Home>>,
    slot: ManuallyDrop<SlotRef>,
    /// The process that has first waited for it: in a forked child, slot and home are the parent's.
    owner: Owner,
    /// Taken by `drop` and `into_inner` only.
    io: ManuallyDrop<T>,
}

/// The way to the reactors, for a task that waits.
#[derive(Clone, Copy)]
pub(crate) struct Door {
    /// Runs a closure with this thread's reactor; an error if it has none.
    pub(crate) here: Here,
    /// Another worker's reactor, for a socket that has no home yet and is better off there.
    pub(crate) elsewhere: Elsewhere,
}

/// See [`Door::here`].
pub(crate) type Here = fn(&mut dyn FnMut(&mut Reactor) -> io::Result<Home>) -> io::Result<Home>;

/// See [`Door::elsewhere`].
pub(crate) type Elsewhere = fn() -> Option<Home>;

/// What can be waited for until it is ready.
pub(crate) trait Pollable {
    type Io: AsFd;

    fn source(&self) -> &Source<Self::Io>;

    /// The descriptor's number, for reports.
    fn number(&self) -> u64 {
        self.source().get().as_fd().as_raw_fd() as u64
    }

    /// Has a reactor report on it. A task waits for this direction; another may
    /// [`confirm`](Self::confirm) the other direction later.
    fn register(&self, reactor: &mut Reactor, direction: Direction) -> io::Result<Home>;

    /// Has another worker's reactor become its home, of which the caller makes a note. `false`: it
    /// cannot.
    fn register_at(&self, _home: &Home) -> bool {
        false
    }

    /// Whether its home certainly reports on this direction, or else has just ended and will have
    /// all waiting tasks look again.
    fn is_reported(&self, _direction: Direction) -> bool {
        false
    }

    /// Makes its home, where it is registered, report on this direction.
    fn confirm(&self, _home: &Home, _direction: Direction, _door: Door) -> io::Result<()> {
        Ok(())
    }
}

/// A descriptor that others may close, or use for what they like.
impl<T: AsFd> Pollable for Source<T> {
    type Io = T;

    fn source(&self) -> &Source<T> {
        self
    }

    fn register(&self, reactor: &mut Reactor, _: Direction) -> io::Result<Home> {
        reactor.register(self.io.as_fd(), self.slot.key())
    }
}

impl<T: AsFd> Source<T> {
    /// `io` must be non-blocking. It is thought ready until it says otherwise.
    pub(crate) fn new(io: T) -> Self {
        Self::with_ready(io, Ready::READABLE.and(Ready::WRITABLE))
    }

    /// A descriptor that is known to be ready for nothing yet, such as a socket
    /// that connects: the first event tells.
    pub(crate) fn new_unready(io: T) -> Self {
        Self::with_ready(io, Ready::NONE)
    }

    fn with_ready(io: T, ready: Ready) -> Self {
        Self {
            io: ManuallyDrop::new(io),
            slot: ManuallyDrop::new(SlotRef::new(ready)),
            owner: Owner::nobody(),
            home: Mutex::new(None),
        }
    }

    pub(crate) fn get(&self) -> &T {
        &self.io
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        &mut self.io
    }

    /// What the slot says now.
    #[inline]
    pub(crate) fn look(&self) -> Seen {
        self.slot.look()
    }

    /// The operation that was tried after `seen` would have blocked.
    #[inline(never)]
    pub(crate) fn clear(&self, seen: Seen, direction: Direction, has_marks: bool) {
        let asks = has_marks && direction == Direction::Read && self.slot.may_hide_mark(seen);
        if asks && self.ask_for_mark().intersects(PollFlags::IN) {
            // A mark has stopped the read, or something has come since.
            return;
        }
        self.slot.clear(seen, direction);
    }

    /// The operation that was tried after `seen` took all bytes.
    #[inline]
    pub(crate) fn drained(&self, seen: Seen, direction: Direction) {
        if !self.slot.drained(seen, direction) {
            self.drained_unless_stopped(seen);
        }
    }

    /// A read was short: unless a mark has stopped it, it took all bytes.
    #[cold]
    fn drained_unless_stopped(&self, seen: Seen) {
        if !self.ask_for_mark().intersects(PollFlags::IN | PollFlags::PRI) {
            self.slot.took_all(seen);
        }
    }

    /// Asks the descriptor for urgent data (`PRI`), which is noted, and for what can be read (`IN`).
    #[cold]
    fn ask_for_mark(&self) -> PollFlags {
        let mut fds = [PollFd::new(self.get(), PollFlags::IN | PollFlags::PRI)];
        let asked = poll(&mut fds, Some(&Timespec::default()));
        let events = if asked.is_ok() { fds[0].revents() } else { PollFlags::empty() };
        if events.intersects(PollFlags::PRI) {
            self.slot.is_urgent();
        }
        events
    }

    /// Asks the descriptor whether there is urgent data, which has yet to be read past.
    #[cold]
    pub(crate) fn has_mark(&self) -> bool {
        self.ask_for_mark().intersects(PollFlags::PRI)
    }

    /// The operation that was tried after `seen` took something, and may have left more.
    #[inline]
    pub(crate) fn took(&self, seen: Seen, direction: Direction) {
        self.slot.took(seen, direction);
    }

    pub(crate) fn slot(&self) -> &SlotRef {
        &self.slot
    }

    /// A future that shared this descriptor waits no more.
    pub(crate) fn forget(&self, ticket: Option<u64>) {
        if let Some(ticket) = ticket {
            self.slot.forget(ticket);
        }
    }

    /// An error in a forked child of the process that has waited for it.
    #[inline]
    pub(crate) fn check_process(&self) -> io::Result<()> {
        self.owner.check()
    }

    /// Where it is registered; where there is nothing to register, that becomes its home.
    pub(crate) fn home_or(&self, at_hand: impl FnOnce() -> Home) -> Home {
        let mut home = self.home.lock();
        if let Some(home) = home.as_ref().filter(|home| home.is_alive()) {
            return home.clone();
        }
        let at_hand = at_hand();
        if matches!(at_hand, Home::Uring(_)) {
            self.owner.claim();
            *home = Some(at_hand.clone());
        }
        at_hand
    }

    /// Looks where it is registered.
    pub(crate) fn with_home<R>(&self, look: impl FnOnce(Option<&Home>) -> R) -> R {
        look(self.home.lock().as_ref())
    }

    /// It is registered elsewhere from here on.
    pub(super) fn set_home(&self, home: Home) {
        *self.home.lock() = Some(home);
    }

    /// Has `change` make another home of the present one, if it does.
    pub(super) fn change_home(&self, change: impl FnOnce(&Home) -> Option<Home>) {
        let mut home = self.home.lock();
        if let Some(next) = home.as_ref().and_then(change) {
            *home = Some(next);
        }
    }

    /// Where it is registered, if it is.
    pub(crate) fn home(&self) -> Option<Home> {
        self.home.lock().clone()
    }

    /// Takes it out of its home and hands it back.
    pub(crate) fn into_inner(self) -> T {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used any more, nor dropped.
        unsafe { this.dissolve() }
    }

    /// # Safety
    ///
    /// Nobody uses `self` after it.
    unsafe fn dissolve(&mut self) -> T {
        if let Some(home) = self.home.get_mut().take() {
            home.deregister(&*self.io, self.slot.key());
        }
        // SAFETY: by the caller: each is taken once.
        unsafe {
            ManuallyDrop::drop(&mut self.slot);
            ManuallyDrop::take(&mut self.io)
        }
    }
}

/// Waits until `io`, which was not ready, may be. `door` leads to this thread's reactor.
#[inline(never)]
pub(crate) fn poll_ready<P: Pollable>(
    io: &P,
    direction: Direction,
    cx: &mut Context<'_>,
    door: Door,
) -> Poll<io::Result<()>> {
    ensure_home(io, direction, door)?;
    let ready = io.source().slot.poll_ready(direction, cx);
    note_wait(io, direction, ready).map(Ok)
}

/// The same for one of several futures that wait for this direction. `ticket` is given
/// back with [`forget`](Source::forget).
pub(crate) fn poll_ready_shared<P: Pollable>(
    io: &P,
    direction: Direction,
    cx: &mut Context<'_>,
    ticket: &mut Option<u64>,
    door: Door,
) -> Poll<io::Result<()>> {
    ensure_home(io, direction, door)?;
    let ready = io.source().slot.poll_ready_shared(direction, ticket, cx);
    note_wait(io, direction, ready).map(Ok)
}

/// Notes what the task waits for, if it does.
#[inline]
fn note_wait<P: Pollable>(io: &P, direction: Direction, ready: Poll<()>) -> Poll<()> {
    if ready.is_pending() {
        current::waits_for(direction.wait(), io.number());
    }
    ready
}

/// Finds a home if there is none: the first one, or another after a runtime ended.
#[inline]
fn ensure_home<P: Pollable>(io: &P, direction: Direction, door: Door) -> io::Result<()> {
    io.source().check_process()?;
    if io.is_reported(direction) {
        return Ok(());
    }
    find_home(io, direction, door)
}

#[inline(never)]
fn find_home<P: Pollable>(io: &P, direction: Direction, door: Door) -> io::Result<()> {
    let source = io.source();
    if let Some(home) = source.home().filter(Home::is_alive) {
        return io.confirm(&home, direction, door);
    }
    let mut home = source.home.lock();
    if let Some(alive) = home.clone().filter(Home::is_alive) {
        // Another task has just found one.
        drop(home);
        return io.confirm(&alive, direction, door);
    }
    // The slot stays as it is: the old home has woken all tasks to look again. A task that has not
    // run yet may wait for an event that the new home is not asked to report. An event too many
    // does no harm.
    //
    // Claimed before anything is registered: a child that is forked meanwhile does not get it.
    source.owner.claim();
    let elsewhere = (door.elsewhere)().filter(|home| home.is_alive() && io.register_at(home));
    if let Some(elsewhere) = elsewhere {
        *home = Some(elsewhere.clone());
        drop(home);
        return io.confirm(&elsewhere, direction, door);
    }
    *home = Some((door.here)(&mut |reactor| io.register(reactor, direction))?);
    Ok(())
}

impl<T: AsFd> Drop for Source<T> {
    fn drop(&mut self) {
        // SAFETY: a destructor runs once, and last.
        drop(unsafe { self.dissolve() });
    }
}

impl<T: AsFd + std::fmt::Debug> std::fmt::Debug for Source<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.get().fmt(f)
    }
}
