//! Waiting for either direction of a stream.

use std::{fmt, future::poll_fn, io, ops::BitOr, pin::pin, task::Poll};

const READ: u8 = 1;
const WRITE: u8 = 2;

/// What a task waits for, by [`AsyncFd::ready`](super::AsyncFd::ready) and
/// [`TcpStream::ready`](crate::net::TcpStream::ready).
///
/// asyncio: `selectors.EVENT_READ` and `EVENT_WRITE`.
///
/// ```
/// use ringloop::io::Interest;
///
/// let both = Interest::READABLE | Interest::WRITABLE;
/// assert!(both.is_readable() && both.is_writable());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Interest(u8);

impl Interest {
    /// A read would not have to wait: there are bytes, or the end, or an error.
    pub const READABLE: Self = Self(READ);
    /// A write would not have to wait: there is room, or an error.
    pub const WRITABLE: Self = Self(WRITE);

    /// Either of the two.
    #[must_use]
    pub const fn add(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether reads are part of it.
    #[must_use]
    pub const fn is_readable(self) -> bool {
        self.0 & READ != 0
    }

    /// Whether writes are part of it.
    #[must_use]
    pub const fn is_writable(self) -> bool {
        self.0 & WRITE != 0
    }
}

impl BitOr for Interest {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.add(other)
    }
}

/// What can be done without waiting, as far as the runtime has heard. It may be over by the next moment: the
/// operation itself says [`WouldBlock`](io::ErrorKind::WouldBlock) then.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ready(u8);

impl Ready {
    /// Nothing.
    pub const EMPTY: Self = Self(0);
    /// A read.
    pub const READABLE: Self = Self(READ);
    /// A write.
    pub const WRITABLE: Self = Self(WRITE);

    /// Whether it is nothing.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether a read would not have to wait.
    #[must_use]
    pub const fn is_readable(self) -> bool {
        self.0 & READ != 0
    }

    /// Whether a write would not have to wait.
    #[must_use]
    pub const fn is_writable(self) -> bool {
        self.0 & WRITE != 0
    }
}

impl BitOr for Ready {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Waits for the directions of `interest`, by a future for each, until one of them is ready.
pub(super) async fn ready(
    interest: Interest,
    readable: impl Future<Output = io::Result<()>>,
    writable: impl Future<Output = io::Result<()>>,
) -> io::Result<Ready> {
    let (mut readable, mut writable) = (pin!(readable), pin!(writable));
    poll_fn(|cx| {
        let mut ready = Ready::EMPTY;
        if interest.is_readable()
            && let Poll::Ready(result) = readable.as_mut().poll(cx)
        {
            result?;
            ready = ready | Ready::READABLE;
        }
        if interest.is_writable()
            && let Poll::Ready(result) = writable.as_mut().poll(cx)
        {
            result?;
            ready = ready | Ready::WRITABLE;
        }
        if ready.is_empty() { Poll::Pending } else { Poll::Ready(Ok(ready)) }
    })
    .await
}

fn names(bits: u8, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut set = f.debug_tuple(name);
    for (bit, name) in [(READ, "READABLE"), (WRITE, "WRITABLE")] {
        if bits & bit != 0 {
            set.field(&format_args!("{name}"));
        }
    }
    set.finish()
}

impl fmt::Debug for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        names(self.0, "Interest", f)
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        names(self.0, "Ready", f)
    }
}
