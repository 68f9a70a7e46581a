//! Standard input that is a file: the blocking pool reads it.
//!
//! What a job has read belongs to the process: a read that was dropped, and a `Stdin` that was dropped,
//! leave it to the next read.

use std::{
    io,
    panic::Location,
    task::{Context, Poll, Waker, ready},
};

use crate::{
    blocking::Kind,
    loom::global::Mutex,
    runtime::Handle,
    util::{current, fork::PerProcess, panic, wait::WaitKind},
};

/// How much is read at a time.
const SIZE: usize = 64 << 10;

#[derive(Default)]
struct Input {
    /// What was read and not taken, from `at` on.
    bytes: Vec<u8>,
    at: usize,
    /// The end, or an error, that no read has given yet.
    end: Option<io::Result<()>>,
    /// A job reads.
    is_reading: bool,
    waiting: Vec<Waker>,
}

fn input() -> &'static Mutex<Input> {
    static INPUT: PerProcess<Mutex<Input>> = PerProcess::new();
    INPUT.get(Mutex::default)
}

pub(super) fn poll_read(cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
    ready!(current::poll_budget(cx));
    // Cloned before the lock: it is foreign code.
    let waker = cx.waker().clone();
    {
        let mut input = input().lock();
        let rest = &input.bytes[input.at..];
        if !rest.is_empty() {
            let len = rest.len().min(buf.len());
            buf[..len].copy_from_slice(&rest[..len]);
            input.at += len;
            if input.at == input.bytes.len() {
                (input.bytes, input.at) = (Vec::new(), 0);
            }
            return Poll::Ready(Ok(len));
        }
        if let Some(end) = input.end.take() {
            return Poll::Ready(end.map(|()| 0));
        }
        if !input.waiting.iter().any(|other| other.will_wake(&waker)) {
            input.waiting.push(waker);
        }
        current::waits_for(WaitKind::Descriptor, 0);
        if input.is_reading {
            return Poll::Pending;
        }
        input.is_reading = true;
    }
    // The reader that comes next starts again, if this is refused.
    let job = Job;
    let handle = Handle::try_current().map_err(io::Error::other)?;
    handle.start_blocking(Kind::Files, move || job.read(), Location::caller()).detach();
    Poll::Pending
}

/// A read that is under way. Its end, of whatever kind, wakes the readers that wait.
struct Job;

impl Job {
    fn read(self) {
        let mut bytes = vec![0; SIZE];
        let read =
            rustix::io::retry_on_intr(|| rustix::io::read(rustix::stdio::stdin(), &mut bytes[..]));
        let mut input = input().lock();
        match read {
            Ok(0) => input.end = Some(Ok(())),
            Ok(len) => {
                bytes.truncate(len);
                (input.bytes, input.at) = (bytes, 0);
            }
            Err(error) => input.end = Some(Err(error.into())),
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let waiting = {
            let mut input = input().lock();
            input.is_reading = false;
            std::mem::take(&mut input.waiting)
        };
        for waker in waiting {
            panic::contain(|| waker.wake());
        }
    }
}
