//! The timer of a timeout or of a scope fires while it is cancelled, dropped or reset on other
//! threads.
//!
//! Code: `time/timeout.rs`, `future/scope.rs`, `runtime/deadline.rs`, `scheduler/timers.rs` and
//! `reactor/timers/` as they are. A worker is entered and does not loop: its thread polls by hand.
//! Another thread fires the timers, as a rescuer does, since the worker is in a poll.
//!
//! Properties: a future that waits is woken by the first event, and ends; a new time is waited for,
//! also if the old one has fired meanwhile; no timer stays armed, and no waker is kept.
//!
//! Actors: the worker, a rescuer, and a thread that cancels, drops or reschedules.
//!
//! Bound: 3 threads, one timer at a time, two times.

use std::{
    future::pending,
    pin::Pin,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use loom::thread;
use loom_tests::explore;
use ringloop::{
    Scope, ScopeFuture,
    model::worker::{Runtime, set_time},
    scope,
    time::{Instant, timeout},
};

use crate::tasks::{Driven, Ring, wait_for};

/// The time at which timers are due; long after they are armed, so that it is not taken for a past
/// one.
const DUE: Duration = Duration::from_secs(1);

/// Polls on a worker with a neighbour, which rescues its timers.
fn on_worker(body: impl FnOnce(Runtime)) {
    set_time(0);
    let (runtime, [mine, _others]) = Runtime::new(0, true);
    mine.enter(|| {
        body(runtime);
        assert_eq!(runtime.armed_timers(0), 0, "a timer is armed");
    });
    // SAFETY: the threads that used it have been joined.
    unsafe { runtime.free() };
}

/// The time has come, and a thread fires the timers that are due.
fn rescuer(runtime: Runtime, time: Duration) -> thread::JoinHandle<()> {
    set_time(time.as_nanos() as u64);
    thread::spawn(move || runtime.rescue_timers(0))
}

fn poll_once<F: Future>(future: &mut Pin<Box<F>>, waker: &Arc<Ring>) {
    let waker = Waker::from(waker.clone());
    assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
}

/// A scope around `body`, and its handle.
fn around<F: Future>(body: F) -> (Pin<Box<ScopeFuture<F>>>, Scope) {
    let mut handle = None;
    let future = scope(|scope| {
        handle = Some(scope);
        body
    });
    (Box::pin(future), handle.unwrap())
}

/// The scope around a timeout is cancelled while its timer fires.
#[test]
fn cancel_against_fire() {
    explore(|| {
        on_worker(|runtime| {
            let (mut future, handle) = around(timeout(DUE, pending::<()>()));
            let first = Arc::new(Ring);
            poll_once(&mut future, &first);
            let rescuer = rescuer(runtime, DUE);
            let canceller = thread::spawn(move || handle.cancel());
            match wait_for(future) {
                Ok(elapsed) => assert!(elapsed.is_err()),
                Err(gone) => drop(gone),
            }
            rescuer.join().unwrap();
            canceller.join().unwrap();
            assert_eq!(Arc::strong_count(&first), 1, "a waker was kept");
        });
    });
}

/// A timeout is polled with another waker while its timer fires.
#[test]
fn poll_against_fire() {
    explore(|| {
        on_worker(|runtime| {
            let mut future = Box::pin(timeout(DUE, pending::<()>()));
            let first = Arc::new(Ring);
            poll_once(&mut future, &first);
            let rescuer = rescuer(runtime, DUE);
            assert!(wait_for(future).is_err());
            rescuer.join().unwrap();
            assert_eq!(Arc::strong_count(&first), 1, "a waker was kept");
        });
    });
}

/// A timeout is dropped by its worker while its timer fires.
#[test]
fn drop_against_fire() {
    explore(|| {
        on_worker(|runtime| {
            let mut future = Box::pin(timeout(DUE, pending::<()>()));
            let waker = Arc::new(Ring);
            poll_once(&mut future, &waker);
            let rescuer = rescuer(runtime, DUE);
            drop(future);
            rescuer.join().unwrap();
            assert_eq!(Arc::strong_count(&waker), 1, "a waker was kept");
        });
    });
}

/// The same, but a plain thread drops it.
#[test]
fn drop_elsewhere_against_fire() {
    explore(|| {
        on_worker(|runtime| {
            let mut future = Box::pin(timeout(DUE, pending::<()>()));
            let waker = Arc::new(Ring);
            poll_once(&mut future, &waker);
            let rescuer = rescuer(runtime, DUE);
            let dropper = thread::spawn(move || drop(future));
            rescuer.join().unwrap();
            dropper.join().unwrap();
            assert_eq!(Arc::strong_count(&waker), 1, "a waker was kept");
        });
    });
}

/// A scope gets a later time while the timer of the first one fires. It ends at one or the other.
#[test]
fn reschedule_against_fire() {
    explore(|| {
        on_worker(|runtime| {
            let (future, handle) = around(pending::<()>());
            handle.reschedule(Some(Instant::now() + DUE)).unwrap();
            let mut driven = Driven::new(future);
            assert!(driven.drive().is_none());
            let rescuer = rescuer(runtime, DUE);
            let later = {
                let handle = handle.clone();
                thread::spawn(move || handle.reschedule(Some(Instant::now() + DUE)).is_ok())
            };
            let mut result = driven.drive();
            rescuer.join().unwrap();
            let later = later.join().unwrap();
            if result.is_none() {
                assert!(later, "it had not ended");
                assert!(driven.drive().is_none(), "before its time");
                assert!(!handle.expired());
                set_time(2 * DUE.as_nanos() as u64);
                runtime.rescue_timers(0);
                result = driven.drive();
            }
            assert!(result.expect("both times have come").is_err());
            assert!(handle.expired());
        });
    });
}

/// A scope that waits for a distant time gets a past one, from another thread: it arms a timer that
/// fires at once.
#[test]
fn reschedule_to_the_past() {
    explore(|| {
        on_worker(|runtime| {
            let (future, handle) = around(pending::<()>());
            handle.reschedule(Some(Instant::now() + DUE)).unwrap();
            let mut driven = Driven::new(future);
            assert!(driven.drive().is_none());
            let sooner = {
                let handle = handle.clone();
                thread::spawn(move || handle.reschedule(Some(Instant::now())).is_ok())
            };
            let early = driven.drive();
            assert!(sooner.join().unwrap());
            let result = early.or_else(|| driven.drive()).or_else(|| {
                runtime.rescue_timers(0);
                driven.drive()
            });
            assert!(result.expect("its time has come").is_err());
            assert!(handle.expired());
        });
    });
}
