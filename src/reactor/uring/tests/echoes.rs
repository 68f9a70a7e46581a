//! Echoes by every verb while one thing or all go wrong.

use super::*;

/// The ways to read and write.
const VERBS: usize = 5;

async fn echo(mut stream: TcpStream, verb: usize, mut random: Random) -> io::Result<()> {
    let mut turn = verb;
    loop {
        match turn {
            0 => {
                let lease = stream.read_lease().await?;
                if lease.is_empty() {
                    break;
                }
                stream.write_lease(lease).await?;
            }
            1 => {
                let mut buf = [0; 3000];
                let n = AsyncReadExt::read(&mut stream, &mut buf).await?;
                if n == 0 {
                    break;
                }
                stream.write_all(&buf[..n]).await?;
            }
            2 => {
                let (result, buf) = stream.read(Vec::with_capacity(5000)).await;
                if result? == 0 {
                    break;
                }
                stream.write(buf).await.0?;
            }
            // Reads that are given up.
            _ => {
                let Some(lease) = give_up_after(random.below(3), stream.read_lease()).await else {
                    continue;
                };
                let lease = lease?;
                if lease.is_empty() {
                    break;
                }
                stream.write_lease(lease).await?;
            }
        }
        if verb == VERBS - 1 {
            turn = random.below(VERBS as u64 - 1) as usize;
        }
    }
    stream.close().await
}

/// Sends a numbered stream, and reads it back, slowly.
async fn talk(address: SocketAddr, salt: usize, total: usize, mut random: Random) {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.socket().set_recv_buffer_size(8 << 10).unwrap();
    stream.socket().set_send_buffer_size(8 << 10).unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let mut lengths = random.clone();
    let sending = spawn(async move {
        let mut sent = 0;
        while sent < total {
            let n = (1 + lengths.below(9000) as usize).min(total - sent);
            let bytes: Vec<u8> = (sent..sent + n).map(|at| byte(salt, at)).collect();
            writer.write_all(&bytes).await.unwrap();
            sent += n;
        }
        writer.close().await.unwrap();
    });
    let (mut got, mut buf) = (0, [0; 4000]);
    // Long enough for all to be full, so that the other end has to wait.
    sleep(Duration::from_millis(10)).await;
    loop {
        let n = reader.read(&mut buf).await.unwrap();
        if n == 0 {
            break;
        }
        check(&buf[..n], salt, got);
        got += n;
        match random.below(8) {
            0 => sleep(Duration::from_micros(200)).await,
            1 | 2 => yield_now().await,
            _ => {}
        }
    }
    assert_eq!(got, total, "connection {salt}");
    sending.await.unwrap();
}

/// Echoes by every verb at the same time.
async fn echoes(seed: u64, total: usize) {
    let listener = narrow_listener();
    let address = listener.local_addr().unwrap();
    // Nobody is there yet: the ring reports on the listener.
    assert!(give_up_after(2, listener.accept()).await.is_none());
    let clients: Vec<_> = (0..2 * VERBS)
        .map(|salt| {
            let random = Random::new(seed.wrapping_add(100 + salt as u64));
            spawn(talk(address, salt, total, random))
        })
        .collect();
    let mut servers = Vec::new();
    for i in 0..2 * VERBS {
        let (stream, _) = listener.accept().await.unwrap();
        let random = Random::new(seed.wrapping_add(200 + i as u64));
        servers.push(spawn(echo(stream, i % VERBS, random)));
    }
    for client in clients {
        client.await.unwrap();
    }
    for server in servers {
        server.await.unwrap().unwrap();
    }
}

fn echo_trial(name: &str, make: impl Fn(u64) -> Script) {
    for workers in [1, 2] {
        trial(name, workers, &make, |runtime, script| {
            runtime.run(echoes(script.seed(), 200_000)).unwrap();
        });
    }
}

#[test]
fn refused_calls_lose_nothing() {
    // Goal: an operation whose submission is refused is submitted later, once. Method: every third
    // call is refused, up to six in a row, or takes only the first entries.
    echo_trial("refused", |seed| Script::new(seed, &[(Fault::Refused, 3), (Fault::Partial, 3)]));
}

#[test]
fn completions_in_another_order_and_late() {
    // Goal: nothing depends on the order of operations that the kernel does not order. Method: a
    // third of all completions is held back for some turns, the others come in random order.
    echo_trial("late", |seed| Script::new(seed, &[(Fault::Late, 3)]));
}

#[test]
fn bytes_in_another_order_than_their_buffers() {
    // Goal: nobody gets another's bytes, whatever order an old kernel has. Method: the same, where
    // bytes of different connections have no order; every fourth time there is no buffer.
    let odds = [(Fault::Late, 3), (Fault::NoBuffers, 4)];
    echo_trial("old", move |seed| Script::new(seed, &odds).old("6.12.28"));
}

#[test]
fn short_sends_are_continued() {
    // Goal: the rest of a short send goes before what is queued behind. Method: half of all sends
    // take some of their bytes only, others none, with EINTR or EAGAIN.
    let odds = [(Fault::ShortSend, 2), (Fault::FailedSend, 4)];
    echo_trial("short", move |seed| Script::new(seed, &odds));
}

#[test]
fn completions_for_nobody_are_ignored() {
    // Goal: S2. Method: between others come completions with the numbers of operations that have
    // ended, whose places are in use again, and of none, that claim to bring bytes or the end.
    let odds = [(Fault::Stale, 2)];
    echo_trial("stale", move |seed| Script::new(seed, &odds));
}

#[test]
fn what_repeats_is_armed_again_when_it_ends() {
    // Goal: an operation may end with a completion that brings something. Method: half of all
    // polls and receives complete once; others fail: no buffer.
    let odds = [(Fault::Ended, 2), (Fault::NoBuffers, 5)];
    echo_trial("ended", move |seed| Script::new(seed, &odds));
}

#[test]
fn rings_of_four_entries_carry_everything() {
    // Goal: full queues are no limit. Method: 4 submissions and 16 completions at a time.
    echo_trial("tiny", |seed| Script::new(seed, &[]).tiny(4));
}

#[test]
fn all_of_it_together() {
    // Goal: the same, and all at once, in rings of four entries.
    let sends = [(Fault::ShortSend, 4), (Fault::FailedSend, 8)];
    let odds = [&MISHAPS[..], &sends].concat();
    echo_trial("everything", |seed| Script::new(seed, &odds).tiny(4));
}
