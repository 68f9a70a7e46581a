//! Several at once, and their results in order; what has begun has ended when the timeout comes.
//!
//! ```python
//! import asyncio
//!
//! async def factorial(name, number):
//!     result = 1
//!     for i in range(2, number + 1):
//!         print(f"Task {name}: {i}")
//!         await asyncio.sleep(0.05)
//!         result *= i
//!     return result
//!
//! async def main():
//!     print(await asyncio.gather(factorial("A", 2), factorial("B", 3)))
//!
//! asyncio.run(main())
//! ```

use std::time::Duration;

use ringloop::{gather, time::sleep};

async fn factorial(name: &str, number: u64) -> u64 {
    let mut result = 1;
    for i in 2..=number {
        println!("Task {name}: {i}");
        sleep(Duration::from_millis(50)).await;
        result *= i;
    }
    result
}

#[ringloop::main(workers = 1)]
pub async fn main() {
    let (a, b) = gather!(factorial("A", 2), factorial("B", 3)).await;
    println!("[{a}, {b}]");
}
