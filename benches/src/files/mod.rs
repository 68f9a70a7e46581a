//! Files: reads, writes, syncs, and names.
//!
//! Questions: what does a read of 4 KiB cost that the system has in memory, one at a time (`read_4k_d1`) and by
//! 32 tasks (`read_4k_d32`), and what past the system's cache (`read_4k_direct_d32`)? What does a write of 4 KiB cost
//! (`write_4k`), a record that 16 tasks have made durable together (`append_fsync`), a megabyte of a file that is read
//! from its front to its end (`read_1m_seq`)? What do whole small files (`open_read_close_1k`) and the metadata of names
//! (`stat_10k`) cost, the names of a folder (`walk`), and a copy (`copy_256m`)?
//!
//! The folder is the one for temporary files, and for the rows that end in `_tmpfs` a file system in memory. Each run
//! makes its own, and removes it. Large files are written in pieces of 64 KiB: the size of the pieces decides what later
//! writes cost, on ext4 since Linux 6.16.
//!
//! Two kinds of case have a server: a proxy, whose cases are named `splice_`, and a server that answers each request with
//! a file ([`send`]).
//!
//! Does not show: a file system on a server, and a disk that is slow.

mod bare;
mod on_ringloop;
mod on_tokio;
pub mod send;

use std::fs;
use std::future::Future;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_channel::{mpsc, oneshot};
use futures_util::StreamExt as _;

use crate::catalogue::BARE;
use crate::harness::Spec;
use crate::peers::{CurrentThread, MultiThread, Peer, Ringloop};
use crate::proxy;
use crate::sample::Sample;
use crate::sys::Meter;

const PAGE: usize = 4096;
/// Pages of the large file.
const PAGES: u64 = 16 << 10;
const PIECE: usize = 64 << 10;
const MEGABYTE: usize = 1 << 20;
/// Reads of a task between two reads of the clock.
const READS: u64 = 64;
/// Tasks that read at a time.
const DEPTH: u64 = 32;
/// Tasks that append, and the bytes of a record.
const WRITERS: usize = 16;
const RECORD: usize = 256;
/// Small files, and their length.
const SMALL_FILES: u64 = 10_000;
const SMALL: usize = 1024;

/// Bytes of the file that is copied.
const COPIED: usize = 256 << 20;

/// How a file is opened.
#[derive(Clone, Copy, PartialEq)]
enum How {
    Read,
    Write,
    Append,
    Direct,
}

/// A runtime's files, as its users read and write them.
trait Files: Peer {
    type File: Send + 'static;
    type Buffer: Send + 'static;

    fn open(path: PathBuf, how: How) -> impl Future<Output = Self::File> + Send;

    fn buffer(len: usize, how: How) -> Self::Buffer;

    /// Reads as much as the buffer holds.
    fn read(
        file: &mut Self::File,
        buffer: Self::Buffer,
        offset: u64,
        how: How,
    ) -> impl Future<Output = Self::Buffer> + Send;

    /// Reads on, and returns how much; 0 at the end, which goes back to the front.
    fn read_on(
        file: &mut Self::File,
        buffer: Self::Buffer,
        at: u64,
    ) -> impl Future<Output = (usize, Self::Buffer)> + Send;

    fn write(
        file: &mut Self::File,
        bytes: Self::Buffer,
        offset: u64,
    ) -> impl Future<Output = Self::Buffer> + Send;

    /// Appends, and has it on the disk.
    fn append(file: &mut Self::File, bytes: Vec<u8>) -> impl Future<Output = ()> + Send;

    fn read_whole(path: &Path) -> impl Future<Output = Vec<u8>> + Send;

    fn length_of(path: &Path) -> impl Future<Output = u64> + Send;

    /// Goes through a folder, and counts the names.
    fn names_in(folder: &Path) -> impl Future<Output = u64> + Send;

    fn copy(from: &Path, to: &Path) -> impl Future<Output = u64> + Send;
}

/// Runs the server of the case and the peer that `spec` names, for ever.
pub fn serve(spec: &Spec, last_core: usize) -> Result<(), String> {
    match spec.case.name {
        name if name.starts_with("splice_") => proxy::serve(spec, last_core),
        _ => send::serve(spec),
    }
}

/// Runs the case in this process.
pub fn run(spec: &Spec) -> Result<Sample, String> {
    let (case, in_memory) = match spec.case.name.strip_suffix("_tmpfs") {
        Some(case) => (case, true),
        None => (spec.case.name, false),
    };
    let parent = if in_memory { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
    let folder = Folder::new(&parent).map_err(|error| format!("{}: {error}", parent.display()))?;
    folder.fill(case).map_err(|error| format!("{}: {error}", folder.0.display()))?;
    match spec.peer.as_str() {
        "tokio" => on::<MultiThread>(spec, case, &folder.0),
        "tokio-ct" => on::<CurrentThread>(spec, case, &folder.0),
        "ringloop" => on::<Ringloop>(spec, case, &folder.0),
        BARE => bare::run(spec, case, &folder.0),
        other => Err(format!("no peer is called {other:?}")),
    }
}

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(parent: &Path) -> std::io::Result<Self> {
        let path = parent.join(format!("ringloop-bench-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// Makes the files that a case reads.
    fn fill(&self, case: &str) -> std::io::Result<()> {
        if matches!(case, "open_read_close_1k" | "stat_10k" | "walk") {
            for number in 0..SMALL_FILES {
                fs::write(small_file(&self.0, number), [7; SMALL])?;
            }
            return Ok(());
        }
        let mut file = fs::File::create(self.0.join("large"))?;
        let piece = vec![7; PIECE];
        let copies = if case == "copy_256m" { COPIED / PIECE } else { 0 };
        for _ in 0..copies.max(PAGES as usize * PAGE / PIECE) {
            file.write_all(&piece)?;
        }
        // What is being written to the disk would be in the way.
        file.sync_all()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn small_file(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("small-{number}"))
}

/// Places in no order.
struct Places(u64);

impl Places {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % PAGES * PAGE as u64
    }
}

/// The clock of a run: a warm-up, and a window that is measured.
struct Window {
    warm: Instant,
    window: Duration,
    meter: Option<Meter>,
    operations: u64,
}

impl Window {
    fn new(spec: &Spec) -> Self {
        let warm = Instant::now() + spec.warmup;
        Self { warm, window: spec.window, meter: None, operations: 0 }
    }

    /// Whether there is to be another batch, after one with so many operations.
    fn goes_on(&mut self, operations: u64) -> bool {
        match &self.meter {
            Some(meter) => {
                self.operations += operations;
                meter.elapsed() < self.window
            }
            None => {
                if Instant::now() >= self.warm {
                    self.meter = Some(Meter::start());
                }
                true
            }
        }
    }

    fn finish(self) -> Sample {
        self.meter.expect("the window has begun").finish(self.operations)
    }
}

fn on<F: Files>(spec: &Spec, case: &str, folder: &Path) -> Result<Sample, String> {
    let (window, folder) = (Window::new(spec), folder.to_owned());
    let (large, workers) = (folder.join("large"), spec.workers);
    Ok(match case {
        "read_4k_d1" => F::run(workers, read_alone::<F>(window, large)),
        "read_4k_d32" => F::run(workers, read_by_tasks::<F>(window, large, How::Read)),
        "read_4k_direct_d32" => F::run(workers, read_by_tasks::<F>(window, large, How::Direct)),
        "write_4k" => F::run(workers, write::<F>(window, large)),
        "append_fsync" => F::run(workers, append::<F>(window, folder.join("log"))),
        "read_1m_seq" => F::run(workers, read_on::<F>(window, large)),
        "open_read_close_1k" => F::run(workers, read_whole_files::<F>(window, folder)),
        "stat_10k" => F::run(workers, look_at_files::<F>(window, folder)),
        "walk" => F::run(workers, walk::<F>(window, folder)),
        "copy_256m" => F::run(workers, copy::<F>(window, large, folder.join("copy"))),
        other => return Err(format!("files has no case {other:?}")),
    })
}

/// A file and a buffer, and where to read.
struct Reader<F: Files> {
    file: F::File,
    buffer: F::Buffer,
    places: Places,
    how: How,
}

impl<F: Files> Reader<F> {
    async fn new(path: PathBuf, how: How, seed: u64) -> Self {
        let file = F::open(path, how).await;
        Self { file, buffer: F::buffer(PAGE, how), places: Places(seed), how }
    }

    async fn read(mut self, times: u64) -> Self {
        for _ in 0..times {
            let at = self.places.next();
            self.buffer = F::read(&mut self.file, self.buffer, at, self.how).await;
        }
        self
    }
}

async fn read_alone<F: Files>(mut window: Window, path: PathBuf) -> Sample {
    let mut reader = Reader::<F>::new(path, How::Read, 1).await;
    while window.goes_on(READS) {
        reader = reader.read(READS).await;
    }
    window.finish()
}

async fn read_by_tasks<F: Files>(mut window: Window, path: PathBuf, how: How) -> Sample {
    let mut readers = Vec::new();
    for seed in 1..=DEPTH {
        readers.push(Reader::<F>::new(path.clone(), how, seed).await);
    }
    while window.goes_on(READS * DEPTH) {
        let tasks: Vec<_> = readers.drain(..).map(|reader| F::spawn(reader.read(READS))).collect();
        for task in tasks {
            readers.push(F::join(task).await);
        }
    }
    window.finish()
}

async fn write<F: Files>(mut window: Window, path: PathBuf) -> Sample {
    let mut file = F::open(path, How::Write).await;
    let (mut bytes, mut places) = (F::buffer(PAGE, How::Write), Places(1));
    while window.goes_on(READS) {
        for _ in 0..READS {
            bytes = F::write(&mut file, bytes, places.next()).await;
        }
    }
    window.finish()
}

async fn read_on<F: Files>(mut window: Window, path: PathBuf) -> Sample {
    let mut file = F::open(path, How::Read).await;
    let (mut buffer, mut at) = (F::buffer(MEGABYTE, How::Read), 0);
    while window.goes_on(1) {
        let mut read = 0;
        while read < MEGABYTE {
            let more;
            (more, buffer) = F::read_on(&mut file, buffer, at).await;
            at = if more == 0 { 0 } else { at + more as u64 };
            read += more;
        }
    }
    window.finish()
}

async fn read_whole_files<F: Files>(mut window: Window, folder: PathBuf) -> Sample {
    let mut number = 0;
    while window.goes_on(READS) {
        for _ in 0..READS {
            number = (number + 1) % SMALL_FILES;
            assert_eq!(F::read_whole(&small_file(&folder, number)).await.len(), SMALL);
        }
    }
    window.finish()
}

async fn look_at_files<F: Files>(mut window: Window, folder: PathBuf) -> Sample {
    let mut number = 0;
    while window.goes_on(READS) {
        for _ in 0..READS {
            number = (number + 1) % SMALL_FILES;
            assert_eq!(F::length_of(&small_file(&folder, number)).await, SMALL as u64);
        }
    }
    window.finish()
}

async fn walk<F: Files>(mut window: Window, folder: PathBuf) -> Sample {
    while window.goes_on(SMALL_FILES) {
        assert_eq!(F::names_in(&folder).await, SMALL_FILES);
    }
    window.finish()
}

async fn copy<F: Files>(mut window: Window, from: PathBuf, to: PathBuf) -> Sample {
    while window.goes_on(1) {
        assert_eq!(F::copy(&from, &to).await, COPIED as u64);
    }
    window.finish()
}

/// A record, and where to say that it is durable.
type Append = (Vec<u8>, oneshot::Sender<()>);

/// Makes all records durable that are waiting, with one write and one sync: the same code for all.
async fn commit_in_groups<F: Files>(path: PathBuf, mut records: mpsc::UnboundedReceiver<Append>) {
    let mut file = F::open(path, How::Append).await;
    while let Some((mut bytes, answer)) = records.next().await {
        let mut answers = vec![answer];
        // The other tasks have their turn, so that theirs come along.
        F::yield_now().await;
        while let Ok((more, answer)) = records.try_recv() {
            bytes.extend(more);
            answers.push(answer);
        }
        F::append(&mut file, bytes).await;
        for answer in answers {
            answer.send(()).expect("its task waits");
        }
    }
}

async fn append<F: Files>(mut window: Window, path: PathBuf) -> Sample {
    let (records, waiting) = mpsc::unbounded();
    let committer = F::spawn(commit_in_groups::<F>(path, waiting));
    while window.goes_on(WRITERS as u64 * 8) {
        let tasks: Vec<_> = (0..WRITERS)
            .map(|_| {
                let records = records.clone();
                F::spawn(async move {
                    for _ in 0..8 {
                        let (durable, wait) = oneshot::channel();
                        let record = vec![7; RECORD];
                        records.unbounded_send((record, durable)).expect("it is committed");
                        wait.await.expect("it is committed");
                    }
                })
            })
            .collect();
        for task in tasks {
            F::join(task).await;
        }
    }
    let sample = window.finish();
    drop(records);
    F::join(committer).await;
    sample
}
