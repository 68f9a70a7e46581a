//! The reading side of a connection.
//!
//! A read first looks at what the socket's home has received ahead, if it ever does; then, unless
//! the home receives at this moment, it calls the endpoint. The states are those of
//! [`reactor::socket`](crate::reactor::socket). On a connection that never used leases the look is one
//! load.
//!
//! No read loses a byte when it is dropped: what was not returned stays in the queue or in the kernel
//! (S3).

use std::{
    future::poll_fn,
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    sync::Arc,
    task::{Context, Poll, ready},
};

use super::Connection;
use crate::{
    reactor::{
        Direction, Endpoint, Lease,
        socket::{End, Found, Queue, Socket},
    },
    runtime::operation::{self, Operation},
    util::current,
};

impl Connection {
    /// Reads into the front of `buf`, of which it initialises as many bytes as it says. 0 is the
    /// end.
    #[inline]
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [MaybeUninit<u8>],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        match ready!(poll_received(self.socket(), cx, |queue| copy_from(queue, buf))) {
            Some(received) => Poll::Ready(received.into_count()),
            None => operation::poll(self.socket(), cx, &mut Recv::new(self.socket(), buf)),
        }
    }

    /// Reads bytes and appends them to `bytes`. The result is their number; 0 is the end of the stream. A
    /// vector without spare capacity first grows by `room`.
    pub(crate) fn poll_read_behind(
        &self,
        cx: &mut Context<'_>,
        bytes: &mut Vec<u8>,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        if bytes.len() == bytes.capacity() {
            bytes.reserve_exact(room);
        }
        let read = ready!(self.poll_read(cx, bytes.spare_capacity_mut()))?;
        // SAFETY: `poll_read` has initialised so many of the spare bytes.
        unsafe { bytes.set_len(bytes.len() + read) };
        Poll::Ready(Ok(read))
    }

    /// The next bytes, on loan; an empty lease is the end.
    pub(crate) async fn read_lease(&self) -> io::Result<Lease> {
        poll_fn(|cx| self.poll_lease(cx)).await
    }

    /// The same, polled.
    pub(crate) fn poll_lease(&self, cx: &mut Context<'_>) -> Poll<io::Result<Lease>> {
        let socket = self.socket();
        if !socket.inbound.was_used() {
            // What is there already is had without arming a receive, which has to be ended when
            // the connection is closed.
            if !current::budget_spend() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match operation::attempt(socket, &mut RecvLease::new(socket)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
        }
        match ready!(poll_queue(socket, cx, true, |queue| queue.pop())) {
            Some(Received::Some(lease)) => Poll::Ready(Ok(lease)),
            Some(Received::End(result)) => Poll::Ready(result.map(|()| Lease::empty())),
            None => operation::poll(socket, cx, &mut RecvLease::new(socket)),
        }
    }

    /// Reads what is there, without waiting.
    pub(crate) fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let buf = as_uninit(buf);
        match try_received(self.socket(), |queue| copy_from(queue, buf)) {
            Some(result) => result?.into_count(),
            None => operation::attempt(self.socket(), &mut Recv::new(self.socket(), buf)),
        }
    }

    /// Waits for bytes, and copies the first of them without taking them.
    pub(crate) async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        let buf = as_uninit(buf);
        let received =
            poll_fn(|cx| poll_received(self.socket(), cx, |queue| copy_to(buf, queue.front())));
        match received.await {
            Some(received) => received.into_count(),
            None => operation::run(self.socket(), Peek { buf }).await,
        }
    }

    /// Whether a reader has to look first at what the home receives.
    pub(super) fn has_received(&self) -> io::Result<bool> {
        has_received(self.socket())
    }

    /// Waits until a read would not have to wait: there are bytes, or the end, or an error.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        match poll_fn(|cx| poll_received(self.socket(), cx, |_| ())).await {
            Some(Received::Some(())) => Ok(()),
            Some(Received::End(result)) => {
                self.socket().inbound.tell_again(&result);
                Ok(())
            }
            None => operation::run(self.socket(), Readable).await,
        }
    }
}

/// Bytes that the home has received, or how the stream ended.
enum Received<T> {
    Some(T),
    End(io::Result<()>),
}

impl<T> Received<T> {
    fn of_end(end: End) -> Self {
        Self::End(match end {
            End::Eof => Ok(()),
            End::Failed(error) => Err(io::Error::from_raw_os_error(error)),
        })
    }
}

impl Received<usize> {
    /// As read(2) has it.
    fn into_count(self) -> io::Result<usize> {
        match self {
            Self::Some(count) => Ok(count),
            Self::End(result) => result.map(|()| 0),
        }
    }
}

/// Waits for bytes in the queue of what the home receives, and may have it receive (`arm`).
/// `None`: the caller calls the endpoint.
fn poll_queue<T>(
    socket: &Arc<Socket>,
    cx: &mut Context<'_>,
    arm: bool,
    mut get: impl FnMut(&mut Queue<'_>) -> T,
) -> Poll<Option<Received<T>>> {
    if let Err(error) = socket.check_process() {
        return Poll::Ready(Some(Received::End(Err(error))));
    }
    loop {
        if !current::budget_spend() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match socket.inbound.take(arm, cx.waker(), &mut get) {
            Found::Some(found) => return Poll::Ready(Some(Received::Some(found))),
            Found::End(end) => return Poll::Ready(Some(Received::of_end(end))),
            Found::Nothing => {
                if socket.may_stop_at_mark() {
                    operation::with_any_reactor(|reactor| socket.end_recv(reactor));
                }
                socket.note_wait(Direction::Read);
                return Poll::Pending;
            }
            Found::ToRead => return Poll::Ready(None),
            Found::ToArm => {
                let has_marks = socket.was_urgent() || socket.may_stop_at_mark();
                if has_marks || !matches!(operation::arm_recv(socket), Ok(true)) {
                    // On epoll, or on no worker: the reader's own call works, or says why not. And where
                    // there may be marks, at which a receive may sleep on.
                    socket.inbound.not_armed();
                }
            }
        }
    }
}

/// The same for a reader that would rather call the endpoint, and does so (`None`) unless the
/// home receives, or has received.
#[inline]
fn poll_received<T>(
    socket: &Arc<Socket>,
    cx: &mut Context<'_>,
    get: impl FnMut(&mut Queue<'_>) -> T,
) -> Poll<Option<Received<T>>> {
    if !socket.inbound.was_used() {
        return Poll::Ready(None);
    }
    poll_received_first(socket, cx, get)
}

#[inline(never)]
fn poll_received_first<T>(
    socket: &Arc<Socket>,
    cx: &mut Context<'_>,
    get: impl FnMut(&mut Queue<'_>) -> T,
) -> Poll<Option<Received<T>>> {
    match has_received(socket) {
        Ok(false) => Poll::Ready(None),
        // The error is found there.
        Ok(true) | Err(_) => poll_queue(socket, cx, false, get),
    }
}

/// The same without waiting.
fn try_received<T>(
    socket: &Arc<Socket>,
    get: impl FnMut(&mut Queue<'_>) -> T,
) -> Option<io::Result<Received<T>>> {
    match has_received(socket) {
        Ok(false) => return None,
        Ok(true) => {}
        Err(error) => return Some(Err(error)),
    }
    Some(match socket.inbound.try_take(get) {
        Some(Found::Some(found)) => Ok(Received::Some(found)),
        Some(Found::End(end)) => Ok(Received::of_end(end)),
        _ => Err(io::ErrorKind::WouldBlock.into()),
    })
}

/// Whether a reader has to look first at what the home receives.
#[inline]
fn has_received(socket: &Arc<Socket>) -> io::Result<bool> {
    if !socket.inbound.was_used() {
        return Ok(false);
    }
    socket.check_process()?;
    Ok(socket.inbound.is_in_use())
}

/// A read into the front of a buffer.
struct Recv<'a> {
    socket: &'a Socket,
    buf: &'a mut [MaybeUninit<u8>],
    stopped: bool,
}

impl<'a> Recv<'a> {
    fn new(socket: &'a Socket, buf: &'a mut [MaybeUninit<u8>]) -> Self {
        Self { socket, buf, stopped: false }
    }
}

impl Operation<Endpoint> for Recv<'_> {
    /// How many bytes at the buffer's front were written.
    type Output = usize;

    const DIRECTION: Direction = Direction::Read;

    #[inline]
    fn attempt(&mut self, _: &Endpoint) -> io::Result<usize> {
        let received = self.socket.recv(self.buf)?;
        self.stopped = received.stopped;
        Ok(received.len)
    }

    fn drained(&self, read: &usize) -> bool {
        // 0 is the end, which stays.
        (1..self.buf.len()).contains(read) && !self.stopped
    }
}

/// A read that leaves the bytes to be read.
struct Peek<'a> {
    buf: &'a mut [MaybeUninit<u8>],
}

impl Operation<Endpoint> for Peek<'_> {
    /// How many bytes at the buffer's front were written.
    type Output = usize;

    const DIRECTION: Direction = Direction::Read;

    fn attempt(&mut self, endpoint: &Endpoint) -> io::Result<usize> {
        Ok(endpoint.peek(self.buf)?)
    }
}

/// A read into lent memory.
struct RecvLease<'a> {
    socket: &'a Socket,
    room: usize,
    stopped: bool,
}

impl<'a> RecvLease<'a> {
    fn new(socket: &'a Socket) -> Self {
        Self { socket, room: 0, stopped: false }
    }
}

impl Operation<Endpoint> for RecvLease<'_> {
    type Output = Lease;

    const DIRECTION: Direction = Direction::Read;

    fn attempt(&mut self, _: &Endpoint) -> io::Result<Lease> {
        operation::with_reactor(|reactor| {
            reactor.lend(|buf| {
                self.room = buf.len();
                let received = self.socket.recv(buf)?;
                self.stopped = received.stopped;
                Ok(received.len)
            })
        })
    }

    fn drained(&self, lease: &Lease) -> bool {
        (1..self.room).contains(&lease.len()) && !self.stopped
    }
}

/// Only the wait until a read is worth a try.
pub(crate) struct Readable;

impl Operation<Endpoint> for Readable {
    type Output = ();

    const DIRECTION: Direction = Direction::Read;

    fn attempt(&mut self, endpoint: &Endpoint) -> io::Result<()> {
        match endpoint.is_readable()? {
            true => Ok(()),
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// Takes as much as fits.
fn copy_from(queue: &mut Queue<'_>, buf: &mut [MaybeUninit<u8>]) -> usize {
    let copied = copy_to(buf, queue.front());
    queue.consume(copied);
    copied
}

/// Copies as much as fits.
fn copy_to(buf: &mut [MaybeUninit<u8>], bytes: &[u8]) -> usize {
    let len = buf.len().min(bytes.len());
    for (to, from) in buf.iter_mut().zip(bytes) {
        to.write(*from);
    }
    len
}

/// A buffer to be overwritten.
pub(crate) fn as_uninit(buf: &mut [u8]) -> &mut [MaybeUninit<u8>] {
    // SAFETY: same layout; and `poll_read` and `Recv`, which alone get it, write initialised
    // bytes only.
    unsafe { &mut *(std::ptr::from_mut(buf) as *mut [MaybeUninit<u8>]) }
}

/// The first buffer that has room: one read fills one.
pub(crate) fn first_buffer<'a>(bufs: &'a mut [IoSliceMut<'_>]) -> &'a mut [u8] {
    bufs.iter_mut().find(|buf| !buf.is_empty()).map_or(&mut [], |buf| buf)
}
