//! A receive at a socket's home lends arrivals to a reader on another thread.
//!
//! Code: `reactor/socket/inbound.rs` and the leases of `reactor/pool.rs` as they are; the
//! cap is 1 lease. The kernel is a script of completions for each receive.
//!
//! Properties:
//!
//! * no reader sleeps while there is something to read, else loom sees it wait for ever;
//! * bytes come in order, with nothing lost between one receive and the next;
//! * the end comes after them, an error once;
//! * at the cap the receive is cancelled once;
//! * without memory the reader reads by itself once, and then arms again;
//! * after a reset, the reader reads by itself for good.
//!
//! Actors: one or two readers; the home, which has one receive at a time.
//!
//! Bound: 3 threads at a time, two receives, three leases, distinguished by their lengths.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use loom::thread::{self, JoinHandle};
use loom_tests::explore;
use ringloop::model::{
    Doorbell,
    pool::{Lease, Pool},
    socket::{Found, Inbound},
};

use crate::tasks::wait_for;

/// A completion, and whether it is the last.
enum Completion {
    Bytes(Lease),
    End(Option<i32>),
    Cancelled,
    Starved,
    /// The connection is reset, as a poll has reported: the receive is cancelled.
    HungUp,
}
use Completion::{Bytes, Cancelled, End, HungUp, Starved};

/// The result of a read.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Bytes(usize),
    Eof,
    Failed(i32),
    ToRead,
}

struct Socket {
    inbound: Arc<Inbound>,
    pool: Pool,
    /// The completions of the next receives.
    receives: VecDeque<Vec<Completion>>,
    receive: Option<JoinHandle<usize>>,
}

/// A receive at the home; returns how often it must be cancelled.
fn receive(inbound: &Inbound, completions: Vec<Completion>) -> usize {
    let mut stops = 0;
    for completion in completions {
        let mut wakes = Vec::new();
        match completion {
            Bytes(lease) => stops += usize::from(inbound.arrived(lease, &mut wakes)),
            End(error) => {
                inbound.ended(error);
                inbound.disarmed(false, &mut wakes);
            }
            Cancelled => inbound.disarmed(false, &mut wakes),
            Starved => inbound.disarmed(true, &mut wakes),
            HungUp => {
                inbound.hung_up();
                inbound.disarmed(false, &mut wakes);
            }
        }
        wakes.into_iter().for_each(Waker::wake);
    }
    stops
}

impl Socket {
    fn new() -> Self {
        let bell = Box::leak(Box::new(Doorbell::new()));
        let mut pool = Pool::new(1, 4096, bell);
        pool.reclaim();
        let inbound = Arc::new(Inbound::new());
        Self { inbound, pool, receives: VecDeque::new(), receive: None }
    }

    fn lend(&mut self, len: usize) -> Lease {
        self.pool.lend(0, len, false)
    }

    /// As the readers of a socket poll.
    fn poll(&mut self, cx: &Context<'_>, room: Option<usize>) -> Poll<Found> {
        loop {
            match self.inbound.take(cx.waker(), room) {
                Found::Nothing => return Poll::Pending,
                Found::ToArm => {
                    self.finish();
                    let completions = self.receives.pop_front().expect("it was armed before");
                    let inbound = self.inbound.clone();
                    self.receive = Some(thread::spawn(move || receive(&inbound, completions)));
                }
                found => return Poll::Ready(found),
            }
        }
    }

    /// Reads a lease, or with `room` at most that part of it.
    fn read_to(&mut self, room: Option<usize>) -> Told {
        match wait_for(poll_fn(|cx| self.poll(cx, room))) {
            Found::Some(bytes) => Told::Bytes(bytes),
            Found::Eof => Told::Eof,
            Found::Failed(error) => Told::Failed(error),
            Found::ToRead => Told::ToRead,
            Found::Nothing | Found::ToArm => unreachable!("the reader goes on"),
        }
    }

    fn read(&mut self) -> Told {
        self.read_to(None)
    }

    /// The end of a receive; returns how often it had to be cancelled.
    fn finish(&mut self) -> usize {
        self.receive.take().map_or(0, |receive| receive.join().unwrap())
    }
}

/// Two arrivals, and the receive goes on.
#[test]
fn arrivals_against_reader() {
    explore(|| {
        let mut socket = Socket::new();
        let arrivals = [1, 2].map(|len| Bytes(socket.lend(len)));
        socket.receives.push_back(arrivals.into());
        assert_eq!([socket.read(), socket.read()], [Told::Bytes(1), Told::Bytes(2)]);
        assert!(socket.finish() <= 1);
    });
}

/// One reader reads, and another waits until there is something to read.
#[test]
fn arrival_against_two_readers() {
    explore(|| {
        let mut socket = Socket::new();
        let arrival = Bytes(socket.lend(1));
        assert!(matches!(socket.inbound.take(Waker::noop(), None), Found::ToArm));
        let inbound = socket.inbound.clone();
        let completions = vec![arrival, End(None)];
        socket.receive = Some(thread::spawn(move || receive(&inbound, completions)));
        let inbound = socket.inbound.clone();
        let onlooker = thread::spawn(move || {
            let found = wait_for(poll_fn(|cx| match inbound.take(cx.waker(), Some(0)) {
                Found::Nothing => Poll::Pending,
                found => Poll::Ready(found),
            }));
            assert!(matches!(found, Found::Some(0) | Found::Eof));
        });
        assert_eq!([socket.read(), socket.read()], [Told::Bytes(1), Told::Eof]);
        socket.finish();
        onlooker.join().unwrap();
    });
}

/// The cap is exceeded; completions on their way still come, while the reader takes a part of a
/// lease.
#[test]
fn cap_against_reader() {
    explore(|| {
        let mut socket = Socket::new();
        let [two, three, four] = [2, 3, 4].map(|len| socket.lend(len));
        assert!(matches!(socket.inbound.take(Waker::noop(), None), Found::ToArm));
        assert_eq!(receive(&socket.inbound, vec![Bytes(two), Bytes(three)]), 1, "it goes on");
        let inbound = socket.inbound.clone();
        let rest = vec![Bytes(four), Cancelled];
        socket.receive = Some(thread::spawn(move || receive(&inbound, rest)));
        socket.receives.push_back(vec![End(None)]);

        assert_eq!(socket.read_to(Some(1)), Told::Bytes(1));
        for len in [1, 3, 4] {
            assert_eq!(socket.read(), Told::Bytes(len));
        }
        assert_eq!(socket.finish(), 0, "cancelled twice");
        assert_eq!([socket.read(), socket.read()], [Told::Eof, Told::Eof]);
        socket.finish();
    });
}

/// An arrival, and an error.
#[test]
fn error_against_reader() {
    explore(|| {
        let mut socket = Socket::new();
        let arrival = Bytes(socket.lend(1));
        socket.receives.push_back(vec![arrival, End(Some(5))]);
        let told = [socket.read(), socket.read(), socket.read()];
        assert_eq!(told, [Told::Bytes(1), Told::Failed(5), Told::Eof]);
        socket.finish();
    });
}

/// An arrival, and a reset.
#[test]
fn reset_against_reader() {
    explore(|| {
        let mut socket = Socket::new();
        let arrival = Bytes(socket.lend(1));
        socket.receives.push_back(vec![arrival, HungUp]);
        let told = [socket.read(), socket.read(), socket.read()];
        assert_eq!(told, [Told::Bytes(1), Told::ToRead, Told::ToRead]);
        socket.finish();
    });
}

/// There is no memory for a second arrival; the next receive gets the end.
#[test]
fn starvation_against_reader() {
    explore(|| {
        let mut socket = Socket::new();
        let arrival = Bytes(socket.lend(1));
        socket.receives.extend([vec![arrival, Starved], vec![End(None)]]);
        let told = [socket.read(), socket.read(), socket.read()];
        assert_eq!(told, [Told::Bytes(1), Told::ToRead, Told::Eof]);
        socket.finish();
    });
}
