//! `#[ringloop::main]` and `#[ringloop::test]`.

use std::cell::RefCell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use ringloop::__macros::Sweep;
use ringloop::{Backend, Handle};

use crate::harness::{deliberate, must_panic};
use crate::processes::isolated;

#[ringloop::main(workers = 2, backend = "epoll", name = "by-attribute")]
async fn answer() -> Result<(usize, Backend, String), std::num::ParseIntError> {
    // The signature says to which error `?` converts, as in any function.
    let _two: u8 = "2".parse()?;
    // The future does not have to be `Send`.
    let local = Rc::new(RefCell::new(0));
    ringloop::yield_now().await;
    *local.borrow_mut() += 1;
    let handle = Handle::current();
    let name = ringloop::to_thread(|| std::thread::current().name().unwrap().to_owned());
    Ok((handle.workers(), handle.backend(), name.await.unwrap()))
}

#[test]
fn main_has_its_options() {
    // Goal: each argument reaches the builder, and the value is the caller's.
    let (workers, backend, name) = answer().unwrap();
    assert_eq!((workers, backend), (2, Backend::Epoll));
    assert!(name.starts_with("by-attribute"), "{name}");
}

const WORKERS: usize = 3;

/// With a visibility, a constant for an argument, and another path of the crate.
#[ringloop::main(workers = WORKERS, crate = renamed::ring)]
pub(crate) async fn count() -> usize {
    Handle::current().workers()
}

mod renamed {
    pub(crate) use ringloop as ring;
}

#[ringloop::main(crate = "renamed::ring")]
async fn panics() {
    deliberate("in an attribute's main")
}

/// It never returns, and says so.
#[ringloop::main]
async fn leaves() -> ! {
    ringloop::yield_now().await;
    std::process::exit(0)
}

#[test]
fn main_takes_expressions_and_paths() {
    assert_eq!(count(), WORKERS);
    assert_eq!(must_panic(panics), "in an attribute's main");
    let _coerces: fn() -> ! = leaves;
}

macro_rules! mains {
    ($name:ident, $workers:expr, $backend:literal, $returns:ty, $body:block) => {
        #[ringloop::main(workers = $workers, backend = $backend)]
        async fn $name() -> $returns $body
    };
}

mains!(by_macro, 2, "epoll", (usize, Backend), {
    let handle = Handle::current();
    (handle.workers(), handle.backend())
});

#[test]
fn main_is_written_by_macros_too() {
    // Goal: arguments that come through a macro's parameters are read; method: each kind of
    // parameter.
    assert_eq!(by_macro(), (2, Backend::Epoll));
}

/// Records on which runtime it has run.
async fn record(seen: &RefCell<Vec<(usize, Backend)>>) {
    let handle = Handle::current();
    ringloop::yield_now().await;
    seen.borrow_mut().push((handle.workers(), handle.backend()));
}

#[test]
fn sweep_runs_each_combination_once() {
    let seen = RefCell::default();
    let sweep = Sweep::new("all").workers(&[1, 2, 4]).backends(&[Backend::Epoll, Backend::Auto]);
    assert_eq!(sweep.run(|| record(&seen)), ExitCode::SUCCESS);
    let auto = ringloop::backend().backend;
    let each = [Backend::Epoll, auto].map(|backend| [1, 2, 4].map(|workers| (workers, backend)));
    assert_eq!(*seen.borrow(), each.concat());

    let seen = RefCell::default();
    assert_eq!(Sweep::new("alone").run(|| record(&seen)), ExitCode::SUCCESS);
    assert_eq!(*seen.borrow(), [(1, auto)]);
}

#[test]
fn sweep_names_the_combination_that_panics() {
    // Goal: the panic's text names the combination; method: the third of four panics, and the
    // fourth is not run.
    let runs = RefCell::new(0);
    let body = async || {
        *runs.borrow_mut() += 1;
        if Handle::current().workers() == 2 {
            deliberate("with two");
        }
    };
    let sweep = Sweep::new("two").workers(&[1, 3, 2, 4]).backends(&[Backend::Epoll]);
    let text = must_panic(|| sweep.run(&body));
    assert_eq!(text, "with two (with workers = 2, backend = \"epoll\")");
    assert_eq!(*runs.borrow(), 3);
    // With a single runtime, the panic's text is not changed.
    let alone = Sweep::new("alone").workers(&[2]);
    assert_eq!(must_panic(|| alone.run(&body)), "with two");
    // A combination that cannot be built is named as well.
    let sweep = Sweep::new("none").workers(&[1, 1000]);
    let text = must_panic(|| sweep.run(async || ()));
    assert!(
        text.contains("1000 workers are too many") && text.contains("workers = 1000"),
        "{text}"
    );
}

#[test]
fn sweep_ends_with_the_first_error() {
    let runs = RefCell::new(0);
    let sweep = Sweep::new("errors").workers(&[1, 2, 4]);
    let code = sweep.run(async || {
        *runs.borrow_mut() += 1;
        if *runs.borrow() == 2 { Err("the second") } else { Ok(()) }
    });
    assert_ne!(code, ExitCode::SUCCESS);
    assert_eq!(*runs.borrow(), 2);
}

#[test]
fn sweep_with_should_panic_needs_a_panic_on_each_runtime() {
    // Goal: `#[should_panic]` holds for every runtime; method: one runtime on which the test does
    // not panic, and one on which it panics with another text.
    let sweep = || Sweep::new("panics").workers(&[1, 2]).should_panic(Some("empty"));
    let text = must_panic(|| sweep().run(async || deliberate("the basket is empty")));
    assert_eq!(text, "the basket is empty");
    let only_on = async |workers, text: &'static str| {
        if Handle::current().workers() == workers {
            deliberate(text);
        }
    };
    for workers in [1, 2] {
        // It returns, which the test harness takes for a failure.
        assert_eq!(sweep().run(|| only_on(workers, "empty")), ExitCode::SUCCESS);
    }
    let full = async || deliberate(if Handle::current().workers() == 2 { "full" } else { "empty" });
    assert!(must_panic(|| sweep().run(full)).starts_with("full"));
}

#[test]
fn sweep_has_a_deadline() {
    // Goal: a test that hangs is ended, and its destructors run; a test that is in time is not.
    let dropped = crate::tools::Count::new();
    let sweep = Sweep::new("hangs").deadline(Duration::from_millis(5));
    let text = must_panic(|| {
        sweep.run(async || {
            let _guard = dropped.on_drop();
            std::future::pending::<()>().await
        })
    });
    assert!(text.starts_with("the test has not ended within 5ms. 1 tasks wait:\n"), "{text}");
    assert_eq!(dropped.get(), 1);
    let sweep = Sweep::new("in time").workers(&[1, 2]).deadline(Duration::from_secs(60));
    assert_eq!(sweep.run(ringloop::yield_now), ExitCode::SUCCESS);
}

#[test]
fn sweep_lists_tasks_that_wait_for_ever() {
    // Goal: a test that nothing can wake fails without a deadline, and names its tasks.
    let text = must_panic(|| {
        Sweep::new("waits").run(async || {
            let named = ringloop::task::Builder::new().name("never");
            named.spawn(std::future::pending::<()>()).await.unwrap();
        })
    });
    assert!(text.starts_with("deadlock: ") && text.contains("\"never\""), "{text}");
}

#[test]
fn deadline_ends_with_its_test() {
    // Goal: the thread that watches a deadline ends when the test has ended.
    isolated(|| {
        let before = crate::measure::thread_count();
        for _ in 0..10 {
            let sweep = Sweep::new("watched").deadline(Duration::from_secs(3600));
            assert_eq!(sweep.run(ringloop::yield_now), ExitCode::SUCCESS);
        }
        let gone = || crate::measure::thread_count() <= before;
        crate::harness::wait_until(gone, || "the watching threads end".to_owned());
    });
}

#[ringloop::test(workers = [1, 2], backends = ["auto", "epoll"], deadline = "60s", name = "swept")]
async fn attribute_runs_a_sweep() -> Result<(), Box<dyn std::error::Error>> {
    let handle = Handle::current();
    assert!([1, 2].contains(&handle.workers()));
    let listener = ringloop::net::TcpListener::bind("127.0.0.1:0").await?;
    ringloop::net::TcpStream::connect(listener.local_addr()?).await?;
    Ok(())
}

#[ringloop::test(workers = [1, 2])]
#[should_panic(expected = "deliberate: on both")]
async fn attribute_with_should_panic() {
    panic!("deliberate: on both");
}

#[ringloop::test(deadline = 0.005)]
#[should_panic(expected = "the test has not ended within 5ms")]
async fn attribute_with_a_deadline() {
    std::future::pending().await
}
