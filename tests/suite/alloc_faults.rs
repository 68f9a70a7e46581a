//! Allocations that fail: each allocation of a set-up fails once; and processes with a limit on
//! their memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::future::{pending, ready};
use std::io::{ErrorKind, PipeWriter, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::Duration;

use ringloop::io::{AsyncReadExt, AsyncWriteExt};
use ringloop::net::{TcpListener, TcpStream};
use ringloop::time::{Instant, sleep_until, timeout_at};
use ringloop::{catch_cancel, gather, race, spawn, to_thread, try_gather, uncancellable};
use rustix::process::Resource;

use crate::faults;
use crate::harness::{Cfg, loud, on_every, scale};
use crate::measure;
use crate::processes::isolated_with;

/// The allocator of all tests, which fails once when [`FAIL_AFTER`] says so.
struct Failing;

/// Allocations that still succeed before one fails; negative: none fails.
static FAIL_AFTER: AtomicIsize = AtomicIsize::new(-1);

thread_local! {
    /// What this thread has allocated so far.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Failing = Failing;

impl Failing {
    fn fails() -> bool {
        // A thread whose thread-local values are gone is not counted.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // Relaxed: which thread's allocation fails does not matter.
        FAIL_AFTER.load(Ordering::Relaxed) >= 0 && FAIL_AFTER.fetch_sub(1, Ordering::Relaxed) == 0
    }
}

// SAFETY: the system's allocator, or null, which means that there is no memory.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if Self::fails() {
            return ptr::null_mut();
        }
        // SAFETY: by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if Self::fails() {
            return ptr::null_mut();
        }
        // SAFETY: by the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if Self::fails() {
            return ptr::null_mut();
        }
        // SAFETY: by the caller.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: by the caller.
        unsafe { System.dealloc(block, layout) }
    }
}

#[test]
fn futures_that_do_not_suspend_allocate_nothing() {
    // Goal: a race, a gather, a timeout and a region around ready futures allocate nothing, nor
    // does a race whose loser has suspended; method: count this thread's allocations meanwhile.
    on_every(|cfg| {
        cfg.once(async {
            let at = Instant::now() + Duration::from_secs(3600);
            let mut begun = 0;
            for n in 0..100 {
                // The first timer makes room for others.
                if n == 1 {
                    begun = ALLOCATIONS.get();
                }
                assert_eq!(race!(pending(), ready(n)).await, n);
                let loser = async {
                    sleep_until(at).await;
                    0
                };
                assert_eq!(race!(loser, ready(n)).await, n);
                assert_eq!(gather!(ready(n), async { n }).await, (n, n));
                let failed = try_gather!(ready(Ok::<i32, &str>(n)), ready(Err::<i32, _>("no")));
                assert_eq!(failed.await, Err("no"));
                assert_eq!(timeout_at(at, ready(n)).await, Ok(n));
                assert_eq!(catch_cancel(uncancellable(ready(n))).await.unwrap(), n);
            }
            assert_eq!(ALLOCATIONS.get() - begun, 0);
            drop(Box::new(7));
            assert_eq!(ALLOCATIONS.get() - begun, 1, "an allocation is counted");
        });
    });
}

/// What a program does first: a runtime, a listener, a connection, a task, a job.
fn set_up(builder: ringloop::Builder) -> Result<(), String> {
    let runtime = builder.build().map_err(|error| error.to_string())?;
    let ran = runtime.run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut near = TcpStream::connect(listener.local_addr()?).await?;
        let (mut far, _) = listener.accept().await?;
        let echo = spawn(async move {
            let lease = far.read_lease().await?;
            far.write_lease(lease).await
        });
        near.write_all(b"hello").await?;
        let mut back = [0; 5];
        near.read_exact(&mut back).await?;
        assert_eq!(&back, b"hello");
        echo.await.map_err(std::io::Error::other)??;
        to_thread(|| ringloop::time::sleep(std::time::Duration::from_micros(1)))
            .await
            .map_err(std::io::Error::other)?
            .await;
        Ok::<_, std::io::Error>(())
    });
    ran.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

/// Runs `body` in a fork; returns what it wrote to its pipe, how it ended, and its standard error.
fn fork_apart(body: impl FnOnce(&mut PipeWriter)) -> (String, String, String) {
    let (mut said, says) = std::io::pipe().unwrap();
    let fork = faults::fork(|speak| {
        // SAFETY: two open descriptors.
        assert_eq!(unsafe { libc::dup2(says.as_raw_fd(), 2) }, 2);
        body(speak);
    });
    drop(says);
    let (words, end) = fork.last_words();
    let mut stderr = String::new();
    said.read_to_string(&mut stderr).unwrap();
    (words, end, stderr)
}

/// How a set-up ended of which one allocation was to fail.
#[derive(PartialEq, Eq)]
enum Fate {
    /// The set-up has fewer allocations.
    Spared,
    /// It went on, or returned an error.
    Lived,
    Aborted,
}

/// Makes allocation `nth` of a set-up fail, in a fork.
fn fail_one(cfg: &Cfg, nth: isize) -> Fate {
    let (words, end, stderr) = fork_apart(|speak| {
        FAIL_AFTER.store(nth, Ordering::Relaxed);
        let result = set_up(cfg.builder());
        let left = FAIL_AFTER.swap(-1, Ordering::Relaxed);
        writeln!(speak, "{}", if left >= 0 { "all" } else { "one failed" }).unwrap();
        if left >= 0 {
            result.unwrap();
        }
    });
    match end.as_str() {
        "exit 0" if words.starts_with("all") => Fate::Spared,
        "exit 0" => Fate::Lived,
        "signal Some(6)" if stderr.contains(NO_MEMORY[0]) => Fate::Aborted,
        _ => panic!("allocation {nth}: {end}, {words:?}, {stderr}"),
    }
}

/// Without memory, the standard library's backtrace of the failure may wait for its own lock for
/// ever.
fn without_backtraces(command: &mut std::process::Command) {
    command.env("RUST_BACKTRACE", "0");
}

#[test]
fn allocation_that_fails_is_an_error_or_a_clean_abort() {
    // Goal: test 50, no corruption and no hang where an allocation fails; method: in forks of a
    // process, one allocation of a set-up fails, then a later one, and so on until none is left to
    // fail; the fork goes on, returns an error, or aborts with the standard library's message. One
    // of each 16 allocations is tried, another one each time; all of them with a scale of 16.
    isolated_with(without_backtraces, || {
        on_every(|cfg| {
            if cfg.workers > 2 {
                return;
            }
            let step = (16 / scale()).max(1);
            let first = cfg.rng(50).below(step) as isize;
            let (mut aborts, mut allocations) = (0, 0);
            for nth in (first..).step_by(step) {
                assert!(nth < 10_000, "set-ups allocate without end");
                allocations = nth;
                match fail_one(cfg, nth) {
                    Fate::Spared => break,
                    Fate::Lived => {}
                    Fate::Aborted => aborts += 1,
                }
            }
            assert!(allocations > 20 && aborts > 0, "{aborts} aborts of {allocations}");
        });
    });
}

/// How many of the first allocations are tried one by one.
const EACH: isize = 48;

#[test]
fn each_of_the_first_allocations_may_fail() {
    // Goal: test 50, i = 0, 1, 2 and so on; method: as above, with the first allocations of a set-up one
    // by one, with one worker.
    isolated_with(without_backtraces, || {
        on_every(|cfg| {
            if cfg.single() {
                let fates: Vec<Fate> = (0..EACH).map(|nth| fail_one(cfg, nth)).collect();
                assert!(!fates.contains(&Fate::Spared), "a set-up has more allocations");
                assert!(fates.contains(&Fate::Aborted), "nothing failed");
            }
        });
    });
}

/// How a set-up in too little memory ended.
#[derive(Debug, Default)]
struct Ends {
    done: u32,
    refused: u32,
    aborted: u32,
    killed: u32,
}

impl Ends {
    /// Runs a set-up in a fork that `enter` gives its limit.
    fn try_one(&mut self, what: &str, cfg: &Cfg, enter: impl FnOnce()) {
        let (words, end, stderr) = fork_apart(|speak| {
            enter();
            let refused = set_up(cfg.builder()).is_err();
            let _ = speak.write_all(if refused { b"refused" } else { b"done" });
        });
        *match end.as_str() {
            "exit 0" if words.starts_with("done") => &mut self.done,
            "exit 0" if words.starts_with("refused") => &mut self.refused,
            "signal Some(6)" if NO_MEMORY.iter().any(|said| stderr.contains(said)) => {
                &mut self.aborted
            }
            // By the kernel, which has no other way in a full cgroup.
            "signal Some(9)" => &mut self.killed,
            _ => panic!("{what} on {cfg}: {end}, {words:?}, {stderr}"),
        } += 1;
    }
}

/// The standard library's messages before it aborts for lack of memory: its own memory, or a
/// thread's signal stack.
const NO_MEMORY: [&str; 2] = ["memory allocation of", "(os error 12)"];

#[test]
fn address_space_that_runs_out_is_an_error_or_a_clean_abort() {
    // Goal: test 50, near a limit of memory; method: forks whose address space, or data, may grow
    // by a number of bytes, from none to far more than a set-up takes: in steps of four times, or
    // of two with a scale.
    isolated_with(without_backtraces, || {
        on_every(|cfg| {
            if cfg.workers > 2 {
                return;
            }
            for (resource, total) in [(Resource::As, "VmSize:"), (Resource::Data, "VmData:")] {
                let mut ends = Ends::default();
                let powers = (14..=30).step_by(if scale() > 1 { 1 } else { 2 });
                for room in [0].into_iter().chain(powers.map(|power| 1 << power)) {
                    ends.try_one(&format!("{resource:?} and {room} bytes"), cfg, || {
                        let used = measure::status_number("/proc/self/status", total).unwrap();
                        faults::limit(resource, used as u64 * 1024 + room);
                    });
                }
                assert!(
                    ends.done > 0 && ends.refused + ends.aborted > 0 && ends.killed == 0,
                    "{resource:?}: {ends:?}"
                );
            }
        });
    });
}

/// A memory cgroup below this process's own, removed when this is dropped.
struct MemoryGroup(PathBuf);

impl MemoryGroup {
    /// A group with a limit of `bytes`. An error: the kernel refuses, or there is no memory
    /// controller.
    fn new(bytes: u64) -> std::io::Result<Self> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let path = |line: &str, which: &str| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let has = controllers.split(',').any(|controller| controller == which);
            has.then(|| path.trim_start_matches('/').to_owned())
        };
        let find = |which| own.lines().find_map(|line| path(line, which));
        // The second version of cgroups has one hierarchy, whose list of controllers is empty.
        let (parent, limit) = match (find("memory"), find("")) {
            (Some(path), _) => {
                (Path::new("/sys/fs/cgroup/memory").join(path), "memory.limit_in_bytes")
            }
            (None, Some(path)) => (Path::new("/sys/fs/cgroup").join(path), "memory.max"),
            (None, None) => return Err(ErrorKind::NotFound.into()),
        };
        // A new group each time: the kernel releases late what a process has left charged.
        let place = parent.join(format!("ringloop-{}-{bytes}", std::process::id()));
        fs::create_dir(&place)?;
        let this = Self(place);
        // Without a controller there is no such file.
        let mut file = fs::OpenOptions::new().write(true).open(this.0.join(limit))?;
        file.write_all(bytes.to_string().as_bytes())?;
        Ok(this)
    }

    /// From here on the calling process belongs to the group.
    fn enter(&self) {
        fs::write(self.0.join("cgroup.procs"), "0").expect("a group of our own");
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn full_memory_cgroup_is_an_error_or_a_clean_end() {
    // Goal: test 50, near the limit of a memory cgroup; method: forks in a group of their own,
    // whose limit goes from less than a set-up takes to far more. Where the kernel gives no such
    // group, the test prints the reason; address spaces with a limit have a test of their own.
    isolated_with(without_backtraces, || {
        if let Err(error) = MemoryGroup::new(1 << 28) {
            loud(&format!("NOTE no memory cgroup may be made here: {error}"));
            let refused =
                [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem, ErrorKind::NotFound];
            assert!(refused.contains(&error.kind()), "{error}");
            return;
        }
        on_every(|cfg| {
            if cfg.workers > 2 {
                return;
            }
            let mut ends = Ends::default();
            for bytes in (18..=28).step_by(2).map(|power| 1 << power) {
                let group = MemoryGroup::new(bytes).expect("as before");
                ends.try_one(&format!("a group of {bytes} bytes"), cfg, || group.enter());
            }
            assert!(ends.done > 0 && ends.done < 6, "{ends:?}");
        });
    });
}
