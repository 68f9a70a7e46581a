//! The reading end of a stream.

use std::{
    fmt,
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_io::{AsyncBufRead, AsyncRead};

use super::{
    ReadError,
    error::Wanted,
    find::{Found, Separators},
    lines::Lines,
};
use crate::{
    io::source::{Layered, Source, Unread},
    net::OwnedReadHalf,
    util::current,
};

/// asyncio's limit of a line, in bytes.
pub(super) const LIMIT: usize = 64 << 10;

/// The reading end of a stream, which reads lines, messages with separators and numbers of bytes.
///
/// It is made by [`connect`](super::connect) and [`serve`](super::serve), from the half of a socket, or
/// [from anything](Self::new) that reads. It keeps bytes that have come and were not asked for yet. On a socket they
/// are [leased](crate::io::Lease), so that a connection that waits holds no memory for its next bytes.
///
/// For functions that take a reader of the `futures` crates it is one
/// ([`AsyncRead`](crate::io::AsyncRead), [`AsyncBufRead`](crate::io::AsyncBufRead)).
///
/// asyncio: `StreamReader`. `feed_data` and `feed_eof` are not there: a [pair](crate::net::UnixStream::pair) of streams
/// feeds one.
///
/// # Cancel safety
///
/// Every method: what was not returned is there for the next read. So a read may be put under a
/// [`timeout`](crate::time::timeout), or lose a `select!`.
///
/// ```
/// use ringloop::{net::UnixStream, streams::{StreamReader, StreamWriter}};
///
/// ringloop::run(async {
///     let (near, far) = UnixStream::pair().unwrap();
///     let (_, mut writer) = ringloop::streams::split(near);
///     let (mut reader, _) = ringloop::streams::split(far);
///     writer.write_all(b"to be, or\nnot").await.unwrap();
///     assert_eq!(reader.read_line().await.unwrap(), "to be, or\n");
///     let mut word = [0; 3];
///     reader.read_exact(&mut word).await.unwrap();
///     assert_eq!(&word, b"not");
/// });
/// ```
pub struct StreamReader {
    source: Box<dyn Source>,
    pub(super) unread: Unread,
    limit: usize,
    /// The stream has ended.
    ended: bool,
}

impl StreamReader {
    /// Reads from anything that reads. See also [`split`](super::split), which makes both ends.
    ///
    /// A half of a socket is better turned into a reader with `from`: nothing is copied then.
    pub fn new(reader: impl AsyncRead + Send + Unpin + 'static) -> Self {
        Self::of(Box::new(Layered(reader)))
    }

    pub(super) fn of(source: Box<dyn Source>) -> Self {
        Self { source, unread: Unread::default(), limit: LIMIT, ended: false }
    }

    /// Sets how long a line may be, or what is before a separator: in bytes, 64 KiB if it is not set.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// How long a line may be, in bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The bytes that have come and were not read.
    pub fn buffer(&self) -> &[u8] {
        self.unread.data()
    }

    /// Whether everything was read, and nothing more comes.
    ///
    /// asyncio: `at_eof`.
    pub fn at_eof(&self) -> bool {
        self.ended && self.buffer().is_empty()
    }

    /// Takes the bytes that have come and were not read.
    pub fn into_buffer(mut self) -> Vec<u8> {
        self.unread.take()
    }

    /// Reads what is there, at most as much as fits; waits if nothing is. 0 is the end.
    ///
    /// asyncio: `read(n)`.
    ///
    /// # Errors
    ///
    /// Those of the stream, after the bytes that came before.
    pub async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_into(cx, buf)).await
    }

    /// Waits for bytes, and shows them; there are none at the end. What was used is then to be
    /// [consumed](Self::consume).
    ///
    /// # Errors
    ///
    /// Those of the stream.
    ///
    /// ```
    /// # use ringloop::net::UnixStream;
    /// # ringloop::run(async {
    /// # let (near, far) = UnixStream::pair().unwrap();
    /// # let (_, mut writer) = ringloop::streams::split(near);
    /// # let (mut reader, _) = ringloop::streams::split(far);
    /// writer.write_all(b"abc").await.unwrap();
    /// assert_eq!(reader.fill_buf().await.unwrap(), b"abc");
    /// reader.consume(2);
    /// assert_eq!(reader.fill_buf().await.unwrap(), b"c");
    /// # });
    /// ```
    pub async fn fill_buf(&mut self) -> io::Result<&[u8]> {
        poll_fn(|cx| self.poll_any(cx)).await?;
        Ok(self.unread.data())
    }

    /// The first bytes of [`buffer`](Self::buffer) were used.
    ///
    /// # Panics
    ///
    /// It has not so many.
    pub fn consume(&mut self, len: usize) {
        let has = self.buffer().len();
        assert!(len <= has, "{len} bytes cannot be consumed: {has} are there");
        self.unread.consume(len);
    }

    /// Fills the buffer.
    ///
    /// asyncio: `readexactly(n)`.
    ///
    /// # Errors
    ///
    /// The stream ended before: the error is [incomplete](ReadError::is_incomplete), and has the bytes that came.
    /// Or those of the stream; the bytes before such an error can still be read.
    pub async fn read_exact(&mut self, buf: &mut [u8]) -> Result<(), ReadError> {
        let wanted = buf.len();
        if !poll_fn(|cx| self.poll_at_least(cx, wanted)).await? {
            return Err(ReadError::incomplete(self.unread.take(), Wanted::Bytes(wanted)));
        }
        buf.copy_from_slice(&self.buffer()[..wanted]);
        self.unread.consume(wanted);
        Ok(())
    }

    /// Reads until the end.
    ///
    /// asyncio: `read(-1)`.
    ///
    /// # Errors
    ///
    /// Those of the stream; the bytes before can still be read.
    pub async fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        poll_fn(|cx| self.poll_at_least(cx, usize::MAX)).await?;
        Ok(self.unread.take())
    }

    /// Reads up to and with the next separator.
    ///
    /// asyncio: `readuntil(separator)`.
    ///
    /// # Errors
    ///
    /// * The stream ended without one: [incomplete](ReadError::is_incomplete), with the bytes that came.
    /// * [Over the limit](ReadError::is_over_limit): the bytes stay to be read.
    /// * Those of the stream; the bytes before can still be read.
    ///
    /// # Panics
    ///
    /// The separator is empty.
    pub async fn read_until(&mut self, separator: impl AsRef<[u8]>) -> Result<Vec<u8>, ReadError> {
        self.read_until_any(&[separator.as_ref()]).await
    }

    /// Reads up to and with the next of several separators. If two match, the one that ends first does; so
    /// `"\r"` is found before `"\r\n"`.
    ///
    /// asyncio: `readuntil` with a tuple.
    ///
    /// # Errors
    ///
    /// As [`read_until`](Self::read_until).
    ///
    /// # Panics
    ///
    /// There is no separator, or one is empty.
    pub async fn read_until_any(&mut self, separators: &[&[u8]]) -> Result<Vec<u8>, ReadError> {
        let mut separators = Separators::new(separators);
        match poll_fn(|cx| self.poll_find(cx, &mut separators)).await? {
            Some(found) => Ok(self.take(found.end)),
            None => Err(ReadError::incomplete(self.unread.take(), Wanted::Separator)),
        }
    }

    /// Reads a line, with its `\n`. The last line may have none; at the end it is empty.
    ///
    /// asyncio: `readline`, which gives bytes, and throws away a line that is over the limit.
    ///
    /// # Errors
    ///
    /// * [Over the limit](ReadError::is_over_limit), or [no UTF-8](ReadError::is_not_utf8): the bytes stay to be
    ///   read.
    /// * Those of the stream; the bytes before can still be read.
    pub async fn read_line(&mut self) -> Result<String, ReadError> {
        let end = match self.find_line().await? {
            Some(found) => found.end,
            None => self.buffer().len(),
        };
        self.take_text(end, end)
    }

    /// The lines, without their ends.
    ///
    /// asyncio: `async for line in reader`, which gives bytes with their ends.
    ///
    /// ```
    /// # use ringloop::net::UnixStream;
    /// # ringloop::run(async {
    /// # let (near, far) = UnixStream::pair().unwrap();
    /// # let (_, mut writer) = ringloop::streams::split(near);
    /// # let (mut reader, _) = ringloop::streams::split(far);
    /// writer.write_all(b"one\r\ntwo\nthree").await.unwrap();
    /// writer.close().await.unwrap();
    /// let mut lines = reader.lines();
    /// let mut all = Vec::new();
    /// while let Some(line) = lines.next_line().await.unwrap() {
    ///     all.push(line);
    /// }
    /// assert_eq!(all, ["one", "two", "three"]);
    /// # });
    /// ```
    pub fn lines(&mut self) -> Lines<'_> {
        Lines::new(self)
    }

    /// The next line without its end; `None` at the end.
    pub(super) fn poll_next_line(
        &mut self,
        cx: &mut Context<'_>,
        separators: &mut Separators<'_>,
    ) -> Poll<Result<Option<String>, ReadError>> {
        let (end, text) = match ready!(self.poll_find(cx, separators))? {
            Some(Found { start, end }) => match self.buffer()[..start].ends_with(b"\r") {
                true => (end, start - 1),
                false => (end, start),
            },
            None if self.buffer().is_empty() => return Poll::Ready(Ok(None)),
            None => (self.buffer().len(), self.buffer().len()),
        };
        Poll::Ready(self.take_text(end, text).map(Some))
    }

    async fn find_line(&mut self) -> Result<Option<Found>, ReadError> {
        let mut separators = Separators::new(&[b"\n"]);
        poll_fn(|cx| self.poll_find(cx, &mut separators)).await
    }

    /// Waits for a separator; `None`: the stream ended without one.
    fn poll_find(
        &mut self,
        cx: &mut Context<'_>,
        separators: &mut Separators<'_>,
    ) -> Poll<Result<Option<Found>, ReadError>> {
        // What is there costs no call, so it is here that a reader of many lines gives way to other tasks.
        if !current::budget_spend() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            let found = separators.find(self.buffer());
            let before = match &found {
                Some(found) => found.start,
                None => separators.without(self.buffer().len()),
            };
            if before > self.limit {
                return Poll::Ready(Err(ReadError::over_limit(self.limit)));
            }
            if found.is_some() || self.ended {
                return Poll::Ready(Ok(found));
            }
            ready!(self.poll_more(cx))?;
        }
    }

    /// Waits until so many bytes are there; `false`: the stream ended before.
    fn poll_at_least(&mut self, cx: &mut Context<'_>, len: usize) -> Poll<io::Result<bool>> {
        if !current::budget_spend() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        while self.buffer().len() < len {
            if self.ended {
                return Poll::Ready(Ok(false));
            }
            ready!(self.poll_more(cx))?;
        }
        Poll::Ready(Ok(true))
    }

    /// Waits until there is something, or the end.
    fn poll_any(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.buffer().is_empty() {
            return self.poll_more(cx);
        }
        match current::budget_spend() {
            true => Poll::Ready(Ok(())),
            false => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ended {
            self.ended = ready!(self.source.poll_more(cx, &mut self.unread))? == 0;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_into(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(self.poll_any(cx))?;
        let unread = self.unread.data();
        let len = unread.len().min(buf.len());
        buf[..len].copy_from_slice(&unread[..len]);
        self.unread.consume(len);
        Poll::Ready(Ok(len))
    }

    fn take(&mut self, len: usize) -> Vec<u8> {
        let bytes = self.buffer()[..len].to_vec();
        self.unread.consume(len);
        bytes
    }

    /// Takes the first `len` bytes, of which the first `text` are wanted.
    fn take_text(&mut self, len: usize, text: usize) -> Result<String, ReadError> {
        let text = std::str::from_utf8(&self.buffer()[..text])
            .map_err(|_| ReadError::not_utf8(text))?
            .to_owned();
        self.unread.consume(len);
        Ok(text)
    }
}

impl<S: 'static> From<OwnedReadHalf<S>> for StreamReader {
    fn from(half: OwnedReadHalf<S>) -> Self {
        Self::of(Box::new(half))
    }
}

impl AsyncRead for StreamReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_into(cx, buf)
    }
}

impl AsyncBufRead for StreamReader {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        ready!(this.poll_any(cx))?;
        Poll::Ready(Ok(this.unread.data()))
    }

    fn consume(self: Pin<&mut Self>, len: usize) {
        self.get_mut().unread.consume(len);
    }
}

impl fmt::Debug for StreamReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamReader")
            .field("buffered", &self.buffer().len())
            .field("ended", &self.ended)
            .field("limit", &self.limit)
            .finish()
    }
}
