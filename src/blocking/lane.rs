//! A queue of jobs with threads of its own.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Weak},
    time::Duration,
};

use super::{
    job::{self, Entry, Guest, Name},
    queue::{Duty, JobQueue, Limits, Look, Pushed, Saturated, Seat},
};
use crate::{
    error::{ErrorEvent, TaskError, TaskId, hook},
    loom::{
        WaitLock,
        atomic::{AtomicBool, Ordering},
        global::{AtomicU64, Mutex, Ordering::Relaxed},
    },
    task::{Birth, Origin, Task},
    util::{
        fork::PerProcess,
        threads::{self, Started},
    },
};

/// How long the oldest job waits before a lane grows.
const PATIENCE: Duration = Duration::from_micros(100);
/// How long it waits in a lane that cannot grow before that is reported.
const SATURATED: Duration = Duration::from_secs(1);

/// Threads that have ended and may wait to be joined, beside as many as there are.
const UNJOINED: usize = 8;

/// Calls the function that it is given, with this thread set up for its duty.
pub(crate) type Surround = Box<dyn Fn(Duty, &mut dyn FnMut()) + Send + Sync>;

/// What a lane is made of.
pub(crate) struct Options {
    /// The name of its threads.
    pub(crate) name: String,
    /// Its name in reports.
    pub(crate) label: String,
    /// It is no runtime's, but a pool that all may use.
    pub(crate) is_pool: bool,
    /// Threads that there may be.
    pub(crate) threads: usize,
    /// Of these, as many are started as soon as jobs need them: one for each core.
    pub(crate) cores: usize,
    /// How long a thread stays idle.
    pub(crate) keep_alive: Duration,
    /// Jobs that may be queued.
    pub(crate) queued: usize,
    /// Of a thread's stack, in bytes.
    pub(crate) stack_size: Option<usize>,
    /// The key of the error hook.
    pub(crate) hook: u16,
    /// Called by each thread, once, with the thread's life.
    pub(crate) surround: Surround,
}

/// Below these bits of a job's place is its hook, above them its lane.
pub(super) const HOOK_BITS: u32 = u16::BITS;

/// The lanes of the process, by their numbers.
fn lanes() -> &'static Mutex<HashMap<u64, Weak<Shared>>> {
    static LANES: PerProcess<Mutex<HashMap<u64, Weak<Shared>>>> = PerProcess::new();
    LANES.get(|| Mutex::new(HashMap::new()))
}

/// The lane of that number, if it is still there.
pub(super) fn find(number: u64) -> Option<Arc<Shared>> {
    lanes().lock().get(&number)?.upgrade()
}

/// Those of the process that are no runtime's, with their names, in the order of their making.
pub(crate) fn pools() -> Vec<(String, Lane)> {
    let mut pools: Vec<_> = lanes().lock().values().filter_map(Weak::upgrade).collect();
    // Outside of the lock: the last copy of a lane takes it.
    pools.retain(|shared| shared.is_pool);
    pools.sort_by_key(|shared| shared.number);
    pools.into_iter().map(|shared| (shared.name.clone(), Lane(shared))).collect()
}

/// A lane. Copies are of the same.
#[derive(Clone)]
pub(crate) struct Lane(Arc<Shared>);

pub(super) struct Shared {
    number: u64,
    name: String,
    label: String,
    is_pool: bool,
    stack_size: Option<usize>,
    hook: u16,
    surround: Surround,
    queue: JobQueue<Entry>,
    /// It closes, and its queued jobs are dropped.
    ends: AtomicBool,
    /// Those that have not been joined.
    started: WaitLock<Vec<Started>>,
}

/// The part of a job that its origin gives.
pub(crate) struct Hand {
    pub(crate) id: TaskId,
    pub(crate) origin: Origin,
    /// The key of the hook that hears of its errors.
    pub(crate) hook: u16,
    pub(crate) guest: Option<Guest>,
}

impl Lane {
    pub(crate) fn new(options: Options) -> Self {
        let limits = Limits {
            threads: options.threads,
            at_once: options.cores,
            keep_alive: options.keep_alive,
            patience: PATIENCE,
            saturated: SATURATED,
            queued: options.queued,
        };
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // Relaxed: only uniqueness matters.
        let number = NEXT.fetch_add(1, Relaxed);
        let shared = Arc::new(Shared {
            number,
            name: options.name,
            label: options.label,
            is_pool: options.is_pool,
            stack_size: options.stack_size,
            hook: options.hook,
            surround: options.surround,
            queue: JobQueue::new(limits),
            ends: AtomicBool::new(false),
            started: WaitLock::new(Vec::new()),
        });
        lanes().lock().insert(number, Arc::downgrade(&shared));
        Self(shared)
    }

    /// Queues a job. After the lane closed it is dropped uncalled, and cancelled; if the queue is full,
    /// it fails.
    pub(crate) fn spawn<F, T>(&self, job: F, hand: Hand) -> Task<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn_in(job, (), hand)
    }

    /// The same, with room that the job has in the queue.
    pub(crate) fn spawn_in<F, T, R>(&self, job: F, room: R, hand: Hand) -> Task<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
        R: Send + 'static,
    {
        let place = self.0.number << HOOK_BITS | u64::from(hand.hook);
        let birth = Birth { place, id: hand.id, origin: hand.origin };
        let (entry, task) = Entry::new(job, room, birth, hand.guest);
        match self.0.queue.push(entry) {
            Pushed::Queued => {}
            Pushed::Start(duty) => self.0.start_thread(duty),
            Pushed::Closed(entry) => entry.refuse(),
            Pushed::Full(entry) => {
                entry.fail(TaskError::queue_full(&self.0.label, self.0.queue.limits().queued))
            }
        }
        task
    }

    /// A job for which there is no room: it fails.
    pub(crate) fn refuse_full<F, T>(&self, job: F, limit: usize, hand: Hand) -> Task<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let birth = Birth { place: u64::from(hand.hook), id: hand.id, origin: hand.origin };
        let (entry, task) = Entry::new(job, (), birth, None);
        entry.fail(TaskError::queue_full(&self.0.label, limit));
        task
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.queue.is_closed()
    }

    pub(crate) fn jobs(&self) -> u64 {
        self.0.queue.jobs() as u64
    }

    pub(crate) fn rests(&self) -> bool {
        self.0.queue.rests()
    }

    pub(crate) fn threads(&self) -> usize {
        self.0.queue.threads()
    }

    pub(crate) fn limit(&self) -> usize {
        self.0.queue.limits().threads
    }

    pub(crate) fn look(&self) -> Look {
        self.0.queue.look()
    }

    pub(super) fn is(&self, other: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.0, other)
    }

    /// Closes the lane, and drops the jobs that are queued.
    pub(crate) fn refuse_queued(&self) {
        // Release: pairs with the load in `ends`.
        self.0.ends.store(true, Ordering::Release);
        // Destructors of jobs are foreign code (S6).
        self.0.queue.close().into_iter().for_each(Entry::refuse);
    }

    /// Closes the lane to new jobs; jobs that are queued still run.
    pub(crate) fn finish(&self) {
        self.0.queue.finish();
    }

    /// Waits for the threads of a lane that has closed, to their ends, up to the deadline. Names what
    /// they are still at then; they are left to themselves.
    pub(crate) fn wait_for_end(&self, deadline: u64) -> Vec<String> {
        let busy = self.0.queue.wait_for_threads(deadline);
        let started = std::mem::take(&mut *self.0.started.lock());
        let (ended, stuck): (Vec<_>, Vec<_>) =
            started.into_iter().partition(|thread| thread.ends_by(deadline));
        ended.into_iter().for_each(Started::join);
        let name =
            |(id, at): &Name| format!("blocking job {id} (started at {at}) is still running");
        let mut holders: Vec<_> = busy.iter().map(name).collect();
        if stuck.len() > busy.len() {
            let ending = stuck.len() - busy.len();
            holders.push(format!("{ending} threads for blocking jobs have not come to their ends"));
        }
        holders
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        lanes().lock().remove(&self.number);
    }
}

impl Shared {
    /// Has a thread of the lane drop them.
    pub(super) fn push_remains(self: &Arc<Self>, remains: Entry) {
        match self.queue.push(remains) {
            Pushed::Queued => {}
            Pushed::Start(duty) => self.start_thread(duty),
            // No thread will come any more.
            Pushed::Closed(remains) | Pushed::Full(remains) => remains.refuse(),
        }
    }

    pub(super) fn ends(&self) -> bool {
        // Acquire: pairs with the store in `refuse_queued`.
        self.ends.load(Ordering::Acquire)
    }

    /// Starts a thread that the queue asks for.
    fn start_thread(self: &Arc<Self>, duty: Duty) {
        let shared = self.clone();
        let life = move || {
            (shared.surround)(duty, &mut || shared.live(duty));
            shared.join_ended(&mut shared.started.lock());
        };
        // Known before anybody can close the lane and miss it: by this lock, which the thread's
        // end wants, too.
        let mut started = self.started.lock();
        match threads::spawn_with(self.name.clone(), self.stack_size, life) {
            Ok(thread) => {
                self.join_ended(&mut started);
                started.push(thread);
            }
            Err(error) => {
                drop(started);
                self.refused_thread(duty, error);
            }
        }
    }

    fn live(self: &Arc<Self>, duty: Duty) {
        let start = |duty| self.start_thread(duty);
        match duty {
            Duty::Watch => self.queue.watch(&start, &|saturated| self.tell(&saturated)),
            Duty::Serve => {
                let seat = Seat::new();
                job::on_thread(self.clone(), seat.clone(), || self.queue.serve(&seat, &start));
            }
        }
    }

    /// Jobs wait for long, and there will be no further thread.
    #[cold]
    fn tell(&self, saturated: &Saturated<Name>) {
        let Some(held) = saturated.holder else { return };
        let (task, started_at) = held.name;
        let event = ErrorEvent::BlockingSaturated {
            lane: self.label.clone(),
            threads: self.queue.limits().threads,
            queued: saturated.queued,
            waits: Duration::from_nanos(saturated.waits),
            task,
            started_at,
        };
        hook::report(self.hook, &event);
    }

    /// Without joining a thread, its stack is kept. So many are left that looking at them costs
    /// little.
    fn join_ended(&self, started: &mut Vec<Started>) {
        if started.len() >= 2 * self.queue.threads() + UNJOINED {
            started.extract_if(.., |thread| thread.ends_by(0)).for_each(Started::join);
        }
    }

    #[cold]
    fn refused_thread(&self, duty: Duty, error: io::Error) {
        let refused = self.queue.refuse_thread(duty);
        let again = || io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EAGAIN));
        // Outside of the queue's lock: destructors of jobs, and wakers, are foreign code (S6).
        for entry in refused.stranded {
            entry.fail(TaskError::no_thread(again()));
        }
        if refused.is_first {
            hook::report(self.hook, &ErrorEvent::ThreadRefused { error });
        }
    }
}
