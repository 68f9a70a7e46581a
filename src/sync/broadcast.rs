//! Channels on which every receiver gets every item.
//!
//! tokio: `tokio::sync::broadcast`, and it means the same; capacities are exact here.
//!
//! ```
//! use ringloop::sync::broadcast;
//!
//! ringloop::run(async {
//!     let (sender, mut first) = broadcast::channel(16);
//!     let mut second = sender.subscribe();
//!     sender.send("to all").unwrap();
//!     assert_eq!(first.recv().await, Ok("to all"));
//!     assert_eq!(second.recv().await, Ok("to all"));
//! });
//! ```

use std::{
    collections::VecDeque,
    error::Error,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_core::Stream;

use super::{
    until::{Place, Stamped, Until, tell},
    wait_list::WaitList,
};
use crate::{
    loom::{Mutex, pick},
    util::{panic, park, shrink, wait::WaitKind},
};

/// How many items a receiver that leaves looks at before it lets go of the lock.
const BATCH: usize = pick(16, 2);

/// Makes a channel that keeps the last `capacity` items for receivers that have not seen them. It
/// never holds up a sender: a receiver that is too slow misses the oldest, and gets an
/// [error](RecvError::Lagged) that counts them.
///
/// Each receiver gets a clone of the item, so what is large is best sent in an `Arc`. An item that
/// all receivers have seen is dropped.
///
/// # Panics
///
/// With a capacity of 0.
#[track_caller]
#[must_use]
pub fn channel<T: Clone>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a broadcast channel keeps one item at least");
    let state = State {
        items: VecDeque::new(),
        end: 0,
        capacity,
        senders: 1,
        receivers: 1,
        waiters: WaitList::new(WaitKind::Broadcast),
    };
    let shared = Arc::new(Shared { state: Mutex::new(state) });
    (Sender { shared: shared.clone() }, Receiver { shared, next: 0 })
}

struct Shared<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    /// The last items that were sent, which some receiver has not seen.
    items: VecDeque<Entry<T>>,
    /// The number of the item that is sent next.
    end: u64,
    capacity: usize,
    senders: usize,
    receivers: usize,
    waiters: WaitList<u64>,
}

struct Entry<T> {
    /// Counted, so that it is cloned with no lock held.
    item: Arc<T>,
    /// Receivers that have not seen it.
    ///
    /// Each sees all in order, so an item that all have seen is the first one, and goes. But a
    /// receiver that leaves lets go of the lock between two batches, and is not counted for what
    /// is sent meanwhile: all may have seen that, with items before it that only the leaver has
    /// not seen. So a leaver also takes out the items in front that all have seen.
    unseen: usize,
}

impl<T> Stamped for State<T> {
    type List = ();

    fn list(&mut self, (): ()) -> &mut WaitList<u64> {
        &mut self.waiters
    }

    fn stamp(&self, (): ()) -> u64 {
        // The end of all senders is the last thing to happen.
        if self.senders == 0 { u64::MAX } else { self.end }
    }
}

/// An item, and its entry if this was the last look at it; or why there is none.
type Seen<T> = Result<(Arc<T>, Option<Entry<T>>), TryRecvError>;

impl<T> State<T> {
    /// The number of the oldest item.
    fn begin(&self) -> u64 {
        self.end - self.items.len() as u64
    }

    /// A receiver that is to see the item `next` sees it, if it was sent.
    fn see(&mut self, next: &mut u64) -> Option<Seen<T>> {
        let begin = self.begin();
        if *next < begin {
            let missed = begin - *next;
            *next = begin;
            return Some(Err(TryRecvError::Lagged(missed)));
        }
        let index = usize::try_from(*next - begin).expect("there are as many as fit");
        let Some(entry) = self.items.get_mut(index) else {
            return (self.senders == 0).then_some(Err(TryRecvError::Closed));
        };
        *next += 1;
        entry.unseen -= 1;
        let gone = entry.unseen == 0;
        let item = entry.item.clone();
        let seen = if gone && index == 0 { shrink::pop_front(&mut self.items) } else { None };
        Some(Ok((item, seen)))
    }

    /// Takes out the first item, if all have seen it.
    fn pop_seen(&mut self) -> Option<Entry<T>> {
        let seen = self.items.front().is_some_and(|first| first.unseen == 0);
        if seen { shrink::pop_front(&mut self.items) } else { None }
    }

    /// One step of a receiver that leaves, and still counts for the items from `next` up to `end`.
    /// An item that all have seen comes out. `None`: there is nothing left to do.
    fn leave(&mut self, next: &mut u64, end: u64) -> Option<Option<Entry<T>>> {
        if let Some(seen) = self.pop_seen() {
            return Some(Some(seen));
        }
        // It may have been too slow.
        let begin = self.begin();
        *next = begin.max(*next);
        if *next >= end {
            return None;
        }
        let index = usize::try_from(*next - begin).expect("there are as many as fit");
        self.items[index].unseen -= 1;
        *next += 1;
        Some(None)
    }
}

/// The end of a [`channel`] that sends. Cloning it makes another one; when the last is
/// dropped, receivers get what is left and then an error.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    /// Sends an item to all receivers that there are, and says how many they are. It never
    /// waits.
    ///
    /// # Errors
    ///
    /// If there is no receiver; the item comes back. There may be one later.
    pub fn send(&self, item: T) -> Result<usize, SendError<T>> {
        let item = Arc::new(item);
        let mut state = self.shared.state.lock();
        let receivers = state.receivers;
        if receivers == 0 {
            drop(state);
            return Err(SendError(Arc::into_inner(item).expect("nobody else has it")));
        }
        let missed =
            if state.items.len() == state.capacity { state.items.pop_front() } else { None };
        state.items.push_back(Entry { item, unseen: receivers });
        state.end += 1;
        let waiting = !state.waiters.is_empty();
        drop(state);
        if waiting {
            tell(&self.shared.state, ());
        }
        // With no lock held.
        drop(missed);
        Ok(receivers)
    }

    /// Makes a receiver, for what is sent from now on.
    pub fn subscribe(&self) -> Receiver<T> {
        Receiver::subscribe(&self.shared)
    }

    /// How many items are kept that some receiver has not seen.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.state.lock().items.len()
    }

    /// Whether all receivers have seen all items.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many receivers there are.
    #[must_use]
    pub fn receiver_count(&self) -> usize {
        self.shared.state.lock().receivers
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.state.lock().senders += 1;
        Self { shared: self.shared.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.senders -= 1;
        let last = state.senders == 0;
        drop(state);
        if last {
            tell(&self.shared.state, ());
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug("Sender", &self.shared, f)
    }
}

/// The end of a [`channel`] that receives everything that is sent while it is there.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// The number of the item that is received next.
    next: u64,
}

impl<T> Receiver<T> {
    fn subscribe(shared: &Arc<Shared<T>>) -> Self {
        let mut state = shared.state.lock();
        state.receivers += 1;
        let next = state.end;
        drop(state);
        Self { shared: shared.clone(), next }
    }

    /// Makes another receiver, for what is sent from now on.
    pub fn resubscribe(&self) -> Self {
        Self::subscribe(&self.shared)
    }

    /// How many items are kept for it.
    #[must_use]
    pub fn len(&self) -> usize {
        let state = self.shared.state.lock();
        let kept = state.end - self.next.max(state.begin());
        usize::try_from(kept).expect("there are as many as fit")
    }

    /// Whether it has seen everything that was sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Clone> Receiver<T> {
    /// Receives the next item.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, it has received nothing.
    ///
    /// # Errors
    ///
    /// [`RecvError::Lagged`] if it was too slow: it goes on with the oldest item that is
    /// kept. [`RecvError::Closed`] if all senders are gone and all items seen.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::broadcast::{self, RecvError};
    ///
    /// ringloop::run(async {
    ///     let (sender, mut receiver) = broadcast::channel(2);
    ///     for n in 0..5 {
    ///         sender.send(n).unwrap();
    ///     }
    ///     assert_eq!(receiver.recv().await, Err(RecvError::Lagged(3)));
    ///     assert_eq!(receiver.recv().await, Ok(3));
    /// });
    /// ```
    pub async fn recv(&mut self) -> Result<T, RecvError> {
        let next = &mut self.next;
        let seen = Until::new(&self.shared.state, (), |state: &mut State<T>| state.see(next)).await;
        take(seen).map_err(|error| match error {
            TryRecvError::Lagged(missed) => RecvError::Lagged(missed),
            TryRecvError::Closed | TryRecvError::Empty => RecvError::Closed,
        })
    }

    /// Receives the next item, if it was sent already.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), and [`TryRecvError::Empty`].
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        let seen = self.shared.state.lock().see(&mut self.next);
        take(seen.unwrap_or(Err(TryRecvError::Empty)))
    }

    /// [`recv`](Self::recv) for a plain thread, which sleeps until there is an item.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    ///
    /// # Panics
    ///
    /// On a worker's thread, which it would hold up.
    #[track_caller]
    pub fn blocking_recv(&mut self) -> Result<T, RecvError> {
        park::block_on(self.recv())
    }

    /// The items as a stream, which ends when all senders are gone and all items seen. A receiver
    /// that was too slow gets [`Lagged`] in the place of what it missed, and goes on.
    ///
    /// Each item that the stream gives is received: dropping the stream, or a `next()` of it, loses
    /// none, and the receiver goes on where it was.
    ///
    /// asyncio: has none.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_util::StreamExt;
    /// use ringloop::sync::broadcast::{self, Lagged};
    ///
    /// ringloop::run(async {
    ///     let (sender, mut receiver) = broadcast::channel(2);
    ///     for n in 0..5 {
    ///         sender.send(n).unwrap();
    ///     }
    ///     drop(sender);
    ///     let items: Vec<_> = receiver.stream().collect().await;
    ///     assert_eq!(items, [Err(Lagged(3)), Ok(3), Ok(4)]);
    /// });
    /// ```
    pub fn stream(&mut self) -> impl Stream<Item = Result<T, Lagged>> + Unpin + use<'_, T> {
        let Self { shared, next } = self;
        Items { next, place: Place::new(&shared.state, ()) }
    }
}

struct Items<'a, T> {
    next: &'a mut u64,
    place: Place<'a, State<T>>,
}

impl<T: Clone> Stream for Items<'_, T> {
    type Item = Result<T, Lagged>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { next, place } = &mut *self;
        let seen = ready!(place.poll(|state| state.see(next), cx));
        Poll::Ready(match take(seen) {
            Ok(item) => Some(Ok(item)),
            Err(TryRecvError::Lagged(missed)) => Some(Err(Lagged(missed))),
            Err(TryRecvError::Closed | TryRecvError::Empty) => None,
        })
    }
}

/// The item itself for the last receiver that sees it, else a clone. No lock is held.
fn take<T: Clone>(seen: Seen<T>) -> Result<T, TryRecvError> {
    let (item, entry) = seen?;
    drop(entry);
    Ok(Arc::unwrap_or_clone(item))
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.receivers -= 1;
        // What is sent from now on does not count on it.
        let end = state.end;
        // It sees all that is left, some at a time, and others come in between.
        loop {
            let mut seen = [const { None }; BATCH];
            let mut more = true;
            for place in &mut seen {
                match state.leave(&mut self.next, end) {
                    Some(entry) => *place = entry,
                    None => more = false,
                }
            }
            drop(state);
            // With no lock held; and whatever comes of one, the others go as well.
            seen.into_iter().flatten().for_each(panic::discard_foreign);
            if !more {
                return;
            }
            state = self.shared.state.lock();
        }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug("Receiver", &self.shared, f)
    }
}

fn debug<T>(name: &str, shared: &Shared<T>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let state = shared.state.lock();
    let (len, capacity) = (state.items.len(), state.capacity);
    let (senders, receivers) = (state.senders, state.receivers);
    let waiters = state.waiters.len();
    drop(state);
    f.debug_struct(name)
        .field("len", &len)
        .field("capacity", &capacity)
        .field("senders", &senders)
        .field("receivers", &receivers)
        .field("waiters", &waiters)
        .finish()
}

/// There is no receiver; the item is inside.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendError(..)")
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the broadcast has no receiver")
    }
}

impl<T> Error for SendError<T> {}

crate::error::into_io_error!(items SendError);

/// Why there is no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecvError {
    /// All senders are gone, and all items seen.
    Closed,
    /// The receiver was too slow, and missed as many items.
    Lagged(u64),
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str(CLOSED),
            Self::Lagged(missed) => write!(f, "the receiver was too slow and missed {missed}"),
        }
    }
}

impl Error for RecvError {}

crate::error::into_io_error!(RecvError);

/// The receiver was too slow, and missed as many items: from [`stream`](Receiver::stream).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lagged(pub u64);

impl fmt::Display for Lagged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        RecvError::Lagged(self.0).fmt(f)
    }
}

impl Error for Lagged {}

crate::error::into_io_error!(Lagged);

/// Why there is no item right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryRecvError {
    /// None was sent.
    Empty,
    /// All senders are gone, and all items seen.
    Closed,
    /// The receiver was too slow, and missed as many items.
    Lagged(u64),
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the broadcast has no item yet"),
            Self::Closed => f.write_str(CLOSED),
            Self::Lagged(missed) => write!(f, "the receiver was too slow and missed {missed}"),
        }
    }
}

impl Error for TryRecvError {}

const CLOSED: &str = "the broadcast is closed: all senders are gone";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_leaves_no_memory_behind() {
        // Goal: an idle channel is small, whatever it has held; seen, or left to a receiver that goes.
        for leaves in [false, true] {
            let (sender, mut receiver) = channel(100_000);
            let other = sender.subscribe();
            (0..100_000_u64).for_each(|n| assert!(sender.send(n).is_ok()));
            if leaves {
                drop(receiver);
            } else {
                while receiver.try_recv().is_ok() {}
            }
            drop(other);
            assert!(sender.is_empty());
            let kept = sender.shared.state.lock().items.capacity();
            assert!(kept <= shrink::keeps::<Entry<u64>>(), "{kept}");
        }
    }
}
