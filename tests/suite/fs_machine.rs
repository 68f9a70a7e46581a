//! Random operations on names, here and in a twin folder by std: the same results, kinds and numbers of
//! errors, and in the end the same trees.

use std::collections::BTreeMap;
use std::fs as std_fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ringloop::fs::{self, PathError, RenameFlags};

use crate::fs_tools::TestFolder;
use crate::harness::{Rng, on_every, scaled};

#[derive(Debug)]
enum Op {
    CreateDir(PathBuf),
    CreateDirAll(PathBuf),
    Write(PathBuf, usize),
    Read(PathBuf),
    ReadDir(PathBuf),
    Walk(PathBuf),
    Metadata(PathBuf),
    SymlinkMetadata(PathBuf),
    Exists(PathBuf),
    SetMode(PathBuf, u32),
    Canonicalize(PathBuf),
    ReadLink(PathBuf),
    Symlink(PathBuf, PathBuf),
    HardLink(PathBuf, PathBuf),
    Rename(PathBuf, PathBuf),
    RenameNew(PathBuf, PathBuf),
    Copy(PathBuf, PathBuf),
    RemoveFile(PathBuf),
    RemoveDir(PathBuf),
    RemoveDirAll(PathBuf),
}

/// A result in words, or the kind and the number of an error.
type Outcome = Result<String, (io::ErrorKind, Option<i32>)>;

/// One to three of a few names. None of them leads out of the folder.
fn path(rng: &mut Rng) -> PathBuf {
    let depth = 1 + rng.below(3);
    (0..depth).map(|_| ["a", "b", "c", "d"][rng.below(4)]).collect()
}

fn random(rng: &mut Rng) -> Op {
    match rng.below(22) {
        0 => Op::CreateDir(path(rng)),
        1 | 2 => Op::CreateDirAll(path(rng)),
        3 | 4 => Op::Write(path(rng), rng.below(5000)),
        5 => Op::Read(path(rng)),
        6 => Op::ReadDir(path(rng)),
        7 => Op::Walk(path(rng)),
        8 => Op::Metadata(path(rng)),
        9 => Op::SymlinkMetadata(path(rng)),
        10 => Op::Exists(path(rng)),
        11 => Op::SetMode(path(rng), [0o700, 0o644, 0o755][rng.below(3)]),
        12 => Op::Canonicalize(path(rng)),
        13 => Op::ReadLink(path(rng)),
        14 => Op::Symlink(path(rng), path(rng)),
        15 => Op::HardLink(path(rng), path(rng)),
        16 => Op::Rename(path(rng), path(rng)),
        17 => Op::RenameNew(path(rng), path(rng)),
        18 => Op::Copy(path(rng), path(rng)),
        19 => Op::RemoveFile(path(rng)),
        20 => Op::RemoveDir(path(rng)),
        _ => Op::RemoveDirAll(path(rng)),
    }
}

/// The parts of metadata that are the same in a twin. Sizes of folders are not.
fn of(metadata: &std_fs::Metadata) -> String {
    let len = if metadata.is_dir() { 0 } else { metadata.len() };
    format!("{:o} {len} {}", metadata.mode(), metadata.nlink())
}

/// All below a folder: kinds, and contents of files.
fn tree(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std_fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = std_fs::symlink_metadata(&path).unwrap();
            let mut text = of(&metadata);
            if metadata.is_dir() {
                folders.push(path.clone());
            } else if metadata.is_file() {
                text += &format!(" {:?}", std_fs::read(&path).unwrap());
            }
            found.insert(path.strip_prefix(root).unwrap().to_owned(), text);
        }
    }
    found
}

fn sorted(mut names: Vec<String>) -> String {
    names.sort();
    names.join(" ")
}

fn by_std(root: &Path, op: &Op) -> io::Result<String> {
    let at = |path: &PathBuf| root.join(path);
    match op {
        Op::CreateDir(path) => std_fs::create_dir(at(path)).map(|()| String::new()),
        Op::CreateDirAll(path) => std_fs::create_dir_all(at(path)).map(|()| String::new()),
        Op::Write(path, len) => std_fs::write(at(path), vec![7; *len]).map(|()| String::new()),
        Op::Read(path) => std_fs::read(at(path)).map(|content| content.len().to_string()),
        Op::ReadDir(path) => {
            let entries = std_fs::read_dir(at(path))?.map(Result::unwrap);
            let words = entries.map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                format!("{name}:{:?}", entry.file_type().unwrap())
            });
            Ok(sorted(words.collect()))
        }
        Op::Walk(path) => {
            std_fs::read_dir(at(path))?;
            Ok(sorted(tree(&at(path)).keys().map(|path| path.display().to_string()).collect()))
        }
        Op::Metadata(path) => std_fs::metadata(at(path)).map(|found| of(&found)),
        Op::SymlinkMetadata(path) => std_fs::symlink_metadata(at(path)).map(|found| of(&found)),
        Op::Exists(path) => std_fs::exists(at(path)).map(|there| there.to_string()),
        Op::SetMode(path, mode) => {
            let mode = std_fs::Permissions::from_mode(*mode);
            std_fs::set_permissions(at(path), mode).map(|()| String::new())
        }
        Op::Canonicalize(path) => std_fs::canonicalize(at(path)).map(|path| below(root, &path)),
        Op::ReadLink(path) => std_fs::read_link(at(path)).map(|path| path.display().to_string()),
        Op::Symlink(text, path) => {
            std::os::unix::fs::symlink(text, at(path)).map(|()| String::new())
        }
        Op::HardLink(from, to) => std_fs::hard_link(at(from), at(to)).map(|()| String::new()),
        Op::Rename(from, to) => std_fs::rename(at(from), at(to)).map(|()| String::new()),
        Op::RenameNew(from, to) => {
            let flags = rustix::fs::RenameFlags::NOREPLACE;
            let (cwd, from, to) = (rustix::fs::CWD, at(from), at(to));
            Ok(rustix::fs::renameat_with(cwd, from, cwd, to, flags).map(|()| String::new())?)
        }
        Op::Copy(from, to) => std_fs::copy(at(from), at(to)).map(|len| len.to_string()),
        Op::RemoveFile(path) => std_fs::remove_file(at(path)).map(|()| String::new()),
        Op::RemoveDir(path) => std_fs::remove_dir(at(path)).map(|()| String::new()),
        Op::RemoveDirAll(path) => std_fs::remove_dir_all(at(path)).map(|()| String::new()),
    }
}

async fn by_ours(root: &Path, op: &Op) -> io::Result<String> {
    let at = |path: &PathBuf| root.join(path);
    let nothing = |()| String::new();
    match op {
        Op::CreateDir(path) => fs::create_dir(at(path)).await.map(nothing),
        Op::CreateDirAll(path) => fs::create_dir_all(at(path)).await.map(nothing),
        Op::Write(path, len) => fs::write(at(path), vec![7; *len]).await.map(nothing),
        Op::Read(path) => fs::read(at(path)).await.map(|content| content.len().to_string()),
        Op::ReadDir(path) => {
            let mut entries = fs::read_dir(at(path)).await?;
            let mut words = Vec::new();
            while let Some(entry) = entries.next_entry().await? {
                let name = entry.file_name().to_str().unwrap();
                words.push(format!("{name}:{:?}", entry.file_type()?));
            }
            Ok(sorted(words))
        }
        Op::Walk(path) => {
            let mut entries = fs::walk(at(path));
            let mut words = Vec::new();
            while let Some(entry) = entries.next_entry().await? {
                words.push(entry.path().strip_prefix(at(path)).unwrap().display().to_string());
            }
            Ok(sorted(words))
        }
        Op::Metadata(path) => fs::metadata(at(path)).await.map(|found| of(&found)),
        Op::SymlinkMetadata(path) => fs::symlink_metadata(at(path)).await.map(|found| of(&found)),
        Op::Exists(path) => fs::try_exists(at(path)).await.map(|there| there.to_string()),
        Op::SetMode(path, mode) => {
            let mode = std_fs::Permissions::from_mode(*mode);
            fs::set_permissions(at(path), mode).await.map(nothing)
        }
        Op::Canonicalize(path) => fs::canonicalize(at(path)).await.map(|path| below(root, &path)),
        Op::ReadLink(path) => fs::read_link(at(path)).await.map(|path| path.display().to_string()),
        Op::Symlink(text, path) => fs::symlink(text, at(path)).await.map(nothing),
        Op::HardLink(from, to) => fs::hard_link(at(from), at(to)).await.map(nothing),
        Op::Rename(from, to) => fs::rename(at(from), at(to)).await.map(nothing),
        Op::RenameNew(from, to) => {
            fs::rename_with(at(from), at(to), RenameFlags::NoReplace).await.map(nothing)
        }
        Op::Copy(from, to) => fs::copy(at(from), at(to)).await.map(|len| len.to_string()),
        Op::RemoveFile(path) => fs::remove_file(at(path)).await.map(nothing),
        Op::RemoveDir(path) => fs::remove_dir(at(path)).await.map(nothing),
        Op::RemoveDirAll(path) => fs::remove_dir_all(at(path)).await.map(nothing),
    }
}

fn below(root: &Path, path: &Path) -> String {
    let root = std_fs::canonicalize(root).unwrap();
    path.strip_prefix(root).unwrap().display().to_string()
}

/// A copy of a file to itself empties it in std, and is an error here.
fn is_a_copy_to_itself(root: &Path, op: &Op) -> bool {
    let Op::Copy(from, to) = op else { return false };
    let id = |path: &PathBuf| {
        let found = std_fs::metadata(root.join(path)).ok()?;
        Some((found.dev(), found.ino()))
    };
    id(from).is_some() && id(from) == id(to)
}

#[test]
fn random_operations_have_the_results_of_std() {
    on_every(|cfg| {
        for (salt, (ours, twin)) in
            TestFolder::everywhere().into_iter().zip(TestFolder::everywhere()).enumerate()
        {
            let mut rng = cfg.rng(salt as u64);
            cfg.once(async {
                let mut log: Vec<String> = Vec::new();
                for _ in 0..scaled(400) {
                    let op = random(&mut rng);
                    if is_a_copy_to_itself(&twin, &op) {
                        continue;
                    }
                    let std: Outcome =
                        by_std(&twin, &op).map_err(|error| (error.kind(), error.raw_os_error()));
                    let found: Outcome = by_ours(&ours, &op).await.map_err(|error| {
                        let named = PathError::of(&error).expect("it names the path");
                        assert!(named.path().starts_with(&ours) || matches!(op, Op::Symlink(..)));
                        (error.kind(), named.raw_os_error())
                    });
                    log.push(format!("{op:?}: {std:?}"));
                    assert_eq!(found, std, "after {log:#?}");
                }
                assert_eq!(tree(&ours), tree(&twin), "after {log:#?}");
            });
        }
    });
}
