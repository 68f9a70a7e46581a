//! Why there is no connection.

use std::{error::Error, fmt, io, net::SocketAddr, time::Duration};

use rustix::io::Errno;

/// Why there is no connection: the errors of all attempts.
///
/// It converts to an [`io::Error`] that has this within ([`io::Error::downcast`]), and its [kind](Self::kind). An error of
/// the system has its number there, in [`attempts`](Self::attempts). Without an attempt it is the error of the name, as it is.
///
/// asyncio: the `OSError` of `create_connection`; with `all_errors` an exception group of them.
pub struct ConnectError {
    attempts: Vec<FailedAttempt>,
    /// What was wrong but for the attempts.
    cause: Option<Cause>,
}

enum Cause {
    /// The name, the addresses, or the data.
    Error(io::Error),
    /// The time for everything was over.
    Elapsed(Duration),
}

/// An address that was tried in vain.
#[derive(Debug)]
#[non_exhaustive]
pub struct FailedAttempt {
    /// The address.
    pub addr: SocketAddr,
    /// Why there is no connection to it.
    pub error: io::Error,
}

impl ConnectError {
    pub(super) fn of_attempts(attempts: Vec<FailedAttempt>) -> Self {
        Self { attempts, cause: None }
    }

    pub(super) fn without_attempt(error: io::Error) -> Self {
        Self { attempts: Vec::new(), cause: Some(Cause::Error(error)) }
    }

    pub(super) fn timed_out(timeout: Duration, attempts: Vec<FailedAttempt>) -> Self {
        Self { attempts, cause: Some(Cause::Elapsed(timeout)) }
    }

    /// The attempts that failed, in the order in which they began. There are none if the name was not found.
    pub fn attempts(&self) -> &[FailedAttempt] {
        &self.attempts
    }

    /// The kind of the error: [`TimedOut`](io::ErrorKind::TimedOut) if the time for everything was over, else that
    /// of the last attempt.
    pub fn kind(&self) -> io::ErrorKind {
        match (&self.cause, self.attempts.last()) {
            (Some(Cause::Elapsed(_)), _) => io::ErrorKind::TimedOut,
            (Some(Cause::Error(error)), _) => error.kind(),
            (None, Some(last)) => last.error.kind(),
            (None, None) => io::ErrorKind::Other,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Some(Cause::Error(error)) => return error.fmt(f),
            Some(Cause::Elapsed(timeout)) => write!(f, "no connection within {timeout:?}")?,
            None => f.write_str("no connection")?,
        }
        for (number, FailedAttempt { addr, error }) in self.attempts.iter().enumerate() {
            let before = if number == 0 { ": " } else { "; " };
            write!(f, "{before}{addr}: {error}{}", hint(error))?;
        }
        Ok(())
    }
}

/// What to do about it.
fn hint(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::CONNREFUSED) => ", nobody listens there",
        Some(Errno::MFILE) => ", raise the limit (ulimit -n) or close some",
        Some(Errno::NETUNREACH | Errno::HOSTUNREACH) => ", this machine has no route to it",
        _ => "",
    }
}

impl fmt::Debug for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectError")
            .field("kind", &self.kind())
            .field("text", &self.to_string())
            .field("attempts", &self.attempts)
            .finish()
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match (&self.cause, self.attempts.last()) {
            (Some(Cause::Error(error)), _) => Some(error),
            (_, Some(last)) => Some(&last.error),
            _ => None,
        }
    }
}

impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> Self {
        match error.cause {
            Some(Cause::Error(cause)) => cause,
            _ => Self::new(error.kind(), error),
        }
    }
}

/// What went wrong with the address of this end, and what to do about it. The kind stays.
#[cold]
pub(super) fn explain_local(local: SocketAddr, error: io::Error) -> io::Error {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => "; choose port 0 for any that is free",
        io::ErrorKind::AddrNotAvailable => "; it is not an address of this machine",
        _ => "",
    };
    io::Error::new(error.kind(), format!("the local address {local}: {error}{hint}"))
}

/// The address of this end is of the other family.
#[cold]
pub(super) fn other_family(local: SocketAddr) -> io::Error {
    let text = format!(
        "the local address {local} is of the other family: choose one of the same family, or none"
    );
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// An attempt had no answer in its time, or until the time for everything was over.
#[cold]
pub(super) fn no_answer(within: Option<Duration>) -> io::Error {
    let text = match within {
        Some(within) => format!("no answer within {within:?}"),
        None => "no answer yet".to_owned(),
    };
    io::Error::new(io::ErrorKind::TimedOut, text)
}
