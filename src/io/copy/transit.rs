//! Pipes for bytes that are moved from a descriptor to another one without a copy.
//!
//! The kernel rations the memory of a user's pipes, without an error: those beyond the ration hold 8 KiB. So a copy
//! has a pipe only while bytes are in it. Empty pipes wait for the next copy of their thread. One that holds too little
//! is closed at once, and the copy goes on by memory.

use std::{
    cell::RefCell,
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    io::read,
    pipe::{PipeFlags, fcntl_getpipe_size, pipe_with},
    process::{Resource, getrlimit},
};

use super::super::freed;
use crate::{
    loom::global::{AtomicU32, Ordering},
    util::fork,
};

/// What a pipe has to hold, and what one move takes at most.
pub(super) const ROOM: usize = 64 << 10;
/// So many empty pipes wait on a thread.
const KEPT: usize = 4;
/// At most so many pipes are in use by a process, and at most one for so many descriptors that it may open.
const MOST: u64 = 256;
const DESCRIPTORS: u64 = 16;

thread_local! {
    /// The empty pipes of this thread.
    static EMPTY: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
}

/// How many pipes there are.
static OPEN: AtomicU32 = AtomicU32::new(0);

struct Ends {
    reader: OwnedFd,
    writer: OwnedFd,
    /// The process that made it: a forked child must not use it.
    process: fork::Generation,
}

impl Ends {
    fn new() -> io::Result<Self> {
        let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / DESCRIPTORS;
        // Relaxed: a limit that is about right.
        if u64::from(OPEN.load(Ordering::Relaxed)) >= most.min(MOST) {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        OPEN.fetch_add(1, Ordering::Relaxed);
        let ends = Self { reader, writer, process: fork::generation() };
        match fcntl_getpipe_size(&ends.reader)? {
            ROOM.. => Ok(ends),
            _ => Err(io::ErrorKind::QuotaExceeded.into()),
        }
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        // Relaxed: as above.
        OPEN.fetch_sub(1, Ordering::Relaxed);
        freed::closed_one();
    }
}

/// A pipe, and how many bytes are in it. Dropped empty it waits for another copy; else it closes, and its bytes are
/// lost.
pub(super) struct Transit {
    /// `None` in its drop only.
    ends: Option<Ends>,
    pub(super) len: usize,
}

impl Transit {
    /// An empty one. `None`: there are too many, or they hold too little.
    pub(super) fn take() -> Option<Self> {
        // A thread that ends keeps none.
        let kept = EMPTY.try_with(|empty| empty.borrow_mut().pop()).unwrap_or_default();
        let ends = kept.filter(|ends| ends.process == fork::generation());
        let ends = ends.or_else(|| Ends::new().ok())?;
        Some(Self { ends: Some(ends), len: 0 })
    }

    fn ends(&self) -> &Ends {
        self.ends.as_ref().expect("there until it is dropped")
    }

    /// The end to move bytes to.
    pub(super) fn writer(&self) -> &OwnedFd {
        &self.ends().writer
    }

    /// The end to move bytes from.
    pub(super) fn reader(&self) -> &OwnedFd {
        &self.ends().reader
    }

    /// Takes its bytes out into memory.
    pub(super) fn into_memory(mut self) -> io::Result<Vec<u8>> {
        let mut memory = vec![0; self.len];
        let mut rest = &mut memory[..];
        while !rest.is_empty() {
            let len = read(self.reader().as_fd(), &mut *rest)?;
            if len == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            rest = &mut rest[len..];
        }
        self.len = 0;
        Ok(memory)
    }
}

impl Drop for Transit {
    fn drop(&mut self) {
        let Some(ends) = self.ends.take() else { return };
        if self.len == 0 && ends.process == fork::generation() {
            let left = EMPTY.try_with(|empty| {
                let mut empty = empty.borrow_mut();
                match empty.len() {
                    KEPT.. => Some(ends),
                    _ => {
                        empty.push(ends);
                        None
                    }
                }
            });
            drop(left);
        }
    }
}

/// How many wait on this thread.
#[cfg(test)]
pub(super) fn kept() -> usize {
    EMPTY.with_borrow(Vec::len)
}
