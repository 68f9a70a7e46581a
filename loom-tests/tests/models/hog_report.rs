//! Other workers name a task that holds its worker, while it ends.
//!
//! Code: `Block::begin_tick`, `set_running`, `set_idle` and `running_in` as they are.
//!
//! Properties: the name and the place belong to one task, and a task that is named in a tick ran in
//! that tick: a hog that has just ended is not reported under the next task's name.
//!
//! Actors: a worker that polls one task after the other; a thread that reads the name.
//!
//! Bound: 2 threads, two tasks in two ticks, or in one.

use loom::thread;
use loom_tests::explore;
use ringloop::model::task::{self, Runnable};

use crate::{
    hubs::opened,
    tasks::{Shared, finish},
};

/// Two tasks, numbered 1 and 2, from two places.
fn tasks_of_two_places() -> ([Runnable; 2], [u32; 2]) {
    let (first, _, task) = task::create::<_, Shared>(async {}, 1);
    let here = line!() - 1;
    task.detach();
    let (second, _, task) = task::create::<_, Shared>(async {}, 2);
    let there = line!() - 1;
    task.detach();
    ([first, second], [here, there])
}

#[test]
fn names_are_of_one_task() {
    explore(|| {
        let hub = opened(1);
        let (tasks, [here, there]) = tasks_of_two_places();
        let worker = {
            let hub = hub.clone();
            thread::spawn(move || {
                for task in &tasks {
                    hub.set_running(0, task);
                    hub.set_idle(0);
                }
                finish(tasks.into());
            })
        };
        let named = hub.running_in(0, hub.tick(0));
        assert!([None, Some((1, here)), Some((2, there))].contains(&named), "{named:?}");
        worker.join().unwrap();
    });
}

#[test]
fn hog_that_ends_is_not_taken_for_the_next() {
    explore(|| {
        let hub = opened(1);
        let (tasks, _) = tasks_of_two_places();
        hub.begin_tick(0);
        let tick = hub.tick(0);
        hub.set_running(0, &tasks[0]);
        let worker = {
            let hub = hub.clone();
            thread::spawn(move || {
                hub.set_idle(0);
                hub.begin_tick(0);
                hub.set_running(0, &tasks[1]);
                finish(tasks.into());
            })
        };
        let named = hub.running_in(0, tick);
        assert!(named.is_none_or(|(task, _)| task == 1), "{named:?}");
        worker.join().unwrap();
    });
}
