//! Seeded storms over sockets: random ways to read and write, cancels and ends; nothing is lost,
//! nothing is left.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use ringloop::io::{AsyncReadExt, AsyncWriteExt};
use ringloop::net::{TcpListener, TcpStream};
use ringloop::time::{sleep, timeout};
use ringloop::{spawn, yield_now};

use crate::faces::{Mint, READS, WRITES, read_by, reset, soon, write_by};
use crate::harness::{Cfg, Rng, on_every, scaled};
use crate::leases::echo_leases;
use crate::net_stream::{narrow_pair, pair};
use crate::tools::{GiveUpAfter, check_pattern, fill_pattern};

/// How one side of a connection ended, and how many bytes of the numbered stream it wrote or read.
struct Ended {
    bytes: usize,
    /// The writer flushed and ended, so that all bytes arrive; the reader read to the end.
    in_order: bool,
}

/// Writes the numbered stream in random ways, for `ops` operations, and ends at random.
async fn storm_writer(mut stream: TcpStream, mut rng: Rng, ops: usize) -> Ended {
    let (mut mint, mut sent) = (Mint::new().await, 0);
    for _ in 0..ops {
        let n = 1 + rng.below([3, 200, 5000, 40_000][rng.clone().below(4)]);
        let result = match rng.below(8) {
            0..4 => {
                let mut result = Ok(());
                for lease in mint.pattern(sent, n).await {
                    result = result.and(stream.write_lease(lease).await);
                }
                result
            }
            4 => {
                // Given up: only the bytes that it returned count; the rest may be written again.
                let mut buf = vec![0; n];
                fill_pattern(&mut buf, sent);
                let write = AsyncWriteExt::write(&mut stream, &buf);
                match GiveUpAfter::new(rng.below(3), write).await {
                    Some(Ok(n)) => {
                        sent += n;
                        continue;
                    }
                    Some(Err(error)) => Err(error),
                    None => continue,
                }
            }
            5 => {
                GiveUpAfter::new(rng.below(3), stream.flush()).await;
                continue;
            }
            _ => {
                let mut buf = vec![0; n];
                fill_pattern(&mut buf, sent);
                let result;
                (stream, result) = write_by(stream, rng.below(WRITES), &buf).await;
                result
            }
        };
        if result.is_err() {
            // The reader left first: it may have any part.
            return Ended { bytes: sent + n, in_order: false };
        }
        sent += n;
        pause(&mut rng).await;
    }
    let mut in_order = true;
    match rng.below(6) {
        0 => drop(stream),
        1 => in_order = stream.close().await.is_ok(),
        2 => in_order = stream.flush().await.is_ok(),
        3 => drop(stream.shutdown_now(Shutdown::Write)),
        4 => drop(stream.into_split().1),
        _ => {
            in_order = false;
            reset(stream);
        }
    }
    Ended { bytes: sent, in_order }
}

async fn pause(rng: &mut Rng) {
    match rng.below(16) {
        0 | 1 => yield_now().await,
        2 => sleep(Duration::from_micros(rng.next() % 200)).await,
        3 => std::thread::sleep(Duration::from_micros(rng.next() % 100)),
        _ => {}
    }
}

/// Reads the stream in random ways, gives reads up, goes from task to task, and may leave before
/// the end.
async fn storm_reader(mut stream: TcpStream, mut rng: Rng, patience: usize) -> Ended {
    let mut got = 0;
    for _ in 0..patience {
        let apart = rng.one_in(5);
        let step = async move {
            let turns = rng.below(3);
            match rng.below(6) {
                0 => drop(GiveUpAfter::new(turns, stream.readable()).await),
                1 => {
                    let peeked = GiveUpAfter::new(turns, stream.peek(&mut [0; 10])).await;
                    if let Some(Err(error)) = peeked {
                        return (stream, rng, Err(error));
                    }
                }
                2 => match GiveUpAfter::new(turns, stream.read_lease()).await {
                    Some(Ok(lease)) if !lease.is_empty() => {
                        return (stream, rng, Ok((Vec::new(), Some(lease))));
                    }
                    Some(Err(error)) => return (stream, rng, Err(error)),
                    _ => {}
                },
                _ => {}
            }
            let (verb, room) = (rng.below(READS), 2 + rng.below(20_000));
            let (stream, result) = read_by(stream, verb, room).await;
            (stream, rng, result.map(|bytes| (bytes, None)))
        };
        let result;
        (stream, rng, result) = if apart { spawn(step).await.unwrap() } else { step.await };
        match result {
            Ok((_, Some(lease))) => {
                check_pattern(&lease, got);
                got += lease.len();
            }
            Ok((bytes, None)) if bytes.is_empty() => return Ended { bytes: got, in_order: true },
            Ok((bytes, None)) => {
                check_pattern(&bytes, got);
                got += bytes.len();
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error:?}");
                return Ended { bytes: got, in_order: false };
            }
        }
        pause(&mut rng).await;
    }
    if rng.one_in(2) {
        reset(stream);
    }
    Ended { bytes: got, in_order: false }
}

#[test]
fn storm_of_verbs_cancels_and_ends_keeps_every_byte_in_order() {
    // Goal: all of it together; method: 24 connections with a random writer and a random reader
    // each, which move between tasks, give up and end at random; if a writer ended in order, its
    // reader has all bytes, unless it left; every counter is 0 after each round.
    on_every(|cfg| {
        let mut rng = cfg.rng(90);
        let runtime = cfg.runtime();
        for _ in 0..scaled(2) {
            let mut seeds: Vec<_> = (0..48).map(|_| Rng::new(rng.next())).collect();
            let narrow = rng.below(24);
            let handle = runtime.handle();
            runtime.must_run(async move {
                let mut pairs = Vec::new();
                for i in 0..24 {
                    let (near, far) = if i == narrow { narrow_pair().await } else { pair().await };
                    let mut seed = seeds.pop().unwrap();
                    let patience = if seed.one_in(3) { seed.below(30) } else { usize::MAX };
                    let ops = 1 + seed.below(40);
                    pairs.push((
                        i,
                        spawn(storm_writer(near, seed, ops)),
                        spawn(storm_reader(far, seeds.pop().unwrap(), patience)),
                    ));
                }
                for (i, writer, reader) in pairs {
                    let writer = soon(&format!("writer {i}"), writer).await.unwrap();
                    let reader = soon(&format!("reader {i}"), reader).await.unwrap();
                    assert!(reader.bytes <= writer.bytes, "more than was sent");
                    if reader.in_order {
                        assert!(writer.in_order, "connection {i}: an end where there was a reset");
                        assert_eq!(reader.bytes, writer.bytes, "connection {i}");
                    }
                }
            });
            crate::harness::assert_quiet(&handle);
        }
    });
}

/// Drops the stream with a wait, or something half done, pending on it.
async fn leave_pending(mut stream: TcpStream, mut rng: Rng) {
    match rng.below(6) {
        0 => drop(GiveUpAfter::new(1, stream.read_lease()).await),
        1 => drop(GiveUpAfter::new(2, AsyncReadExt::read(&mut stream, &mut [0; 9])).await),
        2 => {
            // Both a receive and a wait for readiness.
            drop(GiveUpAfter::new(1, stream.read_lease()).await);
            drop(GiveUpAfter::new(1, stream.writable()).await);
        }
        3 => drop(GiveUpAfter::new(1, stream.readable()).await),
        4 => {
            // From task to task, and perhaps from worker to worker, within one turn.
            let moved = spawn(async move {
                drop(GiveUpAfter::new(1, stream.read_lease()).await);
                stream
            });
            let mut stream = moved.await.unwrap();
            drop(GiveUpAfter::new(1, stream.read_lease()).await);
            spawn(async move { drop(stream) }).detach();
        }
        _ => {
            let reader = spawn(async move { stream.read_lease().await.map(drop) });
            for _ in 0..rng.below(3) {
                yield_now().await;
            }
            reader.abort();
        }
    }
}

#[test]
fn churn_with_reads_pending_leaves_nothing_behind() {
    // Goal: tests 15 and 26: a descriptor's number serves one connection after the other; method:
    // connections are dropped with reads pending, here or by other tasks, and the next is made at
    // once; it gets its own byte first, and the peer of the old one sees the end at once.
    on_every(|cfg| {
        let mut rng = cfg.rng(91);
        cfg.everywhere(|| {
            let mut rng = Rng::new(rng.next());
            async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let mut slowest = Duration::ZERO;
                for round in 0..scaled(300) {
                    let mut peer = std::net::TcpStream::connect(address).unwrap();
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let mark = (round % 255) as u8 + 1;
                    // The byte comes before or after the receive begins, and is read or not.
                    let early = rng.one_in(2);
                    if early {
                        peer.write_all(&[mark]).unwrap();
                    }
                    let (verb, check) = (rng.below(READS), rng.one_in(2));
                    if early && check {
                        let result;
                        let read = read_by(stream, verb, 10);
                        (stream, result) = soon("the first byte", read).await;
                        assert_eq!(result.unwrap(), [mark], "another connection's byte");
                    }
                    leave_pending(stream, Rng::new(rng.next())).await;
                    let begun = Instant::now();
                    peer.set_nonblocking(true).unwrap();
                    loop {
                        match peer.read(&mut [0; 10]) {
                            Ok(0) => break,
                            Ok(n) => panic!("{n} bytes that were not sent"),
                            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                                let waited = begun.elapsed();
                                assert!(waited < Duration::from_secs(10), "round {round}: no end");
                                yield_now().await;
                            }
                            // A byte was unread, which makes the end a reset.
                            Err(error) => {
                                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                                assert!(early, "{error:?}");
                                break;
                            }
                        }
                    }
                    slowest = slowest.max(begun.elapsed());
                }
                assert!(slowest < Duration::from_secs(2), "an end took {slowest:?}");
            }
        });
    });
}

#[test]
fn stream_dropped_at_home_while_a_request_is_on_its_way_is_closed() {
    // Goal: a request from another thread does not keep a stream that is dropped at its home;
    // method: a second runtime begins to read a stream of the first, whose only worker is busy,
    // gives up and passes it back to that very poll, which drops it: the peer must see the end.
    on_every(|cfg| {
        if !cfg.single() {
            return;
        }
        for round in 0..scaled(20) {
            let (home, other) = (cfg.runtime(), cfg.runtime());
            let (mut stream, peer) = home.must_run(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let (mut stream, _) = listener.accept().await.unwrap();
                assert!(GiveUpAfter::new(2, stream.read(&mut [0; 1])).await.is_none());
                if round % 2 == 0 {
                    assert!(GiveUpAfter::new(2, stream.read_lease()).await.is_none());
                }
                (stream, peer)
            });
            let (give, take) = std::sync::mpsc::channel::<TcpStream>();
            let (begun, begins) = std::sync::mpsc::channel();
            let dropper = home.spawn(async move {
                begun.send(()).unwrap();
                // Blocks the worker: no mail is processed here.
                drop(take.recv().unwrap());
            });
            begins.recv().unwrap();
            other.must_run(async move {
                match round % 4 {
                    0 | 1 => drop(GiveUpAfter::new(1, stream.read_lease()).await),
                    2 => drop(GiveUpAfter::new(1, stream.writable()).await),
                    _ => drop(GiveUpAfter::new(1, stream.readable()).await),
                }
                give.send(stream).unwrap();
            });
            home.must_run(dropper).unwrap();
            peer.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
            let end = loop {
                match (&peer).read(&mut [0; 1]) {
                    // From the kernel, as it ends the ring of the round before.
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    end => break end,
                }
            };
            assert!(matches!(end, Ok(0)), "round {round}: no end: {end:?}");
        }
    });
}

/// A client that resets after some steps.
async fn rude_client(address: SocketAddr, mut rng: Rng) {
    let Ok(mut stream) = TcpStream::connect(address).await else { return };
    let mut buf = [7; 3000];
    for _ in 0..rng.below(4) {
        let n = 1 + rng.below(3000);
        if stream.write_all(&buf[..n]).await.is_err() {
            break;
        }
        if rng.one_in(2) {
            let short = Duration::from_micros(rng.next() % 500);
            let _ = timeout(short, AsyncReadExt::read(&mut stream, &mut buf)).await;
        }
    }
    reset(stream);
}

#[test]
fn resets_by_the_hundred_affect_only_their_own_connection() {
    // Goal: test 26; method: hundreds of clients that reset while they are accepted, and in the
    // middle of a read or write, with servers by leases and by copies; the other clients between
    // them lose nothing.
    async fn serve(mut stream: TcpStream, leases: bool) {
        let mut buf = [0; 2000];
        loop {
            let done = if leases {
                match stream.read_lease().await {
                    Ok(lease) if lease.is_empty() => true,
                    Ok(lease) => stream.write_lease(lease).await.is_err(),
                    Err(_) => true,
                }
            } else {
                match AsyncReadExt::read(&mut stream, &mut buf).await {
                    Ok(0) | Err(_) => true,
                    Ok(n) => stream.write_all(&buf[..n]).await.is_err(),
                }
            };
            if done {
                return;
            }
        }
    }
    on_every(|cfg: &Cfg| {
        let mut rng = cfg.rng(92);
        cfg.everywhere(|| {
            let mut rng = Rng::new(rng.next());
            async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let server = spawn(async move {
                    for i in 0.. {
                        let (stream, _) = listener.accept().await.unwrap();
                        spawn(serve(stream, i % 2 == 0)).detach();
                    }
                });
                let polite: Vec<_> = (0..4)
                    .map(|i| {
                        spawn(async move {
                            let (mut near, far) = pair().await;
                            let echo = spawn(echo_leases(far));
                            let mut back = [0; 500];
                            for round in 0..scaled(100) {
                                let mut out = [0; 500];
                                fill_pattern(&mut out, i * 1000 + round);
                                near.write_all(&out).await.unwrap();
                                near.read_exact(&mut back).await.unwrap();
                                assert!(out == back);
                            }
                            near.close().await.unwrap();
                            echo.await.unwrap();
                        })
                    })
                    .collect();
                for _ in 0..scaled(10) {
                    let wave: Vec<_> = (0..30)
                        .map(|_| spawn(rude_client(address, Rng::new(rng.next()))))
                        .collect();
                    for client in wave {
                        soon("a rude client", client).await.unwrap();
                    }
                }
                for client in polite {
                    soon("a polite client", client).await.unwrap();
                }
                server.abort();
                let _ = server.await;
            }
        });
    });
}
