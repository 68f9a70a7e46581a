//! Urgent data: a read stops there, with bytes behind it.

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use ringloop::net::TcpListener;
use ringloop::time::sleep;
use ringloop::{spawn, yield_now};

use crate::faces::soon;
use crate::harness::on_every;
use crate::homes::Plain;
use crate::rescue::{VERBS, read};

/// A byte out of band.
fn send_urgent(peer: &Plain) {
    // SAFETY: the byte lives during the call.
    let sent = unsafe { libc::send(peer.as_raw_fd(), b"!".as_ptr().cast(), 1, libc::MSG_OOB) };
    assert_eq!(sent, 1);
}

fn send(peer: &mut Plain, bytes: &[u8]) {
    std::io::Write::write_all(peer, bytes).unwrap();
}

#[test]
fn bytes_behind_urgent_data_are_read_at_once() {
    // Goal: a read that urgent data cut short is not taken for one that got all; method: some bytes, an
    // urgent one, and some more, to a stream on which what waits has been armed for good, or which is
    // new: all at once, or each told before the next comes, before or while somebody waits.
    on_every(|cfg| {
        for (verb, told, waits, fresh) in (0..8 * VERBS)
            .map(|case| (case / 8, case / 4 % 2 == 1, case / 2 % 2 == 1, case % 2 == 1))
        {
            cfg.once(async move {
                let what = format!("verb {verb}, told: {told}, waits: {waits}, new: {fresh}");
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let mut peer = Plain::connect(listener.local_addr().unwrap()).unwrap();
                peer.set_nodelay(true).unwrap();
                let (mut near, _) = listener.accept().await.unwrap();
                for _ in 0..if fresh { 0 } else { 5 } {
                    let reader = spawn(async move {
                        let bytes = read(&mut near, verb).await.unwrap();
                        (near, bytes)
                    });
                    yield_now().await;
                    send(&mut peer, b"warm");
                    let bytes;
                    (near, bytes) = reader.await.unwrap();
                    assert_eq!(bytes, b"warm");
                }
                let reader = async move {
                    let mut got = Vec::new();
                    while got.len() < 6 {
                        got.append(&mut read(&mut near, verb).await.unwrap());
                    }
                    (near, got)
                };
                let pause = async || {
                    if told {
                        sleep(Duration::from_millis(1)).await;
                    }
                };
                let writer = async {
                    send(&mut peer, b"abc");
                    pause().await;
                    send_urgent(&peer);
                    pause().await;
                    send(&mut peer, b"def");
                    pause().await;
                };
                let begun = Instant::now();
                let (mut near, got) = if waits {
                    let reader = spawn(reader);
                    yield_now().await;
                    writer.await;
                    soon(&what, reader).await.unwrap()
                } else {
                    writer.await;
                    soon(&what, reader).await
                };
                assert!(begun.elapsed() < Duration::from_secs(3), "late: {what}");
                assert_eq!(got, b"abcdef", "{what}");
                send(&mut peer, b"after");
                assert_eq!(soon(&what, read(&mut near, verb)).await.unwrap(), b"after", "{what}");
            });
        }
    });
}
