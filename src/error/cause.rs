//! The cause of a cancellation: where it was asked for, and why.

use std::{borrow::Cow, fmt, ops::Deref, panic::Location, sync::Arc};

use super::Failure;

/// The kinds of scope that can be cancelled.
///
/// ```
/// use ringloop::ScopeKind;
///
/// ringloop::run(async {
///     let task = ringloop::spawn(std::future::pending::<()>());
///     task.cancel();
///     let error = task.await.unwrap_err();
///     assert_eq!(error.cancel_cause().unwrap().scope(), ScopeKind::Task);
/// });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ScopeKind {
    /// A task: by [`Task::cancel`](crate::Task::cancel) or the end of its runtime.
    Task,
    /// A [`timeout`](crate::time::timeout) whose time has come.
    Timeout,
    /// A task group: by its own `cancel`, or since a child failed.
    Group,
    /// A [`scope`](crate::scope) that was cancelled, or whose deadline has come.
    Scope,
    /// A [`CancelToken`](crate::CancelToken).
    Token,
    /// A combinator that runs several futures or tasks, and ends those that it needs no longer.
    Combinator,
}

impl fmt::Display for ScopeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Task => "task",
            Self::Timeout => "timeout",
            Self::Group => "group",
            Self::Scope => "scope",
            Self::Token => "token",
            Self::Combinator => "combinator",
        })
    }
}

/// The cause of a cancellation: the scope, its name, the reason given, and the place in the source.
///
/// asyncio: the `msg` of `Task.cancel(msg)`.
///
/// ```
/// ringloop::run(async {
///     let task = ringloop::spawn(std::future::pending::<()>());
///     task.cancel_with("the client went away");
///     let error = task.await.unwrap_err();
///     let cause = error.cancel_cause().unwrap();
///     assert_eq!(cause.reason(), Some("the client went away"));
///     assert!(cause.location().unwrap().file().ends_with(".rs"));
/// });
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelCause {
    pub(crate) scope: ScopeKind,
    pub(crate) name: Option<Cow<'static, str>>,
    pub(crate) reason: Option<Cow<'static, str>>,
    pub(crate) location: Option<&'static Location<'static>>,
}

impl CancelCause {
    pub(crate) fn new(scope: ScopeKind, location: Option<&'static Location<'static>>) -> Self {
        Self { scope, name: None, reason: None, location }
    }

    /// The kind of the scope that was cancelled.
    pub fn scope(&self) -> ScopeKind {
        self.scope
    }

    /// The scope's name, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The reason that was given, if one was.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Where the cancellation was asked for, or where the scope was made that asked by itself.
    pub fn location(&self) -> Option<&'static Location<'static>> {
        self.location
    }
}

impl fmt::Display for CancelCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope {
            ScopeKind::Task => f.write_str("cancelled")?,
            scope => write!(f, "cancelled by its {scope}")?,
        }
        if let Some(name) = &self.name {
            write!(f, " \"{name}\"")?;
        }
        if let Some(reason) = &self.reason {
            write!(f, ": {reason}")?;
        }
        match self.location {
            Some(location) => write!(f, " (at {location})"),
            None => Ok(()),
        }
    }
}

/// A cause that many errors may share: one pointer.
#[derive(Clone)]
pub(crate) struct Cause(pub(super) Arc<Failure>);

impl Cause {
    pub(crate) fn new(cause: CancelCause) -> Self {
        Self(Arc::new(Failure::Cancelled(cause)))
    }

    /// For atomic pointers; [`from_raw`](Self::from_raw) takes it back.
    pub(crate) fn into_raw(self) -> *const () {
        Arc::into_raw(self.0).cast()
    }

    /// # Safety
    ///
    /// `raw` came from [`into_raw`](Self::into_raw), and is taken back once.
    pub(crate) unsafe fn from_raw(raw: *const ()) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { Arc::from_raw(raw.cast()) })
    }
}

impl Deref for Cause {
    type Target = CancelCause;

    fn deref(&self) -> &CancelCause {
        match &*self.0 {
            Failure::Cancelled(cause) => cause,
            _ => unreachable!("made by `new`"),
        }
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
