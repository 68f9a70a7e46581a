//! Futures and tasks that belong together: scopes, groups, combinators.

mod finally;
mod scope;
mod token;

pub use self::{
    finally::finally,
    scope::{Scope, ScopeEnded, ScopeFuture, scope},
    token::{CancelToken, Cancellation},
};
