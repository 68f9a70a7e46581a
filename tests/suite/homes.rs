//! Sockets that move: between the workers of a runtime, to plain threads, and to another runtime,
//! while the worker that has their operations sleeps, is held by a long poll, runs or has ended.

use std::future::Future;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ringloop::io::{AsyncReadExt, AsyncWriteExt};
use ringloop::net::TcpStream;
use ringloop::{Backend, Handle, spawn, yield_now};
use socket2::{Domain, Socket, Type};

use crate::faces::{Mint, WRITES, reset, write_by};
use crate::harness::{Cfg, loud, on_every, wait_until};
use crate::net_stream::{narrow_pair, pair};
use crate::tools::{AddOnDrop, Count, Flag, Polled, check_pattern, fill_pattern};

/// The limit for what happens "at once". A longer wait is taken to be endless.
const AT_ONCE: Duration = Duration::from_secs(3);

/// More bytes than two narrow sockets hold together.
pub const TOO_MUCH: usize = 100_000;

pub type Plain = std::net::TcpStream;

/// A TCP socket with small segments and buffers (see `narrow_pair`), from its first segment on: a
/// window that is made smaller after it was offered costs retransmissions.
fn narrow_socket() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_tcp_mss(1000).unwrap();
    socket.set_recv_buffer_size(8 << 10).unwrap();
    socket.set_send_buffer_size(8 << 10).unwrap();
    socket
}

/// A narrow stream and its plain, blocking peer.
pub fn plain_pair() -> (TcpStream, Plain) {
    let (listener, peer) = (narrow_socket(), narrow_socket());
    // As in the standard library: after many tests, many ports are still in TIME_WAIT.
    listener.set_reuse_address(true).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(1).unwrap();
    peer.connect(&listener.local_addr().unwrap()).unwrap();
    let (near, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(AT_ONCE)).unwrap();
    near.set_nonblocking(true).unwrap();
    (TcpStream::from_std(near.into()).unwrap(), peer.into())
}

/// Polls a future a single time, with a waker that does nothing, and drops it.
pub fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// Writes the numbered stream from `offset` on until nothing fits; returns the number of bytes.
pub fn fill(near: &TcpStream, offset: usize) -> usize {
    let (mut buf, mut sent) = ([0; 2000], 0);
    loop {
        fill_pattern(&mut buf, offset + sent);
        match near.try_write(&buf) {
            Ok(n) => sent += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return sent,
            Err(error) => panic!("after {sent} bytes: {error}"),
        }
    }
}

/// Writes `len` bytes of the numbered stream as leases.
pub async fn lend(near: &mut TcpStream, offset: usize, len: usize) {
    for lease in Mint::new().await.pattern(offset, len).await {
        near.write_lease(lease).await.unwrap();
    }
}

/// Fails when the future takes longer. (A wake by the timeout would poll the future again, and so
/// hide that its own wake was lost.)
async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    let begun = Instant::now();
    let output = crate::faces::soon(what, future).await;
    assert!(begun.elapsed() < AT_ONCE, "late: {what}");
    output
}

/// Runs a test on one worker with a ring: the limits are per worker, and on epoll no bytes stay
/// queued whose writer has not waited for them.
fn on_one_ring<F: Future<Output = ()>>(test: impl Fn() -> F) {
    on_every(|cfg| {
        if cfg.single() {
            cfg.once(async {
                if on_a_ring() {
                    test().await;
                }
            });
        }
    });
}

pub fn on_a_ring() -> bool {
    ringloop::backend().backend == Backend::Uring
}

/// Reads `total` bytes of the numbered stream.
pub fn expect(peer: &mut Plain, total: usize) {
    let mut buf = vec![0; total];
    peer.read_exact(&mut buf).unwrap_or_else(|error| panic!("of {total} bytes: {error}"));
    check_pattern(&buf, 0);
}

/// Reads `total` bytes on a thread, and then the end, which must come at once after `dropped`.
/// `done` is set in any case.
fn expect_all(mut peer: Plain, total: usize, dropped: &Flag, done: &Flag) -> JoinHandle<()> {
    let (dropped, done) = (dropped.clone(), crate::tools::SetOnDrop(done.clone()));
    thread::spawn(move || {
        let _done = done;
        wait_until(|| dropped.is_set(), || "the drop".to_owned());
        let begun = Instant::now();
        expect(&mut peer, total);
        let end = peer.read(&mut [0; 1]);
        assert_eq!(end.expect("the end"), 0, "after {:?}", begun.elapsed());
    })
}

#[test]
fn failed_send_is_returned_by_the_next_write() {
    // Goal: the error of a send that the ring went on with is returned by the next write, in
    // whatever way, and no task spins; method: leases past the high-water mark, a reset, room
    // again; each way to write.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (mut mint, gone) =
                (Mint::new().await, [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe]);
            for verb in 0..WRITES + 1 {
                let (mut near, far) = narrow_pair().await;
                for lease in mint.pattern(0, 400_000).await {
                    // A new budget, so that only a full queue makes it wait.
                    yield_now().await;
                    if poll_once(near.write_lease(lease)).is_none() {
                        break;
                    }
                }
                reset(far);
                soon("room, since the peer is gone", near.writable()).await.unwrap();
                for round in 0..2 {
                    let polls = Count::new();
                    let write = async move {
                        match verb {
                            WRITES => {
                                let result = near.try_write(b"later").map(drop);
                                (near, result)
                            }
                            _ => write_by(near, verb, b"later").await,
                        }
                    };
                    let what = format!("verb {verb}, round {round}");
                    let result;
                    (near, result) = soon(&what, Polled::new(write, &polls)).await;
                    let kind = result.expect_err(&what).kind();
                    assert!(gone.contains(&kind), "{what}: {kind}");
                    assert!(polls.get() < 10, "{what}: {} polls", polls.get());
                }
            }
        });
    });
}

#[test]
fn dropped_stream_ends_though_its_worker_sleeps() {
    // Goal: the bytes that were written and the end arrive at once, and do not wait for a tick of a
    // worker that has nothing else to do; method: a lease that is sent directly or has to wait; no
    // home, a receive armed there, or nothing in flight; the drop at home, or on a plain thread
    // while the runtime is idle.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for (total, home, away) in
                (0..12).map(|case| ([1, TOO_MUCH][case / 6], case / 2 % 3, case % 2 == 1))
            {
                if total == TOO_MUCH && !on_a_ring() {
                    // On epoll no bytes stay queued whose writer has not waited for them.
                    continue;
                }
                let (mut near, mut peer) = plain_pair();
                let (dropped, done) = (Flag::new(), Flag::new());
                match home {
                    0 => {}
                    1 => near = touch(near, 1).await,
                    _ => peer = settle_here(&mut near, peer).await,
                }
                lend(&mut near, 0, total).await;
                let reader = expect_all(peer, total, &dropped, &done);
                if away {
                    let handle = Handle::current();
                    let parks = handle.metrics().parks;
                    let dropped = dropped.clone();
                    thread::spawn(move || {
                        wait_until(|| handle.metrics().parks > parks, || "a park".to_owned());
                        drop(near);
                        dropped.set();
                    });
                } else {
                    drop(near);
                    dropped.set();
                }
                done.wait().await;
                let what = format!("{total} bytes, home {home}, on a thread: {away}");
                reader.join().unwrap_or_else(|_| panic!("{what}"));
            }
        });
    });
}

/// Makes the current worker the home of `near`, with nothing left in flight there.
pub async fn settle_here(near: &mut TcpStream, peer: Plain) -> Plain {
    let mut ours = peer.try_clone().unwrap();
    let reader = thread::spawn(move || expect(&mut ours, TOO_MUCH));
    lend(near, 0, TOO_MUCH).await;
    soon("the reader", near.flush()).await.unwrap();
    reader.join().unwrap();
    peer
}

/// Polls a read by `verb` on another worker than this one, which makes no tick meanwhile.
async fn poll_elsewhere(mut near: TcpStream, verb: usize) -> TcpStream {
    let here = thread::current().id();
    loop {
        let task = spawn(async move {
            let elsewhere = thread::current().id() != here;
            if elsewhere {
                match verb {
                    0 => assert!(poll_once(AsyncReadExt::read(&mut near, &mut [0; 8])).is_none()),
                    1 => assert!(poll_once(near.read_lease()).is_none()),
                    _ => assert!(poll_once(near.readable()).is_none()),
                }
            }
            (near, elsewhere)
        });
        let begun = Instant::now();
        while !task.is_finished() && begun.elapsed() < Duration::from_millis(100) {
            std::hint::spin_loop();
        }
        let elsewhere;
        (near, elsewhere) = task.await.unwrap();
        if elsewhere {
            return near;
        }
    }
}

#[test]
fn dropped_at_home_with_requests_under_way() {
    // Goal: a request that comes after the drop arms nothing that would keep the descriptor open;
    // method: another worker polls a read once, and so sends a request to the home, which drops the
    // stream before it takes the request; the peer sees the end at once.
    on_every(|cfg| {
        if cfg.single() {
            return;
        }
        cfg.once(async {
            for verb in 0..3 {
                let (mut near, peer) = plain_pair();
                let peer = settle_here(&mut near, peer).await;
                let near = poll_elsewhere(near, verb).await;
                let (dropped, done) = (Flag::new(), Flag::new());
                let reader = expect_all(peer, 0, &dropped, &done);
                drop(near);
                dropped.set();
                done.wait().await;
                reader.join().unwrap_or_else(|_| panic!("verb {verb}"));
            }
        });
    });
}

/// The backends that a socket's first runtime may have.
pub fn first_homes() -> impl Iterator<Item = Cfg> {
    Cfg::all().into_iter().filter(Cfg::single)
}

/// Answers each `TOO_MUCH` bytes with `TOO_MUCH`, on a thread, until the end.
fn partner(mut peer: Plain) -> JoinHandle<()> {
    thread::spawn(move || {
        peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut buf = vec![0; TOO_MUCH];
        while peer.peek(&mut [0; 1]).unwrap() > 0 {
            expect(&mut peer, TOO_MUCH);
            fill_pattern(&mut buf, 0);
            peer.write_all(&buf).unwrap();
        }
    })
}

/// Sends more than fits, and waits for the partner's answer, by `verb`.
async fn exchange(mut near: TcpStream, verb: usize) -> TcpStream {
    soon("room for leases", lend(&mut near, 0, TOO_MUCH)).await;
    soon("flush", near.flush()).await.unwrap();
    let mut got = 0;
    while got < TOO_MUCH {
        let mut buf = [0; 5000];
        let room = buf.len().min(TOO_MUCH - got);
        let n = match verb % 3 {
            0 => {
                let lease = soon("a lease", near.read_lease()).await.unwrap();
                check_pattern(&lease, got);
                lease.len()
            }
            verb => {
                if verb == 1 {
                    soon("readable", near.readable()).await.unwrap();
                }
                let n =
                    soon("a read", AsyncReadExt::read(&mut near, &mut buf[..room])).await.unwrap();
                check_pattern(&buf[..n], got);
                n
            }
        };
        assert!(n > 0, "end of stream after {got} bytes");
        got += n;
    }
    near
}

/// Makes a worker of the current runtime the home, in one way or another.
async fn touch(mut near: TcpStream, way: usize) -> TcpStream {
    match way {
        0 => assert!(poll_once(AsyncReadExt::read(&mut near, &mut [0; 1])).is_none()),
        1 => assert!(poll_once(near.read_lease()).is_none()),
        _ => return exchange(near, way).await,
    }
    yield_now().await;
    near
}

#[test]
fn stream_works_far_from_its_home() {
    // Goal: a socket whose home is in one runtime works in another, of whatever backend, while the
    // first goes on; method: more bytes than fit, in both directions, in the second, back home, and
    // in the second again; reads wait.
    on_every(|cfg| {
        for home in first_homes() {
            for way in 0..3 {
                let (first, second) = (home.runtime(), cfg.runtime());
                let (near, peer) = plain_pair();
                let partner = partner(peer);
                let near = first.must_run(touch(near, way));
                let near = second.must_run(exchange(near, way));
                let near = first.must_run(exchange(near, way + 1));
                let near = second.must_run(exchange(near, way + 2));
                second.must_run(async move { drop(near) });
                partner.join().unwrap_or_else(|_| panic!("home: {home}, way {way}"));
            }
        }
    });
}

#[test]
fn stream_outlives_the_runtime_of_its_home() {
    // Goal: a socket whose home has ended gets another one, of whatever backend; method: a runtime
    // makes itself the home and ends; then more bytes than fit, in both directions, in the next.
    on_every(|cfg| {
        for home in first_homes() {
            for way in 0..3 {
                let (near, peer) = plain_pair();
                let partner = partner(peer);
                let first = home.runtime().into_inner();
                let near = first.run(touch(near, way)).unwrap();
                let report = first.shutdown(Duration::from_secs(10));
                assert!(report.is_clean(), "{report:?}");
                let second = cfg.runtime();
                let near = second.must_run(async move {
                    let near = exchange(near, way).await;
                    exchange(near, way + 1).await
                });
                drop(near);
                partner.join().unwrap_or_else(|_| panic!("home: {home}, way {way}"));
            }
        }
    });
}

#[test]
fn reader_far_from_home_survives_the_homes_end() {
    // Goal: a reader is not forgotten when its home has never answered its request, or can no
    // longer serve it; method: the reader waits in one runtime, the home idles or has a long poll
    // in another, which ends; then the peer writes.
    on_every(|cfg| {
        for home in first_homes() {
            for (way, hogs, verb) in
                [(0, true, 0), (0, true, 1), (1, true, 1), (0, false, 0), (1, false, 1)]
            {
                let (near, mut peer) = plain_pair();
                let (sender, receiver) = mpsc::channel();
                let (stop, waits) = (Arc::new(AtomicBool::new(false)), Flag::new());
                let (stopped, waited, builder) = (stop.clone(), waits.clone(), home.builder());
                let first = thread::spawn(move || {
                    let ended = builder.run(async move {
                        let near = touch(near, way).await;
                        sender.send(near).unwrap();
                        while hogs && !stopped.load(Ordering::SeqCst) {
                            std::hint::spin_loop();
                        }
                        waited.wait().await;
                    });
                    ended.unwrap();
                });
                let second = cfg.runtime();
                let mut near = receiver.recv().unwrap();
                let (polls, mut buf) = (Count::new(), [0; 5]);
                let count = polls.clone();
                let reader = second.spawn(async move {
                    let read = async {
                        match verb {
                            0 => near.read_exact(&mut buf).await.unwrap(),
                            _ => buf.copy_from_slice(&near.read_lease().await.unwrap()),
                        }
                    };
                    soon("a reader without a home", Polled::new(read, &count)).await;
                    buf
                });
                wait_until(|| polls.get() > 0, || "a poll".to_owned());
                // Its worker has nothing else to do: it sleeps soon after its request.
                let parks = second.metrics().parks;
                wait_until(|| second.metrics().parks >= parks.max(1), || "a park".to_owned());
                stop.store(true, Ordering::SeqCst);
                waits.set();
                first.join().unwrap();
                peer.write_all(b"hello").unwrap();
                let read = second.must_run(reader);
                assert_eq!(&read.unwrap(), b"hello", "{home}, hogs: {hogs}, verb {verb}");
            }
        }
    });
}

#[test]
fn slow_peer_is_not_reset_for_streams_that_linger_for_a_moment() {
    // Goal: only connections that still linger count against the limit of those that may; method: a
    // stream is dropped with bytes that its peer does not read. Then more than the limit of others
    // are dropped, a few at a time, whose peers read; at last the slow peer gets everything.
    on_one_ring(|| async {
        let (mut mint, begun) = (Mint::new().await, Instant::now());
        let (near, slow) = plain_pair();
        let sent = fill(&near, 0);
        linger(near, sent, &mut mint).await;
        for _ in 0..11 {
            let mut peers = Vec::new();
            for _ in 0..100 {
                let (near, peer) = plain_pair();
                linger(near, 0, &mut mint).await;
                peers.push(peer);
            }
            let readers: Vec<_> = peers.into_iter().map(|peer| spawn(read_all(peer))).collect();
            for reader in readers {
                soon("a peer that reads", reader).await.unwrap().expect("all of it");
            }
        }
        if begun.elapsed() > Duration::from_secs(8) {
            return loud("NOTE: too slow to see whether a slow peer is kept");
        }
        let all = soon("the slow peer", read_all(slow)).await.expect("no reset");
        check_pattern(&all, 0);
        assert_eq!(all.len(), sent + LINGERS);
    });
}

#[test]
fn each_stream_above_the_limit_of_lingering_ones_resets_one() {
    // Goal: peers that do not read cannot keep any number of connections open; method: more streams
    // than may linger are dropped with bytes that their peers do not read: for each one above the
    // limit, one is reset.
    const MORE: usize = 100;
    on_one_ring(|| async {
        let (mut mint, mut peers) = (Mint::new().await, Vec::new());
        for _ in 0..1024 + MORE {
            let (near, peer) = plain_pair();
            linger(near, 0, &mut mint).await;
            peers.push(peer);
        }
        soon("the resets", async {
            let mut reset = 0;
            while reset < MORE {
                let told = |peer: &Plain| peer.take_error().unwrap().is_some();
                reset += peers.iter().filter(|peer| told(peer)).count();
                yield_now().await;
            }
        })
        .await;
        peers.into_iter().for_each(|peer| reset(TcpStream::from_std(peer).unwrap()));
    });
}

#[test]
fn peers_that_shut_their_side_and_do_not_read_hold_up_no_other() {
    // Goal: a peer that has shut its sending side may still read; method: many that have shut it
    // and do not read, each with more to be sent than fits, and then one that reads.
    const DEAF: usize = 40;
    on_every(|cfg| {
        if !cfg.single() {
            return;
        }
        cfg.once(async {
            let mut deaf = Vec::new();
            for _ in 0..DEAF {
                let (mut near, peer) = plain_pair();
                peer.shutdown(std::net::Shutdown::Write).unwrap();
                let writer = spawn(async move {
                    lend(&mut near, 0, TOO_MUCH).await;
                    near.flush().await.unwrap();
                });
                deaf.push((writer, peer));
            }
            let (mut near, mut peer) = plain_pair();
            peer.shutdown(std::net::Shutdown::Write).unwrap();
            let sent = fill(&near, 0);
            // Time for the kernel to give up on them: with too little, the test shows nothing.
            ringloop::time::sleep(Duration::from_millis(50)).await;
            let writer = spawn(async move {
                lend(&mut near, sent, TOO_MUCH).await;
                near.flush().await.unwrap();
                near
            });
            let reader = thread::spawn(move || expect(&mut peer, sent + TOO_MUCH));
            soon("flush", writer).await.unwrap();
            reader.join().unwrap();
            for (writer, peer) in deaf {
                writer.abort();
                drop(peer);
            }
        });
    });
}

#[test]
fn nothing_is_written_after_a_shutdown_that_waits() {
    // Goal: shutdown(Write) sends the queued bytes, and nothing that is written later; method: more
    // bytes than fit are queued, then the shutdown, then each way to write; the peer reads to the
    // end.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            if !on_a_ring() {
                // On epoll no bytes stay queued whose writer has not waited for them.
                return;
            }
            let (mut near, mut peer) = plain_pair();
            let sent = fill(&near, 0);
            lend(&mut near, sent, TOO_MUCH).await;
            near.shutdown_now(std::net::Shutdown::Write).unwrap();
            let error = near.write_all(b"after").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            let error = near.try_write(b"after").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            for lease in Mint::new().await.leases(b"after").await {
                let error = near.write_lease(lease).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            }
            let reader = thread::spawn(move || {
                expect(&mut peer, sent + TOO_MUCH);
                assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
                peer
            });
            soon("flush", near.flush()).await.unwrap();
            let peer = reader.join().unwrap();
            assert!(near.write_all(b"after").await.is_err());
            drop((near, peer));
        });
    });
}

#[test]
fn user_of_a_stream_does_not_wait_for_the_last_bytes_of_the_runtime_of_its_home() {
    // Goal: a runtime that ends while it still has bytes to send serves its streams that another
    // runtime uses; method: a stream at home in the first is read and written in the second, while
    // a peer that does not read holds up the end of the first.
    on_every(|cfg| {
        let (first, second) = (cfg.runtime(), cfg.runtime());
        let (mut near, mut peer) = plain_pair();
        let (deaf, silent) = plain_pair();
        let Some(mut near) = first.must_run(async {
            if !on_a_ring() {
                return None;
            }
            for _ in 0..4 {
                peer.write_all(b"x").unwrap();
                assert_eq!(soon("a lease", near.read_lease()).await.unwrap().len(), 1);
            }
            assert!(poll_once(near.read_lease()).is_none());
            linger(deaf, 0, &mut Mint::new().await).await;
            Some(near)
        }) else {
            return;
        };
        let end = thread::spawn(|| first.into_inner().shutdown(Duration::from_secs(10)));
        // Time to get there: with too little, the test shows nothing.
        thread::sleep(Duration::from_millis(20));
        let begun = Instant::now();
        second.must_run(async move {
            for _ in 0..40 {
                peer.write_all(&[7; 5000]).unwrap();
                let mut got = 0;
                while got < 5000 {
                    got += soon("a lease", near.read_lease()).await.unwrap().len();
                }
            }
            let sent = fill(&near, 0);
            lend(&mut near, sent, TOO_MUCH).await;
            let reader = thread::spawn(move || {
                expect(&mut peer, sent + TOO_MUCH);
                peer
            });
            soon("flush", near.flush()).await.unwrap();
            let peer = reader.join().unwrap();
            drop((near, peer));
        });
        let took = begun.elapsed();
        drop(silent);
        end.join().unwrap();
        assert!(took < Duration::from_millis(1500), "took {took:?}");
    });
}

async fn read_all(peer: Plain) -> std::io::Result<Vec<u8>> {
    let (mut peer, mut all) = (TcpStream::from_std(peer).unwrap(), Vec::new());
    peer.read_to_end(&mut all).await.map(|_| all)
}

/// More bytes than a narrow pair holds.
const LINGERS: usize = 40_000;

/// Drops a stream with bytes still to be sent.
async fn linger(mut near: TcpStream, offset: usize, mint: &mut Mint) {
    for lease in mint.pattern(offset, LINGERS).await {
        near.write_lease(lease).await.unwrap();
    }
    assert!(poll_once(near.flush()).is_none(), "everything went at once");
}

#[test]
fn writes_without_waiting_go_behind_a_send_that_waits() {
    // Goal: try_write neither overtakes a queue that waits nor lets it grow for ever, and no task
    // spins on a send that waits; method: a peer that reads nothing, leases, try_write until
    // nothing fits; the peer reads: everything is there, in order.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let (mut near, mut peer) = plain_pair();
        let (near, total) = runtime.must_run(async move {
            let mut total = fill(&near, 0);
            if on_a_ring() {
                lend(&mut near, total, TOO_MUCH).await;
                total += TOO_MUCH;
                let mut byte = [0];
                fill_pattern(&mut byte, total);
                assert_eq!(near.try_write(&byte).expect("there is room behind"), 1);
                total += 1;
            }
            (near, total)
        });
        thread::sleep(Duration::from_millis(10));
        let before = runtime.metrics();
        thread::sleep(Duration::from_millis(50));
        let after = runtime.metrics();
        let (parks, polls) = (after.parks - before.parks, after.polls - before.polls);
        assert!(parks < 50 && polls < 50, "{parks} parks and {polls} polls while nothing is sent");
        let (near, total) = runtime.must_run(async move {
            let more = fill(&near, total);
            assert!(more < 600_000, "{more} bytes behind a send that waits");
            if on_a_ring() {
                assert!(poll_once(near.writable()).is_none(), "{more} bytes more");
            }
            (near, total + more)
        });
        let reader = thread::spawn(move || {
            expect(&mut peer, total);
            peer
        });
        runtime.must_run(async {
            soon("room", near.writable()).await.unwrap();
            let mut near = near;
            soon("flush", near.flush()).await.unwrap();
            let peer = reader.join().unwrap();
            drop((near, peer));
        });
    });
}

#[test]
fn writes_behind_a_send_let_others_run() {
    // Goal: a task whose writes are all queued at once yields; method: tiny writes behind a send that
    // waits, until one has to wait though there is room.
    on_one_ring(|| async {
        let (mut near, _peer) = plain_pair();
        fill(&near, 0);
        lend(&mut near, 0, TOO_MUCH).await;
        yield_now().await;
        let written = std::future::poll_fn(|cx| {
            let writes = (0..200)
                .take_while(|_| pin!(AsyncWriteExt::write(&mut near, b"x")).poll(cx).is_ready());
            Poll::Ready(writes.count())
        });
        assert!(written.await < 200, "no other task has a turn");
        assert_eq!(near.try_write(b"x").expect("there is room"), 1);
        soon("a turn, and a write", near.write_all(b"x")).await.unwrap();
    });
}

#[test]
fn writer_that_waits_for_room_beside_a_receive_is_woken() {
    // Goal: a writer is woken for room while a reader of the same stream waits for a lease; method:
    // some exchanges of a byte, then the reader waits, the writer fills the socket and waits, and
    // the peer reads.
    const LEN: usize = 1 << 20;
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for before in 0..4 {
                // The accepted end: the other has been polled for its connect.
                let (mut peer, mut near) = narrow_pair().await;
                for _ in 0..before {
                    peer.write_all(b"x").await.unwrap();
                    assert_eq!(soon("a lease", near.read_lease()).await.unwrap().len(), 1);
                }
                let (mut reader, mut writer) = near.into_split();
                let (reads, writes) = (Count::new(), Count::new());
                let read = async move { reader.read_lease().await.unwrap().len() };
                let write = async move { writer.write_all(&[7; LEN]).await.unwrap() };
                let read = spawn(Polled::new(Box::pin(read), &reads));
                while reads.get() == 0 {
                    yield_now().await;
                }
                let write = spawn(Polled::new(Box::pin(write), &writes));
                while writes.get() == 0 {
                    yield_now().await;
                }
                let what = format!("room after {before} exchanges");
                soon(&what, peer.read_exact(&mut vec![0; LEN])).await.unwrap();
                soon(&what, write).await.unwrap();
                peer.write_all(b"x").await.unwrap();
                assert_eq!(soon("the last lease", read).await.unwrap(), 1);
            }
        });
    });
}

#[test]
fn all_tasks_that_wait_to_read_beside_a_receive_are_woken() {
    // Goal: several tasks may wait for one stream; method: a receive is armed, tasks wait for it to be
    // readable; one byte, and all go on.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (mut near, mut peer) = plain_pair();
            assert!(poll_once(near.read_lease()).is_none());
            let near = Arc::new(near);
            let polls: Vec<_> = (0..40).map(|_| Count::new()).collect();
            let waiting: Vec<_> = polls
                .iter()
                .map(|polls| {
                    let (near, polls) = (near.clone(), polls.clone());
                    spawn(async move {
                        let wait = async { near.readable().await.unwrap() };
                        soon("one of the waiting tasks", Polled::new(wait, &polls)).await;
                    })
                })
                .collect();
            for polls in &polls {
                soon("first polls", async {
                    while polls.get() == 0 {
                        yield_now().await;
                    }
                })
                .await;
            }
            peer.write_all(b"x").unwrap();
            for waiting in waiting {
                waiting.await.unwrap();
            }
            assert_eq!(near.try_read(&mut [0; 4]).unwrap(), 1);
        });
    });
}

/// Reads by one of four verbs, of which the first does not wait.
async fn read_somehow(near: &mut TcpStream, verb: usize) -> std::io::Result<usize> {
    let mut buf = [0; 4];
    match verb {
        0 => near.try_read(&mut buf),
        1 => near.peek(&mut buf).await,
        2 => AsyncReadExt::read(near, &mut buf).await,
        _ => near.read_lease().await.map(|lease| lease.len()),
    }
}

#[test]
fn reset_beside_a_receive_is_returned_once() {
    // Goal: a reset is returned by the first read, in whatever way, and then comes the end; method:
    // a receive armed or not, a reset, and all pairs of ways to read.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for (armed, verb, then) in (0..32).map(|case| (case / 16 == 1, case / 4 % 4, case % 4))
            {
                let (mut near, far) = pair().await;
                if armed {
                    assert!(poll_once(near.read_lease()).is_none());
                    yield_now().await;
                }
                let what = format!("armed: {armed}, verb {verb}, then {then}");
                reset(far);
                soon(&what, near.readable()).await.unwrap();
                let told = soon(&what, read_somehow(&mut near, verb)).await;
                let kind = told.map_err(|error| error.kind());
                assert_eq!(kind, Err(ErrorKind::ConnectionReset), "{what}");
                for _ in 0..2 {
                    let told = soon(&what, read_somehow(&mut near, then)).await;
                    assert_eq!(told.map_err(|error| error.kind()), Ok(0), "{what}");
                }
            }
        });
    });
}

/// A waker as the stream gets it from a task.
struct Passer(#[expect(dead_code, reason = "counts when it is dropped")] AddOnDrop);

impl Wake for Passer {
    fn wake(self: Arc<Self>) {}
}

/// Polls a wait of one kind a single time, and drops it; returns whether it had to wait.
fn wait_and_give_up(near: &mut TcpStream, way: usize, waker: &Waker) -> bool {
    let mut cx = Context::from_waker(waker);
    match way {
        0 => pin!(near.read_lease()).poll(&mut cx).is_pending(),
        1 => pin!(AsyncReadExt::read(near, &mut [0; 4])).poll(&mut cx).is_pending(),
        2 | 3 => pin!(near.readable()).poll(&mut cx).is_pending(),
        4 => pin!(near.flush()).poll(&mut cx).is_pending(),
        5 => pin!(near.writable()).poll(&mut cx).is_pending(),
        _ => pin!(AsyncWriteExt::write(near, b"x")).poll(&mut cx).is_pending(),
    }
}

#[test]
fn readers_and_writers_that_gave_up_are_forgotten() {
    // Goal: an idle stream does not accumulate wakers of tasks that once waited for it; method: ten
    // thousand tasks wait for a moment, for bytes, for room or for a flush, and give up; the wakers
    // that are kept are counted.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for way in 0..7 {
                let (mut near, _peer) = plain_pair();
                if way >= 4 {
                    if !on_a_ring() {
                        continue;
                    }
                    fill(&near, 0);
                    lend(&mut near, 0, TOO_MUCH).await;
                    if way > 4 {
                        fill(&near, 0);
                    }
                } else if way == 3 {
                    assert!(poll_once(near.read_lease()).is_none());
                }
                let (dropped, mut ready) = (Count::new(), 0);
                for made in 1..=10_000 {
                    let waker = Waker::from(Arc::new(Passer(dropped.on_drop())));
                    if !wait_and_give_up(&mut near, way, &waker) {
                        // The kernel probes a window that is shut, and a few bytes get through.
                        assert!(way > 4, "way {way}, the {made}th");
                        fill(&near, 0);
                        ready += 1;
                    }
                    drop(waker);
                    let kept = made - dropped.get();
                    assert!(kept < 1100, "way {way}: {kept} of {made} are kept");
                    if made % 20 == 0 {
                        yield_now().await;
                    }
                }
                assert!(ready < 1000, "way {way}: {ready} did not have to wait");
            }
        });
    });
}

#[test]
fn homes_leave_a_worker_that_is_held() {
    // Goal: sockets do not stay with a worker that a task holds again and again. Method: all are first
    // waited for on one worker, where a task then polls for 8 ms at a time; the others echo.
    const CONNECTIONS: usize = 24;
    on_every(|cfg| {
        if cfg.single() {
            return;
        }
        let (servers, clients) = (cfg.runtime(), cfg.runtime());
        let handle = servers.handle();
        let homes = || -> Vec<u64> {
            handle.metrics().per_worker.iter().map(|worker| worker.homes).collect()
        };
        let here = handle.worker_ids()[1];
        let stop = Arc::new(AtomicBool::new(false));
        let mut pairs = Vec::new();
        for count in 1..=CONNECTIONS as u64 {
            // Neither has waited yet.
            let (near, far) = plain_pair();
            far.set_nonblocking(true).unwrap();
            let first_wait = handle.spawn_on(here, move || async move {
                let mut near = near;
                near.read_exact(&mut [0; 4]).await.unwrap();
                near
            });
            wait_until(|| homes()[1] == count, || format!("it waits: {:?}", homes()));
            pairs.push((first_wait, far));
        }
        let (mut echoes, mut conversations) = (Vec::new(), Vec::new());
        for (first_wait, far) in pairs {
            let stop = stop.clone();
            conversations.push(clients.spawn(async move {
                let mut far = TcpStream::from_std(far).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    far.write_all(b"work").await.unwrap();
                    far.read_exact(&mut [0; 4]).await.unwrap();
                }
            }));
            echoes.push(servers.spawn(async move {
                let mut near = first_wait.await.unwrap();
                near.write_all(b"work").await.unwrap();
                let mut buf = [0; 4];
                while near.read(&mut buf).await.unwrap() > 0 {
                    near.write_all(&buf).await.unwrap();
                }
            }));
        }
        let stopped = stop.clone();
        let hog = handle.spawn_on(here, move || async move {
            while !stopped.load(Ordering::Relaxed) {
                let began = Instant::now();
                while began.elapsed() < Duration::from_millis(8) {
                    std::hint::spin_loop();
                }
                ringloop::time::sleep(Duration::from_millis(2)).await;
            }
        });
        wait_until(
            || homes()[1] == 0 && homes().iter().sum::<u64>() == CONNECTIONS as u64,
            || format!("all have left: {:?}", homes()),
        );
        stop.store(true, Ordering::Relaxed);
        for conversation in conversations {
            clients.must_run(conversation).unwrap();
        }
        for echo in echoes {
            servers.must_run(echo).unwrap();
        }
        servers.must_run(hog).unwrap();
    });
}

#[test]
fn first_wait_on_a_held_worker_finds_a_home_at_another() {
    // Goal: a new socket does not stay with a worker that is held because its task is polled there.
    // Method: a task holds one worker for 8 ms at a time. Between two such polls, another task there
    // spawns one that waits for a new socket. Nothing arrives there, so that its home does not move. A
    // task that may run there only keeps its socket there.
    const ROUNDS: usize = 1000;
    on_every(|cfg| {
        if cfg.single() {
            return;
        }
        let runtime = cfg.runtime();
        let handle = runtime.handle();
        let here = handle.worker_ids()[1];
        let homes = || -> Vec<u64> {
            handle.metrics().per_worker.iter().map(|worker| worker.homes).collect()
        };
        let thread = runtime.must_run(handle.spawn_on(here, || async { thread::current().id() }));
        let thread = thread.unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let hog = handle.spawn_on(here, move || async move {
            while !stopped.load(Ordering::Relaxed) {
                let began = Instant::now();
                while began.elapsed() < Duration::from_millis(8) {
                    std::hint::spin_loop();
                }
                ringloop::time::sleep(Duration::from_millis(2)).await;
            }
        });
        // Whether the first poll was there, and whether the home is.
        let wait_for_a_socket = |only_there: bool| {
            let (before, (mut near, far)) = (homes(), plain_pair());
            let (polled, first) = mpsc::channel();
            let wait = move || async move {
                polled.send(thread::current().id()).unwrap();
                assert_eq!(near.read(&mut [0; 4]).await.unwrap(), 0);
            };
            let waiting = match only_there {
                true => handle.spawn_on(here, wait),
                false => {
                    let spawner = handle.spawn_on(here, move || async move { Some(spawn(wait())) });
                    runtime.must_run(spawner).unwrap().unwrap()
                }
            };
            let all = before.iter().sum::<u64>();
            wait_until(|| homes().iter().sum::<u64>() > all, || format!("{:?}", homes()));
            let stayed = homes()[1] > before[1];
            drop(far);
            runtime.must_run(waiting).unwrap();
            wait_until(|| homes() == before, || format!("{:?}, and then {before:?}", homes()));
            (first.recv().unwrap() == thread, stayed)
        };
        let found = (0..ROUNDS).any(|_| {
            assert_eq!(wait_for_a_socket(true), (true, true), "the task may run there only");
            wait_for_a_socket(false) == (true, false)
        });
        assert!(found, "no socket found a home elsewhere");
        stop.store(true, Ordering::Relaxed);
        runtime.must_run(hog).unwrap();
    });
}

#[test]
fn worker_that_cannot_keep_up_gives_homes_to_the_others() {
    // Goal: arrivals are spread over the rings where the work is too much for one worker, and only
    // there. Method: connections that one task accepts, each message of which costs a long poll;
    // clients write as fast as they get replies, until no worker has more than 1.5 times its share.
    const CONNECTIONS: usize = 48;
    on_every(|cfg| {
        if cfg.single() {
            return;
        }
        let (servers, clients) = (cfg.runtime(), cfg.runtime());
        let handle = servers.handle();
        let (addr, acceptor) = servers.must_run(async {
            let listener = ringloop::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let accept = async move {
                let mut tasks = Vec::new();
                for _ in 0..CONNECTIONS {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    tasks.push(spawn(async move {
                        let mut buf = [0; 64];
                        loop {
                            let read = stream.read(&mut buf).await.unwrap();
                            if read == 0 {
                                return;
                            }
                            let began = Instant::now();
                            while began.elapsed() < Duration::from_micros(200) {
                                std::hint::spin_loop();
                            }
                            stream.write_all(&buf[..read]).await.unwrap();
                        }
                    }));
                }
                for task in tasks {
                    task.await.unwrap();
                }
            };
            (addr, spawn(accept))
        });
        let stop = Arc::new(AtomicBool::new(false));
        let conversations: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let stop = stop.clone();
                clients.spawn(async move {
                    let mut stream = TcpStream::connect(addr).await.unwrap();
                    while !stop.load(Ordering::Relaxed) {
                        stream.write_all(b"work").await.unwrap();
                        stream.read_exact(&mut [0; 4]).await.unwrap();
                    }
                })
            })
            .collect();
        let homes = || -> Vec<u64> {
            handle.metrics().per_worker.iter().map(|worker| worker.homes).collect()
        };
        let share = CONNECTIONS as f64 / cfg.workers as f64;
        wait_until(
            || {
                let homes = homes();
                homes.iter().sum::<u64>() >= CONNECTIONS as u64
                    && homes.iter().all(|&homes| homes as f64 <= 1.5 * share)
            },
            || format!("homes are spread: {:?}", homes()),
        );
        stop.store(true, Ordering::Relaxed);
        for conversation in conversations {
            clients.must_run(conversation).unwrap();
        }
        servers.must_run(acceptor).unwrap();
        servers.log().take(crate::harness::Kind::Hog);
        clients.log().take(crate::harness::Kind::Hog);
    });
}
