//! The example `cp`: trees are copied as they are.

use std::collections::BTreeMap;
use std::fs as std_fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::fs_tools::{TestFolder, descriptors_below};
use crate::harness::on_every;

#[allow(dead_code, reason = "it has a main of its own")]
#[path = "../../examples/cp.rs"]
mod cp;

/// Modes, and contents or texts of links.
fn tree(root: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std_fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = std_fs::symlink_metadata(&path).unwrap();
            let content = if metadata.is_dir() {
                folders.push(path.clone());
                Vec::new()
            } else if metadata.is_symlink() {
                std_fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else {
                std_fs::read(&path).unwrap()
            };
            found.insert(path.strip_prefix(root).unwrap().to_owned(), (metadata.mode(), content));
        }
    }
    found
}

#[test]
fn a_tree_is_copied_with_links_and_permissions() {
    let from = TestFolder::new();
    for part in ["", "a", "a/b", "c", "c/d/e"] {
        std_fs::create_dir_all(from.join(part)).unwrap();
        for number in 0..12 {
            let path = from.join(part).join(number.to_string());
            std_fs::write(path, vec![number; 1000 * number as usize]).unwrap();
        }
        symlink("0", from.join(part).join("link")).unwrap();
        symlink("no such file", from.join(part).join("dangling")).unwrap();
    }
    for (path, mode) in [("a/1", 0o400), ("a", 0o500), ("c/d", 0o700)] {
        std_fs::set_permissions(from.join(path), std_fs::Permissions::from_mode(mode)).unwrap();
    }
    let wanted = tree(&from);
    on_every(|cfg| {
        for folder in TestFolder::everywhere() {
            let to = folder.join("copy");
            cfg.once(async {
                let progress = Arc::new(cp::Progress::default());
                let errors = cp::copy_tree(&from, &to, &progress).await;
                assert!(errors.is_empty(), "{errors:?}");
                assert_eq!(progress.files.load(Ordering::Relaxed), 5 * 14);
                assert_eq!(progress.bytes.load(Ordering::Relaxed), 5 * 66_000);
            });
            assert!(tree(&to) == wanted);
            assert_eq!(descriptors_below(&folder) + descriptors_below(&from), 0);
        }
    });
    std_fs::set_permissions(from.join("a"), std_fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn what_cannot_be_copied_is_named_and_the_rest_is_copied() {
    on_every(|cfg| {
        let folder = TestFolder::new();
        let (from, to) = (folder.join("from"), folder.join("to"));
        std_fs::create_dir(&from).unwrap();
        for name in ["a", "b", "c"] {
            std_fs::write(from.join(name), name).unwrap();
        }
        // A folder is in the way of a file.
        std_fs::create_dir_all(to.join("b")).unwrap();
        cfg.once(async {
            let progress = Arc::new(cp::Progress::default());
            let errors = cp::copy_tree(&from, &to, &progress).await;
            assert_eq!(errors.len(), 1);
            assert!(errors[0].to_string().contains("from/b"), "{}", errors[0]);
            assert_eq!(progress.files.load(Ordering::Relaxed), 2);
            let errors = cp::copy_tree(&from, &from.join("inside"), &progress).await;
            assert!(errors[0].to_string().contains("into itself"));
            let errors = cp::copy_tree(&folder.join("missing"), &to, &progress).await;
            assert_eq!(errors[0].kind(), std::io::ErrorKind::NotFound);
        });
        assert!(to.join("a").is_file() && to.join("c").is_file());
    });
}
