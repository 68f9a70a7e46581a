//! tokio, both flavours.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

use super::Peer;

/// The work-stealing runtime.
pub struct MultiThread;

/// The single-threaded runtime; ignores the number of workers.
pub struct CurrentThread;

/// The two differ only in how they are built.
macro_rules! peer {
    ($name:ident, $workers:ident => $build:expr) => {
        impl Peer for $name {
            type Task<T: Send + 'static> = JoinHandle<T>;
            type Handle = Handle;

            fn run<F>($workers: usize, body: F) -> F::Output
            where
                F: Future + Send + 'static,
                F::Output: Send + 'static,
            {
                let runtime: Runtime = $build.enable_all().build().expect("tokio starts");
                runtime.block_on(async { Self::join(tokio::spawn(body)).await })
            }

            fn spawn<F>(future: F) -> JoinHandle<F::Output>
            where
                F: Future + Send + 'static,
                F::Output: Send + 'static,
            {
                tokio::spawn(future)
            }

            async fn join<T: Send + 'static>(task: JoinHandle<T>) -> T {
                task.await.expect("no task panics")
            }

            fn detach<T: Send + 'static>(task: JoinHandle<T>) {
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
                tokio::task::yield_now()
            }

            fn sleep(duration: Duration) -> impl Future<Output = ()> + Send {
                tokio::time::sleep(duration)
            }

            async fn timeout<F>(duration: Duration, future: F) -> Option<F::Output>
            where
                F: Future + Send,
                F::Output: Send,
            {
                tokio::time::timeout(duration, future).await.ok()
            }
        }
    };
}

peer!(MultiThread, workers => Builder::new_multi_thread().worker_threads(workers));
peer!(CurrentThread, _workers => Builder::new_current_thread());
