//! What stands in for memory, locks, queues and the kernel in a model.
//!
//! Each is at least as weak as the real one, and looks for more mistakes.

use std::time::Duration;

use loom::sync as checked;

/// Loom's cell; its end counts as an exclusive access, so that freeing what holds it
/// must come after every use.
#[derive(Debug)]
pub(crate) struct UnsafeCell<T: ?Sized>(loom::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::cell::UnsafeCell::new(value))
    }

    pub(crate) fn into_inner(self) -> T {
        // SAFETY: the original is forgotten, so that the value is there once; loom has
        // seen that nobody else accesses it.
        let value = self.0.with_mut(|value| unsafe { value.read() });
        std::mem::forget(self);
        value
    }
}

impl<T: ?Sized> UnsafeCell<T> {
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        self.0.with(f)
    }

    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        self.0.with_mut(f)
    }
}

impl<T: ?Sized> Drop for UnsafeCell<T> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.0.with_mut(|_| ());
        }
    }
}

/// Loom's atomics, whose loads are ordered among each other as well.
///
/// Loom 0.7 remembers the last access to each atomic only. When thread 1 has loaded, and thread 2
/// then loads and stores, thread 2's load hides that of thread 1: that thread 1 might see the store
/// is not explored (loom's issues 166 and 392). A condition variable on which nobody waits makes no
/// order between threads, but has loom try both orders of the two accesses.
pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::{Ordering, fence};
    use loom::sync::{Condvar, atomic as checked};

    macro_rules! atomic {
        ($name:ident $(<$param:ident>)?, $value:ty) => {
            pub(crate) struct $name $(<$param>)? {
                value: checked::$name $(<$param>)?,
                loads: Condvar,
            }

            #[allow(dead_code, reason = "the same for all types")]
            impl $(<$param>)? $name $(<$param>)? {
                pub(crate) fn new(value: $value) -> Self {
                    Self { value: checked::$name::new(value), loads: Condvar::new() }
                }

                pub(crate) fn load(&self, order: Ordering) -> $value {
                    self.loads.notify_one();
                    self.value.load(order)
                }

                pub(crate) fn fetch_update(
                    &self,
                    set: Ordering,
                    fetch: Ordering,
                    mut edge: impl FnMut($value) -> Option<$value>,
                ) -> Result<$value, $value> {
                    let mut seen = self.load(fetch);
                    while let Some(next) = edge(seen) {
                        match self.value.compare_exchange(seen, next, set, fetch) {
                            Ok(seen) => return Ok(seen),
                            Err(now) => seen = now,
                        }
                    }
                    Err(seen)
                }
            }

            impl $(<$param>)? std::ops::Deref for $name $(<$param>)? {
                type Target = checked::$name $(<$param>)?;

                fn deref(&self) -> &Self::Target {
                    &self.value
                }
            }

            impl $(<$param>)? std::fmt::Debug for $name $(<$param>)? {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    self.value.fmt(f)
                }
            }
        };
    }

    atomic!(AtomicBool, bool);
    atomic!(AtomicI32, i32);
    atomic!(AtomicU8, u8);
    atomic!(AtomicU32, u32);
    atomic!(AtomicU64, u64);
    atomic!(AtomicUsize, usize);
    atomic!(AtomicPtr<T>, *mut T);

    impl Default for AtomicU64 {
        fn default() -> Self {
            Self::new(0)
        }
    }
}

/// Loom's lock in the shape of `parking_lot`'s.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(checked::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(checked::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> checked::MutexGuard<'_, T> {
        self.0.lock().expect("nobody panics with the lock held")
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().expect("nobody panics with the lock held")
    }

    /// As `SpinLock::with_exclusive`, and sees whether somebody has the lock.
    ///
    /// # Safety
    ///
    /// As there.
    pub(crate) unsafe fn with_exclusive<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.0.try_lock().expect("nobody else comes to the lock"))
    }
}

/// A time that no model waits for: a wait for so long only ends by a wake-up. Any shorter one may
/// end at once, by itself: then the model has the orders in which it is over before the wake-up
/// comes, and those in which it is not.
const FOR_EVER: Duration = Duration::from_secs(3600);

impl<T> Mutex<T> {
    pub(crate) fn wait_for<'a>(
        &'a self,
        guard: checked::MutexGuard<'a, T>,
        condvar: &Condvar,
        limit: Duration,
    ) -> (checked::MutexGuard<'a, T>, bool) {
        if limit < FOR_EVER {
            drop(guard);
            return (self.lock(), true);
        }
        (condvar.0.wait(guard).expect("nobody panics with the lock held"), false)
    }
}

pub(crate) type WaitGuard<'a, T> = checked::MutexGuard<'a, T>;

/// Loom's condition variable.
#[derive(Debug, Default)]
pub(crate) struct Condvar(checked::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self(checked::Condvar::new())
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Loom's thread-locals know no `const` initializer.
macro_rules! checked_local {
    ($(#[$attr:meta])* static $name:ident: $type:ty = const $init:block $(;)?) => {
        loom::thread_local! { $(#[$attr])* static $name: $type = $init }
    };
}
pub(crate) use checked_local as thread_local;

/// One that the checker counts.
pub(crate) struct Tracked(#[expect(dead_code, reason = "its end counts")] loom::alloc::Track<()>);

impl Tracked {
    pub(crate) fn new() -> Self {
        Self(loom::alloc::Track::new(()))
    }
}

/// Memory that finds leaks, double frees and uses after the free.
pub(crate) mod alloc {
    use std::{
        cell::RefCell,
        collections::{HashMap, VecDeque},
        mem::ManuallyDrop,
    };

    use loom::alloc::Track;
    pub(crate) use std::alloc::{Layout, handle_alloc_error};

    /// Freed blocks that are kept, so that none is soon in use again.
    const KEPT: usize = 64;
    /// What a freed block is filled with: no checked type survives that.
    const POISON: u8 = 0xdb;

    #[derive(Default)]
    struct Heap {
        /// If one is left, loom reports the leak. A model that fails leaves them behind,
        /// and outside of it they can not be dropped.
        live: HashMap<usize, ManuallyDrop<Track<()>>>,
        freed: VecDeque<(*mut u8, Layout)>,
    }

    // Loom's threads are coroutines of one system thread: this is one heap for all.
    std::thread_local! {
        static HEAP: RefCell<Heap> = RefCell::default();
    }

    /// # Safety
    ///
    /// As `std::alloc::alloc`.
    pub(crate) unsafe fn alloc(layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let block = unsafe { std::alloc::alloc(layout) };
        let track = ManuallyDrop::new(Track::new(()));
        HEAP.with_borrow_mut(|heap| heap.live.insert(block as usize, track));
        block
    }

    /// # Safety
    ///
    /// As `std::alloc::dealloc`; freed twice, it says so.
    pub(crate) unsafe fn dealloc(block: *mut u8, layout: Layout) {
        let track = HEAP.with_borrow_mut(|heap| heap.live.remove(&(block as usize)));
        drop(ManuallyDrop::into_inner(track.expect("a block was freed twice")));
        // SAFETY: the caller gives up this block of this size.
        unsafe { block.write_bytes(POISON, layout.size()) };
        let oldest = HEAP.with_borrow_mut(|heap| {
            heap.freed.push_back((block, layout));
            (heap.freed.len() > KEPT).then(|| heap.freed.pop_front())
        });
        if let Some((block, layout)) = oldest.flatten() {
            // SAFETY: it was freed with this layout, and is ours since.
            unsafe { std::alloc::dealloc(block, layout) };
        }
    }
}

/// crossbeam's deque can not be modelled: a locked queue of its interface. Its length is an atomic
/// of its own as crossbeam's ends are, so that reading it gives no order for free.
pub(crate) mod deque {
    use std::collections::VecDeque;

    use loom::sync::Arc;

    use super::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    };

    pub(crate) enum Steal<T> {
        Empty,
        Success(T),
        #[allow(dead_code, reason = "part of the interface; a locked queue never asks for it")]
        Retry,
    }

    struct Queue<T> {
        items: Mutex<VecDeque<T>>,
        len: AtomicUsize,
    }

    impl<T> Queue<T> {
        /// Changes the items and then publishes their number.
        fn edit<R>(&self, edit: impl FnOnce(&mut VecDeque<T>) -> R) -> R {
            let mut items = self.items.lock();
            let before = items.len();
            let result = edit(&mut items);
            if items.len() != before {
                self.len.store(items.len(), Ordering::Release);
            }
            result
        }

        fn len(&self) -> usize {
            self.len.load(Ordering::Acquire)
        }
    }

    pub(crate) struct Worker<T>(Arc<Queue<T>>);

    pub(crate) struct Stealer<T>(Arc<Queue<T>>);

    impl<T> Worker<T> {
        pub(crate) fn new_fifo() -> Self {
            let items = Mutex::new(VecDeque::new());
            Self(Arc::new(Queue { items, len: AtomicUsize::new(0) }))
        }

        pub(crate) fn stealer(&self) -> Stealer<T> {
            Stealer(self.0.clone())
        }

        pub(crate) fn push(&self, item: T) {
            self.0.edit(|items| items.push_back(item));
        }

        pub(crate) fn pop(&self) -> Option<T> {
            self.0.edit(VecDeque::pop_front)
        }

        pub(crate) fn len(&self) -> usize {
            self.0.len()
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.len() == 0
        }
    }

    impl<T> Stealer<T> {
        pub(crate) fn len(&self) -> usize {
            self.0.len()
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.len() == 0
        }

        pub(crate) fn steal_batch(&self, dest: &Worker<T>) -> Steal<()> {
            if self.is_empty() {
                return Steal::Empty;
            }
            let mut taken = self.0.edit(|items| {
                let half = items.len().div_ceil(2);
                items.drain(..half).collect::<VecDeque<_>>()
            });
            if taken.is_empty() {
                return Steal::Empty;
            }
            dest.0.edit(|items| items.append(&mut taken));
            Steal::Success(())
        }
    }
}

/// The kernel's part in a doorbell: a few numbered bells in place of eventfds.
pub(crate) mod eventfd {
    use std::{os::fd::RawFd, time::Duration};

    use loom::{
        cell::UnsafeCell,
        sync::{Condvar, Mutex},
        thread,
    };

    const BELLS: usize = 3;

    struct Bell {
        open: UnsafeCell<bool>,
        state: Mutex<State>,
        heard: Condvar,
    }

    #[derive(Default)]
    struct State {
        /// Since the last sleep.
        rung: bool,
        /// Ever.
        rings: usize,
    }

    loom::lazy_static! {
        static ref TABLE: [Bell; BELLS] = std::array::from_fn(|_| Bell {
            open: UnsafeCell::new(false),
            state: Mutex::default(),
            heard: Condvar::new(),
        });
    }

    fn bell(fd: RawFd) -> &'static Bell {
        let fd = usize::try_from(fd).expect("a doorbell without a descriptor");
        &TABLE[fd]
    }

    /// The kernel gives out the number `fd`.
    pub(crate) fn open(fd: RawFd) {
        bell(fd).open.with_mut(|open| {
            // SAFETY: loom has seen that nobody else has it.
            let was = unsafe { std::mem::replace(&mut *open, true) };
            assert!(!was, "the number is in use");
        });
    }

    pub(crate) unsafe fn ring(fd: RawFd) {
        let bell = bell(fd);
        bell.open.with(|open| {
            // SAFETY: loom has seen that nobody opens or closes it.
            assert!(unsafe { *open }, "a ring at a closed descriptor");
            let mut state = bell.state.lock().unwrap();
            state.rung = true;
            state.rings += 1;
            bell.heard.notify_all();
        });
    }

    /// Ends a sleep, as the kernel does when an operation completes.
    pub(crate) fn nudge(fd: RawFd) {
        let bell = bell(fd);
        bell.state.lock().unwrap().rung = true;
        bell.heard.notify_all();
    }

    /// # Safety
    ///
    /// The descriptor is the caller's; closed twice, it says so.
    pub(crate) unsafe fn close(fd: RawFd) {
        bell(fd).open.with_mut(|open| {
            // SAFETY: as in `open`.
            let was = unsafe { std::mem::replace(&mut *open, false) };
            assert!(was, "closed twice");
        });
    }

    /// Sleeps until the bell has been rung since the last sleep.
    pub(crate) fn wait(fd: RawFd) {
        let bell = bell(fd);
        bell.open.with(|open| {
            // SAFETY: as in `ring`.
            assert!(unsafe { *open }, "asleep at a closed descriptor");
        });
        let mut state = bell.state.lock().unwrap();
        while !std::mem::take(&mut state.rung) {
            state = bell.heard.wait(state).unwrap();
        }
    }

    /// The sleeps of a patrol are shorter, and naps are not.
    const SHORT: Duration = Duration::from_millis(100);

    /// A worker's sleep at its doorbell.
    pub(crate) struct Sleeper {
        fd: RawFd,
        patient: bool,
    }

    impl Sleeper {
        /// For a patient sleeper, a sleep that would end by itself has no end: a worker then wakes
        /// up by a ring alone. For another sleeper a [short](SHORT) sleep ends at once.
        pub(crate) fn new(fd: RawFd, patient: bool) -> Self {
            Self { fd, patient }
        }

        pub(crate) fn sleep(&self, timeout: Option<Duration>) {
            match timeout {
                Some(Duration::ZERO) => bell(self.fd).state.lock().unwrap().rung = false,
                Some(timeout) if !self.patient && timeout < SHORT => thread::yield_now(),
                _ => wait(self.fd),
            }
        }
    }

    /// How often it has been rung.
    pub(crate) fn rings(fd: RawFd) -> usize {
        bell(fd).state.lock().unwrap().rings
    }
}

// Of one model, whose threads are coroutines of one system thread; of no account to loom.
std::thread_local! {
    static BATCH: std::cell::Cell<usize> = const { std::cell::Cell::new(1) };
    static TIME: std::cell::Cell<u64> = const { std::cell::Cell::new(FIRST_TIME) };
}

/// What the clock shows until a model sets it: long after 0, which stands for a time long ago.
const FIRST_TIME: u64 = 1_000_000_000_000;

/// The time of a model, which stands still unless the model [sets](set_model_time) it.
pub(crate) fn model_time() -> Option<u64> {
    Some(TIME.get())
}

/// Sets the time to so many ns after the beginning.
pub(crate) fn set_model_time(nanos: u64) {
    TIME.set(FIRST_TIME + nanos);
}

/// What a model has [asked for](set_batch); one, unless it did.
pub(crate) fn batch(room: usize) -> usize {
    BATCH.get().min(room)
}

/// Has batches of this model take as many.
pub(crate) fn set_batch(size: usize) {
    BATCH.set(size);
}
