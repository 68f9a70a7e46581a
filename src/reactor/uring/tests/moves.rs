//! Sockets that find a new home while the old one ends, step by step.

use std::{
    cell::RefCell,
    task::{Context, Wake, Waker},
};

use rustix::event::PollFlags;

use super::{
    by_hand::{pair, ring},
    *,
};
use crate::reactor::{
    Direction, Door, Garbage, Home, Pollable, Reactor, poll_ready,
    socket::{Chunk, Found, Queued, Socket},
    uring::{ALL, ARM_READS, ARM_RECV, FLUSH, Gift, RETIRE, Uring, orphan},
};

thread_local! {
    static AT_HAND: RefCell<Option<Reactor>> = const { RefCell::new(None) };
}

/// Leads to the reactor at hand, which is borrowed meanwhile.
fn here(f: &mut dyn FnMut(&mut Reactor) -> io::Result<Home>) -> io::Result<Home> {
    AT_HAND.with_borrow_mut(|reactor| f(reactor.as_mut().unwrap()))
}

const DOOR: Door = Door { here, elsewhere: || None };

/// A turn of the reactor at hand, and then its wakes.
fn turn() {
    let mut wakes = Vec::new();
    let turned = |reactor: &mut Option<Reactor>| {
        reactor.as_mut().unwrap().turn(Some(Duration::from_millis(1)), &mut wakes)
    };
    AT_HAND.with_borrow_mut(turned).unwrap();
    wakes.into_iter().for_each(Waker::wake);
}

/// A socket, and the two reactors between which it moves: the second is the one at hand.
struct Bench {
    first: Uring,
    socket: Arc<Socket>,
    peer: net::TcpStream,
}

impl Bench {
    /// At home in the first, where nothing is in flight any more.
    fn new(defer: bool) -> Option<Self> {
        let first = ring(defer)?;
        let (socket, peer) = pair();
        AT_HAND.set(Some(Reactor::Uring(Box::new(first))));
        assert!(wait(&socket, Direction::Read).is_pending());
        let Some(Reactor::Uring(mut first)) = AT_HAND.take() else { unreachable!() };
        first.cancel(socket.flights.poll.get());
        let _watchdog = Watchdog::new("turns".to_owned());
        while socket.flights.poll.get().is_some() {
            first.turn(Some(Duration::from_millis(1)), &mut Vec::new()).unwrap();
        }
        AT_HAND.set(Some(Reactor::Uring(Box::new(ring(defer)?))));
        Some(Self { first: *first, socket, peer })
    }

    /// The first is at its end, and has still to take the requests that were sent to it.
    fn first_ends(&self) {
        drop(self.first.shared.sockets.clear());
        self.first.shared.mailbox.close();
    }

    fn first_tells(&self) {
        self.first.shared.take_orphans(&mut Garbage::default());
    }

    /// Asks the home at hand, from another thread.
    fn ask_elsewhere(&self, request: u32) {
        let Some(Home::Uring(home)) = self.socket.source().home() else { panic!("no home") };
        let (home, socket) = (home.upgrade().unwrap(), &self.socket);
        assert!(
            thread::scope(|scope| scope
                .spawn(|| home.send(socket, request, &mut Garbage::default()))
                .join())
            .unwrap()
        );
    }

    fn take(&self) -> Found<usize> {
        self.socket.inbound.take(true, Waker::noop(), |queue| queue.pop().len())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(mut reactor) = AT_HAND.take() {
            drop(self.socket.retire(Some(&mut reactor)));
        }
    }
}

/// Tries, in vain, until there is nothing left to try, and then waits.
fn wait(socket: &Arc<Socket>, direction: Direction) -> Poll<()> {
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..3 {
        match poll_ready(socket, direction, &mut cx, DOOR) {
            Poll::Ready(ready) => {
                ready.unwrap();
                let source = socket.source();
                source.clear(source.look(), direction, true);
            }
            Poll::Pending => return Poll::Pending,
        }
    }
    Poll::Ready(())
}

#[test]
fn who_asks_the_new_home_is_answered_though_the_old_one_has_mail() {
    // Goal: a request is not lost with an older one that nobody answers; method: one lies with a home
    // that has ended when the socket finds another; there it is dropped, or something is to be sent.
    for (defer, request) in [(true, RETIRE), (true, FLUSH), (false, RETIRE), (false, FLUSH)] {
        let Some(mut bench) = Bench::new(defer) else { return };
        bench.ask_elsewhere(ARM_READS);
        bench.first_ends();
        assert!(wait(&bench.socket, Direction::Read).is_pending());
        assert!(bench.socket.flights.poll.get().is_some(), "it has no new home");
        if request == FLUSH {
            let chunk = Chunk::Bytes(b"x".to_vec(), 0);
            assert!(matches!(bench.socket.outbound.push(chunk, Waker::noop()), Queued::First));
        }
        bench.ask_elsewhere(request);
        bench.first_tells();
        (0..20).for_each(|_| turn());
        if request == FLUSH {
            bench.peer.set_read_timeout(Some(SETTLE)).unwrap();
            bench.peer.read_exact(&mut [0]).expect("what was written");
        } else {
            assert!(bench.socket.flights.poll.get().is_none(), "it is kept open");
        }
    }
}

#[test]
fn who_trusted_the_old_home_looks_again_after_the_move() {
    // Goal: a writer that found its home to report on it, just before that ended, is not left
    // behind by a reader that moves the socket; method: the end is reported, the reader moves on,
    // the writer waits.
    for defer in [true, false] {
        let Some(bench) = Bench::new(defer) else { return };
        bench.first_ends();
        assert!(wait(&bench.socket, Direction::Read).is_pending());
        let cx = Context::from_waker(Waker::noop());
        let writer = bench.socket.source().slot().poll_ready(Direction::Write, &cx);
        assert!(writer.is_ready(), "deferred: {defer}");
    }
}

/// Does I/O when it is woken, if it can.
#[derive(Default)]
struct Probe {
    lucky: AtomicU64,
    woken: AtomicU64,
}

impl Wake for Probe {
    fn wake(self: Arc<Self>) {
        let free = AT_HAND.with(|reactor| reactor.try_borrow_mut().is_ok());
        self.lucky.fetch_add(free.into(), Ordering::SeqCst);
        self.woken.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn nobody_is_woken_while_the_reactor_is_in_use() {
    // Goal: S6; method: a task waits at a home that ends as it is asked for more: its waker looks whether
    // the reactor at hand is free.
    for defer in [true, false] {
        let Some(bench) = Bench::new(defer) else { return };
        let home = bench.socket.source().home().unwrap();
        let probe = Arc::new(Probe::default());
        let waker = Waker::from(probe.clone());
        let slot = bench.socket.source().slot();
        slot.clear(slot.look(), Direction::Read);
        assert!(slot.poll_ready(Direction::Read, &Context::from_waker(&waker)).is_pending());
        bench.first_ends();
        bench.socket.confirm(&home, Direction::Read, DOOR).unwrap();
        turn();
        assert_eq!(probe.woken.load(Ordering::SeqCst), 1, "deferred: {defer}");
        assert_eq!(probe.lucky.load(Ordering::SeqCst), 1, "deferred: {defer}");
    }
}

#[test]
fn receive_that_is_still_asked_for_is_not_called_off() {
    // Goal: as long as a request is under way nobody else asks; method: a home with something else in
    // flight leaks it before it looks at its mail.
    for defer in [true, false] {
        let Some(bench) = Bench::new(defer) else { return };
        assert!(matches!(bench.take(), Found::ToArm));
        bench.ask_elsewhere(ARM_RECV);
        orphan(&bench.socket, ALL, &mut Vec::new());
        assert!(matches!(bench.take(), Found::Nothing), "deferred: {defer}");
        bench.first_ends();
        bench.first_tells();
        assert!(matches!(bench.take(), Found::ToArm), "deferred: {defer}");
    }
}

#[test]
fn what_an_old_home_passes_on_arms_nothing_for_a_socket_that_is_gone() {
    // Goal: a socket that was dropped stays closed; method: a request lies with a home that has ended, the
    // socket finds another, where nothing is in flight when its owner drops it; then the request comes.
    for defer in [true, false] {
        let Some(bench) = Bench::new(defer) else { return };
        bench.ask_elsewhere(ARM_READS);
        bench.first_ends();
        assert!(wait(&bench.socket, Direction::Read).is_pending());
        let cancel = |reactor: &mut Option<Reactor>| match reactor.as_mut().unwrap() {
            Reactor::Uring(uring) => uring.cancel(bench.socket.flights.poll.get()),
            _ => unreachable!(),
        };
        AT_HAND.with_borrow_mut(cancel);
        let _watchdog = Watchdog::new("turns".to_owned());
        while bench.socket.flights.poll.get().is_some() {
            turn();
        }
        AT_HAND.with_borrow_mut(|reactor| drop(bench.socket.retire(reactor.as_mut())));
        bench.first_tells();
        (0..20).for_each(|_| turn());
        assert!(bench.socket.flights.poll.get().is_none(), "deferred: {defer}: it is kept open");
    }
}

/// Gives the socket, for which the first home reports arrivals, to the one at hand. Meanwhile the first
/// is asked for something, if so.
fn give(bench: &mut Bench, meanwhile: Option<u32>) {
    let home = AT_HAND.with_borrow(|reactor| reactor.as_ref().unwrap().home());
    bench.first.give_homes(&home, 1, Gift::WhileBusy);
    bench.peer.write_all(b"arrives").unwrap();
    let _watchdog = Watchdog::new("turns".to_owned());
    while !bench.socket.has_left(&bench.first.shared) {
        if let Some(request) = meanwhile.filter(|_| bench.first.has_leaving()) {
            bench.first.answer(&bench.socket, request);
        }
        bench.first.turn(Some(Duration::from_millis(1)), &mut Vec::new()).unwrap();
    }
    assert!(!bench.socket.flights.any_wait(), "nothing is in flight");
    assert_eq!(bench.socket.recv(&mut [MaybeUninit::uninit(); 16]).unwrap().len, 7);
}

#[test]
fn sleep_ends_a_gift_unless_it_lasts() {
    // Goal: a worker that keeps up keeps its sockets, and one that was held does not, though it sleeps
    // in between. Method: it sleeps before anything arrives.
    for (gift, leaves) in [(Gift::WhileBusy, false), (Gift::Lasting, true)] {
        let Some(mut bench) = Bench::new(true) else { return };
        bench.first.answer(&bench.socket, ARM_READS);
        let home = AT_HAND.with_borrow(|reactor| reactor.as_ref().unwrap().home());
        bench.first.give_homes(&home, 1, gift);
        let turn_first = |bench: &mut Bench| {
            bench.first.turn(Some(Duration::from_millis(1)), &mut Vec::new()).unwrap();
            // What it leaves keeps it awake.
            drop(bench.first.take_garbage());
        };
        (0..3).for_each(|_| turn_first(&mut bench));
        bench.peer.write_all(b"arrives").unwrap();
        (0..20).for_each(|_| turn_first(&mut bench));
        assert_eq!(bench.socket.has_left(&bench.first.shared), leaves, "{gift:?}");
    }
}

#[test]
fn who_comes_late_for_a_socket_that_has_left_reads_nothing_of_it() {
    // Goal: bytes keep their order though a rescuer has found the socket in the list of a home that has
    // given it away since; method: it comes when the new home receives.
    for defer in [true, false] {
        let Some(mut bench) = Bench::new(defer) else { return };
        bench.first.answer(&bench.socket, ARM_READS);
        give(&mut bench, None);
        assert!(matches!(bench.take(), Found::ToArm));
        AT_HAND
            .with_borrow_mut(|reactor| bench.socket.arm_recv(reactor.as_mut().unwrap(), || None));
        assert!(matches!(bench.take(), Found::Nothing));
        turn();
        bench.peer.write_all(b"late").unwrap();
        bench.first.turn(Some(Duration::ZERO), &mut Vec::new()).unwrap();
        bench.first.shared.rescue_socket(&bench.socket, PollFlags::IN, &mut Vec::new());
        assert!(matches!(bench.take(), Found::Nothing), "deferred: {defer}: it was read");
        (0..20).for_each(|_| turn());
        assert!(matches!(bench.take(), Found::Some(4)), "the new home has it");
    }
}

#[test]
fn request_that_comes_late_goes_on_to_the_new_home() {
    // Goal: a task that had looked for the home just before the socket left is not left waiting; method:
    // its request comes to the old home after the move.
    for defer in [true, false] {
        let Some(mut bench) = Bench::new(defer) else { return };
        bench.first.answer(&bench.socket, ARM_READS);
        let old = bench.first.shared.clone();
        give(&mut bench, None);
        assert!(old.send(&bench.socket, ARM_READS, &mut Garbage::default()));
        bench.first.turn(Some(Duration::ZERO), &mut Vec::new()).unwrap();
        assert!(bench.socket.flights.poll.get().is_none(), "the old home has armed it");
        turn();
        assert!(bench.socket.flights.poll.get().is_some(), "deferred: {defer}");
    }
}

#[test]
fn what_is_asked_for_on_the_way_is_asked_of_the_new_home() {
    // Goal: a task that begins to wait while the socket is on its way is not left waiting; method: it asks
    // when what is in flight has been cancelled and has not ended.
    for defer in [true, false] {
        let Some(mut bench) = Bench::new(defer) else { return };
        // A poll that goes on after the arrival, so that it has to be cancelled.
        while bench.socket.flights.may_arm_once() {}
        bench.first.answer(&bench.socket, ARM_READS);
        give(&mut bench, Some(ARM_READS));
        turn();
        assert!(bench.socket.flights.poll.get().is_some(), "deferred: {defer}");
    }
}

#[test]
fn socket_whose_new_home_is_held_is_found_there_by_others() {
    // Goal: a task is not left waiting though the worker that its socket went to is held since before the
    // move; method: the new home takes no turn. A task asks it for a receive, bytes arrive, and another
    // worker looks at its sockets.
    let Some(mut bench) = Bench::new(true) else { return };
    bench.first.answer(&bench.socket, ARM_READS);
    give(&mut bench, None);
    assert!(matches!(bench.take(), Found::ToArm));
    bench.ask_elsewhere(ARM_RECV);
    assert!(matches!(bench.take(), Found::Nothing));
    bench.peer.write_all(b"held").unwrap();
    let Some(Home::Uring(home)) = bench.socket.source().home() else { panic!("no home") };
    home.upgrade().unwrap().rescue(&mut Vec::new());
    assert!(matches!(bench.take(), Found::Some(4)), "nobody has read it");
}
