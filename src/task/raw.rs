//! The memory of a task and what depends on the type of its future.
//!
//! # The life of a task
//!
//! 1. [`create`](super::create) makes one block of memory: a [`Header`] of 64 bytes, what is
//!    [recorded](Record) of the task, and the future. It is born `ACTIVE`, with references for its first queue entry
//!    (a [`Runnable`](super::Runnable)), for the registry of live tasks and for its [`Task`](super::Task) handle.
//! 2. A worker takes the entry and calls [`Runnable::run`](super::Runnable::run): edge
//!    [`start`](super::state::State::start), one poll, then one of four exits.
//! 3. *Pending*: edge [`suspend`](super::state::State::suspend); the entry's reference is
//!    given up in the same atomic operation. If it was woken during the poll, it stays
//!    active and is queued again instead.
//! 4. *Yielded*: edge [`stay`](super::state::State::stay): it is queued again in any case.
//! 5. *Ready, panicked or cancelled*: the future is dropped and the result takes its
//!    place; the registry forgets the task; edge [`complete`](super::state::State::complete);
//!    the waiter is woken, or, when there is no handle, the result dropped.
//! 6. A [wake](super::state::State::wake_by_ref) of an idle task makes it `ACTIVE`: the waker takes a
//!    reference and calls [`Schedule::schedule`]. One of an active task sets `NOTIFIED`.
//! 7. The last reference frees the block: a handle, or a waker that somebody kept.
//!
//! A panic, in the poll or in any destructor, is contained where it arises and
//! becomes the task's result (S8).
//!
//! The table of bits is in [`state`](super::state), the table of fields and of the code that may
//! touch them at [`Header`], the invariants that unsafe code cites below.
//!
//! # The memory
//!
//! A task is one block: [`Header`], the record, then the stage, which is the future, then its
//! result, then nothing. Everything outside this file handles a
//! `NonNull<Header>`; the header's table leads back to the type.
//!
//! Invariants, cited below:
//! * R1 A `NonNull<Header>` made by [`create`] is valid for as long as its holder
//!   has one of the references counted in the state. The runner may rely on the registry's
//!   instead, which it is the one to give up, in [`finish`].
//! * R2 The stage is touched under H4 (see [`Header`]) only.
//! * R3 The future stays in its block from creation to its drop: it is pinned.
//! * R4 A future that is not `Send` is polled and dropped by the thread that made
//!   it: its place names an owner, and the scheduler queues it there alone (S13).

use std::{
    alloc::Layout,
    marker::PhantomData,
    mem,
    panic::Location,
    pin::Pin,
    ptr::{self, NonNull},
    task::{Context, Poll},
    time::Duration,
};

use super::{
    Moment, TaskEvent, TaskRef,
    cancel::{self, Delivery},
    debug,
    done::{self, Caller, End},
    extra::{Asked, Extra},
    header::{Birth, Header, Origin, Schedule},
    local,
    state::{Complete, Start, Suspend},
    waker,
};
use crate::{
    error::{ErrorEvent, TaskError, TaskId},
    loom::{MODELLED, UnsafeCell},
    util::{
        current, magazine, panic,
        record::{self, Record},
        wait::WaitKind,
    },
};

/// The functions that know the type.
///
/// # Safety
///
/// All take a task that was made with this very table. The caller has the right to its stage (R2),
/// or for `free` its last reference. What more each requires stands at its body.
pub(super) struct VTable {
    /// Polls the future. Ready or panicked: the result is stored, the future gone.
    poll: unsafe fn(NonNull<Header>, &mut Context<'_>) -> Poll<End>,
    /// Drops the future and stores the error.
    give_up: unsafe fn(NonNull<Header>, TaskError) -> End,
    /// Moves the result to a `*mut Result<T, TaskError>`.
    pub(super) read_output: unsafe fn(NonNull<Header>, *mut ()),
    /// Whether the result is there and is a panic.
    pub(super) has_panicked: unsafe fn(NonNull<Header>) -> bool,
    /// Drops the result, and reports a panic that nobody has seen.
    pub(super) drop_output: unsafe fn(NonNull<Header>),
    /// The kind of the wait for its end.
    pub(super) ends: WaitKind,
    pub(super) schedule: fn(super::Runnable),
    ended: fn(&Header, End),
    pub(super) report: fn(u64, &ErrorEvent),
    call_hook: fn(u64, &TaskEvent, Moment),
    pub(super) defer: fn(u64, &'static Location<'static>, Caller),
    /// The plain table, in that of a task whose calls are wrapped.
    plain: Option<&'static VTable>,
    /// Frees the memory.
    free: unsafe fn(NonNull<Header>),
}

enum Stage<F: Future> {
    Future(F),
    Output(Result<F::Output, TaskError>),
    Empty,
}

/// What all blocks begin with.
#[repr(C)]
struct Head {
    header: Header,
    extra: Extra,
    record: Record,
}

#[repr(C)]
struct Block<F: Future> {
    head: Head,
    stage: UnsafeCell<Stage<F>>,
}

struct Table<F, S>(PhantomData<(F, S)>);

impl<F: Future, S: Schedule> Table<F, S> {
    const VTABLE: &'static VTable = &VTable {
        poll: poll::<F>,
        give_up: give_up::<F>,
        read_output: read_output::<F>,
        has_panicked: has_panicked::<F>,
        drop_output: drop_output::<F, S>,
        ends: S::ENDS,
        schedule: S::schedule,
        ended: S::ended,
        report: S::report,
        call_hook: S::call_hook,
        defer: S::defer,
        free: free::<F>,
        plain: None,
    };

    /// That of a task with inherited values, which are visible while foreign code of it runs, and of one
    /// whose polls are timed. All other tasks pay nothing for either.
    const WRAPPED: &'static VTable = &VTable {
        poll: poll_wrapped,
        give_up: give_up_wrapped,
        plain: Some(Self::VTABLE),
        ..*Self::VTABLE
    };
}

/// Makes a task. Its three references belong to the first queue entry, to the
/// registry and to the handle.
#[inline]
pub(super) fn create<F: Future, S: Schedule>(future: F, birth: Birth) -> NonNull<Header> {
    let block = magazine::allocate(Layout::new::<Block<F>>()).cast::<Block<F>>();
    let raw = block.as_ptr();
    // SAFETY: fresh memory of this layout. Field by field, so that the future is not
    // moved more often than it must.
    unsafe {
        let Birth { place, id, origin: Origin { spawned_at, mut extension } } = birth;
        let wrapped = extension.as_mut().is_some_and(|extension| extension.is_wrapped());
        let vtable = if wrapped { Table::<F, S>::WRAPPED } else { Table::<F, S>::VTABLE };
        let header = Header::new(vtable, place, id, spawned_at);
        (&raw mut (*raw).head.header).write(header);
        (&raw mut (*raw).head.extra).write(Extra::new(extension));
        (&raw mut (*raw).head.record).write(new_record(id));
        (&raw mut (*raw).stage).write(UnsafeCell::new(Stage::Future(future)));
    }
    block.cast()
}

/// The record of a task that is spawned here.
#[inline]
fn new_record(id: TaskId) -> Record {
    current::with(|current| {
        let parent = current.task.get().cast::<Header>();
        // SAFETY: R1: null, or the task that is polled here, which its runner keeps.
        let parent = unsafe { parent.as_ref() }.map_or(0, |parent| parent.id().0);
        Record::new(id.0, parent, current.group.get(), &current.tick)
    })
}

/// What is recorded of the task.
///
/// # Safety
///
/// R1, for as long as the reference is used.
#[inline]
pub(super) unsafe fn record<'a>(task: NonNull<Header>) -> &'a Record {
    // SAFETY: R1, by the caller; all blocks begin with a head.
    unsafe { &task.cast::<Head>().as_ref().record }
}

/// The task has become ready, and the caller has its queue entry.
///
/// # Safety
///
/// The caller has a reference (R1).
#[inline]
pub(super) unsafe fn note_ready(task: NonNull<Header>) {
    let mask = current::with(|current| current.tick.mask.get());
    // SAFETY: R1, by the caller.
    unsafe { record(task).note_ready(task.as_ref().id().0, mask) };
}

/// What few tasks have.
///
/// # Safety
///
/// R1, for as long as the reference is used.
#[inline]
pub(super) unsafe fn extra<'a>(task: NonNull<Header>) -> &'a Extra {
    // SAFETY: R1, by the caller; all blocks begin with a head.
    unsafe { &task.cast::<Head>().as_ref().extra }
}

/// Asks a task to end, as [`Task::cancel`](super::Task::cancel) and
/// [`Task::abort`](super::Task::abort).
///
/// # Safety
///
/// The caller has a reference (R1).
pub(super) unsafe fn ask(task: NonNull<Header>, abort: bool, asked: Asked) -> bool {
    // SAFETY: R1, by the caller.
    let (header, extra) = unsafe { (task.as_ref(), extra(task)) };
    let (asked, push) = extra.ask(asked, &header.state, abort);
    if push {
        // SAFETY: R1, by the caller.
        unsafe { note_ready(task) };
        (header.vtable.schedule)(super::Runnable(task));
    }
    asked
}

/// Frees the block; the stage is empty by now.
///
/// # Safety
///
/// The last reference has been given up, as the caller has seen from the count.
unsafe fn free<F: Future>(task: NonNull<Header>) {
    // SAFETY: R1 and R2, and H3 as well, for the last time, since nobody has a reference;
    // `create` allocated it so.
    unsafe {
        with_stage::<F, _>(task, |stage| debug_assert!(matches!(stage, Stage::Empty)));
        // The handle leaves one behind if the next could not be cloned.
        let waiter = task.as_ref().waiter.with_mut(|waiter| (*waiter).take());
        if waiter.is_some() {
            panic::discard_foreign(waiter);
        }
        task.cast::<Head>().drop_in_place();
        magazine::release(task.cast(), Layout::new::<Block<F>>());
    }
}

/// Gives up `count` references.
///
/// # Safety
///
/// They are the caller's, and it does not use `task` any more.
pub(super) unsafe fn drop_refs(task: NonNull<Header>, count: usize) {
    // SAFETY: R1, or else the block is ours to free.
    let header = unsafe { task.as_ref() };
    if header.state.drop_refs(count) {
        // SAFETY: the count has just shown that this was the last reference.
        unsafe { (header.vtable.free)(task) };
    }
}

/// What became of a polled task.
pub(crate) enum Ran {
    /// It suspended or ended; there is nothing to queue.
    Done,
    /// It was woken while it ran, or it yielded: it goes to the back of the queue.
    Again(super::Runnable),
}

/// One turn of a task: the whole of its life between leaving a queue and being
/// suspended, queued again or ended.
///
/// # Safety
///
/// The caller hands over the queue entry's reference, and keeps R4.
#[inline]
pub(super) unsafe fn run(task: NonNull<Header>) -> Ran {
    // SAFETY: R1: the entry's reference lives until one of the exits below.
    let header = unsafe { task.as_ref() };
    let start = header.state.start();
    if start == Start::Drop {
        // SAFETY: R2: we are the runner.
        unsafe { finish_cancelled(task, false) };
        return Ran::Done;
    }
    // SAFETY: H2: we are the runner.
    unsafe { header.clear_wait() };
    // SAFETY: R1; the borrowed waker does not outlive this call.
    let waker = unsafe { waker::borrow(task) };
    // SAFETY: R1.
    let record = unsafe { record(task) };
    let is_timed = current::with(|current| record.begin_poll(header.id().0, &current.tick));
    let cx = &mut Context::from_waker(&waker);
    // SAFETY: R1, R2, R4.
    let turn = unsafe { if is_timed { poll_timed(task, cx) } else { poll_plain(task, cx) } };
    if let Poll::Ready(end) = turn.poll {
        // SAFETY: R2: the result was just stored.
        unsafe { finish(task, turn.lent, end) };
        return Ran::Done;
    }
    if start == Start::PollCancelled {
        // SAFETY: R2: we still are the runner.
        unsafe {
            if cancel::deliver(task, turn.yielded) == Delivery::End {
                finish_cancelled(task, turn.lent);
                return Ran::Done;
            }
        }
    }
    if turn.yielded {
        record.note_yield();
    }
    let suspended =
        if turn.yielded { header.state.stay() } else { header.state.suspend(turn.lent) };
    match suspended {
        Suspend::Idle => Ran::Done,
        Suspend::Requeue => {
            if turn.lent {
                header.state.add_ref();
            }
            Ran::Again(super::Runnable(task))
        }
    }
}

/// Polls the future.
///
/// # Safety
///
/// As [`run`]; the caller is the runner.
#[inline(always)]
unsafe fn poll_plain(task: NonNull<Header>, cx: &mut Context<'_>) -> Turn {
    // SAFETY: R1, R2, R4, by the caller.
    enter(task, false, || unsafe { (task.as_ref().vtable.poll)(task, cx) })
}

/// The same, and the time of it is recorded.
///
/// # Safety
///
/// As [`poll_plain`].
#[cold]
unsafe fn poll_timed(task: NonNull<Header>, cx: &mut Context<'_>) -> Turn {
    // SAFETY: R1, by the caller.
    let record = unsafe { record(task) };
    let begun = current::with(|current| record.begin_timed(&current.tick));
    // SAFETY: its promise.
    let turn = unsafe { poll_plain(task, cx) };
    let (took, slow) = current::with(|current| {
        (record.end_timed(begun, &current.tick), current.tick.watch.get().slow)
    });
    if took >= slow {
        // SAFETY: R1, by the caller.
        unsafe { call_hook(task, Moment::SlowPoll(Duration::from_nanos(took))) };
    }
    turn
}

/// Ends a task that was never polled with `error`, unless it was asked to end before.
///
/// # Safety
///
/// As [`run`].
pub(super) unsafe fn fail(task: NonNull<Header>, error: TaskError) {
    // SAFETY: R1: the entry's reference lives until `finish`. R2: we are the runner.
    unsafe {
        match task.as_ref().state.start() {
            Start::Drop => finish_cancelled(task, false),
            Start::Poll | Start::PollCancelled => finish_without_value(task, false, error),
        }
    }
}

/// What a turn leaves.
struct Turn {
    poll: Poll<End>,
    yielded: bool,
    /// A waker has the runner's reference: see `waker.rs`.
    lent: bool,
}

/// Polls with the thread's state set for this task; `lent` is what the last turn under the
/// same runner left.
///
/// Polls nest, where a task is refused: what was set comes back.
#[inline]
fn enter(task: NonNull<Header>, lent: bool, poll: impl FnOnce() -> Poll<End>) -> Turn {
    current::with(|current| {
        let outer = (
            current.task.replace(task.as_ptr().cast_const().cast()),
            current.lent.replace(lent),
            current.budget.replace(current::BUDGET),
            current.yielded.replace(false),
            current.frame.replace(ptr::null()),
        );
        // No unwinding comes out of here: the table's functions contain it.
        let poll = poll();
        current.task.set(outer.0);
        current.budget.set(outer.2);
        current.frame.set(outer.4);
        let lent = current.lent.replace(outer.1);
        Turn { poll, yielded: current.yielded.replace(outer.3), lent }
    })
}

/// Ends a task that was asked to.
///
/// # Safety
///
/// As [`finish`]; the future is still there.
unsafe fn finish_cancelled(task: NonNull<Header>, lent: bool) {
    // SAFETY: R1, by the caller; and its promise.
    unsafe {
        let extra = extra(task);
        let noted = extra.take_noted().map(|noted| noted.cause);
        let cause = noted.unwrap_or_else(|| cancel::shutdown(extra.name()));
        finish_without_value(task, lent, TaskError::cancelled_by(cause));
    }
}

/// # Safety
///
/// As [`finish`]; the future is still there.
unsafe fn finish_without_value(task: NonNull<Header>, lent: bool, error: TaskError) {
    // Destructors of a future run as part of its task.
    let turn = enter(task, lent, || {
        // SAFETY: the caller's promise: R2, R4.
        Poll::Ready(unsafe { (task.as_ref().vtable.give_up)(task, error) })
    });
    let Poll::Ready(end) = turn.poll else { unreachable!("just given") };
    // SAFETY: the result is stored.
    unsafe { finish(task, turn.lent, end) };
}

/// Completes a task whose result is in its stage: tells registry and waiter, gives
/// up the registry's reference and, if it was not `lent`, the runner's.
///
/// # Safety
///
/// The caller is the runner.
unsafe fn finish(task: NonNull<Header>, lent: bool, end: End) {
    // SAFETY: R1: the registry's reference is ours until the end of this function.
    let header = unsafe { task.as_ref() };
    if current::with(|current| current.tick.watch.get().is_hooked) {
        // SAFETY: R1, as above.
        unsafe { call_hook(task, Moment::Ended) };
    }
    // First, so that a task that waits for this one finds it gone from every count.
    (header.vtable.ended)(header, end);
    let before = header.state.complete(end);
    match before.completed() {
        // SAFETY: R2: no handle; nobody else comes to the stage.
        Complete::DropOutput => unsafe { (header.vtable.drop_output)(task) },
        Complete::Keep => {}
        Complete::WakeWaiter => {
            // SAFETY: H3: the completing edge saw WAITER.
            let waker = header.waiter.with_mut(|waiter| unsafe { (*waiter).take() });
            // The waker is foreign code.
            panic::contain(|| waker.expect("WAITER means that a waker is there").wake());
        }
    }
    if before.has_callbacks() {
        // SAFETY: R1, as above.
        unsafe { call_back(task) };
    }
    // SAFETY: these are the runner's: the one `ended` left to it, and its own if it has one.
    unsafe { drop_refs(task, if lent { 1 } else { 2 }) };
}

/// A hook hears of it.
///
/// # Safety
///
/// The caller has a reference (R1).
#[cold]
#[inline(never)]
unsafe fn call_hook(task: NonNull<Header>, moment: Moment) {
    // SAFETY: R1, by the caller.
    let task = unsafe { TaskRef::to(task) };
    (task.header().vtable.call_hook)(task.header().place(), &TaskEvent::of(&task), moment);
}

/// Callbacks wait for the end that has come.
///
/// # Safety
///
/// The caller has a reference (R1).
#[cold]
#[inline(never)]
unsafe fn call_back(task: NonNull<Header>) {
    // SAFETY: R1, by the caller.
    done::ended(unsafe { TaskRef::to(task) });
}

/// # Safety
///
/// R2 for the stage of a `Block<F>`.
unsafe fn with_stage<F: Future, R>(task: NonNull<Header>, f: impl FnOnce(&mut Stage<F>) -> R) -> R {
    // SAFETY: R1, and `F` is the type that the table was made for.
    let block = unsafe { task.cast::<Block<F>>().as_ref() };
    // SAFETY: R2, by the caller.
    block.stage.with_mut(|stage| f(unsafe { &mut *stage }))
}

/// # Safety
///
/// R2, R4; the stage is the future.
unsafe fn poll<F: Future>(task: NonNull<Header>, cx: &mut Context<'_>) -> Poll<End> {
    // SAFETY: the caller's promise.
    unsafe {
        with_stage::<F, _>(task, |stage| {
            let polled = panic::catch(|| match stage {
                // SAFETY: R3.
                Stage::Future(future) => Pin::new_unchecked(future).poll(cx),
                _ => unreachable!("polled after its end"),
            });
            let output = match polled {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(value)) => Ok(value),
                Err(payload) => Err(TaskError::panicked(payload)),
            };
            Poll::Ready(store(stage, output))
        })
    }
}

/// # Safety
///
/// R2, R4; the stage is the future.
unsafe fn give_up<F: Future>(task: NonNull<Header>, error: TaskError) -> End {
    // SAFETY: the caller's promise.
    unsafe { with_stage::<F, _>(task, |stage| store(stage, Err(error))) }
}

/// Polls with the values visible that the task inherited, and with a look at the clock in debug mode.
///
/// # Safety
///
/// R2, R4; the stage is the future, and the task has the wrapped table.
unsafe fn poll_wrapped(task: NonNull<Header>, cx: &mut Context<'_>) -> Poll<End> {
    // SAFETY: the caller's promise.
    unsafe { with_locals(task, |plain| debug::timed(|| (plain.poll)(task, cx))) }
}

/// # Safety
///
/// As [`poll_wrapped`].
unsafe fn give_up_wrapped(task: NonNull<Header>, error: TaskError) -> End {
    let give_up = |plain: &VTable| {
        // SAFETY: the caller's promise.
        Poll::Ready(unsafe { (plain.give_up)(task, error) })
    };
    // SAFETY: as above.
    match unsafe { with_locals(task, give_up) } {
        Poll::Ready(end) => end,
        Poll::Pending => unreachable!("just given"),
    }
}

/// Calls the plain table with the values visible, which end with the future.
///
/// # Safety
///
/// As [`poll_wrapped`].
unsafe fn with_locals(
    task: NonNull<Header>,
    call: impl FnOnce(&'static VTable) -> Poll<End>,
) -> Poll<End> {
    // SAFETY: R1.
    let (header, extra) = unsafe { (task.as_ref(), extra(task)) };
    let plain = header.vtable.plain.expect("the wrapped table has it");
    let locals = &extra.get().expect("it has been there from birth").locals;
    // SAFETY: L3: we are the runner, whose one turn this is.
    let polled = locals.with(|kept| local::enter_kept(unsafe { &*kept }, || call(plain)));
    if polled.is_ready() {
        // SAFETY: L3.
        let kept = locals.with_mut(|kept| mem::take(unsafe { &mut *kept }));
        kept.into_iter().for_each(panic::discard_foreign);
    }
    polled
}

/// Drops the future in place and puts the result there. If its destructor panics,
/// that is the result.
#[inline]
fn store<F: Future>(stage: &mut Stage<F>, mut output: Result<F::Output, TaskError>) -> End {
    if let Err(payload) = panic::catch(|| drop_in_place(stage)) {
        if output.as_ref().is_err_and(TaskError::is_panicked) {
            // The poll's own panic is the cause: it stays the result.
            panic::discard(payload);
        } else {
            let unseen = mem::replace(&mut output, Err(TaskError::panicked(payload)));
            panic::contain(|| drop(unseen));
        }
    }
    let end = match &output {
        Ok(_) => End::Value,
        Err(error) if error.is_panicked() => End::Panicked,
        Err(error) if error.is_cancelled() => End::Cancelled,
        Err(_) => End::Refused,
    };
    *stage = Stage::Output(output);
    end
}

/// Empties the stage without moving what is in it (R3), also if that panics.
fn drop_in_place<F: Future>(stage: &mut Stage<F>) {
    struct Empty<'a, F: Future>(&'a mut Stage<F>);

    impl<F: Future> Drop for Empty<'_, F> {
        fn drop(&mut self) {
            // SAFETY: what was there has just been dropped, in place.
            unsafe { std::ptr::write(self.0, Stage::Empty) };
        }
    }

    let guard = Empty(stage);
    // SAFETY: the guard overwrites it, so that it is not dropped twice.
    unsafe { std::ptr::drop_in_place(&raw mut *guard.0) };
}

/// # Safety
///
/// R2; the stage is the result, and `into` points to room for it.
unsafe fn read_output<F: Future>(task: NonNull<Header>, into: *mut ()) {
    // SAFETY: the caller's promise.
    unsafe {
        with_stage::<F, _>(task, |stage| match mem::replace(stage, Stage::Empty) {
            Stage::Output(output) => into.cast::<Result<F::Output, TaskError>>().write(output),
            _ => panic!("a task's result was asked for twice"),
        });
    }
}

/// # Safety
///
/// R2; the stage is the result, or empty.
unsafe fn has_panicked<F: Future>(task: NonNull<Header>) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        with_stage::<F, _>(task, |stage| match stage {
            Stage::Output(Err(error)) => error.is_panicked(),
            _ => false,
        })
    }
}

/// # Safety
///
/// R2; the stage is the result, or empty.
unsafe fn drop_output<F: Future, S: Schedule>(task: NonNull<Header>) {
    // SAFETY: the caller's promise.
    let unseen = unsafe {
        with_stage::<F, _>(task, |stage| match stage {
            Stage::Output(Err(error)) => error.panic_message(),
            _ => None,
        })
    };
    if let Some(message) = unseen {
        // SAFETY: R1.
        let header = unsafe { task.as_ref() };
        // SAFETY: R1.
        let name = unsafe { extra(task) }.name().map(|name| name.clone().into_owned());
        let event = ErrorEvent::TaskPanicked {
            task: header.id(),
            name,
            spawned_at: header.spawned_at(),
            message,
        };
        panic::contain(|| S::report(header.place(), &event));
    }
    // In place: a stage is as large as its future, and such drops are nested.
    // SAFETY: the caller's promise.
    unsafe { with_stage::<F, _>(task, |stage| panic::contain(|| drop_in_place(stage))) };
}

const _: () = assert!(MODELLED || size_of::<Head>() == 72 + size_of::<Record>());
const _: () = assert!(MODELLED || mem::offset_of!(Head, record) == record::OFFSET);
