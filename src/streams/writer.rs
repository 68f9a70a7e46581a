//! The writing end of a stream.

use std::{
    fmt,
    future::poll_fn,
    io::{self, IoSlice},
    net::SocketAddr,
    ops::RangeBounds,
    os::fd::AsFd,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_io::AsyncWrite;

use crate::{
    io::{
        Connection, SendFile,
        outgoing::{Layered, Outgoing, Sink},
    },
    net::OwnedWriteHalf,
    util::current,
};

/// The writing end of a stream.
///
/// [`write_all`](Self::write_all) takes all bytes, whatever the stream has room for, and waits while more than 64
/// KiB have not been sent ([`set_write_buffer_limits`](Self::set_write_buffer_limits)). So a peer that does not read
/// costs no more memory than that and one write.
///
/// For functions that take a writer of the `futures` crates it is one ([`AsyncWrite`](crate::io::AsyncWrite)); the
/// bytes of both ways are counted together.
///
/// asyncio: `StreamWriter`, where `write` never waits and `drain` has to be called after it. Here there is no write
/// that does not wait, and no `drain`.
///
/// # Dropping
///
/// What was written is still sent, for 10 s at most, and then the stream is closed for writing. If the peer does not
/// take it in that time, or the runtime ends before, the peer sees a reset. [`close`](Self::close) waits for it.
///
/// # Cancel safety
///
/// A write is all or nothing: one that was polled once is sent as a whole, also if it is dropped.
///
/// ```
/// use ringloop::net::UnixStream;
///
/// ringloop::run(async {
///     let (near, far) = UnixStream::pair().unwrap();
///     let (_, mut writer) = ringloop::streams::split(near);
///     let (mut reader, _) = ringloop::streams::split(far);
///     writer.write_all(b"all of it").await.unwrap();
///     writer.close().await.unwrap();
///     assert_eq!(reader.read_to_end().await.unwrap(), b"all of it");
/// });
/// ```
pub struct StreamWriter {
    outgoing: Outgoing,
    /// The addresses of the peer and of this end, where the stream below does not give them.
    #[cfg(feature = "tls")]
    addrs: Option<(SocketAddr, SocketAddr)>,
    #[cfg(feature = "tls")]
    tls: Option<Box<super::TlsInfo>>,
}

impl StreamWriter {
    /// Writes to anything that writes. See also [`split`](super::split), which makes both ends.
    pub fn new(writer: impl AsyncWrite + Send + Unpin + 'static) -> Self {
        Self::of(Box::new(Layered(writer)))
    }

    pub(super) fn of(sink: Box<dyn Sink>) -> Self {
        Self {
            outgoing: Outgoing::new(sink),
            #[cfg(feature = "tls")]
            addrs: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// It is over TLS.
    #[cfg(feature = "tls")]
    pub(super) fn layer(&mut self, addrs: Option<(SocketAddr, SocketAddr)>, tls: super::TlsInfo) {
        (self.addrs, self.tls) = (addrs, Some(Box::new(tls)));
    }

    /// What the two sides have agreed on, if the stream is over TLS.
    ///
    /// asyncio: `get_extra_info("ssl_object")`.
    #[cfg(feature = "tls")]
    pub fn tls(&self) -> Option<&super::TlsInfo> {
        self.tls.as_deref()
    }

    /// Writes all bytes, and waits while too much is on its way.
    ///
    /// asyncio: `write`, and `await drain()` after it.
    ///
    /// # Errors
    ///
    /// The stream is closed or has failed, now or at an earlier write. From then on each write fails.
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_slices(&mut [IoSlice::new(bytes)]).await
    }

    /// Writes all bytes of several slices, one after the other, as one write.
    ///
    /// asyncio: `writelines`, and `await drain()` after it.
    ///
    /// # Errors
    ///
    /// As [`write_all`](Self::write_all).
    ///
    /// ```
    /// # use ringloop::net::UnixStream;
    /// # ringloop::run(async {
    /// # let (near, far) = UnixStream::pair().unwrap();
    /// # let (_, mut writer) = ringloop::streams::split(near);
    /// # let (mut reader, _) = ringloop::streams::split(far);
    /// writer.write_all_vectored(&[b"head", b"", b"body"]).await.unwrap();
    /// assert_eq!(reader.fill_buf().await.unwrap(), b"headbody");
    /// # });
    /// ```
    #[doc(alias = "writelines")]
    pub async fn write_all_vectored(&mut self, bufs: &[&[u8]]) -> io::Result<()> {
        let mut slices: Vec<_> = bufs.iter().map(|buf| IoSlice::new(buf)).collect();
        self.write_slices(&mut slices).await
    }

    /// Takes everything, once the writer may go on.
    fn poll_write_slices(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if !current::budget_spend() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.outgoing.poll_below(cx))?;
        let len = bufs.iter().map(|buf| buf.len()).sum();
        self.outgoing.write(bufs)?;
        Poll::Ready(Ok(len))
    }

    async fn write_slices(&mut self, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut slices = Some(slices);
        poll_fn(|cx| {
            if slices.is_some() && !current::budget_spend() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match slices.take().map(|slices| self.outgoing.write(slices)) {
                Some(Ok(false)) => Poll::Ready(Ok(())),
                Some(Err(error)) => Poll::Ready(Err(error)),
                Some(Ok(true)) | None => self.outgoing.poll_below(cx),
            }
        })
        .await
    }

    /// Sends a part of a file, behind everything that was written, and says how many bytes that were: see
    /// [`TcpStream::send_file`](crate::net::TcpStream::send_file). Over TLS, and on a stream that is no socket, it is read
    /// and written.
    ///
    /// asyncio: `loop.sendfile(writer.transport, file)`.
    ///
    /// # Cancel safety
    ///
    /// A part may have been sent, and how much is not known.
    ///
    /// # Errors
    ///
    /// As [`write_all`](Self::write_all), and those of reading the file. It is not a regular file; the range ends before
    /// it starts.
    ///
    /// ```
    /// # use ringloop::{net::UnixStream, streams};
    /// # ringloop::run(async {
    /// # let (near, far) = UnixStream::pair()?;
    /// # let (_, mut writer) = streams::split(near);
    /// # let (mut reader, _writer) = streams::split(far);
    /// let status = std::fs::File::open("/proc/self/status")?;
    /// writer.write_all(b"about this process:\n").await?;
    /// writer.send_file(&status, ..).await?;
    /// writer.close().await?;
    /// let bytes = reader.read_to_end().await?;
    /// assert!(bytes.starts_with(b"about this process:\nName:"));
    /// # std::io::Result::Ok(())
    /// # }).unwrap();
    /// ```
    #[doc(alias = "sendfile")]
    pub async fn send_file(
        &mut self,
        file: impl AsFd,
        range: impl RangeBounds<u64>,
    ) -> io::Result<u64> {
        let mut file = SendFile::new(file, range)?;
        // What was written goes first.
        self.flush().await?;
        if self.outgoing.with_connection(|_| Ok(())).is_ok() {
            let polled = |cx: &mut Context<'_>, connection: &Connection| file.poll(cx, connection);
            return self.outgoing.by_connection(polled).await;
        }
        loop {
            let bytes = poll_fn(|cx| file.poll_bytes(cx)).await?;
            if bytes.is_empty() {
                return Ok(file.sent());
            }
            self.write_all(&bytes).await?;
        }
    }

    /// Waits until everything is sent: the kernel has it.
    ///
    /// # Errors
    ///
    /// As [`write_all`](Self::write_all).
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.outgoing.poll_flush(cx)).await
    }

    /// Sends everything, and then the end: the peer reads to it. Reading goes on. TLS sends its close_notify.
    ///
    /// asyncio: `write_eof`, which does not wait, and does not work with TLS.
    ///
    /// # Cancel safety
    ///
    /// Once polled, it happens.
    ///
    /// # Errors
    ///
    /// As [`write_all`](Self::write_all).
    #[doc(alias = "shutdown")]
    pub async fn write_eof(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.outgoing.poll_close(cx)).await
    }

    /// Sends everything, and then the end, and drops this end of the stream. The connection is closed when its
    /// reader is dropped, too.
    ///
    /// asyncio: `close` and `await wait_closed()`.
    ///
    /// # Cancel safety
    ///
    /// Once polled, it happens.
    ///
    /// # Errors
    ///
    /// As [`write_all`](Self::write_all): not everything was sent.
    #[doc(alias = "wait_closed")]
    pub async fn close(mut self) -> io::Result<()> {
        self.write_eof().await
    }

    /// Drops what was not sent, and resets the connection: the reader, the writer and the peer see an error.
    ///
    /// asyncio: `writer.transport.abort()`.
    pub fn abort(self) {
        self.outgoing.abort();
    }

    /// Whether it was closed or has failed.
    ///
    /// asyncio: `is_closing`.
    pub fn is_closing(&self) -> bool {
        self.outgoing.is_closing()
    }

    /// Sets how many bytes may wait to be sent: a write waits while there were more than `high`, until there are
    /// `low` or fewer. They are 64 KiB and 16 KiB if they are not set. A `low` above `high` counts as `high`.
    ///
    /// asyncio: `transport.set_write_buffer_limits`.
    pub fn set_write_buffer_limits(&mut self, high: usize, low: usize) {
        self.outgoing.set_limits(high, low);
    }

    /// How many bytes wait to be sent: the kernel has no room for them.
    ///
    /// asyncio: `transport.get_write_buffer_size`.
    pub fn write_buffer_size(&self) -> usize {
        self.outgoing.len()
    }

    /// The address of the other end.
    ///
    /// asyncio: `get_extra_info("peername")`.
    ///
    /// # Errors
    ///
    /// It is no TCP connection, or is gone.
    #[doc(alias = "get_extra_info")]
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        #[cfg(feature = "tls")]
        if let Some((peer, _)) = self.addrs {
            return Ok(peer);
        }
        self.outgoing.with_connection(|connection| connection.socket().endpoint().peer_addr())
    }

    /// The address of this end.
    ///
    /// asyncio: `get_extra_info("sockname")`.
    ///
    /// # Errors
    ///
    /// It is no TCP connection, or is gone.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        #[cfg(feature = "tls")]
        if let Some((_, local)) = self.addrs {
            return Ok(local);
        }
        self.outgoing.with_connection(|connection| connection.socket().endpoint().local_addr())
    }
}

impl<S: 'static> From<OwnedWriteHalf<S>> for StreamWriter {
    fn from(half: OwnedWriteHalf<S>) -> Self {
        Self::of(Box::new(half))
    }
}

impl AsyncWrite for StreamWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_slices(cx, &mut [IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_slices(cx, &mut bufs.to_vec())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.poll_close(cx)
    }
}

impl fmt::Debug for StreamWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamWriter")
            .field("waiting", &self.outgoing.len())
            .field("is_closing", &self.outgoing.is_closing())
            .finish()
    }
}
