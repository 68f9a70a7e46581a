//! The flight recorder's ring: its writer goes on while another thread reads.
//!
//! Code: `record/ring.rs` as it is; an event has two words in place of four.
//!
//! Properties:
//!
//! * no event that is read is torn;
//! * the events are the last ones, in order, without a gap;
//! * those that are gone are counted;
//! * an event that the reader knows of by another way is among them, or has been overwritten.
//!
//! Actors: the writer, a reader.
//!
//! Bound: 2 threads, a ring of two events, three events.

use std::sync::Arc;

use loom::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};
use loom_tests::explore;
use ringloop::model::record::Ring;

/// The events that were read, each whole.
fn read(ring: &Ring) -> (Vec<u64>, u64) {
    let (events, lost) = ring.read();
    let whole =
        |event: Result<u64, Vec<u64>>| event.unwrap_or_else(|words| panic!("torn: {words:?}"));
    (events.into_iter().map(whole).collect(), lost)
}

/// The writer overwrites what is being read.
#[test]
fn write_against_read() {
    explore(|| {
        let ring = Arc::new(Ring::new(2));
        let writer = {
            let ring = ring.clone();
            thread::spawn(move || (1..=3).for_each(|number| ring.push(number)))
        };
        let (events, lost) = read(&ring);
        for (at, number) in events.iter().enumerate() {
            assert_eq!(*number, lost + at as u64 + 1, "in order, behind what is gone");
        }
        writer.join().unwrap();
        assert_eq!(read(&ring), (vec![3], 2));
    });
}

/// A reader that has heard of an event finds it.
#[test]
fn read_after_news() {
    explore(|| {
        let ring = Arc::new(Ring::new(2));
        let news = Arc::new(AtomicBool::new(false));
        let writer = {
            let (ring, news) = (ring.clone(), news.clone());
            thread::spawn(move || {
                ring.push(1);
                news.store(true, Ordering::Release);
            })
        };
        let is_there = news.load(Ordering::Acquire);
        let (events, lost) = read(&ring);
        assert!(!is_there || (events == [1] && lost == 0));
        writer.join().unwrap();
    });
}
