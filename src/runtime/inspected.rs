//! Which runtimes other processes may look into, and the door that is open meanwhile.

use std::env;

use super::{Builder, Handle, Inner, callbacks};
use crate::error::BuildError;

/// The operator's word on it, whatever the program says.
const INSPECT: &str = "RINGLOOP_INSPECT";

/// What the module that answers does at the start and at the end of runtimes. It stands above this one, and
/// implements the trait for [`Handle`].
pub(crate) trait Inspection {
    /// A runtime that may be inspected runs. Nothing that goes wrong here ends it.
    fn begin();

    /// A runtime that could be inspected has ended: perhaps it was the last one.
    fn end();
}

impl Inner {
    pub(super) fn begin_inspection(&self) {
        if self.inspected {
            <Handle as Inspection>::begin();
        }
    }

    pub(super) fn end_inspection(&self) {
        if self.inspected {
            <Handle as Inspection>::end();
        }
    }
}

/// The runtimes of this process that may be inspected, in the order of their start.
pub(crate) fn inspected() -> Vec<Handle> {
    let live = callbacks::all().into_iter();
    live.filter(|inner| inner.inspected).map(|inner| Handle { inner }).collect()
}

/// Whether there are any: without a reference to them, which might be the last.
pub(crate) fn is_any_inspected() -> bool {
    callbacks::is_any_inspected()
}

/// Whether a runtime may be inspected. The variable `0` is a no, whatever the program says; `1` is a yes for
/// tests as well, unless the program says no.
pub(super) fn resolve(asked: Option<bool>, is_test: bool) -> Result<bool, BuildError> {
    let said = match env::var_os(INSPECT) {
        None => None,
        Some(text) => match text.to_str() {
            Some("") => None,
            Some("1") => Some(true),
            Some("0") => Some(false),
            _ => {
                let text = text.display();
                return Err(BuildError::new(format!("{INSPECT} is {text}: say 1 or 0")));
            }
        },
    };
    Ok(match (said, asked) {
        (Some(false), _) => false,
        (Some(true), asked) => asked.unwrap_or(true),
        (None, asked) => asked.unwrap_or(!is_test),
    })
}

impl Builder {
    /// Whether the program `ringloop` may look into the runtime from another process: which tasks there are,
    /// and what each waits for. See the guide, [`inspect`](crate::guide::inspect).
    ///
    /// While a process has a runtime that may be inspected, one thread sleeps until somebody asks, and two
    /// descriptors are open. Only the kernel's own rule says whose questions it hears: those of processes that may read
    /// `/proc/PID/fd` of this one, as a debugger may. That is the same user, or root. Nothing can be changed from outside.
    ///
    /// The environment variable `RINGLOOP_INSPECT` takes precedence: `0` is off for all runtimes of the process.
    /// Default: on; for runtimes with [`mock_clock`](Self::mock_clock) or [`test_seed`](Self::test_seed) and for
    /// `#[ringloop::test]` off, unless the variable is `1`.
    ///
    /// A program that calls unshare(2) for a user namespace, or anything else that the kernel allows to processes of one thread
    /// only, switches it off.
    ///
    /// asyncio: `python -m asyncio ps PID` reads the memory of the other process, for which that process does nothing.
    ///
    /// # Errors
    ///
    /// [`build`](Self::build) and [`run`](Self::run) refuse a variable that is neither `1` nor `0`.
    ///
    /// ```
    /// let rt = ringloop::Builder::new().workers(1).inspect(false).build().unwrap();
    /// assert_eq!(rt.run(async { 1 }).unwrap(), 1);
    /// ```
    pub fn inspect(mut self, may: bool) -> Self {
        self.inspect = Some(may);
        self
    }
}
