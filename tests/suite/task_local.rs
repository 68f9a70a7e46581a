//! `spawn_local` and main: futures that are not `Send` stay on their thread (S13).

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use ringloop::{Task, spawn, spawn_local, yield_now};

use crate::harness::{on_every, scaled, wait_until, wait_until_async};
use crate::tools::{Count, Flag, Slot, ThreadBound};

#[test]
fn local_task_shares_an_rc_with_main() {
    // Goal: not `Send` is fine; method: a counter in an Rc, incremented by 100 local tasks.
    on_every(|cfg| {
        cfg.once(async {
            let sum = Rc::new(Cell::new(0));
            let tasks: Vec<_> = (0..100)
                .map(|i| {
                    let sum = sum.clone();
                    spawn_local(async move {
                        yield_now().await;
                        sum.set(sum.get() + i);
                        Rc::new(i)
                    })
                })
                .collect();
            for (i, task) in tasks.into_iter().enumerate() {
                assert_eq!(*task.await.unwrap(), i);
            }
            assert_eq!(sum.get(), 99 * 100 / 2);
        });
    });
}

#[test]
fn local_task_stays_on_its_thread_under_stealing() {
    // Goal: S13; method: every worker spawns local tasks that check their thread at each poll, while
    // stealable tasks flood all queues and foreign threads wake them.
    on_every(|cfg| {
        let (runtime, strays, ended) = (cfg.runtime(), Count::new(), Count::new());
        let n = 40;
        let flag = Flag::new();
        for _ in 0..n {
            let (strays, ended, flag) = (strays.clone(), ended.clone(), flag.clone());
            drop(runtime.spawn(async move {
                drop(spawn_local(async move {
                    let bound = (ThreadBound::new(&strays), Rc::new(()));
                    for i in 0..200 {
                        bound.0.check();
                        match i % 20 {
                            0 => ringloop::time::sleep(Duration::from_micros(100)).await,
                            1 => spawn(async { yield_now().await }).await.unwrap(),
                            _ => yield_now().await,
                        }
                    }
                    flag.wait().await;
                    bound.0.check();
                    ended.add();
                }));
            }));
        }
        let load: Vec<_> = (0..scaled(2000))
            .map(|i| {
                runtime.spawn(async move {
                    for _ in 0..i % 10 {
                        yield_now().await;
                    }
                })
            })
            .collect();
        for task in load {
            runtime.must_run(task).unwrap();
        }
        // Woken by this thread, which is no worker.
        wait_until(|| flag.waiters() == n, || format!("{} wait", flag.waiters()));
        flag.set();
        wait_until(|| ended.get() == n, || format!("{} ended", ended.get()));
        assert_eq!(strays.get(), 0);
    });
}

#[test]
fn local_future_cancelled_on_another_thread_is_dropped_on_its_own() {
    // Goal: S13 at cancel and abort; method: handles go to a foreign thread, which cancels, aborts,
    // or drops owning joins; each future and each unclaimed output is dropped where it was made.
    on_every(|cfg| {
        let (runtime, strays, dropped) = (cfg.runtime(), Count::new(), Count::new());
        let n = scaled(200);
        let handles = Slot::<Vec<Task<()>>>::new();
        handles.put(Vec::new());
        for i in 0..n {
            let (strays, guard, put) = (strays.clone(), dropped.on_drop(), Slot::new());
            let theirs = put.clone();
            drop(runtime.spawn(async move {
                theirs.put(spawn_local(async move {
                    let _bound = (ThreadBound::new(&strays), guard, Rc::new(()));
                    if i % 3 != 0 {
                        pending::<()>().await;
                    }
                }));
            }));
            wait_until(|| put.with(|_| ()).is_some(), || "the local task exists".into());
            let task: Task<()> = put.take().unwrap();
            match i % 4 {
                0 => drop(task.cancel()),
                1 => drop(task.abort()),
                2 => return_join(task),
                _ => {
                    task.cancel();
                    let _ = runtime.must_run(task);
                }
            }
        }
        wait_until(|| dropped.get() == n, || format!("{} dropped", dropped.get()));
        assert_eq!(strays.get(), 0);
    });
}

/// Drops an owning join on this thread.
fn return_join(task: Task<()>) {
    drop(task.join());
}

#[test]
fn local_leftovers_are_dropped_on_their_thread_at_shutdown() {
    // Goal: S13 at the end; method: local tasks left pending on all workers, in both forms.
    on_every(|cfg| {
        let (strays, dropped, started) = (Count::new(), Count::new(), Count::new());
        let n = 50;
        let leave = || {
            let (strays, guard, started) = (strays.clone(), dropped.on_drop(), started.clone());
            spawn(async move {
                drop(spawn_local(async move {
                    let _bound = (ThreadBound::new(&strays), guard, Rc::new(()));
                    started.add();
                    pending::<()>().await
                }));
            })
        };
        let runtime = cfg.runtime().into_inner();
        let spawned = runtime.run(async {
            for _ in 0..n {
                leave().await.unwrap();
            }
        });
        spawned.unwrap();
        wait_until(|| started.get() == n, || "local tasks start".into());
        drop(runtime);
        assert_eq!((dropped.get(), strays.get()), (n, 0));
        let main = async {
            for _ in 0..n {
                leave().await.unwrap();
            }
            wait_until_async(|| started.get() == 2 * n, || "local tasks start".into()).await;
        };
        cfg.builder().run(main).unwrap();
        assert_eq!((dropped.get(), strays.get()), (2 * n, 0));
    });
}

#[test]
fn main_that_is_not_send_stays_on_the_calling_thread() {
    // Goal: main of the one-shot form; method: an Rc across awaits of timers, tasks and sockets, with
    // the thread checked after each.
    on_every(|cfg| {
        let strays = Count::new();
        cfg.once(async {
            let bound = (ThreadBound::new(&strays), Rc::new(1));
            for _ in 0..50 {
                spawn(async { yield_now().await }).await.unwrap();
                bound.0.check();
                ringloop::time::sleep(Duration::from_micros(50)).await;
                bound.0.check();
                ringloop::to_thread(|| ()).await.unwrap();
                bound.0.check();
            }
        });
        assert_eq!(strays.get(), 0);
    });
}

#[test]
fn main_may_borrow_from_the_stack() {
    // Goal: neither form of run asks for 'static; method: mutate a local through a borrow.
    on_every(|cfg| {
        let mut words = vec![String::from("a")];
        cfg.once(async {
            spawn(async {}).await.unwrap();
            words.push("b".into());
        });
        let runtime = cfg.runtime();
        runtime.must_run(async {
            yield_now().await;
            words.push("c".into());
        });
        assert_eq!(words, ["a", "b", "c"]);
    });
}

#[test]
fn local_task_waker_works_from_any_thread() {
    // Goal: the owner's inbox; method: local tasks woken by eight plain threads and by tasks.
    on_every(|cfg| {
        cfg.once(async {
            for _ in 0..scaled(20) {
                let flags: Vec<Flag> = (0..8).map(|_| Flag::new()).collect();
                let locals: Vec<_> = flags
                    .iter()
                    .map(|flag| {
                        let (flag, rc) = (flag.clone(), Rc::new(5));
                        spawn_local(async move {
                            flag.wait().await;
                            *rc
                        })
                    })
                    .collect();
                yield_now().await;
                let threads: Vec<_> =
                    flags.into_iter().map(|flag| std::thread::spawn(move || flag.set())).collect();
                for local in locals {
                    assert_eq!(local.await.unwrap(), 5);
                }
                for thread in threads {
                    thread.join().unwrap();
                }
            }
        });
    });
}
