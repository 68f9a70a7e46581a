//! The programs of `examples/asyncio`: they print what the asyncio programs print.

use crate::processes::{Helper, say};

#[path = "../../examples/asyncio/programs/mod.rs"]
mod programs;

/// The helper process: runs one program.
pub fn example_role(args: &[String]) {
    let [name] = args else { panic!("{args:?}") };
    let program = programs::ALL.iter().find(|(known, _)| known == name);
    say("begin");
    program.expect("a program").1();
    say("end");
}

/// Runs a program in a process of its own, with its defaults, and compares what it prints.
fn prints(name: &str, expected: &[&str]) {
    let mut helper = Helper::start("example", &[name.to_owned()]);
    helper.expect("begin");
    assert_eq!(helper.lines_until("end"), expected, "{name}");
    helper.finish();
}

#[test]
fn print_sum() {
    prints("print_sum", &["Compute 1 + 2 ...", "1 + 2 = 3"]);
}

#[test]
fn shared_future() {
    prints("shared_future", &["coro1 waits", "coro2 works", "data"]);
}

#[test]
fn task_states() {
    prints("task_states", &["pending", "Hello World", "finished", "42"]);
}

#[test]
fn got_result() {
    prints("got_result", &["Hello World", "got the result: 42", "42"]);
}

#[test]
fn async_methods() {
    let begin = ["3", "2", "1"];
    let expected = [&begin[..], &["ready"], &begin, &["start"], &begin, &["ready"]].concat();
    prints("async_methods", &expected);
}

#[test]
fn callbacks() {
    let digits = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    prints("callbacks", &[&digits[..], &["downloaded: a page"]].concat());
}

#[test]
fn gathers() {
    prints("gathers", &["Task A: 2", "Task B: 2", "Task B: 3", "[2, 6]"]);
}

#[test]
fn waits() {
    prints("waits", &["1 2 1", "3 0", "too slow"]);
}

#[test]
fn completed() {
    prints("completed", &["1", "2", "3"]);
}

#[test]
fn shields() {
    prints("shields", &["gave up waiting", "saved", "done"]);
}

#[test]
fn potatoes() {
    let fill = ["potato: filling the shelf", "tomato: filling the shelf"];
    prints("potatoes", &[&fill[..], &fill, &["20 times potato", "20 times tomato"]].concat());
}

#[test]
fn subprocess() {
    let back = "1048576 bytes back, the same: true";
    prints("subprocess", &[back, "exit code 0", "started", "ended by signal 9"]);
}

#[test]
fn contexts() {
    prints(
        "contexts",
        &[
            "game loading...",
            "game start...",
            "game exit...",
            "connected",
            "using the connection",
            "disconnected",
            "error: broken",
        ],
    );
}

#[test]
fn executors() {
    let expected = [
        "default pool: read",
        "to_thread: read",
        "own pool: 333332833333500000",
        "both: 666665666667000000",
    ];
    prints("executors", &expected);
}

#[test]
fn submits() {
    let expected =
        ["not yet", "[0, 1, 4, 9]", "done: true 49", "closed", "returned at once: true", "4 9"];
    prints("submits", &expected);
}

#[test]
fn wraps() {
    prints("wraps", &["from a thread", "42", "cancelled: true", "ran: 0"]);
}

#[test]
fn heartbeat() {
    prints("heartbeat", &["done", "it went on: true", "without a long pause: true"]);
}

#[test]
fn every_program_is_tested() {
    let names: Vec<_> = programs::ALL.iter().map(|(name, _)| *name).collect();
    let tested = [
        "print_sum",
        "shared_future",
        "task_states",
        "async_methods",
        "callbacks",
        "got_result",
        "gathers",
        "waits",
        "completed",
        "shields",
        "potatoes",
        "contexts",
        "executors",
        "submits",
        "wraps",
        "heartbeat",
        "crawler",
        "echo_streams",
        "echo_protocol",
        "echo_selector",
        "echo_sockets",
        "chat",
        "subprocess",
        "async_for",
        "locked_race",
        "error_chain",
        "router",
        "line_database",
        "claims",
    ];
    assert_eq!(names, tested);
}

#[test]
fn crawler() {
    let pages = [
        "/ status 200 after 1",
        "/a status 200 after 1",
        "/b status 200 after 1",
        "/c status 200 after 1",
        "/d status 200 after 1",
        "/flaky status 200 after 3",
        "/missing status 404 after 1",
        "/slow too slow",
    ];
    prints("crawler", &[&pages[..], &["cancelled: 3"]].concat());
}

#[test]
fn echoes_by_streams_protocols_and_descriptors_are_the_same() {
    let expected = ["first 0", "second 0", "first 1", "second 1", "left: 0", "left: 0"];
    prints("echo_streams", &expected);
    prints("echo_protocol", &expected);
    prints("echo_selector", &expected);
    prints("echo_sockets", &expected);
}

#[test]
fn chat() {
    let expected = [
        "Ada hears: Bob is here",
        "Ada hears: Bob: hello",
        "Bob hears: Ada: hello Bob",
        "Ada hears: the server ends",
        "Bob hears: the server ends",
        "closed, 0 cancelled",
    ];
    prints("chat", &expected);
}

#[test]
fn async_for() {
    let expected = ["0", "1", "2", "closed", "after the loop", "closed", "[1, 9, 25]"];
    prints("async_for", &expected);
}

#[test]
fn locked_race() {
    prints("locked_race", &["threads: 200000", "tasks: 2000"]);
}

#[test]
fn error_chain() {
    let chain = "in: step_f < step_e < step_d < step_c < step_b < step_a < main";
    prints("error_chain", &["error: the disk is full", chain]);
}

#[test]
fn router() {
    let expected = [
        "GET /: 200 say a name",
        "GET /hello/Ada: 200 hello, Ada",
        "POST /add/1/2: 200 3",
        "POST /add/1/two: 422 two numbers are needed",
        "GET /add/1/2: 405 not by this method",
        "GET /missing: 404 no such page",
    ];
    prints("router", &expected);
}

#[test]
fn line_database() {
    let squares = r#"["0", "1", "4", "9", "16", "25", "36", "49", "64", "81"]"#;
    prints("line_database", &[squares, "error: no such key: pi"]);
}

#[test]
fn claims() {
    let expected = [
        "59: the function is called: 42",
        "64: done after a shutdown that does not wait: false",
        "65: a sleep computes: false",
        "61: no loop is passed, and a task finds it: true",
        "63: done before and after set: false true",
        "66: 1 + 1 over an await: 1",
        "70: the text of the error: the deadline of \"answer\" has elapsed",
        r#"72: ["caller", "task", "eager task", "its caller"]"#,
        "71: two at the same time: true",
        "62: epoll",
    ];
    prints("claims", &expected);
}
