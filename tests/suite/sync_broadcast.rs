//! `broadcast` and `watch`: each receiver gets each item; slow receivers get an error; closing.

use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use ringloop::sync::broadcast::{self, Lagged, RecvError, TryRecvError};
use ringloop::sync::watch;
use ringloop::{spawn, yield_now};

use crate::harness::{must_panic, on_every};
use crate::sync_tools::{
    Hand, by_hand, lets_others_run, meddling_waker, other_executor, send, send_sync,
};
use crate::tools::Count;

#[test]
fn each_receiver_gets_each_item() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (sender, receiver) = broadcast::channel(64);
            let mut receivers = vec![receiver];
            receivers.extend((0..7).map(|_| sender.subscribe()));
            let tasks: Vec<_> = receivers
                .into_iter()
                .map(|mut receiver| {
                    spawn(async move {
                        let mut got = Vec::new();
                        while let Ok(n) = receiver.recv().await {
                            got.push(n);
                        }
                        got
                    })
                })
                .collect();
            for n in 0..50 {
                assert_eq!(sender.send(n), Ok(8));
                if n % 7 == 0 {
                    yield_now().await;
                }
            }
            drop(sender);
            for task in tasks {
                assert_eq!(task.await.unwrap(), (0..50).collect::<Vec<_>>());
            }
        });
    });
}

#[test]
fn slow_receiver_gets_the_number_of_missed_items() {
    by_hand("lag", || {
        let (sender, mut slow) = broadcast::channel(2);
        let mut fast = sender.subscribe();
        for n in 0..5 {
            assert_eq!(sender.send(n), Ok(2));
            assert_eq!(fast.try_recv(), Ok(n));
        }
        assert_eq!((slow.len(), fast.len(), sender.len()), (2, 0, 2));
        assert_eq!(slow.try_recv(), Err(TryRecvError::Lagged(3)));
        assert_eq!((slow.try_recv(), slow.try_recv()), (Ok(3), Ok(4)));
        assert_eq!(slow.try_recv(), Err(TryRecvError::Empty));
        assert!(sender.is_empty());
        // A waiter that was woken, and lags by the time it runs.
        let mut wait = Hand::new(slow.recv());
        assert!(wait.poll().is_none());
        (5..9).for_each(|n| _ = sender.send(n));
        assert_eq!(wait.finish(), Err(RecvError::Lagged(2)));
    });
}

#[test]
fn items_are_dropped_when_all_have_seen_them() {
    by_hand("drops", || {
        #[derive(Clone)]
        struct Item(#[allow(dead_code)] Arc<crate::tools::AddOnDrop>);
        let drops = Count::new();
        let item = || Item(Arc::new(drops.on_drop()));
        let (sender, mut first) = broadcast::channel(4);
        let second = sender.subscribe();
        sender.send(item()).ok().unwrap();
        sender.send(item()).ok().unwrap();
        drop(first.try_recv());
        assert_eq!(drops.get(), 0, "the second has not seen it");
        drop(second);
        assert_eq!(drops.get(), 1, "no receiver is left that has not seen it");
        assert_eq!(sender.len(), 1);
        let third = first.resubscribe();
        assert!(third.is_empty(), "it gets only later items");
        drop((first, third));
        assert_eq!(drops.get(), 2);
        assert!(sender.send(item()).is_err(), "there is no receiver");
        assert_eq!(drops.get(), 3);
        assert!(sender.subscribe().is_empty());
    });
}

/// An item that counts its drop, and then calls a function.
struct Calling {
    drops: Count,
    call: Box<dyn Fn() + Send + Sync>,
}

impl Drop for Calling {
    fn drop(&mut self) {
        self.drops.add();
        (self.call)();
    }
}

#[test]
fn items_that_are_seen_while_a_receiver_is_dropped_are_dropped() {
    // A receiver that is dropped releases the lock every 16 items. Method: the destructor of the
    // first item, which this receiver is the last to see, sends more, and another receiver sees
    // them at once: so all have seen these before some older ones.
    for (items, more, capacity) in
        [(20, 10, 64), (20, 1, 64), (40, 3, 64), (20, 10, 20), (33, 70, 40)]
    {
        by_hand("leaver", || {
            let drops = Count::new();
            let (sender, receiver) = broadcast::channel(capacity);
            let send = {
                let (sender, drops) = (sender.clone(), drops.clone());
                move |call| _ = sender.send(Arc::new(Calling { drops: drops.clone(), call }))
            };
            let stays = Arc::new(Mutex::new(receiver));
            let see_all = {
                let stays = stays.clone();
                move || {
                    let mut seen = 0;
                    loop {
                        match stays.lock().unwrap().try_recv() {
                            Ok(_) => seen += 1,
                            Err(TryRecvError::Lagged(_)) => {}
                            Err(_) => return seen,
                        }
                    }
                }
            };
            let leaves = sender.subscribe();
            send(Box::new({
                let (send, see_all) = (send.clone(), see_all.clone());
                move || {
                    (0..more).for_each(|_| send(Box::new(|| ())));
                    assert_eq!(see_all(), more.min(capacity));
                }
            }));
            (1..items).for_each(|_| send(Box::new(|| ())));
            assert_eq!(see_all(), items);
            assert_eq!(drops.get(), 0, "one receiver has not seen them");
            drop(leaves);
            assert_eq!((sender.len(), drops.get()), (0, items + more), "{items} and {more}");
        });
    }
}

#[test]
fn broadcast_closes_and_cancels() {
    by_hand("close", || {
        let (sender, mut receiver) = broadcast::channel(2);
        let (clone, mut other) = (sender.clone(), sender.subscribe());
        drop(Hand::waiting(receiver.recv()));
        let wait = Hand::waiting(receiver.recv());
        sender.send(1).unwrap();
        assert!(format!("{sender:?}").contains("receivers: 2"));
        drop(wait);
        drop(sender);
        assert_eq!(receiver.try_recv(), Ok(1), "a dropped wait has taken nothing");
        assert_eq!(other.try_recv(), Ok(1));
        let wait = Hand::waiting(other.recv());
        drop(clone);
        assert_eq!(wait.finish(), Err(RecvError::Closed));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
        assert_eq!(receiver.blocking_recv(), Err(RecvError::Closed));
        assert!(must_panic(|| broadcast::channel::<u8>(0)).contains("one item"));
        send_sync(&receiver);
        send(&receiver.recv());
    });
}

#[test]
fn watchers_see_the_last_value() {
    by_hand("watch", || {
        let (sender, mut receiver) = watch::channel(0);
        assert_eq!(receiver.has_changed(), Ok(false), "the first one is seen");
        let wait = Hand::waiting(receiver.changed());
        sender.send(1).unwrap();
        sender.send(2).unwrap();
        assert_eq!(wait.finish(), Ok(()), "woken once for both");
        assert_eq!((*receiver.borrow(), receiver.has_changed()), (2, Ok(false)));
        receiver.mark_changed();
        assert_eq!(Hand::new(receiver.changed()).poll(), Some(Ok(())));
        assert_eq!(*sender.send_replace(3), 2);
        let other = receiver.clone();
        assert_eq!((other.has_changed(), sender.subscribe().has_changed()), (Ok(true), Ok(false)));
        assert_eq!(*receiver.borrow_and_update(), 3);
        assert!(sender.send_if_modified(|value| {
            *value += 1;
            true
        }));
        assert!(!sender.send_if_modified(|value| {
            *value = 100;
            false
        }));
        assert_eq!((*sender.borrow(), receiver.has_changed()), (4, Ok(true)));
        receiver.mark_unchanged();
        assert_eq!(receiver.has_changed(), Ok(false));
        let text = format!("{receiver:?}");
        assert!(text.contains("value: 4") && text.contains("receivers: 2"), "{text}");
    });
}

#[test]
fn a_change_that_panics_changes_nothing() {
    by_hand("panic", || {
        let (sender, receiver) = watch::channel(1);
        must_panic(|| {
            sender.send_modify(|value| {
                *value = 2;
                crate::harness::deliberate("a change");
            });
        });
        assert_eq!((*receiver.borrow(), receiver.has_changed()), (1, Ok(false)));
        sender.send_modify(|value| *value = 3);
        assert_eq!(*receiver.borrow(), 3);
    });
}

#[test]
fn wakers_and_old_values_may_send() {
    // S6. Formerly both ran with the lock of the senders held.
    /// A value that sends when it is dropped, if it has a sender. A clone has none.
    #[derive(Default)]
    struct Sends(Option<watch::Sender<Sends>>);
    impl Clone for Sends {
        fn clone(&self) -> Sends {
            Sends::default()
        }
    }
    impl Drop for Sends {
        fn drop(&mut self) {
            if let Some(sender) = self.0.take() {
                sender.send_replace(Sends::default());
            }
        }
    }
    let armed = |sender: &watch::Sender<Sends>| Sends(Some(sender.clone()));
    by_hand("wakers", || {
        for modify in [false, true] {
            let (sender, mut receiver) = watch::channel(0);
            let waker = {
                let sender = sender.clone();
                meddling_waker(move || {
                    sender.send_replace(0);
                })
            };
            let mut wait = Hand::new(receiver.changed());
            assert!(wait.poll_with(&waker).is_none());
            if modify {
                sender.send_modify(|value| *value = 1);
            } else {
                sender.send_replace(1);
            }
            assert_eq!(wait.poll(), Some(Ok(())));
            assert_eq!(*sender.borrow(), 0, "the waker is called later");
        }
    });
    by_hand("values", || {
        let (sender, mut receiver) = watch::channel(Sends::default());
        assert!(!sender.send_if_modified(|value| {
            *value = armed(&sender);
            false
        }));
        assert_eq!(receiver.has_changed(), Ok(true), "the drop of the refused value has sent");
        receiver.mark_unchanged();
        must_panic(|| {
            sender.send_modify(|value| {
                *value = armed(&sender);
                crate::harness::deliberate("a change");
            });
        });
        assert_eq!(receiver.has_changed(), Ok(true), "also after a panic");
        receiver.mark_unchanged();
        sender.send_replace(armed(&sender));
        sender.send_modify(|value| *value = Sends::default());
        assert_eq!(receiver.has_changed(), Ok(true));
    });
}

#[test]
fn watch_closes_on_both_sides() {
    by_hand("close", || {
        let (sender, mut receiver) = watch::channel(0);
        let mut other = receiver.clone();
        let closed = Hand::waiting(sender.closed());
        drop(receiver.clone());
        assert_eq!(closed.wakes(), 0);
        let wait = Hand::waiting(receiver.changed());
        sender.send(1).unwrap();
        drop(wait);
        assert_eq!(receiver.has_changed(), Ok(true), "a dropped wait has seen nothing");
        drop(receiver);
        other.mark_unchanged();
        drop(other);
        closed.finish();
        assert!(sender.send(2).is_err());
        assert_eq!(*sender.borrow(), 1);

        let mut receiver = sender.subscribe();
        let wait = Hand::waiting(receiver.changed());
        drop(sender);
        assert!(wait.finish().is_err());
        assert!(receiver.has_changed().is_err());
        assert_eq!(*receiver.borrow(), 1, "the value stays");
        assert!(other_executor(receiver.wait_for(|value| *value == 2)).is_err());
        assert_eq!(other_executor(receiver.wait_for(|value| *value == 1)).as_deref(), Ok(&1));
        send_sync(&receiver);
    });
}

#[test]
fn watchers_in_tasks() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (sender, receiver) = watch::channel(0);
            let tasks: Vec<_> = (0..8)
                .map(|_| {
                    let mut receiver = receiver.clone();
                    spawn(async move {
                        let mut last = 0;
                        while receiver.changed().await.is_ok() {
                            let now = *receiver.borrow();
                            assert!(now >= last);
                            last = now;
                        }
                        last
                    })
                })
                .collect();
            for n in 1..=100 {
                sender.send(n).unwrap();
                if n % 9 == 0 {
                    yield_now().await;
                }
            }
            drop(sender);
            for task in tasks {
                assert_eq!(task.await.unwrap(), 100, "no task misses the last");
            }
        });
    });
}

#[test]
fn ready_values_do_not_keep_the_worker() {
    // D-10. Formerly a value that `wait_for` accepted at once cost no budget.
    on_every(|cfg| {
        if !cfg.single() {
            return;
        }
        cfg.once(async {
            let (sender, mut receiver) = watch::channel(1);
            lets_others_run("wait_for", async || {
                assert_eq!(receiver.wait_for(|value| *value == 1).await.as_deref(), Ok(&1));
            })
            .await;
            lets_others_run("changed", async || {
                receiver.mark_changed();
                receiver.changed().await.unwrap();
            })
            .await;
            drop(receiver);
            lets_others_run("closed", async || sender.closed().await).await;
            let mut receiver = sender.subscribe();
            drop(sender);
            lets_others_run("changed, closed", async || {
                receiver.changed().await.unwrap_err();
            })
            .await;

            let (sender, mut receiver) = broadcast::channel(1);
            lets_others_run("recv", async || {
                sender.send(1).unwrap();
                assert_eq!(receiver.recv().await, Ok(1));
            })
            .await;
            drop(sender);
            lets_others_run("recv, closed", async || {
                assert_eq!(receiver.recv().await, Err(RecvError::Closed));
            })
            .await;
        });
    });
}

#[test]
fn a_receiver_that_is_dropped_drops_a_few_items_at_a_time() {
    // Formerly all were moved to a list under the lock. Method: the first item to be dropped counts
    // how many are kept; and each panics, which keeps none of them.
    struct Item {
        sender: broadcast::Sender<Arc<Item>>,
        kept: Arc<Mutex<Vec<usize>>>,
    }
    impl Drop for Item {
        fn drop(&mut self) {
            self.kept.lock().unwrap().push(self.sender.len());
            crate::harness::deliberate("the drop of an item");
        }
    }
    by_hand("batches", || {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let (sender, mut first) = broadcast::channel(2000);
        let second = sender.subscribe();
        let slow = sender.subscribe();
        let item = || Arc::new(Item { sender: sender.clone(), kept: kept.clone() });
        for n in 0..1000 {
            sender.send(item()).ok().unwrap();
            if n < 10 {
                drop(first.try_recv().ok().unwrap());
            }
        }
        drop(first);
        drop(second);
        assert_eq!(
            (sender.len(), kept.lock().unwrap().len()),
            (1000, 0),
            "one receiver has seen none"
        );
        drop(slow);
        assert_eq!(sender.len(), 0);
        let kept = kept.lock().unwrap();
        assert_eq!(kept.len(), 1000);
        assert!(kept[0] > 900, "{} of 1000 were left when the first was dropped", kept[0]);
    });
}

#[test]
fn streams_of_broadcast_and_watch() {
    by_hand("broadcast stream", || {
        let (sender, mut receiver) = broadcast::channel(2);
        let mut items = receiver.stream();
        drop(Hand::waiting(items.next()));
        let mut wait = Hand::waiting(items.next());
        sender.send(0).unwrap();
        assert_eq!((wait.wakes(), wait.poll()), (1, Some(Some(Ok(0)))));
        drop(wait);
        (1..6).for_each(|n| _ = sender.send(n));
        assert_eq!(Hand::new(items.next()).poll(), Some(Some(Err(Lagged(3)))));
        assert_eq!(Hand::new(items.next()).poll(), Some(Some(Ok(4))));
        send(&items);
        drop(items);
        assert_eq!(receiver.try_recv(), Ok(5), "the receiver goes on");
        let mut items = receiver.stream();
        let mut wait = Hand::waiting(items.next());
        drop(sender);
        assert_eq!((wait.wakes(), wait.poll()), (1, Some(None)));
        drop(wait);
        assert_eq!(Hand::new(items.next()).poll(), Some(None));
        assert!(Lagged(3).to_string().contains("missed 3"));
        // A stream that waits leaves nothing behind.
        let (sender, mut receiver) = broadcast::channel::<u8>(2);
        let mut items = receiver.stream();
        drop(Hand::waiting(items.next()));
        drop(items);
        assert!(format!("{sender:?}").contains("waiters: 0"));
    });
    by_hand("watch stream", || {
        let (sender, mut receiver) = watch::channel(0);
        let mut values = receiver.stream();
        let mut wait = Hand::waiting(values.next());
        sender.send(1).unwrap();
        sender.send(2).unwrap();
        assert_eq!(wait.wakes(), 1);
        assert_eq!(wait.poll().flatten().as_deref(), Some(&2), "the last value");
        drop(wait);
        drop(Hand::waiting(values.next()));
        drop(values);
        assert!(format!("{sender:?}").contains("waiters: 0"));
        receiver.mark_changed();
        sender.send(3).unwrap();
        let mut values = receiver.stream();
        assert_eq!(Hand::new(values.next()).poll().flatten().as_deref(), Some(&3));
        drop(sender);
        assert!(matches!(Hand::new(values.next()).poll(), Some(None)));
        send(&values);
    });
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (sender, receiver) = broadcast::channel(64);
            let (watched, watcher) = watch::channel(0);
            let tasks: Vec<_> = (0..4)
                .map(|_| {
                    let (mut receiver, mut watcher) = (receiver.resubscribe(), watcher.clone());
                    spawn(async move {
                        let all: Vec<_> = receiver.stream().map(Result::unwrap).collect().await;
                        let values: Vec<_> = watcher.stream().map(|value| *value).collect().await;
                        assert!(values.is_sorted() && values.last() == Some(&50));
                        all
                    })
                })
                .collect();
            drop(receiver);
            for n in 0..50 {
                sender.send(n).unwrap();
                watched.send(n + 1).unwrap();
                if n % 7 == 0 {
                    yield_now().await;
                }
            }
            drop((sender, watched));
            for task in tasks {
                assert_eq!(task.await.unwrap(), (0..50).collect::<Vec<_>>());
            }
        });
    });
}

#[test]
fn a_watched_value_need_not_be_clone() {
    by_hand("send_with", || {
        struct Sum(u32);
        let (sender, mut receiver) = watch::channel(Sum(1));
        let held = receiver.borrow();
        let old = sender.send_with(|old| Sum(old.0 + 1));
        assert_eq!((old.0, held.0, receiver.borrow_and_update().0), (1, 1, 2), "a snapshot stays");
        let wait = Hand::waiting(receiver.changed());
        assert_eq!(must_panic(|| sender.send_with(|_| crate::harness::deliberate("make"))), "make");
        assert_eq!((wait.wakes(), sender.borrow().0), (0, 2), "it is unchanged");
        sender.send_with(|old| Sum(old.0 * 10));
        assert!(wait.finish().is_ok());
        assert_eq!(sender.borrow().0, 20);
        // Two closures never run at the same time.
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..250).for_each(|_| drop(sender.send_with(|old| Sum(old.0 + 1)))));
            }
        });
        assert_eq!(receiver.borrow().0, 1020);
    });
}
