//! The accept loop for HTTP: what it limits, and how it ends.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::{CONNECTION, UPGRADE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use ringloop::compat::hyper::{
    FuturesIo, HttpBuilder, HttpServer, HyperExecutor, HyperTimer, serve,
};
use ringloop::io::{AsyncReadExt, AsyncWriteExt};
use ringloop::net::{Server, TcpStream, UnixStream};
use ringloop::{spawn, streams, time};

use crate::harness::{Kind, deliberate, on_every};
use crate::tools::Flag;

/// No limit that a test waits for is longer.
const SHORT: Duration = Duration::from_millis(30);
/// No limit that a test must not reach is shorter.
const LONG: Duration = Duration::from_secs(50);

async fn listen() -> ringloop::net::ServerBuilder {
    Server::builder().listen("127.0.0.1:0").await.unwrap()
}

/// A server that answers at once with the body that it got.
fn echo(http: HttpBuilder, listeners: ringloop::net::ServerBuilder) -> HttpServer {
    let service = service_fn(|request: Request<Incoming>| async {
        let body = request.into_body().collect().await?.to_bytes();
        Ok::<_, hyper::Error>(Response::new(Full::new(body)))
    });
    http.serve_on(listeners, service).unwrap()
}

fn addr(server: &HttpServer) -> SocketAddr {
    server.local_addrs()[0]
}

async fn connect(server: &HttpServer) -> TcpStream {
    TcpStream::connect(addr(server)).await.unwrap()
}

type Sender1 = http1::SendRequest<Full<Bytes>>;
type Sender2 = http2::SendRequest<Full<Bytes>>;

async fn client1(server: &HttpServer) -> Sender1 {
    let (sender, connection) = http1::handshake(connect(server).await).await.unwrap();
    spawn(connection).detach();
    sender
}

async fn client2(server: &HttpServer) -> Sender2 {
    let mut http = http2::Builder::new(HyperExecutor);
    http.timer(HyperTimer);
    let (sender, connection) = http.handshake(connect(server).await).await.unwrap();
    spawn(connection).detach();
    sender
}

fn post(body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post("http://x/").header("host", "x").body(Full::new(body.into())).unwrap()
}

async fn body_of(response: Response<Incoming>) -> Bytes {
    assert_eq!(response.status(), StatusCode::OK);
    response.into_body().collect().await.unwrap().to_bytes()
}

#[test]
fn both_versions_are_served_on_one_port() {
    on_every(|cfg| {
        cfg.once(async {
            let server = echo(HttpBuilder::new(), listen().await);
            let large: Bytes = (0..1 << 20).map(|i| (i % 251) as u8).collect();
            let mut first = client1(&server).await;
            let mut second = client2(&server).await;
            for body in [Bytes::from("small"), large.clone(), Bytes::new()] {
                first.ready().await.unwrap();
                let response = first.send_request(post(body.clone())).await.unwrap();
                assert_eq!(body_of(response).await, body);
                let response = second.send_request(post(body.clone())).await.unwrap();
                assert_eq!(body_of(response).await, body);
            }
            assert_eq!(server.server().connections(), 2);
            let drained = server.drain(LONG).await;
            assert_eq!((drained.cancelled, drained.aborted), (0, 0));
        });
    });
}

#[test]
fn silence_ends_by_the_idle_limit() {
    on_every(|cfg| {
        cfg.once(async {
            let mut http = HttpBuilder::new().idle_timeout(SHORT);
            http.hyper().http1().header_read_timeout(None);
            let server = echo(http, listen().await);
            // Nothing, and a part of what HTTP/2 begins with.
            for begin in ["", "PRI * HTTP"] {
                let mut stream = connect(&server).await;
                stream.write_all(begin.as_bytes()).await.unwrap();
                assert_eq!(stream.read(&mut [0; 9]).await.unwrap(), 0, "after {begin:?}");
            }
            // A request, and then nothing.
            let mut stream = connect(&server).await;
            stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
            // HTTP/2 without a request, by a client that answers pings, and by one that does not.
            let client = client2(&server).await;
            let mut stream = connect(&server).await;
            stream
                .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
                .await
                .unwrap();
            stream.read_to_end(&mut Vec::new()).await.unwrap();
            server.server().stop_accepting();
            server.server().wait_closed().await;
            assert!(client.is_closed());
        });
    });
}

/// A body of one frame, after a while.
struct Late(Pin<Box<dyn Future<Output = ()> + Send>>, Option<Bytes>);

impl Body for Late {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.1.is_some() && self.0.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(self.1.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[test]
fn a_request_is_not_idle_until_its_answer_is_sent() {
    on_every(|cfg| {
        cfg.once(async {
            let service = service_fn(|_: Request<Incoming>| async {
                time::sleep(SHORT * 3).await;
                let late = Late(Box::pin(time::sleep(SHORT * 3)), Some(Bytes::from("late")));
                Ok::<_, Infallible>(Response::new(late))
            });
            let http = HttpBuilder::new().idle_timeout(SHORT);
            let server = http.serve_on(listen().await, service).unwrap();
            let response = client1(&server).await.send_request(post("")).await.unwrap();
            assert_eq!(body_of(response).await, "late");
            let response = client2(&server).await.send_request(post("")).await.unwrap();
            assert_eq!(body_of(response).await, "late");
        });
    });
}

#[test]
fn the_head_of_a_request_is_limited_by_hypers_timer() {
    on_every(|cfg| {
        cfg.once(async {
            let mut http = HttpBuilder::new().idle_timeout(None);
            http.hyper().http1().header_read_timeout(SHORT);
            let server = echo(http, listen().await);
            let mut stream = connect(&server).await;
            stream.write_all(b"GET / HTTP/1.1\r\nhost").await.unwrap();
            stream.read_to_end(&mut Vec::new()).await.unwrap();
        });
    });
}

#[test]
fn a_client_that_says_no_more_is_answered_if_half_close_is_set() {
    on_every(|cfg| {
        cfg.once(async {
            for half_close in [false, true] {
                let service = service_fn(|_: Request<Incoming>| async {
                    time::sleep(SHORT).await;
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("late"))))
                });
                let mut http = HttpBuilder::new();
                http.hyper().http1().half_close(half_close);
                let server = http.serve_on(listen().await, service).unwrap();
                let mut stream = connect(&server).await;
                stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
                stream.close().await.unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await.unwrap();
                assert_eq!(answer.ends_with("late"), half_close, "{answer:?}");
            }
        });
    });
}

#[test]
fn a_drain_lets_requests_finish_and_ends_what_waits() {
    on_every(|cfg| {
        cfg.once(async {
            let (arrived, go) = ([Flag::new(), Flag::new()], Flag::new());
            let (told, wait) = (arrived.clone(), go.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let (told, wait) = (told.clone(), wait.clone());
                async move {
                    if let Ok(number) = request.uri().path()[1..].parse::<usize>() {
                        told[number].set();
                        wait.wait().await;
                    }
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("done"))))
                }
            });
            let slow = |uri| Request::get(uri).body(Full::<Bytes>::default()).unwrap();
            let server = serve("127.0.0.1:0", service).await.unwrap();
            // Those that wait: one has said nothing, the others have had an answer.
            let mut silent = connect(&server).await;
            let (mut idle1, mut idle2) = (client1(&server).await, client2(&server).await);
            body_of(idle1.send_request(post("")).await.unwrap()).await;
            body_of(idle2.send_request(post("")).await.unwrap()).await;
            let (mut busy1, mut busy2) = (client1(&server).await, client2(&server).await);
            let busy = [
                spawn(busy1.send_request(slow("http://x/0"))),
                spawn(busy2.send_request(slow("http://x/1"))),
            ];
            for flag in &arrived {
                flag.wait().await;
            }
            assert_eq!(server.server().connections(), 5);
            let drain = spawn(async move { server.drain(LONG).await });
            assert_eq!(silent.read(&mut [0; 9]).await.unwrap(), 0);
            while !(idle1.is_closed() && idle2.is_closed()) {
                ringloop::yield_now().await;
            }
            go.set();
            for task in busy {
                assert_eq!(body_of(task.await.unwrap().unwrap()).await, "done");
            }
            let drained = drain.await.unwrap();
            assert_eq!((drained.cancelled, drained.aborted), (0, 0));
        });
    });
}

/// A server that speaks in capitals on a connection that was upgraded.
async fn shouter() -> HttpServer {
    let service = service_fn(|mut request: Request<Incoming>| async move {
        let upgrade = hyper::upgrade::on(&mut request);
        spawn(async move {
            let mut stream = FuturesIo(upgrade.await.unwrap());
            let mut buf = [0; 64];
            loop {
                let n = stream.read(&mut buf).await.unwrap_or(0);
                if n == 0 {
                    return;
                }
                buf.make_ascii_uppercase();
                stream.write_all(&buf[..n]).await.unwrap();
            }
        })
        .detach();
        let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        let response = response.header(UPGRADE, "loud").header(CONNECTION, "upgrade");
        Ok::<_, Infallible>(response.body(Full::<Bytes>::default()).unwrap())
    });
    let http = HttpBuilder::new().idle_timeout(SHORT);
    http.serve_on(listen().await, service).unwrap()
}

async fn upgraded(server: &HttpServer) -> TcpStream {
    let mut stream = connect(server).await;
    // What comes behind the request in one piece is the other protocol's.
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: loud\r\n\r\nearly";
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"EARLY") {
        let mut buf = [0; 512];
        let n = stream.read(&mut buf).await.unwrap();
        assert!(n > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend(&buf[..n]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"));
    stream
}

#[test]
fn an_upgraded_connection_counts_until_its_stream_is_dropped() {
    on_every(|cfg| {
        cfg.once(async {
            let server = shouter().await;
            let mut stream = upgraded(&server).await;
            time::sleep(SHORT * 3).await;
            assert_eq!(server.server().connections(), 1);
            stream.write_all(b"idle").await.unwrap();
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"IDLE");
            drop(stream);
            let drained = server.drain(LONG).await;
            assert_eq!((drained.cancelled, drained.aborted), (0, 0));
        });
    });
}

#[test]
fn an_upgraded_connection_is_cut_off_when_the_time_is_up() {
    on_every(|cfg| {
        cfg.once(async {
            let server = shouter().await;
            let mut stream = upgraded(&server).await;
            let drained = server.drain(SHORT).await;
            assert_eq!((drained.cancelled, drained.aborted), (1, 0));
            assert_eq!(stream.read(&mut [0; 9]).await.unwrap(), 0);
        });
    });
}

#[test]
fn it_serves_until_it_is_told() {
    on_every(|cfg| {
        cfg.once(async {
            let server = echo(HttpBuilder::new(), listen().await);
            let mut client = client1(&server).await;
            let told = Flag::new();
            let until = told.wait();
            let serving = spawn(server.serve_until(until, LONG));
            assert_eq!(body_of(client.send_request(post("hi")).await.unwrap()).await, "hi");
            told.set();
            serving.await.unwrap().unwrap();
        });
    });
}

#[test]
fn each_connection_may_have_a_service_of_its_own() {
    on_every(|cfg| {
        cfg.once(async {
            let path =
                std::env::temp_dir().join(format!("ringloop-{}-{}", std::process::id(), cfg.seed));
            let listeners = listen().await.listen_unix(&path).unwrap();
            let make = |peer: Option<SocketAddr>| {
                let text = format!("{peer:?}");
                service_fn(move |_: Request<Incoming>| {
                    let response = Response::new(Full::new(Bytes::from(text.clone())));
                    std::future::ready(Ok::<_, Infallible>(response))
                })
            };
            let server = HttpBuilder::new().serve_with(listeners, make).unwrap();
            let stream = connect(&server).await;
            let own = stream.local_addr().unwrap();
            let (mut client, connection) = http1::handshake(stream).await.unwrap();
            spawn(connection).detach();
            let told = body_of(client.send_request(post("")).await.unwrap()).await;
            assert_eq!(told, format!("{:?}", Some(own)));

            let stream = UnixStream::connect(&path).await.unwrap();
            let (mut client, connection) = http1::handshake(stream).await.unwrap();
            spawn(connection).detach();
            assert_eq!(body_of(client.send_request(post("")).await.unwrap()).await, "None");
            std::fs::remove_file(&path).unwrap();
        });
    });
}

#[test]
fn a_service_that_fails_is_reported_and_ends_its_own_connection() {
    on_every(|cfg| {
        let runtime = cfg.runtime();
        runtime.must_run(async {
            let service = service_fn(|request: Request<Incoming>| async move {
                match request.uri().path() {
                    "/panic" => deliberate("deliberate"),
                    "/error" => Err(io::Error::other("deliberate")),
                    _ => Ok(Response::new(Full::new(Bytes::from("fine")))),
                }
            });
            let server = serve("127.0.0.1:0", service).await.unwrap();
            let mut other = client1(&server).await;
            for path in ["/error", "/panic"] {
                let request = Request::get(path).body(Full::<Bytes>::default()).unwrap();
                client1(&server).await.send_request(request).await.unwrap_err();
            }
            assert_eq!(body_of(other.send_request(post("")).await.unwrap()).await, "fine");
            let (mut reader, mut writer) = streams::connect(server.local_addrs()).await.unwrap();
            writer.write_all(b"this is no HTTP\r\n\r\n").await.unwrap();
            assert!(reader.read_to_end().await.unwrap().starts_with(b"HTTP/1.1 400"));
            server.drain(LONG).await;
        });
        let log = runtime.log();
        let failed = log.take(Kind::Other);
        assert!(failed.len() == 1 && failed[0].contains("deliberate"), "{failed:?}");
        assert_eq!(log.take(Kind::Panic).len(), 1);
    });
}

#[cfg(feature = "tls")]
#[test]
fn https_speaks_what_alpn_chooses() {
    use ringloop::tls::{TlsAcceptor, TlsConnector};

    use crate::tls_tools::pki;

    let alpn = ["h2", "http/1.1"];
    let identity = &pki().server;
    let acceptor = TlsAcceptor::builder()
        .certificate_pem(&identity.chain, &identity.key)
        .alpn(alpn)
        .build()
        .unwrap();
    let roots = || TlsConnector::builder().platform_roots(false).add_root_pem(&pki().root);
    let (new, old) = (roots().alpn(alpn).build().unwrap(), roots().build().unwrap());
    on_every(|cfg| {
        cfg.once(async {
            let server = echo(HttpBuilder::new().tls(acceptor.clone()), listen().await);
            let stream = new.connect("localhost", connect(&server).await).await.unwrap();
            assert_eq!(stream.alpn_protocol(), Some(&b"h2"[..]));
            let mut http = http2::Builder::new(HyperExecutor);
            let (mut sender, connection) = http.timer(HyperTimer).handshake(stream).await.unwrap();
            spawn(connection).detach();
            let large = Bytes::from(vec![7; 1 << 20]);
            let response = sender.send_request(post(large.clone())).await.unwrap();
            assert_eq!(body_of(response).await, large);

            let stream = old.connect("localhost", connect(&server).await).await.unwrap();
            let (mut sender, connection) = http1::handshake(stream).await.unwrap();
            spawn(connection).detach();
            let response = sender.send_request(post(large.clone())).await.unwrap();
            assert_eq!(body_of(response).await, large);
            let drained = server.drain(LONG).await;
            assert_eq!((drained.cancelled, drained.aborted), (0, 0));
        });
    });
}
