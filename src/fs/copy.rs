//! Copying a file.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use rustix::{
    fs::{SeekFrom as Seeking, copy_file_range, ioctl_ficlone, seek},
    io::Errno,
};

use super::error::on_paths;
use crate::blocking;

/// How much one call copies, in bytes; in between, the thread looks whether the copy is still wanted.
const STEP: u64 = 16 << 20;
/// The buffer of a copy by reads and writes, in bytes.
const BUFFER: usize = 256 << 10;

/// Copies the content and the permissions of a file, and says how many bytes it has. A file at `to` is
/// replaced in its content, and keeps its owner.
///
/// The two files share their blocks where the file system can do that (btrfs, XFS), so that no byte is
/// copied. Else the kernel copies, without a way through this process, or, between file systems that it cannot
/// copy between, this process does. Holes of a sparse file stay holes.
///
/// asyncio: has none; `shutil.copy`. tokio: the same, but it empties a file that is copied to itself, which is
/// an error here.
///
/// # Cancel safety
///
/// The thread stops within 16 MiB. What it has copied remains at `to`.
///
/// # Errors
///
/// `from` is no file or cannot be read; `to` cannot be written; or both are the same file, which is left
/// as it is ([`InvalidInput`](io::ErrorKind::InvalidInput)). After a full disk a part of the content is at
/// `to`.
///
/// # Panics
///
/// Outside of a runtime.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("ringloop-copy-{}", std::process::id()));
/// # std::fs::write(&path, "some text").unwrap();
/// # let copy = path.with_extension("copy");
/// ringloop::run(async {
///     assert_eq!(ringloop::fs::copy(&path, &copy).await.unwrap(), 9);
///     assert_eq!(ringloop::fs::read(&copy).await.unwrap(), b"some text");
/// });
/// # std::fs::remove_file(&path).unwrap();
/// # std::fs::remove_file(&copy).unwrap();
/// ```
pub async fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<u64> {
    on_paths("copy", (from.as_ref(), to.as_ref()), copy_file).await
}

fn copy_file(from: &Path, to: &Path) -> io::Result<u64> {
    let source = File::open(from)?;
    let metadata = source.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the source is neither a file nor a link to one",
        ));
    }
    // Private at first, unless it is there. It is not emptied before it is known to be another file.
    let mode = metadata.permissions().mode();
    let target = OpenOptions::new().write(true).create(true).truncate(false).mode(mode).open(to)?;
    let found = target.metadata()?;
    if (found.dev(), found.ino()) == (metadata.dev(), metadata.ino()) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the source and the target are the same file",
        ));
    }
    if found.is_file() {
        target.set_len(0)?;
        // A device or a named pipe keeps its own.
        target.set_permissions(fs::Permissions::from_mode(mode))?;
        if metadata.len() > 0 && ioctl_ficlone(&target, &source).is_ok() {
            return Ok(metadata.len());
        }
    }
    let sparse = found.is_file() && metadata.blocks() * 512 < metadata.len();
    match sparse && copy_sparse(&source, &target, metadata.len())? {
        true => Ok(metadata.len()),
        false => copy_rest(&source, &target),
    }
}

/// Copies the parts that are no holes, each to its place. `false` if the file system does not know holes.
fn copy_sparse(source: &File, target: &File, len: u64) -> io::Result<bool> {
    let mut at = 0;
    while at < len {
        let data = match seek(source, Seeking::Data(at)) {
            Ok(data) => data,
            // Only a hole is left.
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP) if at == 0 => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let end = seek(source, Seeking::Hole(data))?.min(len);
        copy_part(source, target, data, end)?;
        at = end;
    }
    target.set_len(len)?;
    Ok(true)
}

/// Copies from `at` to `end`, or to the end of the source.
fn copy_part(source: &File, target: &File, at: u64, end: u64) -> io::Result<()> {
    let (mut here, mut there) = (at, at);
    while here < end {
        blocking::check()?;
        let wanted = (end - here).min(STEP) as usize;
        match copy_file_range(source, Some(&mut here), target, Some(&mut there), wanted) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) if is_refused(error) => {
                let (mut source, mut target) = (source, target);
                source.seek(SeekFrom::Start(here))?;
                target.seek(SeekFrom::Start(there))?;
                copy_by_buffer(&mut source.take(end - here), &mut target)?;
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Copies from where both files stand to the end of the source.
fn copy_rest(mut source: &File, mut target: &File) -> io::Result<u64> {
    source.rewind()?;
    let mut copied = 0;
    loop {
        blocking::check()?;
        match copy_file_range(source, None, target, None, STEP as usize) {
            // Some special files say that they are empty.
            Ok(0) if copied == 0 => break,
            Ok(0) => return Ok(copied),
            Ok(step) => copied += step as u64,
            Err(Errno::INTR) => {}
            Err(error) if is_refused(error) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(copied + copy_by_buffer(&mut source, &mut target)?)
}

/// Whether the kernel does not copy between these files, but can read and write them.
fn is_refused(error: Errno) -> bool {
    matches!(
        error,
        Errno::XDEV
            | Errno::NOSYS
            | Errno::INVAL
            | Errno::OPNOTSUPP
            | Errno::PERM
            | Errno::OVERFLOW
            | Errno::BADF
    )
}

fn copy_by_buffer(source: &mut impl Read, target: &mut impl Write) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER];
    let mut copied = 0;
    loop {
        blocking::check()?;
        match source.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(read) => {
                target.write_all(&buffer[..read])?;
                copied += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
