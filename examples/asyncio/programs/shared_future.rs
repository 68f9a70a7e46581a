//! One task waits for what another sets.
//!
//! ```python
//! import asyncio
//!
//! async def coro1(future):
//!     print("coro1 waits")
//!     print(await future)
//!
//! async def coro2(future):
//!     print("coro2 works")
//!     await asyncio.sleep(0.1)
//!     future.set_result("data")
//!
//! async def main():
//!     future = asyncio.get_running_loop().create_future()
//!     waits = asyncio.create_task(coro1(future))
//!     await asyncio.create_task(coro2(future))
//!     await waits
//!
//! asyncio.run(main())
//! ```
//!
//! asyncio's future has one type for both sides. Here they are two: the owner of the `Promise` sets the
//! value, once, and the owner of the `Deferred` waits for it.

use std::time::Duration;

use ringloop::{
    spawn,
    sync::{Deferred, Promise, oneshot},
    time::sleep,
};

async fn coro1(deferred: Deferred<&'static str>) {
    println!("coro1 waits");
    println!("{}", deferred.await.expect("coro2 sets it"));
}

async fn coro2(promise: Promise<&'static str>) {
    println!("coro2 works");
    sleep(Duration::from_millis(100)).await;
    promise.set("data").expect("coro1 waits for it");
}

// With one worker, tasks begin in the order in which they were spawned, as in asyncio.
#[ringloop::main(workers = 1)]
pub async fn main() {
    let (promise, deferred) = oneshot();
    let waits = spawn(coro1(deferred));
    spawn(coro2(promise)).await.unwrap();
    waits.await.unwrap();
}
