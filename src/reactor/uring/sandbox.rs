//! Sandboxes: seccomp filters, some of which end a process for a system call.
//!
//! Such a filter cannot be asked what it does with a call. So a child makes the calls first, if
//! there is a filter at all. Between its birth and its end the child only calls the kernel: its
//! locks and its memory are a copy, taken while other threads may have been using them.

use libc::{__WALL, WIFEXITED, c_long, pid_t};

/// `IORING_REGISTER_ENABLE_RINGS`, `IORING_ENTER_GETEVENTS`.
const ENABLE_RINGS: c_long = 12;
const ENTRIES: c_long = 1;
const GETEVENTS: c_long = 1;
/// An argument that says nothing.
const NONE: c_long = 0;

/// Whether system calls are filtered. See prctl(2), `PR_GET_SECCOMP`.
pub(super) fn is_filtered() -> bool {
    const FILTER: i32 = 2;
    // SAFETY: it has no arguments, and changes nothing.
    unsafe { libc::prctl(libc::PR_GET_SECCOMP) == FILTER }
}

/// Whether a filter ends processes for one of the calls of io_uring. Where a child cannot be had, it
/// may.
pub(super) fn kills() -> bool {
    is_filtered() && !child_survives()
}

fn child_survives() -> bool {
    // As fork(2), but no handlers of pthread_atfork(3) run, and the child's end sends no signal.
    // SAFETY: the child shares nothing with us, and does nothing but calls that need no state.
    let child = unsafe { libc::syscall(libc::SYS_clone, NONE, NONE, NONE, NONE, NONE) };
    match child {
        0 => call_and_exit(),
        1.. => exits(child as pid_t),
        _ => false,
    }
}

/// What the child does. Whether a call is refused, and how, is found out later, in the parent.
fn call_and_exit() -> ! {
    // `struct io_uring_params`, no flags.
    let mut params = [0u32; 30];
    // SAFETY: the kernel writes 120 bytes at most, which is what there is; the other calls have no
    // memory of ours, and a child that has one thread may exit.
    unsafe {
        // Ended by a signal, it is to leave no image of its memory.
        libc::prctl(libc::PR_SET_DUMPABLE, NONE, NONE, NONE, NONE);
        let ring = libc::syscall(libc::SYS_io_uring_setup, ENTRIES, params.as_mut_ptr());
        libc::syscall(libc::SYS_io_uring_register, ring, ENABLE_RINGS, NONE, NONE);
        libc::syscall(libc::SYS_io_uring_enter, ring, NONE, NONE, GETEVENTS, NONE, NONE);
        libc::_exit(0)
    }
}

/// Waits for the end of a child: whether it came to its exit.
fn exits(child: pid_t) -> bool {
    let mut status = 0;
    loop {
        // SAFETY: the kernel writes one number.
        let waited = unsafe { libc::waitpid(child, &raw mut status, __WALL) };
        if waited == child {
            return WIFEXITED(status);
        }
        if std::io::Error::last_os_error().kind() != std::io::ErrorKind::Interrupted {
            // Another thread has waited for it.
            return false;
        }
    }
}
