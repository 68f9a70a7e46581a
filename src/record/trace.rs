//! A recording in the trace-event format.
//!
//! The file is an object with a list of events, each an object. `ph` is its phase: `M` metadata, `X` a slice
//! with a duration, `i` an instant, `C` a counter, `s` and `f` the ends of an arrow. `ts` and `dur` are µs.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    panic::Location,
};

use super::{Event, EventKind, Recording};
use crate::error::TaskId;

/// The trace of a recording.
pub(super) fn of(recording: &Recording) -> String {
    let mut trace = Trace::new(recording);
    trace.head();
    // By time, so that a wake comes before its poll on another worker.
    let mut all: Vec<(usize, &Event)> = Vec::new();
    for (track, found) in recording.tracks.iter().enumerate() {
        all.extend(found.events.iter().map(|event| (track, event)));
    }
    all.sort_by_key(|(_, event)| event.at);
    for (track, event) in all {
        trace.event(track, event);
    }
    trace.finish()
}

struct Trace<'a> {
    recording: &'a Recording,
    out: String,
    open: Vec<Open>,
    /// Jobs that run, by their threads.
    jobs: BTreeMap<u64, (u64, TaskId, &'static Location<'static>)>,
    /// The arrow that leads to a task's next poll.
    arrows: HashMap<TaskId, u64>,
    next_arrow: u64,
}

/// What goes on in a track.
#[derive(Default)]
struct Open {
    poll: Option<Slice>,
    /// Turns within the poll.
    eager: Vec<Slice>,
    /// Since when the worker sleeps.
    park: Option<u64>,
}

struct Slice {
    begin: u64,
    task: TaskId,
    spawned_at: &'static Location<'static>,
}

impl<'a> Trace<'a> {
    fn new(recording: &'a Recording) -> Self {
        Self {
            recording,
            out: "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[".to_owned(),
            open: recording.tracks.iter().map(|_| Open::default()).collect(),
            jobs: BTreeMap::new(),
            arrows: HashMap::new(),
            next_arrow: 1,
        }
    }

    /// The number of a track's thread: workers come first.
    fn thread_of(track: usize) -> u64 {
        track as u64 + 1
    }

    /// Begins an event: its phase, thread, and time.
    fn begin(&mut self, phase: char, thread: u64, at: u64) {
        let pid = self.recording.pid;
        let comma = if self.out.ends_with('[') { "\n" } else { ",\n" };
        let time = micros(at);
        let _ = write!(
            self.out,
            "{comma}{{\"ph\":\"{phase}\",\"pid\":{pid},\"tid\":{thread},\"ts\":{time}"
        );
    }

    fn name(&mut self, category: &str, name: &str) {
        let _ = write!(self.out, ",\"cat\":\"{category}\",\"name\":{}", quoted(name));
    }

    /// Ends it, with its arguments as JSON.
    fn end(&mut self, args: &str) {
        let _ = write!(self.out, ",\"args\":{{{args}}}}}");
    }

    fn head(&mut self) {
        let name = format!("\"name\":{}", quoted("ringloop"));
        self.begin('M', 0, 0);
        self.name("", "process_name");
        self.end(&name);
        for track in 0..self.recording.tracks.len() {
            let (name, lost) =
                (&self.recording.tracks[track].name, self.recording.tracks[track].lost);
            self.thread(Self::thread_of(track), name);
            if lost > 0 {
                self.begin('i', Self::thread_of(track), self.recording.begin);
                self.name("recorder", "earlier events are gone");
                self.out.push_str(",\"s\":\"t\"");
                self.end(&format!("\"lost\":{lost}"));
            }
        }
    }

    fn thread(&mut self, thread: u64, name: &str) {
        self.begin('M', thread, 0);
        self.name("", "thread_name");
        self.end(&format!("\"name\":{}", quoted(name)));
    }

    fn event(&mut self, track: usize, event: &Event) {
        let (thread, at) = (Self::thread_of(track), event.at);
        match event.kind {
            EventKind::PollBegin { task, spawned_at } => {
                self.end_poll(track, at, false);
                self.end_park(track, at);
                self.arrive(thread, at, task);
                self.open[track].poll = Some(Slice { begin: at, task, spawned_at });
            }
            EventKind::PollsEnd => self.end_poll(track, at, false),
            EventKind::EagerBegin { task, spawned_at } => {
                self.open[track].eager.push(Slice { begin: at, task, spawned_at });
            }
            EventKind::EagerEnd { task } => {
                let last = self.open[track].eager.pop();
                if let Some(slice) = last.filter(|slice| slice.task == task) {
                    self.poll(thread, &slice, at, false);
                }
            }
            EventKind::Park => {
                self.end_poll(track, at, false);
                self.open[track].park = Some(at);
            }
            EventKind::Unpark => self.end_park(track, at),
            EventKind::Wake { task, by } => self.wake(thread, at, task, by),
            EventKind::Spawn { task, spawned_at, parent } => {
                let parent = parent.map_or(String::new(), |parent| format!(",\"parent\":{parent}"));
                let args = format!("{}{parent}", self.about(task, spawned_at));
                self.instant(thread, at, ("task", "spawn"), &args);
            }
            EventKind::End { task, panicked } => {
                let name = if panicked { "panic" } else { "end" };
                self.instant(thread, at, ("task", name), &format!("\"task\":{task}"));
            }
            EventKind::JobBegin { job, spawned_at, thread } => {
                self.jobs.insert(thread, (at, job, spawned_at));
            }
            EventKind::JobEnd { job, thread } => {
                if let Some(begun) = self.jobs.remove(&thread).filter(|begun| begun.1 == job) {
                    self.job(thread, begun, at);
                }
            }
            kind => self.of_worker(track, at, kind),
        }
    }

    /// Events that only workers have.
    fn of_worker(&mut self, track: usize, at: u64, kind: EventKind) {
        let thread = Self::thread_of(track);
        match kind {
            EventKind::Turn { submitted, completed } => {
                self.begin('C', thread, at);
                self.name("reactor", &format!("reactor of worker {track}"));
                self.end(&format!("\"submitted\":{submitted},\"completed\":{completed}"));
            }
            EventKind::Timers { fired } => {
                self.instant(thread, at, ("timer", "timers"), &format!("\"fired\":{fired}"));
            }
            EventKind::Steal { from, tasks } => {
                let args = format!("\"from\":{from},\"tasks\":{tasks}");
                self.instant(thread, at, ("scheduler", "steal"), &args);
            }
            EventKind::Rescue { of, tasks } => {
                let args = format!("\"of\":{of},\"tasks\":{tasks}");
                self.instant(thread, at, ("scheduler", "rescue"), &args);
            }
            _ => {}
        }
    }

    /// An arrow begins. It needs a slice to begin in: a task that wakes another is polled; else there
    /// is one of its own.
    fn wake(&mut self, thread: u64, at: u64, task: TaskId, by: Option<TaskId>) {
        if by.is_none() {
            self.begin('X', thread, at);
            self.name("wake", "wake");
            self.out.push_str(",\"dur\":0.001");
            self.end(&format!("\"task\":{task}"));
        }
        let arrow = self.next_arrow;
        self.next_arrow += 1;
        self.arrows.insert(task, arrow);
        self.begin('s', thread, at);
        self.name("wake", "wake");
        let _ = write!(self.out, ",\"id\":{arrow}");
        self.end("");
    }

    /// It ends in the poll that begins.
    fn arrive(&mut self, thread: u64, at: u64, task: TaskId) {
        if let Some(arrow) = self.arrows.remove(&task) {
            self.begin('f', thread, at);
            self.name("wake", "wake");
            let _ = write!(self.out, ",\"bp\":\"e\",\"id\":{arrow}");
            self.end("");
        }
    }

    fn instant(&mut self, thread: u64, at: u64, (category, name): (&str, &str), args: &str) {
        self.begin('i', thread, at);
        self.name(category, name);
        self.out.push_str(",\"s\":\"t\"");
        self.end(args);
    }

    fn end_poll(&mut self, track: usize, at: u64, unfinished: bool) {
        let thread = Self::thread_of(track);
        // Turns whose end is missing end with the poll.
        while let Some(slice) = self.open[track].eager.pop() {
            self.poll(thread, &slice, at, unfinished);
        }
        if let Some(slice) = self.open[track].poll.take() {
            self.poll(thread, &slice, at, unfinished);
        }
    }

    fn poll(&mut self, thread: u64, slice: &Slice, end: u64, unfinished: bool) {
        let recording = self.recording;
        let place = format!("task at {}", slice.spawned_at);
        self.slice(
            thread,
            (slice.begin, end),
            ("poll", recording.name_of(slice.task).unwrap_or(&place)),
        );
        let unfinished = if unfinished { ",\"unfinished\":true" } else { "" };
        let args = format!("{}{unfinished}", self.about(slice.task, slice.spawned_at));
        self.end(&args);
    }

    fn end_park(&mut self, track: usize, at: u64) {
        if let Some(begin) = self.open[track].park.take() {
            self.slice(Self::thread_of(track), (begin, at), ("park", "park"));
            self.end("");
        }
    }

    fn job(&mut self, thread: u64, begun: (u64, TaskId, &'static Location<'static>), end: u64) {
        let (begin, job, spawned_at) = begun;
        self.slice(thread, (begin, end), ("job", &format!("blocking job at {spawned_at}")));
        let args = self.about(job, spawned_at);
        self.end(&args);
    }

    fn slice(&mut self, thread: u64, (begin, end): (u64, u64), (category, name): (&str, &str)) {
        self.begin('X', thread, begin);
        self.name(category, name);
        let _ = write!(self.out, ",\"dur\":{}", micros(end.saturating_sub(begin)));
    }

    fn about(&self, task: TaskId, spawned_at: &'static Location<'static>) -> String {
        format!("\"task\":{task},\"spawned_at\":{}", quoted(&spawned_at.to_string()))
    }

    /// What has begun and has not ended lasts until the recording was read.
    fn finish(mut self) -> String {
        let end = self.recording.end;
        for track in 0..self.open.len() {
            self.end_poll(track, end, true);
            self.end_park(track, end);
        }
        for (thread, begun) in std::mem::take(&mut self.jobs) {
            self.job(thread, begun, end);
        }
        self.out.push_str("\n]}\n");
        self.out
    }
}

/// Nanoseconds as µs.
fn micros(nanos: u64) -> String {
    format!("{}.{:03}", nanos / 1000, nanos % 1000)
}

/// A string of JSON.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for symbol in text.chars() {
        match symbol {
            '"' | '\\' => {
                out.push('\\');
                out.push(symbol);
            }
            symbol if u32::from(symbol) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(symbol));
            }
            symbol => out.push(symbol),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use std::panic::Location;

    use super::*;
    use crate::record::Track;

    fn recording() -> Recording {
        let at = Location::caller();
        let (first, second, job) = (TaskId(1), TaskId(2), TaskId(3));
        let event = |at, kind| Event { at, kind };
        let worker = vec![
            event(1_000, EventKind::Spawn { task: second, spawned_at: at, parent: Some(first) }),
            event(1_500, EventKind::PollBegin { task: first, spawned_at: at }),
            event(1_700, EventKind::Wake { task: second, by: Some(first) }),
            event(2_000, EventKind::PollsEnd),
            event(2_100, EventKind::Turn { submitted: 2, completed: 1 }),
            event(2_200, EventKind::Park),
        ];
        let other = vec![
            event(900, EventKind::Wake { task: first, by: None }),
            event(2_500, EventKind::PollBegin { task: second, spawned_at: at }),
            event(2_600, EventKind::End { task: second, panicked: true }),
        ];
        let threads = vec![
            event(1_100, EventKind::JobBegin { job, spawned_at: at, thread: 77 }),
            event(1_900, EventKind::JobEnd { job, thread: 77 }),
        ];
        let track = |name: &str, events, lost| Track { name: name.to_owned(), events, lost };
        Recording {
            pid: 9,
            begin: 900,
            end: 3_000,
            tracks: vec![
                track("worker 0", worker, 0),
                track("worker 1", other, 4),
                track("other threads", threads, 0),
            ],
            names: BTreeMap::from([(first, "say \"hi\"".to_owned())]),
        }
    }

    #[test]
    fn trace_is_as_it_was() {
        let trace = of(&recording());
        // The places are those of this file, whose lines change.
        let place = Location::caller().file().to_owned();
        let plain: Vec<String> = trace.lines().map(|line| without_lines(line, &place)).collect();
        let golden: Vec<&str> = include_str!("trace_golden.json").lines().collect();
        assert_eq!(plain, golden, "{}", plain.join("\n"));
    }

    /// `src/record/trace.rs:1:2` becomes `HERE`.
    fn without_lines(line: &str, file: &str) -> String {
        let begin = format!("{file}:");
        let mut parts = line.split(&begin);
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            out.push_str("HERE");
            out.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':'));
        }
        out
    }
}
