//! reqwest and async-nats, unmodified, in tasks of ringloop: with the whole runtime inside tokio's, and with one future.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt;
use harness::{Service, free_port, has, on_every, on_every_with};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use ringloop::{
    compat::{
        hyper::{HttpServer, serve},
        tokio::bridge,
    },
    spawn, time,
};

/// No limit that a test must not reach is shorter.
const LONG: Duration = Duration::from_secs(50);

/// A server of ours that answers with what it got, and `/never` never.
async fn echo() -> (HttpServer, String) {
    let service = service_fn(|request: Request<Incoming>| async {
        if request.uri().path() == "/never" {
            std::future::pending::<()>().await;
        }
        let body = request.into_body().collect().await?.to_bytes();
        Ok::<_, hyper::Error>(Response::new(Full::new(body)))
    });
    let server = serve("127.0.0.1:0", service).await.unwrap();
    let url = format!("http://{}", server.local_addrs()[0]);
    (server, url)
}

async fn post(client: &reqwest::Client, url: &str, body: String) -> Bytes {
    client.post(url).body(body).send().await.unwrap().bytes().await.unwrap()
}

#[test]
fn reqwest_in_every_task() {
    on_every_with(
        |builder| builder.tokio_bridge(),
        || async {
            let (server, url) = echo().await;
            let client = reqwest::Client::new();
            let tasks = (0..50).map(|number| {
                let (client, url) = (client.clone(), url.clone());
                spawn(async move {
                    let body = format!("{number} ").repeat(1 << (number % 16));
                    assert_eq!(post(&client, &url, body.clone()).await, body);
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                task.await.unwrap();
            }
            // A limit of reqwest's, by tokio's timers; one of ours, which drops the request.
            let never = || client.get(format!("{url}/never"));
            let error = never().timeout(Duration::from_millis(20)).send().await.unwrap_err();
            assert!(error.is_timeout(), "{error:?}");
            assert!(time::timeout(Duration::from_millis(20), never().send()).await.is_err());
            assert_eq!(post(&client, &url, "goes on".into()).await, "goes on");
            drop(client);
            server.drain(LONG).await;
        },
    );
}

#[test]
fn reqwest_in_one_future() {
    on_every(|| async {
        let (server, url) = echo().await;
        let answer = bridge(async {
            let client = reqwest::Client::new();
            post(&client, &url, "one".into()).await
        });
        assert_eq!(answer.await, "one");
        server.drain(LONG).await;
    });
}

/// A server, which can be ended and started again on its port.
fn nats(port: u16) -> Service {
    let mut command = Command::new("nats-server");
    command.args(["--addr", "127.0.0.1", "--port", &port.to_string()]);
    Service::start(&mut command, port)
}

#[test]
fn nats_moves_messages_and_answers() {
    if !has("nats-server") {
        return;
    }
    let port = free_port();
    let _server = nats(port);
    on_every_with(
        |builder| builder.tokio_bridge(),
        move || async move {
            let client = async_nats::connect(&format!("127.0.0.1:{port}")).await.unwrap();
            let mut numbers = client.subscribe("numbers").await.unwrap();
            let mut questions = client.subscribe("questions").await.unwrap();
            client.flush().await.unwrap();

            let other = async_nats::connect(&format!("127.0.0.1:{port}")).await.unwrap();
            let sending = spawn({
                let other = other.clone();
                async move {
                    for number in 0..10_000_u32 {
                        let payload = Bytes::copy_from_slice(&number.to_be_bytes());
                        other.publish("numbers", payload).await.unwrap();
                    }
                    other.flush().await.unwrap();
                }
            });
            for number in 0..10_000_u32 {
                let message = numbers.next().await.unwrap();
                assert_eq!(message.payload.as_ref(), number.to_be_bytes());
            }
            sending.await.unwrap();

            let answering = spawn({
                let client = client.clone();
                async move {
                    let question = questions.next().await.unwrap();
                    client.publish(question.reply.unwrap(), "42".into()).await.unwrap();
                    client.flush().await.unwrap();
                }
            });
            let answer = time::timeout(LONG, other.request("questions", "?".into())).await;
            assert_eq!(answer.unwrap().unwrap().payload, "42");
            answering.await.unwrap();
        },
    );
}

/// Goal: its own reconnecting, which is a task of tokio's with tokio's timers, works.
#[test]
fn nats_connects_again() {
    if !has("nats-server") {
        return;
    }
    on_every_with(
        |builder| builder.tokio_bridge(),
        || async {
            let port = free_port();
            let server = nats(port);
            let again = Arc::new(ringloop::sync::Event::new());
            let options = async_nats::ConnectOptions::new().event_callback({
                let (again, times) = (again.clone(), AtomicUsize::new(0));
                move |event| {
                    let connected = matches!(event, async_nats::Event::Connected);
                    if connected && times.fetch_add(1, Ordering::Relaxed) == 1 {
                        again.set();
                    }
                    async {}
                }
            });
            let client = options.connect(&format!("127.0.0.1:{port}")).await.unwrap();
            let mut hears = client.subscribe("news").await.unwrap();
            client.flush().await.unwrap();
            drop(server);
            let _server = ringloop::to_thread(move || nats(port)).await.unwrap();
            again.wait().await;
            client.publish("news", "later".into()).await.unwrap();
            assert_eq!(hears.next().await.unwrap().payload, "later");
        },
    );
}
