//! TLS with the programs of others: openssl, curl and asyncio, as child processes on loopback.
//!
//! `.ci/services` installs them. Where one is missing, its tests say so in one line and count as skipped.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use ringloop::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use ringloop::net::{TcpListener, TcpStream};
use ringloop::process::{Child, Command};
use ringloop::tls::{ClientCertificates, TlsAcceptor, TlsConnector, TlsStream};
use ringloop::{Task, spawn};

use crate::harness::{loud, on_every_within};
use crate::tls_tools::{Identity, acceptor, connector, pki};

/// A limit for each case: programs have to be started.
const LIMIT: Duration = Duration::from_secs(90);

/// Runs `body` on every backend, if the program is here.
fn with_program(program: &str, body: impl Fn(&crate::harness::Cfg)) {
    static MISSING: Mutex<Option<HashSet<String>>> = Mutex::new(None);
    if std::process::Command::new(program).arg("--help").output().is_err() {
        let mut missing = MISSING.lock().unwrap();
        if missing.get_or_insert_default().insert(program.to_owned()) {
            loud(&format!("NOTE skipped: no {program} here, bash .ci/services installs it"));
        }
        return;
    }
    on_every_within(LIMIT, body);
}

/// A folder with the files that programs need; removed at the drop.
struct Files(PathBuf);

impl Files {
    fn new(test: &str) -> Files {
        let folder = std::env::temp_dir().join(format!("ringloop-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let files = Files(folder);
        std::fs::write(files.path("root.pem"), &pki().root).unwrap();
        for (name, Identity { chain, key }) in
            [("server", &pki().server), ("client", &pki().client)]
        {
            std::fs::write(files.path(&format!("{name}.pem")), chain).unwrap();
            std::fs::write(files.path(&format!("{name}.key")), key).unwrap();
        }
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Accepts `count` clients one after the other, and answers each.
async fn serve<T, F>(
    acceptor: TlsAcceptor,
    count: usize,
    answer: impl Fn(TlsStream<TcpStream>) -> F + Send + Sync + 'static,
) -> (std::net::SocketAddr, Task<Vec<T>>)
where
    T: Send + 'static,
    F: Future<Output = T> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = spawn(async move {
        let mut answers = Vec::new();
        for _ in 0..count {
            let (stream, _) = listener.accept().await.unwrap();
            answers.push(answer(acceptor.accept(stream).await.unwrap()).await);
        }
        answers
    });
    (address, serving)
}

/// Reads a line and sends it back, with what was agreed. Then closes, both ways.
async fn echo_line(stream: TlsStream<TcpStream>) -> bool {
    let resumed = stream.is_resumed();
    let agreed = format!(
        "{:?} {} {} {}",
        stream.protocol_version().unwrap(),
        String::from_utf8_lossy(stream.alpn_protocol().unwrap_or(b"-")),
        stream.server_name().unwrap_or("-"),
        if stream.peer_certificates().is_some() { "known" } else { "unknown" },
    );
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    let mut stream = stream.into_inner();
    stream.write_all(format!("{agreed}: {line}").as_bytes()).await.unwrap();
    stream.close().await.unwrap();
    resumed
}

/// Runs `openssl s_client` with a line as input, and returns what it printed.
async fn s_client(address: std::net::SocketAddr, files: &Files, options: &[&str]) -> String {
    let root = files.text("root.pem");
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string(), "-CAfile", &root])
        .args(["-quiet", "-ign_eof", "-verify_return_error"])
        .args(options)
        .kill_on_drop(true)
        .communicate("hello\n")
        .await
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn openssl_is_served() {
    let files = Files::new("s_client");
    with_program("openssl", |cfg| {
        cfg.once(async {
            let builder = TlsAcceptor::builder()
                .certificate_pem(&pki().server.chain, &pki().server.key)
                .client_certificates_pem(ClientCertificates::Optional, &pki().root)
                .alpn(["h2", "http/1.1"]);
            let (address, serving) = serve(builder.build().unwrap(), 4, echo_line).await;
            let (cert, key) = (files.text("client.pem"), files.text("client.key"));
            for (options, words) in [
                (&["-tls1_2", "-noservername"][..], "TLSv1_2 - - unknown: hello"),
                (&["-tls1_3", "-servername", "localhost"], "TLSv1_3 - localhost unknown: hello"),
                (&["-alpn", "http/1.1,h2", "-noservername"], "TLSv1_3 h2 - unknown: hello"),
                (&["-cert", &cert, "-key", &key, "-noservername"], "TLSv1_3 - - known: hello"),
            ] {
                let text = s_client(address, &files, options).await;
                assert!(text.contains(words), "{options:?}: {text}");
            }
            serving.await.unwrap();
        });
    });
}

#[test]
fn openssl_resumes_its_sessions() {
    let files = Files::new("resume");
    with_program("openssl", |cfg| {
        cfg.once(async {
            for version in ["-tls1_2", "-tls1_3"] {
                let (address, serving) = serve(acceptor(), 2, echo_line).await;
                let session = files.text("session");
                let options = [version, "-sess_out", &session, "-servername", "localhost"];
                s_client(address, &files, &options).await;
                let options = [version, "-sess_in", &session, "-servername", "localhost"];
                s_client(address, &files, &options).await;
                assert_eq!(serving.await.unwrap(), [false, true]);
            }
        });
    });
}

#[test]
fn openssl_refuses_a_certificate_and_we_say_so() {
    let files = Files::new("refuses");
    let stranger = crate::tls_tools::Authority::new("a stranger");
    std::fs::write(files.path("root.pem"), stranger.root()).unwrap();
    with_program("openssl", |cfg| {
        cfg.once(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let serving = spawn(async move {
                let (stream, _) = listener.accept().await.unwrap();
                acceptor().accept(stream).await.unwrap_err()
            });
            let text = s_client(address, &files, &["-servername", "localhost"]).await;
            assert!(text.contains("verify error"), "{text}");
            let error = serving.await.unwrap().to_string();
            assert!(error.contains("client does not trust"), "{error}");
        });
    });
}

/// `openssl s_server`, which sends each line back in reverse.
async fn s_server(files: &Files, options: &[&str]) -> (std::net::SocketAddr, Child) {
    let mut child = Command::new("openssl")
        .args(["s_server", "-accept", "127.0.0.1:0", "-rev", "-CAfile", &files.text("root.pem")])
        .args(["-cert", &files.text("server.pem"), "-key", &files.text("server.key")])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .await
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = loop {
        let line = futures_util::StreamExt::next(&mut lines).await.expect("an address").unwrap();
        if let Some(address) = line.strip_prefix("ACCEPT ") {
            break address.parse().unwrap();
        }
    };
    // It prints about each connection.
    spawn(async move { while futures_util::StreamExt::next(&mut lines).await.is_some() {} })
        .detach();
    (address, child)
}

async fn reverse(stream: &mut TlsStream<TcpStream>) {
    stream.write_all(b"desserts\n").await.unwrap();
    let mut back = [0; 9];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"stressed\n");
}

#[test]
fn openssl_serves_us() {
    let files = Files::new("s_server");
    with_program("openssl", |cfg| {
        cfg.once(async {
            for version in ["-tls1_2", "-tls1_3"] {
                let (address, mut server) = s_server(&files, &[version, "-alpn", "h2"]).await;
                let connector = TlsConnector::builder()
                    .platform_roots(false)
                    .add_root_file(files.path("root.pem"))
                    .alpn(["h2"])
                    .build()
                    .unwrap();
                for round in 0..3 {
                    let stream = TcpStream::connect(address).await.unwrap();
                    let mut stream = connector.connect("localhost", stream).await.unwrap();
                    assert_eq!(stream.is_resumed(), round > 0, "{version}, round {round}");
                    assert_eq!(stream.alpn_protocol(), Some(&b"h2"[..]));
                    reverse(&mut stream).await;
                    if round == 1 && version == "-tls1_3" {
                        stream.refresh_traffic_keys().unwrap();
                        reverse(&mut stream).await;
                    }
                    stream.close().await.unwrap();
                }
                // The wrong name, and no root.
                let stream = TcpStream::connect(address).await.unwrap();
                let error = connector.connect("example.com", stream).await.unwrap_err();
                assert!(error.to_string().contains("not for example.com"), "{error}");
                server.kill().unwrap();
                server.wait().await.unwrap();
            }
        });
    });
}

#[test]
fn openssl_demands_a_certificate_of_us() {
    let files = Files::new("demands");
    with_program("openssl", |cfg| {
        cfg.once(async {
            for version in ["-tls1_2", "-tls1_3"] {
                let options = [version, "-Verify", "1", "-verify_return_error"];
                let (address, mut server) = s_server(&files, &options).await;
                let stream = TcpStream::connect(address).await.unwrap();
                let error = match connector().connect("localhost", stream).await {
                    Err(error) => error,
                    Ok(mut stream) => stream.read(&mut [0; 1]).await.unwrap_err(),
                };
                assert!(error.to_string().contains("demands"), "{error}");

                let with = TlsConnector::builder()
                    .platform_roots(false)
                    .add_root_file(files.path("root.pem"))
                    .client_certificate_files(files.path("client.pem"), files.path("client.key"))
                    .build()
                    .unwrap();
                let stream = TcpStream::connect(address).await.unwrap();
                let mut stream = with.connect("localhost", stream).await.unwrap();
                reverse(&mut stream).await;
                stream.close().await.unwrap();
                server.kill().unwrap();
                server.wait().await.unwrap();
            }
        });
    });
}

#[test]
fn openssl_dies_in_the_middle() {
    let files = Files::new("dies");
    with_program("openssl", |cfg| {
        cfg.once(async {
            let (address, mut server) = s_server(&files, &[]).await;
            let stream = TcpStream::connect(address).await.unwrap();
            let mut stream = connector().connect("localhost", stream).await.unwrap();
            reverse(&mut stream).await;
            server.kill().unwrap();
            server.wait().await.unwrap();
            let error = stream.read(&mut [0; 1]).await.unwrap_err();
            use std::io::ErrorKind::{ConnectionReset, UnexpectedEof};
            assert!([ConnectionReset, UnexpectedEof].contains(&error.kind()), "{error:?}");
        });
    });
}

/// Answers one request of HTTP/1.1, and closes.
async fn answer_http(stream: TlsStream<TcpStream>) {
    let version = stream.protocol_version().unwrap();
    let mut reader = BufReader::new(stream);
    let (mut head, mut line) = (String::new(), String::new());
    while line != "\r\n" {
        head += &line;
        line.clear();
        reader.read_line(&mut line).await.unwrap();
    }
    let mut stream = reader.into_inner();
    let path = head.split(' ').nth(1).unwrap();
    // A body that only the end of the session ends.
    let body = "x".repeat(if path == "/large" { 300_000 } else { 5 });
    let text = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{version:?} {path} {body}");
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.close().await.unwrap();
}

async fn curl(address: std::net::SocketAddr, path: &str, options: &[&str]) -> (i32, String) {
    let url = format!("https://localhost:{}{path}", address.port());
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "30", "--noproxy", "*", "--ipv4"])
        .args(options)
        .arg(url)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().expect("no signal"), text)
}

#[test]
fn curl_is_served() {
    let files = Files::new("curl");
    with_program("curl", |cfg| {
        cfg.once(async {
            let builder = TlsAcceptor::builder()
                .certificate_pem(&pki().server.chain, &pki().server.key)
                .client_certificates_pem(ClientCertificates::Demanded, &pki().root)
                .alpn(["http/1.1"]);
            let (address, serving) = serve(builder.build().unwrap(), 3, answer_http).await;
            let root = files.text("root.pem");
            let (cert, key) = (files.text("client.pem"), files.text("client.key"));
            let always = ["--cacert", &root, "--cert", &cert, "--key", &key];
            for (more, path, words) in [
                (&["--tls-max", "1.2"][..], "/one", "TLSv1_2 /one xxxxx"),
                (&["--tlsv1.3", "--http1.1"], "/two", "TLSv1_3 /two xxxxx"),
                (&[], "/large", "TLSv1_3 /large xxxxx"),
            ] {
                let (status, text) = curl(address, path, &[&always[..], more].concat()).await;
                assert_eq!(status, 0, "{text}");
                assert!(text.starts_with(words), "{text}");
                assert_eq!(text.len() > 300_000, path == "/large");
            }
            serving.await.unwrap();
        });
    });
}

#[test]
fn curl_is_refused_with_a_reason() {
    let files = Files::new("curl-refused");
    with_program("curl", |cfg| {
        cfg.once(async {
            let demanding = TlsAcceptor::builder()
                .certificate_pem(&pki().server.chain, &pki().server.key)
                .client_certificates_pem(ClientCertificates::Demanded, &pki().root)
                .build()
                .unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let serving = spawn(async move {
                let mut errors = Vec::new();
                for acceptor in [demanding, acceptor(), acceptor()] {
                    let (stream, _) = listener.accept().await.unwrap();
                    errors.push(acceptor.accept(stream).await.unwrap_err().to_string());
                }
                errors
            });
            let root = files.text("root.pem");
            let (status, _) = curl(address, "/", &["--cacert", &root]).await;
            assert_ne!(status, 0, "there was no client certificate");
            // The platform's roots do not have ours.
            let (status, _) = curl(address, "/", &[]).await;
            assert_eq!(status, 60);
            let plain = format!("http://localhost:{}/", address.port());
            let output = Command::new("curl")
                .args(["--silent", "--max-time", "30", "--noproxy", "*", "--ipv4", &plain])
                .stdin(Stdio::null())
                .output()
                .await;
            assert!(!output.unwrap().status.success());
            let errors = serving.await.unwrap();
            assert!(errors[0].contains("gave no certificate"), "{errors:?}");
            assert!(errors[1].contains("does not trust"), "{errors:?}");
            assert!(
                errors[2].contains("does not speak TLS, it began with \"GET / HTTP"),
                "{errors:?}"
            );
        });
    });
}

const ASYNCIO_CLIENT: &str = r#"
import asyncio, ssl, sys

async def main():
    context = ssl.create_default_context(cafile=sys.argv[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
    writer.write(b"STARTTLS\r\n")
    assert await reader.readline() == b"220 go\r\n"
    await writer.start_tls(context, server_hostname="localhost")
    writer.write(b"x" * 200_000 + b"\n")
    answer = await reader.readline()
    assert answer == b"200001\n", answer
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    print("done")

asyncio.run(main())
"#;

#[test]
fn asyncio_upgrades_its_stream() {
    let files = Files::new("asyncio");
    with_program("python3", |cfg| {
        cfg.once(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port().to_string();
            let serving = spawn(async move {
                let (stream, _) = listener.accept().await.unwrap();
                let mut reader = BufReader::new(stream);
                let mut line = String::new();
                reader.read_line(&mut line).await.unwrap();
                assert_eq!(line, "STARTTLS\r\n");
                reader.get_mut().write_all(b"220 go\r\n").await.unwrap();
                let buffered = reader.buffer().to_vec();
                let stream = acceptor().accept_with(reader.into_inner(), buffered).await.unwrap();
                let mut reader = BufReader::new(stream);
                line.clear();
                reader.read_line(&mut line).await.unwrap();
                let mut stream = reader.into_inner();
                stream.write_all(format!("{}\n", line.len()).as_bytes()).await.unwrap();
                stream.close().await.unwrap();
            });
            let output = Command::new("python3")
                .args(["-c", ASYNCIO_CLIENT, &port, &files.text("root.pem")])
                .stdin(Stdio::null())
                .kill_on_drop(true)
                .output()
                .await
                .unwrap();
            let text = String::from_utf8_lossy(&output.stderr);
            if text.contains("has no attribute 'start_tls'") {
                serving.cancel();
                let _ = serving.await;
                return loud("NOTE skipped: this asyncio has no StreamWriter.start_tls");
            }
            assert!(output.status.success(), "{text}");
            serving.await.unwrap();
        });
    });
}
