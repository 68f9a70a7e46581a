//! Random steps on the timers and on an ordered map side by side.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Bench, TICK, release};
use crate::reactor::timers::TimerRef;

#[derive(Clone, Debug)]
enum Step {
    Arm(Time),
    Cancel(usize),
    Rearm(usize, Time),
    /// By so much, and then so many may fire.
    Advance(u64, usize),
    /// To where `next_deadline` points.
    AdvanceToNext,
    /// Asks the clock of a thread that lags behind.
    Back(u64),
    /// Compares `next_deadline`; a step of its own, since it leaves an answer behind
    /// that later steps must keep right.
    Look,
}

#[derive(Clone, Debug)]
enum Time {
    Past(u64),
    Ahead(u64),
    Exactly(u64),
    Never,
}

impl Time {
    fn after(&self, now: u64) -> u64 {
        match *self {
            Self::Past(by) => now.saturating_sub(by),
            Self::Ahead(by) => now.saturating_add(by),
            Self::Exactly(at) => at,
            Self::Never => u64::MAX,
        }
    }
}

/// Any size of number as likely as any other.
fn span() -> impl Strategy<Value = u64> {
    (0u32..64, any::<u64>()).prop_map(|(bits, word)| word >> bits)
}

/// Spans that mostly stay in the two lowest levels.
fn short_span() -> impl Strategy<Value = u64> {
    (0u32..20, 0..4096 * TICK).prop_map(|(bits, word)| word >> bits)
}

fn time() -> impl Strategy<Value = Time> {
    prop_oneof![
        1 => span().prop_map(Time::Past),
        4 => span().prop_map(Time::Ahead),
        8 => short_span().prop_map(Time::Ahead),
        2 => (0u64..8).prop_map(|tick| Time::Exactly(tick * TICK)),
        1 => Just(Time::Never),
    ]
}

fn limit() -> impl Strategy<Value = usize> {
    prop_oneof![Just(usize::MAX), 0usize..6]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => time().prop_map(Step::Arm),
        2 => any::<usize>().prop_map(Step::Cancel),
        3 => (any::<usize>(), time()).prop_map(|(which, time)| Step::Rearm(which, time)),
        3 => (short_span(), limit()).prop_map(|(by, limit)| Step::Advance(by, limit)),
        1 => (span(), limit()).prop_map(|(by, limit)| Step::Advance(by, limit)),
        2 => Just(Step::AdvanceToNext),
        1 => short_span().prop_map(Step::Back),
        6 => Just(Step::Look),
    ]
}

/// What the timers should hold: (deadline, order of arming) to number.
#[derive(Default)]
struct Oracle {
    armed: BTreeMap<(u64, usize), usize>,
    /// What was due when there was nothing else here, and is still to have its turn. None: it
    /// has been let go of.
    due: BTreeMap<(u64, usize), Option<usize>>,
    seq: usize,
}

impl Oracle {
    fn insert(&mut self, deadline: u64, number: usize) -> (u64, usize) {
        self.seq += 1;
        self.armed.insert((deadline, self.seq), number);
        (deadline, self.seq)
    }

    /// Cancels; whether it was still to fire.
    fn cancel(&mut self, key: &(u64, usize)) -> bool {
        let due = self.due.get_mut(key).and_then(Option::take);
        self.armed.remove(key).or(due).is_some()
    }

    fn is_armed(&self, key: &(u64, usize)) -> bool {
        self.armed.contains_key(key) || self.due.get(key).is_some_and(Option::is_some)
    }

    fn len(&self) -> usize {
        self.armed.len() + self.due.len()
    }

    /// The deadline of what has its turn first.
    fn first(&self) -> Option<u64> {
        let due = self.due.keys().next();
        due.or_else(|| self.armed.keys().next()).map(|(deadline, _)| *deadline)
    }

    fn expire(&mut self, now: u64, limit: usize) -> Vec<usize> {
        let next = || {
            if self.due.is_empty() {
                let later = self.armed.split_off(&(now.saturating_add(1), 0));
                let mut due = std::mem::replace(&mut self.armed, later);
                if now == u64::MAX {
                    due.append(&mut self.armed);
                }
                self.due = due.into_iter().map(|(key, number)| (key, Some(number))).collect();
            }
            self.due.pop_first().map(|(_, number)| number)
        };
        std::iter::from_fn(next).take(limit).flatten().collect()
    }
}

fn check(start: u64, steps: &[Step]) {
    let mut bench = Bench::new(start);
    let mut oracle = Oracle::default();
    let mut now = start;
    // References with their keys in the oracle; of fired ones too.
    let mut refs: Vec<(TimerRef, (u64, usize))> = Vec::new();
    for step in steps {
        match step {
            Step::Arm(time) => {
                let deadline = time.after(now);
                let key = oracle.insert(deadline, bench.armings);
                refs.push((bench.arm(deadline), key));
            }
            Step::Cancel(which) if !refs.is_empty() => {
                let (timer, key) = refs.swap_remove(which % refs.len());
                let was_armed = oracle.cancel(&key);
                let waker = release(timer, &mut bench.timers);
                assert_eq!(waker.is_some(), was_armed);
            }
            Step::Rearm(which, time) if !refs.is_empty() => {
                let which = which % refs.len();
                let (timer, key) = &mut refs[which];
                let deadline = time.after(now);
                let number = oracle.armed.remove(key);
                assert_eq!(bench.timers.rearm(timer, deadline), number.is_some());
                if let Some(number) = number {
                    *key = oracle.insert(deadline, number);
                }
            }
            Step::Cancel(_) | Step::Rearm(..) => {}
            Step::Advance(by, limit) => {
                now = now.saturating_add(*by);
                let fired = bench.expire_some(now, *limit);
                assert_eq!(fired, oracle.expire(now, *limit), "at {now}");
            }
            Step::AdvanceToNext => {
                now = bench.timers.next_deadline().map_or(now, |next| next.max(now));
                assert_eq!(bench.expire(now), oracle.expire(now, usize::MAX), "at {now}");
                // Progress: a worker that sleeps until the next deadline does not spin.
                assert!(bench.timers.next_deadline().is_none_or(|next| next > now));
            }
            Step::Back(by) => {
                let before = now.saturating_sub(*by);
                let fired = bench.expire(before);
                assert_eq!(fired, oracle.expire(before, usize::MAX), "back at {before}");
            }
            Step::Look => {
                let first = oracle.first();
                let next = bench.timers.next_deadline();
                assert_eq!(next.is_some(), first.is_some());
                assert!(next <= first, "{next:?} is later than {first:?}");
            }
        }
        assert_eq!(bench.timers.len(), oracle.len());
        for (timer, key) in &refs {
            assert_eq!(timer.is_fired(), !oracle.is_armed(key));
        }
    }
    // All but "never" fires in the end, in order.
    assert_eq!(bench.expire(u64::MAX - 1), oracle.expire(u64::MAX - 1, usize::MAX));
    for (timer, _) in refs {
        drop(release(timer, &mut bench.timers));
    }
    bench.finish();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    /// Goal: exactly the due ones fire, sorted, and `next_deadline` never oversleeps.
    /// Method: random steps on the timers and on an ordered map side by side.
    #[test]
    fn random_steps_agree_with_an_ordered_map(
        start in prop_oneof![Just(0), span()],
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        check(start, &steps);
    }
}
