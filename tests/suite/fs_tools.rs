//! Folders for the tests of files: one on the disk and one in memory, removed at the end.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A folder that is removed with all that is in it.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new_in(parent: &Path) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("ringloop-fs-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A new folder on each kind of file system that there is: the one for temporary files, and one in memory.
pub fn folders() -> Vec<Folder> {
    let mut places = vec![std::env::temp_dir()];
    let in_memory = Path::new("/dev/shm");
    if in_memory.is_dir() {
        places.push(in_memory.to_owned());
    }
    places.iter().map(|place| Folder::new_in(place)).collect()
}
