//! A model that fails does not affect any other model.
//!
//! Code: `explore` of this package, which runs each model in a process of its own.
//!
//! Properties: however a model fails, its failure is reported under its name, with loom's message,
//! and the other models run to their ends.
//!
//! Actors: another run of this program, with two models of which one fails.

use std::{env, process::Command};

use loom::{
    sync::{Mutex, atomic::AtomicUsize, atomic::Ordering::Relaxed},
    thread,
};
use loom_tests::{ALONE, explore};

/// How the first of the two models must fail, in the other run.
const HOW: &str = "LOOM_TESTS_HOW_TO_FAIL";

/// Panics while another panic unwinds, which aborts the process.
struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("again, on purpose");
    }
}

/// Fails in the other run, and passes in all others.
#[test]
fn first_of_two() {
    explore(|| {
        let how = env::var(HOW).unwrap_or_default();
        let counter = loom::sync::Arc::new(AtomicUsize::new(0));
        let other = {
            let counter = counter.clone();
            thread::spawn(move || _ = counter.fetch_add(1, Relaxed))
        };
        match how.as_str() {
            "panic" => assert_eq!(counter.load(Relaxed), 1, "on purpose"),
            "abort" => {
                let _unwound = PanicsWhenDropped;
                panic!("on purpose");
            }
            "deadlock" => {
                let lock = Mutex::new(());
                let _held = lock.lock();
                let _never = lock.lock();
            }
            "exit" => std::process::exit(0),
            _ => {}
        }
        other.join().unwrap();
    });
}

/// Passes in every run.
#[test]
fn second_of_two() {
    explore(|| {
        let counter = loom::sync::Arc::new(AtomicUsize::new(0));
        let other = {
            let counter = counter.clone();
            thread::spawn(move || _ = counter.fetch_add(1, Relaxed))
        };
        counter.fetch_add(1, Relaxed);
        other.join().unwrap();
        assert_eq!(counter.load(Relaxed), 2);
    });
}

#[test]
fn others_run_on() {
    // Goal: one mistake does not hide the results of the other models. Method: another run of this
    // program, in which one model fails by a panic, by an abort, by a deadlock, or ends its
    // process; with one test thread for the two of them, and with two.
    let program = env::current_exe().expect("the program has a path");
    let said_by_loom = [
        ("panic", "on purpose"),
        ("abort", "again, on purpose"),
        ("deadlock", "deadlock"),
        ("exit", "no such test"),
    ];
    for (how, why) in said_by_loom {
        let mut command = Command::new(&program);
        command.args([
            "apart::first_of_two",
            "apart::second_of_two",
            "--exact",
            "--test-threads=2",
        ]);
        let output = command.env(HOW, how).env_remove(ALONE).output().expect("another run");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success(), "{how}: {said}");
        for line in [
            "test apart::first_of_two ... FAILED",
            "test apart::second_of_two ... ok",
            "test result: FAILED. 1 passed; 1 failed",
            why,
        ] {
            assert!(said.contains(line), "{how}: no {line:?} in {said}");
        }
    }
}
