//! [`reactor::slot::Slot`] of a descriptor that is read by one task.
#![allow(missing_docs)]

use std::task::{Context, Poll, Waker};

use crate::reactor::slot::{
    self,
    Direction::{Read, Write},
    Ready,
};

pub struct Slot(slot::Slot);

#[derive(Clone, Copy)]
pub struct Seen(slot::Seen);

impl Seen {
    pub fn is_ready(self) -> bool {
        self.0.is_ready(Read)
    }

    pub fn is_writable(self) -> bool {
        self.0.is_ready(Write)
    }
}

#[allow(clippy::new_without_default)]
impl Slot {
    pub fn new() -> Self {
        Self(slot::Slot::new())
    }

    pub fn look(&self) -> Seen {
        Seen(self.0.look())
    }

    pub fn clear(&self, seen: Seen) {
        self.0.clear(seen.0, Read);
    }

    pub fn clear_writes(&self, seen: Seen) {
        self.0.clear(seen.0, Write);
    }

    pub fn drained(&self, seen: Seen) -> bool {
        self.0.drained(seen.0, Read)
    }

    pub fn took_all(&self, seen: Seen) {
        self.0.took_all(seen.0);
    }

    pub fn poll_ready(&self, cx: &Context<'_>) -> Poll<()> {
        self.0.poll_ready(Read, cx)
    }

    pub fn poll_ready_shared(&self, ticket: &mut Option<u64>, cx: &Context<'_>) -> Poll<()> {
        self.0.poll_ready_shared(Read, ticket, cx)
    }

    pub fn forget(&self, ticket: u64) {
        self.0.forget(ticket);
    }

    pub fn may_hide_mark(&self, seen: Seen) -> bool {
        self.0.may_hide_mark(seen.0)
    }

    pub fn is_urgent(&self) {
        self.0.is_urgent();
    }

    pub fn event(&self, generation: u32, wakes: &mut Vec<Waker>) {
        self.0.event(generation, Ready::READABLE, wakes);
    }

    pub fn event_both_ways(&self, generation: u32, wakes: &mut Vec<Waker>) {
        self.0.event(generation, Ready::READABLE.and(Ready::WRITABLE), wakes);
    }

    /// An event as poll(2) has it.
    pub fn polled(&self, generation: u32, events: u32, wakes: &mut Vec<Waker>) {
        self.0.event(generation, Ready::from_poll(events), wakes);
    }
}
