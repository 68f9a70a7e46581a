//! The watch of a lane: when the lane grows, and when a report says that it cannot.

use std::{sync::Arc, time::Duration};

use super::{Duty, Guard, Help, Job, JobQueue, Limits, Saturated, Sleeper, State, Watch};
use crate::{loom::yield_now, util::clock};

/// A job that takes less is not worth a further thread: to wake one takes as long.
const SHORT: u64 = 10_000;
/// Pauses between looks get longer while all is well: up to so many times the shortest.
const LONGEST_PAUSE: u32 = 8;
/// Looks at an empty queue before it rests.
const QUIET: u32 = 4;

/// What the watch knows of its looks before.
struct Looks {
    /// Until the next.
    pause: Duration,
    /// Looks in a row at which nothing was queued.
    quiet: u32,
    /// Jobs taken out by the last, and when it was.
    taken: u64,
    at: u64,
}

/// What it does next.
enum Step<N> {
    Pause,
    /// A thread is to come.
    Grow(Help),
    /// It looks again then, since the lane cannot grow.
    Doze(Duration),
    Rest,
    Report(Saturated<N>),
}

impl<J: Job> JobQueue<J> {
    /// The life of the watch, until it has rested for as long as an idle thread, or the queue is
    /// closed. `start` is called with threads that are wanted, `tell` when the lane is saturated.
    pub(crate) fn watch(&self, start: &dyn Fn(Duty), tell: &dyn Fn(Saturated<J::Name>)) {
        let sleeper = Sleeper::new();
        let mut state = self.state.lock();
        let pause = self.limits.patience;
        let mut looks = Looks { pause, quiet: 0, taken: state.taken, at: clock::machine() };
        while !(state.closed && state.jobs.is_empty()) {
            match state.step(&self.limits, &mut looks) {
                Step::Pause => {
                    drop(state);
                    // In a model the sleep takes no time, and others are to have their turns.
                    yield_now();
                    sleeper.sleep(looks.pause);
                    looks.pause = (looks.pause * 2).min(self.limits.patience * LONGEST_PAUSE);
                }
                Step::Grow(help) => {
                    drop(state);
                    if let Some(duty) = help.give() {
                        start(duty);
                    }
                    yield_now();
                    looks.pause = self.limits.patience;
                    sleeper.sleep(looks.pause);
                }
                Step::Report(saturated) => {
                    drop(state);
                    tell(saturated);
                }
                Step::Doze(limit) => {
                    state.watch = Watch::Dozing(sleeper.clone());
                    state = self.sleep(state, &sleeper, limit).0;
                    state.watch = Watch::Awake;
                    continue;
                }
                Step::Rest => {
                    state.watch = Watch::Resting(sleeper.clone());
                    let (guard, called) = self.sleep(state, &sleeper, self.limits.keep_alive);
                    state = guard;
                    if !called {
                        break;
                    }
                    looks = Looks { pause, quiet: 0, taken: state.taken, at: clock::machine() };
                    continue;
                }
            }
            state = self.state.lock();
        }
        state.watch = Watch::Absent;
        drop(state);
        self.one_less.notify_all();
    }

    /// Sleeps until the watch is called, or for so long. `false`: it was not called.
    fn sleep<'a>(
        &'a self,
        state: Guard<'a, J>,
        sleeper: &Arc<Sleeper>,
        limit: Duration,
    ) -> (Guard<'a, J>, bool) {
        drop(state);
        loop {
            // As above.
            yield_now();
            let called = sleeper.sleep(limit);
            let state = self.state.lock();
            // As for idle threads (J2, J4): a caller changes the state first.
            match (&state.watch, called) {
                (Watch::Awake, _) => return (state, true),
                (_, false) => return (state, false),
                (_, true) => {}
            }
        }
    }
}

impl<J: Job> JobQueue<J> {
    /// Whether there is a watch that neither dozes nor rests.
    #[allow(dead_code, reason = "models ask, and nobody else has to")]
    pub(crate) fn watch_is_awake(&self) -> bool {
        matches!(self.state.lock().watch, Watch::Awake)
    }
}

impl<J: Job> State<J> {
    fn step(&mut self, limits: &Limits, looks: &mut Looks) -> Step<J::Name> {
        let now = clock::machine();
        let (taken, passed) = (self.taken - looks.taken, now.saturating_sub(looks.at));
        (looks.taken, looks.at) = (self.taken, now);
        let can_grow = !self.idle.is_empty() || self.threads < limits.threads;
        let Some(oldest) = self.oldest() else {
            self.hungry = false;
            looks.quiet += 1;
            return match can_grow {
                true if looks.quiet <= QUIET => Step::Pause,
                // Else it would be called for each burst.
                false if taken > 0 => Step::Doze(limits.saturated),
                _ => Step::Rest,
            };
        };
        looks.quiet = 0;
        let waits = now.saturating_sub(oldest.since);
        if can_grow {
            // A model has no time, and no short jobs.
            let short = !limits.patience.is_zero()
                && taken > 0
                && passed.saturating_mul(self.busy as u64) / taken < SHORT;
            self.hungry = waits >= clock::nanos(limits.patience) && !short;
            return if self.hungry { Step::Grow(self.summon(limits)) } else { Step::Pause };
        }
        let limit = clock::nanos(limits.saturated);
        if self.reported {
            return Step::Doze(limits.saturated);
        }
        match limit.checked_sub(waits).filter(|&rest| rest > 0) {
            Some(rest) => Step::Doze(Duration::from_nanos(rest)),
            None => {
                self.reported = true;
                Step::Report(self.saturated(waits))
            }
        }
    }

    fn saturated(&self, waits: u64) -> Saturated<J::Name> {
        let held = self.seats.iter().filter_map(|seat| *seat.job.lock());
        Saturated { queued: self.queued(), waits, holder: held.min_by_key(|held| held.number) }
    }
}
