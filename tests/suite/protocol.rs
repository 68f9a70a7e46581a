//! Protocols: the order of their calls, watched by a wrapper in every test; nothing that was written is lost; and
//! the end comes once, whatever it is.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{self, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringloop::net::{Server, TcpListener, TcpStream, UdpSocket, UnixStream};
use ringloop::protocol::{
    self, AfterEof, BufferedProtocol, DatagramProtocol, DatagramTransport, Protocol, Transport,
};
use ringloop::streams;
use ringloop::{spawn, yield_now};

use crate::harness::{ErrorLog, Kind, on_every, scaled, wait_until_async};
use crate::tools::{Flag, Log, check_pattern, fill_pattern, joined};

const LONG: Duration = Duration::from_secs(20);

/// Watches the order of the calls, and calls on. A wrong order panics, and the report of that fails the test.
pub struct Watched<P> {
    pub protocol: P,
    at: At,
    writing: bool,
    log: Log,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    New,
    Connected,
    Ended,
    Lost,
}

impl<P> Watched<P> {
    pub fn new(protocol: P, log: &Log) -> Self {
        Self { protocol, at: At::New, writing: true, log: log.clone() }
    }
}

impl<P: Protocol> Protocol for Watched<P> {
    fn connected(&mut self, transport: &Transport) {
        assert_eq!(self.at, At::New);
        self.at = At::Connected;
        self.protocol.connected(transport);
    }

    fn data(&mut self, transport: &Transport, bytes: &[u8]) {
        assert_eq!(self.at, At::Connected);
        assert!(!bytes.is_empty());
        self.protocol.data(transport, bytes);
    }

    fn eof(&mut self, transport: &Transport) -> AfterEof {
        assert_eq!(self.at, At::Connected);
        self.at = At::Ended;
        self.log.push("eof");
        self.protocol.eof(transport)
    }

    fn lost(&mut self, error: Option<&io::Error>) {
        assert!(self.at == At::Connected || self.at == At::Ended, "{:?}", self.at);
        self.at = At::Lost;
        self.log.push(format!("lost {:?}", error.map(io::Error::kind)));
        self.protocol.lost(error);
    }

    fn pause_writing(&mut self, transport: &Transport) {
        assert!(self.writing && self.at != At::Lost);
        self.writing = false;
        self.protocol.pause_writing(transport);
    }

    fn resume_writing(&mut self, transport: &Transport) {
        assert!(!self.writing && self.at != At::Lost);
        self.writing = true;
        self.protocol.resume_writing(transport);
    }
}

impl<P> Drop for Watched<P> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.at == At::New || self.at == At::Lost, "dropped when {:?}", self.at);
        }
    }
}

struct Echo;

impl Protocol for Echo {
    fn data(&mut self, transport: &Transport, bytes: &[u8]) {
        assert!(transport.write(bytes));
    }
}

/// Keeps everything.
#[derive(Default)]
pub struct Collect {
    pub bytes: Vec<u8>,
    keep_open: bool,
}

impl Protocol for Collect {
    fn data(&mut self, _: &Transport, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn eof(&mut self, _: &Transport) -> AfterEof {
        if self.keep_open { AfterEof::KeepOpen } else { AfterEof::Close }
    }
}

/// A blocking stream, and what a protocol is for.
pub fn with_plain() -> (UnixStream, std::os::unix::net::UnixStream) {
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    far.set_read_timeout(Some(LONG)).unwrap();
    (UnixStream::from_std(near).unwrap(), far)
}

#[test]
fn echo_by_a_protocol_passes_the_test_of_the_echo_by_streams() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let log = Log::new();
            let watch = log.clone();
            let server =
                protocol::serve("localhost:0", move || Watched::new(Echo, &watch)).await.unwrap();
            let clients: Vec<_> = (0..8)
                .map(|number| {
                    let addrs = server.local_addrs().to_vec();
                    spawn(async move {
                        let (mut reader, mut writer) = streams::connect(&addrs[..]).await.unwrap();
                        for turn in 0..scaled(20) {
                            let line = format!("{number} {turn} {}\n", "x".repeat(turn * 97));
                            writer.write_all(line.as_bytes()).await.unwrap();
                            assert_eq!(reader.read_line().await.unwrap(), line);
                        }
                        writer.close().await.unwrap();
                        assert_eq!(reader.read_to_end().await.unwrap(), b"");
                    })
                })
                .collect();
            for client in clients {
                client.await.unwrap();
            }
            assert_eq!(server.drain(LONG).await.cancelled, 0);
            let told = log.take();
            assert_eq!(told.iter().filter(|told| *told == "eof").count(), 8, "{told:?}");
            assert_eq!(told.iter().filter(|told| *told == "lost None").count(), 8, "{told:?}");
        });
    });
}

struct Buffered {
    buf: [u8; 7],
    log: Log,
}

impl BufferedProtocol for Buffered {
    fn buffer(&mut self) -> &mut [u8] {
        &mut self.buf
    }

    fn filled(&mut self, transport: &Transport, len: usize) {
        assert!(len > 0);
        transport.write(&self.buf[..len]);
    }

    fn lost(&mut self, error: Option<&io::Error>) {
        self.log.push(format!("lost {:?}", error.map(io::Error::kind)));
    }
}

/// Gives no memory.
struct NoBuffer(Log);

impl BufferedProtocol for NoBuffer {
    fn buffer(&mut self) -> &mut [u8] {
        &mut []
    }

    fn filled(&mut self, _: &Transport, _: usize) {
        unreachable!();
    }

    fn lost(&mut self, error: Option<&io::Error>) {
        self.0.push(error.unwrap().to_string());
    }
}

#[test]
fn bytes_come_into_the_memory_that_a_protocol_gives() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let log = Log::new();
            let told = log.clone();
            let make = move || Buffered { buf: [0; 7], log: told.clone() };
            let server = protocol::serve_buffered("127.0.0.1:0", make).await.unwrap();
            let (mut reader, mut writer) = streams::connect(server.local_addrs()).await.unwrap();
            let line = format!("{}\n", "long ".repeat(500));
            writer.write_all(line.as_bytes()).await.unwrap();
            assert_eq!(reader.read_line().await.unwrap(), line);
            writer.close().await.unwrap();
            assert_eq!(reader.read_line().await.unwrap(), "");
            server.drain(LONG).await;
            assert_eq!(log.take(), ["lost None"]);

            let (near, _far) = with_plain();
            let (_, task) = protocol::spawn_buffered(near, NoBuffer(log.clone())).unwrap();
            task.await.unwrap();
            assert_eq!(log.take(), ["BufferedProtocol::buffer gave no memory to read into"]);
        });
    });
}

#[test]
fn everything_that_was_written_is_sent_before_the_close() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let log = Log::new();
            let (near, mut far) = with_plain();
            let (transport, task) =
                protocol::spawn(near, Watched::new(Collect::default(), &log)).unwrap();
            let mut sent = vec![0; 1 << 20];
            fill_pattern(&mut sent, 0);
            for chunk in sent.chunks(10_000) {
                let (head, tail) = chunk.split_at(chunk.len() / 2);
                assert!(transport.write_vectored(&[head, tail]));
            }
            assert!(transport.write_buffer_size() > 0);
            transport.close();
            assert!(transport.is_closing());
            assert!(!transport.write(b"too late"));
            let all = std::thread::spawn(move || {
                let mut all = Vec::new();
                far.read_to_end(&mut all).unwrap();
                all
            });
            let all = joined(all).await.unwrap();
            assert_eq!(all.len(), sent.len());
            check_pattern(&all, 0);
            task.await.unwrap();
            assert_eq!(log.take(), ["lost None"]);
            assert!(!transport.write(b"too late"));
        });
    });
}

#[test]
fn written_end_leaves_the_reading_side_open() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for keep_open in [false, true] {
                let log = Log::new();
                let (near, mut far) = with_plain();
                let collect = Collect { keep_open, ..Collect::default() };
                let (transport, task) = protocol::spawn(near, Watched::new(collect, &log)).unwrap();
                assert!(transport.write(b"request"));
                transport.write_eof();
                assert!(!transport.write(b"more"));
                let far = std::thread::spawn(move || {
                    let mut all = Vec::new();
                    far.read_to_end(&mut all).unwrap();
                    assert_eq!(all, b"request");
                    far.write_all(b"answer").unwrap();
                });
                joined(far).await.unwrap();
                assert_eq!(task.await.unwrap().protocol.bytes, b"answer");
                assert_eq!(log.take(), ["eof", "lost None"]);
            }
        });
    });
}

#[test]
fn protocol_that_keeps_its_connection_after_the_end_answers_later() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let log = Log::new();
            let (near, mut far) = with_plain();
            let collect = Collect { keep_open: true, ..Collect::default() };
            let (transport, task) = protocol::spawn(near, Watched::new(collect, &log)).unwrap();
            far.write_all(b"question").unwrap();
            far.shutdown(net::Shutdown::Write).unwrap();
            let ended = log.clone();
            let told = Mutex::new(Vec::new());
            let has_ended = || {
                told.lock().unwrap().extend(ended.take());
                !told.lock().unwrap().is_empty()
            };
            wait_until_async(has_ended, || "the end".into()).await;
            assert_eq!(*told.lock().unwrap(), ["eof"]);
            assert!(transport.write(b"late answer"));
            transport.close();
            assert_eq!(task.await.unwrap().protocol.bytes, b"question");
            assert_eq!(log.take(), ["lost None"]);
            let mut all = Vec::new();
            far.read_to_end(&mut all).unwrap();
            assert_eq!(all, b"late answer");
        });
    });
}

#[test]
fn data_before_a_reset_is_given_before_the_connection_is_lost() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let log = Log::new();
            let (near, mut far) = with_plain();
            let (transport, task) =
                protocol::spawn(near, Watched::new(Collect::default(), &log)).unwrap();
            // The near side learns by its write that the peer is gone, and has not read yet.
            transport.pause_reading();
            assert!(!transport.is_reading());
            far.write_all(b"last words").unwrap();
            drop(far);
            while transport.write(b"?") {
                yield_now().await;
            }
            transport.resume_reading();
            assert_eq!(task.await.unwrap().protocol.bytes, b"last words");
            let told = log.take();
            assert_eq!(told.last().unwrap(), "lost Some(BrokenPipe)", "{told:?}");
        });
    });
}

#[test]
fn aborted_connection_is_lost_without_an_error() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let log = Log::new();
            let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
            let addr = listener.local_addr().unwrap();
            let watched = Watched::new(Collect::default(), &log);
            let (transport, task) = protocol::connect(addr, watched).await.unwrap();
            let (mut far, _) = listener.accept().unwrap();
            assert_eq!(transport.peer_addr().unwrap(), addr);
            assert_eq!(transport.local_addr().unwrap(), far.peer_addr().unwrap());
            assert!(transport.write(&vec![0; 10 << 20]));
            transport.abort();
            task.await.unwrap();
            assert_eq!(log.take(), ["lost None"]);
            let all = std::thread::spawn(move || far.read_to_end(&mut Vec::new()));
            assert_eq!(joined(all).await.unwrap().unwrap_err().kind(), ErrorKind::ConnectionReset);
        });
    });
}

/// Writes as much as it may, and counts.
struct Flood {
    left: usize,
    most: Arc<Mutex<usize>>,
}

impl Flood {
    fn flood_to_the_mark(&mut self, transport: &Transport) {
        while self.left > 0 && !transport.is_writing_paused() {
            self.flood(transport);
        }
    }

    fn flood(&mut self, transport: &Transport) {
        // Three writes at a time: more than the mark is noticed after a function has returned.
        for _ in 0..3 {
            let len = self.left.min(5000);
            let mut chunk = vec![0; len];
            fill_pattern(&mut chunk, 3_000_000 - self.left);
            assert!(transport.write(&chunk));
            self.left -= len;
        }
        let mut most = self.most.lock().unwrap();
        *most = (*most).max(transport.write_buffer_size());
        if self.left == 0 {
            transport.close();
        }
    }
}

impl Protocol for Flood {
    fn data(&mut self, transport: &Transport, _: &[u8]) {
        self.flood_to_the_mark(transport);
    }

    fn resume_writing(&mut self, transport: &Transport) {
        self.flood_to_the_mark(transport);
    }
}

#[test]
fn protocol_that_pauses_when_told_bounds_its_memory() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let log = Log::new();
            let most = Arc::new(Mutex::new(0));
            let (near, mut far) = with_plain();
            let flood = Flood { left: 3_000_000, most: most.clone() };
            let (_transport, task) = protocol::spawn(near, Watched::new(flood, &log)).unwrap();
            // It floods until it is to pause, and then from resume to resume.
            far.write_all(b"begin").unwrap();
            let far = std::thread::spawn(move || {
                let (mut received, mut buf) = (0, [0; 9000]);
                loop {
                    match far.read(&mut buf).unwrap() {
                        0 => return received,
                        len => {
                            check_pattern(&buf[..len], received);
                            received += len;
                        }
                    }
                }
            });
            assert_eq!(joined(far).await.unwrap(), 3_000_000);
            task.await.unwrap();
            let most = *most.lock().unwrap();
            assert!(most <= (64 << 10) + 15_000, "{most} bytes have waited");
        });
    });
}

#[test]
fn paused_reading_gives_no_data_and_loses_none() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let log = Log::new();
            let (near, mut far) = with_plain();
            let (transport, task) =
                protocol::spawn(near, Watched::new(Pausing::default(), &log)).unwrap();
            let sender = std::thread::spawn(move || {
                let mut bytes = vec![0; 200_000];
                fill_pattern(&mut bytes, 0);
                far.write_all(&bytes).unwrap();
            });
            // It pauses itself at each arrival.
            while !task.is_finished() {
                transport.resume_reading();
                yield_now().await;
            }
            joined(sender).await.unwrap();
            let pausing = task.await.unwrap();
            assert_eq!(pausing.protocol.received, 200_000);
        });
    });
}

#[derive(Default)]
struct Pausing {
    received: usize,
}

impl Protocol for Pausing {
    fn data(&mut self, transport: &Transport, bytes: &[u8]) {
        assert!(transport.is_reading() || transport.is_closing());
        check_pattern(bytes, self.received);
        self.received += bytes.len();
        transport.pause_reading();
    }
}

/// Panics in the function of this name.
pub struct PanicIn(pub &'static str, pub Log);

impl PanicIn {
    fn at(&self, place: &str) {
        assert!(self.0 != place, "as asked, in {place}");
    }
}

impl Protocol for PanicIn {
    fn connected(&mut self, _: &Transport) {
        self.at("connected");
    }

    fn data(&mut self, _: &Transport, _: &[u8]) {
        self.at("data");
    }

    fn eof(&mut self, _: &Transport) -> AfterEof {
        self.at("eof");
        AfterEof::Close
    }

    fn lost(&mut self, error: Option<&io::Error>) {
        self.1.push(format!("lost {:?}", error.map(io::Error::kind)));
        self.at("lost");
    }
}

#[test]
fn protocol_that_panics_loses_its_connection_only_and_is_told_once() {
    on_every(|cfg| {
        let log = ErrorLog::default();
        cfg.once_with(&log, async {
            for place in ["connected", "data", "eof", "lost"] {
                let told = Log::new();
                let tells = told.clone();
                let server = protocol::serve("127.0.0.1:0", move || PanicIn(place, tells.clone()))
                    .await
                    .unwrap();
                let (mut reader, mut writer) =
                    streams::connect(server.local_addrs()).await.unwrap();
                let _ = writer.write_all(b"data").await;
                let _ = writer.close().await;
                let _ = reader.read_to_end().await;
                assert!(server.is_serving());
                assert_eq!(server.drain(LONG).await.cancelled, 0);
                let expected = match place {
                    "lost" => "lost None",
                    _ => "lost Some(ConnectionAborted)",
                };
                assert_eq!(told.take(), [expected], "a panic in {place}");
            }
        });
        let panics = log.take(Kind::Panic);
        assert_eq!(panics.len(), 4, "{panics:?}");
        log.assert_silent();
    });
}

#[test]
fn protocol_of_a_cancelled_task_or_an_ended_runtime_is_told() {
    on_every(|cfg| {
        let log = Log::new();
        let told = log.clone();
        cfg.builder()
            .run(async move {
                let server = protocol::serve("127.0.0.1:0", move || Watched::new(Echo, &told));
                let server = server.await.unwrap();
                let (mut reader, mut writer) =
                    streams::connect(server.local_addrs()).await.unwrap();
                writer.write_all(b"here\n").await.unwrap();
                assert_eq!(reader.read_line().await.unwrap(), "here\n");
                assert_eq!(server.abort_clients(), 1);
                assert_eq!(reader.read_line().await.unwrap(), "");

                let (mut reader, mut writer) =
                    streams::connect(server.local_addrs()).await.unwrap();
                writer.write_all(b"here\n").await.unwrap();
                assert_eq!(reader.read_line().await.unwrap(), "here\n");
            })
            .unwrap();
        let told = log.take();
        // The second saw the end of its client, or that of the runtime.
        assert_eq!(told[0], "lost Some(ConnectionAborted)");
        let last = told.last().unwrap();
        assert!(told.len() >= 2 && last.starts_with("lost"), "{told:?}");
    });
}

#[test]
fn server_of_protocols_has_limits_and_unix_sockets() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let path = std::env::temp_dir().join(format!(
                "ringloop-protocol-{}-{}",
                std::process::id(),
                cfg.seed
            ));
            let log = Log::new();
            let watch = log.clone();
            let builder = Server::builder().max_connections(1).listen_unix(&path).unwrap();
            let server = protocol::serve_on(builder, move || Watched::new(Echo, &watch)).unwrap();
            for _ in 0..3 {
                let collect = Watched::new(Collect::default(), &log);
                let (transport, task) = protocol::connect_unix(&path, collect).await.unwrap();
                transport.write(b"one at a time");
                transport.write_eof();
                assert_eq!(task.await.unwrap().protocol.bytes, b"one at a time");
            }
            server.drain(LONG).await;
        });
    });
}

/// Many writers from many tasks: each write stays whole.
#[test]
fn writes_of_many_tasks_are_each_in_one_piece() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let log = Log::new();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut reader, _writer) = streams::split(listener.accept().await.unwrap().0);
            let (transport, task) =
                protocol::spawn(near, Watched::new(Collect::default(), &log)).unwrap();
            let writers: Vec<_> = (0..4)
                .map(|number| {
                    let transport = transport.clone();
                    spawn(async move {
                        for turn in 0..scaled(200) {
                            let line = format!("{number} {turn} {}\n", "y".repeat(turn * 3));
                            assert!(transport.write(line.as_bytes()));
                            if turn % 7 == 0 {
                                yield_now().await;
                            }
                        }
                    })
                })
                .collect();
            let closing = spawn(async move {
                for writer in writers {
                    writer.await.unwrap();
                }
                transport.close();
            });
            let mut next = [0; 4];
            let mut lines = reader.lines();
            while let Some(line) = lines.next_line().await.unwrap() {
                let mut words = line.split(' ');
                let number: usize = words.next().unwrap().parse().unwrap();
                let turn: usize = words.next().unwrap().parse().unwrap();
                assert_eq!(words.next().unwrap().len(), turn * 3);
                assert_eq!(turn, next[number]);
                next[number] += 1;
            }
            assert_eq!(next, [scaled(200); 4]);
            closing.await.unwrap();
            task.await.unwrap();
        });
    });
}

/// Watches the calls for datagrams.
struct Datagrams {
    log: Log,
    echo: bool,
}

impl DatagramProtocol for Datagrams {
    fn connected(&mut self, _: &DatagramTransport) {
        self.log.push("connected");
    }

    fn datagram(&mut self, transport: &DatagramTransport, bytes: &[u8], from: SocketAddr) {
        self.log.push(format!("datagram of {}", bytes.len()));
        if self.echo {
            assert!(transport.send_to(bytes, from));
        }
    }

    fn error(&mut self, _: &DatagramTransport, error: io::Error) {
        self.log.push(format!("error {:?}", error.kind()));
    }

    fn lost(&mut self, error: Option<&io::Error>) {
        self.log.push(format!("lost {:?}", error.map(io::Error::kind)));
    }
}

#[test]
fn datagrams_are_given_and_answered_one_by_one() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let log = Log::new();
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let calls = Datagrams { log: log.clone(), echo: true };
            let (transport, task) = protocol::datagram(socket, calls).unwrap();
            let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            client.connect(transport.local_addr().unwrap()).await.unwrap();
            for bytes in [&b"one"[..], b"", b"three"] {
                client.send(bytes).await.unwrap();
                let mut buf = [0; 16];
                let len = client.recv(&mut buf).await.unwrap();
                assert_eq!(&buf[..len], bytes);
            }
            // Too large: the protocol gets the error, and goes on.
            assert!(transport.send_to(&vec![0; 70_000], client.local_addr().unwrap()));
            assert!(transport.send_to(b"goes on", client.local_addr().unwrap()));
            assert_eq!(client.recv(&mut [0; 16]).await.unwrap(), 7);
            transport.close();
            assert!(!transport.send_to(b"late", client.local_addr().unwrap()));
            task.await.unwrap();
            let told = log.take();
            let datagrams = ["datagram of 3", "datagram of 0", "datagram of 5"];
            assert_eq!(told[0], "connected");
            assert_eq!(told[1..4], datagrams);
            assert!(told[4].starts_with("error"), "{told:?}");
            assert_eq!(told[5..], ["lost None"]);
        });
    });
}

#[test]
fn refused_datagram_is_an_error_and_not_the_end() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let log = Log::new();
            let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let addr = gone.local_addr().unwrap();
            drop(gone);
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            socket.connect(addr).await.unwrap();
            let calls = Datagrams { log: log.clone(), echo: false };
            let (transport, task) = protocol::datagram(socket, calls).unwrap();
            assert!(transport.send(b"anybody?"));
            let all = Mutex::new(Vec::new());
            let refused = || {
                all.lock().unwrap().extend(log.take());
                all.lock().unwrap().contains(&"error ConnectionRefused".to_owned())
            };
            wait_until_async(refused, || "the refusal".into()).await;
            let back = UdpSocket::bind(addr).await.unwrap();
            back.send_to(b"here again", transport.local_addr().unwrap()).await.unwrap();
            let came = || {
                all.lock().unwrap().extend(log.take());
                all.lock().unwrap().contains(&"datagram of 10".to_owned())
            };
            wait_until_async(came, || "the datagram".into()).await;
            transport.abort();
            task.await.unwrap();
            assert_eq!(log.take().last().unwrap(), "lost None");
        });
    });
}

#[test]
fn cancelled_task_of_datagrams_tells_its_protocol() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let log = Log::new();
            let begun = Flag::new();
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let calls = Datagrams { log: log.clone(), echo: false };
            let (transport, task) = protocol::datagram(socket, calls).unwrap();
            let all = Mutex::new(Vec::new());
            let connected = || {
                all.lock().unwrap().extend(log.take());
                !all.lock().unwrap().is_empty()
            };
            wait_until_async(connected, || "the begin".into()).await;
            begun.set();
            task.cancel();
            assert!(task.await.is_err_and(|error| error.is_cancelled()));
            assert_eq!(log.take(), ["lost Some(ConnectionAborted)"]);
            assert!(transport.is_closing());
        });
    });
}
