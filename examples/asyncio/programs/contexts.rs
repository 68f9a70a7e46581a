//! Async context managers: something is entered, used and left, also when the body fails.
//!
//! ```python
//! import asyncio
//! from contextlib import asynccontextmanager
//!
//! class GameContext:
//!     async def __aenter__(self):
//!         await asyncio.sleep(0)
//!         print("game loading...")
//!         return "game"
//!     async def __aexit__(self, *error):
//!         print("game exit...")
//!         await asyncio.sleep(0)
//!
//! @asynccontextmanager
//! async def get_connection():
//!     print("connected")
//!     try:
//!         yield "connection"
//!     finally:
//!         await asyncio.sleep(0)
//!         print("disconnected")
//!
//! async def main():
//!     async with GameContext() as game:
//!         print(f"{game} start...")
//!     try:
//!         async with get_connection() as connection:
//!             print(f"using the {connection}")
//!             raise ValueError("broken")
//!     except ValueError as error:
//!         print(f"error: {error}")
//!
//! asyncio.run(main())
//! ```

use std::time::Duration;

use ringloop::{Cancelled, finally, yield_now};

/// Longer than any cleanup here takes.
const LIMIT: Duration = Duration::from_secs(1);

/// `async with` is a function that takes the body.
async fn game<T>(body: impl AsyncFnOnce(&str) -> T) -> Result<T, Cancelled> {
    yield_now().await;
    println!("game loading...");
    let exit = async {
        println!("game exit...");
        yield_now().await;
    };
    finally(body("game"), exit, LIMIT).await
}

async fn with_connection<T>(body: impl AsyncFnOnce(&str) -> T) -> Result<T, Cancelled> {
    println!("connected");
    let disconnect = async {
        yield_now().await;
        println!("disconnected");
    };
    finally(body("connection"), disconnect, LIMIT).await
}

#[ringloop::main(workers = 1)]
pub async fn main() {
    game(async |game| println!("{game} start...")).await.unwrap();
    let result = with_connection(async |connection| {
        println!("using the {connection}");
        Err::<(), _>("broken")
    });
    // Two results: whether it was cancelled, and what the body says.
    if let Err(error) = result.await.unwrap() {
        println!("error: {error}");
    }
}
