//! How TLS sessions end: in order, cut short, and by their time limits.

use std::io::ErrorKind;
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::join;
use ringloop::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use ringloop::net::{TcpStream, UnixStream};
use ringloop::spawn;
use ringloop::time::Instant;
use ringloop::tls::TlsStream;

use crate::harness::on_every;
use crate::net_stream::narrow_pair;
use crate::tls_tools::{VERSIONS, acceptor, connector, connector_for, handshake, pair};

const SECOND: Duration = Duration::from_secs(1);

/// Both ends of a session over a Unix socket.
async fn unix_pair() -> (TlsStream<UnixStream>, TlsStream<UnixStream>) {
    let (near, far) = UnixStream::pair().unwrap();
    let (client, server) = handshake(&connector(), &acceptor(), near, far).await;
    (client.unwrap(), server.unwrap())
}

/// A session over a stream that does not pass everything on: the bytes of the server go through
/// `pass`, which gets the plain streams after the handshake.
async fn through<F>(
    pass: impl FnOnce(UnixStream, UnixStream) -> F + Send + 'static,
) -> (TlsStream<UnixStream>, TlsStream<UnixStream>)
where
    F: Future<Output = ()> + Send,
{
    let (near, middle_near) = UnixStream::pair().unwrap();
    let (middle_far, far) = UnixStream::pair().unwrap();
    let (done, stopped) = (crate::tools::Flag::new(), crate::tools::Flag::new());
    let (seen, stops) = (done.clone(), stopped.clone());
    spawn(async move {
        let (a, b) = (middle_near, middle_far);
        let (mut from_a, mut from_b) = ([0; 4096], [0; 4096]);
        // Copies the handshake, in both directions.
        while !seen.is_set() {
            for (from, to, buf) in [(&a, &b, &mut from_a), (&b, &a, &mut from_b)] {
                if let Ok(n) = from.try_read(buf) {
                    assert_eq!(to.try_write(&buf[..n]).unwrap(), n);
                }
            }
            ringloop::yield_now().await;
        }
        stops.set();
        pass(a, b).await;
    })
    .detach();
    let (client, server) = handshake(&connector(), &acceptor(), near, far).await;
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    // The tickets have passed as well.
    server.write_all(b"t").await.unwrap();
    client.read_exact(&mut [0; 1]).await.unwrap();
    done.set();
    stopped.wait().await;
    (client, server)
}

#[test]
fn each_side_may_close_first() {
    on_every(|cfg| {
        cfg.once(async {
            for version in VERSIONS {
                for client_first in [true, false] {
                    let (near, far) = crate::net_stream::pair().await;
                    let connector = connector_for(version);
                    let (client, server) = handshake(&connector, &acceptor(), near, far).await;
                    let (client, server) = (client.unwrap(), server.unwrap());
                    let (mut first, mut second) =
                        if client_first { (client, server) } else { (server, client) };
                    let closing = spawn(async move {
                        first.write_all(b"last").await.unwrap();
                        first.close().await.unwrap();
                        first.close().await.expect("a second close has nothing to do");
                    });
                    let mut text = String::new();
                    second.read_to_string(&mut text).await.unwrap();
                    assert_eq!(text, "last");
                    assert_eq!(second.read(&mut [0; 9]).await.unwrap(), 0, "the end stays");
                    second.close().await.unwrap();
                    closing.await.unwrap();
                }
            }
        });
    });
}

#[test]
fn both_sides_may_close_at_once_with_bytes_unread() {
    on_every(|cfg| {
        cfg.once(async {
            let (mut client, mut server) = pair().await;
            client.write_all(&[1; 30_000]).await.unwrap();
            server.write_all(&[2; 30_000]).await.unwrap();
            let (one, two) = join(client.close(), server.close()).await;
            one.unwrap();
            two.unwrap();
        });
    });
}

#[test]
fn one_side_ends_and_still_reads() {
    on_every(|cfg| {
        cfg.once(async {
            let (mut client, mut server) = pair().await;
            client.write_all(b"question").await.unwrap();
            AsyncWriteExt::close(&mut client).await.unwrap();
            let error = client.write(b"more").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);

            let mut question = String::new();
            server.read_to_string(&mut question).await.unwrap();
            assert_eq!(question, "question");
            let answer = vec![3; 200_000];
            let writing = async {
                server.write_all(&answer).await.unwrap();
                server.close().await.unwrap();
            };
            let reading = async {
                let mut got = Vec::new();
                client.read_to_end(&mut got).await.unwrap();
                assert_eq!(got, answer);
                client.close().await.unwrap();
            };
            join(writing, reading).await;
        });
    });
}

#[test]
fn a_drop_without_close_is_no_clean_end() {
    on_every(|cfg| {
        cfg.once(async {
            for version in VERSIONS {
                let (near, far) = UnixStream::pair().unwrap();
                let connector = connector_for(version);
                let (client, server) = handshake(&connector, &acceptor(), near, far).await;
                let (mut client, mut server) = (client.unwrap(), server.unwrap());
                server.write_all(b"half of it").await.unwrap();
                server.flush().await.unwrap();
                drop(server);
                let mut text = Vec::new();
                let error = client.read_to_end(&mut text).await.unwrap_err();
                assert_eq!(text, b"half of it", "bytes before the end are readable");
                assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
                assert!(error.to_string().contains("close_notify"), "{error}");
                let again = client.read(&mut [0; 1]).await.unwrap_err();
                assert_eq!(again.kind(), ErrorKind::UnexpectedEof, "it stays");
            }
        });
    });
}

#[test]
fn a_record_that_is_cut_short_is_no_clean_end() {
    on_every(|cfg| {
        cfg.once(async {
            for kept in [0, 1, 4, 5, 6, 8000] {
                let (mut client, mut server) = through(move |mut near, mut far| async move {
                    let mut record = vec![0; 10_000 + 22];
                    far.read_exact(&mut record).await.unwrap();
                    near.write_all(&record).await.unwrap();
                    let mut part = vec![0; kept];
                    far.read_exact(&mut part).await.unwrap();
                    near.write_all(&part).await.unwrap();
                })
                .await;
                server.write_all(&[5; 10_000]).await.unwrap();
                // Refused, if what is between has ended by then.
                let _ = server.write_all(&[6; 10_000]).await;
                let mut got = Vec::new();
                let error = client.read_to_end(&mut got).await.unwrap_err();
                assert_eq!(got, [5; 10_000], "the whole record before it is readable");
                assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
            }
        });
    });
}

#[test]
fn a_record_that_was_changed_ends_the_session() {
    on_every(|cfg| {
        cfg.once(async {
            let (mut client, mut server) = through(|mut near, mut far| async move {
                let mut bytes = [0; 2 * 122];
                far.read_exact(&mut bytes).await.unwrap();
                bytes[200] ^= 1;
                near.write_all(&bytes).await.unwrap();
                // The alert goes back.
                let mut back = Vec::new();
                near.read_to_end(&mut back).await.unwrap();
                far.write_all(&back).await.unwrap();
            })
            .await;
            server.write_all(&[5; 100]).await.unwrap();
            server.write_all(&[6; 100]).await.unwrap();
            let mut got = Vec::new();
            let error = client.read_to_end(&mut got).await.unwrap_err();
            assert_eq!(got, [5; 100]);
            assert_eq!(error.kind(), ErrorKind::InvalidData);
            client.read(&mut [0; 1]).await.expect_err("it stays");
            client.write(b"more").await.expect_err("nothing more is sent");
            drop(client);
            let error = server.read(&mut [0; 1]).await.unwrap_err();
            assert!(error.to_string().contains("alert"), "the peer hears of it: {error}");
        });
    });
}

#[test]
fn a_close_ends_without_the_peers_close_notify() {
    // The time is the mock clock's, so it is exact.
    on_every(|cfg| {
        cfg.mocked(async {
            let (mut client, mut server) = unix_pair().await;
            client.write_all(b"last").await.unwrap();
            let begun = Instant::now();
            let error = client.close().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert!(error.to_string().contains("close_notify"), "{error}");
            assert_eq!(begun.elapsed(), 30 * SECOND);
            // What was written is there, and the end as well.
            let mut text = String::new();
            server.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "last");
        });
    });
}

#[test]
fn a_close_ends_when_the_peer_takes_nothing() {
    on_every(|cfg| {
        cfg.mocked(async {
            for whole in [true, false] {
                let (near, far) = UnixStream::pair().unwrap();
                let connector = connector().shutdown_timeout(5 * SECOND);
                let (client, server) = handshake(&connector, &acceptor(), near, far).await;
                let (mut client, _server) = (client.unwrap(), server.unwrap());
                // Until the stream takes no more.
                let bytes = vec![0; 1 << 20];
                while let std::task::Poll::Ready(written) =
                    ringloop::testing::poll_once(client.write(&bytes))
                {
                    written.unwrap();
                }
                let begun = Instant::now();
                let closed = match whole {
                    true => client.close().await,
                    false => AsyncWriteExt::close(&mut client).await,
                };
                let error = closed.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                assert!(error.to_string().contains("did not take"), "{error}");
                assert_eq!(begun.elapsed(), 5 * SECOND);
                client.close().await.expect_err("it stays");
            }
        });
    });
}

#[test]
fn a_close_that_is_cancelled_goes_on_with_its_time() {
    on_every(|cfg| {
        cfg.mocked(async {
            let (mut client, _server) = unix_pair().await;
            let begun = Instant::now();
            let short = ringloop::time::timeout(10 * SECOND, client.close()).await;
            assert!(short.is_err());
            let error = client.close().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert_eq!(begun.elapsed(), 30 * SECOND);
        });
    });
}

#[test]
fn a_peer_that_closes_without_an_answer_has_seen_the_end() {
    on_every(|cfg| {
        cfg.once(async {
            let (mut client, mut server) = unix_pair().await;
            let closing = spawn(async move { client.close().await });
            assert_eq!(server.read(&mut [0; 1]).await.unwrap(), 0);
            drop(server);
            closing.await.unwrap().unwrap();
        });
    });
}

#[test]
fn a_silent_peer_ends_the_handshake_at_its_limit() {
    on_every(|cfg| {
        cfg.mocked(async {
            let (near, _far) = UnixStream::pair().unwrap();
            let begun = Instant::now();
            let error = connector().connect("localhost", near).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert!(error.to_string().contains("60s"), "{error}");
            assert_eq!(begun.elapsed(), 60 * SECOND);

            let (near, _far) = UnixStream::pair().unwrap();
            let begun = Instant::now();
            let limited = acceptor().handshake_timeout(2 * SECOND);
            let error = limited.accept(near).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert_eq!(begun.elapsed(), 2 * SECOND);
        });
    });
}

#[test]
fn an_end_in_the_handshake_is_an_error_that_says_so() {
    on_every(|cfg| {
        cfg.once(async {
            // At once, and after some of the peer's bytes.
            for words in [0, 100] {
                let (near, mut far) = UnixStream::pair().unwrap();
                let peer = spawn(async move {
                    let mut hello = [0; 100];
                    far.read_exact(&mut hello[..words]).await.unwrap();
                });
                let error = connector().connect("localhost", near).await.unwrap_err();
                peer.await.unwrap();
                let kinds =
                    [ErrorKind::UnexpectedEof, ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
                assert!(kinds.contains(&error.kind()), "{error:?}");

                let (mut near, far) = UnixStream::pair().unwrap();
                near.write_all(&[0x16, 3, 1, 2, 0, 1][..words.min(6)]).await.unwrap();
                drop(near);
                let error = acceptor().accept(far).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
                assert!(error.to_string().contains("middle of the TLS handshake"), "{error}");
            }
        });
    });
}

#[test]
fn a_dropped_handshake_closes_the_stream() {
    on_every(|cfg| {
        cfg.once(async {
            let (near, mut far) = UnixStream::pair().unwrap();
            let task = spawn(async move { connector().connect("localhost", near).await.map(drop) });
            let mut hello = [0; 5];
            far.read_exact(&mut hello).await.unwrap();
            assert_eq!(hello[0], 0x16);
            task.cancel();
            assert!(task.await.unwrap_err().is_cancelled());
            let mut rest = Vec::new();
            far.read_to_end(&mut rest).await.unwrap();
        });
    });
}

#[test]
fn writers_hear_of_a_peer_that_has_gone() {
    on_every(|cfg| {
        cfg.once(async {
            let (mut client, server) = pair().await;
            drop(server);
            let bytes = vec![0; 100_000];
            let mut written = 0;
            let error = loop {
                match client.write(&bytes).await {
                    Ok(n) => written += n,
                    Err(error) => break error,
                }
                assert!(written < 1 << 30, "no error after {written} bytes");
            };
            let kinds = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
            assert!(kinds.contains(&error.kind()), "{error:?}");
        });
    });
}

#[test]
fn a_flush_waits_until_the_peer_can_read_everything() {
    on_every(|cfg| {
        cfg.once(async {
            let (near, far) = narrow_pair().await;
            let (client, server) = handshake(&connector(), &acceptor(), near, far).await;
            let (mut client, mut server) = (client.unwrap(), server.unwrap());
            let n = client.write(&[9; 60_000]).await.unwrap();
            let waits = ringloop::testing::poll_once(client.flush());
            assert!(waits.is_pending(), "the sockets take less than {n} bytes");
            let reading = spawn(async move {
                server.read_exact(&mut [0; 60_000]).await.unwrap();
                server
            });
            client.flush().await.unwrap();
            // Nobody polls the client any more.
            drop(reading.await.unwrap());
            drop(client);
        });
    });
}

#[test]
fn into_inner_gives_the_plain_stream_back() {
    on_every(|cfg| {
        cfg.once(async {
            let (mut client, mut server) = unix_pair().await;
            client.write_all(b"secret").await.unwrap();
            server.read_exact(&mut [0; 6]).await.unwrap();
            let (mut near, mut far): (UnixStream, UnixStream) =
                (client.into_inner(), server.into_inner());
            near.write_all(b"plain").await.unwrap();
            let mut text = [0; 5];
            far.read_exact(&mut text).await.unwrap();
            assert_eq!(&text, b"plain");
        });
    });
}

#[test]
fn a_half_that_is_dropped_ends_nothing() {
    on_every(|cfg| {
        cfg.once(async {
            let (client, mut server) = pair().await;
            let (mut reader, writer) = client.into_split();
            drop(writer);
            server.write_all(b"still here").await.unwrap();
            server.flush().await.unwrap();
            reader.read_exact(&mut [0; 10]).await.unwrap();
            drop(reader);
            let error = server.read(&mut [0; 1]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);

            // Halves of two streams come back.
            let (a, _a) = pair().await;
            let (b, _b) = pair().await;
            let ((a_reader, a_writer), (b_reader, b_writer)) = (a.into_split(), b.into_split());
            let error = a_reader.reunite(b_writer).unwrap_err();
            assert!(error.to_string().contains("same"), "{error:?}");
            let a: TlsStream<TcpStream> = error.0.reunite(a_writer).unwrap();
            let _ = (a, b_reader.reunite(error.1).unwrap());
        });
    });
}

#[test]
fn a_poll_of_an_empty_buffer_and_an_empty_write_are_ready() {
    on_every(|cfg| {
        cfg.once(async {
            let (mut client, _server) = unix_pair().await;
            assert_eq!(client.read(&mut []).await.unwrap(), 0);
            assert_eq!(client.write(&[]).await.unwrap(), 0);
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(Pin::new(&mut client).poll_flush(&mut cx).is_ready());
        });
    });
}
