//! What a stream reads into and writes from: borrowed slices, or owned buffers that come
//! back with the result.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    slice,
    task::{Context, Poll, ready},
};

use super::{Connection, as_uninit};
use crate::buf::{IoBuf, IoBufMut};

/// What [`TcpStream::read`](crate::net::TcpStream::read) reads into. Owned buffers have it by [`IoBufMut`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a buffer to read into",
    label = "neither borrowed bytes nor an owned buffer",
    note = "borrowed: `&mut [u8]`, `&mut [u8; N]`, `&mut Vec<u8>`, `&mut Box<[u8]>`; owned: `Vec<u8>`, `Box<[u8]>`, `AlignedBuf`",
    note = "for `BytesMut`: give it a length by `resize`, and read into `&mut bytes[..]`; without a copy: `read_lease()`"
)]
pub trait ReadBuffer: Sized + sealed::Read {
    /// What the read gives: an `io::Result<usize>`, with the buffer if it was owned.
    type Output;

    #[doc(hidden)]
    fn poll_read_from(
        this: &mut Option<Self>,
        connection: &Connection,
        cx: &mut Context<'_>,
    ) -> Poll<Self::Output>;
}

/// What [`TcpStream::write`](crate::net::TcpStream::write) writes from. Owned buffers have it by [`IoBuf`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a buffer to write from",
    label = "neither borrowed bytes nor an owned buffer",
    note = "borrowed: `&[u8]`, `&[u8; N]`, `&Vec<u8>`; owned: `Vec<u8>`, `Box<[u8]>`, `String`, `Lease`",
    note = "for text: `b\"hi\"` in place of `\"hi\"`, `text.as_bytes()` for a `&str`; for `Bytes`: `&bytes[..]`"
)]
pub trait WriteBuffer: Sized + sealed::Write {
    /// What the write gives: an `io::Result<usize>`, with the buffer if it was owned.
    type Output;

    #[doc(hidden)]
    fn poll_write_to(
        this: &mut Option<Self>,
        sent: &mut usize,
        connection: &Connection,
        cx: &mut Context<'_>,
    ) -> Poll<Self::Output>;
}

/// The future of [`TcpStream::read`](crate::net::TcpStream::read).
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct Read<'a, B> {
    connection: &'a Connection,
    buffer: Option<B>,
}

impl<'a, B> Read<'a, B> {
    pub(crate) fn new(connection: &'a Connection, buffer: B) -> Self {
        Self { connection, buffer: Some(buffer) }
    }
}

impl<B> Unpin for Read<'_, B> {}

impl<B: ReadBuffer> Future for Read<'_, B> {
    type Output = B::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<B::Output> {
        let Self { connection, buffer } = &mut *self;
        B::poll_read_from(buffer, connection, cx)
    }
}

/// The future of [`TcpStream::write`](crate::net::TcpStream::write).
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct Write<'a, B> {
    connection: &'a Connection,
    buffer: Option<B>,
    sent: usize,
}

impl<'a, B> Write<'a, B> {
    pub(crate) fn new(connection: &'a Connection, buffer: B) -> Self {
        Self { connection, buffer: Some(buffer), sent: 0 }
    }
}

impl<B> Unpin for Write<'_, B> {}

impl<B: WriteBuffer> Future for Write<'_, B> {
    type Output = B::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<B::Output> {
        let Self { connection, buffer, sent } = &mut *self;
        B::poll_write_to(buffer, sent, connection, cx)
    }
}

mod sealed {
    use crate::buf::{IoBuf, IoBufMut};

    pub trait Read {}
    pub trait Write {}
    impl<B: IoBufMut> Read for B {}
    impl<B: IoBuf> Write for B {}
    impl Read for &mut [u8] {}
    impl<const N: usize> Read for &mut [u8; N] {}
    impl Read for &mut Vec<u8> {}
    impl Read for &mut Box<[u8]> {}
    impl Write for &[u8] {}
    impl<const N: usize> Write for &[u8; N] {}
    impl Write for &Vec<u8> {}
}

impl<B: IoBufMut> ReadBuffer for B {
    type Output = (io::Result<usize>, B);

    fn poll_read_from(
        this: &mut Option<B>,
        connection: &Connection,
        cx: &mut Context<'_>,
    ) -> Poll<Self::Output> {
        let mut buffer = this.take().expect(POLLED);
        // SAFETY: room that is the buffer's own, by the contract of `IoBufMut`.
        let room = unsafe {
            slice::from_raw_parts_mut(
                buffer.as_mut_ptr().cast::<MaybeUninit<u8>>(),
                buffer.capacity(),
            )
        };
        match connection.poll_read(cx, room) {
            Poll::Pending => {
                *this = Some(buffer);
                Poll::Pending
            }
            Poll::Ready(result) => {
                if let Ok(len) = &result {
                    // SAFETY: recv(2) wrote so many.
                    unsafe { buffer.set_written(*len) };
                }
                Poll::Ready((result, buffer))
            }
        }
    }
}

impl<B: IoBuf> WriteBuffer for B {
    type Output = (io::Result<usize>, B);

    fn poll_write_to(
        this: &mut Option<B>,
        sent: &mut usize,
        connection: &Connection,
        cx: &mut Context<'_>,
    ) -> Poll<Self::Output> {
        let bytes = this.as_ref().expect(POLLED).as_bytes();
        let result = loop {
            if *sent == bytes.len() {
                break Ok(*sent);
            }
            match ready!(connection.poll_write(cx, &bytes[*sent..])) {
                Ok(more) => *sent += more,
                Err(error) => break Err(error),
            }
        };
        Poll::Ready((result, this.take().expect(POLLED)))
    }
}

const POLLED: &str = "a future is not polled again after it is ready";

/// Borrowed buffers behave as the traits of `futures_io` have it.
macro_rules! borrowed {
    ([$($generics:tt)*] read $buffer:ty) => {
        impl<$($generics)*> ReadBuffer for $buffer {
            type Output = io::Result<usize>;

            fn poll_read_from(
                this: &mut Option<Self>,
                connection: &Connection,
                cx: &mut Context<'_>,
            ) -> Poll<Self::Output> {
                connection.poll_read(cx, as_uninit(&mut this.as_mut().expect(POLLED)[..]))
            }
        }
    };
    ([$($generics:tt)*] write $buffer:ty) => {
        impl<$($generics)*> WriteBuffer for $buffer {
            type Output = io::Result<usize>;

            fn poll_write_to(
                this: &mut Option<Self>,
                _sent: &mut usize,
                connection: &Connection,
                cx: &mut Context<'_>,
            ) -> Poll<Self::Output> {
                connection.poll_write(cx, &this.as_ref().expect(POLLED)[..])
            }
        }
    };
}

borrowed!([] read &mut [u8]);
borrowed!([const N: usize] read &mut [u8; N]);
borrowed!([] read &mut Vec<u8>);
borrowed!([] read &mut Box<[u8]>);
borrowed!([] write &[u8]);
borrowed!([const N: usize] write &[u8; N]);
borrowed!([] write &Vec<u8>);
