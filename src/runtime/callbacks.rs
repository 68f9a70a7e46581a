//! Where callbacks of [`Task::on_done`](crate::Task::on_done) run if they become due on a thread that
//! is no worker of their runtime.

use std::{
    panic::Location,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;

use super::Inner;
use crate::{task::Caller, util::fork::PerProcess};

/// Each by the key of its hub.
type Runtimes = Mutex<Vec<(u16, Weak<Inner>)>>;

/// The runtimes that have not ended.
fn runtimes() -> &'static Runtimes {
    static RUNTIMES: PerProcess<Runtimes> = PerProcess::new();
    RUNTIMES.get(|| Mutex::new(Vec::new()))
}

/// A runtime starts.
pub(super) fn add(inner: &Arc<Inner>) {
    let mut runtimes = runtimes().lock();
    // One that could not end in time has kept its hub, and its key.
    runtimes.retain(|(_, runtime)| runtime.strong_count() > 0);
    runtimes.push((inner.hub.key(), Arc::downgrade(inner)));
}

/// A runtime has ended, and its key is for the next.
pub(super) fn remove(inner: &Inner) {
    runtimes().lock().retain(|(key, _)| *key != inner.hub.key());
}

/// Spawns a caller on the runtime of its task; after that runtime's end it gives up.
pub(super) fn spawn(key: u16, at: &'static Location<'static>, caller: Caller) {
    let runtime = runtimes().lock().iter().find(|(of, _)| *of == key).map(|(_, it)| it.clone());
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
