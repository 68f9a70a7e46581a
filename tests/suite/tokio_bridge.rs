//! tokio's runtime around ours, and ours inside a program on tokio.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ringloop::compat::tokio::{bridge, handle, metrics};
use ringloop::sync::{Queue, oneshot};
use ringloop::{
    Builder, Handle, ThreadPool, gather, run_in_executor, spawn, spawn_local, to_thread, yield_now,
};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixStream};
use tokio::runtime;
use tokio::time::{sleep, timeout};

use crate::harness::{Cfg, ErrorLog, Kind, on_every};

const MOMENT: Duration = Duration::from_millis(1);
/// No test reaches it.
const LONG: Duration = Duration::from_secs(50);
/// What tokio says where it is missing.
const MISSING: &str = "there is no reactor running";

/// Runs `main` where each thread is inside tokio's runtime.
fn bridged<F: Future>(cfg: &Cfg, main: F) -> F::Output {
    let log = ErrorLog::default();
    let result = cfg.builder_with(&log).tokio_bridge().run(main);
    log.assert_silent();
    result.unwrap()
}

/// Sends `text` through tokio's own socket to an echo, whose connection is a task of tokio's.
async fn echo(text: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (from, to) = stream.into_split();
        pass(&from, &to).await;
    });
    let stream = TcpStream::connect(addr).await.unwrap();
    let mut sent = text.as_bytes();
    let mut got = Vec::new();
    while got.len() < text.len() {
        if !sent.is_empty() {
            stream.writable().await.unwrap();
            if let Ok(n) = stream.try_write(sent) {
                sent = &sent[n..];
            }
        }
        timeout(LONG, stream.readable()).await.unwrap().unwrap();
        let _ = stream.try_read_buf(&mut got);
    }
    drop(stream);
    server.await.unwrap();
    String::from_utf8(got).unwrap()
}

async fn pass(from: &tokio::net::tcp::OwnedReadHalf, to: &tokio::net::tcp::OwnedWriteHalf) {
    let mut bytes = [0; 64];
    loop {
        from.readable().await.unwrap();
        let Ok(n) = from.try_read(&mut bytes) else { continue };
        if n == 0 {
            return;
        }
        let mut rest = &bytes[..n];
        while !rest.is_empty() {
            to.writable().await.unwrap();
            if let Ok(n) = to.try_write(rest) {
                rest = &rest[n..];
            }
        }
    }
}

#[test]
fn sockets_timers_and_tasks_of_tokio_work_in_every_task() {
    on_every(|cfg| {
        bridged(cfg, async {
            sleep(MOMENT).await;
            assert_eq!(echo("main").await, "main");
            let tasks = (0..16).map(|number| {
                spawn(async move {
                    sleep(MOMENT).await;
                    // On whichever worker it goes on.
                    yield_now().await;
                    let text = format!("task {number}");
                    assert_eq!(echo(&text).await, text);
                    assert!(timeout(MOMENT, std::future::pending::<()>()).await.is_err());
                    let late = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                    late.local_addr().unwrap()
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                task.await.unwrap();
            }
            let local = spawn_local(async { tokio::spawn(async { 7 }).await.unwrap() });
            assert_eq!(local.await.unwrap(), 7);
            let blocking = to_thread(|| {
                runtime::Handle::current().block_on(async {
                    sleep(MOMENT).await;
                    UnixStream::pair().unwrap();
                    8
                })
            });
            assert_eq!(blocking.await.unwrap(), 8);

            // A pool that knows nothing of this runtime.
            let pool = ThreadPool::new("elsewhere", 1).unwrap();
            let job = run_in_executor(&pool, || runtime::Handle::current().id());
            assert_eq!(job.await.unwrap(), handle().unwrap().id());
            pool.shutdown(false);

            let tokio = Handle::current().metrics().tokio.unwrap();
            assert_eq!(tokio.workers, 1);
            assert!(tokio.parks > 0 && tokio.busy > Duration::ZERO, "{tokio:?}");
        });
    });
}

/// Goal: worker threads of a runtime with a crew enter and leave, one runtime after the other.
#[test]
fn runtimes_share_the_one_of_the_process() {
    on_every(|cfg| {
        for _ in 0..2 {
            let runtime = cfg.builder().tokio_bridge().build().unwrap();
            let answer = runtime.run(async {
                let tasks = (0..8).map(|number| async move {
                    sleep(MOMENT).await;
                    tokio::spawn(async move { number }).await.unwrap()
                });
                gather(tasks).await.into_iter().sum::<u32>()
            });
            assert_eq!(answer.unwrap(), 28);
            assert_eq!(runtime.metrics().tokio.unwrap().workers, 1);
        }
        assert_eq!(metrics().unwrap().workers, 1);
    });
}

/// Goal: only the future that was wrapped is inside, at each poll and when it is dropped.
#[test]
fn one_future_is_inside_and_its_neighbours_are_not() {
    struct SpawnsAtTheEnd(Option<ringloop::sync::Promise<()>>);
    impl Drop for SpawnsAtTheEnd {
        fn drop(&mut self) {
            let promise = self.0.take().unwrap();
            tokio::spawn(async move { promise.set(()) });
        }
    }

    on_every(|cfg| {
        let log = ErrorLog::default();
        cfg.once_with(&log, async {
            assert_eq!(bridge(echo("inside")).await, "inside");
            let tasks = (0..8).map(|_| {
                spawn(bridge(async {
                    sleep(MOMENT).await;
                    yield_now().await;
                    tokio::spawn(async { 1 }).await.unwrap()
                }))
            });
            for task in tasks.collect::<Vec<_>>() {
                assert_eq!(task.await.unwrap(), 1);
            }

            // Dropped where it waits.
            let (promise, dropped) = oneshot();
            let task = spawn(bridge(async move {
                let _ends = SpawnsAtTheEnd(Some(promise));
                sleep(LONG).await;
            }));
            while !task.is_finished() {
                yield_now().await;
                task.cancel();
            }
            assert!(task.await.unwrap_err().is_cancelled());
            dropped.await.unwrap();

            for _ in 0..cfg.workers {
                let outside = spawn(async { sleep(MOMENT).await }).await.unwrap_err();
                assert!(outside.to_string().contains(MISSING), "{outside}");
            }
        });
        assert_eq!(log.count(Kind::Panic), 0, "the handle had them");
    });
}

/// Goal: the thread that ran is outside again.
#[test]
fn the_thread_that_runs_has_left_afterwards() {
    on_every(|cfg| {
        bridged(cfg, async { sleep(MOMENT).await });
        assert!(runtime::Handle::try_current().is_err());
        let outer = handle().unwrap();
        let inside = outer.enter();
        bridged(cfg, async { sleep(MOMENT).await });
        assert_eq!(runtime::Handle::current().id(), outer.id());
        drop(inside);
        assert!(runtime::Handle::try_current().is_err());
    });
}

/// Goal: tasks of a program on tokio and ours start and await each other, and share what has no side.
#[test]
fn inside_a_program_on_tokio() {
    on_every(|cfg| {
        let program = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let program = program.unwrap();
        program.block_on(async {
            let tokio = runtime::Handle::current();
            let ours = cfg.builder().tokio_handle(tokio.clone()).build().unwrap();
            let ringloop = ours.handle();

            let (jobs, results) = (Arc::new(Queue::bounded(4)), Arc::new(Queue::bounded(4)));
            let moved = ringloop.spawn({
                let (jobs, results) = (jobs.clone(), results.clone());
                async move {
                    assert_eq!(runtime::Handle::current().id(), tokio.id());
                    while let Ok(job) = jobs.get().await {
                        // A timer of each.
                        sleep(Duration::from_micros(10)).await;
                        ringloop::time::sleep(Duration::from_micros(10)).await;
                        results.put(job * 2).await.unwrap();
                    }
                    results.shutdown();
                    tokio::spawn(async { "theirs" }).await.unwrap()
                }
            });
            let feeding = tokio::spawn(async move {
                for job in 0..100 {
                    jobs.put(job).await.unwrap();
                }
                jobs.shutdown();
            });
            let mut sum = 0;
            while let Ok(result) = results.get().await {
                sum += result;
            }
            assert_eq!(sum, 9900);
            feeding.await.unwrap();
            assert_eq!(moved.await.unwrap(), "theirs");

            // A task of tokio's is cancelled, and ours with the handle that owns it.
            let (told, hears) = oneshot::<()>();
            let theirs = tokio::spawn({
                let ringloop = ringloop.clone();
                async move {
                    let endless = async move {
                        let _told = told;
                        std::future::pending::<()>().await;
                    };
                    ringloop.spawn(endless).join().await
                }
            });
            tokio::task::yield_now().await;
            theirs.abort();
            assert!(theirs.await.unwrap_err().is_cancelled());
            assert!(timeout(LONG, hears).await.unwrap().is_err(), "dropped with its task");

            assert_eq!(ours.metrics().tokio.unwrap().workers, 2);
            let ended = tokio::task::spawn_blocking(move || ours.shutdown(LONG)).await.unwrap();
            assert!(ended.is_clean(), "{ended:?}");
        });
    });
}

/// Goal: what needs a worker says so in a task of tokio's.
#[test]
fn what_does_not_carry_over_says_so() {
    on_every(|cfg| {
        bridged(cfg, async {
            let theirs = tokio::spawn(async { ringloop::time::sleep(MOMENT).await });
            let panic = theirs.await.unwrap_err().into_panic();
            let text = panic.downcast_ref::<&str>().copied().unwrap_or_default();
            assert!(text.contains("outside a ringloop runtime"), "{text}");
            let theirs = tokio::spawn(async { Handle::try_current().is_err() });
            assert!(theirs.await.unwrap());
            // The handle is the way.
            let handle = Handle::current();
            let theirs = tokio::spawn(async move { handle.spawn(async { 5 }).await.unwrap() });
            assert_eq!(theirs.await.unwrap(), 5);
        });
    });
    let refused = Builder::new().workers(0).tokio_bridge().build();
    assert!(refused.is_err());
}
