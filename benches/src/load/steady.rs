//! Connections that stay: each sends again when it was answered (closed loop), all send again when all
//! were answered (lockstep), or messages are sent independent of the server (open loop).
//!
//! In an open loop latency counts from the moment a message was *due*, so neither a server that
//! hangs nor a late client hides the time that a user would have waited. A client that is alone on
//! its core checks for replies and sends due messages without a pause. One that shares its core
//! with a worker does so every `TICK`, which its latencies contain once or twice, the same for
//! every server. It takes a real-time priority if it may: real arrivals come from outside and
//! would not queue behind the server.
//!
//! A message that was due within the window counts with the latency that it had in the end, even if
//! that came after the window: otherwise the longest waits would be left out.

use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::connection::{Answered, Connection};
use super::exchange::Exchange;
use super::ring::{Done, Kind, Ring, Wait};
use super::window::Window;
use super::{STALL, Target, socket};
use crate::catalogue::{Load, Pace};
use crate::echo::hog;
use crate::harness::Spec;
use crate::sample::{self, Sample};
use crate::sys;

/// Drives the server through warm-up and window.
pub fn run(
    spec: &Spec,
    load: &Load,
    exchange: &'static Exchange,
    target: &Target,
) -> Result<Sample, String> {
    if matches!(load.pace, Pace::Open(_)) && !target.alone_on_core {
        sys::take_precedence();
    }
    if let Pace::Lockstep = load.pace {
        sys::give_way();
    }
    let hog_share = load.hog.then(|| hog_share(target)).transpose()?;
    let mut client = Client::connect(spec, load, exchange, target)?;
    client.drive(load.pace, Instant::now() + spec.warmup)?;
    let window = Window::open(target.server)?;
    client.begin_window();
    let length = if load.hog { hog::whole_periods(spec.window) } else { spec.window };
    client.drive(load.pace, window.start + length)?;
    let sample = window.close(client.messages)?;
    client.finish()?;
    let open = matches!(load.pace, Pace::Open(_));
    let late = open.then(|| client.lateness.value_at_quantile(0.99) as f64);
    Ok(Sample {
        client_late_ns: late,
        work_ns_per_op: hog_share.and_then(|share| Some(share * sample.ns_per_op?)),
        ..sample.with_latencies(&client.latencies)
    })
}

/// The part of a core that the server's hog takes, while the server has nothing else to do; an
/// error if there is no hog.
fn hog_share(target: &Target) -> Result<f64, String> {
    let cpu_ns = || sys::cpu_ns_of(target.server).map_err(|error| error.to_string());
    // The first burst comes at once or after a period.
    thread::sleep(hog::PERIOD);
    let length = hog::whole_periods(Duration::ZERO);
    let before = cpu_ns()?;
    thread::sleep(length);
    let share = (cpu_ns()? - before) as f64 / length.as_nanos() as f64;
    let wanted = hog::BURST.as_secs_f64() / hog::PERIOD.as_secs_f64();
    if (0.8 * wanted..1.3 * wanted).contains(&share) {
        return Ok(share);
    }
    Err(format!("the task that burns CPU takes {share:.3} of a core, not {wanted:.3}"))
}

/// The pause between two checks of the clock and the replies where the core is shared. A wake by
/// each of them would take most of the core.
const TICK: Duration = Duration::from_micros(50);

/// Bytes of a provided buffer, if replies are not longer.
const BUFFER: usize = 1024;

struct Client {
    ring: Ring,
    connections: Vec<Connection>,
    alone_on_core: bool,
    latencies: Histogram<u64>,
    /// How long after their due time messages were sent.
    lateness: Histogram<u64>,
    messages: u64,
    /// The next arrival of an open loop; `None` before the first.
    due: Option<Instant>,
    next_connection: usize,
    random: Random,
}

impl Client {
    fn connect(
        spec: &Spec,
        load: &Load,
        exchange: &'static Exchange,
        target: &Target,
    ) -> Result<Client, String> {
        let mut ring = Ring::new(2 * load.connections * load.requests())?;
        if !exchange.samples() {
            // One for the bytes that each connection may get in a turn, and as many again.
            let buffers = 2 * load.connections * load.requests();
            ring.provide(buffers, exchange.reply.len().max(BUFFER))?;
        }
        let mut connections = Vec::with_capacity(load.connections);
        for index in 0..load.connections {
            let mut connection = Connection::new(index, socket(spec, target)?, exchange);
            connection.receive(&mut ring)?;
            if let Pace::Closed | Pace::Lockstep = load.pace {
                for _ in 0..load.requests() {
                    connection.send(&mut ring, Instant::now())?;
                }
            }
            connections.push(connection);
        }
        Ok(Client {
            ring,
            connections,
            alone_on_core: target.alone_on_core,
            latencies: sample::latencies(),
            lateness: sample::latencies(),
            messages: 0,
            due: None,
            next_connection: 0,
            random: Random(0x9E37_79B9_7F4A_7C15),
        })
    }

    fn begin_window(&mut self) {
        self.latencies.reset();
        self.lateness.reset();
        self.messages = 0;
    }

    /// Exchanges messages until `end`.
    fn drive(&mut self, pace: Pace, end: Instant) -> Result<(), String> {
        let mut done = Vec::new();
        let mut last_reply = Instant::now();
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            if now - last_reply > STALL {
                return Err(format!("the server sent nothing for {STALL:?}"));
            }
            let wait = match pace {
                Pace::Open(rate) => self.send_what_is_due(rate, now)?,
                // A connection has one receive, which does not wake the client again before it has run.
                Pace::Lockstep => Wait::For(self.connections.len(), end - now),
                _ => Wait::AtMost(end - now),
            };
            self.ring.turn(wait, &mut done).map_err(|error| error.to_string())?;
            if done.is_empty() {
                continue;
            }
            let now = Instant::now();
            last_reply = now;
            for done in done.drain(..) {
                self.take(&done, !matches!(pace, Pace::Open(_)), now)?;
            }
        }
    }

    /// Waits for the replies that are missing: none may be lost.
    fn finish(&mut self) -> Result<(), String> {
        let mut done = Vec::new();
        let mut last_reply = Instant::now();
        loop {
            let unanswered =
                self.connections.iter().filter(|connection| connection.waits()).count();
            if unanswered == 0 {
                return Ok(());
            }
            let now = Instant::now();
            if now - last_reply > STALL {
                return Err(format!("{unanswered} connections got no reply for {STALL:?}"));
            }
            self.ring.turn(Wait::AtMost(STALL), &mut done).map_err(|error| error.to_string())?;
            for done in done.drain(..) {
                last_reply = now;
                self.take(&done, false, now)?;
            }
        }
    }

    fn send_what_is_due(&mut self, rate: u32, now: Instant) -> Result<Wait, String> {
        let mut due = self.due.unwrap_or(now);
        while due <= now {
            self.connections[self.next_connection].send(&mut self.ring, due)?;
            self.lateness.saturating_record((now - due).as_nanos() as u64);
            self.next_connection = (self.next_connection + 1) % self.connections.len();
            due += self.random.exponential(Duration::from_secs(1) / rate);
        }
        self.due = Some(due);
        Ok(if self.alone_on_core { Wait::No } else { Wait::Whole(TICK) })
    }

    /// Processes a completion, and sends `again` on connections that were answered.
    fn take(&mut self, done: &Done, again: bool, now: Instant) -> Result<(), String> {
        let connection = &mut self.connections[done.connection];
        if done.kind != Kind::Receive {
            return connection.check_send(done.result);
        }
        let Answered { messages, requests } =
            connection.take(done, &self.ring, now, &mut self.latencies)?;
        self.ring.recycle(done);
        if !done.more {
            connection.receive(&mut self.ring)?;
        }
        self.messages += messages;
        if again {
            for _ in 0..requests {
                connection.send(&mut self.ring, now)?;
            }
        }
        Ok(())
    }
}

/// Xorshift from a fixed seed: every run of every peer has the same arrivals.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// The distance between two Poisson arrivals `mean` apart on average.
    fn exponential(&mut self, mean: Duration) -> Duration {
        let uniform = ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        mean.mul_f64(-uniform.ln())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_keep_their_mean() {
        let mut random = Random(1);
        let mean = Duration::from_micros(100);
        let sum: Duration = (0..100_000).map(|_| random.exponential(mean)).sum();
        let found = sum / 100_000;
        assert!((99..=101).contains(&found.as_micros()), "{found:?}");
    }
}
