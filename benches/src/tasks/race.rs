//! The first of two.
//!
//! Questions: what does a race cost of which one side is ready at once and the other never
//! (`race_2_ready`, beside the `select!` of tokio and of futures, in order and in random order)?
//! And one between two tasks whose loser is cancelled and joined (`race_2_tasks`, beside a `JoinSet` with
//! `abort_all` and a join)?
//!
//! Does not show: losers with cleanup.

use std::future::{Ready, pending};
use std::hint::black_box;

use futures_util::FutureExt;
use tokio::task::JoinSet;

use super::{on_ringloop, on_tokio, unknown};
use crate::harness::Spec;
use crate::sample::Sample;

const BATCH: u64 = 1024;

/// `race_2_ready`.
pub fn ready(spec: &Spec) -> Result<Sample, String> {
    match spec.peer.as_str() {
        "ringloop" => on_ringloop(spec, async || {
            for index in 0..BATCH {
                let won = ringloop::race!(ready_value(black_box(index)), pending()).await;
                assert_eq!(won, index);
            }
            ringloop::yield_now().await;
            BATCH
        }),
        "tokio" | "tokio-ct" => on_tokio(spec, async || {
            for index in 0..BATCH {
                let won = tokio::select! {
                    biased;
                    won = ready_value(black_box(index)) => won,
                    never = pending() => never,
                };
                assert_eq!(won, index);
            }
            tokio::task::yield_now().await;
            BATCH
        }),
        "tokio-random" => on_tokio(spec, async || {
            for index in 0..BATCH {
                let won = tokio::select! {
                    won = ready_value(black_box(index)) => won,
                    never = pending() => never,
                };
                assert_eq!(won, index);
            }
            tokio::task::yield_now().await;
            BATCH
        }),
        "futures" => on_tokio(spec, async || {
            for index in 0..BATCH {
                let won = futures_util::select_biased! {
                    won = ready_value(black_box(index)).fuse() => won,
                    never = pending().fuse() => never,
                };
                assert_eq!(won, index);
            }
            tokio::task::yield_now().await;
            BATCH
        }),
        _ => unknown(spec),
    }
}

fn ready_value(value: u64) -> Ready<u64> {
    std::future::ready(value)
}

/// `race_2_tasks`.
pub fn tasks(spec: &Spec) -> Result<Sample, String> {
    match spec.peer.as_str() {
        "ringloop" => on_ringloop(spec, async || {
            for index in 0..BATCH {
                let quick = ringloop::spawn(async move { index });
                let slow = ringloop::spawn(pending());
                let won = ringloop::race!(quick, slow).await;
                assert_eq!(won.expect("it was ready"), index);
            }
            BATCH
        }),
        "tokio" | "tokio-ct" => on_tokio(spec, async || {
            for index in 0..BATCH {
                let mut set = JoinSet::new();
                set.spawn(async move { index });
                set.spawn(pending());
                let won = set.join_next().await.expect("there are two");
                assert_eq!(won.expect("it was ready"), index);
                set.abort_all();
                assert!(set.join_next().await.expect("one is left").is_err());
            }
            BATCH
        }),
        _ => unknown(spec),
    }
}
