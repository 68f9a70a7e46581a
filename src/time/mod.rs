//! Waiting for time: sleeping, timeouts, intervals.
//!
//! Nothing here fires early: a timer that ends has ended by the clock, to the
//! nanosecond, and how late it is depends on how busy its worker is. Timers of equal
//! deadlines on one worker fire in the order in which they were armed. A time that
//! is too far off to be said in nanoseconds ([`Duration::MAX`](std::time::Duration::MAX))
//! means never.
//!
//! asyncio: `loop.time`, `asyncio.sleep`, `asyncio.wait_for`, `loop.call_at`. There,
//! timers may fire early by the clock's resolution, and equal ones in any order.

mod condition;
mod instant;
mod interval;
mod sleep;
mod timeout;

#[cfg(test)]
mod tests;

pub use self::instant::Instant;
pub use self::interval::{Interval, MissedTicks, interval, interval_at};
pub use self::sleep::{Sleep, sleep, sleep_until};
pub use self::timeout::{Elapsed, Timeout, timeout, timeout_at};
