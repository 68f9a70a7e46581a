//! Fixed workloads whose instructions are counted from outside: `ringloop-benches count` runs this
//! program under callgrind, twice with different numbers of operations, and takes the difference.
//!
//! `counted PEER WORKLOAD OPERATIONS`
//!
//! It uses only the oldest names of ringloop and none of the other peers' crates except tokio and
//! those that hyper needs, so that it also builds against old commits. Everything runs on epoll:
//! valgrind 3.19 does not support io_uring. One worker, except for `steal`.

use std::convert::Infallible;
use std::future::Future;
use std::hint::black_box;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [peer, workload, operations] = arguments.as_slice() else {
        panic!("usage: counted PEER WORKLOAD OPERATIONS");
    };
    let operations = operations.parse().expect("OPERATIONS is a number");
    match peer.as_str() {
        "ringloop" => run::<Ringloop>(workload, operations),
        "tokio" => run::<Tokio>(workload, operations),
        other => panic!("no peer is called {other:?}"),
    }
}

fn run<P: Peer>(workload: &str, operations: u64) {
    match workload {
        "spawn" => P::run(1, spawn::<P>(operations)),
        "wake" => P::run(1, wake::<P>(operations)),
        "yield" => P::run(1, yielding::<P>(operations)),
        "steal" => P::run(2, steal::<P>(operations)),
        "lock" => P::run(1, P::lock(operations)),
        "permits" => P::run(1, P::permits(operations)),
        // The client is the harness; it ends the connection after a number of messages.
        "echo" => P::run(1, async { P::echo().await.expect("the connection works") }),
        "http" => P::run(1, async { P::http(None).await.expect("the connection works") }),
        "http_timer" => {
            let limit = Some(Duration::from_secs(30));
            P::run(1, async move { P::http(limit).await.expect("the connection works") });
        }
        other => panic!("no workload is called {other:?}"),
    }
}

/// A runtime whose instructions are counted.
trait Peer: 'static {
    /// Runs `body` as a task on `workers` workers.
    fn run(workers: usize, body: impl Future<Output = ()> + Send + 'static);

    fn spawn<T: Send + 'static>(
        future: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send;

    fn yield_now() -> impl Future<Output = ()> + Send;

    /// A lock that 16 tasks take, and keep over a yield every eighth time.
    fn lock(operations: u64) -> impl Future<Output = ()> + Send;

    /// Four permits that 16 tasks take, and keep over a yield every fourth time.
    fn permits(operations: u64) -> impl Future<Output = ()> + Send;

    /// Listens, announces the port, and echoes on one connection to its end.
    fn echo() -> impl Future<Output = io::Result<()>> + Send;

    /// The same with an answer to each request, with a limit on the time that the request may take.
    fn http(limit: Option<Duration>) -> impl Future<Output = io::Result<()>> + Send;
}

/// A primitive that 16 tasks share: taken and given back, and at intervals kept over a yield.
macro_rules! crowd {
    ($operations:expr, $shared:expr, $acquire:ident, $yield_every:literal) => {{
        let shared = Arc::new($shared);
        let take_turns = |index: u64| {
            let shared = shared.clone();
            Self::spawn(async move {
                for turn in 0..$operations / 16 {
                    let held = shared.$acquire().await;
                    if (turn + index) % $yield_every == 0 {
                        Self::yield_now().await;
                    }
                    drop(held);
                }
            })
        };
        let tasks: Vec<_> = (0..16).map(take_turns).collect();
        for task in tasks {
            task.await;
        }
    }};
}

/// Tasks spawned, run and joined, in batches of 100.
async fn spawn<P: Peer>(operations: u64) {
    for _ in 0..operations / 100 {
        let tasks: Vec<_> =
            (0..100).map(|index| P::spawn(async move { black_box(index) })).collect();
        for task in tasks {
            task.await;
        }
    }
}

/// Yields among 100 tasks.
async fn yielding<P: Peer>(operations: u64) {
    let yields = operations / 100;
    let one = move || async move {
        for _ in 0..yields {
            P::yield_now().await;
        }
    };
    let tasks: Vec<_> = (0..100).map(|_| P::spawn(one())).collect();
    for task in tasks {
        task.await;
    }
}

/// Two tasks that wake each other; an operation is one wake and the poll that follows. It includes
/// the mutex between them.
async fn wake<P: Peer>(operations: u64) {
    let baton = Arc::new(Mutex::new(Baton { holder: 0, waiting: [None, None] }));
    let pass = |me: usize| {
        let baton = baton.clone();
        async move {
            for _ in 0..operations / 2 {
                Turn { baton: &baton, me }.await;
                let mut state = baton.lock().expect("no task panics");
                state.holder = 1 - me;
                let next = state.waiting[1 - me].take();
                drop(state);
                if let Some(waker) = next {
                    waker.wake();
                }
            }
        }
    };
    let (one, other) = (P::spawn(pass(0)), P::spawn(pass(1)));
    one.await;
    other.await;
}

struct Baton {
    holder: usize,
    waiting: [Option<Waker>; 2],
}

struct Turn<'a> {
    baton: &'a Mutex<Baton>,
    me: usize,
}

impl Future for Turn<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.baton.lock().expect("no task panics");
        if state.holder == self.me {
            return Poll::Ready(());
        }
        state.waiting[self.me] = Some(context.waker().clone());
        Poll::Pending
    }
}

/// Tasks that another worker has to take, because the one that spawned them is blocked until all
/// have run. The figure includes the time in which that worker notices them.
async fn steal<P: Peer>(operations: u64) {
    const BATCH: u64 = 1000;
    for _ in 0..operations / BATCH {
        let (last, finished) = mpsc::channel();
        let left = Arc::new(AtomicU64::new(BATCH));
        for _ in 0..BATCH {
            let (left, last) = (left.clone(), last.clone());
            drop(P::spawn(async move {
                // AcqRel: the last one makes the others' ends visible, too.
                if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                    last.send(()).expect("the batch waits");
                }
            }));
        }
        // The task that was spawned last may be where no thief looks (tokio's LIFO slot): a
        // detached one takes that place.
        drop(P::spawn(async {}));
        // Blocks this worker on purpose.
        finished.recv().expect("the last one sends");
        P::yield_now().await;
    }
}

/// Prints for the harness the port to connect to.
fn announce(address: SocketAddr) -> io::Result<()> {
    println!("port {}", address.port());
    io::stdout().flush()
}

async fn answer(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"Hello, World!"))))
}

/// A usual size; the same for both.
const BUFFER: usize = 4096;

struct Ringloop;

impl Peer for Ringloop {
    fn run(workers: usize, body: impl Future<Output = ()> + Send + 'static) {
        let main = async { ringloop::spawn(body).await.expect("the task does not panic") };
        let builder = ringloop::Builder::new().workers(workers).backend(ringloop::Backend::Epoll);
        builder.run(main).expect("ringloop starts");
    }

    fn spawn<T: Send + 'static>(
        future: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send {
        let task = ringloop::spawn(future);
        async { task.await.expect("the task does not panic") }
    }

    fn yield_now() -> impl Future<Output = ()> + Send {
        ringloop::yield_now()
    }

    async fn lock(operations: u64) {
        crowd!(operations, ringloop::sync::Lock::new(()), lock, 8);
    }

    async fn permits(operations: u64) {
        crowd!(operations, ringloop::sync::Semaphore::new(4), acquire, 4);
    }

    async fn echo() -> io::Result<()> {
        #[allow(unused_imports, reason = "`read` was not always a method of the stream's own")]
        use ringloop::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = ringloop::net::TcpListener::bind("127.0.0.1:0").await?;
        announce(listener.local_addr()?)?;
        let (mut stream, _) = listener.accept().await?;
        let mut buffer = [0; BUFFER];
        loop {
            match stream.read(&mut buffer).await? {
                0 => return Ok(()),
                len => stream.write_all(&buffer[..len]).await?,
            }
        }
    }

    async fn http(limit: Option<Duration>) -> io::Result<()> {
        let listener = ringloop::net::TcpListener::bind("127.0.0.1:0").await?;
        announce(listener.local_addr()?)?;
        let (stream, _) = listener.accept().await?;
        let mut http = http1::Builder::new();
        if limit.is_some() {
            http.timer(ringloop::compat::hyper::HyperTimer).header_read_timeout(limit);
        }
        http.serve_connection(stream, service_fn(answer)).await.map_err(io::Error::other)
    }
}

struct Tokio;

impl Peer for Tokio {
    fn run(workers: usize, body: impl Future<Output = ()> + Send + 'static) {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(workers).enable_all().build().expect("tokio starts");
        runtime.block_on(async { tokio::spawn(body).await.expect("the task does not panic") });
    }

    fn spawn<T: Send + 'static>(
        future: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send {
        let task = tokio::spawn(future);
        async { task.await.expect("the task does not panic") }
    }

    fn yield_now() -> impl Future<Output = ()> + Send {
        tokio::task::yield_now()
    }

    async fn lock(operations: u64) {
        crowd!(operations, tokio::sync::Mutex::new(()), lock, 8);
    }

    async fn permits(operations: u64) {
        crowd!(operations, tokio::sync::Semaphore::new(4), acquire, 4);
    }

    async fn http(limit: Option<Duration>) -> io::Result<()> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        announce(listener.local_addr()?)?;
        let (stream, _) = listener.accept().await?;
        let mut http = http1::Builder::new();
        if limit.is_some() {
            http.timer(TokioTimer::new()).header_read_timeout(limit);
        }
        let stream = TokioIo::new(stream);
        http.serve_connection(stream, service_fn(answer)).await.map_err(io::Error::other)
    }

    async fn echo() -> io::Result<()> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        announce(listener.local_addr()?)?;
        let (mut stream, _) = listener.accept().await?;
        let mut buffer = [0; BUFFER];
        loop {
            match stream.read(&mut buffer).await? {
                0 => return Ok(()),
                len => stream.write_all(&buffer[..len]).await?,
            }
        }
    }
}
