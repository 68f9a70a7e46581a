//! Two threads, and then two tasks, add to one number. The race without a lock does not compile here: see row 53 of
//! `docs/seeds.md`.
//!
//! ```python
//! import asyncio, threading
//!
//! a = 0
//! lock = threading.Lock()
//!
//! def add():
//!     global a
//!     for _ in range(100_000):
//!         with lock:
//!             a += 1
//!
//! threads = [threading.Thread(target=add) for _ in range(2)]
//! for thread in threads:
//!     thread.start()
//! for thread in threads:
//!     thread.join()
//! print("threads:", a)
//!
//! async def add_slowly(lock, numbers):
//!     for _ in range(1000):
//!         async with lock:
//!             number = numbers["a"]
//!             await asyncio.sleep(0)
//!             numbers["a"] = number + 1
//!
//! async def main():
//!     lock, numbers = asyncio.Lock(), {"a": 0}
//!     await asyncio.gather(add_slowly(lock, numbers), add_slowly(lock, numbers))
//!     print("tasks:", numbers["a"])
//!
//! asyncio.run(main())
//! ```

use std::{
    sync::{Arc, Mutex},
    thread,
};

use ringloop::{spawn, sync::Lock, try_gather, yield_now};

fn add(a: &Mutex<u32>) {
    for _ in 0..100_000 {
        *a.lock().expect("no holder panics") += 1;
    }
}

/// This lock may be held over an await.
async fn add_slowly(a: Arc<Lock<u32>>) {
    for _ in 0..1000 {
        let mut a = a.lock().await;
        let number = *a;
        yield_now().await;
        *a = number + 1;
    }
}

pub fn main() {
    let a = Mutex::new(0);
    // Threads of a scope may borrow.
    thread::scope(|scope| {
        scope.spawn(|| add(&a));
        scope.spawn(|| add(&a));
    });
    println!("threads: {}", a.into_inner().expect("no holder panics"));

    ringloop::run(async {
        let a = Arc::new(Lock::new(0));
        let tasks = try_gather!(spawn(add_slowly(a.clone())), spawn(add_slowly(a.clone())));
        tasks.await.expect("no task panics");
        println!("tasks: {}", a.lock().await);
    });
}
