//! Snapshots: what is in them, also while workers are stuck, and as JSON.

use std::collections::BTreeMap;
use std::future::pending;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringloop::introspect::{Dump, TaskDump, TaskState, WaitDump, WaitKind, WorkerState};
use ringloop::net::{TcpListener, TcpStream};
use ringloop::process::Command;
use ringloop::sync::{Barrier, Lock, Queue, Semaphore, channel};
use ringloop::task::{Builder, TaskEvent, TaskId};
use ringloop::time::{sleep, timeout};
use ringloop::{Handle, Task, current_task, introspect, spawn, task_group, to_thread, yield_now};

use crate::harness::{on_every, on_every_within, scaled, wait_until, wait_until_async};

/// The task in a snapshot of this moment.
fn look(id: TaskId) -> TaskDump {
    Handle::current().dump().task(id).expect("it is listed").clone()
}

/// What the task waits for, once it waits for something of that kind.
async fn wait_of<T>(task: &Task<T>, kind: WaitKind) -> WaitDump {
    let found = || look(task.id()).waiting_on.filter(|wait| wait.kind == kind);
    let text = || format!("{:?} waits for {kind:?}", look(task.id()));
    wait_until_async(|| found().is_some(), text).await;
    found().unwrap()
}

async fn end<T>(task: Task<T>) {
    task.cancel();
    _ = task.await;
}

#[test]
fn introspect_a_snapshot_says_what_each_task_waits_for() {
    // Goal: each wait has its kind and its words, with the names and numbers of what it waits for; method:
    // one task for each kind.
    on_every(|cfg| {
        cfg.once(async {
            let lock = Arc::new(Lock::new(()).named("accounts"));
            let held = lock.lock().await;
            let own = current_task().unwrap().id();
            let theirs = lock.clone();
            let waits = spawn(async move { drop(theirs.lock().await) });
            let wait = wait_of(&waits, WaitKind::Lock).await;
            assert_eq!(wait.text, format!("Lock `accounts`, held by task {own}"));
            assert_eq!((wait.name.as_deref(), wait.holder), (Some("accounts"), Some(own)));
            assert!(wait.since.is_some());
            let found = Handle::current().dump().primitives();
            let found = found.iter().find(|found| found.name.as_deref() == Some("accounts"));
            assert_eq!(found.unwrap().waiters, [waits.id()]);
            drop(held);
            waits.await.unwrap();
            assert_eq!(look(own).holds, None);

            let sleeps = spawn(sleep(Duration::from_secs(3600)));
            let wait = wait_of(&sleeps, WaitKind::Timer).await;
            assert!(wait.text.starts_with("timer 3599."), "{}", wait.text);
            assert!(wait.left.unwrap() <= Duration::from_secs(3600));
            end(sleeps).await;

            let queue = Arc::new(Queue::<u8>::bounded(1).named("work"));
            let theirs = queue.clone();
            let gets = spawn(async move { theirs.get().await.unwrap() });
            assert_eq!(wait_of(&gets, WaitKind::QueueGet).await.text, "Queue.get `work`");
            end(gets).await;
            let (send, receive) = channel::<u8>(1);
            let receives = spawn(async move { receive.recv().await });
            let wait = wait_of(&receives, WaitKind::ChannelReceive).await;
            assert!(wait.text.starts_with("Receiver.recv at 0x"), "{}", wait.text);
            end(receives).await;
            drop(send);

            let named = Builder::new().name("forever").spawn(pending::<()>());
            let id = named.id();
            let joins = spawn(named);
            let wait = wait_of(&joins, WaitKind::Task).await;
            assert_eq!((wait.text, wait.task), (format!("join of task {id} `forever`"), Some(id)));
            end(joins).await;
            Handle::current().all_tasks().iter().for_each(|task| {
                _ = task.id() == id && task.canceller().cancel();
            });

            let (let_go, held_up) = mpsc::channel::<()>();
            let job = to_thread(move || _ = held_up.recv());
            let id = job.id();
            let joins = spawn(job);
            let wait = wait_of(&joins, WaitKind::Job).await;
            assert_eq!((wait.text, wait.task), (format!("blocking job {id}"), Some(id)));
            drop(let_go);
            joins.await.unwrap().unwrap();

            let grouped = spawn(async {
                task_group(async |group| group.spawn(pending::<()>()).detach()).await.unwrap();
            });
            let wait = wait_of(&grouped, WaitKind::Group).await;
            let child = Handle::current().dump();
            let child = child.tasks().find(|task| task.group == Some(wait.key)).unwrap();
            assert_eq!(
                (child.parent, wait.text),
                (Some(grouped.id()), format!("the tasks of group {}", wait.key))
            );
            end(grouped).await;
        });
    });
}

#[test]
fn introspect_a_wait_for_a_descriptor_has_its_address() {
    // Goal: a read, an accept and a child are named by address and number; method: one task for each.
    on_every(|cfg| {
        cfg.once(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let accepts = spawn(async move {
                let accepted = listener.accept().await.unwrap().0;
                (listener, accepted)
            });
            let wait = wait_of(&accepts, WaitKind::Accept).await;
            assert_eq!(wait.text, format!("accept on {addr}, fd {}", wait.fd.unwrap()));
            let mut stream = TcpStream::connect(addr).await.unwrap();
            let accepted = accepts.await.unwrap();
            let reads = spawn(async move { stream.read(&mut [0; 8]).await.unwrap() });
            let wait = wait_of(&reads, WaitKind::Read).await;
            assert_eq!(wait.text, format!("read of {addr}, fd {}", wait.fd.unwrap()));
            drop(accepted);
            assert_eq!(reads.await.unwrap(), 0);

            let mut child = Command::new("/bin/cat").stdin(Stdio::piped()).spawn().await.unwrap();
            let pid = child.id();
            let stdin = child.stdin.take();
            let waits = spawn(async move { child.wait().await.unwrap() });
            let wait = wait_of(&waits, WaitKind::Process).await;
            assert_eq!((wait.text, wait.key), (format!("process {pid}"), u64::from(pid)));
            drop(stdin);
            assert!(waits.await.unwrap().success());
        });
    });
}

#[test]
fn introspect_the_record_counts_polls_wakes_and_parents() {
    // Goal: polls, wake-ups, parent and age are right; method: a task with a known life.
    on_every(|cfg| {
        cfg.once(async {
            let own = current_task().unwrap().id();
            let (send, receive) = channel::<u8>(1);
            let task = spawn(async move {
                for _ in 0..3 {
                    yield_now().await;
                }
                while receive.recv().await.is_ok() {}
            });
            wait_of(&task, WaitKind::ChannelReceive).await;
            let before = look(task.id());
            assert_eq!((before.polls, before.wakes, before.parent), (4, 0, Some(own)));
            assert!(before.last_ran.is_some_and(|ran| ran <= before.age));
            send.send(1).await.unwrap();
            wait_until_async(|| look(task.id()).polls == 5, || "it is polled again".into()).await;
            let after = look(task.id());
            assert_eq!((after.polls, after.wakes), (5, 1));
            assert!(after.busy <= after.age && after.busy + after.idle == after.age);
            drop(send);
            task.await.unwrap();
        });
    });
}

#[test]
fn introspect_a_snapshot_is_taken_while_every_worker_is_stuck() {
    // Goal: a snapshot from a plain thread shows all tasks while no worker comes back, and which task
    // holds which worker; method: a task for each worker that blocks its thread.
    on_every(|cfg| {
        let runtime = cfg.builder().build().unwrap();
        let (let_go, held_up) = mpsc::channel::<()>();
        let held_up = Arc::new(Mutex::new(held_up));
        let stuck: Vec<_> = (0..cfg.workers)
            .map(|_| {
                let held_up = held_up.clone();
                runtime.spawn(async move { _ = held_up.lock().unwrap().recv() })
            })
            .collect();
        let all_held = |dump: &Dump| {
            let workers = &dump.runtimes[0].workers;
            workers.iter().all(|worker| worker.state == WorkerState::Held)
        };
        let dump = || runtime.handle().dump();
        wait_until(
            || all_held(&dump()),
            || format!("all are held: {:?}", dump().runtimes[0].workers),
        );
        let waits = runtime.spawn(pending::<()>());
        let dump = dump();
        for task in &stuck {
            let task = dump.task(task.id()).unwrap();
            assert_eq!(task.state, TaskState::Running);
            let worker = &dump.runtimes[0].workers[task.worker.unwrap()];
            assert_eq!(worker.task, Some(task.id));
            assert!(worker.polling_for.is_some());
        }
        assert_eq!(dump.task(waits.id()).unwrap().state, TaskState::Ready);
        assert!(introspect::dump().task(waits.id()).is_some());
        assert_eq!(
            introspect::dump_up_to(1).runtimes.iter().map(|it| it.tasks.len()).max(),
            Some(1)
        );
        for _ in &stuck {
            let_go.send(()).unwrap();
        }
        waits.cancel();
        stuck.into_iter().for_each(|task| runtime.run(task).unwrap().unwrap());
    });
}

#[test]
fn introspect_json_is_read_by_a_parser() {
    // Goal: the JSON has what the snapshot has, for names with any characters; method: a parser of others.
    on_every(|cfg| {
        cfg.once(async {
            let name = "quotes \" and \\ and \n and \u{1F600}";
            let task = Builder::new().name(name).spawn(sleep(Duration::from_secs(3600)));
            wait_of(&task, WaitKind::Timer).await;
            let dump = Handle::current().dump();
            let json: serde_json::Value = serde_json::from_str(&dump.to_json()).unwrap();
            assert_eq!(json["format"], introspect::FORMAT);
            assert_eq!(json["process"]["pid"], std::process::id());
            let runtime = &json["runtimes"][0];
            assert_eq!(runtime["workers"].as_array().unwrap().len(), cfg.workers);
            let tasks = runtime["tasks"].as_array().unwrap();
            let found = tasks.iter().find(|found| found["name"] == name).unwrap();
            assert_eq!(found["id"].to_string(), task.id().to_string());
            assert_eq!(found["state"], "waiting");
            assert_eq!(found["waiting_on"]["kind"], "timer");
            assert!(found["spawned_at"].as_str().unwrap().contains("introspect.rs:"));
            assert_eq!(tasks.len(), dump.tasks().count());
            end(task).await;
        });
    });
}

#[test]
fn introspect_a_cycle_of_locks_and_joins_is_found() {
    // Goal: tasks that wait for each other by locks are a cycle, in the graph and in the tree; a task that
    // only waits for one of them is in no cycle; method: two tasks that take two locks in either order.
    on_every(|cfg| {
        cfg.once(async {
            let locks = [Arc::new(Lock::new(())), Arc::new(Lock::new(()).named("second"))];
            let both = Arc::new(Barrier::new(2));
            let take = |name, [first, then]: [Arc<Lock<()>>; 2]| {
                let both = both.clone();
                Builder::new().name(name).spawn(async move {
                    let _first = first.lock().await;
                    both.wait().await.unwrap();
                    let _then = then.lock().await;
                })
            };
            let [first, second] = locks;
            let one = take("one", [first.clone(), second.clone()]);
            let other = take("other", [second, first]);
            let mut expected = vec![one.id(), other.id()];
            expected.sort_unstable();
            let ends = one.canceller();
            let id = one.id();
            let joins = spawn(one);
            let cycles = || Handle::current().dump().await_graph().cycles;
            let found = || cycles() == [expected.clone()];
            wait_until_async(found, || format!("the cycle is found: {:?}", cycles())).await;
            wait_of(&joins, WaitKind::Task).await;
            let graph = joins.await_graph();
            assert_eq!(graph.awaited_by(joins.id()).next().map(|edge| edge.to), Some(id));
            assert_eq!((graph.edges.len(), graph.cycles), (3, vec![expected.clone()]));
            let tree = Handle::current().dump().tree();
            let line = tree.lines().find(|line| line.contains("\"other\"")).unwrap();
            assert!(line.contains("waiting: Lock at 0x"), "{tree}");
            assert!(line.contains(&format!("held by task {id} `one`")), "{tree}");
            let cycle =
                format!("cycle: task {}, task {} wait for each other", expected[0], expected[1]);
            assert!(tree.contains(&cycle), "{tree}");
            ends.cancel();
            assert!(joins.await.unwrap().is_err());
            other.await.unwrap();
            assert!(cycles().is_empty());
        });
    });
}

#[test]
fn introspect_metrics_have_times_and_a_text_for_prometheus() {
    // Goal: while somebody observes, each poll and each delay is measured, and the text has them; method: counts
    // before and after some polls.
    on_every(|cfg| {
        cfg.once(async {
            let metrics = || Handle::current().metrics();
            let _observer = introspect::Observer::new();
            // A worker looks for observers once in a while.
            let looked = async || {
                let before = metrics().poll_times.count();
                for _ in 0..64 {
                    spawn(yield_now()).await.unwrap();
                }
                metrics().poll_times.count() >= before + 64
            };
            while !looked().await {}
            let metrics = metrics();
            assert!(metrics.schedule_delays.count() > 0);
            assert!(metrics.poll_times.quantile(0.5).is_some());
            let text = metrics.to_prometheus();
            assert!(text.contains("# TYPE ringloop_poll_seconds histogram\n"), "{text}");
            let count = format!("ringloop_poll_seconds_count {}\n", metrics.poll_times.count());
            assert!(text.contains(&count), "{text}");
            for line in text.lines().filter(|line| !line.starts_with('#')) {
                let (name, value) = line.rsplit_once(' ').unwrap();
                assert!(name.starts_with("ringloop_") && value.parse::<f64>().is_ok(), "{line}");
            }
            let own = current_task().unwrap().id();
            assert!(look(own).busy > Duration::ZERO);
        });
    });
}

#[test]
fn introspect_snapshots_while_tasks_come_and_go() {
    // Goal: no task is twice in a snapshot, no name is torn, and a name belongs to its task; method: a thread
    // takes snapshots while 8 threads spawn tasks with names, of which each waits once.
    on_every_within(Duration::from_secs(120), |cfg| {
        let runtime = cfg.builder().build().unwrap();
        let churn = scaled(500);
        let done = AtomicBool::new(false);
        let seen = std::thread::scope(|scope| {
            let churners: Vec<_> = (0..8)
                .map(|thread| {
                    let handle = runtime.handle();
                    scope.spawn(move || {
                        for number in 0..churn {
                            let name = format!("{thread}-{number}-{thread}");
                            let nothing = Semaphore::new(0).named(name.clone());
                            let body = async move {
                                yield_now().await;
                                _ = timeout(Duration::from_micros(10), nothing.acquire()).await;
                            };
                            let spawned = handle.block_on(async move {
                                let task = Builder::new().name(name).spawn(body);
                                if number % 3 == 0 {
                                    task.cancel();
                                }
                                task.detach();
                            });
                            spawned.unwrap();
                        }
                    })
                })
                .collect();
            let looker = scope.spawn(|| {
                let mut seen = 0;
                while !done.load(Ordering::Acquire) {
                    let dump = runtime.handle().dump();
                    let mut ids: Vec<_> = dump.tasks().map(|task| task.id).collect();
                    ids.sort_unstable();
                    ids.dedup();
                    assert_eq!(ids.len(), dump.tasks().count(), "a task is there twice");
                    for task in dump.tasks() {
                        let names =
                            [&task.name, &task.waiting_on.as_ref().and_then(|it| it.name.clone())];
                        for name in names.into_iter().flatten() {
                            let parts: Vec<_> = name.split('-').collect();
                            assert!(parts.len() == 3 && parts[0] == parts[2], "torn: {name:?}");
                            seen += 1;
                        }
                    }
                    serde_json::from_str::<serde_json::Value>(&dump.to_json()).unwrap();
                }
                seen
            });
            churners.into_iter().for_each(|thread| thread.join().unwrap());
            done.store(true, Ordering::Release);
            looker.join().unwrap()
        });
        assert!(seen > 0, "no snapshot had a named task");
    });
}

#[test]
fn introspect_hooks_hear_of_each_task_once() {
    // Goal: each task that is spawned, on a worker, from outside, local or eager, is heard of once when it
    // is spawned and once when it has ended, also if it is cancelled or panics; a hook that panics changes nothing;
    // method: counts by name, and a limit of zero for slow polls.
    on_every(|cfg| {
        let counts = Arc::new(Mutex::new(BTreeMap::<(&str, String), usize>::new()));
        let note = |kind: &'static str| {
            let counts = counts.clone();
            move |task: &TaskEvent| {
                let Some(name) = task.name.clone() else { return };
                assert!(task.spawned_at.file().ends_with("introspect.rs"));
                *counts.lock().unwrap().entry((kind, name)).or_default() += 1;
                panic!("a hook that panics");
            }
        };
        let slow = note("slow");
        let builder = cfg.builder().on_spawn(note("spawned")).on_end(note("ended"));
        let builder = builder.on_poll_slow(Duration::ZERO, move |task, _| slow(task));
        let runtime = builder.build().unwrap();
        let named = |name: &str| Builder::new().name(name.to_owned());
        let handle = runtime.handle();
        let outside = handle.block_on(async {
            let inner = named("inner").spawn(yield_now());
            let local = named("local").spawn_local(yield_now());
            let eager = named("eager").eager().spawn(async {});
            let waits = named("cancelled").spawn(pending::<()>());
            yield_now().await;
            waits.cancel();
            let panics = named("panics").spawn(async { panic!("on purpose") });
            _ = (inner.await, local.await, eager.await, waits.await, panics.await);
        });
        outside.unwrap();
        let counts = counts.lock().unwrap();
        for name in ["inner", "local", "eager", "cancelled", "panics"] {
            for kind in ["spawned", "ended"] {
                let count = counts.get(&(kind, name.to_owned()));
                assert_eq!(count, Some(&1), "{kind} {name}: {counts:?}");
            }
        }
        // Two polls, and both are as slow as nothing.
        assert_eq!(counts.get(&("slow", "inner".to_owned())), Some(&2), "{counts:?}");
    });
}
