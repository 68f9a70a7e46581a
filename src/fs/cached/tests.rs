//! What a thread remembers of folders and mounts, and opens by it.

use std::{
    env,
    fs::OpenOptions,
    io::{Read, Write},
    path::PathBuf,
};

use futures_util::FutureExt;
use rustix::fs::{fcntl_getfl, mknodat};

use super::*;
use crate::Builder;

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("ringloop-cached-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        let path = self.0.join("file");
        fs::write(&path, "some text").unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn place(path: &Path) -> Place {
    Place::of(File::open(path).unwrap()).unwrap()
}

#[test]
fn file_systems_are_known_by_their_numbers() {
    assert_eq!(place(Path::new("/proc/self/stat")).system, FileSystem::Other);
    if Path::new("/dev/shm").is_dir() {
        let found = place(Path::new("/dev/shm"));
        assert!(found.system == FileSystem::Memory || found.mount == place(Path::new("/")).mount);
    }
    assert_ne!(place(Path::new("/proc")).mount, place(Path::new("/")).mount);
}

#[test]
fn a_file_in_a_known_folder_is_opened_at_once_and_as_others_are() {
    let folder = Folder::new("open");
    let path = folder.file();
    if place(&path).system == FileSystem::Other {
        return;
    }
    let main = async {
        let flags = OFlags::RDWR | OFlags::APPEND;
        for at_once in [false, true, true] {
            assert_eq!(is_known(&path), at_once);
            let mut opened = Box::pin(open("open", &path, flags, Mode::empty()));
            let file = match at_once {
                true => opened.now_or_never().expect("at once").unwrap(),
                false => opened.as_mut().await.unwrap(),
            };
            let found = fcntl_getfl(&file).unwrap();
            assert!(found.contains(flags) && !found.contains(OFlags::NONBLOCK), "{found:?}");
            let mut text = String::new();
            File::from(file).read_to_string(&mut text).unwrap();
            assert_eq!(text, "some text");
        }
        // These are never in the cache.
        let made = open("open", &folder.0.join("new"), OFlags::CREATE, Mode::RUSR).await;
        drop(made.unwrap());
        let error = open("open", &folder.0.join("none"), flags, Mode::empty()).await.unwrap_err();
        assert_eq!(PathError::of(&error).unwrap().call(), "open");
    };
    Builder::new().workers(1).run(main).unwrap();
}

#[test]
fn a_folder_on_another_mount_than_remembered_is_forgotten() {
    let folder = Folder::new("mount");
    let path = folder.file();
    let mut wrong = place(&path);
    wrong.mount += 1;
    wrong.system = FileSystem::Disk;
    remember(&path, wrong);
    assert!(matches!(open_now(&path, OFlags::RDONLY), Looked::Ask(None)));
    assert!(!is_known(&path));
}

#[test]
fn a_file_system_that_may_ask_others_is_left_to_threads() {
    let folder = Folder::new("other");
    let path = folder.file();
    let other = Place { system: FileSystem::Other, ..place(&path) };
    remember(&path, other);
    assert!(matches!(open_now(&path, OFlags::RDONLY), Looked::Ask(None)));
    // Its name is asked for nothing but its mount.
    assert!(matches!(metadata_now(&path, true), Looked::Ask(_)));
    assert!(is_known(&path));
}

#[test]
fn a_writer_of_a_named_pipe_that_comes_between_two_opens_is_heard() {
    let folder = Folder::new("pipe");
    let path = folder.0.join("pipe");
    let found = place(&folder.0);
    remember(&path, found);
    mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    // Into the cache.
    fs::symlink_metadata(&path).unwrap();
    let held = match open_now(&path, OFlags::RDONLY) {
        Looked::Ask(held) => held,
        Looked::Known(_) => panic!("a pipe may have to be waited for"),
    };
    if held.is_none() {
        // Not a system whose names are looked up here.
        return;
    }
    let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
    writer.write_all(b"heard").unwrap();
    drop(writer);
    let file = open_blocking(&path, OFlags::RDONLY, Mode::empty(), held).unwrap();
    let mut text = String::new();
    File::from(file).read_to_string(&mut text).unwrap();
    assert_eq!(text, "heard");
}
