// The links of the front page to its chapters: here they lead to the modules.
#![doc = "[blocking.md]: crate::guide::blocking"]
#![doc = "[buffers.md]: crate::guide::buffers"]
#![doc = "[cancellation.md]: crate::guide::cancellation"]
#![doc = "[errors.md]: crate::guide::errors"]
#![doc = "[from-asyncio.md]: crate::guide::from_asyncio"]
#![doc = "[from-tokio.md]: crate::guide::from_tokio"]
#![doc = "[inspect.md]: crate::guide::inspect"]
#![doc = "[libraries.md]: crate::guide::libraries"]
#![doc = "[model.md]: crate::guide::model"]
#![doc = "[production.md]: crate::guide::production"]
#![doc = "[semver.md]: crate::guide::semver"]
#![doc = "[start.md]: crate::guide::start"]
#![doc = "[testing.md]: crate::guide::how_to_test"]
#![doc = ""]
#![doc = include_str!("../README.md")]
// What an example shows compiles without this warning where it is copied to.
#![doc(test(attr(deny(unused_must_use))))]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(loom, allow(dead_code, reason = "models use parts"))]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "ringloop runs on Linux only (epoll, io_uring): build it for a linux target, or develop in a container"
);

#[cfg(not(target_pointer_width = "64"))]
compile_error!("ringloop runs on 64-bit processors only: docs/semver.md says why");

mod loom;

mod error;
mod util;

mod reactor;
mod record;
pub mod task;

mod blocking;
mod buf;
mod scheduler;

mod runtime;

pub mod io;
pub mod sync;
pub mod time;

mod calls;
pub mod fs;
mod future;
pub mod net;
pub mod process;
pub mod protocol;
pub mod signal;
pub mod streams;
mod threads;

mod attributes;
pub mod introspect;
#[cfg(feature = "tls")]
pub mod tls;

pub mod compat;
pub mod testing;

#[cfg(loom)]
#[doc(hidden)]
pub mod model;

/// What the code calls that the attributes write.
#[doc(hidden)]
pub mod __macros {
    pub use crate::attributes::{Sweep, main_on as main};
}

#[cfg(feature = "macros")]
pub use self::attributes::{main, test};
pub use self::{
    calls::CallHandle,
    error::{
        BuildError, CancelCause, ErrorEvent, NoRuntime, RunError, ScopeKind, TaskError, TaskId,
    },
    future::{
        AsCompleted, CancelToken, Cancellation, Combine, Empty, Group, GroupClosed, GroupError,
        LimitedGroup, NotStarted, Scope, ScopeEnded, ScopeFuture, Started, TryGroup, Until, Waited,
        as_completed, finally, gather, gather_settled, race, race_staggered, scope, shield,
        task_group, try_gather, try_task_group, wait,
    },
    runtime::{
        Backend, BackendInfo, Builder, FileMetrics, Handle, Histogram, LaneMetrics, Metrics,
        Runtime, ShutdownReport, WorkerId, WorkerMetrics, all_tasks, backend, run, spawn,
        spawn_local, spawn_logged, yield_now,
    },
    task::{
        Cancelled, Canceller, CatchCancel, Join, Task, Uncancellable, catch_cancel, current_task,
        uncancellable,
    },
    threads::{
        AlreadyBorrowed, Borrower, CapacityLimiter, CapacityToken, PoolClosed, PoolSlot,
        SubmitError, ThreadPool, ThreadPoolBuilder, TryBorrowError, check_cancelled,
        run_in_executor, to_thread,
    },
};

/// The book: pages on what runs through the whole library. As a book: `mdbook build docs`.
pub mod guide {
    // For the links of the pages.
    #[allow(unused_imports, reason = "rustdoc reads it")]
    use super::*;

    /// Makes a module of each page. The pages link to each other by the names of their files; here those names lead to the
    /// modules.
    macro_rules! chapters {
        ($($name:ident $file:literal)*) => {
            chapters!{@each {
                $(#[doc = concat!("[", $file, "]: crate::guide::", stringify!($name), "\n")])*
            } $($name $file)*}
        };
        (@each $links:tt $($name:ident $file:literal)*) => {
            $(chapters!{@one $links $name $file})*
        };
        (@one {$($links:tt)*} $name:ident $file:literal) => {
            $($links)*
            #[doc = include_str!(concat!("../docs/", $file))]
            pub mod $name {}
        };
    }

    chapters! {
        start "start.md"
        model "model.md"
        from_asyncio "from-asyncio.md"
        from_tokio "from-tokio.md"
        cancellation "cancellation.md"
        buffers "buffers.md"
        blocking "blocking.md"
        processes "processes.md"
        inspect "inspect.md"
        libraries "libraries.md"
        how_to_test "testing.md"
        production "production.md"
        errors "errors.md"
        semver "semver.md"
        seeds "seeds.md"
    }

    #[cfg(feature = "tokio-bridge")]
    #[doc = include_str!("../docs/compat_tokio.md")]
    pub mod tokio {}
}

/// What macros expand to.
#[doc(hidden)]
pub mod __private {
    pub use crate::future::{
        Cons, First, Given, Kept, Nil, OneOf, ViaFuture, poll_all, poll_all_ok, run_list,
    };
}
