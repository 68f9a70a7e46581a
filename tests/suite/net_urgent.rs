//! Urgent data: a read stops at it, with bytes behind it.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringloop::net::TcpListener;
use ringloop::time::sleep;
use ringloop::{spawn, yield_now};

use crate::faces::soon;
use crate::harness::on_every;
use crate::homes::Plain;
use crate::rescue::{VERBS, read};

/// Sends a byte out of band.
fn send_urgent(peer: &Plain) {
    // SAFETY: the byte lives during the call.
    let sent = unsafe { libc::send(peer.as_raw_fd(), b"!".as_ptr().cast(), 1, libc::MSG_OOB) };
    assert_eq!(sent, 1);
}

fn send(peer: &mut Plain, bytes: &[u8]) {
    std::io::Write::write_all(peer, bytes).unwrap();
}

/// While `f` runs, its thread gets one signal after the other, with a handler that does nothing.
fn under_signals<R>(f: impl FnOnce() -> R) -> R {
    extern "C" fn ignore(_: libc::c_int) {}
    // SAFETY: a value of zeros is valid; the handler touches nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = ignore as extern "C" fn(libc::c_int) as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        assert_eq!(libc::sigaction(libc::SIGVTALRM, &action, std::ptr::null_mut()), 0);
    }
    // SAFETY: no conditions.
    let target = unsafe { libc::pthread_self() };
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // SAFETY: that thread waits for the end of this one.
                unsafe { libc::pthread_kill(target, libc::SIGVTALRM) };
                // Without a pause the thread would do nothing but handle signals.
                let told = Instant::now();
                while told.elapsed() < Duration::from_micros(5) {
                    std::hint::spin_loop();
                }
            }
        });
        let stop = SetOnDrop(&stop);
        let result = f();
        drop(stop);
        result
    })
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn bytes_behind_urgent_data_are_read_though_signals_are_pending() {
    // Goal: while a signal is pending, recv(2) returns EAGAIN at a mark although there are bytes;
    // the stream must not take that for "empty"; method: bytes, an urgent one, and more, again and
    // again, to a thread that gets signals. Not by leases: a receive in a ring that a signal stops
    // there and that has no bytes posts no completion.
    on_every(|cfg| {
        if !cfg.single() {
            return;
        }
        for verb in 1..VERBS {
            let exchange = async move {
                let what = format!("verb {verb}");
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let mut peer = Plain::connect(listener.local_addr().unwrap()).unwrap();
                peer.set_nodelay(true).unwrap();
                let (mut near, _) = listener.accept().await.unwrap();
                for _ in 0..200 {
                    send(&mut peer, b"abc");
                    send_urgent(&peer);
                    send(&mut peer, b"def");
                    let mut got = Vec::new();
                    while got.len() < 6 {
                        got.append(&mut soon(&what, read(&mut near, verb)).await.unwrap());
                    }
                    assert_eq!(got, b"abcdef", "{what}");
                }
            };
            // This thread is the only worker.
            under_signals(|| cfg.once(exchange));
        }
    });
}

#[test]
fn bytes_behind_urgent_data_are_read_at_once() {
    // Goal: a read that urgent data cut short is not taken for one that got all bytes; method: some
    // bytes, an urgent one, and some more, to a stream whose wait is armed for good, or which is
    // new: all at once, or each after the runtime was notified of the one before, before or while a
    // task waits.
    on_every(|cfg| {
        for (verb, told, waits, fresh) in (0..8 * VERBS)
            .map(|case| (case / 8, case / 4 % 2 == 1, case / 2 % 2 == 1, case % 2 == 1))
        {
            cfg.once(async move {
                let what = format!("verb {verb}, notified: {told}, waits: {waits}, new: {fresh}");
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
