//! Loom models, one file for each protocol.
#![cfg(loom)]

mod doorbell_shutdown;
mod push_and_park;
mod task_state;
mod tasks;
