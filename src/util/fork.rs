//! Telling a forked child from its parent, at the price of a load.
//!
//! A child shares descriptors with its parent, its rings are not even mapped, and it has none of
//! its threads: it must not touch the descriptors, and not wait for the threads (S9). The number of
//! the process lies on a page that the kernel wipes in a child (`MADV_WIPEONFORK`, madvise(2)), so
//! that no call has to ask for the process's number.

use std::{
    io,
    os::fd::AsFd,
    ptr::{self, NonNull},
};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

use crate::loom::global::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// The number of a process among its forebears: those that were forked from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generation(u64);

/// The last number given; a child inherits it.
static LAST: AtomicU64 = AtomicU64::new(0);

/// How often this process, or a forebear, has been forked by fork(3), since the first use of this
/// module. (A child that only calls exec(3), as `std::process` makes it, does not count: all
/// descriptors of this crate close there.)
static FORKS: AtomicU32 = AtomicU32::new(0);

/// The count of forks: what was made at another count may be shared with a child.
#[inline]
pub(crate) fn forks() -> u32 {
    // Relaxed: a thread that forks has seen the things that it shares with the child: they came
    // before.
    FORKS.load(Ordering::Relaxed)
}

/// Called by fork(3), before it forks, and in the parent after it: a socket that another thread
/// makes in between, which the child may have or not, counts as shared.
extern "C" fn count_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// This process's number.
#[inline]
pub(crate) fn generation() -> Generation {
    let page = page();
    // Relaxed: it changes only where there is one thread, in a child after its birth.
    match page.load(Ordering::Relaxed) {
        0 => begin(page),
        generation => Generation(generation),
    }
}

/// Ends a process that was forked from the process `born` in the middle of a task: what it
/// would go on with is its parent's.
#[inline]
pub(crate) fn expect_parent(born: Generation) {
    if generation() != born {
        end();
    }
}

/// A process, for a check after every poll: a load and a comparison.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Native {
    page: &'static AtomicU64,
    born: Generation,
}

impl Native {
    /// Of this process.
    pub(crate) fn new() -> Self {
        Self { page: page(), born: generation() }
    }

    /// [`expect_parent`].
    #[inline]
    pub(crate) fn expect_parent(&self) {
        // Relaxed: as in `generation`. Nobody is born in 0.
        if self.page.load(Ordering::Relaxed) != self.born.0 {
            end();
        }
    }
}

/// No panic: the hook is the parent's, and so may be the thread that holds a lock.
#[cold]
fn end() -> ! {
    const WHY: &str = "ringloop: this process was forked by a task or a blocking job of a \
        runtime, and cannot go on with what is its parent's; fork from a thread that runs \
        neither, or call exec\n";
    let _ = rustix::io::write(io::stderr().as_fd(), WHY.as_bytes());
    std::process::abort();
}

/// The process that makes use of something. Its forked children must not.
#[derive(Debug)]
pub(crate) struct Owner(AtomicU32);

impl Owner {
    pub(crate) const fn nobody() -> Self {
        Self(AtomicU32::new(0))
    }

    /// This process makes use of it.
    pub(crate) fn claim(&self) {
        // Relaxed: in a child, everything came before the fork.
        self.0.store(generation().short(), Ordering::Relaxed);
    }

    /// Whether it is this process that makes use of it.
    pub(crate) fn is_this_process(&self) -> bool {
        // Relaxed: as above.
        self.0.load(Ordering::Relaxed) == generation().short()
    }

    /// An error in a forked child of the owner.
    #[inline]
    pub(crate) fn check(&self) -> io::Result<()> {
        // Relaxed: as above.
        match self.0.load(Ordering::Relaxed) {
            0 => Ok(()),
            owner if owner == generation().short() => Ok(()),
            _ => Err(inherited()),
        }
    }
}

/// A value for the whole process, of which a forked child makes its own.
///
/// What a child inherits may be a lock that is held by a thread which it has not got, or a
/// value that such a thread was changing. For the same reason nobody waits here for another thread:
/// several may make a value, and one of them stays. That of the parent is not dropped.
pub(crate) struct PerProcess<T: 'static>(AtomicPtr<Born<T>>);

struct Born<T> {
    process: Generation,
    value: T,
}

// SAFETY: it gives out `&'static T` to all threads, of a value that one of them has made.
unsafe impl<T: Send + Sync> Sync for PerProcess<T> {}

impl<T: 'static> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// This process's value, if it has one.
    #[inline]
    pub(crate) fn peek(&self) -> Option<&'static T> {
        // Acquire: pairs with the CAS in `make`.
        let born = NonNull::new(self.0.load(Ordering::Acquire))?;
        // SAFETY: `make` leaked it.
        let born = unsafe { born.as_ref() };
        (born.process == generation()).then_some(&born.value)
    }

    /// This process's value, made by `make` if it has none.
    #[inline]
    pub(crate) fn get(&self, make: impl FnOnce() -> T) -> &'static T {
        match self.peek() {
            Some(value) => value,
            None => self.make(make),
        }
    }

    #[cold]
    fn make(&self, make: impl FnOnce() -> T) -> &'static T {
        let old = self.0.load(Ordering::Acquire);
        if let Some(value) = self.peek() {
            // Another thread's, since the caller looked.
            return value;
        }
        let new = Box::into_raw(Box::new(Born { process: generation(), value: make() }));
        // AcqRel: publishes the value, or sees another thread's.
        match self.0.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: just leaked.
            Ok(_) => unsafe { &(*new).value },
            Err(other) => {
                // SAFETY: nobody has seen it.
                drop(unsafe { Box::from_raw(new) });
                // SAFETY: another thread of this process has leaked it: in a child, the parent's are
                // not there to do so.
                unsafe { &(*other).value }
            }
        }
    }
}

impl Generation {
    /// There are never so many.
    fn short(self) -> u32 {
        self.0 as u32
    }
}

#[cold]
fn inherited() -> io::Error {
    io::Error::other(
        "a runtime of the parent has waited for this descriptor before this process was forked: \
         make another socket of a copy of it (as_fd, try_clone_to_owned, from_std)",
    )
}

/// The error of a call for something that is the parent's.
#[cold]
pub(crate) fn error() -> io::Error {
    io::Error::other("this process was forked from the runtime's: build another one here")
}

#[cold]
fn begin(page: &AtomicU64) -> Generation {
    // Taken before it is shown: a child that is forked in between takes the next.
    let next = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    match page.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => Generation(next),
        Err(generation) => Generation(generation),
    }
}

/// Not by a `OnceLock`: a child that is forked while another thread fills it waits for ever.
#[inline]
fn page() -> &'static AtomicU64 {
    // Acquire: pairs with the CAS in `map_page`.
    match NonNull::new(PAGE.load(Ordering::Acquire)) {
        // SAFETY: `map_page` stored a `&'static`.
        Some(page) => unsafe { page.as_ref() },
        None => map_page(),
    }
}

static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

#[cold]
fn map_page() -> &'static AtomicU64 {
    let page = wiped_page().unwrap_or(&FALLBACK);
    let new = ptr::from_ref(page).cast_mut();
    // AcqRel: publishes the page, or sees another thread's; then ours stays mapped, unused.
    match PAGE.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {
            // SAFETY: the handler touches nothing but an atomic. Refused for lack of memory, forks
            // go unnoticed.
            unsafe { libc::pthread_atfork(Some(count_fork), Some(count_fork), None) };
            page
        }
        // SAFETY: as in `page`; it is not null.
        Err(other) => unsafe { &*other },
    }
}

/// Where the page cannot be had, a child goes unnoticed.
static FALLBACK: AtomicU64 = AtomicU64::new(0);

fn wiped_page() -> Option<&'static AtomicU64> {
    let len = size_of::<AtomicU64>();
    // SAFETY: a new mapping, which is never unmapped; zeroes are a valid `AtomicU64`.
    unsafe {
        let map = mmap_anonymous(
            ptr::null_mut(),
            len,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE,
        );
        let page = NonNull::new(map.ok()?)?;
        madvise(page.as_ptr(), len, Advice::LinuxWipeOnFork).ok()?;
        Some(page.cast::<AtomicU64>().as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_of_another_process_is_not_used() {
        // Goal: what a child inherits is left alone; method: a value that bears the mark of a process
        // that is not this one.
        static VALUE: PerProcess<u32> = PerProcess::new();
        let process = Generation(u64::MAX);
        let inherited = Box::leak(Box::new(Born { process, value: 1 }));
        VALUE.0.store(inherited, Ordering::Release);
        assert_eq!(VALUE.peek(), None);
        assert_eq!(VALUE.get(|| 2), &2);
        assert_eq!(VALUE.get(|| 3), &2);
        assert_eq!(inherited.value, 1);
    }
}
