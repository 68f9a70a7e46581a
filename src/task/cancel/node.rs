//! The tree of scopes and regions, as far as there are regions.

use std::{sync::Arc, task::Waker};

use super::{
    frame::{self, Kind},
    root,
};
use crate::{
    error::{Cause, TaskId},
    loom::{
        Mutex, Tracked,
        atomic::{AtomicU8, Ordering},
    },
    util::panic,
};

/// Somebody asked the scope to end.
const ASKED: u8 = 1;
/// The deadline of the scope has been consumed: it does not come again.
const CONSUMED: u8 = 2;

const SCOPE: u8 = Kind::Scope as u8;
const CATCH: u8 = Kind::Catch as u8;

/// A scope, a catch or a mask.
pub(crate) struct Node {
    /// A [`Kind`]. It changes under the lock of the parent: see [`Link::become_mask`].
    kind: AtomicU8,
    /// For the root of a task: which.
    task: Option<TaskId>,
    /// For scopes other than tasks: `ASKED`, `CONSUMED`.
    request: AtomicU8,
    links: Mutex<Links>,
    _tracked: Tracked,
}

#[derive(Default)]
struct Links {
    children: Children,
    /// For a catch: the cancellation that has reached it.
    delivered: Option<Delivery>,
    /// For a catch: it has the request and was not polled since.
    skipped: bool,
    /// For a catch: the task that polls it. For a mask: a scope that waits for its end. For a
    /// scope: the task that polls it, if others may ask it to end.
    waker: Option<Waker>,
}

/// The children of a node, in the order in which they were linked.
#[derive(Default)]
struct Children {
    /// By their numbers, which ascend. One that has left keeps its place until half of them have.
    list: Vec<(u64, Option<Arc<Node>>)>,
    live: usize,
    next: u64,
}

impl Children {
    fn add(&mut self, node: Arc<Node>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.live += 1;
        self.list.push((number, Some(node)));
        number
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Node>> {
        let at = self.list.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        let node = self.list[at].1.take()?;
        self.live -= 1;
        if self.live * 2 < self.list.len() {
            self.list.retain(|(_, node)| node.is_some());
        }
        Some(node)
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.list.iter().filter_map(|(_, node)| node.as_ref())
    }
}

/// A cancellation that has reached a catch.
#[derive(Clone)]
pub(super) struct Delivery {
    pub(super) by: Arc<Node>,
    pub(super) cause: Cause,
}

impl Node {
    pub(crate) fn new(kind: Kind) -> Arc<Self> {
        Self::make(kind, None, None)
    }

    pub(super) fn of_task(task: TaskId) -> Arc<Self> {
        Self::make(Kind::Scope, Some(task), None)
    }

    /// A catch that is polled by this waker.
    pub(super) fn new_catch(waker: &Waker) -> Arc<Self> {
        Self::make(Kind::Catch, None, Some(waker.clone()))
    }

    pub(super) fn is_of_task(&self, task: TaskId) -> bool {
        self.task == Some(task)
    }

    fn make(kind: Kind, task: Option<TaskId>, waker: Option<Waker>) -> Arc<Self> {
        Arc::new(Self {
            kind: AtomicU8::new(kind as u8),
            task,
            request: AtomicU8::new(0),
            links: Mutex::new(Links { waker, ..Links::default() }),
            _tracked: Tracked::new(),
        })
    }

    fn kind(&self) -> Kind {
        // Relaxed: the lock of the parent orders it, or it is the region's own.
        match self.kind.load(Ordering::Relaxed) {
            SCOPE => Kind::Scope,
            CATCH => Kind::Catch,
            _ => Kind::Mask,
        }
    }

    /// Asks the scope to end, from any thread. Says whether nobody had asked. The caller then
    /// [wakes](Self::wake) it.
    #[must_use]
    pub(crate) fn ask(&self) -> bool {
        // AcqRel: what was written before is seen by the scope that finds the request: `is_asked`.
        self.request.fetch_or(ASKED, Ordering::AcqRel) & ASKED == 0
    }

    /// Wakes the task that polls this scope.
    pub(crate) fn wake(&self) {
        let waker = self.links.lock().waker.take();
        if let Some(waker) = waker {
            panic::contain(|| waker.wake());
        }
    }

    pub(crate) fn is_asked(&self) -> bool {
        // Acquire: pairs with `ask`.
        self.request.load(Ordering::Acquire) & ASKED != 0
    }

    pub(crate) fn is_consumed(&self) -> bool {
        // Relaxed: the scope's own task has written it.
        self.request.load(Ordering::Relaxed) & CONSUMED != 0
    }

    /// The scope has a new deadline.
    pub(crate) fn renew(&self) {
        // Relaxed: as in `is_consumed`.
        self.request.fetch_and(!CONSUMED, Ordering::Relaxed);
    }

    /// Ends the request.
    pub(super) fn consume(&self) -> bool {
        if let Some(task) = self.task {
            return root::consume(task);
        }
        // AcqRel: as `ask`; a request that comes after it is a new one.
        self.request.swap(CONSUMED, Ordering::AcqRel);
        true
    }

    /// Makes the request stand again, if it was taken back.
    pub(super) fn insist(&self) {
        if let Some(task) = self.task {
            root::insist(task);
        } else if self.is_consumed() && self.ask() {
            self.wake();
        }
    }

    /// Leaves the waker by which this node is polled. Nothing is cloned if it is the same.
    pub(crate) fn set_waker(&self, waker: &Waker) {
        let same = |links: &Links| links.waker.as_ref().is_some_and(|old| old.will_wake(waker));
        if same(&self.links.lock()) {
            return;
        }
        // Foreign code runs outside of the lock (S6).
        let new = waker.clone();
        let old = self.links.lock().waker.replace(new);
        panic::discard_foreign(old);
    }

    /// Leaves the waker of a scope that waits for the end of this mask.
    pub(super) fn wait_for_end(&self, waker: &Waker) {
        // As in `set_waker`; but an earlier waker may be that of another scope, which the mask has
        // gone to and which waits for it as well. It leaves its waker again.
        let new = waker.clone();
        let old = self.links.lock().waker.replace(new);
        if let Some(old) = old
            && !old.will_wake(waker)
        {
            panic::contain(|| old.wake());
        }
    }

    /// The catch is polled, and is not skipped any more; returns the cancellation that has reached it.
    pub(super) fn receive(&self) -> Option<Delivery> {
        let mut links = self.links.lock();
        links.skipped = false;
        links.delivered.clone()
    }

    /// Forgets the request that was delivered to it. A scope that waits for the end of this mask looks
    /// again.
    pub(super) fn forget(&self) {
        let mut links = self.links.lock();
        links.skipped = false;
        let delivery = links.delivered.take();
        let waiter = if self.kind() == Kind::Mask { links.waker.take() } else { None };
        drop(links);
        drop(delivery);
        if let Some(waiter) = waiter {
            panic::contain(|| waiter.wake());
        }
    }

    /// Whether a catch that is not skipped or a mask is below.
    pub(super) fn has_below(&self) -> bool {
        self.links.lock().children.iter().any(|child| match child.kind() {
            Kind::Mask => true,
            Kind::Scope => child.has_below(),
            Kind::Catch => child.has_below() || !child.links.lock().skipped,
        })
    }

    /// Lists the frontier: see the module's page. Says whether there is anything that could act.
    pub(super) fn frontier(&self, into: &mut Frontier) -> bool {
        let mut acts = false;
        for child in self.links.lock().children.iter() {
            acts |= match child.kind() {
                Kind::Mask => {
                    into.masks.push(child.clone());
                    true
                }
                Kind::Scope => child.frontier(into),
                Kind::Catch if child.frontier(into) => true,
                Kind::Catch if child.links.lock().skipped => false,
                Kind::Catch => {
                    into.catches.push(child.clone());
                    true
                }
            };
        }
        acts
    }

    /// Calls `each` for every catch that has the request of `scope` and is not skipped.
    fn for_each_receiver(&self, scope: &Arc<Node>, each: &mut impl FnMut(&mut Links)) {
        for child in self.links.lock().children.iter() {
            if child.kind() == Kind::Mask {
                continue;
            }
            child.for_each_receiver(scope, each);
            let mut links = child.links.lock();
            let is_held = links.delivered.as_ref().is_some_and(|held| Arc::ptr_eq(&held.by, scope));
            if is_held && !links.skipped {
                each(&mut links);
            }
        }
    }

    pub(super) fn has_receiver(self: &Arc<Self>) -> bool {
        let mut any = false;
        self.for_each_receiver(self, &mut |_| any = true);
        any
    }

    /// Catches that have the request and were not polled are passed over from now on.
    pub(super) fn skip_receivers(self: &Arc<Self>) {
        self.for_each_receiver(self, &mut |links| links.skipped = true);
    }

    /// Delivers a cancellation to a catch, and wakes the task that polls it.
    pub(super) fn deliver(&self, delivery: Delivery) {
        let mut links = self.links.lock();
        let old = links.delivered.replace(delivery);
        let waker = links.waker.take();
        drop(links);
        drop(old);
        if let Some(waker) = waker {
            panic::contain(|| waker.wake());
        }
    }
}

/// The nodes to which the request is delivered next.
#[derive(Default)]
pub(super) struct Frontier {
    pub(super) catches: Vec<Arc<Node>>,
    pub(super) masks: Vec<Arc<Node>>,
}

/// A node and its place in the tree, which it leaves when this is dropped. One pointer, since every
/// scope has room for one.
pub(super) struct Link(Box<Place>);

struct Place {
    node: Arc<Node>,
    parent: Option<(Arc<Node>, u64)>,
    /// Nothing is left for the drop to do.
    ended: bool,
}

impl Link {
    /// Links a node below what surrounds the caller.
    pub(super) fn new(node: Arc<Node>) -> Self {
        let mut link = Self::unlinked(node);
        link.follow();
        link
    }

    /// A node that is linked when its future is polled.
    pub(super) fn unlinked(node: Arc<Node>) -> Self {
        Self(Box::new(Place { node, parent: None, ended: false }))
    }

    pub(super) fn node(&self) -> &Arc<Node> {
        &self.0.node
    }

    /// Makes the node that surrounds the caller now the parent.
    pub(super) fn follow(&mut self) {
        if frame::is_surrounding(self.0.parent.as_ref().map(|(parent, _)| parent)) {
            return;
        }
        if self.0.parent.is_some() {
            self.unlink();
            self.node().forget();
        }
        self.0.parent = frame::surrounding().map(|parent| {
            let number = parent.links.lock().children.add(self.node().clone());
            (parent, number)
        });
    }

    fn unlink(&mut self) {
        if let Some((parent, number)) = self.0.parent.take() {
            let node = parent.links.lock().children.remove(number);
            drop(node);
        }
    }

    /// Makes a catch with nothing below it a mask, in its place in the tree, without the request that was delivered
    /// to it. `false`: the caller has to make a new node.
    pub(super) fn become_mask(&self) -> bool {
        let Some((parent, _)) = &self.0.parent else { return false };
        let siblings = parent.links.lock();
        let mut links = self.node().links.lock();
        if links.children.live != 0 {
            return false;
        }
        // Relaxed: the lock of the parent publishes it to those that walk the tree.
        self.node().kind.store(Kind::Mask as u8, Ordering::Relaxed);
        links.skipped = false;
        let (delivery, waker) = (links.delivered.take(), links.waker.take());
        drop(links);
        drop(siblings);
        drop(delivery);
        panic::discard_foreign(waker);
        true
    }

    /// Leaves the tree as a region that came to its end in a poll: nobody has to be woken for that.
    pub(super) fn end(mut self) {
        self.unlink();
        self.0.ended = true;
        let clear = |links: &mut Links| (links.delivered.take(), links.waker.take());
        // As a rule nobody else has the node by now, and no lock is needed.
        let (delivery, waker) = match Arc::get_mut(&mut self.0.node) {
            Some(node) => clear(node.links.get_mut()),
            None => clear(&mut self.node().links.lock()),
        };
        drop(delivery);
        panic::discard_foreign(waker);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if self.0.ended {
            return;
        }
        self.unlink();
        // The delivered request refers to the tree, and wakers to tasks: there are no cycles after
        // this.
        let mut links = self.node().links.lock();
        let (delivery, waker) = (links.delivered.take(), links.waker.take());
        drop(links);
        drop(delivery);
        let Some(waker) = waker else { return };
        if self.node().kind() == Kind::Mask {
            // A scope waits for this end, and the thread may be another.
            panic::contain(|| waker.wake());
        } else {
            panic::discard_foreign(waker);
        }
    }
}
