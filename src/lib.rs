#![doc = include_str!("../README.md")]
#![cfg_attr(loom, allow(dead_code, reason = "models use parts"))]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "ringloop runs on Linux only (epoll, io_uring): build it for a linux target, or develop in a container"
);

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

/// Pages on what runs through the whole library.
pub mod guide {
    #[doc = include_str!("../docs/blocking.md")]
    pub mod blocking {}

    #[doc = include_str!("../docs/cancellation.md")]
    pub mod cancellation {}
    #[doc = include_str!("../docs/inspect.md")]
    pub mod inspect {}
    #[doc = include_str!("../docs/libraries.md")]
    pub mod libraries {}
    #[doc = include_str!("../docs/processes.md")]
    pub mod processes {}
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
