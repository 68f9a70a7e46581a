//! [`crate::try_task_group`] with children that the model runs.

use std::sync::Arc;

use super::task::{Runnable, Schedule, create};
use crate::{
    future::group::{self, Fallible, GroupError, Shared},
    task::Task,
};

/// A handle of a group.
pub struct Group<E>(Arc<Shared<E>>);

impl<E> Clone for Group<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[allow(missing_docs)]
impl<E: Send + 'static> Group<E> {
    /// A child that is to be run, or the future, if the group takes no more.
    #[track_caller]
    pub fn spawn<F, T, S>(&self, future: F, id: u64) -> Result<(Runnable, Task<T>), F>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        S: Schedule,
    {
        let child = self.0.admit::<F, Fallible>(future).map_err(|closed| closed.0)?;
        let (entry, _, task) = create::<_, S>(child, id);
        Ok((entry, task))
    }

    pub fn cancel(&self) {
        self.0.cancel(None);
    }
}

/// Runs a body and waits for the children.
///
/// # Errors
///
/// As [`crate::try_task_group`].
pub async fn try_task_group<F, Fut, T, E>(body: F) -> Result<T, GroupError<E>>
where
    F: FnOnce(Group<E>) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    E: Send + 'static,
{
    let shared = Shared::new();
    let group = Group(shared.clone());
    group::run(shared, || body(group), |result| result).await
}
