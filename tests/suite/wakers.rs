//! Wakers: hostile ones that the runtime gets, and the runtime's own that are kept too long.

use std::future::{Future, pending, poll_fn};
use std::mem::ManuallyDrop;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::time::Duration;

use ringloop::io::{AsyncReadExt, AsyncWriteExt};
use ringloop::{spawn, to_thread, yield_now};

use crate::harness::{deliberate, on_every, scaled, wait_until, wait_until_async};
use crate::processes::isolated;
use crate::tools::{Count, Flag, Slot, poll_by_hand};

/// Which of a hostile waker's functions panic.
#[derive(Clone, Default)]
struct Hostile {
    clone_panics: bool,
    wake_panics: bool,
    drop_panics: bool,
    woken: Count,
}

impl Hostile {
    /// The returned waker is never dropped, since its drop may panic.
    fn waker(&self) -> ManuallyDrop<Waker> {
        let data = Arc::into_raw(Arc::new(self.clone())).cast::<()>();
        // SAFETY: the vtable below treats the pointer as the Arc it is.
        ManuallyDrop::new(unsafe { Waker::from_raw(RawWaker::new(data, &VTABLE)) })
    }
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(
    |data| {
        // SAFETY: `data` is a live Arc<Hostile>, made in `waker` or here; borrowed only.
        let hostile = unsafe { &*data.cast::<Hostile>() };
        if hostile.clone_panics {
            deliberate("waker clone");
        }
        // SAFETY: as above; the new waker's count is added.
        unsafe { Arc::increment_strong_count(data.cast::<Hostile>()) };
        RawWaker::new(data, &VTABLE)
    },
    |data| {
        // SAFETY: waking by value ends this waker's count.
        let hostile = unsafe { Arc::from_raw(data.cast::<Hostile>()) };
        hostile.woken.add();
        if hostile.wake_panics {
            deliberate("waker wake");
        }
    },
    |data| {
        // SAFETY: borrowed from a live waker.
        let hostile = unsafe { &*data.cast::<Hostile>() };
        hostile.woken.add();
        if hostile.wake_panics {
            deliberate("waker wake by ref");
        }
    },
    |data| {
        // SAFETY: dropping ends this waker's count.
        let hostile = unsafe { Arc::from_raw(data.cast::<Hostile>()) };
        if hostile.drop_panics {
            deliberate("waker drop");
        }
    },
);

/// Polls `future` once with `waker`; a panic of the waker's clone may come through.
fn poll_hostile<F: Future + Unpin>(future: &mut F, waker: &Waker) -> bool {
    let poll = || poll_by_hand(future, waker).is_pending();
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(poll)).unwrap_or(true)
}

fn hostiles() -> Vec<Hostile> {
    let kind = |clone_panics, wake_panics, drop_panics| Hostile {
        clone_panics,
        wake_panics,
        drop_panics,
        woken: Count::new(),
    };
    vec![
        kind(true, false, false),
        kind(false, true, false),
        kind(false, false, true),
        kind(false, true, true),
    ]
}

#[test]
fn waker_that_panics_on_a_task_handle_is_contained() {
    // Goal: test 36; method: poll handles by hand with wakers whose clone, wake or drop panics, let
    // the tasks end on a worker, replace the waker, drop the handle; all workers live on.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        for hostile in hostiles() {
            for ending in 0..4 {
                let release = Flag::new();
                let wait = release.clone();
                let mut task = runtime.spawn(async move { wait.wait().await });
                let waker = hostile.waker();
                assert!(poll_hostile(&mut task, &waker));
                match ending {
                    0 => release.set(),
                    1 => {
                        task.cancel();
                    }
                    2 => assert!(poll_hostile(&mut task, Waker::noop())),
                    _ => {}
                }
                if ending < 2 {
                    wait_until(|| task.is_finished(), || "the task ends".into());
                }
                let dropped = std::panic::AssertUnwindSafe(|| drop(task));
                let _ = std::panic::catch_unwind(dropped);
                release.set();
            }
        }
        assert_eq!(runtime.must_run(async { spawn(async { 4 }).await.unwrap() }), 4);
    });
}

#[test]
fn waker_that_panics_in_the_reactor_is_contained() {
    // Goal: test 36 for timers, descriptors and blocking jobs; method: in a task, their futures are
    // polled with hostile wakers and the events happen; then the same futures work as they should.
    on_every(|cfg| {
        cfg.once(async {
            for hostile in hostiles() {
                let waker = hostile.waker();
                let mut sleep = Box::pin(ringloop::time::sleep(Duration::from_millis(2)));
                let (mut near, mut far) = crate::net_stream::pair().await;
                let mut job = to_thread(|| 9);
                let mut buf = [0; 4];
                let job_waits = poll_fn(|_| {
                    poll_hostile(&mut sleep, &waker);
                    poll_hostile(&mut near.read(&mut buf), &waker);
                    Poll::Ready(poll_hostile(&mut job, &waker))
                })
                .await;
                far.write_all(b"data").await.unwrap();
                // Events happen while this task itself waits in the same reactor.
                ringloop::time::sleep(Duration::from_millis(5)).await;
                sleep.await;
                near.read_exact(&mut buf).await.unwrap();
                assert_eq!(&buf, b"data");
                if job_waits {
                    assert_eq!(job.await.unwrap(), 9);
                }
            }
            assert_eq!(spawn(async { 4 }).await.unwrap(), 4);
        });
    });
}

#[test]
fn waker_whose_drop_panics_does_not_affect_the_next_poll() {
    // Goal: S8: a future that replaces a waker, or is dropped with one, contains a panic of the
    // waker's destructor; method: each future is polled by hand with such a waker, then with a good
    // one, with the bad one again, and dropped.
    fn abuse<F: Future>(hurt: &mut Vec<String>, what: &str, future: F) {
        let bad = Hostile { drop_panics: true, ..Hostile::default() }.waker();
        let mut future = Box::pin(future);
        for waker in [&*bad, Waker::noop(), &*bad] {
            let poll = || poll_by_hand(&mut future, waker).is_pending();
            match std::panic::catch_unwind(std::panic::AssertUnwindSafe(poll)) {
                Ok(pending) => assert!(pending, "{what} is pending"),
                Err(_) => hurt.push(format!("{what}, polled")),
            }
        }
        let dropped = std::panic::AssertUnwindSafe(|| drop(future));
        if std::panic::catch_unwind(dropped).is_err() {
            hurt.push(format!("{what}, dropped"));
        }
    }
    on_every(|cfg| {
        cfg.once(async {
            let listener = ringloop::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (mut near, far) = crate::net_stream::pair().await;
            let (mut hurt, long) = (Vec::new(), Duration::from_secs(1000));
            abuse(&mut hurt, "a handle", spawn(pending::<()>()).join());
            abuse(&mut hurt, "a sleep", ringloop::time::sleep(long));
            abuse(&mut hurt, "a timeout", ringloop::time::timeout(long, pending::<()>()));
            abuse(&mut hurt, "an accept", listener.accept());
            abuse(&mut hurt, "a read", near.read(&mut [0; 1]));
            abuse(&mut hurt, "a wait for readiness", far.readable());
            abuse(&mut hurt, "a signal", ringloop::signal::ctrl_c());
            assert!(hurt.is_empty(), "{hurt:?}");
        });
    });
}

#[test]
fn waker_that_is_only_left_in_the_task_is_contained() {
    // Goal: S8 for a waker that only the task's memory still has; method: a handle is polled with a
    // waker whose drop panics, then with one whose clone does; the memory is freed at the end of
    // the task, or with the handle after it.
    isolated(|| {
        on_every(|cfg| {
            let runtime = cfg.runtime();
            for handle_is_last in [false, true] {
                let (own, over) = (Slot::<Waker>::new(), Arc::new(AtomicBool::new(false)));
                let mut task = runtime.spawn({
                    let (own, over) = (own.clone(), over.clone());
                    poll_fn(move |cx| {
                        if over.load(Ordering::SeqCst) {
                            return Poll::Ready(());
                        }
                        own.put(cx.waker().clone());
                        Poll::Pending
                    })
                });
                wait_until(|| own.with(|_| ()).is_some(), || "it waits".into());
                let left = Hostile { drop_panics: true, ..Hostile::default() }.waker();
                let next = Hostile { clone_panics: true, ..Hostile::default() }.waker();
                for waker in [&*left, &*next] {
                    assert!(poll_hostile(&mut task, waker));
                }
                let end = || {
                    over.store(true, Ordering::SeqCst);
                    own.take().expect("it waits").wake();
                    wait_until(|| runtime.metrics().live_tasks == 0, || "it ends".into());
                };
                if handle_is_last {
                    end();
                }
                let dropped = std::panic::AssertUnwindSafe(|| drop(task));
                assert!(
                    std::panic::catch_unwind(dropped).is_ok(),
                    "the drop of the handle does not panic"
                );
                if !handle_is_last {
                    end();
                }
            }
            assert_eq!(runtime.must_run(async { spawn(async { 4 }).await.unwrap() }), 4);
        });
    });
}

#[test]
fn waker_that_runs_runtime_code_when_woken_does_not_deadlock() {
    // Goal: S6, no foreign code under locks; method: wakers that spawn, cancel, and read metrics.
    struct Busy(ringloop::Handle, Slot<ringloop::Task<()>>, Count);
    impl std::task::Wake for Busy {
        fn wake(self: Arc<Self>) {
            let _ = self.0.metrics();
            let count = self.2.clone();
            drop(self.0.spawn(async move {
                count.add();
            }));
            self.1.with(|task| task.cancel());
        }
    }
    on_every(|cfg| {
        cfg.once(async {
            let ran = Count::new();
            for _ in 0..20 {
                let victim = Slot::new();
                victim.put(spawn(pending::<()>()));
                let busy = Busy(ringloop::Handle::current(), victim.clone(), ran.clone());
                let waker = Waker::from(Arc::new(busy));
                let mut sleep = Box::pin(ringloop::time::sleep(Duration::from_millis(1)));
                let mut task = spawn(async { yield_now().await });
                assert!(poll_by_hand(&mut sleep, &waker).is_pending());
                let pending = poll_by_hand(&mut task, &waker).is_pending();
                // A poll of either here would replace the busy waker with this task's.
                let done = || victim.with(ringloop::Task::is_finished).unwrap();
                wait_until_async(done, || "the busy waker was woken".into()).await;
                sleep.await;
                if pending {
                    task.await.unwrap();
                }
                let victim = victim.take().unwrap();
                assert!(victim.await.unwrap_err().is_cancelled());
            }
            wait_until_async(|| ran.get() >= 20, || "wakers ran".into()).await;
        });
    });
}

static KEPT: Mutex<Vec<Waker>> = Mutex::new(Vec::new());

#[test]
fn waker_kept_in_a_static_outlives_the_runtime() {
    // Goal: tests 45, 46; method: wakers of finished, cancelled and leftover tasks are woken, cloned
    // and dropped after their runtimes have ended.
    on_every(|cfg| {
        let keep = || {
            poll_fn(|cx| {
                KEPT.lock().unwrap().push(cx.waker().clone());
                Poll::Ready(())
            })
        };
        cfg.once(async {
            keep().await;
            spawn(async move { keep().await }).await.unwrap();
            let cancelled = spawn(async move {
                keep().await;
                pending::<()>().await
            });
            yield_now().await;
            cancelled.cancel();
            let _ = cancelled.await;
            ringloop::spawn_local(async move { keep().await }).await.unwrap();
        });
        let runtime = cfg.runtime();
        let (started, count) = (Count::new(), 10);
        for _ in 0..count {
            let started = started.clone();
            drop(runtime.spawn(async move {
                keep().await;
                started.add();
                pending::<()>().await
            }));
        }
        wait_until(|| started.get() == count, || "tasks start".into());
        drop(runtime.into_inner());
        let kept = std::mem::take(&mut *KEPT.lock().unwrap());
        assert!(kept.len() >= count);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for waker in &kept {
                        let copy = waker.clone();
                        waker.wake_by_ref();
                        copy.wake();
                    }
                });
            }
        });
        // Some are never dropped, like wakers in a static.
        KEPT.lock().unwrap().extend(kept.into_iter().take(3));
        KEPT.lock().unwrap().retain(|waker| {
            waker.wake_by_ref();
            true
        });
    });
}

#[test]
fn wakes_from_foreign_threads_during_shutdown_are_harmless() {
    // Goal: test 45; method: threads wake tasks of a runtime without pause while it shuts down and
    // after its end.
    on_every(|cfg| {
        for _ in 0..scaled(10) {
            let runtime = cfg.runtime();
            let (wakers, started) = (Arc::new(Mutex::new(Vec::new())), Count::new());
            for _ in 0..32 {
                let (wakers, started) = (wakers.clone(), started.clone());
                drop(runtime.spawn(poll_fn(move |cx| {
                    wakers.lock().unwrap().push(cx.waker().clone());
                    started.add();
                    Poll::<()>::Pending
                })));
            }
            wait_until(|| started.get() >= 32, || "tasks start".into());
            let all: Vec<Waker> = wakers.lock().unwrap().clone();
            let stop = AtomicBool::new(false);
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        while !stop.load(Ordering::Relaxed) {
                            all.iter().for_each(Waker::wake_by_ref);
                            all.iter().cloned().for_each(Waker::wake);
                        }
                        all.iter().for_each(Waker::wake_by_ref);
                    });
                }
                drop(runtime.into_inner());
                stop.store(true, Ordering::Relaxed);
            });
        }
    });
}

#[test]
fn wakers_cloned_a_million_times_do_not_keep_the_future() {
    // Goal: test 46; method: a million clones of one waker; the captures are dropped when the task
    // ends nevertheless, and a million late wakes do nothing.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let (slot, dropped) = (Slot::new(), Count::new());
            let (put, guard) = (slot.clone(), dropped.on_drop());
            let task = spawn(async move {
                let _guard = guard;
                poll_fn(|cx| {
                    put.put(vec![cx.waker().clone(); 1_000_000]);
                    Poll::Ready(())
                })
                .await;
            });
            task.await.unwrap();
            assert_eq!(dropped.get(), 1);
            let wakers: Vec<Waker> = slot.take().unwrap();
            for (i, waker) in wakers.into_iter().enumerate() {
                if i % 2 == 0 { waker.wake() } else { drop(waker) }
            }
        });
    });
}

#[test]
fn waker_compares_equal_to_its_clones_only() {
    // Goal: will_wake, which combinators rely on; method: own clone, and the waker of another task.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let mine = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
            let same = poll_fn(|cx| Poll::Ready(cx.waker().will_wake(&mine))).await;
            assert!(same);
            let other = mine.clone();
            let theirs = spawn(poll_fn(move |cx| Poll::Ready(cx.waker().will_wake(&other))));
            assert!(!theirs.await.unwrap());
        });
    });
}

#[test]
fn leaf_moved_between_tasks_wakes_the_new_one() {
    // Goal: a pending future that another task polls wakes that task; method: sleep, read, accept
    // and a handle are polled in one task and finished in another.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let release = Flag::new();
            let wait = release.clone();
            let mut sleep = Box::pin(ringloop::time::sleep(Duration::from_millis(10)));
            let mut task = spawn(async move { wait.wait().await });
            let (near, mut far) = crate::net_stream::pair().await;
            let mut read = Box::pin(async move {
                let (mut near, mut buf) = (near, [0; 4]);
                near.read_exact(&mut buf).await.unwrap();
                buf
            });
            poll_fn(|cx| {
                assert!(sleep.as_mut().poll(cx).is_pending());
                assert!(read.as_mut().poll(cx).is_pending());
                assert!(pin!(&mut task).poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            let sleeper = spawn(sleep);
            let reader = spawn(read);
            let waiter = spawn(task);
            yield_now().await;
            release.set();
            far.write_all(b"moved"[..4].as_ref()).await.unwrap();
            sleeper.await.unwrap();
            waiter.await.unwrap().unwrap();
            assert_eq!(&reader.await.unwrap(), b"move");
        });
    });
}

#[test]
fn leaf_polled_with_a_plain_context_on_a_worker_still_completes() {
    // Goal: our futures work with foreign wakers (select, FuturesUnordered); method: poll with a
    // noop waker first, then with the task's.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let mut sleep = Box::pin(ringloop::time::sleep(Duration::from_millis(5)));
            let first = sleep.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(first.is_pending());
            sleep.await;
        });
    });
}
