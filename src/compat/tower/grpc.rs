//! The deadline that a gRPC request carries.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use ::hyper::{
    HeaderMap, Request, Response,
    body::{Body, Frame, SizeHint},
    header::{CONTENT_TYPE, HeaderValue},
};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::time::{Sleep, sleep};

/// Has a gRPC server or client obey the time that a request allows by its header `grpc-timeout`, which
/// `tonic::Request::set_timeout` sets.
///
/// When the time is up, what answers is dropped, and the status is `DEADLINE_EXCEEDED`: as the answer, or at the end of
/// a stream of messages that has begun.
///
/// tonic: its transport has such a limit up to the first byte of the answer, by tokio's timers.
///
/// # Examples
///
/// ```text
/// // A server; `Echo` is a service that tonic generates the code of.
/// let service = GrpcTimeoutLayer::new().layer(EchoServer::new(Echo));
/// let server = compat::hyper::serve_tower("127.0.0.1:50051", service).await?;
///
/// // A client.
/// let http = compat::hyper::client_builder().http2_only(true).build(HyperConnector::new());
/// let mut client = EchoClient::with_origin(GrpcTimeoutLayer::new().layer(http), uri);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct GrpcTimeoutLayer {
    max: Option<Duration>,
}

impl GrpcTimeoutLayer {
    /// One that limits requests with the header, and no others.
    pub fn new() -> Self {
        Self::default()
    }

    /// No request may take longer than this, whatever its header says.
    pub fn max(limit: Duration) -> Self {
        Self { max: Some(limit) }
    }
}

impl<S> Layer<S> for GrpcTimeoutLayer {
    type Service = GrpcTimeout<S>;

    fn layer(&self, service: S) -> GrpcTimeout<S> {
        GrpcTimeout { service, max: self.max }
    }
}

/// The service that [`GrpcTimeoutLayer`] makes.
#[derive(Debug, Clone)]
pub struct GrpcTimeout<S> {
    service: S,
    max: Option<Duration>,
}

impl<S, B, R> Service<Request<B>> for GrpcTimeout<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<Deadlined<R>>;
    type Error = S::Error;
    type Future = GrpcTimeoutFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let wanted = request.headers().get("grpc-timeout").and_then(duration);
        let limit = wanted.into_iter().chain(self.max).min();
        GrpcTimeoutFuture { answer: self.service.call(request), sleep: limit.map(sleep) }
    }
}

/// The time that a header names: a number of at most eight digits, and its unit.
fn duration(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.is_empty() || number.len() > 8 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The headers, or the trailers, of an answer that came too late.
fn too_late(headers: &mut HeaderMap) {
    headers.insert("grpc-status", HeaderValue::from_static("4"));
    headers.insert("grpc-message", HeaderValue::from_static("the deadline has passed"));
}

pin_project! {
    /// The future of an answer that has a deadline.
    #[derive(Debug)]
    pub struct GrpcTimeoutFuture<F> {
        #[pin]
        answer: F,
        sleep: Option<Sleep>,
    }
}

/// Whether the time is up.
fn poll_over(sleep: &mut Option<Sleep>, cx: &mut Context<'_>) -> Poll<()> {
    match sleep {
        Some(sleep) => Pin::new(sleep).poll(cx),
        None => Poll::Pending,
    }
}

impl<F, R, E> Future for GrpcTimeoutFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<Deadlined<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(answer) = this.answer.poll(cx) {
            let sleep = this.sleep.take();
            return Poll::Ready(
                answer.map(|answer| answer.map(|body| Deadlined { body: Some(body), sleep })),
            );
        }
        ready!(poll_over(this.sleep, cx));
        let mut response = Response::new(Deadlined { body: None, sleep: None });
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        too_late(headers);
        Poll::Ready(Ok(response))
    }
}

pin_project! {
    /// The body of an answer, which ends with a status when the time is up.
    #[derive(Debug)]
    pub struct Deadlined<B> {
        // `None` once it came too late.
        #[pin]
        body: Option<B>,
        sleep: Option<Sleep>,
    }
}

impl<B: Body> Body for Deadlined<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(body) = this.body.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = body.poll_frame(cx) {
            return Poll::Ready(frame);
        }
        ready!(poll_over(this.sleep, cx));
        // What works for it is dropped with it.
        this.body.set(None);
        let mut trailers = HeaderMap::new();
        too_late(&mut trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.body, &self.sleep) {
            (Some(body), None) => body.size_hint(),
            (Some(_), Some(_)) => SizeHint::default(),
            (None, _) => SizeHint::with_exact(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_a_number_and_a_unit() {
        let parse = |text: &'static str| duration(&HeaderValue::from_static(text));
        for (text, expected) in [
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("82m", Duration::from_millis(82)),
            ("99999999u", Duration::from_micros(99_999_999)),
            ("0n", Duration::ZERO),
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
        for text in ["", "S", "1", "1s", "-1S", "+1S", "123456789S", "1.5S", " 1S"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
