//! The door to I/O: one operation on one descriptor.
//!
//! An [`Operation`] is one struct that says what it waits for and how it is tried; a
//! backend that completes operations itself will find its side of each next to it.

use std::{
    io,
    os::fd::AsFd,
    pin::Pin,
    task::{Context, Poll, ready},
};

use crate::{
    reactor::{Direction, Home, Reactor, Seen, Source},
    scheduler,
    util::current,
};

/// Something to do with a descriptor of type `T` that may have to wait.
pub(crate) trait Operation<T> {
    type Output;

    /// Which way it goes.
    const DIRECTION: Direction;

    /// Tries it. [`WouldBlock`](io::ErrorKind::WouldBlock) means not yet.
    fn attempt(&mut self, io: &T) -> io::Result<Self::Output>;

    /// Whether the result shows that the next attempt would have to wait, so that it
    /// need not be made: a short read from a stream, say.
    fn drained(&self, _output: &Self::Output) -> bool {
        false
    }
}

/// Tries `operation` until it says something other than "would block", waiting for the
/// descriptor in between. Of several tasks that wait so for one direction, the last is
/// woken: for owners.
///
/// # Cancel safety
///
/// What was not returned has not happened: bytes and connections stay in the kernel (S3).
pub(crate) fn poll<T: AsFd, O: Operation<T>>(
    source: &Source<T>,
    cx: &mut Context<'_>,
    operation: &mut O,
) -> Poll<io::Result<O::Output>> {
    poll_with(source, cx, operation, |cx| source.poll_ready(O::DIRECTION, cx, with_reactor))
}

fn poll_with<T: AsFd, O: Operation<T>>(
    source: &Source<T>,
    cx: &mut Context<'_>,
    operation: &mut O,
    mut poll_ready: impl FnMut(&mut Context<'_>) -> Poll<io::Result<Seen>>,
) -> Poll<io::Result<O::Output>> {
    loop {
        let seen = ready!(poll_ready(cx))?;
        if !current::budget_spend() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match operation.attempt(source.get()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                source.clear(seen, O::DIRECTION)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => {
                if result.as_ref().is_ok_and(|output| operation.drained(output)) {
                    source.drained(seen, O::DIRECTION);
                }
                return Poll::Ready(result);
            }
        }
    }
}

/// An operation as a future, of which several may wait for one descriptor.
///
/// # Cancel safety
///
/// As [`poll`].
pub(crate) struct Run<'a, T: AsFd, O> {
    source: &'a Source<T>,
    operation: O,
    ticket: Option<u64>,
}

/// Runs `operation` on a descriptor that others may be waiting for as well.
pub(crate) fn run<T: AsFd, O: Operation<T>>(source: &Source<T>, operation: O) -> Run<'_, T, O> {
    Run { source, operation, ticket: None }
}

impl<T: AsFd, O> Unpin for Run<'_, T, O> {}

impl<T: AsFd, O: Operation<T>> Future for Run<'_, T, O> {
    type Output = io::Result<O::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Run { source, operation, ticket } = &mut *self;
        poll_with(source, cx, operation, |cx| {
            source.poll_ready_shared(O::DIRECTION, cx, ticket, with_reactor)
        })
    }
}

impl<T: AsFd, O> Drop for Run<'_, T, O> {
    fn drop(&mut self) {
        self.source.forget(self.ticket);
    }
}

/// Tries `operation` once, without waiting.
///
/// # Errors
///
/// [`WouldBlock`](io::ErrorKind::WouldBlock) if it has to wait.
pub(crate) fn attempt<T: AsFd, O: Operation<T>>(
    source: &Source<T>,
    operation: &mut O,
) -> io::Result<O::Output> {
    let seen = source.look();
    let result = operation.attempt(source.get());
    match &result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => source.clear(seen, O::DIRECTION),
        Ok(output) if operation.drained(output) => source.drained(seen, O::DIRECTION),
        _ => {}
    }
    result
}

/// Runs `f` with the reactor of the worker that this thread is.
fn with_reactor(f: &mut dyn FnMut(&Reactor) -> io::Result<Home>) -> io::Result<Home> {
    scheduler::with_worker(|worker| worker.with_reactor(f)).unwrap_or_else(|| {
        Err(io::Error::other(
            "I/O on a thread that is not a worker of a ringloop runtime: \
             await it inside ringloop::run(async { .. }) or on a task",
        ))
    })
}
