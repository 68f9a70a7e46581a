//! Bytes on their way to a stream of any kind: what a transport writes against its close, and against the pump.
//!
//! Code: `io/outgoing.rs` as it is. The stream is the model's, with room for some bytes that a thread makes; so is the
//! thread that a pump runs on. Time does not pass.
//!
//! Properties:
//!
//! * all bytes arrive in their order, and then the close;
//! * a writer that was to pause goes on;
//! * an owner that waits for the end is woken;
//! * a dropped owner's bytes arrive as well;
//! * after an abort there is a reset, and no close.
//!
//! Actors: the owner; the pump; a thread that makes room.
//!
//! Bound: 3 threads.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use loom::{sync::Mutex, thread};
use loom_tests::explore;
use ringloop::model::outgoing::{Outgoing, Sink};

use crate::tasks::wait_for;

/// The other end of a stream.
#[derive(Default)]
struct Peer {
    room: usize,
    writer: Option<Waker>,
    received: Vec<u8>,
    closes: usize,
    resets: usize,
}

#[derive(Clone, Default)]
struct Stream(Arc<Mutex<Peer>>);

impl Stream {
    fn with_room(room: usize) -> Self {
        let stream = Self::default();
        stream.0.lock().unwrap().room = room;
        stream
    }

    fn make_room(&self, room: usize) {
        let writer = {
            let mut peer = self.0.lock().unwrap();
            peer.room += room;
            peer.writer.take()
        };
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    /// What has arrived, how often it was closed, and how often it was reset.
    fn seen(&self) -> (Vec<u8>, usize, usize) {
        let peer = self.0.lock().unwrap();
        (peer.received.clone(), peer.closes, peer.resets)
    }
}

impl Sink for Stream {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<usize> {
        let mut peer = self.0.lock().unwrap();
        assert_eq!(peer.closes + peer.resets, 0, "a write after the end");
        let sent = bytes.len().min(peer.room);
        if sent == 0 {
            peer.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        peer.room -= sent;
        peer.received.extend_from_slice(&bytes[..sent]);
        Poll::Ready(sent)
    }

    fn close(&mut self) {
        self.0.lock().unwrap().closes += 1;
    }

    fn abort(&mut self) {
        self.0.lock().unwrap().resets += 1;
    }
}

/// A transport writes, and closes while the pump runs.
#[test]
fn close_against_data() {
    explore(|| {
        let stream = Stream::with_room(1);
        let outgoing = Outgoing::new(stream.clone());
        assert!(!outgoing.write(&[1, 2]).unwrap());
        let makes = stream.clone();
        let peer = thread::spawn(move || makes.make_room(1));
        outgoing.close();
        assert!(wait_for(outgoing.ended()));
        assert!(outgoing.write(&[3]).is_err());
        assert_eq!(stream.seen(), (vec![1, 2], 1, 0));
        peer.join().unwrap();
    });
}

/// A second write comes beside the end of the first one's pump: one pump at most has the stream.
#[test]
fn write_against_the_end_of_the_pump() {
    explore(|| {
        let stream = Stream::with_room(0);
        let outgoing = Outgoing::new(stream.clone());
        assert!(!outgoing.write(&[1]).unwrap());
        let makes = stream.clone();
        let peer = thread::spawn(move || makes.make_room(2));
        assert!(!outgoing.write(&[2]).unwrap());
        outgoing.close();
        assert!(wait_for(outgoing.ended()));
        assert_eq!(stream.seen(), (vec![1, 2], 1, 0));
        peer.join().unwrap();
    });
}

/// A writer above its mark goes on when the pump has sent enough.
#[test]
fn pause_against_room() {
    explore(|| {
        let stream = Stream::with_room(0);
        let outgoing = Outgoing::new(stream.clone());
        outgoing.set_limits(1, 0);
        assert!(outgoing.write(&[1, 2]).unwrap());
        let makes = stream.clone();
        let peer = thread::spawn(move || makes.make_room(2));
        wait_for(poll_fn(|cx| outgoing.poll_below(cx))).unwrap();
        assert_eq!(stream.seen().0, [1, 2]);
        peer.join().unwrap();
    });
}

/// The owner goes: what it wrote arrives, and then the close.
#[test]
fn drop_against_the_pump() {
    explore(|| {
        let stream = Stream::with_room(0);
        let outgoing = Outgoing::new(stream.clone());
        assert!(!outgoing.write(&[1]).unwrap());
        let makes = stream.clone();
        let peer = thread::spawn(move || makes.make_room(1));
        drop(outgoing);
        peer.join().unwrap();
        // The pump ends by itself; the model waits for its thread.
        let check = stream.clone();
        wait_for(poll_fn(move |cx| match check.seen() {
            (received, 1, 0) if received == [1] => Poll::Ready(()),
            _ => {
                cx.waker().wake_by_ref();
                thread::yield_now();
                Poll::Pending
            }
        }));
    });
}

/// An abort comes beside the pump: a part may have arrived, and then there is a reset.
#[test]
fn abort_against_the_pump() {
    explore(|| {
        let stream = Stream::with_room(1);
        let outgoing = Outgoing::new(stream.clone());
        assert!(!outgoing.write(&[1, 2]).unwrap());
        let makes = stream.clone();
        let peer = thread::spawn(move || makes.make_room(1));
        outgoing.abort();
        assert!(!wait_for(outgoing.ended()));
        let (received, closes, resets) = stream.seen();
        assert!([1, 2].starts_with(&received), "{received:?}");
        assert_eq!((closes, resets), (0, 1));
        peer.join().unwrap();
    });
}
