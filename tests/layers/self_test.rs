//! Tests of the checker, on small trees with violations.

use super::{
    parse::parse,
    rules::{Tree, Violation},
};

/// A tree of named files.
fn tree(files: &[(&str, &str)]) -> Tree {
    Tree::new(files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())))
}

/// Where the violations are, as `file:line`.
fn places(violations: &[Violation]) -> Vec<String> {
    violations.iter().map(|found| format!("{}:{}", found.file, found.line)).collect()
}

/// The lines that the layer rule finds in one file of a small crate.
fn layer_lines(name: &str, text: &str) -> Vec<usize> {
    let others = [
        ("src/lib.rs", "mod task; mod net;"),
        ("src/loom.rs", ""),
        ("src/util/mod.rs", "pub(crate) mod current;"),
        ("src/util/current.rs", ""),
        ("src/task/mod.rs", "mod state; pub use state::State;"),
        ("src/task/state.rs", ""),
        ("src/runtime/mod.rs", ""),
        ("src/reactor/mod.rs", "mod epoll;"),
        ("src/reactor/epoll/mod.rs", "mod events;"),
        ("src/reactor/epoll/events.rs", ""),
        ("src/time/mod.rs", "mod sleep; pub use sleep::sleep;"),
        ("src/time/sleep.rs", ""),
        ("src/net/mod.rs", ""),
    ];
    let files: Vec<_> =
        others.into_iter().filter(|other| other.0 != name).chain([(name, text)]).collect();
    let found = tree(&files).layers();
    found.iter().filter(|found| found.file == name).map(|found| found.line).collect()
}

#[test]
fn import_of_a_lower_rank_passes() {
    let text = "use crate::{loom::atomic, task::State};\nuse crate::util::current;\nuse std::io;";
    assert!(layer_lines("src/net/tcp.rs", text).is_empty());
}

#[test]
fn import_of_a_higher_rank_fails() {
    assert_eq!(layer_lines("src/task/raw.rs", "use std::io;\nuse crate::net::TcpStream;"), [2]);
    assert_eq!(
        layer_lines("src/util/slab.rs", "use crate::{\n  loom::hint,\n  task::State};"),
        [3]
    );
    assert_eq!(layer_lines("src/loom.rs", "pub use crate::util::current::with;"), [1]);
}

#[test]
fn import_inside_a_rank_fails_except_for_the_exceptions() {
    assert_eq!(layer_lines("src/task/raw.rs", "use crate::reactor::Source;"), [1]);
    assert!(layer_lines("src/util/slab.rs", "use crate::loom::atomic;").is_empty());
}

#[test]
fn exception_without_a_use_is_named() {
    let idle = |name, text| {
        let files =
            [("src/util/mod.rs", "mod current;"), ("src/util/current.rs", ""), (name, text)];
        tree(&files).idle_exceptions()
    };
    let has = |found: Vec<String>, name: &str| found.iter().any(|entry| entry == name);
    assert!(has(idle("src/net/mod.rs", "use crate::loom::hint;"), "* -> loom"));
    assert!(!has(idle("src/util/slab.rs", "use crate::loom::hint;"), "* -> loom"));
    assert!(has(idle("src/net/mod.rs", "use crate::util::Slab;"), "util::*"));
    assert!(!has(idle("src/net/mod.rs", "use crate::util::current::with;"), "util::*"));
}

#[test]
fn path_in_code_counts_as_an_import() {
    assert_eq!(layer_lines("src/task/raw.rs", "fn f() {\n  crate::runtime::spawn(g)\n}"), [2]);
    assert_eq!(layer_lines("src/task/raw.rs", "m! { $crate::net::TcpStream }"), [1]);
    assert!(layer_lines("src/task/raw.rs", "// crate::net::X\n/// [x](crate::net::X)").is_empty());
    assert!(layer_lines("src/task/raw.rs", "const S: &str = \"crate::net::X\";").is_empty());
}

#[test]
fn relative_paths_are_followed() {
    assert_eq!(layer_lines("src/task/raw.rs", "use super::super::net::TcpStream;"), [1]);
    assert!(layer_lines("src/task/raw.rs", "use super::state::State;").is_empty());
    assert!(layer_lines("src/task/raw.rs", "mod tests { use super::super::state::X; }").is_empty());
    assert_eq!(
        layer_lines("src/task/raw.rs", "mod tests { use super::super::super::net::X; }"),
        [1]
    );
}

#[test]
fn names_bound_by_an_import_are_followed() {
    let text = "use crate::task as t;\nfn f() { t::state::go() }";
    assert_eq!(layer_lines("src/net/tcp.rs", text), [2]);
    // A method of a type that mod.rs re-exports is not a module.
    assert!(
        layer_lines("src/net/tcp.rs", "use crate::task::State;\nfn f() { State::new() }")
            .is_empty()
    );
}

#[test]
fn inside_of_a_folder_is_not_visible() {
    assert_eq!(layer_lines("src/net/tcp.rs", "use crate::task::state::State;"), [1]);
    assert_eq!(layer_lines("src/net/tcp.rs", "use crate::task::state;"), [1]);
    assert!(layer_lines("src/task/raw.rs", "use crate::task::state::State;").is_empty());
    assert!(layer_lines("src/net/tcp.rs", "use crate::util::current::with;").is_empty());
    // A function may have the name of its private file.
    let text = "use crate::time::sleep;\nfn f() { crate::time::sleep(); sleep::go() }";
    assert_eq!(layer_lines("src/net/tcp.rs", text), [2]);
    // The same for a folder in a folder.
    assert_eq!(layer_lines("src/reactor/source.rs", "use super::epoll::events::X;"), [1]);
    assert!(layer_lines("src/reactor/source.rs", "use super::epoll::Epoll;").is_empty());
}

#[test]
fn rules_apply_to_the_root() {
    assert!(layer_lines("src/lib.rs", "mod task;\npub use task::State;").is_empty());
    assert_eq!(layer_lines("src/lib.rs", "mod task;\npub use task::state::State;"), [2]);
    assert_eq!(layer_lines("src/net/tcp.rs", "use crate::spawn;"), [1]);
    assert!(
        layer_lines("src/net/tcp.rs", "#[cfg(test)]\nmod tests { use crate::spawn; }").is_empty()
    );
}

#[test]
fn module_without_a_rank_fails() {
    assert_eq!(layer_lines("src/stray.rs", "use crate::task::State;"), [1]);
    assert_eq!(layer_lines("src/net/tcp.rs", "use crate::stray::X;"), [1]);
}

/// The lines that the door rule finds in one file.
fn door_lines(name: &str, text: &str) -> Vec<usize> {
    tree(&[(name, text)]).doors().iter().map(|found| found.line).collect()
}

#[test]
fn doors_are_found_in_every_spelling() {
    for text in [
        "use std::sync::atomic::AtomicU64;",
        "use std::{sync::{Arc, atomic::{AtomicU64, Ordering}}, io};",
        "use core::sync::atomic;",
        "use std::sync;\nstatic A: sync::atomic::AtomicU64 = todo!();",
        "static A: ::std::sync::atomic::AtomicU64 = todo!();",
        "use std::sync::*;",
        "use std::sync::atomic::*;",
        "fn f() { std::thread::spawn(g); }",
        "use std::thread;\nfn f() { thread::Builder::new(); }",
        "use std::time::Instant;\nfn f() { Instant::now(); }",
        "use std::time::Instant as Clock;\nfn f() { h.get_or_init(Clock::now); }",
        "use std::time::SystemTime;",
        "use std::time;\nfn f() { time::UNIX_EPOCH.elapsed(); }",
        "use rustix::time::{ClockId, clock_gettime};\nfn f() { clock_gettime(ClockId::Realtime); }",
        "fn f() { unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, p) }; }",
    ] {
        assert!(!door_lines("src/net/tcp.rs", text).is_empty(), "{text}");
    }
}

#[test]
fn doors_themselves_and_similar_paths_pass() {
    for (name, text) in [
        ("src/loom.rs", "use std::sync::atomic;\n#[cfg(loom)] use loom::cell;"),
        ("src/loom/stand_ins.rs", "use std::sync::atomic;\n#[cfg(loom)] use loom::cell;"),
        ("src/util/threads.rs", "fn f() { std::thread::Builder::new(); }"),
        ("src/util/clock.rs", "fn f() { std::time::Instant::now(); }"),
        ("src/time/sleep.rs", "use super::Instant;\nfn f() { Instant::now(); }"),
        ("src/net/tcp.rs", "use std::sync::Arc;\nuse std::thread::current;"),
        ("src/net/tcp.rs", "#[cfg(test)]\nmod tests { fn f() { std::thread::spawn(g); } }"),
    ] {
        assert!(door_lines(name, text).is_empty(), "{name}: {text}");
    }
    assert_eq!(door_lines("src/net/tcp.rs", "use std::sync::atomic::AtomicU8;"), [1]);
    assert_eq!(door_lines("src/util/clock.rs", "use std::sync::atomic::AtomicU8;"), [1]);
}

#[test]
fn loom_cfg_is_for_the_door() {
    for text in ["#[cfg(loom)]\nfn f() {}", "#[cfg(not(loom))] fn f() {}", "#![cfg_attr(loom, x)]"]
    {
        assert_eq!(door_lines("src/task/raw.rs", text), [1], "{text}");
    }
    assert_eq!(door_lines("src/task/raw.rs", "\nfn f() { if cfg!(loom) {} }"), [2]);
    assert!(door_lines("src/task/raw.rs", "#[cfg(unix)] use crate::loom::hint;").is_empty());
}

#[test]
fn large_files_and_functions_fail() {
    let statements = |n| "x();\n".repeat(n);
    let fits = format!("fn f() {{\n{}}}\n", statements(68));
    let long = format!("\nfn f(a: [u8; 4]) -> [u8; 2] {{\n{}}}\n", statements(69));
    assert!(tree(&[("src/a.rs", &fits)]).sizes().is_empty());
    assert_eq!(places(&tree(&[("src/a.rs", &long)]).sizes()), ["src/a.rs:2"]);

    let comments = "// why\n\n/// what\n".repeat(400);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", statements(600));
    let fits = format!("{comments}{}{tests}", "const A: u8 = 1;\n".repeat(500));
    assert!(tree(&[("src/a.rs", &fits)]).sizes().is_empty());
    let large = format!("{fits}\nconst B: u8 = 1;");
    assert_eq!(places(&tree(&[("src/a.rs", &large)]).sizes()), ["src/a.rs:1"]);
}

#[test]
fn test_modules_in_their_own_file_are_tests() {
    let large = "const A: u8 = 1;\n".repeat(501) + "use std::sync::atomic::AtomicU8;";
    let files = [("src/task/mod.rs", "#[cfg(test)]\nmod tests;"), ("src/task/tests.rs", &large)];
    assert!(tree(&files).sizes().is_empty());
    assert!(tree(&files).doors().is_empty());
    let files = [("src/task/mod.rs", "mod tests;"), ("src/task/tests.rs", &large)];
    assert_eq!(tree(&files).sizes().len(), 1);
    assert_eq!(tree(&files).doors().len(), 1);
}

#[test]
fn unsafe_needs_an_entry_and_an_entry_needs_unsafe() {
    let files = [
        ("src/a.rs", "#![deny(unsafe_code)]\n// unsafe\nfn f() { \"unsafe\" }"),
        ("src/b.rs", "\nunsafe fn f() {}"),
    ];
    assert_eq!(places(&tree(&files).unsafe_code(&[])), ["src/b.rs:2"]);
    assert!(tree(&files).unsafe_code(&["src/b.rs"]).is_empty());
    let stale = tree(&files).unsafe_code(&["src/a.rs", "src/b.rs", "src/gone.rs"]);
    assert_eq!(places(&stale), ["src/a.rs:1", "src/gone.rs:1"]);
}

#[test]
fn functions_are_measured_to_their_closing_brace() {
    let text =
        "trait T { fn a(&self); fn b(&self) {\n} }\nfn c<T>()\nwhere T: Fn() -> u8 {\n|| { };\n}";
    let found = parse(&["crate".to_owned()], text).functions;
    let found: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.line, f.lines)).collect();
    assert_eq!(found, [("b", 1, 2), ("c", 3, 4)]);
}
