//! The kernel's part in a ring: one socket, and polls, receives and cancels on it. The socket has to
//! be waited for in one ring at a time.
//!
//! As little as possible is ordered: a thread that calls the kernel sees nothing of what other
//! threads did before their calls, but loom tries both orders of two calls.

use std::{
    collections::VecDeque,
    mem,
    os::fd::RawFd,
    sync::{Arc, Mutex},
};

use loom::sync::Condvar;

use super::eventfd;

/// `POLLIN` and `POLLOUT`; `ECANCELED`; `IORING_CQE_F_MORE`.
const READY: i32 = 1 | 4;
const CANCELED: i32 = 125;
const MORE: u32 = 2;
/// `IORING_POLL_ADD_MULTI`; `IORING_ASYNC_CANCEL_ANY`.
const MULTI: u32 = 1;
const ANY: u32 = 4;
/// Numbers from here on are of what is no operation on a socket.
const OWN: u64 = u64::MAX - 2;

/// What is submitted.
enum Entry {
    Poll {
        id: u64,
        multi: u32,
    },
    /// A receive, for which there is memory.
    Receive(u64),
    Cancel {
        id: u64,
        flags: u32,
    },
}

/// What comes back: a number, a result, and flags.
type Completion = (u64, i32, u32);

/// What several rings share: the kernel, with one socket.
pub(crate) struct Kernel {
    /// Nobody waits for it: see `atomic`.
    calls: Condvar,
    /// Of no account to loom, whose threads are coroutines of one system thread.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// So many messages have arrived and were not read.
    unread: usize,
    rings: Vec<Instance>,
}

struct Instance {
    bell: RawFd,
    armed: Vec<Entry>,
    /// What was cancelled, and has not ended.
    dying: Vec<Entry>,
    completed: VecDeque<Completion>,
}

impl Entry {
    fn id(&self) -> u64 {
        match self {
            Self::Poll { id, .. } | Self::Receive(id) | Self::Cancel { id, .. } => *id,
        }
    }

    fn is_own(&self) -> bool {
        self.id() >= OWN
    }
}

impl Instance {
    fn complete(&mut self, id: u64, result: i32, flags: u32) {
        self.completed.push_back((id, result, flags));
    }

    /// Something is there: all operations that wait for it complete.
    fn tell_all(&mut self) -> bool {
        let armed = mem::take(&mut self.armed);
        let reports = armed.iter().any(|entry| !entry.is_own());
        armed.into_iter().for_each(|entry| self.tell(entry));
        reports
    }

    fn tell(&mut self, entry: Entry) {
        match entry {
            own if own.is_own() => self.armed.push(own),
            Entry::Poll { id, multi } if multi & MULTI != 0 => {
                self.complete(id, READY, MORE);
                self.armed.push(entry);
            }
            Entry::Poll { id, .. } => self.complete(id, READY, 0),
            // The message says that the stream ends: it needs no memory.
            Entry::Receive(id) => self.complete(id, 0, 0),
            Entry::Cancel { .. } => unreachable!("it is done at once"),
        }
    }

    /// So many operations wait for the socket.
    fn waiting(&self) -> usize {
        self.armed.iter().chain(&self.dying).filter(|entry| !entry.is_own()).count()
    }

    fn cancel(&mut self, which: u64, flags: u32) {
        let meant = |entry: &mut Entry| flags & ANY != 0 || entry.id() == which;
        self.dying.extend(self.armed.extract_if(.., meant));
    }

    /// What is cancelled ends.
    fn end_dying(&mut self) {
        let dying = mem::take(&mut self.dying);
        dying.iter().for_each(|entry| self.complete(entry.id(), -CANCELED, 0));
    }
}

impl Kernel {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { calls: Condvar::new(), state: Mutex::default() })
    }

    fn call<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        self.calls.notify_one();
        f(&mut self.state.lock().expect("nobody panics with the lock held"))
    }

    /// A message arrives.
    pub(crate) fn arrive(&self) {
        let bells = self.call(|state| {
            state.unread += 1;
            let bells = state.rings.iter_mut().map(|ring| ring.tell_all().then_some(ring.bell));
            bells.flatten().collect::<Vec<_>>()
        });
        bells.into_iter().for_each(eventfd::nudge);
    }

    /// Reads a message, if there is one.
    pub(crate) fn read(&self) -> bool {
        self.call(|state| {
            let read = state.unread > 0;
            state.unread -= usize::from(read);
            read
        })
    }

    /// Whether there is a message that was not read.
    pub(crate) fn has_unread(&self) -> bool {
        self.call(|state| state.unread > 0)
    }

    /// So many operations wait for the socket.
    pub(crate) fn waiting(&self) -> usize {
        self.call(|state| state.rings.iter().map(Instance::waiting).sum())
    }
}

/// One ring.
pub(crate) struct Ring {
    kernel: Arc<Kernel>,
    number: usize,
    queued: Vec<Entry>,
}

impl Ring {
    /// A ring whose owner sleeps at `bell`.
    pub(crate) fn new(kernel: &Arc<Kernel>, bell: RawFd) -> Self {
        let number = kernel.call(|state| {
            let [armed, dying] = [const { Vec::new() }; 2];
            state.rings.push(Instance { bell, armed, dying, completed: VecDeque::new() });
            state.rings.len() - 1
        });
        Self { kernel: kernel.clone(), number, queued: Vec::new() }
    }

    fn call<R>(&self, f: impl FnOnce(&mut State, usize) -> R) -> R {
        self.kernel.call(|state| f(state, self.number))
    }

    /// Queues a poll, with the flags that say whether it goes on.
    pub(crate) fn poll(&mut self, id: u64, multi: u32) {
        self.queued.push(Entry::Poll { id, multi });
    }

    pub(crate) fn receive(&mut self, id: u64) {
        self.queued.push(Entry::Receive(id));
    }

    pub(crate) fn cancel(&mut self, id: u64, flags: u32) {
        self.queued.push(Entry::Cancel { id, flags });
    }

    pub(crate) fn has_work(&self) -> bool {
        let has_done = |ring: &Instance| !ring.completed.is_empty() || !ring.dying.is_empty();
        !self.queued.is_empty() || self.call(|state, own| has_done(&state.rings[own]))
    }

    /// Submits what is queued, and sleeps if nothing has completed. What is cancelled ends when its
    /// owner waits for that, or calls the kernel again.
    pub(crate) fn enter(&mut self, wait: bool) {
        let queued = mem::take(&mut self.queued);
        let (idle, bell) = self.call(|state, own| {
            let others = state.rings.iter().enumerate().filter(|(ring, _)| *ring != own);
            let is_elsewhere = others.map(|(_, ring)| ring.waiting()).sum::<usize>() > 0;
            let (ring, has_some) = (&mut state.rings[own], state.unread > 0);
            ring.end_dying();
            for entry in queued {
                match entry {
                    Entry::Cancel { id, flags } => ring.cancel(id, flags),
                    waiting if !waiting.is_own() && is_elsewhere => panic!("armed in two rings"),
                    waiting if has_some => ring.tell(waiting),
                    waiting => ring.armed.push(waiting),
                }
            }
            if wait && ring.completed.is_empty() {
                ring.end_dying();
            }
            (ring.completed.is_empty(), ring.bell)
        });
        if wait && idle {
            eventfd::wait(bell);
        }
    }

    pub(crate) fn completion(&mut self) -> Option<Completion> {
        self.call(|state, own| state.rings[own].completed.pop_front())
    }
}
