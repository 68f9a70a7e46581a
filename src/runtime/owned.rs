//! Running operations that own what they work on: in the ring if it can have them, else on the
//! blocking pool.

use std::{io, sync::Arc};

use super::{Handle, call_on, operation};
use crate::{
    blocking::Kind,
    loom::Mutex,
    reactor::{Owned, Reactor},
    scheduler,
};

/// A way that a call on a file can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// The task's own worker made it.
    AtOnce,
    Ring,
    Thread,
}

/// Counts a call on a file.
pub(crate) fn count(route: Route) {
    scheduler::with_worker(|worker| {
        let counts = &worker.block().counts;
        let counter = match route {
            Route::AtOnce => &counts.files_at_once,
            Route::Ring => &counts.files_in_ring,
            Route::Thread => &counts.files_on_thread,
        };
        counter.add(1);
    });
}

/// Runs an operation.
///
/// # Cancel safety
///
/// A ring is asked to cancel the operation; a call on the pool goes on, or never begins if it still
/// waits for a thread. In each case what the operation owns is dropped when it has ended (S1), and its
/// output as well.
pub(crate) async fn perform<O: Owned>(operation: O) -> O::Output {
    let mut operation = Some(operation);
    let started = operation::with_reactor(|reactor| {
        Ok(match reactor {
            Reactor::Uring(uring) if uring.supports(O::OPCODE) => {
                operation.take().map(|operation| uring.perform(operation))
            }
            _ => None,
        })
    });
    match (started, operation) {
        (Err(error), Some(operation)) => operation.finish(Err(error)),
        (Ok(Some(in_ring)), _) => {
            count(Route::Ring);
            in_ring.await
        }
        (_, Some(operation)) => perform_on_thread(operation).await,
        (_, None) => unreachable!("it is taken by what starts it"),
    }
}

/// Runs an operation on a thread for files.
///
/// # Cancel safety
///
/// As [`perform`].
pub(crate) async fn perform_on_thread<O: Owned>(operation: O) -> O::Output {
    let Ok(handle) = Handle::try_current() else {
        return operation.finish(Err(operation::not_a_worker()));
    };
    count(Route::Thread);
    // Shared, so that it comes back from a job that is refused.
    let shared = Arc::new(Mutex::new(Some(operation)));
    let theirs = shared.clone();
    let take = |shared: &Mutex<Option<O>>| shared.lock().take().expect("taken once");
    let call = move || {
        let mut operation = take(&theirs);
        let result = uninterrupted(|| operation.call());
        Ok(operation.finish(result))
    };
    match call_on(&handle, Kind::Files, call).await {
        Ok(output) => output,
        Err(error) => take(&shared).finish(Err(error)),
    }
}

/// Calls again after a signal.
fn uninterrupted(mut call: impl FnMut() -> io::Result<u32>) -> io::Result<u32> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
