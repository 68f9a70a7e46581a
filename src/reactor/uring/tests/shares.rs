//! A connection with unread bytes does not hold the memory of those that read.

use super::by_hand::ring;
use super::*;
use crate::reactor::{
    Doorbell, Pool,
    socket::{Flow, Found, Inbound},
    uring::{entry, provided::Provided},
};

/// A socket of the runtime's and its peer, which does not block.
fn pair() -> (TcpStream, net::TcpStream) {
    let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let far = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let near = listener.accept().unwrap().0;
    far.set_nonblocking(true).unwrap();
    (TcpStream::from_std(near).unwrap(), far)
}

/// Echoes by leases until the end.
async fn echo(mut stream: TcpStream) {
    while let Ok(lease) = stream.read_lease().await {
        if lease.is_empty() || stream.write_lease(lease).await.is_err() {
            return;
        }
    }
}

/// Exchanges short messages with a server on the runtime, and checks that none of them cost more
/// than it does where nobody else is connected: a few calls, and no receive without memory.
fn exchange(runtime: &Runtime, script: &Script, what: &str) {
    const MESSAGES: u64 = 300;
    let (near, far) = pair();
    far.set_nonblocking(false).unwrap();
    let server = runtime.spawn(echo(near));
    let (starved, calls) = (script.starved(), script.calls());
    for message in 0..MESSAGES {
        let bytes = [message as u8; 64];
        (&far).write_all(&bytes).unwrap();
        let mut back = [0; 64];
        (&far).read_exact(&mut back).unwrap();
        assert_eq!(back, bytes);
    }
    assert_eq!(script.starved() - starved, 0, "{what}: receives without memory");
    let calls = script.calls() - calls;
    assert!(calls <= 4 * MESSAGES, "{what}: {calls} calls for {MESSAGES} messages");
    drop(far);
    runtime.run(server).unwrap().unwrap();
}

#[test]
fn clients_that_do_not_read_cost_the_others_nothing() {
    // Goal: fair shares. Method: 32 clients send as long as anything is taken and read nothing, so
    // that what is echoed to them piles up; meanwhile another one exchanges short messages.
    const DEAF: usize = 32;
    trial(
        "deaf clients",
        1,
        |seed| Script::new(seed, &[]),
        |runtime, script| {
            let (servers, mut far): (Vec<_>, Vec<_>) = (0..DEAF)
                .map(|_| {
                    let (near, far) = pair();
                    (runtime.spawn(echo(near)), far)
                })
                .unzip();
            // Until nothing more is taken of any.
            let piece = [7; 16 << 10];
            let mut quiet = 0;
            let begun = Instant::now();
            while quiet < 20 && begun.elapsed() < SETTLE {
                let mut sent = 0;
                for far in &mut far {
                    while let Ok(more) = far.write(&piece) {
                        sent += more;
                    }
                }
                quiet = if sent == 0 { quiet + 1 } else { 0 };
                runtime.run(sleep(Duration::from_millis(1))).unwrap();
            }
            exchange(runtime, script, "deaf clients");
            drop(far);
            for server in servers {
                runtime.run(server).unwrap().unwrap();
            }
        },
    );
}

#[test]
fn short_messages_that_nobody_reads_do_not_hold_the_buffers() {
    // Goal: two idle sockets, each with more unread short messages than its cap, leave buffers for
    // others. Method: their receives are armed for good by first messages; those that follow arrive
    // one by one, each on its own.
    const ARMED: u8 = 3;
    trial(
        "unread",
        1,
        |seed| Script::new(seed, &[]),
        |runtime, script| {
            let mut idle: Vec<_> = (0..2).map(|_| pair()).collect();
            for round in 0..39 {
                for (near, far) in &mut idle {
                    let read = async {
                        // Those armed for one time come first.
                        if round < ARMED {
                            let mut read = pin!(near.read_lease());
                            assert!(give_up_after(2, read.as_mut()).await.is_none());
                            far.write_all(&[round]).unwrap();
                            assert_eq!(&*read.await.unwrap(), [round]);
                        } else {
                            far.write_all(&[round]).unwrap();
                        }
                    };
                    runtime.run(read).unwrap();
                    runtime.run(sleep(Duration::from_micros(300))).unwrap();
                }
            }
            assert!(runtime.metrics().leases >= 60, "{:?}", runtime.metrics());
            exchange(runtime, script, "unread messages");
            for (mut near, far) in idle {
                drop(far);
                let rest = async {
                    let mut rest = Vec::new();
                    near.read_to_end(&mut rest).await.unwrap();
                    rest
                };
                assert_eq!(runtime.run(rest).unwrap(), (ARMED..39).collect::<Vec<u8>>());
            }
        },
    );
}

/// `IORING_CQE_F_BUFFER`, `IORING_CQE_F_BUF_MORE`.
const BUFFER: u32 = 1;
const BUF_MORE: u32 = 1 << 4;

#[test]
fn buffer_that_comes_back_without_bytes_is_provided_again() {
    // Goal: a completion with a buffer, no bytes and no flag for more says that the kernel is done
    // with the buffer: it must not be lost. With the flag it is still the kernel's. Method: such
    // completions, made by hand, and what the kernel is given then.
    for incremental in [true, false] {
        let Some(uring) = ring(true) else { return };
        let doorbell = Box::leak(Box::new(Doorbell::new()));
        let mut provided =
            Provided::new(uring.ring.io_uring().unwrap(), incremental, doorbell).unwrap();
        for (result, flags) in [(0, BUF_MORE), (0, 0), (-104, 0)] {
            let back = flags == 0 || !incremental;
            let before = provided.tail();
            let completion = entry::completion(1, result, BUFFER | flags | 1 << 16);
            assert!(provided.received(&completion).is_none());
            provided.provide();
            assert_eq!(provided.tail() - before, u16::from(back), "{result} {flags}");
        }
        // The ring goes first: the kernel has the mapping.
        drop(uring);
        drop(provided);
    }
}

#[test]
fn receive_stops_at_its_share() {
    // Goal: what a socket may leave unread is its share, but never less than 4 KiB. Method: arrivals
    // by hand, with shares of any size.
    let doorbell = Box::leak(Box::new(Doorbell::new()));
    let mut pool = Pool::new(1, 1 << 16, doorbell).unwrap();
    let mut lease = |len| {
        let zeroes = |room: &mut [MaybeUninit<u8>]| {
            room[..len].fill(MaybeUninit::new(0));
            Ok(len)
        };
        pool.read_or_apart(zeroes).unwrap()
    };
    let inbound = Inbound::new();
    let armed = inbound.take(true, std::task::Waker::noop(), |_| ());
    assert!(matches!(armed, Found::ToArm), "{armed:?}");
    for (len, share, flow) in
        [(4096, 0, Flow::Goes), (1, 4097, Flow::Goes), (1, 4097, Flow::Stop), (1, 0, Flow::Goes)]
    {
        assert_eq!(inbound.arrived(lease(len), || share, &mut Vec::new()), flow, "{len} {share}");
    }
}

#[test]
fn shares_get_smaller_as_leases_hold_more() {
    // Goal: the share is an eighth of what is left of 8 MiB, and comes back with the leases. Method:
    // completions by hand, each of a whole buffer.
    for (incremental, size) in [(true, 64 << 10), (false, 8 << 10)] {
        let Some(uring) = ring(true) else { return };
        let doorbell = Box::leak(Box::new(Doorbell::new()));
        let mut provided =
            Provided::new(uring.ring.io_uring().unwrap(), incremental, doorbell).unwrap();
        let all = provided.share();
        assert_eq!(all, 1 << 20);
        let completion = |id: u32| entry::completion(1, 100, BUFFER | id << 16);
        let first = provided.received(&completion(0)).unwrap();
        let second = provided.received(&completion(1)).unwrap();
        assert_eq!(provided.share(), all - 2 * size / 8);
        drop((first, second));
        provided.provide();
        assert_eq!(provided.share(), all);
        // The ring goes first: the kernel has the mapping.
        drop(uring);
        drop(provided);
    }
}

#[test]
fn receive_takes_all_that_a_buffer_has_room_for() {
    // Goal: a receive has no length of its own (the script looks at each). Method: bytes that are
    // there at once come as one lease if they fit into a buffer, and in order if they do not.
    trial(
        "length",
        1,
        |seed| Script::new(seed, &[]),
        |runtime, _| {
            let (mut near, mut far) = pair();
            for (round, len) in [1, 1, 5000, 20_000, 5000].into_iter().enumerate() {
                let sent: Vec<u8> = (0..len).map(|at| byte(round, at)).collect();
                let read = async {
                    let first = {
                        let mut first = pin!(near.read_lease());
                        if round > 0 {
                            assert!(give_up_after(2, first.as_mut()).await.is_none());
                        }
                        far.write_all(&sent).unwrap();
                        first.await.unwrap()
                    };
                    check(&first, round, 0);
                    let mut got = first.len();
                    while got < len {
                        let lease = near.read_lease().await.unwrap();
                        check(&lease, round, got);
                        got += lease.len();
                    }
                    assert_eq!(got, len);
                    first.len()
                };
                let first = runtime.run(read).unwrap();
                assert!(len > 5000 || first == len, "round {round}: {first} of {len} bytes");
            }
        },
    );
}
