#!/usr/bin/env bash
# A process that used io_uring is gone, and its port is still taken.
#
# kill -9, then waitpid(2) has returned: a successor can bind the port, since the kernel has closed
# all descriptors of the process. With an operation armed on the listener in a ring this does not
# hold. The ring holds the listener's file; the kernel cancels what is in the ring and lets go of the
# file in deferred work, some 5 to 10 ms after the process was reaped. SO_REUSEADDR does not help,
# since the old socket still listens. bind(2) fails with EADDRINUSE meanwhile.
#
# Versions: Linux 6.18, io-uring 0.7.15; source: io_ring_ctx_wait_and_kill and io_ring_exit_work in
# the kernel's io_uring/io_uring.c. Author of a runtime, a supervisor or a test that restarts a
# server: try an address that is in use again for some 100 ms, or use SO_REUSEPORT on both sides.
#
# Usage: bash findings/killed_ring_keeps_its_port.sh
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
cat > "$dir/Cargo.toml" <<'TOML'
[package]
name = "port"
version = "0.0.0"
edition = "2021"
[dependencies]
io-uring = "=0.7.15"
[workspace]
TOML
cat > "$dir/src/main.rs" <<'RUST'
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use io_uring::{opcode, types::Fd, IoUring};

/// The server: listens, arms what `how` says, says its address, and waits to be killed.
fn serve(how: &str) -> ! {
    // The standard library sets SO_REUSEADDR.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut ring = IoUring::new(8).unwrap();
    if how == "ring" {
        let accept = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).build();
        unsafe { ring.submission().push(&accept).unwrap() };
        ring.submit().unwrap();
    }
    println!("{}", listener.local_addr().unwrap());
    std::io::stdout().flush().unwrap();
    loop {
        std::thread::park();
    }
}

/// How long a successor waits for the port of a server that was killed and waited for.
fn wait_for_port(how: &str) -> (u32, Duration) {
    let mut server = Command::new(std::env::current_exe().unwrap())
        .arg(how)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut text, mut byte) = (Vec::new(), [0]);
    let mut out = server.stdout.take().unwrap();
    while out.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        text.push(byte[0]);
    }
    let addr: SocketAddr = String::from_utf8(text).unwrap().parse().unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    let (begun, mut refused) = (Instant::now(), 0);
    loop {
        match TcpListener::bind(addr) {
            Ok(_) => return (refused, begun.elapsed()),
            Err(error) if error.kind() == ErrorKind::AddrInUse => refused += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "the port is never free");
        std::thread::sleep(Duration::from_micros(100));
    }
}

fn main() {
    if let Some(how) = std::env::args().nth(1) {
        serve(&how);
    }
    let mut late = 0;
    for how in ["plain", "ring"] {
        for _ in 0..10 {
            let (refused, time) = wait_for_port(how);
            println!("{how}: refused {refused} times, free after {time:?}");
            match how {
                "plain" => assert_eq!(refused, 0, "a plain listener is gone with its process"),
                _ => late += u32::from(refused > 0),
            }
        }
    }
    assert!(late >= 5, "with a ring, the port was mostly free at once");
    println!("as described");
}
RUST
uname -sr
cd "$dir"
cargo run --quiet
