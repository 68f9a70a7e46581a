//! Streams in memory.
//!
//! One direction is a [`Pipe`](Shared): a ring of bytes with at most one waker for each side, behind a lock
//! that is held for a copy at most. Wakers are cloned, woken and dropped outside of it (S6).

use std::{
    collections::VecDeque,
    fmt,
    io::{self, IoSlice, IoSliceMut},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use futures_io::{AsyncRead, AsyncWrite};

use crate::{
    loom::Mutex,
    util::{current, panic, wait::WaitKind},
};

/// The first allocation of a direction that carries something.
const SMALLEST: usize = 64;

/// Two streams in memory: what is written to one is read from the other, both ways.
///
/// Each direction holds up to `max` bytes; a writer that finds no room waits. The memory is allocated as it
/// is used, and is never more than `max` bytes for each direction.
///
/// A stream that is dropped, or [closed](super::AsyncWriteExt::close), shows its peer the end, behind the bytes that are
/// there. A closed stream goes on to read. A write to a stream whose peer is gone is an error
/// ([`BrokenPipe`](io::ErrorKind::BrokenPipe)).
///
/// It works on any executor. It serves in tests in the place of a connection, and wherever
/// code that wants a stream is to be fed by other code.
///
/// asyncio: has none; tests there feed a `StreamReader` by hand. trio: `trio.testing.memory_stream_pair`.
/// tokio: the same.
///
/// # Panics
///
/// If `max` is 0.
///
/// ```
/// use ringloop::io::{AsyncReadExt, AsyncWriteExt, duplex};
///
/// ringloop::run(async {
///     let (mut client, mut server) = duplex(64);
///     client.write_all(b"ping").await.unwrap();
///     client.close().await.unwrap();
///
///     let mut request = String::new();
///     server.read_to_string(&mut request).await.unwrap();
///     assert_eq!(request, "ping");
///     server.write_all(b"pong").await.unwrap();
///
///     let mut answer = [0; 4];
///     client.read_exact(&mut answer).await.unwrap();
///     assert_eq!(&answer, b"pong");
/// });
/// ```
#[doc(alias = "memory_stream_pair")]
#[must_use]
#[track_caller]
pub fn duplex(max: usize) -> (DuplexStream, DuplexStream) {
    let (here_in, there_out) = simplex(max);
    let (there_in, here_out) = simplex(max);
    (
        DuplexStream { reader: here_in, writer: here_out },
        DuplexStream { reader: there_in, writer: there_out },
    )
}

/// One direction of [`duplex`] by itself: a pipe in memory that holds up to `max` bytes.
///
/// asyncio: has none. trio: `trio.testing.memory_stream_one_way_pair`. tokio: `simplex`, which returns its ends in this order, too.
///
/// # Panics
///
/// If `max` is 0.
///
/// ```
/// use ringloop::io::{AsyncReadExt, AsyncWriteExt, simplex};
///
/// ringloop::run(async {
///     let (mut reader, mut writer) = simplex(16);
///     ringloop::spawn(async move { writer.write_all(b"more than sixteen bytes").await }).detach();
///     let mut text = String::new();
///     reader.read_to_string(&mut text).await.unwrap();
///     assert_eq!(text, "more than sixteen bytes");
/// });
/// ```
#[must_use]
#[track_caller]
pub fn simplex(max: usize) -> (SimplexReader, SimplexWriter) {
    assert!(max > 0, "a stream in memory needs room for at least one byte");
    let shared = Arc::new(Shared { max, pipe: Mutex::new(Pipe::default()) });
    (SimplexReader { shared: shared.clone() }, SimplexWriter { shared })
}

/// One end of [`duplex`].
///
/// # Cancel safety
///
/// A read that is dropped has taken no byte; a write that is dropped before it returned has written none.
#[derive(Debug)]
pub struct DuplexStream {
    reader: SimplexReader,
    writer: SimplexWriter,
}

impl DuplexStream {
    /// Splits it into its two directions, each for a task of its own. Dropping one of them ends that direction.
    ///
    /// ```
    /// use ringloop::io::{AsyncReadExt, AsyncWriteExt, duplex};
    ///
    /// ringloop::run(async {
    ///     let (near, mut far) = duplex(64);
    ///     let (mut reader, mut writer) = near.into_split();
    ///     writer.write_all(b"one way").await.unwrap();
    ///     drop(writer);
    ///     let mut text = String::new();
    ///     far.read_to_string(&mut text).await.unwrap();
    ///     far.write_all(b"and the other").await.unwrap();
    ///     drop(far);
    ///     reader.read_to_string(&mut text).await.unwrap();
    ///     assert_eq!(text, "one wayand the other");
    /// });
    /// ```
    pub fn into_split(self) -> (SimplexReader, SimplexWriter) {
        (self.reader, self.writer)
    }
}

/// The end of a [`simplex`] or of half a [`DuplexStream`] that is read from. The end comes when the writer is
/// closed or dropped.
///
/// # Cancel safety
///
/// A read that is dropped has taken no byte.
pub struct SimplexReader {
    shared: Arc<Shared>,
}

/// The end of a [`simplex`] or of half a [`DuplexStream`] that is written to. Dropping it shows the reader the
/// end.
///
/// # Cancel safety
///
/// A write that is dropped before it returned has written nothing.
pub struct SimplexWriter {
    shared: Arc<Shared>,
}

/// One direction.
struct Shared {
    max: usize,
    pipe: Mutex<Pipe>,
}

#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    /// Nothing comes behind what is there.
    is_ended: bool,
    /// Nobody reads any more.
    is_unread: bool,
    /// It waits for bytes, or the end.
    reader: Option<Waker>,
    /// It waits for room, or for the reader to be gone.
    writer: Option<Waker>,
}

impl Pipe {
    /// Takes as many bytes as fit.
    fn take(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        let mut taken = 0;
        for buf in bufs {
            let (front, back) = self.bytes.as_slices();
            let from_front = front.len().min(buf.len());
            let from_back = back.len().min(buf.len() - from_front);
            buf[..from_front].copy_from_slice(&front[..from_front]);
            buf[from_front..from_front + from_back].copy_from_slice(&back[..from_back]);
            self.bytes.drain(..from_front + from_back);
            taken += from_front + from_back;
        }
        taken
    }

    /// Appends as many bytes as there is room for.
    fn put(&mut self, bufs: &[IoSlice<'_>], max: usize) -> usize {
        let wanted: usize = bufs.iter().map(|buf| buf.len()).sum();
        let mut room = wanted.min(max - self.bytes.len());
        let put = room;
        let len = self.bytes.len() + room;
        if len > self.bytes.capacity() {
            // Doubled each time, and never above the limit.
            let capacity = len.next_power_of_two().max(SMALLEST).min(max);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        for buf in bufs {
            let part = &buf[..buf.len().min(room)];
            self.bytes.extend(part);
            room -= part.len();
        }
        put
    }
}

impl Shared {
    fn poll_read(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        ready!(current::poll_budget(cx));
        // Cloned before the lock: it is foreign code.
        let mut waker = None;
        loop {
            let mut pipe = self.pipe.lock();
            let taken = pipe.take(bufs);
            if taken > 0 {
                let writer = pipe.writer.take();
                drop(pipe);
                wake(writer);
                return Poll::Ready(Ok(taken));
            }
            if pipe.is_ended {
                return Poll::Ready(Ok(0));
            }
            if let Some(old) = note(&mut pipe.reader, &mut waker, cx) {
                drop(pipe);
                panic::discard_foreign(old);
                self.note_wait(WaitKind::DuplexRead);
                return Poll::Pending;
            }
            drop(pipe);
            waker = Some(cx.waker().clone());
        }
    }

    fn poll_write(&self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        ready!(current::poll_budget(cx));
        let mut waker = None;
        loop {
            let mut pipe = self.pipe.lock();
            if let Some(why) = refusal(&pipe) {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, why)));
            }
            let put = pipe.put(bufs, self.max);
            if put > 0 {
                let reader = pipe.reader.take();
                drop(pipe);
                wake(reader);
                return Poll::Ready(Ok(put));
            }
            if let Some(old) = note(&mut pipe.writer, &mut waker, cx) {
                drop(pipe);
                panic::discard_foreign(old);
                self.note_wait(WaitKind::DuplexWrite);
                return Poll::Pending;
            }
            drop(pipe);
            waker = Some(cx.waker().clone());
        }
    }

    /// Nothing is written any more.
    fn end(&self) {
        let wakers = {
            let mut pipe = self.pipe.lock();
            pipe.is_ended = true;
            [pipe.reader.take(), pipe.writer.take()]
        };
        wakers.into_iter().for_each(wake);
    }

    /// Nothing is read any more.
    fn unread(&self) {
        let (wakers, _bytes) = {
            let mut pipe = self.pipe.lock();
            pipe.is_unread = true;
            ([pipe.reader.take(), pipe.writer.take()], std::mem::take(&mut pipe.bytes))
        };
        wakers.into_iter().for_each(wake);
    }

    fn note_wait(&self, kind: WaitKind) {
        current::waits_for(kind, std::ptr::from_ref(self).addr() as u64);
    }

    fn debug(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pipe = self.pipe.lock();
        f.debug_struct(name)
            .field("len", &pipe.bytes.len())
            .field("max", &self.max)
            .field("ended", &pipe.is_ended)
            .finish_non_exhaustive()
    }
}

/// Why nothing can be written.
fn refusal(pipe: &Pipe) -> Option<&'static str> {
    match pipe {
        Pipe { is_ended: true, .. } => Some("this end of the stream was closed"),
        Pipe { is_unread: true, .. } => Some("the other end of the stream is gone"),
        _ => None,
    }
}

/// Has the waker of `cx` wait in `place`, and gives the one that was there. `None`: the caller has to clone it
/// first.
fn note(
    place: &mut Option<Waker>,
    cloned: &mut Option<Waker>,
    cx: &Context<'_>,
) -> Option<Option<Waker>> {
    match place {
        Some(waker) if waker.will_wake(cx.waker()) => Some(cloned.take()),
        _ => cloned.take().map(|new| place.replace(new)),
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        panic::contain(|| waker.wake());
    }
}

impl AsyncRead for SimplexReader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.shared.poll_read(cx, &mut [IoSliceMut::new(buf)])
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.shared.poll_read(cx, bufs)
    }
}

impl AsyncWrite for SimplexWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.shared.poll_write(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.shared.poll_write(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.end();
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for DuplexStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.reader).poll_read(cx, buf)
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.reader).poll_read_vectored(cx, bufs)
    }
}

impl AsyncWrite for DuplexStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_close(cx)
    }
}

impl Drop for SimplexReader {
    fn drop(&mut self) {
        self.shared.unread();
    }
}

impl Drop for SimplexWriter {
    fn drop(&mut self) {
        self.shared.end();
    }
}

impl fmt::Debug for SimplexReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.debug("SimplexReader", f)
    }
}

impl fmt::Debug for SimplexWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.debug("SimplexWriter", f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{AsyncReadExt, AsyncWriteExt};

    /// Goal: memory comes as it is used, up to the limit and no further.
    #[test]
    fn memory_grows_with_use_and_never_above_the_limit() {
        crate::run(async {
            let (mut reader, mut writer) = simplex(1000);
            let capacity = |reader: &SimplexReader| reader.shared.pipe.lock().bytes.capacity();
            assert_eq!(capacity(&reader), 0);
            writer.write_all(b"0123456789").await.unwrap();
            assert_eq!(capacity(&reader), SMALLEST);
            assert_eq!(writer.write(&[1; 5000]).await.unwrap(), 990);
            assert_eq!(capacity(&reader), 1000);
            for round in 0..50 {
                let mut buf = [0; 77];
                reader.read_exact(&mut buf).await.unwrap();
                writer.write_all(&[round; 77]).await.unwrap();
            }
            assert_eq!(capacity(&reader), 1000);
            drop(reader);
            assert_eq!(writer.shared.pipe.lock().bytes.capacity(), 0);
        });
    }
}
