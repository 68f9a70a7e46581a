//! A file system without room: every call that writes says so, and what was there stays.

use std::ffi::CString;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use futures_util::io::AsyncWriteExt as _;
use ringloop::fs::{self, File, OpenOptions, PathError};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::fs_tools::TestFolder;
use crate::harness::{loud, on_every};
use crate::processes::isolated;
use crate::tools::{check_pattern, fill_pattern};

/// The room that there is, in bytes.
const ROOM: usize = 64 << 10;
/// More than that.
const TOO_MUCH: usize = 200_000;

/// Mounts a file system of 64 KiB there, for this thread and those that it starts.
fn mount_small(on: &Path) -> io::Result<()> {
    // SAFETY: the descriptor table is not unshared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    let mount = |from: &str, on: &Path, flags, data: &str| {
        let [from, data] = [from, data].map(|text| CString::new(text).unwrap());
        let on = CString::new(on.as_os_str().as_bytes()).unwrap();
        // SAFETY: all are strings that end with a zero, and live until the call returns.
        let result = unsafe {
            libc::mount(from.as_ptr(), on.as_ptr(), from.as_ptr(), flags, data.as_ptr().cast())
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // What is mounted from here on is nobody else's.
    mount("none", Path::new("/"), libc::MS_REC | libc::MS_PRIVATE, "")?;
    mount("tmpfs", on, 0, "size=64k")
}

fn pattern(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fill_pattern(&mut bytes, 0);
    bytes
}

fn is_full<T>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == ErrorKind::StorageFull)
}

#[test]
fn full_file_system_is_reported_by_each_call_and_loses_nothing() {
    isolated(|| {
        let folder = TestFolder::new();
        if let Err(error) = mount_small(&folder) {
            return loud(&format!(
                "NOTE skipped: no small file system may be mounted here: {error}"
            ));
        }
        on_every(|cfg| {
            cfg.everywhere(|| async {
                positional(&folder).await;
                cursor(&folder).await;
                whole(&folder).await;
            });
        });
        let path = CString::new(folder.as_os_str().as_bytes()).unwrap();
        // SAFETY: the path ends with a zero, and lives until the call returns.
        let unmounted = unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
        assert_eq!(unmounted, 0);
    });
}

async fn positional(folder: &Path) {
    let path = folder.join("positional");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    let file = options.open(&path).await.unwrap();
    let (result, bytes) = file.write_all_at(pattern(TOO_MUCH), 0).await;
    assert!(is_full(result));
    assert_eq!(bytes.len(), TOO_MUCH, "the buffer comes back");
    let kept = std::fs::read(&path).unwrap();
    assert!(kept.len() <= ROOM);
    check_pattern(&kept, 0);
    // With room again it goes on where it was.
    file.set_len(4096).await.unwrap();
    let (result, bytes) = file.write_all_at(bytes[4096..8192].to_vec(), 4096).await;
    result.unwrap();
    assert_eq!(bytes.len(), 4096);
    file.sync_all().await.unwrap();
    check_pattern(&std::fs::read(&path).unwrap(), 0);
    assert!(is_full(file.allocate(0, TOO_MUCH as u64).await));
    fs::remove_file(&path).await.unwrap();
}

async fn cursor(folder: &Path) {
    let path = folder.join("cursor");
    let mut file = File::create(&path).await.unwrap();
    let bytes = pattern(TOO_MUCH);
    let written = async {
        file.write_all(&bytes).await?;
        file.flush().await
    };
    assert!(is_full(written.await));
    let kept = std::fs::read(&path).unwrap();
    assert!(!kept.is_empty() && kept.len() <= ROOM);
    check_pattern(&kept, 0);
    fs::remove_file(&path).await.unwrap();
}

async fn whole(folder: &Path) {
    let at = |name: &str| folder.join(name);
    let error = fs::write(at("whole"), pattern(TOO_MUCH)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(PathError::of(&error).unwrap().path(), at("whole"));
    let _ = fs::remove_file(at("whole")).await;

    fs::write_durably(at("kept"), "old").await.unwrap();
    assert!(is_full(fs::write_durably(at("kept"), pattern(TOO_MUCH)).await));
    assert_eq!(fs::read(at("kept")).await.unwrap(), b"old");
    let names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["kept"], "no temporary file is left");

    let large = TestFolder::new();
    let from = large.file("large", pattern(TOO_MUCH));
    assert!(is_full(fs::copy(&from, at("copy")).await));
    assert_eq!(std::fs::metadata(&from).unwrap().len(), TOO_MUCH as u64);
    for name in ["copy", "kept"] {
        let _ = fs::remove_file(at(name)).await;
    }
}
