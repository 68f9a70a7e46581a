//! Listeners for signals of each kind, and the effect of a signal without a listener. In processes
//! of their own, since a signal is for the whole process.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::poll_immediate;
use ringloop::signal::{Signal, SignalKind, ctrl_c, signal, terminate};
use ringloop::time::timeout;
use ringloop::{spawn, yield_now};
use rustix::process::{Pid, WaitOptions, getpid, kill_process, waitpid};

use crate::faults::fork;
use crate::harness::{Cfg, on_every};
use crate::measure::open_fds;
use crate::processes::{Helper, isolated, listen, say};

/// Sends a signal to this thread: its handler has run when this returns.
fn raise(kind: SignalKind) {
    // SAFETY: no memory is involved.
    assert_eq!(unsafe { libc::raise(kind.as_raw()) }, 0);
}

fn usr1() -> Signal {
    signal(SignalKind::user_defined1()).expect("a listener")
}

/// Runs `main` without the check that no listener is left: one from outside may stay registered.
fn plain<F: Future>(cfg: &Cfg, main: F) -> F::Output {
    cfg.builder().run(main).unwrap_or_else(|error| panic!("run: {error}"))
}

/// The kinds that by default end the process.
fn deadly() -> Vec<SignalKind> {
    let numbers = [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGTERM,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGALRM,
        libc::SIGIO,
        libc::SIGVTALRM,
        libc::SIGXCPU,
        libc::SIGTRAP,
        libc::SIGRTMIN(),
        libc::SIGRTMAX(),
    ];
    numbers.into_iter().map(SignalKind::from_raw).collect()
}

#[test]
fn nothing_is_lost_between_two_awaits() {
    // Goal: a listener that is kept gets each signal; method: signals come while no task awaits it,
    // with awaits of other things in between.
    isolated(|| {
        on_every(|cfg| {
            cfg.everywhere(|| async {
                let mut listener = usr1();
                for _ in 0..10 {
                    raise(listener.kind());
                    yield_now().await;
                    listener.recv().await.unwrap();
                    assert!(poll_immediate(listener.recv()).await.is_none());
                }
            });
        });
    });
}

#[test]
fn kept_listener_gets_signals_that_come_during_work() {
    // Goal: the documentation's recipe: ten signals, each during the work on the one before;
    // method: a task sends the next one when work has begun.
    isolated(|| {
        on_every(|cfg| {
            cfg.once(async {
                let mut listener = signal(SignalKind::interrupt()).unwrap();
                let heard = std::sync::Arc::new(AtomicUsize::new(0));
                let theirs = heard.clone();
                let worker = spawn(async move {
                    while theirs.load(Ordering::SeqCst) < 10 {
                        listener.recv().await.unwrap();
                        theirs.fetch_add(1, Ordering::SeqCst);
                        // Work, during which the next one comes.
                        for _ in 0..3 {
                            yield_now().await;
                        }
                    }
                });
                for sent in 0..10 {
                    while heard.load(Ordering::SeqCst) < sent {
                        yield_now().await;
                    }
                    raise(SignalKind::interrupt());
                }
                worker.await.unwrap();
            });
        });
    });
}

#[test]
fn signals_that_come_together_are_one_item() {
    isolated(|| {
        on_every(|cfg| {
            cfg.once(async {
                let (mut first, mut second) = (usr1(), usr1());
                for _ in 0..3 {
                    raise(first.kind());
                }
                first.recv().await.unwrap();
                assert!(poll_immediate(first.recv()).await.is_none());
                // The other listener has a state of its own.
                raise(first.kind());
                second.recv().await.unwrap();
                assert!(poll_immediate(second.recv()).await.is_none());
                first.recv().await.unwrap();
            });
        });
    });
}

#[test]
fn every_listener_gets_signals_as_a_stream() {
    // Goal: many listeners, on tasks that move; method: streams that wait, and one that was made
    // too late.
    isolated(|| {
        on_every(|cfg| {
            cfg.everywhere(|| async {
                let tasks: Vec<_> = (0..10)
                    .map(|_| {
                        let mut listener = usr1();
                        spawn(async move { listener.next().await.expect("no end").unwrap() })
                    })
                    .collect();
                for _ in 0..20 {
                    yield_now().await;
                }
                raise(SignalKind::user_defined1());
                let mut late = usr1();
                for task in tasks {
                    task.await.unwrap();
                }
                assert!(poll_immediate(late.next()).await.is_none());
            });
        });
    });
}

#[test]
fn kinds_do_not_mix() {
    isolated(|| {
        on_every(|cfg| {
            cfg.once(async {
                let mut listeners: Vec<_> =
                    deadly().into_iter().map(|kind| signal(kind).unwrap()).collect();
                for at in 0..listeners.len() {
                    raise(listeners[at].kind());
                    for (other, listener) in listeners.iter_mut().enumerate() {
                        match other == at {
                            true => listener.recv().await.unwrap(),
                            false => assert!(poll_immediate(listener.recv()).await.is_none()),
                        }
                    }
                }
            });
        });
    });
}

#[test]
fn listener_goes_from_one_runtime_to_the_next() {
    isolated(|| {
        on_every(|cfg| {
            let mut listener = usr1();
            for _ in 0..3 {
                plain(cfg, async {
                    raise(listener.kind());
                    listener.recv().await.unwrap();
                    assert!(timeout(Duration::from_millis(2), listener.recv()).await.is_err());
                });
                // Between the runtimes.
                raise(listener.kind());
                plain(cfg, async { listener.recv().await.unwrap() });
            }
        });
    });
}

#[test]
fn refused_kinds_say_what_to_do() {
    let names = [
        (libc::SIGKILL, "SIGTERM"),
        (libc::SIGSTOP, "SIGTSTP"),
        (libc::SIGSEGV, "sigaction"),
        (libc::SIGILL, "sigaction"),
        (libc::SIGFPE, "sigaction"),
        (libc::SIGBUS, "sigaction"),
        (0, "signal(7)"),
        (-1, "signal(7)"),
        (32, "signal(7)"),
        (65, "signal(7)"),
        (i32::MAX, "signal(7)"),
    ];
    for (number, fix) in names {
        let kind = SignalKind::from_raw(number);
        let error = signal(kind).expect_err("there is no listener for it");
        assert!(error.is_refused() && error.kind() == kind, "{error:?}");
        assert!(error.to_string().contains(fix), "{error}");
        let error = io::Error::from(error);
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}

#[test]
fn on_no_worker_the_error_says_so() {
    isolated(|| {
        let mut listener = usr1();
        let mut next = Box::pin(listener.recv());
        let polled = Pin::new(&mut next).poll(&mut Context::from_waker(Waker::noop()));
        drop(next);
        let error = match polled {
            std::task::Poll::Ready(Err(error)) => error,
            other => panic!("{other:?}"),
        };
        assert!(error.to_string().contains("ringloop::run"), "{error}");
        // The signal is not lost by that.
        raise(listener.kind());
        let cfg = &Cfg::all()[0];
        plain(cfg, async { listener.recv().await.unwrap() });
    });
}

#[test]
fn listeners_leave_one_descriptor_for_each_kind() {
    isolated(|| {
        on_every(|cfg| {
            drop((usr1(), terminate()));
            let before = open_fds();
            cfg.everywhere(|| async {
                for _ in 0..50 {
                    let (mut one, other) = (usr1(), terminate());
                    assert!(poll_immediate(one.recv()).await.is_none());
                    assert!(crate::tools::GiveUpAfter::new(1, other).await.is_none());
                }
            });
            assert_eq!(open_fds(), before);
        });
    });
}

#[test]
fn descriptors_that_run_out_are_an_error() {
    isolated(|| {
        drop(usr1());
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let full = rustix::process::Rlimit { current: Some(3), maximum: limit.maximum };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, full).unwrap();
        let error = signal(SignalKind::user_defined1()).expect_err("no descriptor is left");
        let other = signal(SignalKind::user_defined2()).expect_err("none for the eventfd");
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
        assert!(!error.is_refused() && !other.is_refused());
        assert!(error.to_string().contains("SIGUSR1"), "{error}");
        // The failure has left nothing behind.
        let cfg = &Cfg::all()[0];
        cfg.once(async {
            let mut listener = signal(SignalKind::user_defined2()).unwrap();
            raise(listener.kind());
            listener.recv().await.unwrap();
        });
    });
}

#[test]
fn handler_from_before_is_called_instead_of_the_default() {
    // Goal: a signal without a listener has the effect that it had before; method: a handler of
    // other code counts; without the listener it counts on, and the process lives.
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn count(_: libc::c_int) {
        CALLS.fetch_add(1, Ordering::SeqCst);
    }
    isolated(|| {
        let handler = count as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // SAFETY: the handler only counts.
        unsafe { libc::signal(libc::SIGUSR1, handler) };
        // SAFETY: SIG_IGN is no handler.
        unsafe { libc::signal(libc::SIGUSR2, libc::SIG_IGN) };
        on_every(|cfg| {
            CALLS.store(0, Ordering::SeqCst);
            cfg.once(async {
                let mut listener = usr1();
                raise(listener.kind());
                listener.recv().await.unwrap();
                drop(listener);
                raise(SignalKind::user_defined1());
                drop(signal(SignalKind::user_defined2()).unwrap());
                raise(SignalKind::user_defined2());
            });
            assert_eq!(CALLS.load(Ordering::SeqCst), 2);
        });
    });
}

#[test]
fn forked_child_has_none_of_the_listeners() {
    // Goal: signals that the child's inherited listeners wait for have their default effect there,
    // its own listeners work, and the parent's get nothing of them; method: forks of a process that
    // listens.
    isolated(|| {
        let cfg = &Cfg::all()[0];
        let mut listener = usr1();
        plain(cfg, async { assert!(poll_immediate(listener.recv()).await.is_none()) });
        let mut child = fork(|words| {
            use std::io::Write;
            let cfg = &Cfg::all()[0];
            let error = plain(cfg, async { listener.recv().await.expect_err("the parent's") });
            writeln!(words, "{error}").unwrap();
            drop(std::mem::replace(&mut listener, usr1()));
            plain(cfg, async {
                assert!(poll_immediate(listener.recv()).await.is_none());
                raise(listener.kind());
                listener.recv().await.unwrap();
            });
            writeln!(words, "heard").unwrap();
        });
        let words = child.hear();
        assert!(words[0].contains("forked"), "{words:?}");
        assert_eq!(words[1], "heard", "{words:?}");
        child.dismiss();
        let (_, end) = fork(|_| raise(SignalKind::user_defined1())).last_words();
        assert!(end.contains(&libc::SIGUSR1.to_string()), "{end}");
        plain(cfg, async { assert!(poll_immediate(listener.recv()).await.is_none()) });
    });
}

/// A helper in a case below, on the backend and with the workers of `cfg`.
fn start(case: &str, kind: SignalKind, cfg: &Cfg) -> Helper {
    let args = [
        case.to_owned(),
        kind.as_raw().to_string(),
        cfg.backend().to_owned(),
        cfg.workers.to_string(),
    ];
    // In a group of its own, whose parent is in this session: an orphaned group is never stopped.
    Helper::start_with("signal", &args, |command| {
        command.process_group(0);
    })
}

/// The code of the helper process.
pub fn signal_role(args: &[String]) {
    let [case, number, backend, workers] = args else { panic!("{args:?}") };
    let kind = SignalKind::from_raw(number.parse().unwrap());
    let cases = Cfg::all();
    let fits = |cfg: &&Cfg| cfg.backend() == backend && cfg.workers.to_string() == *workers;
    let cfg = cases.iter().find(fits).expect("in the sweep");
    // A shell ignores some signals for tests that it starts in the background.
    // SAFETY: no handler.
    unsafe { libc::signal(kind.as_raw(), libc::SIG_DFL) };
    // A listener that gets one signal, and is dropped.
    let once = async {
        let mut listener = signal(kind).unwrap();
        say("listens");
        listener.recv().await.unwrap();
    };
    match case.as_str() {
        "in-runtime" => cfg.once(async {
            once.await;
            say("dropped");
            ringloop::to_thread(listen).await.unwrap();
        }),
        "after-runtime" => {
            cfg.once(once);
            say("dropped");
            listen();
        }
        "second-runtime" => {
            cfg.once(once);
            cfg.once(async {
                say("dropped");
                ringloop::to_thread(listen).await.unwrap();
            });
        }
        "listens-again" => {
            cfg.once(once);
            cfg.once(async {
                drop(signal(kind).unwrap());
                let mut listener = signal(kind).unwrap();
                say("listens");
                listener.recv().await.unwrap();
            });
            say("dropped");
            listen();
        }
        "never-polled" => {
            drop(signal(kind).unwrap());
            say("dropped");
            listen();
        }
        other => panic!("no case {other}"),
    }
    say("end");
}

fn send(helper: &Helper, kind: SignalKind) {
    // SAFETY: our child, which has not been waited for.
    assert_eq!(unsafe { libc::kill(helper.id() as i32, kind.as_raw()) }, 0);
}

/// Sends signals to the helper's listeners, until the last is dropped.
fn until_dropped(helper: &mut Helper, kind: SignalKind) {
    while helper.hear() == "listens" {
        send(helper, kind);
    }
}

const CASES: [&str; 4] = ["in-runtime", "after-runtime", "second-runtime", "listens-again"];

#[test]
fn default_is_back_without_a_listener() {
    // Goal: a program that once called `terminate` can still be ended by SIGTERM; method: on every
    // backend, in a runtime, after it and in a second one.
    on_every(|cfg| {
        for case in CASES {
            let kind = SignalKind::terminate();
            let mut helper = start(case, kind, cfg);
            until_dropped(&mut helper, kind);
            send(&helper, kind);
            let status = helper.wait();
            assert_eq!(status.signal(), Some(kind.as_raw()), "{case}: {status}");
        }
    });
}

#[test]
fn default_of_each_kind_is_back() {
    // Goal: as above for each kind; method: each case with another backend. SIGINT in a runtime is not
    // here: it cancels the main.
    let configs = Cfg::all();
    for (at, kind) in deadly().into_iter().enumerate() {
        for (number, case) in CASES.iter().chain(&["never-polled"]).enumerate() {
            let has_main = matches!(*case, "in-runtime" | "second-runtime");
            if kind == SignalKind::interrupt() && has_main {
                continue;
            }
            let mut helper = start(case, kind, &configs[(at + 5 * number) % configs.len()]);
            until_dropped(&mut helper, kind);
            send(&helper, kind);
            let status = helper.wait();
            assert_eq!(status.signal(), Some(kind.as_raw()), "{case}, {kind}: {status}");
        }
    }
}

#[test]
fn default_that_does_nothing_is_back() {
    let configs = Cfg::all();
    let numbers = [libc::SIGCHLD, libc::SIGWINCH, libc::SIGURG, libc::SIGCONT];
    for (at, kind) in numbers.into_iter().map(SignalKind::from_raw).enumerate() {
        for (number, case) in CASES.iter().enumerate() {
            let mut helper = start(case, kind, &configs[(at + 3 * number) % configs.len()]);
            until_dropped(&mut helper, kind);
            send(&helper, kind);
            helper.tell("go on");
            helper.expect("end");
            helper.finish();
        }
    }
}

#[test]
fn default_that_stops_is_back() {
    // Goal: a program without a listener is stopped by Ctrl-Z, and goes on when it is continued,
    // twice; and then its listener still works.
    let configs = Cfg::all();
    let numbers = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    for (at, kind) in numbers.into_iter().map(SignalKind::from_raw).enumerate() {
        let mut helper = start("after-runtime", kind, &configs[(at * 5) % configs.len()]);
        until_dropped(&mut helper, kind);
        let pid = Pid::from_raw(helper.id() as i32).unwrap();
        for _ in 0..2 {
            send(&helper, kind);
            let (_, status) = waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().unwrap();
            assert_eq!(status.stopping_signal(), Some(kind.as_raw()), "{kind}");
            kill_process(pid, rustix::process::Signal::CONT).unwrap();
        }
        helper.tell("go on");
        helper.expect("end");
        helper.finish();
    }
}

#[test]
fn terminate_and_ctrl_c_do_not_mix() {
    isolated(|| {
        on_every(|cfg| {
            cfg.everywhere(|| async {
                let (mut stop, mut quit) = (ctrl_c(), terminate());
                kill_process(getpid(), rustix::process::Signal::TERM).unwrap();
                (&mut quit).await.unwrap();
                assert!(poll_immediate(&mut stop).await.is_none());
            });
        });
    });
}
