//! The stream: a session, and the stream below it.

use std::{
    fmt,
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_io::{AsyncRead, AsyncWrite};
use rustls::{CipherSuite, HandshakeKind, ProtocolVersion, pki_types::CertificateDer};

use super::{
    errors,
    halves::{self, TlsReadHalf, TlsWriteHalf},
    session::Session,
};
use crate::time;

/// A TLS session over a stream, the client's side of it or the server's: what
/// [`TlsConnector::connect`](super::TlsConnector::connect) and
/// [`TlsAcceptor::accept`](super::TlsAcceptor::accept) return.
///
/// It is read and written by [`AsyncReadExt`](crate::io::AsyncReadExt) and
/// [`AsyncWriteExt`](crate::io::AsyncWriteExt), as the stream below is.
///
/// # Writing
///
/// A write encrypts its bytes and hands the stream below as much as that takes at once. What is left,
/// 64 KiB at most, goes with the next write, read, flush or close. So flush or close before you drop
/// the stream, or wait for something else for long.
///
/// # Ends
///
/// A read gives 0 only after the peer's close_notify. A stream that ends without it fails with
/// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof): somebody on the way may have cut it short.
///
/// * [`close`](Self::close) sends close_notify, waits for the peer's, and has a time limit.
/// * [`AsyncWrite::poll_close`] ends the write side only, as
///   [`AsyncWriteExt::close`](crate::io::AsyncWriteExt::close) of a half, tokio's `shutdown` and hyper do:
///   the peer may still send. The time to send what is left is limited in the same way.
/// * A drop sends no close_notify, so that a task that fails in the middle does not look like one that
///   has sent everything.
///
/// # Two tasks
///
/// One may read while another writes: [`into_split`](Self::into_split), or `split` of the `futures`
/// crates.
///
/// asyncio: the pair of `open_connection(.., ssl=context)`. There `StreamReader.read` takes an end
/// without close_notify for a clean one.
///
/// # Cancel safety
///
/// A read that is dropped has taken no byte, a write that is dropped before it returned has sent
/// none. (`read_exact` and `write_all` are made of several, and lose count.)
pub struct TlsStream<S> {
    io: S,
    session: Box<Session>,
}

impl<S> TlsStream<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// Runs the handshake. Dropped before its end, it closes the stream below.
    pub(super) async fn handshake(io: S, session: Session, limit: Duration) -> io::Result<Self> {
        let mut stream = Self { io, session: Box::new(session) };
        let shake = poll_fn(|cx| stream.session.poll_handshake(&mut stream.io, cx));
        match time::timeout(limit, shake).await {
            Ok(Ok(())) => Ok(stream),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(errors::handshake_timeout(stream.session.side(), limit)),
        }
    }

    /// Sends what was written and close_notify, ends the write side, and waits until the peer has
    /// sent its own close_notify or has ended the stream below. Bytes that come meanwhile are thrown
    /// away.
    ///
    /// All of it may take as long as the shutdown timeout of the connector or acceptor, 30 s if
    /// nothing else was set.
    ///
    /// asyncio: `writer.close()` and `await writer.wait_closed()`, with `ssl_shutdown_timeout`.
    ///
    /// # Cancel safety
    ///
    /// Call it again to go on. The time limit counts from the first call.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](io::ErrorKind::TimedOut) when the limit has passed: its text says whether it is
    /// the peer's close_notify that is missing, or bytes of ours that the peer did not take. And the
    /// errors of the stream below.
    ///
    /// # Panics
    ///
    /// When it has to wait outside a runtime.
    pub async fn close(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.session.poll_close_both(&mut self.io, cx)).await
    }

    /// Splits it into a half that reads and one that writes, for two tasks.
    ///
    /// asyncio: the `StreamReader` and the `StreamWriter` of one connection.
    ///
    /// ```
    /// # use ringloop::{io::{AsyncReadExt, AsyncWrite, AsyncRead, AsyncWriteExt}, tls::TlsStream};
    /// # use std::io;
    /// async fn talk<S>(stream: TlsStream<S>) -> io::Result<String>
    /// where
    ///     S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    /// {
    ///     let (mut reader, mut writer) = stream.into_split();
    ///     let writing = ringloop::spawn(async move {
    ///         writer.write_all(b"a long story").await?;
    ///         writer.close().await // the peer sees the end, and may still answer
    ///     });
    ///     let mut answer = String::new();
    ///     reader.read_to_string(&mut answer).await?;
    ///     writing.await??;
    ///     Ok(answer)
    /// }
    /// ```
    pub fn into_split(self) -> (TlsReadHalf<S>, TlsWriteHalf<S>) {
        halves::split(self)
    }

    /// Waits for plaintext, and gives it to `take`, which returns how much it has used, and is called again
    /// if that was all. 0 is the end.
    pub(crate) fn poll_read_with(
        &mut self,
        cx: &mut Context<'_>,
        room: usize,
        take: impl FnMut(&[u8]) -> usize,
    ) -> Poll<io::Result<usize>> {
        self.session.poll_read(&mut self.io, cx, room, take)
    }

    pub(crate) fn poll_write_slices(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.session.poll_write(&mut self.io, cx, bufs)
    }
}

impl<S> TlsStream<S> {
    /// The stream below.
    pub fn get_ref(&self) -> &S {
        &self.io
    }

    /// The stream below, to set its options. Bytes that are read from it or written to it directly are
    /// missing in the session, which then fails.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.io
    }

    /// Takes the stream below out. The session's keys and what it has buffered are dropped: close
    /// first.
    pub fn into_inner(self) -> S {
        self.io
    }

    /// The protocol that both sides have chosen by ALPN, `b"h2"` for example.
    ///
    /// asyncio: `ssl_object.selected_alpn_protocol()`.
    pub fn alpn_protocol(&self) -> Option<&[u8]> {
        self.session.common().alpn_protocol()
    }

    /// The peer's certificates, its own first, in DER. `None` if it gave none, as most clients.
    ///
    /// asyncio: `ssl_object.getpeercert(binary_form=True)`, which is the first of them.
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.session.common().peer_certificates()
    }

    /// The server's name: the one that the client asked for. On the server's side it is `None` if the
    /// client has not named one, as those that connect by address.
    ///
    /// asyncio: `ssl_object.server_hostname`, and `SSLContext.sni_callback` on the server's side.
    pub fn server_name(&self) -> Option<&str> {
        self.session.name()
    }

    /// The version of TLS.
    ///
    /// asyncio: `ssl_object.version()`.
    pub fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.session.common().protocol_version()
    }

    /// The cipher suite.
    ///
    /// asyncio: `ssl_object.cipher()`.
    pub fn cipher_suite(&self) -> Option<CipherSuite> {
        self.session.common().negotiated_cipher_suite().map(|suite| suite.suite())
    }

    /// Whether the handshake continued an earlier session, which costs less.
    ///
    /// asyncio: `ssl_object.session_reused`.
    pub fn is_resumed(&self) -> bool {
        self.session.common().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Has both sides change their keys (TLS 1.3). The request goes with the next write or flush.
    ///
    /// rustls does so by itself before keys wear out. Use it before a connection is idle for long.
    ///
    /// asyncio: nothing alike.
    ///
    /// # Errors
    ///
    /// The session is one of TLS 1.2, or has failed.
    pub fn refresh_traffic_keys(&mut self) -> io::Result<()> {
        self.session.refresh_traffic_keys()
    }
}

impl<S> AsyncRead for TlsStream<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.poll_read_with(cx, buf.len(), filling(buf))
    }
}

impl<S> AsyncWrite for TlsStream<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_slices(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.session.poll_flush(&mut this.io, cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.session.poll_close(&mut this.io, cx)
    }
}

/// Copies what still fits, and says how much.
pub(super) fn filling(buf: &mut [u8]) -> impl FnMut(&[u8]) -> usize {
    let mut filled = 0;
    move |bytes| {
        let n = bytes.len().min(buf.len() - filled);
        buf[filled..filled + n].copy_from_slice(&bytes[..n]);
        filled += n;
        n
    }
}

impl<S: fmt::Debug> fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("io", &self.io)
            .field("server_name", &self.server_name())
            .field("protocol_version", &self.protocol_version())
            .finish_non_exhaustive()
    }
}
