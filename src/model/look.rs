//! What a task notes of its wait, and what a snapshot reads of that.
#![allow(missing_docs)]

use crate::{
    task::{Task, TaskInfo},
    util::{current, wait::WaitKind},
};

/// The task that is polled notes that it waits for the thing with that key.
pub fn note_wait(key: u64) {
    current::waits_for(WaitKind::Group, key);
}

/// The key of what a snapshot says that the task waits for.
pub fn look<T>(task: &Task<T>) -> Option<u64> {
    TaskInfo::of_canceller(&task.canceller()).wait().map(|wait| wait.key)
}
