//! A call that was scheduled, and its cancellers.
//!
//! Code: the claim in `calls.rs` as it is. The call and its task are the model's: a call that
//! begins, and drops its claim at its end.
//!
//! Properties: either the function is called, or exactly one `cancel` returns true; where it
//! returned true, the call is cancelled afterwards, and else its state is unchanged.
//!
//! Actors: the worker, two cancellers, or the end of the runtime in place of one.
//!
//! Bound: 3 threads.

use std::sync::Arc;

use loom::thread;
use loom_tests::explore;
use ringloop::model::calls::Claim;

/// Two threads cancel the call while it begins.
#[test]
fn cancel_against_begin() {
    explore(|| {
        let claim = Arc::new(Claim::new());
        let cancel = |claim: Arc<Claim>| {
            move || {
                let cancelled = claim.cancel();
                assert!(!cancelled || claim.is_cancelled());
                cancelled
            }
        };
        let others = [thread::spawn(cancel(claim.clone())), thread::spawn(cancel(claim.clone()))];
        let called = claim.begin();
        assert!(!called || !claim.is_cancelled());
        let cancelled = others.map(|other| other.join().unwrap());
        let told = cancelled.into_iter().filter(|told| *told).count();
        assert_eq!(usize::from(called) + told, 1, "exactly one of them succeeds");
        assert_eq!(claim.is_cancelled(), !called);
    });
}

/// The runtime ends, and the call is dropped, while a thread cancels.
#[test]
fn cancel_against_the_end() {
    explore(|| {
        let claim = Arc::new(Claim::new());
        let theirs = claim.clone();
        let dropped = thread::spawn(move || theirs.cancel());
        let told = claim.cancel();
        assert!(claim.is_cancelled());
        assert_ne!(told, dropped.join().unwrap(), "exactly one of them succeeds");
    });
}
