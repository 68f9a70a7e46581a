//! Many reads or writes of one file, some of them in flight at a time.
//!
//! The results come in the order of the parts. Only the first part that is in flight wakes the task: so what has ended
//! meanwhile is taken in one go. Cached parts are read one by one, as they are asked for: that keeps their
//! memory in the processor's cache.

use std::{
    collections::VecDeque,
    fmt, io,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use futures_core::Stream;

use super::{File, positional};
use crate::buf::{IoBuf, IoBufMut};

type Running<T> = Pin<Box<dyn Future<Output = T> + Send>>;

enum Part<T> {
    Running(Running<T>),
    Done(T),
}

/// Parts that have begun, in order.
struct Window<T> {
    most: usize,
    parts: VecDeque<Part<T>>,
}

impl<T> Window<T> {
    fn new(most: usize) -> Self {
        assert!(most > 0, "at least one part is in flight at a time");
        Self { most, parts: VecDeque::new() }
    }

    /// Begins parts, and gives the result of the first one.
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        mut begin: impl FnMut() -> Option<Running<T>>,
    ) -> Poll<Option<T>> {
        while self.parts.len() < self.most {
            let Some(mut part) = begin() else { break };
            // The task is woken by the first part alone.
            match part.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(result) if self.parts.is_empty() => return Poll::Ready(Some(result)),
                Poll::Ready(result) => self.parts.push_back(Part::Done(result)),
                Poll::Pending => self.parts.push_back(Part::Running(part)),
            }
        }
        if let Some(Part::Running(part)) = self.parts.front_mut() {
            let result = ready!(part.as_mut().poll(cx));
            self.parts.pop_front();
            return Poll::Ready(Some(result));
        }
        Poll::Ready(self.parts.pop_front().map(|part| match part {
            Part::Done(result) => result,
            Part::Running(_) => unreachable!("it was polled above"),
        }))
    }
}

/// The stream of [`File::read_many`].
#[must_use = "streams do nothing unless they are polled"]
pub struct ReadMany<B, I> {
    file: File,
    parts: I,
    window: Window<(io::Result<usize>, B)>,
}

/// The stream of [`File::write_many`].
#[must_use = "streams do nothing unless they are polled"]
pub struct WriteMany<B, I> {
    file: File,
    parts: I,
    window: Window<(io::Result<()>, B)>,
}

impl File {
    /// Reads many parts of the file, each given as a buffer and an offset, with up to `most` of them in flight. The results are
    /// those of [`read_at`](Self::read_at), in order. Parts are taken from the iterator as there is room: it may
    /// make the buffers.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost between two parts. Dropping the stream cancels what is in flight, and drops the buffers when
    /// the kernel is done with them.
    ///
    /// # Panics
    ///
    /// If `most` is 0.
    ///
    /// ```
    /// use ringloop::fs::File;
    ///
    /// ringloop::run(async {
    ///     let file = File::open("Cargo.toml").await.unwrap();
    ///     let mut parts = file.read_many(8, [0, 4, 8].map(|offset| (vec![0; 4], offset)));
    ///     let mut text = Vec::new();
    ///     while let Some((result, bytes)) = parts.next().await {
    ///         assert_eq!(result.unwrap(), 4);
    ///         text.extend(bytes);
    ///     }
    ///     assert_eq!(text, b"[workspace]\n");
    /// });
    /// ```
    pub fn read_many<B, I>(&self, most: usize, parts: I) -> ReadMany<B, I::IntoIter>
    where
        B: IoBufMut,
        I: IntoIterator<Item = (B, u64)>,
    {
        let (file, parts) = (self.share(), parts.into_iter());
        ReadMany { file, parts, window: Window::new(most) }
    }

    /// Writes many parts of the file, each given as a buffer and an offset, with up to `most` of them in flight. The
    /// results are those of [`write_all_at`](Self::write_all_at), in order. Parts that overlap are written in any
    /// order.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost between two parts. Dropping the stream cancels what is in flight: of each part, nothing, a
    /// front part, or all is written.
    ///
    /// # Panics
    ///
    /// If `most` is 0.
    ///
    /// ```
    /// use ringloop::fs::File;
    ///
    /// # let path = std::env::temp_dir().join(format!("ringloop-write_many-{}", std::process::id()));
    /// ringloop::run(async {
    ///     let file = File::create(&path).await.unwrap();
    ///     let mut parts = file.write_many(8, (0..4_u8).map(|i| (vec![i; 2], u64::from(i) * 2)));
    ///     while let Some((result, _)) = parts.next().await {
    ///         result.unwrap();
    ///     }
    ///     assert_eq!(std::fs::read(&path).unwrap(), [0, 0, 1, 1, 2, 2, 3, 3]);
    /// });
    /// # std::fs::remove_file(path).unwrap();
    /// ```
    pub fn write_many<B, I>(&self, most: usize, parts: I) -> WriteMany<B, I::IntoIter>
    where
        B: IoBuf,
        I: IntoIterator<Item = (B, u64)>,
    {
        let (file, parts) = (self.share(), parts.into_iter());
        WriteMany { file, parts, window: Window::new(most) }
    }
}

impl<B: IoBufMut, I: Iterator<Item = (B, u64)>> ReadMany<B, I> {
    /// The result of the next part; `None` after the last one.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn next(&mut self) -> Option<(io::Result<usize>, B)> {
        std::future::poll_fn(|cx| self.poll_result(cx)).await
    }

    fn poll_result(&mut self, cx: &mut Context<'_>) -> Poll<Option<(io::Result<usize>, B)>> {
        let Self { file, parts, window } = self;
        window.poll_next(cx, || {
            let (buf, offset) = parts.next()?;
            Some(Box::pin(positional::read(file.share(), buf, offset)))
        })
    }
}

impl<B: IoBuf, I: Iterator<Item = (B, u64)>> WriteMany<B, I> {
    /// The result of the next part; `None` after the last one.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn next(&mut self) -> Option<(io::Result<()>, B)> {
        std::future::poll_fn(|cx| self.poll_result(cx)).await
    }

    fn poll_result(&mut self, cx: &mut Context<'_>) -> Poll<Option<(io::Result<()>, B)>> {
        let Self { file, parts, window } = self;
        window.poll_next(cx, || {
            let (buf, offset) = parts.next()?;
            Some(Box::pin(positional::write_all(file.share(), buf, offset)))
        })
    }
}

// No part is pinned here.
impl<B, I> Unpin for ReadMany<B, I> {}
impl<B, I> Unpin for WriteMany<B, I> {}

impl<B: IoBufMut, I: Iterator<Item = (B, u64)>> Stream for ReadMany<B, I> {
    type Item = (io::Result<usize>, B);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_result(cx)
    }
}

impl<B: IoBuf, I: Iterator<Item = (B, u64)>> Stream for WriteMany<B, I> {
    type Item = (io::Result<()>, B);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_result(cx)
    }
}

impl<B, I> fmt::Debug for ReadMany<B, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadMany").field("file", &self.file).finish_non_exhaustive()
    }
}

impl<B, I> fmt::Debug for WriteMany<B, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteMany").field("file", &self.file).finish_non_exhaustive()
    }
}
