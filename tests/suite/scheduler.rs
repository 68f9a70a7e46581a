//! Fairness, patrol, and a runtime that sleeps when it has nothing to do.

use std::future::{pending, poll_fn};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use ringloop::io::{AsyncReadExt, AsyncWriteExt};
use ringloop::net::TcpListener;
use ringloop::{Handle, Task, spawn, yield_now};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Cfg, ErrorLog, Kind, on_every, scale, scaled, wait_until, wait_until_async};
use crate::measure::{context_switches, cpu_time, own_thread_id};
use crate::processes::{Helper, isolated, say};
use crate::sync_tools::lets_others_run;
use crate::tools::{Count, Flag};

/// The bound of T58, 10 ms, times the factor 20 that tests may use.
const SERVED_WITHIN: Duration = Duration::from_millis(200);

#[test]
fn chatty_task_does_not_starve_quiet_ones() {
    // Goal: test 56; method: one task yields without end, 999 take 20 turns each. On one worker turns
    // are counted: the chatty one gets no more than its share, within a factor of 20.
    on_every(|cfg| {
        cfg.once(async {
            let (stop, turns) = (Arc::new(AtomicBool::new(false)), Count::new());
            let chatty = spawn({
                let (stop, turns) = (stop.clone(), turns.clone());
                async move {
                    while !stop.load(Ordering::Relaxed) {
                        turns.add();
                        yield_now().await;
                    }
                }
            });
            let quiet: Vec<_> = (0..999)
                .map(|_| {
                    spawn(async {
                        for _ in 0..20 {
                            yield_now().await;
                        }
                    })
                })
                .collect();
            for task in quiet {
                task.await.unwrap();
            }
            let chatty_turns = turns.get();
            stop.store(true, Ordering::Relaxed);
            chatty.await.unwrap();
            if cfg.single() {
                assert!(chatty_turns <= 20 * 20, "{chatty_turns} turns while others had 20");
            }
        });
    });
}

/// Two tasks that wake each other in every poll, so that they stay in the LIFO slot.
fn ping_pong(
    stop: Arc<AtomicBool>,
    rounds: Count,
) -> [impl Future<Output = ()> + Send + 'static; 2] {
    let seats = Arc::new([std::sync::Mutex::new(None), std::sync::Mutex::new(None)]);
    [0, 1].map(|mine| {
        let (stop, rounds, seats) = (stop.clone(), rounds.clone(), seats.clone());
        poll_fn(move |cx| {
            *seats[mine].lock().unwrap() = Some(cx.waker().clone());
            rounds.add();
            let other: Option<std::task::Waker> = seats[1 - mine].lock().unwrap().take();
            if let Some(waker) = other {
                waker.wake();
            }
            if stop.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending }
        })
    })
}

#[test]
fn ping_pong_pair_does_not_starve_others() {
    // Goal: test 56, LIFO slot; method: a pair of tasks that wake each other for ever; yielding
    // tasks, a timer and a spawn from outside must all end on the same worker.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Count::new());
        let pairs: Vec<_> = (0..cfg.workers)
            .flat_map(|_| ping_pong(stop.clone(), rounds.clone()))
            .map(|future| runtime.spawn(future))
            .collect();
        runtime.must_run(async {
            let quiet: Vec<_> = (0..100)
                .map(|_| {
                    spawn(async {
                        for _ in 0..20 {
                            yield_now().await;
                        }
                    })
                })
                .collect();
            for task in quiet {
                task.await.unwrap();
            }
            ringloop::time::sleep(Duration::from_millis(2)).await;
        });
        runtime.must_run(runtime.spawn(async {})).unwrap();
        stop.store(true, Ordering::Relaxed);
        for task in pairs {
            // The partner may have ended first; then no wake follows.
            task.cancel();
            let _ = runtime.must_run(task);
        }
        assert!(rounds.get() > 0);
    });
}

/// Whether timers and sockets are served while `spin` runs on every worker.
fn served_beside<F>(cfg: &Cfg, spin: impl Fn(Arc<AtomicBool>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = cfg.runtime();
    let stop = Arc::new(AtomicBool::new(false));
    let spinners: Vec<_> = (0..cfg.workers).map(|_| runtime.spawn(spin(stop.clone()))).collect();
    let (timers, socket) = runtime.must_run(async {
        let mut timers = Vec::new();
        for _ in 0..11 {
            let deadline = Instant::now() + Duration::from_millis(2);
            ringloop::time::sleep_until(deadline.into()).await;
            timers.push(deadline.elapsed());
        }
        let (mut near, mut far) = crate::net_stream::pair().await;
        let mut socket = Vec::new();
        for _ in 0..11 {
            let since = Instant::now();
            near.write_all(b"x").await.unwrap();
            far.read_exact(&mut [0; 1]).await.unwrap();
            socket.push(since.elapsed());
        }
        (timers, socket)
    });
    stop.store(true, Ordering::Relaxed);
    for task in spinners {
        runtime.must_run(task).unwrap();
    }
    for (what, mut times) in [("timer", timers), ("socket", socket)] {
        times.sort();
        // The median, since a busy machine may delay single ones.
        assert!(times[5] < SERVED_WITHIN, "{what}: {times:?}");
    }
}

#[test]
fn t58_spinning_on_yields_lets_timers_and_sockets_be_served() {
    // Goal: T58; method: tasks that do nothing but yield, one per worker.
    on_every(|cfg| {
        served_beside(cfg, |stop| async move {
            while !stop.load(Ordering::Relaxed) {
                yield_now().await;
            }
        });
    });
}

#[test]
fn t58_spinning_on_ready_reads_lets_timers_and_sockets_be_served() {
    // Goal: T58; method: tasks that read a socket which a plain thread fills without pause: every
    // read is ready at once, only the budget makes them yield.
    on_every(|cfg| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let feeders: Vec<_> = (0..cfg.workers)
            .map(|_| {
                let mut client = std::net::TcpStream::connect(address).unwrap();
                let (server, _) = listener.accept().unwrap();
                let feeder = std::thread::spawn(move || while client.write(&[7; 65536]).is_ok() {});
                (feeder, std::sync::Mutex::new(Some(server)))
            })
            .collect();
        let next = AtomicUsize::new(0);
        served_beside(cfg, |stop| {
            let server = feeders[next.fetch_add(1, Ordering::Relaxed)].1.lock().unwrap().take();
            async move {
                let mut stream = ringloop::net::TcpStream::from_std(server.unwrap()).unwrap();
                let mut byte = [0; 1];
                while !stop.load(Ordering::Relaxed) {
                    stream.read_exact(&mut byte).await.unwrap();
                    assert_eq!(byte, [7]);
                }
            }
        });
        for (feeder, _) in feeders {
            feeder.join().unwrap();
        }
    });
}

#[test]
fn t58_spinning_on_ready_writes_lets_timers_and_sockets_be_served() {
    // Goal: T58 for writes; method: a plain thread reads all that is sent, one byte at a time.
    on_every(|cfg| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        served_beside(cfg, |stop| {
            let client = std::net::TcpStream::connect(address).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            std::thread::spawn(move || std::io::copy(&mut server, &mut std::io::sink()));
            async move {
                let mut stream = ringloop::net::TcpStream::from_std(client).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    stream.write_all(&[1]).await.unwrap();
                }
            }
        });
    });
}

#[test]
fn t58_spinning_on_ready_tasks_and_timers_lets_others_be_served() {
    // Goal: T58 for the other futures; method: awaits of finished tasks, of sleeps that are over
    // and of timeouts around ready futures.
    on_every(|cfg| {
        served_beside(cfg, |stop| async move {
            while !stop.load(Ordering::Relaxed) {
                spawn(async {}).await.unwrap();
                ringloop::time::sleep(Duration::ZERO).await;
                ringloop::time::timeout(Duration::from_secs(1), async {}).await.unwrap();
            }
        });
    });
}

#[test]
fn t58_what_is_ready_in_one_poll_lets_others_run() {
    // Goal: T58 where only the budget suspends a task; method: tasks that have finished, sleeps
    // that are over and were awaited before, timeouts that have passed, and some around ready
    // futures.
    on_every(|cfg| {
        if !cfg.single() {
            return;
        }
        cfg.once(async {
            let mut tasks: Vec<_> = (0..500).map(|_| spawn(async {})).collect();
            wait_until_async(|| tasks.iter().all(Task::is_finished), || "all end".into()).await;
            lets_others_run("tasks", async || tasks.pop().expect("enough").await.unwrap()).await;
            let mut over = ringloop::time::sleep(Duration::ZERO);
            (&mut over).await;
            lets_others_run("sleeps", async || (&mut over).await).await;
            lets_others_run("timeouts that have passed", async || {
                let never = std::future::pending::<()>();
                ringloop::time::timeout(Duration::ZERO, never).await.unwrap_err();
            })
            .await;
            let semaphore = ringloop::sync::Semaphore::new(1);
            lets_others_run("timeouts around what is ready", async || {
                let permit = semaphore.acquire();
                drop(ringloop::time::timeout(Duration::from_secs(1), permit).await.unwrap());
            })
            .await;
        });
    });
}

/// Spins in one poll until `done`, or for 20 s; returns whether it was done.
fn hog_until(done: impl Fn() -> bool) -> bool {
    let since = Instant::now();
    while !done() {
        if since.elapsed() > Duration::from_secs(20) {
            return false;
        }
        std::hint::spin_loop();
    }
    true
}

#[test]
fn tasks_woken_in_one_poll_run_in_that_order() {
    // Goal: exact order on one worker, also where one poll serves many; method: five tasks wait for
    // permits, which come back at once.
    on_every(|cfg| {
        if !cfg.single() {
            return;
        }
        cfg.once(async {
            let semaphore = Arc::new(ringloop::sync::Semaphore::new(0));
            let (log, waiting) = (crate::tools::Log::new(), Count::new());
            let tasks: Vec<_> = (0..5)
                .map(|index| {
                    let (semaphore, log, waiting) =
                        (semaphore.clone(), log.clone(), waiting.clone());
                    spawn(async move {
                        waiting.add();
                        let permit = semaphore.acquire().await.unwrap();
                        log.push(index.to_string());
                        permit.forget();
                    })
                })
                .collect();
            while waiting.get() < 5 {
                yield_now().await;
            }
            semaphore.add_permits(5);
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(log.take(), ["0", "1", "2", "3", "4"]);
        });
    });
}

#[test]
fn t72_tasks_queued_behind_a_hog_are_taken_to_other_workers() {
    // Goal: patrol, and T72; method: a task spawns 50 others and then spins in the same poll until
    // they have all run, which they can on another worker only; the hook names the hog.
    on_every(|cfg| {
        if cfg.single() {
            return;
        }
        let runtime = cfg.runtime();
        let log = runtime.log().clone();
        let hog = runtime.spawn(async move {
            let ran = Count::new();
            for _ in 0..50 {
                let ran = ran.clone();
                drop(spawn(async move {
                    yield_now().await;
                    ran.add();
                }));
            }
            hog_until(|| ran.get() == 50) && hog_until(|| log.count(Kind::Hog) > 0)
        });
        let id = hog.id().to_string();
        assert!(runtime.must_run(hog).unwrap(), "rescued and reported while the hog still spun");
        let texts = runtime.log().take(Kind::Hog);
        assert!(texts.iter().any(|text| text.contains(&id)), "task {id} in {texts:?}");
        assert!(texts.iter().any(|text| text.contains("scheduler.rs")), "{texts:?}");
        let metrics = runtime.metrics();
        assert!(metrics.steals + metrics.rescues > 0, "{metrics:?}");
    });
}

#[test]
fn task_woken_by_a_hog_is_taken_from_its_slot() {
    // Goal: patrol takes the LIFO slot too; method: the hog wakes one task, which waits in the slot,
    // and spins until it has run.
    on_every(|cfg| {
        if cfg.single() {
            return;
        }
        let runtime = cfg.runtime();
        for _ in 0..scaled(3) {
            let (flag, ran) = (Flag::new(), Count::new());
            let (wait, count) = (flag.clone(), ran.clone());
            let woken = runtime.spawn(async move {
                wait.wait().await;
                count.add();
            });
            wait_until(|| flag.waiters() == 1, || "it waits".into());
            let hog = runtime.spawn(async move {
                flag.set();
                hog_until(|| ran.get() == 1)
            });
            assert!(runtime.must_run(hog).unwrap(), "taken while the hog still spun");
            runtime.must_run(woken).unwrap();
        }
    });
}

#[test]
fn tasks_woken_from_outside_are_not_stuck_behind_a_hog() {
    // Goal: patrol takes the stealable inbox too; method: tasks that last ran everywhere are woken,
    // and others spawned, by this plain thread while hogs hold all workers but one.
    on_every(|cfg| {
        if cfg.single() {
            return;
        }
        let runtime = cfg.runtime();
        let (flag, ran, hogging) = (Flag::new(), Count::new(), Count::new());
        for _ in 0..32 {
            let (flag, ran) = (flag.clone(), ran.clone());
            drop(runtime.spawn(async move {
                for _ in 0..10 {
                    yield_now().await;
                }
                flag.wait().await;
                ran.add();
            }));
        }
        wait_until(|| flag.waiters() == 32, || "all wait".into());
        let hogs: Vec<_> = (1..cfg.workers)
            .map(|_| {
                let (ran, hogging) = (ran.clone(), hogging.clone());
                runtime.spawn(async move {
                    hogging.add();
                    hog_until(|| ran.get() == 64)
                })
            })
            .collect();
        wait_until(|| hogging.get() == hogs.len(), || "hogs spin".into());
        flag.set();
        for _ in 0..32 {
            let ran = ran.clone();
            drop(runtime.spawn(async move {
                ran.add();
            }));
        }
        for hog in hogs {
            assert!(runtime.must_run(hog).unwrap(), "all ran while the hogs still spun");
        }
    });
}

#[test]
fn work_from_outside_goes_past_a_held_worker() {
    // Goal: work from plain threads does not wait for a patrol where one worker is held and another
    // sleeps; method: a task spins, and after a while this thread waits for futures, spawns, wakes
    // a task and has jobs come back, one after another. What went to the held worker was rescued,
    // and rescues are counted.
    const ROUNDS: u64 = 60;
    on_every(|cfg| {
        if cfg.single() {
            return;
        }
        let runtime = cfg.runtime();
        let (hogging, stop) = (Flag::new(), Flag::new());
        let hog = runtime.spawn({
            let (hogging, stop) = (hogging.clone(), stop.clone());
            async move {
                hogging.set();
                hog_until(|| stop.is_set())
            }
        });
        wait_until(|| hogging.is_set(), || "the hog spins".into());
        // Longer than a short poll.
        let since = Instant::now();
        wait_until(|| since.elapsed() > Duration::from_millis(2), || "time passes".into());
        let before = runtime.metrics().rescues;
        for _ in 0..ROUNDS {
            runtime.must_run(async {});
            runtime.must_run(runtime.spawn(async {})).unwrap();
            let flag = Flag::new();
            let wait = flag.wait();
            let woken = runtime.spawn(wait);
            wait_until(|| flag.waiters() == 1, || "it waits".into());
            flag.set();
            runtime.must_run(woken).unwrap();
            runtime.must_run(async { ringloop::to_thread(|| ()).await.unwrap() });
        }
        let rescues = runtime.metrics().rescues - before;
        stop.set();
        assert!(runtime.must_run(hog).unwrap());
        // Some rescues are allowed: on a busy machine all workers may seem held. Five pieces of
        // work per round.
        let works = 5 * ROUNDS;
        assert!(rescues < works / 3, "{rescues} of {works} pieces were rescued");
        runtime.log().take(Kind::Hog);
    });
}

#[test]
fn busy_workers_with_long_backlogs_do_not_steal_from_each_other_for_ever() {
    // Goal: patrols that take each other's workers for held end; method: each of some tasks queues
    // thousands of others on its worker, and now and then one that spins for longer than a patrol
    // waits.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let per_worker = scaled(50_000);
        let ran = Count::new();
        let sources: Vec<_> = (0..cfg.workers)
            .map(|_| {
                let ran = ran.clone();
                runtime.spawn(async move {
                    for i in 0..per_worker {
                        let ran = ran.clone();
                        drop(spawn(async move {
                            if i % 5000 == 0 {
                                let since = Instant::now();
                                while since.elapsed() < Duration::from_millis(6) {
                                    std::hint::spin_loop();
                                }
                            }
                            ran.add();
                        }));
                    }
                })
            })
            .collect();
        for source in sources {
            runtime.must_run(source).unwrap();
        }
        let all = per_worker * cfg.workers;
        wait_until(|| ran.get() == all, || format!("{} of {all} ran", ran.get()));
    });
}

#[test]
fn hog_on_the_only_worker_is_named() {
    // Goal: with one worker nothing can be rescued, but the monitor still names the hog, once per
    // poll; method: spin until the hook is called, with another task waiting.
    on_every(|cfg| {
        if !cfg.single() {
            return;
        }
        let log = ErrorLog::default();
        cfg.once_with(&log, async {
            let theirs = log.clone();
            let hog = spawn(async move {
                let waiting = spawn(async {});
                (hog_until(|| theirs.count(Kind::Hog) > 0), waiting.await.is_ok())
            });
            let id = hog.id().to_string();
            assert_eq!(hog.await.unwrap(), (true, true));
            let texts = log.take(Kind::Hog);
            assert!(texts.iter().any(|text| text.contains(&id)), "task {id} in {texts:?}");
        });
        log.assert_silent();
    });
}

#[test]
fn task_that_blocks_is_named_a_hog() {
    // Goal: a poll that sleeps in the kernel holds its worker as one that computes does; method: it
    // sleeps until the hook is called, with another task waiting.
    on_every(|cfg| {
        let log = ErrorLog::default();
        cfg.once_with(&log, async {
            let theirs = log.clone();
            let hog = spawn(async move {
                let waiting = spawn(async {});
                let (since, heard) = (Instant::now(), || theirs.count(Kind::Hog) > 0);
                while !heard() && since.elapsed() < Duration::from_secs(20) {
                    std::thread::sleep(Duration::from_millis(10));
                }
                (heard(), waiting.await.is_ok())
            });
            let id = hog.id().to_string();
            assert_eq!(hog.await.unwrap(), (true, true));
            let texts = log.take(Kind::Hog);
            assert!(texts.iter().any(|text| text.contains(&id)), "task {id} in {texts:?}");
        });
        log.assert_silent();
    });
}

#[test]
fn task_of_a_stopped_process_is_not_named_a_hog() {
    // Goal: a process that was stopped reports no hogs for that; method: a helper is stopped in the
    // middle of a poll that takes less CPU than a hog, and is continued.
    let mut helper = Helper::start("stopped", &[]);
    let pid = Pid::from_raw(helper.id().try_into().unwrap()).unwrap();
    for _ in Cfg::all() {
        helper.expect("in a poll");
        kill_process(pid, Signal::STOP).unwrap();
        // As long as several hogs; nothing else has to happen meanwhile.
        std::thread::sleep(Duration::from_millis(400));
        kill_process(pid, Signal::CONT).unwrap();
        assert_eq!(helper.hear(), "heard of no hog");
    }
    helper.finish();
}

/// The helper process of that test.
pub fn stopped_role() {
    const CPU: Duration = Duration::from_millis(60);
    for cfg in Cfg::all() {
        let log = ErrorLog::default();
        let runtime = cfg.builder_with(&log).build().unwrap();
        let poll = runtime.spawn(async move {
            // A waiting task, since a lone worker is watched only then.
            let waiting = spawn(async {});
            say("in a poll");
            let before = crate::measure::own_cpu_time();
            while crate::measure::own_cpu_time() - before < CPU {
                std::hint::spin_loop();
            }
            waiting.await.unwrap();
        });
        runtime.run(poll).unwrap().unwrap();
        let hogs = log.take(Kind::Hog);
        say(if hogs.is_empty() { "heard of no hog" } else { &hogs[0] });
    }
}

#[test]
fn main_that_hogs_its_worker_does_not_hold_up_its_tasks() {
    // Goal: patrol serves worker 0 of the one-shot form as well; method: main spawns and spins.
    on_every(|cfg| {
        if cfg.single() {
            return;
        }
        cfg.once(async {
            let ran = Count::new();
            for _ in 0..20 {
                let ran = ran.clone();
                drop(spawn(async move {
                    ran.add();
                }));
            }
            assert!(hog_until(|| ran.get() == 20), "taken while main spun");
        });
    });
}

#[test]
fn work_spreads_over_all_workers() {
    // Goal: a backlog of CPU work wakes the others; method: tasks of about a millisecond spawned by
    // one task; in the end every worker has run some. No time is asserted.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let seen = Arc::new(std::sync::Mutex::new(std::collections::HashSet::new()));
        for _ in 0..100 {
            runtime.must_run(async {
                let tasks: Vec<_> = (0..8 * 4)
                    .map(|_| {
                        let seen = seen.clone();
                        spawn(async move {
                            let since = Instant::now();
                            while since.elapsed() < Duration::from_millis(1) {
                                std::hint::spin_loop();
                            }
                            seen.lock().unwrap().insert(std::thread::current().id());
                        })
                    })
                    .collect();
                for task in tasks {
                    task.await.unwrap();
                }
            });
            if seen.lock().unwrap().len() == cfg.workers {
                return;
            }
        }
        panic!("{} of {} workers ever ran a task", seen.lock().unwrap().len(), cfg.workers);
    });
}

#[test]
fn idle_runtime_never_wakes() {
    // Goal: test 59; method: runtimes of all kinds, used and left with a pending accept, read, far
    // timer and ctrl_c; once their counters do not change any more, for 3 s (60 at scale) there is
    // no wake-up, no context switch of any thread, and next to no CPU.
    isolated(|| {
        let cases = Cfg::all();
        let runtimes: Vec<_> = cases.iter().map(|cfg| cfg.builder().build().unwrap()).collect();
        let mut kept = Vec::new();
        for runtime in &runtimes {
            let busy = async {
                let tasks: Vec<_> = (0..500)
                    .map(|_| spawn(ringloop::time::sleep(Duration::from_millis(3))))
                    .collect();
                for task in tasks {
                    task.await.unwrap();
                }
                ringloop::to_thread(|| ()).await.unwrap();
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                drop(spawn(async move { listener.accept().await.map(drop) }));
                let (mut near, far) = crate::net_stream::pair().await;
                drop(spawn(async move { near.read(&mut [0; 1]).await }));
                drop(spawn(ringloop::time::sleep(Duration::from_secs(3600))));
                drop(spawn(ringloop::time::timeout(Duration::MAX, pending::<()>())));
                drop(spawn(ringloop::signal::ctrl_c()));
                far
            };
            kept.push(runtime.run(busy).unwrap());
        }
        let counters = || -> Vec<_> {
            let of = |handle: Handle| {
                let metrics = handle.metrics();
                (metrics.wakeups, metrics.parks, metrics.polls)
            };
            runtimes.iter().map(|runtime| of(runtime.handle())).collect()
        };
        let me = own_thread_id();
        let switches = || {
            let mut all = context_switches();
            all.remove(&me);
            all
        };
        // At rest: nothing has changed for half a second, which is longer than patrol's slowest
        // interval (64 ms) and the longest nap (256 ms).
        let mut before = (counters(), switches());
        let since = Instant::now();
        loop {
            std::thread::sleep(Duration::from_millis(500));
            let now = (counters(), switches());
            if now == before {
                break;
            }
            assert!(since.elapsed() < Duration::from_secs(60), "never at rest: {before:?} {now:?}");
            before = now;
        }
        let used = cpu_time();
        std::thread::sleep(Duration::from_secs(if scale() > 1 { 60 } else { 3 }));
        let used = cpu_time() - used;
        let now = (counters(), switches());
        // Threads of the pool end after a while; those that are left have not run.
        before.1.retain(|id, _| now.1.contains_key(id));
        assert_eq!(now, before, "a thread ran while all was idle");
        assert!(used < Duration::from_millis(50), "{used:?} of CPU while idle");
        // And they still work.
        for runtime in &runtimes {
            let woken = runtime.run(async { spawn(async { 1 }).await.unwrap() });
            assert_eq!(woken.unwrap(), 1);
        }
    });
}

#[test]
fn runtime_parks_between_events_and_counts_it() {
    // Goal: no spinning while a timer is awaited; method: 50 sleeps of 2 ms; the worker parks, and
    // the process uses less CPU than time passes on one core.
    isolated(|| {
        on_every(|cfg| {
            let runtime = cfg.runtime();
            let parks = runtime.metrics().parks;
            let (since, cpu) = (Instant::now(), cpu_time());
            runtime.must_run(async {
                for _ in 0..50 {
                    ringloop::time::sleep(Duration::from_millis(2)).await;
                }
            });
            let (took, used) = (since.elapsed(), cpu_time() - cpu);
            assert!(runtime.metrics().parks > parks, "it parked");
            assert!(used < took, "{used:?} of CPU in {took:?} of waiting");
        });
    });
}
