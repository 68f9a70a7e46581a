//! What children leave behind: zombies, descriptors, processes; and what happens to them when their
//! handles, tasks, runtimes and parents end.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use futures_util::future::{join_all, poll_immediate};
use ringloop::process::{Child, Command, Stdio};
use ringloop::time::timeout;
use ringloop::{spawn, yield_now};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::faults::fork;
use crate::harness::{Cfg, Rng, deliberate, on_every, scaled, wait_until};
use crate::measure::{open_fds, thread_count};
use crate::processes::{Helper, isolated, say};
use crate::tools::GiveUpAfter;

/// Whether this process has a child, living or not yet reaped.
fn has_children() -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::All, options).is_ok()
}

/// Waits until every child has ended and was reaped elsewhere.
fn until_no_child() {
    wait_until(|| !has_children(), || "no child and no zombie is left".into());
}

/// A child that ends when its input is closed.
async fn reads() -> Child {
    Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().await.unwrap()
}

/// A child that does not end by itself.
async fn sleeps(kill_on_drop: bool) -> Child {
    Command::new("sleep").arg("1000").kill_on_drop(kill_on_drop).spawn().await.unwrap()
}

#[test]
fn thousand_short_lived_children_leave_nothing() {
    // Goal: no zombie, no lost status and no descriptor; method: a thousand, 50 at a time, on each backend,
    // each with a status of its own.
    isolated(|| {
        for cfg in Cfg::all().iter().filter(|cfg| cfg.workers == 2) {
            cfg.once(async { drop(Command::new("true").status().await) });
            let before = open_fds();
            cfg.once(async {
                let tasks = (0..50).map(|task| {
                    spawn(async move {
                        for round in 0..scaled(20) {
                            let code = ((task * 20 + round) % 256) as i32;
                            let mut command = Command::shell(format!("exit {code}"));
                            command.stdin(Stdio::piped()).stdout(Stdio::piped());
                            let mut child = command.spawn().await.unwrap();
                            assert_eq!(child.wait().await.unwrap().code(), Some(code));
                        }
                    })
                });
                for task in join_all(tasks).await {
                    task.unwrap();
                }
            });
            assert!(!has_children());
            assert_eq!(open_fds(), before);
        }
    });
}

#[test]
fn dropped_children_are_reaped() {
    // Goal: wherever and whenever a child's handle is dropped, no zombie stays; method: children
    // that have ended, that end later and that are killed, dropped in a task, on a plain thread and
    // on a thread of the pool.
    isolated(|| {
        on_every(|cfg| {
            let before = open_fds();
            cfg.everywhere(|| async {
                let mut ended = Command::new("true").spawn().await.unwrap();
                while ended.try_wait().unwrap().is_none() {
                    yield_now().await;
                }
                drop(ended);
                // The child has ended, and its status was not asked for.
                drop(Command::new("true").spawn().await.unwrap());
                for place in 0..3 {
                    let waited = {
                        let mut child = reads().await;
                        let stdin = child.stdin.take();
                        assert!(GiveUpAfter::new(1, child.wait()).await.is_none());
                        child.stdin = stdin;
                        child
                    };
                    for child in [reads().await, waited, sleeps(true).await] {
                        match place {
                            0 => drop(child),
                            1 => std::thread::spawn(move || drop(child)).join().unwrap(),
                            _ => ringloop::to_thread(move || drop(child)).await.unwrap(),
                        }
                    }
                }
                while has_children() {
                    ringloop::time::sleep(Duration::from_millis(1)).await;
                }
            });
            until_no_child();
            wait_until(|| open_fds() == before, || format!("{:?} are left", open_fds()));
        });
    });
}

#[test]
fn children_outlive_or_end_with_their_runtime() {
    // Goal: the end of a runtime does not wait for children, and leaves no zombie; method: tasks that wait
    // for children are cancelled by the end, with and without `kill_on_drop`; one panics; one child is kept
    // outside and waited for in another runtime.
    isolated(|| {
        on_every(|cfg| {
            let threads = thread_count();
            let runtime = cfg.builder().on_error(|_| ()).build().unwrap();
            let mut kept = runtime
                .run(async {
                    for kill in [true, false] {
                        spawn(async move {
                            let mut child = match kill {
                                true => sleeps(true).await,
                                false => reads().await,
                            };
                            let _stdin = child.stdin.take();
                            child.wait().await
                        })
                        .detach();
                        spawn(async move {
                            let _child = sleeps(true).await;
                            deliberate("with a child");
                        })
                        .detach();
                    }
                    let mut kept = reads().await;
                    let stdin = kept.stdin.take();
                    assert!(poll_immediate(kept.wait()).await.is_none());
                    kept.stdin = stdin;
                    for _ in 0..50 {
                        yield_now().await;
                    }
                    kept
                })
                .unwrap();
            let report = runtime.shutdown(Duration::from_secs(10));
            assert!(report.is_clean(), "{report:?}");
            assert!(kept.try_wait().unwrap().is_none());
            let status = cfg.builder().run(async { kept.wait().await }).unwrap();
            assert!(status.unwrap().success());
            until_no_child();
            wait_until(|| thread_count() == threads, || "the reaper's thread ends".into());
        });
    });
}

#[test]
fn end_of_one_child_wakes_no_other_task() {
    // Goal: the cost of an end does not grow with the number of children; method: tasks wait for
    // fifty, and the end of one polls only its own task.
    isolated(|| {
        on_every(|cfg| {
            cfg.once(async {
                let mut inputs = Vec::new();
                let mut waits = Vec::new();
                for _ in 0..50 {
                    let mut child = reads().await;
                    inputs.push(child.stdin.take());
                    waits.push(spawn(async move { child.wait().await.unwrap() }));
                }
                for _ in 0..200 {
                    yield_now().await;
                }
                let polls = || ringloop::Handle::current().metrics().polls;
                let before = polls();
                while let (Some(input), Some(wait)) = (inputs.pop(), waits.pop()) {
                    drop(input);
                    assert!(wait.await.unwrap().success());
                }
                // If each end woke all tasks that wait, there would be 1275 polls and more.
                let polled = polls() - before;
                assert!(polled < 500, "{polled} polls for fifty ends");
            });
            assert!(!has_children());
        });
    });
}

#[test]
fn dropped_child_lives_on() {
    // Goal: a dropped child lives on, as its documentation says; method: its input stays open
    // elsewhere, and it goes on.
    isolated(|| {
        on_every(|cfg| {
            cfg.once(async {
                let mut child = Command::new("cat");
                child.stdin(Stdio::piped()).stdout(Stdio::piped());
                let mut child = child.spawn().await.unwrap();
                let (mut stdin, mut stdout) = (child.stdin.take(), child.stdout.take());
                drop(child);
                for _ in 0..10 {
                    stdin.as_mut().unwrap().write(b"still".to_vec()).await.0.unwrap();
                    assert_eq!(&*stdout.as_mut().unwrap().read_lease().await.unwrap(), b"still");
                }
                drop((stdin, stdout));
                while has_children() {
                    ringloop::time::sleep(Duration::from_millis(1)).await;
                }
            });
        });
    });
}

#[test]
fn output_that_is_given_up_leaves_no_child() {
    isolated(|| {
        on_every(|cfg| {
            let before = open_fds();
            cfg.everywhere(|| async {
                let limit = Duration::from_millis(2);
                let mut killed = Command::new("sleep");
                killed.arg("1000").kill_on_drop(true);
                assert!(timeout(limit, killed.output()).await.is_err());
                assert!(timeout(limit, killed.communicate("in")).await.is_err());
                assert!(GiveUpAfter::new(1, killed.status()).await.is_none());
                // They end with their input, which is open elsewhere.
                let (input, open) = std::io::pipe().unwrap();
                let mut left = Command::new("cat");
                left.stdin(input);
                assert!(timeout(limit, left.output()).await.is_err());
                assert!(GiveUpAfter::new(1, left.status()).await.is_none());
                drop((open, left));
                while has_children() {
                    ringloop::time::sleep(Duration::from_millis(1)).await;
                }
            });
            wait_until(|| open_fds() == before, || format!("{:?} are left", open_fds()));
        });
    });
}

#[test]
fn spawn_on_the_pool_that_is_given_up_leaves_no_child() {
    // Goal: a child that a dropped `spawn` was about to return is killed and reaped, and the
    // command says that it was used up; a `spawn` that our own scope cancels waits for the thread,
    // and loses nothing. Method: a hook in the child reports that it runs, and waits for a byte,
    // which comes after the drop.
    isolated(|| {
        on_every(|cfg| {
            cfg.once(async {
                let (word, tell) = std::io::pipe().unwrap();
                let (hear, began) = std::io::pipe().unwrap();
                let hook = move || {
                    (&began).write_all(b"!")?;
                    (&word).read_exact(&mut [0])
                };
                let mut command = Command::new("sleep");
                // SAFETY: it makes two system calls.
                unsafe { command.arg("1000").pre_exec(hook) };
                let mut spawn = Box::pin(command.spawn());
                assert!(poll_immediate(&mut spawn).await.is_none());
                let mut theirs = hear.try_clone().unwrap();
                ringloop::to_thread(move || theirs.read_exact(&mut [0])).await.unwrap().unwrap();
                drop(spawn);
                (&tell).write_all(b"!").unwrap();
                let error = command.spawn().await.unwrap_err();
                assert!(error.to_string().contains("build the command again"), "{error}");
                while has_children() {
                    ringloop::time::sleep(Duration::from_millis(1)).await;
                }
            });
            cfg.once(async {
                let mut command = Command::new("sleep");
                command.arg("1000").kill_on_drop(true).setsid();
                for micros in [0, 10, 100, 1000] {
                    drop(timeout(Duration::from_micros(micros), command.spawn()).await);
                    while has_children() {
                        ringloop::time::sleep(Duration::from_millis(1)).await;
                    }
                }
            });
        });
    });
}

#[test]
fn forked_child_leaves_the_parents_children_alone() {
    // Goal: in a fork, the handles are the parent's: nothing is killed, waiting is refused; method: a fork
    // drops a child that is to be killed on drop, and asks for another's status.
    isolated(|| {
        let cfg = &Cfg::all()[0];
        let (mut first, mut second) =
            cfg.builder().run(async { (sleeps(true).await, reads().await) }).unwrap();
        let mut copy = Some((&mut first, &mut second));
        let words = fork(|words| {
            let (first, second) = copy.take().unwrap();
            let error = second.try_wait().unwrap_err();
            writeln!(words, "{error}").unwrap();
            assert!(first.kill().is_err());
            // SAFETY: the fork ends without using it again.
            drop(unsafe { std::ptr::read(first) });
        })
        .finish();
        assert!(words[0].contains("forked"), "{words:?}");
        assert!(first.try_wait().unwrap().is_none(), "it lives");
        first.kill().unwrap();
        cfg.builder()
            .run(async {
                assert_eq!(first.wait().await.unwrap().signal(), Some(libc::SIGKILL));
                assert!(second.wait().await.unwrap().success());
            })
            .unwrap();
        assert!(!has_children());
    });
}

/// Helper process: has children that read, and waits to be killed.
pub fn parent_role(args: &[String]) {
    let [backend, workers] = args else { panic!("{args:?}") };
    let cases = Cfg::all();
    let fits = |cfg: &&Cfg| cfg.backend() == backend && cfg.workers.to_string() == *workers;
    let cfg = cases.iter().find(fits).expect("in the sweep");
    cfg.once(async {
        let mut children = Vec::new();
        for _ in 0..3 {
            children.push(reads().await);
        }
        for child in &children {
            say(&child.id().to_string());
        }
        ringloop::to_thread(crate::processes::listen).await.unwrap();
    });
}

#[test]
fn children_that_read_end_with_a_killed_parent() {
    // Goal: no other process holds the pipes of a child, so that its input ends with its parent,
    // even by SIGKILL; method: a helper with three children is killed.
    on_every(|cfg| {
        let args = [cfg.backend().to_owned(), cfg.workers.to_string()];
        let mut helper = Helper::start("parent", &args);
        let children: Vec<String> = (0..3).map(|_| helper.hear()).collect();
        // The drop kills and reaps it.
        drop(helper);
        for child in children {
            let state = || {
                let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).ok()?;
                stat.rsplit_once(") ").map(|(_, rest)| rest.starts_with('Z'))
            };
            // It has ended, or is a zombie of the process that inherited it.
            wait_until(|| state().is_none_or(|zombie| zombie), || format!("{child} ends"));
        }
    });
}

#[test]
fn late_kill_hits_no_other_process_of_that_number() {
    // Goal: cpython#127049; method: after a child was reaped, the next one gets its number, where
    // the kernel lets this process choose it.
    isolated(|| {
        let cfg = &Cfg::all()[0];
        cfg.once(async {
            let mut first = Command::new("true").spawn().await.unwrap();
            first.wait().await.unwrap();
            let mut found = None;
            for _ in 0..100 {
                let last = format!("{}", first.id() - 1);
                if let Err(error) = std::fs::write("/proc/sys/kernel/ns_last_pid", last) {
                    crate::harness::loud(&format!(
                        "NOTE skipped: the kernel does not let numbers be chosen: {error}"
                    ));
                    let refused = [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem];
                    assert!(refused.contains(&error.kind()) || !error.kind().eq(&ErrorKind::Other));
                    return;
                }
                let next = sleeps(true).await;
                if next.id() == first.id() {
                    found = Some(next);
                    break;
                }
            }
            let mut next = found.expect("the number again, in one of a hundred tries");
            first.kill().unwrap();
            first.send_signal(ringloop::signal::SignalKind::terminate()).unwrap();
            assert_eq!(first.try_wait().unwrap().map(|status| status.success()), Some(true));
            drop(first);
            let limit = Duration::from_millis(20);
            assert!(timeout(limit, next.wait()).await.is_err(), "it was hit");
        });
        until_no_child();
    });
}

/// One child, through a life of random steps.
async fn life(mut rng: Rng) {
    let mut command = match rng.below(3) {
        0 => Command::new("true"),
        1 => Command::new("cat"),
        _ => Command::shell("read line; exit 3"),
    };
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(rng.one_in(2));
    if rng.one_in(8) {
        command.setsid();
    }
    let Some(child) = GiveUpAfter::new(rng.below(20), command.spawn()).await else { return };
    let mut child = child.unwrap();
    for _ in 0..rng.below(6) {
        match rng.below(6) {
            0 => drop(GiveUpAfter::new(rng.below(4), child.wait()).await),
            1 => drop(child.try_wait().unwrap()),
            2 => child.kill().unwrap(),
            3 => drop(child.stdin.take()),
            4 => {
                let len = rng.below(100_000);
                let _ = GiveUpAfter::new(rng.below(8), child.communicate(vec![1; len])).await;
            }
            _ => yield_now().await,
        }
    }
    if rng.one_in(2) {
        drop(child.stdout.take());
        child.wait().await.unwrap();
    }
}

#[test]
fn storm_of_waits_kills_and_drops_leaves_nothing() {
    // Goal: in any order of steps no zombie, descriptor or status is lost; method: lives of random steps,
    // by a seed, many at a time.
    isolated(|| {
        on_every(|cfg| {
            let before = open_fds();
            cfg.once(async {
                let lives: Vec<_> =
                    (0..scaled(40)).map(|salt| spawn(life(cfg.rng(salt as u64)))).collect();
                for life in lives {
                    life.await.unwrap();
                }
                while has_children() {
                    ringloop::time::sleep(Duration::from_millis(1)).await;
                }
            });
            wait_until(|| open_fds() == before, || format!("{:?} are left", open_fds()));
        });
    });
}
