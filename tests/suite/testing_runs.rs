//! The order that a seed gives, and a main future that nothing can wake.

use std::future::pending;
use std::panic::Location;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ringloop::sync::{Event, channel, oneshot};
use ringloop::testing::Clock;
use ringloop::time::{sleep, timeout};
use ringloop::{Builder, spawn, spawn_local, to_thread, yield_now};

use crate::harness::{Cfg, Rng, on_every};
use crate::processes::{isolated_with, this_binary};

/// The events of a program with many tasks, in order.
fn events(cfg: &Cfg, seed: u64) -> Vec<(usize, usize)> {
    let main = async {
        let log = Arc::new(Mutex::new(Vec::new()));
        let (sender, receiver) = channel::<usize>(3);
        let mut tasks = Vec::new();
        for task in 0..30 {
            let (log, sender) = (log.clone(), sender.clone());
            let mut rng = Rng::new(task as u64);
            let body = async move {
                for step in 0..20 {
                    log.lock().unwrap().push((task, step));
                    match rng.next() % 4 {
                        0 => yield_now().await,
                        1 => sleep(Duration::from_millis(rng.next() % 3)).await,
                        2 => sender.send(task).await.unwrap(),
                        _ => spawn(yield_now()).await.unwrap(),
                    }
                }
            };
            tasks.push(if task % 3 == 0 { spawn_local(body) } else { spawn(body) });
        }
        drop(sender);
        while let Ok(task) = receiver.recv().await {
            log.lock().unwrap().push((task, usize::MAX));
        }
        for task in tasks {
            task.await.unwrap();
        }
        std::mem::take(&mut *log.lock().unwrap())
    };
    cfg.builder().mock_clock().test_seed(seed).run(main).unwrap()
}

#[test]
fn same_seed_gives_the_same_run_and_another_seed_another_run() {
    on_every(|cfg| {
        let first = events(cfg, cfg.seed);
        let mut sorted = first.clone();
        sorted.sort_unstable();
        let mut other = events(cfg, cfg.seed + 1);
        if cfg.single() {
            assert_eq!(first, events(cfg, cfg.seed));
            assert_ne!(first, other);
        }
        // Each run has the same events, in any order.
        other.sort_unstable();
        assert_eq!(sorted, other);
    });
}

#[test]
fn seed_shuffles_all_that_is_ready() {
    // Goal: each order of three tasks occurs, as often as the others. Method: many seeds; tasks
    // that are spawned, woken by one task, and due at the same time.
    on_every(|cfg| {
        if !cfg.single() {
            return;
        }
        for woken in 0..3 {
            let mut counts = std::collections::BTreeMap::new();
            for seed in 0..150 {
                let main = async {
                    let (log, go) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Event::new()));
                    let tasks = [0, 1, 2].map(|task| {
                        let (log, go) = (log.clone(), go.clone());
                        spawn(async move {
                            match woken {
                                0 => {}
                                1 => go.wait().await,
                                _ => sleep(Duration::from_secs(1)).await,
                            }
                            log.lock().unwrap().push(task);
                        })
                    });
                    ringloop::testing::wait_all_blocked().await;
                    go.set();
                    for task in tasks {
                        task.await.unwrap();
                    }
                    let log = log.lock().unwrap();
                    <[i32; 3]>::try_from(&log[..]).unwrap()
                };
                let order = cfg.builder().mock_clock().test_seed(seed).run(main).unwrap();
                *counts.entry(order).or_insert(0) += 1;
            }
            assert_eq!(counts.len(), 6, "{counts:?}");
            assert!(counts.values().all(|&count| count > 9), "{counts:?}");
        }
    });
}

#[test]
fn seed_of_the_environment_replaces_that_of_the_program() {
    isolated_with(
        |command| {
            command.env("RINGLOOP_TEST_SEED", "4711");
        },
        || {
            on_every(|cfg| {
                if cfg.single() {
                    assert_eq!(events(cfg, 1), events(cfg, 2));
                }
            });
        },
    );
}

#[test]
fn seed_of_the_environment_that_is_no_number_is_refused() {
    isolated_with(
        |command| {
            command.env("RINGLOOP_TEST_SEED", "many");
        },
        || {
            let error = Builder::new().test_seed(1).build().unwrap_err();
            assert!(error.to_string().contains("RINGLOOP_TEST_SEED"), "{error}");
            assert!(Builder::new().test_seed(1).run(async {}).is_err());
            // The variable is read only by runtimes with a seed.
            Builder::new().workers(1).run(async {}).unwrap();
        },
    );
}

#[test]
fn seed_is_printed_where_a_test_fails() {
    const HOW: &str = "RINGLOOP_TEST_HOW_TO_FAIL";
    let builder = || Builder::new().workers(1).test_seed(815);
    match std::env::var(HOW).as_deref() {
        Ok("main") => {
            builder().run(async { panic!("as told") }).unwrap();
        }
        Ok("thread") => {
            let runtime = builder().build().unwrap();
            let three = runtime.run(async { 3 }).unwrap();
            assert_eq!(three, 4);
        }
        Ok("not") => {
            builder().run(async {}).unwrap();
            drop(builder().build().unwrap());
        }
        _ => {
            for (how, told) in [("main", 1), ("thread", 1), ("not", 0)] {
                let name = "testing_runs::seed_is_printed_where_a_test_fails";
                let output = this_binary(name)
                    .env(HOW, how)
                    .env_remove("RINGLOOP_TEST_SEED")
                    .output()
                    .unwrap();
                let text = String::from_utf8_lossy(&output.stderr);
                assert_eq!(text.matches("RINGLOOP_TEST_SEED=815").count(), told, "{how}: {text}");
                assert_eq!(output.status.success(), told == 0);
            }
        }
    }
}

/// The caller's line, as a list of tasks shows it.
#[track_caller]
fn here() -> String {
    let here = Location::caller();
    format!("{}:{}:", here.file(), here.line())
}

#[test]
fn deadlock_is_reported_with_the_tasks_that_wait() {
    on_every(|cfg| {
        let limit = Some(Duration::from_millis(20));
        let mut places = Vec::new();
        let main = async {
            let (promise, deferred) = oneshot::<()>();
            places.push(here());
            let first = spawn(async move {
                let _promise = promise;
                pending::<()>().await;
            });
            places.push(here());
            let second = spawn_local(async move { deferred.await.is_ok() });
            sleep(Duration::from_millis(1)).await;
            second.await.unwrap();
            first.await.unwrap();
        };
        let result = cfg.builder().test_deadlock(limit).run(main);
        let text = result.unwrap_err().to_string();
        assert!(text.contains("deadlock") && text.contains("3 tasks wait"), "{text}");
        for place in places {
            // The task is spawned on the next line.
            let (file, line) = place.trim_end_matches(':').rsplit_once(':').unwrap();
            let spawned = format!("{file}:{}:", line.parse::<u32>().unwrap() + 1);
            assert!(text.contains(&spawned), "{spawned} is not in {text}");
        }
    });
}

#[test]
fn deadlock_ends_each_main_of_a_runtime_and_not_the_runtime() {
    on_every(|cfg| {
        let limit = Some(Duration::from_millis(20));
        let runtime = cfg.builder().test_deadlock(limit).build().unwrap();
        thread::scope(|scope| {
            let mains = [0, 1].map(|_| scope.spawn(|| runtime.run(pending::<()>())));
            for main in mains {
                let error = main.join().unwrap().unwrap_err();
                assert!(error.is_panicked(), "{error}");
            }
        });
        assert_eq!(runtime.run(async { spawn(async { 5 }).await.unwrap() }).unwrap(), 5);
    });
}

#[test]
fn main_that_may_still_be_woken_is_no_deadlock() {
    // Method: main waits for several times the limit: for a timer, a job, a socket, and another
    // thread that wakes it in time.
    on_every(|cfg| {
        let ms = Duration::from_millis;
        let run = |limit, main: &dyn Fn() -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
            cfg.builder().test_deadlock(Some(ms(limit))).run(main()).unwrap();
            let runtime = cfg.builder().test_deadlock(Some(ms(limit))).build().unwrap();
            runtime.run(main()).unwrap();
        };
        run(5, &|| Box::pin(sleep(ms(30))));
        run(5, &|| {
            Box::pin(async move { to_thread(move || thread::sleep(ms(30))).await.unwrap() })
        });
        run(5, &|| {
            Box::pin(async move {
                let listener = ringloop::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let addr = listener.local_addr().unwrap();
                let peer = thread::spawn(move || {
                    thread::sleep(ms(30));
                    std::net::TcpStream::connect(addr).unwrap();
                });
                listener.accept().await.unwrap();
                peer.join().unwrap();
            })
        });
        run(20_000, &|| {
            Box::pin(async move {
                let (promise, deferred) = oneshot();
                let other = thread::spawn(move || {
                    thread::sleep(ms(30));
                    promise.set(()).unwrap();
                });
                deferred.await.unwrap();
                other.join().unwrap();
            })
        });
    });
}

#[test]
fn deadlock_beside_a_mock_clock() {
    on_every(|cfg| {
        let ms = Duration::from_millis;
        let builder = || cfg.builder().mock_clock().test_deadlock(Some(ms(20)));
        // While the clock jumps, timers fire.
        let main = async { timeout(Duration::from_secs(3600), pending::<()>()).await };
        assert!(builder().run(main).unwrap().is_err());
        // A timer that means never does not fire.
        assert!(builder().run(sleep(Duration::MAX)).unwrap_err().is_panicked());
        // Nor does any timer if no task is left that moves the clock.
        let main = async {
            Clock::current().set_autojump(false);
            sleep(ms(1)).await;
        };
        assert!(builder().run(main).unwrap_err().is_panicked());
    });
}
