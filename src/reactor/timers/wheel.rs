//! The wheel itself: where a deadline is filed, and moving on in time. It knows no
//! clock, no waker and no other thread.
//!
//! Ticks are numbers of [`LEVELS`] digits of 6 bits. A node lies at the level of
//! the highest digit in which its tick differs from the wheel's present one, in
//! the slot of that digit. So
//!
//! * at level 0 a slot is one tick; at level n it is 64^n of them;
//! * at every level the occupied slots are ahead of the present digit (at level 0
//!   they may be at it), and none has come round: the lowest bit is the earliest;
//! * everything at a lower level is earlier than anything at a higher one;
//! * moving on touches just the slots that start at or before the new tick. All
//!   others differ from it in the same highest digit as before, and stay.
//!
//! N1 to N9 are the invariants at the head of `node.rs`.

use std::cell::Cell;

use super::node::{Node, Place};
use crate::util::prefetch::prefetch;

/// A tick is 2^18 ns, 262 us. The tick is no resolution (what fires is decided by
/// the deadline itself), only how much shares a slot, and whoever asks for the
/// next deadline looks at one slot's entries: short enough for few, long enough
/// that the 64 slots of level 0 reach 17 ms, so that most of what really fires was
/// moved down once or twice.
const TICK_BITS: u32 = 18;
const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
/// Seven levels would end at 36 years; the eighth takes in all that a `u64` of
/// nanoseconds can say, `u64::MAX` for never included, and so there is no special
/// case for what lies beyond the wheel.
const LEVELS: usize = (u64::BITS - TICK_BITS).div_ceil(DIGIT_BITS) as usize;

pub(super) struct Wheel {
    /// The present tick.
    tick: u64,
    /// Which slots of a level are not empty.
    occupied: [u64; LEVELS],
    /// Heads of the slots' lists. Their order means nothing: what is due is sorted.
    slots: Box<[Option<&'static Node>]>,
    /// What `next` would find: None is not known, Some(None) that all is empty.
    next: Cell<Option<Option<u64>>>,
}

/// A node that has come due, with what it is sorted by.
pub(super) struct Due {
    pub(super) deadline: u64,
    pub(super) seq: u64,
    pub(super) node: &'static Node,
}

impl Wheel {
    pub(super) fn new(now: u64) -> Self {
        Self {
            tick: now >> TICK_BITS,
            occupied: [0; LEVELS],
            slots: vec![None; LEVELS * SLOTS].into_boxed_slice(),
            next: Cell::new(Some(None)),
        }
    }

    /// Files a node by its deadline.
    ///
    /// # Safety
    ///
    /// The caller's `Timers` holds the node (N2), and it is in no list.
    pub(super) unsafe fn insert(&mut self, node: &'static Node) {
        // SAFETY: held by this wheel's `Timers`, by contract.
        let deadline = unsafe { node.home(|home| home.deadline) };
        let place = self.place_of(deadline);
        let below = self.slots[place.index()].replace(node);
        self.occupied[place.level()] |= place.bit();
        // SAFETY: as above.
        unsafe {
            node.home(|home| {
                home.place = place;
                home.prev = None;
                home.next = below;
            });
        }
        if let Some(below) = below {
            // SAFETY: it is in a slot of this wheel, so it is held like the node.
            unsafe { below.home(|home| home.prev = Some(node)) };
        }
        if let Some(next) = self.next.get() {
            let bound = self.bound(place, deadline);
            self.next.set(Some(Some(next.map_or(bound, |next| next.min(bound)))));
        }
    }

    /// Takes a node out of its slot.
    ///
    /// # Safety
    ///
    /// The node is in this wheel.
    pub(super) unsafe fn remove(&mut self, node: &'static Node) {
        // SAFETY: whatever is in this wheel is held by its `Timers` (N2).
        let (place, prev, next, deadline) = unsafe {
            node.home(|home| {
                let place = std::mem::replace(&mut home.place, Place::NONE);
                (place, home.prev.take(), home.next.take(), home.deadline)
            })
        };
        match prev {
            // SAFETY: neighbours are in the same slot.
            Some(prev) => unsafe { prev.home(|home| home.next = next) },
            None => self.slots[place.index()] = next,
        }
        match next {
            // SAFETY: neighbours are in the same slot.
            Some(next) => unsafe { next.home(|home| home.prev = prev) },
            None if prev.is_none() => self.occupied[place.level()] &= !place.bit(),
            None => {}
        }
        self.forget(self.bound(place, deadline));
    }

    /// Moves a node of this wheel to another deadline. To a later one that is a
    /// store: it is filed anew when its slot comes up.
    ///
    /// # Safety
    ///
    /// The node is in this wheel.
    pub(super) unsafe fn set_deadline(&mut self, node: &'static Node, deadline: u64, seq: u64) {
        // SAFETY: whatever is in this wheel is held by its `Timers` (N2).
        let (old, place) = unsafe { node.home(|home| (home.deadline, home.place)) };
        let later = deadline >= old;
        if later {
            self.forget(self.bound(place, old));
        } else {
            // SAFETY: by contract.
            unsafe { self.remove(node) };
        }
        // SAFETY: as above.
        unsafe {
            node.home(|home| {
                home.deadline = deadline;
                home.seq = seq;
            });
        }
        if !later {
            // SAFETY: just taken out.
            unsafe { self.insert(node) };
        }
    }

    /// Moves on to `now`, adds what is due by then to `due` and sorts that. What
    /// is due has left the wheel.
    pub(super) fn advance(&mut self, now: u64, due: &mut Vec<Due>) {
        // Asked before the tick moves: slots are read against the present one.
        let next = self.next();
        let from = self.tick;
        let tick = from.max(now >> TICK_BITS);
        self.tick = tick;
        if next.is_none_or(|next| now < next) {
            // No occupied slot ends by now, and none above level 0 has begun, else
            // `next` would be past: every node lies where it should.
            return;
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
                self.settle(place, now, due);
            }
        }
        due.sort_unstable_by_key(|due| (due.deadline, due.seq));
    }

    /// Looks through a slot that has been reached: the due nodes leave, and those that
    /// belong elsewhere by now are filed anew.
    fn settle(&mut self, place: Place, now: u64, due: &mut Vec<Due>) {
        match place == Place::new(0, digit(self.tick, 0)) {
            true => self.settle_present(place, now, due),
            false => self.settle_past(place, now, due),
        }
    }

    /// The same of a slot that is over, or that is told apart at the levels below by now: all
    /// leave it.
    fn settle_past(&mut self, place: Place, now: u64, due: &mut Vec<Due>) {
        self.occupied[place.level()] &= !place.bit();
        let mut next = self.slots[place.index()].take();
        while let Some(node) = next {
            // SAFETY: whatever is in this wheel is held by its `Timers` (N2).
            let (deadline, seq) = unsafe {
                node.home(|home| {
                    home.place = Place::NONE;
                    home.prev = None;
                    next = home.next.take();
                    (home.deadline, home.seq)
                })
            };
            if let Some(next) = next {
                prefetch(next);
            }
            if deadline <= now {
                due.push(Due { deadline, seq, node });
            } else {
                // SAFETY: just taken out.
                unsafe { self.insert(node) };
            }
        }
    }

    /// The same of the slot of the present tick, the rest of which is to come.
    fn settle_present(&mut self, place: Place, now: u64, due: &mut Vec<Due>) {
        let mut next = self.slots[place.index()];
        while let Some(node) = next {
            // SAFETY: whatever is in this wheel is held by its `Timers` (N2).
            let (deadline, seq) = unsafe {
                node.home(|home| {
                    next = home.next;
                    (home.deadline, home.seq)
                })
            };
            if deadline > now && self.place_of(deadline) == place {
                // Later in the present tick: a busy worker looks many times in a
                // tick, so that must not move anything.
                continue;
            }
            // SAFETY: found in this wheel.
            unsafe { self.remove(node) };
            if deadline <= now {
                due.push(Due { deadline, seq, node });
            } else {
                // SAFETY: just taken out.
                unsafe { self.insert(node) };
            }
        }
    }

    /// Takes any node out.
    pub(super) fn pop(&mut self) -> Option<&'static Node> {
        let level = self.occupied.iter().position(|slots| *slots != 0)?;
        let slot = self.occupied[level].trailing_zeros() as usize;
        let node = self.slots[Place::new(level, slot).index()]?;
        // SAFETY: found in this wheel.
        unsafe { self.remove(node) };
        Some(node)
    }

    /// A time before which nothing is due: the earliest deadline itself if it lies
    /// within level 0, else the start of the earliest slot.
    pub(super) fn next(&self) -> Option<u64> {
        if let Some(known) = self.next.get() {
            return known;
        }
        let next = self.find_next();
        self.next.set(Some(next));
        next
    }

    fn find_next(&self) -> Option<u64> {
        let level = self.occupied.iter().position(|slots| *slots != 0)?;
        let place = Place::new(level, self.occupied[level].trailing_zeros() as usize);
        if level > 0 {
            return Some(self.start(place));
        }
        let mut earliest = u64::MAX;
        let mut next = self.slots[place.index()];
        while let Some(node) = next {
            // SAFETY: whatever is in this wheel is held by its `Timers` (N2).
            let deadline = unsafe {
                node.home(|home| {
                    next = home.next;
                    home.deadline
                })
            };
            earliest = earliest.min(self.bound(place, deadline));
        }
        Some(earliest)
    }

    /// A removal or a move to later at `bound` may have been what `next` knew of.
    fn forget(&self, bound: u64) {
        if let Some(Some(next)) = self.next.get()
            && bound <= next
        {
            self.next.set(None);
        }
    }

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
