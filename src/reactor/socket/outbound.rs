//! The send machine: bytes on their way from a socket's writers to the kernel.
//!
//! At most one send per socket is in the kernel, over all rings and direct calls: two
//! would interleave their bytes (S14).
//!
//! | phase | means |
//! |---|---|
//! | idle | nothing waits: the kernel has it all |
//! | dirty | something waits, and the home has been notified |
//! | in flight | a send is in the home's ring; what else waits goes when it has ended |
//!
//! 1. A writer that finds the machine idle sends by itself, under the lock, whatever worker
//!    it is on. What the kernel does not take at once it queues. A writer that has the
//!    socket's write side to itself, by `&mut` or as the one half that writes, needs no lock
//!    as long as nothing was ever queued: only writers end that, and there is no other.
//! 2. Queueing makes idle dirty, and then the home is notified: it sends what is dirty at its next
//!    turn. A chunk that is queued later goes with those before it.
//! 3. A terminal completion: first the rest of a short send, then what was queued since.
//! 4. An error stays until it is reported, once, to the next writer; what waited is dropped.
//! 5. Flushing waits for idle. Shutting the write side down does too, and from then on nothing
//!    more is taken.
//! 6. When the home ends, what it could not send is given up, and that is an error; the connection
//!    is then closed by a reset, so that the peer does not take a part for the whole.
//!
//! The home takes each chunk out of the queue as it sends it; from then until the terminal
//! completion it belongs to the operation in flight (S1).

use std::{collections::VecDeque, task::Waker};

use rustix::io::Errno;

use super::waiting::{Waiting, Watched, look};

use crate::{
    loom::{
        Mutex,
        global::{AtomicU8, Ordering},
        pick,
    },
    reactor::Lease,
};

/// The error of what was given up: `ECONNABORTED`.
const ABANDONED: i32 = Errno::CONNABORTED.raw_os_error();
/// The error of what is written after the write side was shut down: `EPIPE`.
const SHUT: i32 = Errno::PIPE.raw_os_error();

/// Past so many bytes on their way a writer waits.
const HIGH_WATER: usize = pick(256 << 10, 6);
/// ... or so many chunks.
const MAX_CHUNKS: usize = 256;
/// Chunks smaller than this are gathered, up to this, by copying.
const GATHER: usize = pick(4 << 10, 2);

/// Bytes that a socket owns until the kernel has them.
pub(crate) enum Chunk {
    Lease(Lease),
    Bytes(Vec<u8>, usize),
}

impl Chunk {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Lease(lease) => lease,
            Self::Bytes(bytes, sent) => &bytes[*sent..],
        }
    }

    fn len(&self) -> usize {
        self.bytes().len()
    }

    pub(crate) fn advance(&mut self, n: usize) {
        match self {
            Self::Lease(lease) => lease.advance(n),
            Self::Bytes(_, sent) => *sent += n,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Dirty,
    InFlight,
}

struct State {
    phase: Phase,
    queue: VecDeque<Chunk>,
    /// Waiting and in flight.
    bytes: usize,
    /// An errno.
    error: Option<i32>,
    /// Shut the write side down when idle; it counts as shut already.
    shut: bool,
    /// Nothing more is sent.
    abandoned: bool,
    /// The tasks that wait for room, or until everything is sent.
    writers: Waiting,
}

#[repr(C)]
pub(crate) struct Outbound {
    state: Mutex<State>,
    /// 1 once a chunk was queued: for the writers of sockets where none ever is. Written by
    /// writers only.
    used: AtomicU8,
}

/// What became of a chunk that was to be queued.
pub(crate) enum Queued {
    /// It waits for those before it, and goes by itself.
    Behind,
    /// The caller has to notify the home.
    First,
    /// There is no room: the waker was left.
    Full(Chunk),
    /// An errno, of an earlier chunk.
    Failed(i32),
}

/// What became of a chunk for which there is no home.
pub(crate) enum TakenBack {
    Chunk(Chunk),
    /// It was sent or given up meanwhile.
    Gone,
    /// It is given up, and with it what others have written since.
    GaveUp,
}

/// What became of a direct send.
pub(crate) enum Direct<R> {
    Done(R),
    /// Something is before it: nothing has happened.
    Busy,
    /// An errno, of an earlier chunk.
    Failed(i32),
}

/// What the home does when a send has ended.
pub(crate) enum Next {
    Send(Chunk),
    /// Idle; `shut`: shut the write side down now.
    Idle {
        shut: bool,
    },
    /// Idle, with bytes that are not sent: its close must not look like an end.
    GaveUp,
}

impl Outbound {
    pub(crate) fn new() -> Self {
        let state = State {
            phase: Phase::Idle,
            queue: VecDeque::new(),
            bytes: 0,
            error: None,
            shut: false,
            abandoned: false,
            writers: Waiting::new(),
        };
        Self { state: Mutex::new(state), used: AtomicU8::new(0) }
    }

    /// Queues a chunk (step 2). `waker` is left if there is no room.
    pub(crate) fn push(&self, chunk: Chunk, waker: &Waker) -> Queued {
        look(&self.state, waker, false, State::is_full, |state| {
            if let Some(error) = state.refuses() {
                return Queued::Failed(error);
            }
            if state.is_full() {
                return Queued::Full(chunk);
            }
            state.bytes += chunk.len();
            state.queue.push_back(chunk);
            self.used.store(1, Ordering::Relaxed);
            if state.phase == Phase::Idle {
                state.phase = Phase::Dirty;
                return Queued::First;
            }
            Queued::Behind
        })
    }

    /// Takes back a chunk that was queued first: there is no home to send it. What others have
    /// queued behind it counts as written: then all of it is given up, as at the home's end (step
    /// 6).
    #[must_use]
    pub(crate) fn take_back(&self, wakes: &mut Vec<Waker>) -> TakenBack {
        let mut state = self.state.lock();
        if state.phase != Phase::Dirty {
            // The home was not gone yet, and has sent it or given it up.
            return TakenBack::Gone;
        }
        if state.queue.len() > 1 {
            state.give_up();
            state.writers.wake(wakes);
            return TakenBack::GaveUp;
        }
        let Some(chunk) = state.queue.pop_front() else { return TakenBack::Gone };
        state.bytes -= chunk.len();
        state.phase = Phase::Idle;
        state.writers.wake(wakes);
        TakenBack::Chunk(chunk)
    }

    /// Sends by a direct call if nothing is before it (step 1).
    // Not inlined into `send_as_owner`: it would double the code of every send.
    #[inline(never)]
    pub(crate) fn send_directly<R>(&self, send: impl FnOnce() -> R) -> Direct<R> {
        let mut state = self.state.lock();
        if let Some(error) = state.refuses() {
            return Direct::Failed(error);
        }
        if state.phase != Phase::Idle {
            return Direct::Busy;
        }
        Direct::Done(send())
    }

    /// The same for a writer that has the write side to itself.
    #[inline]
    pub(crate) fn send_as_owner<R>(&self, send: impl FnOnce() -> R) -> Direct<R> {
        // Relaxed: what other writers did came before this one had the write side to itself.
        match self.used.load(Ordering::Relaxed) {
            0 => Direct::Done(send()),
            _ => self.send_directly(send),
        }
    }

    /// Whether the kernel has everything (step 5): `None` if not, and the waker is left.
    pub(crate) fn flushed(&self, waker: &Waker) -> Option<Result<(), i32>> {
        look(
            &self.state,
            waker,
            false,
            |state| state.phase != Phase::Idle,
            |state| match state.take_error() {
                Some(error) => Some(Err(error)),
                None => (state.phase == Phase::Idle).then_some(Ok(())),
            },
        )
    }

    /// Whether there is room for a chunk; if not, the waker is left.
    pub(crate) fn has_room(&self, waker: &Waker) -> bool {
        look(&self.state, waker, false, State::is_full, |state| !state.is_full())
    }

    /// Whether a chunk was ever queued.
    #[inline]
    pub(crate) fn was_used(&self) -> bool {
        // Relaxed: a writer that misses another's chunk finds it when it sends.
        self.used.load(Ordering::Relaxed) != 0
    }

    /// Whether the kernel has everything, and no error is still to be reported: a writer may send
    /// by itself.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        !self.was_used() || self.has_settled()
    }

    fn has_settled(&self) -> bool {
        let state = self.state.lock();
        state.phase == Phase::Idle && state.error.is_none()
    }

    /// Shuts the write side down once it is idle. `true`: it is, shut it now.
    pub(crate) fn shut(&self) -> bool {
        let mut state = self.state.lock();
        state.shut = state.phase != Phase::Idle;
        !state.shut
    }

    /// What the home is to send first, of a dirty socket.
    pub(crate) fn start(&self) -> Option<Chunk> {
        let mut state = self.state.lock();
        if state.phase != Phase::Dirty {
            return None;
        }
        state.phase = Phase::InFlight;
        state.next()
    }

    /// What is not sent yet is given up, when the send in flight has ended.
    pub(crate) fn abandon(&self) {
        self.state.lock().abandoned = true;
    }

    /// The home has ended, and with it what it was to send, or even what is in flight (step 6).
    /// `true`: there was something.
    #[must_use]
    pub(crate) fn orphaned(&self, in_flight: bool, wakes: &mut Vec<Waker>) -> bool {
        let mut state = self.state.lock();
        let gave_up = state.phase == Phase::Dirty || in_flight && state.phase == Phase::InFlight;
        if gave_up {
            state.give_up();
        }
        state.writers.wake(wakes);
        gave_up
    }

    /// A send has ended with `sent` bytes of `chunk`, or an errno (step 3).
    pub(crate) fn completed(
        &self,
        mut chunk: Chunk,
        sent: Result<usize, i32>,
        wakes: &mut Vec<Waker>,
    ) -> (Next, Option<Chunk>) {
        let mut state = self.state.lock();
        let unsent = |sent| sent < chunk.len() || !state.queue.is_empty();
        match sent {
            Ok(sent) if state.abandoned && unsent(sent) => state.fail(ABANDONED),
            Ok(sent) => {
                state.bytes -= sent;
                if sent < chunk.len() {
                    chunk.advance(sent);
                    return (Next::Send(chunk), None);
                }
            }
            // Step 4.
            Err(error) => state.fail(error),
        }
        if let Some(next) = state.next() {
            if state.bytes < HIGH_WATER / 2 {
                state.writers.wake(wakes);
            }
            return (Next::Send(next), Some(chunk));
        }
        state.phase = Phase::Idle;
        state.writers.wake(wakes);
        let gave_up = state.abandoned && state.error.is_some();
        let next = if gave_up { Next::GaveUp } else { Next::Idle { shut: state.shut } };
        (next, Some(chunk))
    }
}

impl Watched for State {
    fn waiting(&mut self) -> &mut Waiting {
        &mut self.writers
    }
}

impl State {
    fn is_full(&self) -> bool {
        self.bytes >= HIGH_WATER || self.queue.len() >= MAX_CHUNKS
    }

    /// Why nothing more is taken, if so.
    fn refuses(&mut self) -> Option<i32> {
        self.take_error().or(self.shut.then_some(SHUT))
    }

    /// The error, once; what was given up stays so.
    fn take_error(&mut self) -> Option<i32> {
        let error = self.error.take();
        if self.abandoned {
            self.error = error;
        }
        error
    }

    /// What waits is not sent.
    fn give_up(&mut self) {
        // For good: what came later would follow a gap.
        self.abandoned = true;
        self.fail(ABANDONED);
        self.phase = Phase::Idle;
    }

    fn fail(&mut self, error: i32) {
        self.error = Some(error);
        self.queue.clear();
        self.bytes = 0;
    }

    /// The next chunk, small ones gathered into one.
    fn next(&mut self) -> Option<Chunk> {
        let first = self.queue.pop_front()?;
        let follows_small =
            |state: &Self, len| state.queue.front().is_some_and(|next| len + next.len() <= GATHER);
        if !follows_small(self, first.len()) {
            return Some(first);
        }
        let mut bytes = match first {
            Chunk::Bytes(bytes, 0) => bytes,
            other => other.bytes().to_vec(),
        };
        while follows_small(self, bytes.len()) {
            let next = self.queue.pop_front().expect("it is there");
            bytes.extend_from_slice(next.bytes());
        }
        Some(Chunk::Bytes(bytes, 0))
    }
}
