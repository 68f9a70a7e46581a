//! Every receiver gets every item.
//!
//! Code: `sync/broadcast.rs` and `sync/until.rs` as they are.
//!
//! Properties:
//!
//! * all receivers that wait are woken by each send and by the end, else loom reports a deadlock;
//! * each sees all items in order, or gets the number of items that it missed;
//! * an item that all have seen is dropped.
//!
//! Actors: a sender, two receivers, one of which is dropped.
//!
//! Bound: 3 threads, four items; a receiver that is dropped releases the lock after two steps.

use std::{cell::Cell, task::Context};

use loom::thread;
use loom_tests::explore;
use ringloop::sync::broadcast::{self, Receiver, RecvError};

use crate::{
    sync_tools::{Hand, calling_waker},
    tasks::wait_for,
};

/// Receives until the end; returns the sum.
fn sum(mut receiver: Receiver<u64>) -> u64 {
    let mut sum = 0;
    loop {
        match wait_for(Box::pin(receiver.recv())) {
            Ok(item) => sum += item,
            Err(RecvError::Lagged(missed)) => sum += missed * 100,
            Err(RecvError::Closed) => return sum,
        }
    }
}

/// Two receivers, two items, and the end.
#[test]
fn send_against_receivers() {
    explore(|| {
        let (sender, receiver) = broadcast::channel(2);
        let other = sender.subscribe();
        let other = thread::spawn(move || sum(other));
        let sender = thread::spawn(move || {
            assert_eq!(sender.send(1), Ok(2));
            assert_eq!(sender.send(2), Ok(2));
        });
        assert_eq!(sum(receiver), 3);
        assert_eq!(other.join().unwrap(), 3);
        sender.join().unwrap();
    });
}

/// An item without an end after it.
#[test]
fn send_is_told() {
    explore(|| {
        let (sender, mut receiver) = broadcast::channel(1);
        let thread = thread::spawn(move || {
            assert_eq!(sender.send(1), Ok(1));
            sender
        });
        assert_eq!(wait_for(Box::pin(receiver.recv())), Ok(1));
        drop(thread.join().unwrap());
    });
}

/// Room for one: a receiver gets the number of items that it missed.
#[test]
fn lag() {
    explore(|| {
        let (sender, receiver) = broadcast::channel(1);
        let thread = thread::spawn(move || {
            sender.send(1).unwrap();
            sender.send(2).unwrap();
        });
        assert!(matches!(sum(receiver), 3 | 102));
        thread.join().unwrap();
    });
}

/// A receiver is dropped: it holds nothing back, and the other one gets no item twice.
#[test]
fn receiver_leaves() {
    explore(|| {
        let (sender, receiver) = broadcast::channel(2);
        let mut leaver = sender.subscribe();
        let leaver = thread::spawn(move || {
            let (wait, item) = Hand::begun(leaver.recv());
            assert!(matches!(item, None | Some(Ok(1))));
            drop(wait);
        });
        let reader = thread::spawn(move || sum(receiver));
        assert!(matches!(sender.send(1), Ok(1 | 2)));
        leaver.join().unwrap();
        let last = sender.clone();
        drop(sender);
        drop(last);
        assert_eq!(reader.join().unwrap(), 1);
    });
}

/// Items that all receivers have seen, or left, are dropped.
#[test]
fn what_all_have_seen_goes() {
    explore(|| {
        let (sender, mut receiver) = broadcast::channel(2);
        let other = sender.subscribe();
        sender.send(1).unwrap();
        let leaver = thread::spawn(move || drop(other));
        assert_eq!(receiver.try_recv(), Ok(1));
        leaver.join().unwrap();
        assert!(sender.is_empty());
    });
}

/// A receiver that has not seen two items is dropped, in two steps, while another item is sent: it
/// counts off the first two alone.
#[test]
fn leaver_against_send() {
    explore(|| {
        let (sender, receiver) = broadcast::channel(4);
        let other = sender.subscribe();
        sender.send(1).unwrap();
        sender.send(2).unwrap();
        let leaver = thread::spawn(move || drop(other));
        assert!(matches!(sender.send(3), Ok(1 | 2)));
        leaver.join().unwrap();
        drop(sender);
        assert_eq!(sum(receiver), 6);
    });
}

loom::thread_local! {
    /// The number of the item that this thread receives; 0 while it receives none.
    static RECEIVED: Cell<u64> = Cell::new(0);
}

/// An item that checks that it is not dropped while another one is received.
#[derive(Clone)]
struct Item(u64);

impl Drop for Item {
    fn drop(&mut self) {
        // A panic of this destructor would drop the other item as well.
        let received = RECEIVED.with(Cell::get);
        assert!(received == 0 || received == self.0, "{} dropped in place of {received}", self.0);
    }
}

/// Receives the item with this number.
fn receive(receiver: &mut Receiver<Item>, number: u64) {
    RECEIVED.with(|received| received.set(number));
    assert_eq!(receiver.try_recv().map(|item| item.0), Ok(number));
    RECEIVED.with(|received| received.set(0));
}

/// A receiver that has not seen three items is dropped, in more than one batch, while another one
/// sees them and what is sent meanwhile. Each item is dropped when all have seen it, none before
/// that, and none in place of another.
#[test]
fn leaver_of_many() {
    explore(|| {
        let (sender, mut receiver) = broadcast::channel(4);
        let other = sender.subscribe();
        (1..4).for_each(|number| _ = sender.send(Item(number)));
        let leaver = thread::spawn(move || drop(other));
        (1..4).for_each(|number| receive(&mut receiver, number));
        assert!(matches!(sender.send(Item(4)), Ok(1 | 2)));
        receive(&mut receiver, 4);
        leaver.join().unwrap();
        assert!(sender.is_empty(), "all have seen everything");
    });
}

/// The same, but all have seen the first items before, and another receiver is dropped as well.
#[test]
fn two_leavers_of_many() {
    explore(|| {
        let (sender, mut receiver) = broadcast::channel(4);
        let others = [sender.subscribe(), sender.subscribe()];
        (1..4).for_each(|item| _ = sender.send(item));
        (1..4).for_each(|item| assert_eq!(receiver.try_recv(), Ok(item)));
        let leavers = others.map(|other| thread::spawn(move || drop(other)));
        sender.send(4).unwrap();
        assert_eq!(receiver.try_recv(), Ok(4));
        for leaver in leavers {
            leaver.join().unwrap();
        }
        assert!(sender.is_empty(), "all have seen everything");
    });
}

/// A receiver is dropped while an item is sent: it counts for the item and sees it, or neither.
#[test]
fn leaver_against_send_leaves_nothing() {
    explore(|| {
        let (sender, mut receiver) = broadcast::channel(4);
        let other = sender.subscribe();
        let leaver = thread::spawn(move || drop(other));
        assert!(matches!(sender.send(1), Ok(1 | 2)));
        leaver.join().unwrap();
        assert_eq!(receiver.try_recv(), Ok(1));
        assert!(sender.is_empty(), "all have seen everything");
    });
}

/// A waker that uses the channel.
#[test]
fn waker_uses_the_channel() {
    explore(|| {
        let (sender, mut receiver) = broadcast::channel(4);
        let theirs = sender.clone();
        let waker = calling_waker(move || assert!(theirs.len() <= 1));
        let mut wait = Hand::new(receiver.recv());
        let sender = thread::spawn(move || {
            sender.send(1).unwrap();
            sender
        });
        let _ = wait.poll_with(&mut Context::from_waker(&waker));
        sender.join().unwrap();
    });
}
