//! Operations on memory of their own.
//!
//! The buffer is part of the operation while that is in flight, and only then: the future
//! that started it has a share in the operation, and takes the buffer when it is done. A
//! future that is dropped before leaves all behind; the operation's end drops it (S1).

use std::{
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
    task::{Poll, Waker},
};

use io_uring::{opcode, types::Fd};

use super::{Uring, flights::Flight};
use crate::{buf::IoBufMut, loom::Mutex};

/// An operation, for whoever completes it.
pub(crate) trait Complete: Send + Sync {
    /// The kernel is done with it.
    fn complete(&self, result: i32, wakes: &mut Vec<Waker>);
}

/// A read from a file into a buffer of its own.
pub(crate) struct ReadAt<B> {
    /// Open as long as it is read from (S4).
    _file: Arc<OwnedFd>,
    state: Mutex<State<B>>,
}

struct State<B> {
    /// Until it is taken.
    buf: Option<B>,
    result: Option<i32>,
    reader: Option<Waker>,
}

impl<B: IoBufMut> ReadAt<B> {
    /// The result, once it is there: an errno, or the buffer and how much of it was read.
    pub(crate) fn poll(&self, waker: &Waker) -> (Poll<(i32, B)>, Option<Waker>) {
        let waker = waker.clone();
        let mut state = self.state.lock();
        match state.result {
            Some(result) => {
                let mut buf = state.buf.take().expect("it is taken once");
                drop(state);
                if let Ok(len) = usize::try_from(result) {
                    // SAFETY: the kernel says that it wrote so many.
                    unsafe { buf.set_written(len) };
                }
                (Poll::Ready((result, buf)), Some(waker))
            }
            None => (Poll::Pending, state.reader.replace(waker)),
        }
    }
}

impl<B: IoBufMut> Complete for ReadAt<B> {
    fn complete(&self, result: i32, wakes: &mut Vec<Waker>) {
        let mut state = self.state.lock();
        state.result = Some(result);
        wakes.extend(state.reader.take());
    }
}

impl Uring {
    /// Starts to read from `offset` on, as much as the buffer has room for.
    pub(crate) fn read_at<B: IoBufMut>(
        &mut self,
        file: Arc<OwnedFd>,
        mut buf: B,
        offset: u64,
    ) -> Arc<ReadAt<B>> {
        let room = buf.capacity().min(i32::MAX as usize) as u32;
        let read = opcode::Read::new(Fd(file.as_raw_fd()), buf.as_mut_ptr(), room).offset(offset);
        let state = State { buf: Some(buf), result: None, reader: None };
        let operation = Arc::new(ReadAt { _file: file, state: Mutex::new(state) });
        let id = self.begin(Flight::Owned(operation.clone()));
        // SAFETY: the flight has a share in the operation, and so in the buffer, whose bytes
        // stay where they are, and the descriptor; nobody touches the buffer until
        // `complete` (S1, S4).
        unsafe { self.ring.push(read.build().user_data(id.user_data())) };
        operation
    }
}
