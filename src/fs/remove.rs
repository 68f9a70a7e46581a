//! Removing a tree, without following a link that comes in its place meanwhile.
//!
//! Each folder is opened relative to its parent, and never through a link; each name is removed
//! relative to its open folder. Of a deep tree only the lowest folders stay open. One further up is opened
//! again from below (`..`), and must be the same folder as before.

use std::{
    ffi::{CStr, CString, OsStr},
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, fstat, openat, unlinkat},
    io::Errno,
    path::Arg,
};

use super::error::PathError;
use crate::blocking;

const CALL: &str = "remove_dir_all";
/// How many folders are open at most.
const OPEN: usize = 32;
/// The size of the buffer for names.
const NAMES: usize = 32 << 10;

/// A folder of the tree that is being emptied.
struct Level {
    /// In the folder above; the root has none.
    name: CString,
    /// Which one it is: device and inode.
    id: (u64, u64),
    /// That of the lowest level is always there.
    folder: Option<OwnedFd>,
    /// Folders in it that are still to be removed.
    below: Vec<CString>,
}

struct Tree<'a> {
    root: &'a Path,
    levels: Vec<Level>,
    buffer: Vec<u8>,
}

/// Removes a folder and all that is in it, or a link.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    let root = match open_folder(CWD, path) {
        Ok(root) => root,
        Err(Errno::NOTDIR | Errno::LOOP) if fs::symlink_metadata(path)?.is_symlink() => {
            return fs::remove_file(path);
        }
        Err(error) => return Err(error.into()),
    };
    let mut tree = Tree { root: path, levels: Vec::new(), buffer: Vec::with_capacity(NAMES) };
    tree.enter(CString::default(), root)?;
    tree.remove_levels()?;
    Ok(unlinkat(CWD, path, AtFlags::REMOVEDIR)?)
}

impl Tree<'_> {
    /// Empties all levels, the lowest first.
    fn remove_levels(&mut self) -> io::Result<()> {
        while let Some(level) = self.levels.last_mut() {
            blocking::check()?;
            let Some(name) = level.below.pop() else {
                self.leave()?;
                continue;
            };
            let parent = level.folder.as_ref().expect("the lowest level is open");
            match open_folder(parent, &name) {
                Ok(folder) => self.enter(name, folder)?,
                Err(Errno::NOENT) => {}
                // Something else has come in its place.
                Err(Errno::NOTDIR | Errno::LOOP) => match unlinkat(parent, &name, AtFlags::empty())
                {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(error) => return Err(self.error(&name, error)),
                },
                Err(error) => return Err(self.error(&name, error)),
            }
        }
        Ok(())
    }

    /// Goes down into a folder, and removes all in it that is no folder.
    fn enter(&mut self, name: CString, folder: OwnedFd) -> io::Result<()> {
        let found = fstat(&folder).map_err(|error| self.error(&name, error))?;
        let id = (found.st_dev, found.st_ino);
        self.levels.push(Level { name, id, folder: Some(folder), below: Vec::new() });
        if let Some(above) = self.levels.len().checked_sub(OPEN + 1) {
            self.levels[above].folder = None;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let emptied = self.remove_files(&mut buffer);
        self.buffer = buffer;
        emptied
    }

    /// Removes what is in the lowest folder, but for folders, which it takes down.
    fn remove_files(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        let level = self.levels.last().expect("it was entered");
        let folder = level.folder.as_ref().expect("the lowest level is open");
        let mut below = Vec::new();
        let mut entries = RawDir::new(folder, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            blocking::check()?;
            let entry = match entry {
                Ok(entry) => entry,
                // It was removed by somebody else.
                Err(Errno::NOENT) => break,
                Err(error) => return Err(self.error(c"", error)),
            };
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if entry.file_type() == FileType::Directory {
                below.push(name.to_owned());
                continue;
            }
            match unlinkat(folder, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) => below.push(name.to_owned()),
                Err(error) => return Err(self.error(name, error)),
            }
        }
        self.levels.last_mut().expect("it was entered").below = below;
        Ok(())
    }

    /// Removes the lowest folder, which is empty now, from the one above. The root stays.
    fn leave(&mut self) -> io::Result<()> {
        let level = self.levels.pop().expect("there is a lowest level");
        let folder = level.folder.expect("the lowest level is open");
        let Some(above) = self.levels.last_mut() else {
            return Ok(());
        };
        if above.folder.is_none() {
            let parent = open_folder(&folder, c"..").and_then(|parent| {
                let found = fstat(&parent)?;
                Ok(((found.st_dev, found.st_ino) == above.id).then_some(parent))
            });
            match parent {
                Ok(Some(parent)) => above.folder = Some(parent),
                Ok(None) => {
                    let moved = io::Error::other("the folder was moved while its tree was removed");
                    return Err(PathError::wrap(CALL, &self.path(&level.name), moved));
                }
                Err(error) => return Err(self.error(&level.name, error)),
            }
        }
        drop(folder);
        let above = self.levels.last().and_then(|above| above.folder.as_ref());
        match unlinkat(above.expect("it is the lowest level now"), &level.name, AtFlags::REMOVEDIR)
        {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.error(&level.name, error)),
        }
    }

    /// The path of a name in the lowest folder.
    fn path(&self, name: &CStr) -> PathBuf {
        let mut path = self.root.to_owned();
        let names = self.levels.iter().map(|level| level.name.as_c_str()).chain([name]);
        for name in names.filter(|name| !name.is_empty()) {
            path.push(OsStr::from_bytes(name.to_bytes()));
        }
        path
    }

    fn error(&self, name: &CStr, error: Errno) -> io::Error {
        PathError::wrap(CALL, &self.path(name), error.into())
    }
}

/// Opens a folder, but no link to one.
fn open_folder(parent: impl AsFd, name: impl Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}
