//! [`crate::sync::Condition`] with an end of the test's own.

use std::future::Future;

use crate::sync::{Condition, ConditionGuard};

/// [`Condition::wait_or`].
pub async fn wait_or<G: ConditionGuard>(
    condition: &Condition,
    guard: G,
    end: impl Future<Output = ()>,
) -> (G, bool) {
    condition.wait_or(guard, end).await
}
