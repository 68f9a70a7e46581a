//! Long use: memory, descriptors and threads do not grow.

use std::time::Duration;

use ringloop::io::{AsyncReadExt, AsyncWriteExt};
use ringloop::net::{TcpListener, TcpStream};
use ringloop::{Runtime, spawn, spawn_local, to_thread, yield_now};

use crate::harness::{deliberate, on_every_within, scaled, wait_until};
use crate::measure::{open_fds, resident_bytes, thread_count};
use crate::processes::isolated;

/// Some of everything that allocates.
fn one_round(runtime: &Runtime, seed: u64) {
    let handle = runtime.handle();
    // Spawned here, freed by the workers.
    let foreign: Vec<_> = (0..2000).map(|i| handle.spawn(async move { [i; 8] })).collect();
    let body = async {
        let mut rng = crate::harness::Rng::new(seed);
        for _ in 0..2000 {
            drop(spawn(async { yield_now().await }).await);
        }
        let crowd: Vec<_> = (0..2000)
            .map(|i| {
                let turns = rng.below(3);
                let task = spawn(async move {
                    for _ in 0..turns {
                        yield_now().await;
                    }
                    if i % 100 == 0 {
                        deliberate("soak");
                    }
                    vec![0_u8; i]
                });
                if i % 7 == 0 {
                    task.abort();
                }
                task
            })
            .collect();
        for task in crowd {
            drop(task.await);
        }
        for i in 0..500 {
            let far = Duration::from_secs(1000);
            let _ = ringloop::time::timeout(far, yield_now()).await;
            drop(spawn(ringloop::time::sleep(far)).join());
            if i % 10 == 0 {
                spawn_local(async { yield_now().await }).await.unwrap();
                to_thread(|| ()).await.unwrap();
            }
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                spawn(async move { drop(crate::net_stream::echo(stream).await) }).detach();
            }
        });
        for i in 0..100 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"hello").await.unwrap();
            if i % 2 == 0 {
                stream.read_exact(&mut [0; 5]).await.unwrap();
            }
        }
        server.abort();
        drop(server.await);
    };
    runtime.run(body).unwrap();
    for task in foreign {
        runtime.run(task).unwrap().unwrap();
    }
    crate::harness::assert_quiet(&handle);
}

#[test]
fn long_use_does_not_grow_memory() {
    // Goal: nothing grows with use; method: rounds of spawns from inside and outside, cancels,
    // panics, timers, jobs and connections; resident memory is compared after a third of them.
    isolated(|| {
        on_every_within(Duration::from_secs(120), |cfg| {
            let runtime = cfg.runtime();
            // The number of threads that the pool keeps depends on the load of the machine.
            let threads = || thread_count() - runtime.metrics().blocking_threads;
            let rounds = scaled(15);
            let mut before = None;
            for round in 0..rounds {
                one_round(&runtime, cfg.seed + round as u64);
                if round == rounds / 3 {
                    before = Some((resident_bytes(), open_fds(), threads()));
                }
            }
            let (resident, fds, threads_before) = before.expect("measured");
            let grown = resident_bytes().saturating_sub(resident);
            assert!(grown < 4 << 20, "resident memory grew by {grown} bytes");
            assert_eq!(open_fds(), fds);
            wait_until(|| threads() <= threads_before, || format!("{} threads", threads()));
        });
    });
}
