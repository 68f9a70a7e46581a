//! Many connections at once, with the clients in a process of their own.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use ringloop::io::AsyncWriteExt;
use ringloop::net::TcpListener;
use ringloop::spawn;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::harness::{loud, on_every_within, scale, wait_until};
use crate::measure::open_fds;
use crate::processes::{Helper, isolated, listen, say};
use crate::tools::Count;

/// Raises the soft limit on descriptors to the hard one and returns it.
pub fn raise_descriptor_limit() -> usize {
    let limits = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, ..limits }).unwrap();
    limits.maximum.unwrap_or(u64::MAX) as usize
}

/// Helper process: `crowd ADDRESS N ROUNDS` opens N connections, prints "connected", makes ROUNDS
/// echoes on each, prints "echoed", and closes them all on a line of input.
pub fn crowd_role(args: &[String]) {
    raise_descriptor_limit();
    let address: SocketAddr = args[0].parse().unwrap();
    let (n, rounds): (usize, u32) = (args[1].parse().unwrap(), args[2].parse().unwrap());
    let mut streams: Vec<_> = (0..n)
        .map(|i| match std::net::TcpStream::connect(address) {
            Ok(stream) => stream,
            Err(error) => panic!("connection {i} of {n}: {error}"),
        })
        .collect();
    say("connected");
    for round in 0..rounds {
        let word = |i: usize| ((u64::from(round) << 32) | i as u64).to_le_bytes();
        for (i, stream) in streams.iter_mut().enumerate() {
            stream.write_all(&word(i)).unwrap();
        }
        for (i, stream) in streams.iter_mut().enumerate() {
            let mut back = [0; 8];
            stream.read_exact(&mut back).unwrap();
            assert_eq!(back, word(i), "connection {i} got another's bytes");
        }
    }
    say("echoed");
    assert_eq!(listen().as_deref(), Some("close"));
}

#[test]
fn thousands_of_connections_are_served_at_once() {
    // Goal: up to 10 000 connections, none mixed, none lost, all descriptors back; method: a helper
    // holds them all open and makes echoes on each. Fewer, with a printed note, if RLIMIT_NOFILE is
    // lower.
    isolated(|| {
        let limit = raise_descriptor_limit();
        on_every_within(Duration::from_secs(140), |cfg| {
            let wanted = if cfg.workers == 2 || scale() > 1 { 10_000 } else { 2000 };
            let n = wanted.min(limit.saturating_sub(200));
            if n < wanted {
                loud(&format!(
                    "NOTE {n} connections instead of {wanted}: RLIMIT_NOFILE is {limit}"
                ));
            }
            let fds = open_fds();
            {
                let runtime = cfg.runtime();
                let (accepted, ended) = (Count::new(), Count::new());
                let listener = runtime.must_run(TcpListener::bind("127.0.0.1:0")).unwrap();
                let address = listener.local_addr().unwrap();
                let (count, end) = (accepted.clone(), ended.clone());
                let server = runtime.spawn(async move {
                    loop {
                        let (mut stream, _) = listener.accept().await.unwrap();
                        count.add();
                        let end = end.clone();
                        drop(spawn(async move {
                            let mut buf = [0; 64];
                            while let Ok(n @ 1..) = stream.read(&mut buf).await {
                                stream.write_all(&buf[..n]).await.unwrap();
                            }
                            end.add();
                        }));
                    }
                });
                let args = [address.to_string(), n.to_string(), "3".to_owned()];
                let mut crowd = Helper::start("crowd", &args);
                crowd.expect("connected");
                wait_until(|| accepted.get() == n, || format!("{} accepted", accepted.get()));
                assert!(runtime.metrics().live_tasks >= n as u64);
                crowd.expect("echoed");
                crowd.tell("close");
                wait_until(|| ended.get() == n, || format!("{} ended", ended.get()));
                crowd.finish();
                server.abort();
                let _ = runtime.must_run(server);
            }
            assert_eq!(open_fds(), fds);
        });
    });
}
