//! Entries that a thread reads in batches, as a stream.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    vec,
};

use super::lane::on_lane;

/// How many names one call to a thread reads: about as many as come by one call of the kernel with a
/// buffer of 32 KiB.
pub(super) const BATCH: usize = 1024;

/// What a thread reads entries from.
pub(super) trait Source: Send + 'static {
    type Entry: Send + 'static;

    /// Adds up to [`BATCH`] entries. Says whether there may be more.
    fn read(&mut self, into: &mut Vec<io::Result<Self::Entry>>) -> io::Result<bool>;
}

type Answer<S> = io::Result<(Option<S>, Vec<io::Result<<S as Source>::Entry>>)>;

pub(super) struct Batches<S: Source> {
    ready: vec::IntoIter<io::Result<S::Entry>>,
    state: State<S>,
}

enum State<S: Source> {
    Idle(S),
    /// A thread has the source.
    Asked(Pin<Box<dyn Future<Output = Answer<S>> + Send>>),
    Ended,
}

/// Reads one batch.
fn batch<S: Source>(mut source: S) -> Answer<S> {
    let mut entries = Vec::new();
    let more = source.read(&mut entries)?;
    // Closed here, where that may block.
    Ok((more.then_some(source), entries))
}

impl<S: Source> Batches<S> {
    /// Nothing is read yet.
    pub(super) fn new(source: S) -> Self {
        Self { ready: Vec::new().into_iter(), state: State::Idle(source) }
    }

    /// With the first batch of a source, on a thread that may block.
    pub(super) fn begin(source: S) -> io::Result<Self> {
        let (source, entries) = batch(source)?;
        let state = source.map_or(State::Ended, State::Idle);
        Ok(Self { ready: entries.into_iter(), state })
    }

    /// The source, while nothing is read.
    pub(super) fn source(&mut self) -> Option<&mut S> {
        match &mut self.state {
            State::Idle(source) => Some(source),
            State::Asked(_) | State::Ended => None,
        }
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<S::Entry>>> {
        loop {
            if let Some(entry) = self.ready.next() {
                return Poll::Ready(Some(entry));
            }
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::Idle(source) => {
                    self.state = State::Asked(Box::pin(on_lane(|| batch(source))));
                }
                State::Asked(mut asked) => match asked.as_mut().poll(cx) {
                    Poll::Pending => {
                        self.state = State::Asked(asked);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok((source, entries))) => {
                        self.ready = entries.into_iter();
                        self.state = source.map_or(State::Ended, State::Idle);
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                },
            }
        }
    }
}
