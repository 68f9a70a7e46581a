//! Accepting before anybody asks.

use std::{
    collections::VecDeque,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr,
    sync::{Arc, Weak},
    task::Waker,
};

use io_uring::{
    cqueue::{self, more},
    opcode,
    types::Fd,
};
use rustix::net::{SocketFlags, accept_with};

use super::{Uring, flights::Flight};
use crate::{
    loom::Mutex,
    reactor::{Socket, slot::Ready},
};

/// So many connections may wait here to be taken; the others wait in the kernel.
const MAX_WAITING: usize = 64;

/// Connections that were accepted and not yet taken. They are closed with the listener.
pub(crate) struct Accepted(Mutex<VecDeque<OwnedFd>>);

impl Accepted {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }

    /// The one that has waited longest.
    pub(crate) fn take(&self) -> Option<OwnedFd> {
        self.0.lock().pop_front()
    }

    fn has_room(&self) -> bool {
        self.0.lock().len() < MAX_WAITING
    }

    /// `true`: as many wait as may.
    fn add(&self, connection: OwnedFd) -> bool {
        let mut waiting = self.0.lock();
        waiting.push_back(connection);
        waiting.len() >= MAX_WAITING
    }
}

/// The listeners of a home, for a patrol that finds its worker stuck: their connections
/// have not to wait for that.
#[derive(Default)]
pub(super) struct Listeners(Mutex<Vec<Weak<Socket>>>);

impl Listeners {
    fn add(&self, socket: &Arc<Socket>) {
        let mut listeners = self.0.lock();
        listeners.retain(|listener| {
            listener.strong_count() > 0 && !ptr::eq(listener.as_ptr(), Arc::as_ptr(socket))
        });
        listeners.push(Arc::downgrade(socket));
    }

    /// Accepts what waits, by plain calls, from any thread. A receive that is armed in the
    /// ring is not disturbed.
    pub(super) fn rescue(&self, wakes: &mut Vec<Waker>) {
        let listeners = self.0.lock().clone();
        for socket in listeners.iter().filter_map(Weak::upgrade) {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let mut any = false;
            while socket.accepted.has_room()
                && let Ok(connection) = accept_with(&socket, flags)
            {
                any = true;
                socket.accepted.add(connection);
            }
            if any {
                socket.event(socket.generation(), Ready::READABLE, wakes);
            }
        }
    }
}

impl Uring {
    /// Accepts for a listener until further notice.
    pub(super) fn arm_accept(&mut self, socket: &Arc<Socket>) {
        if socket.flights.accept.get().is_some() {
            return;
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let accept = opcode::AcceptMulti::new(Fd(socket.as_raw_fd())).flags(flags.bits() as i32);
        let id = self.begin(Flight::Accept(socket.clone(), socket.generation()));
        socket.flights.accept.set(Some(id));
        self.shared.listeners.add(socket);
        // SAFETY: it points nowhere; the flight keeps the descriptor open (S4).
        unsafe { self.ring.push(accept.build().user_data(id.user_data())) };
    }

    pub(super) fn accepted(
        &mut self,
        socket: &Arc<Socket>,
        generation: u32,
        completion: &cqueue::Entry,
        wakes: &mut Vec<Waker>,
    ) {
        if !more(completion.flags()) {
            socket.flights.accept.set(None);
        }
        if completion.result() >= 0 {
            // SAFETY: a new descriptor, and ours: what is cancelled meanwhile is taken by
            // the next accept, or closed with the listener (S3).
            let connection = unsafe { OwnedFd::from_raw_fd(completion.result()) };
            if socket.accepted.add(connection) {
                self.cancel(socket.flights.accept.get());
            }
        }
        // After an error, too: who waits tries by itself, and finds it.
        socket.event(generation, Ready::READABLE, wakes);
    }
}
