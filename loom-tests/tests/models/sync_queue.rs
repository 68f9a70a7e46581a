//! Items that some tasks put and others get.
//!
//! Code: `sync/queue/` with `sync/wait_list.rs` and `loom/spin.rs`, as they are.
//!
//! Properties:
//!
//! * a task that can go on is woken, else loom reports a deadlock;
//! * an item is got once, and only if its put succeeded;
//! * a put that was dropped has put nothing;
//! * a wait for room or for an item that is dropped passes on what was reserved for it;
//! * a join ends when all is done, and sees that.
//!
//! Actors: putters, getters, tasks that give up, and tasks that shut down or join.
//!
//! Bound: 3 threads, room for one or two, three items and waiters; the lock is released after each
//! waiter that is refused.

use std::{
    cmp::Ordering,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    task::Context,
};

use loom::{cell::UnsafeCell, thread};
use loom_tests::explore;
use ringloop::sync::{PriorityQueue, Queue, TryGetError};

use crate::{
    sync_tools::{Hand, calling_waker, join, spawn},
    tasks::wait_for,
};

/// A queue, and the sums of the items that were put and got.
struct Bench {
    queue: Queue<usize>,
    put: AtomicUsize,
    got: AtomicUsize,
}

impl Bench {
    fn new(capacity: usize, items: &[usize]) -> Arc<Self> {
        let queue = Queue::bounded(capacity);
        items.iter().for_each(|item| queue.try_put(*item).unwrap());
        let put = AtomicUsize::new(items.iter().sum());
        Arc::new(Self { queue, put, got: AtomicUsize::new(0) })
    }

    fn get(&self) {
        self.got.fetch_add(wait_for(self.queue.get()).expect("not shut down"), Relaxed);
    }

    fn put(&self, item: usize) {
        wait_for(self.queue.put(item)).expect("not shut down");
        self.put.fetch_add(item, Relaxed);
    }

    /// Begins to put, and gives up.
    fn put_and_leave(&self, item: usize) {
        let (wait, put) = Hand::begun(self.queue.put(item));
        if put.is_some() {
            self.put.fetch_add(item, Relaxed);
        }
        drop(wait);
    }

    /// Asserts that each item that was put was got, or is in the queue.
    fn assert_whole(&self) {
        let mut left = 0;
        while let Ok(item) = self.queue.try_get() {
            left += item;
        }
        assert_eq!(self.put.load(Relaxed), self.got.load(Relaxed) + left);
        let text = format!("{:?}", self.queue);
        assert!(text.contains("getters: 0") && text.contains("putters: 0"), "{text}");
    }
}

/// One item for one getter that waits and one that gives up, at any stage; another item only if the
/// first went to the latter.
#[test]
fn getter_leaves() {
    explore(|| {
        let bench = Bench::new(1, &[]);
        let getter = spawn(&bench, Bench::get);
        let leaver = {
            let bench = bench.clone();
            thread::spawn(move || {
                let (wait, item) = Hand::begun(bench.queue.get());
                drop(wait);
                item.map_or(0, |item| item.expect("not shut down"))
            })
        };
        bench.put(1);
        let left = leaver.join().unwrap();
        bench.got.fetch_add(left, Relaxed);
        if left > 0 {
            bench.put(2);
        }
        join([getter]);
        bench.assert_whole();
    });
}

/// Room for one: one putter that waits for it, and one that gives up.
#[test]
fn putter_leaves() {
    explore(|| {
        let bench = Bench::new(1, &[1]);
        let putter = spawn(&bench, |bench| bench.put(2));
        let leaver = spawn(&bench, |bench| bench.put_and_leave(4));
        bench.get();
        // An item of the putter that gave up is in the way of the other one.
        while bench.got.load(Relaxed) & 2 == 0 {
            bench.get();
        }
        join([putter, leaver]);
        bench.assert_whole();
    });
}

/// A newcomer takes nothing that is reserved.
#[test]
fn newcomer_against_granted() {
    explore(|| {
        let bench = Bench::new(1, &[]);
        let (mut first, none) = Hand::begun(bench.queue.get());
        assert!(none.is_none());
        let putter = spawn(&bench, |bench| bench.put(1));
        let newcomer = spawn(&bench, |bench| {
            assert_eq!(bench.queue.try_get(), Err(TryGetError::Empty));
        });
        join([putter, newcomer]);
        assert_eq!(first.poll(), std::task::Poll::Ready(Ok(1)));
    });
}

/// A wait is polled again with another waker while it is granted.
#[test]
fn new_waker_against_put() {
    explore(|| {
        let bench = Bench::new(1, &[]);
        let putter = spawn(&bench, |bench| bench.put(1));
        let (mut wait, item) = Hand::begun(bench.queue.get());
        let item = item.unwrap_or_else(|| wait_for(std::future::poll_fn(|cx| wait.poll_with(cx))));
        assert_eq!(item, Ok(1));
        join([putter]);
    });
}

/// Shut down while one puts and one gets until the end.
#[test]
fn shutdown_against_put_and_get() {
    explore(|| {
        let bench = Bench::new(1, &[1]);
        let putter = spawn(&bench, |bench| {
            if wait_for(bench.queue.put(2)).is_ok() {
                bench.put.fetch_add(2, Relaxed);
            }
        });
        let getter = spawn(&bench, |bench| {
            while let Ok(item) = wait_for(bench.queue.get()) {
                bench.got.fetch_add(item, Relaxed);
            }
        });
        bench.queue.shutdown();
        join([putter, getter]);
        assert_eq!(bench.put.load(Relaxed), bench.got.load(Relaxed), "all items were got");
    });
}

/// Shut down with an item reserved for a getter that is dropped, and two that wait: one gets it,
/// and the other one gets the shutdown.
#[test]
fn shutdown_against_leaver() {
    explore(|| {
        let bench = Bench::new(1, &[]);
        let (granted, none) = Hand::begun(bench.queue.get());
        assert!(none.is_none());
        bench.put(1);
        let once = |bench: &Bench| {
            let item = wait_for(bench.queue.get());
            bench.got.fetch_add(item.unwrap_or(0), Relaxed);
        };
        let other = spawn(&bench, once);
        let closer = spawn(&bench, |bench| {
            bench.queue.shutdown();
        });
        drop(granted);
        once(&bench);
        join([other, closer]);
        assert_eq!(bench.got.load(Relaxed), 1);
    });
}

/// Finishes a wait that has begun.
fn finish<F: Future>(mut wait: Hand<F>) -> F::Output {
    wait_for(poll_fn(|cx| wait.poll_with(cx)))
}

/// Three wait for room, and the first gives up, at any stage of a shutdown and of a get: the others
/// put their items, or get them back.
#[test]
fn shutdown_against_putter_that_leaves() {
    explore(|| {
        let bench = Bench::new(1, &[1]);
        let begun = |item| {
            let bench = bench.clone();
            Hand::begun(async move { bench.queue.put(item).await }).0
        };
        let (first, second, third) = (begun(2), begun(4), begun(8));
        let closer = spawn(&bench, |bench| {
            bench.queue.shutdown();
        });
        let leaver = thread::spawn(move || drop(first));
        bench.got.fetch_add(bench.queue.try_get().unwrap(), Relaxed);
        for (wait, item) in [(second, 4), (third, 8)] {
            match finish(wait) {
                Ok(()) => _ = bench.put.fetch_add(item, Relaxed),
                Err(back) => assert_eq!(back.0, item),
            }
        }
        join([closer]);
        leaver.join().unwrap();
        bench.assert_whole();
    });
}

/// Three wait for an item, and the first gives up, at any stage of a shutdown and of a put: one of
/// the others gets it, if it was put.
#[test]
fn shutdown_against_getter_that_leaves() {
    explore(|| {
        let bench = Bench::new(1, &[]);
        let begun = || {
            let bench = bench.clone();
            Hand::begun(async move { bench.queue.get().await }).0
        };
        let (first, second, third) = (begun(), begun(), begun());
        let closer = spawn(&bench, |bench| {
            bench.queue.shutdown();
        });
        let leaver = thread::spawn(move || drop(first));
        if bench.queue.try_put(1).is_ok() {
            bench.put.fetch_add(1, Relaxed);
        }
        for wait in [second, third] {
            bench.got.fetch_add(finish(wait).unwrap_or(0), Relaxed);
        }
        join([closer]);
        leaver.join().unwrap();
        assert!(bench.queue.is_empty(), "a getter that waits gets it");
        bench.assert_whole();
    });
}

/// All items are taken out while one is on its way to a getter.
#[test]
fn clear_against_put_and_get() {
    explore(|| {
        let bench = Bench::new(1, &[]);
        let putter = spawn(&bench, |bench| {
            if wait_for(bench.queue.put(1)).is_ok() {
                bench.put.fetch_add(1, Relaxed);
            }
        });
        let getter = spawn(&bench, |bench| {
            if let Ok(item) = wait_for(bench.queue.get()) {
                bench.got.fetch_add(item, Relaxed);
                assert!(bench.queue.task_done().is_ok());
            }
        });
        let left: usize = bench.queue.shutdown_now().into_iter().sum();
        join([putter, getter]);
        assert_eq!(bench.put.load(Relaxed), bench.got.load(Relaxed) + left);
        assert_eq!(bench.queue.unfinished(), 0);
    });
}

/// Work on two items by two threads, joined by a third, which sees what they did.
#[test]
fn join_sees_the_work() {
    struct Work {
        queue: Queue<usize>,
        done: [UnsafeCell<bool>; 2],
    }
    // SAFETY: loom checks the accesses to the cells.
    unsafe impl Sync for Work {}
    // SAFETY: as above.
    unsafe impl Send for Work {}

    explore(|| {
        let work = Arc::new(Work {
            queue: Queue::bounded(2),
            done: [(); 2].map(|()| UnsafeCell::new(false)),
        });
        work.queue.try_put(0).unwrap();
        work.queue.try_put(1).unwrap();
        let workers = [(); 2].map(|()| {
            spawn(&work, |work| {
                let item = work.queue.try_get().unwrap();
                // SAFETY: as above.
                work.done[item].with_mut(|done| unsafe { *done = true });
                work.queue.task_done().unwrap();
            })
        });
        wait_for(work.queue.join());
        for done in &work.done {
            // SAFETY: as above.
            assert!(done.with(|done| unsafe { *done }));
        }
        join(workers);
    });
}

/// A join that begins after a put does not end by an earlier zero.
#[test]
fn join_of_the_next_round() {
    explore(|| {
        let bench = Bench::new(2, &[1]);
        let first = spawn(&bench, |bench| wait_for(bench.queue.join()));
        let worker = spawn(&bench, |bench| bench.queue.task_done().unwrap());
        bench.put(2);
        let (wait, joined) = Hand::begun(bench.queue.join());
        assert!(joined.is_none(), "the second item is not done");
        join([worker]);
        assert_eq!(bench.queue.unfinished(), 1);
        let mut wait = wait;
        assert!(wait.poll().is_pending(), "the second item is not done");
        bench.queue.task_done().unwrap();
        assert!(wait.poll().is_ready());
        join([first]);
    });
}

/// Of two joins, the first gives up while the last item is reported done.
#[test]
fn joiner_leaves() {
    explore(|| {
        let bench = Bench::new(1, &[1]);
        let theirs = bench.clone();
        let (first, none) = Hand::begun(async move { theirs.queue.join().await });
        assert!(none.is_none());
        let leaver = thread::spawn(move || drop(first));
        let worker = spawn(&bench, |bench| bench.queue.task_done().unwrap());
        wait_for(bench.queue.join());
        join([leaver, worker]);
        let text = format!("{:?}", bench.queue);
        assert!(text.contains("unfinished: 0") && text.contains("joiners: 0"), "{text}");
    });
}

/// The number of unfinished items is never negative.
#[test]
fn unfinished_is_not_negative() {
    explore(|| {
        let bench = Bench::new(1, &[]);
        let worker = spawn(&bench, |bench| {
            bench.queue.try_put(1).unwrap();
            assert_eq!(bench.queue.try_get(), Ok(1));
            bench.queue.task_done().unwrap();
        });
        assert!(bench.queue.unfinished() <= 1);
        join([worker]);
    });
}

/// An item whose comparison panics while the flag is set.
struct Bomb(usize, Arc<AtomicBool>);

impl Ord for Bomb {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.1.load(Relaxed) {
            resume_unwind(Box::new("meant"));
        }
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Bomb {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Bomb {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Bomb {}

/// A get with a reserved item panics: the item goes to the getter that waits, or to one that comes.
#[test]
fn a_get_that_panics_passes_on_its_promise() {
    explore(|| {
        let fuse = Arc::new(AtomicBool::new(false));
        let queue = Arc::new(PriorityQueue::<Bomb>::unbounded());
        let begun = || {
            let queue = queue.clone();
            Hand::begun(async move { queue.get().await.ok().map(|bomb| bomb.0) }).0
        };
        let (mut first, mut second, mut third) = (begun(), begun(), begun());
        (1..4).for_each(|number| _ = queue.try_put(Bomb(number, fuse.clone())).ok().unwrap());
        fuse.store(true, Relaxed);
        let last = spawn(&queue, |queue| assert!(wait_for(queue.get()).is_ok()));
        assert!(catch_unwind(AssertUnwindSafe(|| first.poll())).is_err());
        fuse.store(false, Relaxed);
        assert!(second.poll().is_ready() && third.poll().is_ready());
        join([last]);
        assert!(queue.is_empty());
    });
}

/// Wakers that use the queue, of tasks that put, get and join.
#[test]
fn wakers_use_the_queue() {
    explore(|| {
        let bench = Bench::new(1, &[]);
        let waker = {
            let bench = bench.clone();
            calling_waker(move || _ = format!("{:?}", bench.queue))
        };
        let cx = &mut Context::from_waker(&waker);
        let mut getter = Hand::new(bench.queue.get());
        assert!(getter.poll_with(cx).is_pending());
        bench.queue.try_put(1).unwrap();
        assert!(getter.poll_with(cx).is_ready());
        let joiners = [(); 3].map(|()| {
            let mut joiner = Hand::new(bench.queue.join());
            assert!(joiner.poll_with(cx).is_pending());
            joiner
        });
        bench.queue.task_done().unwrap();
        for mut joiner in joiners {
            assert!(joiner.poll_with(cx).is_ready());
        }
        bench.queue.try_put(2).unwrap();
        let putters = [3, 4].map(|item| {
            let mut putter = Hand::new(bench.queue.put(item));
            assert!(putter.poll_with(cx).is_pending());
            putter
        });
        assert_eq!(bench.queue.try_get(), Ok(2));
        let [first, mut second] = putters;
        drop(first);
        bench.queue.shutdown();
        assert!(second.poll_with(cx).is_ready());
    });
}
