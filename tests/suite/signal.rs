//! Ctrl-C, in child processes, since a signal is for the whole process.

use std::time::Duration;

use futures_util::future::{join, poll_immediate};
use ringloop::signal::ctrl_c;
use ringloop::{spawn, yield_now};
use rustix::process::{Pid, Signal, getpid, kill_process};

use crate::harness::{Cfg, on_every};
use crate::processes::{Helper, isolated, say};

#[test]
fn ctrl_c_reaches_every_listener() {
    // Goal: two listeners both get one SIGINT, again and again; method: raise it in a child.
    isolated(|| {
        on_every(|cfg| {
            cfg.once(async {
                for _ in 0..5 {
                    let (first, second) = (ctrl_c(), ctrl_c());
                    let second = spawn(second);
                    for _ in 0..10 {
                        yield_now().await;
                    }
                    kill_process(getpid(), Signal::INT).unwrap();
                    first.await.unwrap();
                    second.await.unwrap().unwrap();
                }
            });
        });
    });
}

#[test]
fn ctrl_c_between_call_and_await_is_not_lost() {
    // Goal: listening starts at the call; method: raise before the first poll.
    isolated(|| {
        on_every(|cfg| {
            cfg.everywhere(|| async {
                for _ in 0..5 {
                    let heard = ctrl_c();
                    kill_process(getpid(), Signal::INT).unwrap();
                    heard.await.unwrap();
                }
            });
        });
    });
}

#[test]
fn ctrl_c_gets_nothing_while_other_code_has_the_handler() {
    // Goal: a handler that is replaced, as documented; method: SIGINT is ignored, by sigaction(2),
    // while a listener exists and when one is made, and then the handler is restored.
    fn set(action: &libc::sigaction) -> libc::sigaction {
        let mut old = std::mem::MaybeUninit::uninit();
        // SAFETY: both are valid for the call, which writes the old one if it succeeds.
        unsafe {
            assert_eq!(libc::sigaction(libc::SIGINT, action, old.as_mut_ptr()), 0);
            old.assume_init()
        }
    }
    isolated(|| {
        // SAFETY: a value of zeros is valid: no flags, an empty mask.
        let mut ignore: libc::sigaction = unsafe { std::mem::zeroed() };
        ignore.sa_sigaction = libc::SIG_IGN;
        on_every(|cfg| {
            cfg.once(async {
                let mut before = ctrl_c();
                let ours = set(&ignore);
                let mut meanwhile = ctrl_c();
                kill_process(getpid(), Signal::INT).unwrap();
                for _ in 0..100 {
                    assert!(poll_immediate(&mut before).await.is_none());
                    assert!(poll_immediate(&mut meanwhile).await.is_none());
                    yield_now().await;
                }
                set(&ours);
                kill_process(getpid(), Signal::INT).unwrap();
                before.await.unwrap();
                meanwhile.await.unwrap();
            });
        });
    });
}

#[test]
fn ctrl_c_dropped_and_repeated_works() {
    // Goal: a listener that is given up leaves nothing that would get a signal; method: drop some
    // polled and some unpolled, use one runtime after the other.
    isolated(|| {
        on_every(|cfg| {
            for _ in 0..3 {
                cfg.once(async {
                    drop(ctrl_c());
                    let gone = crate::tools::GiveUpAfter::new(2, ctrl_c()).await;
                    assert!(gone.is_none());
                    let heard = ctrl_c();
                    kill_process(getpid(), Signal::INT).unwrap();
                    heard.await.unwrap();
                    // The signal came before this listener.
                    let late = ringloop::time::timeout(Duration::from_millis(20), ctrl_c()).await;
                    assert!(late.is_err());
                });
            }
        });
    });
}

/// Helper process: serves until Ctrl-C, as the examples do.
pub fn ctrl_c_role(_args: &[String]) {
    let cases = Cfg::all();
    let cfg = cases.iter().find(|cfg| cfg.workers == 2).expect("two workers in the sweep");
    cfg.once(async {
        let stop = ctrl_c();
        say("ready");
        let ticks = async {
            for _ in 0..20 {
                ringloop::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let (stopped, ()) = join(stop, ticks).await;
        stopped.unwrap();
    });
    say("stopped");
}

#[test]
fn ctrl_c_from_another_process_stops_gracefully() {
    // Goal: the graceful stop of a service; method: a helper gets SIGINT from here and must end
    // with its last line and a good exit status.
    let mut helper = Helper::start("ctrl_c", &[]);
    helper.expect("ready");
    let pid = Pid::from_raw(helper.id() as i32).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    helper.expect("stopped");
    helper.finish();
}

#[test]
fn signal_storm_does_not_disturb_io() {
    // Goal: test 52 in small, EINTR everywhere; method: a plain thread raises SIGINT without pause
    // while echoes, timers and jobs run; all of them work, and listeners get signals.
    isolated(|| {
        // It listens until the process ends. The last signal of a storm may still be on its way to a thread when
        // the listeners of that storm are gone, and would end the process by the default.
        std::mem::forget(ctrl_c());
        on_every(|cfg| {
            cfg.once(async {
                // While there is a listener, no signal interrupts this main.
                let _listens = ctrl_c();
                let heard = ctrl_c();
                let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
                let theirs = stop.clone();
                let storm = std::thread::spawn(move || {
                    while !theirs.load(std::sync::atomic::Ordering::Relaxed) {
                        kill_process(getpid(), Signal::INT).unwrap();
                        std::thread::yield_now();
                    }
                });
                heard.await.unwrap();
                let (mut near, far) = crate::net_stream::pair().await;
                let server = spawn(crate::net_stream::echo(far));
                for i in 0..200_u8 {
                    use ringloop::io::{AsyncReadExt, AsyncWriteExt};
                    let mut back = [0; 64];
                    near.write_all(&[i; 64]).await.unwrap();
                    near.read_exact(&mut back).await.unwrap();
                    assert_eq!(back, [i; 64]);
                    if i % 20 == 0 {
                        ringloop::time::sleep(Duration::from_millis(1)).await;
                        ringloop::to_thread(|| ()).await.unwrap();
                    }
                }
                ctrl_c().await.unwrap();
                stop.store(true, std::sync::atomic::Ordering::Relaxed);
                storm.join().unwrap();
                drop(near);
                server.await.unwrap().unwrap();
            });
        });
    });
}
