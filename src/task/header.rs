//! What every task has, whatever its future: 64 bytes at the start of its memory.

use std::{
    panic::Location,
    ptr::{self, NonNull},
    task::Waker,
};

use super::{Runnable, raw::VTable, state::State};
use crate::{
    error::{ErrorEvent, TaskId},
    loom::{
        UnsafeCell,
        atomic::{AtomicPtr, Ordering},
    },
};

/// The head of a task's one allocation; the future, later its result, follows.
///
/// Who may touch what:
/// * H1 `state`, `id`, `vtable`, `place`, `spawned_at`: anybody with a reference.
/// * H2 `next`: the holder of the queue entry, and while the entry is in an inbox, those whom the
///   inbox's rules name; after completion the handle that drops the result.
/// * H3 `waiter`: the handle, while the state has no `WAITER`; the completer, once
///   it has seen `WAITER` in its completing edge.
/// * H4 the stage behind the header: the runner, of whom there is one while the task is
///   `ACTIVE`; from `COMPLETE` on the handle if there is one, else the completer.
#[repr(C)]
pub(crate) struct Header {
    pub(super) state: State,
    pub(super) vtable: &'static VTable,
    next: AtomicPtr<Header>,
    place: u64,
    id: TaskId,
    spawned_at: &'static Location<'static>,
    pub(super) waiter: UnsafeCell<Option<Waker>>,
}

/// Where a task belongs, in words of whoever schedules it. Opaque to the task.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Birth {
    pub(crate) place: u64,
    pub(crate) id: TaskId,
    pub(crate) spawned_at: &'static Location<'static>,
}

/// Whoever queues tasks. No value exists: what is needed to find the queue is in
/// the task's [place](Header::place).
pub(crate) trait Schedule: 'static {
    /// Queues a task that became runnable. Called on any thread, at any time, also
    /// after the runtime's end; must not run foreign code.
    fn schedule(task: Runnable);

    /// The task's future is gone. The registry forgets it, and gives up the
    /// reference that it had: the caller drops that one with its own.
    fn ended(task: &Header);

    /// Something happened that nobody is waiting for.
    fn report(place: u64, event: &ErrorEvent);
}

impl Header {
    pub(super) fn new(vtable: &'static VTable, birth: Birth) -> Self {
        Self {
            state: State::new(),
            vtable,
            next: AtomicPtr::new(ptr::null_mut()),
            place: birth.place,
            id: birth.id,
            spawned_at: birth.spawned_at,
            waiter: UnsafeCell::new(None),
        }
    }

    /// What the scheduler said at birth.
    pub(crate) fn place(&self) -> u64 {
        self.place
    }

    pub(crate) fn id(&self) -> TaskId {
        self.id
    }

    pub(crate) fn spawned_at(&self) -> &'static Location<'static> {
        self.spawned_at
    }

    /// Sets the link to the next task of a list.
    ///
    /// # Safety
    ///
    /// The caller has the right of H2.
    pub(crate) unsafe fn set_next(&self, next: Option<NonNull<Header>>) {
        // Relaxed: the caller alone has to do with it.
        self.next.store(next.map_or(ptr::null_mut(), NonNull::as_ptr), Ordering::Relaxed);
    }

    /// Takes the link out.
    ///
    /// # Safety
    ///
    /// The caller has the right of H2.
    pub(crate) unsafe fn take_next(&self) -> Option<NonNull<Header>> {
        // Relaxed: the caller alone has to do with it.
        let next = NonNull::new(self.next.load(Ordering::Relaxed));
        self.next.store(ptr::null_mut(), Ordering::Relaxed);
        next
    }

    /// Links the next task of an inbox, for others to see.
    ///
    /// # Safety
    ///
    /// The caller has the right of H2.
    pub(crate) unsafe fn link(&self, next: NonNull<Header>) {
        // Release: publishes that task; pairs with `linked`.
        self.next.store(next.as_ptr(), Ordering::Release);
    }

    /// The next task of an inbox, if it has been linked.
    pub(crate) fn linked(&self) -> Option<NonNull<Header>> {
        // Acquire: pairs with `link`.
        NonNull::new(self.next.load(Ordering::Acquire))
    }
}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task")
            .field("id", &self.id)
            .field("state", &self.state.load())
            .field("spawned_at", &format_args!("{}", self.spawned_at))
            .finish()
    }
}

const _: () = assert!(crate::loom::MODELLED || size_of::<Header>() == 64);
