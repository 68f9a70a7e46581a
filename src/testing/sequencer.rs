//! Turns that tasks take in a fixed order.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::{loom::global::Mutex, util::panic};

/// Has tasks take turns, by numbers: the task with turn 0 goes first, and the task with turn 1 goes
/// on when that one is done.
///
/// Clones share the turns. Each number is for one caller. It works on any executor, and on several
/// workers: the result does not depend on the order in which tasks are run.
///
/// asyncio: has none; tests there count on the order of the loop. trio: `trio.testing.Sequencer`.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use ringloop::testing::Sequencer;
///
/// ringloop::run(async {
///     let (turns, log) = (Sequencer::new(), Arc::new(Mutex::new(Vec::new())));
///     let task = ringloop::spawn({
///         let (turns, log) = (turns.clone(), log.clone());
///         async move {
///             for number in [0, 2] {
///                 let _turn = turns.turn(number).await;
///                 log.lock().unwrap().push(number);
///             }
///         }
///     });
///     let turn = turns.turn(1).await; // when the task is done with turn 0
///     log.lock().unwrap().push(1);
///     drop(turn);
///     task.await.unwrap();
///     assert_eq!(*log.lock().unwrap(), [0, 1, 2]);
/// });
/// ```
#[derive(Clone, Default)]
pub struct Sequencer(Arc<Mutex<Turns>>);

#[derive(Default)]
struct Turns {
    /// Whose turn it is.
    next: usize,
    /// Numbers that have a caller.
    taken: BTreeSet<usize>,
    waiting: BTreeMap<usize, Waker>,
    /// A number whose caller gave up before its turn: no later one can come.
    abandoned: Option<usize>,
}

impl Sequencer {
    /// Turns that begin with number 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits for turn `number`, which is over when the returned [`Turn`] is dropped.
    ///
    /// # Cancel safety
    ///
    /// A caller that gives up before its turn breaks the order. All callers with a later number
    /// panic, since they would wait for ever.
    ///
    /// # Panics
    ///
    /// If somebody has that number already. The future panics if the caller of an earlier number has
    /// given up.
    #[track_caller]
    pub fn turn(&self, number: usize) -> TurnFuture {
        let is_new = self.0.lock().taken.insert(number);
        assert!(is_new, "Sequencer: turn {number} has a caller already");
        TurnFuture { turns: self.clone(), number, has_come: false }
    }
}

impl fmt::Debug for Sequencer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let turns = self.0.lock();
        f.debug_struct("Sequencer")
            .field("next", &turns.next)
            .field("waiting", &turns.waiting.keys().collect::<Vec<_>>())
            .field("abandoned", &turns.abandoned)
            .finish()
    }
}

/// The future of [`Sequencer::turn`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct TurnFuture {
    turns: Sequencer,
    number: usize,
    has_come: bool,
}

impl Future for TurnFuture {
    type Output = Turn;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Turn> {
        let number = self.number;
        let waker = cx.waker().clone();
        let mut turns = self.turns.0.lock();
        if let Some(abandoned) = turns.abandoned.filter(|&abandoned| abandoned < number) {
            drop(turns);
            panic!(
                "Sequencer: turn {number} cannot come, for the caller of turn {abandoned} has given up"
            );
        }
        if turns.next != number {
            let old = turns.waiting.insert(number, waker);
            drop(turns);
            panic::discard_foreign(old);
            return Poll::Pending;
        }
        drop(turns);
        assert!(!self.has_come, "TurnFuture polled after its turn has come");
        self.has_come = true;
        Poll::Ready(Turn { turns: self.turns.clone(), number })
    }
}

impl Drop for TurnFuture {
    fn drop(&mut self) {
        if self.has_come {
            return;
        }
        let mut turns = self.turns.0.lock();
        turns.abandoned =
            Some(turns.abandoned.map_or(self.number, |number| number.min(self.number)));
        let wakers = std::mem::take(&mut turns.waiting);
        drop(turns);
        wakers.into_values().for_each(|waker| panic::contain(|| waker.wake()));
    }
}

/// A turn of a [`Sequencer`]: the next one comes when this is dropped.
#[derive(Debug)]
#[must_use = "the turn is over when this is dropped"]
pub struct Turn {
    turns: Sequencer,
    number: usize,
}

impl Turn {
    /// Its number.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turns = self.turns.0.lock();
        turns.next = self.number + 1;
        let waker = turns.waiting.remove(&(self.number + 1));
        drop(turns);
        if let Some(waker) = waker {
            panic::contain(|| waker.wake());
        }
    }
}
