//! HTTP requests that come in bursts and in pieces: each is answered as soon as possible, and
//! answers that are ready together are sent together where they are gathered.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream as Client;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use ringloop::compat::hyper::{HyperTimer, gather_writes};
use ringloop::net::{TcpListener, TcpStream};
use ringloop::{Task, spawn};

use crate::harness::{Cfg, TestRuntime, deliberate, on_every, scaled, wait_until};
use crate::tools::{Count, Flag};

/// A stream that counts the writes that reach it.
struct Counted {
    stream: TcpStream,
    writes: Count,
}

impl Read for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.writes.add();
        Write::poll_write(Pin::new(&mut self.stream), cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        self.writes.add();
        Write::poll_write_vectored(Pin::new(&mut self.stream), cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Write::poll_flush(Pin::new(&mut self.stream), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Write::poll_shutdown(Pin::new(&mut self.stream), cx)
    }
}

/// A server of one connection, whose answers are the paths that were requested. `/wait` waits for
/// `gate`, `/panic` panics, `/large` is answered by 100 000 bytes.
struct Server {
    runtime: TestRuntime,
    connection: Task<hyper::Result<()>>,
    client: Client,
    writes: Count,
    gate: Flag,
}

async fn answer(
    request: Request<Incoming>,
    gate: Flag,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path();
    match path {
        "/wait" => gate.wait().await,
        "/panic" => deliberate("the service panics"),
        "/large" => return Ok(Response::new(Full::new(Bytes::from(vec![b'x'; 100_000])))),
        _ => {}
    }
    Ok(Response::new(Full::new(Bytes::from(path.to_owned()))))
}

impl Server {
    fn start(cfg: &Cfg, gathers: bool) -> Server {
        let (runtime, writes, gate) = (cfg.runtime(), Count::new(), Flag::new());
        let listener = runtime.must_run(TcpListener::bind("127.0.0.1:0")).unwrap();
        let client = Client::connect(listener.local_addr().unwrap()).unwrap();
        client.set_nodelay(true).unwrap();
        let (stream, _) = runtime.must_run(listener.accept()).unwrap();
        stream.set_nodelay(true).unwrap();
        // Little room, so that full sockets are soon full.
        for socket in [stream.socket(), socket2::SockRef::from(&client)] {
            socket.set_send_buffer_size(16 << 10).unwrap();
            socket.set_recv_buffer_size(16 << 10).unwrap();
        }
        let stream = Counted { stream, writes: writes.clone() };
        let theirs = gate.clone();
        let connection = runtime.spawn(async move {
            let service = service_fn(move |request| answer(request, theirs.clone()));
            let mut http = http1::Builder::new();
            http.timer(HyperTimer).header_read_timeout(Duration::from_secs(300));
            match gathers {
                true => {
                    gather_writes(stream, |stream| http.serve_connection(stream, service)).await
                }
                false => http.serve_connection(stream, service).await,
            }
        });
        Server { runtime, connection, client, writes, gate }
    }

    fn send(&self, text: &str) {
        (&self.client).write_all(text.as_bytes()).unwrap();
    }

    /// A connection ends without an error.
    fn finish(self) {
        drop(self.client);
        let _ = self.runtime.must_run(self.connection).unwrap();
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: t\r\n\r\n")
}

/// Reads one answer and returns its body; `None` at the end.
fn read_answer(from: &mut impl BufRead) -> Option<String> {
    let (mut line, mut length) = (String::new(), 0);
    if from.read_line(&mut line).unwrap() == 0 {
        return None;
    }
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    while line != "\r\n" {
        line.clear();
        assert!(from.read_line(&mut line).unwrap() > 0);
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).unwrap();
    Some(String::from_utf8(body).unwrap())
}

#[test]
fn request_is_answered_although_more_has_come() {
    // Goal: an answer waits for nothing but its own request; method: a whole request is followed by
    // an empty line, one byte, half of the next head, or a head without its body, and by nothing
    // more before the answer has been read.
    let post = "POST /b HTTP/1.1\r\nhost: t\r\ncontent-length: 5\r\n\r\nhello";
    let next = get("/b");
    let half = next.len() / 2;
    on_every(|cfg| {
        for gathers in [false, true] {
            for (more, rest) in [
                ("\r\n", &*next),
                ("\n", &next),
                (&next[..1], &next[1..]),
                (&next[..half], &next[half..]),
                (&next[..next.len() - 1], &next[next.len() - 1..]),
                (&post[..post.len() - 1], &post[post.len() - 1..]),
            ] {
                let server = Server::start(cfg, gathers);
                let mut reader = BufReader::new(server.client.try_clone().unwrap());
                server.send(&format!("{}{more}", get("/a")));
                assert_eq!(read_answer(&mut reader).as_deref(), Some("/a"), "before {more:?}");
                server.send(rest);
                assert_eq!(read_answer(&mut reader).as_deref(), Some("/b"), "after {more:?}");
                drop(reader);
                server.finish();
            }
        }
    });
}

#[test]
fn request_is_answered_while_the_next_is_served() {
    // Goal: an answer that is ready is sent although the service of the next request waits; method:
    // the next request waits until the first answer has been read.
    on_every(|cfg| {
        for gathers in [false, true] {
            let server = Server::start(cfg, gathers);
            let mut reader = BufReader::new(server.client.try_clone().unwrap());
            server.send(&[get("/1"), get("/2"), get("/wait"), get("/3")].concat());
            assert_eq!(read_answer(&mut reader).as_deref(), Some("/1"));
            assert_eq!(read_answer(&mut reader).as_deref(), Some("/2"));
            server.gate.set();
            assert_eq!(read_answer(&mut reader).as_deref(), Some("/wait"));
            assert_eq!(read_answer(&mut reader).as_deref(), Some("/3"));
            drop(reader);
            server.finish();
        }
    });
}

#[test]
fn answers_to_a_burst_leave_in_one_write() {
    // Goal: gathering saves system calls where requests are pipelined, and costs none where they are
    // not; method: a burst in one segment, then requests one by one; writes are counted.
    on_every(|cfg| {
        for gathers in [false, true] {
            let server = Server::start(cfg, gathers);
            let mut reader = BufReader::new(server.client.try_clone().unwrap());
            let mut ask = |burst: usize| {
                let before = server.writes.get();
                server.send(&get("/x").repeat(burst));
                for _ in 0..burst {
                    assert_eq!(read_answer(&mut reader).as_deref(), Some("/x"));
                }
                server.writes.get() - before
            };
            assert_eq!(ask(1), 1);
            assert_eq!(ask(10), if gathers { 1 } else { 10 });
            assert_eq!(ask(1), 1);
            drop(reader);
            server.finish();
        }
    });
}

#[test]
fn large_answers_keep_their_place_among_small_ones() {
    // Goal: an answer that is too large to be held goes behind those that are held; method: bursts
    // of both kinds, more than the socket has room for, of which the client reads the first answers
    // late.
    on_every(|cfg| {
        let server = Server::start(cfg, true);
        let mut reader = BufReader::new(server.client.try_clone().unwrap());
        let pattern = ["/1", "/large", "/2", "/3", "/large", "/large", "/4"];
        let rounds = scaled(20);
        let burst: String = pattern.iter().map(|path| get(path)).collect();
        let writer = server.client.try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            (&writer).write_all(burst.repeat(rounds).as_bytes()).unwrap();
        });
        for _ in 0..rounds {
            for path in pattern {
                let body = read_answer(&mut reader).unwrap();
                match path {
                    "/large" => assert_eq!(body.len(), 100_000),
                    _ => assert_eq!(body, path),
                }
            }
        }
        writer.join().unwrap();
        drop(reader);
        server.finish();
    });
}

#[test]
fn small_answers_wait_for_room_and_lose_nothing() {
    // Goal: a peer that reads late gets every held answer, in order; method: requests without end
    // are sent and not read, until the server reads no more of them either; then all is read.
    on_every(|cfg| {
        let server = Server::start(cfg, true);
        let mut sender = server.client.try_clone().unwrap();
        sender.set_nonblocking(true).unwrap();
        let burst = get("/x").repeat(1000);
        let mut sent = 0;
        // The server reads no more when it cannot write: then this end's buffer fills as well.
        let mut last = server.writes.get();
        loop {
            match sender.write(&burst.as_bytes()[sent % burst.len()..]) {
                Ok(n) => sent += n,
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                    let poll = Duration::from_millis(20);
                    std::thread::sleep(poll);
                    if std::mem::replace(&mut last, server.writes.get()) == last {
                        break;
                    }
                }
            }
        }
        sender.set_nonblocking(false).unwrap();
        let mut reader = BufReader::new(server.client.try_clone().unwrap());
        for _ in 0..sent / get("/x").len() {
            assert_eq!(read_answer(&mut reader).as_deref(), Some("/x"));
        }
        // The rest of the last request, and one more.
        let whole = burst.as_bytes();
        let tail = (whole.len() - sent % whole.len()) % get("/x").len();
        (&server.client).write_all(&whole[whole.len() - tail..]).unwrap();
        if tail > 0 {
            assert_eq!(read_answer(&mut reader).as_deref(), Some("/x"));
        }
        server.send(&get("/last"));
        assert_eq!(read_answer(&mut reader).as_deref(), Some("/last"));
        drop((reader, sender));
        server.finish();
    });
}

#[test]
fn answer_before_a_panic_or_an_error_is_sent() {
    // Goal: an answer is not lost with the request behind it; method: the second request of a burst
    // panics in its service, or is no HTTP.
    on_every(|cfg| {
        for second in [&*get("/panic"), "no http at all\r\n\r\n"] {
            let server = Server::start(cfg, true);
            server.send(&format!("{}{second}", get("/1")));
            let mut text = String::new();
            (&server.client).read_to_string(&mut text).unwrap();
            assert!(text.starts_with("HTTP/1.1 200") && text.contains("/1"), "{text}");
            assert_eq!(second.starts_with("no"), text.contains("HTTP/1.1 400"), "{text}");
            drop(server.client);
            match server.runtime.must_run(server.connection) {
                Ok(served) => assert!(served.unwrap_err().is_parse()),
                Err(error) => assert!(error.is_panicked()),
            }
        }
    });
}

#[test]
fn last_answer_is_sent_before_the_end() {
    // Goal: a connection that is to close sends the answers that it holds, then its end; method: a
    // burst whose last request asks for the close.
    on_every(|cfg| {
        let server = Server::start(cfg, true);
        let last = "GET /last HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n";
        server.send(&format!("{}{}{last}", get("/1"), get("/2")));
        let mut reader = BufReader::new(server.client.try_clone().unwrap());
        for path in ["/1", "/2", "/last"] {
            assert_eq!(read_answer(&mut reader).as_deref(), Some(path));
        }
        assert_eq!(read_answer(&mut reader), None);
        server.runtime.must_run(server.connection).unwrap().unwrap();
    });
}

#[test]
fn gathering_connection_can_be_cancelled_and_can_fail() {
    // Goal: neither a cancel nor a reset leaves anything behind; method: abort while an answer is
    // held up by a full socket; reset while requests are being answered.
    on_every(|cfg| {
        let server = Server::start(cfg, true);
        server.send(&get("/large").repeat(200));
        wait_until(|| server.writes.get() > 0, || "a write".to_owned());
        server.connection.abort();
        assert!(server.runtime.must_run(server.connection).unwrap_err().is_cancelled());

        let server = Server::start(cfg, true);
        server.send(&get("/x").repeat(500));
        wait_until(|| server.writes.get() > 0, || "a write".to_owned());
        socket2::SockRef::from(&server.client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(server.client);
        // With or without an error, it ends.
        let _ = server.runtime.must_run(server.connection).unwrap();
    });
}

#[test]
fn upgraded_connection_writes_at_once() {
    // Goal: after an upgrade no call ends a poll for the stream, so it must not hold anything back;
    // method: the answer to the upgrade is held, and what the new protocol writes comes after it.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (near, far) = crate::homes::plain_pair();
            let upgrade = service_fn(|mut request: Request<Incoming>| async move {
                let upgraded = hyper::upgrade::on(&mut request);
                drop(spawn(async move {
                    let parts = upgraded.await.unwrap();
                    let parts =
                        parts.downcast::<ringloop::compat::hyper::Gathered<TcpStream>>().unwrap();
                    let mut stream = parts.io;
                    let write = std::future::poll_fn(|cx| {
                        Write::poll_write(Pin::new(&mut stream), cx, b"raw ")
                    });
                    assert_eq!(write.await.unwrap(), 4);
                    let mut plain = stream.into_inner().await.unwrap();
                    ringloop::io::AsyncWriteExt::write_all(&mut plain, b"bytes").await.unwrap();
                }));
                let response = Response::builder().status(101).header("upgrade", "raw");
                let response = response.header("connection", "upgrade");
                Ok::<_, Infallible>(response.body(Full::<Bytes>::default()).unwrap())
            });
            let http = http1::Builder::new();
            let serve = gather_writes(near, |stream| {
                http.serve_connection(stream, upgrade).with_upgrades()
            });
            let serve = spawn(serve);
            let client = ringloop::to_thread(move || {
                let request =
                    "GET / HTTP/1.1\r\nhost: t\r\nconnection: upgrade\r\nupgrade: raw\r\n\r\n";
                (&far).write_all(request.as_bytes()).unwrap();
                let mut text = String::new();
                (&far).read_to_string(&mut text).unwrap();
                text
            });
            let text = client.await.unwrap();
            assert!(text.starts_with("HTTP/1.1 101"), "{text}");
            assert!(text.ends_with("\r\n\r\nraw bytes"), "{text}");
            serve.await.unwrap().unwrap();
        });
    });
}
