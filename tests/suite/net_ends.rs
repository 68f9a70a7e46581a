//! The ends of connections and listeners: at once, even if their home is held, and only for their
//! owner.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::thread;
use std::time::{Duration, Instant};

use ringloop::io::AsyncWriteExt;
use ringloop::net::{TcpListener, TcpStream};
use ringloop::spawn;
use socket2::SockRef;

use crate::faults::fork;
use crate::harness::{Cfg, Kind, on_every};
use crate::homes::{Plain, TOO_MUCH, expect, fill, lend, on_a_ring, plain_pair};
use crate::net_stream::narrow_listener;
use crate::processes::isolated;
use crate::rescue::{VERBS, hog_until, poll_once, read};

/// A stream that our listener has accepted, with a plain peer. Its home is this worker, where a
/// read by `verb` is armed.
async fn accepted_pair(verb: usize) -> (TcpStream, Plain) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = Plain::connect(listener.local_addr().unwrap()).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (mut near, _) = listener.accept().await.unwrap();
    assert!(poll_once(read(&mut near, verb)).is_none());
    (near, peer)
}

/// Drops a value on another thread than this: a worker, or a plain thread.
fn drop_elsewhere<T: Send + 'static>(value: T, as_task: bool) {
    if as_task {
        drop(spawn(async move { drop(value) }));
    } else {
        thread::spawn(move || drop(value));
    }
}

#[test]
fn connection_dropped_elsewhere_ends_though_its_home_is_held() {
    // Goal: the peer sees the end while the worker that has the connection's operations is in one
    // long poll; method: the home spins until the peer has read the end. The connection is dropped
    // by another worker or by a plain thread, with all bytes read or with some that have just
    // arrived.
    on_every(|cfg| {
        for (verb, unread, as_task) in
            (0..4 * VERBS).map(|case| (case / 4, case / 2 % 2 == 1, case % 2 == 1))
        {
            if as_task && cfg.single() {
                continue;
            }
            let runtime = cfg.runtime();
            let log = runtime.log().clone();
            let hog = runtime.spawn(async move {
                let (near, mut peer) = accepted_pair(verb).await;
                if unread {
                    peer.write_all(b"nobody reads this").unwrap();
                }
                drop_elsewhere(near, as_task);
                let reader = thread::spawn(move || peer.read(&mut [0; 1]).map_err(|e| e.kind()));
                (hog_until(|| reader.is_finished()), reader)
            });
            let (told, reader) = runtime.must_run(hog).unwrap();
            let what = format!("verb {verb}, unread: {unread}, by a task: {as_task}");
            assert!(told, "{what}: the end waits for the poll");
            assert_eq!(reader.join().unwrap(), Ok(0), "{what}");
            log.take(Kind::Hog);
        }
    });
}

#[test]
fn listener_dropped_elsewhere_ends_though_its_home_is_held() {
    // Goal: a listener that was dropped accepts no connection, and its port is free, while the
    // worker that has its operations is in one long poll; method: that worker spins until a
    // thread's connect was refused, and the thread has bound the port.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let log = runtime.log().clone();
        let hog = runtime.spawn(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            assert!(poll_once(listener.accept()).is_none());
            let client = thread::spawn(move || {
                drop(listener);
                let refused = Plain::connect(addr).map(drop).map_err(|error| error.kind());
                assert_eq!(refused, Err(ErrorKind::ConnectionRefused));
                drop(std::net::TcpListener::bind(addr).expect("the port"));
            });
            (hog_until(|| client.is_finished()), client)
        });
        let (told, client) = runtime.must_run(hog).unwrap();
        assert!(told, "the end waits for the poll");
        client.join().unwrap();
        log.take(Kind::Hog);
    });
}

/// The ways to a second descriptor of a connection. The copy is a plain stream.
const COPIES: usize = 2;

async fn copied_pair(way: usize, verb: usize) -> (TcpStream, Plain, Plain) {
    let (mut near, peer) = accepted_pair(verb).await;
    let copy = match way {
        0 => {
            let near_std = near.into_std().await.unwrap();
            let copy = near_std.try_clone().unwrap();
            near = TcpStream::from_std(near_std).unwrap();
            assert!(poll_once(read(&mut near, verb)).is_none());
            copy
        }
        _ => near.as_fd().try_clone_to_owned().unwrap().into(),
    };
    (near, peer, copy)
}

#[test]
fn copy_of_a_dropped_connection_lives_on() {
    // Goal: a stream that is dropped, at home or elsewhere, ends nothing for the owner of a copy of
    // its descriptor, and takes none of its bytes; method: both ways are used after the drop.
    on_every(|cfg| {
        for (way, verb, at_home) in
            (0..2 * VERBS * COPIES).map(|case| (case / 2 / VERBS, case / 2 % VERBS, case % 2 == 0))
        {
            cfg.once(async move {
                let what = format!("copy {way}, verb {verb}, at home: {at_home}");
                let (near, mut peer, mut copy) = copied_pair(way, verb).await;
                if at_home {
                    drop(near);
                } else {
                    thread::spawn(move || drop(near)).join().unwrap();
                }
                // After the home has processed the drop: an armed receive takes bytes that come
                // earlier.
                copy.write_all(b"from the copy").unwrap();
                let mut buf = [0; 13];
                peer.read_exact(&mut buf).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(&buf, b"from the copy", "{what}");
            });
        }
    });
}

#[test]
fn connection_shared_with_a_child_lives_on_there() {
    // Goal: the same for a child that was forked; method: the parent drops its stream on a plain thread
    // while the home is held; then the child writes.
    isolated(|| {
        on_every(|cfg: &Cfg| {
            let runtime = cfg.runtime();
            let log = runtime.log().clone();
            let (near, peer) = runtime.must_run(accepted_pair(1));
            let (wait, mut go) = std::io::pipe().unwrap();
            let mut child = fork(|_| {
                let _ = (&wait).read_exact(&mut [0]);
                // SAFETY: the child's copy of a descriptor that is open there.
                let sent = unsafe { libc::write(near.as_raw_fd(), b"child".as_ptr().cast(), 5) };
                assert_eq!(sent, 5);
            });
            thread::spawn(move || drop(near)).join().unwrap();
            go.write_all(&[1]).unwrap();
            child.hear();
            let mut buf = [0; 5];
            (&peer).read_exact(&mut buf).unwrap();
            assert_eq!(&buf, b"child");
            child.dismiss();
            assert_eq!((&peer).read_to_end(&mut Vec::new()).unwrap(), 0);
            log.take(Kind::Hog);
        });
    });
}

#[test]
fn listener_that_shares_a_socket_goes_on_accepting() {
    // Goal: as above, for listeners; method: a listener from a copied descriptor is dropped on a plain
    // thread; the copy accepts.
    on_every(|cfg| {
        cfg.once(async {
            let copy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let addr: SocketAddr = copy.local_addr().unwrap();
            let listener = TcpListener::from_std(copy.try_clone().unwrap()).unwrap();
            assert!(poll_once(listener.accept()).is_none());
            thread::spawn(move || drop(listener)).join().unwrap();
            copy.set_nonblocking(false).unwrap();
            // After some ticks no accept of the dropped listener is left.
            ringloop::time::sleep(Duration::from_millis(20)).await;
            let _client = Plain::connect(addr).unwrap();
            copy.accept().unwrap();
        });
    });
}

/// A stream that a narrow listener, with a linger time or without, has accepted, and its plain
/// peer.
async fn narrow_accepted(linger: Option<Duration>) -> (TcpStream, Plain) {
    let listener = narrow_listener();
    listener.socket().set_linger(linger).unwrap();
    let peer = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    peer.set_recv_buffer_size(8 << 10).unwrap();
    peer.connect(&listener.local_addr().unwrap().into()).unwrap();
    let (near, _) = listener.accept().await.unwrap();
    (near, peer.into())
}

#[test]
fn linger_time_blocks_no_worker() {
    // Goal: a stream with a linger time is dropped at once, and the bytes that were written are
    // sent; method: a time set by its own setter, on the socket, or on its listener; a full stream,
    // whose peer begins to read after the drop.
    const TIME: Option<Duration> = Some(Duration::from_secs(20));
    on_every(|cfg| {
        for (way, waits) in (0..8).map(|case| (case / 2, case % 2 == 1)) {
            cfg.once(async move {
                let what = format!("way {way}, a read is armed: {waits}");
                let (mut near, mut peer) = match way {
                    0 => narrow_accepted(None).await,
                    1 | 2 => plain_pair(),
                    _ => narrow_accepted(TIME).await,
                };
                match way {
                    0 | 1 => near.set_linger(TIME).unwrap(),
                    2 => SockRef::from(&near).set_linger(TIME).unwrap(),
                    _ => {}
                }
                assert_eq!(near.linger().unwrap(), TIME, "{what}");
                let sent = fill(&near, 0);
                if waits {
                    assert!(poll_once(read(&mut near, 0)).is_none());
                }
                let begun = Instant::now();
                drop(near);
                assert!(begun.elapsed() < Duration::from_secs(5), "{what}: it blocks");
                let reader = thread::spawn(move || {
                    expect(&mut peer, sent);
                    assert_eq!(peer.read_to_end(&mut Vec::new()).expect("the end"), 0);
                });
                crate::tools::joined(reader).await.unwrap_or_else(|_| panic!("{what}"));
            });
        }
    });
}

#[test]
fn linger_times_are_rounded_up_and_zero_resets() {
    // Goal: a short time never becomes zero, and zero resets; method: set a time, and get it.
    on_every(|cfg| {
        cfg.once(async {
            let (near, mut peer) = accepted_pair(1).await;
            for (time, seconds) in [(1, 1), (500, 1), (1000, 1), (1001, 2), (86_400_000, 86_400)] {
                near.set_linger(Some(Duration::from_millis(time))).unwrap();
                let set = near.linger().unwrap();
                assert_eq!(set, Some(Duration::from_secs(seconds)), "{time} ms");
            }
            near.set_linger(Some(Duration::MAX)).unwrap();
            assert!(near.linger().unwrap() > Some(Duration::from_secs(1 << 30)));
            near.set_linger(None).unwrap();
            assert_eq!(near.linger().unwrap(), None);
            near.set_linger(Some(Duration::ZERO)).unwrap();
            drop(near);
            let end = peer.read_to_end(&mut Vec::new()).map_err(|error| error.kind());
            assert_eq!(end, Err(ErrorKind::ConnectionReset));
        });
    });
}

#[test]
fn what_was_written_is_sent_though_bytes_are_unread() {
    // Goal: a drop with unread bytes loses nothing that was written; method: more bytes than fit
    // are written, or as many as fit, with bytes of the peer unread, of which some may have been
    // read; the peer begins to read after the drop.
    on_every(|cfg| {
        for (verb, reads, leases, away) in (0..8 * VERBS)
            .map(|case| (case / 8, case / 4 % 2 == 1, case / 2 % 2 == 1, case % 2 == 1))
        {
            cfg.once(async move {
                if leases && !on_a_ring() {
                    // On epoll no bytes stay queued whose writer has not waited for them.
                    return;
                }
                let what = format!("verb {verb}, reads: {reads}, leases: {leases}, away: {away}");
                let (mut near, mut peer) = narrow_accepted(None).await;
                peer.write_all(b"request").unwrap();
                if reads {
                    assert!(!read(&mut near, verb).await.unwrap().is_empty());
                    assert!(poll_once(read(&mut near, verb)).is_none());
                }
                let sent = if leases {
                    lend(&mut near, 0, TOO_MUCH).await;
                    TOO_MUCH
                } else {
                    fill(&near, 0)
                };
                peer.write_all(b"more of it").unwrap();
                if away {
                    thread::spawn(move || drop(near)).join().unwrap();
                } else {
                    drop(near);
                }
                let reader = thread::spawn(move || {
                    expect(&mut peer, sent);
                    assert_eq!(peer.read_to_end(&mut Vec::new()).expect("the end"), 0);
                });
                crate::tools::joined(reader).await.unwrap_or_else(|_| panic!("{what}"));
            });
        }
    });
}

#[test]
fn peer_that_writes_after_the_drop_gets_everything_if_the_stream_was_closed_and_read() {
    // Goal: the documentation's promise; method: a full stream is closed and read to its end, which
    // comes after the peer has written more and read.
    on_every(|cfg| {
        cfg.once(async {
            let (mut near, mut peer) = narrow_accepted(None).await;
            let sent = fill(&near, 0);
            let reader = thread::spawn(move || {
                peer.write_all(b"still").unwrap();
                expect(&mut peer, sent);
                assert_eq!(peer.read_to_end(&mut Vec::new()).expect("the end"), 0);
            });
            near.close().await.unwrap();
            while !read(&mut near, 1).await.unwrap().is_empty() {}
            drop(near);
            crate::tools::joined(reader).await.unwrap();
        });
    });
}

#[test]
fn what_was_written_is_sent_though_bytes_came_after_shutdown_of_reads() {
    // Goal: the end that a read sees after `shutdown(Read)` is not taken for the end of the stream;
    // method: a full stream has seen that end, then its peer writes, and reads after the drop.
    on_every(|cfg| {
        for verb in 0..VERBS {
            cfg.once(async move {
                let (mut near, mut peer) = narrow_accepted(None).await;
                let sent = fill(&near, 0);
                near.shutdown_now(Shutdown::Read).unwrap();
                assert!(read(&mut near, verb).await.unwrap().is_empty());
                peer.write_all(b"late").unwrap();
                drop(near);
                let reader = thread::spawn(move || {
                    expect(&mut peer, sent);
                    assert_eq!(peer.read_to_end(&mut Vec::new()).expect("the end"), 0);
                });
                crate::tools::joined(reader).await.unwrap_or_else(|_| panic!("verb {verb}"));
            });
        }
    });
}
