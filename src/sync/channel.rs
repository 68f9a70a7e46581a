//! Channels: queues that close when the last of either end is gone.
//!
//! Both ends can be cloned. A [`WeakSender`] does not keep the channel open; a [`Permit`] is room
//! that is reserved for an item.
//!
//! ```
//! use ringloop::sync::channel;
//!
//! ringloop::run(async {
//!     let (sender, receiver) = channel(16);
//!     for n in 0..3 {
//!         let sender = sender.clone();
//!         ringloop::spawn(async move { sender.send(n).await }).detach();
//!     }
//!     drop(sender); // the tasks have theirs
//!     let mut sum = 0;
//!     while let Ok(n) = receiver.recv().await {
//!         sum += n;
//!     }
//!     assert_eq!(sum, 3);
//! });
//! ```

mod errors;
mod permit;

use std::{fmt, sync::Arc};

use futures_core::Stream;

pub use self::{
    errors::{RecvError, SendError, TryRecvError, TrySendError},
    permit::{OwnedPermit, Permit},
};
use super::{
    Event,
    queue::{Closed, Exchange, Fifo, GetItem, Items, PutItem, Refusal},
};
use crate::{
    loom::atomic::{AtomicUsize, Ordering},
    util::{park, wait::WaitKind},
};

/// Makes a channel with room for `capacity` items; both ends can be cloned.
///
/// Each item goes to one receiver. It closes by itself: when the last [`Sender`] is dropped,
/// receivers get what is left and then an error; when the last [`Receiver`] is dropped, items
/// that are left are dropped, and senders get theirs back. [`Receiver::close`] closes it before.
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
        exchange: Exchange::new(capacity, [WaitKind::Receiver, WaitKind::Sender]),
        closed: Event::new(),
        senders: AtomicUsize::new(1),
        receivers: AtomicUsize::new(1),
    });
    (Sender { shared: shared.clone() }, Receiver { shared })
}

struct Shared<T> {
    exchange: Exchange<T, Fifo<T>>,
    /// A receiver closed it, or all are gone.
    closed: Event,
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
    /// Dropped before it is ready, it has not sent the item, and the item is dropped with it. With
    /// a capacity of 0 a receiver decides: an item that a receiver has taken is sent, even if the
    /// send is dropped before it is ready.
    ///
    /// # Errors
    ///
    /// If the channel is closed, now or while it waits; the item comes back.
    pub async fn send(&self, item: T) -> Result<(), SendError<T>> {
        PutItem::new(&self.shared.exchange, item).await.map_err(SendError)
    }

    /// Sends an item if there is room and nobody waits for it; with a capacity of 0, if a
    /// receiver waits.
    ///
    /// # Errors
    ///
    /// If there is no room, or the channel is closed; the item comes back.
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
    /// If the channel is closed, now or while it waits; the item comes back.
    ///
    /// # Panics
    ///
    /// On a worker's thread, which it would hold up.
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

    /// Whether all receivers are gone, or one has [closed](Receiver::close) the channel.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.exchange.is_closed()
    }

    /// Waits until all receivers are gone, or one has [closed](Receiver::close) the channel: a
    /// producer can leave off then, without an item to find out.
    ///
    /// asyncio: has none. tokio: `mpsc::Sender::closed`.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::channel;
    ///
    /// ringloop::run(async {
    ///     let (sender, receiver) = channel::<u32>(4);
    ///     let task = ringloop::spawn(async move { sender.closed().await });
    ///     drop(receiver);
    ///     task.await.unwrap();
    /// });
    /// ```
    pub async fn closed(&self) {
        self.shared.closed.wait().await;
    }

    /// A sender that does not keep the channel open, and can be made one that does as long as there
    /// are others.
    ///
    /// asyncio: has none. tokio: `mpsc::Sender::downgrade`.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::channel;
    ///
    /// ringloop::run(async {
    ///     let (sender, receiver) = channel(4);
    ///     let weak = sender.downgrade();
    ///     weak.upgrade().unwrap().send(1).await.unwrap();
    ///     drop(sender);
    ///     assert!(weak.upgrade().is_none());
    ///     assert_eq!(receiver.recv().await, Ok(1));
    ///     assert!(receiver.recv().await.is_err()); // it is closed, and empty
    /// });
    /// ```
    pub fn downgrade(&self) -> WeakSender<T> {
        WeakSender { shared: self.shared.clone() }
    }

    /// How full it is, and how many senders, receivers and waiting tasks there are.
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

/// A [`Sender`] that does not keep the channel open: from [`downgrade`](Sender::downgrade).
#[must_use = "a weak sender sends nothing by itself"]
pub struct WeakSender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> WeakSender<T> {
    /// A sender, if there is one still: `None` if the last was dropped.
    #[must_use]
    pub fn upgrade(&self) -> Option<Sender<T>> {
        let one_more = |senders| if senders == 0 { None } else { Some(senders + 1) };
        // Relaxed: what was sent is behind the lock of the exchange, and the RMW hands on what other
        // senders publish with their end.
        let counted =
            self.shared.senders.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        counted.is_ok().then(|| Sender { shared: self.shared.clone() })
    }
}

impl<T> Clone for WeakSender<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<T> fmt::Debug for WeakSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WeakSender").field(&self.shared.stats()).finish()
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
    /// Dropped before it is ready, it has taken nothing. An item that was meant for it goes to the
    /// next receiver that waits, or stays.
    ///
    /// # Errors
    ///
    /// If the channel is closed, since all senders are gone or a receiver [closed](Self::close) it,
    /// and all items are taken.
    pub async fn recv(&self) -> Result<T, RecvError> {
        GetItem::new(&self.shared.exchange).await.map_err(|Closed| RecvError(()))
    }

    /// Waits for an item, takes with it as many more as are there, `limit` at most in all, and
    /// appends them to `items`; says how many they are. 0: the channel is closed and empty, or
    /// `limit` is 0.
    ///
    /// This costs less than as many calls of [`recv`](Self::recv). Other receivers that wait keep
    /// what they were given, and take turns with this one.
    ///
    /// asyncio: has none. tokio: `mpsc::Receiver::recv_many`.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, it has taken nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::channel;
    ///
    /// ringloop::run(async {
    ///     let (sender, receiver) = channel(8);
    ///     for n in 0..5 {
    ///         sender.send(n).await.unwrap();
    ///     }
    ///     let mut items = Vec::new();
    ///     assert_eq!(receiver.recv_many(&mut items, 3).await, 3);
    ///     assert_eq!(receiver.recv_many(&mut items, 3).await, 2);
    ///     assert_eq!(items, [0, 1, 2, 3, 4]);
    ///     drop(sender);
    ///     assert_eq!(receiver.recv_many(&mut items, 3).await, 0);
    /// });
    /// ```
    pub async fn recv_many(&self, items: &mut Vec<T>, limit: usize) -> usize {
        if limit == 0 {
            return 0;
        }
        let before = items.len();
        let exchange = &self.shared.exchange;
        let Ok(first) = GetItem::new(exchange).await else { return 0 };
        items.push(first);
        exchange.take_many(items, limit - 1);
        items.len() - before
    }

    /// Closes the channel for all senders: sends fail from now on, those that wait too. Items that
    /// were sent can be received, and then receivers get an error. `false`: it was closed before.
    ///
    /// Room that was [reserved](Sender::reserve) does not count: a send to it fails, and returns its
    /// item.
    ///
    /// asyncio: has none; `asyncio.Queue.shutdown()`. tokio: `mpsc::Receiver::close`.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::channel;
    ///
    /// ringloop::run(async {
    ///     let (sender, receiver) = channel(8);
    ///     sender.send("in time").await.unwrap();
    ///     receiver.close();
    ///     assert_eq!(sender.send("too late").await.unwrap_err().0, "too late");
    ///     assert_eq!(receiver.recv().await, Ok("in time"));
    ///     assert!(receiver.recv().await.is_err());
    /// });
    /// ```
    pub fn close(&self) -> bool {
        let closed = self.shared.exchange.close();
        self.shared.closed.set();
        closed
    }

    /// Takes the next item, if there is one that is not for receivers that waited; with a capacity
    /// of 0, if a sender waits.
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
    /// As [`recv`](Self::recv).
    ///
    /// # Panics
    ///
    /// On a worker's thread, which it would hold up.
    #[track_caller]
    pub fn blocking_recv(&self) -> Result<T, RecvError> {
        park::block_on(self.recv())
    }

    /// The items as a stream, which ends when the channel is closed and all items are taken.
    ///
    /// Several streams and receivers take turns. Once it had to wait, the stream is in line as long
    /// as it lives, also while nobody polls it, as after a `next()` that was dropped. An item that
    /// it was given is kept for it, and the receiver's own [`recv`](Self::recv) comes behind it.
    /// Dropping the stream gives that item to the next receiver that waits, or leaves it.
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
    ///     }).detach();
    ///     let even = receiver.stream().filter(|n| std::future::ready(n % 2 == 0));
    ///     assert_eq!(even.collect::<Vec<_>>().await, [0, 2, 4, 6, 8]);
    /// });
    /// ```
    pub fn stream(&self) -> impl Stream<Item = T> + Unpin + use<'_, T> {
        Items::new(&self.shared.exchange)
    }

    /// How full it is, and how many senders, receivers and waiting tasks there are.
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
            let left = self.shared.exchange.clear();
            self.shared.closed.set();
            // With no lock held, and after the close: their destructors may panic.
            drop(left);
        }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receiver").field(&self.stats()).finish()
    }
}
