//! The driver and a kernel that does all it may do: see [`faults`](super::faults).
//!
//! Runtimes are used as a user has them. Every seed is printed; `RINGLOOP_SEED` sets it.

extern crate self as ringloop;

mod by_hand;
mod cancels;
mod echoes;
mod gifts;
mod limits;
mod losses;
mod moves;
mod rescue;
mod shares;

use std::{
    env,
    future::poll_fn,
    io::{self, Read, Write},
    mem::MaybeUninit,
    net::{self, SocketAddr},
    os::unix::net::UnixStream,
    pin::pin,
    process,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    task::Poll,
    thread::{self, ThreadId},
    time::{Duration, Instant, SystemTime},
};

use futures_util::future::{join, join_all};
use io_uring::opcode;
use ringloop::{
    Backend, Builder, ErrorEvent, Runtime,
    io::{AsyncFd, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    spawn,
    time::{sleep, timeout},
    yield_now,
};
use rustix::io::Errno;

use super::{
    faults::{Fault, Random, Script},
    ring::{Plan, Ring, Wait},
};

/// A trial that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// How soon counters are back at zero.
const SETTLE: Duration = Duration::from_secs(10);

fn seed() -> u64 {
    match env::var("RINGLOOP_SEED") {
        Ok(seed) => seed.parse().expect("RINGLOOP_SEED is a number"),
        Err(_) => SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64,
    }
}

/// Past the capture of the test's output.
fn loud(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Ends the process unless it is dropped in time: what hangs fails no assertion.
struct Watchdog(Option<mpsc::Sender<()>>);

impl Watchdog {
    fn new(what: String) -> Self {
        let (sender, receiver) = mpsc::channel::<()>();
        thread::spawn(move || {
            if receiver.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
                loud(&format!("{what}: hangs"));
                process::abort();
            }
        });
        Self(Some(sender))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.take();
    }
}

/// Runs `test` on a runtime whose rings have the script that `make` writes, in each form of
/// io_uring; then everything is at rest, and the script has been played.
fn trial(
    name: &str,
    workers: usize,
    make: impl Fn(u64) -> Script,
    test: impl Fn(&Runtime, &Script),
) {
    for (defer, incremental) in [(true, true), (false, true), (true, false)] {
        let seed = seed();
        let what =
            format!("{name}, deferred: {defer}, incremental: {incremental}, RINGLOOP_SEED={seed}");
        eprintln!("{what}");
        let _watchdog = Watchdog::new(what.clone());
        let script = Arc::new(make(seed));
        let builder = Builder::new().workers(workers).backend(Backend::Uring).defer_taskrun(defer);
        let builder = builder.incremental_buffers(incremental);
        let runtime = match script.install(|| builder.on_error(|_| {}).build()) {
            Ok(runtime) => runtime,
            Err(error) => return loud(&format!("SKIPPED: {name}: {error}")),
        };
        script.begin();
        test(&runtime, &script);
        assert_quiet(&runtime, &what);
        assert_eq!(script.unseen(), [], "{what}");
        let handle = runtime.handle();
        let report = runtime.shutdown(SETTLE);
        assert!(report.is_clean(), "{what}: {report:?}");
        assert_eq!(handle.metrics().leaked_operations, 0, "{what}");
    }
}

fn assert_quiet(runtime: &Runtime, what: &str) {
    let begun = Instant::now();
    loop {
        let metrics = runtime.metrics();
        let left = metrics.live_tasks
            + metrics.in_flight_operations
            + metrics.registered_descriptors
            + metrics.leases
            + metrics.leaked_operations;
        if left == 0 {
            return;
        }
        assert!(begun.elapsed() < SETTLE, "{what}: {metrics:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Polls `future` so many times; `None` if it is given up.
async fn give_up_after<F: Future>(turns: u64, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = turns;
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

/// Byte `at` of the stream of connection `salt`.
fn byte(salt: usize, at: usize) -> u8 {
    (at.wrapping_mul(31) ^ (at >> 8).wrapping_mul(7) ^ salt.wrapping_mul(89)) as u8
}

#[track_caller]
fn check(bytes: &[u8], salt: usize, from: usize) {
    let wrong = (from..).zip(bytes).find(|&(at, &found)| found != byte(salt, at));
    assert_eq!(wrong, None, "connection {salt}: a byte of elsewhere");
}

/// A listener whose connections hold few bytes, so that writers have to wait.
fn narrow_listener() -> TcpListener {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.set_tcp_mss(1000).unwrap();
    socket.set_recv_buffer_size(8 << 10).unwrap();
    socket.set_send_buffer_size(8 << 10).unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(128).unwrap();
    TcpListener::from_std(socket.into()).unwrap()
}

/// What can happen to few bytes.
const MISHAPS: [(Fault, u64); 6] = [
    (Fault::Refused, 10),
    (Fault::Partial, 5),
    (Fault::Late, 5),
    (Fault::Stale, 4),
    (Fault::Ended, 4),
    (Fault::NoBuffers, 10),
];
