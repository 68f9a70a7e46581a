//! The life of one task, which several threads use at once.
//!
//! Code: `task/` as it is, under a scheduler whose one queue is an inbox, as it is.
//!
//! Properties, of every model here:
//!
//! * the future is polled by one thread at a time, and dropped exactly once;
//! * no wake is lost: a poll that follows a wake sees what was written before it, or the task has
//!   ended;
//! * the result goes to the handle or is dropped, once;
//! * a waiter for the task is woken;
//! * the memory is freed once, after every use (`src/loom/stand_ins.rs` checks that).
//!
//! Actors: one or two threads that run the queue, and two or one that wake, cancel, wait, or drop a
//! reference.
//!
//! Bound: 3 threads, one task, two wakes.

use std::{
    future::poll_fn,
    mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::{Context, Poll, RawWakerVTable, Waker},
};

use loom::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};
use loom_tests::explore;
use ringloop::{Task, model::task::Registered, yield_now};

use crate::tasks::{
    Ring, Token, count_poll, drain, dropped, ended, poll_once, polled, reported, run_one, start,
    take, wait_for,
};

/// Flags for which a task waits, and the wakers that its first poll has cloned.
struct Bench<const FLAGS: usize, const WAKERS: usize> {
    flags: [AtomicBool; FLAGS],
    wakers: Mutex<Vec<Waker>>,
}

impl<const FLAGS: usize, const WAKERS: usize> Bench<FLAGS, WAKERS> {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            flags: std::array::from_fn(|_| AtomicBool::new(false)),
            wakers: Mutex::new(Vec::new()),
        })
    }

    /// A task that is ready once all flags are set, and has been polled once.
    fn start(self: &Arc<Self>) -> (Registered, Task<Token>) {
        let bench = self.clone();
        let (inside, mut first) = (Token, true);
        let (registered, task) = start(poll_fn(move |cx| {
            let _ = &inside;
            count_poll();
            if mem::take(&mut first) {
                // No other thread exists yet: a lock of the standard library must not be held where
                // loom may switch threads.
                let wakers = (0..WAKERS).map(|_| cx.waker().clone()).collect();
                *bench.wakers.lock().unwrap() = wakers;
            }
            bench.poll()
        }));
        drain();
        (registered, task)
    }

    /// Ready once all flags are set.
    fn poll(&self) -> Poll<Token> {
        let up = self.flags.iter().all(|flag| flag.load(Relaxed));
        if up { Poll::Ready(Token) } else { Poll::Pending }
    }

    fn waker(&self) -> Waker {
        self.wakers.lock().unwrap().pop().unwrap()
    }

    /// A thread that sets a flag and then wakes.
    fn bring(self: &Arc<Self>, flag: usize, wake: fn(Waker)) -> thread::JoinHandle<()> {
        let (bench, waker) = (self.clone(), self.waker());
        thread::spawn(move || {
            // Relaxed: visible by the wake alone.
            bench.flags[flag].store(true, Relaxed);
            wake(waker);
        })
    }
}

/// A thread that cancels the task.
fn request(registered: Registered, abort: bool) -> thread::JoinHandle<()> {
    // SAFETY: no other thread uses it, and the task has not ended.
    let task = unsafe { registered.refer() };
    thread::spawn(move || {
        task.request(abort);
        drop(task);
    })
}

/// Asserts that future and result have been dropped, each once, and the task is freed.
fn assert_over() {
    assert_eq!(dropped(), 2, "future and result, once each");
    assert_eq!(ended(), 1);
}

/// The same where the task may have been cancelled, so that there was no result.
fn assert_over_without_result() {
    assert!(matches!(dropped(), 1 | 2), "{} drops of a future and a result", dropped());
    assert_eq!(ended(), 1);
}

/// Two threads set a flag each, one wakes by value and one by reference.
#[test]
fn wake_against_wake() {
    explore(|| {
        let bench = Bench::<2, 2>::new();
        let (_, task) = bench.start();
        let by_ref = bench.bring(0, |waker| waker.wake_by_ref());
        let by_value = bench.bring(1, Waker::wake);
        drain();
        by_ref.join().unwrap();
        drain();
        by_value.join().unwrap();
        drain();
        drop(take(task).unwrap());
        assert_over();
    });
}

/// Wakers leave the task while the poll that cloned them goes on, one of them with the runner's
/// reference. One thread wakes, another drops.
#[test]
fn lent_against_wake_and_drop() {
    lends(false);
}

/// The same, and the runner has a reference again, since another waker was dropped in the poll.
#[test]
fn lent_and_back_against_wake_and_drop() {
    lends(true);
}

fn lends(and_back: bool) {
    explore(move || {
        let bench = Bench::<1, 0>::new();
        let left = Arc::new(loom::sync::Mutex::new(Vec::new()));
        let (_, task) = {
            let (bench, left, inside) = (bench.clone(), left.clone(), Token);
            let mut first = true;
            start(poll_fn(move |cx| {
                let _ = &inside;
                if mem::take(&mut first) {
                    drop(cx.waker().clone());
                    let wakers = [cx.waker().clone(), cx.waker().clone()];
                    left.lock().unwrap().extend(wakers);
                    if and_back {
                        drop(cx.waker().clone());
                    }
                }
                bench.poll()
            }))
        };
        let news = {
            let (bench, left) = (bench.clone(), left.clone());
            thread::spawn(move || {
                // Relaxed: visible by the wake alone.
                bench.flags[0].store(true, Relaxed);
                let waker = left.lock().unwrap().pop();
                waker.inspect(Waker::wake_by_ref);
            })
        };
        let dropper = {
            let left = left.clone();
            thread::spawn(move || drop(left.lock().unwrap().pop()))
        };
        drain();
        news.join().unwrap();
        dropper.join().unwrap();
        drain();
        let rest = mem::take(&mut *left.lock().unwrap());
        rest.into_iter().for_each(Waker::wake);
        drain();
        if task.is_finished() {
            drop(take(task).unwrap());
        } else {
            // Both wakers were dropped before the flag was set.
            task.abort();
            drain();
            drop(task);
        }
        assert_over_without_result();
    });
}

/// A wake finds the task active, and then that its poll has ended. Before it goes on, another wake
/// has the task polled once more, and that poll takes the mark that the first wake has left. The
/// next runner of the task synchronises with that poll only by the last step of the first wake.
#[test]
fn wake_past_another_poll() {
    explore(|| {
        let bench = Bench::<2, 3>::new();
        let (_, task) = {
            let (bench, inside, mut polls) = (bench.clone(), Token, 0);
            start(poll_fn(move |cx| {
                let _ = &inside;
                polls += 1;
                if polls == 1 {
                    *bench.wakers.lock().unwrap() = [(); 3].map(|()| cx.waker().clone()).into();
                }
                if polls == 2 {
                    // The first step of the wake happens here; this costs no preemption.
                    thread::yield_now();
                }
                bench.poll()
            }))
        };
        drain();
        bench.waker().wake();
        let waker = bench.waker();
        let news = {
            let bench = bench.clone();
            thread::spawn(move || {
                bench.flags[0].store(true, Relaxed);
                waker.wake();
                drain();
            })
        };
        drain();
        // The second step.
        thread::yield_now();
        bench.waker().wake_by_ref();
        drain();
        news.join().unwrap();
        // The second flag is never set: no poll is the last.
        task.abort();
        drain();
        drop(task);
        assert_over_without_result();
    });
}

/// A future that leaves wakers of its task: each poll puts one in the future, or in `elsewhere`,
/// and its drop clones another from there.
struct LeavesWakers {
    kept: Vec<Waker>,
    elsewhere: Option<Arc<Mutex<Vec<Waker>>>>,
    _inside: Token,
}

impl Future for LeavesWakers {
    type Output = Token;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Token> {
        match &self.elsewhere {
            None => self.kept.push(cx.waker().clone()),
            Some(wakers) if wakers.lock().unwrap().is_empty() => {
                wakers.lock().unwrap().push(cx.waker().clone());
            }
            Some(_) => {}
        }
        Poll::Pending
    }
}

impl Drop for LeavesWakers {
    fn drop(&mut self) {
        if let Some(wakers) = &self.elsewhere {
            let another = wakers.lock().unwrap()[0].clone();
            wakers.lock().unwrap().push(another);
        }
    }
}

/// A task is cancelled, and its future holds the waker to which the runner's reference was lent:
/// the reference comes back as the future is dropped.
#[test]
fn lent_and_back_with_a_cancelled_future() {
    cancel_what_leaves_wakers(None);
}

/// A task is cancelled, and the runner's reference is lent as its future is dropped.
#[test]
fn lent_by_a_cancelled_future() {
    cancel_what_leaves_wakers(Some(Vec::new()));
}

fn cancel_what_leaves_wakers(elsewhere: Option<Vec<Waker>>) {
    explore(move || {
        let elsewhere = elsewhere.clone().map(|wakers| Arc::new(Mutex::new(wakers)));
        let future =
            LeavesWakers { kept: Vec::new(), elsewhere: elsewhere.clone(), _inside: Token };
        let (registered, task) = start(future);
        drain();
        let cancel = request(registered, false);
        drain();
        cancel.join().unwrap();
        drain();
        assert!(take(task).err().unwrap().is_cancelled());
        if let Some(wakers) = elsewhere {
            let late = mem::take(&mut *wakers.lock().unwrap());
            assert_eq!(late.len(), 2);
            late.into_iter().for_each(Waker::wake);
        }
        drain();
        assert_eq!((dropped(), ended()), (1, 1));
    });
}

/// A handle that has left a waker waits again with one that cannot be cloned, and is dropped: the
/// old waker stays with the task, which another thread ends.
#[test]
fn waker_left_behind_against_end() {
    explore(|| {
        let bench = Bench::<1, 1>::new();
        let (_, mut task) = bench.start();
        let news = bench.bring(0, Waker::wake);
        let left = Arc::new(Ring);
        let waiter = {
            let waker = Waker::from(left.clone());
            thread::spawn(move || {
                let poll = |task: &mut Task<Token>, waker| {
                    pin!(task).poll(&mut Context::from_waker(waker))
                };
                if poll(&mut task, &waker).is_pending() {
                    let again = AssertUnwindSafe(|| poll(&mut task, uncloned()));
                    _ = catch_unwind(again).map(|end| assert!(end.is_ready()));
                }
                drop(waker);
                drop(task);
            })
        };
        drain();
        news.join().unwrap();
        drain();
        waiter.join().unwrap();
        assert_eq!(Arc::strong_count(&left), 1, "a waker was kept");
        assert_over();
    });
}

/// A waker that panics when it is cloned.
fn uncloned() -> &'static Waker {
    const TABLE: RawWakerVTable =
        RawWakerVTable::new(|_| resume_unwind(Box::new("meant")), |_| (), |_| (), |_| ());
    // SAFETY: its functions use no data, and never return an invalid waker.
    static UNCLONED: Waker = unsafe { Waker::new(std::ptr::null(), &TABLE) };
    &UNCLONED
}

/// Two threads run the queue; a third wakes.
#[test]
fn run_against_run() {
    explore(|| {
        let bench = Bench::<2, 2>::new();
        let (_, task) = bench.start();
        let other = thread::spawn(drain);
        let news = {
            let (bench, wakers) = (bench.clone(), [bench.waker(), bench.waker()]);
            thread::spawn(move || {
                for (flag, waker) in bench.flags.iter().zip(wakers) {
                    flag.store(true, Relaxed);
                    waker.wake();
                }
            })
        };
        drain();
        // Not the other runner: a join of it would order its polls before ours.
        news.join().unwrap();
        drain();
        other.join().unwrap();
        drain();
        drop(take(task).unwrap());
        assert_over();
    });
}

/// A wake by value, a cancellation, and the runner.
#[test]
fn wake_against_cancel() {
    explore(|| {
        let bench = Bench::<1, 1>::new();
        let (registered, task) = bench.start();
        let news = bench.bring(0, Waker::wake);
        let cancel = request(registered, false);
        drain();
        news.join().unwrap();
        drain();
        cancel.join().unwrap();
        drain();
        // Either may be first.
        match take(task) {
            Ok(token) => drop(token),
            Err(error) => assert!(error.is_cancelled()),
        }
        assert_over_without_result();
    });
}

/// A flag is set, and then the same thread cancels, while another wakes: a value that is ready
/// wins.
#[test]
fn wake_against_news_and_cancel() {
    explore(|| {
        let bench = Bench::<1, 1>::new();
        let (registered, task) = bench.start();
        let waker = bench.waker();
        let idle_wake = thread::spawn(move || waker.wake());
        let cancel = {
            // SAFETY: no other thread uses it, and the task has not ended.
            let (bench, task) = (bench.clone(), unsafe { registered.refer() });
            thread::spawn(move || {
                bench.flags[0].store(true, Relaxed);
                task.request(false);
            })
        };
        drain();
        idle_wake.join().unwrap();
        drain();
        cancel.join().unwrap();
        drain();
        drop(take(task).unwrap());
        assert_over();
    });
}

/// A wake without a flag, and an abort: the task ends, in either order.
#[test]
fn wake_against_abort() {
    explore(|| {
        let bench = Bench::<1, 1>::new();
        let (registered, task) = bench.start();
        let waker = bench.waker();
        let idle_wake = thread::spawn(move || waker.wake());
        let abort = request(registered, true);
        drain();
        idle_wake.join().unwrap();
        drain();
        abort.join().unwrap();
        let before = polled();
        drain();
        assert_eq!(polled(), before, "polled after it was aborted");
        assert!(take(task).err().unwrap().is_cancelled());
        assert_over_without_result();
    });
}

/// A task that has not been polled is cancelled by one thread and aborted by another.
#[test]
fn first_poll_against_cancel_and_abort() {
    explore(|| {
        let inside = Token;
        let (registered, mut task) = start(poll_fn(move |_| {
            let _ = &inside;
            Poll::Ready(Token)
        }));
        let cancel = request(registered, false);
        let abort = request(registered, true);
        drain();
        cancel.join().unwrap();
        abort.join().unwrap();
        // It was in the queue all the time, and has no other entry.
        match poll_once(&mut task).expect("still queued") {
            Ok(token) => drop(token),
            Err(error) => assert!(error.is_cancelled()),
        }
        drain();
        drop(task);
        assert_over_without_result();
    });
}

/// One thread waits for the task, another wakes it, a third runs it.
#[test]
fn join_against_end() {
    explore(|| {
        let bench = Bench::<1, 1>::new();
        let (_, task) = bench.start();
        let joiner = thread::spawn(move || {
            drop(wait_for(task).unwrap());
            assert_eq!(ended(), 1, "it is still filed as alive");
        });
        let news = bench.bring(0, Waker::wake);
        drain();
        news.join().unwrap();
        drain();
        // It is woken, or loom sees it wait for ever.
        joiner.join().unwrap();
        assert_over();
    });
}

/// One thread waits for the task, another cancels it; then its flag is set, and it ends by one or
/// the other.
#[test]
fn join_against_cancel_and_end() {
    explore(|| {
        let bench = Bench::<1, 1>::new();
        let (_, task) = bench.start();
        let canceller = task.canceller();
        let joiner = thread::spawn(move || {
            let result = wait_for(task).map(drop);
            assert_eq!(ended(), 1, "it is still filed as alive");
            result
        });
        let cancel = thread::spawn(move || canceller.cancel_with("enough"));
        drain();
        bench.flags[0].store(true, Relaxed);
        bench.waker().wake();
        drain();
        let asked = cancel.join().unwrap();
        drain();
        if let Err(error) = joiner.join().unwrap() {
            assert!(asked && error.is_cancelled());
            assert_eq!(error.cancel_cause().unwrap().reason(), Some("enough"));
        }
        assert_over_without_result();
    });
}

/// A waiter changes its waker, while the task ends on another thread.
#[test]
fn join_with_another_waker() {
    explore(|| {
        let bench = Bench::<1, 1>::new();
        let (registered, mut task) = bench.start();
        // SAFETY: the task has not ended.
        let asker = unsafe { registered.refer() };
        asker.request(false);
        drop(asker);
        let runner = thread::spawn(drain);
        let first = Arc::new(Ring);
        let waker = Waker::from(first.clone());
        let early = match pin!(&mut task).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        };
        drop(waker);
        drop(early.unwrap_or_else(|| wait_for(&mut task)));
        drop(task);
        runner.join().unwrap();
        assert_eq!(Arc::strong_count(&first), 1, "a waker was kept");
        assert_over_without_result();
    });
}

/// A handle that waited is dropped while the task ends.
#[test]
fn detach_against_end() {
    explore(|| {
        let bench = Bench::<1, 1>::new();
        let (_, mut task) = bench.start();
        let news = bench.bring(0, Waker::wake);
        let waiter = Arc::new(Ring);
        let detach = {
            let waker = Waker::from(waiter.clone());
            thread::spawn(move || {
                if let Poll::Ready(result) = pin!(&mut task).poll(&mut Context::from_waker(&waker))
                {
                    drop(result.unwrap());
                }
                drop(waker);
                drop(task);
            })
        };
        drain();
        news.join().unwrap();
        drain();
        detach.join().unwrap();
        assert_over();
        assert_eq!(Arc::strong_count(&waiter), 1, "a waker was kept");
    });
}

/// The owning handle is dropped, which cancels; another thread keeps a waker, uses it late, and
/// drops it last.
#[test]
fn owner_drop_against_late_waker() {
    explore(|| {
        let bench = Bench::<1, 2>::new();
        let (_, task) = bench.start();
        let (by_ref, last) = (bench.waker(), bench.waker());
        let late = thread::spawn(move || {
            by_ref.wake_by_ref();
            drop(last.clone());
            drop(by_ref);
            last.wake();
        });
        let join = task.join();
        let owner = thread::spawn(move || drop(join));
        drain();
        owner.join().unwrap();
        drain();
        late.join().unwrap();
        drain();
        assert_over_without_result();
    });
}

/// A task that yields stays in the queue, while two threads wake it.
#[test]
fn yield_against_news() {
    explore(|| {
        let bench = Bench::<2, 2>::new();
        let inside = Token;
        let (_, task) = {
            let bench = bench.clone();
            start(async move {
                let _inside = inside;
                let wakers = poll_fn(|cx| Poll::Ready([cx.waker().clone(), cx.waker().clone()]));
                let wakers = wakers.await;
                *bench.wakers.lock().unwrap() = wakers.into();
                yield_now().await;
                poll_fn(|_| bench.poll()).await
            })
        };
        run_one();
        let news = [bench.bring(0, Waker::wake), bench.bring(1, |waker| waker.wake_by_ref())];
        drain();
        for news in news {
            news.join().unwrap();
            drain();
        }
        drop(take(task).unwrap());
        assert_over();
    });
}

/// A task that yields stays in the queue, while it is woken and aborted.
#[test]
fn yield_against_wake_and_abort() {
    yields(true);
}

/// The same, but it is only cancelled: it may end or go on.
#[test]
fn yield_against_wake_and_cancel() {
    yields(false);
}

fn yields(abort: bool) {
    explore(move || {
        let bench = Bench::<1, 1>::new();
        let inside = Token;
        let (registered, task) = {
            let bench = bench.clone();
            start(async move {
                let _inside = inside;
                let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
                *bench.wakers.lock().unwrap() = vec![waker];
                yield_now().await;
                yield_now().await;
                Token
            })
        };
        run_one();
        let waker = bench.waker();
        let wake = thread::spawn(move || waker.wake());
        let ask = request(registered, abort);
        drain();
        wake.join().unwrap();
        ask.join().unwrap();
        drain();
        match take(task) {
            Ok(token) => drop(token),
            Err(error) => assert!(error.is_cancelled()),
        }
        assert_over_without_result();
    });
}

/// A panic is the result; without a handle it is reported, once.
#[test]
fn panic_against_detach() {
    explore(|| {
        let inside = Token;
        let (_, mut task) = start(poll_fn(move |_| -> Poll<()> {
            let _ = &inside;
            resume_unwind(Box::new("meant"))
        }));
        let handle = thread::spawn(move || {
            let seen = poll_once(&mut task).is_some_and(|result| result.unwrap_err().is_panicked());
            drop(task);
            seen
        });
        drain();
        let seen = handle.join().unwrap();
        assert_eq!(reported(), usize::from(!seen));
        assert_eq!((dropped(), ended()), (1, 1));
    });
}
