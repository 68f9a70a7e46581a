//! Kinds of signals, and why some of them cannot be listened for.

use std::{error::Error, fmt, io};

use libc::c_int;

/// A kind of signal.
///
/// ```
/// use ringloop::signal::SignalKind;
///
/// assert_eq!(SignalKind::terminate().to_string(), "SIGTERM");
/// assert_eq!(SignalKind::from_raw(15), SignalKind::terminate());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SignalKind(c_int);

impl SignalKind {
    /// The kind with this number, as in signal(7). [`signal`](super::signal) says whether it can be
    /// listened for.
    pub const fn from_raw(number: i32) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn as_raw(self) -> i32 {
        self.0
    }

    /// SIGALRM: a timer of alarm(2) has run out. By default it ends the process.
    pub const fn alarm() -> Self {
        Self(libc::SIGALRM)
    }

    /// SIGCHLD: a child has ended or was stopped. By default nothing happens.
    pub const fn child() -> Self {
        Self(libc::SIGCHLD)
    }

    /// SIGHUP: the terminal was closed; for services by custom "read the configuration again". By
    /// default it ends the process.
    pub const fn hangup() -> Self {
        Self(libc::SIGHUP)
    }

    /// SIGINT: Ctrl-C. By default it ends the process; while a main runs it
    /// [cancels that](crate::run).
    pub const fn interrupt() -> Self {
        Self(libc::SIGINT)
    }

    /// SIGIO: a descriptor is ready. By default it ends the process.
    pub const fn io() -> Self {
        Self(libc::SIGIO)
    }

    /// SIGPIPE: a write to a pipe that nobody reads. Rust programs ignore it from their start.
    pub const fn pipe() -> Self {
        Self(libc::SIGPIPE)
    }

    /// SIGQUIT: Ctrl-\\. By default it ends the process with an image of its memory.
    pub const fn quit() -> Self {
        Self(libc::SIGQUIT)
    }

    /// SIGTERM: the request to stop. By default it ends the process.
    pub const fn terminate() -> Self {
        Self(libc::SIGTERM)
    }

    /// SIGTSTP: Ctrl-Z. By default it stops the process.
    pub const fn terminal_stop() -> Self {
        Self(libc::SIGTSTP)
    }

    /// SIGUSR1, for what the program likes. By default it ends the process.
    pub const fn user_defined1() -> Self {
        Self(libc::SIGUSR1)
    }

    /// SIGUSR2, for what the program likes. By default it ends the process.
    pub const fn user_defined2() -> Self {
        Self(libc::SIGUSR2)
    }

    /// SIGWINCH: the terminal has another size. By default nothing happens.
    pub const fn window_change() -> Self {
        Self(libc::SIGWINCH)
    }

    /// Why it cannot be listened for, and what to do instead.
    pub(super) fn refusal(self) -> Option<&'static str> {
        match self.0 {
            libc::SIGKILL => Some("the kernel shows it to no program; listen for SIGTERM instead"),
            libc::SIGSTOP => Some("the kernel shows it to no program; listen for SIGTSTP instead"),
            libc::SIGSEGV | libc::SIGILL | libc::SIGFPE | libc::SIGBUS => Some(
                "it reports a fault of the thread that runs, which cannot go on to a task; \
                 set a handler by sigaction(2) instead",
            ),
            1..32 => None,
            number if (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&number) => None,
            _ => Some("there is no such signal; take one of the numbers of signal(7)"),
        }
    }

    fn name(self) -> Option<&'static str> {
        const NAMES: [&str; 32] = [
            "",
            "SIGHUP",
            "SIGINT",
            "SIGQUIT",
            "SIGILL",
            "SIGTRAP",
            "SIGABRT",
            "SIGBUS",
            "SIGFPE",
            "SIGKILL",
            "SIGUSR1",
            "SIGSEGV",
            "SIGUSR2",
            "SIGPIPE",
            "SIGALRM",
            "SIGTERM",
            "SIGSTKFLT",
            "SIGCHLD",
            "SIGCONT",
            "SIGSTOP",
            "SIGTSTP",
            "SIGTTIN",
            "SIGTTOU",
            "SIGURG",
            "SIGXCPU",
            "SIGXFSZ",
            "SIGVTALRM",
            "SIGPROF",
            "SIGWINCH",
            "SIGIO",
            "SIGPWR",
            "SIGSYS",
        ];
        NAMES.get(usize::try_from(self.0).ok()?).copied().filter(|name| !name.is_empty())
    }
}

impl From<c_int> for SignalKind {
    fn from(number: c_int) -> Self {
        Self(number)
    }
}

impl From<SignalKind> for c_int {
    fn from(kind: SignalKind) -> c_int {
        kind.0
    }
}

/// Its name, or `signal N`.
impl fmt::Display for SignalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl fmt::Debug for SignalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignalKind({self})")
    }
}

/// Why [`signal`](super::signal) gives no listener.
#[derive(Debug)]
pub struct SignalError {
    kind: SignalKind,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Refused(&'static str),
    System(io::Error),
}

impl SignalError {
    pub(super) fn refused(kind: SignalKind, why: &'static str) -> Self {
        Self { kind, why: Why::Refused(why) }
    }

    pub(super) fn system(kind: SignalKind, error: io::Error) -> Self {
        Self { kind, why: Why::System(error) }
    }

    /// The kind that was asked for.
    pub fn kind(&self) -> SignalKind {
        self.kind
    }

    /// Whether no program can listen for that kind, or there is none of that number. Otherwise the
    /// system has refused a handler or a descriptor.
    pub fn is_refused(&self) -> bool {
        matches!(self.why, Why::Refused(_))
    }
}

impl fmt::Display for SignalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen for {}: ", self.kind)?;
        match &self.why {
            Why::Refused(why) => f.write_str(why),
            Why::System(error) => error.fmt(f),
        }
    }
}

impl Error for SignalError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.why {
            Why::Refused(_) => None,
            Why::System(error) => Some(error),
        }
    }
}

impl From<SignalError> for io::Error {
    fn from(error: SignalError) -> io::Error {
        let kind = match &error.why {
            Why::Refused(_) => io::ErrorKind::InvalidInput,
            Why::System(error) => error.kind(),
        };
        io::Error::new(kind, error)
    }
}
