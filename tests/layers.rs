//! The rules of the source tree, as tests: which module may import which, which paths only one file
//! may use, how large files and functions may be, where `unsafe` may stand, and how the prose
//! reads.
//! The tables are in `layers/rules.rs` and `layers/prose.rs`. A list of exceptions may only become
//! shorter: an entry that is no longer needed is a failure as well.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rules::{Tree, Violation};

#[path = "layers/catalogue.rs"]
mod catalogue;
#[path = "layers/lexer.rs"]
mod lexer;
#[path = "layers/links.rs"]
mod links;
#[path = "layers/parse.rs"]
mod parse;
#[path = "layers/prose.rs"]
mod prose;
#[path = "layers/rules.rs"]
mod rules;
#[path = "layers/seeds.rs"]
mod seeds;
#[path = "layers/self_test.rs"]
mod self_test;

/// The files that may hold `unsafe`.
const UNSAFE_FILES: &[&str] = &[
    // Buffers of other crates, of which only the beginning is initialised.
    "src/compat/hyper.rs",
    "src/compat/tokio.rs",
    "src/io/connection/read.rs",
    // Streams by the identity of their type.
    "src/io/copy/plain.rs",
    // Slots and timer entries that outlive the runtime.
    "src/reactor/slot.rs",
    "src/reactor/timers/mod.rs",
    "src/reactor/timers/node.rs",
    "src/reactor/timers/pool.rs",
    "src/reactor/timers/shelf.rs",
    "src/reactor/timers/wheel.rs",
    // Operations whose memory the kernel uses.
    "src/buf.rs",
    "src/io/connection/buffers.rs",
    "src/reactor/socket/mod.rs",
    "src/reactor/uring/any.rs",
    "src/reactor/uring/entry.rs",
    "src/reactor/uring/faults.rs",
    "src/reactor/files.rs",
    "src/fs/direct.rs",
    "src/fs/file/access.rs",
    "src/reactor/uring/tests/limits.rs",
    "src/reactor/uring/mailbox.rs",
    "src/reactor/uring/mod.rs",
    "src/reactor/uring/owned.rs",
    "src/reactor/uring/plan.rs",
    "src/reactor/uring/poll.rs",
    "src/reactor/uring/provided.rs",
    "src/reactor/uring/recv.rs",
    "src/reactor/uring/ring.rs",
    "src/reactor/uring/sandbox.rs",
    "src/reactor/uring/send.rs",
    "src/runtime/owned_tests.rs",
    "src/model/uring.rs",
    "src/net/tests/memory.rs",
    "src/reactor/pool.rs",
    "src/reactor/pool/apart.rs",
    "src/reactor/pool/shared.rs",
    "src/reactor/pool/tests.rs",
    // Descriptors by their number.
    "src/io/private.rs",
    "src/reactor/doorbell.rs",
    "src/reactor/epoll.rs",
    "src/reactor/source.rs",
    // Calls without a function in rustix: the state of the page cache, the clock of another thread, the
    // names of an address, and a receive into no memory.
    "src/util/page_cache.rs",
    // The address of a socket by its number.
    "src/util/descriptors.rs",
    "src/util/threads.rs",
    "src/blocking/resolver.rs",
    "src/reactor/endpoint.rs",
    // Messages with control data, several by one call.
    "src/net/udp/message.rs",
    // Values on this thread's stack, found by the address of their keys.
    "src/task/local.rs",
    // The first word of the task that is polled.
    "src/util/current.rs",
    // The processor's counter of time, and places in the source as words.
    "src/record/event.rs",
    "src/record/ticks.rs",
    // A main that borrows, and futures that only their own thread may touch.
    "src/runtime/run.rs",
    "src/runtime/spawn.rs",
    // Fields that one thread writes and others read.
    "src/scheduler/block.rs",
    "src/scheduler/hub.rs",
    "src/scheduler/inbox.rs",
    "src/scheduler/mod.rs",
    "src/scheduler/registry.rs",
    "src/scheduler/worker/spawn.rs",
    // Hooks that run between fork and exec.
    "src/process/command.rs",
    // A process that ends at any point.
    "src/process/pool/worker.rs",
    // Handlers that run at any point.
    "src/signal/listeners.rs",
    "src/util/signals.rs",
    // The only use of cells and descriptors, and their replacements in a model.
    "src/loom.rs",
    "src/loom/spin.rs",
    "src/loom/stand_ins.rs",
    "src/model.rs",
    "src/model/worker.rs",
    // Nodes that live in the future that waits, and values behind locks.
    "src/sync/lock/guards.rs",
    "src/sync/lock/mod.rs",
    "src/sync/once_cell.rs",
    "src/sync/rwlock/guards.rs",
    "src/sync/rwlock/mod.rs",
    "src/sync/wait_list.rs",
    // A shared cause behind an atomic pointer, and the chain of frames on a thread's stack.
    "src/error/cause.rs",
    "src/task/cancel/frame.rs",
    "src/task/cancel/root.rs",
    "src/task/extra.rs",
    // The one allocation of a task.
    "src/task/handle.rs",
    "src/task/header.rs",
    "src/task/mod.rs",
    "src/task/raw.rs",
    "src/task/waker.rs",
    "src/util/magazine.rs",
    // A hint to the processor, which reads nothing.
    "src/util/prefetch.rs",
    // A page that the kernel wipes.
    "src/util/fork.rs",
];

#[test]
fn imports_go_down_the_ranks() {
    let tree = source_tree();
    report(tree.layers());
    assert!(tree.idle_exceptions().is_empty(), "not needed: {:?}", tree.idle_exceptions());
}

#[test]
fn doors_are_the_only_way() {
    report(source_tree().doors());
}

#[test]
fn files_and_functions_stay_small() {
    report(source_tree().sizes());
}

#[test]
fn unsafe_stays_where_it_is_expected() {
    report(source_tree().unsafe_code(UNSAFE_FILES));
}

#[test]
fn prose_is_plain() {
    let mut files = source_files();
    files.extend(pages());
    for folder in ["tests", "loom-tests", "benches", "examples", "macros"] {
        files.extend(files_below(folder, "rs"));
    }
    report(prose::check(&files));
}

#[test]
fn links_lead_somewhere() {
    let mut files = pages();
    files.push(read(Path::new("docs/benchmarks.md")));
    report(links::check(&files, |name| root().join(name).exists()));
}

#[test]
fn summary_names_each_chapter() {
    let names: Vec<_> = files_below("docs", "md").into_iter().map(|file| file.0).collect();
    let (_, summary) = read(Path::new("docs/SUMMARY.md"));
    let (_, library) = read(Path::new("src/lib.rs"));
    report(links::chapters(&names, &summary, &library));
}

#[test]
fn catalogue_has_each_error() {
    let (_, page) = read(Path::new("docs/errors.md"));
    report(catalogue::check(&page, &source_files()));
}

fn report(violations: Vec<Violation>) {
    let lines: Vec<_> = violations.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} violations:\n{}", lines.len(), lines.join("\n"));
}

fn source_tree() -> Tree {
    Tree::new(source_files())
}

/// The Rust files of `src/`, by their names from the root.
fn source_files() -> Vec<(String, String)> {
    let files = files_below("src", "rs");
    assert!(!files.is_empty(), "no source files");
    files
}

/// The pages, without the report of the benchmarks.
fn pages() -> Vec<(String, String)> {
    let mut pages = vec![read(Path::new("README.md")), read(Path::new("CHANGELOG.md"))];
    pages.extend(files_below("docs", "md"));
    pages.extend(files_below("src", "md"));
    pages.retain(|(name, _)| name != "docs/benchmarks.md");
    pages
}

fn files_below(folder: &str, extension: &str) -> Vec<(String, String)> {
    let mut files = Vec::new();
    collect(&root().join(folder), extension, &mut files);
    let name = |path: &PathBuf| read(path.strip_prefix(root()).expect("found below the root"));
    files.iter().map(name).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The file of this name, from the root: its name and its text.
fn read(name: &Path) -> (String, String) {
    let path = root().join(name);
    let text = fs::read_to_string(path).expect("files are UTF-8");
    (name.to_str().expect("names are ASCII").to_owned(), text)
}

/// Adds every file below `folder` with the extension, in the order of their names.
fn collect(folder: &Path, wanted: &str, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).expect("a readable folder");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, wanted, files);
        } else if path.extension().is_some_and(|extension| extension == wanted) {
            files.push(path);
        }
    }
}
