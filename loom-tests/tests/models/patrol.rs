//! The patrol for stuck workers, while workers go to sleep and wake.
//!
//! Code: `Idle::park`, `arm_patrol`, `give_up_patrol`, doorbells as they are; the checks of ticks
//! and the rescue are simplified.
//!
//! Property: when a worker gets stuck with work behind it, another one comes for that work. The
//! patrol is given up only while all others are parked, a worker that wakes alone names a sleeper,
//! and a worker that gets work of its own gives the duty up. If no worker comes, loom sees all wait
//! for ever. The form of the word allows one patroller at most.
//!
//! Actors: one worker that gets stuck, one or two that sleep and patrol; in one model a third that
//! goes on with its ticks.
//!
//! Bound: 3 threads, one worker that gets stuck once.

use std::sync::Arc;

use loom::{
    sync::atomic::{
        AtomicBool, AtomicUsize,
        Ordering::{AcqRel, Relaxed},
    },
    thread,
};
use loom_tests::explore;
use ringloop::model::{kernel, scheduler::Hub};

use crate::hubs::opened;

/// A worker that gets stuck: its ticks, and whether work waits behind its poll.
struct Stuck {
    worker: usize,
    tick: AtomicUsize,
    work: AtomicBool,
}

impl Stuck {
    fn new(worker: usize) -> Arc<Self> {
        Arc::new(Self { worker, tick: AtomicUsize::new(0), work: AtomicBool::new(false) })
    }

    /// A tick that leaves work behind.
    fn tick(&self) {
        self.tick.fetch_add(1, Relaxed);
        // An RMW: loom may order a plain store before a swap that did not see it.
        self.work.swap(true, AcqRel);
    }

    /// A poll that lasts until the rescue.
    fn poll(&self) {
        kernel::wait(self.worker as i32);
    }

    /// Takes its work; then the poll may end.
    fn rescue(&self, hub: &Hub) {
        if self.work.swap(false, AcqRel) {
            hub.ring(self.worker);
            hub.stop();
        }
    }
}

/// At the end of a tick, with tasks left.
fn ensure_patrol(hub: &Hub) {
    if hub.wants_patrol()
        && let Some(sleeper) = hub.arm_patrol()
    {
        hub.ring(sleeper);
    }
}

/// The loop of a worker that never has anything to do. `quiet`: its last check saw no activity.
fn sleep_and_patrol(hub: &Hub, me: usize, stuck: &Stuck, mut quiet: bool) {
    let mut seen = 0;
    while !hub.is_stopped() {
        hub.park(
            me,
            quiet,
            || hub.is_stopped(),
            |patrol| {
                // A timeout may end before anything has happened.
                if patrol { thread::yield_now() } else { kernel::wait(me as i32) }
            },
        );
        quiet = false;
        if hub.is_patroller(me) {
            let tick = stuck.tick.load(Relaxed);
            if tick != seen {
                seen = tick;
            } else if hub.is_parked(stuck.worker) {
                quiet = true;
            } else {
                stuck.rescue(hub);
            }
        }
    }
}

fn sleepers(hub: &Arc<Hub>, who: &[usize], stuck: &Arc<Stuck>) -> Vec<thread::JoinHandle<()>> {
    let sleeper = |&me: &usize| {
        let (hub, stuck) = (hub.clone(), stuck.clone());
        thread::spawn(move || sleep_and_patrol(&hub, me, &stuck, false))
    };
    who.iter().map(sleeper).collect()
}

/// A worker sleeps, is woken by an event, makes one tick and gets stuck.
fn wake_up_and_get_stuck(hub: &Hub, stuck: &Stuck, event: impl FnOnce()) {
    hub.park(stuck.worker, false, || false, |_| event());
    hub.give_up_patrol(stuck.worker);
    stuck.tick();
    ensure_patrol(hub);
    stuck.poll();
}

/// One worker wakes as the other gives up the patrol, or takes it.
#[test]
fn wake_up_alone() {
    explore(|| {
        let (hub, stuck) = (opened(2), Stuck::new(0));
        let sleepers = sleepers(&hub, &[1], &stuck);
        wake_up_and_get_stuck(&hub, &stuck, || ());
        sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
    });
}

/// One worker wakes when the other, on patrol, has just seen that all is quiet.
#[test]
fn wake_up_after_quiet_look() {
    explore(|| {
        let (hub, stuck) = (opened(2), Stuck::new(0));
        hub.park(1, false, || false, |patrol| assert!(patrol, "worker 0 is busy"));
        let waker = {
            let (hub, stuck) = (hub.clone(), stuck.clone());
            thread::spawn(move || wake_up_and_get_stuck(&hub, &stuck, || kernel::wait(0)))
        };
        while !hub.is_parked(0) {
            thread::yield_now();
        }
        hub.ring(0);
        sleep_and_patrol(&hub, 1, &stuck, true);
        waker.join().unwrap();
    });
}

/// One worker gets stuck while two others go to sleep, of which one takes the duty.
#[test]
fn two_sleepers() {
    explore(|| {
        let (hub, stuck) = (opened(3), Stuck::new(0));
        let sleepers = sleepers(&hub, &[1, 2], &stuck);
        stuck.tick();
        ensure_patrol(&hub);
        stuck.poll();
        sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
    });
}

/// The patroller finds work of its own and gets stuck in it; another worker sleeps, and a third
/// ends one tick after that.
#[test]
fn patroller_gets_stuck() {
    explore(|| {
        let (hub, stuck) = (opened(3), Stuck::new(1));
        let patroller = {
            let (hub, stuck) = (hub.clone(), stuck.clone());
            thread::spawn(move || {
                hub.park(1, false, || true, |_| unreachable!("there is work"));
                hub.give_up_patrol(1);
                stuck.tick();
                hub.ring(0);
                stuck.poll();
            })
        };
        let sleepers = sleepers(&hub, &[2], &stuck);
        kernel::wait(0);
        ensure_patrol(&hub);
        patroller.join().unwrap();
        sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
    });
}
