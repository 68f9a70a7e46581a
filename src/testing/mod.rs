//! Tools for tests of asynchronous code: nothing here needs a sleep, or a retry.
//!
//! | a test wants to | tool |
//! |---|---|
//! | poll a future by hand | [`poll_once`] |
//! | know how often a future was polled and woken | [`counted`] |
//! | see that a future gives way to other tasks | [`assert_yields`], [`assert_no_yields`] |
//! | go on when every other task waits | [`wait_all_blocked`] |
//! | know that a stream of its own keeps to the rules of streams | [`stream_conformance`] |
//! | have tasks take turns in a fixed order | [`Sequencer`] |
//! | wait for an hour in no time, to the nanosecond | [`Builder::mock_clock`](crate::Builder::mock_clock), [`Clock`] |
//! | run tasks in other orders, and the same order again | [`Builder::test_seed`](crate::Builder::test_seed) |
//! | learn which tasks wait for ever | [`Builder::test_deadlock`](crate::Builder::test_deadlock) |
//!
//! ```
//! use ringloop::{sync::Event, testing};
//!
//! ringloop::Builder::new()
//!     .workers(1)
//!     .run(async {
//!         let go = std::sync::Arc::new(Event::new());
//!         let task = ringloop::spawn({
//!             let go = go.clone();
//!             async move { go.wait().await }
//!         });
//!         testing::wait_all_blocked().await;
//!         assert!(!task.is_finished()); // it waits for the event: nothing is left to chance
//!         go.set();
//!         task.await.unwrap();
//!     })
//!     .unwrap();
//! ```

mod blocked;
mod clock;
mod conformance;
mod poll;
mod sequencer;

pub use self::{
    blocked::{WaitAllBlocked, wait_all_blocked},
    clock::Clock,
    conformance::{StreamConformance, stream_conformance},
    poll::{AssertYields, Counted, Counts, assert_no_yields, assert_yields, counted, poll_once},
    sequencer::{Sequencer, Turn, TurnFuture},
};
