//! The cases: what is measured, and for which peers.

use crate::harness::without;

/// One benchmark case.
pub struct Case {
    pub area: &'static str,
    pub name: &'static str,
    /// The description of one operation, for the head of the table.
    pub operation: &'static str,
    pub unit: Unit,
    pub peers: &'static [&'static str],
    /// The client that drives a server case; `None` for cases that run inside the peer.
    pub load: Option<Load>,
}

impl Case {
    /// The peer that the ratios of this case refer to.
    pub fn reference(&self) -> &'static str {
        let others = [PYTHON, BLOCKING];
        others.into_iter().find(|other| self.peers.contains(other)).unwrap_or(REFERENCE)
    }
}

/// The quantity in the first column of a case.
#[derive(Clone, Copy, PartialEq)]
pub enum Unit {
    /// Nanoseconds of wall time per operation.
    Time,
    /// Bytes of resident memory per operation.
    Bytes,
}

/// The client of a server case, and its requests.
pub struct Load {
    /// Connections, or how many exist at once where they come and go.
    pub connections: usize,
    /// Bytes of one message; for HTTP the request is fixed and this is unused.
    pub message: usize,
    /// Messages in one write of the client; with more than one, the next write follows when all are
    /// back. In lockstep each is a datagram of its own.
    pub burst: usize,
    /// Bytes of the buffer through which a server reads, if it has one. Larger than a message: a
    /// read that fills it has to be followed by another, to see whether that was all.
    pub server_buffer: usize,
    /// Whether a task of the server burns CPU from time to time.
    pub hog: bool,
    /// CPU that a server burns for each message before it replies, in microseconds.
    pub work_us: u32,
    /// Whether the server listens on a Unix socket.
    pub unix: bool,
    pub pace: Pace,
}

impl Load {
    /// Writes of a connection that are under way at once.
    pub fn requests(&self) -> usize {
        if let Pace::Lockstep = self.pace { self.burst } else { 1 }
    }

    /// Messages in one of them.
    pub fn messages(&self) -> usize {
        self.burst / self.requests()
    }
}

/// When the client sends.
#[derive(Clone, Copy)]
pub enum Pace {
    /// Each connection sends again as soon as its reply is complete.
    Closed,
    /// All connections send as soon as all replies are complete, from the server's first core, so that
    /// all messages wait when the server gets to run.
    Lockstep,
    /// Poisson arrivals at this many messages a second over all connections, independent of the
    /// server; latency counts from the moment a message was due.
    Open(u32),
    /// One message per connection, then a new connection.
    Churn,
    /// One message per connection, which then stays open.
    Idle,
}

/// Areas in the order in which they run.
pub const AREAS: &[&str] = &[
    "blocking", "echo", "files", "http", "inside", "process", "proxy", "sched", "seeds", "sync",
    "tasks", "timers", "tls", "udp",
];

/// The peer that ratios refer to, where [`Case::reference`] names no other.
pub const REFERENCE: &str = "tokio";

/// Python's own library, where tokio has nothing comparable.
pub const PYTHON: &str = "python";

/// The same program by calls that block, where that is the comparison.
pub const BLOCKING: &str = "blocking";

/// Peers that exist with one worker only.
pub const SINGLE_THREADED: &[&str] = &["tokio-ct", "uvloop", "uring-poll", BARE];

/// Without a runtime: the case's own cost, a limit.
pub const BARE: &str = "bare";

/// For small messages: the last one is the limit of poll functions, which applies to such messages
/// only.
const ECHO_SMALL: &[&str] = &[
    "tokio",
    "tokio-ct",
    "async-io",
    "ringloop",
    "ringloop-lease",
    "ringloop-lease-whole",
    "ringloop-owned",
    "ringloop-epoll",
    "epoll",
    "uring",
    "uring-poll",
];
const ECHO: &[&str] = ECHO_SMALL.split_last().expect("a list of peers").1;
/// Servers with a task for each connection.
const TASKS: &[&str] = &["tokio", "ringloop", "ringloop-lease", "ringloop-owned", "ringloop-epoll"];
/// Servers on Unix sockets.
const UNIX: &[&str] = &["tokio", "tokio-ct", "ringloop", "ringloop-lease"];
/// The servers of a quick run: all of them would take too long.
pub const QUICK_SERVERS: &[&str] = &["tokio", "ringloop", "ringloop-lease", "uring"];

/// Servers of datagrams.
const DATAGRAMS: &[&str] = &["tokio", "tokio-ct", "ringloop", "ringloop-epoll", BARE];

/// The second one has buffers of 64 KiB for each connection.
const PROXIES: &[&str] = &["tokio", "tokio-64k", "ringloop", "ringloop-epoll"];
/// `bare` is plain calls on the thread, and a ring for direct reads.
const FILES: &[&str] = &["tokio", "tokio-ct", "ringloop", BARE];
const HTTP: &[&str] = &["tokio", "tokio-ct", "ringloop"];
const SCHED: &[&str] = &["tokio", "tokio-ct", "async-executor", "ringloop"];
const SCHED_AND_BARE: &[&str] = &["tokio", "tokio-ct", "async-executor", "ringloop", BARE];
const TIMERS: &[&str] = &["tokio", "tokio-ct", "async-io", "ringloop"];

const LOCKS: &[&str] =
    &["tokio", "tokio-ct", "async-lock", "ringloop", "ringloop-on-tokio", "tokio-on-ringloop"];
const QUEUES: &[&str] = &[
    "tokio",
    "tokio-ct",
    "async-channel",
    "kanal",
    "flume",
    "ringloop",
    "ringloop-channel",
    "ringloop-on-tokio",
    "tokio-on-ringloop",
    "kanal-on-ringloop",
];
const EVENTS: &[&str] = &[
    "tokio",
    "tokio-ct",
    "tokio-watch",
    "event-listener",
    "ringloop",
    "ringloop-on-tokio",
    "tokio-on-ringloop",
];

/// Every case, in the order in which they run.
pub const CASES: &[Case] = &[
    blocking("to_thread_1", "one empty job, one task that awaits each"),
    blocking("to_thread_16", "one empty job, 16 tasks that await each of their own"),
    blocking("to_thread_burst_10k", "one of 10 000 empty jobs handed over at once, 512 threads"),
    blocking("to_thread_burst_10k_64", "the same, 64 threads"),
    blocking("to_thread_burst_10k_4", "the same, 4 threads"),
    blocking("thread_pool_cpu", "one of 2000 jobs of about 20 us CPU, a thread for each core"),
    blocking("lookup_alone", "one look-up of localhost"),
    blocking("lookup_beside_full_lane", "the same, 8 tasks keep all 4 threads asleep"),
    Case { peers: ECHO_SMALL, ..echo("echo_64x64", STEADY) },
    Case { peers: ECHO_SMALL, ..echo("echo_1000x64", Load { connections: 1000, ..STEADY }) },
    Case {
        peers: ECHO_SMALL,
        ..echo("echo_64x4096", Load { message: 4096, server_buffer: 8192, ..STEADY })
    },
    Case {
        peers: &["tokio", "tokio-ct", "ringloop", "ringloop-lease", "ringloop-epoll"],
        ..echo("echo_100x1024", Load { connections: 100, message: 1024, ..STEADY })
    },
    echo("echo_64x65536", Load { message: 65_536, server_buffer: 65_536, ..STEADY }),
    Case { peers: ECHO_SMALL, ..echo("echo_pipelined", Load { burst: 16, ..STEADY }) },
    Case { peers: UNIX, ..echo("unix_64x64", Load { unix: true, ..STEADY }) },
    Case {
        peers: &["tokio", "ringloop-lease", "ringloop-streams"],
        ..echo("streams_64x64", STEADY)
    },
    Case {
        peers: &["tokio", "ringloop-lease", "ringloop-protocol"],
        ..echo("protocol_64x64", STEADY)
    },
    echo("echo_hog", Load { hog: true, pace: Pace::Open(10_000), ..STEADY }),
    echo("rate_30k", Load { connections: 256, pace: Pace::Open(30_000), ..STEADY }),
    echo("rate_60k", Load { connections: 256, pace: Pace::Open(60_000), ..STEADY }),
    echo("rate_120k", Load { connections: 256, pace: Pace::Open(120_000), ..STEADY }),
    Case {
        operation: "one message echoed after 20 us of CPU",
        peers: TASKS,
        ..echo("echo_work", Load { connections: 200, work_us: 20, ..STEADY })
    },
    Case {
        operation: "one connection: accepted, one message echoed, reset by the client",
        peers: ECHO_SMALL,
        ..echo("churn", Load { pace: Pace::Churn, ..STEADY })
    },
    Case {
        operation: "one connection that is idle after one message; cpu is of its beginning",
        unit: Unit::Bytes,
        ..echo("idle_memory", Load { connections: 10_000, pace: Pace::Idle, ..STEADY })
    },
    splice("splice_proxy", Load { message: 65_536, ..STEADY }),
    splice("splice_proxy_small", STEADY),
    send("send_file_64k", Load { message: 65_536, ..STEADY }),
    send("send_file_1m", Load { message: 1 << 20, connections: 16, ..STEADY }),
    proxy("copy_64k", Load { message: 65_536, ..STEADY }),
    proxy("copy_small", STEADY),
    files("read_4k_d1", "one read of 4 KiB in the page cache, at a random place"),
    files("read_4k_d1_tmpfs", "the same on tmpfs"),
    files("read_4k_d32", "the same on disk, by one of 32 tasks"),
    files("read_4k_d32_tmpfs", "the same on tmpfs"),
    files("read_4k_direct_d32", "one direct read of 4 KiB, by one of 32 tasks"),
    files("write_4k", "one write of 4 KiB into the page cache, at a random place"),
    files("write_4k_tmpfs", "the same on tmpfs"),
    Case {
        peers: &["tokio", "tokio-ct", "ringloop"],
        ..files("append_fsync", "one record of 256 bytes made durable, 16 tasks, one sync for all")
    },
    files("read_1m_seq", "one megabyte in the page cache, from the front to the end"),
    files("open_read_close_1k", "one of 10 000 files of 1 KiB, read as a whole"),
    files("open_read_close_1k_tmpfs", "the same on tmpfs"),
    files("stat_10k", "the metadata of one of 10 000 names"),
    files("walk", "one of the 10 000 names of a folder"),
    files("copy_256m", "a file of 256 MiB, from the page cache into it"),
    http("plaintext", "one GET answered with 13 bytes over keep-alive"),
    http("plaintext_timer", "the same with a limit on the time that a head may take"),
    Case {
        load: Some(Load { burst: 16, ..STEADY }),
        ..http("plaintext_pipelined", "the same, 16 requests at a time")
    },
    statics("static_64k", STEADY),
    statics("static_1m", Load { connections: 16, ..STEADY }),
    http("json_1k", "one GET answered with 1 KiB of JSON made for it over keep-alive"),
    Case { load: Some(STEADY), ..inside("inside_echo_64x64", "one message echoed") },
    inside("inside_yield", "one yield, 100 tasks yielding"),
    inside("inside_spawn_join", "one task of a batch of 100 spawned, then all joined"),
    inside("inside_lock_16", "one lock and unlock, 16 tasks, every 8th holder yields"),
    inside("inside_timer_arm_cancel", "one sleep of 1 s polled once and dropped"),
    sched("spawn_join", "one task of a batch of 100 spawned, then all joined"),
    sched("spawn_one", "one task spawned and awaited"),
    sched("spawn_detached", "one task of a batch of 100 spawned and detached"),
    sched("spawn_remote", "one task spawned from a plain thread, 1000 under way"),
    sched("foreign_latency", "one task spawned from a plain thread, a worker held 30 ms of 40"),
    sched("yield", "one yield, 100 tasks yielding"),
    sched("yield_one", "one yield of a task that is alone"),
    Case { peers: SCHED_AND_BARE, ..sched("pingpong", "one round trip between two tasks") },
    Case { peers: SCHED_AND_BARE, ..sched("chain", "one task of 1000 waking the next") },
    sched("fanout", "one of 2000 tasks of about 20 us CPU, spawned and joined"),
    sched("fanout_1us", "one of 2000 tasks of about 1 us CPU, spawned and joined"),
    Case {
        unit: Unit::Bytes,
        peers: &["tokio", "tokio-ct", "async-executor", "ringloop", "ringloop-named"],
        ..sched("idle_task_bytes", "one task that waits for ever")
    },
    Case {
        peers: &[BLOCKING, "callbacks", "futures", "ringloop", "ringloop-hyper"],
        ..seeds("crawler", "ten pages of 50 ms each, which link to each other, fetched")
    },
    seeds("sleeps_10k", "10 000 tasks that each sleep 1 s, spawned and joined"),
    lock("lock_1", "one lock and unlock without contention"),
    lock("lock_2", "one lock and unlock, two tasks, every 8th holder yields"),
    lock("lock_16", "one lock and unlock, 16 tasks, every 8th holder yields"),
    lock("semaphore_16x4", "one of 4 permits taken and given back, 16 tasks, every 4th yields"),
    queue("queue_1_1", "one number through a queue of 128"),
    queue("queue_8_1", "one number through a queue of 128, 8 producers"),
    queue("queue_8_8", "one number through a queue of 128, 8 producers and 8 consumers"),
    Case { peers: EVENTS, ..lock("event_10k", "one of 10 000 waiters woken by an event") },
    lock("barrier_64", "one arrival at a barrier of 64 tasks"),
    Case {
        peers: &["tokio", "tokio-ct", "futures-unordered", "ringloop"],
        ..tasks("task_group_10k", "one of 10 000 tasks of a group, spawned and joined")
    },
    tasks("gather_10k_futures", "one of 10 000 futures run together, each suspends once"),
    tasks("gather_10k_tasks", "one of 10 000 tasks spawned, and their values collected in order"),
    Case {
        peers: &["tokio", "tokio-ct", "tokio-random", "futures", "ringloop"],
        ..tasks("race_2_ready", "one race of a future that is ready and one that never is")
    },
    tasks("race_2_tasks", "one race of two tasks, the loser cancelled and joined"),
    tasks("cancel_tree_10k", "one of 10 000 tasks in a tree that is cancelled and joined"),
    tasks("timeout_at_ready", "one timeout at a known time around a future that is ready"),
    Case {
        peers: &["ringloop"],
        ..tasks("scope_enter", "one scope around a future that is ready")
    },
    Case { peers: &["ringloop"], ..tasks("catch_cancel_1", "one region that suspends once") },
    timers("timers_100k", "one of 100 000 concurrent tasks sleeping 1-20 ms"),
    timers("timer_arm_cancel", "one sleep of 1 s polled once and dropped"),
    timers("timeout_ready", "one timeout of 1 s around a future that is ready"),
    process("command_true", "one /bin/true started and waited for"),
    process("command_cat_1m", "1 MiB written to one /bin/cat and read back, at the same time"),
    Case {
        peers: &[PYTHON, "ringloop"],
        ..process(
            "process_pool_call",
            "one call of a pool of 1 process, which gives its number back",
        )
    },
    Case {
        peers: &["tokio", "tokio-ct", "ringloop", "tokio-rustls-on-ringloop"],
        ..tls("tls_64x16k", "one message of 16 KiB echoed by one of 64 sessions, both sides")
    },
    tls("tls_handshake", "one session made, one byte echoed, and closed, both sides"),
    udp("udp_echo_64", 64, 1),
    udp("udp_echo_connected", 1, 64),
    udp("udp_echo_1", 1, 1),
    udp("udp_fan_in", 160, 1),
    Case {
        area: "udp",
        name: "udp_bulk",
        operation: "one datagram of 1200 bytes sent and received, 64 at a time",
        unit: Unit::Time,
        peers: &["tokio", "tokio-ct", "quinn-udp", "ringloop", "ringloop-quic", "ringloop-single"],
        load: None,
    },
];

/// The common values of server cases.
const STEADY: Load = Load {
    connections: 64,
    message: 64,
    burst: 1,
    server_buffer: 4096,
    hog: false,
    work_us: 0,
    unix: false,
    pace: Pace::Closed,
};

const fn blocking(name: &'static str, operation: &'static str) -> Case {
    let peers = &["tokio", "tokio-ct", "unblock", "ringloop"];
    Case { area: "blocking", name, operation, unit: Unit::Time, peers, load: None }
}

const fn echo(name: &'static str, load: Load) -> Case {
    let operation = "one message echoed";
    Case { area: "echo", name, operation, unit: Unit::Time, peers: ECHO, load: Some(load) }
}

const fn files(name: &'static str, operation: &'static str) -> Case {
    Case { area: "files", name, operation, unit: Unit::Time, peers: FILES, load: None }
}

const fn tls(name: &'static str, operation: &'static str) -> Case {
    let peers = &["tokio", "tokio-ct", "ringloop"];
    Case { area: "tls", name, operation, unit: Unit::Time, peers, load: None }
}

const fn udp(name: &'static str, clients: usize, burst: usize) -> Case {
    let operation = "one datagram echoed";
    let load = Load { connections: clients, burst, pace: Pace::Lockstep, ..STEADY };
    Case { area: "udp", peers: DATAGRAMS, operation, ..echo(name, load) }
}

const fn http(name: &'static str, operation: &'static str) -> Case {
    Case { area: "http", name, operation, unit: Unit::Time, peers: HTTP, load: Some(STEADY) }
}

const fn statics(name: &'static str, load: Load) -> Case {
    let peers = &["tokio", "ringloop", "ringloop-protocol"];
    Case {
        peers,
        load: Some(load),
        ..http(name, "one GET answered with a file, which is opened for it")
    }
}

const fn proxy(name: &'static str, load: Load) -> Case {
    let operation = "one message passed on to an echo server, and its reply passed back";
    Case { area: "proxy", name, operation, unit: Unit::Time, peers: PROXIES, load: Some(load) }
}

const fn splice(name: &'static str, load: Load) -> Case {
    let peers = &["tokio", "tokio-64k", "ringloop", "ringloop-copies", "ringloop-epoll"];
    Case { area: "files", peers, ..proxy(name, load) }
}

const fn send(name: &'static str, load: Load) -> Case {
    let operation = "one request of 64 bytes answered with a file in the page cache";
    let peers = &["tokio", "tokio-256k", "ringloop", "ringloop-epoll"];
    Case { area: "files", name, operation, unit: Unit::Time, peers, load: Some(load) }
}

const fn inside(name: &'static str, operation: &'static str) -> Case {
    let peers = &["tokio", "ringloop", without::PEER];
    Case { area: "inside", name, operation, unit: Unit::Time, peers, load: None }
}

const fn sched(name: &'static str, operation: &'static str) -> Case {
    Case { area: "sched", name, operation, unit: Unit::Time, peers: SCHED, load: None }
}

const fn seeds(name: &'static str, operation: &'static str) -> Case {
    let peers = &["tokio", "tokio-ct", "ringloop"];
    Case { area: "seeds", name, operation, unit: Unit::Time, peers, load: None }
}

const fn timers(name: &'static str, operation: &'static str) -> Case {
    Case { area: "timers", name, operation, unit: Unit::Time, peers: TIMERS, load: None }
}

const fn tasks(name: &'static str, operation: &'static str) -> Case {
    let peers = &["tokio", "tokio-ct", "ringloop"];
    Case { area: "tasks", name, operation, unit: Unit::Time, peers, load: None }
}

const fn process(name: &'static str, operation: &'static str) -> Case {
    let peers = &["tokio", "tokio-ct", "ringloop", BARE];
    Case { area: "process", name, operation, unit: Unit::Time, peers, load: None }
}

const fn lock(name: &'static str, operation: &'static str) -> Case {
    Case { area: "sync", name, operation, unit: Unit::Time, peers: LOCKS, load: None }
}

const fn queue(name: &'static str, operation: &'static str) -> Case {
    Case { peers: QUEUES, ..lock(name, operation) }
}

/// The case with that name.
pub fn find(name: &str) -> Option<&'static Case> {
    CASES.iter().find(|case| case.name == name)
}
