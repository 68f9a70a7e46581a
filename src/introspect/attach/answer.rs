//! The answers: one function for all verbs.

use std::{fmt::Write, time::Duration};

use super::request::{PROTOCOL, Request};
use crate::{
    introspect::{collect, doctor, doctor::findings_to_json},
    runtime,
    util::panic,
};

/// Meanwhile the process answers nobody else.
const LONGEST_CHECKUP: Duration = Duration::from_secs(5);
const LONGEST_TRACE: Duration = Duration::from_secs(60);
/// The largest answer, in bytes.
const LARGEST: usize = 128 << 20;
/// The tasks of each runtime, where a question does not say how many.
const MOST_TASKS: usize = 100_000;

/// The answer to a request: a JSON object with `result` or `error`.
pub(super) fn to(request: &Request) -> String {
    let result = if request.version == PROTOCOL {
        panic::catch(|| result(request)).unwrap_or_else(|payload| {
            let text = format!("the answer panicked: {}", panic::message(&payload));
            panic::discard(payload);
            Err(text)
        })
    } else {
        Err(format!(
            "the process speaks version {PROTOCOL} of the protocol, and was asked in version {}: \
             install the program `ringloop` of version {}",
            request.version,
            env!("CARGO_PKG_VERSION")
        ))
    };
    let result = result.and_then(|text| match text.len() {
        ..=LARGEST => Ok(text),
        len => Err(format!("the answer has {len} bytes, more than {LARGEST}")),
    });
    let (key, value) = match result {
        Ok(value) => ("result", value),
        Err(text) => ("error", quoted(&text)),
    };
    let (version, pid) = (env!("CARGO_PKG_VERSION"), std::process::id());
    format!(r#"{{"protocol":{PROTOCOL},"version":"{version}","pid":{pid},"{key}":{value}}}"#)
}

/// A JSON value.
fn result(request: &Request) -> Result<String, String> {
    match request.verb.as_str() {
        "hello" => Ok(hello()),
        "dump" => {
            let most = match request.arguments.first() {
                Some(text) => {
                    text.parse().map_err(|_| format!("`{text}` is no number of tasks"))?
                }
                None => MOST_TASKS,
            };
            Ok(collect::of(&runtime::inspected(), most).to_json())
        }
        "doctor" => {
            let pause = duration(request, LONGEST_CHECKUP)?;
            Ok(findings_to_json(&doctor::examine(&runtime::inspected(), pause)))
        }
        "trace" => {
            let time = duration(request, LONGEST_TRACE)?;
            let mut handles = runtime::inspected().into_iter();
            let Some(handle) = handles.next() else { return Err("no runtime is left".to_owned()) };
            Ok(handle.record_for(time).to_trace())
        }
        verb => Err(format!(
            "the process (ringloop {}) does not know `{verb}`: install the program of that version",
            env!("CARGO_PKG_VERSION")
        )),
    }
}

/// The first argument, in ms.
fn duration(request: &Request, longest: Duration) -> Result<Duration, String> {
    let text = request.arguments.first().map_or("1000", String::as_str);
    let time = text.parse().map(Duration::from_millis).ok();
    time.filter(|time| *time <= longest).ok_or_else(|| {
        format!("`{text}` is no time in ms, or longer than {} ms", longest.as_millis())
    })
}

/// A few words on the process: what costs next to nothing to find out.
fn hello() -> String {
    let runtimes = runtime::inspected();
    let mut text = format!(r#"{{"runtimes":{},"workers":["#, runtimes.len());
    for (at, handle) in runtimes.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        let _ = write!(text, "{comma}{}", handle.workers());
    }
    let tasks: u64 = runtimes.iter().map(|handle| handle.metrics().live_tasks).sum();
    let _ = write!(text, r#"],"tasks":{tasks}}}"#);
    text
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\0'..='\x1f' => _ = write!(quoted, "\\u{:04x}", c as u32),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(version: u32, verb: &str) -> serde_json::Value {
        let verb = verb.to_owned();
        let text = to(&Request { version, id: 1, verb, arguments: Vec::new() });
        serde_json::from_str(&text).expect("the answer is JSON")
    }

    #[test]
    fn answer_says_what_the_process_is() {
        let answer = ask(PROTOCOL, "hello");
        assert_eq!(answer["pid"], std::process::id());
        assert_eq!(answer["version"], env!("CARGO_PKG_VERSION"));
        assert!(answer["result"]["runtimes"].is_u64(), "{answer}");
    }

    #[test]
    fn question_that_it_does_not_know_is_an_error_with_the_fix() {
        for (version, verb) in [(PROTOCOL, "a\"\\\u{1}b"), (PROTOCOL + 1, "hello")] {
            let answer = ask(version, verb);
            let text = answer["error"].as_str().expect("an error");
            assert!(text.contains("install the program"), "{text}");
        }
    }
}
