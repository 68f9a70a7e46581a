//! Ctrl-C while a main runs: it cancels the main, and ends the process the second time.
//!
//! While mains run, SIGINT has a handler, if it had its default disposition when the first of them began.
//! There is neither a thread nor a descriptor for that.
//!
//! 1. A main [watches](watch): it is counted, also in its hub, and the first sets the handler. One that
//!    blocks its thread in `block_on` is listed, so that it can be unparked.
//! 2. The handler counts the signals. At the first it marks each hub that has mains as interrupted, and
//!    rings the doorbell of its worker 0. At the second it restores the default disposition, and raises the
//!    signal again.
//! 3. Worker 0 [attends](attend): it leaves its loop for the mark, tells those that are listed, and the
//!    caller of `run` on this thread; they cancel their mains. A task that holds worker 0 keeps them
//!    waiting: then the second signal helps.
//! 4. When the last main has its result, the default disposition is back. What follows, the end of the
//!    runtime, is ended at once by a signal.
//!
//! A listener, as `signal::ctrl_c` makes them, sets a handler in front of this one, which calls it and
//! stays for good. While one lives, a signal is the listener's alone. If other code has set a handler,
//! a signal is that code's alone. A forked child that inherits the handler has no mains: the signal ends
//! it.

use std::{
    mem::MaybeUninit,
    ptr,
    sync::Arc,
    thread::{self, Thread},
};

use crate::{
    loom::global::{AtomicBool, AtomicU32, Mutex, Ordering},
    scheduler::{Hub, Worker},
    util::fork::{self, PerProcess},
};

/// The mains that watch, for the handler. Written under the lock of [`state`].
static MAINS: AtomicU32 = AtomicU32::new(0);
/// The process that has them.
static PROCESS: fork::Owner = fork::Owner::nobody();
/// The signals since the first of these mains began.
static SIGNALS: AtomicU32 = AtomicU32::new(0);
/// The listeners that live.
static LISTENERS: AtomicU32 = AtomicU32::new(0);
/// Whether there has been one: then a handler of ours may be in front of this one.
static LISTENED: AtomicBool = AtomicBool::new(false);

#[derive(Default)]
struct State {
    mains: u32,
    waiting: Vec<(u16, Arc<Waiter>)>,
}

fn state() -> &'static Mutex<State> {
    static STATE: PerProcess<Mutex<State>> = PerProcess::new();
    STATE.get(Mutex::default)
}

/// A thread that waits for its main.
pub(super) struct Waiter {
    thread: Thread,
    interrupted: AtomicBool,
}

impl Waiter {
    /// The calling thread.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { thread: thread::current(), interrupted: AtomicBool::new(false) })
    }

    pub(super) fn unpark(&self) {
        self.thread.unpark();
    }

    /// Whether a signal came for it.
    pub(super) fn is_interrupted(&self) -> bool {
        // Relaxed: nothing comes with it; who set it unparks.
        self.interrupted.load(Ordering::Relaxed)
    }
}

/// A main that SIGINT cancels, until the value is dropped.
pub(super) struct Watch {
    hub: &'static Hub,
    waiter: Option<Arc<Waiter>>,
}

/// Has SIGINT cancel a main of `hub`, which begins, if nothing else is to become of that signal. The main
/// is that of the thread of worker 0, or of the `waiter`.
pub(super) fn watch(hub: &'static Hub, waiter: Option<&Arc<Waiter>>) -> Option<Watch> {
    let mut state = state().lock();
    let disposition = disposition();
    let is_ours = disposition == ours();
    let first = state.mains == 0;
    // With no main it is ours only in a forked child, which has inherited it.
    let is_free = is_ours || first && disposition == libc::SIG_DFL;
    if !is_free {
        return None;
    }
    if first {
        PROCESS.claim();
        SIGNALS.store(0, Ordering::Relaxed);
    }
    state.waiting.extend(waiter.map(|waiter| (hub.key(), waiter.clone())));
    hub.add_main();
    state.mains += 1;
    MAINS.store(state.mains, Ordering::Relaxed);
    if !is_ours {
        set(ours());
    }
    Some(Watch { hub, waiter: waiter.cloned() })
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = state().lock();
        let Some(mains) = state.mains.checked_sub(1) else {
            // In a forked child: it is the parent's.
            return;
        };
        state.mains = mains;
        if let Some(waiter) = &self.waiter {
            state.waiting.retain(|(_, other)| !Arc::ptr_eq(other, waiter));
        }
        self.hub.remove_main();
        MAINS.store(mains, Ordering::Relaxed);
        // Where it is not, a listener's handler is in front, or other code has set one: it stays.
        if mains == 0 && disposition() == ours() {
            set(libc::SIG_DFL);
        }
    }
}

/// The loop of a worker, until `done`. Worker 0 says what SIGINT is to cancel: it unparks those who wait
/// for mains, and calls `interrupted` for the main of its own thread.
pub(super) fn attend(worker: &Worker, done: impl Fn() -> bool, mut interrupted: impl FnMut()) {
    let hub = worker.hub();
    if worker.index() != 0 {
        return worker.run(done);
    }
    loop {
        worker.run(|| done() || hub.is_interrupted());
        if done() {
            return;
        }
        hub.take_interrupt();
        interrupted();
        let state = state().lock();
        for (_, waiter) in state.waiting.iter().filter(|(key, _)| *key == hub.key()) {
            // Relaxed: as in `is_interrupted`.
            waiter.interrupted.store(true, Ordering::Relaxed);
            waiter.unpark();
        }
    }
}

/// Somebody who listens for SIGINT, until the value is dropped.
#[derive(Debug)]
pub(crate) struct Listening(());

impl Listening {
    pub(crate) fn begin() -> Self {
        // Relaxed: the handler may come in between in any case.
        LISTENERS.fetch_add(1, Ordering::Relaxed);
        LISTENED.store(true, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        LISTENERS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Ends the process as SIGINT does where it has no handler.
#[cold]
pub(super) fn end_process() -> ! {
    set(libc::SIG_DFL);
    // SAFETY: no memory is involved.
    unsafe { libc::kill(libc::getpid(), libc::SIGINT) };
    // All threads block the signal: what a shell would say of it.
    std::process::exit(128 + libc::SIGINT)
}

/// The handler. It runs in the middle of anything: it takes no lock, allocates nothing, and leaves errno as
/// it is.
extern "C" fn handle(_signal: libc::c_int) {
    // SAFETY: the thread's own.
    let errno = unsafe { *libc::__errno_location() };
    if LISTENERS.load(Ordering::Relaxed) == 0 {
        let is_first = disposition() == ours();
        // Behind other code's handler, it is that code's.
        if is_first || LISTENED.load(Ordering::Relaxed) {
            interrupt(is_first);
        }
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

fn interrupt(is_first: bool) {
    // Relaxed: a signal has no order with what other threads do.
    if MAINS.load(Ordering::Relaxed) == 0 || !PROCESS.is_this_process() {
        // The last main has just ended, or is the parent's. Behind a listener's handler, that has it.
        if is_first {
            raise_by_default();
        }
    } else if SIGNALS.fetch_add(1, Ordering::Relaxed) == 0 {
        Hub::interrupt_all();
    } else {
        raise_by_default();
    }
}

/// The process ends when the handler returns.
fn raise_by_default() {
    set(libc::SIG_DFL);
    // SAFETY: no memory is involved.
    unsafe { libc::raise(libc::SIGINT) };
}

fn ours() -> libc::sighandler_t {
    handle as extern "C" fn(libc::c_int) as libc::sighandler_t
}

/// What becomes of SIGINT now. Safe to ask in a handler.
fn disposition() -> libc::sighandler_t {
    let mut now = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the kernel writes one `sigaction`; all zero is one as well.
    unsafe {
        libc::sigaction(libc::SIGINT, ptr::null(), now.as_mut_ptr());
        now.assume_init().sa_sigaction
    }
}

/// Says what becomes of SIGINT. Safe to call in a handler.
fn set(handler: libc::sighandler_t) {
    // SAFETY: all zero is one, with no flags and an empty mask.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler;
    action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
    // SAFETY: it is valid for the call; the handler does only what one may do.
    unsafe { libc::sigaction(libc::SIGINT, &raw const action, ptr::null_mut()) };
}
