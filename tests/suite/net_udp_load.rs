//! Many datagrams: none is lost without being counted, and none comes twice or out of order.

use std::io::IoSliceMut;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ringloop::net::{RecvMeta, Transmit, UdpSocket};
use ringloop::{spawn, time::timeout, yield_now};

use crate::harness::{Cfg, Rng, on_every, on_every_within, scaled, wait_until_async};
use crate::tools::GiveUpAfter;

/// Takes everything that is there, in one of several ways, and checks that the numbers go up.
struct Reader {
    socket: UdpSocket,
    bufs: Vec<Vec<u8>>,
    next: u64,
    received: u64,
}

impl Reader {
    async fn new(groups: bool) -> Self {
        let mut socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let len = if groups { UdpSocket::GRO_BUFFER } else { 64 };
        if groups {
            socket.enable_gro().unwrap();
        }
        Self { socket, bufs: vec![vec![0; len]; 4], next: 0, received: 0 }
    }

    /// Receives once; gives up after some turns if `patience` says so.
    async fn take(&mut self, way: usize, patience: Option<usize>) {
        let Self { socket, bufs, next, received } = self;
        let mut metas = [RecvMeta::default(); 4];
        let mut slices: Vec<_> = bufs.iter_mut().map(|buf| IoSliceMut::new(buf)).collect();
        let receive = async {
            match way {
                0 => socket.recv_batch(&mut slices, &mut metas).await.unwrap(),
                1 => {
                    metas[0] = socket.recv_meta(&mut slices[0]).await.unwrap();
                    1
                }
                _ => {
                    socket.readable().await.unwrap();
                    socket.try_recv_batch(&mut slices[..2], &mut metas).unwrap_or(0)
                }
            }
        };
        let came = match patience {
            None => receive.await,
            Some(turns) => GiveUpAfter::new(turns, receive).await.unwrap_or(0),
        };
        for (buf, meta) in bufs.iter().zip(metas).take(came) {
            assert!(!meta.is_truncated());
            for datagram in meta.datagrams(buf) {
                let number = u64::from_le_bytes(datagram[..8].try_into().unwrap());
                assert!(number >= *next, "{number} after {next}");
                (*next, *received) = (number + 1, *received + 1);
            }
        }
    }
}

/// `total` numbered datagrams to a reader that falls behind: those that it gets and those that were dropped make up
/// what was sent. (The drops are of datagrams, as nothing is sent in segments.)
async fn conserved(mut rng: Rng, total: u64) {
    let mut reader = Reader::new(false).await;
    let there = reader.socket.local_addr().unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let sending = spawn(async move {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut number = 0;
        while number < total {
            // Bursts of which the largest are more than there is room for.
            let burst = (1 + rng.below(600) as u64).min(total - number);
            let bytes: Vec<_> = (number..number + burst).map(u64::to_le_bytes).collect();
            let mut transmits: Vec<_> =
                bytes.iter().map(|bytes| Transmit::new(there, bytes)).collect();
            let mut left = &mut transmits[..];
            while !left.is_empty() {
                let count = match rng.below(2) {
                    0 => socket.send_batch(left).await.unwrap(),
                    _ => socket.send_to(left[0].contents, there).await.map(|_| 1).unwrap(),
                };
                Transmit::advance(&mut left, count);
            }
            number += burst;
            counted.store(number as usize, Ordering::Release);
            yield_now().await;
        }
    });
    let mut way = 0;
    loop {
        let done = sent.load(Ordering::Acquire) as u64 == total;
        let dropped = u64::from(reader.socket.dropped().unwrap());
        if done && reader.received + dropped == total {
            break;
        }
        // By the loopback all is there once it was sent. A receive must not wait for what was dropped.
        way = (way + 1) % 3;
        let waits = timeout(Duration::from_millis(20), reader.take(way, None));
        let _ = waits.await;
    }
    sending.await.unwrap();
    assert!(reader.socket.try_recv(&mut [0; 8]).is_err(), "nothing is left");
    assert!(reader.received > 0);
    assert_eq!(reader.received + u64::from(reader.socket.dropped().unwrap()), total);
}

#[test]
fn reader_that_falls_behind_gets_or_counts_every_datagram() {
    on_every(|cfg| {
        let rng = cfg.rng(3);
        cfg.once(conserved(rng, scaled(12_000) as u64));
    });
}

#[test]
fn hundred_thousand_datagrams_are_received_or_counted() {
    on_every(|cfg: &Cfg| {
        if cfg.workers == 2 {
            cfg.runtime().must_run(conserved(cfg.rng(5), 100_000));
        }
    });
}

#[test]
#[ignore = "a million datagrams: `cargo storms`"]
fn full_load_of_datagrams() {
    on_every_within(Duration::from_secs(240), |cfg| {
        cfg.runtime().must_run(conserved(cfg.rng(6), 1_000_000));
    });
}

#[test]
fn receives_that_are_given_up_lose_no_datagram_of_a_batch() {
    // Goal: each datagram once, in order; method: no more under way than there is room for, sent in segments, while
    // receives of every kind are given up after some turns.
    on_every(|cfg| {
        for groups in [true, false] {
            let mut rng = cfg.rng(9);
            cfg.once(async move {
                let mut reader = Reader::new(groups).await;
                let there = reader.socket.local_addr().unwrap();
                let total = scaled(2000) as u64;
                let taken = Arc::new(AtomicUsize::new(0));
                let seen = taken.clone();
                let mut sizes = rng.clone();
                let sending = spawn(async move {
                    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                    let mut number = 0;
                    while number < total {
                        let burst = (1 + sizes.below(20) as u64).min(total - number);
                        wait_until_async(
                            || number as usize <= seen.load(Ordering::Relaxed) + 40,
                            || format!("a reader that has taken {number}"),
                        )
                        .await;
                        let bytes: Vec<_> =
                            (number..number + burst).flat_map(u64::to_le_bytes).collect();
                        let transmit = Transmit::new(there, &bytes).with_segment_size(8);
                        socket.send_transmit(&transmit).await.unwrap();
                        number += burst;
                    }
                });
                while reader.received < total {
                    let patience = (!rng.one_in(3)).then(|| rng.below(3));
                    reader.take(rng.below(3), patience).await;
                    assert_eq!(reader.next, reader.received, "none is missing");
                    taken.store(reader.received as usize, Ordering::Relaxed);
                    yield_now().await;
                }
                sending.await.unwrap();
                assert_eq!(reader.socket.dropped().unwrap(), 0);
            });
        }
    });
}

#[test]
fn two_sockets_answer_each_other_from_several_workers() {
    // Goal: wakes between workers lose nothing; method: pairs of tasks that pass a number to and fro, started on any
    // worker, with one datagram under way.
    on_every(|cfg| {
        cfg.runtime().must_run(async {
            let mut pairs = Vec::new();
            for _ in 0..4 {
                let near = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                let far = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                near.connect(far.local_addr().unwrap()).await.unwrap();
                far.connect(near.local_addr().unwrap()).await.unwrap();
                let rounds = scaled(300) as u32;
                let player = |socket: UdpSocket, first: u32| async move {
                    let mut buf = [0; 4];
                    for number in (first..2 * rounds).step_by(2) {
                        if number > 0 {
                            assert_eq!(socket.recv(&mut buf).await.unwrap(), 4);
                            assert_eq!(u32::from_le_bytes(buf), number - 1);
                        }
                        socket.send(&number.to_le_bytes()).await.unwrap();
                    }
                    socket
                };
                pairs.push((spawn(player(near, 0)), spawn(player(far, 1))));
            }
            for (near, far) in pairs {
                let (near, _far) = (near.await.unwrap(), far.await.unwrap());
                assert_eq!(near.recv(&mut [0; 4]).await.unwrap(), 4, "the last one");
                assert_eq!(near.dropped().unwrap(), 0);
            }
        });
    });
}
