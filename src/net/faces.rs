//! What sockets of several kinds have in common: the methods of streams and their halves, of which `TcpStream` has its own,
//! with examples; and the way out.

use std::{io, os::fd::OwnedFd};

use rustix::io::ioctl_fionbio;

/// A socket of the standard library.
pub(super) fn in_blocking_mode<S: From<OwnedFd>>(socket: OwnedFd) -> io::Result<S> {
    ioctl_fionbio(&socket, false)?;
    Ok(socket.into())
}

/// The methods of a type that reads, by its method `connection`.
macro_rules! read_methods {
    ($type:ty $(where $generic:ident)?) => {
        impl$(<$generic>)? $type {
            /// Waits until a read would not have to wait: there are bytes, or the end, or an error. See
            /// [`TcpStream::readable`](crate::net::TcpStream::readable).
            ///
            /// # Cancel safety
            ///
            /// Nothing is lost.
            ///
            /// # Errors
            ///
            /// The thread belongs to no runtime.
            pub async fn readable(&self) -> ::std::io::Result<()> {
                self.connection().readable().await
            }

            /// Reads what is there, without waiting; 0 is the end. See
            /// [`TcpStream::try_read`](crate::net::TcpStream::try_read).
            ///
            /// # Errors
            ///
            /// [`WouldBlock`](std::io::ErrorKind::WouldBlock) if nothing is there.
            pub fn try_read(&self, buf: &mut [u8]) -> ::std::io::Result<usize> {
                self.connection().try_read(buf)
            }

            /// Waits for bytes, and copies the first of them without taking them. See
            /// [`TcpStream::peek`](crate::net::TcpStream::peek).
            ///
            /// # Cancel safety
            ///
            /// Nothing is lost.
            ///
            /// # Errors
            ///
            /// Those of recv(2).
            pub async fn peek(&self, buf: &mut [u8]) -> ::std::io::Result<usize> {
                self.connection().peek(buf).await
            }

            /// Reads what is there into a borrowed or an owned buffer; 0 is the end. See
            /// [`TcpStream::read`](crate::net::TcpStream::read).
            ///
            /// # Cancel safety
            ///
            /// No byte is lost; an owned buffer is.
            ///
            /// # Errors
            ///
            /// Those of recv(2).
            pub fn read<B: $crate::io::ReadBuffer>(&mut self, buffer: B) -> $crate::io::Read<'_, B> {
                $crate::io::Read::new(self.connection(), buffer)
            }

            /// Waits for bytes, and gives them on loan; an empty lease is the end. See
            /// [`TcpStream::read_lease`](crate::net::TcpStream::read_lease). On a Unix socket nothing is
            /// received before it is asked for.
            ///
            /// # Cancel safety
            ///
            /// Nothing is lost.
            ///
            /// # Errors
            ///
            /// Those of recv(2), after the bytes that came before.
            pub async fn read_lease(&mut self) -> ::std::io::Result<$crate::io::Lease> {
                self.connection().read_lease().await
            }
        }
    };
}

/// The same for one that writes.
macro_rules! write_methods {
    ($type:ty $(where $generic:ident)?) => {
        impl$(<$generic>)? $type {
            /// Waits until a write would not have to wait: there is room, or an error. See
            /// [`TcpStream::writable`](crate::net::TcpStream::writable).
            ///
            /// # Cancel safety
            ///
            /// Nothing is lost.
            ///
            /// # Errors
            ///
            /// The thread belongs to no runtime.
            pub async fn writable(&self) -> ::std::io::Result<()> {
                self.connection().writable().await
            }

            /// Writes what fits, without waiting. See
            /// [`TcpStream::try_write`](crate::net::TcpStream::try_write).
            ///
            /// # Errors
            ///
            /// [`WouldBlock`](std::io::ErrorKind::WouldBlock) if nothing fits.
            pub fn try_write(&self, buf: &[u8]) -> ::std::io::Result<usize> {
                self.connection().try_write(buf)
            }

            /// Writes from a borrowed or an owned buffer. See
            /// [`TcpStream::write`](crate::net::TcpStream::write).
            ///
            /// # Cancel safety
            ///
            /// A write of a borrowed buffer that is dropped has sent nothing. One of an owned buffer
            /// may have sent a part.
            ///
            /// # Errors
            ///
            /// Those of send(2).
            pub fn write<B: $crate::io::WriteBuffer>(
                &mut self,
                buffer: B,
            ) -> $crate::io::Write<'_, B> {
                $crate::io::Write::new(self.connection(), buffer)
            }

            /// Sends leased bytes, all of them, without a copy. See
            /// [`TcpStream::write_lease`](crate::net::TcpStream::write_lease).
            ///
            /// # Cancel safety
            ///
            /// A part of the bytes may have been sent.
            ///
            /// # Errors
            ///
            /// Those of send(2), also of an earlier write whose error was not reported yet.
            pub async fn write_lease(&mut self, lease: $crate::io::Lease) -> ::std::io::Result<()> {
                self.connection().write_lease(lease).await
            }

            /// Sends a part of a file, and says how many bytes that were. See
            /// [`TcpStream::send_file`](crate::net::TcpStream::send_file).
            ///
            /// # Cancel safety
            ///
            /// A part may have been sent, and how much is not known.
            ///
            /// # Errors
            ///
            /// Those of send(2), and of reading the file. It is not a regular file; the range ends before it
            /// starts.
            #[doc(alias = "sendfile")]
            pub async fn send_file(
                &mut self,
                file: impl ::std::os::fd::AsFd,
                range: impl ::std::ops::RangeBounds<u64>,
            ) -> ::std::io::Result<u64> {
                self.connection().send_file(file, range).await
            }
        }
    };
}

pub(super) use {read_methods, write_methods};
