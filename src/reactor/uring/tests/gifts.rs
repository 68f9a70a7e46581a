//! Sockets that go from home to home while they are in use.

use super::*;
use crate::reactor::force::Forced;

const MESSAGES: usize = 300;

/// One side of a conversation: writes pieces of a known stream, of random lengths, and checks that the
/// same stream comes back. `lease`: it reads by leases.
async fn converse(mut stream: TcpStream, seed: u64, lease: bool) {
    let mut random = Random::new(seed);
    let (mut sent, mut received) = (0_usize, 0_usize);
    let byte = |at: usize| (at % 251) as u8 ^ seed as u8;
    for _ in 0..MESSAGES {
        let len = 1 + random.below(3000) as usize;
        let bytes: Vec<u8> = (sent..sent + len).map(byte).collect();
        stream.write_all(&bytes).await.unwrap();
        sent += len;
        while received < sent {
            let got = if lease {
                stream.read_lease().await.unwrap().to_vec()
            } else {
                let mut buf = vec![0; 1 + random.below(5000) as usize];
                // A read that is given up leaves its bytes to the next.
                let read = match random.below(4) {
                    0 => timeout(Duration::from_micros(50), stream.read(&mut buf)).await.ok(),
                    _ => Some(stream.read(&mut buf).await),
                };
                let Some(read) = read else { continue };
                buf.truncate(read.unwrap());
                buf
            };
            assert!(!got.is_empty(), "the end, after {received} of {sent}");
            for (at, got) in got.iter().enumerate() {
                assert_eq!(*got, byte(received + at), "byte {} of {sent}", received + at);
            }
            received += got.len();
        }
    }
    stream.close().await.unwrap();
}

async fn echo(mut stream: TcpStream, lease: bool) {
    let mut buf = [0; 2048];
    loop {
        if lease {
            let lease = stream.read_lease().await.unwrap();
            if lease.is_empty() {
                return;
            }
            stream.write_lease(lease).await.unwrap();
        } else {
            let read = stream.read(&mut buf).await.unwrap();
            if read == 0 {
                return;
            }
            stream.write_all(&buf[..read]).await.unwrap();
        }
    }
}

#[test]
fn homes_that_move_all_the_time_lose_no_byte_and_no_wake() {
    // Goal: every byte once and in order, no task is forgotten, and all is at rest in the end.
    // Method: each worker gives a socket away at each tick; both faces; reads that are given up; a
    // kernel that does what it may.
    let _forced = Forced::new();
    let make = |seed| Script::new(seed, &[(Fault::Ended, 50)]);
    trial("gifts", 3, make, |runtime, _| storm(runtime));
}

#[test]
fn homes_that_move_all_the_time_lose_nothing_on_epoll() {
    // The same with an epoll instance for each worker.
    let _forced = Forced::new();
    let _watchdog = Watchdog::new("gifts on epoll".to_owned());
    let runtime = Builder::new().workers(3).backend(Backend::Epoll).build().unwrap();
    storm(&runtime);
    assert_quiet(&runtime, "gifts on epoll");
}

/// Conversations until there have been some moves.
fn storm(runtime: &Runtime) {
    let main = async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let tasks = (0..24_u64).map(|number| async move {
            let stream = TcpStream::connect(addr).await.unwrap();
            spawn(converse(stream, seed() ^ number, number % 2 == 0)).await.unwrap();
        });
        let accepts = async {
            let mut tasks = Vec::new();
            for number in 0..24 {
                let (stream, _) = listener.accept().await.unwrap();
                tasks.push(spawn(echo(stream, number % 3 == 0)));
            }
            for task in tasks {
                task.await.unwrap();
            }
        };
        join(join_all(tasks), accepts).await;
    };
    let given =
        || -> u64 { runtime.metrics().per_worker.iter().map(|worker| worker.homes_given).sum() };
    // How many there are in one go depends on how often the workers tick.
    for _ in 0..20 {
        runtime.run(main()).unwrap();
        if given() > 50 {
            return;
        }
    }
    panic!("{} moves", given());
}
