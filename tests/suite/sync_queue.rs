//! `Queue`, `PriorityQueue` and `LifoQueue`: order, passing on, cancels, shutdown, joining.

use std::cmp::Reverse;
use std::sync::Arc;

use futures_util::StreamExt;
use ringloop::sync::{LifoQueue, PriorityQueue, Queue, ShutDown, TryGetError, TryPutError};
use ringloop::{spawn, yield_now};

use crate::harness::{must_panic, on_every};
use crate::sync_tools::{
    Hand, by_hand, meddling_waker, other_executor, panicking_waker, polled, send, send_sync,
    spend_budget, waker_with_bad_clones,
};
use crate::tools::{Count, Flag};

fn filled(items: &[u32]) -> Queue<u32> {
    let queue = Queue::bounded(items.len().max(1));
    items.iter().for_each(|item| queue.try_put(*item).unwrap());
    queue
}

#[test]
fn t53_a_cancelled_getter_leaves_its_item() {
    // T53. Method: a getter waits, a put wakes it, and it is dropped before it runs.
    by_hand("T53", || {
        let queue = filled(&[]);
        let (first, second) = (Hand::waiting(queue.get()), Hand::waiting(queue.get()));
        queue.try_put(1).unwrap();
        assert_eq!((first.wakes(), second.wakes()), (1, 0), "one wake per item");
        assert_eq!(queue.try_get(), Err(TryGetError::Empty), "it is reserved");
        drop(first);
        assert_eq!(second.finish(), Ok(1));

        let only = Hand::waiting(queue.get());
        queue.try_put(2).unwrap();
        drop(only);
        assert_eq!(queue.try_get(), Ok(2), "it is free again");

        let waiting = Hand::waiting(queue.get());
        drop(waiting);
        queue.try_put(3).unwrap();
        assert_eq!(
            queue.try_get(),
            Ok(3),
            "a getter that was dropped while it waited gets nothing"
        );
    });
}

#[test]
fn t54_a_cancelled_putter_has_put_nothing() {
    // T54. Method: dropped while it waits, and dropped when it was given room but has not run.
    by_hand("T54", || {
        let queue = filled(&[1]);
        let (first, second) = (Hand::waiting(queue.put(2)), Hand::waiting(queue.put(3)));
        drop(first);
        assert_eq!(queue.try_get(), Ok(1));
        assert_eq!(second.finish(), Ok(()));

        let (first, second) = (Hand::waiting(queue.put(4)), Hand::waiting(queue.put(5)));
        assert_eq!(queue.try_get(), Ok(3));
        assert_eq!((first.wakes(), second.wakes()), (1, 0), "one wake for the room of one");
        assert!(queue.try_put(9).unwrap_err().is_full(), "the room is reserved");
        drop(first);
        assert_eq!(second.finish(), Ok(()));
        assert_eq!(queue.try_get(), Ok(5));
        assert!(queue.is_empty());
    });
}

#[test]
fn t55_shutdown_as_in_asyncio() {
    // T55. Empty; with items; at once; at once with one item in work; and task_done below zero.
    by_hand("T55 empty", || {
        let queue = filled(&[]);
        let getters = [Hand::waiting(queue.get()), Hand::waiting(queue.get())];
        assert!(queue.shutdown());
        assert!(!queue.shutdown());
        for getter in getters {
            assert_eq!(getter.finish(), Err(ShutDown(())));
        }
        assert_eq!(queue.try_put(1), Err(TryPutError::ShutDown(1)));
        assert_eq!(queue.try_get(), Err(TryGetError::ShutDown));
    });
    by_hand("T55 with items", || {
        let queue = filled(&[1, 2]);
        let putter = Hand::waiting(queue.put(3));
        queue.shutdown();
        assert_eq!(putter.finish(), Err(ShutDown(3)), "the item comes back");
        assert_eq!(Hand::new(queue.put(4)).poll(), Some(Err(ShutDown(4))));
        let join = Hand::waiting(queue.join());
        assert_eq!((queue.try_get(), queue.try_get()), (Ok(1), Ok(2)));
        assert_eq!(queue.try_get(), Err(TryGetError::ShutDown));
        queue.task_done().unwrap();
        assert_eq!(join.wakes(), 0);
        queue.task_done().unwrap();
        join.finish();
    });
    by_hand("T55 at once", || {
        let queue = filled(&[1, 2]);
        let (join, putter) = (Hand::waiting(queue.join()), Hand::waiting(queue.put(3)));
        assert_eq!(queue.shutdown_now(), [1, 2]);
        join.finish();
        assert_eq!(putter.finish(), Err(ShutDown(3)));
        assert_eq!(queue.try_get(), Err(TryGetError::ShutDown));
        assert!(queue.task_done().is_err());
    });
    by_hand("T55 at once, one in work", || {
        let queue = filled(&[1, 2]);
        assert_eq!(queue.try_get(), Ok(1));
        let join = Hand::waiting(queue.join());
        assert_eq!(queue.shutdown_now(), [2]);
        assert_eq!((join.wakes(), queue.unfinished()), (0, 1));
        queue.task_done().unwrap();
        join.finish();
        assert!(queue.task_done().unwrap_err().to_string().contains("more often"));
    });
}

#[test]
fn shutdown_with_reserved_items_and_room() {
    by_hand("promised item", || {
        // A granted getter is dropped after the shutdown: another one gets the item, and then no
        // getter waits any more.
        let queue = filled(&[]);
        let getters = [(); 3].map(|()| Hand::waiting(queue.get()));
        queue.try_put(1).unwrap();
        queue.shutdown();
        assert_eq!(getters.each_ref().map(Hand::wakes), [1, 0, 0], "there is still an item");
        let newcomer = Hand::waiting(queue.get());
        let [first, second, third] = getters;
        drop(first);
        assert_eq!(second.finish(), Ok(1));
        assert_eq!(third.finish(), Err(ShutDown(())));
        assert_eq!(newcomer.finish(), Err(ShutDown(())));
    });
    by_hand("promised room", || {
        let queue = filled(&[1]);
        let putter = Hand::waiting(queue.put(2));
        assert_eq!(queue.try_get(), Ok(1));
        queue.shutdown();
        assert_eq!(putter.finish(), Err(ShutDown(2)), "it was not put, so it is refused");
        assert_eq!(queue.try_get(), Err(TryGetError::ShutDown));
    });
    by_hand("promised item taken out", || {
        let queue = filled(&[]);
        let getter = Hand::waiting(queue.get());
        queue.try_put(1).unwrap();
        assert_eq!(queue.shutdown_now(), [1]);
        assert_eq!(getter.finish(), Err(ShutDown(())));
    });
}

#[test]
fn t56_equal_priorities_first_in_first_out() {
    // T56.
    #[derive(PartialEq, Eq, Debug)]
    struct Job(u32, u32);
    impl Ord for Job {
        fn cmp(&self, other: &Self) -> std::cmp::Ordering {
            self.0.cmp(&other.0)
        }
    }
    impl PartialOrd for Job {
        fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }
    by_hand("T56", || {
        let queue = PriorityQueue::unbounded();
        for n in 0..300 {
            queue.try_put(Job(n % 3, n)).unwrap();
        }
        let all: Vec<_> = std::iter::from_fn(|| queue.try_get().ok()).collect();
        let mut sorted: Vec<_> = (0..300).map(|n| Job(n % 3, n)).collect();
        sorted.sort_by_key(|job| job.0);
        assert_eq!(all, sorted);

        let stack = LifoQueue::bounded(3);
        (0..3).for_each(|n| stack.try_put(n).unwrap());
        assert_eq!(stack.shutdown_now(), [2, 1, 0], "in the order of gets");

        let queue = PriorityQueue::bounded(3);
        [1, 3, 2].into_iter().for_each(|n| queue.try_put(Reverse(n)).unwrap());
        assert_eq!(queue.try_get(), Ok(Reverse(3)));
    });
}

#[test]
fn a_getter_takes_the_first_item_when_it_runs() {
    by_hand("priority", || {
        let queue = PriorityQueue::unbounded();
        let getter = Hand::waiting(queue.get());
        queue.try_put(2).unwrap();
        queue.try_put(1).unwrap();
        assert_eq!(getter.finish(), Ok(1));
        assert_eq!(queue.try_get(), Ok(2));
    });
}

#[test]
fn grants_in_order_newcomers_last() {
    by_hand("order", || {
        let queue = filled(&[]);
        let getters = [(); 3].map(|()| Hand::waiting(queue.get()));
        queue.try_put(1).unwrap();
        let mut newcomer = Hand::new(queue.get());
        assert_eq!(newcomer.poll(), None, "no putter overtakes");
        let [first, second, third] = getters;
        assert_eq!(first.finish(), Ok(1));
        for (n, getter) in [(2, second), (3, third), (4, newcomer)] {
            queue.try_put(n).unwrap();
            assert_eq!(getter.finish(), Ok(n));
        }
        queue.try_put(5).unwrap();
        let putters = [6, 7, 8].map(|n| Hand::waiting(queue.put(n)));
        for (n, putter) in (5..).zip(putters) {
            assert_eq!(queue.try_get(), Ok(n));
            assert_eq!(putter.finish(), Ok(()));
        }
    });
}

#[test]
fn another_waker_and_another_poll() {
    by_hand("wakers", || {
        let queue = filled(&[]);
        let mut getter = Hand::waiting(queue.get());
        let (waker, wakes) = crate::tools::CountWakes::waker();
        assert!(getter.poll_with(&waker).is_none());
        queue.try_put(1).unwrap();
        assert_eq!((getter.wakes(), wakes.get()), (0, 1), "the last waker counts");
        assert_eq!(getter.poll(), Some(Ok(1)));
    });
}

#[test]
fn wakers_run_without_the_lock() {
    by_hand("meddling", || {
        let queue = Arc::new(filled(&[]));
        let called = Count::new();
        let waker = || {
            let (queue, called) = (queue.clone(), called.clone());
            meddling_waker(move || {
                let _ = format!("{queue:?} {}", queue.len());
                called.add();
            })
        };
        let mut getter = Hand::new(queue.get());
        assert!(getter.poll_with(&waker()).is_none());
        assert!(getter.poll_with(&waker()).is_none());
        assert_eq!(called.get(), 1, "the old one was dropped");
        queue.try_put(1).unwrap();
        assert!(called.get() > 1);
        assert_eq!(getter.poll(), Some(Ok(1)));
        let mut bomb = Hand::new(queue.get());
        assert!(bomb.poll_with(&panicking_waker()).is_none());
        queue.try_put(2).unwrap();
        assert_eq!(bomb.poll(), Some(Ok(2)), "its panic affects no other");
        for end in [false, true] {
            let mut getter = Hand::new(queue.get());
            assert!(getter.poll_with(&waker()).is_none());
            if end {
                queue.shutdown();
            }
            drop(getter);
        }
    });
}

#[test]
fn join_counts_items_that_were_put() {
    by_hand("join", || {
        let queue = filled(&[1, 2]);
        assert_eq!(Hand::new(filled(&[]).join()).poll(), Some(()), "nothing was put");
        let blocked = Hand::waiting(queue.put(3));
        assert_eq!(queue.unfinished(), 2, "an item that waits was not put");
        drop(blocked);
        let (first, second) = (Hand::waiting(queue.join()), Hand::waiting(queue.join()));
        for _ in 0..2 {
            let item = Hand::new(queue.get_tracked()).poll().unwrap().unwrap();
            assert_eq!(first.wakes(), 0);
            drop(item);
        }
        // A put from now on belongs to another round.
        queue.try_put(4).unwrap();
        let third = Hand::waiting(queue.join());
        first.finish();
        second.finish();
        let item = Hand::new(queue.get_tracked()).poll().unwrap().unwrap();
        assert_eq!((third.wakes(), item.into_inner()), (0, 4));
        third.finish();
    });
}

#[test]
fn tracked_work_is_done_by_panic_and_cancel() {
    on_every(|cfg| {
        cfg.once(async {
            let queue = Arc::new(filled(&[1, 2, 3]));
            let work = |end: fn()| {
                let queue = queue.clone();
                spawn(async move {
                    let _item = queue.get_tracked().await.unwrap();
                    end();
                    std::future::pending::<()>().await;
                })
            };
            let tasks = [work(|| ()), work(|| ())];
            let panics = work(|| crate::harness::deliberate("work"));
            while !queue.is_empty() {
                yield_now().await;
            }
            assert!(panics.await.unwrap_err().is_panicked());
            tasks.iter().for_each(|task| assert!(task.cancel()));
            queue.join().await;
            for task in tasks {
                assert!(task.await.unwrap_err().is_cancelled());
            }
        });
    });
}

#[test]
fn many_producers_and_consumers() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let queue = Arc::new(Queue::bounded(3));
            let producers: Vec<_> = (0..8)
                .map(|p| {
                    let queue = queue.clone();
                    spawn(async move {
                        for n in 0..100 {
                            queue.put((p, n)).await.unwrap();
                        }
                    })
                })
                .collect();
            let consumers: Vec<_> = (0..4)
                .map(|_| {
                    let queue = queue.clone();
                    spawn(async move {
                        let mut got = Vec::new();
                        let mut items = queue.stream();
                        while let Some(item) = items.next().await {
                            got.push(item);
                            queue.task_done().unwrap();
                        }
                        got
                    })
                })
                .collect();
            for producer in producers {
                producer.await.unwrap();
            }
            queue.join().await;
            queue.shutdown();
            let mut all = Vec::new();
            for consumer in consumers {
                let got = consumer.await.unwrap();
                // Each consumer sees the items of one producer in order.
                for p in 0..8 {
                    assert!(got.iter().filter(|(q, _)| *q == p).is_sorted());
                }
                all.extend(got);
            }
            all.sort_unstable();
            assert_eq!(all, (0..8).flat_map(|p| (0..100).map(move |n| (p, n))).collect::<Vec<_>>());
        });
    });
}

#[test]
fn instant_operations_yield() {
    // D-10. Method: a task puts and gets without end while another one is queued.
    on_every(|cfg| {
        if !cfg.single() {
            return;
        }
        cfg.once(async {
            let queue = filled(&[]);
            let other = spawn(async {});
            let mut rounds = 0;
            while !other.is_finished() {
                queue.put(rounds).await.unwrap();
                assert_eq!(queue.get().await, Ok(rounds));
                rounds += 1;
                assert!(rounds < 100_000, "the other task never runs");
            }
            other.await.unwrap();
        });
    });
}

#[test]
fn a_join_without_budget_has_seen_that_all_is_done() {
    // Formerly it yielded and lost what it had seen, and a put made it wait.
    on_every(|cfg| {
        cfg.once(async {
            let queue = filled(&[]);
            spend_budget().await;
            let mut join = Box::pin(queue.join());
            assert!(polled(join.as_mut()).await.is_pending());
            queue.try_put(1).unwrap();
            yield_now().await;
            assert!(polled(join.as_mut()).await.is_ready());
        });
    });
}

#[test]
fn plain_threads_and_another_executor() {
    by_hand("threads", || {
        let queue = Queue::bounded(1);
        std::thread::scope(|scope| {
            scope.spawn(|| (0..100).for_each(|n| queue.blocking_put(n).unwrap()));
            for n in 0..50 {
                assert_eq!(queue.blocking_get(), Ok(n));
                queue.task_done().unwrap();
            }
            other_executor(async {
                for n in 50..100 {
                    assert_eq!(*queue.get_tracked().await.unwrap(), n);
                }
            });
        });
        queue.blocking_join();
        queue.shutdown();
        assert!(queue.blocking_get().is_err());
    });
    on_every(|cfg| {
        cfg.once(async {
            let queue = filled(&[]);
            assert!(must_panic(|| queue.blocking_get()).contains("to_thread"));
            assert!(must_panic(|| queue.blocking_put(1)).contains("to_thread"));
        });
    });
}

#[test]
fn a_stream_keeps_its_place_and_gives_it_up() {
    by_hand("stream", || {
        let queue = filled(&[]);
        let mut stream = queue.stream();
        let mut next = Hand::new(stream.next());
        assert!(next.poll().is_none());
        drop(next);
        let behind = Hand::waiting(queue.get());
        queue.try_put(1).unwrap();
        assert_eq!(behind.wakes(), 0, "the stream is still in line");
        drop(stream);
        assert_eq!(behind.finish(), Ok(1));
    });
}

#[test]
fn counts_and_debug() {
    let queue = filled(&[1]);
    send_sync(&queue);
    send(&queue.get());
    send(&queue.put(1));
    send(&queue.stream());
    let _waits = Hand::waiting(queue.put(2));
    let text = format!("{queue:?}");
    assert!(text.contains("len: 1") && text.contains("waiting_putters: 1"), "{text}");
    assert_eq!(queue.capacity(), Some(1));
    assert!(queue.is_full());
    assert_eq!(Queue::<u8>::unbounded().capacity(), None);
    let text = must_panic(|| Queue::<u8>::bounded(0));
    assert!(text.contains("channel(0)"), "{text}");
}

/// An item that is compared by its number, or panics in a comparison while it is live.
struct Bomb(u32, Flag);

impl Bomb {
    fn dud(number: u32) -> Bomb {
        Bomb(number, Flag::new())
    }

    fn live(number: u32) -> Bomb {
        let bomb = Bomb::dud(number);
        bomb.1.set();
        bomb
    }
}

impl PartialEq for Bomb {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Bomb {}

impl PartialOrd for Bomb {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bomb {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        if self.1.is_set() || other.1.is_set() {
            crate::harness::deliberate("a comparison");
        }
        self.0.cmp(&other.0)
    }
}

#[test]
fn a_comparison_that_panics_in_a_put() {
    // Formerly the item was there, but reserved for no getter, and one slept beside it.
    by_hand("bomb", || {
        let queue = PriorityQueue::unbounded();
        queue.try_put(Bomb::dud(1)).ok().unwrap();
        assert_eq!(must_panic(|| queue.try_put(Bomb::live(0)).is_ok()), "a comparison");
        // It is not locked, and can be used.
        assert_eq!((queue.len(), queue.unfinished()), (2, 2));
        assert!(!queue.is_shut_down());

        let queue = PriorityQueue::unbounded();
        let getters = [Hand::waiting(queue.get()), Hand::waiting(queue.get())];
        queue.try_put(Bomb::dud(1)).ok().unwrap();
        must_panic(|| queue.try_put(Bomb::live(0)).is_ok());
        assert_eq!(getters.each_ref().map(Hand::wakes), [1, 1], "each has an item");
        let mut numbers = getters.map(|getter| getter.finish().unwrap().0);
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 1]);
    });
}

#[test]
fn a_comparison_that_panics_in_a_get() {
    // Formerly the item was lost, its room was given to no putter, and one slept beside it.
    by_hand("bomb", || {
        let (queue, last) = (PriorityQueue::bounded(3), Bomb::dud(3));
        let fuse = last.1.clone();
        for bomb in [last, Bomb::dud(1), Bomb::dud(2)] {
            queue.try_put(bomb).ok().unwrap();
        }
        let putter = Hand::waiting(queue.put(Bomb::dud(4)));
        fuse.set();
        assert_eq!(must_panic(|| queue.try_get().is_ok()), "a comparison");
        assert_eq!((queue.len(), queue.unfinished()), (3, 3), "it has taken nothing");
        assert!(queue.is_full() && putter.wakes() == 0);

        // Reserved for a getter that panics, it goes to the next.
        let (queue, last) = (PriorityQueue::unbounded(), Bomb::dud(3));
        let fuse = last.1.clone();
        let [mut first, second, third, fourth] = [(); 4].map(|()| Hand::waiting(queue.get()));
        for bomb in [last, Bomb::dud(1), Bomb::dud(2)] {
            queue.try_put(bomb).ok().unwrap();
        }
        fuse.set();
        assert_eq!(must_panic(|| first.poll().is_some()), "a comparison");
        // By reference: a wait that is dropped passes on the item that was reserved for it.
        assert_eq!([&second, &third, &fourth].map(|wait| wait.wakes()), [1, 1, 1]);
        assert_eq!(queue.len(), 3);
    });
}

#[test]
fn a_shutdown_ends_a_join_though_too_much_was_reported() {
    // Formerly the two removed items were more than the one unfinished, so that their report was
    // refused and had no effect.
    by_hand("early", || {
        let queue = filled(&[1, 2]);
        queue.task_done().unwrap();
        let join = Hand::waiting(queue.join());
        assert_eq!(queue.shutdown_now(), [1, 2]);
        join.finish();
        assert_eq!(queue.unfinished(), 0);
    });
}

#[test]
fn a_waker_whose_drop_panics_loses_no_item() {
    // S8. Formerly an item that the second check found, after the waker was cloned, was lost when
    // the drop of the clone panicked. Method: the clone itself makes the queue ready for the
    // future.
    by_hand("drop of a waker", || {
        let queue = Arc::new(filled(&[]));
        let putting = queue.clone();
        let waker = waker_with_bad_clones(move || putting.try_put(1).unwrap());
        assert_eq!(Hand::new(queue.get()).poll_with(&waker), Some(Ok(1)));

        let queue = Arc::new(filled(&[1]));
        let taking = queue.clone();
        let waker = waker_with_bad_clones(move || assert_eq!(taking.try_get(), Ok(1)));
        assert_eq!(Hand::new(queue.put(2)).poll_with(&waker), Some(Ok(())));
        assert_eq!(queue.try_get(), Ok(2));

        let closing = queue.clone();
        let waker = waker_with_bad_clones(move || assert!(closing.shutdown()));
        assert_eq!(Hand::new(queue.get()).poll_with(&waker), Some(Err(ShutDown(()))));
        let queue = Arc::new(filled(&[1]));
        let closing = queue.clone();
        let waker = waker_with_bad_clones(move || assert!(closing.shutdown()));
        let refused = Hand::new(queue.put(2)).poll_with(&waker).expect("it is shut down");
        assert_eq!(refused.unwrap_err().0, 2);
    });
}

#[test]
fn a_shutdown_loses_nothing_to_a_comparison_that_panics() {
    // Formerly the items were dropped while they were sorted.
    by_hand("bomb", || {
        for count in [2, 5, 100] {
            let queue = PriorityQueue::unbounded();
            let fuse = Flag::new();
            for number in 0..count {
                queue.try_put(Bomb((number * 37) % count, fuse.clone())).ok().unwrap();
            }
            fuse.set();
            let mut numbers: Vec<_> = queue.shutdown_now().iter().map(|bomb| bomb.0).collect();
            numbers.sort_unstable();
            let mut put: Vec<_> = (0..count).map(|number| number * 37 % count).collect();
            put.sort_unstable();
            assert_eq!(numbers, put);
            assert_eq!((queue.unfinished(), queue.len()), (0, 0));
            assert!(queue.is_shut_down());
            queue.blocking_join();
        }
    });
}

#[test]
fn tracked_items_go_to_other_tasks() {
    // Formerly an item that reports itself done borrowed its queue, and could not be moved to a
    // task.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let queue = Arc::new(Queue::bounded(4));
            let (heap, stack) =
                (Arc::new(PriorityQueue::unbounded()), Arc::new(LifoQueue::unbounded()));
            let done = Count::new();
            let producer = {
                let (queue, heap, stack) = (queue.clone(), heap.clone(), stack.clone());
                spawn(async move {
                    for n in 0..30 {
                        queue.put(n).await.unwrap();
                        heap.put(n).await.unwrap();
                        stack.put(n).await.unwrap();
                    }
                    queue.shutdown();
                    heap.shutdown();
                    stack.shutdown();
                })
            };
            let mut tasks = Vec::new();
            while let Ok(mut item) = queue.clone().get_tracked_owned().await {
                assert!(Arc::ptr_eq(item.queue(), &queue));
                let done = done.clone();
                tasks.push(spawn(async move {
                    yield_now().await;
                    *item += 1;
                    done.add();
                    if *item % 3 == 0 { item.into_inner() } else { *item }
                }));
            }
            while let Ok(item) = heap.clone().get_tracked_owned().await {
                tasks.push(spawn(async move { *item }));
            }
            while let Ok(item) = stack.clone().get_tracked_owned().await {
                let task = spawn(async move {
                    let _item = item;
                    std::future::pending().await
                });
                task.cancel();
                tasks.push(task);
            }
            producer.await.unwrap();
            queue.join().await;
            assert_eq!(done.get(), 30, "all tasks were done with their items");
            heap.join().await;
            stack.join().await;
            for task in tasks {
                assert!(task.await.is_ok_and(|n| n <= 30) || done.get() == 30);
            }
            // Dropped unpolled, and while it waits, it has taken nothing; nor does it keep the
            // queue alive.
            let queue = Arc::new(Queue::<u32>::unbounded());
            drop(queue.clone().get_tracked_owned());
            drop(Hand::waiting(queue.clone().get_tracked_owned()));
            queue.try_put(7).unwrap();
            let item = queue.clone().get_tracked_owned().await.unwrap();
            assert_eq!(format!("{item:?}"), "OwnedTracked(7)");
            assert_eq!((queue.unfinished(), Arc::strong_count(&queue)), (1, 2));
            send_sync(&item);
            drop(item);
            assert_eq!((queue.unfinished(), Arc::strong_count(&queue)), (0, 1));
        });
    });
}

#[test]
fn room_that_is_reserved_is_not_full() {
    // `is_full` is about items, as in asyncio: with room reserved the queue is not full, but other
    // putters get no room.
    by_hand("promised room", || {
        let queue = filled(&[1]);
        let putter = Hand::waiting(queue.put(2));
        assert!(queue.is_full());
        assert_eq!(queue.try_get(), Ok(1));
        assert!(!queue.is_full(), "nothing is in it");
        assert!(queue.try_put(9).unwrap_err().is_full(), "the room is the putter's");
        putter.finish().unwrap();
        assert!(queue.is_full());
    });
}
