#!/usr/bin/env bash
# An open in a ring does not wait for the other end of a named pipe, where open(2) does.
#
# open(2) of a FIFO without O_NONBLOCK waits: a reader for a writer, a writer for a reader. Programs use that as a
# meeting point. IORING_OP_OPENAT with the same flags is first tried without waiting, and for that the kernel adds O_NONBLOCK. A
# FIFO takes it at its word: a reader is opened at once, and a writer gets ENXIO. There is no second try, since neither is
# EAGAIN. The flag is taken off the open file afterwards, so that F_GETFL shows nothing. With O_CREAT the same call goes to
# a kernel thread at once, and waits.
#
# Versions: Linux 6.18, io-uring 0.7.15; source: io_openat2 in the kernel's io_uring/openclose.c. Author of a runtime: send
# opens of names that may be FIFOs to a thread, or say that they do not wait. User: where both ends are to meet, open the
# FIFO by open(2).
#
# Usage: bash findings/ring_opens_a_named_pipe_at_once.sh
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
cat > "$dir/Cargo.toml" <<'TOML'
[package]
name = "fifo"
version = "0.0.0"
edition = "2021"
[dependencies]
io-uring = "=0.7.15"
libc = "0.2"
[workspace]
TOML
cat > "$dir/src/main.rs" <<'RUST'
use std::ffi::CString;
use std::time::Duration;

use io_uring::{opcode, types::{Fd, SubmitArgs, Timespec}, IoUring};

/// What an open in a ring comes to within 200 ms.
fn open(path: &CString, flags: i32) -> Option<i32> {
    let mut ring = IoUring::new(8).unwrap();
    let open = opcode::OpenAt::new(Fd(libc::AT_FDCWD), path.as_ptr()).flags(flags).mode(0o600);
    unsafe { ring.submission().push(&open.build()).unwrap() };
    let time = Timespec::from(Duration::from_millis(200));
    let _ = ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&time));
    let result = ring.completion().next().map(|done| done.result());
    // What waits ends with the process.
    std::mem::forget(ring);
    result
}

fn main() {
    let path = CString::new(std::env::args().nth(1).unwrap()).unwrap();
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    let reader = open(&path, libc::O_RDONLY);
    let fd = reader.unwrap_or(-1);
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    println!("reader, no writer: {reader:?}, O_NONBLOCK: {}", flags & libc::O_NONBLOCK != 0);
    assert!(fd >= 0 && flags & libc::O_NONBLOCK == 0);
    unsafe { libc::close(fd) };
    let writer = open(&path, libc::O_WRONLY);
    println!("writer, no reader: {writer:?} (ENXIO is {})", libc::ENXIO);
    assert_eq!(writer, Some(-libc::ENXIO));
    let created = open(&path, libc::O_WRONLY | libc::O_CREAT);
    println!("the same with O_CREAT: {created:?} within 200 ms");
    assert_eq!(created, None);
    std::process::exit(0);
}
RUST
uname -sr
cargo --version
cargo run --quiet --manifest-path "$dir/Cargo.toml" -- "$dir/pipe"
