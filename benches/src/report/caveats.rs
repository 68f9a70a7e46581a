//! What each case does not show: the sentence under its table.

/// By the name of the case. The files of the cases explain more.
const CAVEATS: &[(&str, &str)] = &[
    (
        "to_thread_1",
        "jobs that wait. With one worker its core is the pool's as well; with two, most of it is the \
         kernel's way of waking a core, twice.",
    ),
    ("to_thread_16", "jobs that wait, and tasks that wait for anything else."),
    ("to_thread_burst_10k", "jobs that wait: then more threads are worth their price."),
    ("to_thread_burst_10k_64", "jobs that wait."),
    ("to_thread_burst_10k_4", "jobs that wait."),
    ("thread_pool_cpu", "unequal work; the workers' cores are the pool's as well."),
    ("lookup_alone", "a name server: the system's resolver reads a file."),
    (
        "lookup_beside_full_lane",
        "jobs that compute, which would take the look-up's core. Each job sleeps 2 ms, and as many jobs wait \
         as run; compare the 99th percentile, also with that of `lookup_alone`.",
    ),
    ("read_4k_d1", "files that are not in memory. `bare` is pread(2) on the thread."),
    ("read_4k_d1_tmpfs", "disks: the file system is in memory."),
    ("read_4k_d32", "files that are not in memory: no read waits."),
    ("read_4k_d32_tmpfs", "disks: the file system is in memory."),
    (
        "read_4k_direct_d32",
        "other disks than this one. `bare` is a ring that waits for 32 reads at a time; tokio reads by \
         `spawn_blocking`, since its own files have no aligned memory.",
    ),
    (
        "write_4k",
        "the disk: the system writes it there later. tokio's write is waited for by a flush.",
    ),
    ("write_4k_tmpfs", "disks: the file system is in memory."),
    ("append_fsync", "other disks than this one, which is most of the time; compare CPU."),
    ("read_1m_seq", "files that are not in memory; nearly all of it is the copy."),
    ("open_read_close_1k", "names and files that are not in memory."),
    ("open_read_close_1k_tmpfs", "disks: the file system is in memory."),
    ("stat_10k", "names that are not in memory."),
    ("walk", "trees, and metadata beside the names."),
    ("copy_256m", "file systems that share blocks, where a copy costs nothing."),
    ("echo_64x64", "a real network, and what happens beyond 64 connections; most of it is TCP."),
    ("echo_1000x64", "connections that are mostly idle: all 1000 have a message under way."),
    (
        "echo_100x1024",
        "what uvloop's own figure has: that is of another machine. Compare with `--with uvloop,go` on this one.",
    ),
    ("echo_64x4096", "messages larger than one buffer of the server."),
    (
        "echo_64x65536",
        "transfers in one direction: each message comes back. Every server reads through 64 KiB; \
         the client compares one reply in 16 and counts the bytes of the others.",
    ),
    (
        "echo_pipelined",
        "parsing: 16 messages come in one segment and go back in one write, which is an exchange \
         of 1 KiB to the kernel.",
    ),
    ("unix_64x64", "descriptors that come along, and datagrams."),
    ("streams_64x64", "lines: bytes are taken as they come, and copied once, into the send."),
    ("protocol_64x64", "a protocol that parses, and writes that wait for room."),
    (
        "echo_hog",
        "more than one hog, or a pool for it. The CPU of the hog (work alone) is in the CPU column; \
         with one worker, and in bare loops, there is no other thread to take over.",
    ),
    (
        "rate_30k",
        "the most that a server can do: it sleeps most of the time, and CPU is what counts.",
    ),
    ("rate_60k", "the most that a server can do; two workers may share it."),
    (
        "echo_work",
        "work of different lengths. The client has a thread of its own, which takes a part of a core.",
    ),
    ("rate_120k", "the most that a server can do; beyond it, latency is only a queue's length."),
    (
        "churn",
        "handshakes over a real network, TLS, orderly ends (the client resets). The client, \
         which pays more for a connection than the server, is the limit: compare CPU.",
    ),
    (
        "idle_memory",
        "memory in the kernel, which is several times as much and not quite the same for all. Of \
         tokio's and of the poll functions', 4096 bytes are the buffer of the task that waits.",
    ),
    (
        "copy_64k",
        "transfers in one direction, and idle connections. The echo server shares the client's core, \
         which is the limit: compare CPU. `tokio-64k` has its own buffers of 64 KiB for each connection.",
    ),
    (
        "copy_small",
        "many idle connections, whose buffers cost memory. The echo server shares the client's core, \
         which is the limit: compare CPU.",
    ),
    (
        "splice_proxy",
        "streams in one direction, a real network, and idle connections. The echo server shares the client's core, \
         which is the limit: compare CPU. `ringloop-copies` has a size with which it never moves bytes by splice(2).",
    ),
    (
        "splice_proxy_small",
        "idle connections, whose buffers cost memory: nothing is large enough to be moved, so it shows what the \
         choice costs. The echo server shares the client's core: compare CPU.",
    ),
    (
        "send_file_64k",
        "opening the file, a protocol, and a disk: the file is on the disk of the folder for temporary files, written in \
         pieces of 64 KiB, and in the page cache.",
    ),
    ("send_file_1m", "what `send_file_64k` does not; 16 connections."),
    ("plaintext", "routing, bodies, TLS; hyper and TCP are most of it, and the same for all."),
    (
        "plaintext_timer",
        "what times out: the timer is armed and cancelled for each request. It is hyper as people \
         deploy it; ringloop's answers go through `gather_writes`, as in its example.",
    ),
    (
        "plaintext_pipelined",
        "browsers, which do not pipeline. Behind a proxy or a load generator it is real. With tokio \
         each answer is a send; hyper's own `pipeline_flush` is on for neither, since an answer then \
         waits for the next request to be complete.",
    ),
    (
        "static_64k",
        "a disk, ranges, and caching of open files, which servers may do: the file is in the page cache, and opened for each \
         request.",
    ),
    ("static_1m", "what `static_64k` does not; 16 connections."),
    (
        "json_1k",
        "the runtime alone: serialising the body is the same for all, and in every figure.",
    ),
    (
        "inside_echo_64x64",
        "what a snapshot costs while it is taken. `ringloop-no-record` is the same program without the record of \
         tasks; compare the two with each other.",
    ),
    ("inside_yield", "tasks whose records have left the cache; compare with `ringloop-no-record`."),
    (
        "inside_spawn_join",
        "many live tasks, which take 64 bytes more each; compare with `ringloop-no-record`.",
    ),
    ("inside_lock_16", "locks with names; compare with `ringloop-no-record`."),
    ("inside_timer_arm_cancel", "timers that fire; compare with `ringloop-no-record`."),
    ("spawn_join", "futures of more than a few words, and tasks that wait."),
    ("spawn_one", "several tasks at a time; this one is a turn of the scheduler for each."),
    ("spawn_detached", "what it costs to learn of each task's end."),
    (
        "spawn_remote",
        "threads that contend, and the delay of a hand-over to a runtime that sleeps.",
    ),
    (
        "foreign_latency",
        "what a hand-over costs while no worker is held; with one worker all runtimes wait for the \
         end of what holds it.",
    ),
    ("yield", "tasks whose state has left the cache by their next turn."),
    ("yield_one", "any other task that is ready; how often the kernel is asked meanwhile differs."),
    (
        "pingpong",
        "a runtime's own channel: the same one is in every figure, `bare` shows it alone.",
    ),
    (
        "chain",
        "wakes in bursts: one task is ready at a time, and a second worker can only disturb.",
    ),
    ("fanout", "unequal or memory-bound work; the work alone stands beside the figures."),
    ("fanout_1us", "unequal or memory-bound work; the work alone stands beside the figures."),
    ("idle_task_bytes", "what the futures of real tasks hold, and fragmentation after churn."),
    (
        "timers_100k",
        "the timer alone, and precision on an idle machine; 200 ns are the sleep itself.",
    ),
    ("task_group_10k", "tasks that suspend."),
    ("gather_10k_futures", "futures of different types, which the macros take."),
    ("gather_10k_tasks", "tasks that suspend."),
    ("race_2_ready", "races that wait."),
    ("race_2_tasks", "losers with cleanup."),
    (
        "cancel_tree_10k",
        "tasks with cleanup; tokio's sets do not join the next level, so its root counts their ends.",
    ),
    ("timeout_at_ready", "timeouts around operations that wait."),
    ("scope_enter", "scopes that are cancelled."),
    ("catch_cancel_1", "deep trees of regions."),
    ("timer_arm_cancel", "timers dropped on another worker, and a wheel full of others."),
    ("timeout_ready", "timeouts around operations that wait."),
    (
        "command_true",
        "many children at a time, and a large process that starts them. CPU is that of the children, too, \
         which have most of it; `bare` is std, which blocks its thread.",
    ),
    (
        "command_cat_1m",
        "a child that computes. CPU is that of the child, too; `bare` is std with a second thread.",
    ),
    (
        "process_pool_call",
        "large arguments, and several processes. CPU is that of both processes. Python's thread waits for each \
         result itself, without an event loop.",
    ),
    ("lock_1", "waiting of any kind: it is the fast path alone."),
    ("lock_2", "how a turn is chosen among many; two tasks alternate."),
    ("lock_16", "short waits only: fair locks hand over in turn, so each waits for all others."),
    ("semaphore_16x4", "acquiring several permits at once."),
    (
        "crawler",
        "a real network. The pages come after 50 ms from a server in the same process, whose CPU is in the figure; \
         `blocking` waits for one after the other.",
    ),
    ("sleeps_10k", "timers that differ: all end together. The least that it can take is 1 s."),
    ("queue_1_1", "values larger than a word, and a queue that is mostly empty or mostly full."),
    ("queue_8_1", "values larger than a word; order between the producers is not looked at."),
    (
        "queue_8_8",
        "the same thing for all: tokio's channel has one receiver, which eight tasks share behind \
         a lock.",
    ),
    ("event_10k", "the delay of one waiter: the time is that until all have run, divided by them."),
    ("barrier_64", "waiting for a slow party: all arrive as soon as they can."),
    (
        "tls_64x16k",
        "small records, and idle sessions. Both sides run in the peer; most of it is the cipher and TCP.",
    ),
    (
        "tls_handshake",
        "resumption. Both sides run in the peer, and two thirds are the client's check of the certificate.",
    ),
    (
        "udp_echo_64",
        "a server that waits for each datagram: all 64 are there when it runs. Most of it is the kernel's UDP, of \
         which `bare` is the limit. The client is on the server's core: compare CPU.",
    ),
    (
        "udp_echo_connected",
        "several clients. Without addresses and routes to look up, the kernel's part is smaller. Compare CPU.",
    ),
    (
        "udp_echo_1",
        "load: the server waits for each datagram, on a core that the client shares, so that no sleeping core has \
         to be woken. Compare CPU.",
    ),
    (
        "udp_fan_in",
        "how evenly the kernel spreads clients over sockets; with one worker there is one socket.",
    ),
    (
        "udp_bulk",
        "waiting: a batch is there when its receiving begins; and a real interface. `quinn-udp` (on tokio) and \
         `ringloop-quic` ask for marks and addresses as well; `tokio` and `ringloop-single` make a call for each \
         datagram.",
    ),
];

/// The sentence of a case.
pub fn of(case: &str) -> &'static str {
    CAVEATS.iter().find(|(name, _)| *name == case).map_or("", |(_, sentence)| sentence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::CASES;

    #[test]
    fn every_case_says_what_it_does_not_show() {
        let silent: Vec<&str> =
            CASES.iter().map(|case| case.name).filter(|name| of(name).is_empty()).collect();
        assert!(silent.is_empty(), "no sentence in report/caveats.rs: {silent:?}");
    }
}
