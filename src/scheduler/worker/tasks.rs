//! What a worker has to run, and in which order.

use super::Worker;
use crate::{
    scheduler::{Address, Tasks, hub::Flavor},
    task::{Runnable, Schedule as _},
    util::{current, shrink},
};

/// Polls from the LIFO slot in a row: then the queue has its turn.
const LIFO_RUN: u8 = 3;

impl Worker {
    /// The next task to run.
    #[inline(always)]
    pub(super) fn next_task(&self) -> Option<Runnable> {
        if self.block().has_lifo()
            && let Some(task) = self.next_of_lifo()
        {
            return Some(task);
        }
        self.lifo_run.set(0);
        self.next_queued()
    }

    /// The same without the LIFO slot.
    #[inline(always)]
    pub(in crate::scheduler) fn next_queued(&self) -> Option<Runnable> {
        if !self.local.borrow().is_empty() {
            return self.next_beside_local();
        }
        self.queue.pop()
    }

    /// The task of the LIFO slot, unless there have been so many that the queue has its turn.
    fn next_of_lifo(&self) -> Option<Runnable> {
        let block = self.block();
        let lifo = match self.flavor {
            Flavor::Single => block.take_lifo_alone(),
            Flavor::Multi => block.take_lifo(),
        };
        let (task, run) = (lifo?, self.lifo_run.get());
        if run < LIFO_RUN {
            self.lifo_run.set(run + 1);
            return Some(task);
        }
        self.push_back(task);
        None
    }

    /// The next task where there are some that stay here.
    #[inline(never)]
    fn next_beside_local(&self) -> Option<Runnable> {
        let of_queue = if self.local_is_next() { None } else { self.queue.pop() };
        of_queue.or_else(|| shrink::pop_front(&mut self.local.borrow_mut()).map(|(_, task)| task))
    }

    /// Whether the first local task came before the first of the queue.
    #[inline]
    fn local_is_next(&self) -> bool {
        match self.local.borrow().front() {
            None => false,
            // As many were pushed before it as have left the queue.
            Some((arrival, _)) => {
                self.pushed.get().saturating_sub(self.queue.len() as u64) >= *arrival
            }
        }
    }

    pub(in crate::scheduler) fn has_tasks(&self) -> bool {
        !self.queue.is_empty() || !self.local.borrow().is_empty() || self.block().has_lifo()
    }

    /// Queues a task that was woken here.
    #[inline]
    pub(in crate::scheduler) fn push_woken(&self, task: Runnable) {
        if !current::in_task() {
            return self.push_back(task);
        }
        match self.block().put_lifo(task) {
            Some(task) => self.push_back(task),
            None => self.judge_push(),
        }
    }

    #[inline]
    pub(in crate::scheduler) fn push_back(&self, task: Runnable) {
        self.push_quietly(task);
        self.judge_push();
    }

    /// The same for one of a batch: the caller judges what the queue has become.
    #[inline]
    pub(in crate::scheduler) fn push_quietly(&self, task: Runnable) {
        self.queue.push(task);
        self.pushed.set(self.pushed.get() + 1);
    }

    /// Queues a task that the reactor or a timer has woken, one of a batch: the caller judges the
    /// queue after the whole batch.
    #[inline]
    pub(super) fn push_reported(&self, task: Runnable) {
        let place = Address(task.header().place());
        match place.owner() {
            None if place.hub() == self.hub.key() => {
                self.note_wake(task.header());
                self.push_quietly(task);
            }
            _ => Tasks::schedule(task),
        }
    }

    #[inline]
    pub(in crate::scheduler) fn push_local(&self, task: Runnable) {
        self.load.note_local();
        self.local.borrow_mut().push_back((self.pushed.get(), task));
    }

    /// A stolen batch, by which the queue grew from `before`, counts as pushed now.
    pub(in crate::scheduler) fn note_stolen(&self, before: usize) {
        let grown = self.queue.len().saturating_sub(before);
        self.pushed.set(self.pushed.get() + grown as u64);
    }
}
