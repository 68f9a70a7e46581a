//! Answers to pipelined requests that leave together.
//!
//! hyper writes and flushes each answer by itself, so that a burst of requests costs a send for
//! each. Here what a poll of the connection writes is held until that poll ends, and then goes
//! in one send. Nothing waits for anything but the end of the poll: an answer never waits for
//! the next request, nor for its service once that waits.
//!
//! The stream is shared by the connection, which reads and writes, and by [`GatherWrites`], which
//! sends at the end of each poll; both are in one task, as a rule, so that the lock is free.

use std::{
    fmt,
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use ::hyper::rt::{Read, ReadBufCursor, Write};
use pin_project_lite::pin_project;

use crate::{loom::Mutex, util::panic};

/// Larger writes are not held: to copy them costs as much as it saves.
const SMALL: usize = 2 << 10;
/// Bytes that are held at most.
const HOLD: usize = 16 << 10;
/// Memory that is kept from one poll to the next.
const KEEP: usize = 4 << 10;

/// Serves a connection so that the small writes of one poll leave in one send when the poll ends.
///
/// `serve` gets the stream to hand to hyper. Answers to pipelined requests then cost one system
/// call for all that were complete, as with hyper's `pipeline_flush`. But with that setting an
/// answer waits as long as any byte of a next request has come; here it never does. One answer by
/// itself is one send, as without. What is held is sent before the stream is shut down.
///
/// asyncio: a transport's `write` sends at once, and gathers only what the socket does not take.
///
/// # Cancel safety
///
/// Bytes that the peer's window has no room for, 16 KiB at most, are lost with the future, as those
/// are that hyper has not written. Once the connection has ended, the future waits until they are sent.
///
/// # Errors
///
/// If a send at the end of a poll has failed, the next write or flush of the connection returns the
/// error.
///
/// # Examples
///
/// ```
/// use std::{convert::Infallible, future::ready};
///
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
/// use ringloop::{
///     compat::hyper::gather_writes,
///     io::{AsyncReadExt, AsyncWriteExt},
///     net::{TcpListener, TcpStream},
/// };
///
/// ringloop::run(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let addr = listener.local_addr()?;
///     ringloop::spawn(async move {
///         let (stream, _) = listener.accept().await.unwrap();
///         let greet = service_fn(|_: Request<Incoming>| {
///             ready(Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("hello")))))
///         });
///         let http = http1::Builder::new();
///         gather_writes(stream, |stream| http.serve_connection(stream, greet)).await
///     }).detach();
///
///     let mut client = TcpStream::connect(addr).await?;
///     let first = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
///     let last = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
///     client.write_all(&[&first[..], &last[..]].concat()).await?;
///     let mut responses = String::new();
///     client.read_to_string(&mut responses).await?;
///     assert_eq!(responses.matches("hello").count(), 2);
///     Ok::<_, std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub fn gather_writes<T, F>(stream: T, serve: impl FnOnce(Gathered<T>) -> F) -> GatherWrites<T, F>
where
    T: Read + Write + Unpin,
    F: Future,
{
    let shared = Arc::new(Shared(Mutex::new(State {
        stream: Some(stream),
        held: Vec::new(),
        sent: 0,
        holds: false,
        flush: false,
        error: None,
        waits: None,
    })));
    let connection = serve(Gathered(shared.clone()));
    GatherWrites { connection, output: None, shared }
}

pin_project! {
    /// The connection that [`gather_writes`] serves: what its future gives, this one gives.
    #[must_use = "a connection is not served unless awaited"]
    pub struct GatherWrites<T, F: Future> {
        #[pin]
        connection: F,
        // Kept while the last bytes are being sent.
        output: Option<F::Output>,
        shared: Arc<Shared<T>>,
    }
}

impl<T: Write + Unpin, F: Future> GatherWrites<T, F> {
    /// The connection itself, to ask it for a graceful end, say.
    pub fn get_pin_mut(self: Pin<&mut Self>) -> Pin<&mut F> {
        self.project().connection
    }
}

impl<T: Write + Unpin, F: Future> Future for GatherWrites<T, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if this.output.is_none() {
            this.shared.with(|state| state.holds = true);
            let end = PollEnd(this.shared);
            let polled = this.connection.poll(cx);
            std::mem::forget(end);
            if let Poll::Ready(output) = polled {
                *this.output = Some(output);
            }
        }
        let ended = this.output.is_some();
        let all_sent = this.shared.with(|state| state.end_poll(cx, ended));
        if all_sent { this.output.take().map_or(Poll::Pending, Poll::Ready) } else { Poll::Pending }
    }
}

impl<T, F: Future> fmt::Debug for GatherWrites<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatherWrites")
            .field("ended", &self.output.is_some())
            .finish_non_exhaustive()
    }
}

/// The end of a poll that panics: what was answered before is sent as far as there is room.
struct PollEnd<'a, T: Write + Unpin>(&'a Shared<T>);

impl<T: Write + Unpin> Drop for PollEnd<'_, T> {
    fn drop(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        panic::contain(|| _ = self.0.with(|state| state.end_poll(&mut cx, false)));
    }
}

/// The stream that [`gather_writes`] gives to a connection.
///
/// While the connection is being polled, small writes are held until the poll ends; at other times,
/// after an upgrade, say, they go at once.
pub struct Gathered<T>(Arc<Shared<T>>);

impl<T: Read + Write + Unpin> Gathered<T> {
    /// The stream itself, when what is held has been sent.
    ///
    /// # Errors
    ///
    /// A send has failed; the stream is dropped.
    pub async fn into_inner(self) -> io::Result<T> {
        poll_fn(|cx| {
            self.0.with(|state| {
                ready!(state.poll_send(cx))?;
                Poll::Ready(Ok(state.stream.take().expect("it is taken out once")))
            })
        })
        .await
    }
}

impl<T: Read + Write + Unpin> Read for Gathered<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.with(|state| state.stream().poll_read(cx, buf))
    }
}

impl<T: Read + Write + Unpin> Write for Gathered<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.with(|state| {
            if ready!(state.poll_hold(cx, buf.len()))? {
                state.held.extend_from_slice(buf);
                return Poll::Ready(Ok(buf.len()));
            }
            state.stream().poll_write(cx, buf)
        })
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = bufs.iter().map(|buf| buf.len()).sum();
        self.0.with(|state| {
            if ready!(state.poll_hold(cx, len))? {
                bufs.iter().for_each(|buf| state.held.extend_from_slice(buf));
                return Poll::Ready(Ok(len));
            }
            state.stream().poll_write_vectored(cx, bufs)
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.with(|state| {
            if let Some(error) = state.error.take() {
                return Poll::Ready(Err(error));
            }
            if state.holds && !state.all_sent() {
                // By the end of this poll.
                state.flush = true;
                return Poll::Ready(Ok(()));
            }
            ready!(state.poll_send(cx))?;
            state.stream().poll_flush(cx)
        })
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.with(|state| {
            ready!(state.poll_send(cx))?;
            state.stream().poll_shutdown(cx)
        })
    }
}

impl<T> fmt::Debug for Gathered<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gathered").finish_non_exhaustive()
    }
}

struct Shared<T>(Mutex<State<T>>);

impl<T> Shared<T> {
    fn with<R>(&self, f: impl FnOnce(&mut State<T>) -> R) -> R {
        let mut state = self.0.lock();
        let result = f(&mut state);
        if state.waits.is_some() && state.all_sent() {
            let waker = state.waits.take();
            drop(state);
            // Foreign code, and the lock is free.
            panic::contain(|| _ = waker.map(Waker::wake));
        }
        result
    }
}

struct State<T> {
    /// Until it is taken out.
    stream: Option<T>,
    /// What is to be sent, but for the first `sent` bytes.
    held: Vec<u8>,
    sent: usize,
    /// Whether the connection is being polled, so that what is written may be held.
    holds: bool,
    /// Whether the stream is to be flushed behind what is held.
    flush: bool,
    /// Of a send, until it is reported.
    error: Option<io::Error>,
    /// The task that waits until the last bytes are sent, perhaps by another task.
    waits: Option<Waker>,
}

impl<T> State<T> {
    fn all_sent(&self) -> bool {
        self.sent == self.held.len()
    }
}

impl<T: Unpin> State<T> {
    fn stream(&mut self) -> Pin<&mut T> {
        Pin::new(self.stream.as_mut().expect("only `into_inner` takes it out"))
    }
}

impl<T: Write + Unpin> State<T> {
    /// Whether a write of `len` bytes is to be held; if not, everything before it has been sent.
    fn poll_hold(&mut self, cx: &mut Context<'_>, len: usize) -> Poll<io::Result<bool>> {
        let small = self.holds && len <= SMALL;
        if !small || self.held.len() + len > HOLD || self.error.is_some() {
            ready!(self.poll_send(cx))?;
        }
        Poll::Ready(Ok(small))
    }

    /// Sends what is held.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Err(error));
        }
        while !self.all_sent() {
            let stream = self.stream.as_mut().expect("it is taken out when all is sent");
            let result = match ready!(Pin::new(stream).poll_write(cx, &self.held[self.sent..])) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                result => result,
            };
            match result {
                Ok(sent) => self.sent += sent,
                Err(error) => {
                    self.empty();
                    return Poll::Ready(Err(error));
                }
            }
        }
        self.empty();
        Poll::Ready(Ok(()))
    }

    fn empty(&mut self) {
        self.held.clear();
        self.held.shrink_to(KEEP);
        self.sent = 0;
    }

    /// The end of a poll: what was held is sent. `false`: not all of it, or an error is to be
    /// reported: there will be another poll. After an `ended` connection no error can be reported.
    fn end_poll(&mut self, cx: &mut Context<'_>, ended: bool) -> bool {
        self.holds = false;
        if self.all_sent() && !self.flush {
            return true;
        }
        let Poll::Ready(result) = self.poll_send_and_flush(cx) else {
            self.waits = Some(cx.waker().clone());
            return false;
        };
        self.flush = false;
        self.waits = None;
        match result {
            Err(error) if !ended => {
                self.error = Some(error);
                cx.waker().wake_by_ref();
                false
            }
            _ => true,
        }
    }

    fn poll_send_and_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        match &mut self.stream {
            Some(stream) if self.flush => Pin::new(stream).poll_flush(cx),
            _ => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests;
