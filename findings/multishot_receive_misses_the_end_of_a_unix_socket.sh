#!/usr/bin/env bash
# A multishot receive on a Unix stream socket gives the last bytes and never the end.
#
# The peer has written and has shut its side; then a multishot receive that waits for readiness first
# (IORING_RECVSEND_POLL_FIRST) is armed. On TCP it completes twice: with the bytes, and with 0, the end. On a
# Unix socket it completes once. It stays armed, and no event is left that would wake it, although
# recv(2) says 0 at once. A Unix socket tells the ring how many bytes are left (since Linux 6.17), and says
# 0 where only the end is left. The ring takes this for an empty socket, and waits. TCP says 1 there.
#
# Versions: Linux 6.18, io-uring 0.7.15; source: unix_stream_read_generic in net/unix/af_unix.c,
# tcp_inq_hint in include/net/tcp.h, io_recv_finish in io_uring/net.c of the kernel. Author of a
# runtime: on Unix sockets wait for readiness and call recv(2), or try once without POLL_FIRST after each
# short completion; never wait for the end by such a receive alone.
#
# Usage: bash findings/multishot_receive_misses_the_end_of_a_unix_socket.sh
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
cat > "$dir/Cargo.toml" <<'TOML'
[package]
name = "end"
version = "0.0.0"
edition = "2021"
[dependencies]
io-uring = "=0.7.15"
[workspace]
TOML
cat > "$dir/src/main.rs" <<'RUST'
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use io_uring::squeue::Flags;
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{opcode, IoUring};

/// IORING_RECV_MULTISHOT | IORING_RECVSEND_POLL_FIRST.
const HOW: u16 = 1 << 1 | 1;

/// The results of a multishot receive, until the end or until none has come for half a second.
fn receive(near: &impl AsRawFd) -> Vec<i32> {
    let mut ring = IoUring::new(8).unwrap();
    let mut memory = vec![0_u8; 8 * 64];
    let provide = opcode::ProvideBuffers::new(memory.as_mut_ptr(), 64, 8, 0, 0).build();
    unsafe { ring.submission().push(&provide).unwrap() };
    ring.submit_and_wait(1).unwrap();
    assert_eq!(ring.completion().next().unwrap().result(), 0);
    let receive = opcode::Recv::new(Fd(near.as_raw_fd()), std::ptr::null_mut(), 0);
    let receive = receive.ioprio(HOW).buf_group(0).build().flags(Flags::BUFFER_SELECT);
    unsafe { ring.submission().push(&receive).unwrap() };
    ring.submit().unwrap();
    let mut results = Vec::new();
    loop {
        let half = Timespec::new().nsec(500_000_000);
        let waited = ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&half));
        let before = results.len();
        results.extend(ring.completion().map(|done| done.result()));
        if results.len() == before || results.contains(&0) {
            println!("  results {results:?}; last wait: {waited:?}");
            return results;
        }
    }
}

fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut near, _) = listener.accept().unwrap();
    println!("TCP");
    far.write_all(b"last").unwrap();
    far.shutdown(Shutdown::Write).unwrap();
    let tcp = receive(&near);
    println!("  read(2) says {}", near.read(&mut [0; 8]).unwrap());

    println!("Unix");
    let (mut near, mut far) = UnixStream::pair().unwrap();
    far.write_all(b"last").unwrap();
    far.shutdown(Shutdown::Write).unwrap();
    let unix = receive(&near);
    println!("  read(2) says {}", near.read(&mut [0; 8]).unwrap());
    assert_eq!(tcp, [4, 0]);
    assert_eq!(unix, [4], "the end is there by now: this finding is out of date");
}
RUST
uname -sr
cargo run --quiet --release --manifest-path "$dir/Cargo.toml"
