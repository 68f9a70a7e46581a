//! Datagrams as functions that are called.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::{
    io::outgoing::{HIGH, LOW},
    loom::Mutex,
    net::{RecvMeta, UdpSocket},
    runtime::{self, Handle},
    task::Task,
    util::panic,
};

/// The most that a datagram can have, in bytes.
const LARGEST: usize = 64 << 10;

/// What is called as datagrams come.
///
/// [`connected`](Self::connected) is called first, and [`lost`](Self::lost) last, each once.
///
/// asyncio: `DatagramProtocol`.
pub trait DatagramProtocol: Send + 'static {
    /// The socket is there.
    fn connected(&mut self, transport: &DatagramTransport) {
        let _ = transport;
    }

    /// A datagram has come; it may be empty.
    ///
    /// asyncio: `datagram_received`.
    fn datagram(&mut self, transport: &DatagramTransport, bytes: &[u8], from: SocketAddr);

    /// A send or a receive has failed: nobody listens at the address of a connected socket, say. The socket can be
    /// used on.
    ///
    /// asyncio: `error_received`.
    fn error(&mut self, transport: &DatagramTransport, error: io::Error) {
        let _ = (transport, error);
    }

    /// The socket is closed. There is an error only if its task was cancelled, has panicked, or the runtime ends.
    ///
    /// asyncio: `connection_lost`.
    fn lost(&mut self, error: Option<&io::Error>) {
        let _ = error;
    }

    /// More waits to be sent than the high mark.
    fn pause_writing(&mut self, transport: &DatagramTransport) {
        let _ = transport;
    }

    /// No more waits to be sent than the low mark.
    fn resume_writing(&mut self, transport: &DatagramTransport) {
        let _ = transport;
    }
}

/// What a [`DatagramProtocol`] sends by. Its methods never wait, and may be called from any thread; a clone is for the
/// same socket.
///
/// asyncio: `DatagramTransport`.
#[derive(Clone)]
pub struct DatagramTransport(Arc<Inner>);

struct Inner {
    socket: UdpSocket,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Datagrams that the kernel had no room for.
    queue: VecDeque<(Vec<u8>, Option<SocketAddr>)>,
    /// All of the queue.
    bytes: usize,
    is_above: bool,
    errors: VecDeque<io::Error>,
    closing: bool,
    /// The socket's task.
    task: Option<Waker>,
}

/// Starts the task that calls `protocol` for a socket, which may be connected. The task gives the protocol back when
/// the transport was closed.
///
/// asyncio: `loop.create_datagram_endpoint`.
///
/// # Errors
///
/// The thread belongs to no runtime.
///
/// ```
/// use std::net::SocketAddr;
/// use ringloop::{net::UdpSocket, protocol::{self, DatagramProtocol, DatagramTransport}};
///
/// struct Echo;
///
/// impl DatagramProtocol for Echo {
///     fn datagram(&mut self, transport: &DatagramTransport, bytes: &[u8], from: SocketAddr) {
///         transport.send_to(bytes, from);
///     }
/// }
///
/// ringloop::run(async {
///     let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
///     let (transport, task) = protocol::datagram(socket, Echo).unwrap();
///     let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
///     client.send_to(b"ping", transport.local_addr().unwrap()).await.unwrap();
///     assert_eq!(client.recv(&mut [0; 16]).await.unwrap(), 4);
///     transport.close();
///     task.await.unwrap();
/// });
/// ```
#[doc(alias = "create_datagram_endpoint")]
pub fn datagram<P: DatagramProtocol>(
    socket: UdpSocket,
    protocol: P,
) -> io::Result<(DatagramTransport, Task<P>)> {
    Handle::try_current().map_err(io::Error::other)?;
    let state = Mutex::new(State::default());
    let transport = DatagramTransport(Arc::new(Inner { socket, state }));
    let calls = Calls { protocol: Some(protocol), transport: transport.clone() };
    Ok((transport, runtime::spawn(calls.run())))
}

impl DatagramTransport {
    /// Sends a datagram to an address: at once, or when the kernel has room. An error goes to
    /// [`error`](DatagramProtocol::error). `false`: the transport was closed.
    ///
    /// asyncio: `sendto`.
    #[doc(alias = "sendto")]
    pub fn send_to(&self, bytes: &[u8], addr: SocketAddr) -> bool {
        self.0.send(bytes, Some(addr))
    }

    /// The same to the address that the socket is connected to.
    pub fn send(&self, bytes: &[u8]) -> bool {
        self.0.send(bytes, None)
    }

    /// Receives no more, sends what waits, and closes the socket.
    pub fn close(&self) {
        self.0.change(|state| state.closing = true);
    }

    /// Drops what waits, and closes the socket.
    pub fn abort(&self) {
        self.0.change(|state| {
            state.closing = true;
            (state.queue, state.bytes) = (VecDeque::new(), 0);
        });
    }

    /// Whether it was closed.
    pub fn is_closing(&self) -> bool {
        self.0.state.lock().closing
    }

    /// How many bytes wait to be sent.
    pub fn write_buffer_size(&self) -> usize {
        self.0.state.lock().bytes
    }

    /// The address of this end.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.socket.local_addr()
    }

    /// The address that the socket is connected to.
    ///
    /// # Errors
    ///
    /// Those of getpeername(2): it is not connected.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.socket.peer_addr()
    }

    /// The socket, for its options.
    pub fn socket(&self) -> &UdpSocket {
        &self.0.socket
    }
}

impl Inner {
    fn try_send(&self, bytes: &[u8], addr: Option<SocketAddr>) -> io::Result<usize> {
        match addr {
            Some(addr) => self.socket.try_send_to(bytes, addr),
            None => self.socket.try_send(bytes),
        }
    }

    fn send(&self, bytes: &[u8], addr: Option<SocketAddr>) -> bool {
        let task = {
            let mut state = self.state.lock();
            if state.closing {
                return false;
            }
            let sent = match state.queue.is_empty() {
                true => self.try_send(bytes, addr),
                false => Err(io::ErrorKind::WouldBlock.into()),
            };
            match sent {
                Ok(_) => return true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    state.queue.push_back((bytes.to_vec(), addr));
                    state.bytes += bytes.len();
                }
                Err(error) => state.errors.push_back(error),
            }
            state.task.take()
        };
        wake(task);
        true
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let task = {
            let mut state = self.state.lock();
            change(&mut state);
            state.task.take()
        };
        wake(task);
    }

    /// Sends what waits, as far as there is room. `true`: there is more.
    fn send_waiting(&self) -> bool {
        let mut state = self.state.lock();
        while let Some((bytes, addr)) = state.queue.front() {
            match self.try_send(bytes, *addr) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) => state.errors.push_back(error),
                Ok(_) => {}
            }
            let sent = state.queue.pop_front().map_or(0, |(bytes, _)| bytes.len());
            state.bytes -= sent;
        }
        false
    }
}

/// Outside of the lock: a waker is foreign code (S6).
fn wake(task: Option<Waker>) {
    if let Some(task) = task {
        task.wake();
    }
}

impl State {
    /// The next call that is due.
    fn next(&mut self) -> Option<Event> {
        if let Some(error) = self.errors.pop_front() {
            return Some(Event::Error(error));
        }
        let above = match self.is_above {
            true => self.bytes > LOW,
            false => self.bytes > HIGH,
        };
        if above != self.is_above {
            self.is_above = above;
            return Some(Event::Above(above));
        }
        (self.closing && self.queue.is_empty()).then_some(Event::Closed)
    }
}

enum Event {
    Datagram(RecvMeta),
    Error(io::Error),
    Above(bool),
    Closed,
}

/// Calls the protocol; `lost` also if it is dropped before its end.
struct Calls<P: DatagramProtocol> {
    /// `None` once `lost` was called.
    protocol: Option<P>,
    transport: DatagramTransport,
}

impl<P: DatagramProtocol> Calls<P> {
    async fn run(mut self) -> P {
        let transport = self.transport.clone();
        let mut buf = vec![0; LARGEST];
        {
            let protocol = self.protocol.as_mut().expect("it is there until it is lost");
            protocol.connected(&transport);
            loop {
                match next(&transport.0, &mut buf).await {
                    Event::Datagram(meta) => {
                        protocol.datagram(&transport, &buf[..meta.len], meta.peer);
                    }
                    Event::Error(error) => protocol.error(&transport, error),
                    Event::Above(true) => protocol.pause_writing(&transport),
                    Event::Above(false) => protocol.resume_writing(&transport),
                    Event::Closed => break,
                }
            }
        }
        let mut protocol = self.protocol.take().expect("it is there until it is lost");
        protocol.lost(None);
        protocol
    }
}

impl<P: DatagramProtocol> Drop for Calls<P> {
    fn drop(&mut self) {
        let Some(mut protocol) = self.protocol.take() else { return };
        self.transport.abort();
        let text = match std::thread::panicking() {
            true => "a function of the protocol has panicked",
            false => "the task of the socket was cancelled, or its runtime has ended",
        };
        let error = io::Error::new(io::ErrorKind::ConnectionAborted, text);
        // It may panic again.
        panic::contain(|| protocol.lost(Some(&error)));
    }
}

/// Waits for the next call, and sends what waits meanwhile.
async fn next(inner: &Inner, buf: &mut [u8]) -> Event {
    let mut sending = pin!(send_all(inner));
    let mut received = pin!(inner.socket.recv_meta(buf));
    poll_fn(|cx: &mut Context<'_>| {
        // Before anything is looked at: what changes from here on wakes the task.
        inner.state.lock().task = Some(cx.waker().clone());
        let _: Poll<()> = sending.as_mut().poll(cx);
        {
            let mut state = inner.state.lock();
            if let Some(event) = state.next() {
                return Poll::Ready(event);
            }
            if state.closing {
                return Poll::Pending;
            }
        }
        received.as_mut().poll(cx).map(|received| match received {
            Ok(meta) => Event::Datagram(meta),
            Err(error) => Event::Error(error),
        })
    })
    .await
}

/// Sends what waits, for ever.
async fn send_all(inner: &Inner) {
    loop {
        match inner.send_waiting() {
            true => {
                if let Err(error) = inner.socket.writable().await {
                    inner.change(|state| {
                        (state.queue, state.bytes) = (VecDeque::new(), 0);
                        state.errors.push_back(error);
                    });
                }
            }
            false => {
                let is_empty = || inner.state.lock().queue.is_empty();
                poll_fn(|_| if is_empty() { Poll::Pending } else { Poll::Ready(()) }).await;
            }
        }
    }
}

impl fmt::Debug for DatagramTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramTransport")
            .field("socket", &self.0.socket)
            .field("waiting", &self.write_buffer_size())
            .field("is_closing", &self.is_closing())
            .finish()
    }
}
