//! Asking a process: see `docs/inspect.md` for the protocol.
//!
//! The process may be hostile, and this program root: nothing of what it offers is opened so that it waits, and nothing is believed
//! but a sealed file of a bounded size.

use std::{
    fs::{self, File},
    hash::{BuildHasher, RandomState},
    io::Read,
    os::fd::OwnedFd,
    path::Path,
    thread,
    time::Duration,
};

use ringloop::time::Instant;
use rustix::{
    fs::{FileType, Mode, OFlags, SealFlags, fcntl_get_seals, fstat, open},
    io::Errno,
};
use serde_json::Value;

use super::failure::{Failure, Kind};

/// The version of the protocol that this program speaks.
pub const PROTOCOL: u32 = 1;
/// What the name of the thread that answers begins with.
const NAME: &str = "ring-ask-";
/// The largest answer that is read.
const LARGEST: u64 = 256 << 20;
/// How often to ask again: the process may have been asked by too many.
const AGAIN: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// A process that can be asked.
#[derive(Debug)]
pub struct Client {
    pid: u32,
    ask: OwnedFd,
}

/// The number of the descriptor at which the process hears questions, if there is a thread that does.
pub fn door_of(pid: u32) -> Option<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    threads.flatten().find_map(|thread| {
        let name = fs::read_to_string(thread.path().join("comm")).ok()?;
        name.trim_end().strip_prefix(NAME)?.parse().ok()
    })
}

/// The name of the program, as the kernel has it.
pub fn name_of(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// The user of a process: its real number.
pub fn user_of(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The letter of proc(5): `Z` for a zombie, `T` for a process that is stopped.
fn state_of(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold any character.
    stat.rsplit_once(") ")?.1.chars().next()
}

impl Client {
    /// Finds the door of a process.
    pub fn open(pid: u32) -> Result<Self, Failure> {
        let Some(door) = door_of(pid) else { return Err(nothing_to_ask(pid)) };
        // Anything may be behind the number by now: it must not wait, nor become a terminal.
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match open(format!("/proc/{pid}/fd/{door}"), flags, Mode::empty()) {
            Ok(ask) => {
                let is_pipe = fstat(&ask).map(|stat| FileType::from_raw_mode(stat.st_mode));
                if is_pipe == Ok(FileType::Fifo) {
                    return Ok(Self { pid, ask });
                }
                Err(nothing_to_ask(pid))
            }
            Err(Errno::ACCESS | Errno::PERM) => Err(not_permitted(pid)),
            // A process that has just ended its runtime, or itself.
            Err(_) => Err(nothing_to_ask(pid)),
        }
    }

    /// The result of a question, waiting for it up to `timeout`.
    pub fn ask(&self, question: &str, timeout: Duration) -> Result<Value, Failure> {
        let answer = self.answer(question, timeout)?;
        let pid = self.pid;
        let strange = |why: String| {
            let text = format!("process {pid} has given an answer that is not understood: {why}");
            Failure::new(Kind::Other, text)
        };
        let mut answer: Value =
            serde_json::from_slice(&answer).map_err(|error| strange(error.to_string()))?;
        if let Some(error) = answer["error"].as_str() {
            return Err(Failure::new(Kind::Other, format!("process {pid}: {error}")));
        }
        if answer["protocol"] != PROTOCOL {
            return Err(strange(format!("it speaks version {}", answer["protocol"])));
        }
        match answer["result"].take() {
            Value::Null => Err(strange("it has no result".to_owned())),
            result => Ok(result),
        }
    }

    /// The bytes of the answer.
    fn answer(&self, question: &str, timeout: Duration) -> Result<Vec<u8>, Failure> {
        let id = RandomState::new().hash_one(self.pid);
        let begun = Instant::now();
        let mut asked: Option<Instant> = None;
        let mut pause = Duration::from_micros(200);
        loop {
            if asked.is_none_or(|at| at.elapsed() >= AGAIN) && self.write(id, question)? {
                asked = Some(Instant::now());
            }
            if let Some(answer) = self.look_for(id)? {
                // Refused: the process forgets the answer after a while.
                let _ = self.write(id, "done");
                return Ok(answer);
            }
            let Some(rest) = timeout.checked_sub(begun.elapsed()) else {
                return Err(self.silent(timeout));
            };
            thread::sleep(pause.min(rest));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Writes a line as one piece. `false`: the pipe is full.
    fn write(&self, id: u64, words: &str) -> Result<bool, Failure> {
        // An empty line first: another process may have left a piece of one.
        let line = format!("\nringloop {PROTOCOL} {id:016x} {words}\n");
        match rustix::io::write(&self.ask, line.as_bytes()) {
            Ok(_) => Ok(true),
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(Errno::PIPE) => Err(nothing_to_ask(self.pid)),
            Err(error) => Err(Failure::from(std::io::Error::from(error))),
        }
    }

    /// The answer, if it is complete.
    fn look_for(&self, id: u64) -> Result<Option<Vec<u8>>, Failure> {
        let folder = format!("/proc/{}/fd", self.pid);
        let Ok(entries) = fs::read_dir(&folder) else {
            return Err(match Path::new(&format!("/proc/{}", self.pid)).exists() {
                true => not_permitted(self.pid),
                false => nothing_to_ask(self.pid),
            });
        };
        let wanted = format!("/memfd:ringloop-{id:016x} (deleted)");
        for entry in entries.flatten() {
            let path = entry.path();
            if fs::read_link(&path).is_ok_and(|link| link == Path::new(&wanted)) {
                return Ok(read_sealed(&path));
            }
        }
        Ok(None)
    }

    fn silent(&self, timeout: Duration) -> Failure {
        let state = match state_of(self.pid) {
            Some('T' | 't') => "it is stopped: continue it (kill -CONT)",
            Some(_) => "perhaps it is very busy: try again with a longer --timeout",
            None => "it has ended meanwhile",
        };
        let text = format!("process {} has not answered within {timeout:?}; {state}", self.pid);
        Failure::new(Kind::Silent, text)
    }
}

/// The content of a file in memory that nobody can change any more, if it is one.
fn read_sealed(path: &Path) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = open(path, flags, Mode::empty()).ok()?;
    // Only files in memory have seals: reading them never waits.
    let seals = fcntl_get_seals(&file).ok()?;
    if !seals.contains(SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK) {
        return None;
    }
    let mut text = Vec::new();
    File::from(file).take(LARGEST).read_to_end(&mut text).ok()?;
    Some(text)
}

/// Why a process without a door cannot be asked.
fn nothing_to_ask(pid: u32) -> Failure {
    let Some(name) = name_of(pid) else {
        let text =
            format!("there is no process {pid}: `ringloop ps` lists those that can be asked");
        return Failure::new(Kind::NoProcess, text);
    };
    let name = super::paint::plain(&name);
    if state_of(pid) == Some('Z') {
        let text =
            format!("process {pid} ({name}) has ended, and its parent has not waited for it");
        return Failure::new(Kind::NoProcess, text);
    }
    let text = format!(
        "process {pid} ({name}) has no runtime of ringloop that can be asked: it is another program, or its \
         runtime has not begun or has ended, or inspection is off there (RINGLOOP_INSPECT=0, \
         Builder::inspect(false)); `ringloop ps` lists those that can be asked"
    );
    Failure::new(Kind::NothingToAsk, text)
}

/// Why the kernel keeps a process shut.
fn not_permitted(pid: u32) -> Failure {
    let own = rustix::process::geteuid().as_raw();
    let why = match user_of(pid) {
        Some(user) if user != own => {
            format!(
                "it belongs to user {user}, and you are user {own}: run this as that user or as root"
            )
        }
        _ => {
            "the kernel protects it, since it has capabilities or is not dumpable: run this as root"
                .to_owned()
        }
    };
    Failure::new(Kind::NotPermitted, format!("process {pid} may not be asked: {why}"))
}
