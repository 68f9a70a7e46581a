//! One value, watched.
//!
//! Code: `sync/watch.rs` and `sync/until.rs` as they are.
//!
//! Properties: no watcher misses the last value or the end, else loom reports a deadlock; no
//! modification is lost; a sender sees that no receiver is left.
//!
//! Actors: one or two that change the value, one or two that watch or are dropped.
//!
//! Bound: 3 threads, two changes.

use loom::thread;
use loom_tests::explore;
use ringloop::sync::watch;

use crate::{sync_tools::Hand, tasks::wait_for};

/// Two changes and the end, for one that watches, and one that begins to watch and is dropped.
#[test]
fn send_against_watchers() {
    explore(|| {
        let (sender, mut receiver) = watch::channel(0);
        let mut leaver = receiver.clone();
        let leaver = thread::spawn(move || {
            let (wait, changed) = Hand::begun(leaver.changed());
            drop(wait);
            assert!(!matches!(changed, Some(Err(_))), "the last one is not seen");
        });
        let sender = thread::spawn(move || {
            sender.send_replace(1);
            sender.send_replace(2);
        });
        let mut last = 0;
        while wait_for(Box::pin(receiver.changed())).is_ok() {
            let now = *receiver.borrow();
            assert!(now >= last);
            last = now;
        }
        assert_eq!(last, 2);
        sender.join().unwrap();
        leaver.join().unwrap();
    });
}

/// A change without an end after it.
#[test]
fn send_is_told() {
    explore(|| {
        let (sender, mut receiver) = watch::channel(0);
        let thread = thread::spawn(move || {
            sender.send_replace(1);
            sender
        });
        assert_eq!(wait_for(Box::pin(receiver.changed())), Ok(()));
        assert_eq!(*receiver.borrow(), 1);
        drop(thread.join().unwrap());
    });
}

/// Two threads change the value at once.
#[test]
fn no_change_is_lost() {
    explore(|| {
        let (sender, receiver) = watch::channel(0);
        let other = sender.clone();
        let other = thread::spawn(move || other.send_modify(|value| *value += 1));
        sender.send_modify(|value| *value += 1);
        other.join().unwrap();
        assert_eq!(*receiver.borrow(), 2);
    });
}

/// The last receiver is dropped while a sender waits for that.
#[test]
fn last_receiver_leaves() {
    explore(|| {
        let (sender, receiver) = watch::channel(0);
        let receivers =
            [receiver.clone(), receiver].map(|receiver| thread::spawn(move || drop(receiver)));
        wait_for(Box::pin(sender.closed()));
        assert!(sender.send(1).is_err());
        for receiver in receivers {
            receiver.join().unwrap();
        }
    });
}
