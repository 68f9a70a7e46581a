//! The wheel against an oracle, and nodes that change hands.
//!
//! Every test has a mailbox with a pool of its own, and at its end asserts that each
//! node is back there: none lost, none twice.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

mod memory;
mod oracle;

use super::{
    pool::{BATCH, Pool},
    *,
};
use crate::loom::global::{AtomicU64, Ordering};

const TICK: u64 = 1 << 18;

fn mailbox() -> &'static Mailbox {
    let pool = Box::leak(Box::new(Pool::new()));
    Box::leak(Box::new(Mailbox::with_pool(pool)))
}

/// Writes its number down when woken.
struct Probe {
    number: usize,
    log: Arc<Mutex<Vec<usize>>>,
}

impl Wake for Probe {
    fn wake(self: Arc<Self>) {
        self.log.lock().unwrap().push(self.number);
    }
}

/// Timers with a log of what has fired.
struct Bench {
    mailbox: &'static Mailbox,
    timers: Timers,
    log: Arc<Mutex<Vec<usize>>>,
    armings: usize,
}

impl Bench {
    fn new(now: u64) -> Self {
        let mailbox = mailbox();
        Self { mailbox, timers: Timers::new(mailbox, now), log: Arc::default(), armings: 0 }
    }

    fn waker(&mut self) -> Waker {
        let number = self.armings;
        self.armings += 1;
        let log = self.log.clone();
        Waker::from(Arc::new(Probe { number, log }))
    }

    /// Arms a timer that logs the number of its arming.
    fn arm(&mut self, deadline: u64) -> TimerRef {
        let waker = self.waker();
        self.timers.arm(deadline, waker)
    }

    /// Expires all and returns what has fired.
    fn expire(&mut self, now: u64) -> Vec<usize> {
        self.expire_some(now, usize::MAX)
    }

    /// Expires at most `limit` and returns what has fired.
    fn expire_some(&mut self, now: u64, limit: usize) -> Vec<usize> {
        let mut wakes = Vec::new();
        self.timers.expire(now, limit, &mut wakes);
        wakes.into_iter().for_each(Waker::wake);
        std::mem::take(&mut self.log.lock().unwrap())
    }

    /// Ends the timers and counts nodes.
    fn finish(mut self) {
        drop(self.timers.close());
        drop(self.timers);
        assert_all_home(self.mailbox);
    }
}

/// Gives a timer up, as a worker does.
fn release(timer: TimerRef, here: &mut Timers) -> Option<Waker> {
    TimerRef::release(&mut Some(timer), Some(here))
}

/// Counts the nodes in the pool of a quiet mailbox. Nodes come in batches, so it has
/// a multiple of that.
fn assert_all_home(mailbox: &'static Mailbox) -> usize {
    assert_eq!(mailbox.armed(), 0);
    let mut nodes = mailbox.pool().drain();
    assert_eq!(nodes.len() % BATCH, 0, "a node is missing");
    let mut seen = HashSet::new();
    while let Some(node) = nodes.take() {
        assert!(seen.insert(std::ptr::from_ref(node)), "a node is here twice");
    }
    seen.len()
}

/// splitmix64: tests are seeded, and need nothing better.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }
}

#[test]
fn equal_deadlines_fire_in_arming_order() {
    // Half of them are armed when the deadline is far, at a high level, half when it
    // is near; every tenth of the first half is armed anew for the same time.
    let mut bench = Bench::new(0);
    let deadline = 1_000_000 * TICK + 5;
    let mut refs: Vec<_> = (0..500).map(|_| bench.arm(deadline)).collect();
    assert!(bench.expire(deadline - 3 * TICK).is_empty());
    refs.extend((0..500).map(|_| bench.arm(deadline)));
    for timer in refs[..500].iter().step_by(10) {
        assert!(bench.timers.rearm(timer, deadline));
    }
    assert!(bench.expire(deadline - 1).is_empty());
    let mut expected: Vec<_> = (0..1000).filter(|n| *n >= 500 || n % 10 != 0).collect();
    expected.extend((0..500).step_by(10));
    assert_eq!(bench.expire(deadline), expected);
    drop(refs);
    bench.finish();
}

#[test]
fn deadline_within_the_tick_is_not_early() {
    let mut bench = Bench::new(10 * TICK);
    let timer = bench.arm(10 * TICK + 100);
    assert_eq!(bench.timers.next_deadline(), Some(10 * TICK + 100));
    assert!(bench.expire(10 * TICK + 99).is_empty());
    assert_eq!(bench.expire(10 * TICK + 100), [0]);
    assert!(timer.is_fired());
    drop(timer);
    bench.finish();
}

#[test]
fn next_deadline_is_exact_near_by_and_the_slots_start_far_away() {
    let mut bench = Bench::new(0);
    let far = bench.arm(1000 * TICK + 7);
    // 1000 = 15 * 64 + 40.
    assert_eq!(bench.timers.next_deadline(), Some(15 * 64 * TICK));
    let near = bench.arm(40 * TICK + 7);
    let nearer = bench.arm(40 * TICK + 3);
    assert_eq!(bench.timers.next_deadline(), Some(40 * TICK + 3));
    drop(release(nearer, &mut bench.timers));
    assert_eq!(bench.timers.next_deadline(), Some(40 * TICK + 7));
    drop(release(near, &mut bench.timers));
    assert_eq!(bench.timers.next_deadline(), Some(15 * 64 * TICK));
    assert!(bench.expire(15 * 64 * TICK).is_empty());
    assert_eq!(bench.timers.next_deadline(), Some(1000 * TICK + 7));
    drop(release(far, &mut bench.timers));
    assert_eq!(bench.timers.next_deadline(), None);
    bench.finish();
}

#[test]
fn rearming_to_later_stays_in_its_slot_until_that_comes_up() {
    let mut bench = Bench::new(0);
    let timer = bench.arm(10 * TICK + 1);
    assert!(bench.timers.rearm(&timer, 20 * TICK + 1));
    // Filed where it was: the end of that slot is when it needs a look.
    assert_eq!(bench.timers.next_deadline(), Some(11 * TICK));
    assert!(bench.expire(11 * TICK).is_empty());
    assert_eq!(bench.timers.next_deadline(), Some(20 * TICK + 1));
    assert!(bench.timers.rearm(&timer, 12 * TICK));
    assert_eq!(bench.timers.next_deadline(), Some(12 * TICK));
    assert_eq!(bench.expire(12 * TICK), [0]);
    assert!(!bench.timers.rearm(&timer, 30 * TICK), "it has fired");
    drop(timer);
    bench.finish();
}

#[test]
fn never_is_legal_and_past_fires_at_once() {
    let mut bench = Bench::new(5 * TICK);
    let never = bench.arm(u64::MAX);
    assert!(bench.timers.next_deadline() > Some(Duration::from_secs(1 << 33).as_nanos() as u64));
    let past = [bench.arm(TICK), bench.arm(0), bench.arm(5 * TICK)];
    assert_eq!(bench.timers.next_deadline(), Some(0));
    assert_eq!(bench.expire(5 * TICK), [2, 1, 3]);
    // A clock that goes back, which it does not, would do no harm.
    assert!(bench.expire(TICK).is_empty());
    assert!(bench.expire(u64::MAX - 1).is_empty());
    assert!(!never.is_fired());
    assert_eq!(bench.expire(u64::MAX), [0]);
    drop((never, past));
    bench.finish();
}

#[test]
fn poll_replaces_the_waker_and_only_the_last_is_woken() {
    let mut bench = Bench::new(0);
    let timer = bench.arm(7);
    let second = bench.waker();
    for _ in 0..2 {
        assert_eq!(timer.poll(&mut Context::from_waker(&second)), Poll::Pending);
    }
    assert_eq!(bench.expire(7), [1]);
    let ready = timer.poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(ready, Poll::Ready(End::Fired));
    drop(timer);
    bench.finish();
}

#[test]
fn dropped_timer_lets_go_of_its_waker_at_once() {
    // On the owner, elsewhere, and with the mailbox not drained.
    let mut bench = Bench::new(0);
    let waker = Arc::new(Probe { number: 0, log: Arc::default() });
    let here = bench.timers.arm(7, waker.clone().into());
    let elsewhere = bench.timers.arm(7, waker.clone().into());
    assert_eq!(Arc::strong_count(&waker), 3);
    drop(release(here, &mut bench.timers));
    assert_eq!(Arc::strong_count(&waker), 2);
    drop(elsewhere);
    assert_eq!(Arc::strong_count(&waker), 1);
    assert_eq!(bench.timers.len(), 0, "counted off before its owner heard of it");
    assert!(bench.expire(7).is_empty());
    bench.finish();
}

#[test]
fn timer_of_another_worker_is_cancelled_by_mailbox() {
    let mut bench = Bench::new(0);
    let mut other = Bench::new(0);
    let timer = bench.arm(7);
    assert!(!other.timers.rearm(&timer, 8));
    drop(release(timer, &mut other.timers));
    assert_eq!(bench.mailbox.armed(), 0);
    assert!(bench.timers.next_deadline().is_some(), "not heard of yet");
    bench.timers.drain_mailbox();
    assert_eq!(bench.timers.next_deadline(), None);
    bench.finish();
    other.finish();
}

#[test]
fn nodes_are_used_again_by_the_next_runtime() {
    let mailbox = mailbox();
    for round in 0..10 {
        let mut timers = Timers::new(mailbox, round);
        let refs: Vec<_> = (0..BATCH).map(|_| timers.arm(1, Waker::noop().clone())).collect();
        drop(timers);
        drop(refs);
    }
    assert_eq!(assert_all_home(mailbox), BATCH);
}

#[test]
fn worker_keeps_few_free_nodes() {
    // Ten times what it may keep, in both ways of coming back.
    let mut bench = Bench::new(0);
    let refs: Vec<_> = (0..20 * BATCH).map(|_| bench.arm(1)).collect();
    for (number, timer) in refs.into_iter().enumerate() {
        let here = number % 2 == 0;
        drop(TimerRef::release(&mut Some(timer), here.then_some(&mut bench.timers)));
    }
    bench.timers.drain_mailbox();
    assert!(bench.timers.free.len() < 2 * BATCH);
    bench.finish();
}

/// Goal: a timer fires or is cancelled, never both, on whatever thread it is dropped, and every
/// node comes home. Method: one thread arms, re-arms and expires; another polls and drops at
/// random, as fast as they can; seeded.
#[test]
fn random_cancels_elsewhere_lose_and_double_nothing() {
    const ARMS: usize = 100_000;
    struct Count(AtomicU64);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    let mut bench = Bench::new(0);
    let (send, receive) = mpsc::sync_channel::<(TimerRef, Arc<Count>)>(256);
    let drop_at_random = move || {
        let mut random = Random(2);
        let mut held = Vec::new();
        let mut fired = 0;
        for (timer, count) in receive {
            held.push((timer, count));
            while held.len() > (random.next() % 128) as usize {
                let (timer, count) = held.swap_remove(random.next() as usize % held.len());
                let mut context = Context::from_waker(Waker::noop());
                if random.next().is_multiple_of(4) && timer.poll(&mut context).is_ready() {
                    fired += 1;
                }
                drop(timer);
                assert!(count.0.load(Ordering::Relaxed) <= 1);
            }
        }
        fired
    };
    let fired_elsewhere = std::thread::scope(|scope| {
        let other = scope.spawn(drop_at_random);
        let mut random = Random(1);
        let mut now = 0;
        let mut wakes = Vec::new();
        for _ in 0..ARMS {
            let count = Arc::new(Count(AtomicU64::new(0)));
            let deadline = now + random.next() % (80 * TICK);
            let timer = bench.timers.arm(deadline, count.clone().into());
            match random.next() % 8 {
                0 => assert!(bench.timers.rearm(&timer, deadline + random.next() % TICK)),
                1 => drop(release(timer, &mut bench.timers)),
                _ => send.send((timer, count)).unwrap(),
            }
            if random.next().is_multiple_of(16) {
                now += random.next() % (4 * TICK);
                bench.timers.drain_mailbox();
                bench.timers.expire(now, 1 + random.next() as usize % 64, &mut wakes);
                wakes.drain(..).for_each(Waker::wake);
            }
        }
        drop(send);
        other.join().unwrap()
    });
    assert!(fired_elsewhere > 0, "none fired elsewhere: the test lost its point");
    bench.timers.drain_mailbox();
    assert!(bench.expire(0).is_empty(), "what was due has been let go of");
    assert_eq!(bench.timers.len(), 0);
    assert_eq!(bench.timers.next_deadline(), None);
    bench.finish();
}

#[test]
fn close_orphans_and_wakes_and_references_bring_their_nodes_home() {
    let mut bench = Bench::new(0);
    let fired = bench.arm(1);
    assert_eq!(bench.expire(1), [0]);
    let refs = [bench.arm(9), bench.arm(9), bench.arm(u64::MAX), fired];
    let wakes = bench.timers.close();
    assert_eq!(wakes.len(), 3, "every task that still waits is woken");
    assert!(bench.timers.close().is_empty());
    assert_eq!(bench.timers.next_deadline(), None);
    let Bench { mailbox, mut timers, .. } = bench;
    let [first, second, third, fired] = refs;
    let poll = first.poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(poll, Poll::Ready(End::Orphaned));
    drop(release(first, &mut timers));
    drop(timers);
    // The mailbox serves the next runtime, whose timers must not feel the old ones.
    let mut next = Timers::new(mailbox, 0);
    let armed = next.arm(5, Waker::noop().clone());
    drop(release(second, &mut next));
    drop(third);
    std::thread::scope(|scope| drop(scope.spawn(|| drop(fired))));
    next.drain_mailbox();
    assert_eq!(next.len(), 1);
    drop(release(armed, &mut next));
    drop(next);
    assert_all_home(mailbox);
}

#[test]
fn arming_after_close_gives_an_orphan() {
    let mut bench = Bench::new(0);
    drop(bench.timers.close());
    let timer = bench.arm(1);
    assert!(bench.expire(1).is_empty());
    let poll = timer.poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(poll, Poll::Ready(End::Orphaned));
    assert!(!bench.timers.rearm(&timer, 2));
    drop(release(timer, &mut bench.timers));
    bench.finish();
}

#[test]
#[should_panic(expected = "one open Timers at a time")]
fn second_timers_on_a_mailbox_is_refused() {
    let bench = Bench::new(0);
    let _second = Timers::new(bench.mailbox, 0);
}

/// Goal: cancels elsewhere that meet a close, and the mailbox's next owner, leave every
/// node home. Method: two threads, many rounds, no luck needed for it to be seen: a node
/// lost in any round is missing at the end.
#[test]
fn close_against_cancels_elsewhere_loses_nothing() {
    let mailbox = mailbox();
    let (send, receive) = mpsc::channel::<Vec<TimerRef>>();
    std::thread::scope(|scope| {
        scope.spawn(|| receive.into_iter().for_each(drop));
        for round in 0..2000 {
            let mut timers = Timers::new(mailbox, round);
            timers.drain_mailbox();
            let refs = (0..20).map(|n| timers.arm(round + n * TICK, Waker::noop().clone()));
            send.send(refs.collect()).unwrap();
            timers.expire(round + 4 * TICK, round as usize % 8, &mut Vec::new());
            drop(timers.close());
        }
        drop(send);
    });
    Timers::new(mailbox, 0).drain_mailbox();
    assert_all_home(mailbox);
}
