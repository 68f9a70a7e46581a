//! Memory of connections that are open and quiet.
//!
//! 1. A first portion connects and is answered, with larger messages too, so that the memory that a
//!    server needs once is there: pools of memory that come into use bit by bit are in use then.
//! 2. The server's resident memory is read.
//! 3. The others connect, a portion at a time, and each is answered once: memory that only many
//!    *busy* connections need would otherwise count as an idle one's.
//! 4. The memory is read again; the growth, divided by the connections of step 3, is the figure.
//! 5. A request goes to each once more: a server that dropped some would have used less memory.
//!
//! Resident memory is the sum over the server's mappings (`smaps_rollup`), exact to the page.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use super::exchange::Exchange;
use super::window::Window;
use super::{STALL, Target, connect};
use crate::catalogue::Load;
use crate::harness::Spec;
use crate::sample::Sample;
use crate::sys;

/// Connections that are made and get a request at once.
const PORTION: usize = 64;
const FIRST: usize = 4 * PORTION;
/// The number and size of the messages to each of the first connections: 4 MiB in all.
const WARM_UP: (usize, usize) = (4, 4096);
/// With `--quick`.
const FEWER: usize = 4_000;
/// Descriptors kept for everything else, here and in the server.
const SPARE: usize = 100;
/// How long a server may take to become idle.
const REST: Duration = Duration::from_millis(100);

pub fn run(
    spec: &Spec,
    load: &Load,
    exchange: &'static Exchange,
    target: &Target,
) -> Result<Sample, String> {
    let wanted = if spec.quick { FEWER } else { load.connections };
    let count = wanted.min(sys::descriptor_limit().saturating_sub(SPARE + FIRST)).max(PORTION);

    let mut held = Vec::with_capacity(FIRST + count);
    add(&mut held, FIRST, exchange, target)?;
    let large = Exchange::echo(WARM_UP.1, 1);
    for portion in (0..WARM_UP.0).flat_map(|_| (0..FIRST).step_by(PORTION)) {
        ask(&mut held[portion..portion + PORTION], &large)?;
    }
    thread::sleep(REST);
    let before = resident(target)?;

    let window = Window::open(target.server)?;
    add(&mut held, count, exchange, target)?;
    let sample = window.close(count as u64)?;
    thread::sleep(REST);
    let grown = resident(target)?.saturating_sub(before);

    for portion in held.chunks_mut(PORTION) {
        ask(portion, exchange)?;
    }
    // The time is the client's, which waits for each portion.
    Ok(Sample { ns_per_op: None, bytes_per_op: Some(grown as f64 / count as f64), ..sample })
}

fn add(
    held: &mut Vec<TcpStream>,
    count: usize,
    exchange: &Exchange,
    target: &Target,
) -> Result<(), String> {
    let all = held.len() + count;
    while held.len() < all {
        let first = held.len();
        for _ in 0..PORTION.min(all - first) {
            let stream = TcpStream::from(connect(target)?);
            stream.set_read_timeout(Some(STALL)).map_err(|error| error.to_string())?;
            held.push(stream);
        }
        ask(&mut held[first..], exchange)?;
    }
    Ok(())
}

/// Sends a request on each, then waits for all replies.
fn ask(streams: &mut [TcpStream], exchange: &Exchange) -> Result<(), String> {
    for stream in &mut *streams {
        stream.write_all(&exchange.request).map_err(|error| format!("send failed: {error}"))?;
    }
    let mut reply = vec![0; exchange.reply.len()];
    for stream in streams {
        stream.read_exact(&mut reply).map_err(|error| format!("receive failed: {error}"))?;
        exchange.compare(0, &reply)?;
    }
    Ok(())
}

fn resident(target: &Target) -> Result<u64, String> {
    sys::resident_of(target.server)
        .map_err(|error| format!("cannot read the memory of the server: {error}"))
}
