//! Rules on waiting: backpressure, cancelled operations, wakers.

use std::{future::poll_fn, pin::Pin, task::Poll};

use super::case::{
    Bell, Bytes, Case, Stream, failed, fill, in_bounds, let_others_run, read_next, read_to_end,
    same, size, start, write_all, write_next,
};
use crate::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    runtime::yield_now,
    util::rand::Rng,
};

pub(super) const BACKPRESSURE: &str =
    "a writer whose peer does not read has to wait, and what it wrote before arrives";

pub(super) async fn backpressure<S: Stream>(
    case: Case,
    mut near: S,
    mut far: S,
) -> Result<(), String> {
    let mut bytes = Bytes::new();
    fill(case.most_buffered, &mut near, &mut bytes, &Bell::new()).await?;
    let writer = start(async move {
        failed("a close", near.close().await)?;
        Ok(near)
    });
    let reader = start(async move { read_to_end(&mut far, &mut Bytes::new()).await });
    let (read, _near) = futures_util::future::try_join(reader, writer).await?;
    same("read up to the end", read, bytes.at)
}

pub(super) const DROPPED_READS: &str = "a read that is dropped while it waits takes no byte";

pub(super) async fn dropped_reads<S: Stream>(
    case: Case,
    mut near: S,
    mut far: S,
) -> Result<(), String> {
    // A large buffer, and a smaller one for what comes.
    let bell = Bell::new();
    yield_now().await;
    for room in [64, 5] {
        if let Poll::Ready(read) = bell.read(&mut far, &mut vec![0; room]) {
            return Err(format!("a read gave {read:?}, and nothing was written"));
        }
    }
    let (mut sent, mut bytes) = (Bytes::new(), Bytes::new());
    let rng = case.rng(1);
    let writer = start(async move {
        write_next(&mut near, &mut sent, 20).await?;
        for _ in 0..200 {
            write_next(&mut near, &mut sent, 1 + rng.below(50)).await?;
            failed("a flush", near.flush().await)?;
            for _ in 0..rng.below(4) {
                yield_now().await;
            }
        }
        failed("a close", near.close().await)?;
        Ok((sent.at, near))
    });
    let reader = start(async move {
        let_others_run().await;
        read_next(&mut far, &mut bytes, 3).await?;
        loop {
            let mut buf = vec![0; 1 + case.rng.below(100)];
            match read_or_drop(&mut far, &mut buf, case.rng.below(3)).await? {
                None => yield_now().await,
                Some(0) => return Ok(bytes.at),
                Some(read) => bytes.check(&buf[..read])?,
            }
        }
    });
    let (read, (wrote, _near)) = futures_util::future::try_join(reader, writer).await?;
    same("read up to the end", read, wrote)
}

/// A read that is dropped (`None`) if it is not ready after so many turns.
async fn read_or_drop<S: AsyncRead + Unpin>(
    stream: &mut S,
    buf: &mut [u8],
    mut turns: usize,
) -> Result<Option<usize>, String> {
    let read = poll_fn(|cx| match Pin::new(&mut *stream).poll_read(cx, buf) {
        Poll::Ready(read) => Poll::Ready(Some(read)),
        Poll::Pending if turns == 0 => Poll::Ready(None),
        Poll::Pending => {
            turns -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    });
    let Some(read) = read.await else { return Ok(None) };
    Ok(Some(in_bounds("read", failed("a read", read)?, buf.len())?))
}

pub(super) const DROPPED_WRITES: &str =
    "a write that is dropped while it waits has written nothing";

pub(super) async fn dropped_writes<S: Stream>(
    case: Case,
    mut near: S,
    mut far: S,
) -> Result<(), String> {
    let (mut bytes, bell) = (Bytes::new(), Bell::new());
    fill(case.most_buffered, &mut near, &mut bytes, &bell).await?;
    let filled = bytes.at;
    let rng = case.rng(1);
    // Of some writes it is known that they waited: their bytes are not those that come next.
    let mut sent = Vec::new();
    for _ in 0..20 {
        yield_now().await;
        let other: Vec<_> = (0..size(&rng)).map(|_| rng.below(256) as u8).collect();
        if let Poll::Ready(wrote) = bell.write(&mut near, &other) {
            let wrote = in_bounds("write", failed("a write", wrote)?, other.len())?;
            sent.extend_from_slice(&other[..wrote]);
        }
    }
    sent.extend_from_slice(b"the last bytes");
    let written = sent.len();
    let writer = start(async move {
        let rest = &sent[sent.len() - b"the last bytes".len()..];
        write_all(&mut near, rest).await?;
        failed("a close", near.close().await)?;
        Ok((sent, near))
    });
    let reader = start(async move {
        read_next(&mut far, &mut Bytes::new(), filled).await?;
        let mut rest = Vec::new();
        failed("a read", far.read_to_end(&mut rest).await)?;
        Ok(rest)
    });
    let (rest, (sent, _near)) = futures_util::future::try_join(reader, writer).await?;
    same("read behind those that filled the stream", rest.len(), written)?;
    match rest.iter().zip(&sent).position(|(read, sent)| read != sent) {
        None => Ok(()),
        Some(at) => Err(format!("byte {} read is of a write that was dropped", filled + at)),
    }
}

pub(super) const READ_WAKER: &str =
    "when a read is polled with another waker, the last waker is the one that is woken";

pub(super) async fn read_waker<S: Stream>(_: Case, mut near: S, mut far: S) -> Result<(), String> {
    let (first, second) = (Bell::new(), Bell::new());
    yield_now().await;
    for bell in [&first, &second] {
        if let Poll::Ready(read) = bell.read(&mut far, &mut [0; 8]) {
            return Err(format!("a read gave {read:?}, and nothing was written"));
        }
    }
    write_next(&mut near, &mut Bytes::new(), 1).await?;
    failed("a flush", near.flush().await)?;
    second.rung().await;
    read_next(&mut far, &mut Bytes::new(), 1).await
}

pub(super) const WRITE_WAKER: &str =
    "when a write is polled with another waker, the last waker is the one that is woken";

pub(super) async fn write_waker<S: Stream>(
    case: Case,
    mut near: S,
    mut far: S,
) -> Result<(), String> {
    let (first, second, mut bytes) = (Bell::new(), Bell::new(), Bytes::new());
    fill(case.most_buffered, &mut near, &mut bytes, &first).await?;
    fill(case.most_buffered, &mut near, &mut bytes, &second).await?;
    let reader = start(async move { read_to_end(&mut far, &mut Bytes::new()).await });
    second.rung().await;
    write_next(&mut near, &mut bytes, 10).await?;
    failed("a close", near.close().await)?;
    same("read up to the end", reader.await?, bytes.at)
}

pub(super) const EACH_WAKER: &str =
    "a read and a write that wait on one stream are each woken, by what they wait for";

pub(super) async fn each_waker<S: Stream>(
    case: Case,
    mut near: S,
    mut far: S,
) -> Result<(), String> {
    let (reads, writes) = (Bell::new(), Bell::new());
    let (mut bytes, mut back) = (Bytes::new(), Bytes::new());
    fill(case.most_buffered, &mut near, &mut bytes, &writes).await?;
    for write_last in [false, true] {
        yield_now().await;
        reads.reset();
        if let Poll::Ready(read) = reads.read(&mut near, &mut [0; 8]) {
            return Err(format!("a read gave {read:?}, and nothing was written"));
        }
        if write_last {
            fill(case.most_buffered, &mut near, &mut bytes, &writes).await?;
        }
        let mut from = back.clone();
        write_next(&mut far, &mut back, 1).await?;
        failed("a flush", far.flush().await)?;
        reads.rung().await;
        read_next(&mut near, &mut from, 1).await?;
    }
    yield_now().await;
    writes.reset();
    fill(case.most_buffered, &mut near, &mut bytes, &writes).await?;
    reads.reset();
    if let Poll::Ready(read) = reads.read(&mut near, &mut [0; 8]) {
        return Err(format!("a read gave {read:?}, and nothing was written"));
    }
    let reader = start(async move { read_to_end(&mut far, &mut Bytes::new()).await });
    writes.rung().await;
    failed("a close", near.close().await)?;
    same("read up to the end", reader.await?, bytes.at)
}

pub(super) const BOTH_WAYS: &str =
    "both directions work at once, each with a task that reads and a task that writes";

pub(super) async fn both_ways<S: Stream>(case: Case, near: S, far: S) -> Result<(), String> {
    const TOTAL: usize = 30_000;
    let (near_reader, near_writer) = near.split();
    let (far_reader, far_writer) = far.split();
    let write = |rng: Rng, mut stream: futures_util::io::WriteHalf<S>| {
        start(async move {
            let mut bytes = Bytes::new();
            while bytes.at < TOTAL {
                let len = size(&rng).min(TOTAL - bytes.at);
                write_next(&mut stream, &mut bytes, len).await?;
            }
            failed("a flush", poll_fn(|cx| Pin::new(&mut stream).poll_flush(cx)).await)?;
            Ok(stream)
        })
    };
    let read = |mut stream: futures_util::io::ReadHalf<S>| {
        start(async move {
            read_next(&mut stream, &mut Bytes::new(), TOTAL).await?;
            Ok(stream)
        })
    };
    futures_util::future::try_join4(
        read(near_reader),
        read(far_reader),
        write(case.rng(1), near_writer),
        write(case.rng(2), far_writer),
    )
    .await?;
    Ok(())
}
