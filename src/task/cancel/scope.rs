//! A scope: what a timeout, a group and `scope()` have in common.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use super::{
    frame::{self, Kind},
    node::{Delivery, Frontier, Link, Node},
    root,
};
use crate::{
    error::Cause,
    task::{self, debug},
    util::rare::Rare,
};

/// Turns in a row for regions that have the request, while something keeps their task awake.
const TURNS: u16 = 1024;

/// The part of a scope that its future keeps.
#[derive(Default)]
pub(crate) struct Scope {
    link: Rare<Link>,
    progress: Progress,
}

/// How far the delivery of a request has come.
#[derive(Default)]
pub(super) struct Progress {
    /// The task has had its one more turn.
    turn_given: bool,
    /// The request was delivered to a region.
    delivered: bool,
    turns: u16,
    /// How often the request was delivered. It fills the struct up: with a gap at the end, a new scope is written by
    /// two stores that overlap, and a load of the first word waits for both of them.
    rounds: u32,
}

impl Scope {
    /// A scope that may be asked to end by its node.
    pub(crate) fn with_node(node: Arc<Node>) -> Self {
        // It is linked at its first poll.
        Self { link: Rare::new(Link::unlinked(node)), progress: Progress::default() }
    }

    /// Polls what is inside. `due` is when the scope ends by itself; `u64::MAX`: never.
    #[inline(always)]
    pub(crate) fn enter<T>(&mut self, due: u64, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
        frame::enter(&mut self.link, Kind::Scope, due, poll)
    }

    /// Whether the request was delivered to regions inside, and nobody has consumed it.
    #[inline]
    pub(crate) fn has_delivered(&self) -> bool {
        self.progress.delivered && !self.is_consumed()
    }

    /// Whether its node was asked to end.
    pub(crate) fn is_asked(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.node().is_asked())
    }

    /// Whether regions are inside, or were.
    pub(crate) fn has_regions(&self) -> bool {
        self.link.is_some()
    }

    /// Whether the deadline has been consumed.
    #[inline]
    pub(crate) fn is_consumed(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.node().is_consumed())
    }

    /// After a poll that was pending, of a scope that is to end: delivers the request. Ready: drop
    /// what is inside and end. Pending: the scope is polled again.
    pub(crate) fn deliver(&mut self, cx: &Context<'_>, cause: impl FnOnce() -> Cause) -> Poll<()> {
        if frame::is_outer_requested() {
            return Poll::Pending;
        }
        let woken = root::was_woken();
        if !self.progress.is_last_turn(woken) {
            return Poll::Pending;
        }
        match self.link.as_ref() {
            None => Poll::Ready(()),
            Some(link) => {
                let delivered = self.progress.deliver(link.node(), woken, cx.waker(), cause);
                if self.progress.is_found_ignored() {
                    debug::report_ignored(task::here());
                }
                delivered
            }
        }
    }

    /// The request was there before the first poll: there is no further turn.
    pub(crate) fn skip_turn(&mut self) {
        self.progress.turn_given = true;
    }

    /// A request has ended; the next one begins anew.
    pub(crate) fn reset(&mut self) {
        self.progress = Progress::default();
    }
}

impl Progress {
    /// Whether regions have just caught the request for the [last](debug::CATCHES) time that is taken for
    /// cleanup.
    pub(super) fn is_found_ignored(&mut self) -> bool {
        let found = self.rounds == debug::CATCHES;
        self.rounds += u32::from(found);
        found
    }

    /// Whether the task has no further turn: it has one, the first time, if it was woken during
    /// this very poll.
    pub(super) fn is_last_turn(&mut self, woken: bool) -> bool {
        std::mem::replace(&mut self.turn_given, true) || !woken
    }

    /// Delivers the request to the frontier of `node`, or says that no catch is left.
    pub(super) fn deliver(
        &mut self,
        node: &Arc<Node>,
        woken: bool,
        waker: &Waker,
        cause: impl FnOnce() -> Cause,
    ) -> Poll<()> {
        if node.has_receiver() {
            if woken && self.turns < TURNS {
                self.turns += 1;
                return Poll::Pending;
            }
            node.skip_receivers();
        }
        self.turns = 0;
        let mut frontier = Frontier::default();
        if !node.frontier(&mut frontier) {
            return Poll::Ready(());
        }
        if frontier.catches.is_empty() {
            for mask in &frontier.masks {
                mask.wait_for_end(waker);
            }
            // One that another thread has dropped or polled since may not have found the waker.
            let mut now = Frontier::default();
            node.frontier(&mut now);
            if now.masks.len() < frontier.masks.len() {
                waker.wake_by_ref();
            }
            return Poll::Pending;
        }
        let cause = cause();
        for catch in frontier.catches {
            catch.deliver(Delivery { by: node.clone(), cause: cause.clone() });
        }
        self.delivered = true;
        self.rounds = self.rounds.saturating_add(1);
        waker.wake_by_ref();
        Poll::Pending
    }
}
