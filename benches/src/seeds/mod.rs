//! The figures that rows of `docs/seeds.md` ask for.
//!
//! - `crawler`: how long does a crawl of ten pages take that each come after 50 ms, in the five styles of
//!   `examples/crawlers`? `blocking` is the reference: tutorials promise near a tenth of it.
//! - `sleeps_10k`: when are 10 000 tasks over that each sleep for a second?
//!
//! Does not show: the client alone. The site is a server in the same process with a thread of its own, whose CPU is in
//! the figure.

use std::time::Duration;

use ringloop::Builder;

use crate::catalogue::BLOCKING;
use crate::harness::Spec;
use crate::peers::{Bench, Peer, dispatch};
use crate::sample::Sample;
use crate::sched::measure;

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../../../examples/crawlers/styles/mod.rs"]
mod styles;

use styles::Style;
use styles::site::{Pace, Site, pages};

/// How long the site takes for a page.
const LATENCY: Duration = Duration::from_millis(50);
const SLEEPERS: usize = 10_000;

/// Runs the case in this process.
pub fn run(spec: &Spec) -> Result<Sample, String> {
    match spec.case.name {
        "crawler" => crawler(spec),
        "sleeps_10k" => dispatch(&Sleeps, spec),
        other => Err(format!("seeds has no case {other:?}")),
    }
}

fn crawler(spec: &Spec) -> Result<Sample, String> {
    let style = match spec.peer.as_str() {
        BLOCKING => Style::Blocking,
        "callbacks" => Style::Callbacks,
        "futures" => Style::Futures,
        "ringloop" => Style::Tasks,
        "ringloop-hyper" => Style::Library,
        other => return Err(format!("crawler has no peer {other:?}")),
    };
    let site = Site::start(Pace::Latency(LATENCY)).map_err(|error| error.to_string())?;
    let addr = site.addr();
    let crawl = || async {
        let found = style.crawl_here(addr, pages()).await.expect("the site answers");
        assert_eq!(found.len(), pages().len());
        1
    };
    let crawls = measure(spec.warmup, spec.window, crawl);
    Builder::new().workers(spec.workers).run(crawls).map_err(|error| error.to_string())
}

/// `sleeps_10k`.
struct Sleeps;

impl Bench for Sleeps {
    fn run<P: Peer>(&self, spec: &Spec) -> Result<Sample, String> {
        Ok(P::run(spec.workers, measure(spec.warmup, spec.window, batch::<P>)))
    }
}

async fn batch<P: Peer>() -> u64 {
    let mut tasks = Vec::with_capacity(SLEEPERS);
    for _ in 0..SLEEPERS {
        tasks.push(P::spawn(P::sleep(Duration::from_secs(1))));
    }
    for task in tasks {
        P::join(task).await;
    }
    1
}
