//! A runtime of another library that the threads of ours enter.

use super::Builder;
#[cfg(feature = "tokio-bridge")]
use super::inspect::TokioMetrics;
use crate::error::BuildError;

/// What keeps a thread inside; dropping it leaves.
pub(crate) trait Guard {}

impl<T> Guard for T {}

/// A runtime whose context a thread can enter.
pub(crate) trait OuterRuntime: Send + Sync {
    /// Starts what has to run, if it does not.
    fn start(&self) -> Result<(), BuildError>;

    /// Enters it with the calling thread, until the guard is dropped.
    fn enter(&self) -> Box<dyn Guard + '_>;

    /// What it tells of itself.
    #[cfg(feature = "tokio-bridge")]
    fn metrics(&self) -> TokioMetrics;
}

impl Builder {
    /// Has each worker and each thread for blocking jobs enter `outer` when it begins, and leave it
    /// when it ends.
    #[cfg(feature = "tokio-bridge")]
    pub(crate) fn within(mut self, outer: impl OuterRuntime + 'static) -> Self {
        self.threads.outer = Some(std::sync::Arc::new(outer));
        self
    }
}
