//! Pipes: every way to use them, their ends, cancellation, and what they leave behind.

use std::io::{ErrorKind, IoSlice, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use futures_util::future::{join, poll_immediate};
use ringloop::io::{AsyncReadExt, AsyncWriteExt, Pipe};
use ringloop::time::timeout;
use ringloop::{spawn, yield_now};

use crate::harness::{on_every, scaled};
use crate::measure::open_fds;
use crate::processes::isolated;
use crate::tools::{GiveUpAfter, check_pattern, fill_pattern};

#[test]
fn every_face_carries_bytes_in_order() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let Pipe { mut reader, mut writer } = Pipe::new().unwrap();
            let task = spawn(async move {
                let mut buf = [0; 3];
                reader.read_exact(&mut buf).await.unwrap();
                assert_eq!(&buf, b"one");
                let lease = reader.read_lease().await.unwrap();
                assert_eq!(&*lease, b"two");
                let (read, bytes) = reader.read(Vec::with_capacity(16)).await;
                assert_eq!((read.unwrap(), &bytes[..]), (5, &b"three"[..]));
                let mut buf = [0; 8];
                reader.readable().await.unwrap();
                assert_eq!(reader.try_read(&mut buf).unwrap(), 4);
                assert_eq!(&buf[..4], b"four");
                let mut rest = String::new();
                reader.read_to_string(&mut rest).await.unwrap();
                assert_eq!(rest, "five, sixseven");
                assert!(reader.read_lease().await.unwrap().is_empty(), "the end stays");
                (reader, lease)
            });
            let pause = async || {
                for _ in 0..20 {
                    yield_now().await;
                }
            };
            writer.write_all(b"one").await.unwrap();
            pause().await;
            writer.write_all(b"two").await.unwrap();
            wait_until_empty(&writer).await;
            writer.write(b"three".to_vec()).await.0.unwrap();
            wait_until_empty(&writer).await;
            assert_eq!(writer.try_write(b"four").unwrap(), 4);
            wait_until_empty(&writer).await;
            let slices = [IoSlice::new(b"five"), IoSlice::new(b", "), IoSlice::new(b"six")];
            assert_eq!(writer.write_vectored(&slices).await.unwrap(), 9);
            writer.flush().await.unwrap();
            let Pipe { reader: mut other, writer: mut to_other } = Pipe::new().unwrap();
            to_other.write_all(b"seven").await.unwrap();
            writer.write_lease(other.read_lease().await.unwrap()).await.unwrap();
            writer.close().await.unwrap();
            let (_reader, lease) = task.await.unwrap();
            assert_eq!(&*lease, b"two", "it still has its bytes");
        });
    });
}

/// Waits until all written bytes have been read.
async fn wait_until_empty(writer: &ringloop::io::PipeWriter) {
    loop {
        let mut unread = 0;
        // SAFETY: the kernel writes one number.
        let done = unsafe { libc::ioctl(writer.as_raw_fd(), libc::FIONREAD, &raw mut unread) };
        assert_eq!(done, 0);
        if unread == 0 {
            return;
        }
        yield_now().await;
    }
}

#[test]
fn more_than_fits_waits_for_room() {
    // Goal: no byte is lost or doubled where writer and reader both wait; method: a megabyte with a
    // pattern, by borrowed pieces, by leases and by owned buffers.
    on_every(|cfg| {
        for face in 0..3 {
            cfg.once(async {
                let len = scaled(1 << 20);
                let Pipe { mut reader, mut writer } = Pipe::new().unwrap();
                let writing = spawn(async move {
                    let mut bytes = vec![0; len];
                    fill_pattern(&mut bytes, 0);
                    match face {
                        0 => writer.write_all(&bytes).await.unwrap(),
                        1 => drop(writer.write(bytes).await.0.unwrap()),
                        _ => {
                            let Pipe { reader: mut from, writer: mut to } = Pipe::new().unwrap();
                            let fill = async {
                                to.write_all(&bytes).await.unwrap();
                                drop(to);
                            };
                            let pass = async {
                                loop {
                                    let lease = from.read_lease().await.unwrap();
                                    if lease.is_empty() {
                                        return;
                                    }
                                    writer.write_lease(lease).await.unwrap();
                                }
                            };
                            join(fill, pass).await;
                        }
                    }
                });
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes).await.unwrap();
                writing.await.unwrap();
                assert_eq!(bytes.len(), len);
                check_pattern(&bytes, 0);
            });
        }
    });
}

#[test]
fn ends_wake_tasks_that_wait() {
    // Goal: a reader that waits sees the end, and a writer that waits sees that the reader is gone;
    // method: the other end is dropped, or closed, on another task.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let Pipe { mut reader, mut writer } = Pipe::new().unwrap();
            let waits = spawn(async move { reader.read(&mut [0; 8]).await.unwrap() });
            for _ in 0..10 {
                yield_now().await;
            }
            writer.close().await.unwrap();
            assert_eq!(waits.await.unwrap(), 0);
            let error = writer.write_all(b"x").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            writer.close().await.unwrap();

            let Pipe { reader, mut writer } = Pipe::new().unwrap();
            let waits = spawn(async move { writer.write_all(&vec![0; 1 << 20]).await });
            for _ in 0..10 {
                yield_now().await;
            }
            drop(reader);
            assert_eq!(waits.await.unwrap().unwrap_err().kind(), ErrorKind::BrokenPipe);
        });
    });
}

#[test]
fn cancelled_reads_and_writes_lose_nothing() {
    on_every(|cfg| {
        cfg.once(async {
            let Pipe { mut reader, mut writer } = Pipe::new().unwrap();
            for round in 0..20_u8 {
                let mut buf = [0; 4];
                assert!(GiveUpAfter::new(1, reader.read(&mut buf)).await.is_none());
                assert!(GiveUpAfter::new(1, reader.read_lease()).await.is_none());
                writer.write_all(&[round; 4]).await.unwrap();
                yield_now().await;
                reader.read_exact(&mut buf).await.unwrap();
                assert_eq!(buf, [round; 4]);
            }
            // Full: a write that is given up has written nothing.
            let mut written = 0;
            while let Ok(more) = writer.try_write(&[1; 4096]) {
                written += more;
            }
            for _ in 0..5 {
                assert!(timeout(Duration::from_millis(1), writer.write(&[2; 64])).await.is_err());
            }
            drop(writer);
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).await.unwrap();
            assert_eq!(bytes.len(), written);
            assert!(bytes.iter().all(|byte| *byte == 1));
        });
    });
}

#[test]
fn ends_go_to_other_tasks_runtimes_and_threads() {
    on_every(|cfg| {
        let Pipe { mut reader, mut writer } = Pipe::new().unwrap();
        cfg.builder()
            .run(async {
                assert!(poll_immediate(reader.read(&mut [0])).await.is_none());
                writer.write_all(b"from the first").await.unwrap();
            })
            .unwrap();
        let (mut reader, writer) = cfg
            .builder()
            .run(async {
                let mut buf = [0; 14];
                reader.read_exact(&mut buf).await.unwrap();
                assert_eq!(&buf, b"from the first");
                (reader.into_fd().await.unwrap(), writer.into_fd().await.unwrap())
            })
            .map(|(reader, writer)| (std::io::PipeReader::from(reader), writer))
            .unwrap();
        // In blocking mode: the read waits for the thread.
        let writing = std::thread::spawn(move || {
            let mut writer = std::io::PipeWriter::from(writer);
            writer.write_all(b"from a thread").unwrap();
        });
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        writing.join().unwrap();
        assert_eq!(text, "from a thread");
    });
}

#[test]
fn std_pipes_can_be_converted() {
    on_every(|cfg| {
        cfg.once(async {
            let (reader, writer) = std::io::pipe().unwrap();
            let mut reader = ringloop::io::PipeReader::from_std(reader).unwrap();
            let mut writer = ringloop::io::PipeWriter::from_std(writer).unwrap();
            let (wrote, read) = join(
                async {
                    writer.write_all(&[9; 200_000]).await.unwrap();
                    drop(writer);
                },
                async {
                    let mut bytes = Vec::new();
                    reader.read_to_end(&mut bytes).await.unwrap();
                    bytes.len()
                },
            )
            .await;
            assert_eq!((wrote, read), ((), 200_000));
        });
    });
}

#[test]
fn capacity_can_be_seen_and_set() {
    on_every(|cfg| {
        cfg.once(async {
            let Pipe { reader, writer } = Pipe::new().unwrap();
            let set = writer.set_capacity(8192).unwrap();
            assert!(set >= 8192);
            assert_eq!((reader.capacity().unwrap(), writer.capacity().unwrap()), (set, set));
            writer.try_write(&vec![0; 8192]).unwrap();
            assert!(reader.set_capacity(4096).is_err(), "it holds more");
            assert!(format!("{reader:?} {writer:?}").contains("PipeWriter"));
        });
    });
}

#[test]
fn dropped_at_any_time_they_leave_nothing() {
    // Goal: no descriptor and no operation is left; method: ends dropped before, in and after
    // waits, in every order, and left to the end of the runtime by tasks that wait for ever.
    isolated(|| {
        on_every(|cfg| {
            let before = open_fds();
            cfg.everywhere(|| async {
                for round in 0..40 {
                    let Pipe { mut reader, mut writer } = Pipe::new().unwrap();
                    if round & 1 == 0 {
                        assert!(GiveUpAfter::new(1, reader.read(&mut [0])).await.is_none());
                    }
                    if round & 2 == 0 {
                        while writer.try_write(&[0; 4096]).is_ok() {}
                        assert!(GiveUpAfter::new(1, writer.write(&[0; 4096])).await.is_none());
                    }
                    match round & 12 {
                        0 => drop((reader, writer)),
                        4 => drop((writer, reader)),
                        8 => drop(spawn(async move { drop((reader, writer)) }).await),
                        _ => drop(std::thread::spawn(move || drop((writer, reader))).join()),
                    }
                }
            });
            cfg.builder()
                .run(async {
                    for _ in 0..20 {
                        let Pipe { mut reader, mut writer } = Pipe::new().unwrap();
                        spawn(async move { drop(reader.read(&mut [0]).await) }).detach();
                        spawn(async move { while writer.write_all(&[0; 4096]).await.is_ok() {} })
                            .detach();
                    }
                    yield_now().await;
                })
                .unwrap();
            assert_eq!(open_fds(), before);
        });
    });
}

#[test]
fn held_file_is_closed_once_the_last_use_is_over() {
    // Goal: a reader in another process or thread sees the end though the writer had to wait on a
    // worker; method: a plain reader, and a writer that waits for room and is dropped.
    on_every(|cfg| {
        cfg.once(async {
            let Pipe { reader, mut writer } = Pipe::new().unwrap();
            let mut reader = std::io::PipeReader::from(reader.into_fd().await.unwrap());
            assert!(reader.as_fd().as_raw_fd() > 2);
            while writer.try_write(&[5; 4096]).is_ok() {}
            assert!(GiveUpAfter::new(2, writer.write(&[5; 4096])).await.is_none());
            drop(writer);
            let read = ringloop::to_thread(move || {
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes).unwrap();
                bytes.len()
            });
            assert!(read.await.unwrap() > 0);
        });
    });
}
