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
//! asyncio: has no files; one takes `to_thread` or the package aiofiles, which sends each call to a
//! thread. tokio: `tokio::fs`, the same.

mod device;
mod direct;
mod file;
mod lane;
mod options;

pub use self::{
    direct::AlignedBuf,
    file::{Advice, File, ReadMany, WriteMany},
    options::OpenOptions,
};
