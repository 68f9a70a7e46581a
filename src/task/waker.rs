//! A task's waker: a counted reference to its header.

use std::{
    mem::ManuallyDrop,
    ptr::NonNull,
    task::{RawWaker, RawWakerVTable, Waker},
};

use super::{Runnable, header::Header, raw};

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

fn header(data: *const ()) -> NonNull<Header> {
    NonNull::new(data.cast_mut().cast()).expect("made from a NonNull")
}

// # Safety of the four functions of the table: `data` is the header of a task, of which
// the waker has a reference; RawWakerVTable's contract says which of them ends it.

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: R1: the waker that is cloned has a reference.
    unsafe { header(data).as_ref() }.state.add_ref();
    RawWaker::new(data, &VTABLE)
}

unsafe fn wake(data: *const ()) {
    let task = header(data);
    // SAFETY: R1: the waker's reference.
    let header = unsafe { task.as_ref() };
    if header.state.wake_by_val() {
        (header.vtable.schedule)(Runnable(task));
    } else {
        // SAFETY: the waker's reference is still ours; it ends here.
        unsafe { raw::drop_refs(task, 1) };
    }
}

unsafe fn wake_by_ref(data: *const ()) {
    let task = header(data);
    // SAFETY: R1: the waker's reference.
    let header = unsafe { task.as_ref() };
    if header.state.wake_by_ref() {
        (header.vtable.schedule)(Runnable(task));
    }
}

unsafe fn drop(data: *const ()) {
    // SAFETY: the waker's reference ends here.
    unsafe { raw::drop_refs(header(data), 1) };
}
