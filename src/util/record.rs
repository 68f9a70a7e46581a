//! What is recorded of each task, for reports: numbers that its runner writes and any thread reads.
//!
//! All are Relaxed, and std's also in models: each number stands alone, the runner is the only writer of
//! all but one, and a report may be one poll late. So no model has to cover them, and a poll costs
//! a store, a second one if it is the task's first in its worker's tick, and no RMW.
//!
//! No clock is read for it. A poll gets the time of its worker's last look at the clock; one poll in 64 is
//! timed, and counts for all of them. While somebody [observes](Observer), each poll is timed.
//!
//! With `--cfg ringloop_no_record`, which is for measuring its cost, nothing is recorded.

use std::cell::Cell;

use crate::loom::{
    MODELLED,
    global::{AtomicU32, AtomicU64, Ordering},
};

/// One poll in so many is timed, less one.
const SAMPLED: u64 = 63;

/// Where the record is, from the address of the task's header. Not in a model, whose words are larger.
pub(crate) const OFFSET: usize = 72;

/// The observers of the process.
static OBSERVERS: AtomicU64 = AtomicU64::new(0);

/// While one exists, each poll of each runtime of the process is timed, and not only one in 64.
///
/// So the [busy time](crate::introspect::TaskDump::busy) of tasks is exact from then on. Each poll reads the clock twice,
/// some 50 ns. A worker notices it at its next look at the clock.
///
/// ```
/// use ringloop::{Handle, introspect::Observer, spawn};
///
/// ringloop::run(async {
///     let observer = Observer::new();
///     spawn(async { /* it is timed */ }).await.unwrap();
///     drop(observer);
/// });
/// ```
#[derive(Debug)]
pub struct Observer(());

impl Default for Observer {
    fn default() -> Self {
        Self::new()
    }
}

impl Observer {
    /// Begins to observe.
    pub fn new() -> Self {
        // Relaxed: each worker looks once in a tick.
        OBSERVERS.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        OBSERVERS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The number of a new group. After 2^32 groups a number comes again.
pub(crate) fn new_group() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Relaxed: only that they differ matters. 0 means none.
    NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1)
}

/// What a thread knows when it polls or wakes a task: cells, so that each is read alone. A copy of the whole would be read in
/// wider words than it was written in, for which the processor has to wait.
#[derive(Debug)]
pub(crate) struct Tick {
    /// Its last look at the clock; 0 outside of a worker's ticks.
    pub(crate) now: Cell<u64>,
    /// Which polls it times.
    pub(crate) mask: Cell<u64>,
    /// What a worker says once.
    pub(crate) watch: Cell<Watch>,
}

/// Where a worker counts the polls that it times, and whether hooks hear of its tasks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch {
    #[cfg_attr(ringloop_no_record, expect(dead_code, reason = "nothing is recorded"))]
    pub(crate) samples: Option<&'static Samples>,
    /// From how many ns on a poll is slow.
    pub(crate) slow: u64,
    /// Whether hooks hear of tasks.
    pub(crate) is_hooked: bool,
}

impl Tick {
    /// Of a thread that is no worker.
    pub(crate) const fn none() -> Self {
        Self { now: Cell::new(0), mask: Cell::new(SAMPLED), watch: Cell::new(Watch::NONE) }
    }

    /// The thread is a worker no longer.
    pub(crate) fn end(&self) {
        self.now.set(0);
        self.mask.set(SAMPLED);
        self.watch.set(Watch::NONE);
    }

    /// The worker has looked at the clock. While it times all polls for another reason, `all` is set.
    #[inline]
    pub(crate) fn begin(&self, now: u64, all: bool) {
        self.now.set(now);
        self.mask.set(if all || OBSERVERS.load(Ordering::Relaxed) != 0 { 0 } else { SAMPLED });
    }
}

impl Watch {
    const NONE: Self = Self { samples: None, slow: u64::MAX, is_hooked: false };
}

/// The record of one task: 64 bytes.
#[derive(Debug)]
pub(crate) struct Record(Fields);

#[cfg(ringloop_no_record)]
type Fields = ();

/// In this order: what a poll writes lies beside the future, which is polled then.
#[cfg(not(ringloop_no_record))]
#[derive(Debug)]
#[repr(C)]
struct Fields {
    /// The number of the task that spawned it, or 0.
    parent: u64,
    born: u64,
    group: u32,
    /// When it became ready, in units of 256 ns, if the poll that follows is timed; else 0. Written by the
    /// thread that made it ready, which has its queue entry; then by the runner.
    ready: AtomicU32,
    busy: AtomicU64,
    /// The lock that it took last and still holds, or 0.
    held: AtomicU64,
    /// Polls that no wake-up led to.
    yields: AtomicU64,
    /// 0 before the first poll.
    last_ran: AtomicU64,
    polls: AtomicU64,
}

const _: () = assert!(MODELLED || cfg!(ringloop_no_record) || size_of::<Record>() == 64);

/// Bits of a time that `ready` does not have: it comes around after 18 minutes.
#[cfg(not(ringloop_no_record))]
const READY_SHIFT: u32 = 8;

/// Set in `held` if the task holds another lock as well. Keys have fewer bits.
#[cfg(not(ringloop_no_record))]
const MORE: u64 = 1 << 63;

/// Whether a task's poll number `polls` is timed. With the task's number, so that tasks of few polls are
/// not all timed at the same one.
#[cfg(not(ringloop_no_record))]
#[inline(always)]
fn is_timed(task: u64, polls: u64, mask: u64) -> bool {
    polls.wrapping_add(task) & mask == 0
}

/// What `ready` says of a task that is ready from now on.
#[cfg(not(ringloop_no_record))]
#[cold]
fn ready_now() -> u32 {
    (super::clock::machine() >> READY_SHIFT) as u32 | 1
}

/// A record at one instant.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Recorded {
    pub(crate) parent: u64,
    pub(crate) group: u32,
    pub(crate) born: u64,
    pub(crate) polls: u64,
    pub(crate) yields: u64,
    pub(crate) last_ran: u64,
    pub(crate) busy: u64,
    pub(crate) held: u64,
    pub(crate) holds_more: bool,
}

/// Without it.
#[cfg(ringloop_no_record)]
#[allow(clippy::unused_self)]
impl Record {
    pub(crate) fn new(_task: u64, _parent: u64, _group: u32, _tick: &Tick) -> Self {
        Self(())
    }

    pub(crate) fn note_ready(&self, _task: u64, _mask: u64) {}

    pub(crate) fn begin_poll(&self, _task: u64, _tick: &Tick) -> bool {
        false
    }

    pub(crate) fn begin_timed(&self, _tick: &Tick) -> u64 {
        0
    }

    pub(crate) fn end_timed(&self, _begun: u64, _tick: &Tick) -> u64 {
        0
    }

    pub(crate) fn note_yield(&self) {}

    pub(super) fn hold(&self, _lock: u64) -> u64 {
        0
    }

    pub(super) fn let_go(&self, _lock: u64, _outer: u64) {}

    pub(crate) fn read(&self) -> Recorded {
        Recorded::default()
    }
}

#[cfg(not(ringloop_no_record))]
impl Record {
    /// Of a new task, which is ready.
    #[inline(always)]
    pub(crate) fn new(task: u64, parent: u64, group: u32, tick: &Tick) -> Self {
        let born = match tick.now.get() {
            0 => super::clock::machine(),
            now => now,
        };
        // By value until it is complete: a record whose address were taken would be made on the stack first.
        let ready = if is_timed(task, 0, tick.mask.get()) { ready_now() } else { 0 };
        Self(Fields {
            parent,
            born,
            group,
            ready: AtomicU32::new(ready),
            busy: AtomicU64::new(0),
            held: AtomicU64::new(0),
            yields: AtomicU64::new(0),
            last_ran: AtomicU64::new(0),
            polls: AtomicU64::new(0),
        })
    }

    /// The task becomes ready.
    #[inline(always)]
    pub(crate) fn note_ready(&self, task: u64, mask: u64) {
        if is_timed(task, self.0.polls.load(Ordering::Relaxed), mask) {
            self.0.ready.store(ready_now(), Ordering::Relaxed);
        }
    }

    /// A poll begins. Whether it is timed.
    #[inline(always)]
    pub(crate) fn begin_poll(&self, task: u64, tick: &Tick) -> bool {
        // Relaxed here and below: see the module.
        let polls = self.0.polls.load(Ordering::Relaxed);
        self.0.polls.store(polls + 1, Ordering::Relaxed);
        // Most polls of a tick find it there: a store is dearer before the RMW of the task's state than a load.
        let now = tick.now.get();
        if self.0.last_ran.load(Ordering::Relaxed) != now {
            self.0.last_ran.store(now, Ordering::Relaxed);
        }
        is_timed(task, polls, tick.mask.get())
    }

    /// A timed poll begins, now.
    pub(crate) fn begin_timed(&self, tick: &Tick) -> u64 {
        let now = super::clock::machine();
        let ready = self.0.ready.load(Ordering::Relaxed);
        if ready != 0 {
            self.0.ready.store(0, Ordering::Relaxed);
            if let Some(samples) = tick.watch.get().samples {
                let waited = ((now >> READY_SHIFT) as u32).wrapping_sub(ready & !1);
                samples.delay.add(u64::from(waited) << READY_SHIFT);
            }
        }
        now
    }

    /// A timed poll ends. Returns its time.
    pub(crate) fn end_timed(&self, begun: u64, tick: &Tick) -> u64 {
        let took = super::clock::machine().saturating_sub(begun);
        let busy = self.0.busy.load(Ordering::Relaxed);
        self.0.busy.store(busy + took * (tick.mask.get() + 1), Ordering::Relaxed);
        if let Some(samples) = tick.watch.get().samples {
            samples.poll.add(took);
        }
        took
    }

    /// The poll that ended has put the task to the back of the queue.
    #[inline(always)]
    pub(crate) fn note_yield(&self) {
        self.0.yields.store(self.0.yields.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// It has taken a lock. Returns the one that it had taken before.
    #[inline]
    pub(super) fn hold(&self, lock: u64) -> u64 {
        let outer = self.0.held.load(Ordering::Relaxed);
        let more = if outer == 0 { 0 } else { MORE };
        self.0.held.store(lock | more, Ordering::Relaxed);
        outer
    }

    /// It gives that lock back, and `outer` is the one that it has still.
    #[inline]
    pub(super) fn let_go(&self, lock: u64, outer: u64) {
        if self.0.held.load(Ordering::Relaxed) & !MORE == lock {
            self.0.held.store(outer, Ordering::Relaxed);
        }
    }

    pub(crate) fn read(&self) -> Recorded {
        let held = self.0.held.load(Ordering::Relaxed);
        Recorded {
            parent: self.0.parent,
            group: self.0.group,
            born: self.0.born,
            polls: self.0.polls.load(Ordering::Relaxed),
            yields: self.0.yields.load(Ordering::Relaxed),
            last_ran: self.0.last_ran.load(Ordering::Relaxed),
            busy: self.0.busy.load(Ordering::Relaxed),
            held: held & !MORE,
            holds_more: held & MORE != 0,
        }
    }
}

/// Buckets of a histogram. Bucket `n` has the times below 2^n ns that no bucket before it has, and the last one all
/// others. Models have small stacks, and no times.
pub(crate) const BUCKETS: usize = if MODELLED { 1 } else { 40 };

/// How often times of each magnitude were measured. Written by one thread.
#[derive(Debug)]
pub(crate) struct Times {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl Default for Times {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum: AtomicU64::new(0) }
    }
}

impl Times {
    #[cfg_attr(ringloop_no_record, allow(dead_code))]
    fn add(&self, time: u64) {
        let bucket = (u64::BITS - time.leading_zeros()) as usize;
        let bucket = &self.buckets[bucket.min(BUCKETS - 1)];
        // Relaxed, and no RMW: see the module.
        bucket.store(bucket.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.sum.store(self.sum.load(Ordering::Relaxed).wrapping_add(time), Ordering::Relaxed);
    }

    pub(crate) fn reset(&self) {
        self.buckets.iter().for_each(|bucket| bucket.store(0, Ordering::Relaxed));
        self.sum.store(0, Ordering::Relaxed);
    }

    /// Adds its counts to these.
    pub(crate) fn add_to(&self, counts: &mut [u64; BUCKETS], sum: &mut u64) {
        for (count, bucket) in counts.iter_mut().zip(&self.buckets) {
            *count += bucket.load(Ordering::Relaxed);
        }
        *sum = sum.wrapping_add(self.sum.load(Ordering::Relaxed));
    }
}

/// What a worker has measured of the polls that it has timed.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    /// How long they took.
    pub(crate) poll: Times,
    /// How long their tasks had been ready.
    pub(crate) delay: Times,
}

#[cfg(all(test, not(ringloop_no_record)))]
mod tests {
    use super::*;

    /// Goal: one poll in 64 is timed, and the delay of just these is known; method: the record alone.
    #[test]
    fn one_poll_in_64_is_timed() {
        let samples: &'static Samples = Box::leak(Box::default());
        let tick = &Tick::none();
        tick.begin(7, false);
        tick.watch.set(Watch { samples: Some(samples), ..Watch::NONE });
        let record = Record::new(5, 3, 2, tick);
        let mut timed = 0;
        for _ in 0..640 {
            record.note_ready(5, tick.mask.get());
            if record.begin_poll(5, tick) {
                timed += 1;
                record.end_timed(record.begin_timed(tick), tick);
            }
        }
        let read = record.read();
        assert_eq!((timed, read.polls, read.parent, read.group), (10, 640, 3, 2));
        let (mut counts, mut sum) = ([0; BUCKETS], 0);
        samples.poll.add_to(&mut counts, &mut sum);
        assert_eq!((counts.iter().sum::<u64>(), sum * 64), (10, read.busy));
        let mut counts = [0; BUCKETS];
        samples.delay.add_to(&mut counts, &mut sum);
        assert_eq!(counts.iter().sum::<u64>(), 10);
    }

    /// Goal: the lock before the last comes back; method: two locks in either order.
    #[test]
    fn the_last_lock_that_is_held_is_known() {
        let record = Record::new(1, 0, 0, &Tick::none());
        let outer = record.hold(10);
        let inner = record.hold(20);
        assert_eq!((outer, inner, record.read().held), (0, 10, 20));
        assert!(record.read().holds_more);
        record.let_go(20, inner);
        assert_eq!(record.read().held, 10);
        assert!(!record.read().holds_more);
        record.let_go(20, inner);
        record.let_go(10, outer);
        assert_eq!(record.read().held, 0);
    }

    /// Goal: each time has its bucket; method: the borders.
    #[test]
    fn times_fall_into_the_bucket_of_their_magnitude() {
        let times = Times::default();
        [0, 1, 2, 3, 4, u64::MAX].into_iter().for_each(|time| times.add(time));
        let (mut counts, mut sum) = ([0; BUCKETS], 0);
        times.add_to(&mut counts, &mut sum);
        assert_eq!(counts[..4], [1, 1, 2, 1]);
        assert_eq!((counts[BUCKETS - 1], sum), (1, 9));
    }
}
