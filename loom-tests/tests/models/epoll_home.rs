//! A socket's home on epoll: a move to another home, and a first wait there, while that home ends.
//!
//! Code: `reactor/epoll.rs`, and what of `reactor/socket` and `reactor/source.rs` a wait for a socket runs
//! through, as it is. The kernel is the machine's. It orders nothing, and no order of its own is
//! explored: a message arrives when both homes are at rest.
//!
//! Property: the task that waits is woken, by the end of the one home or by the message at the other.
//!
//! Actors: a worker that is the home, or whose task waits as the first; another worker, which ends.
//!
//! Bound: 2 threads, two instances, one message.

use std::{
    io::Write,
    os::unix::net::UnixStream,
    sync::Arc,
    task::{Context, Wake, Waker},
};

use loom::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};
use loom_tests::explore;
use ringloop::model::uring::{Seat, Socket, Worker};

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.swap(true, Ordering::Release);
    }
}

/// Polls a read once. Says whether the task waits, and for which flag.
fn wait(socket: &Socket) -> Arc<Flag> {
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Waker::from(flag.clone());
    let mut cx = Context::from_waker(&waker);
    assert!(socket.poll_with(false, &mut cx, || socket.read()).is_pending());
    flag
}

/// The task waits while `other` ends. Then a message comes, and is reported.
fn wait_against_end(home: &Worker, other: Seat, socket: &Socket, mut far: UnixStream) {
    let other = thread::spawn(move || {
        assert_eq!(other.sit().close(), 0);
    });
    let woken = wait(socket);
    other.join().unwrap();
    far.write_all(b"x").unwrap();
    home.turn_busy();
    assert!(woken.0.load(Ordering::Acquire), "it waits for ever");
}

/// A task waits while its home gives the socket to one that ends.
#[test]
fn move_against_end_of_the_new_home() {
    explore(|| {
        let (home, other) = (Seat::on_epoll(0).sit(), Seat::on_epoll(1));
        let (socket, far) = Socket::new();
        wait(&socket);
        home.turn_busy();
        home.give_homes(&other.peer(), 1);
        wait_against_end(&home, other, &socket, far);
        drop(socket);
        assert_eq!(home.close(), 0);
    });
}

/// A task is the first to wait while the worker ends at which the socket would get its home.
#[test]
fn first_wait_against_end_of_the_home() {
    explore(|| {
        let (home, other) = (Seat::on_epoll(0).sit(), Seat::on_epoll(1));
        let (socket, far) = Socket::new();
        home.settle_at(&other.peer());
        wait_against_end(&home, other, &socket, far);
        drop(socket);
        assert_eq!(home.close(), 0);
    });
}
