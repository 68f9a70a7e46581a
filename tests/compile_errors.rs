//! What the compiler says about mistakes that users make.
//!
//! Each program in `compile_errors/` must fail to compile, with the text beside it. The compiler's own words change from
//! version to version, so the texts are those of one version. With another one the test says so in a line
//! with the word NOTE, and only the second test remains: our own words are in the texts.
//!
//! After a change: `TRYBUILD=overwrite cargo test --test compile_errors`, with the compiler of [`MADE_BY`].

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    process::Command,
};

/// The compiler that wrote the texts.
const MADE_BY: &str = "rustc 1.95.0";

#[test]
fn mistakes_are_explained() {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(compiler).arg("--version").output().expect("a compiler");
    let version = String::from_utf8(version.stdout).expect("a version is text");
    if version.starts_with(MADE_BY) {
        trybuild::TestCases::new().compile_fail("tests/compile_errors/*.rs");
    } else {
        // Not by a macro, whose text the harness would keep.
        let note = "NOTE skipped: the texts of compile errors are those of";
        writeln!(io::stderr(), "{note} {MADE_BY}, and this is {version}").expect("a stderr");
    }
}

/// With any compiler: our own words are in the expected texts, so an update by `TRYBUILD=overwrite` cannot lose them.
#[test]
fn expected_texts_have_our_words() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile_errors");
    for (name, words) in [
        ("write_text", "`&str` is not a buffer to write from"),
        ("write_text", "`b\"hi\"` in place of `\"hi\"`"),
        ("read_into_bytes", "`&mut BytesMut` is not a buffer to read into"),
        ("read_into_bytes", "`resize`"),
        ("file_borrowed", "is not a buffer to read into"),
        ("shared_without_clone", "SharedFuture::<Receipt>::new()"),
        ("shared_without_clone", "`Receipt: Clone`"),
        ("handler_value", "a handler of a server gives `()` or a `Result<(), E>`"),
        ("serve_port", "`{integer}` is no address to connect to or to listen on"),
        ("main_of_tokio", "`workers = 1`"),
        ("gather_values", "the future gives `{integer}`, and it has to give a `Result`"),
        ("condition_std", "is no guard of a `ringloop::sync::Lock`"),
        ("spawn_rc", "has type `Rc<u32>` which is not `Send`"),
        ("spawn_guard", "await occurs here, with `mut total` maybe used later"),
    ] {
        let text = fs::read_to_string(folder.join(format!("{name}.stderr"))).expect(name);
        assert!(text.contains(words), "{name}.stderr lacks {words:?}:\n{text}");
    }
}
