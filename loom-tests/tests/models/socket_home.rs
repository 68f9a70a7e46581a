//! A socket's home: requests to it, moves to another home, and the effect of its end on both.
//!
//! Code: all of `reactor/uring`, `reactor/socket` and `reactor/source.rs` that a wait for a socket
//! runs through, as it is: the search for a home, `ask` and `confirm`, the mailbox and its answers,
//! moves, the owner's drop, the end of a reactor. The kernel is a stand-in with one socket, and
//! polls, receives and cancels on it; it orders nothing.
//!
//! Properties:
//!
//! * each task that waits is woken, else loom sees it wait for ever;
//! * a socket has its operations in one ring at a time;
//! * no ring has any of them left when the socket's homes have ended;
//! * a socket that is dropped is closed while its homes go on.
//!
//! Actors: a worker that is the home; another one, whose task uses the socket; the kernel, in which
//! messages arrive.
//!
//! Bound: 3 threads, two rings, one message besides the one that sets a model up.

use std::{
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use loom::{
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, JoinHandle},
};
use loom_tests::explore;
use ringloop::model::uring::{Bell, Kernel, Peer, Seat, Socket, Trace, Worker};

/// A flag that ends a worker's sleep.
struct Flag {
    set: AtomicBool,
    bell: Bell,
}

impl Flag {
    fn new(bell: Bell) -> Arc<Self> {
        Arc::new(Self { set: AtomicBool::new(false), bell })
    }

    fn set(&self) {
        // An RMW: loom 0.7 does not always order a plain store among others.
        self.set.swap(true, Ordering::Release);
        self.bell.ring();
    }

    fn take(&self) -> bool {
        self.set.swap(false, Ordering::Acquire)
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.set();
    }
}

/// Runs a task on this thread's worker.
fn run<T>(worker: &Worker, bell: Bell, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    let woken = Flag::new(bell);
    let waker = Waker::from(woken.clone());
    loop {
        if let Poll::Ready(output) = poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        while !woken.take() {
            worker.turn();
        }
    }
}

/// Two workers, of which the first runs on this thread and is the socket's home, if it has one.
struct Bench {
    kernel: Kernel,
    home: Worker,
    bells: [Bell; 2],
    peers: [Peer; 2],
    other: Option<Seat>,
    socket: Option<Socket>,
    trace: Trace,
}

/// What the home has in flight at first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Armed {
    /// There is no home.
    Homeless,
    /// Nothing: its one-shot operation has completed.
    Nothing,
    /// A poll that goes on.
    Poll,
}

/// The owner's request before it drops the socket.
#[derive(Clone, Copy)]
enum Ask {
    Nothing,
    Report,
}

impl Bench {
    fn new(armed: Armed) -> Self {
        let kernel = Kernel::new();
        let seats = [0, 1].map(|fd| Seat::new(&kernel, fd));
        let (bells, peers) = (seats.each_ref().map(Seat::bell), seats.each_ref().map(Seat::peer));
        let [home, other] = seats;
        let (socket, _far) = Socket::new();
        let trace = socket.trace();
        let (home, other, socket) = (home.sit(), Some(other), Some(socket));
        let this = Self { kernel, home, bells, peers, other, socket, trace };
        let poll = |write| {
            let cx = &mut Context::from_waker(Waker::noop());
            this.socket().poll_with(write, cx, || this.kernel.read())
        };
        match armed {
            Armed::Homeless => {}
            Armed::Nothing => {
                assert!(poll(false).is_pending());
                this.kernel.arrive();
                this.home.turn();
                assert!(poll(false).is_ready());
            }
            Armed::Poll => {
                assert!(poll(true).is_pending());
                this.bells[0].ring();
                this.home.turn();
                assert_eq!(this.kernel.waiting(), 1);
            }
        }
        this
    }

    fn socket(&self) -> &Socket {
        self.socket.as_ref().expect("it was not dropped")
    }

    /// Runs `task` on the other worker, which then ends.
    fn elsewhere(&mut self, task: impl FnOnce(&Worker, Bell) + 'static) -> JoinHandle<()> {
        let (seat, bell) = (self.other.take().expect("one"), self.bells[1]);
        thread::spawn(move || {
            let worker = seat.sit();
            task(&worker, bell);
            assert_eq!(worker.close(), 0, "left in the ring");
        })
    }

    /// Runs `task` on the other worker, where a first wait makes this one the home.
    fn first_at_home(&mut self, task: impl FnOnce(&Worker, Bell) + 'static) -> JoinHandle<()> {
        let home = self.peers[0].clone();
        self.elsewhere(move |worker, bell| {
            worker.settle_at(&home);
            task(worker, bell);
        })
    }

    /// A message arrives.
    fn arrive(&self) -> JoinHandle<()> {
        let kernel = self.kernel.clone();
        thread::spawn(move || kernel.arrive())
    }

    /// A task that reads a message, and then notifies the home.
    fn reader(&self, done: &Arc<Flag>) -> impl FnOnce(&Worker, Bell) + 'static {
        let (kernel, socket, done) = (self.kernel.clone(), self.socket().clone(), done.clone());
        move |worker, bell| {
            run(worker, bell, |cx| socket.poll_with(false, cx, || kernel.read()));
            drop(socket);
            done.set();
        }
    }

    /// A task that lets the home receive until the stream has ended, and then notifies it.
    fn receiver(&self, done: &Arc<Flag>) -> impl FnOnce(&Worker, Bell) + 'static {
        let (kernel, socket, done) = (self.kernel.clone(), self.socket().clone(), done.clone());
        move |worker, bell| {
            run(worker, bell, |cx| socket.poll_end(cx, || kernel.has_unread()));
            drop(socket);
            done.set();
        }
    }

    /// The home is busy, and begins to give the socket away, since something has arrived.
    fn give(&self) {
        self.home.give_homes(&self.peers[1], 1);
        self.home.turn_busy();
    }

    /// The same, and the arrival was read.
    fn give_after_message(&self) {
        self.kernel.arrive();
        self.give();
        assert!(self.kernel.read());
        assert!(self.home.is_giving(), "it keeps the socket");
    }

    /// A task that drops the socket on the other worker, which then goes on until the socket is
    /// closed; before that it has sent a request to the home and done `before`.
    fn dropped_elsewhere(
        &mut self,
        ask: Ask,
        before: impl FnOnce(&Worker) + 'static,
    ) -> JoinHandle<()> {
        // From here on, the bench has no handle of its own.
        let (socket, trace) = (self.socket.take().expect("a socket"), self.trace.clone());
        let (kernel, home) = (self.kernel.clone(), self.bells[0]);
        self.elsewhere(move |worker, _| {
            let cx = &mut Context::from_waker(Waker::noop());
            match ask {
                Ask::Nothing => {}
                Ask::Report => assert!(socket.poll_with(false, cx, || kernel.read()).is_pending()),
            }
            before(worker);
            socket.close();
            turn_until_gone(worker, &trace, home);
        })
    }

    /// The home goes on until the socket is closed, and ends.
    fn serve_until_gone(self, others: impl IntoIterator<Item = JoinHandle<()>>) {
        turn_until_gone(&self.home, &self.trace, self.bells[1]);
        self.end(others);
    }

    fn done(&self) -> Arc<Flag> {
        Flag::new(self.bells[0])
    }

    /// The home goes on until `done`, and ends.
    fn serve(self, done: &Flag, others: impl IntoIterator<Item = JoinHandle<()>>) {
        while !done.take() {
            self.home.turn();
        }
        self.end(others);
    }

    /// Ends the home.
    fn end(self, others: impl IntoIterator<Item = JoinHandle<()>>) {
        assert_eq!(self.home.close(), 0, "left in the ring");
        // The home may have dropped the socket last.
        self.bells[1].ring();
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(self.kernel.waiting(), 0, "left in a ring");
        drop(self.socket);
        assert!(self.trace.is_gone(), "the socket is kept");
    }
}

/// Makes turns until the socket is closed, and wakes the other worker as well.
fn turn_until_gone(worker: &Worker, trace: &Trace, other: Bell) {
    while !trace.is_gone() {
        worker.turn();
    }
    other.ring();
}

/// A task on another worker asks the home to report arrivals, while the home answers and goes to
/// sleep.
#[test]
fn question_against_answer() {
    explore(|| {
        let mut bench = Bench::new(Armed::Nothing);
        let done = bench.done();
        let reader = bench.elsewhere(bench.reader(&done));
        let kernel = bench.arrive();
        bench.serve(&done, [reader, kernel]);
    });
}

/// Two tasks wait for a socket that has no home yet, on two workers; then it is dropped.
#[test]
fn two_first_waits() {
    explore(|| {
        let mut bench = Bench::new(Armed::Homeless);
        let (socket, waits) = (bench.socket().clone(), Flag::new(bench.bells[1]));
        let other_waits = waits.clone();
        let dropped = bench.dropped_elsewhere(Ask::Report, move |worker| {
            while !other_waits.take() {
                worker.turn();
            }
        });
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(socket.poll_with(true, cx, || bench.kernel.read()).is_pending());
        drop(socket);
        waits.set();
        bench.serve_until_gone([dropped]);
    });
}

/// A task on another worker is the first to wait, and the socket gets its home here.
#[test]
fn first_wait_elsewhere() {
    explore(|| {
        let mut bench = Bench::new(Armed::Homeless);
        let done = bench.done();
        let reader = bench.first_at_home(bench.reader(&done));
        let kernel = bench.arrive();
        bench.serve(&done, [reader, kernel]);
    });
}

/// The same by a receive.
#[test]
fn first_receive_elsewhere() {
    explore(|| {
        let mut bench = Bench::new(Armed::Homeless);
        let done = bench.done();
        let reader = bench.first_at_home(bench.receiver(&done));
        let kernel = bench.arrive();
        bench.serve(&done, [reader, kernel]);
    });
}

/// The same while that home ends.
#[test]
fn first_wait_elsewhere_against_end() {
    explore(|| {
        let mut bench = Bench::new(Armed::Homeless);
        let done = bench.done();
        let reader = bench.first_at_home(bench.reader(&done));
        let kernel = bench.arrive();
        bench.end([reader, kernel]);
    });
}

/// The same by a receive.
#[test]
fn first_receive_elsewhere_against_end() {
    explore(|| {
        let mut bench = Bench::new(Armed::Homeless);
        let done = bench.done();
        let reader = bench.first_at_home(bench.receiver(&done));
        let kernel = bench.arrive();
        bench.end([reader, kernel]);
    });
}

/// A reader asks a home for a report of the next message while the home gives the socket away.
#[test]
fn question_against_move() {
    explore(|| {
        let mut bench = Bench::new(Armed::Poll);
        let done = bench.done();
        bench.give_after_message();
        let reader = bench.elsewhere(bench.reader(&done));
        let kernel = bench.arrive();
        bench.serve(&done, [reader, kernel]);
    });
}

/// A reader asks a home to receive while the home gives the socket away.
#[test]
fn receive_against_move() {
    explore(|| {
        let mut bench = Bench::new(Armed::Poll);
        let done = bench.done();
        bench.give_after_message();
        let reader = bench.elsewhere(bench.receiver(&done));
        let kernel = bench.arrive();
        bench.serve(&done, [reader, kernel]);
    });
}

/// On another worker, the owner sends a request and drops the socket.
#[test]
fn question_against_drop() {
    explore(|| {
        let mut bench = Bench::new(Armed::Nothing);
        let dropped = bench.dropped_elsewhere(Ask::Report, |_| {});
        bench.serve_until_gone([dropped]);
    });
}

/// On another worker, the owner drops the socket, while the home gives it away.
#[test]
fn move_against_drop() {
    explore(|| {
        let mut bench = Bench::new(Armed::Poll);
        bench.kernel.arrive();
        let dropped = bench.dropped_elsewhere(Ask::Nothing, |_| {});
        bench.give();
        bench.serve_until_gone([dropped]);
    });
}

/// The same, when the owner has just asked for a report, perhaps at the former home.
#[test]
fn move_against_question_and_drop() {
    explore(|| {
        let mut bench = Bench::new(Armed::Poll);
        bench.give_after_message();
        let dropped = bench.dropped_elsewhere(Ask::Report, |_| {});
        bench.serve_until_gone([dropped]);
    });
}

/// The same, when the owner has asked the home to receive.
#[test]
fn move_against_receive_and_drop() {
    explore(|| {
        let mut bench = Bench::new(Armed::Poll);
        bench.give_after_message();
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(
            bench.socket().poll_end(cx, || unreachable!("it sends a request first")).is_pending()
        );
        let dropped = bench.dropped_elsewhere(Ask::Nothing, |_| {});
        bench.serve_until_gone([dropped]);
    });
}

/// On another worker, the owner drops the socket, while its home ends.
#[test]
fn drop_against_end() {
    explore(|| {
        let mut bench = Bench::new(Armed::Poll);
        let dropped = bench.dropped_elsewhere(Ask::Nothing, |_| {});
        let kernel = bench.arrive();
        bench.end([dropped, kernel]);
    });
}

/// The home ends, with the reader's request to receive in its mailbox or not.
#[test]
fn receive_against_end() {
    explore(|| {
        let mut bench = Bench::new(Armed::Nothing);
        let done = bench.done();
        let reader = bench.elsewhere(bench.receiver(&done));
        let kernel = bench.arrive();
        bench.end([reader, kernel]);
    });
}

/// The home ends, with the request in its mailbox or not.
#[test]
fn question_against_end() {
    explore(|| {
        let mut bench = Bench::new(Armed::Nothing);
        let done = bench.done();
        let reader = bench.elsewhere(bench.reader(&done));
        let kernel = bench.arrive();
        bench.end([reader, kernel]);
    });
}

/// The home ends while it reports arrivals to a task on another worker.
#[test]
fn report_against_end() {
    explore(|| {
        let mut bench = Bench::new(Armed::Poll);
        let done = bench.done();
        let reader = bench.elsewhere(bench.reader(&done));
        let kernel = bench.arrive();
        bench.end([reader, kernel]);
    });
}

/// The home ends while it gives the socket away, and the reader asks it to receive.
#[test]
fn move_against_end() {
    explore(|| {
        let mut bench = Bench::new(Armed::Poll);
        let done = bench.done();
        bench.give_after_message();
        let reader = bench.elsewhere(bench.receiver(&done));
        let kernel = bench.arrive();
        bench.end([reader, kernel]);
    });
}

/// The worker to which a socket is on its way ends; meanwhile a reader has asked for a receive.
#[test]
fn move_against_end_of_the_new_home() {
    explore(|| {
        let mut bench = Bench::new(Armed::Poll);
        bench.give_after_message();
        let other = bench.elsewhere(|_, _| {});
        let kernel = bench.arrive();
        let has_ended = || bench.kernel.has_unread();
        run(&bench.home, bench.bells[0], |cx| bench.socket().poll_end(cx, has_ended));
        bench.end([other, kernel]);
    });
}
