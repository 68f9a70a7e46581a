//! The door to I/O in memory that a socket or the runtime owns: leases that are read, and
//! chunks that are sent when a tick ends.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    panic::Location,
    slice,
    sync::Arc,
    task::{Context, Poll, ready},
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
        socket::{Chunk, End, Found, Queued, Socket},
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
    loop {
        if !current::budget_spend() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let (found, old) = socket.inbound.take(cx.waker());
        panic::discard_foreign(old);
        match found {
            Found::Lease(lease) => return Poll::Ready(Ok(lease)),
            Found::End(End::Eof) => return Poll::Ready(Ok(Lease::empty())),
            Found::End(End::Failed(error)) => {
                return Poll::Ready(Err(io::Error::from_raw_os_error(error)));
            }
            Found::Nothing => return Poll::Pending,
            Found::ToArm => {
                let armed = operation::with_reactor(|reactor| Ok(socket.arm_recv(reactor)));
                if !matches!(armed, Ok(true)) {
                    socket.inbound.not_armed();
                    armed?;
                }
            }
            Found::ToRead => {
                return operation::poll(socket, cx, &mut RecvLease { room: 0 });
            }
        }
    }
}

/// Bytes that were received before they were asked for, copied by `copy`; `None`: there
/// are none, and the caller reads by itself.
pub(crate) fn poll_received(
    socket: &Arc<Socket>,
    cx: &mut Context<'_>,
    copy: impl FnOnce(&[u8]) -> usize,
) -> Poll<Option<io::Result<usize>>> {
    if !socket.inbound.is_in_use() {
        return Poll::Ready(None);
    }
    if let Some(copied) = socket.inbound.copy_out(copy) {
        return Poll::Ready(Some(Ok(copied)));
    }
    match ready!(poll_lease(socket, cx)) {
        Ok(lease) if lease.is_empty() => Poll::Ready(Some(Ok(0))),
        Ok(lease) => {
            // It came between the two looks.
            socket.inbound.put_back(lease);
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        Err(error) => Poll::Ready(Some(Err(error))),
    }
}

/// The same without taking them, once there are some, or the end: no bytes.
pub(crate) fn poll_peek(
    socket: &Arc<Socket>,
    cx: &mut Context<'_>,
    mut look: impl FnMut(&[u8]) -> usize,
) -> Poll<Option<usize>> {
    if !socket.inbound.is_in_use() {
        return Poll::Ready(None);
    }
    if let Some(seen) = socket.inbound.peek(&mut look) {
        return Poll::Ready(Some(seen));
    }
    match ready!(poll_lease(socket, cx)) {
        Ok(lease) => {
            let seen = look(&lease);
            socket.inbound.put_back(lease);
            Poll::Ready(Some(seen))
        }
        Err(_) => Poll::Ready(Some(0)),
    }
}

/// What has been received before it was asked for, without waiting; `None`: the caller
/// reads by itself.
pub(crate) fn try_received(
    socket: &Arc<Socket>,
    copy: impl FnOnce(&[u8]) -> usize,
) -> Option<io::Result<usize>> {
    if !socket.inbound.is_in_use() {
        return None;
    }
    Some(match socket.inbound.copy_out(copy) {
        Some(copied) => Ok(copied),
        None => match socket.inbound.peek(|_| 1) {
            Some(0) => Ok(0),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        },
    })
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

/// Sends a chunk, which is taken as soon as there is room for it.
///
/// # Cancel safety
///
/// At the socket's home, a chunk that was not taken has not been sent in part.
pub(crate) fn poll_send(
    socket: &Arc<Socket>,
    cx: &mut Context<'_>,
    chunk: &mut Option<Chunk>,
) -> Poll<io::Result<()>> {
    loop {
        let Some(mut bytes) = chunk.take().filter(|chunk| !chunk.bytes().is_empty()) else {
            return Poll::Ready(Ok(()));
        };
        if !current::budget_spend() {
            *chunk = Some(bytes);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !is_home(socket) {
            match socket.outbound.send_directly(|| send(socket, bytes.bytes(), SEND)) {
                Some(Ok(sent)) => {
                    bytes.advance(sent);
                    *chunk = Some(bytes);
                    continue;
                }
                Some(Err(Errno::INTR)) => {
                    *chunk = Some(bytes);
                    continue;
                }
                Some(Err(Errno::WOULDBLOCK)) if !completes() => {
                    // Nobody sends in the background here.
                    *chunk = Some(bytes);
                    ready!(operation::poll(socket, cx, &mut operation::Writable))?;
                    continue;
                }
                Some(Err(Errno::WOULDBLOCK)) | None => {}
                Some(Err(error)) => return Poll::Ready(Err(error.into())),
            }
        }
        let (queued, old) = socket.outbound.push(bytes, cx.waker());
        panic::discard_foreign(old);
        return match queued {
            Queued::Behind => Poll::Ready(Ok(())),
            Queued::First => {
                operation::with_reactor(|reactor| Ok(socket.mark_dirty(reactor))).map(drop).into()
            }
            Queued::Full(bytes) => {
                *chunk = Some(bytes);
                Poll::Pending
            }
            Queued::Failed(error) => Poll::Ready(Err(io::Error::from_raw_os_error(error))),
        };
    }
}

/// Waits until the kernel has everything.
pub(crate) fn poll_flush(socket: &Arc<Socket>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    let (flushed, old) = socket.outbound.flushed(cx.waker());
    panic::discard_foreign(old);
    match flushed {
        Some(result) => Poll::Ready(result.map_err(io::Error::from_raw_os_error)),
        None => Poll::Pending,
    }
}

/// Reads from a file into the front of `buf`, from `offset` on: in the ring if there is
/// one, else on the blocking pool.
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
            Reactor::Uring(uring) => buf.take().map(|buf| uring.read_at(file.clone(), buf, offset)),
            Reactor::Epoll(_) => None,
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

/// Whether this thread's reactor has, or could have, the socket's operations in its ring.
pub(crate) fn is_home(socket: &Arc<Socket>) -> bool {
    operation::with_reactor(|reactor| Ok(socket.is_home(reactor))).unwrap_or(false)
}

/// Whether this thread's reactor completes operations by itself.
fn completes() -> bool {
    operation::with_reactor(|reactor| Ok(matches!(reactor, Reactor::Uring(_)))).unwrap_or(false)
}
