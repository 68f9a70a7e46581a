//! Runtimes and handles: run, block_on, several one after the other and at once.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use ringloop::testing::wait_all_blocked;
use ringloop::{Handle, Runtime, spawn, yield_now};

use crate::harness::{deliberate, loud, must_panic, on_every, scaled, settle, wait_until};
use crate::measure::{open_fds, resident_bytes, thread_count};
use crate::processes::isolated;
use crate::tools::{Count, Flag, Slot};

#[test]
fn run_returns_what_main_returns() {
    // Goal: the free function, the builder's run, a runtime's run; method: values that own memory.
    assert_eq!(ringloop::run(async { vec![1, 2, 3] }), [1, 2, 3]);
    let runtime = Runtime::new().unwrap();
    assert_eq!(runtime.run(async { "text".to_owned() }).unwrap(), "text");
    drop(runtime);
    on_every(|cfg| {
        assert_eq!(cfg.builder().run(async { Box::new(4) }).map(|v| *v).unwrap(), 4);
        assert_eq!(cfg.runtime().run(async { Box::new(5) }).map(|v| *v).unwrap(), 5);
    });
}

#[test]
fn several_mains_run_in_turn() {
    // Goal: a runtime may run many mains, and a thread may run many one-shots; tasks left between
    // mains go on.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let (release, ended) = (Flag::new(), Count::new());
        let (wait, count) = (release.clone(), ended.clone());
        runtime.must_run(async move {
            drop(spawn(async move {
                wait.wait().await;
                count.add();
            }));
        });
        for i in 0..scaled(100) {
            let main = async move {
                yield_now().await;
                spawn(async move { i }).await.unwrap()
            };
            assert_eq!(runtime.must_run(main), i);
        }
        release.set();
        wait_until(|| ended.get() == 1, || "the first main's task ends".into());
        for i in 0..10 {
            assert_eq!(cfg.once(async move { spawn(async move { i }).await.unwrap() }), i);
        }
    });
}

#[test]
fn mains_run_at_once_from_many_threads() {
    // Goal: run and block_on from plain threads at the same time, each borrowing from its stack.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let runtime = &runtime;
                scope.spawn(move || {
                    let handle = runtime.handle();
                    for i in 0..scaled(100) {
                        let mut seen = Vec::new();
                        let main = async {
                            seen.push(spawn(async move { i }).await.unwrap());
                            yield_now().await;
                            seen.push(thread);
                        };
                        if i % 2 == 0 {
                            runtime.run(main).unwrap();
                        } else {
                            handle.block_on(main).unwrap();
                        }
                        assert_eq!(seen, [i, thread]);
                    }
                });
            }
        });
    });
}

#[test]
fn panic_of_main_reaches_the_caller() {
    // Goal: free run resumes the panic; Runtime::run and block_on return it as the error; the
    // runtime lives on and borrowed captures are dropped before the call returns.
    let text = must_panic(|| ringloop::run(async { deliberate("in main") }));
    assert_eq!(text, "in main");
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let dropped = Count::new();
        let guard = dropped.on_drop();
        let error = runtime
            .run(async move {
                let _guard = guard;
                yield_now().await;
                deliberate("in run")
            })
            .map(|(): ()| ())
            .unwrap_err();
        assert!(error.is_panicked() && error.to_string().contains("in run"), "{error}");
        assert_eq!(dropped.get(), 1);
        assert_eq!(crate::harness::panic_text(&*error.into_panic()), "in run");
        let error = runtime.handle().block_on(async { deliberate("in block_on") });
        assert!(error.map(|(): ()| ()).unwrap_err().is_panicked());
        assert_eq!(runtime.must_run(async { 1 }), 1);
    });
}

#[test]
fn handle_describes_its_runtime() {
    // Goal: current, try_current, workers, backend, metrics agree inside and outside.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let workers = cfg.workers;
        runtime.must_run(async move {
            let here = Handle::try_current().unwrap();
            assert_eq!(here.workers(), workers);
            assert_eq!(here.metrics().workers, workers);
            assert_eq!(
                format!("{:?}", here.backend()),
                format!("{:?}", Handle::current().backend())
            );
            assert!(here.metrics().live_tasks >= 1);
        });
        assert_eq!(runtime.handle().workers(), workers);
        assert_eq!(runtime.metrics().workers, workers);
    });
}

#[test]
fn metrics_count_what_happened() {
    // Goal: metrics sanity; method: spawn, poll, sleep and read the counters.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let before = runtime.metrics();
        runtime.must_run(async {
            let release = Flag::new();
            let tasks: Vec<_> = (0..100)
                .map(|_| {
                    let wait = release.wait();
                    spawn(wait)
                })
                .collect();
            let sleeper = spawn(ringloop::time::sleep(Duration::from_secs(100)));
            let metrics = || Handle::current().metrics();
            wait_all_blocked().await;
            assert_eq!((release.waiters(), metrics().armed_timers), (100, 1));
            assert!(metrics().live_tasks >= 101);
            sleeper.cancel();
            let _ = sleeper.await;
            release.set();
            for task in tasks {
                task.await.unwrap();
            }
            settle(metrics().live_tasks.min(1)).await;
        });
        assert!(runtime.metrics().spawned >= before.spawned + 101);
        // Polls are counted at the end of a batch.
        let polls = || runtime.metrics().polls;
        wait_until(|| polls() >= before.polls + 200, || format!("{:?}", runtime.metrics()));
        crate::harness::assert_quiet(&runtime.handle());
    });
}

#[test]
fn runtime_dropped_by_its_own_task_is_refused_or_deferred() {
    // Goal: test 42; method: a task drops the last Arc of its own runtime; all of it still ends, as
    // the drops of its futures and the number of threads show.
    isolated(|| {
        let threads = thread_count();
        on_every(|cfg| {
            let (started, dropped) = (Count::new(), Count::new());
            let runtime = Arc::new(cfg.runtime().into_inner());
            for _ in 0..10 {
                let (started, guard) = (started.clone(), dropped.on_drop());
                drop(runtime.spawn(async move {
                    let _guard = guard;
                    started.add();
                    pending::<()>().await
                }));
            }
            wait_until(|| started.get() == 10, || "tasks start".into());
            let (give, take) = (Slot::new(), Flag::new());
            let (theirs, wait, guard) = (give.clone(), take.clone(), dropped.on_drop());
            let last = runtime.spawn(async move {
                let _guard = guard;
                wait.wait().await;
                drop::<Option<Arc<Runtime>>>(theirs.take());
                yield_now().await;
            });
            give.put(runtime);
            take.set();
            wait_until(|| dropped.get() == 11, || format!("{} dropped", dropped.get()));
            wait_until(|| last.is_finished(), || "the task that dropped it ends".into());
            // One thread more: this case's watchdog.
            wait_until(|| thread_count() <= threads + 1, || "threads end".into());
        });
    });
}

#[test]
fn runtime_dropped_inside_block_on_does_not_hang() {
    // Goal: test 42; method: the future given to block_on owns the runtime and drops it.
    on_every(|cfg| {
        let dropped = Count::new();
        let runtime = cfg.runtime().into_inner();
        let handle = runtime.handle();
        let guard = dropped.on_drop();
        let result = handle.block_on(async move {
            let _guard = guard;
            drop(runtime);
            yield_now().await;
            5
        });
        match result {
            Ok(value) => assert_eq!(value, 5),
            Err(error) => assert!(error.is_cancelled() || error.is_closed(), "{error}"),
        }
        assert_eq!(dropped.get(), 1, "the future is dropped before block_on returns");
    });
}

#[test]
fn runtime_dropped_inside_another_runtime_ends() {
    // Goal: test 42, with another runtime; method: a task of B drops runtime A, whose tasks are
    // pending.
    on_every(|cfg| {
        let dropped = Count::new();
        let (a, b) = (cfg.runtime().into_inner(), cfg.runtime());
        let guard = dropped.on_drop();
        drop(a.spawn(async move {
            let _guard = guard;
            pending::<()>().await
        }));
        b.must_run(async move {
            drop(a);
        });
        wait_until(|| dropped.get() == 1, || "A's task is dropped".into());
    });
}

#[test]
fn block_on_inside_destructor_on_a_worker_is_refused() {
    // Goal: test 43, third case; method: a future's destructor calls block_on and run.
    struct BlocksOnDrop(Handle, Slot<bool>);
    impl Drop for BlocksOnDrop {
        fn drop(&mut self) {
            let refused = self.0.block_on(async { 1 }).is_err();
            self.1.put(refused);
        }
    }
    on_every(|cfg| {
        let runtime = cfg.runtime();
        for cancelled in [false, true] {
            let told = Slot::new();
            let guard = BlocksOnDrop(runtime.handle(), told.clone());
            let started = Flag::new();
            let set = started.clone();
            let task = runtime.spawn(async move {
                let _guard = guard;
                set.set();
                if cancelled {
                    pending::<()>().await;
                }
            });
            wait_until(|| started.is_set(), || "it starts".into());
            task.cancel();
            let _ = runtime.must_run(task);
            assert_eq!(told.take(), Some(true));
        }
    });
}

#[test]
fn runtimes_created_and_dropped_leave_nothing() {
    // Goal: test 44; method: 1000 runtimes one after the other and 64 at once, each used a little;
    // the numbers of descriptors and threads return exactly, resident memory does not grow after
    // the first hundred.
    isolated(|| {
        on_every(|cfg| {
            let use_one = |runtime: &Runtime| {
                let value = runtime.run(async {
                    ringloop::time::sleep(Duration::from_micros(10)).await;
                    spawn(async { 1 }).await.unwrap()
                });
                assert_eq!(value.unwrap(), 1);
            };
            let in_turn = |n: usize| {
                for i in 0..n {
                    if i % 2 == 0 {
                        use_one(&cfg.builder().build().unwrap());
                    } else {
                        cfg.builder().run(async { spawn(async {}).await.unwrap() }).unwrap();
                    }
                }
            };
            let at_once = || {
                let all: Vec<_> = (0..64).map(|_| cfg.builder().build().unwrap()).collect();
                all.iter().for_each(use_one);
            };
            at_once();
            in_turn(100);
            let (fds, threads, resident) = (open_fds(), thread_count(), resident_bytes());
            in_turn(scaled(1000));
            at_once();
            in_turn(100);
            assert_eq!(open_fds(), fds);
            wait_until(|| thread_count() <= threads, || format!("{} threads", thread_count()));
            let grown = resident_bytes().saturating_sub(resident);
            assert!(grown < 8 << 20, "resident memory grew by {grown} bytes");
        });
    });
}

#[test]
fn one_shot_runs_on_many_threads_at_once() {
    // Goal: one-shots are independent; method: eight threads, each with its own run, with shared
    // wakers.
    on_every(|cfg| {
        let flags: Vec<Flag> = (0..8).map(|_| Flag::new()).collect();
        std::thread::scope(|scope| {
            for i in 0..8 {
                let flags = &flags;
                scope.spawn(move || {
                    cfg.once(async {
                        // The threads form a ring: each sets its neighbour's flag and waits for its
                        // own.
                        flags[(i + 1) % 8].set();
                        flags[i].wait().await;
                        let mine = flags[i].clone();
                        spawn(async move { mine.wait().await }).await.unwrap();
                    });
                });
            }
        });
    });
}

#[test]
fn default_workers_are_the_cores_available() {
    // Goal: the builder's default; method: compare with the standard library's number.
    let cores = std::thread::available_parallelism().unwrap().get();
    let runtime = Runtime::new().unwrap();
    assert_eq!(runtime.handle().workers(), cores);
    if cores == 1 {
        loud("NOTE one core only: nothing here runs in parallel");
    }
}

#[test]
fn runtime_inside_a_blocking_job_works() {
    // Goal: a thread of the pool is a plain thread: it may run a runtime of its own.
    on_every(|cfg| {
        let workers = cfg.workers;
        cfg.everywhere(|| async move {
            let job = ringloop::to_thread(move || {
                let inner = ringloop::Builder::new().workers(workers);
                inner.run(async { spawn(async { 5 }).await.unwrap() }).unwrap()
            });
            assert_eq!(job.await.unwrap(), 5);
        });
    });
}

#[test]
fn descriptors_are_not_inherited_by_children() {
    // Goal: S9, every descriptor is CLOEXEC from the start; method: with a runtime, sockets and a
    // signal listener open, a program that lists its descriptors sees none that was not there
    // before.
    isolated(|| {
        let list = || {
            let output = std::process::Command::new("ls").arg("/proc/self/fd").output().unwrap();
            String::from_utf8(output.stdout).unwrap().lines().count()
        };
        let before = list();
        on_every(|cfg| {
            cfg.once(async {
                let _pair = crate::net_stream::pair().await;
                let _heard = ringloop::signal::ctrl_c();
                ringloop::to_thread(|| ()).await.unwrap();
                let seen = ringloop::to_thread(list).await.unwrap();
                assert_eq!(seen, before);
            });
        });
    });
}
