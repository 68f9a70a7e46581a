//! Connections and datagrams over a wire that loses packets, is slow, or goes down and comes back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringloop::io::{AsyncReadExt, AsyncWriteExt};
use ringloop::net::{Connect, TcpListener, TcpStream, UdpSocket};
use ringloop::protocol::{self, Protocol, Transport};
use ringloop::time::{sleep, timeout};
use ringloop::{spawn, streams};

use crate::harness::{Cfg, loud, on_every, on_every_within, scaled};
use crate::leases::echo_leases;
use crate::net_stream::{expect_pattern, send_pattern};
use crate::processes::isolated;
use crate::tools::{Count, check_pattern, fill_pattern};
use crate::wire::{FAR, Faults, NEAR, Wire, set_up};

/// Runs `body` with a wire of its own, in a process of its own.
fn over_a_wire(body: impl FnOnce(Wire)) {
    match Wire::new(7) {
        Some(wire) => body(wire),
        None => loud("NOTE skipped: no network of one's own, or no TUN device, here"),
    }
}

/// A listener on the wire, and the address to reach it at.
async fn listening() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((NEAR, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, SocketAddr::from((FAR, port)))
}

/// Two streams that are connected over the wire.
async fn pair() -> (TcpStream, TcpStream) {
    let (listener, addr) = listening().await;
    let near = TcpStream::connect(addr).await.unwrap();
    (near, listener.accept().await.unwrap().0)
}

struct Echo;

impl Protocol for Echo {
    fn data(&mut self, transport: &Transport, bytes: &[u8]) {
        transport.write(bytes);
    }
}

/// Sends the numbered stream to an echo, and expects it back.
async fn through(stream: TcpStream, len: usize) {
    let (mut reader, mut writer) = stream.into_split();
    let sending = spawn(async move {
        send_pattern(&mut writer, len, 3000).await;
        writer
    });
    expect_pattern(&mut reader, len, 5000).await;
    drop(sending.await.unwrap());
}

async fn lossy(wire: &Wire, cfg: &Cfg) {
    // Some of everything that is sent by TCP.
    let (listener, addr) = listening().await;
    let by_leases = spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        echo_leases(stream).await;
    });
    let calls = protocol::serve((NEAR, 0), || Echo).await.unwrap();
    let lines = streams::serve((NEAR, 0), async |mut reader, mut writer| {
        loop {
            match reader.read_line().await? {
                line if line.is_empty() => break,
                line => writer.write_all(line.as_bytes()).await?,
            }
        }
        writer.close().await
    });
    let lines = lines.await.unwrap();
    let at =
        |server: &ringloop::net::Server| SocketAddr::from((FAR, server.local_addrs()[0].port()));
    let len = scaled(30_000);
    let first = spawn(async move { through(TcpStream::connect(addr).await.unwrap(), len).await });
    let addr = at(&calls);
    let second = spawn(async move { through(TcpStream::connect(addr).await.unwrap(), len).await });
    let addr = at(&lines);
    let third = spawn(async move {
        let (mut reader, mut writer) = streams::connect(addr).await.unwrap();
        for number in 0..scaled(10) {
            let line = format!("{number} {}\n", "x".repeat(2000));
            writer.write_all(line.as_bytes()).await.unwrap();
            assert_eq!(reader.read_line().await.unwrap(), line);
        }
        writer.close().await.unwrap();
        assert_eq!(reader.read_line().await.unwrap(), "");
    });
    // Datagrams: each that came through is received, as it was sent, and no other.
    let before = wire.passed();
    let receiver = UdpSocket::bind((NEAR, 0)).await.unwrap();
    let to = SocketAddr::from((FAR, receiver.local_addr().unwrap().port()));
    let received = Count::new();
    let count = received.clone();
    let receiving = spawn(async move {
        let mut buf = [0; 500];
        loop {
            let (len, peer) = receiver.recv_from(&mut buf).await.unwrap();
            assert_eq!(peer.ip(), FAR);
            let number = usize::from(buf[0]);
            assert_eq!(len, 1 + number);
            check_pattern(&buf[1..len], number);
            count.add();
        }
    });
    let sender = UdpSocket::bind((NEAR, 0)).await.unwrap();
    for round in 0..scaled(300) {
        let mut buf = [0; 500];
        let number = round % 256;
        buf[0] = number as u8;
        fill_pattern(&mut buf[1..=number], number);
        sender.send_to(&buf[..=number], to).await.unwrap();
        if round % 16 == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    }
    for task in [first, second, third, by_leases] {
        task.await.unwrap();
    }
    // One may be held back still.
    sleep(Duration::from_millis(10)).await;
    let passed = wire.passed() - before;
    timeout(Duration::from_secs(10), async {
        while (received.get() as u64) < passed {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{} of {passed} datagrams", received.get()));
    assert_eq!(received.get() as u64, passed, "{cfg}");
    receiving.abort();
    let _ = receiving.await;
    for server in [calls, lines] {
        server.drain(Duration::from_secs(10)).await;
    }
}

#[test]
fn lost_repeated_and_reordered_packets_change_nothing() {
    // Goal: test 29; method: three ways to serve by TCP, and datagrams, over a wire that loses 3 of 100
    // packets, repeats 2 and reorders 5.
    isolated(|| {
        over_a_wire(|wire| {
            wire.set(Faults { lost: 30, repeated: 20, reordered: 50, ..Faults::default() });
            on_every(|cfg| {
                // The worker counts change nothing about the wire.
                if cfg.workers < 4 {
                    cfg.once(lossy(&wire, cfg));
                }
            });
            assert!(wire.lost() > 0);
        });
    });
}

#[test]
fn slow_wire_is_shared_and_holds_up_nothing_else() {
    // Goal: test 30; method: six connections over a wire that passes a packet in a millisecond, and beside them
    // one by the loopback, and a timer. All bytes arrive, and the others do not notice.
    isolated(|| {
        over_a_wire(|wire| {
            wire.set(Faults { pace: Duration::from_millis(1), ..Faults::default() });
            on_every(|cfg| {
                if cfg.workers == 4 {
                    return;
                }
                cfg.once(async {
                    let mut flows = Vec::new();
                    for _ in 0..6 {
                        let (mut near, mut far) = pair().await;
                        let len = scaled(60_000);
                        flows.push(spawn(async move { send_pattern(&mut near, len, 3000).await }));
                        flows.push(spawn(async move { expect_pattern(&mut far, len, 3000).await }));
                    }
                    let (mut near, far) = crate::net_stream::pair().await;
                    let echo = spawn(echo_leases(far));
                    let (mut trips, mut slowest) = (0, Duration::ZERO);
                    while !flows.iter().all(|flow| flow.is_finished()) {
                        let began = Instant::now();
                        near.write_all(b"local").await.unwrap();
                        near.read_exact(&mut [0; 5]).await.unwrap();
                        sleep(Duration::from_millis(1)).await;
                        slowest = slowest.max(began.elapsed());
                        trips += 1;
                    }
                    for flow in flows {
                        flow.await.unwrap();
                    }
                    near.close().await.unwrap();
                    echo.await.unwrap();
                    assert!(trips > 5, "{trips}");
                    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
                });
            });
        });
    });
}

#[test]
fn link_that_goes_down_and_comes_back_loses_nothing() {
    // Goal: test 28; method: the interface is taken down, or the wire swallows all, while bytes are under way:
    // timers run, a connect ends by its own limit, datagrams fail or are lost, and everything goes on when the
    // link is back.
    isolated(|| {
        over_a_wire(|wire| {
            on_every_within(Duration::from_secs(100), |cfg| {
                if cfg.workers == 4 {
                    return;
                }
                let wire = &wire;
                cfg.once(async {
                    for interface in [false, true] {
                        let cut = |down: bool| match interface {
                            true => set_up("wire", !down),
                            false => wire.set(Faults { down, ..Faults::default() }),
                        };
                        let (mut near, mut far) = pair().await;
                        let (listener, addr) = listening().await;
                        let datagrams = Arc::new(UdpSocket::bind((NEAR, 0)).await.unwrap());
                        let port = datagrams.local_addr().unwrap().port();
                        let limit = Duration::from_millis(100);
                        cut(true);
                        near.write_all(b"under way").await.unwrap();
                        let began = Instant::now();
                        let mut buf = [0; 9];
                        timeout(limit, far.read(&mut buf)).await.unwrap_err();
                        let connect = Connect::new().timeout(limit);
                        let failed = connect.connect(addr).await.unwrap_err();
                        let waited = began.elapsed();
                        assert!(waited < 20 * limit, "{waited:?}: {failed}");
                        // It is an error, or is lost.
                        let _ = datagrams.send_to(b"lost", (FAR, port)).await;
                        timeout(limit, datagrams.recv(&mut buf)).await.unwrap_err();
                        cut(false);
                        let (_client, (_server, _)) = futures_util::future::join(
                            async { TcpStream::connect(addr).await.unwrap() },
                            async { listener.accept().await.unwrap() },
                        )
                        .await;
                        datagrams.send_to(b"back", (FAR, port)).await.unwrap();
                        let (len, _) = datagrams.recv_from(&mut buf).await.unwrap();
                        assert_eq!(&buf[..len], b"back");
                        far.read_exact(&mut buf).await.unwrap();
                        assert_eq!(&buf, b"under way");
                        far.write_all(b"and back").await.unwrap();
                        near.read_exact(&mut buf[..8]).await.unwrap();
                        assert_eq!(&buf[..8], b"and back");
                    }
                });
            });
        });
    });
}
