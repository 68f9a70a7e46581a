//! `oneshot` and `SharedFuture`: one value, one promise, in tasks, on threads and polled by hand.

use std::time::Duration;

use ringloop::sync::{BrokenPromise, Deferred, Promise, SharedFuture, oneshot};
use ringloop::{spawn, yield_now};

use crate::harness::{must_panic, on_every};
use crate::sync_tools::{
    Hand, by_hand, lets_others_run, meddling_waker, other_executor, panicking_waker, send,
    send_sync,
};
use crate::tools::{Count, Flag};

#[test]
fn value_before_and_after_the_wait() {
    by_hand("value", || {
        let (promise, deferred) = oneshot();
        let wait = Hand::waiting(deferred);
        assert_eq!(promise.set(1), Ok(()));
        assert_eq!(wait.finish(), Ok(1));

        let (promise, deferred) = oneshot();
        assert!(!deferred.is_done() && !promise.is_cancelled());
        promise.set(2).unwrap();
        assert!(deferred.is_done());
        assert_eq!(Hand::new(deferred).poll(), Some(Ok(2)));
    });
}

#[test]
fn a_dropped_end_is_seen() {
    by_hand("ends", || {
        let (promise, deferred) = oneshot::<u8>();
        let wait = Hand::waiting(deferred);
        drop(promise);
        let error: BrokenPromise = wait.finish().unwrap_err();
        assert!(error.to_string().contains("dropped"));

        let (mut promise, deferred) = oneshot();
        let mut gone = Hand::waiting(promise.cancelled());
        drop(deferred);
        assert_eq!((gone.wakes(), gone.poll()), (1, Some(())));
        drop(gone);
        assert!(promise.is_cancelled());
        assert_eq!(promise.set("back"), Err("back"));
    });
}

#[test]
fn the_value_is_dropped_once() {
    by_hand("drops", || {
        let drops = Count::new();
        let (promise, deferred) = oneshot();
        promise.set(drops.on_drop()).ok().unwrap();
        drop(deferred);
        assert_eq!(drops.get(), 1, "set, and not taken");

        let (promise, deferred) = oneshot();
        drop(deferred);
        drop(promise.set(drops.on_drop()));
        assert_eq!(drops.get(), 2, "refused");

        let (promise, mut deferred) = oneshot();
        assert!(deferred.try_wait().is_none());
        promise.set(drops.on_drop()).ok().unwrap();
        drop(deferred.try_wait().unwrap());
        assert_eq!(drops.get(), 3, "taken");
        assert!(must_panic(|| deferred.try_wait().is_some()).contains("after it gave"));
    });
}

#[test]
fn awaiting_by_reference_loses_nothing() {
    by_hand("by reference", || {
        let (promise, mut deferred) = oneshot();
        for _ in 0..3 {
            drop(Hand::waiting(&mut deferred));
        }
        let other = Hand::waiting(&mut deferred);
        promise.set(5).unwrap();
        assert_eq!(other.wakes(), 1, "the last waker counts");
        drop(other);
        assert_eq!(Hand::new(&mut deferred).poll(), Some(Ok(5)));
    });
}

#[test]
fn wakers_run_without_the_lock() {
    by_hand("wakers", || {
        let (promise, deferred) = oneshot::<u8>();
        let shared = deferred.shared();
        let looked = Count::new();
        let waker = {
            let (shared, looked) = (shared.clone(), looked.clone());
            meddling_waker(move || {
                let _ = format!("{shared:?}");
                looked.add();
            })
        };
        let mut wait = Hand::new(shared.clone());
        assert!(wait.poll_with(&waker).is_none());
        let mut bomb = Hand::new(shared.clone());
        assert!(bomb.poll_with(&panicking_waker()).is_none());
        let last = Hand::waiting(shared);
        promise.set(1).unwrap();
        assert_eq!(last.finish(), Ok(1), "a waker that panics keeps no other asleep");
        assert_eq!(looked.get(), 1);
        drop(waker);
        assert_eq!(looked.get(), 2);
    });
}

#[test]
fn all_clones_get_the_shared_value() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (promise, future) = SharedFuture::new();
            let started = Count::new();
            let tasks: Vec<_> = (0..20)
                .map(|_| {
                    let (future, started) = (future.clone(), started.clone());
                    spawn(async move {
                        started.add();
                        future.await
                    })
                })
                .collect();
            while started.get() < 20 {
                yield_now().await;
            }
            promise.set(String::from("all")).unwrap();
            for task in tasks {
                assert_eq!(task.await.unwrap().as_deref(), Ok("all"));
            }
            assert!(future.is_done());
            assert_eq!(future.try_wait(), Some(Ok(String::from("all"))));
        });
    });
}

#[test]
fn shared_cancel_and_last_drop_cancel_the_promise() {
    by_hand("shared", || {
        let (promise, future) = SharedFuture::<u8>::new();
        let waits = [Hand::waiting(future.clone()), Hand::waiting(future.clone())];
        assert!(format!("{future:?}").contains("waiters: 2"), "{future:?}");
        assert!(future.cancel());
        assert!(!future.cancel());
        assert!(promise.is_cancelled());
        for wait in waits {
            assert!(wait.finish().is_err());
        }
        assert_eq!(promise.set(1), Err(1));

        let (mut promise, future) = SharedFuture::<u8>::new();
        let wait = Hand::waiting(future.clone());
        drop(future);
        assert!(!promise.is_cancelled(), "one clone is left");
        let mut told = Hand::waiting(promise.cancelled());
        drop(wait);
        assert_eq!((told.wakes(), told.poll()), (1, Some(())));
    });
}

#[test]
fn shared_waiters_are_woken_in_order() {
    by_hand("order", || {
        let (promise, future) = SharedFuture::<u8>::new();
        let log = crate::tools::Log::new();
        let mut waits: Vec<_> = (0..5)
            .map(|n| {
                let log = log.clone();
                let mut wait = Hand::new(future.clone());
                let waker = meddling_once(move || log.push(n.to_string()));
                assert!(wait.poll_with(&waker).is_none());
                wait
            })
            .collect();
        drop(waits.remove(2));
        promise.set(0).unwrap();
        assert_eq!(log.take().concat(), "0134");
    });
}

/// A waker that calls a function when it is woken.
fn meddling_once(call: impl Fn() + Send + Sync + 'static) -> std::task::Waker {
    struct Call<F>(F);
    impl<F: Fn() + Send + Sync> std::task::Wake for Call<F> {
        fn wake(self: std::sync::Arc<Self>) {
            (self.0)();
        }
    }
    std::task::Waker::from(std::sync::Arc::new(Call(call)))
}

#[test]
fn a_promise_across_threads_and_executors() {
    // Like `wrap_future` and `run_coroutine_threadsafe` together: threads, tasks, another executor.
    on_every(|cfg| {
        let (promise, deferred) = oneshot();
        let (back, answer) = oneshot();
        let thread = std::thread::spawn(move || {
            let asked: u32 = deferred.blocking_wait().unwrap();
            back.set(asked + 1).unwrap();
        });
        cfg.once(async move {
            promise.set(41).unwrap();
            assert_eq!(answer.await, Ok(42));
        });
        thread.join().unwrap();
        let (promise, deferred) = oneshot();
        let setter = std::thread::spawn(move || promise.set("foreign"));
        assert_eq!(other_executor(deferred), Ok("foreign"));
        setter.join().unwrap().unwrap();
    });
}

#[test]
fn blocking_with_a_limit() {
    by_hand("blocking", || {
        let (promise, mut deferred) = oneshot();
        assert_eq!(deferred.blocking_wait_timeout(Duration::ZERO), None);
        assert_eq!(deferred.blocking_wait_timeout(Duration::from_millis(2)), None);
        let shared = SharedFuture::from(deferred);
        assert_eq!(shared.blocking_wait_timeout(Duration::from_millis(2)), None);
        promise.set(1).unwrap();
        assert_eq!(shared.blocking_wait_timeout(Duration::ZERO), Some(Ok(1)));
        assert_eq!(shared.blocking_wait(), Ok(1));
    });
}

#[test]
fn blocking_is_refused_in_a_task() {
    on_every(|cfg| {
        cfg.once(async {
            let (_promise, deferred) = oneshot::<u8>();
            let text = must_panic(|| deferred.blocking_wait());
            assert!(text.contains("to_thread"), "{text}");
        });
    });
}

#[test]
fn set_and_cancel_race() {
    // In either order each value is taken or returned, and is dropped once.
    on_every(|cfg| {
        cfg.once(async {
            let drops = Count::new();
            let mut kept = 0;
            for _ in 0..200 {
                let (promise, deferred) = oneshot();
                let (value, start) = (drops.on_drop(), Flag::new());
                let waiting = start.wait();
                let setter = spawn(async move {
                    waiting.await;
                    promise.set(value).is_ok()
                });
                let waiting = start.wait();
                let leaver = spawn(async move {
                    waiting.await;
                    drop(deferred);
                });
                start.set();
                kept += usize::from(setter.await.unwrap());
                leaver.await.unwrap();
            }
            assert_eq!(drops.get(), 200, "{kept} were set in time");
        });
    });
}

#[test]
fn send_sync_and_unpin() {
    use std::cell::Cell;

    let (promise, deferred) = oneshot::<Cell<u8>>();
    // A value only has to be Send to be passed through it.
    send_sync(&promise);
    send_sync(&deferred);
    let (promise, future) = SharedFuture::<String>::new();
    send_sync(&promise);
    send_sync(&future);
    send(&future.clone());
    fn unpin<T: Unpin>() {}
    unpin::<Deferred<std::marker::PhantomPinned>>();
    unpin::<Promise<std::marker::PhantomPinned>>();
    assert!(format!("{deferred:?}").contains("pending"));
}

#[test]
fn ready_ends_do_not_keep_the_worker() {
    // D-10. Formerly `cancelled` cost no budget.
    on_every(|cfg| {
        if !cfg.single() {
            return;
        }
        cfg.once(async {
            let (mut promise, deferred) = oneshot::<u8>();
            drop(deferred);
            lets_others_run("cancelled", async || promise.cancelled().await).await;
            let (promise, future) = SharedFuture::new();
            promise.set(1).unwrap();
            lets_others_run("shared", async || assert_eq!(future.clone().await, Ok(1))).await;
            lets_others_run("deferred", async || {
                let (promise, deferred) = oneshot();
                promise.set(1).unwrap();
                assert_eq!(deferred.await, Ok(1));
            })
            .await;
        });
    });
}
