//! A reader that trusts short reads, on a socket with urgent data.
//!
//! Code: `reactor/slot.rs` as it is; the kernel's socket is a stand-in behind a lock, as in the kernel:
//! a read stops at a mark, and a mark that is the first is skipped, unless a signal is pending.
//!
//! Property: no byte is left behind a mark with its reader asleep; else loom sees the reader wait
//! for ever.
//!
//! Actors: the reader; the kernel, whose arrivals a home tells, singly or together, in another
//! order of looks and reads with each run.
//!
//! Bound: 2 threads, one mark, up to two bytes before it and one behind it.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Poll, Waker, ready},
};

use loom::{sync::Mutex, thread};
use loom_tests::explore;
use ringloop::model::slot::Slot;

use crate::tasks::wait_for;

const IN: u32 = 1;
const PRI: u32 = 2;
const OUT: u32 = 4;
/// A poll in a ring tells it with an arrival at which it has not looked.
const RDBAND: u32 = 128;

/// What has arrived and was not read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Item {
    Byte,
    Mark,
}

use Item::{Byte, Mark};

#[derive(Default)]
struct Kernel {
    queue: Vec<Item>,
    /// A mark that has come before the bytes that go first.
    early: bool,
    /// A signal is pending for the reader: until its next read returns that is stopped by it.
    signal: bool,
}

impl Kernel {
    /// What poll(2) says: a mark at the front does not count.
    fn is_readable(&self) -> bool {
        self.queue.len() > usize::from(self.queue.first() == Some(&Mark))
    }

    fn has_mark(&self) -> bool {
        self.early || self.queue.contains(&Mark)
    }

    /// Up to the next mark.
    fn read(&mut self) -> usize {
        if self.queue.first() == Some(&Mark) {
            if std::mem::take(&mut self.signal) {
                return 0;
            }
            self.queue.remove(0);
        }
        let end = self.queue.iter().position(|&item| item == Mark).unwrap_or(self.queue.len());
        self.queue.drain(..end).count()
    }
}

struct Socket {
    kernel: Mutex<Kernel>,
    slot: Slot,
}

impl Socket {
    fn new() -> Arc<Self> {
        Arc::new(Self { kernel: Mutex::default(), slot: Slot::new() })
    }

    fn arrive(&self, items: &[Item]) {
        self.kernel.lock().unwrap().queue.extend(items);
    }

    /// A poll in a ring tells of a single arrival.
    fn tell_one(&self) {
        self.tell(IN | PRI | RDBAND);
    }

    /// It tells of several, or is not in a ring: it looks.
    fn look_and_tell(&self) {
        let urgent = if self.kernel.lock().unwrap().has_mark() { PRI } else { 0 };
        self.tell(IN | OUT | urgent);
    }

    fn tell(&self, events: u32) {
        let mut wakes = Vec::new();
        self.slot.polled(0, events, &mut wakes);
        wakes.into_iter().for_each(Waker::wake);
    }

    /// Asks as `Source` does: whether something can be read.
    fn ask(&self) -> bool {
        let kernel = self.kernel.lock().unwrap();
        if kernel.has_mark() {
            self.slot.is_urgent();
        }
        kernel.is_readable()
    }

    /// Reads so many bytes, as `operation::poll` does.
    fn read(&self, bytes: usize) {
        let mut read = 0;
        wait_for(poll_fn(|cx| {
            loop {
                let seen = self.slot.look();
                if !seen.is_ready() {
                    ready!(self.slot.poll_ready(cx));
                    continue;
                }
                let got = self.kernel.lock().unwrap().read();
                read += got;
                if got > 0 {
                    if !self.slot.drained(seen) && !self.ask() {
                        self.slot.took_all(seen);
                    }
                } else if !self.slot.may_hide_mark(seen) || !self.ask() {
                    self.slot.clear(seen);
                }
                if read == bytes {
                    return Poll::Ready(());
                }
            }
        }));
    }
}

fn against_reader(bytes: usize, kernel: impl Fn(&Socket) + Send + Sync + Copy + 'static) {
    explore(move || {
        let socket = Socket::new();
        let home = {
            let socket = socket.clone();
            thread::spawn(move || kernel(&socket))
        };
        socket.read(bytes);
        home.join().unwrap();
    });
}

/// Each arrival is told for itself: the mark's, and that of the byte behind it.
#[test]
fn arrivals_told_singly() {
    against_reader(2, |socket| {
        socket.arrive(&[Byte]);
        socket.tell_one();
        socket.arrive(&[Mark, Byte]);
        socket.tell_one();
        socket.tell_one();
    });
}

/// All have arrived before the first is told.
#[test]
fn arrivals_told_late() {
    against_reader(2, |socket| {
        socket.arrive(&[Byte, Mark, Byte]);
        socket.tell_one();
        socket.tell_one();
        socket.tell_one();
    });
}

/// A mark that is early is told behind a byte at which the poll has looked, and before that is read.
#[test]
fn arrival_behind_a_look() {
    against_reader(3, |socket| {
        socket.arrive(&[Byte]);
        socket.look_and_tell();
        socket.kernel.lock().unwrap().early = true;
        socket.tell_one();
        let mut kernel = socket.kernel.lock().unwrap();
        kernel.early = false;
        kernel.queue.extend([Byte, Mark, Byte]);
        drop(kernel);
        socket.tell_one();
    });
}

/// They are told together.
#[test]
fn arrivals_told_together() {
    against_reader(2, |socket| {
        socket.arrive(&[Byte, Mark, Byte]);
        socket.look_and_tell();
    });
}

/// They are told together, and a signal stops the read at the mark.
#[test]
fn signal_at_the_mark() {
    against_reader(2, |socket| {
        socket.kernel.lock().unwrap().signal = true;
        socket.arrive(&[Byte, Mark, Byte]);
        socket.look_and_tell();
    });
}

/// Each arrival is told for itself, and a signal stops the read at the mark.
#[test]
fn signal_at_a_mark_told_singly() {
    against_reader(1, |socket| {
        socket.kernel.lock().unwrap().signal = true;
        socket.arrive(&[Mark, Byte]);
        socket.tell_one();
        socket.tell_one();
    });
}

/// The mark arrives before the byte that goes first, which then brings all.
#[test]
fn mark_that_is_early() {
    against_reader(2, |socket| {
        socket.kernel.lock().unwrap().early = true;
        socket.tell_one();
        let mut kernel = socket.kernel.lock().unwrap();
        kernel.early = false;
        kernel.queue.extend([Byte, Mark, Byte]);
        drop(kernel);
        socket.tell_one();
    });
}
