//! Listeners whose descriptor other owners use as well: each connection goes to an accept that
//! waits.

use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ringloop::io::{AsyncReadExt, AsyncWriteExt};
use ringloop::net::{TcpListener, TcpStream};
use ringloop::spawn;
use ringloop::time::{sleep, timeout};

use crate::faults::fork;
use crate::harness::{Kind, on_every, scaled, wait_until, wait_until_async};
use crate::homes::poll_once;
use crate::processes::isolated;
use crate::tools::{Count, Flag, GiveUpAfter};

/// A listener, and another owner's duplicate of it.
async fn shared() -> (TcpListener, std::net::TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dup = listener.as_fd().try_clone_to_owned().unwrap().into();
    (listener, dup)
}

/// Clients, and their addresses.
fn clients(n: usize, address: SocketAddr) -> (Vec<std::net::TcpStream>, HashSet<SocketAddr>) {
    let clients: Vec<_> = (0..n).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    let addresses = clients.iter().map(|client| client.local_addr().unwrap()).collect();
    (clients, addresses)
}

/// Accepts `n` connections, and no more, by plain calls that do not wait.
fn accept_plainly(dup: &std::net::TcpListener, n: usize) -> HashSet<SocketAddr> {
    let peers = Mutex::new(HashSet::new());
    let count = || {
        let mut peers = peers.lock().unwrap();
        while peers.len() < n
            && let Ok((_, peer)) = dup.accept()
        {
            assert!(peers.insert(peer), "accepted twice");
        }
        peers.len()
    };
    wait_until(|| count() >= n, || format!("{} of {n} accepted", count()));
    peers.into_inner().unwrap()
}

/// Some turns of the worker, in which it would accept what it must leave.
async fn some_turns() {
    for _ in 0..4 {
        ringloop::yield_now().await;
        sleep(Duration::from_micros(500)).await;
    }
}

#[test]
fn connections_without_a_waiting_accept_are_left_to_others() {
    // Goal: a listener accepts no connection ahead; method: an accept is begun and given up, after
    // some turns or some time; clients connect, and a duplicate accepts all of them; the next is
    // ours again.
    on_every(|cfg| {
        cfg.once(async {
            let (listener, dup) = shared().await;
            let address = listener.local_addr().unwrap();
            for round in 0..scaled(6) {
                match round % 3 {
                    0 => assert!(GiveUpAfter::new(3, listener.accept()).await.is_none()),
                    1 => {
                        let brief = timeout(Duration::from_millis(1), listener.accept()).await;
                        assert!(brief.is_err());
                    }
                    _ => assert!(poll_once(listener.accept()).is_none()),
                }
                let (mine, all) = clients(20, address);
                some_turns().await;
                assert_eq!(accept_plainly(&dup, 20), all);
                drop(mine);
                let (_mine, all) = clients(1, address);
                let (_, peer) = listener.accept().await.unwrap();
                assert_eq!(HashSet::from([peer]), all);
            }
        });
    });
}

#[test]
fn no_more_is_accepted_than_there_are_waiters() {
    // Goal: each waiting accept takes one connection, and the rest is for other owners; method:
    // three tasks wait, ten clients connect, a duplicate accepts the rest when the tasks have
    // theirs.
    on_every(|cfg| {
        cfg.once(async {
            let (listener, dup) = shared().await;
            let (listener, address) = (Arc::new(listener), listener_address(&dup));
            for _ in 0..scaled(4) {
                let accepts: Vec<_> = (0..3)
                    .map(|_| {
                        let listener = listener.clone();
                        spawn(async move { listener.accept().await.unwrap().1 })
                    })
                    .collect();
                some_turns().await;
                let (_mine, mut all) = clients(10, address);
                for accept in accepts {
                    assert!(
                        all.remove(&accept.await.unwrap()),
                        "accepted twice, or from no client"
                    );
                }
                some_turns().await;
                assert_eq!(accept_plainly(&dup, 7), all);
            }
        });
    });
}

fn listener_address(listener: &std::net::TcpListener) -> SocketAddr {
    listener.local_addr().unwrap()
}

#[test]
fn connections_that_wait_stay_with_the_converted_listener() {
    // Goal: `into_std` loses no connection; method: an accept is begun and given up, or has
    // returned a connection; ten clients connect, and the plain listener accepts ten.
    on_every(|cfg| {
        cfg.once(async {
            for served in [false, true] {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                assert!(GiveUpAfter::new(3, listener.accept()).await.is_none());
                if served {
                    let client = spawn(async move { TcpStream::connect(address).await.map(drop) });
                    listener.accept().await.unwrap();
                    client.await.unwrap().unwrap();
                }
                let (_mine, all) = clients(10, address);
                some_turns().await;
                let plain = listener.into_std().await.unwrap();
                plain.set_nonblocking(true).unwrap();
                assert_eq!(accept_plainly(&plain, 10), all);
            }
        });
    });
}

#[test]
fn connection_of_a_cancelled_accept_goes_to_the_next() {
    // Goal: cancel safety; method: an accept waits, and is dropped before a client connects, after
    // that, or when it has been woken; the next accept returns the connection.
    on_every(|cfg| {
        cfg.once(async {
            let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
            let address = listener.local_addr().unwrap();
            for round in 0..scaled(60) {
                let waits = spawn({
                    let listener = listener.clone();
                    async move { listener.accept().await.unwrap().1 }
                });
                ringloop::yield_now().await;
                if round % 3 == 0 {
                    waits.abort();
                }
                let (_mine, all) = clients(1, address);
                if round % 3 == 1 {
                    some_turns().await;
                }
                waits.abort();
                let peer = match waits.await {
                    Ok(peer) => peer,
                    Err(_) => listener.accept().await.unwrap().1,
                };
                assert_eq!(HashSet::from([peer]), all);
            }
        });
    });
}

#[test]
fn two_listeners_on_one_socket_share_without_loss() {
    // Goal: two owners of one socket, each with a home of its own; method: a listener and one made
    // from its duplicate accept in tasks of their own until all clients are served, some waits
    // given up.
    on_every(|cfg| {
        cfg.once(async {
            let n = scaled(300);
            let (listener, dup) = shared().await;
            let address = listener.local_addr().unwrap();
            let peers = Arc::new(Mutex::new(HashSet::new()));
            let all = Flag::new();
            let acceptors: Vec<_> = [listener, TcpListener::from_std(dup).unwrap()]
                .into_iter()
                .map(|listener| {
                    let (peers, all) = (peers.clone(), all.clone());
                    spawn(async move {
                        for round in 0.. {
                            let accept = listener.accept();
                            let accepted = match round % 2 {
                                0 => Some(accept.await),
                                _ => GiveUpAfter::new(round % 5, accept).await,
                            };
                            let Some(accepted) = accepted else { continue };
                            let mut peers = peers.lock().unwrap();
                            assert!(peers.insert(accepted.unwrap().1), "accepted twice");
                            if peers.len() == n {
                                all.set();
                            }
                        }
                    })
                })
                .collect();
            let mut mine = Vec::new();
            for _ in 0..n {
                mine.push(TcpStream::connect(address).await.unwrap());
            }
            all.wait().await;
            let addresses = mine.iter().map(|client| client.local_addr().unwrap()).collect();
            assert_eq!(*peers.lock().unwrap(), addresses);
            for acceptor in acceptors {
                acceptor.abort();
                let _ = acceptor.await;
            }
        });
    });
}

#[test]
fn many_waiters_have_one_connection_each() {
    // Goal: no wake is lost among tasks that wait for one listener; method: 24 wait, clients
    // connect all at once or one after another, each task gets one.
    on_every(|cfg| {
        cfg.once(async {
            let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
            let address = listener.local_addr().unwrap();
            for round in 0..scaled(6) {
                let accepted = Count::new();
                let waiters: Vec<_> = (0..24)
                    .map(|_| {
                        let (listener, accepted) = (listener.clone(), accepted.clone());
                        spawn(async move {
                            let (_, peer) = listener.accept().await.unwrap();
                            accepted.add();
                            peer
                        })
                    })
                    .collect();
                some_turns().await;
                let (mut mine, mut all) = (Vec::new(), HashSet::new());
                for n in 1..=24 {
                    let (more, addresses) = clients(1, address);
                    mine.extend(more);
                    all.extend(addresses);
                    if round % 2 == 0 {
                        let done = || accepted.get() >= n;
                        wait_until_async(done, || format!("{} of {n}", accepted.get())).await;
                    }
                }
                for waiter in waiters {
                    assert!(
                        all.remove(&waiter.await.unwrap()),
                        "accepted twice, or from no client"
                    );
                }
                assert_eq!(all.len(), 0);
            }
        });
    });
}

#[test]
fn dropped_listener_leaves_its_connections_to_others_that_have_it() {
    // Goal: connections that were not accepted are left to the kernel; method: an accept is begun
    // and given up, clients connect, the listener is dropped; a duplicate accepts all of them.
    // Without one they are reset.
    on_every(|cfg| {
        cfg.once(async {
            for is_shared in [true, false] {
                let (listener, dup) = shared().await;
                let dup = is_shared.then_some(dup);
                let address = listener.local_addr().unwrap();
                assert!(GiveUpAfter::new(3, listener.accept()).await.is_none());
                let (mine, all) = clients(8, address);
                some_turns().await;
                drop(listener);
                match dup {
                    Some(dup) => assert_eq!(accept_plainly(&dup, 8), all),
                    None => {
                        for mut client in mine {
                            client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                            let error =
                                client.read_to_end(&mut Vec::new()).expect_err("it is reset");
                            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                        }
                    }
                }
            }
        });
    });
}

#[test]
fn rescue_of_a_listener_takes_no_more_than_there_are_waiters() {
    // Goal: workers that accept in the place of a held one take only connections for which an
    // accept waits; method: the home of a listener spins until two waiting tasks have a connection
    // each and a while longer; a duplicate accepts the rest.
    on_every(|cfg| {
        if cfg.single() {
            return;
        }
        let runtime = cfg.runtime();
        let log = runtime.log().clone();
        let hog = runtime.spawn(async move {
            let (listener, dup) = shared().await;
            let (listener, address) = (Arc::new(listener), listener_address(&dup));
            assert!(poll_once(listener.accept()).is_none());
            let accepted = Count::new();
            let accepts: Vec<_> = (0..2)
                .map(|_| {
                    let (listener, accepted) = (listener.clone(), accepted.clone());
                    spawn(async move {
                        let (_, peer) = listener.accept().await.unwrap();
                        accepted.add();
                        peer
                    })
                })
                .collect();
            let (mine, all) = clients(20, address);
            let begun = Instant::now();
            // Time for some more rounds of the patrol.
            let has_looked = || begun.elapsed() > Duration::from_millis(60);
            while !(accepted.get() == 2 && has_looked()) {
                assert!(begun.elapsed() < Duration::from_secs(10), "no rescue happens");
                std::hint::spin_loop();
            }
            (accepts, dup, mine, all)
        });
        let (accepts, dup, _mine, mut all) = runtime.must_run(hog).unwrap();
        for accept in accepts {
            assert!(all.remove(&runtime.must_run(accept).unwrap()));
        }
        assert_eq!(accept_plainly(&dup, 18), all);
        log.take(Kind::Hog);
    });
}

#[test]
fn sibling_process_accepts_all_that_no_task_waits_for() {
    // Goal: hot restart, pre-forked siblings; method: a fork accepts on the listener by plain calls
    // while two tasks here wait for one connection each, or none waits any more; twelve clients
    // connect.
    isolated(|| {
        on_every(|cfg| {
            for waiters in [2, 0] {
                let runtime = cfg.runtime();
                let listener = runtime.must_run(async {
                    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                    assert!(GiveUpAfter::new(3, listener.accept()).await.is_none());
                    Arc::new(listener)
                });
                let address = listener.local_addr().unwrap();
                let dup = listener.as_fd().try_clone_to_owned().unwrap().into();
                let accepts: Vec<_> = (0..waiters)
                    .map(|_| {
                        let listener = listener.clone();
                        runtime.spawn(async move { listener.accept().await.unwrap().1 })
                    })
                    .collect();
                let sibling = fork(|words| {
                    for peer in accept_plainly(&dup, 12 - waiters) {
                        writeln!(words, "{peer}").unwrap();
                    }
                });
                let (_mine, mut all) = clients(12, address);
                for accept in accepts {
                    assert!(all.remove(&runtime.must_run(accept).unwrap()));
                }
                let theirs = sibling.finish();
                let theirs: HashSet<_> = theirs.iter().map(|peer| peer.parse().unwrap()).collect();
                assert_eq!(theirs, all);
            }
        });
    });
}

#[test]
fn client_that_resets_before_it_is_accepted_is_delivered() {
    // Goal: a connection that is already reset gives the same result on every backend; method: five
    // clients write 15 bytes and reset, before an accept waits and while one does; each is accepted
    // with its address, its bytes, and the reset.
    on_every(|cfg| {
        cfg.once(async {
            let (listener, dup) = shared().await;
            let (listener, address) = (Arc::new(listener), listener_address(&dup));
            for waits in [false, true, true] {
                let accepts = spawn({
                    let listener = listener.clone();
                    async move {
                        let mut accepted = Vec::new();
                        while accepted.len() < 5 {
                            accepted.push(listener.accept().await.unwrap());
                        }
                        accepted
                    }
                });
                if waits {
                    some_turns().await;
                }
                let mut all: HashSet<_> = (0..5).map(|_| write_and_reset(address)).collect();
                for (mut stream, peer) in accepts.await.unwrap() {
                    assert!(all.remove(&peer), "{peer} twice, or from no client");
                    let mut bytes = Vec::new();
                    let error = stream.read_to_end(&mut bytes).await.expect_err("it was reset");
                    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                    assert_eq!(bytes, b"half a request\n");
                }
            }
        });
    });
}

/// Writes 15 bytes as a client and resets its connection; returns its address.
fn write_and_reset(address: SocketAddr) -> SocketAddr {
    let mut client = std::net::TcpStream::connect(address).unwrap();
    client.write_all(b"half a request\n").unwrap();
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    client.local_addr().unwrap()
}

#[test]
fn listener_that_is_shut_down_elsewhere_ends_its_accepts() {
    // Goal: an unusable listener is an error, on every backend; method: two accepts wait, a
    // duplicate is shut down; both return an error, and so does the next.
    on_every(|cfg| {
        cfg.once(async {
            let (listener, dup) = shared().await;
            let listener = Arc::new(listener);
            let accepts: Vec<_> = (0..2)
                .map(|_| {
                    let listener = listener.clone();
                    spawn(async move { listener.accept().await.unwrap_err().kind() })
                })
                .collect();
            some_turns().await;
            rustix::net::shutdown(&dup, rustix::net::Shutdown::Both).unwrap();
            for accept in accepts {
                assert_eq!(accept.await.unwrap(), ErrorKind::InvalidInput);
            }
            let error = listener.accept().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        });
    });
}

/// A task that counts while its worker is not held.
fn ticks() -> (ringloop::Task<()>, Count) {
    let count = Count::new();
    let task = spawn({
        let count = count.clone();
        async move {
            loop {
                count.add();
                sleep(Duration::from_micros(200)).await;
            }
        }
    });
    (task, count)
}

async fn expect_more(ticks: &Count) {
    let goal = ticks.get() + 5;
    wait_until_async(|| ticks.get() >= goal, || format!("{} of {goal} ticks", ticks.get())).await;
}

#[test]
fn listener_made_blocking_by_others_holds_no_worker() {
    // Goal: O_NONBLOCK is a flag of the open file, so that other owners can clear it; method: a
    // duplicate is made blocking; accepts wait, are given up, and get their connections, while
    // another task ticks. The duplicate stays as its owner wants it: a thread waits in accept(2)
    // for a connection, and gets it.
    on_every(|cfg| {
        cfg.once(async {
            let (listener, dup) = shared().await;
            let (listener, address) = (Arc::new(listener), listener_address(&dup));
            let (ticker, ticks) = ticks();
            let is_blocking = || {
                let flags = rustix::fs::fcntl_getfl(&dup).unwrap();
                !flags.contains(rustix::fs::OFlags::NONBLOCK)
            };
            dup.set_nonblocking(false).unwrap();
            for waits in [1, 3, 0] {
                let accepts: Vec<_> = (0..waits)
                    .map(|_| {
                        let listener = listener.clone();
                        spawn(async move { listener.accept().await.unwrap().1 })
                    })
                    .collect();
                expect_more(&ticks).await;
                let (_mine, mut all) = clients(waits + 2, address);
                for accept in accepts {
                    assert!(all.remove(&accept.await.unwrap()));
                }
                for _ in 0..2 {
                    let (_, peer) = listener.accept().await.unwrap();
                    assert!(all.remove(&peer));
                }
                assert!(GiveUpAfter::new(3, listener.accept()).await.is_none());
                assert!(is_blocking());
            }
            let theirs = {
                let dup = dup.try_clone().unwrap();
                thread::spawn(move || dup.accept().unwrap().1)
            };
            expect_more(&ticks).await;
            let (_mine, all) = clients(1, address);
            assert_eq!(HashSet::from([theirs.join().unwrap()]), all);
            expect_more(&ticks).await;
            ticker.abort();
            let _ = ticker.await;
        });
    });
}

#[test]
fn stream_made_blocking_by_others_holds_no_worker() {
    // Goal: the same for streams, in each way to read; method: both ends are made blocking by
    // duplicates; one waits for bytes, then the other writes more than fits, while another task
    // ticks.
    on_every(|cfg| {
        cfg.once(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (ticker, ticks) = ticks();
            for verb in 0..4 {
                let connect = spawn(async move { TcpStream::connect(address).await.unwrap() });
                let (near, _) = listener.accept().await.unwrap();
                let (mut near, mut far) = (near, connect.await.unwrap());
                for end in [&near, &far] {
                    let dup = std::net::TcpStream::from(end.as_fd().try_clone_to_owned().unwrap());
                    dup.set_nonblocking(false).unwrap();
                }
                let reads = spawn(async move {
                    let mut left = 4 << 20;
                    while left > 0 {
                        left -= match verb {
                            0 => near.read(&mut [0; 9999]).await.unwrap(),
                            1 => near.read_lease().await.unwrap().len(),
                            2 => near.read(Vec::with_capacity(9999)).await.0.unwrap(),
                            _ => {
                                let seen = near.peek(&mut [0; 99]).await.unwrap();
                                near.read_exact(&mut [0; 99][..seen]).await.unwrap();
                                seen
                            }
                        };
                    }
                    near
                });
                expect_more(&ticks).await;
                let bytes = vec![7; 4 << 20];
                far.write_all(&bytes).await.unwrap();
                drop(reads.await.unwrap());
                expect_more(&ticks).await;
            }
            ticker.abort();
            let _ = ticker.await;
        });
    });
}
