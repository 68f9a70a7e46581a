//! Ctrl-C while a main runs, in helper processes, since a signal is for the whole process.

use std::future::{pending, poll_fn};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

use ringloop::signal::ctrl_c;
use ringloop::time::sleep;
use ringloop::{RunError, finally, spawn, yield_now};

use crate::harness::{Cfg, on_every};
use crate::processes::{Helper, isolated, listen, say};

const SIGINT: i32 = libc::SIGINT;

/// A helper in a case below, on the backend and with the workers of `cfg`.
fn start(case: &str, cfg: &Cfg) -> Helper {
    Helper::start(
        "interrupt",
        &[case.to_owned(), cfg.backend().to_owned(), cfg.workers.to_string()],
    )
}

/// The code of the helper process.
pub fn interrupt_role(args: &[String]) {
    let [case, backend, workers] = args else { panic!("{args:?}") };
    let cases = Cfg::all();
    let fits = |cfg: &&Cfg| cfg.backend() == backend && cfg.workers.to_string() == *workers;
    let cfg = cases.iter().find(fits).expect("in the sweep");
    // A shell ignores SIGINT for programs that it starts in the background.
    set_disposition(libc::SIG_DFL);
    match case.as_str() {
        "builder" => interrupted(cfg.builder().run(waits())),
        "runtime" => runtime(cfg),
        "block_on" => {
            let runtime = cfg.builder().build().unwrap();
            let handle = runtime.handle();
            std::thread::spawn(move || interrupted(handle.block_on(waits()))).join().unwrap();
        }
        "both" => both(cfg),
        "free" => ringloop::run(waits()),
        "attribute" => attribute(),
        "slow" => cfg.builder().run(slow()).unwrap(),
        "leftovers" => interrupted(cfg.builder().run(leftovers())),
        "ignored" => ignored(cfg),
        "listener" => cfg.builder().run(listener()).unwrap(),
        "after-a-listener" => interrupted(cfg.builder().run(after_a_listener())),
        "after-an-early-listener" => {
            drop(ctrl_c());
            for _ in 0..2 {
                interrupted(cfg.builder().run(waits()));
            }
        }
        "value" => assert_eq!(cfg.builder().run(value()).unwrap(), 7),
        "free-value" => assert_eq!(ringloop::run(value()), 7),
        "two" => two(cfg),
        "awaits" => interrupted(cfg.builder().run(cleanup_awaits())),
        "free-awaits" => ringloop::run(cleanup_awaits()),
        other => panic!("no case {other}"),
    }
    say("end");
}

/// Waits for ever, and prints a line when it is dropped.
async fn waits() {
    struct Cleanup;
    impl Drop for Cleanup {
        fn drop(&mut self) {
            say("cleaned up");
        }
    }
    let _cleanup = Cleanup;
    say("ready");
    pending().await
}

fn interrupted(result: Result<(), RunError>) {
    let error = result.expect_err("it waits for ever");
    assert!(error.is_interrupted() && !error.is_cancelled(), "{error}");
    assert!(error.to_string().contains("Ctrl-C"), "{error}");
    say("interrupted");
}

fn runtime(cfg: &Cfg) {
    let runtime = cfg.builder().build().unwrap();
    for _ in 0..2 {
        interrupted(runtime.run(waits()));
    }
    assert_eq!(runtime.run(async { spawn(async { 3 }).await.unwrap() }).unwrap(), 3);
    assert!(runtime.shutdown(Duration::from_secs(10)).is_clean());
}

/// A main of `run`, and one of `block_on` on the same runtime.
fn both(cfg: &Cfg) {
    let mut other = None;
    let result = cfg.builder().run(async {
        let handle = ringloop::Handle::current();
        other = Some(std::thread::spawn(move || interrupted(handle.block_on(waits()))));
        waits().await;
    });
    interrupted(result);
    other.expect("it has begun").join().unwrap();
}

#[cfg(feature = "macros")]
#[ringloop::main(workers = 2)]
async fn attribute() {
    waits().await;
}

#[cfg(not(feature = "macros"))]
fn attribute() {
    ringloop::run(waits());
}

/// Its cleanup waits for time, for a task and for a thread.
async fn cleanup_awaits() {
    let body = async {
        say("ready");
        pending::<()>().await
    };
    let cleanup = async {
        sleep(Duration::from_millis(1)).await;
        spawn(async { say("cleaning up") }).await.unwrap();
        ringloop::to_thread(|| say("cleaned up")).await.unwrap();
    };
    let gone = finally(body, cleanup, Duration::from_secs(60)).await.unwrap_err();
    let cause = gone.cause();
    assert_eq!((cause.reason(), cause.location()), (Some("Ctrl-C (SIGINT)"), None), "{cause}");
    // The request stands: a main that returns here would have a value.
    yield_now().await;
}

/// Its cleanup waits for a byte that never comes.
async fn slow() {
    struct Cleanup;
    impl Drop for Cleanup {
        fn drop(&mut self) {
            say("cleaning up");
            listen();
        }
    }
    let _cleanup = Cleanup;
    say("ready");
    pending().await
}

/// Leaves a task behind; the end waits for its destructor.
async fn leftovers() {
    spawn(waits()).detach();
    pending().await
}

fn ignored(cfg: &Cfg) {
    set_disposition(libc::SIG_IGN);
    cfg.builder()
        .run(async {
            say("ready");
            ringloop::to_thread(listen).await.unwrap();
        })
        .unwrap();
}

/// Listens for the signal, gets it, and goes on.
async fn listener() {
    let heard = ctrl_c();
    say("ready");
    heard.await.unwrap();
    sleep(Duration::from_millis(1)).await;
}

async fn after_a_listener() {
    let heard = ctrl_c();
    say("ready");
    heard.await.unwrap();
    waits().await;
}

/// Has a value when it is cancelled.
async fn value() -> u32 {
    let mut polls = 0;
    poll_fn(|_| {
        polls += 1;
        if polls == 1 {
            say("ready");
            return Poll::Pending;
        }
        Poll::Ready(7)
    })
    .await
}

fn two(cfg: &Cfg) {
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let tell = tell.clone();
            scope.spawn(move || {
                let result = cfg.builder().run(async {
                    tell.send(()).unwrap();
                    pending::<()>().await;
                });
                interrupted(result);
            });
        }
        for () in told.iter().take(2) {}
        say("ready");
    });
}

fn died_of_it(status: ExitStatus) {
    assert_eq!(status.signal(), Some(SIGINT), "{status}");
}

#[test]
fn t15_ctrl_c_cancels_main_and_run_returns_interrupted() {
    // Goal: one signal, cleanup, an error that names the signal; method: each form that returns
    // errors.
    on_every(|cfg| {
        for case in ["builder", "block_on", "leftovers"] {
            let mut helper = start(case, cfg);
            helper.expect("ready");
            helper.interrupt();
            helper.expect("cleaned up");
            helper.expect("interrupted");
            helper.expect("end");
            helper.finish();
        }
    });
}

#[test]
fn t15_cleanup_that_awaits_runs_after_ctrl_c() {
    // Goal: the cleanup is awaited, with tasks and threads that still run, before `run` returns.
    on_every(|cfg| {
        for case in ["awaits", "free-awaits"] {
            let mut helper = start(case, cfg);
            helper.expect("ready");
            helper.interrupt();
            helper.expect("cleaning up");
            helper.expect("cleaned up");
            if case == "free-awaits" {
                died_of_it(helper.wait());
            } else {
                helper.expect("interrupted");
                helper.expect("end");
                helper.finish();
            }
        }
    });
}

#[test]
fn t15_second_ctrl_c_ends_the_process_at_once() {
    // Goal: a cleanup that hangs does not prevent it; method: a destructor that waits for ever.
    on_every(|cfg| {
        let mut helper = start("slow", cfg);
        helper.expect("ready");
        helper.interrupt();
        helper.expect("cleaning up");
        helper.interrupt();
        died_of_it(helper.wait());
    });
}

/// A helper in `case`, both of whose mains are interrupted, each once.
fn interrupt_two_mains(case: &str) {
    on_every(|cfg| {
        let mut helper = start(case, cfg);
        for _ in 0..2 {
            helper.expect("ready");
            helper.interrupt();
            helper.expect("cleaned up");
            helper.expect("interrupted");
        }
        helper.expect("end");
        helper.finish();
    });
}

#[test]
fn runtime_runs_mains_after_an_interrupted_one() {
    // Goal: each main gets a signal of its own, and the runtime lives on.
    interrupt_two_mains("runtime");
}

#[test]
fn free_run_ends_as_by_the_signal() {
    // Goal: the shell sees that the program was interrupted, after its cleanup; method: the free
    // function and the attribute, which choose the backend themselves.
    let cfg = &Cfg::all()[0];
    for case in ["free", "attribute"] {
        let mut helper = start(case, cfg);
        helper.expect("ready");
        helper.interrupt();
        helper.expect("cleaned up");
        died_of_it(helper.wait());
    }
}

#[test]
fn main_with_a_value_has_it_in_spite_of_ctrl_c() {
    on_every(|cfg| {
        for case in ["value", "free-value"] {
            let mut helper = start(case, cfg);
            helper.expect("ready");
            helper.interrupt();
            helper.expect("end");
            helper.finish();
        }
    });
}

#[test]
fn ctrl_c_that_was_ignored_stays_ignored() {
    on_every(|cfg| {
        let mut helper = start("ignored", cfg);
        helper.expect("ready");
        helper.interrupt();
        helper.interrupt();
        helper.tell("go on");
        helper.expect("end");
        helper.finish();
    });
}

#[test]
fn listener_takes_ctrl_c_from_main() {
    // Goal: while there is a listener, main goes on; afterwards the next signal cancels main again,
    // and the one after that ends the process.
    on_every(|cfg| {
        let mut helper = start("listener", cfg);
        helper.expect("ready");
        helper.interrupt();
        helper.expect("end");
        helper.finish();

        let mut helper = start("after-a-listener", cfg);
        helper.expect("ready");
        helper.interrupt();
        helper.expect("ready");
        helper.interrupt();
        helper.expect("cleaned up");
        helper.expect("interrupted");
        helper.expect("end");
        helper.finish();
    });
}

#[test]
fn ctrl_c_cancels_all_mains() {
    // Goal: mains of two runtimes, and two of one.
    on_every(|cfg| {
        let mut helper = start("two", cfg);
        helper.expect("ready");
        helper.interrupt();
        helper.expect("interrupted");
        helper.expect("interrupted");
        helper.expect("end");
        helper.finish();

        let mut helper = start("both", cfg);
        helper.expect("ready");
        helper.expect("ready");
        helper.interrupt();
        let mut words: Vec<_> = (0..4).map(|_| helper.hear()).collect();
        words.sort_unstable();
        assert_eq!(words, ["cleaned up", "cleaned up", "interrupted", "interrupted"]);
        helper.expect("end");
        helper.finish();
    });
}

/// The handler of SIGINT.
fn disposition() -> libc::sighandler_t {
    let mut now = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the kernel writes it.
    unsafe {
        assert_eq!(libc::sigaction(SIGINT, std::ptr::null(), now.as_mut_ptr()), 0);
        now.assume_init().sa_sigaction
    }
}

/// Without a handler of our own.
fn set_disposition(handler: libc::sighandler_t) {
    assert!(handler == libc::SIG_DFL || handler == libc::SIG_IGN);
    // SAFETY: neither is a handler.
    unsafe { libc::signal(SIGINT, handler) };
}

#[test]
fn disposition_is_restored() {
    // Goal: outside of mains SIGINT has its old disposition, also after mains that overlap; a
    // disposition that main has set stays, and one that was set before is not changed.
    isolated(|| {
        set_disposition(libc::SIG_DFL);
        on_every(|cfg| {
            assert_eq!(disposition(), libc::SIG_DFL);
            cfg.once(async { assert_ne!(disposition(), libc::SIG_DFL) });
            assert_eq!(disposition(), libc::SIG_DFL);
            let runtime = cfg.runtime();
            assert_eq!(disposition(), libc::SIG_DFL);
            let inner = cfg.runtime();
            runtime.must_run(async {
                ringloop::to_thread(move || inner.must_run(async {})).await.unwrap();
                assert_ne!(disposition(), libc::SIG_DFL);
            });
            assert_eq!(disposition(), libc::SIG_DFL);
            cfg.once(async { set_disposition(libc::SIG_IGN) });
            assert_eq!(disposition(), libc::SIG_IGN);
            cfg.once(async { assert_eq!(disposition(), libc::SIG_IGN) });
            set_disposition(libc::SIG_DFL);
        });
    });
}

#[test]
fn forked_child_dies_of_its_own_ctrl_c() {
    // Goal: a child that inherits the handler is ended by the signal, and the parent's main goes on.
    isolated(|| {
        set_disposition(libc::SIG_DFL);
        on_every(|cfg| {
            let runtime = cfg.runtime();
            runtime.must_run(async {
                let child = ringloop::to_thread(|| {
                    // SAFETY: the child only pauses.
                    match unsafe { libc::fork() } {
                        0 => loop {
                            // SAFETY: as above.
                            unsafe { libc::pause() };
                        },
                        child => child,
                    }
                });
                let child = child.await.unwrap();
                // SAFETY: our child, which has not been waited for.
                unsafe { libc::kill(child, SIGINT) };
                let status = ringloop::to_thread(move || {
                    let mut status = 0;
                    // SAFETY: the kernel writes one word.
                    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                    status
                });
                let status = status.await.unwrap();
                assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == SIGINT, "{status}");
            });
        });
    });
}

#[test]
fn listener_from_before_does_not_keep_ctrl_c_from_main() {
    // Goal: a listener that existed before any main, and is dropped, changes nothing.
    interrupt_two_mains("after-an-early-listener");
}
