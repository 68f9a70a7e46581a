//! The traits of `futures_io` on a stream that has hyper's: one that was upgraded.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use ::hyper::rt::{Read, ReadBuf, Write};
use futures_io::{AsyncRead, AsyncWrite};

/// A stream that has hyper's traits, with those of [`io`](crate::io): for hyper's `Upgraded`, which is what a connection
/// becomes by `CONNECT` or by `Upgrade: websocket`.
///
/// # Examples
///
/// ```
/// use std::pin::Pin;
/// use hyper::upgrade::Upgraded;
/// use ringloop::{compat::hyper::FuturesIo, io::{AsyncReadExt, AsyncWriteExt}};
///
/// async fn shout(upgraded: Upgraded) -> std::io::Result<()> {
///     let mut stream = FuturesIo(upgraded);
///     let mut buf = [0; 512];
///     let n = stream.read(&mut buf).await?;
///     buf[..n].make_ascii_uppercase();
///     stream.write_all(&buf[..n]).await?;
///     stream.close().await
/// }
/// ```
#[derive(Debug)]
pub struct FuturesIo<T>(pub T);

impl<T: Read + Unpin> AsyncRead for FuturesIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(Pin::new(&mut self.0).poll_read(cx, buf.unfilled()))?;
        Poll::Ready(Ok(buf.filled().len()))
    }
}

impl<T: Write + Unpin> AsyncWrite for FuturesIo<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
