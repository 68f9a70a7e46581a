//! What a ring can do with files that ringloop does not use: `ring_files [FOLDER]...`. CPU time of this process
//! on one core; each figure is the median of nine rounds.
//!
//! * Reads of 4 KiB in the page cache, 32 in flight: plain, with registered buffers, with those and a registered file.
//! * Small files, opened, read and closed, in four ways. By three calls. By a chain of three operations that are linked, with a
//!   slot of the ring's table for the file. By 8 such chains at a time. By opens in the ring, and calls for the rest.

use std::ffi::CString;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use io_uring::types::{DestinationSlot, Fd, Fixed};
use io_uring::{IoUring, opcode, squeue};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

const ROUNDS: usize = 9;
const PAGE: usize = 4096;
const PAGES: u64 = 4096;
const DEPTH: usize = 32;
const SMALL: usize = 1024;
const FILES: usize = 4096;

fn main() -> io::Result<()> {
    let cores = sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU).rfind(|&core| cores.is_set(core)).expect("there is one");
    let mut one = CpuSet::new();
    one.set(last);
    sched_setaffinity(None, &one)?;
    let mut folders: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if folders.is_empty() {
        folders = vec![std::env::temp_dir(), PathBuf::from("/dev/shm")];
    }
    for parent in folders {
        println!("{}", parent.display());
        let folder = parent.join(format!("ringloop-ring-files-{}", std::process::id()));
        fs::create_dir(&folder)?;
        let done = reads(&folder).and_then(|()| small_files(&folder));
        fs::remove_dir_all(&folder)?;
        done?;
    }
    Ok(())
}

fn ring() -> io::Result<IoUring> {
    IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(128)
}

/// Submits operations, and waits until so many have ended, each with `wanted` unless it is another kind.
fn run(ring: &mut IoUring, entries: &[squeue::Entry], wanted: i32) -> io::Result<Vec<i32>> {
    // SAFETY: the memory of all operations outlives this call, which waits for them.
    unsafe { ring.submission().push_multiple(entries) }.expect("there is room");
    ring.submit_and_wait(entries.len())?;
    let results: Vec<i32> = ring.completion().map(|done| done.result()).collect();
    assert_eq!(results.len(), entries.len());
    assert!(results.iter().all(|&result| result == wanted || wanted < 0 && result >= 0));
    Ok(results)
}

fn reads(folder: &Path) -> io::Result<()> {
    let path = folder.join("large");
    fs::write(&path, vec![7; PAGE * PAGES as usize])?;
    let file = fs::File::open(&path)?;
    let mut buffers: Vec<Vec<u8>> = (0..DEPTH).map(|_| vec![0; PAGE]).collect();
    let mut ring = ring()?;
    let parts: Vec<libc::iovec> = buffers
        .iter_mut()
        .map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: PAGE })
        .collect();
    // SAFETY: the buffers live until the ring is gone.
    unsafe { ring.submitter().register_buffers(&parts) }?;
    ring.submitter().register_files(&[file.as_raw_fd()])?;
    let mut seed = 1_u64;
    let mut place = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % PAGES * PAGE as u64
    };
    let fd = Fd(file.as_raw_fd());
    for (name, kind) in [("read", 0), ("read, buffers registered", 1), ("read, file as well", 2)] {
        measure(name, DEPTH, || {
            let entries: Vec<_> = (0..DEPTH)
                .map(|at| {
                    let (memory, index) = (buffers[at].as_mut_ptr(), at as u16);
                    let offset = place();
                    match kind {
                        0 => opcode::Read::new(fd, memory, PAGE as u32).offset(offset).build(),
                        1 => opcode::ReadFixed::new(fd, memory, PAGE as u32, index)
                            .offset(offset)
                            .build(),
                        _ => opcode::ReadFixed::new(Fixed(0), memory, PAGE as u32, index)
                            .offset(offset)
                            .build(),
                    }
                })
                .collect();
            run(&mut ring, &entries, PAGE as i32).map(|_| ())
        })?;
    }
    Ok(())
}

fn small_files(folder: &Path) -> io::Result<()> {
    let mut paths = Vec::new();
    for number in 0..FILES {
        let path = folder.join(format!("small-{number}"));
        fs::write(&path, [7; SMALL])?;
        paths.push(CString::new(path.as_os_str().as_bytes())?);
    }
    let mut buffers: Vec<Vec<u8>> = (0..DEPTH).map(|_| vec![0; SMALL]).collect();
    let mut ring = ring()?;
    ring.submitter().register_files_sparse(DEPTH as u32)?;
    let mut at = 0;
    let mut next = move || {
        at = (at + 1) % FILES;
        at
    };
    measure("open, read, close", 1, || {
        let file = open(&paths[next()])?;
        let mut room = [MaybeUninit::uninit(); SMALL];
        let (read, _) = rustix::io::read(&file, &mut room)?;
        assert_eq!(read.len(), SMALL);
        Ok(())
    })?;
    for chains in [1, 8] {
        measure(&format!("{chains} linked chains"), chains, || {
            let mut entries = Vec::new();
            for slot in 0..chains as u32 {
                let place = DestinationSlot::try_from_slot_target(slot).expect("a slot");
                let open = opcode::OpenAt::new(Fd(libc::AT_FDCWD), paths[next()].as_ptr());
                let open = open.flags(libc::O_RDONLY).file_index(Some(place)).build();
                entries.push(open.flags(squeue::Flags::IO_LINK));
                let buffer = buffers[slot as usize].as_mut_ptr();
                let read = opcode::Read::new(Fixed(slot), buffer, SMALL as u32).build();
                entries.push(read.flags(squeue::Flags::IO_LINK));
                entries.push(opcode::Close::new(Fixed(slot)).build());
            }
            let results = run(&mut ring, &entries, -1)?;
            let whole = results.iter().filter(|&&result| result == SMALL as i32).count();
            assert_eq!(whole, chains);
            Ok(())
        })?;
    }
    measure("32 opens in the ring", DEPTH, || {
        let opens: Vec<_> = (0..DEPTH)
            .map(|_| {
                let open = opcode::OpenAt::new(Fd(libc::AT_FDCWD), paths[next()].as_ptr());
                open.flags(libc::O_RDONLY | libc::O_CLOEXEC).build()
            })
            .collect();
        for fd in run(&mut ring, &opens, -1)? {
            // SAFETY: the ring has just opened it, for us.
            let file = unsafe { OwnedFd::from_raw_fd(fd) };
            let mut room = [MaybeUninit::uninit(); SMALL];
            assert_eq!(rustix::io::read(&file, &mut room)?.0.len(), SMALL);
        }
        Ok(())
    })
}

fn open(path: &CString) -> io::Result<OwnedFd> {
    // SAFETY: the path ends with a zero.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    match fd {
        // SAFETY: it was opened for us.
        0.. => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The CPU time of one operation, of which each call makes so many.
fn measure(name: &str, each: usize, mut call: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let calls = FILES.div_ceil(each);
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let before = cpu();
        for _ in 0..calls {
            call()?;
        }
        rounds.push((cpu() - before).as_nanos() / (calls * each) as u128);
    }
    rounds.sort();
    println!("{name:28} {:6} ns", rounds[ROUNDS / 2]);
    Ok(())
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
