//! The task that calls a protocol.
//!
//! 1. Each turn looks at how the writing side stands: closed, lost, or above its mark. Its task is woken when that
//!    changes.
//! 2. Then it reads, unless the protocol has paused reading, and calls the protocol with what came.
//! 3. If the writing side has failed, what has come before is still read: until the end, an error, or until nothing
//!    is there. Then the connection is lost, with the error of the writing side.
//! 4. `lost` is called when the driver ends, and if it is dropped before. So it is called once, also after a panic.

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
pub(super) trait Callbacks: Send + Unpin + 'static {
    type Protocol: Send + 'static;

    /// Reads, and calls the protocol with what came. 0 is the end.
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
        type Protocol = P;

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

        fn into_protocol(self) -> P {
            self.0
        }
    };
}

impl<P: Protocol> Callbacks for Plain<P> {
    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut dyn Source,
        unread: &mut Unread,
        transport: &Transport,
    ) -> Poll<io::Result<usize>> {
        let len = ready!(source.poll_more(cx, unread))?;
        if len > 0 {
            self.0.data(transport, unread.data());
            unread.consume(len);
        }
        Poll::Ready(Ok(len))
    }

    same!(Protocol);
}

impl<P: BufferedProtocol> Callbacks for Buffered<P> {
    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut dyn Source,
        _: &mut Unread,
        transport: &Transport,
    ) -> Poll<io::Result<usize>> {
        let buffer = self.0.buffer();
        if buffer.is_empty() {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "BufferedProtocol::buffer gave no memory to read into",
            )));
        }
        let len = ready!(Pin::new(source).poll_read(cx, buffer))?;
        if len > 0 {
            self.0.filled(transport, len);
        }
        Poll::Ready(Ok(len))
    }

    same!(BufferedProtocol);
}

/// The future of a connection's task. It gives the protocol back.
pub(super) struct Driver<C: Callbacks> {
    /// `None` once `lost` was called.
    callbacks: Option<C>,
    transport: Transport,
    source: Box<dyn Source>,
    unread: Unread,
    started: bool,
    /// The peer sends no more.
    ended: bool,
    /// `pause_writing` was called last.
    is_above: bool,
}

impl<C: Callbacks> Driver<C> {
    pub(super) fn new(ends: Ends, callbacks: C) -> Self {
        Self {
            callbacks: Some(callbacks),
            transport: Transport::new(ends.sink),
            source: ends.source,
            unread: Unread::default(),
            started: false,
            ended: false,
            is_above: false,
        }
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Calls the protocol until there is nothing to do, or the connection is lost.
    fn poll_lost(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { callbacks, transport, source, unread, started, ended, is_above } = self;
        let callbacks = callbacks.as_mut().expect("a driver is not polled again when it has ended");
        if !*started {
            *started = true;
            callbacks.connected(transport);
        }
        loop {
            let mut failed = None;
            match transport.watch(cx) {
                // Also if it is below again: a protocol that saw it above waits for the call.
                Standing::Open { crossed: true, .. } if !*is_above => {
                    *is_above = true;
                    callbacks.pause_writing(transport);
                    continue;
                }
                Standing::Open { is_above: false, .. } if *is_above => {
                    *is_above = false;
                    callbacks.resume_writing(transport);
                    continue;
                }
                Standing::Open { .. } => {}
                // Only the end was sent, or is to be.
                Standing::Closing { reads: true } | Standing::Closed { reads: true } if !*ended => {
                }
                Standing::Closing { .. } => return Poll::Pending,
                Standing::Closed { .. } => return Poll::Ready(Ok(())),
                Standing::Lost(_) if transport.was_aborted() => return Poll::Ready(Ok(())),
                Standing::Lost(error) => failed = Some(error),
            }
            if *ended || failed.is_none() && transport.is_paused(cx) {
                return failed.map_or(Poll::Pending, |error| Poll::Ready(Err(error)));
            }
            match callbacks.poll_data(cx, &mut **source, unread, transport) {
                // Step 3.
                Poll::Pending => {
                    return failed.map_or(Poll::Pending, |error| Poll::Ready(Err(error)));
                }
                // An abort ends the reading side, too.
                Poll::Ready(Ok(0) | Err(_)) if transport.was_aborted() => {
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(0)) => {
                    *ended = true;
                    if callbacks.eof(transport) == AfterEof::Close {
                        transport.close();
                    }
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(failed.unwrap_or(error))),
            }
        }
    }

    /// Step 4.
    fn end(&mut self, error: Option<&io::Error>) -> Option<C> {
        self.transport.end();
        let mut callbacks = self.callbacks.take()?;
        if self.started {
            callbacks.lost(error);
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
