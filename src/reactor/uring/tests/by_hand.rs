//! The driver run by hand.

use super::*;
use crate::reactor::{
    Doorbell,
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
    (Socket::new(near.into()), peer)
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
    // Goal: a receive that is armed when its connection's end has been told would never hear of it;
    // method: the reader asks for it, and before the home hears of that come bytes and a reset.
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
fn rescued_connections_wait_in_the_kernel_past_the_cap() {
    // Goal: connections that nobody takes do not use up descriptors; method: more of them than the cap,
    // and a listener whose worker is stuck for many looks.
    const CAP: usize = 64;
    let Some(mut uring) = ring(true) else { return };
    let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let socket = Socket::new_listener(listener.into());
    // Stuck: it is never submitted.
    uring.arm_accept(&socket);
    let peers: Vec<_> = (0..CAP + 20).map(|_| net::TcpStream::connect(address).unwrap()).collect();
    (0..10).for_each(|_| uring.shared.rescue(&mut Vec::new()));
    let mut waiting = 0;
    while socket.accepted.take().is_some() {
        waiting += 1;
    }
    assert_eq!(waiting, CAP);
    (0..10).for_each(|_| uring.shared.rescue(&mut Vec::new()));
    assert!(socket.accepted.take().is_some(), "there is room again");
    drop(peers);
    uring.retire(&socket);
}
