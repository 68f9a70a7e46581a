//! Loom models, one file for each protocol.
#![cfg(loom)]

mod announce_search;
mod apart;
mod blocking_queue;
mod budget;
mod claim;
mod doorbell_shutdown;
mod generated;
mod hog_report;
mod hub_lives;
mod idle_word;
mod inbound;
mod inbox_final_check;
mod lease_return;
mod live_tasks;
mod outbound;
mod patrol;
mod permits_close;
mod push_and_park;
mod ring_mailbox;
mod slot_event;
mod slot_urgent;
mod socket_close;
mod spin_lock;
mod sync_barrier;
mod sync_broadcast;
mod sync_channel;
mod sync_condition;
mod sync_event;
mod sync_lock;
mod sync_notify;
mod sync_once_cell;
mod sync_oneshot;
mod sync_queue;
mod sync_semaphore;
mod sync_shared_future;
mod sync_watch;
mod task_done;
mod task_state;
mod timer_ends;
mod worker_loop;

mod hubs;
mod sync_tools;
mod tasks;
