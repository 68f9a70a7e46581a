//! Builds the program of the workloads, from this tree and from another commit's.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the repository that these benches belong to.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(PathBuf::from).unwrap_or_default()
}

/// The directory into which cargo builds.
fn target() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let folder = program.ancestors().nth(2).ok_or("this program lies in no target folder")?;
    Ok(folder.into())
}

/// The workloads with ringloop as it is in this tree.
pub fn current() -> Result<PathBuf, String> {
    build(&root(), &target()?)
}

/// The workloads of this tree with ringloop as it was at `commit`, built into a directory of that
/// name.
pub fn of(commit: &str, folder: &str) -> Result<PathBuf, String> {
    let target = target()?.join(folder);
    let tree = Tree::take(commit)?;
    // The workloads are today's: a comparison of two different workloads would mean nothing.
    let benches = tree.0.join("benches");
    let failed = |error: std::io::Error| format!("{}: {error}", benches.display());
    if benches.exists() {
        fs::remove_dir_all(&benches).map_err(failed)?;
    }
    copy(&root().join("benches"), &benches).map_err(failed)?;
    fs::copy(root().join("Cargo.lock"), tree.0.join("Cargo.lock")).map_err(failed)?;
    build(&tree.0, &target)
}

fn build(root: &Path, target: &Path) -> Result<PathBuf, String> {
    eprintln!("building the workloads of {}", root.display());
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["build", "--release", "--quiet", "-p", "ringloop-benches", "--bin", "counted"];
    run(Command::new(cargo).args(arguments).arg("--target-dir").arg(target).current_dir(root))?;
    Ok(target.join("release/counted"))
}

/// The sources of a commit in a temporary directory, which is removed on drop. `git archive` makes
/// them, which leaves nothing behind in the repository, however this program ends.
struct Tree(PathBuf);

impl Tree {
    fn take(commit: &str) -> Result<Tree, String> {
        let folder = std::env::temp_dir().join(format!("ringloop-count-{}", std::process::id()));
        fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let tree = Tree(folder);
        let archive = tree.0.join("archive.tar");
        run(Command::new("git")
            .arg("-C")
            .arg(root())
            .args(["archive", "--format=tar", "--output"])
            .args([archive.as_os_str(), OsStr::new(commit)]))?;
        run(Command::new("tar").arg("-xf").arg(&archive).current_dir(&tree.0))?;
        Ok(tree)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} stays: {error}", self.0.display());
        }
    }
}

/// Copies the files that the build needs; neither outputs nor the servers of other runtimes.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let leave_out = [OsStr::new("target"), OsStr::new("peers")];
        if entry.file_type()?.is_dir() {
            // `src/peers` belongs to the benches, `peers` at the top is another workspace.
            let outside = leave_out.contains(&name.as_os_str()) && from.join("Cargo.toml").exists();
            if !outside {
                copy(&entry.path(), &to.join(name))?;
            }
        } else {
            fs::copy(entry.path(), to.join(name))?;
        }
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_owned();
    let output = command.output().map_err(|error| format!("{}: {error}", program.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{} failed:\n{}", program.display(), said.trim()))
}
