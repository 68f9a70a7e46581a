//! The core of every listener: a socket, and what the tasks that accept on it share.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use rustix::{io::Errno, net::SocketAddrAny};

use super::exhaustion::{self, Cause};
use crate::{
    error::ErrorEvent,
    io::{Connection, Freed, SocketHandle},
    loom::global::{AtomicU64, Mutex, Ordering},
    reactor::{Accepted, Direction, Endpoint, Mode, Socket},
    runtime::{
        Handle,
        operation::{self, Operation},
    },
};

/// So many connections in a row may be forbidden before accepting pauses.
const FORBIDDEN: usize = 16;

/// A socket that accepts connections. Several tasks may accept at once.
pub(super) struct Acceptor {
    socket: SocketHandle,
    backlog: Backlog,
    /// For what [`poll_accept`](Self::poll_accept) waits where descriptors have run out.
    freed: Mutex<Option<Freed>>,
}

impl Acceptor {
    pub(super) fn new(listener: Endpoint) -> Self {
        Self {
            socket: SocketHandle::new(Socket::new(listener)),
            backlog: Backlog::new(),
            freed: Mutex::new(None),
        }
    }

    pub(super) fn socket(&self) -> &Arc<Socket> {
        self.socket.get()
    }

    /// Hands the endpoint over.
    pub(super) async fn into_endpoint(self) -> io::Result<Endpoint> {
        let (endpoint, _) = self.socket.into_parts().await?;
        Ok(endpoint)
    }

    /// Waits for a connection.
    ///
    /// # Cancel safety
    ///
    /// A connection that was not returned is there for the next call.
    pub(super) async fn accept(&self) -> io::Result<(Connection, Option<SocketAddrAny>)> {
        loop {
            match operation::run(self.socket(), self.once()).await {
                Ok(accepted) => return Ok(self.connection(accepted)),
                Err(error) if exhaustion::passes(&error, self.socket().endpoint()) => {
                    self.report(error);
                    Freed::new().await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The same as a poll function: of the tasks that wait so, the last is woken.
    pub(super) fn poll_accept(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Connection, Option<SocketAddrAny>)>> {
        loop {
            ready!(self.poll_freed(cx));
            match ready!(operation::poll(self.socket(), cx, &mut self.once())) {
                Ok(accepted) => return Poll::Ready(Ok(self.connection(accepted))),
                Err(error) if exhaustion::passes(&error, self.socket().endpoint()) => {
                    self.report(error);
                    let other = self.freed.lock().replace(Freed::new());
                    drop(other);
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Ready if nothing has to be waited for.
    fn poll_freed(&self, cx: &mut Context<'_>) -> Poll<()> {
        // Not under the lock: wakers are foreign code (S6).
        let freed = self.freed.lock().take();
        let Some(mut freed) = freed else { return Poll::Ready(()) };
        let polled = Pin::new(&mut freed).poll(cx);
        if polled.is_pending() {
            let other = self.freed.lock().replace(freed);
            drop(other);
        }
        polled
    }

    fn once(&self) -> Accept<'_> {
        Accept { socket: self.socket(), backlog: &self.backlog }
    }

    fn connection(&self, (endpoint, peer): Accepted) -> (Connection, Option<SocketAddrAny>) {
        let connection = Connection::new(endpoint);
        connection.socket().inherit(self.socket());
        (connection, peer)
    }

    /// Descriptors have run out.
    fn report(&self, error: io::Error) {
        if self.backlog.pause()
            && let Ok(handle) = Handle::try_current()
        {
            handle.report(&ErrorEvent::AcceptPaused { error });
        }
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.fmt(f)
    }
}

/// What the tasks that accept on one listener share.
struct Backlog {
    /// 1 from the first lack of descriptors until there is nothing to accept: it is reported once.
    paused: AtomicU64,
    /// How many connections in a row had another behind them.
    crowd: AtomicU64,
    mode: Mode,
}

/// After so many connections in a row with another behind them, accepts no longer look whether there
/// is one, until there was none. An accept that finds none costs about as much as so many looks.
const BURST: u64 = 8;

impl Backlog {
    fn new() -> Self {
        Self { paused: AtomicU64::new(0), crowd: AtomicU64::new(0), mode: Mode::new(()) }
    }

    /// Descriptors have run out. `true`: report it to the hook.
    fn pause(&self) -> bool {
        // Relaxed: at worst, tasks that race report it twice or not at all.
        self.paused.swap(1, Ordering::Relaxed) == 0
    }

    fn is_empty_now(&self) {
        // Relaxed: as above.
        self.paused.store(0, Ordering::Relaxed);
        self.crowd.store(0, Ordering::Relaxed);
    }

    /// Whether another connection is to be expected without a look.
    fn is_in_burst(&self) -> bool {
        // Relaxed: a guess, and a wrong one costs an accept that finds nothing.
        self.crowd.load(Ordering::Relaxed) >= BURST
    }

    /// There is another connection.
    fn has_another(&self) {
        // Relaxed, and no RMW: as above.
        self.crowd.store(self.crowd.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// accept4(2).
struct Accept<'a> {
    socket: &'a Socket,
    backlog: &'a Backlog,
}

impl Operation<Endpoint> for Accept<'_> {
    type Output = Accepted;

    const DIRECTION: Direction = Direction::Read;
    const HAS_MARKS: bool = false;

    fn attempt(&mut self, listener: &Endpoint) -> io::Result<Self::Output> {
        self.socket.check_process()?;
        let mode = (!self.socket.is_ours_alone()).then_some(&self.backlog.mode);
        match accept_next(listener, || listener.accept(mode)) {
            Ok(accepted) => Ok(accepted),
            Err(error) => {
                if error == Errno::WOULDBLOCK {
                    self.backlog.is_empty_now();
                }
                Err(error.into())
            }
        }
    }

    fn drained(&self, _: &Self::Output) -> bool {
        if self.backlog.is_in_burst() {
            return false;
        }
        // accept4(2) makes a socket before it looks: to find nothing costs it nine times what this
        // look costs.
        let drained = self.socket.endpoint().is_readable() == Ok(false);
        match drained {
            true => self.backlog.is_empty_now(),
            false => self.backlog.has_another(),
        }
        drained
    }
}

/// The first connection that is neither gone nor forbidden.
fn accept_next<T>(
    listener: &Endpoint,
    mut accept: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    let mut forbidden = 0;
    loop {
        let error = match accept() {
            Err(error) => error,
            accepted => return accepted,
        };
        match Cause::of(error, listener) {
            Cause::Gone => {}
            Cause::Forbidden if forbidden < FORBIDDEN => forbidden += 1,
            _ => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::runtime::operation;

    #[test]
    fn burst_is_taken_without_looks_until_there_is_none() {
        // Goal: accepts stop looking in a burst, and begin again behind it; method: many connections
        // wait, and are taken one by one.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let socket = Socket::new(Endpoint::Kernel(listener.into()));
        let backlog = Backlog::new();
        let accept =
            || operation::attempt(&socket, &mut Accept { socket: &socket, backlog: &backlog });
        let connect = |_| TcpStream::connect(address).unwrap();
        let _peers: Vec<_> = (0..BURST + 3).map(connect).collect();
        for taken in 1..=BURST + 3 {
            accept().unwrap();
            assert_eq!(backlog.is_in_burst(), taken >= BURST, "{taken}");
        }
        assert_eq!(accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(!backlog.is_in_burst());
        let _peers: Vec<_> = (0..BURST).map(connect).collect();
        for _ in 0..BURST {
            accept().unwrap();
            assert!(!backlog.is_in_burst(), "the last had none behind it");
        }
    }

    #[test]
    fn connections_that_are_forbidden_are_skipped_and_then_pause() {
        // Goal: a firewall's refusal of some connections costs no other; one of all neither spins
        // nor ends the listener; method: accept(2) is played.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = Endpoint::Kernel(listener.into());
        let play = |script: &mut dyn Iterator<Item = Result<u32, Errno>>| {
            accept_next(&listener, || script.next().unwrap())
        };
        let gone = [Err(Errno::PERM), Err(Errno::CONNABORTED), Err(Errno::ACCESS), Ok(7)];
        assert_eq!(play(&mut gone.into_iter()), Ok(7));

        let mut all = std::iter::repeat_n(Err(Errno::PERM), FORBIDDEN + 1);
        assert_eq!(play(&mut all), Err(Errno::PERM));
        assert!(all.next().is_none());

        let mut closed = [Err(Errno::PERM), Err(Errno::WOULDBLOCK), Ok(1)].into_iter();
        assert_eq!(play(&mut closed), Err(Errno::WOULDBLOCK));
        assert_eq!(play(&mut [Err(Errno::INVAL)].into_iter()), Err(Errno::INVAL));
    }
}
