//! tokio's parts that need no runtime, in tasks of ringloop.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use harness::on_every;
use ringloop::{
    net::{TcpListener, TcpStream},
    spawn, time,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    select,
    sync::{Mutex, Notify, RwLock, Semaphore, broadcast, mpsc, oneshot, watch},
};
use tokio_util::{
    codec::{Framed, LengthDelimitedCodec},
    sync::CancellationToken,
};

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (near, listener.accept().await.unwrap().0)
}

#[test]
fn channels_and_locks() {
    on_every(|| async {
        let (sender, mut receiver) = mpsc::channel(4);
        let total = Arc::new(Mutex::new(0));
        let permits = Arc::new(Semaphore::new(2));
        let all = Arc::new(RwLock::new(Vec::new()));
        let senders: Vec<_> = (0..8)
            .map(|number| {
                let (sender, total) = (sender.clone(), total.clone());
                let (permits, all) = (permits.clone(), all.clone());
                spawn(async move {
                    for item in 0..100 {
                        let _permit = permits.acquire().await.unwrap();
                        sender.send(item).await.unwrap();
                        *total.lock().await += item;
                    }
                    all.write().await.push(number);
                })
            })
            .collect();
        drop(sender);
        let mut sum = 0;
        while let Some(item) = receiver.recv().await {
            sum += item;
        }
        for task in senders {
            task.await.unwrap();
        }
        assert_eq!((sum, *total.lock().await), (8 * 4950, 8 * 4950));
        assert_eq!(all.read().await.len(), 8);

        let (once, answer) = oneshot::channel();
        let (news, mut hears) = broadcast::channel(8);
        let (state, mut sees) = watch::channel(0);
        let done = Arc::new(Notify::new());
        let told = done.clone();
        spawn(async move {
            once.send("once").unwrap();
            news.send("news").unwrap();
            state.send(7).unwrap();
            told.notify_one();
        })
        .detach();
        assert_eq!(answer.await, Ok("once"));
        assert_eq!(hears.recv().await, Ok("news"));
        assert_eq!(*sees.wait_for(|value| *value == 7).await.unwrap(), 7);
        done.notified().await;
    });
}

#[test]
fn select_and_cancellation_tokens() {
    on_every(|| async {
        let token = CancellationToken::new();
        let child = token.child_token();
        let task = spawn(async move {
            select! {
                () = child.cancelled() => "cancelled",
                () = time::sleep(Duration::from_secs(3600)) => "slept",
            }
        });
        token.cancel();
        assert_eq!(task.await.unwrap(), "cancelled");
        let outcome = token.run_until_cancelled(std::future::pending::<()>()).await;
        assert!(outcome.is_none());
    });
}

#[test]
fn codecs_and_buffered_lines() {
    on_every(|| async {
        let (near, far) = pair().await;
        let mut near = Framed::new(near, LengthDelimitedCodec::new());
        let mut far = Framed::new(far, LengthDelimitedCodec::new());
        let echo = spawn(async move {
            while let Some(frame) = far.next().await {
                far.send(frame.unwrap().freeze()).await.unwrap();
            }
        });
        for len in [0, 1, 1000, 1 << 20] {
            near.send(Bytes::from(vec![5; len])).await.unwrap();
            assert_eq!(near.next().await.unwrap().unwrap().len(), len);
        }
        drop(near);
        echo.await.unwrap();

        let (near, mut far) = pair().await;
        AsyncWriteExt::write_all(&mut far, b"one\ntwo\nrest").await.unwrap();
        drop(far);
        let mut lines = BufReader::new(near);
        let mut line = String::new();
        AsyncBufReadExt::read_line(&mut lines, &mut line).await.unwrap();
        assert_eq!(line, "one\n");
        let mut rest = String::new();
        AsyncReadExt::read_to_string(&mut lines, &mut rest).await.unwrap();
        assert_eq!(rest, "two\nrest");
    });
}
