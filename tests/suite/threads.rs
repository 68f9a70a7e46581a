//! `to_thread`: blocking jobs in the pool.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::Duration;

use ringloop::sync::{Event, oneshot};
use ringloop::{Handle, spawn, to_thread};

use crate::faults::refuse_threads_here;
use crate::harness::{ErrorLog, Kind, on_every, scaled, wait_until, wait_until_async};
use crate::measure::thread_count;
use crate::processes::isolated;
use crate::tools::{AddOnDrop, Count};

#[test]
fn job_runs_on_another_thread_and_gives_its_value() {
    // Goal: the simple case; method: compare thread ids.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let here = std::thread::current().id();
            let there = to_thread(|| std::thread::current().id()).await.unwrap();
            assert_ne!(here, there);
        });
    });
}

#[test]
fn jobs_that_need_each_other_run_side_by_side() {
    // Goal: the pool grows with its queue; method: 16 jobs meet at a barrier.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let barrier = Arc::new(Barrier::new(16));
            let jobs: Vec<_> = (0..16)
                .map(|_| {
                    let barrier = barrier.clone();
                    to_thread(move || {
                        barrier.wait();
                    })
                })
                .collect();
            for job in jobs {
                job.await.unwrap();
            }
        });
    });
}

#[test]
fn jobs_beyond_the_limit_wait_their_turn() {
    // Goal: the limit `blocking_threads` holds; method: 500 jobs on 3 threads, the most at once is
    // counted.
    on_every(|cfg| {
        let runtime = cfg.builder().blocking_threads(3).build().unwrap();
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let threads = Arc::new(Mutex::new(HashSet::new()));
        runtime
            .run(async {
                let jobs: Vec<_> = (0..500)
                    .map(|i| {
                        let (now, most, threads) = (now.clone(), most.clone(), threads.clone());
                        to_thread(move || {
                            let running = now.fetch_add(1, Ordering::SeqCst) + 1;
                            most.fetch_max(running, Ordering::SeqCst);
                            threads.lock().unwrap().insert(std::thread::current().id());
                            std::thread::yield_now();
                            now.fetch_sub(1, Ordering::SeqCst);
                            i
                        })
                    })
                    .collect();
                for (i, job) in jobs.into_iter().enumerate() {
                    assert_eq!(job.await.unwrap(), i);
                }
            })
            .unwrap();
        assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
        crate::harness::assert_quiet(&runtime.handle());
    });
}

#[test]
fn job_cancelled_in_the_queue_never_runs() {
    // Goal: the second half of T70; method: one thread, held by a first job; the queued second job
    // is cancelled, then the first is released.
    on_every(|cfg| {
        let runtime = cfg.builder().blocking_threads(1).build().unwrap();
        let (release, held) = mpsc::channel::<()>();
        let (ran, dropped) = (Count::new(), Count::new());
        runtime
            .run(async {
                let first = to_thread(move || held.recv().unwrap());
                let (count, guard) = (ran.clone(), dropped.on_drop());
                let second = to_thread(move || {
                    let _guard = guard;
                    count.add();
                });
                second.cancel();
                release.send(()).unwrap();
                first.await.unwrap();
                assert!(second.await.unwrap_err().is_cancelled());
            })
            .unwrap();
        crate::harness::assert_quiet(&runtime.handle());
        assert_eq!((ran.get(), dropped.get()), (0, 1));
    });
}

#[test]
fn job_running_when_cancelled_ends_and_drops_its_value_once() {
    // Goal: a running job cannot be stopped, its result is dropped once, or goes to the handle;
    // method: cancel, abort and detach jobs that are held in the middle.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for way in 0..3 {
                let (dropped, started) = (Count::new(), Count::new());
                let (release, held) = mpsc::channel::<()>();
                let (guard, count) = (dropped.on_drop(), started.clone());
                let job = to_thread(move || {
                    count.add();
                    held.recv().unwrap();
                    guard
                });
                wait_until_async(|| started.get() == 1, || "it runs".into()).await;
                match way {
                    0 => drop(job.cancel()),
                    1 => drop(job.abort()),
                    _ => {}
                }
                release.send(()).unwrap();
                if way == 2 {
                    drop(job)
                } else {
                    drop(job.await)
                }
                wait_until_async(|| dropped.get() == 1, || "its value drops".into()).await;
            }
        });
    });
}

#[test]
fn jobs_in_a_storm_of_cancels_all_end() {
    // Goal: the pool's counters; method: thousands of small jobs, half of them cancelled or dropped.
    on_every(|cfg| {
        let mut rng = cfg.rng(4);
        let dropped = Count::new();
        let n = scaled(5000);
        cfg.once(async {
            for _ in 0..n / 100 {
                let jobs: Vec<_> = (0..100)
                    .map(|_| {
                        let guard = dropped.on_drop();
                        to_thread(move || drop(guard))
                    })
                    .collect();
                for job in jobs {
                    match rng.below(4) {
                        0 => drop(job),
                        1 => drop(job.join()),
                        2 => {
                            job.abort();
                            let _ = job.await;
                        }
                        _ => job.await.unwrap(),
                    }
                }
            }
            wait_until_async(|| dropped.get() == n, || format!("{} dropped", dropped.get())).await;
        });
    });
}

#[test]
fn job_uses_the_runtime_by_handle() {
    // Goal: jobs may spawn, and block on futures; method: test 43's second case, block_on inside a
    // job, with the handle passed in and with the current one.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let handle = runtime.handle();
        let value = runtime.must_run(async move {
            let job = to_thread(move || {
                let inner = Handle::try_current().unwrap_or(handle.clone());
                let first = inner.block_on(async { spawn(async { 20 }).await.unwrap() });
                first.unwrap() + handle.block_on(handle.spawn(async { 22 })).unwrap().unwrap()
            });
            job.await.unwrap()
        });
        assert_eq!(value, 42);
    });
}

#[test]
fn workers_go_on_while_every_pool_thread_is_stuck() {
    // Goal: blocking work does not block tasks; method: all threads of the pool held, tasks and
    // timers run meanwhile.
    on_every(|cfg| {
        let runtime = cfg.builder().blocking_threads(2).build().unwrap();
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let started = Count::new();
        let jobs: Vec<_> = runtime
            .run(async {
                (0..2)
                    .map(|_| {
                        let (held, started) = (held.clone(), started.clone());
                        to_thread(move || {
                            started.add();
                            held.lock().unwrap().recv().unwrap();
                        })
                    })
                    .collect()
            })
            .unwrap();
        wait_until(|| started.get() == 2, || "both jobs run".into());
        let body = async {
            for _ in 0..20 {
                ringloop::time::sleep(std::time::Duration::from_millis(1)).await;
                spawn(async {}).await.unwrap();
            }
        };
        runtime.run(body).unwrap();
        // Either job may have the receiver: send both messages before waiting.
        jobs.iter().for_each(|_| release.send(()).unwrap());
        for job in jobs {
            runtime.run(job).unwrap().unwrap();
        }
        crate::harness::assert_quiet(&runtime.handle());
    });
}

#[test]
fn job_without_a_thread_fails_and_does_not_run_in_place() {
    // Goal: a job that waits for a task never runs on the worker that the task needs; method: the
    // worker is refused a thread; jobs that would wait for a task fail, with the system's reason,
    // and their captures are dropped. One report is about all of them.
    on_every(|cfg| {
        let log = ErrorLog::default();
        let runtime = cfg.builder_with(&log).build().unwrap();
        let (ran, dropped) = (Count::new(), Count::new());
        let fail = async {
            let event = Arc::new(Event::new());
            let sets = event.clone();
            let start = || {
                let (event, count, guard) = (event.clone(), ran.clone(), dropped.on_drop());
                to_thread(move || {
                    let _guard = guard;
                    count.add();
                    event.blocking_wait();
                })
            };
            // Up to here on one worker.
            let jobs = refuse_threads_here().then(|| [start(), start()]);
            spawn(async move { sets.set() }).await.unwrap();
            let Some(jobs) = jobs else { return false };
            for job in jobs {
                let error = job.await.unwrap_err();
                assert!(error.is_refused() && !error.is_cancelled() && !error.is_panicked());
                let text = error.to_string();
                assert!(text.contains("thread") && text.contains("ulimit -u"), "{text}");
                let source = std::error::Error::source(&error).expect("the system's error");
                let code = source.downcast_ref::<std::io::Error>().unwrap().raw_os_error();
                assert_eq!(code, Some(libc::EAGAIN));
                assert!(error.try_into_panic().is_err());
            }
            true
        };
        if runtime.run(fail).unwrap() {
            assert_eq!((ran.get(), dropped.get()), (0, 2));
            assert_eq!(log.take(Kind::Other).len(), 1);
            crate::harness::assert_quiet(&runtime.handle());
        }
        assert!(runtime.shutdown(Duration::from_secs(20)).is_clean());
        log.assert_silent();
    });
}

#[test]
fn job_beyond_a_refused_thread_waits_for_the_others() {
    // Goal: where there is a thread, a refused one only makes things slower; method: the only
    // thread is held up while the worker is refused another; the other jobs run when it is free,
    // there or on threads that it starts.
    on_every(|cfg| {
        let log = ErrorLog::default();
        let runtime = cfg.builder_with(&log).build().unwrap();
        let wait = async {
            let (go, hold) = mpsc::channel::<()>();
            let (tell, begun) = oneshot();
            let first = to_thread(move || {
                tell.set(()).unwrap();
                let _ = hold.recv_timeout(Duration::from_secs(20));
            });
            // Refusals are reported once until a thread starts.
            begun.await.unwrap();
            if !refuse_threads_here() {
                return;
            }
            let others: Vec<_> = (0..3).map(|i| to_thread(move || i)).collect();
            assert!(!others[0].is_finished());
            go.send(()).unwrap();
            first.await.unwrap();
            for (i, other) in others.into_iter().enumerate() {
                assert_eq!(other.await.unwrap(), i);
            }
            assert_eq!(log.take(Kind::Other).len(), 1);
        };
        runtime.run(wait).unwrap();
        assert!(runtime.shutdown(Duration::from_secs(20)).is_clean());
        log.assert_silent();
    });
}

/// A value with a slow destructor, for a thread to leave behind.
struct Slow(Option<AddOnDrop>);

impl Drop for Slow {
    fn drop(&mut self) {
        std::thread::sleep(Duration::from_millis(20));
        self.0 = None;
    }
}

thread_local! {
    static LEFT: RefCell<Option<Slow>> = const { RefCell::new(None) };
}

#[test]
fn threads_of_the_pool_have_ended_when_the_runtime_has() {
    // Goal: no thread of a runtime runs after its end; method: jobs leave values with their threads
    // whose destructors take longer than everything else, and have returned when `run`, or the
    // shutdown, returns.
    isolated(|| {
        on_every(|cfg| {
            let threads = thread_count();
            let dropped = Count::new();
            let leave = || async {
                let together = Arc::new(Barrier::new(4));
                let jobs: Vec<_> = (0..4)
                    .map(|_| {
                        let (guard, together) = (dropped.on_drop(), together.clone());
                        to_thread(move || {
                            together.wait();
                            LEFT.set(Some(Slow(Some(guard))));
                        })
                    })
                    .collect();
                for job in jobs {
                    job.await.unwrap();
                }
            };
            cfg.once(leave());
            assert_eq!((dropped.get(), thread_count()), (4, threads));
            let runtime = cfg.builder().build().unwrap();
            runtime.run(leave()).unwrap();
            assert!(runtime.shutdown(Duration::from_secs(20)).is_clean());
            assert_eq!((dropped.get(), thread_count()), (8, threads));
        });
    });
}
