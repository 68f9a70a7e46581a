//! Which task took a lock: known in debug builds only, for reports. Where its guard has gone
//! since is not known.

use std::fmt::DebugStruct;

#[cfg(debug_assertions)]
pub(super) use known::Holder;
#[cfg(not(debug_assertions))]
pub(super) use unknown::Holder;

#[cfg(debug_assertions)]
mod known {
    use std::{borrow::Cow, future::poll_fn, pin::pin};

    use super::DebugStruct;
    use crate::{
        error::{
            ErrorEvent, TaskId,
            hook::{self, Here},
        },
        loom::global::{AtomicU64, Ordering},
    };

    /// No task has this number.
    const NOBODY: u64 = u64::MAX;

    /// All Relaxed: what is written while the lock is held and read by the same task is in order by
    /// itself, and another thread gets an old answer at worst. So no model has to cover it.
    pub(in super::super) struct Holder {
        task: AtomicU64,
        /// The last one that was reported. Not a flag: a task that had handed its guard on
        /// would use up the report of one that waits for itself.
        reported: AtomicU64,
    }

    impl Holder {
        pub(in super::super) const fn new() -> Self {
            Self { task: AtomicU64::new(NOBODY), reported: AtomicU64::new(NOBODY) }
        }

        /// This task, or none, has the lock.
        pub(in super::super) fn enter(&self) {
            let task = hook::here().map_or(NOBODY, |here| here.task.0);
            self.task.store(task, Ordering::Relaxed);
        }

        /// It is about to let go of it.
        pub(in super::super) fn leave(&self) {
            self.task.store(NOBODY, Ordering::Relaxed);
        }

        /// Runs a wait for the lock, and reports it if the waiting task took the lock itself.
        pub(in super::super) async fn watch<F: Future>(&self, wait: F) -> F::Output {
            let mut wait = pin!(wait);
            poll_fn(|cx| {
                let polled = wait.as_mut().poll(cx);
                if polled.is_pending() {
                    self.check();
                }
                polled
            })
            .await
        }

        fn check(&self) {
            let Some(here) = hook::here() else { return };
            if self.task.load(Ordering::Relaxed) == here.task.0
                && self.reported.swap(here.task.0, Ordering::Relaxed) != here.task.0
            {
                let Here { task, name, spawned_at, .. } = here;
                let name = name.map(Cow::into_owned);
                (here.report)(here.place, &ErrorEvent::LockHeldByWaiter { task, name, spawned_at });
            }
        }

        pub(in super::super) fn show(&self, shown: &mut DebugStruct<'_, '_>) {
            let holder = self.task.load(Ordering::Relaxed);
            if holder != NOBODY {
                shown.field("holder", &TaskId(holder));
            }
        }
    }
}

#[cfg(not(debug_assertions))]
mod unknown {
    use super::DebugStruct;

    pub(in super::super) struct Holder;

    impl Holder {
        pub(in super::super) const fn new() -> Self {
            Self
        }

        #[inline(always)]
        pub(in super::super) fn enter(&self) {}

        #[inline(always)]
        pub(in super::super) fn leave(&self) {}

        #[inline(always)]
        pub(in super::super) fn watch<F: Future>(&self, wait: F) -> F {
            wait
        }

        pub(in super::super) fn show(&self, _shown: &mut DebugStruct<'_, '_>) {}
    }
}
