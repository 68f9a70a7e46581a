//! What one registered descriptor is ready for, and the tasks that wait for it.
//!
//! Slots are never freed (S12): 64 bytes for each descriptor that was open at once, and 4 for its
//! place in the list of free slots, rounded up to the next power of two. The kernel's event carries
//! index and generation of a slot; a late event for a descriptor that is gone finds another
//! generation and is ignored (S2, S4).
//!
//! The protocol between an event and a reader:
//! 1. The reader tries its operation while the slot says ready. On EAGAIN it
//!    [clears](Slot::clear) the bit, unless an event has come since it looked (the
//!    word counts events), and then it tries again.
//! 2. A read that seems to have taken all bytes notes the present count ([drained](Slot::drained)),
//!    with a plain store: while the count is the same, there is nothing to read. An event clears
//!    the note, so that a count that has wrapped around means nothing.
//! 3. Not ready: it looks again under the lock, and leaves its waker there.
//! 4. An event sets the bits and takes the waker under the lock, where alone the word is
//!    changed. If its section comes before the reader's, step 3 sees the bits; if after, it
//!    finds the waker.
//!
//! # Urgent data
//!
//! A read stops at the mark of urgent data, with bytes behind it: there a short read proves
//! nothing. Once a mark has been seen no short read is trusted, for good. epoll(7) and poll(2) look
//! at the socket, and say so (`PRI`). A poll in a ring that reports a single arrival does not look;
//! but a mark has an arrival of its own, which the socket reports before that of its bytes. So a
//! single arrival is trusted if it is the first event since there was certainly nothing to read, as
//! it is with nearly every message. Else the socket is asked after a read that is short or finds
//! nothing. It is also asked after a read that finds nothing behind a single arrival: that may have
//! been the arrival of a mark whose bytes are still to come.
//!
//! Then no read that stops at a mark is trusted. Suppose one were. Then the first event since there
//! was nothing is that of the last bytes, alone, and the mark's event came before it. There are
//! three cases:
//!
//! * The mark's event came to a read that found nothing: that read had the socket asked.
//! * It came behind another event: so the socket was asked.
//! * It came first, and what was read was reported later: then it came to a read that found
//!   nothing, or as the first of two events.
//!
//! A read that finds nothing proves as little at a mark. While a signal is pending for its thread,
//! or work of the kernel's, as when rings end, recv(2) does not go past a mark at the front: it
//! says `EAGAIN`, with bytes behind the mark that no event reports again. So where a mark has been
//! seen, or may have come, such a read has the socket asked, and what is readable stays ready.

use std::{
    mem,
    ptr::{self, NonNull},
    task::{Context, Poll, Waker},
};

use crate::{
    loom::{
        BriefLock,
        atomic::{AtomicU64, Ordering},
        global, pick, shared_static,
    },
    util::{fork::PerProcess, panic, wait::WaitKind},
};

/// One of the two ways that bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

impl Direction {
    /// The kind of a wait for it.
    pub(crate) fn wait(self) -> WaitKind {
        match self {
            Self::Read => WaitKind::Read,
            Self::Write => WaitKind::Write,
        }
    }
}

/// What an event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ready(u64);

impl Ready {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const READABLE: Self = Self(1);
    pub(crate) const WRITABLE: Self = Self(1 << 1);
    /// End of file, or both ways shut: further operations complete at once.
    pub(crate) const READ_CLOSED: Self = Self(1 << 2);
    pub(crate) const WRITE_CLOSED: Self = Self(1 << 3);
    /// Urgent data has been seen: from then on a short read proves nothing, for good.
    const URGENT: Self = Self(1 << 4);
    /// An arrival, of which it is not known whether it is urgent.
    const ARRIVED: Self = Self(1 << 5);
    /// One behind another event, since there was certainly nothing to read.
    const AGAIN: Self = Self(1 << 6);

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What an event means for the reader and for the writer: an error is for both to find. The
    /// bits are those of poll(2), which epoll(7) shares.
    ///
    /// A poll in a ring that reports one arrival reports the bits that a socket gives at every
    /// arrival, `PRI` and `RDBAND` among them; no socket *is* ready for `RDBAND`. Only if `RDBAND`
    /// is missing was the socket itself looked at, and only then `PRI` means urgent data.
    pub(crate) fn from_poll(events: u32) -> Self {
        use rustix::event::PollFlags as P;
        const BOTH: Ready = Ready::READABLE.and(Ready::WRITABLE);
        const CLOSED: Ready = Ready::READ_CLOSED.and(Ready::WRITE_CLOSED);
        let events = P::from_bits_retain(events as _);
        let urgency = match events.intersects(P::PRI) {
            false => Self::NONE,
            true if events.intersects(P::RDBAND) => Self::ARRIVED,
            true => Self::URGENT,
        };
        let meanings = [
            (P::IN | P::PRI, Self::READABLE),
            (P::OUT, Self::WRITABLE),
            (P::RDHUP, Self::READABLE.and(Self::READ_CLOSED)),
            (P::ERR, BOTH),
            (P::HUP, BOTH.and(CLOSED)),
        ];
        meanings
            .into_iter()
            .filter(|(flags, _)| events.intersects(*flags))
            .fold(urgency, |ready, (_, meaning)| ready.and(meaning))
    }

    fn of(direction: Direction) -> u64 {
        match direction {
            Direction::Read => Self::READABLE.0 | Self::READ_CLOSED.0,
            Direction::Write => Self::WRITABLE.0 | Self::WRITE_CLOSED.0,
        }
    }
}

/// The bits that count arrivals: cleared when there is certainly nothing to read.
const ARRIVALS: u64 = Ready::ARRIVED.0 | Ready::AGAIN.0;

const READY_MASK: u64 = 0xff;
const EVENT: u64 = 1 << 8;
const EVENT_MASK: u64 = 0xff_ff00;
const GENERATION_SHIFT: u32 = 32;

/// A look at the word.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen(u64);

impl Seen {
    pub(crate) fn is_ready(self, direction: Direction) -> bool {
        self.0 & Ready::of(direction) != 0
    }

    /// Whether urgent data has been seen.
    pub(crate) fn was_urgent(self) -> bool {
        self.0 & Ready::URGENT.0 != 0
    }
}

/// The tasks that wait. One for each direction, as the poll functions have it, where a later waker
/// replaces an earlier; and any number of futures that share the descriptor.
#[derive(Default)]
struct Waiters {
    read: Option<Waker>,
    write: Option<Waker>,
    /// Once there was one: most descriptors have an owner.
    shared: Option<Box<Sharers>>,
}

#[derive(Default)]
struct Sharers {
    waiters: Vec<SharedWaiter>,
    next_ticket: u64,
}

struct SharedWaiter {
    ticket: u64,
    direction: Direction,
    waker: Waker,
}

impl Waiters {
    fn of(&mut self, direction: Direction) -> &mut Option<Waker> {
        match direction {
            Direction::Read => &mut self.read,
            Direction::Write => &mut self.write,
        }
    }

    /// The waiters that share the descriptor, if there ever were any.
    fn sharers(&mut self) -> Option<&mut Vec<SharedWaiter>> {
        self.shared.as_mut().map(|sharers| &mut sharers.waiters)
    }
}

/// It has a cache line to itself: an event touches little else of a connection.
#[repr(align(64))]
pub(crate) struct Slot {
    /// generation (32) | unused (8) | events seen (16) | ready (8); changed under the lock.
    word: AtomicU64,
    /// The count of events, with the generation, at which a read took all (step 2), or, with
    /// [`SOME`], at which a read took something.
    drained: AtomicU64,
    waiters: BriefLock<Waiters>,
}

/// No count: the bits that are unused are set.
const NEVER: u64 = !READY_MASK;
/// The note of a read that may have left something.
const SOME: u64 = 1;

impl Slot {
    pub(crate) fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            drained: AtomicU64::new(NEVER),
            waiters: BriefLock::new(Waiters::default()),
        }
    }

    #[inline]
    pub(crate) fn look(&self) -> Seen {
        // Acquire: what the kernel reported happened before; pairs with the stores of `event`,
        // `clear_bits` and `renew`.
        let word = self.word.load(Ordering::Acquire);
        // Relaxed: a reader that does not see a note tries once too often.
        let drained = self.drained.load(Ordering::Relaxed) == word & !READY_MASK;
        Seen(if drained { word & !Ready::READABLE.0 } else { word })
    }

    /// The operation would have blocked: not ready, unless an event came after `seen`.
    pub(crate) fn clear(&self, seen: Seen, direction: Direction) {
        let arrivals = if direction == Direction::Read { ARRIVALS } else { 0 };
        self.clear_bits(seen, Ready::of(direction) | arrivals);
    }

    /// The operation seems to have taken all bytes. What is known of the end of the stream stays
    /// known. `false`: urgent data may have stopped it, which the socket knows.
    #[inline]
    #[must_use]
    pub(crate) fn drained(&self, seen: Seen, direction: Direction) -> bool {
        match direction {
            Direction::Read if seen.0 & (Ready::URGENT.0 | Ready::AGAIN.0) != 0 => {
                self.took(seen, direction);
                return seen.0 & Ready::URGENT.0 != 0;
            }
            Direction::Read => self.took_all(seen),
            Direction::Write => self.clear_bits(seen, Ready::WRITABLE.0),
        }
        true
    }

    /// A read has left nothing.
    #[inline]
    pub(crate) fn took_all(&self, seen: Seen) {
        // Relaxed: it is for the next read, to which the reader's task brings it. An event since
        // then has another count.
        self.drained.store(seen.0 & !READY_MASK, Ordering::Relaxed);
    }

    /// The operation took something, and may have left more.
    #[inline]
    pub(crate) fn took(&self, seen: Seen, direction: Direction) {
        if direction == Direction::Read {
            // Relaxed: as in `took_all`.
            self.drained.store(seen.0 & !READY_MASK | SOME, Ordering::Relaxed);
        }
    }

    /// A read found nothing. Whether that may be since it stands at the mark of urgent data, or since
    /// what arrived was one: see the essay.
    pub(crate) fn may_hide_mark(&self, seen: Seen) -> bool {
        // Relaxed: as in `took_all`.
        let took = self.drained.load(Ordering::Relaxed) == seen.0 & !READY_MASK | SOME;
        seen.0 & (Ready::URGENT.0 | Ready::AGAIN.0) != 0 || seen.0 & Ready::ARRIVED.0 != 0 && !took
    }

    /// Urgent data has been seen.
    #[cold]
    pub(crate) fn is_urgent(&self) {
        let _waiters = self.waiters.lock();
        let word = self.word.load(Ordering::Relaxed);
        // Release: as in `clear_bits`.
        self.word.store(word | Ready::URGENT.0, Ordering::Release);
    }

    /// What is known once an event for `ready` comes, and what it adds to that: whether it is an
    /// arrival behind another event.
    #[inline]
    fn count_arrival(&self, word: u64, ready: Ready) -> (u64, u64) {
        if ready.0 & Ready::ARRIVED.0 == 0 {
            return (word, 0);
        }
        // Relaxed: see step 2.
        let took_all = self.drained.load(Ordering::Relaxed) == word & !READY_MASK;
        let known = if took_all { word & !ARRIVALS } else { word };
        let is_first = known & Ready::READABLE.0 == 0;
        (known, if is_first { 0 } else { Ready::AGAIN.0 })
    }

    fn clear_bits(&self, seen: Seen, bits: u64) {
        let _waiters = self.waiters.lock();
        let word = self.look().0;
        if word & !READY_MASK == seen.0 & !READY_MASK {
            // Release: with what came before the event, which the lock brought; pairs with `look`.
            self.word.store(word & !bits, Ordering::Release);
        }
    }

    /// Step 3: ready, or the waker is left.
    // Always: it has one caller on the hot path, and is most of that caller.
    #[inline(always)]
    pub(crate) fn poll_ready(&self, direction: Direction, cx: &Context<'_>) -> Poll<()> {
        // Clone and drop are foreign code: outside of the lock (S6). An event has mostly taken
        // the last one, so that there is nothing to compare with.
        let mut waker = Some(cx.waker().clone());
        let mut waiters = self.waiters.lock();
        let is_ready = self.look().is_ready(direction);
        if !is_ready {
            mem::swap(waiters.of(direction), &mut waker);
        }
        drop(waiters);
        panic::discard_foreign(waker);
        if is_ready { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The same for one of several futures; `ticket` is what this one keeps meanwhile.
    pub(crate) fn poll_ready_shared(
        &self,
        direction: Direction,
        ticket: &mut Option<u64>,
        cx: &Context<'_>,
    ) -> Poll<()> {
        // Clone and drop are foreign code: outside of the lock (S6).
        let waker = cx.waker().clone();
        let mut waiters = self.waiters.lock();
        let Sharers { waiters: sharers, next_ticket } =
            &mut **waiters.shared.get_or_insert_default();
        let mine = sharers.iter().position(|waiter| Some(waiter.ticket) == *ticket);
        let old = mine.map(|mine| sharers.swap_remove(mine));
        *next_ticket += 1;
        *ticket = Some(*next_ticket);
        sharers.push(SharedWaiter { ticket: *next_ticket, direction, waker });
        let is_ready = self.look().is_ready(direction);
        drop(waiters);
        panic::discard_foreign(old);
        if is_ready { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether anybody waits.
    pub(crate) fn is_waited_for(&self, direction: Direction) -> bool {
        let mut waiters = self.waiters.lock();
        let waits = |waiter: &SharedWaiter| waiter.direction == direction;
        waiters.of(direction).is_some()
            || waiters.sharers().is_some_and(|sharers| sharers.iter().any(waits))
    }

    /// A shared future waits no more.
    pub(crate) fn forget(&self, ticket: u64) {
        let old = {
            let mut waiters = self.waiters.lock();
            waiters.sharers().and_then(|sharers| {
                let mine = sharers.iter().position(|waiter| waiter.ticket == ticket)?;
                Some(sharers.swap_remove(mine))
            })
        };
        panic::discard_foreign(old);
    }

    /// An event for `generation`. Wakers go to `wakes`; none is called here.
    pub(crate) fn event(&self, generation: u32, ready: Ready, wakes: &mut Vec<Waker>) {
        let mut waiters = self.waiters.lock();
        let word = self.look().0;
        if (word >> GENERATION_SHIFT) as u32 != generation {
            return;
        }
        let events = word.wrapping_add(EVENT) & EVENT_MASK;
        let (known, again) = self.count_arrival(word, ready);
        // Relaxed: see step 2.
        self.drained.store(NEVER, Ordering::Relaxed);
        // Release: what the kernel reported comes before; pairs with `look`.
        self.word.store(known & !EVENT_MASK | events | ready.0 | again, Ordering::Release);
        if ready.0 & Ready::of(Direction::Read) != 0 {
            push(waiters.read.take(), wakes);
        }
        if ready.0 & Ready::of(Direction::Write) != 0 {
            push(waiters.write.take(), wakes);
        }
        if let Some(sharers) = waiters.sharers() {
            let woken = |waiter: &mut SharedWaiter| ready.0 & Ready::of(waiter.direction) != 0;
            wakes.extend(sharers.extract_if(.., woken).map(|waiter| waiter.waker));
        }
    }

    /// Begins another generation, so that events still under way miss.
    fn renew(&self, ready: Ready) {
        let _waiters = self.waiters.lock();
        let word = self.look().0;
        // Relaxed: see step 2.
        self.drained.store(NEVER, Ordering::Relaxed);
        // Release: as in `clear_bits`.
        self.word.store(next_generation(word) | ready.0, Ordering::Release);
    }

    fn take_waiters(&self) -> Waiters {
        mem::take(&mut *self.waiters.lock())
    }
}

const _: () = assert!(crate::loom::MODELLED || size_of::<Slot>() == 64);

/// A slot in use; dropping it gives the slot back.
pub(crate) struct SlotRef {
    slot: &'static Slot,
    index: u32,
}

impl SlotRef {
    /// A slot for a new descriptor, `ready` until an operation says otherwise.
    pub(crate) fn new(ready: Ready) -> Self {
        let index = POOL.take();
        let slot = POOL.get(index).expect("a slot that was taken exists");
        // The slot is ours; earlier events are over or will find it changed.
        slot.renew(ready);
        Self { slot, index }
    }

    /// What the kernel is to give back with events.
    pub(crate) fn key(&self) -> u64 {
        u64::from(self.generation()) << 32 | u64::from(self.index)
    }

    /// The present generation, which [`event`](Slot::event) has to know.
    pub(crate) fn generation(&self) -> u32 {
        // Relaxed: only the owner changes it.
        (self.slot.word.load(Ordering::Relaxed) >> GENERATION_SHIFT) as u32
    }
}

fn next_generation(word: u64) -> u64 {
    u64::from(((word >> GENERATION_SHIFT) as u32).wrapping_add(1)) << GENERATION_SHIFT
}

impl std::ops::Deref for SlotRef {
    type Target = Slot;

    fn deref(&self) -> &Slot {
        self.slot
    }
}

impl Drop for SlotRef {
    fn drop(&mut self) {
        self.slot.renew(Ready::NONE);
        let waiters = self.slot.take_waiters();
        POOL.give(self.index);
        // Foreign destructors; the descriptor is still to be closed.
        panic::discard_foreign(waiters.read);
        panic::discard_foreign(waiters.write);
        let sharers = waiters.shared.into_iter().flat_map(|sharers| sharers.waiters);
        sharers.for_each(panic::discard_foreign);
    }
}

/// Without what `extend` does for many.
fn push(waker: Option<Waker>, wakes: &mut Vec<Waker>) {
    if let Some(waker) = waker {
        wakes.push(waker);
    }
}

/// Delivers an event by the key it carries.
pub(crate) fn deliver(key: u64, ready: Ready, wakes: &mut Vec<Waker>) {
    let (index, generation) = (key as u32, (key >> 32) as u32);
    if let Some(slot) = POOL.get(index) {
        slot.event(generation, ready, wakes);
    }
}

/// All slots of the process: chunks that double, and the free ones.
struct Pool {
    chunks: [global::AtomicPtr<Slot>; CHUNKS],
    /// A forked child leaves the free ones to its parent.
    free: PerProcess<global::Mutex<Free>>,
}

struct Free {
    slots: Vec<u32>,
    used: u32,
}

const FIRST: u32 = pick(64, 1) as u32;
/// 64 * 2^22 descriptors: more than a kernel gives.
const CHUNKS: usize = 22;

shared_static! {
    static POOL: Pool = Pool {
        chunks: [const { global::AtomicPtr::new(ptr::null_mut()) }; CHUNKS],
        free: PerProcess::new(),
    };
}

impl Pool {
    fn get(&self, index: u32) -> Option<&'static Slot> {
        let chunk = (index / FIRST + 1).ilog2();
        let start = (FIRST << chunk) - FIRST;
        // Acquire: pairs with the Release in `take`.
        let chunk = NonNull::new(self.chunks.get(chunk as usize)?.load(Ordering::Acquire))?;
        // SAFETY: a chunk has `FIRST << chunk` slots and is never freed.
        Some(unsafe { chunk.add((index - start) as usize).as_ref() })
    }

    fn take(&self) -> u32 {
        let mut free = self.free().lock();
        if let Some(index) = free.slots.pop() {
            return index;
        }
        let chunk = (free.used / FIRST + 1).ilog2();
        let len = FIRST << chunk;
        let slots: Box<[Slot]> = (0..len).map(|_| Slot::new()).collect();
        // Room for all, so that giving back does not allocate (S7).
        let total = (free.used + len) as usize;
        let held = free.slots.len();
        free.slots.reserve(total - held);
        // Release: publishes the slots; pairs with `get`.
        self.chunks[chunk as usize].store(Box::leak(slots).as_mut_ptr(), Ordering::Release);
        let first = free.used;
        free.used += len;
        free.slots.extend((first + 1..first + len).rev());
        first
    }

    fn give(&self, index: u32) {
        self.free().lock().slots.push(index);
    }

    fn free(&self) -> &'static global::Mutex<Free> {
        self.free.get(|| {
            // A child must take the slots that the parent has made as used.
            // Acquire: as in `get`.
            let made = |chunk: &&global::AtomicPtr<Slot>| !chunk.load(Ordering::Acquire).is_null();
            let chunks = self.chunks.iter().take_while(made).count();
            let used = (FIRST << chunks) - FIRST;
            // Room for all, as in `take`.
            global::Mutex::new(Free { slots: Vec::with_capacity(used as usize), used })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn note_of_a_read_is_gone_when_the_count_comes_round() {
        let slot = Slot::new();
        let arrive = || slot.event(0, Ready::READABLE, &mut Vec::new());
        arrive();
        assert!(slot.drained(slot.look(), Direction::Read));
        assert!(!slot.look().is_ready(Direction::Read));
        for _ in 0..=EVENT_MASK / EVENT {
            arrive();
        }
        assert!(slot.look().is_ready(Direction::Read));
    }

    #[test]
    fn what_was_read_is_not_told_again_by_an_event_for_writers() {
        let slot = Slot::new();
        slot.event(0, Ready::READABLE, &mut Vec::new());
        assert!(slot.drained(slot.look(), Direction::Read));
        slot.event(0, Ready::WRITABLE, &mut Vec::new());
        assert!(!slot.look().is_ready(Direction::Read));
        assert!(slot.look().is_ready(Direction::Write));
    }

    /// A socket that has seen urgent data or not, and the wake-ups that its poll has yet to report.
    #[derive(Default)]
    struct Stream {
        /// Arrived: bytes (`false`) and marks (`true`).
        bytes: Vec<bool>,
        /// Arrived out of order.
        early: Vec<bool>,
        untold: usize,
    }

    impl Stream {
        fn has_mark(&self) -> bool {
            self.bytes.iter().chain(&self.early).any(|&mark| mark)
        }

        /// What poll(2) says: a mark at the front does not count.
        fn is_readable(&self) -> bool {
            self.bytes.len() > usize::from(self.bytes.first() == Some(&true))
        }

        /// What recv(2) does: up to the mark; a mark at the front is skipped, unless a signal is pending.
        fn read(&mut self, room: usize, signal: bool) -> usize {
            if self.bytes.first() == Some(&true) {
                if signal {
                    return 0;
                }
                self.bytes.remove(0);
            }
            let end = self.bytes.iter().position(|&mark| mark).unwrap_or(self.bytes.len());
            self.bytes.drain(..end.min(room)).count()
        }

        /// Reports the first wake-ups, so many at once.
        fn tell(&mut self, count: usize, slot: &Slot) {
            use rustix::event::PollFlags as P;
            self.untold -= count;
            let events = match count {
                0 => return,
                1 => P::IN | P::PRI | P::RDBAND,
                // Then it looks.
                _ if self.has_mark() => P::IN | P::OUT | P::PRI,
                _ => P::IN | P::OUT,
            };
            slot.event(0, Ready::from_poll(events.bits().into()), &mut Vec::new());
        }
    }

    /// As `operation::poll` does, one look or one attempt at a time. Says whether it is to go on.
    fn read_step(
        slot: &Slot,
        stream: &mut Stream,
        looked: &mut Option<Seen>,
        room: usize,
        signal: bool,
    ) -> bool {
        let Some(seen) = looked.take() else {
            *looked = Some(slot.look()).filter(|seen| seen.is_ready(Direction::Read));
            return looked.is_some();
        };
        // As `Source` does, which asks the socket.
        let ask = |stream: &Stream| {
            if stream.has_mark() {
                slot.is_urgent();
            }
            stream.is_readable()
        };
        match stream.read(room, signal) {
            0 if slot.may_hide_mark(seen) && ask(stream) => {}
            0 => slot.clear(seen, Direction::Read),
            read if read < room => {
                if !slot.drained(seen, Direction::Read) && !ask(stream) {
                    slot.took_all(seen);
                }
            }
            _ => slot.took(seen, Direction::Read),
        }
        true
    }

    #[test]
    fn no_byte_stays_behind_a_mark_in_any_order() {
        // Goal: whatever comes when, no reader is left with bytes. Method: seeded histories: bytes
        // and marks that arrive in order or early, wake-ups reported singly or together, reads of
        // any size, with a signal pending or not, in any order; in the end all is reported, and all
        // must be read.
        for seed in 0..200_000 {
            let mut state: u64 = seed + 1;
            let mut below = |bound: usize| {
                // Knuth's constants.
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 33) as usize % bound
            };
            let (slot, mut stream, mut looked) = (Slot::new(), Stream::default(), None);
            for _ in 0..below(30) {
                match below(9) {
                    0 | 1 => {
                        stream.bytes.push(false);
                        let mut early = std::mem::take(&mut stream.early);
                        stream.bytes.append(&mut early);
                        stream.untold += 1;
                    }
                    2 => {
                        if !stream.has_mark() {
                            stream.bytes.push(true);
                            stream.untold += 2;
                        }
                    }
                    // Its bytes come when the gap is filled, and are reported with those.
                    3 if !stream.has_mark() => {
                        stream.early.extend([true, false]);
                        stream.untold += 1;
                    }
                    4 | 5 => {
                        let count = 1 + below(3);
                        stream.tell(count.min(stream.untold), &slot);
                    }
                    _ => {
                        let (room, signal) = (1 + below(4), below(3) == 0);
                        read_step(&slot, &mut stream, &mut looked, room, signal);
                    }
                }
            }
            stream.early.clear();
            while stream.untold > 0 {
                stream.tell(1, &slot);
                if below(2) == 0 {
                    read_step(&slot, &mut stream, &mut looked, 64, below(3) == 0);
                }
            }
            while read_step(&slot, &mut stream, &mut looked, 64, below(3) == 0) {}
            let left = stream.bytes.iter().filter(|&&mark| !mark).count();
            assert_eq!(left, 0, "seed {seed}");
        }
    }
}
