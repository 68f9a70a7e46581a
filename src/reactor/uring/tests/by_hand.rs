//! The driver run by hand.

use super::*;
use crate::reactor::{
    Direction, Doorbell, Endpoint, Pollable,
    socket::{Found, Socket},
    uring::{ARM_RECV, Allowed, Uring, plan},
};

/// A reactor of this thread. `None`: there are no such rings here.
pub(super) fn ring(defer: bool) -> Option<Uring> {
    let mut features = match plan(1, Allowed { defer_taskrun: defer, ..Allowed::ALL }) {
        Ok(features) => features,
        Err(error) => {
            loud(&format!("SKIPPED: {error}"));
            return None;
        }
    };
    let doorbell = Box::leak(Box::new(Doorbell::new()));
    let mut uring = Uring::new(features.rings.pop().unwrap(), doorbell).unwrap();
    uring.start().unwrap();
    Some(uring)
}

/// A socket and its peer.
pub(super) fn pair() -> (Arc<Socket>, net::TcpStream) {
    let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (near, _) = listener.accept().unwrap();
    near.set_nonblocking(true).unwrap();
    (Socket::new(Endpoint::Kernel(near.into())), peer)
}

/// A ring of this thread, and a socket with its peer.
struct Bench {
    uring: Uring,
    socket: Arc<Socket>,
    peer: net::TcpStream,
}

impl Bench {
    /// `None`: there are no such rings here.
    fn new(defer: bool) -> Option<Self> {
        let uring = ring(defer)?;
        let (socket, peer) = pair();
        Some(Self { uring, socket, peer })
    }

    fn take(&self) -> Found<usize> {
        let waker = std::task::Waker::noop();
        self.socket.inbound.take(true, waker, |queue| queue.pop().len())
    }

    fn turn(&mut self) {
        self.uring.turn(Some(Duration::from_millis(1)), &mut Vec::new()).unwrap();
    }

    fn turn_until(&mut self, done: impl Fn(&Socket) -> bool) {
        let _watchdog = Watchdog::new("turns".to_owned());
        while !done(&self.socket) {
            self.turn();
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.uring.retire(&self.socket);
    }
}

#[test]
fn reset_that_is_told_while_a_receive_is_asked_for_is_not_lost() {
    // Goal: a receive that is armed after the end of its connection was reported would never get
    // that end; method: the reader asks for it, and before the home hears of that come bytes and a
    // reset.
    for defer in [true, false] {
        let Some(mut bench) = Bench::new(defer) else { return };
        // No more waits for one time.
        while bench.socket.flights.may_arm_once() {}
        assert!(matches!(bench.take(), Found::ToArm));
        bench.uring.arm_recv(&bench.socket);
        bench.peer.write_all(b"first").unwrap();
        bench.turn_until(|socket| socket.flights.poll.get().is_some());
        assert!(matches!(bench.take(), Found::Some(5)));
        bench.uring.cancel(bench.socket.flights.recv.get());
        bench.turn_until(|socket| socket.flights.recv.get().is_none());

        assert!(matches!(bench.take(), Found::ToArm));
        bench.peer.write_all(b"last").unwrap();
        let reset = Some(Duration::ZERO);
        socket2::SockRef::from(&bench.peer).set_linger(reset).unwrap();
        bench.peer.shutdown(net::Shutdown::Read).unwrap();
        let elsewhere = net::TcpListener::bind("127.0.0.1:0").unwrap();
        // Closed by having another in its place.
        bench.peer = net::TcpStream::connect(elsewhere.local_addr().unwrap()).unwrap();
        bench.turn_until(|socket| socket.inbound.has_hung_up());
        bench.uring.answer(&bench.socket, ARM_RECV);
        (0..3).for_each(|_| bench.turn());
        assert!(matches!(bench.take(), Found::ToRead), "deferred: {defer}");
    }
}

#[test]
fn receive_in_whose_place_others_read_never_blocks_a_thread() {
    // Goal: while a worker is held nobody but its rescuers receives for it; method: one receive for one
    // time, and more arrivals than the kernel tries it for, each read by a rescue; then another, which
    // has to be there for the rescue as well.
    let Some(mut bench) = Bench::new(true) else { return };
    for round in 0..200 {
        let _watchdog = Watchdog::new(format!("round {round}"));
        while !matches!(bench.take(), Found::Nothing) {
            bench.uring.arm_recv(&bench.socket);
        }
        bench.turn();
        bench.peer.write_all(b"x").unwrap();
        let mut found = bench.take();
        while matches!(found, Found::Nothing) {
            bench.uring.shared.rescue(&mut Vec::new());
            found = bench.take();
        }
        assert!(matches!(found, Found::Some(1)), "round {round}: {found:?}");
        bench.turn();
    }
}

#[test]
fn end_arms_nothing_new() {
    // Goal: what a reactor that ends gets to know makes no new work; method: a receive that goes on,
    // the end begins, a byte comes.
    for defer in [true, false] {
        let Some(mut bench) = Bench::new(defer) else { return };
        while bench.socket.flights.may_arm_once() {}
        assert!(matches!(bench.take(), Found::ToArm));
        bench.uring.arm_recv(&bench.socket);
        bench.turn();
        bench.uring.is_ending = true;
        bench.peer.write_all(b"x").unwrap();
        bench.turn_until(|socket| socket.inbound.try_take(|_| ()).is_some());
        assert!(bench.socket.flights.poll.get().is_none(), "deferred: {defer}");
    }
}

#[test]
fn rescue_of_a_listener_takes_no_connection() {
    // Goal: workers that look at a held worker's listener leave its connections where they are;
    // method: many looks, while no task waits and while one does, which is woken once; then all
    // connections are there for a duplicate.
    const CONNECTIONS: usize = 20;
    let Some(mut uring) = ring(true) else { return };
    let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, dup) = (listener.local_addr().unwrap(), listener.try_clone().unwrap());
    listener.set_nonblocking(true).unwrap();
    let socket = Socket::new(Endpoint::Kernel(listener.into()));
    let source = socket.source();
    source.clear(source.look(), Direction::Read, true);
    // Stuck: what is armed is never submitted.
    uring.register_socket(&socket, Direction::Read);
    let connect = |_| net::TcpStream::connect(address).unwrap();
    let peers: Vec<_> = (0..CONNECTIONS).map(connect).collect();
    let mut wakes = Vec::new();
    (0..10).for_each(|_| uring.shared.rescue(&mut wakes));
    assert_eq!(wakes.len(), 0);
    let cx = std::task::Context::from_waker(std::task::Waker::noop());
    let mut ticket = None;
    assert!(source.slot().poll_ready_shared(Direction::Read, &mut ticket, &cx).is_pending());
    (0..10).for_each(|_| uring.shared.rescue(&mut wakes));
    assert_eq!(wakes.len(), 1);
    for _ in 0..CONNECTIONS {
        dup.accept().expect("a connection");
    }
    assert_eq!(dup.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(peers);
    uring.retire(&socket);
}
