//! What becomes of a call that has no value.

use std::{error::Error, fmt, io, process::ExitStatus, time::Duration};

/// Why a call to a [`ProcessPool`](super::ProcessPool) has no value.
#[derive(Debug)]
#[non_exhaustive]
pub enum CallError {
    /// The process ended in the middle of the call: it crashed, it was killed, or its memory had reached
    /// its limit. The pool starts another one when it needs it.
    WorkerDied {
        /// How it ended.
        status: ExitStatus,
    },
    /// The call took longer than the limit; the process has been killed.
    TimedOut {
        /// The limit.
        limit: Duration,
    },
    /// The function panicked. The process lives on.
    Panicked {
        /// The panic's text.
        message: String,
    },
    /// The process has no function of that name.
    NotRegistered {
        /// The name.
        function: &'static str,
    },
    /// Arguments or a result that serde cannot turn into bytes, or back.
    Encoding {
        /// What failed.
        message: String,
    },
    /// The pool has been shut down.
    ShutDown,
    /// A process cannot be started, or not be reached.
    Io(io::Error),
}

impl CallError {
    /// Whether the process ended in the middle of the call.
    pub fn is_worker_died(&self) -> bool {
        matches!(self, Self::WorkerDied { .. })
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WorkerDied { status } => {
                write!(f, "the process ended in the middle of the call: {status}")
            }
            Self::TimedOut { limit } => {
                write!(f, "the call took longer than {limit:?}, and its process was killed")
            }
            Self::Panicked { message } => write!(f, "the function panicked: {message}"),
            Self::NotRegistered { function } => write!(
                f,
                "the process has no function {function:?}: give it to ProcessPool::serve in main"
            ),
            Self::Encoding { message } => {
                write!(f, "{message}: what is called must be the same function in the same program")
            }
            Self::ShutDown => f.write_str("the pool has been shut down"),
            Self::Io(error) => write!(f, "a process of the pool: {error}"),
        }
    }
}

impl Error for CallError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

crate::error::into_io_error!(CallError);

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
