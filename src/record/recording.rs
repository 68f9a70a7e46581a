//! What was recorded, as a value.

use std::collections::BTreeMap;

use super::{
    event::{Event, EventKind},
    recorder::Rings,
    ring::Read,
    ticks::{Moment, Scale},
    trace,
};
use crate::{error::TaskId, loom::global::Ordering};

/// What the threads of a runtime did last: see [`Handle::recording`](crate::Handle::recording).
///
/// asyncio: has none.
///
/// ```
/// use ringloop::{Builder, Handle, introspect::EventKind, spawn};
///
/// Builder::new()
///     .record(true)
///     .run(async {
///         let task = spawn(async {});
///         let id = task.id();
///         task.await.unwrap();
///         let recording = Handle::current().recording();
///         let mut events = recording.tracks.iter().flat_map(|track| &track.events);
///         let polled = |kind| matches!(kind, EventKind::PollBegin { task, .. } if task == id);
///         assert!(events.any(|event| polled(event.kind)));
///     })
///     .unwrap();
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recording {
    /// The process.
    pub pid: u32,
    /// The beginning, in ns of the machine's monotonic clock: when the recorder was turned on, unless
    /// events have been overwritten since.
    pub begin: u64,
    /// When the recording was read.
    pub end: u64,
    /// The workers by their indices, and one track for all other threads.
    pub tracks: Vec<Track>,
    /// Names of tasks that have one, of those of the last 16384 of them.
    pub names: BTreeMap<TaskId, String>,
}

/// What one worker did, or all threads that are no workers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Track {
    /// Whose: `"worker 0"`, `"other threads"`.
    pub name: String,
    /// Its events, the oldest first.
    pub events: Vec<Event>,
    /// Earlier events that are gone: memory is bounded.
    pub lost: u64,
}

impl Recording {
    /// What the rings have now.
    pub(crate) fn of(rings: &Rings) -> Self {
        Collector::new().take(rings)
    }

    /// The recording in the trace-event format, which Perfetto (`ui.perfetto.dev`) and Chrome
    /// (`chrome://tracing`) open.
    ///
    /// Workers are threads; polls are slices with the name of their task, or the place that spawned it. Arrows
    /// go from a wake to the poll that it causes. Sleep is a slice; submissions and completions of
    /// rings are counters. See [the guide](crate::guide::inspect).
    ///
    /// The format is described in "Trace Event Format", a document of the Chromium project.
    ///
    /// ```
    /// let trace = ringloop::introspect::Recording::default().to_trace();
    /// assert!(trace.starts_with("{\"displayTimeUnit\":\"ns\",\"traceEvents\":["));
    /// ```
    pub fn to_trace(&self) -> String {
        trace::of(self)
    }

    /// The name of a task, if it has one.
    pub fn name_of(&self, task: TaskId) -> Option<&str> {
        self.names.get(&task).map(String::as_str)
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.tracks.iter().all(|track| track.events.is_empty())
    }

    /// The same time from its end on, with nothing in it.
    pub(crate) fn without_events(mut self) -> Self {
        self.begin = self.end;
        for track in &mut self.tracks {
            track.events.clear();
            track.lost = 0;
        }
        self
    }

    /// What was recorded from `time` on, in ns of the machine's monotonic clock.
    pub(crate) fn since(&self, time: u64) -> Self {
        let cut = |track: &Track| {
            let from = track.events.partition_point(|event| event.at < time);
            // If an earlier one is there, none that is gone was later.
            let lost = if from > 0 { 0 } else { track.lost };
            Track { name: track.name.clone(), events: track.events[from..].to_vec(), lost }
        };
        Self {
            pid: self.pid,
            begin: self.begin.max(time),
            end: self.end,
            tracks: self.tracks.iter().map(cut).collect(),
            names: self.names.clone(),
        }
    }

    /// How many events there are.
    pub(crate) fn len(&self) -> usize {
        self.tracks.iter().map(|track| track.events.len()).sum()
    }

    /// Adds what was recorded later.
    pub(crate) fn append(&mut self, later: Self) {
        self.end = later.end;
        self.names.extend(later.names);
        for (track, more) in self.tracks.iter_mut().zip(later.tracks) {
            track.events.extend(more.events);
            track.lost += more.lost;
        }
    }
}

/// Reads rings again and again, each event once.
pub(crate) struct Collector {
    next: Vec<u64>,
    missed: u64,
}

impl Collector {
    pub(crate) fn new() -> Self {
        Self { next: Vec::new(), missed: 0 }
    }

    /// What was recorded since the last time.
    pub(crate) fn take(&mut self, rings: &Rings) -> Recording {
        let workers = rings.workers.iter().enumerate();
        let workers = workers.map(|(index, ring)| (format!("worker {index}"), ring));
        let all: Vec<_> = workers.chain([("other threads".to_owned(), &rings.others)]).collect();
        self.next.resize(all.len(), 0);
        let read: Vec<(String, Read)> = all
            .into_iter()
            .zip(&self.next)
            .map(|((name, ring), from)| (name, ring.read(*from)))
            .collect();
        // Behind the events: then each of them lies between the two moments.
        let scale = Scale { begin: rings.begin, end: Moment::now() };
        self.next = read.iter().map(|(_, read)| read.next).collect();
        let mut tracks: Vec<Track> =
            read.into_iter().map(|(name, read)| track(name, &read, scale)).collect();
        // Relaxed: a count for people.
        let missed = rings.missed.load(Ordering::Relaxed);
        if let Some(others) = tracks.last_mut() {
            others.lost += missed - self.missed;
        }
        self.missed = missed;
        let first = tracks.iter().filter(|track| track.lost > 0);
        let first = first.filter_map(|track| Some(track.events.first()?.at)).min();
        Recording {
            pid: std::process::id(),
            begin: first.unwrap_or(rings.begin.time),
            end: scale.end.time,
            tracks,
            names: rings.names(),
        }
    }
}

fn track(name: String, read: &Read, scale: Scale) -> Track {
    let event = |words: &[u64; _]| {
        Some(Event { at: scale.time_of(words[0]), kind: EventKind::of(*words)? })
    };
    Track { name, events: read.events.iter().filter_map(event).collect(), lost: read.lost }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Kind, Switch, rings};

    #[test]
    fn collector_takes_each_event_once() {
        let (switch, key) = (Switch::new(), u16::MAX);
        assert!(switch.start(key, 2, None) && !switch.start(key, 2, None));
        let rings = rings(key).unwrap();
        let park = || rings.workers[1].push(Kind::Park.words(rings.begin.ticks, 0, 0, 0));
        park();
        let mut collector = Collector::new();
        let mut first = collector.take(&rings);
        assert_eq!(first.tracks.len(), 3);
        assert_eq!(first.tracks[1].events, [Event { at: rings.begin.time, kind: EventKind::Park }]);
        park();
        let second = collector.take(&rings);
        assert_eq!(second.tracks[1].events.len(), 1);
        first.append(second);
        assert_eq!(first.tracks[1].events.len(), 2);
        assert!(!first.is_empty() && collector.take(&rings).is_empty());
        switch.forget(key);
        assert!(crate::record::rings(key).is_none());
    }
}
