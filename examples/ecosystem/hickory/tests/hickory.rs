//! Names by hickory-resolver over ringloop's sockets, from a server of our own.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use harness::on_every;
use hickory_on_ringloop::{Lookups, RingloopProvider};
use hickory_resolver::{
    Resolver,
    config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig},
};
use ringloop::{
    Builder, gather,
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket, lookup_host},
    spawn,
};

/// The answer of the server to a query; `None` is none. By UDP `large` comes cut off, and the first query for `lost`
/// gets lost.
fn answer(query: &[u8], by_udp: bool, seen: &Mutex<HashSet<String>>) -> Option<Vec<u8>> {
    let mut at = 12;
    let mut labels = Vec::new();
    while query[at] > 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8(query[at + 1..end].to_vec()).unwrap().to_lowercase());
        at = end;
    }
    let kind = query[at + 2];
    let question = &query[12..at + 5];
    let name = labels[0].as_str();
    if name == "lost" && seen.lock().unwrap().insert(format!("{name} {kind}")) {
        return None;
    }
    let cut = by_udp && name == "large";
    let count: u8 = match (name, kind) {
        ("missing", _) => 0,
        // The type of an address of IPv4.
        (_, 1) if !cut => {
            if name == "large" {
                100
            } else {
                1
            }
        }
        _ => 0,
    };
    let mut reply = query[..2].to_vec();
    let code = if name == "missing" { 3 } else { 0 };
    reply.extend([0x81 | if cut { 2 } else { 0 }, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0]);
    reply.extend(question);
    for last in 0..count {
        reply.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 1, 2, last]);
    }
    Some(reply)
}

/// A server by UDP and by TCP on one port.
async fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let socket = UdpSocket::bind(addr).await.unwrap();
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let all = seen.clone();
    spawn(async move {
        let mut buf = [0; 1500];
        loop {
            let (len, peer) = socket.recv_from(&mut buf).await.unwrap();
            if let Some(reply) = answer(&buf[..len], true, &all) {
                socket.send_to(&reply, peer).await.unwrap();
            }
        }
    })
    .detach();
    spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let seen = seen.clone();
            spawn(async move {
                let mut len = [0; 2];
                while stream.read_exact(&mut len).await.is_ok() {
                    let mut query = vec![0; usize::from(u16::from_be_bytes(len))];
                    stream.read_exact(&mut query).await.unwrap();
                    let reply = answer(&query, false, &seen).unwrap();
                    let len = u16::try_from(reply.len()).unwrap().to_be_bytes();
                    stream.write_all(&[&len[..], &reply].concat()).await.unwrap();
                }
            })
            .detach();
        }
    })
    .detach();
    addr
}

fn resolver(server: SocketAddr) -> Resolver<RingloopProvider> {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut it| {
        it.port = server.port();
        it
    });
    let server = NameServerConfig::new(server.ip(), true, connections.into());
    let config = ResolverConfig::from_name_servers(vec![server]);
    let mut builder = Resolver::builder_with_config(config, RingloopProvider);
    builder.options_mut().timeout = Duration::from_millis(100);
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4Only;
    builder.build().unwrap()
}

#[test]
fn names_are_found_by_udp_and_by_tcp() {
    on_every(|| async {
        let resolver = resolver(serve().await);
        let ask = async |name: &str| {
            let found = resolver.lookup_ip(name).await.map_err(|error| error.to_string())?;
            Ok::<Vec<IpAddr>, String>(found.iter().collect())
        };
        let one = ask("one.test.").await.unwrap();
        assert_eq!(one, [IpAddr::from([10, 1, 2, 0])]);
        // A datagram that was lost is sent again when the time is up.
        assert_eq!(ask("lost.test.").await.unwrap(), one);
        // An answer that is too large for a datagram comes by TCP.
        assert_eq!(ask("large.test.").await.unwrap().len(), 100);
        ask("missing.test.").await.unwrap_err();
        gather((0..50).map(|number| {
            let (ask, one) = (&ask, &one);
            async move { assert_eq!(ask(&format!("name-{number}.test.")).await.unwrap(), *one) }
        }))
        .await;
    });
}

#[test]
fn the_whole_program_may_ask_by_it() {
    // The runtime is made before the server: a resolver needs none to be made.
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = free.local_addr().unwrap();
    let asking = std::thread::spawn(move || {
        let mut buf = [0; 1500];
        let seen = Mutex::new(HashSet::new());
        let (len, peer) = free.recv_from(&mut buf).unwrap();
        free.send_to(&answer(&buf[..len], true, &seen).unwrap(), peer).unwrap();
    });
    let lookups = Lookups::new(resolver(addr));
    let found =
        Builder::new().resolver(lookups).run(async { lookup_host("db.test.:5432").await.unwrap() });
    assert_eq!(found.unwrap(), ["10.1.2.0:5432".parse().unwrap()]);
    asking.join().unwrap();
}
