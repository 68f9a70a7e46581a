//! Room in a channel that is reserved for an item.

use std::{fmt, mem};

use super::{SendError, Sender, TrySendError};
use crate::sync::queue::{Closed, Refusal, Reserve};

/// Room for one item in a [`channel`](fn@super::channel), from [`reserve`](Sender::reserve). Dropped
/// without an item, it gives the room to the next sender that waits.
#[must_use = "room is given back when this is dropped, so at once if it is not kept"]
#[clippy::has_significant_drop]
pub struct Permit<'a, T> {
    sender: &'a Sender<T>,
}

/// A [`Permit`] that holds its [`Sender`], from [`reserve_owned`](Sender::reserve_owned). It may go
/// to another task.
#[must_use = "room is given back when this is dropped, so at once if it is not kept"]
#[clippy::has_significant_drop]
pub struct OwnedPermit<T> {
    /// There, until it is used.
    sender: Option<Sender<T>>,
}

impl<T> Sender<T> {
    /// Waits for room for one item, and keeps it: the item is [sent](Permit::send) without a wait
    /// later.
    ///
    /// So a task can make a costly item, or take one from elsewhere, only when there is room for it.
    /// Sends and reservations stand in one line.
    ///
    /// asyncio: has none. tokio: `mpsc::Sender::reserve`.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, it has reserved nothing: it loses its place in line, and room
    /// that it had been given goes to the next sender that waits.
    ///
    /// # Errors
    ///
    /// If the channel is closed, now or while it waits.
    ///
    /// # Panics
    ///
    /// With a capacity of 0, where there is no room to reserve.
    ///
    /// # Examples
    ///
    /// ```
    /// use ringloop::sync::channel;
    ///
    /// ringloop::run(async {
    ///     let (sender, receiver) = channel(1);
    ///     let permit = sender.reserve().await.unwrap();
    ///     assert!(sender.try_send("no room").is_err());
    ///     permit.send("kept for this one").unwrap();
    ///     assert_eq!(receiver.recv().await, Ok("kept for this one"));
    /// });
    /// ```
    pub async fn reserve(&self) -> Result<Permit<'_, T>, SendError<()>> {
        self.wait_for_room().await?;
        Ok(Permit { sender: self })
    }

    /// [`reserve`](Self::reserve) with a permit that holds the sender, and may go to another task.
    /// [`OwnedPermit::send`] and [`OwnedPermit::release`] give the sender back.
    ///
    /// # Cancel safety
    ///
    /// As [`reserve`](Self::reserve), but the sender is dropped with it.
    ///
    /// # Errors
    ///
    /// If the channel is closed, now or while it waits.
    ///
    /// # Panics
    ///
    /// With a capacity of 0, where there is no room to reserve.
    pub async fn reserve_owned(self) -> Result<OwnedPermit<T>, SendError<()>> {
        self.wait_for_room().await?;
        Ok(OwnedPermit { sender: Some(self) })
    }

    /// Reserves room if there is some and nobody waits for it. With a capacity of 0 there is none.
    ///
    /// # Errors
    ///
    /// If there is no room, or the channel is closed.
    pub fn try_reserve(&self) -> Result<Permit<'_, T>, TrySendError<()>> {
        match self.shared.exchange.try_reserve() {
            Ok(()) => Ok(Permit { sender: self }),
            Err(Refusal::NotNow) => Err(TrySendError::Full(())),
            Err(Refusal::Closed) => Err(TrySendError::Closed(())),
        }
    }

    async fn wait_for_room(&self) -> Result<(), SendError<()>> {
        let exchange = &self.shared.exchange;
        assert!(exchange.numbers().capacity > 0, "a channel of capacity 0 has no room to reserve");
        Reserve::new(exchange).await.map_err(|Closed| SendError(()))
    }

    fn send_reserved(&self, item: T) -> Result<(), SendError<T>> {
        self.shared.exchange.put_reserved(item).map_err(SendError)
    }
}

impl<T> Permit<'_, T> {
    /// Sends an item, for which there is room.
    ///
    /// # Errors
    ///
    /// If the channel was closed meanwhile; the item comes back. (tokio: it is lost, or still
    /// received after a `close`.)
    pub fn send(self, item: T) -> Result<(), SendError<T>> {
        let sender = self.sender;
        // The room is used, or nobody wants it any more.
        mem::forget(self);
        sender.send_reserved(item)
    }
}

impl<T> Drop for Permit<'_, T> {
    fn drop(&mut self) {
        self.sender.shared.exchange.give_up_room();
    }
}

impl<T> OwnedPermit<T> {
    /// Sends an item, for which there is room; the sender comes back.
    ///
    /// # Errors
    ///
    /// If the channel was closed meanwhile; the item comes back.
    pub fn send(mut self, item: T) -> Result<Sender<T>, SendError<T>> {
        let sender = self.sender.take().expect("it is there until it is used");
        sender.send_reserved(item)?;
        Ok(sender)
    }

    /// Gives the room to the next sender that waits, and returns the sender.
    pub fn release(mut self) -> Sender<T> {
        let sender = self.sender.take().expect("it is there until it is used");
        sender.shared.exchange.give_up_room();
        sender
    }
}

impl<T> Drop for OwnedPermit<T> {
    fn drop(&mut self) {
        if let Some(sender) = self.sender.take() {
            sender.shared.exchange.give_up_room();
        }
    }
}

impl<T> fmt::Debug for Permit<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(self.sender).finish()
    }
}

impl<T> fmt::Debug for OwnedPermit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedPermit").field(&self.sender).finish()
    }
}
