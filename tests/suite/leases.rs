//! Reads into memory of the runtime (leases), and writes of it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures_util::future::{Either, select};
use ringloop::io::{AsyncReadExt, AsyncWriteExt, Lease};
use ringloop::net::{TcpListener, TcpStream};
use ringloop::sync::Event;
use ringloop::time::{sleep, timeout};
use ringloop::{Handle, spawn, yield_now};

use crate::faces::soon;
use crate::harness::{on_every, scaled};
use crate::net_stream::{expect_pattern, pair, send_pattern};
use crate::processes::isolated;
use crate::tools::{Count, Flag, GiveUpAfter, Slot, check_pattern, fill_pattern};

#[test]
fn leases_are_echoed_in_order() {
    // Goal: every byte comes back once, in order; method: a numbered stream through an echo by
    // leases, written and read by the poll functions.
    on_every(|cfg| {
        let len = scaled(4 << 20);
        let data: Vec<u8> = (0..len).map(|i| (i / 7 % 251) as u8).collect();
        cfg.everywhere(|| {
            let data = data.clone();
            async move {
                let (client, mut server) = pair().await;
                let echo = spawn(async move {
                    loop {
                        let lease = server.read_lease().await.unwrap();
                        if lease.is_empty() {
                            return server.close().await.unwrap();
                        }
                        server.write_lease(lease).await.unwrap();
                    }
                });
                let (mut reader, mut writer) = client.into_split();
                let expected = data.clone();
                let sender = spawn(async move {
                    writer.write_all(&data).await.unwrap();
                    writer.close().await.unwrap();
                });
                let mut back = Vec::new();
                reader.read_to_end(&mut back).await.unwrap();
                assert!(back == expected, "{} of {} bytes", back.len(), expected.len());
                sender.await.unwrap();
                echo.await.unwrap();
            }
        });
    });
}

/// Sends a numbered stream in messages, each after the echo of the one before; the stream ends
/// right after the last.
async fn ask_and_check(mut far: TcpStream, messages: usize) {
    let (mut sent, mut message, mut back) = (0, [0; 500], [0; 500]);
    for index in 1..=messages {
        fill_pattern(&mut message, sent);
        far.write_all(&message).await.unwrap();
        if index == messages {
            far.close().await.unwrap();
        }
        far.read_exact(&mut back).await.unwrap();
        check_pattern(&back, sent);
        sent += message.len();
    }
    assert_eq!(far.read(&mut back).await.unwrap(), 0, "more came back than was sent");
}

#[test]
fn replies_of_many_tasks_keep_their_order() {
    // Goal: bytes that are sent as a lease, and bytes that are copied, are sent once, in order, and
    // before the end of the stream that is dropped; method: many tasks answer by leases, and each
    // third time by a copy.
    on_every(|cfg| {
        let messages = scaled(100);
        cfg.everywhere(|| async move {
            let serve_one = async |mut near: TcpStream| {
                for turn in 0.. {
                    let lease = near.read_lease().await.unwrap();
                    match turn % 3 {
                        _ if lease.is_empty() => return,
                        0 => near.write_all(&lease).await.unwrap(),
                        _ => near.write_lease(lease).await.unwrap(),
                    }
                }
            };
            let mut crowd = Vec::new();
            for _ in 0..32 {
                let (near, far) = pair().await;
                crowd.push(spawn(serve_one(near)));
                crowd.push(spawn(ask_and_check(far, messages)));
            }
            for one in crowd {
                one.await.unwrap();
            }
        });
    });
}

/// Writes a part of the numbered stream in pieces, with pauses.
async fn trickle(far: &mut TcpStream, part: Range<usize>, pace: &mut crate::harness::Rng) {
    let (mut sent, mut buf) = (part.start, [0; 5000]);
    while sent < part.end {
        let n = (1 + pace.below(5000)).min(part.end - sent);
        fill_pattern(&mut buf[..n], sent);
        far.write_all(&buf[..n]).await.unwrap();
        sent += n;
        match pace.below(10) {
            0 => sleep(Duration::from_micros(pace.next() % 300)).await,
            1 | 2 => yield_now().await,
            _ => {}
        }
    }
}

#[test]
fn cancelled_lease_reads_lose_nothing() {
    // Goal: tests 11 and 13; method: a numbered stream of 10^6 bytes; each read_lease is given up after
    // 0, 1, 2 .. polls, by a short timeout, by losing a select, or awaited; every byte comes once.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let total = scaled(1_000_000);
            let (mut near, mut far) = pair().await;
            let (mut rng, mut pace) = (cfg.rng(80), cfg.rng(81));
            let writer = spawn(async move { trickle(&mut far, 0..total, &mut pace).await });
            let (mut got, mut given_up) = (0, 0);
            while got < total {
                let read = match rng.below(4) {
                    0 => GiveUpAfter::new(rng.below(4), near.read_lease()).await,
                    1 => {
                        let short = Duration::from_micros(rng.next() % 100);
                        timeout(short, near.read_lease()).await.ok()
                    }
                    2 => {
                        let turns = rng.below(3);
                        let other = async {
                            for _ in 0..turns {
                                yield_now().await;
                            }
                        };
                        let read = std::pin::pin!(near.read_lease());
                        match select(std::pin::pin!(other), read).await {
                            Either::Left(_) => None,
                            Either::Right((lease, _)) => Some(lease),
                        }
                    }
                    _ => Some(near.read_lease().await),
                };
                match read {
                    Some(lease) => {
                        let lease = lease.unwrap();
                        assert!(!lease.is_empty(), "end of stream after {got} bytes");
                        check_pattern(&lease, got);
                        got += lease.len();
                    }
                    None => given_up += 1,
                }
            }
            assert!(given_up > 0);
            writer.await.unwrap();
            assert!(near.read_lease().await.unwrap().is_empty());
        });
    });
}

/// Puts a stream back for the next task, even if this task is aborted.
struct PutBack(Slot<TcpStream>, Option<TcpStream>);

impl Drop for PutBack {
    fn drop(&mut self) {
        self.0.put(self.1.take().expect("there until now"));
    }
}

#[test]
fn lease_reader_aborted_as_data_arrives_leaves_it_to_the_next() {
    // Goal: T62 with leases; method: task after task reads leases from one stream and is aborted
    // after a moment; the bytes that the tasks have recorded, together, are the numbered stream.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let total = scaled(300_000);
            let (near, mut far) = pair().await;
            let (mut rng, mut pace) = (cfg.rng(82), cfg.rng(83));
            // The second half is sent after the first abort: else the first task could get all of
            // it.
            let first_abort = Arc::new(Event::new());
            let may_go_on = first_abort.clone();
            let writer = spawn(async move {
                trickle(&mut far, 0..total / 2, &mut pace).await;
                may_go_on.wait().await;
                trickle(&mut far, total / 2..total, &mut pace).await;
            });
            let (slot, got) = (Slot::new(), Arc::new(std::sync::Mutex::new(0)));
            slot.put(near);
            while *got.lock().unwrap() < total {
                let near = slot.take();
                let mut guard = PutBack(slot.clone(), near);
                let report = got.clone();
                let reader = spawn(async move {
                    loop {
                        let lease = guard.1.as_mut().unwrap().read_lease().await.unwrap();
                        // No await between the read and the record.
                        let mut got = report.lock().unwrap();
                        if lease.is_empty() {
                            assert_eq!(*got, total);
                            return;
                        }
                        check_pattern(&lease, *got);
                        *got += lease.len();
                    }
                });
                for _ in 0..rng.below(4) {
                    yield_now().await;
                }
                reader.abort();
                if reader.await.is_err() {
                    first_abort.set();
                }
            }
            writer.await.unwrap();
        });
    });
}

/// `n` connections that echo by leases, each used for `rounds` messages, all at the same time.
async fn serve_others(n: usize, rounds: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = spawn(async move {
        for _ in 0..n {
            let (mut stream, _) = listener.accept().await.unwrap();
            spawn(async move {
                loop {
                    let lease = stream.read_lease().await.unwrap();
                    if lease.is_empty() {
                        break;
                    }
                    stream.write_lease(lease).await.unwrap();
                }
            })
            .detach();
        }
    });
    let clients: Vec<_> = (0..n)
        .map(|i| {
            spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                let (mut out, mut back) = (vec![0; 10 + i * 31], vec![0; 10 + i * 31]);
                for round in 0..rounds {
                    fill_pattern(&mut out, i * 10_000 + round);
                    stream.write_all(&out).await.unwrap();
                    stream.read_exact(&mut back).await.unwrap();
                    assert!(out == back, "connection {i} got another's bytes");
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    server.await.unwrap();
}

#[test]
fn consumer_that_holds_hundreds_of_leases_stops_no_other_stream() {
    // Goal: test 14: all memory of a worker is lent, and no stream hangs; method: readers keep
    // every lease of long streams, while 63 other connections are served; no task spins then; the
    // leases keep their bytes to the last.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let held = runtime.must_run(async {
            let mut keepers = Vec::new();
            for _ in 0..3 {
                let (mut near, mut far) = pair().await;
                let total = 2_000_000;
                spawn(async move { send_pattern(&mut far, total, 7000).await }).detach();
                keepers.push(spawn(async move {
                    let (mut held, mut got) = (VecDeque::new(), 0);
                    while got < total {
                        let lease = near.read_lease().await.unwrap();
                        assert!(!lease.is_empty());
                        got += lease.len();
                        held.push_back(lease);
                        if held.len() % 20 == 0 {
                            yield_now().await;
                        }
                    }
                    (near, held)
                }));
            }
            let others = spawn(serve_others(63, scaled(20)));
            let mut held = Vec::new();
            for keeper in keepers {
                held.push(soon("keeper", keeper).await.unwrap());
            }
            soon("others", others).await.unwrap();
            soon("others, with all memory out", serve_others(63, scaled(10))).await;
            held
        });
        // Time for the other tasks to end.
        std::thread::sleep(Duration::from_millis(30));
        let before = runtime.metrics();
        std::thread::sleep(Duration::from_millis(60));
        let after = runtime.metrics();
        let (parks, polls) = (after.parks - before.parks, after.polls - before.polls);
        assert!(
            parks < 50 && polls < 50,
            "{parks} parks and {polls} polls while nothing is received"
        );
        runtime.must_run(async move {
            for (near, held) in held {
                let mut offset = 0;
                for lease in held {
                    check_pattern(&lease, offset);
                    offset += lease.len();
                }
                assert_eq!(offset, 2_000_000);
                drop(near);
            }
        });
    });
}

#[test]
fn flood_that_is_not_read_is_held_back_and_harms_no_other_stream() {
    // Goal: one flood cannot take the memory of the other streams; method: a connection that has
    // once read leases and now does not read is flooded until the sender has to wait; 63 others are
    // served; then it is read on, and every byte is there.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (mut near, mut far) = pair().await;
            near.socket().set_recv_buffer_size(16 << 10).unwrap();
            far.socket().set_send_buffer_size(16 << 10).unwrap();
            assert!(GiveUpAfter::new(2, near.read_lease()).await.is_none());
            let (total, sent) = (scaled(1_500_000), Count::new());
            let count = sent.clone();
            let flooder = spawn(async move {
                let mut buf = [0; 1000];
                for i in 0..total / 1000 {
                    fill_pattern(&mut buf, i * 1000);
                    far.write_all(&buf).await.unwrap();
                    count.add();
                }
            });
            soon("others", serve_others(63, scaled(10))).await;
            sleep(Duration::from_millis(5)).await;
            assert!(!flooder.is_finished());
            assert!(sent.get() * 1000 < 600_000, "{} kB were received", sent.get());
            let before = Handle::current().metrics();
            sleep(Duration::from_millis(10)).await;
            let polls = Handle::current().metrics().polls - before.polls;
            assert!(polls < 50, "{polls} polls while nothing is received");
            let mut got = 0;
            while got < total {
                let lease = soon("the flooded reader", near.read_lease()).await.unwrap();
                assert!(!lease.is_empty());
                check_pattern(&lease, got);
                got += lease.len();
            }
            flooder.await.unwrap();
        });
    });
}

/// Leases of the numbered stream, of about `total` bytes, whose runtime has ended.
fn leases_of_a_dead_runtime(cfg: &crate::harness::Cfg, total: usize) -> Vec<Lease> {
    let runtime = cfg.runtime().into_inner();
    let leases = runtime
        .run(async move {
            let (mut near, mut far) = pair().await;
            spawn(async move { send_pattern(&mut far, total, 3000).await }).detach();
            let (mut leases, mut got) = (Vec::new(), 0);
            while got < total {
                leases.push(near.read_lease().await.unwrap());
                got += leases.last().unwrap().len();
            }
            leases
        })
        .unwrap();
    let report = runtime.shutdown(Duration::from_secs(10));
    assert!(report.is_clean(), "{report:?}");
    leases
}

#[test]
fn leases_outlive_connection_task_and_runtime() {
    // Goal: S12: lent memory stays valid; method: leases are kept while their connection, task and
    // runtime end and other runtimes receive other bytes; then they are read, sent, and dropped on
    // a thread.
    on_every(|cfg| {
        let leases = leases_of_a_dead_runtime(cfg, 400_000);
        for round in 0..2 {
            let runtime = cfg.runtime();
            runtime.must_run(async {
                serve_others(10, 5).await;
                let (mut near, mut far) = pair().await;
                spawn(async move { far.write_all(&vec![0xEE; 500_000]).await.unwrap() }).detach();
                let mut got = 0;
                while got < 500_000 {
                    let lease = near.read_lease().await.unwrap();
                    assert!(lease.iter().all(|&byte| byte == 0xEE));
                    got += lease.len();
                }
            });
            let mut offset = 0;
            for lease in &leases {
                check_pattern(lease, offset);
                offset += lease.len();
            }
            assert_eq!(offset, 400_000, "round {round}");
        }
        let runtime = cfg.runtime();
        let sent = runtime.must_run(async {
            let (mut near, mut far) = pair().await;
            let reader = spawn(async move { expect_pattern(&mut far, 200_000, 9000).await });
            let mut sent = 0;
            let mut leases = leases.into_iter();
            while sent < 200_000 {
                let mut lease = leases.next().unwrap();
                let piece = lease.split_to(lease.len().min(200_000 - sent));
                sent += piece.len();
                near.write_lease(piece).await.unwrap();
            }
            soon("reader", reader).await.unwrap();
            leases
        });
        std::thread::spawn(move || drop(sent)).join().unwrap();
    });
}

#[test]
fn leases_are_dropped_on_other_threads_and_workers() {
    // Goal: a lease belongs to no thread; method: a stream's leases go to tasks and plain threads,
    // which check and drop them at different times and in any order; the memory comes back, and the
    // counter is 0.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let total = scaled(2_000_000);
            let (mut near, mut far) = pair().await;
            let mut rng = cfg.rng(84);
            spawn(async move { send_pattern(&mut far, total, 20_000).await }).detach();
            let threads: Vec<_> = (0..2)
                .map(|i| {
                    let (sender, receiver) = mpsc::channel::<(usize, Lease)>();
                    let thread = std::thread::spawn(move || {
                        let mut held = Vec::new();
                        for (offset, lease) in receiver {
                            check_pattern(&lease, offset);
                            held.push(lease);
                            if held.len() > 10 + i * 10 {
                                held.swap_remove(i);
                            }
                        }
                    });
                    (sender, thread)
                })
                .collect();
            let (mut got, mut tasks) = (0, Vec::new());
            while got < total {
                let mut lease = near.read_lease().await.unwrap();
                assert!(!lease.is_empty());
                let n = rng.below(lease.len() + 1);
                for part in [lease.split_to(n), lease] {
                    let (at, len) = (got, part.len());
                    match rng.below(4) {
                        i @ (0 | 1) => threads[i].0.send((at, part)).unwrap(),
                        2 => tasks.push(spawn(async move {
                            yield_now().await;
                            check_pattern(&part, at);
                        })),
                        _ => check_pattern(&part, at),
                    }
                    got += len;
                }
            }
            for task in tasks {
                task.await.unwrap();
            }
            for (sender, thread) in threads {
                drop(sender);
                thread.join().unwrap();
            }
        });
    });
}

#[test]
fn idle_connections_hold_no_lease() {
    // Goal: a connection that waits costs no read memory; method: a hundred readers wait in
    // read_lease, before and after a message; the counter of leases is 0.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (done, mut fars, mut tasks) = (Count::new(), Vec::new(), Vec::new());
            for _ in 0..100 {
                let (mut near, far) = pair().await;
                let done = done.clone();
                fars.push(far);
                tasks.push(spawn(async move {
                    while !near.read_lease().await.unwrap().is_empty() {
                        done.add();
                    }
                }));
            }
            for round in 1..3 {
                for _ in 0..50 {
                    yield_now().await;
                }
                assert_eq!(Handle::current().metrics().leases, 0, "round {round}");
                for far in &mut fars {
                    far.write_all(&[round; 100]).await.unwrap();
                }
                let all = || done.get() == 100 * usize::from(round);
                crate::harness::wait_until_async(all, || "messages".to_owned()).await;
            }
            let none = || Handle::current().metrics().leases == 0;
            crate::harness::wait_until_async(none, || "leases come back".to_owned()).await;
            drop(fars);
            for task in tasks {
                task.await.unwrap();
            }
        });
    });
}

#[test]
fn messages_of_any_size_go_round() {
    // Goal: one byte and 64 KiB, through one connection in turn; method: ping-pong through an echo by
    // leases, whole messages checked.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (mut near, far) = pair().await;
            // A message may be sent in pieces, of which the last must not wait for an ACK (Nagle).
            near.set_nodelay(true).unwrap();
            far.set_nodelay(true).unwrap();
            let echo = spawn(echo_leases(far));
            for round in 0..scaled(20) {
                for size in [1, 64 << 10, 1, 1, 200, (64 << 10) + 1, 4096] {
                    let (mut out, mut back) = (vec![0; size], vec![0; size]);
                    fill_pattern(&mut out, round * 7 + size);
                    near.write_all(&out).await.unwrap();
                    near.read_exact(&mut back).await.unwrap();
                    assert!(out == back, "{size} bytes");
                }
            }
            near.close().await.unwrap();
            echo.await.unwrap();
        });
    });
}

/// Echoes by leases until the end.
pub async fn echo_leases(mut stream: TcpStream) {
    loop {
        let lease = stream.read_lease().await.unwrap();
        if lease.is_empty() {
            return stream.close().await.unwrap();
        }
        stream.write_lease(lease).await.unwrap();
    }
}

#[test]
fn lease_reader_moves_between_tasks_and_workers() {
    // Goal: the receive stays at its home while its reader moves; method: the stream goes from task
    // to task, each reads some leases, keeps one until after the move, and blocks its worker now
    // and then.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let total = scaled(500_000);
            let (mut near, mut far) = pair().await;
            let (rng, mut pace) = (cfg.rng(85), cfg.rng(86));
            spawn(async move { trickle(&mut far, 0..total, &mut pace).await }).detach();
            let mut got = 0;
            while got < total {
                let mut rng = rng.clone();
                (near, got) = spawn(async move {
                    let mut kept = Lease::empty();
                    for _ in 0..1 + rng.below(10) {
                        let lease = near.read_lease().await.unwrap();
                        check_pattern(&lease, got);
                        got += lease.len();
                        check_pattern(&kept, got - lease.len() - kept.len());
                        kept = lease;
                        if got == total {
                            break;
                        }
                        if rng.one_in(5) {
                            std::thread::sleep(Duration::from_micros(rng.next() % 300));
                        }
                    }
                    (near, got)
                })
                .await
                .unwrap();
            }
        });
    });
}

#[test]
fn stream_that_received_leases_goes_to_the_next_runtime() {
    // Goal: a socket whose home has ended gets another one, with nothing lost; method: a stream
    // waits in read_lease when its runtime ends, with bytes received and not read, and is used in
    // the next.
    on_every(|cfg| {
        let (mut near, mut far, mut at) = (None, None, 0);
        for round in 0..4 {
            let runtime = cfg.runtime().into_inner();
            let streams = runtime.run(async {
                let (mut near, mut far) = match (near.take(), far.take()) {
                    (Some(near), Some(far)) => (near, far),
                    _ => pair().await,
                };
                let check = |lease: Lease, at: &mut usize| {
                    check_pattern(&lease, *at);
                    *at += lease.len();
                };
                while at < round * 2000 {
                    let lease = soon("bytes of the last runtime", near.read_lease()).await;
                    check(lease.unwrap(), &mut at);
                }
                assert!(GiveUpAfter::new(2, near.read_lease()).await.is_none());
                send_from(&mut far, at, 1000).await;
                let end = at + 1000;
                while at < end {
                    let lease = soon("bytes of this runtime", near.read_lease()).await;
                    check(lease.unwrap(), &mut at);
                }
                // Unread when the runtime ends: some of the bytes are received by it, some are not.
                send_from(&mut far, at, 1000).await;
                yield_now().await;
                (near, far)
            });
            let (n, f) = streams.unwrap();
            (near, far) = (Some(n), Some(f));
            let report = runtime.shutdown(Duration::from_secs(10));
            assert!(report.is_clean(), "{report:?}");
        }
    });
}

async fn send_from(far: &mut TcpStream, offset: usize, len: usize) {
    let mut buf = vec![0; len];
    fill_pattern(&mut buf, offset);
    far.write_all(&buf).await.unwrap();
}

#[test]
fn stream_at_home_in_another_runtime_gives_leases() {
    // Goal: a stream may be used on a runtime that is not its home's, while both live; method: it
    // goes back and forth, each side reads the bytes that the last one left unread and waits for
    // more.
    on_every(|cfg| {
        let runtimes = [cfg.runtime(), cfg.runtime()];
        let (mut near, mut far) = runtimes[0].must_run(pair());
        let (mut sent, mut got) = (0, 0);
        for round in 0..scaled(20) {
            let go = Flag::new();
            (near, far, got) = runtimes[round % 2].must_run(async move {
                let ready = go.clone();
                let writer = spawn(async move {
                    ready.wait().await;
                    send_from(&mut far, sent, 3000).await;
                    far
                });
                if got == sent && round % 3 != 1 {
                    assert!(GiveUpAfter::new(2, near.read_lease()).await.is_none());
                }
                go.set();
                let goal = sent + 3000 - round % 3 * 1000;
                while got < goal {
                    let lease = soon("a lease", near.read_lease()).await.unwrap();
                    assert!(!lease.is_empty());
                    check_pattern(&lease, got);
                    got += lease.len();
                }
                (near, writer.await.unwrap(), got)
            });
            sent += 3000;
        }
    });
}

#[test]
fn halves_lend_and_send_on_two_tasks() {
    // Goal: leases by the owned halves, each on a task of its own; method: an echo whose reader
    // sends its leases to the writer over a channel.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (mut client, server) = pair().await;
            let (mut reader, mut writer) = server.into_split();
            let echo = spawn(async move {
                loop {
                    let lease = reader.read_lease().await.unwrap();
                    if lease.is_empty() {
                        return;
                    }
                    writer = spawn(async move {
                        writer.write_lease(lease).await.unwrap();
                        writer
                    })
                    .await
                    .unwrap();
                }
            });
            for i in 0..50u8 {
                client.write_all(&[i; 100]).await.unwrap();
                let mut back = [0; 100];
                client.read_exact(&mut back).await.unwrap();
                assert_eq!(back, [i; 100]);
            }
            client.close().await.unwrap();
            echo.await.unwrap();
        });
    });
}

/// The number of mappings of this process.
fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").expect("/proc/self/maps").lines().count()
}

#[test]
fn leases_beyond_the_pool_are_counted_and_are_no_mappings() {
    // Goal: leases that are held beyond the pools' memory are copied to the heap, and take no
    // mapping each, of which a process has 65 530; all are counted (S11). Method: first all memory
    // of the pools is held, then 2000 short messages, of which every other is dropped.
    const FLOOD: usize = 6 << 20;
    const SHORT: usize = 2000;
    isolated(|| {
        on_every(|cfg| {
            let runtime = cfg.runtime();
            runtime.must_run(async {
                let (mut near, mut far) = pair().await;
                let flood = spawn(async move {
                    far.write_all(&vec![1; FLOOD]).await.unwrap();
                    far.flush().await.unwrap();
                    far
                });
                let (mut held, mut bytes) = (Vec::new(), 0);
                while bytes < FLOOD {
                    let lease = near.read_lease().await.unwrap();
                    bytes += lease.len();
                    held.push(lease);
                }
                let mut far = flood.await.unwrap();
                let before = mappings();
                for number in 0..SHORT {
                    far.write_all(&[number as u8; 64]).await.unwrap();
                    far.flush().await.unwrap();
                    let mut got = 0;
                    while got < 64 {
                        let lease = near.read_lease().await.unwrap();
                        got += lease.len();
                        held.push(lease);
                    }
                }
                assert_eq!(Handle::current().metrics().leases, held.len() as u64);
                let mut turn = false;
                held.retain(|_| {
                    turn = !turn;
                    turn
                });
                assert_eq!(Handle::current().metrics().leases, held.len() as u64);
                // Checked after the drops, since neighbours without gaps are one mapping.
                let grown = mappings().saturating_sub(before);
                assert!(grown < SHORT / 10, "{grown} mappings more");
                let short = &held[held.len() - SHORT / 2..];
                for lease in short {
                    assert!(lease.iter().all(|byte| *byte == lease[0]), "bytes of another message");
                }
            });
        });
    });
}
