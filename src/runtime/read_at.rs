//! Reading from a file at an offset: in the ring if there is one that can, else on the blocking pool.

use std::{
    future::poll_fn, io, mem::MaybeUninit, os::fd::OwnedFd, panic::Location, slice, sync::Arc,
};

use rustix::io::pread;

use super::{Handle, operation};
use crate::{buf::IoBufMut, reactor::Reactor, util::panic};

/// Reads from a file into the front of `buf`, from `offset` on: in the ring if there is
/// one that can, else on the blocking pool.
///
/// # Cancel safety
///
/// The read goes on, and its buffer is dropped when it has ended (S1).
pub(crate) async fn read_at<B: IoBufMut>(
    file: Arc<OwnedFd>,
    buf: B,
    offset: u64,
) -> (io::Result<usize>, B) {
    let mut buf = Some(buf);
    let started = operation::with_reactor(|reactor| {
        Ok(match reactor {
            Reactor::Uring(uring) if uring.reads_files() => {
                buf.take().map(|buf| uring.read_at(file.clone(), buf, offset))
            }
            _ => None,
        })
    });
    match (started, buf) {
        (Err(error), Some(buf)) => (Err(error), buf),
        (_, Some(buf)) => read_on_pool(file, buf, offset).await,
        (Ok(Some(operation)), None) => {
            let (result, buf) = poll_fn(|cx| {
                let (poll, old) = operation.poll(cx.waker());
                panic::discard_foreign(old);
                poll
            })
            .await;
            let read = usize::try_from(result);
            (read.map_err(|_| io::Error::from_raw_os_error(-result)), buf)
        }
        (_, None) => unreachable!("the buffer was taken by what was started"),
    }
}

async fn read_on_pool<B: IoBufMut>(
    file: Arc<OwnedFd>,
    mut buf: B,
    offset: u64,
) -> (io::Result<usize>, B) {
    let handle = Handle::current();
    let read = move || {
        // SAFETY: room that is the buffer's own.
        let room = unsafe {
            slice::from_raw_parts_mut(buf.as_mut_ptr().cast::<MaybeUninit<u8>>(), buf.capacity())
        };
        let read = pread(&file, room, offset).map(|(read, _)| read.len());
        if let Ok(len) = read {
            // SAFETY: pread(2) says that it wrote so many.
            unsafe { buf.set_written(len) };
        }
        (read.map_err(io::Error::from), buf)
    };
    match handle.start_blocking(read, Location::caller()).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
