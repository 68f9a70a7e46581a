//! Queues and channels compared with a simple sequential oracle, and storms over them.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use proptest::prelude::*;
use ringloop::sync::channel::{Receiver, Sender, TryRecvError, TrySendError};
use ringloop::sync::{LifoQueue, PriorityQueue, Queue, TryGetError, TryPutError, channel};

use crate::harness::{Rng, guarded, scaled};
use crate::sync_tools::{Hand, other_executor};
use crate::tools::Count;

/// One step of a schedule; its numbers choose among the existing waits.
#[derive(Clone, Copy, Debug)]
enum Op {
    Put(u8),
    Get,
    Poll(usize),
    Cancel(usize),
    TryPut(u8),
    TryGet,
    Close,
    Clear,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (0..8u8).prop_map(Op::Put),
        6 => Just(Op::Get),
        8 => any::<usize>().prop_map(Op::Poll),
        4 => any::<usize>().prop_map(Op::Cancel),
        3 => (0..8u8).prop_map(Op::TryPut),
        3 => Just(Op::TryGet),
        1 => Just(Op::Close),
        1 => Just(Op::Clear),
    ];
    proptest::collection::vec(op, 1..60)
}

/// An item: its rank, and its number.
type Item = (u8, usize);

/// How a wait ends: a put with the item if it was refused, a get with the item if there was one.
#[derive(Debug, PartialEq, Clone, Copy)]
enum End {
    Put(Option<Item>),
    Got(Option<Item>),
}

#[derive(Debug, PartialEq)]
enum Now {
    Put,
    Full(Item),
    Refused(Item),
    Got(Item),
    Empty,
    Over,
}

/// The interface of the queues and channels that are tested.
trait Subject {
    fn put(&self, item: Item) -> Pin<Box<dyn Future<Output = End> + '_>>;
    fn get(&self) -> Pin<Box<dyn Future<Output = End> + '_>>;
    fn try_put(&self, item: Item) -> Now;
    fn try_get(&self) -> Now;
    /// Shuts it down but leaves its items, if it has such a call.
    fn close(&self) -> bool;
    /// Takes all items out and closes.
    fn clear(&self) -> Option<Vec<Item>>;
}

macro_rules! queue_subject {
    ($queue:ty) => {
        impl Subject for $queue {
            fn put(&self, item: Item) -> Pin<Box<dyn Future<Output = End> + '_>> {
                let put = <$queue>::put(self, item);
                Box::pin(async { End::Put(put.await.err().map(|refused| refused.0)) })
            }

            fn get(&self) -> Pin<Box<dyn Future<Output = End> + '_>> {
                let get = <$queue>::get(self);
                Box::pin(async { End::Got(get.await.ok()) })
            }

            fn try_put(&self, item: Item) -> Now {
                match <$queue>::try_put(self, item) {
                    Ok(()) => Now::Put,
                    Err(TryPutError::Full(item)) => Now::Full(item),
                    Err(TryPutError::ShutDown(item)) => Now::Refused(item),
                }
            }

            fn try_get(&self) -> Now {
                match <$queue>::try_get(self) {
                    Ok(item) => Now::Got(item),
                    Err(TryGetError::Empty) => Now::Empty,
                    Err(TryGetError::ShutDown) => Now::Over,
                }
            }

            fn close(&self) -> bool {
                self.shutdown();
                true
            }

            fn clear(&self) -> Option<Vec<Item>> {
                Some(self.shutdown_now())
            }
        }
    };
}

queue_subject!(Queue<Item>);
queue_subject!(LifoQueue<Item>);

/// Ordered by the rank alone.
#[derive(Debug, PartialEq, Eq)]
struct Ranked(Item);

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.0.cmp(&other.0.0)
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Subject for PriorityQueue<Ranked> {
    fn put(&self, item: Item) -> Pin<Box<dyn Future<Output = End> + '_>> {
        let put = Self::put(self, Ranked(item));
        Box::pin(async { End::Put(put.await.err().map(|refused| refused.0.0)) })
    }

    fn get(&self) -> Pin<Box<dyn Future<Output = End> + '_>> {
        let get = Self::get(self);
        Box::pin(async { End::Got(get.await.ok().map(|ranked| ranked.0)) })
    }

    fn try_put(&self, item: Item) -> Now {
        match Self::try_put(self, Ranked(item)) {
            Ok(()) => Now::Put,
            Err(TryPutError::Full(item)) => Now::Full(item.0),
            Err(TryPutError::ShutDown(item)) => Now::Refused(item.0),
        }
    }

    fn try_get(&self) -> Now {
        match Self::try_get(self) {
            Ok(item) => Now::Got(item.0),
            Err(TryGetError::Empty) => Now::Empty,
            Err(TryGetError::ShutDown) => Now::Over,
        }
    }

    fn close(&self) -> bool {
        self.shutdown();
        true
    }

    fn clear(&self) -> Option<Vec<Item>> {
        Some(self.shutdown_now().into_iter().map(|ranked| ranked.0).collect())
    }
}

impl Subject for (Sender<Item>, Receiver<Item>) {
    fn put(&self, item: Item) -> Pin<Box<dyn Future<Output = End> + '_>> {
        let send = self.0.send(item);
        Box::pin(async { End::Put(send.await.err().map(|refused| refused.0)) })
    }

    fn get(&self) -> Pin<Box<dyn Future<Output = End> + '_>> {
        let recv = self.1.recv();
        Box::pin(async { End::Got(recv.await.ok()) })
    }

    fn try_put(&self, item: Item) -> Now {
        match self.0.try_send(item) {
            Ok(()) => Now::Put,
            Err(TrySendError::Full(item)) => Now::Full(item),
            Err(TrySendError::Closed(item)) => Now::Refused(item),
        }
    }

    fn try_get(&self) -> Now {
        match self.1.try_recv() {
            Ok(item) => Now::Got(item),
            Err(TryRecvError::Empty) => Now::Empty,
            Err(TryRecvError::Closed) => Now::Over,
        }
    }

    fn close(&self) -> bool {
        false
    }

    fn clear(&self) -> Option<Vec<Item>> {
        None
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Order {
    Fifo,
    Lifo,
    Least,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Stage {
    Fresh,
    Waiting,
    Granted,
    Refused,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    stage: Stage,
    /// The item of a put, until it is put.
    item: Option<Item>,
    put: bool,
}

/// The expected behaviour in the simplest form: waits by number, in lists.
struct Oracle {
    order: Order,
    capacity: usize,
    items: Vec<Item>,
    closed: bool,
    waits: Vec<Option<Wait>>,
    /// The waits in their order of arrival.
    line: VecDeque<usize>,
}

impl Oracle {
    fn count(&self, put: bool, stage: Stage) -> usize {
        let is = |wait: &&Option<Wait>| {
            wait.is_some_and(|wait| {
                wait.put == put && wait.stage == stage && (!put || wait.item.is_some())
            })
        };
        self.waits.iter().filter(is).count()
    }

    fn free_items(&self) -> usize {
        self.items.len().saturating_sub(self.count(false, Stage::Granted))
    }

    fn has_room(&self) -> bool {
        match self.capacity {
            0 => self.count(false, Stage::Waiting) > 0,
            _ => self.items.len() + self.count(true, Stage::Granted) < self.capacity,
        }
    }

    fn pop(&mut self) -> Option<Item> {
        let index = match self.order {
            _ if self.items.is_empty() => return None,
            Order::Fifo => 0,
            Order::Lifo => self.items.len() - 1,
            Order::Least => {
                let least = self.items.iter().map(|item| item.0).min();
                self.items.iter().position(|item| Some(item.0) == least).unwrap()
            }
        };
        Some(self.items.remove(index))
    }

    fn first(&self, put: bool) -> Option<usize> {
        self.line.iter().copied().find(|id| self.waits[*id].unwrap().put == put)
    }

    fn leave_line(&mut self, id: usize, stage: Stage) {
        self.line.retain(|other| *other != id);
        self.waits[id].as_mut().unwrap().stage = stage;
    }

    /// Gives items and room to the first waits.
    fn settle(&mut self) {
        while self.free_items() > 0
            && let Some(id) = self.first(false)
        {
            self.leave_line(id, Stage::Granted);
        }
        while self.capacity > 0
            && !self.closed
            && self.has_room()
            && let Some(id) = self.first(true)
        {
            self.leave_line(id, Stage::Granted);
        }
        if self.closed {
            while let Some(id) = self.first(true) {
                self.leave_line(id, Stage::Refused);
            }
            while self.items.is_empty()
                && let Some(id) = self.first(false)
            {
                self.leave_line(id, Stage::Refused);
            }
        }
    }

    fn try_put(&mut self, item: Item) -> Now {
        if self.closed {
            return Now::Refused(item);
        }
        if !self.has_room() {
            return Now::Full(item);
        }
        self.items.push(item);
        self.settle();
        Now::Put
    }

    fn try_get(&mut self) -> Now {
        if self.free_items() > 0 {
            let item = self.pop().unwrap();
            self.settle();
            return Now::Got(item);
        }
        if self.capacity == 0
            && let Some(id) = self.first(true)
        {
            let item = self.waits[id].as_mut().unwrap().item.take().unwrap();
            self.leave_line(id, Stage::Granted);
            return Now::Got(item);
        }
        if self.closed && self.items.is_empty() { Now::Over } else { Now::Empty }
    }

    fn poll(&mut self, id: usize) -> Option<End> {
        let wait = self.waits[id].unwrap();
        let end = match (wait.stage, wait.put) {
            (Stage::Waiting, _) => return None,
            (Stage::Fresh, true) => match self.try_put(wait.item.unwrap()) {
                Now::Put => End::Put(None),
                Now::Refused(item) => End::Put(Some(item)),
                _ => return self.enqueue(id),
            },
            (Stage::Fresh, false) => match self.try_get() {
                Now::Got(item) => End::Got(Some(item)),
                Now::Over => End::Got(None),
                _ => return self.enqueue(id),
            },
            (Stage::Refused, true) => End::Put(wait.item),
            (Stage::Refused, false) => End::Got(None),
            (Stage::Granted, true) => match wait.item {
                None => End::Put(None),
                Some(item) if self.closed => End::Put(Some(item)),
                Some(item) => {
                    self.items.push(item);
                    End::Put(None)
                }
            },
            (Stage::Granted, false) => End::Got(self.pop()),
        };
        self.waits[id] = None;
        self.settle();
        Some(end)
    }

    fn enqueue(&mut self, id: usize) -> Option<End> {
        self.waits[id].as_mut().unwrap().stage = Stage::Waiting;
        self.line.push_back(id);
        None
    }

    fn cancel(&mut self, id: usize) {
        self.line.retain(|other| *other != id);
        self.waits[id] = None;
        self.settle();
    }
}

fn compare(subject: &dyn Subject, order: Order, capacity: usize, ops: &[Op]) {
    let mut oracle = Oracle {
        order,
        capacity,
        items: Vec::new(),
        closed: false,
        waits: Vec::new(),
        line: VecDeque::new(),
    };
    let mut hands: Vec<Option<Hand<_>>> = Vec::new();
    for (number, op) in ops.iter().enumerate() {
        let live: Vec<_> = (0..hands.len()).filter(|id| hands[*id].is_some()).collect();
        match *op {
            Op::Put(rank) => {
                let item = (rank, number);
                hands.push(Some(Hand::new(subject.put(item))));
                let wait = Wait { stage: Stage::Fresh, item: Some(item), put: true };
                oracle.waits.push(Some(wait));
                let last = hands.len() - 1;
                poll(&mut hands, &mut oracle, number, last);
            }
            Op::Get => {
                hands.push(Some(Hand::new(subject.get())));
                oracle.waits.push(Some(Wait { stage: Stage::Fresh, item: None, put: false }));
                let last = hands.len() - 1;
                poll(&mut hands, &mut oracle, number, last);
            }
            Op::Poll(_) | Op::Cancel(_) if live.is_empty() => {}
            Op::Poll(n) => poll(&mut hands, &mut oracle, number, live[n % live.len()]),
            Op::Cancel(n) => {
                let id = live[n % live.len()];
                hands[id] = None;
                oracle.cancel(id);
            }
            Op::TryPut(rank) => {
                let item = (rank, number);
                assert_eq!(subject.try_put(item), oracle.try_put(item), "step {number}");
            }
            Op::TryGet => assert_eq!(subject.try_get(), oracle.try_get(), "step {number}"),
            Op::Close => {
                if subject.close() {
                    oracle.closed = true;
                    oracle.settle();
                }
            }
            Op::Clear => {
                if let Some(items) = subject.clear() {
                    oracle.closed = true;
                    let all: Vec<_> = std::iter::from_fn(|| oracle.pop()).collect();
                    assert_eq!(items, all, "step {number}");
                    oracle.settle();
                }
            }
        }
        // A wait is woken exactly once if it has a result.
        for (id, hand) in hands.iter().enumerate() {
            if let (Some(hand), Some(wait)) = (hand, &oracle.waits[id]) {
                let told = matches!(wait.stage, Stage::Granted | Stage::Refused);
                assert_eq!(hand.wakes(), usize::from(told), "step {number}, wait {id}: {wait:?}");
            }
        }
    }
}

fn poll<F: Future<Output = End>>(
    hands: &mut [Option<Hand<F>>],
    oracle: &mut Oracle,
    number: usize,
    id: usize,
) {
    let end = hands[id].as_mut().unwrap().poll();
    assert_eq!(end, oracle.poll(id), "step {number}, wait {id}");
    if end.is_some() {
        hands[id] = None;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn queue_like_its_oracle(capacity in 1..4usize, ops in ops()) {
        compare(&Queue::bounded(capacity), Order::Fifo, capacity, &ops);
    }

    #[test]
    fn lifo_like_its_oracle(capacity in 1..4usize, ops in ops()) {
        compare(&LifoQueue::bounded(capacity), Order::Lifo, capacity, &ops);
    }

    #[test]
    fn priority_like_its_oracle(capacity in 1..5usize, ops in ops()) {
        compare(&PriorityQueue::bounded(capacity), Order::Least, capacity, &ops);
    }

    #[test]
    fn unbounded_like_its_oracle(ops in ops()) {
        compare(&Queue::unbounded(), Order::Fifo, usize::MAX, &ops);
    }

    #[test]
    fn channel_like_its_oracle(capacity in 0..3usize, ops in ops()) {
        compare(&channel(capacity), Order::Fifo, capacity, &ops);
    }
}

/// Polls a few times and then gives up, if it is one that does.
struct Fickle<F> {
    inner: Option<Pin<Box<F>>>,
    turns: Option<usize>,
}

impl<F: Future> Future for Fickle<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.turns == Some(0) {
            self.inner = None;
            return Poll::Ready(None);
        }
        if let Poll::Ready(value) = self.inner.as_mut().unwrap().as_mut().poll(cx) {
            return Poll::Ready(Some(value));
        }
        if let Some(turns) = &mut self.turns {
            *turns -= 1;
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

fn fickle<F: Future>(rng: &mut Rng, future: F) -> Fickle<F> {
    let turns = rng.one_in(4).then(|| 1 + rng.below(3));
    Fickle { inner: Some(Box::pin(future)), turns }
}

/// Four threads put and four get, some of each give up; at the end exactly the items that were put
/// have been taken.
fn storm(name: &str, rounds: usize) {
    let seed = match std::env::var("RINGLOOP_SEED") {
        Ok(text) => text.parse().expect("RINGLOOP_SEED is a number"),
        Err(_) => std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos() as u64,
    };
    let what = format!("{name}, RINGLOOP_SEED={seed}");
    guarded(&what, Duration::from_secs(600), || {
        for capacity in [1, 3, 64] {
            let queue = Queue::bounded(capacity);
            let (put, got) = (Sums::default(), Sums::default());
            let puts = &AtomicUsize::new(0);
            std::thread::scope(|scope| {
                let getters: Vec<_> = (0..4)
                    .map(|thread| {
                        let (queue, got) = (&queue, &got);
                        scope.spawn(move || {
                            let mut rng = Rng::new(seed ^ (thread << 32));
                            loop {
                                let get = fickle(&mut rng, queue.get());
                                match other_executor(get) {
                                    Some(Ok(item)) => {
                                        got.add(item);
                                        queue.task_done().unwrap();
                                    }
                                    Some(Err(_)) => break,
                                    None => {}
                                }
                            }
                        })
                    })
                    .collect();
                let putters: Vec<_> = (0..4)
                    .map(|thread| {
                        let (queue, put) = (&queue, &put);
                        scope.spawn(move || {
                            let mut rng = Rng::new(seed ^ ((thread + 4) << 32));
                            for n in 0..rounds {
                                let item = n * 4 + thread as usize + 1;
                                let putting = fickle(&mut rng, queue.put(item));
                                if let Some(Ok(())) = other_executor(putting) {
                                    put.add(item);
                                    puts.fetch_add(1, Ordering::Relaxed);
                                }
                            }
                        })
                    })
                    .collect();
                putters.into_iter().for_each(|putter| putter.join().unwrap());
                queue.blocking_join();
                queue.shutdown();
                getters.into_iter().for_each(|getter| getter.join().unwrap());
            });
            assert_eq!(put.get(), got.get(), "capacity {capacity}");
            assert_eq!(queue.unfinished(), 0);
            assert!(puts.load(Ordering::Relaxed) >= rounds, "most puts get through");
        }
    });
}

/// A digest of a set of items: their number, and a sum that no other set is likely to have.
#[derive(Default)]
struct Sums(AtomicUsize, AtomicUsize);

impl Sums {
    fn add(&self, item: usize) {
        self.0.fetch_add(1, Ordering::Relaxed);
        let mixed = item.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.1.fetch_add(mixed ^ (mixed >> 29), Ordering::Relaxed);
    }

    fn get(&self) -> (usize, usize) {
        (self.0.load(Ordering::Relaxed), self.1.load(Ordering::Relaxed))
    }
}

#[test]
fn storm_over_a_queue() {
    storm("storm_over_a_queue", scaled(2_000));
}

#[test]
#[ignore = "a million operations"]
fn storm_over_a_queue_full() {
    storm("storm_over_a_queue_full", scaled(85_000));
}

/// Channels of all kinds, between threads that give up now and then: every item is received or
/// dropped, once.
fn channel_storm(name: &str, rounds: usize) {
    let seed = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos() as u64;
    let seed = std::env::var("RINGLOOP_SEED").map_or(seed, |text| text.parse().unwrap());
    guarded(&format!("{name}, RINGLOOP_SEED={seed}"), Duration::from_secs(600), || {
        for capacity in [0, 1, 5] {
            let (sender, receiver) = channel(capacity);
            let (drops, sent, received) = (Count::new(), Count::new(), Count::new());
            std::thread::scope(|scope| {
                for thread in 0..8 {
                    let mut rng = Rng::new(seed ^ (thread << 32));
                    let (drops, sent, received) = (&drops, &sent, &received);
                    if thread % 2 == 0 {
                        let sender = sender.clone();
                        scope.spawn(move || {
                            for _ in 0..rounds {
                                let send = fickle(&mut rng, sender.send(drops.on_drop()));
                                if let Some(Ok(())) = other_executor(send) {
                                    sent.add();
                                }
                            }
                        });
                    } else {
                        let receiver = receiver.clone();
                        scope.spawn(move || {
                            loop {
                                match other_executor(fickle(&mut rng, receiver.recv())) {
                                    Some(Ok(_)) => _ = received.add(),
                                    Some(Err(_)) => break,
                                    None => {}
                                }
                            }
                        });
                    }
                }
                drop((sender, receiver));
            });
            assert_eq!(drops.get(), 4 * rounds, "capacity {capacity}: each once");
            if capacity > 0 {
                assert_eq!(sent.get(), received.get(), "capacity {capacity}");
            } else {
                assert!(sent.get() <= received.get(), "a send that gave up may have been made");
            }
        }
    });
}

#[test]
fn storm_over_channels() {
    channel_storm("storm_over_channels", scaled(1_000));
}

#[test]
#[ignore = "a million operations"]
fn storm_over_channels_full() {
    channel_storm("storm_over_channels_full", scaled(85_000));
}
