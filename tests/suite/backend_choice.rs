//! Which backend a runtime gets, and the reason that it reports when that is not io_uring.

use std::fs;
use std::io::{self, PipeWriter, Read, Seek};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringloop::io::AsyncWriteExt;
use ringloop::net::{TcpListener, TcpStream};
use ringloop::{Backend, BackendInfo, Builder, ErrorEvent, spawn};

use crate::faults::{
    Call, Setting, as_plain_user, filter, fork, refuse, ring_mappings, uring_here,
};
use crate::harness::{Cfg, loud, on_every, wait_until};
use crate::measure::{open_fds, thread_count};
use crate::net_stream::{echo, expect_pattern, send_pattern};
use crate::processes::{isolated, isolated_with};

/// Echoes a megabyte over the loopback, on the current runtime.
pub async fn echo_megabyte() {
    let total = 1 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        echo(stream).await.unwrap();
    });
    let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
    let sender = spawn(async move {
        send_pattern(&mut writer, total, 64 << 10).await;
        writer.close().await.unwrap();
    });
    expect_pattern(&mut reader, total, 10_000).await;
    assert_eq!(reader.read(&mut [0]).await.unwrap(), 0);
    sender.await.unwrap();
    server.await.unwrap();
}

/// The backend reports that an error hook got. Any other report (but of a long poll) becomes a text
/// that fails the test.
#[derive(Clone, Default)]
pub struct Reports(Arc<Mutex<Vec<String>>>);

impl Reports {
    pub fn hook(&self) -> impl Fn(&ErrorEvent) + Send + Sync + 'static {
        let heard = self.0.clone();
        move |event| {
            let text = match event {
                ErrorEvent::BackendFallback { reason, .. } => reason.clone(),
                ErrorEvent::TaskHogsWorker { .. } => return,
                other => format!("unexpected: {other}"),
            };
            heard.lock().unwrap().push(text);
        }
    }

    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// The only report.
    #[track_caller]
    pub fn only(&self) -> String {
        let mut heard = self.take();
        assert_eq!(heard.len(), 1, "one report per runtime: {heard:#?}");
        heard.remove(0)
    }
}

/// Builds a runtime on threads of its own, runs an echo on it, and returns its description.
pub fn serve(builder: Builder) -> BackendInfo {
    let runtime = builder.build().unwrap();
    let info = runtime.run(async {
        echo_megabyte().await;
        ringloop::backend()
    });
    let info = info.unwrap();
    assert_eq!(runtime.handle().backend(), info.backend);
    info
}

/// [`serve`] in the form whose first worker is the calling thread.
pub fn serve_here(builder: Builder) -> BackendInfo {
    let served = builder.run(async {
        echo_megabyte().await;
        ringloop::backend()
    });
    served.unwrap()
}

/// Both forms of a runtime.
pub const FORMS: [fn(Builder) -> BackendInfo; 2] = [serve, serve_here];

/// The error of a build. Both ways to start must give the same one.
pub fn build_error(make: impl Fn() -> Builder) -> String {
    let text = make().build().expect_err("no runtime").to_string();
    let ran = make().run(async {}).expect_err("no run");
    assert_eq!(ran.as_build_error().expect("of building").to_string(), text);
    text
}

/// `text` names the call and its error, and at least one thing to do about it.
#[track_caller]
fn names(text: &str, call: Call, errno: i32) {
    const FIXES: [&str; 4] = ["seccomp", "sandbox", "io_uring_disabled", "Linux 6"];
    assert!(text.contains(call.name()), "no {} in {text}", call.name());
    assert!(text.contains(&format!("os error {errno})")), "no error {errno} in {text}");
    assert!(FIXES.iter().any(|fix| text.contains(fix)), "nothing to do in {text}");
    assert!(!text.trim().contains('\n'), "more than one line: {text}");
}

/// What must hold where the kernel refuses `call` for good. With `auto`, epoll is used and the
/// reason is reported once per runtime. A builder that insists on io_uring gets an error that names
/// a way out. No descriptor is left.
fn ends_on_epoll(call: Call, errno: i32) {
    if !refuse(call, errno) {
        return;
    }
    let (fds, threads) = (open_fds(), thread_count());
    for workers in [1, 4] {
        let reports = Reports::default();
        let make = || Builder::new().workers(workers).on_error(reports.hook());
        for serve in FORMS {
            let info = serve(make());
            assert_eq!(info.backend, Backend::Epoll);
            let why = info.fallback.as_deref().expect("a reason");
            names(why, call, errno);
            assert_eq!(reports.only(), why);
            assert!(info.to_string().contains("epoll"), "{info}");
            assert!(!info.to_string().contains('\n'), "{info}");
        }
        let text = build_error(|| make().backend(Backend::Uring));
        names(&text, call, errno);
        assert!(text.contains("epoll"), "{text}");
        assert_eq!(serve(make().backend(Backend::Epoll)).fallback, None);
        assert_eq!(
            reports.take(),
            [""; 0],
            "no report of an error that is returned, nor of a choice"
        );
    }
    assert_eq!(open_fds(), fds);
    assert_eq!(ring_mappings(), 0);
    wait_until(|| thread_count() <= threads, || format!("{} threads", thread_count()));
}

// Goal of the following tests: a sandbox that forbids io_uring, as containers do, at each of its
// system calls; method: a seccomp filter in a process of its own.

#[test]
fn setup_not_permitted_ends_on_epoll() {
    isolated(|| ends_on_epoll(Call::Setup, libc::EPERM));
}

#[test]
fn setup_not_implemented_ends_on_epoll() {
    isolated(|| ends_on_epoll(Call::Setup, libc::ENOSYS));
}

#[test]
fn register_not_permitted_ends_on_epoll() {
    isolated(|| {
        if uring_here() {
            ends_on_epoll(Call::Register, libc::EPERM);
        }
    });
}

#[test]
fn register_not_implemented_ends_on_epoll() {
    isolated(|| {
        if uring_here() {
            ends_on_epoll(Call::Register, libc::ENOSYS);
        }
    });
}

#[test]
fn enter_not_permitted_ends_on_epoll() {
    isolated(|| {
        if uring_here() {
            ends_on_epoll(Call::Enter, libc::EPERM);
        }
    });
}

#[test]
fn enter_not_implemented_ends_on_epoll() {
    isolated(|| {
        if uring_here() {
            ends_on_epoll(Call::Enter, libc::ENOSYS);
        }
    });
}

#[test]
fn fallback_without_a_hook_is_one_line_on_standard_error() {
    // Goal: a program on the slower backend says so, in one line; method: standard error is a file
    // while a runtime is built and dropped.
    isolated(|| {
        // The error that an old kernel returns.
        if !refuse(Call::Setup, libc::EINVAL) {
            return;
        }
        let text = stderr_of(|| _ = serve(Builder::new().workers(4)));
        assert_eq!(text.lines().count(), 1, "{text}");
        names(&text, Call::Setup, libc::EINVAL);
    });
}

#[test]
fn refusal_of_a_container_is_not_printed_without_a_hook() {
    // Goal: the default refusal of a container is not printed at each start of a program, but
    // `backend()` returns it, and a hook gets it; method: a filter as containers have it, and
    // standard error in a file.
    isolated(|| {
        if !refuse(Call::Setup, libc::EPERM) {
            return;
        }
        let text = stderr_of(|| {
            let info = serve(Builder::new().workers(4));
            names(info.fallback.as_deref().expect("a reason"), Call::Setup, libc::EPERM);
        });
        assert_eq!(text, "");
        let reports = Reports::default();
        serve(Builder::new().workers(2).on_error(reports.hook()));
        names(&reports.only(), Call::Setup, libc::EPERM);
    });
}

/// What must hold where a filter ends a thread or the process for `call`: the same as where it
/// refuses it.
fn is_not_ended_by(call: Call, action: u32) {
    if !filter(call, action) {
        return;
    }
    let (fds, threads) = (open_fds(), thread_count());
    for workers in [1, 4] {
        let reports = Reports::default();
        let make = || Builder::new().workers(workers).on_error(reports.hook());
        for serve in FORMS {
            let info = serve(make());
            assert_eq!(info.backend, Backend::Epoll);
            let why = info.fallback.expect("a reason");
            assert!(why.contains("seccomp") && why.contains(call.name()), "{why}");
            assert_eq!(reports.only(), why);
        }
        let text = build_error(|| make().backend(Backend::Uring));
        assert!(text.contains("seccomp") && text.contains("epoll"), "{text}");
    }
    assert_eq!(stderr_of(|| _ = serve(Builder::new().workers(1))), "");
    // SAFETY: the kernel writes nothing.
    let left = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG | libc::__WALL) };
    assert_eq!(left, -1, "a child is left");
    assert_eq!(open_fds(), fds);
    wait_until(|| thread_count() <= threads, || format!("{} threads", thread_count()));
}

// Goal of the following tests: a filter that kills for io_uring kills no program that can do
// without it; method: such filters, in processes of their own.

#[test]
fn filter_that_kills_for_setup_ends_on_epoll() {
    isolated(|| is_not_ended_by(Call::Setup, libc::SECCOMP_RET_KILL_PROCESS));
}

#[test]
fn filter_that_kills_a_thread_for_setup_ends_on_epoll() {
    isolated(|| is_not_ended_by(Call::Setup, libc::SECCOMP_RET_KILL_THREAD));
}

#[test]
fn filter_that_kills_for_register_ends_on_epoll() {
    isolated(|| is_not_ended_by(Call::Register, libc::SECCOMP_RET_KILL_PROCESS));
}

#[test]
fn filter_that_kills_for_enter_ends_on_epoll() {
    isolated(|| is_not_ended_by(Call::Enter, libc::SECCOMP_RET_TRAP));
}

#[test]
fn filter_of_something_else_leaves_the_rings() {
    // Goal: a filter alone is no reason for epoll: the calls are tried; method: a filter that
    // refuses nothing.
    isolated(|| {
        if uring_here() && filter(Call::Setup, libc::SECCOMP_RET_ALLOW) {
            let info = serve(Builder::new().workers(2));
            assert_eq!((info.backend, info.fallback), (Backend::Uring, None));
        }
    });
}

/// What `body` writes to standard error.
pub fn stderr_of(body: impl FnOnce()) -> String {
    let (path, before) = (std::env::temp_dir(), rustix::io::dup(io::stderr()).unwrap());
    let path = path.join(format!("ringloop-stderr-{}", std::process::id()));
    let file = fs::File::options().read(true).append(true).create_new(true).open(&path);
    let mut file = file.unwrap();
    fs::remove_file(&path).unwrap();
    redirect_stderr(&file);
    body();
    redirect_stderr(&before);
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

fn redirect_stderr(to: &impl AsRawFd) {
    // SAFETY: the number 2 is always standard error's; the file that it named stays open elsewhere.
    assert_eq!(unsafe { libc::dup2(to.as_raw_fd(), 2) }, 2);
}

#[test]
fn sandbox_entered_after_the_start_is_served_or_named() {
    // Goal: a program that gives up rights after its start must not hang on rings that it may not
    // enter any more: it goes on, or ends and says which call was refused; method: a fork that
    // builds a runtime, sets the filter, and waits for an echo. (In a thread instead of a fork, an
    // abort would end the test.)
    isolated(|| {
        if !uring_here() {
            return;
        }
        for (defer, errno) in [(true, libc::EPERM), (false, libc::ENOSYS)] {
            let sandboxed = |words: &mut PipeWriter| {
                redirect_stderr(words);
                let builder = Builder::new().workers(2).backend(Backend::Uring);
                let runtime = builder.defer_taskrun(defer).build().unwrap();
                runtime.run(echo_megabyte()).unwrap();
                if refuse(Call::Enter, errno) {
                    runtime.run(echo_megabyte()).unwrap();
                }
                drop(runtime);
                redirect_stderr(&io::stdin());
            };
            let (text, end) = fork(sandboxed).last_words();
            if end != "exit 0" {
                assert!(end.starts_with("exit") || end == "signal Some(6)", "{end}: {text}");
                assert!(text.contains("io_uring_enter"), "{end}: {text}");
            }
        }
    });
}

const DISABLED: &str = "/proc/sys/kernel/io_uring_disabled";

/// Runs `body` as an ordinary user while the whole machine's `io_uring_disabled` is `value`.
fn with_uring_disabled<F: FnOnce()>(value: &str, body: F) {
    static ALONE: Mutex<()> = Mutex::new(());
    let (mut guard, mut setting) = (None::<MutexGuard<'_, ()>>, None);
    // Only the parent changes the setting, and restores it at its end, also when the child has
    // failed.
    let prepare = |command: &mut Command| {
        command.arg("--ignored");
        guard = Some(ALONE.lock().unwrap_or_else(PoisonError::into_inner));
        match Setting::change(DISABLED, value) {
            Ok(changed) => setting = Some(changed),
            Err(error) => loud(&format!("NOTE {DISABLED} cannot be changed: {error}")),
        }
    };
    as_plain_user(prepare, body);
    drop((setting, guard));
}

/// What must hold for an ordinary user while `io_uring_disabled` is `value`.
fn disabled_ends_on_epoll(value: &str) {
    if fs::read_to_string(DISABLED).is_ok_and(|now| now.trim() == value) {
        let reports = Reports::default();
        let make = || Builder::new().workers(2).on_error(reports.hook());
        let info = serve(make());
        assert_eq!(info.backend, Backend::Epoll);
        let why = info.fallback.expect("a reason");
        names(&why, Call::Setup, libc::EPERM);
        assert!(why.contains("io_uring_disabled"), "{why}");
        assert!(reports.only().contains("io_uring_disabled"));
        let text = build_error(|| make().backend(Backend::Uring));
        assert!(text.contains("io_uring_disabled"), "{text}");
    } else {
        loud(&format!("NOTE skipped: {DISABLED} is not {value}"));
    }
}

#[test]
#[ignore = "changes a setting of the whole machine: nothing else may run"]
fn uring_disabled_for_all_ends_on_epoll() {
    // Goal: the administrator's switch is obeyed and named; method: turn it, as another user.
    with_uring_disabled("2", || disabled_ends_on_epoll("2"));
}

#[test]
#[ignore = "changes a setting of the whole machine: nothing else may run"]
fn uring_disabled_for_plain_users_ends_on_epoll() {
    // Goal and method: as above, with the value that leaves root alone.
    with_uring_disabled("1", || disabled_ends_on_epoll("1"));
}

/// What a builder's choice gives: the backend, and the number of reports to the hook.
fn chosen(builder: Builder) -> (Backend, usize) {
    let reports = Reports::default();
    let info = serve(builder.workers(2).on_error(reports.hook()));
    assert_eq!(info.fallback, None, "a choice is no fallback");
    (info.backend, reports.take().len())
}

fn environment(value: &'static str) -> impl FnOnce(&mut Command) {
    move |command| {
        command.env("RINGLOOP_BACKEND", value);
    }
}

#[test]
fn environment_epoll_is_obeyed_unless_the_builder_says_otherwise() {
    isolated_with(environment("epoll"), || {
        assert_eq!(chosen(Builder::new()), (Backend::Epoll, 0));
        assert_eq!(chosen(Builder::new().backend(Backend::Auto)), (Backend::Epoll, 0));
        if uring_here() {
            assert_eq!(chosen(Builder::new().backend(Backend::Uring)), (Backend::Uring, 0));
        }
    });
}

#[test]
fn environment_uring_is_obeyed_unless_the_builder_says_otherwise() {
    isolated_with(environment("uring"), || {
        assert_eq!(chosen(Builder::new().backend(Backend::Epoll)), (Backend::Epoll, 0));
        if uring_here() {
            assert_eq!(chosen(Builder::new()), (Backend::Uring, 0));
            assert_eq!(chosen(Builder::new().defer_taskrun(false)), (Backend::Uring, 0));
        }
    });
}

#[test]
fn environment_uring_where_it_is_refused_is_an_error() {
    // Goal: a program that insists on a backend never gets another one in silence, and the error
    // says by which variable it insisted.
    isolated_with(environment("uring"), || {
        if refuse(Call::Setup, libc::EPERM) {
            let text = build_error(|| Builder::new().workers(2));
            names(&text, Call::Setup, libc::EPERM);
            assert!(text.contains("RINGLOOP_BACKEND"), "{text}");
        }
    });
}

#[test]
fn environment_auto_is_the_default() {
    isolated_with(environment("auto"), || {
        let first = chosen(Builder::new()).0;
        // SAFETY: no other thread of this process reads the environment now.
        unsafe { std::env::remove_var("RINGLOOP_BACKEND") };
        assert_eq!(chosen(Builder::new()).0, first);
        assert!(!uring_here() || first == Backend::Uring);
    });
}

#[test]
fn environment_nonsense_is_an_error_unless_the_builder_decides() {
    isolated_with(environment("io_uring"), || {
        let text = build_error(|| Builder::new().workers(1));
        for word in ["RINGLOOP_BACKEND", "\"io_uring\"", "auto", "uring", "epoll"] {
            assert!(text.contains(word), "{word} in {text}");
        }
        assert_eq!(chosen(Builder::new().backend(Backend::Epoll)), (Backend::Epoll, 0));
    });
}

#[test]
fn every_worker_is_on_the_backend_of_the_sweep() {
    // Goal: the sweep tests the backend that it names; method: compare with the runtime's own
    // description, in each case.
    on_every(|cfg: &Cfg| {
        let info = cfg.runtime().must_run(async { ringloop::backend() });
        let text = cfg.to_string();
        assert!(text.starts_with(&info.backend.to_string()), "{info} in the case {text}");
        assert_eq!(info.fallback, None);
    });
}
