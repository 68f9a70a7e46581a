//! What a user sees of time. Durations are short and bounded from below only: how late
//! a timer may be is for the benches.

use std::{
    future::{Future, pending, poll_fn, ready},
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use super::*;
use crate::{
    loom::global::{AtomicU64, Ordering},
    reactor::timers::process_nodes,
    scheduler::with_timers,
};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Timers armed on this worker.
fn armed() -> usize {
    with_timers(|timers| timers.len()).expect("on a worker")
}

fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll(future, Waker::noop())
}

/// Awaits `future` and counts the polls.
async fn count_polls<F: Future>(future: F) -> (F::Output, usize) {
    let mut future = std::pin::pin!(future);
    let mut polls = 0;
    let count = |cx: &mut Context<'_>| {
        polls += 1;
        future.as_mut().poll(cx)
    };
    let output = poll_fn(count).await;
    (output, polls)
}

#[derive(Default)]
struct Wakes(AtomicU64);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Wakes {
    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn sleep_is_never_early() {
    crate::run(async {
        for micros in [1, 50, 200, 261, 263, 999, 1000, 5_000, 17_000] {
            let start = Instant::now();
            sleep(Duration::from_micros(micros)).await;
            assert!(start.elapsed() >= Duration::from_micros(micros));
        }
        assert_eq!(armed(), 0);
    });
}

#[test]
fn sleep_that_is_over_yields_exactly_once() {
    crate::run(async {
        let past = Instant::now();
        for _ in 0..3 {
            assert_eq!(count_polls(sleep(Duration::ZERO)).await.1, 2);
            assert_eq!(count_polls(sleep_until(past)).await.1, 2);
        }
        let mut again = sleep(Duration::ZERO);
        (&mut again).await;
        assert_eq!(count_polls(&mut again).await.1, 1, "over is over");
        again.reset(past);
        assert_eq!(count_polls(&mut again).await.1, 2, "as new");
        assert_eq!(armed(), 0);
    });
}

#[test]
fn sleep_that_is_dropped_takes_its_timer_along() {
    crate::run(async {
        let mut never = sleep(Duration::MAX);
        assert_eq!(armed(), 0, "nothing before the first poll");
        assert!(poll_once(&mut never).is_pending());
        assert_eq!(armed(), 1);
        assert!(!never.is_elapsed());
        drop(never);
        assert_eq!(armed(), 0);
        // On its own worker it has left the wheel, too.
        assert_eq!(with_timers(|timers| timers.next_deadline()), Some(None));
    });
}

#[test]
fn sleep_that_is_reset_ends_at_its_new_time() {
    crate::run(async {
        // To earlier and to later, waiting and not.
        for (first, second) in [(HOUR, 2 * MS), (MS, 4 * MS)] {
            for waiting in [false, true] {
                let mut sleep = sleep(first);
                if waiting {
                    assert!(poll_once(&mut sleep).is_pending());
                }
                let deadline = Instant::now() + second;
                sleep.reset(deadline);
                assert_eq!(sleep.deadline(), deadline);
                (&mut sleep).await;
                assert!(Instant::now() >= deadline);
                assert!(sleep.is_elapsed());
            }
        }
        assert_eq!(armed(), 0);
    });
}

#[test]
fn waiter_hears_of_a_reset_that_it_did_not_make() {
    // On the owner the timer moves, and fires for the task that has polled last; elsewhere it can
    // not move, so the waiter is woken to arm another.
    crate::run(async {
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        let mut waiting = sleep(HOUR);
        assert!(poll(&mut waiting, &waker).is_pending());
        waiting.reset(Instant::now() + MS);
        sleep(3 * MS).await;
        assert_eq!(wakes.count(), 1);

        waiting.reset(Instant::now() + HOUR);
        assert!(poll(&mut waiting, &waker).is_pending());
        std::thread::scope(|scope| {
            scope.spawn(|| waiting.reset(Instant::now() + MS));
        });
        assert_eq!(wakes.count(), 2);
        assert_eq!(armed(), 0);
        waiting.await;
    });
}

#[test]
fn sleep_that_outlives_its_runtime_goes_on_in_the_next() {
    let deadline = Instant::now() + 5 * MS;
    let mut sleep = sleep_until(deadline);
    crate::run(async { assert!(poll_once(&mut sleep).is_pending()) });
    crate::run(&mut sleep);
    assert!(Instant::now() >= deadline);
    // And one that is dropped after the end, on a thread that never was a worker.
    sleep.reset(Instant::now() + HOUR);
    crate::run(async { assert!(poll_once(&mut sleep).is_pending()) });
    std::thread::scope(|scope| {
        scope.spawn(move || drop(sleep));
    });
}

#[test]
#[should_panic(expected = "outside a ringloop runtime: call it inside ringloop::run")]
fn sleep_outside_a_runtime_says_what_to_do() {
    let _ = poll_once(&mut sleep(HOUR));
}

#[test]
fn timeout_of_zero_polls_exactly_once() {
    crate::run(async {
        let mut polls = 0;
        let inner = poll_fn(|_| {
            polls += 1;
            Poll::<()>::Pending
        });
        assert!(timeout(Duration::ZERO, inner).await.is_err());
        assert_eq!(polls, 1);
        assert_eq!(timeout(Duration::ZERO, ready(7)).await, Ok(7));
    });
}

#[test]
fn timeout_around_a_ready_future_needs_neither_timer_nor_runtime() {
    let mut ready_at_once = timeout(HOUR, ready(7));
    assert_eq!(poll_once(&mut ready_at_once), Poll::Ready(Ok(7)));
}

#[test]
fn timeout_arms_when_it_waits_and_cleans_up() {
    crate::run(async {
        let mut waiting = timeout(HOUR, pending::<()>());
        assert_eq!(armed(), 0);
        assert!(poll_once(&mut waiting).is_pending());
        assert_eq!(armed(), 1);
        drop(waiting);
        assert_eq!(armed(), 0);
    });
}

#[test]
fn timeout_gives_a_value_that_is_ready_even_if_late() {
    crate::run(async {
        let mut first = true;
        let late = poll_fn(|cx| {
            if std::mem::take(&mut first) {
                std::thread::sleep(3 * MS);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready("late")
        });
        // The deadline is past after the first poll: that one decides.
        let start = Instant::now();
        assert!(timeout_at(start + MS, late).await.is_err());

        // Both over by the next poll: the value wins.
        let mut both = timeout(MS, sleep(MS));
        assert!(poll_once(&mut both).is_pending());
        sleep(2 * MS).await;
        assert_eq!(both.await, Ok(()));
    });
}

#[test]
fn timeout_is_not_early_and_its_error_says_when() {
    crate::run(async {
        let deadline = Instant::now() + 2 * MS;
        let elapsed = timeout_at(deadline, sleep(Duration::MAX)).await.unwrap_err();
        assert!(Instant::now() >= deadline);
        assert_eq!(elapsed.deadline(), deadline);
        assert_eq!(elapsed.to_string(), "the deadline has elapsed");
        assert_eq!(io::Error::from(elapsed).kind(), io::ErrorKind::TimedOut);
        assert_eq!(armed(), 0);
    });
}

#[test]
fn interval_ticks_at_once_and_then_on_schedule() {
    crate::run(async {
        let start = Instant::now();
        let mut ticks = interval_at(start, 2 * MS);
        for n in 0..4 {
            assert_eq!(ticks.tick().await, start + n * 2 * MS);
            assert!(start.elapsed() >= n * 2 * MS);
        }
        // A tick that somebody stopped waiting for is still there.
        let tick = match timeout(Duration::ZERO, ticks.tick()).await {
            Ok(tick) => tick,
            Err(_) => ticks.tick().await,
        };
        assert_eq!(tick, start + 8 * MS);
        let before = Instant::now();
        ticks.reset();
        assert!(ticks.tick().await >= before + 2 * MS);
        drop(ticks);
        assert_eq!(armed(), 0);
    });
}

#[test]
fn interval_bursts_until_it_has_caught_up() {
    // More ticks than a poll's budget: it must yield on the way, and lose none.
    crate::run(async {
        let period = Duration::from_micros(10);
        let start = Instant::now();
        let mut ticks = interval_at(start, period);
        std::thread::sleep(5 * MS);
        for n in 0..500 {
            assert_eq!(ticks.tick().await, start + n * period);
        }
    });
}

#[test]
fn futures_of_time_are_send_and_sync() {
    fn check<T: Send + Sync + Unpin>() {}
    check::<Sleep>();
    check::<Interval>();
    check::<Timeout<Sleep>>();
    check::<Instant>();
}

#[test]
fn runtime_without_anything_to_do_gives_the_memory_of_its_timers_back() {
    // Goal: a worker that sleeps for ever gives the nodes back first, with nothing that wakes it.
    // Method: many sleeps, then a main that waits for a thread of the pool, which looks.
    const TIMERS: usize = 50_000;
    for workers in [1, 2] {
        let main = async {
            let mut sleeps: Vec<_> = (0..TIMERS).map(|_| sleep(HOUR)).collect();
            for sleep in &mut sleeps {
                assert!(poll_once(sleep).is_pending());
            }
            assert!(process_nodes() >= TIMERS);
            drop(sleeps);
            let look = || {
                let deadline = Instant::now() + Duration::from_secs(30);
                while process_nodes() > TIMERS / 2 {
                    assert!(Instant::now() < deadline, "{} nodes", process_nodes());
                    std::thread::sleep(MS);
                }
            };
            crate::to_thread(look).await.unwrap();
        };
        crate::Builder::new().workers(workers).run(main).unwrap();
    }
}
