//! The wheel itself: where a deadline is filed, and moving on in time. It knows no
//! clock, no waker and no other thread.
//!
//! Ticks are numbers of [`LEVELS`] digits of 6 bits. A timer lies at the level of
//! the highest digit in which its tick differs from the wheel's present one, in
//! the slot of that digit. So
//!
//! * at level 0 a slot is one tick; at level n it is 64^n of them;
//! * at every level the occupied slots are ahead of the present digit (at level 0 they may be at
//!   it), and none has wrapped around: the lowest bit is the earliest;
//! * everything at a lower level is earlier than anything at a higher one;
//! * moving on touches just the slots that start at or before the new tick. All
//!   others differ from it in the same highest digit as before, and stay.
//!
//! A slot is an array of [`Entry`]s, with all that filing needs to know. Where there are many
//! timers each node is a cache miss. A list would wait for each miss, one by one, to find the next
//! node. Here only the new place is written to a node, and the nodes that come next in the array
//! are prefetched meanwhile.
//!
//! Timers that have come due leave the slots, are sorted, and wait to be fired, which the owner may
//! do in several steps. The wheel does not move on before all of them are fired.
//!
//! N1 to N10 are the invariants at the head of `node.rs`.

use std::{cell::Cell, cmp::Reverse, mem};

use super::node::{Node, Place};
use crate::util::prefetch::prefetch;

/// A tick is 2^18 ns, 262 us. The tick is no resolution: the deadline itself decides what fires. It
/// only decides how many timers share a slot, and a look for the next deadline reads one slot's
/// entries. A tick is short enough for few entries, and long enough that the 64 slots of level 0
/// reach 17 ms, so that most timers that really fire were moved down once or twice.
const TICK_BITS: u32 = 18;
const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
/// Seven levels would end at 36 years; the eighth takes in all that a `u64` of
/// nanoseconds can say, `u64::MAX` for never included, and so there is no special
/// case for what lies beyond the wheel.
const LEVELS: usize = (u64::BITS - TICK_BITS).div_ceil(DIGIT_BITS) as usize;

/// Entries whose nodes are fetched ahead.
const AHEAD: usize = 8;
/// Room for entries that an empty slot keeps, and the list of what is due: one burst must not
/// hold its memory for ever.
const SLOT_KEEPS: usize = 64;
const DUE_KEEPS: usize = 1024;

pub(super) struct Wheel {
    /// The present tick.
    tick: u64,
    /// Which slots of a level are not empty.
    occupied: [u64; LEVELS],
    /// Their order within a slot means nothing: what is due is sorted.
    slots: Box<[Vec<Entry>]>,
    /// What has come due, the first last.
    due: Vec<Entry>,
    /// What `next` would find in the slots: None is not known, Some(None) that all are empty.
    next: Cell<Option<Option<u64>>>,
}

/// A timer in the wheel.
#[derive(Clone, Copy)]
struct Entry {
    /// When to fire. It may have moved later since it was filed.
    deadline: u64,
    /// Arming order, which decides among equal deadlines.
    seq: u64,
    node: &'static Node,
}

impl Wheel {
    pub(super) fn new(now: u64) -> Self {
        Self {
            tick: now >> TICK_BITS,
            occupied: [0; LEVELS],
            slots: (0..LEVELS * SLOTS).map(|_| Vec::new()).collect(),
            due: Vec::new(),
            next: Cell::new(Some(None)),
        }
    }

    /// Files a timer by its deadline.
    ///
    /// # Safety
    ///
    /// The caller's `Timers` holds the node (N2), and it is in no list.
    // Never: inlined, it makes its callers 12 % more expensive for a timer that is armed and
    // cancelled.
    #[inline(never)]
    pub(super) unsafe fn insert(&mut self, deadline: u64, seq: u64, node: &'static Node) {
        let place = self.place_of(deadline);
        let slot = &mut self.slots[place.index()];
        let at = slot.len() as u32;
        slot.push(Entry { deadline, seq, node });
        self.occupied[place.level()] |= place.bit();
        // SAFETY: held by this wheel's `Timers`, by contract.
        unsafe { node.home(|home| (home.place, home.at) = (place, at)) };
        if let Some(next) = self.next.get() {
            let bound = self.bound(place, deadline);
            self.next.set(Some(Some(next.map_or(bound, |next| next.min(bound)))));
        }
    }

    /// Takes a node out of its slot. `false`: it is due, and leaves by
    /// [`pop_due`](Self::pop_due).
    ///
    /// # Safety
    ///
    /// The node is in this wheel.
    #[inline]
    pub(super) unsafe fn remove(&mut self, node: &'static Node) -> bool {
        // SAFETY: whatever is in this wheel is held by its `Timers` (N2).
        let (place, at) = unsafe { node.home(|home| (home.place, home.at)) };
        if place.is_due() {
            return false;
        }
        // SAFETY: that is where it is.
        let entry = unsafe { self.take(place, at as usize) };
        self.forget(self.bound(place, entry.deadline));
        true
    }

    /// Takes an entry out of a slot; the last one gets its place.
    ///
    /// # Safety
    ///
    /// There is one.
    // Never: as `insert`.
    #[inline(never)]
    unsafe fn take(&mut self, place: Place, at: usize) -> Entry {
        let slot = &mut self.slots[place.index()];
        let entry = slot.swap_remove(at);
        // SAFETY: whatever is in this wheel is held by its `Timers` (N2).
        unsafe {
            entry.node.home(|home| home.place = Place::NONE);
            if let Some(moved) = slot.get(at) {
                moved.node.home(|home| home.at = at as u32);
            }
        }
        if slot.is_empty() {
            if slot.capacity() > SLOT_KEEPS {
                *slot = Vec::new();
            }
            self.occupied[place.level()] &= !place.bit();
        }
        entry
    }

    /// Moves a node of this wheel to another deadline. To a later one that is a
    /// store: it is filed anew when its slot comes up. `false`: it is due already.
    ///
    /// # Safety
    ///
    /// The node is in this wheel.
    pub(super) unsafe fn set_deadline(
        &mut self,
        node: &'static Node,
        deadline: u64,
        seq: u64,
    ) -> bool {
        // SAFETY: whatever is in this wheel is held by its `Timers` (N2).
        let (place, at) = unsafe { node.home(|home| (home.place, home.at)) };
        if place.is_due() {
            return false;
        }
        let entry = &mut self.slots[place.index()][at as usize];
        let old = mem::replace(entry, Entry { deadline, seq, node }).deadline;
        self.forget(self.bound(place, old));
        if deadline < old {
            // SAFETY: it is there, and then in no list.
            unsafe {
                self.take(place, at as usize);
                self.insert(deadline, seq, node);
            }
        }
        true
    }

    /// Moves on to `now`, with nothing due from before. `true`: something is due now, for
    /// [`pop_due`](Self::pop_due).
    pub(super) fn advance(&mut self, now: u64) -> bool {
        debug_assert!(self.due.is_empty());
        // Asked before the tick moves: slots are read against the present one.
        let next = self.next();
        let from = self.tick;
        let tick = from.max(now >> TICK_BITS);
        self.tick = tick;
        if next.is_none_or(|next| now < next) {
            // No occupied slot ends by now, and none above level 0 has begun, else
            // `next` would be past: every node lies where it should.
            return false;
        }
        self.next.set(None);
        for level in 0..LEVELS {
            if level > 0 && above(from, level) == above(tick, level) {
                break;
            }
            let same_round = above(from, level + 1) == above(tick, level + 1);
            let reached =
                if same_round { u64::MAX >> (SLOTS - 1 - digit(tick, level)) } else { u64::MAX };
            let mut slots = self.occupied[level] & reached;
            while slots != 0 {
                let place = Place::new(level, slots.trailing_zeros() as usize);
                slots &= slots - 1;
                self.settle(place, now);
            }
        }
        self.due.sort_unstable_by_key(|due| Reverse((due.deadline, due.seq)));
        !self.due.is_empty()
    }

    /// Looks through a slot that has been reached: the due nodes leave, and those that
    /// belong elsewhere by now are filed anew.
    fn settle(&mut self, place: Place, now: u64) {
        match place == Place::new(0, digit(self.tick, 0)) {
            true => self.settle_present(place, now),
            false => self.settle_past(place, now),
        }
    }

    /// The same of a slot that is over, or whose timers belong to the levels below by now: all
    /// leave it.
    fn settle_past(&mut self, place: Place, now: u64) {
        self.occupied[place.level()] &= !place.bit();
        let mut entries = mem::take(&mut self.slots[place.index()]);
        for (at, &entry) in entries.iter().enumerate() {
            if let Some(ahead) = entries.get(at + AHEAD) {
                prefetch(ahead.node);
            }
            // SAFETY: just taken out.
            unsafe { self.file(entry, now) };
        }
        entries.clear();
        let slot = &mut self.slots[place.index()];
        // What moved later may be there again, a round later.
        if slot.is_empty() && entries.capacity() <= SLOT_KEEPS {
            *slot = entries;
        }
    }

    /// The same of the slot of the present tick, the rest of which is to come.
    fn settle_present(&mut self, place: Place, now: u64) {
        let mut at = 0;
        while let Some(&Entry { deadline, .. }) = self.slots[place.index()].get(at) {
            if deadline > now && self.place_of(deadline) == place {
                // Later in the present tick: a busy worker looks many times in a
                // tick, so that must not move anything.
                at += 1;
                continue;
            }
            // SAFETY: it is there, and then in no list.
            unsafe {
                let entry = self.take(place, at);
                self.file(entry, now);
            }
        }
    }

    /// Files a timer anew, or among those that are due.
    ///
    /// # Safety
    ///
    /// As for [`insert`](Self::insert).
    unsafe fn file(&mut self, entry: Entry, now: u64) {
        if entry.deadline > now {
            // SAFETY: by contract.
            return unsafe { self.insert(entry.deadline, entry.seq, entry.node) };
        }
        // SAFETY: held by this wheel's `Timers`, by contract.
        unsafe { entry.node.home(|home| home.place = Place::DUE) };
        self.due.push(entry);
    }

    /// Takes out the first of what is due. Its [`Place`] still tells whether it was let go of.
    pub(super) fn pop_due(&mut self) -> Option<&'static Node> {
        let Some(entry) = self.due.pop() else {
            self.due.shrink_to(DUE_KEEPS);
            return None;
        };
        if let Some(ahead) = self.due.len().checked_sub(AHEAD) {
            prefetch(self.due[ahead].node);
        }
        Some(entry.node)
    }

    /// Takes any node out.
    pub(super) fn pop(&mut self) -> Option<&'static Node> {
        if let Some(node) = self.pop_due() {
            return Some(node);
        }
        let level = self.occupied.iter().position(|slots| *slots != 0)?;
        let place = Place::new(level, self.occupied[level].trailing_zeros() as usize);
        let node = self.slots[place.index()].last()?.node;
        // SAFETY: found in this wheel.
        unsafe { self.remove(node) };
        Some(node)
    }

    /// A time before which nothing is due: the earliest deadline itself if it is past or lies
    /// within level 0, else the start of the earliest slot.
    pub(super) fn next(&self) -> Option<u64> {
        if let Some(due) = self.due.last() {
            return Some(due.deadline);
        }
        if let Some(known) = self.next.get() {
            return known;
        }
        let next = self.find_next();
        self.next.set(Some(next));
        next
    }

    /// The earliest deadline. Unlike [`next`](Self::next) it looks at each timer.
    pub(super) fn first(&self) -> Option<u64> {
        let filed = self.slots.iter().flatten();
        self.due.iter().chain(filed).map(|entry| entry.deadline).min()
    }

    fn find_next(&self) -> Option<u64> {
        let level = self.occupied.iter().position(|slots| *slots != 0)?;
        let place = Place::new(level, self.occupied[level].trailing_zeros() as usize);
        if level > 0 {
            return Some(self.start(place));
        }
        self.slots[place.index()].iter().map(|entry| self.bound(place, entry.deadline)).min()
    }

    /// A removal or a move to later at `bound` may have been what `next` knew of.
    #[inline]
    fn forget(&self, bound: u64) {
        if let Some(Some(next)) = self.next.get()
            && bound <= next
        {
            self.next.set(None);
        }
    }

    #[inline]
    fn place_of(&self, deadline: u64) -> Place {
        // What is past goes into the present tick, which is looked at next.
        let tick = self.tick.max(deadline >> TICK_BITS);
        let level = match tick ^ self.tick {
            0 => 0,
            differing => (differing.ilog2() / DIGIT_BITS) as usize,
        };
        Place::new(level, digit(tick, level))
    }

    /// The time that a node with this deadline, in this place, contributes to
    /// `next`. At level 0 it is the deadline, unless that was moved out of the
    /// slot: then the slot's end, where the node is filed anew.
    #[inline]
    fn bound(&self, place: Place, deadline: u64) -> u64 {
        let start = self.start(place);
        match place.level() {
            0 => deadline.min(start.saturating_add(1 << TICK_BITS)),
            _ => start,
        }
    }

    /// When a slot begins, in the present round of its level.
    fn start(&self, place: Place) -> u64 {
        let level = place.level();
        let round = above(self.tick, level + 1) << DIGIT_BITS;
        let tick = (round | place.slot() as u64) << (DIGIT_BITS * level as u32);
        tick << TICK_BITS
    }
}

/// The digit of `tick` at `level`.
fn digit(tick: u64, level: usize) -> usize {
    above(tick, level) as usize % SLOTS
}

/// The digits of `tick` from `level` upwards.
fn above(tick: u64, level: usize) -> u64 {
    tick >> (DIGIT_BITS * level as u32)
}

impl Place {
    fn is_due(self) -> bool {
        self == Self::DUE || self == Self::LET_GO
    }

    fn new(level: usize, slot: usize) -> Self {
        Self((level * SLOTS + slot) as u16)
    }

    fn index(self) -> usize {
        self.0 as usize
    }

    fn level(self) -> usize {
        self.index() / SLOTS
    }

    fn slot(self) -> usize {
        self.index() % SLOTS
    }

    fn bit(self) -> u64 {
        1 << self.slot()
    }
}
