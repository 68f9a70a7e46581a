//! The interface of a runtime to the scheduler and timer cases.
//!
//! Each method is written as a user of that runtime would. The cases are generic and compiled once
//! for each peer, so the trait costs nothing at run time. `run` moves the body of the case onto a
//! worker: all peers measure task to task, none from a thread outside.

pub mod async_executor;
mod ringloop;
mod tokio;

use std::future::Future;
use std::time::Duration;

use crate::catalogue::BARE;
use crate::harness::Spec;
use crate::sample::Sample;

pub use self::ringloop::Ringloop;
pub use self::tokio::{CurrentThread, MultiThread};

/// A runtime under test.
pub trait Peer: 'static {
    type Task<T: Send + 'static>: Send + 'static;
    type Handle: Send + 'static;

    /// Runs `body` as a task on a new runtime with `workers` workers.
    fn run<F>(workers: usize, body: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static;

    fn spawn<F>(future: F) -> Self::Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static;

    fn join<T: Send + 'static>(task: Self::Task<T>) -> impl Future<Output = T> + Send;

    fn detach<T: Send + 'static>(task: Self::Task<T>);

    /// A handle for threads outside the runtime.
    fn handle() -> Self::Handle;

    fn spawn_from_outside<F>(handle: &Self::Handle, future: F)
    where
        F: Future<Output = ()> + Send + 'static;

    fn yield_now() -> impl Future<Output = ()> + Send;

    fn sleep(duration: Duration) -> impl Future<Output = ()> + Send;

    /// `None` if the time ran out.
    fn timeout<F>(duration: Duration, future: F) -> impl Future<Output = Option<F::Output>> + Send
    where
        F: Future + Send,
        F::Output: Send;
}

/// A case that is written once for all peers.
pub trait Bench {
    fn run<P: Peer>(&self, spec: &Spec) -> Result<Sample, String>;

    /// The same futures polled by hand, with a waker that does nothing: the part of a figure that
    /// no runtime can reduce.
    fn run_bare(&self, _: &Spec) -> Result<Sample, String> {
        Err("this case cannot do without a runtime".into())
    }
}

/// Runs `bench` on the peer that `spec` names.
pub fn dispatch(bench: &impl Bench, spec: &Spec) -> Result<Sample, String> {
    dispatch_on(&spec.peer, bench, spec)
}

/// Runs `bench` on a runtime that is only a part of the peer's name.
pub fn dispatch_on(runtime: &str, bench: &impl Bench, spec: &Spec) -> Result<Sample, String> {
    match runtime {
        "tokio" => bench.run::<MultiThread>(spec),
        "tokio-ct" => bench.run::<CurrentThread>(spec),
        "async-executor" => bench.run::<async_executor::AsyncExecutor>(spec),
        "async-io" => bench.run::<async_executor::AsyncIo>(spec),
        "ringloop" => bench.run::<Ringloop>(spec),
        "ringloop-named" => bench.run::<ringloop::Tasks<true>>(spec),
        BARE => bench.run_bare(spec),
        other => Err(format!("no peer is called {other:?}")),
    }
}
