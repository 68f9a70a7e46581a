//! More than there is room for, and kernels that refuse.

use super::{super::ring::Optional, *};

#[test]
fn what_ends_while_nothing_goes_on_is_armed_again() {
    // Goal: the same of the ring's own polls, and of accepting. Method: thirty times, asleep in
    // between, the worker is given a task from outside, a foreign descriptor a byte, and a listener
    // a connection.
    let make = |seed| Script::new(seed, &[(Fault::Ended, 2)]);
    trial("idle", 1, make, |runtime, _| {
        let listener = narrow_listener();
        let address = listener.local_addr().unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let near = AsyncFd::new(near).unwrap();
        for round in 0..30 {
            let arrivals = || {
                thread::sleep(Duration::from_millis(1));
                (&far).write_all(&[round]).unwrap();
                thread::sleep(Duration::from_millis(1));
                net::TcpStream::connect(address).unwrap()
            };
            let mut byte = [0];
            let waits = join(near.read_with(|mut near| near.read(&mut byte)), listener.accept());
            let (read, accepted) = thread::scope(|scope| {
                let client = scope.spawn(arrivals);
                let waited = runtime.run(timeout(SETTLE, waits)).unwrap();
                drop(client.join().unwrap());
                waited.expect("what has arrived is not seen")
            });
            assert_eq!((read.unwrap(), byte), (1, [round]));
            drop(accepted.unwrap());
        }
    });
}

#[test]
fn floods_stop_and_go_on() {
    // Goal: a receive that stops at its cap, or for lack of memory, loses nothing, whatever comes
    // late. Method: 2 MiB at once on each of four connections, which takes all memory, or 256 KiB
    // at a time on one, which passes its cap; readers take little, and pause.
    let make = |seed| Script::new(seed, &MISHAPS);
    for (connections, piece) in [(4, 2 << 20), (1, 256 << 10)] {
        let what = format!("flood of {connections} x {piece}");
        trial(&what, 2, make, |runtime, script| {
            runtime.run(floods(script.seed(), connections, piece)).unwrap();
        });
    }
}

async fn floods(seed: u64, connections: usize, piece: usize) {
    const TOTAL: usize = 2 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut ends = Vec::new();
    for salt in 0..connections {
        let connect = TcpStream::connect(listener.local_addr().unwrap());
        let (near, far) = join(connect, listener.accept()).await;
        let (mut near, far) = (near.unwrap(), far.unwrap().0);
        ends.push(spawn(async move {
            let bytes: Vec<u8> = (0..TOTAL).map(|at| byte(salt, at)).collect();
            for piece in bytes.chunks(piece) {
                near.write_all(piece).await.unwrap();
                sleep(Duration::from_millis(4)).await;
            }
            near.close().await.unwrap();
        }));
        ends.push(spawn(sip(far, salt, TOTAL, Random::new(seed.wrapping_add(salt as u64)))));
    }
    for end in ends {
        end.await.unwrap();
    }
}

/// Reads a flood, with pauses in which more arrives than is taken.
async fn sip(mut stream: TcpStream, salt: usize, total: usize, mut random: Random) {
    let mut got = 0;
    loop {
        if random.below(30) == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        let lease = stream.read_lease().await.unwrap();
        if lease.is_empty() {
            break;
        }
        check(&lease, salt, got);
        got += lease.len();
    }
    assert_eq!(got, total, "connection {salt}");
}

#[test]
fn a_kernel_that_refuses_for_long_is_not_pestered() {
    // Goal: no busy loop, whatever there is to submit or to take meanwhile; then all goes on.
    // Method: every call is refused while receives are to be armed, on large and on tiny rings,
    // and bytes arrive; calls are counted.
    const REFUSED: Duration = Duration::from_millis(100);
    const SOCKETS: usize = 20;
    for entries in [4, 256] {
        for error in [Errno::AGAIN, Errno::BUSY, Errno::NOMEM, Errno::NOBUFS] {
            let make = |seed| Script::new(seed, &[]).tiny(entries);
            trial(&format!("refusal {error} of {entries}"), 1, make, |runtime, script| {
                let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
                let address = listener.local_addr().unwrap();
                let pair =
                    || (net::TcpStream::connect(address).unwrap(), listener.accept().unwrap().0);
                let (near, mut far): (Vec<_>, Vec<_>) = (0..SOCKETS).map(|_| pair()).unzip();
                let near = near.into_iter().map(|near| TcpStream::from_std(near).unwrap());
                let mut near: Vec<_> = near.collect();
                let before = runtime.run(async {
                    // Half of the receives are there already, half are to be submitted.
                    for stream in &mut near[..SOCKETS / 2] {
                        assert!(give_up_after(2, stream.read_lease()).await.is_none());
                    }
                    sleep(Duration::from_millis(2)).await;
                    script.refuse_all(Some(error));
                    for stream in &mut near {
                        assert!(give_up_after(2, stream.read_lease()).await.is_none());
                    }
                    script.calls()
                });
                let before = before.unwrap();
                far.iter_mut().for_each(|far| far.write_all(b"x").unwrap());
                let begun = Instant::now();
                thread::sleep(REFUSED);
                let calls = script.calls() - before;
                let most = 3 * begun.elapsed().as_millis() as u64 + 50;
                script.refuse_all(None);
                // One that is refused may be tried in two ways, once in a millisecond.
                assert!(calls <= most, "{calls} calls, {most} at most");
                assert!(calls >= 2, "it is not asked again");
                let read = runtime.run(async {
                    let reads = near.iter_mut().map(|stream| stream.read_lease());
                    timeout(SETTLE, join_all(reads)).await
                });
                for lease in read.unwrap().expect("bytes that were there") {
                    assert_eq!(&*lease.unwrap(), b"x");
                }
            });
        }
    }
}

#[test]
fn thousands_of_submissions_at_once_are_each_done_once() {
    // Goal: a full submission queue holds nothing up, an overflown completion queue loses nothing,
    // in any mood of the kernel. Method: 5000 numbers are pushed to a ring of 4 entries before
    // anything is reaped.
    const COUNT: u64 = 5000;
    let seed = seed();
    eprintln!("RINGLOOP_SEED={seed}");
    for odds in [&[][..], &[(Fault::Refused, 4), (Fault::Partial, 2), (Fault::Late, 3)]] {
        for defer_taskrun in [true, false] {
            let script = Arc::new(Script::new(seed, odds));
            let plan = Plan {
                entries: 4,
                defer_taskrun,
                no_sqarray: false,
                incremental: false,
                shows_work: true,
                optional: Optional::find(|_| true),
            };
            let mut ring = match script.install(|| Ring::new(plan)) {
                Ok(ring) => ring,
                Err(error) => return loud(&format!("SKIPPED: no rings: {error}")),
            };
            ring.start().unwrap();
            script.begin();
            for number in 0..COUNT {
                // SAFETY: it points nowhere.
                unsafe { ring.push(opcode::Nop::new().build().user_data(number)) };
            }
            let mut done = vec![0; COUNT as usize];
            let begun = Instant::now();
            while done.contains(&0) {
                assert!(begun.elapsed() < SETTLE, "some are lost");
                // Or a busy worker would not look.
                assert!(ring.has_work(), "nothing is left to do, and some are not done");
                ring.enter(Wait::UpTo(Duration::from_millis(100))).unwrap();
                for completion in ring.completions(&mut [const { MaybeUninit::uninit() }; 64]) {
                    done[completion.user_data() as usize] += 1;
                }
            }
            assert!(done.iter().all(|&times| times == 1), "one is done twice");
            assert!(!ring.has_work());
            // Refused, entries wait on this side.
            assert!(script.overflows() > 0 || !odds.is_empty(), "all completions had room");
            ring.stop();
        }
    }
}

#[test]
fn arrivals_on_all_connections_at_once_overflow_and_are_all_seen() {
    // Goal: the same with operations that complete again and again. Method: one poll starts to
    // receive on 150 connections, in rings of 4 entries; while the worker is held up, each gets a
    // byte, thrice. Nothing is late by a timeout.
    const SOCKETS: usize = 150;
    let make = |seed| Script::new(seed, &[]).tiny(4);
    trial("overflow", 1, make, |runtime, script| {
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let pair = || (net::TcpStream::connect(address).unwrap(), listener.accept().unwrap().0);
        let (near, mut far): (Vec<_>, Vec<_>) = (0..SOCKETS).map(|_| pair()).unzip();
        let near = near.into_iter().map(|near| TcpStream::from_std(near).unwrap());
        let mut near: Vec<_> = near.collect();
        let arrive = async {
            for round in 0..3 {
                let mut reads = pin!(join_all(near.iter_mut().map(|stream| stream.read_lease())));
                assert!(give_up_after(1, reads.as_mut()).await.is_none());
                for (i, far) in far.iter_mut().enumerate() {
                    far.write_all(&[byte(i, round)]).unwrap();
                }
                // On its way, and in the ring.
                thread::sleep(Duration::from_millis(5));
                let begun = Instant::now();
                for (i, lease) in reads.await.into_iter().enumerate() {
                    check(&lease.unwrap(), i, round);
                }
                assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
            }
        };
        runtime.run(arrive).unwrap();
        assert!(script.overflows() > 0, "all completions had room");
    });
}

#[test]
fn ring_that_shows_nothing_is_entered_each_time() {
    // Goal: a busy worker makes no call unless the ring shows that there is something to do. Where the
    // kernel never shows it, the trial finds that out. Method: that flag is hidden. One task never
    // waits, and another one waits for a byte that comes once it does.
    trial(
        "mute",
        1,
        |seed| Script::new(seed, &[]).mute(),
        |runtime, _| {
            let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
            let mut far = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let mut near = TcpStream::from_std(listener.accept().unwrap().0).unwrap();
            let heard = Arc::new(AtomicBool::new(false));
            let hears = heard.clone();
            let read = runtime.spawn(async move {
                let mut bytes = [0];
                near.read_exact(&mut bytes).await.unwrap();
                hears.store(true, Ordering::SeqCst);
                bytes
            });
            let busy = runtime.spawn(async move {
                let begun = Instant::now();
                for turn in 0.. {
                    if turn == 1000 {
                        far.write_all(b"x").unwrap();
                    }
                    if heard.load(Ordering::SeqCst) || begun.elapsed() > SETTLE {
                        break;
                    }
                    yield_now().await;
                }
                assert!(heard.load(Ordering::SeqCst), "the byte is not seen while a task runs");
            });
            runtime.run(busy).unwrap().unwrap();
            assert_eq!(runtime.run(read).unwrap().unwrap(), *b"x");
        },
    );
}

#[test]
fn operation_that_the_kernel_lacks_costs_its_own_use_only() {
    // Goal: rings where only reads of files are unknown; none where sends are. Method: the probe's
    // answer is changed.
    let build = |lacks| {
        let script = Arc::new(Script::new(0, &[]).lacking(lacks));
        script.install(|| Builder::new().workers(1).backend(Backend::Uring).build())
    };
    if let Err(error) = Builder::new().workers(1).backend(Backend::Uring).build() {
        return loud(&format!("SKIPPED: {error}"));
    }
    assert_eq!(build(opcode::Read::CODE).unwrap().run(async { 1 }).unwrap(), 1);
    let error = build(opcode::Send::CODE).unwrap_err().to_string();
    assert!(error.contains("lacks operations"), "{error}");
    let script = Arc::new(Script::new(0, &[]).lacking(opcode::Read::CODE));
    let uring = script.install(|| by_hand::ring(true)).unwrap();
    assert!(!uring.supports(opcode::Read::CODE));
    assert!(uring.supports(opcode::Write::CODE));
    assert!(by_hand::ring(true).unwrap().supports(opcode::Read::CODE));
}
