//! Task-local values: scopes, inheritance by children, threads.

use std::cell::Cell;
use std::future::pending;

use ringloop::task::Builder;
use ringloop::{Handle, spawn, spawn_local, task_local, to_thread, yield_now};

use crate::harness::{deliberate, must_panic, on_every, wait_until_async};
use crate::tools::{AddOnDrop, Count, Log};

task_local! {
    inherited static USER: String;
    inherited static TRIES: Cell<u32>;
    static OWN: Cell<u32>;
}

#[test]
fn t73_child_copies_and_its_change_is_its_own() {
    // Goal: T73: a child has a copy, made by the spawn; its parent does not see the child's
    // changes, nor the child its parent's; a plain await shares; a key that is not inherited stays
    // with the parent.
    on_every(|cfg| {
        cfg.everywhere(|| {
            TRIES.scope(
                Cell::new(1),
                OWN.scope(Cell::new(7), async {
                    let child = spawn(async {
                        let first = TRIES.get().get();
                        TRIES.with(|tries| tries.set(20));
                        yield_now().await;
                        // A grandchild copies from the child.
                        let grandchild = spawn(async { TRIES.get().get() }).await.unwrap();
                        (first, TRIES.get().get(), grandchild, OWN.try_with(Cell::get).is_err())
                    });
                    TRIES.with(|tries| tries.set(3));
                    assert_eq!(child.await.unwrap(), (1, 20, 20, true));
                    assert_eq!(TRIES.get().get(), 3);

                    async fn shares() {
                        yield_now().await;
                        TRIES.with(|tries| tries.set(tries.get() + 1));
                        OWN.with(|own| own.set(8));
                    }
                    shares().await;
                    assert_eq!((TRIES.get().get(), OWN.get().get()), (4, 8));
                }),
            )
        });
    });
}

#[test]
fn t73_values_go_to_threads_and_all_kinds_of_spawn() {
    // Goal: T73: `to_thread` carries the values; so do spawn_local, spawn_on, and eager starts, in
    // which the spawner's own values are not visible.
    on_every(|cfg| {
        cfg.once(USER.scope(
            "ann".to_owned(),
            OWN.scope(Cell::new(1), async {
                let user = || (USER.get(), OWN.try_with(Cell::get).is_ok());
                let inherits = ("ann".to_owned(), false);
                let changed = to_thread(move || {
                    let before = user();
                    assert_eq!(
                        std::thread::spawn(|| USER.try_with(|_| ())).join().unwrap().ok(),
                        None
                    );
                    before
                });
                assert_eq!(changed.await.unwrap(), inherits);
                assert_eq!(spawn_local(async move { user() }).await.unwrap(), inherits);
                let handle = Handle::current();
                for worker in handle.worker_ids() {
                    let task = handle.spawn_on(worker, move || async move { user() });
                    assert_eq!(task.await.unwrap(), inherits);
                }
                let eager = Builder::new().eager().name("eager").spawn(async move { user() });
                assert!(eager.is_finished());
                assert_eq!(eager.name(), Some("eager"));
                assert_eq!(eager.await.unwrap(), inherits);
                let eager = Builder::new().eager().spawn_local(async move { user() });
                assert_eq!(eager.await.unwrap(), inherits);
                assert_eq!(user(), ("ann".to_owned(), true));
            }),
        ));
        assert!(USER.try_with(|_| ()).is_err());
    });
}

#[test]
fn scopes_nest_and_end_with_their_future() {
    // Goal: the innermost scope counts; access outside is an error that says so; destructors see
    // the value, also where a task is cancelled or panics; two tasks of one thread do not see each
    // other's.
    struct Tells(Log);
    impl Drop for Tells {
        fn drop(&mut self) {
            self.0.push(USER.get());
        }
    }

    on_every(|cfg| {
        let text = must_panic(|| USER.get());
        assert!(text.contains("outside of its scope"), "{text}");
        cfg.once(async {
            let nested = USER.scope("outer".into(), async {
                let inner = USER.scope("inner".into(), async {
                    yield_now().await;
                    USER.get()
                });
                (inner.await, USER.get())
            });
            assert_eq!(nested.await, ("inner".to_owned(), "outer".to_owned()));

            let log = Log::new();
            let tells = |name: &str, panics: bool| {
                let guard = Tells(log.clone());
                USER.scope(name.to_owned(), async move {
                    let _guard = guard;
                    for _ in 0..3 {
                        yield_now().await;
                    }
                    if panics {
                        deliberate("within a scope");
                    }
                    pending::<()>().await;
                })
            };
            let (cancelled, panics) =
                (spawn(tells("cancelled", false)), spawn(tells("panics", true)));
            assert!(panics.await.unwrap_err().is_panicked());
            cancelled.cancel();
            assert!(cancelled.await.unwrap_err().is_cancelled());
            // A task that inherits, and is dropped unpolled or polled.
            USER.scope("heir".to_owned(), async {
                for polled in [false, true] {
                    let guard = Tells(log.clone());
                    let heir = spawn_local(async move {
                        let _guard = guard;
                        pending::<()>().await;
                    });
                    if polled {
                        yield_now().await;
                    }
                    heir.cancel();
                    assert!(heir.await.unwrap_err().is_cancelled());
                }
            })
            .await;
            assert_eq!(log.take(), ["panics", "cancelled", "heir", "heir"]);
        });
    });
}

#[test]
fn inherited_values_end_with_the_task() {
    // Goal: a copy is dropped when the task has ended, though handles and cancellers live.
    #[derive(Clone)]
    struct Counted(Count, std::sync::Arc<AddOnDrop>);
    task_local! { inherited static COUNTED: Counted }

    on_every(|cfg| {
        cfg.once(async {
            let dropped = Count::new();
            let value = Counted(dropped.clone(), std::sync::Arc::new(dropped.on_drop()));
            let weak = std::sync::Arc::downgrade(&value.1);
            let mut child = None;
            let spawning = async {
                child = Some(spawn(async { COUNTED.with(|counted| counted.0.get()) }));
            };
            COUNTED.scope(value, spawning).await;
            let child = child.expect("spawned");
            wait_until_async(|| child.is_finished(), || "the child ends".into()).await;
            assert_eq!((dropped.get(), weak.strong_count()), (1, 0));
            assert_eq!(child.await.unwrap(), 0);
        });
    });
}
