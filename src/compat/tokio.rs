//! tokio's I/O traits for TCP, Unix and TLS streams and their halves, for pipes, those of children too, for files, for
//! streams in memory, and for the standard streams (feature `tokio`, which takes no more of tokio than its traits).
//! With the feature `tokio-bridge`, also the way to libraries that need tokio's runtime.
//!
//! # The bridge
//!
//! A library that calls `tokio::spawn`, sleeps by `tokio::time` or opens sockets by `tokio::net` asks its thread for tokio's
//! runtime, and panics where there is none. [`Builder::tokio_bridge`](crate::Builder::tokio_bridge) has every thread of a
//! runtime enter one; [`bridge()`] does so for one future. Both take the runtime of the process,
//! [`handle`], which starts when it is first needed. [`guide::tokio`](crate::guide::tokio) says what it costs, and what
//! does not carry over.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use ::tokio::io::{AsyncRead, AsyncSeek, AsyncWrite, ReadBuf};

#[cfg(feature = "tokio-bridge")]
pub use self::bridge::{Bridged, bridge, handle, metrics};
#[cfg(feature = "tokio-bridge")]
pub use crate::runtime::TokioMetrics;
use crate::{
    fs::File,
    io::{
        Connection, DuplexStream, PipeReader, PipeWriter, SimplexReader, SimplexWriter, Stderr,
        Stdin, Stdout,
    },
    net::{OwnedReadHalf, OwnedWriteHalf, TcpStream, UnixStream},
    process::{ChildStderr, ChildStdin, ChildStdout},
};

#[cfg(feature = "tokio-bridge")]
mod bridge;

fn poll_read(
    connection: &Connection,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    // SAFETY: bytes that were initialised must stay so: `poll_read` writes what
    // it read into the slice's front and touches nothing else.
    let unfilled = unsafe { buf.unfilled_mut() };
    let n = ready!(connection.poll_read(cx, unfilled))?;
    // SAFETY: `poll_read` has initialised the first `n` bytes.
    unsafe { buf.assume_init(n) };
    buf.advance(n);
    Poll::Ready(Ok(()))
}

macro_rules! reads {
    ($($type:ty $(where $generic:ident)?),*) => { $(
        impl$(<$generic>)? AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                poll_read(self.connection(), cx, buf)
            }
        }
    )* };
}

reads!(TcpStream, UnixStream, OwnedReadHalf<S> where S, PipeReader, ChildStdout, ChildStderr);

/// By the type's own traits, which are those of `futures_io`.
macro_rules! writes {
    ($($type:ty $(where $generic:ident $(: $bound:path)*)?),*) => { $(
        impl$(<$generic>)? AsyncWrite for $type
        $(where $generic: Sized $(+ $bound)*)?
        {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                futures_io::AsyncWrite::poll_write(self, cx, buf)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                futures_io::AsyncWrite::poll_write_vectored(self, cx, bufs)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                futures_io::AsyncWrite::poll_flush(self, cx)
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                futures_io::AsyncWrite::poll_close(self, cx)
            }
        }
    )* };
}

writes!(
    TcpStream, UnixStream, OwnedWriteHalf<S> where S, PipeWriter, ChildStdin,
    DuplexStream, SimplexWriter, Stdout, Stderr
);

/// Reads by the type's own traits, for one that reads into initialised memory only.
macro_rules! reads_initialised {
    ($($type:ty),*) => { $(
        impl AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                let n = ready!(futures_io::AsyncRead::poll_read(
                    self,
                    cx,
                    buf.initialize_unfilled()
                ))?;
                buf.advance(n);
                Poll::Ready(Ok(()))
            }
        }
    )* };
}

reads_initialised!(DuplexStream, File, SimplexReader, Stdin);

impl AsyncWrite for File {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        futures_io::AsyncWrite::poll_write(self, cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        futures_io::AsyncWrite::poll_flush(self, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        futures_io::AsyncWrite::poll_close(self, cx)
    }
}

/// Where a seek goes that was begun is kept by the file.
impl AsyncSeek for File {
    fn start_seek(mut self: Pin<&mut Self>, to: io::SeekFrom) -> io::Result<()> {
        self.begin_seek(to);
        Ok(())
    }

    fn poll_complete(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        self.poll_seek_begun(cx)
    }
}

#[cfg(feature = "tls")]
mod tls {
    use super::*;
    use crate::tls::{TlsReadHalf, TlsStream, TlsWriteHalf};

    /// A session has plaintext in memory of its own: it is copied once.
    macro_rules! reads {
        ($($type:ident),*) => { $(
            impl<S> AsyncRead for $type<S>
            where
                S: futures_io::AsyncRead + futures_io::AsyncWrite + Unpin,
            {
                fn poll_read(
                    mut self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                    buf: &mut ReadBuf<'_>,
                ) -> Poll<io::Result<()>> {
                    if buf.remaining() == 0 {
                        return Poll::Ready(Ok(()));
                    }
                    let room = buf.remaining();
                    ready!(self.poll_read_with(cx, room, |bytes| {
                        let n = bytes.len().min(buf.remaining());
                        buf.put_slice(&bytes[..n]);
                        n
                    }))?;
                    Poll::Ready(Ok(()))
                }
            }
        )* };
    }

    reads!(TlsStream, TlsReadHalf);
    writes!(
        TlsStream<S> where S: futures_io::AsyncRead: futures_io::AsyncWrite: Unpin,
        TlsWriteHalf<S> where S: futures_io::AsyncRead: futures_io::AsyncWrite: Unpin
    );
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, mem::MaybeUninit};

    use super::*;
    use crate::compat::tests::pair;

    /// Reads until the end, at most 16 bytes.
    async fn read_all(reader: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
        let mut memory = [MaybeUninit::uninit(); 16];
        let mut buf = ReadBuf::uninit(&mut memory);
        loop {
            let before = buf.filled().len();
            poll_fn(|cx| Pin::new(&mut *reader).poll_read(cx, &mut buf)).await.unwrap();
            if buf.filled().len() == before {
                return buf.filled().to_vec();
            }
        }
    }

    /// Goal: a read appends to what the buffer has and leaves every other byte alone.
    #[test]
    fn read_into_a_buffer_touches_only_what_it_read() {
        crate::run(async {
            let (mut a, mut b) = pair().await;
            poll_fn(|cx| AsyncWrite::poll_write(Pin::new(&mut a), cx, b"bcd")).await.unwrap();

            let mut memory = *b"------";
            let mut buf = ReadBuf::new(&mut memory);
            buf.put_slice(b"a");
            poll_fn(|cx| AsyncRead::poll_read(Pin::new(&mut b), cx, &mut buf)).await.unwrap();
            assert_eq!(buf.filled(), b"abcd");
            assert_eq!(&memory, b"abcd--");
        });
    }

    /// Goal: no method of the stream hides the one of tokio's extension.
    #[test]
    fn shutdown_is_that_of_tokio() {
        use ::tokio::io::AsyncWriteExt as _;
        crate::run(async {
            let (mut a, mut b) = pair().await;
            a.write_all(b"last").await.unwrap();
            a.shutdown().await.unwrap();
            assert_eq!(read_all(&mut b).await, b"last");
            let (mut a, mut b) = crate::net::UnixStream::pair().unwrap();
            a.write_all(b"last").await.unwrap();
            a.shutdown().await.unwrap();
            assert_eq!(read_all(&mut b).await, b"last");
        });
    }

    /// Goal: a stream in memory serves code that is written for tokio.
    #[test]
    fn streams_in_memory_work_with_the_extensions_of_tokio() {
        use ::tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        crate::run(async {
            let (mut near, mut far) = crate::io::duplex(4);
            let writing = crate::spawn(async move {
                near.write_all(b"more than four").await?;
                near.shutdown().await?;
                let mut answer = Vec::new();
                near.read_to_end(&mut answer).await?;
                Ok::<_, io::Error>(answer)
            });
            let mut text = b"got ".to_vec();
            far.read_to_end(&mut text).await.unwrap();
            far.write_all(&text).await.unwrap();
            drop(far);
            assert_eq!(writing.await.unwrap().unwrap(), b"got more than four");
        });
    }

    /// Goal: the halves are the stream's directions: ending one leaves the other open.
    #[test]
    fn halves_end_one_by_one() {
        crate::run(async {
            let (a, mut b) = pair().await;
            let (mut reader, mut writer) = a.into_split();
            assert!(AsyncWrite::is_write_vectored(&writer));
            let slices = [IoSlice::new(b"one "), IoSlice::new(b"two")];
            let wrote =
                poll_fn(|cx| AsyncWrite::poll_write_vectored(Pin::new(&mut writer), cx, &slices));
            assert_eq!(wrote.await.unwrap(), 7);
            poll_fn(|cx| AsyncWrite::poll_shutdown(Pin::new(&mut writer), cx)).await.unwrap();
            assert_eq!(read_all(&mut b).await, b"one two");

            poll_fn(|cx| AsyncWrite::poll_write(Pin::new(&mut b), cx, b"back")).await.unwrap();
            poll_fn(|cx| AsyncWrite::poll_shutdown(Pin::new(&mut b), cx)).await.unwrap();
            assert_eq!(read_all(&mut reader).await, b"back");
        });
    }
}
