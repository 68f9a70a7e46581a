//! Rules on the ends.

use std::io::ErrorKind;

use super::case::{
    Bell, Bytes, Case, Stream, failed, fill, let_others_run, read, read_to_end, same, start,
    write_next,
};
use crate::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::yield_now,
};

pub(super) const AGAIN: &str =
    "the end of a stream comes behind the last byte, and each further read gives it again";

pub(super) async fn again<S: Stream>(_: Case, mut near: S, mut far: S) -> Result<(), String> {
    let writer = start(async move {
        write_next(&mut near, &mut Bytes::new(), 20).await?;
        failed("a close", near.close().await)?;
        Ok(near)
    });
    same("read up to the end", read_to_end(&mut far, &mut Bytes::new()).await?, 20)?;
    let _near = writer.await?;
    for room in [1, 100, 1, 20_000] {
        yield_now().await;
        match read(&mut far, &mut vec![0; room]).await {
            Ok(0) => {}
            Ok(read) => return Err(format!("a read behind the end gave {read} bytes")),
            Err(seen) => return Err(format!("behind the end, {seen}")),
        }
    }
    Ok(())
}

pub(super) const BEFORE: &str =
    "what was written before a stream was closed and dropped can be read, and then the end";

pub(super) async fn before<S: Stream>(_: Case, mut near: S, mut far: S) -> Result<(), String> {
    const TOTAL: usize = 30_000;
    let writer = start(async move {
        let mut bytes = Bytes::new();
        while bytes.at < TOTAL {
            write_next(&mut near, &mut bytes, 10_000).await?;
        }
        failed("a close", near.close().await)
    });
    let reader = start(async move {
        let_others_run().await;
        read_to_end(&mut far, &mut Bytes::new()).await
    });
    let (read, ()) = futures_util::future::try_join(reader, writer).await?;
    same("read up to the end", read, TOTAL)
}

pub(super) const WAITING: &str = "a read that waits gives the end when the peer closes";

pub(super) async fn waiting<S: Stream>(_: Case, mut near: S, mut far: S) -> Result<(), String> {
    let reader = start(async move { read(&mut far, &mut [0; 10]).await });
    let_others_run().await;
    failed("a close", near.close().await)?;
    same("the read", reader.await?, 0)
}

pub(super) const HALF: &str = "a stream that was closed goes on to read what its peer answers";

pub(super) async fn half<S: Stream>(_: Case, mut near: S, mut far: S) -> Result<(), String> {
    const ANSWER: usize = 10_000;
    let peer = start(async move {
        same("read up to the end", read_to_end(&mut far, &mut Bytes::new()).await?, 100)?;
        let mut answer = Bytes::new();
        while answer.at < ANSWER {
            write_next(&mut far, &mut answer, 1000).await?;
        }
        failed("a close", far.close().await)?;
        Ok(far)
    });
    let reader = start(async move {
        write_next(&mut near, &mut Bytes::new(), 100).await?;
        failed("a close", near.close().await)?;
        read_to_end(&mut near, &mut Bytes::new()).await
    });
    let (read, _far) = futures_util::future::try_join(reader, peer).await?;
    same("the answer", read, ANSWER)
}

pub(super) const DROP_READER: &str =
    "a stream that is dropped shows the end, or an error, to a peer that waits in a read";

pub(super) async fn drop_wakes_reader<S: Stream>(
    _: Case,
    near: S,
    mut far: S,
) -> Result<(), String> {
    let reader = start(async move { Ok(far.read(&mut [0; 10]).await) });
    let_others_run().await;
    drop(near);
    match reader.await? {
        Ok(0) | Err(_) => Ok(()),
        Ok(read) => Err(format!("a read gave {read} bytes, and none was written")),
    }
}

pub(super) const DROP_WRITER: &str =
    "a stream that is dropped shows an error to a peer that waits in a write";

pub(super) async fn drop_wakes_writer<S: Stream>(
    case: Case,
    mut near: S,
    far: S,
) -> Result<(), String> {
    let mut bytes = Bytes::new();
    fill(case.most_buffered, &mut near, &mut bytes, &Bell::new()).await?;
    let most = case.most_buffered;
    let writer = start(async move {
        while bytes.at <= most {
            let next = bytes.peek(16 << 10);
            match near.write(&next).await {
                Ok(wrote) => bytes.take(wrote),
                Err(_) => return Ok(()),
            }
        }
        Err(format!("{} bytes were written without an error", bytes.at))
    });
    let_others_run().await;
    drop(far);
    writer.await
}

pub(super) const GONE: &str =
    "writes to a peer that is gone fail in the end, with BrokenPipe or ConnectionReset";

pub(super) async fn gone<S: Stream>(case: Case, mut near: S, far: S) -> Result<(), String> {
    drop(far);
    let mut wrote = 0;
    loop {
        match near.write(&[1; 1000]).await {
            Ok(more) => wrote += more,
            Err(error) => match error.kind() {
                ErrorKind::BrokenPipe
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted => return Ok(()),
                kind => return Err(format!("the error is {error} ({kind:?})")),
            },
        }
        if wrote > case.most_buffered {
            return Err(format!("{wrote} bytes were written without an error"));
        }
        yield_now().await;
    }
}
