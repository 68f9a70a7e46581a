//! Futures of threads in tasks, and tasks' results on threads.
//!
//! ```python
//! import asyncio, threading
//! from concurrent.futures import ThreadPoolExecutor
//!
//! async def double(n):
//!     await asyncio.sleep(0.01)
//!     return 2 * n
//!
//! async def main():
//!     loop = asyncio.get_running_loop()
//!     pool = ThreadPoolExecutor(1)
//!     # From the pool to the loop.
//!     print(await asyncio.wrap_future(pool.submit(lambda: "from a thread")))
//!     # From the loop to a thread.
//!     ask = lambda: asyncio.run_coroutine_threadsafe(double(21), loop).result(timeout=10)
//!     print(await asyncio.to_thread(ask))
//!     # Cancelling one side cancels the other.
//!     held, begun = threading.Event(), threading.Event()
//!     pool.submit(lambda: (begun.set(), held.wait()))
//!     await asyncio.to_thread(begun.wait)
//!     ran = []
//!     queued = pool.submit(lambda: ran.append(1))
//!     asyncio.wrap_future(queued).cancel()
//!     await asyncio.sleep(0.01)
//!     print("cancelled:", queued.cancelled())
//!     held.set()
//!     pool.shutdown(wait=True)
//!     print("ran:", len(ran))
//!
//! asyncio.run(main())
//! ```
//!
//! Here there is one kind of future for both sides.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use ringloop::{Handle, ThreadPool, run_in_executor, sync::oneshot, time::sleep, to_thread};

async fn double(n: u32) -> u32 {
    sleep(Duration::from_millis(10)).await;
    2 * n
}

#[ringloop::main]
pub async fn main() {
    let handle = Handle::current();
    let pool = ThreadPool::new("one", 1).unwrap();
    // From the pool to the runtime.
    println!("{}", pool.submit(|| "from a thread").await.unwrap());
    // From the runtime to a thread.
    let ask = move || handle.block_on(double(21)).unwrap();
    println!("{}", to_thread(ask).await.unwrap());
    // Cancelling one side cancels the other.
    let (held, wait) = mpsc::channel::<()>();
    let (tell, begun) = oneshot();
    let holder = run_in_executor(&pool, move || {
        tell.set(()).unwrap();
        let _ = wait.recv();
    });
    begun.await.unwrap();
    let ran = Arc::new(AtomicUsize::new(0));
    let count = ran.clone();
    let queued = run_in_executor(&pool, move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    queued.cancel();
    println!("cancelled: {}", queued.await.is_err());
    drop(held);
    holder.await.unwrap();
    to_thread(move || pool.shutdown(true)).await.unwrap();
    println!("ran: {}", ran.load(Ordering::Relaxed));
}
