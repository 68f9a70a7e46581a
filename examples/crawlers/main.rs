//! A crawler in five styles, from calls that block to tasks with a library, and the time that each takes.
//!
//! ```text
//! cargo run --release --features hyper-client --example crawlers
//! ```
//!
//! The site is a server on this machine that answers after 50 ms. Its ten pages link to each other in circles.

use std::{error::Error, time::Duration};

use ringloop::time::Instant;

#[allow(dead_code, reason = "the tests use the rest")]
mod styles;

use styles::site::{Pace, Site};

fn main() -> Result<(), Box<dyn Error>> {
    let site = Site::start(Pace::Latency(Duration::from_millis(50)))?;
    for style in styles::ALL {
        let begin = Instant::now();
        let found = style.crawl(site.addr(), styles::site::pages())?;
        println!("{style:?}: {} pages in {:?}", found.len(), begin.elapsed());
    }
    Ok(())
}
