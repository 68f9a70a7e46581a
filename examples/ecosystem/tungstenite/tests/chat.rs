//! The example `chat`, by clients of tokio-tungstenite.

use std::{io, net::SocketAddr};

use futures_util::{SinkExt, StreamExt};
use harness::on_every;
use ringloop::{
    net::{TcpListener, TcpStream},
    spawn,
    sync::oneshot,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, protocol::frame::coding::CloseCode},
};

#[path = "../examples/chat.rs"]
mod chat;

type Client = WebSocketStream<TcpStream>;

async fn enter(addr: SocketAddr, name: &str) -> Client {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (mut client, _) = client_async(format!("ws://{addr}/"), stream).await.unwrap();
    client.send(Message::text(name.to_owned())).await.unwrap();
    hears(&mut client, &format!("{name} is here")).await;
    client
}

async fn hears(client: &mut Client, line: &str) {
    assert_eq!(client.next().await.unwrap().unwrap(), Message::text(line.to_owned()));
}

#[test]
fn all_hear_each_line_and_a_stop_closes_in_order() {
    on_every(|| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::<()>();
        let serving =
            spawn(chat::serve(listener, async { stopped.await.map_err(io::Error::other) }));

        let mut ada = enter(addr, "Ada").await;
        let mut bob = enter(addr, "Bob").await;
        hears(&mut ada, "Bob is here").await;
        for number in 0..20 {
            ada.send(Message::text(number.to_string())).await.unwrap();
            let line = format!("Ada: {number}");
            hears(&mut ada, &line).await;
            hears(&mut bob, &line).await;
        }
        // One leaves by itself, and the server answers its close frame.
        let mut eve = enter(addr, "Eve").await;
        hears(&mut ada, "Eve is here").await;
        hears(&mut bob, "Eve is here").await;
        eve.close(None).await.unwrap();
        while let Some(Ok(_)) = eve.next().await {}
        hears(&mut ada, "Eve has left").await;
        hears(&mut bob, "Eve has left").await;

        stop.set(()).unwrap();
        for mut client in [ada, bob] {
            // A line that says that the other has left may come before.
            let frame = loop {
                match client.next().await.unwrap().unwrap() {
                    Message::Close(frame) => break frame.unwrap(),
                    Message::Text(text) => assert!(text.ends_with(" has left"), "{text}"),
                    other => panic!("{other:?}"),
                }
            };
            assert_eq!((frame.code, frame.reason.as_str()), (CloseCode::Away, "the chat ends"));
            while let Some(Ok(_)) = client.next().await {}
        }
        serving.await.unwrap().unwrap();
    });
}
