//! The test suite: one binary, one module per subject.
//!
//! Every test runs on each backend and with several worker counts (`suite/harness.rs`). Sizes are
//! small by default; `RINGLOOP_TEST_SCALE=N` multiplies them. `RINGLOOP_SEED=N` replays a random
//! schedule, `RINGLOOP_TEST_WORKERS=N` and `RINGLOOP_TEST_BACKEND=name` narrow the sweep.
//! `cargo storms` runs the storms of a million operations, which are ignored otherwise.

#[path = "suite/faults.rs"]
mod faults;
#[path = "suite/fs_tools.rs"]
mod fs_tools;
#[path = "suite/harness.rs"]
mod harness;
#[path = "suite/measure.rs"]
mod measure;
#[path = "suite/processes.rs"]
mod processes;
#[path = "suite/sync_tools.rs"]
mod sync_tools;
#[cfg(feature = "tls")]
#[path = "suite/tls_tools.rs"]
mod tls_tools;
#[path = "suite/tools.rs"]
mod tools;

#[path = "suite/alloc_faults.rs"]
mod alloc_faults;
#[cfg(feature = "macros")]
#[path = "suite/attributes.rs"]
mod attributes;
#[path = "suite/backend_choice.rs"]
mod backend_choice;
#[path = "suite/backend_fork.rs"]
mod backend_fork;
#[path = "suite/backend_limits.rs"]
mod backend_limits;
#[path = "suite/calls.rs"]
mod calls;
#[path = "suite/cancel.rs"]
mod cancel;
#[path = "suite/children.rs"]
mod children;
#[path = "suite/children_ends.rs"]
mod children_ends;
#[path = "suite/children_faults.rs"]
mod children_faults;
#[path = "suite/clocks.rs"]
mod clocks;
#[path = "suite/combinators.rs"]
mod combinators;
#[path = "suite/compat.rs"]
mod compat;
#[path = "suite/conformance.rs"]
mod conformance;
#[cfg(feature = "hyper-client")]
#[path = "suite/crawlers.rs"]
mod crawlers;
#[path = "suite/debug_mode.rs"]
mod debug_mode;
#[cfg(feature = "macros")]
#[path = "suite/doctor.rs"]
mod doctor;
#[path = "suite/examples.rs"]
mod examples;
#[path = "suite/faces.rs"]
mod faces;
#[path = "suite/fork_busy.rs"]
mod fork_busy;
#[path = "suite/fs_copy.rs"]
mod fs_copy;
#[path = "suite/fs_cp.rs"]
mod fs_cp;
#[path = "suite/fs_faults.rs"]
mod fs_faults;
#[path = "suite/fs_file.rs"]
mod fs_file;
#[path = "suite/fs_folders.rs"]
mod fs_folders;
#[path = "suite/fs_full.rs"]
mod fs_full;
#[path = "suite/fs_machine.rs"]
mod fs_machine;
#[path = "suite/fs_names.rs"]
mod fs_names;
#[path = "suite/fs_temp.rs"]
mod fs_temp;
#[path = "suite/fs_whole.rs"]
mod fs_whole;
#[path = "suite/groups.rs"]
mod groups;
#[path = "suite/handover.rs"]
mod handover;
#[path = "suite/homes.rs"]
mod homes;
#[cfg(feature = "hyper-client")]
#[path = "suite/hyper_client.rs"]
mod hyper_client;
#[cfg(feature = "hyper-client")]
#[path = "suite/hyper_parts.rs"]
mod hyper_parts;
#[cfg(feature = "hyper")]
#[path = "suite/hyper_pipelining.rs"]
mod hyper_pipelining;
#[cfg(feature = "hyper-util")]
#[path = "suite/hyper_serve.rs"]
mod hyper_serve;
#[path = "suite/interrupt.rs"]
mod interrupt;
#[path = "suite/introspect.rs"]
mod introspect;
#[path = "suite/io_copy.rs"]
mod io_copy;
#[path = "suite/io_fd.rs"]
mod io_fd;
#[path = "suite/io_fifo.rs"]
mod io_fifo;
#[path = "suite/io_ready.rs"]
mod io_ready;
#[path = "suite/io_splice.rs"]
mod io_splice;
#[path = "suite/io_standard.rs"]
mod io_standard;
#[path = "suite/kill.rs"]
mod kill;
#[path = "suite/lanes.rs"]
mod lanes;
#[path = "suite/leases.rs"]
mod leases;
#[path = "suite/net_bind.rs"]
mod net_bind;
#[path = "suite/net_cancel.rs"]
mod net_cancel;
#[path = "suite/net_connect.rs"]
mod net_connect;
#[path = "suite/net_ends.rs"]
mod net_ends;
#[path = "suite/net_faults.rs"]
mod net_faults;
#[path = "suite/net_listener.rs"]
mod net_listener;
#[path = "suite/net_load.rs"]
mod net_load;
#[path = "suite/net_names.rs"]
mod net_names;
#[path = "suite/net_peers.rs"]
mod net_peers;
#[path = "suite/net_send_file.rs"]
mod net_send_file;
#[path = "suite/net_sharing.rs"]
mod net_sharing;
#[path = "suite/net_stream.rs"]
mod net_stream;
#[path = "suite/net_udp.rs"]
mod net_udp;
#[path = "suite/net_udp_batch.rs"]
mod net_udp_batch;
#[path = "suite/net_udp_load.rs"]
mod net_udp_load;
#[path = "suite/net_udp_options.rs"]
mod net_udp_options;
#[path = "suite/net_unix.rs"]
mod net_unix;
#[path = "suite/net_urgent.rs"]
mod net_urgent;
#[path = "suite/net_wire.rs"]
mod net_wire;
#[path = "suite/pipes.rs"]
mod pipes;
#[path = "suite/placed.rs"]
mod placed;
#[path = "suite/protocol.rs"]
mod protocol;
#[path = "suite/protocol_files.rs"]
mod protocol_files;
#[path = "suite/protocol_upgrade.rs"]
mod protocol_upgrade;
#[path = "suite/recording.rs"]
mod recording;
#[path = "suite/regressions.rs"]
mod regressions;
#[path = "suite/rescue.rs"]
mod rescue;
#[path = "suite/runtime.rs"]
mod runtime;
#[path = "suite/runtime_errors.rs"]
mod runtime_errors;
#[path = "suite/runtime_shutdown.rs"]
mod runtime_shutdown;
#[path = "suite/scheduler.rs"]
mod scheduler;
#[path = "suite/seeds.rs"]
mod seeds;
#[path = "suite/send_machine.rs"]
mod send_machine;
#[path = "suite/signal.rs"]
mod signal;
#[path = "suite/signal_kinds.rs"]
mod signal_kinds;
#[path = "suite/soak.rs"]
mod soak;
#[path = "suite/soak_net.rs"]
mod soak_net;
#[path = "suite/storms.rs"]
mod storms;
#[path = "suite/storms_streams.rs"]
mod storms_streams;
#[path = "suite/streams.rs"]
mod streams;
#[cfg(feature = "tls")]
#[path = "suite/streams_tls.rs"]
mod streams_tls;
#[path = "suite/sync_barrier.rs"]
mod sync_barrier;
#[path = "suite/sync_broadcast.rs"]
mod sync_broadcast;
#[path = "suite/sync_channel.rs"]
mod sync_channel;
#[path = "suite/sync_condition.rs"]
mod sync_condition;
#[path = "suite/sync_event.rs"]
mod sync_event;
#[path = "suite/sync_lock.rs"]
mod sync_lock;
#[path = "suite/sync_notify.rs"]
mod sync_notify;
#[path = "suite/sync_oneshot.rs"]
mod sync_oneshot;
#[path = "suite/sync_others.rs"]
mod sync_others;
#[path = "suite/sync_queue.rs"]
mod sync_queue;
#[path = "suite/sync_queue_props.rs"]
mod sync_queue_props;
#[path = "suite/sync_semaphore.rs"]
mod sync_semaphore;
#[path = "suite/sync_storms.rs"]
mod sync_storms;
#[path = "suite/task.rs"]
mod task;
#[path = "suite/task_chains.rs"]
mod task_chains;
#[path = "suite/task_context.rs"]
mod task_context;
#[path = "suite/task_crowds.rs"]
mod task_crowds;
#[path = "suite/task_ends.rs"]
mod task_ends;
#[path = "suite/task_faults.rs"]
mod task_faults;
#[path = "suite/task_handles.rs"]
mod task_handles;
#[path = "suite/task_local.rs"]
mod task_local;
#[path = "suite/task_waits.rs"]
mod task_waits;
#[path = "suite/testing_clock.rs"]
mod testing_clock;
#[path = "suite/testing_runs.rs"]
mod testing_runs;
#[path = "suite/testing_tools.rs"]
mod testing_tools;
#[path = "suite/thread_pool.rs"]
mod thread_pool;
#[path = "suite/threads.rs"]
mod threads;
#[path = "suite/time.rs"]
mod time;
#[cfg(feature = "tls")]
#[path = "suite/tls.rs"]
mod tls;
#[cfg(feature = "tls")]
#[path = "suite/tls_ends.rs"]
mod tls_ends;
#[cfg(feature = "tls")]
#[path = "suite/tls_errors.rs"]
mod tls_errors;
#[cfg(feature = "tls")]
#[path = "suite/tls_outside.rs"]
mod tls_outside;
#[cfg(feature = "tokio-bridge")]
#[path = "suite/tokio_bridge.rs"]
mod tokio_bridge;
#[cfg(feature = "tower")]
#[path = "suite/tower.rs"]
mod tower;
#[path = "suite/trees.rs"]
mod trees;
#[path = "suite/wakers.rs"]
mod wakers;
#[path = "suite/whose_thread.rs"]
mod whose_thread;
#[path = "suite/wire.rs"]
mod wire;
