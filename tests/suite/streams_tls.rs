//! Readers, writers and protocols over TLS, from the start or by STARTTLS.

use std::io::{self, ErrorKind};
use std::time::Duration;

use ringloop::io::AsyncWriteExt;
use ringloop::net::TcpStream;
use ringloop::protocol::{self, Protocol, Transport};
use ringloop::spawn;
use ringloop::streams::{self, StreamReader, StreamWriter};

use crate::harness::{ErrorLog, Kind, on_every, scaled};
use crate::tls_tools::{acceptor, connector};
use crate::tools::{check_pattern, fill_pattern};

const LONG: Duration = Duration::from_secs(20);

async fn echo_lines(mut reader: StreamReader, mut writer: StreamWriter) -> io::Result<()> {
    loop {
        let line = reader.read_line().await?;
        if line.is_empty() {
            return writer.close().await;
        }
        writer.write_all(line.as_bytes()).await?;
    }
}

#[test]
fn lines_go_over_tls_as_they_go_without() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let server = streams::serve_tls("localhost:0", acceptor(), echo_lines).await.unwrap();
            let clients: Vec<_> = (0..4)
                .map(|number| {
                    let addrs = server.local_addrs().to_vec();
                    spawn(async move {
                        let connector = connector();
                        let ends = streams::connect_tls(&addrs[..], "localhost", &connector);
                        let (mut reader, mut writer) = ends.await.unwrap();
                        assert!(addrs.contains(&writer.peer_addr().unwrap()));
                        assert_eq!(writer.tls().unwrap().server_name(), Some("localhost"));
                        for turn in 0..scaled(10) {
                            let line = format!("{number} {turn} {}\n", "z".repeat(turn * 3001));
                            writer.write_all(line.as_bytes()).await.unwrap();
                            assert_eq!(reader.read_line().await.unwrap(), line);
                        }
                        writer.close().await.unwrap();
                        assert_eq!(reader.read_line().await.unwrap(), "");
                    })
                })
                .collect();
            for client in clients {
                client.await.unwrap();
            }
            assert_eq!(server.drain(LONG).await.cancelled, 0);
        });
    });
}

#[test]
fn failed_handshake_is_reported_and_the_server_goes_on() {
    on_every(|cfg| {
        let log = ErrorLog::default();
        cfg.once_with(&log, async {
            let server = streams::serve_tls("127.0.0.1:0", acceptor(), echo_lines).await.unwrap();
            let (mut reader, mut writer) = streams::connect(server.local_addrs()).await.unwrap();
            writer.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            let _ = reader.read_to_end().await;
            let ends = streams::connect_tls(server.local_addrs(), "localhost", &connector()).await;
            let (mut reader, mut writer) = ends.unwrap();
            writer.write_all(b"served\n").await.unwrap();
            assert_eq!(reader.read_line().await.unwrap(), "served\n");
            writer.close().await.unwrap();
            assert_eq!(reader.read_line().await.unwrap(), "");
            server.drain(LONG).await;
        });
        let reports = log.take(Kind::Other);
        assert!(reports.len() == 1 && reports[0].contains("handshake"), "{reports:?}");
        log.assert_silent();
    });
}

/// Everything that was written arrives, and then an end that is none by accident, also if the writer is dropped.
#[test]
fn dropped_writer_sends_its_bytes_and_close_notify() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let mut sent = vec![0; 300_000];
            fill_pattern(&mut sent, 0);
            let server =
                streams::serve_tls("127.0.0.1:0", acceptor(), move |_reader, mut writer| {
                    let sent = sent.clone();
                    async move {
                        writer.set_write_buffer_limits(1 << 20, 0);
                        writer.write_all(&sent).await
                    }
                });
            let server = server.await.unwrap();
            let ends = streams::connect_tls(server.local_addrs(), "localhost", &connector()).await;
            let (mut reader, writer) = ends.unwrap();
            let all = reader.read_to_end().await.unwrap();
            assert_eq!(all.len(), 300_000);
            check_pattern(&all, 0);
            writer.close().await.unwrap();
            server.drain(LONG).await;
        });
    });
}

#[test]
fn proxy_line_and_the_first_record_may_come_in_one_segment() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let server = streams::serve("127.0.0.1:0", |mut reader, writer| async move {
                assert_eq!(reader.read_line().await?, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n");
                let (reader, writer) = streams::accept_tls(reader, writer, &acceptor()).await?;
                echo_lines(reader, writer).await
            });
            let server = server.await.unwrap();
            // One stream that keeps the line until the first record follows.
            let stream = TcpStream::connect(server.local_addrs()).await.unwrap();
            let (reader, writer) = streams::split(Held::ends(stream));
            let ends = streams::start_tls(reader, writer, "localhost", &connector()).await;
            let (mut reader, mut writer) = ends.unwrap();
            writer.write_all(b"secret\n").await.unwrap();
            assert_eq!(reader.read_line().await.unwrap(), "secret\n");
            writer.close().await.unwrap();
            assert_eq!(reader.read_line().await.unwrap(), "");
            server.drain(LONG).await;
        });
    });
}

/// A stream whose first write is preceded by a line, in one segment.
struct Held {
    stream: TcpStream,
    line: Option<&'static [u8]>,
}

impl Held {
    fn ends(stream: TcpStream) -> ringloop::io::Ends {
        let line = Some(&b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"[..]);
        let (reader, writer) = futures_util::AsyncReadExt::split(Held { stream, line });
        ringloop::io::Ends::new(reader, writer)
    }
}

impl ringloop::io::AsyncRead for Held {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut [u8],
    ) -> std::task::Poll<io::Result<usize>> {
        std::pin::Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl ringloop::io::AsyncWrite for Held {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        let both = [self.line.unwrap_or_default(), buf].concat();
        let sent = std::task::ready!(std::pin::Pin::new(&mut self.stream).poll_write(cx, &both))?;
        let before = self.line.take().map_or(0, <[u8]>::len);
        assert!(sent >= before, "a short write in the line");
        std::task::Poll::Ready(Ok(sent - before))
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_close(cx)
    }
}

/// A server that answers STARTTLS, with or without plaintext behind its answer.
async fn starttls(injected: &'static str) -> streams::Server {
    streams::serve("127.0.0.1:0", move |mut reader, mut writer| async move {
        if reader.read_line().await? != "STARTTLS\n" {
            return Ok(());
        }
        writer.write_all(format!("go on\n{injected}").as_bytes()).await?;
        let (reader, writer) = match streams::accept_tls(reader, writer, &acceptor()).await {
            Ok(ends) => ends,
            // Of a client that has gone, or has spoken plaintext.
            Err(_) => return Ok::<(), io::Error>(()),
        };
        echo_lines(reader, writer).await
    })
    .await
    .unwrap()
}

#[test]
fn starttls_goes_over_and_what_was_left_over_is_refused() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for injected in ["", "injected\n"] {
                let server = starttls(injected).await;
                let (mut reader, mut writer) =
                    streams::connect(server.local_addrs()).await.unwrap();
                writer.write_all(b"STARTTLS\n").await.unwrap();
                assert_eq!(reader.read_line().await.unwrap(), "go on\n");
                let ends = streams::start_tls(reader, writer, "localhost", &connector()).await;
                match ends {
                    Ok((mut reader, mut writer)) => {
                        assert_eq!(injected, "");
                        writer.write_all(b"secret\n").await.unwrap();
                        assert_eq!(reader.read_line().await.unwrap(), "secret\n");
                        writer.close().await.unwrap();
                        assert_eq!(reader.read_line().await.unwrap(), "");
                    }
                    Err(error) => {
                        assert_eq!(injected, "injected\n");
                        assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
                    }
                }
                // A client that goes on in plaintext is not heard.
                let (mut reader, mut writer) =
                    streams::connect(server.local_addrs()).await.unwrap();
                writer.write_all(b"STARTTLS\ninjected by the client\n").await.unwrap();
                assert_eq!(reader.read_line().await.unwrap(), "go on\n");
                let rest = reader.read_to_end().await.unwrap_or_default();
                let rest = String::from_utf8_lossy(&rest).into_owned();
                assert!(!rest.contains("client"), "{rest}");
                server.drain(LONG).await;
            }
        });
    });
}

struct Echo;

impl Protocol for Echo {
    fn data(&mut self, transport: &Transport, bytes: &[u8]) {
        assert!(transport.write(bytes));
    }
}

#[test]
fn protocol_over_tls_is_called_with_plaintext() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let listener = ringloop::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let serving = spawn(async move {
                let (stream, _) = listener.accept().await.unwrap();
                let stream = acceptor().accept(stream).await.unwrap();
                protocol::spawn(stream, Echo).unwrap().1.await.unwrap();
            });
            let ends = streams::connect_tls(addr, "localhost", &connector()).await;
            let (mut reader, mut writer) = ends.unwrap();
            let line = format!("{}\n", "w".repeat(60_000));
            AsyncWriteExt::write_all(&mut writer, line.as_bytes()).await.unwrap();
            AsyncWriteExt::flush(&mut writer).await.unwrap();
            assert_eq!(reader.read_line().await.unwrap(), line);
            writer.close().await.unwrap();
            assert_eq!(reader.read_line().await.unwrap(), "");
            serving.await.unwrap();
        });
    });
}
