//! Peers that reset, send slowly or vanish, and sockets that outlive or change their runtime.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use ringloop::io::{AsyncReadExt, AsyncWriteExt};
use ringloop::net::{TcpListener, TcpStream};
use ringloop::{spawn, yield_now};

use crate::harness::{on_every, scaled, wait_until_async};
use crate::measure::open_fds;
use crate::net_stream::{echo, pair};
use crate::processes::isolated;
use crate::tools::{Count, Flag};

/// Closes with a reset instead of an end.
fn reset(stream: TcpStream) {
    stream.socket().set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

#[test]
fn peer_reset_while_writing_is_an_error() {
    // Goal: T64; method: write in a loop until the peer, which reads nothing, resets; the loop ends
    // with an error, also when the writer waits for room at that moment.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for early in [true, false] {
                let (mut near, far) = pair().await;
                let (started, filled) = (Flag::new(), Count::new());
                let (set, count) = (started.clone(), filled.clone());
                let writer = spawn(async move {
                    let piece = vec![1; 65536];
                    set.set();
                    loop {
                        if let Err(error) = near.write_all(&piece).await {
                            break error;
                        }
                        count.add();
                    }
                });
                started.wait().await;
                if !early {
                    // The socket is full when the count no longer grows; a turn more or less does
                    // not matter.
                    wait_until_async(|| filled.get() > 1, || "it fills".into()).await;
                    for _ in 0..200 {
                        yield_now().await;
                    }
                }
                reset(far);
                let error = writer.await.unwrap();
                let kinds = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
                assert!(kinds.contains(&error.kind()), "{error:?}");
            }
        });
    });
}

#[test]
fn peer_reset_while_reading_is_an_error_after_the_data() {
    // Goal: a reader that waits is woken by a reset; method: reset with the reader waiting.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (mut near, mut far) = pair().await;
            let got_hello = Flag::new();
            let set = got_hello.clone();
            let reader = spawn(async move {
                let mut buf = [0; 5];
                near.read_exact(&mut buf).await.unwrap();
                set.set();
                near.read(&mut buf).await
            });
            far.write_all(b"hello").await.unwrap();
            got_hello.wait().await;
            reset(far);
            assert_eq!(reader.await.unwrap().unwrap_err().kind(), ErrorKind::ConnectionReset);
        });
    });
}

#[test]
fn reset_that_a_write_has_found_is_no_end_to_a_reader() {
    // Goal: nobody takes a part for the whole; method: the kernel reports a reset once, here to a write, and gives
    // an end to the reads behind it. They get the error, once, after what came before.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for round in 0..8 {
                let (mut near, mut far) = pair().await;
                let (lease, halves, early) = (round & 1 > 0, round & 2 > 0, round & 4 > 0);
                if early {
                    far.write_all(b"before").await.unwrap();
                }
                reset(far);
                let error = near.write_all(b"too late").await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                let mut kinds = Vec::new();
                if halves {
                    let (mut reader, _writer) = near.into_split();
                    for _ in 0..3 {
                        kinds.push(reader.read(&mut [0; 9]).await.map_err(|e| e.kind()));
                    }
                } else {
                    for _ in 0..3 {
                        let read = match lease {
                            true => near.read_lease().await.map(|lease| lease.len()),
                            false => near.read(&mut [0; 9]).await,
                        };
                        kinds.push(read.map_err(|error| error.kind()));
                    }
                }
                // The kernel may throw away what it had received.
                kinds.retain(|kind| *kind != Ok(6));
                assert_eq!(kinds[..2], [Err(ErrorKind::ConnectionReset), Ok(0)], "round {round}");
            }
        });
    });
}

#[test]
fn write_to_a_closed_peer_is_an_error_not_a_signal() {
    // Goal: no SIGPIPE; method: in a child with the signal at its default, write after the peer went.
    isolated(|| {
        on_every(|cfg| {
            cfg.once(async {
                let (mut near, far) = pair().await;
                drop(far);
                let error = loop {
                    if let Err(error) = near.write_all(&[0; 1024]).await {
                        break error;
                    }
                    yield_now().await;
                };
                assert!(
                    [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset].contains(&error.kind())
                );
                let (mut near, _far) = pair().await;
                near.shutdown_now(Shutdown::Write).unwrap();
                assert_eq!(near.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
            });
        });
    });
}

#[test]
fn shutdown_both_ends_a_waiting_read() {
    // Goal: shutdown from another task; method: a read waits on a shared stream; both directions are
    // shut down; the reader sees the end.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (near, _far) = pair().await;
            let near = std::sync::Arc::new(near);
            let theirs = near.clone();
            let reader = spawn(async move {
                loop {
                    theirs.readable().await.unwrap();
                    match theirs.try_read(&mut [0; 4]) {
                        Ok(n) => break n,
                        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                    }
                }
            });
            for _ in 0..10 {
                yield_now().await;
            }
            near.shutdown_now(Shutdown::Both).unwrap();
            assert_eq!(reader.await.unwrap(), 0);
        });
    });
}

#[test]
fn slow_clients_do_not_hold_up_others() {
    // Goal: test 23 in small; method: 200 connections of which each sends one byte now and then; a
    // fast client makes its round trips meanwhile; the slow ones are complete in the end.
    on_every(|cfg| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        cfg.once(async {
            let listener = TcpListener::from_std(listener).unwrap();
            let server = spawn(async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    drop(spawn(async move { echo(stream).await.unwrap() }));
                }
            });
            let (stop, hear) = std::sync::mpsc::channel::<()>();
            let slow = std::thread::spawn(move || {
                let mut all: Vec<_> =
                    (0..200).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
                let mut rounds = 0_u8;
                // One byte per connection, then a pause: the slow pace is what is tested.
                while hear.recv_timeout(Duration::from_millis(20)).is_err() {
                    rounds += 1;
                    all.iter_mut().for_each(|stream| stream.write_all(&[rounds]).unwrap());
                    if rounds == 100 {
                        break;
                    }
                }
                let sent: Vec<u8> = (1..=rounds).collect();
                for mut stream in all {
                    stream.shutdown(Shutdown::Write).unwrap();
                    let mut back = Vec::new();
                    stream.read_to_end(&mut back).unwrap();
                    assert_eq!(back, sent);
                }
            });
            let mut fast = TcpStream::connect(address).await.unwrap();
            for i in 0..scaled(500) {
                let (out, mut back) = ([i as u8; 100], [0; 100]);
                fast.write_all(&out).await.unwrap();
                fast.read_exact(&mut back).await.unwrap();
                assert_eq!(out, back);
            }
            drop(fast);
            let _ = stop.send(());
            ringloop::to_thread(move || slow.join().unwrap()).await.unwrap();
            server.abort();
            let _ = server.await;
            let tasks = || ringloop::Handle::current().metrics().live_tasks;
            wait_until_async(|| tasks() <= 1, || format!("{} tasks", tasks())).await;
        });
    });
}

#[test]
fn reset_storm_hits_only_its_own_connections() {
    // Goal: test 26 in small; method: echo connections of which half reset in the middle of a
    // message; the other half sees every byte.
    on_every(|cfg| {
        cfg.once(async {
            for _ in 0..scaled(5) {
                let mut tasks = Vec::new();
                for i in 0..60_usize {
                    let (mut near, far) = pair().await;
                    drop(spawn(async move { drop(echo(far).await) }));
                    tasks.push(spawn(async move {
                        let mut back = [0; 50];
                        for round in 0..10_u8 {
                            near.write_all(&[round; 50]).await.unwrap();
                            if i % 2 == 0 && round == 5 {
                                reset(near);
                                return;
                            }
                            near.read_exact(&mut back).await.unwrap();
                            assert_eq!(back, [round; 50]);
                        }
                    }));
                }
                for task in tasks {
                    task.await.unwrap();
                }
            }
            let tasks = || ringloop::Handle::current().metrics().live_tasks;
            wait_until_async(|| tasks() <= 1, || format!("{} tasks", tasks())).await;
        });
    });
}

#[test]
fn socket_moved_to_a_second_runtime_works_or_fails() {
    // Goal: S12; method: streams used in a first runtime, which ends or lives on, are used in a
    // second: data flows, or an error comes; it never waits for ever.
    on_every(|cfg| {
        for first_ends in [true, false] {
            let first = cfg.runtime().into_inner();
            let (mut near, mut far) = first
                .run(async {
                    let (mut near, mut far) = pair().await;
                    near.write_all(b"one").await.unwrap();
                    far.read_exact(&mut [0; 3]).await.unwrap();
                    // A pending read registers interest with the first runtime's reactor.
                    crate::tools::GiveUpAfter::new(1, far.read(&mut [0; 1])).await;
                    (near, far)
                })
                .unwrap();
            let first = if first_ends {
                drop(first);
                None
            } else {
                Some(first)
            };
            cfg.once(async {
                let task = spawn(async move {
                    let mut buf = [0; 3];
                    let read = far.read_exact(&mut buf).await;
                    (read.map(|()| buf), far)
                });
                for _ in 0..10 {
                    yield_now().await;
                }
                let wrote = near.write_all(b"two").await;
                match task.await.unwrap() {
                    (Ok(buf), _) => assert_eq!(&buf, b"two"),
                    (Err(error), _) => assert!(error.to_string().contains("runtime"), "{error}"),
                }
                if let Err(error) = wrote {
                    assert!(error.to_string().contains("runtime"), "{error}");
                }
            });
            drop(first);
        }
    });
}

#[test]
fn sockets_dropped_after_their_runtime_leave_no_descriptor() {
    // Goal: late drops leak nothing; method: streams, halves and listeners, used, then kept over
    // the runtime's end, dropped on this thread and inside another runtime.
    isolated(|| {
        on_every(|cfg| {
            let fds = open_fds();
            for inside in [false, true] {
                for _ in 0..scaled(20) {
                    let first = cfg.runtime().into_inner();
                    let kept = first
                        .run(async {
                            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                            crate::tools::GiveUpAfter::new(1, listener.accept()).await;
                            let (near, far) = pair().await;
                            let (mut reader, writer) = near.into_split();
                            crate::tools::GiveUpAfter::new(1, reader.read(&mut [0; 1])).await;
                            (listener, reader, writer, far)
                        })
                        .unwrap();
                    drop(first);
                    if inside {
                        cfg.once(async { drop(kept) });
                    } else {
                        drop(kept);
                    }
                }
            }
            assert_eq!(open_fds(), fds);
        });
    });
}

#[test]
fn sockets_dropped_on_plain_threads_are_deregistered() {
    // Goal: a deregistration from outside is a message that arrives; method: streams with pending
    // reads are dropped by a plain thread while the runtime lives; counters return to zero.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        for _ in 0..scaled(20) {
            let streams = runtime.must_run(async {
                let mut all = Vec::new();
                for _ in 0..10 {
                    let (mut near, far) = pair().await;
                    crate::tools::GiveUpAfter::new(1, near.read(&mut [0; 1])).await;
                    all.push((near, far));
                }
                all
            });
            std::thread::spawn(move || drop(streams)).join().unwrap();
        }
    });
}
