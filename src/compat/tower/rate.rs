//! So many requests in a time.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tower_layer::Layer;
use tower_service::Service;

use crate::{
    loom::global::Mutex,
    time::{Instant, Sleep, sleep_until},
};

/// Lets a number of requests through in a time; the others wait for their turn, in the order in which they came.
///
/// The first `number` may come at once; from then on there is a turn each `per / number`. So in any stretch of `per` there are
/// at most twice as many. A service and its clones share the turns: `service` is what is limited, not a connection. A service waits in
/// [`poll_ready`](Service::poll_ready); one that is dropped there gives its turn back.
///
/// tower: `RateLimitLayer`, whose timers are tokio's, and whose service cannot be cloned. To refuse in place of waiting, put
/// tower's `LoadShedLayer` around it.
///
/// # Examples
///
/// ```
/// use std::{convert::Infallible, future::poll_fn, time::Duration};
///
/// use ringloop::{compat::tower::RateLimitLayer, time::Instant};
/// use tower_layer::Layer;
/// use tower_service::Service;
///
/// # #[derive(Clone)]
/// # struct Answer;
/// # impl Service<()> for Answer {
/// #     type Response = u32;
/// #     type Error = Infallible;
/// #     type Future = std::future::Ready<Result<u32, Infallible>>;
/// #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
/// #         std::task::Poll::Ready(Ok(()))
/// #     }
/// #     fn call(&mut self, _: ()) -> Self::Future {
/// #         std::future::ready(Ok(42))
/// #     }
/// # }
/// ringloop::run(async {
///     // Two in 10 ms: the third has to wait for 5 ms.
///     let mut service = RateLimitLayer::new(2, Duration::from_millis(10)).layer(Answer);
///     let begun = Instant::now();
///     for _ in 0..3 {
///         poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
///         assert_eq!(service.call(()).await.unwrap(), 42);
///     }
///     assert!(begun.elapsed() >= Duration::from_millis(5));
/// });
/// ```
#[derive(Debug, Clone, Copy)]
pub struct RateLimitLayer {
    /// Between two turns.
    step: Duration,
    /// How far turns may be ahead of the clock.
    burst: Duration,
}

impl RateLimitLayer {
    /// `number` requests, at least 1, in each stretch of `per`, at least 1 ns for each of them.
    ///
    /// # Panics
    ///
    /// The number is zero, or the time is shorter than that.
    #[track_caller]
    pub fn new(number: u32, per: Duration) -> Self {
        assert!(number > 0, "a limit of 0 requests lets nothing through: give it at least 1");
        let step = per / number;
        assert!(!step.is_zero(), "{number} requests in {per:?} are no limit: leave the layer away");
        Self { step, burst: step * (number - 1) }
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimited<S>;

    fn layer(&self, service: S) -> RateLimited<S> {
        let turns = Turns { limit: *self, next: Mutex::new(Instant::now()) };
        RateLimited { service, turns: Arc::new(turns), turn: Turn::None }
    }
}

/// The turns that a service and its clones share.
struct Turns {
    limit: RateLimitLayer,
    /// The time of the next turn, if none came early.
    next: Mutex<Instant>,
}

impl Turns {
    /// Takes the next turn. Gives the time from which on it may be used, if that is to come.
    fn take(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut next = self.next.lock();
        let turn = (*next).max(now);
        *next = turn.checked_add(self.limit.step).unwrap_or(turn);
        let from = turn.checked_sub(self.limit.burst)?;
        (from > now).then_some(from)
    }

    /// A turn that was taken is not used. Those that came after it keep theirs.
    fn give_back(&self) {
        let mut next = self.next.lock();
        *next = next.checked_sub(self.limit.step).unwrap_or(*next);
    }
}

/// Where a service stands.
enum Turn {
    None,
    Waits(Sleep),
    /// Its turn has come.
    Here,
}

/// The service that [`RateLimitLayer`] makes.
pub struct RateLimited<S> {
    service: S,
    turns: Arc<Turns>,
    turn: Turn,
}

impl<S, R> Service<R> for RateLimited<S>
where
    S: Service<R>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    /// # Cancel safety
    ///
    /// The turn stays with this service, and is used by its next request.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if let Turn::None = self.turn {
            self.turn = match self.turns.take() {
                Some(from) => Turn::Waits(sleep_until(from)),
                None => Turn::Here,
            };
        }
        if let Turn::Waits(sleep) = &mut self.turn {
            ready!(Pin::new(sleep).poll(cx));
            self.turn = Turn::Here;
        }
        self.service.poll_ready(cx)
    }

    /// # Panics
    ///
    /// [`poll_ready`](Self::poll_ready) was not ready before.
    #[track_caller]
    fn call(&mut self, request: R) -> S::Future {
        assert!(
            matches!(self.turn, Turn::Here),
            "RateLimited::call before its turn: wait for poll_ready before each call"
        );
        self.turn = Turn::None;
        self.service.call(request)
    }
}

impl<S: Clone> Clone for RateLimited<S> {
    fn clone(&self) -> Self {
        Self { service: self.service.clone(), turns: self.turns.clone(), turn: Turn::None }
    }
}

impl<S> Drop for RateLimited<S> {
    fn drop(&mut self) {
        if !matches!(self.turn, Turn::None) {
            self.turns.give_back();
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for RateLimited<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = &self.turns.limit;
        f.debug_struct("RateLimited")
            .field("service", &self.service)
            .field("limit", limit)
            .finish_non_exhaustive()
    }
}
