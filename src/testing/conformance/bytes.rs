//! Rules on the bytes.

use std::{
    future::poll_fn,
    io::{IoSlice, IoSliceMut},
    pin::Pin,
    task::Poll,
};

use super::case::{
    Bell, Bytes, Case, Stream, failed, in_bounds, read, read_next, read_to_end, same, size, start,
    write_next,
};
use crate::{io::AsyncWriteExt, runtime::yield_now, util::rand::Rng};

/// Bytes of a check that has many.
const MANY: usize = 30_000;

pub(super) const ORDER: &str =
    "bytes arrive in order and each once, in whatever sizes they are written and read";

pub(super) async fn order<S: Stream>(case: Case, mut near: S, mut far: S) -> Result<(), String> {
    let rng = case.rng(1);
    let writer = start(async move {
        let mut bytes = Bytes::new();
        while bytes.at < MANY {
            let len = size(&rng);
            write_next(&mut near, &mut bytes, len).await?;
            match rng.below(8) {
                0 => yield_now().await,
                1 => failed("a flush", near.flush().await)?,
                _ => {}
            }
        }
        failed("a close", near.close().await)?;
        Ok((bytes.at, near))
    });
    let reader = start(async move {
        let mut bytes = Bytes::new();
        let mut buf = vec![0; 16 << 10];
        loop {
            let room = size(&case.rng);
            match read(&mut far, &mut buf[..room]).await? {
                0 => return Ok(bytes.at),
                read => bytes.check(&buf[..read])?,
            }
            if case.rng.below(8) == 0 {
                yield_now().await;
            }
        }
    });
    let (read, (wrote, _near)) = futures_util::future::try_join(reader, writer).await?;
    same("read up to the end", read, wrote)
}

pub(super) const PARTIAL: &str =
    "a read takes no more bytes than its buffer has room for, and the others stay";

pub(super) async fn partial<S: Stream>(_: Case, mut near: S, mut far: S) -> Result<(), String> {
    let writer = start(async move {
        write_next(&mut near, &mut Bytes::new(), 10).await?;
        failed("a flush", near.flush().await)?;
        Ok(near)
    });
    let mut bytes = Bytes::new();
    while bytes.at < 10 {
        let mut buf = [0; 3];
        match read(&mut far, &mut buf).await? {
            0 => return Err(format!("the end came behind {} bytes", bytes.at)),
            read => bytes.check(&buf[..read])?,
        }
    }
    same("read of 10 bytes", bytes.at, 10)?;
    let _near = writer.await?;
    yield_now().await;
    match Bell::new().read(&mut far, &mut [0; 3]) {
        Poll::Pending => Ok(()),
        Poll::Ready(read) => Err(format!("a read behind the last byte gave {read:?}")),
    }
}

pub(super) const NOTHING: &str =
    "a read into no memory and a write of no bytes are ready at once, give 0, and change nothing";

pub(super) async fn nothing<S: Stream>(_: Case, mut near: S, mut far: S) -> Result<(), String> {
    let bell = Bell::new();
    for there in [false, true] {
        yield_now().await;
        for (verb, done) in [
            ("read", bell.read(&mut far, &mut [])),
            ("write", bell.write(&mut near, &[])),
            ("write back", bell.write(&mut far, &[])),
        ] {
            if !matches!(done, Poll::Ready(Ok(0))) {
                return Err(format!("a {verb} of nothing gave {done:?}"));
            }
        }
        if !there {
            write_next(&mut near, &mut Bytes::new(), 1).await?;
            failed("a flush", near.flush().await)?;
        }
    }
    failed("a close", near.close().await)?;
    same("read up to the end", read_to_end(&mut far, &mut Bytes::new()).await?, 1)
}

pub(super) const VECTORED: &str =
    "a vectored write sends its slices in order, and a vectored read fills its buffers in order";

pub(super) async fn vectored<S: Stream>(case: Case, mut near: S, mut far: S) -> Result<(), String> {
    const TOTAL: usize = 5_000;
    let rng = case.rng(1);
    let writer = start(async move {
        let mut bytes = Bytes::new();
        while bytes.at < TOTAL {
            let next = bytes.peek(TOTAL.min(bytes.at + size(&rng)) - bytes.at);
            let slices: Vec<_> =
                cut(&rng, next.len()).map(|(from, to)| IoSlice::new(&next[from..to])).collect();
            let wrote = failed("a vectored write", near.write_vectored(&slices).await)?;
            match in_bounds("vectored write", wrote, next.len())? {
                0 => return Err(format!("a vectored write of {} bytes wrote none", next.len())),
                wrote => bytes.take(wrote),
            }
        }
        failed("a close", near.close().await)?;
        Ok(near)
    });
    let reader = start(async move {
        let mut bytes = Bytes::new();
        loop {
            let mut buf = vec![0; size(&case.rng)];
            let len = buf.len();
            let (first, second) = buf.split_at_mut(case.rng.below(len));
            let mut bufs =
                [IoSliceMut::new(first), IoSliceMut::new(&mut []), IoSliceMut::new(second)];
            let read = poll_fn(|cx| Pin::new(&mut far).poll_read_vectored(cx, &mut bufs)).await;
            match in_bounds("vectored read", failed("a vectored read", read)?, len)? {
                0 => return Ok(bytes.at),
                read => bytes.check(&buf[..read])?,
            }
        }
    });
    let (read, _near) = futures_util::future::try_join(reader, writer).await?;
    same("read up to the end", read, TOTAL)
}

/// Up to four pieces of `len` bytes, of which some may be empty.
fn cut(rng: &Rng, len: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut cuts = [0, rng.below(len + 1), rng.below(len + 1), rng.below(len + 1), len];
    cuts.sort_unstable();
    (0..4).map(move |at| (cuts[at], cuts[at + 1]))
}

pub(super) const FLUSHED: &str =
    "what was written and flushed can be read without another call by the writer";

pub(super) async fn flushed<S: Stream>(_: Case, mut near: S, mut far: S) -> Result<(), String> {
    let (mut sent, mut got) = (Bytes::new(), Bytes::new());
    for _ in 0..3 {
        write_next(&mut near, &mut sent, 1).await?;
        failed("a flush", near.flush().await)?;
        read_next(&mut far, &mut got, 1).await?;
    }
    // It lives, and is not called any more.
    drop(near);
    Ok(())
}
