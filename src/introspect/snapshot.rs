//! A snapshot as plain data.

use std::{collections::BTreeMap, panic::Location, time::Duration};

use crate::{
    error::TaskId,
    runtime::{BackendInfo, LaneMetrics, Metrics},
};

/// The version of the format that [`Dump::to_json`] writes. It grows when a name goes or changes its
/// meaning; new names may come without that.
pub const FORMAT: u32 = 1;

/// What a process was doing at one instant, as exact as reading it piece by piece allows.
///
/// ```
/// ringloop::run(async {
///     let dump = ringloop::Handle::current().dump();
///     assert_eq!(dump.runtimes.len(), 1);
///     assert_eq!(dump.process.pid, std::process::id());
/// });
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Dump {
    /// [`FORMAT`].
    pub format: u32,
    /// When it was taken, by the monotonic clock of the machine.
    pub taken_at: Duration,
    /// The process.
    pub process: ProcessDump,
    /// Its runtimes, or the one that was asked for.
    pub runtimes: Vec<RuntimeDump>,
}

/// The process of a [`Dump`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ProcessDump {
    /// Its number, as the process itself sees it: in a container another one than outside.
    pub pid: u32,
    /// The version of this crate.
    pub ringloop: &'static str,
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// Its [pools of threads](crate::ThreadPool), which belong to no runtime.
    pub pools: Vec<LaneMetrics>,
}

/// One runtime of a [`Dump`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RuntimeDump {
    /// Its number, unique within the process.
    pub number: u64,
    /// Its [name](crate::Builder::name).
    pub name: String,
    /// How it talks to the kernel, and why it does not use io_uring if it does not.
    pub backend: BackendInfo,
    /// How far it is: `open`, `closing` (tasks are asked to end), `aborting` (they are dropped), `stopped`.
    pub phase: &'static str,
    /// The time since it was built.
    pub uptime: Duration,
    /// Its workers, by their index.
    pub workers: Vec<WorkerDump>,
    /// Its threads for blocking jobs.
    pub lanes: Vec<LaneMetrics>,
    /// Its tasks that have not ended, by their numbers.
    pub tasks: Vec<TaskDump>,
    /// Tasks that are not in the list because it would be too long.
    pub left_out: usize,
    /// Its counters.
    pub metrics: Metrics,
}

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WorkerState {
    /// It sleeps until something happens.
    Parked,
    /// It polls a task.
    Polling,
    /// It polls a task, and has not come back for so long that its other tasks wait: longer than it takes
    /// to wake another worker.
    Held,
    /// It is between two polls.
    Turning,
}

impl WorkerState {
    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parked => "parked",
            Self::Polling => "polling",
            Self::Held => "held",
            Self::Turning => "turning",
        }
    }
}

/// One worker of a [`RuntimeDump`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WorkerDump {
    /// Its [index](crate::WorkerId::index).
    pub index: usize,
    /// The kernel's number of its thread, as in `/proc/PID/task`; 0 before it has started.
    pub thread: u32,
    /// What it does.
    pub state: WorkerState,
    /// The task that it polls.
    pub task: Option<TaskId>,
    /// How long ago it looked at the clock, which it does before and at least every 16 polls: the poll
    /// that is under way has taken no longer. `None` if it runs no tasks.
    pub polling_for: Option<Duration>,
    /// Tasks in its queues when it last looked at the clock.
    pub queued: usize,
    /// Whether a task is due to run next, ahead of its queues.
    pub has_next: bool,
    /// Whether other threads have left tasks for it that it has not taken yet.
    pub has_mail: bool,
    /// Turns of its loop.
    pub ticks: u64,
    /// Polls of tasks, ever, counted with each look at the clock.
    pub polls: u64,
    /// Times that it went to sleep.
    pub parks: u64,
    /// Times that it woke up.
    pub wakeups: u64,
    /// Times that it took tasks from another's queue.
    pub steals: u64,
    /// Times that it took work from a worker that was held.
    pub rescues: u64,
    /// Timers that have not fired.
    pub timers: u64,
    /// Sockets for which it waits on behalf of their tasks.
    pub homes: u64,
    /// Operations in its ring.
    pub in_flight: u64,
    /// Events and completions that its ring or epoll instance has brought, ever.
    pub arrivals: u64,
}

/// How far a task of a [`Dump`] has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TaskState {
    /// A worker polls it.
    Running,
    /// It waits for its turn.
    Ready,
    /// It waits for something that wakes it.
    Waiting,
    /// It has ended, since the list was begun.
    Done,
}

impl TaskState {
    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Ready => "ready",
            Self::Waiting => "waiting",
            Self::Done => "done",
        }
    }
}

/// One task of a [`RuntimeDump`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TaskDump {
    /// Its number.
    pub id: TaskId,
    /// Its [name](crate::task::Builder::name).
    pub name: Option<String>,
    /// The place in the source that spawned it.
    pub spawned_at: &'static Location<'static>,
    /// The task that spawned it. It may have ended since.
    pub parent: Option<TaskId>,
    /// The number of the [group](crate::task_group) it belongs to: tasks of one group have the same.
    pub group: Option<u64>,
    /// How far it has come.
    pub state: TaskState,
    /// The worker that polls it.
    pub worker: Option<usize>,
    /// The worker that alone may poll it, if its future is not `Send`.
    pub owner: Option<usize>,
    /// Whether it was asked to end, and has not yet.
    pub cancelling: bool,
    /// Whether its handle is still there: it can be awaited, and cancelled.
    pub has_handle: bool,
    /// If it [waits](TaskState::Waiting), how many wakers of it there are, with all that can cancel it: with
    /// none, nothing can wake it but its handle and the runtime's end.
    pub wakers: Option<usize>,
    /// Times that it was polled.
    pub polls: u64,
    /// Times that a wake-up led to a poll.
    pub wakes: u64,
    /// The time that its polls took. A sample: one poll in 64 is timed, and counts for all of these.
    pub busy: Duration,
    /// The time since it was spawned in which it was not polled: its age without `busy`.
    pub idle: Duration,
    /// The time since it was spawned, to within a tick of the worker that spawned it.
    pub age: Duration,
    /// How long ago its last poll was, to within a tick of its worker, 200 us; `None` before its first poll.
    pub last_ran: Option<Duration>,
    /// What it waits for, if it is suspended in a future of this crate.
    pub waiting_on: Option<WaitDump>,
    /// The key of the [lock](crate::sync::Lock) that it took last of those that it holds, as in
    /// [`WaitDump::key`]. A guard that was handed to another task counts as the first one's.
    pub holds: Option<u64>,
    /// Whether it holds other locks as well.
    pub holds_more: bool,
    /// The task that waits for this one in a combinator, such as `gather!`.
    pub awaited_by: Option<TaskId>,
}

/// The kinds of what a task can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum WaitKind {
    /// Bytes or an event that a descriptor is to bring.
    Read,
    /// Room in a descriptor.
    Write,
    /// A connection that a listener is to bring.
    Accept,
    /// A descriptor, in a direction that is not known.
    Descriptor,
    /// A point in time.
    Timer,
    /// The end of another task.
    Task,
    /// The end of a blocking job.
    Job,
    /// The end of all tasks of a group.
    Group,
    /// The end of a child process.
    Process,
    /// An operation that the kernel or a thread for files carries out.
    Operation,
    /// A [`Lock`](crate::sync::Lock).
    Lock,
    /// A [`RwLock`](crate::sync::RwLock).
    RwLock,
    /// A [`Semaphore`](crate::sync::Semaphore).
    Semaphore,
    /// An [`Event`](crate::sync::Event).
    Event,
    /// A [`Condition`](crate::sync::Condition).
    Condition,
    /// A [`Barrier`](crate::sync::Barrier).
    Barrier,
    /// A [`Notify`](crate::sync::Notify).
    Notify,
    /// A [`OnceCell`](crate::sync::OnceCell).
    OnceCell,
    /// An item of a queue.
    QueueGet,
    /// Room in a queue.
    QueuePut,
    /// The end of the work of a queue.
    QueueJoin,
    /// An item of a channel.
    ChannelReceive,
    /// Room in a channel.
    ChannelSend,
    /// A value of a broadcast channel.
    Broadcast,
    /// A change of a watched value.
    Watch,
    /// The value of a promise.
    Deferred,
    /// The value of a [`SharedFuture`](crate::sync::SharedFuture).
    SharedFuture,
}

impl WaitKind {
    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Accept => "accept",
            Self::Descriptor => "descriptor",
            Self::Timer => "timer",
            Self::Task => "task",
            Self::Job => "job",
            Self::Group => "group",
            Self::Process => "process",
            Self::Operation => "operation",
            Self::Lock => "lock",
            Self::RwLock => "rwlock",
            Self::Semaphore => "semaphore",
            Self::Event => "event",
            Self::Condition => "condition",
            Self::Barrier => "barrier",
            Self::Notify => "notify",
            Self::OnceCell => "once_cell",
            Self::QueueGet => "queue_get",
            Self::QueuePut => "queue_put",
            Self::QueueJoin => "queue_join",
            Self::ChannelReceive => "channel_receive",
            Self::ChannelSend => "channel_send",
            Self::Broadcast => "broadcast",
            Self::Watch => "watch",
            Self::Deferred => "deferred",
            Self::SharedFuture => "shared_future",
        }
    }
}

/// What a task waits for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WaitDump {
    /// The kind.
    pub kind: WaitKind,
    /// Which one of that kind: the same number for all tasks that wait for the same thing.
    pub key: u64,
    /// In words: `read of 127.0.0.1:443, fd 17`, ``Lock `accounts`, held by task 12``, `timer 1.2 s`.
    pub text: String,
    /// The name of the primitive, if it has one.
    pub name: Option<String>,
    /// How long it has waited: since its last poll.
    pub since: Option<Duration>,
    /// The task that it waits for, if it is [a task's end](WaitKind::Task) or [a job's](WaitKind::Job).
    pub task: Option<TaskId>,
    /// The task that holds the lock, if it is known.
    pub holder: Option<TaskId>,
    /// The number of the descriptor.
    pub fd: Option<u32>,
    /// The time that is left to the timer.
    pub left: Option<Duration>,
}

/// A primitive or another thing that tasks wait for, with all that wait for it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Primitive {
    /// The kind of the wait.
    pub kind: WaitKind,
    /// Its number, as in [`WaitDump::key`].
    pub key: u64,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The task that holds it, if it is a lock and that is known.
    pub holder: Option<TaskId>,
    /// The tasks that wait for it.
    pub waiters: Vec<TaskId>,
}

impl Dump {
    /// All tasks of all runtimes.
    pub fn tasks(&self) -> impl Iterator<Item = &TaskDump> {
        self.runtimes.iter().flat_map(|runtime| &runtime.tasks)
    }

    /// The task of that number, if it is in the snapshot.
    pub fn task(&self, id: TaskId) -> Option<&TaskDump> {
        self.runtimes.iter().find_map(|runtime| {
            let at = runtime.tasks.binary_search_by_key(&id, |task| task.id).ok()?;
            Some(&runtime.tasks[at])
        })
    }

    /// The primitives and other things for which tasks wait, by kind and key. Timers and tasks are not
    /// among them.
    pub fn primitives(&self) -> Vec<Primitive> {
        let mut found: BTreeMap<(WaitKind, u64), Primitive> = BTreeMap::new();
        for task in self.tasks() {
            let Some(wait) = &task.waiting_on else { continue };
            if matches!(wait.kind, WaitKind::Timer | WaitKind::Task | WaitKind::Job) {
                continue;
            }
            let primitive = found.entry((wait.kind, wait.key)).or_insert_with(|| Primitive {
                kind: wait.kind,
                key: wait.key,
                name: wait.name.clone(),
                holder: wait.holder,
                waiters: Vec::new(),
            });
            primitive.waiters.push(task.id);
        }
        found.into_values().collect()
    }
}
