//! Why a child was not started, in words that name the way out.

use std::{error::Error, fmt, io, path::Path, process::Command};

use rustix::{
    fs::{Access, access},
    io::Errno,
};

/// The error behind an [`io::Error`] of `spawn`: the system's, and what to do.
#[derive(Debug)]
struct NotStarted {
    what: String,
    error: io::Error,
}

impl fmt::Display for NotStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.error)
    }
}

impl Error for NotStarted {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

/// Adds what is to be done to an error of the system. It keeps its kind, and is the source of the new one.
#[cold]
pub(super) fn explain(command: &Command, error: io::Error) -> io::Error {
    let program = command.get_program();
    let name = Path::new(program).display();
    let errno = Errno::from_io_error(&error);
    let of_path = matches!(errno, Some(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS));
    let what = match errno {
        _ if of_path && closed_dir(command).is_some() => format!(
            "`{name}` was not started in the working directory `{}`, which cannot be entered: create \
             it, or set another one by `current_dir`",
            closed_dir(command).unwrap_or(Path::new(".")).display()
        ),
        Some(Errno::NOENT | Errno::NOTDIR) => not_found(command),
        Some(Errno::ACCESS | Errno::PERM) => format!(
            "`{name}` may not be executed: give it the right to be (chmod +x), or start its \
             interpreter with it as an argument; if a user or group was set, this process has to \
             have the right to change to it"
        ),
        Some(Errno::TOOBIG) => format!(
            "the arguments and the environment of `{name}` are too long: give less of them, or pass \
             the data by standard input or in a file"
        ),
        Some(Errno::AGAIN) => format!(
            "`{name}` was not started, since there are too many processes: wait for some children \
             to end, or raise the limit (ulimit -u, or pids.max of the control group)"
        ),
        Some(Errno::MFILE | Errno::NFILE) => format!(
            "`{name}` was not started, since there are too many open files: close some, or raise \
             the limit (ulimit -n)"
        ),
        Some(Errno::NOMEM) => {
            format!("`{name}` was not started, since there is too little memory for it")
        }
        _ => format!("`{name}` was not started"),
    };
    io::Error::new(error.kind(), NotStarted { what, error })
}

/// The working directory that was set, if it cannot be entered.
fn closed_dir(command: &Command) -> Option<&Path> {
    let dir = command.get_current_dir()?;
    let is_open = dir.is_dir() && access(dir, Access::EXEC_OK).is_ok();
    (!is_open).then_some(dir)
}

fn not_found(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.display();
    let is_path = program.components().count() > 1 || program.is_absolute();
    // As the child sees it.
    let dir = command.get_current_dir().unwrap_or(Path::new("."));
    let needs_own = command.get_current_dir().is_none() && !program.is_absolute();
    if needs_own && std::env::current_dir().is_err() {
        return format!(
            "`{name}` was not started, since this process's working directory is gone: set one by \
             `current_dir`, or give an absolute path"
        );
    }
    match is_path {
        true if dir.join(program).exists() => format!(
            "`{name}` is there, but what it needs to run is not: see the `#!` in its first line, or \
             the loader that it was built for"
        ),
        true => format!("there is no program `{name}`: check the path"),
        false => format!(
            "there is no program `{name}` in PATH: install it, or give its path with a `/` in it"
        ),
    }
}

/// SIGCHLD is ignored: the kernel would throw statuses away.
#[cold]
pub(super) fn children_ignored() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "no child can be waited for while SIGCHLD is ignored (SIG_IGN, or SA_NOCLDWAIT), which a \
         parent may have set: give it its default before (sigaction(2) with SIG_DFL)",
    )
}

/// The command was on its way to a thread of the pool when the future was dropped.
#[cold]
pub(super) fn command_lost() -> io::Error {
    io::Error::other(
        "an earlier `spawn` of this command was dropped while a thread of the pool had the command: \
         build the command again",
    )
}

/// Input for a child that reads none of ours.
#[cold]
pub(super) fn no_stdin() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "there is input for the child, and no pipe to its standard input: set \
         `stdin(Stdio::piped())` before `spawn`, and do not take `stdin` out",
    )
}
