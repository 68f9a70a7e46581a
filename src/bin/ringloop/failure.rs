//! What went wrong, and the exit code that says so.

use std::{fmt, io, process::ExitCode};

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Anything else.
    Other = 1,
    /// There is no such process.
    NoProcess = 3,
    /// It is there, and has nothing that could be asked.
    NothingToAsk = 4,
    /// The kernel does not let this user ask.
    NotPermitted = 5,
    /// It has not answered in time.
    Silent = 6,
}

/// An error with its fix.
#[derive(Debug)]
pub struct Failure {
    pub kind: Kind,
    text: String,
    source: Option<io::Error>,
}

impl Failure {
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), source: None }
    }

    pub fn code(&self) -> ExitCode {
        ExitCode::from(self.kind as u8)
    }

    /// Whether there is nothing to ask, or no more.
    pub fn is_of_an_end(&self) -> bool {
        matches!(self.kind, Kind::NoProcess | Kind::NothingToAsk)
    }

    pub fn is_broken_pipe(&self) -> bool {
        self.source.as_ref().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self { kind: Kind::Other, text: error.to_string(), source: Some(error) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}
