//! Forced faults: system calls that are refused, limits, another user, forks.

use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, WaitOptions, getrlimit, setrlimit, waitpid};

use crate::harness::{loud, panic_text};
use crate::processes::isolated_with;

/// After this many seconds a fork is taken to hang, and killed.
const FORK_DEADLINE: u32 = 30;

/// The last line that a fork writes when it has not been killed.
const FORK_ENDS: &str = "that was all";

/// Set where a process has a user of its own.
const OWN_USER: &str = "RINGLOOP_TEST_OWN_USER";

/// The system calls that may be missing: those of io_uring, and an open that looks in the cache only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    Setup,
    Enter,
    Register,
    Openat2,
}

impl Call {
    pub fn name(self) -> &'static str {
        match self {
            Call::Setup => "io_uring_setup",
            Call::Enter => "io_uring_enter",
            Call::Register => "io_uring_register",
            Call::Openat2 => "openat2",
        }
    }

    fn number(self) -> libc::c_long {
        match self {
            Call::Setup => libc::SYS_io_uring_setup,
            Call::Enter => libc::SYS_io_uring_enter,
            Call::Register => libc::SYS_io_uring_register,
            Call::Openat2 => libc::SYS_openat2,
        }
    }

    /// The call with arguments that no kernel accepts, and its error.
    fn fail(self) -> i32 {
        // SAFETY: there is no ring of that number, and no memory is given.
        let result = unsafe {
            libc::syscall(self.number(), -1isize, 0usize, 0usize, 0usize, 0usize, 0usize)
        };
        assert_eq!(result, -1, "{self:?} of nothing");
        io::Error::last_os_error().raw_os_error().expect("an error of the system")
    }
}

/// Makes a system call fail from here on, in all threads, present and future, and in all children:
/// a seccomp filter, which cannot be removed. False, after a printed note, where none may be set.
#[must_use]
pub fn refuse(call: Call, errno: i32) -> bool {
    let set = filter(call, libc::SECCOMP_RET_ERRNO | errno as u32);
    assert!(!set || call.fail() == errno, "the filter does not work");
    set
}

/// Sets a filter that does `action` for a system call. False as with [`refuse`].
#[must_use]
pub fn filter(call: Call, action: u32) -> bool {
    let step = |code: u32, jump_if_not: u8, value: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: jump_if_not,
        k: value,
    };
    // The call's number is the first field of the filter's input (struct seccomp_data).
    let mut program = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, call.number() as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, action),
        step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    if !set_filter(&mut program, libc::SECCOMP_FILTER_FLAG_TSYNC) {
        return false;
    }
    true
}

/// Makes the calling thread unable to start others, for as long as it lives, by a seccomp filter of
/// its own. Other threads are not affected. False, after a printed note, where none may be set.
#[must_use]
pub fn refuse_threads_here() -> bool {
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EAGAIN as u32;
    let step = |code: u32, jump: u8, value: u32| libc::sock_filter {
        code: code as u16,
        jt: jump,
        jf: 0,
        k: value,
    };
    let is = |call: libc::c_long, jump| {
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, jump, call as u32)
    };
    let mut program = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        is(libc::SYS_clone3, 2),
        is(libc::SYS_clone, 1),
        step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
        step(libc::BPF_RET | libc::BPF_K, 0, refuse),
    ];
    set_filter(&mut program, 0)
}

/// Sets a filter for this thread, or, with TSYNC among the flags, for all threads.
fn set_filter(program: &mut [libc::sock_filter], flags: libc::c_ulong) -> bool {
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    rustix::thread::set_no_new_privs(true).expect("privileges can be given up");
    let mode = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: the filter lives until the kernel has copied it.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const filter) };
    if result != 0 {
        loud(&format!("NOTE skipped: no seccomp filter here: {}", io::Error::last_os_error()));
    }
    result == 0
}

/// Whether a ring with deferred work (Linux 6.1), which runtimes need, can be set up here.
#[must_use]
pub fn uring_here() -> bool {
    match ring_of(4) {
        Ok(()) => true,
        Err(error) => {
            loud(&format!("NOTE skipped: no io_uring here: {error}"));
            false
        }
    }
}

/// Sets up a ring of `entries`, and closes it.
pub fn ring_of(entries: usize) -> io::Result<()> {
    const SINGLE_ISSUER: u32 = 1 << 12;
    const DEFER_TASKRUN: u32 = 1 << 13;
    // struct io_uring_params: its third word holds the flags.
    let mut params = [0u32; 30];
    params[2] = SINGLE_ISSUER | DEFER_TASKRUN;
    // SAFETY: the kernel writes at most 120 bytes, the size of `params`.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, entries, params.as_mut_ptr()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was opened above, and is used nowhere else.
    unsafe { libc::close(fd as i32) };
    Ok(())
}

/// Waits until the kernel has released the memory that closed rings had locked, which takes a
/// while.
pub fn let_locked_memory_come_back() {
    std::thread::sleep(Duration::from_millis(500));
}

/// How many ring buffers are mapped into this process.
pub fn ring_mappings() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").expect("/proc/self/maps");
    maps.lines().filter(|line| line.contains("io_uring")).count()
}

/// Lowers (or raises again) a limit of this process.
pub fn limit(resource: Resource, soft: u64) {
    let maximum = getrlimit(resource).maximum;
    setrlimit(resource, Rlimit { current: Some(soft), maximum })
        .expect("own limits may be lowered");
}

/// Runs `body` in a child process of an ordinary user that has no other process: locked memory is
/// counted per user. Where root is needed for that and missing, the user of the tests must do.
pub fn as_plain_user<F: FnOnce()>(prepare: impl FnOnce(&mut Command), body: F) {
    if !rustix::process::getuid().is_root() {
        // This is the child, or the tests run as an ordinary user already.
        isolated_with(prepare, body);
        return;
    }
    let Some(binary) = Reachable::find() else {
        loud("NOTE skipped: no ordinary user can run this binary here");
        return;
    };
    let become_plain = |command: &mut Command| {
        prepare(command);
        binary.take_the_place_of(command);
    };
    isolated_with(become_plain, body);
}

/// Whether this process is the only one of its user; if not, the test prints a note and ends.
#[must_use]
pub fn user_is_alone() -> bool {
    let alone = std::env::var_os(OWN_USER).is_some();
    if !alone {
        loud(
            "NOTE skipped: memory that this user's other processes lock counts too; only root can change the user",
        );
    }
    alone
}

/// This binary, at a path where an ordinary user can run it.
struct Reachable {
    user: u32,
    path: PathBuf,
    copied_to: Option<PathBuf>,
}

impl Reachable {
    fn find() -> Option<Reachable> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let here = std::env::current_exe().expect("path of the test binary");
        // User ids that are not in use; or the id of `nobody`, where ids are few (a user
        // namespace).
        let users = [200_000 + (std::process::id() % 100_000) * 100 + number, 65_534];
        let place = std::env::temp_dir().join(format!("ringloop-{}-{number}", std::process::id()));
        let mut found = Reachable { user: 0, path: here.clone(), copied_to: None };
        for user in users {
            found.user = user;
            if found.runs() {
                return Some(found);
            }
        }
        fs::create_dir(&place).ok()?;
        found.path = place.join("tests");
        found.copied_to = Some(place.clone());
        open_to_all(&place);
        fs::copy(&here, &found.path).ok()?;
        open_to_all(&found.path);
        for user in users {
            found.user = user;
            if found.runs() {
                return Some(found);
            }
        }
        None
    }

    fn runs(&self) -> bool {
        let mut probe = self.command();
        probe.arg("--list").stdout(Stdio::null()).stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.uid(self.user).gid(self.user).env(OWN_USER, "1").stdin(Stdio::null());
        command
    }

    fn take_the_place_of(&self, command: &mut Command) {
        let mut moved = self.command();
        moved.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => moved.env(name, value),
                None => moved.env_remove(name),
            };
        }
        *command = moved;
    }
}

impl Drop for Reachable {
    fn drop(&mut self) {
        if let Some(place) = &self.copied_to {
            let _ = fs::remove_dir_all(place);
        }
    }
}

fn open_to_all(path: &Path) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    let _ = fs::set_permissions(path, mode);
}

/// A system-wide setting (a sysctl), changed until this is dropped.
pub struct Setting {
    path: &'static str,
    before: String,
}

impl Setting {
    pub fn change(path: &'static str, value: &str) -> io::Result<Setting> {
        let before = fs::read_to_string(path)?.trim().to_owned();
        fs::write(path, value)?;
        Ok(Setting { path, before })
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        if let Err(error) = fs::write(self.path, &self.before) {
            loud(&format!("NOTE cannot set {} back to {}: {error}", self.path, self.before));
        }
    }
}

/// A fork of this process that runs no other program. It stays until it is dismissed.
pub struct Forked {
    pid: Pid,
    words: PipeReader,
    leave: PipeWriter,
}

/// Forks. `body` runs in the fork, on its only thread, and writes its findings to the test; it is
/// killed when it hangs.
pub fn fork(body: impl FnOnce(&mut PipeWriter)) -> Forked {
    let (words, mut speak) = io::pipe().expect("a pipe");
    let (stay, leave) = io::pipe().expect("a pipe");
    // SAFETY: the fork runs on the same copied memory, and ends without returning from here.
    match unsafe { libc::fork() } {
        -1 => panic!("no fork: {}", io::Error::last_os_error()),
        0 => {
            die_by_alarm();
            drop((words, leave));
            let ended = catch_unwind(AssertUnwindSafe(|| body(&mut speak)));
            if let Err(payload) = &ended {
                let _ = writeln!(speak, "panicked: {}", panic_text(&**payload));
            }
            let _ = writeln!(speak, "{FORK_ENDS}");
            drop(speak);
            let _ = (&stay).read(&mut [0]);
            // SAFETY: no destructor of the parent must run here.
            unsafe { libc::_exit(if ended.is_ok() { 0 } else { 101 }) }
        }
        pid => Forked { pid: Pid::from_raw(pid).expect("not zero"), words, leave },
    }
}

/// Kills this process after [`FORK_DEADLINE`], also if it hangs.
pub fn die_by_alarm() {
    // SAFETY: without a handler, the signal ends the process.
    unsafe { libc::alarm(FORK_DEADLINE) };
}

impl Forked {
    /// All lines that the fork has written, once it is about to end.
    pub fn hear(&mut self) -> Vec<String> {
        let mut text = String::new();
        self.words.read_to_string(&mut text).expect("words");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if lines.pop().as_deref() != Some(FORK_ENDS) {
            panic!("the fork ended by {}, after it wrote {text:?}", how_it_ended(self.pid));
        }
        lines
    }

    /// What the fork writes until its end, and how it ends, in whatever way.
    pub fn last_words(self) -> (String, String) {
        let Forked { pid, mut words, leave } = self;
        drop(leave);
        let mut text = String::new();
        words.read_to_string(&mut text).expect("words");
        (text, how_it_ended(pid))
    }

    /// Lets the fork end; it must not have panicked.
    pub fn dismiss(self) {
        let Forked { pid, words, leave } = self;
        drop((words, leave));
        assert_eq!(how_it_ended(pid), "exit 0");
    }

    /// [`hear`](Self::hear) and [`dismiss`](Self::dismiss).
    pub fn finish(mut self) -> Vec<String> {
        let words = self.hear();
        assert!(words.iter().all(|word| !word.starts_with("panicked")), "{words:#?}");
        self.dismiss();
        words
    }
}

/// Waits for a child process to end.
pub fn how_it_ended(pid: Pid) -> String {
    let (_, status) = waitpid(Some(pid), WaitOptions::empty()).expect("a child").expect("its end");
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exit {code}"),
        (_, Some(libc::SIGALRM)) => format!("its alarm: it hangs for {FORK_DEADLINE} s"),
        (_, signal) => format!("signal {signal:?}"),
    }
}
