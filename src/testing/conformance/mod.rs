//! A suite that every stream has to pass.
//!
//! * [`case`]: what the checks have in common: bytes that are known by their place, wakers that are watched;
//! * [`bytes`], [`ends`], [`waiting`]: the checks.

mod bytes;
mod case;
mod ends;
mod waiting;

use std::{fmt, future::Future, io, time::Duration};

use self::case::{Case, Stream};
use crate::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
    util::clock,
};

/// How long a check may take, unless another time is set.
const LIMIT: Duration = Duration::from_secs(10);
/// More than the kernel buffers for a TCP connection.
const MOST_BUFFERED: usize = 64 << 20;

/// Checks that a stream keeps to the rules of [`StreamConformance`], and panics if it does not.
///
/// `make` makes a new pair of connected streams for each check.
///
/// asyncio: has none. trio: `trio.testing.check_half_closeable_stream`.
///
/// # Panics
///
/// As [`StreamConformance::run`].
///
/// ```
/// use ringloop::{io::duplex, testing::stream_conformance};
///
/// ringloop::run(stream_conformance(async || Ok(duplex(1000))));
/// ```
#[doc(alias = "check_half_closeable_stream")]
pub async fn stream_conformance<S, F, Fut>(make: F)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: FnMut() -> Fut,
    Fut: Future<Output = io::Result<(S, S)>>,
{
    StreamConformance::new().run(make).await;
}

/// The checks of [`stream_conformance`], for streams that need options.
///
/// Each rule is checked in both directions, on a new pair of streams:
///
/// | | rules |
/// |---|---|
/// | bytes | come in order, each once, in whatever sizes they are written and read, also by vectored calls; a read takes no more than its buffer has room for; reads and writes of nothing are ready at once; what was flushed can be read without another call by the writer |
/// | ends | what was written before a close can be read; then comes the end, as often as it is asked for; a closed stream goes on to read; a drop wakes a peer that reads or writes; a write to a peer that is gone fails in the end |
/// | waiting | a writer whose peer does not read has to wait, and goes on when the peer reads; reads and writes that are dropped lose no byte and double none; of two wakers the last one counts; a reader and a writer of one stream are each woken; both directions work at once, in tasks of their own |
///
/// ```
/// use ringloop::{net::UnixStream, testing::StreamConformance};
///
/// ringloop::run(async {
///     // The seed of a run that has failed.
///     StreamConformance::new().seed(7).run(async || UnixStream::pair()).await;
/// });
/// ```
#[derive(Clone)]
pub struct StreamConformance {
    seed: u64,
    half_close: bool,
    most_buffered: usize,
    limit: Duration,
}

impl StreamConformance {
    /// All checks, with another seed each time.
    #[must_use]
    pub fn new() -> Self {
        Self { seed: clock::now(), half_close: true, most_buffered: MOST_BUFFERED, limit: LIMIT }
    }

    /// Sets the seed, by which sizes and turns are chosen. A failure names its own.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The stream cannot be closed in one direction alone: it need not read on when it is closed.
    #[must_use]
    pub fn without_half_close(mut self) -> Self {
        self.half_close = false;
        self
    }

    /// Sets how many bytes may be written while the peer does not read. Default: 64 MiB, which is more than the
    /// kernel buffers for a connection.
    #[must_use]
    pub fn most_buffered(mut self, bytes: usize) -> Self {
        self.most_buffered = bytes;
        self
    }

    /// Sets how long one check may take. Default: 10 s. With a [mock clock](crate::Builder::mock_clock) and a
    /// stream that is not the kernel's, a check that hangs fails at once.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs the checks, one after the other, on the runtime of the calling task.
    ///
    /// # Panics
    ///
    /// If a check fails: the text names the rule, what was seen instead, and the seed. If `make` fails; outside a runtime.
    pub async fn run<S, F, Fut>(&self, mut make: F)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: FnMut() -> Fut,
        Fut: Future<Output = io::Result<(S, S)>>,
    {
        for swap in [false, true] {
            let mut runner = Runner { options: self, make: &mut make, swap };
            runner.bytes().await;
            runner.waiting().await;
            runner.ends().await;
        }
    }
}

/// Runs checks on one side of the pairs.
struct Runner<'a, F> {
    options: &'a StreamConformance,
    make: &'a mut F,
    swap: bool,
}

impl<F> Runner<'_, F> {
    async fn bytes<S, Fut>(&mut self)
    where
        S: Stream,
        F: FnMut() -> Fut,
        Fut: Future<Output = io::Result<(S, S)>>,
    {
        self.check(bytes::ORDER, bytes::order).await;
        self.check(bytes::PARTIAL, bytes::partial).await;
        self.check(bytes::NOTHING, bytes::nothing).await;
        self.check(bytes::VECTORED, bytes::vectored).await;
        self.check(bytes::FLUSHED, bytes::flushed).await;
    }

    async fn ends<S, Fut>(&mut self)
    where
        S: Stream,
        F: FnMut() -> Fut,
        Fut: Future<Output = io::Result<(S, S)>>,
    {
        self.check(ends::AGAIN, ends::again).await;
        self.check(ends::BEFORE, ends::before).await;
        self.check(ends::WAITING, ends::waiting).await;
        if self.options.half_close {
            self.check(ends::HALF, ends::half).await;
        }
        self.check(ends::DROP_READER, ends::drop_wakes_reader).await;
        self.check(ends::DROP_WRITER, ends::drop_wakes_writer).await;
        self.check(ends::GONE, ends::gone).await;
    }

    async fn waiting<S, Fut>(&mut self)
    where
        S: Stream,
        F: FnMut() -> Fut,
        Fut: Future<Output = io::Result<(S, S)>>,
    {
        self.check(waiting::BACKPRESSURE, waiting::backpressure).await;
        self.check(waiting::DROPPED_READS, waiting::dropped_reads).await;
        self.check(waiting::DROPPED_WRITES, waiting::dropped_writes).await;
        self.check(waiting::READ_WAKER, waiting::read_waker).await;
        self.check(waiting::WRITE_WAKER, waiting::write_waker).await;
        self.check(waiting::EACH_WAKER, waiting::each_waker).await;
        self.check(waiting::BOTH_WAYS, waiting::both_ways).await;
    }

    /// Checks one rule on a new pair.
    async fn check<S, Fut, C>(&mut self, rule: &str, check: impl FnOnce(Case, S, S) -> C)
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = io::Result<(S, S)>>,
        C: Future<Output = Result<(), String>>,
    {
        let StreamConformance { seed, most_buffered, limit, .. } = *self.options;
        let (near, far) = match (self.make)().await {
            Ok((near, far)) if self.swap => (far, near),
            Ok(pair) => pair,
            Err(error) => panic!("stream conformance: a pair of streams cannot be made: {error}"),
        };
        let seen = match timeout(limit, check(Case::new(seed, most_buffered), near, far)).await {
            Ok(Ok(())) => return,
            Ok(Err(seen)) => seen,
            Err(_) => format!("the check has not come to its end in {limit:?}: nobody is woken"),
        };
        let side = if self.swap { "second" } else { "first" };
        panic!(
            "stream conformance: {rule}. But {seen} (seed {seed}; the {side} stream of the pair \
             writes)"
        );
    }
}

impl Default for StreamConformance {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for StreamConformance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamConformance")
            .field("seed", &self.seed)
            .field("half_close", &self.half_close)
            .field("most_buffered", &self.most_buffered)
            .field("limit", &self.limit)
            .finish()
    }
}
