//! Functions of the program that hear of tasks.

use std::{sync::Arc, time::Duration};

use super::{block::Block, hub::Hub};
use crate::{
    task::{Moment, TaskEvent},
    util::{clock, current, panic, record::Watch},
};

/// Hears of a task.
pub(crate) type OnTask = Arc<dyn Fn(&TaskEvent) + Send + Sync>;
/// Hears of a poll that took so long.
pub(crate) type OnSlow = Arc<dyn Fn(&TaskEvent, Duration) + Send + Sync>;

/// What a runtime was built with.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) on_spawn: Option<OnTask>,
    pub(crate) on_end: Option<OnTask>,
    /// With the time from which on a poll is slow.
    pub(crate) on_slow: Option<(Duration, OnSlow)>,
}

impl Hooks {
    fn is_empty(&self) -> bool {
        self.on_spawn.is_none() && self.on_end.is_none() && self.on_slow.is_none()
    }

    /// From how many ns on a poll is slow.
    fn slow(&self) -> u64 {
        self.on_slow.as_ref().map_or(u64::MAX, |(limit, _)| clock::nanos(*limit))
    }

    fn call_hook(&self, event: &TaskEvent, moment: Moment) {
        match moment {
            Moment::Spawned => self.on_spawn.iter().for_each(|hook| hook(event)),
            Moment::Ended => self.on_end.iter().for_each(|hook| hook(event)),
            Moment::SlowPoll(took) => self.on_slow.iter().for_each(|(_, hook)| hook(event, took)),
        }
    }
}

/// What a worker with this block needs to know of them.
pub(super) fn watch(hub: &Hub, block: &'static Block) -> Watch {
    let hooks = hub.hooks();
    Watch {
        samples: Some(&block.samples),
        slow: hooks.as_ref().map_or(u64::MAX, Hooks::slow),
        is_hooked: hooks.is_some(),
    }
}

impl Hub {
    /// Sets the hooks of this life, before there are workers.
    pub(crate) fn set_hooks(&self, hooks: Hooks) {
        self.hooked.set(if hooks.is_empty() { 0 } else { 1 });
        *self.hooks.lock() = Some(hooks).filter(|hooks| !hooks.is_empty());
    }

    /// The hooks, if there are some.
    pub(super) fn hooks(&self) -> Option<Hooks> {
        self.is_hooked().then(|| self.hooks.lock().clone()).flatten()
    }

    #[inline]
    pub(super) fn is_hooked(&self) -> bool {
        self.hooked.get() != 0
    }

    /// Forgets them, at the end of this life.
    pub(super) fn clear_hooks(&self) {
        let hooks = self.hooks.lock().take();
        self.hooked.set(0);
        // Foreign destructors, without the lock.
        panic::contain(|| drop(hooks));
    }

    /// Calls the hook for that, as code of no task. A hook that panics is as if it had returned.
    #[cold]
    pub(super) fn call_hook(&self, event: &TaskEvent, moment: Moment) {
        if let Some(hooks) = self.hooks() {
            current::outside_task(|| panic::contain(|| hooks.call_hook(event, moment)));
        }
    }
}
