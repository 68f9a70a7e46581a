//! Cancelled reads and writes lose nothing and mix nothing.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use ringloop::io::{AsyncWrite, AsyncWriteExt};
use ringloop::net::{TcpListener, TcpStream};
use ringloop::{spawn, yield_now};

use crate::harness::{on_every, scaled};
use crate::net_stream::{expect_pattern, narrow_pair, pair, send_pattern};
use crate::tools::{GiveUpAfter, check_pattern, fill_pattern};

#[test]
fn read_cancelled_at_random_gives_every_byte_once() {
    // Goal: test 11; method: a stream of 10^6 bytes from a writer with pauses; every read is given up
    // after a random number of turns, by a random timeout, or by aborting the task that reads.
    on_every(|cfg| {
        let mut rng = cfg.rng(10);
        cfg.once(async {
            let total = scaled(1_000_000);
            let (mut near, mut far) = pair().await;
            let mut pace = cfg.rng(11);
            let writer = spawn(async move {
                let mut buf = [0; 3000];
                let mut sent = 0;
                while sent < total {
                    let n = (1 + pace.below(3000)).min(total - sent);
                    fill_pattern(&mut buf[..n], sent);
                    far.write_all(&buf[..n]).await.unwrap();
                    sent += n;
                    match pace.below(8) {
                        0 => ringloop::time::sleep(Duration::from_micros(pace.next() % 300)).await,
                        1 | 2 => yield_now().await,
                        _ => {}
                    }
                }
            });
            let (mut got, mut buf) = (0, vec![0; 5000]);
            while got < total {
                let room = 1 + rng.below(5000);
                let read = match rng.below(4) {
                    0 => GiveUpAfter::new(rng.below(3), near.read(&mut buf[..room])).await,
                    1 => {
                        let short = Duration::from_micros(rng.next() % 100);
                        ringloop::time::timeout(short, near.read(&mut buf[..room])).await.ok()
                    }
                    2 => {
                        // `peek` and `readable` are given up as well.
                        GiveUpAfter::new(1, near.peek(&mut buf[..room])).await;
                        GiveUpAfter::new(1, near.readable()).await;
                        None
                    }
                    _ => Some(near.read(&mut buf[..room]).await),
                };
                if let Some(read) = read {
                    let n = read.unwrap();
                    assert!(n > 0, "end of stream after {got} bytes");
                    check_pattern(&buf[..n], got);
                    got += n;
                }
            }
            writer.await.unwrap();
            assert_eq!(near.read(&mut buf).await.unwrap(), 0);
        });
    });
}

#[test]
fn read_task_aborted_as_data_arrives_leaves_the_data() {
    // Goal: T62; method: a task owns half of a stream in a lock-free slot and reads; data is sent
    // and the task aborted at once; the next reader gets every byte that the task did not record.
    on_every(|cfg| {
        cfg.once(async {
            let (near, mut far) = pair().await;
            let near = std::sync::Arc::new(near);
            let log = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
            let rounds = scaled(1000);
            for round in 0..rounds {
                let (stream, reported) = (near.clone(), log.clone());
                let reader = spawn(async move {
                    let mut buf = [0; 8];
                    loop {
                        stream.readable().await.unwrap();
                        // No suspension between the read and the record.
                        if let Ok(n) = stream.try_read(&mut buf) {
                            reported.lock().unwrap().extend_from_slice(&buf[..n]);
                        }
                    }
                });
                for _ in 0..round % 4 {
                    yield_now().await;
                }
                far.write_all(&[round as u8]).await.unwrap();
                for _ in 0..round % 3 {
                    yield_now().await;
                }
                reader.abort();
                assert!(reader.await.unwrap_err().is_cancelled());
            }
            drop(far);
            let mut buf = [0; 64];
            loop {
                near.readable().await.unwrap();
                match near.try_read(&mut buf) {
                    Ok(0) => break,
                    Ok(n) => log.lock().unwrap().extend_from_slice(&buf[..n]),
                    Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
                }
            }
            let seen = log.lock().unwrap();
            let sent: Vec<u8> = (0..rounds).map(|round| round as u8).collect();
            assert!(*seen == sent, "{} of {} bytes", seen.len(), sent.len());
        });
    });
}

#[test]
fn write_cancelled_after_partial_send_is_resumable() {
    // Goal: test 16; method: small socket buffers and a slow reader; each write is given up after a
    // random number of turns; the bytes that the writes returned are all that was sent, so the
    // sender resumes there.
    on_every(|cfg| {
        let mut rng = cfg.rng(12);
        cfg.once(async {
            let total = scaled(2_000_000);
            let (mut near, mut far) = narrow_pair().await;
            let reader = spawn(async move {
                expect_pattern(&mut far, total, 1500).await;
                assert_eq!(far.read(&mut [0; 1]).await.unwrap(), 0);
            });
            let (mut sent, mut buf, mut given_up) = (0, vec![0; 20_000], 0);
            while sent < total {
                let n = (1 + rng.below(20_000)).min(total - sent);
                fill_pattern(&mut buf[..n], sent);
                let wrote = match rng.below(4) {
                    0 => GiveUpAfter::new(rng.below(3), near.write(&buf[..n])).await,
                    1 => {
                        let short = Duration::from_micros(rng.next() % 100);
                        ringloop::time::timeout(short, near.write(&buf[..n])).await.ok()
                    }
                    2 => GiveUpAfter::new(1, near.writable()).await.and(None),
                    _ => Some(near.write(&buf[..n]).await),
                };
                match wrote {
                    Some(n) => sent += n.unwrap(),
                    None => given_up += 1,
                }
            }
            assert!(given_up > 0);
            near.close().await.unwrap();
            reader.await.unwrap();
        });
    });
}

#[test]
fn halves_cancelled_on_different_tasks_lose_nothing() {
    // Goal: a cancel of one direction does not affect the other; method: both directions run, each
    // on its own task with random cancels.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let total = scaled(300_000);
            let (near, far) = pair().await;
            let seed = cfg.seed;
            let mut tasks = Vec::new();
            for (side, stream) in [near, far].into_iter().enumerate() {
                let (mut reader, mut writer) = stream.into_split();
                tasks.push(spawn(async move {
                    let mut rng = crate::harness::Rng::new(seed + side as u64);
                    let (mut got, mut buf) = (0, [0; 1000]);
                    while got < total {
                        if let Some(n) = GiveUpAfter::new(rng.below(3), reader.read(&mut buf)).await
                        {
                            let n = n.unwrap();
                            assert!(n > 0);
                            check_pattern(&buf[..n], got);
                            got += n;
                        }
                    }
                }));
                tasks.push(spawn(async move {
                    let mut rng = crate::harness::Rng::new(seed + 10 + side as u64);
                    let (mut sent, mut buf) = (0, [0; 1000]);
                    while sent < total {
                        let n = buf.len().min(total - sent);
                        fill_pattern(&mut buf[..n], sent);
                        if let Some(n) =
                            GiveUpAfter::new(rng.below(3), writer.write(&buf[..n])).await
                        {
                            sent += n.unwrap();
                        }
                    }
                    writer.flush().await.unwrap();
                }));
            }
            for task in tasks {
                task.await.unwrap();
            }
        });
    });
}

#[test]
fn close_while_read_waits_sends_fin_at_once_and_reused_number_is_clean() {
    // Goal: test 15, T61; method: thousands of times, a task that waits in a read on one half is
    // aborted and both halves dropped: the peer (plain, blocking) sees the end at once; the next
    // connection gets the same descriptor number, must not see old readiness, and gets only its data.
    on_every(|cfg| {
        cfg.once(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let rounds = scaled(2000);
            let client = std::thread::spawn(move || {
                for i in 0..rounds {
                    let mut stream = std::net::TcpStream::connect(address).unwrap();
                    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                    if i % 3 == 0 {
                        // Readiness that is left over when the server closes.
                        stream.write_all(&[i as u8]).unwrap();
                    }
                    let mut end = Vec::new();
                    let read = stream.read_to_end(&mut end);
                    // Bytes that the server never read make its close a reset.
                    assert!(read.is_ok() || i % 3 == 0, "{read:?}");
                    assert!(end.is_empty());
                }
            });
            for i in 0..rounds {
                let (stream, _) = listener.accept().await.unwrap();
                let (mut reader, writer) = stream.into_split();
                let read = spawn(async move {
                    let mut buf = [0; 16];
                    let n = reader.read(&mut buf).await.unwrap();
                    if n == 0 {
                        // The peer may see the end of our side, and answer, before the abort below.
                        assert!(i % 2 == 0, "an end that was not sent");
                        return;
                    }
                    assert_eq!(buf[..n], [i as u8], "a stale event or another's bytes");
                    std::future::pending::<()>().await;
                });
                for _ in 0..i % 4 {
                    yield_now().await;
                }
                if i % 2 == 0 {
                    drop(writer);
                    read.abort();
                } else {
                    read.abort();
                    let _ = read.await;
                    drop(writer);
                }
            }
            client.join().unwrap();
        });
    });
}

#[test]
fn flush_and_close_given_up_can_be_repeated() {
    // Goal: poll_flush and poll_close can be given up; method: poll each once, drop it, and poll
    // again.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (mut near, mut far) = pair().await;
            let reader = spawn(async move {
                expect_pattern(&mut far, 100_000, 4096).await;
                assert_eq!(far.read(&mut [0; 1]).await.unwrap(), 0);
            });
            send_pattern(&mut near, 100_000, 10_000).await;
            for _ in 0..3 {
                GiveUpAfter::new(1, near.flush()).await;
                poll_fn(|cx| Poll::Ready(Pin::new(&mut near).poll_flush(cx).is_ready())).await;
            }
            GiveUpAfter::new(1, near.close()).await;
            near.close().await.unwrap();
            reader.await.unwrap();
        });
    });
}

#[test]
fn connect_cancelled_at_random_leaks_nothing() {
    // Goal: a connect that is given up closes its socket; method: connects to a listener that
    // accepts, to a port that refuses and to one that never answers, given up at random turns, some
    // awaited in full.
    crate::processes::isolated(|| {
        on_every(|cfg| {
            let fds = crate::measure::open_fds();
            let mut rng = cfg.rng(13);
            cfg.once(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                // Bound and not listening: no other process gets the port, and it refuses.
                let quiet =
                    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
                let quiet = quiet.unwrap();
                quiet.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
                let unheard = quiet.local_addr().unwrap().as_socket().unwrap();
                let server = spawn(async move {
                    loop {
                        drop(listener.accept().await.unwrap());
                    }
                });
                // A listener whose backlog is full does not answer.
                let silent =
                    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
                let silent = silent.unwrap();
                silent.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
                silent.listen(0).unwrap();
                let full = silent.local_addr().unwrap().as_socket().unwrap();
                let _first = TcpStream::connect(full).await.unwrap();
                for _ in 0..scaled(1000) {
                    match rng.below(4) {
                        0 => drop(TcpStream::connect(address).await.unwrap()),
                        1 => {
                            drop(GiveUpAfter::new(rng.below(3), TcpStream::connect(address)).await)
                        }
                        2 => {
                            let unanswered = TcpStream::connect(full);
                            assert!(GiveUpAfter::new(rng.below(3), unanswered).await.is_none());
                        }
                        _ => {
                            let refused = TcpStream::connect(unheard);
                            let result = GiveUpAfter::new(rng.below(3), refused).await;
                            assert!(!matches!(result, Some(Ok(_))));
                        }
                    }
                }
                server.abort();
                let _ = server.await;
            });
            assert_eq!(crate::measure::open_fds(), fds);
        });
    });
}
