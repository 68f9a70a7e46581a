//! What other threads leave for a worker: drained by itself, or by a patrol.
//!
//! Code: `scheduler/inbox.rs`, the LIFO slot of `scheduler/hub.rs`, `Idle::park` and
//! `notify` as they are.
//!
//! Properties: every task is taken exactly once, whoever takes it; who drains gets what
//! one thread pushed in its order; nothing is missed by the final look.
//!
//! Actors: a worker that drains and parks; two threads that push, or one and a patrol.
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
    tasks::{finish, ready_tasks},
};

/// Which of worker 0's two inboxes is meant.
#[derive(Clone, Copy)]
enum Inbox {
    /// That of tasks that nobody else may run.
    Local,
    /// That of tasks that a patrol may take.
    Shared,
}

/// Worker 0, until it and whoever else drains have had `all` tasks between them.
fn work(hub: &Hub, elsewhere: impl Fn() -> usize, all: usize) -> Vec<Runnable> {
    let mut tasks = Vec::new();
    loop {
        hub.drain_local_inbox(0, |task| tasks.push(task));
        hub.drain_inbox(0, |task| tasks.push(task));
        let done = || tasks.len() + elsewhere() == all;
        if done() {
            return tasks;
        }
        hub.park(0, false, || hub.has_mail(0) || done(), |_| kernel::wait(0));
    }
}

fn push(hub: &Arc<Hub>, tasks: Vec<Runnable>, to: Inbox) -> thread::JoinHandle<()> {
    let hub = hub.clone();
    thread::spawn(move || {
        tasks.into_iter().for_each(|task| match to {
            Inbox::Local => hub.push_home(task, 0),
            Inbox::Shared => hub.push_foreign(task, 0),
        });
    })
}

/// That of two numbers the lower comes first, if both are there.
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
        let [one, two, other] = ready_tasks();
        let pushers =
            [push(&hub, vec![one, two], Inbox::Local), push(&hub, vec![other], Inbox::Local)];
        let drained = finish(work(&hub, || 0, 3));
        assert_order(&drained, 1, 2);
        for pusher in pushers {
            pusher.join().unwrap();
        }
    });
}

/// A patrol drains as well.
#[test]
fn owner_against_patrol() {
    explore(|| {
        let hub = opened(1);
        let taken = Arc::new(AtomicUsize::new(0));
        let pusher = push(&hub, ready_tasks::<2>().into(), Inbox::Shared);
        let patrol = {
            let (hub, taken) = (hub.clone(), taken.clone());
            thread::spawn(move || {
                let mut tasks = Vec::new();
                hub.drain_inbox(0, |task| tasks.push(task));
                if !tasks.is_empty() {
                    // Only for the model: the worker waits for all to be drained.
                    taken.store(tasks.len(), Release);
                    hub.ring(0);
                }
                tasks
            })
        };
        let own = finish(work(&hub, || taken.load(Acquire), 2));
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
