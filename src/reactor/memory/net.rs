//! The ends of connections, the listeners, and the sockets for datagrams, of one reactor. An address is one of the
//! internet or of a Unix socket, for which there is no file.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    mem::MaybeUninit,
    net::{Ipv4Addr, Shutdown, SocketAddr},
    sync::Arc,
};

use parking_lot::Mutex;
use rustix::{
    io::Errno,
    net::{SocketAddrAny, SocketAddrUnix},
};
use socket2::SockAddr;

use super::datagrams::Queue;
use crate::reactor::slot::Ready;

/// Bytes that wait at one end at most.
const ROOM: usize = 64 << 10;

/// The first port of those that are given where the caller asks for any.
const FIRST_PORT: u16 = 49152;

type Ends = BTreeMap<u64, State>;

/// All ends, by number, and what there is to report.
#[derive(Default)]
pub(super) struct Net {
    pub(super) ends: Ends,
    used: u64,
    /// Slots, by key, and what they are ready for.
    pub(super) events: Vec<(u64, Ready)>,
}

/// An end, a listener, or a socket for datagrams.
pub(super) struct State {
    pub(super) local: SockAddr,
    /// The other end, while it is there, and its address. A socket for datagrams may have the address alone.
    pub(super) peer: Option<(Option<u64>, SockAddr)>,
    /// Its slot, once it is registered.
    key: Option<u64>,
    received: VecDeque<u8>,
    /// Nothing more is received.
    ended: bool,
    /// Nothing more is sent.
    shut: bool,
    /// Connections that wait to be accepted; `None`: it is no listener.
    backlog: Option<VecDeque<End>>,
    /// `None`: it is no socket for datagrams.
    pub(super) datagrams: Option<Queue>,
}

impl Net {
    pub(super) fn add(&mut self, state: State) -> u64 {
        self.used += 1;
        self.ends.insert(self.used, state);
        self.used
    }

    /// Adds two that are each other's other end.
    pub(super) fn add_pair(&mut self, near: State, far: State) -> (u64, u64) {
        let locals = (near.local.clone(), far.local.clone());
        let (near, far) = (self.add(near), self.add(far));
        self.state(near).peer = Some((Some(far), locals.1));
        self.state(far).peer = Some((Some(near), locals.0));
        (near, far)
    }

    pub(super) fn report(&mut self, id: u64, ready: Ready) {
        let key = self.ends.get(&id).and_then(|end| end.key);
        self.events.extend(key.map(|key| (key, ready)));
    }

    /// The keys of all that is registered.
    pub(super) fn watched(&self) -> impl Iterator<Item = u64> {
        self.ends.values().filter_map(|end| end.key)
    }

    pub(super) fn state(&mut self, id: u64) -> &mut State {
        self.ends.get_mut(&id).expect("an end is there until it is dropped")
    }

    /// The other end, if it is there.
    fn other(&self, id: u64) -> Option<u64> {
        self.ends.get(&id)?.peer.as_ref()?.0
    }

    fn listener(&self, addr: &SockAddr) -> Option<u64> {
        let listens = |end: &State| end.backlog.is_some() && by_name(&end.local, addr);
        self.ends.iter().find(|(_, end)| listens(end)).map(|(id, _)| *id)
    }

    /// A port that nobody has.
    fn free_port(&self) -> u16 {
        let port = |end: &State| end.local.as_socket().map(|addr| addr.port());
        let taken = |wanted| self.ends.values().any(|end| port(end) == Some(wanted));
        (FIRST_PORT..=u16::MAX).find(|port| !taken(*port)).expect("fewer ends than ports")
    }

    /// The address with a free port, if it has none.
    pub(super) fn with_port(&self, addr: SockAddr) -> SockAddr {
        match addr.as_socket() {
            Some(ip) if ip.port() == 0 => SocketAddr::new(ip.ip(), self.free_port()).into(),
            _ => addr,
        }
    }
}

impl State {
    pub(super) fn new(local: SockAddr) -> Self {
        Self {
            local,
            peer: None,
            key: None,
            received: VecDeque::new(),
            ended: false,
            shut: false,
            backlog: None,
            datagrams: None,
        }
    }

    fn is_readable(&self) -> bool {
        let accepts = self.backlog.as_ref().is_some_and(|backlog| !backlog.is_empty());
        let has_datagram = self.datagrams.as_ref().is_some_and(Queue::is_readable);
        accepts || has_datagram || !self.received.is_empty() || self.ended
    }
}

/// One end of a connection, a listener, or a socket for datagrams.
pub(crate) struct End {
    pub(super) id: u64,
    pub(super) net: Arc<Mutex<Net>>,
}

impl End {
    pub(super) fn of(id: u64, net: &Arc<Mutex<Net>>) -> Self {
        Self { id, net: net.clone() }
    }

    pub(super) fn listen(net: &Arc<Mutex<Net>>, addr: SockAddr) -> Result<Self, Errno> {
        let mut inner = net.lock();
        let addr = inner.with_port(addr);
        if inner.listener(&addr).is_some() {
            return Err(Errno::ADDRINUSE);
        }
        let id = inner.add(State { backlog: Some(VecDeque::new()), ..State::new(addr) });
        Ok(Self::of(id, net))
    }

    pub(super) fn connect(net: &Arc<Mutex<Net>>, addr: SockAddr) -> Result<Self, Errno> {
        let mut inner = net.lock();
        let nobody = if addr.as_pathname().is_some() { Errno::NOENT } else { Errno::CONNREFUSED };
        let listener = inner.listener(&addr).ok_or(nobody)?;
        let local = match addr.as_socket() {
            Some(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, inner.free_port())).into(),
            None => unnamed(),
        };
        let (near, far) = inner.add_pair(State::new(local), State::new(addr));
        let backlog = inner.state(listener).backlog.as_mut();
        backlog.expect("it is a listener").push_back(Self::of(far, net));
        inner.report(listener, Ready::READABLE);
        Ok(Self::of(near, net))
    }

    pub(super) fn pair(net: &Arc<Mutex<Net>>) -> (Self, Self) {
        let state = || State::new(unnamed());
        let (near, far) = net.lock().add_pair(state(), state());
        (Self::of(near, net), Self::of(far, net))
    }

    pub(crate) fn accept(&self) -> Result<(Self, Option<SocketAddrAny>), Errno> {
        let mut net = self.net.lock();
        let backlog = net.state(self.id).backlog.as_mut().ok_or(Errno::INVAL)?;
        let end = backlog.pop_front().ok_or(Errno::WOULDBLOCK)?;
        let peer = net.state(end.id).peer.as_ref().and_then(|(_, addr)| any_addr(addr));
        Ok((end, peer))
    }

    pub(crate) fn recv(&self, buf: &mut [MaybeUninit<u8>], peek: bool) -> Result<usize, Errno> {
        let mut net = self.net.lock();
        let state = net.state(self.id);
        let count = buf.len().min(state.received.len());
        if count == 0 {
            return if state.ended { Ok(0) } else { Err(Errno::WOULDBLOCK) };
        }
        let was_full = state.received.len() == ROOM;
        for (to, from) in buf.iter_mut().zip(state.received.iter()) {
            to.write(*from);
        }
        if !peek {
            state.received.drain(..count);
            if was_full && let Some(other) = net.other(self.id) {
                net.report(other, Ready::WRITABLE);
            }
        }
        Ok(count)
    }

    pub(crate) fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let mut net = self.net.lock();
        let other = net.other(self.id).filter(|_| !net.ends[&self.id].shut).ok_or(Errno::PIPE)?;
        let received = &mut net.state(other).received;
        let count = bytes.len().min(ROOM - received.len());
        if count == 0 && !bytes.is_empty() {
            return Err(Errno::WOULDBLOCK);
        }
        received.extend(&bytes[..count]);
        net.report(other, Ready::READABLE);
        Ok(count)
    }

    pub(crate) fn is_readable(&self) -> bool {
        self.net.lock().state(self.id).is_readable()
    }

    pub(crate) fn is_writable(&self) -> bool {
        let net = self.net.lock();
        net.other(self.id).is_none_or(|other| net.ends[&other].received.len() < ROOM)
    }

    pub(crate) fn is_listening(&self) -> bool {
        self.net.lock().state(self.id).backlog.is_some()
    }

    pub(crate) fn shutdown(&self, how: Shutdown) {
        let mut net = self.net.lock();
        if how != Shutdown::Write {
            net.state(self.id).ended = true;
        }
        if how != Shutdown::Read {
            net.state(self.id).shut = true;
            if let Some(other) = net.other(self.id) {
                net.state(other).ended = true;
                net.report(other, Ready::READABLE.and(Ready::READ_CLOSED));
            }
        }
    }

    pub(crate) fn discard_unread(&self) {
        self.net.lock().state(self.id).received.clear();
    }

    pub(crate) fn local_addr(&self) -> SockAddr {
        self.net.lock().state(self.id).local.clone()
    }

    pub(crate) fn peer_addr(&self) -> Result<SockAddr, Errno> {
        let peer = self.net.lock().state(self.id).peer.clone();
        peer.map(|(_, addr)| addr).ok_or(Errno::NOTCONN)
    }

    /// Reports edges from now on; first of all what it is ready for.
    pub(super) fn watch(&self, key: u64) {
        let writable = self.is_writable();
        let mut net = self.net.lock();
        let state = net.state(self.id);
        state.key = Some(key);
        let readable = state.is_readable();
        let mut tell = |is: bool, ready| {
            if is {
                net.report(self.id, ready);
            }
        };
        tell(readable, Ready::READABLE);
        tell(writable, Ready::WRITABLE);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut net = self.net.lock();
        let other = net.other(self.id);
        let state = net.ends.remove(&self.id);
        if let Some(other) = other {
            let peer = net.state(other);
            peer.ended = true;
            peer.peer = peer.peer.take().map(|(_, addr)| (None, addr));
            let closed = Ready::READ_CLOSED.and(Ready::WRITE_CLOSED);
            net.report(other, Ready::READABLE.and(Ready::WRITABLE).and(closed));
        }
        // Connections that were not accepted end, too, which takes the lock.
        drop(net);
        drop(state);
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("End").field("id", &self.id).finish()
    }
}

/// The address of a Unix socket without one.
pub(super) fn unnamed() -> SockAddr {
    SockAddr::unix("").expect("it is not too long")
}

/// Whether a socket at `local` is the one at `addr`: it may be at any address of this machine.
pub(super) fn by_name(local: &SockAddr, addr: &SockAddr) -> bool {
    match (local.as_socket(), addr.as_socket()) {
        (Some(local), Some(addr)) if local.ip().is_unspecified() => local.port() == addr.port(),
        _ => local == addr && !local.is_unnamed(),
    }
}

/// The address as rustix has it; none for a Unix socket without a name.
pub(super) fn any_addr(addr: &SockAddr) -> Option<SocketAddrAny> {
    if let Some(addr) = addr.as_socket() {
        return Some(addr.into());
    }
    let unix = match addr.as_abstract_namespace() {
        Some(name) => SocketAddrUnix::new_abstract_name(name),
        None => SocketAddrUnix::new(addr.as_pathname()?),
    };
    unix.ok().map(SocketAddrAny::from)
}
