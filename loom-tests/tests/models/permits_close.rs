//! A semaphore is closed while other threads take permits.
//!
//! Code: `sync/permits.rs` as it is, by way of `sync/semaphore.rs`.
//!
//! Property: a thread that finds it closed sees what was done before the close.
//!
//! Actors: one thread that closes; two that take permits without waiting.
//!
//! Bound: 3 threads, two permits.

use std::sync::Arc;

use loom::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};
use loom_tests::explore;
use ringloop::sync::Semaphore;

/// One thread reads the word before the close, and finds it closed with the CAS by which it takes a
/// permit.
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
                        // Relaxed: visible by the close alone.
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
