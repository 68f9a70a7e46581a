//! A timer fires, is cancelled or fired on another thread, or its wheel closes.
//!
//! Code: `reactor/timers/` as it is.
//!
//! Properties:
//!
//! * a waiter is woken by the last waker that it left;
//! * a node has one holder at a time (loom reports an access by two), never two lives at once,
//!   and comes back to its pool;
//! * it is counted as armed once, and counted off once;
//! * no waker is kept.
//!
//! Actors: the owner of the wheel; one or two threads that poll, or drop their timers, or rescue
//! the owner's timers, under a lock as in the scheduler.
//!
//! Bound: 3 threads, three timers, batches of 2 nodes.

use std::{future::poll_fn, sync::Arc, task::Waker};

use loom::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};
use loom_tests::explore;
use ringloop::model::timers::{Post, Timer, Timers};

use crate::tasks::{Ring, wait_for};

const DUE: u64 = 1;
const NOW: u64 = 2;

fn wake_all(wakes: Vec<Waker>) {
    wakes.into_iter().for_each(Waker::wake);
}

/// A tick of the owner.
fn tick(timers: &mut Timers) {
    timers.drain_mailbox();
    wake_all(timers.expire(NOW, usize::MAX));
}

/// Ends the timers and frees their nodes, which come in batches of two in a model.
fn finish(post: Post, mut timers: Timers) {
    assert!(timers.close().is_empty(), "a timer waits");
    drop(timers);
    assert_eq!(post.balance(), 0);
    assert_eq!(post.end_pool(), 0, "a node is lost");
}

/// Waits for the end of the timer; returns whether its time came.
fn wait(timer: &Timer) -> bool {
    wait_for(poll_fn(|cx| timer.poll(cx)))
}

/// Polled on another thread with another waker while it fires.
#[test]
fn poll_against_fire() {
    explore(|| {
        let post = Post::new();
        let mut timers = Timers::new(post);
        let first = Arc::new(Ring);
        let timer = timers.arm(DUE, first.clone().into());
        let waiter = thread::spawn(move || assert!(wait(&timer)));
        tick(&mut timers);
        waiter.join().unwrap();
        finish(post, timers);
        assert_eq!(Arc::strong_count(&first), 1, "a waker was kept");
    });
}

/// Two are dropped on another thread while they fire; the nodes are used again at once.
#[test]
fn drop_against_fire() {
    explore(|| {
        let post = Post::new();
        let mut timers = Timers::new(post);
        let waker = Arc::new(Ring);
        let droppers = [0; 2].map(|_| {
            let timer = timers.arm(DUE, waker.clone().into());
            thread::spawn(move || drop(timer))
        });
        tick(&mut timers);
        let again = timers.arm(NOW, waker.clone().into());
        for dropper in droppers {
            dropper.join().unwrap();
        }
        tick(&mut timers);
        drop(again);
        finish(post, timers);
        assert_eq!(Arc::strong_count(&waker), 1, "a waker was kept");
    });
}

/// Fired by a rescuer, while the owner gives up one timer and a third thread another; the nodes are
/// used again.
#[test]
fn release_against_rescue() {
    explore(|| {
        let post = Post::new();
        let waker = Arc::new(Ring);
        let mut timers = Timers::new(post);
        let (released, dropped) =
            (timers.arm(DUE, waker.clone().into()), timers.arm(DUE, waker.clone().into()));
        let timers = Arc::new(Mutex::new(timers));
        let rescuer = {
            let timers = timers.clone();
            thread::spawn(move || {
                let wakes = timers.lock().unwrap().expire(NOW, usize::MAX);
                wake_all(wakes);
            })
        };
        let dropper = thread::spawn(move || drop(dropped));
        let left = timers.lock().unwrap().release(released);
        drop(left);
        let again = timers.lock().unwrap().arm(NOW, waker.clone().into());
        rescuer.join().unwrap();
        dropper.join().unwrap();
        let mut timers = Arc::into_inner(timers).unwrap().into_inner().unwrap();
        tick(&mut timers);
        drop(again);
        finish(post, timers);
        assert_eq!(Arc::strong_count(&waker), 1, "a waker was kept");
    });
}

/// Of three that are due one fires; of the others one is dropped on another thread, and one is
/// given up by the owner, before their turn comes.
#[test]
fn drop_of_what_is_due() {
    explore(|| {
        let post = Post::new();
        let mut timers = Timers::new(post);
        let waker = Arc::new(Ring);
        let [first, dropped, released] = [0; 3].map(|_| timers.arm(DUE, waker.clone().into()));
        let wakes = timers.expire(NOW, 1);
        assert_eq!(wakes.len(), 1);
        wake_all(wakes);
        let dropper = thread::spawn(move || drop(dropped));
        drop(timers.release(released));
        timers.drain_mailbox();
        // Both nodes, if they were free, would be taken here.
        let again = [0; 2].map(|_| timers.arm(NOW + 1, waker.clone().into()));
        assert!(timers.expire(NOW, usize::MAX).len() <= 1, "given up, and fired");
        dropper.join().unwrap();
        tick(&mut timers);
        drop((first, again));
        tick(&mut timers);
        finish(post, timers);
        assert_eq!(Arc::strong_count(&waker), 1, "a waker was kept");
    });
}

/// A timer that is due and dropped on another thread counts until its turn comes, once its owner
/// has got the message.
#[test]
fn drop_of_what_is_due_counts() {
    explore(|| {
        let post = Post::new();
        let mut timers = Timers::new(post);
        let [first, dropped, last] = [0; 3].map(|_| timers.arm(DUE, Waker::noop().clone()));
        let expire_one = |timers: &mut Timers, left: i64| {
            timers.drain_mailbox();
            wake_all(timers.expire(NOW, 1));
            assert_eq!(post.balance(), left);
        };
        expire_one(&mut timers, 2);
        let dropper = thread::spawn(move || drop(dropped));
        dropper.join().unwrap();
        assert_eq!(post.balance(), 1);
        expire_one(&mut timers, 1);
        expire_one(&mut timers, 0);
        drop((first, last));
        finish(post, timers);
    });
}

/// A thread that drops two timers while they fire gives the memory of their nodes back at once;
/// then more timers are armed.
#[test]
fn free_against_fire() {
    explore(|| {
        let post = Post::new();
        let mut timers = Timers::new(post);
        let waker = Arc::new(Ring);
        let pair = [0; 2].map(|_| timers.arm(DUE, waker.clone().into()));
        let dropper = thread::spawn(move || {
            drop(pair);
            post.trim_pool();
        });
        tick(&mut timers);
        let again = timers.arm(NOW, waker.clone().into());
        dropper.join().unwrap();
        tick(&mut timers);
        drop(again);
        finish(post, timers);
        assert_eq!(Arc::strong_count(&waker), 1, "a waker was kept");
    });
}

/// Of two blocks one node each is dropped on one thread, and the others on another; both threads
/// give free memory back.
#[test]
fn free_against_free() {
    explore(|| {
        let post = Post::new();
        let mut timers = Timers::new(post);
        let [first, second, third, fourth] = [0; 4].map(|_| timers.arm(DUE, Waker::noop().clone()));
        wake_all(timers.expire(NOW, usize::MAX));
        let other = thread::spawn(move || {
            drop((first, third));
            post.trim_pool();
        });
        drop((second, fourth));
        post.trim_pool();
        other.join().unwrap();
        finish(post, timers);
    });
}

/// A wheel closes while one of its timers is dropped on another thread; the next owner of the
/// mailbox, on a third, synchronises with that only by the mailbox.
#[test]
fn next_owner_elsewhere() {
    explore(|| {
        let post = Post::new();
        let mut timers = Timers::new(post);
        let timer = timers.arm(DUE, Waker::noop().clone());
        let dropper = thread::spawn(move || drop(timer));
        let closed = Arc::new(AtomicBool::new(false));
        let next = {
            let closed = closed.clone();
            thread::spawn(move || {
                while !closed.load(Relaxed) {
                    thread::yield_now();
                }
                let mut next = Timers::new(post);
                tick(&mut next);
                next
            })
        };
        wake_all(timers.close());
        // Relaxed: the mailbox alone makes the drop visible.
        closed.store(true, Relaxed);
        let mut next = next.join().unwrap();
        dropper.join().unwrap();
        tick(&mut next);
        drop(timers);
        finish(post, next);
    });
}

/// One timer is dropped and one polled on other threads while the wheel closes and another opens on
/// the same mailbox.
#[test]
fn close_against_drop_and_poll() {
    explore(|| {
        let post = Post::new();
        let mut timers = Timers::new(post);
        let waker = Arc::new(Ring);
        let (dropped, polled) =
            (timers.arm(DUE, waker.clone().into()), timers.arm(DUE, waker.clone().into()));
        let dropper = thread::spawn(move || drop(dropped));
        let waiter = thread::spawn(move || assert!(!wait(&polled), "nothing has fired"));
        wake_all(timers.close());
        let mut next = Timers::new(post);
        dropper.join().unwrap();
        waiter.join().unwrap();
        tick(&mut next);
        drop(timers);
        finish(post, next);
        assert_eq!(Arc::strong_count(&waker), 1, "a waker was kept");
    });
}
