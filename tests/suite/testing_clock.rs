//! The mock clock: nothing takes time, and everything is exact.

use std::future::pending;
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant as StdInstant};

use futures_util::future::{join, join_all};
use ringloop::io::{AsyncReadExt, AsyncWriteExt};
use ringloop::net::{TcpListener, TcpStream};
use ringloop::sync::{Condition, Lock, oneshot};
use ringloop::testing::{Clock, poll_once, wait_all_blocked};
use ringloop::time::{Instant, interval, sleep, sleep_until, timeout, timeout_at};
use ringloop::{Builder, Handle, spawn, to_thread, yield_now};

use crate::harness::{on_every, scaled};

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

#[test]
fn hours_pass_at_once_and_to_the_nanosecond() {
    on_every(|cfg| {
        cfg.mocked(async {
            let begun = Instant::now();
            yield_now().await;
            assert_eq!(begun.elapsed(), Duration::ZERO, "it stands still while a task runs");
            sleep(HOUR).await;
            assert_eq!(begun.elapsed(), HOUR);
            sleep_until(begun + 3 * HOUR).await;
            assert_eq!(begun.elapsed(), 3 * HOUR);
            assert!(timeout(HOUR, pending::<()>()).await.is_err());
            assert_eq!(begun.elapsed(), 4 * HOUR);
            assert!(timeout_at(begun + 4 * HOUR + MS, pending::<()>()).await.is_err());
            assert_eq!(begun.elapsed(), 4 * HOUR + MS);
            let mut ticks = interval(100 * HOUR);
            let first = ticks.tick().await;
            for number in 1..5 {
                assert_eq!(ticks.tick().await, Instant::now());
                assert_eq!(Instant::now() - first, 100 * number * HOUR);
            }
            let (lock, changed) = (Lock::new(()), Condition::new());
            let before = Instant::now();
            let (_guard, notified) = changed.wait_timeout(lock.lock().await, HOUR).await;
            assert!(notified.is_err());
            assert_eq!(before.elapsed(), HOUR);
            assert_eq!(Clock::current().now(), Instant::now());
        });
    });
}

#[test]
fn timers_fire_in_their_order_each_at_its_time() {
    // Method: many tasks on all workers sleep for random times; each ends exactly then, and in order.
    on_every(|cfg| {
        let mut rng = cfg.rng(18);
        let lengths: Vec<_> =
            (0..scaled(1000)).map(|_| Duration::from_nanos(rng.next() % (1 << 50))).collect();
        cfg.mocked(async {
            let (begun, log) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
            let tasks: Vec<_> = lengths
                .iter()
                .map(|&length| {
                    let log = log.clone();
                    spawn(async move {
                        sleep_until(begun + length).await;
                        assert_eq!(begun.elapsed(), length);
                        log.lock().unwrap().push(length);
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            let log = log.lock().unwrap();
            assert!(log.is_sorted());
            assert_eq!(log.len(), lengths.len());
        });
    });
}

#[test]
fn dropped_timers_do_not_move_it() {
    on_every(|cfg| {
        cfg.mocked(async {
            let begun = Instant::now();
            for number in 0..50 {
                // Dropped here, and on another worker.
                let mut early = Box::pin(sleep(MS * (number + 1)));
                assert!(poll_once(&mut early).is_pending());
                let elsewhere = spawn(async move { drop(early) });
                assert!(timeout(2 * MS, async {}).await.is_ok());
                elsewhere.await.unwrap();
            }
            sleep(HOUR).await;
            assert_eq!(begun.elapsed(), HOUR);
            let never = spawn(sleep(Duration::MAX));
            sleep(HOUR).await;
            assert_eq!(begun.elapsed(), 2 * HOUR);
            assert!(!never.is_finished());
            never.cancel();
        });
    });
}

#[test]
fn timer_that_was_dropped_on_another_worker_does_not_move_it() {
    // Method: one worker arms a timer and sleeps; another drops it, and all wait for a thread outside.
    on_every(|cfg| {
        if cfg.single() {
            return;
        }
        cfg.mocked(async {
            let begun = Instant::now();
            let handle = Handle::current();
            let armed = handle.spawn_on(handle.worker_ids()[1], || async {
                let mut armed = Box::pin(sleep(HOUR));
                assert!(poll_once(&mut armed).is_pending());
                // In a list, so that it is not awaited as a future.
                vec![armed]
            });
            let armed = armed.await.unwrap();
            wait_all_blocked().await;
            drop(armed);
            let (promise, deferred) = oneshot();
            let thread = thread::spawn(move || {
                thread::sleep(20 * MS);
                promise.set(()).unwrap();
            });
            deferred.await.unwrap();
            assert_eq!(begun.elapsed(), Duration::ZERO);
            thread.join().unwrap();
        });
    });
}

#[test]
fn it_waits_for_blocking_jobs() {
    // Goal: a job that takes real time is not overtaken by a timeout. Method: jobs that take longer
    // than anything else in this test.
    on_every(|cfg| {
        cfg.mocked(async {
            let begun = Instant::now();
            for length in [0, 1, 20] {
                let job = to_thread(move || {
                    thread::sleep(MS * length);
                    Instant::now()
                });
                let seen = timeout(SECOND, job).await.unwrap().unwrap();
                assert_eq!(seen, begun, "jobs use the same clock");
            }
            // A detached job stops the clock as well, and not for good.
            to_thread(|| thread::sleep(5 * MS)).detach();
            sleep(HOUR).await;
            assert_eq!(begun.elapsed(), HOUR);
        });
    });
}

#[test]
fn all_blocked_comes_before_a_jump() {
    on_every(|cfg| {
        cfg.mocked(async {
            let begun = Instant::now();
            let task = spawn(sleep(HOUR));
            wait_all_blocked().await;
            assert_eq!(begun.elapsed(), Duration::ZERO);
            assert!(!task.is_finished());
            task.await.unwrap();
            assert_eq!(begun.elapsed(), HOUR);
        });
    });
}

#[test]
fn it_is_moved_by_hand() {
    on_every(|cfg| {
        cfg.mocked(async {
            let (clock, begun) = (Clock::current(), Instant::now());
            clock.set_autojump(false);
            let tasks: Vec<_> = (1..=20).map(|number| spawn(sleep(number * SECOND))).collect();
            let finished = || tasks.iter().filter(|task| task.is_finished()).count();
            for number in 0..10 {
                wait_all_blocked().await;
                assert_eq!(finished(), number);
                clock.advance(SECOND);
            }
            assert_eq!(begun.elapsed(), 10 * SECOND);
            // From another thread, while this task waits.
            let other = clock.clone();
            let thread = thread::spawn(move || other.advance(10 * SECOND));
            for task in tasks {
                task.await.unwrap();
            }
            thread.join().unwrap();
            assert_eq!(begun.elapsed(), 20 * SECOND);
            clock.set_autojump(true);
            sleep(HOUR).await;
            assert_eq!(clock.now() - begun, HOUR + 20 * SECOND);
        });
    });
}

/// Two ends of a connection within one runtime.
async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (near, far) = join(TcpStream::connect(addr), listener.accept()).await;
    (near.unwrap(), far.unwrap().0)
}

#[test]
fn sockets_of_one_runtime_are_faster_than_any_timeout() {
    // Method: messages back and forth, each under a timeout that must not pass; in between, the
    // clock moves.
    on_every(|cfg| {
        cfg.mocked(async {
            let (mut near, mut far) = connection().await;
            let begun = Instant::now();
            let echo = spawn(async move {
                let mut buf = [0; 100];
                while far.read_exact(&mut buf).await.is_ok() {
                    sleep(SECOND).await;
                    far.write_all(&buf).await.unwrap();
                    far.flush().await.unwrap();
                }
            });
            for round in 0..5_u8 {
                let mut buf = [round; 100];
                near.write_all(&buf).await.unwrap();
                near.flush().await.unwrap();
                assert!(timeout(SECOND - MS, near.read_exact(&mut buf)).await.is_err());
                timeout(2 * MS, near.read_exact(&mut buf)).await.unwrap().unwrap();
                assert_eq!(begun.elapsed(), SECOND * (u32::from(round) + 1));
            }
            drop(near);
            echo.await.unwrap();
        });
    });
}

#[test]
fn clock_waits_for_outside_peers_as_long_as_its_patience() {
    // Method: a thread answers after some real time; with a patience of zero it answers only after
    // the timeout.
    on_every(|cfg| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (go, may_go) = std::sync::mpsc::channel::<()>();
        let peer = thread::spawn(move || {
            for waits in [false, true] {
                let (stream, _) = listener.accept().unwrap();
                thread::sleep(30 * MS);
                if waits {
                    may_go.recv().unwrap();
                }
                std::io::Write::write_all(&mut &stream, b"late").unwrap();
            }
        });
        let read_in_time = async |patience| {
            Clock::current().set_patience(patience);
            let mut stream = TcpStream::connect(addr).await.unwrap();
            let mut buf = [0; 4];
            timeout(SECOND, stream.read_exact(&mut buf)).await.is_ok()
        };
        assert!(cfg.mocked(async { read_in_time(Duration::MAX).await }));
        assert!(!cfg.mocked(async { read_in_time(Duration::ZERO).await }));
        go.send(()).unwrap();
        peer.join().unwrap();
    });
}

#[test]
fn runtime_with_threads_of_its_own_uses_it_too() {
    on_every(|cfg| {
        let runtime = cfg.builder().mock_clock().build().unwrap();
        let clock = Clock::of(&runtime.handle()).unwrap();
        let begun = clock.now();
        runtime
            .run(async {
                let sleeps = (0..100).map(|number| spawn(sleep(number * SECOND)));
                for task in join_all(sleeps).await {
                    task.unwrap();
                }
            })
            .unwrap();
        assert_eq!(clock.now() - begun, 99 * SECOND);
        // A thread outside of the runtime has the machine's time.
        assert!(Instant::now() - begun < 99 * SECOND);
        runtime.spawn(sleep(HOUR)).detach();
        drop(runtime);
        let plain = cfg.builder().build().unwrap();
        assert!(Clock::of(&plain.handle()).is_none());
        let machine = plain.run(async { (Instant::now(), StdInstant::now()) }).unwrap();
        assert!(machine.1 - StdInstant::from(machine.0) < SECOND);
    });
}

#[test]
fn clock_of_nothing_panics() {
    assert!(catch_unwind(Clock::current).is_err());
    let result = Builder::new().workers(1).run(async { Clock::current() });
    assert!(result.unwrap_err().to_string().contains("mock_clock"));
}

#[cfg(feature = "hyper")]
#[test]
fn hyper_uses_it() {
    use hyper::rt::Timer;
    use ringloop::compat::hyper::HyperTimer;

    on_every(|cfg| {
        cfg.mocked(async {
            let begun = HyperTimer.now();
            HyperTimer.sleep(HOUR).await;
            assert_eq!(HyperTimer.now() - begun, HOUR);
            let mut sleep = HyperTimer.sleep(HOUR);
            HyperTimer.reset(&mut sleep, begun + 3 * HOUR);
            sleep.await;
            assert_eq!(HyperTimer.now() - begun, 3 * HOUR);
        });
    });
}
