//! Clocks that jump, that began long ago, and very many timers at once.

use std::future::poll_fn;
use std::os::unix::process::CommandExt;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant as StdInstant};

use ringloop::time::{Instant, Sleep, interval, sleep, sleep_until, timeout};
use ringloop::{spawn, yield_now};

use crate::harness::{loud, on_every, on_every_within};
use crate::processes::isolated_with;

/// Seconds since the machine's start, near the most that the kernel accepts (146 years).
const LONG_AGO: u64 = 4_500_000_000;

/// Runs `command` in a time namespace whose clock began [`LONG_AGO`], if there may be one.
fn in_old_machine(command: &mut std::process::Command) {
    let offsets = format!("monotonic {LONG_AGO} 0\nboottime {LONG_AGO} 0\n");
    let enter = move || {
        // A user that is not root may create one in a user namespace.
        for flags in [libc::CLONE_NEWTIME, libc::CLONE_NEWTIME | libc::CLONE_NEWUSER] {
            // SAFETY: a call without memory, before the program begins.
            if unsafe { libc::unshare(flags) } == 0 {
                let _ = std::fs::write("/proc/self/timens_offsets", &offsets);
                break;
            }
        }
        Ok(())
    };
    // SAFETY: the fork has one thread, and its parent is not in the middle of an allocation.
    unsafe { command.pre_exec(enter) };
}

#[test]
fn machine_that_was_started_long_ago_keeps_time() {
    // Goal: test 54, no overflow where the monotonic clock has counted 142 years; method: a time
    // namespace; sleeps, timeouts, an interval, reset in both directions, and times that never
    // come.
    isolated_with(in_old_machine, || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        if (now.tv_sec as u64) < LONG_AGO {
            loud("NOTE the clock began recently: no time namespace may be had here");
        }
        on_every(|cfg| {
            cfg.everywhere(|| async {
                let begun = (Instant::now(), StdInstant::now());
                let length = Duration::from_millis(3);
                sleep(length).await;
                sleep_until((StdInstant::now() + length).into()).await;
                assert!(begun.0.elapsed() >= 2 * length && begun.1.elapsed() >= 2 * length);
                assert!(timeout(length, std::future::pending::<()>()).await.is_err());
                for endless in [Duration::MAX, Duration::from_secs(1 << 40)] {
                    assert!(timeout(length, sleep(endless)).await.is_err());
                    assert_eq!(timeout(endless, async { 1 }).await.unwrap(), 1);
                }
                let mut ticks = interval(Duration::from_millis(1));
                for _ in 0..3 {
                    ticks.tick().await;
                }
                let mut moved = sleep(Duration::from_secs(3600));
                assert!(
                    poll_fn(|cx| Poll::Ready(Pin::new(&mut moved).poll(cx))).await.is_pending()
                );
                moved.reset(Instant::now() + length);
                moved.await;
                let late = begun.0.elapsed();
                assert!(late < Duration::from_secs(20), "{late:?} for some milliseconds");
            });
        });
    });
}

#[test]
fn deadlines_that_have_passed_are_over_at_once() {
    // Goal: test 54, deadlines in the past, down to the beginning of the clock; method: each is
    // awaited beside a task that would be late if one of them were waited for.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let begun = Instant::now();
            let others = spawn(async {
                for _ in 0..10 {
                    yield_now().await;
                }
            });
            let passed = [
                begun,
                begun - Duration::from_nanos(1),
                begun - Duration::from_secs(1),
                begun - Duration::from_secs(1 << 40),
                begun - Duration::MAX,
            ];
            for deadline in passed {
                sleep_until(deadline).await;
            }
            others.await.unwrap();
            assert!(begun.elapsed() < Duration::from_secs(20));
        });
    });
}

#[test]
fn million_equal_deadlines_end_together() {
    // Goal: test 54, many timers of one deadline: none is lost, and none is searched for one by
    // one; method: one task holds them all, and awaits each; a million with one worker, fewer with
    // several.
    on_every_within(Duration::from_secs(120), |cfg| {
        let n = if cfg.single() { 1_000_000 } else { 100_000 };
        cfg.once(async move {
            let task = spawn(async move {
                let deadline = Instant::now() + Duration::from_millis(500);
                let mut all: Vec<Sleep> = (0..n).map(|_| sleep_until(deadline)).collect();
                poll_fn(|cx| {
                    for one in &mut all {
                        assert!(!one.is_elapsed() || Instant::now() >= deadline);
                        let _ = Pin::new(one).poll(cx);
                    }
                    Poll::Ready(())
                })
                .await;
                for one in &mut all {
                    one.await;
                }
                assert!(Instant::now() >= deadline);
                all.len()
            });
            assert_eq!(task.await.unwrap(), n);
        });
    });
}
