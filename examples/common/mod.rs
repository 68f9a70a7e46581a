//! What the example services share: their command line and their first and last words.

use std::{error::Error, fmt, net::SocketAddr, process::ExitCode};

use ringloop::{Backend, Builder, Handle, net::TcpListener};

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
}

/// The common part of a usage text.
const USAGE: &str = "
    --addr IP:PORT               where to listen; port 0 picks a free one
    --workers N                  worker threads (default: one for each core)
    --backend auto|uring|epoll   what the reactor stands on (default: auto)";

impl Options {
    /// Reads `--name value` pairs from the command line. `extra` gets those that
    /// are not common to all examples, and returns whether it knows the name.
    pub fn from_command_line(
        default_addr: SocketAddr,
        mut extra: impl FnMut(&str, &str) -> Result<bool, Failure>,
    ) -> Result<Self, Failure> {
        let mut options = Self { addr: default_addr, workers: None, backend: Backend::Auto };
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

/// Listens on `addr`, and says so in one line.
pub async fn listen(addr: SocketAddr) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind(addr).await?;
    let runtime = Handle::current();
    println!(
        "listening on {}, backend {}, {} workers",
        listener.local_addr()?,
        runtime.backend(),
        runtime.workers()
    );
    Ok(listener)
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
