//! What ended operations leave behind.

use std::task::Waker;

use super::flights::Spent;
use crate::util::panic;

/// Buffers and sockets of ended operations, and the wakers of tasks: dropping it wakes them, and
/// may run foreign destructors (S6).
#[derive(Default)]
pub(crate) struct Garbage {
    pub(super) spent: Vec<Spent>,
    pub(super) wakes: Vec<Waker>,
}

impl Garbage {
    pub(crate) fn is_empty(&self) -> bool {
        self.spent.is_empty() && self.wakes.is_empty()
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        self.spent.append(&mut other.spent);
        self.wakes.append(&mut other.wakes);
    }

    /// Where wakers are collected.
    pub(crate) fn wakes(&mut self) -> &mut Vec<Waker> {
        &mut self.wakes
    }
}

impl Drop for Garbage {
    fn drop(&mut self) {
        self.wakes.drain(..).for_each(|waker| panic::contain(|| waker.wake()));
    }
}
