//! Requests to the worker that has a socket's operations in its ring.
//!
//! Only a ring's own thread may submit to it, so a thread that drops a socket elsewhere sends a
//! request. The node is part of the socket: sending allocates nothing and waits for nobody (S7).
//!
//! 1. The sender adds its request to the node's word. The first to do so since the
//!    node was last taken owns the queueing: it gives the mailbox a reference and
//!    pushes the node. Others are done.
//! 2. `fence(SeqCst)`, then it looks whether the owner sleeps, and rings if so.
//! 3. The owner, before it sleeps: says so, `fence(SeqCst)`, then looks whether there is
//!    mail. By the order of the fences either it sees the mail, or the sender sees it
//!    asleep.
//! 4. The owner takes all nodes with one swap. It reads a node's successor *before* it
//!    takes the word: from then on the node may be queued anew.
//! 5. When the owner ends it closes the mailbox, fence, and takes what is left. A sender looks
//!    after its fence whether the mailbox is closed, and then takes what is left as well: no node
//!    stays behind, and none counts as answered. A node is in one mailbox at a time, so it may
//!    carry a request for another home: that request goes there.

use std::{ptr, sync::Arc};

use crate::loom::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering, fence};

/// The place of a node in a mailbox.
#[derive(Debug)]
pub(crate) struct Link<N> {
    /// What is asked for; 0 while the node is not queued.
    requests: AtomicU32,
    next: AtomicPtr<N>,
}

/// What can be sent.
///
/// # Safety
///
/// `link` always returns the same link, which is part of the node.
pub(crate) unsafe trait Node: Sized {
    fn link(&self) -> &Link<Self>;
}

impl<N> Link<N> {
    pub(crate) fn new() -> Self {
        Self { requests: AtomicU32::new(0), next: AtomicPtr::new(ptr::null_mut()) }
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The owner will see it.
    Awake,
    /// The owner sleeps: ring its doorbell.
    Asleep,
    /// The owner has ended: take what is left.
    Closed,
}

pub(crate) struct Mailbox<N: Node> {
    head: AtomicPtr<N>,
    /// The owner is asleep, or about to be.
    asleep: AtomicBool,
    closed: AtomicBool,
}

impl<N: Node> Mailbox<N> {
    pub(crate) fn new() -> Self {
        Self {
            head: AtomicPtr::new(ptr::null_mut()),
            asleep: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }
    }

    /// Sends a request, which is not 0.
    pub(crate) fn send(&self, node: &Arc<N>, request: u32) -> Sent {
        // AcqRel: pairs with the swap in `drain_with`; the thread that answers the request sees
        // what was done before it.
        if node.link().requests.fetch_or(request, Ordering::AcqRel) == 0 {
            self.push(Arc::into_raw(node.clone()).cast_mut());
        }
        fence(Ordering::SeqCst);
        // Relaxed, both: ordered by the fences.
        if self.closed.load(Ordering::Relaxed) {
            return Sent::Closed;
        }
        if self.asleep.load(Ordering::Relaxed) { Sent::Asleep } else { Sent::Awake }
    }

    fn push(&self, node: *mut N) {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // SAFETY: the node holds a reference that is the mailbox's now.
            unsafe { &*node }.link().next.store(head, Ordering::Relaxed);
            // Release: pairs with the swap in `drain_with`.
            match self.head.compare_exchange_weak(head, node, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Takes all nodes, each with what is asked for.
    pub(crate) fn drain_with(&self, mut f: impl FnMut(Arc<N>, u32)) {
        if self.is_empty() {
            return;
        }
        // Acquire: pairs with `push`.
        let mut node = self.head.swap(ptr::null_mut(), Ordering::Acquire);
        while !node.is_null() {
            // SAFETY: the reference that `push` was given is ours since the swap.
            let taken = unsafe { Arc::from_raw(node.cast_const()) };
            node = taken.link().next.load(Ordering::Relaxed);
            // AcqRel: pairs with `send`.
            let requests = taken.link().requests.swap(0, Ordering::AcqRel);
            f(taken, requests);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        // Relaxed: an estimate, or ordered by the fence in `may_sleep`.
        self.head.load(Ordering::Relaxed).is_null()
    }

    /// The owner is about to sleep. `false`: there is mail.
    #[must_use]
    pub(crate) fn may_sleep(&self) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.is_empty()
    }

    /// The owner is awake.
    pub(crate) fn wake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Nobody answers from here on. The caller takes what is left; a thread that sends later does
    /// so, too.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    pub(crate) fn is_closed(&self) -> bool {
        // Relaxed: a caller that acts on it sends, and the push looks again after its fence.
        self.closed.load(Ordering::Relaxed)
    }
}
