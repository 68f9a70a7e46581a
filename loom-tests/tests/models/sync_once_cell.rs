//! A value is made once.
//!
//! Code: `sync/once_cell.rs`, on `sync/permits.rs` as it is.
//!
//! Properties: one task makes it, and every reader sees it whole, as loom's cells show; if the task
//! that makes it is dropped, another one does.
//!
//! Actors: three that need the value; one that only reads, one that sets it, one that is dropped.
//!
//! Bound: 3 threads.

use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom_tests::explore;
use ringloop::sync::OnceCell;

use crate::{
    sync_tools::{Hand, join, spawn},
    tasks::wait_for,
};

struct Shared {
    cell: OnceCell<Box<usize>>,
    made: AtomicUsize,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self { cell: OnceCell::new(), made: AtomicUsize::new(0) })
    }

    fn need(&self) {
        let value = wait_for(self.cell.get_or_init(async || {
            self.made.fetch_add(1, Relaxed);
            Box::new(7)
        }));
        assert_eq!(**value, 7);
    }
}

/// Three need it.
#[test]
fn made_once() {
    explore(|| {
        let shared = Shared::new();
        let others = [spawn(&shared, Shared::need), spawn(&shared, Shared::need)];
        shared.need();
        join(others);
        assert_eq!(shared.made.load(Relaxed), 1);
    });
}

/// One reads, and one sets it beside one that makes it.
#[test]
fn set_against_make_and_get() {
    explore(|| {
        let shared = Shared::new();
        let setter = spawn(&shared, |shared| {
            if shared.cell.set(Box::new(7)).is_ok() {
                shared.made.fetch_add(1, Relaxed);
            }
        });
        let looker = spawn(&shared, |shared| {
            if let Some(value) = shared.cell.get() {
                assert_eq!(**value, 7);
            }
        });
        shared.need();
        join([setter, looker]);
        assert_eq!(shared.made.load(Relaxed), 1);
    });
}

/// The task that makes it is dropped in the middle.
#[test]
fn maker_leaves() {
    explore(|| {
        let shared = Shared::new();
        let leaver = spawn(&shared, |shared| {
            drop(Hand::begun(shared.cell.get_or_init(std::future::pending)));
        });
        let other = spawn(&shared, Shared::need);
        shared.need();
        join([leaver, other]);
        assert_eq!(shared.made.load(Relaxed), 1);
    });
}
