//! Limits in time and in number for services of tower's (feature `tower`): tower's own take tokio's timers.
//!
//! ```
//! use std::{convert::Infallible, time::Duration};
//!
//! use ringloop::{compat::tower::TimeoutLayer, time::sleep};
//! use tower_layer::Layer;
//! use tower_service::Service;
//!
//! # struct Slow;
//! # impl Service<Duration> for Slow {
//! #     type Response = ();
//! #     type Error = Infallible;
//! #     type Future = std::pin::Pin<Box<dyn Future<Output = Result<(), Infallible>> + Send>>;
//! #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
//! #         std::task::Poll::Ready(Ok(()))
//! #     }
//! #     fn call(&mut self, takes: Duration) -> Self::Future {
//! #         Box::pin(async move { Ok(sleep(takes).await) })
//! #     }
//! # }
//! ringloop::run(async {
//!     // `Slow` sleeps for as long as its request says.
//!     let mut service = TimeoutLayer::new(Duration::from_millis(20)).layer(Slow);
//!     service.call(Duration::ZERO).await.unwrap();
//!     let error = service.call(Duration::from_secs(60)).await.unwrap_err();
//!     assert!(error.is::<ringloop::time::Elapsed>());
//! });
//! ```

mod grpc;
mod rate;

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

pub use self::{
    grpc::{Deadlined, GrpcTimeout, GrpcTimeoutFuture, GrpcTimeoutLayer},
    rate::{RateLimitLayer, RateLimited},
};
use crate::time::{Timeout, timeout};

/// Gives each request a limit: its future is dropped when the time is up, and the error is an
/// [`Elapsed`](crate::time::Elapsed).
///
/// tower: `TimeoutLayer`, whose timers are tokio's.
#[derive(Debug, Clone, Copy)]
pub struct TimeoutLayer {
    limit: Duration,
}

impl TimeoutLayer {
    /// One with a limit for the answer; the body of an answer is not limited.
    pub fn new(limit: Duration) -> Self {
        Self { limit }
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timed<S>;

    fn layer(&self, service: S) -> Timed<S> {
        Timed { service, limit: self.limit }
    }
}

/// The service that [`TimeoutLayer`] makes.
#[derive(Debug, Clone)]
pub struct Timed<S> {
    service: S,
    limit: Duration,
}

impl<S, R> Service<R> for Timed<S>
where
    S: Service<R, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    type Response = S::Response;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = TimedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: R) -> Self::Future {
        TimedFuture { answer: timeout(self.limit, self.service.call(request)) }
    }
}

pin_project! {
    /// The future of an answer that has a limit.
    #[derive(Debug)]
    pub struct TimedFuture<F> {
        #[pin]
        answer: Timeout<F>,
    }
}

impl<F, T, E> Future for TimedFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    type Output = Result<T, Box<dyn Error + Send + Sync>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().answer.poll(cx).map(|outcome| match outcome {
            Ok(answer) => answer.map_err(Into::into),
            Err(elapsed) => Err(elapsed.into()),
        })
    }
}
