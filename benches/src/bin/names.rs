//! CPU time of this process for each call on a name, on one core: `names [FOLDER]...`.
//!
//! `stat_many` and `read_many` of one path are the same work by a job on a thread. Each figure is the median
//! of nine rounds.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

const CALLS: u32 = 5000;
const ROUNDS: usize = 9;

fn main() {
    let cores = sched_getaffinity(None).expect("the kernel knows our cores");
    let last = (0..CpuSet::MAX_CPU).rfind(|&core| cores.is_set(core)).expect("there is one");
    let mut one = CpuSet::new();
    one.set(last);
    sched_setaffinity(None, &one).expect("it is ours");

    let mut folders: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if folders.is_empty() {
        folders = vec![std::env::temp_dir(), PathBuf::from("/dev/shm")];
    }
    for folder in folders {
        println!("{}", folder.display());
        let name = format!("ringloop-names-{}", std::process::id());
        let (file, missing) = (folder.join(&name), folder.join(name + "-missing"));
        std::fs::write(&file, [7; 1024]).expect("a folder that can be written to");
        let ours = ringloop::Builder::new().workers(1).run(ours(&file, &missing));
        ours.expect("a runtime");
        tokios(file.clone());
        std::fs::remove_file(file).expect("it is still there");
    }
}

async fn ours(file: &Path, missing: &Path) {
    use ringloop::fs;
    measure("std metadata", || async { std::fs::metadata(file).unwrap() }).await;
    measure("metadata", || async { fs::metadata(file).await.unwrap() }).await;
    measure("metadata by a job", || async { fs::stat_many([file]).await.unwrap() }).await;
    measure("metadata of no file", || async { fs::metadata(missing).await.unwrap_err() }).await;
    measure("std read", || async { std::fs::read(file).unwrap() }).await;
    measure("read", || async { fs::read(file).await.unwrap() }).await;
    measure("read by a job", || async { fs::read_many([file]).await.unwrap() }).await;
}

fn tokios(file: PathBuf) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
    let runtime = runtime.expect("a runtime");
    // As a task: the main future is not on the worker.
    let task = runtime.spawn(async move {
        let file = &*file;
        measure("tokio metadata", || async { tokio::fs::metadata(file).await.unwrap() }).await;
        measure("tokio read", || async { tokio::fs::read(file).await.unwrap() }).await;
    });
    runtime.block_on(task).expect("no panic");
}

async fn measure<F: Future>(name: &str, mut call: impl FnMut() -> F) {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let before = cpu();
        for _ in 0..CALLS {
            call().await;
        }
        rounds.push((cpu() - before).as_nanos() / u128::from(CALLS));
    }
    rounds.sort();
    println!("{name:24} {:6} ns", rounds[ROUNDS / 2]);
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
