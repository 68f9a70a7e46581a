//! Limits at the start of a runtime, and rings and descriptors that are left after it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;

use futures_util::future::join;
use ringloop::io::{AsyncFd, AsyncReadExt, AsyncWriteExt};
use ringloop::net::{TcpListener, TcpStream};
use ringloop::{Backend, BackendInfo, Builder, Handle, signal, spawn, to_thread};
use rustix::process::{Resource, getrlimit};

use crate::backend_choice::{FORMS, Reports, build_error, serve};
use crate::faults::{
    as_plain_user, let_locked_memory_come_back, limit, ring_mappings, ring_of, uring_here,
    user_is_alone,
};
use crate::harness::{loud, on_every, scaled, wait_until};
use crate::measure::{open_fds, resident_bytes, thread_count};
use crate::net_stream::pair;
use crate::processes::isolated;
use crate::tools::GiveUpAfter;

/// A report about locked memory names the limit, the ring's size, and the way out.
#[track_caller]
fn names_locked_memory(text: &str, limit: &[&str]) {
    assert!(limit.iter().any(|number| text.contains(number)), "no number of {limit:?} in {text}");
    assert!(text.contains("ulimit -l") || text.contains("RLIMIT_MEMLOCK"), "{text}");
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|word| !word.is_empty());
    assert!(numbers.count() >= 2, "the amount that was wanted, and the limit: {text}");
}

/// Lets this user lock only `bytes`. False, after a printed note, where the limit does not apply to
/// rings.
fn lock_at_most(bytes: u64) -> bool {
    if !uring_here() {
        return false;
    }
    limit(Resource::Memlock, bytes);
    if ring_of(bytes as usize / 64 + 1).is_ok() {
        loud("NOTE skipped: this kernel does not count rings as locked memory");
        return false;
    }
    let_locked_memory_come_back();
    true
}

#[test]
fn little_locked_memory_means_smaller_rings_or_epoll() {
    // Goal: K5; method: eight workers of a user that may lock 64 KiB, which is two rings of 256
    // entries.
    let body = || {
        if !lock_at_most(64 << 10) {
            return;
        }
        let reports = Reports::default();
        let make = || Builder::new().workers(8).on_error(reports.hook());
        for serve in FORMS {
            let info = serve(make());
            let reason = reports.only();
            names_locked_memory(&reason, &["65536", "64 KiB", "64 kB"]);
            assert_eq!(info.fallback, Some(reason));
            if info.backend == Backend::Uring {
                let bytes = 8 * (info.ring_entries * 64 + info.completion_entries * 16);
                assert!(bytes <= 64 << 10, "more than there is: {info}");
            }
        }
    };
    as_plain_user(|_| {}, body);
}

#[test]
fn rings_become_smaller_before_there_are_none() {
    // Goal: rings are sized by the memory that may be locked (S9): four of 64 entries fit into 64
    // KiB, but not while memory of larger rings that failed is still counted, which lasts some 50
    // ms in the kernel.
    let body = || {
        if !user_is_alone() || !lock_at_most(64 << 10) {
            return;
        }
        for _ in 0..3 {
            let reports = Reports::default();
            let info = serve(Builder::new().workers(4).on_error(reports.hook()));
            assert_eq!(info.backend, Backend::Uring, "{info}");
            assert!(info.ring_entries < 256, "{info}");
            names_locked_memory(&reports.only(), &["65536", "64 KiB", "64 kB"]);
            let_locked_memory_come_back();
        }
    };
    as_plain_user(|_| {}, body);
}

#[test]
fn locked_memory_that_comes_back_late_fails_no_build() {
    // Goal: with `auto` a runtime always starts: between the check of the free memory and its use,
    // other rings (also closed ones, whose memory is counted for a while) may take it; method:
    // runtimes in quick succession with limits that are enough for few.
    let body = || {
        if !lock_at_most(1 << 20) {
            return;
        }
        for (workers, kib) in [(16, 1024), (4, 512), (1, 64)] {
            limit(Resource::Memlock, kib << 10);
            for i in 0..scaled(8) {
                let make = || Builder::new().workers(workers).on_error(|_| {});
                let built = make().build();
                built.unwrap_or_else(|e| panic!("build {i}, {workers} workers, {kib} KiB: {e}"));
                if let Err(error) = make().backend(Backend::Uring).build() {
                    let text = error.to_string();
                    assert!(text.contains("ulimit -l"), "{text}");
                    assert!(!text.contains("ulimit -n"), "{text}");
                }
            }
        }
    };
    as_plain_user(|_| {}, body);
}

#[test]
fn no_locked_memory_means_epoll() {
    // Goal: K5, the other extreme; method: a user that may lock nothing.
    let body = || {
        if !lock_at_most(0) {
            return;
        }
        let reports = Reports::default();
        let make = || Builder::new().workers(2).on_error(reports.hook());
        for serve in FORMS {
            let info = serve(make());
            assert_eq!(info.backend, Backend::Epoll);
            let reason = reports.only();
            names_locked_memory(&reason, &["0 bytes", "0 KiB", "0 kB"]);
            assert_eq!(info.fallback, Some(reason));
        }
        let text = build_error(|| make().backend(Backend::Uring));
        names_locked_memory(&text, &["0 bytes", "0 KiB", "0 kB"]);
    };
    as_plain_user(|_| {}, body);
}

/// Opens files for the free numbers below the highest descriptor: a limit counts numbers.
fn fill_gaps(highest: u64) -> Vec<fs::File> {
    let null = || fs::File::open("/dev/null").unwrap();
    std::iter::repeat_with(null).take_while(|file| (file.as_raw_fd() as u64) < highest).collect()
}

/// Builds with more and more descriptors allowed until that works; returns the number of failures.
fn build_with_few_descriptors(make: impl Fn() -> Builder) -> usize {
    let (fds, threads, rings) = (open_fds(), thread_count(), ring_mappings());
    let plenty = getrlimit(Resource::Nofile).current.unwrap();
    let highest = *fds.keys().max().unwrap() as u64;
    let _gaps = fill_gaps(highest);
    let fds = open_fds();
    for spare in 0.. {
        limit(Resource::Nofile, highest + 1 + spare);
        let built = make().build().map(drop);
        let ran = make().run(async {});
        limit(Resource::Nofile, plenty);
        let works = built.is_ok() && ran.is_ok();
        let (built, ran) = (built.err(), ran.err());
        for error in [built.as_ref(), ran.as_ref().and_then(|ran| ran.as_build_error())] {
            let Some(error) = error else { continue };
            assert!(error.to_string().contains("ulimit -n"), "{spare} to spare: {error}");
            assert!(error.io_error().is_some(), "{error:?}");
        }
        assert_eq!(open_fds(), fds, "{spare} to spare: left open");
        assert_eq!(ring_mappings(), rings, "{spare} to spare: left mapped");
        wait_until(|| thread_count() <= threads, || format!("{} threads", thread_count()));
        if works {
            return spare as usize;
        }
    }
    unreachable!("some number of descriptors is enough")
}

#[test]
fn too_few_descriptors_are_named_and_nothing_leaks() {
    // Goal: descriptors that run out anywhere in the start; method: allow one more at a time until
    // both forms start.
    isolated(|| {
        on_every(|cfg| {
            let refusals = build_with_few_descriptors(|| cfg.builder());
            assert!(refusals > cfg.workers, "{refusals} refusals: the limit had no effect");
            drop(cfg.runtime());
        });
        let reports = Reports::default();
        build_with_few_descriptors(|| Builder::new().workers(4).on_error(reports.hook()));
    });
}

/// The descriptors that a new program would inherit, each with its name.
fn inheritable(fds: &BTreeMap<i32, String>) -> Vec<String> {
    let inherited = |fd: &i32| {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        u32::from_str_radix(flags.trim(), 8).unwrap() & libc::O_CLOEXEC as u32 == 0
    };
    let all = fds.iter().filter(|(fd, _)| inherited(fd));
    all.map(|(fd, target)| format!("{fd} -> {target}")).collect()
}

/// The descriptors that were opened since `before`, with one of each kind in use, and that a new
/// program would inherit.
async fn inheritable_since(before: &BTreeMap<i32, String>) -> Vec<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ((mut near, mut far), mut shut) = (pair().await, Box::pin(listener.accept()));
    let (pipe, _writer) = io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&pipe, true).unwrap();
    let (pipe, mut interrupt) = (AsyncFd::new(pipe).unwrap(), Box::pin(signal::ctrl_c()));
    to_thread(|| ()).await.unwrap();
    let mut buf = [0; 1];
    assert!(GiveUpAfter::new(2, pipe.readable()).await.is_none());
    assert!(GiveUpAfter::new(2, &mut interrupt).await.is_none());
    assert!(GiveUpAfter::new(2, &mut shut).await.is_none());
    assert!(GiveUpAfter::new(2, near.read(&mut buf)).await.is_none());
    near.write_all(b"a").await.unwrap();
    near.flush().await.unwrap();
    far.read_exact(&mut buf).await.unwrap();
    let accepted = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connect = TcpStream::connect(accepted.local_addr().unwrap());
    let (_client, _server) = join(connect, accepted.accept()).await;
    let new: BTreeMap<_, _> =
        open_fds().into_iter().filter(|(fd, _)| !before.contains_key(fd)).collect();
    assert!(new.len() > Handle::current().workers() + 6, "not even the sockets: {new:?}");
    inheritable(&new)
}

#[test]
fn no_descriptor_of_a_runtime_is_inherited() {
    // Goal: S9, all are close-on-exec; method: the flags of all descriptors that are new since the
    // runtime was built, while sockets, pipes, signals and blocking jobs are in use.
    isolated(|| {
        on_every(|cfg| {
            let before = open_fds();
            let runtime = cfg.runtime();
            assert_eq!(runtime.must_run(inheritable_since(&before)), [""; 0]);
        });
    });
}

/// Uses a new runtime a little, and drops it in the middle of operations.
fn come_and_go(builder: Builder, one_shot: bool) -> BackendInfo {
    let main = async {
        let (mut near, mut far) = pair().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        spawn(async move { listener.accept().await.map(drop) }).detach();
        near.write_all(b"ping").await.unwrap();
        near.flush().await.unwrap();
        let mut buf = [0; 4];
        far.read_exact(&mut buf).await.unwrap();
        spawn(async move { far.read(&mut buf).await.map(drop) }).detach();
        spawn(async move { near.read(&mut [0]).await.map(drop) }).detach();
        ringloop::yield_now().await;
        ringloop::backend()
    };
    if one_shot { builder.run(main).unwrap() } else { builder.build().unwrap().run(main).unwrap() }
}

#[test]
fn rings_that_come_and_go_leave_nothing() {
    // Goal: a ring's descriptors, maps and kernel threads end with it; method: 200 runtimes one
    // after the other, each dropped with an accept and two reads in flight.
    isolated(|| {
        if !uring_here() {
            return;
        }
        for defer in [true, false] {
            let turns = |n: usize| {
                for i in 0..n {
                    let builder = Builder::new().backend(Backend::Uring).defer_taskrun(defer);
                    let info = come_and_go(builder.workers(1 + i % 3), i % 2 == 1);
                    assert_eq!(info.backend, Backend::Uring);
                    assert!(defer || !info.defer_taskrun, "{info}");
                }
            };
            turns(20);
            let (fds, threads, resident) = (open_fds(), thread_count(), resident_bytes());
            turns(scaled(200));
            assert_eq!(open_fds(), fds);
            assert_eq!(ring_mappings(), 0);
            wait_until(|| thread_count() <= threads, || format!("{} threads", thread_count()));
            let grown = resident_bytes().saturating_sub(resident);
            assert!(grown < 8 << 20, "resident memory grew by {grown} bytes");
        }
    });
}

#[test]
fn rings_that_come_and_go_give_locked_memory_back() {
    // Goal: a user with the usual limit may build runtime after runtime, although the kernel frees
    // rings late; method: 200 one after the other, of which a twentieth would fill 8 MiB.
    let body = || {
        let allowed = getrlimit(Resource::Memlock).current.unwrap_or(u64::MAX);
        if allowed < 8 << 20 {
            loud(&format!("NOTE skipped: only {allowed} bytes may be locked here"));
            return;
        }
        limit(Resource::Memlock, 8 << 20);
        if !user_is_alone() || !uring_here() {
            return;
        }
        let reports = Reports::default();
        for i in 0..scaled(200) {
            let builder = Builder::new().workers(2).on_error(reports.hook());
            let info = come_and_go(builder, i % 2 == 1);
            assert_eq!(info.backend, Backend::Uring, "runtime {i}: {info}");
            assert_eq!(reports.take(), [""; 0], "runtime {i}");
        }
    };
    as_plain_user(|_| {}, body);
}
