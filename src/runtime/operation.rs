//! The door to I/O: one operation on one descriptor.
//!
//! An [`Operation`] is one struct that says what it waits for and how it is tried; the side for a
//! backend that completes operations itself can stand next to it.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use socket2::SockAddr;

use crate::{
    reactor::{self, Direction, Door, Endpoint, Garbage, Home, Pollable, Prepare, Reactor, Socket},
    scheduler::{self, Worker},
    util::{current, fork, panic},
};

/// Something to do with a descriptor of type `T` that may have to wait.
pub(crate) trait Operation<T> {
    type Output;

    /// Which way it goes.
    const DIRECTION: Direction;
    /// Whether urgent data may stop a read of the descriptor, with more behind it.
    const HAS_MARKS: bool = true;

    /// Tries it. [`WouldBlock`](io::ErrorKind::WouldBlock) means not yet.
    fn attempt(&mut self, io: &T) -> io::Result<Self::Output>;

    /// Whether the result shows that the next attempt would have to wait, so that it
    /// need not be made: a short read from a stream, say. (Not of datagrams: each read takes one.
    /// Urgent data, at which a read stops, is the [slot](crate::reactor::slot)'s to know of.)
    fn drained(&self, _output: &Self::Output) -> bool {
        false
    }
}

/// Tries `operation` until it says something other than "would block", waiting for the
/// descriptor in between. Of several tasks that wait so for one direction, the last is
/// woken: for owners.
///
/// # Cancel safety
///
/// What was not returned has not happened: bytes and connections stay in the kernel (S3).
#[inline]
pub(crate) fn poll<P: Pollable, O: Operation<P::Io>>(
    io: &P,
    cx: &mut Context<'_>,
    operation: &mut O,
) -> Poll<io::Result<O::Output>> {
    poll_with(io, cx, operation, |cx| reactor::poll_ready(io, O::DIRECTION, cx, DOOR))
}

/// It is small, so that it is inlined into each operation: only a wait costs a call.
#[inline]
fn poll_with<P: Pollable, O: Operation<P::Io>>(
    io: &P,
    cx: &mut Context<'_>,
    operation: &mut O,
    mut poll_ready: impl FnMut(&mut Context<'_>) -> Poll<io::Result<()>>,
) -> Poll<io::Result<O::Output>> {
    let source = io.source();
    loop {
        let seen = source.look();
        if !seen.is_ready(O::DIRECTION) {
            ready!(poll_ready(cx))?;
            continue;
        }
        if !current::budget_spend() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match operation.attempt(source.get()) {
            Ok(output) => {
                match operation.drained(&output) {
                    true => source.drained(seen, O::DIRECTION),
                    false => source.took(seen, O::DIRECTION),
                }
                return Poll::Ready(Ok(output));
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => source.clear(seen, O::DIRECTION, O::HAS_MARKS),
                io::ErrorKind::Interrupted => {}
                _ => return Poll::Ready(Err(error)),
            },
        }
    }
}

/// An operation as a future, of which several may wait for one descriptor.
///
/// # Cancel safety
///
/// As [`poll`].
pub(crate) struct Run<'a, P: Pollable, O> {
    io: &'a P,
    operation: O,
    ticket: Option<u64>,
}

/// Runs `operation` on a descriptor that others may be waiting for as well.
pub(crate) fn run<P: Pollable, O: Operation<P::Io>>(io: &P, operation: O) -> Run<'_, P, O> {
    Run { io, operation, ticket: None }
}

impl<P: Pollable, O> Unpin for Run<'_, P, O> {}

impl<P: Pollable, O: Operation<P::Io>> Future for Run<'_, P, O> {
    type Output = io::Result<O::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Run { io, operation, ticket } = &mut *self;
        poll_with(*io, cx, operation, |cx| {
            reactor::poll_ready_shared(*io, O::DIRECTION, cx, ticket, DOOR)
        })
    }
}

impl<P: Pollable, O> Drop for Run<'_, P, O> {
    fn drop(&mut self) {
        self.io.source().forget(self.ticket);
    }
}

/// Tries `operation` once, without waiting.
///
/// # Errors
///
/// [`WouldBlock`](io::ErrorKind::WouldBlock) if it has to wait.
pub(crate) fn attempt<P: Pollable, O: Operation<P::Io>>(
    io: &P,
    operation: &mut O,
) -> io::Result<O::Output> {
    let source = io.source();
    let seen = source.look();
    let result = operation.attempt(source.get());
    match &result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            source.clear(seen, O::DIRECTION, O::HAS_MARKS)
        }
        Ok(output) if operation.drained(output) => source.drained(seen, O::DIRECTION),
        Ok(_) => source.took(seen, O::DIRECTION),
        Err(_) => {}
    }
    result
}

/// The way to the reactors, as waits take it.
const DOOR: Door = Door { here: |f| with_reactor(f), elsewhere: home_elsewhere };

/// The home for a socket for which this thread waits as the first, if that is another worker's.
fn home_elsewhere() -> Option<Home> {
    scheduler::with_worker(Worker::home_elsewhere).flatten()
}

/// Has the socket's home receive into lent memory. `false`: it cannot.
pub(crate) fn arm_recv(socket: &Arc<Socket>) -> io::Result<bool> {
    with_reactor(|reactor| Ok(socket.arm_recv(reactor, home_elsewhere)))
}

/// Runs `f` with the reactor of the worker that this thread is.
pub(crate) fn with_reactor<R>(f: impl FnOnce(&mut Reactor) -> io::Result<R>) -> io::Result<R> {
    let f = |reactor: &mut Reactor| match reactor.is_ours() {
        true => f(reactor),
        false => Err(fork::error()),
    };
    scheduler::with_worker(|worker| worker.with_reactor(f)).unwrap_or_else(|| Err(not_a_worker()))
}

/// Why there is no I/O on this thread.
#[cold]
pub(crate) fn not_a_worker() -> io::Error {
    io::Error::other(
        "I/O on a thread that is not a worker of a ringloop runtime: \
         await it inside ringloop::run(async { .. }) or on a task",
    )
}

/// Runs `f` with the reactor of the worker that this thread is, if it is one, and the reactor not in
/// use.
pub(crate) fn with_any_reactor<R>(f: impl FnOnce(Option<&mut Reactor>) -> R) -> R {
    let mut f = Some(f);
    let mut call = |reactor: Option<&mut Reactor>| f.take().map(|f| f(reactor));
    let called = scheduler::with_worker(|worker| {
        worker.try_with_reactor(|reactor| match reactor.is_ours() {
            true => call(Some(reactor)),
            false => call(None),
        })
    });
    let called = called.flatten().flatten();
    called.or_else(|| call(None)).expect("called once")
}

/// Starts to connect, as this thread's backend does it. `false`: it is still under way.
pub(crate) fn connect(addr: SocketAddr, prepare: Prepare<'_>) -> io::Result<(Endpoint, bool)> {
    with_any_reactor(|reactor| Reactor::connect(reactor, addr, prepare))
}

/// The same, with `data` along, if that can be done. The number says how much of it was taken.
pub(crate) fn connect_with(
    addr: SocketAddr,
    data: &[u8],
    prepare: Prepare<'_>,
) -> io::Result<(Endpoint, bool, usize)> {
    with_any_reactor(|reactor| Reactor::connect_with(reactor, addr, data, prepare))
}

/// Listens, as this thread's backend does it.
pub(crate) fn listen(addr: SocketAddr, backlog: i32, prepare: Prepare<'_>) -> io::Result<Endpoint> {
    with_any_reactor(|reactor| Reactor::listen(reactor, addr, backlog, prepare))
}

/// Connects to a Unix socket, as this thread's backend does it.
pub(crate) fn connect_unix(addr: &SockAddr) -> io::Result<Endpoint> {
    with_any_reactor(|reactor| Reactor::connect_unix(reactor, addr))
}

/// Listens on a Unix socket, as this thread's backend does it.
pub(crate) fn listen_unix(addr: &SockAddr) -> io::Result<Endpoint> {
    with_any_reactor(|reactor| Reactor::listen_unix(reactor, addr))
}

/// Both ends of a connection, as this thread's backend makes it.
pub(crate) fn pair() -> io::Result<(Endpoint, Endpoint)> {
    with_any_reactor(Reactor::pair)
}

/// A UDP socket, as this thread's backend makes it.
pub(crate) fn bind_udp(addr: SocketAddr, share: bool) -> io::Result<Endpoint> {
    with_any_reactor(|reactor| Reactor::bind_udp(reactor, addr, share))
}

/// A Unix socket for datagrams, as this thread's backend makes it.
pub(crate) fn bind_unix_datagrams(addr: Option<&SockAddr>) -> io::Result<Endpoint> {
    with_any_reactor(|reactor| Reactor::bind_unix_datagrams(reactor, addr))
}

/// Two that are connected to each other.
pub(crate) fn pair_of_datagrams() -> io::Result<(Endpoint, Endpoint)> {
    with_any_reactor(Reactor::pair_of_datagrams)
}

/// A socket's handle is dropped: what is in flight on it ends, and then it closes.
pub(crate) fn close(socket: &Arc<Socket>) {
    end_with(|reactor| socket.close(reactor));
}

/// A socket's handle gives the descriptor away: what is in flight on it ends.
pub(crate) fn retire(socket: &Arc<Socket>) {
    end_with(|reactor| socket.retire(reactor));
}

fn end_with(end: impl Fn(Option<&mut Reactor>) -> Garbage) {
    let ended = scheduler::with_worker(|worker| {
        worker.try_with_reactor(|reactor| match reactor.is_ours() {
            true => end(Some(reactor)),
            // A forked child: what is in flight is the parent's.
            false => Garbage::default(),
        })
    });
    panic::discard_foreign(ended.flatten().unwrap_or_else(|| end(None)));
}
