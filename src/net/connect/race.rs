//! Attempts that begin one after the other, of which the first that succeeds wins.

use std::{
    io, mem,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
    vec,
};

use smallvec::SmallVec;

use super::{
    Connect, ConnectError, FailedAttempt,
    error::{no_answer, other_family},
};
use crate::{
    io::{Connection, SocketHandle},
    reactor::{Direction, Endpoint, Socket},
    runtime::{
        Deadline,
        operation::{self, Operation},
    },
    time::Instant,
};

/// The attempts of one connect: a future of the winner, and of how much it has sent. Dropped, it closes all of them.
pub(super) struct Race<'a> {
    connect: &'a Connect,
    /// What the first packet brings along, with TCP Fast Open.
    first: &'a [u8],
    waiting: vec::IntoIter<SocketAddr>,
    /// Those under way, in the order in which they began: mostly one.
    running: SmallVec<[Attempt; 1]>,
    begun: usize,
    /// When the next begins.
    next: Deadline,
    /// When the time for everything is over.
    end: Deadline,
    given_up: bool,
    /// With the number of the attempt.
    failed: Vec<(usize, FailedAttempt)>,
}

impl<'a> Race<'a> {
    pub(super) fn new(
        connect: &'a Connect,
        addrs: Vec<SocketAddr>,
        end: Option<Instant>,
        first: &'a [u8],
    ) -> Self {
        Self {
            connect,
            first,
            waiting: addrs.into_iter(),
            running: SmallVec::new(),
            begun: 0,
            next: Deadline::new(u64::MAX),
            end: Deadline::new(end.map_or(u64::MAX, Instant::as_nanos)),
            given_up: false,
            failed: Vec::new(),
        }
    }

    /// Begins the next attempt that does not fail at once. `Some`: it has succeeded at once.
    fn begin(&mut self) -> Option<Attempt> {
        while let Some(addr) = self.waiting.next() {
            let number = self.begun;
            self.begun += 1;
            match Attempt::start(self.connect, addr, number, self.first) {
                Ok((attempt, true)) => return Some(attempt),
                Ok((attempt, false)) => {
                    self.running.push(attempt);
                    if self.waiting.len() > 0 {
                        self.next.reset(after(self.connect.attempt_delay));
                    }
                    return None;
                }
                Err(error) => self.failed.push((number, FailedAttempt { addr, error })),
            }
        }
        None
    }

    /// `None`: all have failed.
    fn poll_winner(&mut self, cx: &mut Context<'_>) -> Poll<Option<Attempt>> {
        if self.begun == 0
            && let Some(winner) = self.begin()
        {
            return Poll::Ready(Some(winner));
        }
        loop {
            let mut place = 0;
            while place < self.running.len() {
                match self.running[place].poll(cx) {
                    Poll::Pending => place += 1,
                    Poll::Ready(Ok(())) => return Poll::Ready(Some(self.running.remove(place))),
                    Poll::Ready(Err(error)) => {
                        let Attempt { number, addr, .. } = self.running.remove(place);
                        self.failed.push((number, FailedAttempt { addr, error }));
                        if let Some(winner) = self.begin() {
                            return Poll::Ready(Some(winner));
                        }
                    }
                }
            }
            if self.running.is_empty() {
                return Poll::Ready(None);
            }
            if has_come(&mut self.end, cx) {
                self.give_up();
                return Poll::Ready(None);
            }
            if self.waiting.len() == 0 || !has_come(&mut self.next, cx) {
                return Poll::Pending;
            }
            if let Some(winner) = self.begin() {
                return Poll::Ready(Some(winner));
            }
        }
    }

    /// The time for everything is over.
    fn give_up(&mut self) {
        self.given_up = true;
        for Attempt { number, addr, .. } in mem::take(&mut self.running) {
            let error = no_answer(None);
            self.failed.push((number, FailedAttempt { addr, error }));
        }
    }

    fn error(&mut self) -> ConnectError {
        self.failed.sort_by_key(|(number, _)| *number);
        let failed = mem::take(&mut self.failed).into_iter().map(|(_, failed)| failed).collect();
        match self.connect.timeout.filter(|_| self.given_up) {
            Some(timeout) => ConnectError::timed_out(timeout, failed),
            None => ConnectError::of_attempts(failed),
        }
    }
}

impl Future for Race<'_> {
    type Output = Result<(Connection, usize), ConnectError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match ready!(this.poll_winner(cx)) {
            Some(Attempt { socket, sent, .. }) => {
                // Now, and not with the future: it may be kept.
                this.running.clear();
                Poll::Ready(Ok((Connection::from(socket), sent)))
            }
            None => Poll::Ready(Err(this.error())),
        }
    }
}

/// When this time from now is over; never, if that is far beyond all times.
fn after(time: Duration) -> u64 {
    (Instant::now() + time).as_nanos()
}

/// Whether the time has come, by the clock itself at the first look. One that never comes takes no timer.
fn has_come(deadline: &mut Deadline, cx: &mut Context<'_>) -> bool {
    deadline.at() != u64::MAX && deadline.poll_with(cx, true).is_ready()
}

/// One socket that connects to one address.
struct Attempt {
    number: usize,
    addr: SocketAddr,
    socket: SocketHandle,
    /// So many bytes of the data has the kernel taken.
    sent: usize,
    timeout: Option<Duration>,
    end: Deadline,
}

impl Attempt {
    /// `true`: it is connected already.
    fn start(
        connect: &Connect,
        addr: SocketAddr,
        number: usize,
        first: &[u8],
    ) -> io::Result<(Self, bool)> {
        if let Some(local) = connect.local_addr.filter(|local| local.is_ipv4() != addr.is_ipv4()) {
            return Err(other_family(local));
        }
        let prepare = |socket: &socket2::Socket| connect.prepare(socket, addr);
        let (endpoint, connected, sent) = match first {
            [] => {
                let (endpoint, connected) = operation::connect(addr, &prepare)?;
                (endpoint, connected, 0)
            }
            first => operation::connect_with(addr, first, &prepare)?,
        };
        let socket = match connected {
            true => Socket::new(endpoint),
            false => Socket::new_unready(endpoint),
        };
        let socket = SocketHandle::new(socket);
        let timeout = connect.attempt_timeout;
        let end = Deadline::new(timeout.map_or(u64::MAX, after));
        Ok((Self { number, addr, socket, sent, timeout, end }, connected))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(connected) = operation::poll(self.socket.get(), cx, &mut Connected) {
            return Poll::Ready(connected);
        }
        match has_come(&mut self.end, cx) {
            true => Poll::Ready(Err(no_answer(self.timeout))),
            false => Poll::Pending,
        }
    }
}

/// The end of a connect(2) that is under way.
struct Connected;

impl Operation<Endpoint> for Connected {
    type Output = ();

    const DIRECTION: Direction = Direction::Write;

    fn attempt(&mut self, endpoint: &Endpoint) -> io::Result<()> {
        endpoint.connected()
    }
}
