//! How a runtime talks to the kernel: what is wanted, what works here, and what it is.

use std::{env, fmt, str::FromStr};

use super::context;
use crate::{
    error::BuildError,
    reactor::{self, Allowed, Features, Refusal, TriedRing},
};

/// How a runtime talks to the kernel.
///
/// asyncio: the choice of an event loop (`SelectorEventLoop`, uvloop).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Backend {
    /// io_uring where it works, else epoll; then the reason is reported to the error hook. Without
    /// a hook it goes to standard error, unless a seccomp filter refuses io_uring, as containers
    /// have by default: [`backend`] shows it. The environment variable `RINGLOOP_BACKEND` (`auto`,
    /// `uring` or `epoll`) overrides it.
    #[default]
    Auto,
    /// io_uring(7), since Linux 6.1: a ring for each worker. Building fails where it does
    /// not work.
    Uring,
    /// epoll(7): on every Linux. A sleeping worker's timers are late by up to 1 ms, never
    /// early.
    Epoll,
    /// The reactor in memory, for one worker.
    #[cfg(test)]
    Memory,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Uring => "uring",
            Self::Epoll => "epoll",
            #[cfg(test)]
            Self::Memory => "memory",
        })
    }
}

impl FromStr for Backend {
    type Err = BuildError;

    /// Reads `auto`, `uring` or `epoll`.
    ///
    /// # Errors
    ///
    /// Anything else is refused, with the three names in the text.
    fn from_str(text: &str) -> Result<Self, BuildError> {
        Self::parse(text).ok_or_else(|| Self::unknown(text, ""))
    }
}

impl Backend {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "uring" => Some(Self::Uring),
            "epoll" => Some(Self::Epoll),
            _ => None,
        }
    }

    fn unknown(text: &str, place: &str) -> BuildError {
        BuildError::new(format!("there is no backend {text:?}{place}: say auto, uring or epoll"))
    }

    /// What is wanted, with a look at the environment.
    fn wanted(self) -> Result<Self, BuildError> {
        match (self, env::var_os("RINGLOOP_BACKEND")) {
            (Self::Auto, Some(text)) => {
                let text = text.to_string_lossy();
                Self::parse(&text).ok_or_else(|| Self::unknown(&text, " in RINGLOOP_BACKEND"))
            }
            (wanted, _) => Ok(wanted),
        }
    }
}

/// What a runtime's backend is, what it can do, and why it is not more.
///
/// It prints as one line.
///
/// ```
/// ringloop::run(async {
///     let info = ringloop::backend();
///     println!("{info}");
///     assert_ne!(info.backend, ringloop::Backend::Auto);
/// });
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackendInfo {
    /// The backend in use: never [`Backend::Auto`].
    pub backend: Backend,
    /// Why it is not io_uring though it could have been, or why its rings are smaller
    /// than they should be.
    pub fallback: Option<String>,
    /// Operations that a worker can queue without a system call in between. 0 on epoll.
    pub ring_entries: u32,
    /// Completions that wait in user space; more wait in the kernel. 0 on epoll.
    pub completion_entries: u32,
    /// Whether completions are processed only when their worker asks: see
    /// [`Builder::defer_taskrun`](crate::Builder::defer_taskrun).
    pub defer_taskrun: bool,
}

impl fmt::Display for BackendInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.backend)?;
        if self.backend == Backend::Uring {
            write!(f, ", rings of {} + {} entries", self.ring_entries, self.completion_entries)?;
            f.write_str(if self.defer_taskrun { ", deferred work" } else { ", cooperative work" })?;
        }
        match &self.fallback {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}

/// What a runtime is to be built with.
pub(super) struct Choice {
    pub(super) info: BackendInfo,
    /// With io_uring, a ring for each worker.
    pub(super) rings: Option<Vec<TriedRing>>,
    /// It is less than the kernel offers because of a seccomp filter.
    pub(super) by_filter: bool,
}

impl Choice {
    /// Finds the backend for `workers` workers.
    pub(super) fn find(
        chosen: Backend,
        workers: usize,
        allowed: Allowed,
    ) -> Result<Self, BuildError> {
        let wanted = chosen.wanted()?;
        if wanted == Backend::Epoll {
            return Ok(Self::epoll(None));
        }
        #[cfg(test)]
        if wanted == Backend::Memory {
            let mut choice = Self::epoll(None);
            choice.info.backend = wanted;
            return Ok(choice);
        }
        match reactor::plan(workers, allowed) {
            Ok(features) => Ok(Self::uring(features)),
            Err(refusal) if wanted == Backend::Auto => {
                let choice = Self::epoll(Some(refusal.to_string()));
                Ok(Self { by_filter: refusal.is_by_filter(), ..choice })
            }
            Err(refusal) => Err(Self::insist(chosen, refusal)),
        }
    }

    /// The error where nothing but io_uring is accepted.
    #[cold]
    fn insist(chosen: Backend, refusal: Refusal) -> BuildError {
        let (who, instead) = match chosen {
            Backend::Auto => ("RINGLOOP_BACKEND=uring asks for it, but ", "RINGLOOP_BACKEND=auto"),
            _ => ("", "the backend auto"),
        };
        let (text, error) = refusal.into_parts();
        let text = format!(
            "{who}io_uring does not work here: {text}; or use {instead}, which falls back to epoll"
        );
        BuildError::io(text, error)
    }

    fn epoll(fallback: Option<String>) -> Self {
        let info = BackendInfo {
            backend: Backend::Epoll,
            fallback,
            ring_entries: 0,
            completion_entries: 0,
            defer_taskrun: false,
        };
        Self { info, rings: None, by_filter: false }
    }

    fn uring(features: Features) -> Self {
        let Features { plan, rings, shortfall } = features;
        let info = BackendInfo {
            backend: Backend::Uring,
            fallback: shortfall,
            ring_entries: plan.entries,
            completion_entries: plan.completions(),
            defer_taskrun: plan.defer_taskrun,
        };
        Self { info, rings: Some(rings), by_filter: false }
    }
}

/// The backend of the runtime that this thread belongs to; elsewhere, the one that a
/// runtime with one worker and the defaults of [`Builder`](crate::Builder) would get.
///
/// # Panics
///
/// Outside of a runtime, if `RINGLOOP_BACKEND` names none, or one that does not work.
pub fn backend() -> BackendInfo {
    if let Ok(handle) = context::current() {
        return handle.inner.backend.clone();
    }
    match Choice::find(Backend::Auto, 1, Allowed::ALL) {
        Ok(choice) => choice.info,
        Err(error) => panic!("ringloop::backend: {error}"),
    }
}
