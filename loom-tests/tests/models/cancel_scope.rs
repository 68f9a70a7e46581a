//! A scope that is cancelled, and its regions, while other threads cancel, drop and poll.
//!
//! Code: `task/cancel/` and `future/scope.rs` as they are. The future of the scope is polled by
//! hand, by a thread that sleeps until it is woken: there is no task around it, so that its further
//! turn (step 4 of the module's page) is not modelled. See `cancel_task` for tasks.
//!
//! Properties:
//!
//! * no request is lost, neither for a scope that is about to sleep nor while an earlier request
//!   is consumed;
//! * each region is cancelled once, and by a scope around it;
//! * a scope that waits for the end of a mask is woken, wherever the mask ends;
//! * locks are never taken in a circle;
//! * no node (`loom::Tracked`) and no waker is leaked.
//!
//! Actors: the thread that polls the scope, and two that cancel it, or have a region of it.
//!
//! Bound: 3 threads, two requests, two regions.

use std::{
    cell::RefCell,
    future::{pending, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use loom::thread;
use loom_tests::explore;
use ringloop::{
    Cancelled, Scope, ScopeFuture, catch_cancel, scope, sync::oneshot, task::Uncancellable,
    uncancellable,
};

use crate::tasks::{Driven, Ring, wait_for};

// The cancels that regions got, in order; loom does not track this list.
thread_local! {
    static HEARD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn heard() -> Vec<String> {
    HEARD.with_borrow_mut(std::mem::take)
}

fn hear(name: &str, gone: &Cancelled) {
    let reason = gone.cause().reason().expect("all requests here have one");
    HEARD.with_borrow_mut(|heard| heard.push(format!("{name}: {reason}")));
}

/// A region that notes its cancel.
async fn region(name: &'static str, inner: impl Future) {
    if let Err(gone) = catch_cancel(inner).await {
        hear(name, &gone);
    }
}

/// A scope around `body`, and its handle.
fn around<F: Future>(body: F) -> (Pin<Box<ScopeFuture<F>>>, Scope) {
    heard();
    let mut handle = None;
    let future = scope(|scope| {
        handle = Some(scope);
        body
    });
    (Box::pin(future), handle.unwrap())
}

/// A thread that cancels the scope.
fn ask(scope: &Scope, reason: &'static str) -> thread::JoinHandle<bool> {
    let scope = scope.clone();
    thread::spawn(move || scope.cancel_with(reason))
}

/// The request comes before the first poll, during it, or while the scope sleeps.
#[test]
fn cancel_against_poll() {
    explore(|| {
        let (future, handle) = around(pending::<()>());
        let asked = ask(&handle, "enough");
        let gone = wait_for(future).unwrap_err();
        assert_eq!(gone.cause().reason(), Some("enough"));
        assert!(asked.join().unwrap());
        assert!(!handle.cancel());
    });
}

/// The value comes as well. There is one result, and the scope returns it.
#[test]
fn cancel_against_value() {
    explore(|| {
        let (promise, deferred) = oneshot();
        let (future, handle) = around(deferred);
        let asked = ask(&handle, "enough");
        let setter = thread::spawn(move || promise.set(7).is_ok());
        let ended = wait_for(future);
        let asked = asked.join().unwrap();
        let set = setter.join().unwrap();
        match ended {
            Ok(value) => assert_eq!((value, set), (Ok(7), true)),
            Err(_) => assert!(asked),
        }
    });
}

/// Two threads cancel; the regions get the first request, from the inside out, once each.
#[test]
fn regions_are_told_once() {
    explore(|| {
        let inner = async {
            region("inner", pending::<()>()).await;
            pending::<()>().await;
        };
        let body = async {
            region("outer", inner).await;
            pending::<()>().await;
        };
        let (future, handle) = around(body);
        let asked = [("one", ask(&handle, "one")), ("two", ask(&handle, "two"))];
        assert!(wait_for(future).is_err());
        let asked = asked.map(|(reason, asked)| (reason, asked.join().unwrap()));
        let first = asked.iter().filter(|(_, first)| *first).map(|(reason, _)| *reason);
        let first: Vec<_> = first.collect();
        assert_eq!(first.len(), 1, "exactly one was the first");
        assert_eq!(heard(), ["inner", "outer"].map(|name| format!("{name}: {}", first[0])));
    });
}

/// A request is consumed while another one comes: that becomes a part of the first, or it is
/// delivered as well.
#[test]
fn consume_against_cancel() {
    explore(|| {
        let body = async {
            loop {
                let gone = catch_cancel(pending::<()>()).await.unwrap_err();
                hear("body", &gone);
                assert!(gone.consume());
            }
        };
        let (future, handle) = around(body);
        let mut driven = Driven::new(future);
        assert!(driven.drive().is_none());
        let asked = [("one", ask(&handle, "one")), ("two", ask(&handle, "two"))];
        assert!(driven.drive().is_none());
        let mut told = Vec::new();
        for (reason, asked) in asked {
            if asked.join().unwrap() {
                told.push(format!("body: {reason}"));
            }
            assert!(driven.drive().is_none());
        }
        // Another request, after the first ones.
        assert!(handle.cancel_with("three"));
        told.push("body: three".to_owned());
        assert!(driven.drive().is_none());
        let mut heard = heard();
        heard.sort_unstable();
        told.sort_unstable();
        assert_eq!(heard, told, "each request that was the first was delivered");
        assert!(!handle.is_cancelled());
        drop(driven.future);
        assert_eq!(Arc::strong_count(&driven.woken), 1, "a waker was kept");
    });
}

type Region = Pin<Box<dyn Future<Output = Result<(), Cancelled>> + Send>>;
type Mask = Pin<Box<Uncancellable<Pin<Box<dyn Future<Output = ()> + Send>>>>>;

fn mask(inner: impl Future<Output = ()> + Send + 'static) -> Mask {
    let inner: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(inner);
    Box::pin(uncancellable(inner))
}

/// A scope in which `part` has been polled once. The caller may poll it on, or leave it.
fn leaving<P>(part: P) -> (Pin<Box<ScopeFuture<impl Future<Output = ()> + use<P>>>>, Scope, P)
where
    P: Future + Unpin,
{
    let left = Arc::new(Mutex::new(None));
    let place = left.clone();
    let mut part = Some(part);
    let body = poll_fn(move |cx| {
        if let Some(mut part) = part.take() {
            assert!(Pin::new(&mut part).poll(cx).is_pending());
            *place.lock().unwrap() = Some(part);
        }
        Poll::Pending
    });
    let (mut future, handle) = around(body);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(future.as_mut().poll(&mut cx).is_pending());
    let part = left.lock().unwrap().take().unwrap();
    (future, handle, part)
}

/// A mask is dropped by another thread, while its scope is cancelled: the scope waits for that, or
/// does not see the mask any more.
#[test]
fn mask_dropped_elsewhere() {
    explore(|| {
        let (future, handle, mask) = leaving(mask(pending()));
        assert!(handle.cancel_with("enough"));
        let dropper = thread::spawn(move || drop(mask));
        assert!(wait_for(future).is_err());
        dropper.join().unwrap();
    });
}

/// A mask is polled to its end by another thread, outside of any scope, while its scope is
/// cancelled.
#[test]
fn mask_ends_elsewhere() {
    explore(|| {
        let mut ready = false;
        let inner = poll_fn(move |_| match std::mem::replace(&mut ready, true) {
            false => Poll::Pending,
            true => Poll::Ready(()),
        });
        let (future, handle, mut mask) = leaving(mask(inner));
        assert!(handle.cancel_with("enough"));
        let other = thread::spawn(move || {
            let mut cx = Context::from_waker(Waker::noop());
            assert!(mask.as_mut().poll(&mut cx).is_ready());
            mask
        });
        assert!(wait_for(future).is_err());
        drop(other.join().unwrap());
    });
}

/// A mask moves from one scope to another, on another thread; both are cancelled. A third thread
/// drops it.
#[test]
fn mask_moves_and_is_dropped() {
    explore(|| {
        let (first, handle, mask) = leaving(mask(pending()));
        assert!(handle.cancel_with("enough"));
        let second = thread::spawn(move || {
            let (second, handle, mask) = leaving(mask);
            let dropper = thread::spawn(move || drop(mask));
            assert!(handle.cancel_with("enough here"));
            assert!(wait_for(second).is_err());
            dropper.join().unwrap();
        });
        assert!(wait_for(first).is_err());
        second.join().unwrap();
    });
}

/// A region that waits is dropped by another thread, while its scope cancels it.
#[test]
fn region_dropped_elsewhere() {
    explore(|| {
        let region: Region = Box::pin(catch_cancel(pending()));
        let (future, handle, region) = leaving(region);
        let asked = ask(&handle, "enough");
        let dropper = thread::spawn(move || drop(region));
        assert!(wait_for(future).is_err());
        assert!(asked.join().unwrap());
        dropper.join().unwrap();
    });
}

/// A region was cancelled, and is polled by another thread, outside of any scope, while its scope
/// passes it over: it goes on as if it had not been cancelled.
#[test]
fn region_polled_elsewhere() {
    explore(|| {
        let region: Region = Box::pin(catch_cancel(pending()));
        let (future, handle, mut region) = leaving(region);
        assert!(handle.cancel_with("enough"));
        let waker = Arc::new(Ring);
        let theirs = Waker::from(waker.clone());
        let other = thread::spawn(move || {
            for _ in 0..2 {
                assert!(region.as_mut().poll(&mut Context::from_waker(&theirs)).is_pending());
            }
            region
        });
        assert!(wait_for(future).is_err());
        drop(other.join().unwrap());
        assert_eq!(Arc::strong_count(&waker), 1, "a waker was kept");
    });
}

/// A region that its scope passes over goes on in another scope, on another thread, and is
/// cancelled by that one.
#[test]
fn skipped_region_receives_elsewhere() {
    explore(|| {
        let region: Region = Box::pin(catch_cancel(pending()));
        let (first, handle, region) = leaving(region);
        assert!(handle.cancel_with("first"));
        let second = thread::spawn(move || {
            let (mut second, handle) = around(async {
                hear("region", &region.await.unwrap_err());
                pending::<()>().await;
            });
            let mut cx = Context::from_waker(Waker::noop());
            assert!(second.as_mut().poll(&mut cx).is_pending());
            assert!(handle.cancel_with("second"));
            assert!(wait_for(second).is_err());
        });
        assert!(wait_for(first).is_err());
        second.join().unwrap();
        assert_eq!(heard(), ["region: second"]);
    });
}
