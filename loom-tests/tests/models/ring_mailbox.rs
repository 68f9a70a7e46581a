//! Requests that other threads send to the worker that has a socket in its ring.
//!
//! Code: `reactor/uring/mailbox.rs` and doorbells as they are, on modelled eventfds.
//!
//! Properties:
//!
//! * no request is left to an owner that sleeps, else loom sees it wait for ever;
//! * each is answered once, by a thread that sees what was done before it;
//! * a ring that comes late, even after the owner's end, does no harm;
//! * at the end the mailbox has kept no reference and taken none too many;
//! * a request to a home is not left with the home before it.
//!
//! Actors: the owner, which drains, and sleeps when there is no mail; one or two threads that send.
//!
//! Bound: 3 threads, two sockets, three requests.

use std::sync::Arc;

use loom::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread::{self, JoinHandle},
};
use loom_tests::explore;
use ringloop::model::{
    Doorbell, kernel,
    mailbox::{Mailbox, Node, Sent},
};

/// What was done before each of two requests.
pub type Socket = Node<[AtomicBool; 2]>;

/// A request ...
pub const FIRST: u32 = 1;
/// ... and another.
pub const SECOND: u32 = 2;

/// A socket without a request.
pub fn socket() -> Arc<Socket> {
    Node::new([0; 2].map(|_| AtomicBool::new(false)))
}

/// A home, its mailbox and its doorbell.
pub struct Home {
    pub mailbox: Mailbox<[AtomicBool; 2]>,
    pub bell: Doorbell,
    pub orphans: AtomicUsize,
}

impl Home {
    pub fn new() -> Arc<Self> {
        kernel::open(0);
        let bell = Doorbell::new();
        bell.open(0);
        Arc::new(Self { mailbox: Mailbox::new(), bell, orphans: AtomicUsize::new(0) })
    }

    pub fn send(&self, socket: &Arc<Socket>, request: u32) {
        socket[request.trailing_zeros() as usize].store(true, Relaxed);
        match self.mailbox.send(socket, request) {
            Sent::Awake => {}
            Sent::Asleep => self.bell.ring(),
            Sent::Closed => self.take_orphans(),
        }
    }

    /// Takes the requests that get no answer.
    fn take_orphans(&self) {
        let count = self.drain() as usize;
        self.orphans.fetch_add(count, Relaxed);
    }

    fn send_elsewhere(self: &Arc<Self>, socket: &Arc<Socket>, request: u32) -> JoinHandle<()> {
        let (home, socket) = (self.clone(), socket.clone());
        thread::spawn(move || home.send(&socket, request))
    }

    /// Takes the requests that are there; returns their number.
    pub fn drain(&self) -> u32 {
        let mut count = 0;
        self.mailbox.drain_with(|socket, requests| {
            assert_ne!(requests, 0, "queued twice");
            for (request, before) in [FIRST, SECOND].into_iter().zip(&**socket) {
                if requests & request != 0 {
                    assert!(before.load(Relaxed), "what came before a request is not seen");
                    count += 1;
                }
            }
        });
        count
    }

    /// The owner's loop until it has answered `wanted` requests, and its end.
    fn serve(&self, wanted: u32) {
        let mut answered = self.drain();
        while answered < wanted {
            if self.mailbox.may_sleep() {
                kernel::wait(0);
            }
            self.mailbox.wake();
            answered += self.drain();
        }
        assert_eq!(answered, wanted, "answered twice");
        self.end();
    }

    pub fn end(&self) {
        self.mailbox.close();
        self.take_orphans();
        self.bell.close();
    }
}

/// Waits for the senders; then only the model refers to the sockets.
fn finish(senders: impl IntoIterator<Item = JoinHandle<()>>, sockets: &[Arc<Socket>]) {
    for sender in senders {
        sender.join().unwrap();
    }
    for socket in sockets {
        assert_eq!(Arc::strong_count(socket), 1, "a reference is lost, or was never given");
    }
}

/// Two threads send two requests for one socket.
#[test]
fn two_requests_for_one() {
    explore(|| {
        let (home, sockets) = (Home::new(), [socket()]);
        let senders = [FIRST, SECOND].map(|request| home.send_elsewhere(&sockets[0], request));
        home.serve(2);
        finish(senders, &sockets);
    });
}

/// Two threads send requests for two sockets.
#[test]
fn one_request_for_each() {
    explore(|| {
        let (home, sockets) = (Home::new(), [socket(), socket()]);
        let senders = [0, 1].map(|one| home.send_elsewhere(&sockets[one], FIRST));
        home.serve(2);
        finish(senders, &sockets);
    });
}

/// Two sockets are queued when a thread sends a new request for the one that is taken first.
#[test]
fn again_while_taken() {
    explore(|| {
        let (home, sockets) = (Home::new(), [socket(), socket()]);
        home.send(&sockets[0], FIRST);
        home.send(&sockets[1], FIRST);
        let sender = home.send_elsewhere(&sockets[1], SECOND);
        home.serve(3);
        finish([sender], &sockets);
    });
}

/// Two threads send requests, for one socket and for another, while the owner ends.
#[test]
fn requests_against_close() {
    explore(|| {
        let (home, sockets) = (Home::new(), [socket(), socket()]);
        home.send(&sockets[0], FIRST);
        let senders = [0, 1].map(|one| home.send_elsewhere(&sockets[one], SECOND));
        home.end();
        finish(senders, &sockets);
        assert_eq!(home.orphans.load(Relaxed), 3, "a request got no answer");
    });
}

/// A socket gets another home when the first has closed with an unanswered request for it; a thread
/// sends a request to the new one.
#[test]
fn next_home_against_close() {
    explore(|| {
        let (first, second) = (Mailbox::new(), Arc::new(Mailbox::new()));
        let (socket, moved) = (socket(), Arc::new(AtomicBool::new(false)));
        socket[0].store(true, Relaxed);
        assert_eq!(first.send(&socket, FIRST), Sent::Awake);
        first.close();
        let (home, asked, goes) = (second.clone(), socket.clone(), moved.clone());
        let asker = thread::spawn(move || {
            goes.store(true, Relaxed);
            asked[1].store(true, Relaxed);
            assert_ne!(home.send(&asked, SECOND), Sent::Closed);
        });
        let mut orphans = 0;
        first.drain_with(|socket, requests| match moved.load(Relaxed) {
            true => assert_ne!(second.send(&socket, requests), Sent::Closed),
            false => orphans |= requests,
        });
        asker.join().unwrap();
        let mut answered = 0;
        second.drain_with(|_, requests| answered |= requests);
        assert_eq!(orphans & SECOND, 0, "sent to the new home, and not answered there");
        assert_eq!(orphans ^ answered, FIRST | SECOND, "lost, or answered twice");
        assert_eq!(Arc::strong_count(&socket), 1, "a reference is lost, or was never given");
    });
}
