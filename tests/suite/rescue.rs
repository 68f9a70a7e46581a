//! Sockets and timers whose home is held by one long poll: another worker serves them, in order.

use std::future::{Future, poll_fn};
use std::io::{ErrorKind, Read, Write};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use ringloop::io::{AsyncReadExt, AsyncWriteExt};
use ringloop::net::{TcpListener, TcpStream};
use ringloop::time::{Instant as Moment, sleep};
use ringloop::{Backend, spawn, yield_now};

use crate::harness::{Cfg, Kind, TestRuntime, on_every, scaled, wait_until};
use crate::homes::{plain_pair, settle_here};
use crate::net_stream::pair;
use crate::tools::{Flag, check_pattern, fill_pattern};

/// The number of ways to read a stream.
pub const VERBS: usize = 4;

pub async fn read(stream: &mut TcpStream, verb: usize) -> std::io::Result<Vec<u8>> {
    let mut buf = [0; 3000];
    match verb {
        0 => stream.read_lease().await.map(|lease| lease.to_vec()),
        1 => AsyncReadExt::read(stream, &mut buf).await.map(|len| buf[..len].to_vec()),
        2 => {
            let (read, buf) = stream.read(Vec::with_capacity(3000)).await;
            read.map(|_| buf)
        }
        _ => {
            stream.readable().await?;
            match stream.try_read(&mut buf) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    Box::pin(read(stream, verb)).await
                }
                result => result.map(|len| buf[..len].to_vec()),
            }
        }
    }
}

/// Whether another worker can serve this way to read for a held worker: with `COOP_TASKRUN` the
/// kernel may receive at any time, so that no other worker may.
pub fn can_rescue(cfg: &Cfg, verb: usize) -> bool {
    verb != 0 || !cfg.to_string().starts_with("uring-coop")
}

/// Spins in one poll until `done`, or for 10 s; returns whether it was done.
pub fn hog_until(done: impl Fn() -> bool) -> bool {
    let since = Instant::now();
    while !done() {
        if since.elapsed() > Duration::from_secs(10) {
            return false;
        }
        std::hint::spin_loop();
    }
    true
}

pub fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// A stream whose home is this worker, where a read by `verb` is armed, and its plain peer.
async fn settled_pair(verb: usize) -> (TcpStream, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (near, _) = listener.accept().unwrap();
    near.set_nonblocking(true).unwrap();
    let mut near = TcpStream::from_std(near).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let home = thread::current().id();
    assert!(poll_once(read(&mut near, verb)).is_none());
    assert_eq!(home, thread::current().id());
    (near, peer)
}

#[test]
fn sockets_of_a_stuck_worker_are_served() {
    // Goal: exchanges, the end and a reset go on while a socket's home is held by one poll; method:
    // a task on the home spawns the reader, and spins until a plain thread has its answers.
    on_every(|cfg| {
        if cfg.single() {
            return;
        }
        for (verb, resets) in (0..2 * VERBS).map(|case| (case / 2, case % 2 == 1)) {
            if !can_rescue(cfg, verb) {
                continue;
            }
            let runtime = cfg.runtime();
            let log = runtime.log().clone();
            let hog = runtime.spawn(async move {
                let (mut near, mut peer) = settled_pair(verb).await;
                let (served, ended) = (Flag::new(), Flag::new());
                let end = ended.clone();
                let reader = spawn(async move {
                    let end = crate::tools::SetOnDrop(end);
                    loop {
                        let bytes = read(&mut near, verb).await?;
                        if bytes.is_empty() {
                            break;
                        }
                        near.write_all(&bytes).await?;
                    }
                    drop(end);
                    std::io::Result::Ok(())
                });
                let done = served.clone();
                let client = thread::spawn(move || {
                    for round in 0..20 {
                        let mut buf = [round; 100];
                        peer.write_all(&buf).unwrap();
                        peer.read_exact(&mut buf).unwrap();
                        assert_eq!(buf, [round; 100]);
                    }
                    if resets {
                        socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
                    }
                    drop(peer);
                    done.set();
                });
                let told = hog_until(|| ended.is_set() || client.is_finished() && !served.is_set());
                (told, client, reader)
            });
            let what = format!("verb {verb}, reset: {resets}");
            let (told, client, reader) = runtime.must_run(hog).unwrap();
            client.join().unwrap_or_else(|_| panic!("{what}: not served"));
            assert!(told, "{what}: the end does not arrive");
            let end = runtime.must_run(reader).unwrap().map_err(|error| error.kind());
            assert_eq!(
                end,
                if resets { Err(ErrorKind::ConnectionReset) } else { Ok(()) },
                "{what}"
            );
            log.take(Kind::Hog);
        }
    });
}

#[test]
fn writer_waiting_at_a_stuck_worker_is_woken_for_room() {
    // Goal: the same for a task that waits to write; method: a full socket whose home spins until
    // the writer, on another worker, is woken.
    on_every(|cfg| {
        if cfg.single() {
            return;
        }
        let runtime = cfg.runtime();
        let log = runtime.log().clone();
        let hog = runtime.spawn(async move {
            let (near, mut peer) = settled_pair(3).await;
            while near.try_write(&[0; 50_000]).is_ok() {}
            assert!(poll_once(near.writable()).is_none());
            let told = Flag::new();
            let tell = told.clone();
            let writer = spawn(async move {
                near.writable().await.unwrap();
                tell.set();
                near
            });
            let drained = told.clone();
            let reader = thread::spawn(move || {
                while !drained.is_set() {
                    let _ = peer.read(&mut [0; 50_000]);
                    peer.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
                }
            });
            let done = hog_until(|| told.is_set());
            // Lets the reader end in any case.
            told.set();
            (done, reader, writer)
        });
        let (done, reader, writer) = runtime.must_run(hog).unwrap();
        assert!(done, "not woken");
        reader.join().unwrap();
        drop(runtime.must_run(writer).unwrap());
        log.take(Kind::Hog);
    });
}

#[test]
fn home_that_only_sends_is_rescued() {
    // Goal: a reader is woken though the socket's home is held and was not asked to report arrivals
    // before; method: leases that do not fit make this worker the home, and are sent; then it spins
    // until a reader on another worker has its bytes.
    on_every(|cfg| {
        if cfg.single() {
            return;
        }
        for verb in 0..VERBS {
            if !can_rescue(cfg, verb) {
                continue;
            }
            let runtime = cfg.runtime();
            let log = runtime.log().clone();
            let hog = runtime.spawn(async move {
                let (mut near, peer) = plain_pair();
                let mut peer = settle_here(&mut near, peer).await;
                let waits = Flag::new();
                let tell = waits.clone();
                let reader = spawn(async move {
                    let mut reading = pin!(read(&mut near, verb));
                    poll_fn(|cx| {
                        let poll = reading.as_mut().poll(cx);
                        if poll.is_pending() {
                            tell.set();
                        }
                        poll
                    })
                    .await
                });
                assert!(hog_until(|| waits.is_set()), "no worker takes the reader");
                peer.write_all(b"x").unwrap();
                (hog_until(|| reader.is_finished()), reader, peer)
            });
            let (told, reader, peer) = runtime.must_run(hog).unwrap();
            assert!(told, "verb {verb}: not woken");
            assert_eq!(runtime.must_run(reader).unwrap().unwrap(), b"x");
            drop(peer);
            log.take(Kind::Hog);
        }
    });
}

/// Holds this worker for up to 30 ms.
fn hog_for(ms: usize) {
    let since = Instant::now();
    hog_until(|| since.elapsed() > Duration::from_millis(ms as u64 % 30));
}

#[test]
fn bytes_keep_their_order_while_workers_are_held() {
    // Goal: bytes that another worker receives in the place of a held home come after those that
    // the home received; method: echoes of numbered streams by leases, while tasks hold one worker
    // or the other for some ms; each byte is checked on its way back.
    const STREAMS: usize = 6;
    const LEN: usize = 150_000;
    on_every(|cfg| {
        if cfg.single() {
            return;
        }
        let runtime = cfg.runtime();
        let log = runtime.log().clone();
        let stop = Arc::new(AtomicBool::new(false));
        let hogs: Vec<_> = (0..cfg.workers - 1)
            .map(|index| {
                let (stop, mut rng) = (stop.clone(), cfg.rng(index as u64));
                runtime.spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        hog_for(rng.below(30));
                        for _ in 0..rng.below(4) {
                            yield_now().await;
                        }
                        sleep(Duration::from_micros(rng.below(3000) as u64)).await;
                    }
                })
            })
            .collect();
        for round in 0..scaled(1) as u64 {
            let mut rng = cfg.rng(100 + round);
            let seeds: Vec<u64> = (0..STREAMS).map(|_| rng.next()).collect();
            runtime.must_run(async move {
                let tasks: Vec<_> =
                    seeds.into_iter().map(|seed| spawn(exchange(seed, LEN))).collect();
                for task in tasks {
                    task.await.unwrap();
                }
            });
        }
        stop.store(true, Ordering::Relaxed);
        for hog in hogs {
            runtime.must_run(hog).unwrap();
        }
        log.take(Kind::Hog);
    });
}

/// Sends a numbered stream in pieces to an echo by leases, and checks the bytes that come back.
async fn exchange(seed: u64, len: usize) {
    let (mut near, mut far) = pair().await;
    let echo = spawn(async move {
        loop {
            let lease = near.read_lease().await.unwrap();
            if lease.is_empty() {
                break;
            }
            near.write_lease(lease).await.unwrap();
            near.flush().await.unwrap();
        }
    });
    let mut rng = crate::harness::Rng::new(seed);
    let mut offset = 0;
    while offset < len {
        let mut piece = vec![0; (1 + rng.below(4000)).min(len - offset)];
        fill_pattern(&mut piece, offset);
        // In two writes, so that a read can come between them.
        let (first, second) = piece.split_at(rng.below(piece.len()));
        far.write_all(first).await.unwrap();
        far.write_all(second).await.unwrap();
        let mut back = vec![0; piece.len()];
        far.read_exact(&mut back).await.unwrap();
        check_pattern(&back, offset);
        offset += piece.len();
    }
    far.close().await.unwrap();
    echo.await.unwrap();
}

#[test]
fn connections_of_a_stuck_worker_are_accepted_and_served() {
    // Goal: a service goes on while the worker that accepts is held: a new connection is accepted
    // and answered; method: the home of a listener spins until a client has its answer.
    on_every(|cfg| {
        if cfg.single() {
            return;
        }
        let runtime = cfg.runtime();
        let log = runtime.log().clone();
        let hog = runtime.spawn(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            assert!(poll_once(listener.accept()).is_none());
            let server = spawn(async move {
                for _ in 0..3 {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    drop(spawn(async move {
                        let lease = stream.read_lease().await.unwrap();
                        stream.write_lease(lease).await.unwrap();
                        stream.close().await.unwrap();
                    }));
                }
            });
            let client = thread::spawn(move || {
                for _ in 0..3 {
                    let mut peer = std::net::TcpStream::connect(addr).unwrap();
                    peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                    peer.write_all(b"hello").unwrap();
                    let mut text = String::new();
                    peer.read_to_string(&mut text).unwrap();
                    assert_eq!(text, "hello");
                }
            });
            hog_until(|| client.is_finished());
            (client, server)
        });
        let (client, server) = runtime.must_run(hog).unwrap();
        client.join().expect("accepted and served");
        runtime.must_run(server).unwrap();
        log.take(Kind::Hog);
    });
}

#[test]
fn timers_of_a_stuck_worker_fire() {
    // Goal: timers on a held worker fire in time; method: a task arms sleeps and then spins until
    // they are over for tasks on other workers: two, of which one was reset, and one that is
    // dropped.
    on_every(|cfg| {
        if cfg.single() {
            return;
        }
        let runtime = cfg.runtime();
        let log = runtime.log().clone();
        let hog = runtime.spawn(async move {
            let [mut first, mut second, mut dropped] =
                [3, 3_600_000, 7].map(|ms| Box::pin(sleep(Duration::from_millis(ms))));
            assert!(poll_once(&mut first).is_none());
            assert!(poll_once(&mut second).is_none());
            assert!(poll_once(&mut dropped).is_none());
            let (over, since) = (Flag::new(), Instant::now());
            second.as_mut().get_mut().reset(Moment::now() + Duration::from_millis(5));
            let tell = over.clone();
            let sleeper = spawn(async move {
                drop(dropped);
                second.await;
                first.await;
                assert!(since.elapsed() >= Duration::from_millis(5), "early");
                tell.set();
            });
            (hog_until(|| over.is_set()), sleeper)
        });
        let (over, sleeper) = runtime.must_run(hog).unwrap();
        assert!(over, "no sleep ended");
        runtime.must_run(sleeper).unwrap();
        log.take(Kind::Hog);
    });
}

/// Waits until no worker wakes any more.
fn rest(runtime: &TestRuntime) {
    let wakeups = || runtime.handle().metrics().wakeups;
    let mut before = (wakeups(), Instant::now());
    while before.1.elapsed() < Duration::from_millis(600) {
        if wakeups() != before.0 {
            before = (wakeups(), Instant::now());
        }
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn worker_that_wakes_alone_and_gets_stuck_is_found() {
    // Goal: a message to an idle service, whose handler blocks, does not hold up the others;
    // method: two streams of one home; a message makes the task of the first spin, with nothing
    // queued behind it, and only then comes a message for the second, which ends the spinning.
    // First when no worker wakes any more; then some time after a message that did not block, when
    // there may be no patrol and no worker had to be woken; also from the start, when there may
    // never have been a patrol.
    const PAUSES: [u64; 4] = [0, 10, 40, 90];
    on_every(|cfg| {
        if cfg.single() {
            return;
        }
        for rested in [true, false] {
            let runtime = cfg.runtime();
            let log = runtime.log().clone();
            let rounds: Vec<_> = (0..=PAUSES.len()).map(|_| (Flag::new(), Flag::new())).collect();
            let flags = rounds.clone();
            let setup = runtime.spawn(async move {
                let (mut blocks, first) = settled_pair(1).await;
                let (mut echoes, second) = settled_pair(1).await;
                let blocker = spawn(async move {
                    let mut flags = flags.iter();
                    while let Some(&byte) = read(&mut blocks, 1).await.unwrap().first() {
                        if byte == b'b' {
                            let (spins, served) = flags.next().unwrap();
                            spins.set();
                            assert!(hog_until(|| served.is_set()));
                        } else {
                            blocks.write_all(b".").await.unwrap();
                        }
                    }
                });
                let echo = spawn(async move {
                    loop {
                        let bytes = read(&mut echoes, 1).await.unwrap();
                        if bytes.is_empty() {
                            break;
                        }
                        echoes.write_all(&bytes).await.unwrap();
                    }
                });
                (first, second, blocker, echo)
            });
            let (mut first, mut second, blocker, echo) = runtime.must_run(setup).unwrap();
            if rested {
                rest(&runtime);
            }
            for (round, (spins, served)) in rounds.iter().enumerate() {
                if let Some(pause) = round.checked_sub(1).map(|round| PAUSES[round]) {
                    first.write_all(b".").unwrap();
                    first.read_exact(&mut [0]).unwrap();
                    thread::sleep(Duration::from_millis(pause));
                }
                first.write_all(b"b").unwrap();
                wait_until(|| spins.is_set(), || format!("round {round}: the task to spin"));
                second.write_all(b"echo").unwrap();
                let mut buf = [0; 4];
                let answer = second.read_exact(&mut buf).map(|()| buf);
                served.set();
                assert_eq!(
                    &answer.unwrap_or_else(|_| panic!("round {round}: not served")),
                    b"echo"
                );
            }
            drop((first, second));
            runtime.must_run(blocker).unwrap();
            runtime.must_run(echo).unwrap();
            log.take(Kind::Hog);
        }
    });
}

/// The tests above pass on epoll for other reasons: this one shows that rings were tested.
#[test]
fn rings_are_among_the_cases() {
    on_every(|cfg| {
        cfg.once(async {
            let on_a_ring = ringloop::backend().backend == Backend::Uring;
            assert_eq!(on_a_ring, cfg.to_string().starts_with("uring"));
        });
    });
}
