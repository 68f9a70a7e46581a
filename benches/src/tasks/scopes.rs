//! The cost of a scope or a region where nothing is cancelled.
//!
//! Questions: a timeout at a time that was read before, around a future that is ready
//! (`timeout_at_ready`); a scope with its handle (`scope_enter`); a region that suspends once, and so
//! is linked below its task (`catch_cancel_1`).
//!
//! Does not show: deep trees.

use std::future::ready;
use std::hint::black_box;
use std::time::Duration;

use super::{on_ringloop, on_tokio, unknown};
use crate::harness::Spec;
use crate::sample::Sample;

const CHUNK: u64 = 32;
const CHUNKS: u64 = 64;

/// `timeout_at_ready`.
pub fn timeout_at_ready(spec: &Spec) -> Result<Sample, String> {
    match spec.peer.as_str() {
        "ringloop" => on_ringloop(spec, async || {
            let at = ringloop::time::Instant::now() + Duration::from_secs(60);
            for _ in 0..CHUNKS {
                for index in 0..CHUNK {
                    let found = ringloop::time::timeout_at(at, ready(black_box(index))).await;
                    assert_eq!(found.ok(), Some(index));
                }
                ringloop::yield_now().await;
            }
            CHUNKS * CHUNK
        }),
        "tokio" | "tokio-ct" => on_tokio(spec, async || {
            let at = tokio::time::Instant::now() + Duration::from_secs(60);
            for _ in 0..CHUNKS {
                for index in 0..CHUNK {
                    let found = tokio::time::timeout_at(at, ready(black_box(index))).await;
                    assert_eq!(found.ok(), Some(index));
                }
                tokio::task::yield_now().await;
            }
            CHUNKS * CHUNK
        }),
        _ => unknown(spec),
    }
}

/// `scope_enter`.
pub fn scope_enter(spec: &Spec) -> Result<Sample, String> {
    on_ringloop(spec, async || {
        for index in 0..CHUNK * CHUNKS {
            let value = ringloop::scope(|_scope| ready(black_box(index))).await;
            assert_eq!(value.ok(), Some(index));
        }
        ringloop::yield_now().await;
        CHUNK * CHUNKS
    })
}

/// `catch_cancel_1`.
pub fn catch_cancel_1(spec: &Spec) -> Result<Sample, String> {
    on_ringloop(spec, async || {
        for _ in 0..CHUNK * CHUNKS {
            let value = ringloop::catch_cancel(ringloop::yield_now()).await;
            assert!(value.is_ok());
        }
        CHUNK * CHUNKS
    })
}
