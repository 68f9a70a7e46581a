//! Signals, and listeners that begin, read and end.
//!
//! Code: `util/signal_count.rs` as it is; the bell is a modelled eventfd. The handler is a thread
//! of the model's, in place of any thread that a signal interrupts; the default effect, for a
//! signal without a listener, is a mark of the model's.
//!
//! Properties:
//!
//! * a signal has its default effect, or every listener that stays gets it, and never both, nor
//!   neither;
//! * several signals may be received as one, and none is left unreceived;
//! * a listener that sleeps is woken, and a listener that gets a signal sees what the sender did
//!   before.
//!
//! Actors: one or two handlers, one or two listeners.
//!
//! Bound: 3 threads, two signals.

use std::sync::Arc;

use loom::{cell::UnsafeCell, thread};
use loom_tests::explore;
use ringloop::model::{kernel, signals::Count};

const BELL: i32 = 0;

fn counted() -> Arc<Count> {
    kernel::open(BELL);
    Arc::new(Count::new())
}

fn come(count: &Count) -> bool {
    count.come(|| kernel::ring(BELL))
}

/// A signal comes while the only listener begins: it is received, or has its default effect.
#[test]
fn come_against_listen() {
    explore(|| {
        let count = counted();
        let handler = {
            let count = count.clone();
            thread::spawn(move || come(&count))
        };
        let mut seen = count.listen();
        let before = count.hear(&mut seen);
        let is_heard = handler.join().unwrap();
        let after = count.hear(&mut seen);
        assert_eq!(before || after, is_heard, "received by the listener, or by none");
        assert!(!(before && after), "one signal is received once");
    });
}

/// A signal comes while the last listener ends, another while there is none.
#[test]
fn come_against_leave() {
    explore(|| {
        let count = counted();
        let mut seen = count.listen();
        let handler = {
            let count = count.clone();
            thread::spawn(move || come(&count))
        };
        let was_told = count.hear(&mut seen);
        count.leave();
        let is_heard = handler.join().unwrap();
        assert!(is_heard || !was_told, "it was received, and had its default effect");
        assert!(!come(&count), "no listener is left");
        assert_eq!(kernel::rings(BELL), usize::from(is_heard));
    });
}

/// One of two listeners ends: the other gets the signal.
#[test]
fn come_while_one_of_two_leaves() {
    explore(|| {
        let count = counted();
        let mut stays = count.listen();
        let goes = count.listen();
        let handler = {
            let count = count.clone();
            thread::spawn(move || come(&count))
        };
        drop(goes);
        count.leave();
        assert!(handler.join().unwrap(), "one listener stays all the time");
        assert!(count.hear(&mut stays));
        assert!(!count.hear(&mut stays));
    });
}

/// A listener sleeps until it gets a signal.
#[test]
fn one_comes_and_wakes_a_sleeper() {
    explore(|| {
        let count = counted();
        let mut seen = count.listen();
        let handler = {
            let count = count.clone();
            thread::spawn(move || assert!(come(&count)))
        };
        while !count.hear(&mut seen) {
            kernel::wait(BELL);
        }
        handler.join().unwrap();
        assert!(!count.hear(&mut seen));
    });
}

/// A listener sleeps until it gets one of two signals; then it sees what was done before the last.
#[test]
fn two_come_and_wake_a_sleeper() {
    explore(|| {
        let count = counted();
        let data = Arc::new(UnsafeCell::new(0));
        let mut seen = count.listen();
        let handler = {
            let (count, data) = (count.clone(), data.clone());
            thread::spawn(move || {
                assert!(come(&count));
                // SAFETY: loom reports an access by another thread.
                data.with_mut(|data| unsafe { *data = 1 });
                assert!(come(&count));
            })
        };
        while !count.hear(&mut seen) {
            kernel::wait(BELL);
        }
        handler.join().unwrap();
        let _ = count.hear(&mut seen);
        assert!(!count.hear(&mut seen), "two signals are received twice at most");
        assert_eq!(kernel::rings(BELL), 2);
        // SAFETY: as above.
        data.with(|data| assert_eq!(unsafe { *data }, 1));
    });
}

/// A listener that gets a signal sees what the sender did before, with nothing else between them.
#[test]
fn what_came_before_is_seen() {
    explore(|| {
        let count = counted();
        let data = Arc::new(UnsafeCell::new(0));
        let mut seen = count.listen();
        let handler = {
            let (count, data) = (count.clone(), data.clone());
            thread::spawn(move || {
                // SAFETY: loom reports an access by another thread.
                data.with_mut(|data| unsafe { *data = 1 });
                come(&count);
            })
        };
        if count.hear(&mut seen) {
            // SAFETY: as above.
            data.with(|data| assert_eq!(unsafe { *data }, 1));
        }
        handler.join().unwrap();
    });
}
