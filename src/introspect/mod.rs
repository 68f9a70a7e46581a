//! What a program is doing now: its tasks and what each waits for, its workers, its lanes.
//!
//! [`Handle::dump`](crate::Handle::dump) takes a snapshot of one runtime, [`dump`] one of all runtimes of
//! the process. A snapshot is plain data. It never polls a future, and it takes no lock that a
//! worker holds while it polls or waits. So it can be taken while every worker is stuck.
//!
//! The runtime records what a snapshot shows at all times; no feature and no variable turns that on. The
//! page [`guide::inspect`](crate::guide::inspect) shows how to read a snapshot.
//!
//! ```
//! use ringloop::{Handle, introspect::TaskState, task::Builder};
//!
//! ringloop::run(async {
//!     let waits = Builder::new().name("waits").spawn(std::future::pending::<()>());
//!     ringloop::yield_now().await;
//!     let dump = Handle::current().dump();
//!     let task = dump.task(waits.id()).unwrap();
//!     assert_eq!(task.name.as_deref(), Some("waits"));
//!     assert_ne!(task.state, TaskState::Done);
//!     println!("{}", dump.to_json());
//! });
//! ```

mod attach;
mod collect;
mod doctor;
mod graph;
mod json;
mod listeners;
mod prometheus;
mod snapshot;
mod waits;

pub use self::{
    collect::{dump, dump_up_to},
    doctor::{Checkup, Finding, FindingKind, Limits, Severity, doctor, findings, findings_to_json},
    graph::{AwaitGraph, Edge, EdgeKind, print_tree},
    listeners::{ListenerDump, listeners},
    snapshot::{
        Dump, FORMAT, Primitive, ProcessDump, RuntimeDump, TaskDump, TaskState, WaitDump, WaitKind,
        WorkerDump, WorkerState,
    },
};
pub use crate::record::{Event, EventKind, Recording, Track};
pub use crate::util::record::Observer;
