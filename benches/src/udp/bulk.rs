//! Bulk: 1200 bytes a datagram, from one socket to another, by one task.
//!
//! A batch is sent, and then received: two transmits of 32 datagrams where there are segments, else
//! 64 datagrams by one call each. All of it is there when the receiving begins, and it fits into the
//! receive buffer, so that no peer waits and none loses anything: the figure is the calls and what
//! the library does around them. `quinn-udp` is what quinn uses on tokio: it asks for marks and
//! addresses as well, as QUIC needs them; `ringloop-quic` asks for the same. `ringloop-single` and
//! `tokio` have a call for each datagram.

use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use quinn_udp::UdpSocketState;
use ringloop::net::{EcnCodepoint, RecvMeta, Transmit, UdpSocket};
use tokio::io::Interest;

use crate::harness::Spec;
use crate::peers::{CurrentThread, MultiThread, Peer, Ringloop};
use crate::sample::Sample;
use crate::sys::Meter;

const DATAGRAM: usize = 1200;
/// Datagrams of a transmit.
const SEGMENTS: usize = 32;
/// Datagrams of a batch: the default receive buffer holds 92.
const BATCH: usize = 2 * SEGMENTS;
/// Buffers of a receive.
const BUFFERS: usize = 2;
/// Bytes of each.
const ROOM: usize = UdpSocket::GRO_BUFFER;
/// Batches between two reads of the clock.
const BATCHES: u64 = 16;

/// Runs the case in this process.
pub fn run(spec: &Spec) -> Result<Sample, String> {
    let measured = match spec.peer.as_str() {
        "ringloop" => on::<Ringloop, OnRingloop<false>>(spec),
        "ringloop-quic" => on::<Ringloop, OnRingloop<true>>(spec),
        "ringloop-single" => on::<Ringloop, SingleOnRingloop>(spec),
        "tokio" => on::<MultiThread, SingleOnTokio>(spec),
        "tokio-ct" => on::<CurrentThread, SingleOnTokio>(spec),
        "quinn-udp" => on::<MultiThread, QuinnOnTokio>(spec),
        other => return Err(format!("udp_bulk has no peer {other:?}")),
    };
    measured.map_err(|error: io::Error| format!("the datagrams failed: {error}"))
}

/// A way to send a batch and to receive it.
trait Bulk: Sized + Send + 'static {
    fn new() -> impl Future<Output = io::Result<Self>> + Send;

    fn batch(&mut self) -> impl Future<Output = io::Result<()>> + Send;
}

fn on<P: Peer, B: Bulk>(spec: &Spec) -> io::Result<Sample> {
    P::run(spec.workers, measure::<B>(spec.warmup, spec.window))
}

async fn measure<B: Bulk>(warmup: Duration, window: Duration) -> io::Result<Sample> {
    let mut bulk = B::new().await?;
    let warm = Instant::now() + warmup;
    while Instant::now() < warm {
        bulk.batch().await?;
    }
    let meter = Meter::start();
    let mut batches = 0;
    while meter.elapsed() < window {
        for _ in 0..BATCHES {
            bulk.batch().await?;
        }
        batches += BATCHES;
    }
    Ok(meter.finish(batches * BATCH as u64))
}

fn contents() -> Vec<u8> {
    (0..DATAGRAM * SEGMENTS).map(|at| at as u8).collect()
}

/// One more group came.
fn check(len: usize, segment: usize, left: &mut usize) {
    assert!(segment == DATAGRAM || len == DATAGRAM, "a group of {segment} bytes each");
    *left -= len / DATAGRAM;
}

/// Segments and groups; `QUIC`: with a mark and the addresses.
struct OnRingloop<const QUIC: bool> {
    near: UdpSocket,
    far: UdpSocket,
    there: SocketAddr,
    contents: Vec<u8>,
    memory: Vec<u8>,
}

impl<const QUIC: bool> Bulk for OnRingloop<QUIC> {
    async fn new() -> io::Result<Self> {
        let near = UdpSocket::bind("127.0.0.1:0").await?;
        let mut far = UdpSocket::bind("127.0.0.1:0").await?;
        far.enable_gro()?;
        far.set_recv_ecn(QUIC)?;
        far.set_recv_packet_info(QUIC)?;
        let there = far.local_addr()?;
        Ok(Self { near, far, there, contents: contents(), memory: vec![0; BUFFERS * ROOM] })
    }

    async fn batch(&mut self) -> io::Result<()> {
        let mut transmit = Transmit::new(self.there, &self.contents).with_segment_size(DATAGRAM);
        transmit.ecn = QUIC.then_some(EcnCodepoint::Ect0);
        let mut transmits = [transmit; BATCH / SEGMENTS];
        let mut rest = &mut transmits[..];
        while !rest.is_empty() {
            let sent = self.near.send_batch(rest).await?;
            Transmit::advance(&mut rest, sent);
        }
        let (one, other) = self.memory.split_at_mut(ROOM);
        let mut bufs = [IoSliceMut::new(one), IoSliceMut::new(other)];
        let mut metas = [RecvMeta::default(); BUFFERS];
        let mut left = BATCH;
        while left > 0 {
            let came = self.far.recv_batch(&mut bufs, &mut metas).await?;
            for meta in &metas[..came] {
                check(meta.len, meta.segment_size.unwrap_or(meta.len), &mut left);
            }
        }
        Ok(())
    }
}

struct SingleOnRingloop {
    near: UdpSocket,
    far: UdpSocket,
    there: SocketAddr,
    contents: Vec<u8>,
}

impl Bulk for SingleOnRingloop {
    async fn new() -> io::Result<Self> {
        let near = UdpSocket::bind("127.0.0.1:0").await?;
        let far = UdpSocket::bind("127.0.0.1:0").await?;
        let there = far.local_addr()?;
        Ok(Self { near, far, there, contents: contents() })
    }

    async fn batch(&mut self) -> io::Result<()> {
        for _ in 0..BATCH / SEGMENTS {
            for datagram in self.contents.chunks(DATAGRAM) {
                self.near.send_to(datagram, self.there).await?;
            }
        }
        let mut buf = [0; 2 * DATAGRAM];
        for _ in 0..BATCH {
            assert_eq!(self.far.recv_from(&mut buf).await?.0, DATAGRAM);
        }
        Ok(())
    }
}

struct SingleOnTokio {
    near: tokio::net::UdpSocket,
    far: tokio::net::UdpSocket,
    there: SocketAddr,
    contents: Vec<u8>,
}

impl Bulk for SingleOnTokio {
    async fn new() -> io::Result<Self> {
        let near = tokio::net::UdpSocket::bind("127.0.0.1:0").await?;
        let far = tokio::net::UdpSocket::bind("127.0.0.1:0").await?;
        let there = far.local_addr()?;
        Ok(Self { near, far, there, contents: contents() })
    }

    async fn batch(&mut self) -> io::Result<()> {
        for _ in 0..BATCH / SEGMENTS {
            for datagram in self.contents.chunks(DATAGRAM) {
                self.near.send_to(datagram, self.there).await?;
            }
        }
        let mut buf = [0; 2 * DATAGRAM];
        for _ in 0..BATCH {
            assert_eq!(self.far.recv_from(&mut buf).await?.0, DATAGRAM);
        }
        Ok(())
    }
}

/// quinn's own use of tokio: `AsyncUdpSocket` of its tokio runtime.
struct QuinnOnTokio {
    near: (tokio::net::UdpSocket, UdpSocketState),
    far: (tokio::net::UdpSocket, UdpSocketState),
    there: SocketAddr,
    contents: Vec<u8>,
    memory: Vec<u8>,
}

impl Bulk for QuinnOnTokio {
    async fn new() -> io::Result<Self> {
        let socket = async || {
            let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await?;
            let state = UdpSocketState::new((&socket).into())?;
            io::Result::Ok((socket, state))
        };
        let (near, far) = (socket().await?, socket().await?);
        let there = far.0.local_addr()?;
        Ok(Self { near, far, there, contents: contents(), memory: vec![0; BUFFERS * ROOM] })
    }

    async fn batch(&mut self) -> io::Result<()> {
        let transmit = quinn_udp::Transmit {
            destination: self.there,
            ecn: Some(quinn_udp::EcnCodepoint::Ect0),
            contents: &self.contents,
            segment_size: Some(DATAGRAM),
            src_ip: None,
        };
        let (near, state) = &self.near;
        for _ in 0..BATCH / SEGMENTS {
            let send = || state.send(near.into(), &transmit);
            near.async_io(Interest::WRITABLE, send).await?;
        }
        let (far, state) = &self.far;
        let (one, other) = self.memory.split_at_mut(ROOM);
        let mut bufs = [IoSliceMut::new(one), IoSliceMut::new(other)];
        let mut metas = [quinn_udp::RecvMeta::default(); BUFFERS];
        let mut left = BATCH;
        while left > 0 {
            let receive = || state.recv(far.into(), &mut bufs, &mut metas);
            let came = far.async_io(Interest::READABLE, receive).await?;
            for meta in &metas[..came] {
                check(meta.len, meta.stride, &mut left);
            }
        }
        Ok(())
    }
}
