//! `Notify`: a notification is kept for one, wakes one or all, and is passed on by a dropped wait.

use std::pin::pin;
use std::sync::{Arc, Mutex};

use ringloop::sync::Notify;
use ringloop::{spawn, yield_now};

use crate::harness::{must_panic, on_every, scaled};
use crate::sync_tools::{
    Hand, by_hand, lets_others_run, meddling_waker, other_executor, panicking_waker, polled, send,
    send_sync, spend_budget,
};
use crate::tools::{Count, GiveUpAfter};

fn shown(notify: &Notify) -> String {
    format!("{notify:?}")
}

const NOTHING: &str = "Notify { kept: false, waiters: 0 }";
const KEPT: &str = "Notify { kept: true, waiters: 0 }";

#[test]
fn one_notification_is_kept_for_a_later_wait() {
    by_hand("kept", || {
        let notify = Notify::new();
        assert_eq!(shown(&notify), NOTHING);
        (0..3).for_each(|_| notify.notify_one());
        assert_eq!(shown(&notify), KEPT);
        assert!(Hand::new(notify.notified()).poll().is_some(), "at once");
        assert_eq!(shown(&notify), NOTHING, "one, however often it was notified");
        drop(Hand::waiting(notify.notified()));
        drop(notify.notified());
        notify.notify_one();
        notify.blocking_notified();
        other_executor(async {
            notify.notify_one();
            notify.notified().await;
        });
        send_sync(&notify);
        send(&notify.notified());
    });
}

#[test]
fn waiters_are_notified_in_order() {
    by_hand("order", || {
        let notify = Notify::default();
        let mut waits = [(); 3].map(|()| Hand::waiting(notify.notified()));
        for turn in 0..3 {
            notify.notify_one();
            let wakes = waits.each_ref().map(Hand::wakes);
            assert_eq!(wakes, [0, 1, 2].map(|wait| usize::from(wait <= turn)));
        }
        for wait in &mut waits {
            assert!(wait.poll().is_some());
            assert!(wait.poll().is_some(), "and it stays ready");
        }
        drop(waits);
        assert_eq!(shown(&notify), NOTHING, "nothing was left over");
    });
}

#[test]
fn a_notified_waiter_that_leaves_passes_it_on() {
    by_hand("cancel", || {
        let notify = Notify::new();
        let [first, second, third] = [(); 3].map(|()| Hand::waiting(notify.notified()));
        drop(second);
        notify.notify_one();
        assert_eq!((first.wakes(), third.wakes()), (1, 0));
        drop(first);
        third.finish();
        assert_eq!(shown(&notify), NOTHING);
        let only = Hand::waiting(notify.notified());
        notify.notify_one();
        drop(only);
        assert_eq!(shown(&notify), KEPT, "no wait is left: it is kept");
        notify.notify_one();
        assert!(Hand::new(notify.notified()).poll().is_some());
        assert_eq!(shown(&notify), NOTHING);
        // A wait that has returned has nothing to pass on.
        let mut told = Hand::waiting(notify.notified());
        notify.notify_one();
        assert!(told.poll().is_some());
        drop(told);
        assert_eq!(shown(&notify), NOTHING);
    });
}

#[test]
fn notify_waiters_wakes_earlier_waits() {
    by_hand("everyone", || {
        let notify = Notify::new();
        notify.notify_waiters();
        assert_eq!(shown(&notify), NOTHING, "nothing is kept");
        let made = notify.notified();
        let waits = [(); 70].map(|()| Hand::waiting(notify.notified()));
        notify.notify_waiters();
        let later = Hand::waiting(notify.notified());
        let mut made = Hand::new(made);
        assert!(made.poll().is_some(), "it was made before");
        for wait in waits {
            wait.finish();
        }
        assert_eq!(later.wakes(), 0, "it was made later");
        drop(later);

        // A wait that is notified with all others passes nothing on, and leaves the notification
        // that is kept.
        let [leaver, stays] = [(); 2].map(|()| Hand::waiting(notify.notified()));
        notify.notify_waiters();
        let other = Hand::waiting(notify.notified());
        drop(leaver);
        assert_eq!((stays.wakes(), other.wakes()), (1, 0));
        drop((stays, other));
        let made = notify.notified();
        notify.notify_one();
        notify.notify_waiters();
        assert!(Hand::new(made).poll().is_some());
        assert_eq!(shown(&notify), KEPT);
    });
}

#[test]
fn an_enabled_wait_is_queued_without_a_poll() {
    by_hand("enable", || {
        let notify = Notify::new();
        let mut early = pin!(notify.notified());
        assert!(!early.as_mut().enable());
        assert!(!early.as_mut().enable());
        let late = Hand::waiting(notify.notified());
        notify.notify_one();
        assert_eq!(late.wakes(), 0);
        assert!(early.as_mut().enable(), "it is notified");
        other_executor(early.as_mut());
        drop(late);
        assert_eq!(shown(&notify), NOTHING);

        // It keeps the waker of its poll.
        let mut wait = pin!(notify.notified());
        let (waker, wakes) = crate::tools::CountWakes::waker();
        let mut cx = std::task::Context::from_waker(&waker);
        assert!(wait.as_mut().poll(&mut cx).is_pending());
        assert!(!wait.as_mut().enable());
        notify.notify_one();
        assert_eq!(wakes.get(), 1);
        assert!(wait.as_mut().poll(&mut cx).is_ready());

        // Enabled with the notification that was kept, and dropped: it is kept again.
        notify.notify_one();
        {
            let mut wait = pin!(notify.notified());
            assert!(wait.as_mut().enable());
            assert_eq!(shown(&notify), NOTHING);
        }
        assert_eq!(shown(&notify), KEPT);
    });
}

#[test]
fn wakers_that_misbehave() {
    by_hand("wakers", || {
        let notify = Arc::new(Notify::new());
        let meddler = || {
            let notify = notify.clone();
            meddling_waker(move || drop(format!("{notify:?}")))
        };
        for all in [false, true] {
            let mut waits: Vec<_> = (0..4).map(|_| Hand::new(notify.notified())).collect();
            assert!(waits[0].poll_with(&meddler()).is_none());
            assert!(waits[1].poll_with(&panicking_waker()).is_none());
            assert!(waits[2].poll_with(&meddler()).is_none());
            assert!(waits[3].poll().is_none());
            assert!(waits[2].poll_with(&meddler()).is_none(), "another waker");
            if all {
                notify.notify_waiters();
            } else {
                (0..4).for_each(|_| notify.notify_one());
            }
            assert_eq!(waits[3].wakes(), 1, "the panic does not affect the others");
            waits.remove(1);
            drop(waits);
            while shown(&notify) != NOTHING {
                notify.blocking_notified();
            }
        }
    });
    on_every(|cfg| {
        cfg.once(async {
            let notify = Notify::new();
            assert!(must_panic(|| notify.blocking_notified()).contains("to_thread"));
        });
    });
}

#[test]
fn kept_notifications_do_not_keep_the_worker() {
    on_every(|cfg| {
        if !cfg.single() {
            return;
        }
        cfg.once(async {
            let notify = Notify::new();
            lets_others_run("notified", async || {
                notify.notify_one();
                notify.notified().await;
            })
            .await;
            // Without budget it is not ready though it is notified; dropped, it passes the
            // notification on.
            notify.notify_one();
            spend_budget().await;
            assert!(polled(pin!(notify.notified())).await.is_pending());
            assert_eq!(shown(&notify), KEPT);
        });
    });
}

#[test]
fn work_that_is_notified_is_all_done() {
    // Goal: no notification is lost between tasks, threads and cancels; method: producers add work
    // and notify one; consumers take all work and wait, and give up now and then.
    on_every(|cfg| {
        let n = scaled(100);
        let runtime = cfg.runtime();
        let shared = Arc::new((Mutex::new(Vec::new()), Notify::new()));
        let mut rng = cfg.rng(31);
        let consumers: Vec<_> = (0..4)
            .map(|consumer| {
                let (shared, turns) = (shared.clone(), 1 + rng.below(4));
                runtime.spawn(async move {
                    let (work, more) = &*shared;
                    let mut taken = 0;
                    while taken < n / 2 {
                        let item = work.lock().unwrap().pop();
                        match item {
                            Some(()) => taken += 1,
                            None if consumer % 2 == 0 => more.notified().await,
                            None => drop(GiveUpAfter::new(turns, more.notified()).await),
                        }
                        yield_now().await;
                    }
                    // A notification for work beyond its share is passed on.
                    more.notify_one();
                })
            })
            .collect();
        let thread = {
            let shared = shared.clone();
            std::thread::spawn(move || {
                for _ in 0..n {
                    shared.0.lock().unwrap().push(());
                    shared.1.notify_one();
                }
            })
        };
        runtime.must_run(async {
            for _ in 0..n {
                shared.0.lock().unwrap().push(());
                shared.1.notify_one();
                yield_now().await;
            }
            for consumer in consumers {
                consumer.await.unwrap();
            }
        });
        thread.join().unwrap();
        assert!(shared.0.lock().unwrap().is_empty());
    });
}

#[test]
fn notified_tasks_that_are_cancelled() {
    // Goal: a notification reaches a task that is alive; method: of the tasks that wait, some are
    // cancelled before and after they are notified, while workers run.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (notify, heard) = (Arc::new(Notify::new()), Count::new());
            let wait = || {
                let (notify, heard) = (notify.clone(), heard.clone());
                spawn(async move {
                    notify.notified().await;
                    heard.add();
                    // To the next: all that are alive are notified, one after the other.
                    notify.notify_one();
                })
            };
            for round in 0..20 {
                let tasks: Vec<_> = (0..8).map(|_| wait()).collect();
                if round % 2 == 0 {
                    yield_now().await;
                }
                notify.notify_one();
                tasks.iter().step_by(3).for_each(|task| _ = task.cancel());
                for (index, task) in tasks.into_iter().enumerate() {
                    let result = task.await;
                    assert!(result.is_ok() || index % 3 == 0);
                }
                assert_eq!(shown(&notify), KEPT, "it was passed on to the end");
                notify.notified().await;
            }
            assert!(heard.get() >= 20 * 5);
        });
    });
}
