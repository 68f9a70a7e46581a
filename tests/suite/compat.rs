//! The traits of other crates, where their features are on.

#[cfg(any(feature = "hyper", feature = "tokio"))]
mod flushing {
    use std::future::poll_fn;
    use std::io::{self, ErrorKind};
    use std::task::{Context, Poll};
    use std::thread;
    use std::time::Duration;

    use ringloop::net::TcpStream;

    use crate::faces::soon;
    use crate::harness::on_every;
    use crate::homes::{TOO_MUCH, expect, lend, on_a_ring, plain_pair, poll_once};

    /// Goal: a flush waits for the bytes that are queued, and returns their result; method: more
    /// than fits is lent, which a ring goes on sending; the peer reads, or resets. (On epoll a
    /// write itself waits.)
    pub fn waits_for_what_is_queued<W: Send>(
        into_writer: impl Fn(TcpStream) -> W + Copy + Send + Sync,
        flush: impl Fn(&mut W, &mut Context<'_>) -> Poll<io::Result<()>> + Copy + Send + Sync,
    ) {
        on_every(|cfg| {
            cfg.everywhere(|| async move {
                for resets in [false, true] {
                    let (mut near, mut peer) = plain_pair();
                    if !on_a_ring() {
                        let mut writer = into_writer(near);
                        let flushed = poll_once(poll_fn(|cx| flush(&mut writer, cx)));
                        return flushed.expect("nothing is queued").unwrap();
                    }
                    lend(&mut near, 0, TOO_MUCH).await;
                    let mut writer = into_writer(near);
                    let flushed = poll_once(poll_fn(|cx| flush(&mut writer, cx)));
                    assert!(flushed.is_none(), "the kernel has not taken it all: {flushed:?}");
                    let reader = thread::spawn(move || match resets {
                        false => expect(&mut peer, TOO_MUCH),
                        true => {
                            let now = Some(Duration::ZERO);
                            socket2::SockRef::from(&peer).set_linger(now).unwrap();
                        }
                    });
                    let flushed = soon("flush", poll_fn(|cx| flush(&mut writer, cx))).await;
                    let kind = flushed.map_err(|error| error.kind());
                    match resets {
                        false => assert_eq!(kind, Ok(())),
                        true => assert!(
                            matches!(kind, Err(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)),
                            "{kind:?}"
                        ),
                    }
                    reader.join().unwrap();
                }
            });
        });
    }
}

#[cfg(feature = "hyper")]
mod with_hyper {
    use std::convert::Infallible;
    use std::io::{BufRead, BufReader, Write};
    use std::time::Duration;

    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper::{Request, Response};
    use ringloop::compat::hyper::{HyperExecutor, HyperTimer};
    use ringloop::net::TcpListener;
    use ringloop::spawn;

    use crate::harness::{on_every, scaled};

    async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let text = format!("{path} {}", body.len());
        Ok(Response::new(Full::new(Bytes::from(text))))
    }

    /// Reads one response and returns its body.
    fn read_response(from: &mut impl BufRead) -> String {
        let (mut line, mut length) = (String::new(), 0);
        from.read_line(&mut line).unwrap();
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
        String::from_utf8(body).unwrap()
    }

    #[test]
    fn http_server_answers_keep_alive_and_pipelined_requests() {
        // Goal: hyper's Read and Write on our stream, with our timer; method: plain clients with
        // single, pipelined and large requests.
        on_every(|cfg| {
            let runtime = cfg.runtime();
            let listener = runtime.must_run(TcpListener::bind("127.0.0.1:0")).unwrap();
            let address = listener.local_addr().unwrap();
            let server = runtime.spawn(async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    drop(spawn(async move {
                        hyper::server::conn::http1::Builder::new()
                            .timer(HyperTimer)
                            .header_read_timeout(Duration::from_secs(30))
                            .serve_connection(stream, service_fn(answer))
                            .await
                            .unwrap();
                    }));
                }
            });
            std::thread::scope(|scope| {
                for client in 0..4 {
                    scope.spawn(move || {
                        let stream = std::net::TcpStream::connect(address).unwrap();
                        let mut reader = BufReader::new(stream.try_clone().unwrap());
                        let mut writer = stream;
                        for i in 0..scaled(50) {
                            write!(writer, "GET /{client}/{i} HTTP/1.1\r\nhost: t\r\n\r\n")
                                .unwrap();
                            assert_eq!(read_response(&mut reader), format!("/{client}/{i} 0"));
                        }
                        let one = "GET /p HTTP/1.1\r\nhost: t\r\n\r\n";
                        writer.write_all(one.repeat(32).as_bytes()).unwrap();
                        for _ in 0..32 {
                            assert_eq!(read_response(&mut reader), "/p 0");
                        }
                        let size = 300_000;
                        write!(
                            writer,
                            "POST /big HTTP/1.1\r\nhost: t\r\ncontent-length: {size}\r\n\r\n"
                        )
                        .unwrap();
                        writer.write_all(&vec![b'x'; size]).unwrap();
                        assert_eq!(read_response(&mut reader), format!("/big {size}"));
                    });
                }
            });
            server.abort();
            let _ = runtime.must_run(server);
        });
    }

    #[test]
    fn http2_carries_a_hundred_streams_on_one_connection() {
        // Goal: h2's many small writes and flushes over one connection; method: hyper's own client,
        // a hundred requests at once with bodies of their own, each answered by its length.
        on_every(|cfg| {
            cfg.everywhere(|| async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let server = spawn(async move {
                    let (stream, _) = listener.accept().await.unwrap();
                    hyper::server::conn::http2::Builder::new(HyperExecutor)
                        .timer(HyperTimer)
                        .serve_connection(stream, service_fn(answer))
                        .await
                        .unwrap();
                });
                let stream = ringloop::net::TcpStream::connect(address).await.unwrap();
                let (sender, connection) =
                    hyper::client::conn::http2::handshake(HyperExecutor, stream).await.unwrap();
                let connection = spawn(connection);
                let requests: Vec<_> = (0..100usize)
                    .map(|i| {
                        let mut sender = sender.clone();
                        spawn(async move {
                            let body = Full::new(Bytes::from(vec![b'x'; i * 1000]));
                            let request = Request::post(format!("http://t/{i}")).body(body);
                            let response = sender.send_request(request.unwrap()).await.unwrap();
                            response.into_body().collect().await.unwrap().to_bytes()
                        })
                    })
                    .collect();
                for (i, request) in requests.into_iter().enumerate() {
                    let body = request.await.unwrap();
                    assert_eq!(body, format!("/{i} {}", i * 1000));
                }
                drop(sender);
                connection.await.unwrap().unwrap();
                server.await.unwrap();
            });
        });
    }

    #[test]
    fn http_over_a_unix_socket() {
        on_every(|cfg| {
            cfg.everywhere(|| async {
                let (near, far) = ringloop::net::UnixStream::pair().unwrap();
                let server = spawn(async move {
                    hyper::server::conn::http1::Builder::new()
                        .timer(HyperTimer)
                        .serve_connection(far, service_fn(answer))
                        .await
                        .unwrap();
                });
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(near).await.unwrap();
                let connection = spawn(connection);
                for size in [0, 1, 300_000] {
                    let body = Full::new(Bytes::from(vec![b'x'; size]));
                    let request = Request::post("/unix").header("host", "t").body(body);
                    // The answer may be complete before its connection is free.
                    sender.ready().await.unwrap();
                    let response = sender.send_request(request.unwrap()).await.unwrap();
                    let body = response.into_body().collect().await.unwrap().to_bytes();
                    assert_eq!(body, format!("/unix {size}"));
                }
                drop(sender);
                connection.await.unwrap().unwrap();
                server.await.unwrap();
            });
        });
    }

    #[test]
    fn hyper_flush_waits_for_what_is_queued() {
        super::flushing::waits_for_what_is_queued(
            |stream| stream,
            |stream, cx| hyper::rt::Write::poll_flush(std::pin::Pin::new(stream), cx),
        );
    }

    #[test]
    fn executor_spawns_and_timer_sleeps() {
        // Goal: the two small adapters; method: use them as hyper does.
        use hyper::rt::{Executor, Timer};
        on_every(|cfg| {
            cfg.everywhere(|| async {
                let flag = crate::tools::Flag::new();
                let set = flag.clone();
                HyperExecutor.execute(async move { set.set() });
                flag.wait().await;
                let timer = HyperTimer;
                let since = std::time::Instant::now();
                timer.sleep(Duration::from_millis(2)).await;
                assert!(since.elapsed() >= Duration::from_millis(2));
                let deadline = std::time::Instant::now() + Duration::from_millis(2);
                timer.sleep_until(deadline).await;
                assert!(std::time::Instant::now() >= deadline);
            });
        });
    }
}

#[cfg(feature = "tokio")]
mod with_tokio {
    use std::future::poll_fn;
    use std::pin::Pin;

    use ringloop::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use crate::harness::on_every;

    #[test]
    fn tokio_flush_waits_for_what_is_queued() {
        super::flushing::waits_for_what_is_queued(
            |stream| stream,
            |stream, cx| AsyncWrite::poll_flush(Pin::new(stream), cx),
        );
        super::flushing::waits_for_what_is_queued(
            |stream| stream.into_split().1,
            |half, cx| AsyncWrite::poll_flush(Pin::new(half), cx),
        );
    }

    #[test]
    fn tokio_traits_carry_data() {
        // Goal: tokio's AsyncRead and AsyncWrite on our stream; method: poll them directly, since
        // the extension methods live in another crate; filled bytes are appended, never overwritten.
        on_every(|cfg| {
            cfg.everywhere(|| async {
                let (mut near, mut far) = crate::net_stream::pair().await;
                let n = poll_fn(|cx| AsyncWrite::poll_write(Pin::new(&mut near), cx, b"by tokio"))
                    .await;
                assert_eq!(n.unwrap(), 8);
                poll_fn(|cx| AsyncWrite::poll_flush(Pin::new(&mut near), cx)).await.unwrap();
                let mut text = [0; 8];
                far.read_exact(&mut text).await.unwrap();
                assert_eq!(&text, b"by tokio");
                far.write_all(b"back").await.unwrap();
                let mut memory = [std::mem::MaybeUninit::uninit(); 16];
                let mut buf = ReadBuf::uninit(&mut memory);
                buf.put_slice(b"kept ");
                while buf.filled().len() < 9 {
                    poll_fn(|cx| AsyncRead::poll_read(Pin::new(&mut near), cx, &mut buf))
                        .await
                        .unwrap();
                }
                assert_eq!(buf.filled(), b"kept back");
                poll_fn(|cx| AsyncWrite::poll_shutdown(Pin::new(&mut near), cx)).await.unwrap();
                assert_eq!(far.read(&mut text).await.unwrap(), 0);
            });
        });
    }
}
