//! Calls on names where something is missing or forbidden: system calls, descriptors, permissions.

use std::fs as std_fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;

use ringloop::fs::{self, PathError};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::faults::{Call, as_plain_user, limit, refuse};
use crate::fs_tools::TestFolder;
use crate::harness::on_every;
use crate::processes::isolated;

/// The usual calls, where the kernel refuses to look in its cache only.
fn all_works_without_openat2(errno: i32) {
    if !refuse(Call::Openat2, errno) {
        return;
    }
    on_every(|cfg| {
        for folder in TestFolder::everywhere() {
            let file = folder.file("file", "some text");
            cfg.once(async {
                for _ in 0..3 {
                    assert_eq!(fs::metadata(&file).await.unwrap().len(), 9);
                    assert_eq!(fs::read(&file).await.unwrap(), b"some text");
                    let missing = fs::read(folder.join("missing")).await.unwrap_err();
                    assert_eq!(missing.kind(), ErrorKind::NotFound);
                }
            });
        }
    });
}

#[test]
fn all_works_on_a_kernel_without_looks_in_the_cache() {
    isolated(|| all_works_without_openat2(libc::ENOSYS));
}

#[test]
fn all_works_in_a_sandbox_that_forbids_looks_in_the_cache() {
    isolated(|| all_works_without_openat2(libc::EPERM));
}

#[test]
fn without_a_descriptor_metadata_are_there_and_reads_are_errors() {
    isolated(|| {
        let before = getrlimit(Resource::Nofile);
        on_every(|cfg| {
            for folder in TestFolder::everywhere() {
                let file = folder.file("file", "some text");
                cfg.once(async {
                    fs::read(&file).await.unwrap();
                    limit(Resource::Nofile, 200);
                    let mut all = Vec::new();
                    while let Ok(null) = std_fs::File::open("/dev/null") {
                        all.push(null);
                    }
                    for _ in 0..3 {
                        assert_eq!(fs::metadata(&file).await.unwrap().len(), 9);
                        let error = fs::read(&file).await.unwrap_err();
                        let number = PathError::of(&error).unwrap().raw_os_error();
                        assert_eq!(number, Some(libc::EMFILE));
                        assert!(fs::read_dir(&folder).await.is_err());
                        assert!(fs::remove_dir_all(&folder).await.is_err());
                    }
                    drop(all);
                    setrlimit(Resource::Nofile, before).unwrap();
                    assert_eq!(fs::read(&file).await.unwrap(), b"some text");
                });
            }
        });
    });
}

#[test]
fn what_may_not_be_entered_is_named() {
    as_plain_user(
        |_| {},
        || {
            on_every(|cfg| {
                for folder in TestFolder::everywhere() {
                    let at = |name: &str| folder.join(name);
                    for name in ["a", "closed", "z"] {
                        std_fs::create_dir(at(name)).unwrap();
                        std_fs::write(at(name).join("file"), "").unwrap();
                    }
                    let mode = |mode| {
                        let mode = std_fs::Permissions::from_mode(mode);
                        std_fs::set_permissions(at("closed"), mode).unwrap();
                    };
                    mode(0o000);
                    cfg.once(async {
                        for _ in 0..2 {
                            let inside = at("closed/file");
                            let error = fs::try_exists(&inside).await.unwrap_err();
                            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
                            let error = fs::read(&inside).await.unwrap_err();
                            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
                            assert_eq!(PathError::of(&error).unwrap().path(), inside);
                        }
                        let mut walk = fs::walk(&folder);
                        let (mut found, mut errors) = (0, Vec::new());
                        loop {
                            match walk.next_entry().await {
                                Ok(Some(_)) => found += 1,
                                Ok(None) => break,
                                Err(error) => errors.push(error),
                            }
                        }
                        assert_eq!((found, errors.len()), (5, 1));
                        let named = PathError::of(&errors[0]).unwrap();
                        assert_eq!(named.path(), at("closed"));
                        let error = fs::remove_dir_all(&folder).await.unwrap_err();
                        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
                        assert_eq!(PathError::of(&error).unwrap().path(), at("closed"));
                        assert_eq!(PathError::of(&error).unwrap().call(), "remove_dir_all");
                        mode(0o700);
                        // It may be read, but nothing in it removed.
                        mode(0o500);
                        let error = fs::remove_dir_all(&folder).await.unwrap_err();
                        assert_eq!(PathError::of(&error).unwrap().path(), at("closed/file"));
                        mode(0o700);
                        fs::remove_dir_all(&folder).await.unwrap();
                    });
                }
            });
        },
    );
}
