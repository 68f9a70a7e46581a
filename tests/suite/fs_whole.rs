//! Whole files.

use std::fs as std_fs;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::pin::pin;
use std::sync::{OnceLock, mpsc};

use futures_util::FutureExt;
use ringloop::fs::{self, PathError};

use crate::fs_tools::{TestFolder, descriptors_below};
use crate::harness::on_every;

const LONGEST: usize = (8 << 20) + 1;

fn content(len: usize) -> Vec<u8> {
    static ALL: OnceLock<Vec<u8>> = OnceLock::new();
    ALL.get_or_init(|| (0..LONGEST).map(|at| (at * 7 + at / 256) as u8).collect())[..len].to_vec()
}

fn named_pipe(path: &Path) {
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

#[test]
fn a_file_is_read_as_it_was_written_whatever_its_size() {
    on_every(|cfg| {
        for folder in TestFolder::everywhere() {
            let sizes = [0, 1, 4095, 4096, 4097, 65_535, 65_536, 65_537, 1 << 20, LONGEST];
            cfg.once(async {
                for size in sizes {
                    let path = folder.join(size.to_string());
                    fs::write(&path, content(size)).await.unwrap();
                    assert_eq!(std_fs::read(&path).unwrap(), content(size));
                    for _ in 0..3 {
                        assert!(fs::read(&path).await.unwrap() == content(size), "{size} bytes");
                    }
                }
                let paths = sizes.map(|size| folder.join(size.to_string()));
                let all = fs::read_many(&paths).await.unwrap();
                for (size, found) in sizes.iter().zip(all) {
                    assert!(found.unwrap() == content(*size), "{size} bytes");
                }
            });
            assert_eq!(descriptors_below(&folder), 0);
        }
    });
}

#[test]
fn a_small_file_in_the_cache_takes_no_thread() {
    on_every(|cfg| {
        for folder in TestFolder::everywhere() {
            let path = folder.file("file", content(1024));
            let large = folder.file("large", content(65_537));
            let run = cfg.builder().workers(1).run(async {
                fs::read(&path).await.unwrap();
                for _ in 0..3 {
                    let read = fs::read(&path).now_or_never();
                    assert_eq!(read.expect("at once").unwrap(), content(1024));
                    let read = fs::read_to_string(&path).now_or_never();
                    assert_eq!(read.expect("at once").unwrap_err().kind(), ErrorKind::InvalidData);
                }
                assert!(fs::read(&large).await.unwrap() == content(65_537));
            });
            run.unwrap();
        }
    });
}

#[test]
fn a_file_of_which_a_part_is_in_the_cache_is_read_whole() {
    on_every(|cfg| {
        let folder = TestFolder::new();
        let path = folder.file("file", content(60_000));
        let file = std_fs::File::open(&path).unwrap();
        file.sync_all().unwrap();
        cfg.once(async {
            assert!(fs::read(&path).await.unwrap() == content(60_000));
            for from in [0, 4096, 20_000, 59_000] {
                // The kernel forgets what comes after.
                let forget = rustix::fs::Advice::DontNeed;
                rustix::fs::fadvise(&file, from, None, forget).unwrap();
                assert!(fs::read(&path).await.unwrap() == content(60_000), "from {from}");
            }
        });
    });
}

#[test]
fn errors_are_those_of_std() {
    on_every(|cfg| {
        for folder in TestFolder::everywhere() {
            let file = folder.file("file", [0xff]);
            cfg.once(async {
                for path in [folder.join("missing"), folder.to_path_buf(), file.join("below")] {
                    for _ in 0..3 {
                        let std = std_fs::read(&path).unwrap_err();
                        let ours = fs::read(&path).await.unwrap_err();
                        assert_eq!(ours.kind(), std.kind(), "{path:?}");
                        let number = PathError::of(&ours).unwrap().raw_os_error();
                        assert_eq!(number, std.raw_os_error());
                    }
                    let std = std_fs::write(&path, "").err().map(|error| error.kind());
                    let _ = std_fs::remove_file(folder.join("missing"));
                    let ours = fs::write(&path, "").await.err().map(|error| error.kind());
                    let _ = std_fs::remove_file(folder.join("missing"));
                    assert_eq!(ours, std, "{path:?}");
                }
                let error = fs::read_to_string(&file).await.unwrap_err();
                let std = std_fs::read_to_string(&file).unwrap_err();
                assert_eq!(error.kind(), std.kind());
                assert_eq!(PathError::of(&error).unwrap().call(), "read_to_string");
            });
        }
    });
}

#[test]
fn a_file_of_proc_that_has_no_size_is_read_whole() {
    on_every(|cfg| {
        cfg.once(async {
            for _ in 0..3 {
                let ours = fs::read_to_string("/proc/self/mountinfo").await.unwrap();
                assert_eq!(ours, std_fs::read_to_string("/proc/self/mountinfo").unwrap());
            }
        });
    });
}

#[test]
fn a_named_pipe_is_read_to_its_end_and_its_writer_meets_no_closed_one() {
    on_every(|cfg| {
        for folder in TestFolder::everywhere() {
            let pipe = folder.join("pipe");
            named_pipe(&pipe);
            let file = folder.file("file", "x");
            cfg.once(async {
                // So that the folder is known.
                fs::read(&file).await.unwrap();
                for _ in 0..20 {
                    let path = pipe.clone();
                    let writer = std::thread::spawn(move || {
                        let mut file = std_fs::OpenOptions::new().write(true).open(path).unwrap();
                        file.write_all(b"through").unwrap();
                    });
                    assert_eq!(fs::read(&pipe).await.unwrap(), b"through");
                    writer.join().unwrap();
                }
            });
        }
    });
}

#[test]
fn a_call_that_is_given_up_before_a_thread_takes_it_is_never_made() {
    on_every(|cfg| {
        let folder = TestFolder::new();
        let file = folder.file("file", "");
        let pipe = folder.join("pipe");
        named_pipe(&pipe);
        let run = cfg.builder().file_threads(1).run(async {
            // The only thread waits for the other side of the pipe.
            let mut write = pin!(fs::write(&pipe, "x"));
            assert!(write.as_mut().now_or_never().is_none());
            {
                let mut removal = pin!(fs::remove_file(&file));
                assert!(removal.as_mut().now_or_never().is_none());
            }
            let (tell, text) = mpsc::channel();
            let pipe = pipe.clone();
            std::thread::spawn(move || {
                let mut text = String::new();
                std_fs::File::open(&pipe).unwrap().read_to_string(&mut text).unwrap();
                tell.send(text).unwrap();
            });
            write.await.unwrap();
            assert_eq!(text.recv().unwrap(), "x");
            // A later call of the same lane has come through.
            fs::write(folder.join("later"), "").await.unwrap();
            assert!(fs::try_exists(&file).await.unwrap());
        });
        run.unwrap();
        assert!(file.exists());
    });
}
