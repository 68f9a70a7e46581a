//! Copies of files.

use std::fs as std_fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

use ringloop::fs::{self, PathError};

use crate::fs_tools::{TestFolder, descriptors_below};
use crate::harness::on_every;

#[test]
fn a_copy_has_the_content_and_the_permissions() {
    on_every(|cfg| {
        // Also from one file system to another, where the kernel may refuse to copy.
        let folders = TestFolder::everywhere();
        for from in &folders {
            for to in &folders {
                let source = from.join("source");
                let target = to.join("target");
                cfg.once(async {
                    for size in [0, 1, 4096, 300_001] {
                        let content: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
                        for mode in [0o640, 0o400, 0o755] {
                            std_fs::write(&source, &content).unwrap();
                            let mode = std_fs::Permissions::from_mode(mode);
                            std_fs::set_permissions(&source, mode.clone()).unwrap();
                            // Once over nothing, once over a longer file.
                            for _ in 0..2 {
                                let copied = fs::copy(&source, &target).await.unwrap();
                                assert_eq!(copied, size as u64);
                                assert!(std_fs::read(&target).unwrap() == content);
                                let found = std_fs::metadata(&target).unwrap().permissions();
                                assert_eq!(found.mode() & 0o7777, mode.mode());
                                std_fs::remove_file(&target).unwrap();
                                std_fs::write(&target, vec![1; 400_000]).unwrap();
                            }
                            std_fs::remove_file(&target).unwrap();
                            std_fs::remove_file(&source).unwrap();
                        }
                    }
                });
                assert_eq!(descriptors_below(from) + descriptors_below(to), 0);
            }
        }
    });
}

#[test]
fn a_sparse_file_stays_sparse() {
    on_every(|cfg| {
        let folders = TestFolder::everywhere();
        for from in &folders {
            for to in &folders {
                let source = from.join("source");
                let file = std_fs::File::create(&source).unwrap();
                // Over 4 GiB, with data in the middle and a hole at the end.
                let (len, at) = ((5 << 30) + 1, 3 << 30);
                file.set_len(len).unwrap();
                file.write_all_at(b"in the middle", at).unwrap();
                let target = to.join("target");
                cfg.once(async {
                    assert_eq!(fs::copy(&source, &target).await.unwrap(), len);
                });
                let copy = std_fs::File::open(&target).unwrap();
                let found = copy.metadata().unwrap();
                assert_eq!(found.len(), len);
                assert!(found.blocks() * 512 < 1 << 20, "{} blocks", found.blocks());
                let mut middle = [0; 13];
                copy.read_exact_at(&mut middle, at).unwrap();
                assert_eq!(&middle, b"in the middle");
                copy.read_exact_at(&mut middle, len - 13).unwrap();
                assert_eq!(middle, [0; 13]);
                std_fs::remove_file(target).unwrap();
            }
        }
    });
}

#[test]
fn a_file_is_not_copied_to_itself() {
    on_every(|cfg| {
        for folder in TestFolder::everywhere() {
            let file = folder.file("file", "kept");
            std_fs::hard_link(&file, folder.join("hard")).unwrap();
            std::os::unix::fs::symlink("file", folder.join("soft")).unwrap();
            cfg.once(async {
                for name in ["file", "hard", "soft"] {
                    let error = fs::copy(&file, folder.join(name)).await.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::InvalidInput);
                    assert_eq!(std_fs::read(&file).unwrap(), b"kept");
                }
            });
        }
    });
}

#[test]
fn what_cannot_be_copied_is_an_error_as_in_std() {
    on_every(|cfg| {
        for folder in TestFolder::everywhere() {
            let file = folder.file("file", "some text");
            let (missing, below) = (folder.join("missing"), folder.join("missing/below"));
            cfg.once(async {
                for (from, to) in [(&missing, &file), (&file, &below), (&file, &folder.join("."))] {
                    let ours = fs::copy(from, to).await.unwrap_err();
                    let std = std_fs::copy(from, to).unwrap_err();
                    assert_eq!(ours.kind(), std.kind());
                    let named = PathError::of(&ours).unwrap();
                    assert_eq!((named.path(), named.second_path()), (&**from, Some(&**to)));
                }
                let error = fs::copy(&folder, folder.join("copy")).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
                // A device of which the kernel says that it is full.
                let full = fs::copy(&file, "/dev/full").await.unwrap_err();
                assert_eq!(full.kind(), ErrorKind::StorageFull);
                let full = fs::write("/dev/full", "x").await.unwrap_err();
                assert_eq!(full.kind(), ErrorKind::StorageFull);
                // A file of which the kernel says that it is empty.
                let copied = fs::copy("/proc/self/mountinfo", folder.join("info")).await.unwrap();
                let info = std_fs::read("/proc/self/mountinfo").unwrap();
                assert_eq!(std_fs::read(folder.join("info")).unwrap(), info);
                assert_eq!(copied, info.len() as u64);
            });
            assert_eq!(std_fs::read(&file).unwrap(), b"some text");
        }
    });
}
