//! Storms over the primitives: plain threads beside tasks, random cancels; at the end no permit is
//! missing. `RINGLOOP_TEST_SCALE` makes them longer; the full size is ignored.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ringloop::sync::{Barrier, Condition, Event, Lock, RwLock, Semaphore};

use crate::harness::{Rng, guarded, scaled};
use crate::sync_tools::other_executor;
use crate::tools::Count;

/// Polls at most `turns` times, when it is woken or again at once, and then gives up: some waits
/// are dropped in the queue, some after they were granted.
struct Fickle<F> {
    inner: Option<Pin<Box<F>>>,
    turns: usize,
    hasty: bool,
}

impl<F: Future> Future for Fickle<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.turns == 0 {
            self.inner = None;
            return Poll::Ready(None);
        }
        self.turns -= 1;
        if let Poll::Ready(value) = self.inner.as_mut().expect("not over").as_mut().poll(cx) {
            return Poll::Ready(Some(value));
        }
        if self.hasty {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// One in four gives up.
fn fickle<F: Future>(rng: &mut Rng, future: F) -> Fickle<F> {
    let turns = if rng.one_in(4) { rng.below(4) } else { usize::MAX };
    Fickle { inner: Some(Box::pin(future)), turns, hasty: turns != usize::MAX }
}

/// Runs `step` `steps` times on each of eight threads, with a generator each.
fn storm(name: &str, steps: usize, step: impl Fn(&mut Rng) + Send + Sync) {
    let seed = match std::env::var("RINGLOOP_SEED") {
        Ok(text) => text.parse().expect("RINGLOOP_SEED is a number"),
        Err(_) => std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos() as u64,
    };
    let what = format!("{name}, RINGLOOP_SEED={seed}");
    guarded(&what, Duration::from_secs(600), || {
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let step = &step;
                scope.spawn(move || {
                    let mut rng = Rng::new(seed ^ (thread << 32));
                    (0..steps / 8).for_each(|_| step(&mut rng));
                });
            }
        });
    });
}

fn semaphore_storm(steps: usize) {
    let semaphore = Arc::new(Semaphore::new(5));
    let inside = Semaphore::new(5);
    storm("semaphore", steps, |rng| {
        let count = rng.below(5);
        let wait = fickle(rng, semaphore.acquire_many(count));
        let Some(permit) = other_executor(wait) else { return };
        let mut permit = permit.expect("it is never closed");
        let check = inside.try_acquire_many(count).expect("as many inside as permits, not more");
        if rng.one_in(4) {
            std::thread::yield_now();
        }
        drop(check);
        match rng.below(8) {
            0 => drop(permit.split(count / 2)),
            1 => {
                semaphore.add_permits(count);
                permit.forget();
            }
            _ => drop(permit),
        }
    });
    assert_eq!(format!("{semaphore:?}"), "Semaphore { permits: 5, closed: false, waiters: 0 }");
}

fn lock_storm(steps: usize) {
    let (lock, shared, counted) = (Lock::new(0u64), RwLock::new((0u64, 0u64)), Count::new());
    storm("lock", steps, |rng| match rng.below(6) {
        0 => {
            if let Ok(mut value) = lock.try_lock() {
                *value += 1;
                counted.add();
            }
        }
        1 => {
            *lock.blocking_lock() += 1;
            counted.add();
        }
        2 => {
            let write = fickle(rng, shared.write());
            if let Some(mut pair) = other_executor(write) {
                pair.0 += 1;
                if rng.one_in(2) {
                    pair.1 += 1;
                    let pair = ringloop::sync::RwLockWriteGuard::downgrade(pair);
                    assert_eq!(pair.0, pair.1);
                } else {
                    pair.1 += 1;
                }
            }
        }
        3 => {
            if let Some(pair) = other_executor(fickle(rng, shared.read())) {
                assert_eq!(pair.0, pair.1);
            }
        }
        _ => {
            if let Some(mut value) = other_executor(fickle(rng, lock.lock())) {
                let before = *value;
                std::hint::spin_loop();
                *value = before + 1;
                counted.add();
            }
        }
    });
    assert_eq!(*lock.try_lock().expect("free"), counted.get() as u64);
    assert!(shared.try_write().is_ok());
}

/// Threads wait for an event that is set and cleared at random, and for a condition: each wait
/// ends. Some threads put a token and take one back; others take one first and return it, and often
/// find none. There is one token more than the first kind of threads have put.
fn event_storm(steps: usize) {
    let (event, tokens, more) = (Event::new(), Lock::new(1usize), Condition::new());
    storm("event", steps, |rng| {
        match rng.below(3) {
            0 => event.set(),
            1 => {
                event.clear();
                event.set();
            }
            _ => drop(other_executor(fickle(rng, async {
                event.wait().await;
            }))),
        }
        // Each thread leaves it set: no wait is for ever.
        event.set();
        let give = || {
            let mut tokens = tokens.blocking_lock();
            *tokens += 1;
            more.notify_one(&tokens);
        };
        let takes_first = rng.below(2) == 0;
        if !takes_first {
            give();
        }
        let take = async || {
            let guard = tokens.lock().await;
            let mut guard = more.wait_while(guard, |tokens| *tokens == 0).await;
            *guard -= 1;
        };
        // A take that was given up is repeated, so that there are enough tokens.
        if other_executor(fickle(rng, take())).is_none() {
            other_executor(take());
        }
        if takes_first {
            give();
        }
    });
    assert_eq!(tokens.into_inner(), 1);
    assert_eq!(format!("{more:?}"), "Condition { waiters: 0 }");
}

/// Rounds of eight, whose members sometimes leave and come again. A member that leaves just as its
/// round completes has used its turn, so that the numbers of turns differ: the first that has used
/// all of its turns aborts the barrier for all.
fn barrier_storm(steps: usize) {
    let (barrier, turns) = (Barrier::new(8), Count::new());
    storm("barrier", 8, |rng| {
        for _ in 0..steps / 8 {
            match other_executor(fickle(rng, barrier.wait())) {
                Some(Ok(arrival)) => {
                    assert!(arrival.index < 8);
                    turns.add();
                }
                Some(Err(_)) => break,
                None => {}
            }
        }
        barrier.abort();
    });
    assert!(turns.get() > 0);
    assert_eq!((barrier.waiting(), barrier.is_broken()), (0, true));
}

#[test]
fn t47_storm_of_acquires_cancels_and_releases() {
    // T47.
    semaphore_storm(scaled(100_000));
}

#[test]
fn storm_of_locks() {
    lock_storm(scaled(40_000));
}

#[test]
fn storm_of_events_and_conditions() {
    event_storm(scaled(20_000));
}

#[test]
fn storm_of_barriers() {
    barrier_storm(scaled(4_000));
}

#[test]
#[ignore = "10^6 operations of each: minutes"]
fn full_storms() {
    semaphore_storm(1_000_000);
    lock_storm(1_000_000);
    event_storm(1_000_000);
    barrier_storm(1_000_000);
}
