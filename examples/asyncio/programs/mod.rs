//! One program in each file, with asyncio's beside it.

mod async_for;
mod async_methods;
mod callbacks;
mod chat;
mod claims;
mod completed;
mod contexts;
mod crawler;
mod echo_protocol;
mod echo_selector;
mod echo_sockets;
mod echo_streams;
mod error_chain;
mod executors;
mod gathers;
mod got_result;
mod heartbeat;
mod line_database;
mod locked_race;
mod potatoes;
mod print_sum;
mod router;
mod shared_future;
mod shields;
mod submits;
mod subprocess;
mod task_states;
mod waits;
mod wraps;

/// Their names, and how they are run.
pub const ALL: &[(&str, fn())] = &[
    ("print_sum", print_sum::main),
    ("shared_future", shared_future::main),
    ("task_states", task_states::main),
    ("async_methods", async_methods::main),
    ("callbacks", || callbacks::main().expect("the network is this machine")),
    ("got_result", got_result::main),
    ("gathers", gathers::main),
    ("waits", waits::main),
    ("completed", completed::main),
    ("shields", shields::main),
    ("potatoes", potatoes::main),
    ("contexts", contexts::main),
    ("executors", executors::main),
    ("submits", submits::main),
    ("wraps", wraps::main),
    ("heartbeat", heartbeat::main),
    ("crawler", || crawler::main().expect("the network is this machine")),
    ("echo_streams", || echo_streams::main().expect("the network is this machine")),
    ("echo_protocol", || echo_protocol::main().expect("the network is this machine")),
    ("echo_selector", || echo_selector::main().expect("the network is this machine")),
    ("echo_sockets", || echo_sockets::main().expect("the network is this machine")),
    ("chat", || chat::main().expect("the network is this machine")),
    ("subprocess", || subprocess::main().expect("cat and a shell are there")),
    ("async_for", async_for::main),
    ("locked_race", locked_race::main),
    ("error_chain", error_chain::main),
    ("router", || router::main().expect("the network is this machine")),
    ("line_database", || line_database::main().expect("the network is this machine")),
    ("claims", || claims::main().expect("there are threads")),
];
