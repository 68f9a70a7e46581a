//! Leases that other threads return.
//!
//! Code: `reactor/pool.rs` as it is, including mapped memory; a read of that memory is an access to
//! a cell, which the owner takes when the buffer is free, and frees at the end.
//!
//! Properties:
//!
//! * a buffer becomes free once, after its filler and all its leases are done, and after all
//!   reads by leases;
//! * an owner that starves and sleeps is woken, or has seen the buffer;
//! * it is rung at most once;
//! * the memory is freed once, when the pool and the last lease have been dropped.
//!
//! Actors: the owner; one or two threads that read and return leases.
//!
//! Bound: 3 threads, two buffers, two leases, one sleep.

use loom::thread::{self, JoinHandle};
use loom_tests::explore;
use ringloop::model::{
    Doorbell, kernel,
    pool::{Lease, Pool},
};

const SIZE: usize = 4096;

fn bell() -> &'static Doorbell {
    let bell = Box::leak(Box::new(Doorbell::new()));
    kernel::open(0);
    bell.open(0);
    bell
}

/// Reads a lease on another thread, and returns it.
fn return_elsewhere(lease: Lease) -> JoinHandle<()> {
    thread::spawn(move || {
        assert_eq!(lease[0], 0);
        drop(lease);
    })
}

/// Two leases of a buffer return while its filler finishes.
#[test]
fn two_returns_against_finish() {
    explore(|| {
        let mut pool = Pool::new(1, SIZE, bell());
        pool.reclaim();
        let readers = [0; 2].map(|_| return_elsewhere(pool.lend(0, 1, false)));
        pool.finish(0);
        let early = pool.reclaim().len();
        for reader in readers {
            reader.join().unwrap();
        }
        assert_eq!(early + pool.reclaim().len(), 1, "free once");
    });
}

/// One lease becomes two while the owner lends the buffer's last bytes.
#[test]
fn split_against_last() {
    explore(|| {
        let mut pool = Pool::new(1, SIZE, bell());
        pool.reclaim();
        let mut lease = pool.lend(0, 2, false);
        let reader = thread::spawn(move || {
            let front = lease.split_to(1);
            return_elsewhere(front).join().unwrap();
            assert_eq!(lease[0], 0);
        });
        drop(pool.lend(0, 1, true));
        let early = pool.reclaim().len();
        reader.join().unwrap();
        assert_eq!(early + pool.reclaim().len(), 1, "free once");
    });
}

/// The owner receives into a buffer from whose front a lease returns.
#[test]
fn return_against_spare() {
    explore(|| {
        let mut pool = Pool::new(1, SIZE, bell());
        let room = pool.spare();
        assert_eq!(room, Some(SIZE));
        let reader = return_elsewhere(pool.commit(1));
        assert!(matches!(pool.spare(), Some(room) if room >= SIZE - 1));
        let lease = pool.commit(1);
        reader.join().unwrap();
        drop(lease);
        assert_eq!(pool.spare(), Some(SIZE));
    });
}

/// The owner finds no free buffer and sleeps while two buffers return.
#[test]
fn returns_against_starvation() {
    explore(|| {
        let mut pool = Pool::new(2, SIZE, bell());
        pool.reclaim();
        let readers = [0, 1].map(|id| return_elsewhere(pool.lend(id, 1, true)));
        let (mut free, mut starved) = (0, 0);
        while free < 2 {
            pool.set_starved(true);
            starved += 1;
            match pool.reclaim().len() {
                0 => kernel::wait(0),
                found => free += found,
            }
        }
        for reader in readers {
            reader.join().unwrap();
        }
        assert!(kernel::rings(0) <= starved, "rung once");
    });
}

/// The pool ends with a lease of one buffer, and with a filler and a lease of another.
#[test]
fn returns_against_the_end() {
    explore(|| {
        let mut pool = Pool::new(2, SIZE, bell());
        pool.reclaim();
        let readers = [true, false].into_iter().zip(0..);
        let readers = readers.map(|(last, id)| return_elsewhere(pool.lend(id, 1, last)));
        let readers: Vec<_> = readers.collect();
        drop(pool);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}
