//! Copying from streams to streams.
//!
//! Bytes go through a buffer that all copies of a thread share: it is taken for the time of one poll. So its
//! memory is in the cache, and a stream that is idle holds none. What the writer does not take at once stays
//! with its copy.
//!
//! The buffer is full of zeros whenever a copy gets it: readers are foreign code, which might look at
//! what another copy has left there (S5). Its used part is overwritten when a poll ends. To keep that
//! part small, reads ask for little until they get much. The two directions of a pair share it within
//! a poll: each may see what the other one has read, which its own peer gets anyway.

use std::{
    cell::Cell,
    future::poll_fn,
    io,
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_io::{AsyncRead, AsyncWrite};

use crate::util::current;

/// How much is read at a time, unless another size is given.
const SIZE: usize = 64 << 10;
/// How much the first read asks for, and each one where little comes.
const SMALL: usize = 1 << 10;
/// What a copy that has to wait for its writer moves into memory of its own; of more it keeps the whole buffer.
const MOVED: usize = 16 << 10;
/// A larger buffer does not stay with its thread.
const LARGEST: usize = 1 << 20;
/// How much one direction copies in one poll: then others have their turn.
const TURN: usize = 512 << 10;

/// Copies everything from a reader to a writer, and flushes it. The result is the number of bytes.
///
/// Up to 64 KiB are read at a time. The buffer belongs to the thread: a copy whose reader has nothing holds no
/// memory. Whenever it waits for the reader, it has flushed the writer. The writer is not closed.
///
/// asyncio: has none; `shutil.copyfileobj` blocks. tokio: the same.
///
/// # Cancel safety
///
/// Bytes that were read and not written yet are lost, and their number is not known.
///
/// # Errors
///
/// The first one of the reader or the writer.
///
/// ```
/// use ringloop::io::{AsyncReadExt, copy, duplex};
///
/// ringloop::run(async {
///     let (mut near, mut far) = duplex(8);
///     let copying = ringloop::spawn(async move { copy(&b"more than eight bytes"[..], &mut near).await });
///     let mut text = String::new();
///     far.read_to_string(&mut text).await.unwrap();
///     assert_eq!(text, "more than eight bytes");
///     assert_eq!(copying.await.unwrap().unwrap(), 21);
/// });
/// ```
#[doc(alias = "copyfileobj")]
pub async fn copy<R, W>(mut reader: R, writer: &mut W) -> io::Result<u64>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + ?Sized,
{
    let mut direction = Direction::new(SIZE, End::Flush);
    poll_fn(|cx| direction.poll(cx, &mut reader, writer, &mut None)).await
}

/// Copies both ways between two streams, as a proxy does, until both have ended. The result is the
/// number of bytes from `a` to `b`, and from `b` to `a`.
///
/// When one stream ends, the other one is closed, so that its peer sees the end; the other
/// direction goes on. Whenever a direction waits for its reader, it has flushed its writer.
///
/// Up to 64 KiB are read at a time. The buffer belongs to the thread: a pair of streams that are idle holds no
/// memory. A direction whose writer does not take the bytes holds 64 KiB at most, and reads no more meanwhile.
///
/// asyncio: has none; one writes it with two tasks. tokio: the same, with a buffer of 8 KiB for each
/// direction, which it holds all the time.
///
/// # Cancel safety
///
/// Bytes that were read and not written yet are lost, and the numbers are not known.
///
/// # Errors
///
/// The first error of either stream ends both directions.
///
/// ```
/// use ringloop::{io::copy_bidirectional, net::{TcpListener, TcpStream}};
///
/// # async fn f() -> std::io::Result<()> {
/// let listener = TcpListener::bind("127.0.0.1:8080").await?;
/// loop {
///     let (mut client, _) = listener.accept().await?;
///     ringloop::spawn(async move {
///         let mut server = TcpStream::connect("127.0.0.1:80").await?;
///         copy_bidirectional(&mut client, &mut server).await
///     });
/// }
/// # }
/// ```
#[doc(alias = "proxy")]
pub async fn copy_bidirectional<A, B>(a: &mut A, b: &mut B) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite + Unpin + ?Sized,
    B: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    copy_bidirectional_with_sizes(a, b, SIZE, SIZE).await
}

/// [`copy_bidirectional`] that reads at most so many bytes at a time, for each direction. A smaller size bounds what
/// a direction holds while its writer waits.
///
/// # Cancel safety
///
/// As [`copy_bidirectional`].
///
/// # Errors
///
/// As [`copy_bidirectional`].
///
/// # Panics
///
/// If a size is 0.
///
/// ```
/// use ringloop::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional_with_sizes, duplex};
///
/// ringloop::run(async {
///     let ((mut client, mut a), (mut b, mut server)) = (duplex(64), duplex(64));
///     let proxy = ringloop::spawn(async move {
///         copy_bidirectional_with_sizes(&mut a, &mut b, 16 << 10, 4 << 10).await
///     });
///     client.write_all(b"question").await.unwrap();
///     client.close().await.unwrap();
///     let mut text = String::new();
///     server.read_to_string(&mut text).await.unwrap();
///     server.write_all(b"answer to ").await.unwrap();
///     server.write_all(text.as_bytes()).await.unwrap();
///     drop(server);
///     client.read_to_string(&mut text).await.unwrap();
///     assert_eq!(text, "questionanswer to question");
///     assert_eq!(proxy.await.unwrap().unwrap(), (8, 18));
/// });
/// ```
pub async fn copy_bidirectional_with_sizes<A, B>(
    a: &mut A,
    b: &mut B,
    a_to_b: usize,
    b_to_a: usize,
) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite + Unpin + ?Sized,
    B: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    assert!(a_to_b > 0 && b_to_a > 0, "a copy has to read at least one byte at a time");
    let mut there = Direction::new(a_to_b, End::Close);
    let mut back = Direction::new(b_to_a, End::Close);
    poll_fn(|cx| {
        let mut hot = None;
        let there = there.poll(cx, a, b, &mut hot)?;
        let back = back.poll(cx, b, a, &mut hot)?;
        Poll::Ready(Ok((ready!(there), ready!(back))))
    })
    .await
}

/// What becomes of the writer behind the last byte.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Flush,
    Close,
}

enum State {
    Copying,
    Ending,
    Done,
}

/// The copy of one direction.
struct Direction {
    state: State,
    end: End,
    /// What was read, and not written yet: the writer has to be waited for.
    rest: Option<Rest>,
    /// How much a read asks for, and the limit of that.
    room: usize,
    most: usize,
    is_unflushed: bool,
    copied: u64,
}

struct Rest {
    buffer: Buffer,
    range: Range<usize>,
}

impl Direction {
    fn new(most: usize, end: End) -> Self {
        Self {
            state: State::Copying,
            end,
            rest: None,
            room: SMALL.min(most),
            most,
            is_unflushed: false,
            copied: 0,
        }
    }

    /// The number of bytes, when all are written and the end is passed on. `hot` is the buffer of this poll, once
    /// somebody has needed one.
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        hot: &mut Option<Buffer>,
    ) -> Poll<io::Result<u64>>
    where
        R: AsyncRead + Unpin + ?Sized,
        W: AsyncWrite + Unpin + ?Sized,
    {
        if let State::Copying = self.state {
            ready!(self.poll_copy(cx, reader, writer, hot))?;
            self.state = State::Ending;
        }
        if let State::Ending = self.state {
            ready!(match self.end {
                End::Flush => Pin::new(writer).poll_flush(cx),
                End::Close => Pin::new(writer).poll_close(cx),
            })?;
            self.state = State::Done;
        }
        Poll::Ready(Ok(self.copied))
    }

    /// Copies until the reader is at its end.
    fn poll_copy<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        hot: &mut Option<Buffer>,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin + ?Sized,
        W: AsyncWrite + Unpin + ?Sized,
    {
        let mut turn = TURN;
        // What waited for the writer goes first.
        if let Some(rest) = self.rest.take() {
            *hot = Some(ready!(self.poll_write(cx, writer, rest))?);
        }
        loop {
            if turn == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            ready!(current::poll_budget(cx));
            let mut buffer = match hot.take() {
                Some(buffer) if buffer.len() >= self.most => buffer,
                _ => Buffer::take(self.most),
            };
            let read = match Pin::new(&mut *reader).poll_read(cx, buffer.get(self.room)) {
                Poll::Ready(read) => read?,
                Poll::Pending => {
                    *hot = Some(buffer);
                    if self.is_unflushed {
                        ready!(Pin::new(writer).poll_flush(cx))?;
                        self.is_unflushed = false;
                    }
                    return Poll::Pending;
                }
            };
            if read == 0 {
                return Poll::Ready(Ok(()));
            }
            if read > self.room {
                return Poll::Ready(Err(io::Error::other(
                    "a reader says that it read more bytes than its buffer has room for",
                )));
            }
            self.note_read(read);
            turn = turn.saturating_sub(read);
            let rest = Rest { buffer, range: 0..read };
            *hot = Some(ready!(self.poll_write(cx, writer, rest))?);
        }
    }

    /// How much the next read asks for: a buffer that was filled shows that there is more.
    fn note_read(&mut self, read: usize) {
        let room = match read == self.room {
            true => self.most,
            // It becomes smaller by and by.
            false => (2 * read).next_power_of_two().max(self.room / 2).max(SMALL),
        };
        self.room = room.min(self.most);
    }

    /// Writes the rest of a buffer, and gives the buffer back.
    fn poll_write<W>(
        &mut self,
        cx: &mut Context<'_>,
        writer: &mut W,
        mut rest: Rest,
    ) -> Poll<io::Result<Buffer>>
    where
        W: AsyncWrite + Unpin + ?Sized,
    {
        while !rest.range.is_empty() {
            let bytes = &rest.buffer.memory[rest.range.clone()];
            let wrote = match Pin::new(&mut *writer).poll_write(cx, bytes) {
                Poll::Ready(wrote) => wrote?,
                Poll::Pending => {
                    self.rest = Some(rest.moved());
                    return Poll::Pending;
                }
            };
            if wrote == 0 || wrote > bytes.len() {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::WriteZero,
                    "a writer took no bytes, or more than there were",
                )));
            }
            rest.range.start += wrote;
            self.copied += wrote as u64;
            self.is_unflushed = true;
        }
        Poll::Ready(Ok(rest.buffer))
    }
}

impl Rest {
    /// The same in memory of its own, unless it is much.
    fn moved(self) -> Self {
        if self.range.len() > MOVED || self.buffer.len() <= MOVED {
            return self;
        }
        let memory = self.buffer.memory[self.range.clone()].to_vec();
        Self { buffer: Buffer { memory, used: 0 }, range: 0..self.range.len() }
    }
}

thread_local! {
    /// The buffer of this thread, while no copy uses it: all zeros.
    static HOT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A buffer for the time of a poll. It is the thread's again when it is dropped.
struct Buffer {
    memory: Vec<u8>,
    /// How many bytes at its front a reader may have written.
    used: usize,
}

impl Buffer {
    /// One with room for `most` bytes.
    fn take(most: usize) -> Self {
        // A thread that ends has none.
        let mut memory = HOT.try_with(Cell::take).unwrap_or_default();
        if memory.len() < most {
            memory = vec![0; most.max(SIZE)];
        }
        Self { memory, used: 0 }
    }

    fn len(&self) -> usize {
        self.memory.len()
    }

    /// Its front, for a reader.
    fn get(&mut self, room: usize) -> &mut [u8] {
        self.used = self.used.max(room);
        &mut self.memory[..room]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if !(SIZE..=LARGEST).contains(&self.memory.len()) {
            return;
        }
        self.memory[..self.used].fill(0);
        let memory = std::mem::take(&mut self.memory);
        // A thread that ends needs none.
        let _ = HOT.try_with(|hot| {
            let other = hot.take();
            hot.set(if other.len() > memory.len() { other } else { memory });
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Mutex},
        task::Waker,
    };

    use super::*;
    use crate::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    fn hot() -> Vec<u8> {
        HOT.take()
    }

    /// Goal: a pair that is idle holds no buffer, one whose writer waits for little holds no more than that.
    #[test]
    fn buffers_are_held_while_a_writer_waits_and_no_longer() {
        crate::run(async {
            let (mut client, mut a) = duplex(1 << 20);
            let (mut b, mut server) = duplex(100);
            let (mut there, mut back) =
                (Direction::new(SIZE, End::Close), Direction::new(SIZE, End::Close));
            let mut cx = Context::from_waker(Waker::noop());
            let mut poll = |there: &mut Direction, back: &mut Direction| {
                let mut hot = None;
                assert!(there.poll(&mut cx, &mut a, &mut b, &mut hot).is_pending());
                assert!(back.poll(&mut cx, &mut b, &mut a, &mut hot).is_pending());
            };
            poll(&mut there, &mut back);
            assert!(there.rest.is_none());

            client.write_all(&[7; 1000]).await.unwrap();
            poll(&mut there, &mut back);
            let held = there.rest.as_ref().expect("100 bytes fit");
            assert_eq!((held.buffer.len(), held.range.len()), (900, 900));
            let mut buf = [0; 1000];
            for _ in 0..10 {
                server.read_exact(&mut buf[..100]).await.unwrap();
                poll(&mut there, &mut back);
            }
            assert!(there.rest.is_none());
            assert!(back.rest.is_none());

            client.write_all(&[8; 200_000]).await.unwrap();
            poll(&mut there, &mut back);
            assert_eq!(
                there.room, SIZE,
                "a read that filled its buffer is followed by a larger one"
            );
            let held = there.rest.as_ref().expect("100 bytes fit");
            assert!(held.buffer.len() <= SIZE);
            drop(there);
            let hot = hot();
            assert_eq!(hot.len(), SIZE, "the thread has one again");
            assert!(hot.iter().all(|byte| *byte == 0), "and nothing is left in it");
        });
    }

    /// Looks at what is in its buffer, and writes more than it says.
    struct Curious(Arc<Mutex<Vec<u8>>>, usize);

    impl AsyncRead for Curious {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            self.0.lock().unwrap().extend(buf.iter());
            buf.fill(b'x');
            self.1 += 1;
            Poll::Ready(Ok(if self.1 == 1 { 10 } else { 0 }))
        }
    }

    /// Goal: no reader sees what another one has left.
    #[test]
    fn readers_find_nothing_of_other_copies() {
        crate::run(async {
            let seen = Arc::default();
            for _ in 0..3 {
                let mut sink = Vec::new();
                copy(&b"a secret of somebody"[..], &mut sink).await.unwrap();
                copy(Curious(Arc::clone(&seen), 0), &mut Vec::new()).await.unwrap();
            }
            let seen = seen.lock().unwrap();
            // Within one copy a reader finds what it wrote itself.
            assert!(seen.iter().all(|byte| matches!(*byte, 0 | b'x')));
            assert!(seen[..SMALL].iter().all(|byte| *byte == 0));
        });
    }

    /// Goal: a copy of what is always ready gives way to others.
    #[test]
    fn endless_copies_give_way() {
        let (mut near, _far): (DuplexStream, _) = duplex(1);
        let mut endless = futures_util::io::repeat(1);
        let mut copy = std::pin::pin!(copy(&mut endless, &mut near));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(copy.as_mut().poll(&mut cx).is_pending());

        let mut sink = futures_util::io::sink();
        let mut endless = futures_util::io::repeat(1);
        let mut direction = Direction::new(SIZE, End::Flush);
        assert!(direction.poll(&mut cx, &mut endless, &mut sink, &mut None).is_pending());
        assert!((TURN as u64..2 * TURN as u64).contains(&direction.copied));
    }
}
