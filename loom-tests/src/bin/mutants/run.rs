//! Copies, builds and runs.

use std::{
    fmt, fs,
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The time limit of one model: a mutant that is noticed is noticed soon.
const PATIENCE: Duration = Duration::from_secs(60);
/// The time limit of all models together, to their ends.
const PATIENCE_FOR_ALL: Duration = Duration::from_secs(600);

/// A mistake that a model must notice.
pub struct Mutant {
    /// What is wrong with it.
    pub name: &'static str,
    /// The file, below `src/`.
    pub file: &'static str,
    /// A text that stands there exactly once.
    pub text: &'static str,
    /// The text that replaces it.
    pub replacement: &'static str,
    /// The test that has to fail: a model, or [`UNIT`] and a unit test of the crate.
    pub model: &'static str,
}

/// The prefix of a unit test's path.
const UNIT: &str = "unit test ";

/// The part of the copy that is built.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tests {
    /// The models, with loom's types in place of the standard ones.
    Models,
    /// The crate's unit tests, as they are.
    Units,
}

impl Tests {
    /// The tests that contain the named one, and its path there.
    fn with(model: &str) -> (Self, &str) {
        match model.strip_prefix(UNIT) {
            Some(path) => (Self::Units, path),
            None => (Self::Models, model),
        }
    }
}

impl Mutant {
    /// The file with the mistake; an error if the text is not there exactly once.
    pub fn apply(&self, original: &str) -> Result<String, String> {
        match original.matches(self.text).count() {
            1 => Ok(original.replacen(self.text, self.replacement, 1)),
            found => Err(format!("the text is there {found} times in {}", self.file)),
        }
    }
}

/// The outcome of a mutant.
pub enum Verdict {
    /// The model failed.
    Noticed,
    /// The model passed.
    Survived(String),
    /// It could not be tried.
    Broken(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Noticed => "noticed ",
            Self::Survived(_) => "SURVIVED",
            Self::Broken(_) => "BROKEN  ",
        })
    }
}

/// A copy of the sources to break.
pub struct Bench {
    tree: PathBuf,
    target: PathBuf,
}

impl Bench {
    /// Copies the tree at `root`.
    pub fn new(root: &Path) -> io::Result<Self> {
        let scratch = root.join("target/mutants");
        let tree = scratch.join("tree");
        copy(root, &tree)?;
        Ok(Self { tree, target: scratch })
    }

    /// Runs models without a mutant; they have to pass.
    pub fn check_models<'a>(&self, chosen: impl Iterator<Item = &'a str>) -> Result<(), String> {
        let (mut models, mut units) = (Vec::new(), Vec::new());
        for model in models_of(chosen) {
            match Tests::with(model) {
                (Tests::Models, path) => models.push(path),
                (Tests::Units, path) => units.push(path),
            }
        }
        self.check_tests(Tests::Models, &models)?;
        self.check_tests(Tests::Units, &units)
    }

    fn check_tests(&self, tests: Tests, models: &[&str]) -> Result<(), String> {
        if models.is_empty() {
            return Ok(());
        }
        let mut command = tests_command(self.build(tests)?);
        command.args(models);
        match finish(&mut command, PATIENCE_FOR_ALL) {
            Ok(Some((true, output))) if output.contains(&format!("{} passed", models.len())) => {
                Ok(())
            }
            Ok(Some((_, output))) => Err(format!("expected {models:?}\n{output}")),
            Ok(None) => Err(format!("no end within {PATIENCE_FOR_ALL:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Applies the mutant, runs its model, and takes the mutant back.
    pub fn check(&self, mutant: &Mutant) -> Verdict {
        let file = self.tree.join("src").join(mutant.file);
        let original = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) => return Verdict::Broken(format!("src/{}: {error}", mutant.file)),
        };
        let mutated = match mutant.apply(&original) {
            Ok(text) => text,
            Err(why) => return Verdict::Broken(why),
        };
        let verdict = match fs::write(&file, mutated) {
            Ok(()) => self.try_model(mutant.model),
            Err(error) => Verdict::Broken(error.to_string()),
        };
        if let Err(error) = fs::write(&file, original) {
            return Verdict::Broken(error.to_string());
        }
        verdict
    }

    fn try_model(&self, model: &str) -> Verdict {
        let (tests, path) = Tests::with(model);
        let program = match self.build(tests) {
            Ok(program) => program,
            Err(why) => return Verdict::Broken(why),
        };
        // A model runs in that process, which is killed if it takes too long.
        match finish(tests_command(program).arg(path).env("LOOM_ALONE", "1"), PATIENCE) {
            Err(error) => Verdict::Broken(error.to_string()),
            Ok(None) => Verdict::Survived(format!("no end within {PATIENCE:?}")),
            Ok(Some((false, _))) => Verdict::Noticed,
            Ok(Some((true, output))) if output.contains("1 passed") => Verdict::Survived(output),
            Ok(Some((true, output))) => Verdict::Broken(format!("no such model\n{output}")),
        }
    }

    /// Builds the tests; returns the program.
    fn build(&self, tests: Tests) -> Result<PathBuf, String> {
        let (what, folder, flags, kind) = match tests {
            Tests::Models => (
                ["--package", "loom-tests", "--test", "models"].as_slice(),
                "build",
                "--cfg loom --allow warnings",
                "\"kind\":[\"test\"]",
            ),
            Tests::Units => (
                ["--package", "ringloop", "--lib"].as_slice(),
                "unit",
                "--allow warnings",
                "\"kind\":[\"lib\"]",
            ),
        };
        let output = Command::new(env!("CARGO"))
            .current_dir(&self.tree)
            .args(["test", "--no-run"])
            .args(what)
            .args(["--message-format", "json-render-diagnostics"])
            // The crate is built often, so quickly; loom is built once, so that it runs fast.
            .args(["--config", "profile.dev.opt-level=1", "--config", "profile.dev.debug=false"])
            .args(["--config", "profile.dev.package.'*'.opt-level=3"])
            .arg("--target-dir")
            .arg(self.target.join(folder))
            .env("RUSTFLAGS", flags)
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .output()
            .map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let messages = String::from_utf8_lossy(&output.stdout);
        // The package's programs are built as well, and listed in any order.
        let mut built = messages.lines().filter(|line| line.contains(kind));
        let program = built.find_map(|line| {
            let (_, rest) = line.split_once("\"executable\":\"")?;
            rest.split_once('"').map(|(path, _)| PathBuf::from(path))
        });
        program.ok_or_else(|| "cargo named no program".to_owned())
    }
}

/// Each model once, in order.
fn models_of<'a>(chosen: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut models: Vec<_> = chosen.collect();
    models.sort_unstable();
    models.dedup();
    models
}

fn tests_command(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    command.arg("--exact").env("RUST_BACKTRACE", "0");
    command
}

/// Runs to the end, within a time limit: returns whether it succeeded, and its output.
fn finish(command: &mut Command, patience: Duration) -> io::Result<Option<(bool, String)>> {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let reader = thread::spawn(move || {
        let mut text = String::new();
        let _ = out.take().map(|mut out| out.read_to_string(&mut text));
        text
    });
    let discard = thread::spawn(move || {
        let _ = err.take().map(|mut err| io::copy(&mut err, &mut io::sink()));
    });
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if start.elapsed() > patience {
            child.kill()?;
            child.wait()?;
            break None;
        }
        thread::sleep(Duration::from_millis(20));
    };
    let text = reader.join().unwrap_or_default();
    let _ = discard.join();
    Ok(status.map(|status| (status.success(), text)))
}

/// Copies a folder, without hidden and built files. A file that has not changed stays, so that it
/// is not built again; one that no longer exists is removed.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        if !from.join(entry.file_name()).exists() {
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == "target" || name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let (from, to) = (entry.path(), to.join(&name));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&from, &to)?;
        } else if kind.is_file() {
            let text = fs::read(&from)?;
            if fs::read(&to).ok().as_deref() != Some(&text) {
                fs::write(&to, text)?;
            }
        }
    }
    Ok(())
}
