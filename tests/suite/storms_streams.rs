//! Seeded storms over readers and writers, and over protocols: random ways to read and write, cancels, half-closes,
//! closes, aborts and changes of the protocol. Each byte comes in order, or there is an error.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringloop::net::{TcpStream, UnixStream};
use ringloop::protocol::{self, AfterEof, Protocol, Transport};
use ringloop::streams::{self, StreamReader, StreamWriter};
use ringloop::time::sleep;
use ringloop::{spawn, yield_now};

use crate::faces::soon;
use crate::harness::{
    Cfg, Rng, TestRuntime, assert_quiet, loud, on_every, on_every_within, scaled,
};
use crate::net_stream::{narrow_pair, pair};
use crate::tools::{GiveUpAfter, check_pattern, fill_pattern};

/// How one side has ended, and how many bytes of the numbered stream it has written or read.
#[derive(Debug, Clone, Copy, Default)]
struct Ended {
    bytes: usize,
    /// The writer has closed, or has left, so that all bytes arrive; the reader has read to the end.
    in_order: bool,
    /// The writer has aborted, or a write has failed: then the connection is known to be lost on this side.
    lost: bool,
    /// The writer has left before everything was sent: an error behind that is not known.
    unseen: bool,
    /// What a write, or a read, has failed with.
    error: Option<ErrorKind>,
    /// Operations.
    ops: usize,
}

async fn pause(rng: &mut Rng) {
    match rng.below(16) {
        0 | 1 => yield_now().await,
        2 => sleep(Duration::from_micros(rng.next() % 200)).await,
        _ => {}
    }
}

/// Writes the numbered stream in random ways, gives writes up, and ends at random.
async fn write_storm(mut writer: StreamWriter, mut rng: Rng, ops: usize) -> Ended {
    let mut ended = Ended::default();
    if rng.one_in(4) {
        writer.set_write_buffer_limits(rng.below(9000), rng.below(3000));
    }
    for _ in 0..ops {
        let len = 1 + rng.below([3, 200, 5000, 40_000][rng.clone().below(4)]);
        let mut buf = vec![0; len];
        fill_pattern(&mut buf, ended.bytes);
        ended.ops += 1;
        let result = match rng.below(6) {
            0 => {
                let (first, second) = buf.split_at(rng.below(len));
                writer.write_all_vectored(&[first, &[], second]).await
            }
            1 => {
                // What was polled once is sent as a whole, also if it is given up.
                let turns = 1 + rng.below(3);
                GiveUpAfter::new(turns, writer.write_all(&buf)).await.unwrap_or(Ok(()))
            }
            2 => {
                let polls = rng.below(3);
                match GiveUpAfter::new(polls, writer.flush()).await {
                    Some(Err(error)) => Err(error),
                    _ => continue,
                }
            }
            _ => writer.write_all(&buf).await,
        };
        if let Err(error) = result {
            ended.error = Some(error.kind());
            // The reader has left: it may have any part.
            ended.bytes += len;
            ended.lost = true;
            return ended;
        }
        ended.bytes += len;
        pause(&mut rng).await;
    }
    match rng.below(5) {
        0 => ended.in_order = writer.close().await.is_ok(),
        1 => ended.in_order = writer.write_eof().await.is_ok(),
        2 => {
            // The end is sent all the same.
            (ended.in_order, ended.unseen) = (true, true);
            GiveUpAfter::new(1 + rng.below(2), writer.close()).await;
        }
        3 => {
            (ended.in_order, ended.unseen) = (true, true);
            drop(writer);
        }
        _ => writer.abort(),
    }
    ended.lost = !ended.in_order;
    ended
}

/// One way to read. It gives the number of bytes; 0 is the end.
async fn read_once(reader: &mut StreamReader, rng: &mut Rng, at: usize) -> io::Result<usize> {
    let incomplete = |error: streams::ReadError| match error.is_incomplete() {
        true => Ok(error.into_partial()),
        false => Err(error),
    };
    match rng.below(6) {
        0 => {
            let mut buf = vec![0; 1 + rng.below(20_000)];
            let len = reader.read(&mut buf).await?;
            check_pattern(&buf[..len], at);
            Ok(len)
        }
        1 => {
            let shown = reader.fill_buf().await?;
            check_pattern(shown, at);
            let len = shown.len().min(1 + rng.below(5000));
            reader.consume(len);
            Ok(len)
        }
        2 => {
            let mut buf = vec![0; 1 + rng.below(9000)];
            match reader.read_exact(&mut buf).await {
                Ok(()) => {}
                Err(error) => buf = incomplete(error)?,
            }
            check_pattern(&buf, at);
            Ok(buf.len())
        }
        3 => {
            let separator = [rng.below(251) as u8];
            let found = match reader.read_until(separator).await {
                Ok(found) => found,
                Err(error) => incomplete(error)?,
            };
            check_pattern(&found, at);
            Ok(found.len())
        }
        _ => {
            // Given up, it has taken nothing.
            let (turns, len) = (rng.below(3), 1 + rng.below(30_000));
            match rng.below(3) {
                0 => {
                    // An error is reported once.
                    GiveUpAfter::new(turns, reader.fill_buf()).await.transpose()?;
                }
                1 => {
                    let mut buf = vec![0; len];
                    match GiveUpAfter::new(turns, reader.read_exact(&mut buf)).await {
                        None => {}
                        Some(result) => {
                            let read = match result {
                                Ok(()) => buf,
                                Err(error) => incomplete(error)?,
                            };
                            check_pattern(&read, at);
                            return Ok(read.len());
                        }
                    }
                }
                _ => {
                    let until = reader.read_until_any(&[b"\x07\x08\x09\x0b", b"\xf0"]);
                    match GiveUpAfter::new(turns, until).await {
                        None => {}
                        Some(result) => {
                            let read = match result {
                                Ok(read) => read,
                                Err(error) => incomplete(error)?,
                            };
                            check_pattern(&read, at);
                            return Ok(read.len());
                        }
                    }
                }
            }
            let mut buf = [0; 64];
            let len = reader.read(&mut buf).await?;
            check_pattern(&buf[..len], at);
            Ok(len)
        }
    }
}

/// Reads the numbered stream in random ways, from task to task, and may leave before the end.
async fn read_storm(mut reader: StreamReader, mut rng: Rng, patience: usize) -> Ended {
    let mut ended = Ended::default();
    while ended.ops < patience {
        ended.ops += 1;
        let at = ended.bytes;
        let step = async move {
            let read = read_once(&mut reader, &mut rng, at).await;
            (reader, rng, read)
        };
        let moves = ended.ops % 5 == 0;
        let read;
        (reader, rng, read) = if moves { spawn(step).await.unwrap() } else { step.await };
        match read {
            Ok(0) => {
                ended.in_order = true;
                return ended;
            }
            Ok(len) => ended.bytes += len,
            Err(error) => {
                // The last is that of a connection that this side has aborted.
                let kinds =
                    [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::NotConnected];
                assert!(kinds.contains(&error.kind()), "{error:?}");
                ended.error = Some(error.kind());
                return ended;
            }
        }
        pause(&mut rng).await;
    }
    ended
}

/// Both ends of a connection. `true`: an abort of the one is an error of the other.
async fn connection(
    rng: &mut Rng,
) -> ((StreamReader, StreamWriter), (StreamReader, StreamWriter), bool) {
    match rng.below(4) {
        0 => {
            let (near, far) = UnixStream::pair().unwrap();
            // It knows no reset.
            (streams::split(near), streams::split(far), false)
        }
        1 => {
            let (near, far) = narrow_pair().await;
            (streams::split(near), streams::split(far), true)
        }
        _ => {
            let (near, far) = pair().await;
            (streams::split(near), streams::split(far), true)
        }
    }
}

/// A round of connections, both ways. It gives the number of operations.
fn streams_round(runtime: &TestRuntime, mut rng: Rng, strict: bool) -> usize {
    let handle = runtime.handle();
    let ops = runtime.must_run(async move {
        let mut pairs = Vec::new();
        for number in 0..12 {
            let ((near_reader, near_writer), (far_reader, far_writer), resets) =
                connection(&mut rng).await;
            let mut ends = Vec::new();
            for (writer, reader) in [(near_writer, far_reader), (far_writer, near_reader)] {
                let (mut seed, other) = (Rng::new(rng.next()), Rng::new(rng.next()));
                // If both left, both writers would wait for room, each with its end open.
                let leaves = ends.is_empty() && seed.one_in(3);
                let patience = if leaves { seed.below(30) } else { usize::MAX };
                let ops = 1 + seed.below(40);
                let writer = spawn(write_storm(writer, seed, ops));
                ends.push((writer, spawn(read_storm(reader, other, patience))));
            }
            pairs.push((number, resets, ends));
        }
        let mut ops = 0;
        for (number, resets, ends) in pairs {
            let mut ways = Vec::new();
            for (writer, reader) in ends {
                let writer = soon(&format!("writer {number}"), writer).await.unwrap();
                ways.push((writer, soon(&format!("reader {number}"), reader).await.unwrap()));
            }
            for way in 0..2 {
                // The writer of the reader's own side has lost the connection: then the reader may see an end.
                let own = ways[1 - way].0;
                let is_lost = own.lost || own.unseen && !strict;
                let (writer, reader) = ways[way];
                ops += writer.ops + reader.ops;
                assert!(reader.bytes <= writer.bytes, "more than was sent: {ways:?}");
                if reader.in_order && resets && !is_lost {
                    assert!(writer.in_order, "connection {number}: an end: {ways:?}");
                    assert_eq!(reader.bytes, writer.bytes, "connection {number}: {ways:?}");
                }
            }
        }
        ops
    });
    assert_quiet(&handle);
    ops
}

/// What a protocol has done and seen.
#[derive(Debug, Default)]
struct Seen {
    received: usize,
    written: usize,
    /// Of the write that found the connection lost, of which a part may have been sent.
    refused: usize,
    ops: usize,
    ended: bool,
    aborted: bool,
    closed: bool,
    lost: Option<Option<ErrorKind>>,
}

/// Reads the numbered stream, and writes one, in random ways.
struct Storm {
    seen: Arc<Mutex<Seen>>,
    rng: Rng,
    /// It may answer so many times.
    answers: usize,
}

impl Storm {
    fn write(&mut self, transport: &Transport) {
        let mut seen = self.seen.lock().unwrap();
        if self.answers == 0 || transport.is_writing_paused() || transport.is_closing() {
            return;
        }
        self.answers -= 1;
        let mut bytes = vec![0; 1 + self.rng.below([10, 3000, 30_000][self.rng.clone().below(3)])];
        fill_pattern(&mut bytes, seen.written);
        let (first, second) = bytes.split_at(self.rng.below(bytes.len()));
        if transport.write_vectored(&[first, second]) {
            seen.written += bytes.len();
            seen.ops += 1;
        } else {
            seen.refused = bytes.len();
        }
    }

    /// Whatever comes to its mind. `unread` is for the next protocol.
    fn act(&mut self, transport: &Transport, unread: &[u8]) -> bool {
        match self.rng.below(60) {
            0 => {
                self.seen.lock().unwrap().closed = true;
                transport.close();
            }
            1 => {
                self.seen.lock().unwrap().aborted = true;
                transport.abort();
            }
            2 => {
                self.seen.lock().unwrap().closed = true;
                transport.write_eof();
            }
            3..10 => {
                transport.pause_reading();
                let (transport, turns) = (transport.clone(), self.rng.below(4));
                spawn(async move {
                    for _ in 0..turns {
                        yield_now().await;
                    }
                    transport.resume_reading();
                })
                .detach();
            }
            10..20 => {
                let next = Self {
                    seen: self.seen.clone(),
                    rng: Rng::new(self.rng.next()),
                    answers: self.answers,
                };
                return transport.set_protocol(next, unread);
            }
            _ => {}
        }
        false
    }
}

impl Protocol for Storm {
    fn data(&mut self, transport: &Transport, bytes: &[u8]) {
        let used = 1 + self.rng.below(bytes.len());
        // A part of it, and the rest unless another protocol gets it.
        for (first, part) in [(true, &bytes[..used]), (false, &bytes[used..])] {
            {
                let mut seen = self.seen.lock().unwrap();
                assert!(!seen.ended, "data behind the end");
                check_pattern(part, seen.received);
                seen.received += part.len();
                seen.ops += 1;
            }
            self.write(transport);
            if first && self.act(transport, &bytes[used..]) {
                return;
            }
        }
    }

    fn eof(&mut self, transport: &Transport) -> AfterEof {
        self.seen.lock().unwrap().ended = true;
        self.write(transport);
        match self.rng.below(3) {
            0 => {
                let transport = transport.clone();
                spawn(async move {
                    yield_now().await;
                    transport.close();
                })
                .detach();
                AfterEof::KeepOpen
            }
            _ => AfterEof::Close,
        }
    }

    fn resume_writing(&mut self, transport: &Transport) {
        self.write(transport);
    }

    fn lost(&mut self, error: Option<&io::Error>) {
        let mut seen = self.seen.lock().unwrap();
        assert!(seen.lost.is_none(), "lost twice");
        seen.lost = Some(error.map(io::Error::kind));
    }
}

/// A round of connections, each between a protocol and a reader and writer.
fn protocols_round(runtime: &TestRuntime, mut rng: Rng, strict: bool) -> usize {
    let handle = runtime.handle();
    let ops = runtime.must_run(async move {
        let mut all = Vec::new();
        for number in 0..12 {
            // Whether the reader leaves before the end. If the protocol closes then, it reads no more, and what it has
            // written has to fit into the kernel: else it would wait for the peer's reader, and the peer's writer for it.
            let leaves = rng.one_in(4);
            let (near, far): (TcpStream, TcpStream) =
                if !leaves && rng.one_in(4) { narrow_pair().await } else { pair().await };
            let seen = Arc::new(Mutex::new(Seen::default()));
            let answers = rng.below(if leaves { 3 } else { 30 });
            let storm = Storm { seen: seen.clone(), rng: Rng::new(rng.next()), answers };
            let (_, task) = protocol::spawn(near, storm).unwrap();
            let (reader, writer) = streams::split(far);
            let (mut seed, other) = (Rng::new(rng.next()), Rng::new(rng.next()));
            let patience = if leaves { seed.below(30) } else { usize::MAX };
            let ops = 1 + seed.below(40);
            let writer = spawn(write_storm(writer, seed, ops));
            let reader = spawn(read_storm(reader, other, patience));
            all.push((number, seen, task, writer, reader));
        }
        let mut ops = 0;
        for (number, seen, task, writer, reader) in all {
            let writer = soon(&format!("writer {number}"), writer).await.unwrap();
            let reader = soon(&format!("reader {number}"), reader).await.unwrap();
            drop(soon(&format!("protocol {number}"), task).await.unwrap());
            let seen = seen.lock().unwrap();
            let text = format!("connection {number}: {seen:?}, {writer:?}, {reader:?}");
            ops += writer.ops + reader.ops + seen.ops;
            assert!(seen.lost.is_some(), "{text}");
            assert!(seen.received <= writer.bytes, "{text}");
            assert!(reader.bytes <= seen.written + seen.refused, "{text}");
            if seen.ended {
                assert!(writer.in_order && seen.received == writer.bytes, "{text}");
            }
            if reader.in_order && !(writer.lost || writer.unseen && !strict) {
                assert!(reader.bytes == seen.written, "{text}");
            }
        }
        ops
    });
    assert_quiet(&handle);
    ops
}

/// A million, over all cases.
const FULL: usize = 1_000_000 / 12;

/// `strict`: a reset that a writer has found is known to the reader of its side at once, since both are on one thread.
type Round = fn(&TestRuntime, Rng, bool) -> usize;

/// Rounds until there were so many operations.
fn storm(cfg: &Cfg, what: &str, salt: u64, total: usize, round: Round) {
    let (runtime, mut rng) = (cfg.runtime(), cfg.rng(salt));
    let mut ops = 0;
    while ops < total {
        ops += round(&runtime, Rng::new(rng.next()), cfg.single());
    }
    if total >= FULL {
        loud(&format!("{ops} operations of {what} on {cfg}"));
    }
}

#[test]
fn storm_of_readers_and_writers_keeps_every_byte_in_order() {
    on_every(|cfg| storm(cfg, "streams", 150, scaled(1500), streams_round));
}

#[test]
fn storm_of_protocols_keeps_every_byte_in_order() {
    on_every(|cfg| storm(cfg, "protocols", 151, scaled(1500), protocols_round));
}

#[test]
#[ignore = "a million operations: `cargo storms`"]
fn full_storm_of_readers_and_writers() {
    on_every_within(Duration::from_secs(900), |cfg| {
        storm(cfg, "streams", 150, FULL, streams_round);
    });
}

#[test]
#[ignore = "a million operations: `cargo storms`"]
fn full_storm_of_protocols() {
    on_every_within(Duration::from_secs(900), |cfg| {
        storm(cfg, "protocols", 151, FULL, protocols_round);
    });
}
