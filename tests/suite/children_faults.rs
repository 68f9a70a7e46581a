//! Children that cannot be started or waited for: each error says what to do, and nothing is left.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use ringloop::process::{Command, Stdio};
use rustix::process::{Resource, WaitId, WaitIdOptions, getrlimit, setrlimit, waitid};

use crate::faults::{as_plain_user, limit};
use crate::harness::{Cfg, on_every};
use crate::measure::open_fds;
use crate::processes::isolated;

fn has_children() -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::All, options).is_ok()
}

/// A directory of this test, removed when the value is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("ringloop-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The errors of its start, in both ways: by posix_spawn(3) and by fork(2).
async fn refusals(command: impl Fn() -> Command) -> Vec<io::Error> {
    let mut forking = command();
    forking.setsid();
    let mut errors = Vec::new();
    for mut command in [command(), forking] {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        errors.push(command.spawn().await.expect_err("it cannot be started"));
        errors.push(command.output().await.expect_err("nor with output"));
    }
    errors
}

#[test]
fn bad_programs_have_errors_of_their_own() {
    isolated(|| {
        let folder = Folder::new("programs");
        let plain = folder.file("plain", "#!/bin/sh\n", 0o644);
        let orphan = folder.file("orphan", "#!/no/such/interpreter\n", 0o755);
        let gone = folder.0.join("gone");
        let at = |path: &PathBuf| Command::new(path);
        let long = "x".repeat(1 << 18);
        on_every(|cfg| {
            cfg.once(async { drop(Command::new("true").setsid().status().await) });
            let before = open_fds();
            cfg.once(async {
                let cases: Vec<(Vec<io::Error>, ErrorKind, &str)> = vec![
                    (
                        refusals(|| Command::new("ringloop-no-such-program")).await,
                        ErrorKind::NotFound,
                        "PATH",
                    ),
                    (refusals(|| at(&gone)).await, ErrorKind::NotFound, "check the path"),
                    (refusals(|| at(&orphan)).await, ErrorKind::NotFound, "#!"),
                    (refusals(|| at(&plain)).await, ErrorKind::PermissionDenied, "chmod +x"),
                    (refusals(|| at(&folder.0)).await, ErrorKind::PermissionDenied, "executed"),
                    (
                        refusals(|| {
                            let mut command = Command::new("true");
                            command.current_dir(&gone);
                            command
                        })
                        .await,
                        ErrorKind::NotFound,
                        "current_dir",
                    ),
                    (
                        refusals(|| {
                            let mut command = Command::new("true");
                            command.arg(&long);
                            command
                        })
                        .await,
                        ErrorKind::ArgumentListTooLong,
                        "standard input",
                    ),
                    (
                        refusals(|| {
                            let mut command = Command::new("true");
                            command.arg("a\0b");
                            command
                        })
                        .await,
                        ErrorKind::InvalidInput,
                        "nul byte",
                    ),
                ];
                for (errors, kind, fix) in cases {
                    for error in errors {
                        assert_eq!(error.kind(), kind, "{error}");
                        assert!(error.to_string().contains(fix), "{fix}: {error}");
                    }
                }
            });
            assert!(!has_children());
            assert_eq!(open_fds(), before);
        });
    });
}

#[test]
fn own_working_directory_may_be_gone() {
    isolated(|| {
        let folder = Folder::new("gone");
        std::env::set_current_dir(&folder.0).unwrap();
        fs::remove_dir_all(&folder.0).unwrap();
        let cfg = &Cfg::all()[0];
        cfg.once(async {
            let error = Command::new("./program").spawn().await.expect_err("it is not there");
            assert_eq!(error.kind(), ErrorKind::NotFound);
            assert!(error.to_string().contains("working directory is gone"), "{error}");
            assert!(Command::new("true").current_dir("/").status().await.unwrap().success());
        });
    });
}

#[test]
fn too_many_processes_are_an_error_that_passes() {
    // Goal: a refused fork says what to do, and the next try works; method: an ordinary user whose limit is
    // below what it has.
    as_plain_user(
        |_| {},
        || {
            let cfg = &Cfg::all()[0];
            let before = getrlimit(Resource::Nproc);
            let main = async {
                // The pool starts a thread before threads are refused. It may ask for more and
                // reports the refusal on standard error, which the harness forbids: so the harness
                // does not run this test's runtime.
                assert!(Command::new("true").setsid().status().await.unwrap().success());
                limit(Resource::Nproc, 1);
                let errors = refusals(|| Command::new("true")).await;
                setrlimit(Resource::Nproc, before).unwrap();
                for error in errors {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                    assert!(error.to_string().contains("ulimit -u"), "{error}");
                }
                assert!(Command::new("true").status().await.unwrap().success());
            };
            cfg.builder().on_error(|_| ()).run(main).unwrap();
            assert!(!has_children());
        },
    );
}

#[test]
fn descriptors_that_run_out_at_any_step_leave_no_child() {
    // Goal: tokio#8359: a set-up that fails after the fork loses no child; method: a limit on
    // descriptors at each step from none to enough.
    isolated(|| {
        for cfg in Cfg::all().iter().filter(|cfg| cfg.workers == 1) {
            cfg.once(async {
                drop(Command::new("true").setsid().status().await);
                let before = open_fds();
                let enough = getrlimit(Resource::Nofile);
                for forks in [false, true] {
                    let (mut refused, mut started) = (0, 0);
                    // The free numbers are filled, so that the limit is the number of descriptors
                    // that are left.
                    for room in 0..16 {
                        let highest = *before.keys().next_back().unwrap() as u64 + 1;
                        let mut held = Vec::new();
                        limit(Resource::Nofile, highest + room);
                        while let Ok(file) = fs::File::open("/dev/null") {
                            held.push(file);
                        }
                        for _ in 0..room {
                            held.pop();
                        }
                        let mut command = Command::new("cat");
                        command.stdin(Stdio::piped()).stdout(Stdio::piped());
                        command.stderr(Stdio::piped());
                        if forks {
                            command.setsid();
                        }
                        let result = command.spawn().await;
                        drop(held);
                        setrlimit(Resource::Nofile, enough).unwrap();
                        match result {
                            Ok(mut child) => {
                                started += 1;
                                assert!(child.wait().await.unwrap().success());
                            }
                            Err(error) => {
                                refused += 1;
                                assert!(error.to_string().contains("ulimit -n"), "{error}");
                            }
                        }
                        while has_children() {
                            ringloop::time::sleep(std::time::Duration::from_millis(1)).await;
                        }
                    }
                    assert!(refused > 3 && started > 0, "{refused} refused, {started} started");
                }
                assert_eq!(open_fds(), before);
            });
        }
    });
}

fn set_sigchld(handler: libc::sighandler_t, flags: i32) {
    // SAFETY: a value of zeros is valid: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: it is valid for the call, and has no handler of its own.
    assert_eq!(unsafe { libc::sigaction(libc::SIGCHLD, &action, std::ptr::null_mut()) }, 0);
}

#[test]
fn ignored_sigchld_is_refused_and_a_lost_status_is_an_error() {
    isolated(|| {
        on_every(|cfg| {
            cfg.once(async {
                for (handler, flags) in [(libc::SIG_IGN, 0), (libc::SIG_DFL, libc::SA_NOCLDWAIT)] {
                    set_sigchld(handler, flags);
                    for error in refusals(|| Command::new("true")).await {
                        assert_eq!(error.kind(), ErrorKind::Unsupported);
                        assert!(error.to_string().contains("SIGCHLD"), "{error}");
                    }
                    set_sigchld(libc::SIG_DFL, 0);
                    // SIGCHLD is ignored after the start.
                    let mut command = Command::new("cat");
                    let mut child = command.stdin(Stdio::piped()).spawn().await.unwrap();
                    set_sigchld(handler, flags);
                    let error = child.wait().await.unwrap_err();
                    set_sigchld(libc::SIG_DFL, 0);
                    assert!(error.to_string().contains("is lost"), "{error}");
                    assert!(child.wait().await.is_err() && child.try_wait().is_err());
                    child.kill().unwrap();
                }
                // Other code waits for any child, and takes the status.
                let mut child = Command::new("true").spawn().await.unwrap();
                let pid = rustix::process::Pid::from_raw(child.id() as i32);
                let theirs = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty());
                assert!(theirs.unwrap().is_some());
                assert!(child.wait().await.unwrap_err().to_string().contains("is lost"));
            });
            assert!(!has_children());
        });
    });
}

#[test]
fn on_no_worker_a_child_is_started_and_its_wait_refused() {
    isolated(|| {
        let waker = Waker::noop();
        let mut command = Command::new("true");
        let Poll::Ready(child) = pin!(command.spawn()).poll(&mut Context::from_waker(waker)) else {
            panic!("posix_spawn does not wait");
        };
        let mut child = child.unwrap();
        let Poll::Ready(error) = pin!(child.wait()).poll(&mut Context::from_waker(waker)) else {
            panic!("no worker would wake it");
        };
        assert!(error.unwrap_err().to_string().contains("ringloop::run"));
        let mut forking = Command::new("true");
        let mut spawn = pin!(forking.setsid().spawn());
        let Poll::Ready(refused) = spawn.as_mut().poll(&mut Context::from_waker(waker)) else {
            panic!("there is no pool");
        };
        assert!(refused.is_err());
        // A runtime can wait for the child, which may have ended by now.
        let cfg = &Cfg::all()[0];
        assert!(cfg.builder().run(child.wait()).unwrap().unwrap().success());
    });
}
