//! Parts of hyper's world that are ours: tasks in a group, and bodies that are whole or an error.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use ringloop::compat::hyper::{
    HttpBuilder, HttpServer, HyperConnector, HyperExecutor, HyperTimer, client_builder,
    client_builder_in, guarded,
};
use ringloop::net::{Server, TcpStream};
use ringloop::{spawn, task_group};

use crate::harness::{ErrorLog, Kind, deliberate, on_every};

/// No limit that a test must not reach is shorter.
const LONG: Duration = Duration::from_secs(50);

/// Answers at once, and `/never` never.
async fn server() -> HttpServer {
    let service = service_fn(|request: Request<Incoming>| async move {
        if request.uri().path() == "/never" {
            std::future::pending::<()>().await;
        }
        Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from("here"))))
    });
    let listeners = Server::builder().listen("127.0.0.1:0").await.unwrap();
    HttpBuilder::new().serve_on(listeners, service).unwrap()
}

/// Goal: the tasks that hyper has beside an HTTP/2 connection end with the group, though handles of the client are left.
#[test]
fn a_cancelled_group_closes_an_http2_client() {
    on_every(|cfg| {
        cfg.once(async {
            let server = server().await;
            let addr = server.local_addrs()[0];
            let get = move |path: &str| {
                Request::get(format!("http://{addr}{path}")).body(Empty::<Bytes>::new()).unwrap()
            };
            let (sent, mut pool) = (Box::pin(get), None);
            task_group(async |group| {
                let stream = TcpStream::connect(addr).await.unwrap();
                let (mut sender, connection) = http2::Builder::new(HyperExecutor::in_group(&group))
                    .timer(HyperTimer)
                    .handshake::<_, Empty<Bytes>>(stream)
                    .await
                    .unwrap();
                group.spawn(async move { drop(connection.await) }).detach();
                assert_eq!(sender.send_request(sent("/")).await.unwrap().status(), 200);

                let client = client_builder_in(&group)
                    .http2_only(true)
                    .build::<_, Empty<Bytes>>(HyperConnector::new());
                assert_eq!(client.request(sent("/")).await.unwrap().status(), 200);
                let waits = spawn({
                    let (client, request) = (client.clone(), sent("/never"));
                    async move { client.request(request).await }
                });
                while server.server().connections() < 2 {
                    ringloop::yield_now().await;
                }
                pool = Some((client, sender, waits));
                group.cancel();
            })
            .await
            .unwrap();
            let (client, mut sender, waits) = pool.unwrap();
            assert!(waits.await.unwrap().is_err(), "its connection is gone");
            assert!(sender.send_request(sent("/")).await.is_err());
            // Handles are left, and yet the connections are closed.
            assert_eq!(server.drain(LONG).await.cancelled, 0);
            drop((client, sender));
        });
    });
}

/// Goal: a peer has an error where what makes the body has failed, and all of it where it has not; by HTTP/1 and HTTP/2.
#[test]
fn a_guarded_body_is_whole_or_an_error() {
    on_every(|cfg| {
        let log = ErrorLog::default();
        cfg.once_with(&log, async {
            let service = service_fn(|request: Request<Incoming>| async move {
                let (mut sender, body) = Channel::<Bytes>::new(4);
                let (guard, body) = guarded(body);
                assert!(!body.is_end_stream());
                let path = request.uri().path().to_owned();
                spawn(async move {
                    for _ in 0..20 {
                        sender.send_data(Bytes::from_static(b"0123456789")).await.unwrap();
                    }
                    match path.as_str() {
                        "/whole" => guard.finish(),
                        // The end of the sender comes first.
                        "/late" => {
                            drop(sender);
                            for _ in 0..3 {
                                ringloop::yield_now().await;
                            }
                            guard.finish();
                        }
                        "/cut" => {}
                        _ => deliberate("as the work fails"),
                    }
                })
                .detach();
                Ok::<_, hyper::Error>(Response::new(body))
            });
            let listeners = Server::builder().listen("127.0.0.1:0").await.unwrap();
            let server = HttpBuilder::new().serve_on(listeners, service).unwrap();
            let addr = server.local_addrs()[0];
            for http2 in [false, true] {
                let client = client_builder()
                    .http2_only(http2)
                    .build::<_, Empty<Bytes>>(HyperConnector::new());
                for (path, whole) in
                    [("/whole", true), ("/late", true), ("/cut", false), ("/panics", false)]
                {
                    let uri = format!("http://{addr}{path}").parse().unwrap();
                    let body = client.get(uri).await.unwrap().into_body();
                    let body = body.collect().await.map(|all| all.to_bytes().len());
                    match whole {
                        true => assert_eq!(body.unwrap(), 200, "{path}"),
                        false => assert!(body.is_err(), "{path} looks whole"),
                    }
                }
            }
            let _ = server.drain(LONG).await;
        });
        assert_eq!(log.take(Kind::Panic).len(), 2);
    });
}
