//! [`reactor::uring`](crate::reactor): workers' rings, on a kernel that has one socket.
#![allow(missing_docs)]

use std::{
    cell::RefCell,
    io,
    mem::MaybeUninit,
    os::{fd::RawFd, unix::net::UnixStream},
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use io_uring::{opcode, squeue, types};

use crate::{
    loom::{
        eventfd,
        global::{AtomicBool, AtomicU64, Ordering},
        ring,
    },
    reactor::{
        self, Direction, Door, Doorbell, Endpoint, Garbage, Gift, Home, Reactor, Until,
        socket::{self, End, Found},
    },
};

crate::loom::thread_local! {
    static AT_HAND: RefCell<Option<Reactor>> = const { RefCell::new(None) };
}

crate::loom::thread_local! {
    static ELSEWHERE: RefCell<Option<Home>> = const { RefCell::new(None) };
}

fn with_reactor<R>(f: impl FnOnce(&mut Reactor) -> R) -> R {
    AT_HAND.with(|reactor| f(reactor.borrow_mut().as_mut().expect("a worker's thread")))
}

/// As a runtime has it.
const DOOR: Door = Door { here: |f| with_reactor(f), elsewhere };

fn elsewhere() -> Option<Home> {
    ELSEWHERE.with(|home| home.borrow().clone())
}

/// The kernel.
#[derive(Clone)]
pub struct Kernel(Arc<ring::Kernel>);

#[allow(clippy::new_without_default)]
impl Kernel {
    pub fn new() -> Self {
        Self(ring::Kernel::new())
    }

    pub fn arrive(&self) {
        self.0.arrive();
    }

    pub fn read(&self) -> bool {
        self.0.read()
    }

    pub fn has_unread(&self) -> bool {
        self.0.has_unread()
    }

    pub fn waiting(&self) -> usize {
        self.0.waiting()
    }
}

/// The reactor of a worker, before it has a thread.
pub struct Seat(Reactor, Bell);

/// What ends a worker's sleep.
#[derive(Clone, Copy)]
pub struct Bell(&'static Doorbell);

impl Bell {
    fn open(fd: RawFd) -> Self {
        eventfd::open(fd);
        let doorbell: &'static Doorbell = Box::leak(Box::new(Doorbell::new()));
        doorbell.open_raw(fd);
        Self(doorbell)
    }

    pub fn ring(self) {
        self.0.ring();
    }
}

/// What others know of a worker's reactor.
#[derive(Clone)]
pub struct Peer(Home);

impl Seat {
    /// Of a worker that sleeps at `fd`, which it opens.
    pub fn new(kernel: &Kernel, fd: RawFd) -> Self {
        let bell = Bell::open(fd);
        let ring = ring::Ring::new(&kernel.0, fd);
        let uring = reactor::uring::Uring::modelled(ring, bell.0, fd).expect("descriptors");
        Self(Reactor::Uring(Box::new(uring)), bell)
    }

    /// On epoll, on the machine's kernel, of a worker that does not sleep.
    pub fn on_epoll(fd: RawFd) -> Self {
        Self(Reactor::epoll_of_model().expect("descriptors"), Bell::open(fd))
    }

    pub fn bell(&self) -> Bell {
        self.1
    }

    pub fn peer(&self) -> Peer {
        Peer(self.0.home())
    }

    /// It is this thread's from here on.
    pub fn sit(mut self) -> Worker {
        self.0.start().expect("a model's ring");
        AT_HAND.with(|reactor| *reactor.borrow_mut() = Some(self.0));
        Worker(self.1)
    }
}

/// The worker of this thread.
pub struct Worker(Bell);

impl Worker {
    /// A turn, which sleeps if there is nothing to do, and then its wakes.
    pub fn turn(&self) {
        Self::turn_for(None);
    }

    /// The turn of a worker that has more to do than it can, and then its wakes.
    pub fn turn_busy(&self) {
        Self::turn_for(Some(Duration::ZERO));
    }

    fn turn_for(timeout: Option<Duration>) {
        let mut wakes = Vec::new();
        with_reactor(|reactor| reactor.turn(timeout, &mut wakes)).expect("a model's ring");
        finish(wakes, with_reactor(Reactor::take_garbage));
    }

    /// The next sockets for which something arrives, so many, go to another worker.
    pub fn give_homes(&self, to: &Peer, count: u32) {
        with_reactor(|reactor| reactor.give_homes(&to.0, count, Gift::WhileBusy));
    }

    /// Sockets for which tasks wait here as the first get their home at another worker.
    pub fn settle_at(&self, to: &Peer) {
        ELSEWHERE.with(|home| *home.borrow_mut() = Some(to.0.clone()));
    }

    /// Whether sockets are on their way to another worker.
    pub fn is_giving(&self) -> bool {
        with_reactor(|reactor| match reactor {
            Reactor::Uring(uring) => uring.has_leaving(),
            _ => unreachable!("a model's ring"),
        })
    }

    /// The end of its reactor. Says how many operations the kernel did not let go of.
    pub fn close(self) -> u64 {
        let reactor = AT_HAND.with(|reactor| reactor.borrow_mut().take()).expect("its thread");
        ELSEWHERE.with(|home| home.borrow_mut().take());
        let mut wakes = Vec::new();
        let until = Until { sent: 0, ended: u64::MAX };
        let (leaked, garbage) = reactor.close(until, &mut wakes);
        finish(wakes, garbage);
        self.0.0.close();
        leaked
    }
}

fn finish(wakes: Vec<Waker>, garbage: Garbage) {
    wakes.into_iter().for_each(Waker::wake);
    drop(garbage);
}

/// An operation that owns what it works on, by the future that waits for it. Its end is the next message.
pub struct Operation(Pin<Box<dyn Future<Output = Output> + Send>>);

/// What an operation owns.
#[derive(Default)]
pub struct Memory {
    /// The outputs that were made of it.
    pub outputs: AtomicU64,
    /// Whether the kernel may still use it.
    pub in_use: AtomicBool,
}

/// What an operation has come to, as a descriptor that it has opened.
pub struct Output {
    /// Whether it was cancelled.
    pub cancelled: bool,
}

struct Owning(Arc<Memory>);

// SAFETY: there is no memory that a model's kernel would use.
unsafe impl reactor::Owned for Owning {
    type Output = Output;

    const OPCODE: u8 = opcode::Fsync::CODE;

    fn entry(&mut self) -> squeue::Entry {
        opcode::Fsync::new(types::Fd(-1)).build()
    }

    fn call(&mut self) -> io::Result<u32> {
        unreachable!("it is in a ring")
    }

    fn finish(self, result: io::Result<u32>) -> Output {
        self.0.outputs.fetch_add(1, Ordering::Relaxed);
        Output { cancelled: result.is_err() }
    }
}

impl Drop for Owning {
    fn drop(&mut self) {
        self.0.in_use.store(false, Ordering::Relaxed);
    }
}

impl Worker {
    /// Begins an operation in this worker's ring.
    pub fn perform(&self) -> (Operation, Arc<Memory>) {
        let memory = Arc::new(Memory::default());
        memory.in_use.store(true, Ordering::Relaxed);
        let owning = Owning(memory.clone());
        let operation = with_reactor(|reactor| match reactor {
            Reactor::Uring(uring) => uring.perform(owning),
            _ => unreachable!("a model's ring"),
        });
        (Operation(Box::pin(operation)), memory)
    }
}

impl Future for Operation {
    type Output = Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Output> {
        self.0.as_mut().poll(cx)
    }
}

/// A socket, by its owner.
#[derive(Clone)]
pub struct Socket(Arc<socket::Socket>);

/// A socket, of which it is to be seen whether it is there.
#[derive(Clone)]
pub struct Trace(Weak<socket::Socket>);

impl Trace {
    pub fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }
}

#[allow(clippy::new_without_default)]
impl Socket {
    /// A connection, and its peer's end.
    pub fn new() -> (Self, UnixStream) {
        let (near, far) = UnixStream::pair().expect("descriptors");
        near.set_nonblocking(true).expect("a descriptor");
        (Self(socket::Socket::new(Endpoint::Kernel(near.into()))), far)
    }

    /// Reads a byte from the machine's kernel.
    pub fn read(&self) -> bool {
        self.0.recv(&mut [MaybeUninit::uninit()]).is_ok()
    }

    pub fn trace(&self) -> Trace {
        Trace(Arc::downgrade(&self.0))
    }

    /// Waits until `attempt`, which is made while the socket is ready, succeeds.
    pub fn poll_with(
        &self,
        write: bool,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut() -> bool,
    ) -> Poll<()> {
        let direction = if write { Direction::Write } else { Direction::Read };
        let source = reactor::Pollable::source(&self.0);
        loop {
            let seen = source.look();
            if !seen.is_ready(direction) {
                ready!(reactor::poll_ready(&self.0, direction, cx, DOOR)).expect("a model's ring");
            } else if attempt() {
                return Poll::Ready(());
            } else {
                source.clear(seen, direction, false);
            }
        }
    }

    /// Waits until the stream has ended, by a receive at its home. A reader that is sent to read by
    /// itself looks by `attempt` whether it has.
    pub fn poll_end(&self, cx: &mut Context<'_>, attempt: impl FnMut() -> bool) -> Poll<()> {
        loop {
            match self.0.inbound.take(true, cx.waker(), |_| ()) {
                Found::Some(()) => unreachable!("no bytes come"),
                Found::End(end) => {
                    assert_eq!(end, End::Eof);
                    return Poll::Ready(());
                }
                Found::Nothing => return Poll::Pending,
                Found::ToArm => {
                    assert!(with_reactor(|reactor| self.0.arm_recv(reactor, elsewhere)))
                }
                Found::ToRead => return self.poll_with(false, cx, attempt),
            }
        }
    }

    /// As its owner's handle does when it is dropped.
    pub fn close(self) {
        let left = with_reactor(|reactor| self.0.close(Some(reactor)));
        drop(self);
        drop(left);
    }
}
