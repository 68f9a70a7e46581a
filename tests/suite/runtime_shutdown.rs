//! Shutdown: leftovers, deadlines, and values that live longer than their runtime.

use std::cell::RefCell;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ringloop::net::TcpListener;
use ringloop::{ErrorEvent, Runtime, Task, spawn, spawn_local, to_thread, yield_now};

use crate::harness::{
    Cfg, ErrorLog, Kind, deliberate, on_every, scaled, wait_until, wait_until_async,
};
use crate::measure::{open_fds, thread_count};
use crate::processes::isolated;
use crate::tools::{AddOnDrop, Count, Flag, Slot};

/// Leaves one task of each kind pending; each holds one guard of `dropped`.
async fn leave_all_kinds(dropped: &Count) -> usize {
    let started = Count::new();
    let begin = || (dropped.on_drop(), started.clone());
    let (guard, count) = begin();
    drop(spawn(held(guard, count, pending::<()>())));
    let (guard, count) = begin();
    drop(spawn(held(guard, count, ringloop::time::sleep(Duration::MAX))));
    let (guard, count) = begin();
    drop(spawn_local(held(guard, count, pending::<()>())));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (guard, count) = begin();
    drop(spawn(held(guard, count, async move { listener.accept().await.map(drop) })));
    let (mut near, far) = crate::net_stream::pair().await;
    let (guard, count) = begin();
    drop(spawn(held(guard, count, async move {
        let _far = far;
        near.read(&mut [0; 8]).await.map(drop)
    })));
    let (guard, count) = begin();
    drop(spawn(held(guard, count, async {
        loop {
            yield_now().await;
        }
    })));
    let inner = spawn(pending::<()>());
    let (guard, count) = begin();
    drop(spawn(held(guard, count, async move { drop(inner.join().await) })));
    wait_until_async(|| started.get() == 7, || "all kinds start".into()).await;
    7
}

async fn held<T>(guard: AddOnDrop, started: Count, future: impl Future<Output = T>) {
    let _guard = guard;
    started.add();
    future.await;
}

#[test]
fn t14_leftovers_are_dropped_exactly_once_when_run_returns() {
    // Goal: T14 without cleanup; method: tasks of all kinds left pending by main, counted after.
    isolated(|| {
        on_every(|cfg| {
            let (fds, log) = (open_fds(), ErrorLog::default());
            for _ in 0..scaled(20) {
                let dropped = Count::new();
                let left = cfg.builder_with(&log).run(leave_all_kinds(&dropped)).unwrap();
                assert_eq!(dropped.get(), left);
                let dropped = Count::new();
                let runtime = cfg.builder_with(&log).build().unwrap();
                let left = runtime.run(leave_all_kinds(&dropped)).unwrap();
                drop(runtime);
                assert_eq!(dropped.get(), left);
            }
            log.assert_silent();
            assert_eq!(open_fds(), fds);
        });
    });
}

#[test]
fn t14_errors_of_leftovers_are_reported() {
    // Goal: an error during the cancellation at the end is reported; method: destructors that
    // panic, and others beside them that do not.
    struct Fails;
    impl Drop for Fails {
        fn drop(&mut self) {
            deliberate("in a leftover's destructor");
        }
    }
    on_every(|cfg| {
        let (log, dropped) = (ErrorLog::default(), Count::new());
        let leave = async || {
            for _ in 0..3 {
                let (fails, guard) = (Fails, dropped.on_drop());
                spawn(async {
                    let _guards = (guard, fails);
                    pending::<()>().await;
                })
                .detach();
            }
            yield_now().await;
        };
        cfg.builder_with(&log).run(leave()).unwrap();
        assert_eq!((dropped.get(), log.count(Kind::Panic)), (3, 3));
        assert!(log.take(Kind::Panic).iter().all(|text| text.contains("in a leftover")));
        log.assert_silent();
    });
}

#[test]
fn handles_kept_past_the_end_give_cancelled() {
    // Goal: a handle outlives its runtime; method: await and query handles of leftovers, finished
    // tasks and jobs afterwards, in another runtime and without one.
    on_every(|cfg| {
        let runtime = cfg.runtime().into_inner();
        let handle = runtime.handle();
        let finished = runtime.spawn(async { 3 });
        wait_until(|| finished.is_finished(), || "it finishes".into());
        let leftover: Task<()> = runtime.spawn(pending());
        drop(runtime);
        assert!(leftover.is_finished());
        assert!(!leftover.cancel());
        let late = handle.spawn(async { 1 });
        assert!(late.is_finished());
        let error = handle.block_on(async { 1 }).unwrap_err();
        assert!(error.is_closed(), "{error}");
        assert_eq!(handle.metrics().live_tasks, 0);
        cfg.once(async {
            assert!(leftover.await.unwrap_err().is_cancelled());
            assert!(late.await.unwrap_err().is_cancelled());
            assert_eq!(finished.await.unwrap(), 3);
        });
    });
}

#[test]
fn tasks_spawned_by_destructors_at_shutdown_end_too() {
    // Goal: spawns are refused once the shutdown has begun; method: destructors of leftovers spawn
    // further tasks, whose captures must be dropped as well.
    struct Respawns(u32, Count);
    impl Drop for Respawns {
        fn drop(&mut self) {
            self.1.add();
            if self.0 > 0 {
                let next = Respawns(self.0 - 1, self.1.clone());
                let Ok(handle) = ringloop::Handle::try_current() else { return };
                drop(handle.spawn(async move {
                    let _next = next;
                    pending::<()>().await
                }));
            }
        }
    }
    on_every(|cfg| {
        let (dropped, started) = (Count::new(), Flag::new());
        let (first, set) = (Respawns(5, dropped.clone()), started.clone());
        let main = async move {
            drop(spawn(async move {
                let _first = first;
                set.set();
                pending::<()>().await
            }));
            started.wait().await;
        };
        cfg.builder().run(main).unwrap();
        assert_eq!(dropped.get(), 6, "refused or cancelled, each is dropped");
    });
}

#[test]
fn block_on_interrupted_by_shutdown_drops_its_future_first() {
    // Goal: a borrow cannot outlive block_on; method: plain threads block on futures that never end
    // and borrow from their stacks, while the runtime shuts down.
    on_every(|cfg| {
        let runtime = cfg.runtime().into_inner();
        let started = Count::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let (handle, started) = (runtime.handle(), started.clone());
                scope.spawn(move || {
                    let (mut local, dropped) = (0, Count::new());
                    let guard = dropped.on_drop();
                    let result = handle.block_on(async {
                        let _guard = guard;
                        started.add();
                        loop {
                            local += 1;
                            ringloop::time::sleep(Duration::from_micros(10)).await;
                        }
                    });
                    let error = result.map(|(): ()| ()).unwrap_err();
                    assert!(error.is_cancelled() || error.is_closed(), "{error}");
                    assert_eq!(dropped.get(), 1);
                    assert!(local > 0);
                });
            }
            wait_until(|| started.get() == 4, || "all block".into());
            drop(runtime);
        });
    });
}

/// A poll that returns when it is released, or after 30 s.
async fn stuck(release: Arc<AtomicBool>, started: Flag) {
    started.set();
    hold_until(&release);
}

/// Returns when it is released, or after 30 s.
fn hold_until(release: &AtomicBool) {
    let since = Instant::now();
    while !release.load(Ordering::SeqCst) && since.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn shutdown_with_a_stuck_poll_returns_in_time_and_names_it() {
    // Goal: test 47, stuck poll; method: a poll held until after shutdown has returned, so that a
    // shutdown that waited for it could not return before; the report and the hook name the task,
    // and the abandoned thread ends by itself later.
    isolated(|| {
        on_every(|cfg| {
            let (log, threads) = (ErrorLog::default(), thread_count());
            let runtime = cfg.builder_with(&log).build().unwrap();
            let (release, started) = (Arc::new(AtomicBool::new(false)), Flag::new());
            let others: Vec<_> = (0..10).map(|_| runtime.spawn(pending::<()>())).collect();
            let task = runtime.spawn(stuck(release.clone(), started.clone()));
            wait_until(|| started.is_set(), || "the stuck poll begins".into());
            let (id, since) = (task.id().to_string(), Instant::now());
            let report = runtime.shutdown(Duration::from_millis(200));
            let took = since.elapsed();
            assert!(!release.load(Ordering::SeqCst) && took < Duration::from_secs(20), "{took:?}");
            let texts = log.take(Kind::Shutdown);
            assert_eq!(texts.len(), 1, "{texts:?}");
            assert!(texts[0].contains(&id), "{} names task {id}", texts[0]);
            assert!(format!("{report:?}").contains(&id), "{report:?} names task {id}");
            release.store(true, Ordering::SeqCst);
            wait_until(|| thread_count() <= threads, || "the abandoned worker ends".into());
            drop((others, task));
        });
    });
}

#[test]
fn shutdown_beside_a_stuck_poll_keeps_its_deadline() {
    // Goal: a poll that does not end is not waited for beyond the deadline, by `Runtime::shutdown`
    // or `run`; method: as above. A machine that is busy may be late, but not each time.
    const DEADLINE: Duration = Duration::from_millis(200);
    const TRIES: usize = 10;
    fn beside_a_stuck_poll(cfg: &Cfg, one_shot: bool) -> Duration {
        let (release, started) = (Arc::new(AtomicBool::new(false)), Flag::new());
        let builder = cfg.builder_with(&ErrorLog::default()).shutdown_deadline(DEADLINE);
        let poll = stuck(release.clone(), started.clone());
        let since;
        if one_shot {
            since = builder
                .run(async {
                    spawn(poll).detach();
                    while !started.is_set() {
                        std::thread::yield_now();
                    }
                    Instant::now()
                })
                .unwrap();
        } else {
            let runtime = builder.build().unwrap();
            runtime.spawn(poll).detach();
            wait_until(|| started.is_set(), || "the stuck poll begins".into());
            since = Instant::now();
            assert!(!runtime.shutdown(DEADLINE).is_clean());
        }
        let took = since.elapsed();
        release.store(true, Ordering::SeqCst);
        took
    }
    isolated(|| {
        on_every(|cfg| {
            for one_shot in [false, true] {
                if one_shot && cfg.single() {
                    continue;
                }
                let in_time = |took| took < DEADLINE + Duration::from_millis(50);
                let mut tries = (0..TRIES).map(|_| beside_a_stuck_poll(cfg, one_shot));
                assert!(tries.any(in_time), "one shot: {one_shot}");
            }
        });
    });
}

#[test]
fn shutdown_with_a_stuck_job_returns_in_time_and_names_it() {
    // Goal: test 47, stuck blocking job; method: as above, with a job held by a channel.
    isolated(|| {
        on_every(|cfg| {
            let (log, threads) = (ErrorLog::default(), thread_count());
            let runtime = cfg.builder_with(&log).build().unwrap();
            let (release, hold) = mpsc::channel::<()>();
            let started = Flag::new();
            let set = started.clone();
            let job = runtime.run(async {
                [to_thread(move || {
                    set.set();
                    let _ = hold.recv_timeout(Duration::from_secs(30));
                })]
            });
            wait_until(|| started.is_set(), || "the job runs".into());
            let since = Instant::now();
            let report = runtime.shutdown(Duration::from_millis(200));
            let took = since.elapsed();
            assert!(took < Duration::from_secs(20), "{took:?}");
            let texts = log.take(Kind::Shutdown);
            assert_eq!(texts.len(), 1, "{texts:?} {report:?}");
            let words = texts[0].to_lowercase();
            assert!(words.contains("blocking") || words.contains("job"), "{words}");
            release.send(()).unwrap();
            wait_until(|| thread_count() <= threads, || "the abandoned thread ends".into());
            drop(job);
        });
    });
}

/// Sets a flag when its drop begins, and holds up its thread until it is released.
struct StuckDrop(Flag, mpsc::Receiver<()>);

impl StuckDrop {
    /// Also returns the flag, and the sender whose drop or message releases it.
    fn new() -> (StuckDrop, Flag, mpsc::Sender<()>) {
        let (release, hold) = mpsc::channel();
        let begun = Flag::new();
        (StuckDrop(begun.clone(), hold), begun, release)
    }
}

impl Drop for StuckDrop {
    fn drop(&mut self) {
        self.0.set();
        let _ = self.1.recv_timeout(Duration::from_secs(30));
    }
}

/// Shuts down while something is held up; the report and the hook must name it.
fn names_what_is_stuck(runtime: Runtime, log: &ErrorLog, name: &str, release: mpsc::Sender<()>) {
    let since = Instant::now();
    let report = runtime.shutdown(Duration::from_millis(200));
    let took = since.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    let texts = log.take(Kind::Shutdown);
    assert_eq!(texts.len(), 1, "{texts:?} {report:?}");
    assert!(texts[0].contains(name), "{} names {name}", texts[0]);
    assert!(format!("{report:?}").contains(name), "{report:?} names {name}");
    drop(release);
}

#[test]
fn shutdown_with_a_stuck_destructor_of_a_job_names_it() {
    // Goal: the time of a pool thread before and after its closure belongs to the job as well;
    // method: a result that is not taken, and then the closure of a job that was cancelled in the
    // queue, are held up in their drops.
    isolated(|| {
        on_every(|cfg| {
            for cancelled in [false, true] {
                let log = ErrorLog::default();
                let runtime = cfg.builder_with(&log).blocking_threads(1).build().unwrap();
                let (stuck, begun, release) = StuckDrop::new();
                let id = runtime.run(async {
                    let (go, wait) = mpsc::channel::<()>();
                    let first = to_thread(move || wait.recv_timeout(Duration::from_secs(20)));
                    let job = to_thread(move || stuck);
                    let id = job.id().to_string();
                    if cancelled {
                        job.cancel();
                    }
                    drop((job, go, first));
                    id
                });
                wait_until(|| begun.is_set(), || "it is being dropped".into());
                names_what_is_stuck(runtime, &log, &id.unwrap(), release);
            }
        });
    });
}

#[test]
fn shutdown_with_a_stuck_thread_local_returns_in_time_and_names_the_thread() {
    // Goal: the destructors of thread-locals run foreign code at the end of a thread; method: a
    // task leaves a value with its worker's thread, or a job with one of the pool, that is held up
    // as the thread drops it.
    thread_local! {
        static LEFT: RefCell<Option<StuckDrop>> = const { RefCell::new(None) };
    }
    isolated(|| {
        on_every(|cfg| {
            for in_pool in [false, true] {
                let (log, threads) = (ErrorLog::default(), thread_count());
                let runtime = cfg.builder_with(&log).build().unwrap();
                let (stuck, _, release) = StuckDrop::new();
                let leave = move || LEFT.set(Some(stuck));
                let leave =
                    async move { if in_pool { to_thread(leave).await.unwrap() } else { leave() } };
                runtime.run(leave).unwrap();
                names_what_is_stuck(runtime, &log, "thread", release);
                wait_until(|| thread_count() <= threads, || "the abandoned thread ends".into());
            }
        });
    });
}

#[test]
fn error_hook_that_blocks_does_not_hold_the_end() {
    // Goal: the deadline holds where the hook does not return; method: it blocks in each call until
    // `run` or the shutdown has returned: first in the report of a poll that holds a worker until
    // then, and in any later call.
    isolated(|| {
        on_every(|cfg| {
            for one_shot in [true, false] {
                let threads = thread_count();
                let (release, heard) = (Arc::new(AtomicBool::new(false)), Flag::new());
                let (hold, set) = (release.clone(), heard.clone());
                let hook = move |_: &ErrorEvent| {
                    set.set();
                    hold_until(&hold);
                };
                let builder =
                    cfg.builder().on_error(hook).shutdown_deadline(Duration::from_millis(200));
                let hog = {
                    let heard = heard.clone();
                    async move {
                        // More events wait behind it.
                        drop(spawn(async {
                            loop {
                                yield_now().await
                            }
                        }));
                        wait_until(|| heard.is_set(), || "the hook is called".into());
                    }
                };
                let since = Instant::now();
                if one_shot {
                    builder.run(hog).unwrap();
                } else {
                    let runtime = builder.build().unwrap();
                    runtime.run(hog).unwrap();
                    let report = runtime.shutdown(Duration::from_millis(200));
                    assert!(format!("{report:?}").contains("hook"), "{report:?}");
                }
                let took = since.elapsed();
                assert!(took < Duration::from_secs(20), "{took:?}");
                release.store(true, Ordering::SeqCst);
                wait_until(|| thread_count() <= threads, || "the abandoned thread ends".into());
            }
        });
    });
}

#[test]
fn shutdown_on_a_thread_of_the_runtime_does_not_claim_the_end() {
    // Goal: the report lists only what has ended; method: a job of the runtime shuts it down, which
    // goes on without it.
    isolated(|| {
        on_every(|cfg| {
            let (log, threads) = (ErrorLog::default(), thread_count());
            let runtime = cfg.builder_with(&log).build().unwrap();
            let (give, (tell, told)) = (Slot::new(), mpsc::channel());
            let take = give.clone();
            let go = to_thread_of(&runtime, move || {
                let runtime: Runtime = take.take().expect("it was given");
                tell.send(runtime.shutdown(Duration::from_secs(20))).unwrap();
            });
            give.put(runtime);
            go.send(()).unwrap();
            let report = told.recv_timeout(Duration::from_secs(20)).unwrap();
            assert!(!report.is_clean(), "{report:?}");
            wait_until(|| thread_count() <= threads, || "all threads end".into());
            log.assert_silent();
        });
    });
}

/// Lets a thread of the runtime's pool run `f`, once a message is sent.
fn to_thread_of(runtime: &Runtime, f: impl FnOnce() + Send + 'static) -> mpsc::Sender<()> {
    let (go, wait) = mpsc::channel();
    let start = async {
        drop(to_thread(move || {
            wait.recv_timeout(Duration::from_secs(20)).unwrap();
            f();
        }));
    };
    runtime.run(start).unwrap();
    go
}

#[test]
fn one_shot_with_a_stuck_worker_returns_in_time() {
    // Goal: the same deadline for `run`; method: main returns while a task holds another worker.
    isolated(|| {
        on_every(|cfg| {
            if cfg.single() {
                return;
            }
            let (log, threads) = (ErrorLog::default(), thread_count());
            let (release, started) = (Arc::new(AtomicBool::new(false)), Flag::new());
            let builder = cfg.builder_with(&log).shutdown_deadline(Duration::from_millis(200));
            let since = Instant::now();
            let id = builder
                .run(async {
                    let task = spawn(stuck(release.clone(), started.clone()));
                    // Main keeps its own worker busy, so that another one must take the task.
                    while !started.is_set() {
                        std::thread::yield_now();
                    }
                    task.id().to_string()
                })
                .unwrap();
            assert!(since.elapsed() < Duration::from_secs(20));
            let texts = log.take(Kind::Shutdown);
            assert!(texts.len() == 1 && texts[0].contains(&id), "{texts:?} name task {id}");
            release.store(true, Ordering::SeqCst);
            wait_until(|| thread_count() <= threads, || "the abandoned worker ends".into());
        });
    });
}

#[test]
fn shutdown_waits_for_jobs_that_end_in_time() {
    // Goal: no job that keeps the deadline is cut short; method: jobs released by another thread
    // after the shutdown has begun.
    on_every(|cfg| {
        let runtime = cfg.runtime().into_inner();
        let (release, hold) = mpsc::channel::<()>();
        let (started, ended) = (Flag::new(), Count::new());
        let (set, count) = (started.clone(), ended.clone());
        let job = runtime.run(async {
            [to_thread(move || {
                set.set();
                hold.recv().unwrap();
                count.add();
            })]
        });
        wait_until(|| started.is_set(), || "the job runs".into());
        let releaser = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            release.send(()).unwrap();
        });
        let _ = runtime.shutdown(Duration::from_secs(30));
        assert_eq!(ended.get(), 1);
        releaser.join().unwrap();
        drop(job);
    });
}

#[test]
fn shutdown_of_an_idle_runtime_is_prompt() {
    // Goal: the doorbell at shutdown; method: 200 idle runtimes, each parked, with a deadline of a
    // minute, which a lost ring would use up.
    fn one(cfg: &Cfg) {
        let runtime = cfg.runtime().into_inner();
        runtime.run(async { yield_now().await }).unwrap();
        let _ = runtime.shutdown(Duration::from_secs(100));
    }
    on_every(|cfg| {
        for _ in 0..scaled(200) {
            one(cfg);
        }
    });
}

#[test]
fn sockets_and_timers_outlive_their_runtime() {
    // Goal: S12; method: polled sockets and timers are moved out of the runtime, which ends; then
    // they are dropped, and no descriptor stays open.
    isolated(|| {
        on_every(|cfg| {
            let fds = open_fds();
            for _ in 0..scaled(20) {
                let runtime = cfg.runtime().into_inner();
                let kept = runtime.run(async {
                    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                    let (near, far) = crate::net_stream::pair().await;
                    let mut sleep = Box::pin(ringloop::time::sleep(Duration::from_secs(1000)));
                    let mut accept = Box::pin(async move { listener.accept().await });
                    let mut read = Box::pin(async move {
                        let mut near = near;
                        near.read(&mut [0; 4]).await
                    });
                    std::future::poll_fn(|cx| {
                        assert!(sleep.as_mut().poll(cx).is_pending());
                        assert!(accept.as_mut().poll(cx).is_pending());
                        assert!(read.as_mut().poll(cx).is_pending());
                        std::task::Poll::Ready(())
                    })
                    .await;
                    (sleep, accept, read, far)
                });
                drop(runtime);
                drop(kept.unwrap());
            }
            assert_eq!(open_fds(), fds);
        });
    });
}

#[test]
fn late_spawns_during_shutdown_are_refused_and_dropped() {
    // Goal: no task is lost between the check for shutdown and the registry; method: plain threads
    // spawn without pause while the runtime is dropped; each future is dropped once, each handle
    // ends.
    on_every(|cfg| {
        for _ in 0..scaled(20) {
            let runtime = cfg.runtime();
            let log = runtime.log().clone();
            let runtime = runtime.into_inner();
            let (dropped, made, stop) = (Count::new(), Count::new(), AtomicBool::new(false));
            let last = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..3)
                    .map(|_| {
                        let handle = runtime.handle();
                        let (dropped, made, stop) = (&dropped, &made, &stop);
                        scope.spawn(move || {
                            let mut handles = Vec::new();
                            while !stop.load(Ordering::Relaxed) && made.get() < 5000 {
                                let guard = dropped.on_drop();
                                made.add();
                                handles.push(handle.spawn(async move {
                                    let _guard = guard;
                                    yield_now().await;
                                }));
                            }
                            handles
                        })
                    })
                    .collect();
                wait_until(|| made.get() > 50, || "spawning goes on".into());
                // A deadline past this test's, which so catches a thread that misses the end.
                let _ = runtime.shutdown(Duration::from_secs(1000));
                stop.store(true, Ordering::Relaxed);
                threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
            });
            wait_until(
                || dropped.get() == made.get(),
                || format!("{} of {} dropped", dropped.get(), made.get()),
            );
            assert!(last.iter().all(Task::is_finished));
            log.assert_silent();
        }
    });
}

#[test]
fn block_on_returns_only_after_its_stuck_future_is_gone() {
    // Goal: a borrow is safe even if shutdown gives up; method: a future that borrows from its
    // thread's stack is stuck in a poll while the runtime's deadline passes; block_on goes on waiting
    // until the poll has returned and the future was dropped.
    isolated(|| {
        on_every(|cfg| {
            let log = ErrorLog::default();
            let runtime = cfg.builder_with(&log).build().unwrap();
            let (release, started) = (Arc::new(AtomicBool::new(false)), Flag::new());
            std::thread::scope(|scope| {
                let (handle, held, set) = (runtime.handle(), release.clone(), started.clone());
                let blocked = scope.spawn(move || {
                    let (mut local, dropped) = (0, Count::new());
                    let guard = dropped.on_drop();
                    let result = handle.block_on(async {
                        let _guard = guard;
                        stuck(held.clone(), set).await;
                        local += 1;
                        pending::<()>().await;
                    });
                    assert!(held.load(Ordering::SeqCst), "returned while its poll went on");
                    assert_eq!((dropped.get(), local), (1, 1));
                    assert!(result.is_err());
                });
                wait_until(|| started.is_set(), || "the stuck poll begins".into());
                let report = runtime.shutdown(Duration::from_millis(100));
                assert!(!report.is_clean());
                assert!(!blocked.is_finished());
                release.store(true, Ordering::SeqCst);
                blocked.join().unwrap();
            });
            assert_eq!(log.take(Kind::Shutdown).len(), 1);
        });
    });
}
