//! What the lock of the pool guards: free nodes, and their way back to the allocator.
//!
//! Nodes are made in blocks, and a block can be freed only as a whole. But nobody counts the free
//! nodes of a block: that would cost each timer something. So free nodes lie in batches, of any
//! blocks, and only those that have been spare for a whole [`PERIOD`] are *sorted* by a worker that
//! has nothing else to do: each goes into a list in its own block. A block whose nodes are all in
//! its list goes back to the allocator. The others stay as they are, sorted, and [`Shelf::take`]
//! comes to them when there are no more batches. So no node is sorted twice unless it was in use in
//! between.
//!
//! The number of spare batches is the lowest number that lay here during the period: a load that
//! comes and goes within the period keeps its nodes. [`KEEPS`] nodes stay in any case; and a block
//! stays while one of its nodes is in use or lies in the stock of a worker, which has fewer than
//! 128: at worst 0.5 MiB for each worker.
//!
//! N1 to N10 are the invariants at the head of `node.rs`.

use std::{
    mem,
    ptr::{self, NonNull},
    time::Duration,
};

use super::{
    node::Node,
    pool::{BATCH, FreeList, Pool},
};
use crate::{
    loom::{
        UnsafeCell,
        alloc::{Layout, alloc, dealloc, handle_alloc_error},
        pick,
    },
    util::shrink,
};

/// Free nodes that stay: 256 KiB.
pub(super) const KEEPS: usize = pick(4096, 0);
/// For how long a node must not have been needed before it is given back.
pub(super) const PERIOD: Duration = Duration::from_secs(1);

/// Nodes that come from the allocator together, and go back together.
pub(super) struct Block {
    nodes: [Node; BATCH],
    /// The pool that made it.
    pool: *const Pool,
    /// Of the lock of that pool (N10).
    sorted: UnsafeCell<Sorted>,
}

/// The free nodes of a block that have been sorted.
struct Sorted {
    nodes: FreeList,
    /// The block's place in [`Shelf::blocks`], if there are any.
    at: usize,
}

/// A block by its address.
#[derive(Clone, Copy)]
pub(super) struct BlockRef(NonNull<Block>);

// SAFETY: nodes are Sync, `sorted` belongs to the holder of the pool's lock (N10), and `pool` is
// only compared.
unsafe impl Send for BlockRef {}

impl BlockRef {
    const LAYOUT: Layout = Layout::new::<Block>();

    /// A block of new nodes, and these.
    pub(super) fn allocate(pool: *const Pool) -> FreeList {
        // SAFETY: a block has a size.
        let place = unsafe { alloc(Self::LAYOUT) }.cast::<Block>();
        let Some(block) = NonNull::new(place) else { handle_alloc_error(Self::LAYOUT) };
        let mut list = FreeList::new();
        // SAFETY: memory for a block, which is filled here. Its nodes are FREE, in no list and known to
        // nobody else.
        unsafe {
            place.write(Block {
                nodes: std::array::from_fn(|_| Node::new(Self(block))),
                pool,
                sorted: UnsafeCell::new(Sorted { nodes: FreeList::new(), at: 0 }),
            });
            for at in (0..BATCH).rev() {
                list.put(&(*place).nodes[at]);
            }
        }
        list
    }

    /// Gives the memory back.
    ///
    /// # Safety
    ///
    /// All of its nodes are FREE, in no list but the block's own, which the pool has let go of, and the
    /// caller is the only one that knows of it (N1).
    pub(super) unsafe fn free(self) {
        let place = self.0.as_ptr();
        // SAFETY: made by `allocate`; nobody has a reference to any part of it any more, by contract.
        unsafe {
            if cfg!(debug_assertions) {
                (*place).nodes.iter().for_each(|node| node.expect_free());
            }
            ptr::drop_in_place(place);
            dealloc(place.cast(), Self::LAYOUT);
        }
    }

    fn is_of(self, pool: *const Pool) -> bool {
        // SAFETY: the caller has one of its nodes, so the block is there (N1).
        ptr::eq(unsafe { (*self.0.as_ptr()).pool }, pool)
    }

    /// # Safety
    ///
    /// The caller has the lock of the block's pool, and a node of the block lies there.
    unsafe fn sorted<R>(self, f: impl FnOnce(&mut Sorted) -> R) -> R {
        // SAFETY: N10, and it is there, by N1.
        unsafe { (*self.0.as_ptr()).sorted.with_mut(|sorted| f(&mut *sorted)) }
    }
}

/// What a worker without anything else to do may do for the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trim {
    /// Nothing.
    Nothing,
    /// It should come again after this time.
    Later(Duration),
    /// It has done something, and should come again when it has looked for work.
    Again,
}

/// Free nodes, most of them in whole batches.
pub(super) struct Shelf {
    /// The first node of the top batch; from there to those below by `next_message`.
    batches: Option<&'static Node>,
    /// How many batches.
    count: usize,
    /// Fewer than a batch.
    loose: FreeList,
    /// The blocks with sorted nodes, not all of them.
    blocks: Vec<BlockRef>,
    /// How many nodes are sorted.
    sorted: usize,
    /// Nodes of other pools, which only those may sort: a forked child has some of its parent's.
    strangers: FreeList,
    /// The lowest count of batches in this period.
    least: usize,
    /// When the period began.
    since: u64,
    /// How many batches are yet to be sorted, by what the last period has shown.
    spare: usize,
    /// The nodes that this pool has made and not freed.
    pub(super) exist: usize,
}

impl Shelf {
    pub(super) const fn new() -> Self {
        Self {
            batches: None,
            count: 0,
            loose: FreeList::new(),
            blocks: Vec::new(),
            sorted: 0,
            strangers: FreeList::new(),
            least: 0,
            since: 0,
            spare: 0,
            exist: 0,
        }
    }

    /// How many free nodes there are.
    pub(super) fn free(&self) -> usize {
        self.count * BATCH + self.loose.len() + self.sorted + self.strangers.len()
    }

    /// Whether there are batches to sort, and so much that a block may go.
    pub(super) fn has_surplus(&self) -> bool {
        self.count > 0 && self.free() >= KEEPS + BATCH
    }

    /// A list of up to [`BATCH`] nodes, with none if there are none.
    pub(super) fn take(&mut self) -> FreeList {
        if let Some(batch) = self.take_batch() {
            return batch;
        }
        let mut list = mem::take(&mut self.loose);
        if list.len() == 0 {
            self.take_sorted(&mut list);
        }
        list
    }

    fn take_batch(&mut self) -> Option<FreeList> {
        let first = self.batches?;
        self.batches = first.batch_below();
        self.count -= 1;
        self.least = self.least.min(self.count);
        Some(FreeList::of_batch(first))
    }

    /// Fills a list up with what is sorted, or of another pool.
    #[cold]
    fn take_sorted(&mut self, list: &mut FreeList) {
        while list.len() < BATCH
            && let Some(block) = self.blocks.last()
        {
            // SAFETY: the pool's lock is held, and nodes of this block lie here.
            let (node, left) =
                unsafe { block.sorted(|sorted| (sorted.nodes.take(), sorted.nodes.len())) };
            // SAFETY: it was in that list, so it is FREE, and no longer is.
            unsafe { list.put(node.expect("a block in the list has sorted nodes")) };
            self.sorted -= 1;
            if left == 0 {
                self.blocks.pop();
            }
        }
        if self.blocks.is_empty() {
            shrink::stack(&mut self.blocks);
        }
        while list.len() < BATCH
            && let Some(node) = self.strangers.take()
        {
            // SAFETY: as above.
            unsafe { list.put(node) };
        }
    }

    pub(super) fn put_batch(&mut self, batch: FreeList) {
        let first = batch.into_batch();
        first.set_batch_below(self.batches.replace(first));
        self.count += 1;
    }

    /// # Safety
    ///
    /// As for [`FreeList::put`].
    pub(super) unsafe fn put(&mut self, node: &'static Node) {
        // SAFETY: by this function's contract.
        unsafe { self.loose.put(node) };
        if self.loose.len() == BATCH {
            let batch = mem::take(&mut self.loose);
            self.put_batch(batch);
        }
    }

    /// Whether something is to be [sorted](Self::sort) at this time.
    pub(super) fn look(&mut self, now: u64) -> Trim {
        if self.spare > 0 {
            return Trim::Again;
        }
        let age = Duration::from_nanos(now.saturating_sub(self.since));
        if let Some(rest) = PERIOD.checked_sub(age).filter(|rest| !rest.is_zero()) {
            return Trim::Later(rest);
        }
        self.spare = self.least;
        (self.since, self.least) = (now, self.count);
        if self.spare > 0 { Trim::Again } else { Trim::Later(PERIOD) }
    }

    /// All batches that lie here now are spare.
    pub(super) fn spare_all(&mut self) {
        self.spare = self.count;
    }

    /// Sorts a batch that is spare. What blocks are free then go into `whole`, and are the caller's. `false`: there
    /// was nothing to do.
    pub(super) fn sort(&mut self, pool: *const Pool, whole: &mut Vec<BlockRef>) -> bool {
        let is_due = self.spare > 0 && self.has_surplus();
        let Some(mut batch) = is_due.then(|| self.take_batch()).flatten() else {
            self.spare = 0;
            return false;
        };
        self.spare -= 1;
        while let Some(node) = batch.take() {
            // SAFETY: it was in that list, so it is FREE, and this shelf's (N2).
            unsafe { self.file(node, pool, whole) };
        }
        true
    }

    /// # Safety
    ///
    /// As for [`FreeList::put`].
    unsafe fn file(&mut self, node: &'static Node, pool: *const Pool, whole: &mut Vec<BlockRef>) {
        // SAFETY: the caller hands it over (N2).
        let block = unsafe { node.home(|home| home.block) };
        if !block.is_of(pool) {
            // SAFETY: by contract.
            return unsafe { self.strangers.put(node) };
        }
        let next = self.blocks.len();
        // SAFETY: the lock of its pool is held (N10), and by contract.
        let (at, filed) = unsafe {
            block.sorted(|sorted| {
                sorted.nodes.put(node);
                if sorted.nodes.len() == 1 {
                    sorted.at = next;
                }
                (sorted.at, sorted.nodes.len())
            })
        };
        self.sorted += 1;
        if filed == 1 {
            self.blocks.push(block);
        }
        if filed == BATCH {
            // SAFETY: it has this place since its first node was sorted.
            unsafe { self.take_out(block, at, whole) };
        }
    }

    /// Takes a block out that has all its nodes.
    ///
    /// # Safety
    ///
    /// It is there.
    unsafe fn take_out(&mut self, block: BlockRef, at: usize, whole: &mut Vec<BlockRef>) {
        self.blocks.swap_remove(at);
        if let Some(moved) = self.blocks.get(at) {
            // SAFETY: the pool's lock is held, and nodes of that block lie here.
            unsafe { moved.sorted(|sorted| sorted.at = at) };
        }
        self.sorted -= BATCH;
        if self.free() >= KEEPS {
            self.exist -= BATCH;
            whole.push(block);
        } else {
            // SAFETY: as above.
            let nodes = unsafe { block.sorted(|sorted| mem::take(&mut sorted.nodes)) };
            self.put_batch(nodes);
        }
    }
}
