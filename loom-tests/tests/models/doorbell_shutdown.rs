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

use loom::{sync::Arc, thread};
use loom_tests::explore;
use ringloop::model::{Doorbell, kernel};

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
        bell.close();
        ringers.map(|ringer| ringer.join().unwrap());
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
