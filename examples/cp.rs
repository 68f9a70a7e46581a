//! `cp -r` with progress: several files at a time, and Ctrl-C stops it within moments.
//!
//! ```text
//! cargo run --release --example cp -- FROM TO
//! ```

use std::{
    fmt, io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ringloop::{fs, task_group, time};

/// Files that are copied at the same time.
const AT_ONCE: usize = 8;

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [from, to] = arguments.as_slice() else {
        eprintln!("usage: cp FROM TO\nCopies the folder FROM, with all that is in it, as TO.");
        return ExitCode::from(2);
    };
    let progress = Arc::new(Progress::default());
    let errors = ringloop::run(async {
        let lines = ringloop::spawn(report(progress.clone()));
        let errors = copy_tree(from, to, &progress).await;
        lines.cancel();
        errors
    });
    eprintln!("\r{progress}");
    errors.iter().for_each(|error| eprintln!("cp: {error}"));
    if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What has been copied so far.
#[derive(Default)]
pub struct Progress {
    /// Files that are copied.
    pub files: AtomicU64,
    /// Their bytes.
    pub bytes: AtomicU64,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (files, bytes) = (&self.files, &self.bytes);
        let bytes = bytes.load(Ordering::Relaxed) >> 20;
        write!(f, "{} files, {bytes} MiB", files.load(Ordering::Relaxed))
    }
}

/// Prints the progress now and then.
async fn report(progress: Arc<Progress>) {
    loop {
        time::sleep(Duration::from_millis(200)).await;
        eprint!("\r{progress}");
    }
}

/// Copies a folder with all that is in it. What cannot be copied is an error of the list; the rest is
/// copied all the same.
pub async fn copy_tree(from: &Path, to: &Path, progress: &Arc<Progress>) -> Vec<io::Error> {
    let errors = Arc::new(Mutex::new(Vec::new()));
    let failed = {
        let errors = errors.clone();
        move |error| errors.lock().unwrap().push(error)
    };
    let mut folders = Vec::new();
    let copied = task_group(async |group| {
        let files = group.with_limit(AT_ONCE);
        if let Err(error) = begin(from, to).await {
            return failed(error);
        }
        folders.push((from.to_owned(), to.to_owned()));
        let mut tree = fs::walk(from);
        loop {
            let entry = match tree.next_entry().await {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(error) => {
                    failed(error);
                    continue;
                }
            };
            let below = entry.path().strip_prefix(from).expect("it is below");
            let (kind, to) = (entry.file_type(), to.join(below));
            if kind.is_dir() {
                // A folder comes before what is in it.
                match fs::create_dir_all(&to).await {
                    Ok(()) => folders.push((entry.into_path(), to)),
                    Err(error) => failed(error),
                }
                continue;
            }
            let (progress, failed) = (progress.clone(), failed.clone());
            let copy = async move {
                let copied = match kind.is_symlink() {
                    true => copy_link(entry.path(), &to).await,
                    false => fs::copy(entry.path(), &to).await,
                };
                match copied {
                    Ok(bytes) => {
                        progress.files.fetch_add(1, Ordering::Relaxed);
                        progress.bytes.fetch_add(bytes, Ordering::Relaxed);
                    }
                    Err(error) => failed(error),
                }
            };
            // It waits while so many are on their way.
            files.spawn(copy).await.detach();
        }
    });
    copied.await.expect("no copy panics");
    // At the end, since nothing can be made in a folder that is read-only.
    for (from, to) in folders.iter().rev() {
        if let Err(error) = copy_permissions(from, to).await {
            errors.lock().unwrap().push(error);
        }
    }
    std::mem::take(&mut *errors.lock().unwrap())
}

/// Makes the new folder, which must not be inside of the old one.
async fn begin(from: &Path, to: &Path) -> io::Result<()> {
    let from = fs::canonicalize(from).await?;
    let parent = match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if fs::canonicalize(parent).await?.starts_with(&from) {
        return Err(io::Error::other("a folder cannot be copied into itself"));
    }
    fs::create_dir_all(to).await
}

async fn copy_link(from: &Path, to: &Path) -> io::Result<u64> {
    fs::symlink(fs::read_link(from).await?, to).await?;
    Ok(0)
}

async fn copy_permissions(from: &Path, to: &Path) -> io::Result<()> {
    fs::set_permissions(to, fs::metadata(from).await?.permissions()).await
}
