//! What a task waits for, as lists and `Debug` tell it.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use ringloop::net::{TcpListener, TcpStream};
use ringloop::sync::Lock;
use ringloop::task::{Builder, TaskState};
use ringloop::time::{sleep, timeout};
use ringloop::{Task, all_tasks, spawn, yield_now};

use crate::harness::{on_every, wait_until_async};

/// What the list says of a task that has suspended.
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
fn wait_is_told_for_each_kind_of_leaf() {
    // Goal: a lock, a descriptor, a timer and a task are named; a limit on something does not hide it;
    // a future of somebody else says nothing, also where the task has waited for a leaf before.
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
            assert!(of_plain.as_ref().unwrap().starts_with("a lock or another primitive at 0x"));
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
            canceller.cancel();
        });
    });
}
