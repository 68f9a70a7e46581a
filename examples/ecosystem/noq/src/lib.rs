//! noq on ringloop: its sockets are ringloop's, with segments (GSO), groups (GRO) and marks of congestion (ECN).
//! Endpoints are made by [`server`] and [`client`], or by `noq::Endpoint::new` with a [`RingloopRuntime`].

use std::{
    future::Future,
    io::{self, IoSliceMut},
    net::{self, SocketAddr},
    num::NonZeroUsize,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    time::Instant,
};

use noq::{
    AsyncTimer, AsyncUdpSocket, Endpoint, EndpointConfig, Runtime, ServerConfig, UdpSender,
    udp::{EcnCodepoint, RecvMeta, Transmit},
};
use ringloop::{
    net::{self as ring, UdpSocket},
    time::{self, Sleep},
};

/// So many datagrams come by one call.
const BATCH: usize = noq::udp::BATCH_SIZE;
/// The buffers of noq have room for as many datagrams of its usual size: more than what comes as one group.
const GROUP: usize = 64;

/// An endpoint that accepts connections, and makes some.
pub fn server(config: ServerConfig, addr: SocketAddr) -> io::Result<Endpoint> {
    endpoint(Some(config), addr)
}

/// An endpoint that makes connections only.
pub fn client(addr: SocketAddr) -> io::Result<Endpoint> {
    endpoint(None, addr)
}

fn endpoint(config: Option<ServerConfig>, addr: SocketAddr) -> io::Result<Endpoint> {
    let socket = net::UdpSocket::bind(addr)?;
    Endpoint::new(EndpointConfig::default(), config, socket, Arc::new(RingloopRuntime))
}

/// The runtime of the task that uses the endpoint.
#[derive(Debug)]
pub struct RingloopRuntime;

impl Runtime for RingloopRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        Box::pin(Timer(time::sleep_until(at.into())))
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        ringloop::spawn(future).detach();
    }

    fn wrap_udp_socket(&self, socket: net::UdpSocket) -> io::Result<Box<dyn AsyncUdpSocket>> {
        let mut socket = UdpSocket::from_std(socket)?;
        // Without it each datagram comes by itself.
        let _ = socket.enable_gro();
        socket.set_recv_ecn(true)?;
        socket.set_recv_packet_info(true)?;
        let whole = socket.set_dont_fragment(true).is_ok();
        Ok(Box::new(Socket { socket: Arc::new(socket), whole }))
    }

    fn now(&self) -> Instant {
        time::Instant::now().into()
    }
}

#[derive(Debug)]
struct Timer(Sleep);

impl AsyncTimer for Timer {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        self.0.reset(at.into());
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx)
    }
}

#[derive(Debug)]
struct Socket {
    socket: Arc<UdpSocket>,
    /// No router splits what is sent.
    whole: bool,
}

impl AsyncUdpSocket for Socket {
    fn create_sender(&self) -> Pin<Box<dyn UdpSender>> {
        Box::pin(Sender { socket: self.socket.clone(), waits: Mutex::new(None) })
    }

    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut ours = [ring::RecvMeta::default(); BATCH];
        let count =
            ready!(self.socket.poll_recv_batch(cx, bufs, &mut ours[..metas.len().min(BATCH)]))?;
        for (meta, our) in metas.iter_mut().zip(&ours[..count]) {
            meta.addr = our.peer;
            meta.len = our.len;
            meta.stride = our.segment_size.unwrap_or(our.len);
            meta.ecn = our.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8));
            meta.dst_ip = our.dst_ip;
            meta.interface_index = our.interface;
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_receive_segments(&self) -> NonZeroUsize {
        at_least_one(self.socket.max_receive_segments().min(GROUP))
    }

    fn may_fragment(&self) -> bool {
        !self.whole
    }
}

fn at_least_one(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN)
}

type Waits = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// One task's way to send: of those that wait by a poll function, only the last would be woken.
struct Sender {
    socket: Arc<UdpSocket>,
    waits: Mutex<Option<Waits>>,
}

impl Sender {
    /// All of it, unless there is no room for the first datagram.
    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut all = ring::Transmit::new(transmit.destination, transmit.contents);
        all.segment_size = transmit.segment_size;
        all.ecn = transmit.ecn.and_then(|ecn| ring::EcnCodepoint::from_bits(ecn as u8));
        all.src_ip = transmit.src_ip;
        let mut left = &mut [all][..];
        let mut first = true;
        while !left.is_empty() {
            match self.socket.try_send_batch(left) {
                Ok(sent) => ring::Transmit::advance(&mut left, sent),
                Err(error) if first && error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(error);
                }
                // A datagram may be lost, and a probe may be too large: QUIC sees to both.
                Err(_) => return Ok(()),
            }
            first = false;
        }
        Ok(())
    }
}

impl UdpSender for Sender {
    fn poll_send(
        mut self: Pin<&mut Self>,
        transmit: &Transmit<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.try_send(transmit) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
            let socket = self.socket.clone();
            let waits = self.waits.get_mut().expect("no code panics with it");
            let wait =
                waits.get_or_insert_with(|| Box::pin(async move { socket.writable().await }));
            ready!(wait.as_mut().poll(cx))?;
            *waits = None;
        }
    }

    fn max_transmit_segments(&self) -> NonZeroUsize {
        at_least_one(self.socket.max_transmit_segments())
    }
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("socket", &self.socket).finish_non_exhaustive()
    }
}
