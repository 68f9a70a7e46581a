//! Parts of files among the bytes that wait.

use std::{
    collections::VecDeque,
    io,
    os::fd::OwnedFd,
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::{super::SendFile, Sink};

/// A part of a file on its way. The pump may have it, so that it owns its descriptor.
pub(super) type Part = SendFile<OwnedFd>;

/// The parts that wait, in their order.
#[derive(Default)]
pub(super) struct Files {
    parts: VecDeque<Place>,
    /// The sum of all `before`.
    counted: usize,
}

struct Place {
    /// So many bytes of the queue go before it, behind the part in front of it.
    before: usize,
    part: Part,
    /// What was read of it for a stream without a socket, and how much of that was sent.
    read: (Vec<u8>, usize),
}

impl Files {
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Behind all that waits, of which so many are bytes.
    pub(super) fn push(&mut self, part: Part, queued: usize) {
        let before = queued - self.counted;
        self.counted = queued;
        self.parts.push_back(Place { before, part, read: (Vec::new(), 0) });
    }

    /// How many bytes go before the first part; all of them if there is none.
    pub(super) fn bytes_before(&self) -> usize {
        self.parts.front().map_or(usize::MAX, |place| place.before)
    }

    /// So many of the bytes that go before the first part have gone.
    pub(super) fn note_sent(&mut self, sent: usize) {
        if let Some(place) = self.parts.front_mut() {
            place.before -= sent;
            self.counted -= sent;
        }
    }

    /// Sends the first part, before which no byte waits. Gives it back when the stream has all of it.
    pub(super) fn poll_first(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut dyn Sink,
    ) -> Poll<io::Result<Option<Part>>> {
        let Some(place) = self.parts.front_mut() else { return Poll::Ready(Ok(None)) };
        ready!(place.poll_sent(cx, sink))?;
        if place.part.is_cut() {
            let text = "the file ended before the range of it that was to be sent";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
        }
        Poll::Ready(Ok(self.parts.pop_front().map(|place| place.part)))
    }

    /// All parts, to be dropped outside of a lock: a descriptor may take its time to close.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Part> + use<> {
        std::mem::take(self).parts.into_iter().map(|place| place.part)
    }
}

impl Place {
    fn poll_sent(&mut self, cx: &mut Context<'_>, sink: &mut dyn Sink) -> Poll<io::Result<()>> {
        if let Some(connection) = sink.connection() {
            return self.part.poll(cx, connection).map_ok(|_| ());
        }
        loop {
            let (bytes, start) = &mut self.read;
            if *start == bytes.len() {
                (*bytes, *start) = (ready!(self.part.poll_bytes(cx))?, 0);
                if bytes.is_empty() {
                    return Poll::Ready(Ok(()));
                }
            }
            let sent = ready!(Pin::new(&mut *sink).poll_write(cx, &bytes[*start..]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *start += sent;
        }
    }
}
