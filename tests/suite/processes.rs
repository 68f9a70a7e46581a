//! Tests in processes of their own, and helper processes: this binary runs itself again.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{guarded, loud, test_name};

const ALONE: &str = "RINGLOOP_TEST_ALONE";
const ROLE: &str = "RINGLOOP_TEST_ROLE";
const ROLE_ARGS: &str = "RINGLOOP_TEST_ROLE_ARGS";
const ROLE_MARK: &str = "role: ";

/// Runs `body` in a child process that runs nothing else, so that limits, descriptor and thread
/// counts are its own.
pub fn isolated<F: FnOnce()>(body: F) {
    isolated_with(|_| {}, body);
}

/// [`isolated`], with `prepare` adding to the child's command (a user id, an environment).
pub fn isolated_with<F: FnOnce()>(prepare: impl FnOnce(&mut Command), body: F) {
    let name = test_name(&body);
    if std::env::var(ALONE).as_deref() == Ok(name) {
        guarded(name, Duration::from_secs(150), body);
        return;
    }
    let mut command = this_binary(name);
    command.env(ALONE, name).stdin(Stdio::null());
    prepare(&mut command);
    let output = command.output().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    for line in stderr.lines().filter(|line| line.contains("NOTE")) {
        loud(line.trim_start_matches("ringloop tests: "));
    }
    let ran = output.status.success() && stdout.contains("1 passed");
    assert!(ran, "child {}:\n{stdout}\n{stderr}", output.status);
}

/// One test in a process of its own.
pub fn this_binary(test: &str) -> Command {
    let path = std::env::current_exe().expect("path of the test binary");
    let mut command = Command::new(path);
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    command
}

/// A helper process; killed when dropped.
pub struct Helper {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Helper {
    /// Starts this binary in the role `role` of [`child_role`].
    pub fn start(role: &str, args: &[String]) -> Helper {
        Self::start_with(role, args, |_| {})
    }

    /// [`Helper::start`], with `prepare` adding to the command.
    pub fn start_with(role: &str, args: &[String], prepare: impl FnOnce(&mut Command)) -> Helper {
        let mut command = this_binary("processes::child_role");
        prepare(&mut command);
        command.env(ROLE, role).env(ROLE_ARGS, args.join(" ")).env_remove(ALONE);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("helper process");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Helper { child, input, output }
    }

    pub fn tell(&mut self, word: &str) {
        writeln!(self.input, "{word}").expect("helper listens");
        self.input.flush().expect("helper listens");
    }

    /// The next word that the helper prints.
    pub fn hear(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let n = self.output.read_line(&mut line).expect("the helper's output");
            assert!(n > 0, "the helper ended in silence: {:?}", self.child.wait());
            // The test runner may have printed something before it on the same line.
            if let Some((_, word)) = line.trim_end().split_once(ROLE_MARK) {
                return word.to_owned();
            }
        }
    }

    /// The lines that it prints before `word`.
    #[cfg(feature = "macros")]
    pub fn lines_until(&mut self, word: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let n = self.output.read_line(&mut line).expect("the helper's output");
            assert!(n > 0, "the helper ended in silence, after {lines:?}");
            let line = line.trim_end_matches('\n');
            if line.strip_prefix(ROLE_MARK) == Some(word) {
                return lines;
            }
            lines.push(line.to_owned());
        }
    }

    pub fn expect(&mut self, word: &str) {
        assert_eq!(self.hear(), word);
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it SIGINT.
    pub fn interrupt(&self) {
        let pid = Pid::from_raw(self.id() as i32).expect("a process");
        kill_process(pid, Signal::INT).expect("it has not been waited for");
    }

    /// Waits for its end, of whatever kind.
    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("helper can be waited for")
    }

    /// Waits for a clean end.
    pub fn finish(mut self) {
        let status = self.child.wait().expect("helper can be waited for");
        assert!(status.success(), "helper {status}");
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In a helper: sends a word to the test.
pub fn say(word: &str) {
    let mut out = std::io::stdout();
    out.write_all(format!("{ROLE_MARK}{word}\n").as_bytes()).expect("test listens");
    out.flush().expect("test listens");
}

/// In a helper: waits for the test's next word; `None` when the test has ended.
pub fn listen() -> Option<String> {
    let mut line = String::new();
    let n = std::io::stdin().read_line(&mut line).unwrap_or(0);
    (n > 0).then(|| line.trim().to_owned())
}

/// No test: the entry of helper processes. In an ordinary run it does nothing.
#[test]
fn child_role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let args: Vec<String> = std::env::var(ROLE_ARGS)
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    match role.as_str() {
        "crowd" => crate::net_load::crowd_role(&args),
        "slow" => crate::net_peers::slow_role(&args),
        "flood" => crate::net_listener::flood_role(&args),
        "busy" => crate::kill::busy_role(&args),
        #[cfg(feature = "macros")]
        "example" => crate::examples::example_role(&args),
        "ctrl_c" => crate::signal::ctrl_c_role(&args),
        "interrupt" => crate::interrupt::interrupt_role(&args),
        "parent" => crate::children_ends::parent_role(&args),
        "signal" => crate::signal_kinds::signal_role(&args),
        "stopped" => crate::scheduler::stopped_role(),
        other => panic!("no role {other}"),
    }
}
