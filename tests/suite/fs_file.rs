//! Open files: reads and writes with and without a cursor, cancellation, and errors.

use std::future::Future as _;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, poll_immediate};
use ringloop::fs::{Advice, AlignedBuf, File, OpenOptions};
use ringloop::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt, BufReader};
use ringloop::time::timeout;
use ringloop::{FileMetrics, Handle, spawn, yield_now};

use crate::fs_tools::TestFolder;
use crate::harness::{Rng, on_every, scaled};
use crate::measure::open_fds;
use crate::processes::isolated;
use crate::tools::{GiveUpAfter, check_pattern, fill_pattern};

fn pattern(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fill_pattern(&mut bytes, 0);
    bytes
}

/// Has the system forget the contents of a file, so that a read has to wait for the disk.
async fn evict(file: &File) {
    file.sync_all().await.unwrap();
    file.advise(0, 0, Advice::DontNeed).await.unwrap();
}

#[test]
fn reads_and_writes_at_places_are_exact() {
    on_every(|cfg| {
        for folder in &TestFolder::everywhere() {
            let path = &folder.join("file");
            cfg.everywhere(|| async {
                let mut options = OpenOptions::new();
                let file = options.read(true).write(true).create(true).open(path).await.unwrap();
                let (result, bytes) = file.write_all_at(pattern(100_000), 0).await;
                result.unwrap();
                let (result, _) = file.write_at(b"wxyz".to_vec(), 99_998).await;
                assert_eq!(result.unwrap(), 4);
                for evicted in [false, true] {
                    if evicted {
                        evict(&file).await;
                    }
                    let (result, buf) = file.read_at(Vec::with_capacity(60_000), 10_000).await;
                    assert_eq!(result.unwrap(), 60_000);
                    assert_eq!(buf, bytes[10_000..70_000]);
                    // Across the end, at it, and behind it.
                    let (result, buf) = file.read_at(vec![7; 10], 99_998).await;
                    assert_eq!((result.unwrap(), &buf[..]), (4, &b"wxyz"[..]));
                    let (result, buf) = file.read_at(vec![7; 10], 100_002).await;
                    assert_eq!((result.unwrap(), &buf[..]), (0, &b""[..]));
                    assert_eq!(file.read_at(vec![7; 10], 1 << 40).await.0.unwrap(), 0);
                    let (result, buf) = file.read_exact_at(vec![0; 4], 99_998).await;
                    result.unwrap();
                    assert_eq!(buf, b"wxyz");
                    let (result, buf) = file.read_exact_at(vec![0; 5], 99_998).await;
                    let error = result.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
                    assert_eq!(error.to_string(), "the file ended after 4 of 5 bytes");
                    assert_eq!(buf, b"wxyz");
                }
                let (result, buf) = file.read_at(vec![7; 10], u64::MAX).await;
                assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidInput);
                assert_eq!(buf, [7; 10], "the buffer comes back as it was");
                // Boxed memory has one length.
                let (result, buf) = file.read_at(vec![0; 6].into_boxed_slice(), 99_998).await;
                assert_eq!((result.unwrap(), &buf[..4]), (4, &b"wxyz"[..]));
                // Nothing to read or write.
                assert_eq!(file.read_at(Vec::new(), 0).await.0.unwrap(), 0);
                file.write_all_at(Vec::new(), 0).await.0.unwrap();
            });
        }
    });
}

#[test]
fn what_was_written_is_in_the_file_when_the_write_returns() {
    // Goal: no flush is needed; method: std reads the file right after each write, and after the drop.
    on_every(|cfg| {
        for folder in &TestFolder::everywhere() {
            let path = &folder.join("file");
            cfg.everywhere(|| async {
                let mut file = File::create(path).await.unwrap();
                let mut expected = Vec::new();
                for len in [1, 10, 4096, 70_000, 3 << 20] {
                    let bytes = pattern(len);
                    file.write_all(&bytes).await.unwrap();
                    expected.extend(bytes);
                    assert!(std::fs::read(path).unwrap() == expected, "after {len} bytes");
                }
                drop(file);
                assert!(std::fs::read(path).unwrap() == expected);
            });
        }
    });
}

/// Does the same to a file of ours and one of std's, and compares.
async fn random_operations(mut rng: Rng, folder: &std::path::Path, steps: usize) {
    let (ours, theirs) = (folder.join("ours"), folder.join("theirs"));
    let append = rng.below(4) == 0;
    let mut options = std::fs::OpenOptions::new();
    options.read(true).create(true).write(!append).append(append);
    let mut theirs = options.open(&theirs).unwrap();
    let mut options = OpenOptions::new();
    options.read(true).create(true).write(!append).append(append);
    let mut ours = options.open(&ours).await.unwrap();
    let mut next = 0;
    for step in 0..steps {
        let what = rng.below(9);
        let len = [1, 100, 5000, 70_000][rng.below(4)];
        let at = rng.below(200_000) as u64;
        if (4..=5).contains(&what) {
            // What a read has brought that was given up is older than what is written now.
            ours.stream_position().await.unwrap();
        }
        match what {
            0 => {
                let (mut a, mut b) = (vec![0; len], vec![0; len]);
                let n = theirs.read(&mut a).unwrap();
                // A read may bring less than there is.
                let m = ours.read(&mut b).await.unwrap();
                if n > 0 {
                    assert!(m > 0 && m <= n, "step {step}: {m} of {n}");
                    ours.read_exact(&mut b[m..n]).await.unwrap();
                } else {
                    assert_eq!(m, 0, "step {step}");
                }
                assert!(a == b, "step {step}");
            }
            1 => {
                let mut bytes = vec![0; len];
                fill_pattern(&mut bytes, next);
                next += len;
                theirs.write_all(&bytes).unwrap();
                ours.write_all(&bytes).await.unwrap();
            }
            2 => {
                let to = match rng.below(3) {
                    0 => SeekFrom::Start(at),
                    1 => SeekFrom::Current(at as i64 - 100_000),
                    _ => SeekFrom::End(at as i64 - 150_000),
                };
                let (a, b) = (theirs.seek(to), ours.seek(to).await);
                assert_eq!(a.as_ref().ok(), b.as_ref().ok(), "step {step}: {to:?}: {a:?}, {b:?}");
                assert_eq!(a.map_err(|e| e.kind()).err(), b.map_err(|e| e.kind()).err());
            }
            3 => {
                let mut a = vec![0; len];
                let n = theirs.read_at(&mut a, at).unwrap();
                let (m, b) = ours.read_at(Vec::with_capacity(len), at).await;
                // The library's read may be short as well, but never is here.
                assert_eq!(n, m.unwrap(), "step {step}");
                assert!(a[..n] == b[..n], "step {step}");
            }
            4 => {
                let mut bytes = vec![0; len];
                fill_pattern(&mut bytes, next);
                next += len;
                theirs.write_all_at(&bytes, at).unwrap();
                ours.write_all_at(bytes, at).await.0.unwrap();
            }
            5 => {
                theirs.set_len(at).unwrap();
                ours.set_len(at).await.unwrap();
            }
            6 => {
                // Given up in the middle: nothing is lost, and the cursor is right.
                let mut buf = vec![0; len];
                let given_up = poll_immediate(ours.read(&mut buf)).await;
                if let Some(result) = given_up {
                    let n = result.unwrap();
                    let mut same = vec![0; n];
                    theirs.read_exact(&mut same).unwrap();
                    assert!(buf[..n] == same, "step {step}");
                }
            }
            7 => evict(&ours).await,
            _ => {
                // The same bytes once more: this is the write that was given up.
                let mut bytes = vec![0; len];
                fill_pattern(&mut bytes, next);
                next += len;
                let begun = poll_immediate(ours.write(&bytes)).await;
                let n = match begun {
                    Some(result) => result.unwrap(),
                    None => ours.write(&bytes).await.unwrap(),
                };
                theirs.write_all(&bytes[..n]).unwrap();
            }
        }
        assert_eq!(theirs.metadata().unwrap().len(), ours.metadata().await.unwrap().len());
    }
    ours.flush().await.unwrap();
    let (a, b) = (theirs.stream_position().unwrap(), ours.stream_position().await.unwrap());
    assert_eq!(a, b);
    let mut ours = ours.into_std().await.unwrap();
    assert_eq!(ours.stream_position().unwrap(), a);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    theirs.rewind().unwrap();
    ours.rewind().unwrap();
    theirs.read_to_end(&mut a).unwrap();
    ours.read_to_end(&mut b).unwrap();
    assert!(a == b, "the contents differ");
}

#[test]
fn random_operations_do_what_std_does() {
    on_every(|cfg| {
        for (i, folder) in TestFolder::everywhere().iter().enumerate() {
            for round in 0..scaled(3) {
                let rng = cfg.rng((10 * round + i) as u64);
                cfg.once(random_operations(rng, folder, 120));
                for name in ["ours", "theirs"] {
                    std::fs::remove_file(folder.join(name)).unwrap();
                }
            }
        }
    });
}

#[test]
fn read_that_was_given_up_loses_no_byte() {
    // Goal: bytes that come after the future is gone go to the next read; method: a pipe, whose reads wait
    // for sure, as a file.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (reader, mut writer) = std::io::pipe().unwrap();
            let mut file = File::from_std(OwnedFd::from(reader).into());
            let mut buf = [0; 4];
            for _ in 0..3 {
                assert!(poll_immediate(file.read(&mut buf)).await.is_none());
            }
            writer.write_all(b"abcdefgh").unwrap();
            assert_eq!(file.read(&mut buf).await.unwrap(), 4);
            assert_eq!(&buf, b"abcd");
            assert_eq!(file.read(&mut buf).await.unwrap(), 4);
            assert_eq!(&buf, b"efgh");
            drop(writer);
            assert_eq!(file.read(&mut buf).await.unwrap(), 0);
        });
    });
}

#[test]
fn write_that_was_given_up_is_made_once() {
    on_every(|cfg| {
        for folder in &TestFolder::everywhere() {
            let path = &folder.join("file");
            cfg.everywhere(|| async {
                let mut file = File::create(path).await.unwrap();
                let mut expected: Vec<u8> = Vec::new();
                for round in 0..scaled(20) {
                    // Nothing is in flight before. It is begun, and given up unless it is made at once.
                    file.flush().await.unwrap();
                    let first = format!("first {round}").into_bytes();
                    let _ = poll_immediate(file.write(&first)).await;
                    expected.extend(&first);
                    match round % 4 {
                        0 => file.flush().await.unwrap(),
                        1 => drop(file.stream_position().await.unwrap()),
                        2 => {}
                        _ => {
                            // Bytes that differ come after it.
                            file.write_all(b"other").await.unwrap();
                            expected.extend(b"other");
                        }
                    }
                }
                file.flush().await.unwrap();
                let written = std::fs::read(path).unwrap();
                assert!(written == expected, "{}", String::from_utf8_lossy(&written));
            });
        }
    });
}

#[test]
fn file_that_is_dropped_at_any_time_leaves_nothing() {
    // Goal: buffers and descriptors go when the kernel is done with them, and no write is torn; method: reads
    // and writes that are given up after some turns, of a file that is not cached.
    isolated(|| {
        on_every(|cfg| {
            for folder in &TestFolder::everywhere() {
                let path = &folder.join("file");
                std::fs::write(path, pattern(1 << 20)).unwrap();
                let before = open_fds();
                cfg.once(async {
                    let mut rng = cfg.rng(1);
                    for _ in 0..scaled(40) {
                        let mut options = OpenOptions::new();
                        let file = options.read(true).write(true).open(path).await.unwrap();
                        evict(&file).await;
                        let file = Arc::new(file);
                        let tasks = (0..8).map(|_| {
                            let (file, turns) = (file.clone(), rng.below(4));
                            let offset = rng.below(200) as u64 * 4096;
                            let writes = rng.below(3) == 0;
                            spawn(async move {
                                if writes {
                                    let mut bytes = vec![0; 4096];
                                    fill_pattern(&mut bytes, offset as usize);
                                    let write = pin!(file.write_at(bytes, offset));
                                    GiveUpAfter::new(turns, write).await;
                                } else {
                                    let read = pin!(file.read_at(vec![0; 8192], offset));
                                    if let Some((result, bytes)) =
                                        GiveUpAfter::new(turns, read).await
                                    {
                                        assert_eq!(result.unwrap(), 8192);
                                        check_pattern(&bytes, offset as usize);
                                    }
                                }
                            })
                        });
                        let tasks: Vec<_> = tasks.collect();
                        drop(file);
                        for task in tasks {
                            task.await.unwrap();
                        }
                    }
                });
                assert_eq!(open_fds(), before);
                check_pattern(&std::fs::read(path).unwrap(), 0);
            }
        });
    });
}

#[test]
fn many_reads_and_writes_come_in_order() {
    on_every(|cfg| {
        for folder in &TestFolder::everywhere() {
            let path = &folder.join("file");
            cfg.everywhere(|| async {
                let mut options = OpenOptions::new();
                let file = options.read(true).write(true).create(true).open(path).await.unwrap();
                let part = |i: u64| {
                    let mut bytes = vec![0; 4096];
                    fill_pattern(&mut bytes, i as usize * 4096);
                    (bytes, i * 4096)
                };
                let mut writes = file.write_many(7, (0..50).map(part));
                let mut n = 0;
                while let Some((result, _)) = writes.next().await {
                    result.unwrap();
                    n += 1;
                }
                assert_eq!(n, 50);
                for most in [1, 5, 100] {
                    evict(&file).await;
                    let mut reads =
                        file.read_many(most, (0..51).map(|i| (Vec::with_capacity(4096), i * 4096)));
                    for i in 0..50 {
                        let (result, bytes) = reads.next().await.unwrap();
                        assert_eq!(result.unwrap(), 4096);
                        check_pattern(&bytes, i * 4096);
                    }
                    assert_eq!(reads.next().await.unwrap().0.unwrap(), 0);
                    assert!(reads.next().await.is_none());
                    // Given up with some of them in flight.
                    let mut reads =
                        file.read_many(most, (0..50).map(|i| (vec![0; 4096], i * 4096)));
                    let _ = poll_immediate(reads.next()).await;
                }
            });
        }
    });
}

#[test]
fn calls_go_the_way_that_cannot_hold_up_a_worker() {
    on_every(|cfg| {
        for folder in &TestFolder::everywhere() {
            let (path, in_memory) = (&folder.join("file"), folder.starts_with("/dev/shm"));
            cfg.once(async {
                let before = Handle::current().metrics().files;
                let mut options = OpenOptions::new();
                let file = options.read(true).write(true).create(true).open(path).await.unwrap();
                file.write_all_at(pattern(4096), 0).await.0.unwrap();
                let written = Handle::current().metrics().files;
                for _ in 0..10 {
                    assert_eq!(file.read_at(vec![0; 4096], 0).await.0.unwrap(), 4096);
                }
                let read = Handle::current().metrics().files;
                assert_eq!(read.at_once - written.at_once, 10, "it is cached");
                assert_eq!(read.in_ring, written.in_ring);
                assert_eq!(read.on_thread, written.on_thread);
                let went = |read: fn(&FileMetrics) -> u64| read(&written) > read(&before);
                let ring = cfg.backend() != "epoll";
                assert_eq!(went(|files| files.at_once), in_memory, "a write");
                assert_eq!(went(|files| files.in_ring), ring && !in_memory, "a write");
                assert!(went(|files| files.on_thread), "the file was made there");
                // A name that is known.
                drop(File::open(path).await.unwrap());
                let opened = Handle::current().metrics().files;
                assert_eq!(opened.at_once, read.at_once + 1);
                assert_eq!(opened.on_thread, read.on_thread);
                // What takes long goes to a thread.
                assert_eq!(file.read_at(vec![0; 2 << 20], 0).await.0.unwrap(), 4096);
                let long = Handle::current().metrics().files;
                assert!(long.on_thread > read.on_thread);
            });
            std::fs::remove_file(path).unwrap();
        }
    });
}

#[test]
fn errors_are_those_of_the_system() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            // No space.
            let mut full = OpenOptions::new().write(true).open("/dev/full").await.unwrap();
            let error = full.write_all(b"lost").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::StorageFull);
            let (result, bytes) = full.write_at(b"kept".to_vec(), 0).await;
            assert_eq!(result.unwrap_err().kind(), ErrorKind::StorageFull);
            assert_eq!(bytes, b"kept");
            // A write that was given up tells its error later, once.
            let _ = poll_immediate(full.write(b"begun")).await;
            let _ = full.flush().await;
            full.flush().await.unwrap();
            // An error of the device.
            let memory = File::open("/proc/self/mem").await.unwrap();
            let (result, bytes) = memory.read_at(vec![7; 8], 0).await;
            assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EIO));
            assert_eq!(bytes, [7; 8]);
            // Opened for the other thing.
            let mut read_only = File::open("Cargo.toml").await.unwrap();
            let error = read_only.write_all(b"no").await.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EBADF));
            let error = read_only.write_at(b"no".to_vec(), 0).await.0.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EBADF));
            // Names.
            let kind = async |path: &str| File::open(path).await.unwrap_err().kind();
            assert_eq!(kind("/no/such/file").await, ErrorKind::NotFound);
            assert_eq!(kind(&"x".repeat(300)).await, ErrorKind::InvalidFilename);
            assert_eq!(kind("Cargo.toml/x").await, ErrorKind::NotADirectory);
            assert_eq!(kind("Cargo\0toml").await, ErrorKind::InvalidInput);
            let folder = File::open("src").await.unwrap();
            let error = folder.read_at(vec![0; 1], 0).await.0.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::IsADirectory);
            let error = OpenOptions::new().write(true).open("src").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::IsADirectory);
        });
    });
}

#[test]
fn options_are_checked_as_std_checks_them() {
    on_every(|cfg| {
        let folder = &TestFolder::new();
        for bits in 0..64_u32 {
            let has = |bit: u32| bits >> bit & 1 == 1;
            for exists in [false, true] {
                let paths = [folder.join("ours"), folder.join("theirs")];
                for path in &paths {
                    let _ = std::fs::remove_file(path);
                    if exists {
                        std::fs::write(path, "old").unwrap();
                    }
                }
                let theirs = std::fs::OpenOptions::new()
                    .read(has(0))
                    .write(has(1))
                    .append(has(2))
                    .truncate(has(3))
                    .create(has(4))
                    .create_new(has(5))
                    .open(&paths[1]);
                let ours = cfg.once(async {
                    OpenOptions::new()
                        .read(has(0))
                        .write(has(1))
                        .append(has(2))
                        .truncate(has(3))
                        .create(has(4))
                        .create_new(has(5))
                        .open(&paths[0])
                        .await
                });
                let what = format!("{bits:06b}, exists: {exists}");
                assert_eq!(
                    ours.map(|_| ()).map_err(|error| error.kind()),
                    theirs.map(|_| ()).map_err(|error| error.kind()),
                    "{what}"
                );
                let read = |path| std::fs::read(path).ok();
                assert_eq!(read(&paths[0]), read(&paths[1]), "{what}");
            }
        }
    });
}

#[test]
fn large_sparse_shrunk_and_removed_files_are_read_as_they_are() {
    on_every(|cfg| {
        for folder in &TestFolder::everywhere() {
            let path = &folder.join("file");
            cfg.everywhere(|| async {
                let mut options = OpenOptions::new();
                options.read(true).write(true).create(true).truncate(true);
                let mut file = options.open(path).await.unwrap();
                // Behind 4 GiB, with a hole before.
                let far = (1 << 32) + 5;
                file.write_all_at(b"far".to_vec(), far).await.0.unwrap();
                let (result, bytes) = file.read_at(vec![7; 8], far - 2).await;
                assert_eq!((result.unwrap(), &bytes[..]), (5, &b"\0\0far"[..]));
                file.seek(SeekFrom::End(-3)).await.unwrap();
                let mut end = String::new();
                file.read_to_string(&mut end).await.unwrap();
                assert_eq!(end, "far");
                // It shrinks under a reader.
                file.set_len(10).await.unwrap();
                assert_eq!(file.read_at(vec![7; 8], far).await.0.unwrap(), 0);
                assert_eq!(file.read_at(vec![7; 20], 4).await.0.unwrap(), 6);
                assert_eq!(file.read(&mut [0; 4]).await.unwrap(), 0, "the cursor is behind");
                file.seek(SeekFrom::Start(0)).await.unwrap();
                // Without a name it is still there.
                std::fs::remove_file(path).unwrap();
                file.write_all(b"unlinked").await.unwrap();
                let (result, bytes) = file.read_at(vec![7; 8], 0).await;
                assert_eq!((result.unwrap(), &bytes[..]), (8, &b"unlinked"[..]));
                file.sync_all().await.unwrap();
                file.close().await.unwrap();
            });
        }
    });
}

#[test]
fn locks_of_files_exclude() {
    on_every(|cfg| {
        let folder = &TestFolder::new();
        let path = &folder.join("file");
        cfg.everywhere(|| async {
            let open = async || File::create(path).await.unwrap();
            let (a, b, c) = (open().await, open().await, open().await);
            a.lock_shared().await.unwrap();
            b.lock_shared().await.unwrap();
            assert!(!c.try_lock().unwrap());
            assert!(c.try_lock_shared().unwrap());
            c.unlock().unwrap();
            // Given up: it is not taken later.
            assert!(timeout(Duration::from_millis(5), c.lock()).await.is_err());
            a.unlock().unwrap();
            drop(b);
            assert!(a.try_lock().unwrap());
            let waiting = spawn(async move {
                c.lock().await.unwrap();
                c
            });
            yield_now().await;
            a.unlock().unwrap();
            let c = waiting.await.unwrap();
            assert!(!a.try_lock_shared().unwrap());
            drop(c);
            assert!(a.try_lock_shared().unwrap());
        });
    });
}

#[test]
fn direct_reads_and_writes_take_aligned_memory() {
    on_every(|cfg| {
        for folder in &TestFolder::everywhere() {
            let path = &folder.join("file");
            cfg.everywhere(|| async {
                let mut options = OpenOptions::new();
                options.read(true).write(true).create(true).custom_flags(libc::O_DIRECT);
                let Ok(file) = options.open(path).await else { return };
                let mut buf = AlignedBuf::new(8192, 4096);
                fill_pattern(&mut buf, 0);
                let (result, mut buf) = file.write_at(buf, 4096).await;
                assert_eq!(result.unwrap(), 8192);
                buf.fill(7);
                let (result, buf) = file.read_at(buf, 0).await;
                assert_eq!(result.unwrap(), 8192);
                assert!(buf[..4096].iter().all(|&byte| byte == 0));
                check_pattern(&buf[4096..], 0);
                let (result, buf) = file.read_at(buf, 8192).await;
                assert_eq!(result.unwrap(), 4096, "there is no more");
                check_pattern(&buf[..4096], 4096);
                file.set_len(0).await.unwrap();
            });
        }
    });
}

#[test]
fn lines_of_a_file_are_read_through_a_buffer() {
    on_every(|cfg| {
        let folder = &TestFolder::new();
        let path = &folder.join("file");
        std::fs::write(path, (0..10_000).map(|i| format!("line {i}\n")).collect::<String>())
            .unwrap();
        cfg.everywhere(|| async {
            use futures_util::io::AsyncBufReadExt;
            let file = File::open(path).await.unwrap();
            evict(&file).await;
            let mut reader = BufReader::new(file);
            let mut line = String::new();
            for i in 0..10_000 {
                line.clear();
                reader.read_line(&mut line).await.unwrap();
                assert_eq!(line, format!("line {i}\n"));
            }
            assert_eq!(reader.read_line(&mut line).await.unwrap(), 0);
        });
    });
}

#[test]
fn one_file_serves_tasks_on_all_workers() {
    on_every(|cfg| {
        for folder in &TestFolder::everywhere() {
            let path = &folder.join("file");
            std::fs::write(path, pattern(1 << 20)).unwrap();
            cfg.once(async {
                let file = Arc::new(File::open(path).await.unwrap());
                evict(&file).await;
                let tasks = (0..16_u64).map(|i| {
                    let file = file.clone();
                    spawn(async move {
                        let mut rng = Rng::new(i);
                        let mut buf = vec![0; 5000];
                        for _ in 0..scaled(50) {
                            let at = rng.below((1 << 20) - 5000) as u64;
                            let result;
                            (result, buf) = file.read_exact_at(buf, at).await;
                            result.unwrap();
                            check_pattern(&buf, at as usize);
                        }
                    })
                });
                for result in join_all(tasks).await {
                    result.unwrap();
                }
            });
        }
    });
}

#[test]
fn operations_in_flight_end_with_their_runtime() {
    // Goal: a write that has begun is whole or not there, and shutdown waits for the kernel; method: the
    // runtime ends with reads of a pipe and writes in flight, whose futures are still there.
    on_every(|cfg| {
        let folder = &TestFolder::new();
        let path = &folder.join("file");
        let (reader, _writer) = std::io::pipe().unwrap();
        let runtime = cfg.builder().build().unwrap();
        let mut kept = Vec::new();
        let main = async {
            let mut file = File::from_std(OwnedFd::from(reader).into());
            if cfg.backend() == "epoll" {
                // A read on a thread could not be stopped.
                drop(file);
            } else {
                kept.push(spawn(async move {
                    let mut buf = [0; 8];
                    let _ = file.read(&mut buf).await;
                }));
            }
            let file = Arc::new(File::create(path).await.unwrap());
            for i in 0..8 {
                let file = file.clone();
                kept.push(spawn(async move {
                    let _ = file.write_all_at(vec![i + 1; 4096], u64::from(i) * 4096).await;
                }));
            }
            yield_now().await;
        };
        runtime.run(main).unwrap();
        let report = runtime.shutdown(Duration::from_secs(20));
        assert!(report.is_clean(), "{report:?}");
        let written = std::fs::read(path).unwrap();
        for (i, part) in written.chunks(4096).enumerate() {
            let byte = part[0];
            assert!(byte == 0 || byte == i as u8 + 1);
            assert!(part.iter().all(|&other| other == byte), "part {i} is torn");
        }
    });
}

#[test]
fn outside_of_a_runtime_a_call_says_what_to_do() {
    let mut open = pin!(File::open("Cargo.toml"));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(Err(error)) = open.as_mut().poll(&mut cx) else {
        panic!("it has no worker")
    };
    assert!(error.to_string().contains("ringloop::run"), "{error}");
}

#[test]
fn calls_that_never_wait_let_other_tasks_run() {
    // Goal: each verb takes part in the budget; method: a loop of it, which another task ends.
    on_every(|cfg| {
        if cfg.workers > 1 {
            return;
        }
        let folder = &TestFolder::everywhere().pop().unwrap();
        let path = &folder.file("file", "content");
        cfg.once(async {
            // The folder is known after that, and the file is cached.
            drop(File::open(path).await.unwrap());
            let file = &mut File::open(path).await.unwrap();
            for verb in 0..6 {
                let other = spawn(async {});
                let mut turns = 0;
                while !other.is_finished() {
                    match verb {
                        0 => drop(File::open(path).await.unwrap()),
                        1 => drop(ringloop::fs::metadata(path).await.unwrap()),
                        2 => drop(ringloop::fs::read(path).await.unwrap()),
                        3 => drop(file.read_at(vec![0; 4], 0).await.0.unwrap()),
                        4 => drop(file.seek(SeekFrom::Start(0)).await.unwrap()),
                        _ => drop(file.read(&mut [0; 4]).await.unwrap()),
                    }
                    turns += 1;
                    assert!(turns < 10_000, "verb {verb} lets nobody run");
                }
            }
        });
    });
}

#[test]
fn played_clock_waits_for_calls_on_files() {
    // Goal: no timeout ends a call on a file before the file system does; method: a pipe as a file, which gets
    // its bytes long after the time for which the clock waits for the kernel.
    on_every(|cfg| {
        cfg.mocked(async {
            let (reader, mut writer) = std::io::pipe().unwrap();
            let mut file = File::from_std(OwnedFd::from(reader).into());
            let slow = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(60));
                writer.write_all(b"late").unwrap();
            });
            let mut buf = [0; 4];
            let read = timeout(Duration::from_secs(3600), file.read(&mut buf)).await;
            assert_eq!(read.expect("the clock has stood still").unwrap(), 4);
            slow.join().unwrap();
        });
    });
}

#[test]
fn several_buffers_are_read_and_written_in_order() {
    on_every(|cfg| {
        for folder in &TestFolder::everywhere() {
            let path = &folder.join("file");
            cfg.everywhere(|| async {
                let mut options = OpenOptions::new();
                options.read(true).write(true).create(true).truncate(true);
                let mut file = options.open(path).await.unwrap();
                let bytes = pattern(10_000);
                let parts = |sizes: &[usize]| -> Vec<Vec<u8>> {
                    let mut at = 0;
                    let part = |&size: &usize| {
                        at += size;
                        bytes[at - size..at].to_vec()
                    };
                    sizes.iter().map(part).collect()
                };
                let written = file.write_vectored_at(parts(&[1, 0, 4095, 5904]), 100).await;
                assert_eq!(written.0.unwrap(), 10_000);
                assert_eq!(written.1, parts(&[1, 0, 4095, 5904]), "the buffers come back");
                for evicted in [false, true] {
                    if evicted {
                        evict(&file).await;
                    }
                    let room = [3000, 1, 0, 6000, 5000].map(Vec::with_capacity);
                    let (result, read) = file.read_vectored_at(room.into(), 100).await;
                    // Short, where a part is not there.
                    let read_len = result.unwrap();
                    assert!(read_len == 10_000 || evicted && read_len > 0);
                    assert!(read.concat() == bytes[..read_len]);
                }
                // More than the kernel takes at once.
                let many: Vec<_> = (0..2000).map(|i| vec![i as u8; 2]).collect();
                let (result, many) = file.write_vectored_at(many, 0).await;
                assert_eq!(result.unwrap(), 2048);
                let (result, read) = file.read_at(vec![0; 2048], 0).await;
                result.unwrap();
                assert!(many.concat().starts_with(&read));
                // At the cursor.
                let slices = [&bytes[..10], &[], &bytes[10..5000]].map(std::io::IoSlice::new);
                let mut n = 0;
                for _ in 0..2 {
                    n = file.write_vectored(&slices).await.unwrap();
                    assert!(n > 0);
                    file.seek(SeekFrom::Start(0)).await.unwrap();
                }
                let mut back = vec![0; n];
                file.read_exact(&mut back).await.unwrap();
                assert!(back == bytes[..n]);
                // Given up, and tried again with other slices of the same bytes.
                let at = file.stream_position().await.unwrap();
                let begun = poll_immediate(file.write_vectored(&slices)).await;
                let again = [std::io::IoSlice::new(&bytes[..5000])];
                let n = match begun {
                    Some(result) => result.unwrap(),
                    None => file.write_vectored(&again).await.unwrap(),
                };
                assert_eq!(file.stream_position().await.unwrap(), at + n as u64, "once");
                let error = file.read_vectored_at(vec![vec![0; 1]], u64::MAX).await;
                assert_eq!(error.0.unwrap_err().kind(), ErrorKind::InvalidInput);
            });
        }
    });
}
