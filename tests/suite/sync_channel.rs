//! `channel`: closing by the last end, rendezvous, streams.

use std::future::ready;
use std::pin::pin;

use futures_util::StreamExt;
use futures_util::future::{Either, select};
use ringloop::sync::channel;
use ringloop::sync::channel::{SendError, TryRecvError, TrySendError};
use ringloop::{spawn, yield_now};

use crate::harness::{must_panic, on_every};
use crate::sync_tools::{Hand, by_hand, other_executor, send, send_sync};
use crate::tools::Count;

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
        assert_eq!(receiver.try_recv(), Ok(2), "what was sent is there");
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
        assert_eq!((wait.wakes(), drops.get()), (0, 0), "one is left");
        drop(other);
        assert_eq!(drops.get(), 1, "what was sent is dropped");
        let SendError(back) = wait.finish().err().unwrap();
        assert_eq!(drops.get(), 1, "what was not comes back");
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
        assert!(send.poll().is_none(), "nobody came");
        assert_eq!(receiver.try_recv(), Ok(1), "taken from the one who waits");
        assert_eq!(send.finish(), Ok(()));

        let receive = Hand::waiting(receiver.recv());
        assert_eq!(sender.try_send(2), Ok(()), "somebody waits for it");
        assert_eq!(sender.try_send(3), Err(TrySendError::Full(3)), "and nobody else");
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
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty), "it never appears");

        // A receiver that has its item goes: the next one gets it, or it stays.
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
fn hand_to_hand_between_tasks() {
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
    // Once: the receiver itself was a stream, and kept the place of a `next` that was dropped.
    by_hand("next", || {
        let (sender, receiver) = channel(1);
        drop(Hand::waiting(receiver.stream().next()));
        assert_eq!(receiver.stats().waiting_receivers, 0);
        sender.try_send(1).unwrap();
        assert_eq!(receiver.try_recv(), Ok(1));
    });
}

#[test]
fn a_shutdown_that_beats_next_gets_the_rest() {
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
        assert_eq!(Hand::new(stream.next()).poll(), Some(None), "and so for ever");
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
fn numbers_and_faces() {
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
