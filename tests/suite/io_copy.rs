//! Copies between streams: every byte and every end is passed on.

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use ringloop::io::{
    AsyncReadExt, AsyncWriteExt, BufWriter, Pipe, copy, copy_bidirectional,
    copy_bidirectional_with_sizes, duplex,
};
use ringloop::net::{TcpListener, TcpStream, UnixStream};
use ringloop::testing::StreamConformance;
use ringloop::{Task, spawn, time::timeout, yield_now};

use crate::harness::{on_every, scaled};
use crate::tools::{check_pattern, fill_pattern};

async fn tcp() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let near = TcpStream::connect(listener.local_addr()?).await?;
    Ok((near, listener.accept().await?.0))
}

type Proxy = Task<io::Result<(u64, u64)>>;

/// Two streams with a proxy between them.
async fn proxied() -> io::Result<(TcpStream, TcpStream, Proxy)> {
    let ((client, mut a), (mut b, server)) = (tcp().await?, tcp().await?);
    let proxy = spawn(async move { copy_bidirectional(&mut a, &mut b).await });
    Ok((client, server, proxy))
}

#[test]
fn proxied_streams_keep_to_the_rules_of_streams() {
    // Goal: a stream through a proxy is a stream, its ends and its backpressure included; method: the suite of
    // streams, with a proxy between the two, in memory, over TCP, and over Unix sockets with small sizes.
    on_every(|cfg| {
        let suite = StreamConformance::new().seed(cfg.seed);
        cfg.once(suite.run(async || {
            let (client, server, _) = proxied().await?;
            Ok((client, server))
        }));
        cfg.once(suite.run(async || {
            let ((client, mut a), (mut b, server)) = (duplex(100), duplex(3000));
            drop(spawn(async move { copy_bidirectional(&mut a, &mut b).await }));
            Ok((client, server))
        }));
        cfg.once(suite.run(async || {
            let ((client, mut a), (mut b, server)) = (UnixStream::pair()?, UnixStream::pair()?);
            drop(spawn(
                async move { copy_bidirectional_with_sizes(&mut a, &mut b, 7, 100_000).await },
            ));
            Ok((client, server))
        }));
    });
}

#[test]
fn bytes_are_counted_each_way() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (client, server, proxy) = proxied().await.unwrap();
            let talk = async |mut stream: TcpStream, sent: usize, expected: usize| {
                let mut bytes = vec![0; sent];
                fill_pattern(&mut bytes, 0);
                let (mut reader, mut writer) = stream_halves(&mut stream);
                let write = async {
                    writer.write_all(&bytes).await.unwrap();
                    writer.close().await.unwrap();
                };
                let mut got = Vec::new();
                join(write, reader.read_to_end(&mut got)).await.1.unwrap();
                assert_eq!(got.len(), expected);
                check_pattern(&got, 0);
            };
            let (there, back) = (scaled(3_000_000), 700_001);
            join(talk(client, there, back), talk(server, back, there)).await;
            assert_eq!(proxy.await.unwrap().unwrap(), (there as u64, back as u64));
        });
    });
}

fn stream_halves(
    stream: &mut TcpStream,
) -> (impl AsyncReadExt + Unpin + '_, impl AsyncWriteExt + Unpin + '_) {
    stream.split()
}

#[test]
fn first_error_ends_both_directions() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (client, server, proxy) = proxied().await.unwrap();
            client.set_linger(Some(Duration::ZERO)).unwrap();
            drop(client);
            let error = proxy.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            let mut server = server;
            assert_eq!(server.read(&mut [0; 1]).await.unwrap(), 0, "the proxy has let go of it");

            // One that nobody reads any more.
            let (mut client, server, proxy) = proxied().await.unwrap();
            server.shutdown_now(Shutdown::Both).unwrap();
            drop(server);
            let sent = async {
                while client.write_all(&[1; 1000]).await.is_ok() {
                    yield_now().await;
                }
            };
            assert!(join(sent, proxy).await.1.unwrap().is_err());
        });
    });
}

#[test]
fn writer_is_flushed_before_the_reader_is_waited_for() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let ((mut client, mut a), (b, mut server)) = (duplex(10_000), duplex(10_000));
            let mut b = BufWriter::new(b);
            let proxy = spawn(async move { copy_bidirectional(&mut a, &mut b).await });
            let mut buf = [0; 5];
            for _ in 0..3 {
                client.write_all(b"hello").await.unwrap();
                server.read_exact(&mut buf).await.unwrap();
                assert_eq!(&buf, b"hello");
            }
            drop((client, server));
            assert_eq!(proxy.await.unwrap().unwrap(), (15, 0));
        });
    });
}

#[test]
fn one_way_copies_leave_the_writer_open() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let Pipe { mut reader, mut writer } = Pipe::new().unwrap();
            let copying = spawn(async move {
                let bytes = vec![5; 300_000];
                let copied = copy(&bytes[..], &mut writer).await.unwrap();
                writer.write_all(b"more").await.unwrap();
                copied
            });
            let mut got = Vec::new();
            assert_eq!(copy(&mut reader, &mut got).await.unwrap(), 300_004);
            assert_eq!(copying.await.unwrap(), 300_000);
            assert!(got.ends_with(b"more"));
            assert!(got[..300_000].iter().all(|byte| *byte == 5));
        });
    });
}

#[test]
fn copy_that_is_cancelled_leaves_what_was_not_read() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (mut client, a) = duplex(1000);
            let a = Arc::new(ringloop::sync::Lock::new(a));
            let theirs = a.clone();
            let copying = spawn(async move {
                let (mut writer, mut far) = duplex(1000);
                let mut a = theirs.lock().await;
                let late = timeout(Duration::from_millis(2), copy(&mut *a, &mut writer)).await;
                assert!(late.is_err());
                let mut buf = [0; 5];
                far.read_exact(&mut buf).await.unwrap();
                assert_eq!(&buf, b"first");
            });
            client.write_all(b"first").await.unwrap();
            copying.await.unwrap();
            client.write_all(b"second").await.unwrap();
            let mut buf = [0; 6];
            a.lock().await.read_exact(&mut buf).await.unwrap();
            assert_eq!(&buf, b"second");
        });
    });
}

#[test]
fn tools_of_the_futures_crates_have_their_names_here() {
    use std::io::SeekFrom;

    use ringloop::io::{AsyncSeekExt, Cursor, empty, repeat, sink, split};
    on_every(|cfg| {
        cfg.once(async {
            let mut cursor = Cursor::new(b"0123456789");
            cursor.seek(SeekFrom::Start(4)).await.unwrap();
            let mut text = String::new();
            let mut parts = cursor.take(3).chain(&b"abc"[..]).chain(empty());
            parts.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "456abc");
            assert_eq!(copy(repeat(7).take(300_000), &mut sink()).await.unwrap(), 300_000);
            let (near, mut far) = tcp().await.unwrap();
            let (mut reader, mut writer) = split(near);
            join(far.write_all(b"x"), writer.close()).await.1.unwrap();
            reader.read_exact(&mut [0]).await.unwrap();
            assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
            let _whole: TcpStream = reader.reunite(writer).unwrap();
        });
    });
}
