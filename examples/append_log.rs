//! A log to which many clients append, and which answers only when a record is on the disk: one sync for all records that
//! wait (group commit).
//!
//! ```text
//! cargo run --release --example append_log -- --log /tmp/records
//! printf 'one\ntwo\n' | nc -q 1 127.0.0.1 8080
//! ```
//!
//! A record is a line. The answer to each is the offset at which it stands in the file, or an error.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ringloop::{
    fs::{File, OpenOptions},
    signal, spawn,
    streams::{self, StreamReader, StreamWriter},
    sync::{Promise, Queue, oneshot},
    yield_now,
};

use common::{Failure, Options};

#[allow(dead_code, reason = "other examples use the rest")]
#[path = "common/mod.rs"]
mod common;

/// Records that may wait: more clients have to.
const WAITING: usize = 1024;
/// The bytes after which a group is written.
const GROUP: usize = 1 << 20;
/// How long records that are being written may take once a stop is asked for.
const GRACE: Duration = Duration::from_secs(10);

/// A record, and the promise of the offset at which it stands.
type Append = (Vec<u8>, Promise<Result<u64, Arc<io::Error>>>);

fn main() -> ExitCode {
    common::exit(
        "append_log",
        "\n    --log PATH                   the file (default: records.log)",
        run(),
    )
}

fn run() -> Result<(), Failure> {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
    let mut path = PathBuf::from("records.log");
    let options = Options::from_command_line(default, |name, value| {
        let is_known = name == "--log";
        if is_known {
            path = value.into();
        }
        Ok(is_known)
    })?;
    options.builder().run(serve(&options, path))?
}

async fn serve(options: &Options, path: PathBuf) -> Result<(), Failure> {
    let interrupted = signal::ctrl_c();
    let file = OpenOptions::new().read(true).write(true).create(true).open(path).await?;
    let end = whole_records(&file).await?;
    let waiting: Arc<Queue<Append>> = Arc::new(Queue::bounded(WAITING));
    let syncs = Arc::new(AtomicU64::new(0));
    let committer = spawn(commit_in_groups(file, end, waiting.clone(), syncs.clone()));

    let records = Arc::new(AtomicU64::new(0));
    let (queue, count) = (waiting.clone(), records.clone());
    let server = streams::serve(options.addr, move |reader, writer| {
        client(reader, writer, queue.clone(), count.clone())
    });
    let server = server.await?;
    for addr in server.local_addrs() {
        println!("listening on {addr}");
    }
    server.serve_until(interrupted, GRACE).await??;
    // What was accepted is still written.
    waiting.shutdown();
    committer.await?;
    let (records, syncs) = (records.load(Ordering::Relaxed), syncs.load(Ordering::Relaxed));
    println!("records appended: {records}, by {syncs} syncs");
    Ok(())
}

/// Cuts off a part of a record that a crash has left at the end, and gives the length.
async fn whole_records(file: &File) -> io::Result<u64> {
    let mut end = file.metadata().await?.len();
    let mut buf = vec![0; 4096];
    while end > 0 {
        let from = end.saturating_sub(4096);
        let result;
        (result, buf) = file.read_at(buf, from).await;
        let read = result?.min((end - from) as usize);
        if let Some(at) = buf[..read].iter().rposition(|&byte| byte == b'\n') {
            end = from + at as u64 + 1;
            break;
        }
        end = from;
    }
    file.set_len(end).await?;
    Ok(end)
}

/// Writes the records that wait, syncs once for all of them, and then answers.
async fn commit_in_groups(
    file: File,
    mut end: u64,
    waiting: Arc<Queue<Append>>,
    syncs: Arc<AtomicU64>,
) {
    while let Ok((mut group, promise)) = waiting.get().await {
        let mut promises = vec![(end, promise)];
        // The other clients have their turn, so that their records come along.
        yield_now().await;
        while group.len() < GROUP
            && let Ok((record, promise)) = waiting.try_get()
        {
            promises.push((end + group.len() as u64, promise));
            group.extend(record);
        }
        let len = group.len() as u64;
        let (written, _) = file.write_all_at(group, end).await;
        let durable = match written {
            Ok(()) => file.sync_data().await,
            error => error,
        };
        syncs.fetch_add(1, Ordering::Relaxed);
        let failed = durable.err().map(Arc::new);
        if failed.is_none() {
            end += len;
        }
        for (offset, promise) in promises {
            // A client that is gone does not ask.
            let _ = promise.set(match &failed {
                None => Ok(offset),
                Some(error) => Err(error.clone()),
            });
        }
    }
}

async fn client(
    mut reader: StreamReader,
    mut writer: StreamWriter,
    waiting: Arc<Queue<Append>>,
    records: Arc<AtomicU64>,
) -> io::Result<()> {
    loop {
        let record = match reader.read_until(b"\n").await {
            Ok(record) => record,
            Err(error) if error.is_incomplete() => return writer.close().await,
            Err(error) => return Err(error.into()),
        };
        let (promise, offset) = oneshot();
        let is_accepted = waiting.put((record, promise)).await.is_ok();
        let answer = match offset.await {
            Ok(Ok(offset)) => {
                records.fetch_add(1, Ordering::Relaxed);
                format!("{offset}\n")
            }
            Ok(Err(error)) => format!("error: {error}\n"),
            Err(_) if is_accepted => "error: the log has ended\n".to_owned(),
            Err(_) => "error: the log is being closed\n".to_owned(),
        };
        writer.write_all(answer.as_bytes()).await?;
    }
}
