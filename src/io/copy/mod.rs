//! Copying from streams to streams.
//!
//! Bytes go through a buffer that all copies of a thread share: it is taken for the time of one poll. So its
//! memory is in the cache, and a stream that is idle holds none. What the writer does not take at once stays
//! with its copy.
//!
//! A reader of another crate gets it full of zeros: it might look at what another copy has left there (S5).
//! So its used part is overwritten before. To keep that part small, reads ask for little until they get
//! much. Our own sockets and pipes get it as it is. The two directions of a pair share it within
//! a poll: each may see what the other one has read, which its own peer gets anyway.
//!
//! * [`direction`]: one direction, and when it moves bytes by splice(2) instead;
//! * [`buffer`]: the thread's buffer;
//! * [`transit`]: the pipes that bytes are moved through;
//! * [`plain`]: which streams have a descriptor for that.

mod buffer;
mod direction;
mod plain;
mod transit;

use std::{
    future::poll_fn,
    io,
    task::{Poll, ready},
};

use futures_io::{AsyncRead, AsyncWrite};

pub(super) use self::buffer::Buffer;
pub(crate) use self::plain::{Kind as PlainKind, Plain, enter as enter_plain};
use self::{
    buffer::SIZE,
    direction::{Direction, End},
};

/// Copies everything from a reader to a writer, and flushes it. The result is the number of bytes.
///
/// Up to 64 KiB are read at a time. The buffer belongs to the thread: a copy whose reader has nothing holds no
/// memory. Whenever it waits for the reader, it has flushed the writer. The writer is not closed.
///
/// Where both are sockets or pipes of this crate ([`TcpStream`](crate::net::TcpStream),
/// [`UnixStream`](crate::net::UnixStream), their owned halves, [`PipeReader`](super::PipeReader),
/// [`PipeWriter`](super::PipeWriter), the pipes of children), bytes that come in large pieces are moved by
/// splice(2), without a copy. For that they go through a pipe, two more descriptors, which is held only while bytes
/// are in it. A process has 256 such pipes at most, and one for 16 descriptors that it may open; beyond that, bytes
/// are copied. They are copied, too, where SIGPIPE would end the process.
///
/// asyncio: has none; `shutil.copyfileobj` blocks. tokio: the same, without splice(2).
///
/// # Cancel safety
///
/// Bytes that were read and not written yet are lost, and their number is not known. A copy that waits for its
/// reader has none.
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
/// Large pieces are moved between sockets and pipes without a copy, as by [`copy`].
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
///     }).detach();
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
/// a direction holds while its writer waits. With less than 64 KiB, a direction copies whatever comes.
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

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        sync::{Arc, Mutex},
        task::{Context, Waker},
    };

    use futures_util::future::{Either, select};

    use super::{
        buffer::HOT,
        direction::{SMALL, TURN},
        *,
    };
    use crate::io::{
        AsyncReadExt, AsyncWriteExt, DuplexStream, Pipe, PipeReader, PipeWriter, duplex,
    };

    /// Goal: a pair that is idle holds no buffer, one whose writer waits for little holds no more than that.
    #[test]
    fn buffers_are_held_while_a_writer_waits_and_no_longer() {
        crate::run(async {
            let (mut client, mut a) = duplex(1 << 20);
            let (mut b, mut server) = duplex(100);
            let (mut there, mut back) =
                (Direction::new(SIZE, End::Close), Direction::new(SIZE, End::Close));
            let mut cx = Context::from_waker(Waker::noop());
            let mut poll = |there: &mut Direction<_, _>, back: &mut Direction<_, _>| {
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
            assert_eq!(HOT.take().0.len(), SIZE, "the thread has one again");
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
                let Pipe { reader, mut writer } = Pipe::new().unwrap();
                writer.write_all(b"what came by a pipe").await.unwrap();
                drop(writer);
                copy(reader, &mut sink).await.unwrap();
                copy(Curious(Arc::clone(&seen), 0), &mut Vec::new()).await.unwrap();
            }
            let seen = seen.lock().unwrap();
            // Within one copy a reader finds what it wrote itself.
            assert!(seen.iter().all(|byte| matches!(*byte, 0 | b'x')));
            assert!(seen[..SMALL].iter().all(|byte| *byte == 0));
        });
    }

    /// Goal: the way changes with what comes, and an idle direction holds no pipe.
    #[test]
    fn much_is_moved_and_little_is_read() {
        // Here, since other tests find none meanwhile.
        take_all_pipes();
        crate::run(async {
            let (from, to) = (Pipe::new().unwrap(), Pipe::new().unwrap());
            let (mut source, mut a, mut b, mut target) =
                (from.writer, from.reader, to.writer, to.reader);
            let mut direction = Direction::new(SIZE, End::Flush);
            let mut pass = async |len: usize| {
                source.write_all(&vec![1; len]).await.unwrap();
                let mut bytes = vec![0; len];
                let copy = poll_fn(|cx| direction.poll(cx, &mut a, &mut b, &mut None));
                let read = target.read_exact(&mut bytes);
                assert!(matches!(select(copy, read).await, Either::Right((Ok(()), _))));
                assert!(direction.transit.is_none() && direction.rest.is_none());
                direction.moves()
            };
            assert!(!pass(30_000).await);
            assert!(pass(30_000).await, "the second large piece");
            assert!(pass(8 << 10).await);
            assert!(!pass((8 << 10) - 1).await, "a little piece");
            assert!(!pass(30_000).await);
            assert!(!pass(100).await);
            assert!(!pass(30_000).await);
            assert!(pass(30_000).await);

            // A size below that of a pipe bounds what is held.
            let small = Direction::<PipeReader, PipeWriter>::new(SIZE - 1, End::Flush);
            assert!(!small.may_move());
            let other = Direction::<DuplexStream, PipeWriter>::new(SIZE, End::Flush);
            assert!(!other.may_move());
        });
    }

    /// Pipes are bounded, and some are kept.
    fn take_all_pipes() {
        let mut held = Vec::new();
        while let Some(transit) = transit::Transit::take() {
            held.push(transit);
            assert!(held.len() <= 256);
        }
        assert!(held.len() > 4);
        held[0].len = 1;
        drop(held);
        assert!((1..=4).contains(&transit::kept()));
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
