//! Ringing a doorbell whose worker ends, and whose memory serves another.
//!
//! Code: `reactor/doorbell.rs` on `util/gate.rs`; eventfds are modelled, and know
//! whether they are open.
//!
//! Properties: a descriptor is closed exactly once, never while somebody rings it and
//! never before; nobody rings a closed one; a new life's descriptor is not closed by
//! who was late for the earlier one. A late ring of the new life's bell is allowed.
//!
//! Actors: the owner, who opens and closes; one or two who ring.
//!
//! Bound: 3 threads, two lives, one ring each.

use std::sync::Arc;

use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
};
use loom_tests::explore;
use ringloop::model::{Doorbell, Gate, kernel};

use crate::hubs::opened as opened_hub;

fn opened(fd: i32) -> Arc<Doorbell> {
    let bell = Arc::new(Doorbell::new());
    kernel::open(fd);
    bell.open(fd);
    bell
}

/// Closed while two ring.
#[test]
fn ring_against_close() {
    explore(|| {
        let bell = opened(0);
        let ringers = [0; 2].map(|_| {
            let bell = bell.clone();
            thread::spawn(move || bell.ring())
        });
        // Its owner's last use; who closes it comes after.
        kernel::wait(0);
        bell.close();
        for ringer in ringers {
            ringer.join().unwrap();
        }
        // The number was given back, so the kernel may give it out again.
        kernel::open(0);
    });
}

/// A late ringer meets the next life.
#[test]
fn ring_against_next_life() {
    explore(|| {
        let bell = opened(0);
        let ringer = {
            let bell = bell.clone();
            thread::spawn(move || bell.ring())
        };
        bell.close();
        kernel::open(1);
        bell.open(1);
        bell.ring();
        kernel::wait(1);
        bell.close();
        ringer.join().unwrap();
        kernel::open(0);
        kernel::open(1);
    });
}

/// Two are late for the life that ends, and one of them may close its descriptor when
/// the next has begun to wait for that.
#[test]
fn two_late_ringers_against_next_life() {
    explore(|| {
        let bell = opened(0);
        let ringers = [0; 2].map(|_| {
            let bell = bell.clone();
            thread::spawn(move || bell.ring())
        });
        bell.close();
        kernel::open(1);
        bell.open(1);
        for ringer in ringers {
            ringer.join().unwrap();
        }
        bell.ring();
        kernel::wait(1);
        bell.close();
    });
}

/// What a gate stands before, and how often that was cleaned up.
struct Guarded {
    gate: Gate,
    inside: UnsafeCell<()>,
    cleaned: AtomicUsize,
}

// SAFETY: loom sees who comes to the cell when another has it.
unsafe impl Sync for Guarded {}

/// A gate before something that cannot be cleaned up by who passes: its owner waits until
/// it is closed, and then has it alone. So are spawns from outside kept from a runtime
/// that has ended.
#[test]
fn gate_closes_behind_passers() {
    explore(|| {
        let shared = Arc::new(Guarded {
            gate: Gate::new(),
            inside: UnsafeCell::new(()),
            cleaned: AtomicUsize::new(0),
        });
        assert!(shared.gate.open());
        let passers = [0; 2].map(|_| {
            let shared = shared.clone();
            thread::spawn(move || {
                let Guarded { gate, inside, cleaned } = &*shared;
                let look = || inside.with(|_| ());
                gate.pass(look, || {
                    cleaned.fetch_add(1, Relaxed);
                });
            })
        });
        let Guarded { gate, inside, cleaned } = &*shared;
        gate.close(|| {
            cleaned.fetch_add(1, Relaxed);
        });
        while !gate.is_closed() {
            thread::yield_now();
        }
        inside.with_mut(|_| ());
        assert_eq!(cleaned.load(Relaxed), 1, "cleaned up once, before it counts as closed");
        for passer in passers {
            passer.join().unwrap();
        }
    });
}

/// Who sees that the runtime ends also sees by when.
#[test]
fn deadline_is_known_when_the_end_begins() {
    explore(|| {
        let hub = opened_hub(1);
        let worker = {
            let hub = hub.clone();
            thread::spawn(move || {
                if let Some(deadline) = hub.deadline() {
                    assert_eq!(deadline, 7);
                }
            })
        };
        hub.close(7);
        assert_eq!(hub.deadline(), Some(7));
        worker.join().unwrap();
    });
}
