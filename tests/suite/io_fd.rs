//! `AsyncFd`: any descriptor that can be polled.

use std::fs::File;
use std::io::{ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use ringloop::io::AsyncFd;
use ringloop::{spawn, yield_now};

use crate::harness::{Cfg, on_every, scaled, wait_until};
use crate::measure::open_fds;
use crate::processes::{isolated, isolated_with};
use crate::tools::{Count, GiveUpAfter, Polled};

/// A pipe whose ends do not block.
fn pipe() -> (AsyncFd<PipeReader>, AsyncFd<PipeWriter>) {
    let (reader, writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&reader, true).unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    (AsyncFd::new(reader).unwrap(), AsyncFd::new(writer).unwrap())
}

async fn read_some(fd: &AsyncFd<PipeReader>, buf: &mut [u8]) -> std::io::Result<usize> {
    fd.read_with(|mut pipe: &PipeReader| pipe.read(buf)).await
}

async fn write_some(fd: &AsyncFd<PipeWriter>, buf: &[u8]) -> std::io::Result<usize> {
    fd.write_with(|mut pipe: &PipeWriter| pipe.write(buf)).await
}

#[test]
fn pipe_carries_data_both_ends_waiting() {
    // Goal: readable and writable, and the calls around them; method: a megabyte through a pipe,
    // which holds 64 KiB, so that each side waits for the other.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (reader, writer) = pipe();
            let total = 1 << 20;
            let sender = spawn(async move {
                let (mut sent, mut buf) = (0, vec![0; 10_000]);
                while sent < total {
                    let n = buf.len().min(total - sent);
                    crate::tools::fill_pattern(&mut buf[..n], sent);
                    sent += write_some(&writer, &buf[..n]).await.unwrap();
                }
            });
            let (mut got, mut buf) = (0, vec![0; 7000]);
            loop {
                let n = read_some(&reader, &mut buf).await.unwrap();
                if n == 0 {
                    break;
                }
                crate::tools::check_pattern(&buf[..n], got);
                got += n;
            }
            assert_eq!(got, total);
            sender.await.unwrap();
        });
    });
}

#[test]
fn readiness_comes_again_after_a_drain() {
    // Goal: edge-triggered readiness is not lost nor stale; method: an eventfd rung by a plain thread
    // and read to exhaustion, many times.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let flags =
                rustix::event::EventfdFlags::NONBLOCK | rustix::event::EventfdFlags::CLOEXEC;
            let bell = Arc::new(AsyncFd::new(rustix::event::eventfd(0, flags).unwrap()).unwrap());
            let mut sum = 0;
            for i in 1..=scaled(200) as u64 {
                let theirs = bell.clone();
                let ringer = ringloop::to_thread(move || {
                    rustix::io::write(theirs.get_ref(), &i.to_ne_bytes()).unwrap();
                });
                let mut buf = [0; 8];
                let n = bell.read_with(|fd| Ok(rustix::io::read(fd, &mut buf)?)).await.unwrap();
                assert_eq!(n, 8);
                sum += u64::from_ne_bytes(buf);
                ringer.await.unwrap();
                let empty = rustix::io::read(bell.get_ref(), &mut buf);
                assert_eq!(empty, Err(rustix::io::Errno::AGAIN));
            }
            let n = scaled(200) as u64;
            assert_eq!(sum, n * (n + 1) / 2);
            bell.writable().await.unwrap();
        });
    });
}

#[test]
fn wait_cancelled_and_repeated_sees_the_event() {
    // Goal: cancel of a wait; method: readable given up many times, then data comes.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (reader, writer) = pipe();
            for i in 0..scaled(100) as u8 {
                for turns in 0..3 {
                    let mut buf = [0; 1];
                    let read = GiveUpAfter::new(turns, read_some(&reader, &mut buf)).await;
                    assert!(read.is_none());
                }
                write_some(&writer, &[i]).await.unwrap();
                let mut buf = [0; 4];
                assert_eq!(read_some(&reader, &mut buf).await.unwrap(), 1);
                assert_eq!(buf[0], i);
            }
            drop(writer);
            reader.readable().await.unwrap();
            assert_eq!(read_some(&reader, &mut [0; 4]).await.unwrap(), 0);
        });
    });
}

#[test]
fn drop_closes_and_deregisters() {
    // Goal: no descriptor and no registration stays; method: pipes dropped with waits given up, with
    // waiting tasks aborted, and after into_inner.
    isolated(|| {
        on_every(|cfg| {
            let fds = open_fds();
            cfg.once(async {
                for _ in 0..scaled(100) {
                    let (reader, writer) = pipe();
                    let waiter = spawn(async move { read_some(&reader, &mut [0; 1]).await });
                    yield_now().await;
                    waiter.abort();
                    let _ = waiter.await;
                    let error = write_some(&writer, &[1]).await.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
                    let inner = writer.into_inner();
                    drop(inner);
                }
            });
            assert_eq!(open_fds(), fds);
        });
    });
}

#[test]
fn waits_outlive_the_runtime_of_their_home() {
    // Goal: a task that waits for a descriptor whose home is in another runtime is woken after that
    // runtime has ended; method: a runtime makes itself the home, tasks of another wait in both
    // directions, the first ends; then there is something to read, and room.
    on_every(|cfg| {
        for home in Cfg::all().into_iter().filter(Cfg::single) {
            let (near, mut peer) = UnixStream::pair().unwrap();
            let near = Arc::new(AsyncFd::new(near).unwrap());
            let first = home.runtime().into_inner();
            let theirs = near.clone();
            let here = async move { GiveUpAfter::new(1, theirs.readable()).await.is_none() };
            assert!(first.run(here).unwrap(), "there is something to read");
            let chunk = [0; 4096];
            let mut sent = 0;
            while let Ok(n) = near.get_ref().write(&chunk) {
                sent += n;
            }
            let second = cfg.runtime();
            let polls = Count::new();
            let (reader, writer) = (near.clone(), near.clone());
            let reads = async move { reader.read_with(|mut near| near.read(&mut [0; 8])).await };
            let writes = async move { writer.write_with(|mut near| near.write(&[1])).await };
            let reads = second.spawn(Polled::new(reads, &polls));
            wait_until(|| polls.get() > 0, || "a poll".to_owned());
            let writes = second.spawn(Polled::new(writes, &polls));
            wait_until(|| polls.get() > 1, || "another poll".to_owned());
            let report = first.shutdown(Duration::from_secs(10));
            assert!(report.is_clean(), "{report:?}");
            peer.write_all(b"x").unwrap();
            peer.read_exact(&mut vec![0; sent]).unwrap();
            wait_until(|| reads.is_finished(), || format!("a read after {home}"));
            wait_until(|| writes.is_finished(), || format!("a write after {home}"));
            assert_eq!(second.must_run(reads).unwrap().unwrap(), 1);
            assert_eq!(second.must_run(writes).unwrap().unwrap(), 1);
            drop(near);
        }
    });
}

/// A terminal: the side of its window, and that of its programs, without line editing.
fn terminal() -> (File, File) {
    let (window, programs) = line_terminal();
    // SAFETY: calls on an open descriptor; they fill the modes in, and read them.
    unsafe {
        let mut modes = std::mem::zeroed();
        assert_eq!(libc::tcgetattr(programs.as_raw_fd(), &raw mut modes), 0);
        libc::cfmakeraw(&raw mut modes);
        assert_eq!(libc::tcsetattr(programs.as_raw_fd(), libc::TCSANOW, &raw const modes), 0);
    }
    (window, programs)
}

/// The same with line editing.
pub fn line_terminal() -> (File, File) {
    let window = File::options().read(true).write(true).open("/dev/ptmx").unwrap();
    let (fd, unlock) = (window.as_raw_fd(), 0);
    // SAFETY: calls on an open descriptor, with the arguments that the commands take.
    let programs = unsafe {
        assert_eq!(libc::ioctl(fd, libc::TIOCSPTLCK, &raw const unlock), 0);
        libc::ioctl(fd, libc::TIOCGPTPEER, libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC)
    };
    assert!(programs >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the new descriptor is ours.
    (window, unsafe { File::from_raw_fd(programs) })
}

pub fn blocks(fd: &impl AsFd) -> bool {
    !rustix::fs::fcntl_getfl(fd).unwrap().contains(rustix::fs::OFlags::NONBLOCK)
}

#[test]
fn terminal_stays_blocking_for_other_processes() {
    // Goal: a wait for standard input breaks neither `println!` on the same terminal nor the shell,
    // also where the process ends in the middle; method: descriptors of one open file, of which one
    // is waited for while another writes more than the terminal holds; the first is dropped, taken
    // back, or forgotten.
    on_every(|cfg| {
        // Without the checks of the harness: a forgotten descriptor stays registered.
        let ran = cfg.builder().run(async {
            let (mut window, shell) = terminal();
            let stdin = shell.try_clone().unwrap();
            let mut stdout = shell.try_clone().unwrap();
            for end in ["drop", "take back", "exit"] {
                let stdin = stdin.try_clone().unwrap();
                let raw = stdin.as_raw_fd();
                let stdin = AsyncFd::new(stdin).unwrap();
                assert!(blocks(&shell) && blocks(&stdout) && !blocks(&stdin));
                assert!(GiveUpAfter::new(2, stdin.readable()).await.is_none());

                let printer = ringloop::to_thread(move || {
                    stdout.write_all(&[b'x'; 100_000]).unwrap();
                    stdout
                });
                let theirs = window.try_clone().unwrap();
                let reader = ringloop::to_thread(move || {
                    (&theirs).read_exact(&mut [0; 100_000]).unwrap();
                });
                stdout = printer.await.unwrap();
                reader.await.unwrap();

                window.write_all(b"typed").unwrap();
                let mut buf = [0; 16];
                let typed = stdin.read_with(|mut stdin| stdin.read(&mut buf)).await.unwrap();
                assert!(typed > 0 && b"typed".starts_with(&buf[..typed]));
                match end {
                    "drop" => drop(stdin),
                    "take back" => {
                        let stdin = stdin.into_inner();
                        assert_eq!(stdin.as_raw_fd(), raw);
                        assert!(blocks(&stdin));
                    }
                    _ => std::mem::forget(stdin),
                }
                assert!(blocks(&shell) && blocks(&stdout));
                // Typed bytes that were not read must not reach the next case.
                // SAFETY: a call on an open descriptor.
                assert_eq!(unsafe { libc::tcflush(shell.as_raw_fd(), libc::TCIFLUSH) }, 0);
            }
        });
        ran.unwrap();
    });
}

#[test]
fn terminal_can_be_written_and_lent() {
    // Goal: the descriptor keeps its number and its flags, and a borrower of standard input gets it
    // back; method: a borrowed descriptor, both directions, several times, near this process's
    // limit of descriptors.
    isolated(|| {
        on_every(|cfg| {
            let (mut window, shell) = terminal();
            let fds = open_fds();
            cfg.once(async {
                for round in 0..scaled(5) {
                    let near = AsyncFd::new(&shell).unwrap();
                    assert_eq!(near.as_raw_fd(), shell.as_raw_fd());
                    let marks = rustix::io::fcntl_getfd(&shell).unwrap();
                    assert!(marks.contains(rustix::io::FdFlags::CLOEXEC));
                    let sent = near.write_with(|file| (&**file).write(b"prompt")).await.unwrap();
                    window.read_exact(&mut vec![0; sent]).unwrap();
                    window.write_all(&[round as u8 + b'a']).unwrap();
                    let mut buf = [0; 4];
                    let read = near.read_with(|file| (&**file).read(&mut buf)).await.unwrap();
                    assert_eq!(buf[..read], [round as u8 + b'a']);
                    drop(near);
                    assert!(blocks(&shell));
                }
            });
            assert_eq!(open_fds(), fds);
        });
    });
}

#[test]
fn standard_streams_are_restored_by_the_end_of_the_process() {
    // Goal: the terminal or pipe that a parent (a shell) shares with a child is as it was when the
    // child has ended; method: a child waits for its standard input, which it shares with us, and
    // ends without a drop of anything.
    let (window, shell) = terminal();
    let (reader, mut writer) = std::io::pipe().unwrap();
    (&window).write_all(b"x").unwrap();
    writer.write_all(b"x").unwrap();
    let terminal = std::process::Stdio::from(shell.try_clone().unwrap());
    let pipe = std::process::Stdio::from(reader.try_clone().unwrap());
    for stdin in [terminal, pipe] {
        isolated_with(
            |child| _ = child.stdin(stdin),
            || {
                on_every(|cfg| {
                    cfg.once(async {
                        let stdin = AsyncFd::new(std::io::stdin()).unwrap();
                        assert!(!blocks(&stdin));
                        stdin.readable().await.unwrap();
                        // It is ready at once: nothing was registered.
                        std::mem::forget(stdin);
                    });
                });
            },
        );
        assert!(blocks(&shell) && blocks(&reader));
    }
}

#[test]
fn other_descriptors_become_non_blocking_for_all_their_duplicates() {
    // Goal: the documented behaviour of descriptors that cannot be opened again; method: a socket
    // and an end of a pipe, each with a duplicate, and the master side of a terminal, which must
    // stay the same one.
    on_every(|cfg| {
        cfg.once(async {
            let (near, _far) = UnixStream::pair().unwrap();
            let duplicate = near.try_clone().unwrap();
            drop(AsyncFd::new(near).unwrap());
            assert!(!blocks(&duplicate));

            let (reader, _writer) = std::io::pipe().unwrap();
            let duplicate = reader.try_clone().unwrap();
            drop(AsyncFd::new(reader).unwrap().into_inner());
            assert!(!blocks(&duplicate));

            let (window, mut shell) = terminal();
            let window = AsyncFd::new(window).unwrap();
            shell.write_all(b"shown").unwrap();
            let mut buf = [0; 8];
            let shown = window.read_with(|mut window| window.read(&mut buf)).await.unwrap();
            assert!(shown > 0 && b"shown".starts_with(&buf[..shown]));
        });
    });
}

#[test]
fn descriptor_that_cannot_be_polled_is_always_ready() {
    // Goal: a wait for a plain file, which poll(2) calls ready and epoll refuses, neither hangs nor
    // fails; a call that returns WouldBlock all the same is an error; method: each wait, twice.
    on_every(|cfg| {
        cfg.once(async {
            let file = std::fs::File::open("/proc/self/exe").unwrap();
            let fd = AsyncFd::new(file).unwrap();
            for _ in 0..2 {
                fd.readable().await.unwrap();
                fd.writable().await.unwrap();
                assert_eq!(fd.read_with(|mut file| file.read(&mut [0; 4])).await.unwrap(), 4);
            }
            let blocked = || Err::<(), _>(ErrorKind::WouldBlock.into());
            let error = fd.read_with(|_| blocked()).await.expect_err("it cannot be waited for");
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        });
    });
}
