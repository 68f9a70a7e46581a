//! The lives of a hub: acquired, closed, recycled, and acquired again.
//!
//! Code: `Hub::acquire`, `begin`, `recycle`, `advance`, and the loop of a worker in each life.
//!
//! Properties:
//!
//! * two live runtimes have two hubs, and a thread that acquires one sees what its last life did;
//! * a new life is open and counts from zero;
//! * a ring that is late for the last life takes no wake from the next, and meets no closed
//!   descriptor.
//!
//! Actors: two threads that acquire and recycle; or a worker of each life, a thread that rings late
//! for the first, and one that spawns in the second.
//!
//! Bound: 3 threads, two lives.

use std::sync::Arc;

use loom::{cell::UnsafeCell, thread};
use loom_tests::explore;
use ringloop::model::worker::{Runtime, Seat, set_time};

/// Data for each hub's owner alone, by the hub's key.
struct Own([UnsafeCell<()>; 2]);

// SAFETY: loom reports an access while another thread has the cell.
unsafe impl Sync for Own {}
// SAFETY: there is nothing in it.
unsafe impl Send for Own {}

/// One short life. Its last phase is one in which the next life must not begin.
fn live(own: &Own) -> Runtime {
    let runtime = Runtime::acquire(1);
    assert!(runtime.is_open(), "a new life goes on with the end of the last");
    own.0[usize::from(runtime.key())].with_mut(|_| ());
    runtime.stop();
    runtime.recycle();
    runtime
}

/// Two threads have one life each, and then another.
#[test]
fn acquire_against_recycle() {
    explore(|| {
        let own = Arc::new(Own([UnsafeCell::new(()), UnsafeCell::new(())]));
        let other = {
            let own = own.clone();
            thread::spawn(move || [live(&own), live(&own)])
        };
        let mut all = vec![live(&own), live(&own)];
        all.extend(other.join().unwrap());
        all.sort_by_key(|runtime| runtime.key());
        all.dedup_by_key(|runtime| runtime.key());
        for runtime in all {
            // SAFETY: no other thread uses it.
            unsafe { runtime.free() };
        }
    });
}

fn start(seat: Seat) -> thread::JoinHandle<()> {
    thread::spawn(move || seat.run(|| ()))
}

/// A thread that has pushed a task in the first life rings for it late, when the task has been run
/// and that life is over. In the second life, a task is pushed to a worker that is about to sleep.
#[test]
fn late_ring_against_next_life() {
    explore(|| {
        set_time(0);
        let (first, [seat]) = Runtime::new(0, true);
        let late = thread::spawn(move || first.notify(0));
        first.stop();
        seat.run(|| ());
        first.recycle();

        let (second, [seat]) = Runtime::new(1, true);
        assert_eq!(second.key(), first.key());
        assert!(second.is_open() && second.live() == 0);
        let worker = start(seat);
        second.spawn(async move { second.stop() }).detach();
        worker.join().unwrap();
        late.join().unwrap();
        assert_eq!(second.live(), 0);
        // SAFETY: the threads that used it have been joined.
        unsafe { second.free() };
    });
}
