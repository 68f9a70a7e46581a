//! Where callbacks of [`Task::on_done`](crate::Task::on_done) run if they become due on a thread that
//! is no worker of their runtime.

use std::{
    panic::Location,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;

use super::Inner;
use crate::{task::Caller, util::fork::PerProcess};

type Runtimes = Mutex<Vec<Entry>>;

struct Entry {
    /// Of its hub.
    key: u16,
    inner: Weak<Inner>,
    /// [`Inner::inspected`].
    inspected: bool,
}

/// The runtimes that have not ended.
fn runtimes() -> &'static Runtimes {
    static RUNTIMES: PerProcess<Runtimes> = PerProcess::new();
    RUNTIMES.get(|| Mutex::new(Vec::new()))
}

/// A runtime starts.
pub(super) fn add(inner: &Arc<Inner>) {
    let mut runtimes = runtimes().lock();
    // One that could not end in time has kept its hub, and its key.
    runtimes.retain(|entry| entry.inner.strong_count() > 0);
    let (key, inspected) = (inner.hub.key(), inner.inspected);
    runtimes.push(Entry { key, inner: Arc::downgrade(inner), inspected });
}

/// A runtime has ended, and its key is for the next.
pub(super) fn remove(inner: &Inner) {
    runtimes().lock().retain(|entry| entry.key != inner.hub.key());
}

/// Whether one of them may be inspected.
pub(super) fn is_any_inspected() -> bool {
    let is_live = |entry: &Entry| entry.inspected && entry.inner.strong_count() > 0;
    runtimes().lock().iter().any(is_live)
}

/// The runtimes of this process that have not ended.
pub(super) fn all() -> Vec<Arc<Inner>> {
    runtimes().lock().iter().filter_map(|entry| entry.inner.upgrade()).collect()
}

/// Spawns a caller on the runtime of its task; after that runtime's end it gives up.
pub(super) fn spawn(key: u16, at: &'static Location<'static>, caller: Caller) {
    let of_key = |entry: &&Entry| entry.key == key;
    let runtime = runtimes().lock().iter().find(of_key).map(|entry| entry.inner.clone());
    let runtime = runtime.and_then(|runtime| runtime.upgrade());
    let of_this_life = |inner: &Arc<Inner>| inner.hub.has_born(caller.task());
    let Some(inner) = runtime.filter(of_this_life) else { return caller.give_up() };
    let mut caller = Some(caller);
    let spawned = inner.try_spawn(|| (caller.take().expect("called once"), at.into()));
    match (spawned, caller) {
        (Some(task), _) => task.detach(),
        (None, Some(caller)) => caller.give_up(),
        (None, None) => unreachable!("what took it has spawned it"),
    }
}
