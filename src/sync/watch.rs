//! Channels that keep one value, the last; receivers watch it change.
//!
//! tokio: `tokio::sync::watch`. There `borrow` locks the value against its sender for as
//! long as one looks at it; here it gives a snapshot, an `Arc`, which locks out nobody, and
//! may be kept and carried over an await.
//!
//! ```
//! use ringloop::sync::watch;
//!
//! ringloop::run(async {
//!     let (sender, mut receiver) = watch::channel("starting");
//!     let task = ringloop::spawn(async move {
//!         receiver.wait_for(|state| *state == "ready").await.is_ok()
//!     });
//!     sender.send("ready").unwrap();
//!     assert!(task.await.unwrap());
//! });
//! ```

use std::{
    error::Error,
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_core::Stream;

use super::{
    until::{Place, Stamped, Until, tell},
    wait_list::WaitList,
};
use crate::{
    loom::Mutex,
    util::{current, wait::WaitKind},
};

/// Makes a channel that holds `value`. Its receiver has seen that one.
#[must_use]
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let state = State {
        value: Arc::new(value),
        version: 0,
        senders: 1,
        receivers: 1,
        changed: WaitList::new(WaitKind::Watch),
        closed: WaitList::new(WaitKind::Watch),
    };
    let shared = Arc::new(Shared { writing: Mutex::new(()), state: Mutex::new(state) });
    (Sender { shared: shared.clone() }, Receiver { shared, seen: 0 })
}

struct Shared<T> {
    /// Held while a new value is made: a modification is not lost to another. Of foreign code only
    /// the modification itself, and the copy for it, run under it.
    writing: Mutex<()>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Arc<T>,
    /// How often it was changed.
    version: u64,
    senders: usize,
    receivers: usize,
    /// Receivers.
    changed: WaitList<u64>,
    /// Senders that wait until there are no receivers.
    closed: WaitList<u64>,
}

#[derive(Clone, Copy)]
enum List {
    Changed,
    Closed,
}

impl<T> Stamped for State<T> {
    type List = List;

    fn list(&mut self, which: List) -> &mut WaitList<u64> {
        match which {
            List::Changed => &mut self.changed,
            List::Closed => &mut self.closed,
        }
    }

    fn stamp(&self, which: List) -> u64 {
        match which {
            // The end of all senders is the last thing to happen.
            List::Changed if self.senders == 0 => u64::MAX,
            List::Changed => self.version,
            // Receivers may come again: then it waits again.
            List::Closed => u64::from(self.receivers == 0),
        }
    }
}

impl<T> State<T> {
    /// A receiver that has seen the version `seen` sees a newer one: `true`, or `false` if there
    /// will be none.
    fn change(&self, seen: &mut u64) -> Option<bool> {
        if self.version != *seen {
            *seen = self.version;
            return Some(true);
        }
        (self.senders == 0).then_some(false)
    }
}

impl<T> Shared<T> {
    /// Shows a value to all receivers; gives the one before. `writing` is the guard of that lock.
    fn publish(&self, writing: impl Sized, value: Arc<T>) -> Arc<T> {
        let mut state = self.state.lock();
        let old = std::mem::replace(&mut state.value, value);
        state.version += 1;
        let waiting = !state.changed.is_empty();
        drop(state);
        // Wakers may send. One that does so before all are woken helps to wake them.
        drop(writing);
        if waiting {
            tell(&self.state, List::Changed);
        }
        old
    }

    fn subscribe(self: &Arc<Self>) -> Receiver<T> {
        let mut state = self.state.lock();
        state.receivers += 1;
        let seen = state.version;
        drop(state);
        Receiver { shared: self.clone(), seen }
    }
}

/// The end of a [`channel`] that changes the value. Cloning it makes another one; when the last is
/// dropped, the receivers are woken.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    /// Replaces the value, and tells all receivers.
    ///
    /// # Errors
    ///
    /// If there is no receiver; the value comes back and the one before stays. See
    /// [`send_replace`](Self::send_replace).
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.is_closed() {
            return Err(SendError(value));
        }
        self.send_replace(value);
        Ok(())
    }

    /// Replaces the value, whether there is a receiver or not; the one before.
    pub fn send_replace(&self, value: T) -> Arc<T> {
        let value = Arc::new(value);
        self.shared.publish(self.shared.writing.lock(), value)
    }

    /// The value now.
    #[must_use]
    pub fn borrow(&self) -> Arc<T> {
        self.shared.state.lock().value.clone()
    }

    /// Makes a receiver, which has seen the value that there is.
    pub fn subscribe(&self) -> Receiver<T> {
        self.shared.subscribe()
    }

    /// How many receivers there are.
    #[must_use]
    pub fn receiver_count(&self) -> usize {
        self.shared.state.lock().receivers
    }

    /// Whether there is no receiver.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.receiver_count() == 0
    }

    /// Waits until there is no receiver.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub fn closed(&self) -> impl Future<Output = ()> + use<'_, T> {
        Until::new(&self.shared.state, List::Closed, |state: &mut State<T>| {
            (state.receivers == 0).then_some(())
        })
    }
}

impl<T> Sender<T> {
    /// Makes a new value from the one that is there, puts it in its place, and tells all receivers;
    /// the one before. No other sender comes in between.
    ///
    /// [`send_modify`](Self::send_modify) for values that cannot be cloned: receivers may hold the
    /// value that is there, so that it cannot be changed in place.
    ///
    /// Other senders wait meanwhile: `make` must be short and not send here. If it panics the value
    /// stays as it was.
    ///
    /// # Examples
    ///
    /// ```
    /// struct Config(u32); // not Clone
    ///
    /// let (sender, receiver) = ringloop::sync::watch::channel(Config(1));
    /// sender.send_with(|old| Config(old.0 + 1));
    /// assert_eq!(receiver.borrow().0, 2);
    /// ```
    pub fn send_with(&self, make: impl FnOnce(&T) -> T) -> Arc<T> {
        let writing = self.shared.writing.lock();
        // Not the last owner of the old value: only the holder of the lock replaces it.
        let value = Arc::new(make(&self.borrow()));
        self.shared.publish(writing, value)
    }
}

impl<T: Clone> Sender<T> {
    /// Changes a copy of the value, puts it in its place, and tells all receivers.
    ///
    /// Other senders wait meanwhile: `change` must be short and not send here. If it panics
    /// the value stays as it was.
    ///
    /// # Examples
    ///
    /// ```
    /// let (sender, receiver) = ringloop::sync::watch::channel(vec![1]);
    /// sender.send_modify(|list| list.push(2));
    /// assert_eq!(*receiver.borrow(), [1, 2]);
    /// ```
    pub fn send_modify(&self, change: impl FnOnce(&mut T)) {
        self.send_if_modified(|value| {
            change(value);
            true
        });
    }

    /// The same, if `change` returns true; else nothing has happened.
    pub fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        // Declared before the lock: what is not sent is dropped after it, by a panic too.
        let mut value;
        let writing = self.shared.writing.lock();
        value = T::clone(&self.borrow());
        let changed = change(&mut value);
        if changed {
            self.shared.publish(writing, Arc::new(value));
        }
        changed
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.state.lock().senders += 1;
        Self { shared: self.shared.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.senders -= 1;
        let last = state.senders == 0;
        drop(state);
        if last {
            tell(&self.shared.state, List::Changed);
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug("Sender", &self.shared, f)
    }
}

/// The end of a [`channel`] that watches the value. Cloning it makes another one, which has
/// seen what this one has.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// The version it has seen.
    seen: u64,
}

impl<T> Receiver<T> {
    /// The value now. It does not count as seen.
    #[must_use]
    pub fn borrow(&self) -> Arc<T> {
        self.shared.state.lock().value.clone()
    }

    /// The value now, which is seen by that.
    pub fn borrow_and_update(&mut self) -> Arc<T> {
        let state = self.shared.state.lock();
        self.seen = state.version;
        state.value.clone()
    }

    /// Whether there is a value that was not seen.
    ///
    /// # Errors
    ///
    /// If there is none, and all senders are gone.
    pub fn has_changed(&self) -> Result<bool, RecvError> {
        let state = self.shared.state.lock();
        match state.version != self.seen {
            true => Ok(true),
            false if state.senders == 0 => Err(RecvError(())),
            false => Ok(false),
        }
    }

    /// Counts the value as not seen.
    pub fn mark_changed(&mut self) {
        self.seen = u64::MAX;
    }

    /// Counts the value as seen.
    pub fn mark_unchanged(&mut self) {
        self.seen = self.shared.state.lock().version;
    }

    /// Waits for a value that was not seen, and counts it as seen. Several changes count as one.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, it has seen nothing.
    ///
    /// # Errors
    ///
    /// If there is none, and all senders are gone.
    pub async fn changed(&mut self) -> Result<(), RecvError> {
        let seen = &mut self.seen;
        Until::new(&self.shared.state, List::Changed, |state: &mut State<T>| {
            state.change(seen).map(|changed| if changed { Ok(()) } else { Err(RecvError(())) })
        })
        .await
    }

    /// The values that were not seen, as a stream, which ends when all senders are gone and the
    /// last value is seen. Of several changes between two looks it gives the last.
    ///
    /// The value that is there when the receiver is made counts as seen. To have it first, call
    /// [`mark_changed`](Self::mark_changed). Each value that the stream gives is seen: dropping the
    /// stream, or a `next()` of it, loses none.
    ///
    /// asyncio: has none.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_util::StreamExt;
    /// use ringloop::sync::watch;
    ///
    /// ringloop::run(async {
    ///     let (sender, mut receiver) = watch::channel(0);
    ///     let task = ringloop::spawn(async move {
    ///         receiver.stream().map(|value| *value).collect::<Vec<_>>().await
    ///     });
    ///     for n in 1..=3 {
    ///         sender.send(n).unwrap();
    ///     }
    ///     drop(sender);
    ///     assert_eq!(task.await.unwrap().last(), Some(&3)); // others may have been missed
    /// });
    /// ```
    pub fn stream(&mut self) -> impl Stream<Item = Arc<T>> + Unpin + use<'_, T> {
        let Self { shared, seen } = self;
        Values { seen, place: Place::new(&shared.state, List::Changed) }
    }

    /// Waits for a value that `wanted` accepts, perhaps the present one, and counts it as seen. It
    /// may miss values that were soon replaced.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: it looks at the value that there is first.
    ///
    /// # Errors
    ///
    /// If all senders are gone, and the last value is none.
    pub async fn wait_for(
        &mut self,
        mut wanted: impl FnMut(&T) -> bool,
    ) -> Result<Arc<T>, RecvError> {
        // For a value that is there; before the look, as in `changed`.
        poll_fn(|cx| current::poll_budget(cx)).await;
        loop {
            let value = self.borrow_and_update();
            if wanted(&value) {
                return Ok(value);
            }
            drop(value);
            self.changed().await?;
        }
    }
}

struct Values<'a, T> {
    seen: &'a mut u64,
    place: Place<'a, State<T>>,
}

impl<T> Stream for Values<'_, T> {
    type Item = Arc<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Arc<T>>> {
        let Self { seen, place } = &mut *self;
        let look = |state: &mut State<T>| {
            state.change(seen).map(|changed| changed.then(|| state.value.clone()))
        };
        Poll::Ready(ready!(place.poll(look, cx)))
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        let mut receiver = self.shared.subscribe();
        receiver.seen = self.seen;
        receiver
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.receivers -= 1;
        let last = state.receivers == 0;
        drop(state);
        if last {
            tell(&self.shared.state, List::Closed);
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug("Receiver", &self.shared, f)
    }
}

fn debug<T: fmt::Debug>(name: &str, shared: &Shared<T>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let state = shared.state.lock();
    let (value, version) = (state.value.clone(), state.version);
    let (senders, receivers) = (state.senders, state.receivers);
    let waiters = state.changed.len();
    drop(state);
    f.debug_struct(name)
        .field("value", &value)
        .field("version", &version)
        .field("senders", &senders)
        .field("receivers", &receivers)
        .field("waiters", &waiters)
        .finish()
}

/// There is no receiver; the value is inside.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendError(..)")
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody watches: all receivers are gone")
    }
}

impl<T> Error for SendError<T> {}

crate::error::into_io_error!(items SendError);

/// All senders are gone, and the last value was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecvError(());

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value will not change: all senders are gone")
    }
}

impl Error for RecvError {}

crate::error::into_io_error!(RecvError);
