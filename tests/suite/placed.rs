//! Tasks and connections that stay with their worker.

use std::{
    cell::Cell,
    collections::HashSet,
    future::{pending, poll_fn},
    rc::Rc,
    sync::{Arc, Mutex, mpsc},
    task::Poll,
    thread::{self, ThreadId},
};

use ringloop::{
    Handle,
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    yield_now,
};

use crate::harness::{Kind, must_panic, on_every, wait_until};

/// The thread of each worker, in their order.
async fn threads(handle: &Handle) -> Vec<ThreadId> {
    let mut threads = Vec::new();
    for worker in handle.worker_ids() {
        threads.push(handle.spawn_on(worker, async || thread::current().id()).await.unwrap());
    }
    threads
}

#[test]
fn task_stays_on_its_worker_wherever_it_is_woken() {
    // Goal: a future that is not Send is made, polled and dropped only by its worker. Method: it
    // holds an Rc and notes its thread at each poll and at its drop; it is woken from a thread and
    // from tasks of all workers.
    struct Dropped(mpsc::Sender<ThreadId>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.send(thread::current().id());
        }
    }
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let handle = runtime.handle();
        runtime.must_run({
            let handle = handle.clone();
            async move {
                let threads = threads(&handle).await;
                assert_eq!(threads.iter().collect::<HashSet<_>>().len(), cfg.workers);
                for worker in handle.worker_ids() {
                    let (send, dropped) = mpsc::channel();
                    let task = handle.spawn_on(worker, move || {
                        let count = Rc::new(Cell::new(0));
                        let held = Dropped(send);
                        async move {
                            let _held = held;
                            let mut seen = Vec::new();
                            for round in 0..20 {
                                count.set(count.get() + 1);
                                seen.push(thread::current().id());
                                let (mut woken, handle) = (false, Handle::current());
                                poll_fn(|cx| {
                                    if std::mem::replace(&mut woken, true) {
                                        return Poll::Ready(());
                                    }
                                    let waker = cx.waker().clone();
                                    if round % 2 == 0 {
                                        thread::spawn(move || waker.wake());
                                    } else {
                                        drop(handle.spawn(async move { waker.wake() }));
                                    }
                                    Poll::Pending
                                })
                                .await;
                            }
                            (seen, count.get())
                        }
                    });
                    let (seen, count) = task.await.unwrap();
                    let own = threads[worker.index()];
                    assert_eq!(count, 20);
                    assert!(seen.iter().all(|thread| *thread == own), "{worker}");
                    assert_eq!(dropped.recv().unwrap(), own);
                }
                // A task that is aborted elsewhere is dropped by its worker as well.
                for worker in handle.worker_ids() {
                    let (send, dropped) = mpsc::channel();
                    let (started, begun) = mpsc::channel();
                    let task = handle.spawn_on(worker, move || {
                        let held = (Dropped(send), Rc::new(()));
                        async move {
                            let _held = held;
                            started.send(()).unwrap();
                            pending::<()>().await
                        }
                    });
                    while begun.try_recv().is_err() {
                        yield_now().await;
                    }
                    task.abort();
                    assert!(task.await.unwrap_err().is_cancelled());
                    assert_eq!(dropped.recv().unwrap(), threads[worker.index()]);
                }
            }
        });
    });
}

#[test]
fn function_that_makes_the_future_is_called_once_or_dropped_uncalled() {
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let handle = runtime.handle();
        let worker = *handle.worker_ids().last().unwrap();
        // A panic of the function is the task's.
        let task = handle.spawn_on(worker, || -> std::future::Ready<()> { panic!("no future") });
        let error = runtime.must_run(task).unwrap_err();
        assert!(error.is_panicked(), "{error:?}");
        // From a plain thread, without an await of the task.
        let (send, got) = mpsc::channel();
        let other = handle.clone();
        thread::spawn(move || other.spawn_on(worker, move || async move { send.send(7) }).detach())
            .join()
            .unwrap();
        assert_eq!(got.recv().unwrap(), 7);
        // After the end it is refused.
        let alive = Arc::new(());
        let held = alive.clone();
        let report = runtime.into_inner().shutdown(std::time::Duration::from_secs(5));
        assert!(report.is_clean(), "{report:?}");
        let refused = handle.spawn_on(worker, move || async move { drop(held) });
        assert_eq!(Arc::strong_count(&alive), 1, "dropped at once");
        assert!(ringloop::run(refused).unwrap_err().is_cancelled());
    });
}

#[test]
fn a_worker_of_another_runtime_is_refused() {
    on_every(|cfg| {
        let (small, large) =
            (cfg.runtime(), cfg.builder().workers(cfg.workers + 1).build().unwrap());
        let stranger = *large.handle().worker_ids().last().unwrap();
        let text = must_panic(|| drop(small.handle().spawn_on(stranger, async || ())));
        assert!(text.contains("worker_ids"), "{text}");
        small.log().take(Kind::Hog);
    });
}

#[test]
fn connections_of_a_listener_per_worker_never_leave_it() {
    // Goal: each connection is accepted, read and written by one worker, whose ring is its home,
    // and no task is stolen. Method: each connection records the thread that serves it; figures of
    // each worker.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let handle = runtime.handle();
        let accepted = Arc::new(Mutex::new(vec![0_u64; cfg.workers]));
        let count = accepted.clone();
        let (addr, acceptors) = runtime.must_run({
            let handle = handle.clone();
            async move {
                let mut acceptors = Vec::new();
                let listeners = TcpListener::bind_per_worker("127.0.0.1:0").await.unwrap();
                assert_eq!(listeners.len(), handle.workers());
                let addr = listeners[0].1.local_addr().unwrap();
                for (worker, listener) in listeners {
                    assert_eq!(listener.local_addr().unwrap(), addr);
                    let count = count.clone();
                    let accept = async move || {
                        let own = thread::current().id();
                        while let Ok((mut stream, _)) = listener.accept().await {
                            count.lock().unwrap()[worker.index()] += 1;
                            let serve = async move {
                                let mut buf = [0; 16];
                                loop {
                                    let n = stream.read(&mut buf).await.unwrap();
                                    assert_eq!(thread::current().id(), own);
                                    if n == 0 {
                                        return;
                                    }
                                    stream.write_all(&buf[..n]).await.unwrap();
                                }
                            };
                            ringloop::spawn_local(serve).detach();
                        }
                    };
                    acceptors.push(handle.spawn_on(worker, accept));
                }
                (addr, acceptors)
            }
        });
        // The clients have a runtime of their own, so that its homes and steals are not counted
        // here.
        let clients = cfg.runtime();
        let mut streams = clients.must_run(async move {
            let mut streams = Vec::new();
            for _ in 0..64 {
                streams.push(TcpStream::connect(addr).await.unwrap());
            }
            streams
        });
        let mut echo = |rounds: usize| {
            clients.must_run(async {
                for _ in 0..rounds {
                    for stream in &mut streams {
                        stream.write_all(b"x").await.unwrap();
                        stream.read_exact(&mut [0]).await.unwrap();
                    }
                }
            });
        };
        echo(2);
        let before = handle.metrics();
        echo(20);
        let after = handle.metrics();
        assert_eq!(accepted.lock().unwrap().iter().sum::<u64>(), 64);
        for (worker, accepted) in accepted.lock().unwrap().iter().enumerate() {
            let [old, new] = [&before, &after].map(|metrics| &metrics.per_worker[worker]);
            // The homes of its connections, and of its listener.
            assert_eq!(new.homes, accepted + 1, "worker {worker}");
            assert!(new.arrivals - old.arrivals >= *accepted, "worker {worker} of {new:?}");
        }
        assert_eq!(after.steals, before.steals, "nothing is stolen");
        drop(streams);
        wait_until(
            || handle.metrics().per_worker.iter().all(|worker| worker.homes == 1),
            || format!("the connections have ended: {:?}", handle.metrics().per_worker),
        );
        runtime.must_run(async {
            for acceptor in acceptors {
                acceptor.abort();
                assert!(acceptor.await.unwrap_err().is_cancelled());
            }
        });
    });
}
