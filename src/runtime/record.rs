//! Turning the flight recorder on, and reading it.

use std::{env, path::PathBuf, thread, time::Duration};

use super::{Builder, Handle, Inner};
use crate::{
    error::BuildError,
    record::{self, Collector, Recording},
    util::clock,
};

/// Says whether runtimes whose program does not say so are recorded.
const RECORD: &str = "RINGLOOP_RECORD";
/// Names the file for runtimes whose program does not name one.
const FILE: &str = "RINGLOOP_RECORD_FILE";
/// How often the rings are read while a longer time is recorded. A ring has 512 events at least.
const READ: Duration = Duration::from_millis(5);
/// Events of a longer recording at most: 64 MiB.
const MOST: usize = 1 << 20;

/// What a builder was asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct RecordOptions {
    /// Unless the environment is to say.
    on: Option<bool>,
    file: Option<PathBuf>,
}

impl RecordOptions {
    /// Whether to record, and the file; with a look at the environment.
    pub(super) fn resolve(&self) -> Result<(bool, Option<PathBuf>), BuildError> {
        let on = match (self.on, env::var_os(RECORD)) {
            (Some(on), _) => on,
            (None, None) => false,
            (None, Some(text)) => match text.to_str() {
                Some("1") => true,
                Some("0" | "") => false,
                _ => {
                    let text = text.display();
                    return Err(BuildError::new(format!("{RECORD} is {text}: say 1 or 0")));
                }
            },
        };
        let named = || env::var_os(FILE).filter(|name| !name.is_empty()).map(PathBuf::from);
        Ok((on, self.file.clone().or_else(named)))
    }
}

impl Builder {
    /// Whether the flight recorder is on from the beginning: it keeps what the workers did last, in 8 MiB
    /// of memory. [`Handle::recording`] reads it, and [`Handle::record`] turns it on and off later.
    ///
    /// Off, it costs a branch for each poll and wake. On, it costs some 20 ns for each event, of which a
    /// poll is one. Default: what the environment variable `RINGLOOP_RECORD` says, `1` or `0`; without it,
    /// off.
    ///
    /// asyncio: has none.
    ///
    /// # Errors
    ///
    /// [`build`](Self::build) and [`run`](Self::run) refuse other values of the variable.
    ///
    /// ```
    /// let rt = ringloop::Builder::new().record(true).build().unwrap();
    /// rt.run(async { ringloop::spawn(async {}).await.unwrap() }).unwrap();
    /// assert!(!rt.handle().recording().is_empty());
    /// ```
    pub fn record(mut self, on: bool) -> Self {
        self.record.on = Some(on);
        self
    }

    /// The file for recordings that are written by themselves, if the recorder is on. Each of these writes one, the first time
    /// since the recorder was turned on; the names are those for `a/last.json`:
    ///
    /// * a task panics: `a/last-panic.json`;
    /// * the [doctor](crate::introspect::doctor) finds more than hints: `a/last-doctor.json`;
    /// * the runtime has not ended by its deadline: `a/last-shutdown.json`.
    ///
    /// They are as [`to_trace`](Recording::to_trace) gives them. Default: what the environment variable
    /// `RINGLOOP_RECORD_FILE` names; without it, none is written.
    ///
    /// After a panic a thread made for that writes; the end of the runtime waits for it, 2 s at most. The doctor writes before it
    /// returns. If it fails, standard error has a line about it.
    ///
    /// asyncio: has none.
    ///
    /// ```
    /// # let folder = std::env::temp_dir().join(format!("ringloop-record-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder).unwrap();
    /// let builder = ringloop::Builder::new().record(true).record_to(folder.join("last.json"));
    /// builder
    ///     .on_error(|_| {})
    ///     .run(async { ringloop::spawn(async { panic!("a mistake") }).await.unwrap_err() })
    ///     .unwrap();
    /// let trace = std::fs::read_to_string(folder.join("last-panic.json")).unwrap();
    /// assert!(trace.contains("\"name\":\"panic\""));
    /// # std::fs::remove_dir_all(&folder).unwrap();
    /// ```
    pub fn record_to(mut self, file: impl Into<PathBuf>) -> Self {
        self.record.file = Some(file.into());
        self
    }
}

impl Inner {
    /// Turns the recorder on. Whether it was off.
    pub(super) fn record(&self) -> bool {
        let hub = self.hub;
        if !hub.recorder.start(hub.key(), hub.workers(), self.record_to.clone()) {
            return false;
        }
        if let Some(rings) = record::rings(hub.key()) {
            let add = |task: &crate::task::TaskRef| {
                if let Some(name) = task.name() {
                    rings.add_name(task.header().id(), name);
                }
            };
            hub.registry.for_each(add);
        }
        true
    }
}

impl Handle {
    /// Turns the flight recorder on or off. What it has recorded stays until it is turned on again. A worker
    /// that is in a long poll takes part from its next tick on.
    ///
    /// After the runtime's end, and in a forked child, it does nothing.
    ///
    /// asyncio: has none.
    ///
    /// ```
    /// ringloop::run(async {
    ///     let handle = ringloop::Handle::current();
    ///     handle.record(true);
    ///     // It takes effect with the next tick.
    ///     ringloop::time::sleep(std::time::Duration::from_millis(1)).await;
    ///     handle.record(false);
    ///     assert!(!handle.recording().is_empty());
    /// });
    /// ```
    pub fn record(&self, on: bool) {
        self.while_it_lives(|inner| match on {
            true => _ = inner.record(),
            false => inner.hub.recorder.stop(),
        });
    }

    /// Whether the flight recorder is on.
    ///
    /// ```
    /// let rt = ringloop::Builder::new().record(false).build().unwrap();
    /// assert!(!rt.handle().is_recording());
    /// ```
    pub fn is_recording(&self) -> bool {
        self.while_it_lives(|inner| inner.hub.recorder.epoch() != 0).unwrap_or(false)
    }

    /// What the workers did last, as far as it has been [recorded](Self::record); empty if nothing has, and
    /// after the runtime's end. It disturbs no worker, and may be called while all of them are stuck.
    ///
    /// asyncio: has none.
    ///
    /// ```
    /// assert!(ringloop::Runtime::new().unwrap().handle().recording().is_empty());
    /// ```
    pub fn recording(&self) -> Recording {
        let rings = self.while_it_lives(|inner| record::rings(inner.hub.key())).flatten();
        rings.map(|rings| Recording::of(&rings)).unwrap_or_default()
    }

    /// Writes what was recorded to the file that was chosen for it: the doctor has found something. Only if the
    /// recorder is on.
    pub(crate) fn alarm_of_doctor(&self) {
        if self.is_recording()
            && let Some(key) = self.while_it_lives(|inner| inner.hub.key())
        {
            record::alarm(key, record::Alarm::Doctor);
        }
    }

    /// Records for a time, while this thread waits, with more room than the recorder's own: up to a million
    /// events. The recorder is off again afterwards if it was off before.
    ///
    /// Called on a worker it holds that worker. It ends early when there is no more room.
    ///
    /// asyncio: has none.
    ///
    /// ```
    /// let rt = ringloop::Runtime::new().unwrap();
    /// let work = rt.spawn(async {
    ///     for _ in 0..10 {
    ///         ringloop::time::sleep(std::time::Duration::from_millis(1)).await;
    ///     }
    /// });
    /// let recording = rt.handle().record_for(std::time::Duration::from_millis(20));
    /// assert!(!recording.is_empty() && !rt.handle().is_recording());
    /// # drop(work);
    /// ```
    pub fn record_for(&self, time: Duration) -> Recording {
        let begun = self.while_it_lives(Inner::record).unwrap_or(false);
        let Some(rings) = self.while_it_lives(|inner| record::rings(inner.hub.key())).flatten()
        else {
            return Recording::default();
        };
        let mut collector = Collector::new();
        // What has been recorded before is not of this time.
        let mut recording = collector.take(&rings).without_events();
        // Only now: it may take some ms to get the memory.
        let until = clock::machine().saturating_add(clock::nanos(time));
        loop {
            let left = until.saturating_sub(clock::machine());
            thread::sleep(READ.min(Duration::from_nanos(left)));
            recording.append(collector.take(&rings));
            if left == 0 || recording.len() >= MOST {
                break;
            }
        }
        if begun {
            self.record(false);
        }
        recording
    }

    /// Calls `f` unless the runtime has ended, or is the parent's.
    fn while_it_lives<R>(&self, f: impl FnOnce(&Inner) -> R) -> Option<R> {
        let inner = &*self.inner;
        // While it is held, the hub is not given to another runtime.
        let last = inner.last_metrics.lock();
        (last.is_none() && inner.is_ours()).then(|| f(inner))
    }
}
