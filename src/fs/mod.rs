//! Files, folders and links.
//!
//! The names are those of [`std::fs`].
//!
//! # How a call goes
//!
//! A call that cannot wait for a disk is made at once, on the task's own worker: a read of what the system has in
//! memory, and anything on a file system in memory. All others are left to the worker's ring, or to the
//! threads for files ([`file_threads`](crate::Builder::file_threads)), so that no worker waits.
//! [`Metrics::files`](crate::Metrics::files) tells how many went which way.
//!
//! On one path: [`metadata`] and [`read`] take no thread if the kernel has all in its cache. Any other call on a
//! name is one job. On many paths: [`stat_many`], [`read_many`], [`read_dir`] and [`walk`] take one job for
//! many names, and so cost a fraction.
//!
//! An error says which call failed, on which path: see [`PathError`].
//!
//! A call that is given up while it waits for a thread is never made. One that has begun goes on to its
//! end, unless its page says that it stops earlier.
//!
//! asyncio: has no files; one takes `to_thread` or the package aiofiles, which sends each call to a
//! thread. tokio: `tokio::fs`, the same.

mod batches;
mod cached;
mod copy;
mod direct;
mod durable;
mod error;
mod file;
mod folders;
mod lane;
mod links;
mod metadata;
mod options;
mod read_dir;
mod remove;
mod temp;
mod walk;
mod whole;

pub use self::copy::copy;
pub use self::direct::AlignedBuf;
pub use self::durable::write_durably;
pub use self::error::PathError;
pub use self::file::{Advice, File, ReadMany, WriteMany};
pub use self::folders::{DirBuilder, create_dir, create_dir_all, remove_dir, remove_dir_all};
pub use self::links::{
    RenameFlags, canonicalize, hard_link, read_link, remove_file, rename, rename_with, symlink,
};
pub use self::metadata::{
    metadata, set_permissions, set_times, stat_many, symlink_metadata, try_exists,
};
pub use self::options::OpenOptions;
pub use self::read_dir::{DirEntry, ReadDir, read_dir};
pub use self::temp::{PersistError, TempBuilder, TempDir, TempFile};
pub use self::walk::{Walk, WalkEntry, walk};
pub use self::whole::{read, read_many, read_to_string, write};
