//! A callback that is called with the result of a task.
//!
//! ```python
//! import asyncio
//!
//! async def hello_world():
//!     print("Hello World")
//!     return 42
//!
//! def got_result(task):
//!     print(f"got the result: {task.result()}")
//!
//! async def main():
//!     task = asyncio.create_task(hello_world())
//!     task.add_done_callback(got_result)
//!     await asyncio.sleep(0.1)
//!     print(await task)
//!
//! asyncio.run(main())
//! ```

use std::time::Duration;

use ringloop::{spawn, sync::SharedFuture, time::sleep};

async fn hello_world() -> u32 {
    println!("Hello World");
    42
}

fn got_result(result: u32) {
    println!("got the result: {result}");
}

#[ringloop::main(workers = 1)]
pub async fn main() {
    // A task has one handle, which takes its result; what several are to have is shared.
    let (promise, result) = SharedFuture::new();
    let task = spawn(async { promise.set(hello_world().await) });
    let shared = result.clone();
    task.on_done(move |_| got_result(shared.try_wait().expect("the task has ended").unwrap()))
        .keep();
    sleep(Duration::from_millis(100)).await;
    println!("{}", result.await.unwrap());
}
