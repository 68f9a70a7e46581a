//! [`blocking::queue`] with jobs of the model's.
#![allow(missing_docs)]

use std::time::Duration;

use crate::blocking::queue;

pub struct JobQueue(queue::JobQueue<Job>);

/// A number, and what it does.
struct Job(usize, Box<dyn FnOnce() + Send>);

impl queue::Job for Job {
    type Name = usize;

    fn name(&self) -> usize {
        self.0
    }

    fn run(self) {
        self.1();
    }
}

/// What became of a job that was pushed.
#[derive(Debug, PartialEq, Eq)]
pub enum Pushed {
    Queued,
    StartThread,
    Closed,
}

impl JobQueue {
    /// Idle threads stay `for_ever`, or end at any time.
    pub fn new(limit: usize, for_ever: bool) -> Self {
        let keep_alive = if for_ever { Duration::MAX } else { Duration::ZERO };
        Self(queue::JobQueue::new(limit, keep_alive))
    }

    pub fn push(&self, number: usize, job: impl FnOnce() + Send + 'static) -> Pushed {
        match self.0.push(Job(number, Box::new(job))) {
            queue::Pushed::Queued => Pushed::Queued,
            queue::Pushed::StartThread => Pushed::StartThread,
            queue::Pushed::Closed(_) => Pushed::Closed,
        }
    }

    /// How many jobs are stranded.
    pub fn refuse_thread(&self) -> usize {
        self.0.refuse_thread().stranded.len()
    }

    pub fn serve(&self) {
        self.0.serve();
    }

    /// How many jobs none has begun.
    pub fn close(&self) -> usize {
        self.0.close().len()
    }

    pub fn wait_for_threads(&self) {
        assert_eq!(self.0.wait_for_threads(u64::MAX), [0; 0]);
    }
}
