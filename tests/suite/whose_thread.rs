//! The calls that a thread may make depend on its role, wherever foreign code runs on it: in polls,
//! and in destructors, wakers, error hooks and thread-local values between them.

use std::cell::RefCell;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Poll, Wake, Waker};
use std::time::Duration;

use ringloop::sync::Event;
use ringloop::{ErrorEvent, Handle, Runtime, spawn, to_thread, yield_now};

use crate::harness::{Cfg, ErrorLog, deliberate, on_every, panic_text, wait_until};
use crate::measure::thread_count;
use crate::processes::isolated;
use crate::tools::{Flag, Slot, poll_by_hand};

/// So long that a test that has to wait for it fails.
const NEVER: Duration = Duration::from_secs(1000);

/// Calls a function when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A point at which a runtime's threads run foreign code.
#[derive(Clone, Copy, Debug)]
enum Place {
    Poll,
    /// The captures of a future that is cancelled.
    Captures,
    /// The result of a task that is not taken.
    Output,
    /// The waker of a future that waits for a timer.
    Waker,
    Hook,
}

const PLACES: [Place; 5] = [Place::Poll, Place::Captures, Place::Output, Place::Waker, Place::Hook];

/// Calls `f` on a worker of a new runtime, and waits until it has returned.
fn on_worker(cfg: &Cfg, place: Place, f: impl Fn() + Send + Sync + 'static) {
    let (f, done) = (Arc::new(f), Flag::new());
    let call = {
        let done = done.clone();
        move || {
            f();
            done.set();
        }
    };
    let mut builder = cfg.builder();
    if let Place::Hook = place {
        let call = call.clone();
        builder = builder.on_error(move |event| {
            if let ErrorEvent::TaskPanicked { .. } = event {
                call();
            }
        });
    }
    let runtime = builder.build().unwrap();
    runtime.run(on_this_worker(place, call, done)).unwrap();
}

async fn on_this_worker(place: Place, call: impl Fn() + Send + Sync + 'static, done: Flag) {
    match place {
        Place::Poll => drop(spawn(async move { call() })),
        Place::Captures => {
            let captured = OnDrop(call);
            let task = spawn(async move {
                let _captured = captured;
                pending::<()>().await;
            });
            yield_now().await;
            task.cancel();
        }
        Place::Output => drop(spawn(async move { OnDrop(call) })),
        Place::Waker => {
            struct Calls<F>(F);
            impl<F: Fn() + Send + Sync> Wake for Calls<F> {
                fn wake(self: Arc<Self>) {
                    (self.0)();
                }
            }
            let mut sleep = Box::pin(ringloop::time::sleep(Duration::from_millis(1)));
            let polled = poll_by_hand(&mut sleep, &Waker::from(Arc::new(Calls(call))));
            assert!(polled.is_pending());
            // The timer must live until then.
            return done.wait().await;
        }
        Place::Hook => drop(spawn(async { deliberate("for the hook") })),
    }
    done.wait().await;
}

/// A runtime that cannot end until the returned sender releases it.
fn held_runtime(cfg: &Cfg) -> (Runtime, Sender<()>) {
    let runtime = cfg.builder().shutdown_deadline(NEVER).build().unwrap();
    let (release, hold): (Sender<()>, Receiver<()>) = channel();
    let started = Flag::new();
    let begun = started.clone();
    let job = async move {
        to_thread(move || {
            begun.set();
            let _ = hold.recv();
        })
        .detach();
    };
    runtime.run(job).unwrap();
    wait_until(|| started.is_set(), || "the job begins".into());
    (runtime, release)
}

#[test]
fn runtime_dropped_on_a_worker_of_another_does_not_hold_it() {
    // Goal: a worker does not wait for another runtime's end; method: the runtime that is dropped
    // cannot end before the worker, in the same call, releases it.
    isolated(|| {
        on_every(|cfg| {
            let threads = thread_count();
            for place in PLACES {
                let (runtime, release) = held_runtime(cfg);
                let runtime = std::sync::Mutex::new(Some((runtime, release)));
                on_worker(cfg, place, move || {
                    let (runtime, release) = runtime.lock().unwrap().take().expect("called once");
                    drop(runtime);
                    release.send(()).unwrap();
                });
                wait_until(|| thread_count() <= threads, || format!("{place:?}: all threads end"));
            }
        });
    });
}

#[test]
fn shutdown_on_a_worker_of_another_does_not_claim_the_end() {
    isolated(|| {
        on_every(|cfg| {
            let threads = thread_count();
            let (runtime, release) = held_runtime(cfg);
            let report = cfg.once(async { runtime.shutdown(NEVER) });
            assert!(!report.is_clean() && report.holders[0].contains("worker"), "{report:?}");
            release.send(()).unwrap();
            wait_until(|| thread_count() <= threads, || "all threads end".into());
        });
    });
}

#[test]
fn blocking_calls_on_a_worker_are_refused_everywhere() {
    // Goal: no call can hang a worker; method: a wait that never ends, at each point, by each way
    // to wait.
    fn refused(wait: impl FnOnce()) -> String {
        let payload = catch_unwind(AssertUnwindSafe(wait)).expect_err("refused");
        panic_text(&*payload)
    }
    isolated(|| {
        on_every(|cfg| {
            let other = cfg.runtime();
            for place in PLACES {
                let (said, handle) = (Slot::new(), other.handle());
                let told = said.clone();
                on_worker(cfg, place, move || {
                    let event = Event::new();
                    let own = Handle::current();
                    let texts = [
                        refused(|| event.blocking_wait()),
                        refused(|| ringloop::sync::channel::<()>(1).1.blocking_recv().unwrap()),
                        refused(|| ringloop::run(async {})),
                        own.block_on(async {}).unwrap_err().to_string(),
                        handle.block_on(async {}).unwrap_err().to_string(),
                    ];
                    told.put(texts);
                });
                let texts = said.take().expect("it was called");
                let all = texts.iter().all(|text| text.contains("worker"));
                assert!(all, "{place:?}: {texts:#?}");
            }
        });
    });
}

/// A runtime with one thread for jobs, which is held up by a first job.
struct OneThread {
    runtime: Runtime,
    go: Sender<()>,
}

impl OneThread {
    fn new(cfg: &Cfg, log: &ErrorLog) -> OneThread {
        let builder = cfg.builder_with(log).blocking_threads(1).shutdown_deadline(NEVER);
        let runtime = builder.build().unwrap();
        let (go, wait) = channel();
        let first = move || wait.recv_timeout(Duration::from_secs(30));
        runtime.run(async { to_thread(first).detach() }).unwrap();
        OneThread { runtime, go }
    }
}

#[test]
fn runtime_dropped_by_the_remains_of_its_own_job_ends() {
    // Goal: a thread of the pool does not wait for itself; method: the result of a job that is not
    // taken, and the captures of a job that was cancelled, drop the runtime, and so does the hook
    // in its report of a job's panic; all threads end long before the deadline.
    isolated(|| {
        on_every(|cfg| {
            let threads = thread_count();
            for way in 0..3 {
                let log = ErrorLog::default();
                let OneThread { runtime, go } = OneThread::new(cfg, &log);
                let slot = Slot::<Runtime>::new();
                let (last, done) = (slot.clone(), Flag::new());
                let set = done.clone();
                let ends = OnDrop(move || {
                    drop(last.take());
                    set.set();
                });
                let second = async move {
                    match way {
                        0 => drop(to_thread(move || ends)),
                        1 => drop(to_thread(move || drop(ends)).cancel()),
                        _ => drop(to_thread(move || {
                            let _ends = ends;
                            deliberate("in a job");
                        })),
                    }
                };
                runtime.run(second).unwrap();
                slot.put(runtime);
                go.send(()).unwrap();
                wait_until(|| done.is_set(), || "the drop returns".into());
                wait_until(|| thread_count() <= threads, || "all threads end".into());
            }
        });
    });
}

#[test]
fn threads_of_the_pool_may_block_in_destructors() {
    // Goal: threads of the pool may block, before and after the closure as well; method: the
    // captures of a job that is cancelled, and results that are not taken, wait for a task of the
    // same runtime.
    on_every(|cfg| {
        for cancelled in [true, false] {
            let log = ErrorLog::default();
            let OneThread { runtime, go } = OneThread::new(cfg, &log);
            let (said, event) = (Slot::new(), Arc::new(Event::new()));
            let told = said.clone();
            let blocks = OnDrop(move || {
                let handle = Handle::current();
                let sets = event.clone();
                handle.spawn(async move { sets.set() }).detach();
                event.blocking_wait();
                let own = handle.block_on(async { spawn(async { 20 }).await.unwrap() }).unwrap();
                told.put(own + ringloop::run(async { 22 }));
            });
            let second = async move {
                match cancelled {
                    true => drop(to_thread(move || drop(blocks)).cancel()),
                    false => drop(to_thread(move || blocks)),
                }
            };
            runtime.run(second).unwrap();
            go.send(()).unwrap();
            wait_until(|| said.with(|_| ()).is_some(), || "the destructor returns".into());
            assert_eq!(said.take(), Some(42));
            assert!(runtime.shutdown(NEVER).is_clean());
            log.assert_silent();
        }
    });
}

thread_local! {
    static LEFT: RefCell<Vec<Box<dyn Send>>> = const { RefCell::new(Vec::new()) };
}

#[test]
fn thread_local_destructors_of_a_worker_may_block_and_drop_a_runtime() {
    // Goal: when a worker has ended, its thread holds up no tasks; method: it leaves a value that
    // waits, and drops another runtime, which must have ended when the shutdown returns.
    isolated(|| {
        on_every(|cfg| {
            let threads = thread_count();
            let runtime = cfg.builder().shutdown_deadline(NEVER).build().unwrap();
            let other = Slot::new();
            other.put(cfg.builder().shutdown_deadline(NEVER).build().unwrap());
            let (last, event) = (other.clone(), Event::new());
            event.set();
            let left = OnDrop(move || {
                event.blocking_wait();
                drop::<Option<Runtime>>(last.take());
            });
            let leave = async { LEFT.with_borrow_mut(|values| values.push(Box::new(left))) };
            runtime.run(leave).unwrap();
            assert!(runtime.shutdown(NEVER).is_clean());
            assert!(other.take().is_none());
            assert_eq!(thread_count(), threads);
        });
    });
}

#[test]
fn thread_local_destructor_of_a_pool_thread_may_drop_its_own_runtime() {
    // Goal: the thread keeps its role to the end of its life; method: a job leaves its runtime with
    // its thread, which ends after 10 idle seconds.
    isolated(|| {
        let threads = thread_count();
        for cfg in Cfg::all() {
            let runtime = cfg.builder().shutdown_deadline(NEVER).build().unwrap();
            let (slot, done) = (Slot::<Runtime>::new(), Flag::new());
            let (last, set) = (slot.clone(), done.clone());
            let leave = move || {
                let left = OnDrop(move || drop(last.take()));
                LEFT.with_borrow_mut(|values| values.push(Box::new(left)));
                set.set();
            };
            runtime.run(async { to_thread(leave).await.unwrap() }).unwrap();
            slot.put(runtime);
        }
        let ended = || thread_count() <= threads;
        let begun = std::time::Instant::now();
        while !ended() {
            assert!(begun.elapsed() < Duration::from_secs(60), "all threads end");
            std::thread::sleep(Duration::from_millis(10));
        }
    });
}

#[test]
fn role_of_a_worker_ends_with_run() {
    // Goal: a thread that was a worker is a plain one again, and a pool thread is one of the pool;
    // method: each blocks after a nested `run`.
    on_every(|cfg| {
        let waits = || {
            let event = Event::new();
            event.set();
            event.blocking_wait();
        };
        cfg.once(async {});
        waits();
        let inner = cfg.builder();
        let runtime = cfg.runtime();
        runtime.must_run(async move {
            let job = to_thread(move || {
                inner.run(poll_fn(|_| Poll::Ready(()))).unwrap();
                waits();
                Handle::current().block_on(async { 1 }).unwrap()
            });
            assert_eq!(job.await.unwrap(), 1);
        });
    });
}
