//! A task is pushed to a worker that is going to sleep.
//!
//! Code: `Hub::push_home`, `push_foreign`, `advance`; `Idle::park` and `notify`; inboxes
//! and doorbells as they are, on modelled eventfds.
//!
//! Property: no task is left to a worker that sleeps, and no worker sleeps past the end of its
//! runtime: else loom sees it wait for ever. A timeout would hide that, so the patrol's sleep has
//! none here. And of threads that push at the same time only one rings.
//!
//! Actors: one or two workers, which drain, and park when they have found nothing; one or two
//! threads that push.
//!
//! Bound: 3 threads, two tasks.

use std::sync::Arc;

use loom::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};
use loom_tests::explore;
use ringloop::model::{kernel, scheduler::Hub, task::Runnable};

use crate::{
    hubs::opened,
    tasks::{finish, ready_tasks},
};

/// A worker's loop, until `done`: it takes the tasks that it finds. Returns how often it parked.
fn work(hub: &Hub, me: usize, tasks: &mut Vec<Runnable>, done: impl Fn(usize) -> bool) -> usize {
    for parks in 0.. {
        hub.take_local(me, usize::MAX, |task| tasks.push(task));
        hub.take_mail(me, usize::MAX, |task| tasks.push(task));
        if done(tasks.len()) {
            return parks;
        }
        let has_work = || hub.has_mail(me) || done(tasks.len());
        hub.park(me, false, has_work, |_| kernel::wait(me as i32));
    }
    unreachable!("it is done at some time")
}

/// Two threads push to one worker.
#[test]
fn two_pushers() {
    explore(|| {
        let hub = opened(1);
        let pushers = ready_tasks::<2>().map(|task| {
            let hub = hub.clone();
            thread::spawn(move || hub.push_home(task, 0))
        });
        let mut tasks = Vec::new();
        let parks = work(&hub, 0, &mut tasks, |drained| drained == 2);
        for pusher in pushers {
            pusher.join().unwrap();
        }
        assert!(kernel::rings(0) <= parks, "two rings for one sleep");
        finish(tasks);
    });
}

/// One thread pushes twice: the second time when the worker may be about to sleep again.
#[test]
fn push_after_push() {
    explore(|| {
        let hub = opened(1);
        let pusher = {
            let (hub, tasks) = (hub.clone(), ready_tasks::<2>());
            thread::spawn(move || tasks.into_iter().for_each(|task| hub.push_home(task, 0)))
        };
        let mut tasks = Vec::new();
        work(&hub, 0, &mut tasks, |drained| drained == 2);
        pusher.join().unwrap();
        assert_eq!(finish(tasks), [1, 2]);
    });
}

/// Two workers sleep, and each gets a task of its own.
#[test]
fn two_workers() {
    explore(|| {
        let hub = opened(2);
        let worker = |hub: &Hub, me| {
            let mut tasks = Vec::new();
            work(hub, me, &mut tasks, |drained| drained == 1);
            tasks
        };
        let other = {
            let hub = hub.clone();
            thread::spawn(move || worker(&hub, 1))
        };
        let pusher = {
            let (hub, [one, two]) = (hub.clone(), ready_tasks());
            thread::spawn(move || {
                hub.push_home(one, 0);
                hub.push_home(two, 1);
            })
        };
        let tasks = worker(&hub, 0);
        pusher.join().unwrap();
        assert_eq!(finish(tasks), [1]);
        assert_eq!(finish(other.join().unwrap()), [2]);
    });
}

/// A worker that ends its runtime once it has the task; the other one ends with the runtime.
fn until_stopped(hub: &Hub, me: usize, last_words: &AtomicBool) -> Vec<Runnable> {
    let mut tasks = Vec::new();
    work(hub, me, &mut tasks, |drained| drained > 0 || hub.is_stopped());
    if tasks.is_empty() {
        assert!(last_words.load(Relaxed), "what came before the stop is not seen after it");
    } else {
        last_words.store(true, Relaxed);
        hub.stop();
    }
    tasks
}

/// A thread pushes to the worker that it takes to be awake; the worker that gets the task ends the
/// runtime.
#[test]
fn push_to_either_and_stop() {
    explore(|| {
        let (hub, last_words) = (opened(2), Arc::new(AtomicBool::new(false)));
        let other = {
            let (hub, last_words) = (hub.clone(), last_words.clone());
            thread::spawn(move || until_stopped(&hub, 1, &last_words))
        };
        let pusher = {
            let (hub, [task]) = (hub.clone(), ready_tasks());
            thread::spawn(move || hub.push_foreign(task, 1))
        };
        let mut tasks = until_stopped(&hub, 0, &last_words);
        pusher.join().unwrap();
        tasks.extend(other.join().unwrap());
        assert_eq!(finish(tasks), [1]);
    });
}

/// One worker is held by a task and never checks its inbox again; tasks from outside go to the
/// other worker, whether that sleeps or is awake.
#[test]
fn push_past_a_held_worker() {
    explore(|| {
        let hub = opened(2);
        hub.hold(0);
        let pusher = {
            let (hub, tasks) = (hub.clone(), ready_tasks::<2>());
            thread::spawn(move || tasks.into_iter().for_each(|task| hub.push_foreign(task, 0)))
        };
        let mut tasks = Vec::new();
        work(&hub, 1, &mut tasks, |drained| drained == 2);
        pusher.join().unwrap();
        assert_eq!(finish(tasks), [1, 2]);
    });
}
