//! A semaphore closes under those who take from it.
//!
//! Code: `sync/permits.rs` as it is, by way of `sync/semaphore.rs`.
//!
//! Property: who finds it closed sees what was done before it was closed.
//!
//! Actors: one that closes; two that take permits without waiting.
//!
//! Bound: 3 threads, two permits.

use std::sync::Arc;

use loom::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};
use loom_tests::explore;
use ringloop::sync::Semaphore;

/// One looks before the end, and finds it with the CAS by which it takes a permit.
#[test]
fn take_against_close() {
    explore(|| {
        let shared = Arc::new((Semaphore::new(2), AtomicBool::new(false)));
        let takers = [0; 2].map(|_| {
            let shared = shared.clone();
            thread::spawn(move || {
                let (semaphore, last_words) = &*shared;
                match semaphore.try_acquire() {
                    Ok(permit) => permit.forget(),
                    Err(error) => {
                        assert!(error.is_closed(), "there are enough");
                        // Relaxed: the end is what makes it seen.
                        assert!(last_words.load(Relaxed), "what came before the end is not seen");
                    }
                }
            })
        });
        let (semaphore, last_words) = &*shared;
        last_words.store(true, Relaxed);
        semaphore.close();
        for taker in takers {
            taker.join().unwrap();
        }
    });
}
