//! Claims about asyncio that its tutorials make, and what is so. The numbers are the rows of `docs/seeds.md`.
//!
//! ```python
//! import asyncio, concurrent.futures, threading, time
//!
//! async def answer():
//!     return 42
//!
//! try:
//!     asyncio.new_event_loop().run_until_complete(answer)
//! except TypeError:
//!     print("59: the function has to be called")
//!
//! async def main():
//!     future = asyncio.get_running_loop().create_future()
//!     before = future.done()
//!     future.set_result(1)
//!     print("63: done before and after set_result:", before, future.done())
//!
//!     gate = threading.Event()
//!     pool = concurrent.futures.ThreadPoolExecutor(1)
//!     job = pool.submit(gate.wait)
//!     pool.shutdown(wait=False)
//!     print("64: done after a shutdown that does not wait:", job.done())
//!     gate.set()
//!
//!     before = time.thread_time()
//!     time.sleep(0.1)
//!     print("65: a sleep computes:", time.thread_time() - before > 0.05)
//!
//!     numbers = {"a": 0}
//!     async def add():
//!         number = numbers["a"]
//!         await asyncio.sleep(0)
//!         numbers["a"] = number + 1
//!     await asyncio.gather(add(), add())
//!     print("66: 1 + 1 over an await:", numbers["a"])
//!
//!     try:
//!         await asyncio.wait_for(asyncio.sleep(60), 0.01)
//!     except TimeoutError as error:
//!         print("70: the text of the error:", str(error) or "none")
//!
//!     order = []
//!     async def second():
//!         order.append("task")
//!     task = asyncio.create_task(second())
//!     order.append("caller")
//!     await task
//!     print("72:", order)
//!
//! asyncio.run(main())
//! ```

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{Arc, Barrier, mpsc},
    thread,
    time::Duration,
};

use ringloop::{
    Backend, Builder, Handle, RunError, ThreadPool, spawn, spawn_local, sync::oneshot, task,
    time::sleep, time::timeout, yield_now,
};
use rustix::time::{ClockId, clock_gettime};

async fn answer() -> u32 {
    42
}

/// The CPU time of this thread, in milliseconds.
fn computed() -> i64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

fn of_pools_and_threads() {
    let (gate, closed) = mpsc::channel::<()>();
    let pool = ThreadPool::new("claims", 1).expect("a thread");
    let job = pool.submit(move || closed.recv().is_err());
    pool.shutdown(false);
    println!("64: done after a shutdown that does not wait: {}", job.is_done());
    drop(gate);
    job.blocking_wait().expect("the job has run");

    let before = computed();
    thread::sleep(Duration::from_millis(100));
    println!("65: a sleep computes: {}", computed() - before > 50);
}

/// Between two awaits nothing else runs on a thread. Over one, something may.
async fn races_on_one_thread() {
    let a = Rc::new(Cell::new(0));
    let add = || {
        let a = a.clone();
        spawn_local(async move {
            let number = a.get();
            yield_now().await;
            a.set(number + 1);
        })
    };
    ringloop::gather_settled([add(), add()]).await;
    println!("66: 1 + 1 over an await: {}", a.get());
}

/// Each of two tasks waits on its thread for the other, which could not be if one ran at a time.
async fn two_at_a_time() {
    let both = Arc::new(Barrier::new(2));
    let meet = || {
        let both = both.clone();
        spawn(async move { both.wait().is_leader() })
    };
    let leaders = ringloop::gather_settled([meet(), meet()]).await;
    let leaders = leaders.into_iter().filter(|leads| matches!(leads, Ok(true))).count();
    println!("71: two at the same time: {}", leaders == 1);
}

async fn starts() {
    let order = Rc::new(RefCell::new(Vec::new()));
    let push = |name| {
        let order = order.clone();
        async move { order.borrow_mut().push(name) }
    };
    let later = spawn_local(push("task"));
    order.borrow_mut().push("caller");
    later.await.expect("it does not panic");
    task::Builder::new().eager().spawn_local(push("eager task")).await.expect("nor does it");
    order.borrow_mut().push("its caller");
    println!("72: {:?}", order.borrow());
}

pub fn main() -> Result<(), RunError> {
    // `ringloop::run(answer)` does not compile.
    println!("59: the function is called: {}", ringloop::run(answer()));
    of_pools_and_threads();
    Builder::new().workers(1).run(async {
        let inner = spawn(async { Handle::current().workers() });
        println!("61: no loop is passed, and a task finds it: {}", inner.await.is_ok());

        let (promise, value) = oneshot();
        let before = value.is_done();
        promise.set(1).expect("the value is waited for");
        println!("63: done before and after set: {before} {}", value.is_done());
        races_on_one_thread().await;
        let elapsed = timeout(Duration::from_millis(10), sleep(Duration::from_secs(60)));
        let elapsed = elapsed.named("answer").await.expect_err("it is too short");
        println!("70: the text of the error: {elapsed}");
        starts().await;
    })?;
    Builder::new().workers(2).run(two_at_a_time())?;
    let backend = Builder::new().backend(Backend::Epoll);
    println!("62: {}", backend.run(async { Handle::current().backend() })?);
    Ok(())
}
