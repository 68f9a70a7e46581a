//! Operations that own what they work on: their ends, the futures that wait for them, and cancels.
//!
//! Code: `reactor/uring/owned.rs` and what of `reactor/uring` it runs through, as it is. The kernel is a
//! stand-in: an operation ends with the next message, or when it is cancelled.
//!
//! Properties:
//!
//! * a future that waits is woken, on whatever thread, else loom sees it wait for ever;
//! * an operation whose future was dropped is cancelled, also if its ring's owner sleeps;
//! * what it owns is there until the kernel is done;
//! * its output is made once, whether somebody takes it or not.
//!
//! Actors: the worker of the ring; a thread that polls or drops the future; the kernel.
//!
//! Bound: 3 threads, one operation, one message.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Waker},
};

use loom::{
    future::block_on,
    thread::{self, JoinHandle},
};
use loom_tests::explore;
use ringloop::model::uring::{Kernel, Memory, Operation, Seat, Worker};

struct Bench {
    kernel: Kernel,
    worker: Worker,
    memory: Arc<Memory>,
}

impl Bench {
    fn new() -> (Self, Operation) {
        let kernel = Kernel::new();
        let worker = Seat::new(&kernel, 0).sit();
        let (operation, memory) = worker.perform();
        (Self { kernel, worker, memory }, operation)
    }

    /// A message arrives.
    fn arrive(&self) -> JoinHandle<()> {
        let kernel = self.kernel.clone();
        thread::spawn(move || kernel.arrive())
    }

    /// The worker goes on, and sleeps, until the operation has ended.
    fn run(&self) {
        self.worker.turn_busy();
        while self.kernel.waiting() > 0 {
            self.worker.turn();
        }
        self.worker.turn_busy();
    }

    fn end(self, others: impl IntoIterator<Item = JoinHandle<()>>) {
        assert_eq!(self.worker.close(), 0, "left in the ring");
        for other in others {
            other.join().unwrap();
        }
        assert!(!self.memory.in_use.load(Relaxed), "it is kept for nobody");
        assert_eq!(self.memory.outputs.load(Relaxed), 1);
        assert_eq!(self.kernel.waiting(), 0);
    }
}

/// Its end, while another thread waits for it.
#[test]
fn end_against_wait() {
    explore(|| {
        let (bench, operation) = Bench::new();
        let waiter = thread::spawn(move || assert!(!block_on(operation).cancelled));
        let kernel = bench.arrive();
        bench.run();
        bench.end([waiter, kernel]);
    });
}

/// Its end, while another thread drops the future that has waited.
#[test]
fn end_against_drop() {
    explore(|| {
        let (bench, operation) = Bench::new();
        let dropper = thread::spawn(move || {
            let mut operation = pin!(operation);
            let _ = operation.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        });
        let kernel = bench.arrive();
        bench.run();
        bench.end([dropper, kernel]);
    });
}

/// Nothing ends it but the cancel of a future that is dropped on another thread, while the owner sleeps.
#[test]
fn cancel_against_sleep() {
    explore(|| {
        let (bench, operation) = Bench::new();
        let dropper = thread::spawn(move || drop(operation));
        bench.run();
        bench.end([dropper]);
    });
}

/// The ring ends, while another thread waits.
#[test]
fn end_of_the_ring_against_wait() {
    explore(|| {
        let (bench, operation) = Bench::new();
        let waiter = thread::spawn(move || assert!(block_on(operation).cancelled));
        bench.end([waiter]);
    });
}

/// The ring ends, while another thread drops the future.
#[test]
fn end_of_the_ring_against_drop() {
    explore(|| {
        let (bench, operation) = Bench::new();
        let dropper = thread::spawn(move || drop(operation));
        bench.end([dropper]);
    });
}
