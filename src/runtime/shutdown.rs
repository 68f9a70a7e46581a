//! The end of a runtime, in order, each step with a deadline.
//!
//! 1. The gate closes: foreign threads spawn no more. A task that a live task still
//!    spawns is dropped unpolled.
//! 2. Every live task is asked to end (phase `Closing`); workers go on, so that it can.
//! 3. Just before the deadline the rest is dropped without another poll (`Aborting`).
//! 4. The worker that sees the last task end stops all of them (`Stopped`); threads are
//!    joined, the blocking pool is drained.
//! 5. What could not be waited for is named, leaked and left to itself: a thread that
//!    is stuck in foreign code cannot be ended, and what it uses must not be freed.

use std::{cell::RefCell, time::Duration};

use super::{Handle, Inner, Runtime, ShutdownReport, crew::Crew, inspect};
use crate::{
    error::{ErrorEvent, hook},
    record::{self, Alarm},
    scheduler::{Hub, Phase, Tick, Worker},
    util::{
        clock,
        current::{self, Role},
        threads,
    },
};

/// After an abort, what is not stuck ends at once. What is stuck is not waited for beyond the
/// deadline.
const ABORT_GRACE: Duration = Duration::from_millis(100);
/// A worker that is still in the same tick then is stuck, unless it had no core. This part of the
/// deadline, or an eighth of it if that is less, is for what has to be dropped.
const STUCK: Duration = Duration::from_millis(10);

/// Steps 1 to 4 on the thread of worker 0, whose main future has ended.
///
/// Returns the deadline, which all threads share.
pub(super) fn close_worker(handle: &Handle, worker: &Worker) -> u64 {
    let inner = &*handle.inner;
    let hub = inner.hub;
    inner.close_gate();
    let limit = inner.shutdown_deadline;
    let deadline = deadline_in(limit);
    let abort = abort_at(deadline, limit);
    hub.close(deadline);
    worker.run(|| worker.has_stopped() || clock::now() >= abort);
    if !worker.has_stopped() {
        hub.advance(Phase::Aborting);
        hub.cancel_all();
        let patience = RefCell::new(Patience::new(hub, deadline));
        worker.run(|| worker.has_stopped() || patience.borrow_mut().is_over(hub));
    }
    deadline
}

/// When tasks have had their time to end by themselves.
fn abort_at(deadline: u64, limit: Duration) -> u64 {
    deadline - clock::nanos(STUCK.min(limit / 8)).min(deadline)
}

/// How long to wait for workers: until the deadline, and beyond it as long as none is stuck.
struct Patience {
    ticks: Vec<Tick>,
    /// When to look next.
    until: u64,
    limit: u64,
}

impl Patience {
    fn new(hub: &Hub, deadline: u64) -> Self {
        let grace = clock::nanos(ABORT_GRACE);
        Self {
            ticks: hub.ticks(),
            until: deadline.max(deadline_in(STUCK)),
            limit: deadline.max(clock::now()).saturating_add(grace),
        }
    }

    fn is_over(&mut self, hub: &Hub) -> bool {
        let now = clock::now();
        if now < self.until {
            return false;
        }
        if now >= self.limit || hub.is_stuck_since(&self.ticks, clock::nanos(STUCK) / 2) {
            return true;
        }
        self.ticks = hub.ticks();
        self.until = deadline_in(STUCK).min(self.limit);
        false
    }
}

/// Waits for the workers' threads, with patience.
fn wait_for_crew(crew: &Crew, hub: &Hub, deadline: u64) -> bool {
    let mut patience = Patience::new(hub, deadline);
    while !crew.wait(patience.until) {
        if patience.is_over(hub) {
            return false;
        }
    }
    true
}

/// Steps 1 and 2 where a worker's ring has lost completions, on its thread: tasks that wait for
/// them would wait for ever. What was in flight stays with the ring, and is leaked with it (S1).
#[cold]
pub(super) fn end_after_loss(inner: &Inner, worker: &Worker) {
    let hub = inner.hub;
    hook::report(hub.key(), &ErrorEvent::CompletionsLost { worker: worker.index() });
    inner.close_gate();
    hub.close(deadline_in(inner.shutdown_deadline));
}

/// Steps 4 and 5: the workers' threads, and the blocking pool.
pub(super) fn finish(handle: &Handle, crew: Crew, deadline: u64) -> ShutdownReport {
    let begun = clock::now();
    let inner = &*handle.inner;
    let hub = inner.hub;
    let ended = wait_for_crew(&crew, hub, deadline) && hub.phase() == Phase::Stopped;
    let mut holders = if ended { Vec::new() } else { inspect::holders(hub) };
    if !ended && holders.is_empty() {
        holders.push("a worker's thread has not ended".to_owned());
    }
    let metrics = handle.read_metrics();
    if ended {
        crew.join();
    }
    holders.extend(inner.pool.close(deadline));
    // Held by a call that has lasted past the deadline, it would hold this thread as well.
    let held = clock::now() >= deadline && hook::is_held_since(hub.key(), begun);
    if held {
        holders.push("the error hook has not returned from an earlier call".to_owned());
    }
    *inner.last_metrics.lock() = Some(super::Metrics {
        registered_descriptors: if ended { 0 } else { metrics.registered_descriptors },
        armed_timers: if ended { 0 } else { metrics.armed_timers },
        blocking_jobs: inner.pool.jobs(),
        blocking_threads: inner.pool.threads(),
        lanes: inner.lanes(),
        leaked_operations: hub.leaked() + holders.len() as u64,
        ..metrics
    });
    if !holders.is_empty() {
        record::alarm(hub.key(), Alarm::Shutdown);
        let event = ErrorEvent::ShutdownTimedOut { holders: holders.clone() };
        if held {
            hook::tell_stderr(&event);
        } else {
            hook::report(hub.key(), &event);
        }
    }
    if ended {
        inner.release_hub();
    }
    ShutdownReport { holders, took: Duration::from_nanos(clock::now() - begun) }
}

fn deadline_in(wait: Duration) -> u64 {
    clock::now().saturating_add(clock::nanos(wait))
}

impl Runtime {
    /// Ends the runtime: cancels what runs, waits up to `deadline` for it to end, and
    /// says what did not. The last part of that time, an eighth or 10 ms, is for the destructors of
    /// what has not ended by itself. A task stuck in one poll is not waited for beyond the deadline.
    ///
    /// Dropping a `Runtime` does the same with the deadline of its builder.
    ///
    /// On a worker's thread, of this runtime or of another, and on a thread of its own blocking pool
    /// it cannot wait: it returns at once, with a report that says so, and a thread made for that
    /// goes on. The [hook](crate::Builder::on_error) hears what that one could not wait for.
    ///
    /// In a forked child there is nothing to end: it returns at once, and the parent's
    /// runtime goes on.
    ///
    /// asyncio: `Runner.close`, which has no limit on how long tasks take.
    ///
    /// ```
    /// # use std::{cell::RefCell, time::Duration};
    /// let rt = ringloop::Runtime::new().unwrap();
    /// rt.spawn(std::future::pending::<()>()).detach();
    /// let report = rt.shutdown(Duration::from_secs(1));
    /// assert!(report.is_clean());
    /// ```
    pub fn shutdown(mut self, deadline: Duration) -> ShutdownReport {
        self.deadline = deadline;
        self.end().unwrap_or_default()
    }

    /// `None` in a forked child: the parent ends it.
    fn end(&mut self) -> Option<ShutdownReport> {
        let crew = self.crew.take()?;
        if !self.handle.inner.is_ours() {
            // Handles of threads that are not there must not even be dropped.
            std::mem::forget(crew);
            return None;
        }
        let (handle, deadline) = (self.handle.clone(), self.deadline);
        let why = match current::role() {
            Role::Worker(_) => "a worker's thread must not wait for the runtime's end",
            Role::Helper(own) if own == handle.inner.id => {
                "the runtime's own thread cannot wait for its end"
            }
            _ => return Some(end_here(&handle, crew, deadline)),
        };
        let name = format!("{}-reaper", handle.inner.name);
        let reap = move || {
            end_here(&handle, crew, deadline);
        };
        let holder = match threads::spawn(name, reap) {
            Ok(_detached) => format!("{why}: another thread goes on with it"),
            // The closure, and with it the crew's handles, is gone: all is detached.
            Err(error) => self
                .end_without_waiting(format!("{why}, and no other thread could be had: {error}")),
        };
        Some(ShutdownReport { holders: vec![holder], took: Duration::ZERO })
    }

    /// Has the runtime end by itself; nothing waits for that.
    #[cold]
    fn end_without_waiting(&self, holder: String) -> String {
        let inner = &*self.handle.inner;
        inner.close_gate();
        inner.hub.close(deadline_in(self.deadline));
        inner.pool.close(clock::now());
        let event = ErrorEvent::ShutdownTimedOut { holders: vec![holder.clone()] };
        hook::report(inner.hub.key(), &event);
        holder
    }
}

/// On a thread that may wait for all others of the runtime.
fn end_here(handle: &Handle, crew: Crew, limit: Duration) -> ShutdownReport {
    let begun = clock::now();
    let inner = &*handle.inner;
    let hub = inner.hub;
    inner.close_gate();
    let deadline = deadline_in(limit);
    hub.close(deadline);
    if !crew.wait(abort_at(deadline, limit)) {
        hub.advance(Phase::Aborting);
        hub.cancel_all();
    }
    let mut report = finish(handle, crew, deadline);
    report.took = Duration::from_nanos(clock::now() - begun);
    report
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.end();
    }
}
