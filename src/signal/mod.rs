//! Signals: [`ctrl_c`] and [`terminate`] for one, [`signal`] for each.
//!
//! A listener is a [`Signal`], a stream. It hears of the signals of its kind that come while it lives, from
//! its creation on, also between two awaits. Every listener of a kind hears of each.
//!
//! # Signals that come close together
//!
//! A listener learns *that* signals have come since it last looked, not how many: three that come before
//! it looks are one item. The kernel does so, too, with signals that come before the handler runs.
//! So an item means "look what there is to do", and nothing that came before the item is left unheard.
//!
//! # When nobody listens
//!
//! As long as one listener of a kind lives, signals of that kind have no other effect. When the last one is
//! dropped, the next signal has the effect that it had before the first: a program that once waited for
//! [`terminate`] can still be ended by SIGTERM, and Ctrl-C [cancels a main](crate::run) or ends the process.
//! That holds for as long as the process lives, after the end of the runtime and in the next one.
//!
//! So a program that wants each signal makes one listener, before the first may come, and keeps it. To call [`ctrl_c`]
//! anew in a loop leaves gaps, in which a signal has its default effect:
//!
//! ```no_run
//! use ringloop::signal::{SignalKind, signal};
//!
//! ringloop::run(async {
//!     let mut reload = signal(SignalKind::hangup()).unwrap();
//!     loop {
//!         reload.recv().await.unwrap();
//!         // One that comes while this works is heard at the next `recv`.
//!         println!("reading the configuration again");
//!     }
//! });
//! ```
//!
//! # Other code
//!
//! A handler that other code had set before is called as well. Code that sets one later, by sigaction(2),
//! without calling the one that it replaces, takes the signal away: then no listener here hears of it,
//! and a later listener does not set the handler again. A handler that is set with the crate `signal-hook`, as
//! tokio sets its own, goes along with this. But one that is set after a listener of the same kind here does not keep
//! the default from being played once that listener is gone: keep the listener then.
//!
//! A forked child inherits none of the listeners. In a child that is started by exec, every kind has its
//! default again (execve(2)).

mod kind;
mod listeners;

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::{FusedFuture, Stream};

pub use self::kind::{SignalError, SignalKind};
use self::listeners::Listener;

/// Listens for signals of a kind, from the call on.
///
/// It may be called on any thread; the listener has to be awaited in a runtime.
///
/// asyncio: `loop.add_signal_handler(sig, callback)`, which has one callback for each signal, on the main
/// thread; removing it gives the default back, as the drop of the last listener does here.
///
/// # Errors
///
/// [Refused](SignalError::is_refused) for kinds that no program can wait for: SIGKILL and SIGSTOP, which
/// the kernel shows to none; SIGSEGV, SIGILL, SIGFPE and SIGBUS, which report a fault of the thread
/// that runs; and numbers that are no signal's. Otherwise the system has no descriptor left for the
/// listener, or refuses the handler.
///
/// ```
/// use ringloop::signal::{SignalKind, signal};
/// use rustix::process::{Signal, getpid, kill_process};
///
/// ringloop::run(async {
///     let mut usr1 = signal(SignalKind::user_defined1()).unwrap();
///     kill_process(getpid(), Signal::USR1).unwrap();
///     usr1.recv().await.unwrap();
///
///     let error = signal(SignalKind::from_raw(9)).unwrap_err();
///     assert!(error.is_refused());
///     assert!(error.to_string().contains("SIGTERM"), "it names what to take instead: {error}");
/// });
/// ```
#[doc(alias = "add_signal_handler")]
pub fn signal(kind: SignalKind) -> Result<Signal, SignalError> {
    if let Some(why) = kind.refusal() {
        return Err(SignalError::refused(kind, why));
    }
    match Listener::new(kind.as_raw()) {
        Ok(listener) => Ok(Signal { listener }),
        Err(error) => Err(SignalError::system(kind, error)),
    }
}

/// A listener for signals of one kind: see [`signal`].
///
/// As a stream it has an item each time that signals have come, and no end. It has a descriptor. It may
/// go from one task, and from one runtime, to another.
///
/// ```no_run
/// use futures_util::StreamExt;
/// use ringloop::signal::{SignalKind, signal};
///
/// ringloop::run(async {
///     let mut resized = signal(SignalKind::window_change()).unwrap();
///     while let Some(Ok(())) = resized.next().await {
///         println!("draw everything again");
///     }
/// });
/// ```
#[must_use = "a listener that is dropped hears nothing"]
pub struct Signal {
    listener: Listener,
}

impl Signal {
    /// Waits until signals have come since the last item, or since the listener was made. Several
    /// are one item.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: a signal that no item was for stays for the next call.
    ///
    /// # Errors
    ///
    /// The thread belongs to no runtime; or this is a forked child, and the listener the parent's.
    pub async fn recv(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// [`recv`](Self::recv) for futures that are written by hand.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.listener.poll(cx)
    }

    /// What it listens for.
    pub fn kind(&self) -> SignalKind {
        SignalKind::from_raw(self.listener.signal())
    }
}

impl Stream for Signal {
    type Item = io::Result<()>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<()>>> {
        self.poll_recv(cx).map(Some)
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signal").field(&self.kind()).finish()
    }
}

/// Waits for SIGINT: Ctrl-C.
///
/// It listens from the call on, so that a signal that comes before the await is not lost. While one
/// listens, a signal does not [interrupt a main](crate::run). Once it has heard a signal, or is dropped, it
/// listens no more: where nobody else does, the next signal cancels the main, or ends the process. So a
/// cleanup that hangs does not keep a user waiting that presses Ctrl-C a second time. To hear of each
/// signal, keep a listener: [`signal`]`(`[`SignalKind::interrupt`]`())`; the [module](self) says why.
///
/// asyncio: `loop.add_signal_handler(SIGINT, ..)`.
///
/// # Cancel safety
///
/// Dropping it only stops this one from listening. A signal that it has not reported is gone with it.
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
pub fn ctrl_c() -> SignalFuture {
    SignalFuture::new(SignalKind::interrupt())
}

/// Waits for SIGTERM, by which service managers ask a program to stop.
///
/// It listens from the call on, and once: as [`ctrl_c`].
///
/// asyncio: `loop.add_signal_handler(SIGTERM, ..)`.
///
/// # Cancel safety
///
/// As [`ctrl_c`].
///
/// # Errors
///
/// As [`ctrl_c`].
///
/// ```no_run
/// use ringloop::signal::{ctrl_c, terminate};
///
/// ringloop::run(async {
///     ringloop::race!(ctrl_c(), terminate()).await.unwrap();
///     println!("stopping");
/// });
/// ```
pub fn terminate() -> SignalFuture {
    SignalFuture::new(SignalKind::terminate())
}

/// The future of [`ctrl_c`] and [`terminate`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct SignalFuture {
    /// Gone once it has been ready.
    state: Option<Result<Signal, SignalError>>,
}

impl SignalFuture {
    fn new(kind: SignalKind) -> Self {
        Self { state: Some(signal(kind)) }
    }
}

impl FusedFuture for SignalFuture {
    fn is_terminated(&self) -> bool {
        self.state.is_none()
    }
}

impl Future for SignalFuture {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(Ok(listener)) = &mut self.state {
            let received = std::task::ready!(listener.poll_recv(cx));
            self.state = None;
            return Poll::Ready(received);
        }
        match self.state.take() {
            Some(Err(error)) => Poll::Ready(Err(error.into())),
            _ => panic!("a future is not polled again after it is ready"),
        }
    }
}
