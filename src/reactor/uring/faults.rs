//! Faults that a kernel may show, but not on demand: a script between a ring and the kernel, for
//! tests.
//!
//! A test installs a [`Script`] while it builds a runtime, whose rings then have it. Once
//! begun, it interferes in the ways of [`Fault`], each of which leaves what a kernel could
//! have left: entries that it does not take stay queued; of several completions those that
//! it orders stay in their order.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    mem::{self, MaybeUninit},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering},
    },
};

use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::{io::Errno, io_uring::IoringEnterFlags};

use super::{
    BRIDGE, CANCELLED, DOORBELL,
    entry::{self, Submission, completion},
    ring::Plan,
};

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A call is refused for a moment, and some of those after it.
    Refused,
    /// A call takes the first of what is queued, and does not wait.
    Partial,
    /// A completion is held back for some turns, and others overtake it.
    Late,
    /// A send takes some of its bytes.
    ShortSend,
    /// A send is interrupted before it has taken a byte.
    FailedSend,
    /// A completion comes that no operation has, or has any more.
    Stale,
    /// What is to complete again and again ends with its first completion, as it does when
    /// the completion queue overflows.
    Ended,
    /// A receive finds no buffer.
    NoBuffers,
    /// A completion is dropped, for lack of memory.
    Dropped,
}

const FAULTS: usize = Fault::Dropped as usize + 1;

/// The numbers of what is no operation on a socket.
const OWN: [u64; 3] = [DOORBELL, BRIDGE, CANCELLED];

/// `IORING_RECV_MULTISHOT`, in the field `ioprio`.
const RECV_MULTISHOT: u16 = 1 << 1;
/// `IORING_POLL_ADD_MULTI`, in the field `len`.
const POLL_MULTISHOT: u32 = 1;
/// `IORING_CQE_F_BUFFER`, `IORING_CQE_F_MORE`.
const BUFFER: u32 = 1;
const MORE: u32 = 2;
/// A group of buffers that there is not.
const NO_GROUP: u16 = 77;

/// Refused calls in a row, and turns that a completion may be held back.
const SERIES: u64 = 6;
const TURNS: u64 = 5;
/// Completions among which to choose.
const LOOK: usize = 64;
/// Ended operations that get another completion.
const PAST: usize = 256;

thread_local! {
    static INSTALLED: RefCell<Option<Arc<Script>>> = const { RefCell::new(None) };
}

/// How often the rings of a runtime have to show each fault, and how often they did.
pub(super) struct Script {
    seed: u64,
    /// Once in so many times; 0 is never.
    odds: [u64; FAULTS],
    /// Entries of the submission queue, if other than planned.
    entries: Option<u32>,
    /// The kernel's release, if other than it says.
    release: Option<&'static str>,
    /// The flag for deferred work is never raised.
    mute: bool,
    /// An operation that the kernel does not know.
    lacks: Option<u8>,
    begun: AtomicBool,
    /// All calls are refused with that; 0: they are not.
    refusal: AtomicI32,
    rings: AtomicU64,
    calls: AtomicU64,
    overflows: AtomicU64,
    starved: AtomicU64,
    seen: [AtomicU64; FAULTS],
}

impl Script {
    pub(super) fn new(seed: u64, odds: &[(Fault, u64)]) -> Self {
        let mut table = [0; FAULTS];
        odds.iter().for_each(|&(fault, odds)| table[fault as usize] = odds);
        Self {
            seed,
            odds: table,
            entries: None,
            release: None,
            mute: false,
            lacks: None,
            begun: AtomicBool::new(false),
            refusal: AtomicI32::new(0),
            rings: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            overflows: AtomicU64::new(0),
            starved: AtomicU64::new(0),
            seen: Default::default(),
        }
    }

    /// Rings of so few entries, and four times as many completions.
    pub(super) fn tiny(self, entries: u32) -> Self {
        Self { entries: Some(entries), ..self }
    }

    /// The kernel is of that release, an old one: only what one operation brings has an order.
    pub(super) fn old(self, release: &'static str) -> Self {
        Self { release: Some(release), ..self }
    }

    /// The kernel never shows that it has deferred work.
    pub(super) fn mute(self) -> Self {
        Self { mute: true, ..self }
    }

    /// The kernel does not know an operation.
    pub(super) fn lacking(self, opcode: u8) -> Self {
        Self { lacks: Some(opcode), ..self }
    }

    /// Runs `make`, whose rings have this script.
    pub(super) fn install<R>(self: &Arc<Self>, make: impl FnOnce() -> R) -> R {
        INSTALLED.set(Some(self.clone()));
        let made = make();
        INSTALLED.set(None);
        made
    }

    /// From here on; what comes before is done as it should be.
    pub(super) fn begin(&self) {
        self.begun.store(true, Ordering::SeqCst);
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// Refuses all calls; `None`: no more.
    pub(super) fn refuse_all(&self, with: Option<Errno>) {
        self.refusal.store(with.map_or(0, Errno::raw_os_error), Ordering::SeqCst);
    }

    /// Calls so far, with those that were refused.
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Times that more completions waited than the queue has room for.
    pub(super) fn overflows(&self) -> u64 {
        self.overflows.load(Ordering::SeqCst)
    }

    /// Receives that found no buffer.
    pub(super) fn starved(&self) -> u64 {
        self.starved.load(Ordering::SeqCst)
    }

    pub(super) fn seen(&self, fault: Fault) -> u64 {
        self.seen[fault as usize].load(Ordering::SeqCst)
    }

    /// The faults that were asked for and have not occurred.
    pub(super) fn unseen(&self) -> Vec<Fault> {
        use Fault::*;
        let all = [Refused, Partial, Late, ShortSend, FailedSend, Stale, Ended, NoBuffers, Dropped];
        let asked = all.into_iter().filter(|&fault| self.odds[fault as usize] != 0);
        asked.filter(|&fault| self.seen(fault) == 0).collect()
    }
}

/// The plan of the script that is installed.
pub(super) fn plan(plan: Plan) -> Plan {
    let entries = INSTALLED.with_borrow(|script| script.as_ref().and_then(|script| script.entries));
    Plan { entries: entries.unwrap_or(plan.entries), ..plan }
}

/// The kernel's release, of the script that is installed.
pub(super) fn release() -> Option<&'static str> {
    INSTALLED.with_borrow(|script| script.as_ref().and_then(|script| script.release))
}

/// Whether the script that is installed lacks an operation.
pub(super) fn lacks(opcode: u8) -> bool {
    INSTALLED.with_borrow(|script| script.as_ref().is_some_and(|it| it.lacks == Some(opcode)))
}

/// One ring's share in a script.
pub(super) struct Faults(Option<Box<Interference>>);

impl Faults {
    pub(super) fn installed() -> Self {
        let script = INSTALLED.with_borrow(Clone::clone);
        Self(script.map(|script| Box::new(Interference::new(script))))
    }

    /// An entry is queued: what to queue in its place.
    pub(super) fn submit(&mut self, entry: squeue::Entry) -> squeue::Entry {
        match &mut self.0 {
            Some(interference) => interference.submit(entry),
            None => entry,
        }
    }

    /// The kernel is called: whether it refuses, and what it makes of the arguments.
    pub(super) fn call(
        &mut self,
        to_submit: u32,
        min_complete: u32,
        flags: &mut IoringEnterFlags,
    ) -> Result<(u32, u32), Errno> {
        match &mut self.0 {
            Some(interference) => interference.call(to_submit, min_complete, flags),
            None => Ok((to_submit, min_complete)),
        }
    }

    /// Whether it has completions that the ring has not.
    pub(super) fn holds(&self) -> bool {
        self.0.as_ref().is_some_and(|interference| !interference.held.is_empty())
    }

    /// Whether a flag is never raised.
    pub(super) fn is_mute(&self) -> bool {
        self.0.as_ref().is_some_and(|interference| interference.script.mute)
    }

    /// How many completions were dropped, by the ring's counter, which says `real`.
    pub(super) fn lost(&self, real: u32) -> u32 {
        let scripted = self.0.as_ref().is_some_and(|interference| interference.counted);
        real + u32::from(scripted)
    }

    /// Completions are taken.
    pub(super) fn completions<'a>(
        &mut self,
        ring: &mut IoUring,
        batch: &'a mut [MaybeUninit<cqueue::Entry>],
    ) -> &'a mut [cqueue::Entry] {
        let Some(interference) = &mut self.0 else { return ring.completion().fill(batch) };
        interference.hold(ring);
        entry::fill(batch, || interference.next())
    }
}

struct Interference {
    script: Arc<Script>,
    random: Random,
    /// Calls that are still to be refused.
    refusals: u64,
    /// Completions that the ring has not been given, in the kernel's order.
    held: VecDeque<Held>,
    /// The results of operations that are not done.
    failed: HashMap<u64, i32>,
    /// Numbers of operations that have ended.
    past: Vec<u64>,
    /// Numbers of the reactor's own that have been armed.
    own: Vec<u64>,
    /// A completion was dropped: the next call says so,
    reported: bool,
    /// ... or the counter does.
    counted: bool,
}

struct Held {
    entry: cqueue::Entry,
    turns: u64,
}

impl Interference {
    fn new(script: Arc<Script>) -> Self {
        let ring = script.rings.fetch_add(1, Ordering::SeqCst);
        Self {
            random: Random::new(script.seed.wrapping_add(ring)),
            script,
            refusals: 0,
            held: VecDeque::new(),
            failed: HashMap::new(),
            past: Vec::new(),
            own: Vec::new(),
            reported: false,
            counted: false,
        }
    }

    /// Whether it happens now: the first time for sure.
    fn happens(&mut self, fault: Fault) -> bool {
        self.script.begun.load(Ordering::SeqCst) && self.may_happen(fault)
    }

    /// The same before the script has begun.
    fn may_happen(&mut self, fault: Fault) -> bool {
        let odds = self.script.odds[fault as usize];
        if odds == 0 {
            return false;
        }
        let now = self.script.seen(fault) == 0 || self.random.below(odds) == 0;
        if now {
            self.script.seen[fault as usize].fetch_add(1, Ordering::SeqCst);
        }
        now
    }

    fn submit(&mut self, entry: squeue::Entry) -> squeue::Entry {
        let mut entry = Submission::from(entry);
        match entry.opcode() {
            opcode::Send::CODE if self.happens(Fault::FailedSend) => {
                self.fail(entry, &[Errno::INTR, Errno::AGAIN])
            }
            opcode::Send::CODE if entry.len() > 1 && self.happens(Fault::ShortSend) => {
                let len = 1 + self.random.below(u64::from(entry.len()) - 1);
                entry.set_len(len as u32);
                entry.into()
            }
            opcode::Recv::CODE if entry.len() != 0 => panic!("a receive with a length of its own"),
            opcode::Recv::CODE if self.happens(Fault::NoBuffers) => {
                entry.set_buffer_group(NO_GROUP);
                entry.into()
            }
            opcode::Recv::CODE if self.happens(Fault::Ended) => {
                entry.clear_priority(RECV_MULTISHOT);
                entry.into()
            }
            // The reactor's own are armed at once, and for good.
            opcode::PollAdd::CODE if OWN.contains(&entry.user_data()) => {
                if self.ends_own(entry.user_data()) {
                    entry.set_len(entry.len() & !POLL_MULTISHOT);
                }
                entry.into()
            }
            opcode::PollAdd::CODE if self.happens(Fault::Ended) => {
                entry.set_len(entry.len() & !POLL_MULTISHOT);
                entry.into()
            }
            _ => entry.into(),
        }
    }

    /// Whether a poll of the reactor's own ends with its first completion: the first for sure.
    fn ends_own(&mut self, user_data: u64) -> bool {
        let is_first = !self.own.contains(&user_data);
        if is_first {
            self.own.push(user_data);
        }
        self.may_happen(Fault::Ended) || is_first && self.script.odds[Fault::Ended as usize] != 0
    }

    /// Does nothing in the place of an operation, and says that it has failed.
    fn fail(&mut self, entry: Submission, with: &[Errno]) -> squeue::Entry {
        let error = with[self.random.below(with.len() as u64) as usize];
        self.failed.insert(entry.user_data(), -error.raw_os_error());
        opcode::Nop::new().build().user_data(entry.user_data())
    }

    fn call(
        &mut self,
        to_submit: u32,
        min_complete: u32,
        flags: &mut IoringEnterFlags,
    ) -> Result<(u32, u32), Errno> {
        self.script.calls.fetch_add(1, Ordering::SeqCst);
        self.held.iter_mut().for_each(|held| held.turns = held.turns.saturating_sub(1));
        match self.script.refusal.load(Ordering::SeqCst) {
            0 => {}
            error => return Err(Errno::from_raw_os_error(error)),
        }
        if to_submit == 0 && mem::take(&mut self.reported) {
            return Err(Errno::BADR);
        }
        if self.refusals == 0 && self.happens(Fault::Refused) {
            self.refusals = 1 + self.random.below(SERIES);
        }
        if self.refusals > 0 {
            self.refusals -= 1;
            let errors = [Errno::AGAIN, Errno::BUSY, Errno::INTR, Errno::NOMEM];
            return Err(errors[self.random.below(4) as usize]);
        }
        if to_submit > 1 && self.happens(Fault::Partial) {
            // A call that has not taken all neither waits nor does deferred work.
            *flags = flags.difference(IoringEnterFlags::GETEVENTS);
            return Ok((1 + self.random.below(u64::from(to_submit) - 1) as u32, 0));
        }
        // What is held back is there, so that there is nothing to wait for.
        Ok((to_submit, if self.held.is_empty() { min_complete } else { 0 }))
    }

    /// Takes all that the ring has.
    fn hold(&mut self, ring: &mut IoUring) {
        if ring.submission().cq_overflow() {
            self.script.overflows.fetch_add(1, Ordering::SeqCst);
        }
        let arrived: Vec<_> = ring.completion().collect();
        for entry in arrived {
            if entry.result() == -Errno::NOBUFS.raw_os_error() {
                self.script.starved.fetch_add(1, Ordering::SeqCst);
            }
            if self.happens(Fault::Dropped) {
                // One of the two is enough.
                let counts = self.script.seed.is_multiple_of(2);
                *if counts { &mut self.counted } else { &mut self.reported } = true;
                continue;
            }
            let entry = match self.failed.remove(&entry.user_data()) {
                Some(result) => completion(entry.user_data(), result, 0),
                None => entry,
            };
            let late = self.happens(Fault::Late);
            let turns = if late { 1 + self.random.below(TURNS) } else { 0 };
            self.held.push_back(Held { entry, turns });
        }
    }

    /// One of those that may come next.
    fn next(&mut self) -> Option<cqueue::Entry> {
        if self.happens(Fault::Stale) {
            return Some(self.stale());
        }
        let shuffles = self.script.odds[Fault::Late as usize] != 0;
        let is_old = self.script.release.is_some();
        let may_come = |at: &usize| {
            let Held { entry, turns } = &self.held[*at];
            let is_before = |held: &Held| is_before(&held.entry, entry, is_old);
            *turns == 0 && !self.held.range(..*at).any(is_before)
        };
        let at = if shuffles {
            let may: Vec<usize> = (0..self.held.len().min(LOOK)).filter(may_come).collect();
            *may.get(self.random.below(may.len().max(1) as u64) as usize)?
        } else {
            0
        };
        let entry = self.held.remove(at)?.entry;
        if !cqueue::more(entry.flags()) && !OWN.contains(&entry.user_data()) {
            let place = self.random.below(PAST as u64) as usize;
            match self.past.get_mut(place) {
                Some(past) => *past = entry.user_data(),
                None => self.past.push(entry.user_data()),
            }
        }
        Some(entry)
    }

    /// A completion for nobody.
    fn stale(&mut self) -> cqueue::Entry {
        let past = match self.past.len() as u64 {
            0 => None,
            len => self.past.get(self.random.below(len) as usize).copied(),
        };
        let user_data = match (past, self.random.below(8)) {
            // Half of all generations ahead: not in this test.
            (Some(past), 0) => past ^ 1 << 63,
            (Some(past), 1..) => past,
            // There are not so many.
            (None, _) => self.random.next() & !(1 << 63) | 1 << 31,
        };
        let results =
            [0, 1, 100, 1 << 20, -Errno::CANCELED.raw_os_error(), -Errno::NOBUFS.raw_os_error()];
        let result = results[self.random.below(6) as usize];
        let buffer = (self.random.below(16) as u32) << 16 | BUFFER;
        let flags = [0, MORE, buffer, buffer | MORE][self.random.below(4) as usize];
        completion(user_data, result, flags)
    }
}

/// Whether the kernel orders the two: completions of one operation, and, if it is not an old
/// one, those that bring bytes, since a buffer is filled by one after the other.
fn is_before(first: &cqueue::Entry, second: &cqueue::Entry, is_old: bool) -> bool {
    let has_buffer = |entry: &cqueue::Entry| cqueue::buffer_select(entry.flags()).is_some();
    first.user_data() == second.user_data() || !is_old && has_buffer(first) && has_buffer(second)
}

impl From<Submission> for squeue::Entry {
    fn from(submission: Submission) -> Self {
        // SAFETY: plain numbers.
        unsafe { mem::transmute::<[u8; 64], Self>(submission.0) }
    }
}

impl Submission {
    fn clear_priority(&mut self, bits: u16) {
        let priority = u16::from_ne_bytes(self.field(2)) & !bits;
        self.0[2..4].copy_from_slice(&priority.to_ne_bytes());
    }

    fn set_len(&mut self, len: u32) {
        self.0[24..28].copy_from_slice(&len.to_ne_bytes());
    }

    fn set_buffer_group(&mut self, group: u16) {
        self.0[40..42].copy_from_slice(&group.to_ne_bytes());
    }
}

/// xorshift64*.
#[derive(Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        let mixed = (seed ^ (seed >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        Self((mixed ^ (mixed >> 27)) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `n`.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }
}
