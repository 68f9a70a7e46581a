//! What is cancelled or dropped at any moment.

use super::*;

#[test]
fn cancelled_reads_and_accepts_lose_nothing() {
    // Goal: S3, whatever order cancels and completions come in. Method: 100 clients send a number,
    // some leave at once; the server gives accepts and reads up at random and answers in kind. It
    // pauses, so that connections gather.
    const CLIENTS: u64 = 100;
    let make = |seed| Script::new(seed, &MISHAPS).tiny(4);
    trial("cancels", 2, make, |runtime, script| {
        let mut random = Random::new(script.seed());
        let storm = async move {
            let listener = narrow_listener();
            let address = listener.local_addr().unwrap();
            assert!(give_up_after(2, listener.accept()).await.is_none());
            let clients: Vec<_> = (0..CLIENTS)
                .map(|number| {
                    let (leaves, later) = (random.below(4) == 0, random.below(20_000));
                    spawn(async move {
                        sleep(Duration::from_micros(later)).await;
                        number_client(address, number, leaves).await
                    })
                })
                .collect();
            let mut servers = Vec::new();
            while servers.len() < CLIENTS as usize {
                if random.below(5) == 0 {
                    sleep(Duration::from_millis(2)).await;
                }
                let accept = timeout(Duration::from_micros(random.below(300)), listener.accept());
                if let Ok(accepted) = accept.await {
                    let (stream, _) = accepted.unwrap();
                    servers.push(spawn(number_server(stream, Random::new(random.below(1 << 40)))));
                }
            }
            let mut numbers = Vec::new();
            for server in servers {
                numbers.extend(server.await.unwrap());
            }
            let mut stayed = 0;
            for client in clients {
                stayed += u64::from(client.await.unwrap());
            }
            numbers.sort_unstable();
            let all = numbers.len() as u64;
            numbers.dedup();
            assert_eq!(numbers.len() as u64, all, "a number twice");
            assert!(all >= stayed && numbers.iter().all(|&number| number < CLIENTS));
        };
        runtime.run(storm).unwrap();
    });
}

/// Says its number and hears it, unless it leaves before.
async fn number_client(address: SocketAddr, number: u64, leaves: bool) -> bool {
    let mut stream = TcpStream::connect(address).await.unwrap();
    if leaves {
        let _ = give_up_after(0, stream.read_lease()).await;
        return false;
    }
    for part in number.to_be_bytes().chunks(3) {
        stream.write_all(part).await.unwrap();
        sleep(Duration::from_micros(100)).await;
    }
    let mut heard = [0; 8];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(u64::from_be_bytes(heard), number);
    true
}

async fn number_server(mut stream: TcpStream, mut random: Random) -> Option<u64> {
    let mut heard = Vec::new();
    while heard.len() < 8 {
        let limit = Duration::from_micros(random.below(200));
        let read = match random.below(3) {
            0 => timeout(limit, stream.read_lease()).await.map(|lease| lease.map(|l| l.to_vec())),
            1 => match give_up_after(random.below(2), stream.read(Vec::with_capacity(3))).await {
                Some((result, buf)) => Ok(result.map(|_| buf)),
                None => continue,
            },
            _ => {
                let mut buf = [0; 2];
                let read = timeout(limit, AsyncReadExt::read(&mut stream, &mut buf)).await;
                read.map(|read| read.map(|n| buf[..n].to_vec()))
            }
        };
        match read {
            Err(_) => {}
            Ok(Ok(bytes)) if bytes.is_empty() => break,
            Ok(bytes) => heard.extend(bytes.unwrap()),
        }
    }
    let number = heard.try_into().ok().map(u64::from_be_bytes)?;
    stream.write_all(&number.to_be_bytes()).await.unwrap();
    Some(number)
}

#[test]
fn what_is_dropped_elsewhere_as_it_starts_is_let_go() {
    // Goal: a cancel does not miss what is on its way, and the peer learns of the end. Method: a
    // receive for which there are bytes already is submitted together with its cancel, since the
    // stream is dropped on another thread before the poll that started it returns.
    trial(
        "dropped elsewhere",
        1,
        |seed| Script::new(seed, &[]),
        |runtime, _| {
            let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            for _ in 0..20 {
                let near = net::TcpStream::connect(address).unwrap();
                let (mut far, _) = listener.accept().unwrap();
                let mut near = TcpStream::from_std(near).unwrap();
                let leave = async {
                    assert!(give_up_after(2, near.readable()).await.is_none());
                    // From here on in one poll: nothing is submitted meanwhile.
                    assert!(give_up_after(0, near.read_lease()).await.is_none());
                    far.write_all(b"there").unwrap();
                    thread::scope(|scope| scope.spawn(|| drop(near)).join().unwrap());
                };
                runtime.run(leave).unwrap();
                // It is closed: by a reset, as there is something unread.
                far.set_read_timeout(Some(SETTLE)).unwrap();
                let end = loop {
                    match far.read(&mut [0]).map_err(|error| error.kind()) {
                        // What completes in the ring of this thread interrupts its calls.
                        Err(io::ErrorKind::Interrupted) => {}
                        end => break end,
                    }
                };
                assert!(matches!(end, Ok(0) | Err(io::ErrorKind::ConnectionReset)), "{end:?}");
            }
        },
    );
}
