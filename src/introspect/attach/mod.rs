//! The door by which another process asks this one: a pipe that one thread sleeps at.
//!
//! 1. When the first runtime starts that may be inspected, the process makes a pipe, and a thread that waits in
//!    poll(2) until somebody writes to it. The thread's name has the number of the pipe's descriptor.
//! 2. A process that asks finds the thread in `/proc/PID/task`, opens `/proc/PID/fd/N` and writes a line.
//! 3. The thread answers by a sealed file in memory, whose name has the number of the request. The process that asked
//!    finds it in `/proc/PID/fd`, reads it, and says that it is done.
//!
//! So there is nothing in a file system, nothing in a network namespace, and no signal. The kernel alone decides which
//! process it lets in: `/proc/PID/fd` is open to those that may read this one's memory
//! (`PTRACE_MODE_READ_FSCREDS`, ptrace(2)). No answer waits for a reader, so that a slow one holds nobody.
//!
//! `docs/inspect.md` describes the protocol, `docs/decisions.md` says why it is this one.

mod answer;
mod request;
mod server;

use std::{
    fs,
    io::{self, Write},
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use rustix::{
    fs::{Mode, OFlags},
    pipe::{PipeFlags, fcntl_setpipe_size, pipe_with},
};

use self::server::Server;
use crate::{
    loom::{
        Condvar, WaitLock,
        global::{AtomicBool, Ordering},
    },
    runtime::{Handle, Inspection, is_any_inspected},
    util::{
        clock,
        fork::PerProcess,
        panic,
        threads::{self, Started},
    },
};

/// What the name of the thread begins with. The number of the descriptor follows.
const NAME: &str = "ring-ask-";
/// The largest number that a thread's name has room for.
const LARGEST: i32 = 999_999;
/// Of the thread: a snapshot needs little.
const STACK: usize = 256 << 10;
/// Of the pipe: one page, and more than a line.
const PIPE: usize = 4096;
/// How long the end of the last runtime waits for the thread. It answers within milliseconds, unless a snapshot is large.
const PATIENCE: Duration = Duration::from_secs(1);

/// The door of this process, while a runtime may be inspected.
fn door() -> &'static Mutex<Option<Door>> {
    static DOOR: PerProcess<Mutex<Option<Door>>> = PerProcess::new();
    DOOR.get(|| Mutex::new(None))
}

struct Door {
    shared: Arc<Shared>,
    thread: Started,
}

/// What the thread shares with the end of the last runtime.
struct Shared {
    /// Both ends of the pipe: for reading, and for a line to the thread that it is to end.
    ask: OwnedFd,
    /// The writing end, where one descriptor cannot be both.
    tell: Option<OwnedFd>,
    has_ended: AtomicBool,
    /// Whether the thread has done its last.
    is_done: WaitLock<bool>,
    done: Condvar,
}

impl Inspection for Handle {
    fn begin() {
        let mut door = door().lock();
        if door.is_none() {
            // Out of descriptors or threads, the process goes on without.
            *door = Door::open().ok();
        }
    }

    fn end() {
        let mut door = door().lock();
        if is_any_inspected() {
            return;
        }
        let closing = door.take();
        // A runtime that starts meanwhile has a door of its own.
        drop(door);
        if let Some(door) = closing {
            door.close();
        }
    }
}

impl Door {
    fn open() -> io::Result<Self> {
        let (ask, tell) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Refused: it has the size that the kernel gives.
        let _ = fcntl_setpipe_size(&ask, PIPE);
        let (ask, tell) = match one_for_both(&ask) {
            Ok(both) => (both, None),
            // Without /proc nobody finds it by that name, but perhaps by another mount.
            Err(_) => (ask, Some(tell)),
        };
        let number = tell.as_ref().unwrap_or(&ask).as_raw_fd();
        if number > LARGEST {
            return Err(io::Error::other("the thread's name has no room for the descriptor"));
        }
        let shared = Arc::new(Shared {
            ask,
            tell,
            has_ended: AtomicBool::new(false),
            is_done: WaitLock::new(false),
            done: Condvar::new(),
        });
        let server = Server::new(shared.clone())?;
        let name = format!("{NAME}{number}");
        let of_thread = shared.clone();
        let serve = move || {
            panic::contain(|| server.run());
            *of_thread.is_done.lock() = true;
            of_thread.done.notify_all();
        };
        let thread = threads::spawn_with(name, Some(STACK), serve)?;
        Ok(Self { shared, thread })
    }

    fn close(self) {
        // Release: pairs with the Acquire in `Shared::has_ended`.
        self.shared.has_ended.store(true, Ordering::Release);
        let tell = self.shared.tell.as_ref().unwrap_or(&self.shared.ask);
        // Refused: the pipe is full, and what is in it wakes the thread.
        let _ = rustix::io::write(tell, b"\n");
        if self.shared.is_done_by(clock::machine().saturating_add(clock::nanos(PATIENCE))) {
            self.thread.join();
        }
    }
}

impl Shared {
    fn has_ended(&self) -> bool {
        // Acquire: pairs with the Release in `Door::close`.
        self.has_ended.load(Ordering::Acquire)
    }

    /// Waits until the thread is done; `false`: it is not at the deadline. To look again and again would cost more than
    /// the thread does.
    fn is_done_by(&self, deadline: u64) -> bool {
        let mut is_done = self.is_done.lock();
        while !*is_done {
            let rest = deadline.saturating_sub(clock::machine());
            if rest == 0 {
                return false;
            }
            is_done = self.is_done.wait_for(is_done, &self.done, Duration::from_nanos(rest)).0;
        }
        true
    }
}

/// The pipe once more, for reading and writing: see fifo(7), whose rule for named pipes Linux has for all.
fn one_for_both(pipe: &OwnedFd) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// A file in memory with `text`, which nobody can change.
fn sealed(name: &str, text: &[u8]) -> io::Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags, fchmod, fcntl_add_seals, memfd_create};

    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know the flag, and later ones may have been set to refuse files without it (vm.memfd_noexec).
    let file = memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL)
        .or_else(|_| memfd_create(name, flags))?;
    // Only /proc leads to the file, but its mode need not be wider than the pipe's.
    fchmod(&file, Mode::RUSR)?;
    let mut file = fs::File::from(file);
    file.write_all(text)?;
    let all = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    fcntl_add_seals(&file, all)?;
    Ok(file.into())
}
