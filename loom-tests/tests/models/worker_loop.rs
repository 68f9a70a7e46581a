//! The loop of a worker as it is: it drains, runs, searches, parks and rescues, while other threads
//! push, wake and close.
//!
//! Code: `scheduler/worker.rs` with all that it calls in `scheduler/` and `task/`, and a hub as a
//! runtime acquires it. Its reactor sleeps at a modelled doorbell and reports nothing; the clock
//! stands still unless a model moves it.
//!
//! Properties:
//!
//! * a task that is pushed from outside runs, though its worker is about to sleep;
//! * tasks that live when the runtime is closed are cancelled, and the last end stops all
//!   workers;
//! * a backlog that is announced, and tasks behind a task without end, are run by another worker;
//! * a task that waits until everything waits is woken then, and not before.
//!
//! If not, loom sees all threads wait for ever: sleeps have no timeout, except for the patrol's.
//!
//! Events of the kernel, due timers and reports of hogs are not modelled.
//!
//! Actors: one or two workers, and one plain thread.
//!
//! Bound: 3 threads, three tasks.

use std::{
    future,
    sync::{Arc, Mutex},
    task::Poll,
};

use loom::{
    sync::atomic::{
        AtomicBool,
        Ordering::{Acquire, Release},
    },
    thread,
};
use loom_tests::{explore, explore_first, explore_with_fewer};
use ringloop::{
    model::{
        kernel,
        worker::{Runtime, Seat, all_blocked, set_time, spawn},
    },
    sync::oneshot,
};

/// The bell at which a task waits that holds its worker.
const ELSEWHERE: i32 = 2;

/// Runs a worker on a thread of its own.
fn start(seat: Seat, start: impl FnOnce() + 'static) -> thread::JoinHandle<()> {
    thread::spawn(move || seat.run(start))
}

/// The end of a model: no worker is left.
fn end(runtime: Runtime) {
    assert_eq!(runtime.live(), 0);
    // SAFETY: the threads that used it have been joined.
    unsafe { runtime.free() };
}

/// A task from outside comes to a worker that is about to sleep, and ends the runtime.
#[test]
fn foreign_task_against_park() {
    explore(|| {
        set_time(0);
        let (runtime, [seat]) = Runtime::new(0, true);
        let worker = start(seat, || ());
        runtime.spawn(async move { runtime.stop() }).detach();
        worker.join().unwrap();
        end(runtime);
    });
}

/// A task waits for another thread, whose wake comes as its worker is about to sleep.
#[test]
fn foreign_wake_against_park() {
    explore(|| {
        set_time(0);
        let (runtime, [seat]) = Runtime::new(0, true);
        let (promise, deferred) = oneshot();
        let worker = start(seat, move || {
            let wait = async move {
                deferred.await.unwrap();
                runtime.stop();
            };
            spawn(wait).detach();
        });
        promise.set(()).unwrap();
        worker.join().unwrap();
        end(runtime);
    });
}

/// A task waits until everything waits, and another thread's wake comes before that, meanwhile or
/// after it.
#[test]
fn standstill_against_foreign_wake() {
    explore(|| {
        set_time(0);
        let (runtime, [seat]) = Runtime::new(0, true);
        let (promise, deferred) = oneshot();
        let worker = start(seat, move || {
            let wait = async move {
                all_blocked().await;
                deferred.await.unwrap();
                runtime.stop();
            };
            spawn(wait).detach();
        });
        promise.set(()).unwrap();
        worker.join().unwrap();
        end(runtime);
    });
}

/// A task waits until everything waits, while the neighbour has a task to run.
#[test]
fn standstill_of_two() {
    explore_first(|| {
        set_time(0);
        let (runtime, [first, second]) = Runtime::new(0, true);
        let ran = Arc::new(AtomicBool::new(false));
        let runs = ran.clone();
        let workers = [
            start(first, move || {
                let wait = async move {
                    all_blocked().await;
                    assert!(ran.load(Acquire));
                    runtime.stop();
                };
                spawn(wait).detach();
            }),
            start(second, move || spawn(async move { runs.store(true, Release) }).detach()),
        ];
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        end(runtime);
    });
}

/// The runtime is closed while its worker spawns a task that waits for ever, or sleeps after that.
#[test]
fn close_against_spawn() {
    explore(|| {
        set_time(0);
        let (runtime, [seat]) = Runtime::new(0, true);
        let worker = start(seat, || spawn(future::pending::<()>()).detach());
        runtime.close(1);
        worker.join().unwrap();
        assert!(runtime.is_stopped());
        end(runtime);
    });
}

/// The runtime is closed while its worker sleeps, or is about to, with a task that waits for ever.
#[test]
fn close_against_sleeper() {
    explore_with_fewer(1, || {
        set_time(0);
        let (runtime, [seat]) = Runtime::new(0, true);
        let worker = start(seat, || ());
        let task = runtime.spawn(future::pending::<()>());
        while !runtime.is_parked(0) {
            thread::yield_now();
        }
        runtime.close(1);
        worker.join().unwrap();
        drop(task);
        end(runtime);
    });
}

/// A task has not begun when the runtime is closed: it ends without a poll.
#[test]
fn close_before_the_first_poll() {
    explore(|| {
        set_time(0);
        let (runtime, [seat]) = Runtime::new(0, true);
        let task = runtime.spawn(async { panic!("it is polled") });
        runtime.close(1);
        start(seat, || ()).join().unwrap();
        drop(task);
        end(runtime);
    });
}

/// So long that four polls of it make two tasks worth a wake.
const LONG: u64 = 1_000_000;

/// Starts the second worker at an interesting point of the first, in the poll of a task.
fn later(seat: Seat) -> (impl FnOnce() + Send, impl FnOnce()) {
    let thread = Arc::new(Mutex::new(None));
    let begun = thread.clone();
    let begin = move || *begun.lock().unwrap() = Some(start(seat, || ()));
    let join = move || thread.lock().unwrap().take().expect("it has begun").join().unwrap();
    (begin, join)
}

/// A worker has three tasks, of which the first holds it until another has run. The worker has read
/// the clock before that, so another worker, which is asleep, is named the searcher, and takes one
/// or two tasks. (One that is about to sleep has too many orders here: see `announce_search`.)
#[test]
fn backlog_is_announced() {
    explore_with_fewer(1, || {
        set_time(0);
        let (runtime, [mine, others]) = Runtime::new(0, true);
        kernel::open(ELSEWHERE);
        let (begin, join) = later(others);
        mine.run(|| {
            let (mut begin, mut polls) = (Some(begin), 0);
            let first = future::poll_fn(move |cx| {
                polls += 1;
                if polls < 4 {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                set_time(LONG);
                begin.take().expect("this is the last poll")();
                while !runtime.is_parked(1) {
                    thread::yield_now();
                }
                let holds = async move {
                    kernel::wait(ELSEWHERE);
                    runtime.stop();
                };
                spawn(holds).detach();
                spawn(async { kernel::ring(ELSEWHERE) }).detach();
                spawn(async { kernel::ring(ELSEWHERE) }).detach();
                Poll::Ready(())
            });
            spawn(first).detach();
        });
        join();
        end(runtime);
    });
}

/// All workers sleep, and there is no patrol, since they have worked a moment ago. Then a task
/// comes that holds its worker, and behind it another, from outside: the worker that sleeps is
/// woken to patrol.
#[test]
fn push_behind_a_task_that_holds() {
    explore_first(|| {
        set_time(0);
        let (runtime, seats) = Runtime::new::<2>(0, false);
        kernel::open(ELSEWHERE);
        let workers = seats.map(|seat| start(seat, || ()));
        let rest = || {
            while runtime.live() > 0 || !runtime.is_at_rest() {
                thread::yield_now();
            }
        };
        rest();
        runtime.spawn(async {}).detach();
        rest();
        let holding = Arc::new(AtomicBool::new(false));
        let holds = {
            let holding = holding.clone();
            async move {
                holding.store(true, Release);
                kernel::wait(ELSEWHERE);
                runtime.stop();
            }
        };
        runtime.spawn(holds).detach();
        while !holding.load(Acquire) {
            thread::yield_now();
        }
        runtime.spawn(async { kernel::ring(ELSEWHERE) }).detach();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        end(runtime);
    });
}

/// A task holds its worker and waits for another that it has woken, which is in the LIFO slot,
/// where no worker steals: the other worker takes the patrol, and rescues it.
#[test]
fn patrol_comes_for_what_waits() {
    explore(|| {
        set_time(0);
        let (runtime, [mine, others]) = Runtime::new(0, false);
        kernel::open(ELSEWHERE);
        let (begin, join) = later(others);
        mine.run(|| {
            let (promise, deferred) = oneshot();
            let waits = async move {
                deferred.await.unwrap();
                kernel::ring(ELSEWHERE);
            };
            spawn(waits).detach();
            let holds = async move {
                begin();
                promise.set(()).unwrap();
                kernel::wait(ELSEWHERE);
                runtime.stop();
            };
            spawn(holds).detach();
        });
        join();
        end(runtime);
    });
}
