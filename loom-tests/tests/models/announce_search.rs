//! A backlog is announced while another worker searches, or goes to sleep.
//!
//! Code: `Idle::announce`, `search` and `park`, doorbells as they are; the queues replace
//! crossbeam's deque: only their length is read without a lock.
//!
//! Property: a backlog that its owner neglects is taken by another worker: one is rung for it, or
//! the searcher's last check (S2) sees it, or the final check of a worker that parks.
//!
//! Actors: one or two workers with a backlog that they never check again; one that searches and
//! sleeps, by its loop or by the steps of the search alone.
//!
//! Bound: 3 threads, one or two tasks in a queue.

use loom::thread;
use loom_tests::explore;
use ringloop::model::{
    kernel,
    scheduler::{Hub, Queue, Stealer},
};

use crate::hubs::opened;

/// A1 to A3.
fn push(hub: &Hub, queue: &Queue<u32>, task: u32) -> Option<usize> {
    queue.push(task);
    let sleeper = hub.announce();
    if let Some(sleeper) = sleeper {
        hub.ring(sleeper);
    }
    sleeper
}

/// Checks all queues, and steals half of the first that is not empty.
fn steal(from: &[Stealer<u32>], to: &Queue<u32>) -> bool {
    from.iter().any(|queue| queue.len() > 0 && queue.steal_batch(to))
}

/// The loop of a worker without tasks of its own, until it has got `last`.
fn work(hub: &Hub, me: usize, others: &[Stealer<u32>], last: &[u32]) {
    let own = Queue::new();
    let mut missing = last.to_vec();
    loop {
        while let Some(task) = own.pop() {
            missing.retain(|missing| *missing != task);
        }
        if missing.is_empty() {
            return;
        }
        if steal(others, &own) {
            continue;
        }
        let has_work = || others.iter().any(|queue| queue.len() > 0);
        hub.park(me, false, has_work, |_| kernel::wait(me as i32));
        hub.search(
            me,
            || steal(others, &own),
            || {
                steal(others, &own);
            },
        );
    }
}

/// The searcher ends as a backlog comes up; a third worker sleeps, and could be woken.
#[test]
fn search_end() {
    explore(|| {
        let hub = opened(3);
        let queue = Queue::new();
        let seen = queue.stealer();
        // Worker 1 was named the searcher for tasks that are gone.
        hub.park(1, false, || false, |_| assert_eq!(hub.announce(), Some(1)));
        let (inner, mut found) = (hub.clone(), false);
        hub.park(
            2,
            false,
            || false,
            |_| {
                let owner = {
                    let hub = inner.clone();
                    thread::spawn(move || (push(&hub, &queue, 1), queue))
                };
                let look = |found: &mut bool| {
                    *found |= seen.len() > 0;
                    *found
                };
                let mut again = false;
                inner.search(1, || look(&mut found), || again = seen.len() > 0);
                let (announced, _queue) = owner.join().unwrap();
                assert!(found || again || announced == Some(2), "no worker comes for the backlog");
            },
        );
    });
}

/// The first task is announced and then run by its owner; the second is left.
#[test]
fn backlog_after_backlog() {
    explore(|| {
        let hub = opened(2);
        let queue = Queue::new();
        let others = [queue.stealer()];
        let owner = {
            let hub = hub.clone();
            thread::spawn(move || {
                push(&hub, &queue, 1);
                queue.pop();
                push(&hub, &queue, 2);
                queue
            })
        };
        work(&hub, 1, &others, &[2]);
        owner.join().unwrap();
    });
}

/// Two workers have one task each, and may both see the other's searcher.
#[test]
fn two_backlogs() {
    explore(|| {
        let hub = opened(3);
        let queues = [Queue::new(), Queue::new()];
        let others = [queues[0].stealer(), queues[1].stealer()];
        let mut task = 0;
        let owners = queues.map(|queue| {
            task += 1;
            let (hub, task) = (hub.clone(), task);
            thread::spawn(move || (push(&hub, &queue, task), queue))
        });
        work(&hub, 2, &others, &[1, 2]);
        for owner in owners {
            owner.join().unwrap();
        }
    });
}
