//! A body whose early end is an error.

use std::{
    error::Error,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use ::hyper::body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::sync::{Deferred, Promise, oneshot};

const CUT: &str =
    "the body ended before BodyGuard::finish was called: what makes it was dropped or has failed";

/// Makes the end of `body` wait for [`BodyGuard::finish`]; without it the body ends with an error.
///
/// A body that another task makes, through a channel, ends when its sender is dropped. If the length was not announced, a peer cannot tell
/// a task that was cancelled or has panicked from one that was done: the body looks whole. With the guard beside
/// the sender, hyper cuts the connection (HTTP/1) or resets the stream (HTTP/2), and the peer has an error.
///
/// # Cancel safety
///
/// No future is involved. A guard that is dropped with its task says that the body is cut.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::{BodyExt, channel::Channel};
/// use ringloop::compat::hyper::guarded;
///
/// ringloop::run(async {
///     let (mut sender, body) = Channel::<Bytes>::new(8);
///     let (guard, body) = guarded(body);
///     ringloop::spawn(async move {
///         sender.send_data("all of it".into()).await.unwrap();
///         guard.finish();
///     }).detach();
///     assert_eq!(body.collect().await.unwrap().to_bytes(), "all of it");
///
///     let (sender, body) = Channel::<Bytes>::new(8);
///     let (guard, body) = guarded(body);
///     drop((sender, guard));
///     assert!(body.collect().await.is_err());
/// });
/// ```
pub fn guarded<B: Body>(body: B) -> (BodyGuard, GuardedBody<B>) {
    let (whole, end) = oneshot();
    (BodyGuard { whole }, GuardedBody { body, end: Some(end), ended: false })
}

/// Says that a body is whole: see [`guarded`].
#[must_use = "a guard that is dropped cuts the body"]
#[derive(Debug)]
pub struct BodyGuard {
    whole: Promise<()>,
}

impl BodyGuard {
    /// The body is whole once what was sent so far has been taken.
    pub fn finish(self) {
        // Refused if nobody reads the body any more.
        let _ = self.whole.set(());
    }
}

pin_project! {
    /// A body that ends with an error unless its [guard](BodyGuard) says that it is whole: see [`guarded`].
    #[derive(Debug)]
    pub struct GuardedBody<B> {
        #[pin]
        body: B,
        // Until the guard has said something.
        end: Option<Deferred<()>>,
        // The body inside has.
        ended: bool,
    }
}

impl<B> Body for GuardedBody<B>
where
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>>,
{
    type Data = B::Data;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, Self::Error>>> {
        let this = self.project();
        if !*this.ended {
            if let Some(frame) = ready!(this.body.poll_frame(cx)) {
                return Poll::Ready(Some(frame.map_err(Into::into)));
            }
            *this.ended = true;
        }
        let Some(end) = this.end else { return Poll::Ready(None) };
        let whole = ready!(Pin::new(end).poll(cx));
        *this.end = None;
        let cut = |_| io::Error::new(io::ErrorKind::UnexpectedEof, CUT).into();
        Poll::Ready(whole.err().map(|broken| Err(cut(broken))))
    }

    fn is_end_stream(&self) -> bool {
        self.end.is_none() && (self.ended || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
