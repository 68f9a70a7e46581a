//! The writing side of a connection.
//!
//! A write calls the endpoint itself, as long as nothing waits to be sent. If the kernel has no
//! room, a lease leaves the rest to the socket's home, which sends it from a queue of the socket's
//! ([`Outbound`](crate::reactor::socket)). Writes behind it go through that queue as well, so that
//! bytes keep their order and at most one send per socket is under way (S14).

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    net::Shutdown,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use rustix::io::Errno;

use super::Connection;
use crate::{
    io::Lease,
    reactor::{
        Direction, Endpoint,
        socket::{Chunk, Direct, Queued, Socket},
    },
    runtime::operation::{self, Operation},
    util::current,
};

/// Bytes that a write behind others copies at a time.
const COPY: usize = 16 << 10;

impl Connection {
    /// Writes as much as there is room for.
    #[inline]
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        match ready!(poll_write_behind(self.socket(), cx, buf)) {
            Some(result) => Poll::Ready(result),
            None => operation::poll(self.socket(), cx, &mut Send::by_owner(self.socket(), buf)),
        }
    }

    /// The same from several slices.
    pub(crate) fn poll_write_slices(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        if self.socket().outbound.is_idle() {
            let mut send = SendSlices::new(self.socket(), bufs);
            return operation::poll(self.socket(), cx, &mut send);
        }
        let first = bufs.iter().find(|buf| !buf.is_empty());
        self.poll_write(cx, first.expect("one of them is not empty"))
    }

    /// Writes what fits, without waiting.
    pub(crate) fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        let result = try_write_behind(self.socket(), buf).unwrap_or_else(|| {
            operation::attempt(self.socket(), &mut Send::by_any(self.socket(), buf))
        });
        match result {
            // Another task was first. `attempt` does not see that error: it would count the socket
            // as full.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            result => result,
        }
    }

    /// The same for the owner of the write side, from several slices.
    pub(crate) fn try_write_slices(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let socket = self.socket();
        let result = match bufs {
            [buf] => operation::attempt(socket, &mut Send::by_owner(socket, buf)),
            _ => operation::attempt(socket, &mut SendSlices::new(socket, bufs)),
        };
        match result {
            // A lease is before it.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            result => result,
        }
    }

    /// Sends leased bytes: what the kernel does not take at once, its home sends.
    pub(crate) async fn write_lease(&self, lease: Lease) -> io::Result<()> {
        let mut chunk = Some(Chunk::Lease(lease));
        poll_fn(|cx| poll_send(self.socket(), cx, &mut chunk)).await
    }

    /// Waits until a write would not have to wait: there is room, or an error.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        poll_fn(|cx| poll_room(self.socket(), cx)).await;
        operation::run(self.socket(), Writable).await
    }

    /// Waits until the kernel has everything, for the owner of the write side.
    #[inline]
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        poll_flush(self.socket(), cx)
    }

    /// Shuts one or both ways down, at once.
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let socket = self.socket();
        // What waits to be sent goes first; then the home shuts the side down.
        let later = how != Shutdown::Read && !socket.outbound.shut();
        let now = match how {
            Shutdown::Write if later => return Ok(()),
            Shutdown::Both if later => Shutdown::Read,
            how => how,
        };
        if now != Shutdown::Write {
            socket.note_shut_in();
        }
        socket.endpoint().shutdown(now)
    }
}

/// Sends a chunk, for the owner of the write side: what the kernel takes at once by a
/// direct call; the rest is the home's to send, as soon as there is room for it.
///
/// # Cancel safety
///
/// What `chunk` has left when it is pending has not been sent.
pub(super) fn poll_send(
    socket: &Arc<Socket>,
    cx: &mut Context<'_>,
    chunk: &mut Option<Chunk>,
) -> Poll<io::Result<()>> {
    loop {
        let Some(rest) = chunk.as_mut().filter(|rest| !rest.bytes().is_empty()) else {
            return Poll::Ready(Ok(()));
        };
        if !current::budget_spend() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match socket.outbound.send_as_owner(|| socket.send(rest.bytes())) {
            Direct::Done(Ok(sent)) => rest.advance(sent),
            Direct::Done(Err(Errno::INTR)) => {}
            Direct::Done(Err(Errno::WOULDBLOCK)) if !has_ring(socket) => {
                ready!(operation::poll(socket, cx, &mut Writable))?;
            }
            Direct::Done(Err(Errno::WOULDBLOCK)) | Direct::Busy => {
                ready!(poll_push(socket, cx, chunk))?;
            }
            Direct::Done(Err(error)) => return Poll::Ready(Err(error.into())),
            Direct::Failed(error) => {
                return Poll::Ready(Err(io::Error::from_raw_os_error(error)));
            }
        }
    }
}

/// Queues a chunk behind what is under way; taken, it is gone from `chunk`. If there is no
/// ring to send it, it stays.
pub(super) fn poll_push(
    socket: &Arc<Socket>,
    cx: &mut Context<'_>,
    chunk: &mut Option<Chunk>,
) -> Poll<io::Result<()>> {
    socket.check_process()?;
    let Some(whole) = chunk.take() else { return Poll::Ready(Ok(())) };
    match socket.outbound.push(whole, cx.waker()) {
        Queued::Behind => {}
        Queued::First => {
            let flushes = operation::with_reactor(|reactor| Ok(socket.mark_dirty(Some(reactor))));
            // Also on a thread that is no worker the home is notified.
            if !flushes.unwrap_or_else(|_| socket.mark_dirty(None)) {
                *chunk = socket.take_back();
            }
        }
        Queued::Full(whole) => {
            *chunk = Some(whole);
            socket.note_wait(Direction::Write);
            return Poll::Pending;
        }
        Queued::Failed(error) => {
            return Poll::Ready(Err(io::Error::from_raw_os_error(error)));
        }
    }
    Poll::Ready(Ok(()))
}

/// Writes behind what is under way, by copying. `None`: nothing is, and the caller calls the
/// endpoint.
#[inline]
fn poll_write_behind(
    socket: &Arc<Socket>,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<Option<io::Result<usize>>> {
    if !socket.outbound.was_used() {
        return Poll::Ready(None);
    }
    poll_write_where_used(socket, cx, bytes)
}

#[inline(never)]
fn poll_write_where_used(
    socket: &Arc<Socket>,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<Option<io::Result<usize>>> {
    socket.check_process()?;
    if socket.outbound.is_idle() {
        return Poll::Ready(None);
    }
    if !current::budget_spend() {
        cx.waker().wake_by_ref();
        return Poll::Pending;
    }
    poll_push_copy(socket, cx, bytes)
}

/// Queues a copy of the first bytes.
fn poll_push_copy(
    socket: &Arc<Socket>,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<Option<io::Result<usize>>> {
    let copied = &bytes[..bytes.len().min(COPY)];
    let mut chunk = Some(Chunk::Bytes(copied.to_vec(), 0));
    let pushed = ready!(poll_push(socket, cx, &mut chunk));
    match (pushed, chunk) {
        (Ok(()), None) => Poll::Ready(Some(Ok(copied.len()))),
        // It is idle by now, and there is no ring.
        (Ok(()), Some(_)) => Poll::Ready(None),
        (Err(error), _) => Poll::Ready(Some(Err(error))),
    }
}

/// The same without waiting.
fn try_write_behind(socket: &Arc<Socket>, bytes: &[u8]) -> Option<io::Result<usize>> {
    if socket.outbound.is_idle() {
        return None;
    }
    match poll_push_copy(socket, &mut Context::from_waker(Waker::noop()), bytes) {
        Poll::Ready(result) => result,
        Poll::Pending => Some(Err(io::ErrorKind::WouldBlock.into())),
    }
}

/// Waits until a write would not have to wait for what is under way.
fn poll_room(socket: &Arc<Socket>, cx: &mut Context<'_>) -> Poll<()> {
    // In a forked child nothing makes room: the write says so.
    let ready = socket.outbound.has_room(cx.waker()) || socket.check_process().is_err();
    if ready {
        return Poll::Ready(());
    }
    socket.note_wait(Direction::Write);
    Poll::Pending
}

/// Waits until the kernel has everything, for the owner of the write side: it costs a load where
/// nothing was ever queued.
#[inline]
pub(crate) fn poll_flush(socket: &Arc<Socket>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    if !socket.outbound.was_used() {
        return Poll::Ready(Ok(()));
    }
    socket.check_process()?;
    match socket.outbound.flushed(cx.waker()) {
        Some(result) => Poll::Ready(result.map_err(io::Error::from_raw_os_error)),
        None => {
            socket.note_wait(Direction::Write);
            Poll::Pending
        }
    }
}

/// Whether a ring has, or could have, the socket's operations.
fn has_ring(socket: &Arc<Socket>) -> bool {
    operation::with_reactor(|reactor| Ok(socket.has_ring(reactor))).unwrap_or(false)
}

/// A write of one slice.
struct Send<'a> {
    socket: &'a Socket,
    buf: &'a [u8],
    by_owner: bool,
}

impl<'a> Send<'a> {
    /// By the owner of the write side.
    fn by_owner(socket: &'a Socket, buf: &'a [u8]) -> Self {
        Self { socket, buf, by_owner: true }
    }

    /// Other tasks may be sending, too.
    fn by_any(socket: &'a Socket, buf: &'a [u8]) -> Self {
        Self { socket, buf, by_owner: false }
    }
}

impl Operation<Endpoint> for Send<'_> {
    /// How many bytes the kernel took.
    type Output = usize;

    const DIRECTION: Direction = Direction::Write;

    #[inline]
    fn attempt(&mut self, _: &Endpoint) -> io::Result<usize> {
        let send = || Ok(self.socket.send(self.buf)?);
        let outbound = &self.socket.outbound;
        sent(match self.by_owner {
            true => outbound.send_as_owner(send),
            false => outbound.send_directly(send),
        })
    }

    fn drained(&self, sent: &usize) -> bool {
        *sent < self.buf.len()
    }
}

/// A write of several slices, by the owner of the write side.
struct SendSlices<'a, 'b> {
    socket: &'a Socket,
    bufs: &'a [IoSlice<'b>],
    /// All together.
    len: usize,
}

impl<'a, 'b> SendSlices<'a, 'b> {
    fn new(socket: &'a Socket, bufs: &'a [IoSlice<'b>]) -> Self {
        // IOV_MAX; more are for the next call.
        let bufs = &bufs[..bufs.len().min(1024)];
        Self { socket, bufs, len: bufs.iter().map(|slice| slice.len()).sum() }
    }
}

impl Operation<Endpoint> for SendSlices<'_, '_> {
    /// How many bytes the kernel took.
    type Output = usize;

    const DIRECTION: Direction = Direction::Write;

    fn attempt(&mut self, _: &Endpoint) -> io::Result<usize> {
        let send = || Ok(self.socket.send_slices(self.bufs, self.len)?);
        sent(self.socket.outbound.send_as_owner(send))
    }

    fn drained(&self, sent: &usize) -> bool {
        *sent < self.len
    }
}

/// What became of a send. If another is under way (S14), it is to be tried again, as after a
/// signal. That happens only to tasks that write to one socket at once.
pub(crate) fn sent<R>(sent: Direct<io::Result<R>>) -> io::Result<R> {
    match sent {
        Direct::Done(sent) => sent,
        Direct::Busy => Err(io::ErrorKind::Interrupted.into()),
        Direct::Failed(error) => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Only the wait until a write is worth a try.
pub(crate) struct Writable;

impl Operation<Endpoint> for Writable {
    type Output = ();

    const DIRECTION: Direction = Direction::Write;

    fn attempt(&mut self, endpoint: &Endpoint) -> io::Result<()> {
        match endpoint.is_writable()? {
            true => Ok(()),
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}
