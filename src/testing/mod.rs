//! Tools for tests of asynchronous code: nothing here needs a sleep, or a retry.
//!
//! | a test wants to | tool |
//! |---|---|
//! | poll a future by hand | [`poll_once`] |
//! | know how often a future was polled and woken | [`counted`] |
//! | see that a future gives way to other tasks | [`assert_yields`], [`assert_no_yields`] |
//! | have tasks take turns in a fixed order | [`Sequencer`] |

mod poll;
mod sequencer;

pub use self::{
    poll::{AssertYields, Counted, Counts, assert_no_yields, assert_yields, counted, poll_once},
    sequencer::{Sequencer, Turn, TurnFuture},
};
