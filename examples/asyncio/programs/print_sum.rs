//! A coroutine that awaits another.
//!
//! ```python
//! import asyncio
//!
//! async def compute(x, y):
//!     print(f"Compute {x} + {y} ...")
//!     await asyncio.sleep(1.0)
//!     return x + y
//!
//! async def print_sum(x, y):
//!     result = await compute(x, y)
//!     print(f"{x} + {y} = {result}")
//!
//! asyncio.run(print_sum(1, 2))
//! ```

use std::time::Duration;

use ringloop::time::sleep;

async fn compute(x: i32, y: i32) -> i32 {
    println!("Compute {x} + {y} ...");
    sleep(Duration::from_secs(1)).await;
    x + y
}

async fn print_sum(x: i32, y: i32) {
    let result = compute(x, y).await;
    println!("{x} + {y} = {result}");
}

#[ringloop::main]
pub async fn main() {
    print_sum(1, 2).await;
}
