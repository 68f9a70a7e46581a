//! The area `inside`: cases of other areas again, with what ringloop records of its tasks and without that.
//!
//! The peer [`PEER`] is this program, built once more with `--cfg ringloop_no_record`. So the two have the same
//! code but for the record.

use std::env::{current_exe, var_os};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use super::Spec;
use crate::catalogue;

/// ringloop without its record of tasks.
pub const PEER: &str = "ringloop-no-record";

/// The area's cases begin with this, and go on with the name of the case that they run.
const PREFIX: &str = "inside_";

/// The program that runs the case, and the case that it runs.
pub fn program(spec: &Spec) -> Result<(PathBuf, Spec), String> {
    let own = current_exe().map_err(|error| error.to_string())?;
    let Some(name) = spec.case.name.strip_prefix(PREFIX) else { return Ok((own, copy(spec))) };
    let case = catalogue::find(name).ok_or_else(|| format!("no case is called {name:?}"))?;
    let spec = Spec { case, ..copy(spec) };
    match spec.peer.as_str() {
        PEER => Ok((built()?, Spec { peer: "ringloop".into(), ..spec })),
        _ => Ok((own, spec)),
    }
}

fn copy(spec: &Spec) -> Spec {
    Spec { peer: spec.peer.clone(), ..*spec }
}

/// This program without the record. Cargo builds it, the first time it is asked for.
fn built() -> Result<PathBuf, String> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT.get_or_init(build).clone()
}

fn build() -> Result<PathBuf, String> {
    let own = current_exe().map_err(|error| error.to_string())?;
    let target = own.ancestors().nth(2).ok_or("this program lies in no target folder")?;
    let target = target.join("no-record");
    eprintln!("building the benches without the record, into {}", target.display());
    let cargo = var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--quiet", "-p", "ringloop-benches"])
        .args(["--bin", "ringloop-benches", "--target-dir"])
        .arg(&target)
        .env("RUSTFLAGS", "--cfg ringloop_no_record")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    match status.success() {
        true => Ok(target.join("release/ringloop-benches")),
        false => Err(format!("cargo: {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::CASES;

    /// Goal: each case of the area is another area's case again, driven alike; method: the list.
    #[test]
    fn cases_of_the_area_are_those_of_others() {
        let area = CASES.iter().filter(|case| case.area == "inside");
        let mut count = 0;
        for case in area {
            let name = case.name.strip_prefix(PREFIX).expect("the prefix");
            let other = catalogue::find(name).expect("a case");
            assert_ne!(other.area, "inside");
            assert_eq!(case.load.is_some(), other.load.is_some(), "{name}");
            for peer in case.peers.iter().filter(|peer| **peer != PEER) {
                assert!(other.peers.contains(peer), "{name}: {peer}");
            }
            count += 1;
        }
        assert_eq!(count, 5);
    }
}
