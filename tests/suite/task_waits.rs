//! What a task waits for, as shown in lists and by `Debug`.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use ringloop::net::{TcpListener, TcpStream};
use ringloop::sync::{
    Barrier, Condition, Event, Lock, Notify, OnceCell, Queue, RwLock, Semaphore, SharedFuture,
    broadcast, channel, oneshot, watch,
};
use ringloop::task::{Builder, TaskId, TaskState};
use ringloop::time::{sleep, timeout};
use ringloop::{Task, Until, all_tasks, spawn, yield_now};

use crate::harness::{on_every, wait_until_async};

/// What the list shows for a task that has suspended.
async fn waits_for<T>(task: &Task<T>) -> Option<String> {
    let info = || all_tasks().into_iter().find(|info| info.id() == task.id()).unwrap();
    let suspended = || info().state() == TaskState::Suspended;
    wait_until_async(suspended, || "the task suspends".into()).await;
    let told = info().waits_for().map(|wait| wait.to_string());
    if let Some(told) = told.as_deref().filter(|told| !told.contains("timer")) {
        assert!(format!("{task:?}").contains(told), "{task:?}");
    }
    told
}

#[test]
fn wait_is_shown_for_each_kind_of_future() {
    // Goal: a lock, a descriptor, a timer and a task are named; a limit on one of them does not
    // hide it; for a foreign future nothing is shown, also where the task has waited for one of
    // ours before.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let lock = Arc::new(Lock::new(0));
            let held = lock.lock().await;
            let locker = |limit: bool| {
                let lock = lock.clone();
                spawn(async move {
                    if limit {
                        let waited = timeout(Duration::from_secs(3600), lock.lock()).await;
                        *waited.unwrap() += 1;
                    } else {
                        *lock.lock().await += 1;
                    }
                })
            };
            let (plain, limited) = (locker(false), locker(true));
            let (of_plain, of_limited) = (waits_for(&plain).await, waits_for(&limited).await);
            assert!(of_plain.as_ref().unwrap().starts_with("Lock at 0x"));
            assert_eq!(of_plain, of_limited);

            let id = plain.id();
            let joiner = spawn(plain);
            assert_eq!(waits_for(&joiner).await, Some(format!("task {id}")));

            let sleeper = spawn(sleep(Duration::from_secs(3600)));
            let told = waits_for(&sleeper).await.unwrap();
            let left = told.strip_prefix("a timer in ").and_then(|rest| rest.strip_suffix("ms"));
            let left: u64 = left.unwrap().parse().unwrap();
            assert!((3_000_000..=3_600_000).contains(&left), "{told}");

            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (_peer, _) = listener.accept().await.unwrap();
            let descriptor = std::os::fd::AsRawFd::as_raw_fd(&stream);
            let reader = spawn(async move { stream.read(&mut [0; 8]).await.map(drop) });
            assert_eq!(waits_for(&reader).await, Some(format!("descriptor {descriptor}")));

            let other = Builder::new().spawn(async {
                sleep(Duration::from_millis(1)).await;
                pending::<()>().await;
            });
            while waits_for(&other).await.is_some() {
                yield_now().await;
            }
            drop(held);
            joiner.await.unwrap().unwrap();
            limited.await.unwrap();
            for task in [sleeper, other] {
                task.cancel();
                assert!(task.await.unwrap_err().is_cancelled());
            }
            reader.cancel();
            assert!(reader.await.unwrap_err().is_cancelled());
        });
    });
}

#[test]
fn each_primitive_is_shown_with_its_kind_and_name() {
    // Goal: every call of `sync` in which a task suspends is shown; method: one task in each.
    /// What the list shows for a task, whose future is then dropped while it waits.
    async fn told<F>(waiting: F) -> String
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let task = spawn(async move { drop(waiting.await) });
        let told = waits_for(&task).await.expect("it waits for a primitive");
        task.cancel();
        assert!(task.await.unwrap_err().is_cancelled());
        told
    }
    on_every(|cfg| {
        cfg.once(async {
            let lock = Arc::new(Lock::new(()).named("accounts"));
            let _locked = lock.lock().await;
            let other = lock.clone();
            let waiting = told(async move { drop(other.lock().await) });
            assert_eq!(waiting.await, "Lock \"accounts\"");
            let lock = Arc::new(RwLock::new(()).named("table"));
            let _written = lock.write().await;
            let other = lock.clone();
            let waiting = told(async move { drop(other.read().await) });
            assert_eq!(waiting.await, "RwLock \"table\"");
            let none = Semaphore::new(0).named("slots");
            let waiting = told(async move { none.acquire().await.is_ok() });
            assert_eq!(waiting.await, "Semaphore \"slots\"");
            let event = Event::new().named("started");
            assert_eq!(told(async move { event.wait().await }).await, "Event \"started\"");
            let notify = Notify::new().named("changed");
            assert_eq!(told(async move { notify.notified().await }).await, "Notify \"changed\"");
            let barrier = Barrier::new(2).named("start");
            let waiting = told(async move { barrier.wait().await.is_ok() });
            assert_eq!(waiting.await, "Barrier \"start\"");
            let condition = Condition::new().named("filled");
            let waiting = told(async move {
                let lock = Lock::new(());
                drop(condition.wait(lock.lock().await).await);
            });
            assert_eq!(waiting.await, "Condition \"filled\"");
            let cell = OnceCell::new();
            let waiting = told(async move {
                let make = || async { cell.get_or_init(pending::<()>).await };
                let (first, second) = (make(), make());
                ringloop::gather!(second, first).await;
            });
            assert!(waiting.await.starts_with("OnceCell at 0x"));

            let queue = Arc::new(Queue::bounded(1).named("jobs"));
            let other = queue.clone();
            let waiting = told(async move { other.get().await.is_ok() });
            assert_eq!(waiting.await, "get of Queue \"jobs\"");
            queue.put(1).await.unwrap();
            let other = queue.clone();
            let waiting = told(async move { other.put(2).await.is_ok() });
            assert_eq!(waiting.await, "put of Queue \"jobs\"");
            let waiting = told(async move { queue.join().await });
            assert_eq!(waiting.await, "join of Queue \"jobs\"");
            let (sender, receiver) = channel::<u32>(1);
            let waiting = told(async move { receiver.recv().await.is_ok() });
            assert!(waiting.await.starts_with("Receiver at 0x"));
            drop(sender);
            let (sender, _receiver) = channel(1);
            sender.send(1).await.unwrap();
            let waiting = told(async move { sender.send(2).await.is_ok() });
            assert!(waiting.await.starts_with("Sender at 0x"));
            let (_sender, mut receiver) = broadcast::channel::<u32>(1);
            let waiting = told(async move { receiver.recv().await.is_ok() });
            assert!(waiting.await.starts_with("broadcast::Receiver at 0x"));
            let (_sender, mut receiver) = watch::channel(0);
            let waiting = told(async move { receiver.changed().await.is_ok() });
            assert!(waiting.await.starts_with("watch at 0x"));
            let (_promise, deferred) = oneshot::<u32>();
            assert!(told(deferred).await.starts_with("Deferred at 0x"));
            let (_promise, future) = SharedFuture::<u32>::new();
            assert!(told(future).await.starts_with("SharedFuture at 0x"));
        });
    });
}

#[test]
fn name_is_shown_only_for_the_primitive_that_has_it_now() {
    // Goal: a number that is reused does not carry the old name along; method: named locks that
    // come and go, and a name that is changed.
    on_every(|cfg| {
        cfg.once(async {
            for name in ["one", "two", "three"] {
                let lock = Arc::new(Lock::new(()).named("none").named(name));
                let held = lock.lock().await;
                let other = lock.clone();
                let task = spawn(async move { drop(other.lock().await) });
                assert_eq!(waits_for(&task).await, Some(format!("Lock {name:?}")));
                drop(held);
                task.await.unwrap();
            }
        });
    });
}

#[test]
fn combinators_record_which_task_awaits_which() {
    // Goal: each task that a combinator waits for records the task that awaits it, also a task that
    // has an extension already, or is named later; method: all combinators over tasks, with a task
    // that waits for ever in each.
    on_every(|cfg| {
        cfg.once(async {
            let made = || {
                let first = Builder::new().name("first").spawn(pending::<()>());
                let tasks = [first, spawn(pending::<()>()), spawn(pending::<()>())];
                let ids: Vec<_> = tasks.iter().map(Task::id).collect();
                (tasks, ids)
            };
            let check = async |waiting: Task<()>, ids: Vec<TaskId>| {
                let awaited = || {
                    let listed = all_tasks();
                    let of = |id| listed.iter().find(|info| info.id() == id).unwrap().awaited_by();
                    ids.iter().all(|&id| of(id) == Some(waiting.id()))
                };
                wait_until_async(awaited, || "they record the waiting task".into()).await;
                waiting.cancel();
                _ = waiting.await;
                all_tasks()
                    .iter()
                    .filter(|i| ids.contains(&i.id()))
                    .for_each(|i| _ = i.canceller().cancel());
            };
            let ([one, two, three], ids) = made();
            check(spawn(async { drop(ringloop::gather!(one, two, three).await) }), ids).await;
            let ([one, two, three], ids) = made();
            check(spawn(async { drop(ringloop::race!(one, two, three).await) }), ids).await;
            let (tasks, ids) = made();
            check(spawn(async { drop(ringloop::gather_settled(tasks).await) }), ids).await;
            let (mut tasks, ids) = made();
            let waiting = async move { drop(ringloop::wait(&mut tasks, Until::All, None).await) };
            check(spawn(waiting), ids).await;
            let (tasks, ids) = made();
            check(spawn(async { ringloop::as_completed(tasks).for_each(async |_| ()).await }), ids)
                .await;
        });
    });
}

#[test]
fn t74_cycle_of_awaiting_tasks_is_visible() {
    // Goal: T74, as data: two tasks that await each other are each shown to wait for the other.
    on_every(|cfg| {
        cfg.once(async {
            let (give, take) = ringloop::sync::oneshot::<Task<()>>();
            let first = spawn(async move { take.await.unwrap().await });
            let (canceller, id) = (first.canceller(), first.id());
            let second = Builder::new().name("second").spawn(async move { drop(first.await) });
            let other = second.id();
            assert!(give.set(second).is_ok());
            let info = |id| all_tasks().into_iter().find(|info| info.id() == id).unwrap();
            let waits = |id| info(id).waits_for().map(|wait| wait.to_string());
            let closed = || {
                waits(id) == Some(format!("task {other}"))
                    && waits(other) == Some(format!("task {id}"))
            };
            wait_until_async(closed, || "the cycle is shown".into()).await;
            assert_eq!((info(id).awaits(), info(other).awaits()), (Some(other), Some(id)));
            canceller.cancel();
        });
    });
}
