//! Processes that call functions of this program: for work that may crash, or has to be apart.

mod errors;
mod function;
mod wire;
mod worker;

use std::{fmt, future::poll_fn, io, pin::pin, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};

pub use self::{
    errors::CallError,
    function::{Function, Registered},
};
use super::{Child, Command, Stdio};
use crate::{
    io::{Connection, as_uninit},
    loom::global::{AtomicBool, Ordering},
    sync::Semaphore,
    time::timeout,
    util::fork,
};

/// Whether `serve` was called: else what a pool starts would run the whole program.
static SERVED: AtomicBool = AtomicBool::new(false);

/// Processes that call functions of this program.
///
/// A process has memory of its own: what crashes, leaks or holds a global lock there harms nobody else. A
/// call costs some 20 us, and serde encodes what goes both ways (in the format of `postcard`). For work that
/// only takes long there is [`to_thread`](crate::to_thread).
///
/// Each process is this program, started again: [`serve`](Self::serve), first in `main`, makes it answer calls.
/// Processes start when calls need them, up to a number; each has one call at a time. One that ends in the
/// middle of a call gives [`WorkerDied`](CallError::WorkerDied) to that call alone, and another one takes its
/// place. No process outlives the one that has started it, also where that one is killed, or a call is in its
/// middle, or a forked child of it lives on. They are in a process group of their own, so that Ctrl-C does not reach them.
///
/// In a forked child, a pool that was built before the fork is the parent's: calls fail there, and dropping it does
/// nothing. A pool that the child builds works.
///
/// The feature `process-pool` has it.
///
/// asyncio: `run_in_executor` with a `concurrent.futures.ProcessPoolExecutor`. There one crash breaks the
/// whole pool, and a forked child may inherit locks that are held; here nothing is forked without an exec.
///
/// ```no_run
/// use ringloop::process::{Function, ProcessPool};
///
/// fn sum(numbers: Vec<u64>) -> u64 {
///     numbers.iter().sum()
/// }
///
/// static SUM: Function<Vec<u64>, u64> = Function::new("sum", sum);
///
/// fn main() {
///     ProcessPool::serve(&[&SUM]);
///     ringloop::run(async {
///         let pool = ProcessPool::new(4).unwrap();
///         assert_eq!(pool.call(&SUM, vec![1, 2, 3]).await.unwrap(), 6);
///     });
/// }
/// ```
#[doc(alias = "ProcessPoolExecutor")]
pub struct ProcessPool {
    shared: Arc<Shared>,
}

struct Shared {
    options: ProcessPoolBuilder,
    /// A permit for each call that may run.
    room: Semaphore,
    idle: Mutex<Vec<Worker>>,
    /// It takes no more calls.
    closing: AtomicBool,
    /// The process that has built it. In a forked child the permits and the lock may be held for ever, by
    /// calls of the parent's.
    parent: fork::Generation,
}

/// Options of a [`ProcessPool`].
#[derive(Debug, Clone)]
#[must_use = "a ProcessPoolBuilder does nothing until `build`"]
pub struct ProcessPoolBuilder {
    processes: usize,
    memory: Option<u64>,
    time: Option<Duration>,
    calls: Option<u64>,
}

impl ProcessPoolBuilder {
    /// How much address space a process may have, in bytes (`RLIMIT_AS`). An allocation beyond that fails,
    /// which usually ends the process: [`WorkerDied`](CallError::WorkerDied). Default: no limit.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// How long a call may take. One that takes longer is [`TimedOut`](CallError::TimedOut), and its process is
    /// killed. Default: no limit.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time = Some(limit);
        self
    }

    /// After how many calls another process takes a process's place, for functions that leak. Default: never.
    #[doc(alias = "max_tasks_per_child")]
    pub fn calls_per_process(mut self, calls: u64) -> Self {
        self.calls = Some(calls);
        self
    }

    /// Builds the pool. No process has started yet.
    ///
    /// # Errors
    ///
    /// No processes, no calls for each, or a program that has not called [`ProcessPool::serve`].
    pub fn build(self) -> io::Result<ProcessPool> {
        let refuse = |text| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        if self.processes == 0 {
            return refuse("a pool of 0 processes answers no call: give it at least 1");
        }
        if self.calls == Some(0) {
            return refuse("a process for 0 calls answers none: give it at least 1");
        }
        // Relaxed: it carries nothing else.
        if !SERVED.load(Ordering::Relaxed) {
            return refuse(
                "a process of the pool would run the whole program: call ProcessPool::serve first in main",
            );
        }
        let room = Semaphore::new(self.processes);
        let (idle, closing) = (Mutex::new(Vec::new()), AtomicBool::new(false));
        let parent = fork::generation();
        let shared = Shared { options: self, room, idle, closing, parent };
        Ok(ProcessPool { shared: Arc::new(shared) })
    }
}

impl ProcessPool {
    /// Makes this process answer calls, if a pool has started it: then it never returns. Else it returns at
    /// once, and pools can be made.
    ///
    /// Call it first in `main`: what stands before it runs in each process of a pool as well.
    pub fn serve(functions: &[&'static dyn Registered]) {
        worker::serve_if_worker(functions);
        SERVED.store(true, Ordering::Relaxed);
    }

    /// A pool of at most so many processes.
    ///
    /// # Errors
    ///
    /// As [`build`](ProcessPoolBuilder::build).
    pub fn new(processes: usize) -> io::Result<Self> {
        Self::builder(processes).build()
    }

    /// A pool of at most so many processes, with options.
    pub fn builder(processes: usize) -> ProcessPoolBuilder {
        ProcessPoolBuilder { processes, memory: None, time: None, calls: None }
    }

    /// Calls a function in one of the processes, as soon as one is free.
    ///
    /// asyncio: `await loop.run_in_executor(pool, function, arguments)`.
    ///
    /// # Cancel safety
    ///
    /// A call that waits for its turn never runs. One that runs costs its process, which is killed.
    ///
    /// # Errors
    ///
    /// [`CallError`], which says what became of the call.
    pub async fn call<A, R>(&self, function: &Function<A, R>, arguments: A) -> Result<R, CallError>
    where
        A: Serialize,
        R: DeserializeOwned,
    {
        self.shared.check_parent()?;
        let encoding = |message: String| CallError::Encoding { message };
        let name = function.name();
        let request = function::encode(&arguments)
            .map_err(|error| encode_error(name, &error))
            .map_err(encoding)?;
        drop(arguments);
        let request = wire::request(name, &request)?;
        let _turn = self.shared.room.acquire().await.map_err(|_| CallError::ShutDown)?;
        // Relaxed: as in `shutdown`.
        if self.shared.closing.load(Ordering::Relaxed) {
            return Err(CallError::ShutDown);
        }
        let mut worker = self.shared.worker().await?;
        let answered = match self.shared.options.time {
            None => worker.answer(&request).await,
            // In the middle of a call its process is of no use.
            Some(limit) => match timeout(limit, worker.answer(&request)).await {
                Ok(answered) => answered,
                Err(_) => return Err(CallError::TimedOut { limit }),
            },
        };
        let answer = match answered {
            Ok(answer) => answer,
            Err(error) => return Err(worker.death(error).await),
        };
        self.shared.put_back(worker);
        let (kind, body) =
            answer.split_first().ok_or_else(|| encoding("an empty answer".into()))?;
        let text = || String::from_utf8_lossy(body).into_owned();
        match *kind {
            wire::VALUE => function::decode(body).map_err(|error| {
                encoding(format!("the result of {name:?} cannot be decoded: {error}"))
            }),
            wire::PANIC => Err(CallError::Panicked { message: text() }),
            wire::UNKNOWN => Err(CallError::NotRegistered { function: name }),
            _ => Err(encoding(text())),
        }
    }

    /// Takes no more calls, waits for those that run, and ends the processes. In a forked child it does
    /// nothing.
    ///
    /// A pool that is dropped kills its processes, once no call is under way.
    ///
    /// asyncio: `pool.shutdown(wait=True)`.
    ///
    /// # Cancel safety
    ///
    /// The pool takes no more calls all the same.
    pub async fn shutdown(&self) {
        if self.shared.check_parent().is_err() {
            return;
        }
        // Relaxed: a call that gets its turn after this one's sees it, by the semaphore.
        self.shared.closing.store(true, Ordering::Relaxed);
        let all = self.shared.room.acquire_many(self.shared.options.processes).await;
        let idle = std::mem::take(&mut *self.shared.idle.lock());
        for Worker { mut child, socket, .. } in idle {
            // The process waits for that. Closed alone, the socket would live on in a forked child.
            _ = poll_fn(|cx| socket.poll_shutdown_write(cx)).await;
            _ = child.wait().await;
        }
        drop(all);
    }
}

fn encode_error(function: &str, error: &postcard::Error) -> String {
    format!("the arguments of {function:?} cannot be encoded: {error}")
}

impl Shared {
    fn check_parent(&self) -> io::Result<()> {
        match self.parent == fork::generation() {
            true => Ok(()),
            false => Err(fork::error()),
        }
    }

    /// A process that waits for a call.
    async fn worker(&self) -> Result<Worker, CallError> {
        loop {
            let idle = self.idle.lock().pop();
            let Some(mut worker) = idle else {
                return Ok(Worker::start(self.options.memory.unwrap_or(0)).await?);
            };
            // One that has ended meanwhile is not the fault of this call.
            if worker.child.try_wait()?.is_none() {
                return Ok(worker);
            }
        }
    }

    fn put_back(&self, mut worker: Worker) {
        worker.calls += 1;
        if self.options.calls.is_none_or(|calls| worker.calls < calls) {
            self.idle.lock().push(worker);
        }
    }
}

/// One process. It is killed when this is dropped.
struct Worker {
    child: Child,
    socket: Connection,
    calls: u64,
}

impl Worker {
    async fn start(memory: u64) -> io::Result<Self> {
        let (socket, far) = Connection::pair_with_fd()?;
        // Also where the file of the program has been replaced since.
        let mut command = Command::new("/proc/self/exe");
        command.arg0(worker::WORKER).args([memory.to_string(), std::process::id().to_string()]);
        command.stdin(Stdio::from(far)).process_group(0).kill_on_drop(true);
        let child = command.spawn().await?;
        Ok(Self { child, socket, calls: 0 })
    }

    /// Sends a request and waits for the answer.
    async fn answer(&mut self, request: &[u8]) -> io::Result<Vec<u8>> {
        let mut rest = request;
        while !rest.is_empty() {
            let written = poll_fn(|cx| self.socket.poll_write(cx, rest)).await?;
            rest = &rest[written..];
        }
        let mut head = [0; wire::HEAD];
        self.read(&mut head).await?;
        let mut answer = vec![0; wire::length(head)];
        self.read(&mut answer).await?;
        Ok(answer)
    }

    async fn read(&mut self, buf: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < buf.len() {
            let read = poll_fn(|cx| {
                let buf = as_uninit(&mut buf[filled..]);
                self.socket.poll_read(cx, buf)
            });
            match read.await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
        Ok(())
    }

    /// The process does not answer any more.
    async fn death(mut self, error: io::Error) -> CallError {
        // It has closed its socket, so that it ends; else it is not to go on.
        let ended = {
            let waiting = pin!(self.child.wait());
            timeout(Duration::from_secs(1), waiting).await
        };
        let status = match ended {
            Ok(status) => status,
            Err(_) => match self.child.kill() {
                Ok(()) => self.child.wait().await,
                Err(_) => return CallError::Io(error),
            },
        };
        status.map_or_else(CallError::Io, |status| CallError::WorkerDied { status })
    }
}

impl fmt::Debug for ProcessPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("ProcessPool");
        fields.field("processes", &self.shared.options.processes);
        // Without waiting: in a forked child the lock may be held for ever.
        if let Some(idle) = self.shared.idle.try_lock() {
            fields.field("idle", &idle.len());
        }
        fields.finish_non_exhaustive()
    }
}
