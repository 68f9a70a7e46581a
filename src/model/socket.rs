//! [`reactor::socket`]: what readers and writers share with a socket's home.
#![allow(missing_docs)]

use std::{io, task::Waker};

use crate::reactor::{socket, uring};

pub use crate::reactor::Lease;

/// [`socket::Inbound`].
pub struct Inbound(socket::Inbound);

/// What a reader finds.
pub enum Found {
    /// So many bytes.
    Some(usize),
    Eof,
    Failed(i32),
    Nothing,
    ToArm,
    ToRead,
}

#[allow(clippy::new_without_default)]
impl Inbound {
    pub fn new() -> Self {
        Self(socket::Inbound::new())
    }

    /// The first lease, or with `room` as much of it as fits.
    pub fn take(&self, waker: &Waker, room: Option<usize>) -> Found {
        let found = self.0.take(true, waker, |queue| match room {
            None => queue.pop().len(),
            Some(room) => {
                let taken = queue.front().len().min(room);
                queue.consume(taken);
                taken
            }
        });
        match found {
            socket::Found::Some(taken) => Found::Some(taken),
            socket::Found::End(socket::End::Eof) => Found::Eof,
            socket::Found::End(socket::End::Failed(error)) => Found::Failed(error),
            socket::Found::Nothing => Found::Nothing,
            socket::Found::ToArm => Found::ToArm,
            socket::Found::ToRead => Found::ToRead,
        }
    }

    /// Whether the receive is to be cancelled.
    pub fn arrived(&self, lease: Lease, wakes: &mut Vec<Waker>) -> bool {
        self.0.arrived(lease, || usize::MAX, wakes) == socket::Flow::Stop
    }

    /// With an error, or without.
    pub fn ended(&self, error: Option<i32>) {
        self.0.ended(error.map_or(socket::End::Eof, socket::End::Failed));
    }

    pub fn hung_up(&self) {
        self.0.hung_up();
    }

    pub fn receive_instead(
        &self,
        read: impl FnOnce() -> io::Result<Lease>,
        wakes: &mut Vec<Waker>,
    ) {
        let _ = self.0.receive_instead(read, wakes);
    }

    pub fn disarmed(&self, starved: bool, wakes: &mut Vec<Waker>) {
        self.0.disarmed(starved, wakes);
    }
}

/// [`uring::Claim`].
pub struct Claim(uring::Claim);

#[allow(clippy::new_without_default)]
impl Claim {
    pub fn new() -> Self {
        Self(uring::Claim::new())
    }

    pub fn take(&self) {
        self.0.take();
    }

    pub fn give_back(&self, may_borrow: bool) {
        self.0.give_back(may_borrow);
    }

    pub fn try_borrow(&self, receive: impl FnOnce()) -> bool {
        self.0.try_borrow(receive)
    }
}

/// [`socket::Outbound`].
pub struct Outbound(socket::Outbound);

/// Bytes on their way.
pub struct Chunk(socket::Chunk);

/// What became of a direct send.
pub enum Direct<R> {
    Done(R),
    Busy,
    Failed(i32),
}

/// What became of a chunk.
pub enum Queued {
    Behind,
    First,
    Full(Chunk),
    Failed(i32),
}

/// What comes after a send.
pub enum Next {
    Send(Chunk),
    Idle { shut: bool },
    GaveUp,
}

impl Chunk {
    pub fn new(bytes: &[u8]) -> Self {
        Self(socket::Chunk::Bytes(bytes.to_vec(), 0))
    }

    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }
}

#[allow(clippy::new_without_default)]
impl Outbound {
    pub fn new() -> Self {
        Self(socket::Outbound::new())
    }

    pub fn push(&self, chunk: Chunk, waker: &Waker) -> Queued {
        match self.0.push(chunk.0, waker) {
            socket::Queued::Behind => Queued::Behind,
            socket::Queued::First => Queued::First,
            socket::Queued::Full(chunk) => Queued::Full(Chunk(chunk)),
            socket::Queued::Failed(error) => Queued::Failed(error),
        }
    }

    pub fn take_back(&self, wakes: &mut Vec<Waker>) -> Option<Chunk> {
        match self.0.take_back(wakes) {
            socket::TakenBack::Chunk(chunk) => Some(Chunk(chunk)),
            socket::TakenBack::Gone | socket::TakenBack::GaveUp => None,
        }
    }

    pub fn send_directly<R>(&self, send: impl FnOnce() -> R) -> Direct<R> {
        match self.0.send_directly(send) {
            socket::Direct::Done(result) => Direct::Done(result),
            socket::Direct::Busy => Direct::Busy,
            socket::Direct::Failed(error) => Direct::Failed(error),
        }
    }

    pub fn flushed(&self, waker: &Waker) -> Option<Result<(), i32>> {
        self.0.flushed(waker)
    }

    pub fn is_idle(&self) -> bool {
        self.0.is_idle()
    }

    pub fn shut(&self) -> bool {
        self.0.shut()
    }

    pub fn start(&self) -> Option<Chunk> {
        self.0.start().map(Chunk)
    }

    pub fn abandon(&self) {
        self.0.abandon();
    }

    pub fn orphaned(&self, wakes: &mut Vec<Waker>) {
        let _ = self.0.orphaned(true, wakes);
    }

    pub fn completed(
        &self,
        chunk: Chunk,
        sent: Result<usize, i32>,
        wakes: &mut Vec<Waker>,
    ) -> Next {
        let (next, _chunk) = self.0.completed(chunk.0, sent, wakes);
        match next {
            socket::Next::Send(chunk) => Next::Send(Chunk(chunk)),
            socket::Next::Idle { shut } => Next::Idle { shut },
            socket::Next::GaveUp => Next::GaveUp,
        }
    }
}
