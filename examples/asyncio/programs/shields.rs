//! The caller gives up, the work goes on.
//!
//! ```python
//! import asyncio
//!
//! async def save():
//!     await asyncio.sleep(0.1)
//!     print("saved")
//!     return "done"
//!
//! async def main():
//!     task = asyncio.create_task(save())
//!     try:
//!         await asyncio.wait_for(asyncio.shield(task), timeout=0.01)
//!     except TimeoutError:
//!         print("gave up waiting")
//!     print(await task)
//!
//! asyncio.run(main())
//! ```

use std::time::Duration;

use ringloop::{
    shield,
    time::{sleep, timeout},
};

async fn save() -> &'static str {
    sleep(Duration::from_millis(100)).await;
    println!("saved");
    "done"
}

#[ringloop::main(workers = 1)]
pub async fn main() {
    let mut task = shield(save());
    if timeout(Duration::from_millis(10), &mut task).await.is_err() {
        println!("gave up waiting");
    }
    println!("{}", task.await.unwrap());
}
