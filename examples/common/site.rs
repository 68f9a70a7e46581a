//! What servers of static files share: from a request to a file and a part of it.

use std::{
    ops::Range,
    path::{Component, Path, PathBuf},
};

/// The file for the path of a request. Nothing outside of the folder has one, unless a link in it leads there.
pub fn path_of(folder: &Path, path: &str) -> Option<PathBuf> {
    let mut found = folder.to_owned();
    for part in Path::new(path.trim_start_matches('/')).components() {
        match part {
            Component::Normal(name) => found.push(name),
            _ => return None,
        }
    }
    Some(found)
}

/// What a header `Range` asks for.
pub enum Asked {
    Part(Range<u64>),
    /// More than one range, or none that can be understood.
    Unknown,
    /// Only what is behind the end.
    Behind,
}

pub fn part_of(range: &str, len: u64) -> Asked {
    let ends = range.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
    let Some((first, last)) = ends else { return Asked::Unknown };
    let part = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(len),
        (Ok(first), Err(_)) if last.is_empty() => first..len,
        // The last bytes.
        (Err(_), Ok(count)) if first.is_empty() => len.saturating_sub(count)..len,
        _ => return Asked::Unknown,
    };
    if part.start < part.end { Asked::Part(part) } else { Asked::Behind }
}
