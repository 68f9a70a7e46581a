//! ringloop.

use std::future::Future;
use std::time::Duration;

use ringloop::{Builder, Handle, Task};

use super::Peer;

/// ringloop, with tasks that have a name or none.
pub struct Tasks<const NAMED: bool>;

pub type Ringloop = Tasks<false>;

impl<const NAMED: bool> Peer for Tasks<NAMED> {
    type Task<T: Send + 'static> = Task<T>;
    type Handle = Handle;

    fn run<F>(workers: usize, body: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let main = async { Self::join(ringloop::spawn(body)).await };
        Builder::new().workers(workers).run(main).expect("ringloop starts")
    }

    fn spawn<F>(future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        if NAMED {
            return ringloop::task::Builder::new().name("connection").spawn(future);
        }
        ringloop::spawn(future)
    }

    async fn join<T: Send + 'static>(task: Task<T>) -> T {
        task.await.expect("no task panics")
    }

    fn detach<T: Send + 'static>(task: Task<T>) {
        drop(task);
    }

    fn handle() -> Handle {
        Handle::current()
    }

    fn spawn_from_outside<F>(handle: &Handle, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        drop(handle.spawn(future));
    }

    fn yield_now() -> impl Future<Output = ()> + Send {
        ringloop::yield_now()
    }

    fn sleep(duration: Duration) -> impl Future<Output = ()> + Send {
        ringloop::time::sleep(duration)
    }

    async fn timeout<F>(duration: Duration, future: F) -> Option<F::Output>
    where
        F: Future + Send,
        F::Output: Send,
    {
        ringloop::time::timeout(duration, future).await.ok()
    }
}
