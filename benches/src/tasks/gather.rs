//! Many futures or tasks at once, and all their values.
//!
//! Questions: what does one of 10 000 futures cost that are run together in one task and suspend
//! once each (`gather_10k_futures`, beside `join_all`), and one of as many tasks whose results are
//! collected in order (`gather_10k_tasks`, beside `JoinSet`)?
//!
//! Does not show: futures of different types, which the macros take.

use std::future::poll_fn;
use std::task::Poll;

use futures_util::future::join_all;
use tokio::task::JoinSet;

use super::{on_ringloop, on_tokio, unknown};
use crate::harness::Spec;
use crate::sample::Sample;

const MEMBERS: u64 = 10_000;

/// `gather_10k_futures`.
pub fn futures(spec: &Spec) -> Result<Sample, String> {
    match spec.peer.as_str() {
        "ringloop" => on_ringloop(spec, async || check(ringloop::gather(members()).await)),
        "tokio" | "tokio-ct" => on_tokio(spec, async || check(join_all(members()).await)),
        _ => unknown(spec),
    }
}

fn members() -> impl Iterator<Item = impl Future<Output = u64> + Send> + Send {
    (0..MEMBERS).map(|index| {
        let mut polled = false;
        poll_fn(move |cx| {
            if std::mem::replace(&mut polled, true) {
                return Poll::Ready(index);
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    })
}

fn check(values: Vec<u64>) -> u64 {
    assert_eq!(values.iter().sum::<u64>(), MEMBERS * (MEMBERS - 1) / 2);
    MEMBERS
}

/// `gather_10k_tasks`.
pub fn tasks(spec: &Spec) -> Result<Sample, String> {
    match spec.peer.as_str() {
        "ringloop" => on_ringloop(spec, async || {
            let tasks = (0..MEMBERS).map(|index| ringloop::spawn(async move { index }));
            let settled = ringloop::gather_settled(tasks).await;
            check(settled.into_iter().map(|result| result.expect("no task fails")).collect())
        }),
        "tokio" | "tokio-ct" => on_tokio(spec, async || {
            let mut set = JoinSet::new();
            for index in 0..MEMBERS {
                set.spawn(async move { (index, index) });
            }
            // In order of the arguments, as the other peer returns them.
            let mut values = vec![0; MEMBERS as usize];
            while let Some(ended) = set.join_next().await {
                let (index, value) = ended.expect("no task fails");
                values[index as usize] = value;
            }
            check(values)
        }),
        _ => unknown(spec),
    }
}
