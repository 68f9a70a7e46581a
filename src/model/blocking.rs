//! [`blocking::queue`] with jobs of the model's.
#![allow(missing_docs)]

use std::time::Duration;

use crate::blocking::queue::{self, Left, Limits, Seat};

pub struct JobQueue(queue::JobQueue<Job>);

/// A number, and what it does.
struct Job(usize, Box<dyn FnOnce() + Send>);

impl queue::Job for Job {
    type Name = usize;

    fn name(&self) -> usize {
        self.0
    }

    fn left(&self) -> Left {
        Left::Job
    }

    fn is_remains(&self) -> bool {
        false
    }

    fn run(self) {
        self.1();
    }
}

/// What a thread is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    Serve,
    Watch,
}

/// What became of a job that was pushed.
#[derive(Debug, PartialEq, Eq)]
pub enum Pushed {
    Queued,
    Start(Duty),
    Closed,
}

fn outward(duty: queue::Duty) -> Duty {
    match duty {
        queue::Duty::Serve => Duty::Serve,
        queue::Duty::Watch => Duty::Watch,
    }
}

fn inward(duty: Duty) -> queue::Duty {
    match duty {
        Duty::Serve => queue::Duty::Serve,
        Duty::Watch => queue::Duty::Watch,
    }
}

impl JobQueue {
    /// Of at most `threads`, of which `at_once` need no watch. Idle threads stay `for_ever`, or
    /// end at any time.
    pub fn new(threads: usize, at_once: usize, for_ever: bool) -> Self {
        let time = if for_ever { Duration::MAX } else { Duration::ZERO };
        Self(queue::JobQueue::new(Limits {
            threads,
            at_once,
            keep_alive: time,
            patience: Duration::ZERO,
            saturated: time,
            queued: usize::MAX,
        }))
    }

    pub fn push(&self, number: usize, job: impl FnOnce() + Send + 'static) -> Pushed {
        match self.0.push(Job(number, Box::new(job))) {
            queue::Pushed::Queued => Pushed::Queued,
            queue::Pushed::Start(duty) => Pushed::Start(outward(duty)),
            queue::Pushed::Closed(_) => Pushed::Closed,
            queue::Pushed::Full(_) => unreachable!("it takes any number"),
        }
    }

    /// How many jobs are stranded.
    pub fn refuse_thread(&self, duty: Duty) -> usize {
        self.0.refuse_thread(inward(duty)).stranded.len()
    }

    /// `start` hears of threads that are wanted.
    pub fn serve(&self, start: impl Fn(Duty)) {
        self.0.serve(&Seat::new(), &|duty| start(outward(duty)));
    }

    pub fn watch(&self, start: impl Fn(Duty)) {
        self.0.watch(&|duty| start(outward(duty)), &|_| ());
    }

    pub fn watch_is_awake(&self) -> bool {
        self.0.watch_is_awake()
    }

    /// How many jobs none has begun.
    pub fn close(&self) -> usize {
        self.0.close().len()
    }

    /// What is queued still runs.
    pub fn finish(&self) {
        self.0.finish();
    }

    pub fn wait_for_threads(&self) {
        assert_eq!(self.0.wait_for_threads(u64::MAX), [0; 0]);
    }
}
