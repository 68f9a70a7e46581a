//! Loom models, one file for each protocol.
#![cfg(loom)]

mod doorbell_shutdown;
mod task_state;
mod tasks;
