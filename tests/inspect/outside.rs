//! What the program says of processes of all kinds.

use std::{os::unix::process::CommandExt, process::Command};

use serde_json::Value;

use crate::roles::{Service, refused, ringloop, told, within_a_minute};

fn pid(service: &Service) -> String {
    service.pid().to_string()
}

/// The lines of `ps` without arguments that are about this process.
fn listed(pid: u32) -> Vec<Value> {
    let lines = told(&["ps", "--json"]);
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.filter(|line| line["pid"] == pid).collect()
}

#[test]
fn list_of_processes_has_those_with_a_runtime() {
    within_a_minute("list", || {
        let (service, idle) = (Service::start("service"), Service::start("idle"));
        let found = listed(service.pid());
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0]["hello"]["workers"], serde_json::json!([2]), "{found:?}");
        assert_eq!(found[0]["hello"]["tasks"], 5, "{found:?}");
        assert!(listed(idle.pid()).is_empty());
        assert!(told(&["ps"]).contains(&pid(&service)));
    });
}

#[test]
fn process_without_a_runtime_has_nothing_to_ask() {
    within_a_minute("nothing to ask", || {
        let idle = Service::start("idle");
        let off = Service::start_with("off", |command| _ = command.env("RINGLOOP_INSPECT", "0"));
        for service in [&idle, &off] {
            let (code, words) = refused(&ringloop(&["ps", &pid(service)]));
            assert_eq!(code, 4, "{words}");
            assert!(words.contains("RINGLOOP_INSPECT=0"), "{words}");
        }
    });
}

#[test]
fn process_that_there_is_not_is_an_error_of_its_own() {
    within_a_minute("no process", || {
        // The largest number that the kernel gives is 2^22.
        let (code, words) = refused(&ringloop(&["ps", "4194305"]));
        assert_eq!(code, 3, "{words}");
        assert!(words.contains("no process 4194305"), "{words}");
        assert_eq!(refused(&ringloop(&["ps", "me"])).0, 2);
    });
}

#[test]
fn door_is_there_while_a_runtime_is() {
    within_a_minute("begin and end", || {
        let mut service = Service::start("ends");
        let before = service.tell("end");
        for _ in 0..3 {
            service.tell("begin");
            assert_eq!(listed(service.pid()).len(), 1);
            // Threads and descriptors are as they were.
            assert_eq!(service.tell("end"), before);
            assert_eq!(refused(&ringloop(&["ps", &pid(&service)])).0, 4);
        }
    });
}

#[test]
fn forked_child_does_not_answer_for_its_parent() {
    within_a_minute("fork", || {
        let mut service = Service::start("fork");
        let child = service.tell("child");
        assert_eq!(refused(&ringloop(&["ps", &child])).0, 4);
        assert_eq!(listed(service.pid())[0]["hello"]["tasks"], 5);
        service.tell("build");
        let child = listed(child.parse().expect("a number"));
        assert_eq!(child[0]["hello"]["tasks"], 0, "{child:?}");
        assert_eq!(listed(service.pid())[0]["hello"]["tasks"], 5);
    });
}

#[test]
fn program_that_took_the_place_of_another_has_nothing_to_ask() {
    within_a_minute("exec", || {
        let mut service = Service::start("exec");
        assert_eq!(listed(service.pid()).len(), 1);
        assert_eq!(service.tell("go"), "other");
        assert_eq!(refused(&ringloop(&["ps", &pid(&service)])).0, 4);
    });
}

#[test]
fn process_without_a_free_descriptor_answers() {
    within_a_minute("no descriptor", || {
        let service = Service::start("full");
        for _ in 0..3 {
            assert_eq!(listed(service.pid())[0]["hello"]["tasks"], 5);
        }
    });
}

#[test]
fn another_user_is_refused() {
    within_a_minute("another user", || {
        if !is_root() {
            return note("another_user_is_refused");
        }
        let service = Service::start("service");
        let (code, words) = refused(&ask_as(12_345, &pid(&service)));
        assert_eq!(code, 5, "{words}");
        assert!(words.contains("it belongs to user 0, and you are user 12345"), "{words}");
        // What the program does in order, anybody may try in another: the kernel refuses each step.
        let door = std::fs::read_dir(format!("/proc/{}/task", service.pid())).expect("/proc");
        let door = door.flatten().find_map(|thread| {
            let name = std::fs::read_to_string(thread.path().join("comm")).ok()?;
            Some(name.trim_end().strip_prefix("ring-ask-")?.to_owned())
        });
        let path = format!("/proc/{}/fd/{}", service.pid(), door.expect("a door"));
        let script = format!("exec 2>&1; echo > {path}; cat {path}; ls /proc/{}/fd", service.pid());
        let mut shell = Command::new("sh");
        let tried = shell.args(["-c", &script]).uid(12_345).gid(12_345).output().expect("sh runs");
        let words = String::from_utf8_lossy(&tried.stdout);
        assert_eq!(words.matches("ermission denied").count(), 3, "{words}");
    });
}

#[test]
fn same_user_may_ask_and_root_too() {
    within_a_minute("same user", || {
        if !is_root() {
            return note("same_user_may_ask_and_root_too");
        }
        let service = Service::start_with("service", |command| _ = command.uid(12_345).gid(12_345));
        assert_eq!(listed(service.pid())[0]["hello"]["tasks"], 5);
        let output = ask_as(12_345, &pid(&service));
        assert!(output.status.success(), "{output:?}");
        assert_eq!(refused(&ask_as(12_346, &pid(&service))).0, 5);
    });
}

#[test]
fn process_that_the_kernel_protects_is_for_root() {
    within_a_minute("protected", || {
        if !is_root() {
            return note("process_that_the_kernel_protects_is_for_root");
        }
        let service =
            Service::start_with("protected", |command| _ = command.uid(12_345).gid(12_345));
        assert_eq!(listed(service.pid()).len(), 1);
        let (code, words) = refused(&ask_as(12_345, &pid(&service)));
        assert_eq!(code, 5, "{words}");
        assert!(words.contains("run this as root"), "{words}");
    });
}

#[test]
fn process_in_a_container_is_asked_from_outside_and_from_inside() {
    within_a_minute("container", || {
        if !is_root() {
            return note("process_in_a_container_is_asked_from_outside_and_from_inside");
        }
        // Namespaces of its own for processes, mounts and the network, and nowhere to write to.
        let program = env!("CARGO_BIN_EXE_ringloop");
        let exe = std::env::current_exe().expect("the path of this binary");
        let script = format!(
            "mount -o remount,bind,ro / 2> /dev/null; unset XDG_RUNTIME_DIR HOME; exec 3<&0; \
             {} roles::role --exact --nocapture --test-threads=1 <&3 & service=$!; \
             for i in $(seq 100); do {program} ps $service > /dev/null 2>&1 && break; sleep 0.1; done; \
             {program} ps $service --json | head -c 20; echo \" inside: $service\"; \
             wait",
            exe.display()
        );
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc", "--net", "--kill-child"]);
        command.args(["sh", "-c", &script]).env("RINGLOOP_INSPECT_ROLE", "service");
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let Ok(mut child) = command.spawn() else { return note("unshare is not there") };
        let mut lines =
            std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("piped")));
        let inside = lines.by_ref().flatten().find(|line| line.contains(" inside: "));
        let Some(inside) = inside else {
            let _ = child.wait();
            return note("unshare is not permitted");
        };
        assert!(inside.starts_with("{\"format\""), "{inside}");
        // Outside, it is a descendant of the child with another number.
        let service = descendants(child.id()).into_iter().find(|pid| !listed(*pid).is_empty());
        let service = service.expect("one of them has a door");
        assert_eq!(listed(service)[0]["hello"]["tasks"], 5);
        let _ = child.kill();
        let _ = child.wait();
    });
}

#[test]
fn tasks_are_shown_with_what_they_wait_for() {
    within_a_minute("ps", || {
        let service = Service::start("service");
        let text = told(&["ps", &pid(&service)]);
        assert!(text.contains("gateway: 5 tasks, 2 workers"), "{text}");
        let line = |name: &str| {
            let found: Vec<_> = text.lines().filter(|line| line.contains(name)).collect();
            assert_eq!(found.len(), 1, "{name}: {text}");
            found[0].to_owned()
        };
        assert!(line(" holder ").contains("imer"), "{text}");
        assert!(line(" waiter ").contains("Lock"), "{text}");
        assert!(line(" joiner ").contains("task"), "{text}");
        assert!(line(r"evil\u{1b}[2J\u{a}name").contains("waiting"), "{text}");
        assert!(!text.contains('\u{1b}'), "no colours into a pipe");
        assert!(told(&["ps", &pid(&service), "--color", "always"]).contains("\u{1b}[1m"));
        let few = told(&["ps", &pid(&service), "--limit", "2"]);
        assert!(few.contains("gateway: 5 tasks") && few.contains("and 3 more (--limit)"), "{few}");
    });
}

#[test]
fn process_whose_workers_are_all_stuck_answers() {
    within_a_minute("stuck", || {
        let service = Service::start("stuck");
        // The state becomes `held` once the worker has not looked at the clock for a while.
        loop {
            let dump: Value =
                serde_json::from_str(&told(&["ps", &pid(&service), "--json"])).unwrap();
            let workers = dump["runtimes"][0]["workers"].as_array().expect("workers");
            let states = workers.iter().map(|worker| worker["state"].as_str());
            if states.flatten().all(|state| state == "held") {
                let tasks = dump["runtimes"][0]["tasks"].as_array().expect("tasks");
                assert_eq!(tasks.len(), 2, "{dump}");
                assert!(tasks.iter().all(|task| task["name"] == "hog"), "{dump}");
                break;
            }
        }
        assert!(told(&["ps", &pid(&service)]).contains("worker 1 is held by task "));
    });
}

#[test]
fn all_runtimes_of_a_process_are_shown_that_may_be() {
    within_a_minute("several", || {
        let service = Service::start("several");
        let text = told(&["ps", &pid(&service)]);
        assert!(text.contains("first: 5 tasks") && text.contains("second: 5 tasks"), "{text}");
        assert!(!text.contains("hidden"), "{text}");
        assert_eq!(listed(service.pid())[0]["hello"]["runtimes"], 2);
    });
}

#[test]
fn tasks_that_wait_for_each_other_are_a_cycle() {
    within_a_minute("tree", || {
        let service = Service::start("deadlock");
        let output = ringloop(&["tree", &pid(&service)]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{text}");
        let cycle = text.lines().find(|line| line.starts_with("cycle: ")).expect("a cycle");
        assert!(cycle.contains("`one`") && cycle.contains("`two`"), "{text}");
        let output = ringloop(&["tree", &pid(&service), "--json"]);
        let tree: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(tree["cycles"].as_array().map(Vec::len), Some(1), "{tree}");
        // Without a cycle it is a success.
        let service = Service::start("service");
        let text = told(&["tree", &pid(&service)]);
        assert!(text.contains("└─ task ") && text.contains("`sleeper` (awaited"), "{text}");
    });
}

#[test]
fn watch_ends_with_the_process() {
    within_a_minute("watch", || {
        let service = Service::start("service");
        let lines = told(&["watch", &pid(&service), "--count", "2", "--interval", "10ms"]);
        let lines: Vec<Value> =
            lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1]["tasks"], 5);
        assert!(lines[0]["polls_per_s"].is_null() && lines[1]["polls_per_s"].is_u64());
        let mut watch = Command::new(env!("CARGO_BIN_EXE_ringloop"));
        watch.args(["watch", &pid(&service), "--interval", "10ms"]);
        let mut watch = watch.stdout(std::process::Stdio::piped()).spawn().expect("it runs");
        let out = watch.stdout.take().expect("piped");
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(out));
        assert!(lines.next().is_some());
        drop(service);
        while lines.next().is_some() {}
        assert!(watch.wait().expect("it ends").success());
    });
}

#[test]
fn process_that_is_stopped_is_said_to_be() {
    within_a_minute("stopped", || {
        let service = Service::start("service");
        let process = rustix::process::Pid::from_raw(service.pid() as i32).expect("a process");
        rustix::process::kill_process(process, rustix::process::Signal::STOP).expect("it is ours");
        let (code, words) = refused(&ringloop(&["ps", &pid(&service), "--timeout", "100ms"]));
        assert_eq!(code, 6, "{words}");
        assert!(words.contains("kill -CONT"), "{words}");
        rustix::process::kill_process(process, rustix::process::Signal::CONT).expect("it is ours");
        told(&["ps", &pid(&service), "--timeout", "30s"]);
    });
}

#[test]
fn reader_that_has_seen_enough_is_no_error() {
    within_a_minute("broken pipe", || {
        let service = Service::start("service");
        let script = format!("{} ps {} | true", env!("CARGO_BIN_EXE_ringloop"), service.pid());
        let output = Command::new("sh").args(["-c", &script]).output().expect("sh runs");
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    });
}

#[test]
fn completions_and_manual_page_have_the_subcommands() {
    for arguments in [&["completions", "bash"][..], &["completions", "fish"], &["man"], &["--help"]]
    {
        let text = told(arguments);
        for command in ["ps", "tree", "top", "watch"] {
            assert!(text.contains(command), "{arguments:?}: {text}");
        }
    }
}

fn descendants(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut at = 0;
    while at < found.len() {
        let pid = found[at];
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        found.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        at += 1;
    }
    found
}

fn ask_as(user: u32, pid: &str) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringloop"));
    command.args(["ps", pid]).uid(user).gid(user).output().expect("the program runs")
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn note(test: &str) {
    eprintln!("ringloop tests: NOTE skipped, since it needs root: {test}");
}
