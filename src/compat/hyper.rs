//! hyper 1.x on ringloop (feature `hyper`): its I/O traits on
//! [`TcpStream`], [`UnixStream`] and, with the feature `tls`, TLS streams; its executor and its timer; and [`gather_writes`], for servers whose clients
//! pipeline requests.
//!
//! With the feature `hyper-util` there is the accept loop, `serve`, for services of hyper's and of tower's; with
//! `hyper-client` there are connections for hyper-util's client. By hand a server looks like this:
//!
//! ```
//! use std::{convert::Infallible, future::ready};
//!
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
//! use ringloop::{
//!     compat::hyper::HyperTimer,
//!     io::{AsyncReadExt, AsyncWriteExt},
//!     net::{TcpListener, TcpStream},
//! };
//!
//! ringloop::run(async {
//!     let listener = TcpListener::bind("127.0.0.1:0").await?;
//!     let addr = listener.local_addr()?;
//!     ringloop::spawn(async move {
//!         let (stream, _) = listener.accept().await.unwrap();
//!         let greet = service_fn(|_: Request<Incoming>| {
//!             ready(Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("hello")))))
//!         });
//!         http1::Builder::new().timer(HyperTimer).serve_connection(stream, greet).await
//!     }).detach();
//!
//!     let mut client = TcpStream::connect(addr).await?;
//!     client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
//!     let mut response = String::new();
//!     client.read_to_string(&mut response).await?;
//!     assert!(response.starts_with("HTTP/1.1 200 OK") && response.ends_with("hello"));
//!     Ok::<_, std::io::Error>(())
//! })
//! # .unwrap();
//! ```

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use ::hyper::rt::{Executor, Read, ReadBufCursor, Sleep, Timer, Write};

#[cfg(feature = "hyper-client")]
pub use self::client::{HyperConnector, HyperStream, client, client_builder, client_builder_in};
#[cfg(feature = "hyper-util")]
pub use self::serve::{HttpBuilder, HttpServer, serve, serve_tower};
pub use self::{
    body::{BodyGuard, GuardedBody, guarded},
    futures_io::FuturesIo,
    gather::{GatherWrites, Gathered, gather_writes},
    group::GroupExecutor,
};
use crate::{
    net::{TcpStream, UnixStream},
    runtime, time,
    util::clock,
};

mod body;
#[cfg(feature = "hyper-client")]
mod client;
mod futures_io;
mod gather;
mod group;
#[cfg(feature = "hyper-util")]
mod serve;
#[cfg(feature = "tls")]
mod tls;

macro_rules! traits {
    ($($type:ty),*) => { $(
        impl Read for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                mut buf: ReadBufCursor<'_>,
            ) -> Poll<io::Result<()>> {
                // SAFETY: bytes that were initialised must stay so: `poll_read` writes
                // what it read into the slice's front and touches nothing else.
                let unfilled = unsafe { buf.as_mut() };
                let n = ready!(self.connection().poll_read(cx, unfilled))?;
                // SAFETY: `poll_read` has initialised the first `n` bytes.
                unsafe { buf.advance(n) };
                Poll::Ready(Ok(()))
            }
        }

        impl Write for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                self.connection().poll_write(cx, buf)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.connection().poll_write_slices(cx, bufs)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.connection().poll_flush(cx)
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.connection().poll_shutdown_write(cx)
            }
        }
    )* };
}

traits!(TcpStream, UnixStream);
#[cfg(feature = "hyper-util")]
traits!(serve::ServerIo);

/// Spawns what hyper wants to run beside a connection (HTTP/2 needs one) as tasks of
/// the current runtime.
///
/// # Panics
///
/// [`execute`](Executor::execute) panics outside a runtime, as [`spawn`](crate::spawn) does.
///
/// # Examples
///
/// ```
/// use hyper::rt::Executor;
/// use ringloop::compat::hyper::HyperExecutor;
///
/// ringloop::run(async {
///     HyperExecutor.execute(async { println!("a task of its own") });
/// });
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct HyperExecutor;

impl<F> Executor<F> for HyperExecutor
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    #[track_caller]
    fn execute(&self, future: F) {
        drop(runtime::spawn(future));
    }
}

/// hyper's timeouts on ringloop's timers and clock.
///
/// A timer is armed when it is first polled, on the worker that polls it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use hyper::{rt::Timer, server::conn::http1};
/// use ringloop::compat::hyper::HyperTimer;
///
/// let mut http = http1::Builder::new();
/// http.timer(HyperTimer).header_read_timeout(Duration::from_secs(5));
///
/// ringloop::run(async {
///     let begun = HyperTimer.now();
///     HyperTimer.sleep(Duration::from_millis(5)).await;
///     assert!(HyperTimer.now() - begun >= Duration::from_millis(5));
/// });
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct HyperTimer;

impl Timer for HyperTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(HyperSleep(time::sleep(duration)))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(HyperSleep(time::sleep_until(deadline.into())))
    }

    fn now(&self) -> Instant {
        // hyper adds a duration and gives the sum back: no conversion to our scale is needed.
        clock::now_std()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, new_deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<HyperSleep>() {
            // Most often to a later time: one store.
            Some(own) => own.get_mut().0.reset(new_deadline.into()),
            None => *sleep = self.sleep_until(new_deadline),
        }
    }
}

/// [`time::Sleep`] under hyper's trait, of which the timers need not know.
struct HyperSleep(time::Sleep);

impl Future for HyperSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl Sleep for HyperSleep {}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, mem::MaybeUninit};

    use ::hyper::rt::ReadBuf;

    use super::*;
    use crate::compat::tests::pair;

    /// Goal: a read fills the cursor's front and leaves every other byte alone.
    #[test]
    fn read_into_a_cursor_touches_only_what_it_read() {
        crate::run(async {
            let (mut a, mut b) = pair().await;
            let wrote = poll_fn(|cx| Pin::new(&mut a).poll_write(cx, b"bcd")).await.unwrap();
            assert_eq!(wrote, 3);

            let mut memory = [MaybeUninit::new(b'-'); 6];
            let mut buf = ReadBuf::uninit(&mut memory);
            buf.unfilled().put_slice(b"a");
            poll_fn(|cx| Pin::new(&mut b).poll_read(cx, buf.unfilled())).await.unwrap();
            assert_eq!(buf.filled(), b"abcd");
            // SAFETY: every byte was initialised above.
            let rest = memory[4..].iter().map(|byte| unsafe { byte.assume_init() });
            assert_eq!(rest.collect::<Vec<_>>(), b"--");
        });
    }

    /// Goal: slices go out together, and a shutdown ends the peer's reading.
    #[test]
    fn vectored_write_and_shutdown_reach_the_peer() {
        crate::run(async {
            let (mut a, mut b) = pair().await;
            assert!(Write::is_write_vectored(&a));
            let slices = [IoSlice::new(b"one "), IoSlice::new(b""), IoSlice::new(b"two")];
            let wrote = poll_fn(|cx| Pin::new(&mut a).poll_write_vectored(cx, &slices)).await;
            assert_eq!(wrote.unwrap(), 7);
            poll_fn(|cx| Write::poll_flush(Pin::new(&mut a), cx)).await.unwrap();
            poll_fn(|cx| Write::poll_shutdown(Pin::new(&mut a), cx)).await.unwrap();
            let mut text = String::new();
            futures_util::AsyncReadExt::read_to_string(&mut b, &mut text).await.unwrap();
            assert_eq!(text, "one two");
        });
    }

    /// Goal: a reset moves the deadline both ways, also of a sleep that is not ours.
    #[test]
    fn reset_moves_the_deadline() {
        struct Foreign;
        impl Future for Foreign {
            type Output = ();
            fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
                Poll::Pending
            }
        }
        impl Sleep for Foreign {}

        crate::run(async {
            let far = HyperTimer.sleep(Duration::from_secs(3600));
            let foreign: Pin<Box<dyn Sleep>> = Box::pin(Foreign);
            for mut sleep in [far, foreign] {
                let polled = poll_fn(|cx| Poll::Ready(sleep.as_mut().poll(cx))).await;
                assert!(polled.is_pending());
                let deadline = HyperTimer.now() + Duration::from_millis(2);
                HyperTimer.reset(&mut sleep, deadline);
                sleep.await;
                assert!(HyperTimer.now() >= deadline);
            }
        });
    }
}
