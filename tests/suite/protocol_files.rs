//! Parts of files that transports send: in their place among the bytes, whatever the stream, and whole or not at all.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::time::Duration;

use futures_util::io::{AsyncReadExt as _, BufReader};
use ringloop::io::duplex;
use ringloop::protocol::{self, Protocol, Transport};

use crate::harness::{on_every, wait_until_async};
use crate::processes::isolated;
use crate::protocol::{Collect, Watched, with_plain};
use crate::tools::{Log, fill_pattern, joined};

/// A file that has no name, with a pattern that shows where a part comes from.
fn file(len: usize) -> (File, Vec<u8>) {
    let mut bytes = vec![0; len];
    fill_pattern(&mut bytes, 0);
    let mut file = tempfile();
    file.write_all(&bytes).unwrap();
    (file, bytes)
}

fn tempfile() -> File {
    let path = std::env::temp_dir().join(format!(
        "ringloop-parts-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file
}

/// Notes when it is to pause.
struct Pausing(Log);

impl Protocol for Pausing {
    fn data(&mut self, _: &Transport, _: &[u8]) {}

    fn pause_writing(&mut self, _: &Transport) {
        self.0.push("pause");
    }

    fn resume_writing(&mut self, _: &Transport) {
        self.0.push("resume");
    }
}

/// Writes, by turns, bytes and parts of a file, and closes. What the peer is to read.
fn write_turns(transport: &Transport, file: &File, bytes: &[u8]) -> Vec<u8> {
    let mut expected = Vec::new();
    for turn in 0..6_usize {
        let head = format!("part {turn}\n");
        assert!(transport.write(head.as_bytes()));
        expected.extend_from_slice(head.as_bytes());
        let (start, end) = (turn * 100, bytes.len() - turn * bytes.len() / 8);
        transport.send_file(file, start as u64..end as u64).unwrap();
        // One behind another, without bytes between them, and an empty one.
        transport.send_file(file, 0..10).unwrap();
        transport.send_file(file, 7..7).unwrap();
        expected.extend_from_slice(&bytes[start..end]);
        expected.extend_from_slice(&bytes[..10]);
    }
    transport.send_file(file, bytes.len() as u64 - 5..).unwrap();
    expected.extend_from_slice(&bytes[bytes.len() - 5..]);
    transport.close();
    expected
}

#[test]
fn parts_of_a_file_stand_in_their_place_among_the_bytes() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (file, bytes) = file(400_000);
            let log = Log::new();
            let (near, mut far) = with_plain();
            let (transport, task) =
                protocol::spawn(near, Watched::new(Collect::default(), &log)).unwrap();
            let expected = write_turns(&transport, &file, &bytes);
            let all = std::thread::spawn(move || {
                let mut all = Vec::new();
                far.read_to_end(&mut all).unwrap();
                all
            });
            assert!(joined(all).await.unwrap() == expected);
            task.await.unwrap();
            assert_eq!(log.take(), ["lost None"]);
        });
    });
}

#[test]
fn stream_without_a_socket_gets_the_same() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (file, bytes) = file(80_000);
            let (near, far) = duplex(3000);
            let (transport, task) = protocol::spawn(near, Collect::default()).unwrap();
            let expected = write_turns(&transport, &file, &bytes);
            let mut all = Vec::new();
            BufReader::new(far).read_to_end(&mut all).await.unwrap();
            assert!(all == expected);
            task.await.unwrap();
        });
    });
}

#[test]
fn writer_pauses_while_a_part_waits() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (file, _) = file(400_000);
            let log = Log::new();
            let (near, mut far) = with_plain();
            let (transport, task) = protocol::spawn(near, Pausing(log.clone())).unwrap();
            transport.send_file(&file, ..100).unwrap();
            assert!(!transport.is_writing_paused(), "the kernel had room");
            for _ in 0..3 {
                transport.send_file(&file, ..).unwrap();
            }
            assert!(transport.is_writing_paused());
            assert_eq!(transport.write_buffer_size(), 0, "a part takes no memory");
            let read = std::thread::spawn(move || {
                far.read_exact(&mut vec![0; 100 + 3 * 400_000]).unwrap();
                far
            });
            let far = joined(read).await.unwrap();
            wait_until_async(|| !transport.is_writing_paused(), || "all is sent".to_owned()).await;
            drop(far);
            task.await.unwrap();
            assert_eq!(log.take(), ["pause", "resume"]);
        });
    });
}

#[test]
fn peer_does_not_take_a_part_for_the_whole() {
    // Goal: a file that has become shorter ends the connection by a reset. Method: the range goes beyond the
    // end, by little, so that the kernel has room for all, and by much.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (file, _) = file(300_000);
            for start in [299_000, 0] {
                let log = Log::new();
                let (near, mut far) = std::net::TcpListener::bind("127.0.0.1:0")
                    .and_then(|listener| {
                        let near = std::net::TcpStream::connect(listener.local_addr()?)?;
                        near.set_nonblocking(true)?;
                        Ok((near, listener.accept()?.0))
                    })
                    .unwrap();
                let near = ringloop::net::TcpStream::from_std(near).unwrap();
                let collect = Watched::new(Collect::default(), &log);
                let (transport, task) = protocol::spawn(near, collect).unwrap();
                transport.send_file(&file, start..300_001).unwrap();
                transport.write(b"behind it");
                let reset = std::thread::spawn(move || {
                    far.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                    let mut all = Vec::new();
                    far.read_to_end(&mut all).expect_err("the end would say that it has all").kind()
                });
                assert_eq!(joined(reset).await.unwrap(), ErrorKind::ConnectionReset);
                task.await.unwrap();
                assert_eq!(log.take(), ["lost Some(UnexpectedEof)"]);
            }
        });
    });
}

#[test]
fn what_cannot_be_sent_is_refused_and_the_connection_stays() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (file, _) = file(100);
            let (near, mut far) = with_plain();
            let (transport, task) = protocol::spawn(near, Collect::default()).unwrap();
            let kind = |sent: io::Result<()>| sent.unwrap_err().kind();
            let device = File::open("/dev/zero").unwrap();
            assert_eq!(kind(transport.send_file(&device, ..10)), ErrorKind::InvalidInput);
            #[expect(clippy::reversed_empty_ranges, reason = "it is refused")]
            let range = 10..5;
            assert_eq!(kind(transport.send_file(&file, range)), ErrorKind::InvalidInput);
            assert!(transport.write(b"works"));
            transport.close();
            assert_eq!(kind(transport.send_file(&file, ..)), ErrorKind::BrokenPipe);
            let all = std::thread::spawn(move || {
                let mut all = String::new();
                far.read_to_string(&mut all).unwrap();
                all
            });
            assert_eq!(joined(all).await.unwrap(), "works");
            task.await.unwrap();
        });
    });
}

#[test]
fn parts_that_are_given_up_close_their_files() {
    // Goal: an abort, and a peer that goes, leave no descriptor. Method: all of them are counted.
    isolated(|| {
        on_every(|cfg| {
            cfg.everywhere(|| async {
                let (file, _) = file(400_000);
                for aborts in [true, false] {
                    let (near, far) = with_plain();
                    let (transport, task) = protocol::spawn(near, Collect::default()).unwrap();
                    let before = crate::measure::open_fds().len();
                    for _ in 0..10 {
                        transport.send_file(&file, ..).unwrap();
                    }
                    assert!(crate::measure::open_fds().len() > before, "they wait");
                    match aborts {
                        true => transport.abort(),
                        false => drop(far),
                    }
                    task.await.unwrap();
                    wait_until_async(
                        || crate::measure::open_fds().len() <= before,
                        || "all files are closed".to_owned(),
                    )
                    .await;
                }
            });
        });
    });
}
