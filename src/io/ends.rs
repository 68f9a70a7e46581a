//! The two ends of a stream, whatever its kind.

use std::fmt;

use futures_io::{AsyncRead, AsyncWrite};

use super::{
    AsyncReadExt, DuplexStream,
    outgoing::{self, Sink},
    source::{self, Source},
};

/// The reading and the writing end of a stream, whatever its kind. [`streams::split`](crate::streams::split) and
/// [`protocol::spawn`](crate::protocol::spawn) take them, and any stream that [can become them](IntoEnds).
///
/// ```
/// use ringloop::{io::{AsyncReadExt, Ends}, net::UnixStream, streams};
///
/// ringloop::run(async {
///     // As if it were a stream of another crate.
///     let (near, mut far) = UnixStream::pair().unwrap();
///     let (reader, writer) = near.split();
///     let (_reader, mut writer) = streams::split(Ends::new(reader, writer));
///     writer.write_all(b"hello").await.unwrap();
///     let mut buf = [0; 5];
///     far.read_exact(&mut buf).await.unwrap();
///     assert_eq!(&buf, b"hello");
/// });
/// ```
pub struct Ends {
    pub(crate) source: Box<dyn Source>,
    pub(crate) sink: Box<dyn Sink>,
}

impl Ends {
    /// The ends of a stream of another crate, which was split by that crate's means.
    pub fn new(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        Self {
            source: Box::new(source::Layered(reader)),
            sink: Box::new(outgoing::Layered(writer)),
        }
    }
}

impl fmt::Debug for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ends").finish_non_exhaustive()
    }
}

/// A stream that has two [`Ends`]. Each stream of this crate is one.
pub trait IntoEnds {
    /// The ends.
    fn into_ends(self) -> Ends;
}

impl IntoEnds for DuplexStream {
    fn into_ends(self) -> Ends {
        let (reader, writer) = self.split();
        Ends::new(reader, writer)
    }
}

impl IntoEnds for Ends {
    fn into_ends(self) -> Ends {
        self
    }
}
