//! A doorbell is rung while its worker ends, and while its memory serves another worker.
//!
//! Code: `reactor/doorbell.rs` on `util/gate.rs`; eventfds are modelled, and record whether they
//! are open.
//!
//! Properties:
//!
//! * a descriptor is closed exactly once, and never while a thread rings it or before;
//! * no thread rings a closed one;
//! * a new life's descriptor is not closed by a thread that is late for the earlier life.
//!
//! A late ring of the new life's bell is allowed.
//!
//! Actors: the owner, which opens and closes; one or two threads that ring.
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

/// Closed while two threads ring.
#[test]
fn ring_against_close() {
    explore(|| {
        let bell = opened(0);
        let ringers = [0; 2].map(|_| {
            let bell = bell.clone();
            thread::spawn(move || bell.ring())
        });
        // The owner's last use; the close comes after it.
        kernel::wait(0);
        bell.close();
        for ringer in ringers {
            ringer.join().unwrap();
        }
        // The number is free, so the kernel may give it out again.
        kernel::open(0);
    });
}

/// A late ring meets the next life.
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

/// Two threads are late for the life that ends, and one of them may close its descriptor when the
/// next life already waits for that.
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

/// Data behind a gate, and how often it was cleaned up.
struct Guarded {
    gate: Gate,
    inside: UnsafeCell<()>,
    cleaned: AtomicUsize,
}

// SAFETY: loom reports an access while another thread has the cell.
unsafe impl Sync for Guarded {}

/// A gate before data that a passer cannot clean up: its owner waits until the gate is closed, and
/// then has the data alone. In this way spawns from outside are kept from a runtime that has ended.
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

/// A thread that sees that the runtime ends also sees the deadline.
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
