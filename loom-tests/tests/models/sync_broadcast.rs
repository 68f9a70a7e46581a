//! Every receiver gets every item.
//!
//! Code: `sync/broadcast.rs` and `sync/until.rs` as they are.
//!
//! Properties: all who wait are woken by each send and by the end, else loom reports a
//! deadlock; each sees all items in order, or is told how many it missed; what all have seen
//! is dropped.
//!
//! Actors: a sender, two receivers, one of whom leaves.
//!
//! Bound: 3 threads, four items; one that leaves lets go of the lock after two steps.

use std::{cell::Cell, task::Context};

use loom::thread;
use loom_tests::explore;
use ringloop::sync::broadcast::{self, Receiver, RecvError};

use crate::{
    sync_tools::{Hand, calling_waker},
    tasks::wait_for,
};

/// What a receiver gets until the end: the sum.
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

/// Room for one: what is missed is told.
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

/// A receiver leaves: it holds nothing back, and nobody hears it twice.
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

/// What all have seen, or left, is gone.
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

/// One leaves that has not seen two items, in two steps, while another is sent: it takes along the
/// first two alone.
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

/// An item that notes if it is dropped where another one is received.
#[derive(Clone)]
struct Item(u64);

impl Drop for Item {
    fn drop(&mut self) {
        // A panic of this destructor would take the other item along.
        let received = RECEIVED.with(Cell::get);
        assert!(received == 0 || received == self.0, "{} dropped in place of {received}", self.0);
    }
}

/// Receives the item of this number.
fn receive(receiver: &mut Receiver<Item>, number: u64) {
    RECEIVED.with(|received| received.set(number));
    assert_eq!(receiver.try_recv().map(|item| item.0), Ok(number));
    RECEIVED.with(|received| received.set(0));
}

/// One leaves that has not seen three items, in more than one batch, while another one sees them
/// and what is sent meanwhile: each item goes when all have seen it, and none that somebody has not,
/// and none in the place of another.
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

/// The same, but all have seen the first items before, and another one leaves as well.
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

/// One leaves while an item is sent: it counts for the item and sees it, or neither.
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

/// A waker that looks at the channel.
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
