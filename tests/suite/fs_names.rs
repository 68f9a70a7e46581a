//! Calls on names: metadata, links, renames, and their errors.

use std::ffi::OsStr;
use std::fs as std_fs;
use std::fs::{FileTimes, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use ringloop::fs::{self, PathError, RenameFlags};

use crate::fs_tools::TestFolder;
use crate::harness::on_every;

/// The parts of metadata that do not change by being looked at.
fn parts(metadata: &std_fs::Metadata) -> (u64, u64, u32, u64, u64, (i64, i64), SystemTime) {
    let times = (metadata.mtime(), metadata.mtime_nsec());
    let numbers = (metadata.dev(), metadata.ino(), metadata.mode(), metadata.nlink());
    let born = metadata.created().unwrap();
    (numbers.0, numbers.1, numbers.2, numbers.3, metadata.len(), times, born)
}

#[test]
fn metadata_are_those_of_std() {
    on_every(|cfg| {
        for folder in TestFolder::everywhere() {
            let file = folder.file("file", "12345");
            let link = folder.join("link");
            std::os::unix::fs::symlink("file", &link).unwrap();
            cfg.once(async {
                // At first by a thread, then from what the worker remembers.
                for _ in 0..3 {
                    for path in [&*file, &*link, &*folder] {
                        let ours = fs::metadata(path).await.unwrap();
                        assert_eq!(parts(&ours), parts(&std_fs::metadata(path).unwrap()));
                        let ours = fs::symlink_metadata(path).await.unwrap();
                        assert_eq!(parts(&ours), parts(&std_fs::symlink_metadata(path).unwrap()));
                    }
                    let process = fs::metadata("/proc/self").await.unwrap();
                    assert!(process.is_dir());
                    assert!(fs::symlink_metadata("/proc/self").await.unwrap().is_symlink());
                }
                let paths = [file.clone(), folder.join("missing"), folder.to_path_buf()];
                let found = fs::stat_many(&paths).await.unwrap();
                assert_eq!(found[0].as_ref().unwrap().len(), 5);
                assert_eq!(found[1].as_ref().unwrap_err().kind(), ErrorKind::NotFound);
                assert!(found[2].as_ref().unwrap().is_dir());
                assert!(fs::stat_many([""; 0]).await.unwrap().is_empty());
            });
        }
    });
}

#[test]
fn a_path_that_the_kernel_has_in_its_cache_takes_no_thread() {
    on_every(|cfg| {
        for folder in TestFolder::everywhere() {
            let file = folder.file("file", "12345");
            // On one thread: the mount is remembered by each.
            cfg.builder()
                .workers(1)
                .run(async {
                    fs::metadata(&file).await.unwrap();
                    let at_once = fs::metadata(&file).now_or_never();
                    assert_eq!(at_once.expect("at once").unwrap().len(), 5);
                })
                .unwrap();
        }
    });
}

#[test]
fn a_change_is_seen_by_the_next_look() {
    on_every(|cfg| {
        for folder in TestFolder::everywhere() {
            let file = folder.file("file", "1");
            cfg.once(async {
                for size in 1..50_u64 {
                    assert_eq!(fs::metadata(&file).await.unwrap().len(), size);
                    let mut open = std_fs::OpenOptions::new().append(true).open(&file).unwrap();
                    open.write_all(b"1").unwrap();
                }
                for _ in 0..10 {
                    std_fs::remove_file(&file).unwrap();
                    assert!(!fs::try_exists(&file).await.unwrap());
                    std_fs::write(&file, "").unwrap();
                    assert!(fs::try_exists(&file).await.unwrap());
                }
            });
        }
    });
}

#[test]
fn errors_name_the_call_and_the_path_and_keep_kind_and_number() {
    on_every(|cfg| {
        for folder in TestFolder::everywhere() {
            let file = folder.file("file", "");
            let below = file.join("below");
            let missing = folder.join("missing");
            let long = folder.join("n".repeat(300));
            std::os::unix::fs::symlink("ring", folder.join("ring")).unwrap();
            let ring = folder.join("ring");
            let zero = Path::new(OsStr::from_bytes(b"/tmp/a\0b"));
            cfg.once(async {
                for path in [&*below, &*missing, &*long, &*ring, zero] {
                    for _ in 0..2 {
                        let ours = fs::metadata(path).await.unwrap_err();
                        let std = std_fs::metadata(path).unwrap_err();
                        assert_eq!(ours.kind(), std.kind(), "{path:?}");
                        let named = PathError::of(&ours).unwrap();
                        assert_eq!(named.path(), path);
                        assert_eq!(named.call(), "metadata");
                        assert_eq!(named.raw_os_error(), std.raw_os_error());
                        let source = std::error::Error::source(named).unwrap();
                        assert_eq!(source.to_string(), std.to_string());
                        assert!(ours.to_string().contains(&path.display().to_string()));
                    }
                }
                let error = fs::rename(&missing, &below).await.unwrap_err();
                let named = PathError::of(&error).unwrap();
                assert_eq!((named.path(), named.second_path()), (&*missing, Some(&*below)));
                assert_eq!(named.call(), "rename");
            });
        }
    });
}

#[test]
fn existence_is_an_error_where_it_cannot_be_known() {
    on_every(|cfg| {
        let folder = TestFolder::new();
        let file = folder.file("file", "");
        cfg.once(async {
            assert!(!fs::try_exists(folder.join("missing")).await.unwrap());
            let error = fs::try_exists(file.join("below")).await.unwrap_err();
            assert_eq!(error.kind(), std_fs::exists(file.join("below")).unwrap_err().kind());
        });
    });
}

#[test]
fn permissions_and_times_are_set() {
    on_every(|cfg| {
        for folder in TestFolder::everywhere() {
            let file = folder.file("file", "");
            let pipe = folder.join("pipe");
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0)
                .unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 5000);
            cfg.once(async {
                fs::set_permissions(&file, Permissions::from_mode(0o640)).await.unwrap();
                assert_eq!(std_fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
                // A folder, and a named pipe without a writer.
                for path in [&*file, &*folder, &*pipe] {
                    let times = FileTimes::new().set_modified(time).set_accessed(time);
                    fs::set_times(path, times).await.unwrap();
                    let after = fs::metadata(path).await.unwrap();
                    assert_eq!(
                        (after.modified().unwrap(), after.accessed().unwrap()),
                        (time, time)
                    );
                }
                let missing = folder.join("missing");
                let error = fs::set_permissions(&missing, Permissions::from_mode(0o640)).await;
                assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
                let error = fs::set_times(&missing, FileTimes::new()).await;
                assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
            });
        }
    });
}

#[test]
fn links_and_renames_do_what_they_say() {
    on_every(|cfg| {
        for folder in TestFolder::everywhere() {
            let file = folder.file("file", "one");
            let at = |name: &str| folder.join(name);
            cfg.once(async {
                fs::hard_link(&file, at("hard")).await.unwrap();
                fs::symlink("file", at("soft")).await.unwrap();
                assert_eq!(fs::read_link(at("soft")).await.unwrap(), Path::new("file"));
                let real = fs::canonicalize(at("./soft")).await.unwrap();
                assert_eq!(real, std_fs::canonicalize(&file).unwrap());
                let taken = fs::hard_link(&file, at("soft")).await.unwrap_err();
                assert_eq!(taken.kind(), ErrorKind::AlreadyExists);

                std_fs::write(at("other"), "two").unwrap();
                let taken = fs::rename_with(&file, at("other"), RenameFlags::NoReplace).await;
                assert_eq!(taken.unwrap_err().kind(), ErrorKind::AlreadyExists);
                fs::rename_with(&file, at("other"), RenameFlags::Exchange).await.unwrap();
                assert_eq!(std_fs::read(&file).unwrap(), b"two");
                assert_eq!(std_fs::read(at("other")).unwrap(), b"one");
                let none = fs::rename_with(&file, at("none"), RenameFlags::Exchange).await;
                assert_eq!(none.unwrap_err().kind(), ErrorKind::NotFound);
                fs::rename_with(&file, at("free"), RenameFlags::NoReplace).await.unwrap();
                fs::rename(at("free"), at("other")).await.unwrap();
                assert_eq!(std_fs::read(at("other")).unwrap(), b"two");

                std_fs::create_dir(at("folder")).unwrap();
                let inside =
                    fs::rename_with(at("folder"), at("folder/below"), RenameFlags::NoReplace);
                let kind = std_fs::rename(at("folder"), at("folder/below")).unwrap_err().kind();
                assert_eq!(inside.await.unwrap_err().kind(), kind);

                for name in ["hard", "soft", "other"] {
                    fs::remove_file(at(name)).await.unwrap();
                    let gone = fs::remove_file(at(name)).await.unwrap_err();
                    assert_eq!(gone.kind(), ErrorKind::NotFound);
                }
                assert_eq!(folder.names(), ["folder"]);
            });
        }
    });
}
