//! The task that calls a protocol.
//!
//! 1. Each turn looks at how the writing side stands: closed, lost, or above its mark. Its task is woken when that
//!    changes.
//! 2. Then it reads, unless the protocol has paused reading, and calls the protocol with what came.
//! 3. If the writing side has failed, what has come before is still read: until the end, an error, or until nothing
//!    is there. Then the connection is lost, with the error of the writing side.
//! 4. `lost` is called when the driver ends, and if it is dropped before. So it is called once, also after a panic.
//! 5. A protocol that takes the place of another is found right after the look of step 1, so that the other is not
//!    called again. Bytes that the other has left come first in what is unread. The reading side is then looked at
//!    anew, also if it had ended: the new protocol gets its `eof`, too.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::{AfterEof, BufferedProtocol, Protocol, Transport};
use crate::{
    io::{
        Ends,
        outgoing::Standing,
        source::{Source, Unread},
    },
    util::panic,
};

/// The functions of a protocol of either kind.
pub(super) trait Calls: Send + Unpin + 'static {
    /// Calls the protocol with what is unread; if there is nothing, reads first. 0 is the end.
    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut dyn Source,
        unread: &mut Unread,
        transport: &Transport,
    ) -> Poll<io::Result<usize>>;

    fn connected(&mut self, transport: &Transport);
    fn eof(&mut self, transport: &Transport) -> AfterEof;
    fn lost(&mut self, error: Option<&io::Error>);
    fn pause_writing(&mut self, transport: &Transport);
    fn resume_writing(&mut self, transport: &Transport);
}

/// The same with the protocol itself, for the one that the task gives back.
pub(super) trait Callbacks: Calls {
    type Protocol: Send + 'static;

    fn into_protocol(self) -> Self::Protocol;
}

/// A [`Protocol`], which is given bytes.
pub(super) struct Plain<P>(pub(super) P);

/// A [`BufferedProtocol`], which gives memory.
pub(super) struct Buffered<P>(pub(super) P);

// No reference to what is inside outlives a call.
impl<P> Unpin for Plain<P> {}
impl<P> Unpin for Buffered<P> {}

macro_rules! same {
    ($trait:ident) => {
        fn connected(&mut self, transport: &Transport) {
            $trait::connected(&mut self.0, transport);
        }

        fn eof(&mut self, transport: &Transport) -> AfterEof {
            $trait::eof(&mut self.0, transport)
        }

        fn lost(&mut self, error: Option<&io::Error>) {
            $trait::lost(&mut self.0, error);
        }

        fn pause_writing(&mut self, transport: &Transport) {
            $trait::pause_writing(&mut self.0, transport);
        }

        fn resume_writing(&mut self, transport: &Transport) {
            $trait::resume_writing(&mut self.0, transport);
        }
    };
}

impl<P: Protocol> Calls for Plain<P> {
    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut dyn Source,
        unread: &mut Unread,
        transport: &Transport,
    ) -> Poll<io::Result<usize>> {
        if unread.data().is_empty() && ready!(source.poll_more(cx, unread))? == 0 {
            return Poll::Ready(Ok(0));
        }
        let len = unread.data().len();
        self.0.data(transport, unread.data());
        unread.consume(len);
        Poll::Ready(Ok(len))
    }

    same!(Protocol);
}

impl<P: Protocol> Callbacks for Plain<P> {
    type Protocol = P;

    fn into_protocol(self) -> P {
        self.0
    }
}

impl<P: BufferedProtocol> Calls for Buffered<P> {
    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut dyn Source,
        unread: &mut Unread,
        transport: &Transport,
    ) -> Poll<io::Result<usize>> {
        let buffer = self.0.buffer();
        if buffer.is_empty() {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "BufferedProtocol::buffer gave no memory to read into",
            )));
        }
        let left = unread.data();
        let len = match left.len().min(buffer.len()) {
            0 => ready!(Pin::new(source).poll_read(cx, buffer))?,
            len => {
                buffer[..len].copy_from_slice(&left[..len]);
                unread.consume(len);
                len
            }
        };
        if len > 0 {
            self.0.filled(transport, len);
        }
        Poll::Ready(Ok(len))
    }

    same!(BufferedProtocol);
}

impl<P: BufferedProtocol> Callbacks for Buffered<P> {
    type Protocol = P;

    fn into_protocol(self) -> P {
        self.0
    }
}

/// The future of a connection's task. It gives the protocol back.
pub(super) struct Driver<C: Callbacks> {
    /// `None` once `lost` was called.
    callbacks: Option<C>,
    /// The protocol that is called in its place.
    replacement: Option<Box<dyn Calls>>,
    connection: Connection,
}

/// A connection without its protocol.
struct Connection {
    transport: Transport,
    source: Box<dyn Source>,
    unread: Unread,
    started: bool,
    /// The peer sends no more.
    ended: bool,
    /// `pause_writing` was called last.
    is_above: bool,
}

/// Why a protocol is called no more.
enum Stopped {
    Lost(io::Result<()>),
    Replaced,
}

impl Stopped {
    const CLOSED: Self = Self::Lost(Ok(()));
}

impl Connection {
    /// Calls the protocol until there is nothing to do, or it is called no more.
    fn poll_stopped<C: Calls + ?Sized>(
        &mut self,
        calls: &mut C,
        cx: &mut Context<'_>,
    ) -> Poll<Stopped> {
        let Self { transport, source, unread, started, ended, is_above } = self;
        if !*started {
            *started = true;
            calls.connected(transport);
        }
        loop {
            let mut failed = None;
            let standing = transport.watch(cx);
            // Behind the look: whatever comes from here on wakes the task.
            if transport.has_replacement() {
                return Poll::Ready(Stopped::Replaced);
            }
            match standing {
                // Also if it is below again: a protocol that saw it above waits for the call.
                Standing::Open { crossed: true, .. } if !*is_above => {
                    *is_above = true;
                    calls.pause_writing(transport);
                    continue;
                }
                Standing::Open { is_above: false, .. } if *is_above => {
                    *is_above = false;
                    calls.resume_writing(transport);
                    continue;
                }
                Standing::Open { .. } => {}
                // Only the end was sent, or is to be.
                Standing::Closing { reads: true } | Standing::Closed { reads: true } if !*ended => {
                }
                Standing::Closing { .. } => return Poll::Pending,
                Standing::Closed { .. } => return Poll::Ready(Stopped::CLOSED),
                Standing::Lost(_) if transport.was_aborted() => {
                    return Poll::Ready(Stopped::CLOSED);
                }
                Standing::Lost(error) => failed = Some(error),
            }
            let lost = |error| Poll::Ready(Stopped::Lost(Err(error)));
            if *ended || failed.is_none() && transport.is_paused(cx) {
                return failed.map_or(Poll::Pending, lost);
            }
            match calls.poll_data(cx, &mut **source, unread, transport) {
                // Step 3.
                Poll::Pending => return failed.map_or(Poll::Pending, lost),
                // An abort ends the reading side, too.
                Poll::Ready(Ok(0) | Err(_)) if transport.was_aborted() => {
                    return Poll::Ready(Stopped::CLOSED);
                }
                // The writing side may have taken the error of a reset, and then the kernel gives an end to the reading
                // side. That is none of the peer's.
                Poll::Ready(Ok(0)) if failed.is_some() => {
                    return failed.map_or(Poll::Pending, lost);
                }
                Poll::Ready(Ok(0)) => {
                    *ended = true;
                    if calls.eof(transport) == AfterEof::Close {
                        transport.close();
                    }
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return lost(failed.unwrap_or(error)),
            }
        }
    }
}

impl<C: Callbacks> Driver<C> {
    pub(super) fn new(ends: Ends, callbacks: C) -> Self {
        let connection = Connection {
            transport: Transport::new(ends.sink),
            source: ends.source,
            unread: Unread::default(),
            started: false,
            ended: false,
            is_above: false,
        };
        Self { callbacks: Some(callbacks), replacement: None, connection }
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.connection.transport
    }

    fn poll_lost(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let Self { callbacks, replacement, connection } = self;
            let stopped = match replacement {
                Some(calls) => connection.poll_stopped(&mut **calls, cx),
                None => {
                    let callbacks = callbacks.as_mut();
                    let callbacks =
                        callbacks.expect("a driver is not polled again when it has ended");
                    connection.poll_stopped(callbacks, cx)
                }
            };
            match ready!(stopped) {
                Stopped::Lost(result) => return Poll::Ready(result),
                Stopped::Replaced => self.replace(),
            }
        }
    }

    /// Step 5.
    fn replace(&mut self) {
        let Self { replacement, connection, .. } = self;
        let Some((calls, left)) = connection.transport.take_replacement() else { return };
        // In its place before it is called, which may panic.
        let calls = replacement.insert(calls);
        if !left.is_empty() {
            let later = connection.unread.take();
            connection.unread.add_bytes(&left);
            connection.unread.add_bytes(&later);
        }
        (connection.ended, connection.is_above) = (false, false);
        calls.connected(&connection.transport);
        if connection.transport.is_writing_paused() {
            connection.is_above = true;
            calls.pause_writing(&connection.transport);
        }
    }

    /// Step 4.
    fn end(&mut self, error: Option<&io::Error>) -> Option<C> {
        let Self { callbacks, replacement, connection } = self;
        connection.transport.end();
        let last = connection.transport.refuse_replacements();
        if connection.started
            && let Some(last) = last
        {
            // It was taken, and so it is called. If it panics, this comes again.
            replacement.insert(last).connected(&connection.transport);
        }
        let mut callbacks = callbacks.take()?;
        match replacement {
            _ if !connection.started => {}
            Some(replacement) => replacement.lost(error),
            None => callbacks.lost(error),
        }
        Some(callbacks)
    }
}

impl<C: Callbacks> Future for Driver<C> {
    type Output = C::Protocol;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Protocol> {
        let lost = ready!(self.poll_lost(cx));
        let callbacks = self.end(lost.as_ref().err());
        Poll::Ready(callbacks.expect("it ends once").into_protocol())
    }
}

impl<C: Callbacks> Drop for Driver<C> {
    fn drop(&mut self) {
        if self.callbacks.is_none() {
            return;
        }
        let text = match std::thread::panicking() {
            true => "a function of the protocol has panicked",
            false => "the task of the connection was cancelled, or its runtime has ended",
        };
        let error = io::Error::new(io::ErrorKind::ConnectionAborted, text);
        // It may panic again.
        panic::contain(|| drop(self.end(Some(&error))));
    }
}
