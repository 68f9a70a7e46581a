//! Live tasks: the registry that lists them, and the counts that end a runtime.
//!
//! Code: `scheduler/registry.rs` with chunks of 2 slots, `task/`, and `Hub::live`.
//!
//! Properties:
//!
//! * a thread that lists the tasks gets a reference to each that lives throughout, and to none
//!   whose memory is freed;
//! * slots are not lost, and none is in use twice;
//! * a count of zero means that no task was alive.
//!
//! Actors: one or two threads that end tasks and make the next, one or two that list.
//!
//! Bound: 3 threads, three tasks, chunks of 2 slots.

use std::sync::Arc;

use loom::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};
use loom_tests::explore;
use ringloop::{
    ErrorEvent,
    model::{
        scheduler::{Hub, Registry, Slots},
        task::{self, Ended, Runnable, Schedule},
    },
};

loom::lazy_static! {
    static ref REGISTRY: Registry = Registry::new();
}

/// Tasks whose number is their slot. They are never woken, only cancelled.
struct Filed;

impl Schedule for Filed {
    fn schedule(_task: Runnable) {
        unreachable!("it is in a queue until it has ended");
    }

    fn ended(task: &Ended<'_>) {
        REGISTRY.remove(task.number() as u32, task, None);
    }

    fn report(_event: &ErrorEvent) {}
}

fn file(slot: u32) -> Runnable {
    let (entry, registered, task) = task::create::<_, Filed>(async {}, u64::from(slot));
    REGISTRY.insert(slot, registered);
    task.detach();
    entry
}

/// One thread lists the tasks and cancels all, while a task ends and the next takes its slot.
#[test]
fn list_against_end() {
    explore(|| {
        let own = Slots::default();
        let task = file(REGISTRY.take_slot(&own));
        let lister = thread::spawn(|| REGISTRY.request_all(false));
        assert!(task.run().is_none());
        assert!(file(REGISTRY.take_slot(&own)).run().is_none());
        lister.join().unwrap();
        // No task is left, and no memory of one.
        REGISTRY.request_all(true);
    });
}

/// Two threads list at the same time. (No other thread waits for a slot then: of two threads that
/// spin, loom schedules no third.)
#[test]
fn list_against_list() {
    explore(|| {
        let task = file(REGISTRY.take_slot_foreign());
        let listers = [false, true].map(|abort| thread::spawn(move || REGISTRY.request_all(abort)));
        for lister in listers {
            lister.join().unwrap();
        }
        assert!(task.run().is_none());
    });
}

/// Two threads file tasks in new chunks while a third lists.
#[test]
fn list_against_growth() {
    explore(|| {
        let one = REGISTRY.take_slot_foreign();
        let lister = thread::spawn(|| REGISTRY.request_all(true));
        let other = thread::spawn(|| {
            let own = Slots::default();
            let slots = [REGISTRY.take_slot(&own), REGISTRY.take_slot(&own)];
            (slots, slots.map(file))
        });
        let mine = file(one);
        lister.join().unwrap();
        let (others, tasks) = other.join().unwrap();
        assert!(!others.contains(&one) && others[0] != others[1], "a slot is in use twice");
        // Tasks that live throughout are found: an abort ends them without a poll.
        REGISTRY.request_all(true);
        for task in tasks.into_iter().chain([mine]) {
            assert!(task.run().is_none());
        }
    });
}

/// A new task takes a slot as the old one ends on another thread, and a third lists.
#[test]
fn reuse_against_end() {
    explore(|| {
        let tasks = [REGISTRY.take_slot_foreign(), REGISTRY.take_slot_foreign()].map(file);
        let lister = thread::spawn(|| REGISTRY.request_all(true));
        let [ending, staying] = tasks;
        let ender = thread::spawn(move || assert!(ending.run().is_none()));
        let slot = REGISTRY.take_slot_foreign();
        assert_ne!(slot, staying.number() as u32, "a slot is in use twice");
        let new = file(slot);
        ender.join().unwrap();
        lister.join().unwrap();
        for task in [staying, new] {
            assert!(task.run().is_none());
        }
    });
}

/// A task spawns another, which ends on another worker, and ends itself: a count of no live tasks
/// is right.
#[test]
fn count_against_spawn() {
    count(|hub| hub.count_spawned(0), |hub| hub.count_ended(1));
}

/// The same, with plain threads in place of workers.
#[test]
fn count_against_foreign_spawn() {
    count(Hub::count_foreign_spawn, Hub::count_foreign_end);
}

fn count(spawn: fn(&Hub), end: fn(&Hub)) {
    explore(move || {
        let hub = Arc::new(Hub::new(2));
        let over = Arc::new(AtomicBool::new(false));
        hub.count_spawned(0);
        let worker = {
            let (hub, over) = (hub.clone(), over.clone());
            thread::spawn(move || {
                spawn(&hub);
                let other = {
                    let (hub, over) = (hub.clone(), over.clone());
                    thread::spawn(move || {
                        over.store(true, Relaxed);
                        end(&hub);
                    })
                };
                hub.count_ended(0);
                other.join().unwrap();
            })
        };
        if hub.live() == 0 {
            assert!(over.load(Relaxed), "a task is alive, and was not counted");
        }
        worker.join().unwrap();
        assert_eq!(hub.live(), 0);
    });
}
