//! Parties meet at a barrier.
//!
//! Code: `sync/barrier.rs` and `sync/wait_list.rs` as they are; a batch of wakers is one.
//!
//! Properties:
//!
//! * no party goes on before all have arrived, else loom reports the access to a cell;
//! * the indexes of a round are unique, and one party leads;
//! * a party that leaves does not count;
//! * a reset does not break a round that is complete.
//!
//! Actors: two or three parties, one of which may leave; a thread that resets or aborts.
//!
//! Bound: 3 threads, 2 rounds.

use std::{sync::Arc, task::Poll};

use loom::{
    cell::UnsafeCell,
    sync::{Mutex, atomic::AtomicUsize, atomic::Ordering::Relaxed},
};
use loom_tests::explore;
use ringloop::sync::Barrier;

use crate::{
    sync_tools::{Hand, join, spawn},
    tasks::wait_for,
};

struct Meeting {
    barrier: Barrier,
    /// Each party writes its own mark before the wait, and reads all after it.
    marks: [UnsafeCell<usize>; 3],
    indexes: Mutex<Vec<usize>>,
    broken: AtomicUsize,
}

// SAFETY: loom checks the accesses to the marks.
unsafe impl Sync for Meeting {}
// SAFETY: as above.
unsafe impl Send for Meeting {}

impl Meeting {
    fn new(parties: usize) -> Arc<Self> {
        Arc::new(Self {
            barrier: Barrier::new(parties),
            marks: std::array::from_fn(|_| UnsafeCell::new(0)),
            indexes: Mutex::new(Vec::new()),
            broken: AtomicUsize::new(0),
        })
    }

    fn meet(&self, me: usize) {
        // SAFETY: as above.
        self.marks[me].with_mut(|mark| unsafe { *mark += 1 });
        let arrival = wait_for(self.barrier.wait()).expect("it is not broken");
        for mark in &self.marks[..self.barrier.parties()] {
            // SAFETY: as above.
            mark.with(|mark| assert_eq!(unsafe { *mark }, 1));
        }
        assert_eq!(arrival.leader, arrival.index + 1 == self.barrier.parties());
        self.indexes.lock().unwrap().push(arrival.index);
    }

    fn assert_indexes(&self, wanted: &[usize]) {
        let mut indexes = self.indexes.lock().unwrap();
        indexes.sort_unstable();
        assert_eq!(*indexes, wanted);
        assert_eq!(self.barrier.waiting(), 0);
    }
}

/// Three meet once.
#[test]
fn three_meet() {
    explore(|| {
        let meeting = Meeting::new(3);
        let others = [1, 2].map(|me| spawn(&meeting, move |meeting| meeting.meet(me)));
        meeting.meet(0);
        join(others);
        meeting.assert_indexes(&[0, 1, 2]);
    });
}

/// Two meet twice: neither is a round ahead.
#[test]
fn two_rounds() {
    explore(|| {
        let meeting = Meeting::new(2);
        let rounds = |meeting: &Meeting| {
            for _ in 0..2 {
                let arrival = wait_for(meeting.barrier.wait()).unwrap();
                meeting.indexes.lock().unwrap().push(arrival.index);
            }
        };
        let other = spawn(&meeting, rounds);
        rounds(&meeting);
        join([other]);
        meeting.assert_indexes(&[0, 0, 1, 1]);
    });
}

/// A party that waits leaves while a second one comes, and a third: either the round was complete,
/// or the second and the third make one (T51).
#[test]
fn cancel_against_arrivals() {
    explore(|| {
        let meeting = Meeting::new(2);
        let (first, none) = Hand::begun({
            let meeting = meeting.clone();
            async move { meeting.barrier.wait().await }
        });
        assert!(none.is_none());
        let leaver = loom::thread::spawn(move || drop(first));
        let second = spawn(&meeting, |meeting| {
            if let Ok(arrival) = wait_for(meeting.barrier.wait()) {
                meeting.indexes.lock().unwrap().push(arrival.index);
            }
        });
        let (mut third, mut arrival) = Hand::begun(meeting.barrier.wait());
        join([leaver]);
        if arrival.is_some() {
            // If it met the first, the second is alone.
            meeting.barrier.abort();
        }
        join([second]);
        if arrival.is_none()
            && let Poll::Ready(late) = third.poll()
        {
            arrival = Some(late);
        }
        drop(third);
        if let Some(arrival) = arrival {
            let mine = arrival.unwrap().index;
            meeting.indexes.lock().unwrap().push(mine);
        }
        // Two parties that met, or one that met the first.
        let met = meeting.indexes.lock().unwrap().len();
        match met {
            1 => meeting.assert_indexes(&[1]),
            _ => meeting.assert_indexes(&[0, 1]),
        }
    });
}

/// A reset against the last arrival: all parties of the round get the same result.
#[test]
fn reset_against_completion() {
    explore(|| {
        let meeting = Meeting::new(2);
        let arrive = |meeting: &Meeting| match wait_for(meeting.barrier.wait()) {
            Ok(arrival) => meeting.indexes.lock().unwrap().push(arrival.index),
            Err(_) => {
                meeting.broken.fetch_add(1, Relaxed);
                // A party of a broken round ends the wait of any later party.
                meeting.barrier.abort();
            }
        };
        let other = spawn(&meeting, arrive);
        let breaker = spawn(&meeting, |meeting| meeting.barrier.reset());
        arrive(&meeting);
        join([other, breaker]);
        match meeting.broken.load(Relaxed) {
            0 => meeting.assert_indexes(&[0, 1]),
            _ => meeting.assert_indexes(&[]),
        }
    });
}

/// Aborted while one party waits and one arrives.
#[test]
fn abort_against_arrival() {
    explore(|| {
        let meeting = Meeting::new(3);
        let arrive = |meeting: &Meeting| assert!(wait_for(meeting.barrier.wait()).is_err());
        let other = spawn(&meeting, arrive);
        let breaker = spawn(&meeting, |meeting| meeting.barrier.abort());
        arrive(&meeting);
        join([other, breaker]);
        assert!(meeting.barrier.is_broken());
        meeting.assert_indexes(&[]);
    });
}
