//! Copies that move bytes through a pipe: every byte arrives once and in order, whichever way it goes.

use std::io::{ErrorKind, Write as _};
use std::os::fd::AsRawFd;
use std::time::Duration;

use futures_util::future::join;
use ringloop::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Pipe, copy, copy_bidirectional,
};
use ringloop::net::{TcpListener, TcpStream, UnixStream};
use ringloop::{Task, spawn, yield_now};

use crate::harness::{Cfg, Rng, on_every, scaled};
use crate::measure::open_fds;
use crate::processes::isolated;
use crate::tools::{check_pattern, fill_pattern};

/// Moves of 64 KiB, so that the last one is no reason for reads.
const LARGE: usize = 3 * (64 << 10);

async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (near, listener.accept().await.unwrap().0)
}

/// Two streams with a proxy between them.
async fn proxied() -> (TcpStream, TcpStream, Task<std::io::Result<(u64, u64)>>) {
    let ((client, mut a), (mut b, server)) = (tcp().await, tcp().await);
    (client, server, spawn(async move { copy_bidirectional(&mut a, &mut b).await }))
}

/// Writes a pattern of `len` bytes in pieces of sizes from 1 to 100 000, and closes.
async fn send(mut writer: impl AsyncWrite + Unpin, len: usize, mut rng: Rng) {
    let mut sent = 0;
    while sent < len {
        let most = [40, 5000, 100_000][rng.below(3)];
        let mut piece = vec![0; (1 + rng.below(most)).min(len - sent)];
        fill_pattern(&mut piece, sent);
        writer.write_all(&piece).await.unwrap();
        sent += piece.len();
        if rng.below(4) == 0 {
            yield_now().await;
        }
    }
    writer.close().await.unwrap();
}

/// Reads the pattern to its end, now and then slowly.
async fn receive(mut reader: impl AsyncRead + Unpin, mut rng: Rng) -> usize {
    let mut got = 0;
    let mut buf = vec![0; 300_000];
    loop {
        let room = [100, 10_000, 300_000][rng.below(3)];
        let read = reader.read(&mut buf[..room]).await.unwrap();
        if read == 0 {
            return got;
        }
        check_pattern(&buf[..read], got);
        got += read;
        for _ in 0..rng.below(3) {
            yield_now().await;
        }
    }
}

/// Both ways through a proxy, with pieces of all sizes.
async fn talk<S>(cfg: &Cfg, pairs: [(S, S); 2])
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let [(client, mut a), (mut b, server)] = pairs;
    let proxy = spawn(async move { copy_bidirectional(&mut a, &mut b).await });
    let (there, back) = (scaled(2_000_000), 1_234_567);
    let ((client_reads, client_writes), (server_reads, server_writes)) =
        (client.split(), server.split());
    let sends = join(send(client_writes, there, cfg.rng(1)), send(server_writes, back, cfg.rng(2)));
    let receives = join(receive(server_reads, cfg.rng(3)), receive(client_reads, cfg.rng(4)));
    assert_eq!(join(sends, receives).await.1, (there, back));
    assert_eq!(proxy.await.unwrap().unwrap(), (there as u64, back as u64));
}

#[test]
fn pieces_of_all_sizes_arrive_once_and_in_order() {
    on_every(|cfg| {
        cfg.once(async { talk(cfg, [tcp().await, tcp().await]).await });
        cfg.runtime().must_run(async { talk(cfg, [tcp().await, tcp().await]).await });
        let unix = || UnixStream::pair().unwrap();
        cfg.once(async { talk(cfg, [unix(), unix()]).await });
    });
}

#[test]
fn pipes_and_halves_are_moved_between_as_well() {
    // Goal: every kind of stream that has a descriptor; method: a chain of copies, socket to pipe, pipe to pipe, pipe
    // to Unix socket, each given by value, by reference and by its half.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let len = scaled(1_500_000);
            let ((near, first), (second, far)) = (tcp().await, UnixStream::pair().unwrap());
            let (one, two) = (Pipe::new().unwrap(), Pipe::new().unwrap());
            let (from, _keeps) = first.into_split();
            let mut to_pipe = one.writer;
            let a = spawn(async move {
                let copied = copy(from, &mut to_pipe).await;
                to_pipe.close().await.map(|()| copied)
            });
            let mut to_pipe = two.writer;
            let b = spawn(async move {
                let mut from = one.reader;
                let copied = copy(&mut from, &mut to_pipe).await;
                to_pipe.close().await.map(|()| copied)
            });
            let c = spawn(async move {
                let (_reader, mut to) = second.into_split();
                copy(Box::new(two.reader), &mut to).await
            });
            let sending = spawn(send(near, len, cfg.rng(1)));
            assert_eq!(receive(far, cfg.rng(2)).await, len);
            sending.await.unwrap();
            assert_eq!(a.await.unwrap().unwrap().unwrap(), len as u64);
            assert_eq!(b.await.unwrap().unwrap().unwrap(), len as u64);
            assert_eq!(c.await.unwrap().unwrap(), len as u64);
        });
    });
}

#[test]
fn bytes_received_ahead_and_bytes_left_to_send_go_first() {
    // Goal: the order holds where the runtime has bytes of its own for a stream; method: the proxy's streams have
    // been read and written by leases.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let ((mut client, mut a), (mut b, mut server)) = (tcp().await, tcp().await);
            let len = 3_000_000;
            let mut bytes = vec![0; len];
            fill_pattern(&mut bytes, 0);
            let sending = spawn(async move {
                client.write_all(&bytes).await.unwrap();
                client.close().await.unwrap();
                client
            });
            // Until more is left to be sent than the socket takes.
            let mut passed = 0;
            while passed < 1_000_000 {
                let lease = a.read_lease().await.unwrap();
                passed += lease.len();
                let mut write = Box::pin(b.write_lease(lease));
                let stuck = async {
                    for _ in 0..50 {
                        yield_now().await;
                    }
                };
                match futures_util::future::select(&mut write, Box::pin(stuck)).await {
                    futures_util::future::Either::Left((done, _)) => done.unwrap(),
                    futures_util::future::Either::Right(_) => {
                        let drain = async {
                            let mut buf = vec![0; 100_000];
                            server.read_exact(&mut buf).await.unwrap();
                            buf
                        };
                        let (_, buf) = join(write, drain).await;
                        check_pattern(&buf, 0);
                        passed = usize::MAX;
                        break;
                    }
                }
            }
            let already = if passed == usize::MAX { 100_000 } else { 0 };
            let proxy = spawn(async move { copy_bidirectional(&mut a, &mut b).await });
            let mut rest = Vec::new();
            let (mut reader, mut writer) = server.split();
            let read = async {
                reader.read_to_end(&mut rest).await.unwrap();
            };
            join(read, writer.close()).await.1.unwrap();
            assert_eq!(rest.len(), len - already);
            check_pattern(&rest, already);
            drop(sending.await.unwrap());
            proxy.await.unwrap().unwrap();
        });
    });
}

#[test]
fn urgent_data_does_not_stop_a_copy() {
    // Goal: splice(2) does not pass the mark of urgent data, and the copy does; method: much, an urgent byte, and much
    // more, several times.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (mut client, mut server, _proxy) = proxied().await;
            let mut bytes = vec![0; LARGE];
            fill_pattern(&mut bytes, 0);
            for _ in 0..5 {
                let sending = async {
                    client.write_all(&bytes[..LARGE / 2]).await.unwrap();
                    // SAFETY: one byte of this array is read.
                    let sent = unsafe {
                        libc::send(client.as_raw_fd(), b"!".as_ptr().cast(), 1, libc::MSG_OOB)
                    };
                    assert_eq!(sent, 1);
                    client.write_all(&bytes[LARGE / 2..]).await.unwrap();
                };
                let mut got = vec![0; LARGE];
                join(sending, server.read_exact(&mut got)).await.1.unwrap();
                check_pattern(&got, 0);
            }
        });
    });
}

fn pipes() -> usize {
    open_fds().values().filter(|target| target.starts_with("pipe:")).count()
}

/// Writes until the proxy and the kernel take no more.
async fn fill(client: &mut TcpStream) -> usize {
    let piece = vec![7; 64 << 10];
    let (mut sent, mut refused) = (0, 0);
    while refused < 200 {
        match client.try_write(&piece) {
            Ok(len) => (sent, refused) = (sent + len, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => refused += 1,
            Err(error) => panic!("{error}"),
        }
        ringloop::time::sleep(Duration::from_micros(100)).await;
    }
    sent
}

#[test]
fn only_directions_with_bytes_in_transit_hold_pipes() {
    // Goal: a pipe is held while the writer does not take its bytes, and no longer; a cancelled copy closes it.
    // Method: the descriptors of this process, while the far side does not read, when it has, and after a cancel.
    isolated(|| {
        on_every(|cfg| {
            let before = pipes();
            let runtime = cfg.runtime();
            let idle = pipes();
            runtime.must_run(async {
                let (mut client, mut server, proxy) = proxied().await;
                let sent = fill(&mut client).await;
                assert!(sent > 1 << 20);
                assert!(pipes() >= idle + 2, "what it has taken is in a pipe");
                let mut got = vec![0; sent];
                server.read_exact(&mut got).await.unwrap();
                assert!(got.iter().all(|byte| *byte == 7));

                let (mut other, _other_server, other_proxy) = proxied().await;
                fill(&mut other).await;
                let _ = other_proxy.join_cancelled().await;
                // Those that are kept for the next copy: at most four of a thread.
                assert!(pipes() <= idle + 8 * cfg.workers);
                client.write_all(b"it goes on").await.unwrap();
                let mut got = [0; 10];
                server.read_exact(&mut got).await.unwrap();
                assert_eq!(&got, b"it goes on");
                drop((client, server));
                proxy.await.unwrap().unwrap();
            });
            drop(runtime);
            assert_eq!(pipes(), before, "threads that end leave none");
        });
    });
}

/// Cancels a task, and waits for its end.
trait JoinCancelled<T> {
    async fn join_cancelled(self) -> Option<T>;
}

impl<T> JoinCancelled<T> for Task<T> {
    async fn join_cancelled(self) -> Option<T> {
        self.cancel();
        self.await.ok()
    }
}

#[test]
fn descriptor_that_others_made_blocking_holds_no_worker() {
    // Goal: splice(2) would wait at a blocking descriptor; method: one way stands still while the other one, on the
    // same worker, goes on.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let plain = std::net::TcpStream::connect(addr).unwrap();
            let copy_of_a = plain.try_clone().unwrap();
            let mut a = TcpStream::from_std(plain).unwrap();
            copy_of_a.set_nonblocking(false).unwrap();
            let (mut client, _) = listener.accept().await.unwrap();
            let (mut b, mut server) = tcp().await;
            let proxy = spawn(async move { copy_bidirectional(&mut a, &mut b).await });
            let mut bytes = vec![0; LARGE];
            fill_pattern(&mut bytes, 0);
            for _ in 0..4 {
                let mut got = vec![0; LARGE];
                join(client.write_all(&bytes), server.read_exact(&mut got)).await.1.unwrap();
                check_pattern(&got, 0);
                join(server.write_all(&bytes), client.read_exact(&mut got)).await.1.unwrap();
                check_pattern(&got, 0);
            }
            drop((client, server));
            proxy.await.unwrap().unwrap();
            drop(copy_of_a);
        });
    });
}

#[test]
fn writer_that_is_gone_is_an_error_and_no_signal() {
    // Goal: splice(2) raises SIGPIPE where send(2) does not; method: that signal has its default disposition, which
    // ends the process.
    isolated(|| {
        // SAFETY: no handler, and no other thread that needs another disposition.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        on_every(|cfg| {
            cfg.everywhere(|| async {
                let ((mut client, mut a), (mut b, mut server)) =
                    (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
                let copying = spawn(async move { copy(&mut a, &mut b).await });
                let piece = vec![1; LARGE];
                let mut got = vec![0; LARGE];
                for _ in 0..3 {
                    join(client.write_all(&piece), server.read_exact(&mut got)).await.1.unwrap();
                }
                drop(server);
                while client.write_all(&piece).await.is_ok() {}
                let error = copying.await.unwrap().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            });
        });
    });
}

#[test]
fn reset_and_end_behind_much_are_told_apart() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (mut client, mut server, proxy) = proxied().await;
            let piece = vec![1; LARGE];
            let mut got = vec![0; LARGE];
            for _ in 0..3 {
                join(client.write_all(&piece), server.read_exact(&mut got)).await.1.unwrap();
            }
            // Half closed: the end goes one way, bytes the other.
            client.write_all(&piece).await.unwrap();
            client.close().await.unwrap();
            let mut rest = Vec::new();
            server.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest.len(), LARGE);
            join(server.write_all(&piece), client.read_exact(&mut got)).await.1.unwrap();
            server.set_linger(Some(Duration::ZERO)).unwrap();
            drop(server);
            let error = proxy.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        });
    });
}

#[test]
fn fifo_taken_over_from_std_is_copied_exactly() {
    // A writer that appends to a file refuses splice(2): what is in the pipe by then is written.
    isolated(|| {
        on_every(|cfg| {
            cfg.once(async {
                let (reader, mut writer) = std::io::pipe().unwrap();
                let mut reader = ringloop::io::PipeReader::from_std(reader).unwrap();
                let path = std::env::temp_dir().join(format!("ringloop-{}", std::process::id()));
                let file = std::fs::File::options().append(true).create(true).open(&path).unwrap();
                let fd = std::os::fd::OwnedFd::from(file);
                let mut to = ringloop::io::PipeWriter::from_std(fd.into()).unwrap();
                let mut bytes = vec![0; 1_000_000];
                fill_pattern(&mut bytes, 0);
                let writing = std::thread::spawn(move || writer.write_all(&bytes).unwrap());
                assert_eq!(copy(&mut reader, &mut to).await.unwrap(), 1_000_000);
                writing.join().unwrap();
                let written = std::fs::read(&path).unwrap();
                std::fs::remove_file(&path).unwrap();
                assert_eq!(written.len(), 1_000_000);
                check_pattern(&written, 0);
            });
        });
    });
}
