//! Calls on names that cannot wait for a disk, made at once on the worker.
//!
//! The kernel looks a name up in its cache only, if it is asked to (`openat2` with
//! `RESOLVE_CACHED`, Linux 5.12). A name that is not there, one behind a mount that has yet to be
//! made, and one that a remote file system wants to check again give `EAGAIN`. Then, and in any
//! doubt, the call is made on a thread for files.
//!
//! That is not enough on a file system that asks another process or machine (FUSE, NFS): there the
//! open itself, and the look at the file, may wait. So these functions work on mounts that are known
//! to be local only. A thread for files learns the file system of a mount ([`Place::of`]), and the
//! worker of the task remembers it ([`remember`]):
//!
//! * the mount, by its number. An `O_PATH` open asks no file system, so that a worker can look at the
//!   number of the mount before anything else.
//! * the folder, by its path, with its mount: any other open could wait before its mount is known. If a
//!   path turns out to lead to another mount than remembered, the folder is forgotten. So at most one
//!   open waits for each change of the mounts.
//!
//! What is remembered decides only where a call is made. Its result is right in any case.

use std::{
    cell::RefCell,
    fs::{self, File, Metadata},
    hash::{DefaultHasher, Hash, Hasher},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{
        AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags, fcntl_setfl, fstat,
        openat2, statx,
    },
    io::{Errno, retry_on_intr},
};

use super::error::{PathError, on_path};
use crate::{
    blocking,
    loom::global::{AtomicU8, Ordering},
    runtime::{Route, count},
    task,
    util::file_system::FileSystem,
};

/// `STATX_MNT_ID_UNIQUE`, Linux 6.8. Before, the kernel gives the number that `STATX_MNT_ID` gives,
/// which another mount may get later.
const UNIQUE_MOUNT: StatxFlags = StatxFlags::from_bits_retain(0x4000).union(StatxFlags::MNT_ID);

/// The flags of opens that the kernel does not do from its cache.
const NEVER_CACHED: OFlags = OFlags::CREATE.union(OFlags::TRUNC).union(OFlags::TMPFILE);

/// How often a thread that waits for a writer looks whether the open is still wanted.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Folders and mounts that a thread remembers.
const FOLDERS: usize = 64;
const MOUNTS: usize = 8;

/// Where a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    mount: u64,
    pub(super) system: FileSystem,
}

impl Place {
    /// Asks the kernel, which may block.
    pub(super) fn of(file: impl AsFd) -> Option<Place> {
        let mount = mount_of(file.as_fd()).ok()?;
        let system = FileSystem::of(file)?;
        Some(Place { mount, system })
    }
}

/// Of the calling thread.
struct Known {
    /// Each in the place that its path's hash gives.
    folders: [Option<(u64, Place)>; FOLDERS],
    mounts: [Option<Place>; MOUNTS],
    /// The mount to forget next.
    oldest: usize,
}

thread_local! {
    static KNOWN: RefCell<Known> = const {
        RefCell::new(Known { folders: [None; FOLDERS], mounts: [None; MOUNTS], oldest: 0 })
    };
}

/// Remembers where the file at `path` is, for later calls on this thread.
pub(super) fn remember(path: &Path, place: Place) {
    let folder = folder_of(path);
    // A thread that ends remembers nothing.
    let _ = KNOWN.try_with(|known| {
        let known = &mut *known.borrow_mut();
        known.folders[folder as usize % FOLDERS] = Some((folder, place));
    });
    remember_mount(place);
}

/// Remembers what a mount is, for later calls on this thread.
pub(super) fn remember_mount(place: Place) {
    let _ = KNOWN.try_with(|known| {
        let known = &mut *known.borrow_mut();
        let same = |known: &Option<Place>| known.is_some_and(|known| known.mount == place.mount);
        match known.mounts.iter().position(same) {
            Some(at) => known.mounts[at] = Some(place),
            None => {
                known.mounts[known.oldest] = Some(place);
                known.oldest = (known.oldest + 1) % MOUNTS;
            }
        }
    });
}

/// Whether it is known where the folder of `path` is.
pub(super) fn is_known(path: &Path) -> bool {
    recall_folder(path).is_some()
}

/// The place of the folder that `path` is in.
fn recall_folder(path: &Path) -> Option<Place> {
    let folder = folder_of(path);
    let found = KNOWN.try_with(|known| known.borrow().folders[folder as usize % FOLDERS]);
    found.ok().flatten().filter(|(hash, _)| *hash == folder).map(|(_, place)| place)
}

fn recall_mount(mount: u64) -> Option<FileSystem> {
    let found = KNOWN.try_with(|known| {
        let known = known.borrow();
        known.mounts.iter().flatten().find(|place| place.mount == mount).map(|place| place.system)
    });
    found.ok().flatten()
}

fn forget_folder(path: &Path) {
    let folder = folder_of(path) as usize % FOLDERS;
    let _ = KNOWN.try_with(|known| known.borrow_mut().folders[folder] = None);
}

/// A number for the folder of a path. Two that have the same one are one for this file: see its head.
fn folder_of(path: &Path) -> u64 {
    let path = path.as_os_str().as_bytes();
    let end = path.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1);
    let mut hasher = DefaultHasher::new();
    path[..end].hash(&mut hasher);
    hasher.finish()
}

/// A file that was opened at once, with what is known of it.
pub(super) struct Opened {
    pub(super) file: OwnedFd,
    /// Its size, if it is a regular file.
    pub(super) size: Option<u64>,
    pub(super) in_memory: bool,
}

/// What can be said without waiting.
pub(super) enum Looked<T> {
    Known(io::Result<T>),
    /// Nothing: ask on a thread for files. The file was opened on the way there. One that is opened for
    /// more than its name (`O_PATH`) stays open until the thread has opened it: a process
    /// that waits for a named pipe to be opened would else find it shut again.
    Ask(Option<OwnedFd>),
}

/// The metadata of a name. `follow` is for a link at its end.
///
/// # Cancel safety
///
/// Nothing is changed.
pub(super) async fn metadata(
    call: &'static str,
    path: &Path,
    follow: bool,
) -> io::Result<Metadata> {
    task::consume_budget().await;
    let file = match metadata_now(path, follow) {
        Looked::Known(Ok(metadata)) => {
            count(Route::AtOnce);
            return Ok(metadata);
        }
        Looked::Known(Err(error)) => return Err(PathError::wrap(call, path, error)),
        Looked::Ask(file) => file,
    };
    let ask = move |path: &Path| {
        let place = file.as_ref().and_then(Place::of);
        let found = match file {
            Some(file) if place.is_some_and(|place| place.system != FileSystem::Other) => {
                File::from(file).metadata()
            }
            // By its name: that makes a mount that has yet to be made.
            _ if follow => fs::metadata(path),
            _ => fs::symlink_metadata(path),
        };
        Ok((found?, place))
    };
    let (metadata, place) = on_path(call, path, ask).await?;
    if let Some(place) = place {
        remember_mount(place);
    }
    Ok(metadata)
}

fn metadata_now(path: &Path, follow: bool) -> Looked<Metadata> {
    let nofollow = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
    let file = match look_up(path, OFlags::PATH | nofollow) {
        Some(Ok(file)) => file,
        Some(Err(error)) => return Looked::Known(Err(error.into())),
        None => return Looked::Ask(None),
    };
    match mount_of(&file).ok().and_then(recall_mount) {
        Some(FileSystem::Memory | FileSystem::Disk) => Looked::Known(File::from(file).metadata()),
        Some(FileSystem::Other) | None => Looked::Ask(Some(file)),
    }
}

/// Opens a file by `open(2)`: at once if that cannot wait, on a thread for files if not.
///
/// # Cancel safety
///
/// A file that was opened is closed. One that was made (`O_CREAT`) stays.
pub(super) async fn open(
    call: &'static str,
    path: &Path,
    flags: OFlags,
    mode: Mode,
) -> io::Result<OwnedFd> {
    task::consume_budget().await;
    let held = match open_now(path, flags) {
        Looked::Known(Ok(opened)) => {
            count(Route::AtOnce);
            // Without `O_NONBLOCK`, which was there for the open only.
            fcntl_setfl(&opened.file, flags - OFlags::CLOEXEC)?;
            return Ok(opened.file);
        }
        Looked::Known(Err(error)) => return Err(PathError::wrap(call, path, error)),
        Looked::Ask(held) => held,
    };
    let learn = !is_known(path);
    let open = move |path: &Path| {
        let file = open_blocking(path, flags, mode, held)?;
        let place = if learn { Place::of(&file) } else { None };
        Ok((file, place))
    };
    let (file, place) = on_path(call, path, open).await?;
    if let Some(place) = place {
        remember(path, place);
    }
    Ok(file)
}

/// Opens a file on a thread that may block, after [`open_now`] has given `held`.
pub(super) fn open_blocking(
    path: &Path,
    flags: OFlags,
    mode: Mode,
    held: Option<OwnedFd>,
) -> io::Result<OwnedFd> {
    if let Some(pipe) = held.as_ref().filter(|file| is_named_pipe(file)) {
        if (flags & (OFlags::RWMODE | OFlags::NONBLOCK)) == OFlags::RDONLY {
            wait_for_writer(pipe)?;
        }
        fcntl_setfl(pipe, flags - OFlags::CLOEXEC)?;
        return Ok(held.expect("it was just there"));
    }
    let file = retry_on_intr(|| rustix::fs::open(path, flags | OFlags::CLOEXEC, mode))?;
    drop(held);
    Ok(file)
}

fn is_named_pipe(file: impl AsFd) -> bool {
    fstat(file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
}

/// Waits until a named pipe has had a writer that has written, or gone. The pipe is not opened again for that: a
/// writer may have come and gone in between, and the open would wait for another one.
fn wait_for_writer(pipe: &OwnedFd) -> io::Result<()> {
    loop {
        let mut ready = [PollFd::new(pipe, PollFlags::IN)];
        if retry_on_intr(|| poll(&mut ready, Some(&LOOK)))? > 0 {
            return Ok(());
        }
        blocking::check()?;
    }
}

/// Opens a file, if that can be done without waiting. It is in a mode that is not for others
/// (`O_NONBLOCK`).
///
/// If the folder is not known, the answer is to ask. Then the thread asks for the [`Place`] of the file,
/// and the worker [remembers](remember) it.
pub(super) fn open_now(path: &Path, flags: OFlags) -> Looked<Opened> {
    let place = recall_folder(path).filter(|place| place.system != FileSystem::Other);
    let (Some(place), false) = (place, flags.intersects(NEVER_CACHED)) else {
        return Looked::Ask(None);
    };
    // `O_NONBLOCK`: a lease that somebody else has would have to be waited for.
    let file = match look_up(path, flags | OFlags::NONBLOCK) {
        Some(Ok(file)) => file,
        Some(Err(error)) => return Looked::Known(Err(error.into())),
        None => return Looked::Ask(None),
    };
    let mask = StatxFlags::TYPE | StatxFlags::SIZE | UNIQUE_MOUNT;
    let asked = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let Ok(found) = statx(&file, c"", asked, mask) else {
        return Looked::Ask(Some(file));
    };
    let kind = FileType::from_raw_mode(found.stx_mode.into());
    if !matches!(kind, FileType::RegularFile | FileType::Directory) {
        return Looked::Ask(Some(file));
    }
    if found.stx_mnt_id != place.mount {
        forget_folder(path);
        return Looked::Ask(None);
    }
    let size = (kind == FileType::RegularFile).then_some(found.stx_size);
    Looked::Known(Ok(Opened { file, size, in_memory: place.system == FileSystem::Memory }))
}

/// Opens a name that is in the kernel's cache. An error is one of the name's.
fn look_up(path: &Path, flags: OFlags) -> Option<rustix::io::Result<OwnedFd>> {
    if !works() || path.as_os_str().as_bytes().contains(&0) {
        return None;
    }
    match openat2(CWD, path, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::CACHED) {
        Ok(file) => Some(Ok(file)),
        Err(
            error @ (Errno::NOENT
            | Errno::NOTDIR
            | Errno::ACCESS
            | Errno::LOOP
            | Errno::NAMETOOLONG
            | Errno::ISDIR
            | Errno::ROFS),
        ) => Some(Err(error)),
        // Not in the cache, no descriptor left (which the other way may not need), or unheard of.
        Err(_) => None,
    }
}

/// What is known of an open file, without waiting: whether it is a regular one, and its file system.
pub(super) fn look_at(file: impl AsFd) -> Option<(bool, Option<FileSystem>)> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let found = statx(file, c"", flags, StatxFlags::TYPE | UNIQUE_MOUNT).ok()?;
    let is_regular = FileType::from_raw_mode(found.stx_mode.into()) == FileType::RegularFile;
    Some((is_regular, recall_mount(found.stx_mnt_id)))
}

fn mount_of(file: impl AsFd) -> rustix::io::Result<u64> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let found = statx(file, c"", flags, UNIQUE_MOUNT)?;
    let given = found.stx_mask & UNIQUE_MOUNT.bits() != 0;
    // Linux before 5.8 has none.
    if given { Ok(found.stx_mnt_id) } else { Err(Errno::NOSYS) }
}

/// Whether the kernel has the flag, and no sandbox forbids the call. Asked once.
fn works() -> bool {
    const WORKS: u8 = 1;
    const FAILS: u8 = 2;
    static STATE: AtomicU8 = AtomicU8::new(0);
    // Relaxed: each thread that asks finds the same answer.
    match STATE.load(Ordering::Relaxed) {
        WORKS => true,
        FAILS => false,
        _ => {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let root = openat2(CWD, c"/", flags, Mode::empty(), ResolveFlags::CACHED);
            let never = matches!(root, Err(Errno::NOSYS | Errno::PERM | Errno::INVAL));
            if root.is_ok() || never {
                STATE.store(if never { FAILS } else { WORKS }, Ordering::Relaxed);
            }
            root.is_ok()
        }
    }
}

#[cfg(test)]
mod tests;
