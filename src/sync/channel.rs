//! Channels: queues that close when the last of either end is gone.
//!
//! ```
//! use ringloop::sync::channel;
//!
//! ringloop::run(async {
//!     let (sender, receiver) = channel(16);
//!     for n in 0..3 {
//!         let sender = sender.clone();
//!         ringloop::spawn(async move { sender.send(n).await });
//!     }
//!     drop(sender); // the tasks have theirs
//!     let mut sum = 0;
//!     while let Ok(n) = receiver.recv().await {
//!         sum += n;
//!     }
//!     assert_eq!(sum, 3);
//! });
//! ```

use std::{error::Error, fmt, sync::Arc};

use futures_core::Stream;

use super::queue::{Closed, Exchange, Fifo, GetItem, Items, PutItem, Refusal};
use crate::{
    loom::atomic::{AtomicUsize, Ordering},
    util::park,
};

/// Makes a channel with room for `capacity` items; both ends can be cloned.
///
/// Each item goes to one receiver. It closes by itself: when the last [`Sender`] is dropped,
/// receivers get what is left and then an error; when the last [`Receiver`] is dropped, items
/// that are left are dropped, and senders get theirs back.
///
/// With a capacity of 0 nothing is kept: sender and receiver meet, and a send is ready when a
/// receiver came for the item. `usize::MAX` is without a bound.
///
/// asyncio: has none; `asyncio.Queue` with a shutdown that one producer must not call while
/// others go on. trio: `open_memory_channel`.
///
/// # Examples
///
/// ```
/// use ringloop::sync::channel;
///
/// ringloop::run(async {
///     let (sender, receiver) = channel(0);
///     assert!(sender.try_send("too soon").is_err());
///     let task = ringloop::spawn(async move { receiver.recv().await });
///     sender.send("hand to hand").await.unwrap();
///     assert_eq!(task.await.unwrap(), Ok("hand to hand"));
/// });
/// ```
#[doc(alias = "open_memory_channel")]
#[doc(alias = "mpmc")]
#[doc(alias = "mpsc")]
#[must_use]
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        exchange: Exchange::new(capacity),
        senders: AtomicUsize::new(1),
        receivers: AtomicUsize::new(1),
    });
    (Sender { shared: shared.clone() }, Receiver { shared })
}

struct Shared<T> {
    exchange: Exchange<T, Fifo<T>>,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

impl<T> Shared<T> {
    fn stats(&self) -> ChannelStats {
        let numbers = self.exchange.numbers();
        // Relaxed: numbers of one moment, for people.
        ChannelStats {
            len: numbers.len,
            capacity: numbers.capacity,
            senders: self.senders.load(Ordering::Relaxed),
            receivers: self.receivers.load(Ordering::Relaxed),
            waiting_senders: numbers.putters,
            waiting_receivers: numbers.getters,
        }
    }
}

/// One more of an end that somebody has.
fn count_in(ends: &AtomicUsize) {
    // Relaxed: the end that is cloned keeps it above zero, as in `Arc`.
    ends.fetch_add(1, Ordering::Relaxed);
}

/// One less; whether it was the last.
fn count_out(ends: &AtomicUsize) -> bool {
    // AcqRel: what the others did comes before the close.
    ends.fetch_sub(1, Ordering::AcqRel) == 1
}

/// The numbers of a channel at one moment.
///
/// trio: `MemoryChannelStatistics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[doc(alias = "statistics")]
pub struct ChannelStats {
    /// Items that are there.
    pub len: usize,
    /// Items that there is room for.
    pub capacity: usize,
    /// [`Sender`]s.
    pub senders: usize,
    /// [`Receiver`]s.
    pub receivers: usize,
    /// Sends that wait for room, or for a receiver.
    pub waiting_senders: usize,
    /// Receives that wait for an item.
    pub waiting_receivers: usize,
}

/// The end of a [`channel`](fn@channel) that puts items in. Cloning it makes another one.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    /// Sends an item, once there is room for it.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, it has not sent the item, and the item is dropped with it.
    /// With a capacity of 0 it is a receiver who decides: the item that he came for is sent,
    /// even if the send is dropped before it could say so.
    ///
    /// # Errors
    ///
    /// If all receivers are gone; the item comes back.
    pub async fn send(&self, item: T) -> Result<(), SendError<T>> {
        PutItem::new(&self.shared.exchange, item).await.map_err(SendError)
    }

    /// Sends an item if there is room and nobody waits for it; with a capacity of 0, if a
    /// receiver waits.
    ///
    /// # Errors
    ///
    /// If there is no room, or all receivers are gone; the item comes back.
    pub fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        self.shared.exchange.try_put(item).map_err(|(why, item)| match why {
            Refusal::NotNow => TrySendError::Full(item),
            Refusal::Closed => TrySendError::Closed(item),
        })
    }

    /// [`send`](Self::send) for a plain thread, which sleeps until there is room.
    ///
    /// # Errors
    ///
    /// If all receivers are gone; the item comes back.
    ///
    /// # Panics
    ///
    /// Inside a task, whose worker it would hold up.
    ///
    /// # Examples
    ///
    /// ```
    /// let (sender, receiver) = ringloop::sync::channel(1);
    /// let thread = std::thread::spawn(move || (0..3).try_for_each(|n| sender.blocking_send(n)));
    /// for n in 0..3 {
    ///     assert_eq!(receiver.blocking_recv(), Ok(n));
    /// }
    /// assert!(receiver.blocking_recv().is_err()); // the thread is done with it
    /// assert!(thread.join().unwrap().is_ok());
    /// ```
    #[track_caller]
    pub fn blocking_send(&self, item: T) -> Result<(), SendError<T>> {
        park::block_on(self.send(item))
    }

    /// Whether all receivers are gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.exchange.is_closed()
    }

    /// How full it is, and who is there.
    #[must_use]
    pub fn stats(&self) -> ChannelStats {
        self.shared.stats()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        count_in(&self.shared.senders);
        Self { shared: self.shared.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if count_out(&self.shared.senders) {
            self.shared.exchange.close();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sender").field(&self.stats()).finish()
    }
}

/// The end of a [`channel`](fn@channel) that takes items out. Cloning it makes another one;
/// each item goes to one of them.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Receiver<T> {
    /// Takes the next item, once there is one.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, it has taken nothing. An item that was meant for it goes to
    /// the next who waits, or stays.
    ///
    /// # Errors
    ///
    /// If all senders are gone and all items taken.
    pub async fn recv(&self) -> Result<T, RecvError> {
        GetItem::new(&self.shared.exchange).await.map_err(|Closed| RecvError(()))
    }

    /// Takes the next item, if there is one that is not for others who waited; with a
    /// capacity of 0, if a sender waits.
    ///
    /// # Errors
    ///
    /// If there is none; [`TryRecvError`] says whether one may come.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.shared.exchange.try_get().map_err(|why| match why {
            Refusal::NotNow => TryRecvError::Empty,
            Refusal::Closed => TryRecvError::Closed,
        })
    }

    /// [`recv`](Self::recv) for a plain thread, which sleeps until there is an item.
    ///
    /// # Errors
    ///
    /// If all senders are gone and all items taken.
    ///
    /// # Panics
    ///
    /// Inside a task, whose worker it would hold up.
    #[track_caller]
    pub fn blocking_recv(&self) -> Result<T, RecvError> {
        park::block_on(self.recv())
    }

    /// The items as a stream, which ends when all senders are gone and all items taken.
    ///
    /// Several streams and receivers take turns. Once it had to wait, the stream is in line as
    /// long as it lives, also while nobody polls it, as after a `next()` that was dropped: an
    /// item that it was given is kept for it, and the receiver's own [`recv`](Self::recv) comes
    /// behind it. Dropping the stream gives that on to the next who waits, or leaves it.
    ///
    /// trio: `async for item in receive_channel`.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_util::StreamExt;
    /// use ringloop::sync::channel;
    ///
    /// ringloop::run(async {
    ///     let (sender, receiver) = channel(4);
    ///     ringloop::spawn(async move {
    ///         for n in 0..10 {
    ///             sender.send(n).await.unwrap();
    ///         }
    ///     });
    ///     let even = receiver.stream().filter(|n| std::future::ready(n % 2 == 0));
    ///     assert_eq!(even.collect::<Vec<_>>().await, [0, 2, 4, 6, 8]);
    /// });
    /// ```
    pub fn stream(&self) -> impl Stream<Item = T> + Unpin + use<'_, T> {
        Items::new(&self.shared.exchange)
    }

    /// How full it is, and who is there.
    #[must_use]
    pub fn stats(&self) -> ChannelStats {
        self.shared.stats()
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        count_in(&self.shared.receivers);
        Self { shared: self.shared.clone() }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        if count_out(&self.shared.receivers) {
            // Dropped here, with no lock held.
            drop(self.shared.exchange.clear());
        }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receiver").field(&self.stats()).finish()
    }
}

/// All receivers are gone; the item is inside.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendError(..)")
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the channel is closed: all receivers are gone")
    }
}

impl<T> Error for SendError<T> {}

/// Why [`try_send`](Sender::try_send) did not send the item, which is inside.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// There is no room, or others wait for it.
    Full(T),
    /// All receivers are gone.
    Closed(T),
}

impl<T> TrySendError<T> {
    /// The item.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(item) | Self::Closed(item) => item,
        }
    }

    /// Whether there was no room: later there may be some.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }

    /// Whether all receivers are gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }
}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the channel is full",
            Self::Closed(_) => "the channel is closed: all receivers are gone",
        })
    }
}

impl<T> Error for TrySendError<T> {}

/// All senders are gone, and all items taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecvError(());

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the channel is closed and empty: all senders are gone")
    }
}

impl Error for RecvError {}

/// Why [`try_recv`](Receiver::try_recv) has no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryRecvError {
    /// There is none that is not for others who waited.
    Empty,
    /// All senders are gone, and all items taken.
    Closed,
}

impl TryRecvError {
    /// Whether there was no item: later there may be one.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::Empty
    }

    /// Whether all senders are gone, and all items taken.
    #[must_use]
    pub fn is_closed(self) -> bool {
        self == Self::Closed
    }
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the channel is empty",
            Self::Closed => "the channel is closed and empty: all senders are gone",
        })
    }
}

impl Error for TryRecvError {}
