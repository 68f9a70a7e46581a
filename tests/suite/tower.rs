//! Layers of tower's on our clock.

use std::convert::Infallible;
use std::future::{Ready, poll_fn, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ringloop::compat::tower::{RateLimitLayer, RateLimited};
use ringloop::spawn;
use ringloop::time::{Instant, sleep};
use tower_layer::Layer;
use tower_service::Service;

use crate::harness::on_every;

const STEP: Duration = Duration::from_secs(10);

/// Notes when it is called.
#[derive(Clone)]
struct Notes {
    begun: Instant,
    calls: Calls,
}

impl Service<u32> for Notes {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u32) -> Self::Future {
        self.calls.lock().unwrap().push((request, self.begun.elapsed()));
        ready(Ok(()))
    }
}

/// Each request, and when it was called.
type Calls = Arc<Mutex<Vec<(u32, Duration)>>>;

fn limited(number: u32) -> (RateLimited<Notes>, Calls) {
    let calls = Arc::default();
    let notes = Notes { begun: Instant::now(), calls: Arc::clone(&calls) };
    (RateLimitLayer::new(number, STEP * number).layer(notes), calls)
}

async fn call(service: &mut RateLimited<Notes>, request: u32) {
    poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
    service.call(request).await.unwrap();
}

#[test]
fn requests_take_turns_at_the_rate() {
    on_every(|cfg| {
        cfg.mocked(async {
            let (mut service, calls) = limited(3);
            for request in 0..6 {
                call(&mut service, request).await;
            }
            let whens: Vec<_> = calls.lock().unwrap().drain(..).map(|(_, when)| when).collect();
            let steps = |n: &[u32]| n.iter().map(|n| STEP * *n).collect::<Vec<_>>();
            assert_eq!(whens, steps(&[0, 0, 0, 1, 2, 3]));
            // A rest gives the first few back, and no more.
            sleep(STEP * 100).await;
            for request in 0..4 {
                call(&mut service, request).await;
            }
            let whens: Vec<_> = calls.lock().unwrap().drain(..).map(|(_, when)| when).collect();
            assert_eq!(whens, steps(&[103, 103, 103, 104]));
        });
    });
}

#[test]
fn clones_share_the_turns_in_their_order() {
    on_every(|cfg| {
        cfg.mocked(async {
            let (service, calls) = limited(1);
            let mut tasks = Vec::new();
            for request in 0..8 {
                let mut own = service.clone();
                // Its turn is taken here, in order.
                let polled = own.poll_ready(&mut Context::from_waker(Waker::noop()));
                assert_eq!(polled.is_ready(), request == 0);
                tasks.push(spawn(async move { call(&mut own, request).await }));
            }
            for task in tasks {
                task.await.unwrap();
            }
            let expected: Vec<_> = (0..8).map(|request| (request, STEP * request)).collect();
            assert_eq!(*calls.lock().unwrap(), expected);
        });
    });
}

#[test]
fn a_turn_that_is_not_used_comes_back() {
    on_every(|cfg| {
        cfg.mocked(async {
            let (mut service, calls) = limited(1);
            call(&mut service, 0).await;
            for _ in 0..100 {
                let mut dropped = service.clone();
                let polled = dropped.poll_ready(&mut Context::from_waker(Waker::noop()));
                assert!(polled.is_pending());
            }
            call(&mut service, 1).await;
            assert_eq!(*calls.lock().unwrap(), [(0, Duration::ZERO), (1, STEP)]);
        });
    });
}

#[test]
#[should_panic(expected = "before its turn")]
fn a_call_without_a_turn_panics() {
    limited(1).0.call(0).into_inner().unwrap();
}
