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
pub mod task;

mod blocking;
mod buf;
mod scheduler;

mod runtime;

pub mod io;
pub mod sync;
pub mod time;

mod future;
pub mod net;
pub mod signal;
mod threads;

pub mod compat;

#[cfg(loom)]
#[doc(hidden)]
pub mod model;

pub use self::{
    error::{
        BuildError, CancelCause, ErrorEvent, NoRuntime, RunError, ScopeKind, TaskError, TaskId,
    },
    future::{CancelToken, Cancellation, Scope, ScopeEnded, ScopeFuture, finally, scope},
    runtime::{
        Backend, BackendInfo, Builder, Handle, Metrics, Runtime, ShutdownReport, WorkerId,
        WorkerMetrics, all_tasks, backend, run, spawn, spawn_local, spawn_logged, yield_now,
    },
    task::{
        Cancelled, Canceller, CatchCancel, Join, Task, Uncancellable, catch_cancel, current_task,
        uncancellable,
    },
    threads::to_thread,
};
