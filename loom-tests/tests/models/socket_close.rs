//! The owner drops a socket while its home has operations in flight on it.
//!
//! Code: the mailbox, doorbells and `reactor/socket/outbound.rs` as they are. The socket, its
//! descriptor and the table of operations are stand-ins: an operation holds a reference to the
//! socket until the home has seen its terminal completion.
//!
//! Properties: the descriptor is closed once, when the last operation has ended, and not before
//! (S4); bytes that were queued before the drop are sent before that.
//!
//! Actors: the home; the owner, which drops its handle on another thread; the kernel, which may end
//! a receive by itself.
//!
//! Bound: 3 threads, two operations.

use std::{collections::HashMap, mem, sync::Arc, task::Waker};

use loom::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};
use loom_tests::explore;
use ringloop::model::{
    Doorbell, kernel,
    mailbox::{Mailbox, Node, Sent},
    socket::{Chunk, Next, Outbound, Queued},
};

/// The owner's request.
const RETIRE: u32 = 1;
const FLUSH: u32 = 2;

/// The state of a descriptor.
#[derive(Default)]
struct Watch {
    /// Operations on it in the kernel, or whose end the home has not seen.
    in_flight: AtomicUsize,
    closed: AtomicUsize,
    sent: Mutex<Vec<u8>>,
}

struct Descriptor(Arc<Watch>);

impl Drop for Descriptor {
    fn drop(&mut self) {
        // The latest value, since loom does not know the order that the references make.
        assert_eq!(self.0.in_flight.fetch_add(0, Relaxed), 0, "closed under an operation");
        self.0.closed.fetch_add(1, Relaxed);
    }
}

struct Parts {
    outbound: Outbound,
    fd: Descriptor,
}

type Socket = Node<Parts>;

/// What the home shares with other threads.
struct Shared {
    mailbox: Mailbox<Parts>,
    bell: Doorbell,
    kernel: Mutex<Kernel>,
}

/// The operations in the kernel, by their numbers.
#[derive(Default)]
struct Kernel {
    started: usize,
    /// A receive that has not ended.
    receive: Option<usize>,
    /// Operations whose terminal completions the home has not seen yet.
    ended: Vec<usize>,
}

impl Kernel {
    fn start(&mut self) -> usize {
        self.started += 1;
        self.started
    }

    /// The receive ends, by a cancel or by itself.
    fn end_receive(&mut self) {
        self.ended.extend(self.receive.take());
    }
}

impl Shared {
    fn send(&self, socket: &Arc<Socket>, request: u32) {
        match self.mailbox.send(socket, request) {
            Sent::Awake => {}
            Sent::Asleep => self.bell.ring(),
            Sent::Closed => self.mailbox.drain_with(|socket, _| drop(socket)),
        }
    }

    /// As the drop of the owner's handle.
    fn drop_handle(&self, socket: Arc<Socket>) {
        self.send(&socket, RETIRE);
    }
}

struct Home {
    shared: Arc<Shared>,
    flights: HashMap<usize, (Arc<Socket>, Option<Chunk>)>,
    retired: bool,
}

impl Home {
    fn new() -> Self {
        kernel::open(0);
        let bell = Doorbell::new();
        bell.open(0);
        let shared = Shared { mailbox: Mailbox::new(), bell, kernel: Mutex::default() };
        Self { shared: Arc::new(shared), flights: HashMap::new(), retired: false }
    }

    fn arm_receive(&mut self, socket: &Arc<Socket>) {
        let mut kernel = self.shared.kernel.lock().unwrap();
        let id = kernel.start();
        kernel.receive = Some(id);
        drop(kernel);
        self.begin(id, socket.clone(), None);
    }

    fn begin(&mut self, id: usize, socket: Arc<Socket>, chunk: Option<Chunk>) {
        socket.fd.0.in_flight.fetch_add(1, Relaxed);
        self.flights.insert(id, (socket, chunk));
    }

    /// Sends a chunk; the kernel takes two bytes at a time.
    fn send(&mut self, socket: Arc<Socket>, chunk: Chunk) {
        let mut kernel = self.shared.kernel.lock().unwrap();
        let id = kernel.start();
        kernel.ended.push(id);
        drop(kernel);
        self.begin(id, socket, Some(chunk));
    }

    /// Handles a terminal completion.
    fn complete(&mut self, id: usize) {
        let (socket, chunk) = self.flights.remove(&id).expect("it was in flight");
        let watch = &socket.fd.0;
        watch.in_flight.fetch_sub(1, Relaxed);
        let Some(chunk) = chunk else { return };
        let sent = chunk.bytes().len().min(2);
        watch.sent.lock().unwrap().extend(&chunk.bytes()[..sent]);
        let mut wakes = Vec::new();
        let next = socket.outbound.completed(chunk, Ok(sent), &mut wakes);
        wakes.into_iter().for_each(Waker::wake);
        if let Next::Send(chunk) = next {
            self.send(socket, chunk);
        }
    }

    fn drain(&mut self) {
        let shared = self.shared.clone();
        shared.mailbox.drain_with(|socket, requests| {
            if requests & RETIRE != 0 {
                self.retired = true;
                shared.kernel.lock().unwrap().end_receive();
            }
            if requests & FLUSH != 0
                && let Some(chunk) = socket.outbound.start()
            {
                self.send(socket, chunk);
            }
        });
    }

    fn reap(&mut self) -> usize {
        let ended = mem::take(&mut self.shared.kernel.lock().unwrap().ended);
        ended.iter().for_each(|id| self.complete(*id));
        ended.len()
    }

    /// Makes turns until the owner is gone and all operations have ended.
    fn serve(&mut self) {
        loop {
            self.drain();
            if self.reap() > 0 {
                continue;
            }
            if self.retired && self.flights.is_empty() {
                return self.close();
            }
            if self.shared.mailbox.may_sleep() {
                kernel::wait(0);
            }
            self.shared.mailbox.wake();
        }
    }

    /// The end of the home: no new operation, and receives end.
    fn close(&mut self) {
        self.shared.mailbox.close();
        self.shared.mailbox.drain_with(|socket, _| drop(socket));
        self.shared.kernel.lock().unwrap().end_receive();
        while self.reap() > 0 {}
        assert!(self.flights.is_empty());
    }
}

fn socket() -> (Arc<Socket>, Arc<Watch>) {
    let watch = Arc::<Watch>::default();
    (Node::new(Parts { outbound: Outbound::new(), fd: Descriptor(watch.clone()) }), watch)
}

/// Dropped while a receive is armed, which the kernel may end as well.
#[test]
fn drop_against_receive() {
    explore(|| {
        let (mut home, (socket, watch)) = (Home::new(), socket());
        home.arm_receive(&socket);
        let shared = home.shared.clone();
        let owner = thread::spawn(move || shared.drop_handle(socket));
        let shared = home.shared.clone();
        let peer = thread::spawn(move || {
            shared.kernel.lock().unwrap().end_receive();
            shared.bell.ring();
        });
        home.serve();
        owner.join().unwrap();
        peer.join().unwrap();
        assert_eq!(watch.closed.load(Relaxed), 1);
    });
}

/// Dropped with bytes that are still to be sent, and a receive armed.
#[test]
fn drop_against_send() {
    explore(|| {
        let (mut home, (socket, watch)) = (Home::new(), socket());
        home.arm_receive(&socket);
        let shared = home.shared.clone();
        let owner = thread::spawn(move || {
            let queued = socket.outbound.push(Chunk::new(&[1, 2, 3]), Waker::noop());
            assert!(matches!(queued, Queued::First));
            shared.send(&socket, FLUSH);
            shared.drop_handle(socket);
        });
        home.serve();
        owner.join().unwrap();
        assert_eq!(watch.closed.load(Relaxed), 1);
        assert_eq!(*watch.sent.lock().unwrap(), [1, 2, 3]);
    });
}

/// Dropped while its home ends.
#[test]
fn drop_against_the_end() {
    explore(|| {
        let (mut home, (socket, watch)) = (Home::new(), socket());
        home.arm_receive(&socket);
        let shared = home.shared.clone();
        let owner = thread::spawn(move || shared.drop_handle(socket));
        home.close();
        owner.join().unwrap();
        assert_eq!(watch.closed.load(Relaxed), 1);
    });
}
