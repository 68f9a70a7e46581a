//! A socket as its owner has it.

use std::{fmt, future::poll_fn, io, sync::Arc, time::Duration};

use super::write::poll_flush;
use crate::{
    io::freed,
    reactor::{Endpoint, Socket},
    runtime::{operation, yield_now},
    scheduler,
    time::sleep,
};

/// Ends what is under way on the socket when it is dropped, and tells listeners that
/// wait for a descriptor.
pub(crate) struct Handle(Option<Arc<Socket>>);

impl Handle {
    pub(crate) fn new(socket: Arc<Socket>) -> Self {
        Self(Some(socket))
    }

    #[inline]
    pub(crate) fn get(&self) -> &Arc<Socket> {
        self.0.as_ref().expect("there until it is dropped or handed over")
    }

    /// Takes the endpoint out, once nothing is in flight on it, and with it the bytes that were
    /// received and not read. An error of either side that was not reported yet is reported now,
    /// and the descriptor closes: its next owner would not find the error there.
    pub(crate) async fn into_parts(mut self) -> io::Result<(Endpoint, Vec<u8>)> {
        self.get().check_process()?;
        poll_fn(|cx| poll_flush(self.get(), cx)).await?;
        let mut socket = self.0.take().expect("there until it is dropped or handed over");
        operation::retire(&socket);
        loop {
            match socket.try_into_parts() {
                Ok((endpoint, Ok(unread))) => return Ok((endpoint, unread)),
                Ok((endpoint, Err(error))) => {
                    drop(endpoint);
                    freed::closed_one();
                    return Err(io::Error::from_raw_os_error(error));
                }
                Err(held) => socket = held,
            }
            // Its home lets go of it within a turn, unless a long poll holds that up.
            if scheduler::is_worker() {
                sleep(Duration::from_micros(200)).await;
            } else {
                // No timers here.
                yield_now().await;
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(socket) = self.0.take() {
            operation::close(&socket);
            drop(socket);
            freed::closed_one();
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
