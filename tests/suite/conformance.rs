//! The rules of streams: every stream keeps to them, and the suite notices one that does not.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker, ready};

use ringloop::Builder;
use ringloop::io::{
    AsyncRead, AsyncWrite, BufWriter, DuplexStream, Pipe, PipeReader, PipeWriter, duplex,
};
use ringloop::net::{OwnedReadHalf, OwnedWriteHalf, TcpListener, TcpStream, UnixStream};
use ringloop::streams;
use ringloop::testing::StreamConformance;

use crate::harness::{must_panic, on_every, scaled};

/// A stream of two parts, each for one direction.
struct Joined<R, W>(R, W);

impl<R: AsyncRead + Unpin, W: Unpin> AsyncRead for Joined<R, W> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read_vectored(cx, bufs)
    }
}

impl<R: Unpin, W: AsyncWrite + Unpin> AsyncWrite for Joined<R, W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.1).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.1).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.1).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.1).poll_close(cx)
    }
}

async fn tcp() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let near = TcpStream::connect(listener.local_addr()?).await?;
    Ok((near, listener.accept().await?.0))
}

async fn halves()
-> io::Result<(Joined<OwnedReadHalf, OwnedWriteHalf>, Joined<OwnedReadHalf, OwnedWriteHalf>)> {
    let (near, far) = tcp().await?;
    let (near, far) = (near.into_split(), far.into_split());
    Ok((Joined(near.0, near.1), Joined(far.0, far.1)))
}

async fn pipes() -> io::Result<(Joined<PipeReader, PipeWriter>, Joined<PipeReader, PipeWriter>)> {
    let (one, other) = (Pipe::new()?, Pipe::new()?);
    Ok((Joined(one.reader, other.writer), Joined(other.reader, one.writer)))
}

#[test]
fn tcp_streams_keep_to_the_rules() {
    on_every(|cfg| {
        cfg.everywhere(|| async { StreamConformance::new().seed(cfg.seed).run(tcp).await });
    });
}

#[test]
fn tcp_streams_that_lend_memory_keep_to_the_rules() {
    // Goal: bytes that the home has received ahead are no exception; method: each stream has lent memory before.
    on_every(|cfg| {
        let used = async || {
            let (mut near, mut far) = tcp().await?;
            for _ in 0..2 {
                assert_eq!(near.try_write(b"x")?, 1);
                let lease = far.read_lease().await?;
                far.write_lease(lease).await?;
                assert_eq!(near.read_lease().await?.len(), 1);
            }
            Ok((near, far))
        };
        cfg.once(StreamConformance::new().seed(cfg.seed).run(used));
    });
}

#[test]
fn halves_of_tcp_streams_keep_to_the_rules() {
    on_every(|cfg| {
        cfg.everywhere(|| async { StreamConformance::new().seed(cfg.seed).run(halves).await });
    });
}

#[test]
fn unix_streams_keep_to_the_rules() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            StreamConformance::new().seed(cfg.seed).run(async || UnixStream::pair()).await;
        });
    });
}

#[test]
fn pipes_keep_to_the_rules() {
    on_every(|cfg| {
        cfg.everywhere(|| async { StreamConformance::new().seed(cfg.seed).run(pipes).await });
    });
}

#[test]
fn streams_in_memory_keep_to_the_rules() {
    on_every(|cfg| {
        for max in [1, 63, 1 << 16] {
            let suite = StreamConformance::new().seed(cfg.seed).most_buffered(max);
            cfg.once(suite.run(async || Ok(duplex(max))));
        }
    });
}

#[test]
fn readers_and_writers_keep_to_the_rules() {
    on_every(|cfg| {
        let ends = async || {
            let (near, far) = UnixStream::pair()?;
            let (near, far) = (streams::split(near), streams::split(far));
            Ok((Joined(near.0, near.1), Joined(far.0, far.1)))
        };
        cfg.once(StreamConformance::new().seed(cfg.seed).run(ends));
    });
}

#[cfg(feature = "tls")]
#[test]
fn sessions_keep_to_the_rules() {
    use crate::tls_tools::{acceptor, connector};
    on_every(|cfg| {
        let sessions = async || {
            let (near, far) = UnixStream::pair()?;
            let connector = connector();
            let connecting = connector.connect("localhost", near);
            let acceptor = acceptor();
            let (near, far) = futures_util::join!(connecting, acceptor.accept(far));
            Ok((near?, far?))
        };
        cfg.once(StreamConformance::new().seed(cfg.seed).run(sessions));
        // And with the queue of a writer above.
        let ends = async || {
            let (near, far) = sessions().await?;
            let (near, far) = (streams::split(near), streams::split(far));
            Ok((Joined(near.0, near.1), Joined(far.0, far.1)))
        };
        cfg.once(StreamConformance::new().seed(cfg.seed).run(ends));
    });
}

#[test]
fn buffered_writers_keep_to_the_rules() {
    on_every(|cfg| {
        let buffered = async || {
            let (near, far) = duplex(100);
            Ok((BufWriter::with_capacity(30, near), BufWriter::with_capacity(3000, far)))
        };
        cfg.once(StreamConformance::new().seed(cfg.seed).run(buffered));
    });
}

#[test]
fn many_seeds_pass_in_memory() {
    on_every(|cfg| {
        let mut rng = cfg.rng(0);
        cfg.mocked(async {
            for _ in 0..scaled(3) {
                let (seed, max) = (rng.next(), 1 + rng.below(1000));
                let suite = StreamConformance::new().seed(seed).most_buffered(max);
                suite.run(async || Ok(duplex(max))).await;
            }
        });
    });
}

/// What is wrong with a [`Broken`] stream.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// A read goes by the size of the buffer with which its wait began.
    LosesAtCancel,
    /// A write that waited is written later, although it was dropped.
    WritesAfterCancel,
    ReversesSlices,
    /// The slices behind the first are not written, but counted.
    DropsSlices,
    /// The waker of a wait's first poll is kept.
    KeepsFirstReadWaker,
    KeepsFirstWriteWaker,
    /// The reader and the writer share a place for a waker.
    SharesWaker,
    /// The end is given once, and an error from then on.
    EndsOnce,
    ClosesBothWays,
    /// Everything is taken, and kept.
    TakesAll,
    /// Small writes are kept until it is closed.
    FlushesNothing,
    /// A drop leaves the inner stream open.
    StaysOpen,
    /// Errors of writes are hidden.
    HidesErrors,
}

/// Wakes the last waker that came, whatever that waits for.
#[derive(Default)]
struct LastWaker(Mutex<Option<Waker>>);

impl Wake for LastWaker {
    fn wake(self: Arc<Self>) {
        if let Some(waker) = self.0.lock().unwrap().take() {
            waker.wake();
        }
    }
}

struct Broken {
    fault: Fault,
    inner: ManuallyDrop<DuplexStream>,
    room: Option<usize>,
    kept: Vec<u8>,
    read_waker: Option<Waker>,
    write_waker: Option<Waker>,
    last_waker: Arc<LastWaker>,
    ended: bool,
    closed: bool,
}

impl Broken {
    fn pair(fault: Fault) -> (Self, Self) {
        let (near, far) = duplex(200);
        (Self::new(fault, near), Self::new(fault, far))
    }

    fn new(fault: Fault, inner: DuplexStream) -> Self {
        Self {
            fault,
            inner: ManuallyDrop::new(inner),
            room: None,
            kept: Vec::new(),
            read_waker: None,
            write_waker: None,
            last_waker: Arc::default(),
            ended: false,
            closed: false,
        }
    }

    fn inner(&mut self) -> Pin<&mut DuplexStream> {
        Pin::new(&mut self.inner)
    }

    /// The waker for the inner stream.
    fn waker(&mut self, cx: &Context<'_>, read: bool) -> Waker {
        let first = if read { &mut self.read_waker } else { &mut self.write_waker };
        match self.fault {
            Fault::KeepsFirstReadWaker if read => first.get_or_insert(cx.waker().clone()).clone(),
            Fault::KeepsFirstWriteWaker if !read => first.get_or_insert(cx.waker().clone()).clone(),
            Fault::SharesWaker => {
                *self.last_waker.0.lock().unwrap() = Some(cx.waker().clone());
                self.last_waker.clone().into()
            }
            _ => cx.waker().clone(),
        }
    }

    /// Writes what was kept.
    fn poll_kept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.kept.is_empty() {
            let kept = std::mem::take(&mut self.kept);
            let wrote = self.inner().poll_write(cx, &kept);
            self.kept = kept;
            let wrote = ready!(wrote)?;
            self.kept.drain(..wrote);
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        if self.fault != Fault::StaysOpen {
            // SAFETY: nothing uses it any more.
            unsafe { ManuallyDrop::drop(&mut self.inner) };
        }
    }
}

impl AsyncRead for Broken {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.closed && self.fault == Fault::ClosesBothWays {
            return Poll::Ready(Ok(0));
        }
        if self.ended && self.fault == Fault::EndsOnce {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        let waker = self.waker(cx, true);
        let cx = &mut Context::from_waker(&waker);
        let read = match self.fault {
            Fault::LosesAtCancel => {
                let room = *self.room.get_or_insert(buf.len());
                let mut bytes = vec![0; room];
                let read = ready!(self.inner().poll_read(cx, &mut bytes))?.min(buf.len());
                buf[..read].copy_from_slice(&bytes[..read]);
                read
            }
            _ => ready!(self.inner().poll_read(cx, buf))?,
        };
        self.room = None;
        self.read_waker = None;
        self.ended |= read == 0;
        Poll::Ready(Ok(read))
    }
}

impl AsyncWrite for Broken {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let waker = self.waker(cx, false);
        let cx = &mut Context::from_waker(&waker);
        match self.fault {
            Fault::WritesAfterCancel if !buf.is_empty() => {
                let kept = match std::mem::take(&mut self.kept) {
                    none if none.is_empty() => buf[..buf.len().min(50)].to_vec(),
                    kept => kept,
                };
                let wrote = self.inner().poll_write(cx, &kept);
                if wrote.is_pending() {
                    self.kept = kept;
                }
                return wrote.map_ok(|wrote| wrote.min(buf.len()));
            }
            Fault::TakesAll => {
                self.kept.extend_from_slice(buf);
                if let Poll::Ready(Err(error)) = self.poll_kept(cx) {
                    return Poll::Ready(Err(error));
                }
                return Poll::Ready(Ok(buf.len()));
            }
            Fault::FlushesNothing => {
                if self.kept.len() > 100 {
                    ready!(self.poll_kept(cx))?;
                }
                self.kept.extend_from_slice(buf);
                return Poll::Ready(Ok(buf.len()));
            }
            _ => {}
        }
        let wrote = match ready!(self.inner().poll_write(cx, buf)) {
            Err(_) if self.fault == Fault::HidesErrors => buf.len(),
            wrote => wrote?,
        };
        self.write_waker = None;
        Poll::Ready(Ok(wrote))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = bufs.iter().find(|buf| !buf.is_empty());
        match self.fault {
            Fault::ReversesSlices => {
                let reversed: Vec<_> = bufs.iter().rev().copied().collect();
                self.inner().poll_write_vectored(cx, &reversed)
            }
            Fault::DropsSlices => {
                let len = bufs.iter().map(|buf| buf.len()).sum();
                let first = first.map_or(&[][..], |first| first);
                let wrote = ready!(self.inner().poll_write(cx, first))?;
                Poll::Ready(Ok(if wrote == first.len() { len } else { wrote }))
            }
            _ => self.poll_write(cx, first.map_or(&[], |first| first)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.fault {
            Fault::FlushesNothing => Poll::Ready(Ok(())),
            _ => self.poll_kept(cx),
        }
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.fault != Fault::WritesAfterCancel {
            ready!(self.poll_kept(cx))?;
        }
        self.closed = true;
        self.inner().poll_close(cx)
    }
}

/// Runs the suite over streams with a fault; the virtual clock ends a check that hangs.
fn check(fault: Fault) {
    let main = async move {
        let suite = StreamConformance::new().seed(5).most_buffered(100_000);
        suite.run(async || Ok(Broken::pair(fault))).await;
    };
    if let Err(error) = Builder::new().workers(1).mock_clock().run(main) {
        std::panic::resume_unwind(error.into_panic());
    }
}

#[test]
fn each_fault_of_a_stream_is_noticed() {
    // Goal: the suite notices a stream that breaks a rule, and names the rule and the seed; method: a stream
    // with one fault after the other, and one with none.
    check(Fault::None);
    let faults = [
        (Fault::LosesAtCancel, "a read that is dropped while it waits takes no byte"),
        (Fault::WritesAfterCancel, "a write that is dropped while it waits has written nothing"),
        (Fault::ReversesSlices, "sends its slices in order"),
        (Fault::DropsSlices, "sends its slices in order"),
        (Fault::KeepsFirstReadWaker, "when a read is polled with another waker"),
        (Fault::KeepsFirstWriteWaker, "a write that is dropped while it waits"),
        (Fault::SharesWaker, "are each woken"),
        (Fault::EndsOnce, "each further read gives it again"),
        (Fault::ClosesBothWays, "a stream that was closed goes on to read"),
        (Fault::TakesAll, "a writer whose peer does not read has to wait"),
        (Fault::FlushesNothing, "a read takes no more bytes than its buffer has room for"),
        (Fault::StaysOpen, "a stream that is dropped shows the end, or an error"),
        (Fault::HidesErrors, "shows an error to a peer that waits in a write"),
    ];
    for (fault, rule) in faults {
        let text = must_panic(|| check(fault));
        assert!(text.contains(rule), "{fault:?}: {text}");
        assert!(text.contains("seed 5"), "{fault:?}: {text}");
    }
}

#[test]
fn streams_without_half_close_can_be_checked() {
    let main = async {
        let suite = StreamConformance::new().without_half_close();
        suite.run(async || Ok(Broken::pair(Fault::ClosesBothWays))).await;
    };
    Builder::new().workers(1).run(main).unwrap();
}
