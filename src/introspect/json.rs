//! A snapshot as JSON (RFC 8259), written in one go with names in a fixed order.

use std::{fmt, fmt::Write as _, time::Duration};

use super::snapshot::{Dump, RuntimeDump, TaskDump, WaitDump, WorkerDump};
use crate::{error::TaskId, runtime::LaneMetrics};

impl Dump {
    /// The snapshot as JSON: one line, with the names in a fixed order.
    ///
    /// Names that end with `_ns` are times in ns, whole numbers. Tasks are numbers. What is not known or not
    /// there is `null`. `format` is [`FORMAT`](super::FORMAT): it grows when a name goes or changes its
    /// meaning. A reader skips names that it does not know.
    ///
    /// ```
    /// ringloop::run(async {
    ///     let json = ringloop::Handle::current().dump().to_json();
    ///     assert!(json.starts_with(r#"{"format":1,"#));
    /// });
    /// ```
    pub fn to_json(&self) -> String {
        let mut json = Json::default();
        json.object(|json| {
            json.number("format", self.format);
            json.time("taken_at_ns", Some(self.taken_at));
            json.name("process");
            json.object(|json| {
                json.number("pid", self.process.pid);
                json.text("ringloop", Some(self.process.ringloop));
                json.text("kernel", Some(&self.process.kernel));
                json.list("pools", &self.process.pools, lane);
            });
            json.list("runtimes", &self.runtimes, runtime);
        });
        json.out
    }
}

fn runtime(json: &mut Json, runtime: &RuntimeDump) {
    json.number("number", runtime.number);
    json.text("name", Some(&runtime.name));
    json.name("backend");
    json.object(|json| {
        let info = &runtime.backend;
        json.text("name", Some(&info.backend.to_string()));
        json.text("fallback", info.fallback.as_deref());
        json.number("ring_entries", info.ring_entries);
        json.number("completion_entries", info.completion_entries);
        json.flag("defer_taskrun", info.defer_taskrun);
    });
    json.text("phase", Some(runtime.phase));
    json.time("uptime_ns", Some(runtime.uptime));
    json.number("live_tasks", runtime.metrics.live_tasks);
    json.number("spawned_tasks", runtime.metrics.spawned);
    json.number("left_out", runtime.left_out);
    json.number("leases", runtime.metrics.leases);
    json.number("leaked_operations", runtime.metrics.leaked_operations);
    json.list("workers", &runtime.workers, worker);
    json.list("lanes", &runtime.lanes, lane);
    json.list("tasks", &runtime.tasks, task);
}

fn worker(json: &mut Json, worker: &WorkerDump) {
    json.number("index", worker.index);
    json.number("thread", worker.thread);
    json.text("state", Some(worker.state.as_str()));
    json.id("task", worker.task);
    json.time("polling_for_ns", worker.polling_for);
    json.number("queued", worker.queued);
    json.flag("has_next", worker.has_next);
    json.flag("has_mail", worker.has_mail);
    json.number("ticks", worker.ticks);
    json.number("polls", worker.polls);
    json.number("parks", worker.parks);
    json.number("wakeups", worker.wakeups);
    json.number("steals", worker.steals);
    json.number("rescues", worker.rescues);
    json.number("timers", worker.timers);
    json.number("homes", worker.homes);
    json.number("in_flight", worker.in_flight);
    json.number("arrivals", worker.arrivals);
}

fn lane(json: &mut Json, lane: &LaneMetrics) {
    json.text("name", Some(&lane.name));
    json.number("limit", lane.limit);
    json.number("threads", lane.threads);
    json.number("busy", lane.busy);
    json.number("idle", lane.idle);
    json.number("queued", lane.queued);
    json.time("oldest_ns", lane.oldest);
}

fn task(json: &mut Json, task: &TaskDump) {
    json.id("id", Some(task.id));
    json.text("name", task.name.as_deref());
    json.text("spawned_at", Some(&task.spawned_at.to_string()));
    json.id("parent", task.parent);
    json.maybe("group", task.group);
    json.text("state", Some(task.state.as_str()));
    json.maybe("worker", task.worker);
    json.maybe("owner", task.owner);
    json.flag("cancelling", task.cancelling);
    json.flag("holds_more", task.holds_more);
    json.flag("has_handle", task.has_handle);
    json.maybe("wakers", task.wakers);
    json.number("polls", task.polls);
    json.number("wakes", task.wakes);
    json.time("busy_ns", Some(task.busy));
    json.time("idle_ns", Some(task.idle));
    json.time("age_ns", Some(task.age));
    json.time("last_ran_ns", task.last_ran);
    json.maybe("holds", task.holds);
    json.id("awaited_by", task.awaited_by);
    json.name("waiting_on");
    match &task.waiting_on {
        Some(found) => json.object(|json| wait(json, found)),
        None => json.raw("null"),
    }
}

fn wait(json: &mut Json, wait: &WaitDump) {
    json.text("kind", Some(wait.kind.as_str()));
    json.number("key", wait.key);
    json.text("text", Some(&wait.text));
    json.text("name", wait.name.as_deref());
    json.time("since_ns", wait.since);
    json.id("task", wait.task);
    json.id("holder", wait.holder);
    json.maybe("fd", wait.fd);
    json.time("left_ns", wait.left);
}

/// A text that grows. A comma comes before each name and each item but the first.
#[derive(Default)]
pub(super) struct Json {
    pub(super) out: String,
    /// Whether something stands before the next name or item of the innermost object or list.
    behind: bool,
}

impl Json {
    pub(super) fn object(&mut self, fields: impl FnOnce(&mut Self)) {
        self.within(['{', '}'], fields);
    }

    fn within(&mut self, ends: [char; 2], inner: impl FnOnce(&mut Self)) {
        self.out.push(ends[0]);
        self.behind = false;
        inner(self);
        self.out.push(ends[1]);
        self.behind = true;
    }

    /// A list of objects.
    pub(super) fn list<T>(&mut self, name: &str, items: &[T], fields: impl Fn(&mut Self, &T)) {
        self.name(name);
        self.within(['[', ']'], |json| {
            for item in items {
                json.comma();
                json.object(|json| fields(json, item));
            }
        });
    }

    /// A list of other values.
    pub(super) fn items<T>(&mut self, name: &str, items: &[T], value: impl Fn(&mut Self, &T)) {
        self.name(name);
        self.within(['[', ']'], |json| {
            for item in items {
                json.comma();
                value(json, item);
            }
        });
    }

    /// A text that is no field.
    pub(super) fn string(&mut self, text: &str) {
        self.quote(text);
        self.behind = true;
    }

    fn comma(&mut self) {
        if self.behind {
            self.out.push(',');
        }
    }

    /// A name, which a value follows.
    pub(super) fn name(&mut self, name: &str) {
        self.comma();
        self.quote(name);
        self.out.push(':');
    }

    pub(super) fn raw(&mut self, value: impl fmt::Display) {
        let _ = write!(self.out, "{value}");
        self.behind = true;
    }

    /// A whole number.
    pub(super) fn number(&mut self, name: &str, value: impl fmt::Display) {
        self.name(name);
        self.raw(value);
    }

    pub(super) fn flag(&mut self, name: &str, value: bool) {
        self.number(name, value);
    }

    /// A whole number, or null.
    pub(super) fn maybe(&mut self, name: &str, value: Option<impl fmt::Display>) {
        match value {
            Some(value) => self.number(name, value),
            None => self.number(name, "null"),
        }
    }

    pub(super) fn id(&mut self, name: &str, task: Option<TaskId>) {
        self.maybe(name, task);
    }

    pub(super) fn time(&mut self, name: &str, time: Option<Duration>) {
        self.maybe(name, time.map(|time| time.as_nanos()));
    }

    pub(super) fn text(&mut self, name: &str, text: Option<&str>) {
        self.name(name);
        match text {
            Some(text) => self.quote(text),
            None => self.out.push_str("null"),
        }
        self.behind = true;
    }

    fn quote(&mut self, text: &str) {
        self.out.push('"');
        for char in text.chars() {
            match char {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\t' => self.out.push_str("\\t"),
                '\r' => self.out.push_str("\\r"),
                // Also DEL and the controls above it: a terminal would act on them.
                char if char.is_control() => {
                    let _ = write!(self.out, "\\u{:04x}", u32::from(char));
                }
                char => self.out.push(char),
            }
        }
        self.out.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_and_parsed_back() {
        // Goal: no text breaks the format; method: each kind of character, by a parser of others.
        let hard = "\"quoted\" \\ \n\r\t\u{0}\u{1b}[31m \u{85} \u{7f} \u{1F600} end";
        let mut json = Json::default();
        json.object(|json| {
            json.text(hard, Some(hard));
            json.text("none", None);
            json.list("list", &[1, 2], |json, item| json.number("item", item));
            json.list("empty", &[0; 0], |_, _| {});
            json.flag("flag", true);
        });
        let parsed: serde_json::Value = serde_json::from_str(&json.out).unwrap();
        assert_eq!(parsed[hard], hard);
        assert!(parsed["none"].is_null());
        assert_eq!(parsed["list"][1]["item"], 2);
        assert_eq!(parsed["empty"], serde_json::json!([]));
        assert_eq!(parsed["flag"], true);
        assert!(json.out.is_ascii() || json.out.contains('\u{1F600}'));
        assert!(!json.out.contains(char::is_control));
    }
}
