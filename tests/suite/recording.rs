//! The flight recorder.

use std::{collections::HashSet, fs, sync::mpsc, thread, time::Duration};

use ringloop::{
    Handle, TaskId,
    introspect::{EventKind, Recording},
    io::AsyncWriteExt,
    spawn, spawn_local,
    sync::Event,
    task, time, to_thread, yield_now,
};

use crate::{
    fs_tools::TestFolder,
    harness::{Cfg, ErrorLog, Kind, on_every},
};

/// Runs `main` on the calling thread with the recorder on.
fn recorded<F: Future>(cfg: &Cfg, main: F) -> F::Output {
    cfg.builder_with(&ErrorLog::default()).record(true).run(main).unwrap()
}

fn kinds(recording: &Recording) -> impl Iterator<Item = EventKind> + '_ {
    recording.tracks.iter().flat_map(|track| &track.events).map(|event| event.kind)
}

fn polls_of(recording: &Recording, id: TaskId) -> usize {
    let polls = |kind: &EventKind| matches!(kind, EventKind::PollBegin { task, .. } if *task == id);
    kinds(recording).filter(polls).count()
}

#[test]
fn life_of_a_task_is_recorded() {
    // Goal: spawn, polls, wakes and the end of a task are there, with its name, its place and the task that
    // woke it; method: a task with a name that yields twice, and waits for an event that main sets.
    on_every(|cfg| {
        recorded(cfg, async {
            let event = std::sync::Arc::new(Event::new());
            let (begun, waits) = ringloop::sync::oneshot();
            let job = {
                let event = event.clone();
                async move {
                    yield_now().await;
                    yield_now().await;
                    _ = begun.set(());
                    event.wait().await;
                }
            };
            let own = task::current_task().unwrap().id();
            let task = task::Builder::new().name("recorded").spawn(job);
            let (id, place) = (task.id(), task.spawned_at());
            waits.await.unwrap();
            // It has not ended, and only a set wakes it.
            event.set();
            task.await.unwrap();
            let recording = Handle::current().recording();
            assert!(polls_of(&recording, id) >= 3, "{recording:?}");
            assert_eq!(recording.name_of(id), Some("recorded"));
            let found: HashSet<_> = kinds(&recording)
                .filter_map(|kind| match kind {
                    EventKind::Spawn { task, spawned_at, parent } if task == id => {
                        assert_eq!((spawned_at, parent), (place, Some(own)));
                        Some("spawn")
                    }
                    EventKind::PollBegin { task, spawned_at } if task == id => {
                        assert_eq!(spawned_at, place);
                        Some("poll")
                    }
                    EventKind::Wake { task, by: Some(by) } if task == id && by == own => {
                        Some("wake")
                    }
                    EventKind::End { task, panicked: false } if task == id => Some("end"),
                    _ => None,
                })
                .collect();
            assert_eq!(found, HashSet::from(["spawn", "poll", "wake", "end"]), "{recording:?}");
        });
    });
}

#[test]
fn sleep_timers_jobs_and_eager_turns_are_recorded() {
    on_every(|cfg| {
        recorded(cfg, async {
            time::sleep(Duration::from_millis(1)).await;
            let job = to_thread(|| thread::sleep(Duration::from_micros(100)));
            job.await.unwrap();
            let eager = task::Builder::new().eager().spawn(async {});
            let id = eager.id();
            eager.await.unwrap();
            spawn_local(async {}).await.unwrap();
            // Its end is noted behind the wake.
            let ended = |kind: &EventKind| matches!(kind, EventKind::JobEnd { .. });
            while !kinds(&Handle::current().recording()).any(|kind| ended(&kind)) {
                yield_now().await;
            }
            let recording = Handle::current().recording();
            let has = |wanted: fn(&EventKind) -> bool| kinds(&recording).any(|kind| wanted(&kind));
            assert!(has(|kind| matches!(kind, EventKind::Park)));
            assert!(has(|kind| matches!(kind, EventKind::Unpark)));
            assert!(has(|kind| matches!(kind, EventKind::Timers { fired: 1 })));
            assert!(has(|kind| matches!(kind, EventKind::JobBegin { .. })));
            assert!(has(|kind| matches!(kind, EventKind::PollsEnd)));
            let eager = |kind| matches!(kind, EventKind::EagerBegin { task, .. } if task == id);
            assert!(kinds(&recording).any(eager));
            for track in &recording.tracks {
                assert_eq!(track.lost, 0);
                assert!(track.events.is_sorted_by_key(|event| event.at), "{track:?}");
                let times = |event: &ringloop::introspect::Event| {
                    (recording.begin..=recording.end).contains(&event.at)
                };
                assert!(track.events.iter().all(times), "{recording:?}");
            }
        });
    });
}

#[test]
fn reactor_reports_what_it_submits_and_what_comes() {
    on_every(|cfg| {
        recorded(cfg, async {
            let (mut ours, mut theirs) = ringloop::net::UnixStream::pair().unwrap();
            let reader = spawn(async move {
                let mut byte = [0];
                ours.read(&mut byte).await.unwrap()
            });
            // It waits in the reactor by then.
            time::sleep(Duration::from_millis(5)).await;
            theirs.write_all(b"x").await.unwrap();
            assert_eq!(reader.await.unwrap(), 1);
            let recording = Handle::current().recording();
            let turns = kinds(&recording).filter_map(|kind| match kind {
                EventKind::Turn { submitted, completed } => Some((submitted, completed)),
                _ => None,
            });
            let sums = turns.fold((0, 0), |sums, turn| (sums.0 + turn.0, sums.1 + turn.1));
            assert!(sums.1 >= 1, "{recording:?}");
            assert_eq!(sums.0 > 0, cfg.backend() != "epoll", "{recording:?}");
        });
    });
}

#[test]
fn recorder_is_turned_on_and_off_while_tasks_run() {
    // Goal: nothing is recorded before and after; a second recording begins anew; what was recorded stays
    // until then. Method: a task that is polled in each of the three times.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let handle = runtime.handle();
        let turn = || runtime.must_run(async { spawn(yield_now()).await.unwrap() });
        turn();
        assert!(!handle.is_recording() && handle.recording().is_empty());
        handle.record(true);
        handle.record(true);
        while handle.recording().is_empty() {
            turn();
        }
        handle.record(false);
        assert!(!handle.is_recording());
        // Each worker ends a tick that it may have been in.
        let first = loop {
            let first = handle.recording();
            (0..100).for_each(|_| turn());
            if kinds(&first).eq(kinds(&handle.recording())) {
                break first;
            }
        };
        handle.record(true);
        assert!(handle.recording().begin > first.begin);
    });
}

#[test]
fn recording_is_read_while_every_worker_is_stuck() {
    on_every(|cfg| {
        let runtime = cfg.builder_with(&ErrorLog::default()).record(true).build().unwrap();
        let (tell, told) = mpsc::channel();
        let (releases, tasks): (Vec<_>, Vec<_>) = (0..cfg.workers)
            .map(|worker| {
                let (release, released) = mpsc::channel::<()>();
                let tell = tell.clone();
                let hold = move || async move {
                    tell.send(task::current_task().unwrap().id()).unwrap();
                    _ = released.recv();
                };
                let worker = runtime.handle().worker_ids()[worker];
                (release, runtime.handle().spawn_on(worker, hold))
            })
            .unzip();
        let stuck: Vec<TaskId> = (0..cfg.workers).map(|_| told.recv().unwrap()).collect();
        let recording = runtime.handle().recording();
        for id in stuck {
            assert_eq!(polls_of(&recording, id), 1, "{recording:?}");
        }
        // The slices of polls that have not ended.
        let unfinished = recording.to_trace().matches("\"unfinished\":true").count();
        assert_eq!(unfinished, cfg.workers);
        drop(releases);
        for task in tasks {
            runtime.run(task).unwrap().unwrap();
        }
    });
}

#[test]
fn panic_and_missed_deadline_write_a_file_each() {
    // Goal: the first panic and a shutdown that is held write the recording, and nothing else does;
    // method: two panics, and a task that is in one long poll at the deadline.
    on_every(|cfg| {
        let folder = TestFolder::new();
        let log = ErrorLog::default();
        let builder = cfg.builder_with(&log).record(true).record_to(folder.join("last.json"));
        let runtime = builder.build().unwrap();
        runtime.run(async { spawn(async {}).await.unwrap() }).unwrap();
        assert_eq!(folder.names().len(), 0);
        for name in ["first", "second"] {
            let job = async {
                if name.len() > 1 {
                    panic!("a mistake")
                }
            };
            let main = async move { task::Builder::new().name(name).spawn(job).await.unwrap_err() };
            assert!(runtime.run(main).unwrap().is_panicked());
        }
        let (release, released) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let holder = runtime.spawn(async move {
            tell.send(()).unwrap();
            _ = released.recv();
        });
        told.recv().unwrap();
        assert!(!runtime.shutdown(Duration::from_millis(20)).is_clean());
        drop((release, holder));
        log.take(Kind::Other);
        let read = |name: &str| loop {
            // The thread that writes it may not have come to it.
            if let Ok(text) = fs::read_to_string(folder.join(name)) {
                break text;
            }
            thread::yield_now();
        };
        let panic = read("last-panic.json");
        assert!(panic.contains("\"name\":\"first\"") && !panic.contains("\"name\":\"second\""));
        assert!(read("last-shutdown.json").contains("\"unfinished\":true"));
    });
}

#[test]
fn events_of_other_threads_are_in_a_track_of_their_own() {
    on_every(|cfg| {
        let runtime = cfg.builder_with(&ErrorLog::default()).record(true).build().unwrap();
        let event = std::sync::Arc::new(Event::new());
        let (begun, waits) = mpsc::channel();
        let task = runtime.spawn({
            let event = event.clone();
            async move {
                begun.send(()).unwrap();
                event.wait().await;
            }
        });
        let id = task.id();
        waits.recv().unwrap();
        while runtime.handle().all_tasks().iter().all(|info| info.waits_for().is_none()) {
            thread::yield_now();
        }
        event.set();
        runtime.run(task).unwrap().unwrap();
        let recording = runtime.handle().recording();
        let others = recording.tracks.last().unwrap();
        assert_eq!(others.name, "other threads");
        let kinds: Vec<_> = others.events.iter().map(|event| event.kind).collect();
        assert!(kinds.contains(&EventKind::Wake { task: id, by: None }), "{kinds:?}");
        let spawned =
            |kind: &EventKind| matches!(kind, EventKind::Spawn { task, .. } if *task == id);
        assert!(kinds.iter().any(spawned), "{kinds:?}");
    });
}
