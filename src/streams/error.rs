//! Why a read could not give what was asked for.

use std::{error::Error, fmt, io};

/// The error of a read that waits for a whole line, a separator or a number of bytes.
///
/// It becomes an [`io::Error`] by `?`.
///
/// asyncio: `IncompleteReadError` ([`is_incomplete`](Self::is_incomplete)), `LimitOverrunError`
/// ([`is_over_limit`](Self::is_over_limit)).
///
/// ```
/// use ringloop::{net::UnixStream, streams};
///
/// ringloop::run(async {
///     let (near, far) = UnixStream::pair().unwrap();
///     let (_, mut writer) = streams::split(near);
///     let (mut reader, _) = streams::split(far);
///     writer.write_all(b"no newline").await.unwrap();
///     writer.close().await.unwrap();
///     let error = reader.read_until("\n").await.unwrap_err();
///     assert!(error.is_incomplete());
///     assert_eq!(error.partial(), b"no newline");
/// });
/// ```
#[doc(alias = "IncompleteReadError")]
#[doc(alias = "LimitOverrunError")]
pub struct ReadError(Box<Repr>);

enum Repr {
    Incomplete { partial: Vec<u8>, wanted: Wanted },
    OverLimit { limit: usize },
    NotUtf8 { bytes: usize },
    Io(io::Error),
}

/// What a read has waited for.
pub(super) enum Wanted {
    Bytes(usize),
    Separator,
}

impl ReadError {
    pub(super) fn incomplete(partial: Vec<u8>, wanted: Wanted) -> Self {
        Self(Box::new(Repr::Incomplete { partial, wanted }))
    }

    pub(super) fn over_limit(limit: usize) -> Self {
        Self(Box::new(Repr::OverLimit { limit }))
    }

    pub(super) fn not_utf8(bytes: usize) -> Self {
        Self(Box::new(Repr::NotUtf8 { bytes }))
    }

    /// The stream ended before everything was there.
    pub fn is_incomplete(&self) -> bool {
        matches!(*self.0, Repr::Incomplete { .. })
    }

    /// There are more bytes than the [limit](super::StreamReader::set_limit) without a separator. They can
    /// still be read.
    pub fn is_over_limit(&self) -> bool {
        matches!(*self.0, Repr::OverLimit { .. })
    }

    /// The line is no text in UTF-8. Its bytes can still be read.
    pub fn is_not_utf8(&self) -> bool {
        matches!(*self.0, Repr::NotUtf8 { .. })
    }

    /// What came before the stream ended; of other errors, nothing.
    pub fn partial(&self) -> &[u8] {
        match &*self.0 {
            Repr::Incomplete { partial, .. } => partial,
            _ => &[],
        }
    }

    /// The same, taken out.
    pub fn into_partial(self) -> Vec<u8> {
        match *self.0 {
            Repr::Incomplete { partial, .. } => partial,
            _ => Vec::new(),
        }
    }

    /// The error of the stream, if it is one.
    pub(super) fn as_io(&self) -> Option<&io::Error> {
        match &*self.0 {
            Repr::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Repr::Incomplete { partial, wanted: Wanted::Bytes(wanted) } => {
                write!(f, "the stream ended after {} of {wanted} bytes", partial.len())
            }
            Repr::Incomplete { partial, wanted: Wanted::Separator } => write!(
                f,
                "the stream ended after {} bytes, none of which is a separator",
                partial.len()
            ),
            Repr::OverLimit { limit } => write!(
                f,
                "more than {limit} bytes without a separator: read them with `read`, or raise the limit with \
                 `set_limit`"
            ),
            Repr::NotUtf8 { bytes } => write!(
                f,
                "a line of {bytes} bytes is not UTF-8: read it with `read_until`, which gives bytes"
            ),
            Repr::Io(error) => error.fmt(f),
        }
    }
}

impl fmt::Debug for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadError({self})")
    }
}

impl Error for ReadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &*self.0 {
            Repr::Io(error) => error.source(),
            _ => None,
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self(Box::new(Repr::Io(error)))
    }
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        let kind = match *error.0 {
            Repr::Io(error) => return error,
            Repr::Incomplete { .. } => io::ErrorKind::UnexpectedEof,
            Repr::OverLimit { .. } | Repr::NotUtf8 { .. } => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}
