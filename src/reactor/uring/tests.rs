//! The driver and a kernel that does all it may do: see [`faults`](super::faults).
//!
//! Runtimes are used as a user has them. Every seed is printed; `RINGLOOP_SEED` sets it.

extern crate self as ringloop;

mod rescue;

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
    for defer in [true, false] {
        let seed = seed();
        let what = format!("{name}, deferred: {defer}, RINGLOOP_SEED={seed}");
        eprintln!("{what}");
        let _watchdog = Watchdog::new(what.clone());
        let script = Arc::new(make(seed));
        let builder = Builder::new().workers(workers).backend(Backend::Uring).defer_taskrun(defer);
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

/// The ways to read and write.
const VERBS: usize = 5;

async fn echo(mut stream: TcpStream, verb: usize, mut random: Random) -> io::Result<()> {
    let mut turn = verb;
    loop {
        match turn {
            0 => {
                let lease = stream.read_lease().await?;
                if lease.is_empty() {
                    break;
                }
                stream.write_lease(lease).await?;
            }
            1 => {
                let mut buf = [0; 3000];
                let n = AsyncReadExt::read(&mut stream, &mut buf).await?;
                if n == 0 {
                    break;
                }
                stream.write_all(&buf[..n]).await?;
            }
            2 => {
                let (result, buf) = stream.read(Vec::with_capacity(5000)).await;
                if result? == 0 {
                    break;
                }
                stream.write(buf).await.0?;
            }
            // Reads that are given up.
            _ => {
                let Some(lease) = give_up_after(random.below(3), stream.read_lease()).await else {
                    continue;
                };
                let lease = lease?;
                if lease.is_empty() {
                    break;
                }
                stream.write_lease(lease).await?;
            }
        }
        if verb == VERBS - 1 {
            turn = random.below(VERBS as u64 - 1) as usize;
        }
    }
    stream.close().await
}

/// Sends a numbered stream, and reads it back, slowly.
async fn talk(address: SocketAddr, salt: usize, total: usize, mut random: Random) {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.socket().set_recv_buffer_size(8 << 10).unwrap();
    stream.socket().set_send_buffer_size(8 << 10).unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let mut lengths = random.clone();
    let sending = spawn(async move {
        let mut sent = 0;
        while sent < total {
            let n = (1 + lengths.below(9000) as usize).min(total - sent);
            let bytes: Vec<u8> = (sent..sent + n).map(|at| byte(salt, at)).collect();
            writer.write_all(&bytes).await.unwrap();
            sent += n;
        }
        writer.close().await.unwrap();
    });
    let (mut got, mut buf) = (0, [0; 4000]);
    // Long enough for all to be full, so that the other end has to wait.
    sleep(Duration::from_millis(10)).await;
    loop {
        let n = reader.read(&mut buf).await.unwrap();
        if n == 0 {
            break;
        }
        check(&buf[..n], salt, got);
        got += n;
        match random.below(8) {
            0 => sleep(Duration::from_micros(200)).await,
            1 | 2 => yield_now().await,
            _ => {}
        }
    }
    assert_eq!(got, total, "connection {salt}");
    sending.await.unwrap();
}

/// Echoes by every verb at the same time.
async fn echoes(seed: u64, total: usize) {
    let listener = narrow_listener();
    let address = listener.local_addr().unwrap();
    // Nobody is there yet: the ring accepts.
    assert!(give_up_after(2, listener.accept()).await.is_none());
    let clients: Vec<_> = (0..2 * VERBS)
        .map(|salt| {
            let random = Random::new(seed.wrapping_add(100 + salt as u64));
            spawn(talk(address, salt, total, random))
        })
        .collect();
    let mut servers = Vec::new();
    for i in 0..2 * VERBS {
        let (stream, _) = listener.accept().await.unwrap();
        let random = Random::new(seed.wrapping_add(200 + i as u64));
        servers.push(spawn(echo(stream, i % VERBS, random)));
    }
    for client in clients {
        client.await.unwrap();
    }
    for server in servers {
        server.await.unwrap().unwrap();
    }
}

fn echo_trial(name: &str, make: impl Fn(u64) -> Script) {
    for workers in [1, 2] {
        trial(name, workers, &make, |runtime, script| {
            runtime.run(echoes(script.seed(), 200_000)).unwrap();
        });
    }
}

#[test]
fn refused_calls_lose_nothing() {
    // Goal: an operation whose submission is refused is submitted later, once. Method: every third
    // call is refused, up to six in a row, or takes only the first entries.
    echo_trial("refused", |seed| Script::new(seed, &[(Fault::Refused, 3), (Fault::Partial, 3)]));
}

#[test]
fn completions_in_another_order_and_late() {
    // Goal: nothing depends on the order of operations that the kernel does not order. Method: a
    // third of all completions is held back for some turns, the others come in random order.
    echo_trial("late", |seed| Script::new(seed, &[(Fault::Late, 3)]));
}

#[test]
fn short_sends_are_continued() {
    // Goal: the rest of a short send goes before what is queued behind. Method: half of all sends
    // take some of their bytes only, others none, with EINTR or EAGAIN.
    let odds = [(Fault::ShortSend, 2), (Fault::FailedSend, 4)];
    echo_trial("short", move |seed| Script::new(seed, &odds));
}

#[test]
fn completions_for_nobody_are_ignored() {
    // Goal: S2. Method: between others come completions with the numbers of operations that have
    // ended, whose places are in use again, and of none, that claim to bring bytes or the end.
    let odds = [(Fault::Stale, 2)];
    echo_trial("stale", move |seed| Script::new(seed, &odds));
}

#[test]
fn what_repeats_is_armed_again_when_it_ends() {
    // Goal: an operation may end with a completion that brings something. Method: half of all
    // polls, receives and accepts complete once; others fail: no buffer, no connection.
    let odds = [(Fault::Ended, 2), (Fault::NoBuffers, 5), (Fault::FailedAccept, 3)];
    echo_trial("ended", move |seed| Script::new(seed, &odds));
}

#[test]
fn what_ends_while_nothing_goes_on_is_armed_again() {
    // Goal: the same of the ring's own polls, and of accepting. Method: thirty times, asleep in
    // between, the worker is given a task from outside, a foreign descriptor a byte, and a listener
    // a connection.
    let make = |seed| Script::new(seed, &[(Fault::Ended, 2)]);
    trial("idle", 1, make, |runtime, _| {
        let listener = narrow_listener();
        let address = listener.local_addr().unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let near = AsyncFd::new(near).unwrap();
        for round in 0..30 {
            let arrivals = || {
                thread::sleep(Duration::from_millis(1));
                (&far).write_all(&[round]).unwrap();
                thread::sleep(Duration::from_millis(1));
                net::TcpStream::connect(address).unwrap()
            };
            let mut byte = [0];
            let waits = join(near.read_with(|mut near| near.read(&mut byte)), listener.accept());
            let (read, accepted) = thread::scope(|scope| {
                let client = scope.spawn(arrivals);
                let waited = runtime.run(timeout(SETTLE, waits)).unwrap();
                drop(client.join().unwrap());
                waited.expect("what has arrived is not seen")
            });
            assert_eq!((read.unwrap(), byte), (1, [round]));
            drop(accepted.unwrap());
        }
    });
}

#[test]
fn rings_of_four_entries_carry_everything() {
    // Goal: full queues are no limit. Method: 4 submissions and 16 completions at a time.
    echo_trial("tiny", |seed| Script::new(seed, &[]).tiny(4));
}

/// What can happen to few bytes.
const MISHAPS: [(Fault, u64); 7] = [
    (Fault::Refused, 10),
    (Fault::Partial, 5),
    (Fault::Late, 5),
    (Fault::Stale, 4),
    (Fault::Ended, 4),
    (Fault::NoBuffers, 10),
    (Fault::FailedAccept, 3),
];

#[test]
fn all_of_it_together() {
    // Goal: the same, and all at once, in rings of four entries.
    let sends = [(Fault::ShortSend, 4), (Fault::FailedSend, 8)];
    let odds = [&MISHAPS[..], &sends].concat();
    echo_trial("everything", |seed| Script::new(seed, &odds).tiny(4));
}

#[test]
fn cancelled_reads_and_accepts_lose_nothing() {
    // Goal: S3, whatever order cancels and completions come in. Method: 100 clients send a number,
    // some leave at once; the server gives accepts and reads up at random and answers in kind. It
    // pauses, so that connections gather.
    const CLIENTS: u64 = 100;
    let make = |seed| Script::new(seed, &MISHAPS).tiny(4);
    trial("cancels", 2, make, |runtime, script| {
        let mut random = Random::new(script.seed());
        let storm = async move {
            let listener = narrow_listener();
            let address = listener.local_addr().unwrap();
            assert!(give_up_after(2, listener.accept()).await.is_none());
            let clients: Vec<_> = (0..CLIENTS)
                .map(|number| {
                    let (leaves, later) = (random.below(4) == 0, random.below(20_000));
                    spawn(async move {
                        sleep(Duration::from_micros(later)).await;
                        number_client(address, number, leaves).await
                    })
                })
                .collect();
            let mut servers = Vec::new();
            while servers.len() < CLIENTS as usize {
                if random.below(5) == 0 {
                    sleep(Duration::from_millis(2)).await;
                }
                let accept = timeout(Duration::from_micros(random.below(300)), listener.accept());
                if let Ok(accepted) = accept.await {
                    let (stream, _) = accepted.unwrap();
                    servers.push(spawn(number_server(stream, Random::new(random.below(1 << 40)))));
                }
            }
            let mut numbers = Vec::new();
            for server in servers {
                numbers.extend(server.await.unwrap());
            }
            let mut stayed = 0;
            for client in clients {
                stayed += u64::from(client.await.unwrap());
            }
            numbers.sort_unstable();
            let all = numbers.len() as u64;
            numbers.dedup();
            assert_eq!(numbers.len() as u64, all, "a number twice");
            assert!(all >= stayed && numbers.iter().all(|&number| number < CLIENTS));
        };
        runtime.run(storm).unwrap();
    });
}

/// Says its number and hears it, unless it leaves before.
async fn number_client(address: SocketAddr, number: u64, leaves: bool) -> bool {
    let mut stream = TcpStream::connect(address).await.unwrap();
    if leaves {
        let _ = give_up_after(0, stream.read_lease()).await;
        return false;
    }
    for part in number.to_be_bytes().chunks(3) {
        stream.write_all(part).await.unwrap();
        sleep(Duration::from_micros(100)).await;
    }
    let mut heard = [0; 8];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(u64::from_be_bytes(heard), number);
    true
}

async fn number_server(mut stream: TcpStream, mut random: Random) -> Option<u64> {
    let mut heard = Vec::new();
    while heard.len() < 8 {
        let limit = Duration::from_micros(random.below(200));
        let read = match random.below(3) {
            0 => timeout(limit, stream.read_lease()).await.map(|lease| lease.map(|l| l.to_vec())),
            1 => match give_up_after(random.below(2), stream.read(Vec::with_capacity(3))).await {
                Some((result, buf)) => Ok(result.map(|_| buf)),
                None => continue,
            },
            _ => {
                let mut buf = [0; 2];
                let read = timeout(limit, AsyncReadExt::read(&mut stream, &mut buf)).await;
                read.map(|read| read.map(|n| buf[..n].to_vec()))
            }
        };
        match read {
            Err(_) => {}
            Ok(Ok(bytes)) if bytes.is_empty() => break,
            Ok(bytes) => heard.extend(bytes.unwrap()),
        }
    }
    let number = heard.try_into().ok().map(u64::from_be_bytes)?;
    stream.write_all(&number.to_be_bytes()).await.unwrap();
    Some(number)
}

#[test]
fn what_is_dropped_elsewhere_as_it_starts_is_let_go() {
    // Goal: a cancel does not miss what is on its way, and the peer learns of the end. Method: a
    // receive for which there are bytes already is submitted together with its cancel, since the
    // stream is dropped on another thread before the poll that started it returns.
    trial(
        "dropped elsewhere",
        1,
        |seed| Script::new(seed, &[]),
        |runtime, _| {
            let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            for _ in 0..20 {
                let near = net::TcpStream::connect(address).unwrap();
                let (mut far, _) = listener.accept().unwrap();
                let mut near = TcpStream::from_std(near).unwrap();
                let leave = async {
                    assert!(give_up_after(2, near.readable()).await.is_none());
                    // From here on in one poll.
                    far.write_all(b"there").unwrap();
                    assert!(give_up_after(0, near.read_lease()).await.is_none());
                    thread::scope(|scope| scope.spawn(|| drop(near)).join().unwrap());
                };
                runtime.run(leave).unwrap();
                // It is closed: by a reset, as there is something unread.
                far.set_read_timeout(Some(SETTLE)).unwrap();
                let end = far.read(&mut [0]).map_err(|error| error.kind());
                assert!(matches!(end, Ok(0) | Err(io::ErrorKind::ConnectionReset)), "{end:?}");
            }
        },
    );
}

#[test]
fn floods_stop_and_go_on() {
    // Goal: a receive that stops at its cap, or for want of memory, loses nothing, whatever comes
    // late. Method: 2 MiB at once on each of four connections, which takes all memory, or 256 KiB
    // at a time on one, which passes its cap; readers take little, and pause.
    let make = |seed| Script::new(seed, &MISHAPS[..6]);
    for (connections, piece) in [(4, 2 << 20), (1, 256 << 10)] {
        let what = format!("flood of {connections} x {piece}");
        trial(&what, 2, make, |runtime, script| {
            runtime.run(floods(script.seed(), connections, piece)).unwrap();
        });
    }
}

async fn floods(seed: u64, connections: usize, piece: usize) {
    const TOTAL: usize = 2 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut ends = Vec::new();
    for salt in 0..connections {
        let connect = TcpStream::connect(listener.local_addr().unwrap());
        let (near, far) = join(connect, listener.accept()).await;
        let (mut near, far) = (near.unwrap(), far.unwrap().0);
        ends.push(spawn(async move {
            let bytes: Vec<u8> = (0..TOTAL).map(|at| byte(salt, at)).collect();
            for piece in bytes.chunks(piece) {
                near.write_all(piece).await.unwrap();
                sleep(Duration::from_millis(4)).await;
            }
            near.close().await.unwrap();
        }));
        ends.push(spawn(sip(far, salt, TOTAL, Random::new(seed.wrapping_add(salt as u64)))));
    }
    for end in ends {
        end.await.unwrap();
    }
}

/// Reads a flood, with pauses in which more arrives than is taken.
async fn sip(mut stream: TcpStream, salt: usize, total: usize, mut random: Random) {
    let mut got = 0;
    loop {
        if random.below(30) == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        let lease = stream.read_lease().await.unwrap();
        if lease.is_empty() {
            break;
        }
        check(&lease, salt, got);
        got += lease.len();
    }
    assert_eq!(got, total, "connection {salt}");
}

#[test]
fn a_kernel_that_refuses_for_long_is_not_pestered() {
    // Goal: no busy loop, whatever there is to submit or to take meanwhile; then all goes on.
    // Method: every call is refused while receives are to be armed, on large and on tiny rings,
    // and bytes arrive; calls are counted.
    const REFUSED: Duration = Duration::from_millis(100);
    const SOCKETS: usize = 20;
    for entries in [4, 256] {
        for error in [Errno::AGAIN, Errno::BUSY, Errno::NOMEM, Errno::NOBUFS] {
            let make = |seed| Script::new(seed, &[]).tiny(entries);
            trial(&format!("refusal {error} of {entries}"), 1, make, |runtime, script| {
                let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
                let address = listener.local_addr().unwrap();
                let pair =
                    || (net::TcpStream::connect(address).unwrap(), listener.accept().unwrap().0);
                let (near, mut far): (Vec<_>, Vec<_>) = (0..SOCKETS).map(|_| pair()).unzip();
                let near = near.into_iter().map(|near| TcpStream::from_std(near).unwrap());
                let mut near: Vec<_> = near.collect();
                let before = runtime.run(async {
                    // Half of the receives are there already, half are to be submitted.
                    for stream in &mut near[..SOCKETS / 2] {
                        assert!(give_up_after(2, stream.read_lease()).await.is_none());
                    }
                    sleep(Duration::from_millis(2)).await;
                    script.refuse_all(Some(error));
                    for stream in &mut near {
                        assert!(give_up_after(2, stream.read_lease()).await.is_none());
                    }
                    script.calls()
                });
                let before = before.unwrap();
                far.iter_mut().for_each(|far| far.write_all(b"x").unwrap());
                let begun = Instant::now();
                thread::sleep(REFUSED);
                let calls = script.calls() - before;
                let most = 3 * begun.elapsed().as_millis() as u64 + 50;
                script.refuse_all(None);
                // One that is refused may be tried in two ways, once in a millisecond.
                assert!(calls <= most, "{calls} calls, {most} at most");
                assert!(calls >= 2, "it is not asked again");
                let read = runtime.run(async {
                    let reads = near.iter_mut().map(|stream| stream.read_lease());
                    timeout(SETTLE, join_all(reads)).await
                });
                for lease in read.unwrap().expect("bytes that were there") {
                    assert_eq!(&*lease.unwrap(), b"x");
                }
            });
        }
    }
}

#[test]
fn thousands_of_submissions_at_once_are_each_done_once() {
    // Goal: a full submission queue holds nothing up, an overflown completion queue loses nothing,
    // in any mood of the kernel. Method: 5000 numbers are pushed to a ring of 4 entries before
    // anything is reaped.
    const COUNT: u64 = 5000;
    let seed = seed();
    eprintln!("RINGLOOP_SEED={seed}");
    for odds in [&[][..], &[(Fault::Refused, 4), (Fault::Partial, 2), (Fault::Late, 3)]] {
        for defer_taskrun in [true, false] {
            let script = Arc::new(Script::new(seed, odds));
            let plan = Plan { entries: 4, defer_taskrun, no_sqarray: false, incremental: false };
            let mut ring = match script.install(|| Ring::new(plan)) {
                Ok(ring) => ring,
                Err(error) => return loud(&format!("SKIPPED: no rings: {error}")),
            };
            ring.start().unwrap();
            script.begin();
            for number in 0..COUNT {
                // SAFETY: it points nowhere.
                unsafe { ring.push(opcode::Nop::new().build().user_data(number)) };
            }
            let mut done = vec![0; COUNT as usize];
            let begun = Instant::now();
            while done.contains(&0) {
                assert!(begun.elapsed() < SETTLE, "some are lost");
                // Or a busy worker would not look.
                assert!(ring.has_work(), "nothing is left to do, and some are not done");
                ring.enter(Wait::UpTo(Duration::from_millis(100))).unwrap();
                for completion in ring.completions(&mut [const { MaybeUninit::uninit() }; 64]) {
                    done[completion.user_data() as usize] += 1;
                }
            }
            assert!(done.iter().all(|&times| times == 1), "one is done twice");
            assert!(!ring.has_work());
            // Refused, entries wait on this side.
            assert!(script.overflows() > 0 || !odds.is_empty(), "all completions had room");
            ring.stop();
        }
    }
}

#[test]
fn arrivals_on_all_connections_at_once_overflow_and_are_all_seen() {
    // Goal: the same with operations that complete again and again. Method: one poll starts to
    // receive on 150 connections, in rings of 4 entries; while the worker is held up, each gets a
    // byte, thrice. Nothing is late by a timeout.
    const SOCKETS: usize = 150;
    let make = |seed| Script::new(seed, &[]).tiny(4);
    trial("overflow", 1, make, |runtime, script| {
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let pair = || (net::TcpStream::connect(address).unwrap(), listener.accept().unwrap().0);
        let (near, mut far): (Vec<_>, Vec<_>) = (0..SOCKETS).map(|_| pair()).unzip();
        let near = near.into_iter().map(|near| TcpStream::from_std(near).unwrap());
        let mut near: Vec<_> = near.collect();
        let arrive = async {
            for round in 0..3 {
                let mut reads = pin!(join_all(near.iter_mut().map(|stream| stream.read_lease())));
                assert!(give_up_after(1, reads.as_mut()).await.is_none());
                for (i, far) in far.iter_mut().enumerate() {
                    far.write_all(&[byte(i, round)]).unwrap();
                }
                // On its way, and in the ring.
                thread::sleep(Duration::from_millis(5));
                let begun = Instant::now();
                for (i, lease) in reads.await.into_iter().enumerate() {
                    check(&lease.unwrap(), i, round);
                }
                assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
            }
        };
        runtime.run(arrive).unwrap();
        assert!(script.overflows() > 0, "all completions had room");
    });
}

/// A connection of the trial with a spinner.
struct Served {
    client: net::TcpStream,
    /// The thread in whose ring the server's socket is.
    home: Arc<Mutex<Option<ThreadId>>>,
}

async fn serve(mut stream: TcpStream, home: Arc<Mutex<Option<ThreadId>>>) {
    loop {
        let lease = {
            let mut read = pin!(stream.read_lease());
            let lease = poll_fn(|cx| {
                let poll = read.as_mut().poll(cx);
                if poll.is_pending() {
                    // The first of them arms it.
                    home.lock().unwrap().get_or_insert(thread::current().id());
                }
                poll
            });
            lease.await.unwrap()
        };
        if lease.is_empty() {
            return;
        }
        stream.write_all(&lease).await.unwrap();
    }
}

impl Served {
    fn ask(&mut self) -> Duration {
        let begun = Instant::now();
        let mut answer = [0; 4];
        self.client.write_all(b"ping").unwrap();
        self.client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"ping");
        begun.elapsed()
    }
}

#[test]
fn a_spinning_worker_holds_up_nobody_elses_connections() {
    // Goal: one task that spins is named, what waits behind it runs elsewhere, and another worker
    // goes on to serve the connections that it has. Method: the spinner spawns before it spins,
    // until both have come about, and for 300 ms; connections with known homes are asked.
    const SPIN: Duration = Duration::from_millis(300);
    static REPORTS: AtomicU64 = AtomicU64::new(0);
    for defer in [true, false] {
        let _watchdog = Watchdog::new(format!("spinner, deferred: {defer}"));
        let builder = Builder::new().workers(2).backend(Backend::Uring).defer_taskrun(defer);
        let hear = |event: &ErrorEvent| {
            let is_hog = matches!(event, ErrorEvent::TaskHogsWorker { .. });
            REPORTS.fetch_add(is_hog.into(), Ordering::SeqCst);
        };
        let runtime = match builder.on_error(hear).build() {
            Ok(runtime) => runtime,
            Err(error) => return loud(&format!("SKIPPED: spinner: {error}")),
        };
        let before = REPORTS.load(Ordering::SeqCst);
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut served: Vec<Served> = (0..8)
            .map(|_| {
                let client = net::TcpStream::connect(address).unwrap();
                client.set_nodelay(true).unwrap();
                client.set_read_timeout(Some(SETTLE)).unwrap();
                let stream = TcpStream::from_std(listener.accept().unwrap().0).unwrap();
                let home = Arc::new(Mutex::new(None));
                drop(runtime.spawn(serve(stream, home.clone())));
                Served { client, home }
            })
            .collect();
        served.iter_mut().for_each(|served| _ = served.ask());
        let home = served[0].home.lock().unwrap().expect("it has been armed");
        let heard = move || REPORTS.load(Ordering::SeqCst) > before;
        let rescued = Arc::new(AtomicBool::new(false));
        let seen = rescued.clone();
        let is_over = move || heard() && seen.load(Ordering::SeqCst);
        let goes_on = move |spun| spun < SPIN || !is_over() && spun < SETTLE;
        spin_elsewhere(&runtime, home, &rescued, goes_on);
        let begun = Instant::now();
        let (mut answers, mut slowest) = (0, Duration::ZERO);
        while begun.elapsed() < SPIN / 2 {
            for served in served.iter_mut() {
                if *served.home.lock().unwrap() == Some(home) {
                    slowest = slowest.max(served.ask());
                    answers += 1;
                }
            }
        }
        eprintln!("deferred: {defer}: {answers} answers, the slowest in {slowest:?}");
        // Held up, each waits for the end of the spin.
        assert!(answers > 20, "{answers} answers");
        let come_about = || heard() && rescued.load(Ordering::SeqCst);
        while !come_about() && begun.elapsed() < SETTLE {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(heard(), "nobody was told of the task that held a worker");
        assert!(come_about(), "a task waited for the end of another's poll");
        // The others are served in the end.
        served.iter_mut().for_each(|served| _ = served.ask());
        drop(served);
        assert_quiet(&runtime, "spinner");
    }
}

/// Has the worker that is not `home` spin while `goes_on`, with a task behind the spinner that
/// says whether it ran meanwhile; returns once it spins.
fn spin_elsewhere(
    runtime: &Runtime,
    home: ThreadId,
    rescued: &Arc<AtomicBool>,
    goes_on: impl Fn(Duration) -> bool + Clone + Send + 'static,
) {
    let spins = Arc::new(AtomicBool::new(false));
    let tried = Instant::now();
    while !spins.load(Ordering::SeqCst) {
        assert!(tried.elapsed() < SETTLE, "the other worker gets no task");
        let (spins, rescued, goes_on) = (spins.clone(), rescued.clone(), goes_on.clone());
        let spinner = async move {
            let begun = Instant::now();
            if thread::current().id() == home {
                // The next of them goes to the other.
                while !spins.load(Ordering::SeqCst) && begun.elapsed() < Duration::from_millis(5) {
                    std::hint::spin_loop();
                }
            } else if !spins.swap(true, Ordering::SeqCst) {
                let over = Arc::new(AtomicBool::new(false));
                let still = over.clone();
                drop(spawn(async move {
                    rescued.store(!still.load(Ordering::SeqCst), Ordering::SeqCst);
                }));
                while goes_on(begun.elapsed()) {
                    std::hint::spin_loop();
                }
                over.store(true, Ordering::SeqCst);
            }
        };
        drop(runtime.spawn(spinner));
        thread::sleep(Duration::from_millis(1));
    }
}
