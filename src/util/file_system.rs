//! What a file system does when one of its files is opened or read.

use std::os::fd::AsFd;

use rustix::fs::{FsWord, fstatfs};

/// What a file system does when its file is opened or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileSystem {
    /// It keeps all in memory.
    Memory,
    /// It has a disk of this machine. Names in the cache can be opened without it.
    Disk,
    /// Not known to be either.
    Other,
}

impl FileSystem {
    /// By fstatfs(2), which may block. `None`: the kernel does not say.
    pub(crate) fn of(file: impl AsFd) -> Option<Self> {
        Some(Self::of_magic(fstatfs(file).ok()?.f_type))
    }

    /// On a union of file systems (overlay) the upper ones are taken to be local, as
    /// they are in containers.
    fn of_magic(magic: FsWord) -> Self {
        const TMPFS: FsWord = 0x0102_1994;
        const RAMFS: FsWord = 0x8584_58f6;
        const EXT4: FsWord = 0xef53;
        const XFS: FsWord = 0x5846_5342;
        const BTRFS: FsWord = 0x9123_683e;
        const F2FS: FsWord = 0xf2f5_2010;
        const OVERLAY: FsWord = 0x794c_7630;
        const EROFS: FsWord = 0xe0f5_e1e2;
        const SQUASHFS: FsWord = 0x7371_7368;
        const BCACHEFS: FsWord = 0xca45_1a4e;
        match magic {
            TMPFS | RAMFS => Self::Memory,
            EXT4 | XFS | BTRFS | F2FS | OVERLAY | EROFS | SQUASHFS | BCACHEFS => Self::Disk,
            _ => Self::Other,
        }
    }
}
