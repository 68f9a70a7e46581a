//! Why a stream takes no more bytes.

use std::{io, sync::Arc};

/// An error that is reported more than once.
#[derive(Clone)]
pub(super) enum Lost {
    Os(i32),
    Other(io::ErrorKind, Arc<str>),
}

impl Lost {
    pub(super) fn of(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(code) => Self::Os(code),
            None => Self::Other(error.kind(), error.to_string().into()),
        }
    }

    pub(super) fn error(&self) -> io::Error {
        match self {
            Self::Os(code) => io::Error::from_raw_os_error(*code),
            Self::Other(kind, text) => io::Error::new(*kind, text.to_string()),
        }
    }
}
