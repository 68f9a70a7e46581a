//! Datagrams, of UDP and of Unix sockets, on every backend.

use std::{future::poll_fn, io::ErrorKind, pin::pin, task::Poll, time::Duration};

use super::on_every_backend;
use crate::{
    net::{UdpSocket, UnixDatagram},
    runtime::{spawn, yield_now},
    time::timeout,
};

async fn pair() -> (UdpSocket, UdpSocket) {
    let near = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let far = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    near.connect(far.local_addr().unwrap()).await.unwrap();
    assert_eq!(near.peer_addr().unwrap(), far.local_addr().unwrap());
    (near, far)
}

#[test]
fn datagrams_are_echoed_one_by_one() {
    on_every_backend(async |_| {
        let (near, far) = pair().await;
        let server = spawn(async move {
            let mut buf = [0; 16];
            loop {
                let meta = far.recv_meta(&mut buf).await.unwrap();
                far.send_to(&buf[..meta.len], meta.peer).await.unwrap();
                if meta.is_truncated() {
                    return meta.sent;
                }
            }
        });
        let mut buf = [0; 32];
        for message in [&b"one"[..], b"", b"third", &[7; 20]] {
            near.send(message).await.unwrap();
            let len = near.recv(&mut buf).await.unwrap();
            assert_eq!(buf[..len], message[..message.len().min(16)]);
        }
        assert_eq!(server.await.unwrap(), 20);
    });
}

#[test]
fn receives_that_are_given_up_leave_the_datagram() {
    on_every_backend(async |_| {
        let (near, far) = pair().await;
        let limit = Duration::from_millis(5);
        timeout(limit, far.recv(&mut [0; 8])).await.unwrap_err();
        {
            let mut buf = [0; 8];
            let mut receive = pin!(far.recv(&mut buf));
            assert!(poll_fn(|cx| Poll::Ready(receive.as_mut().poll(cx).is_pending())).await);
            near.send(b"kept").await.unwrap();
            yield_now().await;
        }
        let mut buf = [0; 8];
        assert_eq!(far.peek_from(&mut buf).await.unwrap(), (4, near.local_addr().unwrap()));
        assert_eq!(far.try_recv(&mut buf).unwrap(), 4);
        assert_eq!(&buf[..4], b"kept");
        assert_eq!(far.try_recv(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn connected_socket_hears_of_a_missing_receiver_once_and_another_never() {
    on_every_backend(async |_| {
        let (near, far) = pair().await;
        let addr = far.local_addr().unwrap();
        let taken = UdpSocket::bind(addr).await.unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
        // Before, so that it does not get the port.
        let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        drop(far);
        near.send(b"to nobody").await.unwrap();
        let refused = near.recv(&mut [0; 8]).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(near.try_recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        other.send_to(b"to nobody", addr).await.unwrap();
        other.send_to(b"to near", near.local_addr().unwrap()).await.unwrap();
        timeout(Duration::from_millis(5), other.recv(&mut [0; 8])).await.unwrap_err();
        // Near is connected to another one.
        assert_eq!(near.try_recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn datagrams_of_unix_sockets_wait_for_a_slow_receiver() {
    on_every_backend(async |_| {
        let (near, far) = UnixDatagram::pair().unwrap();
        let sender = spawn(async move {
            for number in 0..2000_u32 {
                near.send(&number.to_ne_bytes()).await.unwrap();
            }
        });
        let mut buf = [0; 8];
        for number in 0..2000_u32 {
            // Some are given up, unless a datagram is there.
            let read = match timeout(Duration::ZERO, far.recv(&mut buf)).await {
                Ok(read) => read,
                Err(_) => far.recv(&mut buf).await,
            };
            assert_eq!(read.unwrap(), 4);
            assert_eq!(buf[..4], number.to_ne_bytes());
        }
        sender.await.unwrap();
        assert_ne!(far.send(b"to nobody").await.unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}
