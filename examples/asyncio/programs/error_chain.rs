//! An error six awaits deep: its message, and the functions on the way up to the one that reports it.
//!
//! ```python
//! import asyncio, traceback
//!
//! async def step_a(): await step_b()
//! async def step_b(): await step_c()
//! async def step_c(): await step_d()
//! async def step_d(): await step_e()
//! async def step_e(): await step_f()
//!
//! async def step_f():
//!     await asyncio.sleep(0.01)
//!     raise OSError("the disk is full")
//!
//! async def main():
//!     try:
//!         await step_a()
//!     except OSError as error:
//!         print("error:", error)
//!         frames = traceback.extract_tb(error.__traceback__)
//!         print("in:", " < ".join(frame.name for frame in reversed(frames)))
//!
//! asyncio.run(main())
//! ```

use std::{error::Error, fmt, time::Duration};

use ringloop::time::sleep;

/// An error, and the functions through which it came.
///
/// A panic needs no such list: a future polls the one that it awaits, so its backtrace is the chain of awaits up to the
/// task. An error is a value, and knows the way that it was given. Crates such as anyhow have the same as `context`.
#[derive(Debug)]
struct Failure {
    message: &'static str,
    through: Vec<&'static str>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message)
    }
}

impl Error for Failure {}

trait Within {
    /// Adds the name of the function that passes the error on.
    fn within(self, function: &'static str) -> Self;
}

impl<T> Within for Result<T, Failure> {
    fn within(mut self, function: &'static str) -> Self {
        if let Err(failure) = &mut self {
            failure.through.push(function);
        }
        self
    }
}

async fn step_a() -> Result<(), Failure> {
    step_b().await.within("step_a")
}

async fn step_b() -> Result<(), Failure> {
    step_c().await.within("step_b")
}

async fn step_c() -> Result<(), Failure> {
    step_d().await.within("step_c")
}

async fn step_d() -> Result<(), Failure> {
    step_e().await.within("step_d")
}

async fn step_e() -> Result<(), Failure> {
    step_f().await.within("step_e")
}

async fn step_f() -> Result<(), Failure> {
    sleep(Duration::from_millis(10)).await;
    Err(Failure { message: "the disk is full", through: Vec::new() }).within("step_f")
}

#[ringloop::main]
pub async fn main() {
    if let Err(error) = step_a().await.within("main") {
        println!("error: {error}");
        println!("in: {}", error.through.join(" < "));
    }
}
