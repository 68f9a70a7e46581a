//! hyper's tasks as children of a group.

use ::hyper::rt::Executor;

use super::HyperExecutor;
use crate::future::Group;

impl HyperExecutor {
    /// An executor whose tasks are children of `group`: cancelling the group ends them.
    ///
    /// An HTTP/2 connection has tasks of hyper's beside it, which else go on until the last handle of the client is gone.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::future::pending;
    ///
    /// use hyper::rt::Executor;
    /// use ringloop::{compat::hyper::HyperExecutor, task_group};
    ///
    /// ringloop::run(async {
    ///     task_group(async |group| {
    ///         // As `http2::handshake(HyperExecutor::in_group(&group), stream)` does it.
    ///         HyperExecutor::in_group(&group).execute(pending::<()>());
    ///         assert_eq!(group.len(), 1);
    ///         group.cancel();
    ///     })
    ///     .await
    ///     .unwrap();
    /// });
    /// ```
    pub fn in_group(group: &Group) -> GroupExecutor {
        GroupExecutor { group: group.clone() }
    }
}

/// Spawns what hyper wants to run beside a connection as children of a [group](Group): see
/// [`HyperExecutor::in_group`].
///
/// The group's end waits for them. A pool of hyper-util's keeps connections: drop the client before, or cancel the group. A
/// panic of such a task fails the group. Once the group is closed, a future is dropped unpolled.
#[derive(Clone, Debug)]
pub struct GroupExecutor {
    group: Group,
}

impl<F> Executor<F> for GroupExecutor
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, future: F) {
        // A closed group refuses: then the connection that asks is about to end.
        drop(self.group.try_spawn(future));
    }
}
