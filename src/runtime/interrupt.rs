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
//! 3. Worker 0 [attends](attend): it leaves its loop for the mark, unparks the threads that are
//!    listed, and notifies the caller of `run` on this thread. These cancel their mains. A task
//!    that holds worker 0 keeps them waiting: then the second signal helps.
//! 4. When the last main has its result, the default disposition is restored. From then on a signal
//!    ends the process at once, also while the runtime ends.
//!
//! A listener, as `signal::ctrl_c` makes them, sets a handler in front of this one, which stays for good.
//! While a listener lives, a signal is the listener's alone. Without one, the handler in front says that
//! the signal is [unheard]: then it is the mains' again, or has its default effect. If other code has set a
//! handler, a signal is that code's alone. A forked child that inherits the handler has no mains: the
//! signal ends it.

use std::{
    io,
    sync::Arc,
    thread::{self, Thread},
};

use libc::SIGINT;

use crate::{
    loom::global::{AtomicBool, AtomicU32, AtomicU64, Mutex, Ordering},
    scheduler::{Hub, Worker},
    util::{
        fork::{self, PerProcess},
        signals,
    },
};

/// What the cause of the cancellation says.
pub(super) const REASON: &str = "Ctrl-C (SIGINT)";

/// The mains that watch, for the handler. Written under the lock of [`state`].
static MAINS: AtomicU32 = AtomicU32::new(0);
/// The process that has them.
static PROCESS: fork::Owner = fork::Owner::nobody();
/// The signals since the first of these mains began.
static SIGNALS: AtomicU32 = AtomicU32::new(0);
/// The handler of the listeners, once it stands where the default or ours was: it calls [`unheard`].
/// Written under the lock of [`state`]; a forked child inherits it with the handler.
static FRONT: AtomicU64 = AtomicU64::new(0);

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
        // Relaxed: nothing comes with it; the thread that set it unparks.
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
    let disposition = signals::disposition(SIGINT);
    let is_ours = disposition == ours() || is_front(disposition);
    let first = state.mains == 0;
    // With no main it is ours only behind a listener's handler, or in a forked child, which has
    // inherited it.
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
        signals::set(SIGINT, ours());
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
        if mains == 0 && signals::disposition(SIGINT) == ours() {
            signals::set(SIGINT, libc::SIG_DFL);
        }
    }
}

/// The loop of a worker, until `done`. Worker 0 hands SIGINT on: it unparks the threads that wait
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

/// Calls `register`, which sets the handler of the listeners. Its argument says whether that
/// handler takes the place of the default or of ours: then the handler has to say which signals are
/// [unheard].
pub(crate) fn stand_behind(register: impl FnOnce(bool) -> io::Result<()>) -> io::Result<()> {
    // No main begins or ends meanwhile.
    let _state = state().lock();
    let before = signals::disposition(SIGINT);
    let is_free = before == libc::SIG_DFL || before == ours();
    register(is_free)?;
    if is_free {
        // Relaxed: under the lock.
        FRONT.store(signals::disposition(SIGINT) as u64, Ordering::Relaxed);
    }
    Ok(())
}

fn is_front(handler: libc::sighandler_t) -> bool {
    // Relaxed: under the lock. No handler is at 0, which is the default.
    handler != libc::SIG_DFL && FRONT.load(Ordering::Relaxed) == handler as u64
}

/// Called by the handler of the listeners for a signal that came when nobody listened.
pub(crate) fn unheard() {
    // Relaxed: a signal has no order with what other threads do.
    if MAINS.load(Ordering::Relaxed) == 0 || !PROCESS.is_this_process() {
        // The last main has just ended, or is the parent's.
        signals::play_default(SIGINT);
    } else if SIGNALS.fetch_add(1, Ordering::Relaxed) == 0 {
        Hub::interrupt_all();
    } else {
        end_in_handler();
    }
}

/// Ends the process as SIGINT does where it has no handler.
#[cold]
pub(super) fn end_process() -> ! {
    signals::set(SIGINT, libc::SIG_DFL);
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::INT);
    // All threads block the signal: what a shell would say of it.
    std::process::exit(128 + SIGINT)
}

/// The same in a handler.
fn end_in_handler() {
    signals::play_default(SIGINT);
    // The first process of a container is not ended by a default.
    signals::exit_at_once(128 + SIGINT);
}

/// The handler. It runs in the middle of anything: it takes no lock, allocates nothing, and leaves errno as
/// it is.
extern "C" fn handle(_signal: libc::c_int) {
    signals::keep_errno(|| {
        // Behind another handler, it is that one's.
        if signals::disposition(SIGINT) == ours() {
            unheard();
        }
    });
}

fn ours() -> libc::sighandler_t {
    handle as extern "C" fn(libc::c_int) as libc::sighandler_t
}
