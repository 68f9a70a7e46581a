//! Child processes, in the shape of `std::process`.
//!
//! A [`Command`] says what to start; [`spawn`](Command::spawn) starts it and gives a [`Child`];
//! [`output`](Command::output), [`status`](Command::status) and [`communicate`](Command::communicate) start
//! and wait in one.
//!
//! The end of a child is learnt by its pidfd (pidfd_open(2), Linux 5.4), which is opened right after the
//! start: no thread waits, SIGCHLD is neither used nor disturbed, and nothing grows with the number of children
//! that live. Pipes to a child are on the reactor, without a thread for each.
//!
//! ```
//! use ringloop::{io::{AsyncReadExt, AsyncWriteExt}, process::{Command, Stdio}};
//!
//! ringloop::run(async {
//!     let mut command = Command::new("sort");
//!     let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().await?;
//!     let mut stdin = child.stdin.take().expect("it is piped");
//!     stdin.write_all(b"pear\napple\n").await?;
//!     drop(stdin);
//!     let mut sorted = String::new();
//!     child.stdout.take().expect("it is piped").read_to_string(&mut sorted).await?;
//!     assert_eq!(sorted, "apple\npear\n");
//!     assert!(child.wait().await?.success());
//!     Ok::<_, std::io::Error>(())
//! })
//! # .unwrap();
//! ```

mod child;
mod command;
mod errors;
mod orphans;
mod pidfd;
#[cfg(feature = "process-pool")]
mod pool;
pub(crate) mod state;
mod stdio;

pub use std::process::{ExitStatus, Output, Stdio};

#[cfg(feature = "process-pool")]
pub use self::pool::{CallError, Function, ProcessPool, ProcessPoolBuilder, Registered};
pub use self::{
    child::Child,
    command::Command,
    stdio::{ChildStderr, ChildStdin, ChildStdout},
};
