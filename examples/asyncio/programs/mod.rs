//! One program in each file, with asyncio's beside it.

mod async_methods;
mod callbacks;
mod chat;
mod completed;
mod contexts;
mod crawler;
mod echo_protocol;
mod echo_selector;
mod echo_streams;
mod executors;
mod gathers;
mod got_result;
mod heartbeat;
mod potatoes;
mod print_sum;
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
    ("chat", || chat::main().expect("the network is this machine")),
    ("subprocess", || subprocess::main().expect("cat and a shell are there")),
];
