//! Plain calls on the thread, and a bare ring where many reads are in flight: the limit.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use io_uring::{IoUring, opcode, types::Fd};
use ringloop::fs::AlignedBuf;

use super::{DEPTH, MEGABYTE, PAGE, Places, READS, SMALL, SMALL_FILES, Window, small_file};
use crate::harness::Spec;
use crate::sample::Sample;

pub fn run(spec: &Spec, case: &str, folder: &Path) -> Result<Sample, String> {
    let (window, large) = (Window::new(spec), folder.join("large"));
    let sample = match case {
        "read_4k_d1" | "read_4k_d32" => read(window, &large),
        "read_4k_direct_d32" => read_direct(window, &large),
        "write_4k" => write(window, &large),
        "read_1m_seq" => read_on(window, &large),
        "open_read_close_1k" => {
            of_names(window, |number| Ok(fs::read(small_file(folder, number))?.len() as u64))
        }
        "stat_10k" => {
            of_names(window, |number| Ok(fs::metadata(small_file(folder, number))?.len()))
        }
        "walk" => walk(window, folder),
        "copy_256m" => copy(window, &large, &folder.join("copy")),
        other => return Err(format!("{other:?} has no bare form")),
    };
    sample.map_err(|error| error.to_string())
}

fn read(mut window: Window, path: &Path) -> io::Result<Sample> {
    let (file, mut buffer, mut places) = (fs::File::open(path)?, [0; PAGE], Places(1));
    while window.goes_on(READS) {
        for _ in 0..READS {
            file.read_exact_at(&mut buffer, places.next())?;
        }
    }
    Ok(window.finish())
}

/// All reads in flight are waited for at once: that costs least.
fn read_direct(mut window: Window, path: &Path) -> io::Result<Sample> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path)?;
    let mut buffers: Vec<_> = (0..DEPTH).map(|_| AlignedBuf::new(PAGE, PAGE)).collect();
    let (mut places, depth) = (Places(1), DEPTH as usize);
    let mut ring: IoUring =
        IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(DEPTH as u32)?;
    while window.goes_on(READS * DEPTH) {
        for _ in 0..READS {
            for buffer in &mut buffers {
                let read =
                    opcode::Read::new(Fd(file.as_raw_fd()), buffer.as_mut_ptr(), PAGE as u32)
                        .offset(places.next())
                        .build();
                // SAFETY: the buffers live until all reads are complete, at the end of this round.
                unsafe { ring.submission().push(&read) }.expect("there is room");
            }
            ring.submit_and_wait(depth)?;
            let complete = ring.completion().filter(|done| done.result() == PAGE as i32).count();
            assert_eq!(complete, depth, "all reads are whole");
        }
    }
    Ok(window.finish())
}

fn write(mut window: Window, path: &Path) -> io::Result<Sample> {
    let (file, mut places) = (OpenOptions::new().write(true).open(path)?, Places(1));
    while window.goes_on(READS) {
        for _ in 0..READS {
            file.write_all_at(&[7; PAGE], places.next())?;
        }
    }
    Ok(window.finish())
}

fn read_on(mut window: Window, path: &Path) -> io::Result<Sample> {
    let (file, mut buffer, mut at) = (fs::File::open(path)?, vec![0; MEGABYTE], 0);
    while window.goes_on(1) {
        let read = file.read_at(&mut buffer, at)?;
        at = if read < MEGABYTE { 0 } else { at + read as u64 };
    }
    Ok(window.finish())
}

fn walk(mut window: Window, folder: &Path) -> io::Result<Sample> {
    while window.goes_on(SMALL_FILES) {
        assert_eq!(fs::read_dir(folder)?.count() as u64, SMALL_FILES);
    }
    Ok(window.finish())
}

fn copy(mut window: Window, from: &Path, to: &Path) -> io::Result<Sample> {
    while window.goes_on(1) {
        fs::copy(from, to)?;
    }
    Ok(window.finish())
}

fn of_names(
    mut window: Window,
    mut look: impl FnMut(u64) -> io::Result<u64>,
) -> io::Result<Sample> {
    let mut number = 0;
    while window.goes_on(READS) {
        for _ in 0..READS {
            number = (number + 1) % SMALL_FILES;
            assert_eq!(look(number)?, SMALL as u64);
        }
    }
    Ok(window.finish())
}
