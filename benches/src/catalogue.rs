//! The cases: what is measured, against whom.

/// One benchmark case.
pub struct Case {
    pub area: &'static str,
    pub name: &'static str,
    /// What one operation is, for the head of the table.
    pub operation: &'static str,
    pub unit: Unit,
    pub peers: &'static [&'static str],
    /// The client that drives a server case; `None` for cases that run inside the peer.
    pub load: Option<Load>,
}

/// What the first column of a case counts.
#[derive(Clone, Copy, PartialEq)]
pub enum Unit {
    /// Nanoseconds of wall time per operation.
    Time,
    /// Bytes of resident memory per operation.
    Bytes,
}

/// The client of a server case.
pub struct Load {
    pub connections: usize,
    /// Bytes of one message; for HTTP the request is fixed and this is unused.
    pub message: usize,
    pub pace: Pace,
}

/// When the client sends.
#[derive(Clone, Copy)]
pub enum Pace {
    /// Each connection sends again as soon as its reply is complete.
    Closed,
    /// Poisson arrivals at this many messages a second over all connections, whatever the server
    /// does; latency counts from the moment a message was due.
    Open(u32),
}

/// Areas in the order in which they run.
pub const AREAS: &[&str] = &["echo", "http", "sched", "timers"];

/// The peer all ratios refer to.
pub const REFERENCE: &str = "tokio";

/// Peers that exist with one worker only.
pub const SINGLE_THREADED: &[&str] = &["tokio-ct", BARE];

/// No runtime at all: the case's own cost, a limit.
pub const BARE: &str = "bare";

const ECHO: &[&str] = &[
    "tokio",
    "tokio-ct",
    "async-io",
    "ringloop",
    "ringloop-lease",
    "ringloop-owned",
    "ringloop-epoll",
    "epoll",
    "uring",
];
const HTTP: &[&str] = &["tokio", "tokio-ct", "ringloop"];
const SCHED: &[&str] = &["tokio", "tokio-ct", "async-executor", "ringloop"];
const SCHED_AND_BARE: &[&str] = &["tokio", "tokio-ct", "async-executor", "ringloop", BARE];
const TIMERS: &[&str] = &["tokio", "tokio-ct", "async-io", "ringloop"];

/// Every case, in the order in which they run.
pub const CASES: &[Case] = &[
    echo("echo_64x64", 64, 64, Pace::Closed),
    echo("echo_1000x64", 1000, 64, Pace::Closed),
    echo("echo_64x4096", 64, 4096, Pace::Closed),
    echo("rate_30k", 256, 64, Pace::Open(30_000)),
    Case {
        area: "http",
        name: "plaintext",
        operation: "one GET answered with 13 bytes over keep-alive",
        unit: Unit::Time,
        peers: HTTP,
        load: Some(Load { connections: 64, message: 0, pace: Pace::Closed }),
    },
    sched("spawn_join", "one task of a batch of 100 spawned, then all joined"),
    sched("spawn_one", "one task spawned and awaited"),
    sched("spawn_detached", "one task of a batch of 100 spawned and detached"),
    sched("spawn_remote", "one task spawned from a plain thread, 1000 under way"),
    sched("yield", "one yield, 100 tasks yielding"),
    sched("yield_one", "one yield of a task that is alone"),
    Case { peers: SCHED_AND_BARE, ..sched("pingpong", "one round trip between two tasks") },
    Case { peers: SCHED_AND_BARE, ..sched("chain", "one task of 1000 waking the next") },
    sched("fanout", "one of 2000 tasks of about 20 us CPU, spawned and joined"),
    Case { unit: Unit::Bytes, ..sched("idle_task_bytes", "one task that waits for ever") },
    timers("timers_100k", "one of 100 000 concurrent tasks sleeping 1-20 ms"),
    timers("timer_arm_cancel", "one sleep of 1 s polled once and dropped"),
    timers("timeout_ready", "one timeout of 1 s around a future that is ready"),
];

const fn echo(name: &'static str, connections: usize, message: usize, pace: Pace) -> Case {
    Case {
        area: "echo",
        name,
        operation: "one message echoed",
        unit: Unit::Time,
        peers: ECHO,
        load: Some(Load { connections, message, pace }),
    }
}

const fn sched(name: &'static str, operation: &'static str) -> Case {
    Case { area: "sched", name, operation, unit: Unit::Time, peers: SCHED, load: None }
}

const fn timers(name: &'static str, operation: &'static str) -> Case {
    Case { area: "timers", name, operation, unit: Unit::Time, peers: TIMERS, load: None }
}

/// The case of that name.
pub fn find(name: &str) -> Option<&'static Case> {
    CASES.iter().find(|case| case.name == name)
}
