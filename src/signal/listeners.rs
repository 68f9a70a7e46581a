//! The handlers, and the counts and bells that they share with the listeners.
//!
//! The first listener of a kind has the registry of `signal-hook-registry` set a handler, which stays for
//! good. The handler counts, and writes to the kind's eventfd, its *bell*; each listener has a
//! descriptor of that. A signal that nobody listens for has the effect that it had before the first
//! listener: the handler plays the default if that stood there; what other code had set is called by the
//! registry in any case.
//!
//! A forked child inherits the handlers, and none of the listeners. Its counts are its own.

use std::{
    io,
    os::fd::OwnedFd,
    sync::OnceLock,
    task::{Context, Poll},
};

use libc::{SIGINT, c_int};
use rustix::event::{EventfdFlags, eventfd};

use crate::{
    loom::global::{AtomicU64, Mutex, Ordering},
    reactor::{Direction, Source},
    runtime::{
        interrupt,
        operation::{self, Operation},
    },
    util::{
        fork::{self, PerProcess},
        signal_count::{Count, Seen},
        signals,
    },
};

/// The number of the last kind.
const LAST: usize = 64;

/// Of one kind, in this process.
struct Kind {
    count: Count,
    bell: OnceLock<OwnedFd>,
}

impl Kind {
    fn ring(&self) {
        if let Some(bell) = self.bell.get() {
            // It never fills: nobody lives to see 2^64 signals.
            let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
        }
    }
}

static KINDS: PerProcess<[Kind; LAST + 1]> = PerProcess::new();

/// The kinds that have a handler, a bit for each: inherited, as the handlers are. Written under the lock
/// of [`set_up`].
static HANDLED: AtomicU64 = AtomicU64::new(0);
/// Those whose handler plays the default where nobody listens.
static PLAYS_DEFAULT: AtomicU64 = AtomicU64::new(0);

fn bit(signal: c_int) -> u64 {
    1 << (signal - 1)
}

fn kind(signal: c_int) -> &'static Kind {
    let new = |_| Kind { count: Count::new(), bell: OnceLock::new() };
    &KINDS.get(|| std::array::from_fn(new))[signal as usize]
}

/// One that listens until it is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    signal: c_int,
    seen: Seen,
    /// The kind's bell.
    source: Source<OwnedFd>,
    /// The process that made it: in a forked child it listens no more.
    process: fork::Generation,
}

impl Listener {
    /// One that hears of the signals from here on. The number must be one that can be listened for.
    pub(super) fn new(signal: c_int) -> io::Result<Self> {
        let kind = kind(signal);
        let bell = set_up(signal, kind)?;
        let source = Source::new(rustix::io::fcntl_dupfd_cloexec(bell, 0)?);
        // The last step: a listener that was counted has a destructor that counts it out.
        Ok(Self { signal, seen: kind.count.listen(), source, process: fork::generation() })
    }

    pub(super) fn signal(&self) -> c_int {
        self.signal
    }

    /// Waits for signals that it has not heard of.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_ours() {
            return Poll::Ready(Err(fork::error()));
        }
        let mut hear = Hear { count: &kind(self.signal).count, seen: &mut self.seen };
        operation::poll(&self.source, cx, &mut hear)
    }

    fn is_ours(&self) -> bool {
        self.process == fork::generation()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.is_ours() {
            kind(self.signal).count.leave();
        }
    }
}

/// Whether signals have come.
struct Hear<'a> {
    count: &'a Count,
    seen: &'a mut Seen,
}

impl Operation<OwnedFd> for Hear<'_> {
    type Output = ();

    const DIRECTION: Direction = Direction::Read;
    const HAS_MARKS: bool = false;

    fn attempt(&mut self, _: &OwnedFd) -> io::Result<()> {
        match self.count.hear(self.seen) {
            true => Ok(()),
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// Sets the handler of a kind, once, and makes its bell.
fn set_up(signal: c_int, kind: &'static Kind) -> io::Result<&'static OwnedFd> {
    static SETUP: PerProcess<Mutex<()>> = PerProcess::new();

    let _setup = SETUP.get(|| Mutex::new(())).lock();
    if kind.bell.get().is_none() {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        kind.bell.get_or_init(|| bell);
    }
    // Relaxed: under the lock.
    if HANDLED.load(Ordering::Relaxed) & bit(signal) == 0 {
        match signal {
            SIGINT => interrupt::stand_behind(|is_free| register(signal, is_free))?,
            _ => register(signal, signals::disposition(signal) == libc::SIG_DFL)?,
        }
        // Only now, so that a refusal is not remembered as a success.
        HANDLED.fetch_or(bit(signal), Ordering::Relaxed);
    }
    Ok(kind.bell.get().expect("set above"))
}

/// `plays_default`: it stands where the default was.
fn register(signal: c_int, plays_default: bool) -> io::Result<()> {
    if plays_default {
        // Before the first signal comes to the handler. Relaxed: the calls that set it come after.
        PLAYS_DEFAULT.fetch_or(bit(signal), Ordering::Relaxed);
    }
    // SAFETY: the action allocates, locks and panics nowhere: it is atomic operations, and calls
    // that a handler may make.
    unsafe { signal_hook_registry::register(signal, move || act(signal))? };
    Ok(())
}

/// The handler's part. It runs in the middle of anything.
fn act(signal: c_int) {
    signals::keep_errno(|| {
        let kind = KINDS.peek().map(|kinds| &kinds[signal as usize]);
        let is_heard = kind.is_some_and(|kind| kind.count.come(|| kind.ring()));
        // Relaxed: written before the handler was set.
        if !is_heard && PLAYS_DEFAULT.load(Ordering::Relaxed) & bit(signal) != 0 {
            match signal {
                SIGINT => interrupt::unheard(),
                _ => signals::play_default(signal),
            }
        }
    });
}
