//! Memory that cannot be had: each allocation of a set-up fails once.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write as _;
use std::ptr;
use std::sync::atomic::{AtomicIsize, Ordering};

use ringloop::io::{AsyncReadExt, AsyncWriteExt};
use ringloop::net::{TcpListener, TcpStream};
use ringloop::{spawn, to_thread};

use crate::faults;
use crate::harness::{on_every, scale};
use crate::processes::isolated;

/// The allocator of all tests, which fails once when [`FAIL_AFTER`] says so.
struct Failing;

/// Allocations that still succeed before one fails; negative: none fails.
static FAIL_AFTER: AtomicIsize = AtomicIsize::new(-1);

#[global_allocator]
static ALLOCATOR: Failing = Failing;

impl Failing {
    fn fails() -> bool {
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

#[test]
fn allocation_that_fails_is_an_error_or_a_clean_abort() {
    // Goal: test 50, no corruption and no hang where memory cannot be had; method: in forks of a
    // process, one allocation of a set-up fails, then a later one, and so on until none is left to
    // fail; the fork goes on, tells an error, or aborts with the standard library's words. Of each 16
    // allocations one is tried, another one each time; all with a scale of 16.
    isolated(|| {
        on_every(|cfg| {
            if cfg.workers > 2 {
                return;
            }
            let step = (16 / scale()).max(1);
            let first = cfg.rng(50).below(step) as isize;
            let (mut aborts, mut allocations) = (0, 0);
            for nth in (first..).step_by(step) {
                assert!(nth < 10_000, "set-ups allocate without end");
                let (mut said, says) = std::io::pipe().unwrap();
                let fork = faults::fork(|speak| {
                    // SAFETY: two open descriptors.
                    assert_eq!(unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&says), 2) }, 2);
                    FAIL_AFTER.store(nth, Ordering::Relaxed);
                    let result = set_up(cfg.builder());
                    let left = FAIL_AFTER.swap(-1, Ordering::Relaxed);
                    writeln!(speak, "{}", if left >= 0 { "all" } else { "one failed" }).unwrap();
                    if left >= 0 {
                        result.unwrap();
                    }
                });
                drop(says);
                let (words, end) = fork.last_words();
                let mut stderr = String::new();
                std::io::Read::read_to_string(&mut said, &mut stderr).unwrap();
                allocations = nth;
                match end.as_str() {
                    "exit 0" if words.starts_with("all") => break,
                    "exit 0" => {}
                    "signal Some(6)" if stderr.contains("memory allocation of") => aborts += 1,
                    _ => panic!("allocation {nth}: {end}, {words:?}, {stderr}"),
                }
            }
            assert!(allocations > 20 && aborts > 0, "{aborts} aborts of {allocations}");
        });
    });
}
