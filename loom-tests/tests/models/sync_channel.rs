//! Channels that close when an end is dropped, and channels without a buffer.
//!
//! Code: `sync/channel.rs` over `sync/queue/`, as they are.
//!
//! Properties:
//!
//! * an item is received, comes back or is dropped, once;
//! * no task waits for an end that is gone, else loom reports a deadlock;
//! * a send without room is ready once a receiver has come;
//! * a stream that is dropped passes on its item.
//!
//! Actors: senders, receivers and streams that are dropped.
//!
//! Bound: 3 threads, room for one or none, two items.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use futures_core::Stream;
use loom::thread;
use loom_tests::explore;
use ringloop::sync::channel;

use crate::{sync_tools::Hand, tasks::wait_for};

/// An item that counts its drop.
struct Token(Arc<AtomicUsize>);

impl Drop for Token {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// Two senders send and are dropped; the receiver sees the end.
#[test]
fn last_sender_leaves() {
    explore(|| {
        let (sender, receiver) = channel(1);
        let senders = [(1, sender.clone()), (2, sender)].map(|(item, sender)| {
            thread::spawn(move || wait_for(sender.send(item)).expect("there is a receiver"))
        });
        let mut sum = 0;
        while let Ok(item) = wait_for(receiver.recv()) {
            sum += item;
        }
        assert_eq!(sum, 3);
        for sender in senders {
            sender.join().unwrap();
        }
    });
}

/// Two receivers are dropped while one sends twice.
#[test]
fn last_receiver_leaves() {
    explore(|| {
        let ends = Arc::new(AtomicUsize::new(0));
        let (sender, receiver) = channel(1);
        let receivers =
            [receiver.clone(), receiver].map(|receiver| thread::spawn(move || drop(receiver)));
        for _ in 0..2 {
            let refused = wait_for(sender.send(Token(ends.clone())));
            drop(refused);
        }
        for receiver in receivers {
            receiver.join().unwrap();
        }
        assert!(sender.is_closed());
        assert_eq!(ends.load(Relaxed), 2);
    });
}

/// Without a buffer, with one receiver that gives up at any stage.
#[test]
fn rendezvous() {
    explore(|| {
        let (sender, receiver) = channel(0);
        let leaver = receiver.clone();
        let leaver = thread::spawn(move || {
            let (wait, item) = Hand::begun(leaver.recv());
            drop(wait);
            // It may come after the end.
            item.and_then(Result::ok).unwrap_or(0)
        });
        let sender = thread::spawn(move || {
            wait_for(sender.send(1)).unwrap();
            wait_for(sender.send(2)).unwrap();
        });
        let mut sum = 0;
        while let Ok(item) = wait_for(receiver.recv()) {
            sum += item;
        }
        sender.join().unwrap();
        assert_eq!(sum + leaver.join().unwrap(), 3);
    });
}

/// A sender gives up while a receiver comes for its item: it gets that item, or the next.
#[test]
fn rendezvous_sender_leaves() {
    explore(|| {
        let ends = Arc::new(AtomicUsize::new(0));
        let (sender, receiver) = channel(0);
        let leaver = {
            let (sender, token) = (sender.clone(), Token(ends.clone()));
            thread::spawn(move || drop(Hand::begun(sender.send(token))))
        };
        let receiver = thread::spawn(move || {
            let mut received = 0;
            while let Ok(token) = wait_for(receiver.recv()) {
                received += 1;
                drop(token);
            }
            received
        });
        assert!(wait_for(sender.send(Token(ends.clone()))).is_ok());
        drop(sender);
        leaver.join().unwrap();
        assert!(matches!(receiver.join().unwrap(), 1 | 2));
        assert_eq!(ends.load(Relaxed), 2);
    });
}

/// The only receiver is dropped while one of two senders that wait for it gives up: the other one
/// gets an error.
#[test]
fn rendezvous_last_receiver_leaves() {
    explore(|| {
        let ends = Arc::new(AtomicUsize::new(0));
        let (sender, receiver) = channel(0);
        let leaver = {
            let (sender, token) = (sender.clone(), Token(ends.clone()));
            thread::spawn(move || drop(Hand::begun(sender.send(token))))
        };
        let receiver = thread::spawn(move || drop(receiver));
        let refused = wait_for(sender.send(Token(ends.clone())));
        assert!(refused.is_err(), "there was no receiver");
        leaver.join().unwrap();
        receiver.join().unwrap();
        let stats = sender.stats();
        assert_eq!((stats.len, stats.waiting_senders), (0, 0));
        drop(refused);
        assert_eq!(ends.load(Relaxed), 2);
    });
}

/// One item for a stream that is dropped, at any stage, and for a receiver that goes on until the
/// end.
#[test]
fn stream_leaves() {
    explore(|| {
        let (sender, receiver) = channel(1);
        let other = receiver.clone();
        let leaver = thread::spawn(move || {
            let mut stream = other.stream();
            let (next, item) = Hand::begun(poll_fn(|cx| Pin::new(&mut stream).poll_next(cx)));
            drop(next);
            drop(stream);
            // It may come after the end.
            item.flatten().unwrap_or(0)
        });
        let sender = thread::spawn(move || wait_for(sender.send(1)).unwrap());
        let mut sum = 0;
        while let Ok(item) = wait_for(receiver.recv()) {
            sum += item;
        }
        sender.join().unwrap();
        assert_eq!(sum + leaver.join().unwrap(), 1);
    });
}

/// A weak sender is upgraded while the last sender is dropped: its item is received, or there is no
/// sender any more and the channel is closed.
#[test]
fn upgrade_against_last_sender() {
    explore(|| {
        let (sender, receiver) = channel(2);
        let weak = sender.downgrade();
        let dropper = thread::spawn(move || drop(sender));
        let upgrader = thread::spawn(move || match weak.upgrade() {
            Some(sender) => {
                assert!(!sender.is_closed(), "it keeps the channel open");
                sender.try_send(1).expect("there is room");
                1
            }
            None => 0,
        });
        let mut sum = 0;
        while let Ok(item) = wait_for(receiver.recv()) {
            sum += item;
        }
        dropper.join().unwrap();
        assert_eq!(sum, upgrader.join().unwrap());
    });
}

/// Room for one: a task that reserves it and gives up, at any stage, and one that sends.
#[test]
fn reserver_leaves() {
    explore(|| {
        let (sender, receiver) = channel(1);
        sender.try_send(1).unwrap();
        let leaver = {
            let sender = sender.clone();
            thread::spawn(move || {
                let (wait, permit) = Hand::begun(sender.reserve());
                drop(wait);
                drop(permit);
            })
        };
        let other = {
            let sender = sender.clone();
            thread::spawn(move || wait_for(sender.send(2)).unwrap())
        };
        assert_eq!(wait_for(receiver.recv()), Ok(1));
        assert_eq!(wait_for(receiver.recv()), Ok(2));
        leaver.join().unwrap();
        other.join().unwrap();
        assert!(sender.try_reserve().is_ok(), "no room is left reserved");
    });
}

/// Room is made while a task begins to wait for it.
#[test]
fn reserve_against_recv() {
    explore(|| {
        let (sender, receiver) = channel(1);
        sender.try_send(1).unwrap();
        let receiver = thread::spawn(move || {
            assert_eq!(wait_for(receiver.recv()), Ok(1));
            receiver
        });
        wait_for(sender.reserve()).unwrap().send(2).unwrap();
        assert_eq!(receiver.join().unwrap().try_recv(), Ok(2));
    });
}

/// Reserved, and sent, while a receiver closes the channel: the item is received, or comes back.
#[test]
fn reserved_against_close() {
    explore(|| {
        let (sender, receiver) = channel::<i32>(1);
        let other = receiver.clone();
        let closer = thread::spawn(move || other.close());
        let sender = thread::spawn(move || {
            wait_for(sender.closed());
            assert!(wait_for(sender.reserve()).is_err(), "it is closed");
        });
        let mut received = 0;
        while let Ok(item) = wait_for(receiver.recv()) {
            received += item;
        }
        assert!(closer.join().unwrap());
        sender.join().unwrap();
        assert_eq!(received, 0);
    });
    explore(|| {
        let (sender, receiver) = channel(1);
        let permit = sender.try_reserve().unwrap();
        let other = receiver.clone();
        let closer = thread::spawn(move || other.close());
        let reader = thread::spawn(move || {
            let mut received = 0;
            while let Ok(item) = wait_for(receiver.recv()) {
                received += item;
            }
            received
        });
        let sent = permit.send(1).map_or_else(|back| 1 - back.0, |()| 1);
        closer.join().unwrap();
        assert_eq!(reader.join().unwrap(), sent);
    });
}

/// Two that send, one of which has to wait; one receiver takes all items.
#[test]
fn many_at_once() {
    explore(|| {
        let (sender, receiver) = channel(1);
        sender.try_send(1).unwrap();
        let senders = [(2, sender.clone()), (4, sender)].map(|(item, sender)| {
            thread::spawn(move || wait_for(sender.send(item)).expect("there is a receiver"))
        });
        let mut items = Vec::new();
        while wait_for(receiver.recv_many(&mut items, 8)) > 0 {}
        for sender in senders {
            sender.join().unwrap();
        }
        assert_eq!(items.into_iter().sum::<i32>(), 7);
    });
}
