//! Ticks whose order depends on a seed: for tests.
//!
//! All that is ready when a tick begins is put into a random order and run once; what becomes ready
//! meanwhile has its turn in the next tick, the task in the LIFO slot as well. No tick ends by the clock.
//! So with one worker, a played clock and no news from outside, the same seed gives the same run.

use super::{Address, worker::Worker};
use crate::{
    task::Runnable,
    util::{clock, rand::Rng},
};

impl Worker {
    /// A tick's tasks. Returns the time.
    #[cold]
    pub(super) fn run_shuffled(&self, rng: &Rng, done: &impl Fn() -> bool) -> u64 {
        let count = self.shuffle(rng);
        if count > 0 {
            self.judge_push();
        }
        let start = clock::machine();
        self.begin_run(start);
        if self.patrol.is_unwatched(start) && self.has_tasks() {
            self.ensure_patrol();
        }
        let mut polls = 0;
        while polls < count && !done() {
            // Others may have taken some.
            let Some(task) = self.next_queued() else { break };
            self.poll(task);
            polls += 1;
        }
        if polls == 0 {
            return start;
        }
        let now = clock::machine();
        self.note_polls(polls, start, now);
        now
    }

    /// Brings all that is ready into a random order. Says how many tasks these are.
    fn shuffle(&self, rng: &Rng) -> u64 {
        let mut ready: Vec<Runnable> = std::iter::from_fn(|| self.next_task_or_mail()).collect();
        for last in (1..ready.len()).rev() {
            ready.swap(last, rng.below(last + 1));
        }
        let count = ready.len() as u64;
        for task in ready {
            match Address(task.header().place()).owner() {
                Some(_) => self.push_local(task),
                None => self.push_quietly(task),
            }
        }
        count
    }
}
