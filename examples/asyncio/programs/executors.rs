//! A call that blocks, on the default pool and on one of the program's own.
//!
//! ```python
//! import asyncio, time
//! from concurrent.futures import ThreadPoolExecutor
//!
//! def blocking_io():
//!     time.sleep(0.05)
//!     return "read"
//!
//! def cpu_bound():
//!     return sum(i * i for i in range(10 ** 6))
//!
//! async def main():
//!     loop = asyncio.get_running_loop()
//!     print("default pool:", await loop.run_in_executor(None, blocking_io))
//!     print("to_thread:", await asyncio.to_thread(blocking_io))
//!     with ThreadPoolExecutor(2, "sums") as pool:
//!         print("own pool:", await loop.run_in_executor(pool, cpu_bound))
//!         both = [loop.run_in_executor(pool, cpu_bound) for _ in range(2)]
//!         print("both:", sum(await asyncio.gather(*both)))
//!
//! asyncio.run(main())
//! ```
//!
//! Python computes on one core, for there is one interpreter; here the two jobs of `both` run on two.

use std::{thread, time::Duration};

use ringloop::{ThreadPool, run_in_executor, to_thread, try_gather};

fn blocking_io() -> &'static str {
    thread::sleep(Duration::from_millis(50));
    "read"
}

fn cpu_bound() -> u64 {
    (0..1_000_000).map(|i: u64| i * i).sum()
}

#[ringloop::main]
pub async fn main() {
    println!("default pool: {}", to_thread(blocking_io).await.unwrap());
    println!("to_thread: {}", to_thread(blocking_io).await.unwrap());
    // When the last handle is gone, the pool ends by itself.
    let pool = ThreadPool::new("sums", 2).unwrap();
    println!("own pool: {}", run_in_executor(&pool, cpu_bound).await.unwrap());
    let both = (0..2).map(|_| run_in_executor(&pool, cpu_bound));
    println!("both: {}", try_gather(both).await.unwrap().iter().sum::<u64>());
}
