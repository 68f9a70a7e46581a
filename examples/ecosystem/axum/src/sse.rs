//! A comment now and then, so that nobody on the way takes a quiet stream of events for a dead one.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::response::sse::Event;
use futures_util::Stream;
use pin_project_lite::pin_project;
use ringloop::time::{self, Sleep};

/// The events of a stream, and an empty comment whenever there was none for `interval`.
pub fn keep_alive<S>(events: S, interval: Duration) -> KeepAlive<S> {
    KeepAlive { events, interval, sleep: time::sleep(interval) }
}

pin_project! {
    /// See [`keep_alive`].
    pub struct KeepAlive<S> {
        #[pin]
        events: S,
        interval: Duration,
        sleep: Sleep,
    }
}

impl<S, E> Stream for KeepAlive<S>
where
    S: Stream<Item = Result<Event, E>>,
{
    type Item = Result<Event, E>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        let event = match this.events.poll_next(cx) {
            Poll::Ready(event) => event,
            Poll::Pending => {
                ready!(Pin::new(&mut *this.sleep).poll(cx));
                Some(Ok(Event::default().comment("")))
            }
        };
        *this.sleep = time::sleep(*this.interval);
        Poll::Ready(event)
    }
}
