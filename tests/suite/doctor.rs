//! What the doctor finds, and what it must not find.

use std::{
    future::{pending, poll_fn},
    pin::pin,
    sync::{Arc, Mutex, mpsc},
    task::Poll,
    thread,
    time::Duration,
};

use ringloop::{
    Builder, Handle, Runtime, TaskId, ThreadPool,
    introspect::{
        Checkup, Finding, FindingKind, Severity, TaskState, doctor, findings, findings_to_json,
    },
    spawn,
    sync::{Lock, Queue},
    task, time, to_thread, uncancellable, yield_now,
};

use crate::{
    fs_tools::TestFolder,
    harness::{Cfg, ErrorLog, on_every},
    processes::isolated,
};

/// Between two checkups. A test that runs more slowly finds the same: what it looks for stands still.
const PAUSE: Duration = Duration::from_millis(100);

fn named(name: &'static str) -> task::Builder {
    task::Builder::new().name(name)
}

/// A runtime of threads of its own. Each test has a process to itself: `doctor` sees all runtimes.
fn runtime(cfg: &Cfg) -> Runtime {
    cfg.builder_with(&ErrorLog::default())
        .shutdown_deadline(Duration::from_millis(100))
        .build()
        .unwrap()
}

/// Until the doctor has found it in just these tasks: it is planted by tasks that are not waited for, and that may
/// come to it one by one.
fn find(kind: FindingKind, tasks: &[TaskId]) -> Finding {
    loop {
        let found = doctor(PAUSE).into_iter().find(|finding| {
            let mut about = finding.tasks.clone();
            about.sort();
            finding.kind == kind && about == tasks
        });
        if let Some(found) = found {
            return found;
        }
    }
}

/// What is found but for hints, each time: on a machine that has no core to spare, a healthy service stands still now
/// and then.
fn lasting() -> Vec<Finding> {
    let serious = || doctor(PAUSE).into_iter().filter(|finding| finding.severity > Severity::Info);
    let mut found: Vec<_> = serious().collect();
    for _ in 0..4 {
        if found.is_empty() {
            break;
        }
        let again: Vec<_> = serious().collect();
        let same =
            |one: &Finding, other: &Finding| (one.kind, &one.tasks) == (other.kind, &other.tasks);
        found.retain(|one| again.iter().any(|other| same(one, other)));
    }
    found
}

fn shows(finding: &Finding, text: &str) {
    assert!(finding.evidence.iter().any(|line| line.contains(text)), "{finding}");
}

#[test]
fn task_that_holds_a_worker_is_found_and_what_it_starves() {
    isolated(|| {
        on_every(|cfg| {
            let runtime = runtime(cfg);
            let (release, released) = mpsc::channel::<()>();
            let (tell, told) = mpsc::channel();
            let hog = move || async move {
                tell.send(()).unwrap();
                _ = released.recv();
            };
            let worker = runtime.handle().worker_ids()[0];
            let hog = runtime.handle().spawn_on(worker, hog);
            told.recv().unwrap();
            let starved = runtime.handle().spawn_on(worker, || async {});
            let found = find(FindingKind::HeldWorker, &[hog.id()]);
            assert_eq!(found.severity, Severity::Critical);
            shows(&found, &hog.spawned_at().to_string());
            assert!(found.fix.contains("to_thread"));
            let found = find(FindingKind::Starved, &[starved.id()]);
            shows(&found, "only worker 0 may run it");
            drop(release);
            runtime.run(async { (hog.await, starved.await) }).unwrap().0.unwrap();
            assert_eq!(lasting(), []);
        });
    });
}

#[test]
fn tasks_that_wait_for_each_other_are_found() {
    // Goal: a circle of joins is found with all its tasks, and a chain that ends in a timer is not.
    isolated(|| {
        on_every(|cfg| {
            let runtime = runtime(cfg);
            let slots: Vec<_> = (0..3).map(|_| Arc::new(Mutex::new(None))).collect();
            let (go, wait) = ringloop::sync::watch::channel(false);
            let tasks: Vec<_> = (0..3)
                .map(|at| {
                    let (next, mut wait) = (slots[(at + 1) % 3].clone(), wait.clone());
                    runtime.spawn(async move {
                        wait.wait_for(|go| *go).await.unwrap();
                        let task: Option<ringloop::Task<()>> = next.lock().unwrap().take();
                        task.unwrap().await.unwrap();
                    })
                })
                .collect();
            let ids: Vec<TaskId> = tasks.iter().map(ringloop::Task::id).collect();
            for (slot, task) in slots.iter().zip(tasks) {
                *slot.lock().unwrap() = Some(task);
            }
            let sleeper = runtime.spawn(time::sleep(Duration::from_secs(3600)));
            let chain = runtime.spawn(async { sleeper.await.unwrap() });
            go.send(true).unwrap();
            let found = find(FindingKind::Deadlock, &ids);
            assert_eq!(found.severity, Severity::Critical);
            shows(&found, &format!("join of task {}", ids[0]));
            assert!(!found.tasks.contains(&chain.id()));
            let all = lasting();
            assert_eq!(all.len(), 1, "{all:?}");
        });
    });
}

#[test]
fn task_that_nothing_can_wake_is_found() {
    // Goal: a detached task without a waker is found as a leak; with a handle it is a hint; a task that
    // somebody can wake is neither.
    isolated(|| {
        on_every(|cfg| {
            let runtime = runtime(cfg);
            let (keep, kept) = mpsc::channel();
            let wakeable = poll_fn(move |cx| {
                _ = keep.send(cx.waker().clone());
                Poll::<()>::Pending
            });
            let main = async {
                let lost = named("lost").spawn(pending::<()>());
                named("waked").spawn(wakeable).detach();
                let id = lost.id();
                lost.detach();
                id
            };
            let lost = runtime.run(main).unwrap();
            let found = find(FindingKind::Leak, &[lost]);
            assert_eq!(found.severity, Severity::Warning, "{found}");
            shows(&found, "`lost`");
            let held = runtime.spawn(pending::<()>());
            let hint = loop {
                let found = doctor(PAUSE);
                let hint = |found: &Finding| {
                    found.kind == FindingKind::Leak && found.severity == Severity::Info
                };
                if let Some(hint) = found.into_iter().find(hint) {
                    break hint;
                }
            };
            assert_eq!(hint.tasks, [held.id()]);
            drop(kept);
        });
    });
}

#[test]
fn queue_from_which_nothing_is_taken_is_found() {
    isolated(|| {
        on_every(|cfg| {
            let runtime = runtime(cfg);
            let queue = Arc::new(Queue::bounded(1).named("jobs"));
            let busy = Arc::new(Queue::bounded(1));
            let putters: Vec<TaskId> = (0..2)
                .map(|_| {
                    let queue = queue.clone();
                    let task = runtime.spawn(async move { while queue.put(1).await.is_ok() {} });
                    let id = task.id();
                    task.detach();
                    id
                })
                .collect();
            let (to, from) = (busy.clone(), busy);
            runtime.spawn(async move { while to.put(1).await.is_ok() {} }).detach();
            runtime
                .spawn(async move {
                    while from.get().await.is_ok() {
                        yield_now().await;
                    }
                })
                .detach();
            let found = find(FindingKind::FullQueue, &putters);
            assert!(found.what.contains("`jobs`"), "{found}");
            let all = lasting();
            let full = all.iter().filter(|finding| finding.kind == FindingKind::FullQueue);
            assert_eq!(full.count(), 1, "the other has a consumer: {all:?}");
        });
    });
}

#[test]
fn lane_without_a_free_thread_is_found() {
    isolated(|| {
        on_every(|cfg| {
            let builder = cfg.builder_with(&ErrorLog::default()).blocking_threads(1);
            let runtime = builder.build().unwrap();
            let (release, released) = mpsc::channel::<()>();
            let main = async move {
                to_thread(move || _ = released.recv()).detach();
                to_thread(|| ()).detach();
            };
            runtime.run(main).unwrap();
            let found = find(FindingKind::SaturatedLane, &[]);
            assert!(found.what.contains("all 1 threads") && found.what.contains("`blocking`"));
            drop(release);
            runtime.run(async { to_thread(|| ()).await.unwrap() }).unwrap();
            assert_eq!(lasting(), []);
            let pool = ThreadPool::new("sums", 1).unwrap();
            let (release, released) = mpsc::channel::<()>();
            let holds = pool.submit(move || _ = released.recv());
            let waits = pool.submit(|| ());
            let found = find(FindingKind::SaturatedLane, &[]);
            assert!(found.what.contains("`sums`") && found.fix.contains("ThreadPool"), "{found}");
            drop(release);
            runtime.run(async { (holds.await, waits.await) }).unwrap().1.unwrap();
            assert_eq!(lasting(), []);
        });
    });
}

#[test]
fn task_that_takes_the_time_of_others_is_found() {
    // Goal: one task with long polls is named as soon as others wait for it, and not if nothing does.
    isolated(|| {
        on_every(|cfg| {
            if !cfg.single() {
                return;
            }
            let runtime = runtime(cfg);
            let greedy = async {
                loop {
                    thread::sleep(Duration::from_millis(20));
                    yield_now().await;
                }
            };
            let greedy = runtime.spawn(greedy);
            assert!(lasting().is_empty());
            let modest = async {
                loop {
                    yield_now().await;
                    time::sleep(Duration::from_micros(100)).await;
                }
            };
            runtime.spawn(modest).detach();
            find(FindingKind::UnfairCpu, &[greedy.id()]);
        });
    });
}

#[test]
fn cancelled_task_that_does_not_end_is_found() {
    isolated(|| {
        on_every(|cfg| {
            let runtime = runtime(cfg);
            let (tell, told) = mpsc::channel();
            let deaf = async move {
                tell.send(()).unwrap();
                uncancellable(time::sleep(Duration::from_secs(3600))).await;
            };
            let deaf = runtime.spawn(deaf);
            told.recv().unwrap();
            deaf.cancel();
            let found = loop {
                let found = find(FindingKind::StuckCancel, &[deaf.id()]);
                // Before it has had its turn, it waits for that.
                if !found.evidence.iter().any(|line| line.contains("turn")) {
                    break found;
                }
            };
            shows(&found, "timer");
            deaf.abort();
            assert!(runtime.run(deaf).unwrap().unwrap_err().is_cancelled());
            assert_eq!(lasting(), []);
        });
    });
}

#[test]
fn limits_clocks_and_fallbacks_are_found_in_their_facts() {
    // Goal: each rule finds its fact, and nothing without it; method: checkups of a runtime that waits, of
    // which one fact at a time is another.
    isolated(|| {
        let runtime = Builder::new().workers(1).build().unwrap();
        let before = Checkup::take();
        let with = |change: &dyn Fn(&mut Checkup)| {
            let mut after = Checkup::take();
            after.limits.descriptors = Some((10, 100));
            after.limits.locked = Some((0, 100));
            after.suspended = before.suspended;
            after.dump.runtimes[0].backend.fallback = None;
            change(&mut after);
            findings(&before, &after).iter().map(|finding| finding.kind).collect::<Vec<_>>()
        };
        assert_eq!(with(&|_| {}), []);
        let full = |after: &mut Checkup| after.limits.descriptors = Some((90, 100));
        assert_eq!(with(&full), [FindingKind::Limit]);
        assert_eq!(with(&|after| after.limits.descriptors = Some((89, 100))), []);
        let full = |after: &mut Checkup| after.limits.locked = Some((95, 100));
        assert_eq!(with(&full), [FindingKind::Limit]);
        let full = |after: &mut Checkup| {
            let runtime = &mut after.dump.runtimes[0];
            runtime.backend.completion_entries = 100;
            runtime.workers[0].in_flight = 91;
        };
        assert_eq!(with(&full), [FindingKind::Limit]);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let before = Checkup::take();
        let overflows = before.overflows.unwrap();
        let with = |overflows: u64, waiting: bool| {
            let mut after = Checkup::take();
            after.overflows = Some(overflows);
            after.suspended = before.suspended;
            if !waiting {
                after.listeners.clear();
            }
            let found = findings(&before, &after);
            found.into_iter().find(|finding| finding.kind == FindingKind::AcceptQueue)
        };
        let found = with(overflows + 3, true).unwrap();
        assert!(found.what.starts_with("3 connections"), "{found}");
        shows(&found, &format!("{}: 1 connections wait", listener.local_addr().unwrap()));
        assert_eq!((with(overflows, true), with(overflows + 3, false)), (None, None));
        drop(runtime);
    });
}

#[test]
fn connections_that_the_kernel_drops_are_counted() {
    // Goal: a full accept queue shows in two checkups; method: more connections than the backlog has room for.
    isolated(|| {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        socket.listen(1).unwrap();
        let address = socket.local_addr().unwrap();
        let connect = || {
            let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
            let client = client.unwrap();
            client.set_nonblocking(true).unwrap();
            _ = client.connect(&address);
            client
        };
        // The queue has room for one more than the backlog says.
        let _waiting = [connect(), connect()];
        let before = Checkup::take();
        let _dropped = connect();
        let after = Checkup::take();
        assert!(after.overflows.unwrap() > before.overflows.unwrap());
        let found = findings(&before, &after);
        let found = found.iter().find(|finding| finding.kind == FindingKind::AcceptQueue).unwrap();
        shows(found, &format!("{}: 2 connections wait", address.as_socket().unwrap()));
    });
}

#[test]
fn the_recording_is_written_when_the_doctor_finds_something() {
    // Goal: a finding writes the file once, a healthy runtime and a hint write none.
    isolated(|| {
        on_every(|cfg| {
            let folder = TestFolder::new();
            let builder = cfg.builder_with(&ErrorLog::default()).record(true);
            let runtime = builder.record_to(folder.join("last.json")).build().unwrap();
            let main = async {
                let held = spawn(pending::<()>());
                let state = |task| Handle::current().dump().task(task).unwrap().state;
                while state(held.id()) != TaskState::Waiting {
                    yield_now().await;
                }
                Some(held)
            };
            let held = runtime.run(main).unwrap().unwrap();
            // A hint: only its handle can end it.
            assert!(doctor(PAUSE).iter().all(|finding| finding.severity == Severity::Info));
            let file = folder.join("last-doctor.json");
            assert!(!file.exists());
            held.detach();
            // That it was polled before is recorded, too.
            while !doctor(PAUSE).iter().any(|finding| finding.severity == Severity::Warning) {}
            assert!(std::fs::read_to_string(&file).unwrap().contains("traceEvents"));
        });
    });
}

#[test]
fn machine_that_slept_and_refused_rings_are_found() {
    isolated(|| {
        let runtime = Builder::new().workers(1).build().unwrap();
        let before = Checkup::take();
        let with = |change: &dyn Fn(&mut Checkup)| {
            let mut after = Checkup::take();
            after.suspended = before.suspended;
            after.dump.runtimes[0].backend.fallback = None;
            change(&mut after);
            findings(&before, &after).iter().map(|finding| finding.kind).collect::<Vec<_>>()
        };
        let slept = |after: &mut Checkup| after.suspended += Duration::from_secs(1);
        assert_eq!(with(&slept), [FindingKind::ClockJump]);
        let refused = |after: &mut Checkup| {
            after.dump.runtimes[0].backend.fallback = Some("io_uring is refused".to_owned());
        };
        assert_eq!(with(&refused), [FindingKind::Fallback]);
        drop(runtime);
    });
}

#[test]
fn healthy_service_has_no_findings() {
    // Goal: no false alarm; method: connections, locks, queues, timers, jobs and a task that waits for
    // another, all of which go on while the doctor looks.
    isolated(|| {
        on_every(|cfg| {
            let runtime = runtime(cfg);
            let main = async {
                let lock = Arc::new(Lock::new(0).named("count"));
                let queue = Arc::new(Queue::bounded(2));
                for _ in 0..8 {
                    let (lock, queue) = (lock.clone(), queue.clone());
                    spawn(async move {
                        loop {
                            *lock.lock().await += 1;
                            queue.put(1).await.unwrap();
                            time::sleep(Duration::from_millis(1)).await;
                        }
                    })
                    .detach();
                }
                spawn(async move {
                    loop {
                        queue.get().await.unwrap();
                        to_thread(|| ()).await.unwrap();
                    }
                })
                .detach();
                let server = ringloop::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let waits = spawn(async move { server.accept().await.unwrap() });
                spawn(async move { drop(waits.await) }).detach();
                let stuck = Lock::new(());
                let held = stuck.lock().await;
                // Its time limit ends the wait.
                _ = time::timeout(Duration::from_millis(1), stuck.lock()).await;
                drop(held);
            };
            runtime.run(main).unwrap();
            for _ in 0..3 {
                assert_eq!(lasting(), [], "on {cfg}");
            }
        });
    });
}

#[test]
fn findings_are_json() {
    isolated(|| {
        let runtime = Builder::new().workers(1).build().unwrap();
        let main = async {
            let lost = named("a \"lost\" one").spawn(pending::<()>());
            let id = lost.id();
            lost.detach();
            id
        };
        let lost = runtime.run(main).unwrap();
        let found = find(FindingKind::Leak, &[lost]);
        let text = findings_to_json(std::slice::from_ref(&found));
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        let parsed = &parsed["findings"][0];
        assert_eq!(parsed["severity"], "warning");
        assert_eq!(parsed["kind"], "leak");
        assert_eq!(parsed["tasks"][0].to_string(), found.tasks[0].to_string());
        assert!(parsed["evidence"][0].as_str().unwrap().contains("`a \"lost\" one`"));
        drop(runtime);
    });
}

/// Polls a future once, and keeps it.
async fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) {
    let mut future = Some(future);
    poll_fn(move |cx| {
        if let Some(future) = future.take() {
            assert!(future.poll(cx).is_pending());
        }
        Poll::Ready(())
    })
    .await;
}

#[test]
fn tasks_that_hold_each_others_locks_are_found() {
    isolated(|| {
        on_every(|cfg| {
            let runtime = runtime(cfg);
            let locks = [Lock::new(()).named("first"), Lock::new(()).named("second")];
            let locks = locks.map(Arc::new);
            let both_hold = Arc::new(ringloop::sync::Barrier::new(2));
            let tasks: Vec<TaskId> = [(0, 1), (1, 0)]
                .map(|(own, other)| {
                    let (own, other) = (locks[own].clone(), locks[other].clone());
                    let both_hold = both_hold.clone();
                    let task = runtime.spawn(async move {
                        let _own = own.lock().await;
                        _ = both_hold.wait().await;
                        drop(other.lock().await);
                    });
                    let id = task.id();
                    task.detach();
                    id
                })
                .into();
            let found = find(FindingKind::Deadlock, &tasks);
            shows(&found, &format!("Lock `first`, held by task {}", tasks[0]));
            shows(&found, &format!("Lock `second`, held by task {}", tasks[1]));
        });
    });
}

#[test]
fn lock_of_a_branch_that_is_not_polled_is_found() {
    // Goal: both kinds are found: the branch holds the lock, or the lock was handed to it; a task that waits
    // for a slow holder is not.
    isolated(|| {
        on_every(|cfg| {
            for is_held in [true, false] {
                let runtime = runtime(cfg);
                let lock = Arc::new(Lock::new(()).named("state"));
                let main = async {
                    let first = lock.lock().await;
                    let own = lock.clone();
                    let task = spawn(async move {
                        let mut branch = pin!(async {
                            let _guard = own.lock().await;
                            pending::<()>().await;
                        });
                        if is_held {
                            // It waits once, then holds.
                            while own.is_locked() {
                                yield_now().await;
                            }
                        }
                        poll_once(branch.as_mut()).await;
                        drop(own.lock().await);
                    });
                    let id = task.id();
                    task.detach();
                    if !is_held {
                        while Handle::current().dump().task(id).unwrap().waiting_on.is_none() {
                            yield_now().await;
                        }
                    }
                    drop(first);
                    id
                };
                let id = runtime.run(main).unwrap();
                let found = find(FindingKind::Futurelock, &[id]);
                shows(&found, "Lock `state`");
            }
            let runtime = runtime(cfg);
            let lock = Arc::new(Lock::new(()));
            let main = async {
                let own = lock.clone();
                let (held, is_held) = ringloop::sync::oneshot();
                spawn(async move {
                    let _guard = own.lock().await;
                    _ = held.set(());
                    time::sleep(Duration::from_secs(3600)).await;
                })
                .detach();
                is_held.await.unwrap();
                spawn(async move { drop(lock.lock().await) }).detach();
            };
            runtime.run(main).unwrap();
            assert_eq!(lasting(), []);
        });
    });
}
