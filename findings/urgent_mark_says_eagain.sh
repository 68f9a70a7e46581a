#!/usr/bin/env bash
# recv(2) says EAGAIN, and bytes lie there.
#
# A read of a TCP socket stops before a byte of urgent data, and the next one goes on behind it. If a
# signal is pending at that very moment, the next one does not: on a socket that does not block it fails
# with EAGAIN, though the bytes behind the mark have arrived. No edge follows for them, for nothing new
# arrives: with EPOLLET, or with a poll that fires once, they wait for the next segment of the peer. To the
# kernel a signal is also what io_uring uses to have completions worked off, so that a program with a
# ring sees it without any signal.
#
# Versions: Linux 6.18; source: tcp_recvmsg_locked in the kernel's net/ipv4/tcp.c, which tests
# signal_pending() where the read begins at the mark. Author of a runtime: after EAGAIN where urgent data
# has come (SIOCATMARK is true, or POLLPRI was reported), ask poll(2) whether the socket is readable before
# you wait for an edge. User: set SO_OOBINLINE, or do not send urgent data (RFC 6093).
#
# Usage: bash findings/urgent_mark_says_eagain.sh
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
cat > "$dir/Cargo.toml" <<'TOML'
[package]
name = "mark"
version = "0.0.0"
edition = "2021"
[dependencies]
libc = "=0.2.177"
[workspace]
TOML
cat > "$dir/src/main.rs" <<'RUST'
use std::io::{Error, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;

const ROUNDS: usize = 100_000;

extern "C" fn nothing(_: libc::c_int) {}

/// Sends signals to the calling thread, whose handler does nothing, until the value is set.
fn signals(stop: &Arc<AtomicBool>) -> JoinHandle<()> {
    let thread = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut());
        libc::pthread_self()
    };
    let stop = stop.clone();
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            unsafe { libc::pthread_kill(thread, libc::SIGUSR1) };
        }
    })
}

/// Bytes that have arrived and were not read.
fn waiting(stream: &TcpStream) -> i32 {
    let mut count = 0;
    unsafe { libc::ioctl(stream.as_raw_fd(), libc::FIONREAD, &mut count) };
    count
}

fn is_readable(stream: &TcpStream) -> bool {
    let mut poll = libc::pollfd { fd: stream.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    unsafe { libc::poll(&mut poll, 1, 0) == 1 && poll.revents & libc::POLLIN != 0 }
}

fn urgent(stream: &TcpStream) {
    let sent = unsafe { libc::send(stream.as_raw_fd(), b"!".as_ptr().cast(), 1, libc::MSG_OOB) };
    assert_eq!(sent, 1, "{}", Error::last_os_error());
}

/// How often a read at the mark says EAGAIN while the bytes behind the mark are there.
fn refusals(near: &mut TcpStream, far: &mut TcpStream) -> usize {
    let mut refused = 0;
    for _ in 0..ROUNDS {
        far.write_all(b"abc").unwrap();
        urgent(far);
        far.write_all(b"def").unwrap();
        let mut buffer = [0; 16];
        // All has arrived: 3 bytes, the urgent one, 3 bytes.
        while waiting(near) < 3 {}
        let before = loop {
            match near.read(&mut buffer) {
                Ok(read) => break read,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        };
        assert_eq!(&buffer[..before], b"abc");
        while !is_readable(near) {}
        let mut behind = 0;
        while behind < 3 {
            match near.read(&mut buffer) {
                Ok(read) => behind += read,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    refused += usize::from(is_readable(near));
                }
            }
        }
    }
    refused
}

fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut near, _) = listener.accept().unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_nodelay(true).unwrap();
    let without = refusals(&mut near, &mut far);
    let stop = Arc::new(AtomicBool::new(false));
    let sender = signals(&stop);
    // How often a signal comes at the right moment depends on what else the machine does.
    let with = (0..10).map(|_| refusals(&mut near, &mut far)).find(|&with| with > 0).unwrap_or(0);
    stop.store(true, Ordering::Relaxed);
    sender.join().unwrap();
    println!("EAGAIN though readable, over {ROUNDS} marks: {without} times without signals, {with} with");
    assert_eq!(without, 0, "it happens without a signal, too");
    assert!(with > 0, "the kernel does not look for signals at the mark any more");
}
RUST
uname -sr
CARGO_TARGET_DIR="$dir/target" cargo run --quiet --release --manifest-path "$dir/Cargo.toml"
