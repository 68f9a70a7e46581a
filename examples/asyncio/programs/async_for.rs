//! A generator that awaits: a loop that leaves it early, and a comprehension.
//!
//! ```python
//! import asyncio, contextlib
//!
//! async def ticker(end):
//!     try:
//!         for number in range(end):
//!             await asyncio.sleep(0)
//!             yield number
//!     finally:
//!         print("closed")
//!
//! async def main():
//!     async with contextlib.aclosing(ticker(10)) as ticks:
//!         async for number in ticks:
//!             print(number)
//!             if number == 2:
//!                 break
//!     print("after the loop")
//!     print([number * number async for number in ticker(6) if number % 2])
//!
//! asyncio.run(main())
//! ```

use std::{future::ready, pin::pin};

use futures_util::{Stream, StreamExt, stream};
use ringloop::yield_now;

/// The `finally` of the generator.
struct Closes;

impl Drop for Closes {
    fn drop(&mut self) {
        println!("closed");
    }
}

fn ticker(end: u32) -> impl Stream<Item = u32> {
    stream::unfold((0, Closes), move |(number, closes)| async move {
        yield_now().await;
        (number < end).then_some((number, (number + 1, closes)))
    })
}

#[ringloop::main]
pub async fn main() {
    {
        let mut ticks = pin!(ticker(10));
        while let Some(number) = ticks.next().await {
            println!("{number}");
            if number == 2 {
                break;
            }
        }
        // The stream ends with its block, and what it holds is dropped: there is no `aclose` to forget.
    }
    println!("after the loop");
    let odd = ticker(6).filter(|number| ready(number % 2 == 1));
    let squares: Vec<_> = odd.map(|number| number * number).collect().await;
    println!("{squares:?}");
}
