//! Why an item was not sent, or not received.

use std::{error::Error, fmt};

const CLOSED: &str = "the channel is closed: it has no receiver, or one has closed it";
const DRAINED: &str =
    "the channel is closed and empty: it has no sender, or a receiver has closed it";

/// The channel is closed: all receivers are gone, or one [closed](super::Receiver::close) it. The
/// item is inside.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendError(..)")
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(CLOSED)
    }
}

impl<T> Error for SendError<T> {}

crate::error::into_io_error!(items SendError);

/// Why [`try_send`](super::Sender::try_send) did not send the item, which is inside.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// There is no room, or others wait for it.
    Full(T),
    /// All receivers are gone, or one [closed](super::Receiver::close) it.
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

    /// Whether the channel is closed.
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
            Self::Closed(_) => CLOSED,
        })
    }
}

impl<T> Error for TrySendError<T> {}

/// All senders are gone, or the channel was [closed](super::Receiver::close); and all items are
/// taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecvError(pub(super) ());

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(DRAINED)
    }
}

impl Error for RecvError {}

crate::error::into_io_error!(RecvError);

/// Why [`try_recv`](super::Receiver::try_recv) has no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryRecvError {
    /// There is none that is not for receivers that waited.
    Empty,
    /// All senders are gone, or the channel was [closed](super::Receiver::close); and all items
    /// are taken.
    Closed,
}

impl TryRecvError {
    /// Whether there was no item: later there may be one.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::Empty
    }

    /// Whether the channel is closed, and all items taken.
    #[must_use]
    pub fn is_closed(self) -> bool {
        self == Self::Closed
    }
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the channel is empty",
            Self::Closed => DRAINED,
        })
    }
}

impl Error for TryRecvError {}
