//! Protocols that take the place of others: no byte is lost between them, the first is not called again, and the
//! second gets every call from its first to its last.

use std::io::{self, Read as _, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringloop::net::{TcpListener, TcpStream};
use ringloop::protocol::{self, AfterEof, BufferedProtocol, Protocol, Transport};
use ringloop::{spawn, streams, yield_now};

use crate::harness::{ErrorLog, Kind, Rng, on_every, scaled};
use crate::protocol::{Collect, PanicIn, Watched, with_plain};
use crate::tools::{Log, check_pattern, fill_pattern, joined};

/// Takes a line, and then has what `next` makes called.
struct Greeting<F> {
    line: Vec<u8>,
    next: F,
    replaced: bool,
}

impl<F> Greeting<F> {
    fn new(next: F) -> Self {
        Self { line: Vec::new(), next, replaced: false }
    }
}

impl<F: FnMut(&Transport, &[u8]) -> bool + Send + 'static> Protocol for Greeting<F> {
    fn data(&mut self, transport: &Transport, bytes: &[u8]) {
        assert!(!self.replaced, "called when another has taken its place");
        self.line.extend_from_slice(bytes);
        if let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
            transport.write(b"welcome\n");
            self.replaced = (self.next)(transport, &self.line[end + 1..]);
            assert!(self.replaced);
        }
    }

    fn eof(&mut self, _: &Transport) -> AfterEof {
        panic!("the end, before the line");
    }

    fn lost(&mut self, _: Option<&io::Error>) {
        panic!("another is to be called");
    }

    fn pause_writing(&mut self, _: &Transport) {
        panic!("another is to be called");
    }
}

/// What was received, for the test.
type Bytes = Arc<Mutex<Vec<u8>>>;

/// Adds what comes, and answers it.
struct Second(Bytes);

impl Protocol for Second {
    fn connected(&mut self, transport: &Transport) {
        transport.write(b"second\n");
    }

    fn data(&mut self, transport: &Transport, bytes: &[u8]) {
        self.0.lock().unwrap().extend_from_slice(bytes);
        transport.write(bytes);
    }
}

/// The same with memory of its own, which is small.
struct Buffered(Bytes, [u8; 7]);

impl BufferedProtocol for Buffered {
    fn connected(&mut self, transport: &Transport) {
        transport.write(b"second\n");
    }

    fn buffer(&mut self) -> &mut [u8] {
        &mut self.1
    }

    fn filled(&mut self, transport: &Transport, len: usize) {
        self.0.lock().unwrap().extend_from_slice(&self.1[..len]);
        transport.write(&self.1[..len]);
    }
}

/// Writes in pieces of random lengths.
async fn write_cut(writer: &mut streams::StreamWriter, mut bytes: &[u8], mut rng: Rng) {
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at((1 + rng.below(40)).min(bytes.len()));
        writer.write_all(piece).await.unwrap();
        bytes = rest;
        if rng.one_in(3) {
            yield_now().await;
        }
    }
}

#[test]
fn bytes_behind_an_upgrade_go_to_the_next_protocol() {
    // Goal: a client that does not wait for the answer; method: the line and what is behind it come in pieces
    // that are cut at random; each byte behind the line is the second protocol's, whatever came with the line.
    on_every(|cfg| {
        let mut rng = cfg.rng(140);
        cfg.everywhere(|| {
            let mut rng = Rng::new(rng.next());
            async move {
                for round in 0..scaled(10) {
                    let (log, bytes) = (Log::new(), Bytes::default());
                    let (told, received) = (log.clone(), bytes.clone());
                    let make = move || {
                        let (told, received) = (told.clone(), received.clone());
                        Greeting::new(move |transport: &Transport, left: &[u8]| match round % 2 {
                            0 => {
                                let second = Watched::new(Second(received.clone()), &told);
                                transport.set_protocol(second, left)
                            }
                            _ => {
                                let second = Buffered(received.clone(), [0; 7]);
                                transport.set_buffered_protocol(second, left)
                            }
                        })
                    };
                    let server = protocol::serve("127.0.0.1:0", make).await.unwrap();
                    let (mut reader, mut writer) =
                        streams::connect(server.local_addrs()).await.unwrap();
                    let mut sent = vec![0; 3000];
                    fill_pattern(&mut sent, 0);
                    let all = [&b"hello\n"[..], &sent].concat();
                    let cuts = Rng::new(rng.next());
                    let writing = spawn(async move {
                        write_cut(&mut writer, &all, cuts).await;
                        writer.close().await.unwrap();
                    });
                    assert_eq!(reader.read_line().await.unwrap(), "welcome\n");
                    assert_eq!(reader.read_line().await.unwrap(), "second\n");
                    let back = reader.read_to_end().await.unwrap();
                    writing.await.unwrap();
                    assert!(back == sent && *bytes.lock().unwrap() == sent);
                    assert_eq!(server.drain(Duration::from_secs(20)).await.cancelled, 0);
                    if round % 2 == 0 {
                        assert_eq!(log.take(), ["eof", "lost None"]);
                    }
                }
            }
        });
    });
}

/// Checks the numbered stream from where the one before it has stopped.
struct Counts(Arc<Mutex<usize>>);

impl Protocol for Counts {
    fn data(&mut self, _: &Transport, bytes: &[u8]) {
        let mut received = self.0.lock().unwrap();
        check_pattern(bytes, *received);
        *received += bytes.len();
    }
}

#[test]
fn protocols_change_from_elsewhere_while_bytes_come() {
    // Goal: a change between any two reads loses nothing; method: another task changes the protocol again and
    // again, while the peer sends the numbered stream.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (log, received) = (Log::new(), Arc::new(Mutex::new(0)));
            let (near, mut far) = with_plain();
            let (transport, task) = protocol::spawn(near, Counts(received.clone())).unwrap();
            let total = scaled(300_000);
            let sender = std::thread::spawn(move || {
                let mut bytes = vec![0; total];
                fill_pattern(&mut bytes, 0);
                bytes.chunks(1000).for_each(|chunk| far.write_all(chunk).unwrap());
                far
            });
            let mut changes = 0;
            while *received.lock().unwrap() < total {
                assert!(transport.set_protocol(Counts(received.clone()), &[]));
                changes += 1;
                yield_now().await;
            }
            assert!(changes > 0);
            let far = joined(sender).await.unwrap();
            let last = Watched::new(Counts(received.clone()), &log);
            assert!(transport.set_protocol(last, &[]));
            drop(far);
            task.await.unwrap();
            assert_eq!(*received.lock().unwrap(), total);
            assert_eq!(log.take(), ["eof", "lost None"]);
            assert!(!transport.set_protocol(Counts(received), &[]), "the connection is lost");
        });
    });
}

/// Changes to `Watched` once it is to keep the connection open.
struct KeepsOpen(Log);

impl Protocol for KeepsOpen {
    fn data(&mut self, _: &Transport, _: &[u8]) {}

    fn eof(&mut self, transport: &Transport) -> AfterEof {
        let next = Watched::new(Collect::default(), &self.0);
        assert!(transport.set_protocol(next, b"never read"));
        AfterEof::KeepOpen
    }
}

#[test]
fn protocol_that_comes_after_the_end_gets_its_bytes_and_the_end() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let log = Log::new();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (near, _): (TcpStream, _) = listener.accept().await.unwrap();
            let (_transport, task) = protocol::spawn(near, KeepsOpen(log.clone())).unwrap();
            far.write_all(b"the last").unwrap();
            far.shutdown(std::net::Shutdown::Write).unwrap();
            task.await.unwrap();
            assert_eq!(log.take(), ["eof", "lost None"]);
            assert_eq!(far.read(&mut [0; 8]).unwrap(), 0);
        });
    });
}

/// Notes its calls.
struct Notes(Log);

impl Protocol for Notes {
    fn connected(&mut self, _: &Transport) {
        self.0.push("connected");
    }

    fn data(&mut self, _: &Transport, bytes: &[u8]) {
        self.0.push(format!("data {}", bytes.escape_ascii()));
    }

    fn pause_writing(&mut self, _: &Transport) {
        self.0.push("pause");
    }

    fn resume_writing(&mut self, transport: &Transport) {
        self.0.push("resume");
        transport.close();
    }

    fn lost(&mut self, error: Option<&io::Error>) {
        self.0.push(format!("lost {:?}", error.map(io::Error::kind)));
    }
}

#[test]
fn protocol_is_told_that_too_much_is_on_its_way_and_reads_no_sooner_than_it_may() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let log = Log::new();
            let (near, mut far) = with_plain();
            let (transport, task) = protocol::spawn(near, Collect::default()).unwrap();
            transport.pause_reading();
            assert!(transport.write(&vec![0; 4 << 20]));
            far.write_all(b"unread").unwrap();
            // It has had its calls, too, by now.
            for _ in 0..20 {
                yield_now().await;
            }
            // Of two, the first is never called, and its bytes are the second's.
            assert!(transport.set_protocol(PanicIn("connected", Log::new()), b"kept, "));
            assert!(transport.set_protocol(Notes(log.clone()), b"and more"));
            let mut calls = Vec::new();
            while calls.len() < 2 {
                calls.extend(log.take());
                yield_now().await;
            }
            assert_eq!(calls, ["connected", "pause"]);
            assert!(!transport.is_reading());
            transport.resume_reading();
            let mut come = String::new();
            while come != "kept, and moreunread" {
                for call in log.take() {
                    come.push_str(call.strip_prefix("data ").expect("data, and nothing else"));
                }
                yield_now().await;
            }
            let reading = std::thread::spawn(move || far.read_to_end(&mut Vec::new()).unwrap());
            assert_eq!(joined(reading).await.unwrap(), 4 << 20);
            task.await.unwrap();
            assert_eq!(log.take(), ["resume", "lost None"]);
        });
    });
}

#[test]
fn protocol_that_is_set_as_its_connection_is_lost_is_told_or_refused() {
    on_every(|cfg| {
        let errors = ErrorLog::default();
        cfg.once_with(&errors, async {
            for round in 0..scaled(50) {
                let log = Log::new();
                let (near, _far) = with_plain();
                let (transport, task) = protocol::spawn(near, Collect::default()).unwrap();
                for _ in 0..round % 3 {
                    yield_now().await;
                }
                let set = match round % 4 {
                    // Before its task runs again, on one worker.
                    0 => {
                        let set = transport.set_protocol(Notes(log.clone()), b"");
                        task.abort();
                        set
                    }
                    1 => {
                        task.abort();
                        transport.set_protocol(Notes(log.clone()), b"")
                    }
                    2 => {
                        transport.abort();
                        transport.set_protocol(Notes(log.clone()), b"")
                    }
                    _ => transport.set_protocol(PanicIn("connected", log.clone()), b""),
                };
                let started = round % 3 > 0;
                let ended = task.await;
                let told = log.take();
                let complete = match round % 4 {
                    3 => told == ["lost Some(ConnectionAborted)"],
                    _ => told.len() == 2 && told[0] == "connected" && told[1].starts_with("lost"),
                };
                // A task that never ran has called nothing.
                let expected = if set && (started || ended.is_ok()) { complete } else { true };
                assert!(expected, "round {round}: {set}, {told:?}");
                assert!(set || told.is_empty(), "refused, and called: {told:?}");
            }
        });
        assert!(errors.take(Kind::Panic).len() <= scaled(50).div_ceil(4));
    });
}
