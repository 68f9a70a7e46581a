//! One connection of the steady client: what it sends, what must come back, and the requests that
//! wait.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::ptr::NonNull;
use std::time::Instant;

use hdrhistogram::Histogram;

use super::exchange::Exchange;
use super::ring::{Done, Receive, Ring};

pub struct Connection {
    index: usize,
    socket: OwnedFd,
    exchange: &'static Exchange,
    /// Memory of its own, if not all replies are compared; leaked: the kernel may write to it until
    /// this process ends.
    buffer: NonNull<[u8]>,
    /// Bytes of the current reply.
    received: usize,
    /// Replies that are complete.
    replies: usize,
    /// When the requests not yet answered were due, oldest first.
    waiting: VecDeque<Instant>,
}

/// The messages and requests that a receive has completed.
#[derive(Debug, Default, PartialEq)]
pub struct Answered {
    pub messages: u64,
    /// Requests all of whose messages are complete.
    pub requests: usize,
}

impl Connection {
    pub fn new(index: usize, socket: OwnedFd, exchange: &'static Exchange) -> Connection {
        let len = if exchange.samples() { exchange.reply.len() } else { 0 };
        let buffer = NonNull::from(Box::leak(vec![0; len].into_boxed_slice()));
        Connection {
            index,
            socket,
            exchange,
            buffer,
            received: 0,
            replies: 0,
            waiting: VecDeque::new(),
        }
    }

    /// Queues a request; its latency counts from `due`.
    pub fn send(&mut self, ring: &mut Ring, due: Instant) -> Result<(), String> {
        self.waiting.push_back(due);
        let request = &self.exchange.request;
        ring.send(self.index, self.socket.as_raw_fd(), request).map_err(|error| error.to_string())
    }

    /// Queues a receive. At most one is in flight: after `new`, then whenever one has ended.
    ///
    /// Where all replies are compared, one receive goes on for ever, into provided memory. Where not,
    /// each reply has its own receive, which treats all its bytes alike.
    pub fn receive(&mut self, ring: &mut Ring) -> Result<(), String> {
        let fd = self.socket.as_raw_fd();
        let queued = if self.exchange.samples() {
            let how = if self.is_compared() { Receive::Part } else { Receive::Discard };
            let len = self.exchange.reply.len() - self.received;
            // SAFETY: the buffer is leaked, as long as a reply, and not read before the completion
            // reaches `take`.
            unsafe { ring.receive(self.index, fd, self.buffer.cast(), len, how) }
        } else {
            ring.receive_on(self.index, fd)
        };
        queued.map_err(|error| error.to_string())
    }

    /// Successful sends post no completion, so this one is a failure.
    pub fn check_send(&self, result: i32) -> Result<(), String> {
        match result {
            ..0 => Err(format!("send failed: {}", io::Error::from_raw_os_error(-result))),
            sent => Err(format!("only {sent} bytes were sent")),
        }
    }

    /// Checks the bytes of a receive at `now`, and records the latency of each message that is
    /// complete.
    pub fn take(
        &mut self,
        done: &Done,
        ring: &Ring,
        now: Instant,
        latencies: &mut Histogram<u64>,
    ) -> Result<Answered, String> {
        let len = match done.result {
            // All memory is in use: receive again.
            result if result == -libc::ENOBUFS => return Ok(Answered::default()),
            ..0 => {
                let error = io::Error::from_raw_os_error(-done.result);
                return Err(format!("receive failed: {error}"));
            }
            0 => return Err("the server closed a connection".into()),
            len => len as usize,
        };
        let mut bytes = if self.exchange.samples() {
            // SAFETY: the kernel wrote `len` bytes here, or discarded them all and left older ones,
            // and is done with the buffer: its only receive has completed.
            let buffer = unsafe { self.buffer.as_ref() };
            &buffer[..len]
        } else {
            ring.received(done)
        };
        let mut answered = Answered::default();
        while !bytes.is_empty() {
            let missing = self.exchange.reply.len() - self.received;
            let (these, later) = bytes.split_at(bytes.len().min(missing));
            if self.is_compared() {
                self.exchange.compare(self.received, these)?;
            }
            let due = *self.waiting.front().ok_or("a reply without a request")?;
            let before = self.exchange.messages_in(self.received);
            self.received += these.len();
            let messages = self.exchange.messages_in(self.received) - before;
            let latency = now.saturating_duration_since(due).as_nanos() as u64;
            latencies.saturating_record_n(latency, messages);
            answered.messages += messages;
            if self.received == self.exchange.reply.len() {
                self.received = 0;
                self.replies += 1;
                self.waiting.pop_front();
                answered.requests += 1;
            }
            bytes = later;
        }
        Ok(answered)
    }

    /// Whether a request is not yet answered.
    pub fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether the current reply is compared byte by byte.
    fn is_compared(&self) -> bool {
        self.replies.is_multiple_of(self.exchange.compare_every)
    }
}
