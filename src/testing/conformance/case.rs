//! What the checks have in common.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll, Wake, Waker},
};

use crate::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    loom::global::Mutex,
    runtime::{spawn, yield_now},
    util::rand::Rng,
};

/// What is checked.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// Of one check. A failure is a text that goes on behind "but".
pub(super) struct Case {
    pub(super) seed: u64,
    pub(super) rng: Rng,
    pub(super) most_buffered: usize,
}

impl Case {
    pub(super) fn new(seed: u64, most_buffered: usize) -> Self {
        Self { seed, rng: Rng::from_seed(seed, 0), most_buffered }
    }

    /// Numbers for another task.
    pub(super) fn rng(&self, stream: u64) -> Rng {
        Rng::from_seed(self.seed, stream)
    }
}

/// Mostly small, and now and then large.
pub(super) fn size(rng: &Rng) -> usize {
    match rng.below(4) {
        0 => 1 + rng.below(16 << 10),
        _ => 1 + rng.below(100),
    }
}

/// The bytes repeat themselves after so many; a prime number, which no buffer's size divides.
const PERIOD: usize = 65_521;

/// Bytes that each depend on their place, so that none can be moved, lost or doubled unseen.
#[derive(Clone)]
pub(super) struct Bytes {
    pub(super) at: usize,
}

impl Bytes {
    pub(super) fn new() -> Self {
        Self { at: 0 }
    }

    /// The bytes from place `at` on, at most `len`.
    fn some(at: usize, len: usize) -> &'static [u8] {
        static ALL: LazyLock<Vec<u8>> = LazyLock::new(|| {
            let byte = |at| ((at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
            (0..PERIOD).map(byte).collect()
        });
        let from = at % PERIOD;
        &ALL[from..PERIOD.min(from + len)]
    }

    /// The next so many, which are not taken.
    pub(super) fn peek(&self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            bytes.extend_from_slice(Self::some(self.at + bytes.len(), len - bytes.len()));
        }
        bytes
    }

    /// So many were taken.
    pub(super) fn take(&mut self, len: usize) {
        self.at += len;
    }

    /// Compares what was read, and takes it.
    pub(super) fn check(&mut self, mut read: &[u8]) -> Result<(), String> {
        while !read.is_empty() {
            let expected = Self::some(self.at, read.len());
            let (now, later) = read.split_at(expected.len());
            if now != expected {
                let wrong = now.iter().zip(expected).position(|(byte, expected)| byte != expected);
                let wrong = wrong.expect("they differ");
                let (byte, right) = (now[wrong], expected[wrong]);
                return Err(format!("byte {} read is {byte}, not {right}", self.at + wrong));
            }
            self.at += now.len();
            read = later;
        }
        Ok(())
    }
}

/// Names what failed.
pub(super) fn failed<T>(what: &str, result: io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{what} failed: {error} ({:?})", error.kind()))
}

/// Writes the next `len` bytes.
pub(super) async fn write_next<S: AsyncWrite + Unpin>(
    stream: &mut S,
    bytes: &mut Bytes,
    len: usize,
) -> Result<(), String> {
    write_all(stream, &bytes.peek(len)).await?;
    bytes.take(len);
    Ok(())
}

/// Writes all of `bytes`.
pub(super) async fn write_all<S: AsyncWrite + Unpin>(
    stream: &mut S,
    mut bytes: &[u8],
) -> Result<(), String> {
    while !bytes.is_empty() {
        let wrote = failed("a write", stream.write(bytes).await)?;
        match in_bounds("write", wrote, bytes.len())? {
            0 => return Err(format!("a write of {} bytes wrote none", bytes.len())),
            wrote => bytes = &bytes[wrote..],
        }
    }
    Ok(())
}

/// Reads exactly the next `len` bytes.
pub(super) async fn read_next<S: AsyncRead + Unpin>(
    stream: &mut S,
    bytes: &mut Bytes,
    len: usize,
) -> Result<(), String> {
    let end = bytes.at + len;
    let mut buf = vec![0; len.min(16 << 10)];
    while bytes.at < end {
        let room = buf.len().min(end - bytes.at);
        let read = read(stream, &mut buf[..room]).await?;
        if read == 0 {
            return Err(format!("the end came behind {} bytes of {end}", bytes.at));
        }
        bytes.check(&buf[..read])?;
    }
    Ok(())
}

/// Reads to the end, and gives the number of bytes in front of it.
pub(super) async fn read_to_end<S: AsyncRead + Unpin>(
    stream: &mut S,
    bytes: &mut Bytes,
) -> Result<usize, String> {
    let mut buf = vec![0; 16 << 10];
    loop {
        match read(stream, &mut buf).await? {
            0 => return Ok(bytes.at),
            read => bytes.check(&buf[..read])?,
        }
    }
}

/// One read, which must not say more than its buffer has room for.
pub(super) async fn read<S: AsyncRead + Unpin>(
    stream: &mut S,
    buf: &mut [u8],
) -> Result<usize, String> {
    let read = failed("a read", stream.read(buf).await)?;
    in_bounds("read", read, buf.len())
}

pub(super) fn in_bounds(verb: &str, done: usize, most: usize) -> Result<usize, String> {
    if done <= most {
        return Ok(done);
    }
    Err(format!("a {verb} of {most} bytes says that it did {done}"))
}

/// Compares numbers of bytes.
pub(super) fn same(what: &str, seen: usize, expected: usize) -> Result<(), String> {
    match seen == expected {
        true => Ok(()),
        false => Err(format!("{what}: {seen} bytes, not {expected}")),
    }
}

/// How many bytes are written at once where only the number counts.
const FILL: usize = 16 << 10;

/// Writes until the stream would have to wait, which `bell` then waits for; checks the bound.
pub(super) async fn fill<S: Stream>(
    most: usize,
    stream: &mut S,
    bytes: &mut Bytes,
    bell: &Arc<Bell>,
) -> Result<(), String> {
    loop {
        // A fresh budget: without one a write says `Pending`, too.
        yield_now().await;
        bell.reset();
        while let Poll::Ready(wrote) = bell.write(stream, &bytes.peek(FILL)) {
            match in_bounds("write", failed("a write", wrote)?, FILL)? {
                0 => return Err(format!("a write of {FILL} bytes wrote none")),
                wrote => bytes.take(wrote),
            }
            if bytes.at > most {
                return Err(format!("{} bytes were written, and none was read", bytes.at));
            }
        }
        yield_now().await;
        if !bell.is_rung() {
            return Ok(());
        }
    }
}

/// Starts a task of a check: it ends with it.
pub(super) fn start<T: Send + 'static>(
    task: impl Future<Output = Result<T, String>> + Send + 'static,
) -> impl Future<Output = Result<T, String>> + Send {
    let end = spawn(task).join();
    async move { end.await.unwrap_or_else(|error| Err(format!("a task of the check: {error}"))) }
}

/// Other tasks run, so that they wait for what they have to wait for.
pub(super) async fn let_others_run() {
    for _ in 0..8 {
        yield_now().await;
    }
}

/// A waker that is watched.
#[derive(Default)]
pub(super) struct Bell(Mutex<Ring>);

#[derive(Default)]
struct Ring {
    is_rung: bool,
    waiter: Option<Waker>,
}

impl Bell {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Polls a read with it.
    pub(super) fn read<S: AsyncRead + Unpin>(
        self: &Arc<Self>,
        stream: &mut S,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(stream).poll_read(&mut Context::from_waker(&Waker::from(self.clone())), buf)
    }

    /// Polls a write with it.
    pub(super) fn write<S: AsyncWrite + Unpin>(
        self: &Arc<Self>,
        stream: &mut S,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(stream).poll_write(&mut Context::from_waker(&Waker::from(self.clone())), bytes)
    }

    pub(super) fn reset(&self) {
        self.0.lock().is_rung = false;
    }

    pub(super) fn is_rung(&self) -> bool {
        self.0.lock().is_rung
    }

    /// Waits until it is woken.
    pub(super) async fn rung(&self) {
        poll_fn(|cx| {
            let mut ring = self.0.lock();
            if ring.is_rung {
                return Poll::Ready(());
            }
            ring.waiter = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let waiter = {
            let mut ring = self.0.lock();
            ring.is_rung = true;
            ring.waiter.take()
        };
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }
}
