//! Readers, writers and servers of `streams`: nothing is lost by a cancelled read or write, memory is bounded, and
//! a server stops in good order.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net;
use std::time::Duration;

use futures_util::future::poll_immediate;
use futures_util::{FutureExt, StreamExt};
use ringloop::io::AsyncWriteExt;
use ringloop::net::{Server, TcpListener, TcpStream, UnixStream};
use ringloop::streams::{self, StreamReader, StreamWriter};
use ringloop::{spawn, time::timeout, yield_now};

use crate::harness::{Cfg, ErrorLog, Kind, Rng, on_every, scaled, wait_until_async};
use crate::tools::{Count, Flag, GiveUpAfter, check_pattern, fill_pattern, joined};

const LONG: Duration = Duration::from_secs(20);

type Ends = (StreamReader, StreamWriter);

/// Two connected streams, of TCP or Unix sockets in turn.
async fn pair(seed: u64) -> (Ends, Ends) {
    if seed.is_multiple_of(2) {
        let (near, far) = UnixStream::pair().unwrap();
        return (streams::split(near), streams::split(far));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = streams::connect(listener.local_addr().unwrap()).await.unwrap();
    (near, streams::split(listener.accept().await.unwrap().0))
}

/// A TCP stream whose other end is a blocking one.
async fn with_plain() -> (Ends, net::TcpStream) {
    let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (far, _) = listener.accept().unwrap();
    far.set_read_timeout(Some(LONG)).unwrap();
    (streams::split(near), far)
}

/// Sets both buffers of a connection as small as the kernel has them.
async fn with_small_buffers() -> (Ends, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.socket().set_recv_buffer_size(4096).unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    near.socket().set_send_buffer_size(4096).unwrap();
    let (far, _) = listener.accept().await.unwrap();
    (streams::split(near), far)
}

/// Waits until everything that was sent has arrived.
async fn until_buffered(reader: &mut StreamReader, len: usize) {
    while reader.buffer().len() < len {
        // A read for more than there will be gathers what is there.
        let _ = poll_immediate(reader.read_exact(&mut vec![0; len + 1])).await;
        yield_now().await;
    }
}

/// One of the ways to read, as they come by chance: it takes some bytes from the front of `expected`.
async fn read_somehow(reader: &mut StreamReader, expected: &mut &[u8], rng: &mut Rng) {
    let len = match rng.below(5) {
        0 => {
            let line = reader.read_line().await.unwrap();
            let end =
                expected.iter().position(|&byte| byte == b'\n').map_or(expected.len(), |at| at + 1);
            assert_eq!(line.as_bytes(), &expected[..end]);
            end
        }
        1 => {
            let mut buf = vec![0; (rng.below(300)).min(expected.len())];
            reader.read_exact(&mut buf).await.unwrap();
            assert_eq!(buf, expected[..buf.len()]);
            buf.len()
        }
        2 => {
            let mut buf = vec![0; 1 + rng.below(50)];
            let len = reader.read(&mut buf).await.unwrap();
            assert_eq!(buf[..len], expected[..len]);
            len
        }
        3 => {
            let shown = reader.fill_buf().await.unwrap();
            let len = shown.len().min(3);
            assert_eq!(shown[..len], expected[..len]);
            reader.consume(len);
            len
        }
        _ => match reader.read_until_any(&[b"\r\n", b"a", b"zb"]).await {
            Ok(found) => {
                assert_eq!(found, expected[..found.len()]);
                found.len()
            }
            Err(error) => {
                assert!(error.is_incomplete());
                assert_eq!(error.partial(), *expected);
                expected.len()
            }
        },
    };
    *expected = &expected[len..];
}

/// Text of lines of any length, most of them short, with the ends of Unix and of the net.
fn some_text(rng: &mut Rng) -> Vec<u8> {
    let mut text = String::new();
    for _ in 0..60 {
        let len = if rng.below(8) == 0 { rng.below(4000) } else { rng.below(40) };
        for _ in 0..len {
            text.push(['a', 'b', 'z', ' ', 'x'][rng.below(5)]);
        }
        text.push_str(if rng.below(2) == 0 { "\n" } else { "\r\n" });
    }
    text.push_str("the last has no end");
    text.into_bytes()
}

#[test]
fn bytes_come_in_order_however_they_are_cut_and_read() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let mut rng = cfg.rng(1);
            let ((_near_reader, mut writer), (mut reader, _writer)) =
                pair(rng.below(2) as u64).await;
            let text = some_text(&mut rng);
            let sent = text.clone();
            let mut cuts = cfg.rng(2);
            let sender = spawn(async move {
                let mut rest = &sent[..];
                while !rest.is_empty() {
                    let len = (1 + cuts.below(200)).min(rest.len());
                    match cuts.below(3) {
                        0 => writer.write_all(&rest[..len]).await.unwrap(),
                        1 => AsyncWriteExt::write_all(&mut writer, &rest[..len]).await.unwrap(),
                        _ => {
                            let (head, tail) = rest[..len].split_at(len / 3);
                            writer.write_all_vectored(&[head, tail]).await.unwrap();
                        }
                    }
                    rest = &rest[len..];
                    if cuts.below(2) == 0 {
                        yield_now().await;
                    }
                }
                writer.close().await.unwrap();
            });
            let mut expected = &text[..];
            while !expected.is_empty() {
                read_somehow(&mut reader, &mut expected, &mut rng).await;
            }
            assert_eq!(reader.read(&mut [0; 8]).await.unwrap(), 0);
            assert!(reader.at_eof());
            sender.await.unwrap();
        });
    });
}

#[test]
fn cancelled_reads_lose_nothing() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let mut rng = cfg.rng(3);
            let ((_near_reader, mut writer), (mut reader, _writer)) =
                pair(rng.below(2) as u64).await;
            let sender = spawn(async move {
                for number in 0..scaled(300) {
                    let line = format!("line {number}\n");
                    for half in line.as_bytes().chunks(line.len() / 2 + 1) {
                        writer.write_all(half).await.unwrap();
                        yield_now().await;
                    }
                }
                writer.close().await.unwrap();
            });
            let mut cancelled = 0;
            for number in 0..scaled(300) {
                let expected = format!("line {number}\n");
                loop {
                    let turns = rng.below(3);
                    let line = match rng.below(3) {
                        0 => GiveUpAfter::new(turns, Box::pin(reader.read_line()))
                            .await
                            .map(Result::unwrap),
                        1 => GiveUpAfter::new(turns, Box::pin(reader.read_until("\n")))
                            .await
                            .map(|line| String::from_utf8(line.unwrap()).unwrap()),
                        _ => {
                            let mut buf = vec![0; expected.len()];
                            let read = Box::pin(reader.read_exact(&mut buf));
                            let read = GiveUpAfter::new(turns, read).await.map(Result::unwrap);
                            read.map(|()| String::from_utf8(buf).unwrap())
                        }
                    };
                    match line {
                        Some(line) => {
                            assert_eq!(line, expected);
                            break;
                        }
                        None => {
                            cancelled += 1;
                            yield_now().await;
                        }
                    }
                }
            }
            assert_eq!(reader.read_line().await.unwrap(), "");
            assert!(cancelled > 0, "no read was cancelled");
            sender.await.unwrap();
        });
    });
}

#[test]
fn bytes_over_the_limit_stay_to_be_read() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let ((_near_reader, mut writer), (mut reader, _writer)) = pair(cfg.seed).await;
            reader.set_limit(10);
            // Ten bytes and a separator are within it, eleven are not: with the separator or without.
            writer.write_all(b"0123456789\n").await.unwrap();
            assert_eq!(reader.read_line().await.unwrap(), "0123456789\n");
            writer.write_all(b"0123456789a\nrest").await.unwrap();
            until_buffered(&mut reader, 16).await;
            let error = reader.read_line().await.unwrap_err();
            assert!(error.is_over_limit());
            assert_eq!(reader.read_until("\n").await.unwrap_err().to_string(), error.to_string());
            assert_eq!(std::io::Error::from(error).kind(), ErrorKind::InvalidData);
            let mut buf = [0; 12];
            reader.read_exact(&mut buf).await.unwrap();
            assert_eq!(&buf, b"0123456789a\n");

            writer.write_all(b"-no end").await.unwrap();
            until_buffered(&mut reader, 11).await;
            assert!(reader.read_until("\n").await.unwrap_err().is_over_limit());
            assert!(reader.lines().next_line().await.unwrap_err().is_over_limit());
            reader.set_limit(100);
            writer.close().await.unwrap();
            let error = reader.read_until("\n").await.unwrap_err();
            assert!(error.is_incomplete());
            assert_eq!(error.into_partial(), b"rest-no end");
            assert!(reader.at_eof());
        });
    });
}

#[test]
fn number_of_bytes_may_be_above_the_limit_and_an_early_end_gives_what_came() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let ((_near_reader, mut writer), (mut reader, _writer)) = pair(cfg.seed).await;
            reader.set_limit(10);
            let mut sent = vec![0; 300_000];
            fill_pattern(&mut sent, 0);
            let sender = spawn(async move {
                writer.write_all(&sent).await.unwrap();
                writer.close().await.unwrap();
            });
            let mut buf = vec![0; 200_000];
            reader.read_exact(&mut buf).await.unwrap();
            check_pattern(&buf, 0);
            let error = reader.read_exact(&mut buf).await.unwrap_err();
            assert!(error.is_incomplete());
            assert_eq!(error.to_string(), "the stream ended after 100000 of 200000 bytes");
            check_pattern(error.partial(), 200_000);
            assert_eq!(std::io::Error::from(error).kind(), ErrorKind::UnexpectedEof);
            assert_eq!(reader.read_exact(&mut [0; 1]).await.unwrap_err().partial(), b"");
            reader.read_exact(&mut []).await.unwrap();
            sender.await.unwrap();
        });
    });
}

#[test]
fn lines_end_as_on_unix_or_on_the_net_and_are_text() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let ((_near_reader, mut writer), (mut reader, _writer)) = pair(cfg.seed).await;
            writer.write_all(b"one\r\n\r\n\ntwo\rthree\nf\xffour\nlast").await.unwrap();
            writer.close().await.unwrap();
            let mut lines = reader.lines();
            for line in ["one", "", "", "two\rthree"] {
                assert_eq!(lines.next_line().await.unwrap().unwrap(), line);
            }
            assert!(lines.next_line().await.unwrap_err().is_not_utf8());
            assert!(reader.read_line().await.unwrap_err().is_not_utf8());
            assert_eq!(reader.read_until(b"\n").await.unwrap(), b"f\xffour\n");
            let rest: Vec<_> = reader.lines().map(Result::unwrap).collect().await;
            assert_eq!(rest, ["last"]);
        });
    });
}

/// The wait is for a socket that has something: no memory of the runtime's is held meanwhile.
#[test]
fn reader_that_waits_for_the_rest_of_a_line_holds_no_lease() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let ((_near_reader, mut writer), (mut reader, _writer)) = pair(cfg.seed).await;
            writer.write_all(b"whole\nhalf").await.unwrap();
            assert_eq!(reader.read_line().await.unwrap(), "whole\n");
            until_buffered(&mut reader, 4).await;
            let reading = spawn(async move { reader.read_line().await.unwrap() });
            let leases = || ringloop::Handle::current().metrics().leases;
            wait_until_async(|| leases() == 0, || format!("{} leases", leases())).await;
            writer.write_all(b" and half\n").await.unwrap();
            assert_eq!(reading.await.unwrap(), "half and half\n");
        });
    });
}

#[test]
fn reader_of_lines_that_are_there_lets_others_run() {
    on_every(|cfg| {
        if cfg.workers > 1 {
            return;
        }
        cfg.once(async {
            let ((_near_reader, mut writer), (mut reader, _writer)) = pair(cfg.seed).await;
            let text = "x\n".repeat(5000);
            writer.write_all(text.as_bytes()).await.unwrap();
            until_buffered(&mut reader, text.len()).await;
            let turns = Count::new();
            let (other, counts) = (turns.clone(), Flag::new());
            let stop = counts.clone();
            let task = spawn(async move {
                while !stop.is_set() {
                    other.add();
                    yield_now().await;
                }
            });
            for _ in 0..5000 {
                reader.read_line().await.unwrap();
            }
            assert!(turns.get() > 10, "{} turns of another task", turns.get());
            counts.set();
            task.await.unwrap();
        });
    });
}

#[test]
fn peer_that_does_not_read_costs_no_more_than_the_mark_and_one_write() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            const CHUNK: usize = 10_000;
            let ((_reader, mut writer), mut far) = with_small_buffers().await;
            let total = 2 << 20;
            let most = Count::new();
            let seen = most.clone();
            let sender = spawn(async move {
                let mut sent = 0;
                let mut chunk = vec![0; CHUNK];
                while sent < total {
                    let len = CHUNK.min(total - sent);
                    fill_pattern(&mut chunk[..len], sent);
                    match (sent / CHUNK) % 3 {
                        0 => writer.write_all(&chunk[..len]).await.unwrap(),
                        1 => {
                            let (head, tail) = chunk[..len].split_at(len / 2);
                            writer.write_all_vectored(&[head, tail]).await.unwrap();
                        }
                        _ => AsyncWriteExt::write_all(&mut writer, &chunk[..len]).await.unwrap(),
                    }
                    sent += len;
                    while seen.get() < writer.write_buffer_size() {
                        seen.add();
                    }
                }
                writer.close().await.unwrap();
            });
            // It fills up first.
            wait_until_async(|| most.get() > 30_000, || format!("{} bytes wait", most.get())).await;
            let mut received = 0;
            let mut buf = vec![0; 8192];
            loop {
                let len = far.read(&mut buf[..]).await.unwrap();
                if len == 0 {
                    break;
                }
                check_pattern(&buf[..len], received);
                received += len;
            }
            assert_eq!(received, total);
            assert!(most.get() <= (64 << 10) + CHUNK, "{} bytes have waited", most.get());
            sender.await.unwrap();
        });
    });
}

#[test]
fn write_that_was_polled_is_sent_as_a_whole() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let mut rng = cfg.rng(4);
            let ((_reader, mut writer), mut far) = with_small_buffers().await;
            writer.set_write_buffer_limits(1000, 100);
            let sender = spawn(async move {
                let (mut sent, mut cancelled) = (0, 0);
                for _ in 0..scaled(100) {
                    let mut chunk = vec![0; 1 + rng.below(3000)];
                    fill_pattern(&mut chunk, sent);
                    sent += chunk.len();
                    let turns = rng.below(3);
                    // Out of budget, a write has not begun: it is polled again then.
                    let mut write = Box::pin(writer.write_all(&chunk));
                    if GiveUpAfter::new(turns + 1, &mut write).await.is_none() {
                        cancelled += 1;
                    }
                }
                writer.close().await.unwrap();
                (sent, cancelled)
            });
            let mut received = 0;
            let mut buf = [0; 1024];
            loop {
                let len = far.read(&mut buf[..]).await.unwrap();
                if len == 0 {
                    break;
                }
                check_pattern(&buf[..len], received);
                received += len;
            }
            let (sent, cancelled) = sender.await.unwrap();
            assert_eq!(received, sent);
            assert!(cancelled > 0, "no write was cancelled");
        });
    });
}

#[test]
fn what_a_dropped_writer_has_left_is_sent_and_then_the_end() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let ((reader, mut writer), mut far) = with_small_buffers().await;
            let mut sent = vec![0; 500_000];
            fill_pattern(&mut sent, 0);
            writer.set_write_buffer_limits(1 << 20, 0);
            writer.write_all(&sent).await.unwrap();
            assert!(writer.write_buffer_size() > 0);
            drop(writer);
            drop(reader);
            let mut received = Vec::new();
            ringloop::io::AsyncReadExt::read_to_end(&mut far, &mut received).await.unwrap();
            assert_eq!(received.len(), sent.len());
            check_pattern(&received, 0);
        });
    });
}

#[test]
fn peer_of_a_runtime_that_ends_with_unsent_bytes_sees_a_reset() {
    on_every(|cfg| {
        let run = cfg.builder().run(async {
            let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
            let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (far, _) = listener.accept().unwrap();
            far.set_read_timeout(Some(LONG)).unwrap();
            let (_, mut writer) = streams::split(near);
            writer.set_write_buffer_limits(usize::MAX, 0);
            writer.write_all(&vec![0; 20 << 20]).await.unwrap();
            spawn(async move {
                let _writer = writer;
                std::future::pending::<()>().await;
            })
            .detach();
            far
        });
        let mut far = run.unwrap();
        let mut all = Vec::new();
        assert_eq!(far.read_to_end(&mut all).unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

/// Writes when it is dropped, more than there is room for.
struct WritesAtTheEnd(StreamWriter);

impl Drop for WritesAtTheEnd {
    fn drop(&mut self) {
        let _ = poll_immediate(self.0.write_all(&vec![0; 20 << 20])).now_or_never();
    }
}

/// No task can be started any more that would send the rest: it is given up, and nothing waits for it.
#[test]
fn writer_that_writes_when_its_runtime_ends_is_reset() {
    on_every(|cfg| {
        let run = cfg.builder().run(async {
            let ((reader, writer), far) = with_plain().await;
            let begun = Flag::new();
            let begins = begun.clone();
            spawn(async move {
                let _ends = (reader, WritesAtTheEnd(writer));
                begins.set();
                std::future::pending::<()>().await;
            })
            .detach();
            begun.wait().await;
            far
        });
        let error = run.unwrap().read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn closed_writer_takes_nothing_more_while_its_reader_goes_on() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let ((mut reader, mut writer), (mut far_reader, mut far_writer)) = pair(cfg.seed).await;
            writer.write_all(b"request").await.unwrap();
            writer.write_eof().await.unwrap();
            writer.write_eof().await.unwrap();
            assert!(writer.is_closing());
            assert_eq!(writer.write_all(b"more").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
            assert_eq!(far_reader.read_to_end().await.unwrap(), b"request");
            far_writer.write_all(b"answer").await.unwrap();
            far_writer.close().await.unwrap();
            assert_eq!(reader.read_to_end().await.unwrap(), b"answer");
        });
    });
}

#[test]
fn writer_to_a_peer_that_is_gone_fails_soon_and_from_then_on() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let ((_reader, mut writer), far) = with_plain().await;
            socket2::SockRef::from(&far).set_linger(Some(Duration::ZERO)).unwrap();
            drop(far);
            let first = loop {
                if let Err(error) = writer.write_all(b"anybody?").await {
                    break error;
                }
                yield_now().await;
            };
            let kinds = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
            assert!(kinds.contains(&first.kind()), "{first}");
            for _ in 0..3 {
                assert_eq!(writer.write_all(b"anybody?").await.unwrap_err().kind(), first.kind());
                assert_eq!(writer.flush().await.unwrap_err().kind(), first.kind());
            }
            assert_eq!(writer.close().await.unwrap_err().kind(), first.kind());
        });
    });
}

#[test]
fn aborted_stream_is_reset() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let ((mut reader, mut writer), mut far) = with_plain().await;
            writer.set_write_buffer_limits(usize::MAX, 0);
            writer.write_all(&vec![0; 10 << 20]).await.unwrap();
            writer.abort();
            // Its own reader wakes up, too, and is still there when the peer sees it.
            let _ = reader.read_to_end().await;
            let all = std::thread::spawn(move || far.read_to_end(&mut Vec::new()));
            assert_eq!(joined(all).await.unwrap().unwrap_err().kind(), ErrorKind::ConnectionReset);
            drop(reader);
        });
    });
}

async fn echo_lines(mut reader: StreamReader, mut writer: StreamWriter) -> std::io::Result<()> {
    loop {
        let line = reader.read_line().await?;
        if line.is_empty() {
            return writer.close().await;
        }
        writer.write_all(line.as_bytes()).await?;
    }
}

async fn must_echo(ends: &mut Ends, line: &str) {
    ends.1.write_all(line.as_bytes()).await.unwrap();
    assert_eq!(ends.0.read_line().await.unwrap(), line);
}

async fn echo_server() -> Server {
    streams::serve("127.0.0.1:0", echo_lines).await.unwrap()
}

#[test]
fn server_answers_clients_of_both_kinds_of_sockets() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let path = std::env::temp_dir().join(format!(
                "ringloop-serve-{}-{}",
                std::process::id(),
                cfg.seed
            ));
            let builder = Server::builder().listen("localhost:0").await.unwrap();
            let server =
                streams::serve_on(builder.listen_unix(&path).unwrap(), echo_lines).unwrap();
            assert!(server.is_serving());
            let mut clients = vec![streams::connect_unix(&path).await.unwrap()];
            for addr in server.local_addrs() {
                clients.push(streams::connect(addr).await.unwrap());
            }
            for client in &mut clients {
                must_echo(client, "one\n").await;
                must_echo(client, "two\n").await;
            }
            assert_eq!(server.connections(), clients.len());
            drop(clients);
            assert_eq!(server.drain(LONG).await.cancelled, 0);
            assert!(!server.is_serving());
            assert!(!path.exists());
        });
    });
}

/// A log of reports is needed, so not everywhere.
fn once_logged<F: std::future::Future>(cfg: &Cfg, log: &ErrorLog, main: F) -> F::Output {
    cfg.once_with(log, main)
}

#[test]
fn handler_that_panics_or_fails_ends_its_connection_only() {
    on_every(|cfg| {
        let log = ErrorLog::default();
        once_logged(cfg, &log, async {
            let handler = |mut reader: StreamReader, mut writer: StreamWriter| async move {
                match reader.read_line().await?.as_str() {
                    "panic\n" => panic!("as asked"),
                    "fail\n" => Err(std::io::Error::other("as asked, too")),
                    line => writer.write_all(line.as_bytes()).await,
                }
            };
            let server = streams::serve("127.0.0.1:0", handler).await.unwrap(); // the place
            for line in ["panic\n", "fail\n"] {
                let (mut reader, mut writer) =
                    streams::connect(server.local_addrs()).await.unwrap();
                writer.write_all(line.as_bytes()).await.unwrap();
                assert_eq!(reader.read_line().await.unwrap(), "");
            }
            let mut client = streams::connect(server.local_addrs()).await.unwrap();
            must_echo(&mut client, "others go on\n").await;
            assert!(server.is_serving());
            drop(client);
            server.drain(LONG).await;
        });
        let panics = log.take(Kind::Panic);
        assert!(panics.len() == 1 && panics[0].contains("as asked"), "{panics:?}");
        let others = log.take(Kind::Other);
        assert!(others.len() == 1 && others[0].contains("as asked, too"), "{others:?}");
        // Both name the server by the call that started it.
        let call =
            include_str!("streams.rs").lines().position(|line| line.ends_with("; // the place"));
        let place = format!("tests/suite/streams.rs:{}:", call.unwrap() + 1);
        assert!(
            panics[0].contains(&place) && others[0].contains(&place),
            "{place} {panics:?} {others:?}"
        );
        log.assert_silent();
    });
}

/// The log of the test's runtime has to be silent at the end.
#[test]
fn peers_that_leave_are_not_reported() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let server = streams::serve("127.0.0.1:0", |mut reader, mut writer| async move {
                // By either end of the connection.
                match reader.read_line().await? {
                    line if line == "read\n" => drop(reader.read_line().await?),
                    _ => {
                        while writer.write_all(b"anybody?").await.is_ok() {
                            yield_now().await;
                        }
                    }
                }
                writer.write_all(b"anybody?").await?;
                Ok::<(), streams::ReadError>(())
            });
            let server = server.await.unwrap();
            for way in ["read\n", "write\n"] {
                let client = TcpStream::connect(server.local_addrs()).await.unwrap();
                client.set_linger(Some(Duration::ZERO)).unwrap();
                assert_eq!(client.try_write(way.as_bytes()).unwrap(), way.len());
                wait_until_async(|| server.connections() > 0, || "a connection".into()).await;
                drop(client);
                wait_until_async(|| server.connections() == 0, || "its end".into()).await;
            }
            server.drain(LONG).await;
        });
    });
}

#[test]
fn drained_server_waits_for_its_handlers_and_accepts_nobody() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (begun, go_on) = (Flag::new(), Flag::new());
            let (begins, waits) = (begun.clone(), go_on.clone());
            let server = streams::serve("127.0.0.1:0", move |_reader, mut writer| {
                let (begins, waits) = (begins.clone(), waits.clone());
                async move {
                    begins.set();
                    waits.wait().await;
                    writer.write_all(b"done").await
                }
            })
            .await
            .unwrap();
            let addrs = server.local_addrs().to_vec();
            let (mut reader, _writer) = streams::connect(&addrs[..]).await.unwrap();
            begun.wait().await;
            let draining = spawn(async move { server.drain(LONG).await });
            // Nobody listens any more, and the one that is served is.
            while let Ok(late) = TcpStream::connect(&addrs[..]).await {
                drop(late);
                yield_now().await;
            }
            assert!(!draining.is_finished());
            go_on.set();
            assert_eq!(reader.read_to_end().await.unwrap(), b"done");
            let drained = draining.await.unwrap();
            assert_eq!((drained.cancelled, drained.aborted), (0, 0));
        });
    });
}

#[test]
fn drain_ends_in_its_time_though_a_client_is_idle() {
    on_every(|cfg| {
        cfg.mocked(async {
            let server = echo_server().await;
            let mut client = streams::connect(server.local_addrs()).await.unwrap();
            must_echo(&mut client, "here\n").await;
            let before = ringloop::time::Instant::now();
            let drained = server.drain(Duration::from_millis(100)).await;
            assert_eq!((drained.cancelled, drained.aborted), (1, 0));
            assert_eq!(before.elapsed(), Duration::from_millis(100));
            assert_eq!(client.0.read_line().await.unwrap(), "");
        });
    });
}

#[test]
fn handler_that_does_not_end_its_cleanup_is_aborted() {
    on_every(|cfg| {
        cfg.mocked(async {
            let begun = Flag::new();
            let begins = begun.clone();
            let server = streams::serve("127.0.0.1:0", move |_reader, _writer| {
                begins.set();
                ringloop::uncancellable(std::future::pending::<()>())
            })
            .await
            .unwrap();
            let (mut reader, _writer) = streams::connect(server.local_addrs()).await.unwrap();
            begun.wait().await;
            let drained = server.drain(Duration::from_millis(100)).await;
            assert_eq!((drained.cancelled, drained.aborted), (1, 1));
            assert_eq!(reader.read_to_end().await.unwrap(), b"");
        });
    });
}

#[test]
fn dropped_server_accepts_nobody_and_its_clients_go_on() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let server = echo_server().await;
            let addrs = server.local_addrs().to_vec();
            let mut client = streams::connect(&addrs[..]).await.unwrap();
            must_echo(&mut client, "before\n").await;
            drop(server);
            while let Ok(late) = TcpStream::connect(&addrs[..]).await {
                drop(late);
                yield_now().await;
            }
            must_echo(&mut client, "after\n").await;
        });
    });
}

#[test]
fn server_serves_until_it_is_told_and_then_drains() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let server = echo_server().await;
            let addrs = server.local_addrs().to_vec();
            let stop = Flag::new();
            let told = stop.clone();
            let serving = spawn(async move {
                server
                    .serve_until(
                        async move {
                            told.wait().await;
                            7
                        },
                        LONG,
                    )
                    .await
                    .unwrap()
            });
            let mut client = streams::connect(&addrs[..]).await.unwrap();
            must_echo(&mut client, "served\n").await;
            stop.set();
            while let Ok(late) = TcpStream::connect(&addrs[..]).await {
                drop(late);
                yield_now().await;
            }
            must_echo(&mut client, "still served\n").await;
            drop(client);
            assert_eq!(serving.await.unwrap(), 7);
        });
    });
}

#[test]
fn connections_beyond_the_limit_wait_for_one_to_end() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let builder = Server::builder().max_connections(2).listen("127.0.0.1:0").await.unwrap();
            let server = streams::serve_on(builder, echo_lines).unwrap();
            let mut clients = Vec::new();
            for _ in 0..4 {
                clients.push(streams::connect(server.local_addrs()).await.unwrap());
            }
            for client in &mut clients[..2] {
                must_echo(client, "served\n").await;
            }
            assert_eq!(server.connections(), 2);
            let mut last = clients.pop().unwrap();
            last.1.write_all(b"waits\n").await.unwrap();
            assert!(poll_immediate(last.0.read_line()).await.is_none());
            drop(clients);
            assert_eq!(last.0.read_line().await.unwrap(), "waits\n");
            drop(last);
            server.drain(LONG).await;
        });
    });
}

#[test]
fn peer_with_too_many_connections_is_refused_the_next() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let builder =
                Server::builder().max_connections_per_peer(2).listen("127.0.0.1:0").await.unwrap();
            let server = streams::serve_on(builder, echo_lines).unwrap();
            let mut kept = Vec::new();
            for _ in 0..2 {
                let mut client = streams::connect(server.local_addrs()).await.unwrap();
                must_echo(&mut client, "served\n").await;
                kept.push(client);
            }
            let (mut reader, _writer) = streams::connect(server.local_addrs()).await.unwrap();
            assert_eq!(reader.read_line().await.unwrap(), "");
            assert_eq!(server.refused(), 1);
            kept.pop();
            wait_until_async(|| server.connections() == 1, || "one connection".into()).await;
            let mut client = streams::connect(server.local_addrs()).await.unwrap();
            must_echo(&mut client, "served again\n").await;
            drop((kept, client));
            server.drain(LONG).await;
        });
    });
}

#[test]
fn aborted_clients_are_cancelled_and_the_server_goes_on() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let server = echo_server().await;
            let mut client = streams::connect(server.local_addrs()).await.unwrap();
            must_echo(&mut client, "here\n").await;
            assert_eq!(server.abort_clients(), 1);
            assert_eq!(client.0.read_line().await.unwrap(), "");
            let mut next = streams::connect(server.local_addrs()).await.unwrap();
            must_echo(&mut next, "again\n").await;
            assert!(timeout(Duration::ZERO, server.wait_closed()).await.is_err());
            drop(next);
            server.stop_accepting();
            server.wait_closed().await;
        });
    });
}

/// A loop of connections while the server drains: each is served as a whole, or not at all.
#[test]
fn connections_that_come_while_a_server_drains_are_served_or_refused() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for _ in 0..scaled(5) {
                let served = Count::new();
                let counts = served.clone();
                let server = streams::serve("127.0.0.1:0", move |_reader, mut writer| {
                    let counts = counts.clone();
                    async move {
                        counts.add();
                        yield_now().await;
                        writer.write_all(b"whole").await
                    }
                })
                .await
                .unwrap();
                let addrs = server.local_addrs().to_vec();
                let clients: Vec<_> = (0..20)
                    .map(|_| {
                        let addrs = addrs.clone();
                        spawn(async move {
                            let (mut reader, _writer) = streams::connect(&addrs[..]).await.ok()?;
                            let answer = reader.read_to_end().await.ok()?;
                            assert!(answer.is_empty() || answer == b"whole", "{answer:?}");
                            (!answer.is_empty()).then_some(())
                        })
                    })
                    .collect();
                for _ in 0..cfg.rng(5).below(20) {
                    yield_now().await;
                }
                let drained = server.drain(LONG).await;
                assert_eq!(drained.cancelled, 0);
                assert_eq!(server.connections(), 0);
                let mut answered = 0;
                for client in clients {
                    answered += client.await.unwrap().map_or(0, |()| 1);
                }
                assert_eq!(answered, served.get());
            }
        });
    });
}

#[test]
fn reader_and_writer_of_anything_work_as_those_of_a_socket() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (near, far) = UnixStream::pair().unwrap();
            let (reader, writer) = futures_util::AsyncReadExt::split(near);
            let mut near = streams::split(ringloop::io::Ends::new(reader, writer));
            let far = spawn(async move {
                let (reader, writer) = futures_util::AsyncReadExt::split(far);
                echo_lines(StreamReader::new(reader), StreamWriter::new(writer)).await
            });
            must_echo(&mut near, "by any means\n").await;
            let long = format!("{}\n", "x".repeat(60_000));
            must_echo(&mut near, &long).await;
            // It is a reader and a writer for the functions of others.
            let mut line = String::new();
            AsyncWriteExt::write_all(&mut near.1, b"of others\n").await.unwrap();
            AsyncWriteExt::flush(&mut near.1).await.unwrap();
            ringloop::io::AsyncBufReadExt::read_line(&mut near.0, &mut line).await.unwrap();
            assert_eq!(line, "of others\n");
            // A dropped writer closes what it writes to.
            drop(near.1);
            assert_eq!(near.0.read_line().await.unwrap(), "");
            far.await.unwrap().unwrap();
            let (_, mut writer) = streams::split(UnixStream::pair().unwrap().0);
            assert_eq!(
                writer.write_all(b"nobody").await.unwrap_err().kind(),
                ErrorKind::BrokenPipe
            );
        });
    });
}

#[test]
fn plain_client_is_served() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let server = echo_server().await;
            let addr = server.local_addrs()[0];
            let client = std::thread::spawn(move || {
                let mut stream = net::TcpStream::connect(addr).unwrap();
                stream.set_read_timeout(Some(LONG)).unwrap();
                for byte in b"byte by byte\n" {
                    stream.write_all(&[*byte]).unwrap();
                }
                stream.shutdown(net::Shutdown::Write).unwrap();
                let mut all = String::new();
                stream.read_to_string(&mut all).unwrap();
                all
            });
            assert_eq!(joined(client).await.unwrap(), "byte by byte\n");
            server.drain(LONG).await;
        });
    });
}
