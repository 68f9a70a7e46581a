//! Any stream in two halves.

use futures_util::io::{AsyncReadExt, ReadHalf, WriteHalf};

use super::{AsyncRead, AsyncWrite};

/// Splits any stream into a half that reads and a half that writes, each for a task of its own.
///
/// The halves share the stream behind a lock that is held for a poll. Streams of this crate have an
/// `into_split` of their own, which needs no lock. [`ReadHalf::reunite`] makes one stream of the two again.
/// A half that is dropped ends nothing: close the writing one before.
///
/// asyncio: what `open_connection` returns. tokio: the same.
///
/// ```
/// use ringloop::io::{AsyncReadExt, AsyncWriteExt, duplex, split};
///
/// ringloop::run(async {
///     let (near, mut far) = duplex(64);
///     let (mut reader, mut writer) = split(near);
///     let writing = ringloop::spawn(async move {
///         writer.write_all(b"both ").await?;
///         writer.close().await
///     });
///     far.write_all(b"at once").await.unwrap();
///     far.close().await.unwrap();
///     let mut text = String::new();
///     far.read_to_string(&mut text).await.unwrap();
///     reader.read_to_string(&mut text).await.unwrap();
///     assert_eq!(text, "both at once");
///     writing.await.unwrap().unwrap();
/// });
/// ```
pub fn split<S: AsyncRead + AsyncWrite>(stream: S) -> (ReadHalf<S>, WriteHalf<S>) {
    stream.split()
}
