//! The door to I/O in memory that a socket or the runtime owns: leases that are read, and
//! chunks that are sent: at once, as far as there is room, the rest by the socket's home.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    panic::Location,
    slice,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use rustix::{
    io::{Errno, pread},
    net::{RecvFlags, SendFlags, recv, send},
};

use super::{
    Handle,
    operation::{self, Operation},
};
use crate::{
    buf::IoBufMut,
    reactor::{
        Direction, Lease, Reactor,
        socket::{Chunk, Direct, End, Found, Queue, Queued, Socket},
    },
    util::{current, panic},
};

/// Never a signal, and never a wait, even where somebody made the socket blocking.
const SEND: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);

/// The next bytes of a socket, on loan; an empty lease is the end.
///
/// # Cancel safety
///
/// What was not returned comes with the next (S3).
pub(crate) fn poll_lease(socket: &Arc<Socket>, cx: &mut Context<'_>) -> Poll<io::Result<Lease>> {
    if !socket.inbound.was_used() {
        // What is there already is had without arming a receive, which has to be ended when
        // the connection is closed.
        if !current::budget_spend() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match operation::attempt(socket, &mut RecvLease { room: 0 }) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return Poll::Ready(result),
        }
    }
    match ready!(poll_queue(socket, cx, true, |queue| queue.pop())) {
        Some(Received::Some(lease)) => Poll::Ready(Ok(lease)),
        Some(Received::End(result)) => Poll::Ready(result.map(|()| Lease::empty())),
        None => operation::poll(socket, cx, &mut RecvLease { room: 0 }),
    }
}

/// Bytes that were received before they were asked for, or how the stream ended.
pub(crate) enum Received<T> {
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
    pub(crate) fn into_count(self) -> io::Result<usize> {
        match self {
            Self::Some(count) => Ok(count),
            Self::End(result) => result.map(|()| 0),
        }
    }
}

/// Waits for bytes in the queue of what the home receives, and may have it receive (`arm`).
/// `None`: the caller reads by itself.
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
            Found::Nothing => return Poll::Pending,
            Found::ToRead => return Poll::Ready(None),
            Found::ToArm => {
                let armed = operation::with_reactor(|reactor| Ok(socket.arm_recv(reactor)));
                if !matches!(armed, Ok(true)) {
                    // On epoll, or on no worker: reading by itself works, or says why not.
                    socket.inbound.not_armed();
                }
            }
        }
    }
}

/// The same for who would rather read by itself, and does so (`None`) unless the home
/// receives, or has received.
#[inline]
pub(crate) fn poll_received<T>(
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
pub(crate) fn try_received<T>(
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

/// Whether a reader by readiness has to look first at what the home receives.
#[inline]
fn has_received(socket: &Arc<Socket>) -> io::Result<bool> {
    if !socket.inbound.was_used() {
        return Ok(false);
    }
    socket.check_process()?;
    Ok(socket.inbound.is_in_use())
}

/// recv(2) into lent memory.
struct RecvLease {
    room: usize,
}

impl Operation<OwnedFd> for RecvLease {
    type Output = Lease;

    const DIRECTION: Direction = Direction::Read;

    fn attempt(&mut self, io: &OwnedFd) -> io::Result<Lease> {
        operation::with_reactor(|reactor| {
            reactor.lend(|buf: &mut [MaybeUninit<u8>]| {
                self.room = buf.len();
                let ((read, _), _) = recv(io, &mut *buf, RecvFlags::DONTWAIT)?;
                Ok(read.len())
            })
        })
    }

    fn drained(&self, lease: &Lease) -> bool {
        (1..self.room).contains(&lease.len())
    }
}

/// Sends a chunk, for who has the write side to itself: what the kernel takes at once by a
/// direct call; the rest is the home's to send, as soon as there is room for it.
///
/// # Cancel safety
///
/// What `chunk` has left when it is pending has not been sent.
pub(crate) fn poll_send(
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
        match socket.outbound.send_as_owner(|| send(socket, rest.bytes(), SEND)) {
            Direct::Done(Ok(sent)) => rest.advance(sent),
            Direct::Done(Err(Errno::INTR)) => {}
            Direct::Done(Err(Errno::WOULDBLOCK)) if !has_ring(socket) => {
                ready!(operation::poll(socket, cx, &mut operation::Writable))?;
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
            let told = operation::with_reactor(|reactor| Ok(socket.mark_dirty(Some(reactor))));
            // On no worker, the home hears all the same.
            if !told.unwrap_or_else(|_| socket.mark_dirty(None)) {
                *chunk = socket.take_back();
            }
        }
        Queued::Full(whole) => {
            *chunk = Some(whole);
            return Poll::Pending;
        }
        Queued::Failed(error) => {
            return Poll::Ready(Err(io::Error::from_raw_os_error(error)));
        }
    }
    Poll::Ready(Ok(()))
}

/// Writes behind what is under way, by copying. `None`: nothing is, and the caller sends by
/// itself.
#[inline]
pub(crate) fn poll_write_behind(
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
pub(crate) fn try_write_behind(socket: &Arc<Socket>, bytes: &[u8]) -> Option<io::Result<usize>> {
    if socket.outbound.is_idle() {
        return None;
    }
    match poll_push_copy(socket, &mut Context::from_waker(Waker::noop()), bytes) {
        Poll::Ready(result) => result,
        Poll::Pending => Some(Err(io::ErrorKind::WouldBlock.into())),
    }
}

/// Bytes that a write behind others copies at a time.
const COPY: usize = 16 << 10;

/// Waits until a write would not have to wait for what is under way.
pub(crate) fn poll_room(socket: &Arc<Socket>, cx: &mut Context<'_>) -> Poll<()> {
    // In a forked child nobody makes room: the write says so.
    let ready = socket.outbound.has_room(cx.waker()) || socket.check_process().is_err();
    if ready { Poll::Ready(()) } else { Poll::Pending }
}

/// Waits until the kernel has everything, for who has the write side to itself: it costs a load
/// where nothing was ever queued.
#[inline]
pub(crate) fn poll_flush(socket: &Arc<Socket>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    if !socket.outbound.was_used() {
        return Poll::Ready(Ok(()));
    }
    socket.check_process()?;
    match socket.outbound.flushed(cx.waker()) {
        Some(result) => Poll::Ready(result.map_err(io::Error::from_raw_os_error)),
        None => Poll::Pending,
    }
}

/// Whether a ring has, or could have, the socket's operations.
fn has_ring(socket: &Arc<Socket>) -> bool {
    operation::with_reactor(|reactor| Ok(socket.has_ring(reactor))).unwrap_or(false)
}

/// Reads from a file into the front of `buf`, from `offset` on: in the ring if there is
/// one that can, else on the blocking pool.
///
/// # Cancel safety
///
/// The read goes on, and its buffer is dropped when it has ended (S1).
#[cfg_attr(not(test), expect(dead_code, reason = "for files, which are still to come"))]
pub(crate) async fn read_at<B: IoBufMut>(
    file: Arc<OwnedFd>,
    buf: B,
    offset: u64,
) -> (io::Result<usize>, B) {
    let mut buf = Some(buf);
    let started = operation::with_reactor(|reactor| {
        Ok(match reactor {
            Reactor::Uring(uring) if uring.reads_files() => {
                buf.take().map(|buf| uring.read_at(file.clone(), buf, offset))
            }
            Reactor::Uring(_) | Reactor::Epoll(_) => None,
        })
    });
    match (started, buf) {
        (Err(error), Some(buf)) => (Err(error), buf),
        (_, Some(buf)) => read_on_pool(file, buf, offset).await,
        (Ok(Some(operation)), None) => {
            let (result, buf) = poll_fn(|cx| {
                let (poll, old) = operation.poll(cx.waker());
                panic::discard_foreign(old);
                poll
            })
            .await;
            let read = usize::try_from(result);
            (read.map_err(|_| io::Error::from_raw_os_error(-result)), buf)
        }
        (_, None) => unreachable!("the buffer was taken by what was started"),
    }
}

async fn read_on_pool<B: IoBufMut>(
    file: Arc<OwnedFd>,
    mut buf: B,
    offset: u64,
) -> (io::Result<usize>, B) {
    let handle = Handle::current();
    let read = move || {
        // SAFETY: room that is the buffer's own.
        let room = unsafe {
            slice::from_raw_parts_mut(buf.as_mut_ptr().cast::<MaybeUninit<u8>>(), buf.capacity())
        };
        let read = pread(&file, room, offset).map(|(read, _)| read.len());
        if let Ok(len) = read {
            // SAFETY: pread(2) says that it wrote so many.
            unsafe { buf.set_written(len) };
        }
        (read.map_err(io::Error::from), buf)
    };
    match handle.start_blocking(read, Location::caller()).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
