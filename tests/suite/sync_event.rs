//! `Event`: which waits each `set` wakes.

use std::sync::Arc;

use ringloop::sync::Event;
use ringloop::testing::wait_all_blocked;
use ringloop::{spawn, yield_now};

use crate::harness::{on_every, scaled};
use crate::sync_tools::{
    Hand, by_hand, meddling_waker, other_executor, polled, send, send_sync, spend_budget,
};
use crate::tools::{Count, Flag};

#[test]
fn t48_set_then_clear_wakes_earlier_waits() {
    // T48. Method: more waiters than one batch; set and clear before any of them runs.
    by_hand("T48", || {
        for n in [1, 32, 33, 100] {
            let event = Event::new();
            let waits: Vec<_> = (0..n).map(|_| Hand::waiting(event.wait())).collect();
            assert_eq!(format!("{event:?}"), format!("Event {{ set: false, waiters: {n} }}"));
            event.set();
            event.clear();
            let later = Hand::waiting(event.wait());
            waits.into_iter().for_each(Hand::finish);
            assert_eq!(later.wakes(), 0);
            event.set();
            later.finish();
            other_executor(event.wait());
            assert_eq!(format!("{event:?}"), "Event { set: true, waiters: 0 }");
        }
    });
}

#[test]
fn t48_set_then_clear_wakes_tasks() {
    // T48 with tasks.
    on_every(|cfg| {
        cfg.once(async {
            let (event, waiting) = (Arc::new(Event::new()), Count::new());
            let tasks: Vec<_> = (0..50)
                .map(|_| {
                    let (event, waiting) = (event.clone(), waiting.clone());
                    spawn(async move {
                        let mut wait = Box::pin(event.wait());
                        assert!(polled(wait.as_mut()).await.is_pending());
                        waiting.add();
                        wait.await;
                    })
                })
                .collect();
            wait_all_blocked().await;
            assert_eq!(waiting.get(), 50);
            event.set();
            event.clear();
            for task in tasks {
                task.await.unwrap();
            }
            assert!(Hand::new(event.wait()).poll().is_none());
        });
    });
}

#[test]
fn a_cancelled_wait_leaves_nothing_behind() {
    by_hand("cancel", || {
        let event = Event::new();
        let [a, b, c] = [(); 3].map(|()| Hand::waiting(event.wait()));
        drop(b);
        event.set();
        drop(a);
        c.finish();
        assert_eq!(format!("{event:?}"), "Event { set: true, waiters: 0 }");
    });
}

#[test]
fn a_waker_may_set_clear_and_wait() {
    // S6. Method: wakers that use the event from within its `set`, between batches as well.
    by_hand("meddling", || {
        let event = Arc::new(Event::new());
        let mut waits: Vec<_> = (0..70).map(|_| Hand::new(event.wait())).collect();
        for wait in &mut waits {
            let event = event.clone();
            let waker = meddling_waker(move || {
                event.clear();
                let _ = Hand::new(event.wait()).poll();
                event.set();
            });
            assert!(wait.poll_with(&waker).is_none());
        }
        event.set();
        for mut wait in waits {
            assert!(wait.poll().is_some());
        }
    });
}

#[test]
fn a_wait_that_begins_between_two_batches_waits_for_the_next_set() {
    // Goal: one `set` wakes the waits that began before it and no others; method: the first waker
    // of the first batch clears the event, and a new wait begins, while two more batches follow.
    by_hand("between batches", || {
        let event = Arc::new(Event::new());
        let newcomer = Arc::new(std::sync::Mutex::new(None));
        let mut first = Hand::new({
            let event = event.clone();
            async move { event.wait().await }
        });
        let waker = {
            let (event, newcomer) = (event.clone(), newcomer.clone());
            meddling_waker(move || {
                let mut newcomer = newcomer.lock().unwrap();
                if newcomer.is_none() {
                    event.clear();
                    let event = event.clone();
                    *newcomer = Some(Hand::waiting(async move { event.wait().await }));
                }
            })
        };
        assert!(first.poll_with(&waker).is_none());
        let waits: Vec<_> = (0..90).map(|_| Hand::waiting(event.wait())).collect();
        event.set();
        waits.into_iter().for_each(Hand::finish);
        let newcomer = newcomer.lock().unwrap().take().expect("it has begun");
        assert_eq!(newcomer.wakes(), 0);
        event.set();
        newcomer.finish();
    });
}

#[test]
fn threads_wait_and_set() {
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let (ping, pong) = (Arc::new(Event::new()), Arc::new(Event::new()));
        let n = scaled(100);
        let thread = {
            let (ping, pong) = (ping.clone(), pong.clone());
            std::thread::spawn(move || {
                for _ in 0..n {
                    ping.blocking_wait();
                    ping.clear();
                    pong.set();
                }
            })
        };
        runtime.must_run(async {
            for _ in 0..n {
                ping.set();
                pong.wait().await;
                pong.clear();
            }
        });
        thread.join().unwrap();
    });
}

#[test]
fn an_event_that_is_set_does_not_keep_the_worker() {
    // D-10.
    on_every(|cfg| {
        cfg.once(async {
            let (event, done) = (Event::new(), Flag::new());
            event.set();
            let other = {
                let done = done.clone();
                spawn(async move { done.set() })
            };
            while !done.is_set() {
                event.wait().await;
            }
            other.await.unwrap();
        });
    });
}

#[test]
fn a_wait_without_budget_has_seen_that_it_is_set() {
    // Formerly it yielded and lost what it had seen, and a `clear` made it wait again.
    on_every(|cfg| {
        cfg.once(async {
            let event = Event::new();
            event.set();
            spend_budget().await;
            let mut wait = Box::pin(event.wait());
            assert!(polled(wait.as_mut()).await.is_pending());
            event.clear();
            yield_now().await;
            assert!(polled(wait.as_mut()).await.is_ready());
        });
    });
}

#[test]
fn bounds() {
    by_hand("bounds", || {
        static EVENT: Event = Event::new();
        send_sync(&EVENT);
        send(&EVENT.wait());
    });
}
