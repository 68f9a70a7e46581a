//! A process that is killed while everything is in use, and its successor.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream as Client};
use std::time::Duration;

use ringloop::io::AsyncWriteExt;
use ringloop::net::TcpListener;
use ringloop::spawn;

use crate::harness::{BACKENDS, Cfg, on_every, scaled};
use crate::processes::{Helper, listen, say};

/// Serves on an address, with operations of every kind in flight: connections of which some wait
/// for bytes, some send more than fits, and some are accepted and not read.
pub fn busy_role(args: &[String]) {
    let [backend, workers, address] = args else { panic!("backend, workers, address: {args:?}") };
    let case = BACKENDS.iter().find(|case| case.name == backend).expect("a backend of the list");
    let builder = case.builder(workers.parse().unwrap());
    let address: SocketAddr = address.parse().unwrap();
    let ran = builder.run(async move {
        let listener = TcpListener::bind(address).await.unwrap_or_else(|error| panic!("{error}"));
        say(&listener.local_addr().unwrap().to_string());
        drop(spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                drop(spawn(async move {
                    loop {
                        let lease = stream.read_lease().await.unwrap();
                        match lease.first() {
                            None => break,
                            Some(b'!') => stream.write_all(&vec![1; 4 << 20]).await.unwrap(),
                            Some(_) => stream.write_lease(lease).await.unwrap(),
                        }
                    }
                }));
            }
        }));
        drop(spawn(ringloop::time::sleep(Duration::from_secs(1000))));
        // Until it is killed.
        let _ = ringloop::to_thread(listen).await;
    });
    ran.unwrap();
}

#[test]
fn killed_process_leaves_its_port_to_the_next() {
    // Goal: test 55; method: a service with busy rings is killed by SIGKILL, reaped, and started
    // again on the same port, several times; each one serves, and the clients of the last see its
    // end.
    on_every(|cfg| {
        let mut address: SocketAddr = "127.0.0.1:0".parse().unwrap();
        for _ in 0..scaled(4) {
            let mut server = start(cfg, address);
            address = server.hear().parse().unwrap();
            let clients: Vec<Client> = (0..20)
                .map(|index| {
                    let mut client = Client::connect(address).unwrap();
                    if index % 4 != 0 {
                        client.write_all(b"hello").unwrap();
                        client.read_exact(&mut [0; 5]).unwrap();
                    }
                    if index % 4 == 2 {
                        // The answer fills all buffers, and the client reads no more of it.
                        client.write_all(b"!").unwrap();
                        client.read_exact(&mut [0]).unwrap();
                    }
                    client
                })
                .collect();
            // The drop kills and reaps it.
            drop(server);
            let mut next = start(cfg, address);
            assert_eq!(next.hear().parse(), Ok(address));
            let mut client = Client::connect(address).unwrap();
            client.write_all(b"again").unwrap();
            let mut back = [0; 5];
            client.read_exact(&mut back).unwrap();
            assert_eq!(&back, b"again");
            for mut client in clients {
                // The end or a reset, after the bytes that were on their way.
                let mut rest = Vec::new();
                let _ = client.read_to_end(&mut rest);
                assert!(rest.iter().all(|byte| *byte == 1));
            }
        }
    });
}

fn start(cfg: &Cfg, address: SocketAddr) -> Helper {
    Helper::start("busy", &[cfg.backend().into(), cfg.workers.to_string(), address.to_string()])
}
