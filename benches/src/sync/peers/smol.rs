//! async-lock, async-channel and event-listener, which smol's users take.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_channel::{Receiver, Sender};
use async_lock::{MutexGuard, SemaphoreGuard};

use crate::sync::barrier::Barrier;
use crate::sync::event::Event;
use crate::sync::lock::Lock;
use crate::sync::queue::Queue;
use crate::sync::semaphore::Semaphore;

impl Lock for async_lock::Mutex<u64> {
    type Guard<'a> = MutexGuard<'a, u64>;

    fn new() -> Self {
        async_lock::Mutex::new(0)
    }

    async fn lock(&self) -> MutexGuard<'_, u64> {
        self.lock().await
    }
}

impl Semaphore for async_lock::Semaphore {
    type Permit<'a> = SemaphoreGuard<'a>;

    fn new(permits: usize) -> Self {
        async_lock::Semaphore::new(permits)
    }

    async fn acquire(&self) -> SemaphoreGuard<'_> {
        self.acquire().await
    }
}

pub struct AsyncChannel;

impl Queue for AsyncChannel {
    type Sender = Sender<u64>;
    type Receiver = Receiver<u64>;

    fn bounded(capacity: usize, receivers: usize) -> (Sender<u64>, Vec<Receiver<u64>>) {
        let (sender, receiver) = async_channel::bounded(capacity);
        (sender, vec![receiver; receivers])
    }

    async fn send(sender: &Sender<u64>, value: u64) {
        sender.send(value).await.expect("there is a receiver");
    }

    async fn receive(receiver: &mut Receiver<u64>) -> u64 {
        receiver.recv().await.expect("there is a sender")
    }
}

/// A flag with listeners.
pub struct EventListener {
    set: AtomicBool,
    event: event_listener::Event,
}

impl Event for EventListener {
    type Waiter = Arc<EventListener>;

    fn new() -> Self {
        EventListener { set: AtomicBool::new(false), event: event_listener::Event::new() }
    }

    fn waiter(self: &Arc<Self>) -> Arc<EventListener> {
        self.clone()
    }

    fn set(&self) {
        self.set.store(true, Ordering::SeqCst);
        self.event.notify(usize::MAX);
    }

    fn clear(&self) {
        self.set.store(false, Ordering::SeqCst);
    }

    async fn wait(waiter: &mut Arc<EventListener>) {
        if waiter.set.load(Ordering::SeqCst) {
            return;
        }
        let listener = waiter.event.listen();
        if !waiter.set.load(Ordering::SeqCst) {
            listener.await;
        }
    }
}

impl Barrier for async_lock::Barrier {
    fn new(parties: usize) -> Self {
        async_lock::Barrier::new(parties)
    }

    async fn wait(&self) -> bool {
        self.wait().await.is_leader()
    }
}
