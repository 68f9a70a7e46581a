//! Which backend a runtime gets, and what it says when that is not io_uring.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Seek};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::join;
use ringloop::io::{AsyncFd, AsyncReadExt, AsyncWriteExt};
use ringloop::net::{TcpListener, TcpStream};
use ringloop::{
    Backend, BackendInfo, BuildError, Builder, ErrorEvent, Handle, signal, spawn, to_thread,
};
use rustix::process::{Resource, getrlimit};

use crate::faults::{
    Call, Setting, as_plain_user, limit, refuse, ring_mappings, ring_of, uring_here,
};
use crate::harness::{Cfg, loud, on_every, scaled, wait_until};
use crate::measure::{open_fds, resident_bytes, thread_count};
use crate::net_stream::{echo, expect_pattern, pair, send_pattern};
use crate::processes::{isolated, isolated_with};
use crate::tools::GiveUpAfter;

/// A megabyte there and back over the loopback, on the runtime at hand.
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

/// What an error hook heard of backends; that it hears of nothing else is checked at once.
#[derive(Clone, Default)]
struct Reports(Arc<Mutex<Vec<String>>>);

impl Reports {
    fn hook(&self) -> impl Fn(&ErrorEvent) + Send + Sync + 'static {
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

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// The one report there is.
    #[track_caller]
    fn only(&self) -> String {
        let mut heard = self.take();
        assert_eq!(heard.len(), 1, "one report per runtime: {heard:#?}");
        heard.remove(0)
    }
}

/// Builds a runtime on threads of its own, lets it serve, and returns what it says of itself.
fn serve(builder: Builder) -> Result<BackendInfo, BuildError> {
    let runtime = builder.build()?;
    let info = runtime.run(async {
        echo_megabyte().await;
        ringloop::backend()
    });
    let info = info.unwrap();
    assert_eq!(runtime.handle().backend(), info.backend);
    Ok(info)
}

/// [`serve`] in the form whose first worker is the calling thread.
fn serve_here(builder: Builder) -> BackendInfo {
    let served = builder.run(async {
        echo_megabyte().await;
        ringloop::backend()
    });
    served.unwrap()
}

/// The error of a build, which both ways of starting must give alike.
fn build_error(make: impl Fn() -> Builder) -> String {
    let text = make().build().expect_err("no runtime").to_string();
    let ran = make().run(async {}).expect_err("no run");
    assert_eq!(ran.as_build_error().expect("of building").to_string(), text);
    text
}

/// `text` tells what failed and how, and at least one thing to do about it.
#[track_caller]
fn names(text: &str, call: Call, errno: i32) {
    const FIXES: [&str; 4] = ["seccomp", "sandbox", "io_uring_disabled", "Linux 6"];
    assert!(text.contains(call.name()), "no {} in {text}", call.name());
    assert!(text.contains(&format!("os error {errno})")), "no error {errno} in {text}");
    assert!(FIXES.iter().any(|fix| text.contains(fix)), "nothing to do in {text}");
    assert!(!text.trim().contains('\n'), "more than one line: {text}");
}

/// What must hold where the kernel refuses `call` for good: auto serves on epoll and says why, once
/// per runtime; who insists on io_uring gets an error that names the way out; nothing is left over.
fn ends_on_epoll(call: Call, errno: i32) {
    if !refuse(call, errno) {
        return;
    }
    let (fds, threads) = (open_fds(), thread_count());
    for workers in [1, 4] {
        let reports = Reports::default();
        let make = || Builder::new().workers(workers).on_error(reports.hook());
        for info in [serve(make()).unwrap(), serve_here(make())] {
            assert_eq!(info.backend, Backend::Epoll);
            let why = info.fallback.as_deref().expect("a reason");
            names(why, call, errno);
            assert!(info.to_string().contains("epoll"), "{info}");
            assert!(!info.to_string().contains('\n'), "{info}");
        }
        let heard = reports.take();
        assert_eq!(heard.len(), 2, "one report for each of two runtimes: {heard:#?}");
        heard.iter().for_each(|reason| names(reason, call, errno));

        let text = build_error(|| make().backend(Backend::Uring));
        names(&text, call, errno);
        assert!(text.contains("epoll"), "{text}");
        assert_eq!(serve(make().backend(Backend::Epoll)).unwrap().fallback, None);
        assert_eq!(reports.take(), [""; 0], "errors that are returned, and choices, are not told");
    }
    assert_eq!(open_fds(), fds);
    assert_eq!(ring_mappings(), 0);
    wait_until(|| thread_count() <= threads, || format!("{} threads", thread_count()));
}

// Goal of the following: a sandbox that knows no io_uring, as containers have it, at each of its
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
    // Goal: nobody runs on the slower backend unknowingly, nor with a wall of text; method: standard
    // error is a file while a runtime comes and goes.
    isolated(|| {
        if !refuse(Call::Setup, libc::EPERM) {
            return;
        }
        let (path, before) = (std::env::temp_dir(), rustix::io::dup(io::stderr()).unwrap());
        let path = path.join(format!("ringloop-stderr-{}", std::process::id()));
        let file = fs::File::options().read(true).append(true).create_new(true).open(&path);
        let mut file = file.unwrap();
        fs::remove_file(&path).unwrap();
        redirect_stderr(&file);
        let served = serve(Builder::new().workers(4));
        redirect_stderr(&before);
        served.unwrap();
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        names(&text, Call::Setup, libc::EPERM);
    });
}

fn redirect_stderr(to: &impl AsRawFd) {
    // SAFETY: standard error has its number for ever; what it was stays open elsewhere.
    assert_eq!(unsafe { libc::dup2(to.as_raw_fd(), 2) }, 2);
}

const DISABLED: &str = "/proc/sys/kernel/io_uring_disabled";

/// Runs `body` as an ordinary user while the whole machine's `io_uring_disabled` is `value`.
fn with_uring_disabled<F: FnOnce()>(value: &str, body: F) {
    static ALONE: Mutex<()> = Mutex::new(());
    let (mut guard, mut setting) = (None::<MutexGuard<'_, ()>>, None);
    // Only the parent prepares; what it sets goes back at its end, also when the child has failed.
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
        let info = serve(make()).unwrap();
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

/// A report about locked memory names the limit, the ring's size, and the way out.
#[track_caller]
fn names_locked_memory(text: &str, limit: &[&str]) {
    assert!(limit.iter().any(|number| text.contains(number)), "no number of {limit:?} in {text}");
    assert!(text.contains("ulimit -l") || text.contains("RLIMIT_MEMLOCK"), "{text}");
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|word| !word.is_empty());
    assert!(numbers.count() >= 2, "what it wanted, and what it got: {text}");
}

#[test]
fn little_locked_memory_means_smaller_rings_or_epoll() {
    // Goal: K5; method: eight workers of a user who may lock 64 KiB, which is two rings of 256 entries.
    let body = || {
        let possible = uring_here();
        limit(Resource::Memlock, 64 << 10);
        if possible && ring_of(1024).is_ok() {
            loud("NOTE skipped: this kernel does not count rings as locked memory");
            return;
        }
        let reports = Reports::default();
        let make = || Builder::new().workers(8).on_error(reports.hook());
        let info = serve(make()).unwrap();
        let reason = reports.only();
        if possible {
            names_locked_memory(&reason, &["65536", "64 KiB", "64 kB"]);
        }
        if info.backend == Backend::Epoll {
            assert!(info.fallback.is_some());
        } else {
            let bytes = 8 * (info.ring_entries * 64 + info.completion_entries * 16);
            assert!(bytes <= 64 << 10, "more than there is: {info}");
        }
        // The next one finds the same: what the first one locked has come back.
        let again = serve_here(make());
        assert_eq!(again.backend, info.backend, "first {info}, then {again}");
        reports.only();
    };
    as_plain_user(|_| {}, body);
}

#[test]
fn no_locked_memory_means_epoll() {
    // Goal: K5, the other end; method: a user who may lock nothing.
    let body = || {
        let possible = uring_here();
        limit(Resource::Memlock, 0);
        if possible && ring_of(4).is_ok() {
            loud("NOTE skipped: this kernel does not count rings as locked memory");
            return;
        }
        let reports = Reports::default();
        let make = || Builder::new().workers(2).on_error(reports.hook());
        let info = serve(make()).unwrap();
        assert_eq!(info.backend, Backend::Epoll);
        let reason = reports.only();
        let text = build_error(|| make().backend(Backend::Uring));
        if possible {
            names_locked_memory(&reason, &["0"]);
            names_locked_memory(&info.fallback.expect("a reason"), &["0"]);
            names_locked_memory(&text, &["0"]);
        }
    };
    as_plain_user(|_| {}, body);
}

/// What the choice of a builder comes to: the backend, and how often the hook heard.
fn chosen(builder: Builder) -> (Backend, usize) {
    let reports = Reports::default();
    let info = serve(builder.workers(2).on_error(reports.hook())).unwrap();
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
    // Goal: who insists does not get another backend in silence, and hears who it was that insisted.
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

/// Takes the free numbers below the highest descriptor: a limit counts numbers.
fn fill_gaps(highest: u64) -> Vec<fs::File> {
    let null = || fs::File::open("/dev/null").unwrap();
    std::iter::repeat_with(null).take_while(|file| (file.as_raw_fd() as u64) < highest).collect()
}

/// Builds with more and more descriptors allowed until it works; returns how often it did not.
fn build_with_few_descriptors(make: impl Fn() -> Builder) -> usize {
    let (fds, threads, rings) = (open_fds(), thread_count(), ring_mappings());
    let plenty = getrlimit(Resource::Nofile).current.unwrap();
    let highest = *fds.keys().max().unwrap() as u64;
    let _gaps = fill_gaps(highest);
    let fds = open_fds();
    for spare in 0.. {
        limit(Resource::Nofile, highest + 1 + spare);
        let built = make().build().map(drop);
        let ran = make().run(async {});
        limit(Resource::Nofile, plenty);
        let works = built.is_ok() && ran.is_ok();
        let (built, ran) = (built.err(), ran.err());
        for error in [built.as_ref(), ran.as_ref().and_then(|ran| ran.as_build_error())] {
            let Some(error) = error else { continue };
            assert!(error.to_string().contains("ulimit -n"), "{spare} to spare: {error}");
            assert!(error.io_error().is_some(), "{error:?}");
        }
        assert_eq!(open_fds(), fds, "{spare} to spare: left open");
        assert_eq!(ring_mappings(), rings, "{spare} to spare: left mapped");
        wait_until(|| thread_count() <= threads, || format!("{} threads", thread_count()));
        if works {
            return spare as usize;
        }
    }
    unreachable!("some number of descriptors is enough")
}

#[test]
fn too_few_descriptors_are_named_and_nothing_leaks() {
    // Goal: descriptors that run out anywhere in the start; method: allow one more at a time until
    // both forms start.
    isolated(|| {
        on_every(|cfg| {
            let refusals = build_with_few_descriptors(|| cfg.builder());
            assert!(refusals > cfg.workers, "{refusals} refusals: the limit had no effect");
            drop(cfg.runtime());
        });
        let reports = Reports::default();
        build_with_few_descriptors(|| Builder::new().workers(4).on_error(reports.hook()));
    });
}

/// Which of the descriptors a new program would inherit, and what they are.
fn inheritable(fds: &BTreeMap<i32, String>) -> Vec<String> {
    let inherited = |fd: &i32| {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        u32::from_str_radix(flags.trim(), 8).unwrap() & libc::O_CLOEXEC as u32 == 0
    };
    let all = fds.iter().filter(|(fd, _)| inherited(fd));
    all.map(|(fd, target)| format!("{fd} -> {target}")).collect()
}

/// Those of what a runtime has opened since `before`, with something of everything in use, that a new
/// program would inherit.
async fn inheritable_since(before: &BTreeMap<i32, String>) -> Vec<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ((mut near, mut far), mut shut) = (pair().await, Box::pin(listener.accept()));
    let (pipe, _writer) = io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&pipe, true).unwrap();
    let (pipe, mut interrupt) = (AsyncFd::new(pipe).unwrap(), Box::pin(signal::ctrl_c()));
    to_thread(|| ()).await.unwrap();
    let mut buf = [0; 1];
    assert!(GiveUpAfter::new(2, pipe.readable()).await.is_none());
    assert!(GiveUpAfter::new(2, &mut interrupt).await.is_none());
    assert!(GiveUpAfter::new(2, &mut shut).await.is_none());
    assert!(GiveUpAfter::new(2, near.read(&mut buf)).await.is_none());
    near.write_all(b"a").await.unwrap();
    near.flush().await.unwrap();
    far.read_exact(&mut buf).await.unwrap();
    let accepted = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connect = TcpStream::connect(accepted.local_addr().unwrap());
    let (_client, _server) = join(connect, accepted.accept()).await;
    let new: BTreeMap<_, _> =
        open_fds().into_iter().filter(|(fd, _)| !before.contains_key(fd)).collect();
    assert!(new.len() > Handle::current().workers() + 6, "not even the sockets: {new:?}");
    inheritable(&new)
}

#[test]
fn no_descriptor_of_a_runtime_is_inherited() {
    // Goal: S9, all are close-on-exec; method: the flags of all that came since the runtime was built,
    // while sockets, pipes, signals and blocking jobs are in use.
    isolated(|| {
        on_every(|cfg| {
            let before = open_fds();
            let runtime = cfg.runtime();
            assert_eq!(runtime.must_run(inheritable_since(&before)), [""; 0]);
        });
    });
}

/// Uses a new runtime a little, and drops it in the middle of operations.
fn come_and_go(builder: Builder, one_shot: bool) -> BackendInfo {
    let main = async {
        let (mut near, mut far) = pair().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        spawn(async move { listener.accept().await.map(drop) }).detach();
        near.write_all(b"ping").await.unwrap();
        near.flush().await.unwrap();
        let mut buf = [0; 4];
        far.read_exact(&mut buf).await.unwrap();
        spawn(async move { far.read(&mut buf).await.map(drop) }).detach();
        spawn(async move { near.read(&mut [0]).await.map(drop) }).detach();
        ringloop::yield_now().await;
        ringloop::backend()
    };
    if one_shot { builder.run(main).unwrap() } else { builder.build().unwrap().run(main).unwrap() }
}

#[test]
fn rings_that_come_and_go_leave_nothing() {
    // Goal: a ring's descriptors, maps, kernel threads go with it; method: 200 runtimes in turn, each
    // dropped with an accept and two reads in flight.
    isolated(|| {
        if !uring_here() {
            return;
        }
        for defer in [true, false] {
            let turns = |n: usize| {
                for i in 0..n {
                    let builder = Builder::new().backend(Backend::Uring).defer_taskrun(defer);
                    let info = come_and_go(builder.workers(1 + i % 3), i % 2 == 1);
                    assert_eq!(info.backend, Backend::Uring);
                    assert!(defer || !info.defer_taskrun, "{info}");
                }
            };
            turns(20);
            let (fds, threads, resident) = (open_fds(), thread_count(), resident_bytes());
            turns(scaled(200));
            assert_eq!(open_fds(), fds);
            assert_eq!(ring_mappings(), 0);
            wait_until(|| thread_count() <= threads, || format!("{} threads", thread_count()));
            let grown = resident_bytes().saturating_sub(resident);
            assert!(grown < 8 << 20, "resident memory grew by {grown} bytes");
        }
    });
}

#[test]
fn rings_that_come_and_go_give_locked_memory_back() {
    // Goal: a user with the usual limit may build runtime after runtime, although the kernel frees
    // rings later; method: 200 in turn, of which a twentieth would fill 8 MiB.
    let body = || {
        let allowed = getrlimit(Resource::Memlock).current.unwrap_or(u64::MAX);
        if allowed < 8 << 20 {
            loud(&format!("NOTE skipped: only {allowed} bytes may be locked here"));
            return;
        }
        limit(Resource::Memlock, 8 << 20);
        if !uring_here() {
            return;
        }
        let reports = Reports::default();
        for i in 0..scaled(200) {
            let builder = Builder::new().workers(2).on_error(reports.hook());
            let info = come_and_go(builder, i % 2 == 1);
            assert_eq!(info.backend, Backend::Uring, "runtime {i}: {info}");
            assert_eq!(reports.take(), [""; 0], "runtime {i}");
        }
    };
    as_plain_user(|_| {}, body);
}

#[test]
fn every_worker_is_on_the_backend_of_the_sweep() {
    // Goal: the sweep tests what it says; method: what a runtime says of itself in each case.
    on_every(|cfg: &Cfg| {
        let info = cfg.runtime().must_run(async { ringloop::backend() });
        let text = cfg.to_string();
        assert!(text.starts_with(&info.backend.to_string()), "{info} in the case {text}");
        assert_eq!(info.fallback, None);
    });
}
