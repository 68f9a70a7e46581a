//! Tasks that other threads push to a worker: drained by the worker, or by a patrol.
//!
//! Code: `scheduler/inbox.rs`, the LIFO slot of `scheduler/block.rs`, `Idle::park` and
//! `notify` as they are.
//!
//! Properties:
//!
//! * every task is taken exactly once, whether by its worker or a patrol;
//! * a taker gets the tasks that one thread pushed in their order;
//! * the final check misses no task, nor one that was left because of the limit on a take.
//!
//! Actors: a worker that takes and parks; two threads that push, or one and a patrol.
//!
//! Bound: 3 threads, two or three tasks.

use std::sync::Arc;

use loom::{
    sync::atomic::{
        AtomicUsize,
        Ordering::{Acquire, Release},
    },
    thread,
};
use loom_tests::explore;
use ringloop::model::{kernel, scheduler::Hub, task::Runnable};

use crate::{
    hubs::opened,
    tasks::{finish, ready_task, ready_tasks},
};

/// One of worker 0's two inboxes.
#[derive(Clone, Copy)]
enum Inbox {
    /// The inbox of tasks that no other worker may run.
    Local,
    /// The inbox of tasks that a patrol may take.
    Shared,
}

/// Worker 0, until it and the other takers have taken `all` tasks together. It takes at most
/// `at_once` at once.
fn work(hub: &Hub, at_once: usize, elsewhere: impl Fn() -> usize, all: usize) -> Vec<Runnable> {
    let mut tasks = Vec::new();
    loop {
        hub.take_local(0, at_once, |task| tasks.push(task));
        hub.take_mail(0, at_once, |task| tasks.push(task));
        let done = || tasks.len() + elsewhere() == all;
        if done() {
            return tasks;
        }
        hub.park(0, false, || hub.has_mail(0) || done(), |_| kernel::wait(0));
    }
}

/// A thread that makes tasks and pushes them.
fn push(hub: &Arc<Hub>, numbers: &'static [u64], to: Inbox) -> thread::JoinHandle<()> {
    let hub = hub.clone();
    thread::spawn(move || {
        numbers.iter().map(|&number| ready_task(number)).for_each(|task| match to {
            Inbox::Local => hub.push_home(task, 0),
            Inbox::Shared => hub.push_foreign(task, 0),
        });
    })
}

/// Of two numbers the lower comes first, if both are there.
fn assert_order(drained: &[u64], first: u64, second: u64) {
    let place = |number| drained.iter().position(|&drained| drained == number);
    if let (Some(first), Some(second)) = (place(first), place(second)) {
        assert!(first < second, "out of order: {drained:?}");
    }
}

/// Two threads push, one of them twice.
#[test]
fn two_pushers() {
    explore(|| {
        let hub = opened(1);
        let pushers = [push(&hub, &[1, 2], Inbox::Local), push(&hub, &[3], Inbox::Local)];
        let drained = finish(work(&hub, usize::MAX, || 0, 3));
        assert_order(&drained, 1, 2);
        for pusher in pushers {
            pusher.join().unwrap();
        }
    });
}

/// The same, and at most one is taken at a time.
#[test]
fn one_at_a_time() {
    explore(|| {
        let hub = opened(1);
        let pusher = push(&hub, &[1, 2, 3], Inbox::Shared);
        assert_eq!(finish(work(&hub, 1, || 0, 3)), [1, 2, 3]);
        pusher.join().unwrap();
    });
}

/// A patrol takes as well, one at a time.
#[test]
fn owner_against_patrol() {
    explore(|| {
        let hub = opened(1);
        let taken = Arc::new(AtomicUsize::new(0));
        let pusher = push(&hub, &[1, 2], Inbox::Shared);
        let patrol = {
            let (hub, taken) = (hub.clone(), taken.clone());
            thread::spawn(move || {
                let mut tasks = Vec::new();
                hub.take_mail(0, 1, |task| tasks.push(task));
                if !tasks.is_empty() {
                    // Only for the model: the worker waits until all are taken.
                    taken.store(tasks.len(), Release);
                    hub.ring(0);
                }
                tasks
            })
        };
        let own = finish(work(&hub, usize::MAX, || taken.load(Acquire), 2));
        pusher.join().unwrap();
        let taken = finish(patrol.join().unwrap());
        assert_order(&own, 1, 2);
        assert_order(&taken, 1, 2);
        assert_eq!(own.len() + taken.len(), 2);
    });
}

/// The LIFO slot: its owner puts and takes, two patrols take.
#[test]
fn lifo_slot() {
    explore(|| {
        let hub = opened(1);
        let patrols = [0; 2].map(|_| {
            let hub = hub.clone();
            thread::spawn(move || finish(hub.take_lifo(0).into_iter().collect()))
        });
        let [one, two] = ready_tasks();
        let mut taken = Vec::new();
        taken.extend(hub.put_lifo(0, one));
        taken.extend(hub.put_lifo(0, two));
        taken.extend(hub.take_lifo(0));
        let mut numbers = finish(taken);
        for patrol in patrols {
            numbers.extend(patrol.join().unwrap());
        }
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2]);
    });
}
