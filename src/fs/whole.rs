//! Whole files: read, written.

use std::{
    fs::File,
    io::{self, IoSliceMut, Read},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags},
    io::{Errno, ReadWriteFlags, pread, preadv2},
};

use super::{
    cached::{self, Looked, Opened, Place},
    error::{PathError, on_path},
    lane::on_lane,
};
use crate::{
    blocking,
    runtime::{Route, count},
    task,
};

/// The largest file that a worker reads by itself, in bytes: larger ones would keep its other tasks waiting.
const AT_ONCE: u64 = 64 << 10;
/// A thread that reads a large file looks after so many bytes whether the file is still wanted.
const STEP: u64 = 8 << 20;

/// Reads a whole file.
///
/// A file of at most 64 KiB whose name and content are in the kernel's cache is read at once, without a
/// thread. Any other is opened, read and closed by one call to a thread. For many files take [`read_many`].
///
/// asyncio: has none; `open(..).read()` in `to_thread`. tokio: the same, always by a thread.
///
/// # Cancel safety
///
/// Nothing is changed. A large file is read no further.
///
/// # Errors
///
/// The file cannot be opened or read.
///
/// # Panics
///
/// Outside of a runtime.
///
/// ```
/// ringloop::run(async {
///     let status = ringloop::fs::read("/proc/self/status").await.unwrap();
///     assert!(status.starts_with(b"Name:"));
/// });
/// ```
pub async fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    read_for("read", path.as_ref()).await
}

/// Reads a whole file of text in UTF-8.
///
/// asyncio: has none; `open(..).read()` in `to_thread`. tokio: the same.
///
/// # Cancel safety
///
/// Nothing is changed. A large file is read no further.
///
/// # Errors
///
/// The file cannot be opened or read; or it is no UTF-8, which is
/// [`InvalidData`](io::ErrorKind::InvalidData).
///
/// # Panics
///
/// Outside of a runtime.
///
/// ```
/// ringloop::run(async {
///     let status = ringloop::fs::read_to_string("/proc/self/status").await.unwrap();
///     assert!(status.starts_with("Name:"));
/// });
/// ```
pub async fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    let path = path.as_ref();
    let bytes = read_for("read_to_string", path).await?;
    String::from_utf8(bytes).map_err(|error| {
        let error = io::Error::new(io::ErrorKind::InvalidData, error.utf8_error());
        PathError::wrap("read_to_string", path, error)
    })
}

/// Reads many whole files, in their order, by one call to a thread.
///
/// All contents are in memory at the same time.
///
/// asyncio, tokio: have none.
///
/// # Cancel safety
///
/// Nothing is changed. The thread stops before the next file.
///
/// # Errors
///
/// Each file has a result of its own. The outer error: the runtime ends, or no thread can be had.
///
/// # Panics
///
/// Outside of a runtime.
///
/// ```
/// ringloop::run(async {
///     let names = ["/proc/self/status", "/no such file"];
///     let files = ringloop::fs::read_many(names).await.unwrap();
///     assert!(files[0].as_ref().unwrap().starts_with(b"Name:"));
///     assert!(files[1].is_err());
/// });
/// ```
pub async fn read_many<P: AsRef<Path>>(
    paths: impl IntoIterator<Item = P>,
) -> io::Result<Vec<io::Result<Vec<u8>>>> {
    let paths: Vec<PathBuf> = paths.into_iter().map(|path| path.as_ref().to_owned()).collect();
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    on_lane(move || {
        let mut found = Vec::with_capacity(paths.len());
        for path in &paths {
            blocking::check()?;
            let content = File::open(path).and_then(read_to_end);
            found.push(content.map_err(|error| PathError::wrap("read_many", path, error)));
        }
        Ok(found)
    })
    .await
}

/// Writes a whole file. One that is there loses its content first; one that is not is made.
///
/// A crash, or an error such as a full disk, leaves a part of the content: [`write_durably`](super::write_durably)
/// leaves the old content then.
///
/// asyncio: has none; `open(.., "w").write(..)` in `to_thread`. tokio: the same.
///
/// # Cancel safety
///
/// Nothing is written, or all: a call that has begun goes on to its end.
///
/// # Errors
///
/// The file cannot be opened or written.
///
/// # Panics
///
/// Outside of a runtime.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("ringloop-write-{}", std::process::id()));
/// ringloop::run(async {
///     ringloop::fs::write(&path, "some text").await.unwrap();
///     assert_eq!(ringloop::fs::read(&path).await.unwrap(), b"some text");
/// });
/// # std::fs::remove_file(&path).unwrap();
/// ```
pub async fn write(path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> io::Result<()> {
    let content = content.as_ref().to_owned();
    on_path("write", path.as_ref(), move |path| std::fs::write(path, content)).await
}

/// What a thread begins with.
enum Start {
    /// A file, of which nothing is read.
    Open(OwnedFd),
    /// The name, and what was opened on the way to it.
    Name(Option<OwnedFd>),
}

async fn read_for(call: &'static str, path: &Path) -> io::Result<Vec<u8>> {
    task::consume_budget().await;
    let start = match cached::open_now(path, OFlags::RDONLY) {
        Looked::Known(Ok(opened)) => match read_now(&opened) {
            Some(content) => {
                count(Route::AtOnce);
                return Ok(content);
            }
            None => Start::Open(opened.file),
        },
        Looked::Known(Err(error)) => return Err(PathError::wrap(call, path, error)),
        Looked::Ask(held) => Start::Name(held),
    };
    let learn = !cached::is_known(path);
    let read = move |path: &Path| {
        let file = match start {
            Start::Open(file) => file,
            Start::Name(held) => cached::open_blocking(path, OFlags::RDONLY, Mode::empty(), held)?,
        };
        let place = if learn { Place::of(&file) } else { None };
        Ok((read_to_end(file.into())?, place))
    };
    let (content, place) = on_path(call, path, read).await?;
    if let Some(place) = place {
        cached::remember(path, place);
    }
    Ok(content)
}

/// The content of a small file, if none of it has to be waited for.
fn read_now(opened: &Opened) -> Option<Vec<u8>> {
    let size = opened.size.filter(|&size| size <= AT_ONCE)? as usize;
    // One more byte: a read that does not fill it has found the end.
    let mut content = vec![0; size + 1];
    let mut len = 0;
    loop {
        let room = &mut content[len..];
        let (wanted, at) = (room.len(), len as u64);
        let read = if opened.in_memory {
            pread(&opened.file, room, at)
        } else {
            preadv2(&opened.file, &mut [IoSliceMut::new(room)], at, ReadWriteFlags::NOWAIT)
        };
        match read {
            Ok(read) => len += read,
            Err(Errno::INTR) => continue,
            // Not in the cache, or such a read is not known there.
            Err(_) => return None,
        }
        let read = read.unwrap_or(0);
        // A read that comes back early may have met a part that is not in the cache.
        if read == 0 || len == size && read < wanted {
            content.truncate(len);
            return Some(content);
        }
        if len == content.len() {
            // It has grown since it was opened.
            return None;
        }
    }
}

/// Reads a file to its end on a thread that may block.
fn read_to_end(mut file: File) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let size = file.metadata().map_or(0, |metadata| metadata.len());
    content.try_reserve_exact(usize::try_from(size).unwrap_or(usize::MAX))?;
    while file.by_ref().take(STEP).read_to_end(&mut content)? as u64 == STEP {
        blocking::check()?;
    }
    Ok(content)
}
