//! A group ends while children are spawned, run and cancelled on other threads.
//!
//! Code: `future/group.rs` as it is, with its regions and scopes, and tasks as they are. Only the
//! spawn of a child is the model's: it makes the task and puts it into the queue. The group's own
//! future is no task: it is polled whenever it has been woken.
//!
//! Properties: a child that was accepted has ended before the group is ready, or, if the group's
//! future was dropped, it ends by itself; a child that was refused comes back unpolled; no thread
//! waits for ever.
//!
//! Actors: the thread that polls the group and runs the queue, one that spawns or runs a child, and
//! one that cancels.
//!
//! Bound: 3 threads, one child.

use std::{
    cell::RefCell,
    future::pending,
    sync::{Arc, Mutex},
};

use loom::thread;
use loom_tests::explore;
use ringloop::{
    GroupError,
    model::{
        group::{Group, try_task_group},
        task::Schedule,
    },
    scope,
    sync::oneshot,
};

use crate::tasks::{Driven, Shared, drain_all};

// What has ended, in order; loom does not track this list.
thread_local! {
    static ENDED: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
}

fn ended() -> Vec<&'static str> {
    ENDED.with_borrow_mut(std::mem::take)
}

/// Notes its end.
struct Noted(&'static str);

impl Drop for Noted {
    fn drop(&mut self) {
        ENDED.with_borrow_mut(|ended| ended.push(self.0));
    }
}

type Child = std::pin::Pin<Box<dyn Future<Output = Result<(), &'static str>> + Send>>;
type Handle = Group<&'static str>;

/// A child that is ready at once, or never.
fn child(waits: bool) -> Child {
    let noted = Noted("child");
    Box::pin(async move {
        let _noted = noted;
        if waits {
            pending::<()>().await;
        }
        Ok(())
    })
}

/// Spawns a child; returns it if it is refused.
fn spawn(group: &Handle, child: Child) -> Option<Child> {
    match group.spawn::<_, _, Shared>(child, 1) {
        Ok((entry, task)) => {
            task.detach();
            Shared::schedule(entry);
            None
        }
        Err(child) => Some(child),
    }
}

/// A group that has been polled once, with a body that waits.
fn begun<B>(
    body: B,
) -> (Driven<impl Future<Output = Result<(), GroupError<&'static str>>> + use<B>>, Handle)
where
    B: Future<Output = ()>,
{
    begun_with(body, false)
}

/// The same, and the body has spawned a child that waits.
fn begun_with<B>(
    body: B,
    with_child: bool,
) -> (Driven<impl Future<Output = Result<(), GroupError<&'static str>>> + use<B>>, Handle)
where
    B: Future<Output = ()>,
{
    ended();
    let place = Arc::new(Mutex::new(None));
    let left = place.clone();
    let group = async move {
        let result = try_task_group(|group| {
            if with_child {
                assert!(spawn(&group, child(true)).is_none());
            }
            *left.lock().unwrap() = Some(group);
            async {
                body.await;
                Ok(())
            }
        });
        let result = result.await;
        drop(Noted("group"));
        result
    };
    let mut driven = Driven::new(Box::pin(group));
    assert!(driven.drive().is_none());
    let handle = place.lock().unwrap().take().unwrap();
    (driven, handle)
}

/// A thread that spawns a child and runs the queue.
fn spawner(group: &Handle, waits: bool) -> thread::JoinHandle<Option<Child>> {
    let group = group.clone();
    thread::spawn(move || {
        let refused = spawn(&group, child(waits));
        drain_all();
        refused
    })
}

/// Asserts that the child ended before the group, or that it was refused.
fn assert_order(refused: Option<&Child>, last: &'static str) {
    let expected = if refused.is_some() { vec![last] } else { vec!["child", last] };
    assert_eq!(ended(), expected);
}

/// The body ends while another thread uses a handle.
#[test]
fn late_spawn_against_exit() {
    explore(|| {
        let (promise, deferred) = oneshot();
        let (mut group, handle) = begun(async { deferred.await.unwrap() });
        let spawner = spawner(&handle, false);
        promise.set(()).unwrap();
        let early = group.drive_with_tasks();
        let refused = spawner.join().unwrap();
        let result = early.or_else(|| group.drive_with_tasks());
        assert!(result.expect("it waits for no child").is_ok());
        assert_order(refused.as_ref(), "group");
    });
}

/// The last child ends on another thread while the group checks for children.
#[test]
fn last_child_against_wait() {
    explore(|| {
        let (promise, deferred) = oneshot();
        let (mut group, handle) = begun(async { deferred.await.unwrap() });
        assert!(spawn(&handle, child(false)).is_none());
        let runner = thread::spawn(drain_all);
        promise.set(()).unwrap();
        let early = group.drive();
        runner.join().unwrap();
        let result = early.or_else(|| group.drive_with_tasks());
        assert!(result.expect("its only child has ended").is_ok());
        assert_order(None, "group");
    });
}

/// A group is cancelled while a thread spawns a child that waits for ever, and runs it.
#[test]
fn late_spawn_against_cancel() {
    explore(|| {
        let (mut group, handle) = begun(pending());
        let spawner = spawner(&handle, true);
        let canceller = thread::spawn(move || handle.cancel());
        let early = group.drive_with_tasks();
        let refused = spawner.join().unwrap();
        canceller.join().unwrap();
        let result = early.or_else(|| group.drive_with_tasks());
        assert!(result.expect("it was cancelled").unwrap_err().is_cancelled());
        assert_order(refused.as_ref(), "group");
    });
}

/// A group is cancelled during a child's first poll.
#[test]
fn cancel_against_first_poll() {
    explore(|| {
        let (mut group, handle) = begun_with(pending(), true);
        let runner = thread::spawn(drain_all);
        let canceller = thread::spawn(move || handle.cancel());
        let early = group.drive();
        runner.join().unwrap();
        canceller.join().unwrap();
        let result = early.or_else(|| group.drive_with_tasks());
        assert!(result.expect("it was cancelled").unwrap_err().is_cancelled());
        assert_order(None, "group");
    });
}

/// A scope around a group is cancelled while a thread spawns a child that waits for ever.
#[test]
fn late_spawn_against_outer_cancel() {
    explore(|| {
        ended();
        let (mut outer, mut group) = (None, None);
        let future = scope(|scope| {
            outer = Some(scope);
            let (driven, handle) = begun(pending());
            group = Some(handle);
            driven.future
        });
        let (outer, group) = (outer.unwrap(), group.unwrap());
        let mut driven = Driven::new(Box::pin(async {
            let result = future.await;
            drop(Noted("scope"));
            result
        }));
        let spawner = spawner(&group, true);
        let canceller = thread::spawn(move || assert!(outer.cancel()));
        let early = driven.drive_with_tasks();
        let refused = spawner.join().unwrap();
        canceller.join().unwrap();
        let result = early.or_else(|| driven.drive_with_tasks());
        assert!(result.expect("it was cancelled").is_err());
        assert_order(refused.as_ref(), "scope");
    });
}

/// The future of a group is dropped while a thread spawns a child that waits for ever, and runs it.
#[test]
fn late_spawn_against_drop() {
    explore(|| {
        let (group, handle) = begun(pending());
        let spawner = spawner(&handle, true);
        drop(group);
        let refused = spawner.join().unwrap();
        drain_all();
        let expected = if refused.is_some() { vec![] } else { vec!["child"] };
        assert_eq!(ended(), expected);
    });
}
