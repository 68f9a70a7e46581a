//! The rings of a runtime, the switch that says whether it is recorded, and the alarms that write its
//! recording to a file.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{
    Recording,
    event::Kind,
    ring::{Ring, WORDS},
    ticks::{self, Moment},
};
use crate::{
    error::TaskId,
    loom::global::{AtomicU8, AtomicU32, AtomicU64, Ordering},
    util::{
        clock,
        fork::PerProcess,
        threads::{self, Started},
    },
};

/// Memory for the events of a runtime.
const MEMORY: usize = 8 << 20;
/// Events of a ring at least.
const LEAST: usize = 512;
/// Names of tasks that are kept.
const NAMES: usize = 1 << 14;
/// How long the end of a runtime waits for a recording to be written, in ns.
const PATIENCE: u64 = 2_000_000_000;

/// What the threads of a runtime write to.
pub(crate) struct Rings {
    /// One for each worker, which alone writes there.
    pub(super) workers: Vec<Ring>,
    /// For all other threads, one at a time.
    pub(super) others: Ring,
    writing: Mutex<()>,
    /// Events that were left out because another thread was writing.
    pub(super) missed: AtomicU64,
    /// When the recorder was turned on.
    pub(super) begin: Moment,
    names: Mutex<BTreeMap<TaskId, String>>,
    /// The file that an alarm writes.
    file: Option<PathBuf>,
    /// The alarms that have been, as bits.
    alarms: AtomicU8,
    writer: Mutex<Vec<Started>>,
}

/// Why a recording is written to a file by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// A task has panicked.
    Panic = 1,
    /// A runtime has not ended by its deadline.
    Shutdown = 2,
    /// The doctor has found something.
    Doctor = 4,
}

impl Rings {
    fn new(workers: usize, file: Option<PathBuf>) -> Self {
        ticks::choose();
        let events = MEMORY / (WORDS * size_of::<u64>());
        let fits = (events / (workers + 1)).max(LEAST);
        // The largest power of two that is not above it.
        let len = 1 << fits.ilog2();
        Self {
            workers: (0..workers).map(|_| Ring::new(len)).collect(),
            others: Ring::new(len),
            writing: Mutex::new(()),
            missed: AtomicU64::new(0),
            begin: Moment::now(),
            names: Mutex::default(),
            file,
            alarms: AtomicU8::new(0),
            writer: Mutex::default(),
        }
    }

    /// Writes an event of a thread that is no worker. It waits for no other thread.
    pub(super) fn push_other(&self, words: [u64; WORDS]) {
        match self.writing.try_lock() {
            Some(_alone) => self.others.push(words),
            None => _ = self.missed.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Keeps the name of a task, for a reader that comes after its end.
    pub(crate) fn add_name(&self, task: TaskId, name: &str) {
        let mut names = self.names.lock();
        if names.len() >= NAMES {
            // The oldest task.
            names.pop_first();
        }
        names.insert(task, name.to_owned());
    }

    pub(super) fn names(&self) -> BTreeMap<TaskId, String> {
        self.names.lock().clone()
    }
}

/// Whether a runtime is recorded: 0, or the number of the recording.
pub(crate) struct Switch(AtomicU32);

/// Runtimes that are recorded, in the process.
static ON: AtomicU32 = AtomicU32::new(0);

/// Whether any is.
#[inline]
pub(super) fn is_any_on() -> bool {
    // Relaxed: as the tick of a worker, a thread may see a switch late.
    ON.load(Ordering::Relaxed) > 0
}

/// The rings, by the keys of their runtimes. A forked child has none.
fn table() -> &'static Mutex<HashMap<u16, Arc<Rings>>> {
    static TABLE: PerProcess<Mutex<HashMap<u16, Arc<Rings>>>> = PerProcess::new();
    TABLE.get(|| Mutex::new(HashMap::new()))
}

/// The rings of a runtime, if it is or has been recorded.
pub(crate) fn rings(key: u16) -> Option<Arc<Rings>> {
    table().lock().get(&key).cloned()
}

impl Switch {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// The number of the recording; 0: there is none.
    #[inline]
    pub(crate) fn epoch(&self) -> u32 {
        // Relaxed: what it announces is behind the lock of `table`.
        self.0.load(Ordering::Relaxed)
    }

    /// Turns it on. Whether it was off.
    pub(crate) fn start(&self, key: u16, workers: usize, file: Option<PathBuf>) -> bool {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let mut table = table().lock();
        if self.epoch() != 0 {
            return false;
        }
        table.insert(key, Arc::new(Rings::new(workers, file)));
        ON.fetch_add(1, Ordering::Relaxed);
        // 0 is taken: after 4 billion recordings one is not begun.
        self.0.store(NEXT.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        true
    }

    /// Turns it off. What has been recorded stays until the next start.
    pub(crate) fn stop(&self) {
        let _alone = table().lock();
        if self.0.swap(0, Ordering::Relaxed) != 0 {
            ON.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The runtime has ended: nothing stays, once its files are written.
    pub(crate) fn forget(&self, key: u16) {
        self.stop();
        let rings = table().lock().remove(&key);
        if let Some(rings) = rings {
            let deadline = clock::machine().saturating_add(PATIENCE);
            for thread in rings.writer.lock().drain(..) {
                if thread.ends_by(deadline) {
                    thread.join();
                }
            }
        }
    }
}

/// Writes what was recorded to the file that was chosen for it: once for each alarm and recording. After
/// a panic that is on a thread of its own, for which the end of the runtime waits.
#[cold]
pub(crate) fn alarm(key: u16, alarm: Alarm) {
    let Some(rings) = rings(key) else { return };
    let Some(file) = rings.file.as_deref().map(|file| with_reason(file, alarm)) else { return };
    let bit = alarm as u8;
    if rings.alarms.fetch_or(bit, Ordering::Relaxed) & bit != 0 {
        return;
    }
    // Now: the thread may have to wait for a core.
    let recording = Recording::of(&rings);
    let write = move || {
        if let Err(error) = write(&file, &recording) {
            tell(&file, &error);
        }
    };
    if alarm != Alarm::Panic {
        // The process may be about to end; and a thread that asks the doctor may wait.
        return write();
    }
    match threads::spawn("ringloop-record".to_owned(), write) {
        Ok(started) => rings.writer.lock().push(started),
        Err(error) => tell(Path::new("a recording"), &error),
    }
}

/// Through a file beside it: a reader finds all of it, or nothing.
fn write(file: &Path, recording: &Recording) -> io::Result<()> {
    let mut beside = OsString::from(file);
    beside.push(".part");
    fs::write(&beside, recording.to_trace())?;
    fs::rename(beside, file)
}

/// `a/b.json` becomes `a/b-panic.json`.
fn with_reason(file: &Path, alarm: Alarm) -> PathBuf {
    let reason = match alarm {
        Alarm::Panic => "-panic",
        Alarm::Shutdown => "-shutdown",
        Alarm::Doctor => "-doctor",
    };
    let mut name = file.file_stem().unwrap_or_default().to_owned();
    name.push(reason);
    if let Some(extension) = file.extension() {
        name.push(".");
        name.push(extension);
    }
    file.with_file_name(name)
}

fn tell(file: &Path, error: &io::Error) {
    use io::Write as _;
    let text =
        format!("ringloop: the recording could not be written to {}: {error}\n", file.display());
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Notes an event of a thread that is no worker of that runtime.
#[cold]
pub(crate) fn note_elsewhere(key: u16, kind: Kind, [task, word, more]: [u64; 3]) {
    if let Some(rings) = rings(key) {
        rings.push_other(kind.words(ticks::now(), task, word, more));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_of_an_alarm_says_why() {
        let named = |file: &str, alarm| with_reason(Path::new(file), alarm);
        assert_eq!(named("/a/b.json", Alarm::Panic), Path::new("/a/b-panic.json"));
        assert_eq!(named("b", Alarm::Shutdown), Path::new("b-shutdown"));
    }

    #[test]
    fn memory_is_bounded_and_shared_by_the_workers() {
        for workers in [1, 2, 7, 48] {
            let rings = Rings::new(workers, None);
            let bytes: usize = rings.workers.iter().chain([&rings.others]).map(Ring::bytes).sum();
            assert!((MEMORY / 4..=MEMORY).contains(&bytes), "{workers}: {bytes}");
        }
    }

    #[test]
    fn names_of_the_oldest_tasks_go_first() {
        let rings = Rings::new(1, None);
        (0..NAMES as u64 + 2).for_each(|task| rings.add_name(TaskId(task), "name"));
        let names = rings.names();
        assert_eq!(names.len(), NAMES);
        assert!(!names.contains_key(&TaskId(1)) && names.contains_key(&TaskId(2)));
    }
}
