//! The lines of a stream.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;

use super::{ReadError, StreamReader, find::Separators};

/// The lines of a [`StreamReader`], without their `\n` or `\r\n`. See [`lines`](StreamReader::lines).
///
/// It is a `Stream` too.
///
/// # Cancel safety
///
/// A line that was not returned is there for the next read.
pub struct Lines<'a> {
    reader: &'a mut StreamReader,
    separators: Separators<'static>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(reader: &'a mut StreamReader) -> Self {
        Self { reader, separators: Separators::new(&[b"\n"]) }
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    ///
    /// Those of [`read_line`](StreamReader::read_line).
    pub async fn next_line(&mut self) -> Result<Option<String>, ReadError> {
        poll_fn(|cx| self.reader.poll_next_line(cx, &mut self.separators)).await
    }
}

impl Stream for Lines<'_> {
    type Item = Result<String, ReadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { reader, separators } = self.get_mut();
        reader.poll_next_line(cx, separators).map(Result::transpose)
    }
}

impl fmt::Debug for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lines").field(&self.reader).finish()
    }
}
