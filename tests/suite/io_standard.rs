//! The standard streams, in processes that put other files in their place.

use std::fs::File;
use std::io::{ErrorKind, PipeReader, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{join, poll_immediate};
use ringloop::io::{
    AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Stdin, stderr, stdin, stdout,
};
use ringloop::{spawn, yield_now};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::harness::{on_every, scaled};
use crate::io_fd::{blocks, line_terminal};
use crate::measure::open_fds;
use crate::processes::isolated;
use crate::tools::{GiveUpAfter, check_pattern, fill_pattern};

/// Standard input is this from now on.
fn set_stdin(fd: impl AsFd) {
    dup2_stdin(fd).unwrap();
}

/// A file of a name that is gone.
fn file(bytes: &[u8]) -> File {
    let mut file = File::from(memfd_create("ringloop", MemfdFlags::CLOEXEC).unwrap());
    file.write_all(bytes).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    file
}

/// Standard output is another file, until this is dropped.
struct Redirected(OwnedFd);

impl Redirected {
    fn to(fd: impl AsFd) -> Self {
        let before = rustix::stdio::stdout().try_clone_to_owned().unwrap();
        dup2_stdout(fd).unwrap();
        Self(before)
    }
}

impl Drop for Redirected {
    fn drop(&mut self) {
        dup2_stdout(&self.0).unwrap();
    }
}

#[test]
fn pipe_is_read_as_bytes_come_and_its_flags_stay() {
    // Goal: reads wait without a thread and without a flag, a read that is dropped takes nothing, and the end is
    // the end; method: a pipe, whose other end this process has.
    isolated(|| {
        on_every(|cfg| {
            let (reader, mut writer) = std::io::pipe().unwrap();
            set_stdin(&reader);
            let fds = open_fds().len();
            cfg.once(async {
                let mut input = stdin();
                let mut buf = [0; 16];
                for round in 0..scaled(20) as u8 {
                    for turns in 0..3 {
                        let read = GiveUpAfter::new(turns, input.read(&mut buf)).await;
                        assert!(read.is_none(), "{read:?}");
                    }
                    writer.write_all(&[round; 5]).unwrap();
                    assert_eq!(input.read(&mut buf[..3]).await.unwrap(), 3);
                    assert_eq!(input.read(&mut buf[3..]).await.unwrap(), 2);
                    assert_eq!(buf[..5], [round; 5]);
                }
                assert!(blocks(&reader), "others find it as it was");
                assert!(blocks(&rustix::stdio::stdin()));
                assert_eq!(ringloop::Handle::current().metrics().blocking_jobs, 0);

                // A task that waits, and another handle.
                let waiting = spawn(async move {
                    let read = input.read(&mut buf).await.unwrap();
                    (input, buf[..read].to_vec())
                });
                yield_now().await;
                writer.write_all(b"for the task").unwrap();
                let (mut input, bytes) = waiting.await.unwrap();
                assert_eq!(bytes, b"for the task");
                writer.write_all(b"last").unwrap();
                drop(writer);
                let mut rest = String::new();
                stdin().read_to_string(&mut rest).await.unwrap();
                assert_eq!(rest, "last");
                for _ in 0..3 {
                    assert_eq!(input.read(&mut buf).await.unwrap(), 0);
                }
            });
            assert_eq!(
                open_fds().len(),
                fds - 1,
                "the writer is gone, and nothing else has changed"
            );
        });
    });
}

#[test]
fn lines_come_one_by_one() {
    isolated(|| {
        on_every(|cfg| {
            let (reader, mut writer) = std::io::pipe().unwrap();
            set_stdin(&reader);
            cfg.once(async {
                let mut lines = BufReader::new(stdin()).lines();
                writer.write_all(b"first\nsec").unwrap();
                assert_eq!(lines.next().await.unwrap().unwrap(), "first");
                assert!(poll_immediate(lines.next()).await.is_none());
                writer.write_all(b"ond\nthird").unwrap();
                drop(writer);
                assert_eq!(lines.next().await.unwrap().unwrap(), "second");
                assert_eq!(lines.next().await.unwrap().unwrap(), "third");
                assert!(lines.next().await.is_none());
            });
        });
    });
}

#[test]
fn files_are_read_by_the_pool_and_what_a_cancelled_read_took_is_there() {
    isolated(|| {
        on_every(|cfg| {
            let mut bytes = vec![0; 200_000];
            fill_pattern(&mut bytes, 0);
            set_stdin(file(&bytes));
            cfg.once(async {
                let (mut got, mut input, mut rng) = (0, stdin(), cfg.rng(0));
                let mut buf = vec![0; 10_000];
                loop {
                    let room = 1 + rng.below(buf.len());
                    let read = input.read(&mut buf[..room]);
                    match GiveUpAfter::new(rng.below(3), read).await {
                        None => {}
                        Some(read) => match read.unwrap() {
                            0 => break,
                            read => {
                                check_pattern(&buf[..read], got);
                                got += read;
                            }
                        },
                    }
                    // Another handle goes on where this one was.
                    if rng.one_in(10) {
                        input = stdin();
                    }
                }
                assert_eq!(got, bytes.len());
                assert_eq!(input.read(&mut buf).await.unwrap(), 0);
            });

            set_stdin(File::open("/dev/null").unwrap());
            assert_eq!(cfg.once(async { stdin().read(&mut [0; 8]).await }).unwrap(), 0);
            set_stdin(File::open("/").unwrap());
            let error = cfg.once(async { stdin().read(&mut [0; 8]).await }).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::IsADirectory);
        });
    });
}

#[test]
fn terminal_gives_lines_and_an_end_that_stays() {
    isolated(|| {
        on_every(|cfg| {
            let (mut master, slave) = line_terminal();
            set_stdin(&slave);
            cfg.once(async {
                let mut input = stdin();
                let mut buf = [0; 64];
                master.write_all(b"part").unwrap();
                assert!(GiveUpAfter::new(3, input.read(&mut buf)).await.is_none());
                master.write_all(b" of a line\nnext\n").unwrap();
                let read = input.read(&mut buf).await.unwrap();
                assert_eq!(&buf[..read], b"part of a line\n");
                let read = input.read(&mut buf).await.unwrap();
                assert_eq!(&buf[..read], b"next\n");
                assert!(blocks(&slave));
                // Ctrl-D at the beginning of a line.
                master.write_all(b"\x04").unwrap();
                assert_eq!(input.read(&mut buf).await.unwrap(), 0);
                master.write_all(b"more\n").unwrap();
                assert_eq!(input.read(&mut buf).await.unwrap(), 0, "the end stays");
                let read = stdin().read(&mut buf).await.unwrap();
                assert_eq!(&buf[..read], b"more\n");
            });
        });
    });
}

#[test]
fn socket_is_read_and_written_and_stays_blocking() {
    isolated(|| {
        on_every(|cfg| {
            let (near, mut far) = UnixStream::pair().unwrap();
            set_stdin(&near);
            let redirected = Redirected::to(&near);
            cfg.once(async {
                let (mut input, mut output, mut buf) = (stdin(), stdout(), [0; 8]);
                assert!(GiveUpAfter::new(2, input.read(&mut buf)).await.is_none());
                far.write_all(b"in").unwrap();
                assert_eq!(input.read(&mut buf).await.unwrap(), 2);
                output.write_all(b"out").await.unwrap();
                far.read_exact(&mut buf[..3]).unwrap();
                assert_eq!(&buf[..3], b"out");
                assert!(blocks(&near));
            });
            drop(redirected);
        });
    });
}

/// Reads to the end, on a thread of its own.
fn reader(mut pipe: PipeReader) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

#[test]
fn output_waits_for_room_in_a_pipe_and_is_whole() {
    isolated(|| {
        on_every(|cfg| {
            let (pipe, writer) = std::io::pipe().unwrap();
            let redirected = Redirected::to(&writer);
            drop(writer);
            let mut bytes = vec![0; 1 << 20];
            fill_pattern(&mut bytes, 0);
            let got = cfg.once(async {
                let mut output = stdout();
                // Until it is full: nobody reads yet.
                let sent = async {
                    output.write_all(&bytes).await.unwrap();
                    output.flush().await.unwrap();
                };
                let mut sent = Box::pin(sent);
                assert!(GiveUpAfter::new(5, &mut sent).await.is_none());
                assert!(blocks(&rustix::stdio::stdout()));
                let got = reader(pipe);
                join(sent, yield_now()).await;
                got
            });
            drop(redirected);
            let got = got.join().unwrap();
            assert_eq!(got.len(), bytes.len());
            check_pattern(&got, 0);

            // Nobody reads.
            let (pipe, writer) = std::io::pipe().unwrap();
            let redirected = Redirected::to(&writer);
            drop(pipe);
            let error = cfg.once(async { stdout().write(b"x").await }).unwrap_err();
            drop(redirected);
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        });
    });
}

#[test]
fn output_to_a_file_is_there_without_a_flush() {
    isolated(|| {
        on_every(|cfg| {
            let mut target = file(b"");
            let redirected = Redirected::to(&target);
            let before = rustix::stdio::stderr().try_clone_to_owned().unwrap();
            cfg.once(async {
                for round in 0..10 {
                    stdout().write_all(format!("line {round}\n").as_bytes()).await.unwrap();
                }
                dup2_stderr(&target).unwrap();
                let wrote = stderr().write_all(b"error\n").await;
                dup2_stderr(&before).unwrap();
                wrote.unwrap();
                stdout().close().await.unwrap();
                stdout().write_all(b"after a close\n").await.unwrap();
            });
            drop(redirected);
            let mut text = String::new();
            target.seek(SeekFrom::Start(0)).unwrap();
            target.read_to_string(&mut text).unwrap();
            assert!(text.starts_with("line 0\nline 1\n"), "{text}");
            assert!(text.ends_with("line 9\nerror\nafter a close\n"), "{text}");

            let redirected = Redirected::to(File::options().write(true).open("/dev/full").unwrap());
            let error = cfg.once(async { stdout().write(b"x").await }).unwrap_err();
            drop(redirected);
            assert_eq!(error.kind(), ErrorKind::StorageFull);
        });
    });
}

#[test]
fn input_outlives_a_runtime() {
    // Goal: a handle is good on another runtime; method: it waits on one, which ends, and reads on the next.
    isolated(|| {
        on_every(|cfg| {
            let (reader, mut writer) = std::io::pipe().unwrap();
            set_stdin(&reader);
            let mut input: Stdin = stdin();
            let first = cfg.runtime();
            let gave_up = first.must_run(async {
                let mut buf = [0; 8];
                ringloop::time::timeout(Duration::from_millis(1), input.read(&mut buf))
                    .await
                    .is_err()
            });
            assert!(gave_up);
            first.into_inner().shutdown(Duration::from_secs(10));
            writer.write_all(b"later").unwrap();
            let mut buf = [0; 8];
            let read = cfg.runtime().must_run(async { input.read(&mut buf).await.unwrap() });
            assert_eq!(&buf[..read], b"later");
            drop(input);
        });
    });
}
