//! Loom models, one file for each protocol.
#![cfg(loom)]

mod announce_search;
mod claim;
mod doorbell_shutdown;
mod inbound;
mod inbox_final_check;
mod lease_return;
mod live_tasks;
mod outbound;
mod patrol;
mod push_and_park;
mod ring_mailbox;
mod slot_event;
mod socket_close;
mod task_state;
mod timer_ends;

mod hubs;
mod tasks;
