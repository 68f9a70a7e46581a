//! Listeners: accepts, their cancellation, and a lack of descriptors.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ringloop::io::{AsyncReadExt, AsyncWriteExt};
use ringloop::net::{TcpListener, TcpStream};
use ringloop::spawn;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::harness::{Kind, on_every, on_every_within, scaled, wait_until, wait_until_async};
use crate::measure::{cpu_time, open_fds};
use crate::processes::{Helper, isolated, listen, say};
use crate::tools::{Count, Flag, GiveUpAfter};

#[test]
fn accept_by_several_tasks_gives_each_connection_once() {
    // Goal: accept(&self) from many tasks; method: four acceptors on one listener; plain clients
    // send their own port, and the set of ports is complete.
    on_every(|cfg| {
        cfg.once(async {
            let n = scaled(400);
            let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
            let address = listener.local_addr().unwrap();
            let (accepted, done) = (Count::new(), Flag::new());
            let ports = Arc::new(std::sync::Mutex::new(HashSet::new()));
            let acceptors: Vec<_> = (0..4)
                .map(|_| {
                    let (listener, accepted, done) =
                        (listener.clone(), accepted.clone(), done.clone());
                    let ports = ports.clone();
                    spawn(async move {
                        loop {
                            let (_stream, peer) = listener.accept().await.unwrap();
                            assert!(ports.lock().unwrap().insert(peer.port()), "accepted twice");
                            if accepted.add() + 1 == n {
                                done.set();
                            }
                        }
                    })
                })
                .collect();
            let mut clients = Vec::new();
            for _ in 0..n {
                clients.push(TcpStream::connect(address).await.unwrap());
            }
            done.wait().await;
            for client in &clients {
                assert!(ports.lock().unwrap().contains(&client.local_addr().unwrap().port()));
            }
            for acceptor in acceptors {
                acceptor.abort();
                let _ = acceptor.await;
            }
        });
    });
}

#[test]
fn accept_that_is_woken_and_cancelled_passes_the_wake_on() {
    // Goal: among several acceptors, one that was woken and is cancelled does not keep the wake;
    // method: two wait, a client connects, the one that waited first is aborted at the same time.
    on_every(|cfg| {
        cfg.once(async {
            let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
            let address = listener.local_addr().unwrap();
            for i in 0..scaled(200) {
                let accept = || {
                    let listener = listener.clone();
                    spawn(async move { listener.accept().await.unwrap().1 })
                };
                let (first, second) = (accept(), accept());
                for _ in 0..5 {
                    ringloop::yield_now().await;
                }
                let client = TcpStream::connect(address).await.unwrap();
                let me = client.local_addr().unwrap();
                if i % 2 == 0 {
                    first.abort();
                } else {
                    second.abort();
                }
                let (cancelled, other) = if i % 2 == 0 { (first, second) } else { (second, first) };
                match cancelled.await {
                    Ok(peer) => {
                        assert_eq!(peer, me);
                        other.abort();
                        assert!(other.await.unwrap_err().is_cancelled());
                    }
                    Err(_) => assert_eq!(other.await.unwrap(), me),
                }
            }
        });
    });
}

#[test]
fn accept_cancelled_at_random_loses_no_connection() {
    // Goal: tests 12 and T62; method: thousands of connects from a plain thread while every accept
    // is given up after a random number of turns or by a short timeout; accepted equals connected.
    on_every(|cfg| {
        let mut rng = cfg.rng(9);
        cfg.once(async {
            let n = scaled(5000);
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let client = std::thread::spawn(move || {
                for i in 0..n {
                    let mut stream = std::net::TcpStream::connect(address).unwrap();
                    stream.write_all(&(i as u32).to_le_bytes()).unwrap();
                }
            });
            let mut seen = vec![false; n];
            let mut accepted = 0;
            while accepted < n {
                let got = match rng.below(3) {
                    0 => GiveUpAfter::new(rng.below(4), listener.accept()).await,
                    1 => {
                        let short = Duration::from_micros(rng.next() % 200);
                        ringloop::time::timeout(short, listener.accept()).await.ok()
                    }
                    _ => GiveUpAfter::new(1, listener.accept()).await,
                };
                let Some(got) = got else { continue };
                let (mut stream, _) = got.unwrap();
                let mut name = [0; 4];
                stream.read_exact(&mut name).await.unwrap();
                let name = u32::from_le_bytes(name) as usize;
                assert!(!std::mem::replace(&mut seen[name], true), "connection {name} came twice");
                accepted += 1;
            }
            client.join().unwrap();
            let more = GiveUpAfter::new(100, listener.accept()).await;
            assert!(more.is_none(), "more accepted than connected");
        });
    });
}

#[test]
fn listener_dropped_while_accept_waits_elsewhere_closes() {
    // Goal: a listener whose accept is pending closes; method: abort the acceptor that owns it;
    // connects are refused then, and the same port can be bound again at once. No connection of
    // another test takes a port of this address.
    on_every(|cfg| {
        cfg.once(async {
            for _ in 0..scaled(100) {
                let listener = TcpListener::bind("127.0.37.9:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let acceptor = spawn(async move { listener.accept().await.map(drop) });
                ringloop::yield_now().await;
                acceptor.abort();
                let _ = acceptor.await;
                let error = TcpStream::connect(address).await.expect_err("no listener");
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
                drop(TcpListener::bind(address).await.unwrap());
            }
        });
    });
}

#[test]
fn listener_into_std_and_back_keeps_the_port() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let std_listener = listener.into_std().await.unwrap();
            assert_eq!(std_listener.local_addr().unwrap(), address);
            let listener = TcpListener::from_std(std_listener).unwrap();
            let client = spawn(async move { TcpStream::connect(address).await.map(drop) });
            listener.accept().await.unwrap();
            client.await.unwrap().unwrap();
        });
    });
}

/// Helper process: `flood ADDRESS N` connects N clients, prints "connected", and then requests from
/// each an echo of its number, in any order in which the server serves them; prints "served".
pub fn flood_role(args: &[String]) {
    let address: SocketAddr = args[0].parse().unwrap();
    let n: u32 = args[1].parse().unwrap();
    let mut clients: Vec<_> = (0..n)
        .map(|i| {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.write_all(&i.to_le_bytes()).unwrap();
            stream
        })
        .collect();
    say("connected");
    assert_eq!(listen().as_deref(), Some("go"));
    for (i, stream) in clients.iter_mut().enumerate() {
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        assert_eq!(back, (i as u32).to_le_bytes(), "client {i}");
    }
    say("served");
    let _ = listen();
}

#[test]
fn listener_out_of_descriptors_pauses_reports_once_and_resumes() {
    // Goal: test 21 and T68; method: a server limited to 64 descriptors, 500 clients in a child.
    // The server echoes and holds each connection until it is released. Meanwhile accepting must be
    // paused, reported once, without CPU; when connections close, accepting resumes until all 500
    // are served.
    isolated(|| {
        let limits = getrlimit(Resource::Nofile);
        on_every_within(Duration::from_secs(90), |cfg| {
            let runtime = cfg.runtime();
            let log = runtime.log().clone();
            let listener = runtime.must_run(TcpListener::bind("127.0.0.1:0")).unwrap();
            let address = listener.local_addr().unwrap();
            let mut clients = Helper::start("flood", &[address.to_string(), "500".into()]);
            setrlimit(Resource::Nofile, Rlimit { current: Some(64), ..limits }).unwrap();
            let (release, served, errors) = (Flag::new(), Count::new(), Count::new());
            let server = runtime.spawn({
                let (release, served, errors) = (release.clone(), served.clone(), errors.clone());
                async move {
                    loop {
                        let Ok((mut stream, _)) = listener.accept().await else {
                            errors.add();
                            continue;
                        };
                        let (release, served) = (release.clone(), served.clone());
                        drop(spawn(async move {
                            let mut name = [0; 4];
                            stream.read_exact(&mut name).await.unwrap();
                            stream.write_all(&name).await.unwrap();
                            served.add();
                            release.wait().await;
                        }));
                    }
                }
            });
            clients.expect("connected");
            log.wait_for(Kind::AcceptPaused, 1);
            wait_until(|| served.get() > 30, || format!("{} served", served.get()));
            let (cpu, since, held) = (cpu_time(), Instant::now(), served.get());
            // A measurement, no synchronisation: one second with all descriptors in use.
            std::thread::sleep(Duration::from_secs(1));
            let share = (cpu_time() - cpu).as_secs_f64() / since.elapsed().as_secs_f64();
            assert!(share < 0.05, "{:.1} % of a core while full", share * 100.0);
            assert_eq!(log.count(Kind::AcceptPaused), 1, "one report per pause");
            assert_eq!(served.get(), held);
            // A connection that is already there is still served, and other tasks run.
            runtime.must_run(async { ringloop::time::sleep(Duration::from_millis(1)).await });
            release.set();
            wait_until(|| served.get() == 500, || format!("{} served", served.get()));
            clients.tell("go");
            clients.expect("served");
            assert_eq!(errors.get(), 0, "accept returns no error for it");
            let text = &log.take(Kind::AcceptPaused)[0];
            assert!(text.contains("ulimit"), "{text}");
            server.abort();
            let _ = runtime.must_run(server);
            setrlimit(Resource::Nofile, limits).unwrap();
            drop(clients);
        });
    });
}

#[test]
fn listener_paused_can_be_cancelled_and_dropped() {
    // Goal: a paused accept can be cancelled; method: exhaust descriptors, start an accept, drop it
    // and the listener while it is paused, free descriptors, do it again.
    isolated(|| {
        let limits = getrlimit(Resource::Nofile);
        on_every(|cfg| {
            let runtime = cfg.runtime();
            let log = runtime.log().clone();
            for _ in 0..3 {
                let listener = runtime.must_run(TcpListener::bind("127.0.0.1:0")).unwrap();
                let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let highest = *open_fds().keys().max().unwrap() as u64;
                setrlimit(Resource::Nofile, Rlimit { current: Some(highest + 1), ..limits })
                    .unwrap();
                let holes: Vec<_> =
                    std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
                let paused = log.count(Kind::AcceptPaused);
                let acceptor = runtime.spawn(async move { listener.accept().await.map(drop) });
                log.wait_for(Kind::AcceptPaused, paused + 1);
                acceptor.abort();
                assert!(runtime.must_run(acceptor).unwrap_err().is_cancelled());
                setrlimit(Resource::Nofile, limits).unwrap();
                drop((holes, client));
            }
            log.take(Kind::AcceptPaused);
        });
    });
}

#[test]
fn reset_storm_at_accept_does_not_stop_the_listener() {
    // Goal: tests 22 and 26 in small; method: plain threads connect and reset at once, thousands of
    // times; accept returns streams or waits, never an error; good clients are served throughout.
    on_every(|cfg| {
        cfg.once(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let stop = Arc::new(AtomicBool::new(false));
            let stormers: Vec<_> = (0..2)
                .map(|_| {
                    let stop = stop.clone();
                    std::thread::spawn(move || {
                        for i in 0..scaled(1000) {
                            if stop.load(Ordering::Relaxed) {
                                break;
                            }
                            let Ok(mut stream) = std::net::TcpStream::connect(address) else {
                                continue;
                            };
                            if i % 2 == 0 {
                                let _ = stream.write_all(b"half a request");
                            }
                            let socket = socket2::SockRef::from(&stream);
                            socket.set_linger(Some(Duration::ZERO)).unwrap();
                        }
                    })
                })
                .collect();
            let server = spawn(async move {
                loop {
                    let (stream, _) =
                        listener.accept().await.expect("resets are no error of accept");
                    drop(spawn(async move { crate::net_stream::echo(stream).await.is_ok() }));
                }
            });
            for i in 0..scaled(50) {
                let mut good = TcpStream::connect(address).await.unwrap();
                let (out, mut back) = ([i as u8; 64], [0; 64]);
                good.write_all(&out).await.unwrap();
                good.read_exact(&mut back).await.unwrap();
                assert_eq!(out, back);
            }
            stop.store(true, Ordering::Relaxed);
            for stormer in stormers {
                stormer.join().unwrap();
            }
            assert!(!server.is_finished());
            server.abort();
            let _ = server.await;
            let tasks = || ringloop::Handle::current().metrics().live_tasks;
            wait_until_async(|| tasks() <= 1, || format!("{} tasks", tasks())).await;
        });
    });
}

#[test]
fn listener_paused_resumes_after_a_close_that_it_cannot_see() {
    // Goal: descriptors that other code frees end a pause as well; method: files take all
    // descriptors, accept pauses, the files are closed by std; the connection is accepted.
    isolated(|| {
        let limits = getrlimit(Resource::Nofile);
        on_every(|cfg| {
            let runtime = cfg.runtime();
            let log = runtime.log().clone();
            let listener = runtime.must_run(TcpListener::bind("127.0.0.1:0")).unwrap();
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let highest = *open_fds().keys().max().unwrap() as u64;
            // Some numbers are free, whatever the parent left open.
            setrlimit(Resource::Nofile, Rlimit { current: Some(highest + 9), ..limits }).unwrap();
            let files: Vec<_> =
                std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
            assert!(files.len() >= 8);
            let acceptor = runtime.spawn(async move { listener.accept().await.unwrap().1 });
            log.wait_for(Kind::AcceptPaused, 1);
            drop(files);
            assert_eq!(runtime.must_run(acceptor).unwrap(), client.local_addr().unwrap());
            setrlimit(Resource::Nofile, limits).unwrap();
            assert_eq!(log.take(Kind::AcceptPaused).len(), 1);
        });
    });
}
