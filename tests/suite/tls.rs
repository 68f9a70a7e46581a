//! TLS: what both sides agree on, and that no byte is lost.

use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::future::join;
use ringloop::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use ringloop::net::{TcpListener, TcpStream, UnixStream};
use ringloop::tls::rustls::{AlertDescription, ClientConfig, Error, ProtocolVersion};
use ringloop::tls::{ClientCertificates, TlsAcceptor, TlsConnector, TlsStream};
use ringloop::{spawn, yield_now};

use crate::harness::{on_every, on_every_within, scaled, wait_until_async};
use crate::net_stream::{expect_pattern, narrow_pair, send_pattern};
use crate::tls_tools::{
    Authority, VERSIONS, acceptor, acceptor_of, cause, connector, connector_for, handshake, pair,
    pki,
};
use crate::tools::{check_pattern, fill_pattern};

/// Echoes until the end, then closes.
pub async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut stream: TlsStream<S>) -> io::Result<()> {
    let mut buf = vec![0; 10_000];
    loop {
        let n = stream.read(&mut buf).await?;
        if n == 0 {
            return stream.close().await;
        }
        stream.write_all(&buf[..n]).await?;
        stream.flush().await?;
    }
}

#[test]
fn a_mebibyte_is_echoed_over_tcp_and_unix_sockets() {
    // Goal: many records both ways at the same time; method: two tasks of one session send and
    // check the pattern, and the far side echoes it.
    async fn through<S>(near: S, far: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        const TOTAL: usize = 1 << 20;
        let (client, server) = handshake(&connector(), &acceptor(), near, far).await;
        let server = spawn(echo(server.unwrap()));
        let (mut reader, mut writer) = client.unwrap().into_split();
        let sender = spawn(async move {
            send_pattern(&mut writer, TOTAL, 50_000).await;
            writer.close().await.unwrap();
            writer
        });
        expect_pattern(&mut reader, TOTAL, 30_000).await;
        assert_eq!(reader.read(&mut [0; 1]).await.unwrap(), 0);
        let mut whole = reader.reunite(sender.await.unwrap()).unwrap();
        whole.close().await.unwrap();
        server.await.unwrap().unwrap();
    }
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (near, far) = crate::net_stream::pair().await;
            through(near, far).await;
            let (near, far) = UnixStream::pair().unwrap();
            through(near, far).await;
        });
    });
}

#[test]
fn messages_of_all_sizes_keep_their_order() {
    on_every(|cfg| {
        let mut rng = cfg.rng(1);
        let sizes: Vec<_> = (0..60)
            .map(|_| {
                let bits = 1 + rng.below(17);
                1 + rng.below(1 << bits)
            })
            .collect();
        cfg.once(async {
            let (mut client, mut server) = pair().await;
            let total: usize = sizes.iter().sum();
            let sending = async {
                let mut sent = 0;
                for size in &sizes {
                    let mut message = vec![0; *size];
                    fill_pattern(&mut message, sent);
                    client.write_all(&message).await.unwrap();
                    sent += size;
                }
                client.close().await.unwrap();
            };
            let receiving = async {
                expect_pattern(&mut server, total, 70_000).await;
                assert_eq!(server.read(&mut [0; 1]).await.unwrap(), 0);
                server.close().await.unwrap();
            };
            join(sending, receiving).await;
        });
    });
}

/// A connector whose records have 512 bytes at most.
fn small_records() -> TlsConnector {
    let mut config = ClientConfig::clone(connector().config());
    config.max_fragment_size = Some(512);
    TlsConnector::from(Arc::new(config))
}

#[test]
fn small_records_and_small_pieces_keep_their_order() {
    // Method: each write is a slice of pieces of all sizes, empty ones too.
    on_every(|cfg| {
        let mut rng = cfg.rng(2);
        cfg.once(async {
            for connector in [connector(), small_records()] {
                let (near, far) = UnixStream::pair().unwrap();
                let (client, server) = handshake(&connector, &acceptor(), near, far).await;
                let (mut client, mut server) = (client.unwrap(), server.unwrap());
                const TOTAL: usize = 400_000;
                let sending = async {
                    let mut sent = 0;
                    while sent < TOTAL {
                        let pieces: Vec<usize> = (0..1 + rng.below(20))
                            .map(|_| {
                                let bits = rng.below(18);
                                rng.below(1 << bits)
                            })
                            .collect();
                        let mut bytes = vec![0; pieces.iter().sum()];
                        fill_pattern(&mut bytes, sent);
                        let (mut slices, mut rest) = (Vec::new(), &bytes[..]);
                        for piece in pieces {
                            let (slice, after) = rest.split_at(piece);
                            slices.push(IoSlice::new(slice));
                            rest = after;
                        }
                        let n = client.write_vectored(&slices).await.unwrap();
                        assert_eq!(n, bytes.len().min(n), "no more than was given");
                        assert!(n > 0 || bytes.is_empty());
                        sent += n;
                    }
                    client.close().await.unwrap();
                    sent
                };
                let receiving = async {
                    let (mut got, mut buf) = (0, vec![0; 5000]);
                    loop {
                        let n = server.read(&mut buf).await.unwrap();
                        if n == 0 {
                            server.close().await.unwrap();
                            return got;
                        }
                        check_pattern(&buf[..n], got);
                        got += n;
                    }
                };
                let (sent, got) = join(sending, receiving).await;
                assert_eq!(sent, got);
            }
        });
    });
}

#[test]
fn a_certificate_of_many_records_is_accepted() {
    let names: Vec<_> = (0..2000).map(|n| format!("host-number-{n}.example.com")).collect();
    let mut names: Vec<&str> = names.iter().map(|name| &name[..]).collect();
    names.push("localhost");
    let large = acceptor_of(&pki().authority.server(&names));
    on_every(|cfg| {
        cfg.once(async {
            for version in VERSIONS {
                let (near, far) = UnixStream::pair().unwrap();
                let connector = connector_for(version);
                let (client, server) = handshake(&connector, &large, near, far).await;
                let (mut client, mut server) = (client.unwrap(), server.unwrap());
                assert!(client.peer_certificates().unwrap()[0].len() > 3 * (16 << 10));
                let (one, two) = join(client.close(), server.close()).await;
                one.unwrap();
                two.unwrap();
            }
        });
    });
}

#[test]
fn a_question_is_sent_without_a_flush_when_the_answer_is_read() {
    // Method: narrow sockets, so that the stream below does not take the question at once.
    on_every(|cfg| {
        cfg.once(async {
            let (near, far) = narrow_pair().await;
            let (client, server) = handshake(&connector(), &acceptor(), near, far).await;
            let (mut client, mut server) = (client.unwrap(), server.unwrap());
            let serving = spawn(async move {
                expect_pattern(&mut server, 60_000, 4096).await;
                server.write_all(b"answer").await.unwrap();
                server.flush().await.unwrap();
                server
            });
            let mut question = vec![0; 60_000];
            fill_pattern(&mut question, 0);
            let taken = client.write(&question).await.unwrap();
            assert_eq!(taken, question.len(), "one write takes up to 64 KiB");
            let mut answer = [0; 6];
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"answer");
            drop(serving.await.unwrap());
        });
    });
}

#[test]
fn alpn_is_agreed() {
    on_every(|cfg| {
        cfg.once(async {
            let identity = &pki().server;
            let acceptor = TlsAcceptor::builder()
                .certificate_pem(&identity.chain, &identity.key)
                .alpn(["h2", "http/1.1"])
                .build()
                .unwrap();
            let offering = |protocols: &[&str]| {
                let builder = TlsConnector::builder().platform_roots(false);
                builder.add_root_pem(&pki().root).alpn(protocols).build().unwrap()
            };
            for (offered, agreed) in [
                (&["http/1.1", "h2"][..], Some(&b"h2"[..])),
                (&["http/1.1"], Some(b"http/1.1")),
                (&[], None),
            ] {
                let (near, far) = UnixStream::pair().unwrap();
                let (client, server) = handshake(&offering(offered), &acceptor, near, far).await;
                assert_eq!(client.unwrap().alpn_protocol(), agreed);
                assert_eq!(server.unwrap().alpn_protocol(), agreed);
            }
            let (near, far) = UnixStream::pair().unwrap();
            let (client, server) = handshake(&offering(&["spdy"]), &acceptor, near, far).await;
            let (client, server) = (client.unwrap_err(), server.unwrap_err());
            assert_eq!(cause(&server), &Error::NoApplicationProtocol);
            assert!(server.to_string().contains("ALPN"), "{server}");
            let alert = AlertDescription::NoApplicationProtocol;
            assert_eq!(cause(&client), &Error::AlertReceived(alert));
            assert!(client.to_string().contains("ALPN"), "{client}");
        });
    });
}

#[test]
fn both_sides_know_what_was_agreed() {
    on_every(|cfg| {
        cfg.once(async {
            for (version, number) in
                VERSIONS.into_iter().zip([ProtocolVersion::TLSv1_2, ProtocolVersion::TLSv1_3])
            {
                let (near, far) = UnixStream::pair().unwrap();
                let connector = connector_for(version);
                let (client, server) = handshake(&connector, &acceptor(), near, far).await;
                let (client, server) = (client.unwrap(), server.unwrap());
                assert_eq!(client.protocol_version(), Some(number));
                assert_eq!(server.protocol_version(), Some(number));
                assert_eq!(client.cipher_suite(), server.cipher_suite());
                assert!(client.cipher_suite().is_some());
                assert_eq!(client.server_name(), Some("localhost"));
                assert_eq!(server.server_name(), Some("localhost"));
                assert_eq!(client.peer_certificates().unwrap().len(), 1);
                assert!(server.peer_certificates().is_none());
                assert!(!client.is_resumed() && !server.is_resumed());
            }
            // By address: there is no name to send.
            let (near, far) = UnixStream::pair().unwrap();
            let (connector, acceptor) = (connector(), acceptor());
            let (client, server) =
                join(connector.connect("127.0.0.1", near), acceptor.accept(far)).await;
            assert_eq!(client.unwrap().server_name(), Some("127.0.0.1"));
            assert_eq!(server.unwrap().server_name(), None);
        });
    });
}

#[test]
fn client_certificates_are_demanded_or_optional() {
    let stranger = Authority::new("a stranger").client();
    on_every(|cfg| {
        cfg.once(async {
            let asking = |wanted| {
                let builder = TlsAcceptor::builder();
                builder
                    .certificate_pem(&pki().server.chain, &pki().server.key)
                    .client_certificates_pem(wanted, &pki().root)
                    .build()
                    .unwrap()
            };
            let giving = |identity: &crate::tls_tools::Identity| {
                let builder = TlsConnector::builder().platform_roots(false);
                builder
                    .add_root_pem(&pki().root)
                    .client_certificate_pem(&identity.chain, &identity.key)
                    .build()
                    .unwrap()
            };
            for wanted in [ClientCertificates::Demanded, ClientCertificates::Optional] {
                let (near, far) = UnixStream::pair().unwrap();
                let (client, server) =
                    handshake(&giving(&pki().client), &asking(wanted), near, far).await;
                client.unwrap();
                assert_eq!(server.unwrap().peer_certificates().unwrap().len(), 1);

                // One that is not trusted is refused in both cases.
                let (near, far) = UnixStream::pair().unwrap();
                let (_, server) = handshake(&giving(&stranger), &asking(wanted), near, far).await;
                let error = server.unwrap_err();
                assert!(matches!(cause(&error), Error::InvalidCertificate(_)), "{error}");
                assert!(error.to_string().contains("client_certificates_pem"), "{error}");
            }
            let (near, far) = UnixStream::pair().unwrap();
            let acceptor = asking(ClientCertificates::Optional);
            let (client, server) = handshake(&connector(), &acceptor, near, far).await;
            client.unwrap();
            assert!(server.unwrap().peer_certificates().is_none());

            for version in VERSIONS {
                let (near, far) = UnixStream::pair().unwrap();
                let acceptor = asking(ClientCertificates::Demanded);
                let connector = connector_for(version);
                let (client, server) = handshake(&connector, &acceptor, near, far).await;
                let error = server.unwrap_err();
                assert_eq!(cause(&error), &Error::NoCertificatesPresented);
                assert!(error.to_string().contains("Optional"), "{error}");
                // With TLS 1.3 the client hears of it by its first read.
                let error = match client {
                    Err(error) => error,
                    Ok(mut client) => client.read(&mut [0; 1]).await.unwrap_err(),
                };
                assert!(matches!(cause(&error), Error::AlertReceived(_)), "{error}");
                assert!(error.to_string().contains("demands"), "{error}");
            }
        });
    });
}

#[test]
fn the_second_session_is_resumed() {
    on_every(|cfg| {
        cfg.once(async {
            let off = TlsAcceptor::builder()
                .certificate_pem(&pki().server.chain, &pki().server.key)
                .resumption(false)
                .build()
                .unwrap();
            for version in VERSIONS {
                for (acceptor, resumes) in [(acceptor(), true), (off.clone(), false)] {
                    let connector = connector_for(version);
                    for round in 0..3 {
                        let (near, far) = UnixStream::pair().unwrap();
                        let (client, server) = handshake(&connector, &acceptor, near, far).await;
                        let (mut client, mut server) = (client.unwrap(), server.unwrap());
                        assert_eq!(client.is_resumed(), resumes && round > 0, "{version:?}");
                        assert_eq!(server.is_resumed(), resumes && round > 0, "{version:?}");
                        assert_eq!(server.server_name(), Some("localhost"));
                        // The tickets of TLS 1.3 come with the first bytes.
                        server.write_all(b"bytes").await.unwrap();
                        server.flush().await.unwrap();
                        client.read_exact(&mut [0; 5]).await.unwrap();
                        let (closed, other) = join(client.close(), server.close()).await;
                        closed.unwrap();
                        other.unwrap();
                    }
                }
            }
        });
    });
}

#[test]
fn keys_are_refreshed_in_the_middle() {
    on_every(|cfg| {
        cfg.once(async {
            let (client, server) = pair().await;
            let server = spawn(echo(server));
            let mut client = client;
            for round in 0..20 {
                client.refresh_traffic_keys().unwrap();
                let mut message = vec![0; 20_000];
                fill_pattern(&mut message, round * 20_000);
                client.write_all(&message).await.unwrap();
                let mut back = vec![0; 20_000];
                client.read_exact(&mut back).await.unwrap();
                check_pattern(&back, round * 20_000);
            }
            client.close().await.unwrap();
            server.await.unwrap().unwrap();

            let (near, far) = UnixStream::pair().unwrap();
            let old = connector_for(VERSIONS[0]);
            let (client, server) = handshake(&old, &acceptor(), near, far).await;
            let (mut client, mut server) = (client.unwrap(), server.unwrap());
            client.refresh_traffic_keys().unwrap_err();
            client.write_all(b"still here").await.unwrap();
            server.read_exact(&mut [0; 10]).await.unwrap();
        });
    });
}

#[test]
fn cancelled_reads_and_writes_lose_no_byte() {
    // Method: narrow sockets; each read and each write is dropped if it is not ready at its first
    // poll. Only what a write has returned counts as sent.
    on_every(|cfg| {
        let mut rng = cfg.rng(7);
        cfg.once(async {
            const TOTAL: usize = 600_000;
            let (near, far) = narrow_pair().await;
            let (client, server) = handshake(&connector(), &acceptor(), near, far).await;
            let (mut client, mut server) = (client.unwrap(), server.unwrap());
            let mut other = rng.clone();
            let writing = async {
                let (mut sent, mut dropped) = (0, 0);
                while sent < TOTAL {
                    let mut message = vec![0; (1 + rng.below(30_000)).min(TOTAL - sent)];
                    fill_pattern(&mut message, sent);
                    let mut write = Box::pin(client.write(&message));
                    let polled = ringloop::testing::poll_once(&mut write);
                    drop(write);
                    match polled {
                        Poll::Ready(n) => sent += n.unwrap(),
                        Poll::Pending => {
                            dropped += 1;
                            yield_now().await;
                        }
                    }
                }
                client.flush().await.unwrap();
                dropped
            };
            let reading = async {
                let (mut got, mut dropped) = (0, 0);
                let mut buf = vec![0; 40_000];
                while got < TOTAL {
                    let size = 1 + other.below(buf.len());
                    let mut read = Box::pin(server.read(&mut buf[..size]));
                    let polled = ringloop::testing::poll_once(&mut read);
                    drop(read);
                    match polled {
                        Poll::Ready(n) => {
                            let n = n.unwrap();
                            check_pattern(&buf[..n], got);
                            got += n;
                        }
                        Poll::Pending => {
                            dropped += 1;
                            yield_now().await;
                        }
                    }
                }
                dropped
            };
            let (writes, reads) = join(writing, reading).await;
            assert!(writes > 0 && reads > 0, "{writes} writes and {reads} reads were dropped");
        });
    });
}

#[test]
fn two_tasks_use_one_session_by_halves_and_by_split() {
    // Goal: no wake is lost; method: both sides send 2 MiB through narrow sockets while they read.
    on_every_within(std::time::Duration::from_secs(120), |cfg| {
        cfg.once(async {
            let total = scaled(2 << 20);
            let (near, far) = narrow_pair().await;
            let (client, server) = handshake(&connector(), &acceptor(), near, far).await;
            let (mut a_reader, mut a_writer) = client.unwrap().into_split();
            let (mut b_reader, mut b_writer) = AsyncReadExt::split(server.unwrap());
            let tasks = [
                spawn(async move { send_pattern(&mut a_writer, total, 70_000).await }),
                spawn(async move { send_pattern(&mut b_writer, total, 20_000).await }),
                spawn(async move { expect_pattern(&mut a_reader, total, 9000).await }),
                spawn(async move { expect_pattern(&mut b_reader, total, 30_000).await }),
            ];
            for task in tasks {
                task.await.unwrap();
            }
        });
    });
}

/// Counts its wakes.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Woken {
    fn new() -> (Arc<Woken>, Waker) {
        let woken = Arc::new(Woken::default());
        (woken.clone(), Waker::from(woken))
    }

    fn take(&self) -> bool {
        self.0.swap(0, Ordering::SeqCst) > 0
    }
}

/// A stream that takes nothing while it is shut, and that keeps one waker, as most do.
struct Valve<S> {
    inner: S,
    state: Arc<ValveState>,
}

#[derive(Default)]
struct ValveState {
    shut: std::sync::atomic::AtomicBool,
    waker: std::sync::Mutex<Option<Waker>>,
}

impl ValveState {
    fn open(&self) {
        self.shut.store(false, Ordering::SeqCst);
        let waker = self.waker.lock().unwrap().take();
        waker.expect("a task waits").wake();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Valve<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Valve<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.state.shut.load(Ordering::SeqCst) {
            *self.state.waker.lock().unwrap() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

#[test]
fn a_reader_that_sends_takes_no_wake_from_the_writer() {
    on_every(|cfg| {
        cfg.once(async {
            let (near, far) = UnixStream::pair().unwrap();
            let state = Arc::new(ValveState::default());
            let near = Valve { inner: near, state: state.clone() };
            let (connector, acceptor) = (connector(), acceptor());
            let (client, server) =
                join(connector.connect("localhost", near), acceptor.accept(far)).await;
            let (mut reader, mut writer) = client.unwrap().into_split();
            let mut server = server.unwrap();
            let (writes, write_waker) = Woken::new();
            let (reads, read_waker) = Woken::new();
            let mut write_cx = Context::from_waker(&write_waker);
            let mut read_cx = Context::from_waker(&read_waker);

            for reader_first in [false, true] {
                state.shut.store(true, Ordering::SeqCst);
                let message = [7; 1000];
                assert!(Pin::new(&mut writer).poll_write(&mut write_cx, &message).is_ready());
                let mut buf = [0; 10];
                let mut read = |cx: &mut Context<'_>| {
                    assert!(Pin::new(&mut reader).poll_read(cx, &mut buf).is_pending());
                };
                if reader_first {
                    read(&mut read_cx);
                }
                assert!(Pin::new(&mut writer).poll_flush(&mut write_cx).is_pending());
                if !reader_first {
                    read(&mut read_cx);
                }
                // What has woken them before does not count.
                let _ = (writes.take(), reads.take());
                state.open();
                assert!(writes.take(), "the writer waits for room");
                assert!(reads.take(), "and so does the reader");
                assert!(Pin::new(&mut writer).poll_flush(&mut write_cx).is_ready());
                let mut got = [0; 1000];
                server.read_exact(&mut got).await.unwrap();
                assert_eq!(got, message);
            }

            // Where the reader sends what the writer waits for, the writer is woken at once.
            state.shut.store(true, Ordering::SeqCst);
            assert!(Pin::new(&mut writer).poll_write(&mut write_cx, b"1").is_ready());
            assert!(Pin::new(&mut writer).poll_flush(&mut write_cx).is_pending());
            state.shut.store(false, Ordering::SeqCst);
            assert!(Pin::new(&mut reader).poll_read(&mut read_cx, &mut [0; 10]).is_pending());
            assert!(writes.take(), "there is room");
        });
    });
}

#[test]
fn a_proxy_line_and_the_first_record_may_come_together() {
    // Test T66: the bytes after the line go to TLS, whether they are a part of the record, all of
    // it, or none, and no plaintext is readable afterwards.
    on_every(|cfg| {
        cfg.once(async {
            for more in [0, 1, 5, 100, 100_000] {
                let (near, mut far) = crate::net_stream::pair().await;
                let mut near = near;
                let line = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";
                near.write_all(line).await.unwrap();
                let client = spawn(async move {
                    let mut stream = connector().connect("localhost", near).await.unwrap();
                    stream.write_all(b"question").await.unwrap();
                    let mut answer = String::new();
                    stream.read_to_string(&mut answer).await.unwrap();
                    assert_eq!(answer, "answer");
                    stream.close().await.unwrap();
                });
                let mut received = vec![0; line.len()];
                far.read_exact(&mut received).await.unwrap();
                assert_eq!(received, line);
                let mut buffered = vec![0; more];
                let n = match more {
                    0 => 0,
                    _ => far.read(&mut buffered[..]).await.unwrap(),
                };
                buffered.truncate(n);
                let mut server = acceptor().accept_with(far, buffered).await.unwrap();
                let mut question = [0; 8];
                server.read_exact(&mut question).await.unwrap();
                assert_eq!(&question, b"question");
                server.write_all(b"answer").await.unwrap();
                server.close().await.unwrap();
                client.await.unwrap();
            }
        });
    });
}

#[test]
fn starttls_goes_on_over_the_same_stream_and_refuses_leftovers() {
    on_every(|cfg| {
        cfg.once(async {
            let (near, far) = crate::net_stream::pair().await;
            let server = spawn(async move {
                let mut far = far;
                let mut line = [0; 10];
                far.read_exact(&mut line).await.unwrap();
                assert_eq!(&line, b"STARTTLS\r\n");
                far.write_all(b"220 go\r\n").await.unwrap();
                echo(acceptor().accept(far).await.unwrap()).await.unwrap();
            });
            let mut near = near;
            near.write_all(b"STARTTLS\r\n").await.unwrap();
            let mut answer = [0; 8];
            near.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"220 go\r\n");
            let mut stream = connector().connect_with("localhost", near, Vec::new()).await.unwrap();
            stream.write_all(b"MAIL").await.unwrap();
            let mut back = [0; 4];
            stream.read_exact(&mut back).await.unwrap();
            assert_eq!(&back, b"MAIL");
            stream.close().await.unwrap();
            server.await.unwrap();

            // Plaintext behind the server's answer may be injected.
            let (near, _far) = UnixStream::pair().unwrap();
            let injected = b"250 fine\r\n".to_vec();
            let error = connector().connect_with("localhost", near, injected).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
            assert!(error.to_string().contains("left over"), "{error}");
            assert!(error.to_string().contains("250 fine"), "{error}");
            // On the server's side, it is no handshake.
            let (_near, far) = UnixStream::pair().unwrap();
            let error = acceptor().accept_with(far, b"RSET\r\n".to_vec()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
            assert!(error.to_string().contains("RSET"), "{error}");
        });
    });
}

#[test]
fn a_session_runs_inside_of_a_session() {
    on_every(|cfg| {
        cfg.once(async {
            let (outer_client, outer_server) = pair().await;
            let (client, server) =
                handshake(&connector(), &acceptor(), outer_client, outer_server).await;
            let server = spawn(echo(server.unwrap()));
            let client = client.unwrap();
            let mut message = vec![0; 100_000];
            fill_pattern(&mut message, 0);
            let (mut reader, mut writer) = client.split();
            let (sent, ()) =
                join(writer.write_all(&message), expect_pattern(&mut reader, 100_000, 5000)).await;
            sent.unwrap();
            let mut client = reader.reunite(writer).unwrap();
            client.close().await.unwrap();
            server.await.unwrap().unwrap();
        });
    });
}

#[test]
fn many_sessions_at_once_on_all_workers() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = spawn(async move {
                for _ in 0..24 {
                    let (stream, _) = listener.accept().await.unwrap();
                    drop(spawn(async move {
                        echo(acceptor().accept(stream).await.unwrap()).await.unwrap();
                    }));
                }
            });
            let clients: Vec<_> = (0..24)
                .map(|i| {
                    spawn(async move {
                        let stream = TcpStream::connect(address).await.unwrap();
                        let mut stream = connector().connect("localhost", stream).await.unwrap();
                        for round in 0..5 {
                            let mut message = vec![0; 700 * (i + 1)];
                            fill_pattern(&mut message, i + round);
                            stream.write_all(&message).await.unwrap();
                            let mut back = vec![0; message.len()];
                            stream.read_exact(&mut back).await.unwrap();
                            assert_eq!(back, message);
                        }
                        stream.close().await.unwrap();
                    })
                })
                .collect();
            for client in clients {
                client.await.unwrap();
            }
            server.await.unwrap();
        });
    });
}

/// Bytes that the process has from the allocator.
fn allocated() -> usize {
    // SAFETY: it reads the allocator's own figures.
    unsafe { libc::mallinfo2() }.uordblks + unsafe { libc::mallinfo2() }.hblkhd
}

#[test]
fn a_session_that_waits_holds_no_record() {
    // Method: many sessions read a record of 16 KiB to its end and wait for more. A client keeps
    // some 5 KB of rustls' state and a server some 2 KB; the streams below count as well.
    crate::processes::isolated(|| {
        on_every(|cfg| {
            cfg.once(async {
                const SESSIONS: usize = 60;
                let mut idle = Vec::new();
                let mut before = 0;
                for round in 0..SESSIONS + 5 {
                    if round == 5 {
                        before = allocated();
                    }
                    let (near, far) = UnixStream::pair().unwrap();
                    let (client, server) = handshake(&connector(), &acceptor(), near, far).await;
                    let (mut client, mut server) = (client.unwrap(), server.unwrap());
                    let mut record = vec![7; 16 << 10];
                    client.write_all(&record).await.unwrap();
                    server.read_exact(&mut record).await.unwrap();
                    let mut next = [0; 1];
                    let waits = ringloop::testing::poll_once(server.read(&mut next));
                    assert!(waits.is_pending());
                    idle.push((client, server));
                }
                let each = allocated().saturating_sub(before) / SESSIONS;
                println!("{each} bytes for both sides of a session");
                assert!(each < 13_000, "{each} bytes for both sides of a session");
                drop(idle);
            });
        });
    });
}

#[test]
fn a_thousand_handshakes_leave_memory_and_descriptors_flat() {
    // A quarter of them on each of the four backends. `RINGLOOP_TEST_SCALE=10` makes it ten thousand. A
    // session that is not freed has 5 KB.
    let plain_malloc = |command: &mut std::process::Command| {
        command.env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0");
    };
    crate::processes::isolated_with(plain_malloc, || {
        on_every_within(std::time::Duration::from_secs(120), |cfg| {
            if cfg.workers != 2 {
                return;
            }
            let runtime = cfg.runtime();
            runtime.must_run(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let accepting = spawn(async move {
                    loop {
                        let (stream, _) = listener.accept().await.unwrap();
                        drop(spawn(async move {
                            // Some clients leave without a word.
                            if let Ok(stream) = acceptor().accept(stream).await {
                                let _ = echo(stream).await;
                            }
                        }));
                    }
                });
                let one = |number: usize| async move {
                    let stream = TcpStream::connect(address).await.unwrap();
                    let mut stream = connector().connect("localhost", stream).await.unwrap();
                    stream.write_all(b"x").await.unwrap();
                    stream.read_exact(&mut [0; 1]).await.unwrap();
                    if !number.is_multiple_of(3) {
                        stream.close().await.unwrap();
                    }
                };
                let some = |count: usize| async move {
                    for start in (0..count).step_by(20) {
                        let batch: Vec<_> = (start..start + 20).map(|n| spawn(one(n))).collect();
                        for task in batch {
                            task.await.unwrap();
                        }
                    }
                };
                let quiet = || async {
                    let metrics = || ringloop::Handle::current().metrics();
                    // The listener's task, this one, and no connection.
                    wait_until_async(
                        || metrics().live_tasks <= 2,
                        || format!("{:?} end", metrics().live_tasks),
                    )
                    .await;
                };
                some(100).await;
                quiet().await;
                let fds = crate::measure::open_fds().len();
                let mut grown = Vec::new();
                for _ in 0..6 {
                    let before = allocated();
                    some(scaled(60)).await;
                    quiet().await;
                    grown.push(allocated().saturating_sub(before));
                }
                // Caches fill up at some time. A leak shows every time.
                let least = grown.iter().min().unwrap() / scaled(60);
                println!("{grown:?} bytes more, {least} for each session");
                assert!(least < 2000, "{grown:?} bytes more after the handshakes");
                // A stream that was dropped closes a moment later.
                wait_until_async(
                    || crate::measure::open_fds().len() <= fds + 2,
                    || {
                        format!(
                            "descriptors close: {}, and {fds} before",
                            crate::measure::open_fds().len()
                        )
                    },
                )
                .await;
                accepting.cancel();
                let _ = accepting.await;
            });
        });
    });
}

#[cfg(feature = "hyper")]
#[test]
fn hyper_serves_https() {
    use http_body_util::{BodyExt, Full};
    use hyper::body::{Bytes, Incoming};
    use hyper::{Request, Response, service::service_fn};
    use ringloop::compat::hyper::HyperTimer;
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (client, server) = pair().await;
            let server = spawn(async move {
                let answer = |request: Request<Incoming>| async move {
                    let body = request.into_body().collect().await?.to_bytes();
                    Ok::<_, hyper::Error>(Response::new(Full::new(body)))
                };
                let http = hyper::server::conn::http1::Builder::new()
                    .timer(HyperTimer)
                    .serve_connection(server, service_fn(answer));
                http.await.unwrap();
            });
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(client).await.unwrap();
            let connection = spawn(connection);
            for size in [0, 1, 300_000] {
                let body = Full::new(Bytes::from(vec![b'x'; size]));
                let request = Request::post("/").header("host", "localhost").body(body).unwrap();
                // The answer may be complete before its connection is free.
                sender.ready().await.unwrap();
                let response = sender.send_request(request).await.unwrap();
                let body = response.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(body.len(), size);
                assert!(body.iter().all(|&byte| byte == b'x'));
            }
            drop(sender);
            connection.await.unwrap().unwrap();
            server.await.unwrap();
        });
    });
}

#[cfg(feature = "tokio")]
#[test]
fn tokio_traits_carry_data_over_tls() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (mut client, server) = pair().await;
            let (mut reader, mut writer) = server.into_split();
            AsyncWriteExt::write_all(&mut client, b"by tokio").await.unwrap();
            AsyncWriteExt::shutdown(&mut client).await.unwrap();
            let mut text = Vec::new();
            AsyncReadExt::read_to_end(&mut reader, &mut text).await.unwrap();
            assert_eq!(text, b"by tokio");
            AsyncWriteExt::write_all(&mut writer, b"back").await.unwrap();
            AsyncWriteExt::shutdown(&mut writer).await.unwrap();
            let mut text = Vec::new();
            AsyncReadExt::read_to_end(&mut client, &mut text).await.unwrap();
            assert_eq!(text, b"back");
        });
    });
}

#[test]
fn streams_and_their_futures_are_send_and_sync() {
    fn check<T: Send + Sync + Unpin>(_: Option<T>) {}
    fn sends<F: Future + Send>(_: impl Fn() -> F) {}
    check::<TlsStream<TcpStream>>(None);
    check::<ringloop::tls::TlsReadHalf<TcpStream>>(None);
    check::<TlsConnector>(None);
    check::<TlsAcceptor>(None);
    sends(|| async {
        let acceptor = acceptor_of(&pki().server);
        let stream = TcpStream::connect("127.0.0.1:1").await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        stream.close().await
    });
}
