//! Temporary files and folders, and files that are written durably.

use std::fs as std_fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use futures_util::FutureExt;
use ringloop::fs::{self, PathError, TempBuilder, TempDir, TempFile};

use crate::fs_tools::{TestFolder, descriptors_below};
use crate::harness::on_every;

#[test]
fn temporary_files_and_folders_are_private_and_gone_at_the_end() {
    on_every(|cfg| {
        for folder in TestFolder::everywhere() {
            cfg.once(async {
                let here = TempBuilder::new().within(&folder).prefix("a-").suffix(".b");
                let nameless = here.file().await.unwrap();
                let named = here.clone().named(true).file().await.unwrap();
                let inner = here.dir().await.unwrap();
                assert_eq!(nameless.path(), None);
                for path in [named.path().unwrap(), inner.path()] {
                    let name = path.file_name().unwrap().to_str().unwrap();
                    assert!(name.starts_with("a-") && name.ends_with(".b") && name.len() == 20);
                    assert_eq!(std_fs::metadata(path).unwrap().mode() & 0o077, 0);
                }
                std_fs::create_dir(inner.path().join("x")).unwrap();
                std_fs::write(inner.path().join("x/y"), "").unwrap();
                let mut file = named.file().to_std().unwrap();
                file.write_all(b"some text").unwrap();
                assert_eq!(std_fs::read(named.path().unwrap()).unwrap(), b"some text");
                let other = here.dir().await.unwrap();
                other.close().await.unwrap();
                let other = here.clone().named(true).file().await.unwrap();
                other.close().await.unwrap();
                assert_eq!(folder.names().len(), 2);
            });
            // The end of the runtime has waited for the threads.
            assert_eq!(folder.names(), [""; 0]);
            assert_eq!(descriptors_below(&folder), 0);
        }
    });
}

#[test]
fn they_are_removed_outside_of_a_runtime_too_and_when_the_maker_is_cancelled() {
    on_every(|cfg| {
        let folder = TestFolder::new();
        let here = TempBuilder::new().within(&folder).named(true);
        let (file, inner) = cfg.once(async {
            for _ in 0..20 {
                let _ = here.file().now_or_never();
                let _ = here.dir().now_or_never();
            }
            (here.file().await.unwrap(), here.dir().await.unwrap())
        });
        assert_eq!(folder.names().len(), 2);
        drop(inner);
        drop(file);
        assert_eq!(folder.names(), [""; 0]);
    });
}

#[test]
fn a_name_that_another_file_has_taken_stays() {
    on_every(|cfg| {
        let folder = TestFolder::new();
        let path = cfg.once(async {
            let file = TempBuilder::new().within(&folder).named(true).file().await.unwrap();
            let path = file.path().unwrap().to_owned();
            std_fs::rename(&path, folder.join("moved")).unwrap();
            std_fs::write(&path, "another").unwrap();
            path
        });
        assert_eq!(std_fs::read(path).unwrap(), b"another");
        assert_eq!(folder.names().len(), 2);
    });
}

#[test]
fn a_file_is_persisted_with_and_without_replacing() {
    on_every(|cfg| {
        for folder in TestFolder::everywhere() {
            let taken = folder.file("taken", "old");
            cfg.once(async {
                for named in [false, true] {
                    let here = TempBuilder::new().within(&folder).named(named);
                    let file = here.file().await.unwrap();
                    file.file().to_std().unwrap().write_all(b"new").unwrap();
                    let error = file.persist_noclobber(&taken).await.unwrap_err();
                    assert_eq!(error.error().kind(), ErrorKind::AlreadyExists);
                    assert_eq!(PathError::of(error.error()).unwrap().path(), taken);
                    assert_eq!(std_fs::read(&taken).unwrap(), b"old");
                    // The file is still there.
                    let file = error.into_file().unwrap();
                    let error = file.persist(folder.join("none/below")).await.unwrap_err();
                    assert_eq!(error.error().kind(), ErrorKind::NotFound);
                    let file = error.into_file().unwrap().persist(&taken).await.unwrap();
                    assert_eq!(std_fs::read(&taken).unwrap(), b"new");
                    drop(file);
                    std_fs::write(&taken, "old").unwrap();
                    let free = folder.join("free");
                    here.file().await.unwrap().persist_noclobber(&free).await.unwrap();
                    assert_eq!(folder.names(), ["free", "taken"]);
                    std_fs::remove_file(free).unwrap();
                }
                let kept = TempBuilder::new().within(&folder).dir().await.unwrap().keep();
                std_fs::remove_dir(kept).unwrap();
            });
            assert_eq!(folder.names(), ["taken"]);
        }
    });
}

#[test]
fn options_that_cannot_be_are_errors() {
    on_every(|cfg| {
        cfg.once(async {
            let here = TempBuilder::new().prefix("a/b").named(true);
            assert_eq!(here.file().await.unwrap_err().kind(), ErrorKind::InvalidInput);
            assert_eq!(here.dir().await.unwrap_err().kind(), ErrorKind::InvalidInput);
            let nowhere = TempBuilder::new().within("/no such folder");
            assert_eq!(nowhere.file().await.unwrap_err().kind(), ErrorKind::NotFound);
            assert_eq!(nowhere.dir().await.unwrap_err().kind(), ErrorKind::NotFound);
            drop((TempFile::new().await.unwrap(), TempDir::new().await.unwrap()));
        });
    });
}

#[test]
fn a_durable_write_keeps_permissions_and_links() {
    on_every(|cfg| {
        for folder in TestFolder::everywhere() {
            let file = folder.file("file", "old");
            std_fs::set_permissions(&file, std_fs::Permissions::from_mode(0o604)).unwrap();
            std::os::unix::fs::symlink("file", folder.join("link")).unwrap();
            cfg.once(async {
                fs::write_durably(folder.join("link"), "through the link").await.unwrap();
                assert_eq!(std_fs::read(&file).unwrap(), b"through the link");
                fs::write_durably(&file, "").await.unwrap();
                assert_eq!(std_fs::read(&file).unwrap(), b"");
                assert_eq!(std_fs::metadata(&file).unwrap().mode() & 0o7777, 0o604);
                let fresh = folder.join("fresh");
                fs::write_durably(&fresh, "new").await.unwrap();
                std_fs::write(folder.join("by std"), "").unwrap();
                let mode = |path: PathBuf| std_fs::metadata(path).unwrap().mode();
                assert_eq!(mode(fresh), mode(folder.join("by std")));
                let long = folder.join("n".repeat(255));
                for _ in 0..2 {
                    fs::write_durably(&long, "new").await.unwrap();
                }

                for (path, kind) in [
                    (folder.to_path_buf(), ErrorKind::IsADirectory),
                    (folder.join("none/file"), ErrorKind::NotFound),
                    (file.join("below"), ErrorKind::NotADirectory),
                    ("/dev/null".into(), ErrorKind::InvalidInput),
                ] {
                    let error = fs::write_durably(&path, "x").await.unwrap_err();
                    assert_eq!(error.kind(), kind, "{path:?}");
                    assert_eq!(PathError::of(&error).unwrap().path(), path);
                }
            });
            assert_eq!(folder.names().len(), 5);
            assert!(std_fs::symlink_metadata(folder.join("link")).unwrap().is_symlink());
            assert_eq!(descriptors_below(&folder), 0);
        }
    });
}

#[test]
fn durable_writes_at_the_same_time_leave_one_whole_content() {
    on_every(|cfg| {
        let folder = TestFolder::in_memory();
        let file = folder.join("file");
        cfg.once(async {
            for round in 0..5 {
                let write = |byte| {
                    let file = file.clone();
                    ringloop::spawn(async move { fs::write_durably(file, vec![byte; 9000]).await })
                };
                let tasks: Vec<_> = (0..8).map(write).collect();
                // Some are given up: they finish, or never begin.
                if round % 2 == 0 {
                    tasks.iter().step_by(3).for_each(|task| {
                        task.cancel();
                    });
                }
                for task in tasks {
                    if let Ok(written) = task.await {
                        written.unwrap();
                    }
                }
                let content = std_fs::read(&file).unwrap();
                assert_eq!(content.len(), 9000);
                assert!(content.iter().all(|&byte| byte == content[0]));
            }
        });
        assert_eq!(folder.names(), ["file"]);
    });
}
