//! Follows a file as `tail -F` does: what is appended is printed, also after the file was cut off or replaced.
//!
//! ```text
//! cargo run --release --example tail_f -- --file /var/log/syslog
//! ```
//!
//! The kernel reports changes by inotify(7), whose descriptor the runtime waits for with an `AsyncFd`. Nothing is polled
//! at intervals.

use std::{
    ffi::OsString,
    io,
    mem::MaybeUninit,
    net::{Ipv4Addr, SocketAddr},
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::PathBuf,
    process::ExitCode,
};

use ringloop::{
    fs::{self, File},
    io::{AsyncFd, AsyncWriteExt, Stdout, stdout},
    race, signal,
};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use common::{Failure, Options};

#[allow(dead_code, reason = "other examples use the rest")]
#[path = "common/mod.rs"]
mod common;

/// Bytes that are read at a time.
const PIECE: usize = 64 << 10;

fn main() -> ExitCode {
    common::exit(
        "tail_f",
        "\n    --file PATH                  what to follow; it need not exist yet\
         \n    --from begin|end             where to begin (default: end)",
        run(),
    )
}

fn run() -> Result<(), Failure> {
    let (mut path, mut from_begin) = (None, false);
    let none = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let options = Options::from_command_line(none, |name, value| {
        match (name, value) {
            ("--file", path_given) => path = Some(PathBuf::from(path_given)),
            ("--from", "begin") => from_begin = true,
            ("--from", "end") => from_begin = false,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let path = path.ok_or("--file is needed: tail_f --file PATH")?;
    options.builder().run(async {
        let stopped = race!(signal::ctrl_c(), signal::terminate());
        Ok(race!(stopped, follow(path, from_begin)).await?)
    })?
}

async fn follow(path: PathBuf, from_begin: bool) -> io::Result<()> {
    // The folder is watched, and not the file: a file that takes its name is seen, too.
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_owned();
    let changes = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let kinds = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
    inotify::add_watch(&changes, &folder, kinds | WatchFlags::ONLYDIR)?;
    let changes = AsyncFd::new(changes)?;
    // Only now is the file looked at: what is appended from here on is also reported.
    let mut followed = Followed { path, file: None, at: 0, output: stdout() };
    followed.open().await?;
    if let (Some(file), false) = (&followed.file, from_begin) {
        followed.at = file.metadata().await?.len();
    }
    loop {
        followed.catch_up().await?;
        while !changes.read_with(|fd| has_changed(fd, &name)).await? {}
    }
}

/// Takes all reports that one read gives; says whether one is of the file. `WouldBlock` if there is none.
fn has_changed(changes: &OwnedFd, name: &OsString) -> io::Result<bool> {
    let mut buf = [MaybeUninit::uninit(); 4096];
    let mut reports = inotify::Reader::new(changes, &mut buf);
    let mut changed = false;
    loop {
        let report = reports.next()?;
        // With an overflow the kernel has thrown reports away.
        changed |= report.events().contains(ReadFlags::QUEUE_OVERFLOW)
            || report.file_name().is_some_and(|of| of.to_bytes() == name.as_bytes());
        if reports.is_buffer_empty() {
            return Ok(changed);
        }
    }
}

struct Followed {
    path: PathBuf,
    file: Option<File>,
    /// What is before this offset was printed.
    at: u64,
    output: Stdout,
}

impl Followed {
    /// Opens what has the name now, if anything has.
    async fn open(&mut self) -> io::Result<()> {
        match File::open(&self.path).await {
            Ok(file) => (self.file, self.at) = (Some(file), 0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Prints what is new.
    async fn catch_up(&mut self) -> io::Result<()> {
        self.print_rest().await?;
        // The file that was followed is complete, if another one has its name.
        if self.is_replaced().await? {
            self.open().await?;
            self.print_rest().await?;
        }
        Ok(())
    }

    async fn is_replaced(&self) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(true) };
        let open = file.metadata().await?;
        match fs::metadata(&self.path).await {
            Ok(named) => Ok((named.dev(), named.ino()) != (open.dev(), open.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn print_rest(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        if file.metadata().await?.len() < self.at {
            eprintln!("tail_f: {} was cut off", self.path.display());
            self.at = 0;
        }
        let mut buf = vec![0; PIECE];
        loop {
            let result;
            (result, buf) = file.read_at(buf, self.at).await;
            match result? {
                0 => return self.output.flush().await,
                len => {
                    self.output.write_all(&buf[..len]).await?;
                    self.at += len as u64;
                }
            }
        }
    }
}
