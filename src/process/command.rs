//! What is to be started, and how.

use std::{
    ffi::OsStr,
    fmt, io, mem,
    os::{fd::OwnedFd, unix::process::CommandExt},
    panic::Location,
    path::Path,
    process::{self, CommandArgs, CommandEnvs, ExitStatus, Output, Stdio},
};

use super::{Child, errors, pidfd::Process};
use crate::{blocking::Kind, runtime::Handle, util::signals};

/// A program to be started, in the shape of [`std::process::Command`], which does the starting.
///
/// Until they are set, standard input, output and error are those of this process for
/// [`spawn`](Self::spawn) and [`status`](Self::status). What is started gets no other descriptor of the
/// runtime, an empty signal mask, and every signal's default but for those that are ignored here.
///
/// asyncio: `create_subprocess_exec`.
///
/// # What goes to a thread
///
/// Starting a program takes about half a millisecond, most of it in the child, however large this process
/// is: the system's `posix_spawn` shares the memory until the program is there. It is done on the
/// worker, which other tasks do not notice more than any poll of that length.
///
/// Some settings have no place in `posix_spawn` as std calls it: [`uid`](Self::uid), [`gid`](Self::gid),
/// [`pre_exec`](Self::pre_exec), [`setsid`](Self::setsid), and another `PATH` (or
/// [`env_clear`](Self::env_clear)) together with a bare name; also, if this thread blocks signals, that the
/// child does not. Then the process is forked, for which the
/// kernel copies its page tables: 20 ms beside 1 GiB of memory. That is left to a thread of the blocking
/// pool, so that no worker waits for it. A process group of its own ([`process_group`](Self::process_group))
/// costs nothing: take it instead of a hook.
///
/// ```
/// use ringloop::process::Command;
///
/// ringloop::run(async {
///     let output = Command::new("echo").arg("hello").output().await.unwrap();
///     assert!(output.status.success());
///     assert_eq!(output.stdout, b"hello\n");
/// });
/// ```
#[doc(alias = "create_subprocess_exec")]
#[doc(alias = "subprocess")]
pub struct Command {
    inner: process::Command,
    settings: Settings,
    kill_on_drop: bool,
    /// The inner one went away with a `spawn` that was dropped.
    is_lost: bool,
}

/// What of a command its inner one does not tell.
#[derive(Debug, Clone, Copy, Default)]
struct Settings {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    /// It has something for which the process is forked; and a hook that lets signals through.
    forks: bool,
    /// It has another `PATH`.
    path: bool,
}

/// What the standard streams are that were not set.
#[derive(Debug, Clone, Copy)]
enum Streams {
    /// Those of this process.
    Inherited,
    /// No input; the others are captured.
    Captured,
    /// Pipes, all of them.
    Piped,
}

impl Command {
    /// A command that starts `program`: a path, if it has a `/` in it, or a name to be looked for in `PATH`.
    ///
    /// It has no arguments, and the environment and the working directory of this process.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            inner: process::Command::new(program),
            settings: Settings::default(),
            kill_on_drop: false,
            is_lost: false,
        }
    }

    /// A command that has `/bin/sh` run `script`.
    ///
    /// What comes from elsewhere must not be pasted into the script: pass it as arguments, which are `$0`,
    /// `$1` and so on there.
    ///
    /// asyncio: `create_subprocess_shell`.
    ///
    /// ```
    /// use ringloop::process::Command;
    ///
    /// ringloop::run(async {
    ///     let mut command = Command::shell("echo \"$1\" | tr a-z A-Z");
    ///     let output = command.args(["sh", "it's; safe"]).output().await.unwrap();
    ///     assert_eq!(output.stdout, b"IT'S; SAFE\n");
    /// });
    /// ```
    #[doc(alias = "create_subprocess_shell")]
    pub fn shell(script: impl AsRef<OsStr>) -> Self {
        let mut command = Self::new("/bin/sh");
        command.arg("-c").arg(script);
        command
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.inner.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.inner.args(args);
        self
    }

    /// Sets the name under which the program finds itself called: `argv[0]`.
    pub fn arg0(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.inner.arg0(arg);
        self
    }

    /// Sets a variable of the child's environment.
    pub fn env(&mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.settings.path |= key.as_ref() == "PATH";
        self.inner.env(key, value);
        self
    }

    /// Sets variables of the child's environment.
    pub fn envs<K, V>(&mut self, vars: impl IntoIterator<Item = (K, V)>) -> &mut Self
    where
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        for (key, value) in vars {
            self.env(key, value);
        }
        self
    }

    /// Takes a variable out of the child's environment.
    pub fn env_remove(&mut self, key: impl AsRef<OsStr>) -> &mut Self {
        self.settings.path |= key.as_ref() == "PATH";
        self.inner.env_remove(key);
        self
    }

    /// Gives the child no variable but those that are set from here on.
    pub fn env_clear(&mut self) -> &mut Self {
        self.settings.path = true;
        self.inner.env_clear();
        self
    }

    /// Sets the child's working directory.
    ///
    /// Whether a relative path of the program is looked for from there or from here is not certain: give
    /// an absolute one.
    pub fn current_dir(&mut self, dir: impl AsRef<Path>) -> &mut Self {
        self.inner.current_dir(dir);
        self
    }

    /// Sets what the child has as standard input.
    pub fn stdin(&mut self, stdin: impl Into<Stdio>) -> &mut Self {
        self.settings.stdin = true;
        self.inner.stdin(stdin);
        self
    }

    /// Sets what the child has as standard output.
    pub fn stdout(&mut self, stdout: impl Into<Stdio>) -> &mut Self {
        self.settings.stdout = true;
        self.inner.stdout(stdout);
        self
    }

    /// Sets what the child has as standard error.
    pub fn stderr(&mut self, stderr: impl Into<Stdio>) -> &mut Self {
        self.settings.stderr = true;
        self.inner.stderr(stderr);
        self
    }

    /// Puts the child into the process group with that number, or, for 0, into one of its own.
    ///
    /// A signal that goes to the group of this process, such as that of Ctrl-C, does not reach it then.
    pub fn process_group(&mut self, group: i32) -> &mut Self {
        self.inner.process_group(group);
        self
    }

    /// Gives the child a session of its own: setsid(2). It is the leader of a process group, too, and has no
    /// terminal. [A thread](Self#what-goes-to-a-thread) starts it.
    ///
    /// asyncio: `start_new_session=True`.
    #[doc(alias = "start_new_session")]
    pub fn setsid(&mut self) -> &mut Self {
        let hook = || Ok(rustix::process::setsid().map(|_| ())?);
        // SAFETY: setsid(2) may be called between fork and exec; the closure does nothing else.
        unsafe { self.pre_exec(hook) }
    }

    /// Sets the child's user. [A thread](Self#what-goes-to-a-thread) starts it.
    pub fn uid(&mut self, id: u32) -> &mut Self {
        self.fork();
        self.inner.uid(id);
        self
    }

    /// Sets the child's group. [A thread](Self#what-goes-to-a-thread) starts it.
    pub fn gid(&mut self, id: u32) -> &mut Self {
        self.fork();
        self.inner.gid(id);
        self
    }

    /// Adds a function that is called in the child, before the program is there. An error of it is that of
    /// `spawn`. [A thread](Self#what-goes-to-a-thread) starts the child.
    ///
    /// asyncio: `preexec_fn`.
    ///
    /// # Safety
    ///
    /// The child is forked from a process with many threads, of which it has one. So the function may only
    /// do what a signal handler may: it must not allocate, nor take a lock, since another thread may
    /// have held it; and it must not use this runtime. See
    /// [`CommandExt::pre_exec`](std::os::unix::process::CommandExt::pre_exec).
    #[doc(alias = "preexec_fn")]
    pub unsafe fn pre_exec<F>(&mut self, f: F) -> &mut Self
    where
        F: FnMut() -> io::Result<()> + Send + Sync + 'static,
    {
        self.fork();
        // SAFETY: by the caller.
        unsafe { self.inner.pre_exec(f) };
        self
    }

    /// Says whether the child is killed when its [`Child`] is dropped before its end. Not so at first: it
    /// runs on then.
    pub fn kill_on_drop(&mut self, kill: bool) -> &mut Self {
        self.kill_on_drop = kill;
        self
    }

    /// Starts it.
    ///
    /// asyncio: `create_subprocess_exec`.
    ///
    /// # Cancel safety
    ///
    /// Mostly there is nothing to cancel: the child is started in one poll. Where
    /// [a thread](Self#what-goes-to-a-thread) starts it and the future is dropped, the child is killed,
    /// if it comes to be at all, and the command is lost: using it again is an error.
    ///
    /// # Errors
    ///
    /// The program is not there, or may not be executed, or is none; the working directory cannot be
    /// entered; arguments and environment are too long; there are too many processes or open files. The text
    /// says what to do, and the [kind](io::Error::kind) is the system's. Also: SIGCHLD is ignored, so that no
    /// child could be waited for; or a thread is to start it, and this one belongs to no runtime. In each case there is no
    /// child.
    #[track_caller]
    pub fn spawn(&mut self) -> impl Future<Output = io::Result<Child>> + Send {
        self.start(Streams::Inherited, Location::caller())
    }

    /// Starts it, waits for its end, and gives the status. Its standard streams are those of this
    /// process, where they are not set.
    ///
    /// asyncio: `create_subprocess_exec` and `wait`.
    ///
    /// # Cancel safety
    ///
    /// As [`output`](Self::output).
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn) and [`Child::wait`].
    #[track_caller]
    pub fn status(&mut self) -> impl Future<Output = io::Result<ExitStatus>> + Send {
        let start = self.start(Streams::Inherited, Location::caller());
        async move { start.await?.wait().await }
    }

    /// Starts it, and waits for its end and for all that it writes. Where they are not set, it has no
    /// input, and output and error are captured.
    ///
    /// asyncio: `create_subprocess_exec(.., stdout=PIPE, stderr=PIPE)` and `communicate`.
    ///
    /// # Cancel safety
    ///
    /// What was captured is lost. The child runs on, unless [`kill_on_drop`](Self::kill_on_drop) says
    /// otherwise; in any case it is reaped.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn) and [`Child::wait_with_output`].
    #[track_caller]
    pub fn output(&mut self) -> impl Future<Output = io::Result<Output>> + Send {
        let start = self.start(Streams::Captured, Location::caller());
        async move { start.await?.wait_with_output().await }
    }

    /// Starts it, writes `input` to its standard input, which is closed then, and waits for its end and for
    /// all that it writes. Streams that are not set are pipes. All three are served at once, so that a child
    /// that writes before it has read everything does not stand still.
    ///
    /// asyncio: `create_subprocess_exec(.., stdin=PIPE, stdout=PIPE, stderr=PIPE)` and `communicate(input)`.
    ///
    /// # Cancel safety
    ///
    /// As [`output`](Self::output).
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn) and [`Child::communicate`].
    ///
    /// ```
    /// use ringloop::process::Command;
    ///
    /// ringloop::run(async {
    ///     let output = Command::new("wc").arg("-c").communicate("12345").await.unwrap();
    ///     assert_eq!(output.stdout, b"5\n");
    /// });
    /// ```
    #[track_caller]
    pub fn communicate<I: AsRef<[u8]> + Send>(
        &mut self,
        input: I,
    ) -> impl Future<Output = io::Result<Output>> + Send {
        let start = self.start(Streams::Piped, Location::caller());
        async move { start.await?.communicate(input).await }
    }

    /// The program.
    pub fn get_program(&self) -> &OsStr {
        self.inner.get_program()
    }

    /// The arguments.
    pub fn get_args(&self) -> CommandArgs<'_> {
        self.inner.get_args()
    }

    /// The variables that were set, or taken out.
    pub fn get_envs(&self) -> CommandEnvs<'_> {
        self.inner.get_envs()
    }

    /// The working directory, if it was set.
    pub fn get_current_dir(&self) -> Option<&Path> {
        self.inner.get_current_dir()
    }

    async fn start(
        &mut self,
        streams: Streams,
        at: &'static Location<'static>,
    ) -> io::Result<Child> {
        if self.is_lost {
            return Err(errors::command_lost());
        }
        if self.must_fork() {
            self.fork();
        }
        let (settings, kill_on_drop) = (self.settings, self.kill_on_drop);
        if !settings.forks {
            let started = launch(&mut self.inner, settings, streams, kill_on_drop)?;
            return Child::new(started);
        }
        let handle = Handle::try_current().map_err(io::Error::other)?;
        let mut command = mem::replace(&mut self.inner, process::Command::new(""));
        self.is_lost = true;
        let job = move || {
            // Until it is handed over, nobody wants it.
            let started = launch(&mut command, settings, streams, true);
            (command, started)
        };
        // Owned: dropped while it is queued, the job is not called. Not among the program's own jobs, which
        // may hold all their threads for long.
        let (command, started) = handle.start_blocking(Kind::Files, job, at).join().await?;
        self.inner = command;
        self.is_lost = false;
        let mut started = started?;
        started.process.kill_on_drop = kill_on_drop;
        Child::new(started)
    }

    /// Whether std forks for it, instead of calling posix_spawn(3), or has to.
    fn must_fork(&self) -> bool {
        let is_name = !self.inner.get_program().as_encoded_bytes().contains(&b'/');
        self.settings.path && is_name || signals::any_is_blocked()
    }

    /// Has std fork, on a thread of the pool. What that thread blocks is not for the child: a hook in
    /// front of all others, which may want something else, lets all signals through.
    fn fork(&mut self) {
        if !mem::replace(&mut self.settings.forks, true) {
            let hook = || {
                signals::block_none();
                Ok(())
            };
            // SAFETY: it makes one system call, as a handler may.
            unsafe { self.inner.pre_exec(hook) };
        }
    }
}

/// A child that was started, with this process's ends of its pipes.
pub(super) struct Started {
    pub(super) process: Process,
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
}

/// Starts a child. It blocks until the program is there.
fn launch(
    command: &mut process::Command,
    settings: Settings,
    streams: Streams,
    kill_on_drop: bool,
) -> io::Result<Started> {
    if signals::children_are_ignored() {
        return Err(errors::children_ignored());
    }
    let (input, output) = match streams {
        Streams::Inherited => (Stdio::inherit as fn() -> Stdio, Stdio::inherit as fn() -> Stdio),
        Streams::Captured => (Stdio::null as _, Stdio::piped as _),
        Streams::Piped => (Stdio::piped as _, Stdio::piped as _),
    };
    // What was not set is set each time, so that it does not stay for the next.
    if !settings.stdin {
        command.stdin(input());
    }
    if !settings.stdout {
        command.stdout(output());
    }
    if !settings.stderr {
        command.stderr(output());
    }
    let mut child = command.spawn().map_err(|error| errors::explain(command, error))?;
    let process = match Process::new(child.id(), kill_on_drop) {
        Ok(process) => process,
        Err(error) => {
            // By its number, which is its own until it is waited for. That does not take long: it has
            // just begun, and is killed.
            let _ = child.kill();
            let _ = child.wait();
            return Err(errors::explain(command, error));
        }
    };
    Ok(Started {
        process,
        stdin: child.stdin.take().map(OwnedFd::from),
        stdout: child.stdout.take().map(OwnedFd::from),
        stderr: child.stderr.take().map(OwnedFd::from),
    })
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
