//! The rules: each is a function from one parsed file to its violations.

use std::{collections::BTreeSet, fmt};

use super::parse::{Reference, Source, parse};

/// The limit of code lines in a file.
pub const FILE_LINES: usize = 500;
/// The limit of lines in a function.
pub const FUNCTION_LINES: usize = 70;

/// The rank of each module. A module imports from lower ranks and from itself.
pub const RANKS: &[&[&str]] = &[
    &["loom", "error", "buf", "util"],
    &["task", "reactor", "record", "sync"],
    &["scheduler", "blocking"],
    &["runtime"],
    &["time", "io"],
    &["net", "fs", "process", "signal", "threads", "future", "calls"],
    &["tls", "introspect", "attributes"],
    &["streams", "protocol"],
    &["compat", "testing", "model", "bin", "lib"],
];

/// Imports inside one rank: the module (`*` is every one), the module that it imports, and why.
pub const SAME_RANK: &[(&str, &str, &str)] = &[
    ("*", "loom", "every file takes atomics, cells and threads from it"),
    (
        "io",
        "time",
        "a task that waits for a descriptor in use elsewhere tries again after a moment",
    ),
    ("process", "signal", "a signal has one name for sending and for listening"),
    ("error", "util", "an error that holds a panic prints the panic's text"),
];

/// Paths that may be named from outside their folder although `mod.rs` does not re-export them, and
/// why: one module, or with `*` every file of a folder.
pub const VISIBLE: &[(&str, &str)] = &[
    ("util::*", "tools that have nothing in common"),
    ("error::hook", "the receiver of error events: its functions are named with their module"),
    ("reactor::files", "the operations on files, and the system calls under them"),
    ("reactor::timers", "the wheel and its entries are an interface of their own"),
    ("reactor::socket", "a socket's two state machines, and their results"),
    ("io::outgoing", "the writing end of any stream, for streams and protocols"),
    ("io::source", "the reading end of any stream, for streams and protocols"),
    ("net::server", "the accept loop, for the ways to serve"),
    ("runtime::operation", "the interface that I/O uses"),
    ("runtime::interrupt", "the effect of a SIGINT without a listener"),
];

/// Paths that only one file may use: the path, that file, and what other files use instead.
pub const DOORS: &[(&str, &str, &str)] = &[
    (
        "std::sync::atomic",
        "src/loom.rs",
        "take `crate::loom::atomic`, or `crate::loom::global` for a static",
    ),
    ("std::thread::spawn", "src/util/threads.rs", "call `crate::util::threads::spawn`"),
    ("std::thread::Builder", "src/util/threads.rs", "call `crate::util::threads::spawn`"),
    ("std::time::Instant::now", "src/util/clock.rs", "call `crate::util::clock::now`"),
];

/// Paths that no file may use, and why.
pub const CLOSED: &[(&str, &str)] = &[
    ("std::time::SystemTime", WALL_CLOCK),
    ("std::time::UNIX_EPOCH", WALL_CLOCK),
    ("rustix::time::ClockId::Realtime", WALL_CLOCK),
    ("rustix::time::ClockId::RealtimeCoarse", WALL_CLOCK),
    ("rustix::time::ClockId::RealtimeAlarm", WALL_CLOCK),
    ("rustix::time::ClockId::Tai", WALL_CLOCK),
    ("rustix::time::TimerfdClockId::Realtime", WALL_CLOCK),
    ("libc::CLOCK_REALTIME", WALL_CLOCK),
    ("libc::CLOCK_REALTIME_COARSE", WALL_CLOCK),
    ("libc::CLOCK_TAI", WALL_CLOCK),
    ("libc::gettimeofday", WALL_CLOCK),
    ("libc::time", WALL_CLOCK),
];

const WALL_CLOCK: &str = "the wall clock jumps; call `crate::util::clock::now`";

/// The files that may test `cfg(loom)`.
const LOOM_CFG_FILES: &[&str] = &["src/loom.rs", "src/lib.rs"];

/// A violation: where it is, what is wrong, and how to mend it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Its name from the repository's root.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong, and what to do instead.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.text)
    }
}

/// The files of `src/`, parsed.
pub struct Tree {
    files: Vec<File>,
    /// The module paths of all files, joined by `::`.
    modules: BTreeSet<String>,
}

struct File {
    /// Its name from the repository's root.
    name: String,
    module: Vec<String>,
    source: Source,
    /// Whether only tests compile it.
    test: bool,
}

impl Tree {
    /// Parses files given as name (from the repository's root) and text.
    pub fn new(files: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut files: Vec<_> = files
            .into_iter()
            .map(|(name, text)| {
                let module = module_of(&name);
                let source = parse(&module, &text);
                File { name, module, source, test: false }
            })
            .collect();
        let tests: Vec<String> = files
            .iter()
            .flat_map(|file| {
                let below = |name| format!("{}::{name}", file.module.join("::"));
                file.source.test_modules.iter().map(below)
            })
            .collect();
        for file in &mut files {
            let module = file.module.join("::");
            file.test = tests
                .iter()
                .any(|test| *test == module || module.starts_with(&format!("{test}::")));
        }
        let modules = files.iter().map(|file| file.module.join("::")).collect();
        Self { files, modules }
    }

    /// Imports that break the ranks, and imports from inside a folder.
    pub fn layers(&self) -> Vec<Violation> {
        self.each(|file| {
            let check = |reference| {
                let wrong = self.against_ranks(file, reference);
                let text = wrong.or_else(|| self.past_mod_rs(file, reference))?;
                Some((reference.line, text))
            };
            file.source.references.iter().filter_map(check).collect()
        })
    }

    /// Uses of the paths in [`DOORS`] and [`CLOSED`].
    pub fn doors(&self) -> Vec<Violation> {
        self.each(|file| {
            let mut found = Vec::new();
            for reference in file.source.references.iter().filter(|r| !r.test && !file.test) {
                let path = reference.path.join("::");
                // A glob import of the parent includes the path as well.
                let opened = |door: &str| match path.strip_suffix("::*") {
                    Some(parent) => below(door, parent) || below(parent, door),
                    None => below(&path, door),
                };
                for (door, home, instead) in DOORS {
                    if opened(door) && !is_home(home, &file.name) {
                        let text = format!("`{path}` is for {home} only; {instead}");
                        found.push((reference.line, text));
                    }
                }
                for (closed, why) in CLOSED {
                    if opened(closed) {
                        found.push((reference.line, format!("`{path}` is for no file: {why}")));
                    }
                }
            }
            if !LOOM_CFG_FILES.iter().any(|home| is_home(home, &file.name)) {
                for line in &file.source.loom_cfg_lines {
                    let text = "`cfg(loom)` is for src/loom.rs; give both cases one name there";
                    found.push((*line, text.to_owned()));
                }
            }
            found
        })
    }

    /// Files and functions that are too large.
    pub fn sizes(&self) -> Vec<Violation> {
        self.each(|file| {
            let mut found = Vec::new();
            let lines = file.source.code_lines;
            if lines > FILE_LINES && !file.test {
                let text = format!("{lines} lines of code, {FILE_LINES} at most; split the file");
                found.push((1, text));
            }
            for function in file.source.functions.iter().filter(|_| !file.test) {
                if function.lines > FUNCTION_LINES {
                    let text = format!(
                        "`{}` has {} lines, {FUNCTION_LINES} at most; give its parts names",
                        function.name, function.lines
                    );
                    found.push((function.line, text));
                }
            }
            found
        })
    }

    /// `unsafe` outside of `allowed`, and entries of `allowed` that are no longer needed.
    pub fn unsafe_code(&self, allowed: &[&str]) -> Vec<Violation> {
        let mut found = self.each(|file| {
            if allowed.contains(&file.name.as_str()) {
                return Vec::new();
            }
            // One report per file: the others follow from the first.
            let line = file.source.unsafe_lines.first().copied();
            let text = "`unsafe` in a file that is not on the list; build on one that is, or \
                        argue for a new entry at the head of tests/layers.rs";
            line.map(|line| (line, text.to_owned())).into_iter().collect()
        });
        for entry in allowed {
            let file = self.files.iter().find(|file| file.name == *entry);
            if file.is_none_or(|file| file.source.unsafe_lines.is_empty()) {
                let text = "holds no `unsafe`; take it off the list in tests/layers.rs".to_owned();
                found.push(Violation { file: (*entry).to_owned(), line: 1, text });
            }
        }
        found
    }

    /// Entries of [`SAME_RANK`] and [`VISIBLE`] that no import needs any more.
    pub fn idle_exceptions(&self) -> Vec<String> {
        let all =
            || self.files.iter().flat_map(|f| f.source.references.iter().map(move |r| (f, r)));
        let across = |who: &str, whom: &str| {
            all().any(|(file, reference)| {
                let from = top(&file.module);
                let to = reference.path.get(1).filter(|_| reference.path[0] == "crate");
                let applies = (who == "*" || who == from) && to.is_some_and(|to| to == whom);
                applies && from != whom && rank(from) == rank(whom)
            })
        };
        let seen = |entry: &str| {
            all().any(|(f, r)| self.hidden_modules(f, r).iter().any(|module| covers(entry, module)))
        };
        let same_rank = SAME_RANK.iter().filter(|(who, whom, _)| !across(who, whom));
        let visible = VISIBLE.iter().filter(|(entry, _)| !seen(entry));
        same_rank
            .map(|(who, whom, _)| format!("{who} -> {whom}"))
            .chain(visible.map(|(entry, _)| (*entry).to_owned()))
            .collect()
    }

    fn each(&self, rule: impl Fn(&File) -> Vec<(usize, String)>) -> Vec<Violation> {
        let mut found: Vec<_> = self
            .files
            .iter()
            .flat_map(|file| {
                let at = |(line, text)| Violation { file: file.name.clone(), line, text };
                rule(file).into_iter().map(at)
            })
            .collect();
        // A path that spans two words of a line is one violation.
        found.sort();
        found.dedup();
        found
    }

    fn against_ranks(&self, file: &File, reference: &Reference) -> Option<String> {
        let from = top(&file.module);
        let [root, to, ..] = reference.path.as_slice() else { return None };
        if root != "crate" || from == to {
            return None;
        }
        let Some(from_rank) = rank(from) else {
            return Some(format!("`{from}` has no rank; give it one in tests/layers/rules.rs"));
        };
        let Some(to_rank) = rank(to) else {
            // Tests may be outside of the ranks, and use the public interface. So do the links of the pages, for which the root
            // itself imports all of it.
            if reference.test || file.test || file.name == "src/lib.rs" && to == "*" {
                return None;
            }
            return Some(format!("`crate::{to}`: name an item by the module that owns it"));
        };
        let excepted =
            SAME_RANK.iter().any(|(who, whom, _)| (*who == "*" || *who == from) && *whom == to);
        if to_rank > from_rank {
            Some(format!(
                "`{from}` (rank {from_rank}) must not know `{to}` (rank {to_rank}); turn it round \
                 with a trait or a callback that `{to}` passes down"
            ))
        } else if to_rank == from_rank && !excepted {
            Some(format!(
                "`{from}` and `{to}` share rank {to_rank} and must not know each other; let them \
                 meet in a higher rank"
            ))
        } else {
            None
        }
    }

    /// Reports a path that goes past the `mod.rs` of a folder that `file` is not in. The interface
    /// for the models is exempt: it leads to private parts on purpose, and no release has it.
    fn past_mod_rs(&self, file: &File, reference: &Reference) -> Option<String> {
        if top(&file.module) == "model" {
            return None;
        }
        let mut hidden = self.hidden_modules(file, reference).into_iter();
        let module =
            hidden.find(|module| !VISIBLE.iter().any(|(entry, _)| covers(entry, module)))?;
        let folder = module.rsplit_once("::").map_or("", |(folder, _)| folder);
        Some(format!(
            "`crate::{module}` is inside a folder; import what `crate::{folder}` re-exports"
        ))
    }

    /// The modules of the path that are inside a folder which `file` is not in, without `crate`.
    fn hidden_modules(&self, file: &File, reference: &Reference) -> Vec<String> {
        let path = &reference.path;
        let mut found = Vec::new();
        for end in 2..path.len() {
            let (folder, part) = (&path[..end], &path[..=end]);
            // A function may have the name of its private file.
            let exported = part == path && self.imports(folder, &part[end]);
            let known = self.modules.contains(&part.join("::"));
            if path[0] == "crate" && known && !exported && !file.module.starts_with(folder) {
                found.push(part[1..].join("::"));
            }
        }
        found
    }

    /// Whether a `use` in the file of `module` binds `name`.
    fn imports(&self, module: &[String], name: &str) -> bool {
        self.files.iter().any(|file| file.module == module && file.source.imported.contains(name))
    }
}

/// Whether an entry of [`VISIBLE`] covers `module`.
fn covers(entry: &str, module: &str) -> bool {
    match entry.strip_suffix("::*") {
        Some(folder) => module.rsplit_once("::").is_some_and(|(parent, _)| parent == folder),
        None => module == entry,
    }
}

/// Whether `path` is `root` or something in it.
fn below(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Whether `file` is `home` or in the folder of that module.
fn is_home(home: &str, file: &str) -> bool {
    let rest = home.strip_suffix(".rs").and_then(|stem| file.strip_prefix(stem));
    rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

fn rank(module: &str) -> Option<usize> {
    RANKS.iter().position(|modules| modules.contains(&module))
}

/// The module below the root to which a file belongs.
fn top(module: &[String]) -> &str {
    module.get(1).map_or("lib", String::as_str)
}

/// `src/task/state.rs` is `crate::task::state`, `src/task/mod.rs` is `crate::task`.
fn module_of(name: &str) -> Vec<String> {
    let path = name.strip_prefix("src/").unwrap_or(name);
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let mut module = vec!["crate".to_owned()];
    module.extend(path.split('/').map(str::to_owned));
    if module.last().is_some_and(|last| last == "mod" || module.len() == 2 && last == "lib") {
        module.pop();
    }
    module
}
