//! Results in the order in which they come.
//!
//! ```python
//! import asyncio
//!
//! async def job(n):
//!     await asyncio.sleep(n / 20)
//!     return n
//!
//! async def main():
//!     for next_one in asyncio.as_completed([job(3), job(1), job(2)]):
//!         print(await next_one)
//!
//! asyncio.run(main())
//! ```

use std::time::Duration;

use futures_util::StreamExt;
use ringloop::{as_completed, spawn, time::sleep};

async fn job(n: u64) -> u64 {
    sleep(Duration::from_millis(n * 50)).await;
    n
}

#[ringloop::main(workers = 1)]
pub async fn main() {
    let mut results = as_completed([3, 1, 2].map(|n| spawn(job(n))));
    while let Some((_index, result)) = results.next().await {
        println!("{}", result.unwrap());
    }
}
