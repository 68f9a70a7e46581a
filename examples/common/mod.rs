//! What the example services share: their command line and their first and last words.

use std::{error::Error, fmt, io, net::SocketAddr, pin::pin, process::ExitCode};

use futures_util::future::{Either, select, select_all};
use ringloop::{Backend, Builder, Handle, Task, net::TcpListener};

/// Any error, ready to be printed.
pub type Failure = Box<dyn Error>;

/// The options every example has.
#[derive(Debug)]
pub struct Options {
    /// Where to listen; port 0 means any free one.
    pub addr: SocketAddr,
    /// Worker threads; by default one for each core the process may use.
    pub workers: Option<usize>,
    /// What the reactor stands on.
    pub backend: Backend,
    /// A listener for each worker, whose connections stay there.
    pub reuse_port: bool,
}

/// The common part of a usage text.
const USAGE: &str = "
    --addr IP:PORT               where to listen; port 0 picks a free one
    --workers N                  worker threads (default: one for each core)
    --backend auto|uring|epoll   what the reactor stands on (default: auto)
    --reuse-port yes|no          a listener for each worker, whose connections stay on
                                 that worker (default: no)";

impl Options {
    /// Reads `--name value` pairs from the command line. `extra` gets those that
    /// are not common to all examples, and returns whether it knows the name.
    pub fn from_command_line(
        default_addr: SocketAddr,
        mut extra: impl FnMut(&str, &str) -> Result<bool, Failure>,
    ) -> Result<Self, Failure> {
        let mut options =
            Self { addr: default_addr, workers: None, backend: Backend::Auto, reuse_port: false };
        let mut words = std::env::args().skip(1);
        while let Some(name) = words.next() {
            if name == "--help" || name == "-h" {
                return Err(Box::new(Help));
            }
            let value = words.next().ok_or_else(|| format!("{name} needs a value"))?;
            if !options.take(&name, &value)? && !extra(&name, &value)? {
                return Err(format!("no such option: {name}; --help lists them").into());
            }
        }
        Ok(options)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<bool, Failure> {
        match name {
            "--addr" => self.addr = parse(name, value)?,
            "--workers" => self.workers = Some(parse(name, value)?),
            "--backend" => self.backend = parse(name, value)?,
            "--reuse-port" => {
                self.reuse_port = match value {
                    "yes" => true,
                    "no" => false,
                    _ => return Err(format!("--reuse-port {value}: say yes or no").into()),
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A runtime as the options want it.
    pub fn builder(&self) -> Builder {
        let builder = Builder::new().backend(self.backend);
        match self.workers {
            Some(workers) => builder.workers(workers),
            None => builder,
        }
    }
}

/// Parses the value of an option; the error says which one it was.
pub fn parse<T>(name: &str, value: &str) -> Result<T, Failure>
where
    T: std::str::FromStr<Err: fmt::Display>,
{
    value.parse().map_err(|error| format!("{name} {value}: {error}").into())
}

/// Listens as the options want it, says so in one line, and starts a task for each listener: `accept`
/// says why it ended. Its argument says whether its connections stay on its worker.
pub async fn serve<A, F>(options: &Options, accept: A) -> Result<Acceptors, Failure>
where
    A: Fn(TcpListener, bool) -> F + Clone + Send + 'static,
    F: Future<Output = io::Error> + Send + 'static,
{
    let runtime = Handle::current();
    let (addr, tasks) = if options.reuse_port {
        let listeners = TcpListener::bind_per_worker(options.addr).await?;
        let addr = listeners[0].1.local_addr()?;
        let start = |(worker, listener)| {
            let accept = accept.clone();
            runtime.spawn_on(worker, move || accept(listener, true))
        };
        (addr, listeners.into_iter().map(start).collect())
    } else {
        let listener = TcpListener::bind(options.addr).await?;
        (listener.local_addr()?, vec![ringloop::spawn(accept(listener, false))])
    };
    println!("listening on {addr}, backend {}, {} workers", runtime.backend(), runtime.workers());
    Ok(Acceptors { addr, tasks })
}

/// The tasks that accept.
pub struct Acceptors {
    /// Where they listen.
    pub addr: SocketAddr,
    tasks: Vec<Task<io::Error>>,
}

impl Acceptors {
    /// Waits until one of them ends, and says why; or for a signal.
    pub async fn wait(
        &mut self,
        interrupted: impl Future<Output = io::Result<()>>,
    ) -> io::Result<()> {
        match select(pin!(interrupted), select_all(&mut self.tasks)).await {
            Either::Left((interrupted, _)) => interrupted,
            Either::Right(((ended, ..), _)) => Err(ended?),
        }
    }

    /// Ends them. A cancelled accept loses nothing, and a listener closes with its task.
    pub async fn end(self) {
        for task in &self.tasks {
            task.cancel();
        }
        for task in self.tasks {
            let _ = task.await;
        }
    }
}

/// Starts the task of a connection: on this worker for good, or where there is time.
pub fn spawn_connection<F>(stays: bool, connection: F)
where
    F: Future<Output: Send> + Send + 'static,
{
    if stays {
        ringloop::spawn_local(connection).detach();
    } else {
        ringloop::spawn(connection).detach();
    }
}

/// Asked for help: not a failure, but an end before the start.
#[derive(Debug)]
struct Help;

impl fmt::Display for Help {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("help was asked for")
    }
}

impl Error for Help {}

/// Turns the outcome into the process's exit status, with errors on stderr.
pub fn exit(name: &str, own_options: &str, outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is::<Help>() => {
            println!("usage: {name} [OPTIONS]{USAGE}{own_options}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{name}: {failure}");
            ExitCode::FAILURE
        }
    }
}
