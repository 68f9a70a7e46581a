//! Where nodes come from and go to: free lists, the pool, the mailbox.
//!
//! N1 to N10 are the invariants at the head of `node.rs`.

use std::{mem, ptr};

use super::{
    node::Node,
    shelf::{BlockRef, Shelf, Trim},
};
use crate::{
    loom::{
        Mutex,
        atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering},
        const_fn, pick, process_wide,
    },
    util::{fork::PerProcess, prefetch::prefetch},
};

/// How many nodes are allocated, or change between a wheel and the pool, at once.
pub(super) const BATCH: usize = pick(64, 2);
/// Batches that a worker sorts before it looks for work again: some 0.1 ms.
const TRIMS: usize = pick(16, 2);

/// Free nodes, linked through their `next`: neither putting nor taking allocates.
#[derive(Default)]
pub(super) struct FreeList {
    head: Option<&'static Node>,
    len: usize,
}

impl FreeList {
    pub(super) const fn new() -> Self {
        Self { head: None, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// # Safety
    ///
    /// The node is FREE, in no list, and the caller hands it over (N2).
    pub(super) unsafe fn put(&mut self, node: &'static Node) {
        let below = self.head.replace(node);
        // SAFETY: the node was the caller's and is this list's now (N2).
        unsafe { node.home(|home| home.next = below) };
        self.len += 1;
    }

    /// The list of a batch by its first node.
    pub(super) fn of_batch(first: &'static Node) -> Self {
        Self { head: Some(first), len: BATCH }
    }

    /// The first node of a batch.
    pub(super) fn into_batch(self) -> &'static Node {
        debug_assert_eq!(self.len, BATCH);
        self.head.expect("a batch has nodes")
    }

    pub(super) fn take(&mut self) -> Option<&'static Node> {
        let node = self.head?;
        // SAFETY: it lies in this list, which is borrowed mutably (N2).
        self.head = unsafe { node.home(|home| home.next.take()) };
        self.len -= 1;
        if let Some(next) = self.head {
            // The next timer's, mostly; where many are armed it is far away.
            prefetch(next);
        }
        Some(node)
    }
}

/// Free nodes for all workers of the process, most of them in whole batches: a batch changes hands
/// without a look at its nodes, each of which is a cache miss.
pub(super) struct Pool {
    shelf: Mutex<Shelf>,
    /// [`Shelf::has_surplus`], for threads that look without the lock.
    surplus: AtomicBool,
}

process_wide! {
    /// The one pool, apart from those of tests.
    fn process_pool() -> &'static Pool, PerProcess, Pool::new();
}

/// How many nodes the process has.
#[cfg(test)]
pub(crate) fn process_nodes() -> usize {
    process_pool().count().0
}

impl Pool {
    const_fn! {
        pub(super) fn new() -> Self {
            Self { shelf: Mutex::new(Shelf::new()), surplus: AtomicBool::new(false) }
        }
    }

    /// Changes the shelf.
    fn edit<R>(&self, edit: impl FnOnce(&mut Shelf) -> R) -> R {
        let mut shelf = self.shelf.lock();
        let before = shelf.has_surplus();
        let result = edit(&mut shelf);
        let now = shelf.has_surplus();
        if now != before {
            // Relaxed: it is a hint, and a thread that follows it takes the lock.
            self.surplus.store(now, Ordering::Relaxed);
        }
        result
    }

    /// A list of 1 to [`BATCH`] nodes, from the pool or from new memory.
    #[cold]
    pub(super) fn fetch(&self) -> FreeList {
        let list = self.edit(Shelf::take);
        if list.len() > 0 {
            return list;
        }
        let list = BlockRef::allocate(self);
        self.edit(|shelf| shelf.exist += BATCH);
        list
    }

    /// Takes a batch back.
    #[cold]
    pub(super) fn give_batch(&self, batch: FreeList) {
        self.edit(|shelf| shelf.put_batch(batch));
    }

    /// Takes any list back.
    pub(super) fn give_all(&self, mut list: FreeList) {
        self.edit(|shelf| {
            while let Some(node) = list.take() {
                // SAFETY: it was in that list, so it is FREE, and no longer is.
                unsafe { shelf.put(node) };
            }
        });
    }

    /// # Safety
    ///
    /// As for [`FreeList::put`].
    pub(super) unsafe fn put(&self, node: &'static Node) {
        // SAFETY: by this function's contract.
        self.edit(|shelf| unsafe { shelf.put(node) });
    }

    /// Gives back to the allocator some of what has been spare for long; a load if there is
    /// nothing. The lock is held for a batch at a time.
    #[inline]
    pub(super) fn trim(&self, now: u64) -> Trim {
        // Relaxed: a look. A worker that misses the change sees it before it sleeps the next time.
        match self.surplus.load(Ordering::Relaxed) {
            true => self.trim_some(now),
            false => Trim::Nothing,
        }
    }

    #[cold]
    fn trim_some(&self, now: u64) -> Trim {
        let look = self.edit(|shelf| shelf.look(now));
        if look != Trim::Again {
            return look;
        }
        // With room for all that a batch can set free: nothing is allocated under the lock for it.
        let mut whole = Vec::with_capacity(BATCH);
        let mut freed = 0;
        for _ in 0..TRIMS {
            let did = self.edit(|shelf| shelf.sort(self, &mut whole));
            freed += whole.len();
            // SAFETY: taken out of the pool with all their nodes.
            whole.drain(..).for_each(|block: BlockRef| unsafe { block.free() });
            // The last batches may each complete a block by every node.
            if !did || freed >= BATCH {
                break;
            }
        }
        Trim::Again
    }

    /// Takes all free nodes out, for tests to count.
    #[cfg(test)]
    pub(super) fn drain(&self) -> FreeList {
        let mut all = FreeList::new();
        loop {
            let mut list = self.edit(Shelf::take);
            if list.len() == 0 {
                return all;
            }
            while let Some(node) = list.take() {
                // SAFETY: it was in that list, so it is FREE, and no longer is.
                unsafe { all.put(node) };
            }
        }
    }

    /// The same of all that lie here now, for the end of a worker: there may be no other worker for
    /// long.
    pub(super) fn trim_all(&self) {
        // Relaxed: as in `trim`. No time has passed for the second look.
        if self.surplus.load(Ordering::Relaxed) {
            self.edit(Shelf::spare_all);
            while self.trim_some(0) == Trim::Again {}
        }
    }

    /// How many of its nodes exist, and how many of all nodes lie here.
    #[cfg(test)]
    pub(super) fn count(&self) -> (usize, usize) {
        self.edit(|shelf| (shelf.exist, shelf.free()))
    }
}

/// The free nodes of one worker: fewer than two batches, so that a worker at the edge of one
/// does not go to the pool at every timer.
#[derive(Default)]
pub(super) struct Stock {
    /// Less than a batch.
    open: FreeList,
    /// A batch, or nothing.
    full: FreeList,
}

impl Stock {
    /// A free node, by `pool` if there is none here.
    pub(super) fn take(&mut self, pool: &Pool) -> &'static Node {
        if self.open.len() == 0 {
            self.open = match self.full.len() {
                0 => pool.fetch(),
                _ => mem::take(&mut self.full),
            };
        }
        self.open.take().expect("just seen to")
    }

    /// # Safety
    ///
    /// As for [`FreeList::put`].
    pub(super) unsafe fn put(&mut self, node: &'static Node, pool: &Pool) {
        // SAFETY: by this function's contract.
        unsafe { self.open.put(node) };
        if self.open.len() >= BATCH {
            let full = mem::replace(&mut self.full, mem::take(&mut self.open));
            if full.len() > 0 {
                pool.give_batch(full);
            }
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.open.len() + self.full.len()
    }

    /// The worker's end.
    pub(super) fn close(&mut self, pool: &Pool) {
        pool.give_all(mem::take(&mut self.open));
        pool.give_all(mem::take(&mut self.full));
    }
}

/// The way to a worker's timers from other threads: cancelled nodes that wait for
/// their owner to take them out of its wheel, and how many timers are armed.
///
/// It lives in the worker's type-stable block and serves one [`Timers`](super::Timers)
/// after another.
pub(crate) struct Mailbox {
    /// A stack through `next_message`: pushed by any thread, taken whole.
    head: AtomicPtr<Node>,
    /// Whether a `Timers` is open on this mailbox (N7).
    claimed: AtomicBool,
    /// Timers armed, less those that ended or were cancelled by the owner. Written by the holder of
    /// the `Timers`, by load and store.
    armed: AtomicU64,
    /// Timers cancelled by other threads, ever.
    cancelled: AtomicU64,
    pool: &'static Pool,
}

impl Default for Mailbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Mailbox {
    /// An empty mailbox.
    pub(crate) fn new() -> Self {
        Self::with_pool(process_pool())
    }

    /// An empty mailbox whose nodes come from a pool of their own, for a test to count.
    pub(super) fn with_pool(pool: &'static Pool) -> Self {
        Self {
            head: AtomicPtr::new(ptr::null_mut()),
            claimed: AtomicBool::new(false),
            armed: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            pool,
        }
    }

    /// How many timers are armed, exactly when nobody arms or ends one meanwhile.
    /// Any thread may ask; a timer cancelled elsewhere does not count, even if
    /// its owner has not heard of it. One that is cancelled when it is due counts until its
    /// turn comes: its owner has still to deal with it.
    pub(crate) fn armed(&self) -> u64 {
        // A cancel that is seen before its arming makes the balance negative: zero to the reader.
        self.balance().max(0) as u64
    }

    /// The same, and negative if it comes out so: a model sees what is counted off twice.
    pub(crate) fn balance(&self) -> i64 {
        // Relaxed: two figures without a common moment.
        let cancelled = self.cancelled.load(Ordering::Relaxed);
        let armed = self.armed.load(Ordering::Relaxed);
        armed.wrapping_sub(cancelled) as i64
    }

    /// Frees the nodes of its pool, for models. Says how many are not there to be freed.
    #[allow(dead_code, reason = "as it says")]
    pub(crate) fn end_pool(&self) -> usize {
        self.pool.trim_all();
        self.pool.edit(|shelf| shelf.exist)
    }

    /// Adds to the count; for the holder of the `Timers`.
    pub(super) fn count_armed(&self, change: i64) {
        // Relaxed, load and store: one writer at a time, and readers take it as a figure.
        let armed = self.armed.load(Ordering::Relaxed);
        self.armed.store(armed.wrapping_add_signed(change), Ordering::Relaxed);
    }

    pub(super) fn pool(&self) -> &'static Pool {
        self.pool
    }

    /// For a worker that has nothing else to do: gives memory of timers back that was not needed
    /// for long. Any thread may call it.
    #[inline]
    pub(crate) fn trim_pool(&self, now: u64) -> Trim {
        self.pool.trim(now)
    }

    /// Takes the mailbox for a `Timers` (N7).
    pub(super) fn claim(&self) {
        // Acquire: pairs with `unclaim`; what the last owner did to the nodes
        // that are still under way comes before what this one does (N3).
        let taken = self.claimed.swap(true, Ordering::Acquire);
        assert!(!taken, "a mailbox serves one open Timers at a time");
    }

    /// Gives the mailbox up for the next `Timers`.
    pub(super) fn unclaim(&self) {
        // Release: pairs with `claim`.
        self.claimed.store(false, Ordering::Release);
    }

    /// Sends a node to its owner to be freed. The caller has just made it
    /// CANCELLED and taken its waker, and lets go of it.
    pub(super) fn push_cancelled(&self, node: &'static Node) {
        self.cancelled.fetch_add(1, Ordering::Relaxed);
        let message = ptr::from_ref(node).cast_mut();
        let mut below = self.head.load(Ordering::Relaxed);
        loop {
            // Relaxed, like the load: the exchange publishes it.
            node.next_message.store(below, Ordering::Relaxed);
            // Release: pairs with the Acquire in `take_cancelled` (N3).
            match self.head.compare_exchange_weak(
                below,
                message,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(other) => below = other,
            }
        }
    }

    /// Whether there is anything for [`Timers::drain_mailbox`](super::Timers::drain_mailbox).
    pub(crate) fn has_cancelled(&self) -> bool {
        // Relaxed: a look that saves the exchange on nearly every tick. A push
        // that it misses is seen at the next tick.
        !self.head.load(Ordering::Relaxed).is_null()
    }

    /// Takes all nodes out; for the holder of the `Timers`. No ABA, since all leave at once.
    pub(super) fn take_cancelled(&self) -> Cancelled {
        if !self.has_cancelled() {
            return Cancelled(ptr::null_mut());
        }
        // Acquire: pairs with every `push_cancelled` in the stack; those below
        // the top are in the release sequence of the one above.
        Cancelled(self.head.swap(ptr::null_mut(), Ordering::Acquire))
    }
}

/// Nodes taken out of a mailbox.
pub(super) struct Cancelled(*mut Node);

impl Iterator for Cancelled {
    type Item = &'static Node;

    fn next(&mut self) -> Option<&'static Node> {
        // SAFETY: null, or put into the mailbox as a `&'static Node` (N1).
        let node = unsafe { self.0.cast_const().as_ref::<'static>() }?;
        // Read before the node is handed out, as it may be in use again at once.
        self.0 = node.next_message.load(Ordering::Relaxed);
        Some(node)
    }
}
