//! A task is pending until it has ended.
//!
//! ```python
//! import asyncio
//!
//! async def hello_world():
//!     print("Hello World")
//!     return 42
//!
//! def state(task):
//!     return "finished" if task.done() else "pending"
//!
//! async def main():
//!     task = asyncio.create_task(hello_world())
//!     print(state(task))
//!     await asyncio.sleep(0.1)
//!     print(state(task))
//!     print(await task)
//!
//! asyncio.run(main())
//! ```

use std::time::Duration;

use ringloop::{Task, spawn, time::sleep};

async fn hello_world() -> u32 {
    println!("Hello World");
    42
}

fn state<T>(task: &Task<T>) -> &'static str {
    if task.is_finished() { "finished" } else { "pending" }
}

// With one worker, no task begins before this one waits, as in asyncio.
#[ringloop::main(workers = 1)]
pub async fn main() {
    let task = spawn(hello_world());
    println!("{}", state(&task));
    sleep(Duration::from_millis(100)).await;
    println!("{}", state(&task));
    // A `Result`: a task may have been cancelled, or have panicked.
    println!("{}", task.await.unwrap());
}
