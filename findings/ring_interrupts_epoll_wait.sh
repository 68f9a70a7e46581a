#!/usr/bin/env bash
# epoll_wait fails with EINTR, and nobody has sent a signal.
#
# A thread that has an operation in an io_uring without DEFER_TASKRUN or COOP_TASKRUN is interrupted
# when the operation completes: the kernel uses its signal machinery (TWA_SIGNAL) to have the thread
# reap. Calls that signal(7) lists as never restarted, epoll_wait(2) among them, then end with EINTR.
# Dropping such a ring does the same once more, some 10 to 50 ms later, when the kernel gets to what
# was still armed. So a library that hides a ring can break another's epoll_wait on the same thread,
# and a test whose wait is "woken" may have been woken by a ring of the test before.
#
# Versions: Linux 6.18, io-uring 0.7.15; source: io_req_normal_work_add and io_uring_try_cancel_requests
# in the kernel's io_uring/, task_work_add(TWA_SIGNAL) in kernel/task_work.c. Author of a runtime: set
# DEFER_TASKRUN or COOP_TASKRUN, and take EINTR for a turn that found nothing. User: loop on EINTR even
# in programs without signal handlers.
#
# Usage: bash findings/ring_interrupts_epoll_wait.sh
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
cat > "$dir/Cargo.toml" <<'TOML'
[package]
name = "interrupted"
version = "0.0.0"
edition = "2021"
[dependencies]
io-uring = "=0.7.15"
libc = "=0.2.191"
[workspace]
TOML
cat > "$dir/src/main.rs" <<'RUST'
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use io_uring::{opcode, types::Fd, IoUring};

const LIMIT: Duration = Duration::from_secs(2);

fn epoll() -> OwnedFd {
    // SAFETY: a new descriptor.
    unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)) }
}

/// What a thread has done with io_uring before it waits.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ring {
    None,
    /// A poll is armed in it.
    Armed,
    /// The same, with DEFER_TASKRUN.
    Deferred,
    /// The same as `Armed`, and dropped before the wait.
    Dropped,
}

/// Waits for `LIMIT` on an epoll instance in which nothing is registered, while a pipe that only
/// the ring polls becomes readable after 300 ms. Says how the wait ended.
fn wait_beside(kind: Ring) -> (io::Result<i32>, Duration) {
    let (reader, mut writer) = io::pipe().unwrap();
    let mut builder = IoUring::<io_uring::squeue::Entry>::builder();
    if kind == Ring::Deferred {
        builder.setup_single_issuer().setup_defer_taskrun();
    }
    let mut ring = (kind != Ring::None).then(|| builder.build(8).unwrap());
    if let Some(ring) = &mut ring {
        let poll = opcode::PollAdd::new(Fd(reader.as_raw_fd()), libc::POLLIN as u32).build();
        // SAFETY: it points nowhere, and the pipe outlives it.
        unsafe { ring.submission().push(&poll).unwrap() };
        ring.submit().unwrap();
    }
    if kind == Ring::Dropped {
        ring = None;
    }
    let other = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        writer.write_all(b"x").unwrap();
        writer
    });
    let (epoll, begun) = (epoll(), Instant::now());
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 4];
    // SAFETY: room for four events.
    let count = unsafe {
        libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), 4, LIMIT.as_millis() as i32)
    };
    let result = if count < 0 { Err(io::Error::last_os_error()) } else { Ok(count) };
    let time = begun.elapsed();
    drop((other.join().unwrap(), ring, reader));
    (result, time)
}

fn main() {
    for kind in [Ring::None, Ring::Deferred, Ring::Armed, Ring::Dropped] {
        // A thread of its own: what one has done with a ring stays with it.
        let (result, time) = std::thread::spawn(move || wait_beside(kind)).join().unwrap();
        println!("{kind:?}: epoll_wait gave {result:?} after {time:?}");
        match kind {
            Ring::None | Ring::Deferred => assert!(matches!(result, Ok(0)) && time >= LIMIT),
            Ring::Armed | Ring::Dropped => {
                assert_eq!(result.unwrap_err().kind(), io::ErrorKind::Interrupted);
                assert!(time < LIMIT);
            }
        }
    }
    println!("as described");
}
RUST
uname -sr
cd "$dir"
cargo run --quiet
