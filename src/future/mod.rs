//! Futures and tasks that belong together: scopes, groups, combinators.

mod combine;
mod finally;
pub(crate) mod group;
mod lists;
mod many;
mod scope;
mod staggered;
mod tasks;
#[cfg(test)]
mod tests;
mod token;

pub use self::{
    combine::Combine,
    finally::finally,
    group::{
        Group, GroupClosed, GroupError, LimitedGroup, NotStarted, Started, TryGroup, task_group,
        try_task_group,
    },
    lists::{Cons, First, Given, Kept, Nil, OneOf, ViaFuture, poll_all, poll_all_ok, run_list},
    many::{Empty, gather, race, try_gather},
    scope::{Scope, ScopeEnded, ScopeFuture, scope},
    staggered::race_staggered,
    tasks::{AsCompleted, Until, Waited, as_completed, gather_settled, shield, wait},
    token::{CancelToken, Cancellation},
};
