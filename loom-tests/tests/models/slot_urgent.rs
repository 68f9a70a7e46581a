//! A reader that takes a short read for the last, on a socket with urgent data.
//!
//! Code: `reactor/slot.rs` as it is; the kernel's socket is a stand-in behind a lock, as in the
//! kernel: a read stops at a mark, and skips a mark at the front, unless a signal is pending.
//!
//! Property: no byte is left behind a mark while its reader sleeps; else loom sees the reader wait
//! for ever.
//!
//! Actors: the reader; the kernel, whose arrivals a home reports, singly or together, in another
//! order of checks and reads with each run.
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
/// A poll in a ring reports it with an arrival whose queue it has not checked.
const RDBAND: u32 = 128;

/// Arrivals that were not read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Item {
    Byte,
    Mark,
}

use Item::{Byte, Mark};

#[derive(Default)]
struct Kernel {
    queue: Vec<Item>,
    /// A mark that has come before the bytes that precede it.
    early: bool,
    /// A signal is pending for the reader, until it has stopped the reader's next read.
    signal: bool,
}

impl Kernel {
    /// The answer of poll(2): a mark at the front does not count.
    fn is_readable(&self) -> bool {
        self.queue.len() > usize::from(self.queue.first() == Some(&Mark))
    }

    fn has_mark(&self) -> bool {
        self.early || self.queue.contains(&Mark)
    }

    /// Reads up to the next mark.
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

    /// A poll in a ring reports a single arrival.
    fn tell_one(&self) {
        self.tell(IN | PRI | RDBAND);
    }

    /// It reports several, or is not in a ring: it checks the queue.
    fn look_and_tell(&self) {
        let urgent = if self.kernel.lock().unwrap().has_mark() { PRI } else { 0 };
        self.tell(IN | OUT | urgent);
    }

    fn tell(&self, events: u32) {
        let mut wakes = Vec::new();
        self.slot.polled(0, events, &mut wakes);
        wakes.into_iter().for_each(Waker::wake);
    }

    /// Checks whether something can be read, as `Source` does.
    fn ask(&self) -> bool {
        let kernel = self.kernel.lock().unwrap();
        if kernel.has_mark() {
            self.slot.is_urgent();
        }
        kernel.is_readable()
    }

    /// Reads `bytes` bytes, as `operation::poll` does.
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

/// Each arrival is reported by itself: the mark's, and that of the byte behind it.
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

/// All have arrived before the first is reported.
#[test]
fn arrivals_told_late() {
    against_reader(2, |socket| {
        socket.arrive(&[Byte, Mark, Byte]);
        socket.tell_one();
        socket.tell_one();
        socket.tell_one();
    });
}

/// A mark that is early is reported behind a byte that the poll has seen, and before that byte is
/// read.
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

/// They are reported together.
#[test]
fn arrivals_told_together() {
    against_reader(2, |socket| {
        socket.arrive(&[Byte, Mark, Byte]);
        socket.look_and_tell();
    });
}

/// They are reported together, and a signal stops the read at the mark.
#[test]
fn signal_at_the_mark() {
    against_reader(2, |socket| {
        socket.kernel.lock().unwrap().signal = true;
        socket.arrive(&[Byte, Mark, Byte]);
        socket.look_and_tell();
    });
}

/// Each arrival is reported by itself, and a signal stops the read at the mark.
#[test]
fn signal_at_a_mark_told_singly() {
    against_reader(1, |socket| {
        socket.kernel.lock().unwrap().signal = true;
        socket.arrive(&[Mark, Byte]);
        socket.tell_one();
        socket.tell_one();
    });
}

/// The mark arrives before the byte that precedes it, whose report covers both.
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
