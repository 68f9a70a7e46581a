//! async-executor, a static executor run by threads, as smol does it: alone for the scheduler
//! cases, with async-io's reactor under it for timers and sockets.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use async_executor::{Executor, Task};
use async_io::Timer;
use futures_lite::future;

use super::Peer;

/// Threads that only run tasks: no cost of a reactor that the case does not use.
pub struct AsyncExecutor;

/// Threads that also take turns at polling async-io's reactor.
pub struct AsyncIo;

static EXECUTOR: Executor<'static> = Executor::new();

/// Runs `body` as a task on `workers` threads that each do `work`.
fn run<F>(workers: usize, work: fn(), body: F) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    for index in 0..workers {
        std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(work)
            .expect("a thread starts");
    }
    future::block_on(EXECUTOR.spawn(body))
}

macro_rules! peer {
    ($name:ident, $block_on:path) => {
        impl Peer for $name {
            type Task<T: Send + 'static> = Task<T>;
            type Handle = ();

            fn run<F>(workers: usize, body: F) -> F::Output
            where
                F: Future + Send + 'static,
                F::Output: Send + 'static,
            {
                run(workers, || $block_on(EXECUTOR.run(future::pending())), body)
            }

            fn spawn<F>(future: F) -> Task<F::Output>
            where
                F: Future + Send + 'static,
                F::Output: Send + 'static,
            {
                EXECUTOR.spawn(future)
            }

            fn join<T: Send + 'static>(task: Task<T>) -> impl Future<Output = T> + Send {
                task
            }

            fn detach<T: Send + 'static>(task: Task<T>) {
                task.detach();
            }

            fn handle() {}

            fn spawn_from_outside<F>((): &(), future: F)
            where
                F: Future<Output = ()> + Send + 'static,
            {
                EXECUTOR.spawn(future).detach();
            }

            fn yield_now() -> impl Future<Output = ()> + Send {
                future::yield_now()
            }

            async fn sleep(duration: Duration) {
                Timer::after(duration).await;
            }

            async fn timeout<F>(duration: Duration, future: F) -> Option<F::Output>
            where
                F: Future + Send,
                F::Output: Send,
            {
                let future = pin!(async { Some(future.await) });
                let expiry = pin!(async {
                    Timer::after(duration).await;
                    None
                });
                future::or(future, expiry).await
            }
        }
    };
}

peer!(AsyncExecutor, future::block_on);
peer!(AsyncIo, async_io::block_on);
