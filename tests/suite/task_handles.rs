//! The names of tasks, how they start, and the functions of their handles.

use std::future::pending;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use ringloop::task::{Builder, current_task};
use ringloop::{Canceller, ScopeKind, TaskError, spawn, spawn_local, yield_now};

use crate::harness::{ErrorLog, Kind, deliberate, must_panic, on_every, wait_until_async};
use crate::tools::{Count, Log};

#[test]
fn name_and_place_are_known_to_the_handle_and_within() {
    // Goal: a name is seen in `name`, in `Debug`, and by the code of the task, in whatever way it
    // is spawned.
    on_every(|cfg| {
        cfg.once(async {
            let inside = || async { current_task().unwrap().name().map(str::to_owned) };
            let here = Location::caller();
            let local = Builder::new().name("local").spawn_local(async move {
                let _stays = Rc::new(());
                inside().await
            });
            let owned = Builder::new().name(format!("owned {}", 1)).spawn(inside());
            for (task, name) in [(&local, "local"), (&owned, "owned 1")] {
                assert_eq!(task.name(), Some(name));
                assert_eq!(task.spawned_at().file(), here.file());
                assert!(task.spawned_at().line() > here.line());
                assert!(format!("{task:?}").contains(name), "{task:?}");
            }
            assert_eq!(local.await.unwrap().as_deref(), Some("local"));
            assert_eq!(owned.await.unwrap().as_deref(), Some("owned 1"));
            let unnamed = spawn(inside());
            assert_eq!(unnamed.name(), None);
            assert_eq!(unnamed.await.unwrap(), None);
        });
        let runtime = cfg.runtime();
        let builder = Builder::new().name("from afar");
        let task = builder.spawn_to(&runtime.handle(), async { current_task().unwrap().id() });
        let (id, name) = (task.id(), task.name().map(str::to_owned));
        assert_eq!(runtime.must_run(task).unwrap(), id);
        assert_eq!(name.as_deref(), Some("from afar"));
    });
}

#[test]
fn name_is_in_the_cause_of_a_cancellation_and_in_reports() {
    // Goal: the cause of a cancellation has the name of the cancelled task: with or without a
    // reason, and at the end of the runtime; reports to the hook have the name as well.
    on_every(|cfg| {
        let log = ErrorLog::default();
        cfg.once_with(&log, async {
            let cause = |error: TaskError| {
                let cause = error.cancel_cause().unwrap();
                assert_eq!(cause.scope(), ScopeKind::Task);
                (cause.name().map(str::to_owned), cause.reason().map(str::to_owned))
            };
            for polled in [false, true] {
                let named = Builder::new().name("job").spawn(pending::<()>());
                if polled {
                    yield_now().await;
                }
                named.cancel();
                assert_eq!(cause(named.await.unwrap_err()), (Some("job".into()), None));
            }
            let named = Builder::new().name("job").spawn(pending::<()>());
            named.cancel_with("no time");
            let told = cause(named.await.unwrap_err());
            assert_eq!(told, (Some("job".into()), Some("no time".into())));
            let gone = Builder::new().name("gone").spawn(async { deliberate("of a named task") });
            drop(gone);
            wait_until_async(|| log.count(Kind::Panic) == 1, || "the hook is called".into()).await;
            let text = &log.take(Kind::Panic)[0];
            assert!(text.contains("\"gone\""), "{text}");
        });
        let runtime = cfg.runtime();
        let task = Builder::new().name("left").spawn_to(&runtime.handle(), pending::<()>());
        assert!(runtime.into_inner().shutdown(Duration::from_secs(20)).is_clean());
        let error = task.blocking_join(Duration::from_secs(20)).unwrap().unwrap_err();
        assert_eq!(error.cancel_cause().unwrap().name(), Some("left"));
    });
}

#[test]
fn eager_task_runs_up_to_its_first_suspension_within_the_call() {
    // Goal: an eager start is a poll within the spawner's poll, and leaves no trace in it: the code
    // after it goes on as the spawner. Method: the order of log entries; tasks within tasks.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let log = Log::new();
            let own = current_task().unwrap().id();
            let inner = log.clone();
            let task = Builder::new().eager().name("eager").spawn(async move {
                let own = current_task().unwrap().id();
                inner.push("first");
                let nested = Builder::new().eager().spawn(async move { own });
                assert!(nested.is_finished());
                assert_eq!(current_task().unwrap().id(), own);
                yield_now().await;
                assert_eq!(nested.await.unwrap(), own);
                inner.push("second");
                own
            });
            log.push("spawned");
            assert_eq!(current_task().unwrap().id(), own);
            let id = task.id();
            assert_eq!(task.await.unwrap(), id);
            let logged = log.take();
            assert_eq!(logged[0], "first");
            if cfg.single() {
                assert_eq!(logged, ["first", "spawned", "second"]);
            }
            let ready = Builder::new().eager().spawn(async { 7 });
            assert!(ready.is_finished());
            assert_eq!(ready.await.unwrap(), 7);
            let panics = Builder::new().eager().spawn(async { deliberate("at once") });
            assert!(panics.await.unwrap_err().is_panicked());
        });
    });
}

#[test]
fn eager_local_task_and_its_cancellation() {
    // Goal: an eager task that is not `Send` stays on its thread; one that is cancelled after its
    // first poll sees that as any other.
    on_every(|cfg| {
        cfg.once(async {
            let shared = Rc::new(std::cell::Cell::new(0));
            let inner = shared.clone();
            let task = Builder::new().eager().spawn_local(async move {
                inner.set(1);
                let gone = ringloop::catch_cancel(pending::<()>()).await.unwrap_err();
                inner.set(2);
                gone.cause().reason().map(str::to_owned)
            });
            assert_eq!(shared.get(), 1);
            task.cancel_with("enough");
            assert_eq!(task.await.unwrap().as_deref(), Some("enough"));
            assert_eq!(shared.get(), 2);
        });
    });
}

#[test]
fn eager_start_from_elsewhere_and_after_the_end() {
    // Goal: on a thread that is no worker the task starts in the usual way; an ended runtime
    // refuses it.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let handle = runtime.handle();
        let here = std::thread::current().id();
        let eager = || Builder::new().eager();
        let task = eager().spawn_to(&handle, async { std::thread::current().id() });
        assert_ne!(runtime.must_run(task).unwrap(), here);
        drop(runtime);
        let polls = Count::new();
        let refused = eager().spawn_to(&handle, {
            let polls = polls.clone();
            async move { polls.add() }
        });
        let error = refused.blocking_join(Duration::from_secs(20)).unwrap().unwrap_err();
        assert!(error.is_cancelled());
        assert_eq!(polls.get(), 0);
    });
}

#[test]
fn canceller_ends_the_task_and_keeps_no_result_alive() {
    // Goal: the result is dropped with the handle though a canceller lives; a canceller works on
    // any thread, passes its reason on, and knows the task after its end.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let dropped = Count::new();
            let guard = dropped.on_drop();
            let done = Builder::new().name("done").spawn(async move { guard });
            let canceller = done.canceller();
            wait_until_async(|| canceller.is_finished(), || "the task ends".into()).await;
            assert_eq!(dropped.get(), 0);
            drop(done);
            assert_eq!(dropped.get(), 1);
            assert!(!canceller.cancel());
            assert!(!canceller.clone().abort());
            assert_eq!(canceller.name(), Some("done"));

            let waits = spawn(pending::<()>());
            let canceller = waits.canceller();
            assert_eq!(canceller.id(), waits.id());
            assert_eq!(canceller.spawned_at(), waits.spawned_at());
            let thread = std::thread::spawn(move || canceller.cancel_with("from a thread"));
            let error = waits.await.unwrap_err();
            assert!(crate::tools::joined(thread).await.unwrap());
            assert_eq!(error.cancel_cause().unwrap().reason(), Some("from a thread"));
        });
        // A task that is not `Send`, cancelled from another thread; it ends on its own thread.
        cfg.once(async {
            let task = spawn_local(async {
                let _stays = Rc::new(());
                let me: Canceller = current_task().unwrap();
                std::thread::spawn(move || me.abort()).join().unwrap();
                pending::<()>().await;
            });
            assert!(task.await.unwrap_err().is_cancelled());
        });
        assert!(current_task().is_none());
    });
}

#[test]
fn result_is_taken_once_without_waiting() {
    // Goal: `try_result` is none before the end, and the result after it, once.
    on_every(|cfg| {
        cfg.once(async {
            let mut task = spawn_local(async {
                yield_now().await;
                String::from("value")
            });
            assert!(task.try_result().is_none());
            wait_until_async(|| task.is_finished(), || "the task ends".into()).await;
            assert_eq!(task.try_result().unwrap().unwrap(), "value");
            let text = must_panic(move || drop(task.try_result()));
            assert!(text.contains("after it gave its result"), "{text}");
        });
    });
}

#[test]
fn blocking_join_waits_on_plain_threads_only() {
    // Goal: a plain thread gets the result, or the handle back; on a worker it fails at once.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        let (promise, waits) = ringloop::sync::oneshot::<()>();
        let task = runtime.spawn(async move {
            waits.await.unwrap();
            7
        });
        let error = task.blocking_join(Duration::from_millis(1)).unwrap_err();
        assert!(error.is_timeout() && !error.is_on_worker());
        assert!(error.to_string().contains("in time"), "{error}");
        let task = error.into_task();
        promise.set(()).unwrap();
        assert_eq!(task.blocking_join(Duration::from_secs(20)).unwrap().unwrap(), 7);
        runtime.must_run(async {
            let task = spawn(async { 8 });
            let error = task.blocking_join(Duration::from_secs(20)).unwrap_err();
            assert!(error.is_on_worker() && !error.is_timeout());
            assert_eq!(error.into_task().await.unwrap(), 8);
        });
    });
}
