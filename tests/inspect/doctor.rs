//! `ringloop doctor` and `ringloop trace`, asking a service with five mistakes, and one without.

use std::collections::HashSet;

use serde_json::Value;

use crate::roles::{Service, refused, ringloop, told, within_a_minute};

fn findings(text: &[u8]) -> Vec<Value> {
    let answer: Value = serde_json::from_slice(text).expect("JSON");
    let findings = answer["findings"].as_array().expect("a list").clone();
    findings.into_iter().filter(|finding| finding["severity"] != "info").collect()
}

#[test]
fn doctor_names_all_five_faults_and_no_other() {
    within_a_minute("five faults", || {
        let service = Service::start("five-faults");
        let pid = service.pid().to_string();
        let output = ringloop(&["doctor", &pid, "--json", "--pause", "300ms"]);
        assert_eq!(refused(&output).0, 1);
        let findings = findings(&output.stdout);
        let kinds: HashSet<&str> =
            findings.iter().filter_map(|finding| finding["kind"].as_str()).collect();
        let expected = ["deadlock", "leak", "futurelock", "saturated_lane", "held_worker"];
        assert_eq!(kinds, HashSet::from(expected), "{findings:#?}");
        let text = ringloop(&["doctor", &pid, "--pause", "300ms"]).stdout;
        let text = String::from_utf8_lossy(&text).into_owned();
        for name in ["`there`", "`back`", "`leaked`", "`selfish`", "`blocks`", "fix:"] {
            assert!(text.contains(name), "{name}: {text}");
        }
    });
}

#[test]
fn doctor_says_nothing_about_a_healthy_service() {
    within_a_minute("healthy", || {
        let service = Service::start("healthy");
        for _ in 0..3 {
            let pid = service.pid().to_string();
            let output = ringloop(&["doctor", &pid, "--json", "--pause", "200ms"]);
            assert_eq!(findings(&output.stdout), Vec::<Value>::new());
            assert_eq!(output.status.code(), Some(0));
        }
    });
}

#[test]
fn trace_has_the_polls_of_tasks_by_name() {
    within_a_minute("trace", || {
        let service = Service::start("healthy");
        let text = told(&["trace", &service.pid().to_string(), "500ms"]);
        let trace: Value = serde_json::from_str(&text).expect("JSON");
        let events = trace["traceEvents"].as_array().expect("a list");
        let polls = |event: &&Value| event["ph"] == "X" && event["name"] == "work";
        assert!(events.iter().filter(polls).count() > 4, "{text}");
        assert!(events.iter().any(|event| event["ph"] == "f"), "{text}");
    });
}
