//! Folders for the tests of files.

use std::{
    fs,
    ops::Deref,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// A new folder, which is removed with all that is in it.
pub struct TestFolder(PathBuf);

impl TestFolder {
    /// On the file system of temporary files.
    pub fn new() -> TestFolder {
        TestFolder::below(&std::env::temp_dir())
    }

    /// One on the file system of temporary files, and one in memory.
    pub fn everywhere() -> Vec<TestFolder> {
        let mut all = vec![TestFolder::new()];
        if Path::new("/dev/shm").is_dir() {
            all.push(TestFolder::below(Path::new("/dev/shm")));
        }
        all
    }

    /// In memory, if the machine has such a file system: for tests of many names.
    pub fn in_memory() -> TestFolder {
        TestFolder::everywhere().pop().expect("there is one")
    }

    fn below(parent: &Path) -> TestFolder {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("ringloop-fs-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        TestFolder(path)
    }

    /// A file with this content.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// The names in it, in their order.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Deref for TestFolder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for TestFolder {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// How many descriptors this process has that lead below a folder.
pub fn descriptors_below(folder: &Path) -> usize {
    let entries = fs::read_dir("/proc/self/fd").unwrap();
    let links = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links.filter(|link| link.starts_with(folder)).count()
}
