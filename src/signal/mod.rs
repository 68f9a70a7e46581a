//! Waiting for signals.
//!
//! The handler counts and writes to an eventfd; each waiter has its own descriptor of
//! that, and looks whether the count has moved since it was made.

use std::{
    io,
    os::fd::OwnedFd,
    pin::Pin,
    sync::OnceLock,
    task::{Context, Poll},
};

use rustix::event::{EventfdFlags, eventfd};

use crate::{
    loom::global::{AtomicU64, Mutex, Ordering},
    reactor::{Direction, Source},
    runtime::{
        Listening,
        operation::{self, Operation},
    },
    util::fork::PerProcess,
};

/// Waits for SIGINT: Ctrl-C.
///
/// It listens from the call on, so that a signal that comes before the await is not
/// lost. From the first call on, SIGINT no longer ends the process by itself. Everybody
/// who waits hears of each.
///
/// While one listens, a signal does not [interrupt a main](crate::run). Once it has heard a signal, or is
/// dropped, it does not listen any more: where nobody else does, the next signal cancels the main, if
/// SIGINT had its default disposition when that began. To hear of each signal, call this again before
/// the work on the last one begins.
///
/// A handler that was there before is still called. Other code that sets one later, by
/// sigaction(2), without calling the one that it replaces, takes the signal away: then nobody who
/// waits here hears of it, and a later call does not set the handler again. What is set with the
/// crate `signal-hook` goes along with this one.
///
/// asyncio: `loop.add_signal_handler(SIGINT, ..)`.
///
/// # Cancel safety
///
/// Dropping it only stops this one from listening.
///
/// # Errors
///
/// No handler can be set, or no descriptor be had; the future says so.
///
/// ```no_run
/// ringloop::run(async {
///     ringloop::signal::ctrl_c().await.unwrap();
///     println!("stopping");
/// });
/// ```
pub fn ctrl_c() -> CtrlC {
    // Before the handler is there: no signal interrupts a main in between.
    let listening = Listening::begin();
    let state = listen().map_err(Some);
    let listening = state.is_ok().then_some(listening);
    CtrlC { state, listening }
}

/// The future of [`ctrl_c`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct CtrlC {
    state: Result<(Source<OwnedFd>, Since), Option<io::Error>>,
    /// Until it has heard.
    listening: Option<Listening>,
}

static COUNT: AtomicU64 = AtomicU64::new(0);

/// Sets the handler, once, and makes a descriptor for one listener.
fn listen() -> io::Result<(Source<OwnedFd>, Since)> {
    static BELL: OnceLock<OwnedFd> = OnceLock::new();
    static SETUP: PerProcess<Mutex<()>> = PerProcess::new();

    let setup = SETUP.get(|| Mutex::new(())).lock();
    if BELL.get().is_none() {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let handler = || {
            // Relaxed: the event of the write comes after it.
            COUNT.fetch_add(1, Ordering::Relaxed);
            if let Some(bell) = BELL.get() {
                let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
            }
        };
        // SAFETY: an atomic addition and write(2) are async-signal-safe, and neither
        // allocates, locks or panics; rustix makes the call directly, errno untouched.
        unsafe { signal_hook_registry::register(rustix::process::Signal::INT.as_raw(), handler)? };
        // Only now, so that a refusal is not remembered as a success. A signal in between
        // is counted, and nobody listens yet.
        BELL.get_or_init(|| bell);
    }
    drop(setup);
    let bell = BELL.get().expect("set above");
    let since = Since(COUNT.load(Ordering::Relaxed));
    Ok((Source::new(rustix::io::fcntl_dupfd_cloexec(bell, 0)?), since))
}

/// Whether a signal came since then.
#[derive(Debug)]
struct Since(u64);

impl Operation<OwnedFd> for Since {
    type Output = ();

    const DIRECTION: Direction = Direction::Read;

    fn attempt(&mut self, _: &OwnedFd) -> io::Result<()> {
        if COUNT.load(Ordering::Relaxed) > self.0 {
            return Ok(());
        }
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl Future for CtrlC {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = match &mut self.state {
            Ok((source, since)) => operation::poll(source, cx, since),
            Err(error) => Poll::Ready(Err(error.take().expect("not polled after its end"))),
        };
        if polled.is_ready() {
            self.listening = None;
        }
        polled
    }
}
