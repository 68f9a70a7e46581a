//! Debug mode: slow polls, and tasks that ignore their cancellation.

use std::thread;
use std::time::Duration;

use ringloop::{Builder, catch_cancel, spawn, task, time, to_thread, yield_now};

use crate::harness::{ErrorLog, Kind, on_every};
use crate::processes::isolated_with;

/// Long enough for a poll to be slow by this limit.
const LIMIT: Duration = Duration::from_millis(1);

#[test]
fn slow_poll_is_reported_with_name_and_place() {
    // Goal: each poll that takes as long as the limit is reported, and no blocking job is; method:
    // two slow polls of a task with a name, with a limit that they reach, and with one that they do
    // not.
    on_every(|cfg| {
        for limit in [LIMIT, Duration::from_secs(3600)] {
            let log = ErrorLog::default();
            let sleeper = async {
                thread::sleep(LIMIT);
                yield_now().await;
                thread::sleep(LIMIT);
            };
            let place = cfg.builder_with(&log).debug(true).slow_poll(limit).run(async {
                to_thread(|| thread::sleep(LIMIT)).await.unwrap();
                let task = task::Builder::new().name("sleeper").spawn(sleeper);
                let place = task.spawned_at();
                task.await.unwrap();
                place
            });
            let told = log.take(Kind::Other);
            let told: Vec<_> = told.iter().filter(|text| text.contains("\"sleeper\"")).collect();
            assert_eq!(told.len(), if limit == LIMIT { 2 } else { 0 }, "{told:?}");
            let place = place.unwrap().to_string();
            assert!(told.iter().all(|text| text.contains(&place)), "{told:?}");
        }
    });
}

#[test]
fn task_that_catches_its_cancellation_in_a_loop_is_named() {
    // Goal: it is reported once, after a thousand turns, and not before; method: tasks that catch
    // 999 and 1500 times, one that consumes each request, and one that catches its timeout.
    on_every(|cfg| {
        let log = ErrorLog::default();
        cfg.builder_with(&log)
            .debug(true)
            .slow_poll(Duration::from_secs(3600))
            .run(async {
                for (name, catches) in [("patient", 999), ("deaf", 1500)] {
                    let catching = async move {
                        for _ in 0..catches {
                            _ = catch_cancel(std::future::pending::<()>()).await;
                        }
                    };
                    let task = task::Builder::new().name(name).spawn(catching);
                    yield_now().await;
                    task.cancel();
                    task.await.unwrap();
                }
                let limited = async {
                    let body = async {
                        for _ in 0..1500 {
                            _ = catch_cancel(std::future::pending::<()>()).await;
                        }
                    };
                    assert!(time::timeout(Duration::ZERO, body).await.is_err());
                };
                task::Builder::new().name("limited").spawn(limited).await.unwrap();
                let consuming = spawn(async {
                    for _ in 0..1500 {
                        let gone = catch_cancel(std::future::pending::<()>()).await.unwrap_err();
                        assert!(gone.consume());
                    }
                });
                yield_now().await;
                while !consuming.is_finished() {
                    consuming.cancel();
                    yield_now().await;
                }
                consuming.await.unwrap();
            })
            .unwrap();
        let told = log.take(Kind::Other);
        assert_eq!(told.len(), 2, "{told:?}");
        for (text, name) in told.iter().zip(["deaf", "limited"]) {
            assert!(text.contains(&format!("\"{name}\"")) && text.contains("1000 times"), "{text}");
        }
    });
}

#[test]
fn debug_mode_is_off_unless_asked_for() {
    // Goal: without the mode nothing is reported; the variable turns it on, the builder overrides
    // it, and any other value is an error; method: processes with the variable set.
    fn told(builder: Builder) -> usize {
        let log = ErrorLog::default();
        let hear = log.clone();
        let builder = builder.workers(1).on_error(move |event| hear.hear(event));
        builder.slow_poll(LIMIT).run(async { thread::sleep(LIMIT) }).unwrap();
        log.count(Kind::Other)
    }
    isolated_with(
        |command| _ = command.env_remove("RINGLOOP_DEBUG"),
        || {
            assert_eq!(told(Builder::new()), 0);
            // SAFETY: this process runs no other thread that reads the environment.
            unsafe { std::env::set_var("RINGLOOP_DEBUG", "1") };
            assert_eq!(told(Builder::new()), 1);
            assert_eq!(told(Builder::new().debug(false)), 0);
            // SAFETY: as above.
            unsafe { std::env::set_var("RINGLOOP_DEBUG", "0") };
            assert_eq!(told(Builder::new()), 0);
            // SAFETY: as above.
            unsafe { std::env::set_var("RINGLOOP_DEBUG", "yes") };
            let text = Builder::new().build().expect_err("no word of ours").to_string();
            assert!(text.contains("RINGLOOP_DEBUG is yes: say 1 or 0"), "{text}");
        },
    );
}
