//! The process that works: this program, started again.
//!
//! 1. `serve` finds [`WORKER`] in the place of the program's name. A variable of the environment would be
//!    inherited by what a function starts; this is not.
//! 2. The socket is standard input. It is kept under another number, and standard input reads nothing.
//! 3. A thread waits until the other end of the socket is shut, or the parent has ended: then the process ends
//!    at once, also in the middle of a call. The socket alone would not do: a forked child of the parent has a
//!    copy of the other end. The parent's end is seen by a pidfd. (A parent-death signal comes when the *thread*
//!    ends that started the process, and threads of a runtime end.)
//! 4. The main thread answers requests, one at a time.

use std::{
    collections::HashMap,
    env,
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    str::FromStr,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::{Errno, fcntl_dupfd_cloexec},
    process::{Pid, PidfdFlags, Resource, Rlimit, getppid, getrlimit, pidfd_open, setrlimit},
};

use super::{function::Registered, wire};
use crate::util::{panic, threads};

/// What a worker is called by: `argv[0]`. The limit of its memory in bytes follows, 0 for none; then the number of
/// its parent.
pub(super) const WORKER: &str = "ringloop-process-pool-worker";

/// Answers requests for ever, if this process is a worker.
pub(super) fn serve_if_worker(functions: &[&'static dyn Registered]) {
    let Some(Arguments { memory, parent }) = arguments() else { return };
    let socket = match take_socket() {
        Ok(socket) => socket,
        Err(error) => leave(&format!("a process of a pool has no socket: {error}")),
    };
    if memory > 0
        && let Err(error) = limit_memory(memory)
    {
        leave(&format!("a process of a pool cannot limit its memory to {memory} bytes: {error}"));
    }
    let functions: HashMap<_, _> =
        functions.iter().map(|one| (one.name().as_bytes(), *one)).collect();
    let ended = socket
        .try_clone()
        .and_then(|socket| watch(socket, parent))
        .and_then(|()| answer(socket, &functions));
    match ended {
        Ok(()) => end(0),
        Err(error) => leave(&format!("a process of a pool cannot go on: {error}")),
    }
}

struct Arguments {
    memory: u64,
    parent: i32,
}

/// The arguments, if this process is a worker.
fn arguments() -> Option<Arguments> {
    fn next<T: FromStr>(arguments: &mut env::ArgsOs, what: &str) -> T {
        let argument = arguments.next().and_then(|argument| argument.to_str()?.parse().ok());
        argument.unwrap_or_else(|| leave(&format!("a process of a pool has no {what}")))
    }
    let mut arguments = env::args_os();
    if arguments.next()? != WORKER {
        return None;
    }
    let memory = next(&mut arguments, "limit of memory");
    let parent = next(&mut arguments, "number of its parent");
    Some(Arguments { memory, parent })
}

/// The socket that is standard input.
fn take_socket() -> io::Result<File> {
    let stdin = io::stdin();
    // Above the standard ones.
    let socket = fcntl_dupfd_cloexec(stdin.as_fd(), 3)?;
    let flags = fcntl_getfl(&socket)?;
    fcntl_setfl(&socket, flags - OFlags::NONBLOCK)?;
    let nothing = File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    Ok(File::from(socket))
}

fn limit_memory(bytes: u64) -> io::Result<()> {
    let hard = getrlimit(Resource::As).maximum;
    let limit = hard.map_or(bytes, |hard| bytes.min(hard));
    Ok(setrlimit(Resource::As, Rlimit { current: Some(limit), maximum: hard })?)
}

/// Step 3.
fn watch(socket: File, parent: i32) -> io::Result<()> {
    let parent = parent_by_number(parent)?;
    let wait = move || {
        loop {
            // Nothing but the end of the other side is waited for.
            let mut fds =
                [PollFd::new(&socket, PollFlags::RDHUP), PollFd::new(&parent, PollFlags::IN)];
            match poll(&mut fds, None) {
                Err(Errno::INTR) => {}
                _ => end(0),
            }
        }
    };
    threads::spawn("parent-watch".to_owned(), wait).map(drop)
}

/// A pidfd of the parent. If the parent has ended, so does this process: the number may be that of another one.
fn parent_by_number(parent: i32) -> io::Result<OwnedFd> {
    let parent = Pid::from_raw(parent).ok_or(io::ErrorKind::InvalidInput)?;
    let pidfd = pidfd_open(parent, PidfdFlags::empty());
    // Asked afterwards: a parent that is alive now was alive then.
    if getppid() != Some(parent) {
        end(0);
    }
    Ok(pidfd?)
}

/// Step 4, until the other end is closed.
fn answer(
    mut socket: File,
    functions: &HashMap<&'static [u8], &'static dyn Registered>,
) -> io::Result<()> {
    let mut request = Vec::new();
    loop {
        let mut head = [0; wire::HEAD];
        match socket.read_exact(&mut head) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        request.clear();
        request.resize(wire::length(head), 0);
        socket.read_exact(&mut request)?;
        let (kind, body) = call(&request, functions);
        socket.write_all(&wire::frame([&[kind], &body, &[]])?)?;
    }
}

/// What becomes of one request.
fn call(
    request: &[u8],
    functions: &HashMap<&'static [u8], &'static dyn Registered>,
) -> (u8, Vec<u8>) {
    let Some((name, arguments)) = wire::parse_request(request) else {
        return (wire::ENCODING, b"the request is cut".to_vec());
    };
    let Some(function) = functions.get(name) else { return (wire::UNKNOWN, Vec::new()) };
    match panic::catch(|| function.call(arguments)) {
        Ok(Ok(value)) => (wire::VALUE, value),
        Ok(Err(message)) => (wire::ENCODING, message.into_bytes()),
        Err(payload) => {
            let message = panic::message(&payload);
            panic::discard(payload);
            (wire::PANIC, message.into_bytes())
        }
    }
}

/// Ends the process at once: other threads may hold whatever locks.
fn end(status: i32) -> ! {
    // SAFETY: it takes any number and returns nothing.
    unsafe { libc::_exit(status) }
}

fn leave(why: &str) -> ! {
    eprintln!("ringloop: {why}");
    end(1)
}
