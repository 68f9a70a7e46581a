//! Connections that come and go, a fixed number of them at once.
//!
//! The life of a connection is one chain of linked operations: reset the last one of this socket,
//! connect, send, receive the reply. Latency is from the chain's start to the reply. A reset needs
//! no TIME_WAIT, so neither ports nor the kernel's memory run out, however many connections a run
//! makes; the server gets it as an error of its next read. The reuse of sockets saves work only for
//! the client.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::ptr::NonNull;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};

use super::exchange::Exchange;
use super::ring::{Address, Done, Kind, Ring, Wait};
use super::window::Window;
use super::{STALL, Target, reset_at_close};
use crate::catalogue::Load;
use crate::harness::Spec;
use crate::sample::{self, Sample};
use crate::sys;

/// Drives the server through warm-up and window; fails if it keeps descriptors of ended
/// connections.
pub fn run(
    spec: &Spec,
    load: &Load,
    exchange: &'static Exchange,
    target: &Target,
) -> Result<Sample, String> {
    let before = sys::descriptors_of(target.server).map_err(|error| error.to_string())?;
    let mut client = Client::new(load, exchange, target)?;
    client.drive(Instant::now() + spec.warmup)?;
    client.latencies.reset();
    let window = Window::open(target.server)?;
    client.drive(window.start + spec.window)?;
    let sample = window.close(client.latencies.len())?;
    // A connection that is not finished counts with the latency that it has in the end.
    client.finish()?;
    let sample = sample.with_latencies(&client.latencies);
    drop(client);
    expect_closed(target.server, before)?;
    Ok(sample)
}

/// Descriptors that a runtime may have opened for itself meanwhile.
const OWN_DESCRIPTORS: usize = 16;

/// Waits until the server has closed the connections that have ended.
fn expect_closed(server: u32, before: usize) -> Result<(), String> {
    let give_up = Instant::now() + Duration::from_secs(1);
    loop {
        let now = sys::descriptors_of(server).map_err(|error| error.to_string())?;
        if now <= before + OWN_DESCRIPTORS {
            return Ok(());
        }
        if Instant::now() > give_up {
            return Err(format!("the server keeps {} descriptors of the dead", now - before));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

struct Client {
    ring: Ring,
    exchange: &'static Exchange,
    server: &'static Address,
    slots: Vec<Slot>,
    latencies: Histogram<u64>,
}

/// One socket, which serves many connections, one after the other.
struct Slot {
    socket: OwnedFd,
    /// Leaked: the kernel may write to it until this process ends.
    buffer: NonNull<u8>,
    since: Instant,
    is_busy: bool,
}

impl Client {
    fn new(load: &Load, exchange: &'static Exchange, target: &Target) -> Result<Client, String> {
        let slots = (0..load.connections).map(|_| Slot::new(exchange.reply.len()));
        Ok(Client {
            // Room for all chains at once.
            ring: Ring::new(4 * load.connections)?,
            exchange,
            server: Box::leak(Box::new(address(target.address)?)),
            slots: slots.collect::<io::Result<_>>().map_err(|error| error.to_string())?,
            latencies: sample::latencies(),
        })
    }

    /// Makes connections until `end`; some are not finished then.
    fn drive(&mut self, end: Instant) -> Result<(), String> {
        for index in 0..self.slots.len() {
            if !self.slots[index].is_busy {
                self.begin(index, Instant::now())?;
            }
        }
        self.take_replies(end, true)
    }

    /// Waits until the last connections are finished.
    fn finish(&mut self) -> Result<(), String> {
        self.take_replies(Instant::now() + STALL, false)
    }

    fn take_replies(&mut self, end: Instant, again: bool) -> Result<(), String> {
        let mut done = Vec::new();
        let mut last_reply = Instant::now();
        while self.slots.iter().any(|slot| slot.is_busy) {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            if now - last_reply > STALL {
                return Err(format!("no connection was answered for {STALL:?}"));
            }
            let wait = Wait::AtMost(end - now);
            self.ring.turn(wait, &mut done).map_err(|error| error.to_string())?;
            if done.is_empty() {
                continue;
            }
            let now = Instant::now();
            last_reply = now;
            for done in done.drain(..) {
                if self.take(&done, now)? && again {
                    self.begin(done.connection, now)?;
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, index: usize, now: Instant) -> Result<(), String> {
        let slot = &mut self.slots[index];
        (slot.since, slot.is_busy) = (now, true);
        let (socket, request) = (slot.socket.as_raw_fd(), &self.exchange.request);
        let (ring, len) = (&mut self.ring, self.exchange.reply.len());
        // SAFETY: the buffer is leaked, `len` long, and not read before the completion reaches
        // `take`.
        unsafe { ring.exchange_anew(index, socket, self.server, request, slot.buffer, len) }
            .map_err(|error| error.to_string())
    }

    /// Returns whether this was the end of a connection.
    fn take(&mut self, done: &Done, now: Instant) -> Result<bool, String> {
        let what = match done.kind {
            Kind::Connect => "connect",
            Kind::Send => "send",
            Kind::Receive => "receive",
        };
        let len = match done.result {
            // It follows a failure in its chain, which says more.
            result if result == -libc::ECANCELED => return Ok(false),
            ..0 => {
                let error = io::Error::from_raw_os_error(-done.result);
                return Err(format!("{what} failed: {error}"));
            }
            len => len as usize,
        };
        if done.kind != Kind::Receive || len != self.exchange.reply.len() {
            return Err(format!("{what} came to an end after {len} bytes"));
        }
        let slot = &mut self.slots[done.connection];
        // SAFETY: the kernel wrote `len` bytes here and is done with the buffer: its only receive has
        // completed.
        let reply = unsafe { std::slice::from_raw_parts(slot.buffer.as_ptr(), len) };
        self.exchange.compare(0, reply)?;
        self.latencies.saturating_record((now - slot.since).as_nanos() as u64);
        slot.is_busy = false;
        Ok(true)
    }
}

impl Slot {
    fn new(reply_len: usize) -> io::Result<Slot> {
        let kind = (AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC);
        let socket = socket_with(kind.0, kind.1, kind.2, None)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        reset_at_close(&socket)?;
        let buffer = Box::leak(vec![0; reply_len].into_boxed_slice());
        let buffer = NonNull::from(buffer).cast();
        Ok(Slot { socket, buffer, since: Instant::now(), is_busy: false })
    }
}

fn address(server: SocketAddr) -> Result<Address, String> {
    let IpAddr::V4(ip) = server.ip() else { return Err("the server is not on IPv4".into()) };
    Ok(Address(libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: server.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(ip).to_be() },
        sin_zero: [0; 8],
    }))
}
