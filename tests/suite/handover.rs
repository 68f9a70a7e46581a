//! Connections that are converted into the standard library's: with everything that was sent and
//! received, or else with an error.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use ringloop::yield_now;

use crate::faces::{reset, soon};
use crate::harness::on_every;
use crate::homes::{TOO_MUCH, first_homes, lend, on_a_ring, plain_pair, poll_once};
use crate::net_stream::pair;
use crate::sync_tools::other_executor;

#[test]
fn connection_with_a_gap_is_not_converted() {
    // Goal: lost bytes are reported before anything is written after the gap; method: a runtime
    // ends with more to send than a peer takes that does not read, and another runtime converts the
    // connection.
    on_every(|cfg| {
        for home in first_homes() {
            for parts in [false, true] {
                let (mut near, peer) = plain_pair();
                let first = home.runtime().into_inner();
                let near = first.run(async move {
                    let on_ring = on_a_ring();
                    if on_ring {
                        lend(&mut near, 0, TOO_MUCH).await;
                    }
                    on_ring.then_some(near)
                });
                first.shutdown(Duration::from_millis(1));
                let Some(near) = near.unwrap() else { continue };
                let error = cfg.runtime().must_run(async {
                    let handed = soon("the conversion", async {
                        match parts {
                            false => near.into_std().await.map(drop),
                            true => near.into_parts().await.map(drop),
                        }
                    });
                    handed.await.expect_err("there is a gap")
                });
                assert_eq!(error.kind(), ErrorKind::ConnectionAborted, "{error}");
                drop(peer);
            }
        }
    });
}

#[test]
fn reset_connection_is_not_converted_as_an_ended_one() {
    // Goal: an error that the kernel has returned, and no reader has seen, does not look like the
    // end of the stream; method: a read that is given up, a reset, and then the conversion.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            for wait in [false, true] {
                let (mut near, far) = pair().await;
                assert!(poll_once(near.read_lease()).is_none());
                yield_now().await;
                reset(far);
                if wait {
                    soon("the reset", near.readable()).await.unwrap();
                }
                let read = match soon("the conversion", near.into_std()).await {
                    Ok(mut near) => near.read(&mut [0]),
                    Err(error) => Err(error),
                };
                let kind = read.map_err(|error| error.kind());
                assert_eq!(kind, Err(ErrorKind::ConnectionReset), "wait: {wait}");
            }
        });
    });
}

#[test]
fn connection_is_converted_on_any_executor() {
    // Goal: into_std needs no current runtime; method: the home has a receive armed, its reader is
    // dropped, and a plain thread converts the connection while the home sleeps.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        for idle in [false, true] {
            let (mut near, mut peer) = plain_pair();
            let near = runtime.must_run(async {
                if !idle {
                    assert!(poll_once(near.read_lease()).is_none());
                    yield_now().await;
                }
                near
            });
            let mut std = other_executor(near.into_std()).unwrap();
            let writer = thread::spawn(move || {
                peer.write_all(b"for whom it is now").unwrap();
                peer.shutdown(Shutdown::Write).unwrap();
            });
            let mut text = String::new();
            std.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            std.read_to_string(&mut text).unwrap();
            assert_eq!(text, "for whom it is now");
            writer.join().unwrap();
        }
    });
}
