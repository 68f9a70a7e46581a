//! A pool without a loop: jobs are submitted, and the pool is shut down.
//!
//! ```python
//! import time
//! from concurrent.futures import ThreadPoolExecutor, TimeoutError
//!
//! def slow(n):
//!     time.sleep(0.05)
//!     return n * n
//!
//! pool = ThreadPoolExecutor(max_workers=2)
//! futures = [pool.submit(slow, n) for n in range(4)]
//! try:
//!     futures[3].result(timeout=0.001)
//! except TimeoutError:
//!     print("not yet")
//! print([future.result() for future in futures])
//!
//! last = pool.submit(slow, 7)
//! pool.shutdown(wait=True)
//! print("done:", last.done(), last.result())
//! try:
//!     pool.submit(slow, 8)
//! except RuntimeError:
//!     print("closed")
//!
//! pool = ThreadPoolExecutor(max_workers=1)
//! first, second = pool.submit(slow, 2), pool.submit(slow, 3)
//! pool.shutdown(wait=False)
//! print("returned at once:", not second.done())
//! print(first.result(), second.result())
//! ```

use std::{thread, time::Duration};

use ringloop::ThreadPool;

fn slow(n: u64) -> u64 {
    thread::sleep(Duration::from_millis(50));
    n * n
}

pub fn main() {
    let pool = ThreadPool::new("squares", 2).unwrap();
    let mut futures: Vec<_> = (0..4).map(|n| pool.submit(move || slow(n))).collect();
    if futures[3].blocking_wait_timeout(Duration::from_millis(1)).is_none() {
        println!("not yet");
    }
    // A `Result`: a job may have panicked, or been refused.
    let squares: Vec<_> =
        futures.into_iter().map(|future| future.blocking_wait().unwrap()).collect();
    println!("{squares:?}");

    let last = pool.submit(|| slow(7));
    pool.shutdown(true);
    println!("done: {} {}", last.is_done(), last.blocking_wait().unwrap());
    if pool.try_submit(|| slow(8)).is_err() {
        println!("closed");
    }

    let pool = ThreadPool::new("squares", 1).unwrap();
    let (first, second) = (pool.submit(|| slow(2)), pool.submit(|| slow(3)));
    pool.shutdown(false);
    println!("returned at once: {}", !second.is_done());
    println!("{} {}", first.blocking_wait().unwrap(), second.blocking_wait().unwrap());
}
