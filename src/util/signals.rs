//! Signals and the kernel: dispositions, the default that a handler plays, and sending.
//!
//! Every function here may be called in a handler: none allocates, locks or panics.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

use libc::c_int;

/// What becomes of `signal` now: `SIG_DFL`, `SIG_IGN`, or a handler's address.
pub(crate) fn disposition(signal: c_int) -> libc::sighandler_t {
    action(signal).sa_sigaction
}

/// Whether `signal` has its default disposition.
pub(crate) fn is_default(signal: c_int) -> bool {
    disposition(signal) == libc::SIG_DFL
}

fn action(signal: c_int) -> libc::sigaction {
    let mut now = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the kernel writes one `sigaction`; all zero is one as well.
    unsafe {
        libc::sigaction(signal, ptr::null(), now.as_mut_ptr());
        now.assume_init()
    }
}

/// Says what becomes of `signal`. A handler must do only what a signal handler may do.
pub(crate) fn set(signal: c_int, handler: libc::sighandler_t) {
    // SAFETY: all zero is one, with no flags and an empty mask.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler;
    action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
    // SAFETY: it is valid for the call.
    unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
}

/// In the handler of `signal`: does what its default disposition does. That ends the process, or
/// stops it until it is continued, or does nothing. If it returns, the handler stands as before.
///
/// The first process of a container is not ended by a default: then this returns as well.
pub(crate) fn play_default(signal: c_int) {
    let handler = action(signal);
    set(signal, libc::SIG_DFL);
    // SAFETY: the set is written by `sigemptyset` before it is read, and so is `old`, if the mask is
    // changed at all; a handler may make these calls. The mask is this thread's own.
    unsafe {
        libc::raise(signal);
        let mut this_one = MaybeUninit::<libc::sigset_t>::zeroed();
        let mut old = MaybeUninit::<libc::sigset_t>::zeroed();
        libc::sigemptyset(this_one.as_mut_ptr());
        libc::sigaddset(this_one.as_mut_ptr(), signal);
        // Its own signal is blocked while a handler runs: here it takes effect.
        libc::pthread_sigmask(libc::SIG_UNBLOCK, this_one.as_ptr(), old.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, old.as_ptr(), ptr::null_mut());
        libc::sigaction(signal, &raw const handler, ptr::null_mut());
    }
}

/// Whether this thread blocks any signal.
pub(crate) fn any_is_blocked() -> bool {
    let mut blocked = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: the kernel writes one set; zeroed, it is one as well. The second call reads it.
    unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), blocked.as_mut_ptr());
        let blocked = blocked.assume_init();
        (1..=libc::SIGRTMAX()).any(|signal| libc::sigismember(&raw const blocked, signal) == 1)
    }
}

/// Has this thread block no signal.
pub(crate) fn block_none() {
    let mut none = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: `sigemptyset` makes the set that is read then.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
    }
}

/// Whether the kernel throws the statuses of children away.
pub(crate) fn children_are_ignored() -> bool {
    let action = action(libc::SIGCHLD);
    action.sa_sigaction == libc::SIG_IGN || action.sa_flags & libc::SA_NOCLDWAIT != 0
}

/// Sends a signal to the process that a pidfd refers to.
pub(crate) fn send_by_pidfd(pidfd: BorrowedFd<'_>, signal: c_int) -> io::Result<()> {
    let (pidfd, info, flags) = (pidfd.as_raw_fd(), ptr::null::<libc::siginfo_t>(), 0);
    // SAFETY: the descriptor is open, and no memory is involved.
    match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, signal, info, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Calls `f` and leaves errno as it was, for the code that the handler interrupts.
pub(crate) fn keep_errno<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: the thread's own.
    let errno = unsafe { *libc::__errno_location() };
    let result = f();
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
    result
}

/// Ends the process without calling anything at its exit, as a handler may.
pub(crate) fn exit_at_once(status: c_int) -> ! {
    // SAFETY: it takes a number and does not return.
    unsafe { libc::_exit(status) }
}
