//! Making tasks.

use super::{IDS, Worker};
use crate::{
    error::TaskId,
    record::Kind,
    scheduler::{Address, NO_OWNER, Tasks, hub::Phase, new_ids},
    task::{self, Birth, Moment, Origin, Registered, Runnable, Task},
    util::current,
};

impl Worker {
    /// Spawns a task that may be stolen.
    #[inline]
    pub(crate) fn spawn<F>(&self, future: F, origin: impl Into<Origin>) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (slot, birth) = self.birth(NO_OWNER, origin.into());
        let (entry, registered, task) = task::create::<F, Tasks>(future, birth);
        self.register(slot, registered, &task);
        self.push_back(entry);
        task
    }

    /// Spawns a task that may be stolen, after its first turn, which it has at once.
    pub(crate) fn spawn_eager<F>(&self, future: F, origin: Origin) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (slot, birth) = self.birth(NO_OWNER, origin);
        let (entry, registered, task) = task::create::<F, Tasks>(future, birth);
        self.register(slot, registered, &task);
        self.start_now(entry);
        task
    }

    /// Spawns a task that stays here, after its first turn, which it has at once.
    pub(crate) fn spawn_local_eager<F>(&self, future: F, origin: Origin) -> Task<F::Output>
    where
        F: Future + 'static,
    {
        let (slot, birth) = self.birth(self.index as u16, origin);
        // SAFETY: S13, as in `spawn_local`; `'static`.
        let (entry, registered, task) =
            unsafe { task::create_unchecked::<F, Tasks>(future, birth) };
        self.register(slot, registered, &task);
        self.start_now(entry);
        task
    }

    /// Spawns a task that stays here.
    ///
    /// # Safety
    ///
    /// If `F` is not `'static`, the caller keeps this worker running until the task
    /// has ended, and sees that before anything that `F` borrows ends.
    pub(crate) unsafe fn spawn_local<F: Future>(
        &self,
        future: F,
        origin: impl Into<Origin>,
    ) -> Task<F::Output> {
        let (slot, birth) = self.birth(self.index as u16, origin.into());
        // SAFETY: S13: its place names this worker as its owner, so that it is queued
        // here alone; `'static` or not is the caller's care.
        let (entry, registered, task) =
            unsafe { task::create_unchecked::<F, Tasks>(future, birth) };
        self.register(slot, registered, &task);
        self.push_local(entry);
        task
    }

    // As a call it would hand a large value back through memory, for each task.
    #[inline(always)]
    pub(super) fn birth(&self, owner: u16, origin: Origin) -> (u32, Birth) {
        let slot = self.hub.registry.take_slot(&self.slots);
        let place = Address::new(self.hub.key(), owner, slot);
        (slot, Birth { place: place.0, id: self.next_id(), origin: self.hub.timed(origin) })
    }

    #[inline]
    fn next_id(&self) -> TaskId {
        let (mut next, mut end) = self.ids.get();
        if next == end {
            next = new_ids(IDS).0;
            end = next + IDS;
        }
        self.ids.set((next + 1, end));
        TaskId(next)
    }

    #[inline]
    pub(super) fn register<T>(&self, slot: u32, registered: Registered, task: &Task<T>) {
        self.block().counts.spawned.add(1);
        if self.pen.is_on() {
            self.note_spawn((task.id(), task.name()), task.spawned_at());
        }
        self.hub.registry.insert(slot, registered);
        if self.hub.is_hooked() {
            self.hub.call_hook(&task.event(), Moment::Spawned);
        }
        if self.hub.phase() != Phase::Open {
            // Refused: it is dropped unpolled when its turn comes.
            task.cancel();
        }
    }

    /// Gives a new task its first turn at once, within the poll of the task that spawned it.
    fn start_now(&self, task: Runnable) {
        self.block().set_running(task.header());
        let id = task.header().id();
        self.note_poll(Kind::Nested, task.header());
        // The rest of what a turn sets, it sets back.
        current::with_budget(false, || task::hidden(|| self.turn_of(task)));
        self.note_nested_end(id);
        let outer = task::with_polled(|outer| self.block().set_running(outer));
        if outer.is_none() {
            self.block().set_idle();
        }
    }
}
