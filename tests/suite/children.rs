//! Child processes: what they get, what they give, and how their ends are reported.

use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use futures_util::future::{join_all, poll_immediate};
use ringloop::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use ringloop::process::{Child, Command, Stdio};
use ringloop::signal::SignalKind;
use ringloop::time::timeout;
use ringloop::{spawn, yield_now};

use crate::harness::on_every;
use crate::processes::isolated;
use crate::tools::{GiveUpAfter, check_pattern, fill_pattern};

/// `sh -c script` with pipes for all three streams.
async fn piped(script: &str) -> Child {
    let mut command = Command::shell(script);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().await.expect("a shell")
}

/// The numbers of `/proc/self/stat` after the name: the parent is the second, then group and
/// session.
fn stat_numbers(stat: &[u8]) -> Vec<i128> {
    let text = String::from_utf8_lossy(stat);
    let (head, rest) = text.rsplit_once(')').expect("a name in brackets");
    let id = head.split_whitespace().next().expect("its number");
    std::iter::once(id)
        .chain(rest.split_whitespace().skip(1))
        .map(|number| number.parse().expect("a number"))
        .collect()
}

#[test]
fn output_has_status_output_and_errors() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let mut command = Command::shell("cat; echo out; echo err >&2; exit 7");
            // Twice: an output that is captured once is not captured for good.
            for _ in 0..2 {
                let output = command.output().await.unwrap();
                assert_eq!(output.status.code(), Some(7));
                assert_eq!(output.stdout, b"out\n", "and no input");
                assert_eq!(output.stderr, b"err\n");
            }
            let mut command = Command::new("true");
            assert!(command.status().await.unwrap().success());
            let child = command.spawn().await.unwrap();
            assert!(child.stdin.is_none() && child.stdout.is_none() && child.stderr.is_none());
            let output = child.wait_with_output().await.unwrap();
            assert!(output.status.success() && output.stdout.is_empty());
        });
    });
}

#[test]
fn status_is_the_same_for_each_way_to_ask_and_each_time() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for (end, code, signal) in [
                ("exit 0", Some(0), None),
                ("exit 255", Some(255), None),
                ("kill -TERM $$", None, Some(libc::SIGTERM)),
                ("kill -KILL $$", None, Some(libc::SIGKILL)),
            ] {
                let mut child = piped(end).await;
                let status = child.wait().await.unwrap();
                assert_eq!((status.code(), status.signal()), (code, signal));
                assert_eq!(child.wait().await.unwrap(), status);
                assert_eq!(child.try_wait().unwrap(), Some(status));
            }
            let mut child = piped("read line").await;
            assert_eq!(child.try_wait().unwrap(), None);
            drop(child.stdin.take());
            while child.try_wait().unwrap().is_none() {
                yield_now().await;
            }
            assert_eq!(child.wait().await.unwrap().code(), Some(1));
        });
    });
}

#[test]
fn settings_are_what_the_child_sees() {
    on_every(|cfg| {
        cfg.once(async {
            let script = "echo $0 $1 $A $B; pwd";
            let mut command = Command::shell(script);
            command.args(["zero", "one"]).env("A", "a").envs([("B", "b"), ("C", "c")]);
            command.env_remove("C").current_dir("/");
            assert_eq!(command.output().await.unwrap().stdout, b"zero one a b\n/\n");
            assert_eq!(command.get_program(), "/bin/sh");
            assert_eq!(command.get_args().count(), 4);
            assert_eq!(command.get_current_dir(), Some(Path::new("/")));
            assert!(command.get_envs().any(|(name, value)| name == "C" && value.is_none()));
            assert!(format!("{command:?}").contains("zero"));
            let mut command = Command::new("/bin/sh");
            let output = command.arg0("other").args(["-c", "echo $0"]).output();
            assert_eq!(output.await.unwrap().stdout, b"other\n");
        });
    });
}

#[test]
fn groups_and_sessions_are_those_that_were_asked_for() {
    on_every(|cfg| {
        cfg.once(async {
            let own = std::fs::read("/proc/self/stat").unwrap();
            let own = stat_numbers(&own);
            let mut stat = Command::new("cat");
            stat.arg("/proc/self/stat");
            let plain = stat_numbers(&stat.output().await.unwrap().stdout);
            assert_eq!((plain[1], plain[2], plain[3]), (own[0], own[2], own[3]));
            let grouped = stat_numbers(&stat.process_group(0).output().await.unwrap().stdout);
            assert_eq!((grouped[2], grouped[3]), (grouped[0], own[3]));
            let mut stat = Command::new("cat");
            stat.arg("/proc/self/stat").setsid();
            // On a thread of the pool, twice.
            for _ in 0..2 {
                let alone = stat_numbers(&stat.output().await.unwrap().stdout);
                assert_eq!((alone[1], alone[2], alone[3]), (own[0], alone[0], alone[0]));
            }
        });
    });
}

#[test]
fn hooks_are_called_in_the_child() {
    on_every(|cfg| {
        cfg.once(async {
            let mut command = Command::shell("ulimit -n");
            let hook = || {
                let limit = libc::rlimit { rlim_cur: 50, rlim_max: 50 };
                // SAFETY: it may be called between fork and exec, and reads one value.
                assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
                Ok(())
            };
            // SAFETY: it makes one system call.
            unsafe { command.pre_exec(hook) };
            assert_eq!(command.output().await.unwrap().stdout, b"50\n");
            let mut command = Command::new("true");
            let hook = || Err(std::io::Error::from_raw_os_error(libc::ENOTTY));
            // SAFETY: it only makes a value.
            unsafe { command.pre_exec(hook) };
            for _ in 0..2 {
                let error = command.status().await.unwrap_err();
                assert!(error.to_string().contains("true"), "{error}");
            }
            // For a bare name and another PATH, std forks.
            let mut command = Command::new("sh");
            command.env_clear().env("PATH", "/bin:/usr/bin").args(["-c", "echo $PATH"]);
            assert_eq!(command.output().await.unwrap().stdout, b"/bin:/usr/bin\n");
        });
    });
}

#[test]
fn user_and_group_are_changed_by_root() {
    if !rustix::process::getuid().is_root() {
        crate::harness::loud("NOTE skipped: only root may change its user");
        return;
    }
    on_every(|cfg| {
        cfg.once(async {
            let mut command = Command::shell("id -u; id -g");
            let output = command.uid(65534).gid(65533).output().await.unwrap();
            assert_eq!(output.stdout, b"65534\n65533\n");
        });
    });
}

#[test]
fn megabyte_goes_both_ways_at_once() {
    // Goal: T69 and the seed program: no deadlock where the child writes while it reads; method:
    // `cat`, several at a time, by the command, by the child, and by hand with two tasks.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let mut bytes = vec![0; 1 << 20];
            fill_pattern(&mut bytes, 0);
            let check = |back: &[u8]| {
                assert_eq!(back.len(), 1 << 20);
                check_pattern(back, 0);
            };
            let all = (0..3).map(|_| {
                let bytes = bytes.clone();
                spawn(async move { Command::new("cat").communicate(bytes).await.unwrap() })
            });
            for output in join_all(all).await {
                let output = output.unwrap();
                assert!(output.status.success() && output.stderr.is_empty());
                check(&output.stdout);
            }
            let mut child = piped("cat; echo done >&2").await;
            let output = child.communicate(&bytes).await.unwrap();
            check(&output.stdout);
            assert_eq!(output.stderr, b"done\n");
            assert_eq!(child.wait().await.unwrap(), output.status);

            let mut child = piped("cat").await;
            let mut stdin = child.stdin.take().unwrap();
            let writing = spawn(async move { stdin.write_all(&bytes).await });
            let mut back = Vec::new();
            child.stdout.take().unwrap().read_to_end(&mut back).await.unwrap();
            writing.await.unwrap().unwrap();
            check(&back);
            assert!(child.wait().await.unwrap().success());
        });
    });
}

#[test]
fn input_that_nobody_reads_is_no_error() {
    on_every(|cfg| {
        cfg.once(async {
            let bytes = vec![0; 1 << 20];
            let output = Command::new("true").communicate(&bytes).await.unwrap();
            assert!(output.status.success());
            let output = Command::new("head").args(["-c", "10"]).communicate(&bytes).await.unwrap();
            assert_eq!(output.stdout, [0; 10]);
            // Without a pipe for it, input is an error.
            let mut child = Command::new("true").spawn().await.unwrap();
            let error = child.communicate("input").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains("Stdio::piped"), "{error}");
            child.communicate("").await.unwrap();
        });
    });
}

#[test]
fn lines_go_back_and_forth() {
    // Goal: a dialogue with a child, by leases and by traits.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let mut child = piped("while read line; do echo \"<$line>\"; done").await;
            let mut stdin = child.stdin.take().unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap());
            for round in 0..20 {
                stdin.write_all(format!("{round}\n").as_bytes()).await.unwrap();
                let mut line = String::new();
                lines.read_line(&mut line).await.unwrap();
                assert_eq!(line, format!("<{round}>\n"));
            }
            stdin.close().await.unwrap();
            assert!(child.wait().await.unwrap().success());

            let mut child = piped("cat").await;
            let mut stdin = child.stdin.take().unwrap();
            stdin.write(b"by lease".to_vec()).await.0.unwrap();
            let lease = child.stdout.as_mut().unwrap().read_lease().await.unwrap();
            assert_eq!(&*lease, b"by lease");
            stdin.write_lease(lease).await.unwrap();
            let (read, back) = child.stdout.as_mut().unwrap().read(Vec::with_capacity(9)).await;
            assert_eq!((read.unwrap(), &back[..]), (8, &b"by lease"[..]));
            drop(stdin);
            child.wait().await.unwrap();
        });
    });
}

#[test]
fn children_are_chained_by_pipes() {
    on_every(|cfg| {
        cfg.once(async {
            let mut first = Command::shell("echo b; echo a");
            let mut first = first.stdout(Stdio::piped()).spawn().await.unwrap();
            let between = first.stdout.take().unwrap().into_pipe().into_fd().await.unwrap();
            let sorted = Command::new("sort").stdin(between).output().await.unwrap();
            assert_eq!(sorted.stdout, b"a\nb\n");
            assert!(first.wait().await.unwrap().success());
        });
    });
}

#[test]
fn wait_returns_at_the_exit_though_the_pipes_are_held() {
    // Goal: unlike asyncio up to 3.14, a wait that began before the exit returns at the exit,
    // though a grandchild lives and holds the pipes; so does a wait that began after it. Method:
    // the script goes on when `wait` closes its input, so that the wait begins first.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for begin_after in [false, true] {
                let mut child = piped("read line; sleep 1000 & echo $!; exit 4").await;
                if begin_after {
                    drop(child.stdin.take());
                    while child.try_wait().unwrap().is_none() {
                        yield_now().await;
                    }
                }
                assert_eq!(child.wait().await.unwrap().code(), Some(4));
                let mut lines = BufReader::new(child.stdout.take().unwrap());
                let mut grandchild = String::new();
                lines.read_line(&mut grandchild).await.unwrap();
                let mut rest = lines.lines();
                let next =
                    timeout(Duration::from_millis(1), futures_util::StreamExt::next(&mut rest));
                assert!(next.await.is_err(), "the pipe is held");
                let kill = Command::new("kill").args(["-KILL", grandchild.trim()]).status().await;
                assert!(kill.unwrap().success());
                assert!(futures_util::StreamExt::next(&mut rest).await.is_none());
            }
        });
    });
}

#[test]
fn kill_is_reported_though_a_grandchild_holds_the_pipe() {
    // Goal: T69; method: as above, with a kill instead of an exit.
    on_every(|cfg| {
        cfg.once(async {
            let mut child = piped("sleep 1000 & echo $!; wait").await;
            let mut lines = BufReader::new(child.stdout.take().unwrap());
            let mut grandchild = String::new();
            lines.read_line(&mut grandchild).await.unwrap();
            child.kill().unwrap();
            assert_eq!(child.wait().await.unwrap().signal(), Some(libc::SIGKILL));
            // Late kills have no effect, and are no errors.
            child.kill().unwrap();
            child.send_signal(SignalKind::terminate()).unwrap();
            let kill = Command::new("kill").args(["-KILL", grandchild.trim()]).status().await;
            assert!(kill.unwrap().success());
            let mut rest = String::new();
            lines.read_to_string(&mut rest).await.unwrap();
        });
    });
}

#[test]
fn signals_reach_the_child() {
    on_every(|cfg| {
        cfg.once(async {
            let mut child =
                piped("trap 'echo got; exit 9' USR1; echo ready; while :; do sleep 0.01; done")
                    .await;
            let mut lines = BufReader::new(child.stdout.take().unwrap());
            let mut line = String::new();
            lines.read_line(&mut line).await.unwrap();
            child.send_signal(SignalKind::user_defined1()).unwrap();
            lines.read_line(&mut line).await.unwrap();
            assert_eq!(line, "ready\ngot\n");
            assert_eq!(child.wait().await.unwrap().code(), Some(9));
            let mut child = piped("read line").await;
            assert!(child.send_signal(SignalKind::from_raw(1000)).is_err());
            // One that nohup(1) does not have ignored.
            child.send_signal(SignalKind::user_defined2()).unwrap();
            assert_eq!(child.wait().await.unwrap().signal(), Some(libc::SIGUSR2));
        });
    });
}

#[test]
fn wait_that_is_given_up_loses_no_status() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let mut child = piped("cat >&2; exit 5").await;
            let stdin = child.stdin.take();
            for turns in 0..10 {
                assert!(GiveUpAfter::new(turns, child.wait()).await.is_none());
                let limit = Duration::from_micros(100);
                assert!(timeout(limit, child.wait()).await.is_err());
            }
            drop(stdin);
            // Waits are given up while the child ends, until one returns the status.
            let status = loop {
                if let Some(status) = poll_immediate(child.wait()).await {
                    break status.unwrap();
                }
                yield_now().await;
            };
            assert_eq!(status.code(), Some(5));
            assert_eq!(child.wait().await.unwrap(), status);
        });
    });
}

#[test]
fn child_inherits_no_descriptor_and_no_mask() {
    // Goal: in a child no descriptor of the runtime nor of other children is open, and no signal is
    // blocked; method: a child lists its own, beside sockets, pipes, listeners for signals and
    // other children, and is started by a thread that has blocked signals. The child is no shell: a
    // shell blocks signals at times.
    const MASKS: [&str; 3] = ["-E", "Sig(Blk|Ign)", "/proc/self/status"];
    isolated(|| {
        // The descriptors that this process inherited, and that `ls` opens.
        let before = std::process::Command::new("ls").arg("/proc/self/fd").output().unwrap().stdout;
        assert!(before.len() >= 8, "four at least");
        // Signals that this process has inherited as ignored, as from nohup(1), stay so. std has SIGPIPE ignored.
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
        let ignored =
            u64::from_str_radix(ignored.trim(), 16).unwrap() & !(1 << (libc::SIGPIPE - 1));
        on_every(|cfg| {
            cfg.once(async {
                let listener = ringloop::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let near = ringloop::net::TcpStream::connect(address);
                let (near, far) = futures_util::future::join(near, listener.accept()).await;
                let (mut near, far) = (near.unwrap(), far.unwrap());
                assert!(GiveUpAfter::new(1, near.read_lease()).await.is_none());
                let signal = ringloop::signal::signal(SignalKind::user_defined1()).unwrap();
                let other = piped("read line").await;
                let pipe = ringloop::io::Pipe::new().unwrap();
                let blocked = [libc::SIGTERM, libc::SIGUSR2];
                set_mask(libc::SIG_BLOCK, &blocked);
                for forks in [false, true] {
                    let (mut list, mut masks) = (Command::new("ls"), Command::new("grep"));
                    list.arg("/proc/self/fd");
                    masks.args(MASKS);
                    if forks {
                        list.setsid();
                        masks.setsid();
                    }
                    let listed = list.output().await.unwrap().stdout;
                    assert_eq!(String::from_utf8_lossy(&listed), String::from_utf8_lossy(&before));
                    let masks = String::from_utf8(masks.output().await.unwrap().stdout).unwrap();
                    assert_eq!(masks.lines().count(), 2);
                    for mask in masks.lines() {
                        let bits = mask.split_whitespace().nth(1).unwrap();
                        let bits = u64::from_str_radix(bits, 16).unwrap();
                        // Two signals that the C library reserves may be ignored.
                        assert_eq!(bits & !(3 << 31) & !ignored, 0, "{masks}");
                    }
                }
                set_mask(libc::SIG_UNBLOCK, &blocked);
                drop((near, far, signal, other, pipe));
            });
        });
    });
}

fn set_mask(how: i32, signals: &[i32]) {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` makes the set, the others read it; the mask is this thread's own.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for &signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(how, set.as_ptr(), std::ptr::null_mut());
    }
}
