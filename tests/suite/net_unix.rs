//! Unix sockets: every way to use them, the path of a listener, a full backlog, and descriptors that come along.

use std::fs;
use std::io::{ErrorKind, IoSlice, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::poll_immediate;
use ringloop::io::{AsyncReadExt, AsyncWriteExt};
use ringloop::net::{UnixDatagram, UnixListener, UnixStream};
use ringloop::{spawn, time::timeout, yield_now};
use rustix::cmsg_space;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::harness::{on_every, scaled};
use crate::measure::open_fds;
use crate::processes::isolated;
use crate::tools::{GiveUpAfter, check_pattern, fill_pattern};

/// A path that nobody else uses, and whose file is gone at the end.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("ringloop-{}-{number}.socket", std::process::id())))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A stream of ours and a blocking one, connected.
fn plain_pair() -> (UnixStream, net::UnixStream) {
    let (near, far) = net::UnixStream::pair().unwrap();
    far.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    (UnixStream::from_std(near).unwrap(), far)
}

#[test]
fn every_face_carries_bytes_in_order() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let place = Place::new();
            let listener = UnixListener::bind(&place.0).unwrap();
            let mut client = UnixStream::connect(&place.0).await.unwrap();
            let (mut server, peer) = listener.accept().await.unwrap();
            assert!(peer.is_unnamed());
            assert_eq!(client.peer_addr().unwrap().as_pathname(), Some(&*place.0));
            assert_eq!(listener.local_addr().unwrap().as_pathname(), Some(&*place.0));

            client.write_all(b"one").await.unwrap();
            let mut buf = [0; 3];
            server.read_exact(&mut buf).await.unwrap();
            assert_eq!(&buf, b"one");
            client.write(b"two".to_vec()).await.0.unwrap();
            assert_eq!(&*server.read_lease().await.unwrap(), b"two");
            let slices = [IoSlice::new(b"thr"), IoSlice::new(b"ee")];
            assert_eq!(client.write_vectored(&slices).await.unwrap(), 5);
            let (read, bytes) = server.read(Vec::with_capacity(16)).await;
            assert_eq!((read.unwrap(), &bytes[..]), (5, &b"three"[..]));
            assert_eq!(client.try_write(b"four").unwrap(), 4);
            server.readable().await.unwrap();
            assert_eq!(server.peek(&mut buf).await.unwrap(), 3);
            let mut buf = [0; 8];
            assert_eq!(server.try_read(&mut buf).unwrap(), 4);
            assert_eq!(server.try_read(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
            client.write_all(b"five").await.unwrap();
            let lease = server.read_lease().await.unwrap();
            server.write_lease(lease).await.unwrap();
            assert_eq!(&*client.read_lease().await.unwrap(), b"five");

            let (mut reader, mut writer) = server.into_split();
            assert_eq!(reader.local_addr().unwrap().as_pathname(), Some(&*place.0));
            writer.write_all(b"six").await.unwrap();
            drop(writer);
            let mut text = String::new();
            client.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "six", "the write half has shut its side");
            client.close().await.unwrap();
            assert_eq!(reader.read(&mut buf).await.unwrap(), 0);
        });
    });
}

#[test]
fn streams_change_hands_with_what_was_not_read() {
    on_every(|cfg| {
        cfg.once(async {
            let (left, right) = UnixStream::pair().unwrap();
            let (reader, writer) = left.into_split();
            let (other, _) = UnixStream::pair().unwrap();
            let (_, stranger) = other.into_split();
            let back = reader.reunite(stranger).unwrap_err();
            let mut left = back.0.reunite(writer).unwrap();
            let cred = right.peer_cred().unwrap();
            assert_eq!(cred.pid(), Some(std::process::id().cast_signed()));
            assert_eq!(cred.uid(), rustix::process::geteuid().as_raw());
            assert_eq!(cred.gid(), rustix::process::getegid().as_raw());

            left.write_all(b"first").await.unwrap();
            let mut right = right;
            assert_eq!(&*right.read_lease().await.unwrap(), b"first");
            left.write_all(b"second").await.unwrap();
            drop(left);
            let (mut plain, mut bytes) = (right.into_std().await.unwrap(), Vec::new());
            plain.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, b"second");
        });
    });
}

#[test]
fn path_goes_with_its_listener_and_no_other() {
    // Goal: census T75; a listener removes its own path, and none that another one has made, nor one on which
    // somebody else may go on to listen; method: each case, and a look at what is there afterwards.
    on_every(|cfg| {
        cfg.once(async {
            let place = Place::new();
            drop(UnixListener::bind(&place.0).unwrap());
            assert!(!place.0.exists());

            let old = UnixListener::bind(&place.0).unwrap();
            fs::remove_file(&place.0).unwrap();
            let new = UnixListener::bind(&place.0).unwrap();
            drop(old);
            assert!(place.0.exists(), "the path of its successor");
            UnixStream::connect(&place.0).await.unwrap();

            let moved = Place::new();
            fs::rename(&place.0, &moved.0).unwrap();
            UnixStream::connect(&moved.0).await.unwrap();
            drop(new);
            assert!(moved.0.exists(), "not the name that it was bound to");

            let mut kept = UnixListener::bind(&place.0).unwrap();
            kept.keep_path();
            drop(kept);
            fs::remove_file(&place.0).unwrap();

            let shown = UnixListener::bind(&place.0).unwrap();
            let copy = shown.as_fd().try_clone_to_owned().unwrap();
            drop(shown);
            let copy = UnixListener::from_std(copy.into()).unwrap();
            UnixStream::connect(&place.0).await.unwrap();
            drop(copy);
            fs::remove_file(&place.0).unwrap();

            let plain = UnixListener::bind(&place.0).unwrap().into_std().await.unwrap();
            let _client = UnixStream::connect(&place.0).await.unwrap();
            plain.accept().unwrap();
            assert!(place.0.exists());
        });
    });
}

#[test]
fn abstract_names_need_no_file() {
    on_every(|cfg| {
        cfg.once(async {
            let name = format!("ringloop-test-{}-{}", std::process::id(), cfg.backend());
            let addr = net::SocketAddr::from_abstract_name(&name).unwrap();
            let listener = UnixListener::bind_addr(&addr).unwrap();
            let taken = UnixListener::bind_addr(&addr).unwrap_err();
            assert_eq!(taken.kind(), ErrorKind::AddrInUse);
            assert!(taken.to_string().contains(&name), "{taken}");
            let _client = UnixStream::connect_addr(&addr).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            assert_eq!(server.local_addr().unwrap().as_abstract_name(), Some(name.as_bytes()));
            drop(listener);
            let gone = UnixStream::connect_addr(&addr).await.unwrap_err();
            assert_eq!(gone.kind(), ErrorKind::ConnectionRefused);
        });
    });
}

#[test]
fn connect_waits_where_the_backlog_is_full() {
    // Goal: a full backlog is no error, and a connect that is given up leaves nothing behind; method: a listener with room
    // for two, to which eight connect, and of which two give up.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let place = Place::new();
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            socket.bind(&SockAddr::unix(&place.0).unwrap()).unwrap();
            socket.listen(1).unwrap();
            let listener = UnixListener::from_std(socket.into()).unwrap();
            let path = &place.0;
            let mut waiting = Vec::new();
            for number in 0..8_u8 {
                let path = path.clone();
                let connect = async move {
                    let mut stream = UnixStream::connect(&path).await.unwrap();
                    stream.write_all(&[number]).await.unwrap();
                };
                match number {
                    2 | 5 => assert!(timeout(Duration::from_millis(5), connect).await.is_err()),
                    _ => waiting.push(spawn(connect)),
                }
                yield_now().await;
            }
            let mut numbers = Vec::new();
            while numbers.len() < 6 {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut number = [0];
                stream.read_exact(&mut number).await.unwrap();
                numbers.push(number[0]);
            }
            numbers.sort_unstable();
            assert_eq!(numbers, [0, 1, 3, 4, 6, 7]);
            for task in waiting {
                task.await.unwrap();
            }
            assert!(poll_immediate(listener.accept()).await.is_none());
        });
    });
}

/// Sends bytes, with a descriptor in their company.
fn send_with_fd(stream: &net::UnixStream, bytes: &[u8]) {
    let null = fs::File::open("/dev/null").unwrap();
    let fds = [null.as_fd()];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    let sent = sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::empty());
    assert_eq!(sent, Ok(bytes.len()));
}

#[test]
fn bytes_behind_a_descriptor_are_not_forgotten() {
    // Goal: a read that the kernel ends behind a descriptor, though more bytes are there, is no sign that
    // nothing is left, and nobody keeps the descriptor; method: three messages at once, of which two have one,
    // are read by each verb, and nothing comes after them.
    isolated(|| {
        on_every(|cfg| {
            cfg.once(async {
                let before = open_fds().len();
                for verb in 0..4 {
                    let (mut near, mut far) = plain_pair();
                    send_with_fd(&far, b"aa");
                    far.write_all(b"bb").unwrap();
                    send_with_fd(&far, b"cc");
                    far.write_all(b"dd").unwrap();
                    let mut bytes = Vec::new();
                    while bytes.len() < 8 {
                        let mut buf = [0; 64];
                        match verb {
                            0 => {
                                let read = near.read(&mut buf).await.unwrap();
                                bytes.extend_from_slice(&buf[..read]);
                            }
                            1 => bytes.extend_from_slice(&near.read_lease().await.unwrap()),
                            2 => bytes.extend(near.read(Vec::with_capacity(64)).await.1),
                            _ => {
                                near.readable().await.unwrap();
                                let read = near.try_read(&mut buf).unwrap();
                                bytes.extend_from_slice(&buf[..read]);
                            }
                        }
                    }
                    assert_eq!(bytes, b"aabbccdd");
                    assert!(poll_immediate(near.read_lease()).await.is_none());
                    send_with_fd(&far, b"ee");
                    far.write_all(b"ff").unwrap();
                    let mut bytes = [0; 4];
                    near.read_exact(&mut bytes).await.unwrap();
                    assert_eq!(&bytes, b"eeff");
                }
                assert_eq!(open_fds().len(), before);
            });
        });
    });
}

#[test]
fn stream_dropped_with_unread_bytes_still_delivers() {
    // Goal: the peer gets what was written and then the end, no reset; method: bytes that nobody reads are
    // there when the stream is dropped.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for len in [1, 100_000] {
                let (mut near, far) = UnixStream::pair().unwrap();
                let mut far = far.into_std().await.unwrap();
                let mut unread = vec![0; len];
                fill_pattern(&mut unread, 0);
                far.write_all(&unread).unwrap();
                near.write_all(b"farewell").await.unwrap();
                drop(near);
                let reading = ringloop::to_thread(move || {
                    let mut text = String::new();
                    far.read_to_string(&mut text).map(|_| text)
                });
                assert_eq!(reading.await.unwrap().unwrap(), "farewell");
            }
        });
    });
}

#[test]
fn reads_and_writes_that_are_given_up_lose_nothing() {
    on_every(|cfg| {
        let mut rng = cfg.rng(41);
        cfg.once(async move {
            let (mut near, mut far) = UnixStream::pair().unwrap();
            let total = scaled(200_000);
            let mut wrng = cfg.rng(42);
            let writing = spawn(async move {
                let mut offset = 0;
                while offset < total {
                    let mut bytes = vec![0; (1 + wrng.below(9000)).min(total - offset)];
                    fill_pattern(&mut bytes, offset);
                    let write = far.write(&bytes[..]);
                    if let Some(written) = GiveUpAfter::new(wrng.below(4), write).await {
                        offset += written.unwrap();
                    }
                    yield_now().await;
                }
                far.close().await.unwrap();
            });
            let mut offset = 0;
            loop {
                let turns = rng.below(4);
                let mut buf = [0; 3000];
                let read = match rng.below(2) {
                    0 => {
                        let read = near.read(&mut buf);
                        GiveUpAfter::new(turns, read).await.map(|read| {
                            let read = read.unwrap();
                            check_pattern(&buf[..read], offset);
                            read
                        })
                    }
                    _ => GiveUpAfter::new(turns, near.read_lease()).await.map(|lease| {
                        let lease = lease.unwrap();
                        check_pattern(&lease, offset);
                        lease.len()
                    }),
                };
                match read {
                    Some(0) => break,
                    Some(read) => offset += read,
                    None => yield_now().await,
                }
            }
            assert_eq!(offset, total);
            writing.await.unwrap();
        });
    });
}

#[test]
fn one_way_may_end_before_the_other() {
    on_every(|cfg| {
        cfg.once(async {
            let (mut left, mut right) = UnixStream::pair().unwrap();
            left.shutdown_now(Shutdown::Write).unwrap();
            left.shutdown_now(Shutdown::Write).unwrap();
            assert!(right.read_lease().await.unwrap().is_empty());
            right.write_all(b"still heard").await.unwrap();
            drop(right);
            let mut text = String::new();
            left.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "still heard");
            let error = left.write_all(b"nobody").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        });
    });
}

#[test]
fn bad_paths_are_explained() {
    on_every(|cfg| {
        cfg.once(async {
            let place = Place::new();
            let text = async |path: &std::path::Path| {
                let error = UnixStream::connect(path).await.unwrap_err();
                (error.kind(), error.to_string())
            };
            let (kind, why) = text(&place.0).await;
            assert_eq!(kind, ErrorKind::NotFound);
            assert!(why.contains("is the service running"), "{why}");

            let mut listener = UnixListener::bind(&place.0).unwrap();
            let error = UnixListener::bind(&place.0).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AddrInUse);
            assert!(error.to_string().contains("remove that if nobody"), "{error}");
            listener.keep_path();
            drop(listener);
            let (kind, why) = text(&place.0).await;
            assert_eq!(kind, ErrorKind::ConnectionRefused);
            assert!(why.contains("nobody listens there"), "{why}");

            let (kind, why) = text(format!("/tmp/{}", "x".repeat(103)).as_ref()).await;
            assert_eq!(kind, ErrorKind::InvalidInput);
            assert!(why.contains("108 bytes of 107"), "{why}");
            let longest = format!("/tmp/{}", "x".repeat(102));
            assert_eq!(text(longest.as_ref()).await.0, ErrorKind::NotFound);
            for bad in ["", "a\0b", "\0abstract"] {
                let (kind, why) = text(bad.as_ref()).await;
                assert_eq!(kind, ErrorKind::InvalidInput);
                assert!(why.contains("from_abstract_name"), "{why}");
            }
            let unnamed = UnixStream::pair().unwrap().0.local_addr().unwrap();
            let error = UnixStream::connect_addr(&unnamed).await.unwrap_err();
            assert!(error.to_string().contains("no name"), "{error}");
        });
    });
}

#[test]
fn many_connections_at_once() {
    // Goal: each client gets its own bytes, whatever worker serves it; method: tasks that connect to one
    // listener, and write and read random amounts.
    on_every(|cfg| {
        let clients = scaled(40);
        cfg.once(async move {
            let place = Place::new();
            let listener = UnixListener::bind(&place.0).unwrap();
            let serving = spawn(async move {
                for _ in 0..clients {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    spawn(async move {
                        loop {
                            let lease = stream.read_lease().await.unwrap();
                            if lease.is_empty() {
                                return stream.close().await.unwrap();
                            }
                            stream.write_lease(lease).await.unwrap();
                        }
                    })
                    .detach();
                }
            });
            let client = |number: usize| {
                let (mut rng, path) = (cfg.rng(number as u64), place.0.clone());
                async move {
                    let stream = UnixStream::connect(&path).await.unwrap();
                    let (mut reader, mut writer) = stream.into_split();
                    let mut bytes = vec![0; 1 + rng.below(50_000)];
                    fill_pattern(&mut bytes, number);
                    let len = bytes.len();
                    let writing = spawn(async move {
                        for part in bytes.chunks(1 + rng.below(5000)) {
                            writer.write_all(part).await.unwrap();
                        }
                        writer.close().await.unwrap();
                    });
                    let mut echoed = Vec::new();
                    reader.read_to_end(&mut echoed).await.unwrap();
                    assert_eq!(echoed.len(), len);
                    check_pattern(&echoed, number);
                    writing.await.unwrap();
                }
            };
            for task in (0..clients).map(client).map(spawn).collect::<Vec<_>>() {
                task.await.unwrap();
            }
            serving.await.unwrap();
        });
    });
}

#[test]
fn datagrams_go_by_path_by_name_and_by_connection() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (place, other) = (Place::new(), Place::new());
            let near = UnixDatagram::bind(&place.0).unwrap();
            let far = UnixDatagram::bind(&other.0).unwrap();
            let mut buf = [0; 16];
            near.send_to(b"one", &other.0).await.unwrap();
            let (len, peer) = far.recv_from(&mut buf).await.unwrap();
            assert_eq!((&buf[..len], peer.as_pathname()), (&b"one"[..], Some(&*place.0)));
            far.send_to_addr(b"", &peer).await.unwrap();
            assert_eq!(near.recv(&mut buf).await.unwrap(), 0, "empty ones count");
            near.connect(&other.0).unwrap();
            assert_eq!(near.peer_addr().unwrap().as_pathname(), Some(&*other.0));
            near.send(b"longer than three").await.unwrap();
            near.send(b"next").await.unwrap();
            assert_eq!(far.recv(&mut buf[..3]).await.unwrap(), 3, "it is cut");
            assert_eq!(far.recv(&mut buf).await.unwrap(), 4);

            let name = format!("ringloop-datagram-{}-{}", std::process::id(), cfg.backend());
            let addr = net::SocketAddr::from_abstract_name(name).unwrap();
            let named = UnixDatagram::bind_addr(&addr).unwrap();
            let nameless = UnixDatagram::unbound().unwrap();
            nameless.connect_addr(&addr).unwrap();
            nameless.send(b"who?").await.unwrap();
            let (len, peer) = named.recv_from(&mut buf).await.unwrap();
            assert_eq!((len, peer.is_unnamed()), (4, true));

            drop(far);
            assert!(!other.0.exists());
            let error = near.send(b"gone").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            let error = named.send_to(b"gone", &other.0).await.unwrap_err();
            assert!(error.to_string().contains("nothing is there"), "{error}");
            let error = named.send(b"nowhere").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotConnected);
            assert!(place.0.exists());
            drop(near.into_std().await.unwrap());
            assert!(place.0.exists(), "it was handed over");
        });
    });
}

#[test]
fn datagrams_wait_for_a_slow_receiver() {
    // Goal: no datagram is lost, and they keep their order, though the receiver's queue holds about ten; method: a
    // connected socket and another one each send many, some sends and receives are given up.
    on_every(|cfg| {
        let mut rng = cfg.rng(5);
        cfg.once(async move {
            let place = Place::new();
            let far = UnixDatagram::bind(&place.0).unwrap();
            let total = scaled(300) as u64;
            let path = place.0.clone();
            let senders: Vec<_> = [true, false]
                .into_iter()
                .map(|connected| {
                    let (path, mut rng) = (path.clone(), cfg.rng(u64::from(connected)));
                    spawn(async move {
                        let near = UnixDatagram::unbound().unwrap();
                        if connected {
                            near.connect(&path).unwrap();
                        }
                        let mut number = 0;
                        while number < total {
                            let bytes = (number << 1 | u64::from(connected)).to_le_bytes();
                            let send = async {
                                match connected {
                                    true => near.send(&bytes).await,
                                    false => near.send_to(&bytes, &path).await,
                                }
                            };
                            match GiveUpAfter::new(1 + rng.below(200), send).await {
                                Some(sent) => {
                                    assert_eq!(sent.unwrap(), 8);
                                    number += 1;
                                }
                                None => yield_now().await,
                            }
                        }
                    })
                })
                .collect();
            let mut expected = [0; 2];
            while expected != [total; 2] {
                let mut buf = [0; 8];
                let received = match rng.below(2) {
                    0 => GiveUpAfter::new(rng.below(3), far.recv(&mut buf)).await,
                    _ => Some(far.recv(&mut buf).await),
                };
                let Some(len) = received else {
                    yield_now().await;
                    continue;
                };
                assert_eq!(len.unwrap(), 8);
                let number = u64::from_le_bytes(buf);
                let next = &mut expected[(number & 1) as usize];
                assert_eq!(number >> 1, *next);
                *next += 1;
                if rng.one_in(10) {
                    yield_now().await;
                }
            }
            for sender in senders {
                sender.await.unwrap();
            }
        });
    });
}

#[test]
fn descriptors_arrive_with_their_bytes() {
    // Goal: a descriptor is usable at the other end, is not inherited, and comes with its message, also with plain
    // messages around it; receives that are given up lose none. Method: ends of pipes go through streams and
    // datagrams; a byte written to each pipe says which one it is.
    on_every(|cfg| {
        let mut rng = cfg.rng(9);
        cfg.once(async move {
            let (mut near, mut far) = UnixStream::pair().unwrap();
            let (left, right) = UnixDatagram::pair().unwrap();
            for round in 0..20_u8 {
                let (reader, mut writer) = std::io::pipe().unwrap();
                writer.write_all(&[round]).unwrap();
                let fds = [reader.as_fd(), writer.as_fd()];
                let by_stream = rng.one_in(2);
                if by_stream {
                    near.write_all(b"before").await.unwrap();
                    assert_eq!(near.send_fds(b"with", &fds).await.unwrap(), 4);
                    near.write_all(b"after").await.unwrap();
                } else {
                    left.send_fds(b"with", &fds).await.unwrap();
                }
                drop((reader, writer));
                let (mut bytes, mut received) = (Vec::new(), Vec::new());
                let total = if by_stream { 15 } else { 4 };
                while bytes.len() < total {
                    let mut buf = [0; 64];
                    let turns = rng.below(3);
                    let got = match by_stream {
                        true => GiveUpAfter::new(turns, far.recv_fds(&mut buf)).await,
                        false => GiveUpAfter::new(turns, right.recv_fds(&mut buf)).await,
                    };
                    let Some(got) = got else { continue };
                    let got = got.unwrap();
                    bytes.extend_from_slice(&buf[..got.len]);
                    received.extend(got.fds);
                    assert!(!got.lost);
                    assert!(received.len() == 2 || bytes.len() <= 6, "no later than their bytes");
                }
                let expected = if by_stream { &b"beforewithafter"[..] } else { &b"with"[..] };
                assert_eq!(bytes, expected);
                assert_eq!(received.len(), 2);
                for fd in &received {
                    let flags = rustix::io::fcntl_getfd(fd).unwrap();
                    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
                }
                let mut reader = std::io::PipeReader::from(received.remove(0));
                let mut byte = [0];
                reader.read_exact(&mut byte).unwrap();
                assert_eq!(byte, [round]);
            }
            let error = near.send_fds(b"", &[]).await.unwrap_err();
            assert!(error.to_string().contains("at least one byte"), "{error}");
            let many = vec![far.as_fd(); 254];
            let error = near.send_fds(b"x", &many).await.unwrap_err();
            assert!(error.to_string().contains("253 may go"), "{error}");
            near.send_fds(b"x", &many[..253]).await.unwrap();
            drop(many);
            assert_eq!(far.recv_fds(&mut [0; 8]).await.unwrap().fds.len(), 253);
        });
    });
}

#[test]
fn descriptors_without_room_are_reported_and_cost_no_byte() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    isolated(|| {
        on_every(|cfg| {
            cfg.once(async {
                let (mut near, mut far) = UnixStream::pair().unwrap();
                let fds = [near.as_fd().try_clone_to_owned().unwrap()];
                let fds = [fds[0].as_fd(), fds[0].as_fd(), fds[0].as_fd()];
                near.send_fds(b"bytes", &fds).await.unwrap();
                let limit = getrlimit(Resource::Nofile);
                setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..limit }).unwrap();
                let mut buf = [0; 8];
                let received = far.recv_fds(&mut buf).await;
                setrlimit(Resource::Nofile, limit).unwrap();
                let received = received.unwrap();
                assert_eq!(&buf[..received.len], b"bytes");
                assert!(received.lost && received.fds.is_empty(), "{received:?}");
            });
        });
    });
}
