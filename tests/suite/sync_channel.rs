//! `channel`: closed by its last end, rendezvous, streams.

use std::future::ready;
use std::pin::pin;

use futures_util::StreamExt;
use futures_util::future::{Either, select};
use ringloop::sync::channel;
use ringloop::sync::channel::{SendError, TryRecvError, TrySendError};
use ringloop::{spawn, yield_now};

use crate::harness::{must_panic, on_every};
use crate::sync_tools::{Hand, by_hand, other_executor, send, send_sync};
use crate::tools::{Count, GiveUpAfter};

#[test]
fn the_last_sender_closes_it() {
    by_hand("senders", || {
        let (sender, receiver) = channel(4);
        let other = sender.clone();
        sender.try_send(1).unwrap();
        drop(sender);
        other.try_send(2).unwrap();
        assert_eq!(receiver.try_recv(), Ok(1));
        drop(other);
        assert_eq!(receiver.try_recv(), Ok(2), "the items that were sent are there");
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));

        let (sender, receiver) = channel::<u8>(4);
        let waits = [Hand::waiting(receiver.recv()), Hand::waiting(receiver.recv())];
        drop(sender);
        for wait in waits {
            assert!(wait.finish().is_err());
        }
    });
}

#[test]
fn the_last_receiver_closes_it() {
    by_hand("receivers", || {
        let drops = Count::new();
        let (sender, receiver) = channel(1);
        let other = receiver.clone();
        sender.try_send(drops.on_drop()).ok().unwrap();
        let wait = Hand::waiting(sender.send(drops.on_drop()));
        drop(receiver);
        assert_eq!((wait.wakes(), drops.get()), (0, 0), "one receiver is left");
        drop(other);
        assert_eq!(drops.get(), 1, "items that were sent are dropped");
        let SendError(back) = wait.finish().err().unwrap();
        assert_eq!(drops.get(), 1, "an item that was not sent comes back");
        drop(back);
        assert!(sender.is_closed());
        assert!(matches!(sender.try_send(drops.on_drop()), Err(TrySendError::Closed(_))));
    });
}

#[test]
fn rendezvous() {
    by_hand("rendezvous", || {
        let (sender, receiver) = channel(0);
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(sender.try_send(1), Err(TrySendError::Full(1)));

        let mut send = Hand::waiting(sender.send(1));
        assert!(send.poll().is_none(), "there is no receiver yet");
        assert_eq!(receiver.try_recv(), Ok(1), "taken from the sender that waits");
        assert_eq!(send.finish(), Ok(()));

        let receive = Hand::waiting(receiver.recv());
        assert_eq!(sender.try_send(2), Ok(()), "a receiver waits for it");
        assert_eq!(sender.try_send(3), Err(TrySendError::Full(3)), "and no other receiver");
        assert_eq!(receive.finish(), Ok(2));

        let send = Hand::waiting(sender.send(4));
        let mut receive = Hand::new(receiver.recv());
        assert_eq!(receive.poll(), Some(Ok(4)));
        assert_eq!(send.finish(), Ok(()));
    });
}

#[test]
fn rendezvous_and_cancels() {
    by_hand("cancels", || {
        let (sender, receiver) = channel(0);
        drop(Hand::waiting(sender.send(1)));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty), "it was not sent");

        // A receiver that was given an item is dropped: the next one gets it, or it stays.
        let (first, second) = (Hand::waiting(receiver.recv()), Hand::waiting(receiver.recv()));
        sender.try_send(2).unwrap();
        drop(first);
        assert_eq!(second.finish(), Ok(2));
        let only = Hand::waiting(receiver.recv());
        sender.try_send(3).unwrap();
        drop(only);
        let behind = Hand::waiting(sender.send(4));
        assert_eq!(receiver.try_recv(), Ok(3), "it was sent");
        assert_eq!(behind.wakes(), 0);
        assert_eq!(receiver.try_recv(), Ok(4));
        assert_eq!(behind.finish(), Ok(()));

        let wait = Hand::waiting(sender.send(5));
        drop(receiver);
        assert_eq!(wait.finish(), Err(SendError(5)));
    });
}

#[test]
fn items_between_tasks() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for capacity in [0, 1, 7] {
                let (sender, receiver) = channel(capacity);
                let tasks: Vec<_> = (0..4)
                    .map(|p| {
                        let sender = sender.clone();
                        spawn(async move {
                            for n in 0..50 {
                                sender.send((p, n)).await.unwrap();
                            }
                        })
                    })
                    .collect();
                drop(sender);
                let mut all = Vec::new();
                let mut items = receiver.stream();
                while let Some(item) = items.next().await {
                    all.push(item);
                    if all.len() % 10 == 0 {
                        yield_now().await;
                    }
                }
                for task in tasks {
                    task.await.unwrap();
                }
                all.sort_unstable();
                let sent: Vec<_> = (0..4).flat_map(|p| (0..50).map(move |n| (p, n))).collect();
                assert_eq!(all, sent, "capacity {capacity}");
            }
        });
    });
}

#[test]
fn a_cancelled_next_leaves_no_place_in_line() {
    // Formerly the receiver itself was a stream, and kept the place of a `next` that was dropped.
    by_hand("next", || {
        let (sender, receiver) = channel(1);
        drop(Hand::waiting(receiver.stream().next()));
        assert_eq!(receiver.stats().waiting_receivers, 0);
        sender.try_send(1).unwrap();
        assert_eq!(receiver.try_recv(), Ok(1));
    });
}

#[test]
fn a_shutdown_before_next_gets_the_rest() {
    by_hand("shutdown", || {
        let (sender, receiver) = channel(1);
        other_executor(async {
            assert!(matches!(
                select(pin!(receiver.stream().next()), ready(())).await,
                Either::Right(_)
            ));
            sender.send(1).await.unwrap();
            drop(sender);
            let mut rest = Hand::new(receiver.recv());
            assert_eq!(rest.poll(), Some(Ok(1)));
            assert!(receiver.recv().await.is_err());
        });
    });
}

#[test]
fn a_stream_keeps_its_place_and_gives_it_up() {
    by_hand("stream", || {
        let (sender, receiver) = channel(1);
        let mut stream = receiver.stream();
        drop(Hand::waiting(stream.next()));
        let behind = Hand::waiting(receiver.recv());
        sender.try_send(1).unwrap();
        assert_eq!(behind.wakes(), 0, "the stream is still in line");
        drop(stream);
        assert_eq!(behind.finish(), Ok(1));

        let mut stream = receiver.stream();
        drop(Hand::waiting(stream.next()));
        sender.try_send(2).unwrap();
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty), "it is kept for the stream");
        assert_eq!(Hand::new(stream.next()).poll(), Some(Some(2)));
        drop(sender);
        assert_eq!(Hand::new(stream.next()).poll(), Some(None));
        assert_eq!(Hand::new(stream.next()).poll(), Some(None), "and it stays at its end");
        send(&stream);
    });
}

#[test]
fn senders_and_receivers_in_order() {
    by_hand("order", || {
        let (sender, receiver) = channel(0);
        let sends = ['a', 'b', 'c'].map(|name| Hand::waiting(sender.send(name)));
        let order: String = std::iter::from_fn(|| receiver.try_recv().ok()).collect();
        assert_eq!(order, "abc");
        for send in sends {
            assert_eq!(send.finish(), Ok(()));
        }
        let receives = [(); 3].map(|()| Hand::waiting(receiver.recv()));
        "xyz".chars().for_each(|name| sender.try_send(name).unwrap());
        assert_eq!(receives.map(|receive| receive.finish().unwrap()), ['x', 'y', 'z']);
    });
}

#[test]
fn counts_and_debug() {
    by_hand("faces", || {
        let (sender, receiver) = channel(1);
        let (other, _receivers) = (sender.clone(), receiver.clone());
        sender.try_send(1).unwrap();
        let _wait = Hand::waiting(other.send(2));
        let stats = receiver.stats();
        assert_eq!((stats.len, stats.capacity, stats.senders, stats.receivers), (1, 1, 2, 2));
        assert_eq!((stats.waiting_senders, stats.waiting_receivers), (1, 0));
        assert!(format!("{sender:?}").contains("waiting_senders: 1"));
        send_sync(&sender);
        send_sync(&receiver);
        send(&receiver.recv());
    });
    on_every(|cfg| {
        cfg.once(async {
            let (sender, receiver) = channel(1);
            assert!(must_panic(|| receiver.blocking_recv()).contains("to_thread"));
            assert!(must_panic(|| sender.blocking_send(1)).contains("to_thread"));
        });
    });
}

#[test]
fn a_receiver_closes_it_and_gets_the_rest() {
    by_hand("close", || {
        for capacity in [0, 1, 2] {
            let (sender, receiver) = channel(capacity);
            let other = receiver.clone();
            (0..capacity).for_each(|n| sender.try_send(n).unwrap());
            let waits = [7, 8].map(|n| Hand::waiting(sender.send(n)));
            let closed = Hand::waiting(sender.closed());
            assert!(!sender.is_closed());
            assert!(receiver.close());
            assert!(!other.close(), "it was closed before");
            assert!(sender.is_closed());
            closed.finish();
            assert_eq!(waits.map(|wait| wait.finish().unwrap_err().0), [7, 8], "they come back");
            assert_eq!(sender.try_send(9), Err(TrySendError::Closed(9)));
            assert_eq!(Hand::new(sender.send(9)).poll(), Some(Err(SendError(9))));
            for n in 0..capacity {
                assert_eq!(other.try_recv(), Ok(n));
            }
            assert_eq!(other.try_recv(), Err(TryRecvError::Closed));
            assert!(Hand::new(receiver.recv()).poll().unwrap().is_err());
        }
        // Receivers that wait for items are woken as well.
        let (_sender, receiver) = channel::<u8>(1);
        let waits = [(); 2].map(|()| Hand::waiting(receiver.recv()));
        receiver.close();
        waits.into_iter().for_each(|wait| assert!(wait.finish().is_err()));
    });
}

#[test]
fn senders_see_that_it_is_closed() {
    by_hand("closed", || {
        let (sender, receiver) = channel::<Count>(1);
        let other = receiver.clone();
        drop(Hand::waiting(sender.closed()));
        let wait = Hand::waiting(sender.closed());
        drop(receiver);
        assert_eq!(wait.wakes(), 0);
        drop(other);
        wait.finish();
        other_executor(sender.closed());
        send(&sender.closed());

        // Even if the destructor of an item that was left panics.
        struct Bad;
        impl Drop for Bad {
            fn drop(&mut self) {
                crate::harness::deliberate("an item");
            }
        }
        let (sender, receiver) = channel(1);
        sender.try_send(Bad).ok().unwrap();
        let wait = Hand::waiting(sender.closed());
        assert_eq!(must_panic(|| drop(receiver)), "an item");
        wait.finish();
        assert!(sender.is_closed());
    });
}

#[test]
fn many_are_received_at_once() {
    by_hand("recv_many", || {
        let (sender, receiver) = channel(100);
        let mut items = vec![1000];
        assert_eq!(Hand::new(receiver.recv_many(&mut items, 0)).poll(), Some(0));
        drop(Hand::waiting(receiver.recv_many(&mut items, 5)));
        (0..100).for_each(|n| sender.try_send(n).unwrap());
        let putters: Vec<_> = (100..170).map(|n| Hand::waiting(sender.send(n))).collect();
        assert_eq!(Hand::new(receiver.recv_many(&mut items, 3)).poll(), Some(3));
        assert_eq!(items, [1000, 0, 1, 2], "appended");
        assert_eq!(putters.iter().map(Hand::wakes).sum::<usize>(), 3, "room for three");
        assert_eq!(Hand::new(receiver.recv_many(&mut items, 1000)).poll(), Some(97));
        assert!(putters.iter().all(|putter| putter.wakes() == 1));
        putters.into_iter().for_each(|putter| putter.finish().unwrap());
        // An item that is given to a waiting receiver is not given to another.
        items.clear();
        assert_eq!(Hand::new(receiver.recv_many(&mut items, 1000)).poll(), Some(70));
        let waits = Hand::waiting(receiver.recv());
        sender.try_send(200).unwrap();
        sender.try_send(201).unwrap();
        assert_eq!(Hand::new(receiver.recv_many(&mut items, 9)).poll(), Some(1));
        assert_eq!(items.last(), Some(&200), "the first item left");
        assert_eq!(waits.finish(), Ok(201));
        drop(sender);
        assert_eq!(Hand::new(receiver.recv_many(&mut items, 9)).poll(), Some(0));

        // From senders that wait, without a buffer; and the end.
        let (sender, receiver) = channel(0);
        let sends = [1, 2, 3].map(|n| Hand::waiting(sender.send(n)));
        items.clear();
        assert_eq!(Hand::new(receiver.recv_many(&mut items, 2)).poll(), Some(2));
        assert_eq!((items.as_slice(), sends.each_ref().map(Hand::wakes)), (&[1, 2][..], [1, 1, 0]));
        send(&receiver.recv_many(&mut items, 2));

        // With the last items, other waiting receivers see that it is closed.
        let (sender, receiver) = channel(4);
        let first = Hand::waiting(receiver.recv());
        let second = Hand::waiting(receiver.recv());
        sender.try_send(1).unwrap();
        drop(sender);
        drop(first);
        assert_eq!(second.finish(), Ok(1));
    });
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for capacity in [0, 1, 50] {
                let (sender, receiver) = channel(capacity);
                let senders: Vec<_> = (0..4)
                    .map(|p| {
                        let sender = sender.clone();
                        spawn(async move {
                            for n in 0..100 {
                                sender.send(p * 100 + n).await.unwrap();
                            }
                        })
                    })
                    .collect();
                drop(sender);
                let receivers: Vec<_> = (1..3)
                    .map(|limit| {
                        let receiver = receiver.clone();
                        spawn(async move {
                            let mut items = Vec::new();
                            while receiver.recv_many(&mut items, 10 * limit).await > 0 {
                                GiveUpAfter::new(1, receiver.recv_many(&mut items, 1)).await;
                            }
                            items
                        })
                    })
                    .collect();
                let mut all = Vec::new();
                for receiver in receivers {
                    all.extend(receiver.await.unwrap());
                }
                for sender in senders {
                    sender.await.unwrap();
                }
                all.sort_unstable();
                assert_eq!(all, (0..400).collect::<Vec<_>>(), "capacity {capacity}");
            }
        });
    });
}

#[test]
fn room_is_reserved() {
    by_hand("reserve", || {
        let (sender, receiver) = channel(2);
        let first = Hand::new(sender.reserve()).poll().unwrap().unwrap();
        let second = sender.try_reserve().unwrap();
        assert!(sender.try_reserve().unwrap_err().is_full());
        assert_eq!(sender.try_send(9), Err(TrySendError::Full(9)));
        assert_eq!((sender.stats().len, receiver.try_recv()), (0, Err(TryRecvError::Empty)));
        // In one queue with the senders.
        let mut waits_to_reserve = Hand::waiting(sender.reserve());
        let waits_to_send = Hand::waiting(sender.send(3));
        drop(second);
        assert_eq!((waits_to_reserve.wakes(), waits_to_send.wakes()), (1, 0));
        let third = waits_to_reserve.poll().unwrap().unwrap();
        first.send(1).unwrap();
        assert_eq!(waits_to_send.wakes(), 0);
        assert_eq!(receiver.try_recv(), Ok(1));
        assert_eq!(waits_to_send.finish(), Ok(()));
        third.send(2).unwrap();
        assert_eq!((receiver.try_recv(), receiver.try_recv()), (Ok(3), Ok(2)));

        // An owned permit: the sender is part of it.
        let permit = Hand::new(sender.clone().reserve_owned()).poll().unwrap().unwrap();
        assert_eq!(sender.stats().senders, 2);
        send_sync(&permit);
        let sender = permit.send(4).unwrap();
        let permit = Hand::new(sender.clone().reserve_owned()).poll().unwrap().unwrap();
        assert!(sender.try_reserve().is_err());
        drop(permit.release());
        drop(Hand::new(sender.clone().reserve_owned()).poll().unwrap().unwrap());
        let permit = sender.try_reserve().expect("all gave it back");
        assert!(format!("{permit:?}").contains("capacity: 2"));
        drop(permit);
        assert_eq!((receiver.try_recv(), sender.stats().senders), (Ok(4), 2));
    });
    by_hand("reserve without room", || {
        let (sender, _receiver) = channel::<u8>(0);
        assert!(sender.try_reserve().unwrap_err().is_full());
        assert!(must_panic(|| Hand::new(sender.reserve()).poll().is_some()).contains("capacity 0"));
    });
}

#[test]
fn a_dropped_permit_passes_room_on() {
    by_hand("leave", || {
        let (sender, receiver) = channel(1);
        sender.try_send(1).unwrap();
        let [first, second] = [(); 2].map(|()| Hand::waiting(sender.reserve()));
        let third = Hand::waiting(sender.send(3));
        drop(second);
        assert_eq!(receiver.try_recv(), Ok(1));
        assert_eq!((first.wakes(), third.wakes()), (1, 0));
        drop(first);
        assert_eq!(third.finish(), Ok(()), "granted, and dropped before it ran");
        assert_eq!(receiver.try_recv(), Ok(3));
        drop(sender.try_reserve().expect("no room is left reserved"));

        // Closed: tasks that wait get an error, and so do permits.
        let (sender, receiver) = channel(1);
        let permit = sender.try_reserve().unwrap();
        let wait = Hand::waiting(sender.reserve());
        receiver.close();
        assert_eq!(wait.finish().err(), Some(SendError(())));
        assert_eq!(permit.send("back"), Err(SendError("back")));
        assert!(sender.try_reserve().unwrap_err().is_closed());
        assert!(matches!(Hand::new(sender.reserve()).poll(), Some(Err(SendError(())))));
        assert!(receiver.try_recv().is_err());
        // Granted, and closed before the task ran.
        let (sender, receiver) = channel(1);
        sender.try_send("first").unwrap();
        let mut wait = Hand::waiting(sender.reserve());
        assert_eq!(receiver.try_recv(), Ok("first"));
        drop(receiver);
        let late =
            wait.poll().unwrap().and_then(|permit| permit.send("late").map_err(|_| SendError(())));
        assert_eq!(late, Err(SendError(())));
    });
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (sender, receiver) = channel(2);
            let tasks: Vec<_> = (0..8)
                .map(|task| {
                    let sender = sender.clone();
                    spawn(async move {
                        for n in 0..40 {
                            if n % 4 == task % 4 {
                                drop(GiveUpAfter::new(1 + n % 3, sender.reserve()).await);
                                continue;
                            }
                            let permit = sender.reserve().await.unwrap();
                            if n % 5 == 0 {
                                yield_now().await;
                            }
                            permit.send((task, n)).unwrap();
                        }
                    })
                })
                .collect();
            for _ in 0..8 * 30 {
                receiver.recv().await.unwrap();
            }
            assert!(receiver.try_recv().is_err());
            for task in tasks {
                task.await.unwrap();
            }
            // Cancelled while they hold a permit, or wait for one.
            let tasks: Vec<_> = (0..8)
                .map(|_| {
                    let sender = sender.clone();
                    spawn(async move {
                        let _permit = sender.reserve().await.unwrap();
                        std::future::pending::<()>().await;
                    })
                })
                .collect();
            yield_now().await;
            for task in tasks {
                task.cancel();
                assert!(task.await.unwrap_err().is_cancelled());
            }
            let permits = [sender.try_reserve().unwrap(), sender.try_reserve().unwrap()];
            assert!(sender.try_reserve().is_err());
            drop(permits);
        });
    });
}

#[test]
fn a_weak_sender_does_not_keep_it_open() {
    by_hand("weak", || {
        let (sender, receiver) = channel(4);
        let weak = sender.downgrade();
        let other = weak.clone();
        assert_eq!(receiver.stats().senders, 1);
        let strong = weak.upgrade().unwrap();
        assert_eq!(receiver.stats().senders, 2);
        drop(sender);
        strong.try_send(1).unwrap();
        let permit = Hand::new(strong.reserve_owned()).poll().unwrap().unwrap();
        assert!(other.upgrade().is_some(), "a permit holds a sender");
        drop(permit);
        assert!(weak.upgrade().is_none() && other.upgrade().is_none());
        assert_eq!((receiver.try_recv(), receiver.try_recv()), (Ok(1), Err(TryRecvError::Closed)));
        send_sync(&weak);
        assert!(format!("{weak:?}").contains("senders: 0"));
        // Without a receiver a weak sender still upgrades, to a sender of a closed channel.
        let (sender, receiver) = channel::<u8>(4);
        let weak = sender.downgrade();
        drop(receiver);
        assert!(weak.upgrade().unwrap().is_closed());
    });
}
