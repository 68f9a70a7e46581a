//! QUIC by quinn over ringloop's sockets: both sides, on every backend.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use harness::on_every;
use quinn::{ClientConfig, Connection, Endpoint, ServerConfig};
use quinn_on_ringloop::{client, server};
use ringloop::{gather, spawn, time};
use rustls::{RootCertStore, pki_types::PrivatePkcs8KeyDer};

const MIB: usize = 1 << 20;

/// For how long neither side may hear of the other, where a test sets it.
const IDLE: Duration = Duration::from_secs(1);

fn configs(idle: Option<Duration>) -> (ServerConfig, ClientConfig) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
    let certificate = made.cert.der().clone();
    let server = ServerConfig::with_single_cert(vec![certificate.clone()], key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let mut client = ClientConfig::with_root_certificates(Arc::new(roots)).unwrap();
    if let Some(idle) = idle {
        let mut transport = quinn::TransportConfig::default();
        transport.max_idle_timeout(Some(idle.try_into().unwrap()));
        transport.keep_alive_interval(Some(idle / 10));
        client.transport_config(Arc::new(transport));
    }
    (server, client)
}

/// A server that sends streams and datagrams back, and a client.
fn pair(host: &str, idle: Option<Duration>) -> (Endpoint, Endpoint) {
    let any: SocketAddr = format!("{host}:0").parse().unwrap();
    let (server_config, client_config) = configs(idle);
    let server = server(server_config, any).unwrap();
    let mut client = client(any).unwrap();
    client.set_default_client_config(client_config);
    let accepting = server.clone();
    spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            spawn(async move { echo(incoming.await.unwrap()).await }).detach();
        }
    })
    .detach();
    (server, client)
}

async fn echo(connection: Connection) {
    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
        spawn(async move {
            while let Some(chunk) = receive.read_chunk(usize::MAX, true).await.unwrap() {
                send.write_chunk(chunk.bytes).await.unwrap();
            }
            send.finish().unwrap();
            let _ = send.stopped().await;
        })
        .detach();
    }
}

async fn send_and_receive(connection: &Connection, body: &[u8]) {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    let write = async {
        send.write_all(body).await.unwrap();
        send.finish().unwrap();
    };
    let read = async { receive.read_to_end(2 * MIB).await.unwrap() };
    let ((), back) = futures_util::join!(write, read);
    assert!(back == body, "{} bytes came back of {}", back.len(), body.len());
}

async fn end(server: Endpoint, client: Endpoint) {
    client.close(0u32.into(), b"done");
    client.wait_idle().await;
    server.close(0u32.into(), b"done");
    server.wait_idle().await;
}

#[test]
fn a_mebibyte_goes_both_ways_at_once() {
    on_every(|| async {
        for host in ["127.0.0.1", "[::1]"] {
            let (server, client) = pair(host, None);
            let addr = server.local_addr().unwrap();
            let connection = client.connect(addr, "localhost").unwrap().await.unwrap();
            let body: Vec<_> = (0..MIB).map(|i| (i % 251) as u8).collect();
            send_and_receive(&connection, &body).await;
            let stats = connection.stats();
            // Segments and groups: many datagrams by each call.
            assert!(stats.udp_tx.datagrams > 2 * stats.udp_tx.ios, "{:?}", stats.udp_tx);
            end(server, client).await;
        }
    });
}

#[test]
fn many_connections_share_a_socket() {
    on_every(|| async {
        let (server, client) = pair("127.0.0.1", None);
        let addr = server.local_addr().unwrap();
        gather((0..8).map(|number| {
            let connecting = client.connect(addr, "localhost").unwrap();
            async move {
                let connection = connecting.await.unwrap();
                let body = vec![number; 100_000];
                gather((0..4).map(|_| send_and_receive(&connection, &body))).await;
            }
        }))
        .await;
        end(server, client).await;
    });
}

#[test]
fn a_server_that_is_not_there_is_given_up_by_the_timer() {
    on_every(|| async {
        let (server, client) = pair("127.0.0.1", Some(IDLE));
        // Bound, and silent.
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = silent.local_addr().unwrap();
        let connecting = client.connect(addr, "localhost").unwrap();
        let outcome = time::timeout(Duration::from_secs(20), connecting).await.unwrap();
        assert_eq!(outcome.unwrap_err(), quinn::ConnectionError::TimedOut);
        end(server, client).await;
    });
}

#[test]
fn a_silent_connection_is_kept_alive_by_the_timer() {
    on_every(|| async {
        let (server, client) = pair("127.0.0.1", Some(IDLE));
        let addr = server.local_addr().unwrap();
        let connection = client.connect(addr, "localhost").unwrap().await.unwrap();
        time::sleep(IDLE * 2).await;
        send_and_receive(&connection, b"still here").await;
        end(server, client).await;
    });
}
