//! A child that was started.

use std::{
    future::poll_fn,
    io,
    process::{ExitStatus, Output},
};

use futures_util::{future::try_join3, io::AsyncWriteExt};

use super::{
    command::Started,
    errors,
    pidfd::Process,
    stdio::{ChildStderr, ChildStdin, ChildStdout},
};
use crate::{io::PipeReader, signal::SignalKind};

/// A child process: see [`Command::spawn`](super::Command::spawn).
///
/// # Dropping
///
/// The child runs on, unless [`kill_on_drop`](super::Command::kill_on_drop) was set. The runtime reaps it
/// when it has ended, so that no zombie stays; if the runtime ends first, a thread of the library's does.
/// Dropping never waits.
///
/// In a forked child, one that was started before the fork is the parent's: waiting fails there, and dropping
/// it does nothing.
///
/// asyncio: `asyncio.subprocess.Process`; there a transport that is closed kills its child.
#[derive(Debug)]
pub struct Child {
    /// Its standard input, if that is a pipe: [`Stdio::piped`](super::Stdio::piped).
    pub stdin: Option<ChildStdin>,
    /// Its standard output, if that is a pipe.
    pub stdout: Option<ChildStdout>,
    /// Its standard error, if that is a pipe.
    pub stderr: Option<ChildStderr>,
    process: Process,
}

impl Child {
    pub(super) fn new(started: Started) -> io::Result<Self> {
        // On failure the child is dropped like any other, and has seen the ends of its pipes; nobody has a
        // handle, so it is killed.
        let Started { mut process, stdin, stdout, stderr } = started;
        let kill_on_drop = std::mem::replace(&mut process.kill_on_drop, true);
        let stdin = stdin.map(ChildStdin::new).transpose()?;
        let stdout = stdout.map(ChildStdout::new).transpose()?;
        let stderr = stderr.map(ChildStderr::new).transpose()?;
        process.kill_on_drop = kill_on_drop;
        Ok(Self { stdin, stdout, stderr, process })
    }

    /// The number of the process.
    ///
    /// Once [`wait`](Self::wait) or [`try_wait`](Self::try_wait) has reported its end, the system may give
    /// the number to another process. [`kill`](Self::kill) and [`send_signal`](Self::send_signal) do not go
    /// by the number, and never hit that one.
    ///
    /// asyncio: `process.pid`.
    #[doc(alias = "pid")]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits for the end of the process, and for nothing else: another process that has inherited its
    /// pipes does not hold this up. Its standard input, if it is still here, is closed first.
    ///
    /// Once it has reported the end, it reports the same again, at once.
    ///
    /// A child whose output is a pipe that nobody reads stands still when that is full, and never ends: read
    /// it at the same time, or use [`communicate`](Self::communicate).
    ///
    /// asyncio: `process.wait()`, which, up to 3.14, waits for the ends of the pipes, too.
    ///
    /// # Cancel safety
    ///
    /// The status is not lost: the next call has it.
    ///
    /// # Errors
    ///
    /// The thread belongs to no runtime. The status is lost, because other code has waited for the child, or
    /// because SIGCHLD has been ignored since.
    ///
    /// ```
    /// use ringloop::process::Command;
    ///
    /// ringloop::run(async {
    ///     let mut child = Command::shell("exit 3").spawn().await.unwrap();
    ///     assert_eq!(child.wait().await.unwrap().code(), Some(3));
    /// });
    /// ```
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        poll_fn(|cx| self.process.poll_wait(cx)).await
    }

    /// Its status, if it has ended. It does not wait, and leaves its input alone.
    ///
    /// asyncio: `process.returncode`.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](Self::wait); it works on any thread.
    #[doc(alias = "returncode")]
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.try_wait()
    }

    /// Kills it, by SIGKILL, and does not wait for its end. A child that has ended is left alone, and so is
    /// any other process that has its number.
    ///
    /// Its own children live on: give it a [group](super::Command::process_group), and send the signal to
    /// that, to end all of them.
    ///
    /// asyncio: `process.kill()`.
    ///
    /// # Errors
    ///
    /// It may not be signalled, since it has changed its user.
    ///
    /// ```
    /// use std::os::unix::process::ExitStatusExt;
    ///
    /// use ringloop::process::Command;
    ///
    /// ringloop::run(async {
    ///     let mut child = Command::new("sleep").arg("1000").spawn().await.unwrap();
    ///     child.kill().unwrap();
    ///     assert_eq!(child.wait().await.unwrap().signal(), Some(9));
    ///     child.kill().unwrap();
    /// });
    /// ```
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.send(libc::SIGKILL)
    }

    /// Sends it a signal, such as [`SignalKind::terminate`]. A child that has ended is left alone, and so is
    /// any other process that has its number.
    ///
    /// asyncio: `process.send_signal(sig)`, `process.terminate()`; there one that has ended is an error.
    ///
    /// # Errors
    ///
    /// There is no such signal, or the child may not be signalled, since it has changed its user.
    #[doc(alias = "terminate")]
    pub fn send_signal(&self, signal: SignalKind) -> io::Result<()> {
        self.process.send(signal.as_raw())
    }

    /// Writes `input` to its standard input and closes that, reads its output and its errors to their ends,
    /// where they are pipes, and waits for its end. All of that at the same time, so that neither side stands
    /// still. A child that ends, or closes its input, before it has read everything is no error.
    ///
    /// It waits for the ends of the pipes, too: another process that has inherited one holds it up.
    ///
    /// asyncio: `process.communicate(input)`.
    ///
    /// # Cancel safety
    ///
    /// What was read is lost, and a part of the input may have been written. The child is still here, to be
    /// killed or waited for; its pipes are not.
    ///
    /// # Errors
    ///
    /// There is input, and no pipe for it; those of the pipes, and of [`wait`](Self::wait).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use ringloop::{process::{Command, Stdio}, time::timeout};
    ///
    /// ringloop::run(async {
    ///     let mut command = Command::new("cat");
    ///     let mut child =
    ///         command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().await.unwrap();
    ///     match timeout(Duration::from_secs(60), child.communicate("input")).await {
    ///         Ok(output) => assert_eq!(output.unwrap().stdout, b"input"),
    ///         Err(_) => child.kill().unwrap(),
    ///     }
    /// });
    /// ```
    pub async fn communicate(&mut self, input: impl AsRef<[u8]>) -> io::Result<Output> {
        if self.stdin.is_none() && !input.as_ref().is_empty() {
            return Err(errors::no_stdin());
        }
        let (stdout, stderr) = (self.stdout.take(), self.stderr.take());
        let write = write_all(self.stdin.take(), input);
        let read_out = read_to_end(stdout.map(ChildStdout::into_pipe));
        let read_err = read_to_end(stderr.map(ChildStderr::into_pipe));
        let ((), stdout, stderr) = try_join3(write, read_out, read_err).await?;
        let status = self.wait().await?;
        Ok(Output { status, stdout, stderr })
    }

    /// Closes its standard input, reads its output and its errors to their ends, where they are pipes, and
    /// waits for its end.
    ///
    /// asyncio: `process.communicate()`.
    ///
    /// # Cancel safety
    ///
    /// What was read is lost, and the child is dropped.
    ///
    /// # Errors
    ///
    /// As [`communicate`](Self::communicate).
    pub async fn wait_with_output(mut self) -> io::Result<Output> {
        self.communicate([]).await
    }
}

/// Writes everything that the child wants, closes the pipe and drops the input.
async fn write_all(stdin: Option<ChildStdin>, input: impl AsRef<[u8]>) -> io::Result<()> {
    let Some(mut stdin) = stdin else { return Ok(()) };
    let input = input.as_ref();
    stdin.expect_bytes(input.len());
    match stdin.write_all(input).await {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

async fn read_to_end(pipe: Option<PipeReader>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_everything(&mut bytes).await?;
    }
    Ok(bytes)
}
