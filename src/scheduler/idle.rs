#![doc = include_str!("README.md")]

use crate::loom::{
    atomic::{AtomicU64, Ordering, fence},
    pick,
};

/// The most workers that one runtime can have: what fits into the word.
pub(crate) const MAX_WORKERS: usize = pick(48, 3);

const PARKED: u64 = (1 << MAX_WORKERS) - 1;
const SEARCHER_SHIFT: u32 = 48;
const PATROL_SHIFT: u32 = 54;
const HOLDER: u64 = 0x3f;

/// One value of the word.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Word(u64);

impl Word {
    fn is_parked(self, worker: usize) -> bool {
        self.0 >> worker & 1 == 1
    }

    fn with_parked(self, worker: usize, parked: bool) -> Self {
        Self(self.0 & !(1 << worker) | u64::from(parked) << worker)
    }

    /// The lowest parked worker.
    fn first_parked(self) -> Option<usize> {
        let parked = self.0 & PARKED;
        (parked != 0).then(|| parked.trailing_zeros() as usize)
    }

    fn all_parked_but(self, worker: usize, workers: usize) -> bool {
        (self.0 | 1 << worker) & PARKED == (1 << workers) - 1
    }

    fn holder(self, shift: u32) -> Option<usize> {
        (self.0 >> shift & HOLDER).checked_sub(1).map(|worker| worker as usize)
    }

    fn with_holder(self, shift: u32, worker: Option<usize>) -> Self {
        let field = worker.map_or(0, |worker| worker as u64 + 1);
        Self(self.0 & !(HOLDER << shift) | field << shift)
    }
}

/// The workers that are parked, the searcher and the patroller: one word.
pub(crate) struct Idle {
    word: AtomicU64,
}

/// How to sleep.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sleep {
    /// Until an event, a deadline, the doorbell or the end of a nap.
    Long,
    /// The same, but wake up for the patrol.
    Patrol,
}

/// Somebody sleeps. May have changed by the time it is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sleepers {
    /// Nobody searches.
    pub(crate) could_search: bool,
    /// Nobody patrols.
    pub(crate) could_patrol: bool,
}

impl Idle {
    pub(crate) fn new() -> Self {
        Self { word: AtomicU64::new(0) }
    }

    /// All busy, no duties: for a new life, before its workers start.
    pub(crate) fn reset(&self) {
        // Relaxed: handed to the workers by the start of their threads.
        self.word.store(0, Ordering::Relaxed);
    }

    /// Steps P1 to P4. `has_work` is the final look; `sleep` blocks.
    ///
    /// `quiet` says that this worker is on patrol and saw no activity since its last look: only
    /// then may it give the duty up.
    pub(crate) fn park(
        &self,
        me: usize,
        workers: usize,
        quiet: bool,
        has_work: impl FnOnce() -> bool,
        sleep: impl FnOnce(Sleep),
    ) {
        let how = self.enter(me, workers, quiet);
        // P2. Pairs with the fence in `notify` and `claim`: of "bit set, then look" and
        // "work published, then look at the bit" one sees the other.
        fence(Ordering::SeqCst);
        if !has_work() {
            sleep(how);
        }
        self.leave(me);
    }

    /// P1: one RMW sets the bit, gives up the search, takes or gives up the patrol.
    fn enter(&self, me: usize, workers: usize, quiet: bool) -> Sleep {
        let mut how = Sleep::Long;
        self.update(|word| {
            let mut next = word.with_parked(me, true);
            if next.holder(SEARCHER_SHIFT) == Some(me) {
                next = next.with_holder(SEARCHER_SHIFT, None);
            }
            let alone = next.all_parked_but(me, workers);
            match next.holder(PATROL_SHIFT) {
                Some(holder) if holder == me && alone && quiet => {
                    next = next.with_holder(PATROL_SHIFT, None);
                }
                None if !alone => next = next.with_holder(PATROL_SHIFT, Some(me)),
                _ => {}
            }
            how = match next.holder(PATROL_SHIFT) {
                Some(holder) if holder == me => Sleep::Patrol,
                _ => Sleep::Long,
            };
            Some(next)
        });
        how
    }

    /// P4: one RMW clears the bit, unless somebody claimed it.
    fn leave(&self, me: usize) {
        self.update(|word| {
            let next = word.with_parked(me, false);
            (next != word).then_some(next)
        });
    }

    /// The patroller found work: the duty falls to the next that parks.
    pub(crate) fn give_up_patrol(&self, me: usize) {
        self.update(|word| {
            (word.holder(PATROL_SHIFT) == Some(me)).then(|| word.with_holder(PATROL_SHIFT, None))
        });
    }

    /// Steps N2 and N3: work for `target` has been published. `true`: it sleeps,
    /// and it is the caller's to ring.
    #[must_use]
    pub(crate) fn notify(&self, target: usize) -> bool {
        // N2. Pairs with P2.
        fence(Ordering::SeqCst);
        if !self.load().is_parked(target) {
            return false;
        }
        // AcqRel: the thread that claims the bit is the only one to ring for it.
        let old = Word(self.word.fetch_and(!(1 << target), Ordering::AcqRel));
        old.is_parked(target)
    }

    /// Steps A1 to A3: there is a backlog worth a wake. Claims a sleeper as the
    /// searcher, if one sleeps and nobody searches; the caller rings it.
    #[must_use]
    pub(crate) fn announce(&self) -> Option<usize> {
        self.claim(SEARCHER_SHIFT)
    }

    /// A task runs that may be the one that holds its worker, and nobody patrols: claims a
    /// sleeper for the duty; the caller rings it.
    #[must_use]
    pub(crate) fn arm_patrol(&self) -> Option<usize> {
        self.claim(PATROL_SHIFT)
    }

    fn claim(&self, shift: u32) -> Option<usize> {
        // Pairs with P2 and S2, as in `notify`.
        fence(Ordering::SeqCst);
        let mut claimed = None;
        self.update(|word| {
            claimed = match word.holder(shift) {
                Some(_) => None,
                None => word.first_parked(),
            };
            claimed.map(|worker| word.with_parked(worker, false).with_holder(shift, Some(worker)))
        });
        claimed
    }

    /// Steps S1 and S2, if `me` was named the searcher. `look` goes through all queues
    /// and takes half of one, if it can; `again` looks at backlogs once more.
    pub(crate) fn search(&self, me: usize, look: impl FnOnce() -> bool, again: impl FnOnce()) {
        if self.is_searcher(me) {
            let found = look();
            if self.end_search(me) && !found {
                again();
            }
        }
    }

    /// S1: gives up the token. Returns whether it was there to give up.
    fn end_search(&self, me: usize) -> bool {
        let ended = self.update(|word| {
            (word.holder(SEARCHER_SHIFT) == Some(me))
                .then(|| word.with_holder(SEARCHER_SHIFT, None))
        });
        // S2. Pairs with the fence in `claim`: an announcer that still saw the
        // token had published its backlog before the look that follows.
        fence(Ordering::SeqCst);
        ended
    }

    #[inline]
    fn is_searcher(&self, me: usize) -> bool {
        self.load().holder(SEARCHER_SHIFT) == Some(me)
    }

    /// Whether `me` has the patrol. Exact if a worker asks about itself and is not parked.
    pub(crate) fn is_patroller(&self, me: usize) -> bool {
        self.load().holder(PATROL_SHIFT) == Some(me)
    }

    /// Whether somebody patrols.
    pub(crate) fn has_patroller(&self) -> bool {
        self.load().holder(PATROL_SHIFT).is_some()
    }

    /// What a sleeping worker could be woken for; `None` if none sleeps.
    #[inline]
    pub(crate) fn sleepers(&self) -> Option<Sleepers> {
        let word = self.load();
        (word.0 & PARKED != 0).then(|| Sleepers {
            could_search: word.holder(SEARCHER_SHIFT).is_none(),
            could_patrol: word.holder(PATROL_SHIFT).is_none(),
        })
    }

    pub(crate) fn is_parked(&self, worker: usize) -> bool {
        self.load().is_parked(worker)
    }

    /// Whether every worker is parked, and nobody has been woken. After a fence (P2).
    pub(crate) fn are_all_parked(&self, workers: usize) -> bool {
        // Acquire: what each did before it parked is seen.
        self.word.load(Ordering::Acquire) & PARKED == (1 << workers) - 1
    }

    /// Which worker a foreign thread should give work to: its favourite if that is awake and not
    /// held by a task, else any other such worker, else the lowest that sleeps, so that few
    /// work at low load. `None`: all are held.
    pub(crate) fn choose(
        &self,
        favourite: usize,
        workers: usize,
        mut is_held: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let word = self.load();
        let mut is_free = |worker: &usize| !word.is_parked(*worker) && !is_held(*worker);
        if is_free(&favourite) {
            return Some(favourite);
        }
        (0..workers).find(is_free).or_else(|| word.first_parked())
    }

    #[inline]
    fn load(&self) -> Word {
        // Relaxed: where an answer must not be stale, a fence stands before it.
        Word(self.word.load(Ordering::Relaxed))
    }

    /// One edge of the word; `None` from `edge` leaves it. AcqRel: all edges of
    /// the word are ordered, and carry what their makers did before.
    fn update(&self, mut edge: impl FnMut(Word) -> Option<Word>) -> bool {
        self.word
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                edge(Word(word)).map(|next| next.0)
            })
            .is_ok()
    }
}

impl std::fmt::Debug for Idle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = self.load();
        f.debug_struct("Idle")
            .field("parked", &format_args!("{:b}", word.0 & PARKED))
            .field("searcher", &word.holder(SEARCHER_SHIFT))
            .field("patrol", &word.holder(PATROL_SHIFT))
            .finish()
    }
}
