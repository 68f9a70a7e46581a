//! A worker's run queue: first in, first out.
//!
//! Neighbours steal from it, so that each task taken costs an atomic operation. The only worker of a runtime has
//! a queue that is its own.

use std::{cell::RefCell, collections::VecDeque};

use super::hub::Flavor;
use crate::{
    loom::deque::{self, Steal, Stealer},
    task::Runnable,
    util::shrink,
};

/// Room for tasks, or for wakers, that a queue keeps when it is empty.
pub(super) const KEEPS: usize = shrink::keeps::<Runnable>();

pub(super) enum RunQueue {
    Single(RefCell<VecDeque<Runnable>>),
    Multi(deque::Worker<Runnable>),
}

impl RunQueue {
    pub(super) fn new(flavor: Flavor) -> Self {
        match flavor {
            Flavor::Single => Self::Single(RefCell::new(VecDeque::new())),
            Flavor::Multi => Self::Multi(deque::Worker::new_fifo()),
        }
    }

    /// The neighbours' end.
    pub(super) fn stealer(&self) -> Option<Stealer<Runnable>> {
        match self {
            Self::Single(_) => None,
            Self::Multi(queue) => Some(queue.stealer()),
        }
    }

    #[inline]
    pub(super) fn push(&self, task: Runnable) {
        match self {
            Self::Single(queue) => queue.borrow_mut().push_back(task),
            Self::Multi(queue) => queue.push(task),
        }
    }

    #[inline]
    pub(super) fn pop(&self) -> Option<Runnable> {
        match self {
            Self::Single(queue) => shrink::pop_front(&mut queue.borrow_mut()),
            Self::Multi(queue) => queue.pop(),
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Single(queue) => queue.borrow().len(),
            Self::Multi(queue) => queue.len(),
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Single(queue) => queue.borrow().is_empty(),
            Self::Multi(queue) => queue.is_empty(),
        }
    }

    /// Takes half of what a neighbour has.
    pub(super) fn steal(&self, stealer: &Stealer<Runnable>) -> Steal<()> {
        match self {
            Self::Single(_) => Steal::Empty,
            Self::Multi(queue) => stealer.steal_batch(queue),
        }
    }
}
