//! Queues: items that some put and others get, with work that is joined.
//!
//! Three types with one face; they differ in the [order](order) in which items leave. What they do
//! is in [`exchange`], and the wait until all is done in [`work`].

mod errors;
mod exchange;
mod futures;
mod order;
mod tracked;
mod work;

use std::{fmt, sync::Arc};

use futures_core::Stream;

pub use self::{
    errors::{ShutDown, TaskDoneError, TryGetError, TryPutError},
    tracked::{OwnedTracked, Tracked, TrackedQueue},
};
pub(super) use self::{
    exchange::{Closed, Exchange, Refusal},
    futures::{Get as GetItem, Items, Put as PutItem, Reserve},
    order::Fifo,
};
use self::{
    futures::{Get, Join, Put},
    order::{Least, Lifo},
    tracked::Counts,
    work::Work,
};
use crate::util::park;

/// The methods of one type of queue: all are the same, but for the order.
macro_rules! queue {
    ($Queue:ident, $Store:ident, $asyncio:literal $(, $Ord:ident, $panics:literal)?) => {
        impl<T $(: $Ord)?> $Queue<T> {
            /// A queue with room for `capacity` items: a task that puts one more waits.
            ///
            #[doc = concat!("asyncio: `asyncio.", $asyncio, "(maxsize)`.")]
            ///
            /// # Panics
            ///
            /// With a capacity of 0: to hand items over without keeping any, there is
            /// [`channel(0)`](fn@crate::sync::channel).
            #[must_use]
            #[track_caller]
            pub fn bounded(capacity: usize) -> Self {
                assert!(capacity > 0, "a queue without room: use ringloop::sync::channel(0)");
                Self { exchange: Exchange::with_work(capacity) }
            }

            /// A queue that grows as long as there is memory. Nothing holds up a task that puts
            /// faster than others get.
            ///
            #[doc = concat!("asyncio: `asyncio.", $asyncio, "()`, where it is the default.")]
            #[must_use]
            pub fn unbounded() -> Self {
                Self { exchange: Exchange::with_work(usize::MAX) }
            }

            /// Gives it a name, which the [list of tasks](crate::task::TaskInfo::waits_for) shows
            /// for the tasks that wait here.
            ///
            /// ```
            #[doc = concat!("let jobs = ringloop::sync::", stringify!($Queue), "::<u32>::bounded(8).named(\"jobs\");")]
            /// # drop(jobs);
            /// ```
            #[must_use]
            pub fn named(self, name: impl Into<std::borrow::Cow<'static, str>>) -> Self {
                self.exchange.set_name(name.into());
                self
            }

            /// Puts an item, once there is room for it.
            ///
            #[doc = concat!("asyncio: `", $asyncio, ".put(item)`.")]
            ///
            /// # Cancel safety
            ///
            /// Dropped before it is ready, it has not put the item, and the item is dropped with
            /// it. Room that it had been given goes to the next putter that waits.
            ///
            /// # Errors
            ///
            /// If the queue is shut down, now or while it waits; the item comes back.
            pub async fn put(&self, item: T) -> Result<(), ShutDown<T>> {
                Put::new(&self.exchange, item).await.map_err(ShutDown)
            }

            /// Puts an item if there is room and nobody waits for it.
            ///
            #[doc = concat!("asyncio: `", $asyncio, ".put_nowait(item)`.")]
            ///
            /// # Errors
            ///
            /// If there is no room, or the queue is shut down; the item comes back.
            #[doc(alias = "put_nowait")]
            pub fn try_put(&self, item: T) -> Result<(), TryPutError<T>> {
                self.exchange.try_put(item).map_err(|(why, item)| match why {
                    Refusal::NotNow => TryPutError::Full(item),
                    Refusal::Closed => TryPutError::ShutDown(item),
                })
            }

            /// [`put`](Self::put) for a plain thread, which sleeps until there is room.
            ///
            /// # Errors
            ///
            /// If the queue is shut down, now or while it waits; the item comes back.
            ///
            /// # Panics
            ///
            /// On a worker's thread, which it would hold up.
            #[track_caller]
            pub fn blocking_put(&self, item: T) -> Result<(), ShutDown<T>> {
                park::block_on(self.put(item))
            }

            /// Takes the next item, once there is one.
            ///
            #[doc = concat!("asyncio: `", $asyncio, ".get()`.")]
            ///
            /// # Cancel safety
            ///
            /// Dropped before it is ready, it has taken nothing. An item that was meant for it goes
            /// to the next getter that waits, or stays.
            ///
            /// # Errors
            ///
            /// If the queue is shut down and all items are taken.
            pub async fn get(&self) -> Result<T, ShutDown> {
                Get::new(&self.exchange).await.map_err(|Closed| ShutDown(()))
            }

            /// Takes the next item, if there is one that is not for getters that waited.
            ///
            #[doc = concat!("asyncio: `", $asyncio, ".get_nowait()`.")]
            ///
            /// # Errors
            ///
            /// If there is none; [`TryGetError`] says whether one may come.
            #[doc(alias = "get_nowait")]
            pub fn try_get(&self) -> Result<T, TryGetError> {
                self.exchange.try_get().map_err(|why| match why {
                    Refusal::NotNow => TryGetError::Empty,
                    Refusal::Closed => TryGetError::ShutDown,
                })
            }

            /// [`get`](Self::get) for a plain thread, which sleeps until there is an item.
            ///
            /// # Errors
            ///
            /// If the queue is shut down and all items are taken.
            ///
            /// # Panics
            ///
            /// On a worker's thread, which it would hold up.
            #[track_caller]
            pub fn blocking_get(&self) -> Result<T, ShutDown> {
                park::block_on(self.get())
            }

            /// Takes the next item, and reports it done when the [`Tracked`] is dropped: at the end
            /// of the work, be it by a panic or a cancel. There is no [`task_done`](Self::task_done)
            /// to call for it.
            ///
            /// asyncio: `get()`, with `task_done()` in a `finally`.
            ///
            /// # Cancel safety
            ///
            /// As [`get`](Self::get).
            ///
            /// # Errors
            ///
            /// If the queue is shut down and all items are taken.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("use ringloop::sync::", stringify!($Queue), ";")]
            ///
            /// ringloop::run(async {
            #[doc = concat!("    let queue = ", stringify!($Queue), "::bounded(4);")]
            ///     queue.put(1).await.unwrap();
            ///     let item = queue.get_tracked().await.unwrap();
            ///     assert_eq!((*item, queue.unfinished()), (1, 1));
            ///     drop(item);
            ///     queue.join().await; // all is done
            /// });
            /// ```
            #[doc(alias = "task_done")]
            pub async fn get_tracked(&self) -> Result<Tracked<'_, T>, ShutDown> {
                let item = self.get().await?;
                Ok(Tracked::new(item, self.work()))
            }

            /// [`get_tracked`](Self::get_tracked) with an item that holds the queue by its `Arc`, and
            /// may go to another task.
            ///
            /// # Cancel safety
            ///
            /// As [`get`](Self::get).
            ///
            /// # Errors
            ///
            /// If the queue is shut down and all items are taken.
            ///
            /// # Examples
            ///
            /// ```
            /// use std::sync::Arc;
            #[doc = concat!("use ringloop::sync::", stringify!($Queue), ";")]
            ///
            /// ringloop::run(async {
            #[doc = concat!("    let queue = Arc::new(", stringify!($Queue), "::unbounded());")]
            ///     (0..3).for_each(|n| queue.try_put(n).unwrap());
            ///     for _ in 0..3 {
            ///         let item = queue.clone().get_tracked_owned().await.unwrap();
            ///         ringloop::spawn(async move { assert!(*item < 3) }).detach();
            ///     }
            ///     queue.join().await; // all tasks are done with their items
            /// });
            /// ```
            pub async fn get_tracked_owned(
                self: Arc<Self>,
            ) -> Result<OwnedTracked<T, Self>, ShutDown> {
                let item = self.get().await?;
                Ok(OwnedTracked::new(item, self))
            }

            /// The items as a stream, which ends when the queue is shut down and all are taken.
            ///
            /// Several streams and getters take turns. Once it had to wait, the stream is in line
            /// as long as it lives, also while nobody polls it, as after a `next()` that was
            /// dropped: an item that it was given is kept for it. Dropping the stream gives that
            /// item to the next getter that waits, or leaves it.
            ///
            /// asyncio: has no counterpart; there one writes `while True: await queue.get()`.
            ///
            /// # Examples
            ///
            /// ```
            /// use futures_util::StreamExt;
            #[doc = concat!("use ringloop::sync::", stringify!($Queue), ";")]
            ///
            /// ringloop::run(async {
            #[doc = concat!("    let queue = ", stringify!($Queue), "::unbounded();")]
            ///     queue.try_put(7).unwrap();
            ///     queue.shutdown();
            ///     assert_eq!(queue.stream().collect::<Vec<_>>().await, [7]);
            /// });
            /// ```
            pub fn stream(&self) -> impl Stream<Item = T> + Unpin + use<'_, T> {
                Items::new(&self.exchange)
            }

            /// Reports that the work on one item is done. Which one is not known: called once too
            /// often, it counts for an item that is still there, or in work.
            ///
            #[doc = concat!("asyncio: `", $asyncio, ".task_done()`.")]
            ///
            /// # Errors
            ///
            /// If all items that were put have been reported done. asyncio: `ValueError`.
            pub fn task_done(&self) -> Result<(), TaskDoneError> {
                if self.work().finish(1) { Ok(()) } else { Err(TaskDoneError(())) }
            }

            /// Waits until all items that were put have been reported done, by
            /// [`task_done`](Self::task_done) or the drop of a [`Tracked`].
            ///
            /// Ready at once if that is so; else as soon as it is so for a moment, even if more
            /// is put by then.
            ///
            #[doc = concat!("asyncio: `", $asyncio, ".join()`.")]
            ///
            /// # Cancel safety
            ///
            /// Nothing is lost.
            pub async fn join(&self) {
                Join::new(self.work()).await;
            }

            /// [`join`](Self::join) for a plain thread, which sleeps until all is done.
            ///
            /// # Panics
            ///
            /// On a worker's thread, which it would hold up.
            #[track_caller]
            pub fn blocking_join(&self) {
                park::block_on(self.join());
            }

            /// Ends the queue: puts fail from now on, also those that wait. Items that are there
            /// can still be got; after that gets fail as well. `false`: it was shut down before.
            ///
            #[doc = concat!("asyncio: `", $asyncio, ".shutdown()`.")]
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("use ringloop::sync::", stringify!($Queue), ";")]
            ///
            /// ringloop::run(async {
            #[doc = concat!("    let queue = ", stringify!($Queue), "::bounded(4);")]
            ///     queue.put("last").await.unwrap();
            ///     queue.shutdown();
            ///     assert_eq!(queue.put("too late").await.unwrap_err().0, "too late");
            ///     assert_eq!(queue.get().await, Ok("last"));
            ///     assert!(queue.get().await.is_err());
            /// });
            /// ```
            pub fn shutdown(&self) -> bool {
                self.exchange.close()
            }

            /// Shuts the queue down and takes what is left, in the order in which it would have been
            /// got. These items count as done; those that were got before still hold
            /// [`join`](Self::join) back.
            ///
            $(#[doc = $panics])?
            ///
            #[doc = concat!("asyncio: `", $asyncio, ".shutdown(immediate=True)`, which discards the items.")]
            pub fn shutdown_now(&self) -> Vec<T> {
                self.exchange.clear()
            }

            /// Whether it was shut down.
            #[must_use]
            pub fn is_shut_down(&self) -> bool {
                self.exchange.is_closed()
            }

            /// How many items are there. Some may be for getters that waited.
            ///
            #[doc = concat!("asyncio: `", $asyncio, ".qsize()`.")]
            #[doc(alias = "qsize")]
            #[must_use]
            pub fn len(&self) -> usize {
                self.exchange.numbers().len
            }

            /// Whether there are no items.
            ///
            #[doc = concat!("asyncio: `", $asyncio, ".empty()`.")]
            #[doc(alias = "empty")]
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Whether there are as many items as there is room for.
            ///
            /// Room that was given to a `put` that waited, and has not run yet, does not count: then
            /// there is room, and [`try_put`](Self::try_put) has none all the same.
            ///
            #[doc = concat!("asyncio: `", $asyncio, ".full()`.")]
            #[doc(alias = "full")]
            #[must_use]
            pub fn is_full(&self) -> bool {
                let numbers = self.exchange.numbers();
                numbers.len >= numbers.capacity
            }

            /// For how many items there is room in all; `None` if it is unbounded.
            ///
            #[doc = concat!("asyncio: `", $asyncio, ".maxsize`.")]
            #[doc(alias = "maxsize")]
            #[must_use]
            pub fn capacity(&self) -> Option<usize> {
                let capacity = self.exchange.numbers().capacity;
                (capacity < usize::MAX).then_some(capacity)
            }

            /// How many items were put and not reported done.
            #[must_use]
            pub fn unfinished(&self) -> usize {
                self.work().unfinished()
            }
        }

        impl<T $(: $Ord)?> Counts for $Queue<T> {
            fn work(&self) -> &Work {
                self.exchange.work().expect("every queue counts")
            }
        }

        impl<T $(: $Ord)?> fmt::Debug for $Queue<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let numbers = self.exchange.numbers();
                let waiting = self.work().waiting();
                f.debug_struct(stringify!($Queue))
                    .field("len", &numbers.len)
                    .field("capacity", &self.capacity())
                    .field("shut_down", &numbers.closed)
                    .field("unfinished", &self.unfinished())
                    .field("waiting_getters", &numbers.getters)
                    .field("waiting_putters", &numbers.putters)
                    .field("waiting_joiners", &waiting)
                    .finish()
            }
        }
    };
}

/// A queue: first in, first out.
///
/// It is used by reference, as from an `Arc`, by any number of tasks and threads. Getters and
/// putters are served in the order in which they came. What is put is kept in the queue
/// until somebody has it: a getter that is cancelled takes nothing along.
///
/// Where producers should close the queue by going away, take a [`channel`](fn@super::channel).
///
/// asyncio: `asyncio.Queue`, which is unbounded by default, and not thread-safe.
///
/// # Examples
///
/// A producer, three workers, and an end to it:
///
/// ```
/// use std::sync::Arc;
/// use ringloop::sync::Queue;
///
/// ringloop::run(async {
///     let queue = Arc::new(Queue::bounded(8));
///     let workers: Vec<_> = (0..3)
///         .map(|_| {
///             let queue = queue.clone();
///             ringloop::spawn(async move {
///                 let mut sum = 0;
///                 while let Ok(item) = queue.get_tracked().await {
///                     sum += *item;
///                 }
///                 sum
///             })
///         })
///         .collect();
///     for n in 1..=100 {
///         queue.put(n).await.unwrap();
///     }
///     queue.join().await; // all are done
///     queue.shutdown(); // the workers go
///     let mut sum = 0;
///     for worker in workers {
///         sum += worker.await.unwrap();
///     }
///     assert_eq!(sum, 5050);
/// });
/// ```
#[doc(alias = "asyncio.Queue")]
pub struct Queue<T> {
    exchange: Exchange<T, Fifo<T>>,
}

queue!(Queue, Fifo, "Queue");

/// A [`Queue`] of which the least item is got first; among equals, the one that was put first.
///
/// For the greatest first, put [`Reverse`](std::cmp::Reverse). For items without an order, put
/// tuples `(priority, n, item)`, or a type with an `Ord` of its own; only that decides.
///
/// Items are compared with the queue's lock held: `cmp` must not use the queue. If it panics, so
/// does the `put` or `get`, with the item in the queue; the order of what is there is
/// unspecified then. [`shutdown_now`](Self::shutdown_now) takes all items whatever happens.
///
/// asyncio: `asyncio.PriorityQueue`, which gives equal items out in any order.
///
/// # Examples
///
/// ```
/// use ringloop::sync::PriorityQueue;
///
/// ringloop::run(async {
///     let queue = PriorityQueue::bounded(8);
///     for item in [(2, "tea"), (1, "water"), (2, "coffee")] {
///         queue.put(item).await.unwrap();
///     }
///     assert_eq!(queue.get().await, Ok((1, "water")));
///     assert_eq!(queue.get().await, Ok((2, "coffee"))); // tuples compare as a whole
/// });
/// ```
#[doc(alias = "asyncio.PriorityQueue")]
pub struct PriorityQueue<T: Ord> {
    exchange: Exchange<T, Least<T>>,
}

queue!(
    PriorityQueue,
    Least,
    "PriorityQueue",
    Ord,
    "If a comparison panics, the panic ends here, and the items come in any order; none is lost."
);

/// A [`Queue`] of which the item is got first that was put last: a stack.
///
/// asyncio: `asyncio.LifoQueue`.
///
/// # Examples
///
/// ```
/// use ringloop::sync::LifoQueue;
///
/// ringloop::run(async {
///     let stack = LifoQueue::bounded(8);
///     stack.put(1).await.unwrap();
///     stack.put(2).await.unwrap();
///     assert_eq!((stack.get().await, stack.get().await), (Ok(2), Ok(1)));
/// });
/// ```
#[doc(alias = "asyncio.LifoQueue")]
pub struct LifoQueue<T> {
    exchange: Exchange<T, Lifo<T>>,
}

queue!(LifoQueue, Lifo, "LifoQueue");
