//! [`inbox::Inbox`]: tasks go from the thread that pushes to the one that takes, and with them what was done before.
#![allow(missing_docs)]

use super::task::Runnable;
use crate::scheduler::inbox;

pub struct Inbox(inbox::Inbox);

#[allow(clippy::new_without_default)]
impl Inbox {
    pub fn new() -> Self {
        Self(inbox::Inbox::new())
    }

    pub fn push(&self, task: Runnable) {
        self.0.push(task.0);
    }

    /// The oldest first, `limit` of them at most.
    pub fn take(&self, limit: usize) -> Vec<Runnable> {
        let mut tasks = Vec::new();
        self.0.take(limit, |task| tasks.push(Runnable(task)));
        tasks
    }
}
