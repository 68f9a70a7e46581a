//! A megabyte to a child and back, and its exit code.
//!
//! ```python
//! import asyncio
//! from asyncio.subprocess import PIPE
//!
//! async def main():
//!     process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
//!     data = b"x" * (1 << 20)
//!     back, _ = await process.communicate(data)
//!     print(f"{len(back)} bytes back, the same: {back == data}")
//!     print(f"exit code {process.returncode}")
//!
//!     process = await asyncio.create_subprocess_shell("echo started; sleep 1000", stdout=PIPE)
//!     print((await process.stdout.readline()).decode().strip())
//!     process.kill()
//!     print(f"ended by signal {-await process.wait()}")
//!
//! asyncio.run(main())
//! ```

use std::{io, os::unix::process::ExitStatusExt};

use ringloop::{
    io::{AsyncBufReadExt, BufReader},
    process::{Command, Stdio},
};

pub fn main() -> io::Result<()> {
    ringloop::run(async {
        let data = vec![b'x'; 1 << 20];
        let output = Command::new("cat").communicate(&data).await?;
        println!("{} bytes back, the same: {}", output.stdout.len(), output.stdout == data);
        println!("exit code {}", output.status.code().expect("it was not killed"));

        let mut command = Command::shell("echo started; exec sleep 1000");
        let mut child = command.stdout(Stdio::piped()).spawn().await?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line).await?;
        print!("{line}");
        child.kill()?;
        println!("ended by signal {}", child.wait().await?.signal().expect("it was killed"));
        Ok(())
    })
}
