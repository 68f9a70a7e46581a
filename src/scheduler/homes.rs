//! When a worker gives homes away.
//!
//! Tasks are stolen, but what arrives for their sockets still passes the ring of one worker. Where
//! that worker keeps up, this is the cheapest way: others are not woken, and what arrives is worked
//! off in batches. A worker does not keep up if three things are true. It has not slept for
//! [`LASTING`]. At the end of its tick work waits that is worth waking another worker for. Its
//! polls are long ([`LONG_POLL`]): with short ones, a second ring costs more than it saves. Then it
//! gives some homes to the worker that has the fewest, and again after each [`PERIOD`], until both
//! have about as many.
//!
//! A worker most of whose polls are of tasks that may run there only gives nothing: what arrived at another ring would
//! still be its own, with a wake between the two.
//!
//! A worker that one long poll holds does not answer at all meanwhile. Others rescue what arrives for it,
//! but only now and then. So at the end of such a tick it gives homes away whatever its load is, up to
//! [`MOST_HELD`], to the worker that has the fewest. No worker gives homes to one that was held within
//! the last [`REST`].
//!
//! A socket for which a task waits as the first gets its home by the same rules: mostly on the worker
//! that polls the task. If that worker does not keep up, or was held within the last [`REST`], the home
//! is the worker to which it would give homes. A task that may run here only keeps its sockets here.

use std::cell::Cell;

use super::{Address, balance, hub::Flavor, worker::Worker};
#[cfg(test)]
use crate::reactor;
use crate::{
    loom::atomic::Ordering,
    reactor::{Gift, Home},
    task,
};

/// How long a worker must have been busy, in ns.
const LASTING: u64 = 10_000_000;
/// Between two gifts, in ns.
const PERIOD: u64 = 10_000_000;
/// So many homes at a time, at most.
const MOST: u64 = 4;
/// So many homes leave a worker each time that it was held, at most.
const MOST_HELD: u64 = 16;
/// A worker that was held gets no homes for so long, in ns.
const REST: u64 = 1_000_000_000;
/// The average poll of a worker that gives homes away, in ns. A message of 64 bytes that is echoed takes
/// 2 to 5 us, and up to 12 where the thread has to share its core.
const LONG_POLL: u64 = 16_000;

/// What a worker knows of its own load.
pub(super) struct Load {
    /// When it last woke up, or began.
    awake_since: Cell<u64>,
    /// No gift before that.
    next: Cell<u64>,
    /// When it was last held, as far as it knows.
    held: Cell<u64>,
    /// Times that a task was queued which may run here only.
    local: Cell<u64>,
    /// The same when a gift was last thought of, and how many polls there had been by then.
    last: Cell<(u64, u64)>,
}

impl Load {
    pub(super) fn new() -> Self {
        Self {
            awake_since: Cell::new(u64::MAX),
            next: Cell::new(0),
            held: Cell::new(0),
            local: Cell::new(0),
            last: Cell::new((0, 0)),
        }
    }

    /// A task is queued that may run here only.
    #[inline]
    pub(super) fn note_local(&self) {
        self.local.set(self.local.get() + 1);
    }

    /// Whether most polls since the last call, of `polls` by now, were of such tasks; but for so many of them.
    fn is_mostly_local(&self, polls: u64, but: u64) -> bool {
        let local = self.local.get();
        let (old_local, old_polls) = self.last.replace((local, polls));
        let since = |now: u64, old: u64| now.saturating_sub(old).saturating_sub(but);
        2 * since(local, old_local) > since(polls, old_polls)
    }

    /// The worker has slept: it keeps up.
    pub(super) fn slept(&self) {
        self.awake_since.set(u64::MAX);
    }
}

/// Whether a worker that has been awake for so long, with so much work left, cannot keep up.
fn is_overloaded(awake: u64, backlog: usize, poll_time: u64) -> bool {
    awake >= LASTING && poll_time >= LONG_POLL && balance::worth_waking(backlog, poll_time)
}

/// How many homes a worker that has `mine` gives to one that has `theirs`.
fn gift(mine: u64, theirs: u64) -> u64 {
    // A difference of up to a quarter does not count: homes would come and go.
    if mine > theirs + theirs / 4 + 2 { (mine - theirs).div_ceil(4).min(MOST) } else { 0 }
}

/// Whether a worker that was last held then may get homes.
fn may_get_homes(held: u64, now: u64) -> bool {
    held == 0 || now.saturating_sub(held) >= REST
}

impl Worker {
    /// At the end of a tick with work left.
    #[inline]
    pub(super) fn give_homes(&self, now: u64) {
        let load = &self.load;
        if load.awake_since.get() == u64::MAX {
            load.awake_since.set(now);
        }
        if now < load.next.get() || self.flavor() == Flavor::Single {
            return;
        }
        #[cfg(test)]
        if reactor::force::is_on() {
            return self.give_to_any();
        }
        let awake = now.saturating_sub(load.awake_since.get());
        if is_overloaded(awake, self.backlog(), self.poll_time()) {
            self.give_some(now);
        }
    }

    /// The home for a socket for which a task waits here, as the first, if that is another worker's.
    pub(crate) fn home_elsewhere(&self) -> Option<Home> {
        if self.flavor() == Flavor::Single {
            return None;
        }
        #[cfg(test)]
        if reactor::force::is_on() {
            return self.others_indexed().next().map(|(other, _)| self.home_of(other).clone());
        }
        let block = self.block();
        // Relaxed, both: this thread's own word, and what a rescuer wrote in `note_if_held`.
        let now = block.checked.load(Ordering::Relaxed);
        let was_held = !may_get_homes(block.held.load(Ordering::Relaxed), now);
        let awake = now.saturating_sub(self.load.awake_since.get());
        if was_held || is_overloaded(awake, self.backlog(), self.poll_time()) {
            return self.home_of_fewest(now, was_held);
        }
        None
    }

    #[cold]
    fn home_of_fewest(&self, now: u64, was_held: bool) -> Option<Home> {
        // What arrives for a task that may run here only had better arrive here.
        if task::with_polled(|task| Address(task.place()).owner().is_some()) != Some(false) {
            return None;
        }
        let mine = self.home_of(self.index()).homes();
        let (to, theirs) = self.fewest_homes(now)?;
        (was_held || gift(mine, theirs) > 0).then(|| self.home_of(to).clone())
    }

    #[cold]
    fn give_some(&self, now: u64) {
        self.load.next.set(now + PERIOD);
        if self.load.is_mostly_local(self.block().counts.polls.get(), 0) {
            return;
        }
        let mine = self.home_of(self.index()).homes();
        let Some((to, theirs)) = self.fewest_homes(now) else { return };
        let count = gift(mine, theirs);
        if count > 0 {
            let to = self.home_of(to);
            self.with_reactor(|reactor| reactor.give_homes(to, count as u32, Gift::WhileBusy));
        }
    }

    /// At the end of each tick: gives homes away if another worker has found this one held.
    #[inline]
    pub(super) fn leave_if_held(&self, now: u64) {
        // Relaxed: the time that a rescuer wrote in `note_if_held`, and nothing else with it.
        let held = self.block().held.load(Ordering::Relaxed);
        if held != self.load.held.get() {
            self.load.held.set(held);
            self.leave_held(now);
        }
    }

    #[cold]
    fn leave_held(&self, now: u64) {
        // But for the poll that held it. It may be the only one here: others take all that arrives meanwhile.
        if self.load.is_mostly_local(self.block().counts.polls.get(), 1) {
            return;
        }
        let count = self.home_of(self.index()).homes().min(MOST_HELD);
        if let Some((to, _)) = self.fewest_homes(now)
            && count > 0
        {
            let to = self.home_of(to);
            self.with_reactor(|reactor| reactor.give_homes(to, count as u32, Gift::Lasting));
        }
    }

    /// The other worker with the fewest homes, of those that were not held of late, and how many it has.
    fn fewest_homes(&self, now: u64) -> Option<(usize, u64)> {
        self.others_indexed()
            .filter(|(_, (block, _))| may_get_homes(block.held.load(Ordering::Relaxed), now))
            .map(|(index, _)| (index, self.home_of(index).homes()))
            .min_by_key(|(_, homes)| *homes)
    }

    /// Gives one home to the first other worker.
    #[cfg(test)]
    fn give_to_any(&self) {
        if let Some((to, _)) = self.others_indexed().next() {
            let to = self.home_of(to);
            self.with_reactor(|reactor| reactor.give_homes(to, 1, Gift::WhileBusy));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_keeps_up_gives_nothing() {
        let (long, short) = (20_000, 12_000);
        assert!(is_overloaded(LASTING, 50, long));
        assert!(!is_overloaded(LASTING - 1, 50, long), "a burst");
        assert!(!is_overloaded(LASTING, 2, long), "next to nothing waits");
        assert!(!is_overloaded(LASTING, 1000, short), "a second ring costs more than it brings");
    }

    #[test]
    fn worker_that_was_held_gets_no_homes_for_a_time() {
        let held = 5 * REST;
        assert!(!may_get_homes(held, held));
        assert!(!may_get_homes(held, held + REST - 1));
        assert!(may_get_homes(held, held + REST));
        assert!(may_get_homes(0, 1), "it never was");
        assert!(!may_get_homes(held, held - 1), "another worker's clock was read later");
    }

    #[test]
    fn sockets_of_tasks_that_stay_stay_as_well() {
        let load = Load::new();
        (0..60).for_each(|_| load.note_local());
        assert!(load.is_mostly_local(100, 0), "60 of 100");
        (0..40).for_each(|_| load.note_local());
        assert!(!load.is_mostly_local(200, 0), "40 of the next 100");
        load.note_local();
        assert!(
            !load.is_mostly_local(201, 1),
            "the one that held the worker says nothing of its sockets"
        );
        (0..3).for_each(|_| load.note_local());
        assert!(load.is_mostly_local(204, 1), "the two others do");
    }

    #[test]
    fn gifts_end_where_both_have_about_as_many() {
        // Goal: a steady state that shows no moves; method: two workers give to each other by turns.
        for all in [0, 1, 2, 3, 7, 200, 10_000] {
            let mut homes = [all, 0];
            let mut moves = 0;
            loop {
                let [count, back] = [gift(homes[0], homes[1]), gift(homes[1], homes[0])];
                if count == 0 && back == 0 {
                    break;
                }
                assert!(count == 0 || back == 0, "both give: {homes:?}");
                homes = [homes[0] + back - count, homes[1] + count - back];
                moves += count + back;
            }
            assert!(homes[0].abs_diff(homes[1]) <= homes[1] / 4 + 3, "{homes:?}");
            assert!(moves <= all / 2 + MOST, "{moves} moves of {all}");
        }
    }
}
