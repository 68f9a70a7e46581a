//! What every task has, whatever its future: 64 bytes at the start of its memory.

use std::{
    fmt,
    panic::Location,
    ptr::{self, NonNull},
    task::Waker,
};

use super::{
    Moment, Runnable, TaskEvent,
    done::{Caller, End},
    extra::{Extension, Extra},
    info::WaitsFor,
    local,
    raw::VTable,
    state::State,
};
use crate::{
    error::{ErrorEvent, TaskId},
    loom::{UnsafeCell, atomic::Ordering},
    util::wait::{LinkOrWait, WaitKind},
};

/// The head of a task's one allocation; the future, later its result, follows.
///
/// The fields, and the code that may touch each:
/// * H1 `state`, `id`, `vtable`, `place`, `spawned_at`: anybody with a reference.
/// * H2 `next`: the holder of the queue entry, and while the entry is in an inbox, the threads that
///   the inbox's rules name. Then the runner, which notes there what the task waits for. So the
///   next holder of an entry finds a note and no link: an inbox sets the link before it shows the
///   task. After completion the handle that drops the result. Any thread may look for a note.
/// * H3 `waiter`: the handle, while the state has no `WAITER`; the completer, once
///   it has seen `WAITER` in its completing edge.
/// * H4 the stage behind the header: the runner, of which there is one while the task is `ACTIVE`;
///   from `COMPLETE` on the handle if there is one, else the completer.
#[repr(C)]
pub(crate) struct Header {
    /// First: `current.task` points to it.
    next: LinkOrWait,
    pub(super) state: State,
    pub(super) vtable: &'static VTable,
    place: u64,
    id: TaskId,
    spawned_at: &'static Location<'static>,
    pub(super) waiter: UnsafeCell<Option<Waker>>,
}

/// What a task is born with.
pub(crate) struct Birth {
    /// Where it belongs, in words of the scheduler. Opaque to the task.
    pub(crate) place: u64,
    pub(crate) id: TaskId,
    pub(crate) origin: Origin,
}

/// What the code that spawns a task says of it.
pub(crate) struct Origin {
    pub(crate) spawned_at: &'static Location<'static>,
    /// What few tasks have. Most have none, and pay nothing for it.
    pub(super) extension: Option<Box<Extension>>,
}

impl From<&'static Location<'static>> for Origin {
    #[inline]
    fn from(spawned_at: &'static Location<'static>) -> Self {
        Self { spawned_at, extension: local::inherit() }
    }
}

impl Origin {
    /// Debug mode times the polls of the task.
    #[cold]
    pub(crate) fn timed(mut self) -> Self {
        self.extension.get_or_insert_default().timed = true;
        self
    }
}

/// A scheduler: it queues tasks. No value exists: what is needed to find the queue is in the task's
/// [place](Header::place).
pub(crate) trait Schedule: 'static {
    /// The kind of the wait for the end of one of its tasks.
    const ENDS: WaitKind = WaitKind::Task;

    /// Queues a task that became runnable. Called on any thread, at any time, also
    /// after the runtime's end; must not run foreign code.
    fn schedule(task: Runnable);

    /// The task's future is gone. The registry forgets it, and gives up the
    /// reference that it had: the caller drops that one with its own.
    fn ended(task: &Header, end: End);

    /// Something happened that nobody is waiting for.
    fn report(place: u64, event: &ErrorEvent);

    /// A hook is to hear of a task. Called only where the worker has hooks.
    fn call_hook(_place: u64, _event: &TaskEvent, _moment: Moment) {}

    /// Spawns the future that calls the callbacks of a task that has ended.
    fn defer(place: u64, at: &'static Location<'static>, caller: Caller);
}

impl Header {
    pub(super) fn new(
        vtable: &'static VTable,
        place: u64,
        id: TaskId,
        spawned_at: &'static Location<'static>,
    ) -> Self {
        Self {
            next: LinkOrWait::new(),
            state: State::new(),
            vtable,
            place,
            id,
            spawned_at,
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

    /// The task's poll begins.
    ///
    /// # Safety
    ///
    /// The caller is the runner (H2).
    #[inline]
    pub(super) unsafe fn clear_wait(&self) {
        self.next.clear();
    }

    /// What the task waits for, if it is suspended and one of our own futures has said so.
    pub(super) fn waits_for(&self) -> Option<WaitsFor> {
        let now = self.state.load();
        let wait = self.next.get().filter(|_| !now.is_active() && !now.is_complete())?;
        Some(WaitsFor(wait))
    }

    /// What `Debug` shows of the task.
    pub(super) fn describe(&self, extra: &Extra, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut task = f.debug_struct("Task");
        task.field("id", &self.id);
        if let Some(name) = extra.name() {
            task.field("name", name);
        }
        task.field("state", &self.state.load());
        if let Some(wait) = self.waits_for() {
            task.field("waits_for", &format_args!("{wait}"));
        }
        if let Some(awaiter) = extra.awaiter() {
            task.field("awaited_by", &awaiter);
        }
        task.field("spawned_at", &format_args!("{}", self.spawned_at));
        task.finish()
    }

    /// Sets the link to the next task of a list.
    ///
    /// # Safety
    ///
    /// The caller has the right of H2.
    pub(crate) unsafe fn set_next(&self, next: Option<NonNull<Header>>) {
        // Relaxed: only the caller has access to it.
        let next = next.map_or(ptr::null_mut(), |next| next.as_ptr().cast());
        self.next.link().store(next, Ordering::Relaxed);
    }

    /// Takes the link out.
    ///
    /// # Safety
    ///
    /// The caller has the right of H2.
    pub(crate) unsafe fn take_next(&self) -> Option<NonNull<Header>> {
        // Relaxed: only the caller has access to it.
        let next = NonNull::new(self.next.link().load(Ordering::Relaxed));
        debug_assert!(self.next.get().is_none(), "a note is no link");
        self.next.link().store(ptr::null_mut(), Ordering::Relaxed);
        next.map(NonNull::cast)
    }

    /// Links the next task of an inbox, for others to see.
    ///
    /// # Safety
    ///
    /// The caller has the right of H2.
    pub(crate) unsafe fn link(&self, next: NonNull<Header>) {
        // Release: publishes that task; pairs with `linked`.
        self.next.link().store(next.as_ptr().cast(), Ordering::Release);
    }

    /// The next task of an inbox, if it has been linked.
    pub(crate) fn linked(&self) -> Option<NonNull<Header>> {
        // Acquire: pairs with `link`.
        NonNull::new(self.next.link().load(Ordering::Acquire)).map(NonNull::cast)
    }
}

const _: () = assert!(crate::loom::MODELLED || size_of::<Header>() == 64);
