//! Loom models, one file for each protocol.
#![cfg(loom)]

mod announce_search;
mod doorbell_shutdown;
mod inbox_final_check;
mod live_tasks;
mod patrol;
mod push_and_park;
mod task_state;

mod hubs;
mod tasks;
