//! Processes that are killed at each step.

use std::{
    env,
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
};

use rustix::process::{Signal, getpid, kill_process};

use super::*;

const STEPS: u32 = 10;
const FILE: &str = "RINGLOOP_TEST_DURABLE_FILE";
const KILLED_AT: &str = "RINGLOOP_TEST_DURABLE_STEP";

/// Kills this process, if it is a child that is to end at that step.
pub(super) fn step(number: u32) {
    if env::var(KILLED_AT).is_ok_and(|at| at == number.to_string()) {
        kill_process(getpid(), Signal::KILL).unwrap();
        loop {
            std::thread::park();
        }
    }
}

/// The child: it writes the file that it is given, and is killed meanwhile.
#[test]
fn child() {
    if let Some(path) = env::var_os(FILE) {
        replace(path.as_ref(), &content(b'n')).unwrap();
    }
}

fn content(byte: u8) -> Vec<u8> {
    vec![byte; 200_000]
}

/// Has a child write a file, up to a step.
fn killed_at(path: &Path, step: u32) {
    let mut child = Command::new(env::current_exe().unwrap());
    let name = format!("{}::child", module_path!().split_once("::").unwrap().1);
    child.args(["--exact", &name]).env(FILE, path).env(KILLED_AT, step.to_string());
    let status = child.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.signal(), Some(9), "step {step} was not reached: {status}");
}

fn folder() -> PathBuf {
    let path = env::temp_dir().join(format!("ringloop-durable-{}", unique()));
    fs::create_dir(&path).unwrap();
    path
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_process_that_is_killed_at_any_step_leaves_the_old_or_the_new_content() {
    let folder = folder();
    let path = folder.join("file");
    for step in 0..STEPS {
        fs::write(&path, content(b'o')).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        killed_at(&path, step);
        let found = fs::read(&path).unwrap();
        let wanted = content(if step < 8 { b'o' } else { b'n' });
        assert!(found == wanted, "step {step}: {} bytes", found.len());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        let left = names(&folder).len() - 1;
        assert_eq!(left, usize::from(step == 7), "step {step}: {:?}", names(&folder));
        // The next one cleans up.
        replace(&path, b"next").unwrap();
        assert_eq!(names(&folder), ["file"]);
        assert_eq!(fs::read(&path).unwrap(), b"next");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_new_file_is_whole_or_not_there() {
    let folder = folder();
    let path = folder.join("file");
    // It needs no second name.
    for step in (0..STEPS).filter(|step| ![6, 7].contains(step)) {
        killed_at(&path, step);
        match fs::read(&path) {
            Ok(found) => assert!(step >= 8 && found == content(b'n')),
            Err(_) => assert!(step < 8),
        }
        let there = if step < 8 { vec![] } else { vec!["file"] };
        assert_eq!(names(&folder), there);
        let _ = fs::remove_file(&path);
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn many_crashes_leave_one_file() {
    let folder = folder();
    let path = folder.join("file");
    fs::write(&path, "old").unwrap();
    for _ in 0..5 {
        killed_at(&path, 7);
    }
    assert_eq!(names(&folder), [".file.durable-0", "file"]);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_temporary_file_of_a_writer_that_lives_is_left_alone() {
    let folder = folder();
    let path = folder.join("file");
    fs::write(&path, "old").unwrap();
    let other = File::create(folder.join(".file.durable-0")).unwrap();
    flock(&other, FlockOperation::NonBlockingLockExclusive).unwrap();
    replace(&path, b"new").unwrap();
    assert_eq!(names(&folder), [".file.durable-0", "file"]);
    drop(other);
    replace(&path, b"newer").unwrap();
    assert_eq!(names(&folder), ["file"]);
    fs::remove_dir_all(folder).unwrap();
}
