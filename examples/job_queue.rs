//! A queue of jobs: shell commands that are run a few at a time, again if they fail, with workers that a supervisor
//! replaces.
//!
//! ```text
//! cargo run --release --example job_queue -- --jobs 4
//! printf 'echo hello\nfalse\n' | nc -N 127.0.0.1 8080
//! ```
//!
//! A job is a line. Its answer is a line as well, in the order in which jobs end: `1 done after 1: hello`, or
//! `2 failed after 3: exit status: 1`. The job `!panic` makes a worker panic, so that the supervisor can be seen.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ringloop::{
    net::Server,
    process::{Command, Stdio},
    race, signal, spawn,
    streams::{self, StreamReader, StreamWriter},
    sync::{
        Queue,
        channel::{Sender, channel},
    },
    task_group,
    time::{sleep, timeout},
    try_gather,
};

use common::{Failure, Options, parse};

#[allow(dead_code, reason = "other examples use the rest")]
#[path = "common/mod.rs"]
mod common;

/// Jobs that may wait: then clients have to.
const WAITING: usize = 1000;
/// How often a job is tried, how long one try may take, and the pause before the second, which doubles with each.
const TRIES: u32 = 3;
const LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);
/// How long clients may take to get their answers once a stop is asked for. Then their jobs have nobody left to answer to.
const GRACE: Duration = Duration::from_secs(10);

struct Job {
    number: u64,
    command: String,
    tries: u32,
    answer: Sender<String>,
}

fn main() -> ExitCode {
    common::exit("job_queue", "\n    --jobs N                     run at once (default: 4)", run())
}

fn run() -> Result<(), Failure> {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
    let mut at_once = 4;
    let options = Options::from_command_line(default, |name, value| {
        let is_known = name == "--jobs";
        if is_known {
            at_once = parse::<std::num::NonZero<usize>>(name, value)?.get();
        }
        Ok(is_known)
    })?;
    options.builder().run(serve(&options, at_once))?
}

async fn serve(options: &Options, at_once: usize) -> Result<(), Failure> {
    let stopped = race!(signal::ctrl_c(), signal::terminate());
    let queue = Arc::new(Queue::bounded(WAITING));
    let numbers = Arc::new(AtomicU64::new(0));
    let (jobs, counter) = (queue.clone(), numbers.clone());
    let listeners = Server::builder().max_connections(1000).listen(options.addr).await?;
    let server = streams::serve_on(listeners, move |reader, writer| {
        client(reader, writer, jobs.clone(), counter.clone())
    })?;
    for addr in server.local_addrs() {
        println!("listening on {addr}");
    }
    task_group(async |group| {
        for number in 0..at_once {
            group.spawn(supervise(number, queue.clone())).detach();
        }
        let ended = server.serve_until(stopped, GRACE).await;
        // Workers end when the queue is empty.
        queue.shutdown();
        ended
    })
    .await???;
    println!("jobs taken: {}", numbers.load(Ordering::Relaxed));
    Ok(())
}

/// Reads jobs, and writes their answers as they end.
async fn client(
    mut reader: StreamReader,
    mut writer: StreamWriter,
    queue: Arc<Queue<Job>>,
    numbers: Arc<AtomicU64>,
) -> io::Result<()> {
    let (answer, answers) = channel(WAITING);
    let reads = async move {
        let mut lines = reader.lines();
        while let Some(command) = lines.next_line().await? {
            let number = numbers.fetch_add(1, Ordering::Relaxed) + 1;
            let job = Job { number, command, tries: 0, answer: answer.clone() };
            queue.put(job).await.map_err(|_| io::Error::other("the queue is closed"))?;
        }
        io::Result::Ok(())
    };
    let writes = async move {
        // It ends when the client has sent its last job, and all of them were answered.
        while let Ok(line) = answers.recv().await {
            writer.write_all(format!("{line}\n").as_bytes()).await?;
        }
        writer.close().await
    };
    try_gather!(reads, writes).await.map(drop)
}

/// Replaces a worker that has panicked. Its job counts as tried, and is not lost.
async fn supervise(number: usize, queue: Arc<Queue<Job>>) {
    let held = Arc::new(Mutex::new(None));
    let mut pause = PAUSE;
    while let Err(error) = spawn(work(queue.clone(), held.clone())).join().await {
        if error.is_cancelled() {
            return;
        }
        eprintln!("job_queue: worker {number}: {error}; another takes its place");
        let job = held.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if let Some(job) = job {
            end_or_again(job, Err(error.to_string()), &queue).await;
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(10));
    }
}

async fn work(queue: Arc<Queue<Job>>, held: Arc<Mutex<Option<Job>>>) {
    while let Ok(mut job) = queue.get().await {
        job.tries += 1;
        let command = job.command.clone();
        *held.lock().expect("no holder panics") = Some(job);
        let outcome = run_once(&command).await;
        let job = held.lock().expect("no holder panics").take();
        end_or_again(job.expect("it was put there"), outcome, &queue).await;
    }
}

async fn run_once(command: &str) -> Result<String, String> {
    assert!(command != "!panic", "the job asked for it");
    let mut shell = Command::shell(command);
    shell.stdin(Stdio::null()).kill_on_drop(true);
    let output = match timeout(LIMIT, shell.output()).await {
        Ok(output) => output.map_err(|error| error.to_string())?,
        Err(_elapsed) => return Err(format!("it took more than {} s", LIMIT.as_secs())),
    };
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim_end().replace('\n', " ")),
        false => Err(output.status.to_string()),
    }
}

async fn end_or_again(job: Job, outcome: Result<String, String>, queue: &Arc<Queue<Job>>) {
    let (number, tries) = (job.number, job.tries);
    let line = match outcome {
        Ok(text) => format!("{number} done after {tries}: {text}"),
        Err(_) if tries < TRIES => {
            sleep(PAUSE * 2_u32.pow(tries - 1)).await;
            // A queue that is closed takes nothing: then this was the last try.
            match queue.try_put(job) {
                Ok(()) => return,
                Err(error) => {
                    let job = error.into_inner();
                    let line =
                        format!("{number} given up after {tries}: the queue is full or closed");
                    return drop(job.answer.send(line).await);
                }
            }
        }
        Err(why) => format!("{number} failed after {tries}: {why}"),
    };
    // A client that has gone does not want it.
    let _ = job.answer.send(line).await;
}
