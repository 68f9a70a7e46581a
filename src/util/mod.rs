//! Small tools that know nothing of tasks, sockets or workers.

pub(crate) mod clock;
pub(crate) mod current;
pub(crate) mod descriptors;
pub(crate) mod file_system;
pub(crate) mod fork;
pub(crate) mod gate;
pub(crate) mod magazine;
pub(crate) mod names;
pub(crate) mod page_cache;
pub(crate) mod panic;
pub(crate) mod park;
pub(crate) mod prefetch;
pub(crate) mod rand;
pub(crate) mod rare;
pub(crate) mod record;
pub(crate) mod shrink;
pub(crate) mod signal_count;
pub(crate) mod signals;
pub(crate) mod threads;
pub(crate) mod wait;
