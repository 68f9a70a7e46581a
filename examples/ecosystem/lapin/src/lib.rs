//! lapin on ringloop: the traits of `async-rs`, by which lapin takes any runtime.
//!
//! lapin has a thread of its own for each connection, which polls the connection by hand. A socket of ringloop's is polled on
//! workers only, so that the thread has one end of a stream in memory, and a task copies between the other end and the
//! socket.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    panic::resume_unwind,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker, ready},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use async_rs::{
    Runtime,
    traits::{Executor, Reactor, RuntimeKit},
    util::{Task, TaskImpl},
};
use async_trait::async_trait;
use futures_core::Stream;
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::stream;
use ringloop::{
    Handle,
    io::{DuplexStream, copy_bidirectional, duplex},
    net::TcpStream,
    time, to_thread,
};

/// How much is in memory between the socket and lapin, in bytes, in each direction.
const BETWEEN: usize = 64 * 1024;

/// What [`lapin::Connection::connect_with_runtime`] takes, for the runtime of this thread.
///
/// # Panics
///
/// On a thread that belongs to no runtime.
pub fn runtime() -> Runtime<Ringloop> {
    Runtime::new(Ringloop { handle: Handle::current() })
}

/// A runtime of ringloop's under the traits of `async-rs`, for any thread.
#[derive(Clone, Debug)]
pub struct Ringloop {
    handle: Handle,
}

impl RuntimeKit for Ringloop {}

impl Executor for Ringloop {
    type Task<T: Send + 'static> = Running<T>;

    /// Polls on this thread, which waits: no place for a worker.
    fn block_on<T, F: Future<Output = T>>(&self, future: F) -> T {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut future = pin!(future);
        loop {
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(value) => return value,
                Poll::Pending => thread::park(),
            }
        }
    }

    fn spawn<T, F>(&self, future: F) -> Task<Running<T>>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        Running(Some(self.handle.spawn(future))).into()
    }

    fn spawn_blocking<T, F>(&self, f: F) -> Task<Running<T>>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        self.spawn(async { Running(Some(to_thread(f))).await })
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A task under the trait of `async-rs`. A panic goes on where it is awaited. One that is cancelled, as the runtime ends, never has
/// a value: what awaits it ends with the runtime, too.
#[derive(Debug)]
pub struct Running<T>(Option<ringloop::Task<T>>);

#[async_trait]
impl<T: Send + 'static> TaskImpl for Running<T> {
    async fn cancel(&mut self) -> Option<T> {
        let task = self.0.take()?;
        task.cancel();
        task.await.ok()
    }

    fn detach(&mut self) {
        if let Some(task) = self.0.take() {
            task.detach();
        }
    }
}

impl<T: Send + 'static> Future for Running<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let task = self.0.as_mut().expect("neither cancelled nor detached");
        match ready!(Pin::new(task).poll(cx)) {
            Ok(value) => Poll::Ready(value),
            Err(error) => match error.try_into_panic() {
                Ok(payload) => resume_unwind(payload),
                Err(_) => Poll::Pending,
            },
        }
    }
}

impl Reactor for Ringloop {
    type TcpStream = DuplexStream;
    type Sleep = Task<Running<()>>;

    /// lapin does not call it. (The trait of a socket with a descriptor is private to `async-rs`, so that no runtime of others
    /// could do anything here.)
    fn register<H: Read + Write + Send + 'static>(
        &self,
        _socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<DuplexStream, _>(io::ErrorKind::Unsupported.into())
    }

    /// It is a task, as any thread may poll it.
    fn sleep(&self, time: Duration) -> Self::Sleep {
        self.spawn(time::sleep(time))
    }

    fn interval(&self, time: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        let kit = self.clone();
        stream::unfold(true, move |first| {
            let kit = kit.clone();
            async move {
                if !first {
                    kit.sleep(time).await;
                }
                Some((Instant::now(), false))
            }
        })
    }

    fn tcp_connect_addr(
        &self,
        addr: SocketAddr,
    ) -> impl Future<Output = io::Result<DuplexStream>> + Send + 'static {
        let connecting = self.handle.spawn(async move {
            let mut socket = TcpStream::connect(addr).await?;
            socket.set_nodelay(true)?;
            let (near, mut far) = duplex(BETWEEN);
            // An error of the socket ends the stream, as lapin sees it.
            ringloop::spawn(async move {
                let _ = copy_bidirectional(&mut socket, &mut far).await;
            })
            .detach();
            Ok(near)
        });
        async { connecting.await.unwrap_or_else(|error| Err(io::Error::other(error))) }
    }
}
