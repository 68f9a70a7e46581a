//! A relay for datagrams: each client has a socket of its own towards the server, so that answers find their way back.
//!
//! ```text
//! cargo run --release --example udp_relay -- --to 127.0.0.1:9000
//! ```
//!
//! A client that was silent for a while, in both directions, is forgotten. A datagram that finds no room is dropped and
//! counted, as the network would drop it.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ringloop::{TryGroup, net::UdpSocket, race, signal, time::timeout, try_task_group};

use common::{Failure, Options, parse};

#[allow(dead_code, reason = "other examples use the rest")]
#[path = "common/mod.rs"]
mod common;

/// Clients at once, each of which costs a descriptor.
const CLIENTS: usize = 1000;
/// The largest datagram there is.
const LARGEST: usize = 65_535;

fn main() -> ExitCode {
    common::exit(
        "udp_relay",
        "\n    --to IP:PORT                 the server (default: 127.0.0.1:9000)\
         \n    --idle SECONDS               until a silent client is forgotten (default: 60)",
        run(),
    )
}

fn run() -> Result<(), Failure> {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
    let mut to = SocketAddr::from((Ipv4Addr::LOCALHOST, 9000));
    let mut idle = 60;
    let options = Options::from_command_line(default, |name, value| {
        match name {
            "--to" => to = parse(name, value)?,
            "--idle" => idle = parse::<std::num::NonZero<u64>>(name, value)?.get(),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    options.builder().run(serve(&options, to, Duration::from_secs(idle)))?
}

struct Relay {
    /// Where the clients send to.
    front: UdpSocket,
    to: SocketAddr,
    idle: Duration,
    clients: Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>,
    forwarded: AtomicU64,
    dropped: AtomicU64,
}

async fn serve(options: &Options, to: SocketAddr, idle: Duration) -> Result<(), Failure> {
    let stopped = race!(signal::ctrl_c(), signal::terminate());
    let relay = Arc::new(Relay {
        front: UdpSocket::bind(options.addr).await?,
        to,
        idle,
        clients: Mutex::default(),
        forwarded: AtomicU64::new(0),
        dropped: AtomicU64::new(0),
    });
    println!("listening on {}", relay.front.local_addr()?);
    let shared = relay.clone();
    // The tasks of all clients are in the group. The race ends it with them once a stop is asked for.
    let forwarding = try_task_group(async move |group| forward(&group, shared).await);
    let forwarding = async { forwarding.await.map_err(io::Error::other) };
    race!(stopped, forwarding).await?;
    let (forwarded, dropped) = (&relay.forwarded, &relay.dropped);
    println!(
        "datagrams forwarded: {}, dropped: {}",
        forwarded.load(Ordering::Relaxed),
        dropped.load(Ordering::Relaxed)
    );
    Ok(())
}

/// From the clients to the server.
async fn forward(group: &TryGroup<io::Error>, relay: Arc<Relay>) -> io::Result<()> {
    let mut buf = vec![0; LARGEST];
    loop {
        let (len, client) = relay.front.recv_from(&mut buf).await?;
        let known = relay.clients.lock().expect("no holder panics").get(&client).cloned();
        let back = match known {
            Some(back) => back,
            None => match enter(group, &relay, client).await {
                Ok(back) => back,
                Err(error) => {
                    eprintln!("udp_relay: {client} is refused: {error}");
                    relay.count(false);
                    continue;
                }
            },
        };
        relay.count(back.try_send(&buf[..len]).is_ok());
    }
}

/// A socket for a client, and the task that brings the answers back.
async fn enter(
    group: &TryGroup<io::Error>,
    relay: &Arc<Relay>,
    client: SocketAddr,
) -> io::Result<Arc<UdpSocket>> {
    if relay.clients.lock().expect("no holder panics").len() >= CLIENTS {
        return Err(io::Error::other(format!("there are {CLIENTS} clients already")));
    }
    let any = if relay.to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(relay.to).await?;
    let socket = Arc::new(socket);
    relay.clients.lock().expect("no holder panics").insert(client, socket.clone());
    group.spawn(bring_back(relay.clone(), client, socket.clone())).detach();
    Ok(socket)
}

/// From the server to one client, until both are silent.
async fn bring_back(
    relay: Arc<Relay>,
    client: SocketAddr,
    socket: Arc<UdpSocket>,
) -> io::Result<()> {
    let mut buf = vec![0; LARGEST];
    loop {
        match timeout(relay.idle, socket.recv(&mut buf)).await {
            Ok(Ok(len)) => relay.count(relay.front.try_send_to(&buf[..len], client).is_ok()),
            // The server's port is closed, for now: the client finds no answer, as without a relay.
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Ok(Err(error)) => {
                eprintln!("udp_relay: {client}: {error}");
                break;
            }
            Err(_elapsed) => break,
        }
    }
    relay.clients.lock().expect("no holder panics").remove(&client);
    Ok(())
}

impl Relay {
    fn count(&self, forwarded: bool) {
        let counter = if forwarded { &self.forwarded } else { &self.dropped };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
