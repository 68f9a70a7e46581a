//! tokio's primitives, and those that its users build where it has none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::{self, MutexGuard, Notify, SemaphorePermit, watch};

use crate::sync::barrier::Barrier;
use crate::sync::event::Event;
use crate::sync::lock::Lock;
use crate::sync::queue::Queue;
use crate::sync::semaphore::Semaphore;

impl Lock for sync::Mutex<u64> {
    type Guard<'a> = MutexGuard<'a, u64>;

    fn new() -> Self {
        sync::Mutex::new(0)
    }

    async fn lock(&self) -> MutexGuard<'_, u64> {
        self.lock().await
    }
}

impl Semaphore for sync::Semaphore {
    type Permit<'a> = SemaphorePermit<'a>;

    fn new(permits: usize) -> Self {
        sync::Semaphore::new(permits)
    }

    async fn acquire(&self) -> SemaphorePermit<'_> {
        self.acquire().await.expect("it is not closed")
    }
}

/// A channel with a single receiver.
pub struct Mpsc;

impl Queue for Mpsc {
    type Sender = Sender<u64>;
    type Receiver = Receiver<u64>;

    fn bounded(capacity: usize, receivers: usize) -> (Sender<u64>, Vec<Receiver<u64>>) {
        assert_eq!(receivers, 1, "the channel has one receiver");
        let (sender, receiver) = mpsc::channel(capacity);
        (sender, vec![receiver])
    }

    async fn send(sender: &Sender<u64>, value: u64) {
        sender.send(value).await.expect("there is a receiver");
    }

    async fn receive(receiver: &mut Receiver<u64>) -> u64 {
        receiver.recv().await.expect("there is a sender")
    }
}

/// A channel whose receiver several tasks share.
pub struct SharedMpsc;

impl Queue for SharedMpsc {
    type Sender = Sender<u64>;
    type Receiver = Arc<sync::Mutex<Receiver<u64>>>;

    fn bounded(capacity: usize, receivers: usize) -> (Sender<u64>, Vec<Self::Receiver>) {
        let (sender, receiver) = mpsc::channel(capacity);
        let shared = Arc::new(sync::Mutex::new(receiver));
        (sender, vec![shared; receivers])
    }

    async fn send(sender: &Sender<u64>, value: u64) {
        sender.send(value).await.expect("there is a receiver");
    }

    async fn receive(receiver: &mut Self::Receiver) -> u64 {
        receiver.lock().await.recv().await.expect("there is a sender")
    }
}

/// `Notify` with a flag, for waits that begin after the set.
pub struct NotifyEvent {
    set: AtomicBool,
    notify: Notify,
}

impl Event for NotifyEvent {
    type Waiter = Arc<NotifyEvent>;

    fn new() -> Self {
        NotifyEvent { set: AtomicBool::new(false), notify: Notify::new() }
    }

    fn waiter(self: &Arc<Self>) -> Arc<NotifyEvent> {
        self.clone()
    }

    fn set(&self) {
        self.set.store(true, Ordering::SeqCst);
        self.notify.notify_waiters();
    }

    fn clear(&self) {
        self.set.store(false, Ordering::SeqCst);
    }

    async fn wait(waiter: &mut Arc<NotifyEvent>) {
        // Made before the flag is read: it gets any notification from here on.
        let notified = waiter.notify.notified();
        if !waiter.set.load(Ordering::SeqCst) {
            notified.await;
        }
    }
}

/// A `watch` channel of a flag.
pub struct WatchEvent(watch::Sender<bool>);

impl Event for WatchEvent {
    type Waiter = watch::Receiver<bool>;

    fn new() -> Self {
        WatchEvent(watch::Sender::new(false))
    }

    fn waiter(self: &Arc<Self>) -> watch::Receiver<bool> {
        self.0.subscribe()
    }

    fn set(&self) {
        self.0.send_replace(true);
    }

    fn clear(&self) {
        self.0.send_replace(false);
    }

    async fn wait(waiter: &mut watch::Receiver<bool>) {
        waiter.wait_for(|&set| set).await.expect("the event lives");
    }
}

impl Barrier for sync::Barrier {
    fn new(parties: usize) -> Self {
        sync::Barrier::new(parties)
    }

    async fn wait(&self) -> bool {
        self.wait().await.is_leader()
    }
}
