//! Sockets for datagrams.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use parking_lot::Mutex;
use rustix::{io::Errno, net::RecvFlags};
use socket2::SockAddr;

use super::net::{End, Net, State, any_addr, by_name, unnamed};
use crate::reactor::{datagrams::Received, slot::Ready};

/// Datagrams that wait at one socket at most. UDP loses those that come then; a Unix socket's sender waits.
const ROOM: usize = 64;

/// The datagrams of a socket that wait to be received.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<(SockAddr, Vec<u8>)>,
    /// Nobody has received an earlier datagram: the next call fails, once.
    refused: bool,
}

impl Queue {
    pub(super) fn is_readable(&self) -> bool {
        !self.waiting.is_empty() || self.refused
    }
}

impl State {
    fn of_datagrams(local: SockAddr) -> Self {
        let mut state = Self::new(local);
        state.datagrams = Some(Queue::default());
        state
    }

    fn queue(&mut self) -> Result<&mut Queue, Errno> {
        self.datagrams.as_mut().ok_or(Errno::OPNOTSUPP)
    }
}

impl Net {
    /// The socket that takes a datagram of `from` to `to`.
    fn receiver(&self, from: &SockAddr, to: &SockAddr) -> Option<u64> {
        let takes = |end: &State| {
            let is_peer = end.peer.as_ref().is_none_or(|(_, peer)| peer == from);
            end.datagrams.is_some() && by_name(&end.local, to) && is_peer
        };
        self.ends.iter().find(|(_, end)| takes(end)).map(|(id, _)| *id)
    }
}

impl End {
    /// A socket for datagrams, at an address if there is one.
    pub(super) fn bind(net: &Arc<Mutex<Net>>, addr: Option<SockAddr>) -> Result<Self, Errno> {
        let mut inner = net.lock();
        let local = addr.map_or_else(unnamed, |addr| inner.with_port(addr));
        let taken = |end: &State| end.datagrams.is_some() && end.local == local;
        if !local.is_unnamed() && inner.ends.values().any(taken) {
            return Err(Errno::ADDRINUSE);
        }
        let id = inner.add(State::of_datagrams(local));
        Ok(Self::of(id, net))
    }

    /// Two that are connected to each other.
    pub(super) fn pair_of_datagrams(net: &Arc<Mutex<Net>>) -> (Self, Self) {
        let state = || State::of_datagrams(unnamed());
        let (near, far) = net.lock().add_pair(state(), state());
        (Self::of(near, net), Self::of(far, net))
    }

    pub(in crate::reactor) fn connect_to(&self, addr: &SockAddr) -> Result<(), Errno> {
        let mut net = self.net.lock();
        if addr.is_unix() {
            let local = &net.ends[&self.id].local;
            net.receiver(local, addr).ok_or(Errno::CONNREFUSED)?;
        }
        net.state(self.id).peer = Some((None, addr.clone()));
        Ok(())
    }

    pub(in crate::reactor) fn send_to(
        &self,
        bytes: &[u8],
        to: Option<&SockAddr>,
    ) -> Result<usize, Errno> {
        let mut net = self.net.lock();
        let state = net.state(self.id);
        let from = seen_as(&state.local);
        if std::mem::take(&mut state.queue()?.refused) {
            return Err(Errno::CONNREFUSED);
        }
        let is_unix = from.is_unix();
        let peer = state.peer.clone();
        let receiver = match (to, &peer) {
            (None, None) => return Err(Errno::DESTADDRREQ),
            (None, Some((Some(id), _))) => Some(*id),
            (Some(to), _) | (None, Some((None, to))) => net.receiver(&from, to),
        };
        let Some(receiver) = receiver else {
            return match (is_unix, peer) {
                (true, _) => Err(Errno::CONNREFUSED),
                (false, None) => Ok(bytes.len()),
                (false, Some(_)) => {
                    net.state(self.id).queue()?.refused = true;
                    net.report(self.id, Ready::READABLE);
                    Ok(bytes.len())
                }
            };
        };
        let queue = net.state(receiver).queue()?;
        if queue.waiting.len() < ROOM {
            queue.waiting.push_back((from, bytes.to_vec()));
            net.report(receiver, Ready::READABLE);
        } else if is_unix {
            return Err(Errno::WOULDBLOCK);
        }
        Ok(bytes.len())
    }

    pub(in crate::reactor) fn recv_from(
        &self,
        buf: &mut [u8],
        flags: RecvFlags,
    ) -> Result<Received, Errno> {
        let mut net = self.net.lock();
        let queue = net.state(self.id).queue()?;
        if std::mem::take(&mut queue.refused) {
            return Err(Errno::CONNREFUSED);
        }
        let (from, bytes) = queue.waiting.front().ok_or(Errno::WOULDBLOCK)?;
        let (len, sent, peer) = (bytes.len().min(buf.len()), bytes.len(), any_addr(from));
        buf[..len].copy_from_slice(&bytes[..len]);
        if !flags.contains(RecvFlags::PEEK) {
            let was_full = queue.waiting.len() == ROOM;
            queue.waiting.pop_front();
            if was_full {
                // Whichever waits for this one: one event too many does no harm.
                let all: Vec<u64> = net.ends.keys().copied().collect();
                all.into_iter().for_each(|id| net.report(id, Ready::WRITABLE));
            }
        }
        Ok(Received { len, sent, peer })
    }
}

/// The address that a receiver sees.
fn seen_as(local: &SockAddr) -> SockAddr {
    match local.as_socket() {
        Some(addr) if addr.ip().is_unspecified() => {
            SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), addr.port()).into()
        }
        _ => local.clone(),
    }
}
