//! One direction of a copy.
//!
//! It copies through the thread's buffer, or moves bytes through a pipe by splice(2), whichever costs less for what
//! comes:
//!
//! 1. It starts with reads. After two in a row that brought [`MUCH`] bytes each, it moves, if both streams have
//!    descriptors that can.
//! 2. A move that brought less than [`LITTLE`] bytes is followed by reads again.
//! 3. What is in the pipe goes out before anything else comes in. So the order is kept, an error says which stream
//!    it is of, and a direction that waits for its writer holds one pipe at most, and no memory.
//! 4. Where a descriptor refuses, what is in the pipe is taken out into memory, and reads go on.
//!
//! Moves are made on the worker, when the descriptor is ready. In a ring each would go to a thread of the kernel's.

use std::{
    io,
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_io::{AsyncRead, AsyncWrite};

use super::{
    super::connection::Spliced,
    buffer::Buffer,
    plain::Look,
    transit::{ROOM, Transit},
};
use crate::util::{current, signals};

/// How much the first read asks for, and each one where little comes.
pub(super) const SMALL: usize = 1 << 10;
/// What a copy that has to wait for its writer moves into memory of its own; of more it keeps the whole buffer.
const MOVED: usize = 16 << 10;
/// How much one direction copies in one poll: then others have their turn.
pub(super) const TURN: usize = 512 << 10;
/// A read that brought so much speaks for moves, which cost less from here on.
const MUCH: usize = 16 << 10;
/// So many such reads in a row start them.
const READS: u32 = 2;
/// A move that brought less speaks for reads.
const LITTLE: usize = 8 << 10;
/// So many such reads until moves are tried again where there was no pipe, or a descriptor was not ready for them.
const PATIENCE: u32 = 64;

/// What becomes of the writer behind the last byte.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum End {
    Flush,
    Close,
}

enum State {
    Copying,
    Ending,
    Done,
}

/// The copy of one direction.
pub(super) struct Direction<R: ?Sized, W: ?Sized> {
    state: State,
    end: End,
    /// What was read, and not written yet: the writer has to be waited for.
    pub(super) rest: Option<Rest>,
    /// What was moved into a pipe, and not out of it.
    pub(super) transit: Option<Transit>,
    /// How much a read asks for, and the limit of that.
    pub(super) room: usize,
    most: usize,
    way: Way,
    reader: Look<R>,
    writer: Look<W>,
    is_unflushed: bool,
    pub(super) copied: u64,
}

/// How bytes go.
#[derive(Clone, Copy)]
enum Way {
    /// Through memory, until so many reads in a row have brought much.
    Read { until: u32 },
    /// Through a pipe.
    Move,
    /// Through memory, for good.
    Memory,
}

pub(super) struct Rest {
    pub(super) buffer: Buffer,
    pub(super) range: Range<usize>,
}

impl<R: ?Sized, W: ?Sized> Direction<R, W> {
    pub(super) fn new(most: usize, end: End) -> Self {
        let (reader, writer) = (Look::new(), Look::new());
        // What is to hold less than a pipe does goes through memory.
        let may_move = most >= ROOM && reader.is_known() && writer.is_known();
        Self {
            state: State::Copying,
            end,
            rest: None,
            transit: None,
            room: SMALL.min(most),
            most,
            way: if may_move { Way::Read { until: READS } } else { Way::Memory },
            reader,
            writer,
            is_unflushed: false,
            copied: 0,
        }
    }
}

impl<R, W> Direction<R, W>
where
    R: AsyncRead + Unpin + ?Sized,
    W: AsyncWrite + Unpin + ?Sized,
{
    /// The number of bytes, when all are written and the end is passed on. `hot` is the buffer of this poll, once
    /// somebody has needed one.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        hot: &mut Option<Buffer>,
    ) -> Poll<io::Result<u64>> {
        if let State::Copying = self.state {
            ready!(self.poll_copy(cx, reader, writer, hot))?;
            self.state = State::Ending;
        }
        if let State::Ending = self.state {
            ready!(match self.end {
                End::Flush => Pin::new(writer).poll_flush(cx),
                End::Close => Pin::new(writer).poll_close(cx),
            })?;
            self.state = State::Done;
        }
        Poll::Ready(Ok(self.copied))
    }

    /// Copies until the reader is at its end.
    fn poll_copy(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        hot: &mut Option<Buffer>,
    ) -> Poll<io::Result<()>> {
        let mut turn = TURN;
        // What waited for the writer goes first.
        if let Some(rest) = self.rest.take() {
            *hot = Some(ready!(self.poll_write(cx, writer, rest))?);
        }
        if let Some(transit) = self.transit.take() {
            ready!(self.poll_out(cx, writer, transit, hot))?;
        }
        loop {
            if turn == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            ready!(current::poll_budget(cx));
            let done = match self.way {
                Way::Move => self.poll_move(cx, reader, writer, hot),
                _ => self.poll_read(cx, reader, writer, hot),
            };
            match ready!(done)? {
                Some(0) => return Poll::Ready(Ok(())),
                Some(bytes) => turn = turn.saturating_sub(bytes),
                None => {}
            }
        }
    }

    /// Reads once, and writes that. The number of bytes; 0 is the end.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        hot: &mut Option<Buffer>,
    ) -> Poll<io::Result<Option<usize>>> {
        let mut buffer = match hot.take() {
            Some(buffer) if buffer.len() >= self.most => buffer,
            _ => Buffer::take(self.most),
        };
        let read = match Pin::new(&mut *reader)
            .poll_read(cx, buffer.get(self.room, !self.reader.is_known()))
        {
            Poll::Ready(read) => read?,
            Poll::Pending => {
                *hot = Some(buffer);
                return self.poll_idle(cx, writer);
            }
        };
        if read == 0 {
            return Poll::Ready(Ok(Some(0)));
        }
        if read > self.room {
            return Poll::Ready(Err(io::Error::other(
                "a reader says that it read more bytes than its buffer has room for",
            )));
        }
        self.note_read(read);
        let rest = Rest { buffer, range: 0..read };
        *hot = Some(ready!(self.poll_write(cx, writer, rest))?);
        Poll::Ready(Ok(Some(read)))
    }

    /// The reader is waited for.
    fn poll_idle<T>(&mut self, cx: &mut Context<'_>, writer: &mut W) -> Poll<io::Result<T>> {
        if self.is_unflushed {
            ready!(Pin::new(writer).poll_flush(cx))?;
            self.is_unflushed = false;
        }
        Poll::Pending
    }

    /// Moves once into a pipe, and out of it. The number of bytes; 0 is the end, and `None` says that reads go on.
    fn poll_move(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        hot: &mut Option<Buffer>,
    ) -> Poll<io::Result<Option<usize>>> {
        // What the writer has kept back goes first.
        ready!(Pin::new(&mut *writer).poll_flush(cx))?;
        self.is_unflushed = false;
        let (Some(from), Some(mut transit)) = (self.reader.connection(reader), Transit::take())
        else {
            self.way = Way::Read { until: PATIENCE };
            return Poll::Ready(Ok(None));
        };
        let moved = match from.poll_splice_to(cx, transit.writer(), ROOM) {
            Poll::Ready(moved) => moved?,
            Poll::Pending => return Poll::Pending,
        };
        match moved {
            Spliced::Moved(0) => return Poll::Ready(Ok(Some(0))),
            Spliced::Moved(bytes) => transit.len = bytes,
            Spliced::NotNow => {
                self.way = Way::Read { until: READS };
                return Poll::Ready(Ok(None));
            }
            Spliced::Never => {
                self.way = Way::Memory;
                return Poll::Ready(Ok(None));
            }
        }
        let bytes = transit.len;
        if bytes < LITTLE {
            self.way = Way::Read { until: READS };
        }
        ready!(self.poll_out(cx, writer, transit, hot))?;
        Poll::Ready(Ok(Some(bytes)))
    }

    /// Moves what is in a pipe out of it.
    fn poll_out(
        &mut self,
        cx: &mut Context<'_>,
        writer: &mut W,
        mut transit: Transit,
        hot: &mut Option<Buffer>,
    ) -> Poll<io::Result<()>> {
        while transit.len > 0 {
            let moved = match self.writer.connection(writer) {
                Some(to) => to.poll_splice_from(cx, transit.reader(), transit.len),
                None => Poll::Ready(Ok(Spliced::Never)),
            };
            match moved {
                Poll::Pending => {
                    self.transit = Some(transit);
                    return Poll::Pending;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(Spliced::Moved(0))) => return Poll::Ready(Err(took_nothing())),
                Poll::Ready(Ok(Spliced::Moved(bytes))) => {
                    transit.len -= bytes;
                    self.copied += bytes as u64;
                }
                Poll::Ready(Ok(Spliced::NotNow | Spliced::Never)) => {
                    self.way = Way::Memory;
                    let memory = transit.into_memory()?;
                    let range = 0..memory.len();
                    let rest = Rest { buffer: Buffer::of(memory), range };
                    *hot = Some(ready!(self.poll_write(cx, writer, rest))?);
                    return Poll::Ready(Ok(()));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether it moves now, and whether it ever does.
    #[cfg(test)]
    pub(super) fn moves(&self) -> bool {
        matches!(self.way, Way::Move)
    }

    #[cfg(test)]
    pub(super) fn may_move(&self) -> bool {
        !matches!(self.way, Way::Memory)
    }

    /// How much the next read asks for: a buffer that was filled shows that there is more.
    fn note_read(&mut self, read: usize) {
        let room = match read == self.room {
            true => self.most,
            // It becomes smaller by and by.
            false => (2 * read).next_power_of_two().max(self.room / 2).max(SMALL),
        };
        self.room = room.min(self.most);
        self.way = match self.way {
            Way::Read { until: 1 } if read >= MUCH && !signals::is_default(libc::SIGPIPE) => {
                Way::Move
            }
            Way::Read { until: 1 } if read >= MUCH => Way::Memory,
            Way::Read { until } if read >= MUCH => Way::Read { until: until - 1 },
            Way::Read { until } if until <= READS => Way::Read { until: READS },
            way => way,
        };
    }

    /// Writes the rest of a buffer, and gives the buffer back.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        writer: &mut W,
        mut rest: Rest,
    ) -> Poll<io::Result<Buffer>> {
        while !rest.range.is_empty() {
            let bytes = &rest.buffer.memory[rest.range.clone()];
            let wrote = match Pin::new(&mut *writer).poll_write(cx, bytes) {
                Poll::Ready(wrote) => wrote?,
                Poll::Pending => {
                    self.rest = Some(rest.moved());
                    return Poll::Pending;
                }
            };
            if wrote == 0 || wrote > bytes.len() {
                return Poll::Ready(Err(took_nothing()));
            }
            rest.range.start += wrote;
            self.copied += wrote as u64;
            self.is_unflushed = true;
        }
        Poll::Ready(Ok(rest.buffer))
    }
}

impl Rest {
    /// The same in memory of its own, unless it is much.
    fn moved(self) -> Self {
        if self.range.len() > MOVED || self.buffer.len() <= MOVED {
            return self;
        }
        let memory = self.buffer.memory[self.range.clone()].to_vec();
        Self { buffer: Buffer::of(memory), range: 0..self.range.len() }
    }
}

#[cold]
fn took_nothing() -> io::Error {
    io::Error::new(io::ErrorKind::WriteZero, "a writer took no bytes, or more than there were")
}
