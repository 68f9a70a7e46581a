//! A heart that beats every 50 ms beside a call that blocks.
//!
//! ```python
//! import asyncio, time
//!
//! async def heart(beats):
//!     while True:
//!         await asyncio.sleep(0.05)
//!         beats.append(time.monotonic())
//!
//! def blocks():
//!     time.sleep(0.5)
//!     return "done"
//!
//! async def main():
//!     beats = [time.monotonic()]
//!     task = asyncio.create_task(heart(beats))
//!     print(await asyncio.to_thread(blocks))
//!     task.cancel()
//!     longest = max(after - before for before, after in zip(beats, beats[1:]))
//!     print("it went on:", len(beats) > 5)
//!     print("without a long pause:", longest < 0.4)
//!
//! asyncio.run(main())
//! ```

use std::{
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use ringloop::{
    spawn,
    time::{Instant, sleep},
    to_thread,
};

async fn heart(beats: Arc<Mutex<Vec<Instant>>>) {
    loop {
        sleep(Duration::from_millis(50)).await;
        beats.lock().unwrap().push(Instant::now());
    }
}

fn blocks() -> &'static str {
    thread::sleep(Duration::from_millis(500));
    "done"
}

#[ringloop::main(workers = 1)]
pub async fn main() {
    let beats = Arc::new(Mutex::new(vec![Instant::now()]));
    let task = spawn(heart(beats.clone()));
    println!("{}", to_thread(blocks).await.unwrap());
    task.cancel();
    let beats = beats.lock().unwrap();
    let longest = beats.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    println!("it went on: {}", beats.len() > 5);
    println!("without a long pause: {}", longest < Duration::from_millis(400));
}
