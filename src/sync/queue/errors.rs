//! Why an item was not put, or not got.

use std::{error::Error, fmt};

/// The queue was shut down. What could not be put is inside.
///
/// asyncio: `asyncio.QueueShutDown`, where the item is lost unless the caller keeps it.
#[derive(Clone, Copy, PartialEq, Eq)]
#[doc(alias = "QueueShutDown")]
pub struct ShutDown<T = ()>(pub T);

impl<T> fmt::Debug for ShutDown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShutDown(..)")
    }
}

impl<T> fmt::Display for ShutDown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the queue was shut down")
    }
}

impl<T> Error for ShutDown<T> {}

crate::error::into_io_error!(items ShutDown);

/// Why [`try_put`](super::Queue::try_put) did not put the item, which is inside.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TryPutError<T> {
    /// There is no room, or others wait for it. asyncio: `asyncio.QueueFull`.
    Full(T),
    /// The queue was shut down. asyncio: `asyncio.QueueShutDown`.
    ShutDown(T),
}

impl<T> TryPutError<T> {
    /// The item.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(item) | Self::ShutDown(item) => item,
        }
    }

    /// Whether there was no room: later there may be some.
    #[must_use]
    #[doc(alias = "QueueFull")]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }

    /// Whether the queue was shut down.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        matches!(self, Self::ShutDown(_))
    }
}

impl<T> fmt::Debug for TryPutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::ShutDown(_) => "ShutDown(..)",
        })
    }
}

impl<T> fmt::Display for TryPutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the queue is full",
            Self::ShutDown(_) => "the queue was shut down",
        })
    }
}

impl<T> Error for TryPutError<T> {}

/// Why [`try_get`](super::Queue::try_get) has no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryGetError {
    /// There is none that is not for getters that waited. asyncio: `asyncio.QueueEmpty`.
    Empty,
    /// The queue was shut down, and all items are taken. asyncio: `asyncio.QueueShutDown`.
    ShutDown,
}

impl TryGetError {
    /// Whether there was no item: later there may be one.
    #[must_use]
    #[doc(alias = "QueueEmpty")]
    pub fn is_empty(self) -> bool {
        self == Self::Empty
    }

    /// Whether the queue was shut down.
    #[must_use]
    pub fn is_shut_down(self) -> bool {
        self == Self::ShutDown
    }
}

impl fmt::Display for TryGetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the queue is empty",
            Self::ShutDown => "the queue was shut down",
        })
    }
}

impl Error for TryGetError {}

/// [`task_done`](super::Queue::task_done) was called more often than items were put.
///
/// asyncio: `ValueError`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskDoneError(pub(super) ());

impl fmt::Display for TaskDoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("task_done was called more often than items were put")
    }
}

impl Error for TaskDoneError {}
