//! A child that is forked while every thread of its parent is busy: locks that it inherits may be
//! held, for ever, by threads that do not exist in it.

use std::io::{PipeWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringloop::io::AsyncFd;
use ringloop::{Handle, spawn, to_thread};

use crate::backend_choice::echo_megabyte;
use crate::faults::fork;
use crate::harness::{Cfg, assert_quiet, deliberate, on_every, scaled};
use crate::net_stream::pair;
use crate::processes::isolated;

/// Uses every process-wide resource, again and again.
async fn take_all() {
    const CROWD: usize = 200;
    // More timers than a worker keeps for reuse.
    let mut sleeps: Vec<_> =
        (0..CROWD).map(|_| Box::pin(ringloop::time::sleep(Duration::from_secs(100)))).collect();
    std::future::poll_fn(|cx| {
        sleeps.iter_mut().for_each(|sleep| assert!(sleep.as_mut().poll(cx).is_pending()));
        std::task::Poll::Ready(())
    })
    .await;
    drop(sleeps);
    // Registered descriptors.
    for _ in 0..4 {
        let (mut near, _far) = pair().await;
        let mut buf = [0];
        let read = ringloop::time::timeout(Duration::from_micros(100), near.read(&mut buf));
        read.await.map(drop).expect_err("nothing to read");
        let (reader, _writer) = std::io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&reader, true).unwrap();
        let reader = AsyncFd::new(reader).unwrap();
        let ready = ringloop::time::timeout(Duration::from_micros(100), reader.readable());
        ready.await.map(drop).expect_err("nothing to read");
    }
    // Jobs, and reports.
    let jobs: Vec<_> = (0..8).map(|_| to_thread(|| ())).collect();
    drop(spawn(async { deliberate("for the hook") }));
    for job in jobs {
        job.await.unwrap();
    }
}

/// Threads that never stop: on one runtime, from outside, and with runtimes of their own.
fn busy<R>(cfg: &Cfg, handle: &Handle, f: impl FnOnce() -> R) -> R {
    struct Stop(Arc<AtomicBool>);
    impl Drop for Stop {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    let stop = Stop(Arc::default());
    let (theirs, own) = (stop.0.clone(), stop.0.clone());
    std::thread::scope(|scope| {
        let builder = || cfg.builder().workers(1).on_error(|_| ());
        scope.spawn(move || {
            while !theirs.load(Ordering::SeqCst) {
                handle.block_on(take_all()).unwrap();
            }
        });
        scope.spawn(move || {
            while !own.load(Ordering::SeqCst) {
                builder().run(take_all()).unwrap();
            }
        });
        let result = f();
        drop(stop);
        result
    })
}

#[test]
fn fork_of_a_busy_process_builds_its_own_runtime() {
    // Goal: K4 beside threads that hold every lock of the process for as much of their time as they
    // can; method: fork after fork, each builds and uses runtimes in both forms, and is killed if
    // it hangs.
    isolated(|| {
        on_every(|cfg| {
            let runtime = cfg.builder().on_error(|_| ()).build().unwrap();
            let own = |words: &mut PipeWriter| {
                let own = cfg.builder().build().unwrap();
                own.run(async {
                    echo_megabyte().await;
                    take_all().await;
                })
                .unwrap();
                drop(own);
                cfg.builder().on_error(|_| ()).run(take_all()).unwrap();
                writeln!(words, "done").unwrap();
            };
            busy(cfg, &runtime.handle(), || {
                for _ in 0..scaled(8) {
                    assert_eq!(fork(own).finish(), ["done"]);
                }
            });
            assert_quiet(&runtime.handle());
        });
    });
}
