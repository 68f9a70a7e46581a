//! Methods that wait: of a value, of a type, and of a value that is called.
//!
//! ```python
//! import asyncio
//!
//! class ThreeTwoOne:
//!     async def begin(self):
//!         for number in (3, 2, 1):
//!             print(number)
//!             await asyncio.sleep(0.1)
//!
//!     @classmethod
//!     async def ready(cls):
//!         await cls().begin()
//!         print("ready")
//!
//!     async def __call__(self, word):
//!         await self.begin()
//!         print(word)
//!
//! async def game():
//!     await ThreeTwoOne.ready()
//!     count = ThreeTwoOne()
//!     await count("start")
//!     await asyncio.create_task(ThreeTwoOne.ready())
//!
//! asyncio.run(game())
//! ```

use std::time::Duration;

use ringloop::{spawn, time::sleep};

struct ThreeTwoOne;

impl ThreeTwoOne {
    async fn begin(&self) {
        for number in [3, 2, 1] {
            println!("{number}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn ready() {
        Self.begin().await;
        println!("ready");
    }
}

#[ringloop::main]
pub async fn main() {
    ThreeTwoOne::ready().await;
    // In place of `__call__`, a closure that waits.
    let count = async |word: &str| {
        ThreeTwoOne.begin().await;
        println!("{word}");
    };
    count("start").await;
    // Each of them may be a task as well.
    spawn(ThreeTwoOne::ready()).await.unwrap();
}
