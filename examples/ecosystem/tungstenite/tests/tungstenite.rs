//! WebSockets: each crate's server by the other's client.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use harness::on_every;
use ringloop::{
    Task,
    net::{TcpListener, TcpStream},
    spawn,
};
use tokio_tungstenite::tungstenite::Message;

const LARGE: usize = 1 << 20;

/// The address of a listener, of which `$talk` gets the first connection.
macro_rules! listening {
    ($accept:path) => {{
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let server = spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (mut send, mut receive) = $accept(stream).await.unwrap().split();
            while let Some(message) = receive.next().await {
                match message.unwrap() {
                    text @ Message::Text(_) => send.send(text).await.unwrap(),
                    bytes @ Message::Binary(_) => send.send(bytes).await.unwrap(),
                    _ => {}
                }
            }
        });
        (addr, server)
    }};
}

/// What `connect_async` would do.
async fn connect(addr: SocketAddr) -> (String, TcpStream) {
    let stream = TcpStream::connect(addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    (format!("ws://{addr}/"), stream)
}

macro_rules! talk {
    ($client:path, $addr:expr, $server:expr) => {{
        let (addr, server): (SocketAddr, Task<()>) = ($addr, $server);
        let (url, stream) = connect(addr).await;
        let (socket, response) = $client(url, stream).await.unwrap();
        assert_eq!(response.status(), 101);
        let (mut send, mut receive) = socket.split();
        let large: Vec<u8> = (0..LARGE).map(|i| (i % 251) as u8).collect();
        // Both ways at once: a half that reads answers pings by the other.
        let says = async {
            for number in 0..50 {
                send.send(Message::text(number.to_string())).await.unwrap();
            }
            send.send(Message::binary(large.clone())).await.unwrap();
            send
        };
        let hears = async {
            for number in 0..50 {
                let message = receive.next().await.unwrap().unwrap();
                assert_eq!(message, Message::text(number.to_string()));
            }
            assert_eq!(receive.next().await.unwrap().unwrap(), Message::binary(large.clone()));
            receive
        };
        let (mut send, mut receive) = futures_util::join!(says, hears);
        send.send(Message::Close(None)).await.unwrap();
        while let Some(Ok(_)) = receive.next().await {}
        server.await.unwrap();
    }};
}

#[test]
fn over_the_traits_of_futures_io() {
    on_every(|| async {
        let (addr, server) = listening!(async_tungstenite::accept_async);
        talk!(async_tungstenite::client_async, addr, server);
    });
}

#[test]
fn over_the_traits_of_tokio() {
    on_every(|| async {
        let (addr, server) = listening!(tokio_tungstenite::accept_async);
        talk!(tokio_tungstenite::client_async, addr, server);
    });
}

#[test]
fn one_crate_talks_to_the_other() {
    on_every(|| async {
        let there = async {
            let (addr, server) = listening!(tokio_tungstenite::accept_async);
            talk!(async_tungstenite::client_async, addr, server);
        };
        let back = async {
            let (addr, server) = listening!(async_tungstenite::accept_async);
            talk!(tokio_tungstenite::client_async, addr, server);
        };
        futures_util::join!(there, back);
    });
}
