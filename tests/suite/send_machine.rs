//! Bytes that are sent: their order, ends, errors, and limits of the queue.

use std::io::{ErrorKind, Read};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use ringloop::io::{AsyncReadExt, AsyncWriteExt};
use ringloop::net::{OwnedWriteHalf, TcpListener, TcpStream};
use ringloop::time::timeout;
use ringloop::{Backend, spawn, yield_now};

use crate::faces::{Mint, WRITES, reset, soon, write_by};
use crate::harness::{Rng, on_every, scaled};
use crate::net_stream::{expect_pattern, narrow_pair, pair};
use crate::tools::{Count, check_pattern, fill_pattern};

/// A stream whose peer is a plain, blocking stream.
async fn with_plain_peer() -> (TcpStream, std::net::TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let (near, _) = listener.accept().await.unwrap();
    (near, peer)
}

fn spin(length: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < length {
        std::hint::spin_loop();
    }
}

/// Sends back the bytes that it reads, in pieces and in all ways, for a few steps.
async fn relay_some(
    mut from: TcpStream,
    mut to: TcpStream,
    mut rng: Rng,
) -> (TcpStream, TcpStream, Rng, bool) {
    for _ in 0..1 + rng.below(20) {
        let mut lease = from.read_lease().await.unwrap();
        if lease.is_empty() {
            return (from, to, rng, true);
        }
        while !lease.is_empty() {
            let most = [20, 500, 5000, 70_000][rng.below(4)];
            let piece = lease.split_to((1 + rng.below(most)).min(lease.len()));
            match rng.below(3) {
                0 | 1 => to.write_lease(piece).await.unwrap(),
                _ => {
                    let result;
                    (to, result) = write_by(to, rng.below(WRITES), &piece).await;
                    result.unwrap();
                }
            }
        }
        match rng.below(12) {
            0 => to.flush().await.unwrap(),
            1 | 2 => yield_now().await,
            3 => spin(Duration::from_micros(rng.next() % 200)),
            _ => {}
        }
    }
    (from, to, rng, false)
}

#[test]
fn mixed_writes_keep_their_order_as_tasks_move() {
    // Goal: one order of bytes that are queued, sent directly or in flight; method: relays that
    // write leases and pieces in all ways, pass their streams to another task every few steps,
    // yield and hog.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let total = scaled(300_000);
            let relays: Vec<_> = (0..3)
                .map(|i| {
                    let (mut rng, mut pace) = (cfg.rng(30 + i), cfg.rng(40 + i));
                    spawn(async move {
                        let (mut source, mut from) = pair().await;
                        let (mut to, mut sink) =
                            if i == 0 { narrow_pair().await } else { pair().await };
                        let feeder = spawn(async move {
                            let (mut sent, mut buf) = (0, vec![0; 30_000]);
                            while sent < total {
                                let n = (1 + pace.below(30_000)).min(total - sent);
                                fill_pattern(&mut buf[..n], sent);
                                source.write_all(&buf[..n]).await.unwrap();
                                sent += n;
                            }
                        });
                        let checker = spawn(async move {
                            expect_pattern(&mut sink, total, 20_000).await;
                            assert_eq!(sink.read(&mut [0; 1]).await.unwrap(), 0);
                        });
                        loop {
                            let ended;
                            (from, to, rng, ended) =
                                spawn(relay_some(from, to, rng)).await.unwrap();
                            if ended {
                                break;
                            }
                        }
                        drop(to);
                        checker.await.unwrap();
                        feeder.await.unwrap();
                    })
                })
                .collect();
            for relay in relays {
                relay.await.unwrap();
            }
        });
    });
}

async fn write_pattern(mut writer: OwnedWriteHalf, offset: usize, len: usize) -> OwnedWriteHalf {
    let mut buf = vec![0; len];
    fill_pattern(&mut buf, offset);
    writer.write_all(&buf).await.unwrap();
    writer
}

#[test]
fn write_half_goes_from_task_to_task_behind_what_is_queued() {
    // Goal: two writers, one after the other, never interleave; method: leases are queued, then the
    // write half goes from task to task, each of which writes; the read half works meanwhile.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (total, back) = (scaled(300_000), scaled(100_000));
            let (mut near, far) = pair().await;
            let (mut far_reader, mut far_writer) = far.into_split();
            let checker = spawn(async move {
                expect_pattern(&mut far_reader, total, 9000).await;
                assert_eq!(far_reader.read(&mut [0; 1]).await.unwrap(), 0);
            });
            let answers = spawn(async move {
                crate::net_stream::send_pattern(&mut far_writer, back, 777).await;
                far_writer.forget();
            });
            let (mut mint, mut rng, mut sent) = (Mint::new().await, cfg.rng(50), total / 3);
            for lease in mint.pattern(0, sent).await {
                near.write_lease(lease).await.unwrap();
            }
            let (mut reader, mut writer) = near.into_split();
            let reading = spawn(async move { expect_pattern(&mut reader, back, 5000).await });
            while sent < total {
                let n = (1 + rng.below(40_000)).min(total - sent);
                writer = spawn(write_pattern(writer, sent, n)).await.unwrap();
                sent += n;
            }
            drop(writer);
            reading.await.unwrap();
            checker.await.unwrap();
            answers.await.unwrap();
        });
    });
}

#[test]
fn slow_reader_holds_the_writer_back() {
    // Goal: the queue of bytes to be sent is bounded, and all of them arrive; method: small socket
    // buffers, a reader that sleeps and then reads slowly; at no time more bytes are on their way
    // than the limits allow.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let total = scaled(1_500_000);
            let (mut near, mut far) = narrow_pair().await;
            let (accepted, mut mint) = (Count::new(), Mint::new().await);
            let written = accepted.clone();
            let writer = spawn(async move {
                let mut sent = 0;
                while sent < total {
                    let n = 10_000.min(total - sent);
                    for lease in mint.pattern(sent, n).await {
                        near.write_lease(lease).await.unwrap();
                    }
                    sent += n;
                    written.add();
                }
                near.flush().await.unwrap();
                near.close().await.unwrap();
            });
            ringloop::time::sleep(Duration::from_millis(20)).await;
            let (mut got, mut most, mut buf) = (0, 0, vec![0; 7000]);
            loop {
                most = most.max((accepted.get() * 10_000).saturating_sub(got));
                let n = far.read(&mut buf).await.unwrap();
                if n == 0 {
                    break;
                }
                check_pattern(&buf[..n], got);
                got += n;
                yield_now().await;
            }
            assert_eq!(got, total);
            // The high-water mark, a chunk above it, and the kernel's buffers on both sides.
            assert!(most < 600_000, "{most} bytes were on their way");
            writer.await.unwrap();
        });
    });
}

#[test]
fn stream_dropped_with_queued_bytes_sends_them_first() {
    // Goal: a dropped stream loses nothing that was written; method: leases are queued, small and
    // large, and the stream is dropped at once, here or by another task; the peer gets all, then
    // the end.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (mut mint, mut rng) = (Mint::new().await, cfg.rng(60));
            for round in 0..scaled(60) {
                let total = 1 + rng.below(if round % 10 == 0 { 200_000 } else { 3000 });
                let (mut near, mut far) =
                    if round % 7 == 0 { narrow_pair().await } else { pair().await };
                let leases = mint.pattern(0, total).await;
                let reading = spawn(async move {
                    expect_pattern(&mut far, total, 8000).await;
                    far.read(&mut [0; 1]).await
                });
                let write = async move {
                    for lease in leases {
                        near.write_lease(lease).await.unwrap();
                    }
                    near
                };
                match rng.below(3) {
                    0 => drop(write.await),
                    1 => drop(spawn(write)),
                    _ => {
                        let near = write.await;
                        spawn(async move { drop(near) }).detach();
                    }
                }
                let begun = Instant::now();
                let end = soon("the bytes and the end", reading).await.unwrap();
                assert_eq!(end.unwrap(), 0);
                // A worker that sent the last byte must close before it sleeps.
                let took = begun.elapsed();
                assert!(took < Duration::from_secs(1), "round {round}: {took:?} to the end");
            }
        });
    });
}

#[test]
fn the_end_comes_after_queued_bytes() {
    // Goal: close, shutdown and a dropped write half send the end after the queued bytes, and
    // reading goes on; method: each way with queued leases, more than the socket holds.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let mut mint = Mint::new().await;
            for road in 0..5 {
                for total in [100, 150_000] {
                    let (mut near, mut far) = narrow_pair().await;
                    let leases = mint.pattern(0, total).await;
                    let peer = spawn(async move {
                        expect_pattern(&mut far, total, 8000).await;
                        assert_eq!(far.read(&mut [0; 1]).await.unwrap(), 0);
                        far.write_all(b"answer").await.unwrap();
                    });
                    for lease in leases {
                        near.write_lease(lease).await.unwrap();
                    }
                    let mut answer = Vec::new();
                    let reading = async {
                        match road {
                            0 => near.close().await.unwrap(),
                            1 => near.shutdown_now(Shutdown::Write).unwrap(),
                            2 => {
                                near.shutdown_now(Shutdown::Write).unwrap();
                                near.flush().await.unwrap();
                            }
                            _ => {
                                let (mut reader, mut writer) = near.into_split();
                                if road == 3 {
                                    writer.close().await.unwrap();
                                }
                                drop(writer);
                                return reader.read_to_end(&mut answer).await;
                            }
                        }
                        near.read_to_end(&mut answer).await
                    };
                    soon(&format!("road {road}, {total} bytes"), reading).await.unwrap();
                    assert_eq!(answer, b"answer", "road {road}");
                    peer.await.unwrap();
                }
            }
        });
    });
}

#[test]
fn reset_by_the_peer_is_returned_and_no_task_hangs() {
    // Goal: the error of a queued write is returned by the next call, in whatever way, and every
    // later write fails too; method: leases are queued for a peer that resets, then each way to
    // write.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let mut mint = Mint::new().await;
            let mut wrong = Vec::new();
            for verb in 0..WRITES + 3 {
                let (mut near, far) = pair().await;
                reset(far);
                // These are sent after the call has returned: the error waits for the next call.
                let mut told = Vec::new();
                for lease in mint.leases(b"too late").await {
                    told.extend(near.write_lease(lease).await.err());
                }
                ringloop::time::sleep(Duration::from_millis(1)).await;
                let next = async {
                    match verb {
                        v if v < WRITES => write_by(near, v, b"later").await,
                        v if v == WRITES => {
                            let result = near.flush().await;
                            (near, result)
                        }
                        v if v == WRITES + 1 => {
                            let result = near.close().await;
                            (near, result)
                        }
                        _ => {
                            let result = near.write_lease(mint.leases(b"x").await.remove(0)).await;
                            (near, result)
                        }
                    }
                };
                let Ok((mut near, result)) = timeout(Duration::from_secs(3), next).await else {
                    wrong.push(format!("verb {verb}: hangs"));
                    continue;
                };
                told.extend(result.err());
                if told.is_empty() && verb != WRITES + 1 {
                    wrong.push(format!("verb {verb}: no call returned the error"));
                }
                for error in told {
                    let kind = error.kind();
                    if ![ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&kind) {
                        wrong.push(format!("verb {verb}: {error:?}"));
                    }
                }
                for after in 0..WRITES {
                    let result;
                    let write = write_by(near, after, b"still");
                    (near, result) = soon(&format!("write {after} after {verb}"), write).await;
                    if result.is_ok() {
                        wrong.push(format!("{after} after {verb}: no error"));
                    }
                }
                soon("flush after all", async { drop(near.flush().await) }).await;
                soon("close after all", async { drop(near.close().await) }).await;
            }
            assert!(wrong.is_empty(), "{wrong:#?}");
        });
    });
}

#[test]
fn writer_that_waits_for_room_gets_a_reset() {
    // Goal: no task waits for room, or for a flush, on a connection that is reset; method: the peer
    // never reads and resets while one task waits in write_lease, or in flush.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let mut mint = Mint::new().await;
            for flushes in [false, true] {
                let (mut near, far) = narrow_pair().await;
                let leases = mint.pattern(0, 400_000).await;
                let writer = spawn(async move {
                    for (i, lease) in leases.into_iter().enumerate() {
                        near.write_lease(lease).await?;
                        if flushes && i > 3 {
                            near.flush().await?;
                        }
                    }
                    near.flush().await
                });
                ringloop::time::sleep(Duration::from_millis(5)).await;
                assert!(!writer.is_finished());
                reset(far);
                let error = soon("writer", writer).await.unwrap().unwrap_err();
                let told = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
                assert!(told.contains(&error.kind()), "{error:?}");
            }
        });
    });
}

#[test]
fn peer_that_does_not_read_does_not_hold_up_the_end() {
    // Goal: a runtime ends within its deadline even with bytes that no peer reads, and no peer
    // takes a part for the whole; method: peers that do not read until it has ended, more bytes
    // than fit, a writer that waits and one that was dropped.
    on_every(|cfg| {
        let runtime = cfg.runtime().into_inner();
        let ran = runtime.run(async {
            let mut mint = Mint::new().await;
            let mut peers = Vec::new();
            for waits in [true, false] {
                let (mut near, peer) = with_plain_peer().await;
                near.socket().set_send_buffer_size(8 << 10).unwrap();
                let leases = mint.pattern(0, 300_000).await;
                spawn(async move {
                    for lease in leases {
                        near.write_lease(lease).await.unwrap();
                    }
                    if waits {
                        std::future::pending::<()>().await;
                    }
                })
                .detach();
                peers.push(peer);
            }
            ringloop::time::sleep(Duration::from_millis(5)).await;
            (ringloop::backend().backend == Backend::Uring, peers)
        });
        let (on_a_ring, peers) = ran.unwrap();
        let (handle, begun) = (runtime.handle(), Instant::now());
        let report = runtime.shutdown(Duration::from_millis(300));
        assert!(begun.elapsed() < Duration::from_secs(6), "took {:?}", begun.elapsed());
        assert!(report.is_clean(), "{report:?}");
        let metrics = handle.metrics();
        assert_eq!((metrics.leaked_operations, metrics.leases), (0, 0));
        for mut peer in peers {
            let end = peer.read_to_end(&mut Vec::new()).map_err(|error| error.kind());
            if on_a_ring {
                assert_eq!(end, Err(ErrorKind::ConnectionReset));
            }
        }
    });
}

#[test]
fn thousands_of_tiny_writes_then_a_flush() {
    // Goal: the pattern of a TLS library; method: records of a header and a few bytes, written
    // apart, as leases or not, a flush now and then; the peer counts and checks every byte.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (mut near, mut far) = pair().await;
            let (mut rng, mut mint, records) = (cfg.rng(70), Mint::new().await, scaled(3000));
            let total = records * 20;
            let checker = spawn(async move { expect_pattern(&mut far, total, 16_000).await });
            let mut stock = mint.pattern(0, total.min(60_000)).await.into_iter();
            let mut lease = ringloop::io::Lease::empty();
            for record in 0..records {
                let at = record * 20;
                while lease.is_empty() {
                    if let Some(next) = stock.next() {
                        lease = next;
                    } else {
                        stock = mint.pattern(at, (total - at).min(60_000)).await.into_iter();
                    }
                }
                // A record may extend over two leases.
                let (mut buf, mut header) = ([0; 20], rng.below(20));
                fill_pattern(&mut buf, at);
                if lease.len() < 20 {
                    header = 20;
                    let mut rest = 20;
                    while rest > 0 {
                        let n = rest.min(lease.len());
                        lease.advance(n);
                        rest -= n;
                        if rest > 0 {
                            lease = stock.next().expect("the rest of the record");
                        }
                    }
                } else {
                    lease.advance(header);
                }
                near.write_all(&buf[..header]).await.unwrap();
                if header < 20 {
                    near.write_lease(lease.split_to(20 - header)).await.unwrap();
                }
                if rng.one_in(100) {
                    near.flush().await.unwrap();
                }
            }
            drop(lease);
            near.flush().await.unwrap();
            soon("checker", checker).await.unwrap();
        });
    });
}

#[test]
fn end_of_the_runtime_sends_queued_bytes() {
    // Goal: written bytes arrive although the runtime ends at once; method: both forms of running,
    // writers on several workers, large amounts behind small socket buffers, peers that read
    // slowly.
    on_every(|cfg| {
        for form in 0..2 {
            let total = 150_000;
            let write = async move {
                let (mut peers, mut writers) = (Vec::new(), Vec::new());
                for _ in 0..4 {
                    let (mut near, mut peer) = with_plain_peer().await;
                    near.socket().set_send_buffer_size(8 << 10).unwrap();
                    peers.push(std::thread::spawn(move || {
                        std::thread::sleep(Duration::from_millis(10));
                        let mut all = Vec::new();
                        peer.read_to_end(&mut all).map(|_| all)
                    }));
                    writers.push(spawn(async move {
                        let mut mint = Mint::new().await;
                        let leases = mint.pattern(0, total).await;
                        for lease in leases {
                            near.write_lease(lease).await.unwrap();
                        }
                        drop(near);
                    }));
                }
                for writer in writers {
                    soon("writer", writer).await.unwrap();
                }
                peers
            };
            let peers = if form == 0 {
                cfg.builder().run(write).unwrap()
            } else {
                let runtime = cfg.runtime().into_inner();
                runtime.run(write).unwrap()
            };
            for peer in peers {
                let all = peer.join().unwrap().unwrap();
                check_pattern(&all, 0);
                assert_eq!(all.len(), total, "form {form}");
            }
        }
    });
}
