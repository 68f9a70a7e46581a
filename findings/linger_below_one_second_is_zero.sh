#!/usr/bin/env bash
# A linger of half a second makes a close throw data away.
#
# `set_linger(Some(Duration::from_millis(500)))` looks gentler than no linger at all. SO_LINGER
# counts in whole seconds, and socket2 (which tokio uses too) cuts the fraction off, so that 500 ms
# become 0. A linger of 0 does not mean "do not wait": it means "on close, send a reset and drop
# what is unsent" (socket(7), tcp(7)). The peer loses bytes that `write` had accepted.
#
# Versions: socket2 0.6.5, tokio 1.54.1, Linux 6.18; source: socket2's `into_linger` (sys/unix.rs).
# Author of a runtime: round a linger up to a full second. User: give whole seconds, or none; to
# reset on purpose, ask for zero in so many words.
#
# Usage: bash findings/linger_below_one_second_is_zero.sh
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
cat > "$dir/Cargo.toml" <<'TOML'
[package]
name = "linger"
version = "0.0.0"
edition = "2021"
[dependencies]
socket2 = { version = "=0.6.5", features = ["all"] }
tokio = { version = "=1.54.1", features = ["net", "rt", "time"] }
[workspace]
TOML
cat > "$dir/src/main.rs" <<'RUST'
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

/// More than the two sockets' buffers hold, so that some of it is unsent at the close.
fn fill(stream: &mut TcpStream) -> usize {
    stream.set_nonblocking(true).unwrap();
    let mut sent = 0;
    loop {
        match stream.write(&[1; 65536]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break sent,
            Err(error) => panic!("write: {error}"),
        }
    }
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().unwrap().0, client)
}

fn seconds(stream: impl AsFd) -> Option<Duration> {
    socket2::SockRef::from(&stream).linger().unwrap()
}

/// What the peer of a connection gets that is closed with this linger.
fn peer_gets(linger: Option<Duration>) -> &'static str {
    let (mut server, mut client) = pair();
    socket2::SockRef::from(&server).set_linger(linger).unwrap();
    let kept = seconds(&server);
    let sent = fill(&mut server);
    // A linger with a time blocks its close: it has a thread to itself.
    let closing = std::thread::spawn(move || drop(server));
    if kept == Some(Duration::ZERO) {
        closing.join().unwrap();
    }
    let mut text = Vec::new();
    let outcome = match client.read_to_end(&mut text) {
        Ok(got) if got == sent => "everything",
        Err(error) if error.kind() == ErrorKind::ConnectionReset => "a reset",
        other => panic!("{other:?} of {sent}"),
    };
    println!("linger asked {linger:?}, in force {kept:?}: the peer gets {outcome}");
    outcome
}

fn main() {
    let half = peer_gets(Some(Duration::from_millis(500)));
    let whole = peer_gets(Some(Duration::from_secs(2)));
    let none = peer_gets(None);
    assert_eq!([half, whole, none], ["a reset", "everything", "everything"]);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    runtime.block_on(async {
        let (server, _client) = pair();
        server.set_nonblocking(true).unwrap();
        let stream = tokio::net::TcpStream::from_std(server).unwrap();
        #[allow(deprecated)]
        stream.set_linger(Some(Duration::from_millis(999))).unwrap();
        let kept = seconds(&stream);
        println!("tokio: asked 999 ms, in force {kept:?}");
        assert_eq!(kept, Some(Duration::ZERO));
    });
    println!("as described");
}
RUST
uname -sr
cd "$dir"
cargo run --quiet
