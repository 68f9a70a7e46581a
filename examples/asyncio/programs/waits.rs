//! Waiting for the first, for all, and for no longer than a limit.
//!
//! ```python
//! import asyncio
//!
//! async def job(n):
//!     await asyncio.sleep(n / 20)
//!     return n
//!
//! async def main():
//!     tasks = [asyncio.create_task(job(n)) for n in (3, 1, 2)]
//!     done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
//!     print(len(done), len(pending), done.pop().result())
//!     done, pending = await asyncio.wait(tasks)
//!     print(len(done), len(pending))
//!     try:
//!         await asyncio.wait_for(asyncio.sleep(3600), timeout=0.01)
//!     except TimeoutError:
//!         print("too slow")
//!
//! asyncio.run(main())
//! ```

use std::time::Duration;

use ringloop::{
    Until, spawn,
    time::{sleep, timeout},
    wait,
};

async fn job(n: u64) -> u64 {
    sleep(Duration::from_millis(n * 50)).await;
    n
}

#[ringloop::main(workers = 1)]
pub async fn main() {
    let mut tasks = [3, 1, 2].map(|n| spawn(job(n)));
    // Indexes instead of sets: the tasks stay where they are.
    let waited = wait(&mut tasks, Until::First, None).await.unwrap();
    let first = (&mut tasks[waited.done[0]]).await.unwrap();
    println!("{} {} {first}", waited.done.len(), waited.pending.len());
    let waited = wait(&mut tasks, Until::All, None).await.unwrap();
    println!("{} {}", waited.done.len(), waited.pending.len());
    if timeout(Duration::from_millis(10), sleep(Duration::from_secs(3600))).await.is_err() {
        println!("too slow");
    }
}
