//! Two shoppers take from shelves that are filled when they are empty: async generators.
//!
//! ```python
//! import asyncio
//!
//! async def shelf(what):
//!     while True:
//!         print(f"{what}: filling the shelf")
//!         await asyncio.sleep(0.05)
//!         for _ in range(10):
//!             yield what
//!
//! async def buy(what, count):
//!     basket = []
//!     async for item in shelf(what):
//!         basket.append(item)
//!         await asyncio.sleep(0)
//!         if len(basket) == count:
//!             break
//!     print(f"{len(basket)} times {what}")
//!
//! async def main():
//!     await asyncio.gather(buy("potato", 20), buy("tomato", 20))
//!
//! asyncio.run(main())
//! ```

use std::{pin::pin, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use ringloop::{gather, time::sleep, yield_now};

/// An async generator is a stream: here, one from a state and a step.
fn shelf(what: &'static str) -> impl Stream<Item = &'static str> {
    stream::unfold(0, move |left| async move {
        if left == 0 {
            println!("{what}: filling the shelf");
            sleep(Duration::from_millis(50)).await;
        }
        let left = if left == 0 { 10 } else { left };
        Some((what, left - 1))
    })
}

async fn buy(what: &'static str, count: usize) {
    let mut basket = Vec::new();
    let mut shelf = pin!(shelf(what));
    while let Some(item) = shelf.next().await {
        basket.push(item);
        yield_now().await;
        if basket.len() == count {
            break;
        }
    }
    println!("{} times {what}", basket.len());
}

#[ringloop::main(workers = 1)]
pub async fn main() {
    gather!(buy("potato", 20), buy("tomato", 20)).await;
}
