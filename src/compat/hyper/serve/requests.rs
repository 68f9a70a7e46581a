//! A connection's requests, counted: a request is open from its call to the end of its answer's body.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use ::hyper::{
    Request, Response,
    body::{Body, Frame, Incoming, SizeHint},
    service::Service,
};
use pin_project_lite::pin_project;

use crate::loom::atomic::{AtomicU64, Ordering};

/// The number of requests that have begun, in the upper half, and of those that are open.
///
/// Read by the connection's task, and written there and, for HTTP/2, by those of its streams. It orders nothing.
pub(super) struct Requests(AtomicU64);

const BEGUN: u64 = 1 << 32;

/// How many requests have begun, and whether any is open.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen(u64);

impl Requests {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(super) fn seen(&self) -> Seen {
        Seen(self.0.load(Ordering::Relaxed))
    }
}

impl Seen {
    pub(super) fn is_any_open(self) -> bool {
        !self.0.is_multiple_of(BEGUN)
    }
}

/// A request that is open.
struct Open(Arc<Requests>);

impl Open {
    fn new(requests: &Arc<Requests>) -> Self {
        // Adding to the upper half wraps around; the lower one stays far below its limit.
        requests.0.fetch_add(BEGUN + 1, Ordering::Relaxed);
        Self(requests.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A service whose requests are counted.
pub(super) struct Counted<S> {
    service: S,
    requests: Arc<Requests>,
}

impl<S> Counted<S> {
    pub(super) fn new(service: S, requests: Arc<Requests>) -> Self {
        Self { service, requests }
    }
}

impl<S, B> Service<Request<Incoming>> for Counted<S>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
{
    type Response = Response<Answer<B>>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let open = Some(Open::new(&self.requests));
        Answering { answer: self.service.call(request), open }
    }
}

pin_project! {
    /// The future of an answer.
    pub(super) struct Answering<F> {
        #[pin]
        answer: F,
        open: Option<Open>,
    }
}

impl<F, B, E> Future for Answering<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<Answer<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.answer.poll(cx))?;
        Poll::Ready(Ok(response.map(|body| Answer { body, _open: this.open.take() })))
    }
}

pin_project! {
    /// The body of an answer.
    pub(super) struct Answer<B> {
        #[pin]
        body: B,
        _open: Option<Open>,
    }
}

impl<B: Body> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
