//! A task's waker: a counted reference to its header.
//!
//! The first one that is cloned while the task is polled, by its runner's thread, has the runner's
//! reference; if one is dropped there in the same poll, the runner has it again. For the count it
//! does not matter which of them has it. What the runner needs to know is in `current.lent`.

use std::{
    mem::ManuallyDrop,
    ptr::NonNull,
    task::{RawWaker, RawWakerVTable, Waker},
};

use super::{Runnable, header::Header, raw};
use crate::util::{current, panic};

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop);

/// A waker for one poll, without a reference of its own.
///
/// # Safety
///
/// The caller's reference outlives it.
#[inline]
pub(super) unsafe fn borrow(task: NonNull<Header>) -> ManuallyDrop<Waker> {
    // SAFETY: the table below keeps RawWaker's contract: counted, from any thread.
    ManuallyDrop::new(unsafe { Waker::new(task.as_ptr().cast_const().cast(), &VTABLE) })
}

/// Whether `waker` wakes the task with this header.
#[inline]
pub(super) fn is_of(waker: &Waker, task: *const ()) -> bool {
    waker.data() == task && std::ptr::eq(waker.vtable(), &VTABLE)
}

/// Whether a waker is a task's. To wake by that of somebody else is to run foreign code.
#[inline]
pub(crate) fn is_tasks(waker: &Waker) -> bool {
    std::ptr::eq(waker.vtable(), &VTABLE)
}

/// Wakes by a waker that may be anybody's: its panic stays its own (S8). If it is a task's, and the
/// task has become runnable, the caller is to queue it.
#[inline]
pub(crate) fn wake_for(waker: Waker) -> Option<Runnable> {
    if !is_tasks(&waker) {
        panic::contain(|| waker.wake());
        return None;
    }
    let task = header(ManuallyDrop::new(waker).data());
    // SAFETY: the waker's reference is ours, for the queue or to give up.
    unsafe { take_woken(task) }
}

/// # Safety
///
/// R1: the caller has a waker's reference, which is gone.
#[inline]
unsafe fn take_woken(task: NonNull<Header>) -> Option<Runnable> {
    // SAFETY: R1, by the caller.
    if unsafe { task.as_ref() }.state.wake_by_val() {
        // SAFETY: R1, by the caller.
        unsafe { raw::note_ready(task) };
        return Some(Runnable(task));
    }
    // SAFETY: the reference is still ours; it ends here.
    unsafe { raw::drop_refs(task, 1) };
    None
}

fn header(data: *const ()) -> NonNull<Header> {
    NonNull::new(data.cast_mut().cast()).expect("made from a NonNull")
}

// # Safety of the four functions of the table: `data` is the header of a task, of which
// the waker has a reference; RawWakerVTable's contract says which of them ends it.

unsafe fn clone(data: *const ()) -> RawWaker {
    let is_lent =
        current::with(|current| current.task.get() == data && !current.lent.replace(true));
    if !is_lent {
        // SAFETY: R1: the waker that is cloned has a reference.
        unsafe { header(data).as_ref() }.state.add_ref();
    }
    RawWaker::new(data, &VTABLE)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: the waker's reference.
    if let Some(task) = unsafe { take_woken(header(data)) } {
        (task.header().vtable.schedule)(task);
    }
}

unsafe fn wake_by_ref(data: *const ()) {
    let task = header(data);
    // SAFETY: R1: the waker's reference.
    let header = unsafe { task.as_ref() };
    if header.state.wake_by_ref() {
        // SAFETY: R1: the waker's reference.
        unsafe { raw::note_ready(task) };
        (header.vtable.schedule)(Runnable(task));
    }
}

unsafe fn drop(data: *const ()) {
    let is_back =
        current::with(|current| current.task.get() == data && current.lent.replace(false));
    if !is_back {
        // SAFETY: the waker's reference ends here.
        unsafe { raw::drop_refs(header(data), 1) };
    }
}
