//! Machine, kernel, toolchain, versions and the command: the conditions of every figure.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::cli::Options;
use crate::{external, sys};

/// The facts of a whole run.
pub struct Environment {
    common: BTreeMap<String, String>,
    ringloop: String,
}

/// The versions of all crates that were compiled in.
const LOCK: &str = include_str!("../../../Cargo.lock");

impl Environment {
    pub fn look(options: &Options) -> Environment {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let profile = if cfg!(debug_assertions) { "" } else { " --release" };
        let command = format!("cargo run{profile} -p ringloop-benches -- {}", arguments.join(" "));
        let (_, window) = options.durations(true);
        let (_, inside) = options.durations(false);
        let common = [
            ("machine", machine()),
            ("kernel", format!("Linux {}", first_line("/proc/sys/kernel/osrelease"))),
            ("toolchain", env!("BENCHES_RUSTC").into()),
            ("allocator", "the system's".into()),
            ("command", command.trim_end_matches([' ', '-']).into()),
            ("windows", format!("{} ms, servers {} ms", inside.as_millis(), window.as_millis())),
        ];
        Environment {
            common: common.map(|(name, value)| (name.to_owned(), value)).into(),
            ringloop: ringloop(),
        }
    }

    /// One line for the head of the tables.
    pub fn heading(&self, rounds: usize, reference: &str) -> String {
        format!(
            "{}, {}; {rounds} interleaved rounds; median [least-greatest]; ratios to {reference} \
             are medians of ratios within a round",
            self.common["machine"], self.common["kernel"]
        )
    }

    /// The facts for a row of `peer`.
    pub fn facts(&self, peer: &str) -> BTreeMap<String, String> {
        let mut facts = self.common.clone();
        facts.insert("version".into(), self.version(peer));
        facts
    }

    fn version(&self, peer: &str) -> String {
        let package = match peer {
            "tokio-64k" | "tokio-ct" | "tokio-watch" => "tokio",
            "epoll" => "rustix",
            "uring" | "uring-poll" => "io-uring",
            _ if peer.starts_with("ringloop") => return self.ringloop.clone(),
            other => other,
        };
        match external::version(package).or_else(|| locked(LOCK, package)) {
            Some(version) => format!("{package} {version}"),
            None => String::new(),
        }
    }
}

/// The version that a lock file gives a package.
pub fn locked(lock: &str, package: &str) -> Option<String> {
    let (_, entry) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    Some(entry.split_once('"')?.0.into())
}

fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split(':').nth(1))
        .map_or("unknown processor", str::trim);
    format!("{model}, {} cores", sys::cores().len())
}

/// ringloop's version, and the commit if there is one.
fn ringloop() -> String {
    let described = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty", "--abbrev=10"])
        .output();
    let version = locked(LOCK, "ringloop").unwrap_or_default();
    match described {
        Ok(output) if output.status.success() => {
            let commit = String::from_utf8_lossy(&output.stdout);
            format!("ringloop {version} at {}", commit.trim())
        }
        _ => format!("ringloop {version}"),
    }
}

fn first_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_from_the_lock_file() {
        assert!(locked(LOCK, "tokio").is_some_and(|version| version.starts_with("1.")));
        assert_eq!(locked(LOCK, "tok"), None);
    }
}
