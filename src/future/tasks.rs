//! Waiting for several tasks: `gather_settled`, `wait`, `as_completed`, `shield`.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::{FusedStream, Stream};
use futures_util::stream::FuturesUnordered;

use super::{
    combine::{Combine, Ending, HasOutcome, Members},
    many::Empty,
};
use crate::{
    error::TaskError,
    runtime::{self, Deadline},
    task::{Task, uncancellable},
    time::Instant,
    util::current,
};

/// Tasks that are owned, and waited for one after the other: what [`gather_settled`] runs.
pub struct SettleTasks<T> {
    tasks: Vec<Task<T>>,
    results: Vec<Result<T, TaskError>>,
    ending: bool,
    /// Whether the task that waits is noted in the tasks.
    noted: bool,
}

impl<T> Unpin for SettleTasks<T> {}

impl<T> SettleTasks<T> {
    fn poll_all(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !std::mem::replace(&mut self.noted, true) {
            self.tasks.iter().for_each(Task::note_awaiter);
        }
        while let Some(task) = self.tasks.get_mut(self.results.len()) {
            self.results.push(ready!(task.poll_result(cx)));
        }
        Poll::Ready(())
    }
}

impl<T> HasOutcome for SettleTasks<T> {
    type Outcome = Vec<Result<T, TaskError>>;
}

impl<T> Members for SettleTasks<T> {
    fn poll_members(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Outcome> {
        ready!(self.poll_all(cx));
        self.tasks.clear();
        Poll::Ready(std::mem::take(&mut self.results))
    }

    fn end_quietly(self: Pin<&mut Self>) -> bool {
        self.results.len() == self.tasks.len()
    }

    fn poll_end(mut self: Pin<&mut Self>, cx: &mut Context<'_>, end: &Ending) -> Poll<()> {
        if !std::mem::replace(&mut self.ending, true) {
            for task in &self.tasks[self.results.len()..] {
                task.cancel_by(end.cause());
            }
        }
        ready!(self.poll_all(cx));
        self.tasks.clear();
        Poll::Ready(())
    }
}

impl<T> Drop for SettleTasks<T> {
    fn drop(&mut self) {
        for task in self.tasks.iter().skip(self.results.len()) {
            task.cancel();
        }
    }
}

/// Waits for all the tasks, whatever becomes of them: their results, in order.
///
/// The tasks are owned: when a scope around it is cancelled, those that still run are cancelled, and
/// have ended before it goes on. Dropping it cancels them as well.
///
/// asyncio: `asyncio.gather(*tasks, return_exceptions=True)`.
///
/// # Cancel safety
///
/// Results of those that have ended are dropped with it.
///
/// ```
/// ringloop::run(async {
///     let good = ringloop::spawn(async { 1 });
///     let bad = ringloop::spawn(async { std::future::pending().await });
///     bad.cancel();
///     let results = ringloop::gather_settled([good, bad]).await;
///     assert_eq!(*results[0].as_ref().unwrap(), 1);
///     assert!(results[1].as_ref().unwrap_err().is_cancelled());
/// });
/// ```
#[track_caller]
#[doc(alias = "return_exceptions")]
pub fn gather_settled<T>(tasks: impl IntoIterator<Item = Task<T>>) -> Combine<SettleTasks<T>> {
    let tasks: Vec<_> = tasks.into_iter().collect();
    let results = Vec::with_capacity(tasks.len());
    Combine::new(SettleTasks { tasks, results, ending: false, noted: false })
}

/// When [`wait`] is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// One task has ended. asyncio: `FIRST_COMPLETED`.
    First,
    /// One task has panicked, or all have ended. One that was cancelled does not count. asyncio:
    /// `FIRST_EXCEPTION`; an error in the value of a task is a value.
    FirstError,
    /// All have ended. asyncio: `ALL_COMPLETED`.
    All,
}

/// Which tasks have ended and which have not: what [`wait`] gives. Indexes into what it was given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Waited {
    /// The tasks that have ended, in ascending order.
    pub done: Vec<usize>,
    /// The tasks that have not.
    pub pending: Vec<usize>,
}

/// Waits for some of the tasks, or all, without taking their results, and without owning them.
///
/// None is cancelled, also not if `limit` passes: then it says which have ended so far. `None`: no
/// limit. The tasks keep their results, and can be awaited after.
///
/// asyncio: `asyncio.wait(tasks, timeout=limit, return_when=until)`.
///
/// # Cancel safety
///
/// Nothing is lost: the tasks run on.
///
/// # Errors
///
/// [`Empty`] if there is no task.
///
/// # Panics
///
/// If there is a limit, and it has to wait outside a runtime.
///
/// ```
/// use ringloop::{Until, spawn, wait};
///
/// ringloop::run(async {
///     let mut tasks = [spawn(std::future::pending()), spawn(async { "quick" })];
///     let waited = wait(&mut tasks, Until::First, None).await.unwrap();
///     assert_eq!((waited.done, waited.pending), (vec![1], vec![0]));
///     let [slow, quick] = tasks;
///     assert_eq!(quick.await.unwrap(), "quick");
///     slow.cancel();
/// });
/// ```
#[doc(alias = "FIRST_COMPLETED", alias = "FIRST_EXCEPTION", alias = "ALL_COMPLETED")]
pub async fn wait<T>(
    tasks: &mut [Task<T>],
    until: Until,
    limit: impl Into<Option<Duration>>,
) -> Result<Waited, Empty> {
    if tasks.is_empty() {
        return Err(Empty(()));
    }
    let deadline = limit.into().map(|limit| (Instant::now() + limit).as_nanos());
    let mut deadline = Deadline::new(deadline.unwrap_or(u64::MAX));
    // Those before it have ended: `All` looks at one at a time, so that it has not to leave a waker
    // with each for each that ends.
    let mut first = 0;
    tasks.iter().for_each(Task::note_awaiter);
    std::future::poll_fn(|cx| {
        while first < tasks.len() && tasks[first].poll_finished(cx) {
            first += 1;
        }
        let over = match until {
            Until::All => first == tasks.len(),
            Until::First => tasks.iter().any(|task| task.poll_finished(cx)),
            Until::FirstError => {
                let failed = |task: &Task<T>| task.poll_finished(cx) && task.has_panicked();
                first == tasks.len() || tasks.iter().any(failed)
            }
        };
        if !over && (deadline.at() == u64::MAX || deadline.poll_with(cx, true).is_pending()) {
            return Poll::Pending;
        }
        // One that is over at once still gives others a turn now and then.
        current::poll_budget(cx)
    })
    .await;
    let mut waited = Waited::default();
    for (index, task) in tasks.iter().enumerate() {
        let list = if task.is_finished() { &mut waited.done } else { &mut waited.pending };
        list.push(index);
    }
    Ok(waited)
}

/// The results of tasks, in the order in which they end: what [`as_completed`] gives.
#[must_use = "streams do nothing unless polled"]
pub struct AsCompleted<T> {
    running: FuturesUnordered<Numbered<T>>,
}

struct Numbered<T> {
    index: usize,
    task: Option<Task<T>>,
}

impl<T> Future for Numbered<T> {
    type Output = (usize, Result<T, TaskError>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let index = self.index;
        let task = self.task.as_mut().expect("taken only when nobody polls any more");
        task.poll_result_of_many(cx).map(|result| (index, result))
    }
}

impl<T> AsCompleted<T> {
    /// The tasks that have not been given yet, with their indexes, to wait for them otherwise or to
    /// cancel them.
    ///
    /// ```
    /// use ringloop::{as_completed, spawn};
    ///
    /// ringloop::run(async {
    ///     let tasks = as_completed([spawn(std::future::pending::<()>())]);
    ///     for (_index, task) in tasks.into_rest() {
    ///         task.cancel();
    ///     }
    /// });
    /// ```
    pub fn into_rest(mut self) -> Vec<(usize, Task<T>)> {
        let mut rest: Vec<_> = self
            .running
            .iter_mut()
            .filter_map(|numbered| Some((numbered.index, numbered.task.take()?)))
            .collect();
        rest.sort_unstable_by_key(|(index, _)| *index);
        rest
    }
}

impl<T> Stream for AsCompleted<T> {
    type Item = (usize, Result<T, TaskError>);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.running).poll_next(cx)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.running.len(), Some(self.running.len()))
    }
}

impl<T> FusedStream for AsCompleted<T> {
    fn is_terminated(&self) -> bool {
        self.running.is_terminated()
    }
}

impl<T> fmt::Debug for AsCompleted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompleted").field("left", &self.running.len()).finish()
    }
}

/// The results of tasks, as a stream, in the order in which the tasks end; each with its index.
///
/// The tasks are watched: dropping the stream lets those that are left run on. For a limit to the
/// whole, put a [`timeout`](crate::time::timeout) around the loop; [`AsCompleted::into_rest`] gives
/// what is left.
///
/// asyncio: `asyncio.as_completed`.
///
/// # Cancel safety
///
/// Awaiting the next item loses nothing.
///
/// ```
/// use std::{pin::pin, time::Duration};
/// use futures_util::StreamExt;
/// use ringloop::{as_completed, spawn, time::sleep};
///
/// ringloop::run(async {
///     let tasks = [3, 1, 2].map(|n| {
///         spawn(async move {
///             sleep(Duration::from_millis(20 * n)).await;
///             n
///         })
///     });
///     let mut completed = pin!(as_completed(tasks));
///     let mut order = Vec::new();
///     while let Some((_index, result)) = completed.next().await {
///         order.push(result.unwrap());
///     }
///     assert_eq!(order, [1, 2, 3]);
/// });
/// ```
#[doc(alias = "join_next", alias = "FuturesUnordered")]
pub fn as_completed<T>(tasks: impl IntoIterator<Item = Task<T>>) -> AsCompleted<T> {
    let numbered = tasks.into_iter().enumerate();
    AsCompleted {
        running: numbered.map(|(index, task)| Numbered { index, task: Some(task) }).collect(),
    }
}

/// Starts a task that goes on when the task that waits for it is cancelled.
///
/// A [`Task`] only watches, so that any task goes on. This one is not cancelled by the end of its
/// runtime either, nor by [`Task::cancel`]: it is waited for until the deadline of the shutdown, and
/// named there if it is too slow. [`Task::abort`] ends it.
///
/// asyncio: `asyncio.shield`. There the end of the loop cancels the inner task all the same.
///
/// # Panics
///
/// On a thread that belongs to no runtime.
///
/// ```
/// use std::time::Duration;
/// use ringloop::{shield, time::{sleep, timeout}};
///
/// ringloop::run(async {
///     let mut saved = shield(async {
///         sleep(Duration::from_millis(5)).await;
///         "saved"
///     });
///     assert!(timeout(Duration::from_millis(1), &mut saved).await.is_err());
///     assert_eq!(saved.await.unwrap(), "saved");
/// });
/// ```
#[doc(alias = "asyncio.shield")]
#[track_caller]
pub fn shield<F>(future: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    runtime::spawn(uncancellable(future))
}
