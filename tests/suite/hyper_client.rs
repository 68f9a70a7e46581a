//! hyper-util's client over our connections, against our servers.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use ringloop::compat::hyper::{HttpBuilder, HttpServer, HyperConnector, client, client_builder};
use ringloop::gather;
use ringloop::net::{Server, TcpListener};

use crate::harness::on_every;

/// The answer names the version of HTTP, and holds what was sent.
async fn echo(http: HttpBuilder, host: &str) -> HttpServer {
    let service = service_fn(|request: Request<Incoming>| async {
        let mut text = format!("{:?} ", request.version()).into_bytes();
        text.extend(request.into_body().collect().await?.to_bytes());
        Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from(text))))
    });
    let listeners = Server::builder().listen((host, 0)).await.unwrap();
    http.serve_on(listeners, service).unwrap()
}

fn post(uri: String, body: &str) -> Request<Full<Bytes>> {
    Request::post(uri).body(Full::new(Bytes::from(body.to_owned()))).unwrap()
}

#[test]
fn connections_are_used_again() {
    on_every(|cfg| {
        cfg.once(async {
            for host in ["127.0.0.1", "::1"] {
                let server = echo(HttpBuilder::new(), host).await;
                let addr = server.local_addrs()[0];
                let client = client();
                for number in 0..20 {
                    let text = format!("number {number}");
                    let response = client.request(post(format!("http://{addr}/"), &text)).await;
                    let body = response.unwrap().into_body().collect().await.unwrap().to_bytes();
                    assert_eq!(body, format!("HTTP/1.1 {text}"));
                }
                // With several workers, a request may come before the pool has its connection back.
                let most = if cfg.single() { 1 } else { 10 };
                assert!((1..=most).contains(&server.server().connections()));
                drop(client);
                server.drain(Duration::from_secs(50)).await;
            }
        });
    });
}

#[test]
fn many_requests_share_a_connection_of_http2() {
    on_every(|cfg| {
        cfg.once(async {
            let server = echo(HttpBuilder::new(), "127.0.0.1").await;
            let uri = format!("http://{}/", server.local_addrs()[0]);
            let client = client_builder().http2_only(true).build(HyperConnector::new());
            let requests = (0..20).map(|number| {
                let (client, uri) = (client.clone(), uri.clone());
                async move {
                    let text = format!("number {number}");
                    let response = client.request(post(uri, &text)).await.unwrap();
                    let body = response.into_body().collect().await.unwrap().to_bytes();
                    assert_eq!(body, format!("HTTP/2.0 {text}"));
                }
            });
            gather(requests).await;
            assert_eq!(server.server().connections(), 1);
        });
    });
}

#[test]
fn errors_say_what_to_do() {
    on_every(|cfg| {
        cfg.once(async {
            let text = async |uri: &str| {
                let mut connector =
                    HyperConnector::new().connect_timeout(Duration::from_millis(20));
                if uri.starts_with("https:") {
                    connector = HyperConnector::new();
                }
                let client = client_builder().build::<_, Full<Bytes>>(connector);
                let error = client.get(uri.parse().unwrap()).await.unwrap_err();
                error.source().expect("ours").to_string()
            };
            let text_of = text("https://localhost/").await;
            assert!(text_of.contains("HyperConnector::tls"), "{text_of}");
            let text_of = text("ftp://localhost/").await;
            assert!(text_of.contains("neither http nor https"), "{text_of}");

            // Nobody accepts there, and there is no room.
            let listener = TcpListener::builder().backlog(0).bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let full = std::net::TcpStream::connect(addr).unwrap();
            let text_of = text(&format!("http://{addr}/")).await;
            assert!(text_of.contains("not connected within 20ms"), "{text_of}");
            drop(full);
        });
    });
}

#[cfg(feature = "tls")]
#[test]
fn https_takes_http2_where_both_sides_offer_it() {
    use ringloop::tls::{TlsAcceptor, TlsConnector};

    use crate::tls_tools::pki;

    let identity = &pki().server;
    let acceptor = TlsAcceptor::builder().certificate_pem(&identity.chain, &identity.key);
    let acceptor = acceptor.alpn(["h2", "http/1.1"]).build().unwrap();
    let roots = || TlsConnector::builder().platform_roots(false).add_root_pem(&pki().root);
    let both = roots().alpn(["h2", "http/1.1"]).build().unwrap();
    let plain = roots().build().unwrap();
    on_every(|cfg| {
        cfg.once(async {
            let server = echo(HttpBuilder::new().tls(acceptor.clone()), "127.0.0.1").await;
            let uri = format!("https://localhost:{}/", server.local_addrs()[0].port());
            for (connector, version) in [(&both, "HTTP/2.0"), (&plain, "HTTP/1.1")] {
                let connector = HyperConnector::new().tls(connector.clone());
                let client = client_builder().build(connector);
                let response = client.request(post(uri.clone(), "x")).await.unwrap();
                let body = response.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(body, format!("{version} x"));
            }
        });
    });
}
