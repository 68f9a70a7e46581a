//! Calls of plain functions: order, cancel, panics, the end of the runtime.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringloop::io::AsyncReadExt;
use ringloop::time::{Instant, sleep};
use ringloop::{CallHandle, Handle, spawn, yield_now};

use crate::harness::{Kind, deliberate, on_every, scaled, wait_until, wait_until_async};
use crate::tools::{Count, Flag};

/// What happened, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<&'static str>>>);

impl Log {
    fn add(&self, what: &'static str) {
        self.0.lock().unwrap().push(what);
    }

    /// A function that adds `what`.
    fn adds(&self, what: &'static str) -> impl FnOnce() + Send + 'static {
        let log = self.clone();
        move || log.add(what)
    }

    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    async fn until(&self, len: usize) -> Vec<&'static str> {
        let done = || self.0.lock().unwrap().len() == len;
        wait_until_async(done, || format!("{len} entries")).await;
        self.take()
    }
}

#[test]
fn calls_and_tasks_take_turns_in_order() {
    // Goal: calls and tasks run in the order in which they were scheduled, none of them inline;
    // method: calls among spawned tasks.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (handle, log) = (Handle::current(), Log::default());
            handle.call_soon(log.adds("a"));
            let adds = log.adds("b");
            spawn(async { adds() }).detach();
            handle.call_soon(log.adds("c"));
            let adds = log.adds("d");
            spawn(async { adds() }).detach();
            handle.call_soon(log.adds("e"));
            if handle.workers() == 1 {
                assert_eq!(log.take(), Vec::<&str>::new());
                assert_eq!(log.until(5).await, ["a", "b", "c", "d", "e"]);
            } else {
                let mut seen = log.until(5).await;
                seen.sort_unstable();
                assert_eq!(seen, ["a", "b", "c", "d", "e"]);
            }
        });
    });
}

#[test]
fn calls_of_a_foreign_thread_keep_their_order() {
    // Goal: `call_soon` is thread-safe, and keeps the order of each thread on one worker.
    on_every(|cfg| {
        let (runtime, calls) = (cfg.runtime(), scaled(200));
        let handle = runtime.handle();
        let seen: Arc<Mutex<Vec<(usize, usize)>>> = Arc::default();
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (handle, seen) = (&handle, &seen);
                scope.spawn(move || {
                    for call in 0..calls {
                        let seen = seen.clone();
                        handle.call_soon(move || seen.lock().unwrap().push((thread, call)));
                    }
                });
            }
        });
        let len = || seen.lock().unwrap().len();
        wait_until(|| len() == 3 * calls, || format!("{} of {}", len(), 3 * calls));
        let mut seen = std::mem::take(&mut *seen.lock().unwrap());
        if !cfg.single() {
            seen.sort_unstable();
        }
        for thread in 0..3 {
            let own = seen.iter().filter(|(own, _)| *own == thread).map(|(_, call)| *call);
            assert!(own.eq(0..calls));
        }
    });
}

#[test]
fn t57_callback_of_a_callback_runs_in_the_next_turn() {
    // Goal: a function that a call schedules runs after everything that is ready, and after a check
    // of the reactor; method: the order with another task, and the number of links of a chain that
    // run while a byte waits for a task that reads.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (handle, log) = (Handle::current(), Log::default());
            let (first, second) = (log.adds("first"), log.adds("second"));
            let inner = handle.clone();
            handle.call_soon(move || {
                inner.call_soon(second);
                first();
            });
            let adds = log.adds("task");
            spawn(async { adds() }).detach();
            let seen = log.until(3).await;
            let at = |what| seen.iter().position(|entry| *entry == what).unwrap();
            assert!(at("first") < at("second"), "{seen:?}");
            if handle.workers() == 1 {
                assert_eq!(seen, ["first", "task", "second"]);
            }
            for timed in [false, true] {
                let links = read_beside_a_chain(timed).await;
                if handle.workers() == 1 {
                    assert!(links <= 3, "{links} links before the byte was read");
                }
            }
        });
    });
}

/// How many links of a chain of calls run between the arrival of a byte and its read.
async fn read_beside_a_chain(timed: bool) -> usize {
    let (mut near, far) = crate::net_stream::pair().await;
    let mut far = far.into_std().await.unwrap();
    let (read, links) = (Flag::new(), Arc::new(AtomicUsize::new(0)));
    let (is_read, count) = (read.clone(), links.clone());
    let reader = spawn(async move {
        near.read_exact(&mut [0]).await.unwrap();
        is_read.set();
        count.load(Ordering::Relaxed)
    });
    // After these turns the read waits.
    for _ in 0..20 {
        yield_now().await;
    }
    let handle = Handle::current();
    let mut chain = Chain { handle: handle.clone(), links, end: read, timed };
    handle.call_soon(move || {
        far.write_all(&[1]).unwrap();
        chain.handle = Handle::current();
        chain.next();
    });
    reader.await.unwrap()
}

struct Chain {
    handle: Handle,
    links: Arc<AtomicUsize>,
    end: Flag,
    timed: bool,
}

impl Chain {
    fn next(self) {
        self.links.fetch_add(1, Ordering::Relaxed);
        if self.end.is_set() {
            return;
        }
        let (handle, timed) = (self.handle.clone(), self.timed);
        let next = move || self.next();
        if timed {
            handle.call_later(Duration::ZERO, next);
        } else {
            handle.call_soon(next);
        }
    }
}

#[test]
fn calls_at_a_time_are_in_order_and_never_early() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (handle, log) = (Handle::current(), Log::default());
            let start = Instant::now();
            let early = Arc::new(AtomicUsize::new(0));
            let adds_at = |when: Instant, what| {
                let (adds, early) = (log.adds(what), early.clone());
                move || {
                    early.fetch_add(usize::from(Instant::now() < when), Ordering::Relaxed);
                    adds();
                }
            };
            let at = |ms| start + Duration::from_millis(ms);
            handle.call_at(at(26), adds_at(at(26), "c"));
            handle.call_at(at(23), adds_at(at(23), "a"));
            handle.call_at(at(23), adds_at(at(23), "b"));
            handle.call_later(Duration::from_millis(29), adds_at(at(29), "d"));
            let past = start - Duration::from_secs(1);
            let (adds, in_time) = (adds_at(past, "past"), Arc::new(AtomicBool::new(false)));
            let (told, first) = (in_time.clone(), at(23));
            handle.call_at(past, move || {
                // The others wait by now. On a machine that is too busy, some are due already.
                told.store(Instant::now() < first, Ordering::Relaxed);
                adds();
            });
            let never = handle.call_later(Duration::MAX, log.adds("never"));
            let seen = log.until(5).await;
            if handle.workers() == 1 {
                let at = |what| seen.iter().position(|entry| *entry == what);
                assert!(at("a") < at("b"), "{seen:?}");
                if in_time.load(Ordering::Relaxed) {
                    assert_eq!(seen, ["past", "a", "b", "c", "d"]);
                }
            }
            assert_eq!(early.load(Ordering::Relaxed), 0);
            assert!(never.cancel());
        });
    });
}

#[test]
fn cancelled_call_is_never_called() {
    // Goal: the answer of `cancel`, and the state of the handle afterwards; method: cancel before
    // the call, twice, after it, and within it.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (handle, log, dropped) = (Handle::current(), Log::default(), Count::new());
            for delay in [None, Some(Duration::from_millis(1)), Some(Duration::from_secs(3600))] {
                let (adds, guard) = (log.adds("cancelled"), dropped.on_drop());
                let f = move || {
                    let _guard = guard;
                    adds();
                };
                // Another worker would run it before the cancel.
                let own = handle.clone();
                let cancelled = handle.spawn_on(handle.worker_ids()[0], move || async move {
                    let call = match delay {
                        None if own.workers() == 1 => own.call_soon(f),
                        None => own.call_later(Duration::from_secs(60), f),
                        Some(delay) => own.call_later(delay, f),
                    };
                    assert!(!call.is_cancelled());
                    let first = call.cancel();
                    assert_eq!(call.is_cancelled(), first);
                    assert!(!call.cancel());
                    first
                });
                assert!(cancelled.await.unwrap() || delay == Some(Duration::from_millis(1)));
            }
            wait_until_async(|| dropped.get() == 3, || "captures are dropped".into()).await;
            let call = handle.call_soon(log.adds("called"));
            let called = log.until(1).await;
            assert_eq!(called, ["called"]);
            assert!(!call.cancel() && !call.is_cancelled());
            cancel_within(&handle).await;
        });
    });
}

async fn cancel_within(handle: &Handle) {
    let own: Arc<Mutex<Option<CallHandle>>> = Arc::default();
    let answer: Arc<Mutex<Option<bool>>> = Arc::default();
    let (theirs, told) = (own.clone(), answer.clone());
    {
        let mut held = own.lock().unwrap();
        *held = Some(handle.call_soon(move || {
            let own = theirs.lock().unwrap();
            *told.lock().unwrap() = own.as_ref().map(CallHandle::cancel);
        }));
    }
    wait_until_async(|| answer.lock().unwrap().is_some(), || "it runs to its end".into()).await;
    assert_eq!(*answer.lock().unwrap(), Some(false));
}

#[test]
fn dropped_handle_does_not_cancel() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (handle, log) = (Handle::current(), Log::default());
            drop(handle.call_soon(log.adds("soon")));
            drop(handle.call_later(Duration::from_millis(1), log.adds("later")));
            log.until(2).await;
        });
    });
}

#[test]
fn panic_of_a_call_is_reported_at_once_and_the_rest_goes_on() {
    // Goal: the hook gets the place where the call was scheduled, though the handle lives; later
    // calls run.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let handle = runtime.handle();
        let log = Log::default();
        let panics = handle.call_soon(|| deliberate("in a call"));
        handle.call_soon(log.adds("after"));
        let later = handle.call_later(Duration::from_millis(1), || deliberate("in a later call"));
        runtime.log().wait_for(Kind::Panic, 2);
        let mut texts = runtime.log().take(Kind::Panic);
        texts.sort_unstable();
        for text in &texts {
            assert!(text.contains("tests/suite/calls.rs:"), "{text}");
        }
        let has = |what| texts.iter().any(|text| text.ends_with(what));
        assert!(has("panicked: in a call") && has("panicked: in a later call"), "{texts:?}");
        runtime.must_run(async { log.until(1).await });
        assert!(!panics.is_cancelled() && !later.cancel());
    });
}

#[test]
fn call_after_the_end_is_dropped_uncalled() {
    on_every(|cfg| {
        let (dropped, called) = (Count::new(), Count::new());
        let f = || {
            let (guard, called) = (dropped.on_drop(), called.clone());
            move || {
                let _guard = guard;
                called.add();
            }
        };
        let runtime = cfg.runtime().into_inner();
        let handle = runtime.handle();
        let waits = handle.call_later(Duration::from_secs(3600), f());
        assert!(!waits.is_cancelled());
        assert!(runtime.shutdown(Duration::from_secs(10)).is_clean());
        assert!(waits.is_cancelled());
        for call in [handle.call_soon(f()), handle.call_later(Duration::ZERO, f())] {
            assert!(call.is_cancelled() && !call.cancel());
        }
        assert_eq!((dropped.get(), called.get()), (3, 0));
    });
}

#[test]
fn t60_sleeping_runtime_reacts_to_a_foreign_thread() {
    // Goal: a call and a cancel from another thread take effect at once; method: the runtime
    // sleeps, with a distant timer; 20 ms are 20 times what is promised, and the fastest of some
    // tries counts.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let handle = runtime.handle();
        let fastest = |react: &dyn Fn()| {
            let tries = (0..10).map(|_| {
                std::thread::sleep(Duration::from_millis(2));
                let start = Instant::now();
                react();
                start.elapsed()
            });
            let fastest = tries.min().unwrap();
            assert!(fastest < Duration::from_millis(20), "{fastest:?}");
        };
        fastest(&|| {
            let (tell, told) = std::sync::mpsc::channel();
            handle.call_soon(move || tell.send(()).unwrap());
            told.recv().unwrap();
        });
        fastest(&|| {
            let (guard, dropped) = std::sync::mpsc::channel::<()>();
            let call = handle.call_later(Duration::from_secs(3600), move || drop(guard));
            assert!(call.cancel());
            assert!(dropped.recv().is_err());
        });
    });
}

#[test]
fn t60_call_raced_by_cancel_runs_or_does_not() {
    // Goal: either the call runs, or `cancel` returns true, never both and never neither; method:
    // threads cancel calls that are about to run, soon and at a time, and count.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let handle = runtime.handle();
        let (ran, ended) = (Arc::new(AtomicUsize::new(0)), Count::new());
        let rounds = scaled(400);
        let cancelled: usize = std::thread::scope(|scope| {
            let threads = [0_u64, 1].map(|thread| {
                let (handle, ran, ended) = (&handle, &ran, &ended);
                let mut rng = cfg.rng(thread);
                scope.spawn(move || {
                    let mut cancelled = 0;
                    for _ in 0..rounds {
                        let (ran, guard) = (ran.clone(), ended.on_drop());
                        let f = move || {
                            let _guard = guard;
                            ran.fetch_add(1, Ordering::Relaxed);
                        };
                        let call = match rng.below(2) {
                            0 => handle.call_soon(f),
                            _ => handle.call_later(Duration::from_micros(20), f),
                        };
                        for _ in 0..rng.below(2000) {
                            std::hint::spin_loop();
                        }
                        let won = call.cancel();
                        assert_eq!(call.is_cancelled(), won);
                        cancelled += usize::from(won);
                    }
                    cancelled
                })
            });
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        wait_until(|| ended.get() == 2 * rounds, || format!("{} have ended", ended.get()));
        assert_eq!(ran.load(Ordering::Relaxed) + cancelled, 2 * rounds);
    });
}

#[test]
fn cancelled_calls_give_their_timers_back() {
    // Goal: a cancelled call does not keep its timer until its time; method: the count of timers.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let handle = Handle::current();
            let delay = Duration::from_secs(3600);
            let calls: Vec<_> =
                (0..1000).map(|_| handle.call_later(delay, || unreachable!("cancelled"))).collect();
            let armed = || handle.metrics().armed_timers;
            wait_until_async(|| armed() == 1000, || format!("{} armed", armed())).await;
            assert!(calls.iter().all(CallHandle::cancel));
            wait_until_async(|| armed() == 0, || format!("{} still armed", armed())).await;
            sleep(Duration::ZERO).await;
        });
    });
}
