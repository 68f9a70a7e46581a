//! Forks without exec: the child has a copy of the runtime's memory and descriptors, but none of
//! its threads, and must not touch what the parent goes on using.

use std::fs;
use std::future::poll_fn;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ringloop::io::{AsyncFd, AsyncReadExt, AsyncWriteExt};
use ringloop::net::{TcpListener, TcpStream};
use ringloop::time::timeout;
use ringloop::{Backend, Handle, RunError, Task, spawn, to_thread};
use rustix::process::Pid;

use crate::backend_choice::echo_megabyte;
use crate::faults::{die_by_alarm, fork, how_it_ended};
use crate::harness::{TestRuntime, deliberate, on_every, panic_text, scaled, wait_until};
use crate::net_stream::pair;
use crate::processes::isolated;
use crate::tools::{Slot, check_pattern, fill_pattern, poll_by_hand};

/// A client that never stops, and an echo on the runtime.
struct Traffic {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicUsize>,
    client: JoinHandle<usize>,
    server: Task<usize>,
}

/// Bytes per round of [`Traffic`].
const ROUND: usize = 20_000;

impl Traffic {
    /// `leases`: with memory that the runtime lends, so that the ring itself receives and sends.
    fn start(runtime: &TestRuntime, leases: bool) -> Traffic {
        let listener = runtime.must_run(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let server = runtime.spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            if leases { serve_by_lease(stream).await } else { serve(stream).await }
        });
        let stop = Arc::new(AtomicBool::new(false));
        let rounds = Arc::new(AtomicUsize::new(0));
        let (theirs, count) = (stop.clone(), rounds.clone());
        let client = std::thread::spawn(move || lockstep(address, &theirs, &count));
        Traffic { stop, rounds, client, server }
    }

    /// Waits until more bytes have gone there and back.
    fn goes_on(&self, when: &str) {
        let goal = self.rounds.load(Ordering::SeqCst) + 20;
        let reached = || self.rounds.load(Ordering::SeqCst) >= goal;
        wait_until(reached, || format!("the parent's echo goes on {when}"));
    }

    /// Stops the client; every byte has come back, and no other.
    fn end(self, runtime: &TestRuntime) {
        self.stop.store(true, Ordering::SeqCst);
        let sent = self.client.join().expect("the client got what it had sent");
        assert_eq!(runtime.must_run(self.server).unwrap(), sent);
    }
}

/// Echoes until the end of the stream; returns how many bytes.
async fn serve(mut stream: TcpStream) -> usize {
    let (mut served, mut buf) = (0, vec![0; 4096]);
    loop {
        let n = AsyncReadExt::read(&mut stream, &mut buf).await.unwrap();
        if n == 0 {
            return served;
        }
        stream.write_all(&buf[..n]).await.unwrap();
        served += n;
    }
}

/// [`serve`], without a copy.
async fn serve_by_lease(mut stream: TcpStream) -> usize {
    let mut served = 0;
    loop {
        let lease = stream.read_lease().await.unwrap();
        if lease.is_empty() {
            stream.flush().await.unwrap();
            return served;
        }
        served += lease.len();
        stream.write_lease(lease).await.unwrap();
    }
}

/// Sends the pattern in rounds, each after the echo of the round before. Returns the number of
/// bytes.
fn lockstep(address: SocketAddr, stop: &AtomicBool, rounds: &AtomicUsize) -> usize {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let (mut buf, mut sent) = (vec![0; ROUND], 0);
    while !stop.load(Ordering::SeqCst) {
        fill_pattern(&mut buf, sent);
        stream.write_all(&buf).unwrap();
        buf.fill(0);
        stream.read_exact(&mut buf).expect("the echo");
        check_pattern(&buf, sent);
        sent += ROUND;
        rounds.fetch_add(1, Ordering::SeqCst);
    }
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut buf).expect("the end"), 0, "bytes that were not sent");
    sent
}

/// The result of an attempt in a fork: an error's text, a panic's, or `done`.
fn attempt<E: std::fmt::Display>(f: impl FnOnce() -> Result<(), E>) -> String {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)) {
        Ok(Ok(())) => "done".into(),
        Ok(Err(error)) => format!("error: {error}"),
        Err(payload) => format!("panic: {}", panic_text(&*payload)),
    }
}

fn dropped<T>(value: T) -> String {
    attempt(|| -> Result<(), RunError> {
        drop(value);
        Ok(())
    })
}

/// Waits for a task without a runtime.
fn wait_by_hand<T>(mut task: Task<T>) -> Result<(), ringloop::TaskError> {
    loop {
        match poll_by_hand(&mut task, Waker::noop()) {
            Poll::Ready(result) => return result.map(drop),
            Poll::Pending => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// The task that the fork spawns. It leaves a mark if it ever runs.
fn leave(mark: &PipeWriter) -> impl Future<Output = ()> + Send + 'static {
    let mark = mark.try_clone().unwrap();
    async move { (&mark).write_all(b"x").unwrap() }
}

/// In a fork, on a thread that is no worker: uses the parent's runtime, and writes the results.
fn touch(handle: &Handle, mark: &PipeWriter, words: &mut PipeWriter) {
    let spawned = attempt(|| wait_by_hand(handle.spawn(leave(mark))));
    writeln!(words, "spawn {spawned}").unwrap();
    let blocked = attempt(|| handle.block_on(leave(mark)));
    writeln!(words, "block_on {blocked}").unwrap();
    // Reading metrics is harmless, and may work.
    let looked = attempt(|| {
        let (_, _) = (handle.metrics(), format!("{handle:?}"));
        Ok::<(), RunError>(())
    });
    writeln!(words, "look {looked}").unwrap();
}

/// An attempt in a fork must have failed or panicked.
#[track_caller]
fn refused(word: &str) {
    let said = word.split_once(' ').map_or("", |(_, said)| said);
    assert!(said.starts_with("error: ") || said.starts_with("panic: "), "{word}");
}

/// A pipe that is read without waiting.
fn marks() -> (PipeReader, PipeWriter) {
    let (seen, mark) = io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&seen, true).unwrap();
    (seen, mark)
}

#[track_caller]
fn nobody_left_a_mark(mut seen: &PipeReader) {
    let error = seen.read(&mut [0]).expect_err("a task of the fork ran").kind();
    assert_eq!(error, io::ErrorKind::WouldBlock);
}

#[test]
fn fork_that_touches_the_runtime_is_refused_and_the_parent_goes_on() {
    // Goal: K3; method: forks spawn and block on the handle while the parent echoes. The echo must
    // go on while the fork lives and after it, without a byte lost or doubled, and no task of the
    // fork runs.
    isolated(|| {
        on_every(|cfg| {
            for leases in [false, true] {
                let runtime = cfg.runtime();
                let traffic = Traffic::start(&runtime, leases);
                let (seen, mark) = marks();
                let handle = runtime.handle();
                traffic.goes_on("before");
                for _ in 0..scaled(5) {
                    let mut child = fork(|words| touch(&handle, &mark, words));
                    let words = child.hear();
                    words[..2].iter().for_each(|word| refused(word));
                    traffic.goes_on("during");
                    child.dismiss();
                    traffic.goes_on("after");
                }
                traffic.end(&runtime);
                nobody_left_a_mark(&seen);
            }
        });
    });
}

#[test]
fn fork_has_no_ring_of_its_parent() {
    // Goal: S9, ring and buffer maps are not in forks, where a write to them would be a write to
    // the parent's; method: the fork reads its list of mappings.
    isolated(|| {
        on_every(|cfg| {
            let runtime = cfg.runtime();
            runtime.must_run(echo_megabyte());
            let maps = |words: &mut PipeWriter| {
                let maps = fs::read_to_string("/proc/self/maps").unwrap();
                let rings = maps.lines().filter(|line| line.contains("io_uring"));
                rings.for_each(|line| writeln!(words, "{line}").unwrap());
            };
            assert_eq!(fork(maps).finish(), [""; 0]);
        });
    });
}

#[test]
fn fork_that_drops_the_runtime_does_not_wait_for_the_parents_threads() {
    // Goal: destructors in a fork end, and leave the parent alone; method: drop the runtime there,
    // with the parent's echo going on, and take the time.
    isolated(|| {
        on_every(|cfg| {
            let runtime = cfg.runtime();
            let traffic = Traffic::start(&runtime, true);
            let second = Slot::new();
            let other = cfg.builder().build().unwrap();
            other.run(echo_megabyte()).unwrap();
            second.put(other);
            let drop_it = |words: &mut PipeWriter| {
                let started = Instant::now();
                let dropped = dropped(second.take());
                let took = started.elapsed();
                let in_time = took < Duration::from_secs(3);
                let verdict = if in_time { "in time".into() } else { format!("after {took:?}") };
                writeln!(words, "{dropped} {verdict}").unwrap();
            };
            let mut child = fork(drop_it);
            let words = child.hear();
            traffic.goes_on("during");
            child.dismiss();
            assert_eq!(words, ["done in time"]);
            traffic.end(&runtime);
            second.take().expect("the parent has its own").run(echo_megabyte()).unwrap();
        });
    });
}

/// Descriptors that a worker watches, outside of any task.
struct Watched {
    near: Option<TcpStream>,
    far: TcpStream,
    leased: Option<TcpStream>,
    source: TcpStream,
    listener: Option<TcpListener>,
    address: SocketAddr,
    pipe: Option<AsyncFd<PipeReader>>,
    writer: PipeWriter,
}

impl Watched {
    /// A read of each has already waited in vain, so that its worker has it registered.
    async fn new() -> Watched {
        const MOMENT: Duration = Duration::from_millis(5);
        let (mut near, far) = pair().await;
        timeout(MOMENT, near.read(&mut [0])).await.expect_err("nothing to read");
        let (mut leased, source) = pair().await;
        timeout(MOMENT, leased.read_lease()).await.map(drop).expect_err("nothing to read");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        timeout(MOMENT, listener.accept()).await.map(drop).expect_err("no connection to accept");
        let (pipe, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&pipe, true).unwrap();
        let pipe = AsyncFd::new(pipe).unwrap();
        timeout(MOMENT, pipe.readable()).await.map(drop).expect_err("nothing to read");
        let address = listener.local_addr().unwrap();
        let (near, leased) = (Some(near), Some(leased));
        let (listener, pipe) = (Some(listener), Some(pipe));
        Watched { near, far, leased, source, listener, address, pipe, writer }
    }

    /// All of them still work, waiting included.
    async fn work(&mut self) {
        let near = self.near.as_mut().expect("the parent has its own");
        let leased = self.leased.as_mut().expect("the parent has its own");
        let listener = self.listener.as_ref().expect("the parent has its own");
        let pipe = self.pipe.as_ref().expect("the parent has its own");
        let mut buf = [0; 3];
        let late = async {
            ringloop::time::sleep(Duration::from_millis(5)).await;
            self.far.write_all(b"far").await.unwrap();
            self.far.flush().await.unwrap();
            self.source.write_all(b"source").await.unwrap();
            self.source.flush().await.unwrap();
            (&self.writer).write_all(b"pipe").unwrap();
            TcpStream::connect(self.address).await.unwrap()
        };
        let all = async {
            let read = async { near.read_exact(&mut buf).await.unwrap() };
            let accept = async { listener.accept().await.unwrap().0 };
            let pipe = pipe.read_with(|mut pipe: &PipeReader| pipe.read(&mut [0; 4]));
            let lease = async { leased.read_lease().await.unwrap() };
            futures_util::future::join5(read, accept, pipe, lease, late).await
        };
        let ended = timeout(Duration::from_secs(10), all).await;
        let ((), accepted, piped, lease, connected) =
            ended.expect("the fork has taken nothing away");
        assert_eq!((piped.unwrap(), &buf, &*lease), (4, b"far", &b"source"[..]));
        assert_eq!(accepted.peer_addr().unwrap(), connected.local_addr().unwrap());
    }
}

#[test]
fn fork_that_drops_sockets_takes_nothing_from_the_parent() {
    // Goal: closing a copy in a fork neither ends the parent's watch (the kernel's lists of watched
    // files are shared) nor its connection; method: drop copies there, then use the originals.
    isolated(|| {
        on_every(|cfg| {
            let runtime = cfg.runtime();
            let mut watched = runtime.must_run(Watched::new());
            for _ in 0..scaled(2) {
                runtime.must_run(watched.work());
                let drop_them = |words: &mut PipeWriter| {
                    let near = dropped((watched.near.take(), watched.leased.take()));
                    let listener = dropped(watched.listener.take());
                    let pipe = dropped(watched.pipe.take());
                    write!(words, "{near}\n{listener}\n{pipe}\n").unwrap();
                };
                assert_eq!(fork(drop_them).finish(), ["done"; 3]);
                runtime.must_run(watched.work());
            }
        });
    });
}

#[test]
fn fork_that_drops_a_write_half_does_not_end_the_connection() {
    // Goal: shutting down acts on the open file, which is the parent's too; method: both halves are
    // dropped in a fork, then the parent writes, and its peer gets that, and the end after its drop.
    isolated(|| {
        on_every(|cfg| {
            let runtime = cfg.runtime();
            let (near, mut far) = runtime.must_run(pair());
            let (reader, writer) = near.into_split();
            let (mut reader, mut writer) = (Some(reader), Some(writer));
            let drop_them = |words: &mut PipeWriter| {
                let halves = dropped((writer.take(), reader.take()));
                writeln!(words, "{halves}").unwrap();
            };
            assert_eq!(fork(drop_them).finish(), ["done"]);
            runtime.must_run(async {
                let mut writer = writer.expect("the parent has its own");
                writer.write_all(b"goes on").await.unwrap();
                drop(writer);
                let mut text = String::new();
                far.read_to_string(&mut text).await.unwrap();
                assert_eq!(text, "goes on");
            });
        });
    });
}

#[test]
fn fork_that_holds_a_lease_can_read_and_drop_it() {
    // Goal: safe code can read received bytes in a fork too, and a lease that is dropped there is
    // not given back in the parent; method: leases of a stream are read and dropped in a fork
    // before they are in the parent, and the stream goes on.
    isolated(|| {
        on_every(|cfg| {
            let runtime = cfg.runtime();
            let receive = async {
                let (mut near, mut far) = pair().await;
                far.write_all(b"lent").await.unwrap();
                far.flush().await.unwrap();
                let lease = near.read_lease().await.unwrap();
                (near, far, lease)
            };
            let (mut near, mut far, lease) = runtime.must_run(receive);
            let mut lease = Some(lease);
            let use_it = |words: &mut PipeWriter| {
                let read = String::from_utf8_lossy(lease.as_ref().unwrap()).into_owned();
                writeln!(words, "{read}").unwrap();
                writeln!(words, "{}", dropped(lease.take())).unwrap();
            };
            assert_eq!(fork(use_it).finish(), ["lent", "done"]);
            runtime.must_run(async {
                far.write_all(b"more").await.unwrap();
                far.flush().await.unwrap();
                assert_eq!(&*near.read_lease().await.unwrap(), b"more");
            });
            assert_eq!(&**lease.as_ref().expect("the parent has its own"), b"lent");
        });
    });
}

/// Replaces every eventfd of this process by a copy of `by`. Returns how many there were.
fn replace_eventfds(by: &PipeWriter) -> usize {
    let mut replaced = 0;
    for entry in fs::read_dir("/proc/self/fd").unwrap() {
        let entry = entry.unwrap();
        // The descriptor by which the directory is read is closed by then, or is no eventfd.
        let is_eventfd = fs::read_link(entry.path())
            .is_ok_and(|file| file.to_string_lossy().contains("eventfd"));
        if is_eventfd {
            let fd = entry.file_name().to_string_lossy().parse().unwrap();
            // SAFETY: the number is that of a descriptor which this fork does not use.
            assert_eq!(unsafe { libc::dup2(by.as_raw_fd(), fd) }, fd);
            replaced += 1;
        }
    }
    replaced
}

#[test]
fn fork_that_wakes_a_task_does_not_write_to_descriptors_of_its_own() {
    // Goal: a fork closes the descriptors that it inherits, and opens other files under their
    // numbers, to which a late wake of the doorbell must not write; method: with all workers
    // asleep, a fork puts a pipe in the place of every eventfd, and wakes a task that sleeps.
    isolated(|| {
        on_every(|cfg| {
            let runtime = cfg.runtime();
            let (waker, woken) = (Slot::new(), Arc::new(AtomicBool::new(false)));
            let task = runtime.spawn({
                let (waker, woken) = (waker.clone(), woken.clone());
                poll_fn(move |cx| {
                    waker.put(cx.waker().clone());
                    if woken.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
                })
            });
            let asleep = || {
                let metrics = runtime.metrics();
                metrics.polls > 0 && metrics.parks == metrics.wakeups + cfg.workers as u64
            };
            wait_until(asleep, || "all workers sleep".into());
            let waker: Waker = waker.take().expect("it has been polled");
            let (seen, mark) = marks();
            let words = fork(|words| {
                let replaced = replace_eventfds(&mark);
                waker.wake_by_ref();
                writeln!(words, "{replaced}").unwrap();
            });
            assert_eq!(words.finish(), [cfg.workers.to_string()]);
            nobody_left_a_mark(&seen);
            woken.store(true, Ordering::SeqCst);
            waker.wake();
            runtime.must_run(task).unwrap();
        });
    });
}

#[test]
fn fork_in_a_task_may_leave_and_the_parent_goes_on() {
    // Goal: K3 where the fork is made on a worker's thread, which in the child still looks like
    // one; method: the child spawns, blocks, begins to read and to accept, drops sockets, and ends
    // without a return from the poll.
    isolated(|| {
        on_every(|cfg| {
            for leases in [false, true] {
                let runtime = cfg.runtime();
                let traffic = Traffic::start(&runtime, leases);
                let (seen, mark) = marks();
                for _ in 0..scaled(3) {
                    let mut child = runtime.must_run(async {
                        let (near, _far) = pair().await;
                        let (mut near, handle) = (Some(near), Handle::current());
                        let mut unknown = Some(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
                        fork(|words| {
                            // They would run when the task returns to its worker, which it does
                            // not.
                            let tasks = (handle.spawn(leave(&mark)), spawn(leave(&mark)));
                            let blocked = attempt(|| handle.block_on(leave(&mark)));
                            writeln!(words, "block_on {blocked}").unwrap();
                            let begun = attempt(|| begin_to_read(near.as_mut().unwrap()));
                            writeln!(words, "read {begun}").unwrap();
                            writeln!(words, "drop {}", dropped(near.take())).unwrap();
                            let listener = TcpListener::from_std(unknown.take().unwrap()).unwrap();
                            let begun = attempt(|| begin_to_accept(&listener));
                            writeln!(words, "accept {begun}").unwrap();
                            writeln!(words, "drop {}", dropped((listener, tasks))).unwrap();
                        })
                    });
                    let words = child.hear();
                    [0, 1, 3].iter().for_each(|&i| refused(&words[i]));
                    assert_eq!((&*words[2], &*words[4]), ("drop done", "drop done"));
                    traffic.goes_on("during");
                    child.dismiss();
                    traffic.goes_on("after");
                }
                traffic.end(&runtime);
                nobody_left_a_mark(&seen);
            }
        });
    });
}

/// Polls a read once, on a socket to which nothing is sent. A read that would wait is an error as
/// well.
fn begin_to_read(stream: &mut TcpStream) -> io::Result<()> {
    let mut buf = [0; 1];
    match poll_by_hand(&mut stream.read(&mut buf), Waker::noop()) {
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        Poll::Ready(result) => result.map(drop),
    }
}

/// The same for a listener to which nobody connects.
fn begin_to_accept(listener: &TcpListener) -> io::Result<()> {
    match poll_by_hand(&mut Box::pin(listener.accept()), Waker::noop()) {
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        Poll::Ready(result) => result.map(drop),
    }
}

/// Forks. `None`: this is the fork. It goes on in the worker's loop, which must end it.
fn fork_that_goes_on() -> Option<Pid> {
    // SAFETY: the fork returns into code that is tested for this.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        die_by_alarm();
    }
    Pid::from_raw(pid)
}

#[track_caller]
fn was_aborted(child: Option<Pid>) {
    let ended = how_it_ended(child.expect("a child"));
    assert_eq!(ended, format!("signal {:?}", Some(libc::SIGABRT)));
}

#[test]
fn fork_that_goes_on_as_a_worker_ends_itself() {
    // Goal: a child that returns into the worker's loop must not serve the parent's descriptors,
    // nor hang; method: fork in a task that then returns; the child ends with a message, and the
    // parent's echo goes on.
    isolated(|| {
        on_every(|cfg| {
            let runtime = cfg.runtime();
            let traffic = Traffic::start(&runtime, true);
            traffic.goes_on("before");
            // The child's copy of this thread does not exist: only the parent comes here.
            let child = runtime.must_run(async { fork_that_goes_on() });
            was_aborted(child);
            traffic.goes_on("after");
            traffic.end(&runtime);
        });
    });
}

/// A function that writes the number of the process in which it runs.
fn sign(mark: &PipeWriter) -> impl FnOnce() + Send + use<> {
    let mark = mark.try_clone().unwrap();
    move || (&mark).write_all(&std::process::id().to_ne_bytes()).unwrap()
}

/// `count` numbers were written, all of them by this process.
#[track_caller]
fn only_the_parent_signed(mut seen: &PipeReader, count: usize) {
    let mut signed = [0; 1024];
    let len = seen.read(&mut signed).unwrap();
    let mine = std::process::id().to_ne_bytes();
    assert!(signed[..len].chunks(mine.len()).all(|one| one == mine), "a fork ran a task");
    assert_eq!(len, count * mine.len());
}

#[test]
fn fork_that_returns_from_its_task_runs_no_other() {
    // Goal: the other queued tasks are the parent's; method: a task spawns others and forks in the
    // same poll; each of them, when it runs, writes the number of its process.
    const OTHERS: usize = 8;
    isolated(|| {
        on_every(|cfg| {
            let runtime = cfg.runtime();
            for panics in [false, true] {
                let (seen, mark) = marks();
                let forks = runtime.spawn({
                    let mark = mark.try_clone().unwrap();
                    async move {
                        let one = || {
                            let sign = sign(&mark);
                            spawn(async move { sign() })
                        };
                        let others: Vec<_> = (0..OTHERS).map(|_| one()).collect();
                        let child = fork_that_goes_on();
                        if panics && child.is_none() {
                            deliberate("in the fork");
                        }
                        for other in others {
                            other.await.unwrap();
                        }
                        child
                    }
                });
                was_aborted(runtime.must_run(forks).unwrap());
                only_the_parent_signed(&seen, OTHERS);
            }
        });
    });
}

#[test]
fn fork_that_returns_from_a_blocking_job_runs_no_other() {
    // Goal: the same for the pool; method: the only thread of a pool forks in a job, while other
    // jobs are queued.
    const OTHERS: usize = 3;
    isolated(|| {
        on_every(|cfg| {
            let runtime = cfg.builder().blocking_threads(1).build().unwrap();
            for panics in [false, true] {
                let (seen, mark) = marks();
                let child = runtime.run(async {
                    let (go, wait) = std::sync::mpsc::channel();
                    let forks = to_thread(move || {
                        wait.recv_timeout(Duration::from_secs(20)).unwrap();
                        let child = fork_that_goes_on();
                        if panics && child.is_none() {
                            deliberate("in the fork");
                        }
                        child
                    });
                    let others: Vec<_> = (0..OTHERS).map(|_| to_thread(sign(&mark))).collect();
                    go.send(()).unwrap();
                    let child = forks.await.unwrap();
                    for other in others {
                        other.await.unwrap();
                    }
                    child
                });
                was_aborted(child.unwrap());
                only_the_parent_signed(&seen, OTHERS);
            }
        });
    });
}

#[test]
fn fork_of_a_used_runtime_builds_its_own() {
    // Goal: K4; method: a process that has run tasks forks, once while its runtime lives and once
    // after its end; each fork echoes a megabyte on runtimes of its own, in both forms, and so does
    // the parent.
    isolated(|| {
        on_every(|cfg| {
            let runtime = cfg.builder().build().unwrap();
            let mine = runtime.run(async {
                echo_megabyte().await;
                ringloop::backend().backend
            });
            let own = |words: &mut PipeWriter| {
                for _ in 0..2 {
                    let runtime = cfg.runtime();
                    runtime.must_run(echo_megabyte());
                    drop(runtime);
                    cfg.once(async {
                        echo_megabyte().await;
                        writeln!(words, "{}", ringloop::backend().backend).unwrap();
                    });
                }
            };
            let mine = mine.unwrap().to_string();
            let both = [mine.clone(), mine];
            assert_eq!(fork(own).finish(), both, "while it lives");
            runtime.run(echo_megabyte()).unwrap();
            drop(runtime);
            assert_eq!(fork(own).finish(), both, "when it is gone");
            cfg.once(echo_megabyte());
        });
    });
}

#[test]
fn fork_of_a_fork_builds_its_own() {
    // Goal: K4 again, where the process is a fork already: a mark that the first fork left must not
    // be taken for one of the second; method: three generations, each with a runtime of its own
    // that stays alive.
    isolated(|| {
        on_every(|cfg| {
            let first = cfg.builder().build().unwrap();
            first.run(echo_megabyte()).unwrap();
            let inherited = first.handle();
            let child = |words: &mut PipeWriter| {
                let second = cfg.builder().build().unwrap();
                second.run(echo_megabyte()).unwrap();
                let closer = second.handle();
                let grandchild = |words: &mut PipeWriter| {
                    let third = cfg.builder().build().unwrap();
                    third.run(echo_megabyte()).unwrap();
                    for handle in [&inherited, &closer] {
                        let blocked = attempt(|| handle.block_on(async {}));
                        writeln!(words, "{blocked}").unwrap();
                    }
                };
                for word in fork(grandchild).finish() {
                    writeln!(words, "{word}").unwrap();
                }
                second.run(echo_megabyte()).unwrap();
                // Its destructor is tested elsewhere.
                std::mem::forget(second);
            };
            let words = fork(child).finish();
            assert!(words.iter().all(|word| word.starts_with("error: ")), "{words:#?}");
            assert_eq!(words.len(), 2);
            first.run(echo_megabyte()).unwrap();
        });
    });
}

/// Waits on each descriptor on which the parent has waited, in a runtime of the fork's own.
async fn wait_for_inherited(watched: &mut Watched, words: &mut PipeWriter) {
    let near = watched.near.as_mut().unwrap();
    let leased = watched.leased.as_mut().unwrap();
    let listener = watched.listener.as_ref().unwrap();
    let pipe = watched.pipe.as_ref().unwrap();
    let mut said = |what: &str, result: io::Result<()>| {
        let result = result.map_or_else(|error| format!("error: {error}"), |()| "done".into());
        writeln!(words, "{what} {result}").unwrap();
    };
    said("read", near.read(&mut [0]).await.map(drop));
    said("readable", near.readable().await);
    said("accept", listener.accept().await.map(drop));
    said("lease", leased.read_lease().await.map(drop));
    said("peek", leased.peek(&mut [0]).await.map(drop));
    said("pipe", pipe.readable().await);
    said("into_std", watched.leased.take().unwrap().into_std().await.map(drop));
}

#[test]
fn fork_that_waits_on_what_the_parent_waits_for_is_refused() {
    // Goal: no wait of a fork's own runtime hangs because the parent's worker gets the events of
    // the socket, and nothing that was received for the parent is served twice; method: a plain
    // thread forks while the parent watches, idle or with bytes and a connection received ahead;
    // the fork waits; then it makes a listener of its own from the descriptor, which has the
    // connection if the parent has not accepted it, and the parent goes on.
    isolated(|| {
        on_every(|cfg| {
            let runtime = cfg.runtime();
            let on_ring = runtime.must_run(async { ringloop::backend().backend }) == Backend::Uring;
            for ahead in [false, true] {
                if ahead && !on_ring {
                    // On epoll nothing is received before a task asks.
                    continue;
                }
                let mut watched = runtime.must_run(Watched::new());
                let mut clients = Vec::new();
                if ahead {
                    runtime.must_run(async {
                        watched.source.write_all(b"ahead").await.unwrap();
                        clients.push(TcpStream::connect(watched.address).await.unwrap());
                        // Time in which the worker may receive them ahead.
                        ringloop::time::sleep(Duration::from_millis(2)).await;
                    });
                }
                let wait = |words: &mut PipeWriter| {
                    let own = cfg.builder().build().unwrap();
                    own.run(wait_for_inherited(&mut watched, words)).unwrap();
                    let again = watched.listener.as_ref().unwrap().as_fd();
                    let again = std::net::TcpListener::from(again.try_clone_to_owned().unwrap());
                    let taken = own.run(async {
                        let again = TcpListener::from_std(again).unwrap();
                        timeout(Duration::from_millis(5), again.accept()).await.is_ok()
                    });
                    writeln!(words, "{}", taken.unwrap()).unwrap();
                    std::mem::forget(own);
                };
                let words = fork(wait).finish();
                assert_eq!((words.len(), &*words[7]), (8, &*ahead.to_string()), "{words:#?}");
                words[..7].iter().for_each(|word| refused(word));
                runtime.must_run(async {
                    if ahead {
                        let leased = watched.leased.as_mut().unwrap();
                        assert_eq!(&*leased.read_lease().await.unwrap(), b"ahead");
                        clients.push(TcpStream::connect(watched.address).await.unwrap());
                        watched.listener.as_ref().unwrap().accept().await.unwrap();
                    }
                    watched.work().await;
                });
            }
        });
    });
}
