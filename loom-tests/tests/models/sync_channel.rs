//! Channels that close when an end is gone, and hand over without keeping.
//!
//! Code: `sync/channel.rs` over `sync/queue/`, as they are.
//!
//! Properties: an item is received, comes back or is dropped, once; nobody waits for an end
//! that is gone, else loom reports a deadlock; a send without room is ready once a receiver
//! has come; a stream that goes passes on what it was given.
//!
//! Actors: senders, receivers and streams that leave.
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

/// An item whose end counts.
struct Token(Arc<AtomicUsize>);

impl Drop for Token {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// Two senders send and leave; the receiver hears of the end.
#[test]
fn last_sender_leaves() {
    explore(|| {
        let (sender, receiver) = channel(1);
        let senders = [(1, sender.clone()), (2, sender)].map(|(item, sender)| {
            thread::spawn(move || wait_for(sender.send(item)).expect("somebody receives"))
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

/// Two receivers leave while one sends twice.
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

/// Hand to hand, with one receiver who gives up at any stage.
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

/// A sender gives up while a receiver comes for its item: that one, or the next.
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

/// The one receiver goes while one of two senders that wait for it gives up: the other one
/// hears of it.
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
        assert!(refused.is_err(), "nobody received");
        leaver.join().unwrap();
        receiver.join().unwrap();
        let stats = sender.stats();
        assert_eq!((stats.len, stats.waiting_senders), (0, 0));
        drop(refused);
        assert_eq!(ends.load(Relaxed), 2);
    });
}

/// One item for a stream that goes, at any stage, and for one who receives until the end.
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
