//! The client of the server cases: one thread, a bare io_uring loop, no runtime.
//!
//! It reads the server's CPU time and context switches at both ends of the measured window itself,
//! so that they cover exactly the replies it counts. Each reply is checked against what must come
//! back. It runs on the last core; with fewer cores than workers + 1 it shares that core with a
//! worker, which costs every peer the same.

mod connection;
mod ring;

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::catalogue::{Load, Pace};
use crate::harness::Spec;
use crate::sample::{self, Sample};
use crate::{http, sys};
use connection::Connection;
pub use connection::Exchange;
use ring::{Done, Ring, Wait};

/// The server to drive.
pub struct Target {
    pub address: SocketAddr,
    pub server: u32,
    /// No worker of the server runs on our core: waiting may spin and so be exact.
    pub alone_on_core: bool,
}

/// Without a reply for this long the server is taken for stuck.
const STALL: Duration = Duration::from_secs(5);

/// Drives the server through warm-up and window.
pub fn run(spec: &Spec, target: &Target) -> Result<Sample, String> {
    let load = spec.case.load.as_ref().ok_or("this case has no client")?;
    let exchange: &'static Exchange = Box::leak(Box::new(match spec.case.area {
        "http" => http::exchange(target.address)?,
        _ => Exchange::echo(load.message),
    }));
    let mut client = Client::connect(load, exchange, target)?;
    client.drive(load.pace, Instant::now() + spec.warmup)?;

    let before = Server::read(target.server)?;
    client.begin_window();
    let start = Instant::now();
    client.drive(load.pace, start + spec.window)?;
    let wall = start.elapsed();
    let after = Server::read(target.server)?;

    if client.replies == 0 {
        return Err("no reply came within the window".into());
    }
    let sample = Sample::per_operation(
        client.replies,
        wall,
        after.cpu_ns - before.cpu_ns,
        after.switches.saturating_sub(before.switches),
    );
    let peak = sys::peak_rss_of(target.server).map_err(|error| error.to_string())?;
    Ok(Sample { peak_rss_bytes: Some(peak as f64), ..sample.with_latencies(&client.latencies) })
}

/// Counters of the server process.
struct Server {
    cpu_ns: u64,
    switches: u64,
}

impl Server {
    fn read(pid: u32) -> Result<Server, String> {
        let failed = |error| format!("cannot read the counters of the server: {error}");
        Ok(Server {
            switches: sys::switches_of(pid).map_err(failed)?,
            cpu_ns: sys::cpu_ns_of(pid).map_err(failed)?,
        })
    }
}

struct Client {
    ring: Ring,
    connections: Vec<Connection>,
    alone_on_core: bool,
    latencies: Histogram<u64>,
    replies: u64,
    /// The next arrival of an open loop; `None` before the first.
    due: Option<Instant>,
    next_connection: usize,
    random: Random,
}

impl Client {
    fn connect(
        load: &Load,
        exchange: &'static Exchange,
        target: &Target,
    ) -> Result<Client, String> {
        let failed = |error: std::io::Error| format!("cannot connect: {error}");
        let mut ring = Ring::new(2 * load.connections).map_err(|error| {
            format!("the load generator needs io_uring (Linux 6.1 or later): {error}")
        })?;
        let mut connections = Vec::with_capacity(load.connections);
        for index in 0..load.connections {
            let stream = TcpStream::connect(target.address).map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            let mut connection = Connection::new(index, stream, exchange);
            connection.receive(&mut ring)?;
            if let Pace::Closed = load.pace {
                connection.send(&mut ring, Instant::now())?;
            }
            connections.push(connection);
        }
        Ok(Client {
            ring,
            connections,
            alone_on_core: target.alone_on_core,
            latencies: sample::latencies(),
            replies: 0,
            due: None,
            next_connection: 0,
            random: Random(0x9E37_79B9_7F4A_7C15),
        })
    }

    fn begin_window(&mut self) {
        self.latencies.reset();
        self.replies = 0;
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
                Pace::Closed => Wait::AtMost(end - now),
                Pace::Open(rate) => self.send_what_is_due(rate, now)?,
            };
            self.ring.turn(wait, &mut done).map_err(|error| error.to_string())?;
            if done.is_empty() {
                continue;
            }
            let now = Instant::now();
            last_reply = now;
            for done in done.drain(..) {
                self.take(done, pace, now)?;
            }
        }
    }

    fn send_what_is_due(&mut self, rate: u32, now: Instant) -> Result<Wait, String> {
        let mut due = self.due.unwrap_or(now);
        while due <= now {
            self.connections[self.next_connection].send(&mut self.ring, due)?;
            self.next_connection = (self.next_connection + 1) % self.connections.len();
            due += self.random.exponential(Duration::from_secs(1) / rate);
        }
        self.due = Some(due);
        Ok(if self.alone_on_core { Wait::No } else { Wait::AtMost(due - now) })
    }

    fn take(&mut self, done: Done, pace: Pace, now: Instant) -> Result<(), String> {
        let connection = &mut self.connections[done.connection];
        if done.is_send {
            return connection.check_send(done.result);
        }
        let replies = connection.take(done.result)?;
        connection.receive(&mut self.ring)?;
        for _ in 0..replies {
            let latency = connection.answered(now)?;
            self.latencies.saturating_record(latency.as_nanos() as u64);
            self.replies += 1;
            if let Pace::Closed = pace {
                connection.send(&mut self.ring, now)?;
            }
        }
        Ok(())
    }
}

/// Xorshift from a fixed seed: every run of every peer sees the same arrivals.
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
