//! Receiving in the place of a worker that is held.

use super::*;

/// Exchanges of one connection, and bytes of each at most.
const ROUNDS: u64 = 150;
const MOST: u64 = 600;

#[test]
fn what_is_received_for_a_held_worker_is_in_order() {
    // Goal: nobody reads from a socket while bytes that were received before are not queued yet.
    // Method: every second completion is late, so that workers are held, by polls of up to 10 ms, with
    // receives that are not reaped; echoes by leases go on meanwhile, each byte checked.
    let make = |seed| Script::new(seed, &[(Fault::Late, 2)]);
    trial("late and held", 2, make, |runtime, script| {
        let stop = Arc::new(AtomicBool::new(false));
        let hogs: Vec<_> = (0..2)
            .map(|index| {
                let (stop, mut random) = (stop.clone(), Random::new(script.seed() ^ index));
                runtime.spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        let (begun, held) = (Instant::now(), random.below(10));
                        while begun.elapsed() < Duration::from_millis(held) {
                            std::hint::spin_loop();
                        }
                        sleep(Duration::from_micros(random.below(4_000))).await;
                    }
                })
            })
            .collect();
        let seed = script.seed();
        let exchanges = async move {
            let listener = narrow_listener();
            let address = listener.local_addr().unwrap();
            let server = spawn(async move {
                let echoes: Vec<_> = join_all((0..4).map(|_| listener.accept())).await;
                join_all(echoes.into_iter().map(|accepted| spawn(echo(accepted.unwrap().0)))).await;
            });
            // On threads of their own, so that what they write comes at any moment.
            let clients: Vec<_> =
                (0..4).map(|salt| thread::spawn(move || client(address, salt, seed))).collect();
            server.await.unwrap();
            clients.into_iter().for_each(|client| client.join().unwrap());
        };
        runtime.run(exchanges).unwrap();
        stop.store(true, Ordering::Relaxed);
        hogs.into_iter().for_each(|hog| runtime.run(hog).unwrap().unwrap());
    });
}

async fn echo(mut stream: TcpStream) {
    loop {
        let lease = stream.read_lease().await.unwrap();
        if lease.is_empty() {
            return;
        }
        stream.write_lease(lease).await.unwrap();
    }
}

/// Writes a numbered stream in small pieces, a few at a time, and checks what comes back.
fn client(address: SocketAddr, salt: usize, seed: u64) {
    let mut stream = net::TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(SETTLE)).unwrap();
    let mut random = Random::new(seed ^ salt as u64);
    let mut at = 0;
    for _ in 0..ROUNDS {
        let end = at + 1 + random.below(MOST) as usize;
        for from in (at..end).step_by(97) {
            let piece: Vec<u8> = (from..end.min(from + 97)).map(|at| byte(salt, at)).collect();
            stream.write_all(&piece).unwrap();
            if random.below(2) == 0 {
                thread::yield_now();
            }
        }
        let mut back = vec![0; end - at];
        stream.read_exact(&mut back).unwrap();
        check(&back, salt, at);
        at = end;
    }
}
