//! Loom models, one file for each protocol.
#![cfg(loom)]

mod announce_search;
mod doorbell_shutdown;
mod inbox_final_check;
mod lease_return;
mod live_tasks;
mod patrol;
mod push_and_park;
mod slot_event;
mod task_state;
mod timer_ends;

mod hubs;
mod tasks;
