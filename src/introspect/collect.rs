//! Taking a snapshot.

use std::time::Duration;

use rustix::{process::getpid, system::uname};

use super::{
    snapshot::{
        Dump, FORMAT, ProcessDump, RuntimeDump, TaskDump, TaskState, WaitDump, WorkerDump,
        WorkerState,
    },
    waits,
};
use crate::{
    blocking,
    error::TaskId,
    runtime::{self, Handle, LaneMetrics, Look, WorkerMetrics},
    scheduler::{Doing, Hub, Phase, WorkerLook},
    task::{self, Canceller, TaskInfo},
    util::clock,
};

/// A snapshot of all runtimes of the process, on any thread.
///
/// It takes some 100 bytes and less than a microsecond for each task, and more for one that waits for a socket, whose
/// address the kernel is asked for. [`dump_up_to`] sets a bound.
///
/// ```
/// let runtime = ringloop::Runtime::new().unwrap();
/// assert!(!ringloop::introspect::dump().runtimes.is_empty());
/// # drop(runtime);
/// ```
pub fn dump() -> Dump {
    dump_up_to(usize::MAX)
}

/// The same, with at most so many tasks of each runtime. [`RuntimeDump::left_out`] counts the others.
///
/// ```
/// let runtime = ringloop::Runtime::new().unwrap();
/// let dump = ringloop::introspect::dump_up_to(10);
/// assert!(dump.runtimes.iter().all(|runtime| runtime.tasks.len() <= 10));
/// # drop(runtime);
/// ```
pub fn dump_up_to(tasks: usize) -> Dump {
    of(&runtime::all_runtimes(), tasks)
}

impl Handle {
    /// A snapshot of the runtime: its workers, its lanes, and its tasks with what each waits for.
    ///
    /// It never polls a future and waits for no worker, so that it works while every worker is stuck. A
    /// task that is spawned or ends meanwhile may be in it or not; none is in it twice. After the runtime's
    /// end, and in a forked child, it has no tasks and no workers.
    ///
    /// asyncio: `asyncio.all_tasks` with `Task.get_stack` of each, and `python -m asyncio ps`. A snapshot
    /// has no stacks: it says what a task waits for and where it was spawned.
    ///
    /// ```
    /// ringloop::run(async {
    ///     let dump = ringloop::Handle::current().dump();
    ///     assert!(!dump.runtimes[0].workers.is_empty());
    /// });
    /// ```
    #[doc(alias = "all_tasks", alias = "print_stack")]
    pub fn dump(&self) -> Dump {
        of(std::slice::from_ref(self), usize::MAX)
    }
}

impl Canceller {
    /// What the task waits for, in words and as data; `None` if it does not wait, or waits in a future of another
    /// library.
    ///
    /// asyncio: `Task.get_stack`, of which it tells the innermost await.
    ///
    /// ```
    /// use ringloop::{current_task, spawn, time::sleep, yield_now};
    /// use std::time::Duration;
    ///
    /// ringloop::run(async {
    ///     // A task that asks does not wait.
    ///     assert!(current_task().unwrap().waiting_on().is_none());
    ///     let sleeper = spawn(sleep(Duration::from_secs(60)));
    ///     let found = loop {
    ///         match sleeper.canceller().waiting_on() {
    ///             Some(found) => break found,
    ///             None => yield_now().await,
    ///         }
    ///     };
    ///     assert!(found.text.starts_with("timer 59."));
    ///     sleeper.cancel();
    /// });
    /// ```
    pub fn waiting_on(&self) -> Option<WaitDump> {
        let info = TaskInfo::of_canceller(self);
        let last_ran = info.recorded().last_ran;
        let now = clock::machine();
        let since = (last_ran != 0).then(|| Duration::from_nanos(now.saturating_sub(last_ran)));
        Some(waits::describe(info.wait()?, since))
    }
}

/// A snapshot of these runtimes, with at most so many tasks of each.
pub(super) fn of(handles: &[Handle], most: usize) -> Dump {
    let runtimes = handles.iter().map(|handle| runtime(handle.look(most))).collect();
    let pools = blocking::pools();
    let mut dump = Dump {
        format: FORMAT,
        taken_at: Duration::from_nanos(clock::machine()),
        process: ProcessDump {
            pid: getpid().as_raw_pid() as u32,
            ringloop: env!("CARGO_PKG_VERSION"),
            kernel: uname().release().to_string_lossy().into_owned(),
            pools: pools.iter().map(|(name, lane)| LaneMetrics::of(name, lane)).collect(),
        },
        runtimes,
    };
    waits::name_tasks(&mut dump);
    dump
}

fn runtime(look: Look) -> RuntimeDump {
    let running: Vec<_> = look.workers.iter().map(|worker| running(worker.doing)).collect();
    let now = clock::machine();
    let polls_it = |id| running.iter().position(|task| *task == Some(id));
    let mut tasks: Vec<_> = look.tasks.iter().map(|info| task(info, now, polls_it)).collect();
    tasks.sort_unstable_by_key(|task| task.id);
    let counts = look.metrics.per_worker.iter().cloned();
    let counts = counts.chain(std::iter::repeat_with(WorkerMetrics::default));
    let workers = look.workers.iter().zip(counts).enumerate();
    RuntimeDump {
        number: look.number,
        name: look.name,
        backend: look.backend,
        phase: match look.phase {
            Phase::Open => "open",
            Phase::Closing => "closing",
            Phase::Aborting => "aborting",
            Phase::Stopped => "stopped",
        },
        uptime: Duration::from_nanos(look.age),
        workers: workers.map(|(index, (look, counts))| worker(index, look, &counts)).collect(),
        lanes: look.metrics.lanes.clone(),
        tasks,
        left_out: look.left_out,
        metrics: look.metrics,
    }
}

fn running(doing: Doing) -> Option<TaskId> {
    match doing {
        Doing::Polling(task) | Doing::Held(task) => Some(task),
        Doing::Parked | Doing::Turning => None,
    }
}

fn worker(index: usize, look: &WorkerLook, counts: &WorkerMetrics) -> WorkerDump {
    let state = match look.doing {
        Doing::Parked => WorkerState::Parked,
        Doing::Polling(_) => WorkerState::Polling,
        Doing::Held(_) => WorkerState::Held,
        Doing::Turning => WorkerState::Turning,
    };
    WorkerDump {
        index,
        thread: look.thread,
        state,
        task: running(look.doing),
        polling_for: look.busy_for.map(Duration::from_nanos),
        queued: look.queued,
        has_next: look.has_next,
        has_mail: look.has_mail,
        ticks: look.tick,
        polls: counts.polls,
        parks: counts.parks,
        wakeups: look.wakeups,
        steals: counts.steals,
        rescues: look.rescues,
        timers: look.timers,
        homes: counts.homes,
        in_flight: counts.in_flight_operations,
        arrivals: counts.arrivals,
    }
}

fn task(info: &TaskInfo, now: u64, polls_it: impl Fn(TaskId) -> Option<usize>) -> TaskDump {
    let worker = polls_it(info.id());
    let state = match (info.state(), worker) {
        (task::TaskState::Finished, _) => TaskState::Done,
        (_, Some(_)) => TaskState::Running,
        (task::TaskState::Active, None) => TaskState::Ready,
        (task::TaskState::Suspended, None) => TaskState::Waiting,
    };
    let waits = state == TaskState::Waiting;
    let recorded = info.recorded();
    let since = |then: u64| Duration::from_nanos(now.saturating_sub(then));
    let age = since(recorded.born);
    let busy = Duration::from_nanos(recorded.busy).min(age);
    let last_ran = (recorded.last_ran != 0).then(|| since(recorded.last_ran));
    TaskDump {
        id: info.id(),
        name: info.name().map(str::to_owned),
        spawned_at: info.spawned_at(),
        parent: (recorded.parent != 0).then_some(TaskId(recorded.parent)),
        group: (recorded.group != 0).then_some(recorded.group.into()),
        state,
        worker: worker.filter(|_| state == TaskState::Running),
        owner: Hub::owner_of(info.header()),
        cancelling: info.is_cancelling(),
        polls: recorded.polls,
        // Each poll but the first comes of a wake-up or of a yield.
        wakes: recorded.polls.saturating_sub(1 + recorded.yields),
        busy,
        idle: age - busy,
        age,
        last_ran,
        waiting_on: info.wait().filter(|_| waits).map(|wait| waits::describe(wait, last_ran)),
        holds: (recorded.held != 0).then_some(recorded.held),
        has_handle: info.has_handle(),
        wakers: info.wakers().filter(|_| waits),
        holds_more: recorded.holds_more,
        awaited_by: info.awaited_by(),
    }
}
