//! One connection of the client: what it sends, what must come back, what it waits for.

use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use super::ring::Ring;

/// A request and the shape of its reply; the same on all connections and leaked, because the
/// kernel reads from it.
pub struct Exchange {
    pub request: Vec<u8>,
    /// The bytes with which every reply must begin.
    pub reply_start: Vec<u8>,
    pub reply_len: usize,
}

impl Exchange {
    /// A message that must come back as it went, filled from a fixed seed.
    pub fn echo(len: usize) -> Exchange {
        let mut state = 0x2545_F491u32;
        let request: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(len)
        .collect();
        Exchange { reply_start: request.clone(), reply_len: len, request }
    }
}

const BUFFER: usize = 16 * 1024;

pub struct Connection {
    index: usize,
    stream: TcpStream,
    exchange: &'static Exchange,
    /// Leaked: the kernel may write to it until this process ends.
    buffer: NonNull<u8>,
    /// Bytes of the reply now coming in.
    received: usize,
    /// When the requests not yet answered were due, oldest first.
    waiting: VecDeque<Instant>,
}

impl Connection {
    pub fn new(index: usize, stream: TcpStream, exchange: &'static Exchange) -> Connection {
        let buffer = Box::leak(vec![0; BUFFER].into_boxed_slice());
        Connection {
            index,
            stream,
            exchange,
            buffer: NonNull::from(buffer).cast(),
            received: 0,
            waiting: VecDeque::new(),
        }
    }

    /// Queues a request; its latency counts from `due`.
    pub fn send(&mut self, ring: &mut Ring, due: Instant) -> Result<(), String> {
        self.waiting.push_back(due);
        let request = &self.exchange.request;
        ring.send(self.index, self.stream.as_raw_fd(), request).map_err(|error| error.to_string())
    }

    /// Queues a receive. At most one is under way: after `new`, then after each `take`.
    pub fn receive(&mut self, ring: &mut Ring) -> Result<(), String> {
        let fd = self.stream.as_raw_fd();
        // SAFETY: the buffer is leaked, BUFFER long, and nobody touches it until the completion
        // reaches `take`.
        unsafe { ring.receive(self.index, fd, self.buffer, BUFFER) }
            .map_err(|error| error.to_string())
    }

    /// Successful sends post no completion, so this one tells of a failure.
    pub fn check_send(&self, result: i32) -> Result<(), String> {
        match result {
            ..0 => Err(format!("send failed: {}", io::Error::from_raw_os_error(-result))),
            sent => Err(format!("only {sent} bytes were sent")),
        }
    }

    /// Checks what the receive of `result` bytes brought; gives the number of complete replies.
    pub fn take(&mut self, result: i32) -> Result<usize, String> {
        let len = match result {
            ..0 => {
                let error = io::Error::from_raw_os_error(-result);
                return Err(format!("receive failed: {error}"));
            }
            0 => return Err("the server closed a connection".into()),
            len => len as usize,
        };
        // SAFETY: the kernel wrote `len` bytes here and is done with the buffer: its only receive
        // has completed.
        let mut bytes = unsafe { std::slice::from_raw_parts(self.buffer.as_ptr(), len) };
        let mut complete = 0;
        while !bytes.is_empty() {
            let (now, later) =
                bytes.split_at(bytes.len().min(self.exchange.reply_len - self.received));
            let rest = self.exchange.reply_start.get(self.received..).unwrap_or(&[]);
            let checked = now.len().min(rest.len());
            if now[..checked] != rest[..checked] {
                return Err(format!(
                    "a wrong reply: {:?}",
                    String::from_utf8_lossy(&now[..checked])
                ));
            }
            self.received += now.len();
            if self.received == self.exchange.reply_len {
                self.received = 0;
                complete += 1;
            }
            bytes = later;
        }
        Ok(complete)
    }

    /// Takes the oldest request as answered and gives its latency.
    pub fn answered(&mut self, now: Instant) -> Result<Duration, String> {
        let due = self.waiting.pop_front().ok_or("a reply nobody asked for")?;
        Ok(now - due)
    }
}
