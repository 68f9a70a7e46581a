//! Resets and receives, with the driver run by hand.

use super::*;
use crate::reactor::{
    Doorbell,
    socket::{Found, Socket},
    uring::{ARM_RECV, Uring, plan},
};

#[test]
fn reset_that_is_told_while_a_receive_is_asked_for_is_not_lost() {
    // Goal: a receive that is armed when its connection's end has been told would never hear of it;
    // method: the reader asks for it, and before the home hears of that come bytes and a reset.
    for defer in [true, false] {
        let mut features = match plan(1, defer) {
            Ok(features) => features,
            Err(error) => return loud(&format!("SKIPPED: {error}")),
        };
        let doorbell = Box::leak(Box::new(Doorbell::new()));
        let mut uring = Uring::new(features.rings.pop().unwrap(), doorbell).unwrap();
        uring.start().unwrap();
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (near, _) = listener.accept().unwrap();
        near.set_nonblocking(true).unwrap();
        let socket = Socket::new(near.into());
        // No more waits for one time.
        while socket.flights.may_arm_once() {}

        let waker = std::task::Waker::noop();
        let take = || socket.inbound.take(true, waker, |queue| queue.pop().len());
        let mut until = |uring: &mut Uring, done: &dyn Fn() -> bool| {
            let _watchdog = Watchdog::new("a turn".to_owned());
            while !done() {
                uring.turn(Some(Duration::from_millis(10)), &mut Vec::new()).unwrap();
            }
        };
        assert!(matches!(take(), Found::ToArm));
        uring.arm_recv(&socket);
        peer.write_all(b"first").unwrap();
        until(&mut uring, &|| socket.flights.poll.get().is_some());
        assert!(matches!(take(), Found::Some(5)));
        uring.cancel(socket.flights.recv.get());
        until(&mut uring, &|| socket.flights.recv.get().is_none());

        assert!(matches!(take(), Found::ToArm));
        peer.write_all(b"last").unwrap();
        socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        until(&mut uring, &|| socket.inbound.has_hung_up());
        uring.answer(&socket, ARM_RECV);
        for _ in 0..3 {
            uring.turn(Some(Duration::from_millis(1)), &mut Vec::new()).unwrap();
        }
        assert!(matches!(take(), Found::ToRead), "deferred: {defer}");
        uring.retire(&socket);
    }
}
