//! A chat over WebSocket. The first message of a client is its name, and each further one goes to all.
//!
//! ```text
//! cargo run --release -p tungstenite-on-ringloop --example chat -- 127.0.0.1:8080
//! websocat ws://127.0.0.1:8080/
//! ```
//!
//! A client that reads too slowly is sent away, and holds up no other. On SIGTERM each client gets a close frame.

use std::{io, net::SocketAddr, time::Duration};

use async_tungstenite::{
    accept_async_with_config,
    tungstenite::{
        Error, Message,
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};
use futures_util::StreamExt;
use ringloop::{
    CancelToken,
    net::{TcpListener, TcpStream},
    race, signal,
    sync::broadcast::{self, RecvError, Sender},
    task_group,
    time::timeout,
};

/// Clients at once: others wait in the kernel until one leaves.
const CLIENTS: usize = 10_000;
/// Lines by which a client may be behind.
const BEHIND: usize = 256;
/// Bytes of a message.
const MESSAGE: usize = 16 << 10;
/// Buffers of a connection: small ones, since most of them are idle.
const BUFFER: usize = 4 << 10;
/// How long a client may take for the handshake, for its name, and to say goodbye.
const PATIENCE: Duration = Duration::from_secs(10);

#[allow(dead_code, reason = "the tests have a `main` of their own")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addr = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".to_owned());
    Ok(ringloop::Builder::new().run(async {
        let stopped = race!(signal::ctrl_c(), signal::terminate());
        let listener = TcpListener::bind(addr).await?;
        println!("listening on {}", listener.local_addr()?);
        serve(listener, stopped).await
    })??)
}

/// Serves until `stopped` is ready, and then until all clients have left.
pub async fn serve(
    listener: TcpListener,
    stopped: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    let closing = CancelToken::new();
    let (room, _) = broadcast::channel(BEHIND);
    let group = task_group(async |group| {
        let few = group.with_limit(CLIENTS);
        let accepts = async {
            loop {
                let (stream, peer) = listener.accept().await?;
                few.spawn(client(stream, peer, room.clone(), closing.clone())).await.detach();
            }
        };
        let ended = race!(stopped, accepts).await;
        // The group waits for the clients, each of which has its own limits in time.
        closing.cancel_with("the chat ends");
        ended
    });
    group.await.map_err(io::Error::other)?
}

async fn client(stream: TcpStream, peer: SocketAddr, room: Sender<String>, closing: CancelToken) {
    match talk(stream, room, closing).await {
        Ok(()) | Err(Error::ConnectionClosed) => {}
        Err(error) => eprintln!("chat: {peer}: {error}"),
    }
}

async fn talk(stream: TcpStream, room: Sender<String>, closing: CancelToken) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let mut config = WebSocketConfig::default();
    (config.max_message_size, config.max_frame_size) = (Some(MESSAGE), Some(MESSAGE));
    (config.read_buffer_size, config.write_buffer_size) = (BUFFER, BUFFER);
    config.max_write_buffer_size = BUFFER + 2 * MESSAGE;
    let handshake = accept_async_with_config(stream, Some(config));
    let socket = timeout(PATIENCE, handshake).await.map_err(io::Error::from)??;
    let (mut send, mut receive) = socket.split();

    let first = async {
        while let Some(message) = receive.next().await {
            if let Message::Text(name) = message? {
                return Ok(name);
            }
        }
        Err(Error::ConnectionClosed)
    };
    let name = timeout(PATIENCE, first).await.map_err(io::Error::from)??;
    // From here on it hears, itself as well.
    let mut heard = room.subscribe();
    let _ = room.send(format!("{name} is here"));

    let speaks = async {
        while let Some(message) = receive.next().await {
            match message? {
                // There is one that hears: this client.
                Message::Text(text) => drop(room.send(format!("{name}: {text}"))),
                Message::Close(_) => break,
                _ => {}
            }
        }
        Ok((CloseCode::Normal, "goodbye"))
    };
    let hears = async {
        loop {
            match heard.recv().await {
                Ok(line) => send.send(Message::text(line)).await?,
                Err(RecvError::Lagged(_)) => return Ok((CloseCode::Policy, "too slow")),
                Err(_closed) => return Ok((CloseCode::Away, "the chat ends")),
            }
        }
    };
    let ends = async {
        closing.cancelled().await;
        Ok((CloseCode::Away, "the chat ends"))
    };
    let ended: Result<_, Error> = race!(speaks, hears, ends).await;
    let _ = room.send(format!("{name} has left"));
    let (code, reason) = ended?;
    let goodbye = async {
        let frame = CloseFrame { code, reason: reason.into() };
        send.send(Message::Close(Some(frame))).await?;
        // Until the peer has answered it.
        while receive.next().await.transpose()?.is_some() {}
        Ok(())
    };
    timeout(PATIENCE, goodbye).await.map_err(io::Error::from)?
}
