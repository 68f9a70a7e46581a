//! A worker's run queue: first in, first out.
//!
//! Neighbours steal from it, so that each task taken costs an atomic operation. A lone worker has
//! no neighbours, and a queue that is only its own.

use std::{cell::RefCell, collections::VecDeque};

use crate::{
    loom::deque::{self, Steal, Stealer},
    task::Runnable,
    util::shrink,
};

/// Room for tasks, or for wakers, that a queue keeps when it is empty.
pub(super) const KEEPS: usize = shrink::keeps::<Runnable>();

pub(super) enum RunQueue {
    Alone(RefCell<VecDeque<Runnable>>),
    Shared(deque::Worker<Runnable>),
}

impl RunQueue {
    pub(super) fn new(alone: bool) -> Self {
        match alone {
            true => Self::Alone(RefCell::new(VecDeque::new())),
            false => Self::Shared(deque::Worker::new_fifo()),
        }
    }

    /// The neighbours' end.
    pub(super) fn stealer(&self) -> Option<Stealer<Runnable>> {
        match self {
            Self::Alone(_) => None,
            Self::Shared(queue) => Some(queue.stealer()),
        }
    }

    #[inline]
    pub(super) fn push(&self, task: Runnable) {
        match self {
            Self::Alone(queue) => queue.borrow_mut().push_back(task),
            Self::Shared(queue) => queue.push(task),
        }
    }

    #[inline]
    pub(super) fn pop(&self) -> Option<Runnable> {
        match self {
            Self::Alone(queue) => shrink::pop_front(&mut queue.borrow_mut()),
            Self::Shared(queue) => queue.pop(),
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Alone(queue) => queue.borrow().len(),
            Self::Shared(queue) => queue.len(),
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Alone(queue) => queue.borrow().is_empty(),
            Self::Shared(queue) => queue.is_empty(),
        }
    }

    /// Takes half of what a neighbour has.
    pub(super) fn steal(&self, stealer: &Stealer<Runnable>) -> Steal<()> {
        match self {
            Self::Alone(_) => Steal::Empty,
            Self::Shared(queue) => stealer.steal_batch(queue),
        }
    }
}
