//! Files, folders and links.
//!
//! The names are those of [`std::fs`]. A call that cannot wait for a disk is made at once, on the
//! task's own worker; one that can is left to the worker's ring, or to the threads for files
//! ([`file_threads`](crate::Builder::file_threads)), so that no worker waits.
//!
//! asyncio: has no files; one takes `to_thread` or the package aiofiles, which sends each call to a
//! thread. tokio: `tokio::fs`, the same.

mod file;
mod lane;

pub use self::file::File;
