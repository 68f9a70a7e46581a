//! ringloop's primitives.

use std::sync::Arc;

use ringloop::sync::{self, LockGuard, Permit, channel};

use crate::sync::barrier::Barrier;
use crate::sync::event::Event;
use crate::sync::lock::Lock;
use crate::sync::queue::Queue;
use crate::sync::semaphore::Semaphore;

impl Lock for sync::Lock<u64> {
    type Guard<'a> = LockGuard<'a, u64>;

    fn new() -> Self {
        sync::Lock::new(0)
    }

    async fn lock(&self) -> LockGuard<'_, u64> {
        self.lock().await
    }
}

impl Semaphore for sync::Semaphore {
    type Permit<'a> = Permit<'a>;

    fn new(permits: usize) -> Self {
        sync::Semaphore::new(permits)
    }

    async fn acquire(&self) -> Permit<'_> {
        self.acquire().await.expect("it is not closed")
    }
}

/// `Queue`, shared.
pub struct SharedQueue;

impl Queue for SharedQueue {
    type Sender = Arc<sync::Queue<u64>>;
    type Receiver = Arc<sync::Queue<u64>>;

    fn bounded(capacity: usize, receivers: usize) -> (Self::Sender, Vec<Self::Receiver>) {
        let queue = Arc::new(sync::Queue::bounded(capacity));
        (queue.clone(), vec![queue; receivers])
    }

    async fn send(sender: &Self::Sender, value: u64) {
        sender.put(value).await.expect("it is not shut down");
    }

    async fn receive(receiver: &mut Self::Receiver) -> u64 {
        receiver.get().await.expect("it is not shut down")
    }
}

/// `channel`, with ends that close.
pub struct Channel;

impl Queue for Channel {
    type Sender = channel::Sender<u64>;
    type Receiver = channel::Receiver<u64>;

    fn bounded(capacity: usize, receivers: usize) -> (Self::Sender, Vec<Self::Receiver>) {
        let (sender, receiver) = sync::channel(capacity);
        (sender, vec![receiver; receivers])
    }

    async fn send(sender: &Self::Sender, value: u64) {
        sender.send(value).await.expect("there is a receiver");
    }

    async fn receive(receiver: &mut Self::Receiver) -> u64 {
        receiver.recv().await.expect("there is a sender")
    }
}

impl Event for sync::Event {
    type Waiter = Arc<sync::Event>;

    fn new() -> Self {
        sync::Event::new()
    }

    fn waiter(self: &Arc<Self>) -> Arc<sync::Event> {
        self.clone()
    }

    fn set(&self) {
        self.set();
    }

    fn clear(&self) {
        self.clear();
    }

    async fn wait(waiter: &mut Arc<sync::Event>) {
        sync::Event::wait(waiter).await;
    }
}

impl Barrier for sync::Barrier {
    fn new(parties: usize) -> Self {
        sync::Barrier::new(parties)
    }

    async fn wait(&self) -> bool {
        self.wait().await.expect("it is not broken").leader
    }
}
