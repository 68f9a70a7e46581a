//! The ways to read and write one stream, side by side and in any order.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join;
use ringloop::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, Lease};
use ringloop::net::{TcpListener, TcpStream};
use ringloop::time::timeout;
use ringloop::{spawn, yield_now};

use crate::harness::{on_every, scale, scaled};
use crate::net_stream::pair;
use crate::tools::{GiveUpAfter, check_pattern, fill_pattern, pattern_byte};

/// The number of ways to read.
pub const READS: usize = 12;

/// Reads at most `room` bytes in one of the ways; no bytes mean the end. (A lease may hold more.)
pub async fn read_by(
    mut stream: TcpStream,
    verb: usize,
    room: usize,
) -> (TcpStream, io::Result<Vec<u8>>) {
    let mut buf = vec![0; room];
    let result = match verb {
        0 => stream.read_lease().await.map(|lease| lease.to_vec()),
        1 => {
            let (result, buf) = stream.read(Vec::with_capacity(room)).await;
            result.map(|n| {
                assert_eq!(n, buf.len());
                buf
            })
        }
        2 => {
            let (result, boxed) = stream.read(buf.into_boxed_slice()).await;
            result.map(|n| boxed[..n].to_vec())
        }
        3 => stream.read(&mut buf[..]).await.map(|n| buf[..n].to_vec()),
        4 => AsyncReadExt::read(&mut stream, &mut buf).await.map(|n| buf[..n].to_vec()),
        5 => {
            let (front, back) = buf.split_at_mut(room / 2);
            let mut slices = [IoSliceMut::new(front), IoSliceMut::new(back)];
            stream.read_vectored(&mut slices).await.map(|n| buf[..n].to_vec())
        }
        6 => try_read_when_ready(&stream, &mut buf).await.map(|n| buf[..n].to_vec()),
        7 => match stream.peek(&mut buf).await {
            Err(error) => Err(error),
            Ok(peeked) => {
                let mut again = vec![0; room];
                stream.read(&mut again).await.map(|n| {
                    let both = n.min(peeked);
                    assert_eq!(buf[..both], again[..both], "peeked at other bytes than were read");
                    again[..n].to_vec()
                })
            }
        },
        8 => {
            let (mut reader, writer) = stream.into_split();
            let result = reader.read(&mut buf).await.map(|n| buf[..n].to_vec());
            stream = reader.reunite(writer).expect("halves of one stream");
            result
        }
        9 => stream.read(&mut buf).await.map(|n| buf[..n].to_vec()),
        10 => {
            let mut array = [0; 300];
            stream.read(&mut array).await.map(|n| array[..n].to_vec())
        }
        11 => match stream.readable().await {
            Err(error) => Err(error),
            Ok(()) => stream.read(&mut buf).await.map(|n| buf[..n].to_vec()),
        },
        _ => unreachable!("{READS} verbs"),
    };
    (stream, result)
}

async fn try_read_when_ready(stream: &TcpStream, buf: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.try_read(buf) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => stream.readable().await?,
            result => return result,
        }
    }
}

/// The number of ways to write.
pub const WRITES: usize = 9;

/// Writes all of `bytes` in one of the ways.
pub async fn write_by(
    mut stream: TcpStream,
    verb: usize,
    bytes: &[u8],
) -> (TcpStream, io::Result<()>) {
    let result = match verb {
        0 => stream.write_all(bytes).await,
        1 => whole(stream.write(bytes.to_vec()).await, bytes),
        2 => whole(stream.write(bytes.to_vec().into_boxed_slice()).await, bytes),
        3 => write_in_parts(&mut stream, bytes).await,
        4 => write_in_slices(&mut stream, bytes).await,
        5 => try_write_when_ready(&stream, bytes).await,
        6 => {
            let (reader, mut writer) = stream.into_split();
            let result = writer.write_all(bytes).await;
            stream = reader.reunite(writer).expect("halves of one stream");
            result
        }
        7 => match stream.write_all(bytes).await {
            Ok(()) => stream.flush().await,
            error => error,
        },
        8 => match AsyncWriteExt::write(&mut stream, &bytes[..bytes.len() / 2]).await {
            Ok(n) => stream.write_all(&bytes[n..]).await,
            Err(error) => Err(error),
        },
        _ => unreachable!("{WRITES} verbs"),
    };
    (stream, result)
}

fn whole<B: AsRef<[u8]>>((result, back): (io::Result<usize>, B), bytes: &[u8]) -> io::Result<()> {
    assert!(back.as_ref() == bytes, "another buffer came back");
    result.map(|n| assert_eq!(n, bytes.len(), "an owned buffer is written in full"))
}

async fn write_in_parts(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let mut sent = 0;
    while sent < bytes.len() {
        sent += stream.write(&bytes[sent..]).await?;
    }
    Ok(())
}

async fn write_in_slices(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let mut sent = 0;
    while sent < bytes.len() {
        let (front, back) = bytes[sent..].split_at((bytes.len() - sent) / 3);
        let slices = [IoSlice::new(front), IoSlice::new(&[]), IoSlice::new(back)];
        sent += stream.write_vectored(&slices).await?;
    }
    Ok(())
}

async fn try_write_when_ready(stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.try_write(&bytes[sent..]) {
            Ok(n) => sent += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Makes leases of given bytes: it sends the bytes to itself.
pub struct Mint {
    into: TcpStream,
    from: TcpStream,
}

impl Mint {
    pub async fn new() -> Mint {
        let (into, from) = pair().await;
        into.set_nodelay(true).unwrap();
        Mint { into, from }
    }

    /// `bytes`, in one lease or several.
    pub async fn leases(&mut self, bytes: &[u8]) -> Vec<Lease> {
        let Mint { into, from } = self;
        let sending = async { into.write_all(bytes).await.unwrap() };
        let receiving = async {
            let (mut leases, mut got) = (Vec::new(), 0);
            while got < bytes.len() {
                let lease = from.read_lease().await.unwrap();
                assert!(!lease.is_empty());
                got += lease.len();
                leases.push(lease);
            }
            assert_eq!(got, bytes.len());
            leases
        };
        join(sending, receiving).await.1
    }

    /// The stream's bytes from `offset` on.
    pub async fn pattern(&mut self, offset: usize, len: usize) -> Vec<Lease> {
        let mut bytes = vec![0; len];
        fill_pattern(&mut bytes, offset);
        self.leases(&bytes).await
    }
}

/// Drops a stream so that its peer is reset.
pub fn reset(stream: TcpStream) {
    stream.socket().set_linger(Some(Duration::ZERO)).unwrap();
}

/// A wait that takes this long is taken to hang.
const HANG: Duration = Duration::from_secs(20);

/// Fails instead of waiting for ever.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    let begun = Instant::now();
    let limit = HANG * scale() as u32;
    match timeout(limit, future).await {
        // A wake by the timeout would poll the future again, and so hide that its own wake was
        // lost.
        Ok(output) if begun.elapsed() < limit => output,
        _ => panic!("hangs: {what}"),
    }
}

#[test]
fn verbs_in_any_order_move_every_byte_once() {
    // Goal: reads and writes may change their way at any time; method: a numbered stream, sent and
    // received in a random way each time, with pauses and reads that are given up in between.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let total = scaled(400_000);
            let (mut near, mut far) = pair().await;
            let mut rng = cfg.rng(20);
            let mut mint = Mint::new().await;
            let writer = spawn(async move {
                let mut sent = 0;
                while sent < total {
                    let n = (1 + rng.below([10, 300, 5000, 60_000][rng.clone().below(4)]))
                        .min(total - sent);
                    if rng.one_in(3) {
                        for lease in mint.pattern(sent, n).await {
                            match rng.below(2) {
                                0 => far.write_lease(lease).await.unwrap(),
                                _ => drop(far.write(lease).await.0.unwrap()),
                            }
                        }
                    } else {
                        let mut buf = vec![0; n];
                        fill_pattern(&mut buf, sent);
                        let result;
                        (far, result) = write_by(far, rng.below(WRITES), &buf).await;
                        result.unwrap();
                    }
                    sent += n;
                    if rng.one_in(4) {
                        yield_now().await;
                    }
                }
                far.close().await.unwrap();
                far
            });
            let (mut got, mut rng) = (0, cfg.rng(21));
            loop {
                if rng.one_in(4) {
                    let turns = rng.below(3);
                    if let Some(lease) = GiveUpAfter::new(turns, near.read_lease()).await {
                        let lease = lease.unwrap();
                        check_pattern(&lease, got);
                        got += lease.len();
                    }
                }
                let (verb, room) = (rng.below(READS), 2 + rng.below(4000));
                let result;
                (near, result) = read_by(near, verb, room).await;
                let bytes = result.unwrap();
                if bytes.is_empty() {
                    break;
                }
                check_pattern(&bytes, got);
                got += bytes.len();
            }
            assert_eq!(got, total);
            drop(writer.await.unwrap());
        });
    });
}

/// A stream whose peer has written `last`; `warm`: it already receives into leases.
async fn waiting_stream(warm: bool) -> (TcpStream, TcpStream) {
    let (mut near, mut far) = pair().await;
    if warm {
        far.write_all(b"first").await.unwrap();
        let mut got = 0;
        while got < 5 {
            got += near.read_lease().await.unwrap().len();
        }
        assert!(GiveUpAfter::new(2, near.read_lease()).await.is_none());
    }
    (near, far)
}

/// Reads until the end or an error.
async fn read_all_by(
    mut near: TcpStream,
    verb: usize,
) -> (TcpStream, Vec<u8>, Option<io::ErrorKind>) {
    let mut all = Vec::new();
    loop {
        let result;
        (near, result) = read_by(near, verb, 1000).await;
        match result {
            Ok(bytes) if bytes.is_empty() => return (near, all, None),
            Ok(bytes) => all.extend(bytes),
            Err(error) => return (near, all, Some(error.kind())),
        }
    }
}

#[test]
fn every_verb_returns_the_end_after_the_data() {
    // Goal: the end comes after the bytes, and stays; method: each way to read, on a stream that
    // receives into leases and on one that does not, before and after the peer's end has arrived;
    // then all other ways.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for verb in 0..READS {
                for (warm, early) in [(true, true), (true, false), (false, true), (false, false)] {
                    let (near, mut far) = waiting_stream(warm).await;
                    let late = spawn(async move {
                        for _ in 0..if early { 0 } else { 5 } {
                            yield_now().await;
                        }
                        far.write_all(b"last words").await.unwrap();
                        drop(far);
                    });
                    if early {
                        late.await.unwrap();
                        ringloop::time::sleep(Duration::from_micros(200)).await;
                    } else {
                        late.detach();
                    }
                    let case = format!("verb {verb}, warm {warm}, early {early}");
                    let (mut near, all, error) = soon(&case, read_all_by(near, verb)).await;
                    assert_eq!((&all[..], error), (&b"last words"[..], None), "{case}");
                    for after in 0..READS {
                        let result;
                        (near, result) = soon("after the end", read_by(near, after, 100)).await;
                        assert_eq!(result.unwrap(), b"", "verb {after} after {case}");
                    }
                }
            }
        });
    });
}

#[test]
fn every_verb_returns_a_reset_once() {
    // Goal: a reset is not taken for the end of the stream; method: as above with a peer that
    // resets: the bytes, then the error once, then the end. After readable() has found an error, a
    // read still returns it.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let mut wrong = Vec::new();
            for verb in 0..READS {
                for (warm, early) in [(true, true), (true, false), (false, true), (false, false)] {
                    let (near, mut far) = waiting_stream(warm).await;
                    let late = spawn(async move {
                        for _ in 0..if early { 0 } else { 5 } {
                            yield_now().await;
                        }
                        far.write_all(b"last words").await.unwrap();
                        reset(far);
                    });
                    if early {
                        late.await.unwrap();
                        ringloop::time::sleep(Duration::from_micros(200)).await;
                    } else {
                        late.detach();
                    }
                    let case = format!("verb {verb}, warm {warm}, early {early}");
                    let reading = read_all_by(near, verb);
                    let Ok((mut near, all, error)) = timeout(HANG, reading).await else {
                        wrong.push(format!("{case}: hangs"));
                        continue;
                    };
                    if (&all[..], error) != (b"last words", Some(ErrorKind::ConnectionReset)) {
                        wrong.push(format!("{case}: {} bytes, then {error:?}", all.len()));
                    }
                    for after in 0..READS {
                        let result;
                        (near, result) = soon("after a reset", read_by(near, after, 100)).await;
                        if !matches!(&result, Ok(end) if end.is_empty()) {
                            wrong.push(format!("{case}, {after} after it: {result:?}"));
                        }
                    }
                }
            }
            assert!(wrong.is_empty(), "{wrong:#?}");
        });
    });
}

#[test]
fn owned_buffers_come_back_with_their_memory() {
    // Goal: what read(buf) and write(buf) promise about buffers; method: each kind, with room, without
    // room, with old content, and larger than what a socket holds.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for warm in [false, true] {
                let (mut near, mut far) = waiting_stream(warm).await;
                let mut old = Vec::with_capacity(64);
                old.extend_from_slice(b"old content that is longer");
                let at = old.as_ptr() as usize;
                far.write_all(b"new").await.unwrap();
                let (result, new) = near.read(old).await;
                assert_eq!((result.unwrap(), &new[..]), (3, &b"new"[..]));
                assert_eq!((new.as_ptr() as usize, new.capacity()), (at, 64), "the same memory");
                let (result, none) = soon("no room", near.read(Vec::new())).await;
                assert_eq!((result.unwrap(), none.len()), (0, 0));
                far.write_all(b"box").await.unwrap();
                let (result, boxed) = near.read(vec![7; 5].into_boxed_slice()).await;
                assert_eq!((result.unwrap(), &boxed[..]), (3, &b"box\x07\x07"[..]));

                let text = String::from("a string");
                let (result, text) = far.write(text).await;
                assert_eq!((result.unwrap(), &text[..]), (8, "a string"));
                assert_eq!(soon("none", far.write(Vec::new())).await.0.unwrap(), 0);
                let mut array = [0; 8];
                near.read_exact(&mut array).await.unwrap();
                assert_eq!(&array, b"a string");

                let mut large = vec![0; 1_000_000];
                fill_pattern(&mut large, 0);
                let at = large.as_ptr() as usize;
                let sender = spawn(async move {
                    let (result, back) = far.write(large).await;
                    assert_eq!((result.unwrap(), back.len()), (1_000_000, 1_000_000));
                    back.as_ptr() as usize
                });
                let mut got = 0;
                let mut buf = Vec::with_capacity(100_000);
                while got < 1_000_000 {
                    let result;
                    (result, buf) = near.read(buf).await;
                    assert!(result.unwrap() > 0);
                    check_pattern(&buf, got);
                    got += buf.len();
                }
                assert_eq!(sender.await.unwrap(), at, "the same memory");
            }
        });
    });
}

#[test]
fn borrowed_buffers_work_as_with_the_traits() {
    // Goal: read and write of the stream take precedence over those of the traits, with the same
    // results; method: the same steps with both, bytes, an empty buffer, and the end.
    async fn by_traits(stream: &mut (impl AsyncRead + Unpin)) -> Vec<usize> {
        let (mut a, mut b) = ([0; 4], [0; 100]);
        let mut results =
            vec![stream.read(&mut a).await.unwrap(), stream.read(&mut []).await.unwrap()];
        assert_eq!(&a, b"four");
        results.push(stream.read(&mut b).await.unwrap());
        results.push(stream.read(&mut b).await.unwrap());
        results
    }
    async fn by_itself(stream: &mut TcpStream) -> Vec<usize> {
        let (mut a, mut b) = ([0; 4], vec![0; 100]);
        let mut results =
            vec![stream.read(&mut a).await.unwrap(), stream.read(&mut []).await.unwrap()];
        assert_eq!(&a, b"four");
        results.push(stream.read(&mut b).await.unwrap());
        let mut boxed = b.into_boxed_slice();
        results.push(stream.read(&mut boxed).await.unwrap());
        results
    }
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for warm in [false, true] {
                let mut results = Vec::new();
                for itself in [false, true] {
                    let (mut near, mut far) = waiting_stream(warm).await;
                    assert_eq!(far.write(b"four").await.unwrap(), 4);
                    assert_eq!(far.write(&b" and "[..]).await.unwrap(), 5);
                    assert_eq!(far.write(&b"more".to_vec()).await.unwrap(), 4);
                    drop(far);
                    // Time for all of it to arrive.
                    ringloop::time::sleep(Duration::from_millis(1)).await;
                    results.push(match itself {
                        true => by_itself(&mut near).await,
                        false => by_traits(&mut near).await,
                    });
                }
                for counts in &results {
                    assert_eq!(counts[..2], [4, 0], "{results:?}");
                    // Bytes that were received ahead may end where a write ended.
                    let ends: &[[usize; 2]] = if warm { &[[9, 0], [5, 4]] } else { &[[9, 0]] };
                    assert!(ends.iter().any(|end| counts[2..] == *end), "{results:?}");
                }
            }
        });
    });
}

#[test]
fn flush_waits_until_the_kernel_has_all_bytes() {
    // Goal: a flush waits for what was queued; method: leases and other writes, a flush, and then
    // the peer reads them in a call that blocks this very worker, so that it can send nothing more.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let (mut near, _) = listener.accept().await.unwrap();
            let mut rng = cfg.rng(22);
            let mut mint = Mint::new().await;
            let mut sent = 0;
            for _ in 0..scaled(50) {
                let begun = sent;
                for _ in 0..1 + rng.below(4) {
                    let n = 1 + rng.below(3000);
                    for lease in mint.pattern(sent, n).await {
                        near.write_lease(lease).await.unwrap();
                    }
                    sent += n;
                    if rng.one_in(3) {
                        near.write_all(&[pattern_byte(sent)]).await.unwrap();
                        sent += 1;
                    }
                }
                near.flush().await.unwrap();
                let mut all = vec![0; sent - begun];
                peer.read_exact(&mut all).unwrap();
                check_pattern(&all, begun);
            }
        });
    });
}

#[test]
fn connection_is_converted_with_what_was_received_for_leases() {
    // Goal: into_parts loses no byte, and into_std is an error if it would lose one; method: a
    // stream that receives into leases, bytes of which a part arrives before and a part after, and
    // queued bytes that are sent first.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let mut mint = Mint::new().await;
            for to_std in [false, true] {
                let (mut near, mut far) = waiting_stream(true).await;
                far.write_all(b"unread").await.unwrap();
                // Time in which the worker may receive them ahead.
                ringloop::time::sleep(Duration::from_millis(2)).await;
                for lease in mint.leases(b"queued").await {
                    near.write_lease(lease).await.unwrap();
                }
                let std = if to_std {
                    match near.into_std().await {
                        Ok(std) => (std, Vec::new()),
                        Err(error) => {
                            assert!(error.to_string().contains("into_parts"), "{error}");
                            continue;
                        }
                    }
                } else {
                    near.into_parts().await.unwrap()
                };
                let (mut near, mut text) = std;
                near.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                far.write_all(b" and more").await.unwrap();
                far.close().await.unwrap();
                near.read_to_end(&mut text).expect("the rest");
                assert_eq!(text, b"unread and more");
                let mut queued = [0; 6];
                far.read_exact(&mut queued).await.unwrap();
                assert_eq!(&queued, b"queued");
            }
        });
    });
}

#[test]
fn all_tasks_that_wait_for_readable_are_woken() {
    // Goal: readable() and peek() take &self, so that several may wait; method: three tasks wait on one
    // stream, which has received leases before and has one armed, or not; one byte comes.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for warm in [false, true] {
                let (near, mut far) = waiting_stream(warm).await;
                let near = Arc::new(near);
                let waiters: Vec<_> = (0..3)
                    .map(|i| {
                        let near = near.clone();
                        spawn(async move {
                            match i {
                                0 => drop(near.peek(&mut [0; 1]).await.unwrap()),
                                _ => near.readable().await.unwrap(),
                            }
                        })
                    })
                    .collect();
                for _ in 0..10 {
                    yield_now().await;
                }
                far.write_all(b"!").await.unwrap();
                for (i, waiter) in waiters.into_iter().enumerate() {
                    soon(&format!("waiter {i}, warm {warm}"), waiter).await.unwrap();
                }
            }
        });
    });
}

#[test]
fn try_write_behind_queued_bytes_would_block_or_goes_behind_them() {
    // Goal: try_write never overtakes queued bytes, and has no error but WouldBlock; method: it is
    // called right after write_lease, again and again, with writable() in between.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (mut near, mut far) = pair().await;
            let total = scaled(40_000);
            let mut mint = Mint::new().await;
            let writer = spawn(async move {
                let mut sent = 0;
                while sent < total {
                    for lease in mint.pattern(sent, 100).await {
                        near.write_lease(lease).await.unwrap();
                    }
                    let mut buf = [0; 100];
                    fill_pattern(&mut buf, sent + 100);
                    try_write_when_ready(&near, &buf).await.unwrap();
                    sent += 200;
                }
                near.close().await.unwrap();
            });
            soon("reader", crate::net_stream::expect_pattern(&mut far, total, 5000)).await;
            soon("writer", writer).await.unwrap();
        });
    });
}

#[test]
fn nothing_is_written_after_shutdown() {
    // Goal: shutdown(Write) sends the queued bytes, and nothing that is written later; method: a
    // lease, the shutdown, and then each way to write.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for verb in 0..=WRITES {
                let mut mint = Mint::new().await;
                let (mut near, mut far) = pair().await;
                for lease in mint.leases(b"before").await {
                    near.write_lease(lease).await.unwrap();
                }
                near.shutdown_now(Shutdown::Write).unwrap();
                let result = if verb == WRITES {
                    let mut result = Ok(());
                    for lease in mint.leases(b"after").await {
                        result = result.and(near.write_lease(lease).await);
                    }
                    result.and(near.flush().await)
                } else {
                    let result;
                    (near, result) = soon("write", write_by(near, verb, b"after")).await;
                    result
                };
                let mut text = Vec::new();
                soon("end", far.read_to_end(&mut text)).await.unwrap();
                assert_eq!(text, b"before", "verb {verb}");
                assert!(result.is_err(), "verb {verb}");
                drop(near);
            }
        });
    });
}
