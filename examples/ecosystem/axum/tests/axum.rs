//! A service of axum's on ringloop, by curl and by tungstenite's own client.

use std::{convert::Infallible, net::SocketAddr, process::Command, thread, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    response::Sse,
    routing::{get, post},
};
use axum_on_ringloop::{
    sse::keep_alive,
    ws::{Message, WebSocketUpgrade},
};
use futures_util::{SinkExt, StreamExt, stream};
use harness::{has, on_every};
use ringloop::{
    compat::hyper::{HttpServer, serve_tower},
    time, to_thread,
};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Factors {
    by: u64,
}

#[derive(Serialize, Deserialize)]
struct Order {
    item: String,
    count: u64,
}

fn router() -> Router {
    Router::new()
        .route(
            "/hello/{name}",
            get(|Path(name): Path<String>| async move { format!("hello {name}") }),
        )
        .route("/times/{n}", get(times))
        .route("/order", post(order))
        .route("/events", get(events))
        .route("/chat", get(|ws: WebSocketUpgrade| async { ws.on_upgrade(chat) }))
        .with_state(7)
}

async fn times(
    Path(n): Path<u64>,
    Query(factors): Query<Factors>,
    State(plus): State<u64>,
) -> String {
    (n * factors.by + plus).to_string()
}

async fn order(Json(order): Json<Order>) -> Result<Json<Order>, StatusCode> {
    if order.count == 0 {
        return Err(StatusCode::UNPROCESSABLE_ENTITY);
    }
    Ok(Json(Order { count: order.count + 1, ..order }))
}

/// Two events, with silence between them.
async fn events() -> Sse<impl stream::Stream<Item = Result<axum::response::sse::Event, Infallible>>>
{
    let events = stream::iter(["first", "second"]).then(|text| async move {
        if text == "second" {
            time::sleep(Duration::from_millis(50)).await;
        }
        Ok(axum::response::sse::Event::default().data(text))
    });
    Sse::new(keep_alive(events, Duration::from_millis(10)))
}

async fn chat(socket: axum_on_ringloop::ws::WebSocket) {
    let (mut send, mut messages) = socket.split();
    while let Some(Ok(message)) = messages.next().await {
        let answer = match message {
            Message::Text(text) => Message::text(text.to_uppercase()),
            Message::Binary(bytes) => Message::Binary(bytes),
            _ => continue,
        };
        if send.send(answer).await.is_err() {
            return;
        }
    }
}

/// Runs what blocks, against a server.
async fn against(test: impl FnOnce(SocketAddr) + Send + 'static) {
    let server: HttpServer = serve_tower("127.0.0.1:0", router()).await.unwrap();
    let addr = server.local_addrs()[0];
    to_thread(move || test(addr)).await.unwrap();
    let drained = server.drain(Duration::from_secs(20)).await;
    assert_eq!((drained.cancelled, drained.aborted), (0, 0));
}

fn curl(args: &[&str], url: String) -> String {
    let mut curl = Command::new("curl");
    let output =
        curl.args(["--silent", "--show-error", "--max-time", "20"]).args(args).arg(url).output();
    let output = output.expect("curl starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn routes_answer_curl_by_both_versions_of_http() {
    if !has("curl") {
        return;
    }
    on_every(|| {
        against(|addr| {
            for version in ["--http1.1", "--http2-prior-knowledge"] {
                let get = |path: &str| curl(&[version], format!("http://{addr}{path}"));
                assert_eq!(get("/hello/Ada"), "hello Ada");
                assert_eq!(get("/times/6?by=7"), "49");
                let post = |body: &str| {
                    let json = "content-type: application/json";
                    let status = "\n%{http_code}";
                    let args = [version, "--json", body, "--header", json, "--write-out", status];
                    curl(&args, format!("http://{addr}/order"))
                };
                assert_eq!(
                    post(r#"{"item":"tea","count":2}"#),
                    "{\"item\":\"tea\",\"count\":3}\n200"
                );
                assert!(post(r#"{"item":"tea","count":0}"#).ends_with("422"));
                assert!(post(r#"{"item":"tea""#).ends_with("400"));
            }
        })
    });
}

#[test]
fn events_come_with_comments_between_them() {
    if !has("curl") {
        return;
    }
    on_every(|| {
        against(|addr| {
            let text = curl(&["--no-buffer"], format!("http://{addr}/events"));
            let events: Vec<_> = text.split("\n\n").filter(|event| !event.is_empty()).collect();
            let (first, last) = (events[0], events[events.len() - 1]);
            assert_eq!((first, last), ("data: first", "data: second"));
            let between = &events[1..events.len() - 1];
            assert!(
                !between.is_empty() && between.iter().all(|event| event.trim() == ":"),
                "{text:?}"
            );
        })
    });
}

#[test]
fn a_websocket_talks_to_tungstenites_client() {
    on_every(|| {
        against(|addr| {
            let clients = (0..4).map(|_| {
                thread::spawn(move || {
                    let (mut socket, _) =
                        tungstenite::connect(format!("ws://{addr}/chat")).unwrap();
                    // Larger than the buffers.
                    let large = Message::binary(vec![3; 1 << 20]);
                    for _ in 0..3 {
                        socket.send(Message::text("quiet")).unwrap();
                        assert_eq!(socket.read().unwrap(), Message::text("QUIET"));
                        socket.send(large.clone()).unwrap();
                        assert_eq!(socket.read().unwrap(), large);
                    }
                    socket.send(Message::Ping("?".into())).unwrap();
                    assert_eq!(socket.read().unwrap(), Message::Pong("?".into()));
                    socket.close(None).unwrap();
                    while socket.read().is_ok() {}
                })
            });
            clients.collect::<Vec<_>>().into_iter().for_each(|client| client.join().unwrap());
        })
    });
}

#[test]
fn what_is_no_websocket_is_refused() {
    if !has("curl") {
        return;
    }
    on_every(|| {
        against(|addr| {
            let status = ["--output", "/dev/null", "--write-out", "%{http_code}"];
            assert_eq!(curl(&status, format!("http://{addr}/chat")), "426");
        })
    });
}
