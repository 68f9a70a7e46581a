//! Channels that belong to no runtime.

use crate::sync::queue::Queue;

pub struct Kanal;

impl Queue for Kanal {
    type Sender = kanal::AsyncSender<u64>;
    type Receiver = kanal::AsyncReceiver<u64>;

    fn bounded(capacity: usize, receivers: usize) -> (Self::Sender, Vec<Self::Receiver>) {
        let (sender, receiver) = kanal::bounded_async(capacity);
        (sender, vec![receiver; receivers])
    }

    async fn send(sender: &Self::Sender, value: u64) {
        sender.send(value).await.expect("there is a receiver");
    }

    async fn receive(receiver: &mut Self::Receiver) -> u64 {
        receiver.recv().await.expect("there is a sender")
    }
}

pub struct Flume;

impl Queue for Flume {
    type Sender = flume::Sender<u64>;
    type Receiver = flume::Receiver<u64>;

    fn bounded(capacity: usize, receivers: usize) -> (Self::Sender, Vec<Self::Receiver>) {
        let (sender, receiver) = flume::bounded(capacity);
        (sender, vec![receiver; receivers])
    }

    async fn send(sender: &Self::Sender, value: u64) {
        sender.send_async(value).await.expect("there is a receiver");
    }

    async fn receive(receiver: &mut Self::Receiver) -> u64 {
        receiver.recv_async().await.expect("there is a sender")
    }
}
