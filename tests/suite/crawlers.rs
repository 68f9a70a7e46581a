//! The crawler of `examples/crawlers` in its five styles.

use std::sync::Arc;

use ringloop::sync::Barrier;

use crate::harness::on_every;

#[path = "../../examples/crawlers/styles/mod.rs"]
mod styles;

use styles::{
    ALL, Style,
    site::{Pace, Site, pages},
};

/// From the page that leads to all others, which are given only when ten are asked for at the same time: a style with
/// fewer requests under way would wait for ever.
#[test]
fn ten_requests_are_under_way_at_once() {
    on_every(|cfg| {
        for style in ALL.into_iter().filter(|&style| style != Style::Blocking) {
            let site = Site::start(Pace::Together(Arc::new(Barrier::new(10)))).unwrap();
            let addr = site.addr();
            let start = vec!["/".to_owned()];
            let found = cfg.once(async move { style.crawl_here(addr, start).await }).unwrap();
            assert!(found.iter().eq(&all()), "{style:?}: {found:?}");
            assert_eq!(site.most_at_once(), 10, "{style:?}");
        }
    });
}

#[test]
fn blocking_crawl_asks_for_one_page_at_a_time() {
    let site = Site::start(Pace::Latency(std::time::Duration::ZERO)).unwrap();
    let found = Style::Blocking.crawl(site.addr(), vec!["/".to_owned()]).unwrap();
    assert!(found.iter().eq(&all()), "{found:?}");
    assert_eq!(site.most_at_once(), 1);
}

/// A page that is not there ends the crawl with an error in each style, and leaves no task that goes on.
#[test]
fn a_page_that_is_missing_is_an_error() {
    on_every(|cfg| {
        let site = Site::start(Pace::Latency(std::time::Duration::ZERO)).unwrap();
        for style in ALL {
            let addr = site.addr();
            let start = vec!["/".to_owned(), "/missing".to_owned()];
            let crawl = async move { style.crawl_here(addr, start).await };
            let error = cfg.once(crawl).expect_err("a page is missing");
            assert!(error.to_string().contains("404"), "{style:?}: {error}");
        }
    });
}

fn all() -> Vec<String> {
    let mut all = pages();
    all.insert(0, "/".to_owned());
    all
}
