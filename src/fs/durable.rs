//! Files that have their old or their new content after a crash.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, Metadata, Permissions},
    io::{self, Write},
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FlockOperation, Mode, OFlags, flock, fstat, openat, renameat, statat, unlinkat},
    io::Errno,
};

use super::{
    error::on_path,
    temp::{give_name, nameless, unique},
};

/// How many crashed or running writers of one file there may be.
const WRITERS: usize = 1000;
/// The longest part of a file's name that its temporary name has, in bytes.
const LONGEST: usize = 200;

/// Writes a whole file so that after a crash, of the process or of the machine, it has its old content or the
/// new one, and nothing in between. When this returns, it has the new one for good.
///
/// The content goes to a temporary file in the same folder, which is synced, takes the place of the old file by
/// a rename, and then the folder is synced. The new file has the permissions of the old one, and its owner if
/// this process may give that. It has none of its extended attributes. Hard links, and programs that have the
/// old file open, keep the old content. A symbolic link is followed, and stays; one that leads nowhere is an error.
///
/// A crash between two of these steps may leave the temporary file, whose name is `.NAME.durable-0` or a higher
/// number. The next call for the same file removes it; by hand it can be removed while no such call runs.
/// File systems without nameless files (`O_TMPFILE`) have random letters in place of the number: there, it can
/// only be removed by hand.
///
/// Several tasks and processes may write the same file: one of their contents is there at the end.
///
/// asyncio, tokio: have none.
///
/// # Cancel safety
///
/// The file has its old content, or the new one: a call that has begun goes on to its end.
///
/// # Errors
///
/// The folder cannot be read or changed, the path is a folder or a device, or there is no room. The file has
/// its old content then. If the error comes from the last step, the sync of the folder, it has the new one, but
/// may have the old one after a crash.
///
/// # Panics
///
/// Outside of a runtime.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("ringloop-durable-{}", std::process::id()));
/// ringloop::run(async {
///     ringloop::fs::write_durably(&path, "balance: 7").await.unwrap();
///     ringloop::fs::write_durably(&path, "balance: 8").await.unwrap();
///     assert_eq!(ringloop::fs::read(&path).await.unwrap(), b"balance: 8");
/// });
/// # std::fs::remove_file(&path).unwrap();
/// ```
#[doc(alias = "atomic")]
pub async fn write_durably(path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> io::Result<()> {
    let content = content.as_ref().to_owned();
    on_path("write_durably", path.as_ref(), move |path| replace(path, &content)).await
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    step(0);
    let target = Target::find(path)?;
    let mut new = target.temporary()?;
    step(1);
    if let Some(old) = &target.old {
        let file = new.file();
        // A change of the owner takes bits of the mode away. It is often forbidden, and then left out.
        let _ = fchown(&*file, Some(old.uid()), Some(old.gid()));
        file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
    }
    step(2);
    let (front, back) = content.split_at(content.len() / 2);
    new.file().write_all(front)?;
    step(3);
    new.file().write_all(back)?;
    step(4);
    new.file().sync_all()?;
    step(5);
    new.take_place()?;
    step(8);
    target.folder.sync_all()?;
    step(9);
    Ok(())
}

/// A file that is to be replaced, or made.
struct Target {
    folder: File,
    folder_path: PathBuf,
    name: OsString,
    old: Option<Metadata>,
}

impl Target {
    fn find(path: &Path) -> io::Result<Self> {
        let mut path = path.to_owned();
        if fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()) {
            path = fs::canonicalize(&path)?;
        }
        let old = match fs::metadata(&path) {
            Ok(old) if old.is_dir() => return Err(Errno::ISDIR.into()),
            Ok(old) if !old.is_file() => {
                let text = "only a file can be replaced, not a device or a named pipe";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            Ok(old) => Some(old),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let Some(name) = path.file_name() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let folder_path = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let folder = File::open(&folder_path)?;
        Ok(Self { folder, name: name.to_owned(), folder_path, old })
    }

    /// A new file in the folder: private, if it gets the permissions of another one.
    fn temporary(&self) -> io::Result<New<'_>> {
        let mode = if self.old.is_some() { 0o600 } else { 0o666 };
        if let Some(file) = nameless(&self.folder_path, mode)? {
            return Ok(New { target: self, file: file.into(), name: None });
        }
        let name = self.temporary_name(&unique());
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(mode);
        let file = options.open(self.folder_path.join(&name))?;
        Ok(New { target: self, file, name: Some(name) })
    }

    fn temporary_name(&self, end: &str) -> OsString {
        let name = self.name.as_encoded_bytes();
        let mut short = OsString::from(".");
        short.push(String::from_utf8_lossy(&name[..name.len().min(LONGEST)]).as_ref());
        short.push(".durable-");
        short.push(end);
        short
    }
}

/// The file with the new content. Its name, if it has one, is removed with this.
struct New<'a> {
    target: &'a Target,
    file: File,
    name: Option<OsString>,
}

impl New<'_> {
    fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Takes the place of the old file.
    fn take_place(mut self) -> io::Result<()> {
        let target = self.target;
        if self.name.is_none() {
            if target.old.is_none() {
                match give_name(&self.file, &target.folder, Path::new(&target.name)) {
                    Ok(()) => return Ok(()),
                    // It was made meanwhile.
                    Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            // As long as this file is open, other writers leave its name alone.
            flock(&self.file, FlockOperation::NonBlockingLockExclusive)?;
            step(6);
            self.name = Some(self.free_name()?);
        }
        step(7);
        let name = self.name.as_ref().expect("it has one now");
        renameat(&target.folder, name, &target.folder, &target.name)?;
        self.name = None;
        Ok(())
    }

    /// Gives the file the first name that is free, or that a writer has left which is gone.
    fn free_name(&self) -> io::Result<OsString> {
        for number in 0..WRITERS {
            let name = self.target.temporary_name(&number.to_string());
            loop {
                match give_name(&self.file, &self.target.folder, Path::new(&name)) {
                    Ok(()) => return Ok(name),
                    Err(Errno::EXIST) if remove_if_left(&self.target.folder, &name)? => {}
                    Err(Errno::EXIST) => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Err(io::Error::new(io::ErrorKind::ResourceBusy, "too many writers of this file"))
    }
}

impl Drop for New<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // The error that led here counts.
            let _ = unlinkat(&self.target.folder, name, AtFlags::empty());
        }
    }
}

/// Removes a temporary file whose writer is gone. Only the process that has its lock removes a name, so that
/// nobody removes the file of another. `false` if its writer lives.
fn remove_if_left(folder: &File, name: &OsStr) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let left: OwnedFd = match openat(folder, name, flags, Mode::empty()) {
        Ok(left) => left,
        Err(Errno::NOENT) => return Ok(true),
        Err(_) => return Ok(false),
    };
    if flock(&left, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(false);
    }
    // Before it was locked, it may have taken its place, and the name may be another file's.
    let (own, now) = (fstat(&left)?, statat(folder, name, AtFlags::SYMLINK_NOFOLLOW));
    match now {
        Ok(now) if (now.st_dev, now.st_ino) == (own.st_dev, own.st_ino) => {
            unlinkat(folder, name, AtFlags::empty())?;
            Ok(true)
        }
        Ok(_) | Err(Errno::NOENT) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// A place where a test kills the process.
#[cfg(not(test))]
fn step(_: u32) {}

#[cfg(test)]
use tests::step;

#[cfg(test)]
mod tests;
