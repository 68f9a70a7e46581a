//! A service with five mistakes, to be looked at by `ringloop doctor PID`. With the argument `healthy` it has
//! none of them.
//!
//! ```sh
//! cargo run --example five_faults &
//! cargo run --features cli --bin ringloop -- doctor $!
//! ```

use std::{
    future::{pending, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    thread,
    time::Duration,
};

use ringloop::{
    Builder, Runtime,
    sync::{Barrier, Lock},
    task, time, to_thread,
};

#[allow(dead_code, reason = "a test takes the rest of this file")]
fn main() {
    let is_healthy = std::env::args().nth(1).is_some_and(|argument| argument == "healthy");
    let runtime = runtime();
    runtime.run(healthy()).expect("it runs");
    if !is_healthy {
        runtime.run(five_faults()).expect("it runs");
    }
    println!("{}", std::process::id());
    loop {
        thread::park();
    }
}

/// With one thread for blocking jobs, so that one job can hold them all.
pub fn runtime() -> Runtime {
    Builder::new().workers(2).blocking_threads(1).build().expect("a runtime")
}

fn named(name: &'static str) -> task::Builder {
    task::Builder::new().name(name)
}

/// What a service does: connections, timers, a lock, and short jobs.
pub async fn healthy() {
    let server = ringloop::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let accept = async move { while server.accept().await.is_ok() {} };
    named("server").spawn(accept).detach();
    let count = Arc::new(Lock::new(0).named("count"));
    for _ in 0..4 {
        let count = count.clone();
        let work = async move {
            loop {
                *count.lock().await += 1;
                time::sleep(Duration::from_millis(3)).await;
            }
        };
        named("work").spawn(work).detach();
    }
}

/// Plants the mistakes.
pub async fn five_faults() {
    deadlock().await;
    leak();
    futurelock().await;
    starved_lane();
    // Last: it holds a worker.
    stuck_worker();
}

/// Two tasks take two locks in different orders.
async fn deadlock() {
    let (first, second) = (Arc::new(Lock::new(())), Arc::new(Lock::new(())));
    let both_hold = Arc::new(Barrier::new(2));
    for (name, own, other) in [("there", first.clone(), second.clone()), ("back", second, first)] {
        let both_hold = both_hold.clone();
        let transfer = async move {
            let _own = own.lock().await;
            let _ = both_hold.wait().await;
            let _other = other.lock().await;
        };
        named(name).spawn(transfer).detach();
    }
}

/// A task that nothing can wake.
fn leak() {
    named("leaked").spawn(pending::<()>()).detach();
}

/// A task keeps a future that holds a lock, does not poll it any more, and waits for the lock.
async fn futurelock() {
    let state = Arc::new(Lock::new(()).named("state"));
    let (done, is_done) = ringloop::sync::oneshot();
    let work = async move {
        let mut branch = pin!(async {
            let _guard = state.lock().await;
            time::sleep(Duration::from_secs(3600)).await;
        });
        // As `race!` over `&mut branch` does when another branch is ready.
        poll_fn(|cx| Poll::Ready(branch.as_mut().poll(cx).is_ready())).await;
        let _ = done.set(());
        let _guard = state.lock().await;
    };
    named("selfish").spawn(work).detach();
    let _ = is_done.await;
}

/// One thread for blocking jobs, a job that takes for ever, and another that waits behind it.
fn starved_lane() {
    to_thread(|| thread::sleep(Duration::from_secs(3600))).detach();
    to_thread(|| ()).detach();
}

/// A task that blocks its worker.
fn stuck_worker() {
    let block = async { thread::sleep(Duration::from_secs(3600)) };
    named("blocks").spawn(block).detach();
}
