//! Files that are sent by streams: the bytes that were asked for, in order, whatever the file and the peer do.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::join;
use ringloop::io::{AsyncReadExt, AsyncWriteExt};
use ringloop::net::{TcpListener, TcpStream, UnixStream};
use ringloop::{spawn, streams, yield_now};

use crate::harness::{on_every, scaled};
use crate::processes::isolated;
use crate::tools::{GiveUpAfter, check_pattern, fill_pattern};

async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (near, listener.accept().await.unwrap().0)
}

/// A file with the pattern, which is removed at the end.
struct Temporary(PathBuf);

impl Temporary {
    fn new(folder: PathBuf, len: usize) -> Temporary {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("ringloop-send-{}-{number}", std::process::id()));
        let mut bytes = vec![0; len];
        fill_pattern(&mut bytes, 0);
        fs::write(&path, bytes).unwrap();
        Temporary(path)
    }

    fn open(&self) -> File {
        File::options().read(true).write(true).open(&self.0).unwrap()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// On a disk and in memory, as far as this machine has both.
fn folders() -> Vec<PathBuf> {
    let memory = PathBuf::from("/dev/shm");
    [std::env::temp_dir()].into_iter().chain(memory.is_dir().then_some(memory)).collect()
}

#[test]
fn ranges_are_those_asked_for() {
    on_every(|cfg| {
        for folder in folders() {
            let temporary = Temporary::new(folder, 500_000);
            cfg.everywhere(|| async {
                let mut file = temporary.open();
                file.seek(SeekFrom::Start(7)).unwrap();
                let ours = ringloop::fs::File::from_std(temporary.open());
                let (mut near, mut far) = tcp().await;
                let (mut unix, mut far_unix) = UnixStream::pair().unwrap();
                let ranges = [
                    (0, 0),
                    (0, 1),
                    (5, 5000),
                    (4095, 70_001),
                    (100_000, 480_000),
                    (490_000, 600_000),
                    (500_000, 600_000),
                    (600_000, 700_000),
                ];
                for (start, end) in ranges {
                    let len = 500_000_u64.min(end).saturating_sub(start);
                    for inclusive in [false, true] {
                        let mut got = vec![0; len as usize];
                        let send = async {
                            match inclusive && end > start {
                                true => near.send_file(&file, start..=end - 1).await,
                                false => near.send_file(&ours, start..end).await,
                            }
                        };
                        let (sent, read) = join(send, far.read_exact(&mut got)).await;
                        assert_eq!(sent.unwrap(), len, "{start}..{end}");
                        read.unwrap();
                        check_pattern(&got, start as usize);
                    }
                    let mut got = vec![0; len as usize];
                    let send = unix.send_file(&file, start..end);
                    let (sent, read) = join(send, far_unix.read_exact(&mut got)).await;
                    assert_eq!(sent.unwrap(), len);
                    read.unwrap();
                    check_pattern(&got, start as usize);
                }
                let (_reader, mut writer) = near.into_split();
                let sent = async {
                    let sent = writer.send_file(&file, 3..).await;
                    drop(writer);
                    sent.unwrap()
                };
                let mut got = Vec::new();
                let (sent, read) = join(sent, far.read_to_end(&mut got)).await;
                read.unwrap();
                assert_eq!((sent, got.len()), (499_997, 499_997));
                check_pattern(&got, 3);
                assert_eq!(file.stream_position().unwrap(), 7, "the position is as before");
                #[allow(clippy::reversed_empty_ranges)]
                let error = unix.send_file(&file, 5..4).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
            });
        }
    });
}

#[test]
fn much_is_sent_to_a_peer_that_reads_slowly() {
    on_every(|cfg| {
        let len = scaled(6_000_000);
        let temporary = Temporary::new(std::env::temp_dir(), len);
        cfg.everywhere(|| async {
            let (mut near, mut far) = tcp().await;
            let file = temporary.open();
            let sending = spawn(async move {
                let sent = near.send_file(file, ..).await;
                near.close().await.unwrap();
                sent.unwrap()
            });
            let (mut buf, mut got, mut rng) = (vec![0; 200_000], 0, cfg.rng(1));
            loop {
                let room = 1 + rng.below(buf.len());
                let read = far.read(&mut buf[..room]).await.unwrap();
                if read == 0 {
                    break;
                }
                check_pattern(&buf[..read], got);
                got += read;
                if rng.one_in(8) {
                    ringloop::time::sleep(Duration::from_micros(300)).await;
                }
            }
            assert_eq!((got, sending.await.unwrap()), (len, len as u64));
        });
    });
}

#[test]
fn what_the_cache_has_not_is_sent_as_well() {
    // Goal: parts that are in the page cache and parts that are not, in any mix; method: the cache is asked to drop the
    // file, and a part of it is read again.
    on_every(|cfg| {
        let len = 2_000_000;
        let temporary = Temporary::new(std::env::temp_dir(), len);
        cfg.everywhere(|| async {
            let file = temporary.open();
            for warm in [0, 100_000, 900_000] {
                file.sync_all().unwrap();
                rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
                let mut part = vec![0; warm];
                (&file).seek(SeekFrom::Start(300_000)).unwrap();
                (&file).read_exact(&mut part).unwrap();
                for range in [0..len as u64, 250_000..310_000, 1_500_000..1_500_100] {
                    let (mut near, mut far) = tcp().await;
                    let mut got = vec![0; (range.end - range.start) as usize];
                    let send = near.send_file(&file, range.clone());
                    let (sent, read) = join(send, far.read_exact(&mut got)).await;
                    read.unwrap();
                    assert_eq!(sent.unwrap(), range.end - range.start);
                    check_pattern(&got, range.start as usize);
                }
            }
        });
    });
}

#[test]
fn file_that_shrinks_ends_the_send() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let temporary = Temporary::new(std::env::temp_dir(), 1_000_000);
            let file = temporary.open();
            // The rest is a hole.
            file.set_len(20_000_000).unwrap();
            let copy = file.try_clone().unwrap();
            let (mut near, mut far) = tcp().await;
            let sending = spawn(async move {
                let sent = near.send_file(&file, ..).await;
                near.close().await.unwrap();
                sent
            });
            let mut got = vec![0; 100_000];
            far.read_exact(&mut got).await.unwrap();
            copy.set_len(1000).unwrap();
            far.read_to_end(&mut got).await.unwrap();
            let sent = sending.await.unwrap().unwrap();
            assert!(sent < 20_000_000);
            assert_eq!(got.len() as u64, sent);
            check_pattern(&got[..got.len().min(1_000_000)], 0);
        });
    });
}

#[test]
fn only_regular_files_are_sent() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (mut near, mut far) = tcp().await;
            let (pipe, _writer) = std::io::pipe().unwrap();
            let others: [OwnedFd; 3] = [
                pipe.into(),
                File::open("/").unwrap().into(),
                File::open("/dev/zero").unwrap().into(),
            ];
            for other in others {
                let error = near.send_file(&other, ..10).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
                assert!(error.to_string().contains("io::copy"), "{error}");
            }
            // One that is regular, and has no size and no cache.
            let version = fs::read("/proc/version").unwrap();
            let mut got = vec![0; version.len()];
            let file = File::open("/proc/version").unwrap();
            let (sent, read) = join(near.send_file(file, ..), far.read_exact(&mut got)).await;
            read.unwrap();
            assert_eq!(sent.unwrap(), version.len() as u64);
            assert_eq!(got, version);
            // One that may not be read.
            let temporary = Temporary::new(std::env::temp_dir(), 10);
            let file = File::options().write(true).open(&temporary.0).unwrap();
            let error = near.send_file(file, ..).await.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        });
    });
}

#[test]
fn what_was_written_before_goes_first() {
    on_every(|cfg| {
        let temporary = Temporary::new(std::env::temp_dir(), 300_000);
        cfg.everywhere(|| async {
            // Bytes that wait in a writer's queue, a file, and bytes behind it; over sockets, and in memory.
            for in_memory in [false, true] {
                let file = temporary.open();
                let (near, far) = if in_memory {
                    let (near, far) = ringloop::io::duplex(10_000);
                    (streams::split(near), streams::split(far))
                } else {
                    let (near, far) = tcp().await;
                    (streams::split(near), streams::split(far))
                };
                let ((_, mut writer), (mut reader, _far)) = (near, far);
                writer.set_write_buffer_limits(8 << 20, 0);
                let sending = spawn(async move {
                    writer.write_all(&vec![b'a'; 5_000_000]).await.unwrap();
                    assert_eq!(writer.send_file(&file, 10..).await.unwrap(), 299_990);
                    writer.write_all(b"behind").await.unwrap();
                    writer.close().await.unwrap();
                });
                let bytes = reader.read_to_end().await.unwrap();
                sending.await.unwrap();
                assert_eq!(bytes.len(), 5_000_000 + 299_990 + 6);
                assert!(bytes[..5_000_000].iter().all(|byte| *byte == b'a'));
                check_pattern(&bytes[5_000_000..5_299_990], 10);
                assert!(bytes.ends_with(b"behind"));
            }
            // Bytes on loan that the kernel has not taken yet.
            let file = temporary.open();
            let ((mut near, mut far), (mut from, mut to)) = (tcp().await, tcp().await);
            let mut before = 0;
            let source =
                spawn(async move { while from.write_all(&[b'l'; 50_000]).await.is_ok() {} });
            while before < 6_000_000 {
                let lease = to.read_lease().await.unwrap();
                before += lease.len();
                if GiveUpAfter::new(50, near.write_lease(lease)).await.is_none() {
                    // A part of it may have been sent.
                    break;
                }
            }
            drop(to);
            let sending = spawn(async move {
                near.send_file(&file, ..).await.unwrap();
                near.close().await.unwrap();
            });
            let mut got = Vec::new();
            far.read_to_end(&mut got).await.unwrap();
            sending.await.unwrap();
            source.cancel();
            let (leases, sent) = got.split_at(got.len() - 300_000);
            assert!(leases.iter().all(|byte| *byte == b'l'));
            check_pattern(sent, 0);
        });
    });
}

#[test]
fn send_that_is_dropped_has_sent_a_beginning() {
    on_every(|cfg| {
        let temporary = Temporary::new(std::env::temp_dir(), 20_000_000);
        cfg.everywhere(|| async {
            let (mut near, mut far) = tcp().await;
            let file = temporary.open();
            assert!(GiveUpAfter::new(20, near.send_file(&file, ..)).await.is_none());
            let more = async {
                near.write_all(b"x").await.unwrap();
                near.close().await.unwrap();
            };
            let mut got = Vec::new();
            join(more, far.read_to_end(&mut got)).await.1.unwrap();
            let (last, sent) = got.split_last().unwrap();
            check_pattern(sent, 0);
            assert_eq!(*last, b'x');
        });
    });
}

#[test]
fn peer_that_is_gone_is_an_error_and_no_signal() {
    isolated(|| {
        // SAFETY: no handler, and no other thread that needs another disposition.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        on_every(|cfg| {
            let temporary = Temporary::new(std::env::temp_dir(), 50_000);
            cfg.everywhere(|| async {
                let (mut near, far) = UnixStream::pair().unwrap();
                drop(far);
                let file = temporary.open();
                let error = near.send_file(&file, ..).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::BrokenPipe);
                let (mut near, far) = tcp().await;
                far.set_linger(Some(Duration::ZERO)).unwrap();
                drop(far);
                while near.send_file(file.as_fd(), ..).await.is_ok() {
                    yield_now().await;
                }
            });
        });
    });
}

#[test]
fn blocking_descriptor_holds_no_worker() {
    on_every(|cfg| {
        let temporary = Temporary::new(std::env::temp_dir(), 100_000);
        cfg.everywhere(|| async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let plain = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let copy = plain.try_clone().unwrap();
            let mut near = TcpStream::from_std(plain).unwrap();
            copy.set_nonblocking(false).unwrap();
            let (mut far, _) = listener.accept().await.unwrap();
            let file = temporary.open();
            let rounds = 60;
            let sending = async {
                for _ in 0..rounds {
                    assert_eq!(near.send_file(&file, ..).await.unwrap(), 100_000);
                }
            };
            let mut got = vec![0; 100_000];
            let reading = async {
                // Not before all that fits is on its way.
                ringloop::time::sleep(Duration::from_millis(20)).await;
                for _ in 0..rounds {
                    far.read_exact(&mut got).await.unwrap();
                    check_pattern(&got, 0);
                }
            };
            join(sending, reading).await;
        });
    });
}
