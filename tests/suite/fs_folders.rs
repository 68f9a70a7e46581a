//! Folders: made, read, walked through, removed.

use std::collections::BTreeSet;
use std::fs as std_fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use ringloop::fs::{self, DirBuilder, PathError};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};

use crate::fs_tools::{TestFolder, descriptors_below};
use crate::harness::on_every;

/// Makes a chain of folders, each in the one before, which may be longer than a path can be.
fn chain(root: &Path, depth: usize) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut folder = openat(CWD, root, flags, Mode::empty()).unwrap();
    for _ in 0..depth {
        mkdirat(&folder, "d", Mode::from_raw_mode(0o755)).unwrap();
        folder = openat(&folder, "d", flags, Mode::empty()).unwrap();
    }
}

#[test]
fn folders_are_made_and_removed_as_by_std() {
    on_every(|cfg| {
        for folder in TestFolder::everywhere() {
            let at = |name: &str| folder.join(name);
            let file = folder.file("file", "");
            cfg.once(async {
                fs::create_dir(at("a")).await.unwrap();
                for taken in [at("a"), file.clone()] {
                    let error = fs::create_dir(&taken).await.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
                }
                let error = fs::create_dir(at("b/c")).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::NotFound);
                for _ in 0..2 {
                    fs::create_dir_all(at("b/c/d")).await.unwrap();
                }
                let error = fs::create_dir_all(file.join("x")).await.unwrap_err();
                let std = std_fs::create_dir_all(file.join("x")).unwrap_err();
                assert_eq!(error.kind(), std.kind());

                let mut builder = DirBuilder::new();
                builder.mode(0o700);
                builder.create(at("private")).await.unwrap();
                assert_eq!(std_fs::metadata(at("private")).unwrap().mode() & 0o777, 0o700);
                let error = builder.create(at("private")).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::AlreadyExists);
                builder.recursive(true).create(at("private/x/y")).await.unwrap();
                assert_eq!(std_fs::metadata(at("private/x")).unwrap().mode() & 0o777, 0o700);

                let error = fs::remove_dir(at("b")).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::DirectoryNotEmpty);
                let error = fs::remove_dir(&file).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::NotADirectory);
                fs::remove_dir(at("a")).await.unwrap();
                let error = fs::remove_dir(at("a")).await.unwrap_err();
                assert_eq!(PathError::of(&error).unwrap().path(), at("a"));
            });
            assert_eq!(folder.names(), ["b", "file", "private"]);
        }
    });
}

#[test]
fn many_tasks_make_the_same_folders_at_the_same_time() {
    on_every(|cfg| {
        for folder in TestFolder::everywhere() {
            cfg.once(async {
                for round in 0..20 {
                    let path = folder.join(format!("{round}/a/b/c/d"));
                    let make = || ringloop::spawn(fs::create_dir_all(path.clone()));
                    let tasks: Vec<_> = (0..8).map(|_| make()).collect();
                    for task in tasks {
                        task.await.unwrap().unwrap();
                    }
                    assert!(path.is_dir());
                }
            });
        }
    });
}

#[test]
fn a_tree_is_removed_without_what_its_links_lead_to() {
    on_every(|cfg| {
        for folder in TestFolder::everywhere() {
            let at = |name: &str| folder.join(name);
            std_fs::create_dir_all(at("outside/kept")).unwrap();
            std_fs::write(at("outside/file"), "kept").unwrap();
            for part in ["tree/a/b", "tree/c"] {
                std_fs::create_dir_all(at(part)).unwrap();
                for number in 0..40 {
                    std_fs::write(at(part).join(number.to_string()), "x").unwrap();
                }
                symlink(at("outside"), at(part).join("link")).unwrap();
                symlink("nowhere", at(part).join("dangling")).unwrap();
            }
            symlink("tree", at("link")).unwrap();
            let file = folder.file("file", "");
            cfg.once(async {
                // A link itself, not the tree.
                fs::remove_dir_all(at("link")).await.unwrap();
                assert!(at("tree/a/b/0").exists() && !at("link").exists());
                fs::remove_dir_all(at("tree")).await.unwrap();
                for (path, kind) in
                    [(&file, ErrorKind::NotADirectory), (&at("tree"), ErrorKind::NotFound)]
                {
                    let error = fs::remove_dir_all(path).await.unwrap_err();
                    assert_eq!(error.kind(), kind);
                    assert_eq!(PathError::of(&error).unwrap().path(), path);
                    assert_eq!(std_fs::remove_dir_all(path).unwrap_err().kind(), kind);
                }
            });
            assert_eq!(folder.names(), ["file", "outside"]);
            assert_eq!(std_fs::read(at("outside/file")).unwrap(), b"kept");
            assert!(at("outside/kept").is_dir());
        }
    });
}

#[test]
fn a_tree_deeper_than_a_path_can_be_is_removed() {
    on_every(|cfg| {
        let folder = TestFolder::in_memory();
        chain(&folder, 2200);
        cfg.once(async {
            fs::remove_dir_all(folder.join("d")).await.unwrap();
        });
        assert_eq!(folder.names(), [""; 0]);
    });
}

#[test]
fn a_deep_tree_takes_few_descriptors() {
    on_every(|cfg| {
        let folder = TestFolder::in_memory();
        let root = std_fs::canonicalize(&folder).unwrap();
        chain(&folder, 200);
        let (ends, most) = (AtomicBool::new(false), Arc::new(AtomicUsize::new(0)));
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !ends.load(Ordering::SeqCst) {
                    most.fetch_max(descriptors_below(&root), Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            cfg.once(async {
                let mut entries = 0;
                let (below, open) = (root.clone(), most.clone());
                let mut tree = fs::walk(&root).enter_if(move |_| {
                    open.fetch_max(descriptors_below(&below), Ordering::SeqCst);
                    true
                });
                while let Some(entry) = tree.next_entry().await.unwrap() {
                    entries += 1;
                    assert_eq!(entry.depth(), entries);
                }
                assert_eq!(entries, 200);
                fs::remove_dir_all(folder.join("d")).await.unwrap();
            });
            ends.store(true, Ordering::SeqCst);
        });
        let most = most.load(Ordering::SeqCst);
        assert!(most <= 36, "{most} descriptors at a time");
        assert_eq!(descriptors_below(&root), 0);
    });
}

#[test]
fn a_folder_that_is_replaced_by_a_link_meanwhile_leads_nowhere() {
    on_every(|cfg| {
        let folder = TestFolder::in_memory();
        let at = |name: &str| folder.join(name);
        std_fs::create_dir(at("outside")).unwrap();
        for number in 0..10 {
            std_fs::write(at("outside").join(format!("kept {number}")), "").unwrap();
        }
        let ends = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                // The folder that is about to be entered is a link for a moment.
                while !ends.load(Ordering::SeqCst) {
                    if std_fs::rename(at("tree/a"), at("aside")).is_ok() {
                        let _ = symlink(at("outside"), at("tree/a"));
                        std::thread::yield_now();
                        let _ = std_fs::remove_file(at("tree/a"));
                        let _ = std_fs::rename(at("aside"), at("tree/a"));
                    }
                }
            });
            cfg.once(async {
                for _ in 0..30 {
                    fs::create_dir_all(at("tree/a/b")).await.ok();
                    for number in 0..10 {
                        std_fs::write(at("tree/a/b").join(number.to_string()), "").ok();
                    }
                    // It may fail: names come and go.
                    fs::remove_dir_all(at("tree")).await.ok();
                }
            });
            ends.store(true, Ordering::SeqCst);
        });
        for number in 0..10 {
            assert!(at("outside").join(format!("kept {number}")).exists());
        }
    });
}

#[test]
fn a_removal_that_is_given_up_stops() {
    on_every(|cfg| {
        let folder = TestFolder::in_memory();
        for number in 0..3000 {
            folder.file(&number.to_string(), "");
        }
        let left = || std_fs::read_dir(&*folder).map_or(0, |entries| entries.count());
        let mut given_up = 0;
        cfg.once(async {
            let mut removal = Box::pin(fs::remove_dir_all(&folder));
            let mut ended = removal.as_mut().now_or_never().is_some();
            // Until the thread has begun.
            while !ended && left() == 3000 {
                ended = removal.as_mut().now_or_never().is_some();
            }
            drop(removal);
            given_up = left();
        });
        // The end of the runtime has waited for the thread, which may have removed one more name.
        assert!(left() + 1 >= given_up, "it went on: {given_up} were left, {} are", left());
        assert_eq!(descriptors_below(&folder), 0);
    });
}

#[test]
fn the_names_of_a_folder_are_those_of_std() {
    let folders = TestFolder::everywhere();
    for folder in &folders {
        for count in [0, 1, 1023, 1024, 1025, 3000] {
            let place = folder.join(count.to_string());
            std_fs::create_dir(&place).unwrap();
            for number in 0..count {
                let path = place.join(format!("name {number}"));
                match number % 3 {
                    0 => std_fs::write(path, "").unwrap(),
                    1 => symlink("x", path).unwrap(),
                    _ => drop(rustix::fs::mkdir(path, Mode::from_raw_mode(0o700))),
                }
            }
        }
    }
    on_every(|cfg| {
        for folder in &folders {
            cfg.once(async {
                for count in [0, 1, 1023, 1024, 1025, 3000] {
                    let place = folder.join(count.to_string());
                    let mut ours = Vec::new();
                    let mut entries = fs::read_dir(&place).await.unwrap();
                    while let Some(entry) = entries.next_entry().await.unwrap() {
                        assert_eq!(entry.path(), place.join(entry.file_name()));
                        let kind = entry.file_type().unwrap();
                        if ours.len() < 3 {
                            let metadata = entry.metadata().await.unwrap();
                            assert_eq!((metadata.ino(), metadata.file_type()), (entry.ino(), kind));
                        }
                        ours.push((entry.file_name().to_owned(), kind.is_dir(), entry.ino()));
                    }
                    assert!(entries.next_entry().await.unwrap().is_none());
                    let as_stream = fs::read_dir(&place).await.unwrap();
                    assert_eq!(as_stream.map(Result::unwrap).count().await, count);

                    let std = std_fs::read_dir(&place).unwrap().map(|entry| {
                        use std::os::unix::fs::DirEntryExt;
                        let entry = entry.unwrap();
                        let is_dir = entry.file_type().unwrap().is_dir();
                        (entry.file_name(), is_dir, entry.ino())
                    });
                    let mut std: Vec<_> = std.collect();
                    ours.sort();
                    std.sort();
                    assert_eq!(ours, std);
                }
                for path in [folder.join("missing"), folder.join("1/name 0")] {
                    let ours = fs::read_dir(&path).await.unwrap_err();
                    assert_eq!(ours.kind(), std_fs::read_dir(&path).unwrap_err().kind());
                    assert_eq!(PathError::of(&ours).unwrap().path(), path);
                }
            });
            assert_eq!(descriptors_below(&std_fs::canonicalize(folder).unwrap()), 0);
        }
    });
}

#[test]
fn entries_that_are_given_up_come_the_next_time() {
    on_every(|cfg| {
        let folder = TestFolder::in_memory();
        for number in 0..2500 {
            folder.file(&number.to_string(), "");
        }
        cfg.once(async {
            let mut names = BTreeSet::new();
            let mut entries = fs::read_dir(&folder).await.unwrap();
            let mut given_up = 0;
            loop {
                let found = match entries.next_entry().now_or_never() {
                    Some(found) => found,
                    None => {
                        given_up += 1;
                        entries.next_entry().await
                    }
                };
                let Some(entry) = found.unwrap() else { break };
                assert!(names.insert(entry.file_name().to_owned()));
            }
            assert!(names.len() == 2500 && given_up <= 2);

            // Dropped while a thread reads.
            let mut entries = fs::read_dir(&folder).await.unwrap();
            for _ in 0..1024 {
                entries.next_entry().await.unwrap();
            }
            let _ = entries.next_entry().now_or_never();
        });
        assert_eq!(descriptors_below(&std_fs::canonicalize(&folder).unwrap()), 0);
    });
}

/// All below a folder, by std.
fn tree(folder: &Path) -> BTreeSet<(PathBuf, u64)> {
    let mut found = BTreeSet::new();
    for entry in std_fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        found.insert((entry.path(), entry.metadata().unwrap().ino()));
        if entry.file_type().unwrap().is_dir() {
            found.extend(tree(&entry.path()));
        }
    }
    found
}

/// Folders of several sizes, some of them deep, and links to folders above.
fn make_tree(folder: &Path) {
    for (depth, count) in [(1, 1500), (2, 3), (20, 2)] {
        let mut place = folder.to_path_buf();
        for level in 0..depth {
            place.push(format!("{depth}-{level}"));
            std_fs::create_dir(&place).unwrap();
            symlink(folder, place.join("up")).unwrap();
            for number in 0..count {
                std_fs::write(place.join(number.to_string()), "12345").unwrap();
            }
        }
    }
}

#[test]
fn a_walk_comes_to_all_that_is_in_a_tree_once() {
    let folders = TestFolder::everywhere();
    folders.iter().for_each(|folder| make_tree(folder));
    on_every(|cfg| {
        for folder in &folders {
            let all = tree(folder);
            cfg.once(async {
                let mut found = BTreeSet::new();
                let mut seen = BTreeSet::from([folder.to_path_buf()]);
                let mut walk = fs::walk(folder).metadata(true);
                while let Some(entry) = walk.next_entry().await.unwrap() {
                    let metadata = entry.metadata().unwrap();
                    assert_eq!(metadata.file_type(), entry.file_type());
                    let below = entry.path().strip_prefix(folder).unwrap();
                    assert_eq!(entry.depth(), below.components().count());
                    assert!(seen.contains(entry.path().parent().unwrap()), "a folder comes first");
                    seen.insert(entry.path().to_owned());
                    assert!(found.insert((entry.path().to_owned(), metadata.ino())));
                }
                assert_eq!(found, all);

                let shallow = fs::walk(folder).max_depth(1).map(|entry| {
                    let entry = entry.unwrap();
                    assert!(entry.metadata().is_none());
                    entry.into_path().file_name().unwrap().to_owned()
                });
                let shallow: BTreeSet<_> = shallow.collect().await;
                assert!(shallow.iter().eq(["1-0", "2-0", "20-0"]));
                assert_eq!(fs::walk(folder).max_depth(0).count().await, 0);

                let chosen = fs::walk(folder).enter_if(|entry| !entry.path().ends_with("1-0"));
                let below = folder.join("1-0").join("0");
                let chosen = chosen.map(|entry| entry.unwrap().into_path());
                let chosen: BTreeSet<_> = chosen.collect().await;
                assert!(chosen.contains(&folder.join("1-0")) && !chosen.contains(&below));
                assert!(chosen.contains(&folder.join("2-0/2-1/0")));
            });
            assert_eq!(descriptors_below(&std_fs::canonicalize(folder).unwrap()), 0);
        }
    });
}

#[test]
fn a_walk_goes_on_after_what_it_cannot_read() {
    on_every(|cfg| {
        let folder = TestFolder::new();
        for name in ["a", "b", "c"] {
            std_fs::create_dir(folder.join(name)).unwrap();
            std_fs::write(folder.join(name).join("file"), "").unwrap();
        }
        cfg.once(async {
            // Gone before it is entered.
            let walk = fs::walk(&folder).enter_if(|entry| {
                if entry.path().ends_with("b") {
                    std_fs::remove_dir_all(entry.path()).unwrap();
                }
                true
            });
            let all: Vec<_> = walk.collect().await;
            assert_eq!(all.len(), 6);
            let errors: Vec<_> = all.iter().filter_map(|entry| entry.as_ref().err()).collect();
            assert_eq!(errors.len(), 1);
            assert_eq!(errors[0].kind(), ErrorKind::NotFound);
            assert_eq!(PathError::of(errors[0]).unwrap().path(), folder.join("b"));

            let mut none = fs::walk(folder.join("missing"));
            assert_eq!(none.next_entry().await.unwrap_err().kind(), ErrorKind::NotFound);
            assert!(none.next_entry().await.unwrap().is_none());
        });
    });
}

#[test]
fn a_walk_that_is_given_up_stops() {
    on_every(|cfg| {
        let folder = TestFolder::in_memory();
        make_tree(&folder);
        let looked = Arc::new(AtomicUsize::new(0));
        cfg.once(async {
            let count = looked.clone();
            let mut walk = fs::walk(&folder).enter_if(move |_| {
                count.fetch_add(1, Ordering::SeqCst);
                true
            });
            walk.next_entry().await.unwrap();
            drop(walk);
        });
        assert!(looked.load(Ordering::SeqCst) <= 23);
        assert_eq!(descriptors_below(&std_fs::canonicalize(&folder).unwrap()), 0);
        std_fs::set_permissions(&folder, std_fs::Permissions::from_mode(0o755)).unwrap();
    });
}
