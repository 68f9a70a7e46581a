//! `ThreadPool`: `run_in_executor`, `submit`, `shutdown`; and `CapacityLimiter`.

use std::collections::HashSet;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::Duration;

use ringloop::sync::oneshot;
use ringloop::{
    Borrower, CapacityLimiter, Handle, ThreadPool, check_cancelled, run_in_executor, spawn,
    to_thread,
};

use crate::faults::fork;
use crate::harness::{guarded, must_panic, on_every, wait_until, wait_until_async};
use crate::processes::isolated;
use crate::tools::Count;

const SOON: Duration = Duration::from_secs(20);

/// A pool of `threads` threads.
fn pool(threads: usize) -> ThreadPool {
    ThreadPool::new("the-pool", threads).unwrap()
}

/// Holds a thread of the pool until the returned sender is dropped.
fn hold(pool: &ThreadPool) -> mpsc::Sender<()> {
    let (go, wait) = mpsc::channel::<()>();
    let (tell, begun) = mpsc::channel();
    let job = pool.submit(move || {
        tell.send(()).unwrap();
        let _ = wait.recv();
    });
    begun.recv_timeout(SOON).unwrap();
    // It goes on without its handle, since it does not check for cancellation.
    drop(job);
    go
}

/// Runs a test that needs no runtime.
fn alone(name: &str, body: impl FnOnce()) {
    guarded(name, Duration::from_secs(60), body);
}

#[test]
fn jobs_run_on_threads_of_the_pool_and_no_more_than_it_has() {
    // Goal: named and sized; method: 200 jobs on 3 threads, the most at once is counted.
    on_every(|cfg| {
        let pool = pool(3);
        cfg.everywhere(|| async {
            let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let jobs: Vec<_> = (0..200)
                .map(|i| {
                    let (now, most) = (now.clone(), most.clone());
                    run_in_executor(&pool, move || {
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        now.fetch_sub(1, Ordering::SeqCst);
                        (i, std::thread::current().name().map(str::to_owned))
                    })
                })
                .collect();
            for (i, job) in jobs.into_iter().enumerate() {
                assert_eq!(job.await.unwrap(), (i, Some("the-pool".to_owned())));
            }
            assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
        });
        assert_eq!((pool.name(), pool.metrics().limit), ("the-pool", 3));
        pool.shutdown(true);
        assert_eq!(pool.metrics().threads, 0);
    });
}

#[test]
fn pool_of_cores_runs_that_many_jobs_at_once() {
    // Goal: no lock around the interpreter; method: 8 jobs of a pool of 8 meet at a barrier.
    alone("pool_of_cores", || {
        let (pool, together) = (pool(8), Arc::new(Barrier::new(8)));
        let jobs: Vec<_> = (0..8)
            .map(|_| {
                let together = together.clone();
                pool.submit(move || together.wait().is_leader())
            })
            .collect();
        let leaders = jobs.into_iter().filter_map(|mut job| job.blocking_wait_timeout(SOON));
        assert_eq!(leaders.filter(|leads| *leads == Ok(true)).count(), 1);
    });
}

#[test]
fn bad_options_are_errors_that_name_the_fix() {
    let text = |error: ringloop::BuildError| error.to_string();
    let none = text(ThreadPool::new("none", 0).unwrap_err());
    assert!(
        none.starts_with("cannot build the thread pool") && none.contains("at least 1"),
        "{none}"
    );
    let queue = text(ThreadPool::builder("none").queue(0).build().unwrap_err());
    assert!(queue.contains("at least 1"), "{queue}");
    let name = text(ThreadPool::new("a\0b", 1).unwrap_err());
    assert!(name.contains("another name"), "{name}");
}

#[test]
fn job_has_the_callers_runtime_and_inherited_values() {
    // Goal: the job gets its caller's context; method: the job spawns on the current runtime, and
    // reads a value.
    ringloop::task_local! {
        inherited static WHO: String;
    }
    on_every(|cfg| {
        let pool = pool(2);
        cfg.everywhere(|| async {
            let both = WHO.scope("ann".to_owned(), async {
                let job = run_in_executor(&pool, || {
                    let spawned = Handle::current().block_on(async { spawn(async { 7 }).await });
                    (WHO.get(), spawned.unwrap().unwrap())
                });
                job.await.unwrap()
            });
            assert_eq!(both.await, ("ann".to_owned(), 7));
            let bare = run_in_executor(&pool, || WHO.try_with(|_| ()).is_err());
            assert!(bare.await.unwrap());
        });
        // A job from outside has no runtime.
        let none = pool.submit(|| Handle::try_current().is_err());
        assert_eq!(none.blocking_wait(), Ok(true));
    });
}

#[test]
fn panic_of_a_job_is_its_result() {
    // Goal: S8; method: jobs that panic, awaited and submitted; the pool goes on.
    on_every(|cfg| {
        let pool = pool(1);
        cfg.everywhere(|| async {
            let job = run_in_executor(&pool, || crate::harness::deliberate("in the pool"));
            let result: Result<(), _> = job.await;
            assert!(result.unwrap_err().to_string().contains("in the pool"));
            assert_eq!(run_in_executor(&pool, || 7).await.unwrap(), 7);
        });
    });
}

#[test]
fn value_is_waited_for_by_blocking_and_by_await() {
    // Goal: wrap_future in both directions; method: a Deferred of submit is waited for with a
    // limit, blocking and in a task; a task is waited for on a plain thread.
    on_every(|cfg| {
        let pool = pool(1);
        let go = hold(&pool);
        let mut late = pool.submit(|| 1);
        assert_eq!(late.blocking_wait_timeout(Duration::from_millis(1)), None);
        drop(go);
        assert_eq!(late.blocking_wait_timeout(SOON), Some(Ok(1)));
        assert_eq!(pool.submit(|| 2).blocking_wait(), Ok(2));
        let runtime = cfg.runtime();
        let submitted = pool.submit(|| 3);
        assert_eq!(runtime.must_run(submitted), Ok(3));
        let task = runtime.spawn(async { 4 });
        assert_eq!(task.blocking_join(SOON).unwrap().unwrap(), 4);
    });
}

#[test]
fn dropping_a_deferred_cancels_its_job() {
    // Goal: a cancel of one side of a wrapped future cancels the other; method: a queued job never
    // runs; a running one sees the cancel.
    alone("dropping_a_deferred", || {
        let pool = pool(1);
        let go = hold(&pool);
        let (ran, dropped) = (Count::new(), Count::new());
        let (count, guard) = (ran.clone(), dropped.on_drop());
        drop(pool.submit(move || {
            let _guard = guard;
            count.add();
        }));
        drop(go);
        wait_until(|| dropped.get() == 1, || "its captures are dropped".into());
        assert_eq!(ran.get(), 0);
        let (tell, begun) = mpsc::channel();
        let (say, heard) = mpsc::channel();
        let job = pool.submit(move || {
            tell.send(()).unwrap();
            while check_cancelled().is_ok() {
                std::thread::yield_now();
            }
            say.send(check_cancelled().unwrap_err().is_cancelled()).unwrap();
        });
        begun.recv_timeout(SOON).unwrap();
        drop(job);
        assert!(heard.recv_timeout(SOON).unwrap());
        assert_eq!(ran.get(), 0);
        assert!(check_cancelled().is_ok(), "no job runs here");
    });
}

#[test]
fn running_job_sees_its_cancel_with_the_cause() {
    // Goal: C20's check_cancelled; method: by the handle with a reason, and by a join that is dropped.
    on_every(|cfg| {
        let pool = pool(2);
        cfg.everywhere(|| async {
            let (tell, begun) = oneshot();
            let job = run_in_executor(&pool, move || {
                tell.set(()).unwrap();
                loop {
                    if let Err(error) = check_cancelled() {
                        return error.cancel_cause().unwrap().reason().map(str::to_owned);
                    }
                    std::thread::yield_now();
                }
            });
            begun.await.unwrap();
            job.cancel_with("enough");
            assert_eq!(job.await.unwrap().as_deref(), Some("enough"));
            let ended = Count::new();
            let (tell, begun) = oneshot();
            let guard = ended.on_drop();
            let job = to_thread(move || {
                let _guard = guard;
                tell.set(()).unwrap();
                while check_cancelled().is_ok() {
                    std::thread::yield_now();
                }
            });
            begun.await.unwrap();
            drop(job.join());
            wait_until_async(|| ended.get() == 1, || "it ends".into()).await;
        });
    });
}

#[test]
fn shutdown_that_waits_returns_when_queued_jobs_have_run() {
    // Goal: shutdown(wait=True); method: 100 jobs on two threads, one of which is held at first.
    on_every(|cfg| {
        let pool = pool(2);
        let go = hold(&pool);
        let ran = Count::new();
        let jobs: Vec<_> = (0..100)
            .map(|_| {
                let ran = ran.clone();
                pool.submit(move || {
                    ran.add();
                })
            })
            .collect();
        drop(go);
        pool.shutdown(true);
        assert_eq!(ran.get(), 100);
        assert!(jobs.iter().all(|job| job.is_done()));
        assert!(pool.is_closed());
        // In every call that submits a job.
        let refused = pool.try_submit(|| 7).unwrap_err();
        assert!(refused.is_closed() && refused.to_string().contains("shut down"));
        assert_eq!(refused.into_job()(), 7);
        assert!(pool.submit(|| 7).blocking_wait().is_err());
        let closed = cfg.runtime().must_run(async {
            let cancelled = run_in_executor(&pool, || 7).await.unwrap_err().is_cancelled();
            cancelled && pool.reserve().await.is_err()
        });
        assert!(closed);
        pool.shutdown(true);
    });
}

#[test]
fn shutdown_that_does_not_wait_returns_at_once_and_jobs_still_run() {
    // Goal: shutdown(wait=False), and the drop of the last handle; method: a held thread, and a job behind it.
    alone("shutdown_without_wait", || {
        for drops in [false, true] {
            let pool = pool(1);
            let go = hold(&pool);
            let mut behind = pool.submit(|| 7);
            match drops {
                true => drop(pool),
                false => pool.shutdown(false),
            }
            assert!(!behind.is_done());
            drop(go);
            assert_eq!(behind.blocking_wait_timeout(SOON), Some(Ok(7)));
        }
    });
}

#[test]
fn worker_or_own_job_cannot_wait_for_the_end_of_a_pool() {
    // Goal: both fail with a clear error; method: try both, and the alternative that the error
    // names.
    on_every(|cfg| {
        let pool = pool(1);
        let own = pool.clone();
        let text = pool.submit(move || must_panic(|| own.shutdown(true))).blocking_wait().unwrap();
        assert!(text.contains("to_thread") && text.contains("one of its own"), "{text}");
        cfg.runtime().must_run(async {
            let text = must_panic(|| pool.shutdown(true));
            assert!(text.contains("to_thread"), "{text}");
            let theirs = pool.clone();
            to_thread(move || theirs.shutdown(true)).await.unwrap();
        });
        assert!(pool.is_closed());
    });
}

#[test]
fn shutdown_with_a_stuck_job_returns_at_its_limit_and_names_it() {
    // Goal: a stuck job does not hold up the shutdown; method: one job that does not check for
    // cancellation, one that does, one that is queued.
    alone("shutdown_now", || {
        let pool = pool(2);
        let go = hold(&pool);
        let (tell, begun) = mpsc::channel();
        let asks = pool.submit(move || {
            tell.send(()).unwrap();
            while check_cancelled().is_ok() {
                std::thread::yield_now();
            }
            "heard of it"
        });
        begun.recv_timeout(SOON).unwrap();
        let queued = pool.submit(|| "never");
        let report = pool.shutdown_now(Duration::from_millis(200));
        assert_eq!(report.holders.len(), 1, "{:?}", report.holders);
        assert!(report.holders[0].contains(file!()), "{:?}", report.holders);
        assert!(report.took >= Duration::from_millis(200) && report.took < SOON);
        assert_eq!(asks.blocking_wait(), Ok("heard of it"));
        assert!(queued.blocking_wait().is_err());
        drop(go);
        wait_until(|| pool.metrics().threads == 0, || "its thread ends".into());
    });
}

#[test]
fn full_queue_is_an_error_or_is_waited_for_as_each_call_chooses() {
    // Goal: both choices of a bounded queue; method: one thread that is held, room for one job.
    on_every(|cfg| {
        let pool = ThreadPool::builder("small").threads(1).queue(1).build().unwrap();
        let go = hold(&pool);
        let first = pool.submit(|| 1);
        let full = pool.try_submit(|| 2).unwrap_err();
        assert!(full.is_full() && full.to_string().contains("reserve()"), "{full}");
        let runtime = cfg.runtime();
        runtime.must_run(async {
            let error = run_in_executor(&pool, || 3).await.unwrap_err();
            assert!(error.is_queue_full() && error.is_refused(), "{error}");
            let text = error.to_string();
            assert!(text.contains("\"small\"") && text.contains("1 jobs"), "{text}");
            let text = must_panic(|| drop(pool.submit(|| 4)));
            assert!(text.contains("reserve()"), "{text}");
        });
        // Both ways to wait.
        let theirs = pool.clone();
        let thread = std::thread::spawn(move || theirs.submit(|| 5).blocking_wait());
        let theirs = pool.clone();
        let task = runtime.spawn(async move { theirs.reserve().await.unwrap().run(|| 6).await });
        drop(go);
        assert_eq!(first.blocking_wait(), Ok(1));
        assert_eq!(thread.join().unwrap(), Ok(5));
        assert_eq!(runtime.must_run(task).unwrap().unwrap(), 6);
        // A cancelled job gives its room back at once.
        let go = hold(&pool);
        drop(pool.submit(|| 7));
        let last = pool.try_submit(|| 8).unwrap();
        drop(go);
        assert_eq!(last.blocking_wait(), Ok(8));
    });
}

#[test]
fn waiting_for_room_ends_with_the_pool() {
    // Goal: no wait is for ever; method: a thread and a task that wait for room when the pool
    // closes.
    on_every(|cfg| {
        let pool = ThreadPool::builder("small").threads(1).queue(1).build().unwrap();
        let go = hold(&pool);
        let queued = pool.submit(|| 1);
        let theirs = pool.clone();
        let thread = std::thread::spawn(move || theirs.submit(|| 2).blocking_wait().is_err());
        let runtime = cfg.runtime();
        let theirs = pool.clone();
        let task = runtime.spawn(async move { theirs.reserve().await.is_err() });
        std::thread::yield_now();
        pool.shutdown(false);
        assert!(runtime.must_run(task).unwrap());
        assert!(thread.join().unwrap());
        drop(go);
        assert_eq!(queued.blocking_wait(), Ok(1));
    });
}

#[test]
fn pool_outlives_the_runtimes_that_use_it() {
    // Goal: a pool belongs to the program; method: a job of a runtime that has ended goes on, and
    // the next runtime uses the same pool.
    on_every(|cfg| {
        let pool = pool(1);
        let (go, wait) = mpsc::channel::<()>();
        let (tell, ended) = mpsc::channel();
        let runtime = cfg.runtime();
        runtime.must_run(async {
            run_in_executor(&pool, move || {
                let _ = wait.recv();
                tell.send(()).unwrap();
            })
            .detach();
        });
        assert!(runtime.into_inner().shutdown(SOON).is_clean());
        go.send(()).unwrap();
        ended.recv_timeout(SOON).unwrap();
        assert_eq!(cfg.once(async { run_in_executor(&pool, || 7).await.unwrap() }), 7);
    });
}

#[test]
fn mock_clock_stays_while_a_job_of_a_pool_runs() {
    // Goal: as for to_thread; method: a job that takes longer in real time than a sleep by the mock
    // clock, which must not have passed when the job has ended.
    on_every(|cfg| {
        let pool = pool(1);
        cfg.mocked(async {
            let slept = spawn(ringloop::time::sleep(Duration::from_secs(3600)));
            let job = run_in_executor(&pool, || {
                std::thread::sleep(Duration::from_millis(20));
                ringloop::time::Instant::now()
            });
            let then = job.await.unwrap();
            assert!(!slept.is_finished());
            assert_eq!(then, ringloop::time::Instant::now(), "it has the same clock");
            slept.await.unwrap();
        });
    });
}

#[test]
fn threads_have_hooks_and_a_stack_and_idle_ones_end() {
    // Goal: the pool's options; method: hooks that count, a stack that a job needs, a short keep-alive.
    alone("threads_are_set_up", || {
        let (begun, ended) = (Count::new(), Count::new());
        let (begins, ends) = (begun.clone(), ended.clone());
        let pool = ThreadPool::builder("set-up")
            .threads(2)
            .keep_alive(Duration::from_millis(20))
            .stack_size(16 << 20)
            .on_thread_start(move || {
                begins.add();
            })
            .on_thread_stop(move || {
                ends.add();
            })
            .build()
            .unwrap();
        let deep = pool.submit(|| {
            let large = [7_u8; 5 << 20];
            std::hint::black_box(&large)[4 << 20]
        });
        assert_eq!(deep.blocking_wait(), Ok(7));
        wait_until(|| ended.get() == begun.get() && begun.get() > 0, || "it ends".into());
        wait_until(|| pool.metrics().threads == 0, || "it has ended".into());
        assert_eq!(pool.submit(|| 8).blocking_wait(), Ok(8), "another one starts");
    });
}

#[test]
fn forked_child_has_no_pool() {
    // Goal: a fork of a program with a pool; method: every call in the child returns, and the parent's
    // pool goes on.
    isolated(|| {
        let pool = ThreadPool::builder("small").threads(2).queue(1).build().unwrap();
        let go = hold(&pool);
        let mut forked = fork(|speak| {
            let closed = pool.try_submit(|| 1).is_err();
            let broken = pool.submit(|| 2).blocking_wait().is_err();
            pool.shutdown(true);
            let report = pool.shutdown_now(Duration::from_secs(1));
            drop(pool.clone());
            let clean = report.is_clean() && pool.metrics().threads == 0;
            let own = ThreadPool::new("child", 1).unwrap().submit(|| 3).blocking_wait();
            writeln!(speak, "{closed} {broken} {clean} {own:?}").unwrap();
        });
        assert_eq!(forked.hear(), ["true true true Ok(3)"]);
        drop(forked);
        drop(go);
        assert_eq!(pool.submit(|| 4).blocking_wait(), Ok(4));
        pool.shutdown(true);
    });
}

#[test]
fn metrics_of_a_pool_show_queue_and_threads() {
    alone("metrics_of_a_pool", || {
        let pool = pool(1);
        assert_eq!(pool.metrics().threads, 0, "none before the first job");
        let go = hold(&pool);
        let jobs: Vec<_> = (0..3).map(|_| pool.submit(|| ())).collect();
        std::thread::sleep(Duration::from_millis(2));
        let metrics = pool.metrics();
        assert_eq!((metrics.threads, metrics.busy, metrics.idle, metrics.queued), (1, 1, 0, 3));
        assert!(metrics.oldest.unwrap() >= Duration::from_millis(2));
        drop(go);
        for job in jobs {
            job.blocking_wait().unwrap();
        }
        wait_until(|| pool.metrics().idle == 1, || format!("{:?}", pool.metrics()));
        let metrics = pool.metrics();
        assert_eq!((metrics.busy, metrics.queued, metrics.oldest), (0, 0, None));
    });
}

#[test]
fn limiter_lends_to_each_borrower_once() {
    // Goal: C10; method: a task acquires twice, others wait in order, tokens come back by drop.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let limiter = CapacityLimiter::new(2);
            let token = limiter.acquire().await.unwrap();
            assert!(limiter.acquire().await.is_err(), "this task has one");
            assert!(limiter.try_acquire().unwrap_err().is_already_borrowed());
            let other = limiter.acquire_for(Borrower::new()).await.unwrap();
            assert_eq!((limiter.total(), limiter.borrowed(), limiter.available()), (2, 2, 0));
            let refused = limiter.try_acquire_for(Borrower::new()).unwrap_err();
            assert!(refused.is_none_left());
            let theirs = limiter.clone();
            let waits = spawn(async move { theirs.acquire().await.map(drop) });
            let gone = limiter.clone();
            let given_up = spawn(async move { gone.acquire().await.map(drop) });
            given_up.cancel();
            assert!(given_up.await.unwrap_err().is_cancelled());
            drop(other);
            waits.await.unwrap().unwrap();
            drop(token);
            assert_eq!(limiter.borrowed(), 0);
            drop(limiter.acquire().await.unwrap());
        });
    });
}

#[test]
fn limiter_is_resized_while_tokens_are_out() {
    // Goal: total_tokens; method: set it below the number in use, then higher again, with a task
    // that waits.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let limiter = CapacityLimiter::new(3);
            let mut tokens = Vec::new();
            for _ in 0..3 {
                tokens.push(limiter.acquire_for(Borrower::new()).await.unwrap());
            }
            limiter.set_total(1);
            assert_eq!((limiter.borrowed(), limiter.available()), (3, 0));
            tokens.truncate(1);
            assert!(limiter.try_acquire_for(Borrower::new()).is_err(), "all tokens are in use");
            let theirs = limiter.clone();
            let waits = spawn(async move { theirs.acquire().await.map(drop) });
            limiter.set_total(2);
            waits.await.unwrap().unwrap();
            drop(tokens);
            assert_eq!((limiter.borrowed(), limiter.available()), (0, 2));
            limiter.set_total(0);
            assert!(limiter.try_acquire().is_err());
        });
    });
}

#[test]
fn limiter_limits_jobs_of_a_kind() {
    // Goal: to_thread with a limiter; method: 50 jobs under a limit of 2, the most at once is counted.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let limiter = CapacityLimiter::new(2);
            let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let threads = Arc::new(Mutex::new(HashSet::new()));
            let tasks: Vec<_> = (0..50)
                .map(|i| {
                    let (limiter, threads) = (limiter.clone(), threads.clone());
                    let (now, most) = (now.clone(), most.clone());
                    let job = move || {
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        threads.lock().unwrap().insert(std::thread::current().id());
                        std::thread::yield_now();
                        now.fetch_sub(1, Ordering::SeqCst);
                        i
                    };
                    spawn(async move { limiter.to_thread(job).await })
                })
                .collect();
            for (i, task) in tasks.into_iter().enumerate() {
                assert_eq!(task.await.unwrap().unwrap(), i);
            }
            assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
            assert_eq!(limiter.borrowed(), 0);
        });
    });
}
