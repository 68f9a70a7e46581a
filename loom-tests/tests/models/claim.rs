//! The right to receive: the home of a socket has it, or a patrol that finds the home held.
//!
//! Code: `reactor/uring/claim.rs` and `reactor/socket/inbound.rs` as they are. The bytes that have
//! arrived at the socket are a list in a cell; a receive takes the first. Only the claim guards the
//! cell.
//!
//! Properties:
//!
//! * one thread receives at a time, and sees what the thread before it did;
//! * the reader gets everything, in the order of its arrival, and does not sleep while there is
//!   something to read, else loom sees it wait for ever.
//!
//! Actors: the home, in turns; a patrol; the reader.
//!
//! Bound: 3 threads, two arrivals, two turns, one or two checks of the patrol.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    sync::Arc,
    task::{Poll, Waker},
};

use loom::{cell::UnsafeCell, thread};
use loom_tests::explore;
use ringloop::model::{
    Doorbell,
    pool::{Lease, Pool},
    socket::{Claim, Found, Inbound},
};

use crate::tasks::wait_for;

struct Socket {
    claim: Claim,
    inbound: Inbound,
    kernel: Kernel,
}

/// Arrivals that were not received; or results of receives, in order. Only for the thread that has
/// the claim.
struct Kernel<T = Lease>(UnsafeCell<VecDeque<T>>);

// SAFETY: loom reports an access while another thread has the cell.
unsafe impl<T: Send> Sync for Kernel<T> {}

impl<T> Kernel<T> {
    fn new(arrived: impl IntoIterator<Item = T>) -> Self {
        Self(UnsafeCell::new(arrived.into_iter().collect()))
    }

    fn with<R>(&self, f: impl FnOnce(&mut VecDeque<T>) -> R) -> R {
        // SAFETY: loom has checked that no other thread has the cell.
        self.0.with_mut(|arrived| f(unsafe { &mut *arrived }))
    }
}

impl Socket {
    /// With two leases of 1 and 2 bytes, a receive armed, and nothing received.
    fn new() -> Arc<Self> {
        let bell = Box::leak(Box::new(Doorbell::new()));
        let mut pool = Pool::new(1, 4096, bell);
        pool.reclaim();
        let kernel = Kernel::new([1, 2].map(|len| pool.lend(0, len, false)));
        let this = Arc::new(Self { claim: Claim::new(), inbound: Inbound::new(), kernel });
        this.claim.give_back(true);
        assert!(matches!(this.inbound.take(Waker::noop(), None), Found::ToArm));
        this
    }

    fn receive(&self) -> Option<Lease> {
        self.kernel.with(VecDeque::pop_front)
    }

    fn queue(&self, lease: Option<Lease>) {
        let mut wakes = Vec::new();
        if let Some(lease) = lease {
            self.inbound.arrived(lease, &mut wakes);
        }
        wakes.into_iter().for_each(Waker::wake);
    }

    /// A turn of the home.
    fn turn(&self) {
        self.claim.take();
        self.queue(self.receive());
        self.give_back();
    }

    /// The end of a turn. The kernel may work until then.
    fn give_back(&self) {
        self.kernel.with(|_| ());
        self.claim.give_back(true);
    }

    /// A check of the patrol.
    fn look(&self) {
        let mut wakes = Vec::new();
        let receive = || self.receive().ok_or_else(|| io::ErrorKind::WouldBlock.into());
        self.claim.try_borrow(|| self.inbound.receive_instead(receive, &mut wakes));
        wakes.into_iter().for_each(Waker::wake);
    }

    fn read(&self) -> usize {
        wait_for(poll_fn(|cx| match self.inbound.take(cx.waker(), None) {
            Found::Some(len) => Poll::Ready(len),
            Found::Nothing => Poll::Pending,
            _ => unreachable!("it is armed, and does not end"),
        }))
    }
}

/// The home goes on while the patrol checks.
#[test]
fn turns_against_look() {
    explore(|| {
        let socket = Socket::new();
        let (home, patrol) = (socket.clone(), socket.clone());
        let home = thread::spawn(move || {
            home.turn();
            home.turn();
        });
        let patrol = thread::spawn(move || patrol.look());
        assert_eq!([socket.read(), socket.read()], [1, 2]);
        home.join().unwrap();
        patrol.join().unwrap();
    });
}

/// A turn ends with a completion that is not reaped: the next turn takes it.
#[test]
fn late_completion_against_look() {
    explore(|| {
        let socket = Socket::new();
        let (home, patrol) = (socket.clone(), socket.clone());
        let home = thread::spawn(move || {
            home.claim.take();
            let late = home.receive();
            home.claim.give_back(false);
            home.claim.take();
            home.queue(late);
            home.queue(home.receive());
            home.give_back();
        });
        let patrol = thread::spawn(move || patrol.look());
        assert_eq!([socket.read(), socket.read()], [1, 2]);
        home.join().unwrap();
        patrol.join().unwrap();
    });
}

/// A reset, which the kernel returns once: the next receive gets the end.
#[test]
fn reset_against_look() {
    explore(|| {
        let socket = Socket::new();
        let told = Arc::new(Kernel::new([io::Error::from_raw_os_error(5)]));
        let receive = |told: &Kernel<io::Error>| match told.with(VecDeque::pop_front) {
            Some(error) => Err(error),
            None => Ok(Lease::empty()),
        };
        let (home, kernel) = (socket.clone(), told.clone());
        let home = thread::spawn(move || {
            let mut wakes = Vec::new();
            home.claim.take();
            home.inbound.ended(receive(&kernel).err().and_then(|error| error.raw_os_error()));
            home.inbound.disarmed(false, &mut wakes);
            home.claim.give_back(true);
            wakes.into_iter().for_each(Waker::wake);
        });
        let patrol = socket.clone();
        let patrol = thread::spawn(move || {
            let mut wakes = Vec::new();
            patrol
                .claim
                .try_borrow(|| patrol.inbound.receive_instead(|| receive(&told), &mut wakes));
            wakes.into_iter().for_each(Waker::wake);
        });
        let read = || {
            wait_for(poll_fn(|cx| match socket.inbound.take(cx.waker(), None) {
                Found::Failed(error) => Poll::Ready(error),
                Found::Eof => Poll::Ready(0),
                Found::Nothing => Poll::Pending,
                _ => unreachable!("it is armed until it ends"),
            }))
        };
        assert_eq!([read(), read()], [5, 0]);
        home.join().unwrap();
        patrol.join().unwrap();
    });
}

/// The home is held: only the patrol receives, check by check.
#[test]
fn looks_against_reader() {
    explore(|| {
        let socket = Socket::new();
        let patrol = socket.clone();
        let reader = thread::spawn(move || assert_eq!([socket.read(), socket.read()], [1, 2]));
        // Until all is received: a check finds nothing to do while the reader does not read.
        while !patrol.kernel.with(|arrived| arrived.is_empty()) {
            patrol.look();
            thread::yield_now();
        }
        reader.join().unwrap();
    });
}
