//! A mix of everything on the network, for long: streams, protocols, datagrams, Unix sockets and TLS, with clients that
//! leave, reset and give up at random. Nothing grows, and every counter returns to zero.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ringloop::io::{AsyncReadExt, AsyncWriteExt};
use ringloop::net::{Server, TcpStream, UdpSocket, UnixListener, UnixStream};
use ringloop::protocol::{self, Protocol, Transport};
use ringloop::streams::{self, StreamReader, StreamWriter};
use ringloop::time::timeout;
use ringloop::{spawn, yield_now};

use crate::faces::reset;
use crate::harness::{Cfg, Kind, Rng, assert_quiet, loud, on_every_within, wait_until};
use crate::measure::{open_fds, resident_bytes};
use crate::processes::isolated;
use crate::tools::{Count, GiveUpAfter, check_pattern, fill_pattern};

/// Clients at once.
const CLIENTS: usize = 16;
const LONG: Duration = Duration::from_secs(20);

struct Echo;

impl Protocol for Echo {
    fn data(&mut self, transport: &Transport, bytes: &[u8]) {
        transport.write(bytes);
    }
}

/// Answers what comes, until its client leaves in any way.
async fn echo(mut reader: StreamReader, mut writer: StreamWriter) -> std::io::Result<()> {
    loop {
        let shown = reader.fill_buf().await?;
        if shown.is_empty() {
            return writer.close().await;
        }
        let len = shown.len();
        writer.write_all(shown).await?;
        reader.consume(len);
    }
}

/// The same. That a client leaves is no error here.
async fn served(reader: StreamReader, writer: StreamWriter) -> std::io::Result<()> {
    let _ = echo(reader, writer).await;
    Ok(())
}

/// What the clients go to.
struct Servers {
    streams: Server,
    calls: Server,
    unix: Server,
    #[cfg(feature = "tls")]
    tls: Server,
    name: std::os::unix::net::SocketAddr,
    datagrams: SocketAddr,
}

impl Servers {
    async fn start(salt: u64) -> Self {
        use std::os::linux::net::SocketAddrExt as _;
        let name = format!("ringloop-soak-{}-{salt}", std::process::id());
        let name = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
        let listener = UnixListener::bind_addr(&name).unwrap();
        let builder = Server::builder().unix_listener(listener);
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let datagrams = socket.local_addr().unwrap();
        spawn(async move {
            let mut buf = [0; 2000];
            loop {
                let (len, peer) = socket.recv_from(&mut buf).await.unwrap();
                if len == 0 {
                    return;
                }
                socket.send_to(&buf[..len], peer).await.unwrap();
            }
        })
        .detach();
        Self {
            streams: streams::serve("127.0.0.1:0", served).await.unwrap(),
            calls: protocol::serve("127.0.0.1:0", || Echo).await.unwrap(),
            unix: streams::serve_on(builder, served).unwrap(),
            #[cfg(feature = "tls")]
            tls: {
                let acceptor = crate::tls_tools::acceptor();
                streams::serve_tls("127.0.0.1:0", acceptor, served).await.unwrap()
            },
            name,
            datagrams,
        }
    }

    /// Ends them when their clients have left.
    async fn stop(self) {
        for server in [&self.streams, &self.calls, &self.unix] {
            server.drain(LONG).await;
        }
        #[cfg(feature = "tls")]
        self.tls.drain(LONG).await;
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(&[], self.datagrams).await.unwrap();
    }

    /// One client, of any kind, for some trips.
    async fn client(&self, rng: &mut Rng) -> std::io::Result<()> {
        match rng.below(6) {
            0 => {
                let stream = TcpStream::connect(self.streams.local_addrs()).await?;
                trips_and_an_end(stream, rng).await
            }
            1 => {
                let stream = TcpStream::connect(self.calls.local_addrs()).await?;
                trips_and_an_end(stream, rng).await
            }
            2 => {
                let ends = streams::split(UnixStream::connect_addr(&self.name).await?);
                trips(ends, rng).await
            }
            3 => trips(streams::connect(self.calls.local_addrs()).await?, rng).await,
            #[cfg(feature = "tls")]
            4 => {
                let connector = crate::tls_tools::connector();
                let addrs = self.tls.local_addrs();
                trips(streams::connect_tls(addrs, "localhost", &connector).await?, rng).await
            }
            _ => {
                let socket = UdpSocket::bind("127.0.0.1:0").await?;
                socket.connect(self.datagrams).await?;
                for round in 0..rng.below(20) {
                    let mut buf = [0; 1000];
                    fill_pattern(&mut buf, round);
                    socket.send(&buf).await?;
                    // Those of the loopback are not lost while so few are under way.
                    let mut back = [0; 2000];
                    let len = timeout(LONG, socket.recv(&mut back)).await.expect("an answer")?;
                    assert_eq!(len, 1000);
                    check_pattern(&back[..len], round);
                }
                Ok(())
            }
        }
    }
}

/// Trips by a stream, which then ends in any way.
async fn trips_and_an_end(mut stream: TcpStream, rng: &mut Rng) -> std::io::Result<()> {
    for round in 0..rng.below(20) {
        let mut out = vec![0; 1 + rng.below(20_000)];
        fill_pattern(&mut out, round);
        stream.write_all(&out).await?;
        let mut back = vec![0; out.len()];
        GiveUpAfter::new(rng.below(3), stream.readable()).await;
        stream.read_exact(&mut back).await?;
        assert!(back == out, "another connection's bytes");
    }
    let _ = GiveUpAfter::new(rng.below(3), stream.write_all(&[1; 3000])).await;
    match rng.below(4) {
        0 => reset(stream),
        1 => stream.close().await?,
        2 => drop(GiveUpAfter::new(2, stream.read_lease()).await),
        _ => drop(stream),
    }
    Ok(())
}

/// The same by a reader and a writer.
async fn trips(ends: (StreamReader, StreamWriter), rng: &mut Rng) -> std::io::Result<()> {
    let (mut reader, mut writer) = ends;
    for round in 0..rng.below(20) {
        let mut out = vec![0; 1 + rng.below(20_000)];
        fill_pattern(&mut out, round);
        writer.write_all(&out).await?;
        GiveUpAfter::new(rng.below(3), reader.fill_buf()).await;
        let mut back = vec![0; out.len()];
        reader.read_exact(&mut back).await.map_err(std::io::Error::other)?;
        assert!(back == out, "another connection's bytes");
    }
    match rng.below(4) {
        0 => writer.abort(),
        1 => writer.close().await?,
        2 => {
            let _ = GiveUpAfter::new(1, writer.write_all(&[1; 30_000])).await;
        }
        _ => drop(reader),
    }
    Ok(())
}

/// Clients without a pause, for so long. A line at each minute.
fn soak(cfg: &Cfg, length: Duration) {
    let runtime = cfg.runtime();
    let handle = runtime.handle();
    let begun = Instant::now();
    let warm = length / 4;
    let mut measured = None;
    let (mut minute, mut clients) = (1, 0);
    let mut rng = cfg.rng(160);
    while begun.elapsed() < length {
        let seed = rng.next();
        clients += runtime.must_run(async move {
            let servers = std::sync::Arc::new(Servers::start(seed).await);
            let done = Count::new();
            // A second, or what is left of the time.
            let until = Instant::now() + Duration::from_secs(1).min(length / 8);
            let tasks: Vec<_> = (0..CLIENTS)
                .map(|number| {
                    let (servers, done) = (servers.clone(), done.clone());
                    let mut rng = Rng::new(seed ^ number as u64);
                    spawn(async move {
                        while Instant::now() < until {
                            servers.client(&mut rng).await.unwrap();
                            done.add();
                            yield_now().await;
                        }
                    })
                })
                .collect();
            for (number, task) in tasks.into_iter().enumerate() {
                // Some are cancelled, at any point.
                if number % 5 == 0 {
                    task.abort();
                    drop(task.await);
                } else {
                    task.await.unwrap();
                }
            }
            let servers = std::sync::Arc::into_inner(servers).expect("all clients have ended");
            servers.stop().await;
            done.get()
        });
        // Clients that are cancelled leave in the middle of a handshake, too.
        let reports = runtime.log().take(Kind::Other);
        assert!(reports.iter().all(|text| text.contains("handshake")), "{reports:#?}");
        assert_quiet(&handle);
        if begun.elapsed() > warm {
            let (memory, fds) =
                *measured.get_or_insert_with(|| (resident_bytes(), open_fds().len()));
            let grown = resident_bytes().saturating_sub(memory);
            assert!(grown < 16 << 20, "{grown} bytes more after {:?}", begun.elapsed());
            // A worker closes what its ring has let go of a moment later.
            wait_until(|| open_fds().len() <= fds, || format!("more than {fds}: {:?}", open_fds()));
        }
        if begun.elapsed() > Duration::from_secs(60) * minute {
            let memory = resident_bytes() >> 10;
            loud(&format!("soak, minute {minute}: {clients} clients, {memory} KiB, on {cfg}"));
            minute += 1;
        }
    }
    assert!(clients > CLIENTS, "{clients} clients");
}

#[test]
fn some_seconds_of_everything_leave_nothing_behind() {
    // Goal: test 60 in small; method: see `soak`.
    isolated(|| {
        on_every_within(LONG * 3, |cfg| {
            if cfg.workers == 2 {
                soak(cfg, Duration::from_millis(2500));
            }
        });
    });
}

#[test]
#[ignore = "an hour: `cargo soak`"]
fn hour_of_everything_leaves_nothing_behind() {
    // A quarter of it for each backend.
    on_every_within(Duration::from_secs(1200), |cfg| {
        if cfg.workers == 2 {
            soak(cfg, Duration::from_secs(900));
        }
    });
}
