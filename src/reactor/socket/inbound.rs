//! Bytes that a ring received for a socket before its reader asked for them.
//!
//! A multishot receive at the socket's home lends each arrival and queues it here; the
//! reader, on any worker, takes leases from the front. The state that says which of the two may
//! take bytes out of the kernel is [`Receiving`]; its names are used here.
//!
//! 1. The reader finds the queue empty, in the state `Reader`. The state becomes `Home`, and the
//!    reader has the home arm the receive.
//! 2. Arrivals are queued, up to a cap; past it the home cancels the receive, and the
//!    rest waits in the kernel: a flood that nobody reads does not use up the memory of
//!    the others. The cap is the socket's own, or its share of what the home's sockets may
//!    leave unread in all, which gets smaller as they do.
//! 3. With the receive's last completion, whatever its result, the state is the reader's again.
//!    Arrivals that came before it are queued: a cancelled read loses nothing (S3).
//! 4. While the home is held by one long poll, another worker may read in its place, as
//!    the [claim](crate::reactor::uring::claim) has it.
//! 5. Without memory to lend the receive ends, and the reader takes the next bytes itself, into
//!    memory of its own. After that it tries the home again.
//! 6. A receive that goes on may stay asleep at the mark of urgent data, with bytes behind it (see
//!    the [slot](crate::reactor::slot)). Mostly the arrival before the mark has said that there is
//!    more; so a reader that finds nothing then asks the socket. If there is a mark, the reader has
//!    the receive ended, and from then on takes the bytes of that socket itself.

use std::{collections::VecDeque, io, mem, task::Waker};

use super::{
    receiving::{Answer, Receiving},
    waiting::{Waiting, Watched, look},
};
use crate::{
    loom::{
        BriefLock,
        global::{AtomicU8, Ordering},
        pick,
    },
    reactor::Lease,
};

/// Past so many unread bytes or leases the receive is cancelled, or past its share of what the
/// worker has for all, if that is less: but never before so many bytes.
const LEAST_BYTES: usize = pick(4 << 10, usize::MAX);
const MAX_BYTES: usize = 128 << 10;
const MAX_LEASES: usize = pick(32, 1);

/// How a stream ends, after what is queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Eof,
    /// An errno.
    Failed(i32),
}

struct State {
    queue: Leases,
    bytes: usize,
    receiving: Receiving,
    end: Option<End>,
    readers: Waiting,
}

#[repr(C)]
pub(crate) struct Inbound {
    /// 1 once a receive was armed: for the readers of sockets where none ever is.
    used: AtomicU8,
    /// 1 if the last look left nothing for the next. A hint; written under the lock.
    quiet: AtomicU8,
    /// 1 if the last arrival has left some, as the kernel says. Written by the home before the arrival
    /// is queued, and looked at by the reader after the queue.
    left_some: AtomicU8,
    state: BriefLock<State>,
}

/// What a reader finds.
#[derive(Debug)]
pub(crate) enum Found<T> {
    Some(T),
    End(End),
    /// Nothing yet: its waker was left.
    Nothing,
    /// Nothing, and nothing is armed: it counts as armed now, and the caller has to arm it.
    ToArm,
    /// It is to read by readiness.
    ToRead,
}

/// What the home has to do after an arrival.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Goes,
    /// The cap is passed: cancel.
    Stop,
}

impl State {
    /// `arm`: whether the reader has the home receive.
    fn find<T>(&mut self, arm: bool, get: impl FnOnce(&mut Queue<'_>) -> T) -> Found<T> {
        if !self.queue.is_empty() {
            let mut queue = Queue { leases: &mut self.queue, bytes: &mut self.bytes };
            return Found::Some(get(&mut queue));
        }
        if let Some(end) = self.end {
            // An error is reported once; after it comes the end of the stream.
            self.end = Some(End::Eof);
            return Found::End(end);
        }
        match self.receiving.ask(arm) {
            Answer::Read => Found::ToRead,
            Answer::Arm => Found::ToArm,
            Answer::Wait => Found::Nothing,
        }
    }

    fn add(&mut self, lease: Lease) {
        self.bytes += lease.len();
        self.queue.push_back(lease);
    }

    fn has_news(&self) -> bool {
        !self.queue.is_empty() || self.end.is_some() || !self.receiving.is_at_home()
    }
}

impl Watched for State {
    fn waiting(&mut self) -> &mut Waiting {
        &mut self.readers
    }
}

/// What is queued, which is something.
pub(crate) struct Queue<'a> {
    leases: &'a mut Leases,
    bytes: &'a mut usize,
}

/// Leases in order. Mostly there is one, which lies right here.
#[derive(Default)]
struct Leases {
    /// None only if there are no more.
    first: Option<Lease>,
    more: VecDeque<Lease>,
}

impl Leases {
    fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }

    fn push_back(&mut self, lease: Lease) {
        match self.first {
            None => self.first = Some(lease),
            Some(_) => self.more.push_back(lease),
        }
    }

    fn pop_front(&mut self) -> Option<Lease> {
        mem::replace(&mut self.first, self.more.pop_front())
    }

    fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.first.iter().chain(&self.more)
    }
}

impl Queue<'_> {
    /// The first lease.
    pub(crate) fn pop(&mut self) -> Lease {
        let lease = self.leases.pop_front().expect("a queue that is shown is not empty");
        *self.bytes -= lease.len();
        lease
    }

    /// The bytes of the first lease.
    pub(crate) fn front(&self) -> &[u8] {
        self.leases.first.as_ref().expect("a queue that is shown is not empty")
    }

    /// Gives up the first bytes, which are of the first lease.
    pub(crate) fn consume(&mut self, bytes: usize) {
        let lease = self.leases.first.as_mut().expect("a queue that is shown is not empty");
        lease.advance(bytes);
        if lease.is_empty() {
            self.leases.pop_front();
        }
        *self.bytes -= bytes;
    }
}

impl Inbound {
    pub(crate) fn new() -> Self {
        let state = State {
            queue: Leases::default(),
            bytes: 0,
            receiving: Receiving::Reader,
            end: None,
            readers: Waiting::new(),
        };
        Self {
            used: AtomicU8::new(0),
            quiet: AtomicU8::new(0),
            left_some: AtomicU8::new(0),
            state: BriefLock::new(state),
        }
    }

    /// A reader asks. With `arm` it wants the home to receive, else it prefers to read by itself;
    /// `get` is called with what is queued, under the lock.
    pub(crate) fn take<T>(
        &self,
        arm: bool,
        waker: &Waker,
        get: impl FnOnce(&mut Queue<'_>) -> T,
    ) -> Found<T> {
        // Relaxed, as all of it: a reader that sees an old value pays for a lock, or for a clone.
        let expects = self.quiet.load(Ordering::Relaxed) != 0;
        let waits = |state: &State| !state.has_news();
        let found = look(&self.state, waker, expects, waits, |state| {
            let found = state.find(arm, get);
            self.quiet.store(u8::from(!state.has_news()), Ordering::Relaxed);
            found
        });
        if matches!(found, Found::ToArm) {
            self.used.store(1, Ordering::Relaxed);
        }
        found
    }

    /// What is queued or has ended, without waiting. `None`: a reader would have to wait.
    pub(crate) fn try_take<T>(&self, get: impl FnOnce(&mut Queue<'_>) -> T) -> Option<Found<T>> {
        let mut state = self.state.lock();
        let ready = !state.queue.is_empty() || state.end.is_some();
        ready.then(|| state.find(false, get))
    }

    /// Whether a reader by readiness has to look here first.
    #[inline]
    pub(crate) fn is_in_use(&self) -> bool {
        self.was_used() && self.has_received()
    }

    /// Whether a receive was ever armed.
    #[inline]
    pub(crate) fn was_used(&self) -> bool {
        // Relaxed: readers that use one stream at once have no order to keep.
        self.used.load(Ordering::Relaxed) != 0
    }

    fn has_received(&self) -> bool {
        let state = self.state.lock();
        !state.queue.is_empty() || state.end.is_some() || state.receiving.is_at_home()
    }

    /// The bytes that nobody has read, or the errno that was not reported yet: the kernel no longer
    /// has them.
    pub(crate) fn into_unread(self) -> Result<Vec<u8>, i32> {
        let mut state = self.state.lock();
        if let Some(End::Failed(error)) = state.end {
            return Err(error);
        }
        let queue = mem::take(&mut state.queue);
        drop(state);
        Ok(queue.iter().flat_map(|lease| lease.iter().copied()).collect())
    }

    /// The receive could not be armed.
    pub(crate) fn not_armed(&self) {
        self.state.lock().receiving.ended(true);
    }

    /// The end of the stream has been looked at, but not reported.
    pub(crate) fn tell_again(&self, end: &io::Result<()>) {
        if let Some(error) = end.as_ref().err().and_then(io::Error::raw_os_error) {
            self.ended(End::Failed(error));
        }
    }

    /// Whether what arrives next has left some.
    pub(crate) fn leaves_some(&self, some: bool) {
        // Relaxed: the lock of the queue, which is taken next, publishes it.
        self.left_some.store(u8::from(some), Ordering::Relaxed);
    }

    /// Whether the last arrival has left some, of which nothing has come yet. Says it once.
    pub(crate) fn has_left_some(&self) -> bool {
        // Relaxed: as above. The store may undo that of another arrival: what that has left is in the
        // socket by then, and the reader asks the socket next.
        let some = self.left_some.load(Ordering::Relaxed) != 0;
        if some {
            self.left_some.store(0, Ordering::Relaxed);
        }
        some
    }

    /// Bytes arrived, in order. `share`: how many of them may be unread.
    pub(crate) fn arrived(
        &self,
        lease: Lease,
        share: impl FnOnce() -> usize,
        wakes: &mut Vec<Waker>,
    ) -> Flow {
        let mut state = self.state.lock();
        self.quiet.store(0, Ordering::Relaxed);
        state.add(lease);
        state.readers.wake(wakes);
        let full = state.bytes > MAX_BYTES || state.queue.len() > MAX_LEASES;
        let full = full || state.bytes > LEAST_BYTES && state.bytes > share();
        if state.receiving.arrived(full) { Flow::Stop } else { Flow::Goes }
    }

    /// Whether somebody waits for what a receive brings.
    pub(crate) fn is_waited_for(&self) -> bool {
        let state = self.state.lock();
        state.receiving.may_be_rescued() && !state.readers.is_empty()
    }

    /// In the place of a receive that is armed and does not get to run: `read` reads what
    /// has arrived. Nothing else may receive meanwhile. Says whether there was something.
    pub(crate) fn receive_instead(
        &self,
        read: impl FnOnce() -> io::Result<Lease>,
        wakes: &mut Vec<Waker>,
    ) -> bool {
        let mut state = self.state.lock();
        let may = state.receiving.may_be_rescued() && !state.has_news();
        if !may || state.readers.is_empty() {
            return false;
        }
        match read() {
            Ok(lease) if lease.is_empty() => state.end = Some(End::Eof),
            Ok(lease) => state.add(lease),
            // Nothing after all; or no error of the socket's, and it is tried again.
            Err(error) => match (error.kind(), error.raw_os_error()) {
                (io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory, _) | (_, None) => {
                    return false;
                }
                (_, Some(code)) => state.end = Some(End::Failed(code)),
            },
        }
        state.readers.wake(wakes);
        true
    }

    /// The stream has ended.
    pub(crate) fn ended(&self, end: End) {
        let mut state = self.state.lock();
        // An error that another thread received, and that is still to be reported, comes first.
        if !matches!(state.end, Some(End::Failed(_))) {
            state.end = Some(end);
        }
    }

    /// The connection is over: the home receives nothing more, and the reader takes what is left.
    pub(crate) fn hung_up(&self) {
        self.state.lock().receiving.hung_up();
    }

    pub(crate) fn has_hung_up(&self) -> bool {
        self.state.lock().receiving.is_over()
    }

    /// The last completion of the receive: its readers look again. `starved`: it has ended for want
    /// of memory.
    pub(crate) fn disarmed(&self, starved: bool, wakes: &mut Vec<Waker>) {
        let mut state = self.state.lock();
        state.receiving.ended(starved);
        state.readers.wake(wakes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes the length of the first lease.
    fn take(inbound: &Inbound, arm: bool) -> Found<usize> {
        inbound.take(arm, Waker::noop(), |queue| queue.pop().len())
    }

    #[test]
    fn reader_by_readiness_arms_nothing() {
        let inbound = Inbound::new();
        assert!(matches!(take(&inbound, false), Found::ToRead));
        assert!(matches!(take(&inbound, true), Found::ToArm));
        assert!(matches!(take(&inbound, false), Found::Nothing));
    }

    #[test]
    fn want_of_memory_for_who_reads_instead_is_no_end() {
        let inbound = Inbound::new();
        assert!(matches!(take(&inbound, true), Found::ToArm));
        assert!(matches!(take(&inbound, true), Found::Nothing));
        let no_memory = || Err(rustix::io::Errno::NOMEM.into());
        inbound.receive_instead(no_memory, &mut Vec::new());
        assert!(matches!(take(&inbound, true), Found::Nothing));
    }
}
